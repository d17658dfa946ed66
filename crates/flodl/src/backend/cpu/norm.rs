//! Normalisation.

use flodl_cpu::norm as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{Affine, BatchNorm, Norm, Operand, Saved, Storage};
use crate::dtype::float_type;

/// An optional output of `len` elements.
macro_rules! wanted {
    ($storage:expr, $len:expr) => {
        $storage.map(|s| slice_mut(s, $len))
    };
}

impl Norm for Cpu {
    fn layer_norm(
        &self,
        x: Operand<'_>,
        plus: Option<(Operand<'_>, &mut Storage)>,
        columns: usize,
        affine: Affine<'_>,
        eps: f64,
        [y, mean, rstd]: [&mut Storage; 3],
    ) -> Result<()> {
        let (n, rows) = (x.layout.numel(), x.layout.numel() / columns.max(1));
        float_type!("layer_norm", x.dtype, T => kernels::layer_norm_forward::<T>(
            slice(x),
            plus.map(|(other, sum)| kernels::Plus { other: slice(other), sum: slice_mut(sum, n) }),
            columns,
            affine.weight.map(slice),
            affine.bias.map(slice),
            eps,
            slice_mut(y, n),
            slice_mut(mean, rows),
            slice_mut(rstd, rows),
        ));
        Ok(())
    }

    fn layer_norm_backward(
        &self,
        x: Operand<'_>,
        columns: usize,
        weight: Option<Operand<'_>>,
        saved: Saved<'_>,
        dy: Operand<'_>,
        plus: Option<Operand<'_>>,
        [dx, dw, db]: [Option<&mut Storage>; 3],
    ) -> Result<()> {
        let n = x.layout.numel();
        float_type!("layer_norm", x.dtype, T => kernels::layer_norm_backward::<T>(
            slice(dy),
            slice(x),
            columns,
            weight.map(slice),
            slice(saved.mean),
            slice(saved.rstd),
            plus.map(slice),
            wanted!(dx, n),
            wanted!(dw, columns),
            wanted!(db, columns),
        )?);
        Ok(())
    }

    fn rms_norm(
        &self,
        x: Operand<'_>,
        plus: Option<(Operand<'_>, &mut Storage)>,
        columns: usize,
        weight: Option<Operand<'_>>,
        eps: f64,
        [y, rstd]: [&mut Storage; 2],
    ) -> Result<()> {
        let (n, rows) = (x.layout.numel(), x.layout.numel() / columns.max(1));
        float_type!("rms_norm", x.dtype, T => kernels::rms_norm_forward::<T>(
            slice(x),
            plus.map(|(other, sum)| kernels::Plus { other: slice(other), sum: slice_mut(sum, n) }),
            columns,
            weight.map(slice),
            eps,
            slice_mut(y, n),
            slice_mut(rstd, rows),
        ));
        Ok(())
    }

    fn rms_norm_backward(
        &self,
        x: Operand<'_>,
        columns: usize,
        weight: Option<Operand<'_>>,
        rstd: Operand<'_>,
        dy: Operand<'_>,
        plus: Option<Operand<'_>>,
        [dx, dw]: [Option<&mut Storage>; 2],
    ) -> Result<()> {
        let n = x.layout.numel();
        float_type!("rms_norm", x.dtype, T => kernels::rms_norm_backward::<T>(
            slice(dy),
            slice(x),
            columns,
            weight.map(slice),
            slice(rstd),
            plus.map(slice),
            wanted!(dx, n),
            wanted!(dw, columns),
        )?);
        Ok(())
    }

    fn batch_norm(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        affine: Affine<'_>,
        eps: f64,
        relu: bool,
        [y, mean, var, rstd]: [&mut Storage; 4],
    ) -> Result<()> {
        let (n, c) = (x.layout.numel(), dims[1]);
        float_type!("batch_norm", x.dtype, T => kernels::batch_norm_forward::<T>(
            slice(x),
            dims,
            affine.weight.map(slice),
            affine.bias.map(slice),
            eps,
            relu,
            slice_mut(y, n),
            slice_mut(mean, c),
            slice_mut(var, c),
            slice_mut(rstd, c),
        )?);
        Ok(())
    }

    fn channel_affine(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        scale: Operand<'_>,
        shift: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()> {
        let n = x.layout.numel();
        float_type!("batch_norm", x.dtype, T => kernels::batch_norm_apply::<T>(
            slice(x),
            dims,
            slice(scale),
            slice(shift),
            slice_mut(out, n),
        ));
        Ok(())
    }

    fn batch_norm_backward(
        &self,
        x: Operand<'_>,
        norm: BatchNorm<'_>,
        dy: Operand<'_>,
        [dx, dw, db]: [Option<&mut Storage>; 3],
    ) -> Result<()> {
        let (n, c) = (x.layout.numel(), norm.dims[1]);
        float_type!("batch_norm", x.dtype, T => kernels::batch_norm_backward::<T>(
            &kernels::BatchNorm {
                dims: norm.dims,
                training: norm.training,
                weight: norm.affine.weight.map(slice),
                bias: norm.affine.bias.map(slice),
                mean: slice(norm.saved.mean),
                rstd: slice(norm.saved.rstd),
                relu: norm.relu,
            },
            slice(dy),
            slice(x),
            wanted!(dx, n),
            wanted!(dw, c),
            wanted!(db, c),
        )?);
        Ok(())
    }

    fn group_norm(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        groups: usize,
        affine: Affine<'_>,
        eps: f64,
        [y, mean, rstd]: [&mut Storage; 3],
    ) -> Result<()> {
        let (n, stats) = (x.layout.numel(), dims[0] * groups);
        float_type!("group_norm", x.dtype, T => kernels::group_norm_forward::<T>(
            slice(x),
            dims,
            groups,
            affine.weight.map(slice),
            affine.bias.map(slice),
            eps,
            slice_mut(y, n),
            slice_mut(mean, stats),
            slice_mut(rstd, stats),
        ));
        Ok(())
    }

    fn group_norm_backward(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        groups: usize,
        weight: Option<Operand<'_>>,
        saved: Saved<'_>,
        dy: Operand<'_>,
        [dx, dw, db]: [Option<&mut Storage>; 3],
    ) -> Result<()> {
        let (n, c) = (x.layout.numel(), dims[1]);
        float_type!("group_norm", x.dtype, T => kernels::group_norm_backward::<T>(
            slice(dy),
            slice(x),
            dims,
            groups,
            weight.map(slice),
            slice(saved.mean),
            slice(saved.rstd),
            wanted!(dx, n),
            wanted!(dw, c),
            wanted!(db, c),
        )?);
        Ok(())
    }
}
