//! Activations: values, sizes, stability.

use super::*;

const X: [f64; 4] = [-1.0, 1.0, 3.5, -4.0];

#[test]
fn values_of_activations() -> Checked {
    let table: Vec<(Box<dyn Module>, [f64; 4])> = vec![
        (Box::new(ReLU), [0.0, 1.0, 3.5, 0.0]),
        (Box::new(Sigmoid), [0.268941, 0.731059, 0.970688, 0.017986]),
        (Box::new(Tanh), [-0.761594, 0.761594, 0.998178, -0.999329]),
        (Box::new(GELU), [-0.158655, 0.841345, 3.499186, -0.000127]),
        (Box::new(GELU::tanh()), [-0.158808, 0.841192, 3.499384, -0.000070]),
        (Box::new(SiLU), [-0.268941, 0.731059, 3.397407, -0.071945]),
        (Box::new(SELU), [-1.111331, 1.050701, 3.677454, -1.725899]),
        (Box::new(Mish), [-0.303401, 0.865098, 3.493991, -0.072592]),
        (Box::new(Hardswish), [-0.333333, 0.666667, 3.5, 0.0]),
        (Box::new(Hardsigmoid), [0.333333, 0.666667, 1.0, 0.0]),
        (Box::new(Identity), X),
        (Box::new(LeakyReLU::new(0.01)), [-0.01, 1.0, 3.5, -0.04]),
        (Box::new(ELU::new(1.0)), [-0.632121, 1.0, 3.5, -0.981684]),
        (Box::new(Softplus::new(1.0, 20.0)), [0.313262, 1.313262, 3.529750, 0.018150]),
        (Box::new(PReLU::new(1, Device::CPU)?), [-0.25, 1.0, 3.5, -1.0]),
    ];
    for (m, want) in table {
        let x = leaf(&var(&X, &[4]));
        let y = m.forward(&x)?;
        for (got, want) in values(&y).iter().zip(want) {
            assert!((got - want).abs() < 2e-6, "{}: {got} is not {want}", m.name());
        }
        assert_eq!(values(&x), X, "{} leaves its input as it was", m.name());
        // The slope is that of the differences, away from the kinks.
        y.sum()?.backward()?;
        let h = 1e-2;
        let at =
            |d: f64| -> Result<Vec<f64>> { Ok(values(&m.forward(&var(&X.map(|v| v + d), &[4]))?)) };
        let (up, down) = (at(h)?, at(-h)?);
        for (i, slope) in gradient(&x).iter().enumerate() {
            let want = (up[i] - down[i]) / (2.0 * h);
            assert!((slope - want).abs() < 1e-3, "{}: slope {slope} is not {want}", m.name());
        }
    }
    Ok(())
}

#[test]
fn modules_compute_what_the_methods_do() -> Checked {
    type Method = fn(&Variable) -> Result<Variable>;
    let table: Vec<(Box<dyn Module>, Method)> = vec![
        (Box::new(ReLU), |v| v.relu()),
        (Box::new(Sigmoid), |v| v.sigmoid()),
        (Box::new(Tanh), |v| v.tanh()),
        (Box::new(GELU), |v| v.gelu()),
        (Box::new(SiLU), |v| v.silu()),
        (Box::new(SELU), |v| v.selu()),
        (Box::new(Mish), |v| v.mish()),
        (Box::new(Hardswish), |v| v.hardswish()),
        (Box::new(Hardsigmoid), |v| v.hardsigmoid()),
        (Box::new(Identity), |v| Ok(v.clone())),
        (Box::new(LeakyReLU::new(0.2)), |v| v.leaky_relu(0.2)),
        (Box::new(ELU::new(0.7)), |v| v.elu(0.7)),
        (Box::new(Softplus::new(2.0, 5.0)), |v| v.softplus(2.0, 5.0)),
        (Box::new(Softmax::new(-1)), |v| v.softmax(-1)),
        (Box::new(LogSoftmax::new(0)), |v| v.log_softmax(0)),
        (Box::new(Flatten::new(0, 1)), |v| v.flatten(0, 1)),
    ];
    let x = randn(&[7, 9]);
    for (m, method) in table {
        assert_eq!(values(&m.forward(&x)?), values(&method(&x)?), "{}", m.name());
        assert!(m.parameters().is_empty() && m.buffers().is_empty(), "{}", m.name());
    }
    Ok(())
}

#[test]
fn activations_without_settings_take_no_memory() {
    macro_rules! sizes {
        ($($name:ident)*) => { $(assert_eq!(size_of::<$name>(), 0, stringify!($name));)* };
    }
    sizes!(ReLU Sigmoid Tanh GELU SiLU SELU Mish Hardswish Hardsigmoid Identity GELUTanh);
}

#[test]
fn activations_are_stable_far_out() -> Checked {
    let far = var(&[1000.0, -1000.0, 1e4, -1e4], &[4]);
    assert_eq!(values(&Sigmoid.forward(&far)?), [1.0, 0.0, 1.0, 0.0]);
    close(&Mish.forward(&far)?, &[1000.0, 0.0, 1e4, 0.0], 1e-3);
    let softplus = Softplus::new(1.0, 20.0).forward(&var(&[25.0, -25.0], &[2]))?;
    assert_eq!(values(&softplus)[0], 25.0, "above the threshold");
    assert!((values(&softplus)[1] / 1.3887944e-11 - 1.0).abs() < 1e-3);
    for m in [&ReLU as &dyn Module, &Tanh, &GELU, &SiLU, &SELU, &Hardswish, &Hardsigmoid] {
        assert!(m.forward(&far)?.data().all_finite()?, "{}", m.name());
    }
    Ok(())
}

#[test]
fn softmax_is_a_distribution() -> Checked {
    let x = randn(&[5, 7]);
    let y = Softmax::new(-1).forward(&x)?;
    close(&y.sum_dim(1, false)?, &[1.0; 5], 1e-6);
    close(&Softmax::new(-1).forward(&x.add_scalar(3.0)?)?, &values(&y), 1e-6);
    let wide = var(&[1e4, 1e4, 0.0], &[1, 3]);
    close(&Softmax::new(-1).forward(&wide)?, &[0.5, 0.5, 0.0], 1e-6);
    close(&LogSoftmax::new(-1).forward(&x)?, &values(&y.log()?), 1e-5);
    close(&LogSoftmax::new(-1).forward(&var(&[1e4, 0.0], &[1, 2]))?, &[0.0, -1e4], 1e-3);
    fails(Softmax::new(2).forward(&x), "softmax: dim 2 is out of range");
    fails(LogSoftmax::new(-3).forward(&x), "log_softmax: dim -3 is out of range");
    Ok(())
}

#[test]
fn settings_matter_and_weights_are_learned() -> Checked {
    let x = leaf(&var(&X, &[2, 2]));
    let slopes = |s| -> Result<Vec<f64>> { Ok(values(&LeakyReLU::new(s).forward(&x)?)) };
    assert_ne!(slopes(0.01)?, slopes(0.2)?);
    assert_ne!(values(&ELU::new(1.0).forward(&x)?), values(&ELU::new(2.0).forward(&x)?));
    let image = randn(&[2, 3, 4, 5]);
    assert_eq!(Flatten::new(1, -1).forward(&image)?.shape(), [2, 60]);
    assert_eq!(Flatten::new(0, 1).forward(&image)?.shape(), [6, 4, 5]);
    let prelu = PReLU::new(1, Device::CPU)?;
    let weight = &prelu.parameters()[0];
    assert_eq!(values(&weight.variable), [0.25]);
    prelu.forward(&x)?.sum()?.backward()?;
    assert_eq!(gradient(&weight.variable), [-5.0]);
    let channels = PReLU::new(2, Device::CPU)?;
    set(&channels.parameters()[0], &[0.5, 2.0]);
    let y = channels.forward(&var(&[-1.0; 8], &[2, 2, 2]))?;
    assert_eq!(values(&y), [-0.5, -0.5, -2.0, -2.0, -0.5, -0.5, -2.0, -2.0]);
    Identity.forward(&x)?.sum()?.backward()?;
    Ok(())
}
