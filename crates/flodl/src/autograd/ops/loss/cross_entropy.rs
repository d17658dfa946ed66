//! Cross-entropy and squared differences: one kernel each way.

use crate::autograd::is_grad_enabled;
use crate::autograd::ops::grad_by_composition;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::{CrossEntropyOptions, Reduction};
use crate::{DType, Error, Result, Tensor, Variable};

/// Options of [`cross_entropy_with`]; the defaults are PyTorch's.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// A weight for each class.
    pub weight: Option<Tensor>,
    /// Rows with this target do not count.
    pub ignore_index: i64,
    /// Share of the target that is spread over all classes, in `[0, 1]`.
    pub label_smoothing: f64,
    /// How rows are combined.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy {
            weight: None,
            ignore_index: -100,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

/// Mean cross-entropy of logits `[N, C]` (or `[N, C, d1, …]`) with target classes `[N]` (or
/// `[N, d1, …]`) as integers, or with target probabilities in the logits' shape.
///
/// # Errors
/// When shapes do not fit or a target is not a class.
///
/// ```
/// use flodl::*;
/// let logits = Variable::new(Tensor::zeros(&[2, 4], TensorOptions::default())?, true);
/// let target = Variable::new(Tensor::from_i64(&[0, 3], &[2], Device::CPU)?, false);
/// let loss = cross_entropy_loss(&logits, &target)?;
/// assert!((loss.item()? - 4f64.ln()).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
pub fn cross_entropy_loss(pred: &Variable, target: &Variable) -> Result<Variable> {
    cross_entropy_with(pred, target, &CrossEntropy::default())
}

/// [`cross_entropy_loss`] with class weights, an ignored class, label smoothing or another
/// reduction.
///
/// # Errors
/// When shapes do not fit, a target is not a class, or an option is outside its domain.
pub fn cross_entropy_with(
    pred: &Variable,
    target: &Variable,
    options: &CrossEntropy,
) -> Result<Variable> {
    let op = "cross_entropy_loss";
    pred.with_data(|t| t.check_float(op))?;
    if !(0.0..=1.0).contains(&options.label_smoothing) {
        let what = format!("label_smoothing {} must be in [0, 1]", options.label_smoothing);
        return Err(Error::invalid(op, what));
    }
    let (shape, given) = (pred.shape(), target.shape());
    let channel = if shape.len() == 1 { 0 } else { 1 };
    let Some(&classes) = shape.get(channel) else {
        return Err(Error::Shape { op, expected: "logits [N, C]".into(), got: shape });
    };
    if let Some(w) = &options.weight
        && w.shape() != [classes]
    {
        return Err(Error::Shape {
            op,
            expected: format!("a weight for each of {classes} classes"),
            got: w.shape(),
        });
    }
    if target.dtype().is_float() {
        return soft_targets(pred, target, options, channel as i32);
    }
    let mut want = shape.clone();
    want.remove(channel);
    if given != want {
        return Err(Error::ShapeMismatch {
            op,
            lhs: shape,
            rhs: given,
            why: format!("integer targets need the shape {want:?}"),
        });
    }
    // Classes last, one row for each target.
    let mut rows = pred.clone();
    if shape.len() > 2 {
        let mut order: Vec<i64> = (0..shape.len() as i64).collect();
        let c = order.remove(1);
        order.push(c);
        rows = pred.permute(&order)?;
    }
    let rows = rows.reshape(&[target.numel(), classes])?;
    let targets = target.data().to_dtype(DType::Int64)?.reshape(&[-1])?.contiguous()?;
    let loss = cross_entropy_rows(&rows, targets, options)?;
    if options.reduction == Reduction::None { loss.reshape(&want) } else { Ok(loss) }
}

fn cross_entropy_rows(
    rows: &Variable,
    targets: Tensor,
    options: &CrossEntropy,
) -> Result<Variable> {
    let home = rows.dtype();
    if home.is_half() {
        let loss = cross_entropy_rows(&rows.to_dtype(DType::Float32)?, targets, options)?;
        return if crate::autograd::amp::is_active() { Ok(loss) } else { loss.to_dtype(home) };
    }
    let logits = rows.data().contiguous()?;
    let options = CrossEntropy {
        weight: match &options.weight {
            Some(w) => Some(w.to_dtype(home)?.contiguous()?),
            None => None,
        },
        ..options.clone()
    };
    fn raw(o: &CrossEntropy) -> CrossEntropyOptions<'_> {
        CrossEntropyOptions {
            weight: o.weight.as_ref().map(Tensor::operand),
            ignore_index: o.ignore_index,
            smoothing: o.label_smoothing,
            reduction: o.reduction,
        }
    }
    let n = targets.dims()[0];
    let out_shape = [n];
    let shape = if options.reduction == Reduction::None { &out_shape[..] } else { &[] };
    let mut loss = Tensor::fresh(shape, home, logits.device())?;
    let mut lse = Tensor::fresh(&[n, 2], home, logits.device())?;
    let total = logits.backend()?.cross_entropy(
        &raw(&options),
        logits.operand(),
        targets.operand(),
        [loss.fresh_storage(), lse.fresh_storage()],
    )?;
    let saved = Saved::new(rows);
    Ok(record("cross_entropy", loss, &[rows], move |ctx| {
        if is_grad_enabled() {
            return grad_by_composition(
                &[&saved.get()?],
                |v| composed(&v[0], &targets, &options, total),
                ctx.grad(),
            );
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let dx = Tensor::build(logits.dims(), logits.dtype(), logits.device(), |b, out| {
            b.cross_entropy_backward(
                &raw(&options),
                logits.operand(),
                targets.operand(),
                lse.operand(),
                total,
                dy.operand(),
                out,
            )
        })?;
        Ok(grads![Variable::constant(dx)])
    }))
}

/// The same of plain operations: Σ of -log p times a matrix of shares.
fn composed(
    rows: &Variable,
    targets: &Tensor,
    options: &CrossEntropy,
    total: f64,
) -> Result<Variable> {
    let classes = rows.shape()[1];
    let counts = targets.ne_scalar(options.ignore_index as f64)?;
    let safe = targets.masked_fill(&counts.logical_not()?, 0.0)?;
    let row = Tensor::arange(0.0, classes as f64, 1.0, DType::Int64.into())?;
    let hot = safe.unsqueeze(1)?.eq_tensor(&row.unsqueeze(0)?)?.to_dtype(rows.dtype())?;
    let smooth = options.label_smoothing;
    let mut share = hot.mul_scalar(1.0 - smooth)?.add_scalar(smooth / classes as f64)?;
    if let Some(w) = &options.weight {
        share = share.mul(w)?;
    }
    let share = share.mul(&counts.unsqueeze(1)?)?;
    let losses = rows.log_softmax(1)?.mul(&Variable::constant(share))?.sum_dim(1, false)?.neg()?;
    match options.reduction {
        Reduction::None => Ok(losses),
        Reduction::Sum => losses.sum(),
        Reduction::Mean => losses.sum()?.div_scalar(total),
    }
}

/// Targets as probabilities.
fn soft_targets(
    pred: &Variable,
    target: &Variable,
    options: &CrossEntropy,
    channel: i32,
) -> Result<Variable> {
    if pred.shape() != target.shape() {
        return Err(Error::ShapeMismatch {
            op: "cross_entropy_loss",
            lhs: pred.shape(),
            rhs: target.shape(),
            why: "probabilities as targets need the logits' shape".into(),
        });
    }
    let classes = pred.shape()[channel as usize] as f64;
    let smooth = options.label_smoothing;
    let mut share = target.mul_scalar(1.0 - smooth)?.add_scalar(smooth / classes)?;
    if let Some(w) = &options.weight {
        let mut shape = vec![1; pred.ndim()];
        shape[channel as usize] = w.numel();
        share = share.mul(&Variable::constant(w.to_dtype(pred.dtype())?.reshape(&shape)?))?;
    }
    let losses = pred.log_softmax(channel)?.mul(&share)?.sum_dim(channel, false)?.neg()?;
    match options.reduction {
        Reduction::None => Ok(losses),
        Reduction::Sum => losses.sum(),
        Reduction::Mean => {
            let rows = losses.numel() as f64;
            losses.sum()?.div_scalar(rows)
        }
    }
}

/// Mean of squared differences.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn mse_loss(pred: &Variable, target: &Variable) -> Result<Variable> {
    mse_loss_with(pred, target, Reduction::Mean)
}

/// Squared differences, combined as asked.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn mse_loss_with(pred: &Variable, target: &Variable, reduction: Reduction) -> Result<Variable> {
    super::in_f32([pred, target], |[pred, target]| mse(pred, target, reduction))
}

fn mse(pred: &Variable, target: &Variable, reduction: Reduction) -> Result<Variable> {
    let op = "mse_loss";
    if pred.shape() != target.shape() {
        return Err(Error::ShapeMismatch {
            op,
            lhs: pred.shape(),
            rhs: target.shape(),
            why: "prediction and target must have one shape".into(),
        });
    }
    pred.with_data(|p| target.with_data(|t| p.check_same(op, t)))?;
    pred.with_data(|p| p.check_float(op))?;
    if reduction == Reduction::None {
        let d = pred.sub(target)?;
        let squares = d.mul(&d)?;
        return match reduction {
            Reduction::None => Ok(squares),
            Reduction::Sum => squares.sum(),
            Reduction::Mean => squares.mean(),
        };
    }
    let mean = reduction == Reduction::Mean;
    let (x, y) = (pred.data().contiguous()?, target.data().contiguous()?);
    let mut loss = Tensor::fresh(&[], x.dtype(), x.device())?;
    x.backend()?.mse(x.operand(), y.operand(), mean, loss.fresh_storage())?;
    let (p, t) = (Saved::new(pred), Saved::new(target));
    Ok(record(op, loss, &[pred, target], move |ctx| {
        let dx = if is_grad_enabled() {
            let factor = if mean { 2.0 / x.numel() as f64 } else { 2.0 };
            ctx.grad().mul(&p.get()?.sub(&t.get()?)?.mul_scalar(factor)?)?
        } else {
            let dy = ctx.grad().with_data(Tensor::contiguous)?;
            Variable::constant(Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| {
                b.mse_backward(x.operand(), y.operand(), mean, dy.operand(), out)
            })?)
        };
        let dt = if ctx.needs(1) { Some(dx.neg()?) } else { None };
        Ok(grads![dx, dt])
    }))
}
