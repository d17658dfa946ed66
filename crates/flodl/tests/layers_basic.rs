//! Norms, pools, paddings, embeddings and resampling as layers: values, errors, modes, gradients.

use flodl::*;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

fn t(data: &[f64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_f64(data, shape, Device::CPU).unwrap(), false)
}

/// 0, 1, 2, … in this shape.
fn count(shape: &[i64]) -> Variable {
    let n: i64 = shape.iter().product();
    t(&(0..n).map(|i| i as f64).collect::<Vec<_>>(), shape)
}

/// Irregular values without ties, in (-1, 1).
fn mixed(shape: &[i64]) -> Variable {
    let n: i64 = shape.iter().product();
    t(&(0..n).map(|i| ((i + 1) as f64 * 0.754_877).fract() * 2.0 - 1.0).collect::<Vec<_>>(), shape)
}

fn ints(data: &[i64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_i64(data, shape, Device::CPU).unwrap(), false)
}

fn values(v: &Variable) -> Vec<f64> {
    v.data().to_f64_vec().unwrap()
}

#[track_caller]
fn close(got: &Variable, want: &[f64], tolerance: f64) {
    let got = values(got);
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i}: {g} is not {w}; all: {got:?}");
    }
}

#[track_caller]
fn fails(result: Result<Variable>, message: &str) {
    match result {
        Ok(y) => panic!("expected the error {message:?}, got shape {:?}", y.shape()),
        Err(e) => assert_eq!(e.to_string(), message),
    }
}

/// The layer's parameters as float64.
fn double(m: &dyn Module) {
    for p in m.parameters() {
        p.variable.set_data(p.variable.data().to_dtype(DType::Float64).unwrap());
    }
}

#[test]
fn max_pool_values() -> Checked {
    let x = count(&[1, 1, 4, 4]);
    close(&MaxPool2d::new(2).forward(&x)?, &[5.0, 7.0, 13.0, 15.0], 0.0);
    let pool = MaxPool2d::with_stride(3, 2).padding(1);
    assert_eq!(pool.forward(&mixed(&[2, 3, 32, 32]))?.shape(), [2, 3, 16, 16]);
    assert_eq!(pool.forward(&mixed(&[2, 3, 7, 7]))?.shape(), [2, 3, 4, 4]);
    // Padding is -∞, so negative input stays negative.
    let y = pool.forward(&t(&[-1.0; 16], &[1, 1, 4, 4]))?;
    assert!(values(&y).iter().all(|&v| v == -1.0));
    assert_eq!(MaxPool2d::new(2).forward(&mixed(&[1, 1, 5, 5]))?.shape(), [1, 1, 2, 2]);
    assert_eq!(
        MaxPool2d::new(2).ceil_mode(true).forward(&mixed(&[1, 1, 5, 5]))?.shape(),
        [1, 1, 3, 3]
    );
    close(&MaxPool1d::new(2).forward(&t(&[1.0, 3.0, 2.0, 5.0], &[1, 1, 4]))?, &[3.0, 5.0], 0.0);
    let dilated = MaxPool2d::with_stride(2, 1).dilation([2, 1]);
    assert_eq!(dilated.forward(&x)?.shape(), [1, 1, 2, 3]);
    assert_eq!(MaxPool2d::new([1, 4]).forward(&x)?.shape(), [1, 1, 4, 1]);
    close(&MaxPool3d::new(2).forward(&count(&[1, 2, 2, 2, 2]))?, &[7.0, 15.0], 0.0);
    Ok(())
}

#[test]
fn avg_pool_values() -> Checked {
    let x = count(&[1, 1, 4, 4]);
    close(&AvgPool2d::new(2).forward(&x)?, &[2.5, 4.5, 10.5, 12.5], 0.0);
    let ones = t(&[1.0; 16], &[1, 1, 4, 4]);
    let pool = AvgPool2d::with_stride(3, 2).padding(1);
    close(&pool.forward(&ones)?, &[4.0 / 9.0, 6.0 / 9.0, 6.0 / 9.0, 1.0], 1e-12);
    close(&pool.count_include_pad(false).forward(&ones)?, &[1.0; 4], 1e-12);
    close(&AvgPool2d::new(2).divisor_override(1).forward(&ones)?, &[4.0; 4], 0.0);
    let one = AvgPool1d::with_stride(3, 2).padding(1);
    assert_eq!(one.forward(&mixed(&[2, 3, 8]))?.shape(), [2, 3, 4]);
    close(&AvgPool3d::new(2).forward(&count(&[1, 2, 2, 2, 2]))?, &[3.5, 11.5], 0.0);
    close(
        &LPPool2d::new(2.0, 2).forward(&x)?,
        &[6.480740698407860, 9.899494936611665, 21.400934559032695, 25.337718918639855],
        1e-9,
    );
    close(&LPPool1d::new(f64::INFINITY, 2).forward(&count(&[1, 1, 4]))?, &[1.0, 3.0], 0.0);
    Ok(())
}

#[test]
fn adaptive_pool_values() -> Checked {
    for (h, w) in [(5, 9), (7, 7), (20, 31)] {
        let x = mixed(&[2, 3, h, w]);
        assert_eq!(AdaptiveMaxPool2d::new(7, 7).forward(&x)?.shape(), [2, 3, 7, 7]);
        let global = AdaptiveAvgPool2d::new([1, 1]).forward(&x)?;
        assert_eq!(global.shape(), [2, 3, 1, 1]);
        close(&global, &values(&x.mean_dims(&[2, 3], true)?), 1e-12);
        close(&adaptive_avg_pool2d(&x, [1, 1])?, &values(&global), 0.0);
    }
    // 5 into 3: [0, 2), [1, 4), [3, 5).
    close(&AdaptiveAvgPool1d::new(3).forward(&count(&[1, 1, 5]))?, &[0.5, 2.0, 3.5], 1e-12);
    close(&AdaptiveMaxPool1d::new(3).forward(&count(&[1, 1, 5]))?, &[1.0, 3.0, 4.0], 0.0);
    assert_eq!(
        AdaptiveMaxPool3d::new(1, 2, 3).forward(&mixed(&[1, 2, 4, 4, 4]))?.shape(),
        [1, 2, 1, 2, 3]
    );
    assert_eq!(
        AdaptiveAvgPool3d::new([1, 2, 3]).forward(&mixed(&[1, 2, 4, 4, 4]))?.shape(),
        [1, 2, 1, 2, 3]
    );
    Ok(())
}

#[test]
fn pools_name_what_does_not_fit() {
    let x = mixed(&[1, 1, 4, 4]);
    fails(
        MaxPool2d::new(2).forward(&mixed(&[4, 4])),
        "max_pool2d: expected an input [N, C, H, W] or without N, got shape [4, 4]",
    );
    fails(
        MaxPool2d::new(5).forward(&x),
        "max_pool2d: expected an input that a window of [5, 5] fits into, got shape [1, 1, 4, 4]",
    );
    fails(
        AvgPool2d::new(2).padding(2).forward(&x),
        "avg_pool2d: padding [2, 2] is more than half of the kernel [2, 2]",
    );
    assert!(MaxPool2d::new(0).forward(&x).is_err());
    assert!(MaxPool2d::with_stride(2, -1).forward(&x).is_err());
    assert!(AvgPool1d::new(2).forward(&ints(&[1, 2, 3, 4], &[1, 1, 4])).is_err());
    fails(
        AdaptiveAvgPool2d::new(0).forward(&x),
        "adaptive_avg_pool2d: output size [0, 0] must be positive",
    );
}

#[test]
fn layer_norm_values() -> Checked {
    let ln = LayerNorm::new(4)?;
    double(&ln);
    let want = [-1.341635, -0.447212, 0.447212, 1.341635];
    close(&ln.forward(&t(&[1.0, 2.0, 3.0, 4.0], &[1, 4]))?, &want, 1e-6);
    assert_eq!(ln.forward(&mixed(&[2, 3, 4]))?.shape(), [2, 3, 4]);
    assert_eq!(values(&ln.parameters()[0].variable), [1.0; 4]);
    assert_eq!(values(&ln.parameters()[1].variable), [0.0; 4]);
    let over = LayerNorm::over(&[3, 4])?;
    double(&over);
    let y = over.forward(&mixed(&[2, 3, 4]))?;
    close(&y.mean_dims(&[1, 2], false)?, &[0.0; 2], 1e-12);
    assert_eq!(over.weight().unwrap().variable.shape(), [3, 4]);
    fails(ln.forward(&mixed(&[2, 5])), "LayerNorm: expected an input [..., 4], got shape [2, 5]");
    // 12 elements, but not [3, 4].
    fails(
        over.forward(&mixed(&[2, 4, 3])),
        "LayerNorm: expected an input [..., 3, 4], got shape [2, 4, 3]",
    );
    assert!(LayerNorm::new(0).is_err());
    let small = t(&[0.0, 1e-4], &[1, 2]);
    let tight = LayerNorm::with_eps(2, 1e-12)?.affine(false).forward(&small)?;
    assert!(values(&tight)[1] > 0.9 && tight.requires_grad() == false);
    Ok(())
}

#[test]
fn rms_norm_values() -> Checked {
    let rn = RMSNorm::new(2)?;
    assert_eq!(rn.parameters().len(), 1);
    double(&rn);
    close(&rn.forward(&t(&[3.0, 4.0], &[1, 2]))?, &[0.848528, 1.131370], 1e-6);
    close(&rn.forward(&t(&[5.0, 5.0], &[1, 2]))?, &[1.0, 1.0], 1e-9);
    let tiny = t(&[1e-3, 1e-3], &[1, 2]);
    let near = values(&rn.forward(&tiny)?)[0];
    let far = values(&rn.clone().eps(1e-2).forward(&tiny)?)[0];
    assert!((near - 1.0).abs() < 1e-6 && far < 0.02, "{near} {far}");
    fails(rn.forward(&mixed(&[3])), "RMSNorm: expected an input [..., 2], got shape [3]");
    Ok(())
}

#[test]
fn batch_norm_statistics() -> Checked {
    let bn = BatchNorm::new(1)?;
    double(&bn);
    close(&bn.forward(&t(&[1.0, 3.0], &[2, 1]))?, &[-0.999995, 0.999995], 1e-6);
    let buffer = |i: usize| bn.buffers()[i].get().to_f64_vec().unwrap();
    assert_eq!(
        bn.buffers().iter().map(|b| b.name.clone()).collect::<Vec<_>>(),
        ["running_mean", "running_var", "num_batches_tracked"]
    );
    assert!((buffer(0)[0] - 0.2).abs() < 1e-6 && (buffer(1)[0] - 1.1).abs() < 1e-6);
    assert_eq!(bn.buffers()[2].get().item()?, 1.0);
    assert_eq!(bn.buffers()[2].get().dtype(), DType::Int64);
    assert_eq!(bn.buffers()[2].shape(), [0i64; 0]);
    bn.eval();
    let before: Vec<_> = (0..3).map(|i| bn.buffers()[i].get()).collect();
    let y = bn.forward(&t(&[1.0, 3.0], &[2, 1]))?;
    let scale = (1.1f64 + 1e-5).sqrt();
    close(&y, &[0.8 / scale, 2.8 / scale], 1e-6);
    for (b, kept) in bn.buffers().iter().zip(&before) {
        assert_eq!(b.get().to_f64_vec()?, kept.to_f64_vec()?);
    }
    // All batches alike: the plain mean of 2 and 4.
    let bn = BatchNorm::new(1)?.cumulative_average();
    double(&bn);
    bn.forward(&t(&[1.0, 3.0], &[2, 1]))?;
    bn.forward(&t(&[3.0, 5.0], &[2, 1]))?;
    close(&Variable::new(bn.running_mean().unwrap(), false), &[3.0], 1e-6);
    Ok(())
}

#[test]
fn batch_norm_modes_and_clones() -> Checked {
    let bn = BatchNorm2d::new(3)?;
    double(&bn);
    let x = mixed(&[4, 3, 5, 5]);
    let twin = bn.clone();
    twin.eval();
    let message = "BatchNorm2d: in eval mode but has no running statistics: no batch was seen in \
                   training (num_batches_tracked is 0) and none were loaded; train it first or \
                   load a checkpoint";
    fails(bn.forward(&x), message);
    bn.train();
    let trained = twin.forward(&x)?;
    close(&trained.mean_dims(&[0, 2, 3], false)?, &[0.0; 3], 1e-12);
    close(&trained.var_dims(&[0, 2, 3], 0.0, false)?, &[1.0; 3], 1e-3);
    bn.eval();
    assert_ne!(values(&bn.forward(&x)?), values(&trained));
    // Loaded statistics count as trained, also without the count of batches.
    let other = BatchNorm2d::new(3)?;
    double(&other);
    other.eval();
    fails(other.forward(&x), message);
    other.buffers()[0].set(bn.running_mean().unwrap());
    other.buffers()[1].set(bn.running_var().unwrap());
    assert_eq!(values(&other.forward(&x)?), values(&bn.forward(&x)?));
    let counted = BatchNorm2d::new(3)?;
    double(&counted);
    counted.eval();
    counted.buffers()[2].set(Tensor::from_i64(&[5], &[], Device::CPU)?);
    counted.forward(&x)?;
    // Without running statistics the batch's are used in inference too.
    let free = BatchNorm2d::new(3)?.affine(false).track_running_stats(false);
    free.eval();
    assert!(free.parameters().is_empty() && free.buffers().is_empty());
    close(&free.forward(&x)?, &values(&trained), 1e-12);
    Ok(())
}

#[test]
fn batch_norm_inputs() -> Checked {
    let (bn, bn2, bn3) = (BatchNorm::new(4)?, BatchNorm2d::new(4)?, BatchNorm3d::new(4)?);
    for m in [&bn as &dyn Module, &bn2, &bn3] {
        double(m);
    }
    bn.forward(&mixed(&[8, 4]))?;
    bn.forward(&mixed(&[8, 4, 3]))?;
    bn3.forward(&mixed(&[2, 4, 2, 2, 2]))?;
    // One image has more than one value per channel; one row has not.
    bn2.forward(&mixed(&[1, 4, 2, 2]))?;
    fails(
        bn.forward(&mixed(&[1, 4])),
        "BatchNorm: expected more than one value per channel in training, got shape [1, 4]",
    );
    fails(
        bn2.forward(&mixed(&[1, 4, 1, 1])),
        "BatchNorm2d: expected more than one value per channel in training, got shape [1, 4, 1, 1]",
    );
    fails(
        bn2.forward(&mixed(&[8, 4])),
        "BatchNorm2d: expected an input [N, 4, H, W], got shape [8, 4]",
    );
    fails(
        bn2.forward(&mixed(&[2, 3, 2, 2])),
        "BatchNorm2d: expected an input [N, 4, H, W], got shape [2, 3, 2, 2]",
    );
    fails(
        bn.forward(&mixed(&[2, 4, 2, 2])),
        "BatchNorm: expected an input [N, 4] or [N, 4, L], got shape [2, 4, 2, 2]",
    );
    assert_eq!(bn2.buffers()[2].get().item()?, 1.0, "failed forwards leave no trace");
    assert!(BatchNorm::new(0).is_err());
    Ok(())
}

#[test]
fn group_and_instance_norm() -> Checked {
    let gn = GroupNorm::new(4, 16)?;
    double(&gn);
    let x = mixed(&[8, 16, 3, 3]);
    let y = gn.forward(&x)?;
    assert_eq!(y.shape(), x.shape());
    let groups = y.reshape(&[8, 4, 36])?;
    close(&groups.mean_dim(2, false)?, &[0.0; 32], 1e-12);
    close(&groups.var_dims(&[2], 0.0, false)?, &[1.0; 32], 1e-3);
    gn.eval();
    for i in 0..8 {
        let alone = gn.forward(&x.narrow(0, i, 1)?)?;
        assert_eq!(values(&alone), values(&y.narrow(0, i, 1)?));
    }
    assert_eq!(
        GroupNorm::new(5, 16).unwrap_err().to_string(),
        "GroupNorm: 5 groups must be positive and divide 16 channels"
    );
    fails(
        gn.forward(&mixed(&[2, 8, 3])),
        "GroupNorm: expected an input [N, 16, ...], got shape [2, 8, 3]",
    );

    let inn = InstanceNorm::new(6, true)?;
    assert_eq!(inn.parameters().len(), 2);
    assert_eq!(InstanceNorm::new(6, false)?.parameters().len(), 0);
    double(&inn);
    let y = inn.forward(&mixed(&[2, 6, 4, 4]))?;
    close(&y.mean_dims(&[2, 3], false)?, &[0.0; 12], 1e-12);
    close(&y.var_dims(&[2, 3], 0.0, false)?, &[1.0; 12], 1e-3);
    fails(
        inn.forward(&mixed(&[2, 5, 4, 4])),
        "InstanceNorm: expected an input [N, 6, spatial...], got shape [2, 5, 4, 4]",
    );
    let tracking = InstanceNorm::new(2, false)?.track_running_stats(true)?;
    let x = mixed(&[3, 2, 4]);
    tracking.forward(&x)?;
    let mean = values(&x.mean_dims(&[0, 2], false)?);
    for (got, want) in tracking.buffers()[0].get().to_f64_vec()?.iter().zip(mean) {
        assert!((got - 0.1 * want).abs() < 1e-7);
    }
    tracking.eval();
    tracking.forward(&x)?;
    Ok(())
}
