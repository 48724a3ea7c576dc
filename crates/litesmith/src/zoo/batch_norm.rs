//! Moving statistics of batch normalization, measured on data.

use litesmith_graph::ops::{Activation, BatchNormTraining, Concat};
use litesmith_graph::{
    DType, Data, Dim, Graph, GraphId, Model, Node, Op, ParameterId, Shape, Tensor, TensorId, TensorKind,
    infer_shapes,
};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, RuntimeError};
use serde::Serialize;

use crate::error::Error;
use crate::feed::{DataOptions, Feed};
use crate::observer::{Observer, go_on};

/// Fewer samples than these are worth a note: where images have shrunk to single pixels they are all there is.
const FEW: usize = 8;
/// Most bytes that the inputs of one run take.
const MOST_INPUT: usize = 1 << 30;

/// What batch normalization was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Calibrated {
    /// How many layers got new statistics.
    pub layers: usize,
    /// How many samples went through them.
    pub samples: usize,
    /// In how many parts: 1 where memory took all samples at once.
    pub parts: usize,
}

/// Gives every batch normalization of a model the mean and the variance of what it receives for these data, as if all
/// of them were one batch: a forward pass as in training, in which each layer normalizes by the statistics of the
/// batch, and dropout does nothing. Weights made of random numbers become sane by it: each normalized layer gives
/// numbers of order one.
///
/// Where memory does not take all samples at once they go through the network in parts of equal size, each
/// normalized by its own statistics; what is kept is then the mean and variance over all parts.
///
/// # Errors
/// If the data do not fit the model, the model cannot be run, or memory does not suffice for one sample.
pub fn calibrate_batch_norm(
    model: &mut Model,
    data: &DataOptions,
    run: &RunOptions,
    observer: &dyn Observer,
) -> Result<Calibrated, Error> {
    let (measuring, norms) = measuring(model);
    if norms.is_empty() {
        return Ok(Calibrated { layers: 0, samples: 0, parts: 0 });
    }
    let mut interpreter = Interpreter::unplanned(&measuring, run)?;
    let feed = Feed::open(&measuring, interpreter.inputs(), data)?;
    let samples = feed.len();
    if samples < FEW {
        observer.note(&format!("{samples} samples are few for the statistics of batch normalization"));
    }
    let batch = fitting_batch(&mut interpreter, samples)?;
    let feed = feed.with_batch(batch);
    observer.stage("measure batch normalization", samples);
    let mut moments: Vec<Moments> = norms.iter().map(|_| Moments::default()).collect();
    for fed in feed.batches()? {
        go_on(observer)?;
        let fed = fed?;
        let shapes: Vec<Shape> = fed.arrays.iter().map(|array| Shape::fixed(&array.shape)).collect();
        if fed.arrays.iter().any(|array| array.shape.first() != Some(&fed.samples)) {
            let reason = "the model takes batches of a fixed size, which the samples do not fill";
            return Err(Error::Usage(format!("{}: {reason}", data.path.display())));
        }
        let facts = infer_shapes(&measuring, GraphId(0), Some(&shapes))?;
        let outputs = interpreter.run(&fed.arrays)?;
        for ((norm, moments), vector) in norms.iter().zip(&mut moments).zip(&outputs) {
            let elements = facts[norm.input.index()].shape.elements().unwrap_or(0);
            moments.add(elements, vector);
        }
        (0..fed.samples).for_each(|_| observer.step());
    }
    let layers = put(model, &norms, moments)?;
    Ok(Calibrated { layers, samples, parts: samples.div_ceil(batch) })
}

/// A batch normalization whose statistics can be changed.
struct Norm {
    input: TensorId,
    mean: ParameterId,
    variance: ParameterId,
}

/// The model with the batch's statistics in place of the moving ones; its outputs are, for each normalization in
/// order, means and then variances in one vector.
fn measuring(model: &Model) -> (Model, Vec<Norm>) {
    let mut measuring = model.clone();
    measuring.signatures.clear();
    let graph = measuring.main_mut();
    let mut norms = Vec::new();
    let mut statistics = Vec::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        let found = norm(graph, &node);
        let Some((norm, epsilon)) = found else {
            graph.nodes.push(node);
            continue;
        };
        let channels = model.parameter(norm.mean).map_or(0, |mean| mean.shape.iter().product());
        let [mean, variance, both] = [channels, channels, 2 * channels]
            .map(|size| graph.add_tensor(Tensor::activation(&node.name, DType::F32, Shape::fixed(&[size]))));
        node.inputs.truncate(3);
        node.outputs.extend([mean, variance]);
        node.op = BatchNormTraining { epsilon, activation: Activation::None }.into();
        let name = node.name.clone();
        graph.nodes.push(node);
        // The vectors lie in one block of memory with the normalized tensor, which would have to stay for them.
        let join = Concat { axis: 0, activation: Activation::None };
        graph.add_node(&name, join, vec![Some(mean), Some(variance)], vec![both]);
        statistics.push(both);
        norms.push(norm);
    }
    graph.outputs = statistics;
    // What is dead goes, and tensors get other numbers.
    graph.remove_dead();
    let nodes = graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNormTraining(_)));
    for (norm, node) in norms.iter_mut().zip(nodes) {
        norm.input = node.present_inputs().next().unwrap_or(norm.input);
    }
    (measuring, norms)
}

/// A node whose statistics can be changed, and its epsilon.
fn norm(graph: &Graph, node: &Node) -> Option<(Norm, f32)> {
    let Op::BatchNorm(op) = &node.op else { return None };
    let parameter = |place: usize| match graph[node.inputs.get(place).copied().flatten()?].kind {
        TensorKind::Parameter(id) => Some(id),
        _ => None,
    };
    let input = node.inputs.first().copied().flatten()?;
    Some((Norm { input, mean: parameter(3)?, variance: parameter(4)? }, op.epsilon))
}

/// How many of so many samples go through a model at once: parts of about equal size, as few as memory takes.
fn fitting_batch(interpreter: &mut Interpreter, samples: usize) -> Result<usize, Error> {
    let inputs: Vec<Shape> = interpreter.inputs().iter().map(|input| input.shape.clone()).collect();
    let shapes = |batch: usize| -> Vec<Vec<usize>> {
        let size = |dim: &Dim| dim.fixed().unwrap_or(batch);
        inputs.iter().map(|shape| shape.dims().iter().map(size).collect()).collect()
    };
    let bytes: usize = shapes(1).iter().map(|shape| shape.iter().product::<usize>() * 4).sum();
    let mut parts = samples.div_ceil((MOST_INPUT / bytes.max(1)).max(1)).max(1);
    loop {
        let batch = samples.div_ceil(parts).max(1);
        match interpreter.prepare(shapes(batch)) {
            Err(RuntimeError::Resource { .. }) if batch > 1 => parts *= 2,
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(batch),
        }
    }
}

/// Mean and variance of numbers that come in parts, channel by channel.
#[derive(Default)]
struct Moments {
    count: f64,
    mean: Vec<f64>,
    /// Sum of squared distances from the mean.
    squares: Vec<f64>,
}

impl Moments {
    /// Joins a part of so many elements, given by its means and variances behind each other (Chan, Golub and LeVeque
    /// 1979).
    fn add(&mut self, elements: usize, vector: &Array) {
        let numbers = vector.floats();
        let (means, variances) = numbers.split_at(numbers.len() / 2);
        let count = (elements / means.len().max(1)) as f64;
        let mean = means.iter().map(|mean| f64::from(*mean)).collect();
        let squares = variances.iter().map(|variance| f64::from(*variance) * count).collect();
        self.join(&Moments { count, mean, squares });
    }

    fn join(&mut self, other: &Moments) {
        if self.mean.is_empty() {
            self.mean = vec![0.0; other.mean.len()];
            self.squares = vec![0.0; other.squares.len()];
        }
        let all = self.count + other.count;
        let others = other.mean.iter().zip(&other.squares);
        for ((mean, squares), (own, more)) in self.mean.iter_mut().zip(&mut self.squares).zip(others) {
            let distance = own - *mean;
            *mean += distance * other.count / all;
            *squares += more + distance * distance * self.count * other.count / all;
        }
        self.count = all;
    }
}

/// Writes the statistics into the parameters; gives the number of layers.
fn put(model: &mut Model, norms: &[Norm], moments: Vec<Moments>) -> Result<usize, Error> {
    let mut layers: Vec<(&Norm, Moments)> = Vec::new();
    for (norm, moments) in norms.iter().zip(moments) {
        match layers.iter_mut().find(|(known, _)| known.mean == norm.mean) {
            Some((_, known)) => known.join(&moments),
            None => layers.push((norm, moments)),
        }
    }
    for (norm, moments) in &layers {
        let variance = moments.squares.iter().map(|squares| squares / moments.count);
        set(model, norm.mean, moments.mean.iter().map(|mean| *mean as f32).collect())?;
        set(model, norm.variance, variance.map(|variance| variance as f32).collect())?;
    }
    Ok(layers.len())
}

fn set(model: &mut Model, id: ParameterId, numbers: Vec<f32>) -> Result<(), Error> {
    let Some(parameter) = model.parameters.get_mut(id.0 as usize) else { return Ok(()) };
    let elements: usize = parameter.shape.iter().product();
    if parameter.dtype != DType::F32 || elements != numbers.len() || numbers.iter().any(|x| !x.is_finite()) {
        let layer = &parameter.origin.layer;
        let reason = "what it receives has no finite mean and variance for each of its channels";
        return Err(Error::Broken(format!("layer '{layer}': {reason}")));
    }
    parameter.data = Data::from_vec(numbers);
    Ok(())
}
