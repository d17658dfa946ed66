//! Measures of how good a model is, fed batch by batch: `update`, `compute`, `reset`. Values are
//! those of scikit-learn.
//!
//! ```
//! use flodl::*;
//! let mut accuracy = Accuracy::new();
//! let logits = Tensor::from_f32(&[2.0, 1.0, 0.0, 3.0], &[2, 2], Device::CPU)?;
//! accuracy.update(&logits, &Tensor::from_i64(&[0, 0], &[2], Device::CPU)?)?;
//! assert_eq!(accuracy.compute()?, 0.5);
//! # Ok::<(), Error>(())
//! ```

mod classes;
mod ranking;
mod regression;

pub use classes::*;
pub use ranking::*;
pub use regression::*;

use crate::{DType, Error, Result, Tensor};

/// A number that is fed batch by batch.
pub trait Metric {
    /// What it is called in logs.
    fn name(&self) -> &str;
    /// Takes the outputs for a batch and what they should have been.
    ///
    /// # Errors
    /// When shapes or dtypes do not fit; what was taken before stays.
    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()>;
    /// The value over all since the last reset.
    ///
    /// # Errors
    /// When there is nothing to compute it from.
    fn compute(&self) -> Result<f64>;
    /// Forgets everything.
    fn reset(&mut self);
}

impl<M: Metric + ?Sized> Metric for Box<M> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        (**self).update(predictions, targets)
    }
    fn compute(&self) -> Result<f64> {
        (**self).compute()
    }
    fn reset(&mut self) {
        (**self).reset()
    }
}

/// Nothing was fed.
fn nothing(op: &'static str) -> Error {
    Error::invalid(op, "nothing to compute: no samples since the last reset")
}

/// Class numbers of targets, which must be whole numbers.
fn class_targets(op: &'static str, targets: &Tensor) -> Result<Vec<i64>> {
    match targets.dtype() {
        DType::Int64 | DType::Int32 | DType::UInt8 | DType::Bool => targets.to_i64_vec(),
        got => {
            let expected = "targets of class numbers (int64)".into();
            Err(Error::DType { op, expected, got })
        }
    }
}

/// Scores `[…, classes]` for targets `[…]`: the number of classes.
fn class_scores(op: &'static str, scores: &Tensor, targets: &Tensor) -> Result<i64> {
    let shape = scores.shape();
    match shape.split_last() {
        Some((&classes, rest)) if rest == targets.shape() && scores.dtype().is_float() => {
            Ok(classes)
        }
        _ if !scores.dtype().is_float() => {
            Err(Error::DType { op, expected: "scores (a float)".into(), got: scores.dtype() })
        }
        _ => Err(Error::ShapeMismatch {
            op,
            lhs: shape,
            rhs: targets.shape(),
            why: "scores have the targets' shape and one dim more, of classes".into(),
        }),
    }
}

/// The first target that is no class.
fn check_classes(op: &'static str, targets: &[i64], classes: i64) -> Result<()> {
    match targets.iter().find(|&&t| t < 0 || t >= classes) {
        None => Ok(()),
        Some(&index) => Err(Error::IndexOutOfRange { op, index, size: classes }),
    }
}
