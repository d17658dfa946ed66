//! The gradients; scores and weights are computed again, block by block.

use std::ops::Range;

use super::block::{
    Place, Side, apply_mask, drop_weights, pack_columns, pack_rows, product, row_dots,
    score_gradient, weights,
};
use super::{Attention, Grads, KEYS, Mask, PARALLEL, Pieces, QUERIES, Rows, TILE, region};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::kernel::{Gemm, Kernel};
use crate::gemm::pack::packed_len;
use crate::math::FloatMath;
use crate::threads::{SharedMut, available};

/// Gradients of [`super::forward`] from its inputs, its output, `lse` and the gradient of the
/// output.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed operands.
///
/// # Panics
/// If a slice is too short, or a gradient of another length.
pub fn backward<T: FloatMath + Gemm>(
    g: &Attention,
    q: Rows<T>,
    k: Rows<T>,
    v: Rows<T>,
    mask: Mask<T>,
    out: &[T],
    lse: &[T],
    dout: Rows<T>,
    grads: Grads<T>,
) -> Result<(), OutOfMemory> {
    backward_with(Kernel::<T>::best(), g, q, k, v, mask, out, lse, dout, grads)
}

/// Where the rows of a gradient go: (batch, head, row) strides and the first one's place.
struct Target<'a, 'b, T> {
    data: &'b SharedMut<'a, T>,
    at: usize,
    strides: [usize; 3],
    width: usize,
}

impl<T: FloatMath> Target<'_, '_, T> {
    fn start(&self, g: &Attention, head: usize, row: usize) -> usize {
        let [batch, of_head, of_row] = self.strides;
        self.at + head / g.heads * batch + head % g.heads * of_head + row * of_row
    }

    /// The first element of a row of a head, to write to it and the rows after it.
    fn row(&self, g: &Attention, head: usize, row: usize) -> *mut T {
        self.data.as_mut_ptr().wrapping_add(self.start(g, head, row))
    }

    /// Sets rows of a head to 0.
    ///
    /// # Safety
    /// Nobody else uses them.
    unsafe fn clear(&self, g: &Attention, head: usize, rows: Range<usize>) {
        for row in rows {
            let at = self.start(g, head, row);
            // SAFETY: the caller's promise; rows do not overlap.
            unsafe { self.data.range(at..at + self.width) }.fill(T::ZERO);
        }
    }
}

/// [`backward`] with a given kernel.
pub(super) fn backward_with<T: FloatMath + Gemm>(
    kernel: &Kernel<T>,
    g: &Attention,
    q: Rows<T>,
    k: Rows<T>,
    v: Rows<T>,
    mask: Mask<T>,
    out: &[T],
    lse: &[T],
    dout: Rows<T>,
    grads: Grads<T>,
) -> Result<(), OutOfMemory> {
    let (b, h, d, dv) = (g.batch, g.heads, g.width, g.value_width);
    assert!(q.holds(g, g.queries, d), "attention: Q is too short");
    assert!(k.holds(g, g.keys, d), "attention: K is too short");
    assert!(v.holds(g, g.keys, dv), "attention: V is too short");
    assert!(dout.holds(g, g.queries, dv), "attention: the gradient is too short");
    assert_eq!(out.len(), b * h * g.queries * dv, "attention: length of the output");
    assert_eq!(lse.len(), b * h * g.queries, "attention: length of the sums");
    mask.check(g);
    let sizes = [(g.queries, d), (g.keys, d), (g.keys, dv)];
    let all = Inputs { q, k, v, mask, out, lse, dout };
    match grads {
        Grads::Each(wanted) => {
            for (grad, (rows, width)) in wanted.iter().zip(sizes) {
                let fits = grad.as_ref().is_none_or(|grad| grad.len() == b * h * rows * width);
                assert!(fits, "attention: length of a gradient");
            }
            let shared = wanted.map(|grad| grad.map(SharedMut::new));
            let mut sizes = sizes.into_iter();
            let targets = shared.each_ref().map(|grad| {
                let (rows, width) = sizes.next().expect("there are as many sizes as gradients");
                let strides = [rows * h * width, width, h * width];
                grad.as_ref().map(|data| Target { data, at: 0, strides, width })
            });
            run(kernel, g, &all, targets)
        }
        Grads::Joint(joint) => {
            assert!(g.queries == g.keys && d == dv, "attention: sizes of a joint gradient");
            assert_eq!(joint.len(), b * g.keys * 3 * h * d, "attention: length of a gradient");
            let row = 3 * h * d;
            let data = SharedMut::new(joint);
            let target = |i: usize| {
                let strides = [g.keys * row, d, row];
                Some(Target { data: &data, at: i * h * d, strides, width: d })
            };
            run(kernel, g, &all, [target(0), target(1), target(2)])
        }
    }
}

/// What the gradients are computed from.
struct Inputs<'a, T> {
    q: Rows<'a, T>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    mask: Mask<'a, T>,
    out: &'a [T],
    lse: &'a [T],
    dout: Rows<'a, T>,
}

type Targets<'a, 'b, T> = [Option<Target<'a, 'b, T>>; 3];

/// One task: some of a head's keys and queries, and which gradients it gives.
struct Part {
    head: usize,
    keys: Range<usize>,
    queries: Range<usize>,
    of_queries: bool,
    of_keys: bool,
}

fn run<T: FloatMath + Gemm>(
    kernel: &Kernel<T>,
    g: &Attention,
    all: &Inputs<T>,
    targets: Targets<T>,
) -> Result<(), OutOfMemory> {
    let heads = g.batch * g.heads;
    let (of_queries, of_keys) =
        (targets[0].is_some(), targets[1].is_some() || targets[2].is_some());
    let threads = available();
    let parallel = threads > 1 && g.work() >= PARALLEL;
    let (query_blocks, key_blocks) = (g.queries.div_ceil(QUERIES), g.keys.div_ceil(KEYS));
    if !parallel || heads >= threads || query_blocks.max(key_blocks) == 1 {
        return region(parallel, heads, |head| {
            let part = Part { head, keys: 0..g.keys, queries: 0..g.queries, of_queries, of_keys };
            part.run(kernel, g, all, &targets)
        });
    }
    // Few long heads: a task for each block, once by queries and once by keys. The sums are the
    // same as above, in the same order; the scores are computed twice.
    let cut = |i: usize, size: usize, len: usize| i * size..((i + 1) * size).min(len);
    let by_queries = if of_queries { heads * query_blocks } else { 0 };
    let by_keys = if of_keys { heads * key_blocks } else { 0 };
    region(parallel, by_queries + by_keys, |task| {
        let part = if task < by_queries {
            let queries = cut(task % query_blocks, QUERIES, g.queries);
            let head = task / query_blocks;
            Part { head, keys: 0..g.keys, queries, of_queries, of_keys: false }
        } else {
            let task = task - by_queries;
            let keys = cut(task % key_blocks, KEYS, g.keys);
            let head = task / key_blocks;
            Part { head, keys, queries: 0..g.queries, of_queries: false, of_keys }
        };
        part.run(kernel, g, all, &targets)
    })
}

impl Part {
    fn run<T: FloatMath + Gemm>(
        &self,
        kernel: &Kernel<T>,
        g: &Attention,
        all: &Inputs<T>,
        targets: &Targets<T>,
    ) -> Result<(), OutOfMemory> {
        let (head, d, dv) = (self.head, g.width, g.value_width);
        let [dq, dk, d_value] = targets;
        let (dq, dk) =
            (dq.as_ref().filter(|_| self.of_queries), dk.as_ref().filter(|_| self.of_keys));
        let d_value = d_value.as_ref().filter(|_| self.of_keys);
        // Gradients are added to block by block; what no block reaches is 0.
        for (target, rows) in [(dq, &self.queries), (dk, &self.keys), (d_value, &self.keys)] {
            if let Some(target) = target {
                // SAFETY: these rows of this head are this task's.
                unsafe { target.clear(g, head, rows.clone()) };
            }
        }
        let (mr, nr) = (kernel.mr, kernel.nr);
        let keys = KEYS.min(self.keys.len());
        let queries = QUERIES.min(self.queries.len());
        let ld = queries.next_multiple_of(TILE);
        let lens = [
            packed_len(mr, keys, d),     // K by rows
            packed_len(nr, d, keys),     // K by columns
            packed_len(mr, keys, dv),    // V by rows
            packed_len(nr, ld, d),       // Q by rows
            packed_len(nr, d, queries),  // Q by columns
            packed_len(nr, ld, dv),      // dO by rows
            packed_len(nr, dv, queries), // dO by columns
            ld * keys,                   // weights
            ld * keys,                   // gradient of the scores
            ld,                          // sums
            ld,                          // dots
            if matches!(all.mask, Mask::Add(..)) { TILE * keys } else { 0 },
        ];
        let mut scratch = Scratch::<T>::new(lens.iter().sum())?;
        let mut pieces = Pieces::of(&mut scratch);
        let [kr, kc, vr, qr, qc, or, oc, w, ds, lse, delta, room] = lens.map(|n| pieces.take(n));
        let mut keep = Scratch::<u8>::new(if g.dropout.is_some() { TILE * keys } else { 0 })?;

        let (q, k) = (all.q.of_head(g, head), all.k.of_head(g, head));
        let (v, dout) = (all.v.of_head(g, head), all.dout.of_head(g, head));
        let out = Rows::heads_last(all.out, g.queries, g.heads, dv).of_head(g, head);
        let (one, scale) = (T::ONE, T::from_f64(g.scale));
        for key in self.keys.clone().step_by(KEYS) {
            let packed = KEYS.min(self.keys.end - key);
            if g.causal && key >= self.queries.end {
                break;
            }
            pack_rows(kernel, mr, kr, k.from(key), k.stride, packed, d);
            pack_rows(kernel, mr, vr, v.from(key), v.stride, packed, dv);
            if dq.is_some() {
                pack_columns(kernel, kc, k.from(key), k.stride, packed, d);
            }
            for query in self.queries.clone().step_by(QUERIES) {
                let last = (query + QUERIES).min(self.queries.end);
                let place = Place::new(g, head, query..last, key, packed);
                let (n, m, ld) = (place.queries, place.keys, place.ld());
                if m == 0 {
                    continue;
                }
                pack_rows(kernel, nr, &mut qr[..ld * d], q.from(query), q.stride, n, d);
                pack_rows(kernel, nr, &mut or[..ld * dv], dout.from(query), dout.stride, n, dv);
                let first = head * g.queries + query;
                lse[..n].copy_from_slice(&all.lse[first..first + n]);
                lse[n..ld].fill(T::INFINITY);
                let (o, d_o) = (out.from(query), dout.from(query));
                row_dots(o, out.stride, d_o, dout.stride, dv, &mut delta[..n]);
                delta[n..ld].fill(T::ZERO);
                // SAFETY: operands were packed for these sizes, and the blocks have `keys` rows
                // of `ld` elements; the rows of the gradients that are written are this task's.
                unsafe {
                    let (a, b) = (Side::panels(kr, mr, d), Side::panels(qr, nr, d));
                    product(kernel, [m, ld, d], a, b, w.as_mut_ptr(), ld, scale, false);
                    apply_mask(g, &all.mask, kernel, &place, w, room);
                    weights(w, m, ld, &lse[..ld]);
                    let (a, b) = (Side::panels(vr, mr, dv), Side::panels(or, nr, dv));
                    product(kernel, [m, ld, dv], a, b, ds.as_mut_ptr(), ld, one, false);
                    drop_weights(g, &place, ds, &mut keep);
                    score_gradient(w, ds, m, ld, &delta[..ld], scale);
                    if let Some(target) = d_value {
                        drop_weights(g, &place, w, &mut keep);
                        pack_columns(kernel, oc, d_o, dout.stride, n, dv);
                        let (a, b) = (Side::strided(w, mr, ld, 1), Side::panels(oc, nr, n));
                        let (c, ldc) = (target.row(g, head, key), target.strides[2]);
                        product(kernel, [m, dv, n], a, b, c, ldc, one, true);
                    }
                    if let Some(target) = dk {
                        pack_columns(kernel, qc, q.from(query), q.stride, n, d);
                        let (a, b) = (Side::strided(ds, mr, ld, 1), Side::panels(qc, nr, n));
                        let (c, ldc) = (target.row(g, head, key), target.strides[2]);
                        product(kernel, [m, d, n], a, b, c, ldc, one, true);
                    }
                    if let Some(target) = dq {
                        let (a, b) = (Side::strided(ds, mr, 1, ld), Side::panels(kc, nr, packed));
                        let (c, ldc) = (target.row(g, head, query), target.strides[2]);
                        product(kernel, [n, d, m], a, b, c, ldc, one, true);
                    }
                }
            }
        }
        Ok(())
    }
}
