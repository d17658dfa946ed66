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
            _ => self.rows::<A, 16>(),
        }
    }
}

impl<T: Gemm> Items<'_, '_, T> {
    #[inline(always)]
    fn rows<A: simd::Arch, const L: usize>(self) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let k = pass.k();
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width, rows) = (slab.plane(), lengths[2], lengths[0] * lengths[1]);
        let (mut offsets, mut index) = ([0; MOST], [0; MOST]);
        table(pass, &slab, &mut offsets[..k], &mut index[..k]);
        let offsets = &offsets[..k];
        let padded = width.next_multiple_of(L);
        let slab_len = pass.src_ch * plane + SPILL;
        let mut space = Scratch::<T>::new(slab_len + R * padded + pass.dst_ch * k)?;
        let (values, rest) = space.split_at_mut(slab_len);
        let (lines, weights) = rest.split_at_mut(R * padded);
        let dense = pass.dense() && width.is_multiple_of(L);
        let units = pass.dst_ch * rows;
        let far = offsets.iter().copied().max().unwrap_or(0);
        assert!(far + slab.place(lengths.map(|l| l - 1)) - (width - 1) + padded <= slab_len);
        let mut weights_of = usize::MAX;
        for item in self.range {
            let group = item % pass.groups;
            for c in 0..pass.src_ch {
                let src = &pass.src[(item * pass.src_ch + c) * pass.src_plane()..];
                // SAFETY: planes are filled in order, each spills over the next or the tail.
                unsafe { slab.fill(src, [0; 3], values.as_mut_ptr().add(c * plane)) };
            }
            if weights_of != group {
                weights_of = group;
                for (m, weights) in weights.chunks_exact_mut(k.max(1)).enumerate() {
                    let from = &pass.w[group * pass.w_group + m * pass.w_row..];
                    for (weight, &at) in weights.iter_mut().zip(&index[..k]) {
                        *weight = from[at];
                    }
                }
            }
            let bias = pass.bias.map(|b| &b[group * pass.dst_ch..][..pass.dst_ch]);
            let at = item * pass.dst_ch * pass.dst_plane();
            // SAFETY: these channels of this image are this task's; the phases of one region
            // follow one another.
            let out = unsafe { self.dst.range(at..at + pass.dst_ch * pass.dst_plane()) };
            // A unit is a row of a channel. Several go together, as sums that do not wait for
            // each other; they are units of one row where there are channels enough, which then
            // read the same values.
            for first in (0..units).step_by(R) {
                let count = R.min(units - first);
                let mut unit = [(0, 0, 0); R];
                let (mut places, mut firsts) = ([0; R], [T::ZERO; R]);
                for r in 0..R {
                    let u = first + r.min(count - 1);
                    let (m, row) = if pass.dst_ch >= R {
                        (u % pass.dst_ch, u / pass.dst_ch)
                    } else {
                        (u / rows, u % rows)
                    };
                    unit[r] = (m, row / lengths[1], row % lengths[1]);
                    places[r] = slab.place([unit[r].1, unit[r].2, 0]);
                    firsts[r] = bias.map_or(T::ZERO, |b| b[m]);
                }
                let w: [&[T]; R] = unit.map(|(m, ..)| &weights[m * k..][..k]);
                for x in (0..width).step_by(L) {
                    // SAFETY: the farthest value of the farthest place is in the slab, by the
                    // assertion above.
                    let sums = unsafe {
                        let from = places.map(|p| values.as_ptr().add(p + x));
                        sums::<T, A, L>(firsts, w, offsets, from)
                    };
                    for r in 0..count {
                        let (m, d, h) = unit[r];
                        if dense {
                            let at = m * pass.dst_plane() + (d * lengths[1] + h) * width + x;
                            out[at..at + L].copy_from_slice(&sums[r]);
                        } else {
                            lines[r * padded + x..][..L].copy_from_slice(&sums[r]);
                        }
                    }
                }
                if dense {
                    continue;
                }
                for r in 0..count {
                    let (m, d, h) = unit[r];
                    let (line, at) = (&lines[r * padded..], [d, h, 0]);
                    let out = &mut out[m * pass.dst_plane()..][..pass.dst_plane()];
                    // SAFETY: outputs of this channel.
                    unsafe { scatter(pass, at, [1, 1, width], line, out.as_mut_ptr()) };
                }
            }
        }
        Ok(())
    }
}

/// For each value of a patch, (channel, tap) in order: its distance in the slab, and its weight's
/// place in the row of an output channel.
fn table<T: Gemm>(pass: &Pass<T>, slab: &Slab, offsets: &mut [usize], index: &mut [usize]) {
    let taps = pass.taps();
    for t in 0..taps.min(offsets.len()) {
        (offsets[t], index[t]) = (slab.tap(t), pass.kernel_index(t));
    }
    for i in taps..offsets.len() {
        offsets[i] = offsets[i - taps] + slab.plane();
        index[i] = index[i - taps] + pass.w_ch;
    }
}

/// Units that are summed together.
const R: usize = 4;

/// `firsts[r] + sum over i of w[r][i] * from[r][offsets[i]..][..L]`.
///
/// # Safety
/// All these values can be read.
#[inline(always)]
unsafe fn sums<T: Gemm, A: simd::Arch, const L: usize>(
    firsts: [T; R],
    w: [&[T]; R],
    offsets: &[usize],
    from: [*const T; R],
) -> [[T; L]; R] {
    let [mut a, mut b, mut c, mut d] = firsts.map(|first| [first; L]);
    let [wa, wb, wc, wd] = w.map(|w| &w[..offsets.len()]);
    for (i, &offset) in offsets.iter().enumerate() {
        // SAFETY: the caller's promise.
        let [xa, xb, xc, xd] = from.map(|p| unsafe { p.add(offset).cast::<[T; L]>().read() });
        a = std::array::from_fn(|l| wa[i].mul_add_::<A>(xa[l], a[l]));
        b = std::array::from_fn(|l| wb[i].mul_add_::<A>(xb[l], b[l]));
        c = std::array::from_fn(|l| wc[i].mul_add_::<A>(xc[l], c[l]));
        d = std::array::from_fn(|l| wd[i].mul_add_::<A>(xd[l], d[l]));
    }
    [a, b, c, d]
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
        let k = pass.k();
        let lengths = pass.axes.map(|a| a.out);
        let slab = Slab::new(pass.axes, lengths);
        let (plane, width, rows) = (slab.plane(), lengths[2], lengths[0] * lengths[1]);
        let padded = width.next_multiple_of(L);
        let (mut places, mut index, sums) = ([0; MOST], [0; MOST], pass.dst_ch * k * L);
        table(pass, &slab, &mut places[..k], &mut index[..k]);
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
