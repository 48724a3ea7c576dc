//! Both forms against the plain loops.

use proptest::prelude::*;

use super::*;
use crate::Window;
use crate::cases::{for_cases, machines};
use crate::elementwise::{Affine, SumRule};
use crate::float::Clamp;
use crate::quantized::{
    Addend, ByteSum, Conv2d, HybridConv2d, HybridOutput, QuantizedSamples, Requantize, Rescale, WeightOrder,
};
use crate::reference::quantized as reference;

const FORMS: [Form; 2] = [Form::Winograd2, Form::Winograd4];

fn window(pad_before: [usize; 2], pad_after: [usize; 2]) -> Window {
    Window { kernel: [3; 2], pad_before, pad_after, ..Window::POINT }
}

fn filter(window: Window, in_channels: usize, out_channels: usize, weights: &[i8]) -> Filter<'_> {
    Filter { window, groups: 1, in_channels, out_channels, order: WeightOrder::OutputFirst, weights }
}

/// Repeatable bytes of all values.
fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9) >> 11) as u8).collect()
}

/// Asserts that both forms give what plain loops do, on all machines.
fn equals_plain_loops(
    shape: [usize; 3],
    filter: &Filter,
    input: &[u8],
    zero_point: u8,
    requantize: &Requantize,
) {
    let bias: Vec<_> = (0..filter.out_channels as i32).map(|channel| 977 * channel - 9000).collect();
    let expected = reference::conv2d(input, shape, filter, Some(&bias), zero_point, requantize);
    for (isa, pool) in machines() {
        for form in FORMS {
            let conv = Conv2d::with_form(form, isa, filter, Some(&bias), zero_point, requantize);
            let mut output = vec![0; expected.len()];
            conv.run(&pool, input, shape, &mut output);
            assert!(output == expected, "{isa}, {form:?}, {} threads", pool.threads());
        }
    }
}

#[test]
fn all_forms_equal_plain_loops() {
    let pad = [0..=2_usize, 0..=2];
    let case = (
        ([1..=3_usize, 1..=15, 1..=15], 1..=4_usize, 1..=40_usize),
        (pad.clone(), pad, any::<[u8; 2]>(), any::<bool>(), any::<u16>()),
    );
    for_cases(
        40,
        case,
        |((shape, chunks, out_channels), (before, after, [zero_in, zero_out], extreme, seed))| {
            let (window, in_channels) = (window(before, after), chunks * WIDTH);
            // Or numbers at both ends of their ranges.
            let ends = |bytes: Vec<u8>| -> Vec<u8> {
                bytes
                    .into_iter()
                    .map(|byte| if extreme { 0_u8.wrapping_sub(byte & 1) } else { byte })
                    .collect()
            };
            let input = ends(bytes(shape.iter().product::<usize>() * in_channels, seed.into()));
            let weights: Vec<_> = ends(bytes(9 * in_channels * out_channels, 7 * usize::from(seed)))
                .into_iter()
                .map(|byte| (byte ^ 0x80) as i8)
                .collect();
            let requantize = Requantize { scale: vec![2e-4], zero_point: zero_out, min: 3, max: 250 };
            equals_plain_loops(
                shape,
                &filter(window, in_channels, out_channels, &weights),
                &input,
                zero_in,
                &requantize,
            );
        },
    );
}

/// Enough tiles for several blocks, and enough panels for several tasks.
#[test]
fn large_layers_equal_plain_loops() {
    for (shape, in_channels, out_channels) in
        [([1, 40, 40], 96, 17), ([2, 14, 14], 64, 200), ([1, 7, 7], 256, 96)]
    {
        let weights: Vec<_> =
            bytes(9 * in_channels * out_channels, 5).into_iter().map(|byte| byte as i8).collect();
        let filter = filter(window([1; 2], [1; 2]), in_channels, out_channels, &weights);
        let requantize = Requantize { scale: vec![1e-4], zero_point: 100, min: 0, max: 255 };
        let input = bytes(shape.iter().product::<usize>() * in_channels, 1);
        equals_plain_loops(shape, &filter, &input, 77, &requantize);
    }
}

/// The largest sums that a form takes on, and the first that it does not.
#[test]
fn sums_are_exact_as_far_as_a_form_is_possible() {
    for (weight, channels) in [(127, 112), (-128, 112)] {
        let weights = vec![weight; 9 * 128];
        let possible = filter(window([0; 2], [0; 2]), channels, 1, &weights[..9 * channels]);
        let exact =
            |filter: &Filter| FORMS.map(|form| exact(form, filter, filter.weight_sums_and_largest().1));
        assert_eq!(exact(&possible), FORMS);
        let requantize = Requantize { scale: vec![4e-6], zero_point: 128, min: 0, max: 255 };
        equals_plain_loops([1, 6, 6], &possible, &vec![255; 36 * channels], 0, &requantize);
        let larger = filter(window([0; 2], [0; 2]), 128, 1, &weights);
        assert_eq!(exact(&larger), [Form::Winograd2; 2]);
    }
}

/// Inputs and weights that are as large at some point as they can be.
#[test]
fn words_hold_every_point() {
    let inputs = [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ];
    let filters = [[6, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 6]];
    let requantize = Requantize { scale: vec![1e-5], zero_point: 128, min: 0, max: 255 };
    for (point, sign) in (0..MOST_POINTS * MOST_POINTS).flat_map(|point| [(point, 1), (point, -1)]) {
        let (y, x) = (point / MOST_POINTS, point % MOST_POINTS);
        let (mut input, mut weights) = (Vec::new(), Vec::new());
        for (a, b) in inputs[y].into_iter().flat_map(|a| inputs[x].map(|b| (a, b))) {
            input.extend([if a * b * sign > 0 { u8::MAX } else { 0 }; WIDTH]);
        }
        for (a, b) in filters[y].into_iter().flat_map(|a| filters[x].map(|b| (a, b))) {
            weights.extend([if a * b * sign > 0 { i8::MAX } else { i8::MIN }; WIDTH]);
        }
        let filter = filter(window([0; 2], [0; 2]), WIDTH, 1, &weights);
        equals_plain_loops([1, 6, 6], &filter, &input, 0, &requantize);
    }
}

#[test]
fn a_residual_is_added_in_any_form() {
    let (shape, channels) = ([1, 9, 10], 32);
    let weights: Vec<_> = bytes(9 * channels * channels, 3).into_iter().map(|byte| byte as i8).collect();
    let filter = filter(window([1; 2], [1; 2]), channels, channels, &weights);
    let (input, others) = (bytes(90 * channels, 1), bytes(90 * channels, 2));
    let one = |scale, zero_point| Affine { scale, zero_point };
    let rule = SumRule::add([one(0.05, 140), one(0.02, 119)], one(0.04, 9));
    let addend = Addend { tensor: Some(&others[..]), sum: ByteSum { rule, clamp: [9, 200] } };
    let requantize = Requantize { scale: vec![2e-4], zero_point: 140, min: 0, max: 255 };
    for (isa, pool) in machines() {
        let [expected, two, four] = [Form::Direct, Form::Winograd2, Form::Winograd4].map(|form| {
            let conv = Conv2d::with_form(form, isa, &filter, None, 119, &requantize);
            let mut output = vec![0; others.len()];
            conv.run_add(&pool, &input, shape, addend, &mut output);
            output
        });
        assert!(two == expected && four == expected, "{isa}");
    }
}

/// Several samples, each quantized by its own range, to numbers and to bytes.
#[test]
fn dynamic_range_is_the_same_in_any_form() {
    let (shape, channels) = ([3, 9, 10], 32);
    let weights: Vec<_> = bytes(9 * channels * channels, 3).into_iter().map(|byte| byte as i8).collect();
    let filter = filter(window([1; 2], [1; 2]), channels, channels, &weights);
    let count = 270 * channels;
    let input = bytes(count, 1);
    let samples = QuantizedSamples { bytes: &input, ranges: &[[-1.0, 3.0], [0.0, 1.0], [-5.0, 0.0]] };
    let rescale = Rescale { scale: vec![0.01], bias: Some(vec![0.5; channels]), clamp: Clamp::RELU };
    for (isa, pool) in machines() {
        let [expected, two, four] = [Form::Direct, Form::Winograd2, Form::Winograd4].map(|form| {
            let conv = HybridConv2d::with_form(form, isa, &filter, &rescale);
            let (mut values, mut ranges) = (vec![0.0; count], vec![[9.0; 2]; 3]);
            conv.apply(
                &pool,
                samples,
                shape,
                HybridOutput::Floats { values: &mut values, ranges: Some(&mut ranges) },
            );
            let (mut bytes, mut of_bytes) = (vec![0; count], vec![[9.0; 2]; 3]);
            conv.apply(
                &pool,
                samples,
                shape,
                HybridOutput::Bytes { values: &mut bytes, ranges: &mut of_bytes },
            );
            (values, ranges, bytes, of_bytes)
        });
        assert!(two == expected && four == expected, "{isa}");
    }
}

#[test]
fn large_tiles_are_best_unless_weights_stream_or_take_much_room() {
    let weights = vec![1; 9 * 512 * 512];
    let best = |isa, channels, size| {
        let weights = &weights[..9 * channels * channels];
        best(isa, &filter(window([1; 2], [1; 2]), channels, channels, weights), [size; 2])
    };
    let layers = [(64, 56), (128, 28), (256, 14), (512, 7), (16, 1), (24, 56)];
    let [avx2, vnni] =
        [Isa::Avx2, Isa::Vnni].map(|isa| layers.map(|(channels, size)| best(isa, channels, size)));
    let (direct, two, four) = (Form::Direct, Form::Winograd2, Form::Winograd4);
    assert_eq!(avx2, [four, four, two, two, direct, direct]);
    assert_eq!(vnni, [four, four, direct, direct, direct, direct]);
}

#[test]
fn groups_hold_each_tile_once() {
    for isa in [Isa::Avx2, Isa::Vnni].into_iter().filter(|isa| isa.available()) {
        let product = Product::of(isa);
        for tiles in 1..40 {
            for tile in 0..tiles {
                let group = product.group(tile, tiles);
                assert!(group.contains(&tile) && group.len() <= product.most_rows, "{tile} of {tiles}");
            }
            assert_eq!(product.groups(tiles).map(|group| group.len()).sum::<usize>(), tiles);
        }
    }
}
