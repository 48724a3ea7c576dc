//! Operators of two 16-bit tensors.

use crate::elementwise::broadcast::{Pairwise, zip};
use crate::elementwise::fixed_point::FixedPoint;
use crate::elementwise::number::Ordered;
use crate::elementwise::{Binary, Broadcast};
use crate::{Isa, ThreadPool};

/// A function of two 16-bit operands, prepared for their scales.
///
/// - ADD and SUB: both operands times 2^15 are brought to twice the larger scale, added, and brought
///   to the output's scale, each time by a 31-bit multiplier ([`FixedPoint::times`]). Operands of ADD
///   that have the same shape are rounded once ([`FixedPoint::times_once`]) instead.
/// - MUL: the exact product times the 31-bit multiplier of `a * b / output`, computed of the scales
///   in single precision.
/// - MAXIMUM and MINIMUM: of tensors of one scale.
///
/// Equal to LiteRT in every value.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    kind: Kind,
    clamp: [i16; 2],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sum(Sum),
    Product(FixedPoint),
    Larger,
    Smaller,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    operands: [FixedPoint; 2],
    /// Whether operands are rounded once.
    once: bool,
    subtract: bool,
    output: FixedPoint,
}

/// What operands of a sum are shifted by to the left.
const SHIFT: u32 = 15;

impl Pair {
    /// The operator over operands of these scales, its outputs held within `clamp`; `None` for
    /// operators that TFLite does not have for 16 bits. `alike` says whether the operands have the
    /// same shape. MAXIMUM and MINIMUM look at no scale.
    ///
    /// # Panics
    /// When a scale is not finite or not above 0, or a quotient of them is not finite.
    #[must_use]
    pub fn new(
        operator: Binary,
        scales: [f32; 2],
        output: f32,
        clamp: [i16; 2],
        alike: bool,
    ) -> Option<Pair> {
        let [a, b] = scales.map(f64::from);
        let kind = match operator {
            Binary::Add | Binary::Sub => {
                let common = 2.0 * a.max(b);
                Kind::Sum(Sum {
                    operands: [FixedPoint::new(a / common), FixedPoint::new(b / common)],
                    once: alike && operator == Binary::Add,
                    subtract: operator == Binary::Sub,
                    output: FixedPoint::new(common / (f64::from(1 << SHIFT) * f64::from(output))),
                })
            }
            Binary::Mul => Kind::Product(FixedPoint::new((scales[0] * scales[1] / output).into())),
            Binary::Maximum => Kind::Larger,
            Binary::Minimum => Kind::Smaller,
            _ => return None,
        };
        Some(Pair { kind, clamp })
    }

    /// Computes it over broadcast operands.
    ///
    /// # Panics
    /// When a length does not fit `plan`.
    pub fn apply(
        &self,
        isa: Isa,
        pool: &ThreadPool,
        plan: &Broadcast<2>,
        operands: [&[i16]; 2],
        output: &mut [i16],
    ) {
        let clamp = self.clamp;
        match self.kind {
            Kind::Sum(sum) if sum.once => zip(isa, pool, plan, operands, output, SumOnce(sum, clamp)),
            Kind::Sum(sum) => zip(isa, pool, plan, operands, output, SumTwice(sum, clamp)),
            Kind::Product(number) => zip(isa, pool, plan, operands, output, Product(number, clamp)),
            Kind::Larger => {
                zip(isa, pool, plan, operands, output, |a: i16, b: i16| a.larger(b).within(clamp));
            }
            Kind::Smaller => {
                zip(isa, pool, plan, operands, output, |a: i16, b: i16| a.smaller(b).within(clamp));
            }
        }
    }
}

impl Sum {
    #[inline(always)]
    fn join(self, [a, b]: [i32; 2], clamp: [i16; 2]) -> i16 {
        // Each is at most 2^30.
        let sum = if self.subtract { a - b } else { a + b };
        held(self.output.times(sum), clamp)
    }
}

#[derive(Clone, Copy)]
struct SumOnce(Sum, [i16; 2]);

impl Pairwise<i16, i16> for SumOnce {
    #[inline(always)]
    fn value(self, a: i16, b: i16) -> i16 {
        let SumOnce(sum, clamp) = self;
        let a = sum.operands[0].times_once(i32::from(a) << SHIFT);
        let b = sum.operands[1].times_once(i32::from(b) << SHIFT);
        sum.join([a, b], clamp)
    }
}

#[derive(Clone, Copy)]
struct SumTwice(Sum, [i16; 2]);

impl Pairwise<i16, i16> for SumTwice {
    #[inline(always)]
    fn value(self, a: i16, b: i16) -> i16 {
        let SumTwice(sum, clamp) = self;
        let a = sum.operands[0].times(i32::from(a) << SHIFT);
        let b = sum.operands[1].times(i32::from(b) << SHIFT);
        sum.join([a, b], clamp)
    }
}

#[derive(Clone, Copy)]
struct Product(FixedPoint, [i16; 2]);

impl Pairwise<i16, i16> for Product {
    #[inline(always)]
    fn value(self, a: i16, b: i16) -> i16 {
        held(self.0.times(i32::from(a) * i32::from(b)), self.1)
    }
}

/// The value within the bounds.
#[inline(always)]
fn held(value: i32, [low, high]: [i16; 2]) -> i16 {
    value.clamp(i32::from(low), i32::from(high)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::elementwise as reference;
    use proptest::prelude::*;

    const ALL: [i16; 2] = [i16::MIN, i16::MAX];

    fn words(count: usize, seed: u64) -> Vec<i16> {
        let word = |i: u64| (i.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as i16;
        (0..count as u64).map(word).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn every_level_is_within_a_step_of_the_exact_result(
            scales in prop::array::uniform3(1e-6f32..1e-3),
            (rows, columns) in (1usize..9, 1usize..90),
            repeat in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let shapes: [Vec<usize>; 2] = [vec![rows, columns], vec![if repeat { 1 } else { rows }, columns]];
            let operands = [words(rows * columns, seed), words(shapes[1][0] * columns, !seed)];
            let plan = Broadcast::new([&shapes[0], &shapes[1]]).unwrap();
            let [a, b, output] = scales.map(f64::from);
            let clamp = [-20_000, 30_000];
            for operator in [Binary::Add, Binary::Sub, Binary::Mul] {
                let exact = |x: f64, y: f64| operator.value(x * a, y * b) / output;
                let pair = Pair::new(operator, [scales[0], scales[1]], scales[2], clamp, !repeat).unwrap();
                let value = |x: i16, y: i16| exact(x.into(), y.into());
                let expected = reference::zip(
                    plan.shape(), [&shapes[0], &shapes[1]], [&operands[0], &operands[1]], value);
                let mut first: Option<Vec<i16>> = None;
                for isa in Isa::available_levels() {
                    let mut result = vec![0; rows * columns];
                    pair.apply(isa, &ThreadPool::new(2), &plan, [&operands[0], &operands[1]], &mut result);
                    for (&got, &exact) in result.iter().zip(&expected) {
                        let held = exact.clamp(-20_000.0, 30_000.0);
                        // Beyond 2^31 steps fixed-point products saturate, which the clamp hides. The
                        // multipliers' 31 bits and the operands' 15 allow an error well below a step
                        // unless the output is much finer than the operands.
                        let slack = 0.76 + (a.max(b) / output) * 1e-4;
                        prop_assert!((f64::from(got) - held).abs() <= slack, "{:?} {} {}", operator, got, exact);
                    }
                    prop_assert_eq!(&result, first.get_or_insert_with(|| result.clone()), "{}", isa);
                }
            }
        }
    }

    #[test]
    fn extremes_need_no_scale() {
        let plan = Broadcast::new([&[3], &[3]]).unwrap();
        let operands: [&[i16]; 2] = [&[1, -5, i16::MAX], &[2, -6, i16::MIN]];
        for (operator, expected) in [(Binary::Maximum, [2, -5, 9]), (Binary::Minimum, [1, -6, -9])] {
            let pair = Pair::new(operator, [1.0, 1.0], 1.0, [-9, 9], true).unwrap();
            let mut output = [0; 3];
            pair.apply(Isa::detect(), &ThreadPool::new(1), &plan, operands, &mut output);
            assert_eq!(output, expected);
        }
        assert!(Pair::new(Binary::Div, [1.0, 1.0], 1.0, ALL, true).is_none());
    }

    #[test]
    fn values_are_those_of_litert() {
        // Found where the ways of rounding differ, each with LiteRT 2.3.
        let plan = Broadcast::new([&[1], &[1]]).unwrap();
        let cases = [
            (Binary::Add, -895, 8796, 3055),
            (Binary::Add, 903, -14_022, -5656),
            (Binary::Add, 672, -17_849, -7917),
            (Binary::Sub, -919, -23_240, 10_242),
            (Binary::Sub, -91, -30_356, 15_042),
            (Binary::Sub, -302, -5605, 2350),
            (Binary::Mul, 6336, -15_373, -14_610),
            (Binary::Mul, -29_241, 2130, -9342),
            (Binary::Mul, -2367, 18_396, -6531),
        ];
        for (operator, a, b, expected) in cases {
            let pair = Pair::new(operator, [3e-4, 1e-4], 2e-4, ALL, true).unwrap();
            let mut output = [0];
            pair.apply(Isa::detect(), &ThreadPool::new(1), &plan, [&[a], &[b]], &mut output);
            assert_eq!(output, [expected], "{operator:?} {a} {b}");
        }
    }
}
