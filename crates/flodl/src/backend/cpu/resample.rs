//! Interpolation.

use flodl_cpu::resample as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{GridGeom, Operand, Resample, ResampleGeom, Storage};
use crate::dtype::float_type;

impl Resample for Cpu {
    fn resample(&self, g: &ResampleGeom, x: Operand<'_>, y: &mut Storage) -> Result<()> {
        let n = g.planes * g.output.iter().product::<usize>();
        float_type!("interpolate", x.dtype, T => {
            kernels::resample::<T>(g, slice(x), slice_mut(y, n));
        });
        Ok(())
    }

    fn resample_backward(&self, g: &ResampleGeom, dy: Operand<'_>, dx: &mut Storage) -> Result<()> {
        let n = g.planes * g.input.iter().product::<usize>();
        float_type!("interpolate", dy.dtype, T => {
            kernels::resample_backward::<T>(g, slice(dy), slice_mut(dx, n));
        });
        Ok(())
    }

    fn grid_sample(
        &self,
        g: &GridGeom,
        x: Operand<'_>,
        grid: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()> {
        let n = g.batch * g.channels * g.points;
        float_type!("grid_sample", x.dtype, T => {
            kernels::grid_sample::<T>(g, slice(x), slice(grid), slice_mut(y, n));
        });
        Ok(())
    }

    fn grid_sample_backward(
        &self,
        g: &GridGeom,
        x: Operand<'_>,
        grid: Operand<'_>,
        dy: Operand<'_>,
        dx: &mut Storage,
        dgrid: &mut Storage,
    ) -> Result<()> {
        let n = g.batch * g.channels * g.input.iter().product::<usize>();
        float_type!("grid_sample", dy.dtype, T => {
            let (dx, dgrid) = (slice_mut(dx, n), slice_mut(dgrid, g.rank * g.batch * g.points));
            kernels::grid_sample_backward::<T>(g, slice(x), slice(grid), slice(dy), dx, dgrid);
        });
        Ok(())
    }
}
