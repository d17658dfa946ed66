//! Schedules that fall or rise once.

use std::f64::consts::PI;
use std::sync::Arc;

use super::scheduler;

/// Multiplies by `gamma` every `step_size` steps; PyTorch's StepLR.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDecay {
    base_lr: f64,
    step_size: usize,
    gamma: f64,
}

impl StepDecay {
    /// A `step_size` of 0 counts as 1.
    pub fn new(base_lr: f64, step_size: usize, gamma: f64) -> Self {
        StepDecay { base_lr, step_size: step_size.max(1), gamma }
    }
}

scheduler!(StepDecay, |self, step| {
    self.base_lr * self.gamma.powf((step / self.step_size) as f64)
});

/// PyTorch's name for [`StepDecay`].
pub type StepLR = StepDecay;

/// Multiplies by `gamma` at each milestone; one that is given twice counts twice.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStepLR {
    base_lr: f64,
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLR {
    /// Milestones in any order.
    pub fn new(base_lr: f64, milestones: &[usize], gamma: f64) -> Self {
        MultiStepLR { base_lr, milestones: milestones.to_vec(), gamma }
    }
}

scheduler!(MultiStepLR, |self, step| {
    let passed = self.milestones.iter().filter(|&&m| m <= step).count();
    self.base_lr * self.gamma.powf(passed as f64)
});

/// Multiplies by `gamma` every step.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialLR {
    base_lr: f64,
    gamma: f64,
}

impl ExponentialLR {
    /// A schedule that starts at `base_lr`.
    pub fn new(base_lr: f64, gamma: f64) -> Self {
        ExponentialLR { base_lr, gamma }
    }
}

scheduler!(ExponentialLR, |self, step| self.base_lr * self.gamma.powf(step as f64));

/// Half a cosine from `base_lr` to `min_lr`, which then stays (Loshchilov and Hutter, 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct CosineScheduler {
    base_lr: f64,
    min_lr: f64,
    total_steps: usize,
}

impl CosineScheduler {
    /// `min_lr` is reached at step `total_steps`.
    pub fn new(base_lr: f64, min_lr: f64, total_steps: usize) -> Self {
        CosineScheduler { base_lr, min_lr, total_steps }
    }
}

scheduler!(CosineScheduler, |self, step| {
    if step >= self.total_steps {
        return self.min_lr;
    }
    let part = step as f64 / self.total_steps as f64;
    self.min_lr + (self.base_lr - self.min_lr) * (1.0 + (PI * part).cos()) / 2.0
});

/// A fraction of the learning rate until `total_iters` steps are done; PyTorch's defaults are 1/3
/// and 5.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstantLR {
    base_lr: f64,
    factor: f64,
    total_iters: usize,
}

impl ConstantLR {
    /// `factor · base_lr` for `total_iters` steps, then `base_lr`.
    pub fn new(base_lr: f64, factor: f64, total_iters: usize) -> Self {
        ConstantLR { base_lr, factor, total_iters }
    }
}

scheduler!(ConstantLR, |self, step| {
    if step < self.total_iters { self.base_lr * self.factor } else { self.base_lr }
});

/// A line between two fractions of the learning rate; PyTorch's defaults are 1/3, 1 and 5.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearLR {
    base_lr: f64,
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl LinearLR {
    /// From `start_factor · base_lr` to `end_factor · base_lr` at step `total_iters`.
    pub fn new(base_lr: f64, start_factor: f64, end_factor: f64, total_iters: usize) -> Self {
        LinearLR { base_lr, start_factor, end_factor, total_iters: total_iters.max(1) }
    }
}

scheduler!(LinearLR, |self, step| {
    let part = step.min(self.total_iters) as f64 / self.total_iters as f64;
    self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * part)
});

/// `(1 - step / total_iters)^power`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolynomialLR {
    base_lr: f64,
    total_iters: usize,
    power: f64,
}

impl PolynomialLR {
    /// 0 is reached at step `total_iters`.
    pub fn new(base_lr: f64, total_iters: usize, power: f64) -> Self {
        PolynomialLR { base_lr, total_iters: total_iters.max(1), power }
    }
}

scheduler!(PolynomialLR, |self, step| {
    let part = step.min(self.total_iters) as f64 / self.total_iters as f64;
    self.base_lr * (1.0 - part).powf(self.power)
});

/// A factor of your own for each step.
#[derive(Clone)]
pub struct LambdaLR {
    base_lr: f64,
    factor: Arc<dyn Fn(usize) -> f64 + Send + Sync>,
}

impl LambdaLR {
    /// `base_lr · factor(step)`.
    pub fn new(base_lr: f64, factor: impl Fn(usize) -> f64 + Send + Sync + 'static) -> Self {
        LambdaLR { base_lr, factor: Arc::new(factor) }
    }
}

impl std::fmt::Debug for LambdaLR {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LambdaLR({})", self.base_lr)
    }
}

scheduler!(LambdaLR, |self, step| self.base_lr * (self.factor)(step));
