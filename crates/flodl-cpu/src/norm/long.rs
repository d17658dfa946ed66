//! Batch norm's passes over long pieces: S elements of one channel in one image.

use std::ops::Range;

use super::batch::{FACTORS, before_relu, output};
use crate::math::FloatMath;
use crate::reduce::{SHORT, long_sum, sum, sum2};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

/// Values whose gradients before a ReLU are kept at hand.
const PART: usize = 1024;

/// Fills two sums for each of `pieces` pieces of `s` elements, a range of pieces at a time.
pub(super) fn each_piece(
    pieces: usize,
    s: usize,
    sums: &mut [f64],
    f: impl Fn(Range<usize>, &mut [f64]) + Sync,
) {
    let sums = SharedMut::new(sums);
    parallel_rows(pieces, 2 * s, |r| {
        // SAFETY: ranges of one region are disjoint.
        let out = unsafe { sums.range(2 * r.start..2 * r.end) };
        f(r, out);
    });
}

/// Mean and Σ (x - mean)² of each piece.
pub(super) struct Moments<'a, T> {
    pub x: &'a [T],
    pub s: usize,
    pub out: &'a mut [f64],
}

impl<T: FloatMath> Kernel for Moments<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for (x, out) in self.x.chunks_exact(self.s).zip(self.out.chunks_exact_mut(2)) {
            // Pieces are short: block by block they would take a fifth longer (bench: `elem_bench
            // batch_norm`).
            let total = long_sum(x, |x| x);
            let mean = T::from_f64(total / self.s as f64);
            let squares = long_sum(x, |x| (x - mean) * (x - mean));
            // About the exact mean, not the rounded one.
            let off = total / self.s as f64 - mean.to_f64();
            out[0] = total / self.s as f64;
            out[1] = squares - self.s as f64 * off * off;
        }
    }
}

/// Σ g and Σ g (x - mean) of a piece.
pub(super) struct Dots<'a, T, const RELU: bool> {
    pub g: &'a [T],
    pub x: &'a [T],
    pub mean: T,
    /// Factor and summand of the outputs, if a ReLU stands behind them.
    pub affine: [T; 2],
    pub out: &'a mut [f64],
}

impl<T: FloatMath, const RELU: bool> Kernel for Dots<'_, T, RELU> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self { g, x, mean, affine: [scale, shift], out } = self;
        (out[0], out[1]) = (0.0, 0.0);
        if !RELU {
            for (g, x) in g.chunks(SHORT).zip(x.chunks(SHORT)) {
                out[0] += sum(g, |g| g).to_f64();
                out[1] += sum2(g, x, |g, x| g * (x - mean)).to_f64();
            }
            return;
        }
        // In two steps: of a fold that also selects, the compiler makes vectors of two values.
        let mut before = [T::ZERO; PART];
        for (g, x) in g.chunks(PART).zip(x.chunks(PART)) {
            let before = &mut before[..g.len()];
            for ((before, &g), &x) in before.iter_mut().zip(g).zip(x) {
                *before = before_relu::<A, T, RELU>(g, x, scale, shift);
            }
            out[0] += sum(before, |g| g).to_f64();
            out[1] += sum2(before, x, |g, x| g * (x - mean)).to_f64();
        }
    }
}

struct Affine<'a, T, const RELU: bool>(&'a [T], [T; 2], &'a mut [T]);

impl<T: FloatMath, const RELU: bool> Kernel for Affine<'_, T, RELU> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self(x, [scale, shift], out) = self;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = output::<A, T, RELU>(x, scale, shift);
        }
    }
}

/// `out = x · scale + shift` with the two of each channel, or 0 where that is negative with `relu`.
pub(super) fn apply<T: FloatMath>(
    x: &[T],
    [n, c, s]: [usize; 3],
    factors: impl Fn(usize) -> [T; 2] + Sync,
    relu: bool,
    out: &mut [T],
) {
    let out = SharedMut::new(out);
    parallel_rows(n * c, s, |range| {
        for i in range {
            let r = i * s..(i + 1) * s;
            // SAFETY: each piece has its own elements.
            let (x, out) = (&x[r.clone()], unsafe { out.range(r) });
            match relu {
                true => dispatch(Affine::<T, true>(x, factors(i % c), out)),
                false => dispatch(Affine::<T, false>(x, factors(i % c), out)),
            }
        }
    });
}

struct Gradient<'a, T, const RELU: bool>(&'a [T], &'a [T], [T; FACTORS], &'a mut [T]);

impl<T: FloatMath, const RELU: bool> Kernel for Gradient<'_, T, RELU> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let [scale, shift, mean, slope, summand] = self.2;
        for ((out, &g), &x) in self.3.iter_mut().zip(self.0).zip(self.1) {
            let g = before_relu::<A, T, RELU>(g, x, scale, summand);
            *out = (g - shift - (x - mean) * slope) * scale;
        }
    }
}

/// `out = (g - shift - (x - mean) · slope) · scale`, with the factors of a channel; `g` is 0 where
/// the output was, if a ReLU stood behind it.
pub(super) fn gradient<T: FloatMath, const RELU: bool>(
    g: &[T],
    x: &[T],
    [n, c, s]: [usize; 3],
    out: &mut [T],
    factors: impl Fn(usize) -> [T; FACTORS] + Sync,
) {
    let out = SharedMut::new(out);
    parallel_rows(n * c, s, |range| {
        for i in range {
            let r = i * s..(i + 1) * s;
            // SAFETY: each piece has its own elements.
            let out = unsafe { out.range(r.clone()) };
            dispatch(Gradient::<T, RELU>(&g[r.clone()], &x[r], factors(i % c), out));
        }
    });
}
