//! Float and integer operators of two operands.

use super::broadcast::{Broadcast, zip};
use super::number::Number;
use crate::{Isa, ThreadPool};

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`, rounded toward zero for integers.
    Div,
    /// The larger; not-a-number when either is.
    Maximum,
    /// The smaller; not-a-number when either is.
    Minimum,
    /// `a ^ b`.
    Pow,
    /// `(a - b)^2`.
    SquaredDifference,
    /// `floor(a / b)`.
    FloorDiv,
    /// `a - b * floor(a / b)`.
    FloorMod,
    /// `a` where it is not below 0, else `a * b`: a parametric rectifier of slope `b`.
    Prelu,
}

/// An integer was to be divided by zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivisionByZero;

impl std::fmt::Display for DivisionByZero {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an integer was divided by zero")
    }
}

impl std::error::Error for DivisionByZero {}

impl Binary {
    /// The function's value.
    #[must_use]
    pub fn value<T: Number>(self, a: T, b: T) -> T {
        match self {
            Binary::Add => a.plus(b),
            Binary::Sub => a.minus(b),
            Binary::Mul => a.times(b),
            Binary::Div => a.over(b),
            Binary::Maximum => a.larger(b),
            Binary::Minimum => a.smaller(b),
            Binary::Pow => a.power(b),
            Binary::SquaredDifference => squared_difference(a, b),
            Binary::FloorDiv => a.floor_div(b),
            Binary::FloorMod => a.floor_mod(b),
            Binary::Prelu => prelu(a, b),
        }
    }

    fn divides(self) -> bool {
        matches!(self, Binary::Div | Binary::FloorDiv | Binary::FloorMod)
    }
}

/// `output = clamp(operator(a, b))` over broadcast operands; `clamp` is the range of a fused
/// activation, [`T::LOWEST, T::HIGHEST`](super::number::Ordered) for none.
///
/// # Errors
/// [`DivisionByZero`] when an integer of `b` that divides is 0; the output is then untouched.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn binary<T: Number>(
    isa: Isa,
    pool: &ThreadPool,
    operator: Binary,
    plan: &Broadcast<2>,
    operands: [&[T]; 2],
    clamp: [T; 2],
    output: &mut [T],
) -> Result<(), DivisionByZero> {
    if T::INTEGER && operator.divides() && !output.is_empty() && operands[1].contains(&T::ZERO) {
        return Err(DivisionByZero);
    }
    macro_rules! apply {
        ($function:expr) => {{
            let function = $function;
            zip(isa, pool, plan, operands, output, move |a: T, b: T| function(a, b).within(clamp))
        }};
    }
    match operator {
        Binary::Add => apply!(|a: T, b: T| a.plus(b)),
        Binary::Sub => apply!(|a: T, b: T| a.minus(b)),
        Binary::Mul => apply!(|a: T, b: T| a.times(b)),
        Binary::Div => apply!(|a: T, b: T| a.over(b)),
        Binary::Maximum => apply!(|a: T, b: T| a.larger(b)),
        Binary::Minimum => apply!(|a: T, b: T| a.smaller(b)),
        Binary::Pow => apply!(|a: T, b: T| a.power(b)),
        Binary::SquaredDifference => apply!(squared_difference),
        Binary::FloorDiv => apply!(|a: T, b: T| a.floor_div(b)),
        Binary::FloorMod => apply!(|a: T, b: T| a.floor_mod(b)),
        Binary::Prelu => apply!(prelu),
    }
    Ok(())
}

#[inline(always)]
fn squared_difference<T: Number>(a: T, b: T) -> T {
    let difference = a.minus(b);
    difference.times(difference)
}

#[inline(always)]
pub(crate) fn prelu<T: Number>(a: T, b: T) -> T {
    if a < T::ZERO { a.times(b) } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::number::Ordered;

    fn all() -> [Binary; 11] {
        use Binary::*;
        [Add, Sub, Mul, Div, Maximum, Minimum, Pow, SquaredDifference, FloorDiv, FloorMod, Prelu]
    }

    fn check<T: Number>(a: &[T], b: &[T], clamp: [T; 2]) {
        let plan = Broadcast::new([&[a.len(), 1], &[b.len()]]).unwrap();
        let pool = ThreadPool::new(2);
        for operator in all() {
            let pairs = a.iter().flat_map(|&x| b.iter().map(move |&y| operator.value(x, y)));
            let expected: Vec<T> = pairs.map(|value| value.within(clamp)).collect();
            for isa in Isa::available_levels() {
                let mut output = vec![T::ZERO; expected.len()];
                binary(isa, &pool, operator, &plan, [a, b], clamp, &mut output).unwrap();
                // Debug prints every bit of a float that matters, and NaN alike.
                assert_eq!(format!("{output:?}"), format!("{expected:?}"), "{operator:?} {isa}");
            }
        }
    }

    #[test]
    fn every_type_and_operator_agrees_with_its_value() {
        let floats = [0.0, -0.0, 1.0, -2.5, 7.25, 1e30, f32::NAN, f32::INFINITY];
        check(&floats, &floats, [f32::LOWEST, f32::HIGHEST]);
        check(&floats.map(f64::from), &[3.0, -0.3], [0.0, 6.0]);
        check(&[0, 1, -7, i32::MIN, i32::MAX], &[1, -1, 3, -40], [i32::MIN, i32::MAX]);
        check(&[0, 1, -7, i64::MIN, i64::MAX], &[1, -1, 3, 70], [-1000, 1000]);
    }

    #[test]
    fn integer_division_by_zero_is_an_error() {
        let plan = Broadcast::new([&[2], &[2]]).unwrap();
        let pool = ThreadPool::new(1);
        let mut output = [9, 9];
        for operator in [Binary::Div, Binary::FloorDiv, Binary::FloorMod] {
            let operands: [&[i32]; 2] = [&[1, 2], &[1, 0]];
            let result =
                binary(Isa::Portable, &pool, operator, &plan, operands, [i32::MIN, i32::MAX], &mut output);
            assert_eq!((result, output), (Err(DivisionByZero), [9, 9]));
        }
    }
}
