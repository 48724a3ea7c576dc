//! Biases corrected in sequence: the integer model runs operator by operator on some calibration
//! samples, and each layer's biases are moved to where its outputs are nearest to those of the real
//! model, before the layers behind it run on what it gives then. So each layer also makes up for what
//! the ones before it left: rounded activations, saturation, sums that are not zero after a ReLU.

use std::collections::HashMap;

use litesmith_graph::{DType, Data, Graph, Model, NodeId, Op, Tensor, TensorId, TensorKind};
use litesmith_runtime::{Array, Interpreter, Options, RuntimeError};

use super::judge::fed;
use super::moments::Moments;
use super::places::Places;

/// Outputs of a channel that are compared, over all samples.
const PLACES: usize = 4096;

/// How often a bias is moved: what saturates changes with it.
const ROUNDS: usize = 3;

/// Fewer outputs between the ends of the range say too little.
const LEAST_ACTIVE: usize = 16;

/// Corrects the biases of `quantized`, made of `float`, on the samples that `moments` kept. `asked` says
/// which nodes of `float`. Returns of how many nodes biases changed.
///
/// # Errors
/// If the float model does not run.
pub(crate) fn correct_in_sequence(
    float: &Model,
    quantized: &mut Model,
    asked: &[bool],
    moments: &Moments,
) -> Result<usize, RuntimeError> {
    let pairs = pairs(float.main(), quantized.main(), asked);
    let targets = targets(float, &pairs, moments)?;
    let mut walk =
        Walk { targets: &targets, options: moments.options(), alive: HashMap::new(), corrected: 0 };
    for (place, id) in quantized.main().inputs.clone().into_iter().enumerate() {
        let tensor = &quantized.main()[id];
        let arrays = moments.samples().iter().filter_map(|sample| Some(fed(tensor, sample.get(place)?)));
        walk.alive.insert(id, arrays.collect());
    }
    let last = last_readers(quantized.main());
    for node in quantized.main().node_ids() {
        // What cannot run by itself (a state, say) ends the walk: layers behind it stay as they are.
        if walk.step(quantized, node).is_err() {
            break;
        }
        walk.alive.retain(|id, _| last.get(id).is_some_and(|last| *last > node));
    }
    Ok(walk.corrected)
}

/// For each integer product, the tensor of the float model that its output stands for.
fn pairs(float: &Graph, quantized: &Graph, asked: &[bool]) -> HashMap<NodeId, TensorId> {
    let is_product = |op: &Op| matches!(op, Op::Conv2D(_) | Op::DepthwiseConv2D(_) | Op::FullyConnected(_));
    let products =
        |graph: &Graph| -> Vec<NodeId> { graph.node_ids().filter(|id| is_product(&graph[*id].op)).collect() };
    let (theirs, ours) = (products(float), products(quantized));
    if theirs.len() != ours.len() {
        return HashMap::new();
    }
    let together = theirs.into_iter().zip(ours);
    let is_integer = |id: NodeId| quantized[quantized[id].outputs[0]].dtype == DType::I8;
    together
        .filter(|(float_id, id)| asked[float_id.index()] && is_integer(*id))
        .map(|(float_id, id)| (id, float[float_id].outputs[0]))
        .collect()
}

/// For each integer product, what its output should be at some places of each sample.
fn targets(
    float: &Model,
    pairs: &HashMap<NodeId, TensorId>,
    moments: &Moments,
) -> Result<HashMap<NodeId, Vec<Vec<f32>>>, RuntimeError> {
    let mut readers: HashMap<TensorId, NodeId> =
        pairs.iter().map(|(node, tensor)| (*tensor, *node)).collect();
    readers.retain(|tensor, _| !float.main()[*tensor].shape.dims().is_empty());
    let mut targets: HashMap<NodeId, Vec<Vec<f32>>> = HashMap::new();
    let mut interpreter = Interpreter::new(float, &moments.options())?;
    let samples = moments.samples();
    for (number, sample) in samples.iter().enumerate() {
        interpreter.observe(sample, &mut |id, view| {
            let Some(node) = readers.get(&id) else { return };
            let values = sampled(&view.floats(), view.shape, number, samples.len());
            targets.entry(*node).or_default().push(values);
        })?;
    }
    Ok(targets)
}

/// The elements of some pixels of an output.
fn sampled(elements: &[f32], shape: &[usize], sample: usize, samples: usize) -> Vec<f32> {
    let channels = shape.last().copied().unwrap_or(1).max(1);
    let places = Places::new(sample as u64, elements.len() / channels, PLACES.div_ceil(samples));
    places.flat_map(|place| elements[place * channels..][..channels].iter().copied()).collect()
}

/// The last node that reads each tensor.
fn last_readers(graph: &Graph) -> HashMap<TensorId, NodeId> {
    graph.node_ids().flat_map(|id| graph[id].present_inputs().map(move |input| (input, id))).collect()
}

struct Walk<'a> {
    targets: &'a HashMap<NodeId, Vec<Vec<f32>>>,
    options: Options,
    /// What each tensor that is read again holds, for each sample.
    alive: HashMap<TensorId, Vec<Array>>,
    corrected: usize,
}

impl Walk<'_> {
    /// Runs a node on all samples, and corrects its biases first if there is a target for it.
    fn step(&mut self, model: &mut Model, node: NodeId) -> Result<(), RuntimeError> {
        let mut outputs = self.run(model, node)?;
        if let Some(targets) = self.targets.get(&node) {
            let mut error = None;
            for _ in 0..ROUNDS {
                let Some(moved) = Moved::of(model.main(), node, &outputs[0], targets) else { break };
                let before = *error.get_or_insert(moved.error);
                let old = model.main()[moved.bias].clone();
                model.main_mut()[moved.bias] = moved.tensor;
                let changed = self.run(model, node)?;
                let after =
                    Moved::of(model.main(), node, &changed[0], targets).map_or(before, |moved| moved.error);
                if after >= before {
                    model.main_mut()[moved.bias] = old;
                    break;
                }
                (error, outputs) = (Some(after), changed);
            }
            self.corrected += usize::from(error.is_some());
        }
        for (id, arrays) in model.main()[node].outputs.clone().into_iter().zip(outputs) {
            self.alive.insert(id, arrays);
        }
        Ok(())
    }

    /// The outputs of a node, each for all samples.
    fn run(&self, model: &Model, node: NodeId) -> Result<Vec<Vec<Array>>, RuntimeError> {
        let (alone, inputs) = alone(model, node);
        let mut interpreter = Interpreter::new(&alone, &self.options)?;
        let samples = self.alive.values().next().map_or(0, Vec::len);
        let mut outputs = vec![Vec::with_capacity(samples); model.main()[node].outputs.len()];
        for sample in 0..samples {
            let given: Option<Vec<Array>> =
                inputs.iter().map(|id| self.alive.get(id)?.get(sample).cloned()).collect();
            let results = interpreter.run(&given.unwrap_or_default())?;
            outputs.iter_mut().zip(results).for_each(|(output, result)| output.push(result));
        }
        Ok(outputs)
    }
}

/// A model of one node, with the tensors that it needs as inputs.
fn alone(model: &Model, node: NodeId) -> (Model, Vec<TensorId>) {
    let old = model.main();
    let mut graph = Graph::new(&old.name);
    let mut given = Vec::new();
    let mut new_ids: HashMap<TensorId, TensorId> = HashMap::new();
    let mut add = |graph: &mut Graph, id: TensorId, is_input: bool| {
        *new_ids.entry(id).or_insert_with(|| {
            let tensor = old[id].clone();
            let kind = match is_input && !tensor.is_fixed() {
                true => {
                    given.push(id);
                    TensorKind::Input
                }
                false if is_input => tensor.kind.clone(),
                false => TensorKind::Activation,
            };
            graph.add_tensor(Tensor { kind, ..tensor })
        })
    };
    let inputs = old[node].inputs.iter().map(|input| input.map(|id| add(&mut graph, id, true))).collect();
    let outputs: Vec<TensorId> = old[node].outputs.iter().map(|id| add(&mut graph, *id, false)).collect();
    graph.outputs = outputs.clone();
    graph.add_node(&old[node].name, old[node].op.clone(), inputs, outputs);
    let mut graphs = vec![graph];
    graphs.extend(model.graphs.iter().skip(1).cloned());
    let parameters = model.parameters.clone();
    (Model { graphs, parameters, signatures: Vec::new(), ..Model::default() }, given)
}

/// The mean difference of a channel's outputs between the ends of their range, by sample.
#[derive(Clone, Copy, Default)]
struct Shift {
    active: usize,
    sum: f64,
    /// Sums over samples: of squared differences and of squared numbers of outputs.
    squares: f64,
    weights: f64,
    cross: f64,
}

impl Shift {
    /// Takes in the sum of the differences of a sample.
    fn add(&mut self, sum: f64, active: usize) {
        self.active += active;
        self.sum += sum;
        self.squares += sum * sum;
        self.weights += (active * active) as f64;
        self.cross += sum * active as f64;
    }

    /// The mean difference, less of it the more samples contradict each other: `m * m^2 / (m^2 + v)` for
    /// a mean `m` with variance `v` (of the ratio estimator, samples being independent).
    fn believed(self) -> f64 {
        if self.active < LEAST_ACTIVE {
            return 0.0;
        }
        let count = self.active as f64;
        let mean = self.sum / count;
        let variance =
            (self.squares - 2.0 * mean * self.cross + mean * mean * self.weights) / (count * count);
        let square = mean * mean;
        if square + variance > 0.0 { mean * square / (square + variance) } else { 0.0 }
    }
}

/// Where the biases of a node should be.
struct Moved {
    bias: TensorId,
    tensor: Tensor,
    /// Squared error of the outputs with the biases as they are.
    error: f64,
}

impl Moved {
    /// `None` where nothing is to be moved.
    fn of(graph: &Graph, node: NodeId, outputs: &[Array], targets: &[Vec<f32>]) -> Option<Moved> {
        let bias = graph[node].inputs.get(2).copied().flatten()?;
        let output = graph[node].outputs.first().copied()?;
        let (scale, zero_point) = graph[output].quantization.as_ref()?.single()?;
        let (TensorKind::Constant(data), Some(grid)) = (&graph[bias].kind, &graph[bias].quantization) else {
            return None;
        };
        let mut biases = (graph[bias].dtype == DType::I32).then(|| data.elements::<i32>().into_owned())?;
        let channels = biases.len();
        let bounds = bounds(&graph[node].op, scale);
        let ends = bounds.map(|bound| ((bound / scale).round() + zero_point as f32).clamp(-128.0, 127.0));
        let mut shifts = vec![Shift::default(); channels];
        let mut error = 0.0;
        for (number, (output, target)) in outputs.iter().zip(targets).enumerate() {
            let values = sampled(&output.floats(), &output.shape, number, outputs.len());
            if values.len() != target.len() || !values.len().is_multiple_of(channels) {
                return None;
            }
            let mut of_sample = vec![(0f64, 0usize); channels];
            for (index, (q, target)) in values.iter().zip(target).enumerate() {
                let difference = f64::from(target - (q - zero_point as f32) * scale);
                error += difference * difference;
                if *q > ends[0] && *q < ends[1] {
                    let (sum, active) = &mut of_sample[index % channels];
                    *sum += difference;
                    *active += 1;
                }
            }
            shifts.iter_mut().zip(of_sample).for_each(|(shift, (sum, active))| shift.add(sum, active));
        }
        let mut moved = false;
        for (channel, bias) in biases.iter_mut().enumerate() {
            let step = grid.scales.get(if grid.scales.len() == 1 { 0 } else { channel })?;
            let steps = (shifts[channel].believed() / f64::from(*step)).round();
            let to = (f64::from(*bias) + steps) as i32;
            moved |= to != *bias;
            *bias = to;
        }
        let tensor = Tensor { kind: TensorKind::Constant(Data::from_vec(biases)), ..graph[bias].clone() };
        moved.then_some(Moved { bias, tensor, error })
    }
}

/// Least and largest value that a node's activation lets through, as far as the grid of `scale` goes.
fn bounds(op: &Op, scale: f32) -> [f32; 2] {
    let activation = match op {
        Op::Conv2D(op) => op.activation,
        Op::DepthwiseConv2D(op) => op.activation,
        Op::FullyConnected(op) => op.activation,
        _ => Default::default(),
    };
    let (least, largest) = activation.bounds();
    [least.max(-512.0 * scale), largest.min(512.0 * scale)]
}
