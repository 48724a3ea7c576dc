//! The integer graph: every tensor in integer form, in float form, or both with a bridge between.

use std::collections::HashMap;

use litesmith_graph::{
    DType, Data, Graph, Node, NodeId, Op, OutputRule, Quantization, Shape, Tensor, TensorId, TensorKind,
    Width, ops,
};

use super::decide::{Decision, operands};
use super::repairs::Repairs;
use crate::error::QuantizeError;
use crate::mode::{InterfaceType, Options};
use crate::parameters;
use crate::recipe::{Choice, Granularity};
use crate::statistics::{Range, Trained};
use crate::weights::{Layout, as_trained, bias, check_finite, for_integer};

/// Difference between the zero points of uint8 and int8.
const UNSIGNED_OFFSET: i32 = 128;

pub(super) fn rewrite(
    graph: &Graph,
    decisions: &[Decision],
    parameters: &[Option<Quantization>],
    options: &Options,
    trained: Option<&Trained>,
    repairs: &mut Repairs<'_>,
) -> Result<Graph, QuantizeError> {
    let mut rewriter = Rewriter {
        old: graph,
        width: options.mode.width().unwrap_or(Width::Eight),
        parameters,
        trained,
        new: Graph::new(&graph.name),
        float: HashMap::new(),
        integer: HashMap::new(),
        requantized: HashMap::new(),
    };
    for id in &graph.inputs {
        rewriter.input(*id, options.inputs);
    }
    for (id, decision) in graph.node_ids().zip(decisions) {
        match decision {
            Decision::Integer(choice) => rewriter.integer_node(id, *choice, repairs)?,
            Decision::Float(_) | Decision::Untouched => rewriter.float_node(&graph[id]),
        }
    }
    for id in &graph.outputs {
        let output = rewriter.output(*id, options.outputs);
        rewriter.new.outputs.push(output);
    }
    let mut new = rewriter.new;
    new.remove_dead();
    Ok(new)
}

struct Rewriter<'a> {
    old: &'a Graph,
    /// Of activations.
    width: Width,
    parameters: &'a [Option<Quantization>],
    /// What training with simulated integers says of weights.
    trained: Option<&'a Trained>,
    new: Graph,
    /// The form of old tensors that is not quantized (real numbers, indices, …).
    float: HashMap<TensorId, TensorId>,
    /// The integer form of old tensors with their own parameters.
    integer: HashMap<TensorId, TensorId>,
    /// The integer form of old tensors with the parameters of another tensor.
    requantized: HashMap<(TensorId, TensorId), TensorId>,
}

impl Rewriter<'_> {
    fn input(&mut self, id: TensorId, interface: InterfaceType) {
        let tensor = self.old[id].clone();
        let (Some(parameters), true) = (self.real(id), interface != InterfaceType::Float32) else {
            let new = self.new.add_tensor(tensor);
            self.float.insert(id, new);
            return;
        };
        let dtype = self.width.dtype();
        let mut given = Tensor { dtype, quantization: Some(parameters.clone()), ..tensor };
        if interface != InterfaceType::Uint8 {
            let new = self.new.add_tensor(given);
            self.integer.insert(id, new);
            return;
        }
        (given.dtype, given.quantization) = (DType::U8, Some(unsigned(&parameters)));
        let name = given.name.clone();
        let given = self.new.add_tensor(given);
        let signed = self.quantize(&name, given, &self.integer_name(&name), dtype, parameters);
        self.integer.insert(id, signed);
    }

    fn output(&mut self, id: TensorId, interface: InterfaceType) -> TensorId {
        let Some(parameters) = self.real(id).filter(|_| interface != InterfaceType::Float32) else {
            return self.float_form(id);
        };
        let signed = self.integer_form(id);
        if interface != InterfaceType::Uint8 {
            return signed;
        }
        let name = self.old[id].name.clone();
        self.new[signed].name = self.integer_name(&name);
        self.quantize(&name, signed, &name, DType::U8, unsigned(&parameters))
    }

    /// What the integer form of a tensor is called where the real one keeps its name.
    fn integer_name(&self, name: &str) -> String {
        format!("{name}/{}", self.width.dtype().numpy_name())
    }

    /// The parameters of a tensor of real numbers that is computed or given.
    fn real(&self, id: TensorId) -> Option<Quantization> {
        self.parameters[id.index()].clone().filter(|_| self.old[id].dtype == DType::F32)
    }

    /// Adds an operator that brings a tensor onto a grid.
    fn quantize(
        &mut self,
        layer: &str,
        from: TensorId,
        name: &str,
        to: DType,
        grid: Quantization,
    ) -> TensorId {
        let shape = self.new[from].shape.clone();
        let output = self.new.add_tensor(Tensor::activation(name, to, shape).with_quantization(grid));
        self.new.add_node(layer, ops::Quantize { to }, vec![Some(from)], vec![output]);
        output
    }

    /// A tensor as it was, dequantized if only its integer form is there.
    fn float_form(&mut self, id: TensorId) -> TensorId {
        if let Some(known) = self.float.get(&id) {
            return *known;
        }
        let tensor = self.old[id].clone();
        let new = match self.integer.get(&id).copied() {
            Some(integer) => {
                let layer = tensor.name.clone();
                self.new[integer].name = self.integer_name(&layer);
                let output = self.new.add_tensor(Tensor { kind: TensorKind::Activation, ..tensor });
                self.new.add_node(&layer, ops::Dequantize::default(), vec![Some(integer)], vec![output]);
                output
            }
            None => self.new.add_tensor(tensor),
        };
        self.float.insert(id, new);
        new
    }

    /// A tensor as integers with its own parameters.
    fn integer_form(&mut self, id: TensorId) -> TensorId {
        if let Some(known) = self.integer.get(&id) {
            return *known;
        }
        let name = self.old[id].name.clone();
        // What has no parameters is no real number: it is used as it is.
        let Some(parameters) = self.real(id) else { return self.float_form(id) };
        let float = self.float_form(id);
        let integer = self.quantize(&name, float, &self.integer_name(&name), self.width.dtype(), parameters);
        self.integer.insert(id, integer);
        integer
    }

    /// A tensor as integers with the parameters of `other`.
    fn integer_like(&mut self, id: TensorId, other: TensorId) -> TensorId {
        let (own, wanted) = (self.real(id), self.real(other));
        let Some(wanted) = wanted.filter(|wanted| own.as_ref() != Some(wanted)) else {
            return self.integer_form(id);
        };
        if let Some(known) = self.requantized.get(&(id, other)) {
            return *known;
        }
        let own = self.integer_form(id);
        let name = self.old[id].name.clone();
        let requantized =
            self.quantize(&name, own, &format!("{name}/requantized"), self.width.dtype(), wanted);
        self.requantized.insert((id, other), requantized);
        requantized
    }

    fn float_node(&mut self, node: &Node) {
        let inputs = node.inputs.iter().map(|input| input.map(|id| self.float_form(id))).collect();
        let outputs = node.outputs.iter().map(|id| self.float_output(*id)).collect();
        self.new.add_node(&node.name, node.op.clone(), inputs, outputs);
    }

    fn float_output(&mut self, id: TensorId) -> TensorId {
        let new = self.new.add_tensor(self.old[id].clone());
        self.float.insert(id, new);
        new
    }

    fn integer_node(
        &mut self,
        id: NodeId,
        choice: Choice,
        repairs: &mut Repairs<'_>,
    ) -> Result<(), QuantizeError> {
        let node = &self.old[id];
        let rule = node.op.quantization();
        let operands = operands(self.old, node);
        let mut inputs: Vec<Option<TensorId>> = Vec::with_capacity(node.inputs.len());
        for (place, input) in node.inputs.iter().enumerate() {
            inputs.push(match input {
                Some(id) if !operands.contains(&(place, *id)) => Some(self.float_form(*id)),
                Some(id) if self.old[*id].is_fixed() => Some(self.constant(node, *id)?),
                Some(id) if rule.output == OutputRule::Shared => {
                    Some(self.integer_like(*id, node.outputs[0]))
                }
                Some(id) => Some(self.integer_form(*id)),
                None => None,
            });
        }
        if let Some(weights) = rule.weights {
            let input = operands.first().and_then(|(place, _)| inputs[*place]);
            let place = Places { input, weights: weights.input, bias: weights.bias, axis: weights.axis };
            self.weights(id, choice, place, &mut inputs, repairs)?;
        }
        let passes = self.trained.is_some() && rule.output == OutputRule::SameAsInput;
        let passed = operands.first().filter(|_| passes);
        let passed = passed.and_then(|(place, _)| self.new[inputs[*place]?].quantization.clone());
        let outputs = node.outputs.iter().map(|id| self.integer_output(*id)).collect();
        let id = self.new.add_node(&node.name, node.op.clone(), inputs, outputs);
        if let Some(passed) = passed {
            self.bring_to_own(id, node, &passed);
        }
        Ok(())
    }

    /// What an operator passes on has its input's parameters; where its results have others, they are brought
    /// to these behind it.
    fn bring_to_own(&mut self, new: NodeId, node: &Node, passed: &Quantization) {
        for (place, id) in node.outputs.iter().enumerate() {
            let Some(own) = self.real(*id).filter(|own| own != passed) else { continue };
            let output = self.new[new].outputs[place];
            let name = self.new[output].name.clone();
            self.new[output].name = format!("{name}/passed");
            self.new[output].quantization = Some(passed.clone());
            let brought = self.quantize(&node.name, output, &name, self.width.dtype(), own);
            self.integer.insert(*id, brought);
        }
    }

    fn integer_output(&mut self, id: TensorId) -> TensorId {
        let Some(parameters) = self.real(id) else { return self.float_output(id) };
        let dtype = self.width.dtype();
        let tensor = Tensor { dtype, quantization: Some(parameters), ..self.old[id].clone() };
        let new = self.new.add_tensor(tensor);
        self.integer.insert(id, new);
        new
    }

    /// A constant operand that is no weight.
    fn constant(&mut self, node: &Node, id: TensorId) -> Result<TensorId, QuantizeError> {
        let tensor = self.old[id].clone();
        let values = match &tensor.kind {
            TensorKind::Constant(data) => data.elements::<f32>(),
            _ => Default::default(),
        };
        check_finite(&node.name, &tensor.name, &values)?;
        let range = Range::of(&values).unwrap_or(Range::EMPTY);
        let parameters = match (&node.op, node.op.quantization().output) {
            (_, OutputRule::Shared | OutputRule::SameAsInput) => self.real(node.outputs[0]),
            (Op::Prelu(_), _) => {
                let extent = range.max.abs().max(range.min.abs()).max(f32::MIN_POSITIVE);
                Some(Quantization::per_tensor(extent / 127.0, 0))
            }
            _ => None,
        };
        let parameters = parameters.unwrap_or_else(|| parameters::constant(self.width, range));
        let (scale, zero_point) = parameters.single().unwrap_or((1.0, 0));
        let integers = parameters::integers(self.width, &values, scale, zero_point);
        let constant = Tensor::constant(&tensor.name, self.width.dtype(), tensor.shape, integers);
        Ok(self.new.add_tensor(constant.with_quantization(parameters)))
    }

    /// Weights and bias of a product.
    fn weights(
        &mut self,
        node_id: NodeId,
        choice: Choice,
        place: Places,
        inputs: &mut Vec<Option<TensorId>>,
        repairs: &mut Repairs<'_>,
    ) -> Result<(), QuantizeError> {
        let node = &self.old[node_id];
        let input_scale = place.input.and_then(|id| self.new[id].quantization.as_ref()?.single());
        let (Some((input_scale, _)), Some(id)) = (input_scale, node.inputs[place.weights]) else {
            return Ok(());
        };
        let (Some(weights), Some(shape)) = (constant_floats(self.old, id), self.old[id].shape.to_fixed())
        else {
            return Ok(());
        };
        let bias_id = node.inputs.get(place.bias).copied().flatten();
        let bias_values = bias_id.and_then(|id| constant_floats(self.old, id));
        check_finite(&node.name, &self.old[id].name, &weights)?;
        if let (Some(bias), Some(id)) = (&bias_values, bias_id) {
            check_finite(&node.name, &self.old[id].name, bias)?;
        }
        let layout = Layout::new(&shape, place.axis);
        let levels = self.trained.and_then(|trained| trained.levels(&self.old[node.outputs[0]].name));
        // What a recipe asks for comes first.
        let usual = choice.granularity == Granularity::PerChannel && choice.weight_bits() == 8;
        let trained = levels.filter(|_| usual && self.width == Width::Eight);
        let trained = trained
            .and_then(|levels| as_trained(&weights, bias_values.as_deref(), layout, levels, input_scale));
        let granularity = match &trained {
            Some(trained) if trained.scales.len() == 1 => Granularity::PerTensor,
            _ => choice.granularity,
        };
        let mut integer = trained.unwrap_or_else(|| {
            for_integer(&weights, bias_values.as_deref(), layout, choice.grid(), input_scale, self.width)
        });
        let grid = |scales: Vec<f32>, axis: usize| match granularity {
            Granularity::PerChannel => Quantization::per_channel(scales, axis),
            Granularity::PerTensor => Quantization::per_tensor(scales[0], 0),
        };
        let mut bias_values = bias_values.map(std::borrow::Cow::into_owned);
        if let Some(repaired) = repairs.repair(self.old, node_id, &integer, input_scale) {
            integer = repaired.weights;
            bias_values = Some(repaired.bias);
        }
        if let Some(values) = bias_values {
            let (values, scales) = bias(&values, input_scale, &integer.scales);
            // A repair gives a bias to a node that had none.
            let (name, shape) = match bias_id {
                Some(id) => (self.old[id].name.clone(), self.old[id].shape.clone()),
                None => (format!("{}/bias", node.name), Shape::fixed(&[values.len()])),
            };
            let (dtype, data) = match self.width {
                Width::Eight => (DType::I32, Data::from_vec(values)),
                Width::Sixteen => (DType::I64, Data::from_vec(values.into_iter().map(i64::from).collect())),
            };
            let bias = Tensor::constant(&name, dtype, shape, data).with_quantization(grid(scales, 0));
            inputs.resize(inputs.len().max(place.bias + 1), None);
            inputs[place.bias] = Some(self.new.add_tensor(bias));
        }
        let old = &self.old[id];
        let weights =
            Tensor::constant(&old.name, DType::I8, old.shape.clone(), Data::from_vec(integer.values));
        inputs[place.weights] =
            Some(self.new.add_tensor(weights.with_quantization(grid(integer.scales, place.axis))));
        Ok(())
    }
}

/// Where a product has its operands.
struct Places {
    /// Its activation, in the new graph.
    input: Option<TensorId>,
    weights: usize,
    bias: usize,
    axis: usize,
}

fn constant_floats(graph: &Graph, id: TensorId) -> Option<std::borrow::Cow<'_, [f32]>> {
    match &graph[id].kind {
        TensorKind::Constant(data) => data.floats(graph[id].dtype),
        _ => None,
    }
}

/// The same grid for unsigned integers.
fn unsigned(parameters: &Quantization) -> Quantization {
    let zero_points = parameters.zero_points.iter().map(|zero_point| zero_point + UNSIGNED_OFFSET);
    Quantization { zero_points: zero_points.collect(), ..parameters.clone() }
}
