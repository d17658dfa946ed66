//! Dropout. The mask is never stored: the gradient draws it again from the same key.

use super::from_nothing;
use crate::backend::{DropSpec, Key};
use crate::tensor::{Drop, alpha_drop, drop_all, feature_drop};
use crate::{Result, Variable};

/// Zeroes each element with probability `p` and scales the others by 1 / (1 - p); the identity
/// unless `training` (Srivastava et al., 2014).
///
/// # Errors
/// When `p` is not in `[0, 1]`, or for integers.
pub fn dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    apply(input, input.with_data(|t| drop_all(t, p, training))?)
}

/// Zeroes whole channels with probability `p` and scales the others by 1 / (1 - p), for input
/// `[N, C, …]`; the identity unless `training`.
///
/// # Errors
/// When `p` is not in `[0, 1]`, the input has fewer than two dims, or for integers.
pub fn feature_dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    apply(input, input.with_data(|t| feature_drop(t, p, training))?)
}

/// Dropout that keeps mean 0 and variance 1: dropped elements take SELU's negative limit, and all
/// are scaled and shifted (Klambauer et al., 2017). The identity unless `training`.
///
/// # Errors
/// When `p` is not in `[0, 1]`, or for integers.
pub fn alpha_dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    apply(input, input.with_data(|t| alpha_drop("alpha_dropout", t, p, training, false))?)
}

/// [`alpha_dropout`] of whole channels, for input `[N, C, …]`.
///
/// # Errors
/// When `p` is not in `[0, 1]`, the input has fewer than two dims, or for integers.
pub fn feature_alpha_dropout(input: &Variable, p: f64, training: bool) -> Result<Variable> {
    apply(input, input.with_data(|t| alpha_drop("feature_alpha_dropout", t, p, training, true))?)
}

/// The elements of an input that one draw drops, with probability `p`.
pub(super) fn dropped_by(input: &Variable, p: f64, key: Key) -> Result<Variable> {
    apply(input, Some(Drop::plain(p, key)))
}

fn apply(input: &Variable, drop: Option<Drop>) -> Result<Variable> {
    let Some(drop) = drop else { return Ok(input.clone()) };
    let data = input.with_data(|t| t.dropped(&drop))?;
    let back = Drop { spec: DropSpec { shift: 0.0, dead: 0.0, ..drop.spec }, ..drop };
    Ok(from_nothing("dropout", input, data, move |g| apply(&g, Some(back))))
}
