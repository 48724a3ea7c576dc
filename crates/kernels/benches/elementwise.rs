//! Element-wise kernels on the tensors of MobileNetV2, EfficientNetB0 and ResNet50, batch 1.
//!
//! Prints, beside what criterion says, the bytes that each kernel reads and writes per second
//! (best of all runs) and their share of a plain copy of as many bytes, measured just before.
//! Choose the instruction set and the threads with `LITESMITH_ISA` and `LITESMITH_THREADS`.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use litesmith_kernels::elementwise::{
    Affine, Binary, Broadcast, ChannelMap, MultiplyAdd, QuantizedBinary, Table, Unary, binary, unary,
};
use litesmith_kernels::optimizer::{Adam, Adjustment, Sgd, adam, sgd, squared_norm};
use litesmith_kernels::pooling::{average_pool_quantized, max_pool};
use litesmith_kernels::quantized::map_samples;
use litesmith_kernels::reduce::{QuantizedSum, Reduce, Reduction, reduce};
use litesmith_kernels::softmax::{QuantizedSoftmax, softmax};
use litesmith_kernels::{Isa, ThreadPool, Window, convert, movement};

struct Bench<'a> {
    criterion: &'a mut Criterion,
    isa: Isa,
    pool: ThreadPool,
}

impl Bench<'_> {
    /// Times `kernel`, which reads and writes `bytes` in all, and a copy that does as many.
    fn run(&mut self, name: &str, bytes: usize, mut kernel: impl FnMut(Isa, &ThreadPool)) {
        let copy = {
            let (source, mut target) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
            best(|| {
                target.copy_from_slice(black_box(&source));
                black_box(&mut target);
            })
        };
        let shortest = Cell::new(Duration::MAX);
        self.criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|runs| {
                let mut all = Duration::ZERO;
                for _ in 0..runs {
                    let start = Instant::now();
                    kernel(self.isa, &self.pool);
                    let time = start.elapsed();
                    shortest.set(shortest.get().min(time));
                    all += time;
                }
                all
            });
        });
        // Criterion filters by name: a kernel that did not run has no time.
        if shortest.get() < Duration::MAX {
            let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
            println!(
                "{name:<40} {:8.2} us {:7.1} GB/s {:5.0} % of a copy",
                shortest.get().as_secs_f64() * 1e6,
                rate(shortest.get()),
                100.0 * copy.as_secs_f64() / shortest.get().as_secs_f64(),
            );
        }
    }
}

fn best(mut work: impl FnMut()) -> Duration {
    let times = (0..200).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn floats(len: usize) -> Vec<f32> {
    bytes(len).iter().map(|&x| f32::from(x) * 0.05 - 6.0).collect()
}

const A: Affine = Affine { scale: 0.021, zero_point: 119 };
const B: Affine = Affine { scale: 0.013, zero_point: 140 };
const OUT: Affine = Affine { scale: 0.027, zero_point: 101 };

fn quantized(bench: &mut Bench<'_>) {
    let len = 56 * 56 * 144;
    let (a, b, mut output) = (bytes(len), bytes(len), vec![0; len]);
    let table = Table::unary(Unary::Silu, A, OUT);
    bench.run("table u8 56x56x144", 2 * len, |isa, pool| table.apply(isa, pool, &a, &mut output));
    let shape = [1, 56, 56, 144];
    let same = Broadcast::new([&shape, &shape]).expect("equal shapes");
    let excite = Broadcast::new([&shape, &[1, 1, 1, 144]]).expect("channels");
    for (name, operator) in [("add", Binary::Add), ("mul", Binary::Mul)] {
        let prepared = QuantizedBinary::new(operator, A, B, OUT, [0, 255]);
        bench.run(&format!("{name} u8 56x56x144"), 3 * len, |isa, pool| {
            prepared.apply(isa, pool, &same, [&a, &b], &mut output);
        });
        bench.run(&format!("{name} u8 56x56x144 by 144"), 2 * len, |isa, pool| {
            prepared.apply(isa, pool, &excite, [&a, &b[..144]], &mut output);
        });
    }
    for (size, channels) in [(56, 144), (56, 256), (28, 512), (14, 1024), (7, 544)] {
        let (len, shape) = (size * size * channels, format!("{size}x{size}x{channels}"));
        let [input, constants] = [&bytes(len), &bytes(channels)];
        let mut mapped = vec![0; len];
        let operator = |operator| QuantizedBinary::new(operator, A, B, OUT, [0, 255]);
        let map = |binary| ChannelMap::new(&operator(binary), constants, false);
        if let (Some(mul), Some(add)) = (map(Binary::Mul), map(Binary::Add)) {
            let both = mul.then(&add);
            let maps = [("mul", Some(&mul)), ("add", Some(&add)), ("mul, add", both.as_ref())];
            for (name, map) in maps.into_iter().filter_map(|(name, map)| Some((name, map?))) {
                bench.run(&format!("{name} u8 {shape} by constants"), 2 * len, |isa, pool| {
                    map.apply(isa, pool, input, &mut mapped);
                });
            }
        }
    }
    let plan = Reduction::new(&[1, 7, 7, 2048], &[1, 2]);
    let mean = QuantizedSum::mean(&plan, A, B);
    bench.run("mean u8 7x7x2048", 50 * 2048, |isa, pool| {
        mean.apply(isa, pool, &plan, &a[..49 * 2048], &mut output[..2048]);
    });
    let plan = Reduction::new(&[1, 112, 112, 32], &[1, 2]);
    let mean = QuantizedSum::mean(&plan, A, B);
    bench.run("mean u8 112x112x32", 112 * 112 * 32, |isa, pool| {
        mean.apply(isa, pool, &plan, &a[..112 * 112 * 32], &mut output[..32]);
    });
    let softmax = QuantizedSoftmax::new(0.1, 1.0);
    bench.run("softmax u8 1000", 2000, |isa, pool| {
        softmax.apply(isa, pool, [1, 1000, 1], &a[..1000], &mut output[..1000]);
    });
    let window =
        Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pad_before: [1, 1], pad_after: [1, 1] };
    let image = bytes(112 * 112 * 64);
    let pooled = 56 * 56 * 64;
    bench.run("max pool u8 112x112x64 3x3/2", image.len() + pooled, |isa, pool| {
        max_pool(isa, pool, &window, [1, 112, 112, 64], &image, [0, 255], &mut output[..pooled]);
    });
    let window = Window { stride: [1, 1], ..window };
    let pooled = 35 * 35 * 288;
    bench.run("average pool u8 35x35x288 3x3", 2 * pooled, |isa, pool| {
        let shape = [1, 35, 35, 288];
        average_pool_quantized(isa, pool, &window, shape, &a[..pooled], [0, 255], &mut output[..pooled]);
    });
    let mut wide = vec![0; 2 * len];
    bench.run("concat u8 56x56x144+144", 4 * len, |_, pool| {
        movement::concat(pool, 56 * 56, 1, &[(&a, 144), (&b, 144)], &mut wide);
    });
    let mut padded = vec![0; 58 * 58 * 144];
    bench.run("pad u8 56x56x144 by 1", 2 * len, |_, pool| {
        let pads = [[0, 0], [1, 1], [1, 1], [0, 0]];
        movement::pad(pool, &shape, &pads, 3, &a, &mut padded);
    });
}

fn float(bench: &mut Bench<'_>) {
    let len = 56 * 56 * 144;
    let (a, b, mut output) = (floats(len), floats(len), vec![0.0; len]);
    for (name, operator) in [
        ("silu", Unary::Silu),
        ("tanh", Unary::Tanh),
        ("exp", Unary::Exp),
        ("gelu", Unary::Gelu),
        ("relu", Unary::Relu),
    ] {
        bench.run(&format!("{name} f32 56x56x144"), 8 * len, |isa, pool| {
            unary(isa, pool, operator, &a, &mut output);
        });
    }
    let shape = [1, 56, 56, 144];
    let unclamped = [f32::NEG_INFINITY, f32::INFINITY];
    let same = Broadcast::new([&shape, &shape]).expect("equal shapes");
    bench.run("add f32 56x56x144", 12 * len, |isa, pool| {
        let _ = binary(isa, pool, Binary::Add, &same, [&a, &b], unclamped, &mut output);
    });
    let excite = Broadcast::new([&shape, &[1, 1, 1, 144]]).expect("channels");
    bench.run("mul f32 56x56x144 by 144", 8 * len, |isa, pool| {
        let _ = binary(isa, pool, Binary::Mul, &excite, [&a, &b[..144]], unclamped, &mut output);
    });
    bench.run("add f32 56x56x144 by 144", 8 * len, |isa, pool| {
        let _ = binary(isa, pool, Binary::Add, &excite, [&a, &b[..144]], unclamped, &mut output);
    });
    let [weight, addend] = [b[..144].to_vec(), b[144..288].to_vec()];
    let map = MultiplyAdd { weight, addend, bounds: [unclamped; 2] };
    bench.run("mul, add f32 56x56x144 by 144", 8 * len, |isa, pool| {
        map.apply(isa, pool, &a, &mut output);
    });
    let (mut quantized, mut ranges) = (vec![0; len], [[0.0; 2]]);
    bench.run("mul, add f32 56x56x144 by 144 to bytes", 9 * len, |isa, pool| {
        map_samples(isa, pool, &map, &a, &mut ranges, &mut quantized);
    });
    let plan = Reduction::new(&[1, 56, 56, 144], &[1, 2]);
    bench.run("mean f32 56x56x144", 4 * len, |isa, pool| {
        reduce(isa, pool, Reduce::Mean, &plan, &a, &mut output[..144]);
    });
    bench.run("softmax f32 1000", 8000, |isa, pool| {
        softmax(isa, pool, [1, 1000, 1], 1.0, &a[..1000], &mut output[..1000]);
    });
    bench.run("softmax f32 197x197", 8 * 197 * 197, |isa, pool| {
        softmax(isa, pool, [197, 197, 1], 1.0, &a[..197 * 197], &mut output[..197 * 197]);
    });
    let mut quantized = vec![0u8; len];
    bench.run("quantize 56x56x144", 5 * len, |isa, pool| {
        convert::quantize(isa, pool, &a, A, &mut quantized);
    });
    bench.run("dequantize 56x56x144", 5 * len, |isa, pool| {
        convert::dequantize(isa, pool, &quantized, A.scale, A.zero_point, &mut output);
    });
    bench.run("transpose f32 56x56x144 to 144x56x56", 8 * len, |_, pool| {
        movement::transpose(pool, &shape, &[0, 3, 1, 2], &a, &mut output);
    });
    bench.run("transpose f32 144x56x56 to 56x56x144", 8 * len, |_, pool| {
        movement::transpose(pool, &[1, 144, 56, 56], &[0, 2, 3, 1], &a, &mut output);
    });
}

/// A step of the optimizers on a parameter that no cache holds.
fn optimizers(bench: &mut Bench<'_>) {
    let len = 1 << 22;
    let (gradient, mut parameter) = (floats(len), floats(len));
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    let adjustment = Adjustment { l2: 1e-4, weight_decay: 1e-4, ..Adjustment::none(1e-3) };
    let rule = Sgd { momentum: 0.9, nesterov: false };
    bench.run("sgd, momentum 4M", 20 * len, |isa, pool| {
        sgd(isa, pool, &rule, &adjustment, &gradient, &mut parameter, &mut first);
    });
    let (one_minus_beta_1, one_minus_beta_2) = (0.1, 0.001);
    let rule = Adam { alpha: 1e-3, one_minus_beta_1, one_minus_beta_2, epsilon: 1e-7, amsgrad: false };
    bench.run("adam 4M", 28 * len, |isa, pool| {
        let slots = [&mut first[..], &mut second, &mut []];
        adam(isa, pool, &rule, &adjustment, &gradient, &mut parameter, slots);
    });
    bench.run("norm of a gradient 4M", 8 * len, |isa, pool| {
        black_box(squared_norm(isa, pool, &adjustment, &gradient, &parameter));
    });
}

fn main() {
    let isa = match std::env::var("LITESMITH_ISA") {
        Ok(name) => name.parse().unwrap_or_else(|error| panic!("{error}")),
        Err(_) => Isa::detect(),
    };
    let threads = std::env::var("LITESMITH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .without_plots()
        .configure_from_args();
    println!("{isa}, {threads} thread(s)");
    let mut bench = Bench { criterion: &mut criterion, isa, pool: ThreadPool::new(threads) };
    quantized(&mut bench);
    float(&mut bench);
    optimizers(&mut bench);
}
