//! Weighted sums of several variables, as gates need them.

use super::grad_by_composition;
use crate::autograd::tape::{Ctx, Grads, Saved, is_grad_enabled, record};
use crate::{Error, Result, Tensor, Variable};

/// The sum of the parts, each weighted by its column of `weights` `[…, parts]`, whose leading dims
/// are those of the parts or can be broadcast to them.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn mix(weights: &Variable, parts: &[Variable]) -> Result<Variable> {
    if !at_once(weights, parts) {
        return one_by_one(weights, parts);
    }
    let data = forward(&weights.data(), parts)?;
    let inputs: Vec<&Variable> = std::iter::once(weights).chain(parts).collect();
    let saved: Vec<Saved> = inputs.iter().map(|v| Saved::new(v)).collect();
    Ok(record("mix", data, &inputs, move |ctx| backward(ctx, &saved)))
}

/// Whether one kernel can do it: parts of one shape that starts with the weights' rows.
fn at_once(weights: &Variable, parts: &[Variable]) -> bool {
    let Some(first) = parts.first() else { return false };
    weights.with_data(|w| {
        let Some((&n, rows)) = w.dims().split_last() else { return false };
        n == parts.len()
            && w.dtype().is_float()
            && !w.dtype().is_half()
            && first.with_data(|p| p.ndim() > rows.len() && p.dims().starts_with(rows))
            && parts.iter().all(|part| {
                part.with_data(|p| {
                    let alike = p.dtype() == w.dtype() && p.device() == w.device();
                    alike && first.with_data(|first| p.dims() == first.dims())
                })
            })
    })
}

/// Elements of a part for each row of weights.
fn columns(weights: &Tensor, part: &Tensor) -> usize {
    part.dims()[weights.ndim() - 1..].iter().product()
}

fn forward(weights: &Tensor, parts: &[Variable]) -> Result<Tensor> {
    let parts = parts.iter().map(|p| p.with_data(Tensor::contiguous));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let weights = weights.contiguous()?;
    let (shape, columns) = (parts[0].dims(), columns(&weights, &parts[0]));
    Tensor::build(shape, weights.dtype(), weights.device(), |backend, out| {
        let parts: Vec<_> = parts.iter().map(Tensor::operand).collect();
        backend.mix(columns, weights.operand(), &parts, out)
    })
}

fn backward(ctx: &Ctx<'_>, saved: &[Saved]) -> Result<Grads> {
    if is_grad_enabled() {
        let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&Variable> = inputs.iter().collect();
        return grad_by_composition(&inputs, |all| one_by_one(&all[0], &all[1..]), ctx.grad());
    }
    let dy = ctx.grad().data().contiguous()?;
    let weights = saved[0].data().contiguous()?;
    let parts = saved.len() - 1;
    let (dtype, device) = (dy.dtype(), dy.device());
    let columns = columns(&weights, &dy);
    let mut dweights = match ctx.needs(0) {
        // Without elements no call fills it.
        true if dy.len() == 0 => Some(Tensor::zeros_like(&weights)?),
        true => Some(Tensor::fresh(weights.dims(), dtype, device)?),
        false => None,
    };
    let mut grads = Grads::from_elem(None, saved.len());
    for index in 0..parts {
        let mut dpart = match ctx.needs(index + 1) {
            true => Some(Tensor::fresh(dy.dims(), dtype, device)?),
            false => None,
        };
        if dy.len() > 0 {
            let part = saved[index + 1].data().contiguous()?;
            dy.backend()?.mix_backward(
                columns,
                [parts, index],
                weights.operand(),
                part.operand(),
                dy.operand(),
                [dpart.as_mut(), dweights.as_mut()].map(|t| t.map(Tensor::fresh_storage)),
            )?;
        }
        grads[index + 1] = dpart.map(Variable::constant);
    }
    grads[0] = dweights.map(Variable::constant);
    Ok(grads)
}

/// The same of plain operations.
fn one_by_one(weights: &Variable, parts: &[Variable]) -> Result<Variable> {
    // One node on the tape for all the columns, so that their gradients meet once.
    let columns = weights.split(1, -1)?;
    let mut sum: Option<Variable> = None;
    for (part, weight) in parts.iter().zip(&columns) {
        let weighted = part.mul(&fit(weight, part)?)?;
        sum = Some(match sum {
            None => weighted,
            Some(sum) => sum.add(&weighted)?,
        });
    }
    sum.ok_or_else(|| Error::Graph("a gate without experts".into()))
}

/// A column of weights `[…, 1]` with as many dims as the part that it weighs.
fn fit(weight: &Variable, part: &Variable) -> Result<Variable> {
    let (have, want) = (weight.ndim(), part.ndim());
    if have > want {
        return Err(Error::Shape {
            op: "gate",
            expected: format!("experts' outputs of at least {have} dims, as the router's"),
            got: part.shape(),
        });
    }
    if have == want {
        return Ok(weight.clone());
    }
    let mut shape = weight.shape();
    shape.resize(want, 1);
    weight.reshape(&shape)
}
