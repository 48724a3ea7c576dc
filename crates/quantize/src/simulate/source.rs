//! Simulated quantization that a model brings along: what it says of the model's integers.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use litesmith_graph::ops::{FakeQuant, UnaryKind};
use litesmith_graph::{
    DType, Data, Graph, Model, ModelError, NodeId, Op, OutputRule, Tensor, TensorId, TensorKind,
};
use litesmith_kernels::{ThreadPool, movement};

use super::unfused_name;
use crate::ranges::{is_observed, keys};
use crate::statistics::{Range, Statistics, Trained};
use crate::weights::Levels;

/// Whether a model simulates integers: it was trained to be quantized, by TFMOT or by hand.
#[must_use]
pub fn is_simulated(model: &Model) -> bool {
    model.graphs.iter().flat_map(|graph| &graph.nodes).any(|node| matches!(node.op, Op::FakeQuant(_)))
}

/// Leaves simulated quantization out of a model: what remains computes with real numbers.
pub fn drop_simulation(model: &mut Model) {
    for graph in &mut model.graphs {
        let simulated: Vec<_> = simulated(graph).collect();
        for (id, _) in simulated {
            pass_on(graph, id);
        }
        graph.remove_dead();
    }
}

/// What simulated quantization says of a model's integers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Simulated {
    /// The ranges of rounded tensors, by their names.
    ranges: HashMap<String, Range>,
    /// How rounded weights fill their ranges, by the tensor that their layer computes.
    levels: BTreeMap<String, Levels>,
}

/// Takes simulated quantization out of a model, but for the weights of its main graph, which stay rounded.
///
/// # Errors
/// If the model does not fit itself.
pub fn take_simulation(model: &mut Model) -> Result<Simulated, ModelError> {
    litesmith_graph::infer_model(model)?;
    let mut taken = Simulated::default();
    let nodes: Vec<(NodeId, FakeQuant)> = simulated(model.main()).collect();
    let (weights, activations): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|(id, op)| Origin::of(model, *id, op).is_some());
    // Activations first: tensors are given the names by which layers are known.
    for (id, op) in activations {
        if let Some(range) = range_of(&op) {
            let name = pass_on(model.main_mut(), id);
            taken.ranges.entry(name).or_insert(range);
        }
    }
    for (id, op) in weights {
        let rounded = Origin::of(model, id, &op).and_then(|origin| Rounded::of(model, origin, &op));
        if let Some(rounded) = rounded {
            taken.round(model.main_mut(), id, &op, rounded);
        }
    }
    drop_simulation(model);
    litesmith_graph::infer_model(model)?;
    Ok(taken)
}

fn simulated(graph: &Graph) -> impl Iterator<Item = (NodeId, FakeQuant)> + '_ {
    graph.node_ids().filter_map(|id| match &graph[id].op {
        Op::FakeQuant(op) => Some((id, op.clone())),
        _ => None,
    })
}

/// Lets all read what a node reads instead of what it computes, which takes the name of the layer that both are
/// part of. Gives the name that it has then.
fn pass_on(graph: &mut Graph, id: NodeId) -> String {
    let output = graph[id].outputs[0];
    let Some(input) = graph[id].inputs.first().copied().flatten() else { return String::new() };
    if graph[input].kind == TensorKind::Activation {
        let inside = graph[input].name.starts_with(&format!("{}/", graph[output].name));
        if !graph.is_output(input) && (inside || graph.is_output(output)) {
            graph[input].name = graph[output].name.clone();
        }
        graph.replace_uses(output, input);
    } else if graph.is_output(output) {
        graph[id].op = litesmith_graph::ops::Identity::default().into();
    } else {
        graph.replace_uses(output, input);
    }
    graph[input].name.clone()
}

/// The range that the integers of an activation stand for. With 8 bits it is theirs to the last.
fn range_of(op: &FakeQuant) -> Option<Range> {
    let (scale, zero_point) = op.quantization.single()?;
    let half = 1i32 << (op.bits.clamp(2, 16) - 1);
    let lowest = if op.narrow_range && op.bits != 8 { 1 - half } else { -half };
    let real = |integer: i32| scale * (i64::from(integer) - i64::from(zero_point)) as f32;
    Some(Range { min: real(lowest), max: real(half - 1) })
}

/// Where the fixed numbers come from that a node rounds, perhaps in another order.
struct Origin {
    /// The tensor that holds them.
    id: TensorId,
    /// The node that reads it first.
    reader: NodeId,
}

impl Origin {
    fn of(model: &Model, id: NodeId, op: &FakeQuant) -> Option<Origin> {
        let graph = model.main();
        let (mut reader, mut tensor) = (id, graph[id].inputs.first().copied().flatten()?);
        // A single range does not care for the order.
        while !graph[tensor].is_fixed() {
            reader = graph.node_ids().find(|node| graph[*node].outputs.contains(&tensor))?;
            if op.quantization.axis.is_some() || !is_layout(&graph[reader].op) {
                return None;
            }
            tensor = graph[reader].inputs.first().copied().flatten()?;
        }
        (graph[tensor].dtype == DType::F32).then_some(Origin { id: tensor, reader })
    }
}

/// Fixed numbers as they are rounded.
struct Rounded {
    origin: Origin,
    /// The integers that they are rounded to, counted from that of zero.
    integers: Vec<f32>,
    /// The numbers that these stand for.
    values: Vec<f32>,
}

impl Rounded {
    fn of(model: &Model, origin: Origin, op: &FakeQuant) -> Option<Rounded> {
        let tensor = &model.main()[origin.id];
        let values = model.data(tensor)?.floats(tensor.dtype)?;
        let (scales, zero_points) = (&op.quantization.scales, &op.quantization.zero_points);
        let inner = match op.quantization.axis {
            Some(axis) => {
                let shape = tensor.shape.to_fixed()?;
                (shape.get(axis) == Some(&scales.len())).then(|| shape[axis + 1..].iter().product())?
            }
            None => values.len(),
        };
        if scales.is_empty() || zero_points.len() != scales.len() {
            return None;
        }
        let channel = |index: usize| index / inner.max(1) % scales.len();
        let half = (1i32 << (op.bits.clamp(2, 16) - 1)) as f32;
        let lowest = if op.narrow_range { 1.0 - half } else { -half };
        let steps = |(index, value): (usize, &f32)| {
            let zero = zero_points[channel(index)] as f32;
            (value * (1.0 / scales[channel(index)])).round().clamp(lowest - zero, half - 1.0 - zero)
        };
        let integers: Vec<f32> = values.iter().enumerate().map(steps).collect();
        let values =
            integers.iter().enumerate().map(|(index, steps)| steps * scales[channel(index)]).collect();
        Some(Rounded { origin, integers, values })
    }
}

/// Most operators that may become part of a layer: bias, batch normalization, an activation.
const MOST_PARTS: usize = 4;

/// The names of a layer's result, and of what is computed from it alone and may become part of the layer.
fn results(graph: &Graph, result: TensorId) -> Vec<String> {
    let mut names = vec![graph[result].name.clone()];
    let mut last = result;
    while names.len() <= MOST_PARTS {
        let mut readers = graph.nodes.iter().filter(|node| node.present_inputs().any(|input| input == last));
        let (Some(node), None) = (readers.next(), readers.next()) else { break };
        let alone = node.present_inputs().all(|input| input == last || graph[input].is_fixed());
        if !alone || !matches!(node.op, Op::Binary(_) | Op::BatchNorm(_) | Op::Unary(_)) {
            break;
        }
        last = node.outputs[0];
        names.push(graph[last].name.clone());
    }
    names
}

/// Whether an operator only brings numbers into another order or shape.
fn is_layout(op: &Op) -> bool {
    matches!(op, Op::Transpose(_) | Op::Reshape(_) | Op::ExpandDims(_) | Op::Squeeze(_) | Op::Identity(_))
}

impl Simulated {
    /// Rounds weights in place of a node, and notes how they fill their ranges where a layer reads them.
    fn round(&mut self, graph: &mut Graph, id: NodeId, op: &FakeQuant, weights: Rounded) {
        let Rounded { origin, integers, values } = weights;
        let old = &graph[origin.id];
        let tensor = Tensor::constant(&old.name, DType::F32, old.shape.clone(), Data::from_vec(values));
        let rounded = graph.add_tensor(tensor);
        if let Some(input) = graph[origin.reader].inputs.first_mut() {
            *input = Some(rounded);
        }
        let output = graph[id].outputs[0];
        if origin.reader == id {
            graph.replace_uses(output, rounded);
        } else {
            pass_on(graph, id);
        }
        let symmetric = op.quantization.zero_points.iter().all(|zero| *zero == 0) && op.narrow_range;
        if symmetric && op.bits <= 8 {
            let one_scale = op.quantization.axis.is_none();
            self.note_levels(graph, rounded, integers, one_scale);
        }
    }

    /// Follows integers through layouts to the layers whose weights they are.
    fn note_levels(&mut self, graph: &Graph, tensor: TensorId, integers: Vec<f32>, one_scale: bool) {
        let mut found = vec![(tensor, Rc::new(integers))];
        while let Some((tensor, integers)) = found.pop() {
            let Some(shape) = graph[tensor].shape.to_fixed() else { continue };
            for node in &graph.nodes {
                let reads = |place: usize| node.inputs.get(place).copied().flatten() == Some(tensor);
                if let Some(rule) = node.op.quantization().weights.filter(|rule| reads(rule.input)) {
                    if rule.axis < shape.len() {
                        let levels = Levels::of(&integers, &shape, rule.axis, one_scale);
                        let names = results(graph, node.outputs[0]).into_iter();
                        self.levels.extend(names.map(|name| (name, levels.clone())));
                    }
                } else if let Op::Transpose(op) = &node.op {
                    if reads(0) && op.permutation.len() == shape.len() {
                        let mut moved = vec![0f32; integers.len()];
                        let pool = ThreadPool::new(1);
                        movement::transpose(&pool, &shape, &op.permutation, &integers, &mut moved);
                        found.push((node.outputs[0], Rc::new(moved)));
                    }
                } else if is_layout(&node.op) && reads(0) {
                    found.push((node.outputs[0], Rc::clone(&integers)));
                }
            }
        }
    }

    /// The ranges as statistics of a legalized, lowered form of the model. What was not rounded takes its
    /// range from its neighbours where an operator only passes numbers on; else it has none, and what reads
    /// or computes it stays float.
    #[must_use]
    pub fn statistics(&self, model: &Model) -> Statistics {
        let graph = model.main();
        let known = |id: TensorId| {
            let name = graph[id].name.as_str();
            self.ranges.get(name).or_else(|| self.ranges.get(unfused_name(name))).copied()
        };
        let mut ranges: Vec<Option<Range>> =
            graph.tensor_ids().map(|id| known(id).filter(|_| is_observed(graph, id))).collect();
        let mut trained = Trained { apart: Default::default(), levels: self.levels.clone() };
        let keys = keys(graph);
        let own = keys.iter().zip(&ranges).filter(|(_, range)| range.is_some());
        trained.apart.extend(own.map(|(key, _)| key.clone()));
        while spread(graph, &mut ranges) {}
        let all = keys.into_iter().zip(ranges).filter_map(|(key, range)| Some((key, range?)));
        Statistics { trained: Some(trained), ..Statistics::of_ranges(all) }
    }
}

/// Gives ranges to neighbours of tensors that have one. Whether any was given.
fn spread(graph: &Graph, ranges: &mut [Option<Range>]) -> bool {
    let mut spread = false;
    let mut give = |ranges: &mut [Option<Range>], id: TensorId, range: Option<Range>| {
        if ranges[id.index()].is_none() && range.is_some() && is_observed(graph, id) {
            ranges[id.index()] = range;
            spread = true;
        }
    };
    // Forth and back, so that long chains are done at once.
    for node in graph.nodes.iter().chain(graph.nodes.iter().rev()) {
        let rule = node.op.quantization();
        let operands: Vec<TensorId> =
            node.present_inputs().filter(|id| graph[*id].dtype == DType::F32).collect();
        let (Some(first), Some(output)) = (operands.first(), node.outputs.first()) else { continue };
        match rule.output {
            OutputRule::SameAsInput => {
                for output in &node.outputs {
                    give(ranges, *output, ranges[first.index()]);
                }
                give(ranges, *first, ranges[output.index()]);
            }
            OutputRule::Shared => {
                let all = operands.iter().map(|id| ranges[id.index()]).collect::<Option<Vec<Range>>>();
                give(ranges, *output, all.map(|all| all.into_iter().fold(Range::EMPTY, Range::union)));
                for operand in operands {
                    give(ranges, operand, ranges[output.index()]);
                }
            }
            OutputRule::Fixed { scale, zero_point, .. } => {
                let real = |integer: i32| scale * (integer - zero_point) as f32;
                give(ranges, *output, Some(Range { min: real(-128), max: real(127) }));
            }
            OutputRule::Untouched => {}
            OutputRule::Observed => {
                let bounds = match &node.op {
                    Op::Unary(op) => clamped(op.kind),
                    _ => None,
                };
                let inside = bounds.and_then(|[least, most]| {
                    let range = ranges[first.index()]?;
                    Some(Range { min: range.min.clamp(least, most), max: range.max.clamp(least, most) })
                });
                give(ranges, *output, inside);
            }
        }
    }
    spread
}

/// What a function that passes numbers on in between clamps to.
fn clamped(kind: UnaryKind) -> Option<[f32; 2]> {
    match kind {
        UnaryKind::Relu => Some([0.0, f32::INFINITY]),
        UnaryKind::Relu6 => Some([0.0, 6.0]),
        UnaryKind::ReluN1To1 => Some([-1.0, 1.0]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{Mode, Options};
    use crate::recipe::Recipe;
    use crate::repair::Repair;
    use litesmith_graph::{Quantization, text};
    use litesmith_passes::{Target, legalize, optimize};

    /// A convolution with rounded weights and batch normalization, as TFMOT wraps them; its weights reach
    /// 100 of 127 steps in one channel.
    const SOURCE: &str = r#"parameter @w: f32[1,1,1,2] trainable = [1.004,-1.27]
parameter @mean: f32[2] = splat(0)
parameter @variance: f32[2] = [4,0.25]
graph main(%x: f32[1,2,2,1]) -> (%q) {
  %i: f32[1,2,2,1] = FakeQuant(%x) {"quantization":{"scales":[0.01],"zero_points":[-128]}} # input
  %r: f32[1,1,1,2] = FakeQuant(@w) {"narrow_range":true,"quantization":{"scales":[0.01,0.01],"zero_points":[0,0],"axis":3}} # conv
  %t: f32[2,1,1,1] = Transpose(%r) {"permutation":[3,0,1,2]} # conv
  %c: f32[1,2,2,2] = Conv2D(%i, %t, _) # conv
  %n: f32[1,2,2,2] = BatchNorm(%c, _, _, @mean, @variance) {"epsilon":0.0} # norm
  %a: f32[1,2,2,2] = Unary(%n) # relu
  %q: f32[1,2,2,2] = FakeQuant(%a) {"quantization":{"scales":[0.02],"zero_points":[-128]}} # relu
}"#;

    fn quantized(source: &str) -> Model {
        let mut model = text::parse(source).unwrap();
        let taken = take_simulation(&mut model).unwrap();
        assert!(!is_simulated(&model));
        optimize(&mut model, &mut |_, _| {}).unwrap();
        legalize(&mut model, Target::Tflite).unwrap();
        crate::lower(&mut model, Mode::Int8, &Recipe::default()).unwrap();
        let statistics = taken.statistics(&model);
        let options = Options { repair: Repair::None, ..Options::new(Mode::Int8) };
        crate::quantize(&mut model, &options, &Recipe::default(), Some(&statistics), None).unwrap();
        model
    }

    fn parameters(model: &Model, name: &str) -> Quantization {
        let found = model.main().tensors.iter().find(|tensor| tensor.name == name);
        let all = || model.main().tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
        found.unwrap_or_else(|| panic!("{name}: {:?}", all())).quantization.clone().unwrap()
    }

    #[test]
    fn integers_are_those_that_were_simulated() {
        let model = quantized(SOURCE);
        let conv = model.main().nodes.iter().find(|node| matches!(node.op, Op::Conv2D(_))).unwrap();
        let weights = &model.main()[conv.inputs[1].unwrap()];
        // The scale is that of the range, although no weight fills it, times what the statistics scale by.
        let scales = &weights.quantization.as_ref().unwrap().scales;
        assert!((scales[0] - 0.005).abs() < 1e-8 && (scales[1] - 0.02).abs() < 1e-8, "{scales:?}");
        let TensorKind::Constant(data) = &weights.kind else { panic!("weights are constant") };
        assert_eq!(data.elements::<i8>()[..], [100, -127]);
        let (scale, zero_point) =
            model.main()[conv.outputs[0]].quantization.as_ref().unwrap().single().unwrap();
        assert!((scale - 0.02).abs() < 1e-8 && zero_point == -128);
        let (scale, _) = parameters(&model, "x/int8").single().unwrap();
        assert!((scale - 0.01).abs() < 1e-8);
    }

    #[test]
    fn one_range_for_all_weights_gives_one_scale() {
        let source = r#"parameter @w: f32[1,2] trainable = [0.5,-1.27]
graph main(%x: f32[1,1]) -> (%q) {
  %i: f32[1,1] = FakeQuant(%x) {"quantization":{"scales":[0.01],"zero_points":[-128]}} # input
  %r: f32[1,2] = FakeQuant(@w) {"narrow_range":true,"quantization":{"scales":[0.01],"zero_points":[0]}} # dense
  %t: f32[2,1] = Transpose(%r) {"permutation":[1,0]} # dense
  %c: f32[1,2] = FullyConnected(%i, %t, _) # dense
  %q: f32[1,2] = FakeQuant(%c) {"quantization":{"scales":[0.02],"zero_points":[-128]}} # dense
}"#;
        let model = quantized(source);
        let node = model.main().nodes.iter().find(|node| matches!(node.op, Op::FullyConnected(_))).unwrap();
        let quantization = model.main()[node.inputs[1].unwrap()].quantization.clone().unwrap();
        assert_eq!((quantization.scales.len(), quantization.axis), (1, None));
    }

    #[test]
    fn a_pooling_with_a_range_of_its_own_is_brought_to_it() {
        let source = r#"graph main(%x: f32[1,2,2,1]) -> (%q) {
  %i: f32[1,2,2,1] = FakeQuant(%x) {"quantization":{"scales":[0.02],"zero_points":[-128]}} # input
  %p: f32[1,1,1,1] = Pool2D(%i) {"kind":"average","kernel":[2,2],"stride":[2,2]} # pool
  %q: f32[1,1,1,1] = FakeQuant(%p) {"quantization":{"scales":[0.01],"zero_points":[-128]}} # pool
}"#;
        let model = quantized(source);
        let operators: Vec<&str> = model.main().nodes.iter().map(|node| node.op.builtin_name()).collect();
        assert_eq!(operators, ["QUANTIZE", "AVERAGE_POOL_2D", "QUANTIZE", "DEQUANTIZE"]);
    }

    #[test]
    fn what_has_no_range_stays_float() {
        let source = r#"graph main(%x: f32[1,2]) -> (%q) {
  %i: f32[1,2] = FakeQuant(%x) {"quantization":{"scales":[0.02],"zero_points":[-128]}} # input
  %a: f32[1,2] = Unary(%i) {"kind":"tanh"} # tanh
  %b: f32[1,2] = Binary(%a, %i) {"kind":"mul"} # product
  %c: f32[1,2] = Binary(%b, %i) # sum
  %q: f32[1,2] = FakeQuant(%c) {"quantization":{"scales":[0.01],"zero_points":[-128]}} # sum
}"#;
        let mut model = text::parse(source).unwrap();
        let taken = take_simulation(&mut model).unwrap();
        legalize(&mut model, Target::Tflite).unwrap();
        let statistics = taken.statistics(&model);
        let options = Options::new(Mode::Int8);
        let report =
            crate::quantize(&mut model, &options, &Recipe::default(), Some(&statistics), None).unwrap();
        let float: Vec<&str> = report.float().map(|outcome| outcome.layer.as_str()).collect();
        assert_eq!(float, ["product", "sum"]);
    }

    #[test]
    fn without_simulation_weights_are_as_they_were() {
        let mut model = text::parse(SOURCE).unwrap();
        drop_simulation(&mut model);
        assert!(!is_simulated(&model));
        assert_eq!(litesmith_graph::validate(&model), Ok(()));
        assert_eq!(model.main().nodes.len(), 4);
        assert_eq!(model.main()[model.main().outputs[0]].name, "q");
    }
}
