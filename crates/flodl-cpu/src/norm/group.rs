//! Group norm over [N, C, S], and with one channel a group, instance norm.

use crate::alloc::{OutOfMemory, Scratch};
use crate::math::FloatMath;
use crate::reduce::{SHORT, long_sum, long_sum2, sum};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{SharedMut, parallel_rows};

/// Mean and Σ (x - mean)² of a slice. Each block of it is read twice while it is in the first-level
/// cache, and its moments are joined to those before (Chan, Golub and LeVeque, 1983).
#[inline(always)]
fn moments<T: FloatMath>(x: &[T]) -> (f64, f64) {
    let (mut mean, mut squares, mut count) = (0.0, 0.0, 0.0);
    for x in x.chunks(SHORT) {
        let n = x.len() as f64;
        let of_block = sum(x, |x| x).to_f64() / n;
        let near = T::from_f64(of_block);
        let spread = sum(x, |x| (x - near) * (x - near)).to_f64();
        // About the exact mean, not the rounded one.
        let (off, apart, total) = (of_block - near.to_f64(), of_block - mean, count + n);
        squares += spread - n * off * off + apart * apart * count * n / total;
        mean += apart * n / total;
        count = total;
    }
    (mean, squares)
}

struct Forward<'a, T> {
    /// One group of one image: some channels of `s` elements.
    x: &'a [T],
    s: usize,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    eps: f64,
    out: &'a mut [T],
}

impl<T: FloatMath> Kernel for Forward<'_, T> {
    /// Mean and rstd.
    type Out = (T, T);
    #[inline(always)]
    fn run<A: Arch>(self) -> (T, T) {
        let Self { x, s, weight, bias, .. } = self;
        let (mean, squares) = moments(x);
        let mean = T::from_f64(mean);
        let rstd = 1.0 / (squares / x.len() as f64 + self.eps).sqrt();
        for (j, (out, x)) in self.out.chunks_exact_mut(s).zip(x.chunks_exact(s)).enumerate() {
            let scale = weight.map_or(1.0, |w| w[j].to_f64()) * rstd;
            let shift = T::from_f64(bias.map_or(0.0, |b| b[j].to_f64()) - mean.to_f64() * scale);
            let scale = T::from_f64(scale);
            for (out, &x) in out.iter_mut().zip(x) {
                *out = x.mul_add_::<A>(scale, shift);
            }
        }
        (mean, T::from_f64(rstd))
    }
}

fn check<T>([n, c, s]: [usize; 3], groups: usize, whole: &[&[T]], of_groups: &[&[T]]) {
    assert!(groups > 0 && c % groups == 0, "channels must divide into groups");
    assert!(whole.iter().all(|x| x.len() == n * c * s), "length of a tensor");
    assert!(of_groups.iter().all(|x| x.len() == n * groups), "length of group statistics");
}

/// Group norm over `dims` = [N, C, S]: each image's channels are normalised in `groups` groups;
/// weight and bias have an element a channel, `mean` and `rstd` one for each image and group.
///
/// # Panics
/// If the lengths do not fit or the channels do not divide into the groups.
pub fn group_norm_forward<T: FloatMath>(
    x: &[T],
    dims: [usize; 3],
    groups: usize,
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f64,
    out: &mut [T],
    mean: &mut [T],
    rstd: &mut [T],
) {
    let [n, c, s] = dims;
    check(dims, groups, &[x, out], &[mean, rstd]);
    assert!(weight.is_none_or(|w| w.len() == c) && bias.is_none_or(|b| b.len() == c), "weights");
    if x.is_empty() {
        return;
    }
    let (per, size) = (c / groups, c / groups * s);
    let (out, mean, rstd) = (SharedMut::new(out), SharedMut::new(mean), SharedMut::new(rstd));
    parallel_rows(n * groups, 2 * size, |range| {
        for i in range {
            let first = i % groups * per;
            // SAFETY: each group of an image has its own elements and statistics.
            let (out, mean, rstd) = unsafe {
                (out.range(i * size..(i + 1) * size), mean.range(i..i + 1), rstd.range(i..i + 1))
            };
            (mean[0], rstd[0]) = dispatch(Forward {
                x: &x[i * size..(i + 1) * size],
                s,
                weight: weight.map(|w| &w[first..first + per]),
                bias: bias.map(|b| &b[first..first + per]),
                eps,
                out,
            });
        }
    });
}

struct Backward<'a, T> {
    g: &'a [T],
    x: &'a [T],
    s: usize,
    weight: Option<&'a [T]>,
    mean: T,
    rstd: T,
    dx: &'a mut [T],
    /// Σ g and Σ g x̂ of each channel.
    sums: &'a mut [f64],
}

impl<T: FloatMath> Kernel for Backward<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self { g, x, s, weight, mean, rstd, .. } = self;
        let weight = |j: usize| weight.map_or(1.0, |w| w[j].to_f64());
        let count = x.len() as f64;
        let (mut plain, mut dot) = (0.0, 0.0);
        let channels = g.chunks_exact(s).zip(x.chunks_exact(s));
        for (j, ((g, x), sums)) in channels.zip(self.sums.chunks_exact_mut(2)).enumerate() {
            sums[0] = long_sum(g, |g| g);
            sums[1] = long_sum2(g, x, |g, x| g * (x - mean)) * rstd.to_f64();
            plain += weight(j) * sums[0];
            dot += weight(j) * sums[1];
        }
        if self.dx.is_empty() {
            return;
        }
        let r = rstd.to_f64();
        let shift = T::from_f64(plain / count * r);
        let slope = T::from_f64(dot / count * r * r);
        let channels = g.chunks_exact(s).zip(x.chunks_exact(s));
        for (j, ((g, x), dx)) in channels.zip(self.dx.chunks_exact_mut(s)).enumerate() {
            let scale = T::from_f64(weight(j) * r);
            for ((dx, &g), &x) in dx.iter_mut().zip(g).zip(x) {
                *dx = g * scale - shift - (x - mean) * slope;
            }
        }
    }
}

/// Gradients of [`group_norm_forward`] from its input and what it saved.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the sums of the channels.
///
/// # Panics
/// If the lengths do not fit or the channels do not divide into the groups.
pub fn group_norm_backward<T: FloatMath>(
    g: &[T],
    x: &[T],
    dims: [usize; 3],
    groups: usize,
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    let [n, c, s] = dims;
    check(dims, groups, &[g, x], &[mean, rstd]);
    assert!(weight.is_none_or(|w| w.len() == c), "length of the weight");
    assert!(dx.as_ref().is_none_or(|d| d.len() == x.len()), "length of dx");
    assert!(dweight.as_ref().is_none_or(|d| d.len() == c), "length of dweight");
    assert!(dbias.as_ref().is_none_or(|d| d.len() == c), "length of dbias");
    let dx = dx.unwrap_or_default();
    let has_dx = !dx.is_empty();
    let mut sums = Scratch::<f64>::new(n * c * 2)?;
    if x.is_empty() {
        sums.fill(0.0);
    } else {
        let (per, size) = (c / groups, c / groups * s);
        let (dx, sums) = (SharedMut::new(dx), SharedMut::new(&mut sums));
        parallel_rows(n * groups, 2 * size, |range| {
            for i in range {
                let elements = i * size..(i + 1) * size;
                let first = i % groups * per;
                // SAFETY: each group of an image has its own elements and sums.
                let (dx, sums) = unsafe {
                    let of_dx = if has_dx { elements.clone() } else { 0..0 };
                    (dx.range(of_dx), sums.range(2 * per * i..2 * per * (i + 1)))
                };
                dispatch(Backward {
                    g: &g[elements.clone()],
                    x: &x[elements],
                    s,
                    weight: weight.map(|w| &w[first..first + per]),
                    mean: mean[i],
                    rstd: rstd[i],
                    dx,
                    sums,
                });
            }
        });
    }
    let total = |k: usize, j: usize| (0..n).map(|i| sums[2 * (i * c + j) + k]).sum::<f64>();
    for (j, out) in dbias.unwrap_or_default().iter_mut().enumerate() {
        *out = T::from_f64(total(0, j));
    }
    for (j, out) in dweight.unwrap_or_default().iter_mut().enumerate() {
        *out = T::from_f64(total(1, j));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, k: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.03 - 1.2).collect()
    }

    #[test]
    fn forward_and_gradients_agree_with_the_definition() {
        for (dims, groups) in [([2, 6, 10], 3), ([3, 4, 1], 2), ([2, 5, 70], 5), ([1, 4, 33], 1)] {
            let [n, c, s] = dims;
            let (x, g) = (values(n * c * s, 31), values(n * c * s, 17));
            let (w, b) = (values(c, 13), values(c, 7));
            let (mut mean, mut rstd) = (vec![0.0; n * groups], vec![0.0; n * groups]);
            let (mut out, mut dx) = (x.clone(), x.clone());
            let (mut dw, mut db) = (w.clone(), w.clone());
            let (m, r) = (&mut mean[..], &mut rstd[..]);
            group_norm_forward(&x, dims, groups, Some(&w), Some(&b), 1e-5, &mut out, m, r);
            let all = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
            let result = group_norm_backward(
                &g,
                &x,
                dims,
                groups,
                Some(&w),
                &mean,
                &rstd,
                all.0,
                all.1,
                all.2,
            );
            assert!(result.is_ok());
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
            let size = c / groups * s;
            let (mut want_w, mut want_b) = (vec![0.0; c], vec![0.0; c]);
            for i in 0..n * groups {
                let channel = |k: usize| i % groups * (c / groups) + k / s;
                let (x, g) = (&x[i * size..][..size], &g[i * size..][..size]);
                let m = x.iter().sum::<f64>() / size as f64;
                let v = x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / size as f64;
                let r = 1.0 / (v + 1e-5).sqrt();
                let hat: Vec<f64> = x.iter().map(|x| (x - m) * r).collect();
                let gw: Vec<f64> = (0..size).map(|k| g[k] * w[channel(k)]).collect();
                let sum = gw.iter().sum::<f64>() / size as f64;
                let dot = gw.iter().zip(&hat).map(|(g, h)| g * h).sum::<f64>() / size as f64;
                for k in 0..size {
                    close(out[i * size + k], hat[k] * w[channel(k)] + b[channel(k)]);
                    close(dx[i * size + k], r * (gw[k] - sum - hat[k] * dot));
                    want_w[channel(k)] += g[k] * hat[k];
                    want_b[channel(k)] += g[k];
                }
            }
            dw.iter().zip(&want_w).for_each(|(&a, &b)| close(a, b));
            db.iter().zip(&want_b).for_each(|(&a, &b)| close(a, b));
        }
    }

    #[test]
    fn blocks_of_a_slice_join_to_its_moments() {
        // Blocks whose means lie apart, the last one short; and one block, and one value.
        for len in [1, 100, SHORT, SHORT + 1, 3 * SHORT + 700] {
            let x: Vec<f64> =
                values(len, 31).iter().enumerate().map(|(i, v)| v + (i / SHORT) as f64).collect();
            let (mean, squares) = moments(&x);
            let m = x.iter().sum::<f64>() / len as f64;
            let want: f64 = x.iter().map(|x| (x - m) * (x - m)).sum();
            assert!((mean - m).abs() < 1e-12 * (1.0 + m.abs()), "{len}: {mean} {m}");
            assert!((squares - want).abs() < 1e-11 * (1.0 + want), "{len}: {squares} {want}");
        }
    }
}
