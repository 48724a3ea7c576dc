//! Comparisons and logic. Truth values are bytes: 0 is false, anything else true; results are 0
//! or 1.

use super::broadcast::{Broadcast, zip};
use crate::{Isa, ThreadPool};

/// A comparison of two numbers. Every comparison with not-a-number is false, but `NotEqual` true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `a == b`.
    Equal,
    /// `a != b`.
    NotEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessEqual,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterEqual,
}

/// A function of two truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// Both.
    And,
    /// Either.
    Or,
}

/// `output = a ? b` over broadcast operands, 1 where it holds.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn compare<T: PartialOrd + Copy + Sync>(
    isa: Isa,
    pool: &ThreadPool,
    comparison: Compare,
    plan: &Broadcast<2>,
    operands: [&[T]; 2],
    output: &mut [u8],
) {
    match comparison {
        Compare::Equal => zip(isa, pool, plan, operands, output, |a, b| u8::from(a == b)),
        Compare::NotEqual => zip(isa, pool, plan, operands, output, |a, b| u8::from(a != b)),
        Compare::Less => zip(isa, pool, plan, operands, output, |a, b| u8::from(a < b)),
        Compare::LessEqual => zip(isa, pool, plan, operands, output, |a, b| u8::from(a <= b)),
        Compare::Greater => zip(isa, pool, plan, operands, output, |a, b| u8::from(a > b)),
        Compare::GreaterEqual => zip(isa, pool, plan, operands, output, |a, b| u8::from(a >= b)),
    }
}

/// `output = a op b` over broadcast truth values.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn logical(
    isa: Isa,
    pool: &ThreadPool,
    operator: Logical,
    plan: &Broadcast<2>,
    operands: [&[u8]; 2],
    output: &mut [u8],
) {
    match operator {
        Logical::And => zip(isa, pool, plan, operands, output, |a, b| u8::from(a != 0 && b != 0)),
        Logical::Or => zip(isa, pool, plan, operands, output, |a, b| u8::from(a | b != 0)),
    }
}

/// `output[i] = 1` where `input[i]` is 0, else 0.
///
/// # Panics
/// When the lengths differ.
pub fn logical_not(input: &[u8], output: &mut [u8]) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    for (o, &x) in output.iter_mut().zip(input) {
        *o = u8::from(x == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_with_not_a_number() {
        let plan = Broadcast::new([&[4], &[4]]).unwrap();
        let operands: [&[f32]; 2] = [&[1.0, 2.0, 3.0, f32::NAN], &[2.0, 2.0, 2.0, 2.0]];
        let cases = [
            (Compare::Equal, [0, 1, 0, 0]),
            (Compare::NotEqual, [1, 0, 1, 1]),
            (Compare::Less, [1, 0, 0, 0]),
            (Compare::LessEqual, [1, 1, 0, 0]),
            (Compare::Greater, [0, 0, 1, 0]),
            (Compare::GreaterEqual, [0, 1, 1, 0]),
        ];
        for isa in Isa::available_levels() {
            for (comparison, expected) in cases {
                let mut output = [7; 4];
                compare(isa, &ThreadPool::new(1), comparison, &plan, operands, &mut output);
                assert_eq!(output, expected, "{comparison:?} {isa}");
            }
        }
    }

    #[test]
    fn any_byte_but_zero_is_true() {
        let plan = Broadcast::new([&[4], &[4]]).unwrap();
        let operands: [&[u8]; 2] = [&[0, 0, 2, 255], &[0, 1, 4, 0]];
        let mut output = [7; 4];
        logical(Isa::detect(), &ThreadPool::new(1), Logical::And, &plan, operands, &mut output);
        assert_eq!(output, [0, 0, 1, 0]);
        logical(Isa::detect(), &ThreadPool::new(1), Logical::Or, &plan, operands, &mut output);
        assert_eq!(output, [0, 1, 1, 1]);
        logical_not(operands[0], &mut output);
        assert_eq!(output, [1, 1, 0, 0]);
    }
}
