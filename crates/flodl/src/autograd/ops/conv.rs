//! Convolution and transposed convolution, one code for all ranks.
//!
//! A convolution is the trilinear form ⟨conv(x, w), y⟩. Its three faces — the output from x and w,
//! the gradient of x from y and w, the gradient of w from x and y — are each other's gradients, so
//! three operations differentiate any number of times. Transposed convolution is the second face.

use crate::autograd::amp;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::ConvGeom;
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor, Variable};

/// How a kernel moves over `D` spatial dims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvOptions<const D: usize> {
    /// Distance of neighbouring windows.
    pub stride: [i64; D],
    /// Zeros around the input.
    pub padding: [i64; D],
    /// Distance of neighbouring elements of a window.
    pub dilation: [i64; D],
    /// Groups of channels that do not see each other.
    pub groups: i64,
}

impl<const D: usize> Default for ConvOptions<D> {
    fn default() -> Self {
        ConvOptions { stride: [1; D], padding: [0; D], dilation: [1; D], groups: 1 }
    }
}

impl<const D: usize> ConvOptions<D> {
    /// Checks what does not depend on the input.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        let positive = self.stride.iter().chain(&self.dilation).all(|&v| v > 0);
        if positive && self.padding.iter().all(|&p| p >= 0) && self.groups > 0 {
            return Ok(());
        }
        Err(Error::invalid(
            op,
            format!(
                "stride, dilation and groups must be positive and padding not negative, not {self:?}"
            ),
        ))
    }
}

/// A list of at most three sizes, filled up in front.
fn lift<const D: usize>(values: &[i64], missing: usize) -> [usize; 3] {
    let mut out = [missing; 3];
    for (o, &v) in out[3 - D..].iter_mut().zip(values) {
        *o = v as usize;
    }
    out
}

/// Batch, input channels and spatial sizes; output channels; kernel.
struct Sizes<const D: usize> {
    batch: i64,
    channels: i64,
    spatial: Vec<i64>,
    kernel: Vec<i64>,
}

/// Checks ranks, dtypes and devices. The input has its batch dim.
fn sizes<const D: usize>(
    op: &'static str,
    x: &Variable,
    w: &Variable,
    bias: Option<&Variable>,
    out_channels: i64,
) -> Result<Sizes<D>> {
    let (xs, ws) = (x.shape(), w.shape());
    if xs.len() != D + 2 {
        return Err(Error::Shape {
            op,
            expected: format!("an input [N, C, {}]", ["L", "H, W", "D, H, W"][D - 1]),
            got: xs,
        });
    }
    if ws.len() != D + 2 || ws[2..].contains(&0) {
        return Err(Error::Shape {
            op,
            expected: format!("a weight of {} dims with a kernel of at least 1", D + 2),
            got: ws,
        });
    }
    x.with_data(|a| w.with_data(|b| a.check_same(op, b)))?;
    x.with_data(|t| t.check_float(op))?;
    if let Some(b) = bias {
        x.with_data(|t| b.with_data(|b| t.check_same(op, b)))?;
        if b.shape() != [out_channels] {
            return Err(Error::Shape {
                op,
                expected: format!("a bias of [{out_channels}]"),
                got: b.shape(),
            });
        }
    }
    Ok(Sizes { batch: xs[0], channels: xs[1], spatial: xs[2..].to_vec(), kernel: ws[2..].to_vec() })
}

const CONV: [&str; 3] = ["conv1d", "conv2d", "conv3d"];
const CONV_TRANSPOSE: [&str; 3] = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"];

/// Convolution of `[N, C_in, …]` with a weight `[C_out, C_in / groups, kernel…]`. An input without
/// the batch dim is a batch of one.
///
/// # Errors
/// When ranks, channels, groups or dtypes do not fit, or the kernel is larger than the padded
/// input.
pub fn conv<const D: usize>(
    input: &Variable,
    weight: &Variable,
    bias: Option<&Variable>,
    options: &ConvOptions<D>,
) -> Result<Variable> {
    if let Some([x, w]) = amp::low([input, weight])? {
        let bias = bias.map(|b| b.to_dtype(x.dtype())).transpose()?;
        return conv(&x, &w, bias.as_ref(), options);
    }
    let op = CONV[D - 1];
    if input.ndim() == D + 1 {
        return conv(&input.unsqueeze(0)?, weight, bias, options)?.squeeze(0);
    }
    options.check(op)?;
    let s = sizes::<D>(op, input, weight, bias, weight.shape()[0])?;
    let (c_out, per_group) = (weight.shape()[0], weight.shape()[1]);
    if s.channels != per_group * options.groups || c_out % options.groups != 0 {
        return Err(Error::ShapeMismatch {
            op,
            lhs: input.shape(),
            rhs: weight.shape(),
            why: format!(
                "{} input channels need a weight [C_out, {} / {groups} groups, ...] with C_out a \
                 multiple of {groups}",
                s.channels,
                s.channels,
                groups = options.groups
            ),
        });
    }
    let mut output = Vec::new();
    for d in 0..D {
        let reach = options.dilation[d] * (s.kernel[d] - 1) + 1;
        let room = s.spatial[d] + 2 * options.padding[d] - reach;
        if room < 0 {
            return Err(Error::Shape {
                op,
                expected: format!(
                    "a padded input of at least the kernel's extent {reach} in spatial dim {d}"
                ),
                got: input.shape(),
            });
        }
        output.push(room / options.stride[d] + 1);
    }
    let g = ConvGeom {
        batch: s.batch as usize,
        groups: options.groups as usize,
        c_in: s.channels as usize,
        c_out: c_out as usize,
        input: lift::<D>(&s.spatial, 1),
        output: lift::<D>(&output, 1),
        kernel: lift::<D>(&s.kernel, 1),
        stride: lift::<D>(&options.stride, 1),
        padding: lift::<D>(&options.padding, 0),
        dilation: lift::<D>(&options.dilation, 1),
    };
    in_float(input, weight, bias, |x, w, b| forward::<D>(op, g, x, w, b))
}

/// Transposed convolution of `[N, C_in, …]` with a weight `[C_in, C_out / groups, kernel…]`: the
/// gradient of a convolution with respect to its input. An input without the batch dim is a batch
/// of one.
///
/// # Errors
/// When ranks, channels, groups, output padding or dtypes do not fit.
pub fn conv_transpose<const D: usize>(
    input: &Variable,
    weight: &Variable,
    bias: Option<&Variable>,
    options: &ConvOptions<D>,
    output_padding: [i64; D],
) -> Result<Variable> {
    if let Some([x, w]) = amp::low([input, weight])? {
        let bias = bias.map(|b| b.to_dtype(x.dtype())).transpose()?;
        return conv_transpose(&x, &w, bias.as_ref(), options, output_padding);
    }
    let op = CONV_TRANSPOSE[D - 1];
    if input.ndim() == D + 1 {
        let x = input.unsqueeze(0)?;
        return conv_transpose(&x, weight, bias, options, output_padding)?.squeeze(0);
    }
    options.check(op)?;
    let per_group = weight.shape().get(1).copied().unwrap_or(0);
    let c_out = per_group * options.groups;
    let s = sizes::<D>(op, input, weight, bias, c_out)?;
    if s.channels != weight.shape()[0] || s.channels % options.groups != 0 {
        return Err(Error::ShapeMismatch {
            op,
            lhs: input.shape(),
            rhs: weight.shape(),
            why: format!(
                "{} input channels need a weight [{}, C_out / {} groups, ...]",
                s.channels, s.channels, options.groups
            ),
        });
    }
    let mut output = Vec::new();
    for d in 0..D {
        let limit = options.stride[d].max(options.dilation[d]);
        if output_padding[d] < 0 || output_padding[d] >= limit {
            return Err(Error::invalid(
                op,
                format!(
                    "output_padding {output_padding:?} must be smaller than stride or dilation"
                ),
            ));
        }
        let size = (s.spatial[d] - 1) * options.stride[d] - 2 * options.padding[d]
            + options.dilation[d] * (s.kernel[d] - 1)
            + output_padding[d]
            + 1;
        if size < 1 || s.spatial[d] < 1 {
            return Err(Error::Shape {
                op,
                expected: "an input that leaves a positive output size".into(),
                got: input.shape(),
            });
        }
        output.push(size);
    }
    let g = ConvGeom {
        batch: s.batch as usize,
        groups: options.groups as usize,
        c_in: c_out as usize,
        c_out: s.channels as usize,
        input: lift::<D>(&output, 1),
        output: lift::<D>(&s.spatial, 1),
        kernel: lift::<D>(&s.kernel, 1),
        stride: lift::<D>(&options.stride, 1),
        padding: lift::<D>(&options.padding, 0),
        dilation: lift::<D>(&options.dilation, 1),
    };
    in_float(input, weight, bias, |x, w, b| backward_data::<D>(op, g, x, w, b))
}

/// 16-bit floats go through float32.
fn in_float(
    x: &Variable,
    w: &Variable,
    b: Option<&Variable>,
    f: impl FnOnce(&Variable, &Variable, Option<&Variable>) -> Result<Variable>,
) -> Result<Variable> {
    if !x.dtype().is_half() {
        return f(x, w, b);
    }
    let wide = |v: &Variable| v.to_dtype(DType::Float32);
    let b = b.map(wide).transpose()?;
    f(&wide(x)?, &wide(w)?, b.as_ref())?.to_dtype(x.dtype())
}

/// `[N, C, spatial…]` or `[C_out, C, kernel…]` in the rank of the operation.
fn shape<const D: usize>(a: usize, b: usize, rest: [usize; 3]) -> Dims {
    let mut dims = Dims::from_slice(&[a, b]);
    dims.extend_from_slice(&rest[3 - D..]);
    dims
}

fn inputs<'a>(
    a: &'a Variable,
    b: &'a Variable,
    bias: Option<&'a Variable>,
) -> smallvec::SmallVec<[&'a Variable; 3]> {
    [Some(a), Some(b), bias].into_iter().flatten().collect()
}

/// The sum over everything but the channels.
fn bias_gradient(g: &Variable) -> Result<Variable> {
    let shape = g.shape();
    g.reshape(&[shape[0], shape[1], shape[2..].iter().product()])?.sum_dims(&[0, 2], false)
}

/// y = conv(x, w) + bias.
fn forward<const D: usize>(
    op: &'static str,
    g: ConvGeom,
    x: &Variable,
    w: &Variable,
    bias: Option<&Variable>,
) -> Result<Variable> {
    let (xt, wt) = (x.data().contiguous()?, w.data().contiguous()?);
    let bt = bias.map(|b| b.data().contiguous()).transpose()?;
    let dims = shape::<D>(g.batch, g.c_out, g.output);
    let y = Tensor::build(&dims, xt.dtype(), xt.device(), |b, out| {
        let bias = bt.as_ref().map(Tensor::operand);
        b.conv_forward(&g, xt.operand(), wt.operand(), bias, out)
    })?;
    let (x_, w_) = (Saved::new(x), Saved::new(w));
    Ok(record(op, y, &inputs(x, w, bias), move |ctx| {
        let dy = ctx.grad();
        let mut out = grads![None, None];
        if ctx.needs(0) {
            out[0] = Some(backward_data::<D>(op, g, &dy, &w_.get()?, None)?);
        }
        if ctx.needs(1) {
            out[1] = Some(backward_weight::<D>(op, g, &x_.get()?, &dy)?);
        }
        if ctx.needs.len() > 2 {
            out.push(if ctx.needs(2) { Some(bias_gradient(&dy)?) } else { None });
        }
        Ok(out)
    }))
}

/// dx from dy and w, plus a bias for each channel of x.
fn backward_data<const D: usize>(
    op: &'static str,
    g: ConvGeom,
    dy: &Variable,
    w: &Variable,
    bias: Option<&Variable>,
) -> Result<Variable> {
    let (yt, wt) = (dy.data().contiguous()?, w.data().contiguous()?);
    let bt = bias.map(|b| b.data().contiguous()).transpose()?;
    let dims = shape::<D>(g.batch, g.c_in, g.input);
    let dx = Tensor::build(&dims, yt.dtype(), yt.device(), |b, out| {
        let bias = bt.as_ref().map(Tensor::operand);
        b.conv_backward_data(&g, yt.operand(), wt.operand(), bias, out)
    })?;
    let (y_, w_) = (Saved::new(dy), Saved::new(w));
    Ok(record(op, dx, &inputs(dy, w, bias), move |ctx| {
        let h = ctx.grad();
        let mut out = grads![None, None];
        if ctx.needs(0) {
            out[0] = Some(forward::<D>(op, g, &h, &w_.get()?, None)?);
        }
        if ctx.needs(1) {
            out[1] = Some(backward_weight::<D>(op, g, &h, &y_.get()?)?);
        }
        if ctx.needs.len() > 2 {
            out.push(if ctx.needs(2) { Some(bias_gradient(&h)?) } else { None });
        }
        Ok(out)
    }))
}

/// dw from x and dy.
fn backward_weight<const D: usize>(
    op: &'static str,
    g: ConvGeom,
    x: &Variable,
    dy: &Variable,
) -> Result<Variable> {
    let (xt, yt) = (x.data().contiguous()?, dy.data().contiguous()?);
    let dims = shape::<D>(g.c_out, g.c_in / g.groups, g.kernel);
    let dw = Tensor::build(&dims, xt.dtype(), xt.device(), |b, out| {
        b.conv_backward_weight(&g, xt.operand(), yt.operand(), out)
    })?;
    let (x_, y_) = (Saved::new(x), Saved::new(dy));
    Ok(record(op, dw, &[x, dy], move |ctx| {
        let v = ctx.grad();
        let mut out = grads![None, None];
        if ctx.needs(0) {
            out[0] = Some(backward_data::<D>(op, g, &y_.get()?, &v, None)?);
        }
        if ctx.needs(1) {
            out[1] = Some(forward::<D>(op, g, &x_.get()?, &v, None)?);
        }
        Ok(out)
    }))
}

/// The named functions of a rank, with arrays or scalars as programs for PyTorch write them.
macro_rules! named {
    ($conv:ident, $transpose:ident, $D:literal, $t:ty, |$v:ident| $array:expr) => {
        /// [`conv()`] with this number of spatial dims.
        ///
        /// # Errors
        /// As for [`conv()`].
        pub fn $conv(
            input: &Variable,
            weight: &Variable,
            bias: Option<&Variable>,
            stride: $t,
            padding: $t,
            dilation: $t,
            groups: i64,
        ) -> Result<Variable> {
            let lift = |$v: $t| $array;
            let (stride, padding, dilation) = (lift(stride), lift(padding), lift(dilation));
            conv::<$D>(input, weight, bias, &ConvOptions { stride, padding, dilation, groups })
        }

        /// [`conv_transpose`] with this number of spatial dims.
        ///
        /// # Errors
        /// As for [`conv_transpose`].
        pub fn $transpose(
            input: &Variable,
            weight: &Variable,
            bias: Option<&Variable>,
            stride: $t,
            padding: $t,
            output_padding: $t,
            dilation: $t,
            groups: i64,
        ) -> Result<Variable> {
            let lift = |$v: $t| $array;
            let (stride, padding, dilation) = (lift(stride), lift(padding), lift(dilation));
            let options = ConvOptions { stride, padding, dilation, groups };
            conv_transpose::<$D>(input, weight, bias, &options, lift(output_padding))
        }
    };
}

named!(conv1d, conv_transpose1d, 1, i64, |v| [v]);
named!(conv2d, conv_transpose2d, 2, [i64; 2], |v| v);
named!(conv3d, conv_transpose3d, 3, [i64; 3], |v| v);
