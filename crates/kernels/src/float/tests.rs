//! The float kernels against the plain loops in double precision, on random shapes.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Block, Clamp, Conv2d, Depthwise, MatMul, Rectifier, matmul};
use crate::cases::{for_cases, machines};
use crate::reference::convolution::{self as reference, ConvShape};
use crate::{Isa, ThreadPool, Window};

/// Numbers in [-1, 1) that look random: a linear congruential generator (Knuth's constants).
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub(super) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// `products` is the length of the sums: each rounding adds at most half a unit of the largest
/// partial sum, which for numbers below 1 is at most `products`; the usual error is its root.
pub(super) fn assert_close(got: &[f32], exact: &[f64], products: usize, what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), exact.len());
    let tolerance = 4.0 * f64::from(f32::EPSILON) * (products as f64).max(4.0);
    for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(error <= tolerance, "element {i} of {what:?}: {got} instead of {exact}");
    }
}

/// Any window, or one of those for which depthwise convolution has functions of their own.
fn windows() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let padding = (pair(0..3), pair(0..3));
    let any = (pair(1..5), pair(1..4), pair(1..3));
    let common = (prop::sample::select(vec![3, 5]), 1usize..3)
        .prop_map(|(kernel, stride)| ([kernel; 2], [stride; 2], [1; 2]));
    (prop_oneof![any, common], padding).prop_map(|((kernel, stride, dilation), (pad_before, pad_after))| {
        Window { kernel, stride, dilation, pad_before, pad_after }
    })
}

pub(super) fn clamps() -> impl Strategy<Value = Clamp> {
    prop::sample::select(vec![Clamp::NONE, Clamp::RELU, Clamp::RELU6, Clamp::RELU_N1_TO_1])
}

pub(super) fn convolutions() -> impl Strategy<Value = ConvShape> {
    let channels = prop_oneof![1usize..12, 12usize..80];
    (1usize..4, [1usize..12, 1usize..12], windows(), 1usize..4, channels.clone(), channels).prop_map(
        |(batch, [height, width], window, groups, in_channels, out_channels)| ConvShape {
            input: [batch, height, width],
            window,
            groups,
            in_channels: in_channels.div_ceil(groups) * groups,
            out_channels: out_channels.div_ceil(groups) * groups,
        },
    )
}

/// The length of the output.
pub(super) fn outputs(shape: &ConvShape) -> usize {
    let [height, width] = shape.window.output([shape.input[1], shape.input[2]]);
    shape.input[0] * height * width * shape.out_channels
}

#[test]
fn convolutions_equal_the_plain_loop() {
    for_cases(60, (convolutions(), clamps(), any::<bool>()), |(shape, clamp, biased)| {
        let steps = shape.window.taps() * shape.in_channels / shape.groups;
        let input = numbers(shape.input.iter().product::<usize>() * shape.in_channels, 1);
        let weights = numbers(shape.out_channels * steps, 2);
        let bias = biased.then(|| numbers(shape.out_channels, 3));
        let wide_bias = bias.as_deref().map(widen);
        let exact =
            reference::conv2d(&shape, &widen(&input), &widen(&weights), wide_bias.as_deref(), clamp.widen());
        for (isa, pool) in machines() {
            let conv = Conv2d::new(
                isa,
                shape.window,
                shape.groups,
                shape.in_channels,
                shape.out_channels,
                &weights,
                bias.as_deref(),
                clamp,
            );
            let mut output = vec![f32::NAN; outputs(&shape)];
            conv.run(&pool, &input, shape.input, &mut output);
            assert_close(&output, &exact, steps, &(shape, isa, pool.threads()));
        }
    });
}

#[test]
fn depthwise_convolutions_equal_the_plain_loop() {
    for_cases(
        80,
        (convolutions(), clamps(), 1usize..4, any::<bool>()),
        |(shape, clamp, multiplier, biased)| {
            let out_channels = shape.in_channels * multiplier;
            let shape = ConvShape { groups: shape.in_channels, out_channels, ..shape };
            let input = numbers(shape.input.iter().product::<usize>() * shape.in_channels, 1);
            let weights = numbers(shape.window.taps() * out_channels, 2);
            let bias = biased.then(|| numbers(out_channels, 3));
            let wide_bias = bias.as_deref().map(widen);
            let exact = reference::depthwise(
                &shape,
                &widen(&input),
                &widen(&weights),
                wide_bias.as_deref(),
                clamp.widen(),
            );
            for (isa, pool) in machines() {
                let conv = Depthwise::new(
                    isa,
                    shape.window,
                    shape.in_channels,
                    multiplier,
                    &weights,
                    bias.as_deref(),
                    clamp,
                );
                let mut output = vec![f32::NAN; outputs(&shape)];
                conv.run(&pool, &input, shape.input, &mut output);
                assert_close(&output, &exact, shape.window.taps(), &(shape, isa, pool.threads()));
            }
        },
    );
}

#[test]
fn matrix_products_equal_the_plain_loop() {
    let sizes = (1usize..40, 0usize..50, 1usize..150);
    for_cases(40, (sizes, any::<[bool; 2]>(), 1usize..3), |((rows, depth, columns), adjoint, batch)| {
        let matrices = MatMul { rows, depth, columns, adjoint_a: adjoint[0], adjoint_b: adjoint[1] };
        // The one `b` serves every `a`.
        let a = numbers(batch * rows * depth, 1);
        let b = numbers(depth * columns, 2);
        let exact: Vec<f64> = (0..batch)
            .flat_map(|i| {
                reference::matmul(&matrices, &widen(&a[i * rows * depth..][..rows * depth]), &widen(&b))
            })
            .collect();
        for (isa, pool) in machines() {
            let mut output = vec![f32::NAN; exact.len()];
            matmul(isa, &pool, matrices, &a, &[batch], &b, &[1], &mut output);
            assert_close(&output, &exact, depth, &(matrices, isa, pool.threads()));
        }
    });
}

/// One sample alone on one thread has the bits it has in a batch on two threads, although its
/// pixels fall on other places of other tiles.
#[test]
fn bits_do_not_depend_on_threads_batch_or_tile() {
    for_cases(40, convolutions(), |shape| {
        let sample = shape.input[1] * shape.input[2] * shape.in_channels;
        let input = numbers(3 * sample, 1);
        let weights = numbers(shape.out_channels * shape.window.taps() * shape.in_channels, 2);
        let depthwise_weights = &weights[..shape.window.taps() * shape.in_channels];
        for isa in Isa::available_levels() {
            let ConvShape { window, in_channels, out_channels, .. } = shape;
            let conv = Conv2d::new(isa, window, 1, in_channels, out_channels, &weights, None, Clamp::NONE);
            let depthwise = Depthwise::new(isa, window, in_channels, 1, depthwise_weights, None, Clamp::NONE);
            let run = |pool: &ThreadPool, batch: usize, input: &[f32]| {
                let shape = ConvShape { input: [batch, shape.input[1], shape.input[2]], ..shape };
                let mut dense = vec![f32::NAN; outputs(&shape)];
                let mut single = vec![f32::NAN; outputs(&ConvShape { out_channels: in_channels, ..shape })];
                conv.run(pool, input, shape.input, &mut dense);
                depthwise.run(pool, input, shape.input, &mut single);
                (dense, single)
            };
            let (dense, single) = run(&ThreadPool::new(2), 3, &input);
            let alone: Vec<_> =
                input.chunks(sample).map(|sample| run(&ThreadPool::new(1), 1, sample)).collect();
            let dense_alone = alone.iter().flat_map(|(dense, _)| dense);
            let single_alone = alone.iter().flat_map(|(_, single)| single);
            assert!(dense.iter().zip(dense_alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{shape:?}");
            assert!(single.iter().zip(single_alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{shape:?}");
        }
    });
}

#[test]
fn a_fused_residual_equals_separate_steps() {
    let (shape, channels) = ([2, 5, 6], 37);
    let pixels: usize = shape.iter().product();
    let input = numbers(pixels * 3, 1);
    let addend = numbers(pixels * channels, 2);
    let weights = numbers(channels * 3, 3);
    for (isa, pool) in machines() {
        let dense = |clamp| Conv2d::new(isa, Window::POINT, 1, 3, channels, &weights, None, clamp);
        let mut separate = vec![f32::NAN; pixels * channels];
        dense(Clamp::NONE).run(&pool, &input, shape, &mut separate);
        for (value, addend) in separate.iter_mut().zip(&addend) {
            *value = Clamp::RELU.apply(*value + addend);
        }
        let fused = dense(Clamp::RELU);
        let mut output = vec![f32::NAN; pixels * channels];
        fused.run_add(&pool, &input, shape, &addend, &mut output);
        assert_eq!(output, separate);
        output.copy_from_slice(&addend);
        fused.run_onto(&pool, &input, shape, &mut output);
        assert_eq!(output, separate);
    }
}

/// Three convolutions in a single pass against the same three one after the other.
#[test]
fn blocks_have_the_bits_of_separate_kernels() {
    let sizes = (1usize..4, [1usize..14, 1usize..20], prop::sample::select(vec![1, 3, 16, 24]), 1usize..80);
    let windows = (
        any::<bool>(),
        prop::sample::select(vec![3, 5]),
        1usize..3,
        [[0usize..3, 0usize..3], [0usize..3, 0usize..3]],
    );
    for_cases(
        40,
        (sizes, windows, 1usize..50, clamps()),
        |((batch, [height, width], channels, between), windows, last, clamp)| {
            let (point, kernel, stride, [pad_before, pad_after]) = windows;
            let first = if point {
                Window::POINT
            } else {
                Window {
                    kernel: [3; 2],
                    stride: [2; 2],
                    pad_before: [1; 2],
                    pad_after: [1; 2],
                    ..Window::POINT
                }
            };
            let window =
                Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pad_before, pad_after };
            let shape = [batch, height, width];
            let [h, w] = first.output([height, width]);
            let [out_h, out_w] = window.output([h, w]);
            let input = numbers(batch * height * width * channels, 1);
            let weights = numbers((channels * first.taps()).max(window.taps()).max(last) * between, 2);
            let bias = numbers(between.max(last), 3);
            let addend = numbers(batch * out_h * out_w * last, 4);
            for (isa, pool) in machines() {
                let expand_weights = &weights[..between * first.taps() * channels];
                let expand = Arc::new(Conv2d::new(
                    isa,
                    first,
                    1,
                    channels,
                    between,
                    expand_weights,
                    Some(&bias[..between]),
                    clamp,
                ));
                let depthwise_weights = &weights[..window.taps() * between];
                let depthwise =
                    Depthwise::new(isa, window, between, 1, depthwise_weights, Some(&bias[..between]), clamp);
                let depthwise = Arc::new(depthwise);
                let project = &weights[..last * between];
                let project = Conv2d::dense(isa, between, last, project, Some(&bias[..last]), Clamp::NONE);
                let project = Arc::new(project);

                let mut expanded = vec![f32::NAN; batch * h * w * between];
                expand.run(&pool, &input, shape, &mut expanded);
                let mut filtered = vec![f32::NAN; batch * out_h * out_w * between];
                depthwise.run(&pool, &expanded, [batch, h, w], &mut filtered);
                let [mut plain, mut added] = [0, 1].map(|_| vec![f32::NAN; addend.len()]);
                project.run(&pool, &filtered, [batch, out_h, out_w], &mut plain);
                let filtered_shape = [batch, out_h, out_w];
                project.run_sum(&pool, &filtered, filtered_shape, Some(&addend), Clamp::RELU6, &mut added);

                let check = |block: &Block, addend, slopes: Option<&Rectifier>, expected: &[f32]| {
                    let mut scratch = vec![f32::NAN; block.scratch(shape, pool.threads())];
                    let mut output = vec![f32::NAN; expected.len()];
                    block.run(&pool, &input, shape, addend, slopes, &mut scratch, &mut output);
                    let equal = output.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(equal, "{isa} {} threads {shape:?} {first:?} {window:?}", pool.threads());
                };
                let pair = Block::new(&expand, None, &depthwise).expect("the kernels fit");
                let whole = pair.with_projection(None, &project).expect("the kernels fit");
                check(&pair, None, None, &filtered);
                check(&whole, None, None, &plain);
                check(&whole, Some((&addend[..], Clamp::RELU6)), None, &added);

                // Every layer with slopes behind it.
                let slopes = |count: usize| Arc::new(Rectifier::new(isa, &bias[..count]));
                let [first, second, third] = [slopes(between), slopes(between), slopes(last)];
                expand.run_rectified(&pool, &input, shape, None, Some(&first), &mut expanded);
                depthwise.run_rectified(&pool, &expanded, [batch, h, w], Some(&second), &mut filtered);
                let sum = Some((Some(&addend[..]), Clamp::RELU6));
                project.run_rectified(&pool, &filtered, filtered_shape, sum, Some(&third), &mut added);
                let pair = Block::new(&expand, Some(&first), &depthwise).expect("the kernels fit");
                let whole = pair.with_projection(Some(&second), &project).expect("the kernels fit");
                check(&pair, None, Some(&second), &filtered);
                check(&whole, Some((&addend[..], Clamp::RELU6)), Some(&third), &added);
            }
        },
    );
}

#[test]
fn kernels_that_do_not_fit_are_no_block() {
    let dense = |from: usize, to: usize| {
        Arc::new(Conv2d::dense(Isa::Portable, from, to, &vec![0.0; from * to], None, Clamp::NONE))
    };
    let depthwise = |kernel: usize, multiplier: usize| {
        let window = Window { kernel: [kernel; 2], ..Window::POINT };
        let weights = vec![0.0; kernel * kernel * 8 * multiplier];
        Arc::new(Depthwise::new(Isa::Portable, window, 8, multiplier, &weights, None, Clamp::NONE))
    };
    let pair = Block::new(&dense(4, 8), None, &depthwise(3, 1)).expect("the kernels fit");
    let whole = pair.with_projection(None, &dense(8, 4)).expect("the kernels fit");
    assert!(!pair.projects() && whole.projects());
    assert!(pair.with_projection(None, &dense(9, 4)).is_none());
    assert!(whole.with_projection(None, &dense(8, 4)).is_none());
    assert!(Block::new(&dense(4, 9), None, &depthwise(3, 1)).is_none());
    assert!(Block::new(&dense(4, 8), None, &depthwise(4, 1)).is_none());
    assert!(Block::new(&dense(4, 8), None, &depthwise(3, 2)).is_none());
    assert!(Block::new(&dense(1024, 8), None, &depthwise(3, 1)).is_none());
}

#[test]
fn blocks_pay_where_images_are_large() {
    let dense = Arc::new(Conv2d::dense(Isa::Portable, 4, 128, &[0.0; 512], None, Clamp::NONE));
    let window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
    let depthwise = Depthwise::new(Isa::Portable, window, 128, 1, &[0.0; 9 * 128], None, Clamp::NONE);
    let block = Block::new(&dense, None, &Arc::new(depthwise)).expect("the kernels fit");
    assert!(block.pays([1, 56, 56], 2));
    assert!(!block.pays([1, 56, 56], 16) && block.pays([16, 56, 56], 16));
    assert!(!block.pays([1, 14, 14], 1));
}

/// Large enough for several tasks per thread and several groups of resident panels.
#[test]
fn bits_of_large_convolutions_do_not_depend_on_threads() {
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    for (window, size, in_channels, out_channels) in
        [(window, 20, 40, 200), (Window::POINT, 7, 1024, 136), (Window::POINT, 1, 1024, 1001)]
    {
        let input = numbers(size * size * in_channels, 1);
        let weights = numbers(out_channels * window.taps() * in_channels, 2);
        for isa in Isa::available_levels() {
            let conv = Conv2d::new(isa, window, 1, in_channels, out_channels, &weights, None, Clamp::NONE);
            let [one, two, five] = [1, 2, 5].map(|threads| {
                let mut output = vec![f32::NAN; size * size * out_channels];
                conv.run(&ThreadPool::new(threads), &input, [1, size, size], &mut output);
                output
            });
            assert_eq!(one, two);
            assert_eq!(one, five);
            let shape = ConvShape { input: [1, size, size], window, groups: 1, in_channels, out_channels };
            let exact = reference::conv2d(&shape, &input, &weights, None, Clamp::NONE);
            assert_close(&one, &widen(&exact), window.taps() * in_channels, &(shape, isa));
        }
    }
}

#[test]
fn instruction_sets_with_fused_products_agree() {
    let (window, input) = (Window { kernel: [2, 2], ..Window::POINT }, numbers(9 * 9 * 5, 1));
    let weights = numbers(37 * 4 * 5, 2);
    let mut results = Isa::available_levels().into_iter().filter(|&isa| isa != Isa::Portable).map(|isa| {
        let mut output = vec![f32::NAN; 8 * 8 * 37];
        let conv = Conv2d::new(isa, window, 1, 5, 37, &weights, None, Clamp::NONE);
        conv.run(&ThreadPool::new(1), &input, [1, 9, 9], &mut output);
        output
    });
    if let Some(first) = results.next() {
        assert!(results.all(|other| other == first));
    }
}

#[test]
fn nan_and_infinity_come_through() {
    let window = Window { kernel: [2, 1], ..Window::POINT };
    let channels = 21;
    let mut input = vec![1.0; 3 * channels];
    input[4] = f32::NAN;
    input[5] = f32::INFINITY;
    for (isa, pool) in machines() {
        for clamp in [Clamp::NONE, Clamp::RELU6, Clamp::RELU] {
            let mut output = vec![0.0; 2 * channels];
            let depthwise = Depthwise::new(isa, window, channels, 1, &vec![1.0; 2 * channels], None, clamp);
            depthwise.run(&pool, &input, [1, 3, 1], &mut output);
            assert!(output[4].is_nan(), "{isa} {clamp:?}");
            assert_eq!(output[5], clamp.max);
            assert_eq!(output[channels + 4], 2.0);

            let mut output = vec![0.0; 2 * 35];
            let weights = vec![1.0; 35 * 2 * channels];
            let conv = Conv2d::new(isa, window, 1, channels, 35, &weights, None, clamp);
            conv.run(&pool, &input, [1, 3, 1], &mut output);
            assert!(output[..35].iter().all(|value| value.is_nan()), "{isa} {clamp:?}");
            assert!(output[35..].iter().all(|value| *value == clamp.max.min(42.0)));
        }
    }
}

#[test]
fn empty_images_give_empty_outputs() {
    let pool = ThreadPool::new(2);
    let window = Window { kernel: [3, 3], ..Window::POINT };
    for isa in Isa::available_levels() {
        let conv = Conv2d::new(isa, window, 1, 2, 3, &[1.0; 54], None, Clamp::NONE);
        conv.run(&pool, &[1.0; 8], [1, 2, 2], &mut []);
        conv.run(&pool, &[], [0, 5, 5], &mut []);
        let depthwise = Depthwise::new(isa, window, 2, 1, &[1.0; 18], None, Clamp::NONE);
        depthwise.run(&pool, &[1.0; 8], [1, 2, 2], &mut []);
    }
}

#[test]
#[should_panic(expected = "length of the output")]
fn a_wrong_output_length_is_refused() {
    let dense = Conv2d::dense(Isa::Portable, 2, 3, &[1.0; 6], None, Clamp::NONE);
    dense.run(&ThreadPool::new(1), &[1.0; 2], [1, 1, 1], &mut [0.0; 4]);
}

#[test]
fn dense_layers_multiply_rows() {
    for (isa, pool) in machines() {
        let dense = Conv2d::dense(isa, 2, 3, &[1., 2., 3., 4., 5., 6.], Some(&[0., 0., 100.]), Clamp::NONE);
        let mut output = [0.0; 6];
        dense.run(&pool, &[1., 10., 2., 20.], [2, 1, 1], &mut output);
        assert_eq!(output, [21., 43., 165., 42., 86., 230.]);
    }
}
