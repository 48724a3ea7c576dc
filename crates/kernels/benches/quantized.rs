//! Quantized kernels on the layers of ResNet50 and MobileNetV2 at 224x224, batch 1. Layers with 16-bit
//! activations are compared with the same layers of bytes.
//!
//! Convolutions are in the form that is best for them; products are counted as the direct form needs them.
//!
//! Prints, beside what criterion says, the multiply-accumulates per second of each layer (best of
//! all batches) and their share of the peak of exact byte products on that instruction set, measured
//! just before each layer because clocks drift. Choose the instruction set and the threads with
//! `LITESMITH_ISA` and `LITESMITH_THREADS`.

mod tensor;

use std::cell::Cell;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use litesmith_kernels::float::Clamp;
use litesmith_kernels::int16;
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::quantized::{
    Conv2d, Depthwise, Filter, HybridConv2d, HybridDepthwise, HybridOutput, QuantizedSamples, Requantize,
    Rescale, WeightOrder, best_form, quantize_by_ranges,
};
use litesmith_kernels::{Isa, ThreadPool, Window};
use tensor::Tensor;

/// Kernel size, stride, input height and width, input channels, output channels (0 = depthwise).
type Layer = (usize, usize, usize, usize, usize);

const RESNET50: [Layer; 19] = [
    (7, 2, 224, 3, 64),
    (3, 1, 56, 64, 64),
    (3, 1, 28, 128, 128),
    (3, 1, 14, 256, 256),
    (3, 1, 7, 512, 512),
    (1, 1, 56, 64, 64),
    (1, 1, 56, 256, 64),
    (1, 1, 56, 64, 256),
    (1, 2, 56, 256, 128),
    (1, 2, 56, 256, 512),
    (1, 1, 28, 512, 128),
    (1, 1, 28, 128, 512),
    (1, 1, 14, 1024, 256),
    (1, 1, 14, 256, 1024),
    (1, 2, 28, 512, 1024),
    (1, 2, 14, 1024, 2048),
    (1, 1, 7, 2048, 512),
    (1, 1, 7, 512, 2048),
    (1, 1, 1, 2048, 1000),
];

const MOBILENET_V2: [Layer; 23] = [
    (3, 2, 224, 3, 32),
    (3, 1, 112, 32, 0),
    (1, 1, 112, 32, 16),
    (1, 1, 112, 16, 96),
    (3, 2, 112, 96, 0),
    (1, 1, 56, 96, 24),
    (1, 1, 56, 24, 144),
    (3, 1, 56, 144, 0),
    (1, 1, 56, 144, 24),
    (3, 2, 56, 144, 0),
    (1, 1, 28, 32, 192),
    (3, 1, 28, 192, 0),
    (1, 1, 28, 192, 32),
    (1, 1, 14, 64, 384),
    (3, 1, 14, 384, 0),
    (1, 1, 14, 384, 64),
    (3, 1, 14, 576, 0),
    (3, 2, 14, 576, 0),
    (1, 1, 7, 160, 960),
    (3, 1, 7, 960, 0),
    (1, 1, 7, 960, 160),
    (1, 1, 7, 320, 1280),
    (1, 1, 1, 1280, 1000),
];

/// Layers of EfficientNetB0 unlike those of the others.
const EFFICIENT_NET: [Layer; 7] = [
    (5, 2, 56, 144, 0),
    (1, 1, 28, 240, 40),
    (1, 1, 28, 40, 240),
    (5, 1, 28, 240, 0),
    (5, 1, 14, 672, 0),
    (5, 2, 14, 672, 0),
    (5, 1, 7, 1152, 0),
];

/// A layer of quantized samples, ready to be run.
type DynamicLayer<'a> = Box<dyn Fn(&ThreadPool, HybridOutput<'_>) + 'a>;

/// With activations that are quantized sample by sample.
const DYNAMIC: [Layer; 20] = [
    (3, 2, 224, 3, 32),
    (3, 1, 112, 32, 0),
    (1, 1, 112, 16, 96),
    (3, 2, 112, 96, 0),
    (1, 1, 56, 24, 144),
    (3, 1, 56, 144, 0),
    (1, 1, 28, 32, 192),
    (3, 1, 28, 192, 0),
    (1, 1, 14, 64, 384),
    (3, 1, 14, 384, 0),
    (1, 1, 14, 96, 576),
    (7, 2, 224, 3, 64),
    (3, 1, 56, 64, 64),
    (1, 1, 56, 64, 64),
    (1, 1, 56, 256, 64),
    (1, 1, 56, 64, 256),
    (1, 1, 28, 128, 512),
    (1, 1, 14, 1024, 256),
    (1, 1, 7, 512, 2048),
    (1, 1, 1, 2048, 1000),
];

/// With 16-bit activations.
const WORDS: [Layer; 8] = [
    (7, 2, 224, 3, 64),
    (3, 1, 56, 64, 64),
    (3, 1, 14, 256, 256),
    (1, 1, 56, 64, 256),
    (1, 1, 14, 1024, 256),
    (1, 1, 1, 2048, 1000),
    (3, 1, 56, 144, 0),
    (3, 1, 14, 384, 0),
];

/// Padding that Keras calls "same".
fn same(kernel: usize, stride: usize, size: usize) -> Window {
    let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
    let [before, after] = [total / 2, total - total / 2];
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad_before: [before; 2],
        pad_after: [after; 2],
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7919 % 1009) as u8).collect()
}

fn words(count: usize) -> Vec<i16> {
    (0..count).map(|i| (i * 40_503) as i16).collect()
}

fn weights(count: usize) -> Vec<i8> {
    bytes(count).into_iter().map(|byte| byte as i8).collect()
}

/// A tensor of these values.
fn tensor<T: Copy + Default>(values: &[T]) -> Tensor<T> {
    let mut tensor = Tensor::zeros(values.len());
    tensor.copy_from_slice(values);
    tensor
}

struct Bench {
    criterion: Criterion,
    pool: ThreadPool,
    isa: Isa,
}

impl Bench {
    /// Times `step`, which does `work` multiply-accumulates; gives the seconds of the best run.
    fn time(&mut self, group: &str, name: &str, work: usize, mut step: impl FnMut(&ThreadPool)) -> f64 {
        let best = Cell::new(f64::INFINITY);
        let pool = &self.pool;
        let peak = peak(self.isa, pool, Products::Bytes);
        let mut group = self.criterion.benchmark_group(group);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                (0..iterations).for_each(|_| step(pool));
                let taken = start.elapsed();
                best.set(best.get().min(taken.as_secs_f64() / iterations as f64));
                taken
            });
        });
        group.finish();
        if best.get().is_finite() {
            let rate = work as f64 / best.get();
            println!(
                "    {name}: {:.1} us, {:.1} GMAC/s, {:.0} % of the peak of {:.1}",
                best.get() * 1e6,
                rate / 1e9,
                rate / peak * 100.0,
                peak / 1e9
            );
        }
        best.get()
    }

    /// Gives the seconds of the best run.
    fn layer(&mut self, group: &str, (kernel, stride, size, channels, out_channels): Layer) -> f64 {
        let window = same(kernel, stride, size);
        let [height, width] = window.output([size, size]);
        let (input, shape) = (tensor(&bytes(size * size * channels)), [1, size, size]);
        let requantize = Requantize { scale: vec![1e-4], zero_point: 9, min: 9, max: 255 };
        if out_channels == 0 {
            let weights = weights(kernel * kernel * channels);
            let conv = Depthwise::new(self.isa, window, channels, 1, &weights, None, 128, requantize);
            let mut output = Tensor::zeros(height * width * channels);
            let name = format!("depthwise {kernel}x{kernel}s{stride} {size}x{size}x{channels}");
            let work = output.len() * kernel * kernel;
            return self.time(group, &name, work, |pool| conv.run(pool, &input, shape, &mut output));
        }
        let weights = weights(out_channels * kernel * kernel * channels);
        let (order, groups, in_channels) = (WeightOrder::OutputFirst, 1, channels);
        let filter = Filter { window, groups, in_channels, out_channels, order, weights: &weights };
        let form = best_form(self.isa, &filter, [size; 2]);
        let conv = Conv2d::with_form(form, self.isa, &filter, None, 128, &requantize);
        let mut output = Tensor::zeros(height * width * out_channels);
        let name = format!("{kernel}x{kernel}s{stride} {size}x{size}x{channels}-{out_channels}");
        let work = output.len() * kernel * kernel * channels;
        self.time(group, &name, work, |pool| conv.run(pool, &input, shape, &mut output))
    }

    /// A layer with 16-bit activations, and the same one with bytes.
    fn words(&mut self, group: &str, layer: Layer) {
        let bytes_taken = self.layer(group, layer);
        let (kernel, stride, size, channels, out_channels) = layer;
        let window = same(kernel, stride, size);
        let [height, width] = window.output([size, size]);
        let (input, shape) = (tensor(&words(size * size * channels)), [1, size, size]);
        let requantize =
            int16::Requantize { scale: vec![1e-4], rule: int16::Rule::Reduced, min: 0, max: i16::MAX };
        let name = format!("int16 {kernel}x{kernel}s{stride} {size}x{size}x{channels}-{out_channels}");
        let taken = if out_channels == 0 {
            let weights = weights(kernel * kernel * channels);
            let conv = int16::Depthwise::new(self.isa, window, channels, 1, &weights, None, &requantize);
            let mut output = Tensor::zeros(height * width * channels);
            let work = output.len() * kernel * kernel;
            self.time(group, &name, work, |pool| conv.run(pool, &input, shape, &mut output))
        } else {
            let weights = weights(out_channels * kernel * kernel * channels);
            let (isa, bias) = (self.isa, None);
            let conv =
                int16::Conv2d::new(isa, window, 1, channels, out_channels, &weights, bias, &requantize);
            let mut output = Tensor::zeros(height * width * out_channels);
            let work = output.len() * kernel * kernel * channels;
            self.time(group, &name, work, |pool| conv.run(pool, &input, shape, &mut output))
        };
        // A filter may leave out either.
        if taken.is_finite() && bytes_taken.is_finite() {
            println!("    {name}: {:.2} times as long as with bytes", taken / bytes_taken);
        }
    }

    /// A dynamic-range layer of quantized samples, to numbers with their range, and to bytes: by way of
    /// numbers, and at once.
    fn dynamic(&mut self, group: &str, (kernel, stride, size, channels, out_channels): Layer) {
        let window = same(kernel, stride, size);
        let [height, width] = window.output([size, size]);
        let input = tensor(&bytes(size * size * channels));
        let samples = QuantizedSamples { bytes: &input, ranges: &[[-1.0, 3.0]] };
        let shape = [1, size, size];
        let rescale = Rescale { scale: vec![0.01], bias: None, clamp: Clamp::RELU6 };
        let outputs = height * width * if out_channels == 0 { channels } else { out_channels };
        let depth = kernel * kernel * if out_channels == 0 { 1 } else { channels };
        let weights = weights(outputs / (height * width) * depth);
        let layer: DynamicLayer<'_> = if out_channels == 0 {
            let conv = HybridDepthwise::new(self.isa, window, channels, 1, &weights, &rescale);
            Box::new(move |pool, output| conv.apply(pool, samples, shape, output))
        } else {
            let conv = HybridConv2d::new(self.isa, window, 1, channels, out_channels, &weights, &rescale);
            Box::new(move |pool, output| conv.apply(pool, samples, shape, output))
        };
        let (mut values, mut quantized) = (Tensor::zeros(outputs), Tensor::zeros(outputs));
        let mut ranges = [[0.0; 2]];
        let kind = if out_channels == 0 { "depthwise " } else { "" };
        let name = format!("{kind}{kernel}x{kernel}s{stride} {size}x{size}x{channels}-{out_channels}");
        let (work, isa) = (outputs * depth, self.isa);
        self.time(group, &format!("{name} to floats"), work, |pool| {
            layer(pool, HybridOutput::Floats { values: &mut values, ranges: Some(&mut ranges) });
        });
        self.time(group, &format!("{name} to floats to bytes"), work, |pool| {
            layer(pool, HybridOutput::Floats { values: &mut values, ranges: Some(&mut ranges) });
            quantize_by_ranges(isa, pool, &values, &ranges, &mut quantized);
        });
        self.time(group, &format!("{name} to bytes"), work, |pool| {
            layer(pool, HybridOutput::Bytes { values: &mut quantized, ranges: &mut ranges });
        });
    }
}

fn main() {
    let isa = match std::env::var("LITESMITH_ISA") {
        Ok(name) => name.parse().expect("an instruction set of this machine"),
        Err(_) => Isa::detect(),
    };
    let threads = std::env::var("LITESMITH_THREADS").map_or(1, |n| n.parse().expect("a number of threads"));
    let criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let mut bench = Bench { criterion, pool: ThreadPool::new(threads), isa };
    println!("{isa}, {threads} threads");
    for (group, layers) in
        [("resnet50", &RESNET50[..]), ("mobilenet_v2", &MOBILENET_V2), ("efficient_net", &EFFICIENT_NET)]
    {
        for layer in layers {
            bench.layer(group, *layer);
        }
    }
    WORDS.into_iter().for_each(|layer| bench.words("words", layer));
    DYNAMIC.into_iter().for_each(|layer| bench.dynamic("dynamic", layer));
    bench.criterion.final_summary();
}
