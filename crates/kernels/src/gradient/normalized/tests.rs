//! Layers between normalizations against the kernels that they are made of, one after the other.

use proptest::prelude::*;

use super::*;
use crate::cases::for_cases;
use crate::fake_quantize::fake_quantize;
use crate::float::{Clamp, Depthwise};
use crate::gradient::batch_norm::{self, Gradients, Statistics};
use crate::gradient::convolution::{Forward, InputGradient, Scratch, WeightsGradient};
use crate::gradient::depthwise as plain;
use crate::gradient::fake_quantize::gradient as rounding_gradient;
use crate::window::Window;
use point::LayerGradients;

/// Numbers around 0, and exact enough for sums.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let hash = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 12) as f32;
    (0..len as u32).map(|i| hash(i) / 2f32.powi(18) - 2.0).collect()
}

fn close(output: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
    assert_eq!(output.len(), expected.len(), "{what}");
    for (o, e) in output.iter().zip(expected) {
        assert!((o - e).abs() <= 2e-4 * largest, "{what}: {o} {e} of {largest}");
    }
}

/// A normalization with its statistics.
struct Norm {
    mean: Vec<f32>,
    variance: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    bounds: Option<[f32; 2]>,
    grid: Option<Grid<f32>>,
}

impl Norm {
    fn of(x: &[f32], channels: usize, kind: u32, seed: u32) -> Norm {
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        batch_norm::statistics(Isa::Portable, &ThreadPool::new(1), x, &mut mean, &mut variance);
        let bounds = [None, Some([0.0, f32::HIGHEST]), Some([0.0, 1.5])][kind as usize % 3];
        let grid = Grid { scales: vec![0.0125], zero_points: vec![-128], range: [-128, 127], inner: 1 };
        let (gamma, beta) = (numbers(channels, seed), numbers(channels, seed + 1));
        Norm { mean, variance, gamma, beta, bounds, grid: (kind >= 3).then_some(grid) }
    }

    fn parameters(&self) -> BatchNorm<'_, f32> {
        let Norm { mean, variance, gamma, beta, bounds, .. } = self;
        BatchNorm { mean, variance, epsilon: 1e-3, gamma: Some(gamma), beta: Some(beta), bounds: *bounds }
    }

    fn here<'a>(&'a self, isa: Isa, x: &'a [f32]) -> Normalized<'a> {
        Normalized::new(isa, &self.parameters(), x, self.grid.as_ref())
    }

    /// The tensor before and after it is rounded.
    fn forward(&self, x: &[f32]) -> [Vec<f32>; 2] {
        let (isa, pool) = (Isa::Portable, ThreadPool::new(1));
        let mut y = vec![0.0; x.len()];
        batch_norm::normalize(isa, &pool, &self.parameters(), x, &mut y);
        let mut rounded = y.clone();
        if let Some(grid) = &self.grid {
            fake_quantize(isa, &pool, grid, &y, &mut rounded);
        }
        [y, rounded]
    }

    /// The gradients of input, gamma and beta.
    fn backward(&self, x: &[f32], d: &[f32]) -> [Vec<f32>; 3] {
        let (isa, pool) = (Isa::Portable, ThreadPool::new(1));
        let mut through = d.to_vec();
        if let Some(grid) = &self.grid {
            rounding_gradient(isa, &pool, grid, &self.forward(x)[0], d, &mut through);
        }
        let [mut input, mut gamma, mut beta] =
            [x.len(), self.mean.len(), self.mean.len()].map(|len| vec![0.0; len]);
        let gradients = Gradients { input: Some(&mut input), gamma: Some(&mut gamma), beta: Some(&mut beta) };
        let parameters = self.parameters();
        batch_norm::gradient(isa, &pool, &parameters, Statistics::Batch, x, &through, gradients);
        [input, gamma, beta]
    }
}

/// A layer of one of both kinds.
#[derive(Clone, Copy, Debug)]
struct Case {
    window: Window,
    depthwise: bool,
    shape: [usize; 3],
    channels: [usize; 2],
    /// The kinds of the normalizations before and behind; `None` for plain tensors.
    before: Option<u32>,
    behind: Option<u32>,
    seed: u32,
}

/// Output, gradient of the input and gradient of the weights.
fn one_by_one(case: &Case, x: &[f32], weights: &[f32], dy: Option<&[f32]>) -> [Vec<f32>; 3] {
    let (isa, pool, mut scratch) = (Isa::detect(), ThreadPool::new(1), Scratch::new());
    let Case { window, shape, channels, .. } = *case;
    let [height, width] = window.output([shape[1], shape[2]]);
    let mut y = vec![0.0; shape[0] * height * width * channels[1]];
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
    if case.depthwise {
        let kernel = Depthwise::new(isa, window, channels[0], 1, weights, None, Clamp::NONE);
        kernel.run(&pool, x, shape, &mut y);
        if let Some(dy) = dy {
            plain::InputGradient::new(isa, window, channels[0], 1, weights).run(&pool, shape, dy, &mut dx);
            plain::weights(isa, &pool, &window, shape, channels[0], 1, x, dy, &mut dw);
        }
    } else {
        Forward::new(isa, window, 1, channels, shape).run(&pool, x, weights, None, &mut scratch, &mut y);
        if let Some(dy) = dy {
            let mut by_input = InputGradient::new(isa, window, 1, channels, shape);
            by_input.run(&pool, weights, dy, &mut scratch, &mut dx);
            let by_weights = WeightsGradient::new(isa, window, 1, channels, shape);
            by_weights.run(&pool, x, dy, &mut scratch, &mut dw, None);
        }
    }
    [y, dx, dw]
}

fn check(case: Case) {
    let Case { window, depthwise, shape, channels, seed, .. } = case;
    let [inputs, outputs] = channels;
    let pixels: usize = shape.iter().product();
    let x = numbers(pixels * inputs, seed);
    let weights = numbers(if depthwise { window.taps() * inputs } else { inputs * outputs }, seed + 7);
    let before = case.before.map(|kind| Norm::of(&x, inputs, kind, seed + 2));
    let seen = before.as_ref().map_or_else(|| x.clone(), |before| before.forward(&x)[1].clone());
    let [y, ..] = one_by_one(&case, &seen, &weights, None);
    let behind = case.behind.map(|kind| Norm::of(&y, outputs, kind, seed + 4));
    let d = numbers(y.len(), seed + 9);
    let dy = behind.as_ref().map_or_else(|| d.clone(), |behind| behind.backward(&y, &d)[0].clone());
    let [_, dx, dw] = one_by_one(&case, &seen, &weights, Some(&dy));
    let plain = Norm::of(&y, outputs, 0, 0);
    let mut results = Vec::new();
    for isa in Isa::available_levels() {
        for threads in [1, 3] {
            let (pool, mut scratch) = (ThreadPool::new(threads), Scratch::new());
            let source = || match &before {
                Some(before) => Source::Normalized(before.here(isa, &x)),
                None => Source::Plain(&x),
            };
            let (mut found, mut extremes) = (vec![0.0; y.len()], vec![0.0; 2 * outputs]);
            let (mut mean, mut variance) = (vec![7.0; outputs], vec![7.0; outputs]);
            let gathered = Gathered {
                mean: &mut mean,
                variance: &mut variance,
                extremes: case.behind.map(|_| &mut extremes[..]),
            };
            if depthwise {
                let mut layer = DepthwiseForward::new(isa, window, shape, inputs).unwrap();
                layer.run(&pool, &source(), &weights, None, &mut found, gathered);
            } else {
                let mut layer = PointForward::new(isa, channels, pixels);
                layer.run(&pool, &source(), &weights, None, &mut scratch, &mut found, gathered);
            }
            assert!(isa == Isa::Portable || found == y, "the output's bits");
            close(&found, &y, "output");
            close(&mean, &plain.mean, "mean");
            close(&variance, &plain.variance, "variance");
            if let Some(behind) = &behind {
                let range = behind.here(isa, &y).range(&extremes);
                let all = behind.forward(&found)[0].clone();
                let least = all.iter().fold(f32::HIGHEST, |a, b| a.smaller(*b));
                let most = all.iter().fold(f32::LOWEST, |a, b| a.larger(*b));
                assert_eq!([range.min, range.max], [least, most], "range");
            }

            let mut sums = vec![0.0; 2 * outputs];
            let (mut gamma, mut beta) = (vec![0.0; outputs], vec![0.0; outputs]);
            let received = match &behind {
                Some(behind) => {
                    let here = behind.here(isa, &y);
                    here.sums(&pool, &d, &mut sums);
                    here.parameter_gradients(&sums, Some(&mut gamma), Some(&mut beta));
                    let [_, of_gamma, of_beta] = behind.backward(&y, &d);
                    close(&gamma, &of_gamma, "gamma");
                    close(&beta, &of_beta, "beta");
                    let through = Through::new(behind.here(isa, &y), &d, &sums);
                    let mut whole = vec![0.0; y.len()];
                    through.run(&pool, &mut whole);
                    close(&whole, &dy, "gradient through the normalization");
                    Received::Normalized(through)
                }
                None => Received::Plain(&d),
            };
            let [mut by_input, mut by_weights] = [dx.len(), dw.len()].map(|len| vec![0.0; len]);
            let mut own_sums = vec![0.0; 2 * inputs];
            let gradients = LayerGradients {
                input: Some(&mut by_input),
                sums: before.as_ref().map(|_| &mut own_sums[..]),
                weights: Some(&mut by_weights),
                bias: None,
            };
            if depthwise {
                let mut layer = DepthwiseBackward::new(isa, window, shape, inputs).unwrap();
                layer.run(&pool, &source(), &received, &weights, &mut scratch, gradients);
            } else {
                let mut layer = PointBackward::new(isa, channels, pixels);
                layer.run(&pool, &source(), &received, &weights, &mut scratch, gradients);
            }
            close(&by_input, &dx, "gradient of the input");
            close(&by_weights, &dw, "gradient of the weights");
            if let Some(before) = &before {
                let mut expected = vec![0.0; 2 * inputs];
                before.here(isa, &x).sums(&pool, &by_input, &mut expected);
                close(&own_sums, &expected, "sums");
            }
            if isa > Isa::Portable {
                results.push((found, mean, by_input, by_weights, own_sums));
            }
        }
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "bits depend on threads or instruction set");
}

fn kinds() -> impl Strategy<Value = (Option<u32>, Option<u32>, u32)> {
    (prop::option::of(0u32..6), prop::option::of(0u32..6), 0u32..1000)
}

#[test]
fn convolutions_of_pixels_between_normalizations() {
    let shapes = (1usize..3, 1usize..40, 1usize..30, 1usize..40, 1usize..40);
    for_cases(10, (shapes, kinds()), |((batch, height, width, inputs, outputs), (before, behind, seed))| {
        let (shape, channels) = ([batch, height, width], [inputs, outputs]);
        check(Case { window: Window::POINT, depthwise: false, shape, channels, before, behind, seed });
    });
    let shape = [2, 60, 60];
    check(Case {
        window: Window::POINT,
        depthwise: false,
        shape,
        channels: [24, 20],
        before: Some(2),
        behind: Some(5),
        seed: 3,
    });
}

#[test]
fn depthwise_convolutions_between_normalizations() {
    let windows = (prop_oneof![Just(3usize), Just(5)], 1usize..3, 0usize..3, 0usize..3);
    let shapes = (1usize..4, 5usize..30, 5usize..20, 1usize..40);
    let cases = (windows, shapes, kinds());
    for_cases(12, cases, |((kernel, stride, first, last), (batch, height, width, channels), kinds)| {
        let (before, behind, seed) = kinds;
        let window = Window {
            kernel: [kernel; 2],
            stride: [stride; 2],
            pad_before: [first; 2],
            pad_after: [last; 2],
            ..Window::POINT
        };
        let (shape, channels) = ([batch, height, width], [channels; 2]);
        check(Case { window, depthwise: true, shape, channels, before, behind, seed });
    });
}
