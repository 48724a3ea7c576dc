use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::text::parse;
use litesmith_graph::{DType, Data, GraphId, Model, Signature, TensorKind, validate};
use prost::Message;

use super::*;
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, Size, TensorProto, ValueInfoProto,
};

fn options(opset: Option<u32>) -> WriteOptions {
    WriteOptions { opset, ..WriteOptions::default() }
}

fn model(text: &str) -> Model {
    let model = parse(text).unwrap();
    validate(&model).unwrap();
    model
}

fn bytes(encoded: &Encoded) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoded.write_to(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, encoded.len());
    bytes
}

fn written_with(model: &Model, options: &WriteOptions) -> ModelProto {
    ModelProto::decode(Bytes::from(bytes(&encode(model, options, "m.onnx").unwrap()))).unwrap()
}

/// The graph of a model in text form, as the file has it.
fn written(text: &str) -> GraphProto {
    written_with(&model(text), &options(None)).graph.unwrap()
}

fn operators(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|node| node.op_type.as_deref().unwrap()).collect()
}

fn node<'a>(graph: &'a GraphProto, operator: &str) -> &'a NodeProto {
    graph.node.iter().find(|node| node.op_type.as_deref() == Some(operator)).unwrap()
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name)).unwrap()
}

fn initializer<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name)).unwrap()
}

/// The node that gives this value.
fn origin<'a>(graph: &'a GraphProto, value: &str) -> &'a NodeProto {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == value)).unwrap()
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    let bytes = tensor.raw_data.as_ref().unwrap();
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

const BRACKETED: &str = r#"graph main(%x: f32[batch,2,4,5]) -> (%y) {
    %w: f32[1,2,1,2] = [1,2,3,4]
    %b: f32[1] = [0.5]
    %last: f32[batch,4,5,2] = Transpose(%x) {"permutation":[0,2,3,1]} # layout
    %out: f32[batch,3,5,1] = Conv2D(%last,%w,%b) {"activation":"relu"} # conv1
    %y: f32[batch,1,3,5] = Transpose(%out) {"permutation":[0,3,1,2]} # layout
}"#;

#[test]
fn a_bracket_is_one_channels_first_node() {
    let graph = written(BRACKETED);
    assert_eq!(operators(&graph), ["Conv", "Relu"]);
    let conv = &graph.node[0];
    assert_eq!((conv.name.as_deref(), &*conv.input[0]), (Some("conv1/Conv"), "x"));
    assert_eq!(graph.node[1].output, ["y"]);
    let weights = initializer(&graph, &conv.input[1]);
    assert_eq!(weights.dims, [1, 2, 2, 1]);
    assert_eq!(floats(weights), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn layers_one_after_the_other_stay_channels_first_without_brackets() {
    let graph = written(
        r#"graph main(%x: f32[1,6,6,2]) -> (%z, %y) {
            %w: f32[1,3,3,4] = random(1)
            %y: f32[1,6,6,4] = DepthwiseConv2D(%x,%w,_) {"padding":"same","multiplier":2}
            %z: f32[1,3,3,4] = Pool2D(%y) {"kernel":[2,2],"stride":[2,2]}
        }"#,
    );
    assert_eq!(operators(&graph), ["Transpose", "Conv", "MaxPool", "Transpose", "Transpose"]);
    assert_eq!(graph.node[2].input[0], graph.node[1].output[0]);
    assert_eq!(attribute(&graph.node[1], "group").i, Some(2));
    assert_eq!(attribute(&graph.node[1], "pads").ints, [1, 1, 1, 1]);
    assert_eq!(initializer(&graph, &graph.node[1].input[1]).dims, [4, 1, 3, 3]);
}

#[test]
fn functions_along_channels_work_where_the_channels_are() {
    let text = r#"graph main(%x: f32[2,3,7]) -> (%y) {
        %last: f32[2,7,3] = Transpose(%x) {"permutation":[0,2,1]}
        %out: f32[2,7,3] = Softmax(%last)
        %y: f32[2,3,7] = Transpose(%out) {"permutation":[0,2,1]}
    }"#;
    let graph = written(text);
    assert_eq!(operators(&graph), ["Softmax"]);
    assert_eq!(attribute(&graph.node[0], "axis").i, Some(1));
    let graph = written(&text.replace("(%y)", "(%y, %last)"));
    assert_eq!(operators(&graph), ["Softmax", "Transpose"]);
}

#[test]
fn tensors_inside_can_be_unsigned() {
    let source = model(
        r#"graph main(%x: i8[1,2] q{"scales":[0.5],"zero_points":[3]}) -> (%y, %n) {
            %m: i8[1,2] q{"scales":[0.25],"zero_points":[-1]} = Unary(%x) {"kind":"tanh"}
            %n: i8[1,2] q{"scales":[0.25],"zero_points":[-1]} = Unary(%m) {"kind":"tanh"}
            %y: i8[1,2] q{"scales":[0.5],"zero_points":[7]} = Unary(%m) {"kind":"tanh"}
        }"#,
    );
    let unsigned = WriteOptions { unsigned_activations: true, ..WriteOptions::default() };
    let graph = written_with(&source, &unsigned).graph.unwrap();
    let zero_point = |node: &NodeProto| {
        let tensor = initializer(&graph, &node.input[2]);
        (tensor.data_type, tensor.raw_data.as_ref().unwrap()[0])
    };
    let of = |operator: &str| -> Vec<_> {
        let nodes = graph.node.iter().filter(|node| node.op_type.as_deref() == Some(operator));
        nodes.map(zero_point).collect()
    };
    assert_eq!(of("DequantizeLinear"), [(Some(3), 3), (Some(2), 127)]);
    assert_eq!(of("QuantizeLinear"), [(Some(2), 127), (Some(3), 255), (Some(3), 7)]);
    let kind = |info: &ValueInfoProto| info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type;
    let inner = graph.value_info.iter().find(|info| info.name.as_deref() == Some("m")).unwrap();
    assert_eq!((kind(inner), kind(&graph.output[0])), (Some(2), Some(3)));
}

const QUANTIZED: &str = r#"graph main(%x: i8[1,4,4,3] q{"scales":[0.5],"zero_points":[3]}) -> (%y) {
    %w: i8[2,1,1,3] q{"scales":[0.25,0.125],"zero_points":[0,0],"axis":0} = [1,2,3,4,5,6]
    %b: i32[2] q{"scales":[0.125,0.0625],"zero_points":[0,0],"axis":0} = [7,8]
    %y: i8[1,4,4,2] q{"scales":[2],"zero_points":[-128]} = Conv2D(%x,%w,%b) {"activation":"relu"} # conv
}"#;

#[test]
fn integers_stay_integers_between_dequantize_and_quantize() {
    let graph = written(QUANTIZED);
    let expected = [
        "Transpose",
        "DequantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Conv",
        "QuantizeLinear",
        "Transpose",
    ];
    assert_eq!(operators(&graph), expected);
    let conv = node(&graph, "Conv");
    let [image, weights, bias] = [0, 1, 2].map(|input| origin(&graph, &conv.input[input]));
    assert_eq!(floats(initializer(&graph, &image.input[1])), [0.5]);
    assert_eq!(initializer(&graph, &image.input[2]).raw_data.as_deref(), Some(&[3u8][..]));
    assert_eq!(attribute(weights, "axis").i, Some(0));
    let stored = initializer(&graph, &weights.input[0]);
    assert_eq!((stored.data_type, stored.raw_data.as_deref()), (Some(3), Some(&[1u8, 2, 3, 4, 5, 6][..])));
    assert_eq!(floats(initializer(&graph, &weights.input[1])), [0.25, 0.125]);
    assert_eq!(floats(initializer(&graph, &bias.input[1])), [0.125, 0.0625]);
    assert_eq!(initializer(&graph, &bias.input[0]).data_type, Some(6));
    // Integers of -128 and more are what ReLU lets through.
    let quantize = node(&graph, "QuantizeLinear");
    assert_eq!(quantize.input[0], conv.output[0]);
    assert_eq!(floats(initializer(&graph, &quantize.input[1])), [2.0]);
    assert_eq!(graph.output[0].r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type, Some(3));
}

#[test]
fn an_activation_that_the_integers_do_not_end_at_works_on_what_they_stand_for() {
    let text = QUANTIZED.replace("[-128]", "[-20]");
    let graph = written(&text);
    let relu = node(&graph, "Relu");
    let before = origin(&graph, &relu.input[0]);
    assert_eq!(before.op_type.as_deref(), Some("DequantizeLinear"));
    assert_eq!(origin(&graph, &before.input[0]).op_type.as_deref(), Some("QuantizeLinear"));
}

#[test]
fn sixteen_bits_ask_for_a_later_version_and_wide_biases_become_narrow() {
    let text = r#"graph main(%x: i16[1,3] q{"scales":[0.5],"zero_points":[0]}) -> (%y) {
        %w: i8[2,3] q{"scales":[0.25,0.125],"zero_points":[0,0],"axis":0} = [1,2,3,4,5,6]
        %b: i64[2] q{"scales":[0.125,0.0625],"zero_points":[0,0],"axis":0} = [7,-8]
        %y: i16[1,2] q{"scales":[2],"zero_points":[0]} = FullyConnected(%x,%w,%b) # dense
    }"#;
    let source = model(text);
    let written = encode(&source, &options(None), "m").unwrap().written();
    assert_eq!((written.opset, written.opset_reason.is_some()), (21, true));
    let file = written_with(&source, &options(None));
    assert_eq!((file.ir_version, file.opset_import[0].version), (Some(10), Some(21)));
    let graph = file.graph.unwrap();
    let bias = origin(&graph, &node(&graph, "Gemm").input[2]);
    let stored = initializer(&graph, &bias.input[0]);
    assert_eq!(
        (stored.data_type, stored.raw_data.as_deref()),
        (Some(6), Some(&[7, 0, 0, 0, 248, 255, 255, 255][..]))
    );
    let wide = text.replace("[7,-8]", "[1099511627776,-8]");
    let graph = written_with(&model(&wide), &options(None)).graph.unwrap();
    let bias = initializer(&graph, &node(&graph, "Gemm").input[2]);
    assert_eq!(floats(bias), [137_438_953_472.0, -0.5]);

    let error = encode(&source, &options(Some(13)), "m").err().unwrap().to_string();
    assert!(error.contains("--opset 21") && error.contains("dense"), "{error}");
    assert!(matches!(encode(&source, &options(Some(12)), "m"), Err(FormatError::Opset { asked: 12, .. })));
}

#[test]
fn real_activations_are_quantized_at_run_time_beside_integer_weights() {
    let graph = written(
        r#"graph main(%x: f32[1,3]) -> (%y) {
            %w: i8[2,3] q{"scales":[0.25,0.125],"zero_points":[0,0],"axis":0} = [1,2,3,4,5,6]
            %b: f32[2] = [7,8]
            %y: f32[1,2] = FullyConnected(%x,%w,%b) # dense
        }"#,
    );
    let expected = ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul", "Add"];
    assert_eq!(operators(&graph), expected);
    let product = &graph.node[1];
    assert_eq!(product.input.len(), 3);
    assert_eq!(product.input[2], graph.node[0].output[2]);
    let weights = initializer(&graph, &product.input[1]);
    assert_eq!((&*weights.dims, weights.raw_data.as_deref()), (&[3, 2][..], Some(&[1u8, 4, 2, 5, 3, 6][..])));
}

#[test]
fn half_precision_constants_are_widened_behind_their_permutation() {
    let graph = written(
        "graph main(%x: f32[1,2,2,2]) -> (%y) {
            %h: f16[1,1,2,2] = [1,2,3,4]
            %w: f32[1,1,2,2] = Dequantize(%h) # conv
            %y: f32[1,2,1,1] = Conv2D(%x,%w,_) # conv
        }",
    );
    assert_eq!(operators(&graph), ["Transpose", "Cast", "Conv", "Transpose"]);
    let weights = initializer(&graph, &graph.node[1].input[0]);
    assert_eq!((&*weights.dims, weights.data_type), (&[1, 2, 1, 2][..], Some(10)));
    assert_eq!(weights.raw_data.as_deref(), Some(&[0x00, 0x3C, 0x00, 0x42, 0x00, 0x40, 0x00, 0x44][..]));
}

#[test]
fn four_bit_weights_are_bytes_before_there_are_four_bit_tensors() {
    let mut source = model(
        r#"graph main(%x: i8[1,3] q{"scales":[0.5],"zero_points":[0]}) -> (%y) {
            %w: i8[1,3] q{"scales":[0.25],"zero_points":[0]} = [1,-2,3]
            %y: i8[1,1] q{"scales":[2],"zero_points":[0]} = FullyConnected(%x,%w,_) # dense
        }"#,
    );
    let weights = source.main_mut().tensors.iter_mut().find(|tensor| tensor.name == "w").unwrap();
    weights.dtype = DType::I4;
    weights.kind = TensorKind::Constant(Data::from_vec(vec![0xE1u8, 3]));
    validate(&source).unwrap();
    for (opset, data_type, bytes) in [(13, 3, &[1u8, 0xFE, 3][..]), (21, 22, &[0xE1u8, 3][..])] {
        let graph = written_with(&source, &options(Some(opset))).graph.unwrap();
        let weights = origin(&graph, &node(&graph, "Gemm").input[1]);
        let stored = initializer(&graph, &weights.input[0]);
        assert_eq!((stored.data_type, stored.raw_data.as_deref()), (Some(data_type), Some(bytes)));
        assert_eq!(initializer(&graph, &weights.input[2]).data_type, Some(data_type));
    }
}

#[test]
fn transposed_convolutions_end_where_the_graph_says() {
    let text = r#"graph main(%x: f32[1,4,4,1]) -> (%y) {
        %s: i32[4] = [1,7,8,1]
        %w: f32[1,3,3,1] = random(1)
        %y: f32[1,7,8,1] = TransposeConv2D(%s,%w,%x,_) {"stride":[2,2],"padding":"same"} # up
    }"#;
    let graph = written(text);
    let node = node(&graph, "ConvTranspose");
    assert_eq!(attribute(node, "pads").ints, [1, 0, 1, 1]);
    let free = text
        .replace("%x: f32[1,4,4,1]", "%x: f32[1,h,w,1], %s: i32[4]")
        .replace("%s: i32[4] = [1,7,8,1]", "");
    let graph = written(&free.replace("f32[1,7,8,1]", "f32[1,?,?,1]"));
    let whole = super::tests::node(&graph, "ConvTranspose");
    assert_eq!(attribute(whole, "output_padding").ints, [1, 1]);
    assert!(
        graph
            .node
            .iter()
            .any(|node| node.op_type.as_deref() == Some("Slice") && node.input[0] == whole.output[0])
    );
}

#[test]
fn simulated_quantization_is_held_within_the_integers_of_its_bits() {
    let text = r#"graph main(%x: f32[2]) -> (%y) {
        %y: f32[2] = FakeQuant(%x) {"bits":8,"quantization":{"scales":[0.5],"zero_points":[4]}} # fake
    }"#;
    assert_eq!(operators(&written(text)), ["QuantizeLinear", "DequantizeLinear"]);
    let graph = written(&text.replace("\"bits\":8", "\"bits\":4"));
    assert_eq!(operators(&graph), ["Clip", "QuantizeLinear", "DequantizeLinear"]);
    let bound = |input: usize| floats(initializer(&graph, &graph.node[0].input[input]));
    assert_eq!((bound(1), bound(2)), (vec![-6.0], vec![1.5]));
}

#[test]
fn inputs_and_outputs_are_called_as_the_signature_says() {
    let mut source = model(BRACKETED);
    source.signatures.push(Signature {
        key: "serving_default".into(),
        graph: GraphId(0),
        inputs: vec![("image".into(), 0)],
        outputs: vec![("conv1".into(), 0)],
    });
    let graph = written_with(&source, &options(None)).graph.unwrap();
    let input = &graph.input[0];
    assert_eq!(input.name.as_deref(), Some("image"));
    assert_eq!(graph.output[0].name.as_deref(), Some("conv1"));
    let shape = input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
    assert_eq!(shape.dim[0].value, Some(Size::Symbol("batch".into())));
    assert_eq!(shape.dim[1].value, Some(Size::Value(2)));
    let mut names: Vec<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), graph.node.len());
}

#[test]
fn what_goes_through_is_copied_to_its_own_output() {
    let graph = written(
        "graph main(%x: f32[2]) -> (%x, %c, %x) {
            %c: f32[2] = [1,2]
        }",
    );
    assert_eq!(operators(&graph), ["Identity", "Identity", "Identity"]);
    let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["x_1", "c", "x_2"]);
}

#[test]
fn weights_of_their_own_file_are_aligned_and_the_same() {
    let source = model(
        "graph main(%x: f32[1,600]) -> (%z) {
            %w: f32[3,600] = random(1)
            %v: f32[1000,3] = random(2)
            %b: f32[3] = [1,2,3]
            %y: f32[1,3] = FullyConnected(%x,%w,%b)
            %z: f32[1,1000] = FullyConnected(%y,%v,_)
        }",
    );
    let inline = written_with(&source, &options(None)).graph.unwrap();
    let external = WriteOptions { external_data: true, ..WriteOptions::default() };
    let encoded = encode(&source, &external, "m.onnx").unwrap();
    let graph = ModelProto::decode(Bytes::from(bytes(&encoded))).unwrap().graph.unwrap();
    let mut data = Vec::new();
    encoded.write_data_to(&mut data).unwrap();
    assert_eq!(encoded.written().bytes, encoded.len() + data.len() as u64);
    let mut seen = 0;
    for (tensor, same) in graph.initializer.iter().zip(&inline.initializer) {
        if tensor.data_location.is_none() {
            assert_eq!(tensor, same);
            continue;
        }
        let entries = tensor.external_data.iter();
        let entries: HashMap<_, _> =
            entries.map(|entry| (entry.key.clone().unwrap(), entry.value.clone().unwrap())).collect();
        assert_eq!(entries["location"], "m.onnx.data");
        let [offset, length] = ["offset", "length"].map(|key| entries[key].parse::<usize>().unwrap());
        assert_eq!(offset % 4096, 0);
        assert_eq!(&data[offset..offset + length], same.raw_data.as_deref().unwrap());
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn files_are_put_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.onnx");
    let source = model(
        "graph main(%x: f32[1,600]) -> (%y) {
        %w: f32[3,600] = random(1)
        %y: f32[1,3] = FullyConnected(%x,%w,_)
    }",
    );
    let external = WriteOptions { external_data: true, ..WriteOptions::default() };
    let written = write(&source, &external, &path).unwrap();
    assert_eq!(written.data_file.as_deref(), Some("small.onnx.data"));
    assert_eq!(written.operators, [("Gemm".to_owned(), 1)].into());
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    assert_eq!(written.bytes, length("small.onnx") + length("small.onnx.data"));
}

#[test]
fn everything_that_onnx_lacks_is_listed() {
    let source = model(
        r#"state $memory: f32[1]
        graph main(%x: f32[1]) -> (%y) {
            %old: f32[1] = ReadState($memory) # remember
            AssignState($memory, %x) # forget
            %y: f32[1] = Identity(%old)
        }"#,
    );
    let Err(FormatError::Unsupported(items)) = encode(&source, &options(None), "m") else { panic!() };
    let layers: Vec<&str> = items.iter().map(|item| &*item.layer).collect();
    assert_eq!(layers, ["remember", "forget"]);
}
