//! The transforms of Winograd's convolution: polynomials taken at a few points, and back.
//!
//! A tile of `m` outputs and `r` taps is a product of polynomials, found from its values at
//! `m + r - 1` points: 0, the pairs ±p and infinity. With the pairs ±11/16 and ±3/2 the error is a
//! fifth of what the usual ±1 and ±2 give: the powers of the points stay near 1, and nearly cancel
//! the growth of the differences between them.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; the choice of
//! points after Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks", 2018.

use crate::element::Float;
use crate::simd::Arch;

/// Most tiles or channels that are transformed together.
pub(super) const LANES: usize = 32;
/// Lanes are copied in pieces of this many.
pub(super) const PIECE: usize = 8;
/// Most points along an axis.
pub(super) const MOST: usize = 6;

/// Values along one axis.
pub(super) type Line<T> = [T; MOST];

/// `value * factor`.
#[inline(always)]
fn times<T: Float>(value: T, factor: f64) -> T {
    value * T::from_f64(factor)
}

/// `value * factor + other`.
#[inline(always)]
fn fma<A: Arch, T: Float>(value: T, factor: f64, other: T) -> T {
    value.mul_add_::<A>(T::from_f64(factor), other)
}

/// Number of points with `pairs` pairs among them.
pub(super) const fn points(pairs: usize) -> usize {
    2 * pairs + 2
}

/// The pairs of points: ±a, and ±b if there are two.
const fn pair(pairs: usize) -> (f64, f64) {
    if pairs == 1 { (1.0, 0.0) } else { (0.6875, 1.5) }
}

/// The products of differences by which a point's values are divided: for 0, ±a and ±b.
const fn scales(pairs: usize) -> (f64, f64, f64) {
    let (a, b) = pair(pairs);
    let (aa, bb) = (a * a, b * b);
    if pairs == 1 {
        (-1.0 / aa, 0.5 / aa, 0.0)
    } else {
        (1.0 / (aa * bb), 0.5 / (aa * (aa - bb)), 0.5 / (bb * (bb - aa)))
    }
}

/// One of the five transforms along one axis. `S` pairs of points, `R` taps; the number of outputs
/// follows from them.
pub(super) trait Transform<T: Float> {
    /// Values that go in, and come out.
    const FROM: usize;
    const TO: usize;
    fn line<A: Arch>(v: &Line<T>) -> Line<T>;
}

/// A piece of the source.
pub(super) struct Source<const S: usize>;
/// The taps of a weight.
pub(super) struct Taps<const S: usize, const R: usize>;
/// From the products to a tile of outputs.
pub(super) struct Outputs<const S: usize, const R: usize>;
/// A tile of gradients of the output: the transpose of [`Outputs`].
pub(super) struct Gradients<const S: usize, const R: usize>;
/// From the products to the gradient of the taps: the transpose of [`Taps`].
pub(super) struct TapGradients<const S: usize, const R: usize>;

impl<T: Float, const S: usize> Transform<T> for Source<S> {
    const FROM: usize = points(S);
    const TO: usize = points(S);

    #[inline(always)]
    fn line<A: Arch>(d: &Line<T>) -> Line<T> {
        let (a, b) = pair(S);
        let (aa, bb) = (a * a, b * b);
        let mut to = [T::ZERO; MOST];
        if S == 1 {
            to[0] = fma::<A, T>(d[0], -aa, d[2]);
            to[1] = fma::<A, T>(d[1], a, d[2]);
            to[2] = fma::<A, T>(d[1], -a, d[2]);
            to[3] = fma::<A, T>(d[1], -aa, d[3]);
        } else {
            to[0] = fma::<A, T>(d[0], aa * bb, fma::<A, T>(d[2], -(aa + bb), d[4]));
            to[5] = fma::<A, T>(d[1], aa * bb, fma::<A, T>(d[3], -(aa + bb), d[5]));
            let (even, odd) = (fma::<A, T>(d[2], -bb, d[4]), fma::<A, T>(d[1], -bb, d[3]));
            to[1] = fma::<A, T>(odd, a, even);
            to[2] = fma::<A, T>(odd, -a, even);
            let (even, odd) = (fma::<A, T>(d[2], -aa, d[4]), fma::<A, T>(d[1], -aa, d[3]));
            to[3] = fma::<A, T>(odd, b, even);
            to[4] = fma::<A, T>(odd, -b, even);
        }
        to
    }
}

impl<T: Float, const S: usize, const R: usize> Transform<T> for Taps<S, R> {
    const FROM: usize = R;
    const TO: usize = points(S);

    #[inline(always)]
    fn line<A: Arch>(g: &Line<T>) -> Line<T> {
        let (a, b) = pair(S);
        let (zero, at_a, at_b) = scales(S);
        let mut to = [T::ZERO; MOST];
        to[0] = times(g[0], zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(S) {
            let even = if R == 3 { fma::<A, T>(g[2], p * p, g[0]) } else { g[0] };
            let even = times(even, scale);
            to[2 * i + 1] = fma::<A, T>(g[1], p * scale, even);
            to[2 * i + 2] = fma::<A, T>(g[1], -p * scale, even);
        }
        to[2 * S + 1] = g[R - 1];
        to
    }
}

impl<T: Float, const S: usize, const R: usize> Transform<T> for Outputs<S, R> {
    const FROM: usize = points(S);
    const TO: usize = points(S) + 1 - R;

    #[inline(always)]
    fn line<A: Arch>(m: &Line<T>) -> Line<T> {
        let (a, b) = pair(S);
        let outputs = points(S) + 1 - R;
        let mut to = [T::ZERO; MOST];
        let (sum_a, diff_a) = (m[1] + m[2], m[1] - m[2]);
        let mut powers = (a, b);
        if S == 1 {
            to[0] = m[0] + sum_a;
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                *to = times(if i % 2 == 0 { sum_a } else { diff_a }, powers.0);
                powers.0 *= a;
            }
        } else {
            let (sum_b, diff_b) = (m[3] + m[4], m[3] - m[4]);
            to[0] = m[0] + sum_a + sum_b;
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                let (at_a, at_b) = if i % 2 == 0 { (sum_a, sum_b) } else { (diff_a, diff_b) };
                *to = fma::<A, T>(at_a, powers.0, times(at_b, powers.1));
                powers = (powers.0 * a, powers.1 * b);
            }
        }
        to[outputs - 1] += m[2 * S + 1];
        to
    }
}

impl<T: Float, const S: usize, const R: usize> Transform<T> for Gradients<S, R> {
    const FROM: usize = points(S) + 1 - R;
    const TO: usize = points(S);

    #[inline(always)]
    fn line<A: Arch>(y: &Line<T>) -> Line<T> {
        let (a, b) = pair(S);
        let outputs = points(S) + 1 - R;
        let mut to = [T::ZERO; MOST];
        to[0] = y[0];
        for (i, p) in [a, b].into_iter().enumerate().take(S) {
            let (mut even, mut odd) = (y[0], times(y[1], p));
            let mut power = p * p;
            for (j, &y) in y.iter().enumerate().take(outputs).skip(2) {
                if j % 2 == 0 {
                    even = fma::<A, T>(y, power, even);
                } else {
                    odd = fma::<A, T>(y, power, odd);
                }
                power *= p;
            }
            to[2 * i + 1] = even + odd;
            to[2 * i + 2] = even - odd;
        }
        to[2 * S + 1] = y[outputs - 1];
        to
    }
}

impl<T: Float, const S: usize, const R: usize> Transform<T> for TapGradients<S, R> {
    const FROM: usize = points(S);
    const TO: usize = R;

    #[inline(always)]
    fn line<A: Arch>(u: &Line<T>) -> Line<T> {
        let (a, b) = pair(S);
        let (zero, at_a, at_b) = scales(S);
        let mut to = [T::ZERO; MOST];
        to[0] = times(u[0], zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(S) {
            let (sum, diff) = (u[2 * i + 1] + u[2 * i + 2], u[2 * i + 1] - u[2 * i + 2]);
            to[0] = fma::<A, T>(sum, scale, to[0]);
            to[1] = fma::<A, T>(diff, p * scale, to[1]);
            if R == 3 {
                to[2] = fma::<A, T>(sum, p * p * scale, to[2]);
            }
        }
        to[R - 1] += u[2 * S + 1];
        to
    }
}

/// A square of values for each of some lanes: by row, column and lane.
pub(super) type Square<T> = [[[T; LANES]; MOST]; MOST];

/// Room for what [`square`] reads, keeps half way and gives back.
pub(super) struct Room<T> {
    pub from: Square<T>,
    half: Square<T>,
    pub to: Square<T>,
}

impl<T: Float> Room<T> {
    pub fn new() -> Self {
        let zero = [[[T::ZERO; LANES]; MOST]; MOST];
        Self { from: zero, half: zero, to: zero }
    }
}

/// Applies a transform to both axes of the squares of the first `lanes` lanes, from `room.from` to
/// `room.to`.
#[inline(always)]
pub(super) fn square<A: Arch, T: Float, F: Transform<T>>(room: &mut Room<T>, lanes: usize) {
    let lanes = lanes.min(LANES);
    for j in 0..F::FROM {
        // Lanes innermost, and as many as come: a loop of known length would be unrolled, and what
        // the compiler then makes of the pieces are gathers.
        for l in 0..lanes {
            let mut line = [T::ZERO; MOST];
            for (i, v) in line.iter_mut().enumerate().take(F::FROM) {
                *v = room.from[i][j][l];
            }
            let line = F::line::<A>(&line);
            for (half, v) in room.half.iter_mut().zip(line).take(F::TO) {
                half[j][l] = v;
            }
        }
    }
    for i in 0..F::TO {
        let (half, to) = (&room.half[i], &mut room.to[i]);
        for l in 0..lanes {
            let mut line = [T::ZERO; MOST];
            for (j, v) in line.iter_mut().enumerate().take(F::FROM) {
                *v = half[j][l];
            }
            let line = F::line::<A>(&line);
            for (to, v) in to.iter_mut().zip(line).take(F::TO) {
                to[l] = v;
            }
        }
    }
}
