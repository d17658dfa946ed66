//! Neighbouring nodes that run as one: a linear layer and the activation behind it, a batch norm of
//! the batch's own statistics and the ReLU behind it, a residual sum and the norm of it, and, when
//! nothing is recorded, a convolution or linear layer with the batch norm behind it folded into its
//! weights and a ReLU run while the values are written.

use std::cell::RefCell;

use smallvec::SmallVec;

use super::plan::{Op, Slot, Step};
use super::refs::Frame;
use crate::autograd::amp;
use crate::autograd::ops::{Act, add_norm};
use crate::autograd::tape::wants_grad;
use crate::nn::affine::{ChannelNorm, Weighted, as_act, as_channel_norm, as_sum_norm, as_weighted};
use crate::{DType, Module, Result, Tensor, Variable};

/// A chain of steps that may run as one.
pub(super) struct Fused {
    /// The steps from `first` to `last`.
    pub first: usize,
    pub last: usize,
    kind: Kind,
}

enum Kind {
    /// A layer with weights, then a norm, an activation, or both.
    Layer(Box<Layer>),
    /// A sum, then a norm over the last dims.
    Sum,
    /// A batch norm, then a ReLU. It may be the rest of a [`Kind::Layer`].
    Norm,
}

struct Layer {
    norm: bool,
    act: Option<Act>,
    folded: RefCell<Option<Folded>>,
}

/// What a chain did.
pub(super) enum Ran {
    /// Nothing: the steps must run one by one this time.
    Nothing,
    /// The first step alone.
    First(Variable),
    /// All, with the value of the first step where others may read it.
    All(Option<Variable>, Variable),
}

/// Weights with a norm in them.
struct Folded {
    /// What they were made from. A tensor's values do not change while there is another handle on
    /// it, so the fold holds as long as the layers have these very tensors.
    sources: Sources,
    /// `None` if the fold would not be the same.
    weights: Option<(Variable, Variable)>,
}

type Sources = SmallVec<[Tensor; 7]>;

/// Finds the chains, by their first steps, one for each at most. Values in `keep` are read by others than the steps, so they must be there.
pub(super) fn find(steps: &[Step], slots: usize, keep: &[Slot]) -> Vec<Fused> {
    let mut readers = vec![0; slots];
    for slot in steps.iter().flat_map(Step::reads).chain(keep.iter().copied()) {
        readers[slot] += 1;
    }
    let plain = |i: usize| match &steps.get(i)?.op {
        Op::Call(callee) if callee.refs.is_none() => Some(&*callee.module),
        _ => None,
    };
    // The module of the step after `i`, if it is the only one that reads the output of `i`.
    let next = |i: usize| {
        let output = steps[i].output;
        let alone = readers[output] == 1 && steps.get(i + 1)?.input == output;
        plain(i + 1).filter(|_| alone)
    };
    let mut found = Vec::new();
    let mut i = 0;
    while i < steps.len() {
        let first = i;
        i += 1;
        let mut last = first;
        let kind = match plain(first).and_then(as_weighted) {
            Some(layer) => {
                let fits = |norm: &dyn ChannelNorm| {
                    let (weight, _) = layer.weights();
                    let same = weight.variable.shape().first() == Some(&norm.features());
                    same && norm.takes(layer.ndim())
                };
                let norm = next(last).and_then(as_channel_norm).is_some_and(fits);
                last += usize::from(norm);
                let act = next(last).and_then(as_act).filter(|&act| layer.ends_with(act));
                last += usize::from(act.is_some());
                Kind::Layer(Box::new(Layer { norm, act, folded: RefCell::new(None) }))
            }
            None => {
                // The sum stays there for others.
                let reads = |next: &Step| next.input == steps[first].output;
                let norm = plain(first + 1).filter(|_| steps.get(first + 1).is_some_and(reads));
                if steps[first].is_sum() && norm.and_then(as_sum_norm).is_some() {
                    last += 1;
                }
                Kind::Sum
            }
        };
        if last > first {
            found.push(Fused { first, last, kind });
            i = last + 1;
        }
    }
    for first in 0..steps.len() {
        let norm = plain(first).and_then(as_channel_norm).is_some();
        if norm && next(first).and_then(as_act) == Some(Act::Relu) {
            found.push(Fused { first, last: first + 1, kind: Kind::Norm });
        }
    }
    found.sort_by_key(|chain| chain.first);
    found
}

fn module(step: &Step) -> Option<&dyn Module> {
    match &step.op {
        Op::Call(callee) => Some(&*callee.module),
        _ => None,
    }
}

impl Fused {
    /// Runs the steps as one, if that is possible this time.
    pub fn run(&self, steps: &[Step], frame: &Frame<'_>) -> Result<Ran> {
        let first = &steps[self.first];
        match &self.kind {
            Kind::Sum => {
                let Some((a, b)) = first.terms(frame)? else { return Ok(Ran::Nothing) };
                let norm = module(&steps[self.last]).and_then(as_sum_norm);
                let same = a.with_data(|a| b.with_data(|b| a.dims() == b.dims()));
                let norm = norm.and_then(|n| n.of_sum(&a)).filter(|_| same);
                match norm.map(|norm| add_norm(&a, &b, norm)) {
                    Some(Ok([sum, y])) => Ok(Ran::All(Some(sum), y)),
                    // What is wrong with the norm is the norm's to say.
                    Some(Err(_)) | None => a.add(&b).map(Ran::First),
                }
            }
            Kind::Norm => {
                let Some(norm) = module(first).and_then(as_channel_norm) else {
                    return Ok(Ran::Nothing);
                };
                let input = frame.value(first.input)?;
                // The 16 bits are rounded after each step.
                let half = amp::is_active() || input.dtype().is_half();
                if norm.is_fixed() || half {
                    return Ok(Ran::Nothing);
                }
                Ok(Ran::All(None, norm.own_relu(input)?))
            }
            Kind::Layer(chain) => {
                let Some(layer) = module(first).and_then(as_weighted) else {
                    return Ok(Ran::Nothing);
                };
                let norm = match chain.norm {
                    true => module(&steps[self.first + 1]).and_then(as_channel_norm),
                    false => None,
                };
                let value = chain.run(layer, norm, frame.value(first.input)?)?;
                Ok(value.map_or(Ran::Nothing, |value| Ran::All(None, value)))
            }
        }
    }

    /// Lets go of the folded weights.
    pub fn forget(&self) {
        if let Kind::Layer(chain) = &self.kind {
            chain.forget();
        }
    }
}

impl Layer {
    /// The output of the last step, or `None` if the steps must run one by one this time.
    fn run(
        &self,
        layer: &dyn Weighted,
        norm: Option<&dyn ChannelNorm>,
        input: &Variable,
    ) -> Result<Option<Variable>> {
        let (weight, bias) = layer.weights();
        let weight = &weight.variable;
        let bias = bias.map(|b| &b.variable);
        // The 16 bits of autocast are rounded after each step.
        let cast = amp::is_active();
        let Some(norm) = norm else {
            let recorded = !layer.records_ends() && records(input, layer, None);
            if cast || recorded {
                return Ok(None);
            }
            return layer.apply(input, weight, bias, self.act).map(Some);
        };
        if !norm.is_fixed() || records(input, layer, Some(norm)) {
            self.forget();
            return Ok(None);
        }
        if cast || input.ndim() != layer.ndim() || input.dtype() != weight.dtype() {
            return Ok(None);
        }
        let Some((weight, bias)) = self.fold(layer, norm)? else { return Ok(None) };
        layer.apply(input, &weight, Some(&bias), self.act).map(Some)
    }

    fn forget(&self) {
        self.folded.replace(None);
    }

    /// The folded weights, made again if anything in them has changed.
    fn fold(
        &self,
        layer: &dyn Weighted,
        norm: &dyn ChannelNorm,
    ) -> Result<Option<(Variable, Variable)>> {
        let mut folded = self.folded.borrow_mut();
        let known = folded.take().filter(|f| f.holds(layer, norm));
        let known = match known {
            Some(known) => known,
            None => Folded::new(layer, norm)?,
        };
        Ok(folded.insert(known).weights.clone())
    }
}

/// Whether anything of this is recorded on the tape.
fn records(input: &Variable, layer: &dyn Weighted, norm: Option<&dyn ChannelNorm>) -> bool {
    let (weight, bias) = layer.weights();
    let mut all: SmallVec<[&Variable; 5]> = SmallVec::from_slice(&[input, &weight.variable]);
    all.extend(bias.map(|b| &b.variable));
    if let Some((weight, bias)) = norm.and_then(|n| n.affine()) {
        all.extend([&weight.variable, &bias.variable]);
    }
    wants_grad(&all)
}

/// Shows every tensor that the fold is made from.
fn visit(layer: &dyn Weighted, norm: &dyn ChannelNorm, f: &mut dyn FnMut(&Tensor)) {
    let (weight, bias) = layer.weights();
    let affine = norm.affine().into_iter().flat_map(|(w, b)| [w, b]);
    for p in [Some(weight), bias].into_iter().flatten().chain(affine) {
        p.variable.with_data(&mut *f);
    }
    norm.visit_statistics(f);
}

impl Folded {
    fn new(layer: &dyn Weighted, norm: &dyn ChannelNorm) -> Result<Self> {
        let mut sources = Sources::new();
        visit(layer, norm, &mut |t| sources.push(t.clone()));
        let weights = Self::weights(layer, norm)?;
        Ok(Folded { sources, weights })
    }

    fn holds(&self, layer: &dyn Weighted, norm: &dyn ChannelNorm) -> bool {
        let mut sources = self.sources.iter();
        let mut same = true;
        visit(layer, norm, &mut |t| same &= sources.next().is_some_and(|s| s.is_same_view(t)));
        same && sources.next().is_none()
    }

    fn weights(
        layer: &dyn Weighted,
        norm: &dyn ChannelNorm,
    ) -> Result<Option<(Variable, Variable)>> {
        let (weight, bias) = layer.weights();
        let weight = weight.variable.data();
        let dtype = weight.dtype();
        let mut alike = !dtype.is_half();
        let mut check = |p: Option<&crate::Parameter>| {
            alike &= p.is_none_or(|p| p.variable.dtype() == dtype);
        };
        check(bias);
        let (gamma, beta) = norm.affine().unzip();
        check(gamma);
        check(beta);
        let fits = weight.shape().first() == Some(&norm.features());
        // A norm without statistics says so when it runs by itself.
        let (true, true, Ok((scale, shift))) = (alike, fits, norm.scale_and_shift()) else {
            return Ok(None);
        };
        let mut column = vec![1; weight.ndim()];
        column[0] = norm.features();
        let wide = weight.to_dtype(DType::Float64)?.mul(&scale.reshape(&column)?)?;
        let shift = match bias {
            None => shift,
            Some(b) => b.variable.data().to_dtype(DType::Float64)?.mul(&scale)?.add(&shift)?,
        };
        let (weight, bias) = (wide.to_dtype(dtype)?, shift.to_dtype(dtype)?);
        // Infinities would meet zeros elsewhere than in the two steps.
        for t in [&weight, &bias] {
            if !t.to_dtype(DType::Float64)?.abs()?.sum()?.item()?.is_finite() {
                return Ok(None);
            }
        }
        Ok(Some((Variable::constant(weight), Variable::constant(bias))))
    }
}
