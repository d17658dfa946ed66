//! Winograd's convolution: tiles of outputs from a quarter of the multiplications.
//!
//! For 3×3 and 2×2 kernels of stride 1, and for kernels of even size and stride 2, which are 2×2
//! kernels of stride 1 over the four parities of the image, taken as channels. Tiles of the source
//! and the weights are transformed ([`transform`]), multiplied point by point, which is a matrix
//! product for each point ([`forward`], [`weight`]), and transformed back.
//!
//! The sums are exact to about 2e-6 of the largest output (0.3e-6 for a direct sum); an infinity
//! or NaN in the source reaches the whole tile. [`set_winograd`] turns all of it off.

mod forward;
#[cfg(test)]
mod tests;
mod transform;
mod weight;

pub(super) use forward::run;
pub(super) use weight::run as weight;

use std::sync::atomic::{AtomicU8, Ordering};

use super::plan::{Axis, Pass, SPILL, Slab};
use crate::gemm::{Gemm, Kernel};
use crate::simd::Arch;
use transform::{LANES, Transform, V, points, square};

/// Environment variable that turns Winograd's convolution off when it is `0`.
pub const WINOGRAD_ENV: &str = "FLODL_WINOGRAD";

static ON: AtomicU8 = AtomicU8::new(2);

/// Whether large convolutions may use Winograd's algorithm.
pub fn winograd() -> bool {
    match ON.load(Ordering::Relaxed) {
        2 => {
            let on = std::env::var(WINOGRAD_ENV).as_deref() != Ok("0");
            ON.store(on.into(), Ordering::Relaxed);
            on
        }
        on => on == 1,
    }
}

/// Lets large convolutions use Winograd's algorithm, or keeps all of them direct.
pub fn set_winograd(on: bool) {
    ON.store(on.into(), Ordering::Relaxed);
}

/// Which transforms a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Pairs of points, and taps of the kernel, along each axis.
    pub pairs: usize,
    pub taps: usize,
    /// Stride of the pass; its parities are channels.
    pub stride: usize,
}

impl Form {
    /// Points along an axis.
    fn points(&self) -> usize {
        points(self.pairs)
    }

    /// Outputs of a tile along an axis.
    fn outputs(&self) -> usize {
        self.points() + 1 - self.taps
    }

    /// Channels of the source, parities included.
    fn channels<T: Gemm>(&self, pass: &Pass<T>) -> usize {
        pass.src_ch * self.stride * self.stride
    }
}

/// Fewest channels on either side: below, the transforms outweigh the products.
const FEW: usize = 24;
/// Fewest tiles that are worth the transform of the weights.
const TILES: usize = 32;
/// What the transforms of a tile cost, in multiplications, for each channel and point.
const TRANSFORM: usize = 32;

/// The form in which a pass is cheaper than direct, if there is one. `gradient` asks for the
/// gradient by weight of this pass.
pub(super) fn suits<T: Gemm>(pass: &Pass<T>, gradient: bool) -> Option<Form> {
    let form = form(pass)?;
    let wanted = size_of::<T>() == 4 && winograd();
    let wide = form.channels(pass).min(pass.dst_ch) >= FEW;
    (wanted && wide).then_some(())?;
    let [_, h, w] = pass.axes;
    let direct = pass.taps() * pass.pixels() * pass.src_ch * pass.dst_ch;
    let cost = |form: &Form| {
        let m = form.outputs();
        let tiles = h.out.div_ceil(m) * w.out.div_ceil(m);
        let squares = form.points() * form.points();
        let (from, to) = (form.channels(pass), pass.dst_ch);
        // The gradient by weight packs both operands.
        let transforms = (from + to) * if gradient { TRANSFORM + 16 } else { TRANSFORM };
        (tiles, tiles * squares * (from * to + transforms))
    };
    let forms = [1, 2].map(|pairs| Form { pairs, ..form });
    let (form, (tiles, cost)) =
        forms.map(|f| (f, cost(&f))).into_iter().min_by_key(|(_, (_, cost))| *cost)?;
    (tiles * pass.batch >= TILES && cost + cost / 4 < direct).then_some(form)
}

/// A form that a pass can take, if there is one.
fn form<T: Gemm>(pass: &Pass<T>) -> Option<Form> {
    let [d, h, w] = pass.axes;
    let flat = d.src == 1 && d.out == 1 && d.taps == 1 && d.pad == 0;
    let alike = h.taps == w.taps && h.stride == w.stride && h.step == 1 && w.step == 1;
    let stride = h.stride;
    let whole = stride <= 2 && h.taps.is_multiple_of(stride);
    let taps = h.taps / stride;
    let form = Form { pairs: 1, taps, stride };
    (flat && alike && whole && (2..=3).contains(&taps)).then_some(form)
}

/// How the outputs of a pass are cut: in tiles, and these in blocks of some whole images or of a
/// band of one.
struct Tiling {
    form: Form,
    /// Tiles along an image's height and width.
    rows: usize,
    cols: usize,
    /// Images of a block, or rows of tiles of a band and bands of an image.
    images: usize,
    band: usize,
    bands: usize,
}

/// One block.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    images: usize,
    /// First row of tiles, and how many.
    row: usize,
    rows: usize,
    /// Tiles in all.
    tiles: usize,
}

impl Tiling {
    /// About `target` tiles to a block.
    fn new<T: Gemm>(pass: &Pass<T>, form: Form, target: usize) -> Self {
        let m = form.outputs();
        let (rows, cols) = (pass.axes[1].out.div_ceil(m), pass.axes[2].out.div_ceil(m));
        let (images, bands) = if rows * cols <= target {
            ((target / (rows * cols)).clamp(1, pass.batch), 1)
        } else {
            (1, rows.div_ceil((target / cols).max(1)))
        };
        let band = rows.div_ceil(bands);
        Self { form, rows, cols, images, band, bands: rows.div_ceil(band) }
    }

    fn blocks(&self, batch: usize) -> usize {
        batch.div_ceil(self.images) * self.bands
    }

    fn block(&self, batch: usize, index: usize) -> Block {
        let (first, row) = (index / self.bands * self.images, index % self.bands * self.band);
        let images = self.images.min(batch - first);
        let rows = self.band.min(self.rows - row);
        Block { first, images, row, rows, tiles: images * rows * self.cols }
    }

    /// Most tiles of a block.
    fn most(&self) -> usize {
        self.images * self.band * self.cols
    }

    /// The slab of a block's channel: `axes` as they are read, `reach` values of each axis for a
    /// tile, `step` from a tile to the next.
    fn slab(&self, axes: [Axis; 3], lengths: [usize; 2], step: usize, reach: usize) -> Slab {
        let axis = |axis: Axis, src: usize, out: usize| Axis {
            src,
            out,
            stride: step,
            taps: reach,
            step: 1,
            ..axis
        };
        let [d, h, w] = axes;
        let axes = [d, axis(h, lengths[0], self.rows), axis(w, lengths[1], self.cols)];
        Slab::new(axes, [1, self.band, self.cols])
    }
}

/// Transforms channels of a source, tile by tile.
struct Loader<'a, T> {
    tiling: &'a Tiling,
    slab: Slab,
    /// Values of the slab that a tile reads along an axis, and parities among them.
    reach: usize,
    stride: usize,
    src: &'a [T],
    src_plane: usize,
}

/// Where transformed values go: point, panel of `width` tiles, channel, tile.
#[derive(Clone, Copy)]
struct Panels<T> {
    to: *mut T,
    width: usize,
    panels: usize,
    channels: usize,
}

// SAFETY: tasks write disjoint channels.
unsafe impl<T: Send> Sync for Panels<T> {}

impl<T> Panels<T> {
    /// Place of a group of lanes.
    fn place(&self, point: usize, channel: usize, tile: usize) -> usize {
        let (panel, lane) = (tile / self.width, tile % self.width);
        ((point * self.panels + panel) * self.channels + channel) * self.width + lane
    }
}

impl<T: Gemm> Loader<'_, T> {
    /// Values of scratch that a task needs.
    fn scratch(&self) -> usize {
        self.tiling.images * self.slab.plane() + SPILL
    }

    /// Transforms one channel of a block: `channel(n)` is the number of image n's channel, and
    /// the parities of the channel become the channels from `first` on.
    ///
    /// # Safety
    /// The places of these channels in `panels` are writable, and nobody else's.
    #[inline(always)]
    unsafe fn channel<A: Arch, F: Transform<T>>(
        &self,
        block: Block,
        channel: impl Fn(usize) -> usize,
        slab: &mut [T],
        first: usize,
        panels: &Panels<T>,
    ) {
        let (cols, plane) = (self.tiling.cols, self.slab.plane());
        assert!(slab.len() >= block.images * plane + SPILL);
        for n in 0..block.images {
            let src = &self.src[channel(block.first + n) * self.src_plane..];
            // SAFETY: the plane lies in the slab; what it spills over is written later or is the
            // slab's tail.
            unsafe { self.slab.fill(src, [0, block.row, 0], slab.as_mut_ptr().add(n * plane)) };
        }
        let mut offsets = [[0; transform::MOST]; transform::MOST];
        for tile in (0..block.tiles).step_by(LANES) {
            let count = LANES.min(block.tiles - tile);
            // The lanes in runs of tiles that lie side by side.
            let mut runs = [(0usize, 0usize); LANES];
            let mut number = 0;
            let mut lane = 0;
            while lane < count {
                let (col, line) = ((tile + lane) % cols, (tile + lane) / cols);
                let (row, n) = (line % block.rows, line / block.rows);
                runs[number] = (n * plane + self.slab.place([0, row, col]), lane);
                number += 1;
                lane += cols - col;
            }
            let runs = &runs[..number];
            let farthest = runs.iter().map(|r| r.0).max().unwrap_or(0);
            for parity in 0..self.stride * self.stride {
                let (p, q) = (parity / self.stride, parity % self.stride);
                for (i, offsets) in offsets.iter_mut().enumerate().take(F::FROM) {
                    for (j, offset) in offsets.iter_mut().enumerate().take(F::FROM) {
                        let (row, col) = (i * self.stride + p, j * self.stride + q);
                        *offset = self.slab.tap(row * self.reach + col);
                    }
                }
                assert!(farthest + offsets[F::FROM - 1][F::FROM - 1] + LANES <= slab.len());
                let load = |i: usize, j: usize| {
                    let from = slab.as_ptr().wrapping_add(offsets[i][j]);
                    let mut lanes = [T::ZERO; 2 * LANES];
                    for &(place, lane) in runs {
                        // SAFETY: the greatest place is inside the slab by the assert; what a run
                        // has too much is overwritten by the next, or lies past the last lane.
                        unsafe {
                            let values = from.add(place).cast::<[T; LANES]>().read();
                            lanes.as_mut_ptr().add(lane).cast::<[T; LANES]>().write(values);
                        }
                    }
                    let mut v = V::ZERO;
                    v.0.copy_from_slice(&lanes[..LANES]);
                    if count < LANES {
                        v.0[count..].fill(T::ZERO);
                    }
                    v
                };
                let store = |i: usize, j: usize, v: V<T>| {
                    let place = panels.place(i * F::TO + j, first + parity, tile);
                    // SAFETY: the caller's promise.
                    unsafe { panels.to.add(place).cast::<[T; LANES]>().write(v.0) };
                };
                square::<A, T, F>(load, store);
            }
        }
    }
}

/// Tiles of a panel: at least a group of lanes.
fn panel_width<T: Gemm>(kernel: &Kernel<T>) -> usize {
    kernel.nr.next_multiple_of(LANES)
}
