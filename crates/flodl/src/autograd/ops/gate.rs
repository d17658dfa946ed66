//! Gated linear units.

use crate::{Error, Result, Variable};

/// The two halves of a dim.
pub(crate) fn halves(op: &'static str, x: &Variable, dim: i32) -> Result<(Variable, Variable)> {
    x.with_data(|t| t.check_float(op))?;
    let shape = x.shape();
    let d = crate::shape::dim(op, dim, shape.len())?;
    let size = shape.get(d).copied().unwrap_or(1);
    if size % 2 != 0 {
        let expected = format!("an even size of dim {dim}");
        return Err(Error::Shape { op, expected, got: shape });
    }
    Ok((x.narrow(dim, 0, size / 2)?, x.narrow(dim, size / 2, size / 2)?))
}

impl Variable {
    /// a · sigmoid(b) for the halves a and b of a dim (Dauphin et al., 2017).
    ///
    /// # Errors
    /// When the dim does not exist or has an odd size, or for integers.
    pub fn glu(&self, dim: i32) -> Result<Variable> {
        let (a, b) = halves("glu", self, dim)?;
        a.mul(&b.sigmoid()?)
    }
}
