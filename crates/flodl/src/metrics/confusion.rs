//! The confusion matrix and what follows from it: precision, recall, F1.

use std::fmt;

use super::{Metric, id_pairs, nothing};
use crate::{AsTensor, Device, Error, Result, Tensor};

/// How the scores of the classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Average {
    /// Over all samples: for single-label classes the accuracy.
    Micro,
    /// The mean over the classes that occur.
    Macro,
    /// The mean over the classes, each counted as often as it is a target.
    Weighted,
}

/// The share of the samples called a class that are of it. A class that was never called has 0.
///
/// # Errors
/// When the shapes do not fit, or there are no samples.
pub fn precision(
    prediction: &impl AsTensor,
    target: &impl AsTensor,
    average: Average,
) -> Result<f64> {
    Ok(matrix(prediction, target)?.precision(average))
}

/// The share of the samples of a class that were called it. A class without samples has 0.
///
/// # Errors
/// As for [`precision`].
pub fn recall(prediction: &impl AsTensor, target: &impl AsTensor, average: Average) -> Result<f64> {
    Ok(matrix(prediction, target)?.recall(average))
}

/// The harmonic mean of precision and recall.
///
/// # Errors
/// As for [`precision`].
///
/// ```
/// use flodl::*;
/// let said = Tensor::from_i64(&[0, 1, 1, 1], &[4], Device::CPU)?;
/// let right = Tensor::from_i64(&[0, 0, 1, 1], &[4], Device::CPU)?;
/// let f1 = f1_score(&said, &right, Average::Macro)?;
/// assert!((f1 - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
pub fn f1_score(
    prediction: &impl AsTensor,
    target: &impl AsTensor,
    average: Average,
) -> Result<f64> {
    Ok(matrix(prediction, target)?.f1(average))
}

/// A matrix just large enough for what comes.
fn matrix(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<ConfusionMatrix> {
    let op = "ConfusionMatrix";
    let (said, right) = id_pairs(op, prediction, target)?;
    let most = said.iter().chain(&right).copied().max().ok_or_else(|| nothing(op))?;
    // A class id out of garbage must not ask for all memory.
    const LIMIT: i64 = 1 << 14;
    if most >= LIMIT {
        let what = format!("class {most} is not below {LIMIT}");
        return Err(Error::invalid(op, what));
    }
    let mut matrix = ConfusionMatrix::new((most + 1).max(0) as usize);
    matrix.count(&said, &right)?;
    Ok(matrix)
}

/// How often each class was called each class: rows are the targets, columns the predictions.
///
/// ```
/// use flodl::*;
/// let mut matrix = ConfusionMatrix::new(2).with_labels(&["cat", "dog"])?;
/// let said = Tensor::from_i64(&[0, 1, 1], &[3], Device::CPU)?;
/// matrix.update(&said, &Tensor::from_i64(&[0, 0, 1], &[3], Device::CPU)?)?;
/// assert_eq!(matrix.get(0, 1), 1);
/// assert_eq!(matrix.to_string(), "     cat dog\ncat    1   1\ndog    .   1\n");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
    labels: Vec<String>,
}

impl ConfusionMatrix {
    /// Nothing counted, for classes `0..classes`.
    pub fn new(classes: usize) -> Self {
        let labels = (0..classes).map(|c| c.to_string()).collect();
        ConfusionMatrix { classes, counts: vec![0; classes * classes], labels }
    }

    /// Names for the classes, to show.
    ///
    /// # Errors
    /// When there is not one for each class.
    pub fn with_labels(mut self, labels: &[&str]) -> Result<Self> {
        if labels.len() != self.classes {
            let what = format!("{} labels for {} classes", labels.len(), self.classes);
            return Err(Error::invalid("ConfusionMatrix", what));
        }
        self.labels = labels.iter().map(|&l| l.to_owned()).collect();
        Ok(self)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `target` was called `prediction`; 0 for classes that there are not.
    pub fn get(&self, target: usize, prediction: usize) -> u64 {
        if target >= self.classes || prediction >= self.classes {
            return 0;
        }
        self.counts[target * self.classes + prediction]
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The counts as an `i64` tensor `[classes, classes]`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let counts: Vec<i64> = self.counts.iter().map(|&c| c as i64).collect();
        Tensor::from_i64(&counts, &[self.classes as i64; 2], Device::CPU)
    }

    fn count(&mut self, said: &[i64], right: &[i64]) -> Result<()> {
        let size = self.classes as i64;
        if let Some(&index) = said.iter().chain(right).find(|&&c| c < 0 || c >= size) {
            return Err(Error::IndexOutOfRange { op: "ConfusionMatrix", index, size });
        }
        for (&said, &right) in said.iter().zip(right) {
            self.counts[right as usize * self.classes + said as usize] += 1;
        }
        Ok(())
    }

    /// The share of samples on the diagonal; 0 before anything was counted.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.get(c, c)).sum();
        ratio(right, self.total())
    }

    /// True positives, predictions and targets of a class.
    fn sums(&self, class: usize) -> (u64, u64, u64) {
        let said = (0..self.classes).map(|t| self.get(t, class)).sum();
        (self.get(class, class), said, self.support(class))
    }

    /// How often a class is a target.
    pub fn support(&self, class: usize) -> u64 {
        (0..self.classes).map(|p| self.get(class, p)).sum()
    }

    /// Precision of each class.
    pub fn precision_per_class(&self) -> Vec<f64> {
        self.each(|(right, said, _)| ratio(right, said))
    }

    /// Recall of each class.
    pub fn recall_per_class(&self) -> Vec<f64> {
        self.each(|(right, _, support)| ratio(right, support))
    }

    /// F1 of each class.
    pub fn f1_per_class(&self) -> Vec<f64> {
        self.each(|(right, said, support)| ratio(2 * right, said + support))
    }

    fn each(&self, score: impl Fn((u64, u64, u64)) -> f64) -> Vec<f64> {
        (0..self.classes).map(|c| score(self.sums(c))).collect()
    }

    /// Precision; see [`precision`].
    pub fn precision(&self, average: Average) -> f64 {
        self.average(self.precision_per_class(), average)
    }

    /// Recall; see [`recall`].
    pub fn recall(&self, average: Average) -> f64 {
        self.average(self.recall_per_class(), average)
    }

    /// F1; see [`f1_score`].
    pub fn f1(&self, average: Average) -> f64 {
        self.average(self.f1_per_class(), average)
    }

    fn average(&self, scores: Vec<f64>, average: Average) -> f64 {
        let weight = |class: usize| match average {
            Average::Weighted => self.support(class) as f64,
            // A class that nobody named and nobody meant says nothing about the model.
            _ => f64::from(u8::from(self.sums(class) != (0, 0, 0))),
        };
        if average == Average::Micro {
            return self.accuracy();
        }
        let total: f64 = (0..self.classes).map(weight).sum();
        let sum: f64 = scores.iter().enumerate().map(|(c, s)| s * weight(c)).sum();
        if total == 0.0 { 0.0 } else { sum / total }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The score is the accuracy.
impl Metric for ConfusionMatrix {
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
        let (said, right) = id_pairs("ConfusionMatrix", prediction, target)?;
        self.count(&said, &right)
    }

    fn compute(&self) -> Result<f64> {
        if self.total() == 0 {
            return Err(nothing("ConfusionMatrix"));
        }
        Ok(self.accuracy())
    }

    fn reset(&mut self) {
        self.counts.fill(0);
    }
}

/// A table: rows are the targets, columns the predictions, a dot is a zero.
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        let digits = self.counts.iter().max().map_or(1, |m| m.to_string().len());
        let width = left.max(digits);
        write!(f, "{:left$} ", "")?;
        for label in &self.labels {
            write!(f, " {label:>width$}")?;
        }
        writeln!(f)?;
        for (row, label) in self.labels.iter().enumerate() {
            write!(f, "{label:>left$} ")?;
            for column in 0..self.classes {
                match self.get(row, column) {
                    0 => write!(f, " {:>width$}", ".")?,
                    n => write!(f, " {n:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
