//! Sorting, selection and unique values along a dim of `[outer, len, inner]`.
//!
//! Every value becomes an integer key that orders as the value does, with its position below it in
//! the same word: integers sort fast, and positions that break ties make the order stable. NaN
//! counts as the largest value, as PyTorch has it, and -0 equals 0.

use crate::element::Element;
use crate::index::Around;
use crate::threads::{SharedMut, parallel_rows};

/// A sort key with a position in its low half.
trait Packed: Copy + Ord + Send {
    fn pack<T: Element>(value: T, descending: bool, at: usize) -> Self;
    fn at(self) -> usize;
    /// Sorts keys whose positions ascend.
    fn sort(keys: &mut Vec<Self>) {
        keys.sort_unstable();
    }
}

#[inline(always)]
fn is_float<T: Element>() -> bool {
    T::from_f64(0.5) != T::ZERO
}

impl Packed for u64 {
    /// For types of up to 32 bits.
    #[inline(always)]
    fn pack<T: Element>(value: T, descending: bool, at: usize) -> Self {
        let key = if is_float::<T>() {
            // Adding 0 makes -0 to 0.
            let bits = (value.to_f64() as f32 + 0.0).to_bits();
            let flip = ((bits as i32 >> 31) as u32) | 0x8000_0000;
            if value.is_nan() { u32::MAX } else { bits ^ flip }
        } else {
            value.to_i64() as u32 ^ 0x8000_0000
        };
        u64::from(if descending { !key } else { key }) << 32 | at as u64
    }

    #[inline(always)]
    fn at(self) -> usize {
        self as u32 as usize
    }

    fn sort(keys: &mut Vec<Self>) {
        // Below this, passes over the counters cost more than comparing.
        if keys.len() < 8192 {
            keys.sort_unstable();
        } else {
            radix(keys);
        }
    }
}

impl Packed for u128 {
    #[inline(always)]
    fn pack<T: Element>(value: T, descending: bool, at: usize) -> Self {
        let key = if is_float::<T>() {
            let bits = (value.to_f64() + 0.0).to_bits();
            let flip = ((bits as i64 >> 63) as u64) | 1 << 63;
            if value.is_nan() { u64::MAX } else { bits ^ flip }
        } else if T::from_i64(-1) > T::ZERO {
            value.to_i64() as u64
        } else {
            value.to_i64() as u64 ^ 1 << 63
        };
        u128::from(if descending { !key } else { key }) << 64 | at as u128
    }

    #[inline(always)]
    fn at(self) -> usize {
        self as u64 as usize
    }
}

/// Sorts packed keys whose positions ascend, by the bits of the key that differ at all.
fn radix(keys: &mut Vec<u64>) {
    const BITS: u32 = 11;
    let differ = keys.iter().fold(0, |d, &k| d | (k ^ keys[0])) >> 32;
    let mut other = vec![0; keys.len()];
    let mut shift = 32;
    while shift < 64 {
        if differ >> (shift - 32) == 0 {
            break;
        }
        if differ >> (shift - 32) & ((1 << BITS) - 1) != 0 {
            let digit = |k: u64| (k >> shift) as usize & ((1 << BITS) - 1);
            let mut starts = [0u32; 1 << BITS];
            keys.iter().for_each(|&k| starts[digit(k)] += 1);
            let mut sum = 0;
            for s in &mut starts {
                (*s, sum) = (sum, sum + *s);
            }
            for &k in keys.iter() {
                let to = &mut starts[digit(k)];
                other[*to as usize] = k;
                *to += 1;
            }
            std::mem::swap(keys, &mut other);
        }
        shift += BITS;
    }
}

/// Runs `f(lane's packed keys, where the lane's output begins, distance of its elements)` for
/// every lane along the dim; the output has `out_len` elements in a lane.
fn lanes<T: Element, P: Packed>(
    g: Around,
    out_len: usize,
    descending: bool,
    x: &[T],
    f: impl Fn(&mut Vec<P>, usize, &dyn Fn(usize) -> T) + Sync,
) {
    let cost = g.len * (16 + 4 * (usize::BITS - g.len.leading_zeros()) as usize);
    parallel_rows(g.outer * g.inner, cost, |r| {
        let mut keys: Vec<P> = Vec::with_capacity(g.len);
        for lane in r {
            let (o, i) = (lane / g.inner, lane % g.inner);
            let start = o * g.len * g.inner + i;
            keys.clear();
            if g.inner == 1 {
                let line = &x[start..start + g.len];
                keys.extend(line.iter().enumerate().map(|(at, &v)| P::pack(v, descending, at)));
            } else {
                let line = x[start..].iter().step_by(g.inner).take(g.len);
                keys.extend(line.enumerate().map(|(at, &v)| P::pack(v, descending, at)));
            }
            f(&mut keys, o * out_len * g.inner + i, &|at| x[start + at * g.inner]);
        }
    });
}

/// Where lanes write their values and indices. A lane writes to its own elements alone.
struct Out<'a, T> {
    values: SharedMut<'a, T>,
    indices: SharedMut<'a, i64>,
}

impl<'a, T> Out<'a, T> {
    fn new(values: &'a mut [T], indices: &'a mut [i64], len: usize) -> Self {
        assert!(values.len() == len && indices.len() == len);
        Self { values: SharedMut::new(values), indices: SharedMut::new(indices) }
    }

    /// # Safety
    /// No other task may write to element `at`.
    #[inline(always)]
    unsafe fn put(&self, at: usize, value: T, index: usize) {
        // SAFETY: `range` checks the bounds, the caller promises the rest.
        unsafe {
            self.values.range(at..at + 1)[0] = value;
            self.indices.range(at..at + 1)[0] = index as i64;
        }
    }
}

/// Sorts along the dim, stable in both directions; `indices` says where each value stood.
pub fn sort<T: Element>(
    g: Around,
    descending: bool,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) {
    first(g, g.len, descending, x, values, indices);
}

/// The `k` largest or smallest values along the dim, best first; outputs are `[outer, k, inner]`.
pub fn topk<T: Element>(
    g: Around,
    k: usize,
    largest: bool,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) {
    first(g, k, largest, x, values, indices);
}

fn first<T: Element>(
    g: Around,
    k: usize,
    descending: bool,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) {
    fn run<T: Element, P: Packed>(g: Around, k: usize, descending: bool, x: &[T], out: &Out<T>) {
        lanes(g, k, descending, x, |keys: &mut Vec<P>, to, value| {
            if k < keys.len() {
                keys.select_nth_unstable(k - 1);
                keys[..k].sort_unstable();
            } else {
                P::sort(keys);
            }
            for (j, key) in keys[..k].iter().enumerate() {
                // SAFETY: the element belongs to this lane, and the lane to one task.
                unsafe { out.put(to + j * g.inner, value(key.at()), key.at()) };
            }
        });
    }
    assert!(x.len() == g.numel() && k <= g.len);
    let out = Out::new(values, indices, g.outer * k * g.inner);
    if k == 0 || g.numel() == 0 {
        return;
    }
    if size_of::<T>() <= 4 && g.len <= u32::MAX as usize {
        run::<T, u64>(g, k, descending, x, &out);
    } else {
        run::<T, u128>(g, k, descending, x, &out);
    }
}

/// The `k`-th smallest value along the dim, counted from 0; outputs are `[outer, inner]`.
pub fn kth_value<T: Element>(g: Around, k: usize, x: &[T], values: &mut [T], indices: &mut [i64]) {
    select(g, k, false, x, values, indices);
}

/// The lower median along the dim, NaN where a lane holds one; outputs are `[outer, inner]`.
pub fn median<T: Element>(g: Around, x: &[T], values: &mut [T], indices: &mut [i64]) {
    select(g, g.len.saturating_sub(1) / 2, true, x, values, indices);
}

fn select<T: Element>(
    g: Around,
    k: usize,
    nan_wins: bool,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) {
    fn run<T: Element, P: Packed>(g: Around, k: usize, nan_wins: bool, x: &[T], out: &Out<T>) {
        lanes(g, 1, false, x, |keys: &mut Vec<P>, to, value| {
            let nan = if nan_wins && is_float::<T>() {
                (0..g.len).find(|&at| value(at).is_nan())
            } else {
                None
            };
            let at = nan.unwrap_or_else(|| keys.select_nth_unstable(k).1.at());
            // SAFETY: the element belongs to this lane, and the lane to one task.
            unsafe { out.put(to, value(at), at) };
        });
    }
    assert!(x.len() == g.numel() && (k < g.len || g.outer * g.inner == 0));
    let out = Out::new(values, indices, g.outer * g.inner);
    if size_of::<T>() <= 4 && g.len <= u32::MAX as usize {
        run::<T, u64>(g, k, nan_wins, x, &out);
    } else {
        run::<T, u128>(g, k, nan_wins, x, &out);
    }
}

/// What [`unique`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Unique<T> {
    /// The distinct values.
    pub values: Vec<T>,
    /// For each input element the place of its value.
    pub inverse: Vec<i64>,
    /// How often each value occurs.
    pub counts: Vec<i64>,
}

impl<T: Element> Unique<T> {
    /// Takes the elements in the given order; equal neighbours are one value. NaNs are all
    /// distinct.
    fn of(x: &[T], order: impl Iterator<Item = usize>) -> Self {
        let mut found = Self { values: vec![], inverse: vec![0; x.len()], counts: vec![] };
        for at in order {
            if found.values.last().is_none_or(|&last| last != x[at]) {
                found.values.push(x[at]);
                found.counts.push(0);
            }
            found.inverse[at] = found.values.len() as i64 - 1;
            if let Some(n) = found.counts.last_mut() {
                *n += 1;
            }
        }
        found
    }
}

/// The distinct values of `x` in ascending order.
pub fn unique<T: Element>(x: &[T]) -> Unique<T> {
    fn run<T: Element, P: Packed>(x: &[T]) -> Unique<T> {
        let mut keys: Vec<P> = x.iter().enumerate().map(|(at, &v)| P::pack(v, false, at)).collect();
        P::sort(&mut keys);
        Unique::of(x, keys.into_iter().map(P::at))
    }
    // Integers of a small range fit into half a word whatever their type.
    if size_of::<T>() == 8 && !is_float::<T>() && x.len() <= u32::MAX as usize {
        let (low, high) = x.iter().fold((i64::MAX, i64::MIN), |(low, high), v| {
            (low.min(v.to_i64()), high.max(v.to_i64()))
        });
        // Unsigned numbers beyond `i64` would look negative.
        let sure = T::from_i64(-1) < T::ZERO || low >= 0;
        let span = high.wrapping_sub(low) as u64;
        if sure && low <= high && span <= u64::from(u32::MAX) {
            let pack =
                |(at, v): (usize, &T)| (v.to_i64().wrapping_sub(low) as u64) << 32 | at as u64;
            let mut keys: Vec<u64> = x.iter().enumerate().map(pack).collect();
            Packed::sort(&mut keys);
            return Unique::of(x, keys.into_iter().map(Packed::at));
        }
    }
    if size_of::<T>() <= 4 && x.len() <= u32::MAX as usize {
        run::<T, u64>(x)
    } else {
        run::<T, u128>(x)
    }
}

/// The values of `x` in order, runs of equal ones as one.
pub fn unique_consecutive<T: Element>(x: &[T]) -> Unique<T> {
    Unique::of(x, 0..x.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, randint};
    use std::cmp::Ordering;

    fn order<T: Element>(a: T, b: T) -> Ordering {
        a.partial_cmp(&b).unwrap_or(a.is_nan().cmp(&b.is_nan()))
    }

    fn check<T: Element>(g: Around, x: &[T]) {
        let same = |a: T, b: T| a == b || (a.is_nan() && b.is_nan());
        for descending in [false, true] {
            let (mut v, mut i) = (x.to_vec(), vec![0; x.len()]);
            sort(g, descending, x, &mut v, &mut i);
            let k = g.len.min(3);
            let mut top = vec![T::ZERO; g.outer * k * g.inner];
            let mut top_i = vec![0; top.len()];
            topk(g, k, descending, x, &mut top, &mut top_i);
            let mut one = vec![T::ZERO; g.outer * g.inner];
            let mut one_i = vec![0; one.len()];
            kth_value(g, k - 1, x, &mut one, &mut one_i);
            let (mut med, mut med_i) = (one.clone(), one_i.clone());
            median(g, x, &mut med, &mut med_i);
            for lane in 0..g.outer * g.inner {
                let (o, c) = (lane / g.inner, lane % g.inner);
                let at = |j: usize| (o * g.len + j) * g.inner + c;
                let mut want: Vec<usize> = (0..g.len).collect();
                want.sort_by(|&a, &b| {
                    let by = order(x[at(a)], x[at(b)]);
                    if descending { by.reverse() } else { by }
                });
                for (j, &w) in want.iter().enumerate() {
                    assert_eq!(i[at(j)], w as i64);
                    assert!(same(v[at(j)], x[at(w)]));
                    if j < k {
                        let top_at = (o * k + j) * g.inner + c;
                        assert_eq!(top_i[top_at], w as i64);
                        assert!(same(top[top_at], x[at(w)]));
                    }
                }
                want.sort_by(|&a, &b| order(x[at(a)], x[at(b)]));
                assert!(same(one[lane], x[at(want[k - 1])]));
                let nan = (0..g.len).find(|&j| x[at(j)].is_nan());
                let middle = nan.unwrap_or(want[(g.len - 1) / 2]);
                assert!(same(med[lane], x[at(middle)]));
                assert!(same(x[at(med_i[lane] as usize)], med[lane]));
            }
        }
    }

    #[test]
    fn sorts_and_selects_every_type() {
        for g in [
            Around { outer: 3, len: 50, inner: 4 },
            Around { outer: 1, len: 3000, inner: 1 },
            Around { outer: 1, len: 9000, inner: 1 },
            Around { outer: 200, len: 70, inner: 1 },
            Around { outer: 2, len: 1, inner: 3 },
        ] {
            let mut ints = vec![0; g.numel()];
            randint(Key { seed: 1, offset: 0 }, -40, 40, &mut ints);
            let floats: Vec<f64> = ints
                .iter()
                .enumerate()
                .map(|(n, &i)| match i {
                    -40 => f64::NEG_INFINITY,
                    39 => f64::INFINITY,
                    38 if n % 2 == 0 => f64::NAN,
                    37 => -f64::NAN,
                    0 if n % 2 == 0 => -0.0,
                    i => i as f64 / 3.0,
                })
                .collect();
            check(g, &floats);
            check(g, &floats.iter().map(|&v| v as f32).collect::<Vec<_>>());
            check(g, &floats.iter().map(|&v| half::bf16::from_f64(v)).collect::<Vec<_>>());
            check(g, &ints);
            check(g, &ints.iter().map(|&v| v as i32).collect::<Vec<_>>());
            check(g, &ints.iter().map(|&v| v as u8).collect::<Vec<_>>());
            check(g, &ints.iter().map(|&v| (v as u64) << 10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn unique_values() {
        let got = unique(&[3, 1, 3, 2, 1, 3i64]);
        let want = Unique {
            values: vec![1, 2, 3],
            inverse: vec![2, 0, 2, 1, 0, 2],
            counts: vec![2, 1, 3],
        };
        assert_eq!(got, want);
        let mut many = vec![0; 20_000];
        for (low, high) in [(-3, 900), (-1 << 40, 1 << 40), (i64::MIN, i64::MAX)] {
            randint(Key { seed: 2, offset: 0 }, low, high, &mut many);
            let got = unique(&many);
            let mut sorted = many.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(got.values, sorted);
            assert!(many.iter().zip(&got.inverse).all(|(&v, &i)| sorted[i as usize] == v));
            assert_eq!(got.counts.iter().sum::<i64>(), 20_000);
        }
        assert_eq!(unique(&[u64::MAX, 0, u64::MAX]).values, [0, u64::MAX]);
        assert_eq!(unique(&[0.0f32, -0.0, 1.0]).counts, [2, 1]);
        assert_eq!(unique(&[f32::NAN, 1.0, f32::NAN]).counts, [1, 1, 1]);
        assert_eq!(unique::<f64>(&[]).values, []);
        let runs = unique_consecutive(&[1u8, 1, 2, 1]);
        assert_eq!((runs.values, runs.inverse), (vec![1, 2, 1], vec![0, 0, 1, 2]));
        assert_eq!(runs.counts, [2, 1, 1]);
    }
}
