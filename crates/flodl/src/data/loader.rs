//! [`DataLoader`]: batches of an epoch.

use std::sync::Arc;

use super::prefetch::{Job, Workers};
use super::{BatchDataSet, RandomSampler, Sampler, SequentialSampler, TransformFn};
use crate::{Error, Result, Tensor};

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
/// ```
/// use flodl::*;
/// let x = Tensor::arange(0.0, 10.0, 1.0, TensorOptions::default())?.reshape(&[10, 1])?;
/// let mut loader = DataLoader::new(TensorDataset::new(vec![x])?, 4).shuffle(7);
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
    seed: u64,
    transform: Option<TransformFn>,
    workers: usize,
    prefetch: usize,
}

impl DataLoader {
    /// Batches in order.
    pub fn new(dataset: impl BatchDataSet + 'static, batch_size: usize) -> Self {
        Self::from_arc(Arc::new(dataset), batch_size)
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
            seed: 0,
            transform: None,
            workers: 0,
            prefetch: 2,
        }
    }

    /// Another order in each epoch, which depends on the seed and the epoch alone.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.sampler = Box::new(RandomSampler::new(self.dataset.len(), seed));
        self.seed = seed;
        self
    }

    /// The seed of random numbers in data set and transform; [`DataLoader::shuffle`] sets it too.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What to do to each batch: augmentation, normalisation.
    pub fn transform(mut self, transform: TransformFn) -> Self {
        self.transform = Some(transform);
        self
    }

    /// Threads that make batches while others are used. 0 makes each when it is asked for; the
    /// batches are the same whatever the number.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many batches each worker may be ahead; 2 unless said.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// An order of your own.
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Box::new(sampler);
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

    /// Number of samples in an epoch.
    pub fn samples(&self) -> usize {
        self.sampler.epoch_len()
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        let n = self.sampler.epoch_len();
        if self.drop_last { n / self.batch_size.max(1) } else { n.div_ceil(self.batch_size.max(1)) }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that changes with whatever changes the batches of an epoch, other than the samples
    /// themselves.
    pub(crate) fn fingerprint(&mut self, epoch: usize) -> u64 {
        let settings = [
            self.seed,
            self.dataset.len() as u64,
            self.batch_size as u64,
            u64::from(self.drop_last),
        ];
        let order = self.sampler.indices(epoch);
        let all = settings.into_iter().chain(order.into_iter().map(|i| i as u64));
        all.fold(0, super::transform::mix)
    }

    /// The batches of an epoch.
    ///
    /// # Errors
    /// When the batch size is 0, or the epoch has no batches.
    pub fn epoch(&mut self, epoch: usize) -> Result<EpochIter> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch without the first `skip`, which are not made: to go on where a run
    /// was interrupted.
    ///
    /// # Errors
    /// As for [`DataLoader::epoch`].
    pub fn epoch_from(&mut self, epoch: usize, skip: usize) -> Result<EpochIter> {
        let size = self.batch_size;
        if size == 0 {
            return Err(Error::invalid("DataLoader", "batch_size must be at least 1, not 0"));
        }
        let mut order = self.sampler.indices(epoch);
        let all = if self.drop_last { order.len() / size } else { order.len().div_ceil(size) };
        if all == 0 {
            return Err(Error::invalid(
                "DataLoader",
                format!(
                    "an epoch without batches: {} samples in batches of {size}{}",
                    order.len(),
                    if self.drop_last { " with drop_last" } else { "" }
                ),
            ));
        }
        order.truncate(all.saturating_mul(size));
        let job = Arc::new(Job {
            dataset: self.dataset.clone(),
            transform: self.transform.clone(),
            names: self.names.clone(),
            seed: self.seed,
            epoch,
            order,
            batch_size: size,
            first: skip.min(all),
            count: all,
        });
        let workers = match self.workers.min(all) {
            0 => None,
            n => Some(Workers::start(job.clone(), n, self.prefetch)?),
        };
        Ok(EpochIter { next: job.first, job, workers })
    }
}

/// The batches of one epoch.
pub struct EpochIter {
    job: Arc<Job>,
    workers: Option<Workers>,
    next: usize,
}

impl Iterator for EpochIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.job.count {
            return None;
        }
        let b = self.next;
        self.next += 1;
        Some(match &self.workers {
            Some(workers) => workers.next(b),
            None => self.job.make(b),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.job.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for EpochIter {}
