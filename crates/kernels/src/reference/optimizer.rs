//! One step of every optimizer for one element, as Keras 3 states it (`keras/src/optimizers`).

use crate::optimizer::{Adam, Adjustment, RmsProp, Sgd};

/// The gradient that the optimizer sees, and the parameter that it updates.
#[must_use]
pub fn adjusted(rule: &Adjustment, gradient: f32, parameter: f32) -> (f32, f32) {
    let sign = if parameter == 0.0 { 0.0 } else { parameter.signum() };
    let penalized = gradient + rule.l1 * sign + 2.0 * rule.l2 * parameter;
    let clipped = (penalized * rule.scale).clamp(-rule.limit, rule.limit);
    (clipped, parameter - parameter * rule.weight_decay * rule.learning_rate)
}

/// The parameter after a step; `momentum` is its slot.
pub fn sgd(rule: &Sgd, adjustment: &Adjustment, gradient: f32, parameter: f32, momentum: &mut f32) -> f32 {
    let (gradient, parameter) = adjusted(adjustment, gradient, parameter);
    let step = gradient * adjustment.learning_rate;
    if rule.momentum == 0.0 {
        return parameter - step;
    }
    *momentum = *momentum * rule.momentum - step;
    parameter + if rule.nesterov { *momentum * rule.momentum - step } else { *momentum }
}

/// The parameter after a step; `[velocity, average gradient, momentum]` are its slots.
pub fn rms_prop(
    rule: &RmsProp,
    adjustment: &Adjustment,
    gradient: f32,
    parameter: f32,
    [velocity, average, momentum]: [&mut f32; 3],
) -> f32 {
    let (gradient, parameter) = adjusted(adjustment, gradient, parameter);
    *velocity = rule.rho * *velocity + rule.one_minus_rho * (gradient * gradient);
    let mut denominator = *velocity;
    if rule.centered {
        *average = rule.rho * *average + rule.one_minus_rho * gradient;
        denominator -= *average * *average;
    }
    let increment = adjustment.learning_rate * gradient / (denominator + rule.epsilon).sqrt();
    if rule.momentum == 0.0 {
        return parameter - increment;
    }
    *momentum = rule.momentum * *momentum + increment;
    parameter - *momentum
}

/// The parameter after a step; `[momentum, velocity, largest velocity]` are its slots.
pub fn adam(
    rule: &Adam,
    adjustment: &Adjustment,
    gradient: f32,
    parameter: f32,
    [momentum, velocity, largest]: [&mut f32; 3],
) -> f32 {
    let (gradient, parameter) = adjusted(adjustment, gradient, parameter);
    *momentum += (gradient - *momentum) * rule.one_minus_beta_1;
    *velocity += (gradient * gradient - *velocity) * rule.one_minus_beta_2;
    let mut velocity = *velocity;
    if rule.amsgrad {
        *largest = largest.max(velocity);
        velocity = *largest;
    }
    parameter - *momentum * rule.alpha / (velocity.sqrt() + rule.epsilon)
}
