//! Kernels of training on tensors of ResNet50, MobileNetV2 and EfficientNetB0 at 224x224, batch 8.
//!
//! Prints for each the shortest time of several runs, the bytes that it must read and write per
//! second, and their share of what a plain copy of as many bytes by the same threads reaches just
//! before; for depthwise convolutions also the share of the peak of multiply-adds. Most of these
//! tensors are larger than the caches, so that the share of a copy is the share of the memory's speed.
//! A copy fetches what it overwrites, which is not counted, so a kernel that mostly reads may pass it.
//!
//! Arguments are parts of the names of the kernels to run. Choose the instruction set and the threads
//! with `LITESMITH_ISA` and `LITESMITH_THREADS` (2 if not set).

mod tensor;

use std::hint::black_box;
use std::time::{Duration, Instant};

use litesmith_kernels::elementwise::Unary;
use litesmith_kernels::float::{Clamp, Depthwise};
use litesmith_kernels::gradient::batch_norm::{self, BatchNorm, Gradients, Statistics};
use litesmith_kernels::gradient::convolution::Scratch;
use litesmith_kernels::gradient::dropout::{Dropout, dropout};
use litesmith_kernels::gradient::fake_quantize::{self, Bits, Range};
use litesmith_kernels::gradient::normalized::{
    DepthwiseBackward, DepthwiseForward, Gathered, LayerGradients, Normalized, PointBackward, PointForward,
    Received, Source, Through,
};
use litesmith_kernels::gradient::{depthwise, pooling, resize, unary};
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::resize::{Coordinates, Resize};
use litesmith_kernels::{Isa, ThreadPool, Window};
use tensor::Tensor;

const BATCH: usize = 8;
const RUNS: usize = 15;

struct Bench {
    isa: Isa,
    pool: ThreadPool,
    wanted: Vec<String>,
    /// Multiply-adds a second.
    peak: f64,
    source: Vec<f32>,
    target: Vec<f32>,
}

impl Bench {
    /// Times `kernel`, which reads and writes `floats` in all and does so many multiply-adds.
    fn run(&mut self, name: &str, floats: usize, products: usize, mut kernel: impl FnMut(Isa, &ThreadPool)) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|part| name.contains(part)) {
            return;
        }
        let half = floats / 2;
        self.source.resize(half.max(self.source.len()), 1.0);
        self.target.resize(half.max(self.target.len()), 0.0);
        let (source, target) = (&self.source[..half], &mut self.target[..half]);
        let pool = &self.pool;
        let copy = shortest(|| {
            let rows = pool.rows_per_task(half, 64 * 1024);
            pool.run_rows(target, 1, rows, |first, piece| {
                piece.copy_from_slice(black_box(&source[first..first + piece.len()]));
            });
        });
        let time = shortest(|| kernel(self.isa, pool));
        let rate = 4.0 * floats as f64 / time.as_secs_f64() / 1e9;
        let of_copy = 100.0 * copy.as_secs_f64() / time.as_secs_f64();
        print!("{name:<48} {:8.3} ms {rate:6.1} GB/s {of_copy:4.0} % of a copy", time.as_secs_f64() * 1e3);
        if products > 0 {
            let rate = products as f64 / time.as_secs_f64();
            print!("  {:6.1} GMAC/s {:3.0} % of peak", rate / 1e9, 100.0 * rate / self.peak);
        }
        println!();
    }
}

fn shortest(mut work: impl FnMut()) -> Duration {
    work();
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn floats(len: usize) -> Tensor<f32> {
    let mut tensor = Tensor::zeros(len);
    for (i, x) in (0..).zip(tensor.iter_mut()) {
        *x = (u32::wrapping_mul(i, 2_654_435_761) >> 8) as f32 / 4e6 - 2.0;
    }
    tensor
}

fn batch_norms(bench: &mut Bench) {
    for (size, channels) in [(112, 64), (56, 64), (56, 256), (14, 1024), (112, 96), (7, 2048)] {
        let len = BATCH * size * size * channels;
        let (x, d, mut output) = (floats(len), floats(len), Tensor::zeros(len));
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        let (gamma, beta) = (vec![1.1; channels], vec![0.1; channels]);
        let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
        let shape = format!("{size}x{size}x{channels}");
        bench.run(&format!("batch norm statistics {shape}"), len, 0, |isa, pool| {
            batch_norm::statistics(isa, pool, &x, &mut mean, &mut variance);
        });
        for (activation, bounds) in [("", None), (" relu", Some([0.0, f32::INFINITY]))] {
            let (gamma, beta) = (Some(&gamma[..]), Some(&beta[..]));
            let (mean, variance) = (&mean[..], &variance[..]);
            let parameters = BatchNorm { mean, variance, epsilon: 1e-3, gamma, beta, bounds };
            bench.run(&format!("batch norm normalize{activation} {shape}"), 2 * len, 0, |isa, pool| {
                batch_norm::normalize(isa, pool, &parameters, &x, &mut output);
            });
            bench.run(&format!("batch norm gradient{activation} {shape}"), 5 * len, 0, |isa, pool| {
                let gradients =
                    Gradients { input: Some(&mut output), gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
                batch_norm::gradient(isa, pool, &parameters, Statistics::Batch, &x, &d, gradients);
            });
        }
    }
}

fn depthwises(bench: &mut Bench) {
    let layers = [
        (112, 32, 3, 1),
        (112, 96, 3, 2),
        (56, 144, 3, 1),
        (56, 144, 3, 2),
        (28, 192, 3, 1),
        (14, 576, 3, 1),
        (14, 576, 3, 2),
        (7, 960, 3, 1),
        (28, 240, 5, 1),
        (14, 672, 5, 1),
        (14, 672, 5, 2),
        (56, 144, 5, 2),
    ];
    for (size, channels, kernel, stride) in layers {
        let output = size / stride;
        let pads = (output - 1) * stride + kernel - size;
        let window = Window {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad_before: [pads / 2; 2],
            pad_after: [pads - pads / 2; 2],
        };
        let shape = [BATCH, size, size];
        let (inputs, outputs) = (BATCH * size * size * channels, BATCH * output * output * channels);
        let (x, d, w) = (floats(inputs), floats(outputs), floats(kernel * kernel * channels));
        let (mut y, mut dx, mut dw) = (Tensor::zeros(outputs), Tensor::zeros(inputs), vec![0.0; w.len()]);
        let products = outputs * kernel * kernel;
        let name = format!("{kernel}x{kernel}/{stride} {size}x{size}x{channels}");
        let forward = Depthwise::new(bench.isa, window, channels, 1, &w, None, Clamp::NONE);
        bench.run(&format!("depthwise {name}"), inputs + outputs, products, |_, pool| {
            forward.run(pool, &x, shape, &mut y);
        });
        let kernel = depthwise::InputGradient::new(bench.isa, window, channels, 1, &w);
        bench.run(&format!("depthwise input gradient {name}"), inputs + outputs, products, |_, pool| {
            kernel.run(pool, shape, &d, &mut dx);
        });
        bench.run(&format!("depthwise weight gradient {name}"), inputs + outputs, products, |isa, pool| {
            depthwise::weights(isa, pool, &window, shape, channels, 1, &x, &d, &mut dw);
        });
    }
}

/// Layers between normalizations, both of whose tensors are computed where they are read.
fn between(bench: &mut Bench) {
    let window = |stride: usize| Window {
        kernel: [3; 2],
        stride: [stride; 2],
        pad_before: [2 - stride; 2],
        pad_after: [1; 2],
        ..Window::POINT
    };
    let layers = [
        (112, [32, 16], None),
        (112, [16, 96], None),
        (56, [96, 24], None),
        (56, [24, 144], None),
        (28, [32, 192], None),
        (14, [64, 384], None),
        (112, [32; 2], Some(window(1))),
        (112, [96; 2], Some(window(2))),
        (56, [144; 2], Some(window(1))),
        (56, [144; 2], Some(window(2))),
        (28, [192; 2], Some(window(1))),
        (14, [384; 2], Some(window(1))),
    ];
    for (size, [inputs, outputs], depthwise) in layers {
        let shape = [BATCH, size, size];
        let window = depthwise.unwrap_or(Window::POINT);
        let [height, width] = window.output([size; 2]);
        let (seen, made) = (BATCH * size * size * inputs, BATCH * height * width * outputs);
        let (x, mut y, d, mut dx) = (floats(seen), floats(made), floats(made), Tensor::zeros(seen));
        let weights = floats(if depthwise.is_some() { 9 * inputs } else { inputs * outputs });
        let (mut dw, mut sums) = (vec![0.0; weights.len()], vec![0.0; 2 * inputs]);
        let (mut mean, mut variance) = (vec![0.0; outputs], vec![1.0; outputs]);
        let most = inputs.max(outputs);
        let (zeros, ones) = (vec![0.0; 2 * most], vec![1.0; most]);
        let isa = bench.isa;
        let here = |tensor, channels: usize| {
            let (mean, variance) = (&zeros[..channels], &ones[..channels]);
            let bounds = Some([0.0, 6.0]);
            let parameters = BatchNorm { mean, variance, epsilon: 1e-3, gamma: None, beta: None, bounds };
            Normalized::new(isa, &parameters, tensor, None)
        };
        let source = Source::Normalized(here(&x, inputs));
        let products = made * weights.len() / outputs;
        let kind = if depthwise.is_some() { "3x3" } else { "1x1" };
        let name = format!("{kind}/{} {size}x{size}x{inputs} to {outputs}", window.stride[0]);
        let mut scratch = Scratch::new();
        {
            let mut point = PointForward::new(isa, [inputs, outputs], BATCH * size * size);
            let mut rows = depthwise.and_then(|window| DepthwiseForward::new(isa, window, shape, inputs));
            bench.run(&format!("between, forward {name}"), seen + made, products, |_, pool| {
                let gathered = Gathered { mean: &mut mean, variance: &mut variance, extremes: None };
                match &mut rows {
                    Some(rows) => rows.run(pool, &source, &weights, None, &mut y, gathered),
                    None => point.run(pool, &source, &weights, None, &mut scratch, &mut y, gathered),
                }
            });
        }
        let through = Through::new(here(&y, outputs), &d, &zeros[..2 * outputs]);
        let received = Received::Normalized(through);
        let mut point = PointBackward::new(isa, [inputs, outputs], BATCH * size * size);
        let mut rows = depthwise.and_then(|window| DepthwiseBackward::new(isa, window, shape, inputs));
        bench.run(&format!("between, backward {name}"), 2 * (seen + made), 2 * products, |_, pool| {
            let gradients = LayerGradients {
                input: Some(&mut dx),
                sums: Some(&mut sums),
                weights: Some(&mut dw),
                bias: None,
            };
            match &mut rows {
                Some(rows) => rows.run(pool, &source, &received, &weights, &mut scratch, gradients),
                None => point.run(pool, &source, &received, &weights, &mut scratch, gradients),
            }
        });
    }
}

fn others(bench: &mut Bench) {
    let len = BATCH * 112 * 112 * 64;
    let (x, d, mut dx) = (floats(len), floats(len), Tensor::zeros(len));
    let window =
        Window { kernel: [3; 2], stride: [2; 2], dilation: [1; 2], pad_before: [1; 2], pad_after: [0; 2] };
    let shape = [BATCH, 112, 112, 64];
    bench.run("max pool gradient 3x3/2 112x112x64", 2 * len + len / 4, 0, |isa, pool| {
        pooling::max_pool(isa, pool, &window, shape, &x, &d[..len / 4], &mut dx);
    });
    bench.run("average pool gradient 3x3/2 112x112x64", len + len / 4, 0, |isa, pool| {
        pooling::average_pool(isa, pool, &window, shape, &d[..len / 4], &mut dx);
    });
    for (name, operator) in [
        ("relu", Unary::Relu),
        ("relu6", Unary::Relu6),
        ("silu", Unary::Silu),
        ("logistic", Unary::Logistic),
        ("hard swish", Unary::HardSwish),
        ("gelu", Unary::Gelu),
        ("gelu tanh", Unary::GeluTanh),
        ("tanh", Unary::Tanh),
    ] {
        bench.run(&format!("{name} gradient 112x112x64"), 3 * len, 0, |isa, pool| {
            unary::unary(isa, pool, operator, &x, &d, &mut dx);
        });
    }
    let size =
        Resize { input: [BATCH, 56, 56, 64], output: [112, 112], coordinates: Coordinates::HalfPixelCenters };
    bench.run("bilinear gradient 56x56x64 to 112x112", len + len / 4, 0, |isa, pool| {
        resize::resize_bilinear(isa, pool, &size, &d, &mut dx[..len / 4]);
    });
    bench.run("nearest gradient 56x56x64 to 112x112", len + len / 4, 0, |isa, pool| {
        resize::resize_nearest(isa, pool, &size, &d, &mut dx[..len / 4]);
    });
    bench.run("dropout 112x112x64", 2 * len, 0, |isa, pool| {
        dropout(isa, pool, Dropout { rate: 0.2, seed: 1, step: 1 }, &x, &mut dx);
    });
    let mut range = [Range { min: 0.0, max: 0.0 }];
    bench.run("range 112x112x64", len, 0, |isa, pool| {
        fake_quantize::ranges(isa, pool, 1, &x, &mut range);
    });
    let grid = fake_quantize::grid(&[Range { min: -1.0, max: 1.0 }], Bits { count: 8, narrow: false }, 1);
    bench.run("straight-through gradient 112x112x64", 3 * len, 0, |isa, pool| {
        fake_quantize::gradient(isa, pool, &grid, &x, &d, &mut dx);
    });
}

fn main() {
    let isa = match std::env::var("LITESMITH_ISA") {
        Ok(name) => name.parse().unwrap_or_else(|error| panic!("{error}")),
        Err(_) => Isa::detect(),
    };
    let threads = std::env::var("LITESMITH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let pool = ThreadPool::new(threads);
    let peak = peak(isa, &pool, Products::Floats);
    println!("{isa}, {threads} thread(s), peak {:.1} GMAC/s", peak / 1e9);
    let wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut bench = Bench { isa, pool, wanted, peak, source: Vec::new(), target: Vec::new() };
    batch_norms(&mut bench);
    depthwises(&mut bench);
    between(&mut bench);
    others(&mut bench);
}
