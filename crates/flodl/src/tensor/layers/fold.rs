//! Patches of images as columns of a matrix, and their sum back into images.

use super::step;
use crate::backend::FoldGeom;
use crate::shape::Dims;
use crate::{Error, Result, Tensor};

/// Checks the settings and counts the patches of an image.
fn geometry(
    op: &'static str,
    image: [i64; 2],
    kernel: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
) -> Result<FoldGeom> {
    let positive = kernel.iter().chain(&dilation).chain(&stride).all(|&v| v > 0);
    if !positive || padding.iter().any(|&p| p < 0) {
        return Err(Error::invalid(
            op,
            format!(
                "kernel {kernel:?}, dilation {dilation:?} and stride {stride:?} must be positive \
                 and padding {padding:?} not negative"
            ),
        ));
    }
    let mut output = [0; 2];
    for d in 0..2 {
        let reach = dilation[d].saturating_mul(kernel[d] - 1).saturating_add(1);
        let padded = padding[d].saturating_mul(2).saturating_add(image[d]);
        if padded < reach {
            return Err(Error::Shape {
                op,
                expected: format!("an image of which a patch of {reach} fits into dim {d}"),
                got: image.to_vec(),
            });
        }
        output[d] = ((padded - reach) / stride[d] + 1) as usize;
    }
    let size = |v: [i64; 2]| v.map(|n| n as usize);
    Ok(FoldGeom {
        batch: 1,
        channels: 1,
        input: size(image),
        output,
        kernel: size(kernel),
        stride: size([0, 1].map(|d| step(stride[d], output[d] as i64 - 1, 1))),
        padding: size(padding),
        dilation: size([0, 1].map(|d| step(dilation[d], kernel[d] - 1, 1))),
    })
}

/// Checks images `[N, C, H, W]` or `[C, H, W]` to be unfolded.
pub(crate) fn unfold_geometry(
    x: &Tensor,
    kernel: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
) -> Result<FoldGeom> {
    let op = "im2col";
    x.check_float(op)?;
    let (batch, [c, h, w]) = match *x.dims() {
        [c, h, w] => (1, [c, h, w]),
        [n, c, h, w] => (n, [c, h, w]),
        _ => {
            return Err(Error::Shape {
                op,
                expected: "images [N, C, H, W] or [C, H, W]".into(),
                got: x.shape(),
            });
        }
    };
    let g = geometry(op, [h as i64, w as i64], kernel, dilation, padding, stride)?;
    let [rows, patches] = columns(&g);
    crate::shape::sizes(op, &[batch, c, rows, patches].map(|n| n as i64))?;
    Ok(FoldGeom { batch, channels: c, ..g })
}

/// Elements of a patch in one channel, and patches of an image.
fn columns(g: &FoldGeom) -> [usize; 2] {
    [g.kernel[0].saturating_mul(g.kernel[1]), g.output[0].saturating_mul(g.output[1])]
}

/// Checks columns `[N, C · kernel, patches]` or `[C · kernel, patches]` to be folded.
pub(crate) fn fold_geometry(
    x: &Tensor,
    output_size: [i64; 2],
    kernel: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
) -> Result<FoldGeom> {
    let op = "col2im";
    x.check_float(op)?;
    if output_size.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("output size {output_size:?} must be positive")));
    }
    let g = geometry(op, output_size, kernel, dilation, padding, stride)?;
    let [patch, patches] = columns(&g);
    let (batch, rows) = match *x.dims() {
        [rows, n] if n == patches => (1, rows),
        [batch, rows, n] if n == patches => (batch, rows),
        _ => (0, patch + 1),
    };
    if rows % patch != 0 {
        return Err(Error::Shape {
            op,
            expected: format!(
                "columns [N, C * {patch}, {patches}] or without N, for the {patches} patches of \
                 {kernel:?} in an image of {output_size:?}"
            ),
            got: x.shape(),
        });
    }
    let (channels, [h, w]) = (rows / patch, output_size);
    crate::shape::sizes(op, &[batch as i64, channels as i64, h, w])?;
    Ok(FoldGeom { batch, channels, ..g })
}

impl Tensor {
    /// The columns of checked images, in float32 or float64.
    pub(crate) fn unfolded(&self, g: &FoldGeom, batched: bool) -> Result<Tensor> {
        let x = self.contiguous()?;
        let [patch, patches] = columns(g);
        let all = [g.batch, g.channels * patch, patches];
        let dims = Dims::from_slice(&all[usize::from(!batched)..]);
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| b.unfold(g, x.operand(), out))
    }

    /// The images of checked columns, in float32 or float64.
    pub(crate) fn folded(&self, g: &FoldGeom, batched: bool) -> Result<Tensor> {
        let x = self.contiguous()?;
        let all = [g.batch, g.channels, g.input[0], g.input[1]];
        let dims = Dims::from_slice(&all[usize::from(!batched)..]);
        if x.len() == 0 {
            return Tensor::full_dims(&dims, 0.0, x.options());
        }
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| b.fold(g, x.operand(), out))
    }

    /// Patches of images as columns: `[N, C, H, W]` becomes `[N, C · kernel, patches]`, rows ordered
    /// (channel, kernel row, kernel column); without N likewise. Padding is zeros.
    ///
    /// # Errors
    /// When the rank does not fit or the kernel is larger than the padded image.
    pub fn im2col(
        &self,
        kernel_size: [i64; 2],
        dilation: [i64; 2],
        padding: [i64; 2],
        stride: [i64; 2],
    ) -> Result<Tensor> {
        let g = unfold_geometry(self, kernel_size, dilation, padding, stride)?;
        self.through_f32(|x| x.unfolded(&g, x.ndim() == 4))
    }

    /// Adds columns back into images: `[N, C · kernel, patches]` becomes `[N, C, H, W]`; without N
    /// likewise. Where patches overlap, their elements are summed.
    ///
    /// # Errors
    /// When the columns are not those of an image of this size.
    pub fn col2im(
        &self,
        output_size: [i64; 2],
        kernel_size: [i64; 2],
        dilation: [i64; 2],
        padding: [i64; 2],
        stride: [i64; 2],
    ) -> Result<Tensor> {
        let g = fold_geometry(self, output_size, kernel_size, dilation, padding, stride)?;
        self.through_f32(|x| x.folded(&g, x.ndim() == 3))
    }
}
