//! Random weights, distributed as the initializers of Keras distribute them.

use litesmith_zoo::{Distribution, Fan, Initializer};

use crate::seeded::Random;

/// The deviation of a standard normal that is cut at 2.
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// The values of a weight of this shape. They follow from the seed and the weight's name alone.
pub(super) fn values(initializer: Initializer, shape: &[usize], seed: u64, name: &str) -> Vec<f32> {
    let count = shape.iter().product();
    let mut random = Random::of(seed, name);
    match initializer {
        Initializer::Zeros => vec![0.0; count],
        Initializer::Ones => vec![1.0; count],
        Initializer::Constant(value) => vec![value as f32; count],
        Initializer::GlorotUniform => {
            let (inputs, outputs) = fans(shape);
            uniform(&mut random, count, 1.0 / ((inputs + outputs) / 2.0).max(1.0))
        }
        Initializer::HeNormal => {
            let variance = 2.0 / fans(shape).0.max(1.0);
            truncated_normal(&mut random, count, variance.sqrt() / CUT_DEVIATION)
        }
        Initializer::VarianceScaling { scale, mode, distribution } => {
            let (inputs, outputs) = fans(shape);
            let fan = match mode {
                Fan::In => inputs,
                Fan::Out => outputs,
            };
            let variance = scale / fan.max(1.0);
            match distribution {
                Distribution::Uniform => uniform(&mut random, count, variance),
                Distribution::TruncatedNormal => {
                    truncated_normal(&mut random, count, variance.sqrt() / CUT_DEVIATION)
                }
            }
        }
        Initializer::TruncatedNormal { stddev } => truncated_normal(&mut random, count, stddev),
    }
}

/// How many inputs an output has and how many outputs an input, as Keras counts them for every shape: all axes
/// but the last two are those of a window.
fn fans(shape: &[usize]) -> (f64, f64) {
    match *shape {
        [] => (1.0, 1.0),
        [size] => (size as f64, size as f64),
        [ref window @ .., inputs, outputs] => {
            let window = window.iter().product::<usize>() as f64;
            (window * inputs as f64, window * outputs as f64)
        }
    }
}

/// Numbers of an interval around 0, with this variance.
fn uniform(random: &mut Random, count: usize, variance: f64) -> Vec<f32> {
    let limit = (3.0 * variance).sqrt();
    (0..count).map(|_| (limit * (2.0 * random.uniform() - 1.0)) as f32).collect()
}

/// Normal numbers, those beyond two deviations drawn again. `deviation` is that before the cut.
fn truncated_normal(random: &mut Random, count: usize, deviation: f64) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let drawn = random.normal().into_iter().filter(|number| number.abs() <= 2.0);
        numbers.extend(drawn.map(|number| (deviation * number) as f32));
    }
    numbers.truncate(count);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(numbers: &[f32]) -> (f64, f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = numbers.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        let largest = numbers.iter().fold(0.0f64, |most, x| most.max(f64::from(*x).abs()));
        (mean, variance.sqrt(), largest)
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.01 * expected.abs().max(0.01), "{found}, not {expected}");
    }

    #[test]
    fn constants_are_constant() {
        assert_eq!(values(Initializer::Zeros, &[2], 0, "x"), [0.0; 2]);
        assert_eq!(values(Initializer::Ones, &[2], 0, "x"), [1.0; 2]);
        assert_eq!(values(Initializer::Constant(1e-6), &[2], 0, "x"), [1e-6; 2]);
        assert_eq!(values(Initializer::Zeros, &[], 0, "x"), [0.0]);
    }

    #[test]
    fn random_weights_have_the_deviations_and_limits_of_keras() {
        // Keras 3.15: VarianceScaling and GlorotUniform of these shapes.
        let glorot = values(Initializer::GlorotUniform, &[3, 3, 64, 128], 0, "a");
        let (mean, deviation, largest) = moments(&glorot);
        let limit = (6.0f64 / (9.0 * (64.0 + 128.0))).sqrt();
        assert!(mean.abs() < 1e-3 && largest <= limit);
        close(deviation, limit / 3f64.sqrt());
        let scaling = |mode, distribution| Initializer::VarianceScaling { scale: 2.0, mode, distribution };
        let (mean, deviation, largest) =
            moments(&values(scaling(Fan::Out, Distribution::TruncatedNormal), &[3, 3, 32, 256], 0, "a"));
        let wanted = (2.0f64 / (9.0 * 256.0)).sqrt();
        assert!(mean.abs() < 1e-3 && largest <= 2.0 * wanted / CUT_DEVIATION);
        close(deviation, wanted);
        let (_, deviation, largest) =
            moments(&values(scaling(Fan::In, Distribution::Uniform), &[512, 256], 0, "a"));
        close(deviation, (2.0f64 / 512.0).sqrt());
        assert!(largest <= (6.0f64 / 512.0).sqrt());
        let (_, deviation, largest) =
            moments(&values(Initializer::TruncatedNormal { stddev: 0.02 }, &[4, 4, 96, 96], 0, "a"));
        close(deviation, 0.02 * CUT_DEVIATION);
        assert!(largest <= 0.04 && largest > 0.039);
    }

    #[test]
    fn weights_follow_from_seed_and_name() {
        let of = |seed, name| values(Initializer::GlorotUniform, &[2, 2], seed, name);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        // The same on every machine and in every version.
        assert_eq!(of(0, "conv/kernel"), [0.826_017_9, -0.155_060_8, 0.207_721_56, 0.219_651_12]);
    }
}
