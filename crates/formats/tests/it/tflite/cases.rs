//! Small models, at least one for every operator that TFLite has.

use litesmith_graph::ops::{BinaryKind, Compare, CompareKind, Custom, FullyConnected, UnaryKind};
use litesmith_graph::quantization::SparseDimension;
use litesmith_graph::text::parse;
use litesmith_graph::{
    DType, Data, Dim, Graph, Model, Op, Quantization, Shape, Sparsity, Tensor, infer_model, ops,
};

/// Operators that no file has: they are rewritten before a model is written.
pub const HIGH_LEVEL: [&str; 9] = [
    "BatchNorm",
    "BatchNormTraining",
    "Dropout",
    "DropoutTraining",
    "FakeQuant",
    "FakeQuantTraining",
    "Gradient",
    "Identity",
    "Recurrent",
];

/// All cases with their names.
pub fn all() -> Vec<(String, Model)> {
    let mut cases = text_cases();
    cases.extend(elementwise());
    cases.push(("fully_connected_i4".into(), four_bits()));
    cases.push(("fully_connected_sparse".into(), sparse()));
    cases.push(("custom".into(), custom()));
    for (_, model) in &mut cases {
        infer_model(model).unwrap();
        for graph in &mut model.graphs {
            for index in 0..graph.nodes.len() {
                let name = match graph.nodes[index].outputs.first() {
                    Some(output) => graph[*output].name.clone(),
                    None => format!("{}_{index}", graph.nodes[index].op.builtin_name()),
                };
                graph.nodes[index].name = name;
            }
        }
    }
    cases
}

/// Cases by text: `= name` and the model that follows.
fn text_cases() -> Vec<(String, Model)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in TEXT.lines() {
        match (line.strip_prefix("= "), cases.last_mut()) {
            (Some(name), _) => cases.push((name.to_owned(), String::new())),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    let parse = |(name, text): (String, String)| match parse(&text) {
        Ok(model) => (name, model),
        Err(error) => panic!("case {name}: {error}"),
    };
    cases.into_iter().map(parse).collect()
}

/// Convolutions without bias, which come back with one of zeros.
pub fn without_bias() -> Vec<(String, Model)> {
    let mut cases = Vec::new();
    for (name, mut model) in all() {
        for node in &mut model.main_mut().nodes {
            if matches!(node.op, Op::Conv2D(_) | Op::DepthwiseConv2D(_)) {
                node.inputs.truncate(2);
            }
        }
        if model.main().nodes[0].inputs.len() == 2 && (name.contains("conv") || name.contains("depthwise")) {
            cases.push((format!("{name}_without_bias"), model));
        }
    }
    cases
}

fn image(dtype: DType) -> Tensor {
    Tensor::input("x", dtype, Shape::from([Dim::free("batch"), 4.into(), 4.into(), 3.into()]))
}

fn one_node(op: impl Into<Op>, inputs: Vec<Tensor>, output: DType) -> Model {
    let mut graph = Graph::new("main");
    let inputs = inputs.into_iter().map(|tensor| Some(graph.add_tensor(tensor))).collect();
    let output = graph.add_tensor(Tensor::activation("y", output, Shape::default()));
    graph.add_node("y", op, inputs, vec![output]);
    graph.outputs.push(output);
    Model::new(graph)
}

/// Every unary, binary and comparing function that TFLite has.
fn elementwise() -> Vec<(String, Model)> {
    let mut cases = Vec::new();
    let clip = UnaryKind::Clip { min: 0.0, max: 1.0 };
    for kind in UnaryKind::ALL.into_iter().chain([clip, UnaryKind::Gelu { approximate: true }]) {
        let op = ops::Unary { kind };
        if litesmith_formats::tflite::write(&one_node(op.clone(), vec![image(DType::F32)], DType::F32))
            .is_ok()
        {
            let name = format!("unary_{kind:?}").to_lowercase();
            cases.push((name, one_node(op, vec![image(DType::F32)], DType::F32)));
        }
    }
    let not = ops::Unary { kind: UnaryKind::LogicalNot };
    cases.push(("unary_logical_not".into(), one_node(not, vec![image(DType::Bool)], DType::Bool)));
    let channels = |dtype| Tensor::input("c", dtype, Shape::from([3]));
    for kind in BinaryKind::ALL {
        let inputs = vec![image(DType::F32), channels(DType::F32)];
        cases.push((
            format!("binary_{kind:?}").to_lowercase(),
            one_node(ops::Binary::from(kind), inputs, DType::F32),
        ));
    }
    for kind in CompareKind::ALL {
        let inputs = vec![image(DType::F32), channels(DType::F32)];
        cases.push((
            format!("compare_{kind:?}").to_lowercase(),
            one_node(Compare { kind }, inputs, DType::Bool),
        ));
    }
    cases
}

/// A product with three rows of weights.
fn quantized_product(depth: usize, dtype: DType, weights: Vec<i8>, sparsity: Option<Sparsity>) -> Model {
    let rows = Tensor::input("x", DType::I8, Shape::from([Dim::free("batch"), depth.into()]));
    let mut weights = Tensor::constant("w", dtype, Shape::from([3, depth]), Data::from_vec(weights));
    weights.sparsity = sparsity.map(Box::new);
    let bias = Tensor::integers("b", &[5, -6, 7]);
    let inputs = vec![
        rows.with_quantization(Quantization::per_tensor(0.05, 3)),
        weights.with_quantization(Quantization::per_tensor(0.1, 0)),
        bias.with_quantization(Quantization::per_tensor(0.05 * 0.1, 0)),
    ];
    let mut model = one_node(FullyConnected::default(), inputs, DType::I8);
    let output = model.main().outputs[0];
    model.main_mut()[output].quantization = Some(Quantization::per_tensor(0.25, -4));
    model
}

fn four_bits() -> Model {
    let weights = (0..12).map(|i: i32| (i * 37 % 256) as u8 as i8).collect();
    quantized_product(8, DType::I4, weights, None)
}

/// Weights with one stored block of sixteen in each row.
fn sparse() -> Model {
    let sparsity = Sparsity {
        traversal_order: vec![0, 1, 2],
        block_map: vec![1],
        dimensions: vec![
            SparseDimension::Dense(3),
            SparseDimension::Csr { segments: vec![0, 1, 2, 3], indices: vec![1, 0, 1] },
            SparseDimension::Dense(16),
        ],
    };
    quantized_product(32, DType::I8, (1..=48).collect(), Some(sparsity))
}

fn custom() -> Model {
    let op = Custom {
        name: "MyOperator".into(),
        options: vec![1, 2, 3, 200],
        version: 7,
        output_types: vec![DType::F32],
        output_shapes: vec![vec![-1, 5]],
    };
    one_node(op, vec![image(DType::F32)], DType::F32)
}

const TEXT: &str = r#"
= conv
graph main(%x: f32[batch,8,8,3]) -> (%y) {
  %w: f32[4,3,3,3] = random(1)
  %b: f32[4] = random(2)
  %y: f32[batch,4,4,4] = Conv2D(%x, %w, %b) {"stride":[2,2],"padding":"same","activation":"relu6"}
}
= conv_dilated
graph main(%x: f32[batch,8,9,3]) -> (%y) {
  %w: f32[4,3,2,3] = random(1)
  %b: f32[4] = random(2)
  %y: f32[batch,4,7,4] = Conv2D(%x, %w, %b) {"dilation":[2,2],"activation":"relu_n1_to1"}
}
= conv_grouped
graph main(%x: f32[batch,8,8,4]) -> (%y) {
  %w: f32[6,3,3,2] = random(1)
  %b: f32[6] = random(2)
  %y: f32[batch,6,6,6] = Conv2D(%x, %w, %b) {"groups":2}
}
= conv_free_size
graph main(%x: f32[batch,x_1,x_2,3]) -> (%y) {
  %w: f32[4,3,3,3] = random(1)
  %b: f32[4] = random(2)
  %y: f32[batch,x_1,x_2,4] = Conv2D(%x, %w, %b) {"padding":"same"}
}
= conv_int8
graph main(%x: i8[batch,8,8,2] q{"scales":[0.05],"zero_points":[-3]}) -> (%y) {
  %w: i8[3,3,3,2] q{"scales":[0.01,0.02,0.03],"zero_points":[0,0,0],"axis":0} = [1,-2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,-1,-2,-3,-4,-5,-6,-7,-8,-9,-10,-11,-12,-13,-14,-15,-16,-17,-18,9,8,7,6,5,4,3,2,1,0,-1,-2,-3,-4,-5,-6,-7,127]
  %b: i32[3] q{"scales":[0.0005,0.001,0.0015],"zero_points":[0,0,0],"axis":0} = [100,-200,300]
  %y: i8[batch,8,8,3] q{"scales":[0.1],"zero_points":[5]} = Conv2D(%x, %w, %b) {"padding":"same","activation":"relu"}
}
= conv_hybrid
graph main(%x: f32[batch,4,4,2]) -> (%y) {
  %w: i8[2,1,1,2] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":0} = [1,-2,3,4]
  %b: f32[2] = [0.5,-0.5]
  %y: f32[batch,4,4,2] = Conv2D(%x, %w, %b)
}
= conv_int16
graph main(%x: i16[batch,4,4,2] q{"scales":[0.0005],"zero_points":[0]}) -> (%y) {
  %w: i8[2,1,1,2] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":0} = [1,-2,3,4]
  %b: i64[2] q{"scales":[0.000005,0.00001],"zero_points":[0,0],"axis":0} = [1000,-2000]
  %y: i16[batch,4,4,2] q{"scales":[0.001],"zero_points":[0]} = Conv2D(%x, %w, %b)
}
= depthwise
graph main(%x: f32[batch,8,8,3]) -> (%y) {
  %w: f32[1,3,3,6] = random(1)
  %b: f32[6] = random(2)
  %y: f32[batch,8,8,6] = DepthwiseConv2D(%x, %w, %b) {"multiplier":2,"padding":"same","dilation":[2,1]}
}
= depthwise_int8
graph main(%x: i8[batch,4,4,2] q{"scales":[0.05],"zero_points":[-3]}) -> (%y) {
  %w: i8[1,2,2,2] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":3} = [1,-2,3,4,5,6,7,8]
  %b: i32[2] q{"scales":[0.0005,0.001],"zero_points":[0,0],"axis":0} = [100,-200]
  %y: i8[batch,2,2,2] q{"scales":[0.1],"zero_points":[5]} = DepthwiseConv2D(%x, %w, %b) {"stride":[2,2]}
}
= fully_connected
graph main(%x: f32[batch,6]) -> (%y) {
  %w: f32[4,6] = random(1)
  %y: f32[batch,4] = FullyConnected(%x, %w, _) {"activation":"relu"}
}
= fully_connected_rows
graph main(%x: f32[batch,5,6]) -> (%y) {
  %w: f32[4,6] = random(1)
  %b: f32[4] = random(2)
  %y: f32[batch,5,4] = FullyConnected(%x, %w, %b) {"keep_num_dims":true}
}
= fully_connected_hybrid
graph main(%x: f32[batch,4]) -> (%y, %z) {
  %w: i8[2,4] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":0} = [1,-2,3,4,5,-6,7,8]
  %v: i8[3,2] q{"scales":[0.5],"zero_points":[0]} = [1,-2,3,4,5,-6]
  %b: f32[2] = [0.5,-0.5]
  %y: f32[batch,2] = FullyConnected(%x, %w, %b) {"asymmetric_quantize_inputs":true}
  %z: f32[batch,3] = FullyConnected(%y, %v, _) {"asymmetric_quantize_inputs":true}
}
= batch_matmul
graph main(%x: f32[batch,2,3,4], %z: f32[batch,2,5,4]) -> (%y) {
  %y: f32[batch,2,3,5] = BatchMatMul(%x, %z) {"adjoint_b":true}
}
= pool_max
graph main(%x: f32[batch,8,8,3]) -> (%y) {
  %y: f32[batch,4,4,3] = Pool2D(%x) {"kernel":[3,3],"stride":[2,2],"padding":"same"}
}
= pool_average
graph main(%x: f32[batch,8,8,3]) -> (%y) {
  %y: f32[batch,3,4,3] = Pool2D(%x) {"kind":"average","kernel":[3,2],"stride":[2,2],"activation":"relu"}
}
= reduce
graph main(%x: f32[batch,4,5,3]) -> (%a, %b, %c, %d, %e) {
  %a: f32[batch,3] = Reduce(%x) {"axes":[1,2]}
  %b: f32[batch,1,1,3] = Reduce(%x) {"kind":"sum","axes":[1,2],"keep_dims":true}
  %c: f32[batch,4,5] = Reduce(%x) {"kind":"max","axes":[-1]}
  %d: f32[batch,3] = Reduce(%x) {"kind":"min","axes":[1,2]}
  %e: f32[batch,5,3] = Reduce(%x) {"kind":"prod","axes":[1]}
}
= reduce_truth
graph main(%x: bool[batch,4,5]) -> (%a, %b) {
  %a: bool[batch,5] = Reduce(%x) {"kind":"max","axes":[1]}
  %b: bool[batch,4,1] = Reduce(%x) {"kind":"min","axes":[-1],"keep_dims":true}
}
= arg_reduce
graph main(%x: f32[batch,7]) -> (%a, %b) {
  %a: i64[batch] = ArgReduce(%x)
  %b: i32[batch] = ArgReduce(%x) {"kind":"min","axis":1,"dtype":"i32"}
}
= softmax
graph main(%x: f32[batch,7]) -> (%a, %b, %c) {
  %a: f32[batch,7] = Softmax(%x) {"beta":0.5}
  %b: f32[batch,7] = Softmax(%x) {"log":true}
  %c: f32[batch,7] = L2Norm(%x)
}
= softmax_int8
graph main(%x: i8[batch,7] q{"scales":[0.1],"zero_points":[2]}) -> (%a) {
  %a: i8[batch,7] q{"scales":[0.00390625],"zero_points":[-128]} = Softmax(%x)
}
= concat
graph main(%x: f32[batch,4,3], %z: f32[batch,4,2]) -> (%a, %b) {
  %a: f32[batch,4,5] = Concat(%x, %z) {"axis":-1}
  %b: f32[batch,8,3] = Concat(%x, %x) {"axis":1,"activation":"relu"}
}
= pack
graph main(%x: f32[batch,3], %z: f32[batch,3]) -> (%a, %b, %c, %d) {
  %a: f32[batch,3,2] = Pack(%x, %z) {"axis":2}
  %b: f32[batch], %c: f32[batch], %d: f32[batch] = Unpack(%x) {"axis":1,"parts":3}
}
= split
graph main(%x: f32[batch,6]) -> (%a, %b, %c, %d) {
  %a: f32[batch,3], %b: f32[batch,3] = Split(%x) {"axis":1,"parts":2}
  %c: f32[batch,2], %d: f32[batch,4] = Split(%x) {"axis":-1,"parts":2,"sizes":[2,4]}
}
= gather
graph main(%i: i32[batch,5]) -> (%a) {
  %t: f32[10,4] = random(1)
  %a: f32[batch,5,4] = Gather(%t, %i)
}
= gather_batched
graph main(%x: f32[batch,6,4], %i: i32[batch,2]) -> (%a) {
  %a: f32[batch,2,4] = Gather(%x, %i) {"axis":1,"batch_dims":1}
}
= reshape
graph main(%x: f32[batch,4,3]) -> (%a, %b) {
  %a: f32[batch,12] = Reshape(%x) {"shape":["infer",12]}
  %b: f32[batch,2,6] = Reshape(%a) {"shape":["infer",2,6]}
}
= reshape_computed
graph main(%x: f32[batch,4,3]) -> (%y) {
  %s: i32[3] = ShapeOf(%x)
  %n: i32[] = StridedSlice(%s) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}
  %c: i32[] = [12]
  %p: i32[2] = Pack(%n, %c)
  %y: f32[batch,12] = Reshape(%x, %p)
}
= reshape_to_scalar
graph main(%x: f32[1,1]) -> (%y) {
  %y: f32[] = Reshape(%x) {"shape":[]}
}
= squeeze
graph main(%x: f32[batch,1,3,1]) -> (%a, %b) {
  %a: f32[batch,3,1] = Squeeze(%x) {"axes":[1]}
  %c: f32[batch,3] = Squeeze(%x) {"axes":[1,-1]}
  %b: f32[batch,1,3] = ExpandDims(%c) {"axis":1}
}
= transpose
graph main(%x: f32[batch,4,3]) -> (%y) {
  %y: f32[batch,3,4] = Transpose(%x) {"permutation":[0,2,1]}
}
= tile
graph main(%x: f32[batch,4,3]) -> (%y) {
  %y: f32[batch,8,9] = Tile(%x) {"multiples":[1,2,3]}
}
= broadcast_to
graph main(%x: f32[4,1,3]) -> (%y) {
  %y: f32[4,5,3] = BroadcastTo(%x) {"shape":[4,5,3]}
}
= slice
graph main(%x: f32[batch,4,5]) -> (%y) {
  %y: f32[batch,2,4] = Slice(%x) {"begin":[0,1,1],"size":[-1,2,-1]}
}
= strided_slice
graph main(%x: f32[batch,6,5]) -> (%y) {
  %y: f32[batch,2] = StridedSlice(%x) {"begin":[0,-1,2],"end":[0,0,4],"strides":[1,-1,1],"begin_mask":1,"end_mask":1,"shrink_axis_mask":2}
}
= pad
graph main(%x: f32[batch,4,5,2]) -> (%a, %b, %c, %d) {
  %a: f32[batch,6,8,2] = Pad(%x) {"amounts":[[0,0],[1,1],[1,2],[0,0]]}
  %b: f32[batch,6,8,2] = Pad(%x) {"amounts":[[0,0],[1,1],[1,2],[0,0]],"mode":{"value":-1.5}}
  %c: f32[batch,6,8,2] = Pad(%x) {"amounts":[[0,0],[1,1],[1,2],[0,0]],"mode":"reflect"}
  %d: f32[batch,6,8,2] = Pad(%x) {"amounts":[[0,0],[1,1],[1,2],[0,0]],"mode":"symmetric"}
}
= pad_int8
graph main(%x: i8[batch,4,5,2] q{"scales":[0.5],"zero_points":[3]}) -> (%b) {
  %b: i8[batch,6,8,2] q{"scales":[0.5],"zero_points":[3]} = Pad(%x) {"amounts":[[0,0],[1,1],[1,2],[0,0]],"mode":{"value":-1.5}}
}
= resize
graph main(%x: f32[batch,4,5,2]) -> (%a, %b) {
  %a: f32[batch,8,10,2] = Resize(%x) {"size":[8,10],"half_pixel_centers":true}
  %b: f32[batch,7,9,2] = Resize(%x) {"kind":"nearest","size":[7,9],"align_corners":true}
}
= select
graph main(%c: bool[batch,3], %x: f32[batch,3], %z: f32[3]) -> (%y) {
  %y: f32[batch,3] = Select(%c, %x, %z)
}
= logical
graph main(%x: bool[batch,3], %z: bool[batch,3]) -> (%a, %b) {
  %a: bool[batch,3] = Logical(%x, %z)
  %b: bool[batch,3] = Logical(%x, %z) {"kind":"or"}
}
= prelu
graph main(%x: f32[batch,4,4,3]) -> (%y) {
  %a: f32[1,1,3] = [0.1,0.2,0.3]
  %y: f32[batch,4,4,3] = Prelu(%x, %a)
}
= fill
graph main(%x: f32[batch,4]) -> (%y) {
  %s: i32[2] = ShapeOf(%x)
  %v: f32[] = [1.5]
  %y: f32[batch,4] = Fill(%s, %v)
}
= cast
graph main(%x: i32[batch,4]) -> (%y, %s) {
  %y: f32[batch,4] = Cast(%x)
  %s: i64[2] = ShapeOf(%y) {"dtype":"i64"}
}
= quantize
graph main(%x: f32[batch,4]) -> (%y) {
  %q: i8[batch,4] q{"scales":[0.1],"zero_points":[-5]} = Quantize(%x)
  %u: u8[batch,4] q{"scales":[0.1],"zero_points":[123]} = Quantize(%q) {"to":"u8"}
  %y: f32[batch,4] = Dequantize(%u)
}
= half_weights
graph main(%x: f32[batch,4]) -> (%y) {
  %h: f16[2,4] = [1,2,3,4,5,6,7,8]
  %w: f32[2,4] = Dequantize(%h)
  %y: f32[batch,2] = FullyConnected(%x, %w, _)
}
= residual_int8
graph main(%x: i8[batch,4] q{"scales":[0.1],"zero_points":[-5]}, %z: i8[batch,4] q{"scales":[0.2],"zero_points":[6]}) -> (%y) {
  %a: i8[batch,4] q{"scales":[0.3],"zero_points":[1]} = Binary(%x, %z) {"activation":"relu"}
  %y: i8[batch,4] q{"scales":[0.01],"zero_points":[1]} = Binary(%a, %z) {"kind":"mul"}
}
= residual_int16
graph main(%x: i16[batch,4] q{"scales":[0.1],"zero_points":[0]}, %z: i16[batch,4] q{"scales":[0.2],"zero_points":[0]}) -> (%y, %a) {
  %y: i16[batch,4] q{"scales":[0.3],"zero_points":[0]} = Binary(%x, %z)
  %a: i16[batch,4] q{"scales":[0.3],"zero_points":[0]} = Binary(%x, %z) {"kind":"sub"}
}
= transpose_conv
graph main(%x: f32[2,4,5,3]) -> (%y, %z) {
  %s: i32[4] = [2,8,10,4]
  %t: i32[4] = [2,6,7,4]
  %w: f32[4,3,3,3] = random(1)
  %b: f32[4] = random(2)
  %y: f32[2,8,10,4] = TransposeConv2D(%s, %w, %x, %b) {"stride":[2,2],"padding":"same","activation":"relu"}
  %z: f32[2,6,7,4] = TransposeConv2D(%t, %w, %x)
}
= transpose_conv_free_size
graph main(%x: f32[batch,x_1,5,3]) -> (%y) {
  %w: f32[4,3,3,3] = random(1)
  %b: f32[4] = random(2)
  %two: i32[] = [2]
  %ten: i32[] = [10]
  %four: i32[] = [4]
  %s: i32[4] = ShapeOf(%x)
  %n: i32[] = StridedSlice(%s) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}
  %h: i32[] = StridedSlice(%s) {"begin":[1],"end":[2],"strides":[1],"shrink_axis_mask":1}
  %d: i32[] = Binary(%h, %two) {"kind":"mul"}
  %p: i32[4] = Pack(%n, %d, %ten, %four)
  %y: f32[batch,?,10,4] = TransposeConv2D(%p, %w, %x, %b) {"stride":[2,2],"padding":"same"}
}
= transpose_conv_int16
graph main(%x: i16[1,2,2,1] q{"scales":[0.0005],"zero_points":[0]}) -> (%y) {
  %s: i32[4] = [1,4,4,2]
  %w: i8[2,2,2,1] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":0} = [1,-2,3,4,5,6,7,8]
  %y: i16[1,4,4,2] q{"scales":[0.001],"zero_points":[0]} = TransposeConv2D(%s, %w, %x) {"stride":[2,2]}
}
= transpose_conv_int8
graph main(%x: i8[1,2,2,1] q{"scales":[0.05],"zero_points":[-3]}) -> (%y) {
  %s: i32[4] = [1,4,4,2]
  %w: i8[2,2,2,1] q{"scales":[0.01,0.02],"zero_points":[0,0],"axis":0} = [1,-2,3,4,5,6,7,8]
  %b: i32[2] q{"scales":[0.0005,0.001],"zero_points":[0,0],"axis":0} = [100,-200]
  %y: i8[1,4,4,2] q{"scales":[0.1],"zero_points":[5]} = TransposeConv2D(%s, %w, %x, %b) {"stride":[2,2]}
}
= conv_3d
graph main(%x: f32[batch,4,5,6,2]) -> (%y, %z) {
  %w: f32[3,2,3,2,5] = random(1)
  %b: f32[5] = random(2)
  %y: f32[batch,2,5,3,5] = Conv3D(%x, %w, %b) {"stride":[2,1,2],"padding":"same","activation":"relu6"}
  %z: f32[batch,2,3,2,5] = Conv3D(%x, %w) {"dilation":[1,2,2]}
}
= conv_3d_transpose
graph main(%x: f32[1,2,3,2,2]) -> (%y) {
  %s: i32[5] = [1,4,6,4,3]
  %w: f32[2,2,2,3,2] = random(1)
  %y: f32[1,4,6,4,3] = TransposeConv3D(%s, %w, %x) {"stride":[2,2,2],"padding":"same"}
}
= blocks
graph main(%x: f32[2,4,6,3]) -> (%a, %b, %c, %d) {
  %a: f32[2,2,3,12] = SpaceToDepth(%x) {"block":2}
  %b: f32[2,4,6,3] = DepthToSpace(%a) {"block":2}
  %c: f32[12,3,2,3] = SpaceToBatch(%x) {"block":[2,3],"padding":[[1,1],[0,0]]}
  %d: f32[2,4,6,3] = BatchToSpace(%c) {"block":[2,3],"crops":[[1,1],[0,0]]}
}
= blocks_int8
graph main(%x: i8[2,4,6] q{"scales":[0.5],"zero_points":[3]}) -> (%c) {
  %c: i8[4,2,6] q{"scales":[0.5],"zero_points":[3]} = SpaceToBatch(%x) {"block":[2],"padding":[[0,0]]}
}
= chosen
graph main(%x: f32[batch,3,4], %i: i32[5,1], %j: i64[2]) -> (%a, %b, %c, %d, %e) {
  %on: f32[] = [1]
  %off: f32[] = [0]
  %a: f32[5,3,4] = GatherNd(%x, %i)
  %b: f32[batch,3,2], %c: i32[batch,3,2] = TopK(%x) {"k":2}
  %d: f32[batch,3,4] = Reverse(%x) {"axes":[1,-1]}
  %e: f32[6,2] = OneHot(%j, %on, %off) {"depth":6,"axis":0}
}
= counted
graph main(%x: f32[batch,3]) -> (%a, %b) {
  %zero: i32[] = [0]
  %one: i32[] = [1]
  %a: f32[batch,3] = CumSum(%x) {"axis":-1,"exclusive":true,"reverse":true}
  %s: i32[2] = ShapeOf(%x)
  %n: i32[] = StridedSlice(%s) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}
  %b: i32[batch] = Range(%zero, %n, %one)
}
= update_slice
graph main(%x: f32[4,3], %p: f32[2,3], %at: i32[2], %far: i64[2]) -> (%y, %z) {
  %y: f32[4,3] = UpdateSlice(%x, %p, %at)
  %z: f32[4,3] = UpdateSlice(%x, %p, %far)
}
= computed_operands
graph main(%x: f32[2,4,4,2], %n: i32[4], %e: i32[4], %p: i32[4,2], %s: i32[2]) -> (%a, %b, %c, %d, %f, %g, %h) {
  %size: i32[4] = [1,2,-1,2]
  %ones: i32[4] = [1,1,1,1]
  %a: f32[1,2,?,2] = Slice(%x, %n, %size)
  %b: f32[?,?,?] = StridedSlice(%x, %n, %e, %ones) {"begin_mask":1,"shrink_axis_mask":4}
  %c: f32[?,?,?,?] = Tile(%x, %n)
  %d: f32[?,?,?,?] = BroadcastTo(%x, %n)
  %f: f32[?,?,?,?] = Pad(%x, %p)
  %g: f32[?,?,?,?] = Pad(%x, %p) {"mode":{"value":2.5}}
  %h: f32[2,?,?,2] = Resize(%x, %s) {"kind":"nearest"}
}
= if_else
graph main(%c: bool[], %x: f32[batch,3]) -> (%y, %z) {
  %k: f32[3] = [1,2,3]
  %y: f32[batch,3], %z: f32[3] = If(%c, %x, %k) {"then_graph":1,"else_graph":2}
}
graph then(%a: f32[batch,3], %k: f32[3]) -> (%b, %k) {
  %b: f32[batch,3] = Binary(%a, %k)
}
graph otherwise(%a: f32[batch,3], %k: f32[3]) -> (%a, %l) {
  %l: f32[3] = Unary(%k) {"kind":"tanh"}
}
= while_loop
graph main(%x: f32[batch,3], %n: i32[]) -> (%rows, %i) {
  %zero: i32[] = [0]
  %i: i32[], %m: i32[], %rows: f32[?,3], %same: f32[batch,3] = While(%zero, %n, %x, %x) {"condition":1,"body":2}
}
graph condition(%i: i32[], %n: i32[], %rows: f32[?,3], %x: f32[batch,3]) -> (%go) {
  %go: bool[] = Compare(%i, %n) {"kind":"less"}
}
graph body(%i: i32[], %n: i32[], %rows: f32[?,3], %x: f32[batch,3]) -> (%j, %n, %more, %x) {
  %one: i32[] = [1]
  %j: i32[] = Binary(%i, %one)
  %more: f32[?,3] = Concat(%rows, %x) {"axis":0}
}
= states
state $sum: f32[1,3] = [1,2,3]
state $bytes: i8[2]
graph main(%x: f32[1,3], %c: bool[], %b: i8[2]) -> (%old, %new, %t) {
  %old: f32[1,3] = ReadState($sum)
  %s: f32[1,3] = Binary(%old, %x)
  AssignState($sum, %s)
  %new: f32[1,3] = If(%c, %x) {"then_graph":1,"else_graph":2}
  %t: i8[2] = ReadState($bytes)
  AssignState($bytes, %b)
}
graph double(%a: f32[1,3]) -> (%b) {
  %h: f32[1,3] = ReadState($sum)
  %b: f32[1,3] = Binary(%h, %h)
  AssignState($sum, %b)
}
graph keep(%a: f32[1,3]) -> (%h) {
  %h: f32[1,3] = ReadState($sum)
}
= two_graphs
graph main(%x: f32[batch,4]) -> (%y) {
  %y: f32[batch,4] = Unary(%x)
}
graph other(%x: f32[2,4]) -> (%y) {
  %y: f32[2,4] = Unary(%x) {"kind":"tanh"}
}
"#;
