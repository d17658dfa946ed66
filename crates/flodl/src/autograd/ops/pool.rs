//! Pooling, one code for all ranks.

use super::from_nothing;
use crate::autograd::tape::{grads, record};
use crate::backend::{AvgRule, PoolGeom};
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor, Variable};

/// Windows of a pooling in `D` dims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows<const D: usize> {
    /// Size of a window.
    pub kernel: [i64; D],
    /// Distance of neighbouring windows.
    pub stride: [i64; D],
    /// How far windows reach over each edge.
    pub padding: [i64; D],
    /// Distance of neighbouring elements in a window.
    pub dilation: [i64; D],
    /// Whether a last window that is not full counts.
    pub ceil_mode: bool,
}

/// A list of at most three sizes, filled up in front.
fn lift<const D: usize>(values: [i64; D], missing: usize) -> [usize; 3] {
    let mut out = [missing; 3];
    for (o, v) in out[3 - D..].iter_mut().zip(values) {
        *o = v as usize;
    }
    out
}

/// Checks an input `[N, C, spatial…]` or `[C, spatial…]` and gives planes and sizes.
fn planes<const D: usize>(op: &'static str, x: &Tensor) -> Result<(usize, [i64; D])> {
    if x.ndim() != D + 1 && x.ndim() != D + 2 {
        return Err(Error::Shape {
            op,
            expected: format!("an input [N, C, {}] or without N", ["L", "H, W", "D, H, W"][D - 1]),
            got: x.shape(),
        });
    }
    x.check_float(op)?;
    let (lead, spatial) = x.dims().split_at(x.ndim() - D);
    let sizes = std::array::from_fn(|d| spatial[d] as i64);
    if sizes.contains(&0) {
        return Err(Error::Shape {
            op,
            expected: "spatial sizes of at least 1".into(),
            got: x.shape(),
        });
    }
    Ok((lead.iter().product(), sizes))
}

impl<const D: usize> Windows<D> {
    fn geometry(&self, op: &'static str, x: &Tensor) -> Result<PoolGeom> {
        let (planes, input) = planes::<D>(op, x)?;
        let positive = self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&v| v > 0);
        if !positive || self.padding.iter().any(|&p| p < 0) {
            return Err(Error::invalid(
                op,
                format!(
                    "kernel, stride and dilation must be positive and padding not negative, not {self:?}"
                ),
            ));
        }
        if (0..D).any(|d| 2 * self.padding[d] > self.kernel[d]) {
            return Err(Error::invalid(
                op,
                format!(
                    "padding {:?} is more than half of the kernel {:?}",
                    self.padding, self.kernel
                ),
            ));
        }
        let mut output = [1; 3];
        for d in 0..D {
            output[3 - D + d] = flodl_cpu::pool::pool_output_size(
                input[d] as usize,
                self.kernel[d] as usize,
                self.stride[d] as usize,
                self.padding[d] as usize,
                self.dilation[d] as usize,
                self.ceil_mode,
            )
            .filter(|&n| n > 0)
            .ok_or_else(|| Error::Shape {
                op,
                expected: format!("an input that a window of {:?} fits into", self.kernel),
                got: x.shape(),
            })?;
        }
        Ok(PoolGeom {
            planes,
            input: lift(input, 1),
            output,
            kernel: lift(self.kernel, 1),
            stride: lift(self.stride, 1),
            padding: lift(self.padding, 0),
            dilation: lift(self.dilation, 1),
        })
    }
}

/// The shape of the result: the input's with other spatial sizes.
fn pooled<const D: usize>(x: &Tensor, g: &PoolGeom) -> Dims {
    let mut dims = Dims::from_slice(&x.dims()[..x.ndim() - D]);
    dims.extend_from_slice(&g.output[3 - D..]);
    dims
}

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
    let x = input.data();
    let g = windows.geometry(op, &x)?;
    max_pool_with::<D>(op, input, g, false).map(|(y, _)| y)
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
    let x = input.data();
    let g = windows.geometry(op, &x)?;
    max_pool_with::<D>(op, input, g, false)
}

fn max_pool_with<const D: usize>(
    op: &'static str,
    input: &Variable,
    g: PoolGeom,
    adaptive: bool,
) -> Result<(Variable, Tensor)> {
    let home = input.dtype();
    let input = ready(input)?;
    let x = input.data().contiguous()?;
    let shape = pooled::<D>(&x, &g);
    let mut index = Tensor::fresh(&shape, DType::Int32, x.device())?;
    let y = Tensor::build(&shape, x.dtype(), x.device(), |b, out| {
        b.max_pool(&g, adaptive, x.operand(), out, index.fresh_storage())
    })?;
    let (from, places) = (Dims::from_slice(x.dims()), index.clone());
    drop(x);
    let y = from_nothing(op, &input, y, move |dy| scatter_planes(&dy, g, &places, &from));
    let places = if index.len() > 0 { index.to_dtype(DType::Int64)? } else { index };
    Ok((y.to_dtype(home)?, places))
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
    let g = input.with_data(|x| windows.geometry(op, x))?;
    average::<D>(op, input, g, Some(AvgRule { count_include_pad, divisor_override }))
}

fn average<const D: usize>(
    op: &'static str,
    input: &Variable,
    g: PoolGeom,
    rule: Option<AvgRule>,
) -> Result<Variable> {
    let home = input.dtype();
    let input = ready(input)?;
    let x = input.data().contiguous()?;
    let shape = pooled::<D>(&x, &g);
    let y = Tensor::build(&shape, x.dtype(), x.device(), |b, out| {
        b.avg_pool(&g, rule, x.operand(), out)
    })?;
    let from = Dims::from_slice(x.dims());
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

fn adaptive<const D: usize>(op: &'static str, x: &Tensor, output: [i64; D]) -> Result<PoolGeom> {
    let (planes, input) = planes::<D>(op, x)?;
    if output.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("output size {output:?} must be positive")));
    }
    let one = [1; 3];
    Ok(PoolGeom {
        planes,
        input: lift(input, 1),
        output: lift(output, 1),
        kernel: one,
        stride: one,
        padding: [0; 3],
        dilation: one,
    })
}

/// The mean of each of `output` parts that share the input evenly; part i goes from ⌊i · in/out⌋ to
/// ⌈(i + 1) · in/out⌉.
///
/// # Errors
/// When the input's rank does not fit or a size is not positive.
pub fn adaptive_avg_pool<const D: usize>(input: &Variable, output: [i64; D]) -> Result<Variable> {
    let op = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"][D - 1];
    let g = input.with_data(|x| adaptive(op, x, output))?;
    average::<D>(op, input, g, None)
}

/// The largest value of each of `output` parts that share the input evenly.
///
/// # Errors
/// When the input's rank does not fit or a size is not positive.
pub fn adaptive_max_pool<const D: usize>(input: &Variable, output: [i64; D]) -> Result<Variable> {
    let op = ["adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"][D - 1];
    let g = input.with_data(|x| adaptive(op, x, output))?;
    max_pool_with::<D>(op, input, g, true).map(|(y, _)| y)
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
