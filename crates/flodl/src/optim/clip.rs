//! Gradient clipping.

use crate::{Error, Parameter, Result, Tensor};

/// Scales all gradients together so that their joint Euclidean norm is at most `max_norm`, and
/// returns the norm before, as PyTorch does: an infinite norm makes them 0 or NaN, a NaN norm NaN.
/// [`clip_grad_norm_with`] can refuse such norms, and knows other norms.
///
/// # Errors
/// When `max_norm` is negative or NaN.
///
/// ```
/// use flodl::*;
/// let p = Parameter::new(Tensor::zeros(&[2], TensorOptions::default())?, "p");
/// p.variable.set_grad(Tensor::from_f32(&[3.0, 4.0], &[2], Device::CPU)?);
/// assert_eq!(clip_grad_norm(&[p.clone()], 1.0)?, 5.0);
/// assert!((p.variable.grad().unwrap().norm()?.item()? - 1.0).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
pub fn clip_grad_norm(params: &[Parameter], max_norm: f64) -> Result<f64> {
    clip_grad_norm_with(params, max_norm, 2.0, false)
}

/// [`clip_grad_norm`] with the norm of order `norm_type` (infinity: the largest magnitude), and
/// optionally an error instead of a norm that is not finite; gradients are then untouched.
///
/// # Errors
/// When `max_norm` is negative or NaN, `norm_type` is not positive, or the norm is not finite and
/// `error_if_nonfinite` is set.
pub fn clip_grad_norm_with(
    params: &[Parameter],
    max_norm: f64,
    norm_type: f64,
    error_if_nonfinite: bool,
) -> Result<f64> {
    let op = "clip_grad_norm";
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(Error::invalid(op, format!("max_norm {max_norm} must not be negative")));
    }
    if norm_type.is_nan() || norm_type <= 0.0 {
        return Err(Error::invalid(op, format!("norm_type {norm_type} must be positive")));
    }
    let params = crate::nn::unique(params.iter(), |p| p.variable.id());
    let mut total = 0f64;
    for g in params.iter().filter_map(|p| p.variable.grad()).filter(|g| g.numel() > 0) {
        if norm_type == f64::INFINITY {
            let largest = g.abs()?.max()?.item()?;
            total = if largest.is_nan() || total.is_nan() { f64::NAN } else { total.max(largest) };
        } else {
            let flat = g.to_dtype(super::core::wide(g.dtype()))?.reshape(&[-1])?;
            total += flat.norm_p(norm_type, 0, false)?.item()?.powf(norm_type);
        }
    }
    let norm = if norm_type == f64::INFINITY { total } else { total.powf(1.0 / norm_type) };
    if error_if_nonfinite && !norm.is_finite() {
        let what = format!("the norm of the gradients is {norm}, so they cannot be clipped");
        return Err(Error::invalid(op, what));
    }
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 || scale.is_nan() {
        scale_grads(&params, scale)?;
    }
    Ok(norm)
}

/// Multiplies gradients, in place where no one else holds them.
pub(crate) fn scale_grads(params: &[&Parameter], factor: f64) -> Result<()> {
    for p in params {
        if let Some(mut g) = p.variable.grad() {
            // The parameter lets go of its gradient, so that it is scaled in place.
            p.variable.zero_grad();
            let scaled = g.mul_scalar_(factor);
            p.variable.set_grad(g);
            scaled?;
        }
    }
    Ok(())
}

/// Moves every gradient element into ±`max_val`, and returns the largest magnitude before.
///
/// # Errors
/// When `max_val` is negative or NaN.
pub fn clip_grad_value(params: &[Parameter], max_val: f64) -> Result<f64> {
    if max_val.is_nan() || max_val < 0.0 {
        let what = format!("max_val {max_val} must not be negative");
        return Err(Error::invalid("clip_grad_value", what));
    }
    let mut largest = 0f64;
    for p in crate::nn::unique(params.iter(), |p| p.variable.id()) {
        if let Some(g) = p.variable.grad()
            && g.numel() > 0
        {
            let here: f64 = Tensor::abs(&g)?.max()?.item()?;
            largest = if here.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(here) };
            p.variable.set_grad(g.clamp(-max_val, max_val)?);
        }
    }
    Ok(largest)
}
