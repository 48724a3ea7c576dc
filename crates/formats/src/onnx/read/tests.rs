use litesmith_graph::{Model, text};
use prost::Message;

use super::{ReadOptions, decode};
use crate::error::FormatError;
use crate::onnx::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, Size,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
    attribute_type as kind,
};

const FLOAT: i32 = 1;
const INT64: i32 = 7;

fn value(name: &str, elem_type: i32, sizes: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| match *size {
        0 => Dimension { value: Some(Size::Symbol("N".into())) },
        size => Dimension { value: Some(Size::Value(size)) },
    };
    let shape = TensorShapeProto { dim: sizes.iter().map(dim).collect() };
    let tensor_type = Some(TensorType { elem_type: Some(elem_type), shape: Some(shape) });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type }) }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(FLOAT),
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(INT64),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto { op_type: Some(op.into()), input: list(inputs), output: list(outputs), ..NodeProto::default() }
}

fn with(mut node: NodeProto, name: &str, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(AttributeProto { name: Some(name.into()), ..attribute });
    node
}

fn ints(values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), r#type: Some(kind::INTS), ..AttributeProto::default() }
}

fn int(value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), r#type: Some(kind::INT), ..AttributeProto::default() }
}

fn body(graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph)), r#type: Some(kind::GRAPH), ..AttributeProto::default() }
}

fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(opset) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn graph(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, outputs: Vec<ValueInfoProto>) -> GraphProto {
    GraphProto { node: nodes, input: inputs, output: outputs, ..GraphProto::default() }
}

fn read(model: &ModelProto) -> Result<Model, FormatError> {
    decode(model.encode_to_vec().into(), None, &ReadOptions::default())
}

/// The operators of the main graph, in order.
fn operators(model: &Model) -> Vec<&'static str> {
    model.main().nodes.iter().map(|node| node.op.name()).collect()
}

fn refusals(error: FormatError) -> Vec<String> {
    match error {
        FormatError::Unsupported(items) => items
            .into_iter()
            .map(|item| format!("{} {}: {}", item.layer, item.operator, item.reason))
            .collect(),
        other => vec![other.to_string()],
    }
}

fn convolution() -> ModelProto {
    let mut conv = with(node("Conv", &["x", "conv.weight", "conv.bias"], &["y"]), "pads", ints(&[1; 4]));
    conv.name = Some("conv".into());
    let mut graph = graph(
        vec![conv, node("Relu", &["y"], &["z"])],
        vec![value("x", FLOAT, &[0, 2, 5, 5])],
        vec![value("z", FLOAT, &[0, 3, 5, 5])],
    );
    graph.initializer =
        vec![floats("conv.weight", &[3, 2, 3, 3], &[0.5; 54]), floats("conv.bias", &[3], &[1.0; 3])];
    model(13, graph)
}

#[test]
fn convolutions_stand_between_transpositions() {
    let read = read(&convolution()).unwrap();
    assert_eq!(operators(&read), ["Transpose", "Transpose", "Conv2D", "Transpose", "Unary"]);
    let printed = text::print(&read);
    assert!(printed.contains(r#""padding":"same""#) || printed.contains(r#""padding":{"#), "{printed}");
    let origins: Vec<_> = read.parameters.iter().map(|p| (&*p.origin.layer, &*p.origin.variable)).collect();
    assert_eq!(origins, [("conv", "weight"), ("conv", "bias")]);
    assert_eq!(read.main()[read.main().outputs[0]].shape.to_string(), "[N,3,5,5]");
    assert!(read.main().nodes.iter().any(|node| node.name == "conv"));
    assert_eq!(read.signatures[0].inputs, [("x".to_owned(), 0)]);
}

/// `Reshape(x, Concat(Slice(Shape(x), 0, 1), [-1]))`, as exporters flatten.
fn flattened() -> GraphProto {
    let mut graph = graph(
        vec![
            node("Shape", &["x"], &["shape"]),
            node("Slice", &["shape", "zero", "one"], &["batch"]),
            with(node("Concat", &["batch", "rest"], &["target"]), "axis", int(0)),
            node("Reshape", &["x", "target"], &["y"]),
        ],
        vec![value("x", FLOAT, &[0, 2, 3])],
        vec![value("y", FLOAT, &[0, 6])],
    );
    graph.initializer = vec![integers("zero", &[0]), integers("one", &[1]), integers("rest", &[-1])];
    graph
}

#[test]
fn arithmetic_on_shapes_is_done_while_reading() {
    let read = read(&model(13, flattened())).unwrap();
    assert_eq!(operators(&read), ["Reshape"]);
    assert_eq!(read.main()[read.main().outputs[0]].shape.to_string(), "[N,6]");
}

#[test]
fn what_was_an_attribute_became_an_input() {
    let reduced = |opset, by_input: bool| {
        let sum = if by_input {
            node("ReduceSum", &["x", "axes"], &["y"])
        } else {
            node("ReduceSum", &["x"], &["y"])
        };
        let sum = if by_input { sum } else { with(sum, "axes", ints(&[1])) };
        let mut graph = graph(vec![sum], vec![value("x", FLOAT, &[2, 3])], vec![value("y", FLOAT, &[2, 1])]);
        graph.initializer = vec![integers("axes", &[1])];
        read(&model(opset, graph))
    };
    assert_eq!(operators(&reduced(11, false).unwrap()), ["Reduce"]);
    assert_eq!(operators(&reduced(13, true).unwrap()), ["Reduce"]);
    // In the other version they mean nothing, which is not passed over.
    assert!(refusals(reduced(13, false).unwrap_err())[0].contains("'axes' is not supported"));
    assert!(refusals(reduced(11, true).unwrap_err())[0].contains("input 1 is not supported"));
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let strange = with(node("Relu", &["x"], &["b"]), "slope", int(1));
    let nodes = vec![
        node("NonZero", &["x"], &["a"]),
        strange,
        node("Cast", &["b"], &["c"]),
        NodeProto { domain: Some("my.ops".into()), ..node("Relu", &["x"], &["d"]) },
    ];
    let outputs = ["a", "c", "d"].map(|name| value(name, FLOAT, &[2])).to_vec();
    let graph = graph(nodes, vec![value("x", FLOAT, &[2])], outputs);
    let refused = refusals(read(&model(13, graph)).unwrap_err());
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].starts_with("a NonZero: the operator is not supported"), "{refused:?}");
    assert!(refused[1].starts_with("b Relu: its attribute 'slope'"), "{refused:?}");
    assert!(refused[2].starts_with("d my.ops.Relu"), "{refused:?}");
}

#[test]
fn versions_that_are_not_read_are_refused() {
    for version in [6, 29, -1] {
        let refused = refusals(read(&model(version, flattened())).unwrap_err());
        assert!(refused[0].contains(&format!("opset {version}")), "{refused:?}");
    }
    let mut none = model(13, flattened());
    none.opset_import.clear();
    assert!(matches!(read(&none), Err(FormatError::Broken { .. })));
}

#[test]
fn contradictions_are_found() {
    let nothing = graph(vec![node("Relu", &["y"], &["z"])], Vec::new(), vec![value("z", FLOAT, &[1])]);
    let missing = graph(Vec::new(), Vec::new(), vec![value("z", FLOAT, &[1])]);
    let mut short = convolution().graph.unwrap();
    short.initializer[0].float_data.pop();
    let mut large = convolution().graph.unwrap();
    large.initializer[0].dims = vec![i64::MAX, i64::MAX];
    let mut negative = convolution().graph.unwrap();
    negative.initializer[0].dims = vec![-3, 2, 3, 3];
    let mut typed = convolution().graph.unwrap();
    typed.output[0] = value("z", INT64, &[0, 3, 5, 5]);
    for graph in [nothing, missing, short, large, negative, typed] {
        let error = read(&model(13, graph)).unwrap_err();
        assert!(matches!(error, FormatError::Broken { .. }), "{error}");
    }
}

fn conditional(condition: GraphProto) -> ModelProto {
    let branch = |op: &str| graph(vec![node(op, &["x"], &["r"])], Vec::new(), vec![value("r", FLOAT, &[2])]);
    let choose = with(node("If", &["c"], &["y"]), "then_branch", body(branch("Relu")));
    let choose = with(choose, "else_branch", body(branch("Neg")));
    let mut outer = condition;
    outer.node.push(choose);
    outer.output = vec![value("y", FLOAT, &[2])];
    model(13, outer)
}

#[test]
fn a_known_condition_chooses_its_branch() {
    let mut known =
        graph(vec![node("Equal", &["a", "b"], &["c"])], vec![value("x", FLOAT, &[2])], Vec::new());
    known.initializer = vec![integers("a", &[1]), integers("b", &[2])];
    let read_known = read(&conditional(known)).unwrap();
    assert_eq!((operators(&read_known), read_known.graphs.len()), (vec!["Unary"], 1));
    assert!(text::print(&read_known).contains(r#""kind":"neg""#));
    let open = graph(Vec::new(), vec![value("x", FLOAT, &[2]), value("c", 9, &[1])], Vec::new());
    let read_open = read(&conditional(open)).unwrap();
    assert_eq!(read_open.graphs.len(), 3);
    assert!(operators(&read_open).contains(&"If"));
}

#[test]
fn functions_of_the_model_take_the_place_of_their_calls() {
    let twice = FunctionProto {
        name: Some("Twice".into()),
        domain: Some("my.ops".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Neg", &["a"], &["inner"]), node("Neg", &["inner"], &["b"])],
        ..FunctionProto::default()
    };
    let call = |input: &str, output: &str| NodeProto {
        domain: Some("my.ops".into()),
        ..node("Twice", &[input], &[output])
    };
    let graph = graph(
        vec![call("x", "y"), call("y", "z")],
        vec![value("x", FLOAT, &[2])],
        vec![value("z", FLOAT, &[2])],
    );
    let calls = ModelProto { functions: vec![twice.clone()], ..model(13, graph) };
    assert_eq!(operators(&read(&calls).unwrap()), ["Unary"; 4]);
    let mut endless = calls;
    endless.functions[0].node = vec![call("a", "b")];
    assert!(matches!(read(&endless), Err(FormatError::Broken { .. })));
}

#[test]
fn rounding_to_integers_and_back_is_simulated_quantization() {
    let scale = floats("scale", &[], &[0.5]);
    let zero = TensorProto { data_type: Some(2), int32_data: vec![128], ..floats("zero", &[], &[]) };
    let mut outer = graph(
        vec![
            node("QuantizeLinear", &["x", "scale", "zero"], &["q"]),
            node("DequantizeLinear", &["q", "scale", "zero"], &["y"]),
        ],
        vec![value("x", FLOAT, &[2])],
        vec![value("y", FLOAT, &[2])],
    );
    outer.initializer = vec![scale, zero];
    let read = read(&model(13, outer)).unwrap();
    assert_eq!(operators(&read), ["FakeQuant"]);
}

#[test]
fn integers_that_are_only_moved_stay_those_of_a_tensor() {
    let scale = floats("scale", &[], &[0.5]);
    let zero = TensorProto { data_type: Some(2), int32_data: vec![128], ..floats("zero", &[], &[]) };
    let mut outer = graph(
        vec![
            node("QuantizeLinear", &["x", "scale", "zero"], &["q"]),
            node("Flatten", &["q"], &["f"]),
            node("DequantizeLinear", &["f", "scale", "zero"], &["y"]),
        ],
        vec![value("x", FLOAT, &[2, 3, 4])],
        vec![value("y", FLOAT, &[2, 12])],
    );
    outer.initializer = vec![scale, zero];
    assert_eq!(operators(&read(&model(13, outer)).unwrap()), ["Reshape", "FakeQuant"]);
}

#[test]
fn the_error_function_is_recognized_in_its_formula_only() {
    let formula = |half: f32| {
        let mut outer = graph(
            vec![
                node("Div", &["x", "root"], &["t"]),
                node("Erf", &["t"], &["e"]),
                node("Add", &["e", "one"], &["g"]),
                node("Mul", &["x", "g"], &["p"]),
                node("Mul", &["p", "half"], &["y"]),
            ],
            vec![value("x", FLOAT, &[2])],
            vec![value("y", FLOAT, &[2])],
        );
        let constants = [("root", std::f32::consts::SQRT_2), ("one", 1.0), ("half", half)];
        outer.initializer = constants.iter().map(|(name, value)| floats(name, &[], &[*value])).collect();
        text::print(&read(&model(13, outer)).unwrap())
    };
    assert!(formula(0.5).contains("gelu") && !formula(0.4).contains("gelu"), "{}", formula(0.5));
}

#[test]
fn constants_outside_the_folder_are_not_read() {
    let mut proto = convolution();
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let weights = &mut proto.graph.as_mut().unwrap().initializer[0];
    weights.float_data.clear();
    weights.data_location = Some(1);
    weights.external_data = vec![entry("location", "../weights")];
    let folder = tempfile::tempdir().unwrap();
    let bytes = proto.encode_to_vec();
    let error = decode(bytes.into(), Some(folder.path()), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("outside the model's folder"), "{error}");
}

#[test]
fn damaged_files_do_not_panic() {
    let known = graph(vec![node("Equal", &["a", "b"], &["c"])], vec![value("x", FLOAT, &[2])], Vec::new());
    for file in [convolution(), model(13, flattened()), conditional(known)] {
        let bytes = file.encode_to_vec();
        for length in 0..bytes.len() {
            let _ = decode(bytes[..length].to_vec().into(), None, &ReadOptions::default());
        }
        for position in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, bytes[position] ^ 0x10, bytes[position].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[position] = value;
                let _ = decode(changed.into(), None, &ReadOptions::default());
            }
        }
    }
}
