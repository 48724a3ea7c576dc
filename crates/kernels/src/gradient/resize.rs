//! Gradients of resizing images: the transpose of the forward weights.

use super::contributions::Contributions;
use super::weighted::Weighted;
use crate::elementwise::number::Float;
use crate::resize::Resize;
use crate::{Isa, ThreadPool};

/// The gradient of [`resize_nearest`](crate::resize::resize_nearest): each input pixel gets the sum of
/// those of the output pixels that it became.
///
/// # Panics
/// When a length does not fit `resize`, or pixels are wanted of an image that has none.
pub fn resize_nearest<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    resize: &Resize,
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    run(isa, pool, resize, output_gradient, input_gradient, |axis| {
        let pairs = resize.nearest(axis).into_iter().enumerate();
        pairs.map(|(output, input)| (input, output, T::ONE)).collect()
    });
}

/// The gradient of [`resize_bilinear`](crate::resize::resize_bilinear).
///
/// # Panics
/// As [`resize_nearest`].
pub fn resize_bilinear<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    resize: &Resize,
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    run(isa, pool, resize, output_gradient, input_gradient, |axis| {
        let neighbours = resize.bilinear(axis).into_iter().enumerate();
        let both = neighbours.flat_map(|(output, neighbours)| {
            let weight = T::of(f64::from(neighbours.weight));
            [(neighbours.low, output, T::ONE.minus(weight)), (neighbours.high, output, weight)]
        });
        both.collect()
    });
}

/// Runs the transpose of the weights `(input, output, weight)` along each axis.
fn run<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    resize: &Resize,
    output_gradient: &[T],
    input_gradient: &mut [T],
    weights: impl Fn(usize) -> Vec<(usize, usize, T)>,
) {
    resize.check(input_gradient.len(), output_gradient.len());
    let [_, height, width, _] = resize.input;
    Weighted {
        input: resize.input,
        output: resize.output,
        rows: Contributions::new(height, weights(0)),
        columns: Contributions::new(width, weights(1)),
    }
    .transpose(isa, pool, output_gradient, input_gradient);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::resize as reference;
    use crate::resize::Coordinates;

    #[test]
    fn gradients_follow_the_plain_loops() {
        let sizes =
            [([5, 7], [10, 14]), ([6, 9], [4, 20]), ([1, 3], [5, 1]), ([8, 8], [8, 8]), ([11, 13], [5, 4])];
        for (input, output) in sizes {
            for coordinates in
                [Coordinates::Corners, Coordinates::AlignCorners, Coordinates::HalfPixelCenters]
            {
                let resize = Resize { input: [2, input[0], input[1], 19], output, coordinates };
                let inputs = 2 * input[0] * input[1] * 19;
                let outputs = 2 * output[0] * output[1] * 19;
                let d: Vec<f32> = (0..outputs).map(|i| ((i * 7919 % 1009) as f32 - 500.0) * 0.01).collect();
                let double: Vec<f64> = d.iter().map(|&x| f64::from(x)).collect();
                let close = |dx: &[f32], expected: &[f64]| {
                    dx.iter().zip(expected).all(|(&o, &e)| (f64::from(o) - e).abs() < 1e-4)
                };
                for isa in Isa::available_levels() {
                    for threads in [1, 3] {
                        let pool = ThreadPool::new(threads);
                        let mut dx = vec![7.0; inputs];
                        resize_nearest(isa, &pool, &resize, &d, &mut dx);
                        assert!(close(&dx, &reference::resize_nearest(&resize, &double)), "{resize:?}");
                        resize_bilinear(isa, &pool, &resize, &d, &mut dx);
                        assert!(close(&dx, &reference::resize_bilinear(&resize, &double)), "{resize:?}");
                    }
                }
            }
        }
    }
}
