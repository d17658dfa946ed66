//! Norms and losses. An entry serves the function and the module of the same meaning.

use flodl::backend::Reduction;
use flodl::*;

use super::case::{Case, Entry, Try, one, unsupported};

fn reduction(c: &Case) -> Try<Reduction> {
    match c.arg(9, "reduction").str_or("mean")? {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        "none" => Ok(Reduction::None),
        other => unsupported(format!("reduction={other}")),
    }
}

/// A weight or bias as a vector, whatever dims it spans.
fn flat(v: Option<Variable>) -> Try<Option<Variable>> {
    Ok(v.map(|v| v.reshape(&[-1])).transpose()?)
}

fn epsilon(c: &Case, default: f64) -> Try<f64> {
    c.arg(4, "eps").f64_or(default)
}

pub const NORMS: &[Entry] = &[
    ("layer_norm", |c| {
        let columns = c.arg(1, "normalized_shape").ints()?.iter().product();
        let (w, b) = (flat(c.arg(2, "weight").opt_var()?)?, flat(c.arg(3, "bias").opt_var()?)?);
        let x = c.arg(0, "input").var()?;
        one(layer_norm_opt(&x, w.as_ref(), b.as_ref(), columns, epsilon(c, 1e-5)?))
    }),
    ("rms_norm", |c| {
        let columns = c.arg(1, "normalized_shape").ints()?.iter().product();
        let (x, w) = (c.arg(0, "input").var()?, flat(c.arg(2, "weight").opt_var()?)?);
        let machine = if x.dtype() == DType::Float64 { f64::EPSILON } else { f32::EPSILON.into() };
        let eps = c.arg(3, "eps").f64_or(machine)?;
        one(rms_norm(&x, w.as_ref(), columns, eps))
    }),
    ("group_norm", |c| {
        let (x, groups) = (c.arg(0, "input").var()?, c.arg(1, "num_groups").i64()?);
        let (w, b) = (c.arg(2, "weight").opt_var()?, c.arg(3, "bias").opt_var()?);
        one(group_norm_opt(&x, groups, w.as_ref(), b.as_ref(), epsilon(c, 1e-5)?))
    }),
    ("batch_norm", |c| {
        let x = c.arg(0, "input").var()?;
        let (mean, var) =
            (c.arg(1, "running_mean").opt_tensor()?, c.arg(2, "running_var").opt_tensor()?);
        let (w, b) = (c.arg(3, "weight").opt_var()?, c.arg(4, "bias").opt_var()?);
        // The momentum moves the running statistics only, which are no output here.
        c.arg(6, "momentum");
        let eps = c.arg(7, "eps").f64_or(1e-5)?;
        if c.arg(5, "training").bool_or(false)? {
            return one(batch_norm_train(&x, w.as_ref(), b.as_ref(), eps).map(|(y, _)| y));
        }
        match (mean, var) {
            (Some(m), Some(v)) => one(batch_norm_eval(&x, w.as_ref(), b.as_ref(), &m, &v, eps)),
            _ => unsupported("no running statistics"),
        }
    }),
    ("instance_norm", |c| {
        let x = c.arg(0, "input").var()?;
        let (mean, var) =
            (c.arg(1, "running_mean").opt_tensor()?, c.arg(2, "running_var").opt_tensor()?);
        let (w, b) = (c.arg(3, "weight").opt_var()?, c.arg(4, "bias").opt_var()?);
        let own = c.arg(5, "use_input_stats").bool_or(true)?;
        let momentum = c.arg(6, "momentum").f64_or(0.1)?;
        let eps = c.arg(7, "eps").f64_or(1e-5)?;
        let (w, b, m, v) = (w.as_ref(), b.as_ref(), mean.as_ref(), var.as_ref());
        one(instance_norm(&x, w, b, m, v, own, momentum, eps))
    }),
];

fn cross_entropy(c: &Case) -> super::case::Run {
    let options = CrossEntropy {
        weight: c.arg(2, "weight").opt_tensor()?,
        ignore_index: c.arg(4, "ignore_index").i64_or(-100)?,
        label_smoothing: c.arg(7, "label_smoothing").f64_or(0.0)?,
        reduction: reduction(c)?,
    };
    one(cross_entropy_with(&c.arg(0, "input").var()?, &c.arg(1, "target").var()?, &options))
}

fn mse(c: &Case) -> super::case::Run {
    one(mse_loss_with(&c.arg(0, "input").var()?, &c.arg(1, "target").var()?, reduction(c)?))
}

/// Names in `functional/`, then in `modules/`.
pub const LOSSES: &[Entry] = &[
    ("cross_entropy", cross_entropy),
    ("CrossEntropyLoss", cross_entropy),
    ("mse_loss", mse),
    ("MSELoss", mse),
];
