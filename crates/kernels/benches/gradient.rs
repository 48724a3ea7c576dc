//! Training of the convolutions and dense layers of ResNet50 and MobileNetV2 at 224x224, batch 8: the
//! forward pass with weights that are packed anew, and the gradients of input and weights.
//!
//! Prints of each the best time, multiply-adds per second, and their share of the peak of fused
//! multiply-adds measured just before. Winograd's forms are counted with the products of the direct form,
//! so that their share can be above 100 %. An argument picks the layers whose names contain it. Choose the
//! instruction set and the threads with `LITESMITH_ISA` and `LITESMITH_THREADS`.

mod tensor;

use std::time::{Duration, Instant};

use litesmith_kernels::gradient::convolution::{
    Forward, InputGradient, Scratch, WeightsGradient, bias_gradient,
};
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::{Isa, ThreadPool, Window};
use tensor::Tensor;

const BATCH: usize = 8;
/// Time spent on one measurement.
const TIME: Duration = Duration::from_millis(150);

/// How often a net has it, kernel size, stride, input height and width, input channels, output channels.
type Layer = [usize; 6];

const RESNET50: [Layer; 23] = [
    [1, 7, 2, 224, 3, 64],
    [1, 1, 1, 56, 64, 64],
    [3, 3, 1, 56, 64, 64],
    [4, 1, 1, 56, 64, 256],
    [2, 1, 1, 56, 256, 64],
    [1, 1, 2, 56, 256, 128],
    [1, 1, 2, 56, 256, 512],
    [4, 3, 1, 28, 128, 128],
    [4, 1, 1, 28, 128, 512],
    [3, 1, 1, 28, 512, 128],
    [1, 1, 2, 28, 512, 256],
    [1, 1, 2, 28, 512, 1024],
    [6, 3, 1, 14, 256, 256],
    [6, 1, 1, 14, 256, 1024],
    [5, 1, 1, 14, 1024, 256],
    [1, 1, 2, 14, 1024, 512],
    [1, 1, 2, 14, 1024, 2048],
    [3, 3, 1, 7, 512, 512],
    [3, 1, 1, 7, 512, 2048],
    [2, 1, 1, 7, 2048, 512],
    [1, 1, 1, 1, 2048, 1000],
    // Not of the net: a stride that leaves no input unread, and one of a transposed convolution's size.
    [0, 3, 2, 56, 64, 128],
    [0, 5, 2, 28, 128, 64],
];

const MOBILENET_V2: [Layer; 20] = [
    [1, 3, 2, 224, 3, 32],
    [1, 1, 1, 112, 32, 16],
    [1, 1, 1, 112, 16, 96],
    [1, 1, 1, 56, 96, 24],
    [2, 1, 1, 56, 24, 144],
    [1, 1, 1, 56, 144, 24],
    [1, 1, 1, 28, 144, 32],
    [3, 1, 1, 28, 32, 192],
    [2, 1, 1, 28, 192, 32],
    [1, 1, 1, 14, 192, 64],
    [4, 1, 1, 14, 64, 384],
    [3, 1, 1, 14, 384, 64],
    [1, 1, 1, 14, 384, 96],
    [3, 1, 1, 14, 96, 576],
    [2, 1, 1, 14, 576, 96],
    [1, 1, 1, 7, 576, 160],
    [3, 1, 1, 7, 160, 960],
    [2, 1, 1, 7, 960, 160],
    [1, 1, 1, 7, 320, 1280],
    [1, 1, 1, 1, 1280, 1000],
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

/// Numbers of both signs.
fn tensor(len: usize) -> Tensor<f32> {
    let mut tensor = Tensor::zeros(len);
    for (i, number) in tensor.iter_mut().enumerate() {
        *number = (i * 7919 % 1009) as f32 / 1009.0 - 0.5;
    }
    tensor
}

/// The seconds of the best run.
fn time(mut run: impl FnMut()) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < TIME || best.is_infinite() {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

struct Bench {
    pool: ThreadPool,
    isa: Isa,
    peak: f64,
    scratch: Scratch,
    filter: String,
}

impl Bench {
    /// Measures the layers of a net, and adds them up.
    fn net(&mut self, name: &str, layers: &[Layer]) {
        println!(
            "{name:26}{:>30}{:>30}{:>30}{:>11}",
            "forward", "input gradient", "weights gradient", "bias"
        );
        let mut sums = [0.0; 4];
        for &layer in layers {
            let [count, kernel, stride, size, inputs, outputs] = layer;
            let name = format!("{kernel}x{kernel}s{stride} {size}x{size}x{inputs}-{outputs}");
            if !name.contains(&self.filter) {
                continue;
            }
            let (seconds, work) = self.layer(layer);
            let column = |seconds: f64| {
                let rate = work / seconds;
                let share = rate / self.peak * 100.0;
                format!("{:9.0} us {:6.1} GMAC/s {share:4.0} %", seconds * 1e6, rate / 1e9)
            };
            let columns = [0, 1, 2].map(|i| column(seconds[i])).concat();
            println!("{name:20} x{count:<3}{columns} {:7.0} us", seconds[3] * 1e6);
            for (sum, seconds) in sums.iter_mut().zip(seconds) {
                *sum += seconds * count as f64 * 1e3;
            }
        }
        println!("all: {sums:.1?} ms\n");
    }

    /// The seconds that a layer takes: forward, gradient of input, of weights, of bias; and its products.
    fn layer(&mut self, [_, kernel, stride, size, inputs, outputs]: Layer) -> ([f64; 4], f64) {
        let Bench { pool, isa, scratch, .. } = self;
        let (window, shape, channels) = (same(kernel, stride, size), [BATCH, size, size], [inputs, outputs]);
        let [height, width] = window.output([size; 2]);
        let [of_input, of_output] = [BATCH * size * size * inputs, BATCH * height * width * outputs];
        let weights = outputs * kernel * kernel * inputs;
        let lengths = [of_input, weights, of_output, of_output, of_input, weights, outputs];
        let mut tensors = lengths.map(tensor);
        let [x, w, dy, y, dx, dw, db] = tensors.each_mut().map(|tensor| &mut **tensor);
        let mut forward = Forward::new(*isa, window, 1, channels, shape);
        let mut input = InputGradient::new(*isa, window, 1, channels, shape);
        let weights = WeightsGradient::new(*isa, window, 1, channels, shape);
        let seconds = [
            time(|| forward.run(pool, x, w, None, scratch, y)),
            time(|| input.run(pool, w, dy, scratch, dx)),
            time(|| weights.run(pool, x, dy, scratch, dw, None)),
            time(|| bias_gradient(*isa, pool, dy, scratch, db)),
        ];
        (seconds, (of_output * kernel * kernel * inputs) as f64)
    }
}

fn main() {
    let isa = std::env::var("LITESMITH_ISA").map_or_else(
        |_| Isa::detect(),
        |name| name.parse().expect("LITESMITH_ISA names an instruction set of this machine"),
    );
    let threads = std::env::var("LITESMITH_THREADS")
        .map_or(1, |threads| threads.parse().expect("LITESMITH_THREADS is a number"));
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let pool = ThreadPool::new(threads);
    let peak = peak(isa, &pool, Products::Floats);
    println!("{isa}, {} threads, peak {:.1} GMAC/s", pool.threads(), peak / 1e9);
    let mut bench = Bench { pool, isa, peak, scratch: Scratch::new(), filter };
    bench.net("ResNet50", &RESNET50);
    bench.net("MobileNetV2", &MOBILENET_V2);
}
