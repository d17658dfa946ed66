//! Sources that are read from front to back.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::prefetch::{panic_error, spawn, with_rng};
use super::{Batch, PickKey, default_collate};
use crate::{Error, Result, Rng, Tensor};

/// The samples of an epoch, one after the other.
pub type SampleIter = Box<dyn Iterator<Item = Result<Vec<Tensor>>> + Send>;

/// A source without an index: a log, a generator, files too large to know their length.
pub trait IterableDataSet: Send + Sync {
    /// The samples of an epoch.
    ///
    /// # Errors
    /// When the source cannot be opened.
    fn iter(&self, epoch: usize) -> Result<SampleIter>;
}

impl<F> IterableDataSet for F
where
    F: Fn(usize) -> Result<SampleIter> + Send + Sync,
{
    fn iter(&self, epoch: usize) -> Result<SampleIter> {
        self(epoch)
    }
}

/// Batches of an [`IterableDataSet`]. The last one may be smaller, unless `drop_last` is asked
/// for; an epoch without batches is an error.
///
/// ```
/// use flodl::*;
/// let numbers = |_epoch| -> Result<SampleIter> {
///     Ok(Box::new((0..5).map(|i| Ok(vec![Tensor::from_i64(&[i], &[], Device::CPU)?]))))
/// };
/// let sizes: Vec<usize> =
///     StreamLoader::new(numbers, 2).epoch(0)?.map(|b| Ok(b?.samples())).collect::<Result<_>>()?;
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok::<(), Error>(())
/// ```
pub struct StreamLoader {
    dataset: Arc<dyn IterableDataSet>,
    batch_size: usize,
    drop_last: bool,
    names: Vec<String>,
    shuffle: Option<(usize, u64)>,
    prefetch: usize,
}

impl StreamLoader {
    /// Batches in the source's order.
    pub fn new(dataset: impl IterableDataSet + 'static, batch_size: usize) -> Self {
        StreamLoader {
            dataset: Arc::new(dataset),
            batch_size,
            drop_last: false,
            names: Vec::new(),
            shuffle: None,
            prefetch: 0,
        }
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

    /// Keeps up to `buffer` samples and hands out a random one of them: nearly a shuffle, in
    /// bounded memory.
    pub fn shuffle(mut self, buffer: usize, seed: u64) -> Self {
        self.shuffle = Some((buffer.max(1), seed));
        self
    }

    /// Reads up to this many batches ahead in a thread.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// What the batches depend on besides the source, in words.
    pub(crate) fn setup(&self) -> Vec<(&'static str, String)> {
        vec![
            ("samples", "a stream".to_owned()),
            ("batch size", self.batch_size.to_string()),
            ("drop_last", self.drop_last.to_string()),
            ("shuffle", format!("{:?}", self.shuffle)),
        ]
    }

    /// The batches of an epoch from a given one on; those before it are read and dropped. For runs
    /// that resume in the middle of an epoch.
    ///
    /// # Errors
    /// As for [`StreamLoader::epoch`], and when one of the batches before fails.
    pub fn epoch_from(&self, epoch: usize, first: usize) -> Result<StreamIter> {
        let mut batches = self.epoch(epoch)?;
        batches.by_ref().take(first).try_for_each(|batch| batch.map(|_| ()))?;
        Ok(batches)
    }

    /// The batches of an epoch.
    ///
    /// # Errors
    /// When the batch size is 0, the source cannot be opened, or no thread can be started; when
    /// there are no batches, the first one is an error.
    pub fn epoch(&self, epoch: usize) -> Result<StreamIter> {
        if self.batch_size == 0 {
            return Err(Error::invalid("StreamLoader", "batch_size must be at least 1, not 0"));
        }
        let source = self.dataset.iter(epoch)?;
        let seed = self.shuffle.map_or(0, |s| s.1);
        let batches = Batches {
            source,
            buffer: Vec::new(),
            shuffle: self.shuffle.map(|(n, _)| n),
            rng: PickKey::new(seed, epoch, 0, 0).rng(),
            seed,
            epoch,
            batch_size: self.batch_size,
            drop_last: self.drop_last,
            names: self.names.clone(),
            made: 0,
            ended: false,
        };
        if self.prefetch == 0 {
            return Ok(StreamIter { inner: Inner::Here(Box::new(batches)) });
        }
        let (sender, receiver) = sync_channel(self.prefetch);
        let thread = spawn("flodl-stream", move || {
            let run = || batches.into_iter().try_for_each(|b| sender.send(b));
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                let _ = sender.send(Err(panic_error("StreamLoader", panic)));
            }
        })?;
        Ok(StreamIter { inner: Inner::Ahead(Some(receiver), Some(thread)) })
    }
}

struct Batches {
    source: SampleIter,
    buffer: Vec<Vec<Tensor>>,
    shuffle: Option<usize>,
    rng: Rng,
    seed: u64,
    epoch: usize,
    batch_size: usize,
    drop_last: bool,
    names: Vec<String>,
    made: usize,
    ended: bool,
}

impl Batches {
    fn sample(&mut self) -> Option<Result<Vec<Tensor>>> {
        let Some(size) = self.shuffle else { return self.source.next() };
        while self.buffer.len() < size {
            match self.source.next() {
                Some(Ok(sample)) => self.buffer.push(sample),
                Some(Err(e)) => return Some(Err(e)),
                None => break,
            }
        }
        let pick = self.rng.usize(self.buffer.len());
        (!self.buffer.is_empty()).then(|| Ok(self.buffer.swap_remove(pick)))
    }

    fn batch(&mut self) -> Option<Result<Batch>> {
        let mut samples = Vec::with_capacity(self.batch_size);
        while samples.len() < self.batch_size {
            match self.sample() {
                Some(Ok(sample)) => samples.push(sample),
                Some(Err(e)) => return Some(Err(e)),
                None => break,
            }
        }
        if samples.is_empty() || (self.drop_last && samples.len() < self.batch_size) {
            return None;
        }
        Some(default_collate(samples).map(|t| Batch::new(&self.names, t)))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let stream = PickKey::new(self.seed, self.epoch, self.made, usize::MAX).stream();
        let batch = with_rng(stream, || self.batch());
        // After an error the source's state is unknown.
        self.ended = !matches!(batch, Some(Ok(_)));
        if batch.is_none() && self.made == 0 {
            let what = format!("epoch {} has no batches of {}", self.epoch, self.batch_size);
            return Some(Err(Error::invalid("StreamLoader", what)));
        }
        self.made += 1;
        batch
    }
}

enum Inner {
    Here(Box<Batches>),
    Ahead(Option<Receiver<Result<Batch>>>, Option<JoinHandle<()>>),
}

/// The batches of an epoch of a stream.
pub struct StreamIter {
    inner: Inner,
}

impl Iterator for StreamIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.inner {
            Inner::Here(batches) => batches.next(),
            Inner::Ahead(receiver, _) => receiver.as_ref()?.recv().ok(),
        }
    }
}

impl Drop for StreamIter {
    fn drop(&mut self) {
        if let Inner::Ahead(receiver, thread) = &mut self.inner {
            // Without a reader the thread's next batch has nowhere to go, and it ends.
            drop(receiver.take());
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}
