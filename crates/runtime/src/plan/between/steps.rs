//! The steps of what is computed otherwise than node by node.

use litesmith_graph::{Facts, Graph, TensorId};

use super::{Between, Layer, LayerGradient, Norm, NormGradient, input};
use crate::bind::between::{self, Asked, Backward, NormRule, OPERANDS};
use crate::bind::{SharedScratch, Task};
use crate::error::RuntimeError;
use crate::plan::bytes_of;
use crate::plan::layout::Layout;

/// Steps in the making.
pub(super) struct Steps<'a> {
    pub(super) between: &'a Between,
    pub(super) graph: &'a Graph,
    pub(super) facts: &'a [Facts],
    pub(super) scratch: &'a SharedScratch,
    pub(super) layout: &'a mut Layout,
}

impl Steps<'_> {
    fn bytes(&self, id: TensorId) -> Result<usize, RuntimeError> {
        bytes_of(self.graph, id, self.facts)
    }

    fn rule(norm: &Norm) -> NormRule {
        let rounding = norm.rounding.as_ref().map(|rounding| rounding.op.clone());
        NormRule { epsilon: norm.epsilon, activation: norm.activation, rounding }
    }

    /// The operands of a normalized tensor.
    fn operands(norm: &Norm) -> [Option<TensorId>; OPERANDS] {
        let [gamma, beta] = norm.parameters;
        let [mean, variance] = norm.statistics;
        let range = norm.rounding.as_ref().map(|rounding| rounding.range);
        [Some(norm.input), gamma, beta, Some(mean), Some(variance), range]
    }

    /// What a layer reads.
    fn source(&self, layer: &Layer) -> ([Option<TensorId>; OPERANDS], Option<NormRule>) {
        match layer.source {
            Some(norm) => {
                let norm = &self.between.norms[norm];
                (Steps::operands(norm), Some(Steps::rule(norm)))
            }
            None => {
                let mut operands = [None; OPERANDS];
                operands[0] = input(&self.graph.nodes[layer.node], 0);
                (operands, None)
            }
        }
    }

    /// The statistics of a normalization's input with their sizes in bytes.
    fn gathered(&self, norm: &Norm) -> Result<Vec<(TensorId, usize)>, RuntimeError> {
        let [mean, variance] = norm.statistics;
        let size = self.bytes(mean)?;
        let extremes = norm.extremes.map(|extremes| (extremes, 2 * size));
        Ok([(mean, size), (variance, size)].into_iter().chain(extremes).collect())
    }

    /// The sums of a normalization's gradient and what follows from them, with their sizes in bytes.
    fn summed(
        &self,
        norm: &Norm,
        gradient: &NormGradient,
    ) -> Result<(Asked, Vec<(TensorId, usize)>), RuntimeError> {
        let size = self.bytes(norm.statistics[0])?;
        let sums = gradient.sums.map(|sums| (sums, 2 * size));
        let parameters = gradient.parameters.into_iter().flatten().map(|id| (id, size));
        let [gamma, beta] = gradient.parameters.map(|id| id.is_some());
        Ok((Asked { gamma, beta }, sums.into_iter().chain(parameters).collect()))
    }

    fn push(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        output: Option<TensorId>,
        beside: &[(TensorId, usize)],
        task: Task,
    ) -> Result<(), RuntimeError> {
        let output = output.map(|id| Ok::<_, RuntimeError>((id, self.bytes(id)?))).transpose()?;
        let added = self.layout.add_step_beside(nodes, macs, inputs, output, beside, task);
        added.ok_or_else(|| RuntimeError::Resource {
            what: format!("layer '{}'", self.graph.nodes[nodes[0]].name),
            needed: usize::MAX,
            limit: None,
        })
    }

    pub(super) fn forward(mut self, index: usize, macs: u64) -> Result<(), RuntimeError> {
        let layer = &self.between.layers[index];
        let beside = self.gathered(&self.between.norms[layer.behind])?;
        let (operands, rule) = self.source(layer);
        let node = &self.graph.nodes[layer.node];
        let inputs: Vec<Option<TensorId>> =
            operands.into_iter().chain([input(node, 1), input(node, 2)]).collect();
        let task = between::forward(layer.layer, rule, self.scratch.clone(), sizes(&beside));
        self.push(&[layer.node], macs, &inputs, Some(node.outputs[0]), &beside, task)
    }

    pub(super) fn norm(mut self, index: usize) -> Result<(), RuntimeError> {
        let norm = &self.between.norms[index];
        if !norm.by_layer {
            let beside = self.gathered(norm)?;
            let task = between::statistics(sizes(&beside));
            self.push(&[norm.node], 0, &[Some(norm.input)], None, &beside, task)?;
        }
        if norm.nowhere {
            return Ok(());
        }
        let task = between::normalize(&Steps::rule(norm));
        self.push(&[norm.node], 0, &Steps::operands(norm), Some(norm.result), &[], task)
    }

    pub(super) fn range(mut self, index: usize) -> Result<(), RuntimeError> {
        let norm = &self.between.norms[index];
        let Some(rounding) = &norm.rounding else { return Ok(()) };
        let mut inputs = Steps::operands(norm).to_vec();
        inputs[OPERANDS - 1] = None;
        inputs.extend([norm.extremes, rounding.so_far]);
        let task = between::range(&Steps::rule(norm), rounding.op.clone());
        self.push(&[rounding.node], 0, &inputs, Some(rounding.range), &[], task)
    }

    pub(super) fn sums(mut self, index: usize) -> Result<(), RuntimeError> {
        let norm = &self.between.norms[index];
        let Some(gradient) = &norm.gradient else { return Ok(()) };
        let mut inputs = Steps::operands(norm).to_vec();
        inputs.push(Some(gradient.received));
        if !gradient.by_layer {
            let (asked, beside) = self.summed(norm, gradient)?;
            let task = between::sums(Steps::rule(norm), asked, sizes(&beside));
            self.push(&[gradient.node], 0, &inputs, None, &beside, task)?;
        }
        let Some(output) = gradient.input.filter(|_| !gradient.nowhere) else { return Ok(()) };
        inputs.push(gradient.sums);
        self.push(&[gradient.node], 0, &inputs, Some(output), &[], between::through(Steps::rule(norm)))
    }

    pub(super) fn backward(mut self, index: usize, macs: impl Fn(usize) -> u64) -> Result<(), RuntimeError> {
        let layer = &self.between.layers[index];
        let Some(LayerGradient { by_weights, by_input, received }) = layer.backward else { return Ok(()) };
        let (operands, source) = self.source(layer);
        let mut inputs = operands.to_vec();
        let behind = &self.between.norms[layer.behind];
        let through = behind.gradient.as_ref().filter(|gradient| gradient.nowhere);
        match through {
            Some(gradient) => {
                inputs.extend(Steps::operands(behind));
                inputs.extend([Some(gradient.received), gradient.sums]);
            }
            None => {
                inputs.extend([None; OPERANDS]);
                inputs.extend([Some(received), None]);
            }
        }
        inputs.push(input(&self.graph.nodes[layer.node], 1));
        let before = layer.source.map(|norm| &self.between.norms[norm]);
        let of_before = before.and_then(|norm| Some((norm, norm.gradient.as_ref()?)));
        let summed = of_before.filter(|(_, gradient)| gradient.by_layer);
        let learnt = &self.graph.nodes[by_weights].outputs;
        let with_size = |id: &TensorId| Ok((*id, self.bytes(*id)?));
        let mut beside = learnt.iter().map(with_size).collect::<Result<Vec<_>, RuntimeError>>()?;
        let mut sums = None;
        if let Some((norm, gradient)) = summed {
            let (asked, more) = self.summed(norm, gradient)?;
            beside.extend(more);
            sums = Some(asked);
        }
        let behind = through.map(|_| Steps::rule(behind));
        let (input, bias) = (by_input.is_some(), learnt.len() > 1);
        let work = Backward { layer: layer.layer, source, behind, input, bias, sums };
        let task = work.task(self.scratch.clone(), sizes(&beside));
        let nodes: Vec<usize> = [by_weights].into_iter().chain(by_input).collect();
        let macs = nodes.iter().map(|node| macs(*node)).sum();
        let output = by_input.map(|node| self.graph.nodes[node].outputs[0]);
        self.push(&nodes, macs, &inputs, output, &beside, task)
    }
}

fn sizes(tensors: &[(TensorId, usize)]) -> Vec<usize> {
    tensors.iter().map(|(_, bytes)| *bytes).collect()
}
