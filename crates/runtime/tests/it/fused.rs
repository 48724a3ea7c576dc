//! What is done together gives the bits that it gives alone.

use std::collections::HashMap;

use litesmith_graph::{DType, TensorId};
use litesmith_runtime::{Array, Interpreter, Isa, Options};

use crate::{model, noise};

fn array(dtype: DType, shape: &[usize]) -> Array {
    let values = noise(shape.iter().product(), shape[0] as u32);
    match dtype {
        DType::F32 => Array::from_f32(shape, &values),
        _ => Array::from_i8(shape, &values.iter().map(|value| (value * 127.0) as i8).collect::<Vec<_>>()),
    }
}

/// Asserts that a graph of one input, `sample` elements in each of a free number of samples, gives what
/// it gives unfused, on every instruction set, for one and three samples, on one and two threads; and
/// that it is run by these operators.
fn check(text: &str, dtype: DType, sample: &[usize], operators: &[&str]) {
    let model = model(text);
    for isa in Isa::available_levels() {
        for threads in [1, 2] {
            let options = Options::default().with_threads(threads).with_isa(isa);
            let mut interpreter = Interpreter::new(&model, &options).unwrap();
            for batch in [1, 3] {
                let input = array(dtype, &[&[batch], sample].concat());
                let mut seen: HashMap<TensorId, Vec<u8>> = HashMap::new();
                let keep = &mut |id, view: &litesmith_runtime::TensorView<'_>| {
                    seen.insert(id, view.data.to_vec());
                };
                let observed = interpreter.observe(std::slice::from_ref(&input), keep).unwrap();
                let run = interpreter.run(std::slice::from_ref(&input)).unwrap();
                for (index, (got, expected)) in run.iter().zip(&observed).enumerate() {
                    let at = format!("output {index}, {isa}, {threads} threads, batch {batch}\n{text}");
                    assert!(got == expected, "{at}");
                    assert!(Some(&got.data) == seen.get(&interpreter.outputs()[index].tensor), "{at}");
                }
                let steps = interpreter.profile(&[input], 1).unwrap();
                let names: Vec<&str> = steps.iter().map(|step| step.operator.as_str()).collect();
                assert_eq!(names, operators, "{isa}\n{text}");
            }
        }
    }
}

/// A residual connection in numbers of this form: activations, weights, bias.
fn residual(activation: fn(usize, usize) -> String, weights: fn(&str) -> String, bias: &str) -> String {
    let [x, wide, out] = [activation(0, 5), activation(1, 37), activation(2, 37)];
    let [first, second, shortcut] = ["[19,1,1,5]", "[37,3,3,19]", "[37,1,1,5]"].map(weights);
    let inner = activation(3, 19);
    format!(
        r#"graph main(%x: {x}) -> (%y, %z) {{
  %a: {first}
  %b: {second}
  %c: {shortcut}
  %d: {bias}
  %h: {inner} = Conv2D(%x, %a) {{"activation":"relu"}}
  %l: {wide} = Conv2D(%h, %b, %d) {{"padding":"same"}}
  %s: {wide} = Conv2D(%x, %c)
  %y: {out} = Binary(%s, %l) {{"activation":"relu"}}
  %e: {}
  %f: {}
  %m: {inner} = Conv2D(%y, %e) {{"activation":"relu6"}}
  %n: {wide} = Conv2D(%m, %f)
  %p: {out} = Binary(%n, %y)
  %z: {out} = Unary(%p) {{"kind":"relu"}}
}}"#,
        weights("[19,1,1,37]"),
        weights("[37,1,1,19]"),
    )
}

const STEPS: [&str; 6] = ["CONV_2D", "CONV_2D", "CONV_2D+ADD", "CONV_2D", "CONV_2D+ADD", "RELU"];

fn bytes(place: usize, channels: usize) -> String {
    let parameters = [(0.011, 3), (0.05, -10), (0.07, -100), (0.02, -128)];
    let (scale, zero_point) = parameters[place];
    format!(r#"i8[batch,6,7,{channels}] q{{"scales":[{scale}],"zero_points":[{zero_point}]}}"#)
}

fn floats(_: usize, channels: usize) -> String {
    format!("f32[batch,6,7,{channels}]")
}

fn byte_weights(shape: &str) -> String {
    let sizes: Vec<usize> = shape.trim_matches(['[', ']']).split(',').map(|n| n.parse().unwrap()).collect();
    let values: Vec<i8> = noise(sizes.iter().product(), 3).iter().map(|x| (x * 127.0) as i8).collect();
    format!(r#"i8{shape} q{{"scales":[0.003],"zero_points":[0]}} = {values:?}"#)
}

#[test]
fn a_residual_connection_of_bytes_is_part_of_the_convolution() {
    let text = residual(bytes, byte_weights, "i32[37] = splat(700)");
    check(&text, DType::I8, &[6, 7, 5], &STEPS);
}

#[test]
fn a_residual_connection_of_floats_is_part_of_the_convolution() {
    let text = residual(floats, |shape| format!("f32{shape} = random(7)"), "f32[37] = splat(0.5)");
    check(&text, DType::F32, &[6, 7, 5], &STEPS);
}

#[test]
fn a_residual_connection_in_dynamic_range_is_part_of_the_convolution() {
    let text = residual(floats, byte_weights, "f32[37] = splat(0.5)");
    check(&text, DType::F32, &[6, 7, 5], &STEPS);
}

#[test]
fn sums_that_are_no_residual_connections_stay_apart() {
    // A broadcast operand, a convolution with bounds of its own, and one that is read twice.
    let text = r#"graph main(%x: f32[batch,3,4]) -> (%y, %z, %u) {
  %w: f32[4,4] = random(1)
  %a: f32[batch,3,4] = FullyConnected(%x, %w) {"keep_num_dims":true}
  %v: f32[4] = [1,-2,3,4]
  %y: f32[batch,3,4] = Binary(%a, %v)
  %b: f32[batch,3,4] = FullyConnected(%x, %w) {"keep_num_dims":true,"activation":"relu"}
  %z: f32[batch,3,4] = Binary(%b, %x)
  %c: f32[batch,3,4] = FullyConnected(%x, %w) {"keep_num_dims":true}
  %u: f32[batch,3,4] = Binary(%c, %c)
}"#;
    let operators = ["FULLY_CONNECTED", "ADD", "FULLY_CONNECTED", "ADD", "FULLY_CONNECTED", "ADD"];
    check(text, DType::F32, &[3, 4], &operators);
}

#[test]
fn differences_are_part_of_the_layer_on_either_side() {
    let text = r#"graph main(%x: i8[batch,9] q{"scales":[0.02],"zero_points":[5]}) -> (%y, %z) {
  %w: i8[9,9] q{"scales":[0.004],"zero_points":[0]} = splat(31)
  %a: i8[batch,9] q{"scales":[0.03],"zero_points":[1]} = FullyConnected(%x, %w)
  %y: i8[batch,9] q{"scales":[0.05],"zero_points":[-7]} = Binary(%a, %x) {"kind":"sub"}
  %b: i8[batch,9] q{"scales":[0.03],"zero_points":[1]} = FullyConnected(%x, %w)
  %z: i8[batch,9] q{"scales":[0.05],"zero_points":[-7]} = Binary(%x, %b) {"kind":"sub"}
}"#;
    check(text, DType::I8, &[9], &["FULLY_CONNECTED+SUB", "FULLY_CONNECTED+SUB"]);
}
