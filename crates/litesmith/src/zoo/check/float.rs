//! The float model of a network: weights with which one that nobody has trained says something of quantization.

use std::path::Path;

use litesmith_data::{Array, Dataset, ElementType, InputSpec, Options};
use litesmith_formats::keras::{read_keras, write_keras};
use litesmith_graph::{Data, Model, Op, ParameterId, TensorId, TensorKind};
use litesmith_runtime::Options as RunOptions;
use litesmith_zoo::Entry;

use crate::convert::write::put;
use crate::error::Error;
use crate::feed::DataOptions;
use crate::observer::Observer;
use crate::seeded::Random;
use crate::zoo::build::{BuildOptions, network};
use crate::zoo::calibrate_batch_norm;

/// Scales of a normalization: small, since residual connections add up what it gives.
const SCALES: [f64; 2] = [0.4, 0.8];
/// Mean and deviation of a normalization's offsets, as a share of what it scales its numbers to on average.
const OFFSETS: [f64; 2] = [1.0 / 0.6, 0.5];
/// Deviation of biases.
const BIASES: f64 = 0.05;

/// Writes the float model: all its weights random, the statistics of its batch normalizations those of `images`. It
/// ends before its softmax, whose integers are too coarse for a thousand classes that are all about as likely.
pub(super) fn write(
    entry: &Entry,
    size: usize,
    images: &Array,
    run: &RunOptions,
    path: &Path,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let mut options = BuildOptions::default();
    (options.size, options.logits, options.run) = (Some(size), true, run.clone());
    let built = network(entry.name, &options, observer)?;
    let mut model = read_keras(built.file.clone())?;
    enliven(&mut model, options.seed);
    let data = DataOptions::from_arrays(vec![images.clone()], Vec::new());
    calibrate_batch_norm(&mut model, &data, run, observer)?;
    put(path, &write_keras(&built.file, &model, &[])?)
}

/// Images as a network takes them.
pub(super) fn preprocessed(images: &Array, network: &Entry) -> Result<Array, Error> {
    let sizes: Vec<Option<usize>> = images.shape().iter().skip(1).copied().map(Some).collect();
    let spec = InputSpec::new("image", &sizes, ElementType::F32);
    let mut options = Options::default();
    options.preprocess = network.preprocessing.name().parse()?;
    let all = Dataset::from_arrays(vec![images.clone()], Vec::new(), &[spec], &options)?;
    let taken = all.batch(0..all.len())?.pop();
    taken.ok_or_else(|| Error::Failed("no images could be made".into()))
}

/// Gives batch normalizations scales and offsets, and other layers biases, which the initializers of Keras leave at
/// ones and zeros.
///
/// Offsets above the scales keep most units active, as training does. With offsets around zero each layer amplifies the
/// errors of the one before: the deeper a network, the less its outputs say of how exactly it was computed.
fn enliven(model: &mut Model, seed: u64) {
    let graph = model.main();
    let parameter = |tensor: Option<TensorId>| match graph[tensor?].kind {
        TensorKind::Parameter(id) => Some(id),
        _ => None,
    };
    let mut drawn: Vec<(ParameterId, [f64; 2], Spread)> = Vec::new();
    for node in graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm(_))) {
        let [scale, offset] = [1, 2].map(|place| parameter(node.inputs.get(place).copied().flatten()));
        let typical = if scale.is_some() { (SCALES[0] + SCALES[1]) / 2.0 } else { 1.0 };
        drawn.extend(scale.map(|id| (id, SCALES, Spread::Even)));
        drawn.extend(offset.map(|id| (id, OFFSETS.map(|share| share * typical), Spread::Normal)));
    }
    let biases = model.parameters.iter().enumerate().filter(|(_, own)| own.origin.variable == "bias");
    drawn.extend(biases.map(|(place, _)| (ParameterId(place as u32), [0.0, BIASES], Spread::Normal)));
    for (id, numbers, spread) in drawn {
        let parameter = &mut model.parameters[id.0 as usize];
        let count = parameter.shape.iter().product();
        let mut random = Random::of(seed, &parameter.origin.path);
        parameter.data =
            Data::from_vec((0..count).map(|_| spread.draw(numbers, &mut random)).collect::<Vec<f32>>());
    }
}

#[derive(Clone, Copy)]
enum Spread {
    /// Between two numbers.
    Even,
    /// By mean and deviation.
    Normal,
}

impl Spread {
    fn draw(self, [first, second]: [f64; 2], random: &mut Random) -> f32 {
        (match self {
            Spread::Even => first + (second - first) * random.uniform(),
            Spread::Normal => first + second * random.normal()[0],
        }) as f32
    }
}
