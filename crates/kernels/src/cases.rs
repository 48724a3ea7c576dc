//! What tests of kernels on random shapes share.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{Isa, ThreadPool};

/// Runs a test on a fixed series of random cases.
pub(crate) fn for_cases<S: Strategy>(count: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Every instruction set of the machine with 1 and 2 threads.
pub(crate) fn machines() -> impl Iterator<Item = (Isa, ThreadPool)> {
    Isa::available_levels().into_iter().flat_map(|isa| [(isa, ThreadPool::new(1)), (isa, ThreadPool::new(2))])
}
