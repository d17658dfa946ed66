//! Softmax and log-softmax over the middle dim of (outer, len, inner), forward and backward.
//!
//! Both shift by the maximum, so nothing overflows; a row of -∞ alone gives NaN, as in PyTorch.
//! The gradients need the output only.

use crate::math::{FloatMath, max_nan};
use crate::reduce::{FEW_LANES, exp_sum, lane_fold, sum, sum2};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

/// Columns handled together where the dim is not the last one.
const TILE: usize = 64;

/// One of the four functions, on rows and on tiles of columns.
trait Rows {
    /// One dense row; `a` and `b` are the inputs.
    fn row<A: Arch, T: FloatMath>(a: &[T], b: &[T], out: &mut [T]);
    /// `len` rows of `width <= TILE` columns, `stride` apart.
    fn tile<A: Arch, T: FloatMath>(a: &[T], b: &[T], out: &mut Columns<'_, T>);
}

/// The output of a tile: element (i, j) lies at `at + i * stride + j` of a shared slice.
struct Columns<'a, T> {
    shared: &'a SharedMut<'a, T>,
    at: usize,
    len: usize,
    width: usize,
    stride: usize,
}

impl<T> Columns<'_, T> {
    /// Row `i` of the tile.
    #[inline(always)]
    fn row(&mut self, i: usize) -> &mut [T] {
        let at = self.at + i * self.stride;
        // SAFETY: tiles of one call are disjoint, and `&mut self` lends one row at a time.
        unsafe { self.shared.range(at..at + self.width) }
    }

    /// Row `i` of an input of the same layout.
    #[inline(always)]
    fn of<'b>(&self, x: &'b [T], i: usize) -> &'b [T] {
        &x[self.at + i * self.stride..][..self.width]
    }
}

/// Maximum and Σ e^(x - max) of each column.
#[inline(always)]
fn column_stats<A: Arch, T: FloatMath>(x: &[T], out: &Columns<'_, T>) -> ([T; TILE], [T; TILE]) {
    let (mut max, mut total) = ([T::NEG_INFINITY; TILE], [T::ZERO; TILE]);
    for i in 0..out.len {
        for (m, &x) in max.iter_mut().zip(out.of(x, i)) {
            *m = max_nan(*m, x);
        }
    }
    for i in 0..out.len {
        for ((t, &m), &x) in total.iter_mut().zip(&max).zip(out.of(x, i)) {
            *t += (x - m).exp_normal_::<A>();
        }
    }
    (max, total)
}

/// Σ f(a, b) of each column.
#[inline(always)]
fn column_sums<T: FloatMath>(
    a: &[T],
    b: &[T],
    out: &Columns<'_, T>,
    f: impl Fn(T, T) -> T,
) -> [T; TILE] {
    let mut total = [T::ZERO; TILE];
    for i in 0..out.len {
        for ((t, &a), &b) in total.iter_mut().zip(out.of(a, i)).zip(out.of(b, i)) {
            *t += f(a, b);
        }
    }
    total
}

struct Softmax;
struct LogSoftmax;
struct SoftmaxGrad;
struct LogSoftmaxGrad;

impl Rows for Softmax {
    #[inline(always)]
    fn row<A: Arch, T: FloatMath>(x: &[T], _: &[T], out: &mut [T]) {
        let max = lane_fold::<FEW_LANES, T>(x, T::NEG_INFINITY, max_nan, max_nan);
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (x - max).exp_::<A>();
        }
        let scale = T::ONE / sum(out, |e| e);
        for out in out.iter_mut() {
            *out *= scale;
        }
    }

    #[inline(always)]
    fn tile<A: Arch, T: FloatMath>(x: &[T], _: &[T], out: &mut Columns<'_, T>) {
        let (max, total) = column_stats::<A, T>(x, out);
        for i in 0..out.len {
            let x = out.of(x, i);
            for (((out, &x), &m), &t) in out.row(i).iter_mut().zip(x).zip(&max).zip(&total) {
                *out = (x - m).exp_::<A>() / t;
            }
        }
    }
}

impl Rows for LogSoftmax {
    #[inline(always)]
    fn row<A: Arch, T: FloatMath>(x: &[T], _: &[T], out: &mut [T]) {
        let max = lane_fold::<FEW_LANES, T>(x, T::NEG_INFINITY, max_nan, max_nan);
        let log = T::from_f64(exp_sum::<A, T>(x, max).ln());
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x - max - log;
        }
    }

    #[inline(always)]
    fn tile<A: Arch, T: FloatMath>(x: &[T], _: &[T], out: &mut Columns<'_, T>) {
        let (max, mut total) = column_stats::<A, T>(x, out);
        for t in &mut total {
            *t = t.ln_::<A>();
        }
        for i in 0..out.len {
            let x = out.of(x, i);
            for (((out, &x), &m), &t) in out.row(i).iter_mut().zip(x).zip(&max).zip(&total) {
                *out = x - m - t;
            }
        }
    }
}

impl Rows for SoftmaxGrad {
    #[inline(always)]
    fn row<A: Arch, T: FloatMath>(g: &[T], y: &[T], out: &mut [T]) {
        let dot = sum2(g, y, |g, y| g * y);
        for ((out, &g), &y) in out.iter_mut().zip(g).zip(y) {
            *out = y * (g - dot);
        }
    }

    #[inline(always)]
    fn tile<A: Arch, T: FloatMath>(g: &[T], y: &[T], out: &mut Columns<'_, T>) {
        let dot = column_sums(g, y, out, |g, y| g * y);
        for i in 0..out.len {
            let (g, y) = (out.of(g, i), out.of(y, i));
            for (((out, &g), &y), &d) in out.row(i).iter_mut().zip(g).zip(y).zip(&dot) {
                *out = y * (g - d);
            }
        }
    }
}

impl Rows for LogSoftmaxGrad {
    #[inline(always)]
    fn row<A: Arch, T: FloatMath>(g: &[T], y: &[T], out: &mut [T]) {
        let total = sum(g, |g| g);
        for ((out, &g), &y) in out.iter_mut().zip(g).zip(y) {
            *out = g - y.exp_normal_::<A>() * total;
        }
    }

    #[inline(always)]
    fn tile<A: Arch, T: FloatMath>(g: &[T], y: &[T], out: &mut Columns<'_, T>) {
        let total = column_sums(g, y, out, |g, _| g);
        for i in 0..out.len {
            let (g, y) = (out.of(g, i), out.of(y, i));
            for (((out, &g), &y), &t) in out.row(i).iter_mut().zip(g).zip(y).zip(&total) {
                *out = g - y.exp_normal_::<A>() * t;
            }
        }
    }
}

struct RowsKernel<'a, F, T>(&'a [T], &'a [T], &'a mut [T], usize, F);

impl<F: Rows, T: FloatMath> Kernel for RowsKernel<'_, F, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let len = self.3;
        let inputs = self.0.chunks_exact(len).zip(self.1.chunks_exact(len));
        for ((a, b), out) in inputs.zip(self.2.chunks_exact_mut(len)) {
            F::row::<A, T>(a, b, out);
        }
    }
}

struct TileKernel<'a, F, T>(&'a [T], &'a [T], Columns<'a, T>, F);

impl<F: Rows, T: FloatMath> Kernel for TileKernel<'_, F, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(mut self) {
        F::tile::<A, T>(self.0, self.1, &mut self.2);
    }
}

fn drive<F: Rows + Copy + Sync, T: FloatMath>(
    f: F,
    a: &[T],
    b: &[T],
    [outer, len, inner]: [usize; 3],
    out: &mut [T],
) {
    let size = outer * len * inner;
    assert!(a.len() == size && b.len() == size && out.len() == size, "lengths");
    if size == 0 {
        return;
    }
    let shared = SharedMut::new(out);
    if inner == 1 {
        parallel_rows(outer, 4 * len, |r| {
            let r = r.start * len..r.end * len;
            // SAFETY: ranges of one region are disjoint.
            let out = unsafe { shared.range(r.clone()) };
            dispatch(RowsKernel(&a[r.clone()], &b[r], out, len, f));
        });
        return;
    }
    let tiles = inner.div_ceil(TILE);
    parallel_rows(outer * tiles, 4 * len * TILE.min(inner), |range| {
        for i in range {
            let first = i % tiles * TILE;
            let at = i / tiles * len * inner + first;
            let width = TILE.min(inner - first);
            let columns = Columns { shared: &shared, at, len, width, stride: inner };
            dispatch(TileKernel(a, b, columns, f));
        }
    });
}

macro_rules! public {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),+) = $kind:ident;)*) => {$(
        impl Clone for $kind {
            fn clone(&self) -> Self { *self }
        }
        impl Copy for $kind {}

        $(#[$doc])*
        ///
        /// All slices are dense with `dims` = (outer, len, inner); the function runs along `len`.
        ///
        /// # Panics
        /// If a slice has another length than `dims` say.
        pub fn $name<T: FloatMath>($($arg: &[T]),+, dims: [usize; 3], out: &mut [T]) {
            public!(@call $kind, dims, out, $($arg),+);
        }
    )*};
    (@call $kind:ident, $dims:ident, $out:ident, $a:ident) => { drive($kind, $a, $a, $dims, $out) };
    (@call $kind:ident, $dims:ident, $out:ident, $a:ident, $b:ident) => {
        drive($kind, $a, $b, $dims, $out)
    };
}

public! {
    /// `out = e^x / Σ e^x`.
    softmax(x) = Softmax;
    /// `out = x - ln Σ e^x`.
    log_softmax(x) = LogSoftmax;
    /// The gradient of [`softmax`] from its output: `out = y (g - Σ g y)`.
    softmax_backward(g, y) = SoftmaxGrad;
    /// The gradient of [`log_softmax`] from its output: `out = g - e^y Σ g`.
    log_softmax_backward(g, y) = LogSoftmaxGrad;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FloatMath>(dims: [usize; 3], tolerance: f64) {
        let [outer, len, inner] = dims;
        let n = outer * len * inner;
        let value = |i: usize, k: usize| T::from_f64(((i * k) % 101) as f64 * 0.07 - 3.0);
        let x: Vec<T> = (0..n).map(|i| value(i, 37)).collect();
        let g: Vec<T> = (0..n).map(|i| value(i, 53)).collect();
        let mut out = vec![[T::ZERO; 4]; n];
        let mut run = |k: usize, f: &dyn Fn(&mut [T])| {
            let mut y = vec![T::NAN; n];
            f(&mut y);
            out.iter_mut().zip(&y).for_each(|(o, &y)| o[k] = y);
            y
        };
        let y = run(0, &|out| softmax(&x, dims, out));
        let log = run(1, &|out| log_softmax(&x, dims, out));
        run(2, &|out| softmax_backward(&g, &y, dims, out));
        run(3, &|out| log_softmax_backward(&g, &log, dims, out));
        for o in 0..outer {
            for j in 0..inner {
                let at = |i: usize| o * len * inner + i * inner + j;
                let column = |v: &[T]| (0..len).map(|i| v[at(i)].to_f64()).collect::<Vec<_>>();
                let (x, g) = (column(&x), column(&g));
                let total: f64 = x.iter().map(|x| x.exp()).sum();
                let y: Vec<f64> = x.iter().map(|x| x.exp() / total).collect();
                let dot: f64 = y.iter().zip(&g).map(|(y, g)| y * g).sum();
                let sum: f64 = g.iter().sum();
                for i in 0..len {
                    let want = [y[i], x[i] - total.ln(), y[i] * (g[i] - dot), g[i] - y[i] * sum];
                    for (got, want) in out[at(i)].iter().zip(want) {
                        let gap = (got.to_f64() - want).abs();
                        assert!(gap <= tolerance * (1.0 + want.abs()), "{dims:?} {got:?} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn all_four_agree_with_a_plain_loop() {
        for dims in [[1, 1, 1], [3, 7, 1], [2, 33, 70], [5, 100, 1], [4, 3, 5], [64, 700, 2]] {
            check::<f32>(dims, 3e-6);
            check::<f64>(dims, 1e-12);
        }
        softmax::<f32>(&[], [3, 0, 2], &mut []);
    }

    #[test]
    fn infinities_and_large_values() {
        let inf = f32::INFINITY;
        let mut out = [0.0f32; 3];
        softmax(&[-inf; 3], [1, 3, 1], &mut out);
        assert!(out.iter().all(|v| v.is_nan()));
        softmax(&[-inf, 1000.0, 1000.0], [1, 3, 1], &mut out);
        assert_eq!(out, [0.0, 0.5, 0.5]);
        log_softmax(&[-inf, 1000.0, 1000.0], [1, 3, 1], &mut out);
        assert_eq!(out[0], -inf);
        let mut out = [0.0f32; 4];
        softmax(&[-inf, 1e4, -inf, -1e4], [1, 2, 2], &mut out);
        assert!(out[0].is_nan() && out[2].is_nan() && out[1] == 1.0 && out[3] == 0.0);
    }
}
