//! Products with an elementwise operation behind or before them, row by row.

use std::ops::Range;

use super::{
    Activation, Epilogue, Gemm, Mat, PackedB, Then, gemm_before, gemm_packed_then, gemm_then,
};
use crate::alloc::OutOfMemory;
use crate::elementwise::{BinaryOp, UnaryOp, binary, unary, unary_in_place};
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
pub struct RowOp<'a, T> {
    /// Which it is.
    pub op: UnaryOp,
    /// Where its results go, `m` rows of `n`; if nowhere, they replace the product.
    pub to: Option<&'a mut [T]>,
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
    let RowOp { op, to } = then;
    assert!(to.as_ref().is_none_or(|to| to.len() == m * n), "gemm: place for the operation");
    // The tiles take this one themselves.
    let relu = op == UnaryOp::Relu && to.is_none();
    let to = to.map(SharedMut::new);
    let rows = |rows: Range<usize>, c: &mut [T]| match &to {
        Some(to) => {
            let dims = [c.len()];
            let x = View { data: c, dims: &dims, strides: &[1] };
            // SAFETY: the product finishes each row once.
            unary(op, x, unsafe { to.range(rows.start * n..rows.end * n) });
        }
        None => unary_in_place(op, c),
    };
    let activation = if relu { Activation::Relu } else { ep.activation };
    let then: Option<Then<'_, T>> = if relu { None } else { Some(&rows) };
    let ep = Epilogue { activation, ..*ep };
    match b {
        Right::Plain(b) => gemm_then(m, n, k, a, b, c, n, &ep, then),
        Right::Packed(b) => gemm_packed_then(m, a, b, c, n, &ep, then),
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
