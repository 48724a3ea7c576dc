//! Losses of margins, row by row. As in `crossentropy`, an empty `gradient` is not written.

/// `mean(max(1 - t p, 0))`, or of its squares; `binary` targets 0 and 1 stand for -1 and 1.
pub(super) fn hinge(
    t: &[f32],
    p: &[f32],
    binary: bool,
    squared: bool,
    factor: f64,
    gradient: &mut [f32],
) -> f64 {
    let count = p.len() as f64;
    let side = |t: f32| if binary { 2.0 * f64::from(t) - 1.0 } else { f64::from(t) };
    // TensorFlow's maximum gives the gradient to the margin where it is exactly 0.
    for ((g, &p), &t) in gradient.iter_mut().zip(p).zip(t) {
        let margin = 1.0 - side(t) * f64::from(p);
        let slope = if squared { 2.0 * margin } else { 1.0 };
        *g = if margin >= 0.0 { (-slope * side(t) / count * factor) as f32 } else { 0.0 };
    }
    let term = |(&t, &p): (&f32, &f32)| {
        let margin = 1.0 - side(t) * f64::from(p);
        let kept = if margin < 0.0 { 0.0 } else { margin };
        if squared { kept * kept } else { kept }
    };
    t.iter().zip(p).map(term).sum::<f64>() / count
}

/// `max(max((1 - t) p) - sum(t p) + 1, 0)`; equal largest elements share the gradient.
pub(super) fn categorical(t: &[f32], p: &[f32], factor: f64, gradient: &mut [f32]) -> f64 {
    let other = |(&t, &p): (&f32, &f32)| (1.0 - f64::from(t)) * f64::from(p);
    let own: f64 = t.iter().zip(p).map(|(&t, &p)| f64::from(t) * f64::from(p)).sum();
    let largest = t.iter().zip(p).map(other).fold(f64::NEG_INFINITY, f64::max);
    let loss = largest - own + 1.0;
    let equal = t.iter().zip(p).map(other).filter(|x| *x == largest).count().max(1) as f64;
    for ((g, p), t) in gradient.iter_mut().zip(p).zip(t) {
        let wrong = if other((t, p)) == largest { (1.0 - f64::from(*t)) / equal } else { 0.0 };
        *g = if loss >= 0.0 { ((wrong - f64::from(*t)) * factor) as f32 } else { 0.0 };
    }
    if loss < 0.0 { 0.0 } else { loss }
}
