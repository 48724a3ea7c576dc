//! What is done together gives the bits that it gives alone.

use std::collections::HashMap;

use litesmith_graph::{DType, TensorId};
use litesmith_runtime::{Array, Interpreter, Isa, Options};

use crate::{assert_close, model, noise};

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
    let [first, second, shortcut] = ["[19,1,1,5]", "[37,2,2,19]", "[37,1,1,5]"].map(weights);
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

/// Bytes are clamped by a table, which is a step of its own.
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
    check(&text, DType::F32, &[6, 7, 5], &STEPS[..5]);
}

#[test]
fn a_residual_connection_in_dynamic_range_is_part_of_the_convolution() {
    let text = residual(floats, byte_weights, "f32[37] = splat(0.5)");
    // What two layers read is quantized once.
    let operators = [
        "QUANTIZE",
        "CONV_2D",
        "QUANTIZE",
        "CONV_2D",
        "CONV_2D+ADD",
        "QUANTIZE",
        "CONV_2D",
        "QUANTIZE",
        "CONV_2D+ADD",
    ];
    check(&text, DType::F32, &[6, 7, 5], &operators);
}

#[test]
fn large_results_that_only_layers_of_dynamic_range_read_are_made_bytes_at_once() {
    let [first, second, third] = ["[64,1,1,3]", "[1,3,3,64]", "[8,1,1,64]"].map(byte_weights);
    let text = format!(
        r#"graph main(%x: f32[batch,64,64,3]) -> (%y, %z) {{
  %a: {first}
  %b: {second}
  %c: {third}
  %h: f32[batch,64,64,64] = Conv2D(%x, %a) {{"activation":"relu6"}}
  %d: f32[batch,64,64,64] = DepthwiseConv2D(%h, %b) {{"padding":"same"}}
  %y: f32[batch,64,64,8] = Conv2D(%d, %c)
  %z: f32[batch,64,64,8] = Conv2D(%d, %c) {{"activation":"relu"}}
}}"#
    );
    let operators = ["QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "CONV_2D"];
    check(&text, DType::F32, &[64, 64, 3], &operators);
}

#[test]
fn a_multiplication_and_an_addition_by_channel_are_one_pass() {
    let constants = |step: usize| -> Vec<i8> { (0..24).map(|c| (c * step % 251) as u8 as i8).collect() };
    let [weight, addend] = [constants(37), constants(101)];
    let text = format!(
        r#"graph main(%x: i8[batch,6,7,24] q{{"scales":[0.02],"zero_points":[5]}}) -> (%y, %z) {{
  %w: i8[24] q{{"scales":[0.013],"zero_points":[-3]}} = {weight:?}
  %a: i8[1,1,1,24] q{{"scales":[0.03],"zero_points":[1]}} = {addend:?}
  %m: i8[batch,6,7,24] q{{"scales":[0.02],"zero_points":[9]}} = Binary(%w, %x) {{"kind":"mul"}}
  %y: i8[batch,6,7,24] q{{"scales":[0.04],"zero_points":[-128]}} = Binary(%m, %a) {{"activation":"relu"}}
  %n: i8[batch,6,7,24] q{{"scales":[0.03],"zero_points":[2]}} = Binary(%x, %w) {{"kind":"mul"}}
  %z: i8[batch,6,7,24] q{{"scales":[0.05],"zero_points":[-7]}} = Binary(%n, %x)
}}"#
    );
    check(&text, DType::I8, &[6, 7, 24], &["MUL+ADD", "MUL", "ADD"]);
}

#[test]
fn so_are_those_of_real_numbers_and_what_is_read_as_samples_is_quantized_in_it() {
    let [weights, other] = ["[7,1,1,24]", "[5,1,1,24]"].map(byte_weights);
    let text = format!(
        r#"graph main(%x: f32[batch,6,7,24]) -> (%y, %z) {{
  %w: f32[24] = random(5)
  %a: f32[24] = random(6)
  %c: {weights}
  %d: {other}
  %m: f32[batch,6,7,24] = Binary(%x, %w) {{"kind":"mul","activation":"relu6"}}
  %s: f32[batch,6,7,24] = Binary(%a, %m) {{"activation":"relu"}}
  %y: f32[batch,6,7,7] = Conv2D(%s, %c)
  %n: f32[batch,6,7,24] = Binary(%w, %x) {{"kind":"mul"}}
  %t: f32[batch,6,7,24] = Binary(%n, %a)
  %h: f32[batch,6,7,24] = Unary(%t) {{"kind":"tanh"}}
  %z: f32[batch,6,7,5] = Conv2D(%h, %d)
}}"#
    );
    let operators = ["MUL+ADD", "CONV_2D", "MUL+ADD", "TANH", "QUANTIZE", "CONV_2D"];
    check(&text, DType::F32, &[6, 7, 24], &operators);
}

#[test]
fn inverted_residual_blocks_are_one_step() {
    // With a residual connection; of stride 2; with somebody behind the depthwise convolution who is no
    // convolution; and too small to gain by it.
    let text = r#"graph main(%x: f32[batch,40,40,8]) -> (%r, %t) {
  %e: f32[96,1,1,8] = random(1)
  %d: f32[1,3,3,96] = random(2)
  %f: f32[1,5,5,96] = random(3)
  %p: f32[8,1,1,96] = random(4)
  %b: f32[8] = splat(0.5)
  %h: f32[batch,40,40,96] = Conv2D(%x, %e) {"activation":"relu6"}
  %i: f32[batch,40,40,96] = DepthwiseConv2D(%h, %d) {"padding":"same","activation":"relu6"}
  %j: f32[batch,40,40,8] = Conv2D(%i, %p, %b)
  %k: f32[batch,40,40,8] = Binary(%x, %j)
  %l: f32[batch,40,40,96] = Conv2D(%k, %e) {"activation":"relu6"}
  %m: f32[batch,40,40,96] = DepthwiseConv2D(%l, %d) {"padding":"same"}
  %n: f32[batch,40,40,96] = Pool2D(%m) {"kernel":[1,2],"padding":"same"}
  %o: f32[batch,40,40,8] = Conv2D(%n, %p)
  %q: f32[batch,40,40,96] = Conv2D(%o, %e) {"activation":"relu"}
  %v: f32[batch,20,20,96] = DepthwiseConv2D(%q, %f) {"padding":"same","stride":[2,2]}
  %r: f32[batch,20,20,8] = Conv2D(%v, %p) {"activation":"relu"}
  %s: f32[batch,20,20,96] = Conv2D(%r, %e)
  %t: f32[batch,20,20,96] = DepthwiseConv2D(%s, %d) {"padding":"same"}
}"#;
    let operators = [
        "CONV_2D+DEPTHWISE_CONV_2D+CONV_2D+ADD",
        "CONV_2D+DEPTHWISE_CONV_2D",
        "MAX_POOL_2D",
        "CONV_2D",
        "CONV_2D+DEPTHWISE_CONV_2D+CONV_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
    ];
    check(text, DType::F32, &[40, 40, 8], &operators);
}

#[test]
fn functions_of_real_numbers_are_part_of_the_layer_before() {
    // What is read twice, or is no layer's, has a step of its own.
    let text = r#"graph main(%x: f32[batch,9,7,6]) -> (%y, %z, %u) {
  %w: f32[16,3,3,6] = random(1)
  %s: f32[1,1,16] = random(2)
  %v: f32[16,1,1,16] = random(3)
  %d: f32[1,3,3,16] = random(4)
  %n: f32[] = splat(0.1)
  %t: f32[] = splat(0.7)
  %a: f32[batch,9,7,16] = Conv2D(%x, %w) {"padding":"same"}
  %b: f32[batch,9,7,16] = Prelu(%a, %s)
  %c: f32[batch,9,7,16] = DepthwiseConv2D(%b, %d) {"padding":"same"}
  %e: f32[batch,9,7,16] = Prelu(%c, %s)
  %f: f32[batch,9,7,16] = Conv2D(%e, %v)
  %g: f32[batch,9,7,16] = Binary(%f, %b)
  %h: f32[batch,9,7,16] = Prelu(%g, %s)
  %i: f32[batch,9,7,16] = Conv2D(%h, %v)
  %j: f32[batch,9,7,16] = Unary(%i) {"kind":{"leaky_relu":0.2}}
  %k: f32[batch,9,7,16] = Binary(%j, %n) {"kind":"maximum"}
  %y: f32[batch,9,7,16] = Binary(%k, %t) {"kind":"minimum"}
  %z: f32[batch,9,7,16] = Prelu(%h, %s)
  %u: f32[batch,9,7,16] = Unary(%h) {"kind":"relu"}
}"#;
    let operators = [
        "CONV_2D+PRELU",
        "DEPTHWISE_CONV_2D+PRELU",
        "CONV_2D+ADD+PRELU",
        "CONV_2D+LEAKY_RELU+MAXIMUM+MINIMUM",
        "PRELU",
        "RELU",
    ];
    check(text, DType::F32, &[9, 7, 6], &operators);
}

#[test]
fn clamps_are_part_of_what_is_clamped() {
    let text = r#"graph main(%x: f32[batch,6,5,8]) -> (%y, %z) {
  %w: f32[8,1,1,8] = random(1)
  %a: f32[batch,6,5,8] = Conv2D(%x, %w)
  %b: f32[batch,6,5,8] = Unary(%a) {"kind":"relu6"}
  %c: f32[batch,6,5,8] = Conv2D(%b, %w)
  %d: f32[batch,6,5,8] = Binary(%c, %b)
  %e: f32[batch,6,5,8] = Unary(%d) {"kind":"relu"}
  %f: f32[batch,6,5,8] = Binary(%e, %e) {"kind":"mul"}
  %y: f32[batch,6,5,8] = Unary(%f) {"kind":"relu_n1_to1"}
  %g: f32[batch,6,5,8] = Conv2D(%e, %w) {"activation":"relu6"}
  %z: f32[batch,6,5,8] = Unary(%g) {"kind":"relu_n1_to1"}
}"#;
    let operators = ["CONV_2D", "CONV_2D+ADD", "MUL", "CONV_2D", "RELU_N1_TO_1"];
    check(text, DType::F32, &[6, 5, 8], &operators);
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
fn functions_of_bytes_that_are_added_are_not_forgotten() {
    let text = r#"graph main(%x: i8[batch,3,4] q{"scales":[0.02],"zero_points":[5]}) -> (%y, %z) {
  %t: i8[batch,3,4] q{"scales":[0.01],"zero_points":[0]} = Unary(%x) {"kind":"tanh"}
  %r: i8[batch,4,3] q{"scales":[0.02],"zero_points":[5]} = Transpose(%x) {"permutation":[0,2,1]}
  %s: i8[batch,3,4] q{"scales":[0.02],"zero_points":[5]} = Transpose(%r) {"permutation":[0,2,1]}
  %y: i8[batch,3,4] q{"scales":[0.05],"zero_points":[-7]} = Binary(%t, %s)
  %z: i8[batch,3,4] q{"scales":[0.05],"zero_points":[-7]} = Binary(%s, %t)
}"#;
    check(text, DType::I8, &[3, 4], &["TRANSPOSE", "TRANSPOSE", "TANH", "ADD", "ADD"]);
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

/// The end of a stage: a block over an image of which two strided convolutions read every second pixel.
/// `of` writes the type of a tensor of this size and number of channels.
fn stage(of: fn(&str, usize) -> String, weights: fn(&str) -> String, size: &str, half: &str) -> String {
    let [image, inner, next] = [of(size, 5), of(size, 7), of(half, 9)];
    let [reduce, spatial, depthwise, expand, end] =
        ["[7,1,1,5]", "[7,3,3,7]", "[1,3,3,7]", "[5,1,1,7]", "[9,1,1,5]"].map(weights);
    format!(
        r#"graph main(%x: {image}) -> (%y, %z) {{
  %r: {reduce}
  %s: {spatial}
  %k: {depthwise}
  %e: {expand}
  %n: {end}
  %a: {inner} = Conv2D(%x, %r) {{"activation":"relu"}}
  %b: {inner} = Conv2D(%a, %s) {{"padding":"same","activation":"relu"}}
  %c: {inner} = DepthwiseConv2D(%b, %k) {{"padding":"same"}}
  %d: {image} = Conv2D(%c, %e)
  %t: {image} = Binary(%d, %x) {{"activation":"relu"}}
  %y: {next} = Conv2D(%t, %n) {{"stride":[2,2]}}
  %z: {next} = Conv2D(%t, %n) {{"stride":[2,2],"padding":"same"}}
}}"#
    )
}

const STAGE: [&str; 7] =
    ["CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "STRIDED_SLICE", "CONV_2D+ADD", "CONV_2D", "CONV_2D"];

fn byte_image(size: &str, channels: usize) -> String {
    format!(r#"i8[batch,{size},{channels}] q{{"scales":[0.013],"zero_points":[-20]}}"#)
}

#[test]
fn pixels_that_are_left_keep_their_bytes() {
    for ([height, width], [rows, columns]) in [([7, 6], [4, 3]), ([1, 9], [1, 5]), ([12, 5], [6, 3])] {
        let text =
            stage(byte_image, byte_weights, &format!("{height},{width}"), &format!("{rows},{columns}"));
        check(&text, DType::I8, &[height, width, 5], &STAGE);
        let free = stage(byte_image, byte_weights, "height,width", "?,?");
        check(&free, DType::I8, &[height, width, 5], &STAGE);
    }
}

/// Another kernel may compute a convolution of another stride, so floats are not held to every bit.
#[test]
fn pixels_that_are_left_keep_their_floats() {
    let form = |size: &str, channels| format!("f32[batch,{size},{channels}]");
    let text = stage(form, |shape| format!("f32{shape} = random(7)"), "height,width", "?,?");
    for [height, width] in [[7, 6], [1, 9], [8, 8]] {
        let mut interpreter = Interpreter::new(&model(&text), &Options::default()).unwrap();
        let input = [array(DType::F32, &[2, height, width, 5])];
        let observed = interpreter.observe(&input, &mut |_, _| {}).unwrap();
        for (got, expected) in interpreter.run(&input).unwrap().iter().zip(&observed) {
            assert_close(&got.floats(), &expected.floats());
        }
        let steps = interpreter.profile(&input, 1).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.operator.as_str()).collect();
        assert_eq!(names, STAGE);
        // A quarter of the pixels, rounded up.
        let pixels = (2 * height.div_ceil(2) * width.div_ceil(2)) as u64;
        assert_eq!(steps[2].macs, pixels * 9 * 7);
    }
}

#[test]
fn zeros_around_what_is_not_below_zero_are_no_step() {
    let text = r#"graph main(%x: i8[batch,6,7,3] q{"scales":[0.02],"zero_points":[5]}) -> (%y, %z) {
  %w: i8[4,1,1,3] q{"scales":[0.01],"zero_points":[0]} = splat(37)
  %a: i8[batch,6,7,4] q{"scales":[0.03],"zero_points":[-100]} = Conv2D(%x, %w) {"activation":"relu"}
  %p: i8[batch,8,9,4] q{"scales":[0.03],"zero_points":[-100]} = Pad(%a) {"amounts":[[0,0],[1,1],[1,1],[0,0]]}
  %y: i8[batch,3,4,4] q{"scales":[0.03],"zero_points":[-100]} = Pool2D(%p) {"kernel":[3,3],"stride":[2,2]}
  %q: i8[batch,8,9,3] q{"scales":[0.02],"zero_points":[5]} = Pad(%x) {"amounts":[[0,0],[1,1],[1,1],[0,0]]}
  %z: i8[batch,3,4,3] q{"scales":[0.02],"zero_points":[5]} = Pool2D(%q) {"kernel":[3,3],"stride":[2,2]}
}"#;
    let operators = ["CONV_2D", "MAX_POOL_2D", "PAD", "MAX_POOL_2D"];
    check(text, DType::I8, &[6, 7, 3], &operators);
}

/// What is observed is computed by plain products, what is run by Winograd's.
#[test]
fn a_residual_connection_behind_a_3x3_convolution_is_close_to_the_plain_one() {
    let text = r#"graph main(%x: f32[batch,14,14,64]) -> (%y) {
  %a: f32[64,3,3,64] = random(3)
  %b: f32[64] = splat(0.5)
  %l: f32[batch,14,14,64] = Conv2D(%x, %a, %b) {"padding":"same"}
  %y: f32[batch,14,14,64] = Binary(%l, %x) {"activation":"relu"}
}"#;
    let model = model(text);
    for isa in Isa::available_levels() {
        let options = Options::default().with_threads(2).with_isa(isa);
        let mut interpreter = Interpreter::new(&model, &options).unwrap();
        let input = array(DType::F32, &[3, 14, 14, 64]);
        let observed = interpreter.observe(std::slice::from_ref(&input), &mut |_, _| {}).unwrap();
        let run = interpreter.run(std::slice::from_ref(&input)).unwrap();
        assert_close(&run[0].floats(), &observed[0].floats());
        let steps = interpreter.profile(&[input], 1).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.operator.as_str()).collect();
        assert_eq!(names, ["CONV_2D+ADD"], "{isa}");
    }
}

#[test]
fn pixels_that_a_layer_of_dynamic_range_steps_over_count_in_its_range_alone() {
    let text = r#"graph main(%x: f32[batch,9,7,24]) -> (%y) {
  %w: i8[24,1,1,24] q{"scales":[0.01],"zero_points":[0]} = splat(3)
  %c: f32[batch,9,7,24] = Conv2D(%x, %w)
  %a: f32[batch,9,7,24] = Binary(%c, %x) {"activation":"relu"}
  %v: i8[40,1,1,24] q{"scales":[0.02],"zero_points":[0]} = splat(5)
  %p: f32[batch,5,3,40] = Conv2D(%a, %v) {"stride":[2,3]}
  %u: i8[40,1,1,24] q{"scales":[0.03],"zero_points":[0]} = splat(-4)
  %q: f32[batch,5,3,40] = Conv2D(%a, %u) {"stride":[2,3],"padding":"same"}
  %y: f32[batch,5,3,40] = Binary(%p, %q)
}"#;
    let model = model(text);
    for threads in [1, 2] {
        let mut interpreter = Interpreter::new(&model, &Options::default().with_threads(threads)).unwrap();
        for batch in [1, 3] {
            let x = Array::from_f32(&[batch, 9, 7, 24], &noise(batch * 9 * 7 * 24, 5));
            let run = interpreter.run(std::slice::from_ref(&x)).unwrap();
            // Observed, each layer quantizes all pixels by itself.
            assert_eq!(run, interpreter.observe(std::slice::from_ref(&x), &mut |_, _| {}).unwrap());
            assert!(run[0].floats().iter().any(|y| *y != 0.0));
        }
    }
}
