//! Losses.

use flodl_cpu::loss::{self as kernels, CrossEntropy};

use super::{Cpu, slice, slice_mut};
use crate::backend::{CrossEntropyOptions, Loss, Operand, Reduction, Storage};
use crate::dtype::float_type;
use crate::{Error, Result};

fn options<'a, T: flodl_cpu::element::Element>(o: &CrossEntropyOptions<'a>) -> CrossEntropy<'a, T> {
    CrossEntropy {
        weight: o.weight.map(slice),
        ignore_index: o.ignore_index,
        smoothing: o.smoothing,
        reduction: o.reduction,
    }
}

/// Number of classes: the last dim.
fn classes(logits: Operand<'_>) -> usize {
    logits.layout.shape.last().copied().unwrap_or(1)
}

impl Loss for Cpu {
    fn cross_entropy(
        &self,
        o: &CrossEntropyOptions<'_>,
        logits: Operand<'_>,
        targets: Operand<'_>,
        [loss, lse]: [&mut Storage; 2],
    ) -> Result<f64> {
        let (classes, targets) = (classes(logits), slice::<i64>(targets));
        if let Some((_, index)) = kernels::bad_target(targets, classes, o.ignore_index) {
            return Err(Error::IndexOutOfRange {
                op: "cross_entropy_loss",
                index,
                size: classes as i64,
            });
        }
        let rows = targets.len();
        let n = if o.reduction == Reduction::None { rows } else { 1 };
        float_type!("cross_entropy_loss", logits.dtype, T => Ok(kernels::cross_entropy_forward::<T>(
            &options(o),
            slice(logits),
            classes,
            targets,
            slice_mut(lse, 2 * rows),
            slice_mut(loss, n),
        )?))
    }

    fn cross_entropy_backward(
        &self,
        o: &CrossEntropyOptions<'_>,
        logits: Operand<'_>,
        targets: Operand<'_>,
        lse: Operand<'_>,
        weight_total: f64,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = logits.layout.numel();
        float_type!("cross_entropy_loss", logits.dtype, T => kernels::cross_entropy_backward::<T>(
            &options(o),
            slice(dy),
            slice(logits),
            classes(logits),
            slice(targets),
            slice(lse),
            weight_total,
            slice_mut(dx, n),
        ));
        Ok(())
    }

    fn mse(&self, x: Operand<'_>, y: Operand<'_>, mean: bool, out: &mut Storage) -> Result<()> {
        float_type!("mse_loss", x.dtype, T => {
            slice_mut::<T>(out, 1)[0] = kernels::mse_forward(slice(x), slice(y), mean);
        });
        Ok(())
    }

    fn mse_backward(
        &self,
        x: Operand<'_>,
        y: Operand<'_>,
        mean: bool,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = x.layout.numel();
        float_type!("mse_loss", x.dtype, T => {
            let g = slice::<T>(dy)[0];
            kernels::mse_backward(g, slice(x), slice(y), mean, slice_mut(dx, n));
        });
        Ok(())
    }
}
