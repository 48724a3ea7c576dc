use litesmith_graph::text::parse;
use prost::Message;

use crate::error::FormatError;
use crate::onnx::proto::{GraphProto, ModelProto};
use crate::onnx::write::{WriteOptions, encode};

/// The ONNX nodes of a model, or why it is refused.
fn nodes(text: &str, opset: u32) -> Result<GraphProto, String> {
    let model = parse(text).unwrap();
    let options = WriteOptions { opset: Some(opset), ..WriteOptions::default() };
    let encoded = match encode(&model, &options, "model.onnx") {
        Ok(encoded) => encoded,
        Err(FormatError::Unsupported(refused)) => return Err(refused[0].reason.clone()),
        Err(error) => panic!("{error}"),
    };
    let mut bytes = Vec::new();
    encoded.write_to(&mut bytes).unwrap();
    Ok(ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap())
}

fn operators(graph: &GraphProto) -> String {
    graph.node.iter().map(|node| node.op_type.clone().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The ONNX operators that one node on `%x: f32[2,3]` becomes.
fn spelled(node: &str, opset: u32) -> String {
    let text = format!("graph main(%x: f32[2,3]) -> (%y) {{\n%y: f32[2,3] = {node}\n}}");
    operators(&nodes(&text, opset).unwrap())
}

#[test]
fn operators_that_came_late_are_spelled_with_older_ones() {
    for (node, opset, expected) in [
        (r#"Unary(%x) {"kind":"hard_swish"}"#, 13, "HardSigmoid Mul"),
        (r#"Unary(%x) {"kind":"hard_swish"}"#, 14, "HardSwish"),
        (r#"Unary(%x) {"kind":{"gelu":{"approximate":false}}}"#, 13, "Mul Erf Add Mul Mul"),
        (r#"Unary(%x) {"kind":{"gelu":{"approximate":true}}}"#, 20, "Gelu"),
        (r#"Unary(%x) {"kind":"silu"}"#, 13, "Sigmoid Mul"),
        (r#"Unary(%x) {"kind":"rsqrt"}"#, 13, "Sqrt Reciprocal"),
        (r#"Unary(%x) {"kind":{"clip":{"min":-1.0,"max":null}}}"#, 13, "Max"),
        (r#"Unary(%x) {"kind":"relu6"}"#, 13, "Clip"),
        (r#"Binary(%x, %x) {"kind":"floor_div"}"#, 13, "Div Floor"),
        (r#"Binary(%x, %x) {"activation":"relu"}"#, 13, "Add Relu"),
        (r#"Softmax(%x) {"beta":0.5}"#, 13, "Mul Softmax"),
        ("Reshape(%x) {\"shape\":[2,3]}", 13, "Reshape"),
    ] {
        assert_eq!(spelled(node, opset), expected, "{node} in {opset}");
    }
}

#[test]
fn axes_of_reductions_become_an_input() {
    for (kind, opset, inputs, attributes) in
        [("mean", 13, 1, 2), ("sum", 13, 2, 1), ("mean", 17, 1, 2), ("mean", 18, 2, 1), ("max", 18, 2, 1)]
    {
        let text = format!(
            "graph main(%x: f32[2,3]) -> (%y) {{\n%y: f32[2] = Reduce(%x) {{\"kind\":\"{kind}\",\"axes\":[-1]}}\n}}"
        );
        let graph = nodes(&text, opset).unwrap();
        let node = &graph.node[0];
        assert_eq!((node.input.len(), node.attribute.len()), (inputs, attributes), "{kind} in {opset}");
    }
}

#[test]
fn no_axes_are_no_reduction() {
    assert_eq!(spelled("Reduce(%x)", 13), "Identity");
}

#[test]
fn whole_axes_are_not_sliced() {
    let whole = r#"StridedSlice(%x) {"begin":[0,0],"end":[2,9],"strides":[1,1]}"#;
    assert_eq!(spelled(whole, 13), "Identity");
    let text = r#"graph main(%x: f32[batch,6]) -> (%y) {
        %y: f32[batch,2] = StridedSlice(%x) {"begin":[0,4],"end":[0,0],"strides":[1,-2],"end_mask":1}
    }"#;
    let graph = nodes(text, 13).unwrap();
    assert_eq!(operators(&graph), "Slice");
    let list = |index: usize| {
        let name = &graph.node[0].input[index];
        let tensor = graph.initializer.iter().find(|tensor| tensor.name.as_ref() == Some(name)).unwrap();
        let bytes = tensor.raw_data.clone().unwrap();
        bytes.chunks(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!([list(1), list(2), list(3), list(4)], [[4], [0], [1], [-2]]);
}

#[test]
fn a_free_batch_is_kept_by_reshapes() {
    let shapes = |shape: &str, out: &str| {
        let text = format!(
            "graph main(%x: f32[batch,4,rows]) -> (%y) {{\n%y: f32{out} = Reshape(%x) {{\"shape\":{shape}}}\n}}"
        );
        operators(&nodes(&text, 13).unwrap())
    };
    assert_eq!(
        shapes(r#"[{"copy":0},2,2,{"copy":2}]"#, "[batch,2,2,rows]"),
        "Shape Gather Gather Concat Reshape"
    );
    assert_eq!(shapes(r#"[{"copy":0},"infer",2]"#, "[batch,?,2]"), "Reshape");
    assert_eq!(shapes(r#"[2,{"copy":0},2,"infer"]"#, "[2,batch,2,?]"), "Shape Gather Concat Reshape");
}

#[test]
fn axes_of_size_0_ask_for_a_newer_version() {
    let text = "graph main(%x: f32[0,3]) -> (%y) {\n%y: f32[3,0] = Reshape(%x) {\"shape\":[3,0]}\n}";
    assert!(nodes(text, 13).unwrap_err().contains("--opset 14"));
    let graph = nodes(text, 14).unwrap();
    assert_eq!(graph.node[0].attribute[0].name.as_deref(), Some("allowzero"));
}

#[test]
fn small_integers_are_computed_in_wider_ones() {
    let text = "graph main(%x: i16[2,3]) -> (%y) {\n%y: i16[2,3] = Binary(%x, %x)\n}";
    assert_eq!(operators(&nodes(text, 13).unwrap()), "Cast Cast Add Cast");
    let text =
        "graph main(%x: bool[2,3]) -> (%y) {\n%y: bool[2] = Reduce(%x) {\"kind\":\"max\",\"axes\":[1]}\n}";
    assert_eq!(operators(&nodes(text, 13).unwrap()), "Cast ReduceMax Cast");
}

#[test]
fn quantized_tensors_are_real_numbers_between() {
    let text = r#"graph main(%x: i8[2,3] q{"scales":[0.5],"zero_points":[3]}) -> (%y) {
        %y: i8[2,3] q{"scales":[0.25],"zero_points":[-128]} = Unary(%x) {"kind":"exp"}
    }"#;
    assert_eq!(operators(&nodes(text, 13).unwrap()), "DequantizeLinear Exp QuantizeLinear");
}

#[test]
fn other_graphs_become_nested_ones() {
    let text = r#"graph main(%n: i32[], %x: f32[2]) -> (%y) {
        %zero: i32[] = [0]
        %i: i32[], %m: i32[], %y: f32[2] = While(%zero, %n, %x) {"condition":1,"body":2}
    }
    graph condition(%i: i32[], %n: i32[], %x: f32[2]) -> (%go) {
        %go: bool[] = Compare(%i, %n) {"kind":"less"}
    }
    graph body(%i: i32[], %n: i32[], %x: f32[2]) -> (%j, %n, %y) {
        %one: i32[] = [1]
        %j: i32[] = Binary(%i, %one)
        %y: f32[2] = Binary(%x, %x)
    }"#;
    let graph = nodes(text, 13).unwrap();
    // The condition stands before the loop and at the end of its body.
    assert_eq!(operators(&graph), "Less Loop");
    let body = graph.node[1].attribute[0].g.clone().unwrap();
    assert_eq!(operators(&body), "Add Add Less Identity");
    assert_eq!((body.input.len(), body.output.len()), (5, 4));
    let text = r#"graph main(%c: bool[], %x: f32[2]) -> (%y) {
        %y: f32[2] = If(%c, %x) {"then_graph":1,"else_graph":2}
    }
    graph yes(%x: f32[2]) -> (%y) {
        %y: f32[2] = Unary(%x) {"kind":"exp"}
    }
    graph no(%x: f32[2]) -> (%x) {
    }"#;
    let graph = nodes(text, 13).unwrap();
    let branches: Vec<String> =
        graph.node[0].attribute.iter().map(|branch| operators(branch.g.as_ref().unwrap())).collect();
    assert_eq!(branches, ["Exp", "Identity"]);
}

#[test]
fn what_onnx_cannot_say_is_refused_with_advice() {
    let text = r#"state $sum: f32[2] = [1,2]
    graph main(%x: f32[2]) -> (%y) {
        %y: f32[2] = ReadState($sum)
    }"#;
    assert!(nodes(text, 13).unwrap_err().contains("make the state an input and an output"));
    let text = r#"graph main(%x: f32[2]) -> (%y) {
        %y: f32[2] = Custom(%x) {"name":"Own","output_types":["f32"],"output_shapes":[[2]]}
    }"#;
    assert!(nodes(text, 13).unwrap_err().contains("no operator 'Own'"));
}
