//! Max pooling. Indices are flat within a plane; the first maximum wins, and a NaN wins over all.

use std::ops::Range;

use super::{PoolGeom, adaptive_window, row_buffer};
use crate::element::{Element, Float};
use crate::simd_fn;
use crate::threads::{GRAIN, SharedMut, parallel_rows};

/// Outputs that are worked on together, with their maxima and indices in registers and L1.
const TILE: usize = 64;

/// Outputs whose window element `k` lies inside the input, along one dim.
#[inline(always)]
fn valid(
    k: usize,
    input: usize,
    output: usize,
    stride: usize,
    pad: usize,
    dil: usize,
) -> (usize, usize) {
    let at = k * dil;
    let lo = pad.saturating_sub(at).div_ceil(stride);
    let hi = (input + pad).saturating_sub(at).div_ceil(stride);
    let hi = hi.min(output);
    (lo.min(hi), hi)
}

/// Takes `line[j * stride]` into the `j`-th maximum.
#[inline(always)]
fn tap<T: Float>(stride: usize, line: &[T], first: i32, best: &mut [T], at: &mut [i32]) {
    let n = best.len();
    assert!(n > 0 && at.len() == n && line.len() > (n - 1) * stride);
    for j in 0..n {
        // SAFETY: `j < n`, and the assert bounds all three slices.
        unsafe {
            let v = *line.get_unchecked(j * stride);
            let b = best.get_unchecked_mut(j);
            let take = (v > *b) | v.is_nan();
            *b = if take { v } else { *b };
            let a = at.get_unchecked_mut(j);
            *a = if take { first + (j * stride) as i32 } else { *a };
        }
    }
}

simd_fn! {
    fn max_rows<A, (T: Float), (I: Element)>(
        g: &'x PoolGeom, x: &'x [T], rows: Range<usize>, y: &'x mut [T], idx: Option<&'x mut [I]>,
    ) {
        let ([id, ih, iw], [od, oh, ow]) = (g.input, g.output);
        let (s, p, d) = (g.stride, g.padding, g.dilation);
        let mut idx = idx;
        let mut spans = [(0, 0); 32];
        for (k, span) in spans.iter_mut().enumerate().take(g.kernel[2]) {
            *span = valid(k, iw, ow, s[2], p[2], d[2]);
        }
        let mut plane = rows.start / (od * oh);
        let (mut z, mut r) = (rows.start / oh % od, rows.start % oh);
        for row in 0..rows.len() {
            let x = &x[plane * id * ih * iw..][..id * ih * iw];
            let mut t0 = 0;
            while t0 < ow {
                let t1 = (t0 + TILE).min(ow);
                let (mut best, mut at) = ([T::NEG_INFINITY; TILE], [-1i32; TILE]);
                for kd in 0..g.kernel[0] {
                    let Some(zi) = (z * s[0] + kd * d[0]).checked_sub(p[0]) else { continue };
                    for kh in 0..g.kernel[1] {
                        let Some(ri) = (r * s[1] + kh * d[1]).checked_sub(p[1]) else { continue };
                        if zi >= id || ri >= ih {
                            continue;
                        }
                        let first = (zi * ih + ri) * iw;
                        for kw in 0..g.kernel[2] {
                            let (lo, hi) = if kw < spans.len() {
                                spans[kw]
                            } else {
                                valid(kw, iw, ow, s[2], p[2], d[2])
                            };
                            let (lo, hi) = (lo.max(t0), hi.min(t1));
                            if lo >= hi {
                                continue;
                            }
                            let from = lo * s[2] + kw * d[2] - p[2];
                            let (line, first) = (&x[first + from..], (first + from) as i32);
                            let (best, at) = (&mut best[lo - t0..hi - t0], &mut at[lo - t0..hi - t0]);
                            // Constant strides let the compiler vectorise.
                            match s[2] {
                                1 => tap(1, line, first, best, at),
                                2 => tap(2, line, first, best, at),
                                s => tap(s, line, first, best, at),
                            }
                        }
                    }
                }
                y[row * ow + t0..row * ow + t1].copy_from_slice(&best[..t1 - t0]);
                if let Some(idx) = &mut idx {
                    let idx = &mut idx[row * ow + t0..row * ow + t1];
                    for (i, &a) in idx.iter_mut().zip(&at) {
                        *i = I::from_i64(i64::from(a));
                    }
                    if at[..t1 - t0].iter().fold(0, |m: i32, &a| m.min(a)) < 0 {
                        for (j, i) in idx.iter_mut().enumerate() {
                            if at[j] < 0 {
                                *i = I::from_i64(first_of(g, [z, r, t0 + j]) as i64);
                            }
                        }
                    }
                }
                t0 = t1;
            }
            r += 1;
            if r == oh {
                r = 0;
                z += 1;
            }
            if z == od {
                z = 0;
                plane += 1;
            }
        }
    }
}

/// The first element of a window, for windows of nothing but negative infinity.
#[cold]
fn first_of(g: &PoolGeom, o: [usize; 3]) -> usize {
    let mut flat = 0;
    for k in 0..3 {
        let start = o[k] * g.stride[k];
        let pad = g.padding[k];
        let i = if start >= pad {
            start - pad
        } else {
            (start + g.dilation[k] - pad % g.dilation[k]) % g.dilation[k]
        };
        flat = flat * g.input[k] + i.min(g.input[k] - 1);
    }
    flat
}

/// Max pooling of `x [planes, input]` into `y [planes, output]`; `idx`, if wanted, gets where in
/// its input plane each maximum stands. A plane has fewer than 2^31 elements.
pub fn max_pool<T: Float, I: Element>(g: &PoolGeom, x: &[T], y: &mut [T], idx: Option<&mut [I]>) {
    let (rows, width) = (g.planes * g.output[0] * g.output[1], g.output[2]);
    assert!(x.len() == g.planes * g.in_plane() && y.len() == rows * width);
    assert!(g.in_plane() < i32::MAX as usize && g.stride.iter().all(|&s| s > 0));
    assert!(idx.as_ref().is_none_or(|i| i.len() == y.len()));
    let cost = width * g.kernel.iter().product::<usize>();
    let (y, idx) = (SharedMut::new(y), idx.map(SharedMut::new));
    parallel_rows(rows, cost, |r| {
        let range = r.start * width..r.end * width;
        // SAFETY: the rows of one region are disjoint.
        let y = unsafe { y.range(range.clone()) };
        // SAFETY: likewise.
        let idx = idx.as_ref().map(|i| unsafe { i.range(range) });
        max_rows(g, x, r, y, idx);
    });
}

/// Gradient of all max poolings: adds `dy [planes, out_plane]` at `idx` into `dx [planes,
/// in_plane]`, which is cleared first.
///
/// # Panics
/// If an index is outside the plane.
pub fn max_pool_backward<T: Float, I: Element>(planes: usize, dy: &[T], idx: &[I], dx: &mut [T]) {
    scatter(planes, dy, idx, dx, |d, g| *d += g);
}

/// The reverse of max pooling: writes `x [planes, small]` at `idx` into `y [planes, large]`, which
/// is 0 elsewhere.
///
/// # Panics
/// If an index is outside the plane.
pub fn max_unpool<T: Element, I: Element>(planes: usize, x: &[T], idx: &[I], y: &mut [T]) {
    scatter(planes, x, idx, y, |d, v| *d = v);
}

fn scatter<T: Element, I: Element>(
    planes: usize,
    from: &[T],
    idx: &[I],
    to: &mut [T],
    put: impl Fn(&mut T, T) + Sync,
) {
    if planes == 0 {
        return;
    }
    let (small, large) = (from.len() / planes, to.len() / planes);
    assert!(from.len() == idx.len() && from.len() == small * planes && to.len() == large * planes);
    let to = SharedMut::new(to);
    parallel_rows(planes, large + small, |r| {
        for plane in r {
            // SAFETY: each plane belongs to one task.
            let to = unsafe { to.range(plane * large..(plane + 1) * large) };
            to.fill(T::ZERO);
            let part = plane * small..(plane + 1) * small;
            for (&v, &i) in from[part.clone()].iter().zip(&idx[part]) {
                put(&mut to[i.to_i64() as usize], v);
            }
        }
    });
}

simd_fn! {
    fn adaptive_planes<A, (T: Float), (I: Element)>(
        g: &'x PoolGeom, x: &'x [T], y: &'x mut [T], idx: Option<&'x mut [I]>,
    ) {
        let ([id, ih, iw], [od, oh, ow]) = (g.input, g.output);
        let mut idx = idx;
        row_buffer!(best: [T; iw]);
        row_buffer!(at: [i32; iw]);
        for (plane, x) in x.chunks_exact(id * ih * iw).enumerate() {
            for row in 0..od * oh {
                let (z0, z1) = adaptive_window(row / oh, id, od);
                let (r0, r1) = adaptive_window(row % oh, ih, oh);
                // Down the columns first, which vectorises, then along the row of maxima.
                for z in z0..z1 {
                    for r in r0..r1 {
                        let first = (z * ih + r) * iw;
                        let line = &x[first..][..iw];
                        if (z, r) == (z0, r0) {
                            best.copy_from_slice(line);
                            for (j, a) in at.iter_mut().enumerate() {
                                *a = (first + j) as i32;
                            }
                        } else {
                            tap(1, line, first as i32, best, at);
                        }
                    }
                }
                let out = (plane * od * oh + row) * ow;
                for o in 0..ow {
                    let (w0, w1) = adaptive_window(o, iw, ow);
                    let (mut v, mut a) = (best[w0], at[w0]);
                    for (&b, &i) in best[w0..w1].iter().zip(&at[w0..w1]).skip(1) {
                        // Of equals the first in row-major order wins, of NaNs the last.
                        let nan = b.is_nan() && (!v.is_nan() || i > a);
                        if b > v || (b == v && i < a) || nan {
                            (v, a) = (b, i);
                        }
                    }
                    y[out + o] = v;
                    if let Some(idx) = &mut idx {
                        idx[out + o] = I::from_i64(i64::from(a));
                    }
                }
            }
        }
    }
}

/// Max pooling with windows that share the input evenly; its gradient is [`max_pool_backward`].
pub fn adaptive_max_pool<T: Float, I: Element>(
    planes: usize,
    input: [usize; 3],
    output: [usize; 3],
    x: &[T],
    y: &mut [T],
    idx: Option<&mut [I]>,
) {
    let one = [1; 3];
    let g = PoolGeom {
        planes,
        input,
        output,
        kernel: one,
        stride: one,
        padding: [0; 3],
        dilation: one,
    };
    let (large, small) = (g.in_plane(), g.out_plane());
    assert!(x.len() == planes * large && y.len() == planes * small && large < i32::MAX as usize);
    assert!(idx.as_ref().is_none_or(|i| i.len() == y.len()) && (large > 0 || y.is_empty()));
    if y.is_empty() {
        return;
    }
    let (y, idx) = (SharedMut::new(y), idx.map(SharedMut::new));
    parallel_rows(planes, large.max(small).min(GRAIN), |r| {
        let range = r.start * small..r.end * small;
        // SAFETY: the planes of one region are disjoint.
        let y = unsafe { y.range(range.clone()) };
        // SAFETY: likewise.
        let idx = idx.as_ref().map(|i| unsafe { i.range(range) });
        adaptive_planes(&g, &x[r.start * large..r.end * large], y, idx);
    });
}

#[cfg(test)]
mod tests {
    use super::super::pool_output_size;
    use super::*;
    use crate::random::{Key, randint};

    /// Window by window, as the definition says.
    fn naive(g: &PoolGeom, x: &[f64]) -> (Vec<f64>, Vec<i64>) {
        let (mut y, mut idx) = (vec![], vec![]);
        for x in x.chunks(g.in_plane()) {
            for o in 0..g.out_plane() {
                let o =
                    [o / g.output[2] / g.output[1], o / g.output[2] % g.output[1], o % g.output[2]];
                let (mut best, mut at) = (f64::NEG_INFINITY, -1);
                for k in 0..g.kernel.iter().product() {
                    let k = [
                        k / g.kernel[2] / g.kernel[1],
                        k / g.kernel[2] % g.kernel[1],
                        k % g.kernel[2],
                    ];
                    let (mut flat, mut inside) = (0, true);
                    for a in 0..3 {
                        let i = (o[a] * g.stride[a] + k[a] * g.dilation[a]) as i64
                            - g.padding[a] as i64;
                        inside &= i >= 0 && i < g.input[a] as i64;
                        flat = flat * g.input[a] as i64 + i;
                    }
                    if inside && (at < 0 || x[flat as usize] > best || x[flat as usize].is_nan()) {
                        (best, at) = (x[flat as usize], flat);
                    }
                }
                y.push(best);
                idx.push(at);
            }
        }
        (y, idx)
    }

    fn values(n: usize) -> Vec<f64> {
        let mut i = vec![0; n];
        randint(Key { seed: 5, offset: 0 }, 0, 12, &mut i);
        // Few distinct values, so that ties, infinities and NaNs meet in windows.
        let value = |&v: &i64| match v {
            0 => f64::NEG_INFINITY,
            1 if n.is_multiple_of(3) => f64::NAN,
            v => v as f64,
        };
        i.iter().map(value).collect()
    }

    fn same(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    }

    #[test]
    fn max_pool_is_its_definition() {
        for (input, kernel, stride, padding, dilation) in [
            (&[200][..], 2, 2, 0, 1),
            (&[131], 3, 1, 1, 2),
            (&[90], 40, 3, 20, 1),
            (&[9, 150], 2, 2, 0, 1),
            (&[16, 17], 3, 2, 1, 1),
            (&[13, 12], 3, 1, 1, 2),
            (&[14, 30], 4, 3, 2, 1),
            (&[5, 6, 7], 3, 2, 1, 1),
            (&[4, 4, 4], 2, 2, 0, 1),
            (&[40, 41, 42], 2, 1, 1, 1),
        ] {
            for ceil in [false, true] {
                let n = input.len();
                let output: Vec<usize> = input
                    .iter()
                    .map(|&i| pool_output_size(i, kernel, stride, padding, dilation, ceil).unwrap())
                    .collect();
                let all = |v| vec![v; n];
                let g = PoolGeom::new(
                    3,
                    input,
                    &output,
                    &all(kernel),
                    &all(stride),
                    &all(padding),
                    &all(dilation),
                );
                let x = values(3 * g.in_plane());
                let (want, want_idx) = naive(&g, &x);
                let (mut y, mut idx) = (vec![0.0; want.len()], vec![0i64; want.len()]);
                max_pool(&g, &x, &mut y, Some(&mut idx));
                assert!(same(&y, &want), "{g:?}");
                assert_eq!(idx, want_idx, "{g:?}");
                let xf: Vec<f32> = x.iter().map(|&v| v as f32).collect();
                let (mut yf, mut idxf) = (vec![0f32; want.len()], vec![0i32; want.len()]);
                max_pool(&g, &xf, &mut yf, Some(&mut idxf));
                assert!(idxf.iter().zip(&want_idx).all(|(&a, &b)| i64::from(a) == b), "{g:?}");
                let mut dx = vec![1.0; x.len()];
                let dy: Vec<f64> = (0..want.len()).map(|i| i as f64).collect();
                max_pool_backward(3, &dy, &idx, &mut dx);
                let mut want = vec![0.0; x.len()];
                for (i, &at) in idx.iter().enumerate() {
                    want[i / g.out_plane() * g.in_plane() + at as usize] += i as f64;
                }
                assert_eq!(dx, want);
            }
        }
    }

    #[test]
    fn adaptive_max_pool_is_its_definition() {
        for (input, output) in [
            ([1, 1, 700], [1, 1, 3]),
            ([1, 32, 32], [1, 7, 7]),
            ([5, 4, 6], [2, 3, 6]),
            ([1, 3, 3], [1, 5, 1]),
        ] {
            let plane: usize = input.iter().product();
            let x = values(2 * plane);
            let n = 2 * output.iter().product::<usize>();
            let (mut y, mut idx) = (vec![0.0; n], vec![0i64; n]);
            adaptive_max_pool(2, input, output, &x, &mut y, Some(&mut idx));
            for o in 0..n {
                let (p, q) = (o / (n / 2), o % (n / 2));
                let (z, r, w) = (
                    adaptive_window(q / output[2] / output[1], input[0], output[0]),
                    adaptive_window(q / output[2] % output[1], input[1], output[1]),
                    adaptive_window(q % output[2], input[2], output[2]),
                );
                let (mut best, mut at) = (f64::NEG_INFINITY, -1);
                for z in z.0..z.1 {
                    for r in r.0..r.1 {
                        for w in w.0..w.1 {
                            let i = (z * input[1] + r) * input[2] + w;
                            let v = x[p * plane + i];
                            if at < 0 || v > best || v.is_nan() {
                                (best, at) = (v, i as i64);
                            }
                        }
                    }
                }
                assert!(same(&[y[o]], &[best]) && idx[o] == at, "{input:?} {output:?} {o}");
            }
        }
    }

    #[test]
    fn unpool_puts_maxima_back() {
        let mut y = [9.0; 8];
        max_unpool(2, &[1.0, 2.0], &[3i64, 0], &mut y);
        assert_eq!(y, [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0]);
    }
}
