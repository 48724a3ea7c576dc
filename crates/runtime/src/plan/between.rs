//! Layers between batch normalizations in training. A normalized tensor that only such layers read, and a
//! gradient that only such a layer's gradients read, are nowhere: whoever reads them computes them (see
//! `kernels::gradient::normalized`). The statistics of a layer's output, and the sums of a normalization's
//! gradient, come from the steps that write what they are of.

mod steps;

use std::collections::HashMap;

use litesmith_graph::ops::{Activation, FakeQuantTraining, Gradient};
use litesmith_graph::{DType, Facts, Graph, Node, NodeId, Op, TensorId};

use super::layout::Layout;
use super::reads;
use crate::bind::SharedScratch;
use crate::bind::between::BetweenLayer;
use crate::error::RuntimeError;
use steps::Steps;

/// What is computed otherwise than node by node.
#[derive(Default)]
pub(super) struct Between {
    norms: Vec<Norm>,
    layers: Vec<Layer>,
    /// What becomes of each node that is not computed by itself.
    roles: HashMap<usize, Role>,
}

/// What is done where a node stands in the order.
#[derive(Clone, Copy)]
enum Role {
    /// A layer, with the statistics of its output.
    Forward(usize),
    /// The statistics of a normalization and its result, where a step has to compute them.
    Norm(usize),
    /// The range that a normalization's result is rounded by.
    Range(usize),
    /// The gradients of a layer.
    Backward(usize),
    /// The sums of a normalization's gradient and the gradient itself, where a step has to compute them.
    Sums(usize),
    /// Nothing: another step does it.
    Elsewhere,
}

/// A batch normalization.
struct Norm {
    node: usize,
    epsilon: f32,
    activation: Activation,
    input: TensorId,
    /// Gamma and beta.
    parameters: [Option<TensorId>; 2],
    result: TensorId,
    /// Mean and variance.
    statistics: [TensorId; 2],
    /// Whether the result, rounded if it is, is computed where it is read.
    nowhere: bool,
    rounding: Option<Rounding>,
    /// The smallest and the largest numbers of the input's channels, where its range is needed.
    extremes: Option<TensorId>,
    /// Whether a layer's step computes the statistics.
    by_layer: bool,
    gradient: Option<NormGradient>,
}

/// What rounds the result of a normalization.
struct Rounding {
    node: usize,
    op: FakeQuantTraining,
    so_far: Option<TensorId>,
    rounded: TensorId,
    /// The range that it is rounded by.
    range: TensorId,
    /// The node that computes the gradient of the rounding.
    gradient: Option<usize>,
}

/// The gradient of a normalization.
struct NormGradient {
    node: usize,
    /// That of the result, before it is rounded.
    received: TensorId,
    input: Option<TensorId>,
    /// Those of gamma and beta.
    parameters: [Option<TensorId>; 2],
    /// The sums that it needs.
    sums: Option<TensorId>,
    /// Whether a layer's step computes them.
    by_layer: bool,
    /// Whether that of the input is computed where it is read.
    nowhere: bool,
}

/// A layer whose output is normalized.
struct Layer {
    node: usize,
    layer: BetweenLayer,
    /// The normalization that its input comes from, if the input is nowhere.
    source: Option<usize>,
    /// The normalization behind it.
    behind: usize,
    backward: Option<LayerGradient>,
}

/// The gradients of a layer, which one step computes.
struct LayerGradient {
    by_weights: usize,
    by_input: Option<usize>,
    received: TensorId,
}

/// A graph, with who reads what of it.
struct Readers<'a> {
    graph: &'a Graph,
    /// For each tensor, the nodes that look at its elements, with the place among their inputs.
    readers: Vec<Vec<(usize, usize)>>,
}

impl<'a> Readers<'a> {
    fn new(graph: &'a Graph, nodes: &[NodeId]) -> Readers<'a> {
        let mut readers = vec![Vec::new(); graph.tensors.len()];
        for id in nodes {
            let node = &graph[*id];
            for (place, input) in node.inputs.iter().enumerate() {
                if let Some(input) = input.filter(|_| reads(node, place)) {
                    readers[input.index()].push((id.index(), place));
                }
            }
        }
        Readers { graph, readers }
    }

    /// Who reads a tensor, if the caller does not get it.
    fn of(&self, id: TensorId) -> Option<&[(usize, usize)]> {
        (!self.graph.is_output(id)).then(|| &self.readers[id.index()][..])
    }

    fn node(&self, index: usize) -> &'a Node {
        &self.graph.nodes[index]
    }

    /// The gradients of nodes like this one that read a tensor in this place.
    fn gradients(
        &self,
        of: &'a Node,
        id: TensorId,
        place: usize,
    ) -> impl Iterator<Item = (usize, &'a Gradient)> {
        self.readers[id.index()].iter().filter(move |(_, at)| *at == place).filter_map(move |(node, _)| {
            match &self.node(*node).op {
                Op::Gradient(op) if *op.of == of.op => Some((*node, op)),
                _ => None,
            }
        })
    }
}

fn input(node: &Node, place: usize) -> Option<TensorId> {
    node.inputs.get(place).copied().flatten()
}

impl Between {
    /// What there is among some nodes of a graph. `layer` tells which of them are layers.
    pub(super) fn find(
        graph: &Graph,
        facts: &[Facts],
        nodes: &[NodeId],
        layer: impl Fn(NodeId) -> Option<BetweenLayer>,
        layout: &mut Layout,
    ) -> Between {
        let readers = Readers::new(graph, nodes);
        let mut between = Between::default();
        for id in nodes {
            between.norms.extend(norm(&readers, facts, id.index()));
        }
        for id in nodes {
            let index = id.index();
            let normalizes = |norm: &Norm| Some(norm.input) == graph[*id].outputs.first().copied();
            if let Some(behind) = between.norms.iter().position(normalizes)
                && let Some(layer) = layer(*id)
            {
                let backward = layer_gradient(&readers, index, layer);
                between.norms[behind].by_layer = true;
                between.layers.push(Layer { node: index, layer, source: None, behind, backward });
            }
        }
        for norm in 0..between.norms.len() {
            between.join(&readers, norm, layout);
        }
        between.assign();
        between
    }

    /// Finds out what of a normalization is nowhere.
    fn join(&mut self, readers: &Readers<'_>, index: usize, layout: &mut Layout) {
        let rounding = rounding(readers, &self.norms[index]);
        let seen = rounding.as_ref().map_or(self.norms[index].result, |rounding| rounding.rounded);
        let apart = self.norms[index].gradient.as_ref().is_none_or(|gradient| gradient.received != seen);
        if let Some(by) = self.only_layers(readers, seen).filter(|_| apart) {
            by.into_iter().for_each(|layer| self.layers[layer].source = Some(index));
            let norm = &mut self.norms[index];
            norm.nowhere = true;
            if let Some(rounding) = rounding {
                norm.extremes = Some(layout.add_hidden());
                if let (Some(node), Some(gradient)) = (rounding.gradient, &mut norm.gradient) {
                    let places = readers.node(node);
                    gradient.received = input(places, places.inputs.len() - 2).unwrap_or(gradient.received);
                }
                norm.rounding = Some(rounding);
            }
        }
        let (layers, norm) = (&self.layers, &mut self.norms[index]);
        let Some(gradient) = &mut norm.gradient else { return };
        gradient.sums = Some(layout.add_hidden());
        let own = layers.iter().find(|layer| layer.behind == index).and_then(|layer| layer.backward.as_ref());
        gradient.nowhere = gradient.input.is_some_and(|input| {
            let same = |(node, _): &(usize, usize)| {
                own.is_some_and(|own| *node == own.by_weights || Some(*node) == own.by_input)
            };
            readers.of(input).is_some_and(|readers| readers.iter().all(same))
                && own.is_some_and(|own| own.received == input)
        });
        let reader = norm.rounding.as_ref().and_then(|rounding| rounding.gradient).unwrap_or(gradient.node);
        let written = layers.iter().filter(|layer| layer.source == Some(index)).any(|layer| {
            let by_input = layer.backward.as_ref().and_then(|backward| backward.by_input);
            by_input.is_some_and(|by| readers.node(by).outputs[0] == gradient.received)
        });
        let only =
            readers.of(gradient.received).is_some_and(|all| matches!(all, [(node, _)] if *node == reader));
        gradient.by_layer = norm.nowhere && written && only;
    }

    /// The layers that read a tensor, if they and their gradients alone do, and compute what they read.
    fn only_layers(&self, readers: &Readers<'_>, id: TensorId) -> Option<Vec<usize>> {
        let of = |(node, place): &(usize, usize)| {
            self.layers.iter().position(|layer| {
                let by_weights = layer.backward.as_ref().map(|backward| backward.by_weights);
                *place == 0 && (layer.node == *node || by_weights == Some(*node))
            })
        };
        readers.of(id)?.iter().map(of).collect()
    }

    fn assign(&mut self) {
        for (index, layer) in self.layers.iter().enumerate() {
            self.roles.insert(layer.node, Role::Forward(index));
            if let Some(LayerGradient { by_weights, by_input, .. }) = layer.backward {
                let last = by_input.map_or(by_weights, |by_input| by_input.max(by_weights));
                [Some(by_weights), by_input].into_iter().flatten().for_each(|node| {
                    self.roles.insert(node, Role::Elsewhere);
                });
                self.roles.insert(last, Role::Backward(index));
            }
        }
        for (index, norm) in self.norms.iter().enumerate() {
            self.roles.insert(norm.node, Role::Norm(index));
            if let Some(rounding) = &norm.rounding {
                self.roles.insert(rounding.node, Role::Range(index));
                rounding.gradient.into_iter().for_each(|node| {
                    self.roles.insert(node, Role::Elsewhere);
                });
            }
            if let Some(gradient) = &norm.gradient {
                self.roles.insert(gradient.node, Role::Sums(index));
            }
        }
    }

    /// Whether a node is computed here.
    pub(super) fn has(&self, node: usize) -> bool {
        self.roles.contains_key(&node)
    }

    /// Adds the steps that belong where a node stands.
    pub(super) fn add(
        &self,
        node: usize,
        macs: impl Fn(usize) -> u64,
        graph: &Graph,
        facts: &[Facts],
        scratch: &SharedScratch,
        layout: &mut Layout,
    ) -> Result<(), RuntimeError> {
        let steps = Steps { between: self, graph, facts, scratch, layout };
        match self.roles.get(&node) {
            Some(Role::Forward(layer)) => steps.forward(*layer, macs(node)),
            Some(Role::Norm(norm)) => steps.norm(*norm),
            Some(Role::Range(norm)) => steps.range(*norm),
            Some(Role::Backward(layer)) => steps.backward(*layer, macs),
            Some(Role::Sums(norm)) => steps.sums(*norm),
            Some(Role::Elsewhere) | None => Ok(()),
        }
    }
}

/// A normalization of real numbers by statistics of the batch, with its gradient.
fn norm(readers: &Readers<'_>, facts: &[Facts], index: usize) -> Option<Norm> {
    let node = readers.node(index);
    let Op::BatchNormTraining(op) = &node.op else { return None };
    let own = input(node, 0)?;
    let Facts { dtype, shape, .. } = &facts[own.index()];
    let floats = node.present_inputs().all(|id| facts[id.index()].dtype == DType::F32);
    if *dtype != DType::F32 || !floats || shape.elements().is_none_or(|elements| elements == 0) {
        return None;
    }
    let [result, mean, variance] = node.outputs[..] else { return None };
    let mut gradients = readers.gradients(node, own, 0).filter(|(by, _)| {
        let by = readers.node(*by);
        [input(by, 4), input(by, 5)] == [Some(mean), Some(variance)] && by.inputs.len() == 9
    });
    let gradient = gradients.next().and_then(|(by, op)| {
        let node = readers.node(by);
        let of = |place: usize| Some(node.outputs[op.inputs.iter().position(|input| *input == place)?]);
        Some(NormGradient {
            node: by,
            received: input(node, 6)?,
            input: of(0),
            parameters: [of(1), of(2)],
            sums: None,
            by_layer: false,
            nowhere: false,
        })
    });
    if gradients.next().is_some() {
        return None;
    }
    Some(Norm {
        node: index,
        epsilon: op.epsilon,
        activation: op.activation,
        input: own,
        parameters: [input(node, 1), input(node, 2)],
        result,
        statistics: [mean, variance],
        nowhere: false,
        rounding: None,
        extremes: None,
        by_layer: false,
        gradient,
    })
}

/// What rounds the result of a normalization to one range, if that alone reads it.
fn rounding(readers: &Readers<'_>, norm: &Norm) -> Option<Rounding> {
    let (mut by, mut gradient) = (None, None);
    for (node, _) in readers.of(norm.result)? {
        match &readers.node(*node).op {
            Op::FakeQuantTraining(op) if op.axis.is_none() && by.is_none() => by = Some((*node, op)),
            Op::Gradient(op) if matches!(*op.of, Op::FakeQuantTraining(_)) && gradient.is_none() => {
                gradient = Some(*node);
            }
            _ => return None,
        }
    }
    let (node, op) = by?;
    let [rounded, range] = readers.node(node).outputs[..] else { return None };
    if let Some(gradient) = gradient {
        // It must be that of this rounding, and go on through the normalization alone.
        let output = *readers.node(gradient).outputs.first()?;
        let received = norm.gradient.as_ref().map(|own| own.received);
        let onward = readers.of(output)?.len() == 1 && received == Some(output);
        let own = readers.readers[range.index()].iter().any(|(reader, _)| *reader == gradient);
        (onward && own).then_some(())?;
    } else if norm.gradient.is_some() {
        return None;
    }
    let so_far = input(readers.node(node), 1);
    Some(Rounding { node, op: op.clone(), so_far, rounded, range, gradient })
}

/// The gradients of a layer by its weights and, perhaps, its input.
fn layer_gradient(readers: &Readers<'_>, index: usize, layer: BetweenLayer) -> Option<LayerGradient> {
    let node = readers.node(index);
    let (image, weights) = (input(node, 0)?, input(node, 1)?);
    let received = |by: usize| {
        let by = readers.node(by);
        input(by, by.inputs.len().checked_sub(1)?)
    };
    let mut by_weights = readers.gradients(node, image, 0).filter(|(by, op)| {
        let learnt = op.inputs == [1] || (op.inputs == [1, 2] && layer.learns_bias());
        learnt && input(readers.node(*by), 1) == Some(weights)
    });
    let (first, more) = (by_weights.next()?, by_weights.next());
    let by_weights = more.is_none().then_some(first.0)?;
    let own = received(by_weights)?;
    let mut by_input = readers.gradients(node, weights, 1).filter(|(by, op)| {
        op.inputs == [0] && received(*by) == Some(own) && input(readers.node(*by), 0) == Some(image)
    });
    let by_input = by_input.next().map(|(by, _)| by);
    Some(LayerGradient { by_weights, by_input, received: own })
}
