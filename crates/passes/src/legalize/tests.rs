use litesmith_graph::text;

use super::{Target, legalize};

fn check(before: &str, after: &str) {
    let mut model = text::parse(before).expect("the text before parses");
    legalize(&mut model, Target::Tflite).expect("the model can be legalized");
    litesmith_graph::validate(&model).expect("the model after is sound");
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&text::print(&model)).trim(), lines(after).trim());
}

#[test]
fn swish_becomes_a_gate_and_a_product() {
    check(
        r#"graph main(%x: f32[batch,2]) -> (%y) {
             %y: f32[batch,2] = Unary(%x) {"kind":"silu"} # swish
           }"#,
        r#"graph main(%x: f32[batch,2]) -> (%y) {
             %y/logistic: f32[batch,2] = Unary(%x) {"kind":"logistic"} # swish
             %y: f32[batch,2] = Binary(%x, %y/logistic) {"kind":"mul"} # swish
           }"#,
    );
}

#[test]
fn a_batch_norm_on_its_own_becomes_a_product_and_a_sum_that_takes_the_activation() {
    check(
        r#"graph main(%x: f32[batch,2]) -> (%z) {
             %mean: f32[2] = [1,0]
             %variance: f32[2] = [0.25,4]
             %y: f32[batch,2] = BatchNorm(%x, _, _, %mean, %variance) {"epsilon":0.0} # bn
             %z: f32[batch,2] = Unary(%y) # relu
           }"#,
        r#"graph main(%x: f32[batch,2]) -> (%z) {
             %y/factor: f32[2] = [2,0.5]
             %y/mul: f32[batch,2] = Binary(%x, %y/factor) {"kind":"mul"} # bn
             %y/offset: f32[2] = [-2,0]
             %z: f32[batch,2] = Binary(%y/mul, %y/offset) {"activation":"relu"} # bn
           }"#,
    );
}

#[test]
fn hard_sigmoid_behind_a_product_moves_its_offset_into_the_bias() {
    check(
        r#"graph main(%x: f32[batch,1]) -> (%z) {
             %w: f32[1,1] = [2]
             %y: f32[batch,1] = FullyConnected(%x, %w, _) # dense
             %z: f32[batch,1] = Unary(%y) {"kind":"hard_sigmoid"} # gate
           }"#,
        r#"graph main(%x: f32[batch,1]) -> (%z) {
             %w: f32[1,1] = [2]
             %dense/bias: f32[1] = [3]
             %"y;z/add": f32[batch,1] = FullyConnected(%x, %w, %dense/bias) {"activation":"relu6"} # dense
             %z/constant: f32[] = [0.16666667]
             %z: f32[batch,1] = Binary(%"y;z/add", %z/constant) {"kind":"mul"} # gate
           }"#,
    );
}

#[test]
fn one_free_size_is_left_to_the_reshape_and_two_are_computed() {
    check(
        r#"graph main(%x: f32[batch,2,3]) -> (%y) {
             %y: f32[batch,6] = Reshape(%x) {"shape":[{"copy":0},"infer"]} # flatten
           }"#,
        r#"graph main(%x: f32[batch,2,3]) -> (%y) {
             %y: f32[batch,6] = Reshape(%x) {"shape":["infer",6]} # flatten
           }"#,
    );
    let mut model = text::parse(
        r#"graph main(%x: f32[batch,time,6]) -> (%y) {
             %y: f32[batch,?,2] = Reshape(%x) {"shape":[{"copy":0},"infer",2]} # reshape
           }"#,
    )
    .unwrap();
    legalize(&mut model, Target::Tflite).unwrap();
    let names: Vec<_> = model.main().nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names, ["ShapeOf", "StridedSlice", "Pack", "Reshape"]);
}

#[test]
fn explicit_padding_becomes_an_operator() {
    check(
        r#"graph main(%x: f32[1,4,4,1]) -> (%y) {
             %w: f32[1,1,1,1] = [2]
             %y: f32[1,5,4,1] = Conv2D(%x, %w, _) {"padding":{"explicit":{"before":[1,0],"after":[0,0]}}} # conv
           }"#,
        r#"graph main(%x: f32[1,4,4,1]) -> (%y) {
             %y/pad: f32[1,5,4,1] = Pad(%x) {"amounts":[[0,0],[1,0],[0,0],[0,0]]} # conv
             %w: f32[1,1,1,1] = [2]
             %conv/bias: f32[1] = [0]
             %y: f32[1,5,4,1] = Conv2D(%y/pad, %w, %conv/bias) # conv
           }"#,
    );
}

#[test]
fn an_input_that_is_given_out_needs_no_operator() {
    check(
        r#"graph main(%x: f32[2]) -> (%y) {
             %y: f32[2] = Identity(%x) # linear
           }"#,
        "graph main(%x: f32[2]) -> (%x) {
           }",
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let mut model = text::parse(
        r#"graph main(%x: f32[2]) -> (%y) {
             %y: f32[2] = FakeQuant(%x) # quant
           }"#,
    )
    .unwrap();
    let error = legalize(&mut model, Target::Tflite).unwrap_err();
    assert!(error.to_string().contains("layer 'quant'"), "{error}");
}

#[test]
fn only_onnx_has_means_with_explicit_padding() {
    let text = r#"graph main(%x: f32[1,4,4,1]) -> (%y) {
          %y: f32[1,5,4,1] = Pool2D(%x) {"kind":"average","padding":{"explicit":{"before":[0,0],"after":[1,0]}}} # pool
        }"#;
    let legal = |target| legalize(&mut text::parse(text).unwrap(), target);
    assert_eq!(legal(Target::Onnx), Ok(()));
    assert!(legal(Target::Tflite).unwrap_err().to_string().contains("layer 'pool'"));
}
