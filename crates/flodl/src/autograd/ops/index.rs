//! Picking and placing by index.

use super::from_nothing;
use crate::autograd::tape::{grads, record};
use crate::{Result, Tensor, Variable};

impl Variable {
    /// `out[i][j][k] = self[index[i][j][k]][j][k]` for dim 0, likewise for the others.
    ///
    /// # Errors
    /// When the index is larger than the variable in another dim, or points outside the dim.
    pub fn gather(&self, dim: i32, index: &Tensor) -> Result<Variable> {
        if self.ndim() == 0 && index.ndim() == 1 {
            self.with_data(|t| t.dim("gather", dim))?;
            return self.reshape(&[1])?.gather(0, index);
        }
        let data = self.with_data(|t| t.gather(dim, index))?;
        let (like, index) = (self.shape(), index.clone());
        Ok(from_nothing("gather", self, data, move |g| {
            let zeros = Variable::constant(g.with_data(|t| Tensor::zeros(&like, t.options()))?);
            zeros.scatter_add(dim, &index, &g)
        }))
    }

    /// A copy with `self[index[i][j][k]][j][k] += src[i][j][k]` for dim 0, likewise for the others.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn scatter_add(&self, dim: i32, index: &Tensor, src: &Variable) -> Result<Variable> {
        let data = self.with_data(|t| src.with_data(|s| t.scatter_add(dim, index, s)))?;
        let index = index.clone();
        Ok(record("scatter_add", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) { Some(g.gather(dim, &index)?) } else { None };
            Ok(grads![g, ds])
        }))
    }

    /// Whole entries of a dim, in the order of a 1-d index.
    ///
    /// # Errors
    /// When the index is not 1-d or points outside the dim.
    pub fn index_select(&self, dim: i32, index: &Tensor) -> Result<Variable> {
        let data = self.with_data(|t| t.index_select(dim, index))?;
        let (like, index) = (self.shape(), index.clone());
        Ok(from_nothing("index_select", self, data, move |g| {
            let zeros = Variable::constant(g.with_data(|t| Tensor::zeros(&like, t.options()))?);
            zeros.index_add(dim, &index, &g)
        }))
    }

    /// A copy with the entries of `src` added to those of a dim that a 1-d index names.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn index_add(&self, dim: i32, index: &Tensor, src: &Variable) -> Result<Variable> {
        let data = self.with_data(|t| src.with_data(|s| t.index_add(dim, index, s)))?;
        let index = index.clone();
        Ok(record("index_add", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) { Some(g.index_select(dim, &index)?) } else { None };
            Ok(grads![g, ds])
        }))
    }
}
