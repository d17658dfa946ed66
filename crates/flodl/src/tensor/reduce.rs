//! Sums, means, extremes, norms: over all elements or along dims.

use super::Tensor;
use crate::backend::{ArgOp, Operand, ReduceOp, ScanOp, Storage};
use crate::shape::Dims;
use crate::{DType, Error, Result};

/// Which dims a reduction removes.
pub(crate) type Reduced = smallvec::SmallVec<[bool; 6]>;

impl Tensor {
    /// Marks `dims`; no dims mean all.
    pub(crate) fn reduced(&self, op: &'static str, dims: &[i32]) -> Result<Reduced> {
        let mut reduced = Reduced::from_elem(dims.is_empty(), self.ndim());
        for &d in dims {
            let d = self.dim(op, d)?;
            if self.ndim() > 0 && std::mem::replace(&mut reduced[d], true) {
                return Err(Error::invalid(op, format!("dim {d} appears more than once")));
            }
        }
        Ok(reduced)
    }

    /// The dims that stay, and their shape with the others kept as 1.
    fn kept(&self, reduced: &[bool]) -> (Dims, Dims) {
        let sizes = || self.dims().iter().zip(reduced);
        (
            sizes().filter(|&(_, r)| !r).map(|(&n, _)| n).collect(),
            sizes().map(|(&n, &r)| if r { 1 } else { n }).collect(),
        )
    }

    /// Runs a reducing kernel and shapes its result.
    fn reduce_with(
        &self,
        reduced: &[bool],
        keepdim: bool,
        kernel: impl FnOnce(&dyn crate::backend::Backend, Operand<'_>, &mut Storage) -> Result<()>,
    ) -> Result<Tensor> {
        let (short, kept) = self.kept(reduced);
        let shape = if keepdim { &kept } else { &short };
        Tensor::build(shape, self.dtype(), self.device(), |b, out| kernel(b, self.operand(), out))
    }

    pub(crate) fn reduce(
        &self,
        name: &'static str,
        op: ReduceOp,
        dims: &[i32],
        keepdim: bool,
    ) -> Result<Tensor> {
        let reduced = self.reduced(name, dims)?;
        self.through_f32(|t| {
            t.reduce_with(&reduced, keepdim, |b, x, out| b.reduce(op, x, &reduced, out))
        })
    }

    /// Integers and truth values are summed as i64.
    fn widened(&self) -> Result<Tensor> {
        if self.dtype().is_float() { Ok(self.clone()) } else { self.to_dtype(DType::Int64) }
    }

    fn nonempty(&self, op: &'static str, reduced: &[bool]) -> Result<()> {
        let empty = self.dims().iter().zip(reduced).any(|(&n, &r)| r && n == 0);
        if empty || (self.len() == 0 && self.ndim() == 0) {
            return Err(Error::Shape {
                op,
                expected: "at least one element to choose from".into(),
                got: self.shape(),
            });
        }
        Ok(())
    }

    /// The sum of all elements; integers and truth values are summed as `Int64`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dims(&[], false)
    }

    /// Sums along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn sum_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.sum_dims(&[dim], keepdim)
    }

    /// Sums along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn sum_dims(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.widened()?.reduce("sum", ReduceOp::Sum, dims, keepdim)
    }

    /// Sums a broadcast result back to the shape it was broadcast from.
    pub(crate) fn sum_to(&self, dims: &[usize]) -> Result<Tensor> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        let lead = self.ndim() - dims.len();
        let reduced: Reduced = (0..self.ndim())
            .map(|d| d < lead || (dims[d - lead] == 1 && self.dims()[d] != 1))
            .collect();
        self.through_f32(|t| {
            t.reduce_with(&reduced, true, |b, x, out| b.reduce(ReduceOp::Sum, x, &reduced, out))
        })?
        .reshape_dims(dims)
    }

    /// The mean of all elements.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dims(&[], false)
    }

    /// Means along a dim.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn mean_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.mean_dims(&[dim], keepdim)
    }

    /// Means along several dims; none means all.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when a dim does not exist or appears twice.
    pub fn mean_dims(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.check_float("mean")?;
        self.reduce("mean", ReduceOp::Mean, dims, keepdim)
    }

    /// The product of all elements.
    ///
    /// # Errors
    /// When memory is short.
    pub fn prod(&self) -> Result<Tensor> {
        self.widened()?.reduce("prod", ReduceOp::Prod, &[], false)
    }

    /// Products along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn prod_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.widened()?.reduce("prod", ReduceOp::Prod, &[dim], keepdim)
    }

    /// The smallest element; NaN wins.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn min(&self) -> Result<Tensor> {
        self.extreme("min", ReduceOp::Min, &[], false)
    }

    /// The largest element; NaN wins.
    ///
    /// # Errors
    /// When there are no elements.
    pub fn max(&self) -> Result<Tensor> {
        self.extreme("max", ReduceOp::Max, &[], false)
    }

    /// The smallest elements along a dim.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn min_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.extreme("min_dim", ReduceOp::Min, &[dim], keepdim)
    }

    /// The largest elements along a dim.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn max_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.extreme("max_dim", ReduceOp::Max, &[dim], keepdim)
    }

    /// The smallest elements along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist, appears twice, or is empty.
    pub fn amin(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.extreme("amin", ReduceOp::Min, dims, keepdim)
    }

    /// The largest elements along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist, appears twice, or is empty.
    pub fn amax(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.extreme("amax", ReduceOp::Max, dims, keepdim)
    }

    fn extreme(
        &self,
        name: &'static str,
        op: ReduceOp,
        dims: &[i32],
        keepdim: bool,
    ) -> Result<Tensor> {
        self.nonempty(name, &self.reduced(name, dims)?)?;
        if self.len() == 0 && dims.is_empty() {
            self.nonempty(name, &Reduced::from_elem(true, self.ndim()))?;
        }
        self.reduce(name, op, dims, keepdim)
    }

    /// Index of the largest element along a dim, the first one where several are; NaN wins.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn argmax(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.arg_reduce("argmax", ArgOp::Max, dim, keepdim)
    }

    /// Index of the smallest element along a dim, the first one where several are; NaN wins.
    ///
    /// # Errors
    /// When the dim does not exist or is empty.
    pub fn argmin(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.arg_reduce("argmin", ArgOp::Min, dim, keepdim)
    }

    pub(crate) fn arg_reduce(
        &self,
        name: &'static str,
        op: ArgOp,
        dim: i32,
        keepdim: bool,
    ) -> Result<Tensor> {
        let d = self.dim(name, dim)?;
        let reduced = self.reduced(name, &[dim])?;
        self.nonempty(name, &reduced)?;
        let x = self.contiguous()?;
        let (short, kept) = self.kept(&reduced);
        let shape = if keepdim { &kept } else { &short };
        Tensor::build(shape, DType::Int64, self.device(), |b, out| {
            b.arg_reduce(op, x.operand(), d, out)
        })
    }

    /// The variance of all elements, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn var(&self) -> Result<Tensor> {
        self.var_dims(&[], 1.0, false)
    }

    /// The standard deviation of all elements, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn std(&self) -> Result<Tensor> {
        self.var()?.sqrt()
    }

    /// Variances along a dim, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn var_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.var_dims(&[dim], 1.0, keepdim)
    }

    /// Standard deviations along a dim, with n - 1 as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn std_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.var_dim(dim, keepdim)?.sqrt()
    }

    /// Variances along several dims (none means all) with n - `correction` as divisor.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when a dim does not exist or appears twice.
    pub fn var_dims(&self, dims: &[i32], correction: f64, keepdim: bool) -> Result<Tensor> {
        self.check_float("var")?;
        let reduced = self.reduced("var", dims)?;
        self.through_f32(|t| {
            t.reduce_with(&reduced, keepdim, |b, x, out| b.var(x, &reduced, correction, out))
        })
    }

    /// log Σ exp along a dim, stable for large elements.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn logsumexp(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.check_float("logsumexp")?;
        let reduced = self.reduced("logsumexp", &[dim])?;
        self.through_f32(|t| {
            t.reduce_with(&reduced, keepdim, |b, x, out| b.logsumexp(x, &reduced, out))
        })
    }

    /// The Euclidean norm of all elements.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn norm(&self) -> Result<Tensor> {
        self.check_float("norm")?;
        self.reduce("norm", ReduceOp::SumSquares, &[], false)?.sqrt()
    }

    /// The p-norm along a dim: p may be 0 (count), an infinity (largest or smallest magnitude), or
    /// any other number.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn norm_p(&self, p: f64, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.norm_dims(p, &[dim], keepdim)
    }

    /// The p-norm along several dims; none means all.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when a dim does not exist or appears twice.
    pub fn norm_dims(&self, p: f64, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.check_float("norm")?;
        if p == 2.0 {
            self.reduce("norm", ReduceOp::SumSquares, dims, keepdim)?.sqrt()
        } else if p == 1.0 {
            self.reduce("norm", ReduceOp::L1, dims, keepdim)
        } else if p == 0.0 {
            self.ne_scalar(0.0)?.to_dtype(self.dtype())?.sum_dims(dims, keepdim)
        } else if p == f64::INFINITY {
            self.abs()?.amax(dims, keepdim)
        } else if p == f64::NEG_INFINITY {
            self.abs()?.amin(dims, keepdim)
        } else {
            self.abs()?.pow_scalar(p)?.sum_dims(dims, keepdim)?.pow_scalar(1.0 / p)
        }
    }

    /// The tensor divided by its p-norm along a dim, at least 1e-12.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn normalize(&self, p: f64, dim: i32) -> Result<Tensor> {
        self.div(&self.norm_p(p, dim, true)?.clamp_min(1e-12)?)
    }

    /// Running sums along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn cumsum(&self, dim: i32) -> Result<Tensor> {
        self.scan("cumsum", ScanOp::Sum, dim, false)
    }

    /// Running products along a dim.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn cumprod(&self, dim: i32) -> Result<Tensor> {
        self.scan("cumprod", ScanOp::Prod, dim, false)
    }

    pub(crate) fn scan(
        &self,
        name: &'static str,
        op: ScanOp,
        dim: i32,
        reverse: bool,
    ) -> Result<Tensor> {
        let d = self.dim(name, dim)?;
        self.widened()?.contiguous()?.through_f32(|t| {
            Tensor::build(t.dims(), t.dtype(), t.device(), |b, out| {
                b.scan(op, t.operand(), d, reverse, out)
            })
        })
    }

    /// How many elements are not 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn count_nonzero(&self) -> Result<Tensor> {
        self.to_dtype(DType::Bool)?.sum()
    }

    /// How many elements along a dim are not 0.
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn count_nonzero_dim(&self, dim: i32) -> Result<Tensor> {
        self.to_dtype(DType::Bool)?.sum_dim(dim, false)
    }

    /// Numbers of elements that are not 0 along several dims; none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn count_nonzero_dims(&self, dims: &[i32]) -> Result<Tensor> {
        self.to_dtype(DType::Bool)?.sum_dims(dims, false)
    }

    /// Whether any element along a dim is true (not 0).
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn any_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.any_dims(&[dim], keepdim)
    }

    /// Whether any element along several dims is true (not 0); none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn any_dims(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.to_dtype(DType::Bool)?.sum_dims(dims, keepdim)?.to_dtype(DType::Bool)
    }

    /// Whether all elements along a dim are true (not 0).
    ///
    /// # Errors
    /// When the dim does not exist.
    pub fn all_dim(&self, dim: i32, keepdim: bool) -> Result<Tensor> {
        self.all_dims(&[dim], keepdim)
    }

    /// Whether all elements along several dims are true (not 0); none means all.
    ///
    /// # Errors
    /// When a dim does not exist or appears twice.
    pub fn all_dims(&self, dims: &[i32], keepdim: bool) -> Result<Tensor> {
        self.logical_not()?.any_dims(dims, keepdim)?.logical_not()
    }

    /// Whether any element is true (not 0).
    ///
    /// # Errors
    /// When memory is short.
    pub fn any(&self) -> Result<Tensor> {
        self.count_nonzero()?.to_dtype(DType::Bool)
    }

    /// Whether all elements are true (not 0).
    ///
    /// # Errors
    /// When memory is short.
    pub fn all(&self) -> Result<Tensor> {
        self.logical_not()?.any()?.logical_not()
    }

    /// exp(x) / Σ exp(x) along a dim.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn softmax(&self, dim: i32) -> Result<Tensor> {
        self.softmax_kernel("softmax", false, dim)
    }

    /// x - log Σ exp(x) along a dim.
    ///
    /// # Errors
    /// For integer and boolean tensors, and when the dim does not exist.
    pub fn log_softmax(&self, dim: i32) -> Result<Tensor> {
        self.softmax_kernel("log_softmax", true, dim)
    }

    fn softmax_kernel(&self, name: &'static str, log: bool, dim: i32) -> Result<Tensor> {
        self.check_float(name)?;
        let d = self.dim(name, dim)?;
        self.through_f32(|t| {
            let x = t.contiguous()?;
            Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| {
                b.softmax(log, x.operand(), d, out)
            })
        })
    }

    /// Gradient of softmax or log-softmax from its output.
    pub(crate) fn softmax_backward(&self, log: bool, dy: &Tensor, dim: i32) -> Result<Tensor> {
        let d = self.dim("softmax_backward", dim)?;
        let (y, dy) = (self.contiguous()?, dy.contiguous()?);
        Tensor::build(y.dims(), y.dtype(), y.device(), |b, out| {
            b.softmax_backward(log, y.operand(), dy.operand(), d, out)
        })
    }
}
