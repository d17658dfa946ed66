//! Sliding windows as columns of a matrix, and their sum back into an image.

use crate::element::Float;
use crate::threads::{self, SharedMut};

/// The sizes of [`unfold`] and [`fold`]: images `[batch, channels, H, W]`, columns
/// `[batch, channels * kh * kw, L]` with L window positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldGeom {
    /// Number of images.
    pub batch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image.
    pub input: [usize; 2],
    /// Sizes of the window.
    pub kernel: [usize; 2],
    /// Distances between the elements of the window.
    pub dilation: [usize; 2],
    /// Zeros around the image.
    pub padding: [usize; 2],
    /// Steps of the window.
    pub stride: [usize; 2],
}

impl FoldGeom {
    /// Rows and columns of window positions, or `None` if the window does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let size = |i: usize| {
            super::conv_output_size(
                self.input[i],
                self.kernel[i],
                self.stride[i],
                self.padding[i],
                self.dilation[i],
            )
        };
        Some([size(0)?, size(1)?])
    }

    fn check(&self, image: usize, columns: usize) -> [usize; 2] {
        let output = self.output().expect("fold: the window does not fit the image");
        let planes = self.batch * self.channels;
        assert_eq!(image, planes * self.input[0] * self.input[1], "fold: the image's size");
        let taps = self.kernel[0] * self.kernel[1];
        assert_eq!(columns, planes * taps * output[0] * output[1], "fold: the columns' size");
        output
    }

    /// The range of positions along dim `i` whose element `k` lies inside the image, and where the
    /// first of them lies.
    fn inside(&self, i: usize, k: usize, count: usize) -> (std::ops::Range<usize>, usize) {
        let (at, stride) = (k * self.dilation[i], self.stride[i]);
        let first = self.padding[i].saturating_sub(at).div_ceil(stride).min(count);
        let end = (self.input[i] + self.padding[i]).saturating_sub(at).div_ceil(stride).min(count);
        let end = end.max(first);
        (first..end, (first * stride + at).saturating_sub(self.padding[i]))
    }
}

/// Copies each window of x `[N, C, H, W]` to a column of `columns` `[N, C * kh * kw, L]`.
///
/// # Panics
/// If a slice does not have the size that the geometry says, or the window does not fit.
pub fn unfold<T: Float>(g: &FoldGeom, x: &[T], columns: &mut [T]) {
    let [oh, ow] = g.check(x.len(), columns.len());
    let (plane, taps) = (g.input[0] * g.input[1], g.kernel[0] * g.kernel[1]);
    let columns = SharedMut::new(columns);
    threads::parallel_rows(g.batch * g.channels, taps * oh * ow, |planes| {
        for p in planes {
            let x = &x[p * plane..][..plane];
            let size = taps * oh * ow;
            // SAFETY: each plane is one task's.
            let columns = unsafe { columns.range(p * size..(p + 1) * size) };
            for tap in 0..taps {
                let (rows, mut y) = g.inside(0, tap / g.kernel[1], oh);
                let (cols, left) = g.inside(1, tap % g.kernel[1], ow);
                let out = &mut columns[tap * oh * ow..][..oh * ow];
                out[..rows.start * ow].fill(T::ZERO);
                out[rows.end * ow..].fill(T::ZERO);
                for row in rows {
                    let out = &mut out[row * ow..][..ow];
                    out[..cols.start].fill(T::ZERO);
                    out[cols.end..].fill(T::ZERO);
                    let out = &mut out[cols.clone()];
                    if !out.is_empty() {
                        let x = &x[y * g.input[1] + left..];
                        if g.stride[1] == 1 {
                            out.copy_from_slice(&x[..out.len()]);
                        } else {
                            for (out, x) in out.iter_mut().zip(x.iter().step_by(g.stride[1])) {
                                *out = *x;
                            }
                        }
                    }
                    y += g.stride[0];
                }
            }
        }
    });
}

/// Adds each column of `columns` `[N, C * kh * kw, L]` to its window of x `[N, C, H, W]`, which
/// starts as 0: the transpose of [`unfold`].
///
/// # Panics
/// As [`unfold`].
pub fn fold<T: Float>(g: &FoldGeom, columns: &[T], x: &mut [T]) {
    let [oh, ow] = g.check(x.len(), columns.len());
    let (plane, taps) = (g.input[0] * g.input[1], g.kernel[0] * g.kernel[1]);
    let x = SharedMut::new(x);
    threads::parallel_rows(g.batch * g.channels, taps * oh * ow, |planes| {
        for p in planes {
            // SAFETY: each plane is one task's.
            let x = unsafe { x.range(p * plane..(p + 1) * plane) };
            x.fill(T::ZERO);
            let columns = &columns[p * taps * oh * ow..][..taps * oh * ow];
            for tap in 0..taps {
                let (rows, mut y) = g.inside(0, tap / g.kernel[1], oh);
                let (cols, left) = g.inside(1, tap % g.kernel[1], ow);
                if cols.is_empty() {
                    continue;
                }
                for row in rows {
                    let from = &columns[(tap * oh + row) * ow..][cols.clone()];
                    let x = &mut x[y * g.input[1] + left..];
                    if g.stride[1] == 1 {
                        for (x, &value) in x.iter_mut().zip(from) {
                            *x += value;
                        }
                    } else {
                        for (x, &value) in x.iter_mut().step_by(g.stride[1]).zip(from) {
                            *x += value;
                        }
                    }
                    y += g.stride[0];
                }
            }
        }
    });
}
