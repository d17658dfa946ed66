//! Losses with a margin, and losses of pairs and triplets.

use super::probability::{check_weight, rows};
use super::{check_classes, check_kin, check_pair, in_f32, option, reduce};
use crate::backend::Reduction;
use crate::{DType, Error, Result, Tensor, Variable};

/// Options of [`triplet_margin_loss_with`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletMargin {
    /// How much farther the negative must be.
    pub margin: f64,
    /// Order of the norm.
    pub p: f64,
    /// Added to differences, so that the norm has a slope at 0.
    pub eps: f64,
    /// Whether the distance from positive to negative counts if it is smaller.
    pub swap: bool,
    /// How triplets are combined.
    pub reduction: Reduction,
}

impl Default for TripletMargin {
    fn default() -> Self {
        TripletMargin { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

/// Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin) (Balntas et al., 2016), for
/// vectors along the last dim.
///
/// # Errors
/// When dtypes differ or shapes do not broadcast.
pub fn triplet_margin_loss(
    anchor: &Variable,
    positive: &Variable,
    negative: &Variable,
    margin: f64,
) -> Result<Variable> {
    let options = TripletMargin { margin, ..TripletMargin::default() };
    triplet_margin_loss_with(anchor, positive, negative, options)
}

/// [`triplet_margin_loss`] with every option.
///
/// # Errors
/// When dtypes differ, shapes do not broadcast, or the margin is not positive.
pub fn triplet_margin_loss_with(
    anchor: &Variable,
    positive: &Variable,
    negative: &Variable,
    options: TripletMargin,
) -> Result<Variable> {
    let op = "triplet_margin_loss";
    in_f32([anchor, positive, negative], |[a, p, n]| {
        check_kin(op, a, &[p, n])?;
        if options.margin.is_nan() || options.margin <= 0.0 {
            let what = format!("margin {} must be positive", options.margin);
            return Err(Error::invalid(op, what));
        }
        if a.ndim() != p.ndim() || a.ndim() != n.ndim() || a.ndim() == 0 {
            return Err(Error::ShapeMismatch {
                op,
                lhs: a.shape(),
                rhs: if a.ndim() == p.ndim() { n.shape() } else { p.shape() },
                why: "anchor, positive and negative need the same number of dims".into(),
            });
        }
        let distance = |x: &Variable, y: &Variable| {
            x.sub(y)?.add_scalar(options.eps)?.norm_p(options.p, -1, false)
        };
        let mut far = distance(a, n)?;
        if options.swap {
            far = far.minimum(&distance(p, n)?)?;
        }
        let loss = distance(a, p)?.sub(&far)?.add_scalar(options.margin)?.clamp_min(0.0)?;
        reduce(loss, options.reduction)
    })
}

/// Labels of 1 and -1 in the dtype of the loss.
fn labels(op: &'static str, label: &Variable, like: &Variable) -> Result<Tensor> {
    let t = label.data();
    if t.device() != like.device() {
        return Err(Error::DeviceMismatch { op, lhs: like.device(), rhs: t.device() });
    }
    t.to_dtype(like.dtype())
}

/// `x` where the label is (or is not) `value`, else 0.
fn only(x: &Variable, zero_here: &Tensor) -> Result<Variable> {
    let (mask, shape) = (zero_here, x.shape());
    x.masked_fill(&mask.expand(&shape)?, 0.0)
}

/// Mean of 1 - cos(x1, x2) where the label is 1, and of max(0, cos(x1, x2) - margin) where it is
/// -1, for vectors `[D]` or `[N, D]`.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn cosine_embedding_loss(
    x1: &Variable,
    x2: &Variable,
    label: &Variable,
    margin: f64,
) -> Result<Variable> {
    cosine_embedding_loss_with(x1, x2, label, margin, Reduction::Mean)
}

/// [`cosine_embedding_loss`], combined as asked.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn cosine_embedding_loss_with(
    x1: &Variable,
    x2: &Variable,
    label: &Variable,
    margin: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "cosine_embedding_loss";
    in_f32([x1, x2], |[x1, x2]| {
        check_pair(op, x1, x2)?;
        let shape = x1.shape();
        if shape.is_empty() || shape.len() > 2 || label.shape() != shape[..shape.len() - 1] {
            return Err(Error::ShapeMismatch {
                op,
                lhs: shape,
                rhs: label.shape(),
                why: "vectors [N, D] need labels [N], a vector [D] a single one".into(),
            });
        }
        let y = labels(op, label, x1)?;
        let squares = |x: &Variable| x.mul(x)?.sum_dim(-1, false)?.add_scalar(1e-12);
        let norms = squares(x1)?.mul(&squares(x2)?)?.sqrt()?;
        let cos = x1.mul(x2)?.sum_dim(-1, false)?.div(&norms)?;
        let same = only(&cos.neg()?.add_scalar(1.0)?, &y.ne_scalar(1.0)?)?;
        let other = only(&cos.sub_scalar(margin)?.clamp_min(0.0)?, &y.ne_scalar(-1.0)?)?;
        reduce(same.add(&other)?, reduction)
    })
}

/// Mean of x where the label is 1, and of max(0, margin - x) where it is -1.
///
/// # Errors
/// When the label does not broadcast to the input.
pub fn hinge_embedding_loss(input: &Variable, label: &Variable, margin: f64) -> Result<Variable> {
    hinge_embedding_loss_with(input, label, margin, Reduction::Mean)
}

/// [`hinge_embedding_loss`], combined as asked.
///
/// # Errors
/// When the label does not broadcast to the input.
pub fn hinge_embedding_loss_with(
    input: &Variable,
    label: &Variable,
    margin: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "hinge_embedding_loss";
    in_f32([input], |[x]| {
        x.with_data(|t| t.check_float(op))?;
        let y = labels(op, label, x)?;
        let far = only(&x.neg()?.add_scalar(margin)?.clamp_min(0.0)?, &y.eq_scalar(1.0)?)?;
        reduce(far.add(&only(x, &y.eq_scalar(-1.0)?)?)?, reduction)
    })
}

/// Mean of max(0, -label (x1 - x2) + margin): with label 1 the first should be larger.
///
/// # Errors
/// When dtypes differ or shapes do not broadcast.
pub fn margin_ranking_loss(
    x1: &Variable,
    x2: &Variable,
    label: &Variable,
    margin: f64,
) -> Result<Variable> {
    margin_ranking_loss_with(x1, x2, label, margin, Reduction::Mean)
}

/// [`margin_ranking_loss`], combined as asked.
///
/// # Errors
/// When dtypes differ or shapes do not broadcast.
pub fn margin_ranking_loss_with(
    x1: &Variable,
    x2: &Variable,
    label: &Variable,
    margin: f64,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "margin_ranking_loss";
    in_f32([x1, x2], |[x1, x2]| {
        check_kin(op, x1, &[x2])?;
        let y = Variable::constant(labels(op, label, x1)?);
        let loss = x1.sub(x2)?.mul(&y)?.neg()?.add_scalar(margin)?.clamp_min(0.0)?;
        reduce(loss, reduction)
    })
}

/// Mean of ln(1 + e^(-label · x)), exact for x of any size.
///
/// # Errors
/// When shapes differ.
pub fn soft_margin_loss(input: &Variable, label: &Variable) -> Result<Variable> {
    soft_margin_loss_with(input, label, Reduction::Mean)
}

/// [`soft_margin_loss`], combined as asked.
///
/// # Errors
/// When shapes differ.
pub fn soft_margin_loss_with(
    input: &Variable,
    label: &Variable,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "soft_margin_loss";
    in_f32([input], |[x]| {
        x.with_data(|t| t.check_float(op))?;
        let y = Variable::constant(labels(op, label, x)?);
        check_pair(op, x, &y)?;
        reduce(x.mul(&y)?.log_sigmoid()?.neg()?, reduction)
    })
}

/// Mean over rows and classes of the binary cross-entropy of logits `[…, C]` with labels 0 or 1.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn multilabel_soft_margin_loss(input: &Variable, target: &Variable) -> Result<Variable> {
    multilabel_soft_margin_loss_with(input, target, None, Reduction::Mean)
}

/// [`multilabel_soft_margin_loss`] with a weight for each class, and a reduction over rows.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn multilabel_soft_margin_loss_with(
    input: &Variable,
    target: &Variable,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "multilabel_soft_margin_loss";
    in_f32([input, target], |[x, t]| {
        let t = if t.dtype().is_float() { t.clone() } else { t.to_dtype(x.dtype())? };
        let t = &t;
        check_pair(op, x, t)?;
        let mut loss = super::bce_with_logits_loss_with(x, t, None, None, Reduction::None)?;
        if let Some(w) = option(weight, x)? {
            loss = loss.mul(&w)?;
        }
        reduce(loss.mean_dim(-1, false)?, reduction)
    })
}

/// Rows of scores and of targets, and whether there was one row without a batch dim.
fn batched(op: &'static str, x: &Variable) -> Result<(Variable, bool)> {
    match x.ndim() {
        0 => Ok((x.reshape(&[1, 1])?, true)),
        1 => Ok((x.unsqueeze(0)?, true)),
        2 => Ok((x.clone(), false)),
        _ => Err(Error::Shape { op, expected: "[N, C] or [C]".into(), got: x.shape() }),
    }
}

/// Reduces one loss a row, giving a single row without a batch dim its scalar.
fn reduce_rows(losses: Variable, single: bool, reduction: Reduction) -> Result<Variable> {
    match (single, reduction) {
        (true, Reduction::None) => losses.squeeze(0),
        _ => reduce(losses, reduction),
    }
}

/// Mean over rows of Σ max(0, 1 - (x_y - x_i)) / C over targets y and classes i that are no
/// target. Targets `[N, C]` list classes up to the first -1.
///
/// # Errors
/// When shapes differ or a target is not a class.
pub fn multilabel_margin_loss(input: &Variable, target: &Variable) -> Result<Variable> {
    multilabel_margin_loss_with(input, target, Reduction::Mean)
}

/// [`multilabel_margin_loss`], combined as asked.
///
/// # Errors
/// When shapes differ or a target is not a class.
pub fn multilabel_margin_loss_with(
    input: &Variable,
    target: &Variable,
    reduction: Reduction,
) -> Result<Variable> {
    let op = "multilabel_margin_loss";
    in_f32([input], |[x]| {
        x.with_data(|t| t.check_float(op))?;
        if x.shape() != target.shape() {
            return Err(Error::ShapeMismatch {
                op,
                lhs: x.shape(),
                rhs: target.shape(),
                why: "targets list classes in the input's shape, -1 after the last".into(),
            });
        }
        let (x, single) = batched(op, x)?;
        let (n, classes) = (x.shape()[0], x.shape()[1]);
        check_classes(op, &target.data(), classes, Some(-1))?;
        let listed = target.data().to_i64_vec()?;
        let size = listed.len();
        let (mut index, mut counts, mut is_target) =
            (vec![0i64; size], vec![0f64; size], vec![0f64; size]);
        let width = classes.max(1) as usize;
        for (row, list) in listed.chunks(width).enumerate() {
            for (j, &class) in list.iter().take_while(|&&c| c >= 0).enumerate() {
                index[row * width + j] = class;
                counts[row * width + j] = 1.0;
                is_target[row * width + class as usize] = 1.0;
            }
        }
        let constant = |v: &[f64]| -> Result<Variable> {
            let t = Tensor::from_f64(v, &[n, classes], x.device())?;
            Ok(Variable::constant(t.to_dtype(x.dtype())?))
        };
        let index = Tensor::from_i64(&index, &[n, classes], x.device())?;
        let right = x.gather(1, &index)?.unsqueeze(2)?;
        let short = x.unsqueeze(1)?.sub(&right)?.add_scalar(1.0)?.clamp_min(0.0)?;
        let others = constant(&is_target)?.neg()?.add_scalar(1.0)?.unsqueeze(1)?;
        let losses = short.mul(&constant(&counts)?.unsqueeze(2)?)?.mul(&others)?;
        let losses = losses.sum_dims(&[1, 2], false)?.div_scalar(classes as f64)?;
        reduce_rows(losses, single, reduction)
    })
}

/// Options of [`multi_margin_loss_with`]; the defaults are PyTorch's.
#[derive(Clone, Debug)]
pub struct MultiMargin {
    /// Power of each margin, 1 or 2.
    pub p: i64,
    /// How much larger the target's score must be.
    pub margin: f64,
    /// A weight for each class.
    pub weight: Option<Tensor>,
    /// How rows are combined.
    pub reduction: Reduction,
}

impl Default for MultiMargin {
    fn default() -> Self {
        MultiMargin { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

/// Mean over rows of Σ max(0, 1 - x_y + x_i) / C over classes i that are not the target y.
///
/// # Errors
/// When shapes do not fit or a target is not a class.
pub fn multi_margin_loss(input: &Variable, target: &Variable) -> Result<Variable> {
    multi_margin_loss_with(input, target, &MultiMargin::default())
}

/// [`multi_margin_loss`] with every option.
///
/// # Errors
/// When shapes do not fit, a target is not a class, or `p` is neither 1 nor 2.
pub fn multi_margin_loss_with(
    input: &Variable,
    target: &Variable,
    options: &MultiMargin,
) -> Result<Variable> {
    let op = "multi_margin_loss";
    if options.p != 1 && options.p != 2 {
        return Err(Error::invalid(op, format!("p {} must be 1 or 2", options.p)));
    }
    in_f32([input], |[x]| {
        x.with_data(|t| t.check_float(op))?;
        let (x, single) = batched(op, x)?;
        let single = single && target.ndim() == 0;
        let target = Variable::constant(target.data().reshape(&[-1])?);
        let (rows, targets) = rows(op, &x, &target)?;
        let classes = rows.shape()[1];
        check_weight(op, options.weight.as_ref(), classes)?;
        check_classes(op, &targets, classes, None)?;
        let right = rows.gather(1, &targets.unsqueeze(1)?)?;
        let mut short = rows.sub(&right)?.add_scalar(options.margin)?.clamp_min(0.0)?;
        if options.p == 2 {
            short = short.mul(&short)?;
        }
        if let Some(w) = option(options.weight.as_ref(), &rows)? {
            let w = w.data().index_select(0, &targets)?.unsqueeze(1)?;
            short = short.mul(&Variable::constant(w))?;
        }
        let all = Tensor::arange(0.0, classes as f64, 1.0, DType::Int64.into())?;
        let own = targets.unsqueeze(1)?.eq_tensor(&all.unsqueeze(0)?)?;
        let losses = short.masked_fill(&own, 0.0)?.sum_dim(1, false)?.div_scalar(classes as f64)?;
        reduce_rows(losses, single, options.reduction)
    })
}
