//! Losses beside cross-entropy and squared differences. An entry serves the function and the
//! module of the same meaning.

use flodl::*;

use super::case::{Case, Entry, Run, Try, one, unsupported};

fn reduction(c: &Case) -> Try<Reduction> {
    match c.arg(9, "reduction").str_or("mean")? {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        "none" => Ok(Reduction::None),
        other => unsupported(format!("reduction={other}")),
    }
}

fn kl_reduction(c: &Case) -> Try<KlReduction> {
    match c.arg(9, "reduction").str_or("mean")? {
        "batchmean" => Ok(KlReduction::BatchMean),
        _ => Ok(reduction(c)?.into()),
    }
}

fn two(c: &Case) -> Try<(Variable, Variable)> {
    Ok((c.arg(0, "input").var()?, c.arg(1, "target").var()?))
}

fn three(c: &Case) -> Try<(Variable, Variable, Variable)> {
    let (a, b) = two(c)?;
    Ok((a, b, c.arg(2, "third").var()?))
}

/// Lengths as a tensor or a list.
fn lengths(c: &Case, index: usize, name: &str) -> Try<Variable> {
    if let Ok(v) = c.arg(index, name).var() {
        return Ok(v);
    }
    let list = c.arg(index, name).ints()?;
    let t = Tensor::from_i64(&list, &[list.len() as i64], Device::CPU)?;
    Ok(Variable::new(t, false))
}

/// A function and a module, and what both mean.
macro_rules! losses {
    ($($function:literal, $module:literal => |$c:ident| $run:expr;)*) => {
        pub const LOSSES: &[Entry] = &[
            $(($function, { fn run($c: &Case) -> Run { $run } run }),
            ($module, { fn run($c: &Case) -> Run { $run } run }),)*
        ];
    };
}

losses! {
    "l1_loss", "L1Loss" => |c| {
        let (x, t) = two(c)?;
        one(l1_loss_with(&x, &t, reduction(c)?))
    };
    "smooth_l1_loss", "SmoothL1Loss" => |c| {
        let (x, t) = two(c)?;
        one(smooth_l1_loss_with(&x, &t, c.arg(5, "beta").f64_or(1.0)?, reduction(c)?))
    };
    "huber_loss", "HuberLoss" => |c| {
        let (x, t) = two(c)?;
        one(huber_loss_with(&x, &t, c.arg(3, "delta").f64_or(1.0)?, reduction(c)?))
    };
    "binary_cross_entropy", "BCELoss" => |c| {
        let ((x, t), w) = (two(c)?, c.arg(2, "weight").opt_tensor()?);
        one(bce_loss_with(&x, &t, w.as_ref(), reduction(c)?))
    };
    "binary_cross_entropy_with_logits", "BCEWithLogitsLoss" => |c| {
        let ((x, t), w) = (two(c)?, c.arg(2, "weight").opt_tensor()?);
        let p = c.arg(6, "pos_weight").opt_tensor()?;
        one(bce_with_logits_loss_with(&x, &t, w.as_ref(), p.as_ref(), reduction(c)?))
    };
    "kl_div", "KLDivLoss" => |c| {
        let (x, t) = two(c)?;
        one(kl_div_loss_with(&x, &t, c.arg(5, "log_target").bool_or(false)?, kl_reduction(c)?))
    };
    "nll_loss", "NLLLoss" => |c| {
        let ((x, t), w) = (two(c)?, c.arg(2, "weight").opt_tensor()?);
        let ignore = c.arg(4, "ignore_index").i64_or(-100)?;
        one(nll_loss_with(&x, &t, w.as_ref(), ignore, reduction(c)?))
    };
    "poisson_nll_loss", "PoissonNLLLoss" => |c| {
        let (x, t) = two(c)?;
        let options = PoissonNll {
            log_input: c.arg(2, "log_input").bool_or(true)?,
            full: c.arg(3, "full").bool_or(false)?,
            eps: c.arg(5, "eps").f64_or(1e-8)?,
            reduction: reduction(c)?,
        };
        one(poisson_nll_loss_with(&x, &t, options))
    };
    "gaussian_nll_loss", "GaussianNLLLoss" => |c| {
        let (x, t, v) = three(c)?;
        let (full, eps) = (c.arg(3, "full").bool_or(false)?, c.arg(4, "eps").f64_or(1e-6)?);
        one(gaussian_nll_loss_with(&x, &t, &v, full, eps, reduction(c)?))
    };
    "cosine_embedding_loss", "CosineEmbeddingLoss" => |c| {
        let (x, t, y) = three(c)?;
        one(cosine_embedding_loss_with(&x, &t, &y, c.arg(3, "margin").f64_or(0.0)?, reduction(c)?))
    };
    "hinge_embedding_loss", "HingeEmbeddingLoss" => |c| {
        let (x, t) = two(c)?;
        one(hinge_embedding_loss_with(&x, &t, c.arg(2, "margin").f64_or(1.0)?, reduction(c)?))
    };
    "margin_ranking_loss", "MarginRankingLoss" => |c| {
        let (x, t, y) = three(c)?;
        one(margin_ranking_loss_with(&x, &t, &y, c.arg(3, "margin").f64_or(0.0)?, reduction(c)?))
    };
    "triplet_margin_loss", "TripletMarginLoss" => |c| {
        let (a, p, n) = three(c)?;
        let options = TripletMargin {
            margin: c.arg(3, "margin").f64_or(1.0)?,
            p: c.arg(4, "p").f64_or(2.0)?,
            eps: c.arg(5, "eps").f64_or(1e-6)?,
            swap: c.arg(6, "swap").bool_or(false)?,
            reduction: reduction(c)?,
        };
        one(triplet_margin_loss_with(&a, &p, &n, options))
    };
    "soft_margin_loss", "SoftMarginLoss" => |c| {
        let (x, t) = two(c)?;
        one(soft_margin_loss_with(&x, &t, reduction(c)?))
    };
    "multilabel_margin_loss", "MultiLabelMarginLoss" => |c| {
        let (x, t) = two(c)?;
        one(multilabel_margin_loss_with(&x, &t, reduction(c)?))
    };
    "multilabel_soft_margin_loss", "MultiLabelSoftMarginLoss" => |c| {
        let ((x, t), w) = (two(c)?, c.arg(2, "weight").opt_tensor()?);
        one(multilabel_soft_margin_loss_with(&x, &t, w.as_ref(), reduction(c)?))
    };
    "multi_margin_loss", "MultiMarginLoss" => |c| {
        let (x, t) = two(c)?;
        let options = MultiMargin {
            p: c.arg(2, "p").i64_or(1)?,
            margin: c.arg(3, "margin").f64_or(1.0)?,
            weight: c.arg(4, "weight").opt_tensor()?,
            reduction: reduction(c)?,
        };
        one(multi_margin_loss_with(&x, &t, &options))
    };
    "ctc_loss", "CTCLoss" => |c| {
        let (x, t) = two(c)?;
        let lengths = lengths(c, 2, "input_lengths")?;
        let target_lengths = self::lengths(c, 3, "target_lengths")?;
        let (blank, zero) = (c.arg(4, "blank").i64_or(0)?, c.arg(6, "zero_infinity").bool_or(false)?);
        one(ctc_loss_with(&x, (&t, &lengths, &target_lengths), blank, zero, reduction(c)?))
    };
}
