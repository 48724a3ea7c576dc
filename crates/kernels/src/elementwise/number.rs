//! The number types that kernels are generic over.

use super::unary::{InPlace, Unary};
use super::{approximation, stages};

/// An element that can be compared: what comparison, maximum, minimum and clamping need.
pub trait Ordered: Copy + PartialOrd + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Below or equal to every number: minus infinity, or the smallest integer.
    const LOWEST: Self;
    /// Above or equal to every number: infinity, or the largest integer.
    const HIGHEST: Self;

    /// The larger of two; not-a-number when either is.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
    fn larger(self, other: Self) -> Self {
        let larger = if self < other { other } else { self };
        if other != other { other } else { larger }
    }

    /// The smaller of two; not-a-number when either is.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
    fn smaller(self, other: Self) -> Self {
        let smaller = if self > other { other } else { self };
        if other != other { other } else { smaller }
    }

    /// `self` held within `[low, high]`; not-a-number stays.
    #[inline(always)]
    #[must_use]
    fn within(self, [low, high]: [Self; 2]) -> Self {
        let raised = if self < low { low } else { self };
        if raised > high { high } else { raised }
    }
}

macro_rules! ordered {
    ($($type:ident: $lowest:ident $highest:ident),*) => {$(
        impl Ordered for $type {
            const LOWEST: $type = $type::$lowest;
            const HIGHEST: $type = $type::$highest;
        }
    )*};
}

ordered!(u8: MIN MAX, i8: MIN MAX, i16: MIN MAX, i32: MIN MAX, i64: MIN MAX);
ordered!(f32: NEG_INFINITY INFINITY, f64: NEG_INFINITY INFINITY);

/// What arithmetic asks of an element: `f32`, `f64`, `i32` or `i64`.
///
/// Integers wrap. An integer divided by zero gives 0 (and the remainder is the dividend); callers
/// that must refuse it look first.
pub trait Number: Ordered {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Whether dividing by zero has no result.
    const INTEGER: bool;

    /// `self + other`.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// `self - other`.
    #[must_use]
    fn minus(self, other: Self) -> Self;
    /// `self * other`.
    #[must_use]
    fn times(self, other: Self) -> Self;
    /// `self / other`, rounded toward zero for integers.
    #[must_use]
    fn over(self, other: Self) -> Self;
    /// `floor(self / other)`.
    #[must_use]
    fn floor_div(self, other: Self) -> Self;
    /// `self - other * floor(self / other)`: has the sign of `other`.
    #[must_use]
    fn floor_mod(self, other: Self) -> Self;
    /// `self ^ other`. An integer to a negative power is 1 over the positive power, rounded
    /// toward zero.
    #[must_use]
    fn power(self, other: Self) -> Self;
}

macro_rules! integer_number {
    ($($type:ident),*) => {$(
        impl Number for $type {
            const ZERO: $type = 0;
            const ONE: $type = 1;
            const INTEGER: bool = true;

            #[inline(always)]
            fn plus(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: $type) -> $type {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: $type) -> $type {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn over(self, other: $type) -> $type {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn floor_div(self, other: $type) -> $type {
                if other == 0 {
                    return 0;
                }
                let remainder = self.wrapping_rem(other);
                let floor_is_below = remainder != 0 && (remainder < 0) != (other < 0);
                self.wrapping_div(other).wrapping_sub($type::from(floor_is_below))
            }
            #[inline(always)]
            fn floor_mod(self, other: $type) -> $type {
                self.wrapping_sub(other.wrapping_mul(self.floor_div(other)))
            }
            #[inline(always)]
            fn power(self, other: $type) -> $type {
                match (u32::try_from(other), self) {
                    (Ok(exponent), base) => base.wrapping_pow(exponent),
                    (Err(_), 1) => 1,
                    (Err(_), -1) if other & 1 == 0 => 1,
                    (Err(_), -1) => -1,
                    // An exponent beyond u32: only the low bits survive, all zero for even bases.
                    (Err(_), base) if other > 0 => wrapping_power(base, other),
                    (Err(_), _) => 0,
                }
            }
        }
    )*};
}

integer_number!(i32, i64);

/// `base ^ exponent` modulo the width, by squaring.
fn wrapping_power<T: Number + Into<i64> + TryFrom<i64>>(base: T, exponent: T) -> T {
    let (mut result, mut square, mut rest) = (T::ONE, base, exponent.into());
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.times(square);
        }
        square = square.times(square);
        rest >>= 1;
    }
    result
}

/// `f32` or `f64`: plain kernels are generic over both, so that gradients can be checked in `f64`.
///
/// Functions come from `libm` or from [`approximation`], never from the platform, so that their
/// bits are the same everywhere.
pub trait Float: Number {
    /// The nearest number to `value`.
    fn of(value: f64) -> Self;
    /// As double precision.
    fn double(self) -> f64;
    /// The magnitude.
    #[must_use]
    fn magnitude(self) -> Self;
    /// `e^self`.
    #[must_use]
    fn exp(self) -> Self;
    /// `e^self - 1`, exact near 0.
    #[must_use]
    fn exp_minus_one(self) -> Self;
    /// The natural logarithm.
    #[must_use]
    fn log(self) -> Self;
    /// `log(1 + self)`, exact near 0.
    #[must_use]
    fn log_one_plus(self) -> Self;
    /// The square root.
    #[must_use]
    fn square_root(self) -> Self;
    /// The hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self;
    /// `1 / (1 + e^-self)`.
    #[must_use]
    fn logistic(self) -> Self;
    /// The error function.
    #[must_use]
    fn erf(self) -> Self;
    /// The sine.
    #[must_use]
    fn sin(self) -> Self;
    /// The cosine.
    #[must_use]
    fn cos(self) -> Self;
    /// The largest integer not above.
    #[must_use]
    fn floor(self) -> Self;
    /// The smallest integer not below.
    #[must_use]
    fn ceil(self) -> Self;
    /// The nearest integer, ties to even.
    #[must_use]
    fn round_even(self) -> Self;
    /// What puts the values of a function, bit for bit those of [`Unary::value`], in the place of numbers, if that is
    /// faster than one by one.
    fn in_stages(operator: Unary) -> Option<InPlace<Self>>;
}

macro_rules! float_number {
    ($type:ident, $pow:path, $fmod:path) => {
        impl Number for $type {
            const ZERO: $type = 0.0;
            const ONE: $type = 1.0;
            const INTEGER: bool = false;

            #[inline(always)]
            fn plus(self, other: $type) -> $type {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: $type) -> $type {
                self - other
            }
            #[inline(always)]
            fn times(self, other: $type) -> $type {
                self * other
            }
            #[inline(always)]
            fn over(self, other: $type) -> $type {
                self / other
            }
            #[inline(always)]
            fn floor_div(self, other: $type) -> $type {
                (self / other).floor()
            }
            #[inline(always)]
            fn floor_mod(self, other: $type) -> $type {
                let remainder = $fmod(self, other);
                if remainder != 0.0 && (remainder < 0.0) != (other < 0.0) {
                    remainder + other
                } else {
                    remainder
                }
            }
            #[inline(always)]
            fn power(self, other: $type) -> $type {
                $pow(self, other)
            }
        }
    };
}

float_number!(f32, libm::powf, libm::fmodf);
float_number!(f64, libm::pow, libm::fmod);

macro_rules! float_functions {
    ($type:ident, $in_stages:expr; $($name:ident = $function:path),* $(,)?) => {
        impl Float for $type {
            #[inline(always)]
            fn of(value: f64) -> $type {
                value as $type
            }
            #[inline(always)]
            fn double(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn magnitude(self) -> $type {
                self.abs()
            }
            #[inline(always)]
            fn square_root(self) -> $type {
                self.sqrt()
            }
            #[inline(always)]
            fn floor(self) -> $type {
                $type::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> $type {
                $type::ceil(self)
            }
            #[inline(always)]
            fn round_even(self) -> $type {
                self.round_ties_even()
            }
            fn in_stages(operator: Unary) -> Option<InPlace<$type>> {
                $in_stages(operator)
            }
            $(
                #[inline(always)]
                fn $name(self) -> $type {
                    $function(self)
                }
            )*
        }
    };
}

float_functions! { f32, stages::in_stages;
    exp = approximation::exp,
    exp_minus_one = libm::expm1f,
    log = libm::logf,
    log_one_plus = libm::log1pf,
    tanh = approximation::tanh,
    logistic = approximation::logistic,
    erf = approximation::erf,
    sin = libm::sinf,
    cos = libm::cosf,
}

float_functions! { f64, |_| None;
    exp = libm::exp,
    exp_minus_one = libm::expm1,
    log = libm::log,
    log_one_plus = libm::log1p,
    tanh = libm::tanh,
    logistic = logistic_double,
    erf = libm::erf,
    sin = libm::sin,
    cos = libm::cos,
}

fn logistic_double(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_divide_without_panic() {
        assert_eq!((7i32.over(0), i32::MIN.over(-1), (-7i32).over(2)), (0, i32::MIN, -3));
        assert_eq!((7i64.floor_div(0), (-7i64).floor_div(2), i64::MIN.floor_div(-1)), (0, -4, i64::MIN));
        assert_eq!(((-7i32).floor_mod(3), 7i32.floor_mod(-3), 7i32.floor_mod(0)), (2, -2, 7));
    }

    #[test]
    fn integer_powers() {
        assert_eq!((2i32.power(10), 3i32.power(-1), (-1i32).power(-3), 1i64.power(-9)), (1024, 0, -1, 1));
        assert_eq!(3i64.power(1 << 33), wrapping_power(3i64, 1 << 33));
        assert_eq!(0i64.power(-2), 0);
    }

    #[test]
    fn float_remainders_have_the_sign_of_the_divisor() {
        assert_eq!(
            ((-7.0f64).floor_mod(3.0), 7.0f32.floor_mod(-3.0), (-7.5f32).floor_div(2.0)),
            (2.0, -2.0, -4.0)
        );
    }

    #[test]
    fn not_a_number_is_larger_and_smaller() {
        assert!(f32::NAN.larger(1.0).is_nan() && 1f32.larger(f32::NAN).is_nan());
        assert!(f64::NAN.smaller(1.0).is_nan() && 1f64.smaller(f64::NAN).is_nan());
        assert_eq!((2i32.larger(3), 2i32.smaller(3), 5f32.within([0.0, 4.0])), (3, 2, 4.0));
    }
}
