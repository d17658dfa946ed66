//! Convolution of ranks 1 to 3, forward and both gradients, with stride, padding, dilation and
//! groups. Transposed convolution is the gradient by data.
//!
//! Work is cut into blocks of output positions whose patches fit the second-level cache: a block's
//! patches are gathered (`patches`), multiplied with the weights where they lie, and the product
//! goes straight to its place in the output. No buffer ever holds the patches of a whole image
//! batch. The cut depends on sizes alone, and so do the sums.

mod depthwise;
mod fold;
mod patches;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

pub use fold::{FoldGeom, fold, unfold};

use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Float;
use crate::gemm::{Epilogue, Gemm, Mat, gemm, gemm_into};
use crate::threads::{SharedMut, parallel_for, parallel_rows};
use patches::Patches;

/// Bytes that the patches of a block may take: most of a second-level cache (bench:
/// `conv_bench`).
const BLOCK_BYTES: usize = 768 << 10;
/// Fewest output positions in a block, so that a product is worth its call.
const MIN_BLOCK: usize = 64;
/// Most output positions in a block.
const MAX_BLOCK: usize = 1024;
/// Multiplications below which a call stays on one thread.
const SMALL: usize = 1 << 18;

/// Sizes of a convolution; lower ranks have leading dims of 1 (and padding 0 there).
///
/// The input is `[batch, c_in, input…]`, the weight `[c_out, c_in / groups, kernel…]`, the output
/// `[batch, c_out, output…]`, all contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeom {
    /// Images.
    pub batch: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Input sizes.
    pub input: [usize; 3],
    /// Output sizes.
    pub output: [usize; 3],
    /// Kernel sizes.
    pub kernel: [usize; 3],
    /// Distance of neighbouring windows.
    pub stride: [usize; 3],
    /// Zeros around the input.
    pub padding: [usize; 3],
    /// Distance of neighbouring elements of a window.
    pub dilation: [usize; 3],
}

/// Product of three sizes.
fn volume(d: [usize; 3]) -> usize {
    d.iter().product()
}

impl ConvGeom {
    /// Input elements of a channel.
    fn in_plane(&self) -> usize {
        volume(self.input)
    }

    /// Output elements of a channel.
    fn out_plane(&self) -> usize {
        volume(self.output)
    }

    /// Elements of a kernel.
    fn taps(&self) -> usize {
        volume(self.kernel)
    }

    /// Channels of a group: input, output.
    fn group(&self) -> (usize, usize) {
        (self.c_in / self.groups, self.c_out / self.groups)
    }

    /// Multiplications of a pass.
    fn work(&self) -> usize {
        self.batch * self.c_out * self.out_plane() * self.group().0 * self.taps()
    }

    /// Whether a position's patch is the position itself.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == [1; 3] && self.padding == [0; 3]
    }

    fn check<T>(&self, x: &[T], w: &[T], y: &[T]) {
        assert!(self.groups > 0 && self.c_in % self.groups == 0 && self.c_out % self.groups == 0);
        assert_eq!(x.len(), self.batch * self.c_in * self.in_plane(), "length of the input");
        assert_eq!(w.len(), self.c_out * self.group().0 * self.taps(), "length of the weight");
        assert_eq!(y.len(), self.batch * self.c_out * self.out_plane(), "length of the output");
        assert!(self.stride.iter().chain(&self.dilation).all(|&v| v > 0));
    }
}

/// Output size along a dim, `None` if the kernel does not fit the padded input.
pub fn conv_output_size(
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
    let room = input.checked_add(2 * padding)?.checked_sub(reach)?;
    Some(room.checked_div(stride)? + 1)
}

/// Runs `tasks` in parallel and gives the first lack of memory.
fn each_task(
    tasks: usize,
    work: usize,
    f: impl Fn(usize) -> Result<(), OutOfMemory> + Sync,
) -> Result<(), OutOfMemory> {
    if work < SMALL {
        return (0..tasks).try_for_each(f);
    }
    let failed = Mutex::new(None);
    parallel_for(tasks, |i| {
        if let Err(e) = f(i) {
            *failed.lock().unwrap_or_else(|p| p.into_inner()) = Some(e);
        }
    });
    failed.into_inner().unwrap_or_else(|p| p.into_inner()).map_or(Ok(()), Err)
}

/// Output positions of a block, for patches of `rows` elements.
fn block_len<T>(rows: usize) -> usize {
    let fit = BLOCK_BYTES / (rows.max(1) * size_of::<T>());
    (fit / MIN_BLOCK * MIN_BLOCK).clamp(MIN_BLOCK, MAX_BLOCK)
}

/// How the output positions of all images are cut into blocks.
struct Blocks {
    /// Positions of an image.
    plane: usize,
    /// Images in a block; 1 when images are cut.
    images: usize,
    /// Positions in a block of one image.
    len: usize,
    batch: usize,
}

impl Blocks {
    fn new(plane: usize, batch: usize, len: usize) -> Self {
        if plane >= len {
            // Blocks of one size, so that the last is not a sliver.
            let parts = plane.div_ceil(len);
            let len = plane.div_ceil(parts).next_multiple_of(32).min(plane);
            return Blocks { plane, images: 1, len, batch };
        }
        Blocks { plane, images: (len / plane.max(1)).max(1), len: plane, batch }
    }

    fn count(&self) -> usize {
        if self.plane == 0 {
            0
        } else if self.images > 1 {
            self.batch.div_ceil(self.images)
        } else {
            self.batch * self.plane.div_ceil(self.len)
        }
    }

    /// Images and positions of block `i`.
    fn get(&self, i: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        if self.images > 1 {
            let first = i * self.images;
            return (first..(first + self.images).min(self.batch), 0..self.plane);
        }
        let per_image = self.plane.div_ceil(self.len);
        let (n, b) = (i / per_image, i % per_image);
        (n..n + 1, b * self.len..((b + 1) * self.len).min(self.plane))
    }
}

/// y = conv(x, w) + bias, a bias for each output channel.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of a block.
///
/// # Panics
/// If the lengths do not fit the geometry.
pub fn conv_forward<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x, w, y);
    if depthwise::fits(g) {
        depthwise::forward(g, x, w, bias, y);
        return Ok(());
    }
    let ((ci, co), plane, taps) = (g.group(), g.out_plane(), g.taps());
    let rows = ci * taps;
    let blocks = Blocks::new(plane, g.batch, block_len::<T>(rows));
    let out = SharedMut::new(y);
    each_task(blocks.count() * g.groups, g.work(), |task| {
        let (q, (images, positions)) = (task % g.groups, blocks.get(task / g.groups));
        let w = Mat::row_major(&w[q * co * rows..][..co * rows], rows);
        let ep = Epilogue { row_bias: bias.map(|b| &b[q * co..][..co]), ..Epilogue::default() };
        let n = positions.len();
        // Where the first output channel of the group begins. The product writes the block's
        // positions of the group's channels of this image, which no other task does; all of them
        // lie inside `y`, whose length was checked.
        let target = |image: usize| {
            let first = (image * g.c_out + q * co) * plane + positions.start;
            // SAFETY: the first element of the block is one of `y`.
            unsafe { out.as_mut_ptr().add(first) }
        };
        if g.is_pointwise() && images.len() == 1 {
            let x = &x[(images.start * g.c_in + q * ci) * plane + positions.start..];
            let x = Mat { data: x, row_stride: plane, col_stride: 1 };
            // SAFETY: see `target`.
            return unsafe { gemm_into(co, n, rows, w, x, target(images.start), plane, &ep) };
        }
        let patches = Patches::new(g, x, q, images.clone(), positions.clone());
        let columns = patches.columns();
        let mut buffer = Scratch::<T>::new(rows * columns)?;
        patches.gather(&mut buffer, 0..ci);
        let b = Mat::row_major(&buffer, columns);
        if images.len() == 1 {
            // SAFETY: see `target`.
            return unsafe { gemm_into(co, n, rows, w, b, target(images.start), plane, &ep) };
        }
        // Several small images at once: their rows are not neighbours in the output.
        let mut product = Scratch::<T>::new(co * columns)?;
        gemm(co, columns, rows, w, b, &mut product, columns, &ep)?;
        for (i, image) in images.enumerate() {
            for c in 0..co {
                let at = (image * g.c_out + q * co + c) * plane;
                // SAFETY: images and groups of different tasks are different.
                let y = unsafe { out.range(at..at + plane) };
                y.copy_from_slice(&product[c * columns + i * plane..][..plane]);
            }
        }
        Ok(())
    })
}

/// dx from dy and w, with a bias for each input channel (for transposed convolution). Every element
/// of dx is written.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of an image.
///
/// # Panics
/// If the lengths do not fit the geometry.
pub fn conv_backward_data<T: Gemm>(
    g: &ConvGeom,
    dy: &[T],
    w: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(dx, w, dy);
    if depthwise::fits(g) {
        depthwise::backward_data(g, dy, w, bias, dx);
        return Ok(());
    }
    let ((ci, co), taps) = (g.group(), g.taps());
    let rows = ci * taps;
    if let Some(flipped) = flipped(g) {
        // Stride 1: the same convolution with the kernel turned around and channels swapped.
        let mut turned = Scratch::<T>::new(w.len())?;
        for q in 0..g.groups {
            for o in 0..co {
                for c in 0..ci {
                    for t in 0..taps {
                        let to = ((q * ci + c) * co + o) * taps + (taps - 1 - t);
                        turned[to] = w[((q * co + o) * ci + c) * taps + t];
                    }
                }
            }
        }
        return conv_forward(&flipped, dy, &turned, bias, dx);
    }
    let (plane, in_plane) = (g.out_plane(), g.in_plane());
    let out = SharedMut::new(dx);
    each_task(g.batch * g.groups, g.work(), |task| {
        let (n, q) = (task / g.groups, task % g.groups);
        let dy = Mat::row_major(&dy[(n * g.c_out + q * co) * plane..][..co * plane], plane);
        let first = (n * g.c_in + q * ci) * in_plane;
        // SAFETY: images and groups of different tasks are different.
        let dx = unsafe { out.range(first..first + ci * in_plane) };
        for (c, dx) in dx.chunks_mut(in_plane.max(1)).enumerate() {
            dx.fill(bias.map_or(T::ZERO, |b| b[q * ci + c]));
        }
        // Some channels at a time, so that their products stay in the cache.
        let step = (BLOCK_BYTES / (taps * plane.max(1) * size_of::<T>())).clamp(1, ci);
        let mut buffer = Scratch::<T>::new(step * taps * plane)?;
        for c in (0..ci).step_by(step) {
            let channels = c..(c + step).min(ci);
            let part = &mut buffer[..channels.len() * taps * plane];
            let w = &w[q * co * rows + c * taps..];
            let w = Mat { data: w, row_stride: 1, col_stride: rows };
            gemm(channels.len() * taps, plane, co, w, dy, part, plane, &Epilogue::default())?;
            patches::scatter_add(g, part, &mut dx[c * in_plane..channels.end * in_plane]);
        }
        Ok(())
    })
}

/// The convolution that is the gradient by data of a stride-1 convolution.
fn flipped(g: &ConvGeom) -> Option<ConvGeom> {
    if g.stride != [1; 3] {
        return None;
    }
    let mut padding = [0; 3];
    for d in 0..3 {
        padding[d] = (g.dilation[d] * (g.kernel[d] - 1)).checked_sub(g.padding[d])?;
    }
    let (c_in, c_out) = (g.c_out, g.c_in);
    Some(ConvGeom { c_in, c_out, input: g.output, output: g.input, padding, ..*g })
}

/// dw from x and dy.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of a block.
///
/// # Panics
/// If the lengths do not fit the geometry.
pub fn conv_backward_weight<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x, dw, dy);
    if g.batch == 0 || g.out_plane() == 0 {
        dw.fill(T::ZERO);
        return Ok(());
    }
    if depthwise::fits(g) {
        depthwise::backward_weight(g, x, dy, dw);
        return Ok(());
    }
    let ((ci, co), plane, taps) = (g.group(), g.out_plane(), g.taps());
    let rows = ci * taps;
    // A task owns the weights of some input channels and goes over all images, so that nothing is
    // shared and the order of sums is fixed. Columns in a task: enough to pay for reading dy again.
    let step = (288 / taps).clamp(1, ci);
    let parts = ci.div_ceil(step);
    let blocks = Blocks::new(plane, g.batch, block_len::<T>(step * taps));
    let out = SharedMut::new(dw);
    each_task(parts * g.groups, g.work(), |task| {
        let (q, first) = (task / parts, task % parts * step);
        let channels = first..(first + step).min(ci);
        let columns = channels.len() * taps;
        let start = q * co * rows + first * taps;
        // SAFETY: the first of the task's columns lies inside the weight.
        let dw = unsafe { out.as_mut_ptr().add(start) };
        for i in 0..blocks.count() {
            let (images, positions) = blocks.get(i);
            let patches = Patches::new(g, x, q, images.clone(), positions.clone());
            let n = patches.columns();
            let mut buffer = Scratch::<T>::new(columns * n)?;
            patches.gather(&mut buffer, channels.clone());
            let b = Mat::row_major(&buffer, n).t();
            let ep = Epilogue { accumulate: i > 0, ..Epilogue::default() };
            if images.len() == 1 {
                let at = (images.start * g.c_out + q * co) * plane + positions.start;
                let dy = Mat { data: &dy[at..], row_stride: plane, col_stride: 1 };
                // SAFETY: the task's columns of the group's rows are its own and inside the weight.
                unsafe { gemm_into(co, columns, n, dy, b, dw, rows, &ep)? };
                continue;
            }
            let mut side = Scratch::<T>::new(co * n)?;
            for (k, image) in images.enumerate() {
                for c in 0..co {
                    let from = (image * g.c_out + q * co + c) * plane;
                    side[c * n + k * plane..][..plane].copy_from_slice(&dy[from..][..plane]);
                }
            }
            let side = Mat::row_major(&side, n);
            // SAFETY: the task's columns of the group's rows are its own and inside the weight.
            unsafe { gemm_into(co, columns, n, side, b, dw, rows, &ep)? };
        }
        Ok(())
    })
}

/// Sums over everything but the channels: `dy` is `dims` = [N, C, S], `db` has C elements.
///
/// # Panics
/// If the lengths do not fit.
pub fn channel_sums<T: Float>([n, c, s]: [usize; 3], dy: &[T], db: &mut [T]) {
    assert!(dy.len() == n * c * s && db.len() == c, "lengths");
    let out = SharedMut::new(db);
    parallel_rows(c, n * s, |channels| {
        for c_ in channels {
            let mut total = 0.0;
            for i in 0..n {
                let plane = &dy[(i * c + c_) * s..][..s];
                // Lanes, so that the sum vectorises; joined in f64.
                let mut lanes = [T::ZERO; 32];
                let mut chunks = plane.chunks_exact(32);
                for chunk in &mut chunks {
                    for (l, &v) in lanes.iter_mut().zip(chunk) {
                        *l += v;
                    }
                }
                total += lanes.iter().chain(chunks.remainder()).map(|v| v.to_f64()).sum::<f64>();
            }
            // SAFETY: each channel belongs to one task.
            let db = unsafe { out.range(c_..c_ + 1) };
            db[0] = T::from_f64(total);
        }
    });
}
