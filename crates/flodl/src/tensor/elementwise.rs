//! Arithmetic, mathematics, activations, comparisons: element by element, with broadcasting.

use super::Tensor;
use crate::backend::{BinaryOp, CompareOp, LogicalOp, Test, UnaryOp};
use crate::shape;
use crate::{DType, Error, Result};

/// Methods without arguments that are one kernel each.
macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// For integer and boolean tensors.
            pub fn $name(&self) -> Result<Tensor> {
                self.unary(stringify!($name), $op)
            }
        )*}
    };
}

unary_methods! {
    /// e to the power of each element.
    exp => UnaryOp::Exp;
    /// Natural logarithm.
    log => UnaryOp::Log;
    /// Square root.
    sqrt => UnaryOp::Sqrt;
    /// 1 over the square root.
    rsqrt => UnaryOp::Rsqrt;
    /// log(1 + x), exact near 0.
    log1p => UnaryOp::Log1p;
    /// exp(x) - 1, exact near 0.
    expm1 => UnaryOp::Expm1;
    /// Logarithm to base 2.
    log2 => UnaryOp::Log2;
    /// Logarithm to base 10.
    log10 => UnaryOp::Log10;
    /// Sine of radians.
    sin => UnaryOp::Sin;
    /// Cosine of radians.
    cos => UnaryOp::Cos;
    /// Tangent of radians.
    tan => UnaryOp::Tan;
    /// Arc sine in radians.
    asin => UnaryOp::Asin;
    /// Arc cosine in radians.
    acos => UnaryOp::Acos;
    /// Arc tangent in radians.
    atan => UnaryOp::Atan;
    /// Hyperbolic sine.
    sinh => UnaryOp::Sinh;
    /// Hyperbolic cosine.
    cosh => UnaryOp::Cosh;
    /// 1 / x.
    reciprocal => UnaryOp::Reciprocal;
    /// The error function.
    erf => UnaryOp::Erf;
    /// 1 - erf(x), exact for large x.
    erfc => UnaryOp::Erfc;
    /// x minus its integer part.
    frac => UnaryOp::Frac;
    /// 1 / (1 + exp(-x)).
    sigmoid => UnaryOp::Sigmoid;
    /// Hyperbolic tangent.
    tanh => UnaryOp::Tanh;
    /// x · Φ(x) with the exact normal distribution function.
    gelu => UnaryOp::Gelu;
    /// GELU by its tanh approximation.
    gelu_tanh => UnaryOp::GeluTanh;
    /// x · sigmoid(x), also called Swish.
    silu => UnaryOp::Silu;
    /// x · tanh(softplus(x)).
    mish => UnaryOp::Mish;
    /// Scaled ELU with the self-normalising constants.
    selu => UnaryOp::Selu;
    /// x · relu6(x + 3) / 6.
    hardswish => UnaryOp::Hardswish;
    /// relu6(x + 3) / 6.
    hardsigmoid => UnaryOp::Hardsigmoid;
}

macro_rules! unary_any_methods {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// For boolean tensors.
            pub fn $name(&self) -> Result<Tensor> {
                self.unary_any(stringify!($name), $op)
            }
        )*}
    };
}

unary_any_methods! {
    /// The negative.
    neg => UnaryOp::Neg;
    /// The absolute value.
    abs => UnaryOp::Abs;
    /// -1, 0 or 1.
    sign => UnaryOp::Sign;
    /// The largest integer that is not larger.
    floor => UnaryOp::Floor;
    /// The smallest integer that is not smaller.
    ceil => UnaryOp::Ceil;
    /// The nearest integer, halves to the even one.
    round => UnaryOp::Round;
    /// The integer part.
    trunc => UnaryOp::Trunc;
    /// max(0, x).
    relu => UnaryOp::Relu;
    /// x².
    square => UnaryOp::Square;
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            /// Shapes are broadcast; a bool operand counts as 0 and 1.
            ///
            /// # Errors
            /// When shapes cannot be broadcast, or dtypes or devices differ.
            pub fn $name(&self, other: &Tensor) -> Result<Tensor> {
                self.binary(stringify!($name), $op, other)
            }
        )*}
    };
}

binary_methods! {
    /// self + other.
    add => BinaryOp::Add;
    /// self - other.
    sub => BinaryOp::Sub;
    /// self · other.
    mul => BinaryOp::Mul;
    /// The larger of each pair; NaN wins.
    maximum => BinaryOp::Maximum;
    /// The smaller of each pair; NaN wins.
    minimum => BinaryOp::Minimum;
}

macro_rules! binary_float_methods {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            /// Shapes are broadcast.
            ///
            /// # Errors
            /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
            pub fn $name(&self, other: &Tensor) -> Result<Tensor> {
                self.check_float(stringify!($name))?;
                self.binary(stringify!($name), $op, other)
            }
        )*}
    };
}

binary_float_methods! {
    /// self to the power of other.
    pow => BinaryOp::Pow;
    /// The angle of the point (other, self), in radians.
    atan2 => BinaryOp::Atan2;
    /// sqrt(self² + other²).
    hypot => BinaryOp::Hypot;
}

macro_rules! compare_methods {
    ($($(#[$doc:meta])* $name:ident, $scalar:ident => $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            /// A bool tensor; shapes are broadcast.
            ///
            /// # Errors
            /// When shapes cannot be broadcast, or dtypes or devices differ.
            pub fn $name(&self, other: &Tensor) -> Result<Tensor> {
                self.compare(stringify!($name), $op, other)
            }

            $(#[$doc])*
            /// A bool tensor.
            ///
            /// # Errors
            /// When memory is short.
            pub fn $scalar(&self, scalar: f64) -> Result<Tensor> {
                Tensor::build(self.dims(), DType::Bool, self.device(), |b, out| {
                    b.compare_scalar($op, self.operand(), scalar, out)
                })
            }
        )*}
    };
}

compare_methods! {
    /// Whether self > other.
    gt, gt_scalar => CompareOp::Gt;
    /// Whether self >= other.
    ge, ge_scalar => CompareOp::Ge;
    /// Whether self < other.
    lt, lt_scalar => CompareOp::Lt;
    /// Whether self <= other.
    le, le_scalar => CompareOp::Le;
    /// Whether self == other.
    eq_tensor, eq_scalar => CompareOp::Eq;
    /// Whether self != other.
    ne_tensor, ne_scalar => CompareOp::Ne;
}

impl Tensor {
    /// A float kernel; 16-bit floats go through `f32`.
    pub(crate) fn unary(&self, name: &'static str, op: UnaryOp) -> Result<Tensor> {
        self.check_float(name)?;
        self.unary_any(name, op)
    }

    /// A kernel for floats and integers.
    pub(crate) fn unary_any(&self, name: &'static str, op: UnaryOp) -> Result<Tensor> {
        if self.dtype() == DType::Bool {
            return Err(Error::DType {
                op: name,
                expected: "a numeric tensor".into(),
                got: DType::Bool,
            });
        }
        self.through_f32(|t| {
            Tensor::build(t.dims(), t.dtype(), t.device(), |b, out| b.unary(op, t.operand(), out))
        })
    }

    /// Two operands after broadcasting; a bool operand takes the other's dtype.
    pub(crate) fn binary(
        &self,
        name: &'static str,
        op: BinaryOp,
        other: &Tensor,
    ) -> Result<Tensor> {
        if self.dtype() != other.dtype() {
            if self.dtype() == DType::Bool {
                return self.to_dtype(other.dtype())?.binary(name, op, other);
            }
            if other.dtype() == DType::Bool {
                return self.binary(name, op, &other.to_dtype(self.dtype())?);
            }
        } else if self.dtype() == DType::Bool {
            return Err(Error::DType {
                op: name,
                expected: "at least one numeric tensor (logical_and and its kin take two masks)"
                    .into(),
                got: DType::Bool,
            });
        }
        self.check_same(name, other)?;
        if self.dtype().is_half() {
            let (a, b) = (self.to_dtype(DType::Float32)?, other.to_dtype(DType::Float32)?);
            return a.binary(name, op, &b)?.to_dtype(self.dtype());
        }
        if self.layout.shape == other.layout.shape {
            return Tensor::build(self.dims(), self.dtype(), self.device(), |b, out| {
                b.binary(op, self.operand(), other.operand(), out)
            });
        }
        let (a, b) = self.broadcast_with(name, other)?;
        Tensor::build(a.dims(), a.dtype(), a.device(), |backend, out| {
            backend.binary(op, a.operand(), b.operand(), out)
        })
    }

    /// Both tensors as views of their common shape.
    pub(crate) fn broadcast_with(
        &self,
        name: &'static str,
        other: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let dims = shape::broadcast(name, self.dims(), other.dims())?;
        let expand = |t: &Tensor| t.expand_dims(&dims).expect("broadcast has checked the shapes");
        Ok((expand(self), expand(other)))
    }

    fn compare(&self, name: &'static str, op: CompareOp, other: &Tensor) -> Result<Tensor> {
        if self.dtype() != other.dtype() {
            if self.dtype() == DType::Bool {
                return self.to_dtype(other.dtype())?.compare(name, op, other);
            }
            if other.dtype() == DType::Bool {
                return self.compare(name, op, &other.to_dtype(self.dtype())?);
            }
        }
        self.check_same(name, other)?;
        let (a, b) = self.broadcast_with(name, other)?;
        Tensor::build(a.dims(), DType::Bool, a.device(), |backend, out| {
            backend.compare(op, a.operand(), b.operand(), out)
        })
    }

    /// self / other, in floating point. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        if !self.dtype().is_float() && !other.dtype().is_float() {
            self.check_float("div")?;
        }
        self.binary("div", BinaryOp::Div, other)
    }

    /// x for x > 0, else slope · x.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn leaky_relu(&self, negative_slope: f64) -> Result<Tensor> {
        self.unary("leaky_relu", UnaryOp::LeakyRelu { slope: negative_slope })
    }

    /// x for x > 0, else α · (exp(x) - 1).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        self.unary("elu", UnaryOp::Elu { alpha })
    }

    /// log(1 + exp(β x)) / β, and x itself where β x is above the threshold.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Tensor> {
        self.unary("softplus", UnaryOp::Softplus { beta, threshold })
    }

    /// x for x > 0, else weight · x, with one weight or one per entry of dim 1.
    ///
    /// # Errors
    /// When the weight has another number of elements.
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        let dims = self.prelu_dims(weight)?;
        let wide = if self.dtype().is_half() { DType::Float32 } else { self.dtype() };
        let (x, w) = (self.to_dtype(wide)?.contiguous()?, weight.to_dtype(wide)?.contiguous()?);
        Tensor::build(x.dims(), wide, x.device(), |b, out| {
            b.prelu(dims, x.operand(), w.operand(), out)
        })?
        .to_dtype(self.dtype())
    }

    /// Checks the weight of a PReLU and gives batch, channels and the rest as its kernel sees them.
    pub(crate) fn prelu_dims(&self, weight: &Tensor) -> Result<[usize; 3]> {
        self.check_float("prelu")?;
        self.check_same("prelu", weight)?;
        self.channel_view("prelu", weight)?;
        Ok(match *self.dims() {
            [n, c, ref rest @ ..] if weight.len() > 1 => [n, c, rest.iter().product()],
            _ => [1, 1, self.len()],
        })
    }

    /// A vector with one element, or one per entry of dim 1, as a view that broadcasts to `self`.
    pub(crate) fn channel_view(&self, op: &'static str, vector: &Tensor) -> Result<Tensor> {
        let channels = if self.ndim() > 1 { self.dims()[1] } else { 1 };
        if vector.len() == 1 {
            return vector.reshape_dims(&shape::Dims::from_elem(1, self.ndim().min(1)));
        }
        if vector.len() != channels {
            return Err(Error::ShapeMismatch {
                op,
                lhs: self.shape(),
                rhs: vector.shape(),
                why: "the weight needs 1 element or one per entry of dim 1".into(),
            });
        }
        let mut dims = shape::Dims::from_elem(1, self.ndim() - 1);
        dims[0] = channels;
        vector.reshape_dims(&dims)
    }

    /// self + weight · (end - self).
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn lerp(&self, end: &Tensor, weight: f64) -> Result<Tensor> {
        // The end that is nearer is the one that stays exact.
        if weight < 0.5 {
            self.add(&end.sub(self)?.mul_scalar(weight)?)
        } else {
            end.sub(&end.sub(self)?.mul_scalar(1.0 - weight)?)
        }
    }

    /// self + weight · (end - self) with a weight for each element.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn lerp_tensor(&self, end: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.add(&end.sub(self)?.mul(weight)?)
    }

    /// self + value · tensor1 · tensor2.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn addcmul(&self, tensor1: &Tensor, tensor2: &Tensor, value: f64) -> Result<Tensor> {
        self.binary("addcmul", BinaryOp::AddScaled { alpha: value }, &tensor1.mul(tensor2)?)
    }

    /// self + value · tensor1 / tensor2.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn addcdiv(&self, tensor1: &Tensor, tensor2: &Tensor, value: f64) -> Result<Tensor> {
        self.binary("addcdiv", BinaryOp::AddScaled { alpha: value }, &tensor1.div(tensor2)?)
    }

    /// Whether |self - other| <= atol + rtol · |other|; equal infinities are close, NaN never is.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            // The tolerance is a fraction, so integers are compared as numbers that have some.
            self.check_same("isclose", other)?;
            let wide = |t: &Tensor| t.to_dtype(DType::Float64);
            return wide(self)?.isclose(&wide(other)?, rtol, atol);
        }
        let near = self
            .sub(other)?
            .abs()?
            .le(&other.abs()?.mul_scalar(rtol)?.add_scalar(atol)?)?
            .logical_and(&other.isfinite()?)?;
        near.logical_or(&self.eq_tensor(other)?)
    }

    /// Whether each element is NaN.
    ///
    /// # Errors
    /// When memory is short.
    pub fn isnan(&self) -> Result<Tensor> {
        self.test(Test::Nan)
    }

    /// Whether each element is an infinity.
    ///
    /// # Errors
    /// When memory is short.
    pub fn isinf(&self) -> Result<Tensor> {
        self.test(Test::Inf)
    }

    /// Whether each element is neither NaN nor an infinity.
    ///
    /// # Errors
    /// When memory is short.
    pub fn isfinite(&self) -> Result<Tensor> {
        self.test(Test::Finite)
    }

    fn test(&self, test: Test) -> Result<Tensor> {
        if !self.dtype().is_float() {
            let value = f64::from(u8::from(test == Test::Finite));
            return Tensor::full_dims(
                self.dims(),
                value,
                crate::TensorOptions { dtype: DType::Bool, device: self.device() },
            );
        }
        let x = if self.dtype().is_half() { self.to_dtype(DType::Float32)? } else { self.clone() };
        Tensor::build(x.dims(), DType::Bool, x.device(), |b, out| b.test(test, x.operand(), out))
    }

    /// Whether every element is finite.
    ///
    /// # Errors
    /// When memory is short.
    pub fn all_finite(&self) -> Result<bool> {
        Ok(self.isfinite()?.all()?.item()? != 0.0)
    }

    /// Whether both are true (not 0).
    ///
    /// # Errors
    /// When shapes cannot be broadcast.
    pub fn logical_and(&self, other: &Tensor) -> Result<Tensor> {
        self.logical("logical_and", LogicalOp::And, other)
    }

    /// Whether at least one is true (not 0).
    ///
    /// # Errors
    /// When shapes cannot be broadcast.
    pub fn logical_or(&self, other: &Tensor) -> Result<Tensor> {
        self.logical("logical_or", LogicalOp::Or, other)
    }

    /// Whether exactly one is true (not 0).
    ///
    /// # Errors
    /// When shapes cannot be broadcast.
    pub fn logical_xor(&self, other: &Tensor) -> Result<Tensor> {
        self.logical("logical_xor", LogicalOp::Xor, other)
    }

    /// Whether each element is false (0).
    ///
    /// # Errors
    /// When memory is short.
    pub fn logical_not(&self) -> Result<Tensor> {
        self.eq_scalar(0.0)
    }

    fn logical(&self, name: &'static str, op: LogicalOp, other: &Tensor) -> Result<Tensor> {
        let (a, b) = (self.to_dtype(DType::Bool)?, other.to_dtype(DType::Bool)?);
        a.check_same(name, &b)?;
        let (a, b) = a.broadcast_with(name, &b)?;
        Tensor::build(a.dims(), DType::Bool, a.device(), |backend, out| {
            backend.logical(op, a.operand(), b.operand(), out)
        })
    }

    /// `x` where the condition is true, else `y`. All three are broadcast.
    ///
    /// # Errors
    /// When the condition is not bool, shapes cannot be broadcast, or dtypes differ.
    pub fn where_cond(condition: &Tensor, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if condition.dtype() != DType::Bool {
            return Err(Error::DType {
                op: "where_cond",
                expected: "a bool condition".into(),
                got: condition.dtype(),
            });
        }
        x.check_same("where_cond", y)?;
        if condition.device() != x.device() {
            return Err(Error::DeviceMismatch {
                op: "where_cond",
                lhs: condition.device(),
                rhs: x.device(),
            });
        }
        let dims = shape::broadcast("where_cond", x.dims(), y.dims())?;
        let dims = shape::broadcast("where_cond", &dims, condition.dims())?;
        let view = |t: &Tensor| t.expand_dims(&dims).expect("broadcast has checked the shapes");
        let (c, x, y) = (view(condition), view(x), view(y));
        Tensor::build(&dims, x.dtype(), x.device(), |b, out| {
            b.select(c.operand(), x.operand(), y.operand(), out)
        })
    }

    /// `value` where the mask is true, else the element.
    ///
    /// # Errors
    /// When the mask is not bool or does not broadcast to the tensor's shape.
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            return Err(Error::DType {
                op: "masked_fill",
                expected: "a bool mask".into(),
                got: mask.dtype(),
            });
        }
        let fill = Tensor::full_dims(&[], value, self.options())?;
        Tensor::where_cond(mask, &fill, self)
    }
}
