//! Patches as columns, and back: each is the other's gradient, so both differentiate any number of
//! times.

use super::from_nothing;
use crate::backend::FoldGeom;
use crate::tensor::{fold_geometry, unfold_geometry};
use crate::{DType, Result, Variable};

/// 16-bit floats go through float32.
fn in_float(x: &Variable, f: impl FnOnce(&Variable) -> Result<Variable>) -> Result<Variable> {
    let home = x.dtype();
    if home.is_half() { f(&x.to_dtype(DType::Float32)?)?.to_dtype(home) } else { f(x) }
}

/// Patches of images as columns: `[N, C, H, W]` becomes `[N, C · kernel, patches]`, rows ordered
/// (channel, kernel row, kernel column); without N likewise. Padding is zeros.
///
/// # Errors
/// When the rank does not fit or the kernel is larger than the padded image.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::arange(0.0, 9.0, 1.0, TensorOptions::default())?, false);
/// let columns = im2col(&x.reshape(&[1, 1, 3, 3])?, [2, 2], [1, 1], [0, 0], [1, 1])?;
/// assert_eq!(columns.shape(), [1, 4, 4]);
/// assert_eq!(columns.data().select(2, 3)?.to_f32_vec()?, [4.0, 5.0, 7.0, 8.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn im2col(
    input: &Variable,
    kernel_size: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
) -> Result<Variable> {
    let g = input.with_data(|x| unfold_geometry(x, kernel_size, dilation, padding, stride))?;
    let batched = input.ndim() == 4;
    in_float(input, |x| unfold(x, g, batched))
}

/// Adds columns back into images: `[N, C · kernel, patches]` becomes `[N, C, H, W]`; without N
/// likewise. Where patches overlap, their elements are summed.
///
/// # Errors
/// When the columns are not those of an image of this size.
pub fn col2im(
    input: &Variable,
    output_size: [i64; 2],
    kernel_size: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
) -> Result<Variable> {
    let g = input
        .with_data(|x| fold_geometry(x, output_size, kernel_size, dilation, padding, stride))?;
    let batched = input.ndim() == 3;
    in_float(input, |x| fold(x, g, batched))
}

fn unfold(x: &Variable, g: FoldGeom, batched: bool) -> Result<Variable> {
    let y = x.with_data(|t| t.unfolded(&g, batched))?;
    Ok(from_nothing("im2col", x, y, move |dy| fold(&dy, g, batched)))
}

fn fold(x: &Variable, g: FoldGeom, batched: bool) -> Result<Variable> {
    let y = x.with_data(|t| t.folded(&g, batched))?;
    Ok(from_nothing("col2im", x, y, move |dy| unfold(&dy, g, batched)))
}
