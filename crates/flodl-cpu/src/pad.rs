//! Padding of one to three spatial dims, with a constant or with the input itself.

use std::ops::Range;

use crate::element::{Element, Float};
use crate::simd_fn;
use crate::strided::copy_short;
use crate::threads::{SharedMut, parallel_rows};

/// What stands in the padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode<T> {
    /// A value.
    Constant(T),
    /// The input mirrored at its edge elements; the padding is smaller than the input.
    Reflect,
    /// The nearest edge element.
    Replicate,
    /// The input from its other end; the padding is no larger than the input.
    Circular,
}

/// Geometry of a padding of `[planes, depth, height, width]`; missing dims have size 1, padding 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PadGeom {
    /// Batch times channels.
    pub planes: usize,
    /// Input size.
    pub input: [usize; 3],
    /// Elements before the input along each dim.
    pub before: [usize; 3],
    /// Elements after it.
    pub after: [usize; 3],
}

impl PadGeom {
    /// Output size.
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|k| self.before[k] + self.input[k] + self.after[k])
    }

    /// The input element that stands at `i` of dim `k`; `None` for a constant.
    #[inline(always)]
    fn source<T>(&self, mode: PadMode<T>, k: usize, i: usize) -> Option<usize> {
        let (n, before) = (self.input[k], self.before[k]);
        if i >= before && i < before + n {
            return Some(i - before);
        }
        let j = i as isize - before as isize;
        let last = n as isize - 1;
        match mode {
            PadMode::Constant(_) => None,
            PadMode::Reflect if j < 0 => Some(-j as usize),
            PadMode::Reflect => Some((2 * last - j) as usize),
            PadMode::Replicate => Some(j.clamp(0, last) as usize),
            PadMode::Circular => Some(j.rem_euclid(n as isize) as usize),
        }
    }

    /// Where everything in a plane of the output stands in a plane of the input.
    fn sources<T: Copy>(&self, mode: PadMode<T>) -> Sources {
        let [od, oh, ow] = self.output();
        let line = |row: usize| {
            let z = self.source(mode, 0, row / oh)?;
            Some(z * self.input[1] + self.source(mode, 1, row % oh)?)
        };
        let (left, inside) = (self.before[2], self.input[2]);
        let columns = |range: Range<usize>| range.filter_map(|i| self.source(mode, 2, i)).collect();
        Sources {
            rows: (0..od * oh).map(line).collect(),
            before: columns(0..left),
            after: columns(left + inside..ow),
        }
    }

    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.planes * self.input.iter().product::<usize>());
        assert_eq!(output, self.planes * self.output().iter().product::<usize>());
    }
}

/// The sources of a plane of the output, found once: short rows cost less than finding theirs.
struct Sources {
    /// The input row of each row; `None` for a constant.
    rows: Vec<Option<usize>>,
    /// The columns that stand before and after a row; empty for a constant.
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Pads `x [planes, input]` into `y [planes, output]`.
pub fn pad<T: Element>(g: &PadGeom, mode: PadMode<T>, x: &[T], y: &mut [T]) {
    g.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let [od, oh, ow] = g.output();
    let sources = g.sources(mode);
    let y = SharedMut::new(y);
    parallel_rows(g.planes * od * oh, ow + 8, |r| {
        // SAFETY: the rows of one region are disjoint.
        let y = unsafe { y.range(r.start * ow..r.end * ow) };
        pad_rows(g, mode, &sources, r.start, x, y);
    });
}

simd_fn! {
    /// Pads rows of the output, from the one numbered `first` on.
    fn pad_rows<A, (T: Element)>(
        g: &'x PadGeom,
        mode: PadMode<T>,
        sources: &'x Sources,
        first: usize,
        x: &'x [T],
        y: &'x mut [T],
    ) {
        let [id, ih, iw] = g.input;
        let [od, oh, ow] = g.output();
        let (rows, left) = (od * oh, g.before[2]);
        let (mut plane, mut row) = (first / rows, first % rows);
        for y in y.chunks_exact_mut(ow) {
            let from = sources.rows[row].map(|line| plane * id * ih + line);
            row += 1;
            if row == rows {
                (plane, row) = (plane + 1, 0);
            }
            let Some(from) = from else {
                if let PadMode::Constant(value) = mode {
                    y.fill(value);
                }
                continue;
            };
            let x = &x[from * iw..][..iw];
            let (before, rest) = y.split_at_mut(left);
            let (middle, after) = rest.split_at_mut(iw);
            copy_short(x, middle);
            if let PadMode::Constant(value) = mode {
                before.iter_mut().chain(after).for_each(|y| *y = value);
                continue;
            }
            for (y, &at) in before.iter_mut().zip(&sources.before) {
                *y = x[at];
            }
            for (y, &at) in after.iter_mut().zip(&sources.after) {
                *y = x[at];
            }
        }
    }
}

/// Gradient of [`pad`]: each element of `dx [planes, input]` gets the sum of `dy` over the places
/// where it stands.
pub fn pad_backward<T: Float>(g: &PadGeom, mode: PadMode<T>, dy: &[T], dx: &mut [T]) {
    g.check(dx.len(), dy.len());
    let [id, ih, iw] = g.input;
    let [od, oh, ow] = g.output();
    let (plane, left) = (id * ih * iw, g.before[2]);
    let dx = SharedMut::new(dx);
    if let PadMode::Constant(_) = mode {
        // Each element stands in one place.
        parallel_rows(g.planes * id * ih, iw + 8, |r| {
            // SAFETY: the rows of one region are disjoint.
            let dx = unsafe { dx.range(r.start * iw..r.end * iw) };
            let (mut p, mut row) = (r.start / (id * ih), r.start % (id * ih));
            for dx in dx.chunks_exact_mut(iw.max(1)) {
                let (z, y) = (row / ih + g.before[0], row % ih + g.before[1]);
                let from = ((p * od + z) * oh + y) * ow + left;
                copy_short(&dy[from..from + iw], dx);
                row += 1;
                if row == id * ih {
                    (p, row) = (p + 1, 0);
                }
            }
        });
        return;
    }
    let sources = g.sources(mode);
    parallel_rows(g.planes, od * oh * ow, |r| {
        for p in r {
            // SAFETY: each plane belongs to one task.
            let dx = unsafe { dx.range(p * plane..(p + 1) * plane) };
            dx.fill(T::ZERO);
            let dy = dy[p * od * oh * ow..].chunks_exact(ow.max(1));
            for (&to, dy) in sources.rows.iter().zip(dy) {
                let Some(to) = to else { continue };
                let dx = &mut dx[to * iw..][..iw];
                for (d, &v) in dx.iter_mut().zip(&dy[left..]) {
                    *d += v;
                }
                for (&at, &v) in sources.before.iter().zip(dy) {
                    dx[at] += v;
                }
                for (&at, &v) in sources.after.iter().zip(&dy[left + iw..]) {
                    dx[at] += v;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dim_by_hand() {
        let g = PadGeom { planes: 1, input: [1, 1, 4], before: [0, 0, 2], after: [0, 0, 3] };
        for (mode, want) in [
            (PadMode::Constant(7.0), [7.0, 7.0, 1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0]),
            (PadMode::Reflect, [3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]),
            (PadMode::Replicate, [1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]),
            (PadMode::Circular, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0]),
        ] {
            let mut y = [0.0; 9];
            pad(&g, mode, &[1.0, 2.0, 3.0, 4.0], &mut y);
            assert_eq!(y, want);
        }
    }

    #[test]
    fn the_gradient_is_the_transpose() {
        let g = PadGeom { planes: 2, input: [3, 4, 5], before: [1, 2, 0], after: [2, 1, 3] };
        let (n, m) = (120, 2 * g.output().iter().product::<usize>());
        for mode in
            [PadMode::Constant(0.0), PadMode::Reflect, PadMode::Replicate, PadMode::Circular]
        {
            let dy: Vec<f64> = (0..m).map(|i| (i * i % 17) as f64).collect();
            let mut dx = vec![9.0; n];
            pad_backward(&g, mode, &dy, &mut dx);
            for (i, &d) in dx.iter().enumerate() {
                let mut x = vec![0.0; n];
                x[i] = 1.0;
                let mut y = vec![9.0; m];
                pad(&g, mode, &x, &mut y);
                assert_eq!(d, y.iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>(), "{mode:?} {i}");
            }
        }
        // A corner of a reflected 3-d input is its mirror image along every dim.
        let x: Vec<f64> = (0..120).map(f64::from).collect();
        let mut y = vec![0.0; m];
        pad(&g, PadMode::Reflect, &x, &mut y);
        assert_eq!(y[0], x[20 + 2 * 5]);
    }
}
