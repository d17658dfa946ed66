//! Embedding tables: rows by index, bags of rows, and their gradients.
//!
//! A gradient is split over rows of the table: every task walks all indices and takes those of its
//! rows, so that a row's contributions add up in the order of the indices on any number of threads.

use std::ops::Range;

use crate::element::{Element, Float};
use crate::simd_fn;
use crate::threads::{GRAIN, SharedMut, available, parallel_for, parallel_rows};

/// `out[j, :] = weight[idx[j], :]` with rows of `width`.
pub fn embedding<T: Element>(weight: &[T], width: usize, idx: &[i64], out: &mut [T]) {
    let rows = weight.len().checked_div(width).unwrap_or(0);
    let g = super::Around { outer: 1, len: rows, inner: width };
    super::index_select(g, weight, idx, out);
}

/// Runs `f(rows, their part of dw)` on a few ranges of table rows.
fn by_rows<T: Send>(
    dw: &mut [T],
    width: usize,
    work: usize,
    f: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    let rows = dw.len().checked_div(width).unwrap_or(0);
    let tasks = if work + dw.len() < 2 * GRAIN { 1 } else { (2 * available()).min(rows).max(1) };
    let step = rows.div_ceil(tasks).max(1);
    let dw = SharedMut::new(dw);
    parallel_for(rows.div_ceil(step), |t| {
        let r = t * step..((t + 1) * step).min(rows);
        // SAFETY: the rows of one region are disjoint.
        let part = unsafe { dw.range(r.start * width..r.end * width) };
        f(r, part);
    });
}

simd_fn! {
    /// Adds rows of `dy` to the rows of `dw` (table rows from `first` on), each divided by how
    /// often its index occurs if `counts` are given.
    fn add_rows<A, (T: Float)>(
        width: usize, first: usize, idx: &'x [i64], skip: Option<i64>, dy: &'x [T],
        counts: &'x [u32], dw: &'x mut [T],
    ) {
        for (&i, dy) in idx.iter().zip(dy.chunks_exact(width)) {
            let at = (i as usize).wrapping_sub(first).wrapping_mul(width);
            if (i as usize) < first || at >= dw.len() || Some(i) == skip {
                continue;
            }
            let dw = &mut dw[at..at + width];
            if counts.is_empty() {
                for (d, &v) in dw.iter_mut().zip(dy) {
                    *d += v;
                }
            } else {
                let scale = T::from_f64(1.0 / f64::from(counts[i as usize]));
                for (d, &v) in dw.iter_mut().zip(dy) {
                    *d += v * scale;
                }
            }
        }
    }
}

/// Gradient of [`embedding`]: `dw [V, width]` is cleared, then gets `dy[j]` added at `idx[j]`.
/// Index `padding_idx` gets nothing; `by_freq` divides by how often an index occurs.
pub fn embedding_backward<T: Float>(
    width: usize,
    idx: &[i64],
    padding_idx: Option<i64>,
    by_freq: bool,
    dy: &[T],
    dw: &mut [T],
) {
    assert_eq!(dy.len(), idx.len() * width);
    let mut counts = Vec::new();
    if by_freq && width > 0 {
        counts.resize(dw.len() / width, 0u32);
        for &i in idx {
            counts[i as usize] += 1;
        }
    }
    by_rows(dw, width, dy.len(), |rows, dw| {
        dw.fill(T::ZERO);
        add_rows(width, rows.start, idx, padding_idx, dy, &counts, dw);
    });
}

/// How a bag's rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bag {
    /// Their sum, weighted where weights are given.
    Sum,
    /// Their mean.
    Mean,
    /// The largest of each column.
    Max,
}

/// The bags of a call: bag `b` holds `idx[offsets[b] .. offsets[b + 1]]`, the last one the rest.
#[derive(Clone, Copy, Debug)]
pub struct BagInput<'a, T> {
    /// Rows of the table.
    pub idx: &'a [i64],
    /// Where each bag begins: not decreasing, from 0 on.
    pub offsets: &'a [i64],
    /// One factor for each index (sum only).
    pub weights: Option<&'a [T]>,
    /// An index that counts as absent.
    pub padding_idx: Option<i64>,
}

impl<T: Float> BagInput<'_, T> {
    /// The positions of bag `b`.
    fn bag(&self, b: usize) -> Range<usize> {
        let end = self.offsets.get(b + 1).map_or(self.idx.len(), |&o| o as usize);
        self.offsets[b] as usize..end
    }

    /// What each of the bag's rows is multiplied by, before its own weight.
    fn scale(&self, mode: Bag, bag: Range<usize>) -> T {
        if mode != Bag::Mean {
            return T::ONE;
        }
        let n = self.idx[bag].iter().filter(|&&i| Some(i) != self.padding_idx).count();
        T::from_f64(1.0 / n.max(1) as f64)
    }
}

/// Columns of a bag that are summed together, in registers.
const COLUMNS: usize = 32;

/// The bag's (weighted) sum of [`COLUMNS`] columns of the table from `column` on.
#[inline(always)]
fn sum_columns<T: Float>(
    table: &[T],
    width: usize,
    column: usize,
    bags: &BagInput<'_, T>,
    bag: Range<usize>,
) -> [T; COLUMNS] {
    let mut sum = [T::ZERO; COLUMNS];
    for at in bag {
        let i = bags.idx[at];
        if Some(i) == bags.padding_idx {
            continue;
        }
        let Some(row) = table[i as usize * width + column..].first_chunk::<COLUMNS>() else {
            break;
        };
        match bags.weights {
            None => {
                for (s, &v) in sum.iter_mut().zip(row) {
                    *s += v;
                }
            }
            Some(weights) => {
                let w = weights[at];
                for (s, &v) in sum.iter_mut().zip(row) {
                    *s += v * w;
                }
            }
        }
    }
    sum
}

simd_fn! {
    fn bag_rows<A, (T: Float)>(
        mode: Bag, table: &'x [T], width: usize, bags: BagInput<'x, T>, rows: Range<usize>,
        out: &'x mut [T], arg: Option<&'x mut [i64]>,
    ) {
        let mut arg = arg;
        for (n, b) in rows.enumerate() {
            let out = &mut out[n * width..(n + 1) * width];
            let mut arg = arg.as_mut().map(|a| &mut a[n * width..(n + 1) * width]);
            out.fill(T::ZERO);
            if let Some(arg) = &mut arg {
                arg.fill(-1);
            }
            let bag = bags.bag(b);
            let scale = bags.scale(mode, bag.clone());
            let mut first = true;
            let mut summed = 0;
            if mode != Bag::Max {
                let (blocks, _) = out.as_chunks_mut::<COLUMNS>();
                for block in blocks {
                    *block = sum_columns(table, width, summed, &bags, bag.clone());
                    for o in block {
                        *o *= scale;
                    }
                    summed += COLUMNS;
                }
            }
            if summed == width {
                continue;
            }
            let out = &mut out[summed..];
            for at in bag {
                let i = bags.idx[at];
                if Some(i) == bags.padding_idx {
                    continue;
                }
                let row = &table[i as usize * width + summed..][..width - summed];
                match (mode, bags.weights) {
                    (Bag::Max, _) => {
                        match &mut arg {
                            Some(arg) => {
                                for ((o, &v), a) in out.iter_mut().zip(row).zip(arg.iter_mut()) {
                                    let take = first | (v > *o);
                                    *o = if take { v } else { *o };
                                    *a = if take { i } else { *a };
                                }
                            }
                            None => {
                                for (o, &v) in out.iter_mut().zip(row) {
                                    *o = if first | (v > *o) { v } else { *o };
                                }
                            }
                        }
                        first = false;
                    }
                    (_, Some(weights)) => {
                        for (o, &v) in out.iter_mut().zip(row) {
                            *o = v.mul_add_::<A>(weights[at], *o);
                        }
                    }
                    (_, None) => {
                        for (o, &v) in out.iter_mut().zip(row) {
                            *o += v;
                        }
                    }
                }
            }
            if mode == Bag::Mean {
                for o in out {
                    *o *= scale;
                }
            }
        }
    }
}

/// One row `out [B, width]` for each bag of rows of `table [V, width]`; an empty bag gives zeros.
/// `arg [B, width]`, which the gradient of `Max` needs, gets the row of each maximum, or -1.
pub fn embedding_bag<T: Float>(
    mode: Bag,
    table: &[T],
    width: usize,
    bags: BagInput<'_, T>,
    out: &mut [T],
    arg: Option<&mut [i64]>,
) {
    let n = bags.offsets.len();
    assert!(out.len() == n * width && arg.as_ref().is_none_or(|a| a.len() == out.len()));
    let cost = (bags.idx.len() / n.max(1) + 1) * width;
    let (out, arg) = (SharedMut::new(out), arg.map(SharedMut::new));
    parallel_rows(n, cost, |r| {
        let part = r.start * width..r.end * width;
        // SAFETY: the bags of one region are disjoint.
        let out = unsafe { out.range(part.clone()) };
        // SAFETY: likewise.
        let arg = arg.as_ref().map(|a| unsafe { a.range(part) });
        bag_rows(mode, table, width, bags, r, out, arg);
    });
}

simd_fn! {
    fn bag_backward_rows<A, (T: Float)>(
        mode: Bag, width: usize, first: usize, bags: BagInput<'x, T>, dy: &'x [T], dw: &'x mut [T],
    ) {
        for (b, dy) in dy.chunks_exact(width).enumerate() {
            let bag = bags.bag(b);
            let scale = bags.scale(mode, bag.clone());
            for at in bag {
                let i = bags.idx[at];
                let to = (i as usize).wrapping_sub(first).wrapping_mul(width);
                if (i as usize) < first || to >= dw.len() || Some(i) == bags.padding_idx {
                    continue;
                }
                let scale = bags.weights.map_or(scale, |w| w[at]);
                for (d, &v) in dw[to..to + width].iter_mut().zip(dy) {
                    *d = v.mul_add_::<A>(scale, *d);
                }
            }
        }
    }
}

/// Gradient of [`embedding_bag`] for the table: `dw [V, width]` is cleared first. `arg` is what
/// the forward call of `Max` wrote; the other modes do not look at it.
pub fn embedding_bag_backward<T: Float>(
    mode: Bag,
    width: usize,
    bags: BagInput<'_, T>,
    dy: &[T],
    arg: &[i64],
    dw: &mut [T],
) {
    assert_eq!(dy.len(), bags.offsets.len() * width);
    let work = if mode == Bag::Max { dy.len() } else { bags.idx.len() * width };
    assert!(mode != Bag::Max || arg.len() == dy.len());
    by_rows(dw, width, work, |rows, dw| {
        dw.fill(T::ZERO);
        if mode != Bag::Max {
            return bag_backward_rows(mode, width, rows.start, bags, dy, dw);
        }
        for (arg, dy) in arg.chunks_exact(width).zip(dy.chunks_exact(width)) {
            for (column, (&a, &d)) in arg.iter().zip(dy).enumerate() {
                if a >= rows.start as i64 && a < rows.end as i64 {
                    dw[(a as usize - rows.start) * width + column] += d;
                }
            }
        }
    });
}

/// Gradient of a weighted sum for its weights: `dweights[j] = dy[bag of j] · table[idx[j]]`.
pub fn embedding_bag_weight_grad<T: Float>(
    table: &[T],
    width: usize,
    bags: BagInput<'_, T>,
    dy: &[T],
    dweights: &mut [T],
) {
    assert!(dweights.len() == bags.idx.len() && dy.len() == bags.offsets.len() * width);
    dweights.fill(T::ZERO);
    if width == 0 {
        return;
    }
    for (b, dy) in dy.chunks_exact(width).enumerate() {
        for at in bags.bag(b) {
            let i = bags.idx[at];
            if Some(i) != bags.padding_idx {
                let row = &table[i as usize * width..][..width];
                dweights[at] = row.iter().zip(dy).map(|(&a, &b)| a * b).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, randint, uniform};

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn rows_and_their_gradient() {
        for (v, width, n) in [(10, 3, 25), (2000, 40, 5000)] {
            let mut idx = vec![0; n];
            randint(Key { seed: 1, offset: 0 }, 0, v as i64, &mut idx);
            let (mut table, mut dy) = (vec![0f64; v * width], vec![0f64; n * width]);
            uniform(Key { seed: 2, offset: 0 }, &mut table);
            uniform(Key { seed: 3, offset: 0 }, &mut dy);
            let mut out = vec![0.0; n * width];
            embedding(&table, width, &idx, &mut out);
            let place = |e: usize| idx[e / width] as usize * width + e % width;
            assert!((0..out.len()).all(|e| out[e] == table[place(e)]));
            for (padding, by_freq) in [(None, false), (Some(3), false), (Some(4), true)] {
                let mut counts = vec![0; v];
                idx.iter().for_each(|&i| counts[i as usize] += 1);
                let mut want = vec![0.0; v * width];
                for e in 0..out.len() {
                    let i = idx[e / width];
                    let n = if by_freq { counts[i as usize] } else { 1 };
                    if Some(i) != padding {
                        want[place(e)] += dy[e] / f64::from(n);
                    }
                }
                let mut dw = vec![9.0; v * width];
                embedding_backward(width, &idx, padding, by_freq, &dy, &mut dw);
                assert!(close(&dw, &want));
            }
        }
    }

    #[test]
    fn bags_and_their_gradients() {
        for (v, width, n, bags) in [(10, 3, 25, 6), (800, 40, 3000, 90)] {
            let mut idx = vec![0; n];
            randint(Key { seed: 1, offset: 0 }, 0, v as i64, &mut idx);
            let mut offsets = vec![0; bags];
            randint(Key { seed: 4, offset: 0 }, 0, n as i64, &mut offsets[1..]);
            offsets.sort_unstable();
            let (mut table, mut dy) = (vec![0f64; v * width], vec![0f64; bags * width]);
            let mut weights = vec![0f64; n];
            uniform(Key { seed: 2, offset: 0 }, &mut table);
            uniform(Key { seed: 3, offset: 0 }, &mut dy);
            uniform(Key { seed: 5, offset: 0 }, &mut weights);
            for (mode, weighted, padding_idx) in [
                (Bag::Sum, false, None),
                (Bag::Sum, true, Some(2)),
                (Bag::Mean, false, Some(2)),
                (Bag::Max, false, Some(2)),
                (Bag::Max, false, None),
            ] {
                let input = BagInput {
                    idx: &idx,
                    offsets: &offsets,
                    weights: weighted.then_some(&weights[..]),
                    padding_idx,
                };
                let (mut want, mut grad) = (vec![0.0; dy.len()], vec![0.0; v * width]);
                let mut want_dweights = vec![0.0; n];
                for b in 0..bags {
                    let end = offsets.get(b + 1).map_or(n, |&o| o as usize);
                    let at: Vec<usize> = (offsets[b] as usize..end)
                        .filter(|&j| Some(idx[j]) != padding_idx)
                        .collect();
                    for c in 0..width {
                        let of = |j: usize| idx[j] as usize * width + c;
                        let d = dy[b * width + c];
                        if mode == Bag::Max {
                            let mut best: Option<usize> = None;
                            for &j in &at {
                                if best.is_none_or(|k| table[of(j)] > table[of(k)]) {
                                    best = Some(j);
                                }
                            }
                            if let Some(j) = best {
                                want[b * width + c] = table[of(j)];
                                grad[of(j)] += d;
                            }
                            continue;
                        }
                        for &j in &at {
                            let mut s = if weighted { weights[j] } else { 1.0 };
                            if mode == Bag::Mean {
                                s /= at.len() as f64;
                            }
                            want[b * width + c] += s * table[of(j)];
                            grad[of(j)] += s * d;
                            want_dweights[j] += table[of(j)] * d;
                        }
                    }
                }
                let mut out = vec![9.0; dy.len()];
                let mut arg = vec![9; dy.len()];
                let mut dw = vec![9.0; v * width];
                embedding_bag(mode, &table, width, input, &mut out, Some(&mut arg));
                embedding_bag_backward(mode, width, input, &dy, &arg, &mut dw);
                assert!(close(&out, &want) && close(&dw, &grad), "{mode:?}");
                embedding_bag(mode, &table, width, input, &mut out, None);
                assert!(close(&out, &want), "{mode:?}");
                if weighted {
                    let mut dweights = vec![9.0; n];
                    embedding_bag_weight_grad(&table, width, input, &dy, &mut dweights);
                    assert!(close(&dweights, &want_dweights));
                }
            }
        }
    }
}
