//! Initial weights, as PyTorch draws them.

use crate::{Device, Error, Result, Tensor, TensorOptions};

fn on(device: Device) -> TensorOptions {
    TensorOptions { device, ..TensorOptions::default() }
}

/// Uniform numbers in `[low, high)`.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn uniform(shape: &[i64], low: f64, high: f64, device: Device) -> Result<Tensor> {
    let mut t = Tensor::rand(shape, on(device))?;
    t.mul_scalar_(high - low)?;
    t.add_scalar_(low)?;
    Ok(t)
}

/// Normal numbers.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn normal(shape: &[i64], mean: f64, std: f64, device: Device) -> Result<Tensor> {
    let mut t = Tensor::randn(shape, on(device))?;
    t.mul_scalar_(std)?;
    t.add_scalar_(mean)?;
    Ok(t)
}

/// Uniform in ±gain·√(3 / fan_in) with the gain of a leaky ReLU of slope `a`: `a = 0` suits ReLU
/// (He et al., 2015), `a = √5` is PyTorch's default for layers.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn kaiming_uniform(shape: &[i64], fan_in: i64, a: f64, device: Device) -> Result<Tensor> {
    let bound = (6.0 / ((1.0 + a * a) * fan_in.max(1) as f64)).sqrt();
    uniform(shape, -bound, bound, device)
}

/// Normal with deviation gain / √fan_in, the gain as in [`kaiming_uniform`].
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn kaiming_normal(shape: &[i64], fan_in: i64, a: f64, device: Device) -> Result<Tensor> {
    normal(shape, 0.0, (2.0 / ((1.0 + a * a) * fan_in.max(1) as f64)).sqrt(), device)
}

/// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn xavier_uniform(shape: &[i64], fan_in: i64, fan_out: i64, device: Device) -> Result<Tensor> {
    let bound = (6.0 / (fan_in + fan_out).max(1) as f64).sqrt();
    uniform(shape, -bound, bound, device)
}

/// Normal with deviation √(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn xavier_normal(shape: &[i64], fan_in: i64, fan_out: i64, device: Device) -> Result<Tensor> {
    normal(shape, 0.0, (2.0 / (fan_in + fan_out).max(1) as f64).sqrt(), device)
}

/// Uniform in ±1/√fan_in, PyTorch's default for biases.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn uniform_bias(fan_in: i64, shape: &[i64], device: Device) -> Result<Tensor> {
    let bound = if fan_in > 0 { 1.0 / (fan_in as f64).sqrt() } else { 0.0 };
    uniform(shape, -bound, bound, device)
}

/// Normal numbers drawn again until they lie in `a..=b`.
///
/// # Errors
/// When the interval is empty or so far out that nothing falls into it.
pub fn trunc_normal(
    shape: &[i64],
    mean: f64,
    std: f64,
    a: f64,
    b: f64,
    device: Device,
) -> Result<Tensor> {
    let n: i64 = shape.iter().product();
    let mut rng = crate::Rng::seed(crate::rng::draw_seed());
    let mut draw = || {
        (0..10_000).map(|_| rng.normal(mean, std)).find(|v| (a..=b).contains(v)).ok_or_else(|| {
            Error::invalid(
                "trunc_normal",
                format!("almost nothing of N({mean}, {std}²) in [{a}, {b}]"),
            )
        })
    };
    let values = (0..n).map(|_| draw().map(|v| v as f32)).collect::<Result<Vec<f32>>>()?;
    Tensor::from_f32(&values, shape, device)
}

/// A (semi-)orthogonal matrix over the first dim and the others joined, scaled by `gain` (Saxe et
/// al., 2013).
///
/// # Errors
/// When there are fewer than two dims.
pub fn orthogonal(shape: &[i64], gain: f64, device: Device) -> Result<Tensor> {
    if shape.len() < 2 {
        return Err(Error::Shape {
            op: "orthogonal",
            expected: "at least 2 dims".into(),
            got: shape.to_vec(),
        });
    }
    let (rows, cols) = (shape[0] as usize, shape[1..].iter().product::<i64>() as usize);
    let (long, short) = (rows.max(cols), rows.min(cols));
    let mut rng = crate::Rng::seed(crate::rng::draw_seed());
    // Modified Gram-Schmidt, twice, on `short` random vectors of length `long`.
    let mut q: Vec<Vec<f64>> =
        (0..short).map(|_| (0..long).map(|_| rng.normal(0.0, 1.0)).collect()).collect();
    for i in 0..short {
        for _ in 0..2 {
            for j in 0..i {
                let dot: f64 = q[i].iter().zip(&q[j]).map(|(a, b)| a * b).sum();
                let (head, tail) = q.split_at_mut(i);
                tail[0].iter_mut().zip(&head[j]).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = q[i].iter().map(|v| v * v).sum::<f64>().sqrt();
        q[i].iter_mut().for_each(|v| *v /= norm);
    }
    let at = |r: usize, c: usize| if rows >= cols { q[c][r] } else { q[r][c] };
    let values: Vec<f32> = (0..rows)
        .flat_map(|r| (0..cols).map(move |c| (r, c)))
        .map(|(r, c)| (gain * at(r, c)) as f32)
        .collect();
    Tensor::from_f32(&values, shape, device)
}

/// A constant.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn constant(shape: &[i64], value: f64, device: Device) -> Result<Tensor> {
    Tensor::full(shape, value, on(device))
}

/// Zeros.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn zeros(shape: &[i64], device: Device) -> Result<Tensor> {
    Tensor::zeros(shape, on(device))
}

/// Ones.
///
/// # Errors
/// When a size is negative or the device cannot be used.
pub fn ones(shape: &[i64], device: Device) -> Result<Tensor> {
    Tensor::ones(shape, on(device))
}

/// A matrix with ones on its diagonal: a linear layer that passes as many inputs on as it can.
///
/// # Errors
/// When there are not two dims.
pub fn eye(shape: &[i64], device: Device) -> Result<Tensor> {
    let &[rows, columns] = shape else {
        return Err(Error::Shape { op: "eye", expected: "2 dims".into(), got: shape.to_vec() });
    };
    let mut values = vec![0f32; checked(shape)?];
    for i in 0..rows.min(columns) as usize {
        values[i * columns as usize + i] = 1.0;
    }
    Tensor::from_f32(&values, shape, device)
}

/// A convolution's weight `[C_out, C_in, …]` that passes as many channels on as it can, in each
/// group (Zagoruyko and Komodakis, 2017).
///
/// # Errors
/// When there are not 3 to 5 dims, or groups do not divide the output channels.
pub fn dirac(shape: &[i64], groups: i64, device: Device) -> Result<Tensor> {
    if !(3..=5).contains(&shape.len()) {
        let expected = "3 to 5 dims [C_out, C_in, …]".into();
        return Err(Error::Shape { op: "dirac", expected, got: shape.to_vec() });
    }
    if groups < 1 || shape[0] % groups != 0 {
        let what = format!("{groups} groups must divide {} output channels", shape[0]);
        return Err(Error::invalid("dirac", what));
    }
    let mut values = vec![0f32; checked(shape)?];
    let (per_group, inputs) = (shape[0] / groups, shape[1]);
    let plane: i64 = shape[2..].iter().product();
    let center = shape[2..].iter().fold(0, |at, &k| at * k + k / 2);
    for g in 0..groups {
        for d in 0..per_group.min(inputs) {
            values[((g * per_group + d) * inputs * plane + d * plane + center) as usize] = 1.0;
        }
    }
    Tensor::from_f32(&values, shape, device)
}

/// A matrix of normal numbers in which a share of each column is 0 (Martens, 2010).
///
/// # Errors
/// When there are not two dims, or the share is not in `[0, 1]`.
pub fn sparse(shape: &[i64], sparsity: f64, std: f64, device: Device) -> Result<Tensor> {
    let &[rows, columns] = shape else {
        return Err(Error::Shape { op: "sparse", expected: "2 dims".into(), got: shape.to_vec() });
    };
    if !(0.0..=1.0).contains(&sparsity) {
        return Err(Error::invalid("sparse", format!("sparsity {sparsity} must be in [0, 1]")));
    }
    let mut values = normal(shape, 0.0, std, device)?.to_f32_vec()?;
    let none = (sparsity * rows as f64).ceil() as usize;
    for column in 0..columns as usize {
        for row in Tensor::randperm(rows, on(device))?.to_i64_vec()?.iter().take(none) {
            values[*row as usize * columns as usize + column] = 0.0;
        }
    }
    Tensor::from_f32(&values, shape, device)
}

/// Number of elements of a shape.
fn checked(shape: &[i64]) -> Result<usize> {
    match shape.iter().find(|&&n| n < 0) {
        Some(n) => Err(Error::invalid("init", format!("size {n} is negative"))),
        None => Ok(shape.iter().product::<i64>() as usize),
    }
}

/// What follows a layer, for [`calculate_gain`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a convolution.
    Linear,
    /// Sigmoid.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// ReLU.
    Relu,
    /// Leaky ReLU with this slope.
    LeakyRelu(f64),
    /// SELU.
    Selu,
}

/// The factor on initial weights that keeps the variance through a nonlinearity, PyTorch's values.
///
/// ```
/// use flodl::*;
/// assert_eq!(calculate_gain(Nonlinearity::Relu), 2f64.sqrt());
/// ```
pub fn calculate_gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::Relu => std::f64::consts::SQRT_2,
        Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::Selu => 0.75,
    }
}
