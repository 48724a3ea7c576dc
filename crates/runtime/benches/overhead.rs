//! What the interpreter itself costs, beside its kernels.
//!
//! Prints the time of a step against the kernel called directly, and the time of a run against
//! the sum of its steps, each the best of many.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use litesmith_graph::{Model, text};
use litesmith_kernels::elementwise::{Unary, unary};
use litesmith_kernels::{Isa, ThreadPool};
use litesmith_runtime::{Array, Interpreter, Options};

const STEPS: usize = 64;
const ELEMENTS: usize = 16;

fn main() {
    steps();
    net();
}

/// Nanoseconds that `work` takes, the best of many.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e9
    };
    (0..2000).map(time).fold(f64::INFINITY, f64::min)
}

fn interpreter(model: &Model) -> Interpreter {
    Interpreter::new(model, &Options::default().with_threads(1)).unwrap()
}

/// A chain of steps that hardly compute, against their kernel in a loop.
fn steps() {
    let mut body = String::new();
    for i in 0..STEPS {
        writeln!(body, "  %t{}: f32[{ELEMENTS}] = Unary(%t{i}) {{\"kind\":\"square\"}}", i + 1).unwrap();
    }
    let model =
        text::parse(&format!("graph main(%t0: f32[{ELEMENTS}]) -> (%t{STEPS}) {{\n{body}}}")).unwrap();
    let input = [Array::from_f32(&[ELEMENTS], &[0.5; ELEMENTS])];
    let mut chain = interpreter(&model);
    let run = best(|| drop(black_box(chain.run(&input).unwrap())));

    let (isa, pool) = (Isa::detect(), ThreadPool::new(1));
    let (a, mut b) = ([0.5f32; ELEMENTS], [0.0f32; ELEMENTS]);
    let kernels = best(|| {
        for _ in 0..STEPS {
            unary(isa, &pool, Unary::Square, black_box(&a), black_box(&mut b));
        }
    });
    let (step, kernel) = (run / STEPS as f64, kernels / STEPS as f64);
    println!(
        "a step of {ELEMENTS} elements {step:.1} ns, its kernel {kernel:.1} ns, ratio {:.2}",
        step / kernel
    );
}

/// A small convolutional network, against the sum of its steps.
fn net() {
    let (mut body, mut channels) = (String::new(), 3);
    for (i, out) in [16usize, 32, 64, 128].into_iter().enumerate() {
        let size = 32 >> (i + 1);
        writeln!(body, "  %w{i}: f32[{out},3,3,{channels}] = random({i})").unwrap();
        let attributes = r#"{"stride":[2,2],"padding":"same","activation":"relu"}"#;
        writeln!(body, "  %t{}: f32[1,{size},{size},{out}] = Conv2D(%t{i}, %w{i}) {attributes}", i + 1)
            .unwrap();
        channels = out;
    }
    let model = text::parse(&format!("graph main(%t0: f32[1,32,32,3]) -> (%t4) {{\n{body}}}")).unwrap();
    let input = [Array::from_f32(&[1, 32, 32, 3], &[0.5; 32 * 32 * 3])];
    let mut net = interpreter(&model);
    let run = best(|| drop(black_box(net.run(&input).unwrap())));
    let profiles =
        (0..200).map(|_| net.profile(&input, 1).unwrap().iter().map(|step| step.seconds * 1e9).sum());
    let steps = profiles.fold(f64::INFINITY, f64::min);
    println!(
        "a small network {:.1} us, its steps {:.1} us, ratio {:.3}",
        run / 1e3,
        steps / 1e3,
        run / steps
    );
}
