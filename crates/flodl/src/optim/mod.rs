//! Optimizers. A step reads each parameter's gradient and changes the parameter in place, in one
//! pass over memory; parameters without a gradient stay as they are.

mod adam;
mod clip;
mod sgd;

pub use adam::{Adam, AdamBuilder, AdamW, AdamWBuilder};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use sgd::{SGD, SGDBuilder};

use crate::{Parameter, Result, Tensor};

/// What every optimizer can do.
pub trait Optimizer {
    /// Changes every parameter that has a gradient.
    ///
    /// # Errors
    /// When a gradient's shape or dtype is not its parameter's.
    fn step(&mut self) -> Result<()>;
    /// Clears the gradients.
    fn zero_grad(&self);
    /// Learning rate of the first group.
    fn lr(&self) -> f64;
    /// Sets the learning rate of all groups.
    fn set_lr(&mut self, lr: f64);
    /// Sets the learning rate of one group; groups that do not exist are ignored.
    fn set_group_lr(&mut self, group: usize, lr: f64);
    /// Multiplies every group's learning rate.
    fn scale_lr(&mut self, factor: f64);
    /// Forgets moments and step counts.
    fn reset_state(&mut self);
}

/// Parameters that share a learning rate.
#[derive(Clone, Debug)]
struct Group {
    params: Vec<Parameter>,
    lr: f64,
}

/// The groups of an optimizer, and what every optimizer does with them.
#[derive(Clone, Debug, Default)]
struct Groups(Vec<Group>);

impl Groups {
    fn one(params: &[Parameter], lr: f64) -> Self {
        let mut groups = Groups::default();
        groups.add(params, lr);
        groups
    }

    /// Adds a group; a parameter that an earlier group has is left out.
    fn add(&mut self, params: &[Parameter], lr: f64) {
        let known: std::collections::HashSet<usize> =
            self.params().map(|p| p.variable.id()).collect();
        let fresh = params.iter().filter(|p| !known.contains(&p.variable.id())).cloned();
        let params = crate::nn::unique(fresh, |p| p.variable.id());
        self.0.push(Group { params, lr });
    }

    fn params(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter().flat_map(|g| &g.params)
    }

    /// Every parameter with its group's learning rate.
    fn with_lr(&self) -> impl Iterator<Item = (&Parameter, f64)> {
        self.0.iter().flat_map(|g| g.params.iter().map(move |p| (p, g.lr)))
    }

    fn count(&self) -> usize {
        self.params().count()
    }

    fn zero_grad(&self) {
        self.params().for_each(|p| p.variable.zero_grad());
    }

    fn lr(&self) -> f64 {
        self.0.first().map_or(0.0, |g| g.lr)
    }

    fn set_lr(&mut self, lr: f64) {
        self.0.iter_mut().for_each(|g| g.lr = lr);
    }

    fn set_group_lr(&mut self, group: usize, lr: f64) {
        if let Some(g) = self.0.get_mut(group) {
            g.lr = lr;
        }
    }

    fn scale_lr(&mut self, factor: f64) {
        self.0.iter_mut().for_each(|g| g.lr *= factor);
    }
}

/// The methods of [`Optimizer`] that only concern the groups.
macro_rules! group_methods {
    () => {
        fn zero_grad(&self) {
            self.groups.zero_grad();
        }
        fn lr(&self) -> f64 {
            self.groups.lr()
        }
        fn set_lr(&mut self, lr: f64) {
            self.groups.set_lr(lr);
        }
        fn set_group_lr(&mut self, group: usize, lr: f64) {
            self.groups.set_group_lr(group, lr);
        }
        fn scale_lr(&mut self, factor: f64) {
            self.groups.scale_lr(factor);
        }
    };
}
use group_methods;

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
