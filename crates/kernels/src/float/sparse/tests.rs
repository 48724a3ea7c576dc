//! Both forms against the plain loops in double precision, on random shapes with random zeros.

use std::sync::Arc;

use proptest::prelude::*;

use crate::cases::for_cases;
use crate::float::tests::{assert_close, clamps, convolutions, numbers, outputs, widen};
use crate::float::{Block, Clamp, Conv2d, Depthwise, Form};
use crate::reference::convolution::{self as reference, ConvShape};
use crate::{Isa, ThreadPool, Window};

const FORMS: [Form; 2] = [Form::Blocks, Form::Scattered];

/// Weights `[channels][depth]` of which a share in percent is zero: single ones, or 16 channels together.
fn with_zeros(channels: usize, depth: usize, percent: u64, blocks: bool) -> Vec<f32> {
    let mut weights = numbers(channels * depth, 2);
    for (index, weight) in weights.iter_mut().enumerate() {
        let (channel, step) = (index / depth, index % depth);
        let place = if blocks { channel / 16 * depth + step } else { index };
        let random = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if random % 100 < percent {
            *weight = if index % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    weights
}

/// Every instruction set with 1 and 3 threads.
fn machines() -> impl Iterator<Item = (Isa, ThreadPool)> {
    Isa::available_levels().into_iter().flat_map(|isa| [1, 3].map(|threads| (isa, ThreadPool::new(threads))))
}

fn form(
    form: Form,
    isa: Isa,
    shape: &ConvShape,
    weights: &[f32],
    bias: Option<&[f32]>,
    clamp: Clamp,
) -> Conv2d {
    let ConvShape { window, groups, in_channels, out_channels, .. } = *shape;
    Conv2d::with_form(form, isa, window, groups, in_channels, out_channels, weights, bias, clamp)
}

fn percents() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 50, 75, 90, 100])
}

#[test]
fn sparse_convolutions_equal_the_plain_loop() {
    let case = (convolutions(), clamps(), any::<[bool; 3]>(), percents());
    for_cases(60, case, |(shape, clamp, [biased, blocks, adds], percent)| {
        let shape = ConvShape { groups: 1, ..shape };
        let steps = shape.window.taps() * shape.in_channels;
        let input = numbers(shape.input.iter().product::<usize>() * shape.in_channels, 1);
        let weights = with_zeros(shape.out_channels, steps, percent, blocks);
        let bias = biased.then(|| numbers(shape.out_channels, 3));
        let wide_bias = bias.as_deref().map(widen);
        let bounds = if adds { Clamp::NONE } else { clamp };
        let mut exact =
            reference::conv2d(&shape, &widen(&input), &widen(&weights), wide_bias.as_deref(), bounds.widen());
        let addend = numbers(exact.len(), 4);
        if adds {
            exact
                .iter_mut()
                .zip(&addend)
                .for_each(|(sum, x)| *sum = clamp.widen().apply(*sum + f64::from(*x)));
        }
        for (isa, pool) in machines() {
            for kind in FORMS {
                let conv = form(kind, isa, &shape, &weights, bias.as_deref(), bounds);
                let mut output = vec![f32::NAN; outputs(&shape)];
                if adds {
                    conv.run_sum(&pool, &input, shape.input, Some(&addend), clamp, &mut output);
                } else {
                    conv.run(&pool, &input, shape.input, &mut output);
                }
                assert_close(&output, &exact, steps, &(kind, shape, isa, pool.threads()));
            }
        }
    });
}

/// One sample alone on one thread has the bits that it has in a batch on three threads, those of the dense form
/// and of every instruction set with fused multiply-add.
#[test]
fn bits_do_not_depend_on_threads_batch_or_instruction_set() {
    for_cases(30, (convolutions(), percents()), |(shape, percent)| {
        let sample = shape.input[1] * shape.input[2] * shape.in_channels;
        let input = numbers(3 * sample, 1);
        let shape = ConvShape { groups: 1, input: [3, shape.input[1], shape.input[2]], ..shape };
        let steps = shape.window.taps() * shape.in_channels;
        let weights = with_zeros(shape.out_channels, steps, percent, true);
        for kind in FORMS {
            let mut fused: Option<Vec<u32>> = None;
            for isa in Isa::available_levels() {
                let conv = form(kind, isa, &shape, &weights, None, Clamp::NONE);
                let run = |conv: &Conv2d, threads: usize, batch: usize, input: &[f32]| {
                    let shape = ConvShape { input: [batch, shape.input[1], shape.input[2]], ..shape };
                    let mut output = vec![f32::NAN; outputs(&shape)];
                    conv.run(&ThreadPool::new(threads), input, shape.input, &mut output);
                    // Zeros of either sign are one.
                    output.iter().map(|value| (value + 0.0).to_bits()).collect::<Vec<_>>()
                };
                let all = run(&conv, 3, 3, &input);
                let alone: Vec<u32> = input.chunks(sample).flat_map(|own| run(&conv, 1, 1, own)).collect();
                assert_eq!(all, alone, "{kind:?} {isa} {shape:?}");
                let dense = form(Form::Direct, isa, &shape, &weights, None, Clamp::NONE);
                assert_eq!(all, run(&dense, 1, 3, &input), "{kind:?} {isa} {shape:?}");
                if isa != Isa::Portable {
                    assert_eq!(*fused.get_or_insert_with(|| all.clone()), all, "{kind:?} {isa} {shape:?}");
                }
            }
        }
    });
}

/// Many blocks of steps, panels and tiles, and pixels a multiple of 4096 bytes apart.
#[test]
fn large_sparse_layers_equal_the_plain_loop() {
    let three = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
    for (window, size, in_channels, out_channels) in
        [(Window::POINT, 13, 1024, 136), (Window::POINT, 1, 1500, 1001), (three, 15, 70, 100)]
    {
        let shape = ConvShape { input: [1, size, size], window, groups: 1, in_channels, out_channels };
        let steps = window.taps() * in_channels;
        let input = numbers(size * size * in_channels, 1);
        let weights = with_zeros(out_channels, steps, 80, false);
        let exact = reference::conv2d(&shape, &widen(&input), &widen(&weights), None, Clamp::NONE.widen());
        for (isa, pool) in machines() {
            for kind in FORMS {
                let conv = form(kind, isa, &shape, &weights, None, Clamp::NONE);
                let mut output = vec![f32::NAN; outputs(&shape)];
                conv.run(&pool, &input, shape.input, &mut output);
                assert_close(&output, &exact, steps, &(kind, shape, isa, pool.threads()));
            }
        }
    }
}

/// Sparse convolutions before and behind a depthwise one, in one pass and one by one.
#[test]
fn blocks_of_layers_have_the_bits_of_separate_kernels() {
    let (channels, between, last, shape) = (24, 70, 40, [2, 9, 37]);
    let window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
    let input = numbers(shape.iter().product::<usize>() * channels, 1);
    let (expanding, projecting) =
        (with_zeros(between, channels, 75, false), with_zeros(last, between, 75, false));
    let filters = numbers(9 * between, 5);
    for (isa, pool) in machines() {
        for kind in FORMS {
            let layer = |from, to, weights: &[f32]| {
                let point = Window::POINT;
                Arc::new(Conv2d::with_form(kind, isa, point, 1, from, to, weights, None, Clamp::NONE))
            };
            let (expand, project) = (layer(channels, between, &expanding), layer(between, last, &projecting));
            let depthwise = Arc::new(Depthwise::new(isa, window, between, 1, &filters, None, Clamp::RELU6));
            let pixels: usize = shape.iter().product();
            let [mut expanded, mut filtered] = [0, 1].map(|_| vec![f32::NAN; pixels * between]);
            let mut separate = vec![f32::NAN; pixels * last];
            expand.run(&pool, &input, shape, &mut expanded);
            depthwise.run(&pool, &expanded, shape, &mut filtered);
            project.run(&pool, &filtered, shape, &mut separate);
            let block =
                Block::new(&expand, None, &depthwise).and_then(|block| block.with_projection(None, &project));
            let block = block.expect("the kernels fit");
            let mut scratch = vec![f32::NAN; block.scratch(shape, pool.threads())];
            let mut output = vec![f32::NAN; separate.len()];
            block.run(&pool, &input, shape, None, None, &mut scratch, &mut output);
            assert!(output == separate, "{kind:?} {isa} {} threads", pool.threads());
        }
    }
}

#[test]
fn other_weights_take_their_place() {
    for isa in Isa::available_levels() {
        for kind in FORMS {
            let shape = ConvShape {
                input: [1, 1, 1],
                window: Window::POINT,
                groups: 1,
                in_channels: 2,
                out_channels: 3,
            };
            let mut conv =
                form(kind, isa, &shape, &[0., 2., 0., 0., 5., 6.], Some(&[1., 1., 1.]), Clamp::NONE);
            let mut output = [0.0; 3];
            conv.run(&ThreadPool::new(1), &[1., 10.], [1, 1, 1], &mut output);
            assert_eq!(output, [21., 1., 66.]);
            conv.repack(&ThreadPool::new(1), &[1., 0., 0., 3., 0., 0.], None);
            conv.run(&ThreadPool::new(1), &[1., 10.], [1, 1, 1], &mut output);
            assert_eq!(output, [1., 30., 0.]);
        }
    }
}

#[test]
fn the_form_follows_the_zeros() {
    let best = |percent, blocks, [from, to]: [usize; 2], size| {
        let weights = with_zeros(to, from, percent, blocks);
        Form::best_for(&weights, &Window::POINT, 1, from, to, [size; 2])
    };
    assert_eq!(best(0, false, [64, 256], 28), Form::Direct);
    assert_eq!(best(80, false, [64, 256], 28), Form::Scattered);
    assert_eq!(best(80, true, [64, 256], 28), Form::Blocks);
    assert_eq!(best(20, false, [64, 256], 28), Form::Direct);
}
