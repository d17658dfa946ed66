//! A sum and its norm over the last dims in one pass, as residual connections need them.

use super::norm::{flat, like_inputs, operand, wanted};
use super::{composed, is_grad_enabled, layer_norm_opt, rms_norm};
use crate::autograd::amp;
use crate::autograd::tape::{Ctx, Grads, Saved, record_many};
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
    let inputs: Vec<&Variable> = given.into_iter().flatten().collect();
    let saved: Vec<Saved> = inputs.iter().map(|v| Saved::new(v)).collect();
    let stats = Stats { sum: sum.clone(), mean, rstd, weight: w, columns };
    let has = [norm.weight.is_some(), norm.bias.is_some()];
    let (centre, size) = (norm.centre, norm.columns);
    let both = record_many(op, vec![sum, y], &inputs, move |ctx| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let compose = |v: &[Variable]| {
                let mut rest = v[2..].iter();
                let weight = if has[0] { rest.next() } else { None };
                let norm = RowNorm { centre, weight, bias: rest.next(), columns: size, eps };
                let sum = v[0].add(&v[1])?;
                let y = norm.apply(&sum)?;
                Ok(vec![sum, y])
            };
            let given = vec![ctx.grad_of(0), ctx.grad_of(1)];
            return composed(&inputs.iter().collect::<Vec<_>>(), compose, given);
        }
        Ok(like_inputs(stats.backward(ctx, has)?, &saved))
    });
    let mut both = both.into_iter();
    Ok([(); 2].map(|()| both.next().expect("two outputs were recorded")))
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
    /// Gradients of both terms, and of weight and bias where there are any.
    fn backward(&self, ctx: &Ctx<'_>, has: [bool; 2]) -> Result<Grads> {
        let given = [ctx.grad_of(0), ctx.grad_of(1)];
        let inputs = 2 + has.iter().filter(|h| **h).count();
        let needs = |i: usize| i < inputs && ctx.needs(i);
        let of_sum = given[0].as_ref().map(|g| g.with_data(Tensor::contiguous)).transpose()?;
        let Some(dy) = &given[1] else {
            // Only the sum was used.
            let term = |i: usize| of_sum.clone().filter(|_| needs(i)).map(Variable::constant);
            return Ok((0..inputs).map(|i| if i < 2 { term(i) } else { None }).collect());
        };
        let dy = dy.with_data(Tensor::contiguous)?;
        let x = &self.sum;
        let vector = [self.columns];
        let terms = (needs(0) || needs(1)).then_some(x.dims());
        let weight = (has[0] && needs(2)).then_some(&vector[..]);
        let bias = (has[1] && needs(inputs - 1)).then_some(&vector[..]);
        let (columns, w, plus) = (self.columns, operand(&self.weight), operand(&of_sum));
        let backend = x.backend()?;
        let found: Grads = match &self.mean {
            Some(mean) => wanted(x, [terms, weight, bias], |out| {
                let stats = backend::Saved { mean: mean.operand(), rstd: self.rstd.operand() };
                backend.layer_norm_backward(x.operand(), columns, w, stats, dy.operand(), plus, out)
            })?,
            None => wanted(x, [terms, weight], |out| {
                let rstd = self.rstd.operand();
                backend.rms_norm_backward(x.operand(), columns, w, rstd, dy.operand(), plus, out)
            })?,
        };
        let mut found = found.into_iter();
        let both = found.next().flatten();
        let mut all: Grads = (0..2).map(|i| both.clone().filter(|_| needs(i))).collect();
        let rest: Vec<Option<Variable>> = found.collect();
        for (i, gradient) in rest.into_iter().enumerate() {
            if has[i] {
                all.push(gradient);
            }
        }
        Ok(all)
    }
}
