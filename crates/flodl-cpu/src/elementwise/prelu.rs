//! PReLU: one pass forward, one pass backward.

use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Float;
use crate::simd_fn;
use crate::threads::{SharedMut, parallel_rows};

/// Elements that one task works on at least, and whose slope gradient is summed by itself.
const UNIT: usize = 1 << 14;

/// How `[batch, channels, inner]` is cut: elements of a unit. A unit is some whole samples, or, with
/// one slope for all, any stretch.
fn unit([_, channels, inner]: [usize; 3]) -> usize {
    let sample = (channels * inner).max(1);
    if channels == 1 { UNIT } else { sample * UNIT.div_ceil(sample) }
}

fn check<T>(dims: [usize; 3], x: &[T], w: &[T]) {
    assert_eq!(x.len(), dims.iter().product::<usize>(), "prelu: wrong length of the input");
    assert_eq!(w.len(), dims[1], "prelu: wrong number of slopes");
}

simd_fn! {
    fn forward<A, (T: Float)>(inner: usize, x: &'x [T], w: &'x [T], y: &'x mut [T]) {
        if inner == 1 {
            for (x, y) in x.chunks_exact(w.len()).zip(y.chunks_exact_mut(w.len())) {
                for ((&x, y), &w) in x.iter().zip(y).zip(w) {
                    *y = if x > T::ZERO { x } else { x * w };
                }
            }
            return;
        }
        for (r, (x, y)) in x.chunks(inner).zip(y.chunks_mut(inner)).enumerate() {
            let w = w[r % w.len()];
            for (&x, y) in x.iter().zip(y) {
                *y = if x > T::ZERO { x } else { x * w };
            }
        }
    }
}

/// y = x where x > 0, else w · x, for `x [batch, channels, inner]` and a slope for each channel.
pub fn prelu<T: Float>(dims: [usize; 3], x: &[T], w: &[T], y: &mut [T]) {
    check(dims, x, w);
    assert_eq!(y.len(), x.len());
    let inner = if dims[1] == 1 { UNIT } else { dims[2] };
    let step = unit(dims);
    let y = SharedMut::new(y);
    parallel_rows(x.len().div_ceil(step), step, |units| {
        let range = units.start * step..(units.end * step).min(x.len());
        // SAFETY: the units of a task are its own.
        let y = unsafe { y.range(range.clone()) };
        forward(inner, &x[range], w, y);
    });
}

simd_fn! {
    /// The gradient of the input where `dx` is not empty, and that of the slopes where `dw` is not.
    fn backward<A, (T: Float)>(
        inner: usize, x: &'x [T], w: &'x [T], dy: &'x [T], dx: &'x mut [T], dw: &'x mut [T],
    ) {
        if !dx.is_empty() {
            if inner == 1 {
                let rows = x.chunks_exact(w.len()).zip(dy.chunks_exact(w.len()));
                for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(w.len())) {
                    for (((&x, &dy), dx), &w) in x.iter().zip(dy).zip(dx).zip(w) {
                        *dx = if x > T::ZERO { dy } else { dy * w };
                    }
                }
            } else {
                let rows = x.chunks(inner).zip(dy.chunks(inner)).zip(dx.chunks_mut(inner));
                for (r, ((x, dy), dx)) in rows.enumerate() {
                    let w = w[r % w.len()];
                    for ((&x, &dy), dx) in x.iter().zip(dy).zip(dx) {
                        *dx = if x > T::ZERO { dy } else { dy * w };
                    }
                }
            }
        }
        if dw.is_empty() {
            return;
        }
        dw.fill(T::ZERO);
        let channels = dw.len();
        if inner == 1 {
            for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                for ((&x, &dy), dw) in x.iter().zip(dy).zip(dw.iter_mut()) {
                    *dw += if x > T::ZERO { T::ZERO } else { dy * x };
                }
            }
            return;
        }
        for (r, (x, dy)) in x.chunks(inner).zip(dy.chunks(inner)).enumerate() {
            const LANES: usize = 64;
            let mut sums = [T::ZERO; LANES];
            let whole = x.len() / LANES * LANES;
            for (x, dy) in x.chunks_exact(LANES).zip(dy.chunks_exact(LANES)) {
                for ((&x, &dy), sum) in x.iter().zip(dy).zip(&mut sums) {
                    *sum += if x > T::ZERO { T::ZERO } else { dy * x };
                }
            }
            let mut total = T::ZERO;
            for (&x, &dy) in x[whole..].iter().zip(&dy[whole..]) {
                total += if x > T::ZERO { T::ZERO } else { dy * x };
            }
            for sum in sums {
                total += sum;
            }
            dw[r % channels] += total;
        }
    }
}

/// Gradients of [`prelu`] for the input and the slopes, of which those given are written.
///
/// # Errors
/// When there is no memory for the parts of the sums.
pub fn prelu_backward<T: Float>(
    dims: [usize; 3],
    x: &[T],
    w: &[T],
    dy: &[T],
    dx: Option<&mut [T]>,
    dw: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    check(dims, x, w);
    assert_eq!(dy.len(), x.len());
    assert!(dx.as_ref().is_none_or(|d| d.len() == x.len()));
    assert!(dw.as_ref().is_none_or(|d| d.len() == w.len()));
    let inner = if dims[1] == 1 { UNIT } else { dims[2] };
    let step = unit(dims);
    let units = x.len().div_ceil(step);
    let part = if dw.is_some() { w.len() } else { 0 };
    // Sums of a unit each, added up in order: the result does not depend on the threads.
    let mut small = [T::ZERO; 1];
    let mut large;
    let sums: &mut [T] = match units * part {
        0 => &mut [],
        1 => &mut small,
        n => {
            large = Scratch::new(n)?;
            &mut large
        }
    };
    let no_dx = dx.is_none();
    {
        let dx = SharedMut::new(dx.unwrap_or_default());
        let sums = SharedMut::new(&mut *sums);
        parallel_rows(units, 2 * step, |range| {
            for u in range {
                let at = u * step..((u + 1) * step).min(x.len());
                let out = if no_dx { 0..0 } else { at.clone() };
                // SAFETY: the elements of a unit belong to one task.
                let dx = unsafe { dx.range(out) };
                // SAFETY: and so do its sums.
                let dw = unsafe { sums.range(u * part..(u + 1) * part) };
                backward(inner, &x[at.clone()], w, &dy[at], dx, dw);
            }
        });
    }
    if let Some(dw) = dw {
        dw.fill(T::ZERO);
        for part in sums.chunks_exact(w.len().max(1)) {
            dw.iter_mut().zip(part).for_each(|(to, &v)| *to += v);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| (((i * 37 + seed) % 101) as f64 - 50.0) / 25.0).collect()
    }

    fn same(dims: [usize; 3]) {
        let [n, c, inner] = dims;
        let (x, dy, w) = (numbers(n * c * inner, 3), numbers(n * c * inner, 11), numbers(c, 29));
        let channel = |i: usize| i / inner.max(1) % c;
        let mut y = vec![f64::NAN; x.len()];
        prelu(dims, &x, &w, &mut y);
        let (mut dx, mut dw) = (vec![f64::NAN; x.len()], vec![f64::NAN; c]);
        prelu_backward(dims, &x, &w, &dy, Some(&mut dx), Some(&mut dw)).unwrap();
        let mut sums = vec![0.0; c];
        for i in 0..x.len() {
            let slope = if x[i] > 0.0 { 1.0 } else { w[channel(i)] };
            assert_eq!((y[i], dx[i]), (x[i] * slope, dy[i] * slope), "{dims:?} at {i}");
            sums[channel(i)] += if x[i] > 0.0 { 0.0 } else { x[i] * dy[i] };
        }
        for (a, b) in dw.iter().zip(&sums) {
            assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{dims:?}: {a} and {b}");
        }
        let (mut only_x, mut only_w) = (vec![0.0; x.len()], vec![0.0; c]);
        prelu_backward(dims, &x, &w, &dy, Some(&mut only_x), None).unwrap();
        prelu_backward(dims, &x, &w, &dy, None, Some(&mut only_w)).unwrap();
        assert_eq!((only_x, only_w), (dx, dw));
    }

    #[test]
    fn equals_the_definition() {
        for dims in [
            [1, 1, 1],
            [1, 1, 5],
            [3, 1, 70],
            [1, 1, 70_001],
            [5, 7, 1],
            [900, 33, 1],
            [2, 3, 5],
            [40, 3, 201],
            [3, 2, 20_000],
            [0, 3, 4],
            [2, 3, 0],
        ] {
            same(dims);
        }
    }
}
