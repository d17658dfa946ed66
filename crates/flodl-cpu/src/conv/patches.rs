//! Patches of output positions as the columns of a matrix, and back.

use std::ops::Range;

use super::ConvGeom;
use crate::element::Float;

/// The patches of some output positions: one column each, rows by channel and kernel element.
pub(super) struct Patches<'a, T> {
    g: &'a ConvGeom,
    x: &'a [T],
    /// The group whose channels are meant.
    q: usize,
    images: Range<usize>,
    /// Positions of each image.
    positions: Range<usize>,
}

/// Where a kernel element of a run of output positions along the last dim meets the input.
#[derive(Clone, Copy)]
struct Meeting {
    /// Positions before the first that lies inside the input.
    skip: usize,
    /// Positions inside.
    len: usize,
    /// Input column of the first one inside.
    from: usize,
}

/// Along the last dim: outputs `first..first + n` for kernel column `k`.
#[inline(always)]
fn meet(g: &ConvGeom, first: usize, n: usize, k: usize) -> Meeting {
    let (stride, pad, width) = (g.stride[2], g.padding[2], g.input[2]);
    let shift = k * g.dilation[2];
    // Output o reads column o · stride + shift - pad.
    let start = if shift >= pad { 0 } else { (pad - shift).div_ceil(stride) };
    let end = if width + pad > shift { (width + pad - shift).div_ceil(stride) } else { 0 };
    let (lo, hi) = (start.clamp(first, first + n), end.clamp(first, first + n));
    if lo >= hi {
        return Meeting { skip: n, len: 0, from: 0 };
    }
    Meeting { skip: lo - first, len: hi - lo, from: lo * stride + shift - pad }
}

/// The input row that output row `o` reads for kernel row `k` along dim `d`, if it is inside.
#[inline(always)]
fn row(g: &ConvGeom, d: usize, o: usize, k: usize) -> Option<usize> {
    (o * g.stride[d] + k * g.dilation[d]).checked_sub(g.padding[d]).filter(|&i| i < g.input[d])
}

/// Calls `f(start, length, [depth, row, first column])` for each run of output positions that lie
/// in one output row.
fn runs(g: &ConvGeom, positions: Range<usize>, mut f: impl FnMut(usize, usize, [usize; 3])) {
    let [_, oh, ow] = g.output;
    let mut at = positions.start;
    while at < positions.end {
        let column = at % ow;
        let n = (ow - column).min(positions.end - at);
        f(at - positions.start, n, [at / (oh * ow), at / ow % oh, column]);
        at += n;
    }
}

impl<'a, T: Float> Patches<'a, T> {
    pub fn new(
        g: &'a ConvGeom,
        x: &'a [T],
        q: usize,
        images: Range<usize>,
        positions: Range<usize>,
    ) -> Self {
        Patches { g, x, q, images, positions }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.images.len() * self.positions.len()
    }

    /// Writes the rows of some channels of the group to `out`, row by row.
    pub fn gather(&self, out: &mut [T], channels: Range<usize>) {
        let (g, columns, n) = (self.g, self.columns(), self.positions.len());
        let (in_plane, [kd, kh, kw]) = (g.in_plane(), g.kernel);
        let first = self.q * (g.c_in / g.groups);
        let mut rows = out.chunks_exact_mut(columns.max(1));
        for c in channels {
            for tap in 0..kd * kh * kw {
                let (z, y, k) = (tap / (kh * kw), tap / kw % kh, tap % kw);
                let Some(out) = rows.next() else { return };
                for (image, out) in self.images.clone().zip(out.chunks_exact_mut(n.max(1))) {
                    let plane = &self.x[(image * g.c_in + first + c) * in_plane..][..in_plane];
                    if keeps_rows(g) {
                        shift_rows(g, plane, out, self.positions.clone(), [z, y, k]);
                        continue;
                    }
                    runs(g, self.positions.clone(), |at, len, [oz, oy, ox]| {
                        let out = &mut out[at..at + len];
                        let (Some(iz), Some(iy)) = (row(g, 0, oz, z), row(g, 1, oy, y)) else {
                            out.fill(T::ZERO);
                            return;
                        };
                        let line = &plane[(iz * g.input[1] + iy) * g.input[2]..][..g.input[2]];
                        copy_line(g, line, out, ox, k);
                    });
                }
            }
        }
    }
}

/// Whether a patch row is the input shifted: rows as long as the input's, read without gaps.
fn keeps_rows(g: &ConvGeom) -> bool {
    g.stride[1] == 1 && g.stride[2] == 1 && g.output[2] == g.input[2]
}

/// A patch row as one shifted copy for each depth, with zeros where the shift leaves the input:
/// copying row by row costs more than the elements of short rows do.
fn shift_rows<T: Float>(
    g: &ConvGeom,
    plane: &[T],
    out: &mut [T],
    positions: Range<usize>,
    [z, y, k]: [usize; 3],
) {
    let ([_, oh, w], ih) = (g.output, g.input[1]);
    let (slab, in_slab) = (oh * w, ih * w);
    let shift = |d: usize, k: usize| (k * g.dilation[d]) as isize - g.padding[d] as isize;
    let (sy, sx) = (shift(1, y), shift(2, k));
    // Output rows whose input row exists.
    let top = (-sy).clamp(0, oh as isize) as usize;
    let bottom = (ih as isize - sy).clamp(top as isize, oh as isize) as usize;
    let mut at = positions.start;
    while at < positions.end {
        let (oz, lo) = (at / slab, at % slab);
        let hi = slab.min(lo + positions.end - at);
        let out = &mut out[at - positions.start..][..hi - lo];
        at += hi - lo;
        let (from, to) = ((top * w).clamp(lo, hi), (bottom * w).clamp(lo, hi));
        let Some(iz) = row(g, 0, oz, z).filter(|_| from < to) else {
            out.fill(T::ZERO);
            continue;
        };
        out[..from - lo].fill(T::ZERO);
        out[to - lo..].fill(T::ZERO);
        // The ends of the shifted copy that lie outside the input are in columns zeroed below.
        let source = &plane[iz * in_slab..][..in_slab];
        let offset = sy * w as isize + sx;
        let first = (from as isize).max(-offset);
        let last = (to as isize).min(in_slab as isize - offset);
        if first < last {
            let (first, last) = (first as usize, last as usize);
            let begin = (first as isize + offset) as usize;
            out[first - lo..last - lo].copy_from_slice(&source[begin..begin + (last - first)]);
        }
        let columns = if sx < 0 { 0..(-sx as usize).min(w) } else { w - (sx as usize).min(w)..w };
        if columns.is_empty() {
            continue;
        }
        for r in from / w..to.div_ceil(w) {
            let zero =
                (r * w + columns.start).clamp(from, to)..(r * w + columns.end).clamp(from, to);
            out[zero.start - lo..zero.end - lo].fill(T::ZERO);
        }
    }
}

/// One run of one patch row.
#[inline(always)]
fn copy_line<T: Float>(g: &ConvGeom, line: &[T], out: &mut [T], ox: usize, k: usize) {
    let m = meet(g, ox, out.len(), k);
    let (head, rest) = out.split_at_mut(m.skip);
    let (inside, tail) = rest.split_at_mut(m.len);
    head.fill(T::ZERO);
    tail.fill(T::ZERO);
    match g.stride[2] {
        1 => inside.copy_from_slice(&line[m.from..m.from + m.len]),
        stride => {
            if m.len > 0 {
                for (o, &v) in inside.iter_mut().zip(line[m.from..].iter().step_by(stride)) {
                    *o = v;
                }
            }
        }
    }
}

/// Adds rows of patches of all positions of one image to where they came from: `part` has a row
/// for each kernel element of the channels that `dx` holds.
pub(super) fn scatter_add<T: Float>(g: &ConvGeom, part: &[T], dx: &mut [T]) {
    let (plane, in_plane, [kd, kh, kw]) = (g.out_plane(), g.in_plane(), g.kernel);
    let taps = kd * kh * kw;
    for (r, part) in part.chunks_exact(plane.max(1)).enumerate() {
        let (c, tap) = (r / taps, r % taps);
        let (z, y, k) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        let dx = &mut dx[c * in_plane..][..in_plane];
        runs(g, 0..plane, |at, len, [oz, oy, ox]| {
            let (Some(iz), Some(iy)) = (row(g, 0, oz, z), row(g, 1, oy, y)) else { return };
            let m = meet(g, ox, len, k);
            if m.len == 0 {
                return;
            }
            let line = &mut dx[(iz * g.input[1] + iy) * g.input[2]..][..g.input[2]];
            let part = &part[at + m.skip..][..m.len];
            if g.stride[2] == 1 {
                for (d, &v) in line[m.from..m.from + m.len].iter_mut().zip(part) {
                    *d += v;
                }
            } else {
                for (d, &v) in line[m.from..].iter_mut().step_by(g.stride[2]).zip(part) {
                    *d += v;
                }
            }
        });
    }
}
