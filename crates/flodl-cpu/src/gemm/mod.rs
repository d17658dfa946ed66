//! Matrix multiplication: any strides, fused bias and activation, batches, packed weights.
//!
//! Large products go through packed panels and a register-tiled micro-kernel ([`kernel`],
//! [`pack`]), or the CPU's tile unit, cut in blocks that the team shares; small ones run straight
//! from the operands; products with a vector read the matrix once; the sums of few long ones are cut
//! in parts. The order of every sum depends on the sizes alone, never on the number of threads.

mod act;
#[cfg(target_arch = "x86_64")]
mod amx;
mod blocked;
pub mod kernel;
mod long;
pub mod pack;
#[cfg(target_arch = "x86_64")]
mod split;
#[cfg(test)]
mod tests;
pub(crate) mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use act::{Of, Right, RowOp, gemm_act, gemm_of};
pub use kernel::{Form, Gather, Gemm, Kernel, Tile};

use std::ops::Range;

use crate::alloc::{OutOfMemory, Scratch};
use crate::threads::{self, SharedMut};
use blocked::{Lines, Problem};
pub(crate) use kernel::{Side, Tiles};
use vector::Gemv;

/// Below this many values each, operands fit the first-level cache and are not worth a copy
/// (bench: `gemm_bench`).
const SMALL: usize = 4096;
/// So few rows times a matrix with adjacent columns of values are dot products: reading that
/// matrix once for each is cheaper than a transposed copy (bench: `gemm_bench`).
const FEW_ROWS: usize = 3;
/// Against this many rows the copy of B is a small part of the work (bench: `gemm_bench`).
const MANY_ROWS: usize = 1024;
/// A matrix of fewer values is read in place.
const WORTH: usize = 1 << 15;
/// A batch of items above this many multiplications has each item shared among the threads.
const LARGE_ITEM: usize = 1 << 24;
/// What making or finishing a value is taken to cost, in simple operations.
const COST: usize = 8;

/// A read-only matrix: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    /// The elements, from (0, 0) on.
    pub data: &'a [T],
    /// From a row to the next.
    pub row_stride: usize,
    /// From a column to the next.
    pub col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A matrix whose rows of `cols` values lie one after the other.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Whether all `rows` by `cols` elements are there.
    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1)
                .checked_mul(self.row_stride)
                .zip((cols - 1).checked_mul(self.col_stride))
                .and_then(|(r, c)| r.checked_add(c))
                .is_some_and(|last| last < self.data.len())
    }
}

/// What happens to each element last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Negative values become 0; NaN stays.
    Relu,
}

/// What is done with rows of C when they are finished, on the threads that computed them, which have
/// them in their caches: it gets the numbers of the rows, and C from the start of the first to the end
/// of the last one. Each row comes once. Kernels that it calls run on its thread alone.
type Then<'a, T> = &'a (dyn Fn(Range<usize>, &mut [T]) + Sync);

/// Writes rows of A.
type Before<'a> = &'a (dyn Fn(Range<usize>) + Sync);

/// Finishes some rows, at least one.
///
/// # Safety
/// C has these rows of `n` values, `ldc` apart, and they are the caller's alone.
unsafe fn finish<T>(then: Then<'_, T>, c: *mut T, ldc: usize, n: usize, rows: Range<usize>) {
    let len = (rows.len() - 1) * ldc + n;
    // SAFETY: the caller's promise.
    let values = unsafe { std::slice::from_raw_parts_mut(c.add(rows.start * ldc), len) };
    then(rows, values);
}

/// What is done with the product on its way to C: `act(alpha * A B + biases (+ C))`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, T> {
    /// Whether to add to C; if not, C is not read.
    pub accumulate: bool,
    /// Factor of the product.
    pub alpha: T,
    /// One value per column of C to add.
    pub bias: Option<&'a [T]>,
    /// One value per row of C to add.
    pub row_bias: Option<&'a [T]>,
    /// Applied last to each value.
    pub activation: Activation,
}

impl<T: Gemm> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self {
            accumulate: false,
            alpha: T::ONE,
            bias: None,
            row_bias: None,
            activation: Activation::None,
        }
    }
}

/// `C = act(alpha * A B + bias (+ C))` for A m×k, B k×n and C m×n with rows `ldc` apart.
///
/// With k = 0 the product is 0. Elements of `c` between the rows stay as they are.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for packed panels; C may then be half written.
///
/// # Panics
/// If a slice is too short for its matrix, or `ldc < n`.
pub fn gemm<T: Gemm>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    product((m, n, k), a, Right::Plain(b), c, ldc, ep, None)
}

/// [`gemm`], or [`gemm_packed`], with something done with finished rows.
fn product<T: Gemm>(
    (m, n, k): (usize, usize, usize),
    a: Mat<T>,
    b: Right<'_, T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
    then: Option<Then<'_, T>>,
) -> Result<(), OutOfMemory> {
    let (kernel, b, panels) = b.parts((m, n, k));
    check(m, n, k, &a, c, ldc, ep);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let problem = problem(m, n, k, &a, &b, c, ldc, ep);
    match Way::of(m, n, k, a.col_stride, &b, panels.is_some()) {
        Way::Vector => gemv(m, n, k, a, b, c, ldc, ep)?,
        Way::Rows => {
            for i in 0..m {
                let a = Mat { data: &a.data[i * a.row_stride..], ..a };
                let ep = Epilogue { row_bias: ep.row_bias.map(|bias| &bias[i..]), ..*ep };
                gemv(1, n, k, a, b, &mut c[i * ldc..], ldc, &ep)?;
            }
        }
        // SAFETY: checked above, and C is borrowed exclusively.
        Way::Direct => unsafe { blocked::direct(Kernel::best(), &problem) },
        // SAFETY: as above.
        Way::Long(parts) => unsafe { long::split(kernel, &problem, parts)? },
        // SAFETY: as above.
        Way::Blocked => return unsafe { blocked::blocked(kernel, &problem, panels, None, then) },
    }
    if let Some(then) = then {
        let c = SharedMut::new(c);
        threads::parallel_rows(m, COST.saturating_mul(n), |rows| {
            // SAFETY: each task has its own rows.
            unsafe { finish(then, c.as_mut_ptr(), ldc, n, rows) };
        });
    }
    Ok(())
}

/// How a product is computed.
enum Way {
    /// One row or column.
    Vector,
    /// A few rows, each with a vector.
    Rows,
    /// From where the operands are.
    Direct,
    /// As the sum of so many products.
    Long(usize),
    /// In packed blocks.
    Blocked,
}

impl Way {
    fn of<T>(m: usize, n: usize, k: usize, a_col: usize, b: &Mat<T>, packed: bool) -> Self {
        if packed {
            return Self::Blocked;
        }
        if m == 1 || n == 1 {
            return Self::Vector;
        }
        if m <= FEW_ROWS && k >= 64 && a_col == 1 && b.row_stride == 1 {
            return Self::Rows;
        }
        let small = m.max(n).saturating_mul(k) <= SMALL && !blocked::parallel(m, n, k);
        if small && b.col_stride == 1 {
            return Self::Direct;
        }
        match long::parts(m, n, k) {
            1 => Self::Blocked,
            parts => Self::Long(parts),
        }
    }
}

/// [`gemm`] for `batch` triples of matrices, the given strides apart; a stride of 0 uses the same
/// A or B for all.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`], or if two items of C overlap.
pub fn gemm_batched<T: Gemm>(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    a_batch_stride: usize,
    b: Mat<T>,
    b_batch_stride: usize,
    c: &mut [T],
    c_batch_stride: usize,
    ldc: usize,
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    if batch == 0 || m == 0 || n == 0 {
        return Ok(());
    }
    let one = batch == 1;
    let tall = a_batch_stride == m * a.row_stride && c_batch_stride == m * ldc;
    if b_batch_stride == 0 && tall && ep.row_bias.is_none() {
        // The items of A, and of C, form one tall matrix.
        return gemm(batch * m, n, k, a, b, c, ldc, ep);
    }
    let c_len = (m - 1) * ldc + n;
    assert!(one || c_batch_stride >= c_len, "gemm: items of C overlap");
    let item = |data: &'_ [T], stride: usize, i: usize| data.len().min(stride.saturating_mul(i));
    let (a_last, b_last) =
        (item(a.data, a_batch_stride, batch - 1), item(b.data, b_batch_stride, batch - 1));
    assert!(Mat { data: &a.data[a_last..], ..a }.holds(m, k), "gemm: A is too short");
    assert!(Mat { data: &b.data[b_last..], ..b }.holds(k, n), "gemm: B is too short");
    assert!(c.len() >= (batch - 1) * c_batch_stride + c_len, "gemm: C is too short");

    let work = m.saturating_mul(n).saturating_mul(k).max(1);
    let at = |i: usize| {
        (
            Mat { data: &a.data[item(a.data, a_batch_stride, i)..], ..a },
            Mat { data: &b.data[item(b.data, b_batch_stride, i)..], ..b },
        )
    };
    if work >= LARGE_ITEM || one {
        for i in 0..batch {
            let (a, b) = at(i);
            gemm(m, n, k, a, b, &mut c[i * c_batch_stride..][..c_len], ldc, ep)?;
        }
        return Ok(());
    }
    let shared = SharedMut::new(c);
    let failed = std::sync::Mutex::new(None);
    let items = |range: std::ops::Range<usize>| {
        for i in range {
            let (a, b) = at(i);
            // SAFETY: the items of C do not overlap, and each is one task's.
            let c = unsafe { shared.range(i * c_batch_stride..i * c_batch_stride + c_len) };
            if let Err(error) = gemm(m, n, k, a, b, c, ldc, ep) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        }
    };
    threads::parallel_rows(batch, work / 8, items);
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Whether a right-hand matrix that several products use is worth packing once for them all: it is
/// large, and so few rows meet it that its copy takes a good part of the time. [`gemm_packed`] then
/// gives the same bits as [`gemm`], if the copy was made for products of the same [`form`].
pub fn worth_packing(m: usize, n: usize, k: usize) -> bool {
    let rows = FEW_ROWS < m && m <= MANY_ROWS;
    rows && n > 1 && n.saturating_mul(k) >= WORTH && long::parts(m, n, k) == 1
}

/// How the packed operands of a product of these sizes hold their values.
pub fn form<T: Gemm>(m: usize, n: usize, k: usize) -> Form {
    Kernel::<T>::of_blocks(m, n, k).form
}

/// A right-hand matrix in the form that the micro-kernel reads, for use in many products.
pub struct PackedB<T: 'static> {
    k: usize,
    n: usize,
    kernel: &'static Kernel<T>,
    panels: Scratch<T>,
}

impl<T: Gemm> PackedB<T> {
    /// Packs the k×n matrix `b` for products of about `m` rows ([`form`]).
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no room for the copy.
    ///
    /// # Panics
    /// If `b` is too short.
    pub fn new(m: usize, k: usize, n: usize, b: Mat<T>) -> Result<Self, OutOfMemory> {
        let kernel = Kernel::<T>::of_blocks(m, n, k);
        let panels = Scratch::new(kernel.packed_len(Side::B, n, k))?;
        let mut packed = Self { k, n, kernel, panels };
        packed.repack(b);
        Ok(packed)
    }

    /// Values that such a copy takes, in values of this type.
    pub fn values(m: usize, k: usize, n: usize) -> usize {
        Kernel::<T>::of_blocks(m, n, k).packed_len(Side::B, n, k)
    }

    /// Packs another matrix of the same size in the same memory.
    ///
    /// # Panics
    /// If `b` is too short.
    pub fn repack(&mut self, b: Mat<T>) {
        assert!(b.holds(self.k, self.n), "gemm: B is too short");
        let k_block = blocked::k_block(self.k);
        let lines = Lines::new(self.kernel, Side::B, self.n, self.k, k_block, false);
        let (dst, src) = (self.panels.as_mut_ptr(), b.data.as_ptr());
        // SAFETY: B holds all its elements; the panels of all k-blocks fit the memory.
        unsafe { lines.pack(dst, src, [b.col_stride, b.row_stride]) };
    }

    /// Rows of the matrix.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// [`gemm`] with a packed right-hand matrix.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`].
pub fn gemm_packed<T: Gemm>(
    m: usize,
    a: Mat<T>,
    b: &PackedB<T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    product((m, b.n, b.k), a, Right::Packed(b), c, ldc, ep, None)
}

impl<'a, T: Gemm> Right<'a, T> {
    /// The kernel for `m` rows times this matrix of `k` rows and `n` columns, and either its elements
    /// or its panels.
    fn parts(
        self,
        (m, n, k): (usize, usize, usize),
    ) -> (&'static Kernel<T>, Mat<'a, T>, Option<&'a [T]>) {
        match self {
            Right::Plain(b) => {
                assert!(b.holds(k, n), "gemm: B is too short");
                (Kernel::of_blocks(m, n, k), b, None)
            }
            Right::Packed(b) => {
                assert!([b.k, b.n] == [k, n], "gemm: sizes of the packed B");
                (b.kernel, Mat { data: &[], row_stride: 0, col_stride: 0 }, Some(&b.panels[..]))
            }
        }
    }
}

/// The product of an A whose rows of `k` values `before` writes just before they are read.
fn gemm_before<T: Gemm>(
    (m, n, k): (usize, usize, usize),
    a: &mut [T],
    b: Right<'_, T>,
    c: &mut [T],
    ep: &Epilogue<T>,
    before: impl Fn(&SharedMut<'_, T>, Range<usize>) + Sync,
) -> Result<(), OutOfMemory> {
    assert!(a.len() == m * k, "gemm: length of A");
    let (kernel, matrix, panels) = b.parts((m, n, k));
    // A is written and read through one pointer.
    let unused = Mat { data: &[], row_stride: k, col_stride: 1 };
    check(m, n, 0, &unused, c, n, ep);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let shared = SharedMut::new(a);
    let before = |rows: Range<usize>| before(&shared, rows);
    if matches!(Way::of(m, n, k, 1, &matrix, panels.is_some()), Way::Blocked) {
        let mut problem = problem(m, n, k, &unused, &matrix, c, n, ep);
        problem.a = shared.as_mut_ptr();
        // SAFETY: checked above, and A and C are borrowed exclusively.
        return unsafe { blocked::blocked(kernel, &problem, panels, Some(&before), None) };
    }
    threads::parallel_rows(m, COST.saturating_mul(k), before);
    gemm(m, n, k, Mat::row_major(a, k), matrix, c, n, ep)
}

fn check<T: Gemm>(m: usize, n: usize, k: usize, a: &Mat<T>, c: &[T], ldc: usize, ep: &Epilogue<T>) {
    assert!(a.holds(m, k), "gemm: A is too short");
    let c = Mat { data: c, row_stride: ldc, col_stride: 1 };
    assert!(c.holds(m, n) && (m <= 1 || ldc >= n), "gemm: C is too short");
    assert!(ep.bias.is_none_or(|b| b.len() >= n), "gemm: the bias is too short");
    assert!(ep.row_bias.is_none_or(|b| b.len() >= m), "gemm: the row bias is too short");
}

fn problem<T: Gemm>(
    m: usize,
    n: usize,
    k: usize,
    a: &Mat<T>,
    b: &Mat<T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) -> Problem<T> {
    Problem {
        m,
        n,
        k,
        a: a.data.as_ptr(),
        a_row: a.row_stride,
        a_col: a.col_stride,
        b: b.data.as_ptr(),
        b_row: b.row_stride,
        b_col: b.col_stride,
        c: c.as_mut_ptr(),
        ldc,
        accumulate: ep.accumulate,
        alpha: ep.alpha,
        bias: ep.bias.map_or(std::ptr::null(), <[T]>::as_ptr),
        row_bias: ep.row_bias.map_or(std::ptr::null(), <[T]>::as_ptr),
        relu: ep.activation == Activation::Relu,
    }
}

/// A product with one row or one column.
fn gemv<T: Gemm>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    let row = m == 1;
    let (matrix, mut x, lines) = if row { (b.t(), a, n) } else { (a, b.t(), m) };
    let mut copy;
    if matrix.col_stride == 1 && x.col_stride != 1 && k > 1 {
        copy = Scratch::new(k)?;
        for (p, value) in copy.iter_mut().enumerate() {
            *value = x.data[p * x.col_stride];
        }
        x = Mat::row_major(&copy, k);
    }
    let gemv = Gemv {
        lines,
        k,
        matrix: matrix.data,
        line_stride: matrix.row_stride,
        k_stride: matrix.col_stride,
        x: x.data,
        x_stride: x.col_stride,
        y_stride: if row { 1 } else { ldc },
        line_bias: if row { ep.bias } else { ep.row_bias },
        bias: if row { ep.row_bias } else { ep.bias }.map_or(T::ZERO, |bias| bias[0]),
        accumulate: ep.accumulate,
        alpha: ep.alpha,
        relu: ep.activation == Activation::Relu,
    };
    gemv.run(c);
    Ok(())
}
