use litesmith_runtime::{Array, Interpreter, Options};

use crate::{model, noise, run};

/// What TensorFlow's converter writes for Flatten with a free batch.
const FLATTEN: &str = r#"graph main(%x: f32[batch,2,3]) -> (%y, %n) {
  %s: i32[3] = ShapeOf(%x)
  %n: i32[] = StridedSlice(%s) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}
  %six: i32[] = [6]
  %p: i32[2] = Pack(%n, %six)
  %y: f32[batch,6] = Reshape(%x, %p)
}"#;

#[test]
fn shape_arithmetic_needs_no_step() {
    let mut interpreter = Interpreter::new(&model(FLATTEN), &Options::default().with_threads(1)).unwrap();
    for batch in [1, 4] {
        let x = Array::from_f32(&[batch, 2, 3], &noise(batch * 6, 1));
        let outputs = interpreter.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!((&outputs[0].data, outputs[0].shape.as_slice()), (&x.data, &[batch, 6][..]));
        assert_eq!(outputs[1].elements::<i32>().as_ref(), [batch as i32]);
        assert_eq!(interpreter.profile(&[x], 1).unwrap(), []);
    }
}

#[test]
fn free_sizes_are_taken_from_the_inputs() {
    let text = r#"graph main(%x: f32[batch,height,width,1]) -> (%y) {
  %w: f32[2,3,3,1] = random(1)
  %y: f32[?,?,?,2] = Conv2D(%x, %w)
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    for (height, width) in [(3, 3), (9, 4), (3, 3)] {
        let x = Array::from_f32(&[2, height, width, 1], &noise(2 * height * width, 1));
        assert_eq!(interpreter.run(&[x]).unwrap()[0].shape, [2, height - 2, width - 2, 2]);
    }
}

#[test]
fn an_input_can_be_an_output_and_a_constant_too() {
    let text = r#"graph main(%x: i8[2] q{"scales":[1],"zero_points":[0]}) -> (%x, %c, %i) {
  %c: i8[2] = [-3,4]
  %i: i8[2] q{"scales":[1],"zero_points":[0]} = Identity(%x)
}"#;
    let x = Array::from_i8(&[2], &[-128, 127]);
    let outputs = run(text, std::slice::from_ref(&x));
    assert_eq!(outputs, [x.clone(), Array::from_i8(&[2], &[-3, 4]), x]);
}

#[test]
fn memory_is_used_again() {
    let relus: String = (0..20)
        .map(|i| format!("  %t{}: f32[64,64] = Transpose(%t{i}) {{\"permutation\":[1,0]}}\n", i + 1))
        .collect();
    let text = format!("graph main(%t0: f32[64,64]) -> (%t20) {{\n{relus}}}");
    let interpreter = Interpreter::new(&model(&text), &Options::default()).unwrap();
    assert_eq!(interpreter.arena_bytes(), 2 * 64 * 64 * 4);
    let text = text.replace("Transpose", "Unary").replace("{\"permutation\":[1,0]}", "{\"kind\":\"abs\"}");
    let interpreter = Interpreter::new(&model(&text), &Options::default()).unwrap();
    assert_eq!(interpreter.arena_bytes(), 64 * 64 * 4, "each step writes over its input");
}

#[test]
fn what_is_read_later_is_not_written_over() {
    let text = r#"graph main(%x: f32[3]) -> (%y, %a) {
  %a: f32[3] = Unary(%x) {"kind":"neg"}
  %b: f32[3] = Unary(%a) {"kind":"abs"}
  %f: f32[3,1] = ExpandDims(%a) {"axis":1}
  %r: f32[3,1] = Unary(%f) {"kind":"relu"}
  %s: f32[3] = Squeeze(%r)
  %y: f32[3] = Binary(%b, %s)
}"#;
    let outputs = run(text, &[Array::from_f32(&[3], &[1.0, -2.0, 3.0])]);
    assert_eq!(outputs[0].floats().as_ref(), [1.0, 4.0, 3.0]);
    assert_eq!(outputs[1].floats().as_ref(), [-1.0, 2.0, -3.0]);
}

#[test]
fn an_empty_batch_gives_empty_results() {
    let text = r#"graph main(%x: f32[batch,4]) -> (%y) {
  %w: f32[3,4] = random(1)
  %d: f32[batch,3] = FullyConnected(%x, %w)
  %y: f32[batch,3] = Softmax(%d)
}"#;
    let outputs = run(text, &[Array::from_f32(&[0, 4], &[])]);
    assert_eq!((outputs[0].shape.as_slice(), outputs[0].data.len()), (&[0, 3][..], 0));
}
