//! The output, and what the gradient needs of the softmax.

use std::ops::Range;

use super::block::{
    Lens, Place, Side, apply_mask, drop_weights, finish, online, pack_columns, pack_rows, product,
    scale_rows,
};
use super::{Attention, KEYS, Mask, PARALLEL, Pieces, QUERIES, Rows, TILE, region};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::kernel::{Gemm, Kernel};
use crate::math::FloatMath;
use crate::simd_fn;
use crate::threads::{SharedMut, available};

/// Attention: `out` gets the rows in the order (batch, query, head), `lse` the logarithm of each
/// row's sum of exponentials in the order (batch, head, query), +∞ for a query that sees no key,
/// whose output is 0.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed operands.
///
/// # Panics
/// If a slice is too short, or an output of another length.
pub fn forward<T: FloatMath + Gemm>(
    g: &Attention,
    q: Rows<T>,
    k: Rows<T>,
    v: Rows<T>,
    mask: Mask<T>,
    out: &mut [T],
    lse: &mut [T],
) -> Result<(), OutOfMemory> {
    forward_with(Kernel::<T>::best(), g, q, k, v, mask, out, lse)
}

/// [`forward`] with a given kernel.
pub(super) fn forward_with<T: FloatMath + Gemm>(
    kernel: &Kernel<T>,
    g: &Attention,
    q: Rows<T>,
    k: Rows<T>,
    v: Rows<T>,
    mask: Mask<T>,
    out: &mut [T],
    lse: &mut [T],
) -> Result<(), OutOfMemory> {
    let heads = g.batch * g.heads;
    assert!(q.holds(g, g.queries, g.width), "attention: Q is too short");
    assert!(k.holds(g, g.keys, g.width), "attention: K is too short");
    assert!(v.holds(g, g.keys, g.value_width), "attention: V is too short");
    assert_eq!(out.len(), heads * g.queries * g.value_width, "attention: length of the output");
    assert_eq!(lse.len(), heads * g.queries, "attention: length of the sums");
    mask.check(g);
    if lse.is_empty() {
        return Ok(());
    }
    if g.keys == 0 || g.width == 0 && g.value_width == 0 {
        out.fill(T::ZERO);
        lse.fill(T::INFINITY);
        return Ok(());
    }
    let parallel = available() > 1 && g.work() >= PARALLEL;
    // A task packs K and V for all its queries, so it has all of a head's, unless there are few.
    let blocks = g.queries.div_ceil(QUERIES);
    let parts = if parallel { (4 * available()).div_ceil(heads).min(blocks) } else { 1 };
    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    region(parallel, heads * parts, |task| {
        let (head, part) = (task / parts, task % parts);
        let (from, to) = (part * blocks / parts, (part + 1) * blocks / parts);
        let queries = from * QUERIES..(to * QUERIES).min(g.queries);
        head_part(kernel, g, (q, k, v), &mask, head, queries, &out, &lse)
    })
}

/// The queries of a range of one head.
fn head_part<T: FloatMath + Gemm>(
    kernel: &Kernel<T>,
    g: &Attention,
    (q, k, v): (Rows<T>, Rows<T>, Rows<T>),
    mask: &Mask<T>,
    head: usize,
    queries: Range<usize>,
    out: &SharedMut<T>,
    lse: &SharedMut<T>,
) -> Result<(), OutOfMemory> {
    let (d, dv) = (g.width, g.value_width);
    let seen = if g.causal { g.keys.min(queries.end) } else { g.keys };
    let block_keys = KEYS.min(seen);
    let block_ld = QUERIES.min(queries.len()).next_multiple_of(TILE);
    let lens = Lens::new(kernel, block_keys, d, dv);
    let room_len = if matches!(mask, Mask::Add(..)) { TILE * block_keys } else { 0 };
    let rows = queries.len().next_multiple_of(TILE);
    let mut scratch = Scratch::new(
        lens.k + lens.v + block_ld * (d + block_keys + 1) + room_len + rows * (dv + 2),
    )?;
    let mut pieces = Pieces::of(&mut scratch);
    let (packed_k, packed_v) = (pieces.take(lens.k), pieces.take(lens.v));
    let (packed_q, s) = (pieces.take(block_ld * d), pieces.take(block_ld * block_keys));
    let (rescale, room) = (pieces.take(block_ld), pieces.take(room_len));
    let (max, sum, o) = (pieces.take(rows), pieces.take(rows), pieces.take(rows * dv));
    let mut keep = Scratch::<u8>::new(if g.dropout.is_some() { TILE * block_keys } else { 0 })?;
    max.fill(T::NEG_INFINITY);
    sum.fill(T::ZERO);

    let (q, k, v) = (q.of_head(g, head), k.of_head(g, head), v.of_head(g, head));
    for key in (0..seen).step_by(KEYS) {
        let packed = KEYS.min(seen - key);
        pack_rows(kernel, kernel.mr, packed_k, k.from(key), k.stride, packed, d);
        pack_columns(kernel, packed_v, v.from(key), v.stride, packed, dv);
        for query in queries.clone().step_by(QUERIES) {
            let place = Place::new(g, head, query..(query + QUERIES).min(queries.end), key, packed);
            if place.keys == 0 {
                continue;
            }
            let (ld, at) = (place.ld(), query - queries.start);
            let packed_q = &mut packed_q[..ld * d];
            pack_rows(kernel, kernel.nr, packed_q, q.from(query), q.stride, place.queries, d);
            let sizes = [place.keys, ld, d];
            let (a, b) =
                (Side::panels(packed_k, kernel.mr, d), Side::panels(packed_q, kernel.nr, d));
            // SAFETY: the panels were packed for these sizes; the block has a row for each key.
            unsafe {
                let scale = T::from_f64(g.scale);
                product(kernel, sizes, a, b, s.as_mut_ptr(), ld, scale, false);
            }
            apply_mask(g, mask, kernel, &place, s, room);
            online(s, place.keys, ld, &mut max[at..][..ld], &mut sum[at..][..ld], rescale);
            drop_weights(g, &place, s, &mut keep);
            let o = &mut o[at * dv..][..place.queries * dv];
            if key > 0 {
                scale_rows(o, dv, &rescale[..place.queries]);
            }
            let sizes = [place.queries, dv, place.keys];
            let a = Side::strided(s, kernel.mr, 1, ld);
            let b = Side::panels(packed_v, kernel.nr, packed);
            // SAFETY: the block has `keys` rows of `ld` weights; `o` has a row for each query.
            unsafe { product(kernel, sizes, a, b, o.as_mut_ptr(), dv, T::ONE, key > 0) };
        }
    }
    finish(max, sum);
    let first = head * g.queries + queries.start;
    // SAFETY: the queries of this part of this head are one task's.
    unsafe { lse.range(first..first + queries.len()) }.copy_from_slice(&max[..queries.len()]);
    let stride = g.heads * dv;
    let first = (head / g.heads * g.queries + queries.start) * stride + head % g.heads * dv;
    write_rows(o, dv, &sum[..queries.len()], out, first, stride);
    Ok(())
}

simd_fn! {
    /// Writes dense rows, each times its factor, `stride` apart.
    fn write_rows<A, (T: FloatMath)>(
        rows: &'x [T],
        width: usize,
        factors: &'x [T],
        out: &'x SharedMut<'x, T>,
        first: usize,
        stride: usize,
    ) {
        for (i, &f) in factors.iter().enumerate() {
            let at = first + i * stride;
            // SAFETY: the rows of this part of this head are one task's.
            let out = unsafe { out.range(at..at + width) };
            for (out, &x) in out.iter_mut().zip(&rows[i * width..][..width]) {
                *out = x * f;
            }
        }
    }
}
