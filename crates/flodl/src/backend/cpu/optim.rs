//! Optimizer steps.

use flodl_cpu::element::Element;
use flodl_cpu::optim::{Update, step};

use super::{Cpu, layout_mut, slice};
use crate::backend::{Optim, OptimUpdate, Target};
use crate::dtype::float_type;
use crate::{DType, Result};

fn state<T: Element>(target: Option<Target<'_>>) -> &mut [T] {
    target.map_or(&mut [], |t| layout_mut(t.storage, t.layout))
}

impl Optim for Cpu {
    fn optim_step(&self, dtype: DType, updates: Vec<OptimUpdate<'_>>) -> Result<()> {
        float_type!("optimizer", dtype, T => {
            let updates: Vec<Update<'_, T>> = updates
                .into_iter()
                .map(|u| {
                    let param = layout_mut(u.param.storage, u.param.layout);
                    Update::new(u.rule, u.grad_scale, param, slice(u.grad), u.state.map(state))
                })
                .collect();
            step(&updates);
        });
        Ok(())
    }
}
