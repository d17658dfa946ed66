//! Arithmetic with a number, and division with a rest.
//!
//! PyTorch makes floats of integers that meet a fraction. Here a dtype never changes in silence, so
//! such a call is an error that says what to cast; a whole number leaves integers integers.

use super::Tensor;
use crate::backend::{BinaryOp, UnaryOp};
use crate::{DType, Error, Result};

impl Tensor {
    /// That `scalar` is a value of this dtype as far as it is an integer's: whole, and not beyond
    /// the largest.
    pub(crate) fn check_scalar(&self, op: &'static str, scalar: f64) -> Result<()> {
        // What f64 holds of i64: -2^63 itself, and everything below 2^63.
        let whole = scalar.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&scalar);
        if whole || self.dtype().is_float() || self.dtype() == DType::Bool {
            return Ok(());
        }
        Err(Error::invalid(
            op,
            format!(
                "{scalar} is no whole number, and the tensor is {}; cast it with \
                 to_dtype(DType::Float32) first",
                self.dtype()
            ),
        ))
    }

    /// self + scalar.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a scalar that is not whole.
    pub fn add_scalar(&self, scalar: f64) -> Result<Tensor> {
        self.check_scalar("add_scalar", scalar)?;
        self.unary_any("add_scalar", UnaryOp::AddScalar { value: scalar })
    }

    /// self · scalar.
    ///
    /// ```
    /// use flodl::*;
    /// let n = Tensor::from_i64(&[1, 2], &[2], Device::CPU)?;
    /// assert_eq!(n.mul_scalar(3.0)?.to_i64_vec()?, [3, 6]);
    /// assert!(n.mul_scalar(0.5).is_err());
    /// assert_eq!(n.to_dtype(DType::Float32)?.mul_scalar(0.5)?.to_f32_vec()?, [0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a scalar that is not whole.
    pub fn mul_scalar(&self, scalar: f64) -> Result<Tensor> {
        self.check_scalar("mul_scalar", scalar)?;
        self.unary_any("mul_scalar", UnaryOp::MulScalar { value: scalar })
    }

    /// self - scalar.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a scalar that is not whole.
    pub fn sub_scalar(&self, scalar: f64) -> Result<Tensor> {
        self.check_scalar("sub_scalar", scalar)?;
        self.unary_any("sub_scalar", UnaryOp::AddScalar { value: -scalar })
    }

    /// self / scalar.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn div_scalar(&self, scalar: f64) -> Result<Tensor> {
        self.unary("div_scalar", UnaryOp::DivScalar { value: scalar })
    }

    /// Each element to a power.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn pow_scalar(&self, exponent: f64) -> Result<Tensor> {
        self.unary("pow_scalar", UnaryOp::PowScalar { exponent })
    }

    /// Each element moved into `min..=max`; NaN stays. An infinity is no bound.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a bound that is not whole.
    pub fn clamp(&self, min: f64, max: f64) -> Result<Tensor> {
        self.clamped("clamp", min, max)
    }

    /// Each element, but at least `min`; NaN stays.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a bound that is not whole.
    pub fn clamp_min(&self, min: f64) -> Result<Tensor> {
        self.clamped("clamp_min", min, f64::INFINITY)
    }

    /// Each element, but at most `max`; NaN stays.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a bound that is not whole.
    pub fn clamp_max(&self, max: f64) -> Result<Tensor> {
        self.clamped("clamp_max", f64::NEG_INFINITY, max)
    }

    fn clamped(&self, op: &'static str, min: f64, max: f64) -> Result<Tensor> {
        for bound in [min, max] {
            if !bound.is_infinite() {
                self.check_scalar(op, bound)?;
            }
        }
        self.unary_any(op, UnaryOp::Clamp { min, max })
    }

    /// The remainder of a division by a number, with the sign of `self`.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a divisor that is 0 or not whole.
    pub fn fmod(&self, divisor: f64) -> Result<Tensor> {
        self.check_scalar("fmod", divisor)?;
        self.rest("fmod", BinaryOp::Fmod, &Tensor::full_dims(&[], divisor, self.options())?)
    }

    /// The remainder of a division by a number, with the sign of the divisor.
    ///
    /// # Errors
    /// For boolean tensors, and for integers with a divisor that is 0 or not whole.
    pub fn remainder(&self, divisor: f64) -> Result<Tensor> {
        self.check_scalar("remainder", divisor)?;
        let divisor = Tensor::full_dims(&[], divisor, self.options())?;
        self.rest("remainder", BinaryOp::Remainder, &divisor)
    }

    /// The remainder with the sign of `self`, as C's fmod. Shapes are broadcast; a bool operand
    /// counts as 0 and 1.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or an integer is divided by 0.
    pub fn fmod_tensor(&self, other: &Tensor) -> Result<Tensor> {
        self.rest("fmod_tensor", BinaryOp::Fmod, other)
    }

    /// The remainder with the sign of `other`, as Python's %. Shapes are broadcast; a bool operand
    /// counts as 0 and 1.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or an integer is divided by 0.
    pub fn remainder_tensor(&self, other: &Tensor) -> Result<Tensor> {
        self.rest("remainder_tensor", BinaryOp::Remainder, other)
    }

    fn rest(&self, name: &'static str, op: BinaryOp, other: &Tensor) -> Result<Tensor> {
        let rest = self.binary(name, op, other)?;
        // Floats give NaN; integers have none.
        if !rest.dtype().is_float()
            && rest.numel() > 0
            && other.eq_scalar(0.0)?.any()?.item()? != 0.0
        {
            return Err(Error::invalid(name, "an integer divided by 0 (ZeroDivisionError)"));
        }
        Ok(rest)
    }
}
