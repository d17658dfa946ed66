//! One input channel for each group: no matrix product, one kernel element at a time along rows.

use super::ConvGeom;
use crate::element::Float;
use crate::simd_fn;
use crate::threads::{SharedMut, parallel_rows};

/// Whether each group has one input channel.
pub(super) fn fits(g: &ConvGeom) -> bool {
    g.c_in == g.groups && g.groups > 1
}

simd_fn! {
    /// `y += a · x`.
    fn axpy<A, (T: Float)>(a: T, x: &'x [T], y: &'x mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x.mul_add_::<A>(a, *y);
        }
    }
}

/// Calls `f(tap, output range, input range)` for every run of a plane along the last dim.
fn each_run(g: &ConvGeom, mut f: impl FnMut(usize, std::ops::Range<usize>, usize)) {
    let ([kd, kh, kw], [od, oh, ow], [id, ih, iw]) = (g.kernel, g.output, g.input);
    for tap in 0..kd * kh * kw {
        let k = [tap / (kh * kw), tap / kw % kh, tap % kw];
        let (stride, shift, pad) = (g.stride[2], k[2] * g.dilation[2], g.padding[2]);
        let lo = if shift >= pad { 0 } else { (pad - shift).div_ceil(stride) };
        let hi = if iw + pad > shift { (iw + pad - shift).div_ceil(stride).min(ow) } else { 0 };
        if lo >= hi {
            continue;
        }
        for oz in 0..od {
            let z = (oz * g.stride[0] + k[0] * g.dilation[0]).checked_sub(g.padding[0]);
            let Some(z) = z.filter(|&z| z < id) else { continue };
            for oy in 0..oh {
                let y = (oy * g.stride[1] + k[1] * g.dilation[1]).checked_sub(g.padding[1]);
                let Some(y) = y.filter(|&y| y < ih) else { continue };
                let out = (oz * oh + oy) * ow;
                f(tap, out + lo..out + hi, (z * ih + y) * iw + lo * stride + shift - pad);
            }
        }
    }
}

/// y = conv(x, w) + bias.
pub(super) fn forward<T: Float>(g: &ConvGeom, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let (plane, in_plane, taps) = (g.out_plane(), g.in_plane(), g.taps());
    let per_group = g.c_out / g.groups;
    let out = SharedMut::new(y);
    parallel_rows(g.batch * g.c_out, plane * taps, |rows| {
        for r in rows {
            let (n, o) = (r / g.c_out, r % g.c_out);
            let x = &x[(n * g.c_in + o / per_group) * in_plane..][..in_plane];
            // SAFETY: each output plane belongs to one task.
            let y = unsafe { out.range(r * plane..(r + 1) * plane) };
            y.fill(bias.map_or(T::ZERO, |b| b[o]));
            each_run(g, |tap, to, from| {
                let (a, n) = (w[o * taps + tap], to.len());
                if g.stride[2] == 1 {
                    axpy(a, &x[from..from + n], &mut y[to]);
                } else {
                    let x = x[from..].iter().step_by(g.stride[2]);
                    y[to].iter_mut().zip(x).for_each(|(y, &x)| *y += a * x);
                }
            });
        }
    });
}

/// dx from dy and w.
pub(super) fn backward_data<T: Float>(
    g: &ConvGeom,
    dy: &[T],
    w: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) {
    let (plane, in_plane, taps) = (g.out_plane(), g.in_plane(), g.taps());
    let per_group = g.c_out / g.groups;
    let out = SharedMut::new(dx);
    parallel_rows(g.batch * g.c_in, in_plane.max(plane) * taps * per_group, |rows| {
        for r in rows {
            let (n, c) = (r / g.c_in, r % g.c_in);
            // SAFETY: each input plane belongs to one task.
            let dx = unsafe { out.range(r * in_plane..(r + 1) * in_plane) };
            dx.fill(bias.map_or(T::ZERO, |b| b[c]));
            for o in c * per_group..(c + 1) * per_group {
                let dy = &dy[(n * g.c_out + o) * plane..][..plane];
                each_run(g, |tap, to, from| {
                    let (a, n) = (w[o * taps + tap], to.len());
                    if g.stride[2] == 1 {
                        axpy(a, &dy[to], &mut dx[from..from + n]);
                    } else {
                        let dx = dx[from..].iter_mut().step_by(g.stride[2]);
                        dx.zip(&dy[to]).for_each(|(dx, &dy)| *dx += a * dy);
                    }
                });
            }
        }
    });
}

/// dw from x and dy.
pub(super) fn backward_weight<T: Float>(g: &ConvGeom, x: &[T], dy: &[T], dw: &mut [T]) {
    let (plane, in_plane, taps) = (g.out_plane(), g.in_plane(), g.taps());
    let per_group = g.c_out / g.groups;
    let out = SharedMut::new(dw);
    parallel_rows(g.c_out, g.batch * plane * taps, |rows| {
        for o in rows {
            // SAFETY: each output channel's weights belong to one task.
            let dw = unsafe { out.range(o * taps..(o + 1) * taps) };
            dw.fill(T::ZERO);
            for n in 0..g.batch {
                let x = &x[(n * g.c_in + o / per_group) * in_plane..][..in_plane];
                let dy = &dy[(n * g.c_out + o) * plane..][..plane];
                each_run(g, |tap, to, from| {
                    let x = x[from..].iter().step_by(g.stride[2]);
                    let mut lanes = [T::ZERO; 8];
                    for (i, (&d, &x)) in dy[to].iter().zip(x).enumerate() {
                        lanes[i % 8] += d * x;
                    }
                    dw[tap] += lanes.into_iter().sum::<T>();
                });
            }
        }
    });
}
