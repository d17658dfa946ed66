//! Convolution in one to three dims: forward and both gradients, and the bias gradient.

pub mod fold;
#[cfg(test)]
mod tests;

pub use fold::{FoldGeom, fold, unfold};

use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Float;
use crate::gemm::{Epilogue, Gemm, Mat, gemm};
use crate::threads;

/// The sizes of a convolution of x `[batch, c_in, input..]` with w `[c_out, c_in / groups,
/// kernel..]` to y `[batch, c_out, output..]`; lower ranks have leading dims of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeom {
    /// Number of images.
    pub batch: usize,
    /// Parts that the channels are cut in; each sees its own input channels only.
    pub groups: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of y.
    pub c_out: usize,
    /// Depth, height and width of x.
    pub input: [usize; 3],
    /// Depth, height and width of y.
    pub output: [usize; 3],
    /// Sizes of the window.
    pub kernel: [usize; 3],
    /// Steps of the window.
    pub stride: [usize; 3],
    /// Zeros before (and, as far as windows reach, after) each dim of x.
    pub padding: [usize; 3],
    /// Distances between the elements of the window.
    pub dilation: [usize; 3],
}

/// Number of window positions along a dim, or `None` if the window does not fit once.
pub fn conv_output_size(
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let span = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let room = input.checked_add(padding.checked_mul(2)?)?.checked_sub(span)?;
    Some(room.checked_div(stride)? + 1)
}

impl ConvGeom {
    /// Elements of one channel of x.
    fn in_size(&self) -> usize {
        self.input.iter().product()
    }

    /// Elements of one channel of y.
    fn out_size(&self) -> usize {
        self.output.iter().product()
    }

    /// Elements of the window.
    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Input channels of a group.
    fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    /// Output channels of a group.
    fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    fn check(&self, x: usize, w: usize, y: usize) {
        let divides =
            self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups);
        assert!(self.groups > 0 && divides, "conv: the groups do not divide the channels");
        assert!(self.stride.iter().all(|&s| s > 0), "conv: a stride is 0");
        assert_eq!(x, self.batch * self.c_in * self.in_size(), "conv: x has another size");
        assert_eq!(w, self.c_out * self.group_in() * self.taps(), "conv: w has another size");
        assert_eq!(y, self.batch * self.c_out * self.out_size(), "conv: y has another size");
    }

    /// Calls `f(row, row of y in its channel, row of x or None)` for each window element and row.
    fn rows(&self, mut f: impl FnMut(usize, [usize; 3], usize, Option<usize>)) {
        let [kd, kh, kw] = self.kernel;
        for tap in 0..kd * kh * kw {
            let k = [tap / (kh * kw), tap / kw % kh, tap % kw];
            for row in 0..self.output[0] * self.output[1] {
                let o = [row / self.output[1], row % self.output[1]];
                let at = |i: usize| {
                    let p = (o[i] * self.stride[i] + k[i] * self.dilation[i])
                        .checked_sub(self.padding[i])?;
                    (p < self.input[i]).then_some(p)
                };
                let source = at(0).zip(at(1)).map(|(d, h)| d * self.input[1] + h);
                f(tap, k, row, source);
            }
        }
    }

    /// The position in a row of x that column `ow` of y sees through window column `kw`.
    fn column(&self, ow: usize, kw: usize) -> Option<usize> {
        let p = (ow * self.stride[2] + kw * self.dilation[2]).checked_sub(self.padding[2])?;
        (p < self.input[2]).then_some(p)
    }

    fn im2col<T: Float>(&self, x: &[T], col: &mut [T]) {
        let (width, size) = (self.output[2], self.out_size());
        for (c, x) in x.chunks_exact(self.in_size().max(1)).enumerate() {
            self.rows(|tap, k, row, source| {
                let at = (c * self.taps() + tap) * size + row * width;
                for (ow, value) in col[at..at + width].iter_mut().enumerate() {
                    let p = source.zip(self.column(ow, k[2]));
                    *value = p.map_or(T::ZERO, |(row, p)| x[row * self.input[2] + p]);
                }
            });
        }
    }

    fn col2im<T: Float>(&self, col: &[T], x: &mut [T]) {
        let (width, size) = (self.output[2], self.out_size());
        for (c, x) in x.chunks_exact_mut(self.in_size().max(1)).enumerate() {
            self.rows(|tap, k, row, source| {
                let at = (c * self.taps() + tap) * size + row * width;
                for (ow, &value) in col[at..at + width].iter().enumerate() {
                    if let Some((row, p)) = source.zip(self.column(ow, k[2])) {
                        x[row * self.input[2] + p] += value;
                    }
                }
            });
        }
    }
}

/// `y = conv(x, w) + bias`, with one value of bias per output channel.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed operands.
///
/// # Panics
/// If a slice does not have the size that the geometry says.
pub fn conv_forward<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x.len(), w.len(), y.len());
    let (ci, co, k, size) = (g.group_in(), g.group_out(), g.group_in() * g.taps(), g.out_size());
    let mut col = Scratch::new(k * size)?;
    for i in 0..g.batch * g.groups {
        let group = i % g.groups;
        g.im2col(&x[i * ci * g.in_size()..][..ci * g.in_size()], &mut col);
        let ep = Epilogue { row_bias: bias.map(|b| &b[group * co..]), ..Epilogue::default() };
        let (a, b) = (Mat::row_major(&w[group * co * k..], k), Mat::row_major(&col, size));
        gemm(co, size, k, a, b, &mut y[i * co * size..], size, &ep)?;
    }
    Ok(())
}

/// The gradient of x from that of y: the transpose of [`conv_forward`] without its bias.
///
/// As the forward of a transposed convolution it adds `bias`, one value per channel of x. Every
/// element of `dx` is written; where no window reaches, it is 0 plus the bias.
///
/// # Errors
/// As [`conv_forward`].
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_data<T: Gemm>(
    g: &ConvGeom,
    dy: &[T],
    w: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(dx.len(), w.len(), dy.len());
    let (ci, co, k, size) = (g.group_in(), g.group_out(), g.group_in() * g.taps(), g.out_size());
    let mut col = Scratch::new(k * size)?;
    for i in 0..g.batch * g.groups {
        let group = i % g.groups;
        let (a, b) =
            (Mat::row_major(&w[group * co * k..], k), Mat::row_major(&dy[i * co * size..], size));
        gemm(k, size, co, a.t(), b, &mut col, size, &Epilogue::default())?;
        let dx = &mut dx[i * ci * g.in_size()..][..ci * g.in_size()];
        for (c, dx) in dx.chunks_exact_mut(g.in_size().max(1)).enumerate() {
            dx.fill(bias.map_or(T::ZERO, |b| b[group * ci + c]));
        }
        g.col2im(&col, dx);
    }
    Ok(())
}

/// The gradient of w from x and the gradient of y, summed over the batch.
///
/// # Errors
/// As [`conv_forward`].
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_weight<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x.len(), dw.len(), dy.len());
    let (ci, co, k, size) = (g.group_in(), g.group_out(), g.group_in() * g.taps(), g.out_size());
    let mut col = Scratch::new(k * size)?;
    dw.fill(T::ZERO);
    for i in 0..g.batch * g.groups {
        let group = i % g.groups;
        g.im2col(&x[i * ci * g.in_size()..][..ci * g.in_size()], &mut col);
        let (a, b) = (Mat::row_major(&dy[i * co * size..], size), Mat::row_major(&col, size));
        let ep = Epilogue { accumulate: true, ..Epilogue::default() };
        gemm(co, k, size, a, b.t(), &mut dw[group * co * k..], k, &ep)?;
    }
    Ok(())
}

/// `db[c] = sum of dy[n, c, s] over n and s` for dy `[N, C, S]`: the gradient of the bias.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for partial sums.
///
/// # Panics
/// If a slice does not have the size that `dims` say.
pub fn channel_sums<T: Float>(
    [n, c, s]: [usize; 3],
    dy: &[T],
    db: &mut [T],
) -> Result<(), OutOfMemory> {
    assert_eq!(dy.len(), n * c * s, "channel_sums: dy has another size");
    assert_eq!(db.len(), c, "channel_sums: db has another size");
    let db = threads::SharedMut::new(db);
    threads::parallel_rows(c, n * s, |channels| {
        for c0 in channels {
            let mut total = T::ZERO;
            for i in 0..n {
                total += sum(&dy[(i * c + c0) * s..][..s]);
            }
            // SAFETY: each channel is one task's.
            let out = unsafe { db.range(c0..c0 + 1) };
            out[0] = total;
        }
    });
    Ok(())
}

crate::simd_fn! {
    /// The sum of a slice, in 32 lanes that are then added pairwise.
    fn sum<A, (T: Float)>(x: &'x [T]) -> T {
        let mut lanes = [T::ZERO; 32];
        let chunks = x.chunks_exact(32);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane += value;
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(rest) {
            *lane += value;
        }
        let mut width = 16;
        while width > 0 {
            for i in 0..width {
                lanes[i] = lanes[i] + lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}
