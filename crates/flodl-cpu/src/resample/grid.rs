//! Sampling of planes and volumes at given points, as spatial transformers do.

use super::{Interpolation, cubic};
use crate::element::Float;
use crate::threads::{SharedMut, parallel_rows};

/// What stands outside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridPadding {
    /// Zeros.
    Zeros,
    /// The nearest edge element.
    Border,
    /// The input mirrored at its edges.
    Reflection,
}

/// Geometry of a sampling of `[batch, channels, height, width]` at `[batch, points, 2]`, where a
/// point is (x, y) and -1 and 1 are the edges of the input; or of `[batch, channels, depth, height,
/// width]` at `[batch, points, 3]`, where it is (x, y, z).
#[derive(Clone, Copy, Debug)]
pub struct GridGeom {
    /// Number of inputs, each with its own points.
    pub batch: usize,
    /// Planes of an input, all sampled at the same points.
    pub channels: usize,
    /// Coordinates of a point: 2 or 3.
    pub rank: usize,
    /// Depth, height and width of the input; the depth of a plane is 1.
    pub input: [usize; 3],
    /// Points of an input: the elements of a plane of its output.
    pub points: usize,
    /// How values between elements are found; `NearestExact` is as `Nearest`, and `Cubic` is for
    /// planes.
    pub mode: Interpolation,
    /// What stands outside the input.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the centres of the edge elements and not their outer sides.
    pub align_corners: bool,
}

/// A part of a sample: an element of the plane, its weight, and the weight's derivatives.
#[derive(Clone, Copy)]
struct Tap<T> {
    at: usize,
    weight: T,
    by: [T; 3],
}

/// A coordinate brought into the input by the padding rule, and its derivative.
fn place<T: Float>(g: &GridGeom, v: T, size: usize) -> (T, T) {
    let c = T::from_f64;
    let last = c(size as f64 - 1.0);
    let (mut v, mut slope) = (v, T::ONE);
    if g.padding == GridPadding::Zeros {
        return (v, slope);
    }
    if g.padding == GridPadding::Reflection {
        let (min, span) = if g.align_corners { (T::ZERO, last) } else { (c(-0.5), c(size as f64)) };
        if span == T::ZERO {
            return (T::ZERO, T::ZERO);
        }
        v -= min;
        if v < T::ZERO {
            (v, slope) = (-v, -slope);
        }
        let flips = (v / span).to_f64().floor();
        let rest = v - c(flips) * span;
        if flips % 2.0 == 0.0 {
            v = rest + min;
        } else {
            (v, slope) = (span - rest + min, -slope);
        }
    }
    // NaN goes to 0 too.
    if v.is_nan() || v <= T::ZERO {
        (T::ZERO, T::ZERO)
    } else if v >= last {
        (last, T::ZERO)
    } else {
        (v, slope)
    }
}

/// The two or four elements around `v` along a dim: position, weight, derivative.
fn around<T: Float>(g: &GridGeom, v: T, size: usize, out: &mut [(i64, T, T); 4]) -> usize {
    let c = T::from_f64;
    let half = c(0.5);
    let (raw, unit) = if g.align_corners {
        let unit = c((size as f64 - 1.0) / 2.0);
        ((v + T::ONE) * unit, unit)
    } else {
        let unit = c(size as f64 / 2.0);
        ((v + T::ONE) * unit - half, unit)
    };
    if g.mode == Interpolation::Cubic {
        let floor = raw.to_f64().floor();
        let t = raw - c(floor);
        let a = c(-0.75);
        let near = |x: T| (c(3.0) * (a + c(2.0)) * x - c(2.0) * (a + c(3.0))) * x;
        let far = |x: T| (c(3.0) * a * x - c(10.0) * a) * x + c(8.0) * a;
        let u = T::ONE - t;
        let slopes = [far(t + T::ONE), near(t), -near(u), -far(u + T::ONE)];
        for (k, (w, d)) in cubic(t).into_iter().zip(slopes).enumerate() {
            let at = place(g, c(floor + k as f64 - 1.0), size).0.to_f64();
            out[k] = (at.round() as i64, w, d * unit);
        }
        return 4;
    }
    let (v, slope) = place(g, raw, size);
    let unit = unit * slope;
    if g.mode == Interpolation::Linear {
        let floor = v.to_f64().floor();
        let t = v - c(floor);
        out[0] = (floor as i64, T::ONE - t, -unit);
        out[1] = ((floor as i64).saturating_add(1), t, unit);
        return 2;
    }
    out[0] = (v.to_f64().round_ties_even() as i64, T::ONE, T::ZERO);
    1
}

/// The taps of a point; those outside the input are left out.
fn taps<T: Float>(g: &GridGeom, point: &[T], out: &mut [Tap<T>; TAPS]) -> usize {
    let [depth, height, width] = g.input;
    let none = (0, T::ZERO, T::ZERO);
    let (mut xs, mut ys) = ([none; 4], [none; 4]);
    // A plane is the only one of its depth.
    let mut zs = [(0, T::ONE, T::ZERO); 4];
    let nx = around(g, point[0], width, &mut xs);
    let ny = around(g, point[1], height, &mut ys);
    let nz = if g.rank == 3 { around(g, point[2], depth, &mut zs) } else { 1 };
    let inside = |at: i64, size: usize| (0..size as i64).contains(&at);
    let mut n = 0;
    for &(z, wz, dz) in zs[..nz].iter().filter(|z| inside(z.0, depth)) {
        for &(y, wy, dy) in ys[..ny].iter().filter(|y| inside(y.0, height)) {
            for &(x, wx, dx) in xs[..nx].iter().filter(|x| inside(x.0, width)) {
                let at = (z as usize * height + y as usize) * width + x as usize;
                let by = [dx * wy * wz, wx * dy * wz, wx * wy * dz];
                out[n] = Tap { at, weight: wx * wy * wz, by };
                n += 1;
            }
        }
    }
    n
}

/// Most taps of a point: 4 · 4 of a plane, or 2 · 2 · 2 of a volume.
const TAPS: usize = 16;

/// Checks what the kernels rely on.
fn check(g: &GridGeom) {
    assert!(g.rank == 3 || (g.rank == 2 && g.input[0] == 1), "grid_sample: a plane has no depth");
    assert!(g.rank == 2 || g.mode != Interpolation::Cubic, "grid_sample: cubic is for planes");
}

/// Samples `x [batch, channels, depth, height, width]` at `grid [batch, points, rank]` into
/// `y [batch, channels, points]`.
///
/// # Panics
/// If a slice has another length, a plane a depth, or a volume cubic interpolation.
pub fn grid_sample<T: Float>(g: &GridGeom, x: &[T], grid: &[T], y: &mut [T]) {
    let (plane, points, rank) = (g.input.iter().product::<usize>(), g.points, g.rank);
    check(g);
    assert!(x.len() == g.batch * g.channels * plane && grid.len() == g.batch * points * rank);
    assert_eq!(y.len(), g.batch * g.channels * points);
    let y = SharedMut::new(y);
    parallel_rows(g.batch * points, 40 + 8 * g.channels, |r| {
        let mut all = [Tap { at: 0, weight: T::ZERO, by: [T::ZERO; 3] }; TAPS];
        for p in r {
            let (n, point) = (p / points, p % points);
            let count = taps(g, &grid[rank * p..rank * (p + 1)], &mut all);
            for c in n * g.channels..(n + 1) * g.channels {
                let x = &x[c * plane..(c + 1) * plane];
                let mut sum = T::ZERO;
                for tap in &all[..count] {
                    sum += x[tap.at] * tap.weight;
                }
                // SAFETY: the point belongs to one task, in every channel.
                unsafe { y.range(c * points + point..c * points + point + 1)[0] = sum };
            }
        }
    });
}

/// Gradients of [`grid_sample`] for the input and the points; both are overwritten.
///
/// # Panics
/// As [`grid_sample`].
pub fn grid_sample_backward<T: Float>(
    g: &GridGeom,
    x: &[T],
    grid: &[T],
    dy: &[T],
    dx: &mut [T],
    dgrid: &mut [T],
) {
    let (plane, points, rank) = (g.input.iter().product::<usize>(), g.points, g.rank);
    check(g);
    let image = g.channels * plane;
    assert!(x.len() == g.batch * image && dx.len() == x.len());
    assert!(grid.len() == g.batch * points * rank && dgrid.len() == grid.len());
    assert_eq!(dy.len(), g.batch * g.channels * points);
    let (dx, dgrid) = (SharedMut::new(dx), SharedMut::new(dgrid));
    parallel_rows(g.batch, points * (40 + 16 * g.channels), |r| {
        let mut all = [Tap { at: 0, weight: T::ZERO, by: [T::ZERO; 3] }; TAPS];
        for n in r {
            // SAFETY: each input belongs to one task.
            let dx = unsafe { dx.range(n * image..(n + 1) * image) };
            // SAFETY: likewise.
            let dgrid = unsafe { dgrid.range(rank * n * points..rank * (n + 1) * points) };
            let x = &x[n * image..(n + 1) * image];
            let dy = &dy[n * g.channels * points..(n + 1) * g.channels * points];
            dx.fill(T::ZERO);
            for p in 0..points {
                let point = rank * (n * points + p);
                let count = taps(g, &grid[point..point + rank], &mut all);
                let mut slope = [T::ZERO; 3];
                for c in 0..g.channels {
                    let d = dy[c * points + p];
                    for tap in &all[..count] {
                        let at = c * plane + tap.at;
                        dx[at] += d * tap.weight;
                        for (slope, by) in slope.iter_mut().zip(tap.by) {
                            *slope += d * x[at] * by;
                        }
                    }
                }
                dgrid[rank * p..rank * (p + 1)].copy_from_slice(&slope[..rank]);
            }
        }
    });
}
