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
        &[6.48074069840786, 9.899494936611665, 21.400934559032695, 25.337718918639855],
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
    let small = t(&[0.0, 1e-4], &[1, 2]);
    let tight = LayerNorm::with_eps(2, 1e-12)?.affine(false).forward(&small)?;
    assert!(values(&tight)[1] > 0.9 && !tight.requires_grad());
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

#[test]
fn local_response_norm_is_pytorchs() -> Checked {
    let x = count(&[1, 4, 2]).mul_scalar(0.25)?;
    let even = LocalResponseNorm::new(2).alpha(0.5).k(0.7).forward(&x)?;
    let want = [0.0, 0.321311, 0.612760, 0.842579, 0.990726, 1.069425, 1.099815, 1.100426];
    close(&even, &want, 1e-6);
    let odd = LocalResponseNorm::new(3).alpha(2.0).beta(0.5).forward(&x)?;
    let want = [0.0, 0.210042, 0.369274, 0.478345, 0.547723, 0.592003, 0.842927, 0.866025];
    close(&odd, &want, 1e-6);
    Ok(())
}

#[test]
fn padding_values() -> Checked {
    let x = count(&[1, 1, 3, 3]);
    let y = ZeroPad2d::new(1).forward(&x)?;
    assert_eq!(y.shape(), [1, 1, 5, 5]);
    close(&y.narrow(2, 1, 3)?.narrow(3, 1, 3)?, &values(&x), 0.0);
    assert_eq!(values(&y.sum()?), values(&x.sum()?));
    assert_eq!(ZeroPad2d::asymmetric(1, 1, 2, 2).forward(&x)?.shape(), [1, 1, 7, 5]);
    let sided = ZeroPad2d::asymmetric(1, 0, 0, 2).forward(&x)?;
    close(&sided.select(2, 0)?, &[0.0, 0.0, 1.0, 2.0], 0.0);
    close(&sided.select(2, 4)?, &[0.0; 4], 0.0);
    let y = ReflectionPad2d::new(1).forward(&x)?;
    close(&y.select(2, 0)?, &[4.0, 3.0, 4.0, 5.0, 4.0], 0.0);
    let y = ReflectionPad2d::asymmetric(1, 1, 2, 2).forward(&x)?;
    assert_eq!(y.shape(), [1, 1, 7, 5]);
    close(&y.select(2, 0)?, &[7.0, 6.0, 7.0, 8.0, 7.0], 0.0);
    let row = t(&[1.0, 2.0, 3.0], &[1, 3]);
    close(&ReplicationPad1d::asymmetric(2, 1).forward(&row)?, &[1., 1., 1., 2., 3., 3.], 0.0);
    close(&CircularPad1d::asymmetric(2, 1).forward(&row)?, &[2., 3., 1., 2., 3., 1.], 0.0);
    close(&ConstantPad1d::new(1, 0.5).forward(&row)?, &[0.5, 1.0, 2.0, 3.0, 0.5], 0.0);
    // One size for each dim, in the order of the dims.
    assert_eq!(ZeroPad3d::new([1, 0, 2]).forward(&mixed(&[2, 3, 4, 5]))?.shape(), [2, 5, 4, 9]);
    assert_eq!(
        ZeroPad3d::asymmetric(1, 0, 2, 0, 3, 0).forward(&mixed(&[2, 3, 4, 5]))?.shape(),
        [2, 6, 6, 6]
    );
    // Negative padding cuts off; padding may reach over more dims than the kernel has.
    close(&row.pad(&[-1, 1], 9.0)?, &[2.0, 3.0, 9.0], 0.0);
    let y = mixed(&[2, 2, 2, 2]).pad(&[1, 0, 0, 0, 0, 0, 0, 2], 7.0)?;
    assert_eq!(y.shape(), [4, 2, 2, 3]);
    assert!(values(&y.narrow(0, 2, 2)?).iter().all(|&v| v == 7.0));
    assert_eq!(ints(&[1, 2], &[2]).pad(&[1, 0], 5.0)?.data().to_i64_vec()?, [5, 1, 2]);
    fails(
        ReflectionPad2d::new(3).forward(&x),
        "ReflectionPad2d: expected a dim 3 that reflection padding [3, 3] fits, got shape [1, 1, \
         3, 3]",
    );
    fails(
        CircularPad1d::new(4).forward(&row),
        "CircularPad1d: expected a dim 1 that circular padding [4, 4] fits, got shape [1, 3]",
    );
    fails(
        ZeroPad2d::new(1).forward(&row),
        "ZeroPad2d: expected an input [N, C, H, W] or without N, got shape [1, 3]",
    );
    close(&row.pad_mode(&[1, 1], 1, 0.0)?, &[2.0, 1.0, 2.0, 3.0, 2.0], 0.0);
    Ok(())
}

#[test]
fn embedding_values() -> Checked {
    manual_seed(1);
    let emb = Embedding::new(1000, 64)?;
    let weight = emb.parameters()[0].variable.clone();
    assert_eq!(weight.shape(), [1000, 64]);
    assert!(weight.mean()?.item()?.abs() < 0.02 && (weight.std()?.item()? - 1.0).abs() < 0.02);
    let y = emb.forward(&ints(&[5, 0, 999, 5], &[2, 2]))?;
    assert_eq!(y.shape(), [2, 2, 64]);
    assert_eq!(values(&y.select(0, 1)?.select(0, 0)?), values(&weight.select(0, 999)?));
    assert_eq!(emb.forward(&ints(&[3], &[]))?.shape(), [64]);
    y.sum()?.backward()?;
    let grad = Variable::new(weight.grad().unwrap(), false);
    assert_eq!(values(&grad.select(0, 5)?), [2.0; 64]);
    assert_eq!(values(&grad.select(0, 999)?), [1.0; 64]);
    assert_eq!(grad.sum()?.item()?, 256.0);
    for bad in [1000, -1] {
        fails(
            emb.forward(&ints(&[0, bad], &[2])),
            &format!("embedding: index {bad} is out of range for size 1000"),
        );
    }
    fails(emb.forward(&mixed(&[2])), "embedding: expected integer indices, got dtype float64");
    for p in [3, -2] {
        let padded = Embedding::with_padding_idx(5, 2, Some(p))?;
        let y = padded.forward(&ints(&[3, 1], &[2]))?;
        assert_eq!(values(&y)[..2], [0.0; 2]);
        assert_ne!(values(&y)[2..], [0.0; 2]);
        y.sum()?.backward()?;
        let grad = padded.weight().variable.grad().unwrap().to_f64_vec()?;
        assert_eq!(grad, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
    let fixed = Embedding::from_pretrained(count(&[3, 2]).data(), true)?;
    assert!(!fixed.forward(&ints(&[1], &[1]))?.requires_grad());
    Ok(())
}

#[test]
fn embedding_bag_values() -> Checked {
    let bag = EmbeddingBag::new(5, 1)?;
    let weight = bag.parameters()[0].variable.clone();
    weight.set_data(t(&[1.0, 2.0, 4.0, 8.0, 16.0], &[5, 1]).data());
    let (all, two) = (ints(&[0, 1, 2, 3, 4], &[5]), ints(&[0, 3], &[2]));
    close(&bag.forward_bag(&all, &two, 0)?, &[7.0, 24.0], 0.0);
    close(&bag.forward_bag(&all.data(), &two, 1)?, &[7.0 / 3.0, 12.0], 1e-12);
    close(&bag.forward_bag(&all, &two.data(), Bag::Max)?, &[4.0, 16.0], 0.0);
    let empty = ints(&[0, 0, 2], &[3]);
    for (mode, want) in [(0, [0.0, 3.0, 0.0]), (1, [0.0, 1.5, 0.0]), (2, [0.0, 2.0, 0.0])] {
        close(&bag.forward_bag(&ints(&[0, 1], &[2]), &empty, mode)?, &want, 0.0);
    }
    for (mode, want) in [
        (0, [1.0, 2.0, 1.0, 0.0, 0.0]),
        (1, [0.5, 1.0, 0.5, 0.0, 0.0]),
        (2, [0.0, 1.0, 1.0, 0.0, 0.0]),
    ] {
        weight.zero_grad();
        let y = bag.forward_bag(&ints(&[0, 1, 1, 2], &[4]), &ints(&[0, 2], &[2]), mode)?;
        y.sum()?.backward()?;
        assert_eq!(weight.grad().unwrap().to_f64_vec()?, want);
    }
    close(&bag.forward(&ints(&[0, 1, 3, 4], &[2, 2]))?, &[1.5, 12.0], 0.0);
    close(&bag.clone().mode(Bag::Sum).forward(&ints(&[0, 1], &[1, 2]))?, &[3.0], 0.0);
    fails(
        bag.forward_bag(&all, &two, 3),
        "embedding_bag: mode 3 is none of 0 (sum), 1 (mean), 2 (max)",
    );
    for bad in [&[1, 3][..], &[0, 6], &[0, 3, 2], &[]] {
        fails(
            bag.forward_bag(&all, &ints(bad, &[bad.len() as i64]), 0),
            "embedding_bag: offsets must start at 0, not decrease and not exceed 5 indices",
        );
    }
    fails(
        bag.forward_bag(&ints(&[5], &[1]), &ints(&[0], &[1]), 0),
        "embedding_bag: index 5 is out of range for size 5",
    );
    fails(
        bag.forward_bag(&ints(&[1, 2], &[1, 2]), &two, 0),
        "embedding_bag: expected indices [total] and offsets [bags], got shape [1, 2]",
    );
    Ok(())
}

#[test]
fn resampling_values() -> Checked {
    close(&PixelShuffle::new(2).forward(&count(&[1, 4, 1, 1]))?, &[0.0, 1.0, 2.0, 3.0], 0.0);
    let x = mixed(&[2, 12, 3, 5]);
    let y = PixelShuffle::new(2).forward(&x)?;
    assert_eq!(y.shape(), [2, 3, 6, 10]);
    let back = PixelUnshuffle::new(2).forward(&y)?;
    assert_eq!((back.shape(), values(&back)), (x.shape(), values(&x)));
    let z = mixed(&[3, 4, 6]);
    let there = PixelUnshuffle::new(2).forward(&z)?;
    assert_eq!(there.shape(), [12, 2, 3]);
    assert_eq!(values(&PixelShuffle::new(2).forward(&there)?), values(&z));
    fails(
        PixelShuffle::new(2).forward(&mixed(&[1, 6, 2, 2])),
        "pixel_shuffle: expected channels that 4 divides, got shape [1, 6, 2, 2]",
    );
    fails(
        PixelUnshuffle::new(2).forward(&mixed(&[1, 6, 3, 2])),
        "pixel_unshuffle: expected a height and width that 2 divides, got shape [1, 6, 3, 2]",
    );

    for mode in 0..3 {
        let up = Upsample::new(&[64, 64], mode);
        assert_eq!(up.forward(&mixed(&[2, 3, 20, 31]))?.shape(), [2, 3, 64, 64]);
    }
    let edge = t(&[0.0, 1.0], &[1, 1, 1, 2]);
    let up = |mode: i32| Upsample::new(&[1, 4], mode).forward(&edge);
    close(&up(0)?, &[0.0, 0.0, 1.0, 1.0], 0.0);
    close(&up(1)?, &[0.0, 0.25, 0.75, 1.0], 1e-12);
    close(&up(2)?, &[-0.10546875, 0.2265625, 0.7734375, 1.10546875], 1e-12);
    let corners = Upsample::new(&[1, 4], Interpolation::Linear).align_corners(true);
    close(&corners.forward(&edge)?, &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0], 1e-12);
    let twice = Upsample::with_scale(2.0, 1);
    close(&twice.forward(&t(&[0.0, 1.0], &[1, 1, 2]))?, &[0.0, 0.25, 0.75, 1.0], 1e-12);
    assert_eq!(twice.forward(&mixed(&[1, 1, 2, 3, 4]))?.shape(), [1, 1, 4, 6, 8]);
    fails(up(3), "interpolate: mode 3 is none of 0 (nearest), 1 (linear), 2 (cubic)");
    fails(
        Upsample::new(&[4, 4], 1).forward(&mixed(&[1, 2, 2])),
        "interpolate: expected an input [N, C, ...] whose 2 spatial dims are not empty, got shape \
         [1, 2, 2]",
    );
    fails(
        Upsample::new(&[0, 4], 1).forward(&edge),
        "interpolate: output size [0, 4] must be positive",
    );
    Ok(())
}

/// A layer, and an input that it takes.
type Case = (Box<dyn Module>, Variable);

/// Every layer of these families, several settings each, with parameters in float64 and away from
/// their initial values.
fn all_layers() -> Result<Vec<Case>> {
    fn case(layer: impl Module + 'static, shape: &[i64]) -> Case {
        (Box::new(layer), mixed(shape))
    }
    let trained = BatchNorm2d::new(2)?;
    double(&trained);
    trained.forward(&mixed(&[3, 2, 2, 2]))?;
    trained.eval();
    let mut cases = vec![
        case(MaxPool1d::new(2), &[2, 2, 5]),
        case(MaxPool2d::with_stride(3, 2).padding(1), &[2, 2, 5, 4]),
        case(MaxPool2d::with_stride(2, 1).dilation(2).ceil_mode(true), &[1, 2, 4, 4]),
        case(MaxPool3d::new([1, 2, 2]), &[1, 2, 2, 4, 3]),
        case(AvgPool1d::with_stride(3, 2).padding(1), &[2, 2, 5]),
        case(AvgPool2d::with_stride(3, 2).padding(1).count_include_pad(false), &[2, 2, 5, 4]),
        case(AvgPool3d::new(2).ceil_mode(true), &[1, 1, 2, 3, 3]),
        case(LPPool2d::new(2.0, 2), &[1, 2, 4, 4]),
        case(AdaptiveAvgPool1d::new(3), &[2, 2, 5]),
        case(AdaptiveAvgPool2d::new([2, 3]), &[2, 2, 5, 4]),
        case(AdaptiveAvgPool3d::new(2), &[1, 1, 3, 2, 3]),
        case(AdaptiveMaxPool1d::new(3), &[2, 2, 5]),
        case(AdaptiveMaxPool2d::new(2, 3), &[2, 2, 5, 4]),
        case(AdaptiveMaxPool3d::new(2, 1, 2), &[1, 1, 3, 2, 3]),
        case(LayerNorm::new(4)?, &[3, 4]),
        case(LayerNorm::over(&[2, 4])?, &[3, 2, 4]),
        case(LayerNorm::new(4)?.without_bias(), &[2, 3, 4]),
        case(RMSNorm::new(4)?, &[3, 4]),
        case(RMSNorm::over(&[2, 4])?.eps(0.1), &[3, 2, 4]),
        case(BatchNorm::new(3)?, &[5, 3]),
        case(BatchNorm::new(3)?, &[2, 3, 4]),
        case(BatchNorm2d::new(2)?, &[3, 2, 2, 2]),
        case(BatchNorm2d::new(2)?.affine(false), &[1, 2, 3, 2]),
        case(BatchNorm3d::new(2)?, &[1, 2, 2, 2, 2]),
        case(trained, &[3, 2, 2, 2]),
        case(GroupNorm::new(2, 4)?, &[2, 4, 3]),
        case(GroupNorm::new(1, 4)?.affine(false), &[3, 4]),
        case(InstanceNorm::new(2, true)?, &[2, 2, 3, 2]),
        case(InstanceNorm::new(2, false)?.eps(0.1), &[2, 2, 4]),
        case(LocalResponseNorm::new(2).alpha(0.5).k(0.7), &[2, 4, 3]),
        case(LocalResponseNorm::new(3).alpha(2.0).beta(0.5), &[1, 4, 2, 2]),
        case(ZeroPad1d::new(2), &[2, 3]),
        case(ZeroPad2d::asymmetric(1, 0, 2, 1), &[1, 2, 3, 3]),
        case(ZeroPad2d::asymmetric(1, -1, -2, 1), &[1, 2, 3, 3]),
        case(ZeroPad3d::new(1), &[1, 1, 2, 2, 2]),
        case(ConstantPad1d::new(1, 0.5), &[1, 2, 3]),
        case(ConstantPad2d::new([0, 1], 0.5), &[1, 2, 3, 3]),
        case(ConstantPad3d::new(1, 0.5), &[1, 1, 2, 2, 2]),
        case(ReflectionPad1d::new(2), &[2, 3]),
        case(ReflectionPad2d::asymmetric(1, 2, 0, 2), &[1, 2, 3, 3]),
        case(ReflectionPad3d::new(1), &[1, 1, 2, 2, 3]),
        case(ReplicationPad1d::new(2), &[2, 3]),
        case(ReplicationPad2d::new(1), &[2, 3, 2]),
        case(ReplicationPad3d::new(1), &[1, 2, 2, 2]),
        case(CircularPad1d::new(2), &[2, 3]),
        case(CircularPad2d::new(1), &[2, 3, 2]),
        case(CircularPad3d::new(1), &[1, 1, 2, 2, 2]),
        case(PixelShuffle::new(2), &[1, 4, 2, 3]),
        case(PixelUnshuffle::new(2), &[1, 2, 2, 4]),
        case(Upsample::new(&[5], 1), &[1, 2, 3]),
        case(Upsample::new(&[5, 2], 0), &[1, 2, 3, 3]),
        case(Upsample::new(&[5, 4], 1).align_corners(true), &[1, 2, 3, 2]),
        case(Upsample::new(&[5, 2], 2), &[1, 1, 3, 4]),
        case(Upsample::with_scale(1.7, 1), &[1, 1, 2, 3, 2]),
        (Box::new(Embedding::new(5, 3)?), ints(&[4, 0, 4, 2, 1, 3], &[3, 2])),
        (Box::new(EmbeddingBag::new(5, 3)?.mode(Bag::Sum)), ints(&[4, 0, 4, 2, 1, 3], &[3, 2])),
        (Box::new(EmbeddingBag::new(5, 3)?), ints(&[4, 0, 4, 2, 1, 3], &[3, 2])),
        (Box::new(EmbeddingBag::new(5, 3)?.mode(Bag::Max)), ints(&[4, 0, 3, 2, 1, 3], &[3, 2])),
    ];
    for (m, x) in &mut cases {
        double(&**m);
        for (k, p) in m.parameters().iter().enumerate() {
            let other = mixed(&p.variable.shape()).mul_scalar(0.7)?.add_scalar(k as f64 + 0.1)?;
            p.variable.set_data(other.data());
        }
        let data = x.data();
        *x = Variable::new(data, true);
    }
    Ok(cases)
}

/// Σ w · y², which depends on every output with another weight.
fn loss(m: &dyn Module, x: &Variable) -> Result<Variable> {
    let y = m.forward(x)?;
    let w = mixed(&y.shape()).add_scalar(1.5)?;
    y.mul(&y)?.mul(&w)?.sum()
}

/// Changes of `f` per change of each element of `v`.
fn differences(v: &Variable, f: &dyn Fn() -> Result<f64>) -> Result<Vec<f64>> {
    let (start, shape, h) = (values(v), v.shape(), 1e-5);
    let mut slopes = Vec::new();
    for i in 0..start.len() {
        let at = |step: f64| {
            let mut moved = start.clone();
            moved[i] += step;
            v.set_data(t(&moved, &shape).data());
            f()
        };
        slopes.push((at(h)? - at(-h)?) / (2.0 * h));
    }
    v.set_data(t(&start, &shape).data());
    Ok(slopes)
}

#[track_caller]
fn same_slopes(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{what}, element {i}: {g} and {w}");
    }
}

#[test]
fn gradients_reach_everything_and_are_right() -> Checked {
    for (m, x) in all_layers()? {
        let what = format!("{} {:?} on {:?}", m.name(), m.structural_hash(), x.shape());
        let before = x.data().to_f64_vec()?;
        loss(&*m, &x)?.backward()?;
        assert_eq!(x.data().to_f64_vec()?, before, "{what}: the input has changed");
        let mut leaves: Vec<Variable> = m.parameters().into_iter().map(|p| p.variable).collect();
        leaves.extend(x.requires_grad().then(|| x.clone()));
        assert!(!leaves.is_empty(), "{what}");
        for v in leaves {
            let grad = v.grad().unwrap_or_else(|| panic!("{what}: no gradient")).to_f64_vec()?;
            assert!(grad.iter().any(|&g| g != 0.0), "{what}: all gradients are 0");
            let numeric = differences(&v, &|| loss(&*m, &x)?.item())?;
            same_slopes(&what, &grad, &numeric, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn gradients_can_be_differentiated() -> Checked {
    for (m, x) in all_layers()? {
        let what = format!("{} {:?} on {:?}", m.name(), m.structural_hash(), x.shape());
        let v = if x.requires_grad() { x.clone() } else { m.parameters()[0].variable.clone() };
        // The gradient along a direction, as a function of v.
        let slope = || -> Result<Variable> {
            let options = BackwardOptions::default().create_graph();
            let g = grad(&[&loss(&*m, &x)?], &[&v], &[None], options)?;
            let g = g[0].clone().expect("the loss depends on it");
            g.mul(&mixed(&g.shape()).add_scalar(0.2)?)?.sum()
        };
        v.zero_grad();
        slope()?.backward()?;
        let second = v.grad().unwrap_or_else(|| panic!("{what}: no gradient")).to_f64_vec()?;
        v.zero_grad();
        same_slopes(&what, &second, &differences(&v, &|| slope()?.item())?, 1e-5);
    }
    Ok(())
}

#[test]
fn layers_describe_themselves() -> Checked {
    let layers = all_layers()?;
    for (m, x) in &layers {
        assert_ne!(m.name(), "module");
        assert!(m.structural_hash().is_some(), "{}", m.name());
        let pool = m.parameters().is_empty() && m.buffers().is_empty();
        assert!(pool || m.identity().is_some(), "{}", m.name());
        // In eval mode too, gradients pass, and the result does not depend on an earlier call.
        if !m.name().starts_with("BatchNorm") {
            let training = values(&m.forward(x)?);
            m.eval();
            assert_eq!(values(&m.forward(x)?), training, "{}", m.name());
            assert!(m.forward(x)?.requires_grad());
        }
    }
    let hash = |m: &dyn Module| format!("{}{:?}", m.name(), m.structural_hash());
    let mut hashes: Vec<String> = Vec::new();
    for (m, _) in &layers {
        let hash = hash(&**m);
        // Three pairs differ in the input or in the mode of training only.
        let twice = m.name().starts_with("BatchNorm");
        assert!(twice || !hashes.contains(&hash), "{hash}");
        hashes.push(hash);
    }
    Ok(())
}

#[test]
fn float32_agrees_with_float64() -> Checked {
    for (m, x) in all_layers()? {
        let wide = values(&m.forward(&x)?);
        for p in m.parameters() {
            p.variable.set_data(p.variable.data().to_dtype(DType::Float32)?);
        }
        let narrow = if x.dtype().is_float() { x.to_dtype(DType::Float32)? } else { x };
        let y = m.forward(&narrow)?;
        assert_eq!(y.dtype(), DType::Float32, "{}", m.name());
        for (a, b) in values(&y).iter().zip(&wide) {
            assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{}: {a} and {b}", m.name());
        }
    }
    Ok(())
}

#[test]
fn layers_work_in_graphs() -> Checked {
    let model = FlowBuilder::from(Conv2d::new(3, 64, 3)?)
        .through(BatchNorm2d::new(64)?)
        .through(ReLU)
        .through(MaxPool2d::new(2))
        .build()?;
    let x = Variable::new(Tensor::randn(&[2, 3, 34, 34], TensorOptions::default())?, false);
    let y = model.forward(&x)?;
    assert_eq!(y.shape(), [2, 64, 16, 16]);
    assert!(values(&y).iter().all(|&v| v >= 0.0));
    assert_eq!(model.parameters().len(), 4);
    model.eval();
    model.forward(&x)?;

    // 48 channels make three at upscale 4, and twelve at upscale 2.
    let model = FlowBuilder::from(Conv2d::new(3, 48, 3)?).through(PixelShuffle::new(2)).build()?;
    assert_eq!(model.forward(&x)?.shape(), [2, 12, 64, 64]);

    let model = FlowBuilder::from(ZeroPad2d::new(1))
        .through(ZeroPad2d::asymmetric(1, 1, 2, 2))
        .through(ReflectionPad2d::new(1))
        .through(ReflectionPad2d::asymmetric(1, 1, 2, 2))
        .build()?;
    assert_eq!(model.forward(&x)?.shape(), [2, 3, 46, 42]);
    Ok(())
}

#[test]
fn pipelines_with_batch_norm_learn() -> Checked {
    manual_seed(3);
    let dense = FlowBuilder::from(Linear::new(4, 16)?)
        .through(BatchNorm::new(16)?)
        .through(ReLU)
        .through(Linear::new(16, 1)?)
        .build()?;
    let image = FlowBuilder::from(Conv2d::new(1, 8, 3)?)
        .through(BatchNorm2d::new(8)?)
        .through(ReLU)
        .through(AdaptiveAvgPool2d::new([1, 1]))
        .through(Flatten::new(1, -1))
        .through(Linear::new(8, 1)?)
        .build()?;
    for (model, shape) in [(dense, &[32, 4][..]), (image, &[32, 1, 6, 6])] {
        let x = Variable::new(Tensor::randn(shape, TensorOptions::default())?, false);
        let y = x.mul(&x)?.reshape(&[32, -1])?.mean_dim(1, true)?;
        let mut optimizer = Adam::new(&model.parameters(), 0.02);
        let mut losses = Vec::new();
        for _ in 0..100 {
            let loss = mse_loss(&model.forward(&x)?, &y)?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            losses.push(loss.item()?);
        }
        assert!(losses[99] < 0.2 * losses[0], "{} to {}", losses[0], losses[99]);
    }
    Ok(())
}

#[test]
fn statistics_travel_in_checkpoints() -> Checked {
    let named = |bn: &BatchNorm2d| {
        let params: Vec<_> = bn.parameters().into_iter().map(|p| (p.name.clone(), p)).collect();
        let buffers: Vec<_> = bn.buffers().into_iter().map(|b| (b.name.clone(), b)).collect();
        (params, buffers)
    };
    let (trained, fresh) = (BatchNorm2d::new(3)?, BatchNorm2d::new(3)?);
    let x = Variable::new(Tensor::randn(&[4, 3, 5, 5], TensorOptions::default())?, false);
    trained.forward(&x)?;
    let (params, buffers) = named(&trained);
    let mut file = Vec::new();
    save_checkpoint(&mut file, &params, &buffers, None)?;
    fresh.eval();
    assert!(fresh.forward(&x).is_err());
    let (params, buffers) = named(&fresh);
    assert_eq!(load_checkpoint(&mut &file[..], &params, &buffers, None)?.loaded.len(), 5);
    trained.eval();
    assert_eq!(values(&fresh.forward(&x)?), values(&trained.forward(&x)?));
    Ok(())
}

#[test]
fn dropout_masks() -> Checked {
    manual_seed(7);
    let x = Variable::new(Tensor::ones(&[100_000], TensorOptions::default())?, true);
    let drop = Dropout::new(0.1);
    let y = drop.forward(&x)?;
    let kept = values(&y);
    let dropped = kept.iter().filter(|&&v| v == 0.0).count() as f64 / 1e5;
    assert!((dropped - 0.1).abs() < 0.01, "{dropped}");
    assert!(kept.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.9).abs() < 1e-6));
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_f64_vec()?, kept, "the gradient has the mask of the forward");
    assert_ne!(values(&drop.forward(&x)?), kept);
    manual_seed(7);
    assert_eq!(values(&drop.forward(&x)?), kept);
    drop.eval();
    assert_eq!(values(&drop.forward(&x)?), values(&x));

    let planes = Variable::new(Tensor::ones(&[50, 20, 3, 3], TensorOptions::default())?, false);
    let y = Dropout2d::new(0.5).forward(&planes)?.reshape(&[1000, 9])?;
    assert!(
        values(&y).chunks(9).all(|p| p.iter().all(|v| v == &p[0]) && (p[0] == 0.0 || p[0] == 2.0))
    );
    let zeros = Variable::new(Tensor::zeros(&[1000], TensorOptions::default())?, false);
    let y = AlphaDropout::new(0.1).forward(&zeros)?;
    assert!(values(&y).iter().all(|v| (v + 1.4577).abs() < 1e-3 || (v - 0.1620).abs() < 1e-3));

    let some = mixed(&[2, 3, 4]);
    let all: [fn(f64) -> Box<dyn Module>; 3] = [
        |p| Box::new(Dropout::new(p)),
        |p| Box::new(Dropout2d::new(p)),
        |p| Box::new(AlphaDropout::new(p)),
    ];
    for (make, op) in all.into_iter().zip(["dropout", "feature_dropout", "alpha_dropout"]) {
        assert_eq!(values(&make(0.0).forward(&some)?), values(&some));
        assert!(values(&make(1.0).forward(&some)?).iter().all(|&v| v == 0.0));
        for p in [-0.1, 1.1, f64::NAN] {
            fails(make(p).forward(&some), &format!("{op}: probability {p} must be in [0, 1]"));
        }
    }
    Ok(())
}
