//! From flows of TensorFlow operations to a model.
//!
//! - [`precision`]: half precision becomes single precision
//! - [`gelu`]: the one operator that is recognized here, and why
//! - [`operators`]: the operations, one file per family and one table
//! - [`draft`], [`scope`], [`lists`]: the graph that grows, and what an operation sees of it
//! - [`names`]: layers by the names of operations
//!
//! Variables become [`Parameter`](litesmith_graph::Parameter)s in TensorFlow's own layout, brought to
//! the layout of the operators by ordinary nodes.

mod draft;
mod gelu;
mod lists;
mod names;
mod operators;
mod precision;
mod scope;
#[cfg(test)]
mod tests;

use litesmith_graph::{
    Format, GraphId, Model, ParameterId, Shape, Signature, Source, Tensor, TensorKind, validate,
};

use super::flow::{Flow, Value, Variable};
use crate::error::{FormatError, Unsupported};
use crate::inputs::open_shapes;
use draft::{Bound, Draft};
use names::Names;

/// Most axes that an input may have.
const MOST_AXES: usize = 8;

/// The model of a signature, whose key the flow carries as its name.
///
/// # Errors
/// If operations are not supported (all of them are listed) or do not fit together.
pub(super) fn translate(
    mut flow: Flow,
    mut variables: Vec<Variable>,
    producer: String,
) -> Result<Model, FormatError> {
    let names = Names::of(&flow, &variables);
    check_known(&flow, &names)?;
    precision::widen(&mut flow, &mut variables);
    gelu::recognize(&mut flow);
    let mut target = Target::new(variables, names);
    let mut draft = Draft::new("main");
    let mut inputs = Vec::new();
    for (input, shape) in flow.inputs.iter().zip(input_shapes(&flow)?) {
        let tensor = Tensor::input(&input.name, input.dtype, shape);
        inputs.push(Bound::Tensor(draft.add(&target.model, tensor)));
    }
    let outputs = operators::run(&mut target, &mut draft, &flow, &inputs)?;
    if !target.unsupported.is_empty() {
        return Err(FormatError::Unsupported(target.unsupported));
    }
    for (output, bound) in flow.outputs.iter().zip(outputs) {
        let Bound::Tensor(id) = bound else {
            let reason = "it is no tensor; give a tensor back";
            return Err(refused(&output.name, "output", reason));
        };
        draft.graph.outputs.push(id);
    }
    draft.graph.remove_dead();
    let mut model = target.model;
    model.graphs[0] = draft.graph;
    name_outputs(&mut model, &flow);
    model.signatures = vec![signature(&flow)];
    model.source = Source { format: Format::SavedModel, producer, description: String::new() };
    validate(&model)?;
    litesmith_graph::infer_model(&mut model)?;
    Ok(model)
}

/// What is shared by all graphs of a model under construction.
struct Target {
    /// The model; its first graph is put in last.
    pub model: Model,
    /// The variables.
    pub variables: Vec<Variable>,
    /// The parameter that a variable has become.
    pub parameters: Vec<Option<ParameterId>>,
    /// What layers are called.
    pub names: Names,
    /// What turned out not to be supported.
    pub unsupported: Vec<Unsupported>,
    /// How deep the flow that is translated lies in others.
    pub depth: usize,
}

impl Target {
    fn new(variables: Vec<Variable>, names: Names) -> Target {
        let model = Model { graphs: vec![litesmith_graph::Graph::new("main")], ..Model::default() };
        let parameters = vec![None; variables.len()];
        Target { model, variables, parameters, names, unsupported: Vec::new(), depth: 0 }
    }

    /// Notes something that is not supported, once.
    pub fn refuse(&mut self, item: Unsupported) {
        if !self.unsupported.contains(&item) {
            self.unsupported.push(item);
        }
    }
}

fn refused(layer: &str, operator: &str, reason: &str) -> FormatError {
    let [layer, operator, reason] = [layer, operator, reason].map(str::to_owned);
    FormatError::Unsupported(vec![Unsupported { layer, operator, reason }])
}

/// All operations that the table does not know.
fn check_known(flow: &Flow, names: &Names) -> Result<(), FormatError> {
    let mut unknown = Vec::new();
    let mut waiting = vec![flow];
    while let Some(flow) = waiting.pop() {
        let live = flow.live();
        for (node, _) in flow.nodes.iter().zip(live).filter(|(_, live)| *live) {
            waiting.extend(&node.branches);
            if node.op == gelu::GELU || operators::find(&node.op).is_none() {
                unknown.push(Unsupported {
                    layer: names.layer(&node.name),
                    operator: node.op.clone(),
                    reason: "the operation is not supported; leave it out of the model, or replace it"
                        .to_owned(),
                });
            }
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(FormatError::Unsupported(unknown)) }
}

fn input_shapes(flow: &Flow) -> Result<Vec<Shape>, FormatError> {
    let mut stated = Vec::new();
    for input in &flow.inputs {
        let Some(shape) = &input.shape else {
            let reason = "the number of its axes is not stated; save the model with an input signature \
                          that states the shapes";
            return Err(refused(&input.name, "input", reason));
        };
        if shape.len() > MOST_AXES {
            return Err(FormatError::broken(
                format!("input '{}'", input.name),
                format!("its shape has {} axes", shape.len()),
            ));
        }
        stated.push((input.name.as_str(), shape.as_slice()));
    }
    Ok(open_shapes(&stated))
}

/// Lets the tensors that the caller gets have the signature's names.
fn name_outputs(model: &mut Model, flow: &Flow) {
    let graph = model.main_mut();
    for (place, output) in flow.outputs.iter().enumerate() {
        let id = graph.outputs[place];
        let first = !graph.outputs[..place].contains(&id);
        if first && graph[id].kind == TensorKind::Activation {
            graph[id].name = output.name.clone();
        }
    }
}

fn signature(flow: &Flow) -> Signature {
    let places = |names: Vec<&String>| names.into_iter().cloned().zip(0..).collect();
    Signature {
        key: flow.name.clone(),
        graph: GraphId(0),
        inputs: places(flow.inputs.iter().map(|input| &input.name).collect()),
        outputs: places(flow.outputs.iter().map(|output| &output.name).collect()),
    }
}

impl Flow {
    /// Which nodes some output depends on.
    pub(super) fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        let mark = |value: &Value, live: &mut Vec<bool>| {
            if let Value::Node { node, .. } = value
                && let Some(live) = live.get_mut(*node)
            {
                *live = true;
            }
        };
        self.outputs.iter().for_each(|output| mark(&output.value, &mut live));
        for index in (0..self.nodes.len()).rev() {
            if live[index] {
                self.nodes[index].inputs.iter().for_each(|input| mark(input, &mut live));
            }
        }
        live
    }
}
