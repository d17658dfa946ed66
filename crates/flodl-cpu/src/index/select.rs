//! Choosing elements by mask or by order.

use crate::element::Element;
use crate::threads::{SharedMut, parallel_rows};

/// Number of elements that are not zero; NaN is not.
pub fn count_nonzero<T: Element>(x: &[T]) -> usize {
    x.iter().map(|&v| usize::from(v != T::ZERO)).sum()
}

/// The multi-index of each non-zero element, in row-major order, as rows of `out [n, rank]` with
/// `n` from [`count_nonzero`].
pub fn nonzero<T: Element>(x: &[T], dims: &[usize], out: &mut [i64]) {
    let rank = dims.len();
    assert_eq!(x.len(), dims.iter().product::<usize>());
    let mut at = 0;
    for (flat, &v) in x.iter().enumerate() {
        if v != T::ZERO {
            let mut rest = flat;
            for (o, &d) in out[at..at + rank].iter_mut().zip(dims).rev() {
                *o = (rest % d) as i64;
                rest /= d;
            }
            at += rank;
        }
    }
    assert_eq!(at, out.len());
}

/// The elements of `x` whose mask is not 0, in order; `out` has [`count_nonzero`] of the mask.
pub fn masked_select<T: Element>(x: &[T], mask: &[u8], out: &mut [T]) {
    assert_eq!(x.len(), mask.len());
    let mut out = out.iter_mut();
    for (&v, &m) in x.iter().zip(mask) {
        if m != 0
            && let Some(o) = out.next()
        {
            *o = v;
        }
    }
}

/// Puts `src`, in order, where the mask is not 0, and leaves the rest; with `y` of zeros the
/// gradient of [`masked_select`].
pub fn masked_scatter<T: Element>(y: &mut [T], mask: &[u8], src: &[T]) {
    assert_eq!(y.len(), mask.len());
    let mut src = src.iter();
    for (y, &m) in y.iter_mut().zip(mask) {
        if m != 0
            && let Some(&v) = src.next()
        {
            *y = v;
        }
    }
}

/// Where each of `values [outer, m]` belongs in the ascending rows `sorted [outer, n]`: before the
/// elements equal to it, or after them if `right`. With one row of boundaries for all values
/// (`shared`) this is `bucketize`.
pub fn searchsorted<T: Element>(
    sorted: &[T],
    n: usize,
    shared: bool,
    values: &[T],
    m: usize,
    right: bool,
    out: &mut [i64],
) {
    assert_eq!(values.len(), out.len());
    if values.is_empty() {
        return;
    }
    let rows = values.len().checked_div(m).unwrap_or(0);
    assert!(sorted.len() == n * if shared { 1 } else { rows } && rows * m == values.len());
    let out = SharedMut::new(out);
    let cost = 8 * (usize::BITS - n.leading_zeros()) as usize;
    parallel_rows(values.len(), cost, |r| {
        // SAFETY: the ranges of one region are disjoint.
        let out = unsafe { out.range(r.clone()) };
        for (o, i) in out.iter_mut().zip(r) {
            let row = if shared { sorted } else { &sorted[i / m * n..(i / m + 1) * n] };
            let v = values[i];
            // NaN belongs at the end, hence no negated comparison.
            *o = row.partition_point(|&s| !if right { s > v } else { s >= v }) as i64;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let x = [0.0, 2.0, f32::NAN, -0.0, 5.0, 0.0];
        assert_eq!(count_nonzero(&x), 3);
        let mut out = [0; 6];
        nonzero(&x, &[2, 3], &mut out);
        assert_eq!(out, [0, 1, 0, 2, 1, 1]);
        let mut picked = [0.0; 2];
        masked_select(&x, &[0, 1, 0, 0, 1, 0], &mut picked);
        assert_eq!(picked, [2.0, 5.0]);
        let mut y = [1.0; 6];
        masked_scatter(&mut y, &[0, 1, 0, 0, 1, 0], &picked);
        assert_eq!(y, [1.0, 2.0, 1.0, 1.0, 5.0, 1.0]);
    }

    #[test]
    fn places_in_sorted_rows() {
        let sorted = [1.0, 3.0, 3.0, 5.0, 0.0, 0.0, 0.0, 9.0];
        let values = [3.0, 6.0, 0.0, 0.0, 10.0, -1.0];
        let mut out = [0; 6];
        searchsorted(&sorted, 4, false, &values, 3, false, &mut out);
        assert_eq!(out, [1, 4, 0, 0, 4, 0]);
        searchsorted(&sorted, 4, false, &values, 3, true, &mut out);
        assert_eq!(out, [3, 4, 0, 3, 4, 0]);
        searchsorted(&sorted[..4], 4, true, &[f64::NAN, 1.0], 2, false, &mut out[..2]);
        assert_eq!(out[..2], [4, 0]);
        searchsorted(&[1i64, 2], 2, true, &[2, 3], 1, true, &mut out[..2]);
        assert_eq!(out[..2], [2, 2]);
    }
}
