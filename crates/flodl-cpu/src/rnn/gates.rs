//! One step of a cell besides its matrix products: gates and states, forward and backward.
//!
//! A step's gates are `[batch, width · hidden]` (see [`Mode::width`]). They come in as the sums of
//! the products and leave activated, which is what the backward reads.

use std::ops::Range;

use super::Mode;
use crate::math::FloatMath;
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads;

/// What activating one gate costs, in simple element operations.
const GATE_COST: usize = 12;

/// Rows of `hidden` values, `ld` apart, or none, which counts as zeros.
pub(super) struct Rows<T> {
    ptr: *const T,
    ld: usize,
}

impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Rows<T> {}

// SAFETY: a read-only pointer; `forward` and `backward` are unsafe and say what must be readable.
unsafe impl<T: Sync> Sync for Rows<T> {}
// SAFETY: see above.
unsafe impl<T: Sync> Send for Rows<T> {}

impl<T> Rows<T> {
    pub(super) fn new(data: &[T], ld: usize) -> Self {
        Rows { ptr: data.as_ptr(), ld }
    }

    pub(super) fn none() -> Self {
        Rows { ptr: std::ptr::null(), ld: 0 }
    }

    /// # Safety
    /// Row `i` is there with `n` values, or these rows are none and so is the result.
    #[inline(always)]
    unsafe fn get<'a>(self, i: usize, n: usize) -> Option<&'a [T]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(self.ptr.add(i * self.ld), n) })
    }
}

/// Rows to write, `ld` apart.
pub(super) struct RowsMut<T> {
    ptr: *mut T,
    ld: usize,
}

impl<T> Clone for RowsMut<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for RowsMut<T> {}

// SAFETY: tasks of a region write to different rows.
unsafe impl<T: Send> Sync for RowsMut<T> {}
// SAFETY: see above.
unsafe impl<T: Send> Send for RowsMut<T> {}

impl<T> RowsMut<T> {
    pub(super) fn new(data: &mut [T], ld: usize) -> Self {
        RowsMut { ptr: data.as_mut_ptr(), ld }
    }

    pub(super) fn none() -> Self {
        RowsMut { ptr: std::ptr::null_mut(), ld: 0 }
    }

    /// # Safety
    /// Row `i` is there with `n` values, and nobody else uses it.
    #[inline(always)]
    unsafe fn get<'a>(self, i: usize, n: usize) -> &'a mut [T] {
        if self.ptr.is_null() {
            return &mut [];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.ld), n) }
    }
}

/// The forward of a step.
#[derive(Clone, Copy)]
pub(super) struct Forward<T> {
    pub mode: Mode,
    pub hidden: usize,
    /// Sums of the products in, activated gates out. Of a GRU, the last `hidden` columns get the
    /// recurrent part of the new gate.
    pub gates: RowsMut<T>,
    /// Of a GRU: the recurrent product with its bias, `3 · hidden` columns.
    pub recurrent: Rows<T>,
    pub h_prev: Rows<T>,
    /// Of an LSTM.
    pub c_prev: Rows<T>,
    pub h: RowsMut<T>,
    /// Of an LSTM.
    pub c: RowsMut<T>,
}

/// The backward of a step.
#[derive(Clone, Copy)]
pub(super) struct Backward<T> {
    pub mode: Mode,
    pub hidden: usize,
    /// As the forward left them.
    pub gates: Rows<T>,
    pub h_prev: Rows<T>,
    pub c_prev: Rows<T>,
    pub c: Rows<T>,
    /// Gradient of the step's output, or none.
    pub dy: Rows<T>,
    /// Of an LSTM: gradient of the step's cell state from outside, or none.
    pub dc_out: Rows<T>,
    /// Whether `dh` and `dc` hold gradients that come from the next step.
    pub carried: bool,
    /// Gradient of the state from the next step. A GRU leaves here what goes to the step before
    /// past the products, which the products are then added to.
    pub dh: RowsMut<T>,
    /// Of an LSTM: gradient of the cell state, from the next step in, for the step before out.
    pub dc: RowsMut<T>,
    /// Gradients of the sums. Of a GRU, columns 0..3 · hidden are those of the recurrent product,
    /// and the last `hidden` ones the new gate's of the input product.
    pub d: RowsMut<T>,
}

pub(super) struct Run<S> {
    pub step: S,
    pub rows: Range<usize>,
}

#[cfg(test)]
thread_local! {
    /// Calls of forward and backward on this thread.
    pub(super) static CALLS: std::cell::Cell<[usize; 2]> = const { std::cell::Cell::new([0; 2]) };
}

/// Runs a step's forward over `rows` rows.
///
/// # Safety
/// All rows that the mode uses are there and those written are nobody else's.
pub(super) unsafe fn forward<T: FloatMath>(step: Forward<T>, rows: usize) {
    #[cfg(test)]
    CALLS.set([CALLS.get()[0] + 1, CALLS.get()[1]]);
    let cost = step.hidden * step.mode.gates() * GATE_COST;
    threads::parallel_rows(rows, cost, |rows| dispatch(Run { step, rows }));
}

/// Runs a step's backward over `rows` rows.
///
/// # Safety
/// As for [`forward`].
pub(super) unsafe fn backward<T: FloatMath>(step: Backward<T>, rows: usize) {
    #[cfg(test)]
    CALLS.set([CALLS.get()[0], CALLS.get()[1] + 1]);
    let cost = step.hidden * step.mode.gates() * GATE_COST / 2;
    threads::parallel_rows(rows, cost, |rows| dispatch(Run { step, rows }));
}

impl<T: FloatMath> Kernel for Run<Forward<T>> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let s = self.step;
        let n = s.hidden;
        for i in self.rows {
            // SAFETY: the promise of `forward`'s caller; rows of a region's tasks are disjoint.
            let (gates, h, c) =
                unsafe { (s.gates.get(i, s.mode.width() * n), s.h.get(i, n), s.c.get(i, n)) };
            // SAFETY: likewise.
            let (rec, h_prev, c_prev) =
                unsafe { (s.recurrent.get(i, 3 * n), s.h_prev.get(i, n), s.c_prev.get(i, n)) };
            match s.mode {
                Mode::Tanh => {
                    for (g, h) in gates.iter_mut().zip(h) {
                        *g = g.tanh_::<A>();
                        *h = *g;
                    }
                }
                Mode::Relu => {
                    for (g, h) in gates.iter_mut().zip(h) {
                        // NaN stays NaN.
                        *g = if *g < T::ZERO { T::ZERO } else { *g };
                        *h = *g;
                    }
                }
                Mode::Gru => gru_forward::<A, T>(gates, rec.unwrap_or(&[]), h_prev, h),
                Mode::Lstm => lstm_forward::<A, T>(gates, c_prev, h, c),
            }
        }
    }
}

#[inline(always)]
fn gru_forward<A: Arch, T: FloatMath>(
    gates: &mut [T],
    rec: &[T],
    h_prev: Option<&[T]>,
    h: &mut [T],
) {
    let n = h.len();
    let (r, rest) = gates.split_at_mut(n);
    let (z, rest) = rest.split_at_mut(n);
    let (new, hidden) = rest.split_at_mut(n);
    let (rr, rz, rn) = (&rec[..n], &rec[n..2 * n], &rec[2 * n..3 * n]);
    let hidden = &mut hidden[..n];
    for j in 0..n {
        r[j] = (r[j] + rr[j]).sigmoid_::<A>();
        z[j] = (z[j] + rz[j]).sigmoid_::<A>();
        new[j] = r[j].mul_add_::<A>(rn[j], new[j]).tanh_::<A>();
        hidden[j] = rn[j];
    }
    match h_prev {
        Some(prev) => {
            let prev = &prev[..n];
            for j in 0..n {
                h[j] = z[j].mul_add_::<A>(prev[j] - new[j], new[j]);
            }
        }
        None => {
            for j in 0..n {
                h[j] = new[j] - z[j] * new[j];
            }
        }
    }
}

#[inline(always)]
fn lstm_forward<A: Arch, T: FloatMath>(
    gates: &mut [T],
    c_prev: Option<&[T]>,
    h: &mut [T],
    c: &mut [T],
) {
    let n = h.len();
    let (i, rest) = gates.split_at_mut(n);
    let (f, rest) = rest.split_at_mut(n);
    let (g, o) = rest.split_at_mut(n);
    let (o, c) = (&mut o[..n], &mut c[..n]);
    for j in 0..n {
        i[j] = i[j].sigmoid_::<A>();
        f[j] = f[j].sigmoid_::<A>();
        g[j] = g[j].tanh_::<A>();
        o[j] = o[j].sigmoid_::<A>();
    }
    match c_prev {
        Some(prev) => {
            let prev = &prev[..n];
            for j in 0..n {
                c[j] = f[j].mul_add_::<A>(prev[j], i[j] * g[j]);
            }
        }
        None => {
            for j in 0..n {
                c[j] = i[j] * g[j];
            }
        }
    }
    for j in 0..n {
        h[j] = o[j] * c[j].tanh_::<A>();
    }
}

impl<T: FloatMath> Kernel for Run<Backward<T>> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let s = self.step;
        let (n, width) = (s.hidden, s.mode.width() * s.hidden);
        for i in self.rows {
            // SAFETY: the promise of `backward`'s caller; rows of a region's tasks are disjoint.
            let (dh, dc, d) = unsafe { (s.dh.get(i, n), s.dc.get(i, n), s.d.get(i, width)) };
            // SAFETY: likewise.
            let (gates, h_prev, c_prev) =
                unsafe { (s.gates.get(i, width), s.h_prev.get(i, n), s.c_prev.get(i, n)) };
            // SAFETY: likewise.
            let (c, dy, dc_out) = unsafe { (s.c.get(i, n), s.dy.get(i, n), s.dc_out.get(i, n)) };
            let gates = gates.unwrap_or(&[]);
            // The whole gradient of the step's state first.
            if !s.carried {
                dh.fill(T::ZERO);
                dc.fill(T::ZERO);
            }
            if let Some(dy) = dy {
                dh.iter_mut().zip(dy).for_each(|(dh, &dy)| *dh += dy);
            }
            if let Some(more) = dc_out {
                dc.iter_mut().zip(more).for_each(|(dc, &more)| *dc += more);
            }
            match s.mode {
                Mode::Tanh => {
                    for ((d, &g), &dh) in d.iter_mut().zip(gates).zip(&*dh) {
                        *d = dh * (T::ONE - g * g);
                    }
                }
                Mode::Relu => {
                    for ((d, &g), &dh) in d.iter_mut().zip(gates).zip(&*dh) {
                        *d = if g > T::ZERO { dh } else { T::ZERO };
                    }
                }
                Mode::Gru => gru_backward(gates, h_prev, dh, d),
                Mode::Lstm => lstm_backward::<A, T>(gates, c.unwrap_or(&[]), c_prev, dh, dc, d),
            }
        }
    }
}

#[inline(always)]
fn gru_backward<T: FloatMath>(gates: &[T], h_prev: Option<&[T]>, dh: &mut [T], d: &mut [T]) {
    let n = dh.len();
    let (r, z) = (&gates[..n], &gates[n..2 * n]);
    let (new, hidden) = (&gates[2 * n..3 * n], &gates[3 * n..4 * n]);
    let (dr, rest) = d.split_at_mut(n);
    let (dz, rest) = rest.split_at_mut(n);
    let (dhidden, dnew) = rest.split_at_mut(n);
    let dnew = &mut dnew[..n];
    match h_prev {
        Some(prev) => {
            let prev = &prev[..n];
            for j in 0..n {
                dz[j] = prev[j] - new[j];
            }
        }
        None => {
            for j in 0..n {
                dz[j] = -new[j];
            }
        }
    }
    for j in 0..n {
        let g = dh[j];
        let dn = g * (T::ONE - z[j]) * (T::ONE - new[j] * new[j]);
        dnew[j] = dn;
        dhidden[j] = dn * r[j];
        dr[j] = dn * hidden[j] * r[j] * (T::ONE - r[j]);
        dz[j] *= g * z[j] * (T::ONE - z[j]);
        dh[j] = g * z[j];
    }
}

#[inline(always)]
fn lstm_backward<A: Arch, T: FloatMath>(
    gates: &[T],
    c: &[T],
    c_prev: Option<&[T]>,
    dh: &[T],
    dc: &mut [T],
    d: &mut [T],
) {
    let n = dh.len();
    let (i, f) = (&gates[..n], &gates[n..2 * n]);
    let (g, o) = (&gates[2 * n..3 * n], &gates[3 * n..4 * n]);
    let (di, rest) = d.split_at_mut(n);
    let (df, rest) = rest.split_at_mut(n);
    let (dg, d_o) = rest.split_at_mut(n);
    let (c, dc, d_o) = (&c[..n], &mut dc[..n], &mut d_o[..n]);
    for j in 0..n {
        let t = c[j].tanh_::<A>();
        let through = dh[j] * o[j];
        d_o[j] = through * t * (T::ONE - o[j]);
        let dcj = (through * (T::ONE - t * t)) + dc[j];
        di[j] = dcj * g[j] * i[j] * (T::ONE - i[j]);
        dg[j] = dcj * i[j] * (T::ONE - g[j] * g[j]);
        // The forget gate's part lacks its factor, the cell state before.
        df[j] = dcj * f[j] * (T::ONE - f[j]);
        dc[j] = dcj * f[j];
    }
    match c_prev {
        Some(prev) => df.iter_mut().zip(prev).for_each(|(df, &prev)| *df *= prev),
        None => df.fill(T::ZERO),
    }
}
