//! Which processor a thread runs on.
//!
//! A thread that is started or woken belongs on an idle processor. Some systems, above all virtual machines whose
//! processors are shared out by use, put it on that of whoever started or woke it, where the two take turns until the
//! load is balanced: some milliseconds, in which a model could be loaded or run.

use std::thread::{Builder, JoinHandle};

#[cfg(target_os = "linux")]
use libc::{CPU_CLR, CPU_SETSIZE, cpu_set_t, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Stands for a processor that is not known.
pub(crate) const UNKNOWN: usize = usize::MAX;

/// Starts threads on other processors than the caller's, where there are any: as many as the system gives.
pub(crate) fn spawn_beside<W: FnOnce() + Send + 'static>(
    work: impl Iterator<Item = (String, W)>,
) -> Vec<JoinHandle<()>> {
    let own = current();
    let start = |(name, work): (String, W)| {
        let beside = move || {
            leave(own);
            work();
        };
        Builder::new().name(name).spawn(beside).ok()
    };
    let threads: Vec<_> = work.map_while(start).collect();
    if !threads.is_empty() {
        // Those that are on the caller's processor must run there to leave it.
        std::thread::yield_now();
    }
    threads
}

/// The processor that the calling thread runs on.
#[cfg(target_os = "linux")]
pub(crate) fn current() -> usize {
    // SAFETY: takes nothing.
    usize::try_from(unsafe { sched_getcpu() }).unwrap_or(UNKNOWN)
}

/// Moves the calling thread if it runs on this processor and may run on another.
#[cfg(target_os = "linux")]
pub(crate) fn leave(processor: usize) {
    if current() != processor || processor >= CPU_SETSIZE as usize {
        return;
    }
    let Some(allowed) = allowed() else { return };
    let mut others = allowed;
    // SAFETY: the set has a place for this processor, as was checked.
    unsafe { CPU_CLR(processor, &mut others) };
    // The system moves what runs where it may not, and leaves it there afterwards. It refuses to allow nothing.
    if allow(&others) {
        allow(&allowed);
    }
}

/// The processors that the calling thread may run on.
#[cfg(target_os = "linux")]
fn allowed() -> Option<cpu_set_t> {
    // SAFETY: a set is an array of integers.
    let mut set: cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has so many bytes and is written by the call alone.
    let result = unsafe { sched_getaffinity(0, size_of::<cpu_set_t>(), &mut set) };
    (result == 0).then_some(set)
}

/// Lets the calling thread run on these processors only; `false` if the system refuses.
#[cfg(target_os = "linux")]
fn allow(processors: &cpu_set_t) -> bool {
    // SAFETY: the set has so many bytes and is only read.
    unsafe { sched_setaffinity(0, size_of::<cpu_set_t>(), processors) == 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn current() -> usize {
    UNKNOWN
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn leave(_processor: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn are_equal(a: &cpu_set_t, b: &cpu_set_t) -> bool {
        // SAFETY: sets are whole.
        unsafe { libc::CPU_EQUAL(a, b) }
    }

    #[test]
    fn a_thread_leaves_a_processor_and_may_come_back() {
        let processors = allowed().unwrap();
        let left = (0..100).any(|_| {
            let own = current();
            leave(own);
            current() != own
        });
        // SAFETY: sets are whole.
        assert_eq!(left, unsafe { libc::CPU_COUNT(&processors) } > 1);
        assert!(are_equal(&allowed().unwrap(), &processors));
    }

    #[test]
    fn a_thread_stays_that_is_elsewhere() {
        let processors = allowed().unwrap();
        leave(UNKNOWN);
        assert!(are_equal(&allowed().unwrap(), &processors));
    }

    #[test]
    fn threads_that_are_started_do_their_work() {
        let (give, take) = std::sync::mpsc::channel();
        let work = (0..5).map(|number| {
            let give = give.clone();
            (format!("test-{number}"), move || give.send(number).unwrap())
        });
        let threads = spawn_beside(work);
        assert_eq!(threads.len(), 5);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut done: Vec<i32> = take.try_iter().collect();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2, 3, 4]);
    }
}
