//! Gradients of the functions of one number.
//!
//! Where a function has a kink the gradient is TensorFlow's: 0 at the bounds of ReLU, ReLU6 and the
//! hard sigmoid, 0 for `|x|` at 0, but 1 at the bounds of a clip.

use crate::elementwise::number::Float;
use crate::elementwise::unary::{SELU_ALPHA, SELU_SCALE, gelu_argument};
use crate::elementwise::{TASK_ELEMENTS, Unary};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// What the gradient of a function is computed from, beside the gradient of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing: the slope is the same everywhere.
    Nothing,
    /// The input or the output, whichever is there: both give the same.
    Either,
    /// The input.
    Input,
    /// The output.
    Output,
}

/// What [`unary`] wants to be given for an operator.
#[must_use]
pub fn saved(operator: Unary) -> Saved {
    match operator {
        Unary::Neg | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Sign => Saved::Nothing,
        Unary::Relu | Unary::Relu6 | Unary::ReluN1To1 => Saved::Either,
        // Above 0 the output tells where the input was, for every alpha not below 0.
        Unary::Elu { alpha } if alpha >= 0.0 => Saved::Output,
        Unary::Selu
        | Unary::Logistic
        | Unary::Tanh
        | Unary::Exp
        | Unary::Sqrt
        | Unary::Rsqrt
        | Unary::Reciprocal => Saved::Output,
        Unary::LeakyRelu { .. }
        | Unary::Elu { .. }
        | Unary::Silu
        | Unary::HardSigmoid
        | Unary::HardSwish
        | Unary::Gelu
        | Unary::GeluTanh
        | Unary::Softplus
        | Unary::Softsign
        | Unary::Log
        | Unary::Abs
        | Unary::Square
        | Unary::Sin
        | Unary::Cos
        | Unary::Erf => Saved::Input,
    }
}

/// Evaluates `$body` with `$function` bound to the operator's gradient, a function of what is saved
/// and of the output's gradient.
macro_rules! with_gradient {
    ($operator:expr, $function:ident => $body:expr) => {
        with_gradient!(@ $operator, $function, $body;
            Relu = |s, d| between(s, [T::ZERO, T::HIGHEST], d),
            Relu6 = |s, d| between(s, [T::ZERO, T::of(6.0)], d),
            ReluN1To1 = |s, d| between(s, [T::of(-1.0), T::ONE], d),
            LeakyRelu { alpha } = move |x, d| if x > T::ZERO { d } else { d.times(T::of(alpha)) },
            Elu { alpha } = move |s, d| elu(s, T::of(alpha), d),
            Selu = |y, d| {
                let slope = y.plus(T::of(SELU_SCALE * SELU_ALPHA));
                d.times(if y < T::ZERO { slope } else { T::of(SELU_SCALE) })
            },
            Logistic = |y, d| d.times(y.times(T::ONE.minus(y))),
            Tanh = |y, d| d.times(T::ONE.minus(y.times(y))),
            Silu = |x, d| {
                let y = x.logistic();
                d.times(y.times(T::ONE.plus(x.times(T::ONE.minus(y)))))
            },
            HardSigmoid = |x, d| hard_sigmoid_slope(x).times(d),
            HardSwish = |x, d| {
                let y = x.plus(T::of(3.0)).within([T::ZERO, T::of(6.0)]).times(T::of(1.0 / 6.0));
                d.times(y.plus(x.times(hard_sigmoid_slope(x))))
            },
            Gelu = |x, d| {
                let bend = x.times(T::of(std::f64::consts::FRAC_1_SQRT_2)).erf();
                let bell = x.times(x).times(T::of(-0.5)).exp().times(T::of(FRAC_1_SQRT_TAU));
                d.times(T::of(0.5).times(T::ONE.plus(bend)).plus(x.times(bell)))
            },
            GeluTanh = |x, d| {
                let bend = gelu_argument(x).tanh();
                let slope = T::of(SQRT_2_OVER_PI).plus(x.times(x).times(T::of(3.0 * 0.044_715 * SQRT_2_OVER_PI)));
                let rest = x.times(T::ONE.minus(bend.times(bend))).times(slope);
                d.times(T::of(0.5).times(T::ONE.plus(bend).plus(rest)))
            },
            Softplus = |x, d| d.times(x.logistic()),
            Softsign = |x, d| {
                let denominator = T::ONE.plus(x.magnitude());
                d.over(denominator.times(denominator))
            },
            Exp = |y, d| d.times(y),
            Log = |x, d| d.over(x),
            Sqrt = |y, d| d.times(T::of(0.5)).over(y),
            Rsqrt = |y, d| d.times(T::of(-0.5)).times(y.times(y).times(y)),
            Neg = |_, d| T::of(-0.0).minus(d),
            Abs = |x, d| {
                let negative = if x < T::ZERO { T::of(-0.0).minus(d) } else { T::ZERO };
                if x > T::ZERO { d } else { negative }
            },
            Square = |x, d| d.times(x.plus(x)),
            Sin = |x, d| d.times(x.cos()),
            Cos = |x, d| T::of(-0.0).minus(d.times(x.sin())),
            Floor = |_, _| T::ZERO,
            Ceil = |_, _| T::ZERO,
            Round = |_, _| T::ZERO,
            Sign = |_, _| T::ZERO,
            Erf = |x, d| d.times(T::ZERO.minus(x.times(x)).exp().times(T::of(std::f64::consts::FRAC_2_SQRT_PI))),
            Reciprocal = |y, d| T::of(-0.0).minus(d.times(y.times(y))),
        )
    };
    (@ $operator:expr, $function:ident, $body:expr;
        $($name:ident $({ $field:ident })? = $closure:expr,)*
    ) => {
        match $operator {
            $(Unary::$name $({ $field })? => {
                let $function = typed::<T, _>($closure);
                $body
            })*
        }
    };
}

/// `1 / sqrt(2 pi)`.
const FRAC_1_SQRT_TAU: f64 = 0.398_942_280_401_432_7;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// Tells the compiler the types of a closure's arguments.
#[inline(always)]
fn typed<T: Float, F: Fn(T, T) -> T>(function: F) -> F {
    function
}

/// `d` where `x` lies inside the bounds, 0 at them and beyond.
#[inline(always)]
fn between<T: Float>(x: T, [low, high]: [T; 2], d: T) -> T {
    let above = if x > low { d } else { T::ZERO };
    if x < high { above } else { T::ZERO }
}

/// From the output if `alpha` is not below 0, else from the input.
#[inline(always)]
fn elu<T: Float>(saved: T, alpha: T, d: T) -> T {
    let bent = if alpha >= T::ZERO { saved.plus(alpha) } else { saved.exp().times(alpha) };
    if saved > T::ZERO { d } else { d.times(bent) }
}

#[inline(always)]
fn hard_sigmoid_slope<T: Float>(x: T) -> T {
    between(x.plus(T::of(3.0)), [T::ZERO, T::of(6.0)], T::of(1.0 / 6.0))
}

/// `input_gradient[i] = output_gradient[i] * operator'(input[i])`, where `saved` is the operator's
/// input or output, as [`saved`](fn@saved) says (of [`Saved::Nothing`] it is not looked at and may be
/// empty).
///
/// # Panics
/// When the lengths differ.
pub fn unary<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    operator: Unary,
    saved: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    // What is not looked at still has a length.
    let saved = if self::saved(operator) == Saved::Nothing { output_gradient } else { saved };
    with_gradient!(operator, function => run(isa, pool, function, saved, output_gradient, input_gradient));
}

/// The gradient of a clip to `[low, high]`, the bounds counted in, from its input.
///
/// # Panics
/// When the lengths differ.
pub fn clip<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    [low, high]: [T; 2],
    input: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    let function = move |x: T, d: T| {
        let above = if x < low { T::ZERO } else { d };
        if x > high { T::ZERO } else { above }
    };
    run(isa, pool, function, input, output_gradient, input_gradient);
}

fn run<T: Float, F: Fn(T, T) -> T + Copy + Sync>(
    isa: Isa,
    pool: &ThreadPool,
    function: F,
    saved: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    let len = input_gradient.len();
    assert!(saved.len() == len && output_gradient.len() == len, "tensors must have equally many elements");
    let rows = pool.rows_per_task(len, TASK_ELEMENTS);
    pool.run_rows(input_gradient, 1, rows, |first, piece| {
        let range = first..first + piece.len();
        map(isa, &saved[range.clone()], &output_gradient[range], piece, function);
    });
}

multiversion! {
    fn map[T: Float, F: Fn(T, T) -> T](saved: &[T], gradient: &[T], output: &mut [T], function: F) {
        for ((o, &s), &d) in output.iter_mut().zip(saved).zip(gradient) {
            *o = function(s, d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::unary as reference;

    const ALL: [Unary; 31] = [
        Unary::Relu,
        Unary::Relu6,
        Unary::ReluN1To1,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 0.7 },
        Unary::Elu { alpha: -0.3 },
        Unary::Selu,
        Unary::Logistic,
        Unary::Tanh,
        Unary::Silu,
        Unary::HardSigmoid,
        Unary::HardSwish,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Softplus,
        Unary::Softsign,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Neg,
        Unary::Abs,
        Unary::Square,
        Unary::Sin,
        Unary::Cos,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Sign,
        Unary::Erf,
        Unary::Reciprocal,
    ];

    /// Whether the function is defined and smooth around `x`.
    fn smooth(operator: Unary, x: f64) -> bool {
        let kinks: &[f64] = match operator {
            Unary::Relu | Unary::LeakyRelu { .. } | Unary::Abs | Unary::Sign | Unary::Reciprocal => &[0.0],
            // The slope of the last has a kink.
            Unary::Elu { .. } | Unary::Selu | Unary::Softsign => &[0.0],
            Unary::Relu6 => &[0.0, 6.0],
            Unary::ReluN1To1 => &[-1.0, 1.0],
            Unary::HardSigmoid | Unary::HardSwish => &[-3.0, 3.0],
            Unary::Log | Unary::Sqrt | Unary::Rsqrt if x < 0.3 => return false,
            Unary::Floor | Unary::Ceil => return (x - x.round()).abs() > 0.01,
            Unary::Round => return (x - x.floor() - 0.5).abs() > 0.01,
            _ => &[],
        };
        kinks.iter().all(|kink| (x - kink).abs() > 0.01)
    }

    fn points() -> impl Iterator<Item = f64> {
        // In steps that single precision holds exactly.
        (-1000..1000).map(|i| f64::from(i) / 128.0)
    }

    #[test]
    fn the_reference_agrees_with_finite_differences() {
        for operator in ALL {
            for x in points().filter(|&x| smooth(operator, x)) {
                let value = |x: f64| operator.value(x);
                let expected = (value(x + 1e-5) - value(x - 1e-5)) / 2e-5;
                let slope = reference::derivative(operator, x);
                assert!((slope - expected).abs() < 1e-6 * expected.abs().max(1.0), "{operator:?} {x}");
            }
        }
    }

    #[test]
    fn every_level_gives_the_reference_and_equal_bits() {
        for operator in ALL {
            let x: Vec<f32> = points()
                .filter(|&x| {
                    smooth(operator, x) || matches!(operator, Unary::Relu | Unary::Relu6 | Unary::Abs)
                })
                .map(|x| x as f32)
                .collect();
            let d: Vec<f32> = (0..x.len()).map(|i| (i % 17) as f32 * 0.25 - 2.0).collect();
            let output = x.iter().map(|&x| operator.value(x)).collect();
            let tensors = match saved(operator) {
                Saved::Nothing => vec![Vec::new()],
                Saved::Either => vec![x.clone(), output],
                Saved::Input => vec![x.clone()],
                Saved::Output => vec![output],
            };
            let mut first: Option<Vec<u32>> = None;
            for tensor in &tensors {
                for (isa, threads) in Isa::available_levels().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)])
                {
                    let mut dx = vec![7.0; x.len()];
                    unary(isa, &ThreadPool::new(threads), operator, tensor, &d, &mut dx);
                    for ((&x, &d), &dx) in x.iter().zip(&d).zip(&dx) {
                        let expected = reference::derivative(operator, f64::from(x)) * f64::from(d);
                        let error = (f64::from(dx) - expected).abs();
                        assert!(error < 4e-6 * expected.abs().max(1.0), "{operator:?} {x} {dx} {expected}");
                    }
                    let bits: Vec<u32> = dx.iter().map(|x| x.to_bits()).collect();
                    assert_eq!(&bits, first.get_or_insert_with(|| bits.clone()), "{operator:?} {isa}");
                }
            }
        }
    }

    #[test]
    fn kinks_are_those_of_tensorflow() {
        let at = |operator, saved: f32| {
            let mut dx = [7.0];
            unary(Isa::detect(), &ThreadPool::new(1), operator, &[saved], &[1.0], &mut dx);
            dx[0]
        };
        assert_eq!([at(Unary::Relu, 0.0), at(Unary::Relu6, 0.0), at(Unary::Relu6, 6.0)], [0.0; 3]);
        assert_eq!(
            [at(Unary::HardSigmoid, -3.0), at(Unary::HardSigmoid, 3.0), at(Unary::Abs, 0.0)],
            [0.0; 3]
        );
        assert_eq!([at(Unary::HardSwish, -3.0), at(Unary::HardSwish, 3.0)], [0.0, 1.0]);
        assert_eq!(at(Unary::LeakyRelu { alpha: 0.2 }, 0.0), 0.2);
        let mut dx = [7.0; 4];
        clip(Isa::detect(), &ThreadPool::new(1), [-1.0, 2.0], &[-1.0, 2.0, -1.1, 2.1], &[1.0; 4], &mut dx);
        assert_eq!(dx, [1.0, 1.0, 0.0, 0.0]);
    }
}
