//! Losses of numbers, row by row. As in `crossentropy`, an empty `gradient` is not written.

use super::LossKind;
use super::crossentropy::LEAST;

/// The mean over a row of what the kind computes for each element.
pub(super) fn mean(kind: &LossKind, t: &[f32], p: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let count = p.len() as f64;
    for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
        *g = (element(kind, f64::from(t), f64::from(p)).1 / count * factor) as f32;
    }
    let values = t.iter().zip(p).map(|(&t, &p)| element(kind, f64::from(t), f64::from(p)).0);
    values.sum::<f64>() / count
}

/// The loss of one element and its derivative by the prediction.
fn element(kind: &LossKind, t: f64, p: f64) -> (f64, f64) {
    let error = p - t;
    match *kind {
        LossKind::MeanAbsoluteError => (error.abs(), sign(error)),
        LossKind::MeanAbsolutePercentageError => {
            let size = t.abs().max(LEAST);
            (100.0 * error.abs() / size, 100.0 * sign(error) / size)
        }
        LossKind::MeanSquaredLogarithmicError => {
            let one_more = if p < LEAST { LEAST } else { p } + 1.0;
            let difference = libm::log(one_more) - libm::log(t.max(LEAST) + 1.0);
            let slope = if p >= LEAST { 2.0 * difference / one_more } else { 0.0 };
            (difference * difference, slope)
        }
        LossKind::Huber { delta } if error.abs() > delta => {
            (delta * error.abs() - 0.5 * delta * delta, delta * sign(error))
        }
        LossKind::Huber { .. } => (0.5 * error * error, error),
        LossKind::LogCosh => {
            // log(cosh(x)) = |x| + log(1 + exp(-2|x|)) - log 2
            let size = error.abs();
            let value = size + libm::log1p(libm::exp(-2.0 * size)) - std::f64::consts::LN_2;
            (value, libm::tanh(error))
        }
        LossKind::Poisson => (p - t * libm::log(p + LEAST), 1.0 - t / (p + LEAST)),
        _ => (error * error, 2.0 * error),
    }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// `-sum(t p) / (|t| |p|)`; a length below ε counts as ε.
pub(super) fn cosine_similarity(t: &[f32], p: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let (t_length, own_length) = (length(t).max(LEAST), length(p));
    let p_length = own_length.max(LEAST);
    let product: f64 = t.iter().zip(p).map(|(&t, &p)| f64::from(t) * f64::from(p)).sum();
    let similarity = product / t_length / p_length;
    // The length of p changes with p only while it is not held at ε.
    let along = if own_length > LEAST { similarity / p_length } else { 0.0 };
    for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
        *g = ((along * f64::from(p) - f64::from(t) / t_length) / p_length * factor) as f32;
    }
    -similarity
}
