//! A thread for work that training should not wait for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in a thread of its own, one after the other, in the order they came: saving a
/// snapshot, drawing a picture.
///
/// ```
/// use flodl::*;
/// use std::sync::{Arc, Mutex};
/// let order = Arc::new(Mutex::new(Vec::new()));
/// let mut worker = CpuWorker::new();
/// for i in 0..3 {
///     let order = order.clone();
///     worker.submit(move || order.lock().unwrap().push(i));
/// }
/// worker.finish();
/// assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
/// ```
pub struct CpuWorker {
    jobs: Option<Sender<Job>>,
    open: Arc<(Mutex<usize>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Default for CpuWorker {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuWorker {
    /// A worker without work. Where no thread can be started, jobs run when they are submitted.
    pub fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let open = Arc::new((Mutex::new(0), Condvar::new()));
        let count = open.clone();
        let builder = std::thread::Builder::new().name("flodl-worker".to_owned());
        let thread = builder.spawn(move || {
            for job in inbox {
                run(job);
                done(&count);
            }
        });
        match thread {
            Ok(thread) => CpuWorker { jobs: Some(jobs), open, thread: Some(thread) },
            Err(_) => CpuWorker { jobs: None, open, thread: None },
        }
    }

    /// Adds a job; a job that panics is reported and the next one runs.
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        *self.open.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let job: Job = Box::new(f);
        let left = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|e| e.0),
            None => Some(job),
        };
        if let Some(job) = left {
            run(job);
            done(&self.open);
        }
    }

    /// Whether all jobs are done.
    pub fn is_idle(&self) -> bool {
        *self.open.0.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }

    /// Waits until all jobs are done.
    pub fn finish(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *open > 0 {
            open = self.open.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        crate::log_message(crate::Verbosity::Quiet, "a job of a CpuWorker panicked");
    }
}

fn done(open: &(Mutex<usize>, Condvar)) {
    *open.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    open.1.notify_all();
}

impl Drop for CpuWorker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
