use litesmith_graph::ops::{
    Binary, BinaryKind, FakeQuantTraining, RangeRule, Reshape, ReshapeDim, Unary, UnaryKind,
};
use litesmith_graph::{
    DType, Data, Graph, Model, NodeId, Op, Origin, Parameter, Shape, Tensor, TensorId, TensorKind,
};
use litesmith_passes::fusion_groups;

use super::{SimulatedTensor, Simulation, tensor_named};
use crate::recipe::Granularity;

/// The variable's name of a parameter that is the range of a simulated tensor, `[2]`; its layer is the
/// tensor's name.
const RANGE: &str = "range";

/// Least factor that batch normalization scales weights by, so that it can be divided by.
const LEAST_FACTOR: f32 = 1e-12;

/// Lets an unfused model with parameters simulate the integers of a [`Simulation`] while it is trained.
/// Ranges become parameters of the model: moving averages that begin with those of the simulation, the
/// old one counting `decay`. Returns the names of tensors and layers that the model does not have, because they
/// came up when it was optimized: they are rounded in the integer model alone.
pub fn place(model: &mut Model, simulation: &Simulation, decay: f32) -> Vec<String> {
    let mut missing = Vec::new();
    for layer in &simulation.layers {
        let granularity = layer.choice.granularity;
        let bits = layer.choice.weight_bits();
        match anchor(model.main(), &layer.output) {
            Some((anchor, batch_norm)) => round_weights(model, anchor, batch_norm, granularity, bits),
            None => missing.push(layer.output.clone()),
        }
    }
    for tensor in &simulation.activations {
        match tensor_named(model.main(), &tensor.name) {
            Some(id) => round_activation(model, id, tensor, decay),
            None => missing.push(tensor.name.clone()),
        }
    }
    // What is added stands behind what reads it.
    let sorted = model.main_mut().sort();
    debug_assert!(sorted, "no cycle is made");
    missing
}

/// The layer whose fusion group ends with the tensor of this name, and its batch normalization.
fn anchor(graph: &Graph, output: &str) -> Option<(NodeId, Option<NodeId>)> {
    let end = tensor_named(graph, output)?;
    let group = fusion_groups(graph).into_iter().find(|group| {
        let last = group.activation.or(group.batch_norm).unwrap_or(group.anchor);
        graph[last].outputs[0] == end
    });
    let (anchor, batch_norm) = match group {
        Some(group) => (group.anchor, group.batch_norm),
        None => (graph.node_ids().find(|node| graph[*node].outputs.contains(&end))?, None),
    };
    graph[anchor].op.quantization().weights.map(|_| (anchor, batch_norm))
}

/// Rounds the weights of a layer. One scale for all must fit the weights as they will be with batch
/// normalization folded in; with a scale for each channel its factors change nothing.
fn round_weights(
    model: &mut Model,
    anchor: NodeId,
    batch_norm: Option<NodeId>,
    granularity: Granularity,
    bits: u32,
) {
    let graph = model.main_mut();
    let Some(rule) = graph[anchor].op.quantization().weights else { return };
    let Some(weights) = graph[anchor].inputs[rule.input] else { return };
    let axis = (granularity == Granularity::PerChannel).then_some(rule.axis);
    let op = FakeQuantTraining { bits, narrow_range: true, symmetric: true, axis, range: RangeRule::Own };
    let layer = graph[anchor].name.clone();
    let mut emit = Emit { graph, layer };
    let factor = batch_norm.filter(|_| axis.is_none()).and_then(|node| emit.factor(node, weights, rule.axis));
    let scaled = factor.map_or(weights, |factor| emit.binary(BinaryKind::Mul, weights, factor));
    let rounded = emit.rounded(op, scaled, None);
    let rounded = factor.map_or(rounded, |factor| emit.binary(BinaryKind::Div, rounded, factor));
    graph[anchor].inputs[rule.input] = Some(rounded);
}

/// Rounds a tensor for all that read it.
fn round_activation(model: &mut Model, id: TensorId, tensor: &SimulatedTensor, decay: f32) {
    let shape = vec![2];
    let range = model.add_parameter(Parameter {
        origin: Origin { layer: tensor.name.clone(), variable: RANGE.to_owned(), path: String::new() },
        dtype: DType::F32,
        shape: shape.clone(),
        data: Data::from_vec(vec![tensor.range.min, tensor.range.max]),
        trainable: false,
        regularizer: None,
    });
    let rule = if tensor.fixed { RangeRule::Given } else { RangeRule::MovingAverage { decay } };
    let op = FakeQuantTraining { range: rule, ..FakeQuantTraining::default() };
    let graph = model.main_mut();
    let name = format!("{}/range", tensor.name);
    let range = graph.add_tensor(Tensor::parameter(&name, DType::F32, Shape::fixed(&shape), range));
    let readers: Vec<NodeId> =
        graph.node_ids().filter(|node| graph[*node].present_inputs().any(|input| input == id)).collect();
    let layer = graph
        .node_ids()
        .find(|node| graph[*node].outputs.contains(&id))
        .map_or_else(|| tensor.name.clone(), |node| graph[node].name.clone());
    let rounded = Emit { graph, layer }.rounded(op, id, Some(range));
    for reader in readers {
        let inputs = graph[reader].inputs.iter_mut().flatten();
        inputs.filter(|input| **input == id).for_each(|input| *input = rounded);
    }
    // The caller still gets it under its name.
    for output in &mut graph.outputs {
        if *output == id {
            *output = rounded;
        }
    }
}

/// Adds nodes to a layer.
struct Emit<'a> {
    graph: &'a mut Graph,
    layer: String,
}

impl Emit<'_> {
    fn node(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<TensorId>],
        shape: Shape,
        more: Option<Shape>,
    ) -> TensorId {
        let name = format!("{}/simulated/{}", self.layer, self.graph.tensors.len());
        let output = self.graph.add_tensor(Tensor::activation(&name, DType::F32, shape));
        let mut outputs = vec![output];
        if let Some(shape) = more {
            outputs.push(self.graph.add_tensor(Tensor::activation(&name, DType::F32, shape)));
        }
        self.graph.add_node(&self.layer, op, inputs.to_vec(), outputs);
        output
    }

    fn binary(&mut self, kind: BinaryKind, a: TensorId, b: TensorId) -> TensorId {
        let shape = self.graph[a].shape.clone();
        self.node(Binary { kind, ..Binary::default() }, &[Some(a), Some(b)], shape, None)
    }

    fn unary(&mut self, kind: UnaryKind, a: TensorId) -> TensorId {
        let shape = self.graph[a].shape.clone();
        self.node(Unary { kind }, &[Some(a)], shape, None)
    }

    fn number(&mut self, value: f32) -> TensorId {
        let tensor = Tensor::constant("number", DType::F32, Shape::default(), Data::from_vec(vec![value]));
        self.graph.add_tensor(tensor)
    }

    fn rounded(&mut self, op: FakeQuantTraining, x: TensorId, range: Option<TensorId>) -> TensorId {
        let shape = self.graph[x].shape.clone();
        let mut ranges = Shape::from([2]);
        ranges.0.extend(op.axis.and_then(|axis| shape.dims().get(axis).cloned()));
        let inputs: Vec<Option<TensorId>> = std::iter::once(Some(x)).chain(range.map(Some)).collect();
        self.node(op, &inputs, shape, Some(ranges))
    }

    /// What batch normalization with its running statistics multiplies each output channel by, without its
    /// sign, shaped like weights whose channels lie along `axis`.
    fn factor(&mut self, batch_norm: NodeId, weights: TensorId, axis: usize) -> Option<TensorId> {
        let Op::BatchNorm(op) = self.graph[batch_norm].op.clone() else { return None };
        let (gamma, variance) = (self.graph[batch_norm].inputs[1], self.graph[batch_norm].inputs[4]?);
        let epsilon = self.number(op.epsilon);
        let sum = self.binary(BinaryKind::Add, variance, epsilon);
        let mut factor = self.unary(UnaryKind::Rsqrt, sum);
        if let Some(gamma) = gamma {
            let magnitude = self.unary(UnaryKind::Abs, gamma);
            factor = self.binary(BinaryKind::Mul, magnitude, factor);
        }
        let least = self.number(LEAST_FACTOR);
        let factor = self.binary(BinaryKind::Maximum, factor, least);
        let rank = self.graph[weights].shape.rank();
        let channels = self.graph[factor].shape.dims().first()?.fixed()?;
        let sizes: Vec<usize> = (0..rank).map(|at| if at == axis { channels } else { 1 }).collect();
        let dims = sizes.iter().map(|size| ReshapeDim::Fixed(*size)).collect();
        Some(self.node(Reshape::to(dims), &[Some(factor)], Shape::fixed(&sizes), None))
    }
}

/// The ranges that a model in training has come to, by the names of their tensors.
#[must_use]
pub fn learnt_ranges(model: &Model) -> Vec<(String, crate::Range)> {
    let ranges = model.parameters.iter().filter(|parameter| is_range(parameter));
    ranges
        .filter_map(|parameter| {
            let [min, max] = parameter.data.elements::<f32>()[..] else { return None };
            Some((parameter.origin.layer.clone(), crate::Range { min, max }))
        })
        .collect()
}

/// Whether a parameter is the range of a simulated tensor.
fn is_range(parameter: &Parameter) -> bool {
    parameter.origin.variable == RANGE && parameter.origin.path.is_empty()
}

/// Takes what [`place`] has added out of a model again, but for the trained weights.
pub fn without_simulation(trained: &Model, source: &Model) -> Model {
    let mut model = source.clone();
    for (own, trained) in model.parameters.iter_mut().zip(&trained.parameters) {
        own.data = trained.data.clone();
    }
    debug_assert!(!model.main().tensors.iter().any(
        |tensor| matches!(&tensor.kind, TensorKind::Parameter(id) if id.0 as usize >= model.parameters.len())
    ));
    model
}
