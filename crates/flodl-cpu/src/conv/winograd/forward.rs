//! Outputs: transformed weights, packed once, times the transformed tiles of a block.

use std::sync::Mutex;

use super::transform::{LANES, MOST, Outputs, Source, Taps, V, square};
use super::{Block, Form, Loader, Panels, Pass, Tiling, panel_width};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Gemm, Kernel};
use crate::simd::{self, Arch};
use crate::threads;

/// Bytes of transformed tiles and products that a thread of its own keeps at hand.
const BLOCK: usize = 2 << 20;
/// Bytes of transformed weights above which threads share a block instead, and its bytes then.
const SHARED_WEIGHTS: usize = 6 << 20;
const SHARED_BLOCK: usize = 12 << 20;

/// Computes a pass in the given form.
pub(in super::super) fn run<T: Gemm>(
    pass: &Pass<T>,
    form: Form,
    dst: &mut [T],
) -> Result<(), OutOfMemory> {
    match (form.pairs, form.taps) {
        (1, 2) => Work::<T, 1, 2>::new(pass, form).run(dst),
        (1, _) => Work::<T, 1, 3>::new(pass, form).run(dst),
        (_, 2) => Work::<T, 2, 2>::new(pass, form).run(dst),
        (_, _) => Work::<T, 2, 3>::new(pass, form).run(dst),
    }
}

/// A pass with its partition, for `S` pairs of points and `R` taps.
struct Work<'a, 'p, T: 'static, const S: usize, const R: usize> {
    pass: &'a Pass<'p, T>,
    kernel: &'static Kernel<T>,
    tiling: Tiling,
    /// Whether threads share each block, instead of having blocks of their own.
    shared: bool,
    /// Products, one for each pair of points.
    squares: usize,
    /// Channels of the source, parities included.
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

impl<'a, 'p, T: Gemm, const S: usize, const R: usize> Work<'a, 'p, T, S, R> {
    fn new(pass: &'a Pass<'p, T>, form: Form) -> Self {
        let kernel = Kernel::<T>::best();
        let squares = form.points() * form.points();
        let channels = form.channels(pass);
        let weights = squares * channels * pass.dst_ch * size_of::<T>();
        let shared = weights > SHARED_WEIGHTS;
        let of_tile = squares * (channels + pass.dst_ch) * size_of::<T>();
        let width = panel_width(kernel);
        let target = if shared { SHARED_BLOCK } else { BLOCK } / of_tile;
        let tiling = Tiling::new(pass, form, target.max(2 * width));
        Self { pass, kernel, tiling, shared, squares, channels, width }
    }

    fn run(&self, dst: &mut [T]) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let panels = pass.dst_ch.div_ceil(self.kernel.mr);
        let group = self.squares * panels * self.kernel.mr * self.channels;
        let mut weights = Scratch::<T>::new(group)?;
        let blocks = self.tiling.blocks(pass.batch);
        let out = Shared(dst.as_mut_ptr());
        for group in 0..pass.groups {
            let to = Shared(weights.as_mut_ptr());
            threads::parallel_for(panels, |panel| {
                simd::dispatch(Weights { work: self, group, panel, to: to.at(0) });
            });
            let failed = Mutex::new(None);
            let block = |index: usize| {
                let block = self.tiling.block(pass.batch, index);
                if let Err(error) = self.block(group, block, &weights, out) {
                    *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                }
            };
            if self.shared {
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
        block: Block,
        weights: &[T],
        out: Shared<T>,
    ) -> Result<(), OutOfMemory> {
        let (pass, form) = (self.pass, self.tiling.form);
        let panels = block.tiles.div_ceil(self.width);
        let tiles = panels * self.width;
        let mut space = Scratch::<T>::new(self.squares * tiles * (self.channels + pass.dst_ch))?;
        let (sources, products) = space.split_at_mut(self.squares * tiles * self.channels);

        let reach = form.points() * form.stride;
        let [_, h, w] = pass.axes;
        let loader = Loader {
            tiling: &self.tiling,
            slab: self.tiling.slab(pass.axes, [h.src, w.src], form.outputs() * form.stride, reach),
            reach,
            stride: form.stride,
            src: pass.src,
            src_plane: pass.src_plane(),
        };
        let to =
            Panels { to: sources.as_mut_ptr(), width: self.width, panels, channels: self.channels };
        let failed = Mutex::new(None);
        let step = pass.src_ch.div_ceil(TASKS);
        threads::parallel_for(pass.src_ch.div_ceil(step), |i| {
            let channels = i * step..((i + 1) * step).min(pass.src_ch);
            let task = Sources { work: self, loader: &loader, group, block, channels, to: &to };
            if let Err(error) = simd::dispatch(task) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        });

        let made = Shared(products.as_mut_ptr());
        threads::parallel_for(self.squares, |point| {
            self.multiply(point, panels, weights, sources, made);
        });

        let rows = self.tiling.form.outputs() * self.tiling.form.outputs() * block.tiles;
        let products = &*products;
        let step = pass.dst_ch.div_ceil(TASKS);
        threads::parallel_for(pass.dst_ch.div_ceil(step), |i| {
            let channels = i * step..((i + 1) * step).min(pass.dst_ch);
            let task = Back { work: self, group, block, panels, products, channels, rows, out };
            if let Err(error) = simd::dispatch(task) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The products of one point for all tiles of a block.
    fn multiply(&self, point: usize, panels: usize, weights: &[T], sources: &[T], made: Shared<T>) {
        let (mr, k, width) = (self.kernel.mr, self.channels, self.width);
        let rows = self.pass.dst_ch;
        let weights = &weights[point * rows.div_ceil(mr) * mr * k..];
        let sources = &sources[point * panels * k * width..][..panels * k * width];
        for m in (0..rows).step_by(mr) {
            let a = weights[m * k..(m + mr) * k].as_ptr();
            for q in 0..panels {
                let b = sources[q * k * width..].as_ptr();
                let c = made.at(((point * panels + q) * rows + m) * width);
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
struct Weights<'a, 'b, 'p, T: 'static, const S: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, S, R>,
    group: usize,
    panel: usize,
    to: *mut T,
}

impl<T: Gemm, const S: usize, const R: usize> simd::Kernel for Weights<'_, '_, '_, T, S, R> {
    type Out = ();

    #[inline(always)]
    fn run<A: Arch>(self) {
        let (work, pass) = (self.work, self.work.pass);
        let (mr, stride) = (work.kernel.mr, work.tiling.form.stride);
        let first = self.panel * mr;
        let rows = mr.min(pass.dst_ch - first);
        let panels = pass.dst_ch.div_ceil(mr);
        let src = &pass.w[self.group * pass.w_group + first * pass.w_row..];
        for c in 0..pass.src_ch {
            for parity in 0..stride * stride {
                let (p, q) = (parity / stride, parity % stride);
                let mut index = [[0; MOST]; MOST];
                for i in 0..R {
                    for j in 0..R {
                        let tap = (i * stride + p) * pass.axes[2].taps + j * stride + q;
                        index[i][j] = c * pass.w_ch + pass.kernel_index(tap);
                    }
                }
                let channel = c * stride * stride + parity;
                for row in (0..mr).step_by(LANES) {
                    let lanes = LANES.min(rows.saturating_sub(row));
                    let load = |i: usize, j: usize| {
                        let mut v = V::ZERO;
                        for (lane, v) in v.0.iter_mut().enumerate().take(lanes) {
                            *v = src[(row + lane) * pass.w_row + index[i][j]];
                        }
                        v
                    };
                    let kept = LANES.min(mr - row);
                    let store = |i: usize, j: usize, v: V<T>| {
                        let point = i * super::points(S) + j;
                        let at = (point * panels + self.panel) * work.channels + channel;
                        // SAFETY: lines of this panel, which is this task's.
                        let to = unsafe {
                            std::slice::from_raw_parts_mut(self.to.add(at * mr + row), kept)
                        };
                        to.copy_from_slice(&v.0[..kept]);
                    };
                    square::<A, T, Taps<S, R>>(load, store);
                }
            }
        }
    }
}

/// Transforms some channels of a block's source.
struct Sources<'a, 'b, 'p, T: 'static, const S: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, S, R>,
    loader: &'a Loader<'a, T>,
    group: usize,
    block: Block,
    channels: std::ops::Range<usize>,
    to: &'a Panels<T>,
}

impl<T: Gemm, const S: usize, const R: usize> simd::Kernel for Sources<'_, '_, '_, T, S, R> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        let pass = self.work.pass;
        let mut slab = Scratch::<T>::new(self.loader.scratch())?;
        let parities = self.loader.stride * self.loader.stride;
        for c in self.channels {
            let channel = |n: usize| (n * pass.groups + self.group) * pass.src_ch + c;
            // SAFETY: the panels have room for all tiles and channels; these are this task's.
            unsafe {
                self.loader.channel::<A, Source<S>>(
                    self.block,
                    channel,
                    &mut slab,
                    c * parities,
                    self.to,
                );
            }
        }
        Ok(())
    }
}

/// Transforms the products of some output channels back, and writes the outputs.
struct Back<'a, 'b, 'p, T: 'static, const S: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, S, R>,
    group: usize,
    block: Block,
    panels: usize,
    products: &'a [T],
    channels: std::ops::Range<usize>,
    rows: usize,
    out: Shared<T>,
}

impl<T: Gemm, const S: usize, const R: usize> simd::Kernel for Back<'_, '_, '_, T, S, R> {
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        let (work, pass, block) = (self.work, self.work.pass, self.block);
        let (width, points) = (work.width, super::points(S));
        let m = points + 1 - R;
        let cols = work.tiling.cols;
        let line = cols * m;
        let [_, h_axis, w_axis] = pass.axes;
        let (height, length) = ((block.rows * m).min(h_axis.out - block.row * m), w_axis.out);
        // The outputs of a channel, row by row; the last tile of a row may stick out.
        let mut rows = Scratch::<T>::new(self.rows)?;
        for channel in self.channels {
            let number = self.group * pass.dst_ch + channel;
            let bias = pass.bias.map_or(T::ZERO, |b| b[number]);
            for tile in (0..block.tiles).step_by(LANES) {
                let load = |i: usize, j: usize| {
                    let (panel, lane) = (tile / width, tile % width);
                    let at = ((i * points + j) * self.panels + panel) * pass.dst_ch + channel;
                    let mut v = V::ZERO;
                    v.0.copy_from_slice(&self.products[at * width + lane..][..LANES]);
                    v
                };
                let mut values = [[[T::ZERO; LANES]; MOST]; MOST];
                square::<A, T, Outputs<S, R>>(load, |i, j, v| values[i][j] = v.0);
                let count = LANES.min(block.tiles - tile);
                let (mut row, mut col) = (tile / cols, tile % cols);
                for lane in 0..count {
                    let start = row * m * line + col * m;
                    for (i, values) in values.iter().enumerate().take(m) {
                        let to = &mut rows[start + i * line..][..m];
                        for (to, values) in to.iter_mut().zip(values) {
                            *to = values[lane] + bias;
                        }
                    }
                    col += 1;
                    if col == cols {
                        (row, col) = (row + 1, 0);
                    }
                }
            }
            for n in 0..block.images {
                let image = (block.first + n) * pass.groups * pass.dst_ch + number;
                for y in 0..height {
                    let from = &rows[(n * block.rows * m + y) * line..][..length];
                    let at_row = h_axis.dst_first + (block.row * m + y) * h_axis.dst_step;
                    let at = image * pass.dst_plane() + at_row * w_axis.dst + w_axis.dst_first;
                    let to = self.out.at(at);
                    // SAFETY: outputs of this channel and block, inside the destination.
                    unsafe {
                        match w_axis.dst_step {
                            1 => std::ptr::copy_nonoverlapping(from.as_ptr(), to, length),
                            2 => from.iter().enumerate().for_each(|(i, &v)| *to.add(2 * i) = v),
                            s => from.iter().enumerate().for_each(|(i, &v)| *to.add(s * i) = v),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
