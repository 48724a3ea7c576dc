//! What an optimizer does to the elements of a parameter, in one pass over memory.
//!
//! Every step works on blocks that stay in the first-level cache: the gradient is adjusted into a
//! block on the stack, then each slot and at last the parameter are brought up to date from it.
//! Elements do not depend on each other, so results do not depend on threads or instruction sets.

use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Elements of a block: 2 KB of each array.
const BLOCK: usize = 512;

/// Fewest elements of a task, a whole number of blocks.
const TASK: usize = 32 * BLOCK;

/// What is done to a gradient before the optimizer sees it, and to the parameter before it is updated.
///
/// The gradient becomes `clamp((gradient + l1 sign(parameter) + 2 l2 parameter) scale, ±limit)`, then
/// the parameter `parameter - parameter weight_decay learning_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustment {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Factor of the sum of magnitudes in the loss.
    pub l1: f32,
    /// Factor of the sum of squares in the loss.
    pub l2: f32,
    /// Factor of the gradient: below 1 where its norm is clipped.
    pub scale: f32,
    /// Largest magnitude of a gradient's element; infinite where it is not clipped. Not negative.
    pub limit: f32,
    /// Share of the parameter, times the learning rate, that it loses at each step.
    pub weight_decay: f32,
}

impl Adjustment {
    /// No penalty, no clipping, no decay.
    #[must_use]
    pub fn none(learning_rate: f32) -> Adjustment {
        Adjustment { learning_rate, l1: 0.0, l2: 0.0, scale: 1.0, limit: f32::INFINITY, weight_decay: 0.0 }
    }

    #[inline(always)]
    fn penalized(&self, gradient: f32, parameter: f32) -> f32 {
        let sign = f32::from(parameter > 0.0) - f32::from(parameter < 0.0);
        gradient + self.l1 * sign + 2.0 * self.l2 * parameter
    }

    /// Adjusts the gradients of a block into `adjusted`, and its parameters.
    #[inline(always)]
    fn block(&self, gradient: &[f32], parameter: &mut [f32], adjusted: &mut [f32]) {
        for ((a, &g), p) in adjusted.iter_mut().zip(gradient).zip(parameter) {
            let scaled = self.penalized(g, *p) * self.scale;
            // Written so that what is no number stays none.
            let raised = if scaled < -self.limit { -self.limit } else { scaled };
            *a = if raised > self.limit { self.limit } else { raised };
            *p -= *p * self.weight_decay * self.learning_rate;
        }
    }
}

/// Stochastic gradient descent: `momentum = momentum m - gradient learning_rate`, `parameter +=
/// momentum`, or with Nesterov's `parameter += momentum m - gradient learning_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The factor m; with 0 there is no slot.
    pub momentum: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// RMSprop: `velocity = rho velocity + (1 - rho) gradient²`, `increment = learning_rate gradient /
/// sqrt(velocity + epsilon)`; centered, the square of the gradient's running average is taken off the
/// velocity; with momentum, `momentum = m momentum + increment` is what the parameter loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Share of the running averages that stays.
    pub rho: f32,
    /// `1 - rho`, rounded once.
    pub one_minus_rho: f32,
    /// The factor m; with 0 there is no momentum slot.
    pub momentum: f32,
    /// Keeps the root from 0.
    pub epsilon: f32,
    /// Whether there is a slot of average gradients.
    pub centered: bool,
}

/// Adam: `momentum += (gradient - momentum)(1 - beta_1)`, `velocity += (gradient² - velocity)(1 -
/// beta_2)`, `parameter -= momentum alpha / (sqrt(velocity) + epsilon)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The step size `learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t)` of step t.
    pub alpha: f32,
    /// `1 - beta_1`, rounded once.
    pub one_minus_beta_1: f32,
    /// `1 - beta_2`, rounded once.
    pub one_minus_beta_2: f32,
    /// Keeps the divisor from 0.
    pub epsilon: f32,
    /// Whether the largest velocity so far, a slot of its own, stands for the velocity.
    pub amsgrad: bool,
}

/// One step of [`Sgd`]. The slot is as long as the parameter, or empty without momentum.
///
/// # Panics
/// When lengths do not fit.
pub fn sgd(
    isa: Isa,
    pool: &ThreadPool,
    rule: &Sgd,
    adjustment: &Adjustment,
    gradient: &[f32],
    parameter: &mut [f32],
    momentum: &mut [f32],
) {
    check_slot(parameter, momentum, rule.momentum != 0.0);
    in_parallel(pool, gradient, parameter, [momentum], |gradient, parameter, [momentum]| {
        sgd_piece(isa, rule, adjustment, gradient, parameter, momentum);
    });
}

/// One step of [`RmsProp`] with the slots `[velocity, average gradient, momentum]`, each as long as the
/// parameter, or empty where the rule has none.
///
/// # Panics
/// When lengths do not fit.
pub fn rms_prop(
    isa: Isa,
    pool: &ThreadPool,
    rule: &RmsProp,
    adjustment: &Adjustment,
    gradient: &[f32],
    parameter: &mut [f32],
    slots: [&mut [f32]; 3],
) {
    check_slot(parameter, slots[0], true);
    check_slot(parameter, slots[1], rule.centered);
    check_slot(parameter, slots[2], rule.momentum != 0.0);
    in_parallel(pool, gradient, parameter, slots, |gradient, parameter, slots| {
        rms_prop_piece(isa, rule, adjustment, gradient, parameter, slots);
    });
}

/// One step of [`Adam`] with the slots `[momentum, velocity, largest velocity]`, each as long as the
/// parameter, the last one empty without `amsgrad`.
///
/// # Panics
/// When lengths do not fit.
pub fn adam(
    isa: Isa,
    pool: &ThreadPool,
    rule: &Adam,
    adjustment: &Adjustment,
    gradient: &[f32],
    parameter: &mut [f32],
    slots: [&mut [f32]; 3],
) {
    check_slot(parameter, slots[0], true);
    check_slot(parameter, slots[1], true);
    check_slot(parameter, slots[2], rule.amsgrad);
    in_parallel(pool, gradient, parameter, slots, |gradient, parameter, slots| {
        adam_piece(isa, rule, adjustment, gradient, parameter, slots);
    });
}

fn check_slot(parameter: &[f32], slot: &[f32], exists: bool) {
    let expected = if exists { parameter.len() } else { 0 };
    assert_eq!(slot.len(), expected, "a slot has as many elements as its parameter, or none");
}

/// Cuts all arrays into the same pieces and hands them out.
fn in_parallel<const N: usize>(
    pool: &ThreadPool,
    gradient: &[f32],
    parameter: &mut [f32],
    slots: [&mut [f32]; N],
    piece: impl Fn(&[f32], &mut [f32], [&mut [f32]; N]) + Sync,
) {
    assert_eq!(gradient.len(), parameter.len(), "a gradient has as many elements as its parameter");
    let elements = parameter.len();
    let per_task = pool.rows_per_task(elements, TASK).next_multiple_of(BLOCK);
    let parameter = DisjointSlice::new(parameter);
    let slots = slots.map(DisjointSlice::new);
    pool.run(elements.div_ceil(per_task), &|task| {
        let range = task * per_task..elements.min((task + 1) * per_task);
        let of = |array: &DisjointSlice<'_, f32>| if array.len() == 0 { 0..0 } else { range.clone() };
        // SAFETY: every task runs once, and the ranges of two tasks do not overlap.
        let parameter = unsafe { parameter.piece(range.clone()) };
        // SAFETY: as above; each slot is another array.
        let slots = std::array::from_fn(|slot| unsafe { slots[slot].piece(of(&slots[slot])) });
        piece(&gradient[range.clone()], parameter, slots);
    });
}

/// The part of a slot that belongs to the block at `start`; nothing of a slot that there is not.
#[inline(always)]
fn block_of(slot: &mut [f32], start: usize, len: usize) -> &mut [f32] {
    if slot.is_empty() { slot } else { &mut slot[start..start + len] }
}

multiversion! {
    fn sgd_piece(rule: &Sgd, adjustment: &Adjustment, gradient: &[f32], parameter: &mut [f32], momentum: &mut [f32]) {
        let mut buffer = [0f32; BLOCK];
        let blocks = gradient.chunks(BLOCK).zip(parameter.chunks_mut(BLOCK)).enumerate();
        for (index, (gradient, parameter)) in blocks {
            let step = &mut buffer[..gradient.len()];
            adjustment.block(gradient, parameter, step);
            step.iter_mut().for_each(|s| *s *= adjustment.learning_rate);
            let momentum = block_of(momentum, index * BLOCK, step.len());
            if momentum.is_empty() {
                parameter.iter_mut().zip(step).for_each(|(p, s)| *p -= *s);
                continue;
            }
            for (m, s) in momentum.iter_mut().zip(step.iter_mut()) {
                *m = *m * rule.momentum - *s;
                *s = if rule.nesterov { *m * rule.momentum - *s } else { *m };
            }
            parameter.iter_mut().zip(step).for_each(|(p, s)| *p += *s);
        }
    }
}

multiversion! {
    fn rms_prop_piece(
        rule: &RmsProp,
        adjustment: &Adjustment,
        gradient: &[f32],
        parameter: &mut [f32],
        slots: [&mut [f32]; 3],
    ) {
        let [velocity, average, momentum] = slots;
        let (mut gradients, mut denominators) = ([0f32; BLOCK], [0f32; BLOCK]);
        let blocks = gradient.chunks(BLOCK).zip(parameter.chunks_mut(BLOCK)).enumerate();
        for (index, (gradient, parameter)) in blocks {
            let (start, len) = (index * BLOCK, gradient.len());
            let (step, denominator) = (&mut gradients[..len], &mut denominators[..len]);
            adjustment.block(gradient, parameter, step);
            let line = velocity[start..start + len].iter_mut().zip(denominator.iter_mut());
            for ((v, d), g) in line.zip(step.iter()) {
                *v = rule.rho * *v + rule.one_minus_rho * (*g * *g);
                *d = *v;
            }
            let average = block_of(average, start, len).iter_mut().zip(denominator.iter_mut());
            for ((a, d), g) in average.zip(step.iter()) {
                *a = rule.rho * *a + rule.one_minus_rho * *g;
                *d -= *a * *a;
            }
            for (s, d) in step.iter_mut().zip(denominator) {
                *s = adjustment.learning_rate * *s / (*d + rule.epsilon).sqrt();
            }
            for (m, s) in block_of(momentum, start, len).iter_mut().zip(step.iter_mut()) {
                *m = rule.momentum * *m + *s;
                *s = *m;
            }
            parameter.iter_mut().zip(step).for_each(|(p, s)| *p -= *s);
        }
    }
}

multiversion! {
    fn adam_piece(
        rule: &Adam,
        adjustment: &Adjustment,
        gradient: &[f32],
        parameter: &mut [f32],
        slots: [&mut [f32]; 3],
    ) {
        let [momentum, velocity, largest] = slots;
        let (mut gradients, mut velocities) = ([0f32; BLOCK], [0f32; BLOCK]);
        let blocks = gradient.chunks(BLOCK).zip(parameter.chunks_mut(BLOCK)).enumerate();
        for (index, (gradient, parameter)) in blocks {
            let (start, len) = (index * BLOCK, gradient.len());
            let (step, divisor) = (&mut gradients[..len], &mut velocities[..len]);
            adjustment.block(gradient, parameter, step);
            let line = velocity[start..start + len].iter_mut().zip(divisor.iter_mut());
            for ((v, d), g) in line.zip(step.iter()) {
                *v += (*g * *g - *v) * rule.one_minus_beta_2;
                *d = *v;
            }
            for (l, d) in block_of(largest, start, len).iter_mut().zip(divisor.iter_mut()) {
                *l = if *d > *l { *d } else { *l };
                *d = *l;
            }
            let line = momentum[start..start + len].iter_mut().zip(step).zip(divisor);
            for (((m, g), d), p) in line.zip(parameter) {
                *m += (*g - *m) * rule.one_minus_beta_1;
                *p -= *m * rule.alpha / (d.sqrt() + rule.epsilon);
            }
        }
    }
}

/// The sums of the elements' magnitudes and of their squares, in double precision; the same whatever
/// the number of threads.
#[must_use]
pub fn magnitudes(isa: Isa, pool: &ThreadPool, values: &[f32]) -> [f64; 2] {
    let sums = block_sums(pool, values.len(), |range| piece_magnitudes(isa, &values[range]));
    sums.iter().fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]])
}

/// The sum of the squares of `gradient + l1 sign(parameter) + 2 l2 parameter`, as [`magnitudes`].
///
/// # Panics
/// When lengths differ.
#[must_use]
pub fn squared_norm(
    isa: Isa,
    pool: &ThreadPool,
    penalty: &Adjustment,
    gradient: &[f32],
    parameter: &[f32],
) -> f64 {
    assert_eq!(gradient.len(), parameter.len(), "a gradient has as many elements as its parameter");
    let piece = |range: std::ops::Range<usize>| {
        [piece_squares(isa, penalty, &gradient[range.clone()], &parameter[range]), 0.0]
    };
    block_sums(pool, gradient.len(), piece).iter().map(|part| part[0]).sum()
}

/// What `piece` gives for every `TASK` elements.
fn block_sums(
    pool: &ThreadPool,
    elements: usize,
    piece: impl Fn(std::ops::Range<usize>) -> [f64; 2] + Sync,
) -> Vec<[f64; 2]> {
    let mut sums = vec![[0.0; 2]; elements.div_ceil(TASK)];
    pool.run_rows(&mut sums, 1, 1, |index, sum| {
        sum[0] = piece(index * TASK..elements.min((index + 1) * TASK));
    });
    sums
}

/// Running sums that a vector register holds side by side.
const LANES: usize = 16;

multiversion! {
    fn piece_magnitudes(values: &[f32]) -> [f64; 2] {
        let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
        for line in values.chunks(LANES) {
            for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(line) {
                *sum += f64::from(x.abs());
                *square += f64::from(x) * f64::from(x);
            }
        }
        [sums.iter().sum(), squares.iter().sum()]
    }
}

multiversion! {
    fn piece_squares(penalty: &Adjustment, gradient: &[f32], parameter: &[f32]) -> f64 {
        let mut squares = [0f64; LANES];
        for (gradient, parameter) in gradient.chunks(LANES).zip(parameter.chunks(LANES)) {
            for ((square, &g), &p) in squares.iter_mut().zip(gradient).zip(parameter) {
                let x = f64::from(penalty.penalized(g, p));
                *square += x * x;
            }
        }
        squares.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases::{for_cases, machines};
    use crate::reference::optimizer as reference;

    /// Numbers between -2 and 2, a zero here and there.
    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 401) as f32 / 100.0 - 2.0).collect()
    }

    fn adjustments() -> impl Strategy<Value = Adjustment> {
        let limit = prop_oneof![Just(f32::INFINITY), Just(0.5f32)];
        (0.01f32..0.5, 0f32..0.1, 0f32..0.1, 0.5f32..1.0, limit, 0f32..0.1).prop_map(
            |(learning_rate, l1, l2, scale, limit, weight_decay)| Adjustment {
                learning_rate,
                l1,
                l2,
                scale,
                limit,
                weight_decay,
            },
        )
    }

    /// Lengths around the sizes of blocks and tasks, adjustments and three switches.
    fn cases() -> impl Strategy<Value = (usize, Adjustment, bool, bool)> {
        let len = prop_oneof![0usize..40, BLOCK - 2..BLOCK + 3, TASK - 1..TASK + 700];
        (len, adjustments(), any::<bool>(), any::<bool>())
    }

    /// Runs two steps of a kernel and of the reference, with `slots` arrays that exist or are empty.
    fn compare<const N: usize>(
        len: usize,
        slots: [bool; N],
        kernel: impl Fn(Isa, &ThreadPool, &[f32], &mut [f32], [&mut [f32]; N]),
        reference: impl Fn(f32, f32, [&mut f32; N]) -> f32,
    ) {
        let slot = |exists: bool| vec![0f32; if exists { len } else { 0 }];
        let (mut expected, mut expected_slots) = (numbers(len, 1), slots.map(slot));
        for step in 0..2 {
            for (index, gradient) in numbers(len, 2 + step).into_iter().enumerate() {
                let mut none = [0f32; N];
                let mut none = none.iter_mut();
                let mut each = expected_slots.each_mut().map(|slot| {
                    let spare = none.next().expect("one for each slot");
                    slot.get_mut(index).unwrap_or(spare)
                });
                expected[index] =
                    reference(gradient, expected[index], each.each_mut().map(|slot| &mut **slot));
            }
        }
        for (isa, pool) in machines() {
            let (mut got, mut got_slots) = (numbers(len, 1), slots.map(slot));
            for step in 0..2 {
                let slots = got_slots.each_mut().map(|slot| &mut slot[..]);
                kernel(isa, &pool, &numbers(len, 2 + step), &mut got, slots);
            }
            assert_eq!(got, expected, "{isa}");
            assert_eq!(got_slots, expected_slots, "{isa}");
        }
    }

    #[test]
    fn descent_is_that_of_the_reference() {
        for_cases(12, cases(), |(len, adjustment, moves, nesterov)| {
            let rule = Sgd { momentum: if moves { 0.9 } else { 0.0 }, nesterov };
            compare(
                len,
                [moves],
                |isa, pool, g, p, [m]| sgd(isa, pool, &rule, &adjustment, g, p, m),
                |g, p, [m]| reference::sgd(&rule, &adjustment, g, p, m),
            );
        });
    }

    #[test]
    fn rms_prop_is_that_of_the_reference() {
        for_cases(12, cases(), |(len, adjustment, moves, centered)| {
            let momentum = if moves { 0.9 } else { 0.0 };
            let rule = RmsProp { rho: 0.9, one_minus_rho: 0.1, momentum, epsilon: 1e-7, centered };
            compare(
                len,
                [true, centered, moves],
                |isa, pool, g, p, slots| rms_prop(isa, pool, &rule, &adjustment, g, p, slots),
                |g, p, slots| reference::rms_prop(&rule, &adjustment, g, p, slots),
            );
        });
    }

    #[test]
    fn adam_is_that_of_the_reference() {
        for_cases(12, cases(), |(len, adjustment, amsgrad, _)| {
            let (one_minus_beta_1, one_minus_beta_2) = (0.1, 0.001);
            let rule = Adam { alpha: 0.02, one_minus_beta_1, one_minus_beta_2, epsilon: 1e-7, amsgrad };
            compare(
                len,
                [true, true, amsgrad],
                |isa, pool, g, p, slots| adam(isa, pool, &rule, &adjustment, g, p, slots),
                |g, p, slots| reference::adam(&rule, &adjustment, g, p, slots),
            );
        });
    }

    #[test]
    fn sums_do_not_depend_on_threads() {
        let len = 2 * TASK + 77;
        let (gradient, parameter) = (numbers(len, 3), numbers(len, 4));
        let penalty = Adjustment { l1: 0.1, l2: 0.2, ..Adjustment::none(1.0) };
        let penalized = |(&g, &p): (&f32, &f32)| reference::adjusted(&penalty, g, p).0;
        let squares: f64 = gradient.iter().zip(&parameter).map(penalized).map(|x| f64::from(x).powi(2)).sum();
        let sum: f64 = gradient.iter().map(|x| f64::from(x.abs())).sum();
        let own = Adjustment::none(1.0);
        let first = machines().next().expect("there is one");
        let expected = magnitudes(first.0, &first.1, &gradient);
        assert!((expected[0] - sum).abs() < 1e-9 * sum);
        for (isa, pool) in machines() {
            assert_eq!(magnitudes(isa, &pool, &gradient), expected, "{isa}");
            assert_eq!(squared_norm(isa, &pool, &own, &gradient, &parameter), expected[1], "{isa}");
            let norm = squared_norm(isa, &pool, &penalty, &gradient, &parameter);
            assert!((norm - squares).abs() < 1e-9 * squares, "{isa}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let (mut parameter, pool) = ([1f32], ThreadPool::new(1));
        let rule = Sgd { momentum: 0.0, nesterov: false };
        let adjustment = Adjustment { limit: 1.0, ..Adjustment::none(0.1) };
        sgd(Isa::detect(), &pool, &rule, &adjustment, &[f32::NAN], &mut parameter, &mut []);
        assert!(parameter[0].is_nan());
    }
}
