//! Convolution of small images: one product for each output place and tap, over a block of images.
//!
//! A place of the image, for a block of images side by side, is a panel of the right-hand side as
//! it stands, so patches are not packed at all; and a tap that falls on the padding is left out,
//! which is a third of the work for 3x3 on 4x4 pixels.

use super::direct::items;
use super::implicit::{self, PARALLEL};
use super::plan::Pass;
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::pack::pack_raw;
use crate::gemm::{Gemm, Kernel, Side, Tiles};
use crate::threads::{self, SharedMut};

/// Fewest input channels: the sums in registers are that long (bench: `conv_bench`).
const CHANNELS: usize = 64;
/// Largest images: beyond, too little falls on the padding.
const PIXELS: usize = 256;
/// Largest images whose outputs lie apart: each is written on its own.
const SPARSE: usize = 64;

/// Whether all passes are better computed here.
pub(super) fn suits<T: Gemm>(passes: &[Pass<T>]) -> bool {
    let kernel = Kernel::<T>::best();
    passes.first().is_some_and(|pass| {
        let (lanes, batch) = (kernel.nr, pass.batch);
        // Few lanes without an image, and enough on the padding to matter.
        let full = 10 * batch >= 9 * batch.next_multiple_of(lanes);
        full && pass.src_ch >= CHANNELS && pass.dst_ch >= kernel.mr
    }) && passes.iter().all(|pass| {
        let all = pass.pixels() * pass.taps();
        let most = if pass.dense() { PIXELS } else { SPARSE };
        pass.pixels() <= most && pass.src_plane() <= PIXELS && 100 * inside(pass) < 95 * all
    })
}

/// Pairs of output and tap that do not fall on the padding.
fn inside<T: Gemm>(pass: &Pass<T>) -> usize {
    pass.axes
        .iter()
        .map(|a| {
            let taps = 0..a.taps;
            let hit = |o, j| (0..a.src as isize).contains(&source(a, o, j));
            (0..a.out).map(|o| taps.clone().filter(|&j| hit(o, j)).count()).sum::<usize>()
        })
        .product()
}

fn source(a: &super::plan::Axis, o: usize, j: usize) -> isize {
    (o * a.stride + j * a.step) as isize - a.pad
}

/// Computes all passes, which write disjoint parts of `dst`.
pub(super) fn run<T: Gemm>(passes: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    let first = &passes[0];
    let kernel = implicit::kernel(first.dst_ch, first.batch, first.src_ch);
    let parallel = passes.iter().map(Pass::work).sum::<usize>() >= PARALLEL;
    let threads = if parallel { threads::available() } else { 1 };
    let mut packed = Vec::with_capacity(passes.len());
    for pass in passes {
        packed.push(pack_weights(pass, kernel, parallel)?);
    }
    let blocks = first.batch.div_ceil(kernel.nr);
    let panels = first.dst_ch.div_ceil(kernel.mr);
    let tasks = blocks * first.groups * passes.len();
    let row_parts = (4 * threads).div_ceil(tasks).min(panels.div_ceil(4));
    let dst = SharedMut::new(dst);
    items(tasks * row_parts, parallel, |range| {
        for i in range {
            let (i, part) = (i / row_parts, i % row_parts);
            let (i, phase) = (i / passes.len(), i % passes.len());
            let rows = part * panels / row_parts * kernel.mr
                ..((part + 1) * panels / row_parts * kernel.mr).min(first.dst_ch);
            let (group, block) = (i / blocks, i % blocks);
            let (pass, packed) = (&passes[phase], &packed[phase]);
            Task { pass, kernel, packed, group, block, rows, dst: &dst }.run()?;
        }
        Ok(())
    })
}

/// Packs the weights of a pass: for each group and tap, panels of rows with all channels.
fn pack_weights<T: Gemm>(
    pass: &Pass<T>,
    kernel: &Kernel<T>,
    parallel: bool,
) -> Result<Scratch<T>, OutOfMemory> {
    let (mr, taps, channels) = (kernel.mr, pass.taps(), pass.src_ch);
    let of_tap = kernel.packed_len(Side::A, pass.dst_ch, channels);
    let of_panel = kernel.packed_len(Side::A, mr, channels);
    let index: Vec<usize> = (0..taps).map(|t| pass.kernel_index(t)).collect();
    let mut packed = Scratch::new(pass.groups * taps * of_tap)?;
    let dst = SharedMut::new(&mut packed);
    let panels = pass.dst_ch.div_ceil(mr);
    items(pass.groups * panels, parallel, |range| {
        for i in range {
            let (group, panel) = (i / panels, i % panels);
            let rows = mr.min(pass.dst_ch - panel * mr);
            let src = &pass.w[group * pass.w_group + panel * mr * pass.w_row..];
            let last = (rows - 1) * pass.w_row + (channels - 1) * pass.w_ch;
            for (t, &index) in index.iter().enumerate() {
                let at = (group * taps + t) * of_tap + panel * of_panel;
                assert!(index + last < src.len());
                // SAFETY: checked above; this panel is this task's.
                unsafe {
                    let (to, from) = (dst.range(at..at + of_panel), src[index..].as_ptr());
                    let strides = [pass.w_row, pass.w_ch];
                    kernel.pack(Side::A, to.as_mut_ptr(), from, strides, rows, channels);
                }
            }
        }
        Ok(())
    })?;
    Ok(packed)
}

/// Some channels of a block of images.
struct Task<'a, 'p, T: 'static> {
    pass: &'a Pass<'p, T>,
    kernel: &'a Kernel<T>,
    packed: &'a [T],
    group: usize,
    block: usize,
    rows: std::ops::Range<usize>,
    dst: &'a SharedMut<'a, T>,
}

impl<T: Gemm> Task<'_, '_, T> {
    fn run(self) -> Result<(), OutOfMemory> {
        let (pass, rows) = (self.pass, &self.rows);
        let nr = self.kernel.nr;
        let (channels, taps, plane) = (pass.src_ch, pass.taps(), pass.src_plane());
        let first = self.block * nr;
        let images = nr.min(pass.batch - first);
        let (kernel, panel) = (self.kernel, self.kernel.packed_len(Side::B, nr, channels));
        let values_len = kernel.aside_len(Side::B, plane, channels);
        let len = plane * panel + values_len + plane * nr + rows.len() * nr;
        let mut space = Scratch::<T>::new(len)?;
        let (places, rest) = space.split_at_mut(plane * panel);
        let (values, rest) = rest.split_at_mut(values_len);
        let (turned, sums) = rest.split_at_mut(plane * nr);

        // Place p of channel c of all images of the block, side by side.
        let image = pass.groups * channels * plane;
        let lines = kernel.lines(places, values);
        for c in 0..channels {
            let src = &pass.src[first * image + (self.group * channels + c) * plane..];
            assert!(src.len() >= (images - 1) * image + plane);
            // SAFETY: all images have this channel, by the check; `turned` holds `plane` lines.
            unsafe {
                let to = turned.as_mut_ptr();
                pack_raw(kernel.isa, nr, to, src.as_ptr(), image, 1, images, plane);
            }
            for (p, line) in turned.chunks_exact(nr).enumerate() {
                lines[(p * channels + c) * nr..][..nr].copy_from_slice(line);
            }
        }
        kernel.pack_lines(Side::B, (plane, images, channels), places, values);
        let of_tap = kernel.packed_len(Side::A, pass.dst_ch, channels);
        let weights = &self.packed[self.group * taps * of_tap..][..taps * of_tap];
        let [d_axis, h_axis, w_axis] = pass.axes;
        let tiles = kernel.start();
        for o in 0..pass.pixels() {
            let (w, h) = (o % w_axis.out, o / w_axis.out % h_axis.out);
            let d = o / (w_axis.out * h_axis.out);
            let mut started = false;
            for t in 0..taps {
                let j = [t / (h_axis.taps * w_axis.taps), t / w_axis.taps % h_axis.taps];
                let from = [
                    source(&d_axis, d, j[0]),
                    source(&h_axis, h, j[1]),
                    source(&w_axis, w, t % w_axis.taps),
                ];
                if (0..3).any(|i| !(0..pass.axes[i].src as isize).contains(&from[i])) {
                    continue;
                }
                let [d, h, w] = from.map(|i| i as usize);
                let place = (d * h_axis.src + h) * w_axis.src + w;
                let b = &places[place * panel..][..panel];
                let weights = &weights[t * of_tap..][..of_tap];
                self.products(&tiles, channels, weights, b, started, sums);
                started = true;
            }
            if !started {
                self.products(&tiles, 0, &[], &[], false, sums);
            }
            let place =
                (d_axis.place(d) * h_axis.dst + h_axis.place(h)) * w_axis.dst + w_axis.place(w);
            let channel = self.group * pass.dst_ch;
            for n in 0..images {
                let at = ((first + n) * pass.groups * pass.dst_ch + channel) * pass.dst_plane();
                let (at, step) = (at + place, pass.dst_plane());
                assert!(at + (rows.end - 1) * step < self.dst.len());
                for (i, m) in rows.clone().enumerate() {
                    // SAFETY: checked above; this channel of this image is this task's.
                    unsafe { *self.dst.as_mut_ptr().add(at + m * step) = sums[i * nr + n] };
                }
            }
        }
        Ok(())
    }

    /// Adds the product of a tap's weights and a place to the sums of all rows, or starts them.
    fn products(
        &self,
        tiles: &Tiles<T>,
        k: usize,
        weights: &[T],
        place: &[T],
        accumulate: bool,
        sums: &mut [T],
    ) {
        let (mr, nr) = (self.kernel.mr, self.kernel.nr);
        let of_panel = self.kernel.packed_len(Side::A, mr, k);
        for m in self.rows.clone().step_by(mr) {
            let a = weights[m / mr * of_panel..][..of_panel].as_ptr();
            let c = sums[(m - self.rows.start) * nr..].as_mut_ptr();
            let mut tile = self.kernel.tile(k, a, place.as_ptr(), c, nr);
            tile.rows = mr.min(self.rows.end - m);
            tile.accumulate = accumulate;
            if let (false, Some(bias)) = (accumulate, self.pass.bias) {
                let first = self.group * self.pass.dst_ch + m;
                tile.row_bias = bias[first..first + tile.rows].as_ptr();
            }
            // SAFETY: the panels hold k lines, the sums all rows with `nr` values each.
            unsafe { tiles.run(&tile) };
        }
    }
}
