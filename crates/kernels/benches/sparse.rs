//! Layers of ResNet50 and MobileNetV2 at 224x224, batch 1, without their zeros, against the same layers dense.
//!
//! Prints for each layer, structure and share of zeros how many times faster than the best dense form each sparse
//! form is (the best of several runs that take turns), what the model of times expects, which form the runtime
//! would take, and what share of the peak the products that are left reach. Choose the instruction set and the
//! threads with `LITESMITH_ISA` and `LITESMITH_THREADS`, families by name as arguments.

use std::time::Instant;

use litesmith_kernels::float::{self, Clamp, Form};
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::quantized::{self, Filter, Requantize, WeightOrder};
use litesmith_kernels::sparse::{Layer, Numbers, Structure, gain};
use litesmith_kernels::{Isa, ThreadPool, Window};

/// Kernel size, stride, input height and width, input channels, output channels.
type Shape = (usize, usize, usize, usize, usize);

const POINTWISE: [Shape; 17] = [
    (1, 1, 56, 64, 64),
    (1, 1, 56, 256, 64),
    (1, 1, 56, 64, 256),
    (1, 1, 28, 512, 128),
    (1, 1, 28, 128, 512),
    (1, 1, 14, 1024, 256),
    (1, 1, 14, 256, 1024),
    (1, 1, 7, 2048, 512),
    (1, 1, 7, 512, 2048),
    (1, 1, 112, 16, 96),
    (1, 1, 56, 144, 24),
    (1, 1, 56, 24, 144),
    (1, 1, 28, 192, 32),
    (1, 1, 28, 32, 192),
    (1, 1, 14, 384, 64),
    (1, 1, 14, 64, 384),
    (1, 1, 7, 960, 160),
];

const WINDOWS: [Shape; 5] = [
    (3, 1, 56, 64, 64),
    (3, 1, 28, 128, 128),
    (3, 1, 14, 256, 256),
    (3, 1, 7, 512, 512),
    (3, 2, 28, 256, 256),
];

const DENSE: [Shape; 4] =
    [(1, 1, 1, 2048, 1000), (1, 1, 1, 1280, 1000), (1, 1, 1, 512, 512), (1, 1, 1, 128, 128)];

/// Shares of zeros, in percent.
const PERCENTS: [u64; 5] = [0, 30, 50, 75, 80];

/// Runs that take turns, of which the best count.
const TURNS: usize = 12;

fn layer((kernel, stride, size, in_channels, out_channels): Shape) -> Layer {
    let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
    let [before, after] = [total / 2, total - total / 2];
    let window = Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad_before: [before; 2],
        pad_after: [after; 2],
    };
    Layer { window, groups: 1, in_channels, out_channels, image: [size; 2] }
}

/// Whether a weight is left, of blocks of so many outputs and inputs.
fn is_left(index: usize, layer: &Layer, structure: Structure, percent: u64) -> bool {
    let [outputs, inputs] = match structure {
        Structure::Unstructured => [1, 1],
        Structure::Blocks { outputs, inputs } => [outputs, inputs],
    };
    let depth = layer.window.taps() * layer.in_channels;
    let (channel, step) = (index / depth, index % depth);
    let place = (channel / outputs * depth + step / inputs) as u64;
    ((place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 100 >= percent
}

/// The best seconds of each of some runs, which take turns.
fn seconds(runs: &mut [Box<dyn FnMut() + '_>]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; runs.len()];
    // Runs of at least some 2 ms together, so that clocks do not matter.
    let start = Instant::now();
    runs.iter_mut().for_each(|run| run());
    let once = start.elapsed().as_secs_f64() / runs.len() as f64;
    let repeats = (4e-4 / once).ceil().max(1.0) as usize;
    for _ in 0..TURNS {
        for (run, best) in runs.iter_mut().zip(&mut best) {
            let start = Instant::now();
            (0..repeats).for_each(|_| run());
            *best = best.min(start.elapsed().as_secs_f64() / repeats as f64);
        }
    }
    best
}

struct Bench {
    isa: Isa,
    pool: ThreadPool,
}

impl Bench {
    fn floats(&self, shape: Shape, structure: Structure, percent: u64) {
        let layer = layer(shape);
        let Layer { window, groups, in_channels, out_channels, image } = layer;
        let [height, width] = window.output(image);
        let input: Vec<f32> =
            (0..image[0] * image[1] * in_channels).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect();
        let weights: Vec<f32> = (0..out_channels * window.taps() * in_channels)
            .map(|i| if is_left(i, &layer, structure, percent) { (i * 31 % 97) as f32 + 1.0 } else { 0.0 })
            .collect();
        let dense = Form::best(&window, 1, in_channels, out_channels, image);
        let forms = [dense, Form::Blocks, Form::Scattered];
        let layers = forms.map(|form| {
            let clamp = Clamp::RELU;
            float::Conv2d::with_form(
                form,
                self.isa,
                window,
                groups,
                in_channels,
                out_channels,
                &weights,
                None,
                clamp,
            )
        });
        let mut outputs = forms.map(|_| vec![0.0; height * width * out_channels]);
        let shape_of_input = [1, image[0], image[1]];
        let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
        for (layer, output) in layers.iter().zip(&mut outputs) {
            runs.push(Box::new(|| layer.run(&self.pool, &input, shape_of_input, output)));
        }
        let times = seconds(&mut runs);
        let taken = Form::best_for(&weights, &window, 1, in_channels, out_channels, image);
        let left = weights.iter().filter(|weight| **weight != 0.0).count() * height * width;
        let expected = gain(self.isa, &layer, Numbers::Floats, structure, percent as f64 / 100.0);
        print_line(
            &shape_name(shape, structure, percent),
            &times,
            expected,
            taken,
            left as f64,
            peak(self.isa, &self.pool, Products::Floats),
        );
    }

    fn bytes(&self, shape: Shape, structure: Structure, percent: u64) {
        let layer = layer(shape);
        let Layer { window, groups, in_channels, out_channels, image } = layer;
        let [height, width] = window.output(image);
        let input: Vec<u8> = (0..image[0] * image[1] * in_channels).map(|i| (i * 7919 % 251) as u8).collect();
        let weights: Vec<i8> = (0..out_channels * window.taps() * in_channels)
            .map(|i| if is_left(i, &layer, structure, percent) { (i * 31 % 97) as i8 + 1 } else { 0 })
            .collect();
        let order = WeightOrder::OutputFirst;
        let filter = Filter { window, groups, in_channels, out_channels, order, weights: &weights };
        // Weights without zeros tell what a dense layer takes.
        let full = vec![1; weights.len()];
        let dense = quantized::best_form(self.isa, &Filter { weights: &full, ..filter }, image);
        let forms = [dense, Form::Blocks];
        let requantize = Requantize { scale: vec![1e-4], zero_point: 9, min: 9, max: 255 };
        let layers =
            forms.map(|form| quantized::Conv2d::with_form(form, self.isa, &filter, None, 128, &requantize));
        let mut outputs = forms.map(|_| vec![0; height * width * out_channels]);
        let shape_of_input = [1, image[0], image[1]];
        let mut runs: Vec<Box<dyn FnMut() + '_>> = Vec::new();
        for (layer, output) in layers.iter().zip(&mut outputs) {
            runs.push(Box::new(|| layer.run(&self.pool, &input, shape_of_input, output)));
        }
        let times = seconds(&mut runs);
        let taken = quantized::best_form(self.isa, &filter, image);
        let left = weights.iter().filter(|weight| **weight != 0).count() * height * width;
        let expected = gain(self.isa, &layer, Numbers::Bytes, structure, percent as f64 / 100.0);
        print_line(
            &shape_name(shape, structure, percent),
            &times,
            expected,
            taken,
            left as f64,
            peak(self.isa, &self.pool, Products::Bytes),
        );
    }
}

fn shape_name((kernel, stride, size, from, to): Shape, structure: Structure, percent: u64) -> String {
    let structure = match structure {
        Structure::Unstructured => "single".to_owned(),
        Structure::Blocks { outputs, inputs } => format!("{outputs}x{inputs}"),
    };
    format!("{kernel}x{kernel}s{stride} {size}x{size}x{from}-{to} {structure} {percent} %")
}

fn print_line(name: &str, times: &[f64], expected: f64, taken: Form, left: f64, peak: f64) {
    let ratios: Vec<String> = times[1..].iter().map(|time| format!("{:.2}", times[0] / time)).collect();
    let best = times[1..].iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{name:42} dense {:8.1} us; sparse {} times faster; expected {expected:.2} ({taken:?}); {:.0} % of the peak",
        times[0] * 1e6,
        ratios.join(", "),
        left / best / peak * 100.0,
    );
}

fn main() {
    let isa = match std::env::var("LITESMITH_ISA") {
        Ok(name) => name.parse().expect("an instruction set of this machine"),
        Err(_) => Isa::detect(),
    };
    let threads = std::env::var("LITESMITH_THREADS").map_or(1, |n| n.parse().expect("a number of threads"));
    let bench = Bench { isa, pool: ThreadPool::new(threads) };
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    println!("{isa}, {threads} threads; float forms are blocks, then single weights");
    let [columns, squares] =
        [[16, 1], [16, 4]].map(|[outputs, inputs]| Structure::Blocks { outputs, inputs });
    for (family, shapes, structure) in [
        ("floats-single-1x1", &POINTWISE[..], Structure::Unstructured),
        ("floats-single-3x3", &WINDOWS, Structure::Unstructured),
        ("floats-single-dense", &DENSE, Structure::Unstructured),
        ("floats-blocks-1x1", &POINTWISE, columns),
        ("floats-blocks-3x3", &WINDOWS, columns),
        ("floats-blocks-dense", &DENSE, columns),
        ("bytes-blocks-1x1", &POINTWISE, squares),
        ("bytes-blocks-3x3", &WINDOWS, squares),
        ("bytes-blocks-dense", &DENSE, squares),
    ] {
        if !names.is_empty() && !names.iter().any(|name| family.contains(name.as_str())) {
            continue;
        }
        println!("{family}");
        for shape in shapes {
            for percent in PERCENTS {
                if family.starts_with("bytes") {
                    bench.bytes(*shape, structure, percent);
                } else {
                    bench.floats(*shape, structure, percent);
                }
            }
        }
    }
}
