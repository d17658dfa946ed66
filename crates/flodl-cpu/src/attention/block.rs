//! One block of scores: packing, products by tiles, masks and the passes over its elements.

use std::ops::Range;

use super::{Attention, Mask, TILE, kept};
use crate::element::Float;
use crate::gemm::kernel::{Gemm, Kernel, Tile};
use crate::gemm::pack::{pack, packed_len};
use crate::math::FloatMath;
use crate::simd_fn;

/// An operand of [`product`]: its first element, from a line (a row of A, a column of B) or panel
/// of lines to the next, and along k.
#[derive(Clone, Copy)]
pub(super) struct Side<T> {
    at: *const T,
    line: usize,
    panel: usize,
    step: usize,
}

impl<T> Side<T> {
    /// Panels of `width` lines of `k` values, as [`pack`] makes them.
    pub fn panels(data: &[T], width: usize, k: usize) -> Self {
        Side { at: data.as_ptr(), line: 1, panel: width * k, step: width }
    }

    /// An operand as it lies; `width` lines are a panel.
    pub fn strided(data: &[T], width: usize, line: usize, step: usize) -> Self {
        Side { at: data.as_ptr(), line, panel: width * line, step }
    }
}

/// `C (+)= alpha · A · B` on this thread, C m×n at `c`, rows `ldc` apart.
///
/// # Safety
/// A holds m lines of `k` values and B, whose lines are adjacent, n; packed panels are whole. C is
/// writable (and readable, if accumulating) and nobody else uses its elements.
pub(super) unsafe fn product<T: Gemm>(
    kernel: &Kernel<T>,
    [m, n, k]: [usize; 3],
    a: Side<T>,
    b: Side<T>,
    c: *mut T,
    ldc: usize,
    alpha: T,
    accumulate: bool,
) {
    let mut tile = kernel.tile(k, a.at, b.at, c, ldc);
    tile = Tile { a_row: a.line, a_step: a.step, b_step: b.step, alpha, accumulate, ..tile };
    for (jp, j) in (0..n).step_by(kernel.nr).enumerate() {
        tile.cols = kernel.nr.min(n - j);
        tile.b = b.at.wrapping_add(jp * b.panel);
        for (ip, i) in (0..m).step_by(kernel.mr).enumerate() {
            tile.rows = kernel.mr.min(m - i);
            tile.a = a.at.wrapping_add(ip * a.panel);
            tile.c = c.wrapping_add(i * ldc + j);
            // SAFETY: the tile lies inside the operands and C.
            unsafe { kernel.run(&tile) };
        }
    }
}

/// Packs rows as lines of their elements: the operand of a product over the row's elements.
pub(super) fn pack_rows<T: Gemm>(
    kernel: &Kernel<T>,
    width: usize,
    dst: &mut [T],
    src: &[T],
    row_stride: usize,
    rows: usize,
    len: usize,
) {
    pack(kernel.isa, width, dst, src, row_stride, 1, rows, len);
    // Whole tiles are computed; what lies beyond the last row is 0, not chance.
    let used = packed_len(width, rows, len);
    dst[used..].fill(T::ZERO);
}

/// Packs columns of rows as lines: the operand of a product over rows.
pub(super) fn pack_columns<T: Gemm>(
    kernel: &Kernel<T>,
    dst: &mut [T],
    src: &[T],
    row_stride: usize,
    rows: usize,
    len: usize,
) {
    pack(kernel.isa, kernel.nr, dst, src, 1, row_stride, len, rows);
}

/// Lengths of packed operands of a block of keys.
pub(super) struct Lens {
    /// K by rows.
    pub k: usize,
    /// V by columns.
    pub v: usize,
}

impl Lens {
    pub fn new<T: Gemm>(kernel: &Kernel<T>, keys: usize, width: usize, value_width: usize) -> Self {
        Lens { k: packed_len(kernel.mr, keys, width), v: packed_len(kernel.nr, value_width, keys) }
    }
}

/// Where a block of scores lies: `keys` keys from `key` on and `queries` queries from `query` on
/// of one head.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub head: usize,
    pub query: usize,
    pub queries: usize,
    pub key: usize,
    pub keys: usize,
}

impl Place {
    /// The part of a block of keys that a block of queries sees.
    pub fn new(g: &Attention, head: usize, queries: Range<usize>, key: usize, keys: usize) -> Self {
        let seen = if g.causal { queries.end.saturating_sub(key) } else { keys };
        Place { head, query: queries.start, queries: queries.len(), key, keys: keys.min(seen) }
    }

    /// Elements of a row of the block, the queries filled up to whole tiles.
    pub fn ld(&self) -> usize {
        self.queries.next_multiple_of(TILE)
    }
}

/// Applies mask and causality to a block of scores. `room` has a tile's `TILE * keys` values.
pub(super) fn apply_mask<T: Gemm>(
    g: &Attention,
    mask: &Mask<T>,
    kernel: &Kernel<T>,
    place: &Place,
    s: &mut [T],
    room: &mut [T],
) {
    let ld = place.ld();
    let at = |strides: &[usize; 4]| {
        place.head / g.heads * strides[0]
            + place.head % g.heads * strides[1]
            + place.query * strides[2]
            + place.key * strides[3]
    };
    match mask {
        Mask::None => {}
        Mask::Keep(data, strides) => {
            let data = &data[at(strides)..];
            for (p, row) in s.chunks_exact_mut(ld).take(place.keys).enumerate() {
                if strides[2] == 0 {
                    if data[p * strides[3]] == 0 {
                        row.fill(T::NEG_INFINITY);
                    }
                    continue;
                }
                for (j, score) in row[..place.queries].iter_mut().enumerate() {
                    let keep = data[j * strides[2] + p * strides[3]] != 0;
                    *score = if keep { *score } else { T::NEG_INFINITY };
                }
            }
        }
        Mask::Add(data, strides) => {
            let data = &data[at(strides)..];
            if strides[2] == 0 {
                for (p, row) in s.chunks_exact_mut(ld).take(place.keys).enumerate() {
                    add_value(data[p * strides[3]], row);
                }
            } else {
                for first in (0..place.queries).step_by(TILE) {
                    let count = TILE.min(place.queries - first);
                    let src = &data[first * strides[2]..];
                    let (line, step) = (strides[2], strides[3]);
                    let room = &mut room[..TILE * place.keys];
                    pack(kernel.isa, TILE, room, src, line, step, count, place.keys);
                    add_tile(room, &mut s[first..], ld);
                }
            }
        }
    }
    if g.causal {
        for (p, row) in s.chunks_exact_mut(ld).take(place.keys).enumerate() {
            let hidden = (place.key + p).saturating_sub(place.query).min(ld);
            row[..hidden].fill(T::NEG_INFINITY);
        }
    }
}

/// Multiplies the weights of a block by what dropout makes of them. `room` has `TILE * keys`.
pub(super) fn drop_weights<T: FloatMath>(
    g: &Attention,
    place: &Place,
    s: &mut [T],
    room: &mut [u8],
) {
    let Some((p, key)) = g.dropout else { return };
    let room = &mut room[..TILE * place.keys];
    for first in (0..place.queries).step_by(TILE) {
        g.keep(p, key, place.head, (place.query + first) / TILE, place.key, room);
        keep_tile(T::from_f64(kept(p)), room, &mut s[first..], place.ld());
    }
}

/// One tile's part of a row of a block.
#[inline(always)]
fn part<T>(s: &mut [T], at: usize) -> &mut [T; TILE] {
    s[at..].first_chunk_mut().expect("the scores of a block are padded to whole tiles")
}

simd_fn! {
    fn add_value<A, (T: Float)>(value: T, row: &'x mut [T]) {
        for score in row {
            *score += value;
        }
    }
}

simd_fn! {
    /// Adds a dense tile to a tile of a block.
    fn add_tile<A, (T: Float)>(values: &'x [T], s: &'x mut [T], ld: usize) {
        for (p, values) in values.chunks_exact(TILE).enumerate() {
            for (s, &v) in part(s, p * ld).iter_mut().zip(values) {
                *s += v;
            }
        }
    }
}

simd_fn! {
    fn keep_tile<A, (T: Float)>(factor: T, keep: &'x [u8], s: &'x mut [T], ld: usize) {
        for (p, keep) in keep.chunks_exact(TILE).enumerate() {
            for (s, &k) in part(s, p * ld).iter_mut().zip(keep) {
                *s *= if k != 0 { factor } else { T::ZERO };
            }
        }
    }
}

simd_fn! {
    /// One step of the online softmax: scores become e^(score - maximum so far), `max` and `sum`
    /// take them in, and `rescale` gets what earlier results must be multiplied by.
    pub(super) fn online<A, (T: FloatMath)>(
        s: &'x mut [T],
        keys: usize,
        ld: usize,
        max: &'x mut [T],
        sum: &'x mut [T],
        rescale: &'x mut [T],
    ) {
        for first in (0..ld).step_by(TILE) {
            let old = *part(max, first);
            let mut top = old;
            for p in 0..keys {
                for (m, &s) in top.iter_mut().zip(part(s, p * ld + first).iter()) {
                    *m = s.max_(*m);
                }
            }
            // A query that sees nothing yet: e^-∞ must be 0, not NaN.
            let shift = top.map(|m| if m == T::NEG_INFINITY { T::ZERO } else { m });
            let mut total = [T::ZERO; TILE];
            for p in 0..keys {
                let row = part(s, p * ld + first);
                for j in 0..TILE {
                    let e = (row[j] - shift[j]).exp_normal_::<A>();
                    row[j] = e;
                    total[j] += e;
                }
            }
            let (rescale, sum) = (part(rescale, first), part(sum, first));
            for j in 0..TILE {
                rescale[j] = (old[j] - shift[j]).exp_normal_::<A>();
                sum[j] = sum[j] * rescale[j] + total[j];
            }
            *part(max, first) = top;
        }
    }
}

simd_fn! {
    /// The factor that ends the softmax of a row, in place of its sum, and the logarithm of the
    /// sum of its exponentials, in place of its maximum. For a row that sees nothing they are 0
    /// and +∞, so that its output and gradients are 0, as PyTorch has it.
    pub(super) fn finish<A, (T: FloatMath)>(max: &'x mut [T], sum: &'x mut [T]) {
        for (max, sum) in max.iter_mut().zip(sum) {
            let empty = *sum == T::ZERO;
            *max = if empty { T::INFINITY } else { *max + sum.ln_::<A>() };
            *sum = if empty { T::ZERO } else { T::ONE / *sum };
        }
    }
}

simd_fn! {
    /// Multiplies each dense row by its factor.
    pub(super) fn scale_rows<A, (T: Float)>(rows: &'x mut [T], width: usize, factors: &'x [T]) {
        for (i, &f) in factors.iter().enumerate() {
            for x in &mut rows[i * width..][..width] {
                *x *= f;
            }
        }
    }
}

simd_fn! {
    /// Scores become weights, given the logarithm of each query's sum.
    pub(super) fn weights<A, (T: FloatMath)>(
        s: &'x mut [T],
        keys: usize,
        ld: usize,
        lse: &'x [T],
    ) {
        for row in s.chunks_exact_mut(ld).take(keys) {
            for (s, &l) in row.iter_mut().zip(lse) {
                *s = (*s - l).exp_normal_::<A>();
            }
        }
    }
}

simd_fn! {
    /// `ds = w · (ds - delta) · scale`, the gradient of the scores before their scale, from the
    /// weights and the gradient of the weights.
    pub(super) fn score_gradient<A, (T: Float)>(
        w: &'x [T],
        ds: &'x mut [T],
        keys: usize,
        ld: usize,
        delta: &'x [T],
        scale: T,
    ) {
        for (ds, w) in ds.chunks_exact_mut(ld).zip(w.chunks_exact(ld)).take(keys) {
            for ((ds, &w), &d) in ds.iter_mut().zip(w).zip(delta) {
                *ds = w * (*ds - d) * scale;
            }
        }
    }
}

simd_fn! {
    /// `out[i] = Σ a[i, :] · b[i, :]` of rows of `width` elements.
    pub(super) fn row_dots<A, (T: Float)>(
        a: &'x [T],
        a_stride: usize,
        b: &'x [T],
        b_stride: usize,
        width: usize,
        out: &'x mut [T],
    ) {
        for (i, out) in out.iter_mut().enumerate() {
            let (a, b) = (&a[i * a_stride..][..width], &b[i * b_stride..][..width]);
            *out = crate::reduce::sum2(a, b, |a, b| a * b);
        }
    }
}
