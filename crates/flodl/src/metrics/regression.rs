//! Errors of predicted numbers.

use super::{Metric, nothing, same_shape};
use crate::{AsTensor, DType, Error, Result};

fn errors(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<RegressionErrors> {
    let mut errors = RegressionErrors::new();
    errors.update(prediction, target)?;
    Ok(errors)
}

/// Mean of the squared errors, over all elements.
///
/// # Errors
/// When the shapes differ, or there are no elements.
pub fn mse(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    errors(prediction, target)?.mse()
}

/// Mean of the absolute errors, over all elements.
///
/// # Errors
/// When the shapes differ, or there are no elements.
pub fn mae(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    errors(prediction, target)?.mae()
}

/// Root of the mean squared error: an error in the unit of the targets.
///
/// # Errors
/// When the shapes differ, or there are no elements.
pub fn rmse(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    errors(prediction, target)?.rmse()
}

/// The share of the targets' variance that the predictions explain: 1 is perfect, 0 as good as
/// their mean, less than 0 worse. All elements count as one list.
///
/// # Errors
/// When the shapes differ, or there are fewer than two elements.
///
/// ```
/// use flodl::*;
/// let said = Tensor::from_f64(&[2.5, 0.0, 2.0, 8.0], &[4], Device::CPU)?;
/// let right = Tensor::from_f64(&[3.0, -0.5, 2.0, 7.0], &[4], Device::CPU)?;
/// assert!((r2_score(&said, &right)? - 0.9486081370449679).abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
pub fn r2_score(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    errors(prediction, target)?.r2()
}

/// [`mse`], [`mae`], [`rmse`] and [`r2_score`], batch by batch.
#[derive(Clone, Debug, Default)]
pub struct RegressionErrors {
    n: f64,
    squares: f64,
    absolutes: f64,
    mean: f64,
    /// Sum of squared distances of the targets from their mean.
    spread: f64,
}

impl RegressionErrors {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    fn per_element(&self, op: &'static str, sum: f64) -> Result<f64> {
        if self.n == 0.0 { Err(nothing(op)) } else { Ok(sum / self.n) }
    }

    /// Mean of the squared errors.
    ///
    /// # Errors
    /// When nothing was counted.
    pub fn mse(&self) -> Result<f64> {
        self.per_element("mse", self.squares)
    }

    /// Mean of the absolute errors.
    ///
    /// # Errors
    /// When nothing was counted.
    pub fn mae(&self) -> Result<f64> {
        self.per_element("mae", self.absolutes)
    }

    /// Root of the mean squared error.
    ///
    /// # Errors
    /// When nothing was counted.
    pub fn rmse(&self) -> Result<f64> {
        self.per_element("rmse", self.squares).map(f64::sqrt)
    }

    /// The explained share of the variance; 1 or 0 for targets that are all equal, by whether the
    /// predictions are exact.
    ///
    /// # Errors
    /// When fewer than two elements were counted.
    pub fn r2(&self) -> Result<f64> {
        if self.n < 2.0 {
            let what = format!("needs at least two elements, got {}", self.n);
            return Err(Error::invalid("r2_score", what));
        }
        if self.spread == 0.0 {
            return Ok(f64::from(u8::from(self.squares == 0.0)));
        }
        Ok(1.0 - self.squares / self.spread)
    }
}

/// The score is the mean squared error.
impl Metric for RegressionErrors {
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
        let (said, right) = (prediction.as_tensor(), target.as_tensor());
        same_shape("RegressionErrors", &said, &right)?;
        let said = said.to_dtype(DType::Float64)?.to_f64_vec()?;
        let right = right.to_dtype(DType::Float64)?.to_f64_vec()?;
        for (&said, &right) in said.iter().zip(&right) {
            let error = said - right;
            self.squares += error * error;
            self.absolutes += error.abs();
            // Welford's update: no cancellation where the mean is large.
            self.n += 1.0;
            let from_mean = right - self.mean;
            self.mean += from_mean / self.n;
            self.spread += from_mean * (right - self.mean);
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.mse()
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
