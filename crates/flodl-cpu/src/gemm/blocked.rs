//! The loops around the micro-kernel: blocks for the caches, tasks for the threads.

use super::kernel::{Gemm, Kernel};
use super::pack::{pack_raw, packed_len};
use crate::alloc::{OutOfMemory, Scratch};
use crate::threads;

/// Longest part of k that is summed in registers before C is touched. A panel of B then takes
/// 48 KiB of the second-level cache, and C is read and written rarely (bench: `gemm_bench`).
const KC: usize = 384;
/// Most rows of A and columns of B that are packed at once: bounds the scratch memory.
const MC: usize = 4096;
const NC: usize = 4096;
/// Rows of a task's block: with `KC`, a part of A that stays in the second-level cache.
const BLOCK_ROWS: usize = 144;
/// Columns of a task's block.
const BLOCK_COLS: usize = 1024;
/// Multiplications below which waking the team costs more than it saves (bench: `gemm_bench`).
const PARALLEL: usize = 1 << 18;
/// Values that one packing task copies.
const PACK_GRAIN: usize = 16 * 1024;

/// A product as raw parts, validated: every element that the strides lead to is there.
#[derive(Clone, Copy)]
pub(super) struct Problem<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    pub a_row: usize,
    pub a_col: usize,
    pub b: *const T,
    pub b_row: usize,
    pub b_col: usize,
    pub c: *mut T,
    pub ldc: usize,
    pub accumulate: bool,
    pub alpha: T,
    /// One value per column, or null.
    pub bias: *const T,
    pub relu: bool,
}

// SAFETY: plain data; whoever shares one between threads keeps to disjoint parts of C.
unsafe impl<T: Sync> Sync for Problem<T> {}

/// A pointer that tasks of one region share, each with its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: see above; the users below say which part is whose.
unsafe impl<T: Send> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Length of the parts that k is cut in. It depends on k alone, so the order of the sums does too.
pub(super) fn k_block(k: usize) -> usize {
    k.div_ceil(k.div_ceil(KC).max(1)).next_multiple_of(8).min(k)
}

/// The k-blocks as (start, length); one of length 0 if k is 0.
pub(super) fn k_blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = k_block(k);
    (0..k.div_ceil(step.max(1)).max(1)).map(move |i| (i * step, step.min(k - i * step)))
}

/// Runs tasks on the team if the work is worth it.
fn region(parallel: bool, tasks: usize, f: impl Fn(usize) + Sync) {
    if parallel {
        threads::parallel_for(tasks, f);
    } else {
        (0..tasks).for_each(f);
    }
}

/// Computes tiles straight from the operands, on this thread. For small products.
///
/// # Safety
/// The problem is valid, `b_col` is 1 and nobody else uses C.
pub(super) unsafe fn direct<T: Gemm>(kernel: &Kernel<T>, p: &Problem<T>) {
    let mut tile = kernel.tile(p.k, p.a, p.b, p.c, p.ldc);
    (tile.a_row, tile.a_step, tile.b_step) = (p.a_row, p.a_col, p.b_row);
    (tile.accumulate, tile.alpha, tile.relu) = (p.accumulate, p.alpha, p.relu);
    for j in (0..p.n).step_by(kernel.nr) {
        tile.cols = kernel.nr.min(p.n - j);
        tile.b = p.b.wrapping_add(j);
        if !p.bias.is_null() {
            tile.col_bias = p.bias.wrapping_add(j);
        }
        for i in (0..p.m).step_by(kernel.mr) {
            tile.rows = kernel.mr.min(p.m - i);
            tile.a = p.a.wrapping_add(i * p.a_row);
            tile.c = p.c.wrapping_add(i * p.ldc + j);
            // SAFETY: the tile lies inside the problem.
            unsafe { kernel.run(&tile) };
        }
    }
}

/// Computes the product in packed blocks, on the team if it is large enough.
///
/// `packed_b` holds all of B as [`super::PackedB`] lays it out; `p.b` is then not used.
///
/// # Safety
/// The problem is valid and nobody else uses C.
pub(super) unsafe fn blocked<T: Gemm>(
    kernel: &Kernel<T>,
    p: &Problem<T>,
    packed_b: Option<&[T]>,
) -> Result<(), OutOfMemory> {
    let (mr, nr) = (kernel.mr, kernel.nr);
    // An operand that is read only once is not worth a copy.
    let pack_a = p.n > nr;
    let pack_b = packed_b.is_none() && !(p.b_col == 1 && p.m <= mr);
    let parallel = p.m.saturating_mul(p.n).saturating_mul(p.k) >= PARALLEL;
    let kc = k_block(p.k);
    let (mc, nc) = (p.m.min(MC), if pack_b { p.n.min(NC) } else { p.n });
    let mut a_space = Scratch::<T>::new(if pack_a { packed_len(mr, mc, kc) } else { 0 })?;
    let mut b_space = Scratch::<T>::new(if pack_b { packed_len(nr, nc, kc) } else { 0 })?;
    let (a_packed, b_packed) = (Shared(a_space.as_mut_ptr()), Shared(b_space.as_mut_ptr()));
    let packed_b = packed_b.map(|b| Shared(b.as_ptr().cast_mut()));

    for j0 in (0..p.n).step_by(nc) {
        let n = nc.min(p.n - j0);
        for (k0, k) in k_blocks(p.k) {
            for i0 in (0..p.m).step_by(mc) {
                let m = mc.min(p.m - i0);
                let a_part = Lines { width: mr, count: if pack_a { m } else { 0 }, k };
                let b_part = Lines { width: nr, count: if pack_b && i0 == 0 { n } else { 0 }, k };
                let a = p.a.wrapping_add(i0 * p.a_row + k0 * p.a_col);
                let b = p.b.wrapping_add(k0 * p.b_row + j0 * p.b_col);
                let (a, b) = (Shared(a.cast_mut()), Shared(b.cast_mut()));
                let a_tasks = a_part.tasks();
                region(parallel, a_tasks + b_part.tasks(), |task| {
                    // SAFETY: each task packs its own panels of an operand that is all there.
                    unsafe {
                        if task < a_tasks {
                            let from = a.get();
                            a_part.pack(kernel, task, a_packed.get(), from, p.a_row, p.a_col);
                        } else {
                            let task = task - a_tasks;
                            b_part.pack(kernel, task, b_packed.get(), b.get(), p.b_col, p.b_row);
                        }
                    }
                });

                let (row_panels, col_panels) = (m.div_ceil(mr), n.div_ceil(nr));
                let (row_blocks, col_blocks) = grid(parallel, kernel, row_panels, col_panels);
                region(parallel, row_blocks * col_blocks, |task| {
                    let (row, col) = (task % row_blocks, task / row_blocks);
                    let mut tile = kernel.tile(k, a.get(), b.get(), p.c, p.ldc);
                    tile.accumulate = p.accumulate || k0 > 0;
                    tile.alpha = p.alpha;
                    let last = k0 + k == p.k;
                    tile.relu = p.relu && last;
                    if !pack_a {
                        (tile.a_row, tile.a_step) = (p.a_row, p.a_col);
                    }
                    if !pack_b && packed_b.is_none() {
                        tile.b_step = p.b_row;
                    }
                    for jp in part(col, col_blocks, col_panels) {
                        let j = jp * nr;
                        tile.cols = nr.min(n - j);
                        tile.b = if pack_b {
                            b_packed.get().wrapping_add(j * k)
                        } else if let Some(panels) = packed_b {
                            panels.get().wrapping_add(packed_len(nr, p.n, k0) + j * k)
                        } else {
                            b.get().wrapping_add(j)
                        };
                        if !p.bias.is_null() && last {
                            tile.col_bias = p.bias.wrapping_add(j0 + j);
                        }
                        for ip in part(row, row_blocks, row_panels) {
                            let i = ip * mr;
                            tile.rows = mr.min(m - i);
                            tile.a = if pack_a {
                                a_packed.get().wrapping_add(i * k)
                            } else {
                                a.get().wrapping_add(i * p.a_row)
                            };
                            tile.c = p.c.wrapping_add((i0 + i) * p.ldc + j0 + j);
                            // SAFETY: the tile lies inside the problem; its panels were packed
                            // above; no other task has this tile.
                            unsafe { kernel.run(&tile) };
                        }
                    }
                });
            }
        }
    }
    Ok(())
}

/// Lines of an operand to pack: `count` of `k` values.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub width: usize,
    pub count: usize,
    pub k: usize,
}

impl Lines {
    fn panels_per_task(self) -> usize {
        (PACK_GRAIN / (self.width * self.k).max(1)).max(1)
    }

    fn tasks(self) -> usize {
        self.count.div_ceil(self.width).div_ceil(self.panels_per_task())
    }

    /// # Safety
    /// As for `pack_raw` with all the lines, except that only this task's panels are written.
    unsafe fn pack<T: Gemm>(
        self,
        kernel: &Kernel<T>,
        task: usize,
        dst: *mut T,
        src: *const T,
        line_stride: usize,
        k_stride: usize,
    ) {
        let step = self.panels_per_task() * self.width;
        let first = task * step;
        let count = step.min(self.count - first);
        let (dst, src) = (dst.wrapping_add(first * self.k), src.wrapping_add(first * line_stride));
        // SAFETY: the caller's promise, for lines `first..first + count`.
        unsafe {
            pack_raw(kernel.isa, self.width, dst, src, line_stride, k_stride, count, self.k);
        }
    }

    /// Packs all the lines, on the team if there are many.
    ///
    /// # Safety
    /// As for `pack_raw`.
    pub(super) unsafe fn pack_all<T: Gemm>(
        self,
        kernel: &Kernel<T>,
        dst: *mut T,
        src: *const T,
        line_stride: usize,
        k_stride: usize,
    ) {
        let (dst, src) = (Shared(dst), Shared(src.cast_mut()));
        region(self.count * self.k >= 4 * PACK_GRAIN, self.tasks(), |task| {
            // SAFETY: each task writes its own panels.
            unsafe { self.pack(kernel, task, dst.get(), src.get(), line_stride, k_stride) };
        });
    }
}

/// Number of row blocks and column blocks: a few blocks for each thread, near to square.
fn grid<T: Gemm>(
    parallel: bool,
    kernel: &Kernel<T>,
    row_panels: usize,
    col_panels: usize,
) -> (usize, usize) {
    let mut rows = (row_panels * kernel.mr).div_ceil(BLOCK_ROWS);
    let mut cols = (col_panels * kernel.nr).div_ceil(BLOCK_COLS);
    let wanted = if parallel { 4 * threads::available() } else { 1 };
    while rows * cols < wanted {
        let (tall, wide) = (row_panels.div_ceil(rows), col_panels.div_ceil(cols));
        if wide > 1 && (wide * kernel.nr >= tall * kernel.mr || tall == 1) {
            cols = (cols * 2).min(col_panels);
        } else if tall > 1 {
            rows = (rows * 2).min(row_panels);
        } else {
            break;
        }
    }
    (rows, cols)
}

/// Part `i` of `parts` nearly equal parts of `0..len`.
fn part(i: usize, parts: usize, len: usize) -> std::ops::Range<usize> {
    i * len / parts..(i + 1) * len / parts
}
