//! Gradient clipping.

use crate::{Error, Parameter, Result, Tensor};

/// Scales all gradients together so that their joint Euclidean norm is at most `max_norm`, and
/// returns the norm before. A norm that is not finite leaves the gradients as they are.
///
/// # Errors
/// When `max_norm` is negative or NaN.
pub fn clip_grad_norm(params: &[Parameter], max_norm: f64) -> Result<f64> {
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(Error::invalid("clip_grad_norm", format!("max_norm {max_norm} is negative")));
    }
    let grads: Vec<(usize, Tensor)> =
        params.iter().enumerate().filter_map(|(i, p)| Some((i, p.variable.grad()?))).collect();
    let mut squares = 0.0;
    for (_, g) in &grads {
        squares += g.norm()?.item()?.powi(2);
    }
    let norm = squares.sqrt();
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 && norm.is_finite() {
        for (i, mut g) in grads {
            // The parameter lets go of its gradient, so that it is scaled in place.
            params[i].variable.zero_grad();
            g.mul_scalar_(scale)?;
            params[i].variable.set_grad(g);
        }
    }
    Ok(norm)
}

/// Moves every gradient element into ±`max_val`, and returns the largest magnitude before.
///
/// # Errors
/// When `max_val` is negative or NaN.
pub fn clip_grad_value(params: &[Parameter], max_val: f64) -> Result<f64> {
    if max_val.is_nan() || max_val < 0.0 {
        return Err(Error::invalid("clip_grad_value", format!("max_val {max_val} is negative")));
    }
    let mut largest = 0f64;
    for p in params {
        if let Some(g) = p.variable.grad()
            && g.numel() > 0
        {
            largest = largest.max(g.abs()?.max()?.item()?);
            p.variable.set_grad(g.clamp(-max_val, max_val)?);
        }
    }
    Ok(largest)
}
