//! Threads that make batches ahead of their use.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::loader::Batch;
use super::transform::mix;
use super::{BatchDataSet, PickKey, TransformFn};
use crate::{Error, Result, rng_state, set_rng_state};

/// All that it takes to make the batches of an epoch.
pub(super) struct Job {
    pub dataset: Arc<dyn BatchDataSet>,
    pub transform: Option<TransformFn>,
    pub names: Vec<String>,
    pub seed: u64,
    pub epoch: usize,
    pub order: Vec<usize>,
    pub batch_size: usize,
    /// The first batch to make.
    pub first: usize,
    /// Number of batches, those before the first included.
    pub count: usize,
}

impl Job {
    /// The `b`-th batch of the epoch.
    pub fn make(&self, b: usize) -> Result<Batch> {
        let start = b * self.batch_size;
        let end = (start + self.batch_size).min(self.order.len());
        let indices = &self.order[start..end];
        let size = self.dataset.len();
        if let Some(&i) = indices.iter().find(|&&i| i >= size) {
            let (index, size) = (i as i64, size as i64);
            return Err(Error::IndexOutOfRange { op: "DataLoader", index, size });
        }
        // A data set may draw random numbers: they depend on the batch, not on the thread that
        // makes it, and leave the caller's alone.
        let before = rng_state();
        let seed = [self.seed, self.epoch as u64, b as u64].into_iter().fold(0, mix);
        set_rng_state((seed, 0));
        let made = self.tensors(start, indices);
        set_rng_state(before);
        made.map(|tensors| Batch::new(&self.names, tensors))
    }

    fn tensors(&self, start: usize, indices: &[usize]) -> Result<Vec<crate::Tensor>> {
        let tensors = self.dataset.get_batch(indices)?;
        let Some(transform) = &self.transform else { return Ok(tensors) };
        let (seed, epoch) = (self.seed, self.epoch);
        let key = |(i, &index)| PickKey { seed, epoch, position: start + i, index };
        let keys: Vec<PickKey> = indices.iter().enumerate().map(key).collect();
        transform.apply(tensors, &keys)
    }
}

/// Worker `w` of `n` makes the batches `w`, `w + n`, …: who makes what does not depend on time, and
/// taking from the workers in turn gives the batches in order.
pub(super) struct Workers {
    from: Vec<Receiver<Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
    first: usize,
}

impl Workers {
    /// `ahead` is how many batches each worker may be ahead.
    pub fn start(job: Arc<Job>, workers: usize, ahead: usize) -> Result<Self> {
        let workers = workers.min(job.count - job.first);
        let mut all = Workers { from: Vec::new(), threads: Vec::new(), first: job.first };
        for w in 0..workers {
            let (to, from) = sync_channel(ahead);
            let job = job.clone();
            let work = move || {
                for b in (job.first + w..job.count).step_by(workers) {
                    // Nobody listens once the epoch was left early.
                    if to.send(job.make(b)).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("flodl-data-{w}"))
                .spawn(work)
                .map_err(|e| Error::io("DataLoader's worker", e))?;
            all.from.push(from);
            all.threads.push(thread);
        }
        Ok(all)
    }

    /// The `b`-th batch; batches must be asked for in order.
    pub fn next(&self, b: usize) -> Result<Batch> {
        let w = (b - self.first) % self.from.len();
        self.from[w].recv().unwrap_or_else(|_| {
            let what = format!("worker {w} panicked while it made batch {b}");
            Err(Error::invalid("DataLoader", what))
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.from.clear();
        for thread in self.threads.drain(..) {
            // A panic was reported with the batch that it cost.
            let _ = thread.join();
        }
    }
}
