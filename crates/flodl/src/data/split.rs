//! Parts of a data set: for training, validation, test.

use std::sync::Arc;

use super::BatchDataSet;
use crate::{AsTensor, Error, Result, Rng, Tensor};

/// Some samples of a data set.
#[derive(Clone)]
pub struct Subset {
    dataset: Arc<dyn BatchDataSet>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples at `indices`.
    ///
    /// # Errors
    /// When the data set has no such sample.
    pub fn new(dataset: Arc<dyn BatchDataSet>, indices: Vec<usize>) -> Result<Self> {
        if let Some(&i) = indices.iter().find(|&&i| i >= dataset.len()) {
            let size = dataset.len() as i64;
            return Err(Error::IndexOutOfRange { op: "Subset", index: i as i64, size });
        }
        Ok(Subset { dataset, indices })
    }

    /// Where its samples are in the whole set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl BatchDataSet for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let inner = indices.iter().map(|&i| {
            let out = Error::IndexOutOfRange {
                op: "Subset",
                index: i as i64,
                size: self.indices.len() as i64,
            };
            self.indices.get(i).copied().ok_or(out)
        });
        self.dataset.get_batch(&inner.collect::<Result<Vec<_>>>()?)
    }
}

/// Cuts a data set at random into parts of the given shares, which sum to one.
///
/// # Errors
/// When the shares do not sum to one, or are not all positive.
///
/// ```
/// use std::sync::Arc;
/// use flodl::*;
/// let x = Tensor::arange(0.0, 10.0, 1.0, TensorOptions::default())?;
/// let parts = random_split(Arc::new(TensorDataset::new(vec![x])?), &[0.8, 0.2], 7)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), Error>(())
/// ```
pub fn random_split(
    dataset: Arc<dyn BatchDataSet>,
    shares: &[f64],
    seed: u64,
) -> Result<Vec<Subset>> {
    check("random_split", shares)?;
    let mut order: Vec<usize> = (0..dataset.len()).collect();
    Rng::seed(seed).shuffle(&mut order);
    let mut parts = vec![Vec::new(); shares.len()];
    deal(&order, shares, &mut parts);
    parts.into_iter().map(|p| Subset::new(dataset.clone(), p)).collect()
}

/// [`random_split`] with the same mix of classes in each part, to within one sample a class.
/// `labels` `[N]` are the classes of all samples.
///
/// # Errors
/// As for [`random_split`], and when there is not one label for each sample.
pub fn stratified_split(
    dataset: Arc<dyn BatchDataSet>,
    labels: &impl AsTensor,
    shares: &[f64],
    seed: u64,
) -> Result<Vec<Subset>> {
    let op = "stratified_split";
    check(op, shares)?;
    let labels = labels.as_tensor();
    if labels.dtype().is_float() {
        let expected = "class ids, of an integer dtype".into();
        return Err(Error::DType { op, expected, got: labels.dtype() });
    }
    if labels.shape() != [dataset.len() as i64] {
        let expected = format!("one label for each of {} samples", dataset.len());
        return Err(Error::Shape { op, expected, got: labels.shape() });
    }
    let mut classes = std::collections::BTreeMap::<i64, Vec<usize>>::new();
    for (i, class) in labels.to_i64_vec()?.into_iter().enumerate() {
        classes.entry(class).or_default().push(i);
    }
    let mut rng = Rng::seed(seed);
    let mut parts = vec![Vec::new(); shares.len()];
    for members in classes.values_mut() {
        rng.shuffle(members);
        deal(members, shares, &mut parts);
    }
    // Else a part would begin with all of the first class.
    parts.iter_mut().for_each(|part| rng.shuffle(part));
    parts.into_iter().map(|p| Subset::new(dataset.clone(), p)).collect()
}

fn check(op: &'static str, shares: &[f64]) -> Result<()> {
    let sum: f64 = shares.iter().sum();
    if shares.iter().all(|s| *s > 0.0) && (sum - 1.0).abs() < 1e-9 {
        return Ok(());
    }
    Err(Error::invalid(op, format!("shares {shares:?} are not positive numbers that sum to 1")))
}

/// Deals samples out in the given shares: cuts at rounded cumulative sums, so that none is lost.
fn deal(samples: &[usize], shares: &[f64], parts: &mut [Vec<usize>]) {
    let (mut start, mut sum) = (0, 0.0);
    for (k, (share, part)) in shares.iter().zip(parts).enumerate() {
        sum += share;
        let end = if k + 1 == shares.len() {
            samples.len()
        } else {
            ((samples.len() as f64 * sum).round() as usize).clamp(start, samples.len())
        };
        part.extend_from_slice(&samples[start..end]);
        start = end;
    }
}
