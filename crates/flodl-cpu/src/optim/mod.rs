//! Optimizer steps: one pass over parameter, gradient and state, for all parameters of a model in
//! one call.
//!
//! A [`Rule`] is what an optimizer does to one element, with its constants; an [`Update`] is a
//! parameter with its rule. Threads split the concatenation of all parameters, so that many small
//! ones cost no more than a large one.

mod formulas;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::math::FloatMath;
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// What an Adam step needs to know; the names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Pull towards 0.
    pub weight_decay: f64,
    /// Whether the pull is on the parameter (AdamW) and not on the gradient (Adam).
    pub decoupled: bool,
    /// Whether the denominator is the largest so far (Reddi et al., 2018): a third state.
    pub amsgrad: bool,
    /// Whether to climb.
    pub maximize: bool,
    /// Number of this step, from 1.
    pub step: u64,
    /// Factor on the gradient, for clipping and loss scaling; 1 changes nothing.
    pub grad_scale: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            amsgrad: false,
            maximize: false,
            step: 1,
            grad_scale: 1.0,
        }
    }
}

/// What a step of gradient descent needs to know; the names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub lr: f64,
    /// Share of the last step that is kept; without, there is no state.
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    pub dampening: f64,
    /// Whether to look ahead.
    pub nesterov: bool,
    /// Pull towards 0, added to the gradient.
    pub weight_decay: f64,
    /// Whether to climb.
    pub maximize: bool,
    /// Whether this is the parameter's first step, in which the momentum starts as the gradient.
    pub first: bool,
    /// Factor on the gradient, for clipping and loss scaling; 1 changes nothing.
    pub grad_scale: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            maximize: false,
            first: true,
            grad_scale: 1.0,
        }
    }
}

/// What RMSprop needs to know; the names are PyTorch's. States: the mean of squares, the mean of
/// gradients if `centered`, the buffer if there is momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Step size.
    pub lr: f64,
    /// Decay of the mean of squared gradients.
    pub alpha: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Pull towards 0, added to the gradient.
    pub weight_decay: f64,
    /// Share of the last step that is kept.
    pub momentum: f64,
    /// Whether to divide by the deviation instead of the root of the mean square.
    pub centered: bool,
}

/// What an optimizer does to each element of one parameter in one step. Constants that depend on
/// the number of the step are computed by whoever makes the rule. The states each rule changes
/// are named in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Gradient descent; the momentum buffer, if there is momentum.
    Sgd(Sgd),
    /// Adam and AdamW; mean, mean of squares, and the largest such if `amsgrad`.
    Adam(Adam),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Adagrad: the sum of squares.
    Adagrad {
        /// Step size, decayed already.
        lr: f64,
        /// Added to the denominator.
        eps: f64,
        /// Pull towards 0, added to the gradient.
        weight_decay: f64,
    },
    /// A step along a mix of the mean of gradients and the gradient, over the root of the mean of
    /// squares: RAdam and NAdam. States: mean, mean of squares.
    Mixed {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the mean of squares.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
        /// The root of the mean of squares is multiplied by this.
        root: f64,
        /// Step size of the mean.
        of_mean: f64,
        /// Step size of the gradient.
        of_grad: f64,
        /// Whether to divide by the root at all.
        adaptive: bool,
        /// Pull towards 0, added to the gradient.
        weight_decay: f64,
        /// Factor on the parameter.
        shrink: f64,
    },
    /// Adamax: the mean and the infinity norm.
    Adamax {
        /// Step size, corrected for the bias of the mean.
        lr: f64,
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the norm.
        beta2: f64,
        /// Added to the magnitude of gradients.
        eps: f64,
        /// Pull towards 0, added to the gradient.
        weight_decay: f64,
    },
    /// Adadelta: means of squared gradients and of squared steps.
    Adadelta {
        /// Step size.
        lr: f64,
        /// Decay of both means.
        rho: f64,
        /// Added under both roots.
        eps: f64,
        /// Pull towards 0, added to the gradient.
        weight_decay: f64,
    },
    /// Lion: the mean of gradients.
    Lion {
        /// Step size.
        lr: f64,
        /// Share of the mean in the step.
        beta1: f64,
        /// Decay of the mean.
        beta2: f64,
        /// Pull towards 0 on the parameter itself.
        weight_decay: f64,
    },
    /// Averaged gradient descent: the average.
    Asgd {
        /// Step size of this step.
        eta: f64,
        /// Factor on the parameter.
        shrink: f64,
        /// Share with which the parameter enters the average.
        mu: f64,
        /// Pull towards 0, added to the gradient.
        weight_decay: f64,
    },
    /// Resilient propagation: the last gradient and the step sizes.
    Rprop {
        /// Factor on the step size when the gradient changes its sign.
        eta_minus: f64,
        /// Factor on the step size when it keeps it.
        eta_plus: f64,
        /// Smallest step size.
        min: f64,
        /// Largest step size.
        max: f64,
    },
}

impl Rule {
    /// Which of three states the rule changes.
    pub fn states(&self) -> [bool; 3] {
        match self {
            Rule::Sgd(o) => [o.momentum != 0.0, false, false],
            Rule::Adam(o) => [true, true, o.amsgrad],
            Rule::RmsProp(o) => [true, o.centered, o.momentum != 0.0],
            Rule::Adagrad { .. } | Rule::Lion { .. } | Rule::Asgd { .. } => [true, false, false],
            Rule::Mixed { .. }
            | Rule::Adamax { .. }
            | Rule::Adadelta { .. }
            | Rule::Rprop { .. } => [true, true, false],
        }
    }
}

/// One parameter in a step.
pub struct Update<'a, T> {
    rule: Rule,
    grad_scale: f64,
    param: SharedMut<'a, T>,
    grad: &'a [T],
    state: [SharedMut<'a, T>; 3],
}

impl<'a, T> Update<'a, T> {
    /// What to do with a parameter, its gradient times `grad_scale` (clipping, loss scaling, -1 to
    /// climb), and its states. States that the rule does not use may be empty.
    ///
    /// # Panics
    /// If a length is not the parameter's.
    pub fn new(
        rule: Rule,
        grad_scale: f64,
        param: &'a mut [T],
        grad: &'a [T],
        state: [&'a mut [T]; 3],
    ) -> Self {
        let n = param.len();
        assert_eq!(grad.len(), n, "length of the gradient");
        for (used, state) in rule.states().into_iter().zip(&state) {
            assert!(!used || state.len() == n, "length of a state");
        }
        let (param, state) = (SharedMut::new(param), state.map(SharedMut::new));
        Update { rule, grad_scale, param, grad, state }
    }
}

/// One step for all parameters.
pub fn step<T: FloatMath>(updates: &[Update<'_, T>]) {
    let total = updates.iter().map(|u| u.param.len()).sum();
    parallel_ranges(total, GRAIN, |range| run(updates, range));
}

/// The part of a step that falls into a range of the concatenation of all parameters.
fn run<T: FloatMath>(updates: &[Update<'_, T>], range: Range<usize>) {
    let mut start = 0;
    for u in updates {
        let (from, to) = (range.start.max(start), range.end.min(start + u.param.len()));
        if from < to {
            // SAFETY: ranges of one region are disjoint.
            unsafe { formulas::apply(u, from - start..to - start) };
        }
        start += u.param.len();
        if start >= range.end {
            break;
        }
    }
}
