//! Layers that only rearrange.

use super::Module;
use crate::{Error, Result, Variable};

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

/// Splits a dim into several, the opposite of [`Flatten`]; one size may be -1.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::randn(&[2, 50], TensorOptions::default())?, false);
/// assert_eq!(Unflatten::new(1, &[2, 5, -1]).forward(&x)?.shape(), [2, 2, 5, 5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unflatten {
    dim: i32,
    sizes: Vec<i64>,
}

impl Unflatten {
    /// Splits this dim into these sizes.
    pub fn new(dim: i32, sizes: &[i64]) -> Self {
        Unflatten { dim, sizes: sizes.to_vec() }
    }
}

impl Module for Unflatten {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let d = input.with_data(|t| t.dim("Unflatten", self.dim))?;
        let mut shape = input.shape();
        let Some(&size) = shape.get(d) else {
            let (dim, ndim) = (i64::from(self.dim), 0);
            return Err(Error::DimOutOfRange { op: "Unflatten", dim, ndim });
        };
        let known = self.sizes.iter().filter(|&&n| n != -1);
        let part = known.clone().try_fold(1i64, |p, &n| p.checked_mul(n)).unwrap_or(-1);
        let open = self.sizes.len() - known.clone().count();
        let fits = known.clone().all(|&n| n >= 0)
            && match open {
                0 => part == size && !self.sizes.is_empty(),
                1 => part > 0 && size % part == 0,
                _ => false,
            };
        if !fits {
            return Err(Error::Shape {
                op: "Unflatten",
                expected: format!("a dim {} that sizes {:?} make up", self.dim, self.sizes),
                got: shape,
            });
        }
        let sizes = self.sizes.iter().map(|&n| if n == -1 { size / part } else { n });
        shape.splice(d..=d, sizes);
        input.reshape(&shape)
    }

    fn name(&self) -> &str {
        "Unflatten"
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
