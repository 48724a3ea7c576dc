//! The gradients against the plain loops in double precision, on random shapes.

use proptest::prelude::*;

use super::*;
use crate::cases::for_cases;
use crate::reference::convolution::{self, ConvShape};
use crate::reference::gradient::convolution as reference;

/// Numbers in [-1, 1) that look random.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// Sums of `products` products, or of any computed by Winograd's forms, which are less exact.
fn assert_close(got: &[f32], exact: &[f64], products: usize, what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), exact.len());
    let largest = exact.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    let tolerance = 4.0 * f64::from(f32::EPSILON) * (products as f64).max(4.0) + 2e-5 * largest;
    for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(error <= tolerance, "element {i} of {what:?}: {got} instead of {exact}");
    }
}

/// Windows of any kind, with padding up to more than the kernel, and those that Winograd's forms are for.
fn windows() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let any = (pair(1..5), pair(1..4), pair(1..3), pair(0..4), pair(0..4)).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    );
    let common =
        (prop::sample::select(vec![1, 3, 7]), 1usize..3, 0usize..2).prop_map(|(kernel, stride, padding)| {
            let padding = [padding * (kernel / 2); 2];
            let (kernel, stride) = ([kernel; 2], [stride; 2]);
            Window { kernel, stride, dilation: [1; 2], pad_before: padding, pad_after: padding }
        });
    prop_oneof![any, common]
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let channels = prop_oneof![1usize..12, 12usize..80];
    (1usize..4, [1usize..14, 1usize..14], windows(), 1usize..4, channels.clone(), channels).prop_map(
        |(batch, [height, width], window, groups, in_channels, out_channels)| ConvShape {
            input: [batch, height, width],
            window,
            groups,
            in_channels: in_channels.div_ceil(groups) * groups,
            out_channels: out_channels.div_ceil(groups) * groups,
        },
    )
}

/// Large images, many channels, long rows, dense layers: several blocks, sections and parts.
fn large() -> Vec<ConvShape> {
    let three = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
    let seven =
        Window { kernel: [7; 2], stride: [2; 2], pad_before: [2; 2], pad_after: [3; 2], ..Window::POINT };
    let strided = Window { stride: [2; 2], ..Window::POINT };
    let shape = |input, window, in_channels, out_channels| ConvShape {
        input,
        window,
        groups: 1,
        in_channels,
        out_channels,
    };
    vec![
        shape([2, 60, 60], three, 5, 40),
        shape([3, 30, 30], three, 64, 17),
        shape([1, 70, 70], seven, 3, 20),
        shape([2, 5, 600], three, 9, 11),
        shape([8, 1, 1], Window::POINT, 300, 270),
        shape([2, 40, 41], strided, 24, 96),
        shape([4, 50, 50], Window::POINT, 16, 30),
        shape([2, 7, 7], three, 130, 140),
        ConvShape { groups: 4, ..shape([2, 30, 30], three, 16, 32) },
    ]
}

struct Case {
    shape: ConvShape,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(shape: ConvShape) -> Case {
        let [batch, height, width] = shape.input;
        let outputs = batch * shape.window.output([height, width]).iter().product::<usize>();
        Case {
            shape,
            input: numbers(batch * height * width * shape.in_channels, 1),
            weights: numbers(shape.out_channels * shape.window.taps() * shape.in_channels / shape.groups, 2),
            bias: numbers(shape.out_channels, 3),
            gradient: numbers(outputs * shape.out_channels, 4),
        }
    }

    /// Checks everything on every instruction set, and that threads make no difference.
    fn check(&self) {
        let Case { shape, input, weights, bias, gradient } = self;
        let ConvShape { input: size, window, groups, in_channels, out_channels } = *shape;
        let wide_bias = widen(bias);
        let exact =
            convolution::conv2d(shape, &widen(input), &widen(weights), Some(&wide_bias), Clamp::NONE.widen());
        let exact_input = reference::input_gradient(shape, &widen(weights), &widen(gradient));
        let exact_weights = reference::weights_gradient(shape, &widen(input), &widen(gradient));
        let exact_bias = reference::bias_gradient(out_channels, &widen(gradient));
        let pixels = gradient.len() / out_channels;
        let channels = [in_channels, out_channels];
        for isa in Isa::available_levels() {
            let mut scratch = Scratch::new();
            let mut of_input = InputGradient::new(isa, window, groups, channels, size);
            let of_weights = WeightsGradient::new(isa, window, groups, channels, size);
            let mut forward = Forward::new(isa, window, groups, channels, size);
            let mut run = |threads| {
                let pool = ThreadPool::new(threads);
                let mut output = vec![f32::NAN; gradient.len()];
                forward.run(&pool, input, weights, Some(bias), &mut scratch, &mut output);
                let [mut x, mut w] = [input, weights].map(|of| vec![f32::NAN; of.len()]);
                of_input.run(&pool, weights, gradient, &mut scratch, &mut x);
                let mut b = vec![f32::NAN; out_channels];
                of_weights.run(&pool, input, gradient, &mut scratch, &mut w, Some(&mut b));
                [output, x, w, b]
            };
            let results = run(1);
            let [output, x, w, b] = &results;
            let steps = window.taps() * in_channels / groups;
            assert_close(output, &exact, steps, &(isa, "output", shape));
            assert_close(x, &exact_input, window.taps() * out_channels / groups, &(isa, "input", shape));
            assert_close(w, &exact_weights, pixels, &(isa, "weights", shape));
            assert_close(b, &exact_bias, pixels, &(isa, "bias", shape));
            for (name, (one, three)) in
                ["output", "input", "weights", "bias"].into_iter().zip(results.iter().zip(&run(3)))
            {
                let other = one.iter().zip(three).position(|(one, three)| one.to_bits() != three.to_bits());
                assert_eq!(other, None, "{name} of {shape:?} on {isa} depends on threads");
            }
        }
    }
}

#[test]
fn gradients_equal_the_plain_loops() {
    for_cases(60, shapes(), |shape| Case::new(shape).check());
}

#[test]
fn gradients_of_large_layers_equal_the_plain_loops() {
    for shape in large() {
        Case::new(shape).check();
    }
}

#[test]
fn nothing_has_no_gradient() {
    let window = Window { kernel: [3; 2], ..Window::POINT };
    let (isa, pool, mut scratch) = (Isa::detect(), ThreadPool::new(1), Scratch::new());
    let mut x = [1.0; 2 * 2 * 4];
    InputGradient::new(isa, window, 1, [4, 1], [1, 2, 2]).run(&pool, &[1.0; 36], &[], &mut scratch, &mut x);
    assert_eq!(x, [0.0; 16]);
    let (mut w, mut b) = ([1.0; 36], [1.0]);
    let of_weights = WeightsGradient::new(isa, window, 1, [4, 1], [1, 2, 2]);
    of_weights.run(&pool, &x, &[], &mut scratch, &mut w, Some(&mut b));
    assert_eq!((w, b), ([0.0; 36], [0.0]));
}

#[test]
fn repacked_weights_replace_all_others() {
    let window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
    let (isa, pool) = (Isa::detect(), ThreadPool::new(2));
    let [input, first, second] =
        [(9 * 9 * 5, 1), (37 * 45, 2), (37 * 45, 3)].map(|(len, seed)| numbers(len, seed));
    let bias = numbers(37, 4);
    for form in [Form::Direct, Form::Winograd2, Form::Winograd4] {
        let run = |conv: &Conv2d| {
            let mut output = vec![f32::NAN; 9 * 9 * 37];
            conv.run(&pool, &input, [1, 9, 9], &mut output);
            output
        };
        let mut conv = Conv2d::with_form(form, isa, window, 1, 5, 37, &first, Some(&bias), Clamp::NONE);
        conv.repack(&pool, &second, None);
        let new = Conv2d::with_form(form, isa, window, 1, 5, 37, &second, None, Clamp::NONE);
        assert_eq!(run(&conv), run(&new));
        let mut blank = Conv2d::blank(form, isa, window, 1, 5, 37, Clamp::NONE);
        assert!(run(&blank).iter().all(|value| *value == 0.0));
        blank.repack(&pool, &second, None);
        assert_eq!(run(&blank), run(&new));
    }
}
