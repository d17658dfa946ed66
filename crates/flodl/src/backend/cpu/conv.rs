//! Convolutions.

use flodl_cpu::conv as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{Conv, ConvGeom, FoldGeom, Operand, Storage};
use crate::dtype::float_type;

fn volume(a: usize, b: usize, rest: [usize; 3]) -> usize {
    a * b * rest.iter().product::<usize>()
}

impl Conv for Cpu {
    fn conv_forward(
        &self,
        g: &ConvGeom,
        x: Operand<'_>,
        w: Operand<'_>,
        bias: Option<Operand<'_>>,
        y: &mut Storage,
    ) -> Result<()> {
        let n = volume(g.batch, g.c_out, g.output);
        float_type!("conv", x.dtype, T => {
            kernels::conv_forward::<T>(g, slice(x), slice(w), bias.map(slice), slice_mut(y, n))?;
        });
        Ok(())
    }

    fn conv_backward_data(
        &self,
        g: &ConvGeom,
        dy: Operand<'_>,
        w: Operand<'_>,
        bias: Option<Operand<'_>>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = volume(g.batch, g.c_in, g.input);
        float_type!("conv", dy.dtype, T => {
            let bias = bias.map(slice);
            kernels::conv_backward_data::<T>(g, slice(dy), slice(w), bias, slice_mut(dx, n))?;
        });
        Ok(())
    }

    fn conv_backward_weight(
        &self,
        g: &ConvGeom,
        x: Operand<'_>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()> {
        let n = volume(g.c_out, g.c_in / g.groups, g.kernel);
        float_type!("conv", x.dtype, T => {
            kernels::conv_backward_weight::<T>(g, slice(x), slice(dy), slice_mut(dw, n))?;
        });
        Ok(())
    }

    fn unfold(&self, g: &FoldGeom, images: Operand<'_>, columns: &mut Storage) -> Result<()> {
        let patches = g.output[0] * g.output[1];
        let n = g.batch * g.channels * g.kernel[0] * g.kernel[1] * patches;
        float_type!("im2col", images.dtype, T => {
            kernels::unfold::<T>(g, slice(images), slice_mut(columns, n));
        });
        Ok(())
    }

    fn fold(&self, g: &FoldGeom, columns: Operand<'_>, images: &mut Storage) -> Result<()> {
        let n = g.batch * g.channels * g.input[0] * g.input[1];
        float_type!("col2im", columns.dtype, T => {
            kernels::fold::<T>(g, slice(columns), slice_mut(images, n));
        });
        Ok(())
    }
}
