//! Weighted sums of several matrices, each row with weights of its own, and their gradients: one
//! pass over the data where single operations would write every product to memory.

use crate::element::Float;
use crate::reduce::sum2;
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

/// `out[r, :] = Σ weights[r, e] · parts[e][r, :]` for parts and output `[rows, columns]` and
/// weights `[rows, parts]`, added in the order of the parts.
///
/// # Panics
/// When a length does not fit.
pub fn mix<T: Float>(columns: usize, weights: &[T], parts: &[&[T]], out: &mut [T]) {
    let rows = out.len().checked_div(columns).unwrap_or(0);
    assert!(out.len() == rows * columns && weights.len() >= rows * parts.len());
    assert!(parts.iter().all(|p| p.len() == out.len()));
    let shared = SharedMut::new(out);
    parallel_rows(rows, columns * parts.len().max(1), |range| {
        // SAFETY: the ranges of rows are disjoint.
        let out = unsafe { shared.range(range.start * columns..range.end * columns) };
        dispatch(Mix { first: range.start, columns, weights, parts, out });
    });
}

struct Mix<'a, T> {
    first: usize,
    columns: usize,
    weights: &'a [T],
    parts: &'a [&'a [T]],
    out: &'a mut [T],
}

impl<T: Float> Kernel for Mix<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<A: Arch>(self) {
        let Mix { first, columns, weights, parts, out } = self;
        for (r, out) in out.chunks_exact_mut(columns).enumerate() {
            let row = first + r;
            out.fill(T::ZERO);
            for (part, &w) in parts.iter().zip(&weights[row * parts.len()..]) {
                for (y, &x) in out.iter_mut().zip(&part[row * columns..][..columns]) {
                    *y = x.mul_add_::<A>(w, *y);
                }
            }
        }
    }
}

/// The gradients of [`mix`] for part `index` of `parts`: `dpart[r, :] = weights[r, index] · dy[r, :]`
/// and `dweights[r, index] = Σ dy[r, :] · part[r, :]`. Calls for all the parts fill `dweights`.
///
/// # Panics
/// When a length does not fit.
pub fn mix_backward<T: Float>(
    columns: usize,
    [parts, index]: [usize; 2],
    weights: &[T],
    part: &[T],
    dy: &[T],
    dpart: Option<&mut [T]>,
    dweights: Option<&mut [T]>,
) {
    let rows = dy.len().checked_div(columns).unwrap_or(0);
    assert!(index < parts && dy.len() == rows * columns && part.len() == dy.len());
    assert!(weights.len() >= rows * parts);
    assert!(dpart.as_ref().is_none_or(|d| d.len() == dy.len()));
    assert!(dweights.as_ref().is_none_or(|d| d.len() >= rows * parts));
    let dpart = dpart.map(SharedMut::new);
    let dweights = dweights.map(SharedMut::new);
    parallel_rows(rows, 2 * columns, |range| {
        for row in range {
            let at = row * columns..(row + 1) * columns;
            let (g, x) = (&dy[at.clone()], &part[at.clone()]);
            if let Some(dpart) = &dpart {
                // SAFETY: the ranges of rows are disjoint.
                let out = unsafe { dpart.range(at) };
                dispatch(Scale { by: weights[row * parts + index], x: g, out });
            }
            if let Some(dweights) = &dweights {
                let at = row * parts + index;
                // SAFETY: the ranges of rows are disjoint.
                let cell = unsafe { dweights.range(at..at + 1) };
                cell[0] = dispatch(Dot { x: g, y: x });
            }
        }
    });
}

struct Scale<'a, T> {
    by: T,
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Float> Kernel for Scale<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<A: Arch>(self) {
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            *y = x * self.by;
        }
    }
}

struct Dot<'a, T> {
    x: &'a [T],
    y: &'a [T],
}

impl<T: Float> Kernel for Dot<'_, T> {
    type Out = T;

    #[inline(always)]
    fn run<A: Arch>(self) -> T {
        sum2(self.x, self.y, |x, y| x * y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Avx2, Avx512, Baseline};

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + seed * 104729) % 1009) as f64 / 504.5 - 1.0).collect()
    }

    fn near(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < tolerance, "{a} {b}");
        }
    }

    #[test]
    fn as_written_out() {
        for (rows, columns, n) in [(0, 4, 2), (1, 1, 1), (3, 5, 2), (7, 33, 4), (300, 130, 8)] {
            let weights = numbers(rows * n, 1);
            let parts: Vec<Vec<f64>> = (0..n).map(|e| numbers(rows * columns, e + 2)).collect();
            let views: Vec<&[f64]> = parts.iter().map(Vec::as_slice).collect();
            let dy = numbers(rows * columns, 99);
            let mut want = vec![0.0; rows * columns];
            let mut want_dw = vec![0.0; rows * n];
            for (i, y) in want.iter_mut().enumerate() {
                for (e, part) in parts.iter().enumerate() {
                    *y += weights[i / columns * n + e] * part[i];
                    want_dw[i / columns * n + e] += dy[i] * part[i];
                }
            }
            let mut got = vec![f64::NAN; rows * columns];
            mix(columns, &weights, &views, &mut got);
            near(&got, &want, 1e-12);
            let mut dw = vec![f64::NAN; rows * n];
            for (e, part) in parts.iter().enumerate() {
                let mut dpart = vec![f64::NAN; rows * columns];
                mix_backward(columns, [n, e], &weights, part, &dy, Some(&mut dpart), Some(&mut dw));
                let want: Vec<f64> =
                    dy.iter().enumerate().map(|(i, g)| g * weights[i / columns * n + e]).collect();
                near(&dpart, &want, 1e-15);
            }
            near(&dw, &want_dw, 1e-12);
            let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            let narrow: Vec<Vec<f32>> = parts.iter().map(|p| single(p)).collect();
            let views: Vec<&[f32]> = narrow.iter().map(Vec::as_slice).collect();
            let mut got = vec![f32::NAN; rows * columns];
            mix(columns, &single(&weights), &views, &mut got);
            near(&got.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), &want, 1e-5);
        }
    }

    #[test]
    fn on_every_instruction_set() {
        let (columns, weights) = (37, numbers(2 * 3, 1));
        let parts: Vec<Vec<f64>> = (0..3).map(|e| numbers(2 * columns, e + 2)).collect();
        let views: Vec<&[f64]> = parts.iter().map(Vec::as_slice).collect();
        let mut want = vec![0.0; 2 * columns];
        mix(columns, &weights, &views, &mut want);
        let mut got = vec![0.0; 2 * columns];
        let mut check = |run: fn(Mix<'_, f64>)| {
            got.fill(f64::NAN);
            run(Mix { first: 0, columns, weights: &weights, parts: &views, out: &mut got });
            near(&got, &want, 1e-12);
        };
        check(|m| m.run::<Baseline>());
        // Compiled for the baseline, their bodies run everywhere.
        check(|m| m.run::<Avx2>());
        check(|m| m.run::<Avx512>());
    }

    #[test]
    #[should_panic]
    fn short_parts_are_refused() {
        mix(2, &[1.0f32, 1.0], &[&[1.0, 2.0], &[1.0]], &mut [0.0, 0.0]);
    }
}
