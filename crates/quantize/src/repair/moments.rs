//! How the inputs of products vary together: covariances of the taps, estimated from some of the places
//! of each calibration sample.

use std::collections::HashMap;

use litesmith_graph::{Model, TensorId};
use litesmith_kernels::{Isa, ThreadPool};
use litesmith_runtime::{Array, Interpreter, Options, TensorView};

use super::Repair;
use super::covariance::{Dense, Depthwise, Second};
use super::places::{Image, Places};
use super::product::Product;
use super::rounding::Metric;

/// Most taps of rows that see all channels, by default and with [`Repair::Auto`]: time and memory grow
/// with their square.
const MOST_TAPS: usize = 1024;
const MOST_TAPS_AUTO: usize = 2304;

/// Most taps of a depthwise kernel.
const MOST_DEPTHWISE_TAPS: usize = 64;

/// Most samples that integer models are judged by, and that [`Repair::Auto`] corrects biases with.
const MOST_JUDGED: usize = 16;
const MOST_JUDGED_AUTO: usize = 48;
const MOST_CORRECTED: usize = 32;

/// Of fewer samples than this, those that correct must also judge.
const FEW: usize = 8;

/// Multiply-accumulates that judging may take if time matters, and the fewest samples that say anything:
/// of large models, calibration and covariances alone take seconds.
const MACS_TO_JUDGE: usize = 12_000_000_000;
const LEAST_JUDGED: usize = 4;

/// Values of each model input that are kept of a run.
const VALUES_PER_RUN: usize = 512;

/// What the inputs of a model and of its products held, over the samples that it was run on. Unlike
/// [`Statistics`](crate::Statistics) it is too large for a file and does not merge.
pub struct Moments {
    pub(super) isa: Isa,
    pub(super) pool: ThreadPool,
    /// Number of runs that are expected.
    expected: usize,
    runs: u64,
    /// Products by the tensor that they read.
    readers: HashMap<TensorId, Vec<(Product, Option<Second>)>>,
    /// Multiply-accumulates of the products in the first run.
    macs: usize,
    /// Whether time does not matter.
    thorough: bool,
    inputs: HashMap<TensorId, Vec<f32>>,
    /// Samples with the model's outputs, and how many are wanted.
    judged: Kept<(Vec<Array>, Vec<Array>)>,
    samples: Kept<Vec<Array>>,
}

impl Moments {
    /// Empty moments of a legalized float model, which is expected to run `runs` times in this
    /// interpreter.
    #[must_use]
    pub fn new(model: &Model, interpreter: &Interpreter, repair: Repair, runs: usize) -> Moments {
        let graph = model.main();
        let most = if repair == Repair::Auto { MOST_TAPS_AUTO } else { MOST_TAPS };
        let mut readers: HashMap<TensorId, Vec<(Product, Option<Second>)>> = HashMap::new();
        for product in Product::all(graph) {
            let second = match product.multiplier {
                Some(_) if product.taps <= MOST_DEPTHWISE_TAPS => {
                    Some(Second::Depthwise(Depthwise::new(product.channels, product.taps)))
                }
                None if product.is_dense() && product.taps <= most => {
                    Some(Second::Dense(Dense::new(product.taps)))
                }
                _ => None,
            };
            readers.entry(product.input).or_default().push((product, second));
        }
        Moments {
            isa: interpreter.isa(),
            pool: ThreadPool::new(interpreter.threads()),
            expected: runs.max(1),
            runs: 0,
            readers,
            macs: 0,
            thorough: repair == Repair::Auto,
            inputs: graph.inputs.iter().map(|id| (*id, Vec::new())).collect(),
            judged: match repair {
                Repair::Auto => Kept::new(runs.div_ceil(2).min(MOST_JUDGED_AUTO)),
                Repair::None | Repair::Default => Kept::new(MOST_JUDGED),
            },
            samples: Kept::new(if repair == Repair::Auto { MOST_CORRECTED } else { 0 }),
        }
    }

    /// Looks at a tensor of the run that goes on.
    pub(crate) fn look(&mut self, tensor: TensorId, view: &TensorView<'_>) {
        if let Some(values) = self.inputs.get_mut(&tensor) {
            let elements = view.floats();
            let mut places = Places::new(self.runs, elements.len(), VALUES_PER_RUN);
            values.extend(places.by_ref().map(|place| elements[place]));
        }
        let Some(readers) = self.readers.get_mut(&tensor) else { return };
        let elements = view.floats();
        for (product, second) in readers {
            let Some(image) = Image::new(product, view.shape, &elements) else { continue };
            if self.runs == 0 {
                let macs = image.places().saturating_mul(product.rows).saturating_mul(product.taps);
                self.macs = self.macs.saturating_add(macs);
            }
            let Some(second) = second else { continue };
            let wanted = second.places().div_ceil(self.expected);
            for place in Places::new(self.runs, image.places(), wanted) {
                second.add(&image, place, self.isa, &self.pool);
            }
        }
    }

    /// Ends the run of a sample.
    pub(crate) fn end_run(&mut self, sample: &[Array], outputs: &[Array]) {
        // Those that correct are better no judges, if there are enough.
        if self.runs == 0 && !self.thorough {
            let affordable = MACS_TO_JUDGE / self.macs.max(1);
            self.judged.most = if affordable < LEAST_JUDGED { 0 } else { affordable.min(MOST_JUDGED) };
        }
        let is_judge = self.judged.wants(self.runs, self.expected);
        if is_judge {
            self.judged.kept.push((sample.to_vec(), outputs.to_vec()));
        }
        let may_correct = !is_judge || self.expected < FEW;
        if may_correct && self.samples.wants(self.runs, self.expected) {
            self.samples.kept.push(sample.to_vec());
        }
        self.runs += 1;
    }

    /// The samples to correct biases with.
    pub(super) fn samples(&self) -> &[Vec<Array>] {
        &self.samples.kept
    }

    /// Samples to judge by, with the outputs of the real model.
    pub(super) fn judged(&self) -> &[(Vec<Array>, Vec<Array>)] {
        &self.judged.kept
    }

    /// How models are run.
    pub(super) fn options(&self) -> Options {
        Options::default().with_isa(self.isa).with_threads(self.pool.threads())
    }

    /// The values of a model input that were kept.
    pub(super) fn input(&self, tensor: TensorId) -> &[f32] {
        self.inputs.get(&tensor).map_or(&[], Vec::as_slice)
    }

    /// How to measure errors of a product's rows: one metric for all of a dense product, one for each
    /// input channel of a depthwise one; nothing where too little is known.
    pub(super) fn metrics(&self, product: &Product) -> Vec<Metric> {
        let of_product = |(known, _): &&(Product, Option<Second>)| known == product;
        let found = self.readers.get(&product.input).and_then(|readers| readers.iter().find(of_product));
        match found {
            Some((_, Some(Second::Dense(dense)))) => dense.metric(self.isa, &self.pool).into_iter().collect(),
            Some((_, Some(Second::Depthwise(depthwise)))) => depthwise.metrics(),
            _ => Vec::new(),
        }
    }
}

/// Some of what all runs gave, spread over them as far as it is known how many there are.
struct Kept<T> {
    most: usize,
    kept: Vec<T>,
}

impl<T> Kept<T> {
    fn new(most: usize) -> Kept<T> {
        Kept { most, kept: Vec::new() }
    }

    fn wants(&self, run: u64, expected: usize) -> bool {
        let due = self.kept.len() as u64 * expected as u64;
        self.kept.len() < self.most && run * self.most as u64 >= due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::text;

    fn view<'a>(data: &'a [u8], shape: &'a [usize]) -> TensorView<'a> {
        TensorView { dtype: litesmith_graph::DType::F32, shape, data }
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn moments(source: &str) -> (Model, Moments) {
        let model = text::parse(source).unwrap();
        let options = litesmith_runtime::Options::default().with_threads(1);
        let interpreter = Interpreter::new(&model, &options).unwrap();
        let moments = Moments::new(&model, &interpreter, Repair::Default, 4);
        (model, moments)
    }

    #[test]
    fn covariances_are_those_of_the_taps() {
        let (model, mut moments) = moments(
            "graph main(%x: f32[1,1,1,2]) -> (%y) {
               %w: f32[1,1,1,2] = [1,1]
               %y: f32[1,1,1,1] = Conv2D(%x, %w, _)
             }",
        );
        for pixel in [[100.0, 1.0], [101.0, 3.0], [102.0, 5.0], [103.0, 7.0]] {
            moments.look(TensorId(0), &view(&bytes(&pixel), &[1, 1, 1, 2]));
            moments.end_run(&[], &[]);
        }
        let product = Product::all(model.main()).next().unwrap();
        let metric = &moments.metrics(&product)[0];
        // Four samples for two taps: two thirds of the covariance are believed.
        let expected = [1.25, 2.5 * 4.0 / 6.0, 2.5 * 4.0 / 6.0, 5.0];
        for (value, expected) in metric.covariance.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{:?}", metric.covariance);
        }
        assert_eq!(moments.input(TensorId(0))[..3], [100.0, 1.0, 101.0]);
    }

    #[test]
    fn depthwise_kernels_have_one_for_each_channel_and_see_padding() {
        let (model, mut moments) = moments(
            r#"graph main(%x: f32[1,1,2,2]) -> (%y) {
                 %w: f32[1,1,2,2] = random(1)
                 %y: f32[1,1,2,2] = DepthwiseConv2D(%x, %w, _) {"padding":"same"}
               }"#,
        );
        moments.look(TensorId(0), &view(&bytes(&[1.0, 2.0, 3.0, 6.0]), &[1, 1, 2, 2]));
        let product = Product::all(model.main()).next().unwrap();
        let metrics = moments.metrics(&product);
        // The taps of the first channel are (1, 3) and (3, padding).
        let expected = [1.0, -1.5 * 0.5, -1.5 * 0.5, 2.25];
        for (index, value) in expected.iter().enumerate() {
            assert!((metrics[0].covariance[index] - value).abs() < 1e-5);
            assert!((metrics[1].covariance[index] - 4.0 * value).abs() < 1e-5);
        }
    }
}
