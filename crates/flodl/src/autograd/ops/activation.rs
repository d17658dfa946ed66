//! Activations: one kernel forward, one backward, and the slope in plain operations for passes
//! that record.

use super::elementwise::fused;
use super::grad_by_composition;
use crate::autograd::is_grad_enabled;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::{BinaryOp, UnaryOp};
use crate::{DType, Error, Result, Tensor, Variable};

/// Records an activation. `kernel` is its fused gradient on the incoming gradient and the input;
/// `slope` is its derivative in plain operations.
fn activation(
    name: &'static str,
    x: &Variable,
    op: UnaryOp,
    kernel: BinaryOp,
    slope: impl Fn(&Variable) -> Result<Variable> + 'static,
) -> Result<Variable> {
    let data = x.with_data(|t| t.unary(name, op))?;
    let saved = Saved::new(x);
    Ok(record(name, data, &[x], move |ctx| {
        let g = ctx.grad();
        if is_grad_enabled() {
            return Ok(grads![g.mul(&slope(&saved.get()?)?)?]);
        }
        Ok(grads![fused(kernel, name, &g, saved.data())?])
    }))
}

/// Like [`activation`], for those whose gradient is cheaper from the output.
fn activation_from_output(
    name: &'static str,
    x: &Variable,
    op: UnaryOp,
    kernel: BinaryOp,
    slope: impl Fn(&Variable) -> Result<Variable> + 'static,
) -> Result<Variable> {
    let data = x.with_data(|t| t.unary(name, op))?;
    let y = data.clone();
    Ok(record(name, data, &[x], move |ctx| {
        let g = ctx.grad();
        if is_grad_enabled() {
            return Ok(grads![g.mul(&slope(&ctx.output(&y))?)?]);
        }
        Ok(grads![fused(kernel, name, &g, &y)?])
    }))
}

/// 1 where a condition holds, else 0; a constant.
fn indicator(x: &Variable, test: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Variable> {
    x.with_data(|t| Ok(Variable::constant(test(t)?.to_dtype(t.dtype())?)))
}

/// `inside` where x > 0, else `outside`.
fn above_zero(x: &Variable, inside: &Variable, outside: &Variable) -> Result<Variable> {
    Variable::where_cond(&x.with_data(|t| t.gt_scalar(0.0))?, inside, outside)
}

fn constant_like(x: &Variable, value: f64) -> Result<Variable> {
    Ok(Variable::constant(x.with_data(|t| Tensor::full_like(t, value))?))
}

/// The standard normal density times x, plus its distribution function: the slope of GELU.
fn gelu_slope(x: &Variable) -> Result<Variable> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let distribution = x.mul_scalar(FRAC_1_SQRT_2)?.erf()?.add_scalar(1.0)?.mul_scalar(0.5)?;
    let density =
        x.mul(x)?.mul_scalar(-0.5)?.exp()?.mul_scalar(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5)?;
    distribution.add(&x.mul(&density)?)
}

fn gelu_tanh_slope(x: &Variable) -> Result<Variable> {
    const K: f64 = 0.797_884_560_802_865_4; // sqrt(2 / π)
    let cube = x.mul(x)?.mul(x)?;
    let t = x.add(&cube.mul_scalar(0.044_715)?)?.mul_scalar(K)?.tanh()?;
    let inner = x.mul(x)?.mul_scalar(3.0 * 0.044_715)?.add_scalar(1.0)?.mul_scalar(K)?;
    let rise = t.mul(&t)?.neg()?.add_scalar(1.0)?.mul(&inner)?.mul(x)?;
    t.add_scalar(1.0)?.add(&rise)?.mul_scalar(0.5)
}

/// The constants of SELU.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

impl Variable {
    /// max(0, x); the gradient at 0 is 0.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn relu(&self) -> Result<Variable> {
        activation_from_output("relu", self, UnaryOp::Relu, BinaryOp::ReluGrad, |y| {
            indicator(y, |t| t.gt_scalar(0.0))
        })
    }

    /// 1 / (1 + exp(-x)).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn sigmoid(&self) -> Result<Variable> {
        activation_from_output("sigmoid", self, UnaryOp::Sigmoid, BinaryOp::SigmoidGrad, |y| {
            y.mul(&y.neg()?.add_scalar(1.0)?)
        })
    }

    /// Hyperbolic tangent.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn tanh(&self) -> Result<Variable> {
        activation_from_output("tanh", self, UnaryOp::Tanh, BinaryOp::TanhGrad, |y| {
            y.mul(y)?.neg()?.add_scalar(1.0)
        })
    }

    /// x · Φ(x), exact (Hendrycks and Gimpel, 2016).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn gelu(&self) -> Result<Variable> {
        activation("gelu", self, UnaryOp::Gelu, BinaryOp::GeluGrad, gelu_slope)
    }

    /// GELU by its tanh approximation.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn gelu_tanh(&self) -> Result<Variable> {
        activation("gelu_tanh", self, UnaryOp::GeluTanh, BinaryOp::GeluTanhGrad, gelu_tanh_slope)
    }

    /// x · sigmoid(x), also called Swish.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn silu(&self) -> Result<Variable> {
        activation("silu", self, UnaryOp::Silu, BinaryOp::SiluGrad, |x| {
            let s = x.sigmoid()?;
            s.mul(&x.mul(&s.neg()?.add_scalar(1.0)?)?.add_scalar(1.0)?)
        })
    }

    /// x · tanh(softplus(x)) (Misra, 2019).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn mish(&self) -> Result<Variable> {
        activation("mish", self, UnaryOp::Mish, BinaryOp::MishGrad, |x| {
            let t = x.softplus(1.0, 20.0)?.tanh()?;
            let rise = t.mul(&t)?.neg()?.add_scalar(1.0)?.mul(&x.sigmoid()?)?;
            t.add(&x.mul(&rise)?)
        })
    }

    /// Scaled ELU with the self-normalising constants (Klambauer et al., 2017).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn selu(&self) -> Result<Variable> {
        activation("selu", self, UnaryOp::Selu, BinaryOp::SeluGrad, |x| {
            let below = x.clamp_max(0.0)?.exp()?.mul_scalar(SELU_ALPHA * SELU_SCALE)?;
            above_zero(x, &constant_like(x, SELU_SCALE)?, &below)
        })
    }

    /// x for x > 0, else α · (exp(x) - 1).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn elu(&self, alpha: f64) -> Result<Variable> {
        activation("elu", self, UnaryOp::Elu { alpha }, BinaryOp::EluGrad { alpha }, move |x| {
            let below = x.clamp_max(0.0)?.exp()?.mul_scalar(alpha)?;
            above_zero(x, &constant_like(x, 1.0)?, &below)
        })
    }

    /// x for x > 0, else α · (exp(x / α) - 1).
    ///
    /// # Errors
    /// When α is 0, or for integer and boolean tensors.
    pub fn celu(&self, alpha: f64) -> Result<Variable> {
        if alpha == 0.0 {
            return Err(Error::invalid("celu", "alpha must not be 0"));
        }
        activation("celu", self, UnaryOp::Celu { alpha }, BinaryOp::CeluGrad { alpha }, move |x| {
            let below = x.clamp_max(0.0)?.div_scalar(alpha)?.exp()?;
            above_zero(x, &constant_like(x, 1.0)?, &below)
        })
    }

    /// x for x > 0, else slope · x.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn leaky_relu(&self, negative_slope: f64) -> Result<Variable> {
        let slope = negative_slope;
        let (op, kernel) = (UnaryOp::LeakyRelu { slope }, BinaryOp::LeakyReluGrad { slope });
        activation("leaky_relu", self, op, kernel, move |x| {
            above_zero(x, &constant_like(x, 1.0)?, &constant_like(x, slope)?)
        })
    }

    /// log(1 + exp(β x)) / β, and x itself where β x is above the threshold.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Variable> {
        let op = UnaryOp::Softplus { beta, threshold };
        let kernel = BinaryOp::SoftplusGrad { beta, threshold };
        activation("softplus", self, op, kernel, move |x| {
            let scaled = x.mul_scalar(beta)?;
            let linear = scaled.with_data(|t| t.gt_scalar(threshold))?;
            scaled.sigmoid()?.masked_fill(&linear, 1.0)
        })
    }

    /// x · relu6(x + 3) / 6.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn hardswish(&self) -> Result<Variable> {
        activation("hardswish", self, UnaryOp::Hardswish, BinaryOp::HardswishGrad, |x| {
            let middle = indicator(x, |t| t.gt_scalar(-3.0)?.logical_and(&t.lt_scalar(3.0)?))?;
            let above = indicator(x, |t| t.ge_scalar(3.0))?;
            x.div_scalar(3.0)?.add_scalar(0.5)?.mul(&middle)?.add(&above)
        })
    }

    /// relu6(x + 3) / 6.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn hardsigmoid(&self) -> Result<Variable> {
        activation("hardsigmoid", self, UnaryOp::Hardsigmoid, BinaryOp::HardsigmoidGrad, |x| {
            indicator(x, |t| t.gt_scalar(-3.0)?.logical_and(&t.lt_scalar(3.0)?))?.div_scalar(6.0)
        })
    }

    /// log(sigmoid(x)), stable.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn log_sigmoid(&self) -> Result<Variable> {
        activation("log_sigmoid", self, UnaryOp::LogSigmoid, BinaryOp::LogSigmoidGrad, |x| {
            x.neg()?.sigmoid()
        })
    }

    /// x / (1 + |x|).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn softsign(&self) -> Result<Variable> {
        activation("softsign", self, UnaryOp::Softsign, BinaryOp::SoftsignGrad, |x| {
            x.abs()?.add_scalar(1.0)?.pow_scalar(-2.0)
        })
    }

    /// x - tanh(x).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn tanhshrink(&self) -> Result<Variable> {
        activation("tanhshrink", self, UnaryOp::Tanhshrink, BinaryOp::TanhshrinkGrad, |x| {
            let t = x.tanh()?;
            t.mul(&t)
        })
    }

    /// min(max(0, x), 6).
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn relu6(&self) -> Result<Variable> {
        activation("relu6", self, UnaryOp::Relu6, BinaryOp::Relu6Grad, |x| {
            indicator(x, |t| t.gt_scalar(0.0)?.logical_and(&t.lt_scalar(6.0)?))
        })
    }

    /// Each element moved into `min..=max`; at and beyond the ends the gradient is 0.
    ///
    /// # Errors
    /// When `min` is above `max`, or for integer and boolean tensors.
    pub fn hardtanh(&self, min: f64, max: f64) -> Result<Variable> {
        if min > max {
            let what = format!("min {min} must not be above max {max}");
            return Err(Error::invalid("hardtanh", what));
        }
        let (op, kernel) = (UnaryOp::Hardtanh { min, max }, BinaryOp::HardtanhGrad { min, max });
        activation("hardtanh", self, op, kernel, move |x| {
            indicator(x, |t| t.gt_scalar(min)?.logical_and(&t.lt_scalar(max)?))
        })
    }

    /// x moved towards 0 by λ, and 0 within λ of it.
    ///
    /// # Errors
    /// When λ is negative or NaN, or for integer and boolean tensors.
    pub fn softshrink(&self, lambda: f64) -> Result<Variable> {
        if lambda.is_nan() || lambda < 0.0 {
            let what = format!("lambda {lambda} must not be negative");
            return Err(Error::invalid("softshrink", what));
        }
        let (op, kernel) = (UnaryOp::Softshrink { lambda }, BinaryOp::ShrinkGrad { lambda });
        activation("softshrink", self, op, kernel, move |x| outside(x, lambda))
    }

    /// x, and 0 within λ of 0.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn hardshrink(&self, lambda: f64) -> Result<Variable> {
        let (op, kernel) = (UnaryOp::Hardshrink { lambda }, BinaryOp::ShrinkGrad { lambda });
        activation("hardshrink", self, op, kernel, move |x| outside(x, lambda))
    }

    /// x above the threshold, else `value`.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn threshold(&self, threshold: f64, value: f64) -> Result<Variable> {
        let op = UnaryOp::Threshold { threshold, value };
        activation("threshold", self, op, BinaryOp::ThresholdGrad { threshold }, move |x| {
            indicator(x, |t| t.gt_scalar(threshold))
        })
    }

    /// exp(-x) / Σ exp(-x) along a dim.
    ///
    /// # Errors
    /// When the dim does not exist, and for integer and boolean tensors.
    pub fn softmin(&self, dim: i32) -> Result<Variable> {
        self.neg()?.softmax(dim)
    }

    /// x for x > 0, else weight · x, with one weight or one per entry of dim 1 (He et al., 2015).
    ///
    /// # Errors
    /// When the weight has another number of elements, or dtypes differ.
    pub fn prelu(&self, weight: &Variable) -> Result<Variable> {
        let home = self.dtype();
        if home.is_half() && weight.dtype() == home {
            let wide = |v: &Variable| v.to_dtype(DType::Float32);
            return wide(self)?.prelu(&wide(weight)?)?.to_dtype(home);
        }
        let y = self.with_data(|x| weight.with_data(|w| x.prelu(w)))?;
        let dims = self.with_data(|x| weight.with_data(|w| x.prelu_dims(w)))?;
        let (x_, w_) = (Saved::new(self), Saved::new(weight));
        Ok(record("prelu", y, &[self, weight], move |ctx| {
            if is_grad_enabled() {
                let inputs = [&x_.get()?, &w_.get()?];
                return grad_by_composition(&inputs, |v| plain_prelu(&v[0], &v[1]), ctx.grad());
            }
            let dy = ctx.grad().with_data(Tensor::contiguous)?;
            let (x, w) = (x_.data().contiguous()?, w_.data().contiguous()?);
            let fresh = |t: &Tensor, wanted: bool| {
                wanted.then(|| Tensor::fresh(t.dims(), t.dtype(), t.device())).transpose()
            };
            let (mut dx, mut dw) = (fresh(&x, ctx.needs(0))?, fresh(&w, ctx.needs(1))?);
            x.backend()?.prelu_backward(
                dims,
                x.operand(),
                w.operand(),
                dy.operand(),
                [&mut dx, &mut dw].map(|t| t.as_mut().map(Tensor::fresh_storage)),
            )?;
            Ok(grads![dx.map(Variable::constant), dw.map(Variable::constant)])
        }))
    }
}

/// PReLU of plain operations, for passes that record.
fn plain_prelu(x: &Variable, weight: &Variable) -> Result<Variable> {
    let shape = x.with_data(|x| weight.with_data(|w| x.channel_view("prelu", w)))?.shape();
    let below = x.masked_fill(&x.with_data(|t| t.gt_scalar(0.0))?, 0.0)?;
    x.relu()?.add(&below.mul(&weight.reshape(&shape)?)?)
}

/// x for x ≥ 0, else slope · x: in training a slope for each element, uniform between `lower` and
/// `upper`; else their mean (Xu et al., 2015).
///
/// # Errors
/// When a bound is not finite or `lower` exceeds `upper`, and for integer and boolean tensors.
pub fn rrelu(input: &Variable, lower: f64, upper: f64, training: bool) -> Result<Variable> {
    if !(lower.is_finite() && upper.is_finite() && lower <= upper) {
        return Err(Error::invalid(
            "rrelu",
            format!("bounds must be finite and in order, not {lower} and {upper}"),
        ));
    }
    if !training {
        return input.leaky_relu((lower + upper) / 2.0);
    }
    let factors = input.with_data(|x| {
        x.check_float("rrelu")?;
        let slopes = Tensor::rand_like(x)?.mul_scalar(upper - lower)?.add_scalar(lower)?;
        Tensor::where_cond(&x.lt_scalar(0.0)?, &slopes, &Tensor::ones_like(x)?)
    })?;
    input.mul(&Variable::constant(factors))
}

fn outside(x: &Variable, lambda: f64) -> Result<Variable> {
    indicator(x, |t| t.gt_scalar(lambda)?.logical_or(&t.lt_scalar(-lambda)?))
}
