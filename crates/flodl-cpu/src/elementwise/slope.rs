//! Activations together with their derivatives.

use super::unary::{gelu, gelu_slope, gelu_tanh, gelu_tanh_slope, silu, silu_slope};
use crate::math::FloatMath;
use crate::simd::{Arch, Kernel, dispatch};

/// An activation whose value and derivative share their costly part: both at once take little longer
/// than one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmoothOp {
    /// x Φ(x).
    Gelu,
    /// GELU's approximation through tanh.
    GeluTanh,
    /// x sigmoid(x).
    Silu,
}

/// Writes the activation of each x to `y` and its derivative to where x was, on the calling thread.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// use flodl_cpu::elementwise::{SmoothOp, with_slope};
/// let (mut x, mut y) = ([0.0f64, 40.0], [0.0; 2]);
/// with_slope(SmoothOp::Gelu, &mut x, &mut y);
/// assert_eq!((y, x), ([0.0, 40.0], [0.5, 1.0]));
/// ```
pub fn with_slope<T: FloatMath>(op: SmoothOp, x: &mut [T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "activation and derivative differ in length");
    dispatch(WithSlope { op, x, y });
}

struct WithSlope<'a, T> {
    op: SmoothOp,
    x: &'a mut [T],
    y: &'a mut [T],
}

impl<T: FloatMath> Kernel for WithSlope<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self { op, x, y } = self;
        match op {
            SmoothOp::Gelu => each(x, y, |x| (gelu::<A, T>(x), gelu_slope::<A, T>(x))),
            SmoothOp::GeluTanh => {
                each(x, y, |x| (gelu_tanh::<A, T>(x), gelu_tanh_slope::<A, T>(x)));
            }
            SmoothOp::Silu => each(x, y, |x| (silu::<A, T>(x), silu_slope::<A, T>(x))),
        }
    }
}

#[inline(always)]
fn each<T: Copy>(x: &mut [T], y: &mut [T], f: impl Fn(T) -> (T, T)) {
    for (x, y) in x.iter_mut().zip(y) {
        (*y, *x) = f(*x);
    }
}
