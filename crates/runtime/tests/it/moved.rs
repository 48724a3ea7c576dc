//! Operators that move, count and choose elements.

use litesmith_runtime::{Array, Interpreter, Options};

use crate::{model, noise, run};

#[test]
fn a_dilated_convolution_by_blocks_is_the_dilated_convolution() {
    let dilated = r#"graph main(%x: f32[batch,6,7,2]) -> (%y) {
  %w: f32[3,3,3,2] = random(1)
  %y: f32[batch,6,7,3] = Conv2D(%x, %w) {"dilation":[2,2],"padding":"same"}
}"#;
    let blocks = r#"graph main(%x: f32[batch,6,7,2]) -> (%y) {
  %w: f32[3,3,3,2] = random(1)
  %b: f32[?,5,6,2] = SpaceToBatch(%x) {"block":[2,2],"padding":[[2,2],[2,3]]}
  %c: f32[?,3,4,3] = Conv2D(%b, %w)
  %y: f32[?,6,7,3] = BatchToSpace(%c) {"block":[2,2],"crops":[[0,0],[0,1]]}
}"#;
    let x = [Array::from_f32(&[3, 6, 7, 2], &noise(252, 3))];
    assert_eq!(run(blocks, &x), run(dilated, &x));
}

#[test]
fn blocks_of_bytes_are_padded_with_the_zero_point() {
    let text = r#"graph main(%x: i8[1,1,2] q{"scales":[0.5],"zero_points":[-7]}) -> (%y) {
  %y: i8[2,1,2] q{"scales":[0.5],"zero_points":[-7]} = SpaceToBatch(%x) {"block":[2],"padding":[[0,1]]}
}"#;
    assert_eq!(
        run(text, &[Array::from_i8(&[1, 1, 2], &[5, 6])])[0].elements::<i8>().as_ref(),
        [5, 6, -7, -7]
    );
}

#[test]
fn depth_goes_to_space_and_back() {
    let text = r#"graph main(%x: i8[1,2,2,2]) -> (%y, %z) {
  %y: i8[1,1,1,8] = SpaceToDepth(%x) {"block":2}
  %z: i8[1,2,2,2] = DepthToSpace(%y) {"block":2}
}"#;
    let x = Array::from_i8(&[1, 2, 2, 2], &[1, -2, 3, -4, 5, -6, 7, -8]);
    let outputs = run(text, std::slice::from_ref(&x));
    assert_eq!((outputs[0].data.clone(), &outputs[1]), (x.data.clone(), &x));
}

#[test]
fn axes_are_reversed() {
    let text = r#"graph main(%x: i32[2,3]) -> (%y, %z) {
  %y: i32[2,3] = Reverse(%x) {"axes":[-1]}
  %z: i32[2,3] = Reverse(%x) {"axes":[0,1]}
}"#;
    let outputs = run(text, &[Array::from_i32(&[2, 3], &[1, 2, 3, 4, 5, 6])]);
    assert_eq!(outputs[0].elements::<i32>().as_ref(), [3, 2, 1, 6, 5, 4]);
    assert_eq!(outputs[1].elements::<i32>().as_ref(), [6, 5, 4, 3, 2, 1]);
}

#[test]
fn rows_are_gathered_chosen_and_summed() {
    let text = r#"graph main(%x: f32[2,3], %i: i32[2,2]) -> (%g, %v, %p, %s, %h, %r) {
  %on: f32[] = [1]
  %off: f32[] = [0]
  %zero: i32[] = [5]
  %end: i32[] = [0]
  %step: i32[] = [-2]
  %g: f32[2] = GatherNd(%x, %i)
  %v: f32[2,2], %p: i32[2,2] = TopK(%x) {"k":2}
  %s: f32[2,3] = CumSum(%x) {"axis":-1,"reverse":true}
  %h: f32[2,2,3] = OneHot(%i, %on, %off) {"depth":3}
  %r: i32[3] = Range(%zero, %end, %step)
}"#;
    let x = Array::from_f32(&[2, 3], &[1.0, 5.0, 3.0, 2.0, 2.0, 0.0]);
    let outputs = run(text, &[x.clone(), Array::from_i32(&[2, 2], &[1, 0, 0, 2])]);
    assert_eq!(outputs[0].floats().as_ref(), [2.0, 3.0]);
    assert_eq!(outputs[1].floats().as_ref(), [5.0, 3.0, 2.0, 2.0]);
    assert_eq!(outputs[2].elements::<i32>().as_ref(), [1, 2, 0, 1]);
    assert_eq!(outputs[3].floats().as_ref(), [9.0, 8.0, 3.0, 4.0, 2.0, 0.0]);
    let rows = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
    assert_eq!(outputs[4].floats().as_ref(), rows.as_flattened());
    assert_eq!(outputs[5].elements::<i32>().as_ref(), [5, 3, 1]);

    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    let error = interpreter.run(&[x, Array::from_i32(&[2, 2], &[1, 0, 2, 0])]).unwrap_err();
    assert!(error.to_string().contains("index 2"), "{error}");
}
