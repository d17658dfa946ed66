//! Matrix times vector: bound by memory, so the matrix is read once, in its own order.

use super::kernel::Gemm;
use crate::simd::Arch;
use crate::threads::{self, SharedMut};

/// Values of the matrix below which one thread does it (bench: `gemm_bench`).
const PARALLEL: usize = 128 * 1024;
/// Lines that the column-wise form sums at once: 8 KiB of f32, so that reads are long runs.
const STRIP: usize = 2048;

/// `y[i] = act(alpha * sum_p m[i, p] * x[p] + line_bias[i] + bias (+ y[i]))` for `lines` lines of `k` values.
#[derive(Clone, Copy)]
pub(super) struct Gemv<'a, T> {
    pub lines: usize,
    pub k: usize,
    pub matrix: &'a [T],
    pub line_stride: usize,
    pub k_stride: usize,
    pub x: &'a [T],
    pub x_stride: usize,
    pub y_stride: usize,
    /// One value per line to add.
    pub line_bias: Option<&'a [T]>,
    /// Added to all lines.
    pub bias: T,
    pub accumulate: bool,
    pub alpha: T,
    pub relu: bool,
}

impl<T: Gemm> Gemv<'_, T> {
    /// Runs it; the caller has checked the lengths of all slices.
    pub(super) fn run(&self, y: &mut [T]) {
        if self.lines * self.k < PARALLEL {
            return gemv_lines(*self, 0..self.lines, y);
        }
        // Adjacent lines are read across, where short runs from each row are slow.
        let (tasks, least) = if self.line_stride == 1 { (2, 256) } else { (8, 16) };
        let wanted = (tasks * threads::available()).min(self.lines.div_ceil(least)).max(1);
        let step = self.lines.div_ceil(wanted).next_multiple_of(16);
        let y_len = y.len();
        let shared = SharedMut::new(y);
        threads::parallel_for(self.lines.div_ceil(step), |task| {
            let lines = task * step..((task + 1) * step).min(self.lines);
            let start = lines.start * self.y_stride;
            let end = (lines.end * self.y_stride).min(y_len);
            // SAFETY: each task has its own lines, and so its own part of y.
            gemv_lines(*self, lines, unsafe { shared.range(start..end) });
        });
    }

    /// Writes the sums of lines `first..` to y, which starts at line `origin`.
    #[inline(always)]
    fn finish(&self, sums: &[T], first: usize, origin: usize, y: &mut [T]) {
        for (i, &sum) in sums.iter().enumerate() {
            let mut value = sum * self.alpha + self.bias;
            if let Some(bias) = self.line_bias {
                value += bias[first + i];
            }
            let y = &mut y[(first + i - origin) * self.y_stride];
            if self.accumulate {
                value += *y;
            }
            *y = if self.relu && value < T::ZERO { T::ZERO } else { value };
        }
    }
}

crate::simd_fn! {
    fn gemv_lines<A, (T: Gemm)>(g: Gemv<'x, T>, lines: std::ops::Range<usize>, y: &'x mut [T]) {
        if g.k > 0 && g.k_stride == 1 && g.x_stride == 1 {
            if size_of::<T>() == 4 {
                dots::<A, T, 16>(&g, lines, y)
            } else {
                dots::<A, T, 8>(&g, lines, y)
            }
        } else if g.line_stride == 1 {
            if lines.len() <= 64 {
                columns::<A, T, 64>(&g, lines, y)
            } else {
                columns::<A, T, STRIP>(&g, lines, y)
            }
        } else {
            let origin = lines.start;
            for i in lines {
                let mut sum = T::ZERO;
                for p in 0..g.k {
                    let value = g.matrix[i * g.line_stride + p * g.k_stride];
                    sum = value.mul_add_::<A>(g.x[p * g.x_stride], sum);
                }
                g.finish(&[sum], i, origin, y);
            }
        }
    }
}

/// Lines with adjacent values: four dot products at a time.
#[inline(always)]
fn dots<A: Arch, T: Gemm, const L: usize>(g: &Gemv<T>, lines: std::ops::Range<usize>, y: &mut [T]) {
    let origin = lines.start;
    let mut i = lines.start;
    while i + 4 <= lines.end {
        let rows = std::array::from_fn(|r| &g.matrix[(i + r) * g.line_stride..][..g.k]);
        let sums: [T; 4] = dot::<A, T, L, 4>(rows, &g.x[..g.k]);
        g.finish(&sums, i, origin, y);
        i += 4;
    }
    while i < lines.end {
        let row = &g.matrix[i * g.line_stride..][..g.k];
        let sums = dot::<A, T, L, 1>([row], &g.x[..g.k]);
        g.finish(&sums, i, origin, y);
        i += 1;
    }
}

/// `R` dot products with one vector, each in `L` partial sums.
#[inline(always)]
pub(crate) fn dot<A: Arch, T: Gemm, const L: usize, const R: usize>(
    rows: [&[T]; R],
    x: &[T],
) -> [T; R] {
    let mut sums = [[T::ZERO; L]; R];
    let chunks = x.as_chunks::<L>();
    let row_chunks = rows.map(|row| row.as_chunks::<L>());
    for (p, xs) in chunks.0.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(&row_chunks) {
            // An array that is made whole stays in one register.
            *sum = std::array::from_fn(|l| row.0[p][l].mul_add_::<A>(xs[l], sum[l]));
        }
    }
    std::array::from_fn(|r| {
        let mut lanes = sums[r];
        let mut half = L / 2;
        while half > 0 {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
            half /= 2;
        }
        let tail = row_chunks[r].1.iter().zip(chunks.1);
        tail.fold(lanes[0], |sum, (&m, &x)| m.mul_add_::<A>(x, sum))
    })
}

/// Lines that are adjacent to each other: a strip of them is summed along k, eight steps at a time.
#[inline(always)]
fn columns<A: Arch, T: Gemm, const STRIP: usize>(
    g: &Gemv<T>,
    lines: std::ops::Range<usize>,
    y: &mut [T],
) {
    let origin = lines.start;
    let mut sums = [T::ZERO; STRIP];
    for first in lines.clone().step_by(STRIP) {
        let sums = &mut sums[..STRIP.min(lines.end - first)];
        sums.fill(T::ZERO);
        let len = sums.len();
        let row = |p: usize| &g.matrix[first + p * g.k_stride..][..len];
        let x = |p: usize| g.x[p * g.x_stride];
        let mut p = 0;
        while p + 8 <= g.k {
            let rows: [&[T]; 8] = std::array::from_fn(|q| row(p + q));
            let xs: [T; 8] = std::array::from_fn(|q| x(p + q));
            for (j, sum) in sums.iter_mut().enumerate() {
                let mut s = *sum;
                for q in 0..8 {
                    s = rows[q][j].mul_add_::<A>(xs[q], s);
                }
                *sum = s;
            }
            p += 8;
        }
        while p < g.k {
            let (r0, x0) = (row(p), x(p));
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = r0[j].mul_add_::<A>(x0, *sum);
            }
            p += 1;
        }
        g.finish(sums, first, origin, y);
    }
}
