//! Matrix products.

use std::sync::Arc;

use flodl_cpu::gemm::{
    Epilogue, Gemm, Mat, Of, Right, RowOp, gemm_act, gemm_batched, gemm_of, gemm_packed,
    worth_packing,
};
use flodl_cpu::math::FloatMath;
use flodl_cpu::mix;
use smallvec::SmallVec;

use super::memory::Held;
use super::{Cpu, slice, slice_mut, view};
use crate::Result;
use crate::backend::{self, BinaryOp, Matmul, MatmulEnd, Operand, Storage};
use crate::dtype::float_type;

impl Matmul for Cpu {
    fn matmul(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        end: MatmulEnd<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        float_type!("matmul", a.dtype, T => run::<T>(a, b, end, out))
    }

    fn matmul_of(
        &self,
        op: BinaryOp,
        operands: [Operand<'_>; 2],
        b: Operand<'_>,
        made: &mut Storage,
        out: &mut Storage,
    ) -> Result<()> {
        float_type!("matmul", b.dtype, T => run_of::<T>(op, operands, b, made, out))
    }

    fn mix(
        &self,
        columns: usize,
        weights: Operand<'_>,
        parts: &[Operand<'_>],
        out: &mut Storage,
    ) -> Result<()> {
        let n = parts.first().map_or(0, |p| p.layout.numel());
        float_type!("gate", weights.dtype, T => {
            let parts: SmallVec<[&[T]; 8]> = parts.iter().map(|&p| slice(p)).collect();
            mix::mix(columns, slice(weights), &parts, slice_mut(out, n));
        });
        Ok(())
    }

    fn mix_backward(
        &self,
        columns: usize,
        of: [usize; 2],
        weights: Operand<'_>,
        part: Operand<'_>,
        dy: Operand<'_>,
        [dpart, dweights]: [Option<&mut Storage>; 2],
    ) -> Result<()> {
        float_type!("gate", dy.dtype, T => mix::mix_backward::<T>(
            columns,
            of,
            slice(weights),
            slice(part),
            slice(dy),
            dpart.map(|d| slice_mut(d, dy.layout.numel())),
            dweights.map(|d| slice_mut(d, weights.layout.numel())),
        ));
        Ok(())
    }
}

fn run<T: Gemm + FloatMath>(
    a: Operand<'_>,
    b: Operand<'_>,
    end: MatmulEnd<'_>,
    out: &mut Storage,
) -> Result<()> {
    let (x, y) = (view::<T>(a), view::<T>(b));
    let (batch, m, k, n) = (x.dims[0], x.dims[1], x.dims[2], y.dims[2]);
    let left = Mat { data: x.data, row_stride: x.strides[1], col_stride: x.strides[2] };
    let right = Mat { data: y.data, row_stride: y.strides[1], col_stride: y.strides[2] };
    let c = slice_mut(out, batch * m * n);
    let (bias, accumulate) = (end.bias.map(slice), end.accumulate);
    let ep = Epilogue { bias, accumulate, ..Epilogue::default() };
    let size = (m, n, k);
    let packed = if batch == 1 { packed(size, b, right) } else { None };
    match (end.then, best(&packed, right)) {
        (Some(then), b) => {
            let then = match then {
                backend::RowOp::Replace(op) => RowOp::Replace(op),
                backend::RowOp::WithSlope(op, to) => RowOp::WithSlope(op, slice_mut(to, m * n)),
            };
            gemm_act(size, left, b, c, &ep, then)?;
        }
        (None, Right::Packed(b)) => gemm_packed(m, left, b, c, n, &ep)?,
        (None, Right::Plain(right)) => {
            let (sa, sb) = (x.strides[0], y.strides[0]);
            gemm_batched(batch, m, n, k, left, sa, right, sb, c, m * n, n, &ep)?;
        }
    }
    Ok(())
}

fn run_of<T: Gemm + FloatMath>(
    op: BinaryOp,
    [x, y]: [Operand<'_>; 2],
    b: Operand<'_>,
    made: &mut Storage,
    out: &mut Storage,
) -> Result<()> {
    let right = view::<T>(b);
    let (k, n) = (right.dims[0], right.dims[1]);
    let right =
        Mat { data: right.data, row_stride: right.strides[0], col_stride: right.strides[1] };
    let (m, values) = (x.layout.numel() / k.max(1), x.layout.numel());
    let (made, out) = (slice_mut(made, values), slice_mut(out, m * n));
    let ep = Epilogue::default();
    let size = (m, n, k);
    let packed = packed(size, b, right);
    let of = Of { op, operands: [slice(x), slice(y)] };
    gemm_of(size, of, made, best(&packed, right), out, &ep)?;
    Ok(())
}

/// The packed form of a matrix on the right, if it is worth having.
fn packed<T: Gemm>(
    (m, n, k): (usize, usize, usize),
    b: Operand<'_>,
    right: Mat<'_, T>,
) -> Option<Arc<Held<T>>> {
    let Storage::Cpu(memory) = b.storage;
    if worth_packing(m, n, k) { memory.packed(b.layout.offset, (m, n, k), right) } else { None }
}

/// The packed form of a matrix, if there is one.
fn best<'a, T: Gemm>(packed: &'a Option<Arc<Held<T>>>, plain: Mat<'a, T>) -> Right<'a, T> {
    packed.as_ref().map_or(Right::Plain(plain), |packed| Right::Packed(&packed.matrix))
}
