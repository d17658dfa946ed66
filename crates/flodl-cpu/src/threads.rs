//! One team of threads for all kernels: spin briefly, then sleep.
//!
//! A parallel region cuts its numbered tasks in one queue for each thread. A thread takes its own from
//! the front, then those of the others from the back: kernels that follow each other cut the same
//! rows alike, so most of what a thread reads is what it wrote itself, in its own cache. The caller
//! works too, and nobody waits for a worker that has not woken up: a late worker finds the region
//! closed and goes back to sleep. A region opened inside another one, or while some other user thread
//! holds the team, runs on its caller alone, so nothing is ever oversubscribed.
//!
//! A region may have several phases, for work that goes on where earlier work of the region ended: a
//! thread begins with the next phase while others finish the present one, and waits only where a
//! gate says that just what it needs is not there yet.
//!
//! The partition into tasks is the kernel's and never depends on timing, so results do not either.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

/// Environment variable that sets the number of threads before the first kernel runs.
pub const NUM_THREADS_ENV: &str = "FLODL_NUM_THREADS";

/// Elementwise work below this many elements stays on one thread: waking the team costs about as
/// much as this many additions (bench: `kernels elementwise`).
pub const GRAIN: usize = 32 * 1024;

/// How often a worker polls for the next region before it sleeps: some 30 µs, longer than the gap
/// between two kernels of a training step, short enough not to hurt a loaded machine.
const SPINS: u32 = 2000;

const OPEN: u64 = 1 << 31;
const COUNT: u64 = OPEN - 1;

type Job = *const [Phase<'static>];

/// State shared by the caller of a region and the workers.
struct Team {
    /// High 32 bits: number of the region. Bit 31: it takes workers. Low bits: workers inside.
    state: AtomicU64,
    /// The region's phases; valid while `state` is open or workers are inside.
    job: Mutex<Option<JobPtr>>,
    queues: [[Queue; QUEUES]; PHASES],
    /// How many queues of each phase the region uses.
    used: AtomicUsize,
    /// Workers with an index at or above this stay out of the region.
    helpers: AtomicUsize,
    /// Whether a task of the region has panicked.
    panicked: AtomicBool,
    /// Held by the thread that runs a region, and while workers are added.
    owner: Mutex<Vec<Worker>>,
}

/// Most queues of a phase; more threads than that share them.
const QUEUES: usize = 64;

/// Most phases of a region.
const PHASES: usize = 3;

/// Numbered tasks that may run at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Phase<'a> {
    /// How many there are.
    pub tasks: usize,
    /// Runs one of them.
    pub run: &'a (dyn Fn(usize) + Sync),
}

/// What tasks of a later phase wait for: that so many tasks of earlier ones are done.
pub(crate) struct Gate(AtomicU32);

impl Gate {
    /// A gate that opens after so many tasks.
    pub fn new(tasks: usize) -> Self {
        Self(AtomicU32::new(tasks as u32))
    }

    /// One of the tasks is done.
    pub fn done(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// Waits until all are. Threads take the tasks of a phase after those of the phases before it, so
    /// somebody is at work on what is waited for.
    ///
    /// # Panics
    /// If a task of the region has panicked, which may be one of them.
    pub fn wait(&self) {
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) != 0 {
            assert!(!TEAM.panicked.load(Ordering::Relaxed), "another task panicked");
            pause(&mut spins);
        }
    }
}

/// Waits a moment; a long wait lets others run.
fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins > SPINS {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// A thread's own tasks that are left: the first in the low half, the end in the high half. On cache
/// lines of its own, so that threads do not wait for each other's.
#[repr(align(128))]
struct Queue(AtomicU64);

impl Queue {
    fn set(&self, tasks: Range<u32>) {
        self.0.store(u64::from(tasks.end) << 32 | u64::from(tasks.start), Ordering::Relaxed);
    }

    /// Takes the first task, or the last one.
    fn take(&self, first: bool) -> Option<usize> {
        let mut left = self.0.load(Ordering::Relaxed);
        loop {
            let (start, end) = (left & u64::from(u32::MAX), left >> 32);
            if start >= end {
                return None;
            }
            let (task, rest) = if first { (start, left + 1) } else { (end - 1, left - (1 << 32)) };
            match self.0.compare_exchange_weak(left, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(task as usize),
                Err(now) => left = now,
            }
        }
    }
}

struct Worker {
    thread: Thread,
    asleep: &'static AtomicBool,
}

#[derive(Clone, Copy)]
struct JobPtr(Job);
// SAFETY: the pointees are `Sync`, and `Team::run` keeps them alive until every worker has left.
unsafe impl Send for JobPtr {}

static TEAM: Team = Team {
    state: AtomicU64::new(0),
    job: Mutex::new(None),
    queues: [const { [const { Queue(AtomicU64::new(0)) }; QUEUES] }; PHASES],
    used: AtomicUsize::new(0),
    helpers: AtomicUsize::new(0),
    panicked: AtomicBool::new(false),
    owner: Mutex::new(Vec::new()),
};

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

/// Number of threads that kernels use, the caller included.
///
/// Set by [`set_num_threads`], else by the environment variable `FLODL_NUM_THREADS`, else the
/// number of CPUs that this process may use.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            static DEFAULT: OnceLock<usize> = OnceLock::new();
            *DEFAULT.get_or_init(|| {
                std::env::var(NUM_THREADS_ENV)
                    .ok()
                    .and_then(|v| v.trim().parse().ok())
                    .filter(|&n| n > 0)
                    .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
            })
        }
        n => n,
    }
}

/// Sets the number of threads that kernels use, the caller included; 0 restores the default.
pub fn set_num_threads(n: usize) {
    THREADS.store(n, Ordering::Relaxed);
}

/// Number of threads a region opened here and now could use: 1 inside another region.
pub fn available() -> usize {
    if IN_REGION.get() { 1 } else { num_threads() }
}

/// How often kernels have called the team so far, modulo 2^32: what runs on its caller alone does
/// not count.
pub fn regions() -> u64 {
    TEAM.state.load(Ordering::Relaxed) >> 32
}

/// Tasks for each thread of a region that cuts its work freely: one that joins late, or whose core is
/// slower for a while, then holds the others up by a small task only. A task costs some 50 ns
/// (bench: `models --only feedback_fixed`, where threads waited 12 % of the time for larger ones).
pub(crate) const PIECES: usize = 8;

/// Runs `f(0)`, `f(1)`, … `f(tasks - 1)`, each exactly once, on up to [`num_threads`] threads.
///
/// Returns when all are done. A panic in a task reaches the caller. Which thread runs which task
/// is not defined; `f` must not care.
pub fn parallel_for(tasks: usize, f: impl Fn(usize) + Sync) {
    run_on(available(), tasks, f);
}

/// [`parallel_for`] on up to so many threads.
fn run_on(threads: usize, tasks: usize, f: impl Fn(usize) + Sync) {
    run_phases(threads, &[Phase { tasks, run: &f }]);
}

/// Runs phases in one region, on up to so many threads. A task of a later phase may begin before the last
/// one of an earlier phase has ended, so it waits at a [`Gate`] for what it needs.
///
/// # Panics
/// If there are more than `PHASES`, or a task panics.
pub(crate) fn run_phases(threads: usize, phases: &[Phase<'_>]) {
    let most = phases.iter().map(|p| p.tasks).max().unwrap_or(0);
    let threads = threads.min(most);
    if threads <= 1 || u32::try_from(most).is_err() || !TEAM.run(phases, threads - 1) {
        for phase in phases {
            (0..phase.tasks).for_each(phase.run);
        }
    }
}

/// Splits `0..len` into equal ranges and runs `f` on each in parallel, on one thread for each
/// `grain` at most.
///
/// The split depends on `len`, `grain` and the number of threads alone. A range's start is a
/// multiple of 64, so that two threads do not write to one cache line.
pub fn parallel_ranges(len: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
    split(len, grain, 64, f);
}

/// Splits `0..rows` like [`parallel_ranges`], gated by the work in all: `row_cost` is the cost of
/// a row in simple element operations.
pub fn parallel_rows(rows: usize, row_cost: usize, f: impl Fn(Range<usize>) + Sync) {
    split(rows, GRAIN.div_ceil(row_cost.max(1)), 1, f);
}

fn split(len: usize, grain: usize, multiple: usize, f: impl Fn(Range<usize>) + Sync) {
    // Few elements do not look at the number of threads.
    let threads = if len / 2 < grain { 1 } else { available().min(len / grain.max(1)) };
    if threads <= 1 {
        if len > 0 {
            f(0..len);
        }
        return;
    }
    let step = len.div_ceil(PIECES * threads).next_multiple_of(multiple);
    run_on(threads, len.div_ceil(step), |i| f(i * step..((i + 1) * step).min(len)));
}

/// A slice that tasks of one region write to in disjoint parts.
///
/// ```
/// let mut out = vec![0; 100];
/// let shared = flodl_cpu::threads::SharedMut::new(&mut out);
/// flodl_cpu::threads::parallel_for(10, |i| {
///     // SAFETY: task `i` alone touches elements 10 i .. 10 i + 10.
///     unsafe { shared.range(10 * i..10 * i + 10) }.fill(i);
/// });
/// assert_eq!(out[99], 9);
/// ```
pub struct SharedMut<'a, T> {
    ptr: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: every access goes through `range` or `ptr`, whose callers promise disjoint parts.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as a `&mut [T]` it may move to another thread when `T` may.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Wraps a slice for the time of a parallel region.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), life: std::marker::PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other live reference may cover any of them.
    ///
    /// # Panics
    /// If `range` is out of bounds.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "range outside the slice");
        // SAFETY: in bounds by the assert, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.len()) }
    }

    /// The start of the slice, for kernels that write in strides; the caller keeps to its part.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.ptr
    }
}

impl Team {
    /// Runs the region with up to `helpers` workers; `false` if another thread holds the team.
    fn run<'a>(&'static self, phases: &'a [Phase<'a>], helpers: usize) -> bool {
        let Ok(mut workers) = self.owner.try_lock() else { return false };
        while workers.len() < helpers {
            match spawn(workers.len()) {
                Some(worker) => workers.push(worker),
                None => break,
            }
        }
        // SAFETY: only the lifetime changes. `run` returns (or unwinds) after the region is closed
        // and no worker is inside, so no worker uses the pointer after `'a`.
        let job: Job = unsafe { std::mem::transmute::<*const [Phase<'a>], Job>(phases) };
        *lock(&self.job) = Some(JobPtr(job));
        let used = (1 + helpers).min(QUEUES);
        assert!(phases.len() <= PHASES, "more phases than queues for them");
        for (phase, queues) in phases.iter().zip(&self.queues) {
            let end = |i: usize| (phase.tasks * i / used) as u32;
            for (i, queue) in queues[..used].iter().enumerate() {
                queue.set(end(i)..end(i + 1));
            }
        }
        self.used.store(used, Ordering::Relaxed);
        self.helpers.store(helpers, Ordering::Relaxed);
        self.panicked.store(false, Ordering::Relaxed);
        let region = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        self.state.store(region << 32 | OPEN, Ordering::SeqCst);
        for worker in workers.iter().take(helpers) {
            if worker.asleep.load(Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.work(0, phases)));
        if result.is_err() {
            self.give_up();
        }
        let mut state = self.state.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut spins = 0u32;
        while state & COUNT != 0 {
            pause(&mut spins);
            state = self.state.load(Ordering::Acquire);
        }
        *lock(&self.job) = None;
        drop(workers);
        if let Err(panic) = result {
            resume_unwind(panic);
        }
        assert!(!self.panicked.load(Ordering::Relaxed), "a kernel panicked on a worker thread");
        true
    }

    /// Takes the tasks of one phase after the other until none is left, as thread `me`: first its own
    /// in their order.
    fn work(&self, me: usize, phases: &[Phase<'_>]) {
        let before = IN_REGION.replace(true);
        let used = self.used.load(Ordering::Relaxed);
        for (phase, queues) in phases.iter().zip(&self.queues) {
            for turn in 0..used {
                while let Some(i) = queues[(me + turn) % used].take(turn == 0) {
                    (phase.run)(i);
                }
            }
        }
        IN_REGION.set(before);
    }

    /// After a panic: nobody begins another task of the region.
    fn give_up(&self) {
        IN_REGION.set(false);
        self.panicked.store(true, Ordering::Relaxed);
        self.queues.iter().flatten().for_each(|queue| queue.set(0..0));
    }

    /// A worker's life: wait for a region, join it if it is still open, leave it.
    fn serve(&self, index: usize, asleep: &AtomicBool) -> ! {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            let state = loop {
                let state = self.state.load(Ordering::SeqCst);
                if state >> 32 != seen && state & OPEN != 0 {
                    break state;
                }
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                    continue;
                }
                asleep.store(true, Ordering::SeqCst);
                let state = self.state.load(Ordering::SeqCst);
                if state >> 32 == seen || state & OPEN == 0 {
                    std::thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
                spins = 0;
            };
            seen = state >> 32;
            if index >= self.helpers.load(Ordering::Relaxed) || !self.enter(seen) {
                continue;
            }
            let job = *lock(&self.job);
            if let Some(JobPtr(job)) = job {
                // SAFETY: the caller waits in `run` until this worker's count is gone again.
                let phases = unsafe { &*job };
                if catch_unwind(AssertUnwindSafe(|| self.work(index + 1, phases))).is_err() {
                    self.give_up();
                }
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts a worker into region `region` if that still takes workers.
    fn enter(&self, region: u64) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        while state >> 32 == region && state & OPEN != 0 {
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }
}

/// Starts worker `index`; `None` when the system has no thread to give.
fn spawn(index: usize) -> Option<Worker> {
    let asleep: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    std::thread::Builder::new()
        .name(format!("flodl-{}", index + 1))
        .spawn(move || TEAM.serve(index, asleep))
        .ok()
        .map(|handle| Worker { thread: handle.thread().clone(), asleep })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_exactly_once() {
        for tasks in [0, 1, 2, 7, 100] {
            let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                parallel_for(tasks, |i| {
                    hits[i].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 200));
        }
    }

    #[test]
    fn a_queue_gives_its_tasks_from_both_ends_once() {
        let queue = Queue(AtomicU64::new(0));
        assert_eq!((queue.take(true), queue.take(false)), (None, None));
        queue.set(u32::MAX - 3..u32::MAX);
        let last = u32::MAX as usize - 1;
        assert_eq!([queue.take(true), queue.take(false)], [Some(last - 2), Some(last)]);
        assert_eq!([queue.take(false), queue.take(true)], [Some(last - 1), None]);
        queue.set(0..5);
        queue.set(0..0);
        assert_eq!(queue.take(false), None);
    }

    #[test]
    fn more_threads_than_tasks_or_queues_run_every_task_once() {
        for (threads, tasks) in [(2, 1), (3, 2), (4, 1000), (QUEUES + 2, QUEUES + 3)] {
            let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            run_on(threads, tasks, |i| {
                hits[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1), "{threads} {tasks}");
        }
    }

    #[test]
    fn a_task_of_a_later_phase_finds_what_it_waits_for() {
        for threads in [1, 2, 5] {
            for _ in 0..200 {
                let firsts: Vec<AtomicUsize> = (0..20).map(|_| AtomicUsize::new(0)).collect();
                let gates: Vec<Gate> = (0..10).map(|_| Gate::new(2)).collect();
                let (all, sum) = (Gate::new(10), AtomicUsize::new(0));
                let first = |i: usize| {
                    firsts[i].store(i + 1, Ordering::Relaxed);
                    gates[i / 2].done();
                };
                let second = |i: usize| {
                    // Others' results, not those beside its own.
                    let i = 9 - i;
                    gates[i].wait();
                    let of = |i: usize| firsts[i].load(Ordering::Relaxed);
                    sum.fetch_add(of(2 * i) * of(2 * i + 1), Ordering::Relaxed);
                    all.done();
                };
                let third = |_| {
                    all.wait();
                    sum.fetch_add(1, Ordering::Relaxed);
                };
                run_phases(
                    threads,
                    &[
                        Phase { tasks: 20, run: &first },
                        Phase { tasks: 10, run: &second },
                        Phase { tasks: 3, run: &third },
                    ],
                );
                let want: usize = (0..10).map(|i| (2 * i + 1) * (2 * i + 2)).sum();
                assert_eq!(sum.load(Ordering::Relaxed), want + 3);
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_task_that_panicked() {
        for threads in [1, 2, 5] {
            for lost in [0, 19] {
                let gate = Gate::new(20);
                let first = |i: usize| {
                    assert!(i != lost, "lost");
                    gate.done();
                };
                let second = |_| gate.wait();
                let phases = [Phase { tasks: 20, run: &first }, Phase { tasks: 20, run: &second }];
                let caught = catch_unwind(AssertUnwindSafe(|| run_phases(threads, &phases)));
                assert!(caught.is_err(), "{threads} {lost}");
            }
        }
    }

    #[test]
    fn ranges_cover_without_overlap() {
        for len in [0, 1, 63, 64, 65, 1000, 100_003] {
            let seen: Vec<AtomicUsize> = (0..len).map(|_| AtomicUsize::new(0)).collect();
            parallel_ranges(len, 100, |r| {
                for i in r {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(seen.iter().all(|h| h.load(Ordering::Relaxed) == 1), "len {len}");
        }
    }

    #[test]
    fn nested_regions_and_other_threads_are_serial_but_complete() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..50 {
                        parallel_for(4, |_| {
                            parallel_for(4, |_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 3 * 50 * 16);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_team_survives() {
        let caught = catch_unwind(|| parallel_for(8, |i| assert!(i != 5, "task five")));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        parallel_for(10, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
