//! Gaussian blur: two depthwise convolutions.

use super::pad::pad_named;
use super::{PadMode, conv2d};
use crate::{Error, Result, Tensor, Variable};

/// Blurs the planes of `[N, C, H, W]` or `[C, H, W]` with a Gaussian of this standard deviation in
/// pixels, cut off at ⌈3σ⌉ and normalised. The edges are mirrored, so that a constant image stays
/// as it is. A deviation of 0 changes nothing.
///
/// # Errors
/// When the deviation is negative or not finite, the rank does not fit, or ⌈3σ⌉ is not smaller than
/// height and width.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::ones(&[1, 3, 8, 8], TensorOptions::default())?, false);
/// let y = gaussian_blur_2d(&x, 1.5)?;
/// assert!(y.sub(&x)?.abs()?.max()?.item()? < 1e-6);
/// # Ok::<(), Error>(())
/// ```
pub fn gaussian_blur_2d(input: &Variable, sigma: f64) -> Result<Variable> {
    let op = "gaussian_blur_2d";
    if !(0.0..1e6).contains(&sigma) {
        let what = format!("sigma {sigma} must not be negative, and below 1e6");
        return Err(Error::invalid(op, what));
    }
    input.with_data(|t| t.check_float(op))?;
    let shape = input.shape();
    let [.., channels, height, width] = shape[..] else { return Err(rank(op, input)) };
    if shape.len() > 4 {
        return Err(rank(op, input));
    }
    let radius = (3.0 * sigma).ceil() as i64;
    if radius == 0 || input.numel() == 0 {
        return Ok(input.clone());
    }
    if radius >= height.min(width) {
        return Err(Error::Shape {
            op,
            expected: format!("a height and width above {radius}, three deviations of {sigma}"),
            got: shape,
        });
    }
    let weights: Vec<f64> =
        (-radius..=radius).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
    let size = weights.len() as i64;
    let row = Tensor::from_f64(&weights, &[1, 1, 1, size], input.device())?
        .to_dtype(input.dtype())?
        .repeat(&[channels, 1, 1, 1])?;
    let column = row.reshape(&[channels, 1, size, 1])?;
    let (row, column) = (Variable::constant(row), Variable::constant(column));
    let x = pad_named(op, input, &[radius; 4], PadMode::Reflect)?;
    let x = conv2d(&x, &row, None, [1, 1], [0, 0], [1, 1], channels)?;
    conv2d(&x, &column, None, [1, 1], [0, 0], [1, 1], channels)
}

fn rank(op: &'static str, input: &Variable) -> Error {
    let expected = "an input [N, C, H, W] or [C, H, W]".into();
    Error::Shape { op, expected, got: input.shape() }
}
