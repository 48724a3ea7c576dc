use litesmith_kernels::Window;
use litesmith_kernels::float::Clamp;
use litesmith_kernels::reference::convolution::{ConvShape, conv2d, depthwise};
use litesmith_runtime::{Array, Interpreter, Options};

use crate::{assert_close, model, noise, run};

/// The elements of a fixed tensor of a model.
pub fn weights(text: &str, name: &str) -> Vec<f32> {
    let model = model(text);
    let tensor = model.main().tensors.iter().find(|tensor| tensor.name == name).unwrap();
    model.data(tensor).unwrap().floats(tensor.dtype).unwrap().into_owned()
}

/// A small MobileNet: convolution with stride, depthwise block, residual, pooling, classifier.
const MOBILE: &str = r#"
graph main(%x: f32[batch,12,12,3]) -> (%y) {
  %w1: f32[8,3,3,3] = random(1)
  %b1: f32[8] = random(2)
  %w2: f32[1,3,3,8] = random(3)
  %b2: f32[8] = random(4)
  %w3: f32[8,1,1,8] = random(5)
  %w4: f32[5,8] = random(6)
  %b4: f32[5] = random(7)
  %c: f32[batch,6,6,8] = Conv2D(%x, %w1, %b1) {"stride":[2,2],"padding":"same","activation":"relu6"} # stem
  %d: f32[batch,6,6,8] = DepthwiseConv2D(%c, %w2, %b2) {"padding":"same","activation":"relu"} # depthwise
  %p: f32[batch,6,6,8] = Conv2D(%d, %w3) # project
  %s: f32[batch,6,6,8] = Binary(%p, %c) # add
  %m: f32[batch,8] = Reduce(%s) {"axes":[1,2]} # pool
  %l: f32[batch,5] = FullyConnected(%m, %w4, %b4) # dense
  %y: f32[batch,5] = Softmax(%l) # softmax
}"#;

#[test]
fn a_small_mobile_net_agrees_with_plain_loops() {
    let x = noise(2 * 12 * 12 * 3, 9);
    let got = run(MOBILE, &[Array::from_f32(&[2, 12, 12, 3], &x)]);
    let w = |name| weights(MOBILE, name);
    let stem = ConvShape {
        input: [2, 12, 12],
        window: Window { kernel: [3, 3], stride: [2, 2], pad_after: [1, 1], ..Window::POINT },
        groups: 1,
        in_channels: 3,
        out_channels: 8,
    };
    let c = conv2d(&stem, &x, &w("w1"), Some(&w("b1")), Clamp::RELU6);
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let block = ConvShape { input: [2, 6, 6], window, in_channels: 8, ..stem };
    let d = depthwise(&block, &c, &w("w2"), Some(&w("b2")), Clamp::RELU);
    let p = conv2d(&ConvShape { window: Window::POINT, ..block }, &d, &w("w3"), None, Clamp::NONE);
    let s: Vec<f32> = p.iter().zip(&c).map(|(p, c)| p + c).collect();
    let mut expected = Vec::new();
    for sample in s.chunks(36 * 8) {
        let mean: Vec<f32> = (0..8).map(|k| sample.iter().skip(k).step_by(8).sum::<f32>() / 36.0).collect();
        let logit =
            |(row, bias): (&[f32], &f32)| row.iter().zip(&mean).map(|(w, m)| w * m).sum::<f32>() + bias;
        let logits: Vec<f32> = w("w4").chunks(8).zip(&w("b4")).map(logit).collect();
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        expected.extend(logits.iter().map(|l| l.exp() / sum));
    }
    assert_eq!(got[0].shape, [2, 5]);
    assert_close(&got[0].floats(), &expected);
}

#[test]
fn zero_padding_before_a_convolution_changes_nothing() {
    let same = r#"graph main(%x: f32[1,5,7,2]) -> (%y) {
  %w: f32[3,3,3,2] = random(1)
  %y: f32[1,5,7,3] = Conv2D(%x, %w) {"padding":"same"}
}"#;
    let padded = r#"graph main(%x: f32[1,5,7,2]) -> (%y) {
  %w: f32[3,3,3,2] = random(1)
  %p: f32[1,7,9,2] = Pad(%x) {"amounts":[[0,0],[1,1],[1,1],[0,0]]}
  %y: f32[1,5,7,3] = Conv2D(%p, %w)
}"#;
    let x = [Array::from_f32(&[1, 5, 7, 2], &noise(70, 3))];
    assert_eq!(run(same, &x), run(padded, &x));
}

#[test]
fn high_level_operators_are_run_directly() {
    let text = r#"graph main(%x: f32[1,2]) -> (%n, %s, %h, %c, %d, %f) {
  %g: f32[2] = [2,3]
  %m: f32[2] = [1,-1]
  %v: f32[2] = [3.999,0.999]
  %n: f32[1,2] = BatchNorm(%x, %g, _, %m, %v)
  %s: f32[1,2] = Unary(%x) {"kind":"silu"}
  %h: f32[1,2] = Unary(%x) {"kind":"hard_sigmoid"}
  %c: f32[1,2] = Unary(%x) {"kind":{"clip":{"min":-0.5,"max":null}}}
  %d: f32[1,2] = Dropout(%x) {"rate":0.5}
  %f: f32[1,2] = FakeQuant(%x) {"quantization":{"scales":[0.5],"zero_points":[3]}}
}"#;
    let outputs = run(text, &[Array::from_f32(&[1, 2], &[3.3, -2.0])]);
    let silu = |x: f32| x / (1.0 + (-x).exp());
    let expected: [[f32; 2]; 6] =
        [[2.3, -3.0], [silu(3.3), silu(-2.0)], [1.0, 1.0 / 6.0], [3.3, -0.5], [3.3, -2.0], [3.5, -2.0]];
    for (output, expected) in outputs.iter().zip(&expected) {
        assert_close(&output.floats(), expected);
    }
}

#[test]
fn double_precision_and_integers_are_run_where_kernels_exist() {
    let text = r#"graph main(%x: f64[2,3], %i: i32[4]) -> (%y, %j, %k) {
  %w: f64[2,3] = [1,2,3,4,5,6]
  %y: f64[2,2] = FullyConnected(%x, %w) {"activation":"relu"}
  %one: i32[] = [1]
  %j: i32[4] = Binary(%i, %one) {"kind":"floor_div"}
  %b: bool[4] = Compare(%i, %one) {"kind":"less"}
  %k: i32[4] = Select(%b, %one, %i)
}"#;
    let x = Array::from_f64(&[2, 3], &[1.0, 0.0, -1.0, 0.5, 0.25, 1.0]);
    let outputs = run(text, &[x, Array::from_i32(&[4], &[-3, 0, 1, 9])]);
    assert_eq!(outputs[0].elements::<f64>().as_ref(), [0.0, 0.0, 4.0, 9.25]);
    assert_eq!(outputs[1].elements::<i32>().as_ref(), [-3, 0, 1, 9]);
    assert_eq!(outputs[2].elements::<i32>().as_ref(), [1, 1, 1, 9]);
}

#[test]
fn weights_may_be_computed() {
    let text = r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6]
graph main(%x: f32[batch,2], %v: f32[3,2]) -> (%y, %z) {
  %w: f32[3,2] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
  %y: f32[batch,3] = FullyConnected(%x, %w) # dense
  %z: f32[batch,3] = FullyConnected(%x, %v) # other
}"#;
    let x = Array::from_f32(&[1, 2], &[1.0, 10.0]);
    let v = Array::from_f32(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let outputs = run(text, &[x, v]);
    assert_eq!(outputs[0].floats().as_ref(), [41.0, 52.0, 63.0]);
    assert_eq!(outputs[1], outputs[0]);
}

#[test]
fn elements_are_moved() {
    let text = r#"graph main(%x: f32[2,3]) -> (%t, %s, %a, %u, %p, %g, %r) {
  %t: f32[3,2] = Transpose(%x) {"permutation":[1,0]}
  %s: f32[2,2] = StridedSlice(%x) {"begin":[0,-1],"end":[2,-4],"strides":[1,-2],"begin_mask":1,"end_mask":1}
  %a: f32[2,1], %b: f32[2,2] = Split(%x) {"axis":1,"parts":2,"sizes":[1,2]}
  %u0: f32[3], %u: f32[3] = Unpack(%x) {"parts":2}
  %p: f32[2,5] = Pad(%x) {"amounts":[[0,0],[2,0]],"mode":"reflect"}
  %i: i32[2] = [2,0]
  %g: f32[2,2] = Gather(%x, %i) {"axis":1}
  %r: f32[2,5] = Concat(%g, %a, %b) {"axis":-1}
}"#;
    let outputs = run(text, &[Array::from_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
    let expected: [&[f32]; 7] = [
        &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0],
        &[2.0, 0.0, 5.0, 3.0],
        &[0.0, 3.0],
        &[3.0, 4.0, 5.0],
        &[2.0, 1.0, 0.0, 1.0, 2.0, 5.0, 4.0, 3.0, 4.0, 5.0],
        &[2.0, 0.0, 5.0, 3.0],
        &[2.0, 0.0, 0.0, 1.0, 2.0, 5.0, 3.0, 3.0, 4.0, 5.0],
    ];
    for (output, expected) in outputs.iter().zip(expected) {
        assert_eq!(output.floats().as_ref(), expected);
    }
}

#[test]
fn a_product_with_its_own_logistic_is_one_step() {
    let text = r#"graph main(%x: f32[2,50]) -> (%y) {
  %g: f32[2,50] = Unary(%x) {"kind":"logistic"}
  %y: f32[2,50] = Binary(%g, %x) {"kind":"mul"}
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    let x = [Array::from_f32(&[2, 50], &noise(100, 1))];
    assert_eq!(interpreter.run(&x).unwrap(), interpreter.observe(&x, &mut |_, _| ()).unwrap());
    assert_eq!(interpreter.profile(&x, 1).unwrap().len(), 1);
}
