//! Whole sequences: all layers, both directions, forward and backward.

use std::ops::Range;

use super::gates::{self, Rows, RowsMut};
use super::{
    FEW_ROWS, Finish, Float, Packed, RnnGeom, WeightGrads, Weights, gradient_ld, input_bias,
    product,
};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Mat, gemm};
use crate::random::{Drop, dropout};
use crate::threads::SharedMut;

/// Where things lie in the memory that a forward fills and its backward reads.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    geom: RnnGeom,
    keep: bool,
}

impl Reserve {
    /// With `keep`, what a backward needs is kept; without, memory is used again layer by layer.
    pub fn new(geom: RnnGeom, keep: bool) -> Self {
        Reserve { geom, keep }
    }

    /// Elements of gates of one direction of one layer.
    fn gates_len(&self) -> usize {
        self.geom.rows() * self.geom.mode.width() * self.geom.hidden
    }

    fn cells_len(&self) -> usize {
        if self.geom.mode.has_cell() { self.geom.rows() * self.geom.hidden } else { 0 }
    }

    /// Number of pairs of a layer and a direction that have memory of their own.
    fn runs(&self) -> usize {
        if self.keep { self.geom.layers * self.geom.directions } else { 1 }
    }

    /// Number of outputs of inner layers that have memory of their own.
    fn inner(&self) -> usize {
        let inner = self.geom.layers.saturating_sub(1);
        if self.keep { inner } else { inner.min(2) }
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.runs() * (self.gates_len() + self.cells_len()) + self.inner() * self.geom.out_len()
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn gates(&self, run: usize) -> Range<usize> {
        let start = (run % self.runs()) * self.gates_len();
        start..start + self.gates_len()
    }

    fn cells(&self, run: usize) -> Range<usize> {
        let start = self.runs() * self.gates_len() + (run % self.runs()) * self.cells_len();
        start..start + self.cells_len()
    }

    /// The output of an inner layer.
    fn output(&self, layer: usize) -> Range<usize> {
        let start = self.runs() * (self.gates_len() + self.cells_len())
            + (layer % self.inner().max(1)) * self.geom.out_len();
        start..start + self.geom.out_len()
    }
}

/// Gradients that a backward of a sequence writes; `None` where not wanted.
#[derive(Debug)]
pub struct SequenceGrads<'a, T> {
    /// Of the input.
    pub x: Option<&'a mut [T]>,
    /// Of the first state.
    pub h0: Option<&'a mut [T]>,
    /// Of the first cell state.
    pub c0: Option<&'a mut [T]>,
    /// Of the weights, direction by direction, layer by layer.
    pub weights: Vec<WeightGrads<'a, T>>,
}

/// One direction of one layer.
struct Run<'a, T> {
    geom: &'a RnnGeom,
    input: usize,
    direction: usize,
    weights: &'a Weights<'a, T>,
    h0: Option<&'a [T]>,
    c0: Option<&'a [T]>,
}

impl<'a, T: Float> Run<'a, T> {
    fn new(
        geom: &'a RnnGeom,
        layer: usize,
        direction: usize,
        weights: &'a [Weights<'a, T>],
        h0: Option<&'a [T]>,
        c0: Option<&'a [T]>,
    ) -> Self {
        let run = layer * geom.directions + direction;
        let state = state_range(geom, run);
        Run {
            geom,
            input: geom.layer_input(layer),
            direction,
            weights: &weights[run],
            h0: h0.map(|s| &s[state.clone()]),
            c0: c0.map(|s| &s[state]),
        }
    }

    /// The time of step `k`, and of the step before it.
    fn times(&self, k: usize) -> (usize, Option<usize>) {
        if self.direction == 0 {
            (k, k.checked_sub(1))
        } else {
            let t = self.geom.steps - 1 - k;
            (t, (k > 0).then_some(t + 1))
        }
    }

    /// Rows between the states of one time and the next in a layer's output.
    fn ld(&self) -> usize {
        self.geom.directions * self.geom.hidden
    }

    /// Where the states of a time start in a layer's output.
    fn at(&self, t: usize) -> usize {
        t * self.geom.batch * self.ld() + self.direction * self.geom.hidden
    }

    /// The packed form of a weight pays when several steps use it.
    fn packs(&self) -> bool {
        self.geom.batch > FEW_ROWS && self.geom.steps > 1
    }

    fn forward(
        &self,
        x: &[T],
        gates: &mut [T],
        cells: &mut [T],
        out: &mut [T],
    ) -> Result<(), OutOfMemory> {
        let RnnGeom { mode, batch, hidden, steps, .. } = *self.geom;
        let (w, rows, gru) = (self.weights, steps * batch, mode == super::Mode::Gru);
        let (wide, width) = (mode.gates() * hidden, mode.width() * hidden);
        let (sum, summed) = input_bias(mode, w)?;
        let bias = if summed { sum.as_deref() } else { w.b_ih };
        let w_ih = Mat::row_major(w.w_ih, self.input).t();
        let ep = Epilogue { bias, ..Epilogue::default() };
        let a = Mat::row_major(x, self.input);
        gemm(rows, wide, self.input, a, w_ih, gates, width, &ep)?;

        let mut recurrent = Scratch::new(if gru { batch * wide } else { 0 })?;
        let packed = Packed::new();
        let packed = self.packs().then_some(&packed);
        for k in 0..steps {
            let (t, before) = self.times(k);
            let now = t * batch * width..(t + 1) * batch * width;
            let state = match before {
                Some(p) => Some(Mat::row_major(&out[self.at(p)..], self.ld())),
                None => self.h0.map(|h| Mat::row_major(h, hidden)),
            };
            let w_hh = Mat::row_major(w.w_hh, hidden).t();
            let size = (batch, wide, hidden);
            match state {
                Some(h) if gru => {
                    let ep = Epilogue { bias: w.b_hh, ..Epilogue::default() };
                    product(size, h, w_hh, packed, &mut recurrent, wide, &ep)?;
                }
                Some(h) => {
                    let ep = Epilogue { accumulate: true, ..Epilogue::default() };
                    product(size, h, w_hh, packed, &mut gates[now.clone()], width, &ep)?;
                }
                None if gru => fill_rows(&mut recurrent, wide, w.b_hh),
                None => {}
            }
            let cell = |cells: &[T], t: usize| Rows::new(&cells[t * batch * hidden..], hidden);
            let first = |s: Option<&[T]>| s.map_or(Rows::none(), |s| Rows::new(s, hidden));
            let h_prev = match before {
                Some(p) => Rows::new(&out[self.at(p)..], self.ld()),
                None => first(self.h0),
            };
            let c_prev = match before {
                Some(p) if mode.has_cell() => cell(cells, p),
                Some(_) => Rows::none(),
                None => first(self.c0),
            };
            let step = gates::Forward {
                mode,
                hidden,
                gates: RowsMut::new(&mut gates[now], width),
                recurrent: if gru { Rows::new(&recurrent, wide) } else { Rows::none() },
                h_prev,
                c_prev,
                h: RowsMut::new(&mut out[self.at(t)..], self.ld()),
                c: if mode.has_cell() {
                    RowsMut::new(&mut cells[t * batch * hidden..], hidden)
                } else {
                    RowsMut::none()
                },
            };
            // SAFETY: `sequence_forward` has checked all lengths; the rows of time `t` are no
            // other time's.
            unsafe { gates::forward(step, batch) };
        }
        Ok(())
    }

    /// Copies the states after the last step.
    fn last_state(&self, out: &[T], cells: &[T], h: &mut [T], c: Option<&mut [T]>) {
        let RnnGeom { batch, hidden, steps, .. } = *self.geom;
        let (t, _) = self.times(steps - 1);
        let rows = h.chunks_exact_mut(hidden).enumerate();
        for (i, h) in rows {
            h.copy_from_slice(&out[self.at(t) + i * self.ld()..][..hidden]);
        }
        if let Some(c) = c {
            c.copy_from_slice(&cells[t * batch * hidden..][..batch * hidden]);
        }
    }

    /// Runs the steps backwards. `d` is scratch for gradients of sums; with `to_first`, the gradient of
    /// the states before the first step ends up in `dh` and `dc`.
    fn backward(
        &self,
        (gates, cells, out): (&[T], &[T], &[T]),
        dy: Option<&[T]>,
        (dh, dc): (&mut [T], &mut [T]),
        carried: bool,
        to_first: bool,
        d: &mut [T],
    ) -> Result<(), OutOfMemory> {
        let RnnGeom { mode, batch, hidden, steps, .. } = *self.geom;
        let gru = mode == super::Mode::Gru;
        let (wide, width) = (mode.gates() * hidden, mode.width() * hidden);
        let ld = gradient_ld::<T>(width);
        let packed = Packed::new();
        let packed = self.packs().then_some(&packed);
        let mut carried = carried;
        for k in (0..steps).rev() {
            let (t, before) = self.times(k);
            let now = t * batch;
            let cell = |t: usize| {
                if mode.has_cell() {
                    Rows::new(&cells[t * batch * hidden..], hidden)
                } else {
                    Rows::none()
                }
            };
            let first = |s: Option<&[T]>| s.map_or(Rows::none(), |s| Rows::new(s, hidden));
            let step = gates::Backward {
                mode,
                hidden,
                gates: Rows::new(&gates[now * width..], width),
                h_prev: match before {
                    Some(p) => Rows::new(&out[self.at(p)..], self.ld()),
                    None => first(self.h0),
                },
                c_prev: before.map_or(first(self.c0), cell),
                c: cell(t),
                dy: dy.map_or(Rows::none(), |dy| Rows::new(&dy[self.at(t)..], self.ld())),
                dc_out: Rows::none(),
                carried,
                dh: RowsMut::new(dh, hidden),
                dc: if mode.has_cell() { RowsMut::new(dc, hidden) } else { RowsMut::none() },
                d: RowsMut::new(&mut d[now * ld..], ld),
            };
            // SAFETY: `sequence_backward` has checked all lengths; `dh`, `dc` and `d` are ours.
            unsafe { gates::backward(step, batch) };
            carried = true;
            if k > 0 || to_first {
                let a = Mat::row_major(&d[now * ld..], ld);
                let w_hh = Mat::row_major(self.weights.w_hh, hidden);
                let ep = Epilogue { accumulate: gru, ..Epilogue::default() };
                product((batch, hidden, wide), a, w_hh, packed, dh, hidden, &ep)?;
            }
        }
        Ok(())
    }

    /// Gradients of the weights from those of the sums.
    fn weight_grads(
        &self,
        x: &[T],
        out: &[T],
        d: &[T],
        grads: &mut WeightGrads<T>,
    ) -> Result<(), OutOfMemory> {
        let RnnGeom { mode, batch, hidden, steps, .. } = *self.geom;
        let finish = Finish { mode, rows: steps * batch, input: self.input, hidden, d };
        if let Some(dw) = grads.w_ih.as_deref_mut() {
            finish.w_ih(x, dw, false)?;
        }
        if let Some(dw) = grads.w_hh.as_deref_mut() {
            // Each step's gradient meets the state before it.
            let later = (steps - 1) * batch;
            let (first, state, start) =
                if self.direction == 0 { (batch, 0, 0) } else { (0, 1, later) };
            let h = if later > 0 { &out[self.at(state)..] } else { &[] };
            finish.w_hh(first, later, Mat::row_major(h, self.ld()), dw, false)?;
            if let Some(h0) = self.h0 {
                finish.w_hh(start, batch, Mat::row_major(h0, hidden), dw, true)?;
            }
        }
        finish.biases(grads)
    }
}

/// Writes the same row, or zeros, to all rows.
pub(super) fn fill_rows<T: Float>(rows: &mut [T], len: usize, row: Option<&[T]>) {
    match row {
        Some(row) => rows.chunks_exact_mut(len).for_each(|r| r.copy_from_slice(row)),
        None => rows.fill(T::ZERO),
    }
}

/// The part of a state that belongs to one direction of one layer.
fn state_range(geom: &RnnGeom, run: usize) -> Range<usize> {
    let len = geom.batch * geom.hidden;
    run * len..(run + 1) * len
}

fn check<T: Float>(
    geom: &RnnGeom,
    x: &[T],
    states: [Option<&[T]>; 2],
    weights: &[Weights<T>],
    out: &[T],
) {
    assert!(geom.steps > 0 && geom.hidden > 0 && geom.layers > 0, "rnn: sizes of 0");
    assert!(geom.directions == 1 || geom.directions == 2, "rnn: directions");
    assert!(x.len() == geom.rows() * geom.input, "rnn: length of the input");
    assert!(out.len() == geom.out_len(), "rnn: length of the output");
    let state = geom.state_len();
    assert!(states.iter().flatten().all(|s| s.len() == state), "rnn: length of a state");
    assert!(weights.len() == geom.layers * geom.directions, "rnn: number of weights");
    for (run, w) in weights.iter().enumerate() {
        w.check(geom.mode, geom.layer_input(run / geom.directions), geom.hidden);
    }
}

/// Runs a sequence: input `[steps, batch, input]`, states `[layers · directions, batch, hidden]`
/// (zeros where `None`), output `[steps, batch, directions · hidden]`. The weights stand layer by
/// layer, the forward direction first. `memory` has `reserve.len()` elements.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed weights.
///
/// # Panics
/// If lengths do not fit, or there is no step or no hidden unit.
pub fn sequence_forward<T: Float>(
    x: &[T],
    [h0, c0]: [Option<&[T]>; 2],
    weights: &[Weights<T>],
    out: &mut [T],
    hn: &mut [T],
    mut cn: Option<&mut [T]>,
    reserve: &Reserve,
    memory: &mut [T],
) -> Result<(), OutOfMemory> {
    let geom = &reserve.geom;
    check(geom, x, [h0, c0], weights, out);
    assert!(hn.len() == geom.state_len(), "rnn: length of h_n");
    assert!(cn.as_ref().is_none_or(|c| c.len() == geom.state_len()), "rnn: length of c_n");
    assert!(memory.len() == reserve.len(), "rnn: length of the reserve");
    if geom.batch == 0 {
        return Ok(());
    }
    let memory = SharedMut::new(memory);
    let mut dropped = Scratch::new(dropped_len(geom))?;
    for layer in 0..geom.layers {
        let x = match layer {
            0 => x,
            // SAFETY: gates, cells and the outputs of two layers that follow each other are
            // disjoint parts of the memory.
            _ => unsafe { &*memory.range(reserve.output(layer - 1)) },
        };
        let x = input_of(geom, layer, x, &mut dropped);
        let last = layer + 1 == geom.layers;
        let out: &mut [T] = match last {
            true => out,
            // SAFETY: see above.
            false => unsafe { memory.range(reserve.output(layer)) },
        };
        for direction in 0..geom.directions {
            let run = layer * geom.directions + direction;
            // SAFETY: see above.
            let (gates, cells) =
                unsafe { (memory.range(reserve.gates(run)), memory.range(reserve.cells(run))) };
            let this = Run::new(geom, layer, direction, weights, h0, c0);
            this.forward(x, gates, cells, out)?;
            let state = state_range(geom, run);
            let c = cn.as_deref_mut().map(|c| &mut c[state.clone()]);
            this.last_state(out, cells, &mut hn[state], c);
        }
    }
    Ok(())
}

/// Gradients of [`sequence_forward`], whose output and memory (kept) it reads. `dy`, `dhn` and
/// `dcn` are the gradients of output and last states, zeros where `None`.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for what is computed on the way.
///
/// # Panics
/// If lengths do not fit.
pub fn sequence_backward<T: Float>(
    x: &[T],
    [h0, c0]: [Option<&[T]>; 2],
    weights: &[Weights<T>],
    out: &[T],
    reserve: &Reserve,
    memory: &[T],
    [dy, dhn, dcn]: [Option<&[T]>; 3],
    mut grads: SequenceGrads<T>,
) -> Result<(), OutOfMemory> {
    let geom = &reserve.geom;
    check(geom, x, [h0, c0], weights, out);
    check(geom, x, [dhn, dcn], weights, dy.unwrap_or(out));
    assert!(reserve.keep && memory.len() == reserve.len(), "rnn: length of the reserve");
    assert!(grads.weights.len() == weights.len(), "rnn: number of gradients");
    let bad = |g: &Option<&mut [T]>, len: usize| g.as_ref().is_some_and(|g| g.len() != len);
    assert!(!bad(&grads.x, x.len()), "rnn: length of dx");
    for g in [&grads.h0, &grads.c0] {
        assert!(!bad(g, geom.state_len()), "rnn: length of a state's gradient");
    }
    for (g, w) in grads.weights.iter_mut().zip(weights) {
        g.accumulate = [false; 4];
        g.check(w, geom.mode.gates() * geom.hidden);
    }
    if geom.batch == 0 {
        grads.weights.iter_mut().for_each(WeightGrads::zero);
        return Ok(());
    }
    let state = geom.batch * geom.hidden;
    let ld = gradient_ld::<T>(geom.mode.width() * geom.hidden);
    let mut d = Scratch::new(geom.rows() * ld)?;
    let mut dh = Scratch::new(state)?;
    let mut dc = Scratch::new(if geom.mode.has_cell() { state } else { 0 })?;
    // What a layer hands to the one below: layer l writes to l % 2.
    let inner = |layers: usize| if geom.layers > layers { geom.out_len() } else { 0 };
    let mut between = [Scratch::new(inner(2))?, Scratch::new(inner(1))?];
    let mut dropped = Scratch::new(dropped_len(geom))?;

    for layer in (0..geom.layers).rev() {
        let x = if layer == 0 { x } else { &memory[reserve.output(layer - 1)] };
        let x = input_of(geom, layer, x, &mut dropped);
        let top = layer + 1 == geom.layers;
        let out = if top { out } else { &memory[reserve.output(layer)] };
        let [even, odd] = &mut between;
        let (above, below) = if layer % 2 == 0 { (odd, even) } else { (even, odd) };
        for direction in 0..geom.directions {
            let run = layer * geom.directions + direction;
            let this = Run::new(geom, layer, direction, weights, h0, c0);
            let range = state_range(geom, run);
            let carried = dhn.is_some() || dcn.is_some();
            if carried {
                copy_or_zero(&mut dh, dhn.map(|s| &s[range.clone()]));
                if geom.mode.has_cell() {
                    copy_or_zero(&mut dc, dcn.map(|s| &s[range.clone()]));
                }
            }
            let dy = if top { dy } else { Some(&**above) };
            let parts = (&memory[reserve.gates(run)], &memory[reserve.cells(run)], out);
            this.backward(parts, dy, (&mut dh, &mut dc), carried, grads.h0.is_some(), &mut d)?;
            if let Some(g) = grads.h0.as_deref_mut() {
                g[range.clone()].copy_from_slice(&dh);
            }
            if let Some(g) = grads.c0.as_deref_mut() {
                g[range].copy_from_slice(&dc);
            }
            this.weight_grads(x, out, &d, &mut grads.weights[run])?;
            let (mode, hidden) = (geom.mode, geom.hidden);
            let finish = Finish { mode, rows: geom.rows(), input: this.input, hidden, d: &d };
            let dx = if layer > 0 { Some(&mut **below) } else { grads.x.as_deref_mut() };
            if let Some(dx) = dx {
                finish.input(this.weights.w_ih, None, dx, direction > 0)?;
            }
        }
        if let Some((p, key)) = geom.layer_dropout(layer) {
            dropout(key, Drop::plain(p), below, &mut dropped, None);
            std::mem::swap(below, &mut dropped);
        }
    }
    Ok(())
}

/// Room for one layer's input with dropout.
fn dropped_len(geom: &RnnGeom) -> usize {
    geom.layer_dropout(geom.layers - 1).map_or(0, |_| geom.out_len())
}

/// What a layer reads of the output below it. The mask is drawn, never stored: the backward draws
/// the same one again.
fn input_of<'a, T: Float>(
    geom: &RnnGeom,
    layer: usize,
    x: &'a [T],
    dropped: &'a mut [T],
) -> &'a [T] {
    let Some((p, key)) = geom.layer_dropout(layer) else { return x };
    dropout(key, Drop::plain(p), x, dropped, None);
    dropped
}

fn copy_or_zero<T: Float>(to: &mut [T], from: Option<&[T]>) {
    match from {
        Some(from) => to.copy_from_slice(from),
        None => to.fill(T::ZERO),
    }
}
