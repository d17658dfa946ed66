//! Picking and placing by index.

use flodl_cpu::index as kernels;

use super::{Cpu, around, layout_mut, slice, slice_mut};
use crate::backend::{Index, Operand, Storage, Target};
use crate::dtype::{any_type, float_type, int_type};
use crate::{Error, Result};

/// The indices, all of them inside `0..size`.
pub(super) fn indices<'a>(op: &'static str, index: Operand<'a>, size: usize) -> Result<&'a [i64]> {
    let values = slice::<i64>(index);
    match kernels::check_indices(values, size) {
        None => Ok(values),
        Some(bad) => Err(Error::IndexOutOfRange { op, index: bad, size: size as i64 }),
    }
}

impl Index for Cpu {
    fn gather(
        &self,
        op: &'static str,
        x: Operand<'_>,
        dim: usize,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let g = around(x.layout, dim);
        let idx = indices(op, index, g.len)?;
        any_type!(x.dtype, T => {
            kernels::gather(g, slice::<T>(x), idx, slice_mut(out, idx.len()));
        });
        Ok(())
    }

    fn scatter(
        &self,
        op: &'static str,
        add: bool,
        y: Target<'_>,
        dim: usize,
        index: Operand<'_>,
        src: Operand<'_>,
    ) -> Result<()> {
        let g = around(y.layout, dim);
        let idx = indices(op, index, g.len)?;
        if !add {
            any_type!(y.dtype, T => {
                kernels::scatter(g, layout_mut::<T>(y.storage, y.layout), idx, slice(src));
            });
        } else if y.dtype.is_float() {
            float_type!(op, y.dtype, T => {
                kernels::scatter_add(g, layout_mut::<T>(y.storage, y.layout), idx, slice(src));
            });
        } else {
            int_type!(op, y.dtype, T => {
                kernels::scatter_add(g, layout_mut::<T>(y.storage, y.layout), idx, slice(src));
            });
        }
        Ok(())
    }

    fn index_select(
        &self,
        op: &'static str,
        x: Operand<'_>,
        dim: usize,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let g = around(x.layout, dim);
        let idx = indices(op, index, g.len)?;
        let n = g.outer * idx.len() * g.inner;
        any_type!(x.dtype, T => kernels::index_select(g, slice::<T>(x), idx, slice_mut(out, n)));
        Ok(())
    }

    fn index_add(
        &self,
        op: &'static str,
        y: Target<'_>,
        dim: usize,
        index: Operand<'_>,
        src: Operand<'_>,
    ) -> Result<()> {
        let g = around(y.layout, dim);
        let idx = indices(op, index, g.len)?;
        if y.dtype.is_float() {
            float_type!(op, y.dtype, T => {
                kernels::index_add(g, layout_mut::<T>(y.storage, y.layout), idx, 1.0, slice(src));
            });
        } else {
            int_type!(op, y.dtype, T => {
                kernels::index_add(g, layout_mut::<T>(y.storage, y.layout), idx, 1, slice(src));
            });
        }
        Ok(())
    }
}
