//! Average pooling. Fixed and adaptive windows share the code: a window is a range along each dim
//! and a divisor, and sums run down the columns first, which vectorises, then along the row.

use std::ops::Range;

use super::{PoolGeom, adaptive_window, row_buffer};
use crate::element::Float;
use crate::reduce::sum;
use crate::simd_fn;
use crate::threads::{SharedMut, parallel_rows};

/// By what an average pooling divides a window's sum.
#[derive(Clone, Copy, Debug)]
pub struct AvgRule {
    /// Whether padding inside the padded input counts as elements.
    pub count_include_pad: bool,
    /// Divides by this whatever the window.
    pub divisor_override: Option<usize>,
}

/// How windows lie.
#[derive(Clone, Copy)]
enum Windows {
    Fixed(AvgRule),
    Adaptive,
}

/// A window along one dim: `from .. to` of the input, and its part of the divisor.
#[inline(always)]
fn window(g: &PoolGeom, kind: Windows, dim: usize, o: usize) -> (usize, usize, usize) {
    let input = g.input[dim];
    match kind {
        Windows::Adaptive => {
            let (from, to) = adaptive_window(o, input, g.output[dim]);
            (from, to, to - from)
        }
        Windows::Fixed(rule) => {
            let (start, pad) = (o * g.stride[dim], g.padding[dim]);
            let end = (start + g.kernel[dim]).min(input + 2 * pad);
            let from = start.saturating_sub(pad).min(input);
            let to = end.saturating_sub(pad).clamp(from, input);
            let count = if rule.count_include_pad { end.saturating_sub(start) } else { to - from };
            (from, to, count)
        }
    }
}

/// 1 over the divisor of a window whose dims count `counts`; 0 for a window of nothing.
#[inline(always)]
fn scale<T: Float>(kind: Windows, count: usize) -> T {
    let n = match kind {
        Windows::Fixed(AvgRule { divisor_override: Some(n), .. }) => n,
        _ => count,
    };
    if n == 0 { T::ZERO } else { T::from_f64(1.0 / n as f64) }
}

/// Outputs from the first up to this have full windows of kernel size, all at `o * stride`: the
/// fast case, for which `padding` is 0.
#[inline(always)]
fn regular(g: &PoolGeom, kind: Windows) -> usize {
    match kind {
        Windows::Fixed(_) if g.padding[2] == 0 && g.input[2] >= g.kernel[2] => {
            ((g.input[2] - g.kernel[2]) / g.stride[2] + 1).min(g.output[2])
        }
        _ => 0,
    }
}

const LANES: usize = 16;

/// `to += line`.
#[inline(always)]
fn add<T: Float>(to: &mut [T], line: &[T]) {
    let ((tos, to), (lines, line)) = (to.as_chunks_mut::<LANES>(), line.as_chunks::<LANES>());
    for (to, line) in tos.iter_mut().zip(lines) {
        // Copies, since stores between the loads would keep the lanes apart.
        let (mut t, l) = (*to, *line);
        for j in 0..LANES {
            t[j] += l[j];
        }
        *to = t;
    }
    for (t, &l) in to.iter_mut().zip(line) {
        *t += l;
    }
}

/// Sums of windows of `kernel` columns, `stride` apart, times `scale`.
#[inline(always)]
fn along<T: Float>(stride: usize, kernel: usize, sums: &[T], scale: &[T], y: &mut [T]) {
    let n = y.len();
    assert!(n > 0 && scale.len() == n && sums.len() >= (n - 1) * stride + kernel);
    for j in 0..n {
        let mut sum = T::ZERO;
        for k in 0..kernel {
            // SAFETY: the assert bounds the largest index.
            sum += unsafe { *sums.get_unchecked(j * stride + k) };
        }
        y[j] = sum * scale[j];
    }
}

/// Sums lines `z0..z1`, `r0..r1` of a plane column by column.
#[inline(always)]
fn columns<T: Float>(
    g: &PoolGeom,
    (z0, z1): (usize, usize),
    (r0, r1): (usize, usize),
    x: &[T],
    sums: &mut [T],
) {
    let [_, ih, iw] = g.input;
    for z in z0..z1 {
        let block = &x[(z * ih + r0) * iw..(z * ih + r1) * iw];
        for (r, line) in block.chunks_exact(iw).enumerate() {
            if z == z0 && r == 0 {
                sums.copy_from_slice(line);
            } else {
                add(sums, line);
            }
        }
    }
    if z0 == z1 || r0 == r1 {
        sums.fill(T::ZERO);
    }
}

simd_fn! {
    fn avg_rows<A to Avx2, (T: Float)>(
        g: &'x PoolGeom, kind: Windows, x: &'x [T], rows: Range<usize>, y: &'x mut [T],
    ) {
        let ([id, ih, iw], [od, oh, ow]) = (g.input, g.output);
        let (s, k, p) = (g.stride[2], g.kernel[2], g.padding[2]);
        // The sums of the columns of several rows, each with room for its padding: window `o` of
        // row `n` starts at column `(n * pitch + o) * stride`, so that one long loop does all.
        let pitch = ((ow - 1) * s + k).max(p + iw).div_ceil(s);
        let batch = (512usize.saturating_sub(k) / (pitch * s)).clamp(1, rows.len());
        row_buffer!(sums: [T; batch * pitch * s + k]);
        row_buffer!(means: [T; batch * pitch]);
        row_buffer!(scales: [T; batch * pitch]);
        // What each window's part of the divisor along the row contributes to its scale.
        row_buffer!(part: [T; ow]);
        let fixed = matches!(kind, Windows::Fixed(AvgRule { divisor_override: Some(_), .. }));
        for (o, part) in part.iter_mut().enumerate() {
            let (w0, w1, wn) = window(g, kind, 2, o);
            let n = if fixed { 1 } else { wn };
            *part = if w0 == w1 { T::ZERO } else { T::from_f64(1.0 / n as f64) };
        }
        let mut done = 0;
        while done < rows.len() {
            let m = batch.min(rows.len() - done);
            for n in 0..m {
                let row = rows.start + done + n;
                let (plane, z, r) = (row / (od * oh), row / oh % od, row % oh);
                let (z0, z1, zn) = window(g, kind, 0, z);
                let (r0, r1, rn) = window(g, kind, 1, r);
                let x = &x[plane * id * ih * iw..][..id * ih * iw];
                columns(g, (z0, z1), (r0, r1), x, &mut sums[n * pitch * s + p..][..iw]);
                let rest: T = scale(kind, zn * rn);
                for (s, &p) in scales[n * pitch..][..ow].iter_mut().zip(&*part) {
                    *s = p * rest;
                }
            }
            let y = &mut y[done * ow..(done + m) * ow];
            if matches!(kind, Windows::Adaptive) {
                let rows = sums.chunks_exact(pitch).zip(scales.chunks_exact(pitch));
                for (y, (sums, scales)) in y.chunks_exact_mut(ow).zip(rows) {
                    for (o, y) in y.iter_mut().enumerate() {
                        let (w0, w1, _) = window(g, kind, 2, o);
                        let mut sum = T::ZERO;
                        for &v in &sums[w0..w1] {
                            sum += v;
                        }
                        *y = sum * scales[o];
                    }
                }
            } else {
                let (means, scales) = (&mut means[..m * pitch], &scales[..m * pitch]);
                // Constants let the compiler vectorise and unroll.
                match (s, k) {
                    (2, 2) => along(2, 2, sums, scales, means),
                    (2, 3) => along(2, 3, sums, scales, means),
                    (1, 3) => along(1, 3, sums, scales, means),
                    (1, k) => along(1, k, sums, scales, means),
                    (2, k) => along(2, k, sums, scales, means),
                    (s, k) => along(s, k, sums, scales, means),
                }
                for (y, m) in y.chunks_exact_mut(ow).zip(means.chunks_exact(pitch)) {
                    y.copy_from_slice(&m[..ow]);
                }
            }
            done += m;
        }
    }
}

simd_fn! {
    fn avg_backward_planes<A to Avx2, (T: Float)>(
        g: &'x PoolGeom, kind: Windows, dy: &'x [T], dx: &'x mut [T],
    ) {
        let ([id, ih, iw], [od, oh, ow]) = (g.input, g.output);
        row_buffer!(line: [T; iw]);
        let fast = regular(g, kind);
        for (dx, dy) in dx.chunks_exact_mut(id * ih * iw).zip(dy.chunks_exact(od * oh * ow)) {
            // Windows side by side with nothing between cover each row once.
            let once = g.kernel[..2] == g.stride[..2]
                && g.padding[..2] == [0, 0]
                && matches!(kind, Windows::Fixed(_))
                && od * g.kernel[0] == id
                && oh * g.kernel[1] == ih;
            if !once {
                dx.fill(T::ZERO);
            }
            for (row, dy) in dy.chunks_exact(ow).enumerate() {
                let (z0, z1, zn) = window(g, kind, 0, row / oh);
                let (r0, r1, rn) = window(g, kind, 1, row % oh);
                let full: T = scale(kind, zn * rn * g.kernel[2]);
                let (head, tail) = dy.split_at(fast);
                if (g.kernel[2], g.stride[2]) == (2, 2) {
                    let (pairs, rest) = line.split_at_mut(2 * fast);
                    for (pair, &d) in pairs.chunks_exact_mut(2).zip(head) {
                        let d = d * full;
                        pair[0] = d;
                        pair[1] = d;
                    }
                    rest.fill(T::ZERO);
                } else {
                    line.fill(T::ZERO);
                    let (s, k) = (g.stride[2], g.kernel[2]);
                    if s == 1 {
                        for at in 0..k {
                            for (l, &d) in line[at..].iter_mut().zip(head) {
                                *l += d * full;
                            }
                        }
                    } else {
                        for (o, &d) in head.iter().enumerate() {
                            let d = d * full;
                            for l in &mut line[o * s..o * s + k] {
                                *l += d;
                            }
                        }
                    }
                }
                for (o, &d) in tail.iter().enumerate() {
                    let (w0, w1, wn) = window(g, kind, 2, fast + o);
                    let d = d * scale(kind, zn * rn * wn);
                    for l in &mut line[w0..w1] {
                        *l += d;
                    }
                }
                for z in z0..z1 {
                    let block = &mut dx[(z * ih + r0) * iw..(z * ih + r1) * iw];
                    for dx in block.chunks_exact_mut(iw) {
                        if once {
                            dx.copy_from_slice(line);
                        } else {
                            add(dx, line);
                        }
                    }
                }
            }
        }
    }
}

simd_fn! {
    /// Mean of each plane, in lanes, with blocks added up in f64.
    fn plane_means<A, (T: Float)>(plane: usize, x: &'x [T], y: &'x mut [T]) {
        for (y, x) in y.iter_mut().zip(x.chunks_exact(plane)) {
            let mut total = 0.0;
            for block in x.chunks(8192) {
                total += sum(block, |v| v).to_f64();
            }
            *y = T::from_f64(total / plane as f64);
        }
    }
}

fn forward<T: Float>(g: &PoolGeom, kind: Windows, x: &[T], y: &mut [T]) {
    let (rows, width) = (g.planes * g.output[0] * g.output[1], g.output[2]);
    assert!(x.len() == g.planes * g.in_plane() && y.len() == rows * width);
    if y.is_empty() {
        return;
    }
    let cost = (x.len() / rows).max(width);
    let y = SharedMut::new(y);
    parallel_rows(rows, cost, |r| {
        // SAFETY: the rows of one region are disjoint.
        let y = unsafe { y.range(r.start * width..r.end * width) };
        avg_rows(g, kind, x, r, y);
    });
}

fn backward<T: Float>(g: &PoolGeom, kind: Windows, dy: &[T], dx: &mut [T]) {
    let (large, small) = (g.in_plane(), g.out_plane());
    assert!(dy.len() == g.planes * small && dx.len() == g.planes * large);
    if dy.is_empty() || dx.is_empty() {
        dx.fill(T::ZERO);
        return;
    }
    let dx = SharedMut::new(dx);
    parallel_rows(g.planes, large.max(small), |r| {
        // SAFETY: the planes of one region are disjoint.
        let dx = unsafe { dx.range(r.start * large..r.end * large) };
        avg_backward_planes(g, kind, &dy[r.start * small..r.end * small], dx);
    });
}

/// Average pooling of `x [planes, input]` into `y [planes, output]`; `g.dilation` is not used.
pub fn avg_pool<T: Float>(g: &PoolGeom, rule: AvgRule, x: &[T], y: &mut [T]) {
    assert!(g.stride.iter().chain(&g.kernel).all(|&s| s > 0));
    forward(g, Windows::Fixed(rule), x, y);
}

/// Gradient of [`avg_pool`]: `dy [planes, output]` gives `dx [planes, input]`.
pub fn avg_pool_backward<T: Float>(g: &PoolGeom, rule: AvgRule, dy: &[T], dx: &mut [T]) {
    assert!(g.stride.iter().chain(&g.kernel).all(|&s| s > 0));
    backward(g, Windows::Fixed(rule), dy, dx);
}

fn adaptive(planes: usize, input: [usize; 3], output: [usize; 3]) -> PoolGeom {
    let one = [1; 3];
    PoolGeom { planes, input, output, kernel: one, stride: one, padding: [0; 3], dilation: one }
}

/// Average pooling with windows that share the input evenly.
pub fn adaptive_avg_pool<T: Float>(
    planes: usize,
    input: [usize; 3],
    output: [usize; 3],
    x: &[T],
    y: &mut [T],
) {
    let g = adaptive(planes, input, output);
    if output != [1; 3] || x.is_empty() {
        return forward(&g, Windows::Adaptive, x, y);
    }
    let plane = g.in_plane();
    assert!(x.len() == planes * plane && y.len() == planes);
    let y = SharedMut::new(y);
    parallel_rows(planes, plane, |r| {
        // SAFETY: the planes of one region are disjoint.
        let y = unsafe { y.range(r.clone()) };
        plane_means(plane, &x[r.start * plane..r.end * plane], y);
    });
}

/// Gradient of [`adaptive_avg_pool`].
pub fn adaptive_avg_pool_backward<T: Float>(
    planes: usize,
    input: [usize; 3],
    output: [usize; 3],
    dy: &[T],
    dx: &mut [T],
) {
    let g = adaptive(planes, input, output);
    if output != [1; 3] {
        return backward(&g, Windows::Adaptive, dy, dx);
    }
    let plane = g.in_plane();
    assert!(dy.len() == planes && dx.len() == planes * plane);
    let dx = SharedMut::new(dx);
    parallel_rows(planes, plane, |r| {
        for p in r {
            // SAFETY: each plane belongs to one task.
            let dx = unsafe { dx.range(p * plane..(p + 1) * plane) };
            dx.fill(T::from_f64(dy[p].to_f64() / plane as f64));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::pool_output_size;
    use super::*;
    use crate::random::{Key, uniform};

    /// The weight of input `i` in output `o` of one plane, straight from PyTorch's rule.
    fn weight(g: &PoolGeom, rule: Option<AvgRule>, o: [usize; 3], i: [usize; 3]) -> f64 {
        let (mut inside, mut n) = (true, 1);
        for a in 0..3 {
            let size = g.input[a] as i64;
            let (s, e, count) = match rule {
                None => {
                    let s = (o[a] * g.input[a] / g.output[a]) as i64;
                    let e = ((o[a] + 1) * g.input[a]).div_ceil(g.output[a]) as i64;
                    (s, e, e - s)
                }
                Some(rule) => {
                    let s = (o[a] * g.stride[a]) as i64 - g.padding[a] as i64;
                    let e = (s + g.kernel[a] as i64).min(size + g.padding[a] as i64);
                    let all = e - s;
                    let (s, e) = (s.max(0), e.min(size));
                    (s, e, if rule.count_include_pad { all } else { e - s })
                }
            };
            n *= count;
            inside &= (s..e).contains(&(i[a] as i64));
        }
        let n = rule.and_then(|r| r.divisor_override).map_or(n, |d| d as i64);
        if inside { 1.0 / n as f64 } else { 0.0 }
    }

    fn unflatten(i: usize, d: [usize; 3]) -> [usize; 3] {
        [i / d[2] / d[1], i / d[2] % d[1], i % d[2]]
    }

    fn check(g: &PoolGeom, rule: Option<AvgRule>) {
        let (large, small) = (g.in_plane(), g.out_plane());
        let mut x = vec![0f64; g.planes * large];
        let mut dy = vec![0f64; g.planes * small];
        uniform(Key { seed: 1, offset: 0 }, &mut x);
        uniform(Key { seed: 2, offset: 0 }, &mut dy);
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        for p in 0..g.planes {
            for o in 0..small {
                for i in 0..large {
                    let w = weight(g, rule, unflatten(o, g.output), unflatten(i, g.input));
                    y[p * small + o] += w * x[p * large + i];
                    dx[p * large + i] += w * dy[p * small + o];
                }
            }
        }
        let (mut y2, mut dx2) = (vec![9.0; dy.len()], vec![9.0; x.len()]);
        let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
        let (xf, dyf) = (narrow(&x), narrow(&dy));
        let (mut yf, mut dxf) = (vec![9f32; dy.len()], vec![9f32; x.len()]);
        match rule {
            Some(rule) => {
                avg_pool(g, rule, &x, &mut y2);
                avg_pool_backward(g, rule, &dy, &mut dx2);
                avg_pool(g, rule, &xf, &mut yf);
                avg_pool_backward(g, rule, &dyf, &mut dxf);
            }
            None => {
                adaptive_avg_pool(g.planes, g.input, g.output, &x, &mut y2);
                adaptive_avg_pool_backward(g.planes, g.input, g.output, &dy, &mut dx2);
                adaptive_avg_pool(g.planes, g.input, g.output, &xf, &mut yf);
                adaptive_avg_pool_backward(g.planes, g.input, g.output, &dyf, &mut dxf);
            }
        }
        let worst =
            |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        assert!(worst(&y, &y2) < 1e-12 && worst(&dx, &dx2) < 1e-12, "{g:?} {rule:?}");
        assert!(worst(&y, &wide(&yf)) < 1e-5 && worst(&dx, &wide(&dxf)) < 1e-5, "{g:?} {rule:?}");
    }

    #[test]
    fn avg_pool_is_its_definition() {
        for (input, kernel, stride, padding) in [
            (&[200][..], 2, 2, 0),
            (&[600], 3, 2, 1),
            (&[9, 21], 2, 2, 0),
            (&[16, 17], 3, 2, 1),
            (&[13, 12], 3, 1, 1),
            (&[12, 22], 3, 2, 0),
            (&[14, 30], 4, 3, 2),
            (&[5, 6, 7], 3, 2, 1),
            (&[4, 4, 4], 2, 2, 0),
            (&[6, 6], 2, 4, 1),
        ] {
            for bits in 0..8 {
                let size =
                    |&i: &usize| pool_output_size(i, kernel, stride, padding, 1, bits & 1 == 1);
                let output: Vec<usize> = input.iter().map(|i| size(i).unwrap()).collect();
                let all = |v| vec![v; input.len()];
                let (k, s, p) = (all(kernel), all(stride), all(padding));
                let g = PoolGeom::new(2, input, &output, &k, &s, &p, &all(1));
                let rule = AvgRule {
                    count_include_pad: bits & 2 == 2,
                    divisor_override: (bits & 4 == 4).then_some(3),
                };
                check(&g, Some(rule));
            }
        }
    }

    #[test]
    fn adaptive_avg_pool_is_its_definition() {
        check(&adaptive(3, [1, 1, 700], [1, 1, 3]), None);
        check(&adaptive(3, [1, 32, 32], [1, 7, 7]), None);
        check(&adaptive(2, [5, 4, 6], [2, 3, 6]), None);
        check(&adaptive(2, [1, 3, 3], [1, 5, 1]), None);
        check(&adaptive(5, [3, 10, 11], [1, 1, 1]), None);
    }
}
