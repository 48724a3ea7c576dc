//! What starting and ending a job costs, back to back and after the workers fell asleep.
//!
//! Choose the number of threads with `LITESMITH_THREADS` (2 if not set).

use std::time::{Duration, Instant};

use criterion::Criterion;
use litesmith_kernels::ThreadPool;

fn main() {
    let threads = std::env::var("LITESMITH_THREADS")
        .map_or(2, |threads| threads.parse().expect("LITESMITH_THREADS is a number"));
    let pool = ThreadPool::new(threads);
    let mut criterion =
        Criterion::default().measurement_time(Duration::from_secs(1)).sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group("fork_join");
    let pauses = [("back_to_back", 0), ("after_30_us", 30), ("after_200_us", 200), ("after_5_ms", 5000)];
    for (name, pause) in pauses {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let pause_end = Instant::now() + Duration::from_micros(pause);
                    while Instant::now() < pause_end {
                        std::hint::spin_loop();
                    }
                    let start = Instant::now();
                    pool.run(threads, &|index| {
                        std::hint::black_box(index);
                    });
                    total += start.elapsed();
                }
                total
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
