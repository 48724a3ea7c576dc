//! Whole flows: from a model as text to results.

mod batch;
mod control;
mod errors;
mod float;
mod fused;
mod hostile;
mod int16;
mod invariance;
mod moved;
mod observe;
mod quantized;
mod recurrent;
mod shapes;
mod sparse;
mod stored;
mod transposed;

use litesmith_graph::{Model, text};
use litesmith_runtime::{Array, Interpreter, Options};

/// The model of a graph of this signature and body.
fn model(text: &str) -> Model {
    text::parse(text).unwrap()
}

/// Runs a model on two threads.
fn run(text: &str, inputs: &[Array]) -> Vec<Array> {
    let mut interpreter = Interpreter::new(&model(text), &Options::default().with_threads(2)).unwrap();
    interpreter.run(inputs).unwrap()
}

/// Numbers between -1 and 1 that look random but are always the same.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Asserts that numbers are equal up to a part of the largest.
fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 * largest, "element {i}: {a} instead of {b}");
    }
}
