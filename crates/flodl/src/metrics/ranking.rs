//! Measures of how well scores order samples.

use super::{Average, Metric, check_classes, class_scores, class_targets, nothing};
use crate::{Error, Result, Tensor};

/// Scores and targets that were fed.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// One row of scores a sample.
    scores: Vec<f64>,
    targets: Vec<i64>,
}

impl Kept {
    /// Takes scores of `classes` columns, or of one for two classes.
    fn add(
        &mut self,
        op: &'static str,
        classes: usize,
        predictions: &Tensor,
        targets: &Tensor,
    ) -> Result<()> {
        let wanted = class_targets(op, targets)?;
        if classes == 2 && predictions.shape() == targets.shape() {
            if !predictions.dtype().is_float() {
                let got = predictions.dtype();
                return Err(Error::DType { op, expected: "scores (a float)".into(), got });
            }
        } else if class_scores(op, predictions, targets)? != classes as i64 {
            let expected = format!("scores of {classes} classes");
            return Err(Error::Shape { op, expected, got: predictions.shape() });
        }
        check_classes(op, &wanted, classes as i64)?;
        let mut scores = predictions.to_f64_vec()?;
        if scores.iter().any(|s| s.is_nan()) {
            return Err(Error::invalid(op, "a score is NaN"));
        }
        // Of two columns the second says how much it is class 1.
        if classes == 2 && predictions.shape() != targets.shape() {
            scores = scores.chunks_exact(2).map(|row| row[1]).collect();
        }
        self.scores.extend(scores);
        self.targets.extend(wanted);
        Ok(())
    }

    /// (score, is of the class) for one class, the best first; `None` unless samples both of it and
    /// of others are there, or of it alone if that is enough.
    fn sorted(&self, class: usize, columns: usize) -> Vec<(f64, bool)> {
        let scores = self.scores.iter().skip(if columns == 1 { 0 } else { class }).step_by(columns);
        let mut pairs: Vec<(f64, bool)> =
            scores.zip(&self.targets).map(|(&s, &t)| (s, t == class as i64)).collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        pairs
    }
}

/// Area under the curve of true against false positives: the probability that a sample of the
/// class scores higher than another; ties count half.
fn auroc(pairs: &[(f64, bool)]) -> Option<f64> {
    let positive = pairs.iter().filter(|p| p.1).count() as f64;
    let negative = pairs.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    let (mut above, mut area) = (0.0, 0.0);
    for ties in pairs.chunk_by(|a, b| a.0 == b.0) {
        let hits = ties.iter().filter(|p| p.1).count() as f64;
        area += (above + hits / 2.0) * (ties.len() as f64 - hits);
        above += hits;
    }
    Some(area / (positive * negative))
}

/// Mean precision over the steps of recall, the best score first.
fn average_precision(pairs: &[(f64, bool)]) -> f64 {
    let positive = pairs.iter().filter(|p| p.1).count() as f64;
    if positive == 0.0 {
        return 0.0;
    }
    let (mut hits, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for ties in pairs.chunk_by(|a, b| a.0 == b.0) {
        let new = ties.iter().filter(|p| p.1).count() as f64;
        hits += new;
        seen += ties.len() as f64;
        sum += new / positive * (hits / seen);
    }
    sum
}

/// Mean over classes, in proportion to their samples or not.
fn over_classes(
    kept: &Kept,
    classes: usize,
    average: Average,
    of: impl Fn(&[(f64, bool)], usize) -> Result<f64>,
) -> Result<f64> {
    if classes == 2 {
        return of(&kept.sorted(1, 1), 1);
    }
    let (mut sum, mut weights) = (0.0, 0.0);
    for class in 0..classes {
        let pairs = kept.sorted(class, classes);
        let weight = match average {
            Average::Weighted => pairs.iter().filter(|p| p.1).count() as f64,
            _ => 1.0,
        };
        sum += weight * of(&pairs, class)?;
        weights += weight;
    }
    Ok(sum / weights)
}

fn check(op: &'static str, classes: usize, average: Average) -> Result<()> {
    if classes < 2 {
        return Err(Error::invalid(op, format!("at least two classes are needed, not {classes}")));
    }
    if matches!(average, Average::Micro) {
        return Err(Error::invalid(op, "Average::Micro has no meaning here"));
    }
    Ok(())
}

/// Area under the ROC curve: for two classes of the scores of class 1, for more the mean of each
/// class against the rest. It keeps all scores until the reset.
///
/// ```
/// use flodl::*;
/// let mut auroc = Auroc::binary();
/// let scores = Tensor::from_f32(&[0.1, 0.4, 0.35, 0.8], &[4], Device::CPU)?;
/// auroc.update(&scores, &Tensor::from_i64(&[0, 0, 1, 1], &[4], Device::CPU)?)?;
/// assert_eq!(auroc.compute()?, 0.75);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auroc {
    classes: usize,
    average: Average,
    kept: Kept,
}

impl Auroc {
    /// Takes scores `[N]` of class 1, or `[N, 2]`, and targets `[N]` of 0 and 1.
    pub fn binary() -> Self {
        Auroc { classes: 2, average: Average::Macro, kept: Kept::default() }
    }

    /// Takes scores `[N, classes]` and targets `[N]`; the mean is macro or weighted.
    ///
    /// # Errors
    /// When there are fewer than two classes, or the average is micro.
    pub fn one_vs_rest(classes: usize, average: Average) -> Result<Self> {
        check("Auroc", classes, average)?;
        Ok(Auroc { classes, average, kept: Kept::default() })
    }
}

impl Metric for Auroc {
    fn name(&self) -> &str {
        "auroc"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        self.kept.add("Auroc", self.classes, predictions, targets)
    }

    fn compute(&self) -> Result<f64> {
        if self.kept.targets.is_empty() {
            return Err(nothing("Auroc"));
        }
        over_classes(&self.kept, self.classes, self.average, |pairs, class| {
            auroc(pairs).ok_or_else(|| {
                let what = format!("samples of class {class} and of others are needed");
                Error::invalid("Auroc", what)
            })
        })
    }

    fn reset(&mut self) {
        self.kept = Kept::default();
    }
}

/// Average precision: the area under the curve of precision against recall, as a sum of steps. It
/// keeps all scores until the reset.
#[derive(Clone, Debug)]
pub struct AveragePrecision {
    classes: usize,
    average: Average,
    kept: Kept,
}

impl AveragePrecision {
    /// Takes scores `[N]` of class 1, or `[N, 2]`, and targets `[N]` of 0 and 1.
    pub fn binary() -> Self {
        AveragePrecision { classes: 2, average: Average::Macro, kept: Kept::default() }
    }

    /// Takes scores `[N, classes]` and targets `[N]`; the mean is macro or weighted.
    ///
    /// # Errors
    /// When there are fewer than two classes, or the average is micro.
    pub fn one_vs_rest(classes: usize, average: Average) -> Result<Self> {
        check("AveragePrecision", classes, average)?;
        Ok(AveragePrecision { classes, average, kept: Kept::default() })
    }
}

impl Metric for AveragePrecision {
    fn name(&self) -> &str {
        "average precision"
    }

    fn update(&mut self, predictions: &Tensor, targets: &Tensor) -> Result<()> {
        self.kept.add("AveragePrecision", self.classes, predictions, targets)
    }

    fn compute(&self) -> Result<f64> {
        if self.kept.targets.is_empty() {
            return Err(nothing("AveragePrecision"));
        }
        let of = |pairs: &[(f64, bool)], _| Ok(average_precision(pairs));
        over_classes(&self.kept, self.classes, self.average, of)
    }

    fn reset(&mut self) {
        self.kept = Kept::default();
    }
}
