//! How well scores order the samples: area under the ROC curve, average precision.

use super::classification::score_rows;
use super::{Average, Metric, nothing};
use crate::{AsTensor, DType, Error, Result, Tensor};

/// Area under the ROC curve: how often a sample of a class has a higher score than one that is not
/// of it, equal scores counting half. `scores` is `[N]` with targets 0 and 1, or `[N, C]` with
/// class ids: one class against the rest, averaged over the classes ([`RocAuc::with_average`]).
///
/// # Errors
/// When the shapes do not fit, a score is NaN, or the targets are not of at least two classes.
///
/// ```
/// use flodl::*;
/// let scores = Tensor::from_f32(&[0.1, 0.4, 0.35, 0.8], &[4], Device::CPU)?;
/// let target = Tensor::from_i64(&[0, 0, 1, 1], &[4], Device::CPU)?;
/// assert_eq!(roc_auc(&scores, &target)?, 0.75);
/// # Ok::<(), Error>(())
/// ```
pub fn roc_auc(scores: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    let mut metric = RocAuc::new();
    metric.update(scores, target)?;
    metric.compute()
}

/// Area under the curve of precision over recall, as the sum of steps: each sample's precision
/// times the recall that it adds. Scores and targets as for [`roc_auc`].
///
/// # Errors
/// When the shapes do not fit, a score is NaN, or a class has no samples.
pub fn average_precision(scores: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    let mut metric = AveragePrecision::new();
    metric.update(scores, target)?;
    metric.compute()
}

/// All scores and targets seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// 1 for binary scores `[N]`, else the number of classes; 0 before the first batch.
    columns: usize,
    scores: Vec<f64>,
    targets: Vec<usize>,
}

impl Seen {
    fn update(
        &mut self,
        op: &'static str,
        prediction: &impl AsTensor,
        target: &impl AsTensor,
    ) -> Result<()> {
        let scores = prediction.as_tensor();
        let (columns, rows) = if scores.ndim() == 1 {
            let n = scores.shape()[0];
            // Two columns let the shared check see that targets are 0 or 1.
            let wide = scores.to_dtype(DType::Float64)?.reshape(&[n, 1])?;
            let wide = Tensor::zeros_like(&wide)?.cat(&wide, 1)?;
            (1, score_rows(op, &wide, target)?.0)
        } else {
            let (rows, classes) = score_rows(op, &scores, target)?;
            (classes, rows)
        };
        if self.columns != 0 && columns != self.columns {
            let what = format!("scores of {columns} classes after {}", self.columns);
            return Err(Error::invalid(op, what));
        }
        self.columns = columns;
        for (row, class) in rows {
            self.scores.extend_from_slice(if columns == 1 { &row[1..] } else { &row });
            self.targets.push(class);
        }
        Ok(())
    }

    /// The mean over classes of a score of (score, is of the class) pairs, highest score first.
    fn average(
        &self,
        op: &'static str,
        average: Average,
        score: impl Fn(&[(f64, bool)]) -> f64,
    ) -> Result<f64> {
        if self.targets.is_empty() {
            return Err(nothing(op));
        }
        let classes = if self.columns == 1 { 1..2 } else { 0..self.columns };
        if average == Average::Micro {
            let mut pairs = Vec::with_capacity(self.scores.len());
            for class in classes {
                pairs.extend(self.pairs(class));
            }
            check(op, 1, &pairs)?;
            return Ok(score(&sorted(pairs)));
        }
        let (mut sum, mut total) = (0.0, 0.0);
        for class in classes {
            let pairs = sorted(self.pairs(class).collect());
            let support = check(op, class, &pairs)?;
            let weight = if average == Average::Weighted { support as f64 } else { 1.0 };
            sum += weight * score(&pairs);
            total += weight;
        }
        Ok(sum / total)
    }

    fn pairs(&self, class: usize) -> impl Iterator<Item = (f64, bool)> + '_ {
        let column = if self.columns == 1 { 0 } else { class };
        let targets = self.targets.iter().enumerate();
        targets.map(move |(i, &t)| (self.scores[i * self.columns + column], t == class))
    }
}

/// How many samples are of the class; some must be, and some not.
fn check(op: &'static str, class: usize, pairs: &[(f64, bool)]) -> Result<usize> {
    let support = pairs.iter().filter(|p| p.1).count();
    if support == 0 || support == pairs.len() {
        let which = if support == 0 { "none" } else { "all" };
        let what = format!("{which} of the {} targets are of class {class}", pairs.len());
        return Err(Error::invalid(op, what));
    }
    Ok(support)
}

fn sorted(mut pairs: Vec<(f64, bool)>) -> Vec<(f64, bool)> {
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// Positives and negatives at each distinct score, highest first.
fn steps(pairs: &[(f64, bool)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    pairs.chunk_by(|a, b| a.0 == b.0).map(|ties| {
        let positive = ties.iter().filter(|p| p.1).count();
        (positive as f64, (ties.len() - positive) as f64)
    })
}

fn area(pairs: &[(f64, bool)]) -> f64 {
    let (mut wins, mut above) = (0.0, 0.0);
    let mut negatives = 0.0;
    for (p, n) in steps(pairs) {
        wins += n * (above + p / 2.0);
        above += p;
        negatives += n;
    }
    wins / (above * negatives)
}

fn precision_area(pairs: &[(f64, bool)]) -> f64 {
    let (mut sum, mut right, mut called) = (0.0, 0.0, 0.0);
    for (p, n) in steps(pairs) {
        right += p;
        called += p + n;
        sum += p * right / called;
    }
    sum / right
}

macro_rules! ranking {
    ($name:ident, $op:literal, $score:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// It keeps every score and target until [`Metric::reset`].
        #[derive(Clone, Debug)]
        pub struct $name {
            average: Average,
            seen: Seen,
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl $name {
            /// Nothing counted; the mean over classes.
            pub fn new() -> Self {
                Self::with_average(Average::Macro)
            }

            /// Nothing counted; another way to make one score of the classes'.
            pub fn with_average(average: Average) -> Self {
                $name { average, seen: Seen::default() }
            }
        }

        impl Metric for $name {
            fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
                self.seen.update($op, prediction, target)
            }

            fn compute(&self) -> Result<f64> {
                self.seen.average($op, self.average, $score)
            }

            fn reset(&mut self) {
                self.seen = Seen::default();
            }
        }
    };
}

ranking!(RocAuc, "roc_auc", area, "[`roc_auc`], batch by batch.");
ranking!(
    AveragePrecision,
    "average_precision",
    precision_area,
    "[`average_precision`], batch by batch."
);
