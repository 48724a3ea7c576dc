//! Computes what depends on constants alone once and for all: the layout changes and the small
//! arithmetic that readers put between a weight as the source keeps it and the operator that uses it.

use std::borrow::Cow;

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{self, BinaryKind, Cast, Pad, PadMode, Slice, StridedSlice, UnaryKind};
use litesmith_graph::{DType, Data, Graph, Node, NodeId, Op, TensorKind};
use litesmith_kernels::ThreadPool;
use litesmith_kernels::elementwise::{self, Broadcast};
use litesmith_kernels::movement::{self, AxisSlice};

use crate::constants::{data, floats, transposed};
use crate::fold_batch_norm::remove;

/// How many times as large padding may make a constant.
const MOST_GROWTH: usize = 64;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    let mut folded = Vec::new();
    for id in graph.node_ids() {
        let Some(result) = evaluate(graph, parameters, id) else { continue };
        let output = graph[id].outputs[0];
        graph[output].kind = TensorKind::Constant(result);
        folded.push(id);
    }
    remove(graph, &folded);
    folded.len()
}

/// The elements that a node computes, if its inputs are fixed and it is cheap.
fn evaluate(graph: &Graph, parameters: &[Parameter], id: NodeId) -> Option<Data> {
    let node = &graph[id];
    let input = &graph[node.inputs.first().copied().flatten()?];
    let data = data(input, parameters)?;
    let output = &graph[*node.outputs.first()?];
    if input.quantization != output.quantization {
        return None;
    }
    match &node.op {
        Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::Identity(_) | Op::Dropout(_) => {
            // A fixed shape of as many elements: another input cannot change it any more.
            (output.shape.elements() == input.shape.elements()).then(|| data.clone())
        }
        Op::Transpose(op) => {
            let shape = input.shape.to_fixed()?;
            transposed(input.dtype, data, &shape, &op.permutation)
        }
        Op::Pad(op) if op.mode == PadMode::Zero && node.inputs.len() == 1 => {
            padded(graph, parameters, node, op)
        }
        Op::Slice(op) if node.inputs.len() == 1 => sliced(graph, parameters, node, op),
        // Steps of one that leave nothing out.
        Op::StridedSlice(op)
            if output.shape.elements() == input.shape.elements()
                && op.strides.iter().all(|stride| *stride == 1) =>
        {
            Some(data.clone())
        }
        Op::StridedSlice(op) if input.dtype == DType::F32 && node.inputs.len() == 1 => {
            walked(graph, parameters, node, op)
        }
        Op::Cast(Cast { to: DType::F32 }) => {
            let integers =
                || data.integers(input.dtype).map(|values| values.iter().map(|x| *x as f32).collect());
            data.floats(input.dtype).map(Cow::into_owned).or_else(integers).map(Data::from_vec)
        }
        Op::Concat(op) if op.activation.is_none() && input.dtype == DType::F32 => {
            concatenated(graph, parameters, node, op.axis)
        }
        Op::Gather(op) if op.batch_dims == 0 && input.dtype == DType::F32 => {
            gathered(graph, parameters, node, op.axis)
        }
        Op::Unary(op) => unary(graph, parameters, node, op.kind),
        Op::Binary(op) if op.activation.is_none() => binary(graph, parameters, node, op.kind),
        _ => None,
    }
}

/// Zeros around weights, or between them where dilation is spelled so: never many times as much as before.
fn padded(graph: &Graph, parameters: &[Parameter], node: &Node, op: &Pad) -> Option<Data> {
    let input = node.inputs[0]?;
    let (shape, values) = (graph[input].shape.to_fixed()?, floats(graph, parameters, input)?);
    let elements = graph[node.outputs[0]].shape.elements()?;
    if elements / MOST_GROWTH > values.len() || op.amounts.len() != shape.len() {
        return None;
    }
    let mut output = vec![0f32; elements];
    movement::pad(&ThreadPool::new(1), &shape, &op.amounts, 0.0, &values, &mut output);
    Some(Data::from_vec(output))
}

/// A part of weights, with steps.
fn walked(graph: &Graph, parameters: &[Parameter], node: &Node, op: &StridedSlice) -> Option<Data> {
    let input = node.inputs[0]?;
    let (shape, values) = (graph[input].shape.to_fixed()?, floats(graph, parameters, input)?);
    let axes = op.resolve(&shape).ok()?;
    let axis = |axis: &ops::AxisSlice| {
        let step = isize::try_from(axis.step).ok()?;
        Some(AxisSlice { begin: axis.start, step, len: axis.length })
    };
    let slices: Vec<AxisSlice> = axes.iter().map(axis).collect::<Option<_>>()?;
    let mut output = vec![0f32; slices.iter().map(|slice| slice.len).product()];
    movement::strided_slice(&ThreadPool::new(1), &shape, &slices, &values, &mut output);
    Some(Data::from_vec(output))
}

fn sliced(graph: &Graph, parameters: &[Parameter], node: &Node, op: &Slice) -> Option<Data> {
    let input = node.inputs[0]?;
    let (shape, values) = (graph[input].shape.to_fixed()?, floats(graph, parameters, input)?);
    let size = graph[node.outputs[0]].shape.to_fixed()?;
    if op.begin.len() != shape.len() || size.len() != shape.len() {
        return None;
    }
    let axis = |(begin, len): (&usize, &usize)| AxisSlice { begin: *begin, step: 1, len: *len };
    let slices: Vec<AxisSlice> = op.begin.iter().zip(&size).map(axis).collect();
    let mut output = vec![0f32; size.iter().product()];
    movement::strided_slice(&ThreadPool::new(1), &shape, &slices, &values, &mut output);
    Some(Data::from_vec(output))
}

/// Weights put together of parts.
fn concatenated(graph: &Graph, parameters: &[Parameter], node: &Node, axis: i32) -> Option<Data> {
    let mut parts = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        parts.push((graph[(*input)?].shape.to_fixed()?, floats(graph, parameters, (*input)?)?));
    }
    let rank = parts.first()?.0.len();
    let axis = usize::try_from(if axis < 0 { axis + rank as i32 } else { axis }).ok()?;
    let rows: usize = parts.first()?.0.get(..axis)?.iter().product();
    let mut output = Vec::with_capacity(parts.iter().map(|(_, values)| values.len()).sum());
    for row in 0..rows {
        for (_, values) in &parts {
            let run = values.len() / rows;
            output.extend_from_slice(&values[row * run..(row + 1) * run]);
        }
    }
    Some(Data::from_vec(output))
}

/// Slices of weights in another order: never more than there are.
fn gathered(graph: &Graph, parameters: &[Parameter], node: &Node, axis: i32) -> Option<Data> {
    let [Some(table), Some(indices)] = node.inputs[..] else { return None };
    let (shape, values) = (graph[table].shape.to_fixed()?, floats(graph, parameters, table)?);
    let indices = data(&graph[indices], parameters)?.integers(graph[indices].dtype)?;
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i32 } else { axis }).ok()?;
    let size = *shape.get(axis)?;
    if indices.len() > size {
        return None;
    }
    let sizes = [1, shape[..axis].iter().product(), size, shape[axis + 1..].iter().product()];
    let mut output = vec![0f32; sizes[1] * indices.len() * sizes[3]];
    movement::gather(sizes, &values, &indices, &mut output).ok()?;
    Some(Data::from_vec(output))
}

fn unary(graph: &Graph, parameters: &[Parameter], node: &Node, kind: UnaryKind) -> Option<Data> {
    let function = match kind {
        UnaryKind::Sqrt => elementwise::Unary::Sqrt,
        UnaryKind::Rsqrt => elementwise::Unary::Rsqrt,
        UnaryKind::Neg => elementwise::Unary::Neg,
        UnaryKind::Square => elementwise::Unary::Square,
        UnaryKind::Abs => elementwise::Unary::Abs,
        UnaryKind::Log => elementwise::Unary::Log,
        _ => return None,
    };
    let values = floats(graph, parameters, node.inputs[0]?)?;
    Some(Data::from_vec(values.iter().map(|x| function.value(*x)).collect()))
}

fn binary(graph: &Graph, parameters: &[Parameter], node: &Node, kind: BinaryKind) -> Option<Data> {
    let function = match kind {
        BinaryKind::Add => elementwise::Binary::Add,
        BinaryKind::Sub => elementwise::Binary::Sub,
        BinaryKind::Mul => elementwise::Binary::Mul,
        BinaryKind::Div => elementwise::Binary::Div,
        BinaryKind::Maximum => elementwise::Binary::Maximum,
        BinaryKind::Minimum => elementwise::Binary::Minimum,
        _ => return None,
    };
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    let shapes = (graph[a].shape.to_fixed()?, graph[b].shape.to_fixed()?);
    let values = (floats(graph, parameters, a)?, floats(graph, parameters, b)?);
    // What broadcasts to much more than it is made of is cheaper to compute than to store.
    let elements = graph[node.outputs[0]].shape.elements()?;
    if elements > values.0.len().max(values.1.len()) {
        return None;
    }
    let plan = Broadcast::new([&shapes.0, &shapes.1]).ok()?;
    let mut output = vec![0f32; elements];
    let open = [f32::NEG_INFINITY, f32::INFINITY];
    let (isa, pool) = (litesmith_kernels::Isa::Portable, ThreadPool::new(1));
    elementwise::binary(isa, &pool, function, &plan, [&values.0, &values.1], open, &mut output).ok()?;
    Some(Data::from_vec(output))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn arithmetic_of_constants_is_done_once() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"parameter @norm/variance: f32[2] = [4,9]
             graph main(%x: f32[batch,2]) -> (%y) {
               %s: f32[2] = Unary(@norm/variance) {"kind":"sqrt"} # norm
               %e: f32[] = [2.5]
               %m: f32[2] = Binary(%s, %e) {"kind":"maximum"} # norm
               %y: f32[batch,2] = Binary(%x, %m) {"kind":"div"} # norm
             }"#,
            r#"parameter @norm/variance: f32[2] = [4,9]
             graph main(%x: f32[batch,2]) -> (%y) {
               %m: f32[2] = [2.5,3]
               %y: f32[batch,2] = Binary(%x, %m) {"kind":"div"} # norm
             }"#,
        );
    }

    #[test]
    fn constants_are_cut_cast_and_computed_with() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[batch,2]) -> (%y) {
               %c: i32[2] = [4,9]
               %f: f32[2] = Cast(%c) # scale
               %s: f32[2] = StridedSlice(%f) {"begin":[0],"end":[0],"strides":[1],"begin_mask":1,"end_mask":1} # scale
               %r: f32[2] = Unary(%s) {"kind":"sqrt"} # scale
               %y: f32[batch,2] = Binary(%x, %r) {"kind":"mul"} # scale
             }"#,
            r#"graph main(%x: f32[batch,2]) -> (%y) {
               %r: f32[2] = [2,3]
               %y: f32[batch,2] = Binary(%x, %r) {"kind":"mul"} # scale
             }"#,
        );
    }

    #[test]
    fn zeros_between_weights_are_put_in_once() {
        check(
            &[super::apply],
            r#"parameter @up/kernel: f32[2,1] trainable = [1,2]
             graph main(%x: f32[batch,3]) -> (%y) {
               %p: f32[2,2] = Pad(@up/kernel) {"amounts":[[0,0],[0,1]]} # up
               %r: f32[1,4] = Reshape(%p) {"shape":[1,4]} # up
               %s: f32[1,3] = Slice(%r) {"begin":[0,0],"size":[1,3]} # up
               %y: f32[batch,1] = FullyConnected(%x, %s, _) # up
             }"#,
            r#"parameter @up/kernel: f32[2,1] trainable = [1,2]
             graph main(%x: f32[batch,3]) -> (%y) {
               %s: f32[1,3] = [1,0,2]
               %y: f32[batch,1] = FullyConnected(%x, %s, _) # up
             }"#,
        );
    }

    #[test]
    fn layouts_of_weights_are_computed_once() {
        check(
            &[super::apply],
            r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6]
             graph main(%x: f32[batch,2]) -> (%y) {
               %w: f32[3,2] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
               %r: f32[3,2,1] = ExpandDims(%w) {"axis":-1} # dense
               %s: f32[3,2] = Squeeze(%r) # dense
               %y: f32[batch,3] = FullyConnected(%x, %s, _) # dense
             }"#,
            r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6]
             graph main(%x: f32[batch,2]) -> (%y) {
               %s: f32[3,2] = [1,4,2,5,3,6]
               %y: f32[batch,3] = FullyConnected(%x, %s, _) # dense
             }"#,
        );
    }
}
