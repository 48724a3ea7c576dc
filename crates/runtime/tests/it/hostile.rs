//! No operator panics, whatever a model asks of it: it is refused, or it runs.

use litesmith_graph::operator::Inputs;
use litesmith_graph::ops::{
    Binary, BinaryKind, Cast, Concat, Conv2D, DepthwiseConv2D, Fill, Gather, Pad, Padding, Pool2D, PoolKind,
    Quantize, Reduce, ReduceKind, Resize, ResizeKind, Softmax, Split, StridedSlice, Unary, UnaryKind,
};
use litesmith_graph::{DType, Data, Facts, Graph, Model, Op, Quantization, Shape, Tensor};
use litesmith_runtime::{Array, Interpreter, Options};
use proptest::prelude::*;
use proptest::sample::select;

/// Every operator with its default attributes, and some with others.
fn operators() -> Vec<Op> {
    let mut all = Op::defaults();
    all.extend(UnaryKind::ALL.map(|kind| Unary { kind }.into()));
    all.extend(BinaryKind::ALL.map(|kind| Binary::from(kind).into()));
    for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod] {
        all.push(Reduce { kind, axes: vec![-1], keep_dims: false }.into());
        all.push(Reduce { kind, axes: vec![0, 1, 2], keep_dims: true }.into());
    }
    for to in [DType::I8, DType::U8, DType::Bool, DType::I64, DType::F16, DType::F64] {
        all.push(Cast { to }.into());
        all.push(Quantize { to }.into());
    }
    let huge = Padding::Explicit { before: [0, 1], after: [usize::MAX / 4, 2] };
    for padding in [Padding::Same, Padding::Valid, Padding::Explicit { before: [2, 1], after: [1, 9] }, huge]
    {
        for size in [1, 2, 1 << 40] {
            all.push(Pool2D { kernel: [size, 3], padding, ..Pool2D::default() }.into());
            all.push(
                Pool2D { kind: PoolKind::Average, stride: [2, size], padding, ..Pool2D::default() }.into(),
            );
            all.push(Conv2D { dilation: [1, size], stride: [2, 1], padding, ..Conv2D::default() }.into());
            all.push(DepthwiseConv2D { dilation: [size, 1], padding, ..DepthwiseConv2D::default() }.into());
        }
    }
    for size in [[1, 1], [3, 5]] {
        for kind in [ResizeKind::Bilinear, ResizeKind::Nearest] {
            all.push(Resize { kind, size, half_pixel_centers: true, ..Resize::default() }.into());
        }
    }
    all.push(Pad { amounts: vec![[1, 2]; 2], ..Pad::default() }.into());
    all.push(Softmax { beta: -1.0, log: false }.into());
    all.push(Softmax { beta: 1.0, log: true }.into());
    all.push(Split { axis: -1, parts: 2, sizes: Vec::new() }.into());
    all.push(Concat { axis: -1, ..Concat::default() }.into());
    all.push(Gather { axis: 1, batch_dims: 1 }.into());
    all.push(Fill {}.into());
    let (begin, end, strides) = (vec![0, -1], vec![9, -9], vec![3, i64::MIN]);
    all.push(StridedSlice { begin, end, strides, begin_mask: 1, end_mask: 2, shrink_axis_mask: 0 }.into());
    all
}

#[derive(Clone, Debug)]
struct Operand {
    dtype: DType,
    shape: Vec<usize>,
    quantization: Option<Quantization>,
    constant: bool,
}

fn quantization() -> impl Strategy<Value = Option<Quantization>> {
    let scale = select(vec![0.0, 1e-30, 0.02, 1.0, f32::MAX]);
    let single = (scale, select(vec![-128, 0, 5, 300]));
    prop_oneof![
        Just(None),
        single.prop_map(|(scale, zero_point)| Some(Quantization::per_tensor(scale, zero_point))),
        Just(Some(Quantization::per_channel(vec![0.1, 0.2], 0))),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    let types: Vec<DType> = DType::ALL.iter().map(|(dtype, _)| *dtype).collect();
    let common = vec![DType::F32, DType::I8, DType::I32];
    let dtype = prop_oneof![select(common), select(types)];
    let rank = prop_oneof![Just(4usize), Just(4), 0usize..4];
    let shape = rank.prop_flat_map(|rank| prop::collection::vec(select(vec![0usize, 1, 2, 2, 2, 3]), rank));
    (dtype, shape, quantization(), any::<bool>()).prop_map(|(dtype, shape, quantization, constant)| Operand {
        dtype,
        shape,
        quantization,
        constant,
    })
}

/// A model of one node, and what to feed it; `None` where its shapes do not fit.
fn build(op: &Op, operands: &[Operand], output: &Option<Quantization>) -> Option<(Model, Vec<Array>)> {
    let mut graph = Graph::new("main");
    let (mut ids, mut facts, mut feed) = (Vec::new(), Vec::new(), Vec::new());
    for (i, operand) in operands.iter().enumerate() {
        let shape = Shape::fixed(&operand.shape);
        let mut array = Array::zeros(operand.dtype, &operand.shape)?;
        array.data.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 3) as u8);
        let mut tensor = Tensor::input(&format!("x{i}"), operand.dtype, shape.clone());
        if operand.constant {
            tensor = Tensor::constant("c", operand.dtype, shape.clone(), Data::from_vec(array.data));
        } else {
            feed.push(array);
        }
        tensor.quantization = operand.quantization.clone();
        ids.push(Some(graph.add_tensor(tensor)));
        facts.push(Facts::new(operand.dtype, shape));
    }
    let inputs: Vec<Option<&Facts>> = facts.iter().map(Some).collect();
    let outputs = op.infer(Inputs(&inputs)).ok()?;
    for (i, facts) in outputs.iter().enumerate() {
        let mut tensor = Tensor::activation(&format!("y{i}"), facts.dtype, facts.shape.clone());
        tensor.quantization = output.clone();
        let id = graph.add_tensor(tensor);
        graph.outputs.push(id);
    }
    let outputs = graph.outputs.clone();
    graph.add_node("node", op.clone(), ids, outputs);
    Some((Model::new(graph), feed))
}

#[test]
fn operators_are_refused_or_run() {
    use proptest::test_runner::{Config, TestRng, TestRunner};
    let config = Config { failure_persistence: None, ..Config::default() };
    let seed = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let cases = (prop::collection::vec(operand(), 1..4), quantization());
    let (mut refused, mut run) = (0, 0);
    for op in operators() {
        for _ in 0..250 {
            let tree = cases.new_tree(&mut runner).unwrap();
            let (operands, output) = proptest::strategy::ValueTree::current(&tree);
            let Some((model, feed)) = build(&op, &operands, &output) else { continue };
            let options = Options::default().with_threads(1).with_max_memory(1 << 26);
            match Interpreter::new(&model, &options).and_then(|mut interpreter| interpreter.run(&feed)) {
                Ok(outputs) => {
                    assert_eq!(outputs.len(), model.main().outputs.len(), "{op:?}");
                    run += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(run > 500 && refused > 500, "{run} models were run, {refused} refused: too few to tell");
}
