//! What is done with a model once, before any plan: nodes that read only constants are run.

use std::sync::Arc;

use litesmith_graph::infer::{infer_node, stated_facts};
use litesmith_graph::operator::Number;
use litesmith_graph::{DType, Data, Facts, Graph, GraphId, Model, NodeId, Op, Shape, TensorId, TensorKind};

use crate::alone::Bench;
use crate::bind::{Bound, Machine, Operand, bind};
use crate::error::RuntimeError;
use crate::plan::{Mode, Shared, Source, Stored, enter, facts, site};
use crate::states::States;

/// Longest constant whose integers are followed through shape arithmetic.
const LONGEST_VALUE: usize = 64;

/// The model with every node of the main graph, and of those that it calls, replaced by its result
/// where it reads only constants. Tensor ids stay. A node that cannot be run stays too, and is
/// complained about when it is planned.
pub(crate) fn fold(model: &Model, machine: Machine<'_>, shared: &Shared) -> Result<Model, RuntimeError> {
    let mut folded = Model {
        graphs: model.graphs.clone(),
        parameters: model.parameters.clone(),
        states: model.states.clone(),
        ..Model::default()
    };
    let (order, calls) = callers_first(model);
    for id in order {
        make_dense(&mut folded.graphs[id.0 as usize], shared)?;
        fold_graph(&mut folded, id, machine, shared)?;
        for node in folded.graphs[id.0 as usize].node_ids() {
            let callees = folded.graphs[id.0 as usize][node].op.calls();
            if callees.iter().all(|callee| calls[callee.0 as usize] == 1) {
                hand_constants_on(&mut folded, id, node);
            }
        }
    }
    Ok(folded)
}

/// Spells sparse constants out.
fn make_dense(graph: &mut Graph, shared: &Shared) -> Result<(), RuntimeError> {
    // To be asked for tensors to change would copy those that the source shares.
    if graph.tensors.iter().all(|tensor| tensor.sparsity.is_none()) {
        return Ok(());
    }
    for tensor in &mut graph.tensors {
        let (Some(sparsity), TensorKind::Constant(data)) = (&tensor.sparsity, &tensor.kind) else { continue };
        let length = tensor.shape.elements().and_then(|elements| tensor.dtype.bytes(elements));
        let length = length.unwrap_or(usize::MAX);
        if length == usize::MAX || shared.max_memory.is_some_and(|limit| length > limit) {
            return Err(shared.no_memory(&format!("the sparse constant '{}'", tensor.name), length));
        }
        let shape = tensor.shape.to_fixed().unwrap_or_default();
        // What does not fit stays as it is, and is refused where it is used.
        if let Some(size) = tensor.dtype.bytes(1).filter(|_| tensor.dtype != DType::I4)
            && let Some(dense) = sparsity.to_dense(&shape, size, data.bytes(), length)
        {
            tensor.kind = TensorKind::Constant(Data::from_vec(dense));
            tensor.sparsity = None;
        }
    }
    Ok(())
}

/// The main graph and those that it leads to, each behind all that call it, and how many calls there
/// are of each graph.
fn callers_first(model: &Model) -> (Vec<GraphId>, Vec<usize>) {
    fn visit(model: &Model, id: GraphId, calls: &mut [usize], order: &mut Vec<GraphId>) {
        for callee in model.graphs[id.0 as usize].nodes.iter().flat_map(|node| node.op.calls()) {
            calls[callee.0 as usize] += 1;
            if calls[callee.0 as usize] == 1 {
                visit(model, callee, calls, order);
            }
        }
        order.push(id);
    }
    let (mut calls, mut order) = (vec![0; model.graphs.len()], Vec::new());
    visit(model, GraphId(0), &mut calls, &mut order);
    order.reverse();
    (order, calls)
}

fn fold_graph(
    model: &mut Model,
    id: GraphId,
    machine: Machine<'_>,
    shared: &Shared,
) -> Result<(), RuntimeError> {
    let index = id.0 as usize;
    let mut facts: Vec<Facts> =
        model.graphs[index].tensors.iter().map(|tensor| stated_facts(model, tensor)).collect();
    let mut kept = Vec::new();
    for node in model.graphs[index].node_ids() {
        let graph = &model.graphs[index];
        let fixed = |id: TensorId| graph[id].is_fixed();
        let constant = !graph[node].inputs.is_empty() && graph[node].present_inputs().all(fixed);
        let mut results = None;
        if constant && !graph[node].op.has_effect() {
            let inferred = infer_node(model, graph, node, &facts)?;
            for (tensor, outputs) in graph[node].outputs.iter().zip(inferred) {
                facts[tensor.index()] = outputs;
            }
            results = run_once(model, (id, node), &facts, machine, shared);
        }
        match results {
            Some(results) => keep_results(&mut model.graphs[index], node, results, &mut facts),
            None => kept.push(node),
        }
    }
    let graph = &mut model.graphs[index];
    // Where nothing was folded, nodes stay shared with the source.
    if kept.len() < graph.nodes.len() {
        graph.nodes = kept.into_iter().map(|id| graph[id].clone()).collect();
    }
    Ok(())
}

/// Makes inputs of the graphs that only this node runs constants where it always gives them the same:
/// kernels are chosen by them, and weights packed, once.
fn hand_constants_on(model: &mut Model, id: GraphId, node: NodeId) {
    let caller = &model.graphs[id.0 as usize];
    let node = &caller[node];
    let (skipped, passes): (usize, Box<dyn Fn(usize) -> bool>) = match &node.op {
        Op::If(_) => (1, Box::new(|_| true)),
        Op::While(op) => {
            let body = &model.graphs[op.body.0 as usize];
            let (inputs, outputs) = (body.inputs.clone(), body.outputs.clone());
            (0, Box::new(move |place| inputs.get(place) == outputs.get(place)))
        }
        _ => return,
    };
    let given = node.inputs.iter().skip(skipped).enumerate();
    let fixed = given.filter_map(|(place, input)| {
        let tensor = &caller[(*input)?];
        Some((place, model.data(tensor)?.clone(), tensor.shape.clone()))
    });
    let fixed: Vec<(usize, Data, Shape)> = fixed.filter(|(place, ..)| passes(*place)).collect();
    for callee in node.op.calls() {
        let graph = &mut model.graphs[callee.0 as usize];
        for (place, data, shape) in &fixed {
            let Some(input) = graph.inputs.get(*place).copied() else { continue };
            graph[input].kind = TensorKind::Constant(data.clone());
            graph[input].shape = shape.clone();
        }
    }
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
    (graph, node): (GraphId, NodeId),
    facts: &[Facts],
    machine: Machine<'_>,
    shared: &Shared,
) -> Option<Vec<Data>> {
    let site = site(model, graph, node, facts, Mode::Inference, shared).ok()?;
    let bound = bind(&site).ok()?;
    if let Bound::Alias(input) = bound {
        return Some(vec![site.inputs.get(input)?.as_ref()?.data?.clone()]);
    }
    let source = |input: &Option<Operand<'_>>| match input {
        Some(operand) => Some(Source::Fixed(Stored::new(operand.data?, operand.dtype)?.into())),
        None => Some(Source::Absent),
    };
    let sources = site.inputs.iter().map(source).collect::<Option<Vec<_>>>()?;
    let limit = shared.max_memory.unwrap_or(usize::MAX);
    let mut states = States::default();
    let results = Bench { machine, states: &mut states, limit }.run(&site, bound, &sources).ok()?;
    let to_data = |(output, stored): (&Operand<'_>, Arc<Stored>)| {
        let mut data = vec![0; stored.bytes().len()];
        enter(output.dtype, stored.bytes(), &mut data);
        Data::from_vec(data)
    };
    Some(site.outputs.iter().zip(results).map(to_data).collect())
}

/// Shapes of the inputs to try a model with whose inputs are partly free: the first for which shapes
/// can be inferred throughout, and what is known of the tensors then; `None` if there is none among those tried.
pub(crate) fn trial_shapes(model: &Model) -> Option<(Vec<Vec<usize>>, Vec<Facts>)> {
    const SIZES: [usize; 14] = [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 224, 256, 299, 512];
    let graph = model.main();
    let sized = |size: usize| {
        let shape = |id: &TensorId| {
            let dims = graph[*id].shape.dims().iter().enumerate();
            dims.map(|(axis, dim)| dim.fixed().unwrap_or(if axis == 0 { 1 } else { size })).collect()
        };
        graph.inputs.iter().map(shape).collect::<Vec<Vec<usize>>>()
    };
    SIZES.into_iter().map(sized).find_map(|shapes| facts(model, &shapes).ok().map(|facts| (shapes, facts)))
}
