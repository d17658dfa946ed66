//! Convolutions without a matrix product: depthwise ones, whose sums are short, and tiny ones,
//! where packing would cost more than the sums. Rows of outputs are vectors.

use super::implicit::{PARALLEL, scatter};
use super::plan::{Pass, SPILL, Slab};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::Gemm;
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
    let parts = count.min(8 * threads::available()).max(1);
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

/// Lanes for rows of a length: as few wasted as possible.
fn lanes(width: usize) -> usize {
    match width {
        0..=4 => 4,
        5..=8 => 8,
        9..=16 => 16,
        17..=24 => 8,
        _ => 32,
    }
}

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
        match lanes(self.pass.axes[2].out) {
            4 => self.rows::<A, 4>(),
            8 => self.rows::<A, 8>(),
            16 => self.rows::<A, 16>(),
            _ => self.rows::<A, 32>(),
        }
    }
}

impl<T: Gemm> Items<'_, '_, T> {
    #[inline(always)]
    fn rows<A: simd::Arch, const L: usize>(self) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let (k, taps) = (pass.k(), pass.taps());
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width) = (slab.plane(), lengths[2]);
        let (mut offsets, mut weights) = ([0; MOST], [T::ZERO; MOST]);
        for (i, offset) in offsets[..k].iter_mut().enumerate() {
            *offset = i / taps * plane + slab.tap(i % taps);
        }
        let padded = width.next_multiple_of(L);
        let mut space = Scratch::<T>::new(pass.src_ch * plane + SPILL + padded)?;
        let (values, line) = space.split_at_mut(pass.src_ch * plane + SPILL);
        for item in self.range {
            let group = item % pass.groups;
            for c in 0..pass.src_ch {
                let src = &pass.src[(item * pass.src_ch + c) * pass.src_plane()..];
                // SAFETY: planes are filled in order, each spills over the next or the tail.
                unsafe { slab.fill(src, [0; 3], values.as_mut_ptr().add(c * plane)) };
            }
            for m in 0..pass.dst_ch {
                for (i, weight) in weights[..k].iter_mut().enumerate() {
                    let at = pass.kernel_index(i % taps) + i / taps * pass.w_ch;
                    *weight = pass.w[group * pass.w_group + m * pass.w_row + at];
                }
                let bias = pass.bias.map_or(T::ZERO, |b| b[group * pass.dst_ch + m]);
                let at = (item * pass.dst_ch + m) * pass.dst_plane();
                // SAFETY: this channel of this image is this task's; the phases of one region
                // follow one another.
                let out = unsafe { self.dst.range(at..at + pass.dst_plane()) };
                for row in 0..lengths[0] * lengths[1] {
                    let (d, h) = (row / lengths[1], row % lengths[1]);
                    let place = slab.place([d, h, 0]);
                    for w in (0..width).step_by(L) {
                        let mut sum = [bias; L];
                        for (&offset, &weight) in offsets[..k].iter().zip(&weights[..k]) {
                            let x: &[T; L] = values[place + w + offset..][..L]
                                .try_into()
                                .expect("as many values as lanes");
                            sum = std::array::from_fn(|l| weight.mul_add_::<A>(x[l], sum[l]));
                        }
                        line[w..w + L].copy_from_slice(&sum);
                    }
                    let at = [d, h, 0];
                    // SAFETY: outputs of this channel.
                    unsafe { scatter(pass, at, [1, 1, width], line, out.as_mut_ptr()) };
                }
            }
        }
        Ok(())
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
        match lanes(self.pass.axes[2].out) {
            4 => self.sums::<A, 4>(),
            8 => self.sums::<A, 8>(),
            16 => self.sums::<A, 16>(),
            _ => self.sums::<A, 32>(),
        }
    }
}

impl<T: Gemm> Weights<'_, '_, T> {
    #[inline(always)]
    fn sums<A: simd::Arch, const L: usize>(self) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let (k, taps) = (pass.k(), pass.taps());
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width, rows) = (slab.plane(), lengths[2], lengths[0] * lengths[1]);
        let padded = width.next_multiple_of(L);
        let (mut places, sums) = ([0; MOST], pass.dst_ch * k * L);
        for (i, place) in places[..k].iter_mut().enumerate() {
            *place = i / taps * plane + slab.tap(i % taps);
        }
        // Rows of the gradient end in zeros, which meet what the slab holds there: it must be
        // finite, so the tail is cleared.
        let slab_len = pass.src_ch * plane + SPILL;
        let mut space = Scratch::<T>::new(slab_len + rows * padded + sums)?;
        let (values, rest) = space.split_at_mut(slab_len);
        let (lines, sums) = rest.split_at_mut(rows * padded);
        lines.fill(T::ZERO);
        values[slab_len - SPILL..].fill(T::ZERO);
        let pixels = rows * width;
        for group in self.range {
            sums.fill(T::ZERO);
            for n in 0..pass.batch {
                let item = n * pass.groups + group;
                for c in 0..pass.src_ch {
                    let src = &pass.src[(item * pass.src_ch + c) * pass.src_plane()..];
                    // SAFETY: planes are filled in order, each spills over the next or the tail.
                    unsafe { slab.fill(src, [0; 3], values.as_mut_ptr().add(c * plane)) };
                }
                for m in 0..pass.dst_ch {
                    let dy = &self.dy[(item * pass.dst_ch + m) * pixels..][..pixels];
                    for (to, from) in lines.chunks_mut(padded).zip(dy.chunks(width)) {
                        to[..width].copy_from_slice(from);
                    }
                    for (i, &offset) in places[..k].iter().enumerate() {
                        let sum: &mut [T] = &mut sums[(m * k + i) * L..][..L];
                        let mut acc: [T; L] = sum.try_into().expect("as many sums as lanes");
                        for row in 0..rows {
                            let line = &lines[row * padded..][..padded];
                            let at = slab.place([row / lengths[1], row % lengths[1], 0]) + offset;
                            for (i, y) in line.chunks_exact(L).enumerate() {
                                let x = &values[at + i * L..][..L];
                                acc = std::array::from_fn(|l| x[l].mul_add_::<A>(y[l], acc[l]));
                            }
                        }
                        sum.copy_from_slice(&acc);
                    }
                }
            }
            let len = pass.dst_ch * k;
            // SAFETY: the weights of this group are this task's.
            let dw = unsafe { self.dw.range(group * len..(group + 1) * len) };
            for (to, sum) in dw.iter_mut().zip(sums.chunks(L)) {
                *to = sum.iter().copied().sum();
            }
        }
        Ok(())
    }
}
