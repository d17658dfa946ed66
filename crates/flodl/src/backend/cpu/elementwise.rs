//! Element by element.

use flodl_cpu::element::Element;
use flodl_cpu::elementwise::{self as kernels, IntBinaryOp, IntUnaryOp, Integer, LogicOp, TestOp};
use flodl_cpu::strided::View;

use super::{Cpu, layout_mut, not_float, slice, slice_mut, view};
use crate::backend::{
    BinaryOp, CompareOp, Elementwise, LogicalOp, Operand, Storage, Test, UnaryOp,
};
use crate::dtype::{any_type, float_type, int_type};
use crate::shape::Layout;
use crate::{DType, Result};

impl Elementwise for Cpu {
    fn prelu(
        &self,
        dims: [usize; 3],
        x: Operand<'_>,
        w: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()> {
        float_type!("prelu", x.dtype, T => {
            let n = x.layout.numel();
            kernels::prelu::<T>(dims, slice(x), slice(w), slice_mut(y, n));
        });
        Ok(())
    }

    fn prelu_backward(
        &self,
        dims: [usize; 3],
        x: Operand<'_>,
        w: Operand<'_>,
        dy: Operand<'_>,
        [dx, dw]: [Option<&mut Storage>; 2],
    ) -> Result<()> {
        float_type!("prelu", x.dtype, T => {
            let dx = dx.map(|s| slice_mut(s, x.layout.numel()));
            let dw = dw.map(|s| slice_mut(s, w.layout.numel()));
            kernels::prelu_backward::<T>(dims, slice(x), slice(w), slice(dy), dx, dw)?;
        });
        Ok(())
    }

    fn fill(&self, out: &mut Storage, layout: &Layout, dtype: DType, value: f64) -> Result<()> {
        any_type!(dtype, T => {
            // Everything but 0 is true.
            let value = if dtype == DType::Bool { f64::from(u8::from(value != 0.0)) } else { value };
            let value = <T as Element>::from_f64(value);
            if layout.is_contiguous() {
                kernels::fill(layout_mut::<T>(out, layout), value);
            } else {
                let (one, still) = ([value], vec![0; layout.ndim()]);
                let src = View { data: &one, dims: &layout.shape, strides: &still };
                write_into(src, out, layout);
            }
        });
        Ok(())
    }

    fn copy(&self, x: Operand<'_>, out: &mut Storage) -> Result<()> {
        any_type!(x.dtype, T => {
            kernels::copy(view::<T>(x), slice_mut(out, x.layout.numel()));
        });
        Ok(())
    }

    fn copy_into(&self, x: Operand<'_>, out: &mut Storage, layout: &Layout) -> Result<()> {
        any_type!(x.dtype, T => write_into(view::<T>(x), out, layout));
        Ok(())
    }

    fn cast(&self, x: Operand<'_>, to: DType, out: &mut Storage) -> Result<()> {
        let n = x.layout.numel();
        any_type!(x.dtype, S => {
            if to == DType::Bool {
                kernels::cast_bool(view::<S>(x), slice_mut(out, n));
            } else {
                any_type!(to, D => kernels::cast(view::<S>(x), slice_mut::<D>(out, n)));
            }
        });
        Ok(())
    }

    fn unary(&self, op: UnaryOp, x: Operand<'_>, out: &mut Storage) -> Result<()> {
        let n = x.layout.numel();
        if !x.dtype.is_float() {
            int_type!("unary", x.dtype, T => unary_int(op, view::<T>(x), slice_mut(out, n))?);
            return Ok(());
        }
        float_type!("unary", x.dtype, T => kernels::unary(op, view::<T>(x), slice_mut(out, n)));
        Ok(())
    }

    fn unary_in_place(
        &self,
        op: UnaryOp,
        x: &mut Storage,
        layout: &Layout,
        dtype: DType,
    ) -> Result<()> {
        if !dtype.is_float() {
            int_type!("unary", dtype, T => {
                let own = layout_mut::<T>(x, layout).to_vec();
                let src = View { data: &own, dims: &layout.shape, strides: &layout.strides };
                unary_int(op, src, layout_mut(x, layout))?;
            });
            return Ok(());
        }
        float_type!("unary", dtype, T => kernels::unary_in_place(op, layout_mut::<T>(x, layout)));
        Ok(())
    }

    fn binary(
        &self,
        op: BinaryOp,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let n = a.layout.numel();
        if !a.dtype.is_float() {
            let op = int_binary(op, a.dtype)?;
            int_type!("binary", a.dtype, T => {
                kernels::binary_int(op, view::<T>(a), view(b), slice_mut(out, n));
            });
            return Ok(());
        }
        float_type!("binary", a.dtype, T => {
            kernels::binary(op, view::<T>(a), view(b), slice_mut(out, n));
        });
        Ok(())
    }

    fn binary_in_place(
        &self,
        op: BinaryOp,
        a: &mut Storage,
        layout: &Layout,
        b: Operand<'_>,
    ) -> Result<()> {
        if !b.dtype.is_float() {
            let op = int_binary(op, b.dtype)?;
            int_type!("binary", b.dtype, T => {
                let own = layout_mut::<T>(a, layout).to_vec();
                let src = View { data: &own, dims: &layout.shape, strides: &layout.strides };
                kernels::binary_int(op, src, view(b), layout_mut(a, layout));
            });
            return Ok(());
        }
        float_type!("binary", b.dtype, T => {
            kernels::binary_in_place(op, layout_mut::<T>(a, layout), view(b));
        });
        Ok(())
    }

    fn compare(
        &self,
        op: CompareOp,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let n = a.layout.numel();
        any_type!(a.dtype, T => kernels::compare(op, view::<T>(a), view(b), slice_mut(out, n)));
        Ok(())
    }

    fn compare_scalar(
        &self,
        op: CompareOp,
        a: Operand<'_>,
        value: f64,
        out: &mut Storage,
    ) -> Result<()> {
        let n = a.layout.numel();
        any_type!(a.dtype, T => {
            let nearest = <T as Element>::from_f64(value);
            if a.dtype.is_float() || nearest.to_f64() == value {
                kernels::compare_scalar(op, view::<T>(a), nearest, slice_mut(out, n));
            } else {
                // A fraction, or beyond the integer type: compare where it is exact.
                let mut wide = flodl_cpu::alloc::Scratch::<f64>::new(n)?;
                kernels::cast(view::<T>(a), &mut wide);
                let dims = [n];
                let src = View { data: &wide, dims: &dims, strides: &[1] };
                kernels::compare_scalar(op, src, value, slice_mut(out, n));
            }
        });
        Ok(())
    }

    fn test(&self, test: Test, x: Operand<'_>, out: &mut Storage) -> Result<()> {
        let op = match test {
            Test::Nan => TestOp::IsNan,
            Test::Inf => TestOp::IsInf,
            Test::Finite => TestOp::IsFinite,
        };
        let n = x.layout.numel();
        float_type!("test", x.dtype, T => kernels::test(op, view::<T>(x), slice_mut(out, n)));
        Ok(())
    }

    fn logical(
        &self,
        op: LogicalOp,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let op = match op {
            LogicalOp::And => LogicOp::And,
            LogicalOp::Or => LogicOp::Or,
            LogicalOp::Xor => LogicOp::Xor,
        };
        kernels::logical(op, view(a), view(b), slice_mut(out, a.layout.numel()));
        Ok(())
    }

    fn select(
        &self,
        cond: Operand<'_>,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let n = a.layout.numel();
        any_type!(a.dtype, T => {
            kernels::select(view(cond), view::<T>(a), view(b), slice_mut(out, n));
        });
        Ok(())
    }
}

fn write_into<T: Element>(src: View<'_, T>, out: &mut Storage, layout: &Layout) {
    let len = out.nbytes() / size_of::<T>();
    let target = &mut slice_mut::<T>(out, len)[layout.offset.min(len)..];
    kernels::copy_into(src, target, &layout.shape, &layout.strides);
}

/// What a float operation is on integers.
fn int_binary(op: BinaryOp, dtype: DType) -> Result<IntBinaryOp> {
    Ok(match op {
        BinaryOp::Add => IntBinaryOp::Add,
        BinaryOp::Sub => IntBinaryOp::Sub,
        BinaryOp::Mul => IntBinaryOp::Mul,
        BinaryOp::Maximum => IntBinaryOp::Maximum,
        BinaryOp::Minimum => IntBinaryOp::Minimum,
        BinaryOp::Fmod => IntBinaryOp::Fmod,
        BinaryOp::Remainder => IntBinaryOp::Remainder,
        _ => return Err(not_float("binary", dtype)),
    })
}

fn unary_int<T: Integer>(op: UnaryOp, x: View<'_, T>, out: &mut [T]) -> Result<()> {
    let still = vec![0; x.dims.len()];
    let with = |op: IntBinaryOp, x: View<'_, T>, value: f64, out: &mut [T]| {
        let one = [T::from_i64(value as i64)];
        kernels::binary_int(op, x, View { data: &one, dims: x.dims, strides: &still }, out);
    };
    match op {
        UnaryOp::Neg => kernels::unary_int(IntUnaryOp::Neg, x, out),
        UnaryOp::Abs => kernels::unary_int(IntUnaryOp::Abs, x, out),
        UnaryOp::Sign => kernels::unary_int(IntUnaryOp::Sign, x, out),
        UnaryOp::Square => kernels::unary_int(IntUnaryOp::Square, x, out),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => kernels::copy(x, out),
        UnaryOp::Relu => with(IntBinaryOp::Maximum, x, 0.0, out),
        UnaryOp::AddScalar { value } => with(IntBinaryOp::Add, x, value, out),
        UnaryOp::MulScalar { value } => with(IntBinaryOp::Mul, x, value, out),
        UnaryOp::Clamp { min, max } => {
            let values = [T::from_f64(min.ceil()), T::from_f64(max.floor())];
            let at = |i: usize| View { data: &values[i..], dims: x.dims, strides: &still };
            kernels::binary_int(IntBinaryOp::Maximum, x, at(0), out);
            let dims = [out.len()];
            let own = out.to_vec();
            let src = View { data: &own, dims: &dims, strides: &[1] };
            let top = View { data: &values[1..], dims: &dims, strides: &[0] };
            kernels::binary_int(IntBinaryOp::Minimum, src, top, out);
        }
        _ => return Err(not_float("unary", DType::Int64)),
    }
    Ok(())
}
