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
