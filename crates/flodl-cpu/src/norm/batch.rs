//! Batch norm over the channels of [N, C, S].
//!
//! Where S is long, the tensor is read in the order it lies in memory: each piece of S elements
//! gives its own sums, which are joined per channel, and a second pass writes the result. (Going
//! channel by channel instead, the pieces lie a power of two apart and drive each other out of the
//! cache.) Where S is short, a tile of neighbouring channels is done together.

use std::ops::Range;

use super::long;
use crate::alloc::{OutOfMemory, Scratch};
use crate::math::FloatMath;
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

/// Channels done together where S is short.
const TILE: usize = 64;
/// S from which the tensor is taken piece by piece.
const LONG: usize = 16;

/// Parameters of a channel: the factor and the summand of its gradients, its mean, the slope of its
/// gradients, the summand of its outputs. In passes over the input alone the first two are those of
/// its outputs. The factor of outputs is that of gradients.
pub(super) const FACTORS: usize = 5;
type Factors<T> = [[T; TILE]; FACTORS];

/// The parameters of one channel after the other. Not by their numbers, which the compiler would not
/// vectorise.
#[inline(always)]
fn each<T: Copy>([a, b, c, d, e]: &Factors<T>) -> impl Iterator<Item = [T; FACTORS]> {
    let all = a.iter().zip(b).zip(c.iter().zip(d)).zip(e);
    all.map(|(((&a, &b), (&c, &d)), &e)| [a, b, c, d, e])
}

/// Those of channel `j`. (Without an array's `map`, which may stay a call.)
#[inline(always)]
fn of_channel<T: Copy>(p: &Factors<T>, j: usize) -> [T; FACTORS] {
    [p[0][j], p[1][j], p[2][j], p[3][j], p[4][j]]
}

/// Channels `channels` of a tensor [n, c, s]: their pieces in each of the n images.
#[derive(Clone)]
struct Pieces {
    n: usize,
    c: usize,
    s: usize,
    channels: Range<usize>,
}

impl Pieces {
    /// Where the channels' elements of image `i` lie.
    #[inline(always)]
    fn at(&self, i: usize) -> Range<usize> {
        let start = (i * self.c + self.channels.start) * self.s;
        start..start + self.channels.len() * self.s
    }

    /// Σ f(x, y, p) for each channel into `out`, `p` being its parameters.
    #[inline(always)]
    fn sums<T: FloatMath>(
        &self,
        x: &[T],
        y: &[T],
        p: &Factors<T>,
        out: &mut [f64; TILE],
        f: impl Fn(T, T, [T; FACTORS]) -> T,
    ) {
        let width = self.channels.len();
        out[..width].fill(0.0);
        for i in 0..self.n {
            let (x, y) = (&x[self.at(i)], &y[self.at(i)]);
            if self.s == 1 {
                let elements = out.iter_mut().zip(x.iter().zip(y));
                for ((out, (&x, &y)), p) in elements.zip(each(p)) {
                    *out += f(x, y, p).to_f64();
                }
            } else {
                let pieces = x.chunks_exact(self.s).zip(y.chunks_exact(self.s));
                for (j, (out, (x, y))) in out.iter_mut().zip(pieces).enumerate() {
                    let p = of_channel(p, j);
                    let part: T = x.iter().zip(y).map(|(&x, &y)| f(x, y, p)).sum();
                    *out += part.to_f64();
                }
            }
        }
    }

    /// `out = f(x, y, p)` for every element, `p` being its channel's parameters.
    #[inline(always)]
    fn map<T: FloatMath>(
        &self,
        x: &[T],
        y: &[T],
        p: &Factors<T>,
        out: &SharedMut<'_, T>,
        f: impl Fn(T, T, [T; FACTORS]) -> T,
    ) {
        for i in 0..self.n {
            let (x, y) = (&x[self.at(i)], &y[self.at(i)]);
            // SAFETY: the channels of a task are its own.
            let out = unsafe { out.range(self.at(i)) };
            if self.s == 1 {
                let elements = out.iter_mut().zip(x.iter().zip(y));
                for ((out, (&x, &y)), p) in elements.zip(each(p)) {
                    *out = f(x, y, p);
                }
            } else {
                let pieces = x.chunks_exact(self.s).zip(y.chunks_exact(self.s));
                for (j, ((x, y), out)) in pieces.zip(out.chunks_exact_mut(self.s)).enumerate() {
                    let p = of_channel(p, j);
                    for (out, (&x, &y)) in out.iter_mut().zip(x.iter().zip(y)) {
                        *out = f(x, y, p);
                    }
                }
            }
        }
    }
}

/// Runs `f` on the tasks that a tensor's channels are cut into.
fn each_task([n, c, s]: [usize; 3], f: impl Fn(Pieces) + Sync) {
    parallel_rows(c.div_ceil(TILE), 2 * n * s * TILE.min(c), |range| {
        for t in range {
            f(Pieces { n, c, s, channels: t * TILE..((t + 1) * TILE).min(c) });
        }
    });
}

struct Statistics<'a, T>(&'a Pieces, &'a [T]);

impl<T: FloatMath> Kernel for Statistics<'_, T> {
    /// Mean and biased variance.
    type Out = ([T; TILE], [f64; TILE]);
    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        let Self(pieces, x) = self;
        let count = (pieces.n * pieces.s) as f64;
        let (mut p, mut total) = ([[T::ZERO; TILE]; FACTORS], [0.0; TILE]);
        pieces.sums(x, x, &p, &mut total, |x, _, _| x);
        p[2].iter_mut().zip(&total).for_each(|(m, t)| *m = T::from_f64(t / count));
        pieces.sums(x, x, &p, &mut total, |x, _, [_, _, m, ..]| (x - m) * (x - m));
        total.iter_mut().for_each(|t| *t /= count);
        (p[2], total)
    }
}

/// Multiplies each channel of a tile by its scale and adds its shift, with a ReLU behind or not.
struct Apply<'a, T, const RELU: bool>(&'a Pieces, &'a [T], Factors<T>, &'a SharedMut<'a, T>);

impl<T: FloatMath, const RELU: bool> Kernel for Apply<'_, T, RELU> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self(pieces, x, p, out) = self;
        pieces.map(x, x, &p, out, |x, _, [scale, shift, ..]| output::<A, T, RELU>(x, scale, shift));
    }
}

/// What batch norm makes of a value of a channel.
#[inline(always)]
pub(super) fn output<A: Arch, T: FloatMath, const RELU: bool>(x: T, scale: T, shift: T) -> T {
    let y = x.mul_add_::<A>(scale, shift);
    if RELU && y < T::ZERO { T::ZERO } else { y }
}

/// The gradient before the ReLU, if there is one: `g` where the output is not 0. The output is
/// computed as it was, which takes less time than to read it.
#[inline(always)]
pub(super) fn before_relu<A: Arch, T: FloatMath, const RELU: bool>(
    g: T,
    x: T,
    scale: T,
    shift: T,
) -> T {
    if RELU && output::<A, T, false>(x, scale, shift) <= T::ZERO { T::ZERO } else { g }
}

/// Scale and shift of a channel's outputs.
fn affine<T: FloatMath>(weight: Option<T>, bias: Option<T>, mean: T, rstd: T) -> [T; 2] {
    let scale = weight.map_or(1.0, T::to_f64) * rstd.to_f64();
    [scale, bias.map_or(0.0, T::to_f64) - mean.to_f64() * scale].map(T::from_f64)
}

fn check<T>([n, c, s]: [usize; 3], whole: &[&[T]], channels: &[&[T]]) {
    assert!(whole.iter().all(|x| x.len() == n * c * s), "length of a tensor");
    assert!(channels.iter().all(|x| x.len() == c), "length of a channel parameter");
}

/// Batch norm in training over `dims` = [N, C, S]: normalises with the batch's own statistics. With
/// `relu`, negative outputs become 0.
///
/// Gives the mean, the biased variance and 1 / sqrt(variance + eps) of each channel; running
/// statistics are the caller's.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the sums of the channels.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_forward<T: FloatMath>(
    x: &[T],
    dims: [usize; 3],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f64,
    relu: bool,
    out: &mut [T],
    mean: &mut [T],
    var: &mut [T],
    rstd: &mut [T],
) -> Result<(), OutOfMemory> {
    check(dims, &[x, out], &[mean, var, rstd]);
    check(dims, &[], weight.as_slice());
    check(dims, &[], bias.as_slice());
    let [n, c, s] = dims;
    let affine =
        |j: usize, mean: T, rstd: T| affine(weight.map(|w| w[j]), bias.map(|b| b[j]), mean, rstd);
    if s >= LONG {
        let mut sums = Scratch::<f64>::new(2 * n * c)?;
        long::each_piece(n * c, s, &mut sums, |range, out| {
            dispatch(long::Moments { x: &x[range.start * s..range.end * s], s, out });
        });
        let mut factors = Scratch::<T>::new(2 * c)?;
        for (j, factors) in factors.chunks_exact_mut(2).enumerate() {
            let piece = |i: usize| (sums[2 * (i * c + j)], sums[2 * (i * c + j) + 1]);
            let m = (0..n).map(|i| piece(i).0).sum::<f64>() / n as f64;
            let spread = |i| piece(i).1 + s as f64 * (piece(i).0 - m) * (piece(i).0 - m);
            let v = (0..n).map(spread).sum::<f64>() / (n * s) as f64;
            let r = 1.0 / (v + eps).sqrt();
            (mean[j], var[j], rstd[j]) = (T::from_f64(m), T::from_f64(v), T::from_f64(r));
            factors.copy_from_slice(&affine(j, mean[j], rstd[j]));
        }
        long::apply(x, [n, c, s], |j| [factors[2 * j], factors[2 * j + 1]], relu, out);
        return Ok(());
    }
    let (out, mean, var, rstd) =
        (SharedMut::new(out), SharedMut::new(mean), SharedMut::new(var), SharedMut::new(rstd));
    each_task(dims, |pieces| {
        let (m, v) = dispatch(Statistics(&pieces, x));
        let channels = pieces.channels.clone();
        // SAFETY: the channels of a task are its own.
        let (mean, var, rstd) = unsafe {
            (
                mean.range(channels.clone()),
                var.range(channels.clone()),
                rstd.range(channels.clone()),
            )
        };
        let mut p = [[T::ZERO; TILE]; FACTORS];
        for (j, c) in channels.enumerate() {
            (mean[j], var[j]) = (m[j], T::from_f64(v[j]));
            rstd[j] = T::from_f64(1.0 / (v[j] + eps).sqrt());
            [p[0][j], p[1][j]] = affine(c, m[j], rstd[j]);
        }
        match relu {
            true => dispatch(Apply::<T, true>(&pieces, x, p, &out)),
            false => dispatch(Apply::<T, false>(&pieces, x, p, &out)),
        }
    });
    Ok(())
}

/// `out = x · scale + shift` for each channel of `dims` = [N, C, S]: batch norm in evaluation, with
/// scale = weight / sqrt(variance + eps) and shift = bias - mean · scale.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_apply<T: FloatMath>(
    x: &[T],
    dims: [usize; 3],
    scale: &[T],
    shift: &[T],
    out: &mut [T],
) {
    check(dims, &[x, out], &[scale, shift]);
    if dims[2] >= LONG {
        long::apply(x, dims, |j| [scale[j], shift[j]], false, out);
        return;
    }
    let out = SharedMut::new(out);
    each_task(dims, |pieces| {
        let mut p = [[T::ZERO; TILE]; FACTORS];
        for (j, c) in pieces.channels.clone().enumerate() {
            (p[0][j], p[1][j]) = (scale[c], shift[c]);
        }
        dispatch(Apply::<T, false>(&pieces, x, p, &out));
    });
}

/// What is known of a batch norm in its backward pass. Mean and 1 / deviation are constants unless
/// `training`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a, T> {
    /// The sizes [N, C, S].
    pub dims: [usize; 3],
    /// Whether the statistics were the batch's own.
    pub training: bool,
    /// Of each channel; 1 if there is none.
    pub weight: Option<&'a [T]>,
    /// Of each channel; 0 if there is none. Only outputs depend on it.
    pub bias: Option<&'a [T]>,
    /// Of each channel.
    pub mean: &'a [T],
    /// 1 / sqrt(variance + eps) of each channel.
    pub rstd: &'a [T],
    /// Whether a ReLU stood behind it.
    pub relu: bool,
}

impl<T: FloatMath> BatchNorm<'_, T> {
    /// Factor and summand of a channel's outputs.
    fn affine(&self, j: usize) -> [T; 2] {
        let (weight, bias) = (self.weight.map(|w| w[j]), self.bias.map(|b| b[j]));
        affine(weight, bias, self.mean[j], self.rstd[j])
    }

    /// The parameters of a channel with these sums over its `count` gradients.
    fn factors(&self, j: usize, [plain, dot]: [f64; 2], count: f64) -> [T; FACTORS] {
        let [scale, summand] = self.affine(j);
        if !self.training {
            return [scale, T::ZERO, self.mean[j], T::ZERO, summand];
        }
        let r = self.rstd[j].to_f64();
        let (shift, slope) = (T::from_f64(plain / count), T::from_f64(dot / count * r * r));
        [scale, shift, self.mean[j], slope, summand]
    }
}

struct Backward<'a, T, const RELU: bool> {
    norm: &'a BatchNorm<'a, T>,
    pieces: &'a Pieces,
    g: &'a [T],
    x: &'a [T],
    dx: Option<&'a SharedMut<'a, T>>,
}

impl<T: FloatMath, const RELU: bool> Kernel for Backward<'_, T, RELU> {
    /// Σ g and Σ g (x - mean) of each channel.
    type Out = [[f64; TILE]; 2];
    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        let Self { norm, pieces, g, x, .. } = self;
        let count = (pieces.n * pieces.s) as f64;
        let mut p = [[T::ZERO; TILE]; FACTORS];
        for (j, c) in pieces.channels.clone().enumerate() {
            let all = norm.factors(c, [0.0; 2], count);
            p.iter_mut().zip(all).for_each(|(p, factor)| p[j] = factor);
        }
        let [mut plain, mut dot] = [[0.0; TILE]; 2];
        pieces.sums(g, x, &p, &mut plain, |g, x, [scale, _, _, _, summand]| {
            before_relu::<A, T, RELU>(g, x, scale, summand)
        });
        pieces.sums(g, x, &p, &mut dot, |g, x, [scale, _, mean, _, summand]| {
            before_relu::<A, T, RELU>(g, x, scale, summand) * (x - mean)
        });
        if let Some(dx) = self.dx {
            for (j, c) in pieces.channels.clone().enumerate() {
                let all = norm.factors(c, [plain[j], dot[j]], count);
                p.iter_mut().zip(all).for_each(|(p, factor)| p[j] = factor);
            }
            pieces.map(g, x, &p, dx, |g, x, [scale, shift, mean, slope, summand]| {
                let g = before_relu::<A, T, RELU>(g, x, scale, summand);
                (g - shift - (x - mean) * slope) * scale
            });
        }
        [plain, dot]
    }
}

/// Gradients of [`batch_norm_forward`], or of [`batch_norm_apply`] with constant statistics, from
/// the input.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the sums of the channels.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward<T: FloatMath>(
    norm: &BatchNorm<'_, T>,
    g: &[T],
    x: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    match norm.relu {
        true => backward::<T, true>(norm, g, x, dx, dweight, dbias),
        false => backward::<T, false>(norm, g, x, dx, dweight, dbias),
    }
}

fn backward<T: FloatMath, const RELU: bool>(
    norm: &BatchNorm<'_, T>,
    g: &[T],
    x: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    let &BatchNorm { dims, training, weight, bias, mean, rstd, .. } = norm;
    check(dims, &[g, x], &[mean, rstd]);
    check(dims, &[], weight.as_slice());
    check(dims, &[], bias.as_slice());
    check(dims, dx.as_deref().as_slice(), dweight.as_deref().as_slice());
    check(dims, &[], dbias.as_deref().as_slice());
    let [n, c, s] = dims;
    if n * s == 0 {
        // Sums over nothing: `dx` is empty and the others are zero.
        [dweight, dbias].into_iter().flatten().for_each(|d| d.fill(T::ZERO));
        return Ok(());
    }
    if s >= LONG {
        let mut sums = Scratch::<f64>::new(2 * n * c)?;
        if training || dweight.is_some() || dbias.is_some() {
            let affine = |j: usize| if RELU { norm.affine(j) } else { [T::ZERO; 2] };
            long::each_piece(n * c, s, &mut sums, |range, out| {
                for (i, out) in range.zip(out.chunks_exact_mut(2)) {
                    let (r, j) = (i * s..(i + 1) * s, i % c);
                    let (g, x, mean, affine) = (&g[r.clone()], &x[r], mean[j], affine(j));
                    dispatch(long::Dots::<T, RELU> { g, x, mean, affine, out });
                }
            });
            // The totals of a channel take the place of its first piece's.
            for j in 0..2 * c {
                sums[j] = (0..n).map(|i| sums[2 * i * c + j]).sum();
            }
        }
        for (j, out) in dbias.unwrap_or_default().iter_mut().enumerate() {
            *out = T::from_f64(sums[2 * j]);
        }
        for (j, out) in dweight.unwrap_or_default().iter_mut().enumerate() {
            *out = T::from_f64(sums[2 * j + 1] * rstd[j].to_f64());
        }
        if let Some(dx) = dx {
            let count = (n * s) as f64;
            let factors = |j: usize| norm.factors(j, [sums[2 * j], sums[2 * j + 1]], count);
            long::gradient::<T, RELU>(g, x, dims, dx, factors);
        }
        return Ok(());
    }
    let (dx, dweight, dbias) =
        (dx.map(SharedMut::new), dweight.map(SharedMut::new), dbias.map(SharedMut::new));
    each_task(dims, |pieces| {
        let dx = dx.as_ref();
        let [plain, dot] = dispatch(Backward::<T, RELU> { norm, pieces: &pieces, g, x, dx });
        let channels = pieces.channels;
        if let Some(dweight) = &dweight {
            // SAFETY: the channels of a task are its own.
            let out = unsafe { dweight.range(channels.clone()) };
            for ((out, dot), &r) in out.iter_mut().zip(dot).zip(&rstd[channels.clone()]) {
                *out = T::from_f64(dot * r.to_f64());
            }
        }
        if let Some(dbias) = &dbias {
            // SAFETY: the channels of a task are its own.
            let out = unsafe { dbias.range(channels) };
            out.iter_mut().zip(plain).for_each(|(out, v)| *out = T::from_f64(v));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, k: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.03 - 1.2).collect()
    }

    fn channel(x: &[f64], [n, c, s]: [usize; 3], j: usize) -> Vec<f64> {
        (0..n).flat_map(|i| x[(i * c + j) * s..][..s].to_vec()).collect()
    }

    #[test]
    fn gradients_of_an_empty_batch_are_zero() {
        for s in [0, 3, LONG] {
            for dims in [[0, 2, s], [3, 2, 0]] {
                let (mut dw, mut db) = ([1f32; 2], [1f32; 2]);
                let (dx, w, b) = (Some(&mut [][..]), Some(&mut dw[..]), Some(&mut db[..]));
                let norm = BatchNorm {
                    dims,
                    training: false,
                    weight: None,
                    bias: None,
                    mean: &[0.0; 2],
                    rstd: &[1.0; 2],
                    relu: false,
                };
                batch_norm_backward(&norm, &[], &[], dx, w, b).unwrap();
                assert_eq!((dw, db), ([0.0; 2], [0.0; 2]));
            }
        }
    }

    #[test]
    fn forward_and_gradients_agree_with_the_definition() {
        for dims in [[4, 3, 20], [9, 70, 1], [5, 67, 3], [2, 1, 1], [3, 5, 100]] {
            let [n, c, s] = dims;
            let size = n * c * s;
            let (x, g) = (values(size, 31), values(size, 17));
            let (w, b) = (values(c, 13), values(c, 7));
            let mut v = vec![vec![0.0; c]; 5];
            let [mean, var, rstd, dw, db] = &mut v[..] else { unreachable!() };
            let (mut out, mut dx, mut eval) = (x.clone(), x.clone(), x.clone());
            let affine = (Some(&w[..]), Some(&b[..]));
            batch_norm_forward(
                &x, dims, affine.0, affine.1, 1e-5, false, &mut out, mean, var, rstd,
            )
            .unwrap();
            let (weight, bias) = affine;
            let norm = BatchNorm { dims, training: true, weight, bias, mean, rstd, relu: false };
            batch_norm_backward(&norm, &g, &x, Some(&mut dx), Some(dw), Some(db)).unwrap();
            let fixed = BatchNorm { training: false, ..norm };
            batch_norm_backward(&fixed, &g, &x, Some(&mut eval), None, None).unwrap();
            let mut again = x.clone();
            let scale: Vec<f64> = (0..c).map(|j| w[j] * rstd[j]).collect();
            let shift: Vec<f64> = (0..c).map(|j| b[j] - mean[j] * scale[j]).collect();
            batch_norm_apply(&x, dims, &scale, &shift, &mut again);
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
            for j in 0..c {
                let (x, g) = (channel(&x, dims, j), channel(&g, dims, j));
                let count = x.len() as f64;
                let m = x.iter().sum::<f64>() / count;
                let v = x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / count;
                let r = 1.0 / (v + 1e-5).sqrt();
                close(mean[j], m);
                close(var[j], v);
                let hat: Vec<f64> = x.iter().map(|x| (x - m) * r).collect();
                let sum: f64 = g.iter().sum();
                let dot: f64 = g.iter().zip(&hat).map(|(g, h)| g * h).sum();
                close(db[j], sum);
                close(dw[j], dot);
                let (out, again) = (channel(&out, dims, j), channel(&again, dims, j));
                let (dx, eval) = (channel(&dx, dims, j), channel(&eval, dims, j));
                for i in 0..x.len() {
                    close(out[i], hat[i] * w[j] + b[j]);
                    close(again[i], out[i]);
                    close(dx[i], w[j] * r * (g[i] - sum / count - hat[i] * dot / count));
                    close(eval[i], g[i] * w[j] * r);
                }
            }
            // With a ReLU behind it: the same as its own pass, and its own gradient before.
            let (mut rectified, [mut m, mut v, mut r]) =
                (x.clone(), [(); 3].map(|()| vec![0.0; c]));
            batch_norm_forward(
                &x,
                dims,
                weight,
                bias,
                1e-5,
                true,
                &mut rectified,
                &mut m,
                &mut v,
                &mut r,
            )
            .unwrap();
            assert!(rectified.iter().zip(&out).all(|(a, b)| *a == b.max(0.0)), "{dims:?}");
            assert!(size < 30 || rectified.contains(&0.0), "{dims:?}");
            let masked: Vec<f64> =
                g.iter().zip(&out).map(|(&g, &y)| if y > 0.0 { g } else { 0.0 }).collect();
            for training in [true, false] {
                let all = |norm: BatchNorm<f64>, g: &[f64]| {
                    let mut all = [vec![0.0; size], vec![0.0; c], vec![0.0; c]];
                    let [dx, dw, db] = &mut all;
                    batch_norm_backward(&norm, g, &x, Some(dx), Some(dw), Some(db)).unwrap();
                    all
                };
                let norm = BatchNorm { training, ..norm };
                assert_eq!(all(BatchNorm { relu: true, ..norm }, &g), all(norm, &masked));
            }
        }
    }
}
