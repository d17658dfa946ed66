//! Convolutions with few output channels and many input channels: packed patches would be read for
//! two or three sums only. Here every pixel of the source is multiplied with the weights of all
//! taps, where it lies, and outputs gather the products of their taps.

use super::direct::items;
use super::implicit::{PARALLEL, scatter};
use super::plan::{Axis, Pass};
use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Gemm, Mat, gemm};
use crate::simd;
use crate::threads::SharedMut;

/// Most output channels: more fill the rows of the micro-kernel (bench: `conv_bench`).
const CHANNELS: usize = 4;
/// Fewest source channels for which the products cost more than to gather them.
const SOURCES: usize = 16;
/// Fewest pixels of a source image, the columns of the product.
const PIXELS: usize = 64;
/// Most bytes of the products of an image: they should not leave the third-level cache.
const BYTES: usize = 4 << 20;

/// Whether passes over one source are better computed here: each source pixel then meets each tap.
pub(super) fn suits<T: Gemm>(passes: &[Pass<T>]) -> bool {
    let Some(pass) = passes.first() else { return false };
    let taps: usize = passes.iter().map(Pass::taps).sum();
    pass.dst_ch <= CHANNELS
        && pass.src_ch >= SOURCES
        && pass.src_plane() >= PIXELS
        && taps * pass.dst_ch * pass.src_plane() * size_of::<T>() <= BYTES
        && passes.iter().all(|p| p.axes.iter().all(|a| a.stride == 1))
}

/// Computes all passes, which write disjoint parts of `dst`.
pub(super) fn run<T: Gemm>(passes: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    let first = &passes[0];
    let (channels, sources) = (first.dst_ch, first.src_ch);
    let lines = channels * passes.iter().map(Pass::taps).sum::<usize>();
    let work: usize = passes.iter().map(Pass::work).sum();
    // Row (pass, tap, channel) of the matrix holds the weights of that tap.
    let mut matrix = Scratch::<T>::new(first.groups * lines * sources)?;
    let mut rows = matrix.chunks_exact_mut(sources);
    for group in 0..first.groups {
        for pass in passes {
            for tap in 0..pass.taps() {
                let at = group * pass.w_group + pass.kernel_index(tap);
                for m in 0..channels {
                    let Some(row) = rows.next() else { break };
                    for (c, to) in row.iter_mut().enumerate() {
                        *to = pass.w[at + m * pass.w_row + c * pass.w_ch];
                    }
                }
            }
        }
    }
    let (matrix, dst) = (&matrix[..], SharedMut::new(dst));
    items(first.batch * first.groups, work >= PARALLEL, |range| {
        let plane = first.src_plane();
        let mut products = Scratch::<T>::new(lines * plane)?;
        let widest = passes.iter().map(|p| p.axes[2].out).max().unwrap_or(0);
        let mut line = Scratch::<T>::new(widest)?;
        for item in range {
            let group = item % first.groups;
            let a = Mat::row_major(&matrix[group * lines * sources..], sources);
            let b = Mat::row_major(&first.src[item * sources * plane..], plane);
            gemm(lines, plane, sources, a, b, &mut products, plane, &Epilogue::default())?;
            let at = item * channels * first.dst_plane();
            // SAFETY: these channels of this image are this task's.
            let out = unsafe { dst.range(at..at + channels * first.dst_plane()) };
            let gather = Gather { passes, group, products: &products, line: &mut line, out };
            simd::dispatch(gather);
        }
        Ok(())
    })
}

/// The outputs of one image and group.
struct Gather<'a, 'p, T> {
    passes: &'a [Pass<'p, T>],
    group: usize,
    products: &'a [T],
    line: &'a mut [T],
    out: &'a mut [T],
}

/// The source that output `o` reads through tap `t`, if it is one.
#[inline(always)]
fn source(a: &Axis, o: usize, t: usize) -> Option<usize> {
    a.source(o + t * a.step)
}

impl<T: Gemm> simd::Kernel for Gather<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<A: simd::Arch>(self) {
        let mut products = self.products;
        for pass in self.passes {
            let [d_axis, h_axis, w_axis] = &pass.axes;
            let (channels, plane) = (pass.dst_ch, pass.src_plane());
            let line = &mut self.line[..w_axis.out];
            for m in 0..channels {
                let bias = pass.bias.map_or(T::ZERO, |b| b[self.group * channels + m]);
                let out = &mut self.out[m * pass.dst_plane()..][..pass.dst_plane()];
                for row in 0..d_axis.out * h_axis.out {
                    let (d, h) = (row / h_axis.out, row % h_axis.out);
                    line.fill(bias);
                    for tap in 0..d_axis.taps * h_axis.taps {
                        let from = source(d_axis, d, tap / h_axis.taps).zip(source(
                            h_axis,
                            h,
                            tap % h_axis.taps,
                        ));
                        let Some((sd, sh)) = from else { continue };
                        for t in 0..w_axis.taps {
                            let shift = (t * w_axis.step) as isize - w_axis.pad;
                            let first = shift.min(0).unsigned_abs().min(line.len());
                            let end = (w_axis.src as isize - shift)
                                .clamp(first as isize, line.len() as isize)
                                as usize;
                            if first == end {
                                continue;
                            }
                            let at = ((tap * w_axis.taps + t) * channels + m) * plane
                                + (sd * h_axis.src + sh) * w_axis.src;
                            let at = at.wrapping_add_signed(first as isize + shift);
                            let from = &products[at..at + (end - first)];
                            for (to, &v) in line[first..end].iter_mut().zip(from) {
                                *to += v;
                            }
                        }
                    }
                    // SAFETY: outputs of this channel, which `out` holds.
                    unsafe {
                        scatter(pass, [d, h, 0], [1, 1, w_axis.out], line, out.as_mut_ptr());
                    }
                }
            }
            products = &products[pass.taps() * channels * plane..];
        }
    }
}
