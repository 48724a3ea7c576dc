//! Quantized convolutions. Sums are exact 64-bit sums cut to their low 32 bits, which is what any
//! order of 32-bit sums that wrap around gives.

use crate::quantized::{Filter, Requantize, Rescale};

/// Height and width of the image, and a place in it that may be in the padding.
fn inside(size: [usize; 2], row: usize, column: usize, pad: [usize; 2]) -> Option<[usize; 2]> {
    let (row, column) = (row.checked_sub(pad[0])?, column.checked_sub(pad[1])?);
    (row < size[0] && column < size[1]).then_some([row, column])
}

/// For every output, in order `[batch, height, width, channel]`, calls `emit` with its sample, its
/// channel and the sum of `(input - zero point of the sample) * weight` over the taps inside the
/// image: taps in the padding hold the zero point.
fn sums(
    input: &[u8],
    shape: [usize; 3],
    filter: &Filter,
    zero_points: &[u8],
    mut emit: impl FnMut(usize, usize, i64),
) {
    let [batch, height, width] = shape;
    let window = filter.window;
    let [rows, columns] = window.output([height, width]);
    for index in 0..batch * rows * columns * filter.out_channels {
        let (pixel, out) = (index / filter.out_channels, index % filter.out_channels);
        let (line, column) = (pixel / columns, pixel % columns);
        let (sample, row) = (line / rows, line % rows);
        let first = out / filter.group_out() * filter.group_in();
        let mut sum = 0;
        for tap in 0..window.taps() {
            let [down, right] = [tap / window.kernel[1], tap % window.kernel[1]];
            let y = row * window.stride[0] + down * window.dilation[0];
            let x = column * window.stride[1] + right * window.dilation[1];
            let Some([y, x]) = inside([height, width], y, x, window.pad_before) else { continue };
            let start = ((sample * height + y) * width + x) * filter.in_channels + first;
            for (i, &value) in input[start..][..filter.group_in()].iter().enumerate() {
                let value = i64::from(value) - i64::from(zero_points[sample]);
                sum += value * i64::from(filter.weight(out, tap * filter.group_in() + i));
            }
        }
        emit(sample, out, sum);
    }
}

/// A convolution, grouped or depthwise, of `u8` activations to `u8` activations. `shape` is batch,
/// height and width of `input`.
#[must_use]
pub fn conv2d(
    input: &[u8],
    shape: [usize; 3],
    filter: &Filter,
    bias: Option<&[i32]>,
    input_zero_point: u8,
    requantize: &Requantize,
) -> Vec<u8> {
    let mut output = Vec::new();
    sums(input, shape, filter, &vec![input_zero_point; shape[0]], |_, out, sum| {
        let sum = (sum + bias.map_or(0, |bias| i64::from(bias[out]))) as i32;
        let rounded = (sum as f32 * requantize.scale_of(out)).round_ties_even();
        // `as` stops at the ends of 64 bits, where the zero point no longer matters.
        let value = (rounded as i64).saturating_add(i64::from(requantize.zero_point));
        output.push(value.clamp(requantize.min.into(), requantize.max.into()) as u8);
    });
    output
}

/// A convolution, grouped or depthwise, of `f32` activations that are quantized sample by sample,
/// to `f32`. `shape` is batch, height and width of `input`.
#[must_use]
pub fn hybrid_conv2d(input: &[f32], shape: [usize; 3], filter: &Filter, rescale: &Rescale) -> Vec<f32> {
    let length = input.len() / shape[0].max(1);
    let (mut bytes, mut scales, mut zero_points) = (Vec::new(), Vec::new(), Vec::new());
    for sample in input.chunks(length.max(1)) {
        let (factor, zero_point) = sample_factor(sample);
        bytes.extend(sample.iter().map(|value| {
            let steps = (value * factor).round_ties_even() + f32::from(zero_point);
            steps.clamp(0.0, 255.0) as u8
        }));
        scales.push(1.0 / factor);
        zero_points.push(zero_point);
    }
    let mut output = Vec::new();
    sums(&bytes, shape, filter, &zero_points, |sample, out, sum| {
        let value = sum as i32 as f32 * (scales[sample] * rescale.scale_of(out)) + rescale.bias_of(out);
        output.push(rescale.clamp.apply(value));
    });
    output
}

/// The factor that takes a sample (of finite values) to steps, and the step that stands for zero:
/// see [`SampleQuantization::of_range`](crate::quantized::SampleQuantization::of_range).
fn sample_factor(sample: &[f32]) -> (f32, u8) {
    let lo = sample.iter().fold(0.0_f32, |lo, &value| lo.min(value));
    let hi = sample.iter().fold(0.0_f32, |hi, &value| hi.max(value));
    let factor = if lo == hi { 1.0 } else { (255.0 / (hi - lo).min(f32::MAX)).min(f32::MAX) };
    let (low_error, high_error) = (-128.0 + lo * factor, 127.0 + hi * factor);
    let zero_point = if low_error + high_error > 0.0 { -128.0 - lo * factor } else { 127.0 - hi * factor };
    (factor, (zero_point.clamp(-128.0, 127.0).round_ties_even() + 128.0) as u8)
}
