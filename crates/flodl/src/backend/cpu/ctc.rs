//! CTC.

use flodl_cpu::ctc as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{Ctc, CtcLoss, Operand, Storage};
use crate::dtype::float_type;

impl CtcLoss for Cpu {
    fn ctc(
        &self,
        o: &Ctc<'_>,
        log_probs: Operand<'_>,
        [nll, alpha]: [&mut Storage; 2],
    ) -> Result<()> {
        float_type!("ctc_loss", log_probs.dtype, T => kernels::ctc_forward::<T>(
            o,
            slice(log_probs),
            slice_mut(nll, o.batch),
            slice_mut(alpha, o.batch * o.time * o.states()),
        ));
        Ok(())
    }

    fn ctc_backward(
        &self,
        o: &Ctc<'_>,
        zero_infinity: bool,
        log_probs: Operand<'_>,
        nll: Operand<'_>,
        alpha: Operand<'_>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = log_probs.layout.numel();
        float_type!("ctc_loss", log_probs.dtype, T => kernels::ctc_backward::<T>(
            o,
            zero_infinity,
            slice(log_probs),
            slice(nll),
            slice(alpha),
            slice(dy),
            slice_mut(dx, n),
        )?);
        Ok(())
    }
}
