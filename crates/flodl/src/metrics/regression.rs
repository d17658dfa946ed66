//! Measures of numbers that should be near others.

use super::{Metric, nothing};
use crate::{Error, Result, Tensor};

/// Values of both, in f64.
fn pairs(op: &'static str, predictions: &Tensor, targets: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    if predictions.shape() != targets.shape() {
        return Err(Error::ShapeMismatch {
            op,
            lhs: predictions.shape(),
            rhs: targets.shape(),
            why: "predictions and targets have one shape; broadcasting here hides mistakes".into(),
        });
    }
    Ok((predictions.to_f64_vec()?, targets.to_f64_vec()?))
}

/// A mean over all elements.
macro_rules! mean_error {
    ($type:ident, $name:literal, $doc:literal, |$d:ident| $of:expr, |$mean:ident| $value:expr) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Default)]
        pub struct $type {
            sum: f64,
            seen: u64,
        }

        impl $type {
            /// Takes predictions and targets of one shape.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl Metric for $type {
            fn name(&self) -> &str {
                $name
            }

            fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
                let (p, t) = pairs(stringify!($type), predictions, targets)?;
                self.sum += p
                    .iter()
                    .zip(&t)
                    .map(|(p, t)| {
                        let $d = p - t;
                        $of
                    })
                    .sum::<f64>();
                self.seen += t.len() as u64;
                Ok(())
            }

            fn compute(&self) -> Result<f64> {
                if self.seen == 0 {
                    return Err(nothing(stringify!($type)));
                }
                let $mean = self.sum / self.seen as f64;
                Ok($value)
            }

            fn reset(&mut self) {
                *self = Self::default();
            }
        }
    };
}

mean_error!(MeanSquaredError, "mse", "The mean squared difference.", |d| d * d, |mean| mean);
mean_error!(MeanAbsoluteError, "mae", "The mean absolute difference.", |d| d.abs(), |mean| mean);
mean_error!(
    RootMeanSquaredError,
    "rmse",
    "The root of the mean squared difference.",
    |d| d * d,
    |mean| mean.sqrt()
);

/// The coefficient of determination: 1 is perfect, 0 as good as always saying the mean, and there is
/// no lower bound. Of several columns the mean.
#[derive(Clone, Debug, Default)]
pub struct R2Score {
    columns: Vec<R2Column>,
    seen: u64,
}

#[derive(Clone, Debug, Default)]
struct R2Column {
    /// The first target. The others are taken as distances from it, so that a large offset does not
    /// eat their digits.
    origin: f64,
    /// Mean of the targets, sum of squared distances to it (Welford), sum of squared errors.
    mean: f64,
    spread: f64,
    error: f64,
}

impl R2Score {
    /// Takes predictions and targets `[N]` or `[N, columns]`.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for R2Score {
    fn name(&self) -> &str {
        "r2"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        let (p, t) = pairs("R2Score", predictions, targets)?;
        let width = t.len() / targets.shape().first().map_or(1, |&n| n.max(1) as usize);
        if t.is_empty() {
            return Ok(());
        }
        if self.columns.is_empty() {
            self.columns = vec![R2Column::default(); width];
        }
        if self.columns.len() != width {
            let expected = format!("{} columns as before", self.columns.len());
            return Err(Error::Shape { op: "R2Score", expected, got: targets.shape() });
        }
        for (p, t) in p.chunks_exact(width).zip(t.chunks_exact(width)) {
            self.seen += 1;
            for ((c, &p), &t) in self.columns.iter_mut().zip(p).zip(t) {
                if self.seen == 1 {
                    c.origin = t;
                }
                let distance = t - c.origin;
                let before = distance - c.mean;
                c.mean += before / self.seen as f64;
                c.spread += before * (distance - c.mean);
                c.error += (t - p) * (t - p);
            }
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen < 2 {
            return Err(Error::invalid("R2Score", "at least two samples are needed"));
        }
        let one = |c: &R2Column| match (c.error == 0.0, c.spread == 0.0) {
            (true, _) => 1.0,
            // Targets that do not differ cannot be told from their mean.
            (false, true) => 0.0,
            _ => 1.0 - c.error / c.spread,
        };
        Ok(self.columns.iter().map(one).sum::<f64>() / self.columns.len() as f64)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
