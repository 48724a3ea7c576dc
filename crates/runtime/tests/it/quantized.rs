use litesmith_kernels::Window;
use litesmith_kernels::quantized::{Filter, Requantize, Rescale, WeightOrder};
use litesmith_kernels::reference::quantized as reference;
use litesmith_runtime::{Array, Interpreter, Options};

use crate::{assert_close, model, noise, run};

fn bytes(count: usize, seed: u32) -> Vec<i8> {
    noise(count, seed).into_iter().map(|x| (x * 127.0) as i8).collect()
}

fn list(values: &[i8]) -> String {
    format!("{values:?}")
}

#[test]
fn a_quantized_convolution_is_scaled_in_the_order_that_counts() {
    let (weights, x) = (bytes(4 * 9 * 2, 1), bytes(2 * 5 * 5 * 2, 2));
    let text = format!(
        r#"graph main(%x: i8[batch,5,5,2] q{{"scales":[0.037],"zero_points":[-11]}}) -> (%y) {{
  %w: i8[4,3,3,2] q{{"scales":[0.01,0.02,0.005,0.013],"zero_points":[0,0,0,0],"axis":0}} = {}
  %b: i32[4] = [100,-200,3000,0]
  %y: i8[batch,3,3,4] q{{"scales":[0.05],"zero_points":[7]}} = Conv2D(%x, %w, %b) {{"padding":"same","stride":[2,2],"activation":"relu"}}
}}"#,
        list(&weights)
    );
    let got = run(&text, &[Array::from_i8(&[2, 5, 5, 2], &x)]);
    let stored: Vec<u8> = x.iter().map(|x| *x as u8 ^ 0x80).collect();
    let window =
        Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pad_before: [1, 1], pad_after: [1, 1] };
    let order = WeightOrder::OutputFirst;
    let filter = Filter { window, groups: 1, in_channels: 2, out_channels: 4, order, weights: &weights };
    let scale = [0.01f32, 0.02, 0.005, 0.013].iter().map(|w| (0.037 * w) / 0.05).collect();
    let requantize = Requantize { scale, zero_point: 135, min: 135, max: 255 };
    let expected =
        reference::conv2d(&stored, [2, 5, 5], &filter, Some(&[100, -200, 3000, 0]), 117, &requantize);
    let got: Vec<u8> = got[0].data.iter().map(|y| y ^ 0x80).collect();
    assert_eq!(got, expected);
}

#[test]
fn eight_bit_weights_with_float_activations() {
    let (weights, x) = (bytes(3 * 4, 5), noise(2 * 4, 6));
    let text = format!(
        r#"graph main(%x: f32[batch,4]) -> (%y) {{
  %w: i8[3,4] q{{"scales":[0.01,0.02,0.005],"zero_points":[0,0,0],"axis":0}} = {}
  %b: f32[3] = [0.5,-0.5,0]
  %y: f32[batch,3] = FullyConnected(%x, %w, %b)
}}"#,
        list(&weights)
    );
    let got = run(&text, &[Array::from_f32(&[2, 4], &x)]);
    let order = WeightOrder::OutputFirst;
    let filter = Filter {
        window: Window::POINT,
        groups: 1,
        in_channels: 4,
        out_channels: 3,
        order,
        weights: &weights,
    };
    let rescale = Rescale {
        scale: vec![0.01, 0.02, 0.005],
        bias: Some(vec![0.5, -0.5, 0.0]),
        clamp: litesmith_kernels::float::Clamp::NONE,
    };
    assert_eq!(got[0].floats().as_ref(), reference::hybrid_conv2d(&x, [2, 1, 1], &filter, &rescale));
}

/// Quantizes, computes in integers, dequantizes: close to the float graph.
#[test]
fn a_quantized_graph_stays_close_to_real_numbers() {
    let text = r#"graph main(%x: f32[1,4,4,2]) -> (%y, %u) {
  %q: i8[1,4,4,2] q{"scales":[0.008],"zero_points":[0]} = Quantize(%x)
  %m: i8[1,2,2,2] q{"scales":[0.008],"zero_points":[0]} = Pool2D(%q) {"kernel":[2,2],"stride":[2,2]}
  %t: i8[1,2,2,2] q{"scales":[0.0078125],"zero_points":[0]} = Unary(%m) {"kind":"tanh"}
  %a: i8[1,2,2,2] q{"scales":[0.016],"zero_points":[3]} = Binary(%m, %t)
  %r: i8[1,2] q{"scales":[0.016],"zero_points":[3]} = Reduce(%a) {"axes":[1,2]}
  %y: f32[1,2] = Dequantize(%r)
  %u: u8[1,2] q{"scales":[0.016],"zero_points":[131]} = Quantize(%r) {"to":"u8"}
}"#;
    let x = noise(32, 4);
    let outputs = run(text, &[Array::from_f32(&[1, 4, 4, 2], &x)]);
    let mut expected = [0.0; 2];
    for (channel, mean) in expected.iter_mut().enumerate() {
        for (row, column) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
            let at = |dy: usize, dx: usize| x[((row + dy) * 4 + column + dx) * 2 + channel];
            let largest = at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1));
            *mean += (largest + largest.tanh()) / 4.0;
        }
    }
    for (got, expected) in outputs[0].floats().iter().zip(&expected) {
        assert!((got - expected).abs() < 0.03, "{got} {expected}");
    }
    let back: Vec<f32> = outputs[1].data.iter().map(|q| (f32::from(*q) - 131.0) * 0.016).collect();
    assert_close(&back, &outputs[0].floats());
}

#[test]
fn quantized_padding_is_the_zero_point() {
    let text = r#"graph main(%x: i8[1,2] q{"scales":[0.5],"zero_points":[-7]}) -> (%y, %v) {
  %y: i8[1,4] q{"scales":[0.5],"zero_points":[-7]} = Pad(%x) {"amounts":[[0,0],[1,1]]}
  %v: i8[1,3] q{"scales":[0.5],"zero_points":[-7]} = Pad(%x) {"amounts":[[0,0],[1,0]],"mode":{"value":2}}
}"#;
    let outputs = run(text, &[Array::from_i8(&[1, 2], &[5, -128])]);
    assert_eq!(outputs[0].elements::<i8>().as_ref(), [-7, 5, -128, -7]);
    assert_eq!(outputs[1].elements::<i8>().as_ref(), [-3, 5, -128]);
}

#[test]
fn an_embedding_of_bytes_is_looked_up_and_dequantized() {
    let text = r#"graph main(%i: i32[batch,2]) -> (%y) {
  %t: i8[3,2] q{"scales":[0.5],"zero_points":[0]} = [1,2,3,4,-5,-6]
  %g: i8[batch,2,2] q{"scales":[0.5],"zero_points":[0]} = Gather(%t, %i)
  %y: f32[batch,2,2] = Dequantize(%g)
}"#;
    let outputs = run(text, &[Array::from_i32(&[1, 2], &[2, 0])]);
    assert_eq!(outputs[0].floats().as_ref(), [-2.5, -3.0, 0.5, 1.0]);
}

#[test]
fn signed_bytes_are_cast_by_value() {
    let text = r#"graph main(%x: i8[3], %f: f32[3]) -> (%y, %z) {
  %y: f32[3] = Cast(%x)
  %z: i8[3] = Cast(%f) {"to":"i8"}
}"#;
    let outputs =
        run(text, &[Array::from_i8(&[3], &[-128, 0, 5]), Array::from_f32(&[3], &[-1.5, 200.0, 7.0])]);
    assert_eq!(outputs[0].floats().as_ref(), [-128.0, 0.0, 5.0]);
    assert_eq!(outputs[1].elements::<i8>().as_ref(), [-1, 127, 7]);
}

#[test]
fn quantized_joins_rescale_what_differs() {
    let text = r#"graph main(%a: u8[1,2] q{"scales":[0.5],"zero_points":[10]}, %b: u8[1,2] q{"scales":[1],"zero_points":[0]}) -> (%y) {
  %y: u8[1,4] q{"scales":[1],"zero_points":[0]} = Concat(%a, %b) {"axis":1}
}"#;
    let outputs = run(text, &[Array::from_u8(&[1, 2], &[14, 30]), Array::from_u8(&[1, 2], &[1, 2])]);
    assert_eq!(outputs[0].data, [2, 10, 1, 2]);
}

/// Operators that see one byte at a time become one look-up, which must give what they give alone.
#[test]
fn chains_of_byte_functions_are_one_step() {
    let text = r#"graph main(%x: i8[2,3] q{"scales":[0.05],"zero_points":[3]}) -> (%y, %g) {
  %three: i8[] q{"scales":[0.02352941],"zero_points":[-128]} = [-1]
  %g: i8[2,3] q{"scales":[0.00390625],"zero_points":[-128]} = Unary(%x) {"kind":"logistic"}
  %s: i8[2,3] q{"scales":[0.03],"zero_points":[-100]} = Binary(%x, %g) {"kind":"mul"}
  %f: i8[6] q{"scales":[0.03],"zero_points":[-100]} = Reshape(%s) {"shape":[6]}
  %a: i8[6] q{"scales":[0.06],"zero_points":[-90]} = Binary(%three, %f) {"activation":"relu6"}
  %y: i8[6] q{"scales":[0.06],"zero_points":[-90]} = Unary(%a) {"kind":"abs"}
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default().with_threads(1)).unwrap();
    let mut chained = 0;
    for first in (-128..=122).step_by(6) {
        let x = Array::from_i8(&[2, 3], &std::array::from_fn::<i8, 6, _>(|i| (first + i as i32) as i8));
        let alone = interpreter.observe(std::slice::from_ref(&x), &mut |_, _| ()).unwrap();
        assert_eq!(interpreter.run(std::slice::from_ref(&x)).unwrap(), alone);
        chained = interpreter.profile(&[x], 1).unwrap().len();
    }
    assert_eq!(chained, 2, "one step for each output");
}
