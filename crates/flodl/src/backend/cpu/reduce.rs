//! Reductions, and softmax.

use flodl_cpu::reduce::{self as kernels, IntReduceOp};

use super::{Cpu, around, not_float, slice, slice_mut, view};
use crate::Result;
use crate::backend::{ArgOp, Operand, Reduce, ReduceOp, ScanOp, Storage};
use crate::dtype::{any_type, float_type, int_type};
use flodl_cpu::{scan, softmax};

/// Elements that a reduction leaves.
fn kept(x: Operand<'_>, reduced: &[bool]) -> usize {
    x.layout.shape.iter().zip(reduced).filter(|&(_, r)| !r).map(|(n, _)| n).product()
}

impl Reduce for Cpu {
    fn reduce(
        &self,
        op: ReduceOp,
        x: Operand<'_>,
        reduced: &[bool],
        out: &mut Storage,
    ) -> Result<()> {
        let n = kept(x, reduced);
        if x.dtype.is_float() {
            float_type!("reduce", x.dtype, T => {
                kernels::reduce(op, view::<T>(x), reduced, slice_mut(out, n))?;
            });
            return Ok(());
        }
        let op = match op {
            ReduceOp::Sum => IntReduceOp::Sum,
            ReduceOp::Prod => IntReduceOp::Prod,
            ReduceOp::Max => IntReduceOp::Max,
            ReduceOp::Min => IntReduceOp::Min,
            _ => return Err(not_float("reduce", x.dtype)),
        };
        int_type!("reduce", x.dtype, T => {
            // The kernel sums in i64; the output has the input's type.
            let mut wide = flodl_cpu::alloc::Scratch::<i64>::new(n)?;
            kernels::reduce_int(op, view::<T>(x), reduced, &mut wide)?;
            for (out, &v) in slice_mut::<T>(out, n).iter_mut().zip(wide.iter()) {
                *out = v as T;
            }
        });
        Ok(())
    }

    fn arg_reduce(&self, op: ArgOp, x: Operand<'_>, dim: usize, out: &mut Storage) -> Result<()> {
        if x.layout.ndim() == 0 {
            slice_mut::<i64>(out, 1).fill(0);
            return Ok(());
        }
        let n = x.layout.numel() / x.layout.shape[dim].max(1);
        any_type!(x.dtype, T => kernels::arg_reduce(op, view::<T>(x), dim, slice_mut(out, n))?);
        Ok(())
    }

    fn var(
        &self,
        x: Operand<'_>,
        reduced: &[bool],
        correction: f64,
        out: &mut Storage,
    ) -> Result<()> {
        let n = kept(x, reduced);
        float_type!("var", x.dtype, T => {
            kernels::var(view::<T>(x), reduced, correction, slice_mut(out, n))?;
        });
        Ok(())
    }

    fn logsumexp(&self, x: Operand<'_>, reduced: &[bool], out: &mut Storage) -> Result<()> {
        let n = kept(x, reduced);
        float_type!("logsumexp", x.dtype, T => {
            kernels::logsumexp(view::<T>(x), reduced, slice_mut(out, n))?;
        });
        Ok(())
    }

    fn scan(
        &self,
        op: ScanOp,
        x: Operand<'_>,
        dim: usize,
        reverse: bool,
        out: &mut Storage,
    ) -> Result<()> {
        let g = around(x.layout, dim);
        let n = x.layout.numel();
        macro_rules! run {
            ($T:ty) => {{
                let (x, out) = (slice::<$T>(x), slice_mut(out, n));
                match op {
                    ScanOp::Sum => scan::cumsum(g, reverse, x, out),
                    ScanOp::Prod => scan::cumprod(g, reverse, x, out),
                }
            }};
        }
        if x.dtype.is_float() {
            float_type!("scan", x.dtype, T => run!(T));
        } else {
            int_type!("scan", x.dtype, T => run!(T));
        }
        Ok(())
    }

    fn softmax(&self, log: bool, x: Operand<'_>, dim: usize, out: &mut Storage) -> Result<()> {
        let (g, n) = (around(x.layout, dim), x.layout.numel());
        let dims = [g.outer, g.len, g.inner];
        float_type!("softmax", x.dtype, T => {
            let (x, out) = (slice::<T>(x), slice_mut(out, n));
            if log { softmax::log_softmax(x, dims, out) } else { softmax::softmax(x, dims, out) }
        });
        Ok(())
    }

    fn softmax_backward(
        &self,
        log: bool,
        y: Operand<'_>,
        dy: Operand<'_>,
        dim: usize,
        dx: &mut Storage,
    ) -> Result<()> {
        let (g, n) = (around(y.layout, dim), y.layout.numel());
        let dims = [g.outer, g.len, g.inner];
        float_type!("softmax", y.dtype, T => {
            let (y, dy, dx) = (slice::<T>(y), slice(dy), slice_mut(dx, n));
            if log {
                softmax::log_softmax_backward(dy, y, dims, dx);
            } else {
                softmax::softmax_backward(dy, y, dims, dx);
            }
        });
        Ok(())
    }
}
