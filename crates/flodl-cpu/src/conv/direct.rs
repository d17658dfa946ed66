//! Convolutions without a matrix product: depthwise ones, whose sums are short, and tiny ones,
//! where packing would cost more than the sums.
//!
//! The outputs of a channel are computed as one run over the slab, with some values between the
//! rows that nobody wants: long runs are vectors whatever the width of the image.

use super::implicit::{PARALLEL, scatter};
use super::plan::{Pass, SPILL, Slab};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::Gemm;
use crate::gemm::vector::dot;
use crate::simd;
use crate::threads::{self, SharedMut};

/// Longest sum: its tables stay on the stack.
const MOST: usize = 256;
/// Multiplications up to which a convolution counts as tiny (bench: `conv_bench`).
const TINY: usize = 1 << 15;

/// Whether a pass is better computed here than as a matrix product.
pub(super) fn suits<T: Gemm>(pass: &Pass<T>, all: usize) -> bool {
    pass.k() <= MOST && (all <= TINY || pass.src_ch * pass.dst_ch <= 2)
}

/// Computes all passes, which write disjoint parts of `dst`.
pub(super) fn run<T: Gemm>(passes: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    let parallel = passes.iter().map(Pass::work).sum::<usize>() >= PARALLEL;
    let dst = SharedMut::new(dst);
    for pass in passes {
        items(pass.batch * pass.groups, parallel, |range| {
            simd::dispatch(Items { pass, range, dst: &dst })
        })?;
    }
    Ok(())
}

/// Runs `f` on the parts of `0..count`, on the team if asked to.
pub(super) fn items(
    count: usize,
    parallel: bool,
    f: impl Fn(std::ops::Range<usize>) -> Result<(), OutOfMemory> + Sync,
) -> Result<(), OutOfMemory> {
    if !parallel {
        return f(0..count);
    }
    let parts = count.min(threads::PIECES * threads::available()).max(1);
    let failed = std::sync::Mutex::new(None);
    threads::parallel_for(parts, |i| {
        if let Err(error) = f(i * count / parts..(i + 1) * count / parts) {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
        }
    });
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Values of a run that are computed at once: they stay in the first-level cache.
const BLOCK: usize = 2048;
/// Lanes that runs are padded to.
const LANES: usize = 16;
const _: () = assert!(LANES <= SPILL);

/// Some pairs of image and group.
struct Items<'a, 'p, T> {
    pass: &'a Pass<'p, T>,
    range: std::ops::Range<usize>,
    dst: &'a SharedMut<'a, T>,
}

impl<T: Gemm> simd::Kernel for Items<'_, '_, T> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: simd::Arch>(self) -> Self::Out {
        let pass = self.pass;
        let (k, taps) = (pass.k(), pass.taps());
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width) = (slab.plane(), lengths[2]);
        let (mut offsets, mut index, mut weights) = ([0; MOST], [0; MOST], [T::ZERO; MOST]);
        for i in 0..k {
            offsets[i] = i / taps * plane + slab.tap(&pass.axes, i % taps);
            index[i] = i / taps * pass.w_ch + pass.kernel_index(i % taps);
        }
        let dense = pass.dense();
        let last = slab.place(lengths.map(|l| l - 1));
        let run = (last + 1).next_multiple_of(LANES);
        let mut space = Scratch::<T>::new(pass.src_ch * plane + SPILL + run)?;
        let (values, line) = space.split_at_mut(pass.src_ch * plane + SPILL);
        for item in self.range {
            let group = item % pass.groups;
            for c in 0..pass.src_ch {
                let src = &pass.src[(item * pass.src_ch + c) * pass.src_plane()..];
                // SAFETY: planes are filled in order, each spills over the next or the tail.
                unsafe { slab.fill::<A, T>(src, [0; 3], values.as_mut_ptr().add(c * plane)) };
            }
            for m in 0..pass.dst_ch {
                let w = &pass.w[group * pass.w_group + m * pass.w_row..];
                for (weight, &at) in weights[..k].iter_mut().zip(&index) {
                    *weight = w[at];
                }
                let bias = pass.bias.map_or(T::ZERO, |b| b[group * pass.dst_ch + m]);
                let at = (item * pass.dst_ch + m) * pass.dst_plane();
                // SAFETY: this channel of this image is this task's; the phases of one region
                // follow one another.
                let out = unsafe { self.dst.range(at..at + pass.dst_plane()) };
                for (i, sums) in line.chunks_mut(BLOCK).enumerate() {
                    let values = &values[i * BLOCK..];
                    add_taps::<A, T>(values, &offsets[..k], &weights[..k], bias, sums);
                }
                let grid = (0..lengths[0]).flat_map(|d| (0..lengths[1]).map(move |h| (d, h)));
                for (d, h) in grid {
                    let row = &line[slab.place([d, h, 0])..];
                    let whole = width.next_multiple_of(8);
                    let to = (d * lengths[1] + h) * width;
                    if dense && to + whole <= out.len() && whole <= row.len() {
                        // What is too much is overwritten by the next row.
                        for (to, from) in out[to..to + whole].chunks_exact_mut(8).zip(row.chunks(8))
                        {
                            to.copy_from_slice(from);
                        }
                    } else {
                        // SAFETY: outputs of this channel.
                        unsafe { scatter(pass, [d, h, 0], [1, 1, width], row, out.as_mut_ptr()) };
                    }
                }
            }
        }
        Ok(())
    }
}

/// `sums[i] = bias + sum over taps of weight * values[offset + i]`.
#[inline(always)]
fn add_taps<A: simd::Arch, T: Gemm>(
    values: &[T],
    offsets: &[usize],
    weights: &[T],
    bias: T,
    sums: &mut [T],
) {
    let len = sums.len();
    let x = |i: usize| &values[offsets[i]..][..len];
    let mut i = 0;
    if let Some(weights) = weights.first_chunk::<9>() {
        // Those of 3×3 taps, as many as the registers hold (bench: `conv_bench`).
        let x: [&[T]; 9] = std::array::from_fn(x);
        for (j, sum) in sums.iter_mut().enumerate() {
            let mut s = bias;
            for (x, &weight) in x.iter().zip(weights) {
                s = weight.mul_add_::<A>(x[j], s);
            }
            *sum = s;
        }
        i = 9;
    } else {
        sums.fill(bias);
    }
    while i + 3 <= offsets.len() {
        let (a, b, c) = (x(i), x(i + 1), x(i + 2));
        let (u, v, w) = (weights[i], weights[i + 1], weights[i + 2]);
        for (j, sum) in sums.iter_mut().enumerate() {
            let s = u.mul_add_::<A>(a[j], *sum);
            *sum = w.mul_add_::<A>(c[j], v.mul_add_::<A>(b[j], s));
        }
        i += 3;
    }
    while i < offsets.len() {
        for (sum, &x) in sums.iter_mut().zip(x(i)) {
            *sum = weights[i].mul_add_::<A>(x, *sum);
        }
        i += 1;
    }
}

/// Whether [`weight`] suits a convolution better than a matrix product.
pub(super) fn weight_suits<T: Gemm>(pass: &Pass<T>) -> bool {
    pass.k() <= MOST && (pass.work() <= TINY || pass.src_ch * pass.dst_ch <= 2)
}

/// The gradient by weight: `pass` is the forward pass, whose weight is not used.
pub(super) fn weight<T: Gemm>(pass: &Pass<T>, dy: &[T], dw: &mut [T]) -> Result<(), OutOfMemory> {
    let dw = SharedMut::new(dw);
    items(pass.groups, pass.work() >= PARALLEL, |range| {
        simd::dispatch(Weights { pass, dy, range, dw: &dw })
    })
}

/// Some groups.
struct Weights<'a, 'p, T> {
    pass: &'a Pass<'p, T>,
    dy: &'a [T],
    range: std::ops::Range<usize>,
    dw: &'a SharedMut<'a, T>,
}

impl<T: Gemm> simd::Kernel for Weights<'_, '_, T> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: simd::Arch>(self) -> Self::Out {
        let pass = self.pass;
        let (k, taps) = (pass.k(), pass.taps());
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width) = (slab.plane(), lengths[2]);
        let last = slab.place(lengths.map(|l| l - 1));
        let run = (last + 1).next_multiple_of(LANES);
        let mut places = [0; MOST];
        for (i, place) in places[..k].iter_mut().enumerate() {
            *place = i / taps * plane + slab.tap(&pass.axes, i % taps);
        }
        // Between the rows of the gradient are zeros, which meet what the slab holds there: where
        // that is not finite, the sum is taken again place by place. The tail is cleared.
        let slab_len = pass.src_ch * plane + SPILL;
        let mut space = Scratch::<T>::new(slab_len + run)?;
        let (values, line) = space.split_at_mut(slab_len);
        line.fill(T::ZERO);
        values[slab_len - SPILL..].fill(T::ZERO);
        let (pixels, src_plane) = (pass.pixels(), pass.src_plane());
        for group in self.range {
            let len = pass.dst_ch * k;
            // SAFETY: the weights of this group are this task's.
            let dw = unsafe { self.dw.range(group * len..(group + 1) * len) };
            dw.fill(T::ZERO);
            for n in 0..pass.batch {
                let item = n * pass.groups + group;
                for c in 0..pass.src_ch {
                    let src = &pass.src[(item * pass.src_ch + c) * pass.src_plane()..];
                    // SAFETY: planes are filled in order, each spills over the next or the tail.
                    unsafe { slab.fill::<A, T>(src, [0; 3], values.as_mut_ptr().add(c * plane)) };
                }
                for (m, dw) in dw.chunks_exact_mut(k).enumerate() {
                    let dy = &self.dy[(item * pass.dst_ch + m) * pixels..][..pixels];
                    let grid = (0..lengths[0]).flat_map(|d| (0..lengths[1]).map(move |h| (d, h)));
                    for ((d, h), row) in grid.zip(dy.chunks_exact(width)) {
                        line[slab.place([d, h, 0])..][..width].copy_from_slice(row);
                    }
                    let add = |i: usize, dw: &mut T, sum: T| {
                        *dw += if (sum * T::ZERO).is_nan() {
                            // Infinite or no number: some tap met a padded zero with it.
                            let src = &pass.src[(item * pass.src_ch + i / taps) * src_plane..];
                            tap_gradient(pass, &src[..src_plane], dy, i % taps)
                        } else {
                            sum
                        };
                    };
                    let chunks = dw.chunks_mut(4).zip(places[..k].chunks(4));
                    for (first, (dw, places)) in (0..).step_by(4).zip(chunks) {
                        let x = |i: usize| &values[places[i]..][..run];
                        if let [_, _, _, _] = dw {
                            let rows = [x(0), x(1), x(2), x(3)];
                            let sums = dot::<A, T, LANES, 4>(rows, line);
                            for (i, (dw, sum)) in dw.iter_mut().zip(sums).enumerate() {
                                add(first + i, dw, sum);
                            }
                        } else {
                            for (i, dw) in dw.iter_mut().enumerate() {
                                let [sum] = dot::<A, T, LANES, 1>([x(i)], line);
                                add(first + i, dw, sum);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// One tap's gradient from the pairs of a source and an output that there are, and no others.
#[cold]
fn tap_gradient<T: Gemm>(pass: &Pass<T>, src: &[T], dy: &[T], tap: usize) -> T {
    let [_, h, w] = &pass.axes;
    let taps = [tap / (h.taps * w.taps), tap / w.taps % h.taps, tap % w.taps];
    let mut sum = T::ZERO;
    for (o, &dy) in dy.iter().enumerate() {
        let places = [o / (h.out * w.out), o / w.out % h.out, o % w.out];
        let at = |i: usize| {
            let a = &pass.axes[i];
            a.source(places[i] * a.stride + taps[i] * a.step)
        };
        if let (Some(d), Some(y), Some(x)) = (at(0), at(1), at(2)) {
            sum += dy * src[(d * h.src + y) * w.src + x];
        }
    }
    sum
}
