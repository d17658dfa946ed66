//! Adam and its relatives, with PyTorch's defaults and arithmetic.

use super::StateKind;
use super::core::{Method, Optim, OptimBuilder, bad_betas, betas, constructors, setters};
use crate::Parameter;
use crate::backend::{AdamOptions, Rule};

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
pub type Adam = Optim<AdamSettings<false>>;
/// Sets up [`Adam`].
pub type AdamBuilder = OptimBuilder<AdamSettings<false>>;
/// Adam with decoupled weight decay (Loshchilov and Hutter, 2017).
pub type AdamW = Optim<AdamSettings<true>>;
/// Sets up [`AdamW`].
pub type AdamWBuilder = OptimBuilder<AdamSettings<true>>;

/// Settings of [`Adam`], and of [`AdamW`] when weight decay is decoupled.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamSettings<const DECOUPLED: bool> {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
}

impl<const D: bool> Default for AdamSettings<D> {
    fn default() -> Self {
        let weight_decay = if D { 1e-2 } else { 0.0 };
        AdamSettings {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay,
            amsgrad: false,
            maximize: false,
        }
    }
}

setters! { [const D: bool] AdamSettings<D> {
    /// Added to the denominator; 1e-8 unless set.
    eps: f64,
    /// Weight decay: on the gradient in Adam, on the weight itself in AdamW.
    weight_decay: f64,
    /// Divides by the largest second moment so far (Reddi et al., 2018).
    amsgrad: bool,
    /// Climbs instead of descending.
    maximize: bool,
} }
betas!([const D: bool] AdamSettings<D>);
constructors!(AdamSettings<false>);

impl<const D: bool> Method for AdamSettings<D> {
    const KIND: StateKind = if D { StateKind::AdamW } else { StateKind::Adam };
    const STATES: [&'static str; 3] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        Rule::Adam(AdamOptions {
            lr,
            beta1: self.betas.0,
            beta2: self.betas.1,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decoupled: D,
            amsgrad: self.amsgrad,
            step,
            ..AdamOptions::default()
        })
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.betas.0)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        bad_betas(self.betas)
    }
}

impl AdamW {
    /// One group.
    pub fn new(params: &[Parameter], lr: f64, weight_decay: f64) -> Self {
        Self::one(params, lr, AdamSettings::default().weight_decay(weight_decay))
    }

    /// Groups and settings of your own.
    pub fn with_groups(weight_decay: f64) -> AdamWBuilder {
        OptimBuilder::with(AdamSettings::default().weight_decay(weight_decay))
    }
}

/// Adam with Nesterov momentum (Dozat, 2016).
pub type NAdam = Optim<NAdamSettings>;
/// Sets up [`NAdam`].
pub type NAdamBuilder = OptimBuilder<NAdamSettings>;

/// Settings of [`NAdam`].
#[derive(Clone, Debug, PartialEq)]
pub struct NAdamSettings {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled_weight_decay: bool,
    momentum_decay: f64,
    maximize: bool,
}

impl Default for NAdamSettings {
    fn default() -> Self {
        NAdamSettings {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            momentum_decay: 4e-3,
            maximize: false,
        }
    }
}

setters! { [] NAdamSettings {
    /// Added to the denominator; 1e-8 unless set.
    eps: f64,
    /// Weight decay.
    weight_decay: f64,
    /// Whether weight decay acts on the weight and not on the gradient.
    decoupled_weight_decay: bool,
    /// How fast the momentum rises; 4e-3 unless set.
    momentum_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
betas!([] NAdamSettings);
constructors!(NAdamSettings);

/// Weight decay as what enters the gradient and the factor on the weight.
fn decay(lr: f64, weight_decay: f64, decoupled: bool) -> (f64, f64) {
    if decoupled { (0.0, 1.0 - lr * weight_decay) } else { (weight_decay, 1.0) }
}

fn power(beta: f64, step: u64) -> f64 {
    beta.powi(step.min(i32::MAX as u64) as i32)
}

impl Method for NAdamSettings {
    const KIND: StateKind = StateKind::NAdam;
    const STATES: [&'static str; 3] = ["exp_avg", "exp_avg_sq", ""];

    fn rule(&self, lr: f64, step: u64, mu_product: &mut f64) -> Rule {
        let (beta1, beta2) = self.betas;
        let mu = |t: u64| beta1 * (1.0 - 0.5 * 0.96f64.powf(t as f64 * self.momentum_decay));
        let (now, next) = (mu(step), mu(step + 1));
        *mu_product *= now;
        let (weight_decay, shrink) = decay(lr, self.weight_decay, self.decoupled_weight_decay);
        Rule::Mixed {
            beta1,
            beta2,
            eps: self.eps,
            root: 1.0 / (1.0 - power(beta2, step)).sqrt(),
            of_mean: lr * next / (1.0 - *mu_product * next),
            of_grad: lr * (1.0 - now) / (1.0 - *mu_product),
            adaptive: true,
            weight_decay,
            shrink,
        }
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.betas.0)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        bad_betas(self.betas)
    }
}

/// Adam that waits until the variance of its step size can be trusted (Liu et al., 2019).
pub type RAdam = Optim<RAdamSettings>;
/// Sets up [`RAdam`].
pub type RAdamBuilder = OptimBuilder<RAdamSettings>;

/// Settings of [`RAdam`].
#[derive(Clone, Debug, PartialEq)]
pub struct RAdamSettings {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled_weight_decay: bool,
    maximize: bool,
}

impl Default for RAdamSettings {
    fn default() -> Self {
        RAdamSettings {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

setters! { [] RAdamSettings {
    /// Added to the denominator; 1e-8 unless set.
    eps: f64,
    /// Weight decay.
    weight_decay: f64,
    /// Whether weight decay acts on the weight and not on the gradient.
    decoupled_weight_decay: bool,
    /// Climbs instead of descending.
    maximize: bool,
} }
betas!([] RAdamSettings);
constructors!(RAdamSettings);

impl Method for RAdamSettings {
    const KIND: StateKind = StateKind::RAdam;
    const STATES: [&'static str; 3] = ["exp_avg", "exp_avg_sq", ""];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        let (beta1, beta2) = self.betas;
        let (correction1, correction2) = (1.0 - power(beta1, step), 1.0 - power(beta2, step));
        let longest = 2.0 / (1.0 - beta2) - 1.0;
        let length = longest - 2.0 * step as f64 * power(beta2, step) / correction2;
        let adaptive = length > 5.0;
        let rectified = (length - 4.0) * (length - 2.0) * longest
            / ((longest - 4.0) * (longest - 2.0) * length);
        let factor = if adaptive { rectified.sqrt() * correction2.sqrt() } else { 1.0 };
        let (weight_decay, shrink) = decay(lr, self.weight_decay, self.decoupled_weight_decay);
        Rule::Mixed {
            beta1,
            beta2,
            eps: self.eps,
            root: 1.0,
            of_mean: lr / correction1 * factor,
            of_grad: 0.0,
            adaptive,
            weight_decay,
            shrink,
        }
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.betas.0)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        bad_betas(self.betas)
    }
}

/// Adam with the infinity norm (Kingma and Ba, 2014).
pub type Adamax = Optim<AdamaxSettings>;
/// Sets up [`Adamax`].
pub type AdamaxBuilder = OptimBuilder<AdamaxSettings>;

/// Settings of [`Adamax`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdamaxSettings {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for AdamaxSettings {
    fn default() -> Self {
        AdamaxSettings { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, maximize: false }
    }
}

setters! { [] AdamaxSettings {
    /// Added to the magnitude of gradients; 1e-8 unless set.
    eps: f64,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
betas!([] AdamaxSettings);
constructors!(AdamaxSettings);

impl Method for AdamaxSettings {
    const KIND: StateKind = StateKind::Adamax;
    const STATES: [&'static str; 3] = ["exp_avg", "exp_inf", ""];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        let (beta1, beta2) = self.betas;
        let lr = lr / (1.0 - power(beta1, step));
        Rule::Adamax { lr, beta1, beta2, eps: self.eps, weight_decay: self.weight_decay }
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.betas.0)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        bad_betas(self.betas)
    }
}
