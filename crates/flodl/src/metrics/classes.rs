//! Measures of classifiers.

use std::fmt;

use super::{Metric, check_classes, class_scores, class_targets, nothing};
use crate::{Error, Result, Tensor};

/// Predicted classes: of scores `[…, classes]` the largest, whole numbers as they are.
fn predicted(op: &'static str, predictions: &Tensor, targets: &Tensor) -> Result<Vec<i64>> {
    if !predictions.dtype().is_float() {
        if predictions.shape() != targets.shape() {
            return Err(Error::ShapeMismatch {
                op,
                lhs: predictions.shape(),
                rhs: targets.shape(),
                why: "predicted classes have the targets' shape".into(),
            });
        }
        return predictions.to_i64_vec();
    }
    if class_scores(op, predictions, targets)? == 0 {
        let expected = "at least one class".into();
        return Err(Error::Shape { op, expected, got: predictions.shape() });
    }
    predictions.argmax(-1, false)?.to_i64_vec()
}

/// The share of samples whose class is right.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    right: u64,
    seen: u64,
}

impl Accuracy {
    /// Takes scores `[…, classes]` or classes `[…]`, and targets `[…]`.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        let said = predicted("Accuracy", predictions, targets)?;
        let wanted = class_targets("Accuracy", targets)?;
        self.right += said.iter().zip(&wanted).filter(|(a, b)| a == b).count() as u64;
        self.seen += wanted.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen == 0 {
            Err(nothing("Accuracy"))
        } else {
            Ok(self.right as f64 / self.seen as f64)
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The share of samples whose class is among the `k` best scores. Among equal scores the class with
/// the larger number comes first, as in scikit-learn.
#[derive(Clone, Debug)]
pub struct TopKAccuracy {
    k: usize,
    name: String,
    right: u64,
    seen: u64,
}

impl TopKAccuracy {
    /// Takes scores `[…, classes]` and targets `[…]`.
    ///
    /// # Errors
    /// When `k` is 0.
    pub fn new(k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::invalid("TopKAccuracy", "k must be at least 1, not 0"));
        }
        Ok(TopKAccuracy { k, name: format!("top-{k} accuracy"), right: 0, seen: 0 })
    }
}

impl Metric for TopKAccuracy {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        let op = "TopKAccuracy";
        let classes = class_scores(op, predictions, targets)?;
        let wanted = class_targets(op, targets)?;
        check_classes(op, &wanted, classes)?;
        let scores = predictions.to_f64_vec()?;
        for (row, &t) in scores.chunks_exact(classes.max(1) as usize).zip(&wanted) {
            let own = row[t as usize];
            let before = |(c, &s): (usize, &f64)| s > own || (s == own && c > t as usize);
            let rank = row.iter().enumerate().filter(|&x| before(x)).count();
            self.right += u64::from(rank < self.k && !own.is_nan());
        }
        self.seen += wanted.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen == 0 {
            return Err(nothing("TopKAccuracy"));
        }
        Ok(self.right as f64 / self.seen as f64)
    }

    fn reset(&mut self) {
        (self.right, self.seen) = (0, 0);
    }
}

/// How the values of several classes become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Average {
    /// Over all samples: each counts the same.
    Micro,
    /// Over the classes that occur among targets or predictions: each counts the same.
    #[default]
    Macro,
    /// Over the classes, each in proportion to its targets.
    Weighted,
    /// Of class 1 alone: for two classes.
    Binary,
}

/// How often each class was taken for each: rows are targets, columns predictions. Precision,
/// recall and F1 come from it.
///
/// ```
/// use flodl::*;
/// let mut m = ConfusionMatrix::new(2)?;
/// let said = Tensor::from_i64(&[0, 1, 1, 1], &[4], Device::CPU)?;
/// m.update(&said, &Tensor::from_i64(&[0, 0, 1, 1], &[4], Device::CPU)?)?;
/// assert_eq!((m.count(0, 1), m.accuracy()?), (1, 0.75));
/// assert_eq!(m.recall(Average::Binary)?, 1.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// For this many classes. Takes scores `[…, classes]` or classes `[…]`, and targets `[…]`.
    ///
    /// # Errors
    /// When there are no classes.
    pub fn new(classes: usize) -> Result<Self> {
        if classes == 0 {
            return Err(Error::invalid("ConfusionMatrix", "at least one class is needed"));
        }
        Ok(ConfusionMatrix { classes, counts: vec![0; classes * classes] })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `target` was taken for `predicted`; 0 for classes that there are not.
    pub fn count(&self, target: usize, predicted: usize) -> u64 {
        let inside = target < self.classes && predicted < self.classes;
        if inside { self.counts[target * self.classes + predicted] } else { 0 }
    }

    /// Adds the counts of another matrix: of another fold, another thread.
    ///
    /// # Errors
    /// When it has another number of classes.
    pub fn merge(&mut self, other: &ConfusionMatrix) -> Result<()> {
        if self.classes != other.classes {
            let what = format!("{} classes and {} do not add up", self.classes, other.classes);
            return Err(Error::invalid("ConfusionMatrix", what));
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// Number of samples.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of samples whose class is right.
    ///
    /// # Errors
    /// When there are no samples.
    pub fn accuracy(&self) -> Result<f64> {
        let right: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        match self.total() {
            0 => Err(nothing("ConfusionMatrix")),
            all => Ok(right as f64 / all as f64),
        }
    }

    /// True positives, predictions and targets of each class.
    fn margins(&self) -> Vec<[f64; 3]> {
        (0..self.classes)
            .map(|c| {
                let predicted: u64 = (0..self.classes).map(|t| self.count(t, c)).sum();
                let targets: u64 = (0..self.classes).map(|p| self.count(c, p)).sum();
                [self.count(c, c) as f64, predicted as f64, targets as f64]
            })
            .collect()
    }

    /// Of the samples taken for a class, the share that are of it; 0 where there are none.
    pub fn precision_per_class(&self) -> Vec<f64> {
        self.margins().into_iter().map(precision).collect()
    }

    /// Of a class's samples, the share that were taken for it; 0 where there are none.
    pub fn recall_per_class(&self) -> Vec<f64> {
        self.margins().into_iter().map(recall).collect()
    }

    /// The harmonic mean of precision and recall; 0 where there are neither.
    pub fn f1_per_class(&self) -> Vec<f64> {
        self.margins().into_iter().map(f1).collect()
    }

    /// Samples of each class.
    pub fn support(&self) -> Vec<u64> {
        self.margins().into_iter().map(|m| m[2] as u64).collect()
    }

    /// [`ConfusionMatrix::precision_per_class`], averaged.
    ///
    /// # Errors
    /// When there are no samples, or [`Average::Binary`] is asked of other than two classes.
    pub fn precision(&self, average: Average) -> Result<f64> {
        self.averaged(average, precision)
    }

    /// [`ConfusionMatrix::recall_per_class`], averaged.
    ///
    /// # Errors
    /// As for [`ConfusionMatrix::precision`].
    pub fn recall(&self, average: Average) -> Result<f64> {
        self.averaged(average, recall)
    }

    /// [`ConfusionMatrix::f1_per_class`], averaged.
    ///
    /// # Errors
    /// As for [`ConfusionMatrix::precision`].
    pub fn f1(&self, average: Average) -> Result<f64> {
        self.averaged(average, f1)
    }

    fn averaged(&self, average: Average, of: fn([f64; 3]) -> f64) -> Result<f64> {
        if self.total() == 0 {
            return Err(nothing("ConfusionMatrix"));
        }
        let margins = self.margins();
        Ok(match average {
            Average::Binary if self.classes != 2 => {
                let what = format!("Average::Binary is for two classes, not {}", self.classes);
                return Err(Error::invalid("ConfusionMatrix", what));
            }
            Average::Binary => of(margins[1]),
            Average::Micro => {
                let sum = |i: usize| margins.iter().map(|m| m[i]).sum();
                of([sum(0), sum(1), sum(2)])
            }
            Average::Macro => {
                let there: Vec<_> = margins.into_iter().filter(|m| m[1] + m[2] > 0.0).collect();
                let n = there.len() as f64;
                there.into_iter().map(of).sum::<f64>() / n
            }
            Average::Weighted => {
                let all: f64 = margins.iter().map(|m| m[2]).sum();
                margins.into_iter().map(|m| of(m) * m[2]).sum::<f64>() / all
            }
        })
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn precision([right, predicted, _]: [f64; 3]) -> f64 {
    ratio(right, predicted)
}

fn recall([right, _, targets]: [f64; 3]) -> f64 {
    ratio(right, targets)
}

fn f1([right, predicted, targets]: [f64; 3]) -> f64 {
    ratio(2.0 * right, predicted + targets)
}

/// As a metric it is the accuracy.
impl Metric for ConfusionMatrix {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        let op = "ConfusionMatrix";
        let said = predicted(op, predictions, targets)?;
        let wanted = class_targets(op, targets)?;
        check_classes(op, &wanted, self.classes as i64)?;
        check_classes(op, &said, self.classes as i64)?;
        for (&t, &p) in wanted.iter().zip(&said) {
            self.counts[t as usize * self.classes + p as usize] += 1;
        }
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        self.accuracy()
    }

    fn reset(&mut self) {
        self.counts.fill(0);
    }
}

/// The matrix as a table, with a dot for 0.
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.counts.iter().max().copied().unwrap_or(0).max(self.classes as u64);
        let width = widest.to_string().len() + 2;
        let label = (self.classes - 1).to_string().len().max(3);
        write!(f, "{:>label$}  ", "")?;
        (0..self.classes).try_for_each(|c| write!(f, "{c:>width$}"))?;
        for (target, row) in self.counts.chunks_exact(self.classes).enumerate() {
            write!(f, "\n{target:>label$} |")?;
            for &n in row {
                match n {
                    0 => write!(f, "{:>width$}", ".")?,
                    n => write!(f, "{n:>width$}")?,
                }
            }
        }
        Ok(())
    }
}

/// Precision, recall or F1 as a metric of its own.
macro_rules! averaged {
    ($type:ident, $name:literal, $doc:literal, $method:ident) => {
        #[doc = $doc]
        #[derive(Clone, Debug)]
        pub struct $type {
            matrix: ConfusionMatrix,
            average: Average,
        }

        impl $type {
            /// For this many classes.
            ///
            /// # Errors
            /// When there are no classes, or [`Average::Binary`] is asked of other than two.
            pub fn new(classes: usize, average: Average) -> Result<Self> {
                if average == Average::Binary && classes != 2 {
                    let what = format!("Average::Binary is for two classes, not {classes}");
                    return Err(Error::invalid(stringify!($type), what));
                }
                Ok($type { matrix: ConfusionMatrix::new(classes)?, average })
            }
        }

        impl Metric for $type {
            fn name(&self) -> &str {
                $name
            }
            fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
                self.matrix.update(predictions, targets)
            }
            fn compute(&self) -> Result<f64> {
                self.matrix.$method(self.average)
            }
            fn reset(&mut self) {
                self.matrix.reset();
            }
        }
    };
}

averaged!(Precision, "precision", "See [`ConfusionMatrix::precision`].", precision);
averaged!(Recall, "recall", "See [`ConfusionMatrix::recall`].", recall);
averaged!(F1, "f1", "See [`ConfusionMatrix::f1`].", f1);

/// How many classes the model might as well choose among at random: the exponential of the mean
/// cross-entropy.
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    ignore: Option<i64>,
    sum: f64,
    seen: u64,
}

impl Perplexity {
    /// Takes logits `[…, classes]` and targets `[…]`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out targets of this value: padding.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore = Some(index);
        self
    }

    /// The same as information: the mean cross-entropy in bits for each target.
    ///
    /// # Errors
    /// When nothing was fed.
    pub fn bits(&self) -> Result<f64> {
        Ok(self.compute()?.log2())
    }
}

impl Metric for Perplexity {
    fn name(&self) -> &str {
        "perplexity"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        let op = "Perplexity";
        let classes = class_scores(op, predictions, targets)?;
        let wanted = class_targets(op, targets)?;
        let ignored = |t: &i64| self.ignore == Some(*t);
        let used: Vec<i64> = wanted.iter().copied().filter(|t| !ignored(t)).collect();
        check_classes(op, &used, classes)?;
        if classes > 0 {
            let logp =
                predictions.to_dtype(crate::DType::Float64)?.log_softmax(-1)?.to_f64_vec()?;
            let rows = logp.chunks_exact(classes as usize).zip(&wanted);
            self.sum -= rows.filter(|(_, t)| !ignored(t)).map(|(r, &t)| r[t as usize]).sum::<f64>();
        }
        self.seen += used.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen == 0 {
            Err(nothing("Perplexity"))
        } else {
            Ok((self.sum / self.seen as f64).exp())
        }
    }

    fn reset(&mut self) {
        (self.sum, self.seen) = (0.0, 0);
    }
}
