//! Copies between layouts and types, and simple fills.

use std::mem::MaybeUninit;

use crate::element::{Element, Float};
use crate::simd::{Arch, Kernel, dispatch};
use crate::strided::{Buffer, Nest, View, Walk, extent, gather};
use crate::threads::{GRAIN, SharedMut, parallel_for, parallel_ranges};

/// Edge of the square tiles that a transpose works in: a cache line of `f32`.
const TILE: usize = 16;

/// `out = x`, dense in the order of the dims.
///
/// # Panics
/// If `out` has not as many elements as `x`, or `x` reaches beyond its data.
pub fn copy<T: Element>(x: View<'_, T>, out: &mut [T]) {
    x.check();
    assert_eq!(x.len(), out.len(), "output length");
    if let Some(x) = x.contiguous() {
        let shared = SharedMut::new(out);
        parallel_ranges(x.len(), GRAIN, |r| {
            // SAFETY: ranges of one region are disjoint.
            unsafe { shared.range(r.clone()) }.copy_from_slice(&x[r]);
        });
        return;
    }
    let nest = Nest::new(x.dims, [x.strides]);
    if let Some(dim) = transposed_dim(&nest) {
        transpose(&nest, dim, x.data, out);
        return;
    }
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN, |r| {
        let (index, [offset]) = nest.locate(r.start);
        // SAFETY: ranges of one region are disjoint.
        let dst = unsafe { shared.range(r) };
        // SAFETY: `MaybeUninit<T>` has the layout of `T`, and `gather` writes only values.
        let dst = unsafe {
            std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast::<MaybeUninit<T>>(), dst.len())
        };
        // SAFETY: `check` above has seen the view.
        unsafe { gather(&nest, 0, x.data, index, offset, dst) };
    });
}

/// The dim that is dense in memory, when it is not the last one and tiles pay.
fn transposed_dim(nest: &Nest<1>) -> Option<usize> {
    let last = nest.dims.len() - 1;
    if nest.strides[0][last] <= 1 || nest.dims[last] < 4 {
        return None;
    }
    (0..last).find(|&d| nest.strides[0][d] == 1 && nest.dims[d] >= 4)
}

/// Copies a view whose dim `dim` is dense, tile by tile, so that every cache line that is read or
/// written is used whole while it is near.
fn transpose<T: Element>(nest: &Nest<1>, dim: usize, data: &[T], out: &mut [T]) {
    let last = nest.dims.len() - 1;
    let (columns, rows) = (nest.dims[dim], nest.dims[last]);
    let row_stride = nest.strides[0][last];
    let column_stride: usize = nest.dims[dim + 1..].iter().product();
    let total = out.len();
    if total == 0 {
        return;
    }
    let planes = total / (columns * rows);
    let shared = SharedMut::new(out);
    // A task is some columns of one plane; at least GRAIN elements, at least a tile's width.
    let wide = (GRAIN.div_ceil(rows)).next_multiple_of(TILE).min(columns.next_multiple_of(TILE));
    let strips = columns.div_ceil(wide);
    let task = |i: usize| {
        let (plane, strip) = (i / strips, i % strips);
        let (mut rest, mut src, mut dst, mut size) = (plane, 0, 0, rows);
        for d in (0..last).rev() {
            if d != dim {
                let at = rest % nest.dims[d];
                rest /= nest.dims[d];
                src += at * nest.strides[0][d];
                dst += at * size;
            }
            size *= nest.dims[d];
        }
        for c in (strip * wide..((strip + 1) * wide).min(columns)).step_by(TILE) {
            let width = TILE.min(columns - c);
            for r in (0..rows).step_by(TILE) {
                let height = TILE.min(rows - r);
                // SAFETY: the view was checked, and the tile is inside it; it covers elements of
                // the output that no other tile has.
                unsafe {
                    let from = data.as_ptr().add(src + c + r * row_stride);
                    let to = shared.as_mut_ptr().add(dst + c * column_stride + r);
                    tile(from, row_stride, to, column_stride, width, height);
                }
            }
        }
    };
    if total < 2 * GRAIN {
        (0..planes * strips).for_each(task);
    } else {
        parallel_for(planes * strips, task);
    }
}

/// Writes `height` source rows of `width` elements as columns.
///
/// # Safety
/// `from` has the rows at `row_stride`, `to` has room for `width` rows at `column_stride`, and
/// nobody else touches that room.
unsafe fn tile<T: Element>(
    from: *const T,
    row_stride: usize,
    to: *mut T,
    column_stride: usize,
    width: usize,
    height: usize,
) {
    let mut square = [[T::ZERO; TILE]; TILE];
    if width == TILE && height == TILE {
        for (r, line) in square.iter_mut().enumerate() {
            // SAFETY: row `r` is inside, says the caller.
            *line = unsafe { from.add(r * row_stride).cast::<[T; TILE]>().read_unaligned() };
        }
        #[allow(clippy::needless_range_loop)]
        for c in 0..TILE {
            let line: [T; TILE] = std::array::from_fn(|r| square[r][c]);
            // SAFETY: likewise for the output row `c`.
            unsafe { to.add(c * column_stride).cast::<[T; TILE]>().write_unaligned(line) };
        }
        return;
    }
    for r in 0..height {
        for c in 0..width {
            // SAFETY: inside both, says the caller.
            unsafe { *to.add(c * column_stride + r) = *from.add(r * row_stride + c) };
        }
    }
}

/// Copies `src` into a strided place: the element at an index goes to that index of `dst`, which
/// has dims `dims` and strides `dst_strides` (for concatenation and writes to slices).
///
/// # Panics
/// If the dims differ, one of the two reaches beyond its data, or the destination overlaps itself.
pub fn copy_into<T: Element>(
    src: View<'_, T>,
    dst: &mut [T],
    dims: &[usize],
    dst_strides: &[usize],
) {
    src.check();
    assert_eq!(src.dims, dims, "source and destination differ in shape");
    assert!(extent(dims, dst_strides) <= dst.len(), "destination beyond its data");
    assert!(is_injective(dims, dst_strides), "destination overlaps itself");
    let total = src.len();
    if total == 0 {
        return;
    }
    let nest = Nest::new(dims, [src.strides, dst_strides]);
    let last = nest.dims.len() - 1;
    let inner = nest.dims[last];
    let (from_stride, to_stride) = (nest.strides[0][last], nest.strides[1][last]);
    let shared = SharedMut::new(dst);
    parallel_ranges(total, GRAIN, |range| {
        let mut at = range.start;
        while at < range.end {
            let (index, [from, to]) = nest.locate(at);
            let run = (inner - index[last]).min(range.end - at);
            // SAFETY: both were checked against dims and strides; elements of the destination are
            // distinct by the assert, and ranges of one region are disjoint.
            unsafe {
                let (from, to) = (src.data.as_ptr().add(from), shared.as_mut_ptr().add(to));
                if from_stride == 1 && to_stride == 1 {
                    std::ptr::copy_nonoverlapping(from, to, run);
                } else {
                    for i in 0..run {
                        *to.add(i * to_stride) = *from.add(i * from_stride);
                    }
                }
            }
            at += run;
        }
    });
}

/// Whether no two indices share an element, as far as nested dims show it: ordered by stride, each
/// dim steps over all that the smaller ones reach.
fn is_injective(dims: &[usize], strides: &[usize]) -> bool {
    let mut reach = 0;
    let mut below = 0;
    for _ in 0..dims.len() {
        // The next larger stride; equal ones overlap.
        let wide = dims.iter().zip(strides).filter(|&(&d, &s)| d > 1 && s > below);
        let Some((&dim, &stride)) = wide.min_by_key(|&(_, &s)| s) else { break };
        if stride <= reach {
            return false;
        }
        reach += (dim - 1) * stride;
        below = stride;
    }
    // A dim whose stride is 0 or that of another one was never taken.
    let mut seen = dims.iter().zip(strides).enumerate().filter(|(_, (d, _))| **d > 1);
    seen.all(|(i, (_, &s))| s > 0 && !(0..i).any(|j| dims[j] > 1 && strides[j] == s))
}

struct Convert<'a, S, D, F>(&'a [S], &'a mut [D], F);

impl<S: Copy, D, F: Fn(S) -> D> Kernel for Convert<'_, S, D, F> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for (out, &x) in self.1.iter_mut().zip(self.0) {
            *out = (self.2)(x);
        }
    }
}

fn convert<S: Element, D: Element>(x: View<'_, S>, out: &mut [D], f: impl Fn(S) -> D + Sync) {
    x.check();
    assert_eq!(x.len(), out.len(), "output length");
    let walk = Walk::new(x.dims, [x.strides]);
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN, |range| {
        let mut buffer = Buffer::new();
        walk.blocks(range, |r, place| {
            // SAFETY: `check` above has seen the view.
            let x = unsafe { walk.fetch(0, x.data, place, &mut buffer) };
            // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
            dispatch(Convert(x, unsafe { shared.range(r) }, &f));
        });
    });
}

/// `out = x` in another type: floats to integers truncate, integers wrap.
///
/// # Panics
/// If `out` has not as many elements as `x`, or `x` reaches beyond its data.
pub fn cast<S: Element, D: Element>(x: View<'_, S>, out: &mut [D]) {
    // A value goes through i64 where f64 would lose digits or saturate instead of wrapping.
    if is_integer::<D>() {
        convert(x, out, |x| D::from_i64(x.to_i64()));
    } else {
        convert(x, out, |x| D::from_f64(x.to_f64()));
    }
}

/// Whether 1/2 is not among the type's values.
#[inline(always)]
fn is_integer<T: Element>() -> bool {
    T::from_f64(0.5) == T::ZERO
}

/// `out = (x != 0)` as 0 or 1; NaN counts as true.
///
/// # Panics
/// As [`cast`].
pub fn cast_bool<S: Element>(x: View<'_, S>, out: &mut [u8]) {
    convert(x, out, |x| (x != S::ZERO) as u8);
}

/// Sets every element.
pub fn fill<T: Element>(out: &mut [T], value: T) {
    let shared = SharedMut::new(out);
    // SAFETY: ranges of one region are disjoint.
    parallel_ranges(shared.len(), GRAIN, |r| unsafe { shared.range(r) }.fill(value));
}

/// `out[i] = start + i · step`, computed in `f64` as PyTorch does.
pub fn arange<T: Element>(start: f64, step: f64, out: &mut [T]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = T::from_f64(start + i as f64 * step);
    }
}

/// Equal steps from `start` to `end`, both included.
pub fn linspace<T: Float>(start: f64, end: f64, out: &mut [T]) {
    let n = out.len();
    let step = (end - start) / n.saturating_sub(1).max(1) as f64;
    for (i, out) in out.iter_mut().enumerate() {
        // From the nearer end, so that the last value is exact.
        let value = if i < n.div_ceil(2) {
            start + i as f64 * step
        } else {
            end - (n - 1 - i) as f64 * step
        };
        *out = T::from_f64(value);
    }
}

/// Ones on the diagonal of a matrix with `columns` columns, zeros elsewhere.
pub fn eye<T: Element>(columns: usize, out: &mut [T]) {
    fill(out, T::ZERO);
    if columns > 0 {
        out.iter_mut().step_by(columns + 1).take(columns).for_each(|d| *d = T::ONE);
    }
}
