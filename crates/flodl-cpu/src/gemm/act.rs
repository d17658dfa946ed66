//! Products with an elementwise operation behind or before them, row by row.

use std::ops::Range;

use super::{Activation, Epilogue, Gemm, Mat, PackedB, Then, gemm_before, product};
use crate::alloc::OutOfMemory;
use crate::elementwise::{BinaryOp, SmoothOp, UnaryOp, binary, unary_in_place, with_slope};
use crate::math::FloatMath;
use crate::strided::View;
use crate::threads::SharedMut;

/// The right-hand matrix of a product.
#[derive(Clone, Copy)]
pub enum Right<'a, T: 'static> {
    /// As it is.
    Plain(Mat<'a, T>),
    /// Packed before.
    Packed(&'a PackedB<T>),
}

/// An operation on the values of finished rows.
pub enum RowOp<'a, T> {
    /// Its results replace the product.
    Replace(UnaryOp),
    /// The activation goes to `m` rows of `n` values, its derivative replaces the product.
    WithSlope(SmoothOp, &'a mut [T]),
}

/// The product of A (`m` × k) and B (k × `n`) as [`gemm`](super::gemm) gives it, with an operation on its rows done
/// while they are in the caches of the threads that computed them. C has no gaps between its rows.
///
/// # Errors
/// As [`gemm`](super::gemm).
///
/// # Panics
/// As [`gemm`](super::gemm), or if the results of the operation do not have `m` rows of `n` values.
pub fn gemm_act<T: Gemm + FloatMath>(
    (m, n, k): (usize, usize, usize),
    a: Mat<T>,
    b: Right<'_, T>,
    c: &mut [T],
    ep: &Epilogue<T>,
    then: RowOp<'_, T>,
) -> Result<(), OutOfMemory> {
    let run = |ep: &Epilogue<T>, c: &mut [T], then: Option<Then<'_, T>>| {
        product((m, n, k), a, b, c, n, ep, then)
    };
    match then {
        // The tiles take this one themselves.
        RowOp::Replace(UnaryOp::Relu) => {
            run(&Epilogue { activation: Activation::Relu, ..*ep }, c, None)
        }
        RowOp::Replace(op) => {
            run(ep, c, Some(&|_: Range<usize>, c: &mut [T]| unary_in_place(op, c)))
        }
        RowOp::WithSlope(op, to) => {
            assert_eq!(to.len(), m * n, "gemm: place for the activation");
            let to = SharedMut::new(to);
            let rows = |rows: Range<usize>, c: &mut [T]| {
                // SAFETY: the product finishes each row once.
                with_slope(op, c, unsafe { to.range(rows.start * n..rows.end * n) });
            };
            run(ep, c, Some(&rows))
        }
    }
}

/// An operation on the values of two matrices, `m` rows of `k` each.
pub struct Of<'a, T> {
    /// Which it is.
    pub op: BinaryOp,
    /// Its operands.
    pub operands: [&'a [T]; 2],
}

/// The product of the results of an operation, which also go to `a` (`m` × k), and B (k × `n`): the
/// threads that read rows of them make them just before. C has no gaps between its rows.
///
/// # Errors
/// As [`gemm`](super::gemm).
///
/// # Panics
/// As [`gemm`](super::gemm), or if a length does not fit.
pub fn gemm_of<T: Gemm + FloatMath>(
    (m, n, k): (usize, usize, usize),
    of: Of<'_, T>,
    a: &mut [T],
    b: Right<'_, T>,
    c: &mut [T],
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    let Of { op, operands: [x, y] } = of;
    assert!([x.len(), y.len()] == [m * k; 2], "gemm: lengths of the operands");
    gemm_before((m, n, k), a, b, c, ep, |a, rows| {
        let values = rows.start * k..rows.end * k;
        let dims = [values.len()];
        let view = |data| View { data, dims: &dims, strides: &[1] };
        let [x, y] = [x, y].map(|v| view(&v[values.clone()]));
        // SAFETY: the product has each row made once, before it reads it.
        binary(op, x, y, unsafe { a.range(values) });
    })
}
