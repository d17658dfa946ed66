//! In-place methods. They take `&mut self` and first copy the values when other tensors share the
//! storage, so that nobody else sees the change.

use super::Tensor;
use crate::backend::{BinaryOp, Storage, Target, UnaryOp};
use crate::shape::Layout;
use crate::{DType, Error, Result};

impl Tensor {
    /// Storage that only this tensor sees, contiguous, to write to.
    pub(crate) fn own(&mut self) -> Result<(&mut Storage, &Layout)> {
        if !self.is_unshared() || !self.is_contiguous() {
            *self = self.copy()?;
        }
        let Tensor { storage, layout, .. } = self;
        let storage = std::sync::Arc::get_mut(storage)
            .expect("a storage that was shared has just been copied");
        Ok((storage, layout))
    }

    /// As a kernel changes it: contiguous, and seen by nobody else.
    pub(crate) fn target(&mut self) -> Result<Target<'_>> {
        let dtype = self.dtype();
        let (storage, layout) = self.own()?;
        Ok(Target { storage, layout, dtype })
    }

    pub(crate) fn unary_(&mut self, name: &'static str, op: UnaryOp) -> Result<()> {
        let dtype = self.dtype();
        if dtype.is_half() || dtype == DType::Bool {
            *self = self.unary_any(name, op)?;
            return Ok(());
        }
        let backend = self.backend()?;
        let (storage, layout) = self.own()?;
        backend.unary_in_place(op, storage, layout, dtype)
    }

    fn binary_(&mut self, name: &'static str, op: BinaryOp, other: &Tensor) -> Result<()> {
        let error = || Error::ShapeMismatch {
            op: name,
            lhs: self.shape(),
            rhs: other.shape(),
            why: "the second operand must broadcast to the first".into(),
        };
        let view = other.expand_dims(self.dims()).ok_or_else(error)?;
        let plain = self.dtype() == other.dtype() && !self.dtype().is_half();
        if !plain || self.dtype() == DType::Bool || self.shares_storage(other) {
            let dtype = self.dtype();
            let result = self.binary(name, op, &view)?;
            if result.dtype() != dtype {
                return Err(Error::DTypeMismatch { op: name, lhs: dtype, rhs: other.dtype() });
            }
            *self = result;
            return Ok(());
        }
        self.check_same(name, other)?;
        let backend = self.backend()?;
        let (storage, layout) = self.own()?;
        backend.binary_in_place(op, storage, layout, view.operand())
    }

    /// Turns what is negative into 0.
    pub(crate) fn relu_(&mut self) -> Result<()> {
        self.unary_("relu_", UnaryOp::Relu)
    }

    /// Adds `other`, which must broadcast to this shape.
    ///
    /// # Errors
    /// When it does not, or dtypes or devices differ.
    pub fn add_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_("add_", BinaryOp::Add, other)
    }

    /// Adds `alpha * other`, which must broadcast to this shape.
    ///
    /// # Errors
    /// As for [`Tensor::add_`].
    pub fn add_scaled_(&mut self, other: &Tensor, alpha: f64) -> Result<()> {
        self.binary_("add_scaled_", BinaryOp::AddScaled { alpha }, other)
    }

    /// Subtracts `other`, which must broadcast to this shape.
    ///
    /// # Errors
    /// As for [`Tensor::add_`].
    pub fn sub_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_("sub_", BinaryOp::Sub, other)
    }

    /// Multiplies by `other`, which must broadcast to this shape.
    ///
    /// # Errors
    /// As for [`Tensor::add_`].
    pub fn mul_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_("mul_", BinaryOp::Mul, other)
    }

    /// Divides by `other`, which must broadcast to this shape.
    ///
    /// # Errors
    /// As for [`Tensor::add_`], and for integers.
    pub fn div_(&mut self, other: &Tensor) -> Result<()> {
        self.check_float("div_")?;
        self.binary_("div_", BinaryOp::Div, other)
    }

    /// Adds a number.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a scalar that is not whole.
    pub fn add_scalar_(&mut self, scalar: f64) -> Result<()> {
        self.check_scalar("add_scalar_", scalar)?;
        self.unary_("add_scalar_", UnaryOp::AddScalar { value: scalar })
    }

    /// Multiplies by a number.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a scalar that is not whole.
    pub fn mul_scalar_(&mut self, scalar: f64) -> Result<()> {
        self.check_scalar("mul_scalar_", scalar)?;
        self.unary_("mul_scalar_", UnaryOp::MulScalar { value: scalar })
    }

    /// Divides by a number.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn div_scalar_(&mut self, scalar: f64) -> Result<()> {
        self.check_float("div_scalar_")?;
        self.unary_("div_scalar_", UnaryOp::DivScalar { value: scalar })
    }

    /// Sets every element to 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn zero_(&mut self) -> Result<()> {
        self.fill_(0.0)
    }

    /// Sets every element to one value.
    ///
    /// # Errors
    /// When memory is short.
    pub fn fill_(&mut self, value: f64) -> Result<()> {
        if !self.is_unshared() || !self.is_contiguous() {
            *self = Tensor::full_like(self, value)?;
            return Ok(());
        }
        let (backend, dtype) = (self.backend()?, self.dtype());
        let (storage, layout) = self.own()?;
        backend.fill(storage, layout, dtype, value)
    }

    /// Takes over the values of `src`, cast and broadcast to this dtype and shape.
    /// `non_blocking` has no meaning on the CPU.
    ///
    /// # Errors
    /// When `src` does not broadcast to this shape.
    pub fn copy_(&mut self, src: &Tensor, non_blocking: bool) -> Result<()> {
        let _ = non_blocking;
        let src = src.to_device(self.device())?.to_dtype(self.dtype())?;
        let view = src.expand_dims(self.dims()).ok_or_else(|| Error::ShapeMismatch {
            op: "copy_",
            lhs: self.shape(),
            rhs: src.shape(),
            why: "the source must broadcast to the target".into(),
        })?;
        if !self.is_unshared() || !self.is_contiguous() || self.shares_storage(&src) {
            *self = view.copy()?;
            return Ok(());
        }
        let backend = self.backend()?;
        let (storage, layout) = self.own()?;
        backend.copy_into(view.operand(), storage, layout)
    }

    /// Nothing to do: a tensor is never part of a tape.
    ///
    /// # Errors
    /// None.
    pub fn detach_(&self) -> Result<()> {
        Ok(())
    }
}
