//! The transforms of Winograd's convolution: polynomials taken at a few points, and back.
//!
//! A tile of `m` outputs and `r` taps is a product of polynomials, found from its values at
//! `m + r - 1` points: 0, the pairs ±p and infinity; of five, one has no partner. With the pairs ±11/16 and ±3/2 the error is a
//! fifth of what the usual ±1 and ±2 give: the powers of the points stay near 1, and nearly cancel
//! the growth of the differences between them.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; the choice of
//! points after Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks", 2018.

use std::ops::{Add, Sub};

use crate::element::Float;
use crate::simd::Arch;

/// Tiles or channels that are transformed together: a vector of AVX2, half of one of AVX-512.
pub(super) const PIECE: usize = 8;
/// Most points along an axis.
pub(super) const MOST: usize = 6;

/// One value of each of the tiles or channels that are transformed together.
#[derive(Clone, Copy)]
pub(super) struct Lanes<T>(pub [T; PIECE]);

impl<T: Float> Lanes<T> {
    pub const ZERO: Self = Self([T::ZERO; PIECE]);
}

impl<T: Float> Add for Lanes<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl<T: Float> Sub for Lanes<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

/// Values along one axis.
pub(super) type Line<T> = [Lanes<T>; MOST];

/// `value * factor`.
#[inline(always)]
fn times<T: Float>(value: Lanes<T>, factor: f64) -> Lanes<T> {
    let factor = T::from_f64(factor);
    Lanes(value.0.map(|v| v * factor))
}

/// `value * factor + other`.
#[inline(always)]
fn fma<A: Arch, T: Float>(value: Lanes<T>, factor: f64, other: Lanes<T>) -> Lanes<T> {
    let factor = T::from_f64(factor);
    Lanes(std::array::from_fn(|i| value.0[i].mul_add_::<A>(factor, other.0[i])))
}

/// The points besides 0 and infinity: of four ±a, of five ±a and b, of six ±a and ±b.
const fn pair(points: usize) -> (f64, f64) {
    match points {
        4 => (1.0, 0.0),
        5 => (0.875, 1.75),
        _ => (0.6875, 1.5),
    }
}

/// The products of differences by which a point's values are divided: for 0, ±a and ±b of four or
/// six points.
const fn scales(points: usize) -> (f64, f64, f64) {
    let (a, b) = pair(points);
    let (aa, bb) = (a * a, b * b);
    if points == 4 {
        (-1.0 / aa, 0.5 / aa, 0.0)
    } else {
        (1.0 / (aa * bb), 0.5 / (aa * (aa - bb)), 0.5 / (bb * (bb - aa)))
    }
}

/// The same for 0, a, -a and b of five points.
const fn scales5() -> [f64; 4] {
    let (a, b) = pair(5);
    let aa = a * a;
    [1.0 / (aa * b), 0.5 / (aa * (a - b)), -0.5 / (aa * (a + b)), 1.0 / (b * (b * b - aa))]
}

/// One of the five transforms along one axis. `P` points, `R` taps; the number of outputs
/// follows from them.
pub(super) trait Transform<T: Float> {
    /// Values that go in, and come out.
    const FROM: usize;
    const TO: usize;
    fn line<A: Arch>(v: &Line<T>) -> Line<T>;
}

/// A piece of the source.
pub(super) struct Source<const P: usize>;
/// The taps of a weight.
pub(super) struct Taps<const P: usize, const R: usize>;
/// From the products to a tile of outputs.
pub(super) struct Outputs<const P: usize, const R: usize>;
/// A tile of gradients of the output: the transpose of [`Outputs`].
pub(super) struct Gradients<const P: usize, const R: usize>;
/// From the products to the gradient of the taps: the transpose of [`Taps`].
pub(super) struct TapGradients<const P: usize, const R: usize>;

impl<T: Float, const P: usize> Transform<T> for Source<P> {
    const FROM: usize = P;
    const TO: usize = P;

    #[inline(always)]
    fn line<A: Arch>(d: &Line<T>) -> Line<T> {
        let (a, b) = pair(P);
        let (aa, bb) = (a * a, b * b);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            // What is multiplied by t - b first is shared by all points but b.
            let e: [Lanes<T>; 4] = std::array::from_fn(|k| fma::<A, T>(d[k], -b, d[k + 1]));
            to[0] = fma::<A, T>(e[0], -aa, e[2]);
            to[1] = fma::<A, T>(e[1], a, e[2]);
            to[2] = fma::<A, T>(e[1], -a, e[2]);
            to[3] = fma::<A, T>(d[1], -aa, d[3]);
            to[4] = fma::<A, T>(e[1], -aa, e[3]);
        } else if P == 4 {
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

impl<T: Float, const P: usize, const R: usize> Transform<T> for Taps<P, R> {
    const FROM: usize = R;
    const TO: usize = P;

    #[inline(always)]
    fn line<A: Arch>(g: &Line<T>) -> Line<T> {
        let (a, b) = pair(P);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            for ((to, p), scale) in to.iter_mut().zip([0.0, a, -a, b]).zip(scales5()) {
                *to = fma::<A, T>(g[1], p * scale, times(g[0], scale));
            }
            to[4] = g[R - 1];
            return to;
        }
        let (zero, at_a, at_b) = scales(P);
        to[0] = times(g[0], zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(P / 2 - 1) {
            let even = if R == 3 { fma::<A, T>(g[2], p * p, g[0]) } else { g[0] };
            let even = times(even, scale);
            to[2 * i + 1] = fma::<A, T>(g[1], p * scale, even);
            to[2 * i + 2] = fma::<A, T>(g[1], -p * scale, even);
        }
        to[P - 1] = g[R - 1];
        to
    }
}

impl<T: Float, const P: usize, const R: usize> Transform<T> for Outputs<P, R> {
    const FROM: usize = P;
    const TO: usize = P + 1 - R;

    #[inline(always)]
    fn line<A: Arch>(m: &Line<T>) -> Line<T> {
        let (a, b) = pair(P);
        let outputs = P + 1 - R;
        let mut to = [Lanes::ZERO; MOST];
        let (sum_a, diff_a) = (m[1] + m[2], m[1] - m[2]);
        let mut powers = (a, b);
        if P == 5 {
            to[0] = m[0] + sum_a + m[3];
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                let at_a = if i % 2 == 0 { sum_a } else { diff_a };
                *to = fma::<A, T>(at_a, powers.0, times(m[3], powers.1));
                powers = (powers.0 * a, powers.1 * b);
            }
        } else if P == 4 {
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
        to[outputs - 1] = to[outputs - 1] + m[P - 1];
        to
    }
}

impl<T: Float, const P: usize, const R: usize> Transform<T> for Gradients<P, R> {
    const FROM: usize = P + 1 - R;
    const TO: usize = P;

    #[inline(always)]
    fn line<A: Arch>(y: &Line<T>) -> Line<T> {
        let (a, b) = pair(P);
        let outputs = P + 1 - R;
        let mut to = [Lanes::ZERO; MOST];
        to[0] = y[0];
        if P == 5 {
            // A loop: a closure would be compiled without the instruction set of the function.
            let mut sum = y[outputs - 1];
            for j in (0..outputs - 1).rev() {
                sum = fma::<A, T>(sum, b, y[j]);
            }
            to[3] = sum;
        }
        for (i, p) in [a, b].into_iter().enumerate().take(P / 2 - 1) {
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
        to[P - 1] = y[outputs - 1];
        to
    }
}

impl<T: Float, const P: usize, const R: usize> Transform<T> for TapGradients<P, R> {
    const FROM: usize = P;
    const TO: usize = R;

    #[inline(always)]
    fn line<A: Arch>(u: &Line<T>) -> Line<T> {
        let (a, b) = pair(P);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            let [zero, plus, minus, at_b] = scales5();
            let (up, down, at_b) = (times(u[1], plus), times(u[2], minus), times(u[3], at_b));
            to[0] = fma::<A, T>(u[0], zero, up + down + at_b);
            to[1] = fma::<A, T>(up - down, a, times(at_b, b)) + u[4];
            return to;
        }
        let (zero, at_a, at_b) = scales(P);
        to[0] = times(u[0], zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(P / 2 - 1) {
            let (sum, diff) = (u[2 * i + 1] + u[2 * i + 2], u[2 * i + 1] - u[2 * i + 2]);
            to[0] = fma::<A, T>(sum, scale, to[0]);
            to[1] = fma::<A, T>(diff, p * scale, to[1]);
            if R == 3 {
                to[2] = fma::<A, T>(sum, p * p * scale, to[2]);
            }
        }
        to[R - 1] = to[R - 1] + u[P - 1];
        to
    }
}

/// A square of values, by row and column.
pub(super) type Square<T> = [[Lanes<T>; MOST]; MOST];

/// Room for what [`square`] reads, keeps half way and gives back.
pub(super) struct Room<T> {
    pub from: Square<T>,
    half: Square<T>,
    pub to: Square<T>,
}

impl<T: Float> Room<T> {
    pub fn new() -> Self {
        let zero = [[Lanes::ZERO; MOST]; MOST];
        Self { from: zero, half: zero, to: zero }
    }
}

/// Applies a transform to both axes of a square, from `room.from` to `room.to`.
#[inline(always)]
pub(super) fn square<A: Arch, T: Float, F: Transform<T>>(room: &mut Room<T>) {
    for j in 0..F::FROM {
        let mut line = [Lanes::ZERO; MOST];
        for (to, from) in line.iter_mut().zip(&room.from).take(F::FROM) {
            *to = from[j];
        }
        for (half, value) in room.half.iter_mut().zip(F::line::<A>(&line)).take(F::TO) {
            half[j] = value;
        }
    }
    for i in 0..F::TO {
        let line = F::line::<A>(&room.half[i]);
        room.to[i][..F::TO].copy_from_slice(&line[..F::TO]);
    }
}
