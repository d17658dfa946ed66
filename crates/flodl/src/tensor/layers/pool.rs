//! Pooling, one code for all ranks.

use super::{SPACE, lift, step};
use crate::backend::{AvgRule, PoolGeom};
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor};

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

/// Checks an input `[N, C, spatial…]` or `[C, spatial…]` and gives planes and sizes.
fn planes<const D: usize>(op: &'static str, x: &Tensor) -> Result<(usize, [i64; D])> {
    if x.ndim() != D + 1 && x.ndim() != D + 2 {
        return Err(Error::Shape {
            op,
            expected: format!("an input [N, C, {}] or without N", SPACE[D - 1]),
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

/// Checks windows against an input and works out the sizes.
pub(crate) fn pool_geometry<const D: usize>(
    op: &'static str,
    windows: &Windows<D>,
    x: &Tensor,
) -> Result<PoolGeom> {
    let (planes, input) = planes::<D>(op, x)?;
    let Windows { kernel, stride, padding, dilation, ceil_mode } = *windows;
    let positive = kernel.iter().chain(&stride).chain(&dilation).all(|&v| v > 0);
    if !positive || padding.iter().any(|&p| p < 0) {
        return Err(Error::invalid(
            op,
            format!(
                "kernel, stride and dilation must be positive and padding not negative, not \
                 {windows:?}"
            ),
        ));
    }
    if (0..D).any(|d| padding[d] > kernel[d] / 2) {
        return Err(Error::invalid(
            op,
            format!("padding {padding:?} is more than half of the kernel {kernel:?}"),
        ));
    }
    let mut output = [1; 3];
    for d in 0..D {
        // No window of such an extent fits, and the kernel need not compute with it.
        let extent = i128::from(dilation[d]) * i128::from(kernel[d] - 1);
        let fits = extent < i128::from(input[d]) + 2 * i128::from(padding[d]);
        let stride = stride[d].min(i64::from(i32::MAX)) as usize;
        output[3 - D + d] = fits
            .then(|| {
                flodl_cpu::pool::pool_output_size(
                    input[d] as usize,
                    kernel[d] as usize,
                    stride,
                    padding[d] as usize,
                    dilation[d] as usize,
                    ceil_mode,
                )
            })
            .flatten()
            .filter(|&n| n > 0)
            .ok_or_else(|| Error::Shape {
                op,
                expected: format!("an input that a window of {kernel:?} fits into"),
                got: x.shape(),
            })?;
    }
    let steps = |d: usize| output[3 - D + d] as i64 - 1;
    let stride: [i64; D] = std::array::from_fn(|d| {
        step(stride[d], steps(d), stride[d].min(input[d] + 2 * padding[d]))
    });
    let dilation: [i64; D] = std::array::from_fn(|d| step(dilation[d], kernel[d] - 1, 1));
    Ok(PoolGeom {
        planes,
        input: lift(input, 1),
        output,
        kernel: lift(kernel, 1),
        stride: lift(stride, 1),
        padding: lift(padding, 0),
        dilation: lift(dilation, 1),
    })
}

/// Checks the output size of an adaptive pooling.
pub(crate) fn adaptive_geometry<const D: usize>(
    op: &'static str,
    x: &Tensor,
    output: [i64; D],
) -> Result<PoolGeom> {
    let (planes, input) = planes::<D>(op, x)?;
    if output.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("output size {output:?} must be positive")));
    }
    crate::shape::sizes(op, &[&[planes as i64][..], &output].concat())?;
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

/// The shape of the result: the input's with other spatial sizes.
fn pooled<const D: usize>(x: &Tensor, g: &PoolGeom) -> Dims {
    let mut dims = Dims::from_slice(&x.dims()[..x.ndim() - D]);
    dims.extend_from_slice(&g.output[3 - D..]);
    dims
}

impl Tensor {
    /// The largest value of each window, and its place in its plane as `Int32`; in float32 or
    /// float64.
    pub(crate) fn max_pool_kernel<const D: usize>(
        &self,
        g: &PoolGeom,
        adaptive: bool,
    ) -> Result<(Tensor, Tensor)> {
        let x = self.contiguous()?;
        let shape = pooled::<D>(&x, g);
        let mut index = Tensor::fresh(&shape, DType::Int32, x.device())?;
        let y = Tensor::build(&shape, x.dtype(), x.device(), |b, out| {
            b.max_pool(g, adaptive, x.operand(), out, index.fresh_storage())
        })?;
        Ok((y, index))
    }

    /// The mean of each window, in float32 or float64; no rule means adaptive windows.
    pub(crate) fn avg_pool_kernel<const D: usize>(
        &self,
        g: &PoolGeom,
        rule: Option<AvgRule>,
    ) -> Result<Tensor> {
        let x = self.contiguous()?;
        Tensor::build(&pooled::<D>(&x, g), x.dtype(), x.device(), |b, out| {
            b.avg_pool(g, rule, x.operand(), out)
        })
    }

    fn max_pool<const D: usize>(&self, op: &'static str, windows: &Windows<D>) -> Result<Tensor> {
        let g = pool_geometry(op, windows, self)?;
        self.through_f32(|x| Ok(x.max_pool_kernel::<D>(&g, false)?.0))
    }

    fn avg_pool<const D: usize>(
        &self,
        op: &'static str,
        windows: &Windows<D>,
        count_include_pad: bool,
    ) -> Result<Tensor> {
        let g = pool_geometry(op, windows, self)?;
        let rule = AvgRule { count_include_pad, divisor_override: None };
        self.through_f32(|x| x.avg_pool_kernel::<D>(&g, Some(rule)))
    }

    /// The largest value of each window of `[N, C, H, W]` or `[C, H, W]`; padding counts as -∞.
    ///
    /// # Errors
    /// When the input's rank or size does not fit the windows.
    pub fn max_pool2d(
        &self,
        kernel_size: [i64; 2],
        stride: [i64; 2],
        padding: [i64; 2],
        dilation: [i64; 2],
        ceil_mode: bool,
    ) -> Result<Tensor> {
        let windows = Windows { kernel: kernel_size, stride, padding, dilation, ceil_mode };
        self.max_pool("max_pool2d", &windows)
    }

    /// The largest value of each window of `[N, C, L]` or `[C, L]`; padding counts as -∞.
    ///
    /// # Errors
    /// When the input's rank or size does not fit the windows.
    pub fn max_pool1d(
        &self,
        kernel_size: i64,
        stride: i64,
        padding: i64,
        dilation: i64,
        ceil_mode: bool,
    ) -> Result<Tensor> {
        let windows = Windows {
            kernel: [kernel_size],
            stride: [stride],
            padding: [padding],
            dilation: [dilation],
            ceil_mode,
        };
        self.max_pool("max_pool1d", &windows)
    }

    /// The mean of each window of `[N, C, H, W]` or `[C, H, W]`.
    ///
    /// # Errors
    /// When the input's rank or size does not fit the windows.
    pub fn avg_pool2d(
        &self,
        kernel_size: [i64; 2],
        stride: [i64; 2],
        padding: [i64; 2],
        ceil_mode: bool,
        count_include_pad: bool,
    ) -> Result<Tensor> {
        let dilation = [1, 1];
        let windows = Windows { kernel: kernel_size, stride, padding, dilation, ceil_mode };
        self.avg_pool("avg_pool2d", &windows, count_include_pad)
    }

    /// The mean of each window of `[N, C, L]` or `[C, L]`.
    ///
    /// # Errors
    /// When the input's rank or size does not fit the windows.
    pub fn avg_pool1d(
        &self,
        kernel_size: i64,
        stride: i64,
        padding: i64,
        ceil_mode: bool,
        count_include_pad: bool,
    ) -> Result<Tensor> {
        let windows = Windows {
            kernel: [kernel_size],
            stride: [stride],
            padding: [padding],
            dilation: [1],
            ceil_mode,
        };
        self.avg_pool("avg_pool1d", &windows, count_include_pad)
    }

    /// The mean of each of `output_size` parts that share height and width evenly.
    ///
    /// # Errors
    /// When the input's rank does not fit or a size is not positive.
    pub fn adaptive_avg_pool2d(&self, output_size: [i64; 2]) -> Result<Tensor> {
        let g = adaptive_geometry("adaptive_avg_pool2d", self, output_size)?;
        self.through_f32(|x| x.avg_pool_kernel::<2>(&g, None))
    }

    /// The largest value of each of `output_size` parts that share height and width evenly.
    ///
    /// # Errors
    /// When the input's rank does not fit or a size is not positive.
    pub fn adaptive_max_pool2d(&self, output_size: [i64; 2]) -> Result<Tensor> {
        let g = adaptive_geometry("adaptive_max_pool2d", self, output_size)?;
        self.through_f32(|x| Ok(x.max_pool_kernel::<2>(&g, true)?.0))
    }
}
