//! Accuracy, top-k accuracy and perplexity.

use super::{Metric, id_pairs, nothing};
use crate::{AsTensor, DType, Error, Result};

/// The share of predictions that are right. `prediction` holds class ids, or scores `[N, C, …]`
/// whose largest counts; `target` holds class ids.
///
/// # Errors
/// When the shapes do not fit, or there are no predictions.
///
/// ```
/// use flodl::*;
/// let scores = Tensor::from_f32(&[0.9, 0.1, 0.2, 0.8], &[2, 2], Device::CPU)?;
/// let target = Tensor::from_i64(&[0, 0], &[2], Device::CPU)?;
/// assert_eq!(accuracy(&scores, &target)?, 0.5);
/// # Ok::<(), Error>(())
/// ```
pub fn accuracy(prediction: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    let mut metric = Accuracy::new();
    metric.update(prediction, target)?;
    metric.compute()
}

/// [`accuracy`], batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    right: u64,
    seen: u64,
}

impl Accuracy {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of predictions counted.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

impl Metric for Accuracy {
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
        let (said, right) = id_pairs("accuracy", prediction, target)?;
        self.right += said.iter().zip(&right).filter(|(a, b)| a == b).count() as u64;
        self.seen += said.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen == 0 {
            return Err(nothing("accuracy"));
        }
        Ok(self.right as f64 / self.seen as f64)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The share of targets that are among the `k` classes of the highest scores. `scores` is `[N, C]`,
/// `target` `[N]`; of equal scores the higher class comes first, as in scikit-learn.
///
/// # Errors
/// When the shapes do not fit, a target is no class, or `k` is 0.
pub fn top_k_accuracy(scores: &impl AsTensor, target: &impl AsTensor, k: usize) -> Result<f64> {
    let mut metric = TopKAccuracy::new(k)?;
    metric.update(scores, target)?;
    metric.compute()
}

/// [`top_k_accuracy`], batch by batch.
#[derive(Clone, Debug)]
pub struct TopKAccuracy {
    k: usize,
    counts: Accuracy,
}

impl TopKAccuracy {
    /// Nothing counted.
    ///
    /// # Errors
    /// When `k` is 0.
    pub fn new(k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::invalid("top_k_accuracy", "k must be at least 1, not 0"));
        }
        Ok(TopKAccuracy { k, counts: Accuracy::new() })
    }
}

impl Metric for TopKAccuracy {
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
        let op = "top_k_accuracy";
        let (rows, classes) = score_rows(op, prediction, target)?;
        let mut right = 0;
        for (row, class) in &rows {
            let own = row[*class];
            let ahead = |(i, v): (usize, &f64)| *v > own || (*v == own && i > *class);
            right += u64::from(row.iter().enumerate().filter(|&x| ahead(x)).count() < self.k);
        }
        if self.k > classes {
            let what = format!("k {} is more than the {classes} classes", self.k);
            return Err(Error::invalid(op, what));
        }
        self.counts.right += right;
        self.counts.seen += rows.len() as u64;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.counts.seen == 0 {
            return Err(nothing("top_k_accuracy"));
        }
        self.counts.compute()
    }

    fn reset(&mut self) {
        self.counts.reset();
    }
}

/// Scores of each sample with its class, and the number of classes.
type ScoreRows = (Vec<(Vec<f64>, usize)>, usize);

/// Rows of scores `[N, C]` with their targets `[N]`; targets are checked, scores must be numbers.
pub(super) fn score_rows(
    op: &'static str,
    scores: &impl AsTensor,
    target: &impl AsTensor,
) -> Result<ScoreRows> {
    let (scores, target) = (scores.as_tensor(), target.as_tensor());
    let shape = scores.shape();
    let [n, classes] = shape[..] else {
        return Err(Error::Shape { op, expected: "scores [N, C]".into(), got: shape });
    };
    if target.dtype().is_float() {
        let expected = "targets that are class ids, of an integer dtype".into();
        return Err(Error::DType { op, expected, got: target.dtype() });
    }
    if target.shape() != [n] {
        return Err(Error::ShapeMismatch {
            op,
            lhs: shape,
            rhs: target.shape(),
            why: "scores [N, C] need targets [N]".into(),
        });
    }
    let ids = target.to_i64_vec()?;
    if let Some(&index) = ids.iter().find(|&&i| i < 0 || i >= classes) {
        return Err(Error::IndexOutOfRange { op, index, size: classes });
    }
    let values = scores.to_dtype(DType::Float64)?.to_f64_vec()?;
    if let Some(i) = values.iter().position(|v| v.is_nan()) {
        let what = format!("row {} of the scores holds a NaN", i as i64 / classes);
        return Err(Error::invalid(op, what));
    }
    let classes = classes as usize;
    let rows = ids
        .iter()
        .enumerate()
        .map(|(i, &id)| (values[i * classes..(i + 1) * classes].to_vec(), id as usize));
    Ok((rows.collect(), classes))
}

/// e to the mean cross-entropy: how many equally likely classes a model hesitates between. `logits`
/// is `[N, C]` (or `[N, T, C]`, with targets `[N, T]`), `target` holds class ids.
///
/// # Errors
/// When the shapes do not fit, a target is no class, or there are none.
///
/// ```
/// use flodl::*;
/// let even = Tensor::zeros(&[3, 4], TensorOptions::default())?;
/// let target = Tensor::from_i64(&[0, 1, 2], &[3], Device::CPU)?;
/// assert!((perplexity(&even, &target)? - 4.0).abs() < 1e-9);
/// # Ok::<(), Error>(())
/// ```
pub fn perplexity(logits: &impl AsTensor, target: &impl AsTensor) -> Result<f64> {
    let mut metric = Perplexity::new();
    metric.update(logits, target)?;
    metric.compute()
}

/// [`perplexity`], batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    nll: f64,
    seen: u64,
    ignore: Option<i64>,
}

impl Perplexity {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out targets of this value, such as padding.
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore = Some(index);
        self
    }

    /// Mean cross-entropy in bits: bits per character, when targets are characters.
    ///
    /// # Errors
    /// When nothing was counted.
    pub fn bits(&self) -> Result<f64> {
        if self.seen == 0 {
            return Err(nothing("perplexity"));
        }
        Ok(self.nll / self.seen as f64 / std::f64::consts::LN_2)
    }
}

impl Metric for Perplexity {
    fn update(&mut self, prediction: &impl AsTensor, target: &impl AsTensor) -> Result<()> {
        let op = "perplexity";
        let (logits, target) = (prediction.as_tensor(), target.as_tensor());
        let shape = logits.shape();
        if shape.len() < 2 {
            return Err(Error::Shape { op, expected: "logits [N, …, C]".into(), got: shape });
        }
        let (lead, classes) = (&shape[..shape.len() - 1], shape[shape.len() - 1]);
        if target.shape() != lead {
            return Err(Error::ShapeMismatch {
                op,
                lhs: shape.clone(),
                rhs: target.shape(),
                why: "targets need the shape of the logits without the last dim".into(),
            });
        }
        if target.dtype().is_float() {
            let expected = "targets that are class ids, of an integer dtype".into();
            return Err(Error::DType { op, expected, got: target.dtype() });
        }
        let ids = target.to_i64_vec()?;
        let counts = |id: i64| Some(id) != self.ignore;
        if let Some(&index) = ids.iter().find(|&&i| counts(i) && (i < 0 || i >= classes)) {
            return Err(Error::IndexOutOfRange { op, index, size: classes });
        }
        let log_p = logits.to_dtype(DType::Float64)?.log_softmax(-1)?.to_f64_vec()?;
        let (mut nll, mut seen) = (0.0, 0);
        for (i, &id) in ids.iter().enumerate().filter(|&(_, &id)| counts(id)) {
            nll -= log_p[i * classes as usize + id as usize];
            seen += 1;
        }
        self.nll += nll;
        self.seen += seen;
        Ok(())
    }

    fn compute(&self) -> Result<f64> {
        if self.seen == 0 {
            return Err(nothing("perplexity"));
        }
        Ok((self.nll / self.seen as f64).exp())
    }

    fn reset(&mut self) {
        (self.nll, self.seen) = (0.0, 0);
    }
}
