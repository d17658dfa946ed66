//! Stochastic gradient descent with momentum, in PyTorch's arithmetic.

use super::{Groups, Optimizer, gradient, group_methods};
use crate::backend::SgdOptions;
use crate::{Parameter, Result, Tensor};

/// Gradient descent with momentum, Nesterov momentum, dampening and weight decay (Sutskever et
/// al., 2013).
#[derive(Debug)]
pub struct SGD {
    groups: Groups,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    buffers: Vec<Option<Tensor>>,
}

impl SGD {
    /// One group; momentum 0 is plain gradient descent.
    pub fn new(params: &[Parameter], lr: f64, momentum: f64) -> Self {
        let groups = Groups::one(params, lr);
        let buffers = vec![None; groups.count()];
        SGD { groups, momentum, dampening: 0.0, nesterov: false, weight_decay: 0.0, buffers }
    }

    /// Adds wd · weight to each gradient.
    pub fn weight_decay(mut self, wd: f64) -> Self {
        self.weight_decay = wd;
        self
    }

    /// Damps what enters the momentum.
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// Looks ahead along the momentum.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Groups and settings of your own.
    pub fn with_groups(momentum: f64) -> SGDBuilder {
        SGDBuilder { sgd: SGD::new(&[], 0.0, momentum), groups: Groups::default() }
    }

    /// Learning rate of the first group.
    pub fn lr(&self) -> f64 {
        self.groups.lr()
    }
}

impl Optimizer for SGD {
    fn step(&mut self) -> Result<()> {
        for ((p, lr), buffer) in self.groups.with_lr().zip(&mut self.buffers) {
            let Some(grad) = gradient("SGD", p)? else { continue };
            let first = buffer.is_none();
            if first && self.momentum != 0.0 {
                *buffer = Some(Tensor::zeros_like(&grad)?);
            }
            let options = SgdOptions {
                lr,
                momentum: self.momentum,
                dampening: self.dampening,
                nesterov: self.nesterov,
                weight_decay: self.weight_decay,
                first,
                ..SgdOptions::default()
            };
            p.variable.with_data_mut(|data| {
                let backend = data.backend()?;
                let momentum = buffer.as_mut().map(Tensor::target).transpose()?;
                backend.sgd(&options, data.target()?, grad.operand(), momentum)
            })?;
        }
        Ok(())
    }

    fn reset_state(&mut self) {
        self.buffers.iter_mut().for_each(|b| *b = None);
    }

    group_methods!();
}

/// Sets up groups with learning rates of their own.
#[derive(Debug)]
pub struct SGDBuilder {
    sgd: SGD,
    groups: Groups,
}

impl SGDBuilder {
    /// Adds a group.
    pub fn group(mut self, params: &[Parameter], lr: f64) -> Self {
        self.groups.add(params, lr);
        self
    }

    /// Adds wd · weight to each gradient.
    pub fn weight_decay(mut self, wd: f64) -> Self {
        self.sgd.weight_decay = wd;
        self
    }

    /// The optimizer.
    pub fn build(self) -> SGD {
        SGD { buffers: vec![None; self.groups.count()], groups: self.groups, ..self.sgd }
    }
}
