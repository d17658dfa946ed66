//! Running sums, products and extremes along a dim of `[outer, len, inner]`.

use crate::element::{Element, Number};
use crate::index::Around;
use crate::simd_fn;
use crate::threads::{SharedMut, parallel_rows};

/// Columns that are scanned side by side, their running values on the stack.
const COLUMNS: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Sum,
    Product,
}

/// Floats add up in f64, integers in their own type.
#[inline(always)]
fn is_float<T: Element>() -> bool {
    T::from_f64(0.5) != T::ZERO
}

#[inline(always)]
fn step(op: Op, a: f64, b: f64) -> f64 {
    if op == Op::Sum { a + b } else { a * b }
}

simd_fn! {
    /// Scans `n` columns of one plane that begin at `x[0]`, neighbours along the dim `inner` apart.
    fn columns<A, (T: Number)>(
        op: Op, reverse: bool, len: usize, inner: usize, n: usize, x: &'x [T], out: &'x SharedMut<'x, T>,
        first: usize,
    ) {
        let start = if op == Op::Sum { 0.0 } else { 1.0 };
        let mut wide = [start; COLUMNS];
        let mut own = [T::from_f64(start); COLUMNS];
        for j in 0..len {
            let j = if reverse { len - 1 - j } else { j };
            let at = j * inner;
            // SAFETY: these columns belong to one task.
            let y = unsafe { out.range(first + at..first + at + n) };
            let x = &x[at..at + n];
            if is_float::<T>() {
                for ((y, &v), a) in y.iter_mut().zip(x).zip(&mut wide) {
                    *a = step(op, *a, v.to_f64());
                    *y = T::from_f64(*a);
                }
            } else {
                for ((y, &v), a) in y.iter_mut().zip(x).zip(&mut own) {
                    *a = if op == Op::Sum { a.add_(v) } else { a.mul_(v) };
                    *y = *a;
                }
            }
        }
    }
}

/// One contiguous lane.
fn lane<T: Number>(op: Op, reverse: bool, x: &[T], y: &mut [T]) {
    let start = if op == Op::Sum { 0.0 } else { 1.0 };
    let (mut wide, mut own) = (start, T::from_f64(start));
    let mut one = |y: &mut T, v: T| {
        if is_float::<T>() {
            wide = step(op, wide, v.to_f64());
            *y = T::from_f64(wide);
        } else {
            own = if op == Op::Sum { own.add_(v) } else { own.mul_(v) };
            *y = own;
        }
    };
    let pairs = y.iter_mut().zip(x);
    if reverse {
        pairs.rev().for_each(|(y, &v)| one(y, v));
    } else {
        pairs.for_each(|(y, &v)| one(y, v));
    }
}

fn scan<T: Number>(op: Op, g: Around, reverse: bool, x: &[T], y: &mut [T]) {
    assert!(x.len() == g.numel() && y.len() == g.numel());
    let y = SharedMut::new(y);
    if g.inner == 1 {
        return parallel_rows(g.outer, 4 * g.len, |r| {
            for o in r {
                let part = o * g.len..(o + 1) * g.len;
                // SAFETY: each lane belongs to one task.
                lane(op, reverse, &x[part.clone()], unsafe { y.range(part) });
            }
        });
    }
    let groups = g.inner.div_ceil(COLUMNS);
    parallel_rows(g.outer * groups, g.len * COLUMNS.min(g.inner), |r| {
        for group in r {
            let column = group % groups * COLUMNS;
            let n = COLUMNS.min(g.inner - column);
            let first = group / groups * g.len * g.inner + column;
            columns(op, reverse, g.len, g.inner, n, &x[first..], &y, first);
        }
    });
}

/// Running sum along the dim, from its end if `reverse` (the gradient of the forward one).
pub fn cumsum<T: Number>(g: Around, reverse: bool, x: &[T], y: &mut [T]) {
    scan(Op::Sum, g, reverse, x, y);
}

/// Running product along the dim, from its end if `reverse`.
pub fn cumprod<T: Number>(g: Around, reverse: bool, x: &[T], y: &mut [T]) {
    scan(Op::Product, g, reverse, x, y);
}

/// Gradient of [`cumprod`]: `dx[i] = sum over j >= i of dy[j] * (product of x[..= j] without
/// x[i])`, with zeros in `x` handled exactly.
pub fn cumprod_backward<T: Number>(g: Around, x: &[T], dy: &[T], dx: &mut [T]) {
    assert!(x.len() == g.numel() && dy.len() == x.len() && dx.len() == x.len());
    for lane in 0..g.outer * g.inner {
        let first = lane / g.inner.max(1) * g.len * g.inner + lane % g.inner.max(1);
        let at = |j: usize| first + j * g.inner;
        // Horner from the end: `tail = dy[i] + x[i + 1] * (dy[i + 1] + x[i + 2] * ...)`.
        let mut tail = 0.0;
        for i in (0..g.len).rev() {
            tail =
                dy[at(i)].to_f64() + if i + 1 < g.len { x[at(i + 1)].to_f64() * tail } else { 0.0 };
            dx[at(i)] = T::from_f64(tail);
        }
        let mut before = 1.0;
        for i in 0..g.len {
            dx[at(i)] = T::from_f64(dx[at(i)].to_f64() * before);
            before *= x[at(i)].to_f64();
        }
    }
}

/// Running maximum (or minimum) along the dim and where it stands; of equals the last, and from a
/// NaN on NaN.
pub fn cum_extreme<T: Element>(
    g: Around,
    max: bool,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) {
    assert!(x.len() == g.numel() && values.len() == x.len() && indices.len() == x.len());
    for o in 0..g.outer {
        for j in 0..g.len {
            for i in 0..g.inner {
                let at = (o * g.len + j) * g.inner + i;
                let v = x[at];
                let take = j == 0 || v.is_nan() || {
                    let best = values[at - g.inner];
                    if max { v >= best } else { v <= best }
                };
                let (value, index) = if take {
                    (v, j as i64)
                } else {
                    (values[at - g.inner], indices[at - g.inner])
                };
                (values[at], indices[at]) = (value, index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_products() {
        for g in [
            Around { outer: 2, len: 7, inner: 3 },
            Around { outer: 5, len: 40, inner: 1 },
            Around { outer: 3, len: 100, inner: 150 },
            Around { outer: 300, len: 300, inner: 1 },
        ] {
            let x: Vec<f64> = (0..g.numel()).map(|i| ((i * 7 % 11) as f64 - 5.0) / 4.0).collect();
            let ints: Vec<i64> = (0..g.numel()).map(|i| (i * 7 % 11) as i64 - 5).collect();
            let (mut sum, mut back, mut prod) = (x.clone(), x.clone(), x.clone());
            let mut int_prod = ints.clone();
            cumsum(g, false, &x, &mut sum);
            cumsum(g, true, &x, &mut back);
            cumprod(g, false, &x, &mut prod);
            cumprod(g, false, &ints, &mut int_prod);
            let xf: Vec<f32> = x.iter().map(|&v| v as f32).collect();
            let mut sumf = xf.clone();
            cumsum(g, false, &xf, &mut sumf);
            for lane in 0..g.outer * g.inner {
                let at = |j| (lane / g.inner * g.len + j) * g.inner + lane % g.inner;
                let (mut s, mut p, mut ip) = (0.0, 1.0, 1i64);
                let total: f64 = (0..g.len).map(|j| x[at(j)]).sum();
                for j in 0..g.len {
                    assert!((back[at(j)] - (total - s)).abs() < 1e-10);
                    s += x[at(j)];
                    p *= x[at(j)];
                    ip = ip.wrapping_mul(ints[at(j)]);
                    assert!((sum[at(j)] - s).abs() < 1e-12 && (prod[at(j)] - p).abs() < 1e-12);
                    assert!((f64::from(sumf[at(j)]) - s).abs() < 1e-5 && int_prod[at(j)] == ip);
                }
            }
        }
    }

    #[test]
    fn gradient_of_the_product() {
        let g = Around { outer: 1, len: 4, inner: 2 };
        let x = [2.0, 1.0, 0.0, 3.0, 4.0, -1.0, 5.0, 0.5];
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let mut dx = [0.0; 8];
        cumprod_backward(g, &x, &dy, &mut dx);
        let f = |x: &[f64]| {
            let mut y = [0.0; 8];
            cumprod(g, false, x, &mut y);
            y.iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>()
        };
        for i in 0..8 {
            let (mut a, mut b) = (x, x);
            a[i] += 1e-4;
            b[i] -= 1e-4;
            assert!((dx[i] - (f(&a) - f(&b)) / 2e-4).abs() < 1e-6);
        }
    }

    #[test]
    fn extremes() {
        let g = Around { outer: 1, len: 5, inner: 1 };
        let (mut v, mut i) = ([0.0f32; 5], [0; 5]);
        cum_extreme(g, true, &[1.0, 3.0, 2.0, 3.0, f32::NAN], &mut v, &mut i);
        assert_eq!((&v[..4], i), (&[1.0, 3.0, 3.0, 3.0][..], [0, 1, 1, 3, 4]));
        assert!(v[4].is_nan());
        cum_extreme(g, false, &[2.0, f32::NAN, 1.0, 5.0, 0.0], &mut v, &mut i);
        assert_eq!(i, [0, 1, 1, 1, 1]);
    }
}
