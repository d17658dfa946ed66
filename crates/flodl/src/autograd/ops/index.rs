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
        let (index, from) = (index.clone(), src.shape());
        Ok(record("scatter_add", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) { Some(g.gather(dim, &index)?.grown(&from)?) } else { None };
            Ok(grads![g, ds])
        }))
    }

    /// A copy with `self[index[i][j][k]][j][k] = src[i][j][k]` for dim 0, likewise for the others.
    /// Where an index appears twice, one of the values stays, and the gradient of `src` is that of
    /// the element for both, as in PyTorch.
    ///
    /// # Errors
    /// When shapes do not fit or an index points outside the dim.
    pub fn scatter(&self, dim: i32, index: &Tensor, src: &Variable) -> Result<Variable> {
        let data = self.with_data(|t| src.with_data(|s| t.scatter(dim, index, s)))?;
        let (index, from) = (index.clone(), src.shape());
        Ok(record("scatter", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) { Some(g.gather(dim, &index)?.grown(&from)?) } else { None };
            let dx = if ctx.needs(0) {
                let zeros = g.with_data(|t| Tensor::zeros(&index.shape(), t.options()))?;
                Some(g.scatter(dim, &index, &Variable::constant(zeros))?)
            } else {
                None
            };
            Ok(grads![dx, ds])
        }))
    }

    /// Zeros added behind the elements up to a larger shape.
    fn grown(&self, to: &[i64]) -> Result<Variable> {
        let pairs =
            self.shape().iter().zip(to).rev().flat_map(|(n, to)| [0, to - n]).collect::<Vec<_>>();
        if pairs.iter().all(|&n| n == 0) { Ok(self.clone()) } else { self.pad(&pairs, 0.0) }
    }

    /// A copy with `src` in place of the entries of a dim from `start` on.
    ///
    /// # Errors
    /// When `src` does not fit there.
    pub fn narrow_scatter(&self, src: &Variable, dim: i32, start: i64) -> Result<Variable> {
        let data = self.with_data(|t| src.with_data(|s| t.narrow_scatter(s, dim, start)))?;
        let length = src.with_data(|s| s.size(dim))?;
        Ok(record("narrow_scatter", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) { Some(g.narrow(dim, start, length)?) } else { None };
            let dx = if ctx.needs(0) {
                let hole = g.with_data(|t| Tensor::zeros_like(&t.narrow(dim, start, length)?))?;
                Some(g.narrow_scatter(&Variable::constant(hole), dim, start)?)
            } else {
                None
            };
            Ok(grads![dx, ds])
        }))
    }

    /// A copy with `src` in place of one entry along a dim.
    ///
    /// # Errors
    /// When the index is out of range or `src` has not the shape of an entry.
    pub fn select_scatter(&self, src: &Variable, dim: i32, index: i64) -> Result<Variable> {
        self.with_data(|t| src.with_data(|s| t.select_scatter(s, dim, index)))?;
        let d = self.with_data(|t| t.dim("select_scatter", dim))? as i32;
        self.narrow_scatter(&src.unsqueeze(d)?, d, index)
    }

    /// The element at each flat index of a tensor of indices, in its shape.
    ///
    /// # Errors
    /// When an index points outside.
    pub fn take(&self, index: &Tensor) -> Result<Variable> {
        let flat = self.reshape(&[self.numel()])?;
        flat.gather(0, &index.reshape(&[index.numel()])?)?.reshape(&index.shape())
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
