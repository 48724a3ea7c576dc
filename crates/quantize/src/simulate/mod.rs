//! Where training simulates integers: the places, and the ranges to begin with, that an integer model of
//! the same recipe has, so that what is trained is what will be computed.

mod place;
mod source;

use litesmith_graph::{Graph, Model, OutputRule, TensorId, Width};

pub use place::{learnt_ranges, place, without_simulation};
pub use source::{Simulated, drop_simulation, is_simulated, take_simulation};

use crate::error::QuantizeError;
use crate::integer::{assign, decide};
use crate::mode::{Mode, Options};
use crate::ranges::of_graph;
use crate::recipe::{Choice, Recipe};
use crate::statistics::{Range, Statistics};

/// What becomes of a model's tensors when it is quantized to integers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Simulation {
    /// Computed tensors that are rounded, by their names.
    pub activations: Vec<SimulatedTensor>,
    /// Layers whose weights are rounded.
    pub layers: Vec<SimulatedLayer>,
}

/// A tensor that is rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedTensor {
    /// Its name.
    pub name: String,
    /// The range that its integers stand for, to begin with.
    pub range: Range,
    /// Whether the range is given by the operator and stays.
    pub fixed: bool,
}

/// A layer whose weights are rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedLayer {
    /// The name of the tensor that it computes, batch normalization and activation included.
    pub output: String,
    /// What the recipe says of it.
    pub(crate) choice: Choice,
}

/// What a legalized, lowered float model becomes under this recipe, given what its tensors held.
///
/// # Errors
/// If statistics lack a tensor.
pub fn simulation(
    model: &Model,
    recipe: &Recipe,
    statistics: &Statistics,
) -> Result<Simulation, QuantizeError> {
    let graph = model.main();
    let options = Options::new(Mode::Int8);
    let ranges = of_graph(graph, statistics, &options, recipe)?;
    let decisions = decide::decide(graph, recipe, Width::Eight, &ranges);
    let parameters = assign::assign(graph, &decisions, &ranges, options.ranges, Width::Eight, &[]);
    let mut simulation = Simulation::default();
    let integer = |id: TensorId| {
        // An input is an integer where an integer operator reads it.
        graph.node_ids().any(|node| {
            let (node, decision) = (&graph[node], &decisions[node.index()]);
            decision.is_integer()
                && (node.outputs.contains(&id) || node.present_inputs().any(|input| input == id))
        })
    };
    for id in graph.tensor_ids().filter(|id| ranges[id.index()].is_some() && integer(*id)) {
        let producer = graph.node_ids().find(|node| graph[*node].outputs.contains(&id));
        let rule = producer.map(|node| graph[node].op.quantization().output);
        let own = producer.is_none_or(|node| decisions[node.index()].is_integer());
        // What is only passed on has been rounded already.
        if own && rule == Some(OutputRule::SameAsInput) {
            continue;
        }
        let Some((scale, zero_point)) =
            parameters[id.index()].as_ref().and_then(litesmith_graph::Quantization::single)
        else {
            continue;
        };
        let real = |integer: i32| scale * (integer - zero_point) as f32;
        let fixed = own && matches!(rule, Some(OutputRule::Fixed { .. }));
        let range = Range { min: real(-128), max: real(127) };
        simulation.activations.push(SimulatedTensor {
            name: unfused_name(&graph[id].name).to_owned(),
            range,
            fixed,
        });
    }
    for (node, decision) in graph.nodes.iter().zip(&decisions) {
        if let (decide::Decision::Integer(choice), Some(weights)) = (decision, node.op.quantization().weights)
            && node.inputs.get(weights.input).copied().flatten().is_some_and(|id| graph[id].is_fixed())
        {
            let output = unfused_name(&graph[node.outputs[0]].name).to_owned();
            simulation.layers.push(SimulatedLayer { output, choice: *choice });
        }
    }
    Ok(simulation)
}

/// The name that a tensor of the optimized model has in the unfused one: what has become part of one operator
/// joins its names, the last one being that of the result.
#[must_use]
pub fn unfused_name(name: &str) -> &str {
    name.rsplit(';').next().unwrap_or(name)
}

/// The tensor of this name that a node computes or the caller gives.
fn tensor_named(graph: &Graph, name: &str) -> Option<TensorId> {
    graph.tensor_ids().find(|id| graph[*id].name == name && !graph[*id].is_fixed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Mode;
    use litesmith_graph::{Op, text};
    use litesmith_passes::{Target, legalize, optimize};

    const SOURCE: &str = "parameter @w: f32[4,1,1,3] trainable = random(1)
parameter @mean: f32[4] = splat(0)
parameter @variance: f32[4] = splat(1)
graph main(%x: f32[batch,2,2,3]) -> (%r) {
  %c: f32[batch,2,2,4] = Conv2D(%x, @w, _) # conv
  %n: f32[batch,2,2,4] = BatchNorm(%c, _, _, @mean, @variance) # norm
  %r: f32[batch,2,2,4] = Unary(%n) # relu
}";

    #[test]
    fn what_has_become_one_operator_is_simulated_where_it_was_several() {
        let source = text::parse(SOURCE).unwrap();
        let mut lowered = source.clone();
        optimize(&mut lowered, &mut |_, _| {}).unwrap();
        legalize(&mut lowered, Target::Tflite).unwrap();
        crate::lower(&mut lowered, Mode::Int8, &Recipe::default()).unwrap();
        let ranges =
            lowered.main().tensors.iter().map(|tensor| (tensor.name.clone(), Range { min: 0.0, max: 1.0 }));
        let plan = simulation(&lowered, &Recipe::default(), &Statistics::of_ranges(ranges)).unwrap();
        let mut model = source;
        assert_eq!(place(&mut model, &plan, 0.9), Vec::<String>::new());
        let simulated = model.main().nodes.iter().filter(|node| matches!(node.op, Op::FakeQuantTraining(_)));
        // The input, the weights, the result.
        assert_eq!(simulated.count(), 3);
    }
}
