//! Gradients of a convolution, one product at a time.

use crate::elementwise::number::Float;
use crate::reference::convolution::ConvShape;

/// Calls `visit(output index, weight index, input index)` for every product of a convolution: those of the
/// first output pixel first, then by output channel, tap and input channel.
fn products(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let depth = shape.in_channels / shape.groups;
    let per_group = shape.out_channels / shape.groups;
    let [height, width] = shape.window.output([shape.input[1], shape.input[2]]);
    for pixel in 0..shape.input[0] * height * width {
        let at = [pixel / width / height, pixel / width % height, pixel % width];
        for channel in 0..shape.out_channels {
            let skip = channel / per_group * depth;
            shape.taps(at, |tap, from| {
                for k in 0..depth {
                    let weight = (channel * shape.window.taps() + tap) * depth + k;
                    visit(pixel * shape.out_channels + channel, weight, from + skip + k);
                }
            });
        }
    }
}

/// The gradient of the input, from weights `[out_channels, kernel height, kernel width, in_channels /
/// groups]` and the gradient of the output.
#[must_use]
pub fn input_gradient<T: Float>(shape: &ConvShape, weights: &[T], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; shape.input.iter().product::<usize>() * shape.in_channels];
    products(shape, |output, weight, input| {
        gradient[input] = gradient[input].plus(output_gradient[output].times(weights[weight]));
    });
    gradient
}

/// The gradient of the weights, in their order.
#[must_use]
pub fn weights_gradient<T: Float>(shape: &ConvShape, input: &[T], output_gradient: &[T]) -> Vec<T> {
    let weights = shape.out_channels * shape.window.taps() * (shape.in_channels / shape.groups);
    let mut gradient = vec![T::ZERO; weights];
    products(shape, |output, weight, at| {
        gradient[weight] = gradient[weight].plus(output_gradient[output].times(input[at]));
    });
    gradient
}

/// The gradient of a bias that was added to each of some pixels of `channels`.
#[must_use]
pub fn bias_gradient<T: Float>(channels: usize, output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; channels];
    for pixel in output_gradient.chunks_exact(channels) {
        for (sum, value) in gradient.iter_mut().zip(pixel) {
            *sum = sum.plus(*value);
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Window;
    use crate::float::Clamp;
    use crate::reference::convolution::conv2d;

    fn numbers(count: usize, seed: usize) -> Vec<f64> {
        (0..count).map(|i| ((i + seed) * 7919 % 1009) as f64 / 504.5 - 1.0).collect()
    }

    /// A convolution is linear in each of its inputs, so that a step of any size has the difference that
    /// the gradients tell.
    #[test]
    fn differences_are_what_the_gradients_tell() {
        let window = Window {
            kernel: [3, 2],
            stride: [2, 1],
            dilation: [1, 2],
            pad_before: [1, 2],
            pad_after: [0, 1],
        };
        let shape = ConvShape { input: [2, 5, 6], window, groups: 2, in_channels: 4, out_channels: 6 };
        let clamp = Clamp { min: f64::NEG_INFINITY, max: f64::INFINITY };
        let (input, weights) = (numbers(2 * 5 * 6 * 4, 1), numbers(6 * 6 * 2, 2));
        let bias = numbers(6, 3);
        let output =
            |input: &[f64], weights: &[f64], bias: &[f64]| conv2d(&shape, input, weights, Some(bias), clamp);
        let before = output(&input, &weights, &bias);
        let gradient = numbers(before.len(), 4);
        let loss = |output: Vec<f64>| output.iter().zip(&gradient).map(|(y, g)| y * g).sum::<f64>();
        let check = |of: &[f64], gradient: Vec<f64>, moved: &dyn Fn(&[f64]) -> Vec<f64>| {
            for (i, expected) in gradient.iter().enumerate() {
                let mut of = of.to_vec();
                of[i] += 1.0;
                let difference = loss(moved(&of)) - loss(before.clone());
                assert!((difference - expected).abs() < 1e-9, "{i}: {difference} {expected}");
            }
        };
        check(&input, input_gradient(&shape, &weights, &gradient), &|x| output(x, &weights, &bias));
        check(&weights, weights_gradient(&shape, &input, &gradient), &|w| output(&input, w, &bias));
        check(&bias, bias_gradient(6, &gradient), &|b| output(&input, &weights, b));
    }
}
