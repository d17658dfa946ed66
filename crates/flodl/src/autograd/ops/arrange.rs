//! Sorting, masks, triangles, reversal, padding: the gradient puts each element back.

use super::from_nothing;
use crate::autograd::tape::{grads, record};
use crate::shape::Dims;
use crate::{Result, Tensor, Variable};

impl Variable {
    /// The elements along a dim in order, and where they stood.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn sort(&self, dim: i32, descending: bool) -> Result<(Variable, Tensor)> {
        let (values, indices) = self.with_data(|t| t.sort(dim, descending))?;
        Ok((self.moved("sort", values, dim, &indices), indices))
    }

    /// The `k` largest or smallest elements along a dim in order, and where they stand.
    ///
    /// # Errors
    /// When the dim does not exist or has fewer than `k` entries.
    pub fn topk(
        &self,
        k: i64,
        dim: i32,
        largest: bool,
        sorted: bool,
    ) -> Result<(Variable, Tensor)> {
        let (values, indices) = self.with_data(|t| t.topk(k, dim, largest, sorted))?;
        Ok((self.moved("topk", values, dim, &indices), indices))
    }

    /// The `k`-th smallest elements along a dim, counted from 1, and where they stand.
    ///
    /// # Errors
    /// When the dim does not exist or `k` is not in 1 to its size.
    pub fn kthvalue(&self, k: i64, dim: i32, keepdim: bool) -> Result<(Variable, Tensor)> {
        let (values, indices) = self.with_data(|t| t.kthvalue(k, dim, true))?;
        let values = self.moved("kthvalue", values, dim, &indices);
        if keepdim {
            return Ok((values, indices));
        }
        Ok((values.squeeze(dim)?, indices.squeeze(dim)?))
    }

    /// The median of all elements, the lower one of an even number.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn median(&self) -> Result<Variable> {
        Ok(self.reshape(&[self.numel()])?.median_dim(0, false)?.0)
    }

    /// Medians along a dim, the lower one of an even number, and where they stand.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn median_dim(&self, dim: i32, keepdim: bool) -> Result<(Variable, Tensor)> {
        let (values, indices) = self.with_data(|t| t.median_dim(dim, true))?;
        let values = self.moved("median", values, dim, &indices);
        if keepdim {
            return Ok((values, indices));
        }
        Ok((values.squeeze(dim)?, indices.squeeze(dim)?))
    }

    /// Elements of a dim that `indices` names, computed already.
    fn moved(&self, name: &'static str, values: Tensor, dim: i32, indices: &Tensor) -> Variable {
        let (like, indices) = (self.shape(), indices.clone());
        from_nothing(name, self, values, move |g| {
            let zeros = Variable::constant(g.with_data(|t| Tensor::zeros(&like, t.options()))?);
            zeros.scatter_add(dim, &indices, &g)
        })
    }

    /// The upper triangle of each matrix, from the given diagonal on; zeros elsewhere.
    ///
    /// # Errors
    /// When there are fewer than two dims.
    pub fn triu(&self, diagonal: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.triu(diagonal))?;
        Ok(from_nothing("triu", self, data, move |g| g.triu(diagonal)))
    }

    /// The lower triangle of each matrix, up to the given diagonal; zeros elsewhere.
    ///
    /// # Errors
    /// When there are fewer than two dims.
    pub fn tril(&self, diagonal: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.tril(diagonal))?;
        Ok(from_nothing("tril", self, data, move |g| g.tril(diagonal)))
    }

    /// Reverses the order along dims.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn flip(&self, dims: &[i64]) -> Result<Variable> {
        let data = self.with_data(|t| t.flip(dims))?;
        let dims = dims.to_vec();
        Ok(from_nothing("flip", self, data, move |g| g.flip(&dims)))
    }

    /// Moves elements `shift` places on along a dim, those that fall off the end to its start.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn roll(&self, shift: i64, dim: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.roll(shift, dim))?;
        // The size is taken off first, since the negative of the smallest i64 is none.
        let size = self.with_data(|t| t.size(dim)).unwrap_or(1).max(1);
        let back = -(shift % size);
        Ok(from_nothing("roll", self, data, move |g| g.roll(back, dim)))
    }

    /// The elements where a bool mask is true, as one dim; both are broadcast.
    ///
    /// # Errors
    /// When the mask is not bool or shapes cannot be broadcast.
    pub fn masked_select(&self, mask: &Tensor) -> Result<Variable> {
        let data = self.with_data(|t| t.masked_select(mask))?;
        let (from, mask) = (self.with_data(|t| Dims::from_slice(t.dims())), mask.clone());
        Ok(from_nothing("masked_select", self, data, move |g| {
            let wide = crate::shape::broadcast("masked_select", &from, mask.dims())?;
            let zeros = g.with_data(|t| Tensor::full_dims(&wide, 0.0, t.options()))?;
            Variable::constant(zeros).masked_scatter(&mask, &g)?.sum_to(&from)
        }))
    }

    /// A copy with the elements of `src`, in order, where a bool mask is true; the mask is
    /// broadcast to this shape.
    ///
    /// # Errors
    /// When the mask is not bool or does not broadcast, or `src` has too few elements.
    pub fn masked_scatter(&self, mask: &Tensor, src: &Variable) -> Result<Variable> {
        let data = self.with_data(|t| src.with_data(|s| t.masked_scatter(mask, s)))?;
        let (mask, from) = (mask.expand(&self.shape())?, src.shape());
        Ok(record("masked_scatter", data, &[self, src], move |ctx| {
            let g = ctx.grad();
            let ds = if ctx.needs(1) {
                let picked = g.masked_select(&mask)?;
                let rest = from.iter().product::<i64>() - picked.numel();
                Some(picked.pad(&[0, rest], 0.0)?.reshape(&from)?)
            } else {
                None
            };
            let dx = if ctx.needs(0) { Some(g.masked_fill(&mask, 0.0)?) } else { None };
            Ok(grads![dx, ds])
        }))
    }
}
