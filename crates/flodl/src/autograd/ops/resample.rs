//! Interpolation to another size, and pixels moved between channels and space.

use super::from_nothing;
use crate::backend::ResampleGeom;
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor, Variable};

pub use crate::backend::Interpolation;

/// A mode, by its enum or by its number.
pub trait IntoMode<M> {
    /// The mode, or the number when it stands for none.
    fn into_mode(self) -> std::result::Result<M, i64>;
}

impl IntoMode<Interpolation> for Interpolation {
    fn into_mode(self) -> std::result::Result<Interpolation, i64> {
        Ok(self)
    }
}

impl IntoMode<Interpolation> for i64 {
    /// 0 nearest, 1 linear, 2 cubic.
    fn into_mode(self) -> std::result::Result<Interpolation, i64> {
        match self {
            0 => Ok(Interpolation::Nearest),
            1 => Ok(Interpolation::Linear),
            2 => Ok(Interpolation::Cubic),
            n => Err(n),
        }
    }
}

impl<M> IntoMode<M> for i32
where
    i64: IntoMode<M>,
{
    fn into_mode(self) -> std::result::Result<M, i64> {
        i64::from(self).into_mode()
    }
}

impl<M> IntoMode<M> for std::result::Result<M, i64> {
    fn into_mode(self) -> std::result::Result<M, i64> {
        self
    }
}

/// Resizes the spatial dims of `[N, C, …]` (one to three of them) by interpolation. The mode is an
/// [`Interpolation`] or its number: 0 nearest, 1 linear (bilinear, trilinear), 2 cubic (bicubic, of
/// two dims). With `align_corners` the centres of the corner elements stay in place.
///
/// # Errors
/// When sizes do not fit, the mode is unknown, or `align_corners` is asked of a nearest mode.
pub fn interpolate(
    input: &Variable,
    output_size: &[i64],
    mode: impl IntoMode<Interpolation>,
    align_corners: bool,
) -> Result<Variable> {
    let scale = [None; 3];
    resized("interpolate", input, output_size, scale, mode.into_mode(), align_corners)
}

/// [`interpolate`] by a factor for each spatial dim; a size becomes ⌊size · factor⌋.
///
/// # Errors
/// As for [`interpolate`].
pub fn interpolate_by(
    input: &Variable,
    scale_factor: &[f64],
    mode: impl IntoMode<Interpolation>,
    align_corners: bool,
) -> Result<Variable> {
    let op = "interpolate";
    let shape = input.shape();
    let spatial = shape.get(2..).unwrap_or(&[]);
    if scale_factor.len() != spatial.len() || scale_factor.iter().any(|&s| s.is_nan() || s <= 0.0) {
        return Err(Error::invalid(
            op,
            format!("scale factors {scale_factor:?} must be positive, one for each spatial dim"),
        ));
    }
    let size: Vec<i64> =
        spatial.iter().zip(scale_factor).map(|(&n, s)| (n as f64 * s).floor() as i64).collect();
    let mut scale = [None; 3];
    for (to, &s) in scale.iter_mut().rev().zip(scale_factor.iter().rev()) {
        *to = Some(s);
    }
    resized(op, input, &size, scale, mode.into_mode(), align_corners)
}

fn resized(
    op: &'static str,
    input: &Variable,
    size: &[i64],
    scale: [Option<f64>; 3],
    mode: std::result::Result<Interpolation, i64>,
    align_corners: bool,
) -> Result<Variable> {
    let mode = mode.map_err(|n| {
        Error::invalid(op, format!("mode {n} is none of 0 (nearest), 1 (linear), 2 (cubic)"))
    })?;
    let nearest = matches!(mode, Interpolation::Nearest | Interpolation::NearestExact);
    if nearest && align_corners {
        return Err(Error::invalid(op, "align_corners has no meaning for nearest interpolation"));
    }
    let rank = size.len();
    if mode == Interpolation::Cubic && rank != 2 {
        return Err(Error::invalid(op, "cubic interpolation takes two spatial dims"));
    }
    if size.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("output size {size:?} must be positive")));
    }
    let dims = input.with_data(|t| Dims::from_slice(t.dims()));
    if !(1..=3).contains(&rank) || dims.len() != rank + 2 || dims[2..].contains(&0) {
        return Err(Error::Shape {
            op,
            expected: format!("an input [N, C, ...] whose {rank} spatial dims are not empty"),
            got: input.shape(),
        });
    }
    let mut g = ResampleGeom {
        planes: dims[0] * dims[1],
        input: [1; 3],
        output: [1; 3],
        scale,
        align_corners,
        mode,
    };
    g.input[3 - rank..].copy_from_slice(&dims[2..]);
    for (to, &n) in g.output[3 - rank..].iter_mut().zip(size) {
        *to = n as usize;
    }
    let home = input.dtype();
    let x = if home.is_half() { input.to_dtype(DType::Float32)? } else { input.clone() };
    forward(op, &x, g, &dims)?.to_dtype(home)
}

fn forward(op: &'static str, x: &Variable, g: ResampleGeom, from: &Dims) -> Result<Variable> {
    let t = x.with_data(|t| {
        t.check_float(op)?;
        t.contiguous()
    })?;
    let mut shape = Dims::from_slice(&from[..2]);
    shape.extend_from_slice(&g.output[5 - from.len()..]);
    let y =
        Tensor::build(&shape, t.dtype(), t.device(), |b, out| b.resample(&g, t.operand(), out))?;
    let from = from.clone();
    Ok(from_nothing(op, x, y, move |dy| transposed(op, &dy, g, &from)))
}

fn transposed(op: &'static str, dy: &Variable, g: ResampleGeom, from: &Dims) -> Result<Variable> {
    let t = dy.with_data(|t| t.contiguous())?;
    let dx = Tensor::build(from, t.dtype(), t.device(), |b, out| {
        b.resample_backward(&g, t.operand(), out)
    })?;
    let from = from.clone();
    Ok(from_nothing(op, dy, dx, move |g2| forward(op, &g2, g, &from)))
}

/// Leading dims together, channels, height, width.
fn image(op: &'static str, input: &Variable, factor: i64) -> Result<[i64; 4]> {
    if factor < 1 {
        return Err(Error::invalid(op, format!("factor {factor} must be positive")));
    }
    match *input.shape() {
        [ref lead @ .., c, h, w] => Ok([lead.iter().product(), c, h, w]),
        ref shape => Err(Error::Shape {
            op,
            expected: "an input [..., C, H, W]".into(),
            got: shape.to_vec(),
        }),
    }
}

/// Moves channels to space: `[…, C · r², H, W]` becomes `[…, C, H · r, W · r]` (Shi et al., 2016).
///
/// # Errors
/// When r² does not divide the channels.
pub fn pixel_shuffle(input: &Variable, upscale_factor: i64) -> Result<Variable> {
    let r = upscale_factor;
    let [n, c, h, w] = image("pixel_shuffle", input, r)?;
    if c % (r * r) != 0 {
        return Err(Error::Shape {
            op: "pixel_shuffle",
            expected: format!("channels that {} divides", r * r),
            got: input.shape(),
        });
    }
    let mut shape = input.shape();
    let at = shape.len() - 3;
    shape[at..].copy_from_slice(&[c / (r * r), h * r, w * r]);
    let parts = input.reshape(&[n, c / (r * r), r, r, h, w])?;
    parts.permute(&[0, 1, 4, 2, 5, 3])?.reshape(&shape)
}

/// Moves space to channels: `[…, C, H · r, W · r]` becomes `[…, C · r², H, W]`; the inverse of
/// [`pixel_shuffle`].
///
/// # Errors
/// When r does not divide height and width.
pub fn pixel_unshuffle(input: &Variable, downscale_factor: i64) -> Result<Variable> {
    let r = downscale_factor;
    let [n, c, h, w] = image("pixel_unshuffle", input, r)?;
    if h % r != 0 || w % r != 0 {
        return Err(Error::Shape {
            op: "pixel_unshuffle",
            expected: format!("a height and width that {r} divides"),
            got: input.shape(),
        });
    }
    let mut shape = input.shape();
    let at = shape.len() - 3;
    shape[at..].copy_from_slice(&[c * r * r, h / r, w / r]);
    let parts = input.reshape(&[n, c, h / r, r, w / r, r])?;
    parts.permute(&[0, 1, 3, 5, 2, 4])?.reshape(&shape)
}
