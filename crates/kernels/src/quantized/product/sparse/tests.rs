//! Sparse layers against the plain loops, on random shapes with random zeros.

use proptest::prelude::*;

use crate::cases::for_cases;
use crate::elementwise::{Affine, SumRule};
use crate::float::{Clamp, Form};
use crate::quantized::{
    Addend, ByteSum, Conv2d, Filter, HybridConv2d, Requantize, Rescale, WeightOrder, best_form,
};
use crate::reference::quantized as reference;
use crate::{Isa, ThreadPool, Window};

/// Repeatable bytes of all values.
fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9) >> 11) as u8).collect()
}

/// Weights `[channels][depth]` of which a share in percent is zero: single ones, or 16 channels by 4 inputs.
fn with_zeros(channels: usize, depth: usize, percent: usize, blocks: bool) -> Vec<i8> {
    let mut weights: Vec<i8> = bytes(channels * depth, 7).into_iter().map(|byte| byte as i8).collect();
    for (index, weight) in weights.iter_mut().enumerate() {
        let (channel, step) = (index / depth, index % depth);
        let place = if blocks { channel / 16 * depth + step / 4 } else { index };
        if ((place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 100 < percent {
            *weight = 0;
        }
    }
    weights
}

/// Every instruction set with 1 and 3 threads.
fn machines() -> impl Iterator<Item = (Isa, ThreadPool)> {
    Isa::available_levels().into_iter().flat_map(|isa| [1, 3].map(|threads| (isa, ThreadPool::new(threads))))
}

fn windows() -> impl Strategy<Value = Window> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    let any = (pair(1, 5), pair(1, 3), pair(1, 2), pair(0, 2), pair(0, 2)).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    );
    prop_oneof![Just(Window::POINT), any]
}

#[test]
fn sparse_layers_equal_the_plain_loops() {
    let channels = [prop_oneof![1..=9_usize, 10..=70_usize], prop_oneof![1..=9_usize, 10..=70_usize]];
    let percents = prop::sample::select(vec![0, 50, 75, 90, 100]);
    let case = ([1..=3_usize, 1..=11, 1..=11], windows(), channels, percents, any::<(bool, u8, u16)>());
    for_cases(60, case, |(shape, window, [from, to], percent, (blocks, zero_point, seed))| {
        let weights = with_zeros(to, window.taps() * from, percent, blocks);
        let order = WeightOrder::OutputFirst;
        let filter =
            Filter { window, groups: 1, in_channels: from, out_channels: to, order, weights: &weights };
        let input = bytes(shape.iter().product::<usize>() * from, seed.into());
        let bias: Vec<i32> = (0..to as i32).map(|channel| 977 * channel - 9000).collect();
        let requantize = Requantize { scale: vec![0.001], zero_point: 100, min: 3, max: 250 };
        let expected = reference::conv2d(&input, shape, &filter, Some(&bias), zero_point, &requantize);
        let addend = bytes(expected.len(), 5);
        let [own, other, sum] = [Affine::new(0.5, 100), Affine::new(0.25, 9), Affine::new(0.75, 77)];
        let sum = ByteSum { rule: SumRule::add([own, other], sum), clamp: [0, 255] };
        let rescale = Rescale { scale: vec![0.01], bias: None, clamp: Clamp::RELU6 };
        let floats: Vec<f32> = input.iter().map(|byte| f32::from(*byte) - 90.0).collect();
        let expected_floats = reference::hybrid_conv2d(&floats, shape, &filter, &rescale);
        for (isa, pool) in machines() {
            let what = (isa, pool.threads(), window, [from, to]);
            let conv = Conv2d::with_form(Form::Blocks, isa, &filter, Some(&bias), zero_point, &requantize);
            let mut output = vec![0; expected.len()];
            conv.run(&pool, &input, shape, &mut output);
            assert!(output == expected, "{what:?}");
            let addend = Addend { tensor: Some(&addend[..]), sum };
            conv.run_add(&pool, &input, shape, addend, &mut output);
            let dense = Conv2d::with_form(Form::Direct, isa, &filter, Some(&bias), zero_point, &requantize);
            let mut dense_output = vec![0; expected.len()];
            dense.run_add(&pool, &input, shape, addend, &mut dense_output);
            assert!(output == dense_output, "{what:?}, added");
            let hybrid = HybridConv2d::with_form(Form::Blocks, isa, &filter, &rescale);
            let mut output = vec![0.0; expected.len()];
            hybrid.run(&pool, &floats, shape, &mut vec![0; floats.len()], &mut output);
            assert!(output == expected_floats, "{what:?}, hybrid");
        }
    });
}

#[test]
fn the_form_follows_the_zeros() {
    let (window, from, to) = (Window::POINT, 256, 64);
    for isa in Isa::available_levels() {
        let best = |percent, blocks| {
            let weights = with_zeros(to, from, percent, blocks);
            let (order, weights) = (WeightOrder::OutputFirst, &weights[..]);
            let filter = Filter { window, groups: 1, in_channels: from, out_channels: to, order, weights };
            best_form(isa, &filter, [14; 2])
        };
        assert_eq!([best(0, true), best(80, false)], [Form::Direct; 2], "{isa}");
        if isa != Isa::Amx {
            assert_eq!(best(80, true), Form::Blocks, "{isa}");
        }
    }
}
