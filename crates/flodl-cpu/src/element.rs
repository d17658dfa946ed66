//! The number types that kernels work on.

use half::{bf16, f16};

use crate::simd::Arch;

/// A value that a tensor can hold. Every bit pattern is valid; booleans are stored as `u8` 0 or 1.
pub trait Element: Copy + Send + Sync + PartialOrd + std::fmt::Debug + Default + 'static {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The value as `f64` (integers beyond 2^53 are rounded).
    fn to_f64(self) -> f64;
    /// The nearest value; integers truncate towards zero and saturate.
    fn from_f64(value: f64) -> Self;
    /// The value as `i64`; floats truncate towards zero and saturate, NaN becomes 0.
    fn to_i64(self) -> i64;
    /// The value of an integer, wrapped to the type's width as PyTorch does.
    fn from_i64(value: i64) -> Self;
    /// Whether this is NaN; never for integers.
    fn is_nan(self) -> bool;
}

macro_rules! int_element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(value: i64) -> Self { value as $t }
            #[inline(always)]
            fn is_nan(self) -> bool { false }
        }
    )*};
}
int_element!(u8, i32, i64, u64);

macro_rules! float_element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(value: i64) -> Self { value as $t }
            #[inline(always)]
            fn is_nan(self) -> bool { self.is_nan() }
        }
    )*};
}
float_element!(f32, f64);

macro_rules! half_element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const ZERO: Self = <$t>::ZERO;
            const ONE: Self = <$t>::ONE;
            #[inline(always)]
            fn to_f64(self) -> f64 { self.to_f64() }
            #[inline(always)]
            // Through f32 as in PyTorch: `half` drops digits of an f64 before it rounds.
            fn from_f64(value: f64) -> Self { <$t>::from_f32(value as f32) }
            #[inline(always)]
            fn to_i64(self) -> i64 { self.to_f32() as i64 }
            #[inline(always)]
            fn from_i64(value: i64) -> Self { <$t>::from_f32(value as f32) }
            #[inline(always)]
            fn is_nan(self) -> bool { self.is_nan() }
        }
    )*};
}
half_element!(f16, bf16);

/// Element with +, -, *, wrapping for integers as in PyTorch.
pub trait Number: Element {
    /// Sum.
    fn add_(self, other: Self) -> Self;
    /// Difference.
    fn sub_(self, other: Self) -> Self;
    /// Product.
    fn mul_(self, other: Self) -> Self;
}

macro_rules! int_number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add_(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn sub_(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul_(self, other: Self) -> Self { self.wrapping_mul(other) }
        }
    )*};
}
int_number!(u8, i32, i64);

macro_rules! float_number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add_(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn sub_(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn mul_(self, other: Self) -> Self { self * other }
        }
    )*};
}
float_number!(f32, f64);

/// The types that kernels compute in: `f32` with vectorised polynomials, `f64` with exact library
/// functions. f16 and bf16 are storage: they compute through `f32`.
pub trait Float:
    Number
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + std::iter::Sum
{
    /// Negative infinity.
    const NEG_INFINITY: Self;
    /// Infinity.
    const INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// The distance from 1 to the next larger value.
    const EPSILON: Self;
    /// self · a + b, fused where that is one instruction.
    fn mul_add_<A: Arch>(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn sqrt_(self) -> Self;
    /// Absolute value.
    fn abs_(self) -> Self;
    /// The larger, the other one if one is NaN; compiles to one instruction.
    fn max_(self, other: Self) -> Self;
    /// The smaller, the other one if one is NaN; compiles to one instruction.
    fn min_(self, other: Self) -> Self;
}

macro_rules! float {
    ($($t:ty),*) => {$(
        impl Float for $t {
            const NEG_INFINITY: Self = <$t>::NEG_INFINITY;
            const INFINITY: Self = <$t>::INFINITY;
            const NAN: Self = <$t>::NAN;
            const EPSILON: Self = <$t>::EPSILON;
            #[inline(always)]
            fn mul_add_<A: Arch>(self, a: Self, b: Self) -> Self {
                if A::FMA { self.mul_add(a, b) } else { self * a + b }
            }
            #[inline(always)]
            fn sqrt_(self) -> Self { self.sqrt() }
            #[inline(always)]
            fn abs_(self) -> Self { self.abs() }
            #[inline(always)]
            fn max_(self, other: Self) -> Self { if self > other { self } else { other } }
            #[inline(always)]
            fn min_(self, other: Self) -> Self { if self < other { self } else { other } }
        }
    )*};
}
float!(f32, f64);
