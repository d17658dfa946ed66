//! A learning rate that falls when a metric stops improving.

use crate::{Error, Result};

/// Which way a metric improves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlateauMode {
    /// Downwards, as a loss.
    #[default]
    Min,
    /// Upwards, as an accuracy.
    Max,
}

/// By how much a metric must improve to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlateauThreshold {
    /// By this share of the best.
    Rel(f64),
    /// By this.
    Abs(f64),
}

/// Multiplies the learning rate by a factor when a metric has not improved for more than
/// `patience` observations; PyTorch's ReduceLROnPlateau.
///
/// ```
/// use flodl::*;
/// let mut schedule = PlateauScheduler::new(0.1, 1, 0.5, 1e-4);
/// assert_eq!(schedule.observe(1.0), 0.1); // the best so far
/// assert_eq!(schedule.observe(1.0), 0.1); // no better, once
/// assert_eq!(schedule.observe(1.0), 0.05); // twice: more than the patience
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PlateauScheduler {
    base: f64,
    lr: f64,
    patience: usize,
    factor: f64,
    min_lr: f64,
    mode: PlateauMode,
    threshold: PlateauThreshold,
    cooldown: usize,
    eps: f64,
    best: f64,
    bad: usize,
    cooling: usize,
}

impl PlateauScheduler {
    /// For a metric that should fall, by 1e-4 of itself at least.
    pub fn new(base_lr: f64, patience: usize, factor: f64, min_lr: f64) -> Self {
        PlateauScheduler {
            base: base_lr,
            lr: base_lr,
            patience,
            factor,
            min_lr,
            mode: PlateauMode::Min,
            threshold: PlateauThreshold::Rel(1e-4),
            cooldown: 0,
            eps: 1e-8,
            best: f64::INFINITY,
            bad: 0,
            cooling: 0,
        }
    }

    /// Which way the metric improves.
    pub fn mode(mut self, mode: PlateauMode) -> Self {
        self.mode = mode;
        self.best = match mode {
            PlateauMode::Min => f64::INFINITY,
            PlateauMode::Max => f64::NEG_INFINITY,
        };
        self
    }

    /// By how much the metric must improve.
    pub fn threshold(mut self, threshold: PlateauThreshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// Observations after a fall that do not count as bad.
    pub fn cooldown(mut self, observations: usize) -> Self {
        self.cooldown = observations;
        self
    }

    /// Falls of less than this are left out.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    fn improves(&self, metric: f64) -> bool {
        let best = self.best;
        match (self.mode, self.threshold) {
            (PlateauMode::Min, PlateauThreshold::Rel(t)) => metric < best * (1.0 - t),
            (PlateauMode::Min, PlateauThreshold::Abs(t)) => metric < best - t,
            (PlateauMode::Max, PlateauThreshold::Rel(t)) => metric > best * (t + 1.0),
            (PlateauMode::Max, PlateauThreshold::Abs(t)) => metric > best + t,
        }
    }

    /// Takes the metric of an epoch and gives the learning rate of the next. NaN counts as bad.
    pub fn observe(&mut self, metric: f64) -> f64 {
        if self.improves(metric) {
            self.best = metric;
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > self.patience {
            let lower = (self.lr * self.factor).max(self.min_lr);
            if self.lr - lower > self.eps {
                self.lr = lower;
            }
            self.cooling = self.cooldown;
            self.bad = 0;
        }
        self.lr
    }

    /// The learning rate now.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// The learning rate now as a share of the first one, to put on another scheduler's.
    pub fn share(&self) -> f64 {
        if self.base == 0.0 { 1.0 } else { self.lr / self.base }
    }

    /// What has been observed, to resume from: see [`PlateauScheduler::load_state`].
    pub fn state(&self) -> [f64; 4] {
        [self.lr, self.best, self.bad as f64, self.cooling as f64]
    }

    /// Goes on from a [`PlateauScheduler::state`].
    ///
    /// # Errors
    /// When the numbers are no such state.
    pub fn load_state(&mut self, state: [f64; 4]) -> Result<()> {
        let [lr, best, bad, cooling] = state;
        let count = |n: f64| n >= 0.0 && n.fract() == 0.0;
        if lr.is_nan() || lr < 0.0 || best.is_nan() || !count(bad) || !count(cooling) {
            let what = format!("{state:?} is not a state of this scheduler");
            return Err(Error::invalid("PlateauScheduler", what));
        }
        (self.lr, self.best) = (lr, best);
        (self.bad, self.cooling) = (bad as usize, cooling as usize);
        Ok(())
    }
}
