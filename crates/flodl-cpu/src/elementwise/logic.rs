//! Comparisons, masks and selection. Booleans are `u8` 0 or 1.

use super::map_pairs;
use crate::element::{Element, Float};
use crate::simd::{Arch, Kernel, dispatch};
use crate::strided::{Buffer, View, Walk};
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// A comparison; all but `Ne` are false where an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// A logical operation of two masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicOp {
    /// Both.
    And,
    /// Either.
    Or,
    /// Exactly one.
    Xor,
}

/// A property of a floating-point number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestOp {
    /// Not a number.
    IsNan,
    /// Positive or negative infinity.
    IsInf,
    /// Neither infinite nor NaN.
    IsFinite,
}

struct Pairs<'a, S, R, D, F>(&'a [S], &'a [R], &'a mut [D], F);

impl<S: Copy, R: Copy, D, F: Fn(S, R) -> D> Kernel for Pairs<'_, S, R, D, F> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for ((out, &a), &b) in self.2.iter_mut().zip(self.0).zip(self.1) {
            *out = (self.3)(a, b);
        }
    }
}

fn compare_block<T: Element>(op: CompareOp, a: &[T], b: &[T], out: &mut [u8]) {
    match op {
        CompareOp::Eq => dispatch(Pairs(a, b, out, |a, b| (a == b) as u8)),
        CompareOp::Ne => dispatch(Pairs(a, b, out, |a, b| (a != b) as u8)),
        CompareOp::Lt => dispatch(Pairs(a, b, out, |a, b| (a < b) as u8)),
        CompareOp::Le => dispatch(Pairs(a, b, out, |a, b| (a <= b) as u8)),
        CompareOp::Gt => dispatch(Pairs(a, b, out, |a, b| (a > b) as u8)),
        CompareOp::Ge => dispatch(Pairs(a, b, out, |a, b| (a >= b) as u8)),
    }
}

/// `out = a op b` as 0 or 1; `a` and `b` have the same dims.
///
/// # Panics
/// If the dims differ, `out` has another number of elements, or a view reaches beyond its data.
pub fn compare<T: Element>(op: CompareOp, a: View<'_, T>, b: View<'_, T>, out: &mut [u8]) {
    map_pairs(a, b, out, |a, b, out| compare_block(op, a, b, out));
}

/// `out = a op value` as 0 or 1.
///
/// # Panics
/// As [`compare`].
pub fn compare_scalar<T: Element>(op: CompareOp, a: View<'_, T>, value: T, out: &mut [u8]) {
    let zeros = Zeros::new(a.dims.len());
    let value = View { data: &[value], dims: a.dims, strides: zeros.get() };
    map_pairs(a, value, out, |a, b, out| compare_block(op, a, b, out));
}

/// `out = a op b` on masks; any value but 0 counts as true.
///
/// # Panics
/// As [`compare`].
pub fn logical(op: LogicOp, a: View<'_, u8>, b: View<'_, u8>, out: &mut [u8]) {
    map_pairs(a, b, out, |a, b, out| match op {
        LogicOp::And => dispatch(Pairs(a, b, out, |a, b| (a != 0 && b != 0) as u8)),
        LogicOp::Or => dispatch(Pairs(a, b, out, |a, b| (a != 0 || b != 0) as u8)),
        LogicOp::Xor => dispatch(Pairs(a, b, out, |a, b| ((a != 0) != (b != 0)) as u8)),
    });
}

/// `out = !x` on a mask.
///
/// # Panics
/// As [`compare`].
pub fn logical_not(x: View<'_, u8>, out: &mut [u8]) {
    compare_scalar(CompareOp::Eq, x, 0, out);
}

/// `out = op(x)` as 0 or 1.
///
/// # Panics
/// As [`compare`].
pub fn test<T: Float>(op: TestOp, x: View<'_, T>, out: &mut [u8]) {
    map_pairs(x, x, out, |x, y, out| match op {
        TestOp::IsNan => dispatch(Pairs(x, y, out, |x: T, _| x.is_nan() as u8)),
        TestOp::IsInf => dispatch(Pairs(x, y, out, |x: T, _| (x.abs_() == T::INFINITY) as u8)),
        TestOp::IsFinite => dispatch(Pairs(x, y, out, |x: T, _| (x.abs_() < T::INFINITY) as u8)),
    });
}

/// Whether no element is infinite or NaN.
pub fn all_finite<T: Float>(x: &[T]) -> bool {
    struct Finite<'a, T>(&'a [T]);
    impl<T: Float> Kernel for Finite<'_, T> {
        type Out = bool;
        #[inline(always)]
        fn run<A: Arch>(self) -> bool {
            self.0.iter().fold(true, |ok, x| ok & (x.abs_() < T::INFINITY))
        }
    }
    let bad = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    parallel_ranges(x.len(), GRAIN, |r| {
        for block in x[r].chunks(4096) {
            if bad.load(order) {
                return;
            }
            if !dispatch(Finite(block)) {
                bad.store(true, order);
            }
        }
    });
    !bad.into_inner()
}

struct Choose<'a, T>(&'a [u8], &'a [T], &'a [T], &'a mut [T]);

impl<T: Element> Kernel for Choose<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for (((out, &c), &a), &b) in self.3.iter_mut().zip(self.0).zip(self.1).zip(self.2) {
            *out = if c != 0 { a } else { b };
        }
    }
}

/// `out = cond ? a : b`; all three have the same dims.
///
/// # Panics
/// If the dims differ, `out` has another number of elements, or a view reaches beyond its data.
pub fn select<T: Element>(cond: View<'_, u8>, a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    cond.check();
    a.check();
    b.check();
    assert!(cond.dims == a.dims && a.dims == b.dims, "operands differ in shape");
    assert_eq!(cond.len(), out.len(), "output length");
    let walk = Walk::new(a.dims, [cond.strides, a.strides, b.strides]);
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN, |range| {
        let (mut buf_c, mut buf_a, mut buf_b) = (Buffer::new(), Buffer::new(), Buffer::new());
        walk.blocks(range, |r, place| {
            // SAFETY: `check` above has seen the view.
            let c = unsafe { walk.fetch(0, cond.data, place, &mut buf_c) };
            // SAFETY: likewise.
            let a = unsafe { walk.fetch(1, a.data, place, &mut buf_a) };
            // SAFETY: likewise.
            let b = unsafe { walk.fetch(2, b.data, place, &mut buf_b) };
            // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
            dispatch(Choose(c, a, b, unsafe { shared.range(r) }));
        });
    });
}

/// `out = mask ? value : x`; both have the same dims.
///
/// # Panics
/// As [`select`].
pub fn masked_fill<T: Element>(x: View<'_, T>, mask: View<'_, u8>, value: T, out: &mut [T]) {
    map_pairs(x, mask, out, |x, mask, out| {
        dispatch(Pairs(x, mask, out, |x, m| if m != 0 { value } else { x }));
    });
}

/// As many strides of 0 as asked for, without an allocation up to sixteen.
struct Zeros {
    inline: [usize; 16],
    heap: Vec<usize>,
    len: usize,
}

impl Zeros {
    fn new(len: usize) -> Self {
        Self { inline: [0; 16], heap: if len > 16 { vec![0; len] } else { Vec::new() }, len }
    }

    fn get(&self) -> &[usize] {
        if self.len <= 16 { &self.inline[..self.len] } else { &self.heap }
    }
}
