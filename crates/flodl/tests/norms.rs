//! Norms at the edges: empty batches, running statistics, dtypes.

use flodl::*;

fn randn(shape: &[i64], dtype: DType) -> Variable {
    Variable::new(Tensor::randn(shape, dtype.into()).unwrap(), true)
}

fn buffer(m: &dyn Module, name: &str) -> Tensor {
    m.buffers().into_iter().find(|b| b.name == name).unwrap().get()
}

#[test]
fn an_empty_batch_leaves_running_statistics_as_they_are() -> Result<()> {
    let layers: [(Box<dyn Module>, &[i64], f64); 4] = [
        (Box::new(InstanceNorm1d::new(3, true)?.track_running_stats(true)?), &[4, 3, 5], 0.0),
        (Box::new(InstanceNorm2d::new(3, false)?.track_running_stats(true)?), &[4, 3, 5, 2], 0.0),
        (Box::new(InstanceNorm3d::new(3, true)?.track_running_stats(true)?), &[4, 3, 2, 3, 2], 0.0),
        // An empty batch counts, as in PyTorch, whose instance norms count none.
        (Box::new(BatchNorm1d::new(3)?), &[4, 3, 5], 2.0),
    ];
    for (m, shape, counted) in layers {
        m.forward(&randn(shape, DType::Float32))?;
        let statistics = || -> Result<[Vec<f64>; 2]> {
            let all = ["running_mean", "running_var"].map(|n| buffer(&*m, n).to_f64_vec());
            let [mean, var] = all;
            Ok([mean?, var?])
        };
        let before = statistics()?;
        let x = randn(&[&[0], &shape[1..]].concat(), DType::Float32);
        let y = m.forward(&x)?;
        assert_eq!(y.shape(), x.shape());
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().shape(), x.shape());
        assert_eq!(statistics()?, before, "{}", m.name());
        assert!(before.iter().flatten().all(|v| v.is_finite()));
        assert_eq!(buffer(&*m, "num_batches_tracked").item()?, counted, "{}", m.name());
    }
    Ok(())
}

#[test]
fn local_response_norm_takes_empty_inputs() -> Result<()> {
    for shape in [&[0, 4, 3][..], &[2, 0, 3], &[2, 4, 0], &[0, 4, 2, 3]] {
        let x = randn(shape, DType::Float32);
        let y = LocalResponseNorm::new(3).forward(&x)?;
        assert_eq!(y.shape(), shape);
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().shape(), shape);
    }
    Ok(())
}

/// Running statistics of a model that was cast to f64 are f64: inference is as exact as training.
#[test]
fn a_module_cast_to_float64_has_statistics_of_float64() -> Result<()> {
    manual_seed(5);
    let norm = BatchNorm2d::new(3)?;
    let model = FlowBuilder::from(Conv2d::new(2, 3, 3)?).through(norm.clone()).build()?;
    model.forward(&randn(&[4, 2, 6, 6], DType::Float32))?;
    cast_module(&model, DType::Float64)?;
    for _ in 0..5 {
        model.forward(&randn(&[4, 2, 6, 6], DType::Float64))?;
    }
    for name in ["running_mean", "running_var"] {
        assert_eq!(buffer(&norm, name).dtype(), DType::Float64, "{name}");
    }
    assert_eq!(buffer(&norm, "num_batches_tracked").dtype(), DType::Int64);
    let norm_alone = |mean: &Tensor, var: &Tensor, x: &Tensor| -> Result<Tensor> {
        let row = |t: &Tensor| t.reshape(&[1, 3, 1, 1]);
        x.sub(&row(mean)?)?.div(&row(&var.add_scalar(1e-5)?.sqrt()?)?)
    };
    norm.eval();
    let x = randn(&[4, 3, 5, 5], DType::Float64);
    let y = norm.forward(&x)?.data();
    let (mean, var) = (buffer(&norm, "running_mean"), buffer(&norm, "running_var"));
    let error = y.sub(&norm_alone(&mean, &var, &x.data())?)?.abs()?.max()?.item()?;
    assert!(error < 1e-10 * y.abs()?.max()?.item()?, "{error:e}");

    // What the statistics are, over all batches: the update loses no digits to float32.
    let norm = BatchNorm2d::new(3)?;
    cast_module(&norm, DType::Float64)?;
    let (mut mean, mut var) = (vec![0.0; 3], vec![1.0; 3]);
    for _ in 0..4 {
        let x = randn(&[4, 3, 5, 5], DType::Float64);
        norm.forward(&x)?;
        let batch = x.data().mean_dims(&[0, 2, 3], false)?.to_f64_vec()?;
        let spread = x.data().var_dims(&[0, 2, 3], 1.0, false)?.to_f64_vec()?;
        for c in 0..3 {
            mean[c] = 0.9 * mean[c] + 0.1 * batch[c];
            var[c] = 0.9 * var[c] + 0.1 * spread[c];
        }
    }
    for (ours, want) in [("running_mean", mean), ("running_var", var)] {
        for (a, b) in buffer(&norm, ours).to_f64_vec()?.iter().zip(want) {
            assert!((a - b).abs() < 1e-10, "{ours}: {a} against {b}");
        }
    }
    let error = cast_module(&norm, DType::Int64).unwrap_err().to_string();
    assert_eq!(error, "cast_module: expected a floating-point dtype, got dtype int64");
    Ok(())
}

/// RMS norm's default eps is the machine epsilon of the input's dtype.
#[test]
fn rms_norm_has_the_machine_epsilon() -> Result<()> {
    for (dtype, machine) in
        [(DType::Float32, f64::from(f32::EPSILON)), (DType::Float64, f64::EPSILON)]
    {
        let (norm, given) = (RMSNorm::new(4)?, RMSNorm::new(4)?.eps(machine));
        cast_module(&norm, dtype)?;
        cast_module(&given, dtype)?;
        let x = randn(&[3, 4], dtype).mul_scalar(1e-4)?;
        assert_eq!(norm.forward(&x)?.data().to_f64_vec()?, given.forward(&x)?.data().to_f64_vec()?);
    }
    Ok(())
}
