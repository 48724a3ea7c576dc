//! Dynamic range: int8 weights beside real-valued activations, which kernels quantize while the model
//! runs.

use litesmith_graph::{
    DType, Data, Graph, Model, NodeId, Op, Quantization, Tensor, TensorId, TensorKind, ops,
};

use crate::error::QuantizeError;
use crate::recipe::{Choice, Granularity, Recipe};
use crate::repair::{Knowledge, Moments, Product, Repair};
use crate::report::{Outcome, Precision, Report};
use crate::statistics::Statistics;
use crate::weights::{Grid, Layout, for_dynamic, shared};

/// Smaller constants stay float: quantizing them saves nothing.
const FEWEST_ELEMENTS: usize = 1024;

/// Calibration is of no need, but lets layers of the main graph be repaired.
pub(crate) fn apply(
    model: &mut Model,
    repair: Repair,
    recipe: &Recipe,
    statistics: Option<&Statistics>,
    moments: Option<&Moments>,
) -> Result<Report, QuantizeError> {
    let mut report = Report::default();
    for (number, graph) in model.graphs.iter_mut().enumerate() {
        let knowledge = Knowledge::new(graph, statistics.filter(|_| number == 0), moments);
        let shared = shared(graph);
        for (id, is_shared) in graph.node_ids().zip(shared) {
            let Some(weights) = Quantizable::of(graph, id) else { continue };
            let (layer, operator) = (graph[id].name.clone(), graph[id].op.builtin_name().to_owned());
            let choice = recipe.choice(&[&layer], &operator);
            let is_product = Product::of(graph, id).is_some();
            let reason = if choice.skip {
                Some("the recipe keeps it float".to_owned())
            } else if weights.elements < FEWEST_ELEMENTS {
                Some(format!(
                    "it has {} weights; below {FEWEST_ELEMENTS} nothing is gained",
                    weights.elements
                ))
            } else {
                let asked =
                    statistics.is_some() && !is_shared && choice.repair.unwrap_or(repair) != Repair::None;
                match weights.apply(graph, id, choice, asked.then_some(&knowledge))? {
                    true => report.repaired += 1,
                    false if asked && is_product => report.unrepaired += 1,
                    false => {}
                }
                None
            };
            let precision = if reason.is_some() { Precision::Float32 } else { Precision::Dynamic };
            report.outcomes.push(Outcome { layer, operator, precision, reason });
        }
        if !graph.sort() {
            return Err(litesmith_graph::ModelError::Model("the graph has a cycle".into()).into());
        }
        graph.remove_dead();
    }
    Ok(report)
}

/// A constant operand that dynamic-range kernels take as int8.
struct Quantizable {
    /// Its place among the node's inputs.
    place: usize,
    tensor: TensorId,
    elements: usize,
    /// Axis of output channels, for kernels that take one scale for each.
    axis: Option<usize>,
}

impl Quantizable {
    fn of(graph: &Graph, id: NodeId) -> Option<Quantizable> {
        let (place, axis) = match &graph[id].op {
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) | Op::FullyConnected(_) | Op::TransposeConv2D(_) => {
                let rule = graph[id].op.quantization().weights?;
                (rule.input, Some(rule.axis))
            }
            Op::BatchMatMul(_) => (1, None),
            Op::Gather(_) => (0, None),
            _ => return None,
        };
        let tensor = graph[id].inputs.get(place).copied().flatten()?;
        let fixed =
            graph[tensor].dtype == DType::F32 && matches!(graph[tensor].kind, TensorKind::Constant(_));
        let elements = graph[tensor].shape.elements()?;
        fixed.then_some(Quantizable { place, tensor, elements, axis })
    }

    /// Returns whether it was repaired, with what is known of its input.
    fn apply(
        self,
        graph: &mut Graph,
        id: NodeId,
        choice: Choice,
        knowledge: Option<&Knowledge<'_>>,
    ) -> Result<bool, QuantizeError> {
        let source = graph[self.tensor].clone();
        let (TensorKind::Constant(data), Some(shape)) = (&source.kind, source.shape.to_fixed()) else {
            return Ok(false);
        };
        let values = data.elements::<f32>();
        crate::weights::check_finite(&graph[id].name, &source.name, &values)?;
        let (axis, granularity) = match self.axis {
            Some(axis) => (axis, choice.granularity),
            None => (0, Granularity::PerTensor),
        };
        let grid = Grid { granularity, ..choice.grid() };
        let mut weights = for_dynamic(&values, Layout::new(&shape, axis), grid);
        let product = knowledge.and_then(|knowledge| Some((knowledge, Product::of(graph, id)?)));
        let repaired =
            product.and_then(|(knowledge, product)| knowledge.repair(graph, &product, &weights, None));
        let is_repaired = repaired.is_some();
        if let Some(repaired) = repaired {
            weights = repaired.weights;
            put_bias(graph, id, repaired.bias);
        }
        let quantization = match granularity {
            Granularity::PerChannel => Quantization::per_channel(weights.scales, axis),
            Granularity::PerTensor => Quantization::per_tensor(weights.scales[0], 0),
        };
        let stored = Tensor::constant(&source.name, DType::I8, source.shape, Data::from_vec(weights.values))
            .with_quantization(quantization.clone());
        let stored = graph.add_tensor(stored);
        graph[id].inputs[self.place] = Some(stored);
        match &mut graph[id].op {
            Op::FullyConnected(op) => op.asymmetric_quantize_inputs = true,
            Op::BatchMatMul(op) => op.asymmetric_quantize_inputs = true,
            Op::Gather(_) => dequantize_output(graph, id, quantization),
            _ => {}
        }
        Ok(is_repaired)
    }
}

/// Gives a product this bias, in place of the one that it has if it has one.
fn put_bias(graph: &mut Graph, id: NodeId, bias: Vec<f32>) {
    const PLACE: usize = 2;
    let old = graph[id].inputs.get(PLACE).copied().flatten();
    let name = match old {
        Some(old) => graph[old].name.clone(),
        None => format!("{}/bias", graph[id].name),
    };
    let bias = graph.add_tensor(Tensor::floats(&name, &[bias.len()], bias));
    let inputs = &mut graph[id].inputs;
    inputs.resize(inputs.len().max(PLACE + 1), None);
    inputs[PLACE] = Some(bias);
}

/// A table's entries come out as int8 and are dequantized behind.
fn dequantize_output(graph: &mut Graph, id: NodeId, quantization: Quantization) {
    let output = graph[id].outputs[0];
    let name = format!("{}/int8", graph[output].name);
    let shape = graph[output].shape.clone();
    let entries =
        graph.add_tensor(Tensor::activation(&name, DType::I8, shape).with_quantization(quantization));
    graph[id].outputs[0] = entries;
    let layer = graph[id].name.clone();
    graph.add_node(&layer, ops::Dequantize::default(), vec![Some(entries)], vec![output]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{infer_model, text, validate};

    #[test]
    fn large_weights_become_integers_and_small_ones_stay() {
        let mut model = text::parse(
            "graph main(%x: f32[batch,32]) -> (%z) {
               %w: f32[32,32] = random(1)
               %b: f32[32] = random(2)
               %v: f32[31,32] = random(3)
               %y: f32[batch,32] = FullyConnected(%x, %w, %b) # large
               %z: f32[batch,31] = FullyConnected(%y, %v, _) # small
             }",
        )
        .unwrap();
        let report = apply(&mut model, Repair::None, &Recipe::default(), None, None).unwrap();
        infer_model(&mut model).unwrap();
        validate(&model).unwrap();
        assert_eq!(report.outcomes[0].precision, Precision::Dynamic);
        assert_eq!(report.outcomes[1].precision, Precision::Float32);
        let graph = model.main();
        let weights = &graph[graph.nodes[0].inputs[1].unwrap()];
        assert_eq!(weights.dtype, DType::I8);
        assert_eq!(weights.quantization.as_ref().unwrap().scales.len(), 32);
        assert_eq!(graph[graph.nodes[0].inputs[2].unwrap()].dtype, DType::F32);
    }
}
