//! [`DataLoader`]: batches of an epoch.

use std::sync::Arc;

use super::prefetch::{Ordered, with_rng};
use super::{
    BatchDataSet, DataSet, PickKey, RandomSampler, Sampler, SequentialSampler, TransformFn,
    batch_dataset_with, default_collate,
};
use crate::hash::fnv1a;
use crate::{Device, Error, Result, Tensor, Variable};

/// The tensors of one batch, by position or name.
#[derive(Clone, Debug)]
pub struct Batch {
    names: Vec<String>,
    tensors: Vec<Tensor>,
}

impl Batch {
    pub(crate) fn new(names: &[String], tensors: Vec<Tensor>) -> Self {
        let named = |i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
        Batch { names: (0..tensors.len()).map(named).collect(), tensors }
    }

    /// The tensor at a position.
    ///
    /// # Panics
    /// When there is none; [`Batch::len`] says how many there are.
    pub fn get(&self, index: usize) -> &Tensor {
        &self.tensors[index]
    }

    /// The values at a place as a variable that needs no gradient, for a model or a loss.
    ///
    /// # Panics
    /// As [`Batch::get`].
    pub fn variable(&self, index: usize) -> Variable {
        Variable::new(self.get(index).clone(), false)
    }

    /// The tensor of a name.
    pub fn get_named(&self, name: &str) -> Option<&Tensor> {
        self.names.iter().position(|n| n == name).map(|i| &self.tensors[i])
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// All names in order; positions where none were given.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Number of samples: rows of the first tensor.
    pub fn samples(&self) -> usize {
        self.tensors.first().and_then(|t| t.shape().first().copied()).unwrap_or(0) as usize
    }

    /// The tensors.
    pub fn into_vec(self) -> Vec<Tensor> {
        self.tensors
    }

    /// Names and tensors.
    pub fn into_parts(self) -> (Vec<String>, Vec<Tensor>) {
        (self.names, self.tensors)
    }
}

/// Cuts a data set into batches. The last batch may be smaller, unless `drop_last` is asked for.
///
/// What it yields depends on the data, the seed and the epoch alone: worker threads change when a
/// batch is made, never what is in it, and a data set that draws random numbers from
/// [`crate::manual_seed`]'s generator gets the same ones whichever thread asks.
///
/// ```
/// use flodl::*;
/// let x = Tensor::arange(0.0, 10.0, 1.0, TensorOptions::default())?.reshape(&[10, 1])?;
/// let mut loader = DataLoader::new(TensorDataset::new(vec![x])?, 4).shuffle(7).workers(2);
/// let sizes: Vec<i64> =
///     loader.epoch(0)?.map(|batch| Ok(batch?.get(0).shape()[0])).collect::<Result<_>>()?;
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), Error>(())
/// ```
pub struct DataLoader {
    dataset: Arc<dyn BatchDataSet>,
    sampler: Box<dyn Sampler>,
    batch_size: usize,
    drop_last: bool,
    names: Vec<String>,
    transforms: Vec<TransformFn>,
    seed: u64,
    augment: usize,
    workers: usize,
    prefetch: Option<usize>,
    device: Option<Device>,
}

impl DataLoader {
    /// Batches in order.
    pub fn new(dataset: impl BatchDataSet + 'static, batch_size: usize) -> Self {
        Self::from_arc(Arc::new(dataset), batch_size)
    }

    /// Batches in order, of single samples that are stacked.
    pub fn from_samples(dataset: impl DataSet + 'static, batch_size: usize) -> Self {
        Self::with_collate(dataset, batch_size, default_collate)
    }

    /// Batches in order, which `collate` makes of single samples.
    pub fn with_collate(
        dataset: impl DataSet + 'static,
        batch_size: usize,
        collate: impl Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        Self::from_arc(batch_dataset_with(dataset, collate), batch_size)
    }

    /// Batches in order, of a data set that others share.
    pub fn from_arc(dataset: Arc<dyn BatchDataSet>, batch_size: usize) -> Self {
        let sampler = Box::new(SequentialSampler::new(dataset.len()));
        DataLoader {
            dataset,
            sampler,
            batch_size,
            drop_last: false,
            names: Vec::new(),
            transforms: Vec::new(),
            seed: 0,
            augment: 1,
            workers: 0,
            prefetch: None,
            device: None,
        }
    }

    /// Another order in each epoch, which depends on the seed and the epoch alone. Also the seed
    /// of transforms.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.sampler = Box::new(RandomSampler::new(self.dataset.len(), seed));
        self.seed(seed)
    }

    /// An order of your own.
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Seed of the random numbers that transforms and data sets draw; [`DataLoader::shuffle`] sets
    /// it too.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves out a last batch that is not full.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Names the tensors of a batch, in order.
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|&n| n.to_owned()).collect();
        self
    }

    /// Changes each batch, after those given before.
    pub fn transform(mut self, transform: TransformFn) -> Self {
        self.transforms.push(transform);
        self
    }

    /// Takes each sample `times` times in an epoch, one behind the other, each with a [`PickKey`]
    /// of its own for the transforms.
    pub fn augment(mut self, times: usize) -> Self {
        self.augment = times.max(1);
        self
    }

    /// Threads that make batches ahead of time; 0 makes each when it is asked for.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many batches are made ahead at most; two for each worker unless set.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = Some(batches);
        self
    }

    /// Where the tensors of a batch go.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// The names that [`DataLoader::names`] gave.
    pub(crate) fn batch_names(&self) -> &[String] {
        &self.names
    }

    /// Number of samples in an epoch.
    pub fn samples(&self) -> usize {
        self.sampler.epoch_len() * self.augment
    }

    /// Number of samples in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        self.batches(self.samples())
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn batches(&self, samples: usize) -> usize {
        let size = self.batch_size.max(1);
        if self.drop_last { samples / size } else { samples.div_ceil(size) }
    }

    /// What the batches depend on besides the data, in words.
    pub(crate) fn setup(&mut self) -> Vec<(&'static str, String)> {
        let order = self.sampler.indices(0).into_iter().chain(self.sampler.indices(1));
        let order = fnv1a(order.flat_map(|i| (i as u64).to_le_bytes()));
        vec![
            ("samples", self.sampler.len().to_string()),
            ("batch size", self.batch_size.to_string()),
            ("drop_last", self.drop_last.to_string()),
            ("augment", self.augment.to_string()),
            ("seed", self.seed.to_string()),
            ("sampler", self.sampler.name().to_owned()),
            ("order", format!("{order:016x}")),
        ]
    }

    /// The batches of an epoch.
    ///
    /// # Errors
    /// When the batch size is 0, the epoch has no batches, or no thread can be started.
    pub fn epoch(&mut self, epoch: usize) -> Result<EpochIter> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from a given one on, as they would have come after those before it,
    /// which are not read. For runs that resume in the middle of an epoch.
    ///
    /// # Errors
    /// As for [`DataLoader::epoch`].
    pub fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<EpochIter> {
        if self.batch_size == 0 {
            return Err(Error::invalid("DataLoader", "batch_size must be at least 1, not 0"));
        }
        let mut order = self.sampler.indices(epoch);
        if self.augment > 1 {
            order = order.iter().flat_map(|&i| std::iter::repeat_n(i, self.augment)).collect();
        }
        let batches = self.batches(order.len());
        if batches == 0 {
            return Err(Error::invalid(
                "DataLoader",
                format!(
                    "an epoch without batches: {} samples in batches of {}{}",
                    order.len(),
                    self.batch_size,
                    if self.drop_last { " with drop_last" } else { "" }
                ),
            ));
        }
        let fetch = Fetch {
            dataset: self.dataset.clone(),
            transforms: self.transforms.clone(),
            names: self.names.clone(),
            order,
            batch_size: self.batch_size,
            seed: self.seed,
            epoch,
            device: self.device,
        };
        let first = first.min(batches);
        let inner = if self.workers == 0 {
            Inner::Here { fetch, next: first, end: batches }
        } else {
            let workers = self.workers.min((batches - first).max(1));
            let depth = self.prefetch.unwrap_or(2 * workers).max(1);
            Inner::Ahead(Ordered::new(workers, depth, first..batches, move |i| fetch.batch(i))?)
        };
        Ok(EpochIter { inner, left: batches - first })
    }
}

/// All that a batch depends on.
struct Fetch {
    dataset: Arc<dyn BatchDataSet>,
    transforms: Vec<TransformFn>,
    names: Vec<String>,
    order: Vec<usize>,
    batch_size: usize,
    seed: u64,
    epoch: usize,
    device: Option<Device>,
}

impl Fetch {
    fn batch(&self, number: usize) -> Result<Batch> {
        let start = number * self.batch_size;
        let indices = &self.order[start..self.order.len().min(start + self.batch_size)];
        let key = |(i, &index)| PickKey::new(self.seed, self.epoch, start + i, index);
        let keys: Vec<PickKey> = indices.iter().enumerate().map(key).collect();
        let seed = PickKey::new(self.seed, self.epoch, number, usize::MAX).stream();
        let mut tensors = with_rng(seed, || {
            let read = self.dataset.get_batch(indices)?;
            self.transforms.iter().try_fold(read, |t, f| f.apply(t, &keys))
        })?;
        if let Some(device) = self.device {
            tensors = tensors.iter().map(|t| t.to_device(device)).collect::<Result<_>>()?;
        }
        Ok(Batch::new(&self.names, tensors))
    }
}

enum Inner {
    Here { fetch: Fetch, next: usize, end: usize },
    Ahead(Ordered<Batch>),
}

/// The batches of one epoch. Dropping it early stops its threads.
pub struct EpochIter {
    inner: Inner,
    left: usize,
}

impl Iterator for EpochIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match &mut self.inner {
            Inner::Here { fetch, next, end } => (*next < *end).then(|| {
                *next += 1;
                fetch.batch(*next - 1)
            }),
            Inner::Ahead(ordered) => ordered.next(),
        };
        self.left -= usize::from(batch.is_some());
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for EpochIter {}
