//! Every kernel against the plain loops: random layers on every instruction set, on one and two
//! threads.

use proptest::prelude::*;

use crate::cases::{for_cases, machines};
use crate::float::Clamp;
use crate::reference::quantized as reference;
use crate::{Isa, ThreadPool, Window};

use super::*;

/// A layer and what it is applied to.
#[derive(Clone, Debug)]
struct Case {
    shape: [usize; 3],
    window: Window,
    groups: usize,
    in_channels: usize,
    out_channels: usize,
    seed: u64,
    /// Whether inputs and weights are at the ends of their ranges.
    extreme: bool,
    zero_points: [u8; 2],
    bounds: [u8; 2],
    per_channel: bool,
}

/// A small generator of repeatable numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize, extreme: bool) -> Vec<u8> {
        let byte = |number: u64| if extreme { 0_u8.wrapping_sub((number & 1) as u8) } else { number as u8 };
        (0..count).map(|_| byte(self.next() >> 11)).collect()
    }

    fn weights(&mut self, count: usize, extreme: bool) -> Vec<i8> {
        self.bytes(count, extreme).into_iter().map(|byte| (byte ^ 0x80) as i8).collect()
    }

    /// Evenly spread over `low` to `high`.
    fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

/// A window for images of at least one pixel; often one of those that have a kernel of their own.
fn windows() -> impl Strategy<Value = Window> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    let any = (pair(1, 5), pair(1, 3), pair(1, 2));
    let size = prop_oneof![Just([3, 3]), Just([5, 5]), [3..=8_usize, 3..=8]];
    let usual = (size, [1..=2_usize, 1..=2]).prop_map(|(kernel, stride)| (kernel, stride, [1, 1]));
    (prop_oneof![any, usual], pair(0, 3), pair(0, 3)).prop_map(
        |((kernel, stride, dilation), pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let channels =
        prop_oneof![(Just(1_usize), 1..=40_usize, 1..=70_usize), (2..=4_usize, 1..=9_usize, 1..=40_usize),];
    let window = prop_oneof![1 => Just(Window::POINT), 4 => windows()];
    let arithmetic = (any::<u64>(), any::<bool>(), any::<[u8; 2]>(), any::<[u8; 2]>(), any::<bool>());
    ([1..=3_usize, 1..=12, 1..=12], window, channels, arithmetic).prop_map(
        |(shape, window, (groups, group_in, group_out), arithmetic)| {
            let (seed, extreme, zero_points, mut bounds, per_channel) = arithmetic;
            bounds.sort_unstable();
            let (in_channels, out_channels) = (groups * group_in, groups * group_out);
            Case {
                shape,
                window,
                groups,
                in_channels,
                out_channels,
                seed,
                extreme,
                zero_points,
                bounds,
                per_channel,
            }
        },
    )
}

impl Case {
    fn filter<'a>(&self, order: WeightOrder, weights: &'a [i8]) -> Filter<'a> {
        let Case { window, groups, in_channels, out_channels, .. } = *self;
        Filter { window, groups, in_channels, out_channels, order, weights }
    }

    /// A depthwise case with these channels and group outputs as multiplier.
    fn depthwise(&self) -> Case {
        let multiplier = [1, 1, 1, 2, 5][self.seed as usize % 5];
        let out_channels = self.in_channels * multiplier;
        Case { groups: self.in_channels, out_channels, ..self.clone() }
    }

    fn inputs(&self) -> usize {
        self.shape.iter().product::<usize>() * self.in_channels
    }

    fn outputs(&self) -> usize {
        let [rows, columns] = self.window.output([self.shape[1], self.shape[2]]);
        self.shape[0] * rows * columns * self.out_channels
    }

    fn weights(&self) -> Vec<i8> {
        let count = self.window.taps() * self.in_channels / self.groups * self.out_channels;
        Numbers(self.seed ^ 1).weights(count, self.extreme)
    }

    fn scales(&self) -> Vec<f32> {
        let mut numbers = Numbers(self.seed ^ 2);
        let count = if self.per_channel { self.out_channels } else { 1 };
        // Up to where every output is at one of its bounds, and beyond the range of 32 bits.
        let largest = [2e-4, 2e-3, 0.1, 40.0, 1e6][(self.seed >> 3) as usize % 5];
        (0..count).map(|_| numbers.float(1e-5, largest)).collect()
    }

    fn bias(&self) -> Option<Vec<i32>> {
        let mut numbers = Numbers(self.seed ^ 3);
        let reach = if self.extreme { i64::from(i32::MAX) } else { 20_000 };
        let one = |number: u64| (number as i64 >> 8).rem_euclid(2 * reach + 1) - reach;
        (!self.seed.is_multiple_of(3))
            .then(|| (0..self.out_channels).map(|_| one(numbers.next()) as i32).collect())
    }

    fn requantize(&self) -> Requantize {
        let [min, max] = if self.seed % 5 < 3 { [0, 255] } else { self.bounds };
        Requantize { scale: self.scales(), zero_point: self.zero_points[1], min, max }
    }

    fn rescale(&self) -> Rescale {
        let mut numbers = Numbers(self.seed ^ 4);
        let bias = self.bias().map(|bias| bias.iter().map(|_| numbers.float(-9.0, 9.0)).collect());
        let clamp = if self.seed % 5 < 3 { Clamp::NONE } else { Clamp::RELU6 };
        Rescale { scale: self.scales(), bias, clamp }
    }

    /// Activations, each sample with a range of its own.
    fn floats(&self) -> Vec<f32> {
        let mut numbers = Numbers(self.seed ^ 5);
        let count = self.inputs() / self.shape[0];
        let sample = |sample: usize| {
            let low = if self.extreme { 0.0 } else { numbers.float(-4.0, 1.0) };
            let values: Vec<_> = (0..count).map(|_| numbers.float(low, 1.0 + sample as f32)).collect();
            values
        };
        (0..self.shape[0]).flat_map(sample).collect()
    }
}

/// Asserts that a kernel gives the same everywhere.
fn everywhere<T: Copy + PartialEq + std::fmt::Debug + Default>(
    expected: &[T],
    run: impl Fn(Isa, &ThreadPool, &mut [T]),
) {
    for (isa, pool) in machines() {
        let mut output = vec![T::default(); expected.len()];
        run(isa, &pool, &mut output);
        let wrong = output.iter().zip(expected).position(|(a, b)| a != b);
        if let Some(at) = wrong {
            let (got, want, threads) = (output[at], expected[at], pool.threads());
            let count = expected.len();
            panic!("{isa}, {threads} threads: [{at}] of {count} is {got:?}, should be {want:?}");
        }
    }
}

#[test]
fn convolutions_equal_plain_loops() {
    for_cases(60, cases(), |case| {
        let (weights, bias, requantize) = (case.weights(), case.bias(), case.requantize());
        let input = Numbers(case.seed).bytes(case.inputs(), case.extreme);
        let [zero_point, _] = case.zero_points;
        let filter = case.filter(WeightOrder::OutputFirst, &weights);
        let expected =
            reference::conv2d(&input, case.shape, &filter, bias.as_deref(), zero_point, &requantize);
        assert_eq!(expected.len(), case.outputs());
        everywhere(&expected, |isa, pool, output| {
            let Case { window, groups, in_channels, out_channels, .. } = case;
            let (bias, requantize) = (bias.as_deref(), requantize.clone());
            let conv = Conv2d::new(
                isa,
                window,
                groups,
                in_channels,
                out_channels,
                &weights,
                bias,
                zero_point,
                requantize,
            );
            conv.run(pool, &input, case.shape, output);
        })
    });
}

#[test]
fn depthwise_convolutions_equal_plain_loops() {
    for_cases(60, cases(), |case| {
        let case = case.depthwise();
        let (weights, bias, requantize) = (case.weights(), case.bias(), case.requantize());
        let input = Numbers(case.seed).bytes(case.inputs(), case.extreme);
        let [zero_point, _] = case.zero_points;
        let filter = case.filter(WeightOrder::OutputLast, &weights);
        let expected =
            reference::conv2d(&input, case.shape, &filter, bias.as_deref(), zero_point, &requantize);
        everywhere(&expected, |isa, pool, output| {
            let (channels, multiplier) = (case.in_channels, case.out_channels / case.in_channels);
            let (bias, requantize) = (bias.as_deref(), requantize.clone());
            let conv = Depthwise::new(
                isa,
                case.window,
                channels,
                multiplier,
                &weights,
                bias,
                zero_point,
                requantize,
            );
            conv.run(pool, &input, case.shape, output);
        })
    });
}

/// Results with the range of each sample, and what becomes of them when they are quantized by it.
struct Quantized {
    ranges: Vec<[f32; 2]>,
    bytes: Vec<u8>,
}

/// Quantizes `batch` samples plainly.
fn quantized(values: &[f32], batch: usize) -> Quantized {
    let (isa, pool) = (Isa::Portable, ThreadPool::new(1));
    let (mut ranges, mut bytes) = (vec![[0.0; 2]; batch], vec![0; values.len()]);
    sample_ranges(isa, &pool, values, &mut ranges);
    quantize_by_ranges(isa, &pool, values, &ranges, &mut bytes);
    Quantized { ranges, bytes }
}

/// Asserts that a layer gives its results, with their ranges and as bytes, from quantized samples.
fn gives_every_form(
    (isa, pool): (Isa, &ThreadPool),
    input: &[f32],
    batch: usize,
    expected: &[f32],
    apply: impl Fn(QuantizedSamples<'_>, HybridOutput<'_>),
) {
    let (input, expected_bytes) = (quantized(input, batch), quantized(expected, batch));
    let samples = QuantizedSamples { bytes: &input.bytes, ranges: &input.ranges };
    let (mut values, mut ranges) = (vec![0.0; expected.len()], vec![[9.0; 2]; batch]);
    apply(samples, HybridOutput::Floats { values: &mut values, ranges: Some(&mut ranges) });
    let threads = pool.threads();
    assert_eq!(ranges, expected_bytes.ranges, "{isa}, {threads} threads");
    assert!(values == expected, "{isa}, {threads} threads");
    let (mut bytes, mut ranges) = (vec![0; expected.len()], vec![[9.0; 2]; batch]);
    apply(samples, HybridOutput::Bytes { values: &mut bytes, ranges: &mut ranges });
    assert_eq!(ranges, expected_bytes.ranges, "{isa}, {threads} threads, bytes");
    assert!(bytes == expected_bytes.bytes, "{isa}, {threads} threads, bytes");
}

#[test]
fn hybrid_convolutions_equal_plain_loops() {
    for_cases(40, cases(), |case| {
        let (weights, rescale, input) = (case.weights(), case.rescale(), case.floats());
        let filter = case.filter(WeightOrder::OutputFirst, &weights);
        let expected = reference::hybrid_conv2d(&input, case.shape, &filter, &rescale);
        everywhere(&expected, |isa, pool, output| {
            let Case { window, groups, in_channels, out_channels, .. } = case;
            let conv = HybridConv2d::new(isa, window, groups, in_channels, out_channels, &weights, &rescale);
            conv.run(pool, &input, case.shape, &mut vec![0; input.len()], output);
            gives_every_form((isa, pool), &input, case.shape[0], &expected, |samples, output| {
                conv.apply(pool, samples, case.shape, output);
            });
        })
    });
}

#[test]
fn hybrid_depthwise_convolutions_equal_plain_loops() {
    for_cases(40, cases(), |case| {
        let case = case.depthwise();
        let (weights, rescale, input) = (case.weights(), case.rescale(), case.floats());
        let filter = case.filter(WeightOrder::OutputLast, &weights);
        let expected = reference::hybrid_conv2d(&input, case.shape, &filter, &rescale);
        everywhere(&expected, |isa, pool, output| {
            let (channels, multiplier) = (case.in_channels, case.out_channels / case.in_channels);
            let conv = HybridDepthwise::new(isa, case.window, channels, multiplier, &weights, &rescale);
            conv.run(pool, &input, case.shape, &mut vec![0; input.len()], output);
            gives_every_form((isa, pool), &input, case.shape[0], &expected, |samples, output| {
                conv.apply(pool, samples, case.shape, output);
            });
        })
    });
}

/// Samples large enough to be worked on one by one, by several tasks; one whose results are not
/// finite.
#[test]
fn large_hybrid_layers_equal_plain_loops() {
    let (shape, channels) = ([2, 20, 20], 40);
    let same = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let mut numbers = Numbers(3);
    let input: Vec<_> =
        (0..2 * 400 * channels).map(|i| numbers.float(-1.0, 1.0 + (i / 16_000) as f32)).collect();
    for (bias, clamp) in
        [(0.5, Clamp::NONE), (-2.0, Clamp::RELU), (9.0, Clamp::RELU6), (f32::INFINITY, Clamp::NONE)]
    {
        let rescale = Rescale { scale: vec![3e-3], bias: Some(vec![bias; channels]), clamp };
        let weights = numbers.weights(channels * channels, false);
        let (window, groups) = (Window::POINT, 1);
        let order = WeightOrder::OutputFirst;
        let filter = Filter {
            window,
            groups,
            in_channels: channels,
            out_channels: channels,
            order,
            weights: &weights,
        };
        let expected = reference::hybrid_conv2d(&input, shape, &filter, &rescale);
        let depthwise = Filter::depthwise(same, channels, 1, &weights[..9 * channels]);
        let expected_depthwise = reference::hybrid_conv2d(&input, shape, &depthwise, &rescale);
        for (isa, pool) in machines() {
            let conv = HybridConv2d::new(isa, window, groups, channels, channels, &weights, &rescale);
            gives_every_form((isa, &pool), &input, 2, &expected, |samples, output| {
                conv.apply(&pool, samples, shape, output);
            });
            let conv = HybridDepthwise::new(isa, same, channels, 1, depthwise.weights, &rescale);
            gives_every_form((isa, &pool), &input, 2, &expected_depthwise, |samples, output| {
                conv.apply(&pool, samples, shape, output);
            });
        }
    }
}

/// Enough channels and pixels for several blocks of panels and several tasks.
#[test]
fn large_convolutions_equal_plain_loops() {
    let same = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let dense = ([1, 1, 1], Window::POINT, 515, 1001);
    let rows = ([3, 1, 1], Window::POINT, 64, 130);
    let image = ([1, 28, 28], same, 24, 40);
    let channels = ([2, 7, 7], same, 130, 272);
    for (shape, window, in_channels, out_channels) in [dense, rows, image, channels] {
        let case = Case {
            shape,
            window,
            groups: 1,
            in_channels,
            out_channels,
            seed: 13,
            extreme: false,
            zero_points: [3, 131],
            bounds: [0, 255],
            per_channel: true,
        };
        let (weights, bias, requantize) = (case.weights(), case.bias(), case.requantize());
        let input = Numbers(case.seed).bytes(case.inputs(), false);
        let filter = case.filter(WeightOrder::OutputFirst, &weights);
        let expected = reference::conv2d(&input, shape, &filter, bias.as_deref(), 3, &requantize);
        everywhere(&expected, |isa, pool, output| {
            let (bias, requantize) = (bias.as_deref(), requantize.clone());
            let conv = if window == Window::POINT {
                Conv2d::dense(isa, in_channels, out_channels, &weights, bias, 3, requantize)
            } else {
                Conv2d::new(isa, window, 1, in_channels, out_channels, &weights, bias, 3, requantize)
            };
            conv.run(pool, &input, shape, output);
        });
    }
}

/// Rows of more pixels than depthwise kernels take at a time.
#[test]
fn wide_depthwise_convolutions_equal_plain_loops() {
    for (size, stride, width) in [(3, 1, 150), (5, 1, 150), (5, 2, 151), (7, 2, 131)] {
        let window = Window {
            kernel: [size; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad_before: [size / 2; 2],
            pad_after: [size / 2; 2],
        };
        let case = Case {
            shape: [2, 7, width],
            window,
            groups: 40,
            in_channels: 40,
            out_channels: 40,
            seed: 13,
            extreme: false,
            zero_points: [3, 131],
            bounds: [0, 255],
            per_channel: true,
        };
        let (weights, bias, requantize) = (case.weights(), case.bias(), case.requantize());
        let input = Numbers(case.seed).bytes(case.inputs(), false);
        let filter = case.filter(WeightOrder::OutputLast, &weights);
        let expected = reference::conv2d(&input, case.shape, &filter, bias.as_deref(), 3, &requantize);
        everywhere(&expected, |isa, pool, output| {
            let (bias, requantize) = (bias.as_deref(), requantize.clone());
            let conv = Depthwise::new(isa, window, 40, 1, &weights, bias, 3, requantize);
            conv.run(pool, &input, case.shape, output);
        });
    }
}

#[test]
fn a_sample_does_not_see_the_others() {
    let weights = Numbers(1).weights(48 * 20, false);
    let rescale = Rescale { scale: vec![0.01], bias: None, clamp: Clamp::NONE };
    let mut numbers = Numbers(2);
    let input: Vec<_> = (0..3 * 48).map(|i| numbers.float(-1.0, 1.0 + (i / 48) as f32)).collect();
    for isa in Isa::available_levels() {
        let (conv, pool) = (HybridConv2d::dense(isa, 48, 20, &weights, &rescale), ThreadPool::new(2));
        let run = |input: &[f32]| {
            let batch = input.len() / 48;
            let mut output = vec![0.0; batch * 20];
            conv.run(&pool, input, [batch, 1, 1], &mut vec![0; input.len()], &mut output);
            output
        };
        let alone: Vec<_> = input.chunks(48).flat_map(run).collect();
        assert_eq!(run(&input), alone, "{isa}");
    }
}

#[test]
fn odd_samples_are_quantized_alike_everywhere() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -0.0, 0.5];
    let inputs: Vec<Vec<f32>> = vec![
        vec![0.0; 70],
        vec![1e-45; 70],
        vec![f32::MAX, f32::MIN],
        (0..99).map(|i| odd[i % 8] * if i % 3 == 0 { 0.0 } else { 1.0 }).collect(),
        (0..200).map(|i| if i == 77 { f32::NAN } else { i as f32 - 50.0 }).collect(),
    ];
    for input in inputs {
        let quantize = |isa: Isa| {
            let mut output = vec![0; input.len()];
            let samples = quantize_samples(isa, &ThreadPool::new(2), &input, 1, &mut output);
            assert!(samples[0].scale.is_finite() && samples[0].scale > 0.0);
            (samples, output)
        };
        let expected = quantize(Isa::Portable);
        for isa in Isa::available_levels() {
            assert_eq!(quantize(isa), expected, "{isa}");
        }
    }
}

#[test]
fn ranges_give_the_expected_steps() {
    let of = |low, high| {
        let SampleQuantization { factor, zero_point, .. } = SampleQuantization::of_range(low, high);
        (factor, zero_point)
    };
    assert_eq!(of(0.0, 0.0), (1.0, 255));
    assert_eq!(of(0.0, 255.0), (1.0, 0));
    assert_eq!(of(1.0, 255.0), (1.0, 0));
    assert_eq!(of(-255.0, -3.0), (1.0, 255));
    // 127.5 is halfway; the even neighbour of the signed -0.5 is 0.
    assert_eq!(of(-1.0, 1.0), (127.5, 128));
}

#[test]
fn pixels_become_what_they_become_among_all() {
    let shape @ [batch, height, width, channels] = [2, 5, 4, 19];
    let input: Vec<f32> =
        (0..batch * height * width * channels).map(|i| (i * 37 % 101) as f32 - 40.0).collect();
    let pool = ThreadPool::new(2);
    for isa in Isa::available_levels() {
        let mut ranges = [[0.0; 2]; 2];
        sample_ranges(isa, &pool, &input, &mut ranges);
        let mut all = vec![0; input.len()];
        quantize_by_ranges(isa, &pool, &input, &ranges, &mut all);
        let mut some = vec![0; batch * 3 * 2 * channels];
        quantize_pixels(isa, &pool, &input, shape, [2, 3], &ranges, &mut some);
        let pixels = all.chunks(channels).enumerate().filter(|(pixel, _)| {
            (pixel / width % height).is_multiple_of(2) && (pixel % width).is_multiple_of(3)
        });
        assert_eq!(some, pixels.flat_map(|(_, pixel)| pixel.to_vec()).collect::<Vec<u8>>());
    }
}
