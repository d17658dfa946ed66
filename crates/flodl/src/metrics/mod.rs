//! How good a model is: classification, ranking and regression scores, equal to scikit-learn's.
//!
//! Each is a function of all predictions at once; where it streams there is a struct as well, that
//! is fed batch by batch.

mod classification;
mod confusion;
mod ranking;
mod regression;

pub use classification::{
    Accuracy, Perplexity, TopKAccuracy, accuracy, perplexity, top_k_accuracy,
};
pub use confusion::{Average, ConfusionMatrix, f1_score, precision, recall};
pub use ranking::{AveragePrecision, RocAuc, average_precision, roc_auc};
pub use regression::{RegressionErrors, mae, mse, r2_score, rmse};

use crate::{AsTensor, Error, Result, Tensor};

/// A score that is fed batch by batch.
///
/// ```
/// use flodl::*;
/// let mut accuracy = Accuracy::new();
/// for (said, right) in [([0i64, 1], [0i64, 1]), ([1, 1], [1, 0])] {
///     let said = Tensor::from_i64(&said, &[2], Device::CPU)?;
///     accuracy.update(&said, &Tensor::from_i64(&right, &[2], Device::CPU)?)?;
/// }
/// assert_eq!(accuracy.compute()?, 0.75);
/// # Ok::<(), Error>(())
/// ```
pub trait Metric {
    /// Counts a batch in. On an error nothing was counted.
    ///
    /// # Errors
    /// When shapes or dtypes do not fit, or a value is none that the score is defined for.
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()>;
    /// The score of all that was counted.
    ///
    /// # Errors
    /// When too little was counted for the score to have a value.
    fn compute(&self) -> Result<f64>;
    /// Forgets everything.
    fn reset(&mut self);
}

/// Class ids out of ids of any shape, or out of scores `[N, C, …]`.
fn class_ids(op: &'static str, prediction: &Tensor) -> Result<Tensor> {
    if !prediction.dtype().is_float() {
        return Ok(prediction.clone());
    }
    if prediction.ndim() < 2 {
        return Err(Error::Shape {
            op,
            expected: "class ids (of an integer dtype) or scores [N, C, …]".into(),
            got: prediction.shape(),
        });
    }
    if prediction.shape()[1] == 0 {
        return Err(Error::Shape {
            op,
            expected: "scores of at least one class in dim 1".into(),
            got: prediction.shape(),
        });
    }
    prediction.argmax(1, false)
}

/// Class ids of predictions and targets, of one shape.
fn id_pairs(
    op: &'static str,
    prediction: &impl AsTensor,
    target: &impl AsTensor,
) -> Result<(Vec<i64>, Vec<i64>)> {
    let said = class_ids(op, &prediction.as_tensor())?;
    let right = target.as_tensor();
    if right.dtype().is_float() {
        let expected = "targets that are class ids, of an integer dtype".into();
        return Err(Error::DType { op, expected, got: right.dtype() });
    }
    same_shape(op, &said, &right)?;
    Ok((said.to_i64_vec()?, right.to_i64_vec()?))
}

fn same_shape(op: &'static str, prediction: &Tensor, target: &Tensor) -> Result<()> {
    if prediction.shape() == target.shape() {
        return Ok(());
    }
    Err(Error::ShapeMismatch {
        op,
        lhs: prediction.shape(),
        rhs: target.shape(),
        why: "each prediction needs one target".into(),
    })
}

fn nothing(op: &'static str) -> Error {
    Error::invalid(op, "has no value before anything was counted")
}
