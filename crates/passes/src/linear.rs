//! Convolutions and matrix products with fixed weights, as passes rewrite them.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::Padding;
use litesmith_graph::{Graph, NodeId, Op, Tensor, TensorId, TensorKind};

use crate::constants::floats;

/// The weights and bias of a convolution or matrix product, taken out to be changed.
pub(crate) struct Linear {
    node: NodeId,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    shape: Vec<usize>,
    /// Axis of output channels.
    axis: usize,
    /// Number of input channels that one output channel sees, with the number of groups.
    inputs: (usize, usize),
    /// Number of weights between two input channels in memory.
    input_stride: usize,
}

impl Linear {
    /// The weights of `node`, if it is linear and they are fixed single-precision numbers.
    pub(crate) fn take(graph: &Graph, parameters: &[Parameter], node: NodeId) -> Option<Linear> {
        let rule = graph[node].op.quantization().weights?;
        let input = |index: usize| graph[node].inputs.get(index).copied().flatten();
        let weights = input(rule.input)?;
        let shape = graph[weights].shape.to_fixed()?;
        let bias = match input(rule.bias) {
            Some(bias) => Some(floats(graph, parameters, bias)?.into_owned()),
            None => None,
        };
        let inputs = match &graph[node].op {
            Op::Conv2D(op) => (*shape.last()?, op.groups),
            Op::FullyConnected(_) | Op::TransposeConv2D(_) | Op::TransposeConv3D(_) => (*shape.last()?, 1),
            Op::Conv3D(_) => (*shape.get(3)?, 1),
            Op::DepthwiseConv2D(op) => (1, *shape.last()? / op.multiplier.max(1)),
            _ => return None,
        };
        let input_stride = if let Op::Conv3D(_) = &graph[node].op { *shape.last()? } else { 1 };
        let weights = floats(graph, parameters, weights)?.into_owned();
        Some(Linear { node, weights, bias, shape, axis: rule.axis, inputs, input_stride })
    }

    /// Number of output channels.
    pub(crate) fn channels(&self) -> usize {
        self.shape[self.axis]
    }

    /// Number of input channels.
    pub(crate) fn input_channels(&self) -> usize {
        self.inputs.0 * self.inputs.1
    }

    /// Number of weights between two output channels in memory.
    fn stride(&self) -> usize {
        self.shape[self.axis + 1..].iter().product()
    }

    /// Multiplies each output channel's weights and bias.
    pub(crate) fn scale(&mut self, factors: &[f32]) {
        let (stride, channels) = (self.stride(), self.channels());
        for (index, weight) in self.weights.iter_mut().enumerate() {
            *weight *= factors[index / stride % channels];
        }
        for (bias, factor) in self.bias.iter_mut().flatten().zip(factors) {
            *bias *= factor;
        }
    }

    /// Divides each output channel's weights and bias.
    pub(crate) fn divide(&mut self, divisors: &[f32]) {
        let (stride, channels) = (self.stride(), self.channels());
        for (index, weight) in self.weights.iter_mut().enumerate() {
            *weight /= divisors[index / stride % channels];
        }
        for (bias, divisor) in self.bias.iter_mut().flatten().zip(divisors) {
            *bias /= divisor;
        }
    }

    /// Adds to each output channel.
    pub(crate) fn shift(&mut self, offsets: &[f32]) {
        match &mut self.bias {
            Some(bias) => bias.iter_mut().zip(offsets).for_each(|(bias, offset)| *bias += offset),
            None => self.bias = Some(offsets.to_vec()),
        }
    }

    /// Index of the input channel that a weight multiplies.
    fn input_channel(&self, weight: usize) -> usize {
        let (per_group, groups) = self.inputs;
        let output = weight / self.stride() % self.channels();
        let group = output / (self.channels() / groups).max(1);
        group * per_group + weight / self.input_stride % per_group
    }

    /// Takes a factor of each input channel into the weights.
    pub(crate) fn scale_inputs(&mut self, factors: &[f32]) {
        for index in 0..self.weights.len() {
            self.weights[index] *= factors[self.input_channel(index)];
        }
    }

    /// Takes an offset of each input channel into the bias. Exact only where no padding is read.
    pub(crate) fn shift_inputs(&mut self, offsets: &[f32]) {
        let (stride, channels) = (self.stride(), self.channels());
        let mut sums = vec![0f64; channels];
        for (index, weight) in self.weights.iter().enumerate() {
            sums[index / stride % channels] +=
                f64::from(*weight) * f64::from(offsets[self.input_channel(index)]);
        }
        let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        self.shift(&sums);
    }

    /// Gives the node its changed weights and bias.
    pub(crate) fn store(self, graph: &mut Graph) {
        let Some(rule) = graph[self.node].op.quantization().weights else { return };
        let name = |index: usize, what: &str| {
            let old = graph[self.node].inputs.get(index).copied().flatten();
            old.map_or_else(|| format!("{}/{what}", graph[self.node].name), |id| graph[id].name.clone())
        };
        let (weights_name, bias_name) = (name(rule.input, "kernel"), name(rule.bias, "bias"));
        let weights = Tensor::floats(&weights_name, &self.shape, self.weights);
        match graph[self.node].inputs[rule.input] {
            // The old weights are given up at once: a model is not held twice.
            Some(old) if is_read_once(graph, old) => graph[old] = weights,
            _ => graph[self.node].inputs[rule.input] = Some(graph.add_tensor(weights)),
        }
        if let Some(bias) = self.bias {
            let bias = graph.add_tensor(Tensor::floats(&bias_name, &[bias.len()], bias));
            graph[self.node].inputs.resize(rule.bias + 1, None);
            graph[self.node].inputs[rule.bias] = Some(bias);
        }
    }
}

/// Whether a tensor is a constant that one node has for one of its inputs, and nobody else.
fn is_read_once(graph: &Graph, id: TensorId) -> bool {
    let inputs = graph.nodes.iter().flat_map(|node| node.present_inputs());
    let constant = matches!(graph[id].kind, TensorKind::Constant(_));
    constant && !graph.is_output(id) && inputs.filter(|input| *input == id).count() == 1
}

/// Whether every output is made of as many inputs as any other, so that an offset of the inputs is one
/// of the outputs.
pub(crate) fn sees_inputs_alone(op: &Op) -> bool {
    match op {
        Op::Conv2D(op) => op.padding == Padding::Valid,
        Op::Conv3D(op) => op.padding == Padding::Valid,
        Op::DepthwiseConv2D(op) => op.padding == Padding::Valid,
        Op::FullyConnected(_) => true,
        _ => false,
    }
}

/// Where a convolution or matrix product has what it multiplies by its weights.
pub(crate) fn operand(op: &Op) -> usize {
    if matches!(op, Op::TransposeConv2D(_) | Op::TransposeConv3D(_)) { 2 } else { 0 }
}

/// Lets `node` compute `output` instead of what it computes now. The tensor takes both names, so that
/// every layer that was fused can be found.
pub(crate) fn take_over(graph: &mut Graph, node: NodeId, output: TensorId) {
    let old = graph[node].outputs[0];
    if !graph.is_output(output) && graph[old].name != graph[output].name {
        graph[output].name = format!("{};{}", graph[old].name, graph[output].name);
    }
    graph[node].outputs[0] = output;
}
