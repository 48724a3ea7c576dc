//! Float32 kernels on the layers of ResNet50 and MobileNetV2 at 224x224, batch 1, the blocks of
//! MobileNetV2 in one pass, layers with a rectifier behind them, matrix-vector products, and transposed convolutions beside ordinary ones
//! of as many products.
//!
//! Prints, beside what criterion says, the multiply-adds per second of each layer (best of all
//! runs) and their share of the peak of fused multiply-adds measured just before; for matrix-vector
//! products, whose weights come from memory, also the share of the speed at which memory is read. The forms
//! of Winograd are counted with the products of the direct form, so that their share can, and should, be
//! above 100 %. Choose the instruction set and the threads with `LITESMITH_ISA` and `LITESMITH_THREADS`.

mod tensor;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use litesmith_kernels::elementwise::{Binary, Broadcast, binary};
use litesmith_kernels::float::{Block, Clamp, Conv2d, Depthwise, Form, MatMul, Rectifier, matmul};
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::transposed::{TransposeConv2d, TransposeWindow};
use litesmith_kernels::{Isa, ThreadPool, Window};
use tensor::Tensor;

/// Kernel size, stride, input height and width, input channels, output channels (0 = depthwise).
type Layer = (usize, usize, usize, usize, usize);

/// Layers of 3x3 beside those of the networks: few channels, and weights that come from memory.
const MORE_3X3: [Layer; 6] = [
    (3, 1, 56, 8, 8),
    (3, 1, 56, 16, 16),
    (3, 1, 112, 32, 32),
    (3, 1, 28, 128, 32),
    (3, 1, 7, 128, 32),
    (3, 1, 28, 512, 512),
];

const RESNET50: [Layer; 15] = [
    (7, 2, 224, 3, 64),
    (3, 1, 56, 64, 64),
    (3, 1, 28, 128, 128),
    (3, 1, 14, 256, 256),
    (3, 1, 7, 512, 512),
    (1, 1, 56, 256, 64),
    (1, 1, 56, 64, 256),
    (1, 2, 56, 256, 512),
    (1, 1, 28, 512, 128),
    (1, 1, 28, 128, 512),
    (1, 1, 14, 1024, 256),
    (1, 1, 14, 256, 1024),
    (1, 1, 7, 2048, 512),
    (1, 1, 7, 512, 2048),
    (1, 1, 1, 2048, 1000),
];

/// Heads that tell one or a few numbers for each pixel.
const FEW_OUTPUTS: [Layer; 12] = [
    (3, 1, 256, 8, 1),
    (3, 1, 256, 8, 2),
    (3, 1, 256, 8, 3),
    (3, 1, 256, 8, 4),
    (1, 1, 256, 16, 1),
    (1, 1, 256, 16, 2),
    (1, 1, 64, 64, 1),
    (1, 1, 64, 64, 2),
    (3, 1, 64, 64, 1),
    (3, 1, 64, 64, 2),
    (3, 1, 64, 64, 3),
    (1, 1, 1, 256, 1),
];

const MOBILENET_V2: [Layer; 14] = [
    (3, 2, 224, 3, 32),
    (3, 1, 112, 32, 0),
    (1, 1, 112, 32, 16),
    (1, 1, 112, 16, 96),
    (3, 2, 112, 96, 0),
    (1, 1, 56, 96, 24),
    (1, 1, 56, 24, 144),
    (3, 1, 56, 144, 0),
    (3, 1, 28, 192, 0),
    (3, 1, 14, 384, 0),
    (1, 1, 14, 64, 384),
    (1, 1, 14, 384, 64),
    (3, 1, 7, 960, 0),
    (1, 1, 7, 320, 1280),
];

/// Depthwise layers of EfficientNetB0 that MobileNetV2 has none of.
const EFFICIENTNET_B0: [Layer; 4] =
    [(5, 2, 56, 144, 0), (5, 1, 28, 240, 0), (5, 1, 14, 672, 0), (5, 1, 7, 1152, 0)];

/// Inverted residual blocks of MobileNetV2: stride of the depthwise convolution, input height and
/// width, channels of input, between and of output. The first expands by 3x3 of stride 2.
const BLOCKS: [[usize; 5]; 9] = [
    [1, 224, 3, 32, 16],
    [2, 112, 16, 96, 24],
    [1, 56, 24, 144, 24],
    [2, 56, 24, 144, 32],
    [1, 28, 32, 192, 32],
    [2, 28, 32, 192, 64],
    [1, 28, 40, 240, 40],
    [1, 28, 64, 384, 64],
    [1, 14, 112, 672, 112],
];

/// Transposed convolutions of generators and decoders: kernel size, stride, input height and width,
/// input channels, output channels.
const TRANSPOSED: [Layer; 6] = [
    (4, 2, 8, 256, 128),
    (4, 2, 32, 128, 64),
    (2, 2, 64, 64, 32),
    (3, 2, 64, 64, 32),
    (3, 1, 64, 64, 32),
    (4, 2, 64, 64, 3),
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

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn tensor(count: usize) -> Tensor<f32> {
    let mut tensor = Tensor::zeros(count);
    tensor.copy_from_slice(&numbers(count));
    tensor
}

struct Bench {
    criterion: Criterion,
    pool: ThreadPool,
    isa: Isa,
    /// Multiply-adds per second of all threads.
    peak: f64,
}

impl Bench {
    /// Times `step`, which does `work` multiply-adds; gives the seconds of the best run.
    fn time(&mut self, group: &str, name: &str, work: usize, mut step: impl FnMut(&ThreadPool)) -> f64 {
        let best = Cell::new(f64::INFINITY);
        let pool = &self.pool;
        let mut group = self.criterion.benchmark_group(group);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    step(pool);
                    let taken = start.elapsed();
                    best.set(best.get().min(taken.as_secs_f64()));
                    total += taken;
                }
                total
            });
        });
        group.finish();
        if best.get().is_finite() {
            let rate = work as f64 / best.get();
            println!(
                "    {name}: {:.1} us, {:.1} GMAC/s, {:.0} % of the peak of {:.1}",
                best.get() * 1e6,
                rate / 1e9,
                rate / self.peak * 100.0,
                self.peak / 1e9
            );
        }
        best.get()
    }

    fn layer(&mut self, group: &str, (kernel, stride, size, in_channels, out_channels): Layer) {
        let window = same(kernel, stride, size);
        let [height, width] = window.output([size, size]);
        let input = tensor(size * size * in_channels);
        if out_channels == 0 {
            let weights = numbers(kernel * kernel * in_channels);
            let conv = Depthwise::new(self.isa, window, in_channels, 1, &weights, None, Clamp::RELU6);
            let mut output = Tensor::zeros(height * width * in_channels);
            let name = format!("depthwise {kernel}x{kernel}s{stride} {size}x{size}x{in_channels}");
            let work = output.len() * kernel * kernel;
            self.time(group, &name, work, |pool| conv.run(pool, &input, [1, size, size], &mut output));
            return;
        }
        let weights = numbers(out_channels * kernel * kernel * in_channels);
        let clamp = Clamp::RELU;
        let conv = Conv2d::new(self.isa, window, 1, in_channels, out_channels, &weights, None, clamp);
        let mut output = Tensor::zeros(height * width * out_channels);
        let name = format!("{kernel}x{kernel}s{stride} {size}x{size}x{in_channels}-{out_channels}");
        let work = output.len() * kernel * kernel * in_channels;
        self.time(group, &name, work, |pool| conv.run(pool, &input, [1, size, size], &mut output));
        for form in [Form::Winograd2, Form::Winograd4] {
            if !form.fits(&window, 1) {
                continue;
            }
            let conv = Conv2d::with_form(
                form,
                self.isa,
                window,
                1,
                in_channels,
                out_channels,
                &weights,
                None,
                clamp,
            );
            let best = form == Form::best(&window, 1, in_channels, out_channels, [size; 2]);
            let name = format!("{name} {form:?}{}", if best { " (best)" } else { "" });
            self.time(group, &name, work, |pool| conv.run(pool, &input, [1, size, size], &mut output));
        }
    }

    /// An inverted residual block, its three layers one after the other and in one pass.
    fn block(&mut self, [stride, size, inputs, between, outputs]: [usize; 5]) {
        let first = if inputs == 3 { same(3, 2, size) } else { Window::POINT };
        let [expanded, _] = first.output([size, size]);
        let window = same(3, stride, expanded);
        let [out, _] = window.output([expanded, expanded]);
        let (isa, weights) = (self.isa, numbers((first.taps() * inputs).max(outputs).max(9) * between));
        let expand = &weights[..between * first.taps() * inputs];
        let expand = Arc::new(Conv2d::new(isa, first, 1, inputs, between, expand, None, Clamp::RELU6));
        let depthwise = Depthwise::new(isa, window, between, 1, &weights[..9 * between], None, Clamp::RELU6);
        let depthwise = Arc::new(depthwise);
        let project = Conv2d::dense(isa, between, outputs, &weights[..between * outputs], None, Clamp::NONE);
        let project = Arc::new(project);
        let pair = Block::new(&expand, None, &depthwise).expect("the layers fit");
        let block = pair.with_projection(None, &project).expect("the layers fit");

        let shape = [1, size, size];
        let x = tensor(size * size * inputs);
        let mut h = Tensor::zeros(expanded * expanded * between);
        let mut d = Tensor::zeros(out * out * between);
        let mut y = Tensor::zeros(out * out * outputs);
        let mut scratch = Tensor::zeros(block.scratch(shape, self.pool.threads()));
        let work = h.len() * first.taps() * inputs + d.len() * 9 + y.len() * between;
        let name = format!("{size}x{size}x{inputs}-{between}-{outputs} s{stride}");
        self.time("block", &format!("{name} apart"), work, |pool| {
            expand.run(pool, &x, shape, &mut h);
            depthwise.run(pool, &h, [1, expanded, expanded], &mut d);
            project.run(pool, &d, [1, out, out], &mut y);
        });
        self.time("block", &name, work, |pool| block.run(pool, &x, shape, None, None, &mut scratch, &mut y));
    }

    /// A layer of one tap with a parametric rectifier behind it, in a pass of its own and in the layer's.
    fn rectified(&mut self, [size, inputs, outputs]: [usize; 3]) {
        let (isa, weights, slopes) = (self.isa, numbers(inputs * outputs), numbers(outputs));
        let dense = Conv2d::dense(isa, inputs, outputs, &weights, None, Clamp::NONE);
        let rectifier = Rectifier::new(isa, &slopes);
        let shape = [1, size, size];
        let x = tensor(size * size * inputs);
        let [mut y, mut z] = [0, 1].map(|_| Tensor::zeros(size * size * outputs));
        let plan = Broadcast::new([&[size * size, outputs], &[outputs]]).expect("the slopes fit");
        let unbounded = [f32::NEG_INFINITY, f32::INFINITY];
        let work = y.len() * inputs;
        let name = format!("{size}x{size}x{inputs}-{outputs}");
        self.time("rectified", &format!("{name} apart"), work, |pool| {
            dense.run(pool, &x, shape, &mut y);
            let done = binary(isa, pool, Binary::Prelu, &plan, [&y, &slopes], unbounded, &mut z);
            done.expect("nothing is divided");
        });
        self.time("rectified", &name, work, |pool| {
            dense.run_rectified(pool, &x, shape, None, Some(&rectifier), &mut y);
        });
    }

    /// Rows times a matrix that comes from memory: one of many that no cache holds together.
    fn few_rows(&mut self, rows: usize) {
        const MATRICES: usize = 24;
        let (inputs, outputs) = (1280, 1000);
        let weights = numbers(inputs * outputs);
        let dense = || Conv2d::dense(self.isa, inputs, outputs, &weights, None, Clamp::NONE);
        let layers: Vec<Conv2d> = (0..MATRICES).map(|_| dense()).collect();
        let (x, mut y) = (tensor(rows * inputs), Tensor::zeros(rows * outputs));
        let mut next = layers.iter().cycle();
        let name = format!("{rows}x{inputs}x{outputs}");
        let seconds = self.time("few_rows", &name, rows * weights.len(), |pool| {
            next.next().expect("a cycle does not end").run(pool, &x, [rows, 1, 1], &mut y);
        });
        if seconds.is_finite() {
            let speed = size_of_val(&weights[..]) as f64 / seconds;
            let memory = read_speed(&self.pool);
            println!(
                "    {name}: {:.1} GB/s, {:.0} % of the {:.1} that memory gives",
                speed / 1e9,
                speed / memory * 100.0,
                memory / 1e9
            );
        }
    }

    /// A transposed convolution with SAME padding, and an ordinary one over its output of as many
    /// products: each output of either sees `kernel / stride` squared pixels.
    fn transposed(&mut self, (kernel, stride, size, inputs, outputs): Layer) {
        let crop = kernel.saturating_sub(stride) / 2;
        let window =
            TransposeWindow { kernel: [kernel; 2], stride: [stride; 2], crop: [crop; 2], tail: [stride; 2] };
        let weights = numbers(outputs * kernel * kernel * inputs);
        let conv = TransposeConv2d::new(self.isa, window, [inputs, outputs], &weights, None, Clamp::NONE);
        let input = tensor(size * size * inputs);
        let (shape, large) = ([1, size, size], size * stride);
        let mut scratch = Tensor::zeros(conv.scratch(shape));
        let mut output = Tensor::zeros(large * large * outputs);
        let work = size * size * kernel * kernel * inputs * outputs;
        let name = format!("{kernel}x{kernel}s{stride} {size}x{size}x{inputs} to {outputs}");
        self.time("transposed", &name, work, |pool| {
            conv.run(pool, &input, shape, &mut scratch, &mut output);
        });

        let taps = kernel.div_ceil(stride);
        let conv = Conv2d::new(
            self.isa,
            same(taps, 1, large),
            1,
            inputs,
            outputs,
            &weights[..outputs * taps * taps * inputs],
            None,
            Clamp::NONE,
        );
        let input = tensor(large * large * inputs);
        let work = large * large * taps * taps * inputs * outputs;
        let name = format!("ordinary {taps}x{taps} {large}x{large}x{inputs} to {outputs}");
        self.time("transposed", &name, work, |pool| {
            conv.run(pool, &input, [1, large, large], &mut output);
        });
    }

    fn matrices(&mut self, [rows, depth, columns]: [usize; 3], adjoint_b: bool) {
        let matrices = MatMul { rows, depth, columns, adjoint_a: false, adjoint_b };
        let [a, b] = [tensor(rows * depth), tensor(depth * columns)];
        let mut output = Tensor::zeros(rows * columns);
        let isa = self.isa;
        let name = format!("{rows}x{depth}x{columns}{}", if adjoint_b { " transposed" } else { "" });
        self.time("matmul", &name, rows * depth * columns, |pool| {
            matmul(isa, pool, matrices, &a, &[], &b, &[], &mut output);
        });
    }
}

/// Bytes per second at which the threads read memory, each in several streams.
fn read_speed(pool: &ThreadPool) -> f64 {
    const STREAMS: usize = 4;
    const LEN: usize = 32 << 20;
    let data = vec![1.0f32; LEN];
    let pieces: Vec<&[f32]> = data.chunks(LEN / STREAMS / pool.threads()).collect();
    let read = || {
        let start = Instant::now();
        pool.run(pool.threads(), &|task| {
            let streams: [&[f32]; STREAMS] = std::array::from_fn(|i| pieces[task * STREAMS + i]);
            let lines = streams[0].chunks_exact(16).zip(streams[1].chunks_exact(16));
            let lines = lines.zip(streams[2].chunks_exact(16).zip(streams[3].chunks_exact(16)));
            let mut sums = [0.0f32; 16];
            for ((a, b), (c, d)) in lines {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += (a[i] + b[i]) + (c[i] + d[i]);
                }
            }
            black_box(sums);
        });
        size_of_val(&data[..]) as f64 / start.elapsed().as_secs_f64()
    };
    (0..8).map(|_| read()).fold(0.0, f64::max)
}

fn main() {
    let isa = std::env::var("LITESMITH_ISA").map_or_else(
        |_| Isa::detect(),
        |name| name.parse().expect("LITESMITH_ISA names an instruction set of this machine"),
    );
    let threads = std::env::var("LITESMITH_THREADS")
        .map_or(1, |threads| threads.parse().expect("LITESMITH_THREADS is a number"));
    let pool = ThreadPool::new(threads);
    let criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .configure_from_args();
    let peak = peak(isa, &pool, Products::Floats);
    println!("{isa}, {} threads, peak {:.1} GMAC/s", pool.threads(), peak / 1e9);
    let mut bench = Bench { criterion, pool, isa, peak };
    RESNET50.into_iter().for_each(|layer| bench.layer("resnet50", layer));
    MORE_3X3.into_iter().for_each(|layer| bench.layer("more_3x3", layer));
    MOBILENET_V2.into_iter().for_each(|layer| bench.layer("mobilenet_v2", layer));
    EFFICIENTNET_B0.into_iter().for_each(|layer| bench.layer("efficientnet_b0", layer));
    FEW_OUTPUTS.into_iter().for_each(|layer| bench.layer("few_outputs", layer));
    BLOCKS.into_iter().for_each(|block| bench.block(block));
    [[96, 16, 16], [24, 64, 64]].into_iter().for_each(|layer| bench.rectified(layer));
    [1, 2, 8].into_iter().for_each(|rows| bench.few_rows(rows));
    TRANSPOSED.into_iter().for_each(|layer| bench.transposed(layer));
    for adjoint_b in [false, true] {
        bench.matrices([384, 64, 384], adjoint_b);
        bench.matrices([1, 768, 3072], adjoint_b);
        bench.matrices([384, 768, 768], adjoint_b);
    }
    bench.criterion.final_summary();
}
