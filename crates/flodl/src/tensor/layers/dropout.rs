//! Dropout: zeros by chance, from the thread's generator.

use crate::backend::{DropSpec, Key};
use crate::{DType, Error, Result, Tensor, rng};

/// A drawn dropout: with its key the same elements are dropped again.
#[derive(Clone, Copy)]
pub(crate) struct Drop {
    pub key: Key,
    pub spec: DropSpec,
    /// Elements that are dropped together.
    pub plane: usize,
}

impl Drop {
    /// Single elements: zeros, and the others scaled by 1 / (1 - p).
    pub fn plain(p: f64, key: Key) -> Drop {
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        Drop { key, spec: DropSpec { p, scale, shift: 0.0, dead: 0.0 }, plane: 1 }
    }
}

pub(crate) fn check_probability(op: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::invalid(op, format!("probability {p} must be in [0, 1]")))
}

/// Channels `[N, C, …]` and the elements of each.
fn planes(op: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [n, c, ref rest @ ..] => Ok([n * c, rest.iter().product::<usize>().max(1)]),
        _ => Err(Error::Shape {
            op,
            expected: "an input of at least 2 dims, [N, C, ...]".into(),
            got: x.shape(),
        }),
    }
}

/// Each element for itself; nothing to do unless `training`.
pub(crate) fn drop_all(x: &Tensor, p: f64, training: bool) -> Result<Option<Drop>> {
    check_probability("dropout", p)?;
    x.check_float("dropout")?;
    Ok((training && p > 0.0).then(|| plain(x.len(), p, 1)))
}

/// Whole channels.
pub(crate) fn feature_drop(x: &Tensor, p: f64, training: bool) -> Result<Option<Drop>> {
    let op = "feature_dropout";
    check_probability(op, p)?;
    x.check_float(op)?;
    let [count, plane] = planes(op, x)?;
    Ok((training && p > 0.0).then(|| plain(count, p, plane)))
}

fn plain(count: usize, p: f64, plane: usize) -> Drop {
    Drop { plane, ..Drop::plain(p, rng::draw(count)) }
}

/// Dropped elements, or whole channels of them, take SELU's negative limit, and all are scaled and
/// shifted to keep mean and variance.
pub(crate) fn alpha_drop(
    op: &'static str,
    x: &Tensor,
    p: f64,
    training: bool,
    channels: bool,
) -> Result<Option<Drop>> {
    const LIMIT: f64 = -1.758_099_340_847_376_6; // -scale · alpha of SELU
    check_probability(op, p)?;
    x.check_float(op)?;
    let [count, plane] = if channels { planes(op, x)? } else { [x.len(), 1] };
    if !training || p == 0.0 {
        return Ok(None);
    }
    let scale = 1.0 / ((1.0 - p) * (1.0 + p * LIMIT * LIMIT)).sqrt();
    let spec = if p < 1.0 {
        let shift = -scale * LIMIT * p;
        DropSpec { p, scale, shift, dead: scale * LIMIT + shift }
    } else {
        DropSpec { p, scale: 0.0, shift: 0.0, dead: 0.0 }
    };
    Ok(Some(Drop { key: rng::draw(count), spec, plane }))
}

impl Tensor {
    pub(crate) fn dropped(&self, drop: &Drop) -> Result<Tensor> {
        let wide = if self.dtype().is_half() { DType::Float32 } else { self.dtype() };
        let x = self.to_dtype(wide)?.contiguous()?;
        Tensor::build(x.dims(), wide, x.device(), |b, out| {
            b.dropout(drop.key, drop.spec, x.operand(), drop.plane, out)
        })?
        .to_dtype(self.dtype())
    }

    /// Zeroes each element with probability `p` and scales the others by 1 / (1 - p); the tensor
    /// itself unless `training` (Srivastava et al., 2014).
    ///
    /// # Errors
    /// When `p` is not in `[0, 1]`, or for integers.
    pub fn dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        match drop_all(self, p, training)? {
            Some(drop) => self.dropped(&drop),
            None => Ok(self.clone()),
        }
    }

    /// Zeroes whole channels of `[N, C, …]` with probability `p` and scales the others by
    /// 1 / (1 - p); the tensor itself unless `training`.
    ///
    /// # Errors
    /// When `p` is not in `[0, 1]`, there are fewer than two dims, or for integers.
    pub fn feature_dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        match feature_drop(self, p, training)? {
            Some(drop) => self.dropped(&drop),
            None => Ok(self.clone()),
        }
    }
}
