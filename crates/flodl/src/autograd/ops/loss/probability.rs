//! Losses of distributions: Kullback-Leibler divergence, negative log-likelihood, focal loss.

use super::{check_classes, check_pair, in_f32, option, reduce};
use crate::backend::Reduction;
use crate::{DType, Error, Result, Tensor, Variable};

/// How the elements of a divergence become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlReduction {
    /// One number for each element.
    None,
    /// The mean over all elements, PyTorch's default; not what the mathematics asks for.
    Mean,
    /// The sum.
    Sum,
    /// The sum divided by the first dim: the mean divergence.
    BatchMean,
}

impl From<Reduction> for KlReduction {
    fn from(reduction: Reduction) -> Self {
        match reduction {
            Reduction::None => KlReduction::None,
            Reduction::Mean => KlReduction::Mean,
            Reduction::Sum => KlReduction::Sum,
        }
    }
}

/// Mean over all elements of target · (ln target - input), for log-probabilities and target
/// probabilities. [`kl_div_loss_with`] has the mean over the batch.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn kl_div_loss(input: &Variable, target: &Variable) -> Result<Variable> {
    kl_div_loss_with(input, target, false, KlReduction::Mean)
}

/// [`kl_div_loss`] with log-probabilities as targets, or another reduction.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn kl_div_loss_with(
    input: &Variable,
    target: &Variable,
    log_target: bool,
    reduction: impl Into<KlReduction>,
) -> Result<Variable> {
    let reduction = reduction.into();
    in_f32([input, target], |[x, t]| {
        check_pair("kl_div_loss", x, t)?;
        let loss = if log_target {
            t.exp()?.mul(&t.sub(x)?)?
        } else {
            // 0 · ln 0 is 0.
            let none = t.with_data(|t| t.eq_scalar(0.0))?;
            let log = t.masked_fill(&none, 1.0)?.log()?;
            t.mul(&log)?.sub(&t.mul(x)?)?
        };
        match reduction {
            KlReduction::None => Ok(loss),
            KlReduction::Mean => loss.mean(),
            KlReduction::Sum => loss.sum(),
            KlReduction::BatchMean => {
                let batch = x.shape().first().copied().unwrap_or(1);
                loss.sum()?.div_scalar(batch as f64)
            }
        }
    })
}

/// Mean negative log-likelihood of target classes `[N]` (or `[N, d1, …]`) under log-probabilities
/// `[N, C]` (or `[N, C, d1, …]`).
///
/// # Errors
/// When shapes do not fit or a target is not a class.
pub fn nll_loss(input: &Variable, target: &Variable) -> Result<Variable> {
    nll_loss_with(input, target, None, -100, Reduction::Mean)
}

/// Scores with classes last, one row for each target: `[rows, C]`, and targets `[rows]`.
pub(super) fn rows(
    op: &'static str,
    input: &Variable,
    target: &Variable,
) -> Result<(Variable, Tensor)> {
    let (shape, given) = (input.shape(), target.shape());
    let channel = usize::from(shape.len() > 1);
    let Some(&classes) = shape.get(channel) else {
        return Err(Error::Shape { op, expected: "scores [N, C]".into(), got: shape });
    };
    let mut want = shape.clone();
    want.remove(channel);
    if given != want {
        return Err(Error::ShapeMismatch {
            op,
            lhs: shape,
            rhs: given,
            why: format!("targets need the shape {want:?}"),
        });
    }
    if target.dtype().is_float() || target.dtype() == DType::Bool {
        return Err(Error::DType {
            op,
            expected: "classes as integers".into(),
            got: target.dtype(),
        });
    }
    let last = if shape.len() > 2 { input.movedim(1, -1)? } else { input.clone() };
    let rows = last.reshape(&[target.numel(), classes])?;
    Ok((rows, target.data().to_dtype(DType::Int64)?.reshape(&[-1])?))
}

/// [`nll_loss`] with a weight for each class, an ignored class and a reduction. The mean is
/// divided by the weights of the targets that count.
///
/// # Errors
/// When shapes do not fit or a target is not a class.
pub fn nll_loss_with(
    input: &Variable,
    target: &Variable,
    weight: Option<&Tensor>,
    ignore_index: i64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "nll_loss";
    in_f32([input, target], |[input, target]| {
        input.with_data(|t| t.check_float(op))?;
        let (rows, targets) = rows(op, input, target)?;
        let classes = rows.shape()[1];
        check_weight(op, weight, classes)?;
        check_classes(op, &targets, classes, Some(ignore_index))?;
        let ignored = targets.eq_scalar(ignore_index as f64)?;
        let safe = targets.masked_fill(&ignored, 0.0)?;
        let picked = rows.gather(1, &safe.unsqueeze(1)?)?.squeeze(1)?;
        let mut share = ignored.logical_not()?.to_dtype(rows.dtype())?;
        if let Some(w) = option(weight, &rows)? {
            share = share.mul(&w.data().index_select(0, &safe)?)?;
        }
        // Not a product: an ignored row may be infinite.
        let losses = picked.masked_fill(&ignored, 0.0)?.mul(&Variable::constant(share.clone()))?;
        let losses = losses.neg()?;
        match reduction {
            Reduction::None => losses.reshape(&target.shape()),
            Reduction::Sum => losses.sum(),
            Reduction::Mean => losses.sum()?.div_scalar(share.sum()?.item()?),
        }
    })
}

/// Checks that there is a weight for each class.
pub(super) fn check_weight(op: &'static str, weight: Option<&Tensor>, classes: i64) -> Result<()> {
    match weight {
        Some(w) if w.shape() != [classes] => Err(Error::Shape {
            op,
            expected: format!("a weight for each of {classes} classes"),
            got: w.shape(),
        }),
        _ => Ok(()),
    }
}

/// Values of at least the smallest normal number: below 1 a power's slope at 0 is infinite, and the
/// loss, which is 0 there, would have the gradient NaN.
fn above_zero(v: &Variable) -> Result<Variable> {
    v.clamp_min(if v.dtype() == DType::Float64 {
        f64::MIN_POSITIVE
    } else {
        f32::MIN_POSITIVE.into()
    })
}

/// Mean focal loss of logits (Lin et al., 2017): cross-entropy that counts less where the
/// prediction is already right, -α (1 - p)^γ ln p.
///
/// With float targets in the logits' shape it is binary: p is the sigmoid's, and α weights
/// positive targets against 1 - α for negative ones (a negative α weights nothing). With integer
/// targets p is the softmax's probability of the target class, and α a factor on all.
///
/// # Errors
/// When shapes do not fit or a target is not a class.
pub fn focal_loss(pred: &Variable, target: &Variable, alpha: f64, gamma: f64) -> Result<Variable> {
    focal_loss_with(pred, target, alpha, gamma, Reduction::Mean)
}

/// [`focal_loss`], combined as asked.
///
/// # Errors
/// When shapes do not fit or a target is not a class.
pub fn focal_loss_with(
    pred: &Variable,
    target: &Variable,
    alpha: f64,
    gamma: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "focal_loss";
    if !target.dtype().is_float() {
        return in_f32([pred, target], |[pred, target]| {
            pred.with_data(|t| t.check_float(op))?;
            let (rows, targets) = rows(op, pred, target)?;
            check_classes(op, &targets, rows.shape()[1], None)?;
            let index = targets.unsqueeze(1)?;
            let log_p = rows.log_softmax(1)?.gather(1, &index)?.squeeze(1)?;
            let missing = above_zero(&log_p.expm1()?.neg()?)?;
            let loss = missing.pow_scalar(gamma)?.mul(&log_p)?.mul_scalar(-alpha)?;
            let loss = reduce(loss, reduction)?;
            if reduction == Reduction::None { loss.reshape(&target.shape()) } else { Ok(loss) }
        });
    }
    in_f32([pred, target], |[pred, target]| {
        check_pair(op, pred, target)?;
        let entropy = super::bce_with_logits_loss_with(pred, target, None, None, Reduction::None)?;
        // 1 - p of what should be, each side by itself: neither is lost when the other is near 1.
        let not = target.neg()?.add_scalar(1.0)?;
        let missing = pred.neg()?.sigmoid()?.mul(target)?.add(&pred.sigmoid()?.mul(&not)?)?;
        let mut loss = above_zero(&missing)?.pow_scalar(gamma)?.mul(&entropy)?;
        if alpha >= 0.0 {
            let share = target.mul_scalar(2.0 * alpha - 1.0)?.add_scalar(1.0 - alpha)?;
            loss = loss.mul(&share)?;
        }
        reduce(loss, reduction)
    })
}
