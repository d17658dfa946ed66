//! Batch norm's passes over long pieces: S elements of one channel in one image.

use std::ops::Range;

use crate::math::FloatMath;
use crate::reduce::{SHORT, long_sum, sum, sum2};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

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

/// Σ g and Σ g (x - mean) of each piece.
pub(super) struct Dots<'a, T> {
    pub g: &'a [T],
    pub x: &'a [T],
    pub s: usize,
    /// Number of the first piece.
    pub first: usize,
    /// Of each channel.
    pub mean: &'a [T],
    pub out: &'a mut [f64],
}

impl<T: FloatMath> Kernel for Dots<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let pieces = self.g.chunks_exact(self.s).zip(self.x.chunks_exact(self.s));
        for (i, ((g, x), out)) in pieces.zip(self.out.chunks_exact_mut(2)).enumerate() {
            let mean = self.mean[(self.first + i) % self.mean.len()];
            (out[0], out[1]) = (0.0, 0.0);
            for (g, x) in g.chunks(SHORT).zip(x.chunks(SHORT)) {
                out[0] += sum(g, |g| g).to_f64();
                out[1] += sum2(g, x, |g, x| g * (x - mean)).to_f64();
            }
        }
    }
}

struct Affine<'a, T>(&'a [T], [T; 2], &'a mut [T]);

impl<T: FloatMath> Kernel for Affine<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for (out, &x) in self.2.iter_mut().zip(self.0) {
            *out = x.mul_add_::<A>(self.1[0], self.1[1]);
        }
    }
}

/// `out = x · scale + shift` with the two of each channel.
pub(super) fn apply<T: FloatMath>(
    x: &[T],
    [n, c, s]: [usize; 3],
    factors: impl Fn(usize) -> [T; 2] + Sync,
    out: &mut [T],
) {
    let out = SharedMut::new(out);
    parallel_rows(n * c, s, |range| {
        for i in range {
            let r = i * s..(i + 1) * s;
            // SAFETY: each piece has its own elements.
            dispatch(Affine(&x[r.clone()], factors(i % c), unsafe { out.range(r) }));
        }
    });
}

struct Gradient<'a, T>(&'a [T], &'a [T], [T; 4], &'a mut [T]);

impl<T: FloatMath> Kernel for Gradient<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let [scale, shift, mean, slope] = self.2;
        for ((out, &g), &x) in self.3.iter_mut().zip(self.0).zip(self.1) {
            *out = (g - shift - (x - mean) * slope) * scale;
        }
    }
}

/// `out = (g - shift - (x - mean) · slope) · scale`, with [scale, shift, mean, slope] of a channel.
pub(super) fn gradient<T: FloatMath>(
    g: &[T],
    x: &[T],
    [n, c, s]: [usize; 3],
    out: &mut [T],
    factors: impl Fn(usize) -> [T; 4] + Sync,
) {
    let out = SharedMut::new(out);
    parallel_rows(n * c, s, |range| {
        for i in range {
            let r = i * s..(i + 1) * s;
            // SAFETY: each piece has its own elements.
            let out = unsafe { out.range(r.clone()) };
            dispatch(Gradient(&g[r.clone()], &x[r], factors(i % c), out));
        }
    });
}
