//! The gradient by weight: products of output gradients with patches, summed over all pixels.
//!
//! Columns of the product are (tap, channel), so a patch's values are read from a slab in which
//! the channels of a pixel are adjacent: each value is transposed once, not once for every tap.
//! Pixels are summed in parts that depend on the sizes alone, so the result does not depend on the
//! number of threads.

use std::sync::Mutex;

use super::implicit::{self, PARALLEL};
use super::plan::{Pass, SPILL};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::pack::pack_raw;
use crate::gemm::{Gemm, Kernel, Side};
use crate::simd;
use crate::threads::{self, SharedMut};

/// Pixels that are summed in registers (bench: `conv_bench`).
const PIXELS: usize = 256;
/// Input channels of a task: its slab and panels stay in the second-level cache.
const CHANNELS: usize = 64;
/// Tasks of a large gradient, enough for a few threads and independent of how many there are.
const TASKS: usize = 8;
/// Values that the sums of all parts may take together.
const SUMS: usize = 4 << 20;

/// How the gradient is cut in tasks.
struct Plan<'a, 'p, T: 'static> {
    pass: &'a Pass<'p, T>,
    dy: &'a [T],
    kernel: &'a Kernel<T>,
    /// Input channels of a task, and parts of them.
    channels: usize,
    channel_parts: usize,
    /// Pieces of the images: a band of one image or some whole images, cut along an axis.
    axis: usize,
    band: usize,
    bands: usize,
    images: usize,
    /// Pieces in all, and parts of them.
    pieces: usize,
    parts: usize,
}

impl<'a, 'p, T: Gemm> Plan<'a, 'p, T> {
    fn new(pass: &'a Pass<'p, T>, dy: &'a [T]) -> Self {
        let pixels = pass.pixels();
        let (axis, target) = (pass.band_axis(), PIXELS);
        let out = pass.axes[axis].out;
        let (images, bands) = if pixels <= target {
            ((target / pixels).clamp(1, pass.batch), 1)
        } else {
            (1, out.div_ceil((target / (pixels / out)).max(1)))
        };
        let band = out.div_ceil(bands);
        let bands = out.div_ceil(band);
        let pieces = pass.batch.div_ceil(images) * bands;
        let channel_parts = pass.src_ch.div_ceil(CHANNELS);
        let channels = pass.src_ch.div_ceil(channel_parts);
        let weights = pass.groups * pass.dst_ch * pass.k();
        let tasks = pass.groups * channel_parts;
        let most = (SUMS / weights.max(1)).clamp(1, TASKS);
        let parts = TASKS.div_ceil(tasks).min(most).min(pieces.div_ceil(4)).max(1);
        let kernel = implicit::kernel(pass.dst_ch, pixels * pass.batch, pass.k());
        Self { pass, dy, kernel, channels, channel_parts, axis, band, bands, images, pieces, parts }
    }
}

/// The gradient by weight: `pass` is the forward pass, whose weight is not used.
pub(super) fn run<T: Gemm>(pass: &Pass<T>, dy: &[T], dw: &mut [T]) -> Result<(), OutOfMemory> {
    let plan = Plan::new(pass, dy);
    let (k, taps) = (pass.k(), pass.taps());
    let weights = pass.groups * pass.dst_ch * k;
    let parallel = pass.work() >= PARALLEL;
    let mut space = Scratch::<T>::new(plan.parts * weights)?;
    let sums = SharedMut::new(&mut space);
    let failed = Mutex::new(None);
    let task = |index: usize| {
        let part = index % plan.parts;
        let (group, channel_part) =
            (index / plan.parts / plan.channel_parts, index / plan.parts % plan.channel_parts);
        let first = channel_part * plan.channels;
        let channels = plan.channels.min(pass.src_ch - first);
        let start = part * weights + pass.dst_ch * (group * k + first * taps);
        // SAFETY: the sums of this task alone.
        let sums = unsafe { sums.range(start..start + pass.dst_ch * channels * taps) };
        let task = Task { plan: &plan, group, part, first, channels, sums };
        if let Err(error) = simd::dispatch(task) {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
        }
    };
    let tasks = plan.parts * pass.groups * plan.channel_parts;
    if parallel {
        threads::parallel_for(tasks, task);
    } else {
        (0..tasks).for_each(task);
    }
    if let Some(error) = failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(error);
    }
    let (sums, dw) = (&space[..], SharedMut::new(dw));
    let rows = pass.groups * pass.dst_ch;
    threads::parallel_rows(rows, 2 * k * plan.parts, |range| {
        for row in range {
            let (group, m) = (row / pass.dst_ch, row % pass.dst_ch);
            // SAFETY: this row is this task's.
            let out = unsafe { dw.range(row * k..(row + 1) * k) };
            for first in (0..pass.src_ch).step_by(plan.channels) {
                let channels = plan.channels.min(pass.src_ch - first);
                let start = pass.dst_ch * (group * k + first * taps) + m * channels * taps;
                let out = &mut out[first * taps..][..channels * taps];
                for part in 0..plan.parts {
                    let from = &sums[part * weights + start..][..channels * taps];
                    for t in 0..taps {
                        let from = &from[t * channels..][..channels];
                        let to = out[t..].iter_mut().step_by(taps);
                        if part == 0 {
                            to.zip(from).for_each(|(to, &v)| *to = v);
                        } else {
                            to.zip(from).for_each(|(to, &v)| *to += v);
                        }
                    }
                }
            }
        }
    });
    Ok(())
}

/// Some channels of a group's weight, summed over one part of the pixels.
struct Task<'a, 'b, 'p, T: 'static> {
    plan: &'a Plan<'b, 'p, T>,
    group: usize,
    part: usize,
    first: usize,
    channels: usize,
    sums: &'a mut [T],
}

/// Columns of a panel that are adjacent in the slab for every pixel.
#[derive(Clone, Copy, Default)]
struct Piece {
    from: usize,
    to: usize,
}

/// Most pieces of a panel: one for each of its columns.
const PIECES: usize = 32;

impl<T: Gemm> simd::Kernel for Task<'_, '_, '_, T> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: simd::Arch>(self) -> Self::Out {
        let (plan, pass) = (self.plan, self.plan.pass);
        let (mr, nr) = (plan.kernel.mr, plan.kernel.nr);
        let (channels, taps, rows) = (self.channels, pass.taps(), pass.dst_ch);
        let columns = channels * taps;
        let mut lengths = pass.axes.map(|a| a.out);
        lengths[plan.axis] = plan.band;
        let nominal: usize = lengths.iter().product();
        // The slab holds every source position from the first to the last that is read.
        let extent = [0, 1, 2].map(|i| {
            let a = &pass.axes[i];
            (lengths[i] - 1) * a.stride + (a.taps - 1) * a.step + 1
        });
        let image = extent.iter().product::<usize>() * channels;
        let slab_len = plan.images * image + SPILL;
        let most = nominal * plan.images;
        let kernel = plan.kernel;
        let (a_len, b_len) =
            (kernel.packed_len(Side::A, rows, most), kernel.packed_len(Side::B, nr, most));
        // What is packed once more.
        let of_side = |side| kernel.aside_len(side, 1, most);
        let values_len = of_side(Side::A).max(of_side(Side::B)) + SPILL;
        let mut space = Scratch::<T>::new(a_len + b_len + SPILL + values_len + slab_len)?;
        // Panels first, which so begin with a line of the cache.
        let (a_panels, rest) = space.split_at_mut(a_len);
        let (b_panel, rest) = rest.split_at_mut(b_len + SPILL);
        let (values, slab) = rest.split_at_mut(values_len);
        let mut places = Scratch::<u64>::new(most)?;
        let mut made = ([0; 3], 0);

        let pieces =
            self.part * plan.pieces / plan.parts..(self.part + 1) * plan.pieces / plan.parts;
        for (i, piece) in pieces.enumerate() {
            let (first, band) = (piece / plan.bands * plan.images, piece % plan.bands);
            let images = plan.images.min(pass.batch - first);
            let mut origin = [0; 3];
            origin[plan.axis] = band * plan.band;
            let whole = pass.axes[plan.axis].out;
            lengths[plan.axis] = plan.band.min(whole - origin[plan.axis]);
            let of_image: usize = lengths.iter().product();
            let pixels = of_image * images;
            let start = origin[plan.axis] * (pass.pixels() / whole);
            for n in 0..images {
                let at = ((first + n) * pass.groups + self.group) * pass.src_ch + self.first;
                let src = &pass.src[at * pass.src_plane()..][..channels * pass.src_plane()];
                let dst = &mut slab[n * image..(n + 1) * image];
                fill(pass, kernel.isa, src, channels, origin, extent, dst);
            }
            let of_panel = kernel.packed_len(Side::A, mr, pixels);
            for m in (0..rows).step_by(mr) {
                let count = mr.min(rows - m);
                let panel = &mut a_panels[m / mr * of_panel..][..of_panel];
                let lines = kernel.lines(panel, values);
                for n in 0..images {
                    let at = ((first + n) * pass.groups + self.group) * rows + m;
                    let src = &self.plan.dy[at * pass.pixels() + start..];
                    let dst = &mut lines[n * of_image * mr..][..of_image * mr];
                    assert!(src.len() >= (count - 1) * pass.pixels() + of_image);
                    // SAFETY: checked by the slices and the assertion.
                    unsafe {
                        let (dst, src) = (dst.as_mut_ptr(), src.as_ptr());
                        pack_raw(kernel.isa, mr, dst, src, pass.pixels(), 1, count, of_image);
                    }
                }
                kernel.pack_lines(Side::A, (1, count, pixels), panel, values);
            }
            let strides = pass.axes.map(|a| a.stride);
            // Most pieces are of one form.
            let fresh = if made == (lengths, pixels) { 0 } else { pixels };
            made = (lengths, pixels);
            for (q, place) in places[..fresh].iter_mut().enumerate() {
                let (w, p) = (q % lengths[2], q / lengths[2]);
                let (h, p) = (p % lengths[1], p / lengths[1]);
                let (d, n) = (p % lengths[0], p / lengths[0]);
                let row = d * strides[0] * extent[1] + h * strides[1];
                let at = (row * extent[2] + w * strides[2]) * channels + n * image;
                *place = at as u64;
            }
            for j in (0..columns).step_by(nr) {
                let cols = nr.min(columns - j);
                let patches = Columns { slab, places: &places[..pixels], nr };
                let lines = kernel.lines(b_panel, values);
                patches.pack(j..j + cols, channels, |t| tap(pass, extent, t), lines);
                kernel.pack_lines(Side::B, (1, cols, pixels), b_panel, values);
                let tiles = kernel.start();
                let mut tile = kernel.tile(
                    pixels,
                    a_panels.as_ptr(),
                    b_panel.as_ptr(),
                    self.sums.as_mut_ptr(),
                    columns,
                );
                tile.accumulate = i > 0;
                tile.cols = cols;
                for m in (0..rows).step_by(mr) {
                    tile.rows = mr.min(rows - m);
                    tile.a = a_panels[m / mr * of_panel..].as_ptr();
                    tile.c = self.sums.as_mut_ptr().wrapping_add(m * columns + j);
                    // SAFETY: the panels hold as many lines as there are pixels; the tile lies in
                    // this task's sums.
                    unsafe { tiles.run(&tile) };
                }
            }
        }
        Ok(())
    }
}

/// Distance of tap `t` from the place of its output, in pixels of the slab.
#[inline(always)]
fn tap<T: Gemm>(pass: &Pass<T>, extent: [usize; 3], t: usize) -> usize {
    let [d, h, w] = pass.axes;
    let (i, t) = (t / (h.taps * w.taps), t % (h.taps * w.taps));
    let row = i * d.step * extent[1] + t / w.taps * h.step;
    row * extent[2] + t % w.taps * w.step
}

/// Fills one image of the slab, channels innermost, from some planes of the source.
#[inline(always)]
fn fill<T: Gemm>(
    pass: &Pass<T>,
    isa: simd::Isa,
    src: &[T],
    channels: usize,
    origin: [usize; 3],
    extent: [usize; 3],
    dst: &mut [T],
) {
    let plane = pass.src_plane();
    let start = [0, 1, 2].map(|i| {
        let a = &pass.axes[i];
        (origin[i] * a.stride) as isize - a.pad
    });
    let [d_axis, h_axis, w_axis] = pass.axes;
    let first = (-start[2]).clamp(0, extent[2] as isize) as usize;
    let end = (w_axis.src as isize - start[2]).clamp(first as isize, extent[2] as isize) as usize;
    for (row, line) in dst.chunks_exact_mut(extent[2] * channels).enumerate() {
        let d = start[0] + (row / extent[1]) as isize;
        let h = start[1] + (row % extent[1]) as isize;
        let inside = (0..d_axis.src as isize).contains(&d) && (0..h_axis.src as isize).contains(&h);
        if !inside || end == first {
            line.fill(T::ZERO);
            continue;
        }
        let from = (d as usize * h_axis.src + h as usize) * w_axis.src;
        let src = &src[from + (start[2] + first as isize) as usize..];
        let len = end - first;
        assert!(src.len() >= (channels - 1) * plane + len);
        line[..first * channels].fill(T::ZERO);
        line[end * channels..].fill(T::ZERO);
        let line = &mut line[first * channels..end * channels];
        if channels == 1 {
            line.copy_from_slice(&src[..len]);
            continue;
        }
        // SAFETY: the line has room for `len` pixels; the source was checked above.
        unsafe {
            pack_raw(isa, channels, line.as_mut_ptr(), src.as_ptr(), plane, 1, channels, len)
        };
    }
}

/// The patches of some pixels.
struct Columns<'a, T> {
    slab: &'a [T],
    places: &'a [u64],
    nr: usize,
}

impl<T: Gemm> Columns<'_, T> {
    /// Packs some columns, which are (tap, channel), as one panel: a line for each pixel.
    #[inline(always)]
    fn pack(
        &self,
        columns: std::ops::Range<usize>,
        channels: usize,
        tap: impl Fn(usize) -> usize,
        dst: &mut [T],
    ) {
        // Runs of columns that are adjacent in the slab, in chunks that spill over what is
        // written later.
        let mut pieces = [Piece::default(); PIECES];
        let (mut count, mut longest) = (0, 0);
        let mut runs = [(0, 0, 0); PIECES];
        let mut column = columns.start;
        while column < columns.end {
            let (t, c) = (column / channels, column % channels);
            let len = (channels - c).min(columns.end - column);
            let from = tap(t) * channels + c;
            match runs[..count].last_mut() {
                Some((at, _, before)) if *at + *before == from => *before += len,
                _ => {
                    runs[count] = (from, column - columns.start, len);
                    count += 1;
                }
            }
            column += len;
        }
        runs[..count].iter().for_each(|r| longest = longest.max(r.2));
        let chunk = if longest > 8 {
            16
        } else if longest > 4 {
            8
        } else {
            4
        }
        .min(self.nr);
        let mut used = 0;
        for &(from, to, len) in &runs[..count] {
            for i in (0..len).step_by(chunk) {
                pieces[used] = Piece { from: from + i, to: to + i };
                used += 1;
            }
        }
        let pieces = &pieces[..used];
        let far = self.places.iter().copied().max().unwrap_or(0) as usize;
        let last = pieces.iter().map(|p| p.from).max().unwrap_or(0);
        assert!(far + last + chunk <= self.slab.len(), "patches outside the slab");
        assert!(dst.len() >= self.places.len() * self.nr + SPILL);
        // SAFETY: checked above.
        unsafe {
            match chunk {
                16 => self.copy::<16>(pieces, dst.as_mut_ptr()),
                8 => self.copy::<8>(pieces, dst.as_mut_ptr()),
                _ => self.copy::<4>(pieces, dst.as_mut_ptr()),
            }
        }
    }

    /// # Safety
    /// All pieces lie in the slab for all places, and `dst` has a line of `nr` for each place and
    /// room for a chunk more.
    #[inline(always)]
    unsafe fn copy<const C: usize>(&self, pieces: &[Piece], dst: *mut T) {
        // SAFETY: passed on to the caller.
        unsafe {
            match *pieces {
                [a] => self.copy_all::<C>(&[a], dst),
                [a, b] => self.copy_all::<C>(&[a, b], dst),
                [a, b, c] => self.copy_all::<C>(&[a, b, c], dst),
                _ => self.copy_all::<C>(pieces, dst),
            }
        }
    }

    /// # Safety
    /// As for `copy`.
    #[inline(always)]
    unsafe fn copy_all<const C: usize>(&self, pieces: &[Piece], dst: *mut T) {
        for (q, &place) in self.places.iter().enumerate() {
            for piece in pieces {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = self.slab.as_ptr().add(place as usize + piece.from);
                    let to = dst.add(q * self.nr + piece.to).cast::<[T; C]>();
                    to.write(from.cast::<[T; C]>().read());
                }
            }
        }
    }
}
