//! Sums, means, extremes, softmax.

use super::{from_nothing, from_output};
use crate::autograd::amp;
use crate::autograd::is_grad_enabled;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::{ArgOp, ScanOp};
use crate::shape::{Dims, to_i64};
use crate::{DType, Result, Tensor, Variable};

impl Variable {
    /// A reduced gradient spread over the dims that were reduced (none means all).
    fn spread(&self, dims: &[i32], keepdim: bool, from: &[usize]) -> Result<Variable> {
        let mut kept = Dims::from_slice(from);
        if dims.is_empty() {
            kept.iter_mut().for_each(|n| *n = 1);
        }
        for &d in dims {
            if !kept.is_empty() {
                let d = d.rem_euclid(from.len() as i32) as usize;
                kept[d] = 1;
            }
        }
        let g = if keepdim { self.clone() } else { self.reshape(&to_i64(&kept))? };
        g.expand_to(from)
    }

    fn own_dims(&self) -> Dims {
        self.with_data(|t| Dims::from_slice(t.dims()))
    }

    /// The sum of all elements.
    ///
    /// # Errors
    /// When memory is short.
    pub fn sum(&self) -> Result<Variable> {
        self.sum_dims(&[], false)
    }

    /// Sums along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn sum_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        self.sum_dims(&[dim], keepdim)
    }

    /// Sums along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn sum_dims(&self, dims: &[i32], keepdim: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.sum_dims(dims, keepdim))?;
        let (from, dims) = (self.own_dims(), dims.to_vec());
        Ok(from_nothing("sum", self, data, move |g| g.spread(&dims, keepdim, &from)))
    }

    /// The mean of all elements.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn mean(&self) -> Result<Variable> {
        self.mean_dims(&[], false)
    }

    /// Means along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn mean_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        self.mean_dims(&[dim], keepdim)
    }

    /// Means along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn mean_dims(&self, dims: &[i32], keepdim: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.mean_dims(dims, keepdim))?;
        let (from, dims) = (self.own_dims(), dims.to_vec());
        let count = self.numel() as f64 / (data.numel() as f64).max(1.0);
        Ok(from_nothing("mean", self, data, move |g| {
            g.div_scalar(count)?.spread(&dims, keepdim, &from)
        }))
    }

    /// The product of all elements.
    ///
    /// # Errors
    /// When memory is short.
    pub fn prod(&self) -> Result<Variable> {
        self.reshape(&[-1])?.prod_dim(0, false)
    }

    /// Products along a dim. The gradient is right with any number of zeros.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn prod_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        if let Some([x]) = amp::high([self])? {
            return x.prod_dim(dim, keepdim);
        }
        let data = self.with_data(|t| t.prod_dim(dim, keepdim))?;
        let (x, from) = (Saved::new(self), self.own_dims());
        Ok(record("prod", data, &[self], move |ctx| {
            let (g, x) = (ctx.grad().spread(&[dim], keepdim, &from)?, x.get()?);
            Ok(grads![g.mul(&x.product_of_others(dim)?)?])
        }))
    }

    /// The product of all other entries along a dim, without dividing.
    fn product_of_others(&self, dim: i32) -> Result<Variable> {
        let n = self.with_data(|t| t.size(dim)).unwrap_or(1);
        if n <= 1 || self.ndim() == 0 {
            return Ok(Variable::constant(self.with_data(Tensor::ones_like)?));
        }
        let one = Variable::constant(self.with_data(|t| Tensor::ones_like(&t.narrow(dim, 0, 1)?))?);
        let before = one.cat(&self.narrow(dim, 0, n - 1)?, dim)?.cumprod_from(dim, false)?;
        let after = self.narrow(dim, 1, n - 1)?.cat(&one, dim)?.cumprod_from(dim, true)?;
        before.mul(&after)
    }

    /// Running products, forwards or backwards, by a chain of products when the pass records.
    fn cumprod_from(&self, dim: i32, reverse: bool) -> Result<Variable> {
        if !is_grad_enabled() {
            let data = self.with_data(|t| t.scan("cumprod", ScanOp::Prod, dim, reverse))?;
            return Ok(Variable::constant(data));
        }
        let n = self.with_data(|t| t.size(dim))?;
        let at = |i: i64| self.narrow(dim, if reverse { n - 1 - i } else { i }, 1);
        let mut parts = vec![at(0)?];
        for i in 1..n {
            let next = parts[parts.len() - 1].mul(&at(i)?)?;
            parts.push(next);
        }
        if reverse {
            parts.reverse();
        }
        Variable::cat_many(&parts.iter().collect::<Vec<_>>(), dim)
    }

    /// Running products along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn cumprod(&self, dim: i32) -> Result<Variable> {
        if self.requires_grad() && is_grad_enabled() {
            return self.cumprod_from(dim, false);
        }
        Ok(Variable::constant(self.with_data(|t| t.cumprod(dim))?))
    }

    /// Running sums along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn cumsum(&self, dim: i32) -> Result<Variable> {
        self.cumsum_from(dim, false)
    }

    fn cumsum_from(&self, dim: i32, reverse: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.scan("cumsum", ScanOp::Sum, dim, reverse))?;
        Ok(from_nothing("cumsum", self, data, move |g| g.cumsum_from(dim, !reverse)))
    }

    /// log Σ exp along a dim, stable for large elements.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn logsumexp(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.logsumexp(dim, keepdim))?;
        let (x, y, from) = (Saved::new(self), data.clone(), self.own_dims());
        Ok(record("logsumexp", data, &[self], move |ctx| {
            let y = ctx.output(&y).spread(&[dim], keepdim, &from)?;
            let g = ctx.grad().spread(&[dim], keepdim, &from)?;
            // Where everything is -inf the weights are 0, not NaN.
            let dead = y.with_data(|t| t.eq_scalar(f64::NEG_INFINITY))?;
            let y = y.masked_fill(&dead, 0.0)?;
            Ok(grads![g.mul(&x.get()?.sub(&y)?.exp()?)?])
        }))
    }

    /// The smallest element; equal ones share the gradient evenly.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn min(&self) -> Result<Variable> {
        let data = self.with_data(Tensor::min)?;
        self.shared_extreme("min", data)
    }

    /// The largest element; equal ones share the gradient evenly.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn max(&self) -> Result<Variable> {
        let data = self.with_data(Tensor::max)?;
        self.shared_extreme("max", data)
    }

    fn shared_extreme(&self, name: &'static str, data: Tensor) -> Result<Variable> {
        let (x, best) = (self.data(), data.clone());
        Ok(from_nothing(name, self, data, move |g| {
            let hit = if best.item()?.is_nan() { x.isnan()? } else { x.eq_tensor(&best)? };
            let count = hit.count_nonzero()?.item()?;
            let share = hit.to_dtype(x.dtype())?.div_scalar(count)?;
            g.mul(&Variable::constant(share))
        }))
    }

    /// The smallest elements along a dim; the gradient goes to the first of equal ones.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn min_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        let index = self.with_data(|t| t.arg_reduce("min_dim", ArgOp::Min, dim, true))?;
        self.picked(dim, keepdim, &index)
    }

    /// The largest elements along a dim; the gradient goes to the first of equal ones.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn max_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        let index = self.with_data(|t| t.arg_reduce("max_dim", ArgOp::Max, dim, true))?;
        self.picked(dim, keepdim, &index)
    }

    fn picked(&self, dim: i32, keepdim: bool, index: &Tensor) -> Result<Variable> {
        let values = self.gather(dim, index)?;
        if keepdim { Ok(values) } else { values.squeeze(dim) }
    }

    /// The variance of all elements, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn var(&self) -> Result<Variable> {
        self.var_dims(&[], 1.0, false)
    }

    /// The standard deviation of all elements, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn std(&self) -> Result<Variable> {
        self.var()?.sqrt()
    }

    /// Variances along a dim, with n - 1 as divisor.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn var_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        self.var_dims(&[dim], 1.0, keepdim)
    }

    /// Standard deviations along a dim, with n - 1 as divisor.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn std_dim(&self, dim: i32, keepdim: bool) -> Result<Variable> {
        self.var_dim(dim, keepdim)?.sqrt()
    }

    /// Variances along several dims (none means all) with n - `correction` as divisor.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn var_dims(&self, dims: &[i32], correction: f64, keepdim: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.var_dims(dims, correction, keepdim))?;
        let (x, from, dims) = (Saved::new(self), self.own_dims(), dims.to_vec());
        let count = self.numel() as f64 / (data.numel() as f64).max(1.0);
        Ok(record("var", data, &[self], move |ctx| {
            let x = x.get()?;
            let centred = x.sub(&x.mean_dims(&dims, true)?)?;
            let g = ctx.grad().spread(&dims, keepdim, &from)?;
            Ok(grads![g.mul(&centred)?.mul_scalar(2.0 / (count - correction))?])
        }))
    }

    /// The Euclidean norm of all elements; its gradient at 0 is 0.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn norm(&self) -> Result<Variable> {
        self.norm_dims(2.0, &[], false)
    }

    /// The p-norm along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn norm_p(&self, p: f64, dim: i32, keepdim: bool) -> Result<Variable> {
        self.norm_dims(p, &[dim], keepdim)
    }

    /// The p-norm along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn norm_dims(&self, p: f64, dims: &[i32], keepdim: bool) -> Result<Variable> {
        let data = self.with_data(|t| t.norm_dims(p, dims, keepdim))?;
        let (x, y, from, dims) = (Saved::new(self), data.clone(), self.own_dims(), dims.to_vec());
        Ok(record("norm", data, &[self], move |ctx| {
            let x = x.get()?;
            let y = ctx.output(&y).spread(&dims, keepdim, &from)?;
            let g = ctx.grad().spread(&dims, keepdim, &from)?;
            let sign =
                || -> Result<Variable> { Ok(Variable::constant(x.with_data(Tensor::sign)?)) };
            let slope = if p == 0.0 {
                Variable::zeros_like(&x)?
            } else if p == 1.0 {
                sign()?
            } else if p.is_infinite() {
                // Equal magnitudes share the gradient evenly.
                let hit = x.with_data(|x| y.with_data(|y| x.abs()?.eq_tensor(y)))?;
                let hit = hit.to_dtype(x.dtype())?;
                let count = hit.sum_dims(&dims, true)?;
                sign()?.mul(&Variable::constant(hit.div(&count)?))?
            } else if p == 2.0 {
                x.div(&y)?
            } else {
                let magnitude = x.abs()?.div(&y)?.pow_scalar(p - 1.0)?;
                magnitude.mul(&sign()?)?
            };
            let zero = y.with_data(|t| t.eq_scalar(0.0))?;
            Ok(grads![g.mul(&slope.masked_fill(&zero, 0.0)?)?])
        }))
    }

    /// The variable divided by its p-norm along a dim, at least 1e-12.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn normalize(&self, p: f64, dim: i32) -> Result<Variable> {
        self.div(&self.norm_p(p, dim, true)?.clamp_min(1e-12)?)
    }

    /// The cosine of the angle between two variables along a dim, with norms of at least `eps`.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or the dim does not exist.
    pub fn cosine_similarity(&self, other: &Variable, dim: i64, eps: f64) -> Result<Variable> {
        let dims = self.with_data(|a| {
            other.with_data(|b| crate::shape::broadcast("cosine_similarity", a.dims(), b.dims()))
        })?;
        let unit = |v: &Variable| -> Result<Variable> {
            let v = v.expand_to(&dims)?;
            v.div(&v.norm_p(2.0, dim as i32, true)?.clamp_min(eps)?)
        };
        unit(self)?.mul(&unit(other)?)?.sum_dim(dim as i32, false)
    }

    /// exp(x) / Σ exp(x) along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn softmax(&self, dim: i32) -> Result<Variable> {
        if self.dtype().is_half() {
            return self.to_dtype(DType::Float32)?.softmax(dim)?.to_dtype(self.dtype());
        }
        let data = self.with_data(|t| t.softmax(dim))?;
        Ok(from_output("softmax", self, data, move |g, y| {
            if !is_grad_enabled() {
                let dx = g.with_data(|g| y.with_data(|y| y.softmax_backward(false, g, dim)))?;
                return Ok(Variable::constant(dx));
            }
            let inner = g.mul(y)?.sum_dim(dim, true)?;
            y.mul(&g.sub(&inner)?)
        }))
    }

    /// x - log Σ exp(x) along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn log_softmax(&self, dim: i32) -> Result<Variable> {
        if self.dtype().is_half() {
            return self.to_dtype(DType::Float32)?.log_softmax(dim)?.to_dtype(self.dtype());
        }
        let data = self.with_data(|t| t.log_softmax(dim))?;
        Ok(from_output("log_softmax", self, data, move |g, y| {
            if !is_grad_enabled() {
                let dx = g.with_data(|g| y.with_data(|y| y.softmax_backward(true, g, dim)))?;
                return Ok(Variable::constant(dx));
            }
            g.sub(&y.exp()?.mul(&g.sum_dim(dim, true)?)?)
        }))
    }
}
