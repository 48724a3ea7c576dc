//! Gradients of depthwise convolutions, one product at a time.

use crate::elementwise::number::Float;
use crate::reference::convolution::ConvShape;

/// Calls `visit(input index, weight index, output index)` for every product of the convolution.
fn products(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvShape { input: [batch, height, width], window, in_channels, out_channels, .. } = *shape;
    let [out_height, out_width] = window.output([height, width]);
    let inside =
        |at: usize, axis: usize, len: usize| at.checked_sub(window.pad_before[axis]).filter(|at| *at < len);
    for pixel in 0..batch * out_height * out_width {
        let (sample, y, x) =
            (pixel / out_width / out_height, pixel / out_width % out_height, pixel % out_width);
        for tap in 0..window.taps() {
            let [row, column] = [tap / window.kernel[1], tap % window.kernel[1]];
            let at_y = inside(y * window.stride[0] + row * window.dilation[0], 0, height);
            let at_x = inside(x * window.stride[1] + column * window.dilation[1], 1, width);
            let (Some(at_y), Some(at_x)) = (at_y, at_x) else { continue };
            let from = ((sample * height + at_y) * width + at_x) * in_channels;
            for channel in 0..out_channels {
                let seen = from + channel / (out_channels / in_channels);
                visit(seen, tap * out_channels + channel, pixel * out_channels + channel);
            }
        }
    }
}

/// The gradient of the input.
#[must_use]
pub fn input<T: Float>(shape: &ConvShape, weights: &[T], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; shape.input.iter().product::<usize>() * shape.in_channels];
    products(shape, |x, w, d| gradient[x] = gradient[x].plus(weights[w].times(output_gradient[d])));
    gradient
}

/// The gradient of the weights `[kernel height, kernel width, out_channels]`.
#[must_use]
pub fn weights<T: Float>(shape: &ConvShape, input: &[T], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; shape.window.taps() * shape.out_channels];
    products(shape, |x, w, d| gradient[w] = gradient[w].plus(input[x].times(output_gradient[d])));
    gradient
}
