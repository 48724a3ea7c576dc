//! Winograd's forms against the plain loop in double precision, on random shapes.

use proptest::prelude::*;

use super::Form;
use crate::cases::{for_cases, machines};
use crate::float::tests::{numbers, outputs, widen};
use crate::float::{Clamp, Conv2d};
use crate::reference::convolution::{self as reference, ConvShape};
use crate::{Isa, ThreadPool, Window};

const FORMS: [Form; 2] = [Form::Winograd2, Form::Winograd4];
const SAME: Window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };

fn convolutions() -> impl Strategy<Value = ConvShape> {
    let channels = prop_oneof![1usize..12, 12usize..80];
    let padding = || [0usize..4, 0usize..4];
    (1usize..4, [1usize..15, 1usize..15], padding(), padding(), channels.clone(), channels).prop_map(
        |(batch, [height, width], pad_before, pad_after, in_channels, out_channels)| ConvShape {
            input: [batch, height, width],
            window: Window { kernel: [3; 2], pad_before, pad_after, ..Window::POINT },
            groups: 1,
            in_channels,
            out_channels,
        },
    )
}

fn packed(form: Form, isa: Isa, shape: &ConvShape, weights: &[f32], clamp: Clamp) -> Conv2d {
    let &ConvShape { window, in_channels, out_channels, .. } = shape;
    Conv2d::with_form(form, isa, window, 1, in_channels, out_channels, weights, None, clamp)
}

/// `got` is within a share of the usual size of a sum of `products` products of numbers below 1.
fn assert_close(got: &[f32], exact: &[f64], products: usize, what: &dyn std::fmt::Debug) {
    let tolerance = 1e-5 * (products as f64).sqrt();
    for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(error <= tolerance, "element {i} of {what:?}: {got} instead of {exact}");
    }
}

#[test]
fn both_forms_equal_the_plain_loop() {
    let clamps = prop::sample::select(vec![Clamp::NONE, Clamp::RELU, Clamp::RELU_N1_TO_1]);
    for_cases(60, (convolutions(), clamps, any::<bool>()), |(shape, clamp, biased)| {
        let ConvShape { window, in_channels, out_channels, .. } = shape;
        let input = numbers(shape.input.iter().product::<usize>() * in_channels, 1);
        let weights = numbers(out_channels * 9 * in_channels, 2);
        let bias = biased.then(|| numbers(out_channels, 3));
        let wide_bias = bias.as_deref().map(widen);
        let exact =
            reference::conv2d(&shape, &widen(&input), &widen(&weights), wide_bias.as_deref(), clamp.widen());
        for (isa, pool) in machines() {
            for form in FORMS {
                let bias = bias.as_deref();
                let conv =
                    Conv2d::with_form(form, isa, window, 1, in_channels, out_channels, &weights, bias, clamp);
                let mut output = vec![f32::NAN; outputs(&shape)];
                conv.run(&pool, &input, shape.input, &mut output);
                assert_close(&output, &exact, 9 * in_channels, &(shape, isa, form, pool.threads()));
            }
        }
    });
}

/// One sample alone on one thread has the bits it has in a batch on several, on every instruction set
/// with fused products.
#[test]
fn bits_do_not_depend_on_threads_batch_or_instruction_set() {
    for_cases(30, convolutions(), |shape| {
        let sample = shape.input[1] * shape.input[2] * shape.in_channels;
        let input = numbers(3 * sample, 1);
        let weights = numbers(shape.out_channels * 9 * shape.in_channels, 2);
        for form in FORMS {
            let mut fused: Option<Vec<f32>> = None;
            for isa in Isa::available_levels() {
                let conv = packed(form, isa, &shape, &weights, Clamp::NONE);
                let run = |pool: &ThreadPool, batch: usize, input: &[f32]| {
                    let input_shape = [batch, shape.input[1], shape.input[2]];
                    let mut output = vec![f32::NAN; outputs(&ConvShape { input: input_shape, ..shape })];
                    conv.run(pool, input, input_shape, &mut output);
                    output
                };
                let together = run(&ThreadPool::new(2), 3, &input);
                let alone: Vec<f32> =
                    input.chunks(sample).flat_map(|sample| run(&ThreadPool::new(1), 1, sample)).collect();
                assert_eq!(together, alone, "{shape:?} {isa} {form:?}");
                if isa != Isa::Portable {
                    assert_eq!(*fused.get_or_insert_with(|| together.clone()), together, "{shape:?} {isa}");
                }
            }
        }
    });
}

/// Large enough for several blocks of tiles, and for tasks that share tiles.
#[test]
fn bits_of_large_convolutions_do_not_depend_on_threads() {
    for (size, in_channels, out_channels) in [(30, 20, 40), (9, 70, 300)] {
        let shape = ConvShape { input: [1, size, size], window: SAME, groups: 1, in_channels, out_channels };
        let input = numbers(size * size * in_channels, 1);
        let weights = numbers(out_channels * 9 * in_channels, 2);
        let exact = reference::conv2d(&shape, &widen(&input), &widen(&weights), None, Clamp::NONE.widen());
        for isa in Isa::available_levels() {
            for form in FORMS {
                let conv = packed(form, isa, &shape, &weights, Clamp::NONE);
                let [one, two, five] = [1, 2, 5].map(|threads| {
                    let mut output = vec![f32::NAN; outputs(&shape)];
                    conv.run(&ThreadPool::new(threads), &input, shape.input, &mut output);
                    output
                });
                assert_eq!(one, two);
                assert_eq!(one, five);
                assert_close(&one, &exact, 9 * in_channels, &(shape, isa, form));
            }
        }
    }
}

#[test]
fn a_fused_residual_equals_separate_steps() {
    let shape = ConvShape { input: [2, 5, 7], window: SAME, groups: 1, in_channels: 5, out_channels: 37 };
    let input = numbers(2 * 5 * 7 * 5, 1);
    let addend = numbers(outputs(&shape), 2);
    let weights = numbers(37 * 9 * 5, 3);
    for (isa, pool) in machines() {
        for form in FORMS {
            let mut separate = vec![f32::NAN; addend.len()];
            packed(form, isa, &shape, &weights, Clamp::NONE).run(&pool, &input, shape.input, &mut separate);
            for (value, addend) in separate.iter_mut().zip(&addend) {
                *value = Clamp::RELU.apply(*value + addend);
            }
            let fused = packed(form, isa, &shape, &weights, Clamp::RELU);
            let mut output = vec![f32::NAN; addend.len()];
            fused.run_add(&pool, &input, shape.input, &addend, &mut output);
            assert_eq!(output, separate);
            output.copy_from_slice(&addend);
            fused.run_onto(&pool, &input, shape.input, &mut output);
            assert_eq!(output, separate);
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_the_tiles_that_see_it() {
    let shape = ConvShape { input: [1, 12, 12], window: SAME, groups: 1, in_channels: 3, out_channels: 18 };
    let mut input = numbers(12 * 12 * 3, 1);
    input[(5 * 12 + 5) * 3] = f32::NAN;
    for (isa, pool) in machines() {
        for form in FORMS {
            let mut output = vec![0.0; outputs(&shape)];
            let conv = packed(form, isa, &shape, &numbers(18 * 27, 2), Clamp::RELU);
            conv.run(&pool, &input, shape.input, &mut output);
            let [side, _] = form.tile();
            for (pixel, values) in output.chunks(18).enumerate() {
                let [y, x] = [pixel / 12, pixel % 12];
                let near = |at: usize| at.abs_diff(5) <= 1;
                let reached = |at: usize| at / side >= 4 / side && at / side <= 6 / side;
                if near(y) && near(x) {
                    assert!(values.iter().all(|value| value.is_nan()), "{isa} {form:?} {y} {x}");
                } else if !(reached(y) && reached(x)) {
                    assert!(values.iter().all(|value| value.is_finite()), "{isa} {form:?} {y} {x}");
                }
            }
        }
    }
}

#[test]
fn empty_images_give_empty_outputs() {
    let window = Window { kernel: [3; 2], ..Window::POINT };
    for form in FORMS {
        let shape = ConvShape { input: [1, 2, 2], window, groups: 1, in_channels: 2, out_channels: 3 };
        let conv = packed(form, Isa::Portable, &shape, &[1.0; 54], Clamp::NONE);
        conv.run(&ThreadPool::new(2), &[1.0; 8], shape.input, &mut []);
        conv.run(&ThreadPool::new(2), &[], [0, 5, 5], &mut []);
    }
}

#[test]
#[should_panic(expected = "does not fit")]
fn other_windows_are_refused() {
    let shape =
        ConvShape { input: [1, 5, 5], window: Window::POINT, groups: 1, in_channels: 1, out_channels: 1 };
    let _ = packed(Form::Winograd2, Isa::Portable, &shape, &[1.0], Clamp::NONE);
}
