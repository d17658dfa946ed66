//! Optimizers. A step reads each parameter's gradient and changes the parameter in place, in one
//! pass over memory for all of them; parameters without a gradient stay as they are.
//!
//! Gradients accumulate until [`Optimizer::zero_grad`]: call `backward` several times for each
//! `step` to train on a larger batch than fits in memory, with each loss divided by their number.
//!
//! ```
//! use flodl::*;
//! let layer = Linear::new(3, 1)?;
//! let mut optimizer = AdamW::new(&layer.parameters(), 1e-3, 0.01);
//! let parts = 4;
//! optimizer.zero_grad();
//! for _ in 0..parts {
//!     let x = Variable::new(Tensor::randn(&[8, 3], TensorOptions::default())?, false);
//!     layer.forward(&x)?.square()?.mean()?.div_scalar(parts as f64)?.backward()?;
//! }
//! clip_grad_norm(&layer.parameters(), 1.0)?;
//! optimizer.step()?;
//! # Ok::<(), Error>(())
//! ```

mod adafactor;
mod adam;
mod adaptive;
mod clip;
mod core;
mod ema;
mod groups;
mod lbfgs;
mod muon;
mod scaler;
mod sched;
mod sgd;
pub(crate) mod state;

pub use adafactor::*;
pub use adam::*;
pub use adaptive::*;
use clip::scale_grads;
pub use clip::{clip_grad_norm, clip_grad_norm_with, clip_grad_value};
pub use core::{Method, Optim, OptimBuilder};
pub use ema::ExponentialMovingAverage;
pub use groups::LrGroups;
pub use lbfgs::LBFGS;
pub use muon::*;
pub use scaler::GradScaler;
pub use sched::*;
pub use sgd::*;
pub use state::{StateKind, Stateful, migrate_optim_state_file};

use crate::{Parameter, Result, Tensor};

/// What every optimizer can do.
pub trait Optimizer {
    /// Changes every parameter that has a gradient.
    ///
    /// # Errors
    /// When a gradient's shape or dtype is not its parameter's, or a setting is outside its domain.
    fn step(&mut self) -> Result<()>;
    /// Clears the gradients.
    fn zero_grad(&self);
    /// Learning rate of the first group.
    fn lr(&self) -> f64;
    /// Learning rate of each group.
    fn group_lrs(&self) -> Vec<f64> {
        vec![self.lr()]
    }
    /// Sets the learning rate of all groups; [`LrGroups`] keeps their ratio.
    fn set_lr(&mut self, lr: f64);
    /// Sets the learning rate of one group; groups that do not exist are ignored.
    fn set_group_lr(&mut self, group: usize, lr: f64);
    /// Multiplies every group's learning rate.
    fn scale_lr(&mut self, factor: f64);
    /// Sets the momentum of all groups, or the first of an optimizer's two decay rates, as
    /// [`OneCycleLR`] and [`CyclicLR`] move it.
    ///
    /// # Errors
    /// When the optimizer has neither.
    fn set_momentum(&mut self, _momentum: f64) -> Result<()> {
        Err(crate::Error::invalid("set_momentum", "this optimizer has no momentum"))
    }
    /// Forgets moments and step counts.
    fn reset_state(&mut self);
    /// Writes learning rates, moments and step counts to a file, atomically; [`Stateful`] reads
    /// them back.
    ///
    /// # Errors
    /// When the file cannot be written, or the optimizer has no such form.
    fn save_state_to(&self, _path: &str) -> Result<()> {
        Err(crate::Error::invalid("save_state_to", "this optimizer cannot save its state"))
    }
}

/// The gradient of a parameter as its kernel wants it: contiguous, of the parameter's shape and
/// dtype.
fn gradient(op: &'static str, p: &Parameter) -> Result<Option<Tensor>> {
    if p.is_frozen() {
        return Ok(None);
    }
    let Some(g) = p.variable.grad() else { return Ok(None) };
    p.variable.with_data(|data| data.check_same(op, &g))?;
    if g.shape() != p.variable.shape() {
        return Err(crate::Error::ShapeMismatch {
            op,
            lhs: p.variable.shape(),
            rhs: g.shape(),
            why: format!("the gradient of {} must have its shape", p.name),
        });
    }
    g.contiguous().map(Some)
}
