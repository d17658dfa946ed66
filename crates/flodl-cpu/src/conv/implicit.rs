//! Convolution as a matrix product whose right-hand side is never written out: panels of patches
//! are packed from a padded slab of the image, right before the micro-kernel reads them.
//!
//! The phases of a gradient by data share the slab, and what they have computed for neighbouring
//! places is written together.

use std::sync::Mutex;

use super::direct::items;
use super::plan::{Pass, SPILL, Slab};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Gather, Gemm, Kernel, Side, Tiles};
use crate::simd;
use crate::threads::{self, SharedMut};

/// Longest part of the sum that stays in registers before the output is touched
/// (bench: `conv_bench`).
const KC: usize = 512;
/// Pixels whose patches are packed at once: with `KC`, half of the second-level cache.
const BLOCK: usize = 256;
/// Pixels of a task when the output is touched once or has few channels, so that it stays in the
/// cache: halos of a long band weigh less.
const LONG_BAND: usize = 1024;
const FEW_CHANNELS: usize = 64;
/// Fewest pixels of a task, unless there are no more.
const LEAST: usize = 128;
/// Rows up to which patches are not packed but read where they lie, and the length of the sum from
/// which that pays: tiles of short sums are a matter of the output, whose rows are better written
/// one after the other (bench: `conv_bench`; with 64 rows it is slower in most cases).
const FEW_ROWS: usize = 32;
const LONG_SUM: usize = 128;
/// Rows from which on the CPU's tile unit pays for patches that are packed once more for it (bench:
/// `conv_bench`, with `FLODL_ISA=avx512` for the other way).
const SPLIT_ROWS: usize = 48;
/// Multiplications below which waking the team costs more than it saves.
pub(super) const PARALLEL: usize = 1 << 18;

/// The kernel for the products of `rows` of weights with patches, `places` of them with `k` values each.
pub(super) fn kernel<T: Gemm>(rows: usize, places: usize, k: usize) -> &'static Kernel<T> {
    if rows < SPLIT_ROWS { Kernel::best() } else { Kernel::of_blocks(rows, places, k) }
}

/// A pass, or a phase of one.
struct Phase<'a, T> {
    pass: Pass<'a, T>,
    /// Where the packed weights start, and how many values each group takes.
    weights: usize,
    group: usize,
    /// Distances of the values of a patch from its place, for one part of the sum.
    offsets: Vec<usize>,
    /// The greatest of them.
    far: usize,
}

/// All phases with their partition, which is one for all.
struct Plan<'a, T: 'static> {
    kernel: &'static Kernel<T>,
    phases: Vec<Phase<'a, T>>,
    /// What is the same in all phases.
    batch: usize,
    groups: usize,
    src_ch: usize,
    dst_ch: usize,
    slab: Slab,
    /// Source channels of a part of the sum.
    channels: usize,
    /// Axis along which images are cut, outputs of a phase in a band, and bands of an image.
    axis: usize,
    band: usize,
    bands: usize,
    /// Images of a task, and parts of the batch.
    images: usize,
    batches: usize,
    /// Destination channels of a task, and parts of them.
    rows: usize,
    row_parts: usize,
}

/// A phase's outputs of a task.
#[derive(Clone, Copy)]
struct Share {
    lengths: [usize; 3],
    of_image: usize,
    pixels: usize,
    /// Whether patches are read where they lie.
    gathers: bool,
    /// Where the outputs start that are collected beside the destination.
    start: usize,
}

impl<'a, T: Gemm> Plan<'a, T> {
    fn new(passes: &[Pass<'a, T>], threads: usize) -> Self {
        let Pass { batch, groups, src_ch, dst_ch, .. } = passes[0];
        let taps = passes.iter().map(Pass::taps).max().unwrap_or(0);
        let least = passes.iter().map(Pass::pixels).min().unwrap_or(0) * batch;
        let kernel = kernel(dst_ch, least, src_ch * taps);
        let parts = KC.checked_div(taps).map_or(1, |c| src_ch.div_ceil(c.max(1))).max(1);
        let channels = src_ch.div_ceil(parts);
        let outs = [0, 1, 2].map(|i| passes.iter().map(|p| p.axes[i].out).max().unwrap_or(0));
        let axis = outs.iter().position(|&out| out > 1).unwrap_or(2);
        let pixels: usize = passes.iter().map(Pass::pixels).sum();
        let all = pixels * batch * groups;
        let long = parts == 1 || dst_ch <= FEW_CHANNELS;
        let (most, least) = match passes.len() {
            1 => (if long { LONG_BAND } else { BLOCK }, LEAST),
            // All of a task's outputs are collected. Each phase should have some of them.
            n => (
                (LONG_BAND * FEW_CHANNELS / dst_ch).min(4 * LONG_BAND).max(LEAST * n),
                LEAST / 4 * n,
            ),
        };
        let wanted = 4 * threads;
        let target = most.min((all / wanted).max(least));
        let out = outs[axis];
        let (images, bands) = if pixels <= target {
            ((target / pixels).clamp(1, batch), 1)
        } else {
            (1, out.div_ceil((target / pixels.div_ceil(out)).max(1)))
        };
        let band = out.div_ceil(bands);
        let bands = out.div_ceil(band);
        let batches = batch.div_ceil(images);
        let tasks = batches * bands * groups;
        let panels = dst_ch.div_ceil(kernel.mr);
        // Parts of the rows pack the same patches again: only where tasks are scarce.
        let row_parts = if tasks < 2 * threads { (2 * threads).div_ceil(tasks) } else { 1 };
        let rows = panels.div_ceil(row_parts) * kernel.mr;
        let row_parts = dst_ch.div_ceil(rows);
        let slab = Slab::shared(passes.iter().map(|pass| {
            let mut lengths = pass.axes.map(|a| a.out);
            lengths[axis] = band;
            (pass.axes, lengths)
        }));
        let mut weights = 0;
        let phases = passes.iter().map(|&pass| {
            let taps = pass.taps();
            let tap = |k: usize| k / taps * slab.plane() + slab.tap(&pass.axes, k % taps);
            let offsets: Vec<usize> = (0..channels * taps).map(tap).collect();
            let far = offsets.iter().copied().max().unwrap_or(0);
            let group = parts * kernel.packed_len(Side::A, dst_ch, channels * pass.taps());
            let phase = Phase { pass, weights, group, offsets, far };
            weights += group * groups;
            phase
        });
        let phases = phases.collect();
        Self {
            kernel,
            phases,
            batch,
            groups,
            src_ch,
            dst_ch,
            slab,
            channels,
            axis,
            band,
            bands,
            images,
            batches,
            rows,
            row_parts,
        }
    }

    fn tasks(&self) -> usize {
        self.batches * self.bands * self.groups * self.row_parts
    }

    /// The parts of the sum as (first channel, channels); an empty one if there are none.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<'_, 'a, T> {
        let (all, step) = (self.src_ch, self.channels.max(1));
        (0..all.max(1)).step_by(step).map(move |c| (c, step.min(all - c)))
    }

    /// Where the packed weights of a phase start for a group and a part of the sum.
    fn weights(&self, phase: &Phase<T>, group: usize, c0: usize) -> usize {
        let k = self.channels * phase.pass.taps();
        let of_part = self.kernel.packed_len(Side::A, self.dst_ch, k);
        phase.weights + group * phase.group + c0 / self.channels.max(1) * of_part
    }
}

/// Computes a pass, or all phases of one, which write disjoint parts of `dst`.
pub(super) fn run<T: Gemm>(passes: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    let parallel = passes.iter().map(Pass::work).sum::<usize>() >= PARALLEL;
    let threads = if parallel { threads::available() } else { 1 };
    let plan = &Plan::new(passes, threads);
    let mut packed = Scratch::<T>::new(plan.phases.iter().map(|p| p.group * plan.groups).sum())?;
    pack_weights(plan, &mut packed, parallel)?;
    let failed = Mutex::new(None);
    let (packed, out) = (&packed[..], SharedMut::new(dst));
    let task = |index: usize| {
        let task = Task { plan, packed, index, dst: out.as_mut_ptr() };
        if let Err(error) = simd::dispatch(task) {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
        }
    };
    if parallel {
        threads::parallel_for(plan.tasks(), task);
    } else {
        (0..plan.tasks()).for_each(task);
    }
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Packs the weights of all phases in panels of rows: one part of the sum after the other.
fn pack_weights<T: Gemm>(plan: &Plan<T>, dst: &mut [T], parallel: bool) -> Result<(), OutOfMemory> {
    let dst = SharedMut::new(dst);
    let kernel = plan.kernel;
    let mr = kernel.mr;
    for phase in &plan.phases {
        let pass = &phase.pass;
        let taps = pass.taps();
        if taps == 0 {
            continue;
        }
        let whole = pass.w_ch == taps && pass.axes.iter().all(|a| a.k_step == 1);
        let index: Vec<usize> = (0..taps).map(|t| pass.kernel_index(t)).collect();
        let panels = pass.dst_ch.div_ceil(mr);
        let aside = kernel.aside_len(Side::A, usize::from(!whole), plan.channels * taps);
        let pack = |tasks: std::ops::Range<usize>| {
            let mut values = Scratch::<T>::new(aside)?;
            for (task, (c0, channels)) in tasks.flat_map(|t| plan.parts().map(move |p| (t, p))) {
                let (group, panel) = (task / panels, task % panels);
                let (first, rows) = (panel * mr, mr.min(pass.dst_ch - panel * mr));
                let k = channels * taps;
                let of_panel = kernel.packed_len(Side::A, mr, k);
                let start = plan.weights(phase, group, c0) + panel * of_panel;
                // SAFETY: the panel is this task's part of the scratch.
                let dst = unsafe { dst.range(start..start + of_panel) };
                let src = &pass.w[group * pass.w_group + first * pass.w_row + c0 * pass.w_ch..];
                if whole {
                    assert!(src.len() >= (rows - 1) * pass.w_row + k);
                    let (to, from) = (dst.as_mut_ptr(), src.as_ptr());
                    // SAFETY: checked above; the panel is as long as its lines need.
                    unsafe { kernel.pack(Side::A, to, from, [pass.w_row, 1], rows, k) };
                    continue;
                }
                let lines = kernel.lines(dst, &mut values);
                for (c, lines) in lines.chunks_exact_mut(taps * mr).take(channels).enumerate() {
                    let src = &src[c * pass.w_ch..];
                    for (line, &index) in lines.chunks_exact_mut(mr).zip(&index) {
                        for (i, to) in line[..rows].iter_mut().enumerate() {
                            *to = src[i * pass.w_row + index];
                        }
                        line[rows..].fill(T::ZERO);
                    }
                }
                kernel.pack_lines(Side::A, (1, rows, k), dst, &values);
            }
            Ok(())
        };
        // A few lines are not worth waking the team.
        let many = pass.dst_ch * pass.k() * pass.groups >= 1 << 14;
        items(panels * pass.groups, parallel && many, pack)?;
    }
    Ok(())
}

/// One part of the output: some images or a band of one, and some rows.
struct Task<'a, 'p, T: 'static> {
    plan: &'a Plan<'p, T>,
    packed: &'a [T],
    index: usize,
    dst: *mut T,
}

impl<T: Gemm> simd::Kernel for Task<'_, '_, T> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: simd::Arch>(self) -> Self::Out {
        let (plan, kernel) = (self.plan, self.plan.kernel);
        let (mr, nr) = (kernel.mr, kernel.nr);
        // Rows innermost: they share the images. Then bands, which share halos.
        let (i, row_part) = (self.index / plan.row_parts, self.index % plan.row_parts);
        let (i, band) = (i / plan.bands, i % plan.bands);
        let (group, first) = (i / plan.batches, i % plan.batches * plan.images);
        let images = plan.images.min(plan.batch - first);
        let rows = row_part * plan.rows..((row_part + 1) * plan.rows).min(plan.dst_ch);
        let mut origin = [0; 3];
        origin[plan.axis] = band * plan.band;

        // Outputs that do not lie in one piece of the destination are collected beside it.
        let mut aside = plan.phases.len() > 1;
        let (mut collected_len, mut panels_len, mut values_len) = (0, 0, 0);
        let shares: Vec<Share> = plan
            .phases
            .iter()
            .map(|phase| {
                let mut lengths = phase.pass.axes.map(|a| a.out);
                let left = lengths[plan.axis].saturating_sub(origin[plan.axis]);
                lengths[plan.axis] = plan.band.min(left);
                let of_image: usize = lengths.iter().product();
                let pixels = of_image * images;
                let gathers = kernel.reads_values()
                    && rows.len() <= FEW_ROWS
                    && phase.offsets.len() >= LONG_SUM
                    && pixels.is_multiple_of(nr)
                    && lengths[2].is_multiple_of(nr / 2);
                let packed = if gathers { 0 } else { BLOCK.min(pixels).next_multiple_of(nr) };
                let k = phase.offsets.len();
                panels_len = panels_len.max(packed / nr * kernel.packed_len(Side::B, nr, k));
                values_len = values_len.max(kernel.aside_len(Side::B, 1, k));
                aside |= !phase.pass.dense() || (images > 1 && !of_image.is_multiple_of(nr));
                let start = collected_len;
                collected_len += rows.len() * pixels;
                Share { lengths, of_image, pixels, gathers, start }
            })
            .collect();
        let plane = plan.slab.plane();
        let image = plan.channels * plane;
        let slab_len = images * image + SPILL;
        let collected_len = if aside { collected_len } else { 0 };
        // Panels first, which so begin with a line of the cache.
        let (panels_len, values_len) = (panels_len + SPILL, values_len + SPILL);
        let len = panels_len + values_len + slab_len + collected_len;
        let mut space = Scratch::<T>::new(len)?;
        let (panels, rest) = space.split_at_mut(panels_len);
        let (values, rest) = rest.split_at_mut(values_len);
        let (slab, collected) = rest.split_at_mut(slab_len);
        let collected = collected.as_mut_ptr();

        let dst_plane = plan.phases[0].pass.dst_plane();
        let channel = (plan.groups * plan.dst_ch, group * plan.dst_ch);
        let out = |n: usize, m: usize| ((first + n) * channel.0 + channel.1 + m) * dst_plane;
        let src_plane = plan.phases[0].pass.src_plane();
        for (c0, channels) in plan.parts() {
            for n in 0..images {
                let at = ((first + n) * plan.groups + group) * plan.src_ch + c0;
                for c in 0..channels {
                    let src = &plan.phases[0].pass.src[(at + c) * src_plane..];
                    // SAFETY: the plane lies in the slab, what it spills over is written later
                    // or is the slab's tail.
                    unsafe {
                        let dst = slab.as_mut_ptr().add(n * image + c * plane);
                        plan.slab.fill::<A, T>(src, origin, dst);
                    }
                }
            }
            for (phase, share) in plan.phases.iter().zip(&shares) {
                let &Share { lengths, of_image, pixels, .. } = share;
                let (pass, taps) = (&phase.pass, phase.pass.taps());
                let k = channels * taps;
                let last = c0 + channels >= plan.src_ch;
                let weights = plan.weights(phase, group, c0);
                let of_panel = [Side::A, Side::B].map(|s| kernel.packed_len(s, kernel.width(s), k));
                let patches = |first: usize, count: usize| Patches {
                    slab: &plan.slab,
                    values: slab,
                    offsets: &phase.offsets[..k],
                    far: phase.far,
                    image,
                    lengths,
                    first,
                    count,
                    nr,
                };
                // Where a band starts in a channel that is written to in place.
                let start = origin[plan.axis] * (pass.pixels() / pass.axes[plan.axis].out);
                let run = |tiles: &Tiles<T>, m: usize, q: usize, b: *const T, gather| {
                    let a = &self.packed[weights + m / mr * of_panel[0]..][..of_panel[0]];
                    let mut tile = kernel.tile(k, a.as_ptr(), b, self.dst, 0);
                    tile.gather = gather;
                    tile.rows = mr.min(rows.end - m);
                    tile.cols = nr.min(pixels - q);
                    tile.accumulate = c0 > 0;
                    if let (true, Some(bias)) = (last, pass.bias) {
                        tile.row_bias = bias[channel.1 + m..channel.1 + m + tile.rows].as_ptr();
                    }
                    if aside {
                        tile.ldc = pixels;
                        let at = share.start + (m - rows.start) * pixels + q;
                        tile.c = collected.wrapping_add(at);
                    } else {
                        tile.ldc = dst_plane;
                        let (n, p) = (q / of_image, q % of_image);
                        tile.c = self.dst.wrapping_add(out(n, m) + start + p);
                    }
                    // SAFETY: the tile lies in this task's part of the output, or in the collected
                    // one; the panels hold k lines of mr and nr values, or `Patches::gather` has
                    // checked where the lines are.
                    unsafe { tiles.run(&tile) };
                };
                if share.gathers && k > 0 {
                    let tiles = kernel.start();
                    // The patches of a panel stay in the first-level cache for all rows.
                    for q in (0..pixels).step_by(nr) {
                        let (b, second) = patches(q, nr).gather();
                        let gather = Gather { rows: phase.offsets.as_ptr(), second };
                        for m in rows.clone().step_by(mr) {
                            run(&tiles, m, q, b, Some(gather));
                        }
                    }
                    continue;
                }
                for q0 in (0..pixels).step_by(BLOCK) {
                    let block = BLOCK.min(pixels - q0);
                    if k > 0 {
                        for q in (0..block).step_by(nr) {
                            let cols = nr.min(block - q);
                            let panel = &mut panels[q / nr * of_panel[1]..];
                            patches(q0 + q, cols).pack(kernel.lines(panel, values));
                            kernel.pack_lines(Side::B, (1, cols, k), panel, values);
                        }
                    }
                    let tiles = kernel.start();
                    for m in rows.clone().step_by(mr) {
                        for q in (0..block).step_by(nr) {
                            let b = panels[q / nr * of_panel[1]..].as_ptr();
                            run(&tiles, m, q0 + q, b, None);
                        }
                    }
                }
            }
        }
        if aside {
            // SAFETY: all of it has been written; the pointer comes from a slice of this length.
            let collected = unsafe { std::slice::from_raw_parts(collected, collected_len) };
            let values = |i: usize, m: usize, n: usize| {
                let Share { of_image, pixels, start, .. } = shares[i];
                &collected[start + (m - rows.start) * pixels + n * of_image..][..of_image]
            };
            for (m, n) in rows.clone().flat_map(|m| (0..images).map(move |n| (m, n))) {
                let dst = self.dst.wrapping_add(out(n, m));
                let mut i = 0;
                while i < shares.len() {
                    let pass = &plan.phases[i].pass;
                    // SAFETY: outputs of this task, inside the destination.
                    unsafe {
                        if plan.phases.get(i + 1).is_some_and(|next| pass.pairs_with(&next.pass)) {
                            let halves = [values(i, m, n), values(i + 1, m, n)];
                            let widths = [shares[i].lengths[2], shares[i + 1].lengths[2]];
                            scatter_pair(pass, origin, shares[i].lengths, widths, halves, dst);
                            i += 2;
                        } else {
                            scatter(pass, origin, shares[i].lengths, values(i, m, n), dst);
                            i += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Writes the outputs of a band of one channel to their places in the channel `dst`.
///
/// # Safety
/// `dst` is the channel's start, and nobody else uses these outputs.
#[inline(always)]
pub(super) unsafe fn scatter<T: Gemm>(
    pass: &Pass<T>,
    origin: [usize; 3],
    lengths: [usize; 3],
    values: &[T],
    dst: *mut T,
) {
    let [d_axis, h_axis, w_axis] = pass.axes;
    let place = |a: usize, i: usize| pass.axes[a].place(origin[a] + i);
    debug_assert!(d_axis.out > 0);
    for d in 0..lengths[0] {
        for h in 0..lengths[1] {
            let from = &values[(d * lengths[1] + h) * lengths[2]..][..lengths[2]];
            let row = (place(0, d) * h_axis.dst + place(1, h)) * w_axis.dst;
            let step = w_axis.dst_step;
            // SAFETY: the caller's promise.
            unsafe {
                let to = dst.add(row + place(2, 0));
                match step {
                    1 => from.iter().enumerate().for_each(|(i, &v)| *to.add(i) = v),
                    2 => from.iter().enumerate().for_each(|(i, &v)| *to.add(2 * i) = v),
                    _ => from.iter().enumerate().for_each(|(i, &v)| *to.add(step * i) = v),
                }
            }
        }
    }
}

/// [`scatter`] for two phases whose outputs alternate in each row; `pass` is either.
///
/// # Safety
/// As for [`scatter`]. The first phase has as many outputs in a row as the second, or one more if
/// its first output comes first; likewise the other way round.
#[inline(always)]
unsafe fn scatter_pair<T: Gemm>(
    pass: &Pass<T>,
    origin: [usize; 3],
    [depth, height, _]: [usize; 3],
    widths: [usize; 2],
    halves: [&[T]; 2],
    dst: *mut T,
) {
    // Which of the two has the even places.
    let even = pass.axes[2].dst_first;
    let (widths, halves) = ([widths[even], widths[1 - even]], [halves[even], halves[1 - even]]);
    let place = |a: usize, i: usize| pass.axes[a].place(origin[a] + i);
    for line in 0..depth * height {
        let (d, h) = (line / height, line % height);
        let row = (place(0, d) * pass.axes[1].dst + place(1, h)) * pass.axes[2].dst;
        let a = &halves[0][line * widths[0]..][..widths[0]];
        let b = &halves[1][line * widths[1]..][..widths[1]];
        // SAFETY: a row of this task, inside the channel.
        let to = unsafe {
            let start = dst.add(row + 2 * origin[2]);
            std::slice::from_raw_parts_mut(start, a.len() + b.len())
        };
        for ((to, &a), &b) in to.chunks_exact_mut(2).zip(a).zip(b) {
            to.copy_from_slice(&[a, b]);
        }
        if let (Some(to), true) = (to.last_mut(), a.len() > b.len()) {
            *to = a[a.len() - 1];
        }
    }
}

/// Some pixels of a band, whose patches become one panel.
struct Patches<'a, T> {
    slab: &'a Slab,
    values: &'a [T],
    offsets: &'a [usize],
    /// The greatest of them at least.
    far: usize,
    /// From an image of the slab to the next.
    image: usize,
    lengths: [usize; 3],
    first: usize,
    count: usize,
    nr: usize,
}

/// Most pieces of a panel: one for each of its columns.
const PIECES: usize = 32;

impl<T: Gemm> Patches<'_, T> {
    /// Place of a pixel's patch.
    #[inline(always)]
    fn place(&self, p: usize) -> usize {
        let [depth, height, width] = self.lengths;
        let (w, p) = (p % width, p / width);
        let (h, p) = (p % height, p / height);
        let (d, n) = (p % depth, p / depth);
        n * self.image + self.slab.place([d, h, w])
    }

    /// For a panel whose halves lie in one row each: the place of the first, and how far the
    /// second lies behind it.
    #[inline(always)]
    fn gather(&self) -> (*const T, usize) {
        let half = self.nr / 2;
        let (first, second) = (self.place(self.first), self.place(self.first + half));
        assert!(self.far + second + half <= self.values.len(), "patches outside the slab");
        (self.values[first..].as_ptr(), second - first)
    }

    #[inline(always)]
    fn pack(&self, dst: &mut [T]) {
        let width = self.lengths[2];
        let chunk = match width {
            0..=4 => 4,
            5..=8 => 8,
            _ => 16,
        };
        let chunk = chunk.min(self.nr);
        // Each row's share of the panel, in chunks. What a chunk has too much is overwritten by
        // the next one, or by the next line of the panel.
        let mut pieces = [(0usize, 0usize); PIECES];
        let mut count = 0;
        let mut q = 0;
        while q < self.count {
            let place = self.place(self.first + q);
            let len = (width - (self.first + q) % width).min(self.count - q);
            for i in (0..len).step_by(chunk) {
                pieces[count] = (place + i, q + i);
                count += 1;
            }
            q += len;
        }
        let pieces = &pieces[..count];
        let last = pieces.iter().map(|p| p.0).max().unwrap_or(0);
        assert!(self.far + last + chunk <= self.values.len(), "patches outside the slab");
        assert!(dst.len() >= self.offsets.len() * self.nr + chunk && self.nr <= PIECES);
        let to = dst.as_mut_ptr();
        // SAFETY: checked above; lines spill into the next one, the last into the tail.
        unsafe {
            match chunk {
                16 => self.copy::<16>(pieces, to),
                8 => self.copy::<8>(pieces, to),
                _ => self.copy::<4>(pieces, to),
            }
        }
    }

    /// # Safety
    /// All patches lie in the values, and `to` has a line of `nr` for each offset and room for a
    /// chunk more.
    #[inline(always)]
    unsafe fn copy<const C: usize>(&self, pieces: &[(usize, usize)], to: *mut T) {
        // SAFETY: passed on to the caller.
        unsafe {
            match *pieces {
                [a] => self.copy_all::<C>(&[a], to),
                [a, b] => self.copy_all::<C>(&[a, b], to),
                [a, b, c] => self.copy_all::<C>(&[a, b, c], to),
                [a, b, c, d] => self.copy_all::<C>(&[a, b, c, d], to),
                _ => self.copy_all::<C>(pieces, to),
            }
        }
    }

    /// # Safety
    /// As for `copy`.
    #[inline(always)]
    unsafe fn copy_all<const C: usize>(&self, pieces: &[(usize, usize)], to: *mut T) {
        let from = self.values.as_ptr();
        for (k, &offset) in self.offsets.iter().enumerate() {
            for &(place, column) in pieces {
                // SAFETY: the caller's promise.
                unsafe {
                    let v = from.add(offset + place).cast::<[T; C]>().read();
                    to.add(k * self.nr + column).cast::<[T; C]>().write(v);
                }
            }
        }
    }
}
