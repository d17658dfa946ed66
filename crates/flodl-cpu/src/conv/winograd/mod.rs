//! Winograd's convolution: tiles of outputs from a quarter of the multiplications.
//!
//! For 3×3 and 2×2 kernels of stride 1, and for kernels of 3×3 to 6×6 and stride 2, which are such
//! kernels of stride 1 over the four parities of the image, taken as channels; if their size is odd,
//! the odd parities lack the last tap, which is 0, and so are their weights at infinity, where they are
//! left out. A dilated kernel is a plain one over each residue of the image's places modulo the
//! dilation. In three dimensions the taps along the depth are channels too, and each depth of the
//! output is an image. Tiles of the source and the weights are transformed ([`transform`]), multiplied
//! point by point, which is a matrix product for each point ([`forward`], [`weight`]), and transformed
//! back.
//!
//! The sums are exact to about 2e-6 of the largest output (0.3e-6 for a direct sum); an infinity
//! or NaN in the source reaches the whole tile. [`set_winograd`] turns all of it off.

mod forward;
mod lanes;
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
use lanes::{Lanes, PAIR, PIECE, Run};
use transform::{MOST, Square, Transform};

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
    /// Whether the last tap of odd parities is none of the kernel's.
    pub odd: bool,
    /// From a tap to the next: places of one residue modulo this are an image of their own.
    pub dilation: usize,
}

impl Form {
    /// Outputs of a tile along an axis.
    fn outputs(&self) -> usize {
        self.points + 1 - self.taps
    }

    /// Images that a plane falls into.
    fn residues(&self) -> usize {
        self.dilation * self.dilation
    }

    /// Rows and columns of tiles of such an image; some of the last may have no output.
    fn tiles<T: Gemm>(&self, pass: &Pass<T>) -> [usize; 2] {
        [1, 2].map(|axis| pass.axes[axis].out.div_ceil(self.dilation).div_ceil(self.outputs()))
    }

    fn parities(&self) -> usize {
        self.stride * self.stride
    }

    /// Channels of the source: for each parity all planes.
    fn channels<T: Gemm>(&self, pass: &Pass<T>) -> usize {
        planes(pass) * self.parities()
    }

    /// Parities up to the last whose weights are not 0 at a point.
    fn parities_at(&self, point: usize) -> usize {
        let infinity = [point / self.points, point % self.points].map(|p| p == self.points - 1);
        match infinity {
            _ if !self.odd => self.parities(),
            [true, true] => 1,
            [true, false] => 2,
            [false, true] => 3,
            [false, false] => 4,
        }
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
/// What a value of the source costs that is put beside those of its parity by itself.
const SPLIT: usize = 45;

/// The form in which a pass is cheaper than direct, if there is one. `gradient` asks for the
/// gradient by weight of this pass.
pub(super) fn suits<T: Gemm>(pass: &Pass<T>, gradient: bool) -> Option<Form> {
    let form = form(pass)?;
    let wanted = size_of::<T>() == 4 && winograd();
    let wide = form.channels(pass).min(pass.dst_ch) >= FEW;
    (wanted && wide).then_some(())?;
    let direct = pass.taps() * pass.pixels() * pass.src_ch * pass.dst_ch;
    // Every second value of a row takes longer to pack.
    let direct = if form.stride == 2 { direct + direct / 4 } else { direct };
    let cost = |form: &Form| {
        let [rows, cols] = form.tiles(pass);
        let tiles = pass.axes[0].out * form.residues() * rows * cols;
        let squares = form.points * form.points;
        let (from, to) = (form.channels(pass), pass.dst_ch);
        let parities: usize = (0..squares).map(|point| form.parities_at(point)).sum();
        let products = parities * planes(pass) * to;
        // The gradient by weight packs both operands.
        let transforms = (from + to) * if gradient { TRANSFORM + 16 } else { TRANSFORM };
        let weights = from * to * WEIGHT / pass.batch.max(1);
        let by_value = form.stride == 2 && images(pass.batch, cols) == 1;
        let step = form.outputs() * form.stride;
        let split = if by_value { step * step * planes(pass) * SPLIT } else { 0 };
        (tiles, tiles * (products + squares * transforms + split) + squares * weights)
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
    let alike = h.taps == w.taps && h.stride == w.stride && h.step == w.step;
    let (stride, dilation) = (h.stride, h.step);
    let strided = stride == 1 || stride == 2 && dilation == 1;
    let taps = h.taps.div_ceil(stride);
    let form = Form { points: 4, taps, stride, odd: taps * stride > h.taps, dilation };
    (d.taps > 0 && alike && strided && (2..=3).contains(&taps)).then_some(form)
}

/// Images in turn where so many tiles are side by side: 1 or [`PIECE`].
fn images(batch: usize, cols: usize) -> usize {
    let turns = batch.next_multiple_of(PIECE);
    if cols < PIECE && 8 * turns <= 9 * batch { PIECE } else { 1 }
}

/// The tiles of a pass, numbered row by row, residue after residue of an image, depth after depth of
/// all images, and cut in blocks of consecutive ones.
///
/// What is done to a tile is done to [`PIECE`] neighbours at once. Where an image has fewer side by
/// side, those of one place in so many images are neighbours, and the images are read in turn.
#[derive(Debug, PartialEq, Eq)]
struct Tiling {
    form: Form,
    /// Tiles along the height and width of an image, or of a residue of it.
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
    /// The first place, along height and width, of the image's places that the tile's are of.
    residue: [usize; 2],
    row: usize,
    col: usize,
}

impl Tiling {
    /// About `target` tiles to a block, in whole panels of `width` and few enough for `parts`.
    fn new<T: Gemm>(pass: &Pass<T>, form: Form, target: usize, width: usize, parts: usize) -> Self {
        let [rows, cols] = form.tiles(pass);
        let images = images(pass.batch, cols);
        let batch = pass.batch.next_multiple_of(images);
        let tiles = pass.axes[0].out * batch * form.residues() * rows * cols;
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
        let (residues, dilation) = (self.form.residues(), self.form.dilation);
        let (first, residue) = (turn / residues * self.images, turn % residues);
        Spot {
            image: first % self.batch + lane,
            depth: first / self.batch,
            residue: [residue / dilation, residue % dilation],
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
    /// Values of a channel of the source, all depths.
    channel: usize,
    pad: [isize; 2],
    step: usize,
    dilation: usize,
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
        let Reading { depths, lengths, pad, step, reach, .. } = *reading;
        let dilation = tiling.form.dilation;
        let images = tiling.images;
        let run = tiling.cols + (reach - 1) / step;
        // Whole pieces of one image, so that they can be written as such.
        let run = if images == 1 { run.next_multiple_of(PIECE) } else { run };
        let height = (tiling.band() - 1) * step + reach;
        let (line, channel) = (run * step * images, depths * lengths[0] * lengths[1]);
        Self { lengths, channel, pad, step, dilation, images, run, line, height }
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

    /// The row of the source that is row `y` of a slab that starts at a spot, if it is not padding.
    #[inline(always)]
    fn row(&self, spot: &Spot, y: usize) -> Option<usize> {
        let padded = (spot.row * self.step + y) * self.dilation + spot.residue[0];
        padded.checked_add_signed(-self.pad[0]).filter(|&y| y < self.lengths[0])
    }

    /// The first place of a residue's padded row that is in the source, where it is there, and how many
    /// places there are from it on.
    #[inline(always)]
    fn inside(&self, residue: usize) -> (usize, usize, usize) {
        let before = self.pad[1] - residue as isize;
        let to = (before.max(0) as usize).div_ceil(self.dilation);
        let from = ((to * self.dilation) as isize - before) as usize;
        (to, from, self.lengths[1].saturating_sub(from).div_ceil(self.dilation))
    }

    /// Copies a channel of `count` images that are `stride` values apart, from a spot on. The values
    /// of images that are not there are 0.
    fn turn<T: Gemm>(&self, src: &[T], stride: usize, count: usize, spot: &Spot, dst: &mut [T]) {
        let ([height, width], images) = (self.lengths, self.images);
        assert!(src.len() >= (count - 1) * stride + height * width);
        let (to, from, inside) = self.inside(spot.residue[1]);
        let inside = inside.min((self.line / images).saturating_sub(to));
        for (y, line) in dst.chunks_exact_mut(self.line).enumerate().take(self.height) {
            let Some(y) = self.row(spot, y).filter(|_| inside > 0) else {
                line.fill(T::ZERO);
                continue;
            };
            let (before, rest) = line.split_at_mut(to * images);
            let (middle, after) = rest.split_at_mut(inside * images);
            before.fill(T::ZERO);
            after.fill(T::ZERO);
            let src = &src[y * width + from..];
            pack(simd::isa(), images, middle, src, stride, self.dilation, count, inside);
        }
    }

    /// Copies a channel of one image from a spot on.
    #[inline(always)]
    fn fill<A: Arch, T: Gemm, const W: usize>(&self, src: &[T], spot: &Spot, dst: &mut [T]) {
        match self.step {
            2 => self.split::<A, T, W, 2>(src, spot, dst),
            3 => self.split::<A, T, W, 3>(src, spot, dst),
            4 => self.split::<A, T, W, 4>(src, spot, dst),
            5 => self.split::<A, T, W, 5>(src, spot, dst),
            6 => self.split::<A, T, W, 6>(src, spot, dst),
            8 => self.split::<A, T, W, 8>(src, spot, dst),
            10 => self.split::<A, T, W, 10>(src, spot, dst),
            _ => unreachable!("no form has this step"),
        }
    }

    #[inline(always)]
    fn split<A: Arch, T: Gemm, const W: usize, const STEP: usize>(
        &self,
        src: &[T],
        spot: &Spot,
        dst: &mut [T],
    ) {
        let (width, dilation) = (self.lengths[1], self.dilation);
        // Whole chunks of the line that lie inside the source; the rest is read value by value.
        let (to, from, inside) = self.inside(spot.residue[1]);
        let first = to.div_ceil(STEP).min(self.run);
        let end = ((to + inside) / STEP).clamp(first, self.run);
        for (y, line) in dst.chunks_exact_mut(self.line).enumerate().take(self.height) {
            let Some(y) = self.row(spot, y) else {
                line.fill(T::ZERO);
                continue;
            };
            let src = &src[y * width..][..width];
            // The same row of the next channel, which comes next: no hardware looks so far ahead. Of
            // several images in turn, the rows are too short for it to help.
            simd::prefetch(src.as_ptr().wrapping_add(self.channel), width);
            if STEP == 4
                && dilation == 1
                && Lanes::<A, T, W>::split4(&src[from.min(width)..], to, line, self.run)
            {
                continue;
            }
            for t in (0..first).chain(end..self.run) {
                for q in 0..STEP {
                    let at = (t * STEP + q).checked_sub(to).filter(|&at| at < inside);
                    line[q * self.run + t] = at.map_or(T::ZERO, |at| src[from + at * dilation]);
                }
            }
            if first == end {
                continue;
            }
            let from = &src[from + (first * STEP - to) * dilation..];
            if dilation == 1 {
                let (chunks, _) = from.as_chunks::<STEP>();
                for q in 0..STEP {
                    let to = &mut line[q * self.run + first..][..end - first];
                    for (to, chunk) in to.iter_mut().zip(chunks) {
                        *to = chunk[q];
                    }
                }
            } else {
                for q in 0..STEP {
                    let to = &mut line[q * self.run + first..][..end - first];
                    let from = from[q * dilation..].iter().step_by(STEP * dilation);
                    for (to, value) in to.iter_mut().zip(from) {
                        *to = *value;
                    }
                }
            }
        }
    }
}

/// Where neighbouring tiles are in the slab: one run for a whole piece side by side.
type Piece = Vec<Run>;

/// The runs of tiles at these places, of a piece at most.
fn piece(places: &[usize]) -> Piece {
    let follows = |lane: usize| places[lane] == places[lane - 1] + 1;
    let starts: Vec<_> = (0..places.len()).filter(|&i| i == 0 || !follows(i)).collect();
    let ends = starts.iter().skip(1).copied().chain([places.len()]);
    let run = |(&start, end)| Run::new(start..end, places[start]);
    starts.iter().zip(ends).map(run).collect()
}

/// Transforms channels of a source, tile by tile, for one block.
struct Loader<'a, T> {
    slab: Slab,
    /// For each turn of the block, its first image, depth, residue, and the first row of tiles.
    turns: Vec<Spot>,
    batch: usize,
    /// Whole pairs: those past the last tile have none.
    pieces: Vec<Piece>,
    /// For each parity, where the values of a tile are, and the largest of all.
    offsets: Vec<[[usize; MOST]; MOST]>,
    farthest: usize,
    src: &'a [T],
}

/// How a loader reads: `step` from a tile to the next, `reach` values of each for a tile.
struct Reading {
    depths: usize,
    lengths: [usize; 2],
    pad: [isize; 2],
    step: usize,
    reach: usize,
    stride: usize,
}

impl<'a, T: Gemm> Loader<'a, T> {
    /// For the source of a pass.
    fn source(pass: &Pass<'a, T>, tiling: &Tiling, tiles: Range<usize>) -> Self {
        let ([d, h, w], form) = (pass.axes, tiling.form);
        let (points, stride) = (form.points, form.stride);
        let reading = Reading {
            depths: d.src,
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
        let ([d, h, w], m) = (pass.axes, tiling.form.outputs());
        let (depths, lengths) = (d.out, [h.out, w.out]);
        let reading = Reading { depths, lengths, pad: [0; 2], step: m, reach: m, stride: 1 };
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
        let all = tiles.start..tiles.start + tiles.len().next_multiple_of(PAIR);
        let pieces = all.step_by(PIECE).map(|tile| {
            let places: Vec<_> = (tile..tiles.end.min(tile + PIECE)).map(place).collect();
            piece(&places)
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
        let offsets: Vec<[[usize; MOST]; MOST]> = offsets.collect();
        let farthest = offsets.as_flattened().as_flattened().iter().fold(0, |m, &at| m.max(at));
        Self { slab, turns, batch, pieces, offsets, farthest, src }
    }

    /// Values of scratch that a task needs.
    fn scratch(&self) -> usize {
        self.turns.len() * self.slab.plane() + PIECE
    }

    /// Transforms one plane behind each plane of tiles: `plane(n, d)` is the number in the source of
    /// that for depth d of image n, none if it is padding. `first` is the channel that the first parity
    /// of the plane becomes.
    ///
    /// # Safety
    /// The places of these channels in `panels` are writable, and nobody else's; panels are whole pairs
    /// of pieces.
    #[inline(always)]
    unsafe fn plane<A: Arch, F: Transform<T>, const W: usize>(
        &self,
        plane: impl Fn(usize, usize) -> Option<usize>,
        slab: &mut [T],
        square: &mut Square<A, T, W>,
        first: usize,
        panels: &Panels<T>,
    ) {
        let (of_turn, [height, width], panels) = (self.slab.plane(), self.slab.lengths, *panels);
        assert!(slab.len() >= self.turns.len() * of_turn + PIECE);
        for (turn, to) in self.turns.iter().zip(slab.chunks_exact_mut(of_turn)) {
            let Some(plane) = plane(turn.image, turn.depth) else {
                to.fill(T::ZERO);
                continue;
            };
            let src = &self.src[plane * height * width..];
            if self.slab.images == 1 {
                self.slab.fill::<A, T, W>(&src[..height * width], turn, to);
            } else {
                let of_image = self.src.len() / self.batch;
                let count = self.slab.images.min(self.batch - turn.image);
                self.slab.turn(src, of_image, count, turn, to);
            }
        }
        for run in self.pieces.iter().flatten() {
            let end = run.place.checked_add(PIECE + self.farthest);
            assert!(end.is_some_and(|end| end <= slab.len()));
        }
        for (parity, offsets) in self.offsets.iter().enumerate() {
            for (p, pieces) in self.pieces.chunks_exact(W / PIECE).enumerate() {
                let (mut runs, mut count) = ([Run::NONE; PAIR], 0);
                for (i, piece) in pieces.iter().enumerate() {
                    for run in piece {
                        runs[count] = run.after(i * PIECE);
                        count += 1;
                    }
                }
                let runs = &runs[..count];
                let whole = pieces.iter().all(|piece| piece.len() == 1 && piece[0].is_piece());
                let places =
                    [0, pieces.len() - 1].map(|i| pieces[i].first().map_or(0, |r| r.place));
                for j in 0..F::FROM {
                    let mut column = [Lanes::ZERO; MOST];
                    for (lanes, at) in column.iter_mut().zip(offsets).take(F::FROM) {
                        let from = slab.as_ptr().wrapping_add(at[j]);
                        // SAFETY: places of the slab, as checked above.
                        *lanes = unsafe {
                            if whole {
                                Lanes::read_pieces([
                                    from.wrapping_add(places[0]),
                                    from.wrapping_add(places[1]),
                                ])
                            } else {
                                Lanes::read_runs(runs, from)
                            }
                        };
                    }
                    square.put::<F>(j, &column);
                }
                let (panel, lane) = (p * W / panels.width, p * W % panels.width);
                let row = panel * panels.channels + first + parity * panels.planes;
                let mut to = panels.to.wrapping_add(row * panels.width + lane);
                for i in 0..F::TO {
                    for lanes in square.row::<F>(i).iter().take(F::TO) {
                        // SAFETY: the caller's promise.
                        unsafe { lanes.write(to) };
                        to = to.wrapping_add(panels.stride);
                    }
                }
            }
        }
    }
}

/// Where transformed values go: point, panel of `width` tiles, whole pairs of pieces, channel, tile.
#[derive(Clone, Copy)]
struct Panels<T> {
    to: *mut T,
    width: usize,
    channels: usize,
    /// Channels from a parity to the next.
    planes: usize,
    /// From a point to the next.
    stride: usize,
}

// SAFETY: tasks write disjoint channels.
unsafe impl<T: Send> Sync for Panels<T> {}

/// Tiles of a panel: whole pairs of pieces.
fn panel_width<T: Gemm>(kernel: &Kernel<T>) -> usize {
    kernel.nr.next_multiple_of(PAIR)
}
