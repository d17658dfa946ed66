//! Convolution and transposed convolution, one code for all ranks.

use super::{SPACE, lift, step};
use crate::backend::ConvGeom;
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor};

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

const CONV: [&str; 3] = ["conv1d", "conv2d", "conv3d"];
const CONV_TRANSPOSE: [&str; 3] = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"];

/// Which of the two, with its name at a rank.
#[derive(Clone, Copy)]
pub(crate) enum ConvKind {
    Plain,
    Transposed,
}

impl ConvKind {
    pub fn name<const D: usize>(self) -> &'static str {
        match self {
            ConvKind::Plain => CONV[D - 1],
            ConvKind::Transposed => CONV_TRANSPOSE[D - 1],
        }
    }
}

/// Batch, input channels and spatial sizes; kernel.
struct Sizes<const D: usize> {
    batch: i64,
    channels: i64,
    spatial: [i64; D],
    kernel: [i64; D],
}

impl<const D: usize> Sizes<D> {
    fn dilation(&self, options: &ConvOptions<D>) -> [i64; D] {
        std::array::from_fn(|d| step(options.dilation[d], self.kernel[d] - 1, 1))
    }
}

/// Checks ranks, dtypes and devices. The input has its batch dim.
fn sizes<const D: usize>(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    out_channels: i64,
) -> Result<Sizes<D>> {
    let [batch, channels, spatial @ ..] = x.dims() else {
        return Err(wrong_input::<D>(op, x));
    };
    if spatial.len() != D {
        return Err(wrong_input::<D>(op, x));
    }
    if w.ndim() != D + 2 || w.dims()[2..].contains(&0) {
        return Err(Error::Shape {
            op,
            expected: format!("a weight of {} dims with a kernel of at least 1", D + 2),
            got: w.shape(),
        });
    }
    x.check_same(op, w)?;
    x.check_float(op)?;
    if let Some(b) = bias {
        x.check_same(op, b)?;
        if b.shape() != [out_channels] {
            return Err(Error::Shape {
                op,
                expected: format!("a bias of [{out_channels}]"),
                got: b.shape(),
            });
        }
    }
    Ok(Sizes {
        batch: *batch as i64,
        channels: *channels as i64,
        spatial: std::array::from_fn(|d| spatial[d] as i64),
        kernel: std::array::from_fn(|d| w.dims()[2 + d] as i64),
    })
}

fn wrong_input<const D: usize>(op: &'static str, x: &Tensor) -> Error {
    let expected = format!("an input [N, C, {}]", SPACE[D - 1]);
    Error::Shape { op, expected, got: x.shape() }
}

/// The first two sizes of a weight, 0 where it has none.
fn leading(w: &Tensor) -> [i64; 2] {
    std::array::from_fn(|d| w.dims().get(d).map_or(0, |&n| n as i64))
}

/// Checks the operands of a convolution and works out its sizes.
pub(crate) fn conv_geometry<const D: usize>(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<D>,
) -> Result<ConvGeom> {
    let op = CONV[D - 1];
    options.check(op)?;
    let [c_out, per_group] = leading(w);
    let s = sizes::<D>(op, x, w, bias, c_out)?;
    let groups = options.groups;
    if per_group.checked_mul(groups) != Some(s.channels) || c_out % groups != 0 {
        return Err(Error::ShapeMismatch {
            op,
            lhs: x.shape(),
            rhs: w.shape(),
            why: format!(
                "{} input channels need a weight [C_out, {} / {groups} groups, ...] with C_out a \
                 multiple of {groups}",
                s.channels, s.channels,
            ),
        });
    }
    let (mut output, mut stride) = ([0; D], [0; D]);
    for d in 0..D {
        let reach = options.dilation[d].saturating_mul(s.kernel[d] - 1).saturating_add(1);
        let padded = options.padding[d].saturating_mul(2).saturating_add(s.spatial[d]);
        if padded < reach {
            return Err(Error::Shape {
                op,
                expected: format!(
                    "a padded input of at least the kernel's extent {reach} in spatial dim {d}"
                ),
                got: x.shape(),
            });
        }
        output[d] = (padded - reach) / options.stride[d] + 1;
        stride[d] = step(options.stride[d], output[d] - 1, padded - reach + 1);
    }
    countable(op, [s.batch, c_out], &output)?;
    Ok(ConvGeom {
        batch: s.batch as usize,
        groups: groups as usize,
        c_in: s.channels as usize,
        c_out: c_out as usize,
        input: lift(s.spatial, 1),
        output: lift(output, 1),
        kernel: lift(s.kernel, 1),
        stride: lift(stride, 1),
        padding: lift(options.padding, 0),
        dilation: lift(s.dilation(options), 1),
    })
}

/// Fails for a result that could not be addressed.
fn countable(op: &'static str, lead: [i64; 2], rest: &[i64]) -> Result<()> {
    crate::shape::sizes(op, &[&lead[..], rest].concat()).map(|_| ())
}

/// Checks the operands of a transposed convolution and works out the sizes of the convolution
/// whose transpose it is.
pub(crate) fn conv_transpose_geometry<const D: usize>(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<D>,
    output_padding: [i64; D],
) -> Result<ConvGeom> {
    let op = CONV_TRANSPOSE[D - 1];
    options.check(op)?;
    let [c_in, per_group] = leading(w);
    let c_out = per_group.saturating_mul(options.groups);
    let s = sizes::<D>(op, x, w, bias, c_out)?;
    if s.channels != c_in || s.channels % options.groups != 0 {
        return Err(Error::ShapeMismatch {
            op,
            lhs: x.shape(),
            rhs: w.shape(),
            why: format!(
                "{} input channels need a weight [{}, C_out / {} groups, ...]",
                s.channels, s.channels, options.groups
            ),
        });
    }
    let (mut output, mut stride) = ([0; D], [0; D]);
    for d in 0..D {
        let limit = options.stride[d].max(options.dilation[d]);
        if output_padding[d] < 0 || output_padding[d] >= limit {
            return Err(Error::invalid(
                op,
                format!(
                    "output_padding {output_padding:?} must not be negative, and smaller than stride or dilation"
                ),
            ));
        }
        let size = i128::from(s.spatial[d] - 1) * i128::from(options.stride[d])
            - 2 * i128::from(options.padding[d])
            + i128::from(options.dilation[d]) * i128::from(s.kernel[d] - 1)
            + i128::from(output_padding[d])
            + 1;
        if size < 1 || s.spatial[d] < 1 {
            return Err(Error::Shape {
                op,
                expected: "an input that leaves a positive output size".into(),
                got: x.shape(),
            });
        }
        output[d] = i64::try_from(size).unwrap_or(i64::MAX);
        stride[d] = step(options.stride[d], s.spatial[d] - 1, output_padding[d] + 1);
    }
    countable(op, [s.batch, c_out], &output)?;
    Ok(ConvGeom {
        batch: s.batch as usize,
        groups: options.groups as usize,
        c_in: c_out as usize,
        c_out: s.channels as usize,
        input: lift(output, 1),
        output: lift(s.spatial, 1),
        kernel: lift(s.kernel, 1),
        stride: lift(stride, 1),
        padding: lift(options.padding, 0),
        dilation: lift(s.dilation(options), 1),
    })
}

/// `[N, C, spatial…]` or `[C_out, C, kernel…]` in the rank of the operation.
fn shape<const D: usize>(a: usize, b: usize, rest: [usize; 3]) -> Dims {
    let mut dims = Dims::from_slice(&[a, b]);
    dims.extend_from_slice(&rest[3 - D..]);
    dims
}

impl Tensor {
    /// The convolution of checked operands in float32 or float64.
    pub(crate) fn conv_forward<const D: usize>(
        &self,
        g: &ConvGeom,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (x, w) = (self.contiguous()?, weight.contiguous()?);
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let dims = shape::<D>(g.batch, g.c_out, g.output);
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| {
            b.conv_forward(g, x.operand(), w.operand(), bias.as_ref().map(Tensor::operand), out)
        })
    }

    /// What the convolution takes back to its input from its output, which this is: the transposed
    /// convolution.
    pub(crate) fn conv_backward_data<const D: usize>(
        &self,
        g: &ConvGeom,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (y, w) = (self.contiguous()?, weight.contiguous()?);
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let dims = shape::<D>(g.batch, g.c_in, g.input);
        Tensor::build(&dims, y.dtype(), y.device(), |b, out| {
            let bias = bias.as_ref().map(Tensor::operand);
            b.conv_backward_data(g, y.operand(), w.operand(), bias, out)
        })
    }

    /// The gradient of the weight from the input, which this is, and that of the output.
    pub(crate) fn conv_backward_weight<const D: usize>(
        &self,
        g: &ConvGeom,
        dy: &Tensor,
    ) -> Result<Tensor> {
        let (x, y) = (self.contiguous()?, dy.contiguous()?);
        let dims = shape::<D>(g.c_out, g.c_in / g.groups, g.kernel);
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| {
            b.conv_backward_weight(g, x.operand(), y.operand(), out)
        })
    }

    /// A convolution or transposed convolution from its operands as the user gave them.
    fn convolve<const D: usize>(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        run: impl FnOnce(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.ndim() == D + 1 {
            return self.unsqueeze(0)?.convolve::<D>(weight, bias, run)?.squeeze(0);
        }
        let half = self.dtype().is_half() && weight.dtype() == self.dtype();
        if !half || bias.is_some_and(|b| b.dtype() != self.dtype()) {
            return run(self, weight, bias);
        }
        let wide = |t: &Tensor| t.to_dtype(DType::Float32);
        let bias = bias.map(wide).transpose()?;
        run(&wide(self)?, &wide(weight)?, bias.as_ref())?.to_dtype(self.dtype())
    }
}

/// The named methods of a rank, with arrays or scalars as programs for PyTorch write them.
macro_rules! named {
    ($conv:ident, $transpose:ident, $D:literal, $t:ty, |$v:ident| $array:expr) => {
        impl Tensor {
            #[doc = concat!("Convolution over ", stringify!($D), " spatial dims, see")]
            #[doc = concat!("[`", stringify!($conv), "`](crate::", stringify!($conv), "()).")]
            ///
            /// # Errors
            /// When ranks, channels, groups or dtypes do not fit, or the kernel is larger than the
            /// padded input.
            pub fn $conv(
                &self,
                weight: &Tensor,
                bias: Option<&Tensor>,
                stride: $t,
                padding: $t,
                dilation: $t,
                groups: i64,
            ) -> Result<Tensor> {
                let lift = |$v: $t| $array;
                let (stride, padding, dilation) = (lift(stride), lift(padding), lift(dilation));
                let options = ConvOptions { stride, padding, dilation, groups };
                self.convolve::<$D>(weight, bias, |x, w, b| {
                    x.conv_forward::<$D>(&conv_geometry(x, w, b, &options)?, w, b)
                })
            }

            #[doc = concat!("Transposed convolution over ", stringify!($D), " spatial dims, see")]
            #[doc = concat!(
                        "[`", stringify!($transpose), "`](crate::", stringify!($transpose), "())."
                    )]
            ///
            /// # Errors
            /// When ranks, channels, groups, output padding or dtypes do not fit.
            pub fn $transpose(
                &self,
                weight: &Tensor,
                bias: Option<&Tensor>,
                stride: $t,
                padding: $t,
                output_padding: $t,
                dilation: $t,
                groups: i64,
            ) -> Result<Tensor> {
                let lift = |$v: $t| $array;
                let (stride, padding, dilation) = (lift(stride), lift(padding), lift(dilation));
                let options = ConvOptions { stride, padding, dilation, groups };
                let output_padding = lift(output_padding);
                self.convolve::<$D>(weight, bias, |x, w, b| {
                    let g = conv_transpose_geometry(x, w, b, &options, output_padding)?;
                    x.conv_backward_data::<$D>(&g, w, b)
                })
            }
        }
    };
}

named!(conv1d, conv_transpose1d, 1, i64, |v| [v]);
named!(conv2d, conv_transpose2d, 2, [i64; 2], |v| v);
named!(conv3d, conv_transpose3d, 3, [i64; 3], |v| v);
