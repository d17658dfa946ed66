//! Layers that only rearrange.

use super::Module;
use crate::{Result, Variable};

/// Passes its input on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity;

impl Identity {
    /// The module, for those who like `new`.
    pub fn new() -> Self {
        Identity
    }
}

impl Module for Identity {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }

    fn name(&self) -> &str {
        "Identity"
    }
}

/// Joins dims `start_dim..=end_dim` into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    start_dim: i32,
    end_dim: i32,
}

impl Flatten {
    /// Joins these dims; (1, -1) keeps the batch and joins the rest.
    pub fn new(start_dim: i32, end_dim: i32) -> Self {
        Flatten { start_dim, end_dim }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Flatten::new(1, -1)
    }
}

impl Module for Flatten {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.flatten(self.start_dim, self.end_dim)
    }

    fn name(&self) -> &str {
        "Flatten"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// Gives its input another shape; one size may be -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    shape: Vec<i64>,
}

impl Reshape {
    /// To this shape.
    pub fn new(shape: &[i64]) -> Self {
        Reshape { shape: shape.to_vec() }
    }
}

impl Module for Reshape {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.reshape(&self.shape)
    }

    fn name(&self) -> &str {
        "Reshape"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}
