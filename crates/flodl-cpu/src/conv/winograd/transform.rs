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

use super::lanes::Lanes;
use crate::element::Float;
use crate::simd::Arch;

/// Most points along an axis.
pub(super) const MOST: usize = 6;

/// Values along one axis.
pub(super) type Line<A, T, const W: usize> = [Lanes<A, T, W>; MOST];

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
    fn line<A: Arch, const W: usize>(v: &Line<A, T, W>) -> Line<A, T, W>;
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
    fn line<A: Arch, const W: usize>(d: &Line<A, T, W>) -> Line<A, T, W> {
        let (a, b) = pair(P);
        let (aa, bb) = (a * a, b * b);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            // What is multiplied by t - b first is shared by all points but b.
            let mut e = [Lanes::ZERO; 4];
            for (k, e) in e.iter_mut().enumerate() {
                *e = d[k].fma(-b, d[k + 1]);
            }
            to[0] = e[0].fma(-aa, e[2]);
            to[1] = e[1].fma(a, e[2]);
            to[2] = e[1].fma(-a, e[2]);
            to[3] = d[1].fma(-aa, d[3]);
            to[4] = e[1].fma(-aa, e[3]);
        } else if P == 4 {
            to[0] = d[0].fma(-aa, d[2]);
            to[1] = d[1].fma(a, d[2]);
            to[2] = d[1].fma(-a, d[2]);
            to[3] = d[1].fma(-aa, d[3]);
        } else {
            to[0] = d[0].fma(aa * bb, d[2].fma(-(aa + bb), d[4]));
            to[5] = d[1].fma(aa * bb, d[3].fma(-(aa + bb), d[5]));
            let (even, odd) = (d[2].fma(-bb, d[4]), d[1].fma(-bb, d[3]));
            to[1] = odd.fma(a, even);
            to[2] = odd.fma(-a, even);
            let (even, odd) = (d[2].fma(-aa, d[4]), d[1].fma(-aa, d[3]));
            to[3] = odd.fma(b, even);
            to[4] = odd.fma(-b, even);
        }
        to
    }
}

impl<T: Float, const P: usize, const R: usize> Transform<T> for Taps<P, R> {
    const FROM: usize = R;
    const TO: usize = P;

    #[inline(always)]
    fn line<A: Arch, const W: usize>(g: &Line<A, T, W>) -> Line<A, T, W> {
        let (a, b) = pair(P);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            for ((to, p), scale) in to.iter_mut().zip([0.0, a, -a, b]).zip(scales5()) {
                *to = g[1].fma(p * scale, g[0].times(scale));
            }
            to[4] = g[R - 1];
            return to;
        }
        let (zero, at_a, at_b) = scales(P);
        to[0] = g[0].times(zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(P / 2 - 1) {
            let even = if R == 3 { g[2].fma(p * p, g[0]) } else { g[0] };
            let even = even.times(scale);
            to[2 * i + 1] = g[1].fma(p * scale, even);
            to[2 * i + 2] = g[1].fma(-p * scale, even);
        }
        to[P - 1] = g[R - 1];
        to
    }
}

impl<T: Float, const P: usize, const R: usize> Transform<T> for Outputs<P, R> {
    const FROM: usize = P;
    const TO: usize = P + 1 - R;

    #[inline(always)]
    fn line<A: Arch, const W: usize>(m: &Line<A, T, W>) -> Line<A, T, W> {
        let (a, b) = pair(P);
        let outputs = P + 1 - R;
        let mut to = [Lanes::ZERO; MOST];
        let (sum_a, diff_a) = (m[1] + m[2], m[1] - m[2]);
        let mut powers = (a, b);
        if P == 5 {
            to[0] = m[0] + sum_a + m[3];
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                let at_a = if i % 2 == 0 { sum_a } else { diff_a };
                *to = at_a.fma(powers.0, m[3].times(powers.1));
                powers = (powers.0 * a, powers.1 * b);
            }
        } else if P == 4 {
            to[0] = m[0] + sum_a;
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                *to = (if i % 2 == 0 { sum_a } else { diff_a }).times(powers.0);
                powers.0 *= a;
            }
        } else {
            let (sum_b, diff_b) = (m[3] + m[4], m[3] - m[4]);
            to[0] = m[0] + sum_a + sum_b;
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                let (at_a, at_b) = if i % 2 == 0 { (sum_a, sum_b) } else { (diff_a, diff_b) };
                *to = at_a.fma(powers.0, at_b.times(powers.1));
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
    fn line<A: Arch, const W: usize>(y: &Line<A, T, W>) -> Line<A, T, W> {
        let (a, b) = pair(P);
        let outputs = P + 1 - R;
        let mut to = [Lanes::ZERO; MOST];
        to[0] = y[0];
        if P == 5 {
            // A loop: a closure would be compiled without the instruction set of the function.
            let mut sum = y[outputs - 1];
            for j in (0..outputs - 1).rev() {
                sum = sum.fma(b, y[j]);
            }
            to[3] = sum;
        }
        for (i, p) in [a, b].into_iter().enumerate().take(P / 2 - 1) {
            let (mut even, mut odd) = (y[0], y[1].times(p));
            let mut power = p * p;
            for (j, &y) in y.iter().enumerate().take(outputs).skip(2) {
                if j % 2 == 0 {
                    even = y.fma(power, even);
                } else {
                    odd = y.fma(power, odd);
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
    fn line<A: Arch, const W: usize>(u: &Line<A, T, W>) -> Line<A, T, W> {
        let (a, b) = pair(P);
        let mut to = [Lanes::ZERO; MOST];
        if P == 5 {
            let [zero, plus, minus, at_b] = scales5();
            let (up, down, at_b) = (u[1].times(plus), u[2].times(minus), u[3].times(at_b));
            to[0] = u[0].fma(zero, up + down + at_b);
            to[1] = (up - down).fma(a, at_b.times(b)) + u[4];
            return to;
        }
        let (zero, at_a, at_b) = scales(P);
        to[0] = u[0].times(zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(P / 2 - 1) {
            let (sum, diff) = (u[2 * i + 1] + u[2 * i + 2], u[2 * i + 1] - u[2 * i + 2]);
            to[0] = sum.fma(scale, to[0]);
            to[1] = diff.fma(p * scale, to[1]);
            if R == 3 {
                to[2] = sum.fma(p * p * scale, to[2]);
            }
        }
        to[R - 1] = to[R - 1] + u[P - 1];
        to
    }
}

/// A square of values, by row and column, that is transformed along its columns first.
#[repr(C, align(64))]
pub(super) struct Square<A, T, const W: usize>([Line<A, T, W>; MOST]);

impl<A: Arch, T: Float, const W: usize> Square<A, T, W> {
    pub fn new() -> Self {
        Self([[Lanes::ZERO; MOST]; MOST])
    }

    /// Puts the transform of a column here.
    #[inline(always)]
    pub fn put<F: Transform<T>>(&mut self, column: usize, values: &Line<A, T, W>) {
        for (row, value) in self.0.iter_mut().zip(F::line(values)).take(F::TO) {
            row[column] = value;
        }
    }

    /// The transform of a row, once all columns are here.
    #[inline(always)]
    pub fn row<F: Transform<T>>(&self, row: usize) -> Line<A, T, W> {
        F::line(&self.0[row])
    }
}
