//! Convolution and transposed convolution, one code for all ranks.
//!
//! A convolution is the trilinear form ⟨conv(x, w), y⟩. Its three faces — the output from x and w,
//! the gradient of x from y and w, the gradient of w from x and y — are each other's gradients, so
//! three operations differentiate any number of times. Transposed convolution is the second face.

use crate::autograd::amp;
use crate::autograd::tape::{Saved, grads, record};
use crate::autograd::work;
use crate::backend::ConvGeom;
use crate::tensor::{ConvKind, conv_geometry, conv_transpose_geometry};
use crate::{DType, Result, Variable};

pub use crate::tensor::ConvOptions;

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
    if input.ndim() == D + 1 {
        return conv(&input.unsqueeze(0)?, weight, bias, options)?.squeeze(0);
    }
    let g = geometry(input, weight, bias, |x, w, b| conv_geometry(x, w, b, options))?;
    let op = ConvKind::Plain.name::<D>();
    let y = in_float(input, weight, bias, |x, w, b| forward::<D>(op, g, x, w, b))?;
    note(weight, &y, &y);
    Ok(y)
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
    if input.ndim() == D + 1 {
        let x = input.unsqueeze(0)?;
        return conv_transpose(&x, weight, bias, options, output_padding)?.squeeze(0);
    }
    let g = geometry(input, weight, bias, |x, w, b| {
        conv_transpose_geometry(x, w, b, options, output_padding)
    })?;
    let op = ConvKind::Transposed.name::<D>();
    let y = in_float(input, weight, bias, |x, w, b| backward_data::<D>(op, g, x, w, b))?;
    note(weight, &y, input);
    Ok(y)
}

/// Each element of `many` meets the weights of one channel of the first dim.
fn note(weight: &Variable, y: &Variable, many: &Variable) {
    let each = |w: &crate::Tensor| w.dims()[1..].iter().product::<usize>();
    let count = || many.with_data(|t| t.len()) * weight.with_data(each);
    y.with_data(|y| work::note(Some(weight), y, count));
}

/// Runs a check on the tensors behind variables.
fn geometry(
    x: &Variable,
    w: &Variable,
    bias: Option<&Variable>,
    check: impl FnOnce(&crate::Tensor, &crate::Tensor, Option<&crate::Tensor>) -> Result<ConvGeom>,
) -> Result<ConvGeom> {
    x.with_data(|x| {
        w.with_data(|w| match bias {
            Some(b) => b.with_data(|b| check(x, w, Some(b))),
            None => check(x, w, None),
        })
    })
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
    let b = bias.map(Variable::data);
    let y = x.with_data(|x| w.with_data(|w| x.conv_forward::<D>(&g, w, b.as_ref())))?;
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
        if ctx.inputs() > 2 {
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
    let b = bias.map(Variable::data);
    let dx = dy.with_data(|y| w.with_data(|w| y.conv_backward_data::<D>(&g, w, b.as_ref())))?;
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
        if ctx.inputs() > 2 {
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
    let dw = x.with_data(|x| dy.with_data(|y| x.conv_backward_weight::<D>(&g, y)))?;
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
