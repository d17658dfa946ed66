//! Stochastic gradient descent, and its relatives without a second moment.

use super::StateKind;
use super::core::{Method, Optim, OptimBuilder, betas, constructors, setters};
use crate::Parameter;
use crate::backend::{Rule, SgdOptions};

/// Gradient descent with momentum, Nesterov momentum, dampening and weight decay (Sutskever et
/// al., 2013).
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(2, 1)?;
/// let optimizer = SGD::new(&layer.parameters(), 0.1, 0.9).weight_decay(1e-4).nesterov(true);
/// assert_eq!(optimizer.lr(), 0.1);
/// # Ok::<(), Error>(())
/// ```
pub type SGD = Optim<SgdSettings>;
/// Sets up [`SGD`].
pub type SGDBuilder = OptimBuilder<SgdSettings>;

/// Settings of [`SGD`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SgdSettings {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    maximize: bool,
}

setters! { [] SgdSettings {
    /// Share of the last step that is kept.
    momentum: f64,
    /// Damps what enters the momentum.
    dampening: f64,
    /// Looks ahead along the momentum.
    nesterov: bool,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }

impl Method for SgdSettings {
    const KIND: StateKind = StateKind::Sgd;
    const STATES: [&'static str; 3] = ["momentum_buffer", "", ""];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        Rule::Sgd(SgdOptions {
            lr,
            momentum: self.momentum,
            dampening: self.dampening,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            first: step == 1,
            ..SgdOptions::default()
        })
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.momentum)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        let wrong = self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0);
        wrong.then(|| "nesterov needs a momentum and no dampening".into())
    }
}

impl SGD {
    /// One group; momentum 0 is plain gradient descent.
    pub fn new(params: &[Parameter], lr: f64, momentum: f64) -> Self {
        Self::one(params, lr, SgdSettings { momentum, ..SgdSettings::default() })
    }

    /// Groups and settings of your own.
    pub fn with_groups(momentum: f64) -> SGDBuilder {
        OptimBuilder::with(SgdSettings { momentum, ..SgdSettings::default() })
    }
}

/// Lion: the sign of a mix of gradient and momentum (Chen et al., 2023).
pub type Lion = Optim<LionSettings>;
/// Sets up [`Lion`].
pub type LionBuilder = OptimBuilder<LionSettings>;

/// Settings of [`Lion`].
#[derive(Clone, Debug, PartialEq)]
pub struct LionSettings {
    betas: (f64, f64),
    weight_decay: f64,
    maximize: bool,
}

impl Default for LionSettings {
    fn default() -> Self {
        LionSettings { betas: (0.9, 0.99), weight_decay: 0.0, maximize: false }
    }
}

setters! { [] LionSettings {
    /// Pulls the weights towards 0, by lr · wd of themselves.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
betas!([] LionSettings);
constructors!(LionSettings);

impl Method for LionSettings {
    const KIND: StateKind = StateKind::Lion;
    const STATES: [&'static str; 3] = ["exp_avg", "", ""];

    fn rule(&self, lr: f64, _: u64, _: &mut f64) -> Rule {
        let (beta1, beta2) = self.betas;
        Rule::Lion { lr, beta1, beta2, weight_decay: self.weight_decay }
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.betas.0)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        super::core::bad_betas(self.betas)
    }
}

/// Averaged gradient descent (Polyak and Juditsky, 1992).
pub type ASGD = Optim<AsgdSettings>;
/// Sets up [`ASGD`].
pub type ASGDBuilder = OptimBuilder<AsgdSettings>;

/// Settings of [`ASGD`].
#[derive(Clone, Debug, PartialEq)]
pub struct AsgdSettings {
    lambd: f64,
    alpha: f64,
    t0: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for AsgdSettings {
    fn default() -> Self {
        AsgdSettings { lambd: 1e-4, alpha: 0.75, t0: 1e6, weight_decay: 0.0, maximize: false }
    }
}

setters! { [] AsgdSettings {
    /// Decay of the weights and of the step size.
    lambd: f64,
    /// Power of the step size's decay.
    alpha: f64,
    /// Step at which averaging begins.
    t0: f64,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(AsgdSettings);

impl Method for AsgdSettings {
    const KIND: StateKind = StateKind::Asgd;
    const STATES: [&'static str; 3] = ["ax", "", ""];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        let done = (step - 1) as f64;
        // PyTorch keeps both in single precision.
        let round = |v: f64| f64::from(v as f32);
        let eta = round(lr / (1.0 + self.lambd * lr * done).powf(self.alpha));
        let mu = round(1.0 / (done - self.t0).max(1.0));
        Rule::Asgd { eta, shrink: 1.0 - self.lambd * eta, mu, weight_decay: self.weight_decay }
    }

    fn climbs(&self) -> bool {
        self.maximize
    }
}

/// Resilient propagation: steps from the signs of gradients alone (Riedmiller and Braun, 1993).
pub type Rprop = Optim<RpropSettings>;
/// Sets up [`Rprop`].
pub type RpropBuilder = OptimBuilder<RpropSettings>;

/// Settings of [`Rprop`].
#[derive(Clone, Debug, PartialEq)]
pub struct RpropSettings {
    etas: (f64, f64),
    step_sizes: (f64, f64),
    maximize: bool,
}

impl Default for RpropSettings {
    fn default() -> Self {
        RpropSettings { etas: (0.5, 1.2), step_sizes: (1e-6, 50.0), maximize: false }
    }
}

setters! { [] RpropSettings {
    /// Factors on the step size when a gradient changes its sign, and when it keeps it.
    etas: (f64, f64),
    /// Smallest and largest step size.
    step_sizes: (f64, f64),
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(RpropSettings);

impl Method for RpropSettings {
    const KIND: StateKind = StateKind::Rprop;
    const STATES: [&'static str; 3] = ["prev", "step_size", ""];

    fn rule(&self, _: f64, _: u64, _: &mut f64) -> Rule {
        let ((eta_minus, eta_plus), (min, max)) = (self.etas, self.step_sizes);
        Rule::Rprop { eta_minus, eta_plus, min, max }
    }

    fn initial(&self, state: usize, lr: f64) -> f64 {
        if state == 1 { lr } else { 0.0 }
    }

    fn climbs(&self) -> bool {
        self.maximize
    }
}
