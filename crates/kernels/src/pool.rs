//! The thread pool: one low-latency fork-join at a time.

/// A fixed set of worker threads that run the tasks of one job at a time.
pub struct ThreadPool {
    threads: usize,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller counted in (at least 1).
    #[must_use]
    pub fn new(threads: usize) -> ThreadPool {
        ThreadPool { threads: threads.max(1) }
    }

    /// Number of threads, the caller counted in.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each exactly once, on any thread, and returns when all
    /// have ended. A panic in a task is raised again in the caller.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for index in 0..tasks {
            task(index);
        }
    }
}
