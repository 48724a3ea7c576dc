//! Products of 16-bit activations with 8-bit weights: exact sums, one output at a time.

use crate::int16::{Requantize, Rule};
use crate::quantized::Filter;

/// A convolution, grouped or depthwise; `shape` is batch, height and width of `input`. Taps in the
/// padding count nothing.
#[must_use]
pub fn conv2d(
    input: &[i16],
    shape: [usize; 3],
    filter: &Filter,
    bias: Option<&[i64]>,
    requantize: &Requantize,
) -> Vec<i16> {
    let [batch, height, width] = shape;
    let window = filter.window;
    let [rows, columns] = window.output([height, width]);
    let mut output = Vec::new();
    for index in 0..batch * rows * columns * filter.out_channels {
        let (pixel, out) = (index / filter.out_channels, index % filter.out_channels);
        let (line, column) = (pixel / columns, pixel % columns);
        let (sample, row) = (line / rows, line % rows);
        let first = out / filter.group_out() * filter.group_in();
        let mut sum = bias.map_or(0, |bias| i128::from(bias[out]));
        for tap in 0..window.taps() {
            let [down, right] = [tap / window.kernel[1], tap % window.kernel[1]];
            let y = (row * window.stride[0] + down * window.dilation[0]).checked_sub(window.pad_before[0]);
            let x =
                (column * window.stride[1] + right * window.dilation[1]).checked_sub(window.pad_before[1]);
            let (Some(y), Some(x)) = (y.filter(|&y| y < height), x.filter(|&x| x < width)) else { continue };
            let start = ((sample * height + y) * width + x) * filter.in_channels + first;
            for (i, &value) in input[start..][..filter.group_in()].iter().enumerate() {
                sum += i128::from(value) * i128::from(filter.weight(out, tap * filter.group_in() + i));
            }
        }
        output.push(requantized(sum, requantize.scale_of(out), requantize));
    }
    output
}

/// A sum as an output activation, by [`Requantize`]'s rules, in integers of 128 bits.
#[must_use]
pub fn requantized(sum: i128, scale: f64, requantize: &Requantize) -> i16 {
    // `scale = fraction * 2^exponent`, the fraction from 1/2 up to 1, in whole 2^-31.
    let mut exponent = 0;
    let mut fraction = scale;
    while fraction >= 1.0 {
        (fraction, exponent) = (fraction / 2.0, exponent + 1);
    }
    while fraction > 0.0 && fraction < 0.5 {
        (fraction, exponent) = (fraction * 2.0, exponent - 1);
    }
    let mut multiplier = (fraction * 2f64.powi(31)).round() as i128;
    if multiplier == 1 << 31 {
        (multiplier, exponent) = (1 << 30, exponent + 1);
    }
    if exponent < -31 {
        (multiplier, exponent) = (0, 0);
    }
    let upward = |value: i128, shift: i32| (value + (1 << shift >> 1)) >> shift;
    let steps = match requantize.rule {
        Rule::Real => (sum as f64 * scale).round().clamp(-1e9, 1e9) as i128,
        Rule::Reduced => upward(sum * upward(multiplier, 16).min(0x7fff), 15 - exponent),
        Rule::Doubling => {
            let sum = i128::from(sum as i32) << exponent.max(0);
            let sum = sum.clamp(i32::MIN.into(), i32::MAX.into());
            upward(upward(sum * multiplier, 31), -exponent.min(0))
        }
    };
    steps.clamp(requantize.min.into(), requantize.max.into()) as i16
}
