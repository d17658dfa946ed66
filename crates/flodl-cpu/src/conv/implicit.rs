//! Convolution as a matrix product whose right-hand side is never written out: panels of patches
//! are packed from a padded slab of the image, right before the micro-kernel reads them.

use std::sync::Mutex;

use super::plan::{Pass, SPILL, Slab};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::pack::{pack_raw, packed_len};
use crate::gemm::{Gather, Gemm, Kernel};
use crate::simd;
use crate::threads;

/// Longest part of the sum that stays in registers before the output is touched
/// (bench: `conv_bench`).
const KC: usize = 512;
/// Pixels whose patches are packed at once: with `KC`, half of the second-level cache.
const BLOCK: usize = 256;
/// Pixels of a task when the output is touched once or has few channels, so that it stays in the
/// cache: halos of a long band weigh less.
const LONG_BAND: usize = 1024;
const FEW_CHANNELS: usize = 64;
/// Rows up to which patches are not packed but read where they lie, and the length of the sum from
/// which that pays: tiles of short sums are a matter of the output, whose rows are better written
/// one after the other (bench: `conv_bench`; with 64 rows it is slower in most cases).
const FEW_ROWS: usize = 32;
const LONG_SUM: usize = 128;
/// Multiplications below which waking the team costs more than it saves.
pub(super) const PARALLEL: usize = 1 << 18;

/// A pass with its partition.
struct Plan<'a, T: 'static> {
    pass: Pass<'a, T>,
    slab: Slab,
    /// Source channels of a part of the sum.
    channels: usize,
    /// Axis along which images are cut, outputs in a band, and bands of an image.
    axis: usize,
    band: usize,
    bands: usize,
    /// Images of a task, and parts of the batch.
    images: usize,
    batches: usize,
    /// Destination channels of a task, and parts of them.
    rows: usize,
    row_parts: usize,
    /// Where the packed weights start, and how many values each group takes.
    weights: usize,
    group: usize,
    /// Distances of the values of a patch from its place, for one part of the sum.
    offsets: Vec<usize>,
    /// The greatest of them.
    far: usize,
}

impl<'a, T: Gemm> Plan<'a, T> {
    fn new(pass: Pass<'a, T>, kernel: &Kernel<T>, weights: usize, threads: usize) -> Self {
        let taps = pass.taps();
        let parts = KC.checked_div(taps).map_or(1, |c| pass.src_ch.div_ceil(c.max(1))).max(1);
        let channels = pass.src_ch.div_ceil(parts);
        let (axis, pixels) = (pass.band_axis(), pass.pixels());
        let all = pixels * pass.batch * pass.groups;
        let long = parts == 1 || pass.dst_ch <= FEW_CHANNELS;
        let most = if long { LONG_BAND } else { BLOCK };
        let wanted = 4 * threads;
        let target = most.min((all / wanted).max(128));
        let out = pass.axes[axis].out;
        let (images, bands) = if pixels <= target {
            ((target / pixels).clamp(1, pass.batch), 1)
        } else {
            (1, out.div_ceil((target / (pixels / out)).max(1)))
        };
        let band = out.div_ceil(bands);
        let bands = out.div_ceil(band);
        let batches = pass.batch.div_ceil(images);
        let tasks = batches * bands * pass.groups;
        let panels = pass.dst_ch.div_ceil(kernel.mr);
        // Parts of the rows pack the same patches again: only where tasks are scarce.
        let row_parts = if tasks < 2 * threads { (2 * threads).div_ceil(tasks) } else { 1 };
        let rows = panels.div_ceil(row_parts) * kernel.mr;
        let row_parts = pass.dst_ch.div_ceil(rows);
        let mut lengths = pass.axes.map(|a| a.out);
        lengths[axis] = band;
        let slab = Slab::new(pass.axes, lengths);
        let offsets: Vec<usize> =
            (0..channels * taps).map(|k| k / taps * slab.plane() + slab.tap(k % taps)).collect();
        let far = offsets.iter().copied().max().unwrap_or(0);
        let group = packed_len(kernel.mr, pass.dst_ch, pass.k());
        Self {
            pass,
            slab,
            channels,
            axis,
            band,
            bands,
            images,
            batches,
            rows,
            row_parts,
            weights,
            group,
            offsets,
            far,
        }
    }

    fn tasks(&self) -> usize {
        self.batches * self.bands * self.pass.groups * self.row_parts
    }

    /// The parts of the sum as (first channel, channels); an empty one if there are none.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<'_, 'a, T> {
        let (all, step) = (self.pass.src_ch, self.channels.max(1));
        (0..all.max(1)).step_by(step).map(move |c| (c, step.min(all - c)))
    }
}

/// A pointer that tasks share, each with its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: tasks write disjoint parts only.
unsafe impl<T: Send> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Computes all passes, which write disjoint parts of `dst`.
pub(super) fn run<T: Gemm>(passes: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    let kernel = Kernel::<T>::best();
    let parallel = passes.iter().map(Pass::work).sum::<usize>() >= PARALLEL;
    let threads = if parallel { threads::available() } else { 1 };
    let mut weights = 0;
    let mut plans = Vec::with_capacity(passes.len());
    for pass in passes {
        let plan = Plan::new(*pass, kernel, weights, threads);
        weights += plan.group * pass.groups;
        plans.push(plan);
    }
    let mut packed = Scratch::<T>::new(weights)?;
    pack_weights(&plans, kernel, &mut packed, parallel);
    let failed = Mutex::new(None);
    let (packed, out) = (&packed[..], Shared(dst.as_mut_ptr()));
    // Phases side by side, so that what they write to one place meets in the cache.
    let most = plans.iter().map(Plan::tasks).max().unwrap_or(0);
    let task = |task: usize| {
        let plan = &plans[task % plans.len()];
        if task / plans.len() < plan.tasks() {
            let task = Task { plan, kernel, packed, index: task / plans.len(), dst: out.get() };
            if let Err(error) = simd::dispatch(task) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        }
    };
    if parallel {
        threads::parallel_for(most * plans.len(), task);
    } else {
        (0..most * plans.len()).for_each(task);
    }
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Packs the weights of all plans in panels of rows: one part of the sum after the other.
fn pack_weights<T: Gemm>(plans: &[Plan<T>], kernel: &Kernel<T>, dst: &mut [T], parallel: bool) {
    let dst = Shared(dst.as_mut_ptr());
    let mr = kernel.mr;
    for plan in plans {
        let pass = &plan.pass;
        let taps = pass.taps();
        if taps == 0 {
            continue;
        }
        let whole = pass.w_ch == taps && pass.axes.iter().all(|a| a.k_step == 1);
        let index: Vec<usize> = (0..taps).map(|t| pass.kernel_index(t)).collect();
        let panels = pass.dst_ch.div_ceil(mr);
        let task = |task: usize| {
            let (group, panel) = (task / panels, task % panels);
            let (first, rows) = (panel * mr, mr.min(pass.dst_ch - panel * mr));
            let src = &pass.w[group * pass.w_group + first * pass.w_row..];
            let base = plan.weights + group * plan.group;
            for (c0, channels) in plan.parts() {
                let k = channels * taps;
                let start = base + packed_len(mr, pass.dst_ch, c0 * taps) + first * k;
                let dst = dst.get().wrapping_add(start);
                let src = &src[c0 * pass.w_ch..];
                if whole {
                    assert!(src.len() >= (rows - 1) * pass.w_row + k);
                    // SAFETY: checked above; the panel is this task's part of the scratch.
                    unsafe {
                        pack_raw(kernel.isa, mr, dst, src.as_ptr(), pass.w_row, 1, rows, k);
                    }
                    continue;
                }
                for c in 0..channels {
                    let src = &src[c * pass.w_ch..];
                    for (t, &index) in index.iter().enumerate() {
                        // SAFETY: line c * taps + t of the panel.
                        let line = unsafe {
                            std::slice::from_raw_parts_mut(dst.add((c * taps + t) * mr), mr)
                        };
                        for (i, to) in line[..rows].iter_mut().enumerate() {
                            *to = src[i * pass.w_row + index];
                        }
                        line[rows..].fill(T::ZERO);
                    }
                }
            }
        };
        let tasks = panels * pass.groups;
        if parallel && pass.dst_ch * pass.k() * pass.groups >= 1 << 14 {
            // Some panels to a task: a few lines are not worth a turn of the counter.
            let step = (4096 / (mr * pass.k())).max(1);
            threads::parallel_for(tasks.div_ceil(step), |i| {
                (i * step..((i + 1) * step).min(tasks)).for_each(task);
            });
        } else {
            (0..tasks).for_each(task);
        }
    }
}

/// One part of the output: some images or a band of one, and some rows.
struct Task<'a, 'p, T: 'static> {
    plan: &'a Plan<'p, T>,
    kernel: &'a Kernel<T>,
    packed: &'a [T],
    index: usize,
    dst: *mut T,
}

impl<T: Gemm> simd::Kernel for Task<'_, '_, T> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: simd::Arch>(self) -> Self::Out {
        let (plan, pass) = (self.plan, &self.plan.pass);
        let (mr, nr) = (self.kernel.mr, self.kernel.nr);
        // Rows innermost: they share the images. Then bands, which share halos.
        let (i, row_part) = (self.index / plan.row_parts, self.index % plan.row_parts);
        let (i, band) = (i / plan.bands, i % plan.bands);
        let (group, first) = (i / plan.batches, i % plan.batches * plan.images);
        let images = plan.images.min(pass.batch - first);
        let rows = row_part * plan.rows..((row_part + 1) * plan.rows).min(pass.dst_ch);
        let mut origin = [0; 3];
        origin[plan.axis] = band * plan.band;
        let mut lengths = pass.axes.map(|a| a.out);
        lengths[plan.axis] = plan.band.min(lengths[plan.axis] - origin[plan.axis]);
        let of_image: usize = lengths.iter().product();
        let pixels = of_image * images;
        let (taps, plane) = (pass.taps(), plan.slab.plane());
        let start = origin[plan.axis] * (pass.pixels() / pass.axes[plan.axis].out);

        let gathers = rows.len() <= FEW_ROWS
            && plan.offsets.len() >= LONG_SUM
            && pixels.is_multiple_of(nr)
            && lengths[2].is_multiple_of(nr / 2);
        // Panels that do not lie in one piece of the output are collected beside it.
        let aside = !pass.dense() || (images > 1 && !of_image.is_multiple_of(nr));
        let image = plan.channels * plane;
        let slab_len = images * image + SPILL;
        let packed = if gathers { 0 } else { BLOCK.min(pixels).next_multiple_of(nr) };
        let panels_len = packed * plan.channels * taps + SPILL;
        let aside_len = if aside { rows.len() * pixels } else { 0 };
        let mut space = Scratch::<T>::new(slab_len + panels_len + aside_len)?;
        let (slab, rest) = space.split_at_mut(slab_len);
        let (panels, collected) = rest.split_at_mut(panels_len);
        let collected = collected.as_mut_ptr();

        let channel = (pass.groups * pass.dst_ch, group * pass.dst_ch);
        let out = |n: usize, m: usize| ((first + n) * channel.0 + channel.1 + m) * pass.dst_plane();
        for (c0, channels) in plan.parts() {
            let k = channels * taps;
            let last = c0 + channels >= pass.src_ch;
            if taps > 0 {
                for n in 0..images {
                    let at = ((first + n) * pass.groups + group) * pass.src_ch + c0;
                    for c in 0..channels {
                        let src = &pass.src[(at + c) * pass.src_plane()..];
                        // SAFETY: the plane lies in the slab, what it spills over is written later
                        // or is the slab's tail.
                        unsafe {
                            let dst = slab.as_mut_ptr().add(n * image + c * plane);
                            plan.slab.fill(src, origin, dst);
                        }
                    }
                }
            }
            let weights =
                plan.weights + group * plan.group + packed_len(mr, pass.dst_ch, c0 * taps);
            let patches = |first: usize, count: usize| Patches {
                slab: &plan.slab,
                values: slab,
                offsets: &plan.offsets[..k],
                far: plan.far,
                image,
                lengths,
                first,
                count,
                nr,
            };
            let run = |m: usize, q: usize, b: *const T, gather: Option<Gather>| {
                let a = weights + m * k;
                let a = self.packed[a..a + mr * k].as_ptr();
                let mut tile = self.kernel.tile(k, a, b, self.dst, 0);
                tile.gather = gather;
                tile.rows = mr.min(rows.end - m);
                tile.cols = nr.min(pixels - q);
                tile.accumulate = c0 > 0;
                if let (true, Some(bias)) = (last, pass.bias) {
                    tile.row_bias = bias[channel.1 + m..channel.1 + m + tile.rows].as_ptr();
                }
                if aside {
                    tile.ldc = pixels;
                    tile.c = collected.wrapping_add((m - rows.start) * pixels + q);
                } else {
                    tile.ldc = pass.dst_plane();
                    let (n, p) = (q / of_image, q % of_image);
                    tile.c = self.dst.wrapping_add(out(n, m) + start + p);
                }
                // SAFETY: the tile lies in this task's part of the output, or in the collected one;
                // the panels hold k lines of mr and nr values, or `Patches::gather` has checked
                // where the lines are.
                unsafe { self.kernel.run(&tile) };
            };
            if gathers && k > 0 {
                // The patches of a panel stay in the first-level cache for all rows.
                for q in (0..pixels).step_by(nr) {
                    let (b, second) = patches(q, nr).gather();
                    let gather = Gather { rows: plan.offsets.as_ptr(), second };
                    for m in rows.clone().step_by(mr) {
                        run(m, q, b, Some(gather));
                    }
                }
                continue;
            }
            for q0 in (0..pixels).step_by(BLOCK) {
                let block = BLOCK.min(pixels - q0);
                if k > 0 {
                    for q in (0..block).step_by(nr) {
                        patches(q0 + q, nr.min(block - q)).pack(&mut panels[q * k..]);
                    }
                }
                for m in rows.clone().step_by(mr) {
                    for q in (0..block).step_by(nr) {
                        run(m, q0 + q, panels[q * k..].as_ptr(), None);
                    }
                }
            }
        }
        if aside {
            // SAFETY: all of it has been written; the pointer comes from a slice of this length.
            let collected = unsafe { std::slice::from_raw_parts(collected, aside_len) };
            for (m, row) in rows.clone().zip(collected.chunks(pixels)) {
                for (n, values) in row.chunks(of_image).enumerate() {
                    let dst = self.dst.wrapping_add(out(n, m));
                    // SAFETY: outputs of this task, inside the destination.
                    unsafe { scatter(pass, origin, lengths, values, dst) };
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
    let place = |a: usize, i: usize| {
        let axis = &pass.axes[a];
        axis.dst_first + (origin[a] + i) * axis.dst_step
    };
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
