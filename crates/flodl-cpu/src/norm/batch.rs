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

    /// Σ f(x, y, m) for each channel into `out`; `m` has a value for each channel.
    #[inline(always)]
    fn sums<T: FloatMath>(
        &self,
        x: &[T],
        y: &[T],
        m: &[T; TILE],
        out: &mut [f64; TILE],
        f: impl Fn(T, T, T) -> T,
    ) {
        let width = self.channels.len();
        out[..width].fill(0.0);
        for i in 0..self.n {
            let (x, y) = (&x[self.at(i)], &y[self.at(i)]);
            if self.s == 1 {
                for (((out, &m), &x), &y) in out.iter_mut().zip(m).zip(x).zip(y) {
                    *out += f(x, y, m).to_f64();
                }
            } else {
                let pieces = x.chunks_exact(self.s).zip(y.chunks_exact(self.s));
                for ((out, &m), (x, y)) in out.iter_mut().zip(m).zip(pieces) {
                    let part: T = x.iter().zip(y).map(|(&x, &y)| f(x, y, m)).sum();
                    *out += part.to_f64();
                }
            }
        }
    }

    /// `out = f(x, y, p)` for every element, `p` being its channel's four parameters.
    #[inline(always)]
    fn map<T: FloatMath>(
        &self,
        x: &[T],
        y: &[T],
        p: &[[T; TILE]; 4],
        out: &SharedMut<'_, T>,
        f: impl Fn(T, T, [T; 4]) -> T,
    ) {
        for i in 0..self.n {
            let (x, y) = (&x[self.at(i)], &y[self.at(i)]);
            // SAFETY: the channels of a task are its own.
            let out = unsafe { out.range(self.at(i)) };
            if self.s == 1 {
                let [a, b, c, d] = p;
                let params = a.iter().zip(b).zip(c.iter().zip(d));
                let elements = out.iter_mut().zip(x.iter().zip(y));
                for ((out, (&x, &y)), ((&a, &b), (&c, &d))) in elements.zip(params) {
                    *out = f(x, y, [a, b, c, d]);
                }
            } else {
                let pieces = x.chunks_exact(self.s).zip(y.chunks_exact(self.s));
                for (j, ((x, y), out)) in pieces.zip(out.chunks_exact_mut(self.s)).enumerate() {
                    let p = [p[0][j], p[1][j], p[2][j], p[3][j]];
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
        let (mut mean, mut total) = ([T::ZERO; TILE], [0.0; TILE]);
        pieces.sums(x, x, &[T::ZERO; TILE], &mut total, |x, _, _| x);
        mean.iter_mut().zip(&total).for_each(|(m, t)| *m = T::from_f64(t / count));
        pieces.sums(x, x, &mean, &mut total, |x, _, m| (x - m) * (x - m));
        total.iter_mut().for_each(|t| *t /= count);
        (mean, total)
    }
}

/// Multiplies each channel of a tile by its scale and adds its shift.
struct Apply<'a, T>(&'a Pieces, &'a [T], [[T; TILE]; 4], &'a SharedMut<'a, T>);

impl<T: FloatMath> Kernel for Apply<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self(pieces, x, p, out) = self;
        pieces.map(x, x, &p, out, |x, _, [scale, shift, ..]| x.mul_add_::<A>(scale, shift));
    }
}

fn check<T>([n, c, s]: [usize; 3], whole: &[&[T]], channels: &[&[T]]) {
    assert!(whole.iter().all(|x| x.len() == n * c * s), "length of a tensor");
    assert!(channels.iter().all(|x| x.len() == c), "length of a channel parameter");
}

/// Batch norm in training over `dims` = [N, C, S]: normalises with the batch's own statistics.
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
    out: &mut [T],
    mean: &mut [T],
    var: &mut [T],
    rstd: &mut [T],
) -> Result<(), OutOfMemory> {
    check(dims, &[x, out], &[mean, var, rstd]);
    check(dims, &[], weight.as_slice());
    check(dims, &[], bias.as_slice());
    let [n, c, s] = dims;
    // Scale and shift of a channel with these statistics.
    let affine = |j: usize, mean: T, rstd: f64| {
        let scale = weight.map_or(1.0, |w| w[j].to_f64()) * rstd;
        [scale, bias.map_or(0.0, |b| b[j].to_f64()) - mean.to_f64() * scale].map(T::from_f64)
    };
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
            factors.copy_from_slice(&affine(j, mean[j], r));
        }
        long::apply(x, [n, c, s], |j| [factors[2 * j], factors[2 * j + 1]], out);
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
        let mut p = [[T::ZERO; TILE]; 4];
        for (j, c) in channels.enumerate() {
            (mean[j], var[j]) = (m[j], T::from_f64(v[j]));
            let r = 1.0 / (v[j] + eps).sqrt();
            rstd[j] = T::from_f64(r);
            [p[0][j], p[1][j]] = affine(c, m[j], r);
        }
        dispatch(Apply(&pieces, x, p, &out));
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
        long::apply(x, dims, |j| [scale[j], shift[j]], out);
        return;
    }
    let out = SharedMut::new(out);
    each_task(dims, |pieces| {
        let mut p = [[T::ZERO; TILE]; 4];
        for (j, c) in pieces.channels.clone().enumerate() {
            (p[0][j], p[1][j]) = (scale[c], shift[c]);
        }
        dispatch(Apply(&pieces, x, p, &out));
    });
}

struct Backward<'a, T> {
    pieces: &'a Pieces,
    g: &'a [T],
    x: &'a [T],
    weight: Option<&'a [T]>,
    mean: &'a [T],
    rstd: &'a [T],
    dx: Option<&'a SharedMut<'a, T>>,
    training: bool,
}

impl<T: FloatMath> Kernel for Backward<'_, T> {
    /// Σ g and Σ g (x - mean) of each channel.
    type Out = [[f64; TILE]; 2];
    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        let Self { pieces, g, x, .. } = self;
        let count = (pieces.n * pieces.s) as f64;
        let mut mean = [T::ZERO; TILE];
        mean.iter_mut().zip(&self.mean[pieces.channels.clone()]).for_each(|(m, &v)| *m = v);
        let [mut plain, mut dot] = [[0.0; TILE]; 2];
        pieces.sums(g, x, &mean, &mut plain, |g, _, _| g);
        pieces.sums(g, x, &mean, &mut dot, |g, x, m| g * (x - m));
        if let Some(dx) = self.dx {
            let mut p = [[T::ZERO; TILE], [T::ZERO; TILE], mean, [T::ZERO; TILE]];
            for (j, c) in pieces.channels.clone().enumerate() {
                let rstd = self.rstd[c].to_f64();
                p[0][j] = T::from_f64(self.weight.map_or(1.0, |w| w[c].to_f64()) * rstd);
                p[1][j] = T::from_f64(plain[j] / count);
                p[3][j] = T::from_f64(dot[j] / count * rstd * rstd);
            }
            if self.training {
                pieces.map(g, x, &p, dx, |g, x, [scale, shift, mean, slope]| {
                    (g - shift - (x - mean) * slope) * scale
                });
            } else {
                pieces.map(g, g, &p, dx, |g, _, [scale, ..]| g * scale);
            }
        }
        [plain, dot]
    }
}

fn backward<T: FloatMath>(
    training: bool,
    g: &[T],
    x: &[T],
    dims: [usize; 3],
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    check(dims, &[g, x], &[mean, rstd]);
    check(dims, &[], weight.as_slice());
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
            long::each_piece(n * c, s, &mut sums, |range, out| {
                let r = range.start * s..range.end * s;
                dispatch(long::Dots {
                    g: &g[r.clone()],
                    x: &x[r],
                    s,
                    first: range.start,
                    mean,
                    out,
                });
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
            long::gradient(g, x, dims, dx, |j| {
                let r = rstd[j].to_f64();
                let scale = T::from_f64(weight.map_or(1.0, |w| w[j].to_f64()) * r);
                if !training {
                    return [scale, T::ZERO, mean[j], T::ZERO];
                }
                let shift = T::from_f64(sums[2 * j] / count);
                [scale, shift, mean[j], T::from_f64(sums[2 * j + 1] / count * r * r)]
            });
        }
        return Ok(());
    }
    let (dx, dweight, dbias) =
        (dx.map(SharedMut::new), dweight.map(SharedMut::new), dbias.map(SharedMut::new));
    each_task(dims, |pieces| {
        let dx = dx.as_ref();
        let [plain, dot] =
            dispatch(Backward { pieces: &pieces, g, x, weight, mean, rstd, dx, training });
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

/// Gradients of [`batch_norm_forward`] from its input and what it saved.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the sums of the channels.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward<T: FloatMath>(
    g: &[T],
    x: &[T],
    dims: [usize; 3],
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    backward(true, g, x, dims, weight, mean, rstd, dx, dweight, dbias)
}

/// Gradients of batch norm in evaluation, where mean and rstd are constants.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the sums of the channels.
///
/// # Panics
/// If the lengths do not fit.
pub fn batch_norm_backward_eval<T: FloatMath>(
    g: &[T],
    x: &[T],
    dims: [usize; 3],
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    backward(false, g, x, dims, weight, mean, rstd, dx, dweight, dbias)
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
                batch_norm_backward_eval(&[], &[], dims, None, &[0.0; 2], &[1.0; 2], dx, w, b)
                    .unwrap();
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
            let r =
                batch_norm_forward(&x, dims, Some(&w), Some(&b), 1e-5, &mut out, mean, var, rstd);
            assert!(r.is_ok());
            let all = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
            let r = batch_norm_backward(&g, &x, dims, Some(&w), mean, rstd, all.0, all.1, all.2);
            assert!(r.is_ok());
            let only = Some(&mut eval[..]);
            let r = batch_norm_backward_eval(&g, &x, dims, Some(&w), mean, rstd, only, None, None);
            assert!(r.is_ok());
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
        }
    }
}
