use litesmith_graph::{Data, Shape, TensorKind};
use litesmith_runtime::{Array, Interpreter, Options, RuntimeError};

use crate::model;

#[test]
fn every_unsupported_operator_is_listed() {
    let text = r#"graph main(%x: f32[1,2], %q: i16[2] q{"scales":[1],"zero_points":[0]}) -> (%y, %z) {
  %a: f32[1,2] = Custom(%x) {"name":"Mystery","output_types":["f32"],"output_shapes":[[1,2]]} # first
  %y: f32[1,2] = Custom(%a) {"name":"Riddle","output_types":["f32"],"output_shapes":[[1,2]]} # second
  %z: i16[2] q{"scales":[1],"zero_points":[0]} = Unary(%q) {"kind":"hard_swish"} # third
}"#;
    let error = Interpreter::new(&model(text), &Options::default()).err().unwrap();
    let message = error.to_string();
    let RuntimeError::Unsupported(list) = error else { panic!("{message}") };
    let names: Vec<_> = list.iter().map(|entry| (entry.node.as_str(), entry.operator.as_str())).collect();
    assert_eq!(names, [("first", "Custom"), ("second", "Custom"), ("third", "Unary")]);
    for part in ["Mystery", "Riddle", "no kernel of this function for int16"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn inputs_are_checked_by_name() {
    let text = r#"graph main(%left: f32[batch,2], %right: f32[batch,2]) -> (%y) {
  %y: f32[batch,2] = Binary(%left, %right)
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    let good = Array::from_f32(&[1, 2], &[0.0; 2]);
    let mut error = |inputs: &[Array]| interpreter.run(inputs).unwrap_err().to_string();
    let message = error(&[good.clone(), Array::from_i32(&[1, 2], &[0; 2])]);
    assert_eq!(message, "input 'right' takes f32[batch,2], it was given i32[1,2]");
    assert!(error(&[good.clone(), Array::from_f32(&[1, 3], &[0.0; 3])]).contains("f32[1,3]"));
    assert!(error(&[good.clone(), Array::from_f32(&[2], &[0.0; 2])]).contains("f32[2]"));
    assert!(error(&[good.clone(), Array::from_f32(&[1, 2], &[0.0; 1])]).contains("in 4 bytes"));
    assert!(error(&[good.clone(), Array::from_f32(&[3, 2], &[0.0; 6])]).contains("batch = 1 as 'left' has"));
    assert!(error(&[good]).contains("2 inputs (left, right)"));
}

#[test]
fn a_batch_that_is_written_into_the_graph_is_named() {
    let text = r#"graph main(%x: f32[batch,4]) -> (%y) {
  %y: f32[1,2,2] = Reshape(%x) {"shape":[1,2,2]} # squash
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    let message = interpreter.run(&[Array::from_f32(&[3, 4], &[0.0; 12])]).unwrap_err().to_string();
    assert!(message.contains("squash") && message.contains("12 elements"), "{message}");
}

#[test]
fn values_that_cannot_be_computed_with_are_errors() {
    let text = r#"graph main(%i: i32[2], %j: i32[2]) -> (%y, %z) {
  %t: f32[3] = [1,2,3]
  %y: f32[2] = Gather(%t, %i) # look
  %z: i32[2] = Binary(%i, %j) {"kind":"div"} # divide
}"#;
    let mut interpreter = Interpreter::new(&model(text), &Options::default()).unwrap();
    let mut error = |i: [i32; 2], j: [i32; 2]| {
        interpreter
            .run(&[Array::from_i32(&[2], &i), Array::from_i32(&[2], &j)])
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(error([2, 0], [1, 1]), Ok(()));
    assert!(error([3, 0], [1, 1]).unwrap_err().contains("'look'"));
    assert!(error([0, 0], [1, 0]).unwrap_err().contains("'divide'"));
}

#[test]
fn memory_has_a_limit() {
    let text = r#"graph main(%x: f32[1,1]) -> (%y) {
  %y: f32[100000,100000] = BroadcastTo(%x) {"shape":[100000,100000]}
}"#;
    let options = Options::default().with_max_memory(1 << 20);
    let error = Interpreter::new(&model(text), &options).err().unwrap();
    assert!(
        matches!(error, RuntimeError::Resource { needed: 40_000_000_064.., limit: Some(1_048_576), .. }),
        "{error}"
    );
    let text = r#"graph main(%x: f32[1]) -> (%y) {
  %c: f32[1,1] = [1]
  %b: f32[100000,100000] = BroadcastTo(%c) {"shape":[100000,100000]}
  %y: f32[100000,100000] = Binary(%x, %b)
}"#;
    let error = Interpreter::new(&model(text), &options).err().unwrap();
    assert!(matches!(error, RuntimeError::Resource { .. }), "{error}");
}

#[test]
fn settings_are_checked() {
    let text = "graph main(%x: f32[1]) -> (%x) {\n}";
    let error = Interpreter::new(&model(text), &Options::default().with_threads(0)).err().unwrap();
    assert!(matches!(error, RuntimeError::Setting(_)), "{error}");
}

#[test]
fn a_broken_model_is_refused() {
    let mut model = model("graph main(%x: f32[1]) -> (%y) {\n  %y: f32[1] = Unary(%x)\n}");
    model.main_mut().nodes[0].inputs[0] = Some(litesmith_graph::TensorId(7));
    assert!(matches!(Interpreter::new(&model, &Options::default()), Err(RuntimeError::Model(_))));
}

#[test]
fn shapes_that_do_not_fit_are_refused_also_where_constants_are_folded() {
    let computed = "graph main(%x: f32[2], %z: f32[2]) -> (%y) {\n  %y: f32[2] = Binary(%x, %z)\n}";
    let folded = r#"graph main(%x: f32[2]) -> (%y) {
  %c: f32[2] = [1,2]
  %d: f32[2] = [3,4]
  %e: f32[2] = Binary(%c, %d)
  %y: f32[2] = Binary(%x, %e)
}"#;
    for (text, name) in [(computed, "z"), (folded, "d")] {
        let mut model = model(text);
        let graph = model.main_mut();
        let tensor = graph.tensors.iter().position(|tensor| tensor.name == name).unwrap();
        let tensor = &mut graph.tensors[tensor];
        tensor.shape = Shape::from([3]);
        if let TensorKind::Constant(data) = &mut tensor.kind {
            *data = Data::from_vec(vec![0.0_f32; 3]);
        }
        let result = Interpreter::new(&model, &Options::default());
        assert!(matches!(result, Err(RuntimeError::Model(_))), "{name}");
    }
}
