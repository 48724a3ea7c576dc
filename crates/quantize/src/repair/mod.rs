//! Accuracy repair: integer weights that give the sums which the real weights give.
//!
//! Inputs of products are mostly positive and vary together, so that rounding each weight to the nearest
//! integer shifts whole channels: an error in the sum of a kernel's weights times the mean input. What is
//! done about it, for CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED, each layer by itself:
//!
//! 1. channels that a depthwise convolution reads are [equalized](equalize);
//! 2. weights are [rounded](rounding) so that the product's error has the least variance, where the
//!    covariance of the taps is known ([`Moments`]), or so that its mean is kept, where only means are;
//! 3. the mean error that is left goes into the bias: `b - sum (q * scale - w) * mean(x)`.
//!
//! With [`Repair::Auto`], biases are corrected once more on the integer model, in [sequence]. Whatever was
//! done is kept only if it brings the model's outputs [nearer](judge) to those of the real one: where
//! activations make most of the error, weights may be off in a way that happens to help.

mod channels;
mod covariance;
mod equalize;
mod inputs;
mod judge;
mod moments;
mod places;
mod product;
mod rounding;
mod sequence;

use std::borrow::Cow;
use std::collections::HashMap;

use litesmith_graph::{Graph, NodeId, TensorId};
use litesmith_kernels::ThreadPool;
use litesmith_kernels::float::{MatMul, matmul};
use serde::{Deserialize, Serialize};

pub(crate) use channels::Channels;
pub(crate) use judge::nearness;
pub use moments::Moments;
pub(crate) use product::Product;
pub(crate) use sequence::correct_in_sequence;

use crate::ranges::keys;
use crate::statistics::{Range, Statistics};
use crate::weights::{LARGEST_BIAS, Weights};
use rounding::{Metric, keep_sum, nearest};

/// What is done against the error of quantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// Nothing: each weight becomes the nearest integer, as in TensorFlow's converter.
    None,
    /// What is cheap.
    #[default]
    Default,
    /// All there is: also what takes longer, or leaves a last softmax float whose result is wanted so.
    Auto,
}

/// Most taps of rows whose scale is searched for.
const MOST_TAPS_SEARCHED: usize = 32;

/// Factors of the scale that are tried. Another grid can fit few weights much better.
const SEARCHED_FACTORS: [f32; 33] = {
    let mut factors = [1.0; 33];
    let mut index = 1;
    while index < factors.len() {
        factors[index] = 0.75 + index as f32 / 80.0;
        index += 1;
    }
    factors
};

/// Weights and bias of a product after its repair.
pub(crate) struct Repaired {
    pub(crate) weights: Weights,
    pub(crate) bias: Vec<f32>,
}

/// What calibration knows of the inputs of products.
pub(crate) struct Knowledge<'a> {
    channels: HashMap<TensorId, Channels>,
    /// Mean of each channel.
    means: HashMap<TensorId, Vec<f64>>,
    moments: Option<&'a Moments>,
}

impl<'a> Knowledge<'a> {
    pub(crate) fn new(
        graph: &Graph,
        statistics: Option<&Statistics>,
        moments: Option<&'a Moments>,
    ) -> Knowledge<'a> {
        let known = |(id, key): (TensorId, String)| Some((id, statistics?.channels(&key)?.clone()));
        let channels: HashMap<TensorId, Channels> =
            graph.tensor_ids().zip(keys(graph)).filter_map(known).collect();
        let means = channels.iter().map(|(id, channels)| (*id, channels.means())).collect();
        Knowledge { channels, means, moments }
    }

    /// Equalizes the channels that depthwise convolutions read where `may_change` allows it, for their
    /// tensors and nodes, and sets `ranges` to what tensors hold then.
    pub(crate) fn equalize(
        &mut self,
        graph: &mut Graph,
        ranges: &mut [Option<Range>],
        may_change: &dyn Fn(TensorId, NodeId) -> bool,
    ) {
        let readers: Vec<Product> = Product::all(graph).collect();
        for reader in readers {
            let Some(channels) = self.channels.get(&reader.input) else { continue };
            let allowed = |node: NodeId| may_change(reader.input, node);
            let Some(equalized) = equalize::equalize(graph, &reader, channels, &allowed) else { continue };
            ranges[equalized.tensor.index()] = Some(equalized.range);
            if let Some(means) = self.means.get_mut(&equalized.tensor) {
                let factors = equalized.factors.iter().map(|factor| f64::from(*factor));
                means.iter_mut().zip(factors).for_each(|(mean, factor)| *mean *= factor);
            }
        }
    }

    /// Sets the ranges of these inputs to those that lose least.
    pub(crate) fn fit_inputs(&self, inputs: &[TensorId], ranges: &mut [Option<Range>]) {
        let Some(moments) = self.moments else { return };
        for input in inputs {
            let range = &mut ranges[input.index()];
            *range = range.map(|range| inputs::fit(range, moments.input(*input)));
        }
    }

    /// The repaired weights of a product that were `plain`, with `input_scale` where its input becomes
    /// integers for good; `None` where nothing is known of its input.
    pub(crate) fn repair(
        &self,
        graph: &Graph,
        product: &Product,
        plain: &Weights,
        input_scale: Option<f32>,
    ) -> Option<Repaired> {
        let means = self.means.get(&product.input).filter(|means| means.len() == product.channels)?;
        let weights = product.weights(graph);
        let mut bias = product.bias(graph).into_owned();
        let scale = |row: usize| plain.scales[if plain.scales.len() == 1 { 0 } else { row }];
        // Another scale must leave room for the bias.
        let may_search = |row: usize| {
            let smallest = input_scale.unwrap_or(1.0) * scale(row) * SEARCHED_FACTORS[1];
            plain.scales.len() == product.rows && bias[row].abs() < LARGEST_BIAS / 2.0 * smallest
        };
        let row =
            |row| Row { weights: product.row(&weights, row), scale: scale(row), may_search: may_search(row) };
        let rows: Vec<Row<'_>> = (0..product.rows).map(row).collect();
        let means = TapMeans::new(product, graph, means);
        let metrics = self.moments.map(|moments| (moments, moments.metrics(product)));
        let rounded = match metrics.filter(|(_, metrics)| !metrics.is_empty()) {
            None => {
                let round = |(number, row): (usize, &Row<'_>)| Rounded {
                    scale: row.scale,
                    values: keep_sum(&row.targets(row.scale), &means.of(number)),
                };
                rows.iter().enumerate().map(round).collect()
            }
            Some((moments, metrics)) if product.taps <= MOST_TAPS_SEARCHED || !product.is_dense() => {
                let metric = |row: usize| match product.multiplier {
                    Some(multiplier) => &metrics[row / multiplier],
                    None => &metrics[0],
                };
                search(&rows, &metric, &moments.pool)
            }
            Some((moments, metrics)) => descend(&rows, &metrics[0], moments),
        };
        let mut values = vec![0i8; weights.len()];
        let mut scales = plain.scales.clone();
        for (number, Rounded { scale, values: integers }) in rounded.into_iter().enumerate() {
            if scales.len() == product.rows {
                scales[number] = scale;
            }
            let error =
                |(integer, weight): (&f32, &f32)| f64::from(*integer) * f64::from(scale) - f64::from(*weight);
            let errors = integers.iter().zip(&*rows[number].weights).map(error);
            let shift: f64 = errors.zip(&*means.of(number)).map(|(error, mean)| error * mean).sum();
            bias[number] = (f64::from(bias[number]) - shift) as f32;
            let places = (0..product.taps).map(|tap| product.index(number, tap));
            places.zip(&integers).for_each(|(place, integer)| values[place] = *integer as i8);
        }
        Some(Repaired { weights: Weights { values, scales }, bias })
    }
}

/// The mean of what each weight of a row is multiplied with, padding included.
struct TapMeans<'a> {
    product: &'a Product,
    channels: &'a [f64],
    coverage: Vec<f64>,
    /// Those of all rows, where these see the same taps.
    common: Option<Vec<f64>>,
}

impl<'a> TapMeans<'a> {
    fn new(product: &'a Product, graph: &Graph, channels: &'a [f64]) -> TapMeans<'a> {
        let coverage = product.coverage(graph);
        let means = TapMeans { product, channels, coverage, common: None };
        let common = product.is_dense().then(|| means.of(0).into_owned());
        TapMeans { common, ..means }
    }

    fn of(&self, row: usize) -> Cow<'_, [f64]> {
        let mean = |tap: usize| self.channels[self.product.channel(row, tap)] * self.coverage[tap];
        match &self.common {
            Some(common) => Cow::Borrowed(common),
            None => (0..self.product.taps).map(mean).collect(),
        }
    }
}

/// The real weights of an output channel and the grid that they would be rounded to.
struct Row<'a> {
    weights: Cow<'a, [f32]>,
    scale: f32,
    may_search: bool,
}

impl Row<'_> {
    /// The weights in steps.
    fn targets(&self, scale: f32) -> Vec<f32> {
        self.weights.iter().map(|weight| weight / scale).collect()
    }
}

/// The integers of an output channel.
struct Rounded {
    scale: f32,
    values: Vec<f32>,
}

/// Rounds rows of few weights, each on the grid of several that fits best.
fn search<'a>(
    rows: &[Row<'_>],
    metric: &(dyn Fn(usize) -> &'a Metric + Sync),
    pool: &ThreadPool,
) -> Vec<Rounded> {
    let taps = rows.first().map_or(0, |row| row.weights.len());
    // Each row's integers, then its scale.
    let mut results = vec![0.0; rows.len() * (taps + 1)];
    let rows_per_task = pool.rows_per_task(rows.len(), 8);
    pool.run_rows(&mut results, taps + 1, rows_per_task, |first, results| {
        for (offset, result) in results.chunks_exact_mut(taps + 1).enumerate() {
            let (row, metric) = (&rows[first + offset], metric(first + offset));
            let mut least = f64::INFINITY;
            let factors = if row.may_search { &SEARCHED_FACTORS[..] } else { &SEARCHED_FACTORS[..1] };
            for factor in factors {
                let scale = row.scale * factor;
                let targets = row.targets(scale);
                let mut rounded: Vec<f32> = targets.iter().map(|target| nearest(*target)).collect();
                let errors = |rounded: &[f32]| -> Vec<f32> {
                    rounded.iter().zip(&targets).map(|(q, target)| q - target).collect()
                };
                let mut gradient = metric.gradient(&errors(&rounded));
                metric.descend(&row.weights, &mut rounded, &mut gradient);
                let error = metric.squared_error(&errors(&rounded)) * f64::from(scale) * f64::from(scale);
                if error < least || factor == &1.0 {
                    least = error;
                    result[..taps].copy_from_slice(&rounded);
                    result[taps] = scale;
                }
            }
        }
    });
    let rounded = |result: &[f32]| Rounded { scale: result[taps], values: result[..taps].to_vec() };
    results.chunks_exact(taps + 1).map(rounded).collect()
}

/// Rounds rows of many weights that share a metric.
fn descend(rows: &[Row<'_>], metric: &Metric, moments: &Moments) -> Vec<Rounded> {
    let taps = rows.first().map_or(0, |row| row.weights.len());
    let targets: Vec<Vec<f32>> = rows.iter().map(|row| row.targets(row.scale)).collect();
    let errors: Vec<f32> = targets.iter().flatten().map(|target| nearest(*target) - target).collect();
    let mut gradients = vec![0.0; errors.len()];
    let matrices =
        MatMul { rows: rows.len(), depth: taps, columns: taps, adjoint_a: false, adjoint_b: false };
    matmul(moments.isa, &moments.pool, matrices, &errors, &[], &metric.covariance, &[], &mut gradients);
    // Each row's integers, then its gradient.
    let mut work = Vec::with_capacity(2 * errors.len());
    for (targets, gradient) in targets.iter().zip(gradients.chunks_exact(taps)) {
        work.extend(targets.iter().map(|target| nearest(*target)));
        work.extend_from_slice(gradient);
    }
    let rows_per_task = moments.pool.rows_per_task(rows.len(), 1);
    moments.pool.run_rows(&mut work, 2 * taps, rows_per_task, |first, work| {
        for (row, work) in rows[first..].iter().zip(work.chunks_exact_mut(2 * taps)) {
            let (rounded, gradient) = work.split_at_mut(taps);
            metric.descend(&row.weights, rounded, gradient);
        }
    });
    let rounded =
        |(row, work): (&Row<'_>, &[f32])| Rounded { scale: row.scale, values: work[..taps].to_vec() };
    rows.iter().zip(work.chunks_exact(2 * taps)).map(rounded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, Options, Recipe, calibrate, quantize};
    use litesmith_graph::{Model, text};
    use litesmith_runtime::{Array, Interpreter};

    /// Inputs are positive, and all weights of a row lie a little above an integer: rounded to the nearest,
    /// their sum is too small.
    const SOURCE: &str = r#"graph main(%x: f32[1,4,4,2]) -> (%z) {
         %w: f32[3,1,1,2] = [1.27,0.0146,-1.27,0.0143,1.27,-0.5646]
         %v: f32[1,3,3,3] = [1.27,1.27,1.27,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344,0.0146,0.0246,0.0344]
         %m: f32[2,3] = [1.27,0.6446,0.0147,-1.27,0.7446,0.1147]
         %y: f32[1,4,4,3] = Conv2D(%x, %w, _) {"activation":"relu"} # conv
         %d: f32[1,4,4,3] = DepthwiseConv2D(%y, %v, _) {"padding":"same"} # depthwise
         %z: f32[16,2] = FullyConnected(%d, %m, _) # dense
       }"#;

    fn samples() -> Vec<Array> {
        let element = |sample: usize, i: usize| 0.5 + ((sample * 37 + i * 11) % 17) as f32 / 20.0;
        (0..8)
            .map(|sample| {
                Array::from_f32(&[1, 4, 4, 2], &(0..32).map(|i| element(sample, i)).collect::<Vec<f32>>())
            })
            .collect()
    }

    fn outputs(model: &Model) -> Vec<f32> {
        let mut interpreter = Interpreter::new(model, &Default::default()).unwrap();
        samples()
            .iter()
            .flat_map(|sample| {
                interpreter.run(std::slice::from_ref(sample)).unwrap()[0].floats().into_owned()
            })
            .collect()
    }

    /// The quantized model, and the mean error of each of its two outputs.
    fn made(mode: Mode, repair: Repair, recipe: &Recipe, with_moments: bool) -> (Model, [f64; 2]) {
        let mut model = text::parse(SOURCE).unwrap();
        let truth = outputs(&model);
        let mut interpreter = Interpreter::new(&model, &Default::default()).unwrap();
        let mut statistics = Statistics::new();
        let mut moments = with_moments.then(|| Moments::new(&model, &interpreter, repair, samples().len()));
        for sample in samples() {
            calibrate(&mut interpreter, &model, &[sample], &mut statistics, moments.as_mut()).unwrap();
        }
        let options = Options { repair, ..Options::new(mode) };
        let report = quantize(&mut model, &options, recipe, Some(&statistics), moments.as_ref()).unwrap();
        let skipped = if recipe.rules.is_empty() { 0 } else { 1 };
        assert_eq!(report.repaired, if repair == Repair::None { 0 } else { 3 - skipped });
        assert_eq!(report.unrepaired, 0);
        let errors: Vec<f64> =
            outputs(&model).iter().zip(&truth).map(|(y, truth)| f64::from(y - truth)).collect();
        let mean =
            |channel: usize| errors.iter().skip(channel).step_by(2).sum::<f64>() / (errors.len() / 2) as f64;
        (model, [mean(0), mean(1)])
    }

    #[test]
    fn the_grid_that_fits_a_single_row_best_becomes_its_scale() {
        let source = "graph main(%x: f32[1,4]) -> (%y) {
              %w: f32[1,4] = [1,0.372047,-0.587008,0.181890]
              %y: f32[1,1] = FullyConnected(%x, %w, _)
            }";
        let mut model = text::parse(source).unwrap();
        let mut interpreter = Interpreter::new(&model, &Default::default()).unwrap();
        let mut statistics = Statistics::new();
        let mut moments = Moments::new(&model, &interpreter, Repair::Default, 16);
        let sample = |number: usize| -> Array {
            let element = |i: usize| ((number * 37 + i * 11 + i * number * 5) % 17) as f32 / 20.0;
            Array::from_f32(&[1, 4], &[0, 1, 2, 3].map(element))
        };
        for number in 0..16 {
            let moments = Some(&mut moments);
            calibrate(&mut interpreter, &model, &[sample(number)], &mut statistics, moments).unwrap();
        }
        let options = Options::new(Mode::Int16x8);
        quantize(&mut model, &options, &Recipe::default(), Some(&statistics), Some(&moments)).unwrap();
        let mut integers = Interpreter::new(&model, &Default::default()).unwrap();
        for number in 0..16 {
            let sample = [sample(number)];
            let value = |interpreter: &mut Interpreter| interpreter.run(&sample).unwrap()[0].floats()[0];
            let (truth, found) = (value(&mut interpreter), value(&mut integers));
            assert!((found - truth).abs() < 0.002, "{found} instead of {truth}");
        }
    }

    #[test]
    fn repair_brings_the_mean_back() {
        let recipe = Recipe::default();
        for mode in [Mode::Int8, Mode::Int16x8] {
            let (_, plain) = made(mode, Repair::None, &recipe, true);
            for (repair, with_moments) in
                [(Repair::Default, false), (Repair::Default, true), (Repair::Auto, true)]
            {
                let (_, repaired) = made(mode, repair, &recipe, with_moments);
                let worst = |errors: [f64; 2]| errors[0].abs().max(errors[1].abs());
                assert!(
                    worst(repaired) < worst(plain) / 2.0,
                    "{mode}, {repair:?}: {repaired:?} instead of {plain:?}"
                );
            }
        }
    }

    #[test]
    fn a_rule_can_leave_a_layer_alone() {
        let recipe = Recipe::from_toml("[[rule]]\nlayers = \"dense\"\nrepair = \"none\"").unwrap();
        let weights = |model: &Model| {
            let graph = model.main();
            let dense = graph.nodes.iter().find(|node| node.name == "dense").unwrap();
            assert_eq!(dense.inputs.iter().flatten().count(), 2, "no bias was added");
            graph[dense.inputs[1].unwrap()].clone()
        };
        let (plain, _) = made(Mode::Int8, Repair::None, &Recipe::default(), true);
        let (repaired, _) = made(Mode::Int8, Repair::Default, &recipe, true);
        assert_eq!(weights(&plain), weights(&repaired));
    }
}
