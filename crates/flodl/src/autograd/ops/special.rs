//! Special functions of one and two numbers, made of plain ones, for variables and tensors alike.

use super::from_input;
use crate::autograd::tape::{Saved, grads, record};
use crate::{DType, Result, Tensor, Variable};

/// Records an operation of two broadcast inputs with the gradient of each.
fn pair(
    name: &'static str,
    data: Tensor,
    [a, b]: [&Variable; 2],
    da: impl Fn(&Variable, &Variable, &Variable) -> Result<Variable> + 'static,
    db: impl Fn(&Variable, &Variable, &Variable) -> Result<Variable> + 'static,
) -> Variable {
    let (x, y) = (Saved::new(a), Saved::new(b));
    record(name, data, &[a, b], move |ctx| {
        let (g, a, b) = (ctx.grad(), x.get()?, y.get()?);
        let first =
            if ctx.needs(0) { Some(da(&g, &a, &b)?.sum_to(x.data().dims())?) } else { None };
        let second =
            if ctx.needs(1) { Some(db(&g, &a, &b)?.sum_to(y.data().dims())?) } else { None };
        Ok(grads![first, second])
    })
}

/// The largest finite number of a dtype.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::Float16 => half::f16::MAX.to_f64(),
        DType::BFloat16 => half::bf16::MAX.to_f64(),
        DType::Float32 => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

both! {
    /// log(exp(self) + exp(other)), which neither overflows nor vanishes. Shapes are broadcast.
    ///
    /// ```
    /// use flodl::*;
    /// let a = Tensor::from_f32(&[1000.0], &[1], Device::CPU)?;
    /// assert_eq!(a.logaddexp(&a)?.to_f32_vec()?, [1000.0 + 2f32.ln()]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    logaddexp [other] () |x| {
        let (a, b) = (x.data(), other.data());
        a.check_float("logaddexp")?;
        let sum = a.maximum(&b)?.add(&a.sub(&b)?.abs()?.neg()?.exp()?.log1p()?)?;
        // Two equal infinities have no difference, and their sum is themselves.
        let same = a.eq_tensor(&b)?.logical_and(&a.isinf()?)?;
        let data = Tensor::where_cond(&same, &a, &sum)?;
        Ok(pair("logaddexp", data, [x, other],
            |g, a, b| g.mul(&a.sub(b)?.sigmoid()?),
            |g, a, b| g.mul(&b.sub(a)?.sigmoid()?),
        ))
    }

    /// self · log(other), and 0 where self is 0 whatever the logarithm. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    xlogy [other] () |x| {
        let (a, b) = (x.data(), other.data());
        a.check_float("xlogy")?;
        let product = a.mul(&b.log()?)?;
        let none = a.eq_scalar(0.0)?.logical_and(&b.isnan()?.logical_not()?)?;
        let data = product.masked_fill(&none, 0.0)?;
        Ok(pair("xlogy", data, [x, other],
            |g, a, b| {
                // log 0 at x = 0 would be an infinite slope; PyTorch has 0 there.
                let flat = a.data().eq_scalar(0.0)?.logical_and(&b.data().le_scalar(0.0)?)?;
                g.xlogy(b)?.masked_fill(&flat, 0.0)
            },
            |g, a, b| g.mul(a)?.div(b),
        ))
    }

    /// The larger of each pair; a NaN beside a number is passed over. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    fmax [other] () |x| {
        let (a, b) = (x.data(), other.data());
        Variable::where_cond(&a.ge(&b)?.logical_or(&b.isnan()?)?, x, other)
    }

    /// The smaller of each pair; a NaN beside a number is passed over. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, or dtypes or devices differ.
    fmin [other] () |x| {
        let (a, b) = (x.data(), other.data());
        Variable::where_cond(&a.le(&b)?.logical_or(&b.isnan()?)?, x, other)
    }

    /// NaN becomes `nan`, and the infinities become `posinf` and `neginf`, or the largest and the
    /// smallest number of the dtype.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Tensor::from_f32(&[f32::NAN, f32::INFINITY, 1.0], &[3], Device::CPU)?;
    /// assert_eq!(x.nan_to_num(0.0, Some(9.0), None)?.to_f32_vec()?, [0.0, 9.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When memory is short.
    nan_to_num [] (nan: f64, posinf: Option<f64>, neginf: Option<f64>) |x| {
        let t = x.data();
        if !t.dtype().is_float() {
            return Ok(x.clone());
        }
        let top = largest(t.dtype());
        x.masked_fill(&t.isnan()?, nan)?
            .masked_fill(&t.eq_scalar(f64::INFINITY)?, posinf.unwrap_or(top))?
            .masked_fill(&t.eq_scalar(f64::NEG_INFINITY)?, neginf.unwrap_or(-top))
    }

    /// sin(πx) / (πx), and 1 at 0.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    sinc [] () |x| {
        let zero = x.data().eq_scalar(0.0)?;
        let angle = x.masked_fill(&zero, 1.0)?.mul_scalar(std::f64::consts::PI)?;
        angle.sin()?.div(&angle)?.masked_fill(&zero, 1.0)
    }

    /// log(x / (1 - x)), the inverse of the sigmoid; with `eps` x is first moved into
    /// `eps..=1 - eps`, else it is NaN outside of 0 to 1.
    ///
    /// # Errors
    /// For integer and boolean tensors.
    logit [] (eps: Option<f64>) |x| {
        let t = x.data();
        t.check_float("logit")?;
        let (low, high) = (eps.unwrap_or(0.0), 1.0 - eps.unwrap_or(0.0));
        let inside = if eps.is_some() { t.clamp(low, high)? } else { t.clone() };
        let data = inside.div(&inside.neg()?.add_scalar(1.0)?)?.log()?;
        let outside = t.lt_scalar(low)?.logical_or(&t.gt_scalar(high)?)?;
        let there = if eps.is_some() { 0.0 } else { f64::NAN };
        Ok(from_input("logit", x, data, move |g, x| {
            g.div(&x.mul(&x.neg()?.add_scalar(1.0)?)?)?.masked_fill(&outside, there)
        }))
    }

    /// Rounds to so many decimals, or, if negative, to tens, hundreds, …; halves go to the even
    /// neighbour. The gradient is 0.
    ///
    /// # Errors
    /// For boolean tensors.
    round_decimals [] (decimals: i32) |x| {
        if !x.dtype().is_float() || decimals == 0 {
            return x.round();
        }
        let factor = 10f64.powi(decimals.abs());
        if decimals > 0 {
            x.mul_scalar(factor)?.round()?.div_scalar(factor)
        } else {
            x.div_scalar(factor)?.round()?.mul_scalar(factor)
        }
    }

    /// `value`, a single number, where the mask is true, else the element; both get their gradients.
    ///
    /// # Errors
    /// When the mask is not bool or does not broadcast, or `value` has more than one element.
    masked_fill_tensor [value] (mask: &Tensor) |x| {
        if value.ndim() != 0 {
            return Err(crate::Error::Shape {
                op: "masked_fill_tensor",
                expected: "a value of no dims".into(),
                got: value.shape(),
            });
        }
        Variable::where_cond(mask, value, x)
    }
}

impl Variable {
    /// sqrt(self² + other²). Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or for integers.
    pub fn hypot(&self, other: &Variable) -> Result<Variable> {
        let data = self.data().hypot(&other.data())?;
        Ok(pair(
            "hypot",
            data,
            [self, other],
            |g, a, b| g.mul(&a.div(&a.hypot(b)?)?),
            |g, a, b| g.mul(&b.div(&a.hypot(b)?)?),
        ))
    }

    /// The remainder with the sign of `self`, as C's fmod. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or an integer is divided by 0.
    pub fn fmod_tensor(&self, other: &Variable) -> Result<Variable> {
        let data = self.data().fmod_tensor(&other.data())?;
        Ok(pair(
            "fmod_tensor",
            data,
            [self, other],
            |g, _, _| Ok(g.clone()),
            |g, a, b| g.mul(&a.div(b)?.trunc()?)?.neg(),
        ))
    }

    /// The remainder with the sign of `other`, as Python's %. Shapes are broadcast.
    ///
    /// # Errors
    /// When shapes cannot be broadcast, dtypes or devices differ, or an integer is divided by 0.
    pub fn remainder_tensor(&self, other: &Variable) -> Result<Variable> {
        let data = self.data().remainder_tensor(&other.data())?;
        Ok(pair(
            "remainder_tensor",
            data,
            [self, other],
            |g, _, _| Ok(g.clone()),
            |g, a, b| g.mul(&a.div(b)?.floor()?)?.neg(),
        ))
    }
}
