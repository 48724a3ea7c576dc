//! Float operators of one operand.

use super::TASK_ELEMENTS;
use super::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// A function of one real number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `x` held within `[0, 6]`.
    Relu6,
    /// `x` held within `[-1, 1]`.
    ReluN1To1,
    /// `x` above 0, `alpha * x` below.
    LeakyRelu {
        /// The slope below 0.
        alpha: f64,
    },
    /// `x` above 0, `alpha * (e^x - 1)` below.
    Elu {
        /// Minus the limit at minus infinity.
        alpha: f64,
    },
    /// The scaled exponential linear unit with its customary constants.
    Selu,
    /// `1 / (1 + e^-x)`.
    Logistic,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * logistic(x)`.
    Silu,
    /// `relu6(x + 3) / 6`, as Keras 3 defines it.
    HardSigmoid,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// The Gaussian error linear unit by `tanh(sqrt(2 / pi) * (x + 0.044715 x^3))`.
    GeluTanh,
    /// `log(1 + e^x)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// 1 over the square root.
    Rsqrt,
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `x * x`.
    Square,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The largest integer not above.
    Floor,
    /// The smallest integer not below.
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    /// -1, 0 or 1; not-a-number stays.
    Sign,
    /// The error function.
    Erf,
    /// `1 / x`.
    Reciprocal,
}

/// Scale and alpha of the scaled exponential linear unit.
pub(crate) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
pub(crate) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// Evaluates `$body` with `$function` bound to the operator's function.
macro_rules! with_function {
    ($operator:expr, $function:ident => $body:expr) => {
        with_function!(@ $operator, $function, $body;
            Relu = |x| if x < T::ZERO { T::ZERO } else { x },
            Relu6 = |x| x.within([T::ZERO, T::of(6.0)]),
            ReluN1To1 = |x| x.within([T::of(-1.0), T::ONE]),
            LeakyRelu { alpha } = move |x| if x < T::ZERO { x.times(T::of(alpha)) } else { x },
            Elu { alpha } = move |x| elu(x, T::of(alpha)),
            Selu = |x| elu(x, T::of(SELU_ALPHA)).times(T::of(SELU_SCALE)),
            Logistic = |x| x.logistic(),
            Tanh = |x| x.tanh(),
            Silu = |x| x.times(x.logistic()),
            HardSigmoid = |x| hard_sigmoid(x),
            HardSwish = |x| x.times(hard_sigmoid(x)),
            Gelu = |x| gelu(x, x.times(T::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
            GeluTanh = |x| gelu(x, gelu_argument(x).tanh()),
            Softplus = |x| x.larger(T::ZERO).plus(T::ZERO.minus(x.magnitude()).exp().log_one_plus()),
            Softsign = |x| x.over(T::ONE.plus(x.magnitude())),
            Exp = |x| x.exp(),
            Log = |x| x.log(),
            Sqrt = |x| x.square_root(),
            Rsqrt = |x| T::ONE.over(x.square_root()),
            Neg = |x| T::of(-0.0).minus(x),
            Abs = |x| x.magnitude(),
            Square = |x| x.times(x),
            Sin = |x| x.sin(),
            Cos = |x| x.cos(),
            Floor = |x| x.floor(),
            Ceil = |x| x.ceil(),
            Round = |x| x.round_even(),
            Sign = |x| sign(x),
            Erf = |x| x.erf(),
            Reciprocal = |x| T::ONE.over(x),
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

/// Tells the compiler the type of a closure's argument.
#[inline(always)]
fn typed<T: Float, F: Fn(T) -> T>(function: F) -> F {
    function
}

#[inline(always)]
fn elu<T: Float>(x: T, alpha: T) -> T {
    if x < T::ZERO { x.exp_minus_one().times(alpha) } else { x }
}

#[inline(always)]
fn hard_sigmoid<T: Float>(x: T) -> T {
    x.plus(T::of(3.0)).within([T::ZERO, T::of(6.0)]).times(T::of(1.0 / 6.0))
}

#[inline(always)]
pub(crate) fn gelu<T: Float>(x: T, bend: T) -> T {
    x.times(T::of(0.5)).times(T::ONE.plus(bend))
}

#[inline(always)]
pub(crate) fn gelu_argument<T: Float>(x: T) -> T {
    const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
    let cube = x.times(x).times(x);
    x.plus(cube.times(T::of(0.044_715))).times(T::of(SQRT_2_OVER_PI))
}

#[inline(always)]
fn sign<T: Float>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        T::of(-1.0)
    } else {
        x
    }
}

impl Unary {
    /// The function's value at `x`: what [`unary`] computes for each element, bit for bit.
    #[must_use]
    pub fn value<T: Float>(self, x: T) -> T {
        with_function!(self, function => function(x))
    }
}

/// `output[i] = operator(input[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn unary<T: Float>(isa: Isa, pool: &ThreadPool, operator: Unary, input: &[T], output: &mut [T]) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    let rows = pool.rows_per_task(output.len(), TASK_ELEMENTS);
    pool.run_rows(output, 1, rows, |first, piece| {
        let input = &input[first..first + piece.len()];
        let Some(in_place) = T::in_stages(operator) else {
            return with_function!(operator, function => map(isa, input, piece, function));
        };
        for (input, block) in input.chunks(BLOCK).zip(piece.chunks_mut(BLOCK)) {
            block.copy_from_slice(input);
            in_place(isa, block);
        }
    });
}

/// `data[i] = operator(data[i])`.
pub fn unary_in_place<T: Float>(isa: Isa, pool: &ThreadPool, operator: Unary, data: &mut [T]) {
    let rows = pool.rows_per_task(data.len(), TASK_ELEMENTS);
    pool.run_rows(data, 1, rows, |_, piece| {
        if let Some(in_place) = T::in_stages(operator) {
            return in_place(isa, piece);
        }
        // Without a copy the compiler stores only what a selection changes, which is slow on some machines.
        let mut copy = [T::ZERO; BLOCK];
        for block in piece.chunks_mut(BLOCK) {
            let copy = &mut copy[..block.len()];
            copy.copy_from_slice(block);
            with_function!(operator, function => map(isa, copy, block, function));
        }
    });
}

/// What computes a function of numbers in their places.
pub type InPlace<T> = fn(Isa, &mut [T]);

/// Numbers that stay in the first-level cache between a copy and the function.
const BLOCK: usize = 1024;

multiversion! {
    fn map[T: Float, F: Fn(T) -> T](input: &[T], output: &mut [T], function: F) {
        for (o, &x) in output.iter_mut().zip(input) {
            *o = function(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Unary; 30] = [
        Unary::Relu,
        Unary::Relu6,
        Unary::ReluN1To1,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Elu { alpha: 0.7 },
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

    fn inputs() -> Vec<f32> {
        let special = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40];
        (0..5000).map(|i| (i as f32 - 2500.0) * 0.011).chain(special).collect()
    }

    #[test]
    fn every_level_gives_the_bits_of_the_scalar_function() {
        let pool = ThreadPool::new(2);
        let input = inputs();
        for operator in ALL {
            let expected: Vec<f32> = input.iter().map(|&x| operator.value(x)).collect();
            for isa in Isa::available_levels() {
                let mut output = vec![0.0; input.len()];
                unary(isa, &pool, operator, &input, &mut output);
                for ((x, y), e) in input.iter().zip(&output).zip(&expected) {
                    assert!(y.to_bits() == e.to_bits() || y.is_nan() && e.is_nan(), "{operator:?} {isa} {x}");
                }
                let mut in_place = input.clone();
                unary_in_place(isa, &pool, operator, &mut in_place);
                assert!(in_place.iter().zip(&output).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
            }
        }
    }

    #[test]
    fn single_precision_follows_double_precision() {
        for operator in ALL {
            for x in inputs().into_iter().filter(|x| x.is_finite()) {
                let single = f64::from(operator.value(x));
                // Through f32, where a result too large for it becomes infinite.
                let double = f64::from(operator.value(f64::from(x)) as f32);
                // Near a zero of the function single precision is exact only relative to 1.
                let close = (single - double).abs() <= 1e-6 * double.abs().max(1.0);
                let both_undefined = single.is_nan() && double.is_nan();
                assert!(close || both_undefined || single == double, "{operator:?}({x}) {single} {double}");
            }
        }
    }

    #[test]
    fn values_by_hand() {
        let cases = [
            (Unary::HardSigmoid, 0.0, 0.5),
            (Unary::HardSwish, -4.0, -0.0),
            (Unary::Round, 2.5, 2.0),
            (Unary::Selu, 2.0, 2.0 * SELU_SCALE),
            (Unary::Softsign, -3.0, -0.75),
            (Unary::LeakyRelu { alpha: 0.25 }, -8.0, -2.0),
            (Unary::Sign, -0.1, -1.0),
            (Unary::Rsqrt, 0.25, 2.0),
            (Unary::Softplus, 1000.0, 1000.0),
            (Unary::Gelu, 0.0, 0.0),
        ];
        for (operator, x, y) in cases {
            assert_eq!(operator.value::<f64>(x), y, "{operator:?}");
        }
    }
}
