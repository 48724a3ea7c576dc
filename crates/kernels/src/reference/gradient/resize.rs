//! Gradients of resizing, from the forward kernels: a resize is linear, so the gradient of an input
//! element is the sum of the output gradients that a one in its place resizes to.

use crate::elementwise::number::Float;
use crate::resize::{self, Resize};
use crate::{Isa, ThreadPool};

/// The gradient of [`resize_nearest`](crate::resize::resize_nearest).
#[must_use]
pub fn resize_nearest<T: Float>(resize: &Resize, output_gradient: &[T]) -> Vec<T> {
    transpose(resize, output_gradient, |pool, resize, input, output| {
        resize::resize_nearest(pool, resize, input, output);
    })
}

/// The gradient of [`resize_bilinear`](crate::resize::resize_bilinear).
#[must_use]
pub fn resize_bilinear<T: Float>(resize: &Resize, output_gradient: &[T]) -> Vec<T> {
    transpose(resize, output_gradient, |pool, resize, input, output| {
        resize::resize_bilinear(Isa::Portable, pool, resize, input, output);
    })
}

fn transpose<T: Float>(
    resize: &Resize,
    output_gradient: &[T],
    forward: impl Fn(&ThreadPool, &Resize, &[T], &mut [T]),
) -> Vec<T> {
    let [batch, height, width, channels] = resize.input;
    let plane = Resize { input: [1, height, width, 1], ..*resize };
    let pool = ThreadPool::new(1);
    let pixels = resize.output[0] * resize.output[1];
    let mut gradient = vec![T::ZERO; batch * height * width * channels];
    for pixel in 0..height * width {
        let mut input = vec![T::ZERO; height * width];
        input[pixel] = T::ONE;
        let mut weights = vec![T::ZERO; pixels];
        forward(&pool, &plane, &input, &mut weights);
        for sample in 0..batch {
            for channel in 0..channels {
                let sum = weights.iter().enumerate().fold(T::ZERO, |sum, (i, weight)| {
                    sum.plus(weight.times(output_gradient[(sample * pixels + i) * channels + channel]))
                });
                gradient[(sample * height * width + pixel) * channels + channel] = sum;
            }
        }
    }
    gradient
}
