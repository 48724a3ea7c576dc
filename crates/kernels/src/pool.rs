//! The thread pool: one low-latency fork-join at a time.
//!
//! A network is some fifty steps of a few microseconds to a few hundred, so starting and ending a
//! job must cost far less than a microsecond. Idle workers therefore spin for a while on one word
//! of memory before they sleep. That word holds everything a worker must know to join a job:
//!
//! ```text
//! bits 16..64  number of the job      bit 15  stop      bit 14  open      bits 0..14  workers inside
//! ```
//!
//! Tasks are dealt out in as many even ranges as there are threads. Each thread begins with its own,
//! so that it meets in every job the same part of tensors, which its cache may still hold, and takes
//! what is left of the others' when it is through.
//!
//! The caller publishes a job by opening it, works through the tasks itself, closes the job and
//! waits until no worker is inside. A worker joins only while the job is open, so nobody ever
//! waits for a worker that is asleep or has lost its processor.

mod disjoint;
pub(crate) mod processor;
pub(crate) mod spare;

pub use disjoint::DisjointSlice;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use spare::Work;

const OPEN: u64 = 1 << 14;
const STOP: u64 = 1 << 15;
const ONE_JOB: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;

/// Most threads a pool has; more are never useful and the job word counts them in 14 bits.
const MAX_THREADS: usize = 1024;

/// Turns of the spin loop before a thread sleeps. A turn takes about 10 to 50 ns.
const LONGEST_SPIN: u32 = 16_384;
const SHORTEST_SPIN: u32 = 2048;
const CALLER_SPIN: u32 = 4096;
/// The caller's turns after which each further batch of turns begins with an offer of its processor.
const CALLER_PATIENCE: u32 = 256;
const CALLER_BATCH: u32 = 32;

/// Most ranges in which tasks are dealt out; where there are more threads, some share one.
const MOST_RANGES: usize = 16;

thread_local! {
    /// Whether this thread is inside a task: a nested `run` must not wait for its own pool.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

type Task<'a> = &'a (dyn Fn(usize) + Sync);
type Panic = Box<dyn Any + Send>;

/// A fixed set of worker threads that run the tasks of one job at a time.
///
/// Dropping the pool ends and joins its workers.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the thread whose job runs.
    turn: Mutex<()>,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller counted in (at least 1, at most 1024).
    ///
    /// Where the system refuses a thread the pool makes do with those it got; see
    /// [`ThreadPool::threads`].
    #[must_use]
    pub fn new(threads: usize) -> ThreadPool {
        let threads = threads.clamp(1, MAX_THREADS);
        let shared = Arc::new(Shared::new(threads.min(MOST_RANGES)));
        let work = (1..threads).map(|number| {
            let shared = Arc::clone(&shared);
            let work: Work = Box::new(move || shared.work(number));
            (format!("litesmith-{number}"), work)
        });
        let workers = spare::start(work);
        ThreadPool { shared, workers, turn: Mutex::new(()) }
    }

    /// Number of threads, the caller counted in.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each exactly once, on any thread, and returns when all
    /// have ended.
    ///
    /// Called from inside a task (of any pool) it runs everything in the calling thread. Calls
    /// from several threads take turns.
    ///
    /// # Panics
    /// A panic in a task is raised again in the caller once every task that had begun has ended;
    /// tasks that had not begun are then left out. The pool stays usable.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() || IN_TASK.get() {
            (0..tasks).for_each(task);
            return;
        }
        let turn = lock(&self.turn);
        let panic = self.shared.fork_join(tasks, task);
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Cuts `output` into pieces of `rows_per_task` rows of `row_len` elements (the last piece may
    /// have fewer) and calls `task(first_row, piece)` for each, in parallel.
    ///
    /// # Panics
    /// When `output` is not a whole number of rows or `rows_per_task` is 0 (an empty `output` is
    /// always fine), and as [`ThreadPool::run`] does.
    pub fn run_rows<T: Send>(
        &self,
        output: &mut [T],
        row_len: usize,
        rows_per_task: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        if output.is_empty() {
            return;
        }
        assert!(row_len > 0 && rows_per_task > 0, "rows and pieces must not be empty");
        assert_eq!(output.len() % row_len, 0, "the output must be a whole number of rows");
        let rows = output.len() / row_len;
        let pieces = DisjointSlice::new(output);
        self.run(rows.div_ceil(rows_per_task), &|index| {
            let first = index * rows_per_task;
            let end = rows.min(first + rows_per_task);
            // SAFETY: every index is run once, and the row ranges of two indices do not overlap.
            task(first, unsafe { pieces.piece(first * row_len..end * row_len) });
        });
    }

    /// A number of rows per task for [`ThreadPool::run_rows`] that gives every thread a few
    /// pieces, so that an early finisher takes work from a late one, but no piece fewer than
    /// `least` rows (at least 1 row).
    #[must_use]
    pub fn rows_per_task(&self, rows: usize, least: usize) -> usize {
        let pieces = if self.threads() == 1 { 1 } else { self.threads() * 4 };
        rows.div_ceil(pieces).max(least).max(1)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // A worker only runs tasks, whose panics it catches; there is nothing to report.
            let _ = worker.join();
        }
    }
}

/// Keeps what different threads write on different cache lines (pairs of lines are fetched).
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

struct Shared {
    /// The job word described at the top of this file.
    state: Apart<AtomicU64>,
    /// The next task to take of each range.
    next: Box<[Apart<AtomicUsize>]>,
    /// Written only while the job is closed and nobody is inside.
    job: UnsafeCell<Job>,
    /// The first panic of the job.
    panic: Mutex<Option<Panic>>,
    sleep: Mutex<()>,
    /// Workers wait here for a job; the caller for the last worker.
    wake_workers: Condvar,
    wake_caller: Condvar,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    /// The processor of whoever woke somebody last.
    waker: AtomicUsize,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written by the thread that
// holds `turn` while the job word says closed and nobody inside, and read by workers only between
// joining an open job and leaving it; the job word's acquire and release order the two.
unsafe impl Sync for Shared {}
// SAFETY: the task that `job` points to is Sync, so any thread may call it.
unsafe impl Send for Shared {}

impl Shared {
    /// For tasks dealt out in this many ranges.
    fn new(ranges: usize) -> Shared {
        let nothing: Task<'static> = &|_| {};
        Shared {
            state: Apart::default(),
            next: (0..ranges).map(|_| Apart::default()).collect(),
            job: UnsafeCell::new(Job { task: nothing, tasks: 0 }),
            panic: Mutex::new(None),
            sleep: Mutex::new(()),
            wake_workers: Condvar::new(),
            wake_caller: Condvar::new(),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            waker: AtomicUsize::new(processor::UNKNOWN),
        }
    }

    /// The tasks of a range.
    fn range(&self, index: usize, tasks: usize) -> Range<usize> {
        let (each, more) = (tasks / self.next.len(), tasks % self.next.len());
        let part = |index: usize| each * index + index.min(more);
        part(index)..part(index + 1)
    }

    /// The caller's part of a job. The caller holds the pool's turn.
    fn fork_join(&self, tasks: usize, task: Task<'_>) -> Option<Panic> {
        // SAFETY: only the lifetime changes. The pointer is used by this call and by workers
        // inside the job, and this call does not return before all of them have left.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: the last job was closed and left by all, and we hold the turn.
        unsafe { *self.job.get() = Job { task, tasks } };
        for (index, next) in self.next.iter().enumerate() {
            next.0.store(self.range(index, tasks).start, Ordering::Relaxed);
        }
        let job_number = (self.state.0.load(Ordering::Relaxed) & !(ONE_JOB - 1)).wrapping_add(ONE_JOB);
        // Sequentially consistent, like the sleeper's count and look: either we see the sleeper
        // or it sees the job.
        self.state.0.store(job_number | OPEN, Ordering::SeqCst);
        self.wake(tasks - 1);

        self.take_tasks(task, tasks, 0);
        self.state.0.fetch_and(!OPEN, Ordering::SeqCst);
        self.wait_for_workers();
        lock(&self.panic).take()
    }

    /// Wakes up to `wanted` of the workers that sleep.
    fn wake(&self, wanted: usize) {
        let sleepers = self.sleepers.load(Ordering::SeqCst);
        if sleepers == 0 {
            return;
        }
        // Holding the lock means that whoever is counted as asleep is really waiting.
        let _guard = lock(&self.sleep);
        self.waker.store(processor::current(), Ordering::Relaxed);
        if wanted >= sleepers {
            self.wake_workers.notify_all();
        } else {
            (0..wanted).for_each(|_| self.wake_workers.notify_one());
        }
    }

    /// Runs tasks until none is left, those of range `first` first.
    fn take_tasks(&self, task: Task<'_>, tasks: usize, first: usize) {
        let ranges = self.next.len();
        IN_TASK.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for range in (first..ranges).chain(0..first) {
                let (next, end) = (&self.next[range].0, self.range(range, tasks).end);
                // Looking first leaves the cache line of a finished range with everybody.
                while next.load(Ordering::Relaxed) < end {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= end {
                        break;
                    }
                    task(index);
                }
            }
        }));
        IN_TASK.set(false);
        if let Err(panic) = outcome {
            for next in &self.next {
                next.0.store(tasks, Ordering::Relaxed);
            }
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// Waits until no worker is inside the closed job. A worker that takes long may wait for this
    /// very processor, so it is offered now and then.
    fn wait_for_workers(&self) {
        for turn in 0..CALLER_SPIN {
            if self.state.0.load(Ordering::Acquire) & INSIDE == 0 {
                return;
            }
            if turn >= CALLER_PATIENCE && turn % CALLER_BATCH == 0 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.sleep);
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while self.state.0.load(Ordering::SeqCst) & INSIDE != 0 {
            guard = self.wake_caller.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
        self.leave_waker(guard);
    }

    /// Goes from the processor of whoever woke this thread.
    fn leave_waker(&self, guard: MutexGuard<'_, ()>) {
        let waker = self.waker.load(Ordering::Relaxed);
        drop(guard);
        processor::leave(waker);
    }

    /// The life of a worker, the `number`-th thread.
    fn work(&self, number: usize) {
        let mut last_job = 0;
        let mut spin = LONGEST_SPIN;
        loop {
            let seen = self.wait_for_job(last_job, &mut spin);
            if seen & STOP != 0 {
                return;
            }
            last_job = seen & !(ONE_JOB - 1);
            if self.join(seen) {
                // SAFETY: we are inside an open job, so its description stands until we leave.
                let (task, tasks) = unsafe { (&*(*self.job.get()).task, (*self.job.get()).tasks) };
                self.take_tasks(task, tasks, number % self.next.len());
                self.leave();
            }
        }
    }

    /// Waits for a job other than `last_job`, or for the end of the pool. Spins at most `spin`
    /// turns, which it adapts: a spin that ends in sleep was wasted, so the next one is shorter.
    /// A job that ended before this worker could join it shows that more may come: the spin
    /// begins anew.
    fn wait_for_job(&self, last_job: u64, spin: &mut u32) -> u64 {
        let wanted =
            |state: u64| state & STOP != 0 || (state & OPEN != 0 && state & !(ONE_JOB - 1) != last_job);
        let (mut turns, mut seen_job) = (0, last_job);
        while turns < *spin {
            let state = self.state.0.load(Ordering::Acquire);
            if wanted(state) {
                *spin = (*spin * 2).min(LONGEST_SPIN);
                return state;
            }
            if state & !(ONE_JOB - 1) == seen_job {
                turns += 1;
            } else {
                (turns, seen_job) = (0, state & !(ONE_JOB - 1));
            }
            std::hint::spin_loop();
        }
        *spin = (*spin / 2).max(SHORTEST_SPIN);

        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let state = loop {
            let state = self.state.0.load(Ordering::SeqCst);
            if wanted(state) {
                break state;
            }
            guard = self.wake_workers.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.leave_waker(guard);
        state
    }

    /// Enters the job seen in `seen` if it is still open.
    fn join(&self, mut seen: u64) -> bool {
        let job = seen & !(ONE_JOB - 1);
        while seen & OPEN != 0 && seen & !(ONE_JOB - 1) == job {
            match self.state.0.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Leaves the job; the last one out wakes a sleeping caller.
    fn leave(&self) {
        let left = self.state.0.fetch_sub(1, Ordering::SeqCst) - 1;
        if left & (OPEN | INSIDE) == 0 && self.caller_sleeps.load(Ordering::SeqCst) {
            let _guard = lock(&self.sleep);
            self.waker.store(processor::current(), Ordering::Relaxed);
            self.wake_caller.notify_one();
        }
    }

    fn stop(&self) {
        self.state.0.fetch_or(STOP, Ordering::SeqCst);
        let _guard = lock(&self.sleep);
        self.wake_workers.notify_all();
    }
}

/// Locks whether or not a panic passed by: what these mutexes guard is never left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
