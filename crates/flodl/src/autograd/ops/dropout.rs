//! Dropout. The mask is never stored: the gradient draws it again from the same key.

use super::from_nothing;
use crate::backend::{DropSpec, Key};
use crate::{DType, Error, Result, Tensor, Variable, rng};

/// Zeroes each element with probability `p` and scales the others by 1 / (1 - p); the identity
/// unless `training` (Srivastava et al., 2014).
///
/// # Errors
/// When `p` is not in `[0, 1]`, or for integers.
pub fn dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    check("dropout", p)?;
    if !training || p == 0.0 {
        return Ok(input.clone());
    }
    let key = rng::draw(input.numel() as usize);
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    apply(input, key, DropSpec { p, scale, shift: 0.0, dead: 0.0 }, 1)
}

/// Zeroes whole channels with probability `p` and scales the others by 1 / (1 - p), for input
/// `[N, C, …]`; the identity unless `training`.
///
/// # Errors
/// When `p` is not in `[0, 1]`, the input has fewer than two dims, or for integers.
pub fn feature_dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    check("feature_dropout", p)?;
    let shape = input.shape();
    if shape.len() < 2 {
        return Err(Error::Shape {
            op: "feature_dropout",
            expected: "an input of at least 2 dims, [N, C, ...]".into(),
            got: shape,
        });
    }
    if !training || p == 0.0 {
        return Ok(input.clone());
    }
    let plane = shape[2..].iter().product::<i64>() as usize;
    let key = rng::draw((shape[0] * shape[1]) as usize);
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    apply(input, key, DropSpec { p, scale, shift: 0.0, dead: 0.0 }, plane.max(1))
}

/// Dropout that keeps mean 0 and variance 1: dropped elements take SELU's negative limit, and all
/// are scaled and shifted (Klambauer et al., 2017). The identity unless `training`.
///
/// # Errors
/// When `p` is not in `[0, 1]`, or for integers.
pub fn alpha_dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    check("alpha_dropout", p)?;
    if !training || p == 0.0 {
        return Ok(input.clone());
    }
    const LIMIT: f64 = -1.758_099_340_847_376_6; // -scale · alpha of SELU
    let key = rng::draw(input.numel() as usize);
    let scale = 1.0 / ((1.0 - p) * (1.0 + p * LIMIT * LIMIT)).sqrt();
    let spec = if p < 1.0 {
        let shift = -scale * LIMIT * p;
        DropSpec { p, scale, shift, dead: scale * LIMIT + shift }
    } else {
        DropSpec { p, scale: 0.0, shift: 0.0, dead: 0.0 }
    };
    apply(input, key, spec, 1)
}

fn check(op: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::invalid(op, format!("probability {p} must be in [0, 1]")))
}

fn apply(input: &Variable, key: Key, spec: DropSpec, plane: usize) -> Result<Variable> {
    let data = input.with_data(|t| t.drop_with(key, spec, plane))?;
    let back = DropSpec { shift: 0.0, dead: 0.0, ..spec };
    Ok(from_nothing("dropout", input, data, move |g| apply(&g, key, back, plane)))
}

impl Tensor {
    fn drop_with(&self, key: Key, spec: DropSpec, plane: usize) -> Result<Tensor> {
        self.check_float("dropout")?;
        let wide = if self.dtype().is_half() { DType::Float32 } else { self.dtype() };
        let x = self.to_dtype(wide)?.contiguous()?;
        Tensor::build(x.dims(), wide, x.device(), |b, out| {
            b.dropout(key, spec, x.operand(), plane, out)
        })?
        .to_dtype(self.dtype())
    }
}
