//! Interpolation of one to three spatial dims to another size, and sampling at given points.
//!
//! Interpolation is linear and separable: every output of a dim is a weighted sum of a few inputs,
//! held in a table. The gradient is the same code on the transposed tables.

mod grid;

pub use grid::{GridGeom, GridPadding, grid_sample, grid_sample_backward};

use std::ops::Range;

use crate::alloc::Scratch;
use crate::element::Float;
use crate::simd_fn;
use crate::threads::{SharedMut, parallel_rows};

/// How values between elements are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The element at or before the point.
    Nearest,
    /// The element whose centre is nearest.
    NearestExact,
    /// Linear along each dim.
    Linear,
    /// Cubic convolution along each dim (a = -0.75).
    Cubic,
}

/// Geometry of an interpolation of `[planes, depth, height, width]`; missing dims have size 1.
#[derive(Clone, Copy, Debug)]
pub struct ResampleGeom {
    /// Batch times channels.
    pub planes: usize,
    /// Input size.
    pub input: [usize; 3],
    /// Output size.
    pub output: [usize; 3],
    /// Output size over input size, where the user gave it and it shall be used as given.
    pub scale: [Option<f64>; 3],
    /// Whether the centres of the corner elements stay in place.
    pub align_corners: bool,
    /// How values between elements are found.
    pub mode: Interpolation,
}

/// The weighted sums of one dim: output `o` is the sum over `k` of `weight[k * output + o]` times
/// input `index[k * output + o]`.
struct Axis<T> {
    input: usize,
    output: usize,
    taps: usize,
    index: Vec<u32>,
    weight: Vec<T>,
    /// One tap of weight 1.
    copy: bool,
}

/// Weights of the four elements around a point `t` behind the second of them.
#[inline(always)]
fn cubic<T: Float>(t: T) -> [T; 4] {
    let c = T::from_f64;
    let a = c(-0.75);
    let near = |x: T| ((a + c(2.0)) * x - (a + c(3.0))) * x * x + T::ONE;
    let far = |x: T| ((a * x - c(5.0) * a) * x + c(8.0) * a) * x - c(4.0) * a;
    let u = T::ONE - t;
    [far(t + T::ONE), near(t), near(u), far(u + T::ONE)]
}

impl<T: Float> Axis<T> {
    /// The table of dim `dim`, with PyTorch's arithmetic in the type of the values.
    fn new(g: &ResampleGeom, dim: usize) -> Self {
        let (input, output) = (g.input[dim], g.output[dim]);
        let c = T::from_f64;
        let nearest = matches!(g.mode, Interpolation::Nearest | Interpolation::NearestExact);
        let same = input == output && g.scale[dim].is_none_or(|s| s == 1.0);
        let taps = match g.mode {
            _ if same => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
            _ => 1,
        };
        let mut axis = Self {
            input,
            output,
            taps,
            index: vec![0; taps * output],
            weight: vec![T::ONE; taps * output],
            copy: taps == 1,
        };
        let last = input.saturating_sub(1);
        let scale: T = if g.align_corners && !nearest {
            if output > 1 { c(last as f64) / c((output - 1) as f64) } else { T::ZERO }
        } else {
            match g.scale[dim] {
                Some(s) if s > 0.0 => c(1.0 / s),
                _ => c(input as f64) / c(output as f64),
            }
        };
        let half = c(0.5);
        for o in 0..output {
            let at = c(o as f64);
            if same {
                axis.index[o] = o as u32;
                continue;
            }
            let point = match g.mode {
                Interpolation::Nearest => at * scale,
                Interpolation::NearestExact => (at + half) * scale,
                _ if g.align_corners => at * scale,
                Interpolation::Linear => (scale * (at + half) - half).max_(T::ZERO),
                Interpolation::Cubic => scale * (at + half) - half,
            };
            let floor = point.to_f64().floor();
            let near = |k: i64| (floor as i64 + k).clamp(0, last as i64) as u32;
            match g.mode {
                Interpolation::Linear => {
                    let i = near(0);
                    let t = (point - c(f64::from(i))).max_(T::ZERO).min_(T::ONE);
                    axis.index[o] = i;
                    axis.index[output + o] = (i as usize + 1).min(last) as u32;
                    axis.weight[o] = T::ONE - t;
                    axis.weight[output + o] = t;
                }
                Interpolation::Cubic => {
                    let weights = cubic(point - c(floor));
                    for (k, w) in weights.into_iter().enumerate() {
                        axis.index[k * output + o] = near(k as i64 - 1);
                        axis.weight[k * output + o] = w;
                    }
                }
                _ => axis.index[o] = near(0),
            }
        }
        axis
    }

    /// The table that takes gradients of outputs to gradients of inputs. Inputs with fewer
    /// outputs than others have taps of weight 0.
    fn transpose(&self) -> Self {
        let mut count = vec![0usize; self.input];
        for (&i, &w) in self.index.iter().zip(&self.weight) {
            count[i as usize] += usize::from(w != T::ZERO);
        }
        let taps = count.iter().copied().max().unwrap_or(0).max(1);
        let mut new = Self {
            input: self.output,
            output: self.input,
            taps,
            index: vec![0; taps * self.input],
            weight: vec![T::ZERO; taps * self.input],
            copy: self.copy && taps == 1 && count.iter().all(|&n| n == 1),
        };
        count.fill(0);
        for o in 0..self.output {
            for k in 0..self.taps {
                let (i, w) = (self.index[k * self.output + o], self.weight[k * self.output + o]);
                if w == T::ZERO {
                    continue;
                }
                let i = i as usize;
                if count[i] == 0 {
                    // Unused taps repeat the first, so that they read nothing foreign.
                    for k in 0..taps {
                        new.index[k * self.input + i] = o as u32;
                    }
                }
                new.index[count[i] * self.input + i] = o as u32;
                new.weight[count[i] * self.input + i] = w;
                count[i] += 1;
            }
        }
        new
    }
}

/// The sums of one row along its width.
#[inline(always)]
fn along<T: Float>(axis: &Axis<T>, x: &[T], y: &mut [T]) {
    let n = axis.output;
    assert!(x.len() == axis.input && y.len() == n && axis.index.len() == axis.taps * n);
    if axis.copy && axis.input == n {
        // Only an unchanged size copies every element to its place.
        return y.copy_from_slice(x);
    }
    let tables = axis.index.chunks_exact(n).zip(axis.weight.chunks_exact(n));
    for (k, (index, weight)) in tables.enumerate() {
        for ((y, &i), &w) in y.iter_mut().zip(index).zip(weight) {
            // SAFETY: `Axis` holds indices below `input` only.
            let v = unsafe { *x.get_unchecked(i as usize) };
            *y = if axis.copy {
                v
            } else if k == 0 {
                v * w
            } else {
                *y + v * w
            };
        }
    }
}

simd_fn! {
    /// Sums along the width for rows of `x`.
    fn along_rows<A to Avx2, (T: Float)>(axis: &'x Axis<T>, x: &'x [T], y: &'x mut [T]) {
        if axis.taps == 2 {
            let n = axis.output;
            let ((i0, i1), (w0, w1)) = (axis.index.split_at(n), axis.weight.split_at(n));
            for (x, y) in x.chunks_exact(axis.input).zip(y.chunks_exact_mut(n)) {
                for ((((y, &a), &b), &v), &w) in y.iter_mut().zip(i0).zip(i1).zip(w0).zip(w1) {
                    // SAFETY: `Axis` holds indices below `input` only, the length of `x`.
                    let (p, q) =
                        unsafe { (*x.get_unchecked(a as usize), *x.get_unchecked(b as usize)) };
                    *y = p * v + q * w;
                }
            }
            return;
        }
        for (x, y) in x.chunks_exact(axis.input).zip(y.chunks_exact_mut(axis.output)) {
            along(axis, x, y);
        }
    }
}

/// `y (+)= sum of weight * x[row ..]`, up to four rows in one pass.
#[inline(always)]
fn sum_rows<A: crate::simd::Arch, T: Float>(rows: &[(usize, T)], x: &[T], y: &mut [T]) {
    let n = y.len();
    for (part, rows) in rows.chunks(4).enumerate() {
        match *rows {
            [(a, u)] if part == 0 => {
                if u == T::ONE {
                    y.copy_from_slice(&x[a..a + n]);
                } else {
                    for (y, &a) in y.iter_mut().zip(&x[a..a + n]) {
                        *y = a * u;
                    }
                }
            }
            [(a, u), (b, v)] if part == 0 => {
                for ((y, &a), &b) in y.iter_mut().zip(&x[a..a + n]).zip(&x[b..b + n]) {
                    *y = a.mul_add_::<A>(u, b * v);
                }
            }
            [(a, u), (b, v), (c, w), (d, z)] => {
                let (a, b) = (&x[a..a + n], &x[b..b + n]);
                let (c, d) = (&x[c..c + n], &x[d..d + n]);
                for ((((y, &a), &b), &c), &d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    let s = a.mul_add_::<A>(u, b * v) + c.mul_add_::<A>(w, d * z);
                    *y = if part == 0 { s } else { *y + s };
                }
            }
            _ => {
                for (k, &(a, u)) in rows.iter().enumerate() {
                    for (y, &a) in y.iter_mut().zip(&x[a..a + n]) {
                        *y = if part + k == 0 { a * u } else { a.mul_add_::<A>(u, *y) };
                    }
                }
            }
        }
    }
}

simd_fn! {
    /// Sums down the columns (of width `width`) for output rows `rows`, then, if `last` is given,
    /// along the width.
    fn down_rows<A, (T: Float)>(
        axes: &'x [Axis<T>; 3], x: &'x [T], width: usize, rows: Range<usize>, y: &'x mut [T],
        last: bool,
    ) {
        let [depth, height, across] = axes;
        let mut taps: Vec<(usize, T)> = Vec::with_capacity(depth.taps * height.taps);
        let mut line = vec![T::ZERO; if last { width } else { 0 }];
        let out = if last { across.output } else { width };
        for (row, y) in rows.zip(y.chunks_exact_mut(out)) {
            let (z, r) = (row / height.output, row % height.output);
            taps.clear();
            for k in 0..depth.taps {
                let (zi, zw) = (depth.index[k * depth.output + z], depth.weight[k * depth.output + z]);
                for k in 0..height.taps {
                    let at = k * height.output + r;
                    let w = zw * height.weight[at];
                    let start = (zi as usize * height.input + height.index[at] as usize) * width;
                    if w != T::ZERO {
                        taps.push((start, w));
                    }
                }
            }
            if taps.is_empty() {
                // A gradient of an input that no output looked at.
                y.fill(T::ZERO);
            } else if last {
                sum_rows::<A, T>(&taps, x, &mut line);
                along(across, &line, y);
            } else {
                sum_rows::<A, T>(&taps, x, y);
            }
        }
    }
}

/// Applies the tables to every plane.
fn apply<T: Float>(planes: usize, axes: &[Axis<T>; 3], x: &[T], y: &mut [T]) {
    let rows_in = axes[0].input * axes[1].input;
    let rows_out = axes[0].output * axes[1].output;
    let (wi, wo) = (axes[2].input, axes[2].output);
    let (plane_in, plane_out) = (rows_in * wi, rows_out * wo);
    assert!(x.len() == planes * plane_in && y.len() == planes * plane_out);
    if y.is_empty() {
        return;
    }
    assert!(plane_in > 0, "nothing to interpolate");
    let taps = axes[0].taps * axes[1].taps + axes[2].taps;
    let y = SharedMut::new(y);
    parallel_rows(planes, taps * plane_out.max(plane_in), |r| {
        // Along the width first where that is less work; it needs room for a plane.
        let across_first = rows_in <= rows_out;
        let mut room = Scratch::<T>::new(if across_first { rows_in * wo } else { 0 }).ok();
        for p in r {
            let x = &x[p * plane_in..(p + 1) * plane_in];
            // SAFETY: each plane belongs to one task.
            let y = SharedMut::new(unsafe { y.range(p * plane_out..(p + 1) * plane_out) });
            let wide = match &mut room {
                Some(room) if across_first => {
                    let wide = SharedMut::new(&mut room[..rows_in * wo]);
                    parallel_rows(rows_in, 2 * axes[2].taps * wo, |r| {
                        // SAFETY: the rows of one region are disjoint.
                        let wide = unsafe { wide.range(r.start * wo..r.end * wo) };
                        along_rows(&axes[2], &x[r.start * wi..r.end * wi], wide);
                    });
                    Some(&room[..rows_in * wo])
                }
                _ => None,
            };
            parallel_rows(rows_out, taps * wo.max(wi), |r| {
                // SAFETY: the rows of one region are disjoint.
                let y = unsafe { y.range(r.start * wo..r.end * wo) };
                match wide {
                    Some(wide) => down_rows(axes, wide, wo, r, y, false),
                    None => down_rows(axes, x, wi, r, y, true),
                }
            });
        }
    });
}

/// Interpolates `x [planes, input]` to `y [planes, output]`.
pub fn resample<T: Float>(g: &ResampleGeom, x: &[T], y: &mut [T]) {
    let axes = [Axis::new(g, 0), Axis::new(g, 1), Axis::new(g, 2)];
    apply(g.planes, &axes, x, y);
}

/// Gradient of [`resample`]: `dy [planes, output]` gives `dx [planes, input]`.
pub fn resample_backward<T: Float>(g: &ResampleGeom, dy: &[T], dx: &mut [T]) {
    if dy.is_empty() {
        return dx.fill(T::ZERO);
    }
    let axes = [0, 1, 2].map(|dim| Axis::new(g, dim).transpose());
    apply(g.planes, &axes, dy, dx);
}

#[cfg(test)]
mod tests;
