//! Recurrent networks: steps of cells and whole sequences, each one node on the tape, with fused
//! gradients; and the same made of plain operations for passes that record.

use std::rc::Rc;

use super::dropout::dropped_by;
use super::rnn_sums::Shared;
use super::{grad_by_composition, is_grad_enabled};
use crate::autograd::tape::{Ctx, Grads, Saved, record, record_many, take_sum, wants_grad};
use crate::backend::{RnnGeom, RnnMode};
use crate::rng::draw;
use crate::tensor::{CellSpec, SequenceSpec, check_probability, state_rows};
use crate::{DType, Error, Result, Tensor, TensorOptions, Variable, linear};

/// What a cell reads besides its input.
#[derive(Clone, Copy)]
pub(crate) enum CellState<'a> {
    /// Zeros.
    Zeros,
    /// h, and c of an LSTM.
    Parts([Option<&'a Variable>; 2]),
    /// Of an LSTM: `[B, 2H]`, h and c side by side.
    Joint(&'a Variable),
}

impl<'a> CellState<'a> {
    fn variables(self) -> impl Iterator<Item = &'a Variable> {
        let all = match self {
            CellState::Zeros => [None, None],
            CellState::Parts(parts) => parts,
            CellState::Joint(state) => [Some(state), None],
        };
        all.into_iter().flatten()
    }

    /// h and c as tensors.
    fn tensors(self, op: &'static str) -> Result<[Option<Tensor>; 2]> {
        match self {
            CellState::Zeros => Ok([None, None]),
            CellState::Parts(parts) => Ok(parts.map(|p| p.map(Variable::data))),
            CellState::Joint(state) => halves(op, &state.data()).map(|s| s.map(Some)),
        }
    }
}

/// The two halves of `[B, 2H]`.
fn halves(op: &'static str, state: &Tensor) -> Result<[Tensor; 2]> {
    let width = state.dims().get(1).copied().unwrap_or(1);
    if state.ndim() != 2 || width % 2 != 0 {
        return Err(Error::Shape {
            op,
            expected: "a state of [batch, 2 * hidden], h and c side by side".into(),
            got: state.shape(),
        });
    }
    let hidden = width as i64 / 2;
    Ok([state.narrow(1, 0, hidden)?, state.narrow(1, hidden, hidden)?])
}

/// Casts variables to float32.
fn wide(v: &Variable) -> Result<Variable> {
    v.to_dtype(DType::Float32)
}

fn references(v: &[Variable]) -> Vec<&Variable> {
    v.iter().collect()
}

/// One step. With `joint`, an LSTM's new state comes as one variable `[B, 2H]`, else as h and c.
pub(crate) fn cell(
    spec: CellSpec,
    x: &Variable,
    state: CellState<'_>,
    params: &[&Variable],
    joint: bool,
    shared: Option<Rc<Shared>>,
) -> Result<Vec<Variable>> {
    if x.dtype().is_half() {
        return half_cell(spec, x, state, params, joint);
    }
    let data = x.data();
    let parts = state.tensors(spec.op)?;
    let values: Vec<Tensor> = params.iter().map(|p| p.data()).collect();
    let geom = spec.geom(
        &data,
        [parts[0].as_ref(), parts[1].as_ref()],
        &values.iter().collect::<Vec<_>>(),
    )?;
    let data = data.contiguous()?;
    let values = values.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let [h, c] = parts.map(|p| p.as_ref().map(state_rows).transpose());
    let (h, c) = (h?, c?);
    let packed_now = shared.as_deref().map(|s| &s.weights);
    let [gates, out] = spec.forward(&geom, &data, [h.as_ref(), c.as_ref()], &values, packed_now)?;

    let mut inputs = vec![x];
    inputs.extend(state.variables());
    let states = inputs.len() - 1;
    inputs.extend(params);
    let lstm = spec.mode.has_cell();
    let hidden = geom.hidden as i64;
    let split =
        move |t: &Tensor| Ok::<_, Error>([t.narrow(1, 0, hidden)?, t.narrow(1, hidden, hidden)?]);
    let new: Vec<Tensor> = if lstm && !joint { split(&out)?.into() } else { vec![out.clone()] };
    if !wants_grad(&inputs) {
        return Ok(new.into_iter().map(Variable::constant).collect());
    }
    let saved: Vec<Saved> = inputs.iter().map(|v| Saved::new(v)).collect();
    let joint_before = matches!(state, CellState::Joint(_));
    let backward = move |ctx: &Ctx<'_>| {
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let compose = |v: &[Variable]| {
                let (x, rest) = v.split_first().expect("an input");
                let (before, params) = rest.split_at(states);
                compose_cell(spec.mode, x, before, params, joint_before, hidden)
                    .map(|(h, c)| [Some(h), c].into_iter().flatten().collect())
            };
            let count = if lstm { 2 } else { 1 };
            let given: Vec<Option<Variable>> = match (lstm && joint, ctx.grad_of(0)) {
                (true, Some(g)) => {
                    vec![Some(g.narrow(1, 0, hidden)?), Some(g.narrow(1, hidden, hidden)?)]
                }
                (_, first) => std::iter::once(first)
                    .chain((1..count).map(|i| ctx.grad_of(i as usize)))
                    .collect(),
            };
            return composed(&references(&inputs), compose, given);
        }
        let given: [Option<Tensor>; 2] = if lstm && joint {
            split(&ctx.grad().with_data(Tensor::contiguous)?)?.map(Some)
        } else {
            let part = |i| ctx.grad_of(i).map(|g: Variable| g.with_data(state_rows)).transpose();
            [part(0)?, if lstm { part(1)? } else { None }]
        };
        let first = 1 + states;
        let pending = match &shared {
            Some(shared) => shared.pending(ctx, spec, &geom, &values, first)?,
            None => None,
        };
        let mut accumulate = [false; 4];
        let mut weights = Vec::with_capacity(4);
        for (i, value) in values.iter().enumerate() {
            let sum = ctx.leaf(first + i).filter(|_| pending.is_none()).and_then(|l| take_sum(&l));
            accumulate[i] = sum.is_some();
            weights.push(match sum {
                Some(sum) => Some(sum),
                None if ctx.needs(first + i) && pending.is_none() => {
                    Some(Tensor::fresh(value.dims(), value.dtype(), value.device())?)
                }
                None => None,
            });
        }
        let wants = [ctx.needs(0), states > 0 && ctx.needs(1)];
        let mut pending = pending.as_ref().map(|p| p.borrow_mut());
        let (dx, before) = spec.backward(
            &geom,
            &data,
            [h.as_ref(), c.as_ref()],
            &values,
            shared.as_deref().map(|s| &s.weights),
            [&gates, &out],
            [given[0].as_ref(), given[1].as_ref()],
            wants,
            &mut weights,
            accumulate,
            pending.as_mut().map(|p| p.sums()),
        )?;
        if let Some(pending) = &mut pending {
            pending.add(&data, h.as_ref())?;
        }
        let mut grads = Grads::new();
        grads.push(dx.map(Variable::constant));
        if joint_before || (states > 0 && !lstm) {
            grads.push(Some(Variable::constant(before)));
        } else if states > 0 {
            grads.extend(split(&before)?.map(|t| Some(Variable::constant(t))));
        }
        grads.extend(weights.into_iter().map(|g| g.map(Variable::constant)));
        Ok(grads)
    };
    Ok(if new.len() == 1 {
        let new = new.into_iter().next().expect("one state");
        vec![record(spec.op, new, &inputs, backward)]
    } else {
        record_many(spec.op, new, &inputs, backward)
    })
}

fn half_cell(
    spec: CellSpec,
    x: &Variable,
    state: CellState<'_>,
    params: &[&Variable],
    joint: bool,
) -> Result<Vec<Variable>> {
    for v in state.variables().chain(params.iter().copied()) {
        x.with_data(|x| v.with_data(|v| x.check_same(spec.op, v)))?;
    }
    let params = params.iter().map(|p| wide(p)).collect::<Result<Vec<_>>>()?;
    let states = state.variables().map(wide).collect::<Result<Vec<_>>>()?;
    let state = match state {
        CellState::Zeros => CellState::Zeros,
        CellState::Parts(_) => CellState::Parts([states.first(), states.get(1)]),
        CellState::Joint(_) => CellState::Joint(&states[0]),
    };
    let out = cell(spec, &wide(x)?, state, &references(&params), joint, None)?;
    out.iter().map(|v| v.to_dtype(x.dtype())).collect()
}

/// Gradients through the same operation made of plain ones, which gives several outputs.
fn composed(
    inputs: &[&Variable],
    compose: impl FnOnce(&[Variable]) -> Result<Vec<Variable>>,
    given: Vec<Option<Variable>>,
) -> Result<Grads> {
    // Outputs without a gradient stay out.
    let gradients = given.iter().flatten().map(|g| g.flatten(0, -1));
    let gradients = gradients.collect::<Result<Vec<_>>>()?;
    let gradient = Variable::cat_many(&references(&gradients), 0)?;
    let joined = |v: &[Variable]| {
        let outs = compose(v)?;
        let wanted = outs.iter().zip(&given).filter(|(_, g)| g.is_some());
        let flat = wanted.map(|(o, _)| o.flatten(0, -1)).collect::<Result<Vec<_>>>()?;
        Variable::cat_many(&references(&flat), 0)
    };
    grad_by_composition(inputs, joined, gradient)
}

/// A step of plain operations: the new h, and c of an LSTM. `before` holds no state, h, h and c,
/// or with `joint` both side by side.
pub(crate) fn compose_cell(
    mode: RnnMode,
    x: &Variable,
    before: &[Variable],
    params: &[Variable],
    joint: bool,
    hidden: i64,
) -> Result<(Variable, Option<Variable>)> {
    let zeros = || -> Result<Variable> {
        let options = TensorOptions { dtype: x.dtype(), device: x.device() };
        Ok(Variable::constant(Tensor::zeros(&[x.shape()[0], hidden], options)?))
    };
    let (h, c) = match before {
        [state] if joint => (state.narrow(1, 0, hidden)?, state.narrow(1, hidden, hidden)?),
        [h, c] => (h.clone(), c.clone()),
        [h] => (h.clone(), zeros()?),
        _ => (zeros()?, zeros()?),
    };
    let i = linear(x, &params[0], params.get(2))?;
    let u = linear(&h, &params[1], params.get(3))?;
    let part = |v: &Variable, gate: i64| v.narrow(1, gate * hidden, hidden);
    match mode {
        RnnMode::Tanh => Ok((i.add(&u)?.tanh()?, None)),
        RnnMode::Relu => Ok((i.add(&u)?.relu()?, None)),
        RnnMode::Gru => {
            let gate = |g: i64| part(&i, g)?.add(&part(&u, g)?)?.sigmoid();
            let (r, z) = (gate(0)?, gate(1)?);
            let new = part(&i, 2)?.add(&r.mul(&part(&u, 2)?)?)?.tanh()?;
            Ok((new.add(&z.mul(&h.sub(&new)?)?)?, None))
        }
        RnnMode::Lstm => {
            let gates = i.add(&u)?;
            let (i, f) = (part(&gates, 0)?.sigmoid()?, part(&gates, 1)?.sigmoid()?);
            let (g, o) = (part(&gates, 2)?.tanh()?, part(&gates, 3)?.sigmoid()?);
            let c = f.mul(&c)?.add(&i.mul(&g)?)?;
            Ok((o.mul(&c.tanh()?)?, Some(c)))
        }
    }
}

/// A sequence of plain operations on a time-major input: output, last h, last c of an LSTM.
fn compose_sequence(
    spec: &SequenceSpec,
    geom: &RnnGeom,
    x: &Variable,
    states: [Option<&Variable>; 2],
    params: &[Variable],
) -> Result<Vec<Variable>> {
    let per_run = spec.per_run(params.len())?;
    let hidden = params[1].shape()[1];
    let steps = x.shape()[0];
    let mut input = x.clone();
    let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
    for layer in 0..spec.layers {
        if let Some((p, key)) = geom.layer_dropout(layer) {
            input = dropped_by(&input, p, key)?;
        }
        let mut outs = Vec::new();
        for direction in 0..spec.directions {
            let run = layer * spec.directions + direction;
            let weights = &params[run * per_run..(run + 1) * per_run];
            let first = states.map(|s| s.map(|s| s.select(0, run as i64)).transpose());
            let [h, c] = first;
            let mut before: Vec<Variable> = [h?, c?].into_iter().flatten().collect();
            let mut out = Vec::with_capacity(steps as usize);
            for k in 0..steps {
                let t = if direction == 0 { k } else { steps - 1 - k };
                let step = input.select(0, t)?;
                let (h, c) = compose_cell(spec.mode, &step, &before, weights, false, hidden)?;
                out.push(h.clone());
                before = [Some(h), c].into_iter().flatten().collect();
            }
            if direction == 1 {
                out.reverse();
            }
            outs.push(Variable::stack(&out, 0)?);
            let mut before = before.into_iter();
            last_h.extend(before.next());
            last_c.extend(before.next());
        }
        input = Variable::cat_many(&references(&outs), 2)?;
    }
    let mut all = vec![input, Variable::stack(&last_h, 0)?];
    if !last_c.is_empty() {
        all.push(Variable::stack(&last_c, 0)?);
    }
    Ok(all)
}

/// A whole sequence as one node: output, last h, last c of an LSTM. Between the layers elements are
/// dropped with probability `dropout`.
fn sequence(
    spec: SequenceSpec,
    x: &Variable,
    [h0, c0]: [Option<&Variable>; 2],
    params: &[&Variable],
    batch_first: bool,
    dropout: f64,
) -> Result<Vec<Variable>> {
    if x.dtype().is_half() {
        for v in [h0, c0].into_iter().flatten().chain(params.iter().copied()) {
            x.with_data(|x| v.with_data(|v| x.check_same(spec.op, v)))?;
        }
        let wider = params.iter().map(|p| wide(p)).collect::<Result<Vec<_>>>()?;
        let (h, c) = (h0.map(wide).transpose()?, c0.map(wide).transpose()?);
        let states = [h.as_ref(), c.as_ref()];
        let out = sequence(spec, &wide(x)?, states, &references(&wider), batch_first, dropout)?;
        return out.iter().map(|v| v.to_dtype(x.dtype())).collect();
    }
    let mut data = x.data();
    if batch_first && data.ndim() == 3 {
        data = data.transpose(0, 1)?;
    }
    let values: Vec<Tensor> = params.iter().map(|p| p.data()).collect();
    let (h, c) = (h0.map(Variable::data), c0.map(Variable::data));
    let mut geom =
        spec.geom(&data, [h.as_ref(), c.as_ref()], &values.iter().collect::<Vec<_>>())?;
    if dropout > 0.0 && geom.layers > 1 {
        geom.dropout = Some((dropout, draw(geom.draws())));
    }
    let data = data.contiguous()?;
    let values = values.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let h = h.as_ref().map(Tensor::contiguous).transpose()?;
    let c = c.as_ref().map(Tensor::contiguous).transpose()?;

    let mut inputs = vec![x];
    inputs.extend([h0, c0].into_iter().flatten());
    inputs.extend(params);
    let keep = wants_grad(&inputs);
    let states = [h.as_ref(), c.as_ref()];
    let run = spec.forward(&geom, &data, states, &values, keep)?;
    let (out, reserve) = (run.out, run.reserve);
    let visible = if batch_first { out.transpose(0, 1)? } else { out.clone() };
    let results: Vec<Tensor> = [Some(visible), Some(run.h), run.c].into_iter().flatten().collect();
    if !keep {
        return Ok(results.into_iter().map(Variable::constant).collect());
    }
    let saved: Vec<Saved> = inputs.iter().map(|v| Saved::new(v)).collect();
    let count = results.len();
    let has = [h0.is_some(), c0.is_some()];
    Ok(record_many(spec.op, results, &inputs, move |ctx| {
        let mut given: Vec<Option<Variable>> = (0..count).map(|i| ctx.grad_of(i)).collect();
        if is_grad_enabled() {
            let inputs = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            let compose = |v: &[Variable]| {
                let x = if batch_first { v[0].transpose(0, 1)? } else { v[0].clone() };
                let mut rest = v[1..].iter();
                let h = if has[0] { rest.next() } else { None };
                let c = if has[1] { rest.next() } else { None };
                let mut outs = compose_sequence(&spec, &geom, &x, [h, c], rest.as_slice())?;
                if batch_first {
                    outs[0] = outs[0].transpose(0, 1)?;
                }
                Ok(outs)
            };
            return composed(&references(&inputs), compose, given);
        }
        if batch_first && let Some(g) = &mut given[0] {
            *g = g.transpose(0, 1)?;
        }
        given.resize(3, None);
        let mut rows = given.into_iter();
        let mut next = || {
            let g: Option<Variable> = rows.next().flatten();
            g.map(|g| g.with_data(Tensor::contiguous)).transpose()
        };
        let given = [next()?, next()?, next()?];
        // The kernel's order has a place for states that are not there.
        let index = |i: usize| match i {
            0 => Some(0),
            1 => has[0].then_some(1),
            2 => has[1].then_some(1 + usize::from(has[0])),
            i => Some(i - 2 + usize::from(has[0]) + usize::from(has[1])),
        };
        let needs = |i: usize| index(i).is_some_and(|i| ctx.needs(i));
        let states = [h.as_ref(), c.as_ref()];
        let mut grads =
            spec.backward(&geom, &data, states, &values, (&out, &reserve), given, needs)?;
        if batch_first && let Some(dx) = &mut grads[0] {
            *dx = dx.transpose(0, 1)?;
        }
        let present = |i: usize| index(i).is_some();
        let grads = grads.into_iter().enumerate().filter(|(i, _)| present(*i));
        Ok(grads.map(|(_, g)| g.map(Variable::constant)).collect())
    }))
}

/// One step of a GRU: input `[B, I]`, state `[B, H]`, weights `[3H, I]` and `[3H, H]`, biases
/// `[3H]`, in the order reset, update, new; the new state `[B, H]` (Cho et al., 2014).
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn gru_cell(
    input: &Variable,
    hx: &Variable,
    w_ih: &Variable,
    w_hh: &Variable,
    b_ih: &Variable,
    b_hh: &Variable,
) -> Result<Variable> {
    let spec = CellSpec { op: "gru_cell", mode: RnnMode::Gru };
    let state = CellState::Parts([Some(hx), None]);
    one(cell(spec, input, state, &[w_ih, w_hh, b_ih, b_hh], false, None)?)
}

/// One step of an LSTM: input `[B, I]`, states `[B, H]`, weights `[4H, I]` and `[4H, H]`, biases
/// `[4H]`, in the order input, forget, cell, output; the new h and c (Hochreiter and Schmidhuber,
/// 1997).
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn lstm_cell(
    input: &Variable,
    hx: &Variable,
    cx: &Variable,
    w_ih: &Variable,
    w_hh: &Variable,
    b_ih: &Variable,
    b_hh: &Variable,
) -> Result<(Variable, Variable)> {
    let spec = CellSpec { op: "lstm_cell", mode: RnnMode::Lstm };
    let state = CellState::Parts([Some(hx), Some(cx)]);
    two(cell(spec, input, state, &[w_ih, w_hh, b_ih, b_hh], false, None)?)
}

/// One step of a plain network with tanh: tanh(W x + b + U h + c) (Elman, 1990).
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn rnn_tanh_cell(
    input: &Variable,
    hx: &Variable,
    w_ih: &Variable,
    w_hh: &Variable,
    b_ih: &Variable,
    b_hh: &Variable,
) -> Result<Variable> {
    let spec = CellSpec { op: "rnn_tanh_cell", mode: RnnMode::Tanh };
    let state = CellState::Parts([Some(hx), None]);
    one(cell(spec, input, state, &[w_ih, w_hh, b_ih, b_hh], false, None)?)
}

/// One step of a plain network with ReLU: max(0, W x + b + U h + c).
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn rnn_relu_cell(
    input: &Variable,
    hx: &Variable,
    w_ih: &Variable,
    w_hh: &Variable,
    b_ih: &Variable,
    b_hh: &Variable,
) -> Result<Variable> {
    let spec = CellSpec { op: "rnn_relu_cell", mode: RnnMode::Relu };
    let state = CellState::Parts([Some(hx), None]);
    one(cell(spec, input, state, &[w_ih, w_hh, b_ih, b_hh], false, None)?)
}

fn one(v: Vec<Variable>) -> Result<Variable> {
    Ok(v.into_iter().next().expect("a cell has a state"))
}

fn two(v: Vec<Variable>) -> Result<(Variable, Variable)> {
    let mut v = v.into_iter();
    Ok((v.next().expect("an LSTM has h"), v.next().expect("an LSTM has c")))
}

/// How a sequence runs through a network.
#[derive(Clone, Copy, Debug)]
pub struct RnnOptions {
    /// Layers on top of each other.
    pub num_layers: usize,
    /// Whether each layer has a second half that runs backwards.
    pub bidirectional: bool,
    /// Whether input and output are `[batch, sequence, …]`, not `[sequence, batch, …]`.
    pub batch_first: bool,
    /// Share of each layer's output but the last's that is dropped in training.
    pub dropout: f64,
    /// Whether `dropout` applies.
    pub training: bool,
}

impl Default for RnnOptions {
    fn default() -> Self {
        RnnOptions {
            num_layers: 1,
            bidirectional: false,
            batch_first: false,
            dropout: 0.0,
            training: false,
        }
    }
}

/// A sequence through all layers: output, last h, last c of an LSTM.
pub(crate) fn network(
    op: &'static str,
    mode: RnnMode,
    x: &Variable,
    states: [Option<&Variable>; 2],
    params: &[&Variable],
    options: &RnnOptions,
) -> Result<Vec<Variable>> {
    let directions = 1 + usize::from(options.bidirectional);
    let spec = SequenceSpec { op, mode, layers: options.num_layers, directions };
    spec.per_run(params.len())?;
    check_probability(op, options.dropout)?;
    let dropout = if options.training { options.dropout } else { 0.0 };
    sequence(spec, x, states, params, options.batch_first, dropout)
}

/// A sequence through a GRU: input `[S, B, I]`, first state `[layers · directions, B, H]` (zeros
/// where `None`); output `[S, B, directions · H]` and the last state. `params` stand layer by
/// layer, direction by direction: `weight_ih`, `weight_hh` and, or not at all, `bias_ih`,
/// `bias_hh`. One node on the tape and one kernel call each way, whatever the length; the dropout
/// between layers is drawn inside it.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
///
/// ```
/// use flodl::*;
/// let gru = GRU::new(3, 5, 1)?;
/// let params: Vec<Variable> = gru.parameters().into_iter().map(|p| p.variable).collect();
/// let x = Variable::new(Tensor::randn(&[7, 2, 3], TensorOptions::default())?, false);
/// let (output, h_n) = gru_seq(&x, None, &params, &RnnOptions::default())?;
/// assert_eq!((output.shape(), h_n.shape()), (vec![7, 2, 5], vec![1, 2, 5]));
/// # Ok::<(), Error>(())
/// ```
pub fn gru_seq(
    input: &Variable,
    h_0: Option<&Variable>,
    params: &[Variable],
    options: &RnnOptions,
) -> Result<(Variable, Variable)> {
    let params = references(params);
    two(network("gru_seq", RnnMode::Gru, input, [h_0, None], &params, options)?)
}

/// A sequence through an LSTM, as [`gru_seq`]; the state is h and c.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn lstm_seq(
    input: &Variable,
    state_0: Option<(&Variable, &Variable)>,
    params: &[Variable],
    options: &RnnOptions,
) -> Result<(Variable, (Variable, Variable))> {
    let states = [state_0.map(|s| s.0), state_0.map(|s| s.1)];
    let mut out = network("lstm_seq", RnnMode::Lstm, input, states, &references(params), options)?;
    let output = out.remove(0);
    Ok((output, two(out)?))
}

/// A sequence through a plain network with tanh, as [`gru_seq`].
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn rnn_tanh_seq(
    input: &Variable,
    h_0: Option<&Variable>,
    params: &[Variable],
    options: &RnnOptions,
) -> Result<(Variable, Variable)> {
    let params = references(params);
    two(network("rnn_tanh_seq", RnnMode::Tanh, input, [h_0, None], &params, options)?)
}

/// A sequence through a plain network with ReLU, as [`gru_seq`].
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn rnn_relu_seq(
    input: &Variable,
    h_0: Option<&Variable>,
    params: &[Variable],
    options: &RnnOptions,
) -> Result<(Variable, Variable)> {
    let params = references(params);
    two(network("rnn_relu_seq", RnnMode::Relu, input, [h_0, None], &params, options)?)
}
