//! A sum and its norm over the last dims in one pass, as residual connections need them.

use smallvec::SmallVec;

use super::norm::{flat, operand, wanted};
use super::{grad_by_composition, is_grad_enabled, layer_norm_opt, rms_norm};
use crate::autograd::amp;
use crate::autograd::tape::{Ctx, Grads, Saved, record_many, wants_grad};
use crate::backend;
use crate::tensor::{Rows, row_length};
use crate::{Result, Tensor, Variable};

/// A norm of rows.
#[derive(Clone, Copy)]
pub(crate) struct RowNorm<'a> {
    /// Layer norm if it is centred, RMS norm if not.
    pub centre: bool,
    pub weight: Option<&'a Variable>,
    /// Layer norm only.
    pub bias: Option<&'a Variable>,
    /// Elements of a row.
    pub columns: i64,
    pub eps: f64,
}

impl RowNorm<'_> {
    fn apply(&self, x: &Variable) -> Result<Variable> {
        match self.centre {
            true => layer_norm_opt(x, self.weight, self.bias, self.columns, self.eps),
            false => rms_norm(x, self.weight, self.columns, self.eps),
        }
    }
}

/// `a + b` and its norm.
///
/// # Errors
/// As for the two operations.
pub(crate) fn add_norm(a: &Variable, b: &Variable, norm: RowNorm<'_>) -> Result<[Variable; 2]> {
    if !at_once(a, b) {
        let sum = a.add(b)?;
        let y = norm.apply(&sum)?;
        return Ok([sum, y]);
    }
    let (op, eps) = (if norm.centre { "add_layer_norm" } else { "add_rms_norm" }, norm.eps);
    let (x, other) = (a.with_data(Tensor::contiguous)?, b.with_data(Tensor::contiguous)?);
    let columns = row_length(op, &x, norm.columns)?;
    let (w, bias) = (flat(norm.weight)?, flat(norm.bias)?);
    let (sum, y, mean, rstd) = if norm.centre {
        let (sum, Rows { y, mean, rstd }) =
            x.add_layer_norm_rows(&other, w.as_ref(), bias.as_ref(), columns, eps)?;
        (sum, y, Some(mean), rstd)
    } else {
        let [sum, y, rstd] = x.add_rms_norm_rows(&other, w.as_ref(), columns, eps)?;
        (sum, y, None, rstd)
    };
    let given = [Some(a), Some(b), norm.weight, norm.bias];
    let inputs: SmallVec<[&Variable; 4]> = given.into_iter().flatten().collect();
    if !wants_grad(&inputs) {
        return Ok([sum, y].map(Variable::constant));
    }
    let affine = [norm.weight, norm.bias].map(|v| v.map(Saved::new));
    let stats = Stats { sum: sum.clone(), mean, rstd, weight: w, columns };
    let (centre, size) = (norm.centre, norm.columns);
    let both = record_many(op, vec![sum, y], &inputs, move |ctx| {
        if !is_grad_enabled() {
            return stats.backward(ctx, &affine);
        }
        let [of_sum, dy] = [ctx.grad_of(0), ctx.grad_of(1)];
        let Some(dy) = dy else { return Ok(spread(ctx, of_sum, [const { None }; 2], &affine)) };
        // The terms are not kept: the sum is an output of this node, and leads to them.
        let sum = ctx.output_of(&stats.sum, 0);
        let [weight, bias] = [&affine[0], &affine[1]].map(|s| s.as_ref().map(Saved::get));
        let (weight, bias) = (weight.transpose()?, bias.transpose()?);
        let compose = |v: &[Variable]| {
            let mut rest = v[1..].iter();
            let weight = if weight.is_some() { rest.next() } else { None };
            RowNorm { centre, weight, bias: rest.next(), columns: size, eps }.apply(&v[0])
        };
        let given: SmallVec<[&Variable; 3]> =
            [Some(&sum), weight.as_ref(), bias.as_ref()].into_iter().flatten().collect();
        let mut found = grad_by_composition(&given, compose, dy)?.into_iter();
        let through = found.next().flatten();
        let terms = match (through, of_sum) {
            (Some(a), Some(b)) => Some(a.add(&b)?),
            (a, b) => a.or(b),
        };
        let rest = [weight.is_some(), bias.is_some()];
        let rest = rest.map(|has| if has { found.next().flatten() } else { None });
        Ok(spread(ctx, terms, rest, &affine))
    });
    let mut both = both.into_iter();
    Ok([(); 2].map(|()| both.next().expect("two outputs were recorded")))
}

/// The gradients in the order of the inputs: both terms have the same, then those of weight and
/// bias where there are any.
fn spread(
    ctx: &Ctx<'_>,
    terms: Option<Variable>,
    affine: [Option<Variable>; 2],
    has: &[Option<Saved>; 2],
) -> Grads {
    let mut all = Grads::new();
    for i in 0..2 {
        all.push(if ctx.needs(i) { terms.clone() } else { None });
    }
    let present = affine.into_iter().zip(has).filter(|(_, has)| has.is_some());
    all.extend(present.map(|(gradient, _)| gradient));
    all
}

/// Whether one kernel can do it.
fn at_once(a: &Variable, b: &Variable) -> bool {
    let alike = |a: &Tensor, b: &Tensor| {
        let plain = a.dtype().is_float() && !a.dtype().is_half();
        let same = a.dims() == b.dims() && a.dtype() == b.dtype() && a.device() == b.device();
        plain && same && a.ndim() > 0
    };
    // The casts of autocast stand between the two.
    !amp::is_active() && a.with_data(|a| b.with_data(|b| alike(a, b)))
}

/// What the gradient needs.
struct Stats {
    sum: Tensor,
    mean: Option<Tensor>,
    rstd: Tensor,
    weight: Option<Tensor>,
    columns: usize,
}

impl Stats {
    fn backward(&self, ctx: &Ctx<'_>, affine: &[Option<Saved>; 2]) -> Result<Grads> {
        let [of_sum, dy] = [ctx.grad_of(0), ctx.grad_of(1)];
        // Only the sum was used.
        let Some(dy) = dy else { return Ok(spread(ctx, of_sum, [const { None }; 2], affine)) };
        let dense = |g: &Variable| g.with_data(Tensor::contiguous);
        let (dy, of_sum) = (dense(&dy)?, of_sum.as_ref().map(dense).transpose()?);
        let x = &self.sum;
        let vector = [self.columns];
        let terms = (ctx.needs(0) || ctx.needs(1)).then_some(x.dims());
        // The bias comes after the weight, if there is one.
        let at = [2, 2 + usize::from(affine[0].is_some())];
        let [weight, bias] =
            [0, 1].map(|i| (affine[i].is_some() && ctx.needs(at[i])).then_some(&vector[..]));
        let (columns, w, plus) = (self.columns, operand(&self.weight), operand(&of_sum));
        let (backend, rstd) = (x.backend()?, self.rstd.operand());
        let found = match &self.mean {
            Some(mean) => wanted(x, [terms, weight, bias], |out| {
                let stats = backend::Saved { mean: mean.operand(), rstd };
                let (x, dy) = (x.operand(), dy.operand());
                backend.layer_norm_backward(x, columns, w, stats, dy, plus, out)
            })?,
            None => wanted(x, [terms, weight], |out| {
                backend.rms_norm_backward(x.operand(), columns, w, rstd, dy.operand(), plus, out)
            })?,
        };
        let mut found = found.into_iter();
        let terms = found.next().flatten();
        let mut rest = [None, None];
        for (i, gradient) in found.enumerate() {
            // Kernels give vectors; the weights may have more dims.
            if let (Some(gradient), Some(saved)) = (gradient, &affine[i]) {
                rest[i] = Some(gradient.reshape(&saved.data().shape())?);
            }
        }
        Ok(spread(ctx, terms, rest, affine))
    }
}
