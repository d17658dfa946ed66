//! Patches as columns of a matrix, and their sum back into an image.

use crate::element::Float;
use crate::threads::{self, SharedMut};

/// Sizes of [`unfold`] and [`fold`]: images `[batch, channels, height, width]`, columns
/// `[batch, channels * kernel, output]` with rows ordered (channel, kernel row, kernel column).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldGeom {
    /// Number of images.
    pub batch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image.
    pub input: [usize; 2],
    /// Height and width of the grid of patches.
    pub output: [usize; 2],
    /// Height and width of a patch, in taps.
    pub kernel: [usize; 2],
    /// Distances between adjacent patches.
    pub stride: [usize; 2],
    /// Zeros before the first row and column.
    pub padding: [usize; 2],
    /// Distances between adjacent taps.
    pub dilation: [usize; 2],
}

impl FoldGeom {
    fn image(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn columns(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.output[0] * self.output[1]
    }

    fn check<T>(&self, images: &[T], columns: &[T]) {
        let planes = self.batch * self.channels;
        assert!(images.len() == planes * self.image(), "fold: wrong length of the images");
        assert!(columns.len() == planes * self.columns(), "fold: wrong length of the columns");
        assert!(self.stride.iter().all(|&s| s > 0), "fold: the stride is at least 1");
    }

    /// Outputs along `axis` that tap `k` takes from inside the image, and where the first is from.
    fn inside(&self, axis: usize, k: usize) -> (std::ops::Range<usize>, usize) {
        let (shift, stride) = (k * self.dilation[axis], self.stride[axis]);
        let (pad, len) = (self.padding[axis], self.input[axis]);
        let out = self.output[axis];
        let first = pad.saturating_sub(shift).div_ceil(stride).min(out);
        // Output o is from o * stride + shift - pad, which is below len.
        let end = (len + pad).saturating_sub(shift).div_ceil(stride).clamp(first, out);
        (first..end, (first * stride + shift).saturating_sub(pad))
    }
}

/// Writes the patches of all images as columns, zeros where a patch leaves its image.
///
/// # Panics
/// If a slice does not have its length.
pub fn unfold<T: Float>(g: &FoldGeom, images: &[T], columns: &mut [T]) {
    g.check(images, columns);
    let (image, plane, row) = (g.image(), g.columns(), g.output[0] * g.output[1]);
    let columns = SharedMut::new(columns);
    threads::parallel_rows(g.batch * g.channels, plane, |range| {
        for c in range {
            let image = &images[c * image..][..image];
            // SAFETY: the columns of this channel are this task's.
            let columns = unsafe { columns.range(c * plane..(c + 1) * plane) };
            for (k, column) in columns.chunks_exact_mut(row.max(1)).enumerate() {
                let (hs, h0) = g.inside(0, k / g.kernel[1]);
                let (ws, w0) = g.inside(1, k % g.kernel[1]);
                for (h, line) in column.chunks_exact_mut(g.output[1]).enumerate() {
                    if !hs.contains(&h) || ws.is_empty() {
                        line.fill(T::ZERO);
                        continue;
                    }
                    let from = (h0 + (h - hs.start) * g.stride[0]) * g.input[1] + w0;
                    line[..ws.start].fill(T::ZERO);
                    line[ws.end..].fill(T::ZERO);
                    let line = &mut line[ws.clone()];
                    if g.stride[1] == 1 {
                        line.copy_from_slice(&image[from..from + line.len()]);
                    } else {
                        let from = image[from..].iter().step_by(g.stride[1]);
                        line.iter_mut().zip(from).for_each(|(to, &v)| *to = v);
                    }
                }
            }
        }
    });
}

/// Adds all patches back into their images: the transpose of [`unfold`]. Writes all of `images`.
///
/// # Panics
/// If a slice does not have its length.
pub fn fold<T: Float>(g: &FoldGeom, columns: &[T], images: &mut [T]) {
    g.check(images, columns);
    let (image, plane, row) = (g.image(), g.columns(), g.output[0] * g.output[1]);
    // Patches that do not overlap are moved, not added, so that every bit stays as it is.
    let apart = (0..2).all(|a| g.stride[a] > g.dilation[a] * (g.kernel[a] - 1));
    let images = SharedMut::new(images);
    threads::parallel_rows(g.batch * g.channels, plane, |range| {
        for c in range {
            // SAFETY: this channel is this task's.
            let image = unsafe { images.range(c * image..(c + 1) * image) };
            image.fill(T::ZERO);
            let columns = &columns[c * plane..][..plane];
            for (k, column) in columns.chunks_exact(row.max(1)).enumerate() {
                let (hs, h0) = g.inside(0, k / g.kernel[1]);
                let (ws, w0) = g.inside(1, k % g.kernel[1]);
                if ws.is_empty() {
                    continue;
                }
                for h in hs.clone() {
                    let line = &column[h * g.output[1]..][ws.clone()];
                    let to = (h0 + (h - hs.start) * g.stride[0]) * g.input[1] + w0;
                    if apart {
                        let to = image[to..].iter_mut().step_by(g.stride[1]);
                        to.zip(line).for_each(|(to, &v)| *to = v);
                    } else if g.stride[1] == 1 {
                        let to = &mut image[to..to + line.len()];
                        to.iter_mut().zip(line).for_each(|(to, &v)| *to += v);
                    } else {
                        let to = image[to..].iter_mut().step_by(g.stride[1]);
                        to.zip(line).for_each(|(to, &v)| *to += v);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometries() -> Vec<FoldGeom> {
        let mut all = Vec::new();
        for (input, kernel, stride, padding, dilation) in [
            ([5, 7], [3, 3], [1, 1], [1, 1], [1, 1]),
            ([6, 5], [2, 3], [2, 3], [0, 2], [1, 1]),
            ([9, 8], [3, 2], [1, 2], [2, 1], [2, 3]),
            ([1, 1], [3, 3], [1, 1], [1, 1], [1, 1]),
            ([4, 4], [1, 1], [3, 3], [4, 4], [1, 1]),
        ] {
            let output = [0, 1].map(|i| {
                (input[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1usize) - 1) / stride[i] + 1
            });
            let (batch, channels) = (2, 3);
            all.push(FoldGeom {
                batch,
                channels,
                input,
                output,
                kernel,
                stride,
                padding,
                dilation,
            });
        }
        all
    }

    /// Every pair of a value of the columns and the value of the images that it is taken from.
    fn pairs(g: &FoldGeom, mut f: impl FnMut(usize, Option<usize>)) {
        let mut column = 0;
        for plane in 0..g.batch * g.channels {
            for k in 0..g.kernel[0] * g.kernel[1] {
                for o in 0..g.output[0] * g.output[1] {
                    let at = |axis: usize, k: usize, o: usize| {
                        let i = (o * g.stride[axis] + k * g.dilation[axis]) as isize
                            - g.padding[axis] as isize;
                        (0..g.input[axis] as isize).contains(&i).then_some(i as usize)
                    };
                    let h = at(0, k / g.kernel[1], o / g.output[1]);
                    let w = at(1, k % g.kernel[1], o % g.output[1]);
                    let place = h.zip(w).map(|(h, w)| plane * g.image() + h * g.input[1] + w);
                    f(column, place);
                    column += 1;
                }
            }
        }
    }

    #[test]
    fn unfold_takes_each_value_from_its_place() {
        for g in geometries() {
            let planes = g.batch * g.channels;
            let image: Vec<f32> = (0..planes * g.image()).map(|i| i as f32 + 1.0).collect();
            let mut columns = vec![9e9; planes * g.columns()];
            unfold(&g, &image, &mut columns);
            pairs(&g, |c, i| assert_eq!(columns[c], i.map_or(0.0, |i| image[i]), "{g:?}"));
        }
    }

    #[test]
    fn fold_adds_each_value_to_its_place() {
        for g in geometries() {
            let planes = g.batch * g.channels;
            let columns: Vec<f64> = (0..planes * g.columns()).map(|i| (i % 101) as f64).collect();
            let mut image = vec![9e9; planes * g.image()];
            fold(&g, &columns, &mut image);
            let mut expected = vec![0.0; image.len()];
            pairs(&g, |c, i| {
                if let Some(i) = i {
                    expected[i] += columns[c];
                }
            });
            assert_eq!(image, expected, "{g:?}");
        }
    }
}
