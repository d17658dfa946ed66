//! Winograd's convolution: tiles of outputs from a quarter of the multiplications.
//!
//! For 3×3 and 2×2 kernels of stride 1, and for kernels of even size and stride 2, which are 2×2
//! kernels of stride 1 over the four parities of the image, taken as channels. In three dimensions
//! the taps along the depth are channels too, and each depth of the output is an image. Tiles of the
//! source and the weights are transformed ([`transform`]), multiplied point by point, which is a
//! matrix product for each point ([`forward`], [`weight`]), and transformed back.
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

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use super::plan::Pass;
use crate::gemm::pack::pack;
use crate::gemm::{Gemm, Kernel};
use crate::simd::{self, Arch};
use transform::{Lanes, MOST, PIECE, Room, Transform, square};

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
    /// Points, and taps of the kernel, along each axis.
    pub points: usize,
    pub taps: usize,
    /// Stride of the pass; its parities are channels.
    pub stride: usize,
}

impl Form {
    /// Outputs of a tile along an axis.
    fn outputs(&self) -> usize {
        self.points + 1 - self.taps
    }

    /// Channels of the source, taps along the depth and parities included, in this order.
    fn channels<T: Gemm>(&self, pass: &Pass<T>) -> usize {
        planes(pass) * self.stride * self.stride
    }
}

/// Planes of the source behind each plane of the output: channels, and taps along the depth of each.
fn planes<T: Gemm>(pass: &Pass<T>) -> usize {
    pass.src_ch * pass.axes[0].taps
}

/// Fewest channels on either side: below, the transforms outweigh the products.
const FEW: usize = 24;
/// Fewest tiles that are worth the transform of the weights.
const TILES: usize = 32;
/// What the transforms of a tile cost, in multiplications, for each channel and point; and those
/// of the weights, for each of them and point.
const TRANSFORM: usize = 20;
const WEIGHT: usize = 80;

/// The form in which a pass is cheaper than direct, if there is one. `gradient` asks for the
/// gradient by weight of this pass.
pub(super) fn suits<T: Gemm>(pass: &Pass<T>, gradient: bool) -> Option<Form> {
    let form = form(pass)?;
    let wanted = size_of::<T>() == 4 && winograd();
    let wide = form.channels(pass).min(pass.dst_ch) >= FEW;
    (wanted && wide).then_some(())?;
    let [d, h, w] = pass.axes;
    let direct = pass.taps() * pass.pixels() * pass.src_ch * pass.dst_ch;
    let cost = |form: &Form| {
        let m = form.outputs();
        let tiles = d.out * h.out.div_ceil(m) * w.out.div_ceil(m);
        let squares = form.points * form.points;
        let (from, to) = (form.channels(pass), pass.dst_ch);
        // The gradient by weight packs both operands.
        let transforms = (from + to) * if gradient { TRANSFORM + 16 } else { TRANSFORM };
        let weights = from * to * WEIGHT / pass.batch.max(1);
        (tiles, squares * (tiles * (from * to + transforms) + weights))
    };
    let forms = choices(form.taps).iter().map(|&points| Form { points, ..form });
    let (form, (tiles, cost)) = forms.map(|f| (f, cost(&f))).min_by_key(|(_, (_, cost))| *cost)?;
    (tiles * pass.batch >= TILES && cost + cost / 4 < direct).then_some(form)
}

/// Numbers of points that there are transforms for.
fn choices(taps: usize) -> &'static [usize] {
    if taps == 2 { &[4, 5, 6] } else { &[4, 6] }
}

/// A form that a pass can take, if there is one.
fn form<T: Gemm>(pass: &Pass<T>) -> Option<Form> {
    let [d, h, w] = pass.axes;
    let alike = h.taps == w.taps && h.stride == w.stride && h.step == 1 && w.step == 1;
    let stride = h.stride;
    let whole = stride <= 2 && h.taps.is_multiple_of(stride);
    let taps = h.taps / stride;
    let form = Form { points: 4, taps, stride };
    (d.taps > 0 && alike && whole && (2..=3).contains(&taps)).then_some(form)
}

/// The tiles of a pass, numbered row by row, depth after depth of all images, and cut in blocks of
/// consecutive ones.
///
/// What is done to a tile is done to [`PIECE`] neighbours at once. Where an image has fewer side by
/// side, those of one place in so many images are neighbours, and the images are read in turn.
#[derive(Debug, PartialEq, Eq)]
struct Tiling {
    form: Form,
    /// Tiles along an image's height and width.
    rows: usize,
    cols: usize,
    /// Images in turn: 1 or [`PIECE`].
    images: usize,
    /// Images in all, in whole turns: some of the last ones may not exist.
    batch: usize,
    /// Tiles of all images, and of a block.
    tiles: usize,
    block: usize,
}

/// Where a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    image: usize,
    depth: usize,
    row: usize,
    col: usize,
}

impl Tiling {
    /// About `target` tiles to a block, in whole panels of `width` and few enough for `parts`.
    fn new<T: Gemm>(pass: &Pass<T>, form: Form, target: usize, width: usize, parts: usize) -> Self {
        let m = form.outputs();
        let (rows, cols) = (pass.axes[1].out.div_ceil(m), pass.axes[2].out.div_ceil(m));
        let turns = pass.batch.next_multiple_of(PIECE);
        let images = if cols < PIECE && 8 * turns <= 9 * pass.batch { PIECE } else { 1 };
        let batch = pass.batch.next_multiple_of(images);
        let tiles = pass.axes[0].out * batch * rows * cols;
        let most = (target / width * width).max(width);
        let blocks = tiles.div_ceil(most).max(parts.min(tiles.div_ceil(2 * width)));
        let mut block = tiles.div_ceil(blocks).next_multiple_of(width);
        // Whole rows of tiles: each is read with some lines above and below it.
        let mut line = cols * images;
        while !line.is_multiple_of(width) {
            line *= 2;
        }
        if images > 1 && line <= 2 * block {
            block = (block / line * line).max(line);
        }
        Self { form, rows, cols, images, batch, tiles, block }
    }

    /// Tiles of the images that are read in turn.
    fn turn(&self) -> usize {
        self.rows * self.cols * self.images
    }

    fn spot(&self, tile: usize) -> Spot {
        let (turn, at) = (tile / self.turn(), tile % self.turn());
        let (place, lane) = (at / self.images, at % self.images);
        let first = turn * self.images;
        Spot {
            image: first % self.batch + lane,
            depth: first / self.batch,
            row: place / self.cols,
            col: place % self.cols,
        }
    }

    fn blocks(&self) -> usize {
        self.tiles.div_ceil(self.block)
    }

    /// The tiles of a block.
    fn range(&self, index: usize) -> Range<usize> {
        index * self.block..((index + 1) * self.block).min(self.tiles)
    }

    /// Rows of tiles that a block touches in an image at most.
    fn band(&self) -> usize {
        let line = self.cols * self.images;
        let whole = self.images > 1 && self.block.is_multiple_of(line);
        self.rows.min(self.block.div_ceil(line) + usize::from(!whole))
    }
}

/// Values from a point to the next: an odd number of cache lines, so that what is written side by
/// side for all points does not fall on the same few places of the cache.
fn point_stride(values: usize) -> usize {
    (values.div_ceil(16) | 1) * 16
}

/// A padded copy of some rows of a channel, so laid out that what adjacent tiles read is adjacent:
/// of one image, each row split in the residues of the step between tiles; of several, the values of
/// one place side by side.
struct Slab {
    lengths: [usize; 2],
    pad: [isize; 2],
    step: usize,
    /// Images whose values lie side by side.
    images: usize,
    /// Places of a residue of a row.
    run: usize,
    /// Values of a row.
    line: usize,
    /// Rows in all.
    height: usize,
}

impl Slab {
    fn new(reading: &Reading, tiling: &Tiling) -> Self {
        let Reading { lengths, pad, step, reach, .. } = *reading;
        let run = tiling.cols + (reach - 1) / step;
        let height = (tiling.band() - 1) * step + reach;
        let images = tiling.images;
        Self { lengths, pad, step, images, run, line: run * step * images, height }
    }

    /// Values of a channel.
    fn plane(&self) -> usize {
        self.height * self.line
    }

    /// Where the first value of a tile is.
    fn tile(&self, row: usize, col: usize) -> usize {
        let col = if self.images == 1 { col } else { col * self.step * self.images };
        row * self.step * self.line + col
    }

    /// Distance of a value that a tile reads from the tile's first.
    fn tap(&self, row: usize, col: usize) -> usize {
        let col = match self.images {
            1 => col % self.step * self.run + col / self.step,
            images => col * images,
        };
        row * self.line + col
    }

    /// Copies a channel of `count` images that are `stride` values apart, from the given row of
    /// tiles on. The values of images that are not there are 0.
    fn turn<T: Gemm>(&self, src: &[T], stride: usize, count: usize, row: usize, dst: &mut [T]) {
        let ([height, width], images) = (self.lengths, self.images);
        assert!(src.len() >= (count - 1) * stride + height * width);
        // The row from value `from` on lies at place `to`.
        let from = (-self.pad[1]).max(0) as usize;
        let to = self.pad[1].max(0) as usize;
        let places = self.line / images;
        let inside = width.saturating_sub(from).min(places.saturating_sub(to));
        for (y, line) in dst.chunks_exact_mut(self.line).enumerate().take(self.height) {
            let y = (row * self.step + y) as isize - self.pad[0];
            if !(0..height as isize).contains(&y) || inside == 0 {
                line.fill(T::ZERO);
                continue;
            }
            let (before, rest) = line.split_at_mut(to * images);
            let (middle, after) = rest.split_at_mut(inside * images);
            before.fill(T::ZERO);
            after.fill(T::ZERO);
            let src = &src[y as usize * width + from..];
            pack(simd::isa(), images, middle, src, stride, 1, count, inside);
        }
    }

    /// Copies a channel of one image from the given row of tiles on.
    #[inline(always)]
    fn fill<T: Gemm>(&self, src: &[T], row: usize, dst: &mut [T]) {
        match self.step {
            2 => self.split::<T, 2>(src, row, dst),
            3 => self.split::<T, 3>(src, row, dst),
            4 => self.split::<T, 4>(src, row, dst),
            5 => self.split::<T, 5>(src, row, dst),
            6 => self.split::<T, 6>(src, row, dst),
            8 => self.split::<T, 8>(src, row, dst),
            10 => self.split::<T, 10>(src, row, dst),
            _ => unreachable!("no form has this step"),
        }
    }

    #[inline(always)]
    fn split<T: Gemm, const STEP: usize>(&self, src: &[T], row: usize, dst: &mut [T]) {
        let [height, width] = self.lengths;
        // Whole chunks of the line that lie inside the source; the rest is read value by value.
        let pad = self.pad[1];
        let first = (pad.max(0) as usize).div_ceil(STEP).min(self.run);
        let inside = (width as isize + pad).max(0) as usize / STEP;
        let end = inside.clamp(first, self.run);
        for (y, line) in dst.chunks_exact_mut(self.line).enumerate().take(self.height) {
            let y = (row * STEP + y) as isize - self.pad[0];
            if !(0..height as isize).contains(&y) {
                line.fill(T::ZERO);
                continue;
            }
            let src = &src[y as usize * width..][..width];
            for t in (0..first).chain(end..self.run) {
                for q in 0..STEP {
                    let x = (t * STEP + q) as isize - pad;
                    let inside = (0..width as isize).contains(&x);
                    line[q * self.run + t] = if inside { src[x as usize] } else { T::ZERO };
                }
            }
            if first < end {
                let from = &src[((first * STEP) as isize - pad) as usize..][..(end - first) * STEP];
                let (chunks, _) = from.as_chunks::<STEP>();
                for q in 0..STEP {
                    let to = &mut line[q * self.run + first..][..end - first];
                    for (to, chunk) in to.iter_mut().zip(chunks) {
                        *to = chunk[q];
                    }
                }
            }
        }
    }
}

/// Where the tiles that are transformed together are in the slab.
enum Piece {
    /// Side by side from here on.
    Whole(usize),
    /// Each on its own; those past the last are none.
    Parts([Option<usize>; PIECE]),
}

/// Transforms channels of a source, tile by tile, for one block.
struct Loader<'a, T> {
    slab: Slab,
    /// For each turn of the block, its first image, depth, and the first row of tiles it needs.
    turns: Vec<Spot>,
    batch: usize,
    pieces: Vec<Piece>,
    /// For each parity, where the values of a tile are.
    offsets: Vec<[[usize; MOST]; MOST]>,
    src: &'a [T],
}

/// How a loader reads: `step` from a tile to the next, `reach` values of each for a tile.
struct Reading {
    lengths: [usize; 2],
    pad: [isize; 2],
    step: usize,
    reach: usize,
    stride: usize,
}

impl<'a, T: Gemm> Loader<'a, T> {
    /// For the source of a pass.
    fn source(pass: &Pass<'a, T>, tiling: &Tiling, tiles: Range<usize>) -> Self {
        let ([_, h, w], form) = (pass.axes, tiling.form);
        let (points, stride) = (form.points, form.stride);
        let reading = Reading {
            lengths: [h.src, w.src],
            pad: [h.pad, w.pad],
            step: form.outputs() * stride,
            reach: points * stride,
            stride,
        };
        Self::new(reading, tiling, tiles, pass.src, pass.batch)
    }

    /// For the gradient of the output of a pass.
    fn gradient(pass: &Pass<'a, T>, dy: &'a [T], tiling: &Tiling, tiles: Range<usize>) -> Self {
        let ([_, h, w], m) = (pass.axes, tiling.form.outputs());
        let lengths = [h.out, w.out];
        let reading = Reading { lengths, pad: [0; 2], step: m, reach: m, stride: 1 };
        Self::new(reading, tiling, tiles, dy, pass.batch)
    }

    fn new(
        reading: Reading,
        tiling: &Tiling,
        tiles: Range<usize>,
        src: &'a [T],
        batch: usize,
    ) -> Self {
        let slab = Slab::new(&reading, tiling);
        let Reading { reach, stride, .. } = reading;
        let first = tiles.start / tiling.turn();
        let turns: Vec<_> = (first..tiles.end.div_ceil(tiling.turn()))
            .map(|turn| tiling.spot(tiles.start.max(turn * tiling.turn())))
            .map(|spot| Spot { image: spot.image / tiling.images * tiling.images, ..spot })
            .collect();
        let place = |tile: usize| {
            let (spot, turn) = (tiling.spot(tile), tile / tiling.turn() - first);
            let lane = spot.image % tiling.images;
            turn * slab.plane() + slab.tile(spot.row - turns[turn].row, spot.col) + lane
        };
        let pieces = tiles.clone().step_by(PIECE).map(|tile| {
            let parts: [Option<usize>; PIECE] =
                std::array::from_fn(|lane| (tile + lane < tiles.end).then(|| place(tile + lane)));
            match parts[0] {
                Some(p) if (1..PIECE).all(|lane| parts[lane] == Some(p + lane)) => Piece::Whole(p),
                _ => Piece::Parts(parts),
            }
        });
        let pieces = pieces.collect();
        let offsets = (0..stride * stride).map(|parity| {
            let tap = |i: usize, j: usize| {
                let (row, col) = (i * stride + parity / stride, j * stride + parity % stride);
                let inside = row < reach && col < reach;
                if inside { slab.tap(row, col) } else { 0 }
            };
            std::array::from_fn(|i| std::array::from_fn(|j| tap(i, j)))
        });
        let offsets = offsets.collect();
        Self { slab, turns, batch, pieces, offsets, src }
    }

    /// Values of scratch that a task needs.
    fn scratch(&self) -> usize {
        self.turns.len() * self.slab.plane() + PIECE
    }

    /// Transforms one plane behind each plane of tiles: `plane(n, d)` is the number in the source of
    /// that for depth d of image n, none if it is padding. The parities of the plane become the
    /// channels from `first` on.
    ///
    /// # Safety
    /// The places of these channels in `panels` are writable, and nobody else's.
    #[inline(always)]
    unsafe fn plane<A: Arch, F: Transform<T>>(
        &self,
        plane: impl Fn(usize, usize) -> Option<usize>,
        slab: &mut [T],
        room: &mut Room<T>,
        first: usize,
        panels: &Panels<T>,
    ) {
        let (of_turn, [height, width]) = (self.slab.plane(), self.slab.lengths);
        assert!(slab.len() >= self.turns.len() * of_turn + PIECE);
        for (turn, to) in self.turns.iter().zip(slab.chunks_exact_mut(of_turn)) {
            let Some(plane) = plane(turn.image, turn.depth) else {
                to.fill(T::ZERO);
                continue;
            };
            let src = &self.src[plane * height * width..];
            if self.slab.images == 1 {
                self.slab.fill(&src[..height * width], turn.row, to);
            } else {
                let of_image = self.src.len() / self.batch;
                let count = self.slab.images.min(self.batch - turn.image);
                self.slab.turn(src, of_image, count, turn.row, to);
            }
        }
        for (parity, offsets) in self.offsets.iter().enumerate() {
            for (p, piece) in self.pieces.iter().enumerate() {
                let part = |place: usize| {
                    let mut lanes = Lanes::ZERO;
                    lanes.0.copy_from_slice(&slab[place..place + PIECE]);
                    lanes
                };
                for (line, offsets) in room.from.iter_mut().zip(offsets).take(F::FROM) {
                    for (lanes, offset) in line.iter_mut().zip(offsets).take(F::FROM) {
                        *lanes = match piece {
                            Piece::Whole(place) => part(place + offset),
                            Piece::Parts(places) => Lanes(places.map(|place| match place {
                                Some(place) => slab[place + offset],
                                None => T::ZERO,
                            })),
                        };
                    }
                }
                square::<A, T, F>(room);
                let (panel, lane) = (p * PIECE / panels.width, p * PIECE % panels.width);
                let row = panel * panels.channels + first + parity;
                let to = panels.to.wrapping_add(row * panels.width + lane);
                for (i, line) in room.to.iter().enumerate().take(F::TO) {
                    for (j, values) in line.iter().enumerate().take(F::TO) {
                        // SAFETY: the caller's promise.
                        unsafe {
                            let to = to.add((i * F::TO + j) * panels.stride);
                            to.cast::<[T; PIECE]>().write(values.0);
                        }
                    }
                }
            }
        }
    }
}

/// Where transformed values go: point, panel of `width` tiles, channel, tile.
#[derive(Clone, Copy)]
struct Panels<T> {
    to: *mut T,
    width: usize,
    channels: usize,
    /// From a point to the next.
    stride: usize,
}

// SAFETY: tasks write disjoint channels.
unsafe impl<T: Send> Sync for Panels<T> {}

/// Tiles of a panel: whole pieces.
fn panel_width<T: Gemm>(kernel: &Kernel<T>) -> usize {
    kernel.nr.next_multiple_of(PIECE)
}
