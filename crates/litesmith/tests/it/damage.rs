//! Damaged files with branches, loops and states are refused, or run and end: without a panic, within
//! the memory that is allowed, and when they are told to.

use std::sync::mpsc;
use std::time::Duration;

use litesmith::{Interrupt, RunOptions};
use litesmith_formats::tflite;
use litesmith_graph::text::parse;
use litesmith_runtime::{Array, Interpreter};

const MODEL: &str = r#"
state $sum: f32[1,3] = [1,2,3]
graph main(%x: f32[1,3], %n: i32[1]) -> (%y, %rows, %i) {
  %zero: i32[] = [0]
  %m: i32[] = Reshape(%n) {"shape":[]}
  %i: i32[], %k: i32[], %rows: f32[?,3], %same: f32[1,3] = While(%zero, %m, %x, %x) {"condition":1,"body":2}
  %old: f32[1,3] = ReadState($sum)
  %s: f32[1,3] = Binary(%old, %x)
  AssignState($sum, %s)
  %two: i32[] = [2]
  %many: bool[] = Compare(%i, %two) {"kind":"greater"}
  %y: f32[?,3] = If(%many, %rows) {"then_graph":3,"else_graph":4}
}
graph condition(%i: i32[], %n: i32[], %rows: f32[?,3], %x: f32[1,3]) -> (%go) {
  %go: bool[] = Compare(%i, %n) {"kind":"less"}
}
graph body(%i: i32[], %n: i32[], %rows: f32[?,3], %x: f32[1,3]) -> (%j, %n, %more, %x) {
  %one: i32[] = [1]
  %j: i32[] = Binary(%i, %one)
  %more: f32[?,3] = Concat(%rows, %x) {"axis":0}
}
graph double(%a: f32[?,3]) -> (%b) {
  %b: f32[?,3] = Binary(%a, %a)
}
graph first(%a: f32[?,3]) -> (%b) {
  %b: f32[1,3] = StridedSlice(%a) {"begin":[0],"end":[1],"strides":[1]}
}
"#;

/// Runs a file twice, if it can be read; whether it ran.
fn run(bytes: Vec<u8>) -> bool {
    let Ok(model) = tflite::read(bytes.into()) else { return false };
    let interrupt = Interrupt::default();
    let options =
        RunOptions::default().with_threads(1).with_max_memory(1 << 24).with_interrupt(interrupt.clone());
    let (done, waiting) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.set();
        }
    });
    let ran = Interpreter::new(&model, &options).and_then(|mut interpreter| {
        let inputs: Option<Vec<Array>> = interpreter
            .inputs()
            .iter()
            .map(|input| {
                let sizes: Vec<usize> =
                    input.shape.dims().iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
                let mut array =
                    Array::zeros(input.dtype, &sizes).filter(|array| array.data.len() < 1 << 20)?;
                array.data.iter_mut().step_by(4).for_each(|byte| *byte = 3);
                Some(array)
            })
            .collect();
        inputs.map_or(Ok(false), |inputs| {
            interpreter.run(&inputs)?;
            interpreter.run(&inputs).map(|_| true)
        })
    });
    drop(done);
    watch.join().unwrap();
    ran.unwrap_or(false)
}

#[test]
fn damaged_loops_end() {
    let file = tflite::write(&parse(MODEL).unwrap()).unwrap();
    assert!(run(file.clone()));
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut ran = 0;
    for round in 0..1500 {
        let mut changed = file.clone();
        for _ in 0..1 + round % 3 {
            let position = next(changed.len());
            // Small numbers are other tensors, operators and graphs.
            changed[position] = if round % 2 == 0 { next(12) as u8 } else { next(256) as u8 };
        }
        ran += usize::from(run(changed));
    }
    assert!(ran > 100, "only {ran} damaged files still run: too few to tell");
}
