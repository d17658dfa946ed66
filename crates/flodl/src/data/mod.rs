//! Data sets, samplers and batches.

mod image;
mod loader;
mod prefetch;
mod records;
mod sampler;
mod split;
mod table;
mod text;
mod transform;

pub use image::{ImageSet, cifar10, cifar100, mnist, read_idx};
pub use loader::{Batch, DataLoader, EpochIter};
pub use records::FixedStrideRecords;
pub use sampler::{
    RandomSampler, Sampler, SequentialSampler, SplitSampler, SubsetSampler, WeightedSampler,
};
pub use split::{Subset, random_split, stratified_split};
pub use table::{Column, CsvTable};
pub use text::{ByteVocab, CharVocab, TextWindows};
pub use transform::{PickKey, TransformFn};

use std::sync::Arc;

use crate::{Error, Result, Tensor};

/// Single samples by index. Each sample is a list of tensors, such as an image and its label.
pub trait DataSet: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// One sample.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, index: usize) -> Result<Vec<Tensor>>;
    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whole batches by index: for sources that have a faster way than one sample at a time.
pub trait BatchDataSet: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// The samples, stacked along a new first dim.
    ///
    /// # Errors
    /// When one cannot be read.
    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>>;
    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
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

/// A set of single samples as one of batches: samples are stacked.
pub fn batch_dataset_from(dataset: impl DataSet + 'static) -> Arc<dyn BatchDataSet> {
    Arc::new(Stacked(dataset))
}

struct Stacked<D>(D);

impl<D: DataSet> BatchDataSet for Stacked<D> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let samples = indices.iter().map(|&i| self.0.get(i)).collect::<Result<Vec<_>>>()?;
        let width = samples.first().map_or(0, Vec::len);
        if samples.iter().any(|s| s.len() != width) {
            return Err(Error::invalid("DataSet", "samples have different numbers of tensors"));
        }
        (0..width)
            .map(|c| Tensor::stack(&samples.iter().map(|s| &s[c]).collect::<Vec<_>>(), 0))
            .collect()
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
}

impl BatchDataSet for TensorDataset {
    fn len(&self) -> usize {
        self.tensors[0].shape()[0] as usize
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let rows: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
        let index = Tensor::from_i64(&rows, &[rows.len() as i64], self.tensors[0].device())?;
        self.tensors.iter().map(|t| t.index_select(0, &index)).collect()
    }
}
