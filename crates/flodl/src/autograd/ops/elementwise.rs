//! Arithmetic and mathematics, element by element with broadcasting.

use super::{from_input, from_nothing, from_output};
use crate::autograd::amp;
use crate::autograd::tape::{Saved, grads, record};
use crate::backend::BinaryOp;
use crate::shape::{Dims, same_dims};
use crate::{Result, Tensor, Variable};

/// Sizes of a variable, to sum a broadcast gradient back to.
fn dims(v: &Variable) -> Dims {
    v.with_data(|t| Dims::from_slice(t.dims()))
}

impl Variable {
    /// Runs a tensor operation on both values.
    fn with_both<R>(&self, other: &Variable, f: impl FnOnce(&Tensor, &Tensor) -> R) -> R {
        self.with_data(|a| other.with_data(|b| f(a, b)))
    }

    /// Whether neither is broadcast: then a gradient function needs to remember no sizes.
    #[inline]
    pub(crate) fn has_dims_of(&self, other: &Variable) -> bool {
        self.with_both(other, |a, b| same_dims(a.dims(), b.dims()))
    }

    /// Another variable with the same values that passes its gradient on.
    pub(crate) fn alias(&self) -> Variable {
        from_nothing("alias", self, self.data(), Ok)
    }

    /// Sums a broadcast gradient back to the shape it was broadcast from.
    pub(crate) fn sum_to(&self, to: &[usize]) -> Result<Variable> {
        if self.with_data(|t| t.dims() == to) {
            return Ok(self.clone());
        }
        let from = dims(self);
        let data = self.with_data(|t| t.sum_to(to))?;
        Ok(from_nothing("sum_to", self, data, move |g| g.expand_to(&from)))
    }

    /// The view broadcast to sizes that are known to fit.
    pub(crate) fn expand_to(&self, to: &[usize]) -> Result<Variable> {
        self.expand(&crate::shape::to_i64(to))
    }

    /// self + other, broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    pub fn add(&self, other: &Variable) -> Result<Variable> {
        if let Some([a, b]) = amp::same([self, other])? {
            return a.add(&b);
        }
        let data = self.with_both(other, Tensor::add)?;
        if self.has_dims_of(other) {
            return Ok(record("add", data, &[self, other], |ctx| {
                let g = ctx.grad();
                Ok(grads![ctx.needs(0).then(|| g.clone()), ctx.needs(1).then_some(g)])
            }));
        }
        let (a, b) = (dims(self), dims(other));
        Ok(record("add", data, &[self, other], move |ctx| {
            let g = ctx.grad();
            let first = if ctx.needs(0) { Some(g.sum_to(&a)?) } else { None };
            let second = if ctx.needs(1) { Some(g.sum_to(&b)?) } else { None };
            Ok(grads![first, second])
        }))
    }

    /// self - other, broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    pub fn sub(&self, other: &Variable) -> Result<Variable> {
        if let Some([a, b]) = amp::same([self, other])? {
            return a.sub(&b);
        }
        let data = self.with_both(other, Tensor::sub)?;
        if self.has_dims_of(other) {
            return Ok(record("sub", data, &[self, other], |ctx| {
                let g = ctx.grad();
                let second = if ctx.needs(1) { Some(g.neg()?) } else { None };
                Ok(grads![ctx.needs(0).then_some(g), second])
            }));
        }
        let (a, b) = (dims(self), dims(other));
        Ok(record("sub", data, &[self, other], move |ctx| {
            let g = ctx.grad();
            let first = if ctx.needs(0) { Some(g.sum_to(&a)?) } else { None };
            let second = if ctx.needs(1) { Some(g.sum_to(&b)?.neg()?) } else { None };
            Ok(grads![first, second])
        }))
    }

    /// self · other, broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    pub fn mul(&self, other: &Variable) -> Result<Variable> {
        if let Some([a, b]) = amp::same([self, other])? {
            return a.mul(&b);
        }
        let data = self.with_both(other, Tensor::mul)?;
        let (x, y) = (Saved::new(self), Saved::new(other));
        Ok(record("mul", data, &[self, other], move |ctx| {
            let g = ctx.grad();
            let dx =
                if ctx.needs(0) { Some(g.mul(&y.get()?)?.sum_to(x.data().dims())?) } else { None };
            let dy =
                if ctx.needs(1) { Some(g.mul(&x.get()?)?.sum_to(y.data().dims())?) } else { None };
            Ok(grads![dx, dy])
        }))
    }

    /// self / other, broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    pub fn div(&self, other: &Variable) -> Result<Variable> {
        if let Some([a, b]) = amp::same([self, other])? {
            return a.div(&b);
        }
        let data = self.with_both(other, Tensor::div)?;
        let (a, y, q) = (dims(self), Saved::new(other), data.clone());
        Ok(record("div", data, &[self, other], move |ctx| {
            let q = ctx.output(&q);
            let scaled = ctx.grad().div(&y.get()?)?;
            let dx = if ctx.needs(0) { Some(scaled.sum_to(&a)?) } else { None };
            let dy = if ctx.needs(1) {
                Some(scaled.mul(&q)?.neg()?.sum_to(y.data().dims())?)
            } else {
                None
            };
            Ok(grads![dx, dy])
        }))
    }

    /// self to the power of other, broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    pub fn pow(&self, other: &Variable) -> Result<Variable> {
        let data = self.with_both(other, Tensor::pow)?;
        let (x, e, y) = (Saved::new(self), Saved::new(other), data.clone());
        Ok(record("pow", data, &[self, other], move |ctx| {
            let (g, base, exponent) = (ctx.grad(), x.get()?, e.get()?);
            let dx = if ctx.needs(0) {
                // e · x^(e-1), and 0 where e is 0 even if the power is infinite there.
                let slope = exponent.mul(&base.pow(&exponent.add_scalar(-1.0)?)?)?;
                let zero = exponent.with_data(|t| t.eq_scalar(0.0))?;
                let slope = slope.masked_fill(&zero.broadcast_like(&slope)?, 0.0)?;
                Some(g.mul(&slope)?.sum_to(x.data().dims())?)
            } else {
                None
            };
            let de = if ctx.needs(1) {
                // 0^e has slope 0 in e for e >= 0, where log 0 would say NaN.
                let flat = base.with_both(&exponent, |b, e| {
                    b.eq_scalar(0.0)?.logical_and(&e.ge_scalar(0.0)?)
                })?;
                let slope = ctx.output(&y).mul(&base.log()?)?.masked_fill(&flat, 0.0)?;
                Some(g.mul(&slope)?.sum_to(e.data().dims())?)
            } else {
                None
            };
            Ok(grads![dx, de])
        }))
    }

    /// The angle of the point (other, self), in radians.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    pub fn atan2(&self, other: &Variable) -> Result<Variable> {
        let data = self.with_both(other, Tensor::atan2)?;
        let (y, x) = (Saved::new(self), Saved::new(other));
        Ok(record("atan2", data, &[self, other], move |ctx| {
            let (b, a) = (y.get()?, x.get()?);
            let scaled = ctx.grad().div(&a.mul(&a)?.add(&b.mul(&b)?)?)?;
            let dy =
                if ctx.needs(0) { Some(scaled.mul(&a)?.sum_to(y.data().dims())?) } else { None };
            let dx = if ctx.needs(1) {
                Some(scaled.mul(&b)?.neg()?.sum_to(x.data().dims())?)
            } else {
                None
            };
            Ok(grads![dy, dx])
        }))
    }

    /// The larger of each pair; where both are equal each gets half the gradient.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    pub fn maximum(&self, other: &Variable) -> Result<Variable> {
        let data = self.with_both(other, Tensor::maximum)?;
        self.extreme("maximum", other, data, Tensor::gt)
    }

    /// The smaller of each pair; where both are equal each gets half the gradient.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    pub fn minimum(&self, other: &Variable) -> Result<Variable> {
        let data = self.with_both(other, Tensor::minimum)?;
        self.extreme("minimum", other, data, Tensor::lt)
    }

    fn extreme(
        &self,
        name: &'static str,
        other: &Variable,
        data: Tensor,
        wins: fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Variable> {
        let (x, y) = (self.data(), other.data());
        Ok(record(name, data, &[self, other], move |ctx| {
            let g = ctx.grad();
            let half = x.eq_tensor(&y)?.to_dtype(x.dtype())?.mul_scalar(0.5)?;
            let share = |a: &Tensor, b: &Tensor| -> Result<Variable> {
                let share = Variable::constant(wins(a, b)?.to_dtype(a.dtype())?.add(&half)?);
                g.mul(&share)?.sum_to(a.dims())
            };
            let dx = if ctx.needs(0) { Some(share(&x, &y)?) } else { None };
            let dy = if ctx.needs(1) { Some(share(&y, &x)?) } else { None };
            Ok(grads![dx, dy])
        }))
    }

    /// self · scalar.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn mul_scalar(&self, scalar: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.mul_scalar(scalar))?;
        Ok(from_nothing("mul_scalar", self, data, move |g| g.mul_scalar(scalar)))
    }

    /// self / scalar.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn div_scalar(&self, scalar: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.div_scalar(scalar))?;
        Ok(from_nothing("div_scalar", self, data, move |g| g.div_scalar(scalar)))
    }

    /// self + scalar.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn add_scalar(&self, scalar: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.add_scalar(scalar))?;
        Ok(from_nothing("add_scalar", self, data, Ok))
    }

    /// self - scalar.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn sub_scalar(&self, scalar: f64) -> Result<Variable> {
        self.add_scalar(-scalar)
    }

    /// The negative.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn neg(&self) -> Result<Variable> {
        let data = self.with_data(Tensor::neg)?;
        Ok(from_nothing("neg", self, data, |g| g.neg()))
    }

    /// Each element to a power.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    pub fn pow_scalar(&self, exponent: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.pow_scalar(exponent))?;
        Ok(from_input("pow_scalar", self, data, move |g, x| {
            if exponent == 0.0 {
                return Variable::zeros_like(&g);
            }
            if exponent == 1.0 {
                return Ok(g);
            }
            g.mul(&x.pow_scalar(exponent - 1.0)?.mul_scalar(exponent)?)
        }))
    }

    /// Zeros in the shape, dtype and device of another variable; a constant.
    ///
    /// # Errors
    /// When memory is short.
    pub fn zeros_like(v: &Variable) -> Result<Variable> {
        Ok(Variable::constant(v.with_data(Tensor::zeros_like)?))
    }

    /// Each element moved into `min..=max`; outside, the gradient is 0.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn clamp(&self, min: f64, max: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.clamp(min, max))?;
        let x = self.data();
        Ok(from_nothing("clamp", self, data, move |g| {
            let outside = x.lt_scalar(min)?.logical_or(&x.gt_scalar(max)?)?;
            g.masked_fill(&outside, 0.0)
        }))
    }

    /// Each element, but at least `min`.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn clamp_min(&self, min: f64) -> Result<Variable> {
        self.clamp(min, f64::INFINITY)
    }

    /// Each element, but at most `max`.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn clamp_max(&self, max: f64) -> Result<Variable> {
        self.clamp(f64::NEG_INFINITY, max)
    }

    /// `value` where the mask is true, else the element; no gradient where it is true.
    ///
    /// # Errors
    /// When the mask is not bool or does not broadcast.
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.masked_fill(mask, value))?;
        let (mask, to) = (mask.clone(), dims(self));
        Ok(from_nothing("masked_fill", self, data, move |g| g.masked_fill(&mask, 0.0)?.sum_to(&to)))
    }

    /// `x` where the condition is true, else `y`; all three are broadcast.
    ///
    /// # Errors
    /// When the condition is not bool, shapes cannot be broadcast, or dtypes differ.
    pub fn where_cond(condition: &Tensor, x: &Variable, y: &Variable) -> Result<Variable> {
        let data = x.with_both(y, |a, b| Tensor::where_cond(condition, a, b))?;
        let (yes, no) = (condition.clone(), condition.logical_not()?);
        let (a, b) = (dims(x), dims(y));
        Ok(record("where_cond", data, &[x, y], move |ctx| {
            let g = ctx.grad();
            let dx = if ctx.needs(0) { Some(g.masked_fill(&no, 0.0)?.sum_to(&a)?) } else { None };
            let dy = if ctx.needs(1) { Some(g.masked_fill(&yes, 0.0)?.sum_to(&b)?) } else { None };
            Ok(grads![dx, dy])
        }))
    }

    /// self + value · tensor1 · tensor2.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn addcmul(&self, tensor1: &Variable, tensor2: &Variable, value: f64) -> Result<Variable> {
        self.add(&tensor1.mul(tensor2)?.mul_scalar(value)?)
    }

    /// self + value · tensor1 / tensor2.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn addcdiv(&self, tensor1: &Variable, tensor2: &Variable, value: f64) -> Result<Variable> {
        self.add(&tensor1.div(tensor2)?.mul_scalar(value)?)
    }

    /// self + weight · (end - self) with a weight for each element.
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn lerp_tensor(&self, end: &Variable, weight: &Variable) -> Result<Variable> {
        self.add(&end.sub(self)?.mul(weight)?)
    }

    /// The remainder of a division by a number, with the sign of `self`.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn fmod(&self, divisor: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.fmod(divisor))?;
        Ok(from_nothing("fmod", self, data, Ok))
    }

    /// The remainder of a division by a number, with the sign of the divisor.
    ///
    /// # Errors
    /// For boolean tensors.
    pub fn remainder(&self, divisor: f64) -> Result<Variable> {
        let data = self.with_data(|t| t.remainder(divisor))?;
        Ok(from_nothing("remainder", self, data, Ok))
    }

    /// self + weight · (end - self).
    ///
    /// # Errors
    /// When shapes cannot be broadcast or dtypes differ.
    pub fn lerp(&self, end: &Variable, weight: f64) -> Result<Variable> {
        self.add(&end.sub(self)?.mul_scalar(weight)?)
    }

    /// The variable in another dtype; the gradient is cast back.
    ///
    /// # Errors
    /// When memory is short.
    pub fn to_dtype(&self, dtype: crate::DType) -> Result<Variable> {
        let home = self.dtype();
        if home == dtype {
            return Ok(self.clone());
        }
        let data = self.with_data(|t| t.to_dtype(dtype))?;
        if !dtype.is_float() {
            return Ok(Variable::constant(data));
        }
        Ok(from_nothing("to_dtype", self, data, move |g| g.to_dtype(home)))
    }
}

/// Methods whose gradient is a function of the input (`x`), the output (`y`), or nothing.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident, $from:ident, |$g:ident $(, $v:ident)?| $gradient:expr;)*) => {
        impl Variable {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// For integer and boolean tensors.
            pub fn $name(&self) -> Result<Variable> {
                let data = self.with_data(Tensor::$name)?;
                Ok($from(stringify!($name), self, data, |$g $(, $v)?| $gradient))
            }
        )*}
    };
}

unary! {
    /// e to the power of each element.
    exp, from_output, |g, y| g.mul(y);
    /// Natural logarithm.
    log, from_input, |g, x| g.div(x);
    /// Square root.
    sqrt, from_output, |g, y| g.div(&y.mul_scalar(2.0)?);
    /// 1 over the square root.
    rsqrt, from_output, |g, y| g.mul(&y.pow_scalar(3.0)?.mul_scalar(-0.5)?);
    /// The absolute value; the gradient at 0 is 0.
    abs, from_input, |g, x| g.mul(&Variable::constant(x.with_data(Tensor::sign)?));
    /// x².
    square, from_input, |g, x| g.mul(&x.mul_scalar(2.0)?);
    /// log(1 + x), exact near 0.
    log1p, from_input, |g, x| g.div(&x.add_scalar(1.0)?);
    /// exp(x) - 1, exact near 0.
    expm1, from_output, |g, y| g.mul(&y.add_scalar(1.0)?);
    /// Logarithm to base 2.
    log2, from_input, |g, x| g.div(&x.mul_scalar(std::f64::consts::LN_2)?);
    /// Logarithm to base 10.
    log10, from_input, |g, x| g.div(&x.mul_scalar(std::f64::consts::LN_10)?);
    /// Sine of radians.
    sin, from_input, |g, x| g.mul(&x.cos()?);
    /// Cosine of radians.
    cos, from_input, |g, x| g.mul(&x.sin()?)?.neg();
    /// Tangent of radians.
    tan, from_output, |g, y| g.mul(&y.mul(y)?.add_scalar(1.0)?);
    /// Arc sine in radians.
    asin, from_input, |g, x| g.mul(&x.mul(x)?.neg()?.add_scalar(1.0)?.rsqrt()?);
    /// Arc cosine in radians.
    acos, from_input, |g, x| g.mul(&x.mul(x)?.neg()?.add_scalar(1.0)?.rsqrt()?)?.neg();
    /// Arc tangent in radians.
    atan, from_input, |g, x| g.div(&x.mul(x)?.add_scalar(1.0)?);
    /// Hyperbolic sine.
    sinh, from_input, |g, x| g.mul(&x.cosh()?);
    /// Hyperbolic cosine.
    cosh, from_input, |g, x| g.mul(&x.sinh()?);
    /// 1 / x.
    reciprocal, from_output, |g, y| g.mul(&y.mul(y)?)?.neg();
    /// The error function.
    erf, from_input, |g, x| g.mul(&bell(x)?);
    /// 1 - erf(x).
    erfc, from_input, |g, x| g.mul(&bell(x)?)?.neg();
    /// -1, 0 or 1; the gradient is 0.
    sign, from_nothing, |g| Variable::zeros_like(&g);
    /// The largest integer that is not larger; the gradient is 0.
    floor, from_nothing, |g| Variable::zeros_like(&g);
    /// The smallest integer that is not smaller; the gradient is 0.
    ceil, from_nothing, |g| Variable::zeros_like(&g);
    /// The nearest integer, halves to the even one; the gradient is 0.
    round, from_nothing, |g| Variable::zeros_like(&g);
    /// The integer part; the gradient is 0.
    trunc, from_nothing, |g| Variable::zeros_like(&g);
    /// x minus its integer part; the gradient is 1.
    frac, from_nothing, |g| Ok(g);
}

/// 2 / √π · exp(-x²), the slope of erf.
fn bell(x: &Variable) -> Result<Variable> {
    x.mul(x)?.neg()?.exp()?.mul_scalar(std::f64::consts::FRAC_2_SQRT_PI)
}

impl Tensor {
    /// The tensor as a view of the shape of a variable it broadcasts to.
    fn broadcast_like(&self, v: &Variable) -> Result<Tensor> {
        self.expand(&v.shape())
    }
}

/// A fused gradient: one kernel on the incoming gradient and a saved tensor.
pub(super) fn fused(
    op: BinaryOp,
    name: &'static str,
    g: &Variable,
    saved: &Tensor,
) -> Result<Variable> {
    Ok(Variable::constant(g.with_data(|g| g.binary(name, op, saved))?))
}
