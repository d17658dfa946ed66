//! Step sizes from the history of squared gradients, without a mean of gradients.

use super::StateKind;
use super::core::{Method, Optim, OptimBuilder, constructors, setters};
use crate::backend::{RmsPropOptions, Rule};

/// RMSprop (Hinton, 2012), also centered (Graves, 2013) and with momentum.
pub type RMSprop = Optim<RmsPropSettings>;
/// Sets up [`RMSprop`].
pub type RMSpropBuilder = OptimBuilder<RmsPropSettings>;

/// Settings of [`RMSprop`].
#[derive(Clone, Debug, PartialEq)]
pub struct RmsPropSettings {
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    maximize: bool,
}

impl Default for RmsPropSettings {
    fn default() -> Self {
        RmsPropSettings {
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

setters! { [] RmsPropSettings {
    /// Decay of the mean of squared gradients; 0.99 unless set.
    alpha: f64,
    /// Added to the denominator; 1e-8 unless set.
    eps: f64,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Share of the last step that is kept.
    momentum: f64,
    /// Divides by the deviation of gradients instead of the root of their mean square.
    centered: bool,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(RmsPropSettings);

impl Method for RmsPropSettings {
    const KIND: StateKind = StateKind::RMSprop;
    const STATES: [&'static str; 3] = ["square_avg", "grad_avg", "momentum_buffer"];

    fn rule(&self, lr: f64, _: u64, _: &mut f64) -> Rule {
        Rule::RmsProp(RmsPropOptions {
            lr,
            alpha: self.alpha,
            eps: self.eps,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            centered: self.centered,
        })
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.momentum)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }
}

/// Adagrad: step sizes fall with the sum of squared gradients (Duchi et al., 2011).
pub type Adagrad = Optim<AdagradSettings>;
/// Sets up [`Adagrad`].
pub type AdagradBuilder = OptimBuilder<AdagradSettings>;

/// Settings of [`Adagrad`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdagradSettings {
    eps: f64,
    weight_decay: f64,
    lr_decay: f64,
    initial_accumulator_value: f64,
    maximize: bool,
}

impl Default for AdagradSettings {
    fn default() -> Self {
        AdagradSettings {
            eps: 1e-10,
            weight_decay: 0.0,
            lr_decay: 0.0,
            initial_accumulator_value: 0.0,
            maximize: false,
        }
    }
}

setters! { [] AdagradSettings {
    /// Added to the denominator; 1e-10 unless set.
    eps: f64,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Divides the learning rate by 1 + decay · steps.
    lr_decay: f64,
    /// What the sums of squares start from.
    initial_accumulator_value: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(AdagradSettings);

impl Method for AdagradSettings {
    const KIND: StateKind = StateKind::Adagrad;
    const STATES: [&'static str; 3] = ["sum", "", ""];

    fn rule(&self, lr: f64, step: u64, _: &mut f64) -> Rule {
        let lr = lr / (1.0 + (step - 1) as f64 * self.lr_decay);
        Rule::Adagrad { lr, eps: self.eps, weight_decay: self.weight_decay }
    }

    fn initial(&self, _: usize, _: f64) -> f64 {
        self.initial_accumulator_value
    }

    fn climbs(&self) -> bool {
        self.maximize
    }
}

/// Adadelta: step sizes from past steps (Zeiler, 2012).
pub type Adadelta = Optim<AdadeltaSettings>;
/// Sets up [`Adadelta`].
pub type AdadeltaBuilder = OptimBuilder<AdadeltaSettings>;

/// Settings of [`Adadelta`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdadeltaSettings {
    rho: f64,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for AdadeltaSettings {
    fn default() -> Self {
        AdadeltaSettings { rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

setters! { [] AdadeltaSettings {
    /// Decay of both means; 0.9 unless set.
    rho: f64,
    /// Added under both roots; 1e-6 unless set.
    eps: f64,
    /// Adds wd · weight to each gradient.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(AdadeltaSettings);

impl Method for AdadeltaSettings {
    const KIND: StateKind = StateKind::Adadelta;
    const STATES: [&'static str; 3] = ["square_avg", "acc_delta", ""];

    fn rule(&self, lr: f64, _: u64, _: &mut f64) -> Rule {
        Rule::Adadelta { lr, rho: self.rho, eps: self.eps, weight_decay: self.weight_decay }
    }

    fn climbs(&self) -> bool {
        self.maximize
    }
}
