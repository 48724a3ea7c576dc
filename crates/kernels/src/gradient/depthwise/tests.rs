use proptest::prelude::*;

use super::*;
use crate::cases::for_cases;
use crate::reference::convolution::{self, ConvShape};
use crate::reference::gradient::depthwise as reference;

fn windows() -> impl Strategy<Value = Window> {
    let any_window = (any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 4]>());
    let usual = prop_oneof![Just([3u8, 3]), Just([5u8, 5])];
    let stride = prop_oneof![Just([1u8, 1]), Just([2u8, 2])];
    prop_oneof![
        any_window.prop_map(|(kernel, stride, dilation, pad)| {
            let kernel = kernel.map(|k| usize::from(k % 5) + 1);
            Window {
                kernel,
                stride: stride.map(|s| usize::from(s % 3) + 1),
                dilation: dilation.map(|d| usize::from(d % 2) + 1),
                pad_before: [usize::from(pad[0] % 4), usize::from(pad[1] % 4)],
                pad_after: [usize::from(pad[2] % 4), usize::from(pad[3] % 4)],
            }
        }),
        (usual, stride, any::<[u8; 4]>()).prop_map(|(kernel, stride, pad)| Window {
            kernel: kernel.map(usize::from),
            stride: stride.map(usize::from),
            dilation: [1, 1],
            pad_before: [usize::from(pad[0] % 3), usize::from(pad[1] % 3)],
            pad_after: [usize::from(pad[2] % 3), usize::from(pad[3] % 3)],
        })
    ]
}

fn numbers(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 4e6 - 2.0)
        .collect()
}

fn double(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn close(output: &[f32], expected: &[f64], tolerance: f64) -> bool {
    output.len() == expected.len()
        && output
            .iter()
            .zip(expected)
            .all(|(&o, &e)| (f64::from(o) - e).abs() <= tolerance * e.abs().max(4.0))
}

#[test]
fn gradients_follow_the_plain_loops() {
    let shapes = (1usize..4, 3usize..20, 3usize..25, 1usize..80, 1usize..4);
    for_cases(80, (windows(), shapes, any::<u32>()), |(window, shape, seed)| {
        let (batch, height, width, channels, multiplier) = shape;
        // Several output channels per input channel are rare.
        let multiplier = if seed % 3 == 0 { multiplier } else { 1 };
        let input = [batch, height, width];
        let out_channels = channels * multiplier;
        let shape = ConvShape { input, window, groups: channels, in_channels: channels, out_channels };
        let [out_height, out_width] = window.output([height, width]);
        let x = numbers(batch * height * width * channels, seed);
        let w = numbers(window.taps() * out_channels, seed ^ 1);
        let d = numbers(batch * out_height * out_width * out_channels, seed ^ 2);
        let dx = reference::input(&shape, &double(&w), &double(&d));
        let dw = reference::weights(&shape, &double(&x), &double(&d));
        let stale = vec![0.5; w.len()];
        for isa in Isa::available_levels() {
            let mut first: Option<[Vec<f32>; 2]> = None;
            for threads in [1, 3] {
                let pool = ThreadPool::new(threads);
                let mut kernel = InputGradient::new(isa, window, channels, multiplier, &stale);
                kernel.repack(&pool, &w);
                let mut results = [vec![7.0; x.len()], vec![7.0; w.len()]];
                kernel.run(&pool, input, &d, &mut results[0]);
                weights(isa, &pool, &window, input, channels, multiplier, &x, &d, &mut results[1]);
                assert!(close(&results[0], &dx, 1e-5), "{isa} {window:?} {shape:?}");
                assert!(close(&results[1], &dw, 1e-4), "{isa} {window:?} {shape:?}");
                assert_eq!(&results, first.get_or_insert_with(|| results.clone()), "{isa} threads");
            }
        }
    });
}

#[test]
fn many_rows_are_summed_in_blocks() {
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let input = [3, 40, 40];
    let shape = ConvShape { input, window, groups: 33, in_channels: 33, out_channels: 33 };
    let (x, d) = (numbers(3 * 40 * 40 * 33, 1), numbers(3 * 40 * 40 * 33, 2));
    let expected = reference::weights(&shape, &double(&x), &double(&d));
    for isa in Isa::available_levels() {
        let mut first: Option<Vec<f32>> = None;
        for threads in [1, 3] {
            let mut dw = vec![7.0; 9 * 33];
            weights(isa, &ThreadPool::new(threads), &window, input, 33, 1, &x, &d, &mut dw);
            assert!(close(&dw, &expected, 1e-4), "{isa}");
            assert_eq!(&dw, first.get_or_insert_with(|| dw.clone()), "{isa}");
        }
    }
}

#[test]
fn repacked_kernels_compute_with_the_new_weights() {
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    for (isa, multiplier) in Isa::available_levels().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]) {
        let (x, w) = (numbers(7 * 6 * 21, 3), numbers(9 * 21 * multiplier, 4));
        let bias = numbers(21 * multiplier, 5);
        let fresh = Depthwise::new(isa, window, 21, multiplier, &w, Some(&bias), Clamp::RELU);
        let stale = vec![0.5; w.len()];
        let mut kernel = Depthwise::new(isa, window, 21, multiplier, &stale, None, Clamp::RELU);
        let pool = ThreadPool::new(2);
        kernel.repack(&pool, &w, Some(&bias));
        let [mut expected, mut output] =
            [vec![7.0; 7 * 6 * 21 * multiplier], vec![8.0; 7 * 6 * 21 * multiplier]];
        fresh.run(&pool, &x, [1, 7, 6], &mut expected);
        kernel.run(&pool, &x, [1, 7, 6], &mut output);
        assert_eq!(output, expected, "{isa}");
        let unbiased = Depthwise::new(isa, window, 21, multiplier, &w, None, Clamp::RELU);
        unbiased.run(&pool, &x, [1, 7, 6], &mut expected);
        kernel.repack(&pool, &w, None);
        kernel.run(&pool, &x, [1, 7, 6], &mut output);
        assert_eq!(output, expected, "{isa}");
    }
}

#[test]
fn the_references_agree_with_finite_differences() {
    let window =
        Window { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], pad_before: [1, 1], pad_after: [0, 1] };
    let shape = ConvShape { input: [2, 5, 4], window, groups: 2, in_channels: 2, out_channels: 4 };
    let x: Vec<f64> = (0..2 * 5 * 4 * 2).map(|i| (i as f64 * 1.1).sin()).collect();
    let w: Vec<f64> = (0..6 * 4).map(|i| (i as f64 * 0.9).cos()).collect();
    let open = Clamp { min: f64::NEG_INFINITY, max: f64::INFINITY };
    let forward = |x: &[f64], w: &[f64]| convolution::depthwise(&shape, x, w, None, open);
    let d: Vec<f64> = (0..forward(&x, &w).len()).map(|i| (i as f64 * 0.3).sin()).collect();
    let loss = |x: &[f64], w: &[f64]| -> f64 { forward(x, w).iter().zip(&d).map(|(y, d)| y * d).sum() };
    let slope = |values: &[f64], i: usize, loss: &dyn Fn(&[f64]) -> f64| {
        let [low, high] = [-1e-5, 1e-5].map(|step| {
            let mut values = values.to_vec();
            values[i] += step;
            loss(&values)
        });
        (high - low) / 2e-5
    };
    for (i, dx) in reference::input(&shape, &w, &d).into_iter().enumerate() {
        assert!((dx - slope(&x, i, &|x| loss(x, &w))).abs() < 1e-8);
    }
    for (i, dw) in reference::weights(&shape, &x, &d).into_iter().enumerate() {
        assert!((dw - slope(&w, i, &|w| loss(&x, w))).abs() < 1e-8);
    }
}
