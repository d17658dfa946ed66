//! Elementwise kernels over strided, broadcast inputs.
//!
//! Every operation is one loop over dense slices. The drivers here cut the work into blocks, bring
//! what is not dense into a small buffer ([`crate::strided::Walk`]) and match the operation once a
//! block, so there is exactly one compiled loop for each operation, type and instruction set.
//! Outputs are dense and in the order of the dims; inputs broadcast by a stride of 0.

mod binary;
mod copy;
mod int;
mod logic;
mod prelu;
mod slope;
mod unary;

pub use binary::BinaryOp;
pub use copy::{arange, cast, cast_bool, copy, copy_into, eye, fill, linspace};
pub use int::{IntBinaryOp, IntUnaryOp, Integer, binary_int, unary_int};
pub use logic::{
    CompareOp, LogicOp, TestOp, all_finite, compare, compare_scalar, logical, logical_not,
    masked_fill, select, test,
};
pub use prelu::{prelu, prelu_backward};
pub use slope::{SmoothOp, with_slope};
pub use unary::UnaryOp;

pub(crate) use binary::binary_block;
pub(crate) use unary::unary_block;

use crate::math::FloatMath;
use crate::strided::{BLOCK, Buffer, View, Walk, is_contiguous, same_dims};
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// Declares an enum of operations, a type for each with its formula, and the function that runs
/// one of them on dense slices.
macro_rules! float_ops {
    (
        $(#[$meta:meta])* pub enum $ops:ident; $block:ident, $map:ident, $trait:ident($inputs:ty);
        $($(#[$doc:meta])* $name:ident $({ $($field:ident),+ })?
            => |$A:ident, $T:ident, $($x:ident),+| $body:expr;)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum $ops {
            $($(#[$doc])* $name $({
                $(#[doc = concat!("PyTorch's `", stringify!($field), "`.")] $field: f64),+
            })?,)*
        }

        mod kinds {
            $(pub struct $name;)*
        }

        $(impl $trait for kinds::$name {
            #[inline(always)]
            fn apply<$A: Arch, $T: FloatMath>($($x: $T),+, p: [$T; 2]) -> $T {
                let [$($($field,)+)? ..] = p;
                $body
            }
        })*

        /// Runs one operation on dense slices of equal length.
        fn $block<T: FloatMath>(op: $ops, inputs: $inputs, out: &mut [T]) {
            match op {
                $($ops::$name $({ $($field),+ })? => {
                    $map::<kinds::$name, T>(inputs, out, params(&[$($($field),+)?]))
                })*
            }
        }
    };
}
pub(crate) use float_ops;

/// An operation's parameters in the type it computes in.
#[inline(always)]
fn params<T: FloatMath>(values: &[f64]) -> [T; 2] {
    let mut p = [T::ZERO; 2];
    p.iter_mut().zip(values).for_each(|(p, &v)| *p = T::from_f64(v));
    p
}

/// `out = op(x)`.
///
/// # Panics
/// If `out` has not as many elements as `x`, or `x` reaches beyond its data.
pub fn unary<T: FloatMath>(op: UnaryOp, x: View<'_, T>, out: &mut [T]) {
    x.check();
    assert_eq!(x.len(), out.len(), "output length");
    let shared = SharedMut::new(out);
    if let Some(x) = x.contiguous() {
        parallel_ranges(x.len(), GRAIN, |r| {
            // SAFETY: ranges of one region are disjoint.
            T::unary_block(op, &x[r.clone()], unsafe { shared.range(r) });
        });
        return;
    }
    let walk = Walk::new(x.dims, [x.strides]);
    parallel_ranges(shared.len(), GRAIN, |range| {
        let mut buffer = Buffer::new();
        walk.blocks(range, |r, place| {
            // SAFETY: `check` above has seen the view.
            let x = unsafe { walk.fetch(0, x.data, place, &mut buffer) };
            // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
            T::unary_block(op, x, unsafe { shared.range(r) });
        });
    });
}

/// `x = op(x)`.
pub fn unary_in_place<T: FloatMath>(op: UnaryOp, x: &mut [T]) {
    let shared = SharedMut::new(x);
    parallel_ranges(shared.len(), GRAIN, |range| {
        // SAFETY: ranges of one region are disjoint.
        let x = unsafe { shared.range(range) };
        let mut buffer = Buffer::new();
        for out in x.chunks_mut(BLOCK) {
            T::unary_block(op, buffer.copy_of(out), out);
        }
    });
}

/// `out = op(a, b)`; `a` and `b` have the same dims.
///
/// # Panics
/// If the dims differ, `out` has another number of elements, or a view reaches beyond its data.
pub fn binary<T: FloatMath>(op: BinaryOp, a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    map_pairs(a, b, out, |a, b, out| T::binary_block(op, a, b, out));
}

/// `a = op(a, b)`, `a` being dense with the dims of `b`.
///
/// # Panics
/// If `a` and `b` differ in the number of elements, or `b` reaches beyond its data.
pub fn binary_in_place<T: FloatMath>(op: BinaryOp, a: &mut [T], b: View<'_, T>) {
    b.check();
    assert_eq!(a.len(), b.len(), "operands differ in length");
    let shared = SharedMut::new(a);
    let dense = b.contiguous();
    let walk = dense.is_none().then(|| Walk::new(b.dims, [b.strides]));
    parallel_ranges(shared.len(), GRAIN, |range| {
        let (mut old, mut buffer) = (Buffer::new(), Buffer::new());
        if let Some(b) = dense {
            // SAFETY: ranges of one region are disjoint.
            let a = unsafe { shared.range(range.clone()) };
            for (out, b) in a.chunks_mut(BLOCK).zip(b[range].chunks(BLOCK)) {
                T::binary_block(op, old.copy_of(out), b, out);
            }
        } else if let Some(walk) = &walk {
            walk.blocks(range, |r, place| {
                // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
                let out = unsafe { shared.range(r) };
                // SAFETY: `check` above has seen the view.
                let b = unsafe { walk.fetch(0, b.data, place, &mut buffer) };
                T::binary_block(op, old.copy_of(out), b, out);
            });
        }
    });
}

/// Drives a kernel for dense slices over two views.
#[inline]
fn map_pairs<S: Copy + Sync, R: Copy + Sync, D: Send>(
    a: View<'_, S>,
    b: View<'_, R>,
    out: &mut [D],
    kernel: impl Fn(&[S], &[R], &mut [D]) + Sync,
) {
    assert!(same_dims(a.dims, b.dims), "operands differ in shape: {:?} and {:?}", a.dims, b.dims);
    let len = out.len();
    assert_eq!(a.len(), len, "output length");
    let shared = SharedMut::new(out);
    if is_contiguous(a.dims, a.strides) && is_contiguous(b.dims, b.strides) {
        let (a, b) = (&a.data[..len], &b.data[..len]);
        parallel_ranges(len, GRAIN, |r| {
            // SAFETY: ranges of one region are disjoint.
            kernel(&a[r.clone()], &b[r.clone()], unsafe { shared.range(r) });
        });
        return;
    }
    a.check();
    b.check();
    let walk = Walk::new(a.dims, [a.strides, b.strides]);
    parallel_ranges(shared.len(), GRAIN, |range| {
        let (mut buffer_a, mut buffer_b) = (Buffer::new(), Buffer::new());
        walk.blocks(range, |r, place| {
            // SAFETY: `check` above has seen the view.
            let a = unsafe { walk.fetch(0, a.data, place, &mut buffer_a) };
            // SAFETY: likewise.
            let b = unsafe { walk.fetch(1, b.data, place, &mut buffer_b) };
            // SAFETY: ranges of one region are disjoint, and so are blocks of a range.
            kernel(a, b, unsafe { shared.range(r) });
        });
    });
}

#[cfg(test)]
mod tests;
