//! Arithmetic of integers, wrapping as in PyTorch.

use super::map_pairs;
use crate::element::Number;
use crate::simd::{Arch, Kernel, dispatch};
use crate::strided::Buffer;
use crate::strided::{View, Walk};
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// Integers; division by zero gives 0, so callers that must refuse it look first.
pub trait Integer: Number + Ord {
    /// Quotient towards zero.
    fn div_trunc(self, other: Self) -> Self;
    /// Quotient towards negative infinity.
    fn div_floor(self, other: Self) -> Self;
    /// -self, wrapping.
    fn neg_(self) -> Self;
    /// |self|, wrapping.
    fn abs_(self) -> Self;
    /// Bitwise and.
    fn and_(self, other: Self) -> Self;
    /// Bitwise or.
    fn or_(self, other: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor_(self, other: Self) -> Self;
}

macro_rules! integer {
    ($($t:ty, $abs:expr, $floor:expr;)*) => {$(
        impl Integer for $t {
            #[inline(always)]
            fn div_trunc(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn div_floor(self, other: Self) -> Self {
                if other == 0 {
                    return 0;
                }
                let (q, r) = (self.wrapping_div(other), self.wrapping_rem(other));
                if $floor(r, other) { q.wrapping_sub(1) } else { q }
            }
            #[inline(always)]
            fn neg_(self) -> Self { self.wrapping_neg() }
            #[inline(always)]
            fn abs_(self) -> Self { $abs(self) }
            #[inline(always)]
            fn and_(self, other: Self) -> Self { self & other }
            #[inline(always)]
            fn or_(self, other: Self) -> Self { self | other }
            #[inline(always)]
            fn xor_(self, other: Self) -> Self { self ^ other }
        }
    )*};
}
integer! {
    i64, i64::wrapping_abs, |r: i64, d: i64| r != 0 && (r < 0) != (d < 0);
    i32, i32::wrapping_abs, |r: i32, d: i32| r != 0 && (r < 0) != (d < 0);
    u8, |x: u8| x, |_: u8, _: u8| false;
}

/// An operation of two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntBinaryOp {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a · b.
    Mul,
    /// Remainder with the sign of a.
    Fmod,
    /// Remainder with the sign of b.
    Remainder,
    /// The larger.
    Maximum,
    /// The smaller.
    Minimum,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

/// An operation of one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntUnaryOp {
    /// -x.
    Neg,
    /// |x|.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// x².
    Square,
}

struct Pairs<'a, T, F>(&'a [T], &'a [T], &'a mut [T], F);

impl<T: Integer, F: Fn(T, T) -> T> Kernel for Pairs<'_, T, F> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for ((out, &a), &b) in self.2.iter_mut().zip(self.0).zip(self.1) {
            *out = (self.3)(a, b);
        }
    }
}

/// `out = op(a, b)`; `a` and `b` have the same dims.
///
/// # Panics
/// If the dims differ, `out` has another number of elements, or a view reaches beyond its data.
pub fn binary_int<T: Integer>(op: IntBinaryOp, a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    map_pairs(a, b, out, |a, b, out| match op {
        IntBinaryOp::Add => dispatch(Pairs(a, b, out, T::add_)),
        IntBinaryOp::Sub => dispatch(Pairs(a, b, out, T::sub_)),
        IntBinaryOp::Mul => dispatch(Pairs(a, b, out, T::mul_)),
        IntBinaryOp::Fmod => {
            dispatch(Pairs(a, b, out, |a: T, b: T| a.sub_(a.div_trunc(b).mul_(b))));
        }
        IntBinaryOp::Remainder => {
            dispatch(Pairs(a, b, out, |a: T, b: T| a.sub_(a.div_floor(b).mul_(b))));
        }
        IntBinaryOp::Maximum => dispatch(Pairs(a, b, out, T::max)),
        IntBinaryOp::Minimum => dispatch(Pairs(a, b, out, T::min)),
        IntBinaryOp::And => dispatch(Pairs(a, b, out, T::and_)),
        IntBinaryOp::Or => dispatch(Pairs(a, b, out, T::or_)),
        IntBinaryOp::Xor => dispatch(Pairs(a, b, out, T::xor_)),
    });
}

/// `out = op(x)`.
///
/// # Panics
/// If `out` has not as many elements as `x`, or `x` reaches beyond its data.
pub fn unary_int<T: Integer>(op: IntUnaryOp, x: View<'_, T>, out: &mut [T]) {
    x.check();
    assert_eq!(x.len(), out.len(), "output length");
    let walk = Walk::new(x.dims, [x.strides]);
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN, |range| {
        let mut buffer = Buffer::new();
        walk.blocks(range, |r, place| {
            // SAFETY: `check` above has seen the view.
            let x = unsafe { walk.fetch(0, x.data, place, &mut buffer) };
            // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
            let out = unsafe { shared.range(r) };
            let one: fn(T) -> T = match op {
                IntUnaryOp::Neg => T::neg_,
                IntUnaryOp::Abs => T::abs_,
                IntUnaryOp::Square => |x| x.mul_(x),
                IntUnaryOp::Sign => |x| match x.cmp(&T::ZERO) {
                    std::cmp::Ordering::Less => T::ZERO.sub_(T::ONE),
                    std::cmp::Ordering::Equal => T::ZERO,
                    std::cmp::Ordering::Greater => T::ONE,
                },
            };
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = one(x));
        });
    });
}
