//! Convolutions of volumes against the plain loops, on random shapes.

use proptest::prelude::*;

use super::*;
use crate::cases::{for_cases, machines};
use crate::float::Clamp;
use crate::reference::volume::{Volume, conv3d, transpose_conv3d};

fn triple(range: std::ops::Range<usize>) -> [std::ops::Range<usize>; 3] {
    [range.clone(), range.clone(), range]
}

fn volumes() -> impl Strategy<Value = (Volume, usize)> {
    (1usize..3, triple(1..6), 1usize..9, 1usize..12)
        .prop_map(|(batch, size, channels, out_channels)| (Volume { batch, size, channels }, out_channels))
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + seed) * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

fn assert_close(got: &[f32], exact: &[f64], what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), exact.len());
    for (index, (got, exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(error < 1e-4, "element {index} of {what:?}: {got} instead of {exact}");
    }
}

#[test]
fn convolutions_equal_the_plain_loop() {
    let windows = (triple(1..4), triple(1..3), triple(1..3), triple(0..3), triple(0..3)).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| VolumeWindow {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    );
    for_cases(50, (volumes(), windows, any::<bool>()), |((volume, out), window, biased)| {
        let taps: usize = window.kernel.iter().product();
        let (input, weights) = (numbers(volume.elements(), 1), numbers(taps * volume.channels * out, 2));
        let bias = biased.then(|| numbers(out, 3));
        let wide_bias = bias.as_deref().map(wide);
        let clamp = Clamp::RELU6;
        let (x, w) = (wide(&input), wide(&weights));
        let exact = conv3d(&window, volume, out, &x, &w, wide_bias.as_deref(), clamp.widen());
        let [depth, height, width] = volume.size;
        let shape = [volume.batch, depth, height, width];
        for (isa, pool) in machines() {
            let conv = Conv3d::new(isa, window, [volume.channels, out], &weights, bias.as_deref(), clamp);
            let mut scratch = vec![f32::NAN; conv.scratch(shape)];
            let mut output = vec![f32::NAN; exact.len()];
            conv.run(&pool, &input, shape, &mut scratch, &mut output);
            assert_close(&output, &exact, &(volume, window, isa));
        }
    });
}

#[test]
fn transposed_convolutions_equal_the_plain_loop() {
    let windows = (triple(1..4), triple(1..4), triple(0..3), triple(1..5))
        .prop_map(|(kernel, stride, crop, tail)| TransposeVolumeWindow { kernel, stride, crop, tail });
    for_cases(50, (volumes(), windows, any::<bool>()), |((volume, out), window, biased)| {
        let taps: usize = window.kernel.iter().product();
        let (input, weights) = (numbers(volume.elements(), 1), numbers(taps * volume.channels * out, 2));
        let bias = biased.then(|| numbers(out, 3));
        let wide_bias = bias.as_deref().map(wide);
        let clamp = Clamp::NONE;
        let (x, w) = (wide(&input), wide(&weights));
        let exact = transpose_conv3d(&window, volume, out, &x, &w, wide_bias.as_deref(), clamp.widen());
        let [depth, height, width] = volume.size;
        let shape = [volume.batch, depth, height, width];
        for (isa, pool) in machines() {
            let conv =
                TransposeConv3d::new(isa, window, [volume.channels, out], &weights, bias.as_deref(), clamp);
            let mut scratch = vec![f32::NAN; conv.scratch(shape)];
            let mut output = vec![f32::NAN; exact.len()];
            conv.run(&pool, &input, shape, &mut scratch, &mut output);
            assert_close(&output, &exact, &(volume, window, isa));
        }
    });
}
