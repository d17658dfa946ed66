//! The micro-kernel: one tile of C, held in registers, from a panel of A and a panel of B.
//!
//! A packed panel of A holds `mr` rows, step by step along k: element (i, p) is at `p * mr + i`.
//! A packed panel of B holds `nr` columns: element (p, j) is at `p * nr + j`. Both are padded with
//! zeros. Whoever fills such panels (see [`super::pack`], or a convolution from its image) can use
//! the kernel.

use super::pack::{pack_raw, packed_len};
use crate::element::Float;
use crate::simd::{self, Isa};

/// One call of the micro-kernel: `c[i, j] = act(alpha * sum_p a[i, p] * b[p, j] + bias (+ c))`.
///
/// The sum of an element depends on `k` and on the number of rows of its tile alone, not on how the
/// operands lie: it runs over p in order, or in two such sums where there are one or two rows.
#[derive(Clone, Copy)]
pub struct Tile<T> {
    /// Length of the sum; 0 is allowed.
    pub k: usize,
    /// Element (0, 0) of A.
    pub a: *const T,
    /// From a row of A to the next: 1 in a packed panel.
    pub a_row: usize,
    /// From a column of A to the next: `mr` in a packed panel.
    pub a_step: usize,
    /// Element (0, 0) of B, whose columns are adjacent.
    pub b: *const T,
    /// From a row of B to the next: `nr` in a packed panel.
    pub b_step: usize,
    /// Where the rows of B lie instead, if they are gathered.
    pub gather: Option<Gather>,
    /// Element (0, 0) of C, whose columns are adjacent.
    pub c: *mut T,
    /// From a row of C to the next.
    pub ldc: usize,
    /// Rows to write, 1 to `mr`.
    pub rows: usize,
    /// Columns to write, 1 to `nr`.
    pub cols: usize,
    /// Whether to add to C instead of overwriting it, which then is not read.
    pub accumulate: bool,
    /// Factor of the product.
    pub alpha: T,
    /// One value per column of the tile to add, or null.
    pub col_bias: *const T,
    /// One value per row of the tile to add, or null.
    pub row_bias: *const T,
    /// Whether to replace negative results by 0, last of all.
    pub relu: bool,
    /// What is brought into the second level of the cache while packed panels are multiplied.
    pub ahead: Ahead,
}

/// Lines of the cache to fetch, as many as suit the length of the sums. They may be anywhere.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// An address in the first one.
    pub from: *const u8,
    /// Bytes from one to the next. The tile unit's kernel takes them side by side whatever this is.
    pub step: usize,
}

impl Ahead {
    /// Lines side by side.
    pub fn adjacent<T>(from: *const T) -> Self {
        Self { from: from.cast(), step: LINE }
    }
}

/// Least rows, columns, length of the sums and multiplications of a product that is worth splitting.
/// The unit also takes a while until it is at its speed (bench: `gemm_bench`, with
/// `FLODL_ISA=avx512` for the other way). (In tests so few that they see it at work.)
const SPLIT_LINES: usize = 32;
const SPLIT_STEPS: usize = 64;
const SPLIT_WORK: usize = if cfg!(test) { 1 << 16 } else { 1 << 23 };

/// Steps along k, as many as a turn of the loop has, for each line that a tile fetches ahead.
pub(super) const STEPS_PER_LINE: usize = 4;
/// Bytes of a line of the cache.
pub(super) const LINE: usize = 64;

/// Rows of B that lie anywhere, as the patches of an image do: each in two halves of `nr / 2`
/// adjacent columns.
#[derive(Clone, Copy)]
pub struct Gather {
    /// From the start of B to each row's first half: one distance for each step of k.
    pub rows: *const usize,
    /// From a row's first half to its second.
    pub second: usize,
}

/// An operand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left one, whose lines are rows.
    A,
    /// The right one, whose lines are columns.
    B,
}

/// How packed panels hold an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Value by value, as [`super::pack`] says.
    Values,
    /// Each value in three parts, for the CPU's tile unit. Its kernel reads nothing else: no strides,
    /// and no gathered rows.
    #[cfg(target_arch = "x86_64")]
    Split,
}

/// A micro-kernel and its tile size.
pub struct Kernel<T: 'static> {
    /// The instruction set it needs.
    pub isa: Isa,
    /// Rows of a tile, and of a packed panel of A.
    pub mr: usize,
    /// Columns of a tile, and of a packed panel of B.
    pub nr: usize,
    /// How it reads packed panels.
    pub(super) form: Form,
    /// Computes a tile; safe to call as [`Kernel::run`] says.
    pub(super) run: unsafe fn(&Tile<T>),
}

impl<T: Gemm> Kernel<T> {
    /// The kernel for the instruction set in use.
    #[inline]
    pub fn best() -> &'static Self {
        T::kernel(simd::isa())
    }

    /// The kernel for the packed blocks of a product of these sizes: the tile unit of the CPU, if it
    /// has one and there is enough to do for it, or else the best one.
    pub(crate) fn of_blocks(m: usize, n: usize, k: usize) -> &'static Self {
        let work = m.saturating_mul(n).saturating_mul(k);
        match T::split_kernel() {
            Some(kernel) if m.min(n) >= SPLIT_LINES && k >= SPLIT_STEPS && work >= SPLIT_WORK => {
                kernel
            }
            _ => Self::best(),
        }
    }

    /// Lines of a packed panel of that operand.
    pub(crate) fn width(&self, side: Side) -> usize {
        match side {
            Side::A => self.mr,
            Side::B => self.nr,
        }
    }

    /// Values that `count` lines of `k` values take when packed.
    pub(crate) fn packed_len(&self, side: Side, count: usize, k: usize) -> usize {
        match self.form {
            Form::Values => packed_len(self.width(side), count, k),
            #[cfg(target_arch = "x86_64")]
            Form::Split => super::split::packed_len(count, k),
        }
    }

    /// Packs `count` lines of `k` values; line i has its values at `i * line_stride + p * k_stride`.
    ///
    /// # Safety
    /// These are readable from `src` on; `dst` is writable for [`Self::packed_len`] values, which
    /// nobody else uses.
    pub(crate) unsafe fn pack(
        &self,
        side: Side,
        dst: *mut T,
        src: *const T,
        [line_stride, k_stride]: [usize; 2],
        count: usize,
        k: usize,
    ) {
        // SAFETY: the caller's promise. Split panels are for `f32` alone, on CPUs with AVX-512.
        unsafe {
            match self.form {
                Form::Values => {
                    let width = self.width(side);
                    pack_raw(self.isa, width, dst, src, line_stride, k_stride, count, k);
                }
                #[cfg(target_arch = "x86_64")]
                Form::Split => {
                    let strides = [line_stride, k_stride];
                    super::split::pack(side, dst.cast(), src.cast(), strides, count, k);
                }
            }
        }
    }

    /// Makes the CPU ready for tiles on this thread, which [`Kernel::run`] does for each.
    #[inline]
    pub(crate) fn start(&self) -> Tiles<'_, T> {
        Tiles {
            kernel: self,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: there is such a kernel only where the unit may be used.
            unit: (self.form == Form::Split).then(|| unsafe { super::amx::Unit::start() }),
        }
    }

    /// Whether panels that are written value by value, as [`super::pack`] says, are what it reads.
    pub(crate) fn reads_values(&self) -> bool {
        self.form == Form::Values
    }

    /// Values that [`Self::lines`] needs beside the panels, for `panels` of them with `k` steps.
    pub(crate) fn aside_len(&self, side: Side, panels: usize, k: usize) -> usize {
        if self.reads_values() { 0 } else { panels * self.width(side) * k }
    }

    /// Where to write panels value by value, as [`super::pack`] says: in `dst`, or in `aside` if it
    /// reads another form, which [`Self::pack_lines`] then makes of them. (Not with a closure, which
    /// would be compiled without the instruction set of the function around it.)
    #[inline(always)]
    pub(crate) fn lines<'a>(&self, dst: &'a mut [T], aside: &'a mut [T]) -> &'a mut [T] {
        if self.reads_values() { dst } else { aside }
    }

    /// Makes the panels in `dst`, of `count` lines and `k` steps each, of those in `aside`, unless
    /// [`Self::lines`] had them written there.
    ///
    /// # Panics
    /// If a slice is too short for the panels, or a panel has fewer lines than `count`.
    pub(crate) fn pack_lines(
        &self,
        side: Side,
        (panels, count, k): (usize, usize, usize),
        dst: &mut [T],
        aside: &[T],
    ) {
        if self.reads_values() {
            return;
        }
        let (width, of_panel) = (self.width(side), self.packed_len(side, self.width(side), k));
        assert!(count <= width, "gemm: lines of a panel");
        for i in 0..panels {
            let from = aside[i * width * k..][..width * k].as_ptr();
            let to = dst[i * of_panel..][..of_panel].as_mut_ptr();
            // SAFETY: both slices are as long as a panel of `width` lines and `k` steps.
            unsafe { self.pack(side, to, from, [1, width], count, k) };
        }
    }

    /// Lines of the cache that a tile of `k` steps fetches ahead.
    pub(super) fn lines_ahead(&self, k: usize) -> usize {
        match self.form {
            Form::Values => k / STEPS_PER_LINE,
            #[cfg(target_arch = "x86_64")]
            Form::Split => super::amx::lines_ahead(k),
        }
    }

    /// A tile with packed panels that overwrites C, without bias.
    pub fn tile(&self, k: usize, a: *const T, b: *const T, c: *mut T, ldc: usize) -> Tile<T> {
        Tile {
            k,
            a,
            a_row: 1,
            a_step: self.mr,
            b,
            b_step: self.nr,
            gather: None,
            c,
            ldc,
            rows: self.mr,
            cols: self.nr,
            accumulate: false,
            alpha: T::ONE,
            col_bias: std::ptr::null(),
            row_bias: std::ptr::null(),
            relu: false,
            ahead: Ahead::adjacent(a),
        }
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// `1 <= rows <= mr`, `1 <= cols <= nr`. C is writable (and initialised, if accumulating) for
    /// `rows` rows of `cols` values, `ldc` apart, and nobody else uses these. Packed panels are
    /// readable for `k * mr` and `k * nr` values; operands with any other strides for the `rows`
    /// by `k` and `k` by `cols` elements that the strides lead to. With gathered rows, `a` is a
    /// packed panel, `cols` is `nr`, and there are `k` distances, which lead to readable halves. A
    /// bias that is not null is readable for `cols` or `rows` values. On this thread no kernel is in
    /// use (`start`).
    #[inline(always)]
    pub unsafe fn run(&self, tile: &Tile<T>) {
        debug_assert!((1..=self.mr).contains(&tile.rows) && (1..=self.nr).contains(&tile.cols));
        // SAFETY: the caller's promise; `T::kernel` gives no kernel that the CPU cannot run.
        unsafe { (self.run)(tile) }
    }
}

/// A kernel in use: tiles that a thread computes one after the other.
pub(crate) struct Tiles<'a, T: 'static> {
    kernel: &'a Kernel<T>,
    #[cfg(target_arch = "x86_64")]
    unit: Option<super::amx::Unit>,
}

impl<T: Gemm> Tiles<'_, T> {
    /// Computes a tile.
    ///
    /// # Safety
    /// As for [`Kernel::run`].
    #[inline(always)]
    pub unsafe fn run(&self, tile: &Tile<T>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = &self.unit {
            // SAFETY: the caller's promise; kernels that read split panels are for `f32` alone.
            return unsafe { unit.run(&*std::ptr::from_ref(tile).cast()) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.kernel.run(tile) }
    }
}

/// The types that matrices are multiplied in.
pub trait Gemm: Float {
    /// The kernel for an instruction set, or for the best one below it that the CPU has.
    fn kernel(isa: Isa) -> &'static Kernel<Self>;

    /// The kernel that reads split panels, if the CPU has the unit for it, and it is in use.
    fn split_kernel() -> Option<&'static Kernel<Self>> {
        None
    }
}

macro_rules! gemm_type {
    ($t:ty, $avx512:ident, $avx2:ident, $portable:ident $(, $split:ident)?) => {
        static $portable: Kernel<$t> = Kernel {
            isa: Isa::Baseline,
            mr: 4,
            nr: 8,
            form: Form::Values,
            run: portable::<$t, 4, 8>,
        };
        impl Gemm for $t {
            #[inline]
            fn kernel(isa: Isa) -> &'static Kernel<Self> {
                #[cfg(target_arch = "x86_64")]
                match isa.min(simd::supported()) {
                    Isa::Avx512 => return &super::x86::$avx512,
                    Isa::Avx2 => return &super::x86::$avx2,
                    Isa::Baseline => {}
                }
                let _ = isa;
                &$portable
            }

            $(
                #[cfg(target_arch = "x86_64")]
                #[inline]
                fn split_kernel() -> Option<&'static Kernel<Self>> {
                    simd::amx().then_some(&super::amx::$split)
                }
            )?
        }
    };
}
gemm_type!(f32, F32_AVX512, F32_AVX2, F32_PORTABLE, F32_AMX);
gemm_type!(f64, F64_AVX512, F64_AVX2, F64_PORTABLE);

/// The kernel for CPUs without one of their own; the compiler keeps the tile in vector registers.
///
/// # Safety
/// As for [`Kernel::run`].
unsafe fn portable<T: Float, const MR: usize, const NR: usize>(t: &Tile<T>) {
    let packed = t.a_row == 1 && t.a_step == MR && t.b_step == NR;
    // SAFETY: the caller's promise. Packed panels are padded to whole tiles.
    let sum = unsafe {
        if let Some(gather) = t.gather {
            portable_sum::<T, MR, NR>(t.k, |p| {
                let row = t.b.add(*gather.rows.add(p));
                let half = |j: usize| row.add(j / (NR / 2) * gather.second + j % (NR / 2));
                let b = std::array::from_fn(|j| *half(j));
                (t.a.add(p * MR).cast::<[T; MR]>().read(), b)
            })
        } else if packed {
            portable_sum::<T, MR, NR>(t.k, |p| {
                (t.a.add(p * MR).cast::<[T; MR]>().read(), t.b.add(p * NR).cast::<[T; NR]>().read())
            })
        } else {
            // Rows and columns past the edge are its last ones again; they are not stored.
            let rows: [usize; MR] = std::array::from_fn(|i| i.min(t.rows - 1) * t.a_row);
            let cols: [usize; NR] = std::array::from_fn(|j| j.min(t.cols - 1));
            let a = |p: usize| rows.map(|row| *t.a.add(p * t.a_step + row));
            let b = |p: usize| t.b.add(p * t.b_step);
            if t.cols == NR {
                portable_sum::<T, MR, NR>(t.k, |p| (a(p), b(p).cast::<[T; NR]>().read()))
            } else {
                portable_sum::<T, MR, NR>(t.k, |p| (a(p), cols.map(|col| *b(p).add(col))))
            }
        }
    };
    for (i, row) in sum.iter().enumerate().take(t.rows) {
        for (j, &value) in row.iter().enumerate().take(t.cols) {
            // SAFETY: row and column are inside the tile.
            unsafe {
                let c = t.c.add(i * t.ldc + j);
                let mut value = value * t.alpha;
                if !t.row_bias.is_null() {
                    value += *t.row_bias.add(i);
                }
                if !t.col_bias.is_null() {
                    value += *t.col_bias.add(j);
                }
                if t.accumulate {
                    value += *c;
                }
                *c = if t.relu && value < T::ZERO { T::ZERO } else { value };
            }
        }
    }
}

/// The sums of a tile whose step p along k is given by `at`.
#[inline(always)]
fn portable_sum<T: Float, const MR: usize, const NR: usize>(
    k: usize,
    at: impl Fn(usize) -> ([T; MR], [T; NR]),
) -> [[T; NR]; MR] {
    let mut sum = [[T::ZERO; NR]; MR];
    for p in 0..k {
        let (a, b) = at(p);
        for (row, a) in sum.iter_mut().zip(a) {
            *row = std::array::from_fn(|j| a.mul_add_::<simd::Baseline>(b[j], row[j]));
        }
    }
    sum
}
