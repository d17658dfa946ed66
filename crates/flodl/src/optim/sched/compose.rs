//! Schedules made of schedules.

use super::{Scheduler, scheduler};

/// A line from 0 up to a learning rate, and then another schedule, which starts at its own step 0
/// (Goyal et al., 2017). The first step already has 1 / `warmup_steps` of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupScheduler<S: Scheduler> {
    inner: S,
    target_lr: f64,
    warmup_steps: usize,
}

impl<S: Scheduler> WarmupScheduler<S> {
    /// `target_lr` is reached with the last of the `warmup_steps`.
    pub fn new(inner: S, target_lr: f64, warmup_steps: usize) -> Self {
        WarmupScheduler { inner, target_lr, warmup_steps }
    }

    /// The learning rate of a step, counted from 0.
    pub fn lr(&self, step: usize) -> f64 {
        match step.checked_sub(self.warmup_steps) {
            Some(step) => self.inner.lr(step),
            None => self.target_lr * (step + 1) as f64 / self.warmup_steps as f64,
        }
    }
}

impl<S: Scheduler> Scheduler for WarmupScheduler<S> {
    fn lr(&self, step: usize) -> f64 {
        self.lr(step)
    }

    fn momentum(&self, step: usize) -> Option<f64> {
        step.checked_sub(self.warmup_steps).and_then(|step| self.inner.momentum(step))
    }
}

/// One schedule after another; each starts at its own step 0.
pub struct SequentialLR {
    schedulers: Vec<Box<dyn Scheduler>>,
    milestones: Vec<usize>,
}

impl SequentialLR {
    /// Each milestone is the first step of the next schedule.
    ///
    /// # Errors
    /// When there is not one milestone less than schedules, or they do not rise.
    pub fn new(schedulers: Vec<Box<dyn Scheduler>>, milestones: &[usize]) -> crate::Result<Self> {
        let op = "SequentialLR";
        if schedulers.len() != milestones.len() + 1 {
            let (s, m) = (schedulers.len(), milestones.len());
            let what = format!("{s} schedulers need {} milestones, got {m}", s.max(1) - 1);
            return Err(crate::Error::invalid(op, what));
        }
        if !milestones.is_sorted() {
            let what = format!("milestones {milestones:?} must rise");
            return Err(crate::Error::invalid(op, what));
        }
        Ok(SequentialLR { schedulers, milestones: milestones.to_vec() })
    }
}

impl SequentialLR {
    /// The schedule that a step belongs to, and its own count of the step.
    fn part(&self, step: usize) -> (&dyn Scheduler, usize) {
        let which = self.milestones.iter().filter(|&&m| m <= step).count();
        let start = if which == 0 { 0 } else { self.milestones[which - 1] };
        (&self.schedulers[which], step - start)
    }
}

scheduler!(
    SequentialLR,
    |self, step| {
        let (part, step) = self.part(step);
        part.lr(step)
    },
    |self, step| {
        let (part, step) = self.part(step);
        part.momentum(step)
    }
);

/// Several schedules at once: their factors on the base learning rate are multiplied; of their
/// momenta the last counts.
pub struct ChainedScheduler {
    base_lr: f64,
    schedulers: Vec<Box<dyn Scheduler>>,
}

impl ChainedScheduler {
    /// All schedules have this base learning rate.
    pub fn new(base_lr: f64, schedulers: Vec<Box<dyn Scheduler>>) -> Self {
        ChainedScheduler { base_lr, schedulers }
    }
}

scheduler!(
    ChainedScheduler,
    |self, step| {
        self.schedulers.iter().fold(self.base_lr, |lr, s| lr * (s.lr(step) / self.base_lr))
    },
    |self, step| self.schedulers.iter().rev().find_map(|s| s.momentum(step))
);

impl std::fmt::Debug for SequentialLR {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SequentialLR(milestones {:?})", self.milestones)
    }
}

impl std::fmt::Debug for ChainedScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChainedScheduler({} schedulers)", self.schedulers.len())
    }
}
