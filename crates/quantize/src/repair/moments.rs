//! How the inputs of products vary together: covariances of the taps, estimated from some of the places
//! of each calibration sample.

use std::collections::HashMap;

use litesmith_graph::{Model, TensorId};
use litesmith_kernels::float::{MatMul, matmul};
use litesmith_kernels::{Isa, ThreadPool};
use litesmith_runtime::{Array, Interpreter, Options, TensorView};

use super::Repair;
use super::product::Product;
use super::rounding::Metric;

/// Most taps of rows that see all channels, by default and with [`Repair::Auto`]: time and memory grow
/// with their square.
const MOST_TAPS: usize = 1152;
const MOST_TAPS_AUTO: usize = 2304;

/// Most taps of a depthwise kernel.
const MOST_DEPTHWISE_TAPS: usize = 64;

/// Places that are looked at, over all runs, for each tap, and their limits.
const PLACES_PER_TAP: usize = 2;
const LEAST_PLACES: usize = 512;
const MOST_PLACES: usize = 1536;
const DEPTHWISE_PLACES: usize = 512;

/// Rows that are multiplied with themselves at once.
const ROWS_AT_ONCE: usize = 256;

/// Most samples that integer models are judged by, and that [`Repair::Auto`] corrects biases with.
const MOST_JUDGED: usize = 16;
const MOST_CORRECTED: usize = 32;

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
    readers: HashMap<TensorId, Vec<(Product, Second)>>,
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
        let mut readers: HashMap<TensorId, Vec<(Product, Second)>> = HashMap::new();
        for product in Product::all(graph) {
            let second = match product.multiplier {
                Some(_) if product.taps <= MOST_DEPTHWISE_TAPS => {
                    Second::Depthwise(Depthwise::new(product.channels, product.taps))
                }
                None if product.is_dense() && product.taps <= most => Second::Dense(Dense::new(product.taps)),
                _ => continue,
            };
            readers.entry(product.input).or_default().push((product, second));
        }
        Moments {
            isa: interpreter.isa(),
            pool: ThreadPool::new(interpreter.threads()),
            expected: runs.max(1),
            runs: 0,
            readers,
            inputs: graph.inputs.iter().map(|id| (*id, Vec::new())).collect(),
            judged: Kept::new(MOST_JUDGED),
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
            let wanted = second.places().div_ceil(self.expected);
            for place in Places::new(self.runs, image.places(), wanted) {
                second.add(&image, place, self.isa, &self.pool);
            }
        }
    }

    /// Ends the run of a sample.
    pub(crate) fn end_run(&mut self, sample: &[Array], outputs: &[Array]) {
        // Those that correct are better no judges, if there are enough.
        let is_judge = self.judged.wants(self.runs, self.expected);
        if is_judge {
            self.judged.kept.push((sample.to_vec(), outputs.to_vec()));
        }
        let few = self.expected <= MOST_JUDGED + MOST_CORRECTED;
        if self.samples.wants(self.runs, self.expected) && (few || !is_judge) {
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
        let of_product = |(known, _): &&(Product, Second)| known == product;
        let found = self.readers.get(&product.input).and_then(|readers| readers.iter().find(of_product));
        match found {
            Some((_, Second::Dense(dense))) => dense.metric(self.isa, &self.pool).into_iter().collect(),
            Some((_, Second::Depthwise(depthwise))) => depthwise.metrics(),
            None => Vec::new(),
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

/// Random places, the same in each repetition of a run: all if there are fewer than are wanted.
pub(super) struct Places {
    next: u64,
    left: usize,
    count: usize,
    all: bool,
}

impl Places {
    pub(super) fn new(run: u64, count: usize, wanted: usize) -> Places {
        let all = count <= wanted;
        let next = if all { 0 } else { (run + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) };
        Places { next, left: count.min(wanted), count, all }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        if self.all {
            self.next += 1;
            return Some(self.next as usize - 1);
        }
        // SplitMix64 (Steele, Lea, Flood 2014); the upper half scaled to the count.
        self.next = self.next.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.next;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((u128::from(z ^ (z >> 31)) * self.count as u128) >> 64) as usize)
    }
}

/// What a product reads, and where.
struct Image<'a> {
    product: &'a Product,
    elements: &'a [f32],
    size: [usize; 2],
    before: [usize; 2],
    outputs: [usize; 2],
    batch: usize,
}

impl Image<'_> {
    /// `None` where the tensor does not fit the product.
    fn new<'a>(product: &'a Product, shape: &[usize], elements: &'a [f32]) -> Option<Image<'a>> {
        let channels = product.channels;
        if elements.is_empty() || !elements.len().is_multiple_of(channels) {
            return None;
        }
        let (batch, size) = match *shape {
            [batch, height, width, last] if last == channels => (batch, [height, width]),
            _ if product.taps == channels => (elements.len() / channels, [1, 1]),
            _ => return None,
        };
        let (before, outputs) = product.window.over(size);
        Some(Image { product, elements, size, before, outputs, batch })
    }

    fn places(&self) -> usize {
        self.batch * self.outputs[0] * self.outputs[1]
    }

    /// The pixels under the window at a place, tap by tap; `None` stands for padding.
    fn pixels(&self, place: usize) -> impl Iterator<Item = Option<&[f32]>> {
        let window = self.product.window;
        let channels = self.product.channels;
        let (row, column) = (place / self.outputs[1], place % self.outputs[1]);
        let (sample, row) = (row / self.outputs[0], row % self.outputs[0]);
        let corner = [row * window.stride[0], column * window.stride[1]];
        (0..window.kernel[0] * window.kernel[1]).map(move |tap| {
            let tap = [tap / window.kernel[1], tap % window.kernel[1]];
            let inside = |i: usize| {
                let place = (corner[i] + tap[i] * window.dilation[i]).checked_sub(self.before[i])?;
                (place < self.size[i]).then_some(place)
            };
            let pixel = (sample * self.size[0] + inside(0)?) * self.size[1] + inside(1)?;
            self.elements.get(pixel * channels..(pixel + 1) * channels)
        })
    }
}

/// Second moments of a product's taps.
enum Second {
    Dense(Dense),
    Depthwise(Depthwise),
}

impl Second {
    /// How many places are wanted over all runs.
    fn places(&self) -> usize {
        match self {
            Second::Dense(dense) => (dense.taps * PLACES_PER_TAP).clamp(LEAST_PLACES, MOST_PLACES),
            Second::Depthwise(_) => DEPTHWISE_PLACES,
        }
    }

    fn add(&mut self, image: &Image<'_>, place: usize, isa: Isa, pool: &ThreadPool) {
        match self {
            Second::Dense(dense) => dense.add(image, place, isa, pool),
            Second::Depthwise(depthwise) => depthwise.add(image, place),
        }
    }
}

/// One matrix for rows that all see the same taps. Taps are taken relative to those of the first place,
/// so that what is summed stays small.
#[derive(Clone)]
struct Dense {
    taps: usize,
    count: usize,
    origin: Vec<f32>,
    sum: Vec<f64>,
    /// Sum of the products of each pair of taps.
    pairs: Vec<f32>,
    /// Rows that are not in the sums yet.
    waiting: Vec<f32>,
}

impl Dense {
    fn new(taps: usize) -> Dense {
        let (origin, sum, pairs, waiting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Dense { taps, count: 0, origin, sum, pairs, waiting }
    }

    fn add(&mut self, image: &Image<'_>, place: usize, isa: Isa, pool: &ThreadPool) {
        let first = self.waiting.len();
        for pixel in image.pixels(place) {
            match pixel {
                Some(pixel) => self.waiting.extend_from_slice(pixel),
                None => self.waiting.resize(self.waiting.len() + image.product.channels, 0.0),
            }
        }
        if self.origin.is_empty() {
            self.origin = self.waiting.clone();
        }
        self.waiting[first..].iter_mut().zip(&self.origin).for_each(|(x, origin)| *x -= origin);
        self.count += 1;
        if self.waiting.len() >= ROWS_AT_ONCE * self.taps {
            self.take_in(isa, pool);
        }
    }

    fn take_in(&mut self, isa: Isa, pool: &ThreadPool) {
        let taps = self.taps;
        self.sum.resize(taps, 0.0);
        self.pairs.resize(taps * taps, 0.0);
        for row in self.waiting.chunks_exact(taps) {
            self.sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let depth = self.waiting.len() / taps;
        let matrices = MatMul { rows: taps, depth, columns: taps, adjoint_a: true, adjoint_b: false };
        let mut pairs = vec![0.0; taps * taps];
        matmul(isa, pool, matrices, &self.waiting, &[], &self.waiting, &[], &mut pairs);
        self.pairs.iter_mut().zip(&pairs).for_each(|(sum, pair)| *sum += pair);
        self.waiting.clear();
    }

    fn metric(&self, isa: Isa, pool: &ThreadPool) -> Option<Metric> {
        if self.count == 0 {
            return None;
        }
        let mut all = self.clone();
        all.take_in(isa, pool);
        let count = all.count as f64;
        let means: Vec<f64> = all.sum.iter().map(|sum| sum / count).collect();
        for (row, mean) in all.pairs.chunks_exact_mut(all.taps).zip(&means) {
            for (pair, other) in row.iter_mut().zip(&means) {
                *pair = (f64::from(*pair) / count - mean * other) as f32;
            }
        }
        Some(Metric::new(all.pairs, all.taps, all.count))
    }
}

/// A small matrix for each channel.
struct Depthwise {
    channels: usize,
    taps: usize,
    count: usize,
    /// What is summed is relative to this pixel.
    origin: Vec<f32>,
    /// For each tap, sums over the channels' values; then for each pair of taps, sums of their products.
    sums: Vec<f32>,
    pairs: Vec<f32>,
    values: Vec<f32>,
}

impl Depthwise {
    fn new(channels: usize, taps: usize) -> Depthwise {
        let (origin, sums, pairs, values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Depthwise { channels, taps, count: 0, origin, sums, pairs, values }
    }

    fn add(&mut self, image: &Image<'_>, place: usize) {
        let (channels, taps) = (self.channels, self.taps);
        if self.origin.is_empty() {
            self.origin = image.pixels(place).flatten().next().unwrap_or(&vec![0.0; channels]).to_vec();
            self.sums.resize(taps * channels, 0.0);
            self.pairs.resize(taps * (taps + 1) / 2 * channels, 0.0);
        }
        self.values.clear();
        for pixel in image.pixels(place) {
            match pixel {
                Some(pixel) => {
                    self.values.extend(pixel.iter().zip(&self.origin).map(|(x, origin)| x - origin))
                }
                None => self.values.extend(self.origin.iter().map(|origin| -origin)),
            }
        }
        self.sums.iter_mut().zip(&self.values).for_each(|(sum, x)| *sum += x);
        let mut pairs = self.pairs.chunks_exact_mut(channels);
        for first in 0..taps {
            let first_values = &self.values[first * channels..][..channels];
            for second in 0..=first {
                let second_values = &self.values[second * channels..][..channels];
                let Some(sums) = pairs.next() else { return };
                let products = first_values.iter().zip(second_values);
                sums.iter_mut().zip(products).for_each(|(sum, (a, b))| *sum += a * b);
            }
        }
        self.count += 1;
    }

    fn metrics(&self) -> Vec<Metric> {
        if self.count == 0 {
            return Vec::new();
        }
        let (count, taps) = (self.count as f64, self.taps);
        let metric = |channel: usize| {
            let mean = |tap: usize| f64::from(self.sums[tap * self.channels + channel]) / count;
            let entry = |index: usize| {
                let (a, b) = (index / taps, index % taps);
                let (first, second) = (a.max(b), a.min(b));
                let pair = self.pairs[(first * (first + 1) / 2 + second) * self.channels + channel];
                (f64::from(pair) / count - mean(a) * mean(b)) as f32
            };
            Metric::new((0..taps * taps).map(entry).collect(), taps, self.count)
        };
        (0..self.channels).map(metric).collect()
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

    #[test]
    fn places_are_all_or_as_many_as_wanted() {
        assert_eq!(Places::new(3, 4, 9).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let places: Vec<usize> = Places::new(3, 1000, 9).collect();
        assert_eq!(places, Places::new(3, 1000, 9).collect::<Vec<_>>());
        assert!(places.len() == 9 && places.iter().all(|place| *place < 1000));
    }
}
