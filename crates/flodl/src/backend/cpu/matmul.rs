//! Matrix products.

use flodl_cpu::gemm::{Activation, Epilogue, Gemm, Mat, gemm_batched, gemm_packed, worth_packing};
use flodl_cpu::mix;
use smallvec::SmallVec;

use super::{Cpu, slice, slice_mut, view};
use crate::Result;
use crate::backend::{Matmul, MatmulEnd, Operand, Storage};
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

fn run<T: Gemm>(
    a: Operand<'_>,
    b: Operand<'_>,
    end: MatmulEnd<'_>,
    out: &mut Storage,
) -> Result<()> {
    let (x, y) = (view::<T>(a), view::<T>(b));
    let (batch, m, k, n) = (x.dims[0], x.dims[1], x.dims[2], y.dims[2]);
    let left = Mat { data: x.data, row_stride: x.strides[1], col_stride: x.strides[2] };
    let right = Mat { data: y.data, row_stride: y.strides[1], col_stride: y.strides[2] };
    let activation = if end.relu { Activation::Relu } else { Activation::None };
    let (bias, accumulate) = (end.bias.map(slice), end.accumulate);
    let ep = Epilogue { bias, activation, accumulate, ..Epilogue::default() };
    let c = slice_mut(out, batch * m * n);
    if batch == 1 && worth_packing(m, n, k) {
        let Storage::Cpu(memory) = b.storage;
        if let Some(b) = memory.packed(b.layout.offset, [k, n], right) {
            gemm_packed(m, left, &b.matrix, c, n, &ep)?;
            return Ok(());
        }
    }
    let (sa, sb) = (x.strides[0], y.strides[0]);
    gemm_batched(batch, m, n, k, left, sa, right, sb, c, m * n, n, &ep)?;
    Ok(())
}
