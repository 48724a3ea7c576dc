//! Losses of probabilities and of logits, row by row.
//!
//! Each function gives the loss of one row and adds nothing: it writes the derivatives, times `factor`,
//! into `gradient`, or nothing if that is empty.

/// The smallest probability, ε, as Keras has it in single precision.
pub(super) const LEAST: f64 = 1e-7f32 as f64;

/// The largest probability: 1 - ε in single precision.
const MOST: f64 = 0.999_999_9_f32 as f64;

/// `log(sum(exp(x)))` and the largest x.
fn log_sum_exp(x: &[f32]) -> f64 {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = x.iter().map(|x| libm::exp(f64::from(*x) - largest)).sum();
    largest + libm::log(sum)
}

/// `log(sum(exp(x))) - x[class]`; derivative `softmax(x) - one-hot`.
pub(super) fn sparse_of_logits(class: usize, x: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let total = log_sum_exp(x);
    for (index, (g, x)) in gradient.iter_mut().zip(x).enumerate() {
        let share = libm::exp(f64::from(*x) - total);
        *g = ((share - f64::from(u8::from(index == class))) * factor) as f32;
    }
    total - f64::from(x[class])
}

/// `-log(q[class] / sum(q))` of clipped probabilities q: Keras takes their logarithms as logits.
pub(super) fn sparse_of_probabilities(class: usize, p: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let clipped = |p: f32| f64::from(p).clamp(LEAST, MOST);
    let sum: f64 = p.iter().map(|p| clipped(*p)).sum();
    for (index, (g, &p)) in gradient.iter_mut().zip(p).enumerate() {
        let own = if index == class { 1.0 / clipped(p) } else { 0.0 };
        *g = (inside(p) * (1.0 / sum - own) * factor) as f32;
    }
    libm::log(sum) - libm::log(clipped(p[class]))
}

/// 1 for a probability that clipping leaves alone, else 0.
fn inside(p: f32) -> f64 {
    f64::from(u8::from((LEAST..=MOST).contains(&f64::from(p))))
}

/// `sum(t (log(sum(exp(x))) - x))`; derivative `softmax(x) - t`, as TensorFlow has it.
pub(super) fn categorical_of_logits(
    t: &[f32],
    x: &[f32],
    smoothing: f64,
    factor: f64,
    gradient: &mut [f32],
) -> f64 {
    let smoothed = smooth(smoothing, smoothing / t.len() as f64);
    let total = log_sum_exp(x);
    for ((g, &x), &t) in gradient.iter_mut().zip(x).zip(t) {
        *g = ((libm::exp(f64::from(x) - total) - smoothed(t)) * factor) as f32;
    }
    t.iter().zip(x).map(|(&t, &x)| weighted(smoothed(t), total - f64::from(x))).sum()
}

/// `-sum(t log(q))` where q are `p / sum(p)`, clipped.
pub(super) fn categorical_of_probabilities(
    t: &[f32],
    p: &[f32],
    smoothing: f64,
    factor: f64,
    gradient: &mut [f32],
) -> f64 {
    let smoothed = smooth(smoothing, smoothing / t.len() as f64);
    let sum: f64 = p.iter().map(|p| f64::from(*p)).sum();
    let share = |p: f32| f64::from(p) / sum;
    if !gradient.is_empty() {
        // d = derivative by the share; then that by p_j is (d_j - sum(d_i share_i)) / sum.
        let by_share = |t: f32, p: f32| {
            let share = share(p);
            if (LEAST..=MOST).contains(&share) { -smoothed(t) / share } else { 0.0 }
        };
        let mean: f64 = t.iter().zip(p).map(|(&t, &p)| by_share(t, p) * share(p)).sum();
        for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
            *g = ((by_share(t, p) - mean) / sum * factor) as f32;
        }
    }
    let term = |(&t, &p): (&f32, &f32)| weighted(smoothed(t), -libm::log(share(p).clamp(LEAST, MOST)));
    t.iter().zip(p).map(term).sum()
}

/// `-mean(t log(p) + (1 - t) log(1 - p))`, of `sigmoid(p)` for logits.
pub(super) fn binary(
    t: &[f32],
    p: &[f32],
    from_logits: bool,
    smoothing: f64,
    factor: f64,
    gradient: &mut [f32],
) -> f64 {
    let smoothed = smooth(smoothing, 0.5 * smoothing);
    let count = p.len() as f64;
    for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
        let derivative = if from_logits {
            sigmoid(f64::from(p)) - smoothed(t)
        } else {
            let (t, q) = (smoothed(t), f64::from(p).clamp(LEAST, MOST));
            inside(p) * ((1.0 - t) / (1.0 - q) - t / q)
        };
        *g = (derivative / count * factor) as f32;
    }
    let of_logit = |t: f64, x: f64| x.max(0.0) - x * t + libm::log1p(libm::exp(-x.abs()));
    let of_probability = |t: f64, q: f64| weighted(t, -libm::log(q)) + weighted(1.0 - t, -libm::log(1.0 - q));
    let term = |(&t, &p): (&f32, &f32)| {
        let (t, p) = (smoothed(t), f64::from(p));
        // Not max(), which would hide what is no number.
        if p.is_nan() {
            f64::NAN
        } else if from_logits {
            of_logit(t, p)
        } else {
            of_probability(t, p.clamp(LEAST, MOST))
        }
    };
    t.iter().zip(p).map(term).sum::<f64>() / count
}

/// `sum(t log(t / p))`, both clipped to `[ε, 1]`.
pub(super) fn kl_divergence(t: &[f32], p: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let clipped = |x: f32| f64::from(x).clamp(LEAST, 1.0);
    for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
        let inside = f64::from(u8::from((LEAST..=1.0).contains(&f64::from(p))));
        *g = (-inside * clipped(t) / clipped(p) * factor) as f32;
    }
    let term = |(&t, &p): (&f32, &f32)| clipped(t) * libm::log(clipped(t) / clipped(p));
    t.iter().zip(p).map(term).sum()
}

/// `t (1 - share) + addend`.
fn smooth(share: f64, addend: f64) -> impl Fn(f32) -> f64 {
    move |t| f64::from(t) * (1.0 - share) + addend
}

/// `t * x`, 0 where t is 0, whatever x: a class without weight may have an infinite loss.
fn weighted(t: f64, x: f64) -> f64 {
    if t == 0.0 && !x.is_nan() { 0.0 } else { t * x }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}
