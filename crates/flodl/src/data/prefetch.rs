//! Work done ahead of time in threads, handed out in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{BatchDataSet, PickKey, TransformFn};
use crate::{Device, Error, Result, Tensor};

/// Runs with the thread's random numbers at a given seed, and puts them back after.
pub(super) fn with_rng<T>(seed: u64, f: impl FnOnce() -> T) -> T {
    struct Restore((u64, u64));
    impl Drop for Restore {
        fn drop(&mut self) {
            crate::set_rng_state(self.0);
        }
    }
    let _restore = Restore(crate::rng_state());
    crate::manual_seed(seed);
    f()
}

/// What a thread that panicked said.
pub(super) fn panic_error(op: &'static str, panic: Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::invalid(op, format!("a worker panicked: {text}"))
}

/// A thread with a name, for debuggers.
pub(super) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(f).map_err(|e| Error::io("starting a thread", e))
}

/// Where the workers and the reader meet.
struct Desk<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next number that a worker takes.
    next: usize,
    /// The next number that the reader wants.
    wanted: usize,
    end: usize,
    done: BTreeMap<usize, Result<T>>,
    stop: bool,
}

impl<T> Desk<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results of a job for each number of a range, in order, made ahead by several threads.
pub(super) struct Ordered<T> {
    desk: Arc<Desk<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Ordered<T> {
    /// At most `depth` results wait for the reader.
    pub fn new(
        workers: usize,
        depth: usize,
        range: Range<usize>,
        job: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let (next, end) = (range.start, range.end);
        let state = State { next, wanted: next, end, done: BTreeMap::new(), stop: false };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        let job = Arc::new(job);
        let mut ordered = Ordered { desk, threads: Vec::new() };
        for _ in 0..workers {
            let (desk, job) = (ordered.desk.clone(), job.clone());
            ordered.threads.push(spawn("flodl-loader", move || work(&desk, depth, &*job))?);
        }
        Ok(ordered)
    }
}

fn work<T>(desk: &Desk<T>, depth: usize, job: &impl Fn(usize) -> Result<T>) {
    loop {
        let mut state = desk.lock();
        while !state.stop && state.next < state.end && state.next >= state.wanted + depth {
            state = desk.wait(state);
        }
        if state.stop || state.next >= state.end {
            return;
        }
        let number = state.next;
        state.next += 1;
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(|| job(number)))
            .unwrap_or_else(|panic| Err(panic_error("DataLoader", panic)));
        desk.lock().done.insert(number, result);
        desk.changed.notify_all();
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.desk.lock();
        if state.wanted >= state.end {
            return None;
        }
        loop {
            let wanted = state.wanted;
            if let Some(result) = state.done.remove(&wanted) {
                state.wanted += 1;
                drop(state);
                self.desk.changed.notify_all();
                return Some(result);
            }
            state = self.desk.wait(state);
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.desk.lock().stop = true;
        self.desk.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in a worker has been handed out as an error.
            let _ = thread.join();
        }
    }
}

/// Reads batches that are asked for by their indices in a thread of its own, a few ahead.
///
/// ```
/// use flodl::*;
/// use std::sync::Arc;
/// let x = Tensor::arange(0.0, 6.0, 1.0, TensorOptions::default())?;
/// let worker =
///     PrefetchWorker::new(Arc::new(TensorDataset::new(vec![x])?), Device::CPU, 2, false, 1);
/// worker.load_batch(vec![5, 0]);
/// worker.load_batch(vec![3]);
/// assert_eq!(worker.next_batch().unwrap()?[0].to_f32_vec()?, [5.0, 0.0]);
/// assert_eq!(worker.next_batch().unwrap()?[0].to_f32_vec()?, [3.0]);
/// assert!(worker.next_batch().is_none());
/// # Ok::<(), Error>(())
/// ```
pub struct PrefetchWorker {
    requests: Option<Sender<Vec<usize>>>,
    results: Mutex<Receiver<Result<Vec<Tensor>>>>,
    /// Batches asked for and not handed out.
    open: Mutex<usize>,
    gate: Arc<(Mutex<Gate>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// How far the thread may run ahead.
struct Gate {
    depth: usize,
    waiting: usize,
    stop: bool,
}

impl PrefetchWorker {
    /// A thread that reads from `dataset` to `device`, `prefetch_depth` batches ahead of the reader
    /// at most (1 at least); each index is read `augment` times. `vram_pool` asks for batches to
    /// be kept in a pool of device memory, which the CPU has no use for.
    pub fn new(
        dataset: Arc<dyn BatchDataSet>,
        device: Device,
        prefetch_depth: usize,
        vram_pool: bool,
        augment: usize,
    ) -> Self {
        let _ = vram_pool;
        Self::with_transforms(dataset, device, prefetch_depth, augment, Vec::new(), 0)
    }

    /// [`PrefetchWorker::new`] with transforms, whose random numbers depend on `seed`, the number
    /// of the batch and the index.
    pub fn with_transforms(
        dataset: Arc<dyn BatchDataSet>,
        device: Device,
        prefetch_depth: usize,
        augment: usize,
        transforms: Vec<TransformFn>,
        seed: u64,
    ) -> Self {
        let (requests, inbox) = channel::<Vec<usize>>();
        let (outbox, results) = channel();
        let gate = Gate { depth: prefetch_depth.max(1), waiting: 0, stop: false };
        let gate = Arc::new((Mutex::new(gate), Condvar::new()));
        let shared = gate.clone();
        let failed = outbox.clone();
        let thread = spawn("flodl-prefetch", move || {
            for (number, indices) in inbox.into_iter().enumerate() {
                let (lock, changed) = &*shared;
                let mut gate = lock.lock().unwrap_or_else(PoisonError::into_inner);
                while gate.waiting >= gate.depth && !gate.stop {
                    gate = changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
                }
                if gate.stop {
                    return;
                }
                gate.waiting += 1;
                drop(gate);
                let read = || -> Result<Vec<Tensor>> {
                    let times = augment.max(1);
                    let picks: Vec<usize> =
                        indices.iter().flat_map(|&i| std::iter::repeat_n(i, times)).collect();
                    let key = |(at, &i)| PickKey::new(seed, number, at, i);
                    let keys: Vec<PickKey> = picks.iter().enumerate().map(key).collect();
                    let stream = PickKey::new(seed, number, 0, usize::MAX).stream();
                    let tensors = with_rng(stream, || {
                        let read = dataset.get_batch(&picks)?;
                        transforms.iter().try_fold(read, |t, f| f.apply(t, &keys))
                    })?;
                    tensors.iter().map(|t| t.to_device(device)).collect()
                };
                let result = catch_unwind(AssertUnwindSafe(read))
                    .unwrap_or_else(|panic| Err(panic_error("PrefetchWorker", panic)));
                if outbox.send(result).is_err() {
                    return;
                }
            }
        });
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(e) => {
                // The first reader learns of it.
                let _ = failed.send(Err(e));
                None
            }
        };
        PrefetchWorker {
            requests: Some(requests),
            results: Mutex::new(results),
            open: Mutex::new(0),
            gate,
            thread,
        }
    }

    /// Asks for a batch.
    pub fn load_batch(&self, indices: Vec<usize>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if let Some(requests) = &self.requests {
            let _ = requests.send(indices);
        }
    }

    /// The next batch asked for, in order; waits until it is read. `None` when none is open.
    pub fn next_batch(&self) -> Option<Result<Vec<Tensor>>> {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            *open = open.checked_sub(1)?;
        }
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = results.recv().ok()?;
        let (lock, changed) = &*self.gate;
        let mut gate = lock.lock().unwrap_or_else(PoisonError::into_inner);
        gate.waiting = gate.waiting.saturating_sub(1);
        changed.notify_all();
        Some(batch)
    }

    /// Bounds the pool of device memory; without effect on the CPU, which has none.
    pub fn install_vram_pool_budget(&self, _reserve_bytes: u64) {}

    /// How many batches are read ahead at most.
    pub fn prefetch_depth(&self) -> usize {
        self.gate.0.lock().unwrap_or_else(PoisonError::into_inner).depth
    }

    /// Sets how many batches are read ahead at most; 0 is taken as 1.
    pub fn set_prefetch_depth(&mut self, depth: usize) {
        self.gate.0.lock().unwrap_or_else(PoisonError::into_inner).depth = depth.max(1);
        self.gate.1.notify_all();
    }
}

impl Drop for PrefetchWorker {
    fn drop(&mut self) {
        self.requests = None;
        self.gate.0.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.gate.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
