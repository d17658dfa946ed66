//! Reductions over any set of dims.
//!
//! Two loops do the work: along dense rows (many lanes at once) and down dense columns (a tile of
//! columns in registers). Every other case is brought to these by a step through scratch memory.
//! Partial results of short blocks are joined in `f64`, so that sums stay accurate however long
//! they are; blocks depend on sizes alone, so results do not depend on the number of threads.

mod lanes;
mod rows;

pub(crate) use lanes::{FEW_LANES, LANES, SHORT, lane_fold, long_sum, long_sum2, sum, sum2};
pub use rows::{
    ArgOp, BoolReduceOp, IntReduceOp, arg_reduce, logsumexp, norm, reduce_bool, reduce_int, var,
};
pub(crate) use rows::{exp_sum, max_and_log_sum};

use std::marker::PhantomData;
use std::ops::Range;

use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Float;
use crate::elementwise::copy;
use crate::math::{FloatMath, max_nan, min_nan};
use crate::simd::{Arch, Kernel, dispatch};
use crate::strided::{Dims, Nest, View};
use crate::threads::{GRAIN, SharedMut, parallel_for, parallel_ranges, parallel_rows};

/// What to reduce with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Σ x; 0 of nothing.
    Sum,
    /// Σ x / n; NaN of nothing.
    Mean,
    /// Π x; 1 of nothing.
    Prod,
    /// The largest; NaN if there is one; -∞ of nothing.
    Max,
    /// The smallest; NaN if there is one; ∞ of nothing.
    Min,
    /// Σ x².
    SumSquares,
    /// Σ |x|.
    L1,
    /// sqrt(Σ x²).
    L2,
    /// The largest |x|; 0 of nothing.
    MaxAbs,
}

/// How one operation folds: elements are lifted, folded in their type over short blocks, and
/// blocks are joined in `f64`.
trait Fold {
    const START: f64;
    const EXTREME: bool;
    fn lift<T: FloatMath>(x: T) -> T;
    fn fold<T: FloatMath>(acc: T, x: T) -> T;
    fn join(a: f64, b: f64) -> f64;
}

macro_rules! fold {
    ($name:ident, $start:expr, $extreme:expr, |$x:ident| $lift:expr, |$a:ident, $b:ident| $fold:expr) => {
        struct $name;
        impl Fold for $name {
            const START: f64 = $start;
            const EXTREME: bool = $extreme;
            #[inline(always)]
            fn lift<T: FloatMath>($x: T) -> T {
                $lift
            }
            #[inline(always)]
            fn fold<T: FloatMath>($a: T, $b: T) -> T {
                $fold
            }
            #[inline(always)]
            fn join($a: f64, $b: f64) -> f64 {
                $fold
            }
        }
    };
}
fold!(SumFold, 0.0, false, |x| x, |a, b| a + b);
fold!(ProdFold, 1.0, false, |x| x, |a, b| a * b);
fold!(MaxFold, f64::NEG_INFINITY, true, |x| x, |a, b| max_nan(a, b));
fold!(MinFold, f64::INFINITY, true, |x| x, |a, b| min_nan(a, b));
fold!(SquareFold, 0.0, false, |x| x * x, |a, b| a + b);
fold!(AbsFold, 0.0, false, |x| x.abs_(), |a, b| a + b);
fold!(MaxAbsFold, 0.0, true, |x| x.abs_(), |a, b| max_nan(a, b));

/// Rows of a column tile whose fold stays in the element type.
const SHORT_ROWS: usize = 128;
/// Columns that stay in registers.
const TILE: usize = 64;
/// Elements in a part of a reduction that is split because it has too few rows or columns.
const PART: usize = 64 * 1024;
/// With fewer rows or tiles than this, a long reduction is split.
const FEW: usize = 8;

struct RowKernel<'a, F, T>(&'a [T], PhantomData<F>);

impl<F: Fold, T: FloatMath> Kernel for RowKernel<'_, F, T> {
    type Out = f64;
    #[inline(always)]
    fn run<A: Arch>(self) -> f64 {
        let mut total = F::START;
        for block in self.0.chunks(SHORT) {
            let start = T::from_f64(F::START);
            let step = |acc, x| F::fold(acc, F::lift(x));
            let part = if F::EXTREME {
                lane_fold::<FEW_LANES, T>(block, start, step, F::fold)
            } else {
                lane_fold::<LANES, T>(block, start, step, F::fold)
            };
            total = F::join(total, part.to_f64());
        }
        total
    }
}

struct ColumnKernel<'a, F, T> {
    x: &'a [T],
    stride: usize,
    rows: usize,
    out: &'a mut [f64],
    fold: PhantomData<F>,
}

impl<F: Fold, T: FloatMath> Kernel for ColumnKernel<'_, F, T> {
    type Out = ();
    /// Folds the first `out.len() <= TILE` columns of `rows` rows into `out`.
    #[inline(always)]
    fn run<A: Arch>(self) {
        let width = self.out.len();
        let start = T::from_f64(F::START);
        self.out.fill(F::START);
        for first in (0..self.rows).step_by(SHORT_ROWS) {
            let rows = first..(first + SHORT_ROWS).min(self.rows);
            let mut acc = [start; TILE];
            if width == TILE {
                for r in rows {
                    let row = &self.x[r * self.stride..][..TILE];
                    for j in 0..TILE {
                        acc[j] = F::fold(acc[j], F::lift(row[j]));
                    }
                }
            } else {
                for r in rows {
                    let row = &self.x[r * self.stride..][..width];
                    for (acc, &x) in acc.iter_mut().zip(row) {
                        *acc = F::fold(*acc, F::lift(x));
                    }
                }
            }
            for (out, acc) in self.out.iter_mut().zip(&acc) {
                *out = F::join(*out, acc.to_f64());
            }
        }
    }
}

fn row<F: Fold, T: FloatMath>(x: &[T]) -> f64 {
    dispatch(RowKernel::<F, T>(x, PhantomData))
}

/// Joins `f` of each part of `0..len`, in order; the parts depend on `len` alone and are done in
/// parallel.
fn split(
    len: usize,
    start: f64,
    f: impl Fn(Range<usize>) -> f64 + Sync,
    join: impl Fn(f64, f64) -> f64,
) -> f64 {
    if len < 2 * PART {
        return f(0..len);
    }
    let part = PART.max(len.div_ceil(256).next_multiple_of(SHORT));
    let parts = len.div_ceil(part);
    let mut partial = [start; 256];
    let shared = SharedMut::new(&mut partial);
    parallel_for(parts, |p| {
        // SAFETY: task `p` alone writes element `p`.
        let slot = unsafe { shared.range(p..p + 1) };
        slot[0] = f(p * part..((p + 1) * part).min(len));
    });
    partial[..parts].iter().fold(start, |a, &b| join(a, b))
}

/// Σ `f` of the parts of `0..len`, as in [`split`].
pub(crate) fn split_sum(len: usize, f: impl Fn(Range<usize>) -> f64 + Sync) -> f64 {
    split(len, 0.0, f, |a, b| a + b)
}

/// Reduces `rows` rows of `len` dense elements, `stride` apart.
fn fold_rows<F: Fold, T: FloatMath>(x: &[T], stride: usize, len: usize, out: &mut [T]) {
    let rows = out.len();
    if rows < FEW && len >= 2 * PART {
        for (i, out) in out.iter_mut().enumerate() {
            let x = &x[i * stride..][..len];
            *out = T::from_f64(split(len, F::START, |r| row::<F, T>(&x[r]), F::join));
        }
        return;
    }
    let shared = SharedMut::new(out);
    parallel_rows(rows, len, |range| {
        // SAFETY: ranges of one region are disjoint.
        for (i, out) in range.clone().zip(unsafe { shared.range(range) }) {
            *out = T::from_f64(row::<F, T>(&x[i * stride..][..len]));
        }
    });
}

/// Reduces the middle dim of (`outer`, `rows`, `columns`) with strides (`outer_stride`, `stride`,
/// 1).
fn fold_columns<F: Fold, T: FloatMath>(
    x: &[T],
    [outer, rows, columns]: [usize; 3],
    [outer_stride, stride]: [usize; 2],
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    let tiles = columns.div_ceil(TILE);
    let tile = |o: usize, t: usize, rows: Range<usize>, out: &mut [f64]| {
        let x = &x[o * outer_stride + t * TILE + rows.start * stride..];
        dispatch(ColumnKernel::<F, T> { x, stride, rows: rows.len(), out, fold: PhantomData });
    };
    let width = |t: usize| TILE.min(columns - t * TILE);
    if outer * tiles < FEW && rows * columns >= 2 * PART {
        // At most 64 parts; the length of a part follows from the sizes alone.
        let part = (PART / columns.min(PART)).max(rows.div_ceil(64)).max(1);
        let parts = rows.div_ceil(part);
        let mut partial = Scratch::<f64>::new(parts * outer * columns)?;
        let shared = SharedMut::new(&mut partial);
        parallel_for(parts * outer * tiles, |i| {
            let (p, o, t) = (i / (outer * tiles), i / tiles % outer, i % tiles);
            let at = (p * outer + o) * columns + t * TILE;
            // SAFETY: each task has its own columns of its own part.
            let slot = unsafe { shared.range(at..at + width(t)) };
            tile(o, t, p * part..((p + 1) * part).min(rows), slot);
        });
        let size = outer * columns;
        for (i, out) in out.iter_mut().enumerate() {
            let values = (0..parts).map(|p| partial[p * size + i]);
            *out = T::from_f64(values.fold(F::START, F::join));
        }
        return Ok(());
    }
    let shared = SharedMut::new(out);
    parallel_rows(outer * tiles, rows * TILE.min(columns), |range| {
        for i in range {
            let (o, t) = (i / tiles, i % tiles);
            let mut wide = [0.0; TILE];
            let wide = &mut wide[..width(t)];
            tile(o, t, 0..rows, wide);
            let at = o * columns + t * TILE;
            // SAFETY: each tile has its own outputs.
            let out = unsafe { shared.range(at..at + wide.len()) };
            out.iter_mut().zip(wide).for_each(|(out, &mut v)| *out = T::from_f64(v));
        }
    });
    Ok(())
}

/// Folds a view into `out`; `Then` folds what a first step has folded already.
fn fold_view<F: Fold, Then: Fold, T: FloatMath>(
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    let mut out_strides: Dims = x.dims.iter().copied().collect();
    let mut size = 1;
    for d in (0..x.dims.len()).rev() {
        out_strides[d] = if reduced[d] { 0 } else { size };
        size *= if reduced[d] { 1 } else { x.dims[d] };
    }
    // A dim is reduced where the output does not move; neighbours of one kind merge.
    let nest = Nest::new(x.dims, [x.strides, &out_strides]);
    let (dims, strides) = (&nest.dims[..], &nest.strides[0][..]);
    let is_reduced = |d: usize| nest.strides[1][d] == 0;
    let last = dims.len() - 1;
    let dense_last = strides[last] == 1;
    match (dims.len(), is_reduced(last)) {
        (1, true) if dense_last => fold_rows::<F, T>(x.data, 0, dims[0], out),
        (1, false) if dense_last => {
            return fold_columns::<F, T>(x.data, [1, 1, dims[0]], [0, 0], out);
        }
        (2, true) if dense_last && is_reduced(0) => {
            // Rows with gaps: one result for each, then those.
            let mut part = Scratch::<T>::new(dims[0])?;
            fold_rows::<F, T>(x.data, strides[0], dims[1], &mut part);
            fold_rows::<Then, T>(&part, 0, dims[0], out);
        }
        (2, true) if dense_last => fold_rows::<F, T>(x.data, strides[0], dims[1], out),
        (2, false) if dense_last && is_reduced(0) => {
            return fold_columns::<F, T>(x.data, [1, dims[0], dims[1]], [0, strides[0]], out);
        }
        (3, false) if dense_last && is_reduced(1) && !is_reduced(0) => {
            let sizes = [dims[0], dims[1], dims[2]];
            return fold_columns::<F, T>(x.data, sizes, [strides[0], strides[1]], out);
        }
        _ => {
            let Some(data) = x.contiguous() else {
                let mut whole = Scratch::<T>::new(x.len())?;
                copy(x, &mut whole);
                let row_major = dense_strides(x.dims);
                let view = View { data: &whole, dims: x.dims, strides: &row_major };
                return fold_view::<F, Then, T>(view, reduced, out);
            };
            // Reduce the innermost reduced dim now and the rest from scratch memory.
            let d = (0..=last).rev().find(|&d| is_reduced(d)).unwrap_or(last);
            let outer: usize = dims[..d].iter().product();
            let inner: usize = dims[d + 1..].iter().product();
            let mut part = Scratch::<T>::new(outer * inner)?;
            if inner == 1 {
                fold_rows::<F, T>(data, dims[d], dims[d], &mut part);
            } else {
                let sizes = [outer, dims[d], inner];
                fold_columns::<F, T>(data, sizes, [dims[d] * inner, inner], &mut part)?;
            }
            let left: Dims = (0..=last).filter(|&i| i != d).map(|i| dims[i]).collect();
            let mut flags = [false; 64];
            let kept = (0..=last).filter(|&i| i != d);
            flags.iter_mut().zip(kept).for_each(|(f, i)| *f = is_reduced(i));
            let view = View { data: &part, dims: &left, strides: &dense_strides(&left) };
            return fold_view::<Then, Then, T>(view, &flags[..left.len()], out);
        }
    }
    Ok(())
}

/// Strides of a dense row-major layout.
pub(crate) fn dense_strides(dims: &[usize]) -> Dims {
    let mut strides: Dims = dims.iter().copied().collect();
    let mut size = 1;
    for d in (0..dims.len()).rev() {
        strides[d] = size;
        size *= dims[d];
    }
    strides
}

/// Checks a reduction's arguments; the number of elements that each output reduces.
fn count<T>(x: &View<'_, T>, reduced: &[bool], out: usize) -> usize {
    x.check();
    assert_eq!(x.dims.len(), reduced.len(), "one flag for each dim");
    let product = |flag| -> usize {
        x.dims.iter().zip(reduced).filter(|&(_, &r)| r == flag).map(|(&d, _)| d).product()
    };
    assert_eq!(product(false), out, "output length");
    product(true)
}

/// Reduces the dims of `x` flagged in `reduced`; `out` is dense over the others, in their order.
///
/// # Errors
/// [`OutOfMemory`] if a layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn reduce<T: FloatMath>(
    op: ReduceOp,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    let count = count(&x, reduced, out.len());
    if out.is_empty() {
        return Ok(());
    }
    if count == 0 {
        out.fill(match op {
            ReduceOp::Mean => T::NAN,
            ReduceOp::Prod => T::ONE,
            ReduceOp::Max => T::NEG_INFINITY,
            ReduceOp::Min => T::INFINITY,
            _ => T::ZERO,
        });
        return Ok(());
    }
    match op {
        ReduceOp::Sum => fold_view::<SumFold, SumFold, T>(x, reduced, out),
        ReduceOp::Mean => {
            fold_view::<SumFold, SumFold, T>(x, reduced, out)?;
            let n = T::from_f64(count as f64);
            finish(out, |v| v / n);
            Ok(())
        }
        ReduceOp::Prod => fold_view::<ProdFold, ProdFold, T>(x, reduced, out),
        ReduceOp::Max => fold_view::<MaxFold, MaxFold, T>(x, reduced, out),
        ReduceOp::Min => fold_view::<MinFold, MinFold, T>(x, reduced, out),
        ReduceOp::SumSquares => fold_view::<SquareFold, SumFold, T>(x, reduced, out),
        ReduceOp::L1 => fold_view::<AbsFold, SumFold, T>(x, reduced, out),
        ReduceOp::L2 => {
            fold_view::<SquareFold, SumFold, T>(x, reduced, out)?;
            finish(out, Float::sqrt_);
            Ok(())
        }
        ReduceOp::MaxAbs => fold_view::<MaxAbsFold, MaxFold, T>(x, reduced, out),
    }
}

fn finish<T: FloatMath>(out: &mut [T], f: impl Fn(T) -> T + Sync) {
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN, |r| {
        // SAFETY: ranges of one region are disjoint.
        unsafe { shared.range(r) }.iter_mut().for_each(|v| *v = f(*v));
    });
}

#[cfg(test)]
mod tests;
