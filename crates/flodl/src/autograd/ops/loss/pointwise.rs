//! Losses that compare prediction and target element by element.

use super::{check_kin, check_pair, in_f32, option, reduce};
use crate::autograd::is_grad_enabled;
use crate::autograd::ops::grad_by_composition;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::{BinaryOp, Reduction};
use crate::{Error, Result, Tensor, Variable, enable_grad};

/// What a fused pointwise loss is made of.
#[derive(Clone, Copy)]
pub(super) struct Pointwise {
    pub name: &'static str,
    /// The loss of an element.
    pub value: BinaryOp,
    /// Its slope in the prediction.
    pub slope: BinaryOp,
    /// Whether the slope in the target is the negative of that in the prediction.
    pub of_difference: bool,
    /// The same in plain operations, for passes that record. The numbers are a setting.
    pub compose: fn(&Variable, &Variable, f64) -> Result<Variable>,
    pub setting: f64,
}

/// One kernel forward, one backward.
pub(super) fn pointwise(
    kind: Pointwise,
    pred: &Variable,
    target: &Variable,
    reduction: Reduction,
) -> Result<Variable> {
    let name = kind.name;
    let each = pred.with_data(|x| target.with_data(|t| x.binary(name, kind.value, t)))?;
    let loss = match reduction {
        Reduction::None => each,
        Reduction::Sum => each.sum()?,
        Reduction::Mean => each.mean()?,
    };
    let (x, t) = (Saved::new(pred), Saved::new(target));
    Ok(record(name, loss, &[pred, target], move |ctx| {
        let g = ctx.grad();
        let composed = |g: Variable| {
            grad_by_composition(
                &[&x.get()?, &t.get()?],
                |v| reduce((kind.compose)(&v[0], &v[1], kind.setting)?, reduction),
                g,
            )
        };
        if is_grad_enabled() {
            return composed(g);
        }
        let n = x.data().numel();
        let factor = if reduction == Reduction::Mean { 1.0 / n as f64 } else { 1.0 };
        let mut dx = x.data().binary(name, kind.slope, t.data())?;
        let scale = g.with_data(|g| g.mul_scalar(factor))?;
        dx.mul_(&scale)?;
        let dt = match (ctx.needs(1), kind.of_difference) {
            (false, _) => None,
            (true, true) => Some(Variable::constant(dx.neg()?)),
            (true, false) => {
                let all = enable_grad(|| composed(g))?;
                all.get(1).and_then(Option::as_ref).map(Variable::detach)
            }
        };
        Ok(grads![Variable::constant(dx), dt])
    }))
}

/// Mean of |pred - target|.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn l1_loss(pred: &Variable, target: &Variable) -> Result<Variable> {
    l1_loss_with(pred, target, Reduction::Mean)
}

/// |pred - target|, combined as asked.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn l1_loss_with(pred: &Variable, target: &Variable, reduction: Reduction) -> Result<Variable> {
    in_f32([pred, target], |[pred, target]| {
        check_pair("l1_loss", pred, target)?;
        let kind = Pointwise {
            name: "l1_loss",
            value: BinaryOp::AbsDifference,
            slope: BinaryOp::DifferenceSign,
            of_difference: true,
            compose: |x, t, _| x.sub(t)?.abs(),
            setting: 0.0,
        };
        pointwise(kind, pred, target, reduction)
    })
}

/// |d| - |clamp(d)| + clamp(d)² / (2 β): quadratic to β, then linear, and with the right slope at 0.
fn rounded(x: &Variable, t: &Variable, beta: f64) -> Result<Variable> {
    let d = x.sub(t)?;
    let near = d.clamp(-beta, beta)?;
    let far = d.abs()?.sub(&near.abs()?)?;
    near.mul(&near)?.mul_scalar(0.5 / beta)?.add(&far)
}

/// Mean of (pred - target)² / (2 β) where that is below β, else |pred - target| - β / 2
/// (Girshick, 2015).
///
/// # Errors
/// When shapes or dtypes differ, or `beta` is negative.
pub fn smooth_l1_loss(pred: &Variable, target: &Variable, beta: f64) -> Result<Variable> {
    smooth_l1_loss_with(pred, target, beta, Reduction::Mean)
}

/// [`smooth_l1_loss`], combined as asked. With `beta` 0 it is [`l1_loss_with`].
///
/// # Errors
/// When shapes or dtypes differ, or `beta` is negative.
pub fn smooth_l1_loss_with(
    pred: &Variable,
    target: &Variable,
    beta: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let name = "smooth_l1_loss";
    if beta.is_nan() || beta < 0.0 {
        return Err(Error::invalid(name, format!("beta {beta} must not be negative")));
    }
    if beta == 0.0 {
        return l1_loss_with(pred, target, reduction);
    }
    in_f32([pred, target], |[pred, target]| {
        check_pair(name, pred, target)?;
        let kind = Pointwise {
            name,
            value: BinaryOp::SmoothL1 { beta },
            slope: BinaryOp::SmoothL1Slope { beta },
            of_difference: true,
            compose: rounded,
            setting: beta,
        };
        pointwise(kind, pred, target, reduction)
    })
}

/// Mean of (pred - target)² / 2 where |pred - target| ≤ δ, else δ (|pred - target| - δ / 2) (Huber,
/// 1964).
///
/// # Errors
/// When shapes or dtypes differ, or `delta` is not positive.
pub fn huber_loss(pred: &Variable, target: &Variable, delta: f64) -> Result<Variable> {
    huber_loss_with(pred, target, delta, Reduction::Mean)
}

/// [`huber_loss`], combined as asked.
///
/// # Errors
/// When shapes or dtypes differ, or `delta` is not positive.
pub fn huber_loss_with(
    pred: &Variable,
    target: &Variable,
    delta: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let name = "huber_loss";
    if delta.is_nan() || delta <= 0.0 {
        return Err(Error::invalid(name, format!("delta {delta} must be positive")));
    }
    in_f32([pred, target], |[pred, target]| {
        check_pair(name, pred, target)?;
        let kind = Pointwise {
            name,
            value: BinaryOp::Huber { delta },
            slope: BinaryOp::HuberSlope { delta },
            of_difference: true,
            compose: |x, t, delta| rounded(x, t, delta)?.mul_scalar(delta),
            setting: delta,
        };
        pointwise(kind, pred, target, reduction)
    })
}

/// Options of [`poisson_nll_loss_with`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoissonNll {
    /// Whether the input is the logarithm of the rate.
    pub log_input: bool,
    /// Whether to add Stirling's approximation of ln target!.
    pub full: bool,
    /// Added under the logarithm of a rate.
    pub eps: f64,
    /// How elements are combined.
    pub reduction: Reduction,
}

impl Default for PoissonNll {
    fn default() -> Self {
        PoissonNll { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

/// Mean negative log-likelihood of counts under Poisson distributions of these rates, or
/// logarithms of rates.
///
/// # Errors
/// When dtypes differ or shapes do not broadcast.
pub fn poisson_nll_loss(input: &Variable, target: &Variable, log_input: bool) -> Result<Variable> {
    poisson_nll_loss_with(input, target, PoissonNll { log_input, ..PoissonNll::default() })
}

/// [`poisson_nll_loss`] with every option.
///
/// # Errors
/// When dtypes differ or shapes do not broadcast.
pub fn poisson_nll_loss_with(
    input: &Variable,
    target: &Variable,
    options: PoissonNll,
) -> Result<Variable> {
    in_f32([input, target], |[x, t]| {
        check_kin("poisson_nll_loss", x, &[t])?;
        let mut loss = if options.log_input {
            x.exp()?.sub(&t.mul(x)?)?
        } else {
            x.sub(&t.mul(&x.add_scalar(options.eps)?.log()?)?)?
        };
        if options.full {
            // Below 2 the approximation is left out; 2 in its place keeps the gradient finite.
            let small = t.with_data(|t| t.le_scalar(1.0))?;
            let safe = t.masked_fill(&small, 2.0)?;
            let log = safe.log()?;
            let root = safe.mul_scalar(2.0 * std::f64::consts::PI)?.log()?.mul_scalar(0.5)?;
            let stirling = safe.mul(&log)?.sub(&safe)?.add(&root)?.masked_fill(&small, 0.0)?;
            loss = loss.add(&stirling)?;
        }
        reduce(loss, options.reduction)
    })
}

/// Mean negative log-likelihood of targets under normal distributions of these means and
/// variances.
///
/// # Errors
/// As for [`gaussian_nll_loss_with`].
pub fn gaussian_nll_loss(input: &Variable, target: &Variable, var: &Variable) -> Result<Variable> {
    gaussian_nll_loss_with(input, target, var, false, 1e-6, Reduction::Mean)
}

/// [`gaussian_nll_loss`] with the constant term (`full`), the smallest variance (`eps`), and a
/// reduction. `var` broadcasts to the input, or lacks its last dim.
///
/// # Errors
/// When dtypes differ, shapes do not fit, a variance is negative or `eps` is not positive.
pub fn gaussian_nll_loss_with(
    input: &Variable,
    target: &Variable,
    var: &Variable,
    full: bool,
    eps: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "gaussian_nll_loss";
    in_f32([input, target, var], |[x, t, var]| {
        check_kin(op, x, &[t, var])?;
        if eps.is_nan() || eps <= 0.0 {
            return Err(Error::invalid(op, format!("eps {eps} must be positive")));
        }
        let (shape, given) = (x.shape(), var.shape());
        let lacks = shape.split_last().is_some_and(|(_, lead)| given == lead);
        let var = if given != shape && lacks { var.unsqueeze(-1)? } else { var.clone() };
        if var.with_data(|v| v.expand(&shape)).is_err() {
            return Err(Error::ShapeMismatch {
                op,
                lhs: shape,
                rhs: given,
                why: "variances must broadcast to the input, or lack only its last dim".into(),
            });
        }
        if var.with_data(|v| v.lt_scalar(0.0)?.any()?.item())? != 0.0 {
            return Err(Error::invalid(op, "a variance is negative"));
        }
        // The floor on the variance does not stop its gradient.
        let lift = var.with_data(|v| v.clamp_min(eps)?.sub(v))?;
        let var = var.add(&Variable::constant(lift))?;
        let mut loss = var.log()?.add(&x.sub(t)?.square()?.div(&var)?)?.mul_scalar(0.5)?;
        if full {
            loss = loss.add_scalar(0.5 * (2.0 * std::f64::consts::PI).ln())?;
        }
        reduce(loss, reduction)
    })
}

/// Mean binary cross-entropy of probabilities; logarithms are bounded at -100, as in PyTorch.
/// [`bce_with_logits_loss`] is more exact.
///
/// # Errors
/// When shapes or dtypes differ, or a prediction is not in `[0, 1]`.
pub fn bce_loss(pred: &Variable, target: &Variable) -> Result<Variable> {
    bce_loss_with(pred, target, None, Reduction::Mean)
}

/// [`bce_loss`] with a weight that broadcasts to the elements, and a reduction.
///
/// # Errors
/// When shapes or dtypes differ, or a prediction is not in `[0, 1]`.
pub fn bce_loss_with(
    pred: &Variable,
    target: &Variable,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Variable> {
    let name = "bce_loss";
    in_f32([pred, target], |[pred, target]| {
        check_pair(name, pred, target)?;
        let inside = |t: &Tensor| -> Result<bool> {
            Ok(t.numel() == 0 || (t.min()?.item()? >= 0.0 && t.max()?.item()? <= 1.0))
        };
        if !pred.with_data(inside)? {
            let what = "predictions must be in [0, 1]; bce_with_logits_loss takes logits";
            return Err(Error::invalid(name, what));
        }
        let kind = Pointwise {
            name,
            value: BinaryOp::Bce,
            slope: BinaryOp::BceSlope,
            of_difference: false,
            compose: |x, t, _| {
                let yes = t.mul(&x.log()?.clamp_min(-100.0)?)?;
                let no = x.neg()?.log1p()?.clamp_min(-100.0)?;
                t.sub_scalar(1.0)?.mul(&no)?.sub(&yes)
            },
            setting: 0.0,
        };
        weighted(kind, pred, target, weight, reduction)
    })
}

/// A pointwise loss times a weight.
fn weighted(
    kind: Pointwise,
    pred: &Variable,
    target: &Variable,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Variable> {
    match option(weight, pred)? {
        None => pointwise(kind, pred, target, reduction),
        Some(w) => reduce(pointwise(kind, pred, target, Reduction::None)?.mul(&w)?, reduction),
    }
}

/// Mean binary cross-entropy of logits, exact for logits of any size.
///
/// # Errors
/// When shapes or dtypes differ.
///
/// ```
/// use flodl::*;
/// let logit = Variable::new(Tensor::from_f32(&[-1e4, 1e4], &[2], Device::CPU)?, true);
/// let target = Variable::new(Tensor::from_f32(&[1.0, 1.0], &[2], Device::CPU)?, false);
/// assert_eq!(bce_with_logits_loss(&logit, &target)?.item()?, 5e3);
/// # Ok::<(), Error>(())
/// ```
pub fn bce_with_logits_loss(pred: &Variable, target: &Variable) -> Result<Variable> {
    bce_with_logits_loss_with(pred, target, None, None, Reduction::Mean)
}

/// [`bce_with_logits_loss`] with a weight that broadcasts to the elements, a weight of positive
/// targets, and a reduction.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn bce_with_logits_loss_with(
    pred: &Variable,
    target: &Variable,
    weight: Option<&Tensor>,
    pos_weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Variable> {
    let name = "bce_with_logits_loss";
    in_f32([pred, target], |[pred, target]| {
        check_pair(name, pred, target)?;
        if let Some(p) = option(pos_weight, pred)? {
            let extra = p.sub_scalar(1.0)?.mul(target)?.add_scalar(1.0)?;
            let no = target.neg()?.add_scalar(1.0)?.mul(pred)?;
            let mut loss = no.sub(&extra.mul(&pred.log_sigmoid()?)?)?;
            if let Some(w) = option(weight, pred)? {
                loss = loss.mul(&w)?;
            }
            return reduce(loss, reduction);
        }
        let kind = Pointwise {
            name,
            value: BinaryOp::BceLogits,
            slope: BinaryOp::BceLogitsSlope,
            of_difference: false,
            compose: |x, t, _| t.neg()?.add_scalar(1.0)?.mul(x)?.sub(&x.log_sigmoid()?),
            setting: 0.0,
        };
        weighted(kind, pred, target, weight, reduction)
    })
}
