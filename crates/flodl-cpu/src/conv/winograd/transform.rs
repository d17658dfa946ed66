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

/// Tiles or channels that are transformed together.
pub(super) const LANES: usize = 8;
/// Most points along an axis.
pub(super) const MOST: usize = 6;

/// A value for each lane.
#[derive(Clone, Copy)]
pub(super) struct V<T>(pub [T; LANES]);

impl<T: Float> V<T> {
    pub const ZERO: Self = Self([T::ZERO; LANES]);

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    /// The first half of the lanes.
    #[inline(always)]
    pub fn first(&self) -> &[T; LANES / 2] {
        let (halves, _) = self.0.as_chunks();
        &halves[0]
    }

    /// Adds one value to each lane.
    #[inline(always)]
    pub fn plus(mut self, value: T) -> Self {
        for v in &mut self.0 {
            *v += value;
        }
        self
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        let factor = T::from_f64(factor);
        Self(self.0.map(|a| a * factor))
    }

    /// `self * factor + other`.
    #[inline(always)]
    fn fma<A: Arch>(self, factor: f64, other: Self) -> Self {
        let factor = T::from_f64(factor);
        self.zip(other, |a, b| a.mul_add_::<A>(factor, b))
    }
}

/// Values along one axis.
pub(super) type Line<T> = [V<T>; MOST];

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
pub(super) trait Transform<T> {
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
        let mut to = [V::ZERO; MOST];
        if S == 1 {
            to[0] = d[0].fma::<A>(-aa, d[2]);
            to[1] = d[1].fma::<A>(a, d[2]);
            to[2] = d[1].fma::<A>(-a, d[2]);
            to[3] = d[1].fma::<A>(-aa, d[3]);
        } else {
            to[0] = d[0].fma::<A>(aa * bb, d[2].fma::<A>(-(aa + bb), d[4]));
            to[5] = d[1].fma::<A>(aa * bb, d[3].fma::<A>(-(aa + bb), d[5]));
            let (even, odd) = (d[2].fma::<A>(-bb, d[4]), d[1].fma::<A>(-bb, d[3]));
            to[1] = odd.fma::<A>(a, even);
            to[2] = odd.fma::<A>(-a, even);
            let (even, odd) = (d[2].fma::<A>(-aa, d[4]), d[1].fma::<A>(-aa, d[3]));
            to[3] = odd.fma::<A>(b, even);
            to[4] = odd.fma::<A>(-b, even);
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
        let mut to = [V::ZERO; MOST];
        to[0] = g[0].times(zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(S) {
            let even = if R == 3 { g[2].fma::<A>(p * p, g[0]) } else { g[0] }.times(scale);
            to[2 * i + 1] = g[1].fma::<A>(p * scale, even);
            to[2 * i + 2] = g[1].fma::<A>(-p * scale, even);
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
        let mut to = [V::ZERO; MOST];
        let (sum_a, diff_a) = (m[1].add(m[2]), m[1].sub(m[2]));
        let mut powers = (a, b);
        if S == 1 {
            to[0] = m[0].add(sum_a);
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                *to = if i % 2 == 0 { sum_a } else { diff_a }.times(powers.0);
                powers.0 *= a;
            }
        } else {
            let (sum_b, diff_b) = (m[3].add(m[4]), m[3].sub(m[4]));
            to[0] = m[0].add(sum_a).add(sum_b);
            for (i, to) in to.iter_mut().enumerate().take(outputs).skip(1) {
                let (at_a, at_b) = if i % 2 == 0 { (sum_a, sum_b) } else { (diff_a, diff_b) };
                *to = at_a.fma::<A>(powers.0, at_b.times(powers.1));
                powers = (powers.0 * a, powers.1 * b);
            }
        }
        to[outputs - 1] = to[outputs - 1].add(m[2 * S + 1]);
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
        let mut to = [V::ZERO; MOST];
        to[0] = y[0];
        for (i, p) in [a, b].into_iter().enumerate().take(S) {
            let (mut even, mut odd) = (y[0], y[1].times(p));
            let mut power = p * p;
            for (j, &y) in y.iter().enumerate().take(outputs).skip(2) {
                if j % 2 == 0 {
                    even = y.fma::<A>(power, even);
                } else {
                    odd = y.fma::<A>(power, odd);
                }
                power *= p;
            }
            to[2 * i + 1] = even.add(odd);
            to[2 * i + 2] = even.sub(odd);
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
        let mut to = [V::ZERO; MOST];
        to[0] = u[0].times(zero);
        for (i, (p, scale)) in [(a, at_a), (b, at_b)].into_iter().enumerate().take(S) {
            let (sum, diff) = (u[2 * i + 1].add(u[2 * i + 2]), u[2 * i + 1].sub(u[2 * i + 2]));
            to[0] = sum.fma::<A>(scale, to[0]);
            to[1] = diff.fma::<A>(p * scale, to[1]);
            if R == 3 {
                to[2] = sum.fma::<A>(p * p * scale, to[2]);
            }
        }
        to[R - 1] = to[R - 1].add(u[2 * S + 1]);
        to
    }
}

/// Applies a transform to both axes of a square of values: `load` gives them, `store` takes what
/// comes out, both by row and column.
#[inline(always)]
pub(super) fn square<A: Arch, T: Float, F: Transform<T>>(
    load: impl Fn(usize, usize) -> V<T>,
    mut store: impl FnMut(usize, usize, V<T>),
) {
    // Loops, not closures over arrays: those would not be compiled for the instruction set.
    let mut half = [[V::ZERO; MOST]; MOST];
    for j in 0..F::FROM {
        let mut line = [V::ZERO; MOST];
        for (i, v) in line.iter_mut().enumerate().take(F::FROM) {
            *v = load(i, j);
        }
        let line = F::line::<A>(&line);
        for i in 0..F::TO {
            half[i][j] = line[i];
        }
    }
    for (i, line) in half.iter().enumerate().take(F::TO) {
        let line = F::line::<A>(line);
        for (j, &v) in line.iter().enumerate().take(F::TO) {
            store(i, j, v);
        }
    }
}
