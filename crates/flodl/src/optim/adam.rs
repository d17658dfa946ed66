//! Adam (Kingma and Ba, 2014) and AdamW (Loshchilov and Hutter, 2017), with PyTorch's defaults and
//! arithmetic.

use super::{Groups, Optimizer, gradient};
use crate::backend::AdamOptions;
use crate::{Parameter, Result, Tensor};

/// Moments of one parameter.
#[derive(Clone, Debug)]
struct State {
    step: u64,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

/// What Adam and AdamW share.
#[derive(Debug)]
struct Core {
    groups: Groups,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    /// Decay the weights themselves instead of adding to the gradient.
    decoupled: bool,
    state: Vec<Option<State>>,
}

impl Core {
    fn new(groups: Groups, weight_decay: f64, decoupled: bool) -> Self {
        let state = vec![None; groups.count()];
        Core { groups, betas: (0.9, 0.999), eps: 1e-8, weight_decay, decoupled, state }
    }

    fn step(&mut self) -> Result<()> {
        for ((p, lr), state) in self.groups.with_lr().zip(&mut self.state) {
            let Some(grad) = gradient("Adam", p)? else { continue };
            if state.is_none() {
                let zeros = || Tensor::zeros_like(&grad);
                *state = Some(State { step: 0, exp_avg: zeros()?, exp_avg_sq: zeros()? });
            }
            let Some(state) = state else { continue };
            state.step += 1;
            let options = AdamOptions {
                lr,
                beta1: self.betas.0,
                beta2: self.betas.1,
                eps: self.eps,
                weight_decay: self.weight_decay,
                decoupled: self.decoupled,
                step: state.step,
                ..AdamOptions::default()
            };
            p.variable.with_data_mut(|data| {
                let backend = data.backend()?;
                backend.adam(
                    &options,
                    data.target()?,
                    grad.operand(),
                    state.exp_avg.target()?,
                    state.exp_avg_sq.target()?,
                )
            })?;
        }
        Ok(())
    }
}

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, $builder:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            core: Core,
        }

        impl $name {
            /// Learning rate of the first group.
            pub fn lr(&self) -> f64 {
                self.core.groups.lr()
            }
        }

        impl Optimizer for $name {
            fn step(&mut self) -> Result<()> {
                self.core.step()
            }
            fn reset_state(&mut self) {
                self.core.state.iter_mut().for_each(|s| *s = None);
            }
            fn zero_grad(&self) {
                self.core.groups.zero_grad();
            }
            fn lr(&self) -> f64 {
                self.core.groups.lr()
            }
            fn set_lr(&mut self, lr: f64) {
                self.core.groups.set_lr(lr);
            }
            fn set_group_lr(&mut self, group: usize, lr: f64) {
                self.core.groups.set_group_lr(group, lr);
            }
            fn scale_lr(&mut self, factor: f64) {
                self.core.groups.scale_lr(factor);
            }
        }

        /// Sets up groups with learning rates of their own.
        #[derive(Debug)]
        pub struct $builder {
            core: Core,
        }

        impl $builder {
            /// Decay rates of the two moments; (0.9, 0.999) unless set.
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.core.betas = (beta1, beta2);
                self
            }

            /// Added to the denominator; 1e-8 unless set.
            pub fn eps(mut self, eps: f64) -> Self {
                self.core.eps = eps;
                self
            }

            /// Weight decay of all groups.
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.core.weight_decay = weight_decay;
                self
            }

            /// Adds a group.
            pub fn group(mut self, params: &[Parameter], lr: f64) -> Self {
                self.core.groups.add(params, lr);
                self
            }

            /// The optimizer.
            pub fn build(mut self) -> $name {
                self.core.state = vec![None; self.core.groups.count()];
                $name { core: self.core }
            }
        }
    };
}

adam! {
    /// Adam (Kingma and Ba, 2014).
    ///
    /// ```
    /// use flodl::*;
    /// let layer = Linear::new(2, 1)?;
    /// let mut optimizer = Adam::new(&layer.parameters(), 1e-3);
    /// let x = Variable::new(Tensor::ones(&[4, 2], TensorOptions::default())?, false);
    /// optimizer.zero_grad();
    /// layer.forward(&x)?.sum()?.backward()?;
    /// optimizer.step()?;
    /// # Ok::<(), Error>(())
    /// ```
    Adam, AdamBuilder
}

adam! {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2017).
    AdamW, AdamWBuilder
}

impl Adam {
    /// One group.
    pub fn new(params: &[Parameter], lr: f64) -> Self {
        Adam { core: Core::new(Groups::one(params, lr), 0.0, false) }
    }

    /// Groups and settings of your own.
    pub fn with_groups() -> AdamBuilder {
        AdamBuilder { core: Core::new(Groups::default(), 0.0, false) }
    }
}

impl AdamW {
    /// One group.
    pub fn new(params: &[Parameter], lr: f64, weight_decay: f64) -> Self {
        AdamW { core: Core::new(Groups::one(params, lr), weight_decay, true) }
    }

    /// Groups and settings of your own.
    pub fn with_groups(weight_decay: f64) -> AdamWBuilder {
        AdamWBuilder { core: Core::new(Groups::default(), weight_decay, true) }
    }
}
