//! Schedules that rise and fall.

use std::f64::consts::PI;

use super::scheduler;

/// The ends of a momentum's way, and whether it goes there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Momenta {
    base: f64,
    max: f64,
    cycles: bool,
}

/// Gives a scheduler that moves the momentum too its settings.
macro_rules! momenta {
    ($name:ty) => {
        impl $name {
            /// The momentum where the learning rate is highest.
            pub fn base_momentum(mut self, momentum: f64) -> Self {
                self.momenta.base = momentum;
                self
            }

            /// The momentum where the learning rate is lowest.
            pub fn max_momentum(mut self, momentum: f64) -> Self {
                self.momenta.max = momentum;
                self
            }

            /// Whether a [`crate::Trainer`] moves the momentum; on unless set.
            pub fn cycle_momentum(mut self, yes: bool) -> Self {
                self.momenta.cycles = yes;
                self
            }
        }
    };
}

/// A cosine from `base_lr` to `min_lr` and back, with period 2 · `t_max`; PyTorch's
/// CosineAnnealingLR. [`crate::CosineScheduler`] stays at the minimum instead.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineAnnealingLR {
    base_lr: f64,
    t_max: usize,
    min_lr: f64,
}

impl CosineAnnealingLR {
    /// `min_lr` is reached at step `t_max`.
    pub fn new(base_lr: f64, t_max: usize, min_lr: f64) -> Self {
        CosineAnnealingLR { base_lr, t_max: t_max.max(1), min_lr }
    }
}

scheduler!(CosineAnnealingLR, |self, step| {
    let angle = PI * step as f64 / self.t_max as f64;
    self.min_lr + (self.base_lr - self.min_lr) * (1.0 + angle.cos()) / 2.0
});

/// Half a cosine that starts again, each time `t_mult` times longer (Loshchilov and Hutter, 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    base_lr: f64,
    t_0: usize,
    t_mult: usize,
    min_lr: f64,
}

impl CosineAnnealingWarmRestarts {
    /// The first restart is at step `t_0`.
    pub fn new(base_lr: f64, t_0: usize, t_mult: usize, min_lr: f64) -> Self {
        CosineAnnealingWarmRestarts { base_lr, t_0: t_0.max(1), t_mult: t_mult.max(1), min_lr }
    }
}

scheduler!(CosineAnnealingWarmRestarts, |self, step| {
    let (mut at, mut period) = (step, self.t_0);
    if self.t_mult == 1 {
        at %= period;
    }
    while at >= period {
        at -= period;
        period = period.saturating_mul(self.t_mult);
    }
    let angle = PI * at as f64 / period as f64;
    self.min_lr + (self.base_lr - self.min_lr) * (1.0 + angle.cos()) / 2.0
});

/// The shape of a rise or fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cos,
    /// A line.
    Linear,
}

/// Up to a peak and down to almost nothing (Smith and Topin, 2017), with PyTorch's defaults: from
/// peak / 25 over the first 30 % of the steps, then to the start / 10,000. The momentum goes the
/// other way, from 0.95 to 0.85 and back.
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(4, 1)?;
/// let mut optimizer = SGD::new(&layer.parameters(), 0.1, 0.95);
/// let schedule = OneCycleLR::new(0.1, 100);
/// for step in 0..100 {
///     optimizer.set_lr(schedule.lr(step));
///     optimizer.set_momentum(schedule.momentum(step))?;
///     // forward, backward, optimizer.step()
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OneCycleLR {
    max_lr: f64,
    total_steps: usize,
    warmup_frac: f64,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
    anneal: Anneal,
    momenta: Momenta,
}

impl OneCycleLR {
    /// The peak is after 30 % of the steps.
    pub fn new(max_lr: f64, total_steps: usize) -> Self {
        Self::with_warmup_frac(max_lr, total_steps, 0.3)
    }

    /// The peak is after this share of the steps.
    pub fn with_warmup_frac(max_lr: f64, total_steps: usize, warmup_frac: f64) -> Self {
        OneCycleLR {
            max_lr,
            total_steps: total_steps.max(1),
            warmup_frac: warmup_frac.clamp(0.0, 1.0),
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
            anneal: Anneal::Cos,
            momenta: Momenta { base: 0.85, max: 0.95, cycles: true },
        }
    }

    /// The start is the peak divided by this.
    pub fn div_factor(mut self, factor: f64) -> Self {
        self.div_factor = factor;
        self
    }

    /// The end is the start divided by this.
    pub fn final_div_factor(mut self, factor: f64) -> Self {
        self.final_div_factor = factor;
        self
    }

    /// Falls back to the start as fast as it rose, and then to the end.
    pub fn three_phase(mut self, yes: bool) -> Self {
        self.three_phase = yes;
        self
    }

    /// Cosines or lines.
    pub fn anneal(mut self, anneal: Anneal) -> Self {
        self.anneal = anneal;
        self
    }
}

impl OneCycleLR {
    /// What goes from a start over a peak to an end, at a step.
    fn along(&self, step: usize, [start, peak, end]: [f64; 3]) -> f64 {
        let total = self.total_steps as f64;
        let peak_at = self.warmup_frac * total - 1.0;
        let last = total - 1.0;
        // The end of each phase, and the value there.
        let two = [(peak_at, peak), (last, end), (last, end)];
        let three = [(peak_at, peak), (2.0 * self.warmup_frac * total - 2.0, start), (last, end)];
        let phases = if self.three_phase { three } else { two };
        let (mut from_at, mut from) = (0.0, start);
        let step = (step as f64).min(last);
        for (to_at, to) in phases {
            if step <= to_at {
                let part = if to_at > from_at { (step - from_at) / (to_at - from_at) } else { 1.0 };
                return match self.anneal {
                    Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * part).cos()),
                    Anneal::Linear => from + (to - from) * part,
                };
            }
            (from_at, from) = (to_at, to);
        }
        end
    }

    /// The momentum of a step: highest where the learning rate is lowest.
    pub fn momentum(&self, step: usize) -> f64 {
        let Momenta { base, max, .. } = self.momenta;
        self.along(step, [max, base, max])
    }
}
momenta!(OneCycleLR);

scheduler!(
    OneCycleLR,
    |self, step| {
        let start = self.max_lr / self.div_factor;
        self.along(step, [start, self.max_lr, start / self.final_div_factor])
    },
    |self, step| self.momenta.cycles.then(|| self.momentum(step))
);

/// How the peaks of [`CyclicLR`] change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CyclicMode {
    /// They stay.
    #[default]
    Triangular,
    /// They halve each cycle.
    Triangular2,
    /// They fall by a factor each step.
    ExpRange {
        /// The factor.
        gamma: f64,
    },
}

/// Lines up and down between two learning rates (Smith, 2015); the momentum goes the other way,
/// from 0.9 to 0.8 and back.
#[derive(Clone, Debug, PartialEq)]
pub struct CyclicLR {
    base_lr: f64,
    max_lr: f64,
    up: usize,
    down: usize,
    mode: CyclicMode,
    momenta: Momenta,
}

impl CyclicLR {
    /// As many steps up as down.
    pub fn new(base_lr: f64, max_lr: f64, step_size: usize) -> Self {
        Self::asymmetric(base_lr, max_lr, step_size, step_size)
    }

    /// Another number of steps up than down.
    pub fn asymmetric(
        base_lr: f64,
        max_lr: f64,
        step_size_up: usize,
        step_size_down: usize,
    ) -> Self {
        let (up, down) = (step_size_up.max(1), step_size_down);
        let momenta = Momenta { base: 0.8, max: 0.9, cycles: true };
        CyclicLR { base_lr, max_lr, up, down, mode: CyclicMode::Triangular, momenta }
    }

    /// How the peaks change.
    pub fn mode(mut self, mode: CyclicMode) -> Self {
        self.mode = mode;
        self
    }
}

impl CyclicLR {
    /// The share of the way from the base to the peak at a step.
    fn height(&self, step: usize) -> f64 {
        let (up, total) = (self.up as f64, (self.up + self.down) as f64);
        let cycle = step / (self.up + self.down);
        let at = (step % (self.up + self.down)) as f64;
        let height = if at <= up { at / up } else { (total - at) / (total - up) };
        let scale = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 0.5f64.powf(cycle as f64),
            CyclicMode::ExpRange { gamma } => gamma.powf(step as f64),
        };
        height * scale
    }

    /// The momentum of a step: highest where the learning rate is lowest.
    pub fn momentum(&self, step: usize) -> f64 {
        let Momenta { base, max, .. } = self.momenta;
        max - (max - base) * self.height(step)
    }
}
momenta!(CyclicLR);

scheduler!(
    CyclicLR,
    |self, step| self.base_lr + (self.max_lr - self.base_lr) * self.height(step),
    |self, step| self.momenta.cycles.then(|| self.momentum(step))
);
