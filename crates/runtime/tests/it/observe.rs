use std::collections::HashMap;

use litesmith_graph::TensorId;
use litesmith_runtime::{Array, Interpreter, Options};

use crate::{model, noise};

const TEXT: &str = r#"graph main(%x: i8[1,4,4,1] q{"scales":[0.1],"zero_points":[5]}) -> (%y) {
  %p: i8[1,6,6,1] q{"scales":[0.1],"zero_points":[5]} = Pad(%x) {"amounts":[[0,0],[1,1],[1,1],[0,0]]}
  %w: i8[1,3,3,1] q{"scales":[0.1],"zero_points":[0]} = [1,2,3,4,5,6,7,8,9]
  %f: f32[1,3,3,1] = Dequantize(%w)
  %c: i8[1,4,4,1] q{"scales":[0.5],"zero_points":[0]} = Conv2D(%p, %w)
  %r: i8[1,4,4,1] q{"scales":[0.5],"zero_points":[0]} = Unary(%c)
  %s: i8[1,16] q{"scales":[0.5],"zero_points":[0]} = Reshape(%r) {"shape":[1,16]}
  %d: f32[1,16] = Dequantize(%s)
  %y: f32[1,16] = Unary(%d) {"kind":"neg"}
}"#;

#[test]
fn every_activation_is_shown_in_order_and_in_its_own_type() {
    let model = model(TEXT);
    let mut interpreter = Interpreter::new(&model, &Options::default().with_threads(1)).unwrap();
    let values: Vec<i8> = noise(16, 3).into_iter().map(|x| (x * 100.0) as i8).collect();
    let x = Array::from_i8(&[1, 4, 4, 1], &values);
    let mut seen: Vec<(TensorId, Array)> = Vec::new();
    let outputs = interpreter
        .observe(std::slice::from_ref(&x), &mut |id, view| seen.push((id, view.to_array())))
        .unwrap();
    assert_eq!(outputs, interpreter.run(std::slice::from_ref(&x)).unwrap());
    let name = |id: &TensorId| model.main()[*id].name.as_str();
    let order: Vec<&str> = seen.iter().map(|(id, _)| name(id)).collect();
    assert_eq!(order, ["x", "f", "p", "c", "r", "s", "d", "y"]);
    let by_name: HashMap<&str, &Array> = seen.iter().map(|(id, array)| (name(id), array)).collect();
    assert_eq!(by_name["x"], &x);
    assert_eq!(by_name["p"].elements::<i8>()[..8], [5, 5, 5, 5, 5, 5, 5, values[0]]);
    assert_eq!(by_name["f"].floats()[2], 0.3);
    let relu: Vec<i8> = by_name["c"].elements::<i8>().iter().map(|c| (*c).max(0)).collect();
    assert_eq!(by_name["r"].elements::<i8>().as_ref(), relu);
    let reals: Vec<f32> = relu.iter().map(|r| f32::from(*r) * 0.5).collect();
    assert_eq!(by_name["d"].floats().as_ref(), reals);
    assert_eq!((by_name["s"].shape.as_slice(), &by_name["y"].data), (&[1, 16][..], &outputs[0].data));
}

#[test]
fn a_profile_names_the_steps_that_are_run() {
    let mut interpreter = Interpreter::new(&model(TEXT), &Options::default().with_threads(1)).unwrap();
    let steps = interpreter.profile(&[Array::from_i8(&[1, 4, 4, 1], &[1; 16])], 3).unwrap();
    let operators: Vec<&str> = steps.iter().map(|step| step.operator.as_str()).collect();
    // The padding has moved into the convolution, the reshape needs nothing.
    assert_eq!(operators, ["CONV_2D", "RELU", "DEQUANTIZE", "NEG"]);
    assert_eq!(steps[0].macs, 16 * 9);
    assert!(steps.iter().all(|step| step.seconds >= 0.0));
}
