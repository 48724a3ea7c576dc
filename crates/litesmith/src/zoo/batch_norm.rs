//! Moving statistics of batch normalization, measured on data.

use litesmith_graph::ops::{Activation, BatchNormTraining};
use litesmith_graph::{
    DType, Data, GraphId, Model, NodeId, Op, ParameterId, Shape, Tensor, TensorId, TensorKind, infer_shapes,
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
    let parts = fitting_parts(&mut interpreter, samples)?;
    let feed = feed.with_batch(samples.div_ceil(parts));
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
        for ((norm, moments), pair) in norms.iter().zip(&mut moments).zip(outputs.chunks_exact(2)) {
            let elements = facts[norm.input.index()].shape.elements().unwrap_or(0);
            moments.add(elements, pair);
        }
        (0..fed.samples).for_each(|_| observer.step());
    }
    let layers = put(model, &norms, moments)?;
    Ok(Calibrated { layers, samples, parts })
}

/// A batch normalization whose statistics can be changed.
struct Norm {
    input: TensorId,
    mean: ParameterId,
    variance: ParameterId,
}

/// The model with the batch's statistics in place of the moving ones; its outputs are mean and variance of each
/// normalization, in order.
fn measuring(model: &Model) -> (Model, Vec<Norm>) {
    let mut measuring = model.clone();
    measuring.signatures.clear();
    let graph = measuring.main_mut();
    let mut norms = Vec::new();
    let mut statistics = Vec::new();
    let ids: Vec<NodeId> = graph.node_ids().collect();
    for id in ids {
        let node = &graph[id];
        let Op::BatchNorm(op) = &node.op else { continue };
        let epsilon = op.epsilon;
        let parameter = |place: usize| {
            let tensor = node.inputs.get(place).copied().flatten()?;
            match graph[tensor].kind {
                TensorKind::Parameter(id) => Some((id, graph[tensor].clone())),
                _ => None,
            }
        };
        let (Some(input), Some((mean, tensor)), Some((variance, _))) =
            (node.inputs[0], parameter(3), parameter(4))
        else {
            continue;
        };
        let outputs = [(); 2].map(|()| {
            let own = Tensor::activation(&tensor.name, tensor.dtype, tensor.shape.clone());
            graph.add_tensor(own)
        });
        let node = &mut graph[id];
        node.inputs.truncate(3);
        node.outputs.extend(outputs);
        node.op = BatchNormTraining { epsilon, activation: Activation::None }.into();
        statistics.extend(outputs);
        norms.push(Norm { input, mean, variance });
    }
    graph.outputs = statistics;
    graph.remove_dead();
    (measuring, norms)
}

/// In how many parts so many samples go through a model: as few as memory takes.
fn fitting_parts(interpreter: &mut Interpreter, samples: usize) -> Result<usize, Error> {
    let shapes = |batch: usize| -> Vec<Vec<usize>> {
        let size = |dim: &litesmith_graph::Dim| dim.fixed().unwrap_or(batch);
        interpreter.inputs().iter().map(|input| input.shape.dims().iter().map(size).collect()).collect()
    };
    let bytes: usize = shapes(1).iter().map(|shape| shape.iter().product::<usize>() * 4).sum();
    let mut parts = samples.div_ceil((MOST_INPUT / bytes.max(1)).max(1)).max(1);
    loop {
        let batch = samples.div_ceil(parts);
        let shapes = shapes(batch);
        match interpreter.prepare(shapes) {
            Err(RuntimeError::Resource { .. }) if batch > 1 => parts = (parts * 2).min(samples),
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(parts),
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
    /// Joins a part of so many elements, given by its mean and variance (Chan, Golub, LeVeque 1979).
    fn add(&mut self, elements: usize, pair: &[Array]) {
        let [mean, variance] = pair else { return };
        let channels = mean.shape.iter().product::<usize>().max(1);
        let count = (elements / channels) as f64;
        if self.mean.is_empty() {
            self.mean = vec![0.0; channels];
            self.squares = vec![0.0; channels];
        }
        let all = self.count + count;
        let own = mean.floats();
        let variance = variance.floats();
        let part = own.iter().zip(variance.iter());
        for ((mean, squares), (own, variance)) in self.mean.iter_mut().zip(&mut self.squares).zip(part) {
            let distance = f64::from(*own) - *mean;
            *mean += distance * count / all;
            *squares += f64::from(*variance) * count + distance * distance * self.count * count / all;
        }
        self.count = all;
    }

    /// Joins what another call of the same layer received.
    fn join(&mut self, other: &Moments) {
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
