//! Learning rates over time. A scheduler is a function of the step, so it has no state to lose:
//! a resumed run asks it for the step it resumes at. [`PlateauScheduler`], which watches a metric,
//! is the exception and can be saved.
//!
//! ```
//! use flodl::*;
//! let layer = Linear::new(2, 1)?;
//! let mut optimizer = SGD::new(&layer.parameters(), 0.1, 0.9);
//! let schedule = WarmupScheduler::new(CosineScheduler::new(0.1, 0.001, 900), 0.1, 100);
//! for step in 0..1000 {
//!     optimizer.set_lr(schedule.lr(step));
//!     // forward, backward, optimizer.step()
//! }
//! assert!(optimizer.lr() < 0.0011);
//! # Ok::<(), Error>(())
//! ```

mod compose;
mod cycle;
mod decay;
mod plateau;

pub use compose::*;
pub use cycle::*;
pub use decay::*;
pub use plateau::*;

/// A learning rate for each step, counted from 0.
pub trait Scheduler: Send + Sync {
    /// The learning rate of a step.
    fn lr(&self, step: usize) -> f64;
    /// The momentum of a step, from a schedule that moves it too.
    fn momentum(&self, _step: usize) -> Option<f64> {
        None
    }
}

impl<S: Scheduler + ?Sized> Scheduler for Box<S> {
    fn lr(&self, step: usize) -> f64 {
        (**self).lr(step)
    }

    fn momentum(&self, step: usize) -> Option<f64> {
        (**self).momentum(step)
    }
}

/// Gives a scheduler the method and the trait, with a momentum if it has one.
macro_rules! scheduler {
    (
        $name:ty,
        |$self:ident, $step:ident| $lr:expr
        $(, |$this:ident, $at:ident| $momentum:expr)?
    ) => {
        impl $name {
            /// The learning rate of a step, counted from 0.
            pub fn lr(&$self, $step: usize) -> f64 {
                $lr
            }
        }
        impl $crate::optim::Scheduler for $name {
            fn lr(&self, step: usize) -> f64 {
                <$name>::lr(self, step)
            }
            $(fn momentum(&$this, $at: usize) -> Option<f64> {
                $momentum
            })?
        }
    };
}
use scheduler;
