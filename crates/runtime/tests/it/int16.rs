use litesmith_kernels::Window;
use litesmith_kernels::int16::{Requantize, Rule};
use litesmith_kernels::quantized::{Filter, WeightOrder};
use litesmith_kernels::reference::int16 as reference;
use litesmith_runtime::{Array, Interpreter, Options, RuntimeError};

use crate::{model, noise, run};

fn words(count: usize, seed: u32) -> Vec<i16> {
    noise(count, seed).into_iter().map(|x| (x * 32_767.0) as i16).collect()
}

fn weights(count: usize, seed: u32) -> Vec<i8> {
    noise(count, seed).into_iter().map(|x| (x * 127.0) as i8).collect()
}

/// A layer's text, `bias` being its type, and the rule by which it rounds.
fn check(layer: &str, bias: &str, rule: Rule) {
    let (weights, x) = (weights(4 * 9 * 2, 1), words(2 * 5 * 5 * 2, 2));
    let text = format!(
        r#"graph main(%x: i16[batch,5,5,2] q{{"scales":[0.0001],"zero_points":[0]}}) -> (%y) {{
  %w: i8[4,3,3,2] q{{"scales":[0.01,0.02,0.005,0.013],"zero_points":[0,0,0,0],"axis":0}} = {weights:?}
  %b: {bias}[4] = [100000,-20000,3000000,0]
  %y: i16[batch,3,3,4] q{{"scales":[0.0002],"zero_points":[0]}} = {layer}
}}"#
    );
    let got = run(&text, &[Array::from_i16(&[2, 5, 5, 2], &x)]);
    let window =
        Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pad_before: [1, 1], pad_after: [1, 1] };
    let order = WeightOrder::OutputFirst;
    let filter = Filter { window, groups: 1, in_channels: 2, out_channels: 4, order, weights: &weights };
    let scale = [0.01f32, 0.02, 0.005, 0.013];
    let scale = scale.iter().map(|w| f64::from(0.0001f32) * f64::from(*w) / f64::from(0.0002f32)).collect();
    let requantize = Requantize { scale, rule, min: 0, max: 30_000 };
    let bias = Some(&[100_000, -20_000, 3_000_000, 0][..]);
    let expected = reference::conv2d(&x, [2, 5, 5], &filter, bias, &requantize);
    assert!(expected.contains(&0) && expected.iter().any(|&y| y > 0 && y < 30_000));
    assert_eq!(got[0].elements::<i16>().as_ref(), expected);
}

#[test]
fn the_bias_says_how_a_convolution_rounds() {
    let layer = r#"Conv2D(%x, %w, %b) {"padding":"same","stride":[2,2],"activation":"relu6"}"#;
    check(layer, "i64", Rule::Reduced);
    check(layer, "i32", Rule::Doubling);
}

#[test]
fn dense_layers_round_in_double_precision() {
    let (weights, x) = (weights(3 * 40, 5), words(4 * 40, 6));
    let text = format!(
        r#"graph main(%x: i16[batch,40] q{{"scales":[0.0001],"zero_points":[0]}}) -> (%y) {{
  %w: i8[3,40] q{{"scales":[0.01],"zero_points":[0]}} = {weights:?}
  %y: i16[batch,3] q{{"scales":[0.0005],"zero_points":[0]}} = FullyConnected(%x, %w)
}}"#
    );
    let got = run(&text, &[Array::from_i16(&[4, 40], &x)]);
    let (window, order) = (Window::POINT, WeightOrder::OutputFirst);
    let filter = Filter { window, groups: 1, in_channels: 40, out_channels: 3, order, weights: &weights };
    let scale = vec![f64::from(0.0001f32) * f64::from(0.01f32) / f64::from(0.0005f32)];
    let requantize = Requantize { scale, rule: Rule::Real, min: i16::MIN, max: i16::MAX };
    let expected = reference::conv2d(&x, [4, 1, 1], &filter, None, &requantize);
    assert_eq!(got[0].elements::<i16>().as_ref(), expected);
}

/// Quantizes, computes in 16 bits, dequantizes: very close to the float graph.
#[test]
fn a_graph_of_words_stays_close_to_real_numbers() {
    let text = r#"graph main(%x: f32[1,4,4,2]) -> (%y, %i, %s) {
  %q: i16[1,4,4,2] q{"scales":[0.000031],"zero_points":[0]} = Quantize(%x) {"to":"i16"}
  %m: i16[1,2,2,2] q{"scales":[0.000031],"zero_points":[0]} = Pool2D(%q) {"kernel":[2,2],"stride":[2,2]}
  %t: i16[1,2,2,2] q{"scales":[0.000030517578125],"zero_points":[0]} = Unary(%m) {"kind":"tanh"}
  %a: i16[1,2,2,2] q{"scales":[0.00006],"zero_points":[0]} = Binary(%m, %t)
  %p: i16[1,2,2,2] q{"scales":[0.00008],"zero_points":[0]} = Binary(%a, %m) {"kind":"mul"}
  %r: i16[1,2] q{"scales":[0.00006],"zero_points":[0]} = Reduce(%p) {"axes":[1,2]}
  %z: i16[1,4] q{"scales":[0.00006],"zero_points":[0]} = Pad(%r) {"amounts":[[0,0],[1,1]],"mode":{"value":0.3}}
  %y: f32[1,4] = Dequantize(%z)
  %i: i8[1,4] q{"scales":[0.01],"zero_points":[3]} = Quantize(%z)
  %g: i16[1,4] q{"scales":[0.000030517578125],"zero_points":[0]} = Softmax(%z)
  %s: f32[1,4] = Dequantize(%g)
}"#;
    let x = noise(32, 4);
    let outputs = run(text, &[Array::from_f32(&[1, 4, 4, 2], &x)]);
    let mut expected = [0.3, 0.0, 0.0, 0.3];
    for (channel, mean) in expected[1..3].iter_mut().enumerate() {
        for (row, column) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
            let at = |dy: usize, dx: usize| x[((row + dy) * 4 + column + dx) * 2 + channel];
            let largest = at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1));
            *mean += (largest + largest.tanh()) * largest / 4.0;
        }
    }
    let sum: f32 = expected.iter().map(|x| x.exp()).sum();
    for (i, expected) in expected.iter().enumerate() {
        let got = outputs[0].floats()[i];
        assert!((got - expected).abs() < 3e-4, "{got} {expected}");
        let coarse = (f32::from(outputs[1].elements::<i8>()[i]) - 3.0) * 0.01;
        assert!((coarse - got).abs() < 0.0051, "{coarse} {got}");
        let share = outputs[2].floats()[i];
        assert!((share - expected.exp() / sum).abs() < 3e-4, "{share}");
    }
}

#[test]
fn words_are_moved_compared_and_joined() {
    let text = r#"graph main(%x: i16[2,3] q{"scales":[0.5],"zero_points":[0]}) -> (%t, %c, %b, %g) {
  %i: i32[2] = [1,0]
  %t: i16[3,2] q{"scales":[0.5],"zero_points":[0]} = Transpose(%x) {"permutation":[1,0]}
  %g: i16[2,3] q{"scales":[0.5],"zero_points":[0]} = Gather(%x, %i)
  %c: i16[2,6] q{"scales":[0.5],"zero_points":[0]} = Concat(%x, %g) {"axis":1}
  %b: bool[2,3] = Compare(%x, %g) {"kind":"less"}
}"#;
    let outputs = run(text, &[Array::from_i16(&[2, 3], &[-300, 2, 3, 4, 500, -6])]);
    let elements = |output: usize| outputs[output].elements::<i16>().into_owned();
    assert_eq!(elements(0), [-300, 4, 2, 500, 3, -6]);
    assert_eq!(elements(1), [-300, 2, 3, 4, 500, -6, 4, 500, -6, -300, 2, 3]);
    assert_eq!(outputs[2].data, [1, 1, 0, 0, 0, 1]);
    assert_eq!(elements(3), [4, 500, -6, -300, 2, 3]);
}

#[test]
fn operators_without_a_kernel_are_named() {
    let refused = |operator: &str, output: &str| {
        let text = format!(
            r#"graph main(%x: i16[2,3] q{{"scales":[0.5],"zero_points":[0]}}) -> (%y) {{
  %y: i16[2,3] q{{"scales":[{output}],"zero_points":[0]}} = {operator}
}}"#
        );
        match Interpreter::new(&model(&text), &Options::default()) {
            Err(RuntimeError::Unsupported(all)) => all[0].reason.clone(),
            other => panic!("{operator} gave {:?}", other.err()),
        }
    };
    assert_eq!(
        refused(r#"Unary(%x) {"kind":"hard_swish"}"#, "0.5"),
        "there is no kernel of this function for int16"
    );
    assert_eq!(
        refused(r#"Binary(%x, %x) {"kind":"div"}"#, "0.5"),
        "there is no kernel of this function for int16"
    );
    assert_eq!(
        refused("Softmax(%x)", "0.5"),
        "its output must have scale 1/32768 where it is int16, not 0.5"
    );
    assert_eq!(
        refused(r#"Reduce(%x) {"kind":"max","axes":[],"keep_dims":true}"#, "0.25"),
        "its output is quantized in another way than its input"
    );
}
