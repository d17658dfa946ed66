//! Data sets made of tensors or of other data sets.

use std::sync::Arc;

use super::{BatchDataSet, DataSet, random_split, stratified_split};
use crate::{Error, Result, Tensor};

/// Makes a batch of samples.
pub type Collate = dyn Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync;

/// Stacks samples along a new first dim: what a loader does unless told otherwise.
///
/// # Errors
/// When samples differ in their number of tensors, shapes or dtypes.
pub fn default_collate(samples: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let width = samples.first().map_or(0, Vec::len);
    if let Some(s) = samples.iter().find(|s| s.len() != width) {
        let what = format!("samples of {width} and of {} tensors in one batch", s.len());
        return Err(Error::invalid("default_collate", what));
    }
    (0..width)
        .map(|c| Tensor::stack(&samples.iter().map(|s| &s[c]).collect::<Vec<_>>(), 0))
        .collect()
}

/// A set of single samples as one of batches: samples are stacked.
pub fn batch_dataset_from(dataset: impl DataSet + 'static) -> Arc<dyn BatchDataSet> {
    batch_dataset_with(dataset, default_collate)
}

/// A set of single samples as one of batches that `collate` makes of them: sequences of different
/// lengths, say, which it pads.
///
/// ```
/// use flodl::*;
/// struct Words;
/// impl DataSet for Words {
///     fn len(&self) -> usize { 3 }
///     fn get(&self, i: usize) -> Result<Vec<Tensor>> {
///         Ok(vec![Tensor::ones(&[i as i64 + 1], TensorOptions::default())?])
///     }
/// }
/// let padded = batch_dataset_with(Words, |samples| {
///     let pad = |s: &Vec<Tensor>| s[0].pad(&[0, 3 - s[0].shape()[0]], 0.0);
///     let rows = samples.iter().map(pad).collect::<Result<Vec<_>>>()?;
///     Ok(vec![Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0)?])
/// });
/// let batch = DataLoader::from_arc(padded, 3).epoch(0)?.next().unwrap()?;
/// assert_eq!(batch.get(0).to_f32_vec()?, [1., 0., 0., 1., 1., 0., 1., 1., 1.]);
/// # Ok::<(), Error>(())
/// ```
pub fn batch_dataset_with(
    dataset: impl DataSet + 'static,
    collate: impl Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Arc<dyn BatchDataSet> {
    Arc::new(Collated { dataset, collate: Box::new(collate) })
}

struct Collated<D> {
    dataset: D,
    collate: Box<Collate>,
}

impl<D: DataSet> BatchDataSet for Collated<D> {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        (self.collate)(indices.iter().map(|&i| self.dataset.get(i)).collect::<Result<Vec<_>>>()?)
    }
}

impl<D: BatchDataSet + ?Sized> BatchDataSet for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        (**self).get_batch(indices)
    }
}

impl<D: DataSet + ?Sized> DataSet for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        (**self).get(index)
    }
}

/// The first index that is none of `0..len`, as an error.
pub(super) fn check_indices(op: &'static str, indices: &[usize], len: usize) -> Result<()> {
    match indices.iter().find(|&&i| i >= len) {
        None => Ok(()),
        Some(&i) => Err(Error::IndexOutOfRange { op, index: i as i64, size: len as i64 }),
    }
}

/// Tensors in memory whose first dims count the samples.
#[derive(Clone, Debug)]
pub struct TensorDataset {
    tensors: Vec<Tensor>,
}

impl TensorDataset {
    /// From tensors with the same number of rows.
    ///
    /// # Errors
    /// When there are none, one has no dims, or numbers of rows differ.
    pub fn new(tensors: Vec<Tensor>) -> Result<Self> {
        let rows = |t: &Tensor| t.shape().first().copied();
        let Some(first) = tensors.first() else {
            return Err(Error::invalid("TensorDataset", "expected at least one tensor, got none"));
        };
        match tensors.iter().find(|t| rows(t).is_none() || rows(t) != rows(first)) {
            None => Ok(TensorDataset { tensors }),
            Some(t) => Err(Error::ShapeMismatch {
                op: "TensorDataset",
                lhs: first.shape(),
                rhs: t.shape(),
                why: "all tensors need the same number of rows".into(),
            }),
        }
    }

    /// The tensors, all rows.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

impl BatchDataSet for TensorDataset {
    fn len(&self) -> usize {
        self.tensors[0].shape()[0] as usize
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        check_indices("TensorDataset", indices, BatchDataSet::len(self))?;
        let rows: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
        let index = Tensor::from_i64(&rows, &[rows.len() as i64], self.tensors[0].device())?;
        self.tensors.iter().map(|t| t.index_select(0, &index)).collect()
    }
}

/// Some samples of another set, in the order given.
///
/// ```
/// use flodl::*;
/// let all = TensorDataset::new(vec![Tensor::arange(0.0, 10.0, 1.0, TensorOptions::default())?])?;
/// let part = Subset::new(all, vec![7, 2])?;
/// assert_eq!(part.get_batch(&[0, 1])?[0].to_f32_vec()?, [7.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: BatchDataSet> Subset<D> {
    /// The samples at these indices.
    ///
    /// # Errors
    /// When an index is none of the set's.
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Self> {
        check_indices("Subset", &indices, dataset.len())?;
        Ok(Subset { dataset, indices })
    }

    /// The indices in the other set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: BatchDataSet + 'static> Subset<Arc<D>> {
    /// Parts of a set by [`random_split`].
    ///
    /// # Errors
    /// As for [`random_split`].
    pub fn random_split(dataset: D, fractions: &[f64], seed: u64) -> Result<Vec<Self>> {
        let parts = random_split(dataset.len(), fractions, seed)?;
        Self::parts(dataset, parts)
    }

    /// Parts of a set by [`stratified_split`]; `labels` has the class of each sample.
    ///
    /// # Errors
    /// As for [`stratified_split`], and when there are not as many labels as samples.
    pub fn stratified_split(
        dataset: D,
        labels: &[i64],
        fractions: &[f64],
        seed: u64,
    ) -> Result<Vec<Self>> {
        if labels.len() != dataset.len() {
            let what = format!("{} labels for {} samples", labels.len(), dataset.len());
            return Err(Error::invalid("stratified_split", what));
        }
        Self::parts(dataset, stratified_split(labels, fractions, seed)?)
    }

    fn parts(dataset: D, parts: Vec<Vec<usize>>) -> Result<Vec<Self>> {
        let dataset = Arc::new(dataset);
        parts.into_iter().map(|indices| Subset::new(dataset.clone(), indices)).collect()
    }
}

impl<D: BatchDataSet> BatchDataSet for Subset<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        check_indices("Subset", indices, self.indices.len())?;
        self.dataset.get_batch(&indices.iter().map(|&i| self.indices[i]).collect::<Vec<_>>())
    }
}

/// Several sets one behind the other.
pub struct ConcatDataset {
    parts: Vec<Arc<dyn BatchDataSet>>,
    /// Where each part ends.
    ends: Vec<usize>,
}

impl ConcatDataset {
    /// These sets in this order. Their samples must be alike.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(parts: Vec<Arc<dyn BatchDataSet>>) -> Result<Self> {
        if parts.is_empty() {
            return Err(Error::invalid(
                "ConcatDataset",
                "expected at least one data set, got none",
            ));
        }
        let mut end = 0;
        let ends = parts
            .iter()
            .map(|p| {
                end += p.len();
                end
            })
            .collect();
        Ok(ConcatDataset { parts, ends })
    }
}

impl BatchDataSet for ConcatDataset {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        check_indices("ConcatDataset", indices, self.len())?;
        // One read of each part, then the rows in the order asked for.
        let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); self.parts.len()];
        let mut places = Vec::with_capacity(indices.len());
        for &i in indices {
            let part = self.ends.partition_point(|&end| end <= i);
            let start = if part == 0 { 0 } else { self.ends[part - 1] };
            places.push((part, wanted[part].len()));
            wanted[part].push(i - start);
        }
        let mut starts = vec![0; self.parts.len()];
        let mut read: Vec<Vec<Tensor>> = Vec::new();
        let mut rows = 0;
        for (p, (part, wanted)) in self.parts.iter().zip(&wanted).enumerate() {
            starts[p] = rows;
            rows += wanted.len();
            if !wanted.is_empty() {
                read.push(part.get_batch(wanted)?);
            }
        }
        let Some(width) = read.first().map(Vec::len) else { return self.parts[0].get_batch(&[]) };
        if read.iter().any(|r| r.len() != width) {
            let what = "the sets have samples with different numbers of tensors";
            return Err(Error::invalid("ConcatDataset", what));
        }
        let order: Vec<i64> = places.iter().map(|&(p, i)| (starts[p] + i) as i64).collect();
        (0..width)
            .map(|c| {
                let columns: Vec<&Tensor> = read.iter().map(|r| &r[c]).collect();
                let all = Tensor::cat_many(&columns, 0)?;
                let index = Tensor::from_i64(&order, &[order.len() as i64], all.device())?;
                all.index_select(0, &index)
            })
            .collect()
    }
}
