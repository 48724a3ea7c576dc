//! Threads that have something to do before the pool is made whose workers they will be: to start one takes
//! about a tenth of the time in which a small model is read.

use std::iter;
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId, yield_now};

use super::processor::{current, leave, spawn_beside};

/// What a thread does.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for its second work, or will when its first is done.
struct Spare {
    give: Sender<Work>,
    thread: JoinHandle<()>,
}

static SPARES: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

fn spares() -> MutexGuard<'static, Vec<Spare>> {
    SPARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that the next pool takes. If none has when this is dropped, it ends behind its first work.
pub(crate) struct Offer(ThreadId);

impl Drop for Offer {
    fn drop(&mut self) {
        spares().retain(|spare| spare.thread.thread().id() != self.0);
    }
}

/// Starts a thread with its first work on another processor than the caller's; `None` if the system has none.
pub(crate) fn offer(name: &str, first: impl FnOnce() + Send + 'static) -> Option<Offer> {
    let (give, take) = channel::<Work>();
    let work = move || {
        first();
        if let Ok(second) = take.recv() {
            second();
        }
    };
    let thread = spawn_beside(iter::once((name.to_owned(), work))).pop()?;
    let offer = Offer(thread.thread().id());
    spares().push(Spare { give, thread });
    Some(offer)
}

/// Starts as many of these works as the system has threads for: the first on a thread that has been offered, if there
/// is one.
pub(crate) fn start(mut work: impl Iterator<Item = (String, Work)>) -> Vec<JoinHandle<()>> {
    let Some((name, first)) = work.next() else { return Vec::new() };
    match employ(first) {
        Ok(thread) => iter::once(thread).chain(spawn_beside(work)).collect(),
        Err(first) => spawn_beside(iter::once((name, first)).chain(work)),
    }
}

/// Gives work to a thread that has been offered, or back if there is none.
fn employ(work: Work) -> Result<JoinHandle<()>, Work> {
    let Some(Spare { give, thread }) = spares().pop() else { return Err(work) };
    let own = current();
    let second = Box::new(move || {
        leave(own);
        work();
    });
    match give.send(second) {
        Ok(()) => {
            // As in `spawn_beside`: it may have been woken on the caller's processor.
            yield_now();
            Ok(thread)
        }
        Err(SendError(second)) => Err(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThreadPool;

    // What tests of other files offer and employ passes through the same list.

    #[test]
    fn an_offered_thread_does_its_second_work() {
        let (give, take) = channel();
        let employed = (0..1000).find_map(|_| {
            let offer = offer("test", || {}).unwrap();
            let give = give.clone();
            let thread = employ(Box::new(move || give.send(std::thread::current().id()).unwrap())).ok()?;
            Some((offer, thread))
        });
        let (offer, thread) = employed.expect("others do not take all that is offered");
        let id = thread.thread().id();
        thread.join().unwrap();
        assert_eq!(take.recv(), Ok(id));
        assert_ne!(id, std::thread::current().id());
        drop(offer);
    }

    #[test]
    fn first_works_are_done_whether_or_not_a_pool_takes_their_threads() {
        let (give, take) = channel();
        let mut offers = Vec::new();
        for number in 0..4 {
            let give = give.clone();
            offers.extend(offer("test", move || give.send(number).unwrap()));
        }
        assert_eq!(offers.len(), 4);
        let pool = ThreadPool::new(3);
        assert_eq!(pool.threads(), 3);
        let done = Mutex::new(vec![0; 100]);
        pool.run(100, &|task| done.lock().unwrap()[task] += 1);
        assert!(done.into_inner().unwrap().iter().all(|times| *times == 1));
        drop((offers, pool, give));
        let mut first: Vec<i32> = take.iter().collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
    }
}
