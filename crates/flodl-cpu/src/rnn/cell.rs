//! One step of a cell, whose weights may be kept packed for the steps to come.

use super::gates::{self, Rows, RowsMut};
use super::sequence::fill_rows;
use super::{Finish, Float, Mode, Packed, WeightGrads, Weights, gradient_ld, input_bias, product};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Mat};

/// Packed forms of a cell's weights, made when first used. They belong to the values the weights
/// had then: whoever changes a weight starts with a new one of these.
pub struct CellWeights<T: 'static> {
    ih: Packed<T>,
    hh: Packed<T>,
    hh_back: Packed<T>,
    ih_back: [Packed<T>; 2],
}

impl<T: Float> CellWeights<T> {
    /// Nothing packed yet.
    pub fn new() -> Self {
        CellWeights {
            ih: Packed::new(),
            hh: Packed::new(),
            hh_back: Packed::new(),
            ih_back: [Packed::new(), Packed::new()],
        }
    }
}

impl<T: Float> Default for CellWeights<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Rows of a state, `ld` apart, so that h and c may lie side by side.
#[derive(Clone, Copy, Debug)]
pub struct State<'a, T> {
    /// From the first row on.
    pub data: &'a [T],
    /// From a row to the next.
    pub ld: usize,
}

impl<T> State<'_, T> {
    fn check(&self, rows: usize, hidden: usize) {
        let len = if rows == 0 { 0 } else { (rows - 1) * self.ld + hidden };
        assert!(self.data.len() >= len && (rows <= 1 || self.ld >= hidden), "rnn: a state");
    }
}

/// Sizes of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellGeom {
    /// The kind of cell.
    pub mode: Mode,
    /// Rows at once.
    pub batch: usize,
    /// Size of the input.
    pub input: usize,
    /// Size of the state.
    pub hidden: usize,
}

impl CellGeom {
    /// Elements of a row of the new state: h, and of an LSTM c beside it.
    pub fn state(&self) -> usize {
        if self.mode.has_cell() { 2 * self.hidden } else { self.hidden }
    }

    /// Elements that a forward keeps for its backward.
    pub fn gates_len(&self) -> usize {
        self.batch * self.mode.width() * self.hidden
    }

    /// Elements from a row of gradients of sums to the next (see [`CellGrads::sums`]).
    pub fn sums_ld<T>(&self) -> usize {
        gradient_ld::<T>(self.mode.width() * self.hidden)
    }

    fn check<T: Float>(
        &self,
        x: &[T],
        states: [Option<State<T>>; 4],
        w: &Weights<T>,
        gates: &[T],
        out: &[T],
    ) {
        let Self { mode, batch, input, hidden } = *self;
        assert!(hidden > 0 && x.len() == batch * input, "rnn: length of the input");
        states.iter().flatten().for_each(|s| s.check(batch, hidden));
        w.check(mode, input, hidden);
        assert!(gates.len() == self.gates_len(), "rnn: length of the gates");
        assert!(out.len() == batch * self.state(), "rnn: length of the state");
    }
}

/// Gradients that a backward of a cell writes; `None` where not wanted.
#[derive(Debug)]
pub struct CellGrads<'a, T> {
    /// Of the input.
    pub x: Option<&'a mut [T]>,
    /// Of the state before, in the form of the new state. It is worked in, so it is always there.
    pub state: &'a mut [T],
    /// Whether the gradient of h before is wanted.
    pub wants_h: bool,
    /// Of the weights.
    pub weights: WeightGrads<'a, T>,
    /// Of the sums that the gates are made of: kept here, `batch` rows of [`CellGeom::sums_ld`],
    /// they give [`cell_weight_grads`] the gradients of the weights over many steps at once.
    pub sums: Option<&'a mut [T]>,
}

fn rows<T>(state: Option<State<T>>) -> Rows<T> {
    state.map_or(Rows::none(), |s| Rows::new(s.data, s.ld))
}

/// One step: input `[batch, input]`, states of `batch` rows (zeros where `None`). `out` gets the
/// new state (see [`CellGeom::state`]), `gates` what the backward needs.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed weights.
///
/// # Panics
/// If lengths do not fit, or there is no hidden unit.
pub fn cell_forward<T: Float>(
    geom: &CellGeom,
    x: &[T],
    [h, c]: [Option<State<T>>; 2],
    w: &Weights<T>,
    packed: Option<&CellWeights<T>>,
    gates: &mut [T],
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    geom.check(x, [h, c, None, None], w, gates, out);
    let CellGeom { mode, batch, input, hidden } = *geom;
    if batch == 0 {
        return Ok(());
    }
    let gru = mode == Mode::Gru;
    let (wide, width, ld) = (mode.gates() * hidden, mode.width() * hidden, geom.state());
    // With a state, its product brings its own bias.
    let (sum, summed) = if h.is_none() { input_bias(mode, w)? } else { (None, false) };
    let bias = if summed { sum.as_deref() } else { w.b_ih };
    let ep = Epilogue { bias, ..Epilogue::default() };
    let w_ih = Mat::row_major(w.w_ih, input).t();
    let a = Mat::row_major(x, input);
    product((batch, wide, input), a, w_ih, packed.map(|p| &p.ih), gates, width, &ep)?;
    let mut recurrent = Scratch::new(if gru { batch * wide } else { 0 })?;
    match h {
        Some(h) => {
            let ep = Epilogue { bias: w.b_hh, accumulate: !gru, ..Epilogue::default() };
            let h = Mat::row_major(h.data, h.ld);
            let w_hh = Mat::row_major(w.w_hh, hidden).t();
            let (to, ldc) = if gru { (&mut *recurrent, wide) } else { (&mut *gates, width) };
            product((batch, wide, hidden), h, w_hh, packed.map(|p| &p.hh), to, ldc, &ep)?;
        }
        None if gru => fill_rows(&mut recurrent, wide, w.b_hh),
        None => {}
    }
    let step = gates::Forward {
        mode,
        hidden,
        gates: RowsMut::new(gates, width),
        recurrent: if gru { Rows::new(&recurrent, wide) } else { Rows::none() },
        h_prev: rows(h),
        c_prev: rows(c),
        h: RowsMut::new(out, ld),
        c: if mode.has_cell() { RowsMut::new(&mut out[hidden..], ld) } else { RowsMut::none() },
    };
    // SAFETY: all lengths were checked above; h and c take different columns of `out`.
    unsafe { gates::forward(step, batch) };
    Ok(())
}

/// Gradients of [`cell_forward`], whose `gates` and `out` it reads; `dh` and `dc` are the
/// gradients of the new state, zeros where `None`.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for what is computed on the way.
///
/// # Panics
/// If lengths do not fit.
pub fn cell_backward<T: Float>(
    geom: &CellGeom,
    x: &[T],
    [h, c]: [Option<State<T>>; 2],
    w: &Weights<T>,
    packed: Option<&CellWeights<T>>,
    (gates, out): (&[T], &[T]),
    [dh, dc]: [Option<State<T>>; 2],
    grads: CellGrads<T>,
) -> Result<(), OutOfMemory> {
    geom.check(x, [h, c, dh, dc], w, gates, out);
    let CellGeom { mode, batch, input, hidden } = *geom;
    let CellGrads { x: dx, state, wants_h, mut weights, sums } = grads;
    assert!(state.len() == out.len(), "rnn: length of the state's gradient");
    assert!(dx.as_ref().is_none_or(|g| g.len() == x.len()), "rnn: length of dx");
    weights.check(w, mode.gates() * hidden);
    if batch == 0 {
        weights.zero();
        return Ok(());
    }
    let (wide, width, ld) = (mode.gates() * hidden, mode.width() * hidden, geom.state());
    let ldd = geom.sums_ld::<T>();
    let mut own = Scratch::new(if sums.is_some() { 0 } else { batch * ldd })?;
    let d = sums.unwrap_or(&mut own);
    assert!(d.len() == batch * ldd, "rnn: length of the sums");
    let step = gates::Backward {
        mode,
        hidden,
        gates: Rows::new(gates, width),
        h_prev: rows(h),
        c_prev: rows(c),
        c: if mode.has_cell() { Rows::new(&out[hidden..], ld) } else { Rows::none() },
        dy: rows(dh),
        dc_out: rows(dc),
        carried: false,
        dh: RowsMut::new(state, ld),
        dc: if mode.has_cell() { RowsMut::new(&mut state[hidden..], ld) } else { RowsMut::none() },
        d: RowsMut::new(d, ldd),
    };
    // SAFETY: all lengths were checked above; dh and dc take different columns of `state`.
    unsafe { gates::backward(step, batch) };
    if wants_h {
        let w_hh = Mat::row_major(w.w_hh, hidden);
        let ep = Epilogue { accumulate: mode == Mode::Gru, ..Epilogue::default() };
        let (a, packed) = (Mat::row_major(d, ldd), packed.map(|p| &p.hh_back));
        product((batch, hidden, wide), a, w_hh, packed, state, ld, &ep)?;
    }
    let finish = Finish { mode, rows: batch, input, hidden, d };
    if let Some(dx) = dx {
        finish.input(w.w_ih, packed.map(|p| &p.ih_back), dx, false)?;
    }
    let [add_ih, add_hh, ..] = weights.accumulate;
    if let Some(dw) = weights.w_ih.as_deref_mut() {
        finish.w_ih(x, dw, add_ih)?;
    }
    if let Some(dw) = weights.w_hh.as_deref_mut() {
        match h {
            Some(h) => finish.w_hh(0, batch, Mat::row_major(h.data, h.ld), dw, add_hh)?,
            None if add_hh => {}
            None => dw.fill(T::ZERO),
        }
    }
    finish.biases(&mut weights)
}

/// Gradients of the weights over `geom.batch` rows, those of one step after the other, from the
/// gradients of the sums, the inputs and the states before (zeros where there was none).
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed panels.
///
/// # Panics
/// If lengths do not fit.
pub fn cell_weight_grads<T: Float>(
    geom: &CellGeom,
    sums: &[T],
    x: &[T],
    h: &[T],
    mut grads: WeightGrads<T>,
) -> Result<(), OutOfMemory> {
    let CellGeom { mode, batch, input, hidden } = *geom;
    assert!(sums.len() == batch * geom.sums_ld::<T>(), "rnn: length of the sums");
    assert!(x.len() == batch * input && h.len() == batch * hidden, "rnn: inputs and states");
    let finish = Finish { mode, rows: batch, input, hidden, d: sums };
    let [add_ih, add_hh, ..] = grads.accumulate;
    if let Some(dw) = grads.w_ih.as_deref_mut() {
        finish.w_ih(x, dw, add_ih)?;
    }
    if let Some(dw) = grads.w_hh.as_deref_mut() {
        finish.w_hh(0, batch, Mat::row_major(h, hidden), dw, add_hh)?;
    }
    finish.biases(&mut grads)
}
