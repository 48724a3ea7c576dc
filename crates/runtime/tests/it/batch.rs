//! Batches whose samples are independent are run in slices, others as a whole.

use litesmith_graph::TensorId;
use litesmith_runtime::{Array, Interpreter, Options};

use crate::{model, noise};

/// Two inputs and three outputs; large images first, large weights last.
const FLOAT: &str = r#"graph main(%a: f32[batch,96,96,8], %b: f32[batch,96,96,8]) -> (%mean, %gate, %y) {
  %w: f32[16,1,1,8] = random(1)
  %c: f32[batch,96,96,16] = Conv2D(%a, %w) {"activation":"relu"}
  %d: f32[batch,96,96,16] = Conv2D(%b, %w)
  %sum: f32[batch,96,96,16] = Binary(%c, %d)
  %small: f32[batch,6,6,16] = Pool2D(%sum) {"kind":"average","kernel":[16,16],"stride":[16,16]}
  %mean: f32[batch,16] = Reduce(%small) {"axes":[1,2]}
  %gate: f32[batch,6,6,16] = Unary(%small) {"kind":"logistic"}
  %flat: f32[batch,576] = Reshape(%gate) {"shape":["infer",576]}
  %v: f32[600,576] = random(2)
  %e: f32[batch,600] = FullyConnected(%flat, %v)
  %y: f32[batch,600] = Softmax(%e)
}"#;

const INT8: &str = r#"graph main(%x: i8[batch,128,128,16] q{"scales":[0.02],"zero_points":[-3]}) -> (%n, %y) {
  %w: i8[24,1,1,16] q{"scales":[0.03],"zero_points":[0]} = splat(2)
  %c: i8[batch,128,128,24] q{"scales":[0.5],"zero_points":[4]} = Conv2D(%x, %w)
  %p: i8[batch,8,8,24] q{"scales":[0.5],"zero_points":[4]} = Pool2D(%c) {"kernel":[16,16],"stride":[16,16]}
  %n: i8[batch,8,8,24] q{"scales":[0.5],"zero_points":[4]} = Unary(%p)
  %y: f32[batch,8,8,24] = Dequantize(%n)
}"#;

const MIXED: &str = r#"graph main(%x: f32[batch,96,96,16]) -> (%y) {
  %r: f32[batch,96,96,16] = Unary(%x)
  %m: f32[batch,1,1,16] = Reduce(%r) {"axes":[1,2],"keep_dims":true}
  %all: f32[1,1,1,16] = Reduce(%m) {"axes":[0],"keep_dims":true}
  %y: f32[batch,96,96,16] = Binary(%r, %all) {"kind":"sub"}
}"#;

/// A sample of each input.
fn sample(interpreter: &Interpreter, seed: usize) -> Vec<Array> {
    let input = |(index, info): (usize, &litesmith_runtime::TensorInfo)| {
        let shape: Vec<usize> = info.shape.dims().iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
        let values = noise(shape.iter().product(), (seed * 2 + index + 1) as u32);
        let bytes = || values.iter().map(|value| (value * 127.0) as i8).collect::<Vec<i8>>();
        match info.quantization {
            Some(_) => Array::from_i8(&shape, &bytes()),
            None => Array::from_f32(&shape, &values),
        }
    };
    interpreter.inputs().iter().enumerate().map(input).collect()
}

/// Samples, or outputs of samples, as one batch.
fn together(samples: &[Vec<Array>]) -> Vec<Array> {
    let all = |index: usize| {
        let mut shape = samples[0][index].shape.clone();
        shape[0] *= samples.len();
        let data = samples.iter().flat_map(|sample| sample[index].data.iter().copied()).collect();
        Array { dtype: samples[0][index].dtype, shape, data }
    };
    (0..samples[0].len()).map(all).collect()
}

fn interpreter(text: &str, threads: usize) -> Interpreter {
    Interpreter::new(&model(text), &Options::default().with_threads(threads)).unwrap()
}

#[test]
fn slices_give_what_each_sample_gives_alone() {
    for (text, threads) in [(FLOAT, 1), (FLOAT, 2), (INT8, 1)] {
        let mut runs = interpreter(text, threads);
        let samples: Vec<Vec<Array>> = (0..33).map(|seed| sample(&runs, seed)).collect();
        let alone: Vec<Vec<Array>> = samples.iter().map(|sample| runs.run(sample).unwrap()).collect();
        let one = runs.arena_bytes();
        for batch in [1, 2, 7, 33] {
            let got = runs.run(&together(&samples[..batch])).unwrap();
            assert_eq!(got, together(&alone[..batch]), "a batch of {batch}, {threads} threads");
        }
        // All samples at once would take as much for each as one does.
        assert!(runs.arena_bytes() < 12 * one, "{} bytes, one sample takes {one}", runs.arena_bytes());
    }
}

#[test]
fn what_mixes_samples_is_run_as_a_whole() {
    let mut runs = interpreter(MIXED, 1);
    let samples: Vec<Vec<Array>> = (0..9).map(|seed| sample(&runs, seed)).collect();
    let got = runs.run(&together(&samples)).unwrap().remove(0);
    let relu = |sample: &[Array]| sample[0].floats().iter().map(|x| x.max(0.0)).collect::<Vec<f32>>();
    let relu: Vec<Vec<f32>> = samples.iter().map(|sample| relu(sample)).collect();
    let each = relu[0].len();
    let sum_of_first_channel: f64 = relu.iter().flatten().step_by(16).map(|x| f64::from(*x)).sum();
    let mean = sum_of_first_channel * 16.0 / (9 * each) as f64;
    for (sample, relu) in relu.iter().enumerate() {
        let difference = f64::from(relu[0]) - f64::from(got.floats()[sample * each]);
        assert!((difference - mean).abs() < 1e-5, "sample {sample}: {difference} instead of {mean}");
    }
    assert!(runs.arena_bytes() >= 9 * each * size_of::<f32>());
}

#[test]
fn a_profile_counts_all_slices() {
    let mut runs = interpreter(FLOAT, 1);
    let (one, batch) = (sample(&runs, 0), together(&vec![sample(&runs, 0); 33]));
    let (alone, all) = (runs.profile(&one, 1).unwrap(), runs.profile(&batch, 1).unwrap());
    let macs = |steps: &[litesmith_runtime::StepTime]| -> Vec<(String, u64)> {
        steps.iter().map(|step| (step.node.clone(), step.macs)).filter(|(_, macs)| *macs > 0).collect()
    };
    let expected: Vec<(String, u64)> =
        macs(&alone).into_iter().map(|(node, macs)| (node, 33 * macs)).collect();
    assert_eq!(macs(&all), expected);
}

#[test]
fn all_of_a_batch_is_observed() {
    let mut runs = interpreter(FLOAT, 1);
    let batch = together(&(0..7).map(|seed| sample(&runs, seed)).collect::<Vec<_>>());
    let mut seen: Vec<(TensorId, Vec<usize>)> = Vec::new();
    let outputs = runs.observe(&batch, &mut |id, view| seen.push((id, view.shape.to_vec()))).unwrap();
    assert_eq!(outputs, runs.run(&batch).unwrap());
    let of_samples = seen.iter().filter(|(_, shape)| shape.first() == Some(&7)).count();
    assert_eq!(of_samples, 2 + 9);
}
