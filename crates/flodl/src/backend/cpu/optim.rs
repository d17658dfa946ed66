//! Optimizer steps.

use flodl_cpu::optim as kernels;

use super::{Cpu, layout_mut, slice};
use crate::Result;
use crate::backend::{AdamOptions, Operand, Optim, SgdOptions, Target};
use crate::dtype::float_type;

impl Optim for Cpu {
    fn adam(
        &self,
        options: &AdamOptions,
        param: Target<'_>,
        grad: Operand<'_>,
        exp_avg: Target<'_>,
        exp_avg_sq: Target<'_>,
    ) -> Result<()> {
        float_type!("adam", param.dtype, T => kernels::adam(
            options,
            layout_mut::<T>(param.storage, param.layout),
            slice(grad),
            layout_mut(exp_avg.storage, exp_avg.layout),
            layout_mut(exp_avg_sq.storage, exp_avg_sq.layout),
        ));
        Ok(())
    }

    fn sgd(
        &self,
        options: &SgdOptions,
        param: Target<'_>,
        grad: Operand<'_>,
        momentum: Option<Target<'_>>,
    ) -> Result<()> {
        float_type!("sgd", param.dtype, T => kernels::sgd(
            options,
            layout_mut::<T>(param.storage, param.layout),
            slice(grad),
            momentum.map(|m| layout_mut(m.storage, m.layout)),
        ));
        Ok(())
    }
}
