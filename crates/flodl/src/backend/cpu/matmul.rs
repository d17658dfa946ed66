//! Matrix products.

use flodl_cpu::gemm::{Activation, Epilogue, Gemm, Mat, gemm_batched};

use super::{Cpu, slice, slice_mut, view};
use crate::Result;
use crate::backend::{Matmul, Operand, Storage};
use crate::dtype::float_type;

impl Matmul for Cpu {
    fn matmul(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        bias: Option<Operand<'_>>,
        relu: bool,
        out: &mut Storage,
    ) -> Result<()> {
        float_type!("matmul", a.dtype, T => run::<T>(a, b, bias, relu, out))
    }
}

fn run<T: Gemm>(
    a: Operand<'_>,
    b: Operand<'_>,
    bias: Option<Operand<'_>>,
    relu: bool,
    out: &mut Storage,
) -> Result<()> {
    let (x, y) = (view::<T>(a), view::<T>(b));
    let (batch, m, k, n) = (x.dims[0], x.dims[1], x.dims[2], y.dims[2]);
    let left = Mat { data: x.data, row_stride: x.strides[1], col_stride: x.strides[2] };
    let right = Mat { data: y.data, row_stride: y.strides[1], col_stride: y.strides[2] };
    let activation = if relu { Activation::Relu } else { Activation::None };
    let ep = Epilogue { bias: bias.map(slice), activation, ..Epilogue::default() };
    let c = slice_mut(out, batch * m * n);
    let (sa, sb) = (x.strides[0], y.strides[0]);
    gemm_batched(batch, m, n, k, left, sa, right, sb, c, m * n, n, &ep)?;
    Ok(())
}
