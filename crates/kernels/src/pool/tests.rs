//! Each promise of the pool.

use super::*;
use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

#[test]
fn every_task_runs_exactly_once() {
    for threads in [1, 2, 5] {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.threads(), threads);
        for tasks in [0, 1, 2, 3, 100, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} {tasks}");
        }
    }
}

#[test]
fn zero_threads_means_one() {
    assert_eq!(ThreadPool::new(0).threads(), 1);
}

#[test]
fn all_threads_take_part() {
    let pool = ThreadPool::new(3);
    let meeting = Barrier::new(3);
    let seen = Mutex::new(HashSet::new());
    // Each task waits for the two others, so it takes three threads.
    pool.run(3, &|_| {
        meeting.wait();
        lock(&seen).insert(std::thread::current().id());
    });
    assert_eq!(lock(&seen).len(), 3);
}

#[test]
fn one_thread_or_one_task_stays_with_the_caller() {
    let caller = std::thread::current().id();
    ThreadPool::new(1).run(10, &|_| assert_eq!(std::thread::current().id(), caller));
    ThreadPool::new(4).run(1, &|_| assert_eq!(std::thread::current().id(), caller));
}

#[test]
fn sleeping_workers_wake_up_for_many_jobs() {
    let pool = ThreadPool::new(3);
    let total = AtomicUsize::new(0);
    for round in 0..300 {
        if round % 60 == 0 {
            // Longer than the longest spin.
            std::thread::sleep(Duration::from_millis(3));
        }
        pool.run(8, &|_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(total.load(Ordering::Relaxed), 2400);
}

#[test]
fn a_sleeping_caller_is_woken_by_the_last_worker() {
    let pool = ThreadPool::new(2);
    let meeting = Barrier::new(2);
    let ended = AtomicUsize::new(0);
    let caller = std::thread::current().id();
    pool.run(2, &|_| {
        meeting.wait();
        if std::thread::current().id() != caller {
            std::thread::sleep(Duration::from_millis(20));
        }
        ended.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(ended.load(Ordering::Relaxed), 2);
}

#[test]
fn nested_runs_stay_in_their_thread() {
    let pool = ThreadPool::new(2);
    let total = AtomicUsize::new(0);
    pool.run(4, &|_| {
        let me = std::thread::current().id();
        pool.run(10, &|_| {
            assert_eq!(std::thread::current().id(), me);
            total.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(total.load(Ordering::Relaxed), 40);
}

#[test]
fn concurrent_callers_take_turns() {
    let pool = ThreadPool::new(2);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let mine = AtomicUsize::new(0);
                    pool.run(5, &|i| {
                        mine.fetch_add(i, Ordering::Relaxed);
                    });
                    total.fetch_add(mine.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 10);
}

#[test]
fn a_panic_reaches_the_caller_after_the_others_ended() {
    let pool = ThreadPool::new(2);
    for panicking in [0, 1] {
        let meeting = Barrier::new(2);
        let ended = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, &|i| {
                meeting.wait();
                assert!(i != panicking, "task {i} fails");
                std::thread::sleep(Duration::from_millis(2));
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }));
        let message = outcome.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*message, format!("task {panicking} fails"));
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }
    let total = AtomicUsize::new(0);
    pool.run(10, &|i| {
        total.fetch_add(i, Ordering::Relaxed);
    });
    assert_eq!(total.load(Ordering::Relaxed), 45);
}

#[test]
fn dropping_the_pool_ends_its_workers() {
    let pool = ThreadPool::new(3);
    pool.run(3, &|_| {});
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    assert!(shared.upgrade().is_none(), "a worker still lives");
}

#[test]
fn rows_are_cut_into_disjoint_pieces() {
    for threads in [1, 2] {
        let pool = ThreadPool::new(threads);
        for rows in [0, 1, 5, 8] {
            let mut output = vec![0; rows * 3];
            pool.run_rows(&mut output, 3, 2, |first, piece| {
                assert!(piece.len() == 6 || first + piece.len() / 3 == rows);
                for (i, value) in piece.iter_mut().enumerate() {
                    *value += first * 3 + i + 1;
                }
            });
            assert!(output.iter().enumerate().all(|(i, &value)| value == i + 1));
        }
    }
}

#[test]
#[should_panic(expected = "whole number of rows")]
fn broken_rows_are_refused() {
    ThreadPool::new(1).run_rows(&mut [0; 7], 3, 1, |_, _| {});
}
