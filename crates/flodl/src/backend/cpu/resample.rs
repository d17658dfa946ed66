//! Interpolation.

use flodl_cpu::resample as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{Operand, Resample, ResampleGeom, Storage};
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
}
