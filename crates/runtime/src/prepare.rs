//! What is done with a model once, before any plan: nodes that read only constants are run.

use litesmith_graph::infer::infer_node;
use litesmith_graph::operator::Number;
use litesmith_graph::{
    Data, Facts, Graph, GraphId, Model, NodeId, Shape, TensorId, TensorKind, infer_shapes,
};

use crate::bind::{Bound, Machine, bind, table_task};
use crate::buffer::Buffer;
use crate::error::RuntimeError;
use crate::plan::{Io, Shared, Source, Stored, enter, site};

/// Longest constant whose integers are followed through shape arithmetic.
const LONGEST_VALUE: usize = 64;

/// The main graph alone, with every node that reads only constants replaced by its result. Tensor
/// ids stay. A node that cannot be run stays too, and is complained about when it is planned.
pub(crate) fn fold(model: &Model, machine: Machine<'_>, shared: &Shared) -> Result<Model, RuntimeError> {
    let mut folded = Model {
        graphs: model.graphs[..1].to_vec(),
        parameters: model.parameters.clone(),
        states: model.states.clone(),
        ..Model::default()
    };
    let mut facts = infer_shapes(&folded, GraphId(0), None)?;
    let mut kept = Vec::new();
    for id in folded.main().node_ids() {
        let graph = folded.main();
        let fixed = |id: TensorId| graph[id].is_fixed();
        let mut results = None;
        if !graph[id].inputs.is_empty() && graph[id].present_inputs().all(fixed) {
            for (tensor, outputs) in graph[id].outputs.iter().zip(infer_node(&folded, graph, id, &facts)?) {
                facts[tensor.index()] = outputs;
            }
            results = run_once(&folded, id, &facts, machine, shared);
        }
        match results {
            Some(results) => keep_results(folded.main_mut(), id, results, &mut facts),
            None => kept.push(id),
        }
    }
    let graph = folded.main_mut();
    graph.nodes = kept.into_iter().map(|id| graph[id].clone()).collect();
    Ok(folded)
}

/// Makes the outputs of a node constants.
fn keep_results(graph: &mut Graph, id: NodeId, results: Vec<Data>, facts: &mut [Facts]) {
    for (tensor, data) in graph[id].outputs.clone().into_iter().zip(results) {
        let facts = &mut facts[tensor.index()];
        if facts.value.is_none() && facts.shape.elements().is_some_and(|n| n <= LONGEST_VALUE) {
            let integers = data.integers(facts.dtype);
            facts.value = integers.map(|values| values.into_iter().map(Number::Int).collect());
        }
        graph[tensor].dtype = facts.dtype;
        graph[tensor].shape = facts.shape.clone();
        graph[tensor].kind = TensorKind::Constant(data);
    }
}

/// Runs a node all of whose inputs are fixed; `None` if it cannot be run or its result takes too
/// much memory.
fn run_once(
    model: &Model,
    id: NodeId,
    facts: &[Facts],
    machine: Machine<'_>,
    shared: &Shared,
) -> Option<Vec<Data>> {
    let site = site(model, id, facts, shared).ok()?;
    let tasks = match bind(&site).ok()? {
        Bound::Alias(input) => return Some(vec![site.inputs.get(input)?.as_ref()?.data?.clone()]),
        Bound::Table(table) => vec![table_task(table)],
        Bound::Pair(pair) => vec![pair.task()],
        Bound::Steps(tasks) => tasks,
    };
    let source = |input: &Option<crate::bind::Operand<'_>>| match input {
        Some(operand) => Some(Source::Fixed(Stored::new(operand.data?, operand.dtype)?.into())),
        None => Some(Source::Absent),
    };
    let sources = site.inputs.iter().map(source).collect::<Option<Vec<_>>>()?;
    let mut results = vec![Data::default(); site.outputs.len()];
    for task in tasks {
        let output = &site.outputs[task.output];
        let bytes = output.dtype.bytes(output.elements)?;
        if bytes == 0 {
            continue;
        }
        if shared.max_memory.is_some_and(|limit| bytes > limit) {
            return None;
        }
        let (mut buffer, mut scratch) = (Buffer::zeroed(bytes)?, Buffer::zeroed(task.scratch)?);
        let io = Io::apart(&sources, buffer.bytes_mut(), scratch.bytes_mut());
        (task.work)(machine, io).ok()?;
        let mut data = vec![0; bytes];
        enter(output.dtype, buffer.bytes(), &mut data);
        results[task.output] = Data::from_vec(data);
    }
    Some(results)
}

/// Shapes of the inputs to try a model with whose inputs are partly free: the first for which shapes
/// can be inferred throughout; `None` if there is none among those tried.
pub(crate) fn trial_shapes(model: &Model) -> Option<Vec<Vec<usize>>> {
    const SIZES: [usize; 14] = [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 224, 256, 299, 512];
    let graph = model.main();
    let sized = |size: usize| {
        let shape = |id: &TensorId| {
            let dims = graph[*id].shape.dims().iter().enumerate();
            dims.map(|(axis, dim)| dim.fixed().unwrap_or(if axis == 0 { 1 } else { size })).collect()
        };
        graph.inputs.iter().map(shape).collect::<Vec<Vec<usize>>>()
    };
    let fits = |shapes: &Vec<Vec<usize>>| {
        let shapes: Vec<Shape> = shapes.iter().map(|shape| Shape::fixed(shape)).collect();
        infer_shapes(model, GraphId(0), Some(&shapes)).is_ok()
    };
    SIZES.into_iter().map(sized).find(fits)
}
