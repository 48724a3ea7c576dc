//! Batch normalization in training, channel by channel.

use crate::elementwise::number::Float;
use crate::gradient::batch_norm::{BatchNorm, Statistics};

/// Mean and biased variance of each channel of `[rows, channels]`, in two passes.
#[must_use]
pub fn statistics<T: Float>(channels: usize, input: &[T]) -> [Vec<T>; 2] {
    let count = T::of((input.len() / channels) as f64);
    let mean_of = |channel: usize, term: &dyn Fn(T) -> T| {
        let column = input[channel..].iter().step_by(channels);
        column.fold(T::ZERO, |sum, &x| sum.plus(term(x))).over(count)
    };
    let mean: Vec<T> = (0..channels).map(|channel| mean_of(channel, &|x| x)).collect();
    let variance = (0..channels)
        .map(|channel| mean_of(channel, &|x| x.minus(mean[channel]).times(x.minus(mean[channel]))))
        .collect();
    [mean, variance]
}

/// The parameters of channel `channel`: mean, `1 / sqrt(variance + epsilon)`, gamma and beta.
fn parameters_of<T: Float>(parameters: &BatchNorm<'_, T>, channel: usize) -> [T; 4] {
    let inverse = T::ONE.over(parameters.variance[channel].plus(parameters.epsilon).square_root());
    let gamma = parameters.gamma.map_or(T::ONE, |gamma| gamma[channel]);
    [parameters.mean[channel], inverse, gamma, parameters.beta.map_or(T::ZERO, |beta| beta[channel])]
}

/// The normalized, clamped output.
#[must_use]
pub fn normalize<T: Float>(parameters: &BatchNorm<'_, T>, input: &[T]) -> Vec<T> {
    let channels = parameters.mean.len();
    let value = |(i, x): (usize, &T)| {
        let [mean, inverse, gamma, beta] = parameters_of(parameters, i % channels);
        let value = x.minus(mean).times(inverse).times(gamma).plus(beta);
        parameters.bounds.map_or(value, |bounds| value.within(bounds))
    };
    input.iter().enumerate().map(value).collect()
}

/// The gradients of input, gamma and beta.
#[must_use]
pub fn gradient<T: Float>(
    parameters: &BatchNorm<'_, T>,
    statistics: Statistics,
    input: &[T],
    output_gradient: &[T],
) -> [Vec<T>; 3] {
    let channels = parameters.mean.len();
    let output = normalize(parameters, input);
    let through: Vec<T> = (output.iter().zip(output_gradient))
        .map(|(&y, &d)| match parameters.bounds {
            Some([low, high]) if y <= low || y >= high => T::ZERO,
            _ => d,
        })
        .collect();
    let count = T::of((input.len() / channels) as f64);
    let mut inputs = vec![T::ZERO; input.len()];
    let (mut gammas, mut betas) = (Vec::new(), Vec::new());
    for channel in 0..channels {
        let [mean, inverse, gamma, _] = parameters_of(parameters, channel);
        let column = || (channel..input.len()).step_by(channels);
        let normal = |i: usize| input[i].minus(mean).times(inverse);
        let sum = column().fold(T::ZERO, |sum, i| sum.plus(through[i]));
        let product = column().fold(T::ZERO, |sum, i| sum.plus(through[i].times(normal(i))));
        for i in column() {
            let centred = match statistics {
                Statistics::Batch => {
                    through[i].minus(sum.over(count)).minus(normal(i).times(product.over(count)))
                }
                Statistics::Frozen => through[i],
            };
            inputs[i] = gamma.times(inverse).times(centred);
        }
        gammas.push(product);
        betas.push(sum);
    }
    [inputs, gammas, betas]
}
