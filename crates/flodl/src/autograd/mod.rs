//! Reverse-mode automatic differentiation: [`Variable`], the tape, and the operations on it.
//!
//! An operation on variables that require gradients leaves a node behind its result. The
//! nodes hold what their gradient needs and point at the nodes of their inputs; [`Variable::backward`]
//! walks them from the newest to the oldest. One file under `ops/` holds a family of operations,
//! each with its forward and its gradient side by side; the walker knows no operation.

pub(crate) mod amp;
pub(crate) mod engine;
pub mod ops;
pub(crate) mod tape;
mod variable;
pub(crate) mod work;

pub use amp::{AutocastGuard, autocast, is_autocast_enabled, is_autocast_enabled_for};
pub use engine::{BackwardOptions, grad};
pub use tape::{NoGradGuard, enable_grad, is_grad_enabled, no_grad};
pub use variable::{GradAccumulatorHandle, Variable};
