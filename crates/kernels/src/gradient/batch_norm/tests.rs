use proptest::prelude::*;

use super::*;
use crate::cases::for_cases;
use crate::reference::gradient::batch_norm as reference;

/// Numbers of mean 5 or so: `seed` makes them different.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 4e6 + 3.0)
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
            .all(|(&o, &e)| (f64::from(o) - e).abs() <= tolerance * e.abs().max(1.0))
}

/// Runs `kernel` on every level in one and in three threads; the bits must agree.
fn same_everywhere<R: PartialEq + std::fmt::Debug + Clone>(kernel: impl Fn(Isa, &ThreadPool) -> R) -> R {
    let results: Vec<R> = (Isa::available_levels().into_iter())
        .flat_map(|isa| [1, 3].map(|threads| kernel(isa, &ThreadPool::new(threads))))
        .collect();
    assert!(results.iter().all(|result| *result == results[0]));
    results[0].clone()
}

fn shapes() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![(1usize..60, 1usize..70), (1usize..4000, 1usize..40), (1usize..9, 500usize..2100)]
}

#[test]
fn statistics_follow_two_passes_in_double_precision() {
    for_cases(25, (shapes(), any::<u32>()), |((rows, channels), seed)| {
        let input = numbers(rows * channels, seed);
        let [mean, variance] = reference::statistics(channels, &double(&input));
        let (m, v) = same_everywhere(|isa, pool| {
            let (mut mean, mut variance) = (vec![7.0; channels], vec![7.0; channels]);
            statistics(isa, pool, &input, &mut mean, &mut variance);
            (mean, variance)
        });
        assert!(close(&m, &mean, 1e-6) && close(&v, &variance, 2e-6), "{rows} x {channels}");
    });
}

#[test]
fn a_small_variance_around_a_large_mean_survives() {
    let input: Vec<f32> = numbers(3 * 5000, 1).iter().map(|x| 1000.0 + x * 0.01).collect();
    let [mean, variance] = reference::statistics(3, &double(&input));
    let (mut m, mut v) = (vec![0.0; 3], vec![0.0; 3]);
    statistics(Isa::detect(), &ThreadPool::new(2), &input, &mut m, &mut v);
    let relative = |o: &f32, e: &f64| (f64::from(*o) / e - 1.0).abs();
    assert!(m.iter().zip(&mean).all(|(o, e)| relative(o, e) < 1e-6), "{m:?} {mean:?}");
    assert!(v.iter().zip(&variance).all(|(o, e)| relative(o, e) < 1e-2), "{v:?} {variance:?}");
}

/// Vectors of a batch normalization for `channels` channels.
struct Case {
    vectors: [Vec<f32>; 4],
    optional: [bool; 2],
    bounds: Option<[f32; 2]>,
}

impl Case {
    fn parameters<'a, T: Float>(&self, vectors: &'a [Vec<T>; 4]) -> BatchNorm<'a, T> {
        let [mean, variance, gamma, beta] = vectors;
        BatchNorm {
            mean,
            variance,
            epsilon: T::of(1e-3),
            gamma: self.optional[0].then_some(gamma),
            beta: self.optional[1].then_some(beta),
            bounds: self.bounds.map(|bounds| bounds.map(|x| T::of(f64::from(x)))),
        }
    }
}

fn cases() -> impl Strategy<Value = (usize, usize, u32, [bool; 2], Option<[f32; 2]>)> {
    let bounds = prop_oneof![Just(None), Just(Some([0.0, f32::INFINITY])), Just(Some([0.0, 6.0]))];
    (shapes(), any::<u32>(), any::<[bool; 2]>(), bounds)
        .prop_map(|((rows, channels), seed, optional, bounds)| (rows, channels, seed, optional, bounds))
}

#[test]
fn normalizing_and_its_gradient_follow_their_formulas() {
    for_cases(40, cases(), |(rows, channels, seed, optional, bounds)| {
        let input = numbers(rows * channels, seed);
        let [mean, variance] = reference::statistics(channels, &double(&input));
        let gamma: Vec<f32> = (0..channels).map(|i| 1.5 - (i % 7) as f32 * 0.4).collect();
        let beta: Vec<f32> = (0..channels).map(|i| (i % 5) as f32 * 0.7 - 0.5).collect();
        let single = |x: &[f64]| -> Vec<f32> { x.iter().map(|&x| x as f32).collect() };
        let case = Case { vectors: [single(&mean), single(&variance), gamma, beta], optional, bounds };
        let wide = case.vectors.each_ref().map(|v| double(v));
        let exact = case.parameters(&wide);
        let parameters = case.parameters(&case.vectors);
        // So near a bound single and double precision may be on different sides.
        let unbounded = reference::normalize(&BatchNorm { bounds: None, ..exact }, &double(&input));
        let doubtful = |y: f64| [0.0, 6.0].iter().any(|bound| (y - bound).abs() < 1e-4);
        let d: Vec<f32> = (numbers(rows * channels, seed ^ 0x5555).iter().zip(&unbounded))
            .map(|(x, &y)| if doubtful(y) { 0.0 } else { x - 3.5 })
            .collect();

        let output = same_everywhere(|isa, pool| {
            let mut output = vec![7.0; input.len()];
            normalize(isa, pool, &parameters, &input, &mut output);
            output
        });
        assert!(close(&output, &reference::normalize(&exact, &double(&input)), 2e-5));

        for statistics in [Statistics::Batch, Statistics::Frozen] {
            let expected = reference::gradient(&exact, statistics, &double(&input), &double(&d));
            let results = same_everywhere(|isa, pool| {
                let (mut gamma, mut beta) = (vec![7.0; channels], vec![7.0; channels]);
                let mut output = vec![7.0; input.len()];
                let gradients =
                    Gradients { input: Some(&mut output), gamma: Some(&mut gamma), beta: Some(&mut beta) };
                gradient(isa, pool, &parameters, statistics, &input, &d, gradients);
                [output, gamma, beta]
            });
            for (result, expected) in results.iter().zip(&expected) {
                assert!(close(result, expected, 3e-4), "{rows} x {channels} {statistics:?}");
            }
        }
    });
}

/// The loss `sum(weights * normalize(x))` with the statistics of `x` itself.
fn loss(case: &Case, vectors: &[Vec<f64>; 4], input: &[f64], weights: &[f64]) -> f64 {
    let channels = vectors[0].len();
    let [mean, variance] = reference::statistics(channels, input);
    let vectors = [mean, variance, vectors[2].clone(), vectors[3].clone()];
    let output = reference::normalize(&case.parameters(&vectors), input);
    output.iter().zip(weights).map(|(y, w)| y * w).sum()
}

#[test]
fn the_reference_agrees_with_finite_differences() {
    let (rows, channels) = (7, 3);
    for bounds in [None, Some([0.0, 1.5])] {
        let case = Case { vectors: Default::default(), optional: [true; 2], bounds };
        let input = double(&numbers(rows * channels, 5));
        let weights: Vec<f64> = (0..rows * channels).map(|i| (i as f64 * 1.7).sin()).collect();
        let [mean, variance] = reference::statistics(channels, &input);
        let vectors = [mean, variance, vec![1.3, 0.7, -0.9], vec![0.2, -0.1, 0.4]];
        let [dx, dgamma, dbeta] =
            reference::gradient(&case.parameters(&vectors), Statistics::Batch, &input, &weights);
        let slope = |change: &dyn Fn(f64) -> f64| (change(1e-5) - change(-1e-5)) / 2e-5;
        for i in 0..input.len() {
            let expected = slope(&|step| {
                let mut input = input.clone();
                input[i] += step;
                loss(&case, &vectors, &input, &weights)
            });
            assert!((dx[i] - expected).abs() < 1e-6, "{} {expected}", dx[i]);
        }
        for (which, gradient) in [(2, &dgamma), (3, &dbeta)] {
            for i in 0..channels {
                let expected = slope(&|step| {
                    let mut vectors = vectors.clone();
                    vectors[which][i] += step;
                    loss(&case, &vectors, &input, &weights)
                });
                assert!((gradient[i] - expected).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn what_is_not_wanted_is_left_out() {
    let (mean, variance) = ([0.0; 2], [1.0; 2]);
    let parameters =
        BatchNorm { mean: &mean, variance: &variance, epsilon: 0.0, gamma: None, beta: None, bounds: None };
    let (x, d) = ([1.0, 2.0, -1.0, -2.0], [0.5, 1.0, 1.5, 2.0]);
    let mut beta = [0.0; 2];
    let gradients = Gradients { beta: Some(&mut beta), ..Gradients::default() };
    let pool = ThreadPool::new(1);
    gradient(Isa::Portable, &pool, &parameters, Statistics::Batch, &x, &d, gradients);
    assert_eq!(beta, [2.0, 3.0]);
}
