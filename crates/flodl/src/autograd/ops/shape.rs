//! Views and rearrangements: the gradient is the way back.

use super::from_nothing;
use crate::autograd::amp;
use crate::autograd::tape::{grads, record};
use crate::shape::{Dims, to_i64};
use crate::{Error, Result, Tensor, Variable};

impl Variable {
    /// The elements in row-major order under another shape; one size may be -1.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: &[i64]) -> Result<Variable> {
        let data = self.with_data(|t| t.reshape(shape))?;
        Ok(self.reshaped("reshape", data))
    }

    fn reshaped(&self, name: &'static str, data: Tensor) -> Variable {
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        from_nothing(name, self, data, move |g| g.reshape(&to_i64(&from)))
    }

    /// Swaps two dims.
    ///
    /// # Errors
    /// When a dim does not exist.
    pub fn transpose(&self, dim0: i32, dim1: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.transpose(dim0, dim1))?;
        Ok(from_nothing("transpose", self, data, move |g| g.transpose(dim0, dim1)))
    }

    /// Reorders the dims.
    ///
    /// # Errors
    /// When `dims` does not name each dim once.
    pub fn permute(&self, dims: &[i64]) -> Result<Variable> {
        let data = self.with_data(|t| t.permute(dims))?;
        let n = dims.len() as i64;
        let mut back = vec![0; dims.len()];
        for (to, &from) in dims.iter().enumerate() {
            back[from.rem_euclid(n) as usize] = to as i64;
        }
        Ok(from_nothing("permute", self, data, move |g| g.permute(&back)))
    }

    /// Removes a dim of size 1; other dims are left as they are.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn squeeze(&self, dim: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.squeeze(dim))?;
        Ok(self.reshaped("squeeze", data))
    }

    /// Inserts a dim of size 1.
    ///
    /// # Errors
    /// When the place is outside -ndim-1..=ndim.
    pub fn unsqueeze(&self, dim: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.unsqueeze(dim))?;
        Ok(self.reshaped("unsqueeze", data))
    }

    /// Inserts several dims of size 1, one after the other.
    ///
    /// # Errors
    /// As for [`Variable::unsqueeze`].
    pub fn unsqueeze_many(&self, dims: &[i32]) -> Result<Variable> {
        let data = self.with_data(|t| t.unsqueeze_many(dims))?;
        Ok(self.reshaped("unsqueeze_many", data))
    }

    /// Joins dims `start_dim..=end_dim` into one.
    ///
    /// # Errors
    /// When a dim does not exist or the first comes after the last.
    pub fn flatten(&self, start_dim: i32, end_dim: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.flatten(start_dim, end_dim))?;
        Ok(self.reshaped("flatten", data))
    }

    /// Broadcasts to a shape; -1 keeps a size.
    ///
    /// # Errors
    /// When a dim of size other than 1 would change.
    pub fn expand(&self, shape: &[i64]) -> Result<Variable> {
        let data = self.with_data(|t| t.expand(shape))?;
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        Ok(from_nothing("expand", self, data, move |g| g.sum_to(&from)))
    }

    /// `length` entries along a dim from `start` on.
    ///
    /// # Errors
    /// When the range is not inside the dim.
    pub fn narrow(&self, dim: i32, start: i64, length: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.narrow(dim, start, length))?;
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        let first = if start < 0 { start + self.with_data(|t| t.size(dim))? } else { start };
        Ok(from_nothing("narrow", self, data, move |g| g.embed(&from, dim, first)))
    }

    /// Zeros of a shape with this variable at `start` along a dim: the way back of `narrow`.
    fn embed(&self, dims: &[usize], dim: i32, start: i64) -> Result<Variable> {
        let data = self.with_data(|t| {
            Tensor::full_dims(dims, 0.0, t.options())?.narrow_scatter(t, dim, start)
        })?;
        let length = self.with_data(|t| t.size(dim))?;
        Ok(from_nothing("embed", self, data, move |g| g.narrow(dim, start, length)))
    }

    /// One entry along a dim, which disappears.
    ///
    /// # Errors
    /// When the index is out of range.
    pub fn select(&self, dim: i32, index: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.select(dim, index))?;
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        let d = self.with_data(|t| t.dim("select", dim))? as i32;
        let first = if index < 0 { index + from[d as usize] as i64 } else { index };
        Ok(from_nothing("select", self, data, move |g| g.unsqueeze(d)?.embed(&from, d, first)))
    }

    /// Joins two variables along a dim.
    ///
    /// # Errors
    /// As for [`Variable::cat_many`].
    pub fn cat(&self, other: &Variable, dim: i32) -> Result<Variable> {
        Variable::cat_many(&[self, other], dim)
    }

    /// Joins variables along a dim; all other sizes must agree, and those of shape `[0]` are left
    /// out.
    ///
    /// # Errors
    /// When the list is empty, or shapes, dtypes or devices differ.
    pub fn cat_many(vars: &[&Variable], dim: i32) -> Result<Variable> {
        if let Some(vars) = amp::same_all(vars)? {
            return Variable::cat_many(&vars.iter().collect::<Vec<_>>(), dim);
        }
        let parts: Vec<Tensor> = vars.iter().map(|v| v.data()).collect();
        let data = Tensor::cat_many(&parts.iter().collect::<Vec<_>>(), dim)?;
        let size = |t: &Tensor| if t.is_nothing() { Ok(0) } else { t.size(dim) };
        let sizes = parts.iter().map(size).collect::<Result<Vec<i64>>>()?;
        let nothing: Vec<bool> = parts.iter().map(Tensor::is_nothing).collect();
        Ok(record("cat", data, vars, move |ctx| {
            let g = ctx.grad();
            let mut start = 0;
            sizes
                .iter()
                .enumerate()
                .map(|(i, &n)| {
                    start += n;
                    match ctx.needs(i) {
                        true if nothing[i] => g.reshape(&[-1])?.narrow(0, 0, 0).map(Some),
                        true => g.narrow(dim, start - n, n).map(Some),
                        false => Ok(None),
                    }
                })
                .collect()
        }))
    }

    /// Joins variables of one shape along a new dim.
    ///
    /// # Errors
    /// When the list is empty or shapes differ.
    pub fn stack(vars: &[Variable], dim: i32) -> Result<Variable> {
        let Some(first) = vars.first() else {
            return Err(Error::invalid("stack", "expected at least one variable, got none"));
        };
        if let Some(v) = vars.iter().find(|v| v.shape() != first.shape()) {
            return Err(Error::ShapeMismatch {
                op: "stack",
                lhs: first.shape(),
                rhs: v.shape(),
                why: "all shapes must be equal".into(),
            });
        }
        let n = first.ndim() as i32 + 1;
        if dim < -n || dim >= n {
            let dim = i64::from(dim);
            return Err(Error::DimOutOfRange { op: "stack", dim, ndim: first.ndim() });
        }
        let d = if dim < 0 { dim + n } else { dim };
        let parts = vars.iter().map(|v| v.unsqueeze(d)).collect::<Result<Vec<_>>>()?;
        Variable::cat_many(&parts.iter().collect::<Vec<_>>(), d)
    }

    /// Cuts a dim into at most `chunks` pieces of equal size; the last may be smaller.
    ///
    /// # Errors
    /// When the number is not positive.
    pub fn chunk(&self, chunks: i32, dim: i32) -> Result<Vec<Variable>> {
        let sizes = self.with_data(|t| {
            t.chunk(chunks, dim)?.iter().map(|c| c.size(dim)).collect::<Result<Vec<_>>>()
        })?;
        self.split_sizes(&sizes, dim)
    }

    /// Cuts a dim into pieces of `split_size`; the last may be smaller.
    ///
    /// # Errors
    /// When the size is not positive.
    pub fn split(&self, split_size: i64, dim: i32) -> Result<Vec<Variable>> {
        let sizes = self.with_data(|t| {
            t.split(split_size, dim)?.iter().map(|c| c.size(dim)).collect::<Result<Vec<_>>>()
        })?;
        self.split_sizes(&sizes, dim)
    }

    /// Cuts a dim into pieces of the given sizes, which must add up to it. One node serves all
    /// pieces, so that their gradients are joined in one pass.
    ///
    /// # Errors
    /// When the sizes do not add up.
    pub fn split_sizes(&self, sizes: &[i64], dim: i32) -> Result<Vec<Variable>> {
        let data = self.with_data(|t| t.split_sizes(sizes, dim))?;
        let shapes: Vec<Tensor> = data.clone();
        Ok(crate::autograd::tape::record_many("split", data, &[self], move |ctx| {
            let parts = shapes
                .iter()
                .enumerate()
                .map(|(i, t)| match ctx.grad_of(i) {
                    Some(g) => Ok(g),
                    None => Ok(Variable::constant(Tensor::zeros_like(t)?)),
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(grads![Variable::cat_many(&parts.iter().collect::<Vec<_>>(), dim)?])
        }))
    }

    /// Repeats the variable along each dim.
    ///
    /// # Errors
    /// When there are fewer counts than dims or one is negative.
    pub fn repeat(&self, repeats: &[i64]) -> Result<Variable> {
        let data = self.with_data(|t| t.repeat(repeats))?;
        let lead = repeats.len() - self.ndim();
        let mut pairs = Vec::new();
        for (d, &count) in repeats.iter().enumerate() {
            let size = if d < lead { 1 } else { self.with_data(|t| t.dims()[d - lead] as i64) };
            pairs.extend([count, size]);
        }
        let from = self.shape();
        Ok(from_nothing("repeat", self, data, move |g| {
            let counts: Vec<i32> = (0..pairs.len() as i32).step_by(2).collect();
            g.reshape(&pairs)?.sum_dims(&counts, false)?.reshape(&from)
        }))
    }

    /// The same values in row-major memory.
    ///
    /// # Errors
    /// When memory is short.
    pub fn contiguous(&self) -> Result<Variable> {
        if self.with_data(Tensor::is_contiguous) {
            return Ok(self.clone());
        }
        let data = self.with_data(Tensor::contiguous)?;
        Ok(from_nothing("contiguous", self, data, Ok))
    }

    /// Moves one dim to another place.
    ///
    /// # Errors
    /// When a dim does not exist.
    pub fn movedim(&self, src: i64, dst: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.movedim(src, dst))?;
        Ok(from_nothing("movedim", self, data, move |g| g.movedim(dst, src)))
    }

    /// The transpose of a matrix; fewer dims are returned as they are.
    ///
    /// # Errors
    /// When there are more than two dims.
    pub fn t(&self) -> Result<Variable> {
        let data = self.with_data(Tensor::t)?;
        Ok(from_nothing("t", self, data, |g| g.t()))
    }

    /// Every `step`-th entry along a dim of `start..end`.
    ///
    /// # Errors
    /// When the range is not inside the dim or the step is not positive.
    pub fn slice(&self, dim: i32, start: i64, end: i64, step: i64) -> Result<Variable> {
        let data = self.with_data(|t| t.slice(dim, start, end, step))?;
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        Ok(from_nothing("slice", self, data, move |g| g.unslice(&from, dim, start, end, step)))
    }

    /// The way back of `slice`.
    fn unslice(
        &self,
        dims: &[usize],
        dim: i32,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Variable> {
        let view = |t: &Tensor| t.slice(dim, start, end, step);
        let data = self.with_data(|t| t.placed(dims, view))?;
        Ok(from_nothing("unslice", self, data, move |g| g.slice(dim, start, end, step)))
    }

    /// The diagonal between two dims as the last dim of the result.
    ///
    /// # Errors
    /// When the dims are the same.
    pub fn diagonal(&self, offset: i64, dim1: i32, dim2: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.diagonal(offset, dim1, dim2))?;
        let from = self.with_data(|t| Dims::from_slice(t.dims()));
        Ok(from_nothing("diagonal", self, data, move |g| g.undiagonal(&from, offset, dim1, dim2)))
    }

    /// The way back of `diagonal`.
    fn undiagonal(&self, dims: &[usize], offset: i64, dim1: i32, dim2: i32) -> Result<Variable> {
        let data = self.with_data(|t| t.placed(dims, |z| z.diagonal(offset, dim1, dim2)))?;
        Ok(from_nothing("undiagonal", self, data, move |g| g.diagonal(offset, dim1, dim2)))
    }

    /// All entries along a dim, which disappears. One node serves all of them.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn unbind(&self, dim: i32) -> Result<Vec<Variable>> {
        let d = self.with_data(|t| t.dim("unbind", dim))? as i32;
        let n = self.with_data(|t| t.size(d))?;
        if n == 0 {
            return Ok(Vec::new());
        }
        self.split(1, d)?.iter().map(|v| v.squeeze(d)).collect()
    }

    /// Pieces of `batch_size` rows; the last may be smaller.
    ///
    /// # Errors
    /// When the size is not positive or there are no dims.
    pub fn batches(&self, batch_size: i64) -> Result<Vec<Variable>> {
        self.split(batch_size, 0)
    }

    /// Like [`Variable::repeat`], but fewer counts than dims repeat the last dims only.
    ///
    /// # Errors
    /// When a count is negative.
    pub fn tile(&self, reps: &[i64]) -> Result<Variable> {
        let mut repeats = vec![1; self.ndim().saturating_sub(reps.len())];
        repeats.extend_from_slice(reps);
        self.repeat(&repeats)
    }
}
