//! The decomposed kernels against the plain loops, on random shapes.

use proptest::prelude::*;

use super::*;
use crate::Isa;
use crate::cases::{for_cases, machines};
use crate::float::Clamp;
use crate::quantized::{Requantize, Rescale, quantize_samples};
use crate::reference::transposed::{self as reference, TransposeShape};

/// Windows as models have them, and others: tails shorter and longer than the kernel, croppings of
/// more than a kernel.
fn shapes() -> impl Strategy<Value = TransposeShape> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let window = (pair(1..6), pair(1..5), pair(0..5), pair(1..8));
    let window =
        window.prop_map(|(kernel, stride, crop, tail)| TransposeWindow { kernel, stride, crop, tail });
    ([1usize..4, 1..7, 1..7], window, 1usize..20, 1usize..20).prop_map(
        |(input, window, in_channels, out_channels)| TransposeShape {
            input,
            window,
            in_channels,
            out_channels,
        },
    )
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + seed) * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| ((i + seed) * 7919 % 1009) as u8).collect()
}

fn weights(shape: &TransposeShape) -> Vec<i8> {
    let count = shape.out_channels * shape.window.taps() * shape.in_channels;
    bytes(count, 5).into_iter().map(|byte| (byte as i8).max(-127)).collect()
}

fn channels(shape: &TransposeShape) -> [usize; 2] {
    [shape.in_channels, shape.out_channels]
}

fn inputs(shape: &TransposeShape) -> usize {
    shape.input.iter().product::<usize>() * shape.in_channels
}

#[test]
fn float_kernels_equal_the_plain_loop() {
    for_cases(80, (shapes(), any::<bool>()), |(shape, biased)| {
        let input = numbers(inputs(&shape), 1);
        let weights = numbers(shape.out_channels * shape.window.taps() * shape.in_channels, 2);
        let bias = biased.then(|| numbers(shape.out_channels, 3));
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let wide_bias = bias.as_deref().map(wide);
        let clamp = Clamp::RELU_N1_TO_1;
        let exact = reference::transpose_conv2d(
            &shape,
            &wide(&input),
            &wide(&weights),
            wide_bias.as_deref(),
            clamp.widen(),
        );
        for (isa, pool) in machines() {
            let conv =
                TransposeConv2d::new(isa, shape.window, channels(&shape), &weights, bias.as_deref(), clamp);
            let mut scratch = vec![f32::NAN; conv.scratch(shape.input)];
            let mut output = vec![f32::NAN; shape.outputs()];
            conv.run(&pool, &input, shape.input, &mut scratch, &mut output);
            for (index, (got, exact)) in output.iter().zip(&exact).enumerate() {
                let error = (f64::from(*got) - exact).abs();
                assert!(error < 1e-4, "element {index} of {shape:?} on {isa}: {got} instead of {exact}");
            }
        }
    });
}

#[test]
fn quantized_kernels_equal_the_plain_loop() {
    for_cases(
        80,
        (shapes(), any::<bool>(), any::<[u8; 2]>()),
        |(shape, biased, [zero_point, output_zero])| {
            let (input, weights) = (bytes(inputs(&shape), 3), weights(&shape));
            let bias: Option<Vec<i32>> =
                biased.then(|| (0..shape.out_channels).map(|i| (i as i32 * 977) % 4000 - 2000).collect());
            let scale = (0..shape.out_channels).map(|i| 0.0005 + i as f32 * 0.0001).collect();
            let requantize = Requantize { scale, zero_point: output_zero, min: 3, max: 250 };
            let expected =
                reference::quantized(&shape, &input, &weights, bias.as_deref(), zero_point, &requantize);
            for (isa, pool) in machines() {
                let conv = QuantizedTransposeConv2d::new(
                    isa,
                    shape.window,
                    channels(&shape),
                    &weights,
                    bias.as_deref(),
                    zero_point,
                    &requantize,
                );
                let (mut scratch, mut output) =
                    (vec![0; conv.scratch(shape.input)], vec![0; shape.outputs()]);
                conv.run(&pool, &input, shape.input, &mut scratch, &mut output);
                assert_eq!(output, expected, "{shape:?} on {isa}");
            }
        },
    );
}

#[test]
fn hybrid_kernels_equal_the_plain_loop() {
    for_cases(60, shapes(), |shape| {
        let (input, weights) = (numbers(inputs(&shape), 11), weights(&shape));
        let scale = (0..shape.out_channels).map(|i| 0.01 + i as f32 * 0.001).collect();
        let rescale = Rescale { scale, bias: Some(numbers(shape.out_channels, 4)), clamp: Clamp::RELU6 };
        let (pool, mut own) = (ThreadPool::new(1), vec![0; input.len()]);
        let samples = quantize_samples(Isa::Portable, &pool, &input, shape.input[0], &mut own);
        let expected = reference::hybrid(&shape, &own, &samples, &weights, &rescale);
        for (isa, pool) in machines() {
            let conv = HybridTransposeConv2d::new(isa, shape.window, channels(&shape), &weights, &rescale);
            let (mut bytes, mut output) = (vec![0; input.len()], vec![f32::NAN; shape.outputs()]);
            let mut scratch = vec![f32::NAN; conv.scratch(shape.input)];
            conv.run(&pool, &input, shape.input, &mut bytes, &mut scratch, &mut output);
            assert_eq!(output, expected, "{shape:?} on {isa}");
        }
    });
}

#[test]
fn parts_alike_with_few_channels_are_one() {
    // Kernels as large as the stride, or twice, where the crop leaves all parts the same padding.
    for (kernel, crop, joined) in
        [([2, 2], [0, 0], 4), ([4, 4], [2, 2], 4), ([4, 4], [1, 1], 1), ([3, 2], [0, 0], 1)]
    {
        let window = TransposeWindow { kernel, stride: [2, 2], crop, tail: [2, 2] };
        for (out_channels, joined) in [(1, joined), (3, joined), (16, 1)] {
            let shape = TransposeShape { input: [2, 4, 5], window, in_channels: 5, out_channels };
            let (input, weights) = (bytes(inputs(&shape), 3), weights(&shape));
            let bias: Vec<i32> = (0..out_channels).map(|i| (i as i32 * 977) % 4000 - 2000).collect();
            let scale = (0..out_channels).map(|i| 0.0005 + i as f32 * 0.0001).collect();
            let requantize = Requantize { scale, zero_point: 9, min: 3, max: 250 };
            let expected = reference::quantized(&shape, &input, &weights, Some(&bias), 77, &requantize);
            for (isa, pool) in machines() {
                let (channels, bias) = (channels(&shape), Some(&bias[..]));
                let conv =
                    QuantizedTransposeConv2d::new(isa, window, channels, &weights, bias, 77, &requantize);
                let (mut scratch, mut output) =
                    (vec![0; conv.scratch(shape.input)], vec![0; shape.outputs()]);
                conv.run(&pool, &input, shape.input, &mut scratch, &mut output);
                assert_eq!(output, expected, "{shape:?} on {isa}");
                assert_eq!(conv.joined(), joined, "{shape:?}");
            }
        }
    }
}

#[test]
fn a_sample_does_not_see_the_others() {
    let window = TransposeWindow { kernel: [3, 4], stride: [2, 2], crop: [0, 1], tail: [2, 2] };
    let shape = TransposeShape { input: [3, 5, 6], window, in_channels: 4, out_channels: 7 };
    let (input, weights) = (numbers(inputs(&shape), 1), numbers(7 * 12 * 4, 2));
    let isa = Isa::detect();
    let conv = TransposeConv2d::new(isa, window, channels(&shape), &weights, None, Clamp::NONE);
    let run = |input: &[f32], batch: usize, threads: usize| {
        let input_shape = [batch, 5, 6];
        let mut scratch = vec![0.0; conv.scratch(input_shape)];
        let mut output = vec![0.0; batch * 10 * 12 * 7];
        conv.run(&ThreadPool::new(threads), input, input_shape, &mut scratch, &mut output);
        output
    };
    let together = run(&input, 3, 2);
    let apart: Vec<f32> = input.chunks(5 * 6 * 4).flat_map(|sample| run(sample, 1, 1)).collect();
    assert_eq!(together, apart);
}
