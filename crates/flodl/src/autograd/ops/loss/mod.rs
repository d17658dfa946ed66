//! Losses. The short functions have PyTorch's defaults; those ending in `_with` take every option.
//! Losses of 16-bit inputs are computed in f32.

mod cross_entropy;
mod ctc;
mod margin;
mod pointwise;
mod probability;
mod tensor;

pub use cross_entropy::*;
pub use ctc::*;
pub use margin::*;
pub use pointwise::*;
pub use probability::*;

use crate::backend::Reduction;
use crate::{DType, Error, Result, Tensor, Variable};

/// Combines the losses of elements.
pub(crate) fn reduce(losses: Variable, reduction: Reduction) -> Result<Variable> {
    match reduction {
        Reduction::None => Ok(losses),
        Reduction::Sum => losses.sum(),
        Reduction::Mean => losses.mean(),
    }
}

/// Checks that operands have the first one's dtype and device, and that it is a float.
fn check_kin(op: &'static str, first: &Variable, others: &[&Variable]) -> Result<()> {
    first.with_data(|t| {
        t.check_float(op)?;
        others.iter().try_for_each(|o| o.with_data(|o| t.check_same(op, o)))
    })
}

/// Checks that two operands have one shape, dtype and device.
fn check_pair(op: &'static str, pred: &Variable, target: &Variable) -> Result<()> {
    if pred.shape() != target.shape() {
        return Err(Error::ShapeMismatch {
            op,
            lhs: pred.shape(),
            rhs: target.shape(),
            why: "prediction and target must have one shape".into(),
        });
    }
    check_kin(op, pred, &[target])
}

/// Runs a loss in f32 when the first operand has 16 bits: floats are widened, the result goes back,
/// but stays f32 under autocast.
fn in_f32<const N: usize>(
    inputs: [&Variable; N],
    loss: impl FnOnce([&Variable; N]) -> Result<Variable>,
) -> Result<Variable> {
    let home = inputs[0].dtype();
    let auto = crate::autograd::amp::is_active();
    let widen = home.is_half() || auto && inputs.iter().any(|v| v.dtype().is_half());
    if !widen {
        return loss(inputs);
    }
    let wide = inputs
        .iter()
        .map(|v| if v.dtype().is_half() { v.to_dtype(DType::Float32) } else { Ok((*v).clone()) })
        .collect::<Result<Vec<_>>>()?;
    let result = loss(std::array::from_fn(|i| &wide[i]))?;
    if auto || !home.is_half() { Ok(result) } else { result.to_dtype(home) }
}

/// A tensor of options in the dtype of the loss.
fn option(t: Option<&Tensor>, like: &Variable) -> Result<Option<Variable>> {
    t.map(|t| Ok(Variable::constant(t.to_dtype(like.dtype())?))).transpose()
}

/// Checks that targets are classes or `ignored`.
fn check_classes(
    op: &'static str,
    targets: &Tensor,
    classes: i64,
    ignored: Option<i64>,
) -> Result<()> {
    let values = targets.to_i64_vec()?;
    let bad = |t: i64| Some(t) != ignored && !(0..classes).contains(&t);
    match values.iter().position(|&t| bad(t)) {
        None => Ok(()),
        Some(i) => {
            let t = values[i];
            Err(Error::invalid(op, format!("target {t} at place {i} is none of {classes} classes")))
        }
    }
}
