//! The gradient by weight: transformed tiles of the gradient times transformed tiles of the
//! source, summed over all of them, and transformed back to taps.

use std::ops::Range;
use std::sync::Mutex;

use super::lanes::{Lanes, PAIR, by_width};
use super::transform::{Gradients, MOST, Source, Square, TapGradients};
use super::{Form, Loader, Panels, Pass, Tiling, planes, point_stride};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Gemm, Mat, gemm};
use crate::simd::{self, Arch};
use crate::threads::{self, SharedMut};

/// Bytes of transformed tiles of a block.
const BLOCK: usize = 12 << 20;
/// Tasks of a transform: a few for each thread.
const TASKS: usize = 16;

/// Writes all of `dw`; `pass` is the forward pass, whose weight is not used.
pub(in super::super) fn run<T: Gemm>(
    pass: &Pass<T>,
    form: Form,
    dy: &[T],
    dw: &mut [T],
) -> Result<(), OutOfMemory> {
    match (form.points, form.taps) {
        (4, 2) => Work::<T, 4, 2>::new(pass, form, dy).run(dw),
        (4, _) => Work::<T, 4, 3>::new(pass, form, dy).run(dw),
        (5, _) => Work::<T, 5, 2>::new(pass, form, dy).run(dw),
        (_, 2) => Work::<T, 6, 2>::new(pass, form, dy).run(dw),
        (_, _) => Work::<T, 6, 3>::new(pass, form, dy).run(dw),
    }
}

struct Work<'a, 'p, T, const P: usize, const R: usize> {
    pass: &'a Pass<'p, T>,
    dy: &'a [T],
    tiling: Tiling,
    squares: usize,
    channels: usize,
}

impl<'a, 'p, T: Gemm, const P: usize, const R: usize> Work<'a, 'p, T, P, R> {
    fn new(pass: &'a Pass<'p, T>, form: Form, dy: &'a [T]) -> Self {
        let squares = form.points * form.points;
        let channels = form.channels(pass);
        let of_tile = squares * (channels + pass.dst_ch) * size_of::<T>();
        let tiling = Tiling::new(pass, form, (BLOCK / of_tile).max(64), PAIR, 1);
        Self { pass, dy, tiling, squares, channels }
    }

    fn run(&self, dw: &mut [T]) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let k = self.channels * pass.dst_ch;
        let stride = point_stride(k);
        // From a point to the next, for as many tiles as a block has.
        let of_points = |tiles: usize| {
            let tiles = tiles.next_multiple_of(PAIR);
            (point_stride(tiles * self.channels), point_stride(tiles * pass.dst_ch))
        };
        let (s, d) = of_points(self.tiling.block);
        let mut space = Scratch::<T>::new(self.squares * (stride + s + d))?;
        let (sums, rest) = space.split_at_mut(self.squares * stride);
        let (sources, gradients) = rest.split_at_mut(self.squares * s);
        let dw = SharedMut::new(dw);
        for group in 0..pass.groups {
            for index in 0..self.tiling.blocks() {
                let range = self.tiling.range(index);
                let tiles = range.len().next_multiple_of(PAIR);
                let (s, d) = of_points(tiles);
                let to = [(&mut *sources, s), (&mut *gradients, d)].map(|(to, stride)| Panels {
                    to: to.as_mut_ptr(),
                    width: tiles,
                    channels: 0,
                    planes: planes(pass),
                    stride,
                });
                self.transform(group, range, to)?;
                let all = SharedMut::new(&mut *sums);
                let failed = Mutex::new(None);
                threads::parallel_for(self.squares, |point| {
                    // SAFETY: the sums of this point are this task's.
                    let sums = unsafe { all.range(point * stride..point * stride + k) };
                    let a = Mat::row_major(&gradients[point * d..], tiles);
                    let b = Mat::row_major(&sources[point * s..], tiles).t();
                    let ep = Epilogue { accumulate: index > 0, ..Epilogue::default() };
                    // What would be the gradient of taps that there are not stays as it is.
                    let n = self.tiling.form.parities_at(point) * planes(pass);
                    let (m, ldc) = (pass.dst_ch, self.channels);
                    if let Err(error) = gemm(m, n, tiles, a, b, sums, ldc, &ep) {
                        *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                    }
                });
                if let Some(error) = failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
                    return Err(error);
                }
            }
            let sums = &*sums;
            threads::parallel_rows(pass.dst_ch, self.squares * self.channels, |rows| {
                simd::dispatch(Back { work: self, group, rows, sums, stride, dw: &dw });
            });
        }
        Ok(())
    }

    /// Transforms the tiles of a block of both operands.
    fn transform(
        &self,
        group: usize,
        tiles: Range<usize>,
        [sources, gradients]: [Panels<T>; 2],
    ) -> Result<(), OutOfMemory> {
        let pass = self.pass;
        let source = Loader::source(pass, &self.tiling, tiles.clone());
        let gradient = Loader::gradient(pass, self.dy, &self.tiling, tiles);
        let failed = Mutex::new(None);
        threads::parallel_for(2 * TASKS, |task| {
            let part = task / 2;
            let share = |all: usize| part * all / TASKS..(part + 1) * all / TASKS;
            let result = if task % 2 == 0 {
                let number = |plane, n, depth| pass.source_plane(group, plane, n, depth);
                let (loader, to, planes) = (&source, &sources, share(planes(pass)));
                simd::dispatch(Tiles::<_, _, P, R, true> { loader, number, planes, to })
            } else {
                let channel = |c, n| (n * pass.groups + group) * pass.dst_ch + c;
                let number = |c, n, depth| Some(channel(c, n) * pass.axes[0].out + depth);
                let (loader, to, planes) = (&gradient, &gradients, share(pass.dst_ch));
                simd::dispatch(Tiles::<_, _, P, R, false> { loader, number, planes, to })
            };
            if let Err(error) = result {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Transforms some planes of the source or of the gradient.
struct Tiles<'a, T, N, const P: usize, const R: usize, const SOURCE: bool> {
    loader: &'a Loader<'a, T>,
    /// The number in the tensor of a plane's image and depth.
    number: N,
    planes: Range<usize>,
    to: &'a Panels<T>,
}

impl<T: Gemm, N, const P: usize, const R: usize, const SOURCE: bool> simd::Kernel
    for Tiles<'_, T, N, P, R, SOURCE>
where
    N: Fn(usize, usize, usize) -> Option<usize>,
{
    type Out = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<A: Arch>(self) -> Self::Out {
        by_width!(A, T, self.transform())
    }
}

impl<T: Gemm, N, const P: usize, const R: usize, const SOURCE: bool> Tiles<'_, T, N, P, R, SOURCE>
where
    N: Fn(usize, usize, usize) -> Option<usize>,
{
    #[inline(always)]
    fn transform<A: Arch, const W: usize>(self) -> Result<(), OutOfMemory> {
        let loader = self.loader;
        let mut slab = Scratch::<T>::new(loader.scratch())?;
        let mut square = Square::<A, T, W>::new();
        for number in self.planes {
            let plane = |n, depth| (self.number)(number, n, depth);
            let (slab, square) = (&mut slab, &mut square);
            // SAFETY: there is room for all tiles and channels; these are this task's.
            unsafe {
                if SOURCE {
                    loader.plane::<A, Source<P>, W>(plane, slab, square, number, self.to);
                } else {
                    loader.plane::<A, Gradients<P, R>, W>(plane, slab, square, number, self.to);
                }
            }
        }
        Ok(())
    }
}

/// Transforms the sums of some rows back to taps.
struct Back<'a, 'b, 'p, T, const P: usize, const R: usize> {
    work: &'a Work<'b, 'p, T, P, R>,
    group: usize,
    rows: Range<usize>,
    sums: &'a [T],
    /// From a point to the next.
    stride: usize,
    dw: &'a SharedMut<'a, T>,
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
        let (channels, stride) = (work.channels, work.tiling.form.stride);
        let (planes, of_row) = (planes(pass), pass.k());
        let mut square = Square::<A, T, W>::new();
        let [_, h, w] = pass.axes;
        for row in self.rows {
            let start = (self.group * pass.dst_ch + row) * of_row;
            // SAFETY: the weights of this row are this task's.
            let to = unsafe { self.dw.range(start..start + of_row) };
            for first in (0..channels).step_by(W) {
                let lanes = W.min(channels - first);
                let at = row * channels + first;
                // The first of the taps for each channel, and where it is; the planes are the taps along
                // the depth, too.
                let mut places = [([0; 2], 0); W];
                for (lane, place) in places.iter_mut().enumerate() {
                    let (plane, parity) = ((first + lane) % planes, (first + lane) / planes);
                    let (p, q) = (parity / stride, parity % stride);
                    *place = ([p, q], (plane * h.taps + p) * w.taps + q);
                }
                for j in 0..P {
                    let mut column = [Lanes::ZERO; MOST];
                    for (i, values) in column.iter_mut().enumerate().take(P) {
                        let sums = &self.sums[(i * P + j) * self.stride + at..];
                        match sums.first_chunk() {
                            Some(sums) => values.0 = *sums,
                            None => values.0[..lanes].copy_from_slice(&sums[..lanes]),
                        }
                    }
                    square.put::<TapGradients<P, R>>(j, &column);
                }
                for i in 0..R {
                    let values = square.row::<TapGradients<P, R>>(i);
                    for (j, values) in values.iter().enumerate().take(R) {
                        let tap = (i * w.taps + j) * stride;
                        for (&value, ([p, q], place)) in values.0.iter().zip(places).take(lanes) {
                            if p + i * stride < h.taps && q + j * stride < w.taps {
                                to[place + tap] = value;
                            }
                        }
                    }
                }
            }
        }
    }
}
