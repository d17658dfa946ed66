//! Outputs: transformed weights, packed once, times the transformed tiles of a block.

use std::ops::Range;
use std::sync::Mutex;

use super::lanes::{Lanes, PAIR, PIECE, by_width};
use super::transform::{MOST, Outputs, Source, Square, Taps};
use super::{Form, Loader, Panels, Pass, Spot, Tiling, panel_width, planes, point_stride};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::pack::pack;
use crate::gemm::{Gemm, Kernel};
use crate::simd::{self, Arch};
use crate::strided::copy_short;
use crate::threads;

/// Bytes of transformed tiles and products that a thread of its own keeps at hand.
const BLOCK: usize = 1 << 20;
/// Bytes of transformed weights above which threads share a block instead, and its bytes then.
const SHARED_WEIGHTS: usize = 6 << 20;
const SHARED_BLOCK: usize = 12 << 20;

/// Computes passes that all have this form.
pub(in super::super) fn run<T: Gemm>(
    passes: &[Pass<T>],
    form: Form,
    dst: &mut [T],
) -> Result<(), OutOfMemory> {
    match (form.points, form.taps) {
        (4, 2) => each::<T, 4, 2>(passes, form, dst),
        (4, _) => each::<T, 4, 3>(passes, form, dst),
        (5, _) => each::<T, 5, 2>(passes, form, dst),
        (_, 2) => each::<T, 6, 2>(passes, form, dst),
        (_, _) => each::<T, 6, 3>(passes, form, dst),
    }
}

/// Block by block, all passes of each, where their tiles are the same: outputs of the phases of a
/// gradient by data lie between each other, and are then still in the cache.
fn each<T: Gemm, const P: usize, const R: usize>(
    passes: &[Pass<T>],
    form: Form,
    dst: &mut [T],
) -> Result<(), OutOfMemory> {
    let works: Vec<_> = passes.iter().map(|pass| Work::<T, P, R>::new(pass, form)).collect();
    if works.iter().all(|work| !work.shared && work.tiling == works[0].tiling) {
        return Work::run(&works, dst);
    }
    works.iter().try_for_each(|work| Work::run(std::slice::from_ref(work), dst))
}

/// A pass with its partition, for `P` points and `R` taps.
struct Work<'a, 'p, T: 'static, const P: usize, const R: usize> {
    pass: &'a Pass<'p, T>,
    kernel: &'static Kernel<T>,
    tiling: Tiling,
    /// Whether threads share each block, instead of having blocks of their own.
    shared: bool,
    /// Products, one for each pair of points.
    squares: usize,
    /// Channels of the source, taps along the depth and parities included.
    channels: usize,
    /// Tiles of a panel.
    width: usize,
}

/// A pointer that tasks share, each with its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: tasks write disjoint parts only.
unsafe impl<T: Send> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn at(&self, place: usize) -> *mut T {
        self.0.wrapping_add(place)
    }
}

impl<'a, 'p, T: Gemm, const P: usize, const R: usize> Work<'a, 'p, T, P, R> {
    fn new(pass: &'a Pass<'p, T>, form: Form) -> Self {
        let kernel = Kernel::<T>::best();
        let squares = form.points * form.points;
        let channels = form.channels(pass);
        let weights = squares * channels * pass.dst_ch * size_of::<T>();
        let shared = weights > SHARED_WEIGHTS;
        let of_tile = squares * (channels + pass.dst_ch) * size_of::<T>();
        let width = panel_width(kernel);
        let target = if shared { SHARED_BLOCK } else { BLOCK } / of_tile;
        let parts = if shared { 1 } else { 4 * threads::available() };
        let tiling = Tiling::new(pass, form, target, width, parts);
        Self { pass, kernel, tiling, shared, squares, channels, width }
    }

    /// Computes passes with the same tiles.
    fn run(works: &[Self], dst: &mut [T]) -> Result<(), OutOfMemory> {
        let Some(first) = works.first() else { return Ok(()) };
        let (pass, tiling) = (first.pass, &first.tiling);
        let panels = pass.dst_ch.div_ceil(first.kernel.mr);
        // Phases of a strided depth have taps along it, so channels, of their own.
        let channels = works.iter().map(|work| work.channels).max().unwrap_or(0);
        let stride = point_stride(panels * first.kernel.mr * channels);
        let size = first.squares * stride;
        let mut weights = Scratch::<T>::new(works.len() * size)?;
        let blocks = tiling.blocks();
        let out = Shared(dst.as_mut_ptr());
        for group in 0..pass.groups {
            let to = Shared(weights.as_mut_ptr());
            let failed = Mutex::new(None);
            threads::parallel_for(works.len() * panels, |i| {
                let (work, to, panel) = (&works[i / panels], to.at(i / panels * size), i % panels);
                if let Err(error) = simd::dispatch(Weights { work, group, panel, to, stride }) {
                    *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                }
            });
            let block = |index: usize| {
                for (work, weights) in works.iter().zip(weights.chunks_exact(size)) {
                    if let Err(error) = work.block(group, tiling.range(index), weights, out) {
                        *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                    }
                }
            };
            if first.shared {
                (0..blocks).for_each(block);
            } else {
                threads::parallel_for(blocks, block);
            }
            if let Some(error) = failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Computes a block in three steps, each of which the threads share if the block is shared.
    fn block(
        &self,
        group: usize,
        tiles: Range<usize>,
        weights: &[T],
        out: Shared<T>,
    ) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let panels = tiles.len().div_ceil(self.width);
        let stride = point_stride(panels * self.width * self.channels);
        let made_stride = point_stride(panels * self.width * pass.dst_ch);
        let mut space = Scratch::<T>::new(self.squares * (stride + made_stride))?;
        let (sources, products) = space.split_at_mut(self.squares * stride);
        let loader = Loader::source(pass, &self.tiling, tiles.clone());
        let (width, channels) = (self.width, self.channels);
        let planes = planes(pass);
        let to = Panels { to: sources.as_mut_ptr(), width, channels, planes, stride };
        let failed = Mutex::new(None);
        let step = planes.div_ceil(TASKS);
        threads::parallel_for(planes.div_ceil(step), |i| {
            let planes = i * step..((i + 1) * step).min(planes);
            let task = Sources { pass, loader: &loader, group, planes, to: &to };
            if let Err(error) = simd::dispatch::<Sources<T, P>>(task) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        });

        let made = Shared(products.as_mut_ptr());
        threads::parallel_for(self.squares, |point| {
            let (a, b) =
                (&weights[point * (weights.len() / self.squares)..], &sources[point * stride..]);
            self.multiply(point, panels, a, b, made.at(point * made_stride));
        });

        let products = &*products;
        let step = pass.dst_ch.div_ceil(TASKS);
        threads::parallel_for(pass.dst_ch.div_ceil(step), |i| {
            let channels = i * step..((i + 1) * step).min(pass.dst_ch);
            let tiles = tiles.clone();
            simd::dispatch(Back {
                work: self,
                group,
                tiles,
                products,
                stride: made_stride,
                channels,
                out,
            });
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The products of one point for all tiles of a block: writes `panels` panels to `made`.
    fn multiply(&self, point: usize, panels: usize, weights: &[T], sources: &[T], made: *mut T) {
        let (mr, channels, width) = (self.kernel.mr, self.channels, self.width);
        let k = self.tiling.form.parities_at(point) * planes(self.pass);
        let rows = self.pass.dst_ch;
        assert!(sources.len() >= panels * channels * width && k <= channels);
        for m in (0..rows).step_by(mr) {
            let a = weights[m * channels..(m + mr) * channels].as_ptr();
            for q in 0..panels {
                let b = sources[q * channels * width..].as_ptr();
                let c = made.wrapping_add((q * rows + m) * width);
                for column in (0..width).step_by(self.kernel.nr) {
                    let b = b.wrapping_add(column);
                    let c = c.wrapping_add(column);
                    let mut tile = self.kernel.tile(k, a, b, c, width);
                    tile.b_step = width;
                    tile.rows = mr.min(rows - m);
                    // SAFETY: the panels hold k lines of mr and `width` values, and the rows of
                    // the tile are this point's alone.
                    unsafe { self.kernel.run(&tile) };
                }
            }
        }
    }
}

/// Tasks of a step: a few for each thread.
const TASKS: usize = 16;

/// Transforms a panel of the weights.
struct Weights<'a, 'b, 'p, T: 'static, const P: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, P, R>,
    group: usize,
    panel: usize,
    to: *mut T,
    /// From a point to the next.
    stride: usize,
}

impl<T: Gemm, const P: usize, const R: usize> simd::Kernel for Weights<'_, '_, '_, T, P, R> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        by_width!(A, T, self.transform())
    }
}

impl<T: Gemm, const P: usize, const R: usize> Weights<'_, '_, '_, T, P, R> {
    #[inline(always)]
    fn transform<A: Arch, const W: usize>(self) -> Result<(), OutOfMemory> {
        let (work, pass) = (self.work, self.work.pass);
        let (mr, form) = (work.kernel.mr, work.tiling.form);
        let (stride, planes) = (form.stride, planes(pass));
        let first = self.panel * mr;
        let rows = mr.min(pass.dst_ch - first);
        let src = &pass.w[self.group * pass.w_group + first * pass.w_row..];
        // The kernels of a channel, tap by tap those of all rows. Lanes past the last are read too.
        let kernel: usize = pass.kernel.iter().product();
        let mut taps = Scratch::<T>::new(kernel * mr + PAIR)?;
        taps[kernel * mr..].fill(T::ZERO);
        let mut square = Square::<A, T, W>::new();
        let [d, h, w] = pass.axes;
        // From a tap to those below and beside it.
        let down = h.k_step * (stride * pass.kernel[2]) as isize;
        let right = w.k_step * stride as isize;
        let mut packed = None;
        for (plane, parity) in
            (0..planes).flat_map(|plane| (0..form.parities()).map(move |parity| (plane, parity)))
        {
            let (c, depth) = (plane / d.taps, plane % d.taps);
            let (p, q) = (parity / stride, parity % stride);
            if packed.replace(c) != Some(c) {
                let src = &src[c * pass.w_ch..];
                pack(simd::isa(), mr, &mut taps, src, pass.w_row, 1, rows, kernel);
            }
            let tap = pass.kernel_index((depth * h.taps + p) * w.taps + q) as isize;
            let line = (self.panel * work.channels + parity * planes + plane) * mr;
            for part in (0..mr).step_by(W) {
                for j in 0..R {
                    let mut column = [Lanes::ZERO; MOST];
                    for (i, lanes) in column.iter_mut().enumerate().take(R) {
                        if p + i * stride >= h.taps || q + j * stride >= w.taps {
                            continue;
                        }
                        let index = tap + i as isize * down + j as isize * right;
                        let from = &taps[index as usize * mr + part..][..W];
                        // SAFETY: as many values.
                        *lanes = unsafe { Lanes::read(from.as_ptr()) };
                    }
                    square.put::<Taps<P, R>>(j, &column);
                }
                let (mut to, count) = (self.to.wrapping_add(line + part), W.min(mr - part));
                for i in 0..P {
                    for lanes in square.row::<Taps<P, R>>(i).iter().take(P) {
                        // SAFETY: a line of this panel, which is this task's.
                        unsafe { lanes.write_first(to, count) };
                        to = to.wrapping_add(self.stride);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Transforms some planes of a block's source: the taps along the depth of its channels.
struct Sources<'a, 'p, T: 'static, const P: usize> {
    pass: &'a Pass<'p, T>,
    loader: &'a Loader<'p, T>,
    group: usize,
    planes: Range<usize>,
    to: &'a Panels<T>,
}

impl<T: Gemm, const P: usize> simd::Kernel for Sources<'_, '_, T, P> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        by_width!(A, T, self.transform())
    }
}

impl<T: Gemm, const P: usize> Sources<'_, '_, T, P> {
    #[inline(always)]
    fn transform<A: Arch, const W: usize>(self) -> Result<(), OutOfMemory> {
        let (pass, loader) = (self.pass, self.loader);
        let mut slab = Scratch::<T>::new(loader.scratch())?;
        let mut square = Square::<A, T, W>::new();
        for number in self.planes {
            let plane = |n: usize, depth: usize| pass.source_plane(self.group, number, n, depth);
            let square = &mut square;
            // SAFETY: the panels have room for all tiles and channels; these are this task's.
            unsafe { loader.plane::<A, Source<P>, W>(plane, &mut slab, square, number, self.to) };
        }
        Ok(())
    }
}

/// Transforms the products of some output channels back, and writes the outputs.
struct Back<'a, 'b, 'p, T: 'static, const P: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, P, R>,
    group: usize,
    tiles: Range<usize>,
    products: &'a [T],
    /// From a point to the next.
    stride: usize,
    channels: Range<usize>,
    out: Shared<T>,
}

impl<T: Gemm, const P: usize, const R: usize> simd::Kernel for Back<'_, '_, '_, T, P, R> {
    type Out = ();

    #[inline(always)]
    fn run<A: Arch>(self) {
        by_width!(A, T, self.transform());
    }
}

impl<T: Gemm, const P: usize, const R: usize> Back<'_, '_, '_, T, P, R> {
    #[inline(always)]
    fn transform<A: Arch, const W: usize>(self) {
        let (work, pass) = (self.work, self.work.pass);
        let (width, outputs) = (work.width, P + 1 - R);
        let mut square = Square::<A, T, W>::new();
        let mut lines = Lines::<T>::new();
        let tiling = &work.tiling;
        // Panel by panel: the products of adjacent channels are adjacent.
        for (panel, channel) in (0..self.tiles.len())
            .step_by(width)
            .flat_map(|panel| self.channels.clone().map(move |channel| (panel, channel)))
        {
            let number = self.group * pass.dst_ch + channel;
            let bias = pass.bias.map_or(T::ZERO, |b| b[number]);
            let [d, h, w] = pass.axes;
            let to = |image: usize, depth: usize| {
                let channel = image * pass.groups * pass.dst_ch + number;
                self.out.at((channel * d.dst + d.place(depth)) * h.dst * w.dst)
            };
            for piece in (panel..(panel + width).min(self.tiles.len())).step_by(W) {
                let at = panel * pass.dst_ch + channel * width + (piece - panel);
                let from = &self.products[at..][..(P * P - 1) * self.stride + W];
                for j in 0..P {
                    let mut column = [Lanes::ZERO; MOST];
                    let mut from = from.as_ptr().wrapping_add(j * self.stride);
                    for lanes in column.iter_mut().take(P) {
                        // SAFETY: no further than the last point's.
                        *lanes = unsafe { Lanes::read(from) };
                        from = from.wrapping_add(P * self.stride);
                    }
                    square.put::<Outputs<P, R>>(j, &column);
                }
                for (i, line) in lines.0.iter_mut().enumerate().take(outputs) {
                    let values = square.row::<Outputs<P, R>>(i);
                    Lanes::interleave(&values[..outputs], bias, line);
                }
                let count = W.min(self.tiles.len() - piece);
                let mut lane = 0;
                while lane < count {
                    let spot = tiling.spot(self.tiles.start + piece + lane);
                    let turns = tiling.images > 1;
                    let run = if turns { PIECE } else { tiling.cols - spot.col };
                    let run = run.min(count - lane);
                    let there = run.min(if turns { pass.batch - spot.image } else { run });
                    let tiles = Tiles { lines: &lines, first: lane, count: there, turns };
                    let to = to(spot.image, spot.depth);
                    // SAFETY: outputs of this channel and block, inside the destination.
                    unsafe {
                        match outputs {
                            2 => tiles.write::<2>(pass, to, spot),
                            3 => tiles.write::<3>(pass, to, spot),
                            4 => tiles.write::<4>(pass, to, spot),
                            _ => tiles.write::<5>(pass, to, spot),
                        }
                    }
                    lane += run;
                }
            }
        }
    }
}

/// Most outputs of a tile along an axis.
const OUTPUTS: usize = MOST - 1;

/// The rows of outputs of some tiles, each row tile by tile.
#[repr(C, align(64))]
struct Lines<T>([[T; OUTPUTS * PAIR]; OUTPUTS]);

impl<T: Gemm> Lines<T> {
    fn new() -> Self {
        Self([[T::ZERO; OUTPUTS * PAIR]; OUTPUTS])
    }
}

/// Tiles of outputs side by side, or at one place of images in turn: `count` from the `first` on.
struct Tiles<'a, T> {
    lines: &'a Lines<T>,
    first: usize,
    count: usize,
    turns: bool,
}

impl<T: Gemm> Tiles<'_, T> {
    /// Writes them to the plane `dst` of the first one's image, from the first one's spot on.
    ///
    /// # Safety
    /// These outputs are inside the plane, and nobody else uses them.
    #[inline(always)]
    unsafe fn write<const M: usize>(&self, pass: &Pass<T>, dst: *mut T, spot: Spot) {
        let [_, h, w] = pass.axes;
        let dilation = h.step;
        // The output that a place of the residue is, and how many places there are from one on.
        let output = |axis: usize, place: usize| place * dilation + spot.residue[axis];
        let left = |axis: usize, place: usize| {
            pass.axes[axis + 1].out.saturating_sub(output(axis, place)).div_ceil(dilation)
        };
        let (row, col) = (spot.row * M, spot.col * M);
        let height = M.min(left(0, row));
        let length = (if self.turns { M } else { self.count * M }).min(left(1, col));
        let (first, step) = (w.place(output(1, col)), dilation * w.dst_step);
        for (i, line) in self.lines.0.iter().enumerate().take(height) {
            let tiles = &line.as_chunks::<M>().0[self.first..self.first + self.count];
            let to = dst.wrapping_add(h.place(output(0, row + i)) * w.dst + first);
            if self.turns {
                let image = pass.groups * pass.dst_ch * pass.dst_plane();
                for (n, tile) in tiles.iter().enumerate() {
                    // SAFETY: the caller's promise; this is the next image.
                    unsafe { scatter(&tile[..length], to.wrapping_add(n * image), step) };
                }
            } else {
                // SAFETY: the caller's promise.
                unsafe { scatter(&tiles.as_flattened()[..length], to, step) };
            }
        }
    }
}

/// Writes values `step` apart.
///
/// # Safety
/// These places from `to` on are writable.
#[inline(always)]
unsafe fn scatter<T: Gemm>(line: &[T], to: *mut T, step: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (step, line.len()) {
            (1, 4) => to.cast::<[T; 4]>().write([line[0], line[1], line[2], line[3]]),
            (1, _) => write(line, to),
            // Not a loop, of which the compiler makes masked stores that take several times as long.
            (s, 4) => {
                *to = line[0];
                *to.add(s) = line[1];
                *to.add(2 * s) = line[2];
                *to.add(3 * s) = line[3];
            }
            (s, _) => line.iter().enumerate().for_each(|(i, &v)| *to.add(s * i) = v),
        }
    }
}

/// Writes values one after the other.
///
/// # Safety
/// `to` is writable for all of them, initialised, and nobody else uses these places.
#[inline(always)]
unsafe fn write<T: Gemm>(from: &[T], to: *mut T) {
    // SAFETY: the caller's promise.
    copy_short(from, unsafe { std::slice::from_raw_parts_mut(to, from.len()) });
}
