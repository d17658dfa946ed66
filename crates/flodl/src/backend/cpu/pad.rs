//! Padding.

use flodl_cpu::element::Element;
use flodl_cpu::pad as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{Operand, Pad, PadGeom, PadMode, Storage};
use crate::dtype::{any_type, float_type};

/// The mode with its constant in the type of the elements.
fn typed<T: Element>(mode: PadMode<f64>) -> PadMode<T> {
    match mode {
        PadMode::Constant(value) => PadMode::Constant(T::from_f64(value)),
        PadMode::Reflect => PadMode::Reflect,
        PadMode::Replicate => PadMode::Replicate,
        PadMode::Circular => PadMode::Circular,
    }
}

impl Pad for Cpu {
    fn pad(&self, g: &PadGeom, mode: PadMode<f64>, x: Operand<'_>, y: &mut Storage) -> Result<()> {
        let n = g.planes * g.output().iter().product::<usize>();
        any_type!(x.dtype, T => kernels::pad::<T>(g, typed(mode), slice(x), slice_mut(y, n)));
        Ok(())
    }

    fn pad_backward(
        &self,
        g: &PadGeom,
        mode: PadMode<f64>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = g.planes * g.input.iter().product::<usize>();
        float_type!("pad", dy.dtype, T => {
            kernels::pad_backward::<T>(g, typed(mode), slice(dy), slice_mut(dx, n));
        });
        Ok(())
    }
}
