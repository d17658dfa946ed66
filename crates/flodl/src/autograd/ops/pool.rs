//! Pooling, one code for all ranks.

use super::from_nothing;
use crate::autograd::amp;
use crate::autograd::tape::{grads, record};
use crate::backend::{AvgRule, PoolGeom};
use crate::shape::Dims;
use crate::tensor::{adaptive_geometry, pool_geometry};
use crate::{AsTensor, DType, Error, Result, Tensor, Variable};

pub use crate::tensor::Windows;

/// Kernels compute in float32 or float64 on contiguous memory.
fn ready(x: &Variable) -> Result<Variable> {
    if x.dtype().is_half() { x.to_dtype(DType::Float32) } else { Ok(x.clone()) }
}

/// The largest value of each window. Padding counts as -∞; NaN wins.
///
/// # Errors
/// When the input's rank or size does not fit the windows.
pub fn max_pool<const D: usize>(input: &Variable, windows: &Windows<D>) -> Result<Variable> {
    let op = ["max_pool1d", "max_pool2d", "max_pool3d"][D - 1];
    let g = input.with_data(|x| pool_geometry(op, windows, x))?;
    max_pool_with::<D>(op, input, g, false).map(|(y, _)| y)
}

/// Places as the user gets them.
fn wide_indices((y, places): (Variable, Tensor)) -> Result<(Variable, Tensor)> {
    let places = if places.len() > 0 { places.to_dtype(DType::Int64)? } else { places };
    Ok((y, places))
}

/// [`max_pool`] that also gives the place of each value in its plane.
///
/// # Errors
/// As for [`max_pool`].
pub fn max_pool_with_indices<const D: usize>(
    input: &Variable,
    windows: &Windows<D>,
) -> Result<(Variable, Tensor)> {
    let op = ["max_pool1d", "max_pool2d", "max_pool3d"][D - 1];
    let g = input.with_data(|x| pool_geometry(op, windows, x))?;
    max_pool_with::<D>(op, input, g, false).and_then(wide_indices)
}

/// The maxima, and their places as the kernels keep them.
fn max_pool_with<const D: usize>(
    op: &'static str,
    input: &Variable,
    g: PoolGeom,
    adaptive: bool,
) -> Result<(Variable, Tensor)> {
    if D == 3
        && let Some([x]) = amp::high([input])?
    {
        return max_pool_with::<D>(op, &x, g, adaptive);
    }
    let home = input.dtype();
    let input = ready(input)?;
    let (y, index) = input.with_data(|x| x.max_pool_kernel::<D>(&g, adaptive))?;
    let (from, places) = (input.with_data(|x| Dims::from_slice(x.dims())), index.clone());
    let y = from_nothing(op, &input, y, move |dy| scatter_planes(&dy, g, &places, &from));
    Ok((y.to_dtype(home)?, index))
}

/// Sends each gradient to the place its value came from.
fn scatter_planes(dy: &Variable, g: PoolGeom, index: &Tensor, from: &[usize]) -> Result<Variable> {
    let t = dy.data().contiguous()?;
    let dx = if t.len() == 0 {
        Tensor::full_dims(from, 0.0, t.options())?
    } else {
        Tensor::build(from, t.dtype(), t.device(), |b, out| {
            b.max_pool_backward(&g, t.operand(), index.operand(), out)
        })?
    };
    let (index, planes) = (index.clone(), g.planes as i64);
    Ok(record("max_pool_backward", dx, &[dy], move |ctx| {
        // The second gradient is picked from where the first was put.
        let flat = ctx.grad().reshape(&[planes, -1])?;
        let places = index.to_dtype(DType::Int64)?.reshape(&[planes, -1])?;
        Ok(grads![flat.gather(1, &places)?.reshape(&index.shape())?])
    }))
}

/// The mean of each window.
///
/// # Errors
/// When the input's rank or size does not fit the windows, or windows are dilated.
pub fn avg_pool<const D: usize>(
    input: &Variable,
    windows: &Windows<D>,
    count_include_pad: bool,
    divisor_override: Option<i64>,
) -> Result<Variable> {
    let op = ["avg_pool1d", "avg_pool2d", "avg_pool3d"][D - 1];
    if windows.dilation != [1; D] {
        return Err(Error::invalid(op, "average pooling has no dilation"));
    }
    let divisor_override = match divisor_override {
        Some(n) if n < 1 => {
            return Err(Error::invalid(op, format!("divisor_override {n} must be positive")));
        }
        n => n.map(|n| n as usize),
    };
    let g = input.with_data(|x| pool_geometry(op, windows, x))?;
    average::<D>(op, input, g, Some(AvgRule { count_include_pad, divisor_override }))
}

fn average<const D: usize>(
    op: &'static str,
    input: &Variable,
    g: PoolGeom,
    rule: Option<AvgRule>,
) -> Result<Variable> {
    if D == 3
        && let Some([x]) = amp::high([input])?
    {
        return average::<D>(op, &x, g, rule);
    }
    let home = input.dtype();
    let input = ready(input)?;
    let y = input.with_data(|x| x.avg_pool_kernel::<D>(&g, rule))?;
    let from = input.with_data(|x| Dims::from_slice(x.dims()));
    from_nothing(op, &input, y, move |dy| spread::<D>(op, &dy, g, rule, &from)).to_dtype(home)
}

/// The gradient of an average; its own gradient is the average again.
fn spread<const D: usize>(
    op: &'static str,
    dy: &Variable,
    g: PoolGeom,
    rule: Option<AvgRule>,
    from: &[usize],
) -> Result<Variable> {
    let t = dy.data().contiguous()?;
    let dx = Tensor::build(from, t.dtype(), t.device(), |b, out| {
        b.avg_pool_backward(&g, rule, t.operand(), out)
    })?;
    Ok(from_nothing(op, dy, dx, move |g2| average::<D>(op, &g2, g, rule)))
}

/// The mean of each of `output` parts that share the input evenly; part i goes from ⌊i · in/out⌋ to
/// ⌈(i + 1) · in/out⌉.
///
/// # Errors
/// When the input's rank does not fit or a size is not positive.
pub fn adaptive_avg_pool<const D: usize>(input: &Variable, output: [i64; D]) -> Result<Variable> {
    let op = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"][D - 1];
    let g = input.with_data(|x| adaptive_geometry(op, x, output))?;
    average::<D>(op, input, g, None)
}

/// The largest value of each of `output` parts that share the input evenly.
///
/// # Errors
/// When the input's rank does not fit or a size is not positive.
pub fn adaptive_max_pool<const D: usize>(input: &Variable, output: [i64; D]) -> Result<Variable> {
    adaptive_max::<D>(input, output).map(|(y, _)| y)
}

/// [`adaptive_max_pool`] that also gives the place of each value in its plane.
///
/// # Errors
/// As for [`adaptive_max_pool`].
pub fn adaptive_max_pool_with_indices<const D: usize>(
    input: &Variable,
    output: [i64; D],
) -> Result<(Variable, Tensor)> {
    adaptive_max::<D>(input, output).and_then(wide_indices)
}

fn adaptive_max<const D: usize>(input: &Variable, output: [i64; D]) -> Result<(Variable, Tensor)> {
    let op = ["adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"][D - 1];
    let g = input.with_data(|x| adaptive_geometry(op, x, output))?;
    max_pool_with::<D>(op, input, g, true)
}

/// Puts each value of `[N, C, …]` or `[C, …]` back to the place in its plane that a max pooling
/// with indices gave, in planes of `output` sizes that are 0 elsewhere.
///
/// # Errors
/// When the input's rank does not fit, indices have another shape, or one is outside its plane.
pub fn max_unpool<const D: usize>(
    input: &Variable,
    indices: &impl AsTensor,
    output: [i64; D],
) -> Result<Variable> {
    let op = ["max_unpool1d", "max_unpool2d", "max_unpool3d"][D - 1];
    let g = input.with_data(|x| adaptive_geometry(op, x, output))?;
    let places = indices.as_tensor();
    let shape = input.shape();
    if places.shape() != shape {
        return Err(Error::ShapeMismatch {
            op,
            lhs: shape,
            rhs: places.shape(),
            why: "every value needs an index".into(),
        });
    }
    let (planes, from) = (g.planes as i64, g.input.iter().product::<usize>() as i64);
    let (to, opts) = (output.iter().product::<i64>(), input.with_data(Tensor::options));
    let flat = Variable::constant(Tensor::zeros(&[planes, to], opts)?);
    let places = crate::tensor::integers(op, &places)?.reshape(&[planes, from])?;
    let y = flat.scatter(1, &places, &input.reshape(&[planes, from])?)?;
    y.reshape(&[&shape[..shape.len() - D], &output].concat())
}

/// Fractional max pooling (Graham, 2014): the largest value of each of `output` windows of `kernel`,
/// whose places are spread over the input by `samples` `[N, C, D]` in `[0, 1)`, a number for each
/// spatial dim, the last one first, of each plane; an input without N takes `[1, C, D]`.
///
/// # Errors
/// When the input's rank does not fit, a window does not fit into it, or there is not a sample in
/// `[0, 1)` for each plane and dim.
pub fn fractional_max_pool<const D: usize>(
    input: &Variable,
    kernel: [i64; D],
    output: [i64; D],
    samples: &impl AsTensor,
) -> Result<Variable> {
    let op = ["fractional_max_pool1d", "fractional_max_pool2d", "fractional_max_pool3d"][D - 1];
    let g = input.with_data(|x| adaptive_geometry(op, x, output))?;
    let shape = input.shape();
    let (lead, size) = shape.split_at(shape.len() - D);
    let fits = (0..D).all(|d| kernel[d] > 0 && kernel[d] + output[d] - 1 <= size[d]);
    if !fits {
        return Err(Error::Shape {
            op,
            expected: format!("an input that {output:?} windows of {kernel:?} fit into"),
            got: shape,
        });
    }
    let samples = samples.as_tensor();
    let batch = if lead.len() == 2 { lead[0] } else { 1 };
    let given = samples.to_f64_vec()?;
    if samples.shape() != [batch, lead[lead.len() - 1], D as i64]
        || given.iter().any(|u| !(0.0..1.0).contains(u))
    {
        return Err(Error::invalid(
            op,
            format!(
                "samples must be [{batch}, {}, {D}] in [0, 1), not {:?}",
                lead[lead.len() - 1],
                samples.shape()
            ),
        ));
    }
    // Where the windows of a dim begin: about evenly, by a step that the sample shifts.
    let begins = |d: usize, u: f64| -> Vec<i64> {
        let last = size[d] - kernel[d];
        let step = if output[d] > 1 { last as f64 / (output[d] - 1) as f64 } else { 0.0 };
        let at = |i: i64| ((i as f64 + u) * step) as i64 - (u * step) as i64;
        (0..output[d]).map(|i| if i == output[d] - 1 { last } else { at(i) }).collect()
    };
    let (count, window) = (output.iter().product::<i64>(), kernel.iter().product::<i64>());
    let mut places = Vec::with_capacity(g.planes * (count * window) as usize);
    for plane in given.chunks_exact(D) {
        let starts: Vec<Vec<i64>> = (0..D).map(|d| begins(d, plane[D - 1 - d])).collect();
        for o in 0..count {
            for k in 0..window {
                let (mut o, mut k, mut place, mut stride) = (o, k, 0, 1);
                for d in (0..D).rev() {
                    place += (starts[d][(o % output[d]) as usize] + k % kernel[d]) * stride;
                    (o, k, stride) = (o / output[d], k / kernel[d], stride * size[d]);
                }
                places.push(place);
            }
        }
    }
    let planes = g.planes as i64;
    let places = Tensor::from_i64(&places, &[planes, count * window], input.device())?;
    let windows = input.reshape(&[planes, size.iter().product()])?.gather(1, &places)?;
    let largest = windows.reshape(&[planes, count, window])?.max_dim(2, false)?;
    largest.reshape(&[lead, &output].concat())
}

/// [`max_pool`] in two dims.
///
/// # Errors
/// As for [`max_pool`].
pub fn max_pool2d(
    input: &Variable,
    kernel_size: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    ceil_mode: bool,
) -> Result<Variable> {
    max_pool(input, &Windows { kernel: kernel_size, stride, padding, dilation, ceil_mode })
}

/// [`avg_pool`] in two dims.
///
/// # Errors
/// As for [`avg_pool`].
pub fn avg_pool2d(
    input: &Variable,
    kernel_size: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 2],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Result<Variable> {
    let dilation = [1, 1];
    let windows = Windows { kernel: kernel_size, stride, padding, dilation, ceil_mode };
    avg_pool(input, &windows, count_include_pad, None)
}

/// [`max_pool`] in one dim.
///
/// # Errors
/// As for [`max_pool`].
pub fn max_pool1d(
    input: &Variable,
    kernel_size: i64,
    stride: i64,
    padding: i64,
    dilation: i64,
    ceil_mode: bool,
) -> Result<Variable> {
    let windows = Windows {
        kernel: [kernel_size],
        stride: [stride],
        padding: [padding],
        dilation: [dilation],
        ceil_mode,
    };
    max_pool(input, &windows)
}

/// [`avg_pool`] in one dim.
///
/// # Errors
/// As for [`avg_pool`].
pub fn avg_pool1d(
    input: &Variable,
    kernel_size: i64,
    stride: i64,
    padding: i64,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Result<Variable> {
    let windows = Windows {
        kernel: [kernel_size],
        stride: [stride],
        padding: [padding],
        dilation: [1],
        ceil_mode,
    };
    avg_pool(input, &windows, count_include_pad, None)
}

/// [`adaptive_avg_pool`] in two dims: `[B, C, H, W]` becomes `[B, C, out_h, out_w]`.
///
/// # Errors
/// As for [`adaptive_avg_pool`].
pub fn adaptive_avg_pool2d(input: &Variable, output_size: [i64; 2]) -> Result<Variable> {
    adaptive_avg_pool(input, output_size)
}

/// [`adaptive_max_pool`] in two dims.
///
/// # Errors
/// As for [`adaptive_max_pool`].
pub fn adaptive_max_pool2d(input: &Variable, output_size: [i64; 2]) -> Result<Variable> {
    adaptive_max_pool(input, output_size)
}
