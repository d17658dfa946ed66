//! Interpolation to another size, and pixels moved between channels and space.

use super::from_nothing;
use crate::autograd::amp;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::{GridGeom, ResampleGeom};
use crate::shape::Dims;
use crate::tensor::{grid_geometry, resample_geometry};
use crate::{DType, Error, Result, Tensor, Variable, is_grad_enabled};

pub use crate::backend::{GridPadding, Interpolation};

/// How [`grid_sample`] finds values between elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridMode {
    /// Linear along both dims.
    Bilinear,
    /// The nearest element.
    Nearest,
    /// Cubic convolution along both dims.
    Bicubic,
}

impl IntoMode<GridMode> for GridMode {
    fn into_mode(self) -> std::result::Result<GridMode, i64> {
        Ok(self)
    }
}

impl IntoMode<GridMode> for i64 {
    /// 0 bilinear, 1 nearest, 2 bicubic.
    fn into_mode(self) -> std::result::Result<GridMode, i64> {
        match self {
            0 => Ok(GridMode::Bilinear),
            1 => Ok(GridMode::Nearest),
            2 => Ok(GridMode::Bicubic),
            n => Err(n),
        }
    }
}

impl IntoMode<GridPadding> for GridPadding {
    fn into_mode(self) -> std::result::Result<GridPadding, i64> {
        Ok(self)
    }
}

impl IntoMode<GridPadding> for i64 {
    /// 0 zeros, 1 border, 2 reflection.
    fn into_mode(self) -> std::result::Result<GridPadding, i64> {
        match self {
            0 => Ok(GridPadding::Zeros),
            1 => Ok(GridPadding::Border),
            2 => Ok(GridPadding::Reflection),
            n => Err(n),
        }
    }
}

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
    resized(input, output_size, scale, mode.into_mode(), align_corners)
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
    resized(input, &size, scale, mode.into_mode(), align_corners)
}

fn resized(
    input: &Variable,
    size: &[i64],
    scale: [Option<f64>; 3],
    mode: std::result::Result<Interpolation, i64>,
    align_corners: bool,
) -> Result<Variable> {
    let g = input.with_data(|x| resample_geometry(x, size, scale, mode, align_corners))?;
    let home = input.dtype();
    let x = if home.is_half() { input.to_dtype(DType::Float32)? } else { input.clone() };
    forward("interpolate", &x, g)?.to_dtype(home)
}

fn forward(op: &'static str, x: &Variable, g: ResampleGeom) -> Result<Variable> {
    let y = x.with_data(|t| t.resampled(&g))?;
    let from = x.with_data(|t| Dims::from_slice(t.dims()));
    Ok(from_nothing(op, x, y, move |dy| transposed(op, &dy, g, &from)))
}

fn transposed(op: &'static str, dy: &Variable, g: ResampleGeom, from: &Dims) -> Result<Variable> {
    let t = dy.with_data(|t| t.contiguous())?;
    let dx = Tensor::build(from, t.dtype(), t.device(), |b, out| {
        b.resample_backward(&g, t.operand(), out)
    })?;
    Ok(from_nothing(op, dy, dx, move |g2| forward(op, &g2, g)))
}

/// Samples `[N, C, H, W]` at the points of a grid `[N, rows, columns, 2]` (Jaderberg et al., 2015);
/// the result is `[N, C, rows, columns]`. A point is (x, y), where -1 and 1 are the outer sides of
/// the input, or with `align_corners` the centres of its edge elements. The mode is a [`GridMode`]
/// or its number: 0 bilinear, 1 nearest, 2 bicubic; what stands outside the input is a
/// [`GridPadding`] or its number: 0 zeros, 1 border, 2 reflection.
///
/// Its gradient, like PyTorch's, cannot be differentiated again.
///
/// # Errors
/// When shapes or dtypes do not fit, or a mode is unknown.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::from_f32(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 2, 2], Device::CPU)?, true);
/// let centre = Variable::new(Tensor::zeros(&[1, 1, 1, 2], TensorOptions::default())?, false);
/// let y = grid_sample(&x, &centre, GridMode::Bilinear, GridPadding::Zeros, false)?;
/// assert_eq!(y.item()?, 2.5);
/// # Ok::<(), Error>(())
/// ```
pub fn grid_sample(
    input: &Variable,
    grid: &Variable,
    mode: impl IntoMode<GridMode>,
    padding_mode: impl IntoMode<GridPadding>,
    align_corners: bool,
) -> Result<Variable> {
    let wide = amp::high([input, grid])?;
    let (input, grid) = wide.as_ref().map_or((input, grid), |[x, grid]| (x, grid));
    let (mode, padding) = (mode.into_mode(), padding_mode.into_mode());
    let g = input.with_data(|x| {
        grid.with_data(|grid| grid_geometry(x, grid, mode, padding, align_corners))
    })?;
    let home = input.dtype();
    if home.is_half() {
        let (x, grid) = (input.to_dtype(DType::Float32)?, grid.to_dtype(DType::Float32)?);
        return sample(&x, &grid, g)?.to_dtype(home);
    }
    sample(input, grid, g)
}

fn sample(x: &Variable, grid: &Variable, g: GridGeom) -> Result<Variable> {
    let y = x.with_data(|x| grid.with_data(|grid| x.sampled(&g, grid)))?;
    let (x_, grid_) = (Saved::new(x), Saved::new(grid));
    Ok(record("grid_sample", y, &[x, grid], move |ctx| {
        if is_grad_enabled() {
            return Err(Error::Autograd {
                op: "grid_sample",
                what: "its gradient cannot be differentiated again; call backward without \
                       create_graph"
                    .into(),
            });
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let (x, grid) = (x_.data().contiguous()?, grid_.data().contiguous()?);
        let mut dx = Tensor::fresh(x.dims(), x.dtype(), x.device())?;
        let mut dgrid = Tensor::fresh(grid.dims(), x.dtype(), x.device())?;
        x.backend()?.grid_sample_backward(
            &g,
            x.operand(),
            grid.operand(),
            dy.operand(),
            dx.fresh_storage(),
            dgrid.fresh_storage(),
        )?;
        Ok(grads![Variable::constant(dx), Variable::constant(dgrid)])
    }))
}

/// Moves channels to space: `[…, C · r², H, W]` becomes `[…, C, H · r, W · r]` (Shi et al., 2016).
///
/// # Errors
/// When r² does not divide the channels.
pub fn pixel_shuffle(input: &Variable, upscale_factor: i64) -> Result<Variable> {
    let y = input.with_data(|x| x.pixel_shuffle(upscale_factor))?;
    let back = move |dy: Variable| pixel_unshuffle(&dy, upscale_factor);
    Ok(from_nothing("pixel_shuffle", input, y, back))
}

/// Moves space to channels: `[…, C, H · r, W · r]` becomes `[…, C · r², H, W]`; the inverse of
/// [`pixel_shuffle`].
///
/// # Errors
/// When r does not divide height and width.
pub fn pixel_unshuffle(input: &Variable, downscale_factor: i64) -> Result<Variable> {
    let y = input.with_data(|x| x.pixel_unshuffle(downscale_factor))?;
    let back = move |dy: Variable| pixel_shuffle(&dy, downscale_factor);
    Ok(from_nothing("pixel_unshuffle", input, y, back))
}

/// Mixes the channels of `[N, C, …]`: those of `groups` equal groups take turns (Zhang et al.,
/// 2018).
///
/// # Errors
/// When there are fewer than two dims or the groups do not divide the channels.
pub fn channel_shuffle(input: &Variable, groups: i64) -> Result<Variable> {
    let (op, shape) = ("channel_shuffle", input.shape());
    match shape[..] {
        [n, c, ref rest @ ..] if groups > 0 && c % groups == 0 => {
            let inner: i64 = rest.iter().product();
            let parts = input.reshape(&[n, groups, c / groups, inner])?;
            parts.transpose(1, 2)?.reshape(&shape)
        }
        _ => Err(Error::Shape {
            op,
            expected: format!("an input [N, C, ...] whose channels {groups} groups divide"),
            got: shape,
        }),
    }
}
