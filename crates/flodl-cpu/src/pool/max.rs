//! Max pooling. Indices are flat within a plane; the first maximum wins, and a NaN wins over all.

use std::ops::Range;

use super::{PoolGeom, adaptive_window, row_buffer};
use crate::element::{Element, Float};
use crate::simd_fn;
use crate::threads::{GRAIN, SharedMut, parallel_rows};

const LANES: usize = 16;

/// What stands beside the input: smaller than all, and after all in order.
const OUTSIDE: i32 = i32::MAX;

/// Takes `line[j]`, element `first + j` of its plane, into the `j`-th maximum. Of equals the
/// earlier call wins, of NaNs the later.
#[inline(always)]
fn tap<T: Float>(line: &[T], first: i32, best: &mut [T], at: &mut [i32]) {
    let (lines, rest) = line.as_chunks::<LANES>();
    let (bests, best) = best.as_chunks_mut::<LANES>();
    let (ats, at) = at.as_chunks_mut::<LANES>();
    let done = (lines.len() * LANES) as i32;
    for (c, ((line, best), at)) in lines.iter().zip(bests).zip(ats).enumerate() {
        let first = first + (c * LANES) as i32;
        // Copies, since stores between the loads would keep the lanes apart.
        let (line, mut b, mut a) = (*line, *best, *at);
        for j in 0..LANES {
            let take = (line[j] > b[j]) | line[j].is_nan();
            b[j] = if take { line[j] } else { b[j] };
            a[j] = if take { first + j as i32 } else { a[j] };
        }
        (*best, *at) = (b, a);
    }
    for (j, ((&v, b), a)) in rest.iter().zip(best).zip(at).enumerate() {
        if v > *b || v.is_nan() {
            (*b, *a) = (v, first + done + j as i32);
        }
    }
}

/// Starts the maxima of the columns with a line.
#[inline(always)]
fn start<T: Float>(line: &[T], first: i32, best: &mut [T], at: &mut [i32]) {
    best.copy_from_slice(line);
    for (j, a) in at.iter_mut().enumerate() {
        *a = first + j as i32;
    }
}

/// Whether the second of two values is the maximum of a window. Of equals the first in row-major
/// order is, of NaNs the last.
#[inline(always)]
fn second<T: Float>((v, at): (T, i32), (b, a): (T, i32)) -> bool {
    let nan = b.is_nan() & (!v.is_nan() | (a > at));
    (b > v) | ((b == v) & (a < at)) | nan
}

/// Takes column `j * stride + k` into the `j`-th window, for columns that hold maxima of their own.
#[inline(always)]
fn along<T: Float>(
    stride: usize,
    k: usize,
    (best, at): (&[T], &[i32]),
    (y, i): (&mut [T], &mut [i32]),
) {
    let n = y.len();
    assert!(n > 0 && i.len() == n && best.len() > (n - 1) * stride + k && at.len() == best.len());
    for j in 0..n {
        // SAFETY: the assert bounds the largest index of each.
        unsafe {
            let (b, a) = (*best.get_unchecked(j * stride + k), *at.get_unchecked(j * stride + k));
            let (y, i) = (y.get_unchecked_mut(j), i.get_unchecked_mut(j));
            let (v, at) = (*y, *i);
            let take = second((v, at), (b, a));
            *y = if take { b } else { v };
            *i = if take { a } else { at };
        }
    }
}

/// The maxima of windows of two columns, side by side.
#[inline(always)]
fn pairs<T: Float>((best, at): (&[T], &[i32]), (y, i): (&mut [T], &mut [i32])) {
    const PAIRS: usize = 2 * LANES;
    let columns = 2 * y.len();
    let (best, at) = (&best[..columns], &at[..columns]);
    let ((bests, best), (ats, at)) = (best.as_chunks::<PAIRS>(), at.as_chunks::<PAIRS>());
    let ((ys, y), (is, i)) = (y.as_chunks_mut::<LANES>(), i.as_chunks_mut::<LANES>());
    for ((best, at), (y, i)) in bests.iter().zip(ats).zip(ys.iter_mut().zip(is)) {
        // Copies, of which the compiler makes shuffles; of strided loads it makes gathers.
        let (best, at) = (*best, *at);
        let (mut values, mut places) = ([T::ZERO; LANES], [0; LANES]);
        for j in 0..LANES {
            let (first, then) = ((best[2 * j], at[2 * j]), (best[2 * j + 1], at[2 * j + 1]));
            let take = second(first, then);
            values[j] = if take { then.0 } else { first.0 };
            places[j] = if take { then.1 } else { first.1 };
        }
        (*y, *i) = (values, places);
    }
    let rest = best.chunks_exact(2).zip(at.chunks_exact(2));
    for ((best, at), (y, i)) in rest.zip(y.iter_mut().zip(i)) {
        let take = usize::from(second((best[0], at[0]), (best[1], at[1])));
        (*y, *i) = (best[take], at[take]);
    }
}

simd_fn! {
    fn max_rows<A, (T: Float), (I: Element)>(
        g: &'x PoolGeom, x: &'x [T], rows: Range<usize>, y: &'x mut [T], idx: Option<&'x mut [I]>,
    ) {
        let ([id, ih, iw], [od, oh, ow]) = (g.input, g.output);
        let (s, p, d) = (g.stride, g.padding, g.dilation);
        let mut idx = idx;
        // The maxima of the columns of several rows, each with room for its padding: window `o`
        // of row `n` starts at column `(n * pitch + o) * stride`, so that one long loop does all.
        let reach = (g.kernel[2] - 1) * d[2];
        let pitch = ((ow - 1) * s[2] + reach + 1).max(p[2] + iw).div_ceil(s[2]);
        let batch = (512usize.saturating_sub(reach) / (pitch * s[2])).clamp(1, rows.len());
        row_buffer!(best: [T; batch * pitch * s[2] + reach]);
        row_buffer!(at: [i32; best.len()]);
        row_buffer!(maxima: [T; batch * pitch]);
        row_buffer!(places: [i32; batch * pitch]);
        best.fill(T::NEG_INFINITY);
        at.fill(OUTSIDE);
        let end = id * ih * iw;
        let mut done = 0;
        while done < rows.len() {
            let m = batch.min(rows.len() - done);
            for n in 0..m {
                let row = rows.start + done + n;
                let (plane, z, r) = (row / (od * oh), row / oh % od, row % oh);
                let x = &x[plane * end..][..end];
                let column = n * pitch * s[2] + p[2];
                let (best, at) = (&mut best[column..][..iw], &mut at[column..][..iw]);
                let mut none = true;
                for kd in 0..g.kernel[0] {
                    let Some(zi) = (z * s[0] + kd * d[0]).checked_sub(p[0]) else { continue };
                    for kh in 0..g.kernel[1] {
                        let Some(ri) = (r * s[1] + kh * d[1]).checked_sub(p[1]) else { continue };
                        if zi >= id || ri >= ih {
                            continue;
                        }
                        let first = (zi * ih + ri) * iw;
                        let line = &x[first..][..iw];
                        if none {
                            start(line, first as i32, best, at);
                            none = false;
                        } else {
                            tap(line, first as i32, best, at);
                        }
                    }
                }
                if none {
                    best.fill(T::NEG_INFINITY);
                    at.fill(OUTSIDE);
                }
            }
            let (maxima, places) = (&mut maxima[..m * pitch], &mut places[..m * pitch]);
            let two = g.kernel[2] == 2 && s[2] == 2 && d[2] == 1;
            if two {
                pairs((&*best, &*at), (&mut *maxima, &mut *places));
            } else {
                maxima.fill(T::NEG_INFINITY);
                places.fill(OUTSIDE);
            }
            for k in 0..if two { 0 } else { g.kernel[2] } {
                let (columns, k) = ((&*best, &*at), k * d[2]);
                // A constant stride lets the compiler vectorise.
                match s[2] {
                    1 => along(1, k, columns, (&mut *maxima, &mut *places)),
                    2 => along(2, k, columns, (&mut *maxima, &mut *places)),
                    s => along(s, k, columns, (&mut *maxima, &mut *places)),
                }
            }
            let part = done * ow..(done + m) * ow;
            for (y, m) in y[part.clone()].chunks_exact_mut(ow).zip(maxima.chunks_exact(pitch)) {
                y.copy_from_slice(&m[..ow]);
            }
            if let Some(idx) = &mut idx {
                for (idx, p) in idx[part].chunks_exact_mut(ow).zip(places.chunks_exact(pitch)) {
                    for (i, &p) in idx.iter_mut().zip(p) {
                        // A window may lie in the padding alone.
                        *i = I::from_i64(i64::from(p.min(end as i32 - 1)));
                    }
                }
            }
            done += m;
        }
    }
}

/// Max pooling of `x [planes, input]` into `y [planes, output]`; `idx`, if wanted, gets where in
/// its input plane each maximum stands. A plane has fewer than 2^31 elements.
pub fn max_pool<T: Float, I: Element>(g: &PoolGeom, x: &[T], y: &mut [T], idx: Option<&mut [I]>) {
    let (rows, width) = (g.planes * g.output[0] * g.output[1], g.output[2]);
    assert!(x.len() == g.planes * g.in_plane() && y.len() == rows * width);
    assert!(g.in_plane() < i32::MAX as usize && g.stride.iter().all(|&s| s > 0));
    assert!(g.kernel.iter().all(|&k| k > 0) && (g.in_plane() > 0 || y.is_empty()));
    assert!(idx.as_ref().is_none_or(|i| i.len() == y.len()));
    if y.is_empty() {
        return;
    }
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
                            start(line, first as i32, best, at);
                        } else {
                            tap(line, first as i32, best, at);
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
