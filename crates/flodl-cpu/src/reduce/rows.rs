//! Reductions that want the reduced elements in a row: positions, variance, logarithms of sums of
//! exponentials, norms, and those of integers and masks.

use std::ops::Deref;

use super::{FEW_LANES, LANES, ReduceOp, SHORT, count, finish, lane_fold, long_sum, reduce};
use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Element;
use crate::elementwise::{Integer, copy};
use crate::math::{FloatMath, max_nan, min_nan};
use crate::simd::{Arch, Kernel, dispatch};
use crate::strided::{Dims, View, is_contiguous};
use crate::threads::{SharedMut, parallel_rows};

/// Which extreme a position is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgOp {
    /// Of the largest.
    Max,
    /// Of the smallest.
    Min,
}

/// A reduction of integers, wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntReduceOp {
    /// Σ x.
    Sum,
    /// Π x.
    Prod,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// A reduction of masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoolReduceOp {
    /// Whether any element is true.
    Any,
    /// Whether all elements are true.
    All,
}

/// A view's own memory, or a copy in scratch memory.
enum Held<'a, T> {
    Own(&'a [T]),
    Copy(Scratch<T>),
}

impl<T: Element> Deref for Held<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Held::Own(data) => data,
            Held::Copy(data) => data,
        }
    }
}

/// The elements with the reduced dims last, dense.
fn as_rows<'a, T: Element>(x: View<'a, T>, reduced: &[bool]) -> Result<Held<'a, T>, OutOfMemory> {
    let order = || {
        (0..x.dims.len()).filter(|&d| !reduced[d]).chain((0..x.dims.len()).filter(|&d| reduced[d]))
    };
    let dims: Dims = order().map(|d| x.dims[d]).collect();
    let strides: Dims = order().map(|d| x.strides[d]).collect();
    if is_contiguous(&dims, &strides) {
        return Ok(Held::Own(x.data));
    }
    let mut rows = Scratch::<T>::new(x.len())?;
    copy(View { data: x.data, dims: &dims, strides: &strides }, &mut rows);
    Ok(Held::Copy(rows))
}

/// Calls `f` with each row of `len` elements and its output, in parallel.
fn each_row<T: Element, D: Element>(
    x: &[T],
    len: usize,
    out: &mut [D],
    f: impl Fn(&[T]) -> D + Sync,
) {
    let shared = SharedMut::new(out);
    parallel_rows(shared.len(), len, |range| {
        // SAFETY: ranges of one region are disjoint.
        for (i, out) in range.clone().zip(unsafe { shared.range(range) }) {
            *out = f(&x[i * len..][..len]);
        }
    });
}

struct ArgKernel<'a, T>(ArgOp, &'a [T]);

impl<T: Element> Kernel for ArgKernel<'_, T> {
    type Out = i64;
    #[inline(always)]
    fn run<A: Arch>(self) -> i64 {
        let x = self.1;
        let best = match self.0 {
            ArgOp::Max => lane_fold::<FEW_LANES, T>(x, x[0], max_nan, max_nan),
            ArgOp::Min => lane_fold::<FEW_LANES, T>(x, x[0], min_nan, min_nan),
        };
        // The value first and then its place: both passes vectorise, a running index does not.
        let hit = |v: &T| *v == best || v.is_nan();
        let mut at = 0;
        for block in x.chunks(64) {
            if block.iter().fold(false, |any, v| any | hit(v)) {
                return (at + block.iter().position(hit).unwrap_or(0)) as i64;
            }
            at += block.len();
        }
        0
    }
}

/// Position along `dim` of the extreme element; the first of equals wins, NaN beats all.
///
/// `out` is dense over the other dims. A `dim` of size 0 has no answer and must not come here.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, the dim has size 0, or `x` reaches beyond its data.
pub fn arg_reduce<T: Element>(
    op: ArgOp,
    x: View<'_, T>,
    dim: usize,
    out: &mut [i64],
) -> Result<(), OutOfMemory> {
    let mut flags: Dims = x.dims.iter().map(|_| 0).collect();
    flags[dim] = 1;
    let mut reduced = [false; 64];
    reduced.iter_mut().zip(flags.iter()).for_each(|(r, &f)| *r = f == 1);
    let reduced = &reduced[..x.dims.len()];
    let len = count(&x, reduced, out.len());
    if out.is_empty() {
        return Ok(());
    }
    assert!(len > 0, "no element to choose from");
    let rows = as_rows(x, reduced)?;
    each_row(&rows, len, out, |row| dispatch(ArgKernel(op, row)));
    Ok(())
}

struct VarKernel<'a, T>(&'a [T], f64);

impl<T: FloatMath> Kernel for VarKernel<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run<A: Arch>(self) -> T {
        let n = self.0.len() as f64;
        let mean = T::from_f64(long_sum(self.0, |x| x) / n);
        let squares = long_sum(self.0, |x| (x - mean) * (x - mean));
        let degrees = (n - self.1).max(0.0);
        T::from_f64(squares / degrees)
    }
}

/// Variance over the flagged dims in two passes: Σ (x - mean)² / (n - correction); NaN where that
/// is 0 / 0.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn var<T: FloatMath>(
    x: View<'_, T>,
    reduced: &[bool],
    correction: f64,
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    let len = count(&x, reduced, out.len());
    let rows = as_rows(x, reduced)?;
    each_row(&rows, len, out, |row| dispatch(VarKernel(row, correction)));
    Ok(())
}

pub(crate) struct LogSumExp<'a, T>(pub &'a [T]);

impl<T: FloatMath> Kernel for LogSumExp<'_, T> {
    type Out = T;
    #[inline(always)]
    fn run<A: Arch>(self) -> T {
        log_sum_exp::<A, T>(self.0)
    }
}

/// ln Σ e^x of a row, from its maximum, so that nothing overflows.
#[inline(always)]
fn log_sum_exp<A: Arch, T: FloatMath>(x: &[T]) -> T {
    let (max, log) = max_and_log_sum::<A, T>(x);
    max + log
}

/// The maximum of a row and ln Σ e^(x - maximum). Their sum is ln Σ e^x, but where x is large the sum
/// has lost what the second says.
#[inline(always)]
pub(crate) fn max_and_log_sum<A: Arch, T: FloatMath>(x: &[T]) -> (T, T) {
    let max = lane_fold::<FEW_LANES, T>(x, T::NEG_INFINITY, max_nan, max_nan);
    if max.abs_() == T::INFINITY {
        return (max, T::ZERO);
    }
    (max, T::from_f64(exp_sum::<A, T>(x, max).ln()))
}

/// Σ e^(x - max) of a row, none of which is larger.
#[inline(always)]
pub(crate) fn exp_sum<A: Arch, T: FloatMath>(x: &[T], max: T) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(SHORT) {
        let step = |acc, x: T| acc + (x - max).exp_normal_::<A>();
        total += lane_fold::<LANES, T>(block, T::ZERO, step, |a, b| a + b).to_f64();
    }
    total
}

/// ln Σ e^x over the flagged dims; -∞ of nothing.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn logsumexp<T: FloatMath>(
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    let len = count(&x, reduced, out.len());
    let rows = as_rows(x, reduced)?;
    each_row(&rows, len, out, |row| dispatch(LogSumExp(row)));
    Ok(())
}

/// The p-norm (Σ |x|^p)^(1/p) over the flagged dims; p may be 0 (how many are not 0) or ±∞.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn norm<T: FloatMath>(
    x: View<'_, T>,
    reduced: &[bool],
    p: f64,
    out: &mut [T],
) -> Result<(), OutOfMemory> {
    match p {
        1.0 => return reduce(ReduceOp::L1, x, reduced, out),
        2.0 => return reduce(ReduceOp::L2, x, reduced, out),
        f64::INFINITY => return reduce(ReduceOp::MaxAbs, x, reduced, out),
        _ => {}
    }
    let len = count(&x, reduced, out.len());
    let rows = as_rows(x, reduced)?;
    let exponent = T::from_f64(p);
    let power = |x: T| x.abs_().pow_::<crate::simd::Baseline>(exponent);
    match p {
        0.0 => each_row(&rows, len, out, |row| {
            T::from_f64(row.iter().filter(|&&x| x != T::ZERO).count() as f64)
        }),
        f64::NEG_INFINITY => each_row(&rows, len, out, |row| {
            row.iter().fold(T::INFINITY, |acc, x| min_nan(acc, x.abs_()))
        }),
        _ => {
            each_row(&rows, len, out, |row| T::from_f64(long_sum(row, power)));
            let root = T::from_f64(1.0 / p);
            finish(out, |v| v.pow_::<crate::simd::Baseline>(root));
        }
    }
    Ok(())
}

/// Reduces integers over the flagged dims, in and to `i64`; the extremes of nothing are 0.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn reduce_int<T: Integer>(
    op: IntReduceOp,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [i64],
) -> Result<(), OutOfMemory> {
    let len = count(&x, reduced, out.len());
    let rows = as_rows(x, reduced)?;
    each_row(&rows, len, out, |row| {
        let values = row.iter().map(|x| x.to_i64());
        match op {
            IntReduceOp::Sum => values.fold(0, i64::wrapping_add),
            IntReduceOp::Prod => values.fold(1, i64::wrapping_mul),
            IntReduceOp::Max => values.max().unwrap_or(0),
            IntReduceOp::Min => values.min().unwrap_or(0),
        }
    });
    Ok(())
}

/// Reduces masks over the flagged dims to 0 or 1; of nothing, `Any` is 0 and `All` 1.
///
/// # Errors
/// [`OutOfMemory`] if the layout needs scratch memory and there is none.
///
/// # Panics
/// If the lengths do not fit, or `x` reaches beyond its data.
pub fn reduce_bool(
    op: BoolReduceOp,
    x: View<'_, u8>,
    reduced: &[bool],
    out: &mut [u8],
) -> Result<(), OutOfMemory> {
    let len = count(&x, reduced, out.len());
    let rows = as_rows(x, reduced)?;
    each_row(&rows, len, out, |row| match op {
        BoolReduceOp::Any => row.iter().any(|&x| x != 0) as u8,
        BoolReduceOp::All => row.iter().all(|&x| x != 0) as u8,
    });
    Ok(())
}
