//! Operations of two inputs: the bilinear form, of a GEMM and a product of matrices and vectors, and
//! the distance.

use super::linear;
use crate::autograd::amp;
use crate::tensor::Bilinear;
use crate::{Result, Variable};

/// y = x1ᵀ · W · x2 + b for each output: `[…, in1]`, `[…, in2]` and a weight `[out, in1, in2]` give
/// `[…, out]`.
///
/// # Errors
/// When shapes or dtypes do not fit.
///
/// ```
/// use flodl::*;
/// let row = |v: &[f32]| Tensor::from_f32(v, &[1, 2], Device::CPU).map(|t| Variable::new(t, true));
/// let weight = Variable::new(Tensor::from_f32(&[1.0, 0.0, 0.0, 10.0], &[1, 2, 2], Device::CPU)?, true);
/// let y = bilinear(&row(&[2.0, 3.0])?, &row(&[5.0, 7.0])?, &weight, None)?;
/// assert_eq!(y.item()?, 220.0);
/// # Ok::<(), Error>(())
/// ```
pub fn bilinear(
    input1: &Variable,
    input2: &Variable,
    weight: &Variable,
    bias: Option<&Variable>,
) -> Result<Variable> {
    if amp::is_active() {
        // PyTorch's autocast leaves this operation in f32.
        let [x1, x2, w] = match amp::high([input1, input2, weight])? {
            Some(wide) => wide,
            None => [input1, input2, weight].map(Variable::clone),
        };
        return amp::without(|| bilinear(&x1, &x2, &w, bias));
    }
    let b = bias.map(Variable::data);
    let g = input1.with_data(|x1| {
        input2.with_data(|x2| weight.with_data(|w| Bilinear::check(x1, x2, w, b.as_ref())))
    })?;
    let flat = weight.reshape(&[g.out * g.in1, g.in2])?;
    let rows = linear(&input2.reshape(&[g.batch, g.in2])?, &flat, None)?;
    let column = input1.reshape(&[g.batch, g.in1, 1])?;
    let y = rows.reshape(&[g.batch, g.out, g.in1])?.matmul(&column)?.reshape(&g.shape)?;
    match bias {
        Some(b) => y.add(b),
        None => Ok(y),
    }
}

/// |x1 - x2 + eps| as p-norm along the last dim, which stays with size 1 if `keepdim`.
///
/// # Errors
/// When shapes cannot be broadcast or dtypes differ.
pub fn pairwise_distance(
    x1: &Variable,
    x2: &Variable,
    p: f64,
    eps: f64,
    keepdim: bool,
) -> Result<Variable> {
    x1.sub(x2)?.add_scalar(eps)?.norm_p(p, -1, keepdim)
}
