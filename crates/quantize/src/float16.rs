//! Half-precision weights: real-valued constants are stored as float16 behind a `DEQUANTIZE`. Those of
//! depthwise convolutions stay as they are: an output is a sum of few products, which does not average
//! their rounding out, and they are a hundredth of a model. So do constants that half precision cannot hold,
//! such as the largest float32 that stands for infinity, and single numbers: an offset that keeps a logarithm
//! finite would become zero, and nothing would be gained.

use std::collections::HashMap;

use half::f16;
use litesmith_graph::{DType, Data, Graph, Model, Node, Op, Tensor, TensorId, TensorKind, ops};

use crate::recipe::Recipe;
use crate::report::{Outcome, Precision, Report};

pub(crate) fn apply(model: &mut Model, recipe: &Recipe) -> Report {
    let mut report = Report::default();
    for graph in &mut model.graphs {
        narrow(graph, recipe, &mut report);
    }
    report
}

fn narrow(graph: &mut Graph, recipe: &Recipe, report: &mut Report) {
    let mut widened: HashMap<TensorId, TensorId> = HashMap::new();
    let mut widening = Vec::new();
    for index in 0..graph.nodes.len() {
        let constants = float_constants(graph, &graph.nodes[index]);
        if constants.is_empty() {
            continue;
        }
        let node = &graph.nodes[index];
        let (layer, operator) = (node.name.clone(), node.op.builtin_name().to_owned());
        let too_large = constants.iter().find_map(|(_, constant)| too_large(graph, *constant));
        let reason = if recipe.choice(&[&layer], &operator).skip {
            Some("the recipe keeps it float".to_owned())
        } else if matches!(node.op, Op::DepthwiseConv2D(_)) {
            Some("sums of few products do not average the rounding of half precision out".to_owned())
        } else {
            too_large.map(|value| format!("half precision cannot hold {value:e}"))
        };
        for (place, constant) in constants.into_iter().filter(|_| reason.is_none()) {
            let wide = match widened.get(&constant) {
                Some(wide) => *wide,
                None => {
                    let (node, wide) = widen_at_run_time(graph, &layer, constant);
                    widening.push(node);
                    widened.insert(constant, wide);
                    wide
                }
            };
            graph.nodes[index].inputs[place] = Some(wide);
        }
        let precision = if reason.is_some() { Precision::Float32 } else { Precision::Float16 };
        report.outcomes.push(Outcome { layer, operator, precision, reason });
    }
    // In front of everything else, as TensorFlow writes them.
    graph.nodes.splice(0..0, widening);
    graph.remove_dead();
}

fn float_constants(graph: &Graph, node: &Node) -> Vec<(usize, TensorId)> {
    let constant = |id: &TensorId| {
        let several = graph[*id].shape.elements().is_some_and(|elements| elements > 1);
        several && graph[*id].dtype == DType::F32 && matches!(graph[*id].kind, TensorKind::Constant(_))
    };
    let inputs = node.inputs.iter().enumerate().filter_map(|(place, id)| Some((place, (*id)?)));
    inputs.filter(|(_, id)| constant(id)).collect()
}

/// A finite element of a constant that would become infinite.
fn too_large(graph: &Graph, constant: TensorId) -> Option<f32> {
    let TensorKind::Constant(data) = &graph[constant].kind else { return None };
    let elements = data.elements::<f32>();
    elements.iter().copied().find(|value| value.is_finite() && f16::from_f32(*value).is_infinite())
}

/// Adds the float16 form of a constant and returns the node that widens it, with its output.
fn widen_at_run_time(graph: &mut Graph, layer: &str, constant: TensorId) -> (Node, TensorId) {
    let tensor = graph[constant].clone();
    let values = match &tensor.kind {
        TensorKind::Constant(data) => data.elements::<f32>(),
        _ => Default::default(),
    };
    let narrow: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
    let stored = Tensor::constant(&tensor.name, DType::F16, tensor.shape.clone(), Data::from_vec(narrow));
    let stored = graph.add_tensor(stored);
    let wide =
        graph.add_tensor(Tensor::activation(&format!("{}/float32", tensor.name), DType::F32, tensor.shape));
    let op = ops::Dequantize::default().into();
    (Node { name: layer.to_owned(), op, inputs: vec![Some(stored)], outputs: vec![wide] }, wide)
}

/// Makes half-precision constants single precision again, so that a float16 model can be quantized
/// otherwise.
pub(crate) fn widen(model: &mut Model) {
    for graph in &mut model.graphs {
        let is_widening = |node: &Node| {
            let input = node.inputs.first().copied().flatten();
            matches!(node.op, Op::Dequantize(_))
                && input.is_some_and(|id| graph[id].dtype == DType::F16 && graph[id].is_fixed())
        };
        let widening: Vec<bool> = graph.nodes.iter().map(is_widening).collect();
        for (index, _) in widening.iter().enumerate().filter(|(_, widening)| **widening) {
            let node = graph.nodes[index].clone();
            let Some(input) = node.inputs[0] else { continue };
            let TensorKind::Constant(data) = &graph[input].kind else { continue };
            let wide: Vec<f32> = data.elements::<f16>().iter().map(|x| x.to_f32()).collect();
            graph[node.outputs[0]].kind = TensorKind::Constant(Data::from_vec(wide));
        }
        let constant: Vec<bool> = graph.tensors.iter().map(|tensor| tensor.is_fixed()).collect();
        graph.nodes.retain(|node| !node.outputs.iter().any(|id| constant[id.index()]));
        graph.remove_dead();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{text, validate};

    const DENSE: &str = "graph main(%x: f32[batch,2]) -> (%y) {
          %w: f32[1,2] = [1.5,-2]
          %y: f32[batch,1] = FullyConnected(%x, %w, _) # dense
        }";

    #[test]
    fn constants_are_narrowed_and_widened_back() {
        let mut model = text::parse(DENSE).unwrap();
        let source = model.clone();
        let report = apply(&mut model, &Recipe::default());
        assert_eq!(report.outcomes[0].precision, Precision::Float16);
        validate(&model).unwrap();
        let names: Vec<_> = model.main().nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["Dequantize", "FullyConnected"]);
        widen(&mut model);
        validate(&model).unwrap();
        let weights = |model: &Model| {
            let id = model.main().nodes[0].inputs[1].unwrap();
            model.data(&model.main()[id]).unwrap().clone()
        };
        assert_eq!(weights(&model), weights(&source));
    }

    #[test]
    fn what_half_precision_cannot_hold_stays_float_and_says_why() {
        let mut model = text::parse(&DENSE.replace("-2", "70000")).unwrap();
        let source = model.clone();
        let report = apply(&mut model, &Recipe::default());
        assert_eq!(model, source);
        assert_eq!(report.outcomes[0].reason.as_deref(), Some("half precision cannot hold 7e4"));
    }

    #[test]
    fn depthwise_weights_stay_float_and_say_why() {
        let depthwise = "graph main(%x: f32[batch,2,2,2]) -> (%y) {
              %w: f32[1,1,1,2] = [1.5,2]
              %y: f32[batch,2,2,2] = DepthwiseConv2D(%x, %w, _) # depthwise
            }";
        let mut model = text::parse(depthwise).unwrap();
        let source = model.clone();
        let report = apply(&mut model, &Recipe::default());
        assert_eq!(model, source);
        let left: Vec<_> = report.float().collect();
        assert!(left[0].reason.as_ref().is_some_and(|reason| reason.contains("few products")), "{left:?}");
    }

    #[test]
    fn single_numbers_stay_what_they_are() {
        let offset = "graph main(%x: f32[batch,2]) -> (%y) {
              %epsilon: f32[] = [1e-10]
              %y: f32[batch,2] = Binary(%x, %epsilon) # log
            }";
        let mut model = text::parse(offset).unwrap();
        let source = model.clone();
        let report = apply(&mut model, &Recipe::default());
        assert!(report.outcomes.is_empty());
        assert_eq!(model, source);
    }

    #[test]
    fn the_recipe_keeps_layers_float() {
        let mut model = text::parse(DENSE).unwrap();
        let mut recipe = Recipe::default();
        recipe.keep_float("dense");
        let report = apply(&mut model, &recipe);
        assert_eq!(report.float().count(), 1);
        assert_eq!(model.main().nodes.len(), 1);
    }
}
