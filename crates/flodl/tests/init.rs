//! Initialisers: distributions, structure, seeds.

use flodl::*;

/// Mean, variance, smallest and largest.
fn moments(t: &Tensor) -> (f64, f64, f64, f64) {
    let v = t.to_f64_vec().unwrap();
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let (low, high) = v.iter().fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
    (mean, var, low, high)
}

#[test]
fn distributions_are_pytorchs() {
    manual_seed(1);
    let shape = [400, 250];
    let cpu = Device::CPU;
    let uniform_cases = [
        (kaiming_uniform(&shape, 250, 5f64.sqrt(), cpu), 1.0 / 250f64.sqrt()),
        (kaiming_uniform(&shape, 250, 0.0, cpu), (6.0f64 / 250.0).sqrt()),
        (xavier_uniform(&shape, 250, 400, cpu), (6.0f64 / 650.0).sqrt()),
        (uniform_bias(250, &shape, cpu), 1.0 / 250f64.sqrt()),
    ];
    for (i, (t, bound)) in uniform_cases.into_iter().enumerate() {
        let (mean, var, low, high) = moments(&t.unwrap());
        assert!(low >= -bound * 1.000001 && low < -0.999 * bound, "{i}: {low} {bound}");
        assert!(high <= bound * 1.000001 && high > 0.999 * bound, "{i}: {high} {bound}");
        assert!(mean.abs() < 0.01 * bound, "{i}: {mean}");
        assert!((var / (bound * bound / 3.0) - 1.0).abs() < 0.02, "{i}: {var}");
    }
    let normal_cases = [
        (kaiming_normal(&shape, 250, 0.0, cpu), (2.0f64 / 250.0).sqrt()),
        (xavier_normal(&shape, 250, 400, cpu), (2.0f64 / 650.0).sqrt()),
        (normal(&shape, 0.0, 0.3, cpu), 0.3),
    ];
    for (i, (t, std)) in normal_cases.into_iter().enumerate() {
        let (mean, var, low, high) = moments(&t.unwrap());
        assert!(mean.abs() < 0.02 * std, "{i}: {mean}");
        assert!((var.sqrt() / std - 1.0).abs() < 0.02, "{i}: {var}");
        assert!(low < -3.5 * std && high > 3.5 * std, "{i}: {low} {high}");
    }
    let (mean, var, low, high) = moments(&trunc_normal(&shape, 0.0, 1.0, -2.0, 2.0, cpu).unwrap());
    // Variance of a normal distribution cut at two deviations.
    assert!(mean.abs() < 0.02 && (var - 0.7737).abs() < 0.01, "{mean} {var}");
    assert!((-2.0..-1.99).contains(&low) && (1.99..=2.0).contains(&high), "{low} {high}");
}

#[test]
fn structured_ones_are_as_they_say() {
    let cpu = Device::CPU;
    for shape in [[5, 3], [3, 5], [4, 4]] {
        let q = orthogonal(&shape, 2.0, cpu).unwrap().to_dtype(DType::Float64).unwrap();
        let wide = shape[0] <= shape[1];
        let gram = if wide { q.matmul(&q.t().unwrap()) } else { q.t().unwrap().matmul(&q) };
        let gram = gram.unwrap().to_f64_vec().unwrap();
        let n = shape[0].min(shape[1]) as usize;
        for (i, v) in gram.iter().enumerate() {
            let want = if i / n == i % n { 4.0 } else { 0.0 };
            assert!((v - want).abs() < 1e-5, "{shape:?} {i}: {v}");
        }
    }
    assert_eq!(eye(&[2, 3], cpu).unwrap().to_f64_vec().unwrap(), [1., 0., 0., 0., 1., 0.]);
    let w = Variable::new(dirac(&[4, 2, 3], 2, cpu).unwrap(), false);
    let x = Variable::new(Tensor::randn(&[1, 4, 7], TensorOptions::default()).unwrap(), false);
    let y = conv1d(&x, &w, None, 1, 1, 1, 2).unwrap();
    assert_eq!(y.data().to_f64_vec().unwrap(), x.data().to_f64_vec().unwrap());
    let s = sparse(&[10, 6], 0.3, 0.01, cpu).unwrap();
    let zero = s.eq_scalar(0.0).unwrap().to_dtype(DType::Int64).unwrap();
    assert_eq!(zero.sum_dim(0, false).unwrap().to_i64_vec().unwrap(), [3; 6]);
    assert_eq!(constant(&[2], 3.0, cpu).unwrap().to_f64_vec().unwrap(), [3.0; 2]);
    assert_eq!(calculate_gain(Nonlinearity::Tanh), 5.0 / 3.0);
    assert_eq!(calculate_gain(Nonlinearity::LeakyRelu(0.0)), 2f64.sqrt());
}

#[test]
fn a_seed_gives_the_same_numbers() {
    type Init = fn() -> Result<Tensor>;
    let inits: [Init; 5] = [
        || kaiming_uniform(&[9, 5], 5, 0.0, Device::CPU),
        || normal(&[9, 5], 0.0, 1.0, Device::CPU),
        || trunc_normal(&[9, 5], 0.0, 1.0, -2.0, 2.0, Device::CPU),
        || orthogonal(&[9, 5], 1.0, Device::CPU),
        || sparse(&[9, 5], 0.5, 1.0, Device::CPU),
    ];
    for (i, init) in inits.iter().enumerate() {
        let draw = |seed| {
            manual_seed(seed);
            init().unwrap().to_f64_vec().unwrap()
        };
        assert_eq!(draw(7), draw(7), "{i}");
        assert_ne!(draw(7), draw(8), "{i}");
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let cpu = Device::CPU;
    let error = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert_eq!(error(eye(&[3], cpu)), "eye: expected 2 dims, got shape [3]");
    assert_eq!(
        error(dirac(&[2, 2], 1, cpu)),
        "dirac: expected 3 to 5 dims [C_out, C_in, …], got shape [2, 2]"
    );
    assert_eq!(error(dirac(&[3, 2, 1], 2, cpu)), "dirac: 2 groups must divide 3 output channels");
    assert_eq!(error(sparse(&[2, 2], 1.5, 1.0, cpu)), "sparse: sparsity 1.5 must be in [0, 1]");
    assert!(error(orthogonal(&[3], 1.0, cpu)).contains("at least 2 dims"));
    assert!(error(trunc_normal(&[3], 0.0, 1.0, 50.0, 51.0, cpu)).contains("almost nothing"));
}
