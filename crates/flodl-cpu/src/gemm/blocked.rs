//! The loops around the micro-kernel: blocks for the caches, tasks for the threads.

use std::ops::Range;
use std::sync::Mutex;

use super::kernel::{Ahead, Gemm, Kernel, LINE, Side};
use super::{Before, COST, Then, finish};
use crate::alloc::{OutOfMemory, Scratch};
use crate::threads::{self, Gate, Phase};

/// Longest part of k that is summed in registers before C is touched. A panel of B then takes
/// 64 KiB of the second-level cache, and C is read and written rarely (bench: `gemm_bench`).
const KC: usize = 512;
/// Parts of k are multiples of this, so that no panel but those of the last one is filled up.
const STEPS: usize = 32;
/// Panels in a task's block of A or B, if its tiles do not fetch lines of the next one: with `KC`,
/// what stays in the second-level cache (bench: `gemm_bench`).
const BLOCK_PANELS: usize = 8;
/// Panels in a task's block that it packs itself: the lines of its next one stay in that cache too,
/// where the tiles of the present one fetch them (bench: `models --only lstm_seq`).
const OWN_PANELS: usize = 4;
/// Most values of the shared operand that are packed at once, if more than one k-block fits.
/// (In tests so few that they see a product in several parts.)
const SHARED: usize = if cfg!(test) { 2 << 16 } else { 2 << 20 };
/// Operands are read in place while both together have no more bytes than this, that is stay in
/// the second-level cache (bench: `gemm_bench`).
const NEAR: usize = 1 << 20;
/// Lines that are multiples of this many bytes apart fall into the same few places of the
/// first-level cache, and are worth a copy at any size (bench: `gemm_bench`).
const ALIAS: usize = 2048;
/// The first-level cache as it is on most CPUs: its size, and that of one of its ways.
const CACHE: usize = 32 << 10;
const WAY: usize = 4 << 10;
/// Fewer panels than this read an operand seldom (bench: `gemm_bench`).
const FEW_PANELS: usize = 16;
/// Panels of rows for each thread from which on packed columns are read by each thread, all of them
/// (bench: `models --only lstm_seq`).
const FEW_ROWS: usize = 4;
/// A block of B up to this many bytes is read again for each panel of A, so that C is written row
/// by row: it stays in the cache as well as a single panel does (bench: `gemm_bench`).
const FLAT: usize = 128 << 10;
/// Multiplications below which waking the team costs more than it saves (bench: `gemm_bench`).
const PARALLEL: usize = 1 << 18;
/// Least values that a packing task copies.
const PACK_GRAIN: usize = 8 * 1024;
/// Most lines that it copies, where there is enough for all. If they are adjacent, each step of k
/// reads as many values in a row: memory gives those sooner than the same from far apart
/// (bench: `gemm_bench`).
const PACK_LINES: usize = 128;
/// Packing tasks that are enough for a thread.
const PACK_TASKS: usize = 32;

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
    /// One value per row, or null.
    pub row_bias: *const T,
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
    k.div_ceil(k.div_ceil(KC).max(1)).next_multiple_of(STEPS).min(k)
}

/// The k-blocks as (start, length); one of length 0 if k is 0.
pub(super) fn k_blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = k_block(k);
    (0..k.div_ceil(step.max(1)).max(1)).map(move |i| (i * step, step.min(k - i * step)))
}

/// Whether a product is worth waking the team; writing an element counts as 8 multiplications.
pub(super) fn parallel(m: usize, n: usize, k: usize) -> bool {
    m.saturating_mul(n).saturating_mul(k.max(8)) >= PARALLEL
}

/// Runs phases on the team if the work is worth it.
fn region(parallel: bool, phases: &[Phase<'_>]) {
    threads::run_phases(if parallel { threads::available() } else { 1 }, phases);
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
            if !p.row_bias.is_null() {
                tile.row_bias = p.row_bias.wrapping_add(i);
            }
            // SAFETY: the tile lies inside the problem.
            unsafe { kernel.run(&tile) };
        }
    }
}

/// Whether lines this many values apart are too many for their places in the first-level cache.
fn clash<T>(stride: usize, lines: usize) -> bool {
    let bytes = stride * size_of::<T>();
    // The largest power of two in the distance says how many places there are.
    let step = (1 << bytes.trailing_zeros()).clamp(LINE, WAY);
    step >= ALIAS || lines * step > CACHE
}

/// How the tasks get at an operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// As it is: it is read only once, which is not worth a copy.
    Direct,
    /// Packed whole, before the tasks start.
    Shared,
    /// Each task packs its own block, which then is in its cache.
    Own,
}

/// Computes the product in packed blocks, on the team if it is large enough.
///
/// The longer of the two sides of C is cut in blocks, one for each task, which packs the operand
/// on that side; the other operand is packed once for all. `packed_b` holds all of B as
/// [`super::PackedB`] lays it out; `p.b` is then not used. Packing, product and `then` are phases of
/// one region. `before` makes the rows of A, in the tasks that pack them if these are shared.
///
/// # Safety
/// The problem is valid and nobody else uses C.
pub(super) unsafe fn blocked<T: Gemm>(
    kernel: &Kernel<T>,
    p: &Problem<T>,
    packed_b: Option<&[T]>,
    before: Option<Before<'_>>,
    then: Option<Then<'_, T>>,
) -> Result<(), OutOfMemory> {
    let (mr, nr) = (kernel.mr, kernel.nr);
    let kc = k_block(p.k);
    let far = |stride: usize, lines: usize| stride > 1 && clash::<T>(stride, lines);
    let near = (p.m + p.n).saturating_mul(p.k).saturating_mul(size_of::<T>()) <= NEAR;
    // Where few panels of the other operand read it, a copy costs more of what it saves.
    let lines = |panels: usize| if panels < FEW_PANELS { kc / 8 } else { kc };
    let (a_lines, b_lines) = (lines(p.n / nr), lines(p.m / mr));
    let a_near = p.n <= nr || (near && !far(p.a_row, mr) && !far(p.a_col, a_lines));
    let a_direct = kernel.reads_values() && a_near;
    let b_near = p.m <= mr || (near && !far(p.b_row, b_lines));
    let b_plain = packed_b.is_none() && p.b_col == 1;
    let b_direct = kernel.reads_values() && b_plain && b_near;
    let (a_access, b_access) = match (a_direct || b_direct, b_direct, p.m > p.n) {
        (true, true, _) => (Access::Direct, Access::Direct),
        (true, false, true) => (Access::Direct, Access::Shared),
        (true, false, false) => (Access::Direct, Access::Own),
        (false, _, true) => (Access::Own, Access::Shared),
        (false, _, false) => (Access::Shared, Access::Own),
    };
    let b_access = if packed_b.is_some() { Access::Shared } else { b_access };
    let parallel = parallel(p.m, p.n, p.k);
    let (rows, cols) = (p.m.div_ceil(mr), p.n.div_ceil(nr));
    let own_side = match (a_access, b_access) {
        (Access::Own, _) => Some(Side::A),
        (_, Access::Own) => Some(Side::B),
        _ => None,
    };
    // The tiles of a block fetch the lines that its task packs next.
    let fetching = kernel.reads_values() && own_side.is_some();
    let most = if fetching { OWN_PANELS } else { BLOCK_PANELS };
    // Where rows of A lie side by side, packing reads one value of each in a row: more come faster.
    let most = (if p.a_row == 1 { most * nr / mr } else { most }, most);
    let grid = Grid::new(parallel, (rows, cols), most, (a_access, b_access), packed_b.is_some());

    let a_lines = (a_access == Access::Shared).then_some((Side::A, p.m));
    let b_lines = (b_access == Access::Shared && packed_b.is_none()).then_some((Side::B, p.n));
    let before = match before {
        Some(before) if a_lines.is_none() => {
            threads::parallel_rows(p.m, p.k.saturating_mul(COST), before);
            None
        }
        before => before,
    };
    // One operand at most is packed for all tasks.
    let (side, count) = a_lines.or(b_lines).unwrap_or((Side::A, 0));
    let of_block = kernel.packed_len(side, count, kc).max(1);
    let chunk = (SHARED / of_block).max(1).saturating_mul(kc).min(p.k);
    let mut space = Scratch::<T>::new(kernel.packed_len(side, count, chunk))?;
    let shared = Shared(space.as_mut_ptr());
    let failed = Mutex::new(None);

    for first in (0..p.k.max(1)).step_by(chunk.max(1)) {
        let blocks = || {
            let blocks = k_blocks(p.k).skip_while(move |&(k0, _)| k0 < first);
            blocks.take_while(move |&(k0, _)| k0 == first || k0 < first + chunk)
        };
        let before = before.filter(|_| first == 0);
        // Whole rows are made at once.
        let whole = before.is_some();
        let lines = Lines::new(kernel, side, count, chunk.min(p.k - first), kc, whole);
        let packed = Gates::new(lines.parts(), lines.tasks_of_part());
        let pack = |task: usize| {
            if let Some(before) = before {
                before(lines.part(task));
            }
            // SAFETY: the operand has all its elements; the chunk's panels fit the scratch.
            unsafe {
                if a_lines.is_some() {
                    let src = p.a.wrapping_add(first * p.a_col);
                    lines.pack_part(task, shared.get(), src, [p.a_row, p.a_col]);
                } else {
                    let src = p.b.wrapping_add(first * p.b_row);
                    lines.pack_part(task, shared.get(), src, [p.b_col, p.b_row]);
                }
            }
            packed.done(task / lines.tasks_of_part());
        };
        // Where a task has whole rows, it finishes them while they are in its cache.
        let then = then.filter(|_| first + chunk >= p.k);
        let (at_once, later) = if grid.across() == 1 { (then, None) } else { (None, then) };
        let computed = Gates::new(if later.is_some() { grid.down() } else { 0 }, grid.across());
        let end = |then: Then<'_, T>, panels: Range<usize>| {
            let (first, last) = (panels.start * mr, (panels.end * mr).min(p.m));
            // SAFETY: these rows of C are complete, and the calling task's alone.
            unsafe { finish(then, p.c, p.ldc, p.n, first..last) };
        };
        let compute = |task: usize| {
            let block = grid.block(task);
            if block.rows.is_empty() || block.cols.is_empty() {
                computed.done(grid.row(task));
                return;
            }
            let shared_b = packed_b.map_or(shared.get().cast_const(), <[T]>::as_ptr);
            let own_len = own_side.map_or(0, |side| {
                let count = block.panels(side).len() * kernel.width(side);
                kernel.packed_len(side, count, kc)
            });
            let mut own = match Scratch::<T>::new(own_len) {
                Ok(own) => own,
                Err(error) => {
                    *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                    computed.done(grid.row(task));
                    return;
                }
            };
            // One pointer for both, since a new exclusive borrow would end what was read through.
            let own = own.as_mut_ptr();
            for (k0, k) in blocks() {
                let a = match a_access {
                    Access::Direct => p.a.wrapping_add(k0 * p.a_col),
                    Access::Shared => {
                        shared.get().wrapping_add(kernel.packed_len(Side::A, p.m, k0 - first))
                    }
                    Access::Own => own.cast_const(),
                };
                let b = match b_access {
                    Access::Direct => p.b.wrapping_add(k0 * p.b_row),
                    Access::Shared => {
                        let start = if packed_b.is_some() { k0 } else { k0 - first };
                        shared_b.wrapping_add(kernel.packed_len(Side::B, p.n, start))
                    }
                    Access::Own => own.cast_const(),
                };
                // SAFETY: the block lies inside the problem, and no other task has it; the shared
                // panels are there when the gates of their lines are open.
                unsafe {
                    if let Some(side) = own_side {
                        let raw = Raw::of(kernel, p, side, &block, (k0, k));
                        kernel.pack(side, own, raw.from, raw.strides, raw.count, k);
                    }
                    if k0 == first && count > 0 {
                        let panels = if a_lines.is_some() { &block.rows } else { &block.cols };
                        packed.wait(lines.parts_of(panels));
                    }
                    let end = (first + chunk).min(p.k);
                    let next = own_side.filter(|_| fetching).and_then(|side| {
                        let next = (task + 1 < grid.tasks()).then(|| grid.block(task + 1));
                        let (block, k0) =
                            if k0 + k < end { (&block, k0 + k) } else { (&next?, first) };
                        Some(Raw::of(kernel, p, side, block, (k0, kc.min(end - k0))))
                    });
                    block.compute(kernel, p, (k0, k), (a, a_access), (b, b_access), next);
                }
            }
            if let Some(then) = at_once {
                end(then, block.rows);
            }
            computed.done(grid.row(task));
        };
        let pieces = (threads::PIECES * threads::available()).min(rows);
        let pieces = if later.is_some() { pieces } else { 0 };
        let shares = even(pieces, rows);
        let afterwards = |task: usize| {
            let Some(then) = later else { return };
            let panels = shares[task]..shares[task + 1];
            computed.wait(grid.rows_of(&panels));
            end(then, panels);
        };
        region(
            parallel,
            &[
                Phase { tasks: lines.tasks(), run: &pack },
                Phase { tasks: grid.tasks(), run: &compute },
                Phase { tasks: pieces, run: &afterwards },
            ],
        );
    }
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What is done, by parts.
struct Gates(Vec<Gate>);

impl Gates {
    /// Each part needs so many tasks.
    fn new(parts: usize, tasks: usize) -> Self {
        Self((0..parts).map(|_| Gate::new(tasks)).collect())
    }

    /// A task of a part is done; nothing if nobody waits for any part.
    fn done(&self, part: usize) {
        if let Some(gate) = self.0.get(part) {
            gate.done();
        }
    }

    fn wait(&self, parts: Range<usize>) {
        self.0[parts].iter().for_each(Gate::wait);
    }
}

/// Lines of an operand where they lie in memory.
struct Raw<T> {
    from: *const T,
    /// From a line to the next, and along it.
    strides: [usize; 2],
    count: usize,
    k: usize,
}

impl<T: Gemm> Raw<T> {
    /// The lines that a block of C needs of an operand, `k` steps from `k0` on.
    fn of(
        kernel: &Kernel<T>,
        p: &Problem<T>,
        side: Side,
        block: &Block,
        (k0, k): (usize, usize),
    ) -> Self {
        let (from, strides, len) = match side {
            Side::A => (p.a, [p.a_row, p.a_col], p.m),
            Side::B => (p.b, [p.b_col, p.b_row], p.n),
        };
        let (panels, width) = (block.panels(side), kernel.width(side));
        let first = panels.start * width;
        let from = from.wrapping_add(first * strides[0] + k0 * strides[1]);
        Self { from, strides, count: (panels.end * width).min(len).saturating_sub(first), k }
    }

    /// What a tile fetches of these, `lines` lines of the cache: one of each line, or of each step if
    /// lines are adjacent, then the next one. After so many tiles as there are, nothing is left.
    fn part(&self, tile: usize, lines: usize) -> Option<Ahead> {
        let (far, step, near) = match self.strides {
            [step, 1] => (self.count, step, self.k),
            [_, step] => (self.k, step, self.count),
        };
        let parts = far.div_ceil(lines.max(1)).max(1);
        let (at, part) = (tile / parts * (LINE / size_of::<T>()), tile % parts);
        let from = self.from.wrapping_add(at + part * lines * step).cast();
        (at < near).then_some(Ahead { from, step: step * size_of::<T>() })
    }
}

/// A task's part of C, in panels.
struct Block {
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Block {
    /// Its panels of an operand.
    fn panels(&self, side: Side) -> &Range<usize> {
        match side {
            Side::A => &self.rows,
            Side::B => &self.cols,
        }
    }

    /// Adds the product of one k-block to this part of C.
    ///
    /// `a` and `b` point to the k-block of the whole operand, or of the block if it is its own; `next`
    /// are lines to fetch meanwhile.
    ///
    /// # Safety
    /// The operands are there and nobody else uses this part of C.
    unsafe fn compute<T: Gemm>(
        &self,
        kernel: &Kernel<T>,
        p: &Problem<T>,
        (k0, k): (usize, usize),
        (a, a_access): (*const T, Access),
        (b, b_access): (*const T, Access),
        next: Option<Raw<T>>,
    ) {
        let (mr, nr) = (kernel.mr, kernel.nr);
        let mut tile = kernel.tile(k, a, b, p.c, p.ldc);
        let last = k0 + k == p.k;
        tile.accumulate = p.accumulate || k0 > 0;
        tile.alpha = p.alpha;
        tile.relu = p.relu && last;
        let mut a_panel = kernel.packed_len(Side::A, mr, k);
        let mut b_panel = kernel.packed_len(Side::B, nr, k);
        if a_access == Access::Direct {
            (tile.a_row, tile.a_step, a_panel) = (p.a_row, p.a_col, mr * p.a_row);
        }
        if b_access == Access::Direct {
            (tile.b_step, b_panel) = (p.b_row, nr);
        }
        let a_first = if a_access == Access::Own { self.rows.start } else { 0 };
        let b_first = if b_access == Access::Own { self.cols.start } else { 0 };
        let tiles = kernel.start();
        let lines_ahead = kernel.lines_ahead(k);
        let mut parts = (0..).map_while(|tile| next.as_ref()?.part(tile, lines_ahead)).fuse();
        let mut at = |ip: usize, jp: usize, ahead: *const T| {
            let (i, j) = (ip * mr, jp * nr);
            tile.ahead = parts.next().unwrap_or(Ahead::adjacent(ahead));
            tile.rows = mr.min(p.m - i);
            tile.cols = nr.min(p.n - j);
            tile.a = a.wrapping_add((ip - a_first) * a_panel);
            tile.b = b.wrapping_add((jp - b_first) * b_panel);
            tile.c = p.c.wrapping_add(i * p.ldc + j);
            if last && !p.bias.is_null() {
                tile.col_bias = p.bias.wrapping_add(j);
            }
            if last && !p.row_bias.is_null() {
                tile.row_bias = p.row_bias.wrapping_add(i);
            }
            // SAFETY: the tile lies inside the block.
            unsafe { tiles.run(&tile) };
        };
        // The operand that is not this task's own comes from far away: once is enough. So is it for
        // the longer one of two that are not.
        let flat = self.cols.len() * nr * k * size_of::<T>() <= FLAT;
        let short =
            !kernel.reads_values() && a_access != Access::Own && self.cols.len() < self.rows.len();
        // The tiles along its panel fetch the next one, each a part, if they have nothing else to fetch
        // (bench: `gemm_bench`).
        let part = lines_ahead * LINE / size_of::<T>();
        let ahead = |from: *const T, panel: usize, tile: usize| {
            let part = tile * part;
            from.wrapping_add(if part < panel { panel + part } else { 0 })
        };
        if b_access == Access::Own || flat || short {
            for ip in self.rows.clone() {
                let panel = a.wrapping_add((ip - a_first) * a_panel);
                for (tile, jp) in self.cols.clone().enumerate() {
                    at(ip, jp, ahead(panel, a_panel, tile));
                }
            }
        } else {
            for jp in self.cols.clone() {
                let panel = b.wrapping_add((jp - b_first) * b_panel);
                for (tile, ip) in self.rows.clone().enumerate() {
                    at(ip, jp, ahead(panel, b_panel, tile));
                }
            }
        }
    }
}

/// Lines of an operand to pack whole: `count` of `k` values, in one k-block after the other.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a, T: 'static> {
    kernel: &'a Kernel<T>,
    side: Side,
    count: usize,
    k: usize,
    k_block: usize,
    /// Lines that a task packs: whole panels.
    step: usize,
    /// Steps of k that it packs: a k-block, or all.
    depth: usize,
}

impl<'a, T: Gemm> Lines<'a, T> {
    /// `whole`: a task packs all values of its lines.
    pub fn new(
        kernel: &'a Kernel<T>,
        side: Side,
        count: usize,
        k: usize,
        k_block: usize,
        whole: bool,
    ) -> Self {
        let width = kernel.width(side);
        let depth = if whole { k } else { k_block }.max(1);
        let least = (PACK_GRAIN / (width * depth)).max(1) * width;
        let fair = count * k.div_ceil(depth) / (PACK_TASKS * threads::available());
        let step = fair.min(PACK_LINES).next_multiple_of(width).max(least);
        Self { kernel, side, count, k, k_block, step, depth }
    }

    /// Number of parts that the lines are cut in.
    fn parts(&self) -> usize {
        self.count.div_ceil(self.step)
    }

    /// The lines of a part.
    fn part(&self, part: usize) -> Range<usize> {
        part * self.step..((part + 1) * self.step).min(self.count)
    }

    /// The parts with these panels.
    fn parts_of(&self, panels: &Range<usize>) -> Range<usize> {
        let step = self.step / self.kernel.width(self.side);
        panels.start / step..panels.end.div_ceil(step)
    }

    /// Number of tasks that pack a part, one after the other.
    fn tasks_of_part(&self) -> usize {
        self.k.div_ceil(self.depth)
    }

    /// Number of tasks in all.
    fn tasks(&self) -> usize {
        self.parts() * self.tasks_of_part()
    }

    /// Does one of the tasks of all parts.
    ///
    /// # Safety
    /// As for [`Kernel::pack`] with all lines; nobody else does the same task.
    unsafe fn pack_part(&self, task: usize, dst: *mut T, src: *const T, strides: [usize; 2]) {
        let &Self { kernel, side, count, k_block, depth, .. } = self;
        let lines = self.part(task / self.tasks_of_part());
        let first = task % self.tasks_of_part() * depth;
        let last = (first + depth).min(self.k);
        for k0 in (first..last).step_by(k_block.max(1)) {
            let k = k_block.min(last - k0);
            let start =
                kernel.packed_len(side, count, k0) + kernel.packed_len(side, lines.start, k);
            let src = src.wrapping_add(lines.start * strides[0] + k0 * strides[1]);
            // SAFETY: the caller's promise; each task writes its own panels.
            unsafe { kernel.pack(side, dst.wrapping_add(start), src, strides, lines.len(), k) }
        }
    }

    /// Packs them, on the team if there are many.
    ///
    /// # Safety
    /// As for [`Kernel::pack`].
    pub(super) unsafe fn pack(self, dst: *mut T, src: *const T, strides: [usize; 2]) {
        let (dst, src) = (Shared(dst), Shared(src.cast_mut()));
        let run = |task: usize| {
            // SAFETY: the caller's promise.
            unsafe { self.pack_part(task, dst.get(), src.get(), strides) }
        };
        let tasks = self.tasks();
        region(self.count * self.k >= 2 * PACK_GRAIN, &[Phase { tasks, run: &run }]);
    }
}

/// How C is cut in blocks, one for each task. A thread's last blocks are small, so that nobody waits
/// long for the last one, on a core that is slower for a while (bench: `gemm_bench`).
struct Grid {
    /// Where blocks begin along the rows of C, in panels, and where the last one ends.
    rows: Vec<usize>,
    /// The same along its columns.
    cols: Vec<usize>,
    /// Whether blocks of the same rows follow each other; else those of the same columns.
    by_rows: bool,
}

impl Grid {
    fn new(
        parallel: bool,
        (rows, cols): (usize, usize),
        (most_rows, most_cols): (usize, usize),
        (a, b): (Access, Access),
        packed_b: bool,
    ) -> Self {
        let threads = if parallel { threads::available() } else { 1 };
        let own = a == Access::Own || b == Access::Own;
        if parallel && packed_b && rows <= cols && rows >= FEW_ROWS * threads {
            // Each thread computes whole rows, as kernels before and after this one do.
            return Self {
                rows: even(threads, rows),
                cols: dwindling(1, cols, most_cols),
                by_rows: true,
            };
        }
        // Blocks beside each other in the second direction pack their own operand once more.
        let least = if own { 2 * threads } else { threads::PIECES * threads };
        let cut = |panels: usize, most: usize, other: usize| {
            if !parallel {
                (even(panels.div_ceil(most), panels), even(1, other))
            } else if panels < least {
                (even(panels, panels), even(least.div_ceil(panels).min(other), other))
            } else {
                (dwindling(threads, panels, most), even(1, other))
            }
        };
        if a == Access::Own || (b != Access::Own && rows > cols) {
            let (rows, cols) = cut(rows, most_rows, cols);
            Self { rows, cols, by_rows: true }
        } else {
            let (cols, rows) = cut(cols, most_cols, rows);
            Self { rows, cols, by_rows: false }
        }
    }

    /// Number of blocks.
    fn tasks(&self) -> usize {
        self.down() * self.across()
    }

    /// Number of blocks beside each other along a row of C.
    fn across(&self) -> usize {
        self.cols.len() - 1
    }

    /// Number of blocks below each other along a column of C.
    fn down(&self) -> usize {
        self.rows.len() - 1
    }

    /// Where a task's block is along the rows of C.
    fn row(&self, task: usize) -> usize {
        if self.by_rows { task / self.across() } else { task % self.down() }
    }

    /// The block of a task; it may be empty.
    fn block(&self, task: usize) -> Block {
        let row = self.row(task);
        let col = if self.by_rows { task % self.across() } else { task / self.down() };
        Block { rows: self.rows[row]..self.rows[row + 1], cols: self.cols[col]..self.cols[col + 1] }
    }

    /// The blocks along the rows of C that some of these panels lie in.
    fn rows_of(&self, panels: &Range<usize>) -> Range<usize> {
        let block = |panel: usize| self.rows[1..].partition_point(|&end| end <= panel);
        block(panels.start)..block(panels.end - 1) + 1
    }
}

/// Nearly equal parts of `0..len`.
fn even(parts: usize, len: usize) -> Vec<usize> {
    let parts = parts.max(1);
    (0..=parts).map(|i| i * len / parts).collect()
}

/// For each thread as many parts of its share of `0..len`: a third of what is left, `most` at most.
fn dwindling(threads: usize, len: usize, most: usize) -> Vec<usize> {
    let next = |left: usize| left.div_ceil(3).min(most);
    let (mut parts, mut left) = (0, len.div_ceil(threads));
    while left > 0 {
        left -= next(left);
        parts += 1;
    }
    let mut cuts = vec![0];
    for share in even(threads, len).windows(2) {
        let mut at = share[0];
        for _ in 0..parts {
            at += next(share[1] - at);
            cuts.push(at);
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::super::pack::{pack, packed_len};
    use super::*;

    #[test]
    fn the_parts_of_each_thread_dwindle_and_are_all_there() {
        for (threads, len) in [(1, 1), (1, 32), (2, 7), (2, 32), (2, 301), (3, 100), (8, 9)] {
            let cuts = dwindling(threads, len, 8);
            let sizes: Vec<usize> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!((cuts[0], sizes.iter().sum::<usize>()), (0, len));
            assert_eq!(sizes.len() % threads, 0, "{threads} threads, {len}");
            for thread in sizes.chunks(sizes.len() / threads) {
                let share: usize = thread.iter().sum();
                assert!(share == len / threads || share == len.div_ceil(threads));
                assert!(thread[0] <= 8 && thread.is_sorted_by(|a, b| a >= b));
                assert!(thread[thread.len() - 1] <= 1, "{thread:?}");
            }
        }
        assert_eq!(dwindling(1, 32, 8), [0, 8, 16, 22, 26, 28, 30, 31, 32]);
    }

    #[test]
    fn tiles_fetch_all_that_is_packed_next() {
        let data = vec![0.0_f32; 1 << 16];
        let line = |p: *const f32| p as usize / LINE;
        for (strides, count, k) in [([256, 1], 40, 130), ([1, 300], 96, 70), ([1, 1000], 1, 5)] {
            for lines in [1, 32, 128] {
                let raw = Raw { from: data.as_ptr(), strides, count, k };
                let parts: Vec<Ahead> = (0..).map_while(|tile| raw.part(tile, lines)).collect();
                let fetched: Vec<usize> = parts
                    .iter()
                    .flat_map(|part| (0..lines).map(|i| part.from as usize + i * part.step))
                    .map(|at| line(at as *const f32))
                    .collect();
                // What lies side by side is fetched from the first value on, a line at a time.
                let missed = (0..count * k).find(|i| {
                    let (i, p) = (i % count, i / count);
                    let (i, p) = if strides[1] == 1 { (i, p & !15) } else { (i & !15, p) };
                    !fetched.contains(&line(raw.from.wrapping_add(i * strides[0] + p * strides[1])))
                });
                assert_eq!(missed, None, "{strides:?} {count} {k}, {lines} at a time");
            }
        }
        let kernel = Kernel::<f32>::best();
        let none = Raw { from: data.as_ptr(), strides: [1, 8], count: 0, k: 8 };
        assert!(none.part(0, kernel.lines_ahead(8)).is_none());
    }

    #[test]
    fn packing_tasks_do_all_lines_of_all_k_blocks() {
        let kernel = Kernel::<f32>::best();
        let (width, isa) = (kernel.mr, kernel.isa);
        let cases = [(7, 5, 5), (40, 700, 256), (300, 1030, 264), (2000, 4000, 512), (1, 9000, 64)];
        for ((count, k, k_block), whole) in cases.into_iter().flat_map(|c| [(c, false), (c, true)])
        {
            let lines = Lines::new(kernel, Side::A, count, k, k_block, whole);
            let src: Vec<f32> = (0..count * k).map(|i| i as f32).collect();
            let mut got = vec![f32::NAN; packed_len(width, count, k)];
            for task in (0..lines.tasks()).rev() {
                // SAFETY: both slices are as long as the lines need.
                unsafe { lines.pack_part(task, got.as_mut_ptr(), src.as_ptr(), [1, count]) };
            }
            let mut want = vec![0.0; got.len()];
            for k0 in (0..k).step_by(k_block) {
                let (src, k) = (&src[k0 * count..], k_block.min(k - k0));
                pack(
                    isa,
                    width,
                    &mut want[packed_len(width, count, k0)..],
                    src,
                    1,
                    count,
                    count,
                    k,
                );
            }
            assert!(got == want, "{count} lines of {k} values, {k_block} at a time, {whole}");
            for panel in 0..count.div_ceil(width) {
                let parts = lines.parts_of(&(panel..panel + 1));
                assert_eq!(parts.len(), 1, "panel {panel}");
                assert!(lines.part(parts.start).contains(&(panel * width)), "panel {panel}");
            }
        }
    }

    #[test]
    fn blocks_cover_the_product_once() {
        let accesses = [Access::Direct, Access::Shared, Access::Own];
        for (rows, cols) in [(1, 1), (1, 40), (3, 5), (22, 32), (86, 32), (32, 86)] {
            for (a, b) in accesses.iter().flat_map(|&a| accesses.map(|b| (a, b))) {
                for (parallel, packed) in [(false, false), (true, false), (true, true)] {
                    let grid = Grid::new(parallel, (rows, cols), (21, 8), (a, b), packed);
                    let mut times = vec![0; rows * cols];
                    for task in 0..grid.tasks() {
                        let block = grid.block(task);
                        assert!(
                            block.rows.is_empty() || {
                                let of = grid.rows_of(&block.rows);
                                of.contains(&grid.row(task))
                            }
                        );
                        for row in block.rows {
                            block.cols.clone().for_each(|col| times[row * cols + col] += 1);
                        }
                    }
                    assert!(times.iter().all(|&t| t == 1), "{rows}x{cols} {parallel} {packed}");
                }
            }
        }
    }
}
