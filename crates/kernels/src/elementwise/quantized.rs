//! Quantized operators of two operands.

use super::affine::{Affine, Rounding};
use super::binary::Binary;
use super::broadcast::{Broadcast, Segment, zip};
use super::channels::ChannelMap;
use super::number::Ordered;
use super::table::Table;
use crate::{Isa, ThreadPool};

/// Pixels for which constants by channel are worth being prepared.
const FEW_PIXELS: usize = 16;

/// An operator of two quantized operands, prepared for their scales.
///
/// How each rounds (every rule is integer or single precision in a fixed order, so its bits are
/// the same on every instruction set):
///
/// - `Add`, `Sub`: as XNNPACK, in integers. Both multipliers (operand scale over output scale) are
///   rounded to 2^-20 of the larger one's power of two, the sum is rounded half upward. That is the
///   correctly rounded result unless this lies within about 10^-4 steps of a tie. Ratios above 4096
///   count as 4096.
/// - `Mul`: as XNNPACK. The exact integer product becomes `f32`, times `(a * b) / output` of the
///   scales in `f32`, rounded half to even.
/// - `Maximum`, `Minimum`: correctly rounded, ties to even; equal scales pass values unchanged.
/// - the others: correctly rounded from double precision, ties to even; division by zero saturates,
///   and what is no number becomes the lowest value.
#[derive(Clone, Debug)]
pub struct QuantizedBinary {
    pub(super) rule: Rule,
    pub(super) clamp: [u8; 2],
}

#[derive(Clone, Debug)]
pub(super) enum Rule {
    Sum(SumRule),
    Product(Product),
    Extreme { rescale: Option<Box<[Table; 2]>>, larger: bool },
    Pairs(PairTable),
}

/// A quantized addition in integers, open to kernels that fuse it:
/// `((a * multipliers[0] + b * multipliers[1] + bias) >> shift) + zero_point`, then clamped. Sums
/// may wrap on the way; the shift is arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumRule {
    /// The operands' factors, at most 2^21 in magnitude.
    pub multipliers: [i32; 2],
    /// Half a step, less what the operands' zero points contribute.
    pub bias: i32,
    /// From 8 to 30.
    pub shift: i32,
    /// The output's zero point.
    pub zero_point: i32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) zero_points: [i32; 2],
    pub(super) scale: f32,
    pub(super) rounding: Rounding,
    /// The output's zero point.
    pub(super) zero_point: u8,
}

impl QuantizedBinary {
    /// Prepares `operator` for these operands and this output; `clamp` is the range of stored
    /// values that a fused activation leaves, `[0, 255]` for none.
    ///
    /// # Panics
    /// When `clamp` is empty.
    #[must_use]
    pub fn new(operator: Binary, a: Affine, b: Affine, output: Affine, clamp: [u8; 2]) -> QuantizedBinary {
        assert!(clamp[0] <= clamp[1], "the range of a clamp must not be empty");
        let rule = match operator {
            Binary::Add => Rule::Sum(SumRule::add([a, b], output)),
            Binary::Sub => Rule::Sum(SumRule::subtract([a, b], output)),
            Binary::Mul => Rule::Product(Product::new([a, b], output, clamp)),
            Binary::Maximum | Binary::Minimum => {
                let rescale = (a != output || b != output)
                    .then(|| Box::new([a, b].map(|operand| Table::new(|x| x, operand, output))));
                Rule::Extreme { rescale, larger: operator == Binary::Maximum }
            }
            Binary::Div
            | Binary::Pow
            | Binary::SquaredDifference
            | Binary::FloorDiv
            | Binary::FloorMod
            | Binary::Prelu => Rule::Pairs(PairTable::new(|x, y| operator.value(x, y), a, b, output)),
        };
        QuantizedBinary { rule, clamp }
    }

    /// The rule and the bounds, if it is `Add` or `Sub`.
    #[must_use]
    pub fn sum(&self) -> Option<(SumRule, [u8; 2])> {
        if let Rule::Sum(sum) = &self.rule { Some((*sum, self.clamp)) } else { None }
    }

    /// The result for one pair: what [`QuantizedBinary::apply`] computes for each element.
    #[must_use]
    pub fn value(&self, a: u8, b: u8) -> u8 {
        let [low, high] = self.clamp;
        match &self.rule {
            Rule::Sum(sum) => sum.value(a, b, self.clamp),
            Rule::Product(product) => product.value(a, b),
            Rule::Extreme { rescale, larger } => {
                let (a, b) = rescale.as_ref().map_or((a, b), |tables| (tables[0].get(a), tables[1].get(b)));
                (if *larger { a.max(b) } else { a.min(b) }).clamp(low, high)
            }
            Rule::Pairs(table) => table.get(a, b).clamp(low, high),
        }
    }

    /// What it makes of two functions of one byte, as a function of that byte.
    #[must_use]
    pub fn of_tables(&self, a: &Table, b: &Table) -> Table {
        match self.rule {
            // Loops of their own, to be done by vectors.
            Rule::Sum(sum) => a.zip(b, |a, b| sum.value(a, b, self.clamp)),
            Rule::Product(product) => a.zip(b, |a, b| product.value(a, b)),
            Rule::Extreme { .. } | Rule::Pairs(_) => a.zip(b, |a, b| self.value(a, b)),
        }
    }

    /// `output = operator(a, b)` over broadcast operands.
    ///
    /// # Panics
    /// When a length does not fit `plan`.
    pub fn apply(
        &self,
        isa: Isa,
        pool: &ThreadPool,
        plan: &Broadcast<2>,
        operands: [&[u8]; 2],
        output: &mut [u8],
    ) {
        let [low, high] = self.clamp;
        if self.apply_by_channel(isa, pool, plan, operands, output) {
            return;
        }
        match &self.rule {
            Rule::Sum(sum) => {
                let (sum, clamp) = (*sum, self.clamp);
                zip(isa, pool, plan, operands, output, move |a, b| sum.value(a, b, clamp));
            }
            Rule::Product(product) => {
                let product = *product;
                zip(isa, pool, plan, operands, output, move |a, b| product.value(a, b));
            }
            Rule::Extreme { rescale: None, larger: true } => {
                zip(isa, pool, plan, operands, output, move |a: u8, b| a.max(b).within([low, high]));
            }
            Rule::Extreme { rescale: None, larger: false } => {
                zip(isa, pool, plan, operands, output, move |a: u8, b| a.min(b).within([low, high]));
            }
            Rule::Extreme { rescale: Some(tables), .. } => {
                let rescaled: [Vec<u8>; 2] = std::array::from_fn(|i| {
                    let mut operand = vec![0; operands[i].len()];
                    tables[i].apply(isa, pool, operands[i], &mut operand);
                    operand
                });
                let plain = QuantizedBinary { rule: self.rule.without_rescale(), clamp: self.clamp };
                plain.apply(isa, pool, plan, [&rescaled[0], &rescaled[1]], output);
            }
            Rule::Pairs(_) => {
                plan.run(pool, operands.map(<[u8]>::len), output, |first, piece| {
                    self.look_up_pairs(plan, first, operands, piece);
                });
            }
        }
    }

    /// Does it with constants by channel, for each sample, where one operand is that; tells whether.
    fn apply_by_channel(
        &self,
        isa: Isa,
        pool: &ThreadPool,
        plan: &Broadcast<2>,
        operands: [&[u8]; 2],
        output: &mut [u8],
    ) -> bool {
        let Some((repeated, [samples, pixels, channels])) = plan.by_channel() else { return false };
        if !matches!(self.rule, Rule::Sum(_) | Rule::Product(_)) || pixels < FEW_PIXELS {
            return false;
        }
        assert_eq!(
            operands.map(<[u8]>::len),
            plan.operand_lens(),
            "operands have the lengths of their shapes"
        );
        assert_eq!(output.len(), plan.output_len(), "the output has the broadcast shape");
        let size = pixels * channels;
        for sample in 0..samples {
            let constant = &operands[repeated][sample * channels..][..channels];
            let Some(map) = ChannelMap::new(self, constant, repeated == 0) else { return false };
            let own = sample * size..(sample + 1) * size;
            map.apply(isa, pool, &operands[1 - repeated][own.clone()], &mut output[own]);
        }
        true
    }

    fn look_up_pairs(&self, plan: &Broadcast<2>, first: usize, [a, b]: [&[u8]; 2], piece: &mut [u8]) {
        let [step_a, step_b] = plan.inner_strides();
        for Segment { offsets: [at_a, at_b], outputs } in plan.segments(first, piece.len()) {
            for (i, o) in piece[outputs].iter_mut().enumerate() {
                *o = self.value(a[at_a + i * step_a], b[at_b + i * step_b]);
            }
        }
    }
}

impl Rule {
    fn without_rescale(&self) -> Rule {
        match self {
            Rule::Extreme { larger, .. } => Rule::Extreme { rescale: None, larger: *larger },
            other => other.clone(),
        }
    }
}

impl SumRule {
    /// Multipliers have this many bits below the larger one's power of two.
    const BITS: i32 = 20;

    /// The sum of two operands.
    #[must_use]
    pub fn add(operands: [Affine; 2], output: Affine) -> SumRule {
        SumRule::new(operands, 1, output)
    }

    /// The first operand less the second.
    #[must_use]
    pub fn subtract(operands: [Affine; 2], output: Affine) -> SumRule {
        SumRule::new(operands, -1, output)
    }

    fn new(operands: [Affine; 2], sign: i32, output: Affine) -> SumRule {
        let ratios = operands.map(|operand| (operand.scale / output.scale).min(4096.0));
        let largest = ratios[0].max(ratios[1]);
        let exponent = (largest.to_bits() >> 23) as i32 - 127;
        // Below 2^-10 the sum cannot reach half a step; 30 bits hold it then.
        let shift = (Self::BITS - exponent).min(30);
        let multiplier = |ratio: f32| libm::ldexp(f64::from(ratio), shift).round_ties_even() as i32;
        let multipliers = [multiplier(ratios[0]), sign * multiplier(ratios[1])];
        let zero_points = operands.map(|operand| i32::from(operand.zero_point));
        let at_zero = multipliers[0]
            .wrapping_mul(zero_points[0])
            .wrapping_add(multipliers[1].wrapping_mul(zero_points[1]));
        let bias = (1 << (shift - 1)) - at_zero;
        SumRule { multipliers, bias, shift, zero_point: i32::from(output.zero_point) }
    }

    /// The same sum of the operands in the other order.
    #[must_use]
    pub fn swapped(self) -> SumRule {
        let [a, b] = self.multipliers;
        SumRule { multipliers: [b, a], ..self }
    }

    /// The result for one pair, held within `clamp`.
    #[inline(always)]
    #[must_use]
    pub fn value(self, a: u8, b: u8, [low, high]: [u8; 2]) -> u8 {
        let products = i32::from(a)
            .wrapping_mul(self.multipliers[0])
            .wrapping_add(i32::from(b).wrapping_mul(self.multipliers[1]));
        let steps = products.wrapping_add(self.bias) >> self.shift;
        // Not `clamp`: its check of the bounds would stand in the way of vectors.
        (steps + self.zero_point).max(i32::from(low)).min(i32::from(high)) as u8
    }
}

impl Product {
    fn new(operands: [Affine; 2], output: Affine, clamp: [u8; 2]) -> Product {
        Product {
            zero_points: operands.map(|operand| i32::from(operand.zero_point)),
            scale: operands[0].scale * operands[1].scale / output.scale,
            rounding: Rounding::new(output.zero_point, clamp),
            zero_point: output.zero_point,
        }
    }

    #[inline(always)]
    fn value(self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.zero_points[0]) * (i32::from(b) - self.zero_points[1]);
        self.rounding.apply(product as f32 * self.scale)
    }
}

/// A function of two `u8`, tabulated: 64 KB, for operators that are too rare for a kernel of
/// their own.
#[derive(Clone, Debug)]
pub struct PairTable(Box<[u8]>);

impl PairTable {
    /// A function of two real numbers, correctly rounded from double precision, ties to even.
    #[must_use]
    pub fn new(function: impl Fn(f64, f64) -> f64, a: Affine, b: Affine, output: Affine) -> PairTable {
        let row = |x: u8| (0..=255).map(move |y: u8| (x, y));
        let pairs = (0..=255).flat_map(row);
        PairTable(pairs.map(|(x, y)| output.nearest(function(a.real(x), b.real(y)))).collect())
    }

    /// The result for one pair.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, a: u8, b: u8) -> u8 {
        self.0[usize::from(a) << 8 | usize::from(b)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Affine = Affine { scale: 0.021, zero_point: 119 };
    const B: Affine = Affine { scale: 0.013, zero_point: 140 };
    const OUT: Affine = Affine { scale: 0.027, zero_point: 101 };

    /// Every pair, with how far the real result is from a tie.
    fn check_against_real_numbers(operator: Binary, a: Affine, b: Affine, output: Affine, tie: f64) {
        let prepared = QuantizedBinary::new(operator, a, b, output, [0, 255]);
        for x in 0..=255 {
            for y in 0..=255 {
                let real = operator.value(a.real(x), b.real(y));
                let steps = real / f64::from(output.scale);
                let near_tie = ((steps - steps.floor()) - 0.5).abs() < tie;
                let difference = i32::from(prepared.value(x, y)) - i32::from(output.nearest(real));
                assert!(difference == 0 || near_tie && difference.abs() == 1, "{operator:?} {x} {y}");
            }
        }
    }

    #[test]
    fn of_two_functions_it_makes_what_it_makes_of_their_values() {
        let operators = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum, Binary::Div];
        let (a, b) = (Table::from_fn(|x| x.wrapping_mul(7)), Table::from_fn(|x| 255 - x));
        for prepared in operators.map(|operator| QuantizedBinary::new(operator, A, B, OUT, [20, 230])) {
            let expected = Table::from_fn(|x| prepared.value(a.get(x), b.get(x)));
            assert_eq!(prepared.of_tables(&a, &b), expected, "{prepared:?}");
        }
    }

    #[test]
    fn results_are_correctly_rounded_away_from_ties() {
        for operator in [Binary::Add, Binary::Sub] {
            check_against_real_numbers(operator, A, B, OUT, 3e-4);
            check_against_real_numbers(operator, Affine::new(1e-4, 3), A, Affine::new(5.0, 7), 3e-4);
            check_against_real_numbers(operator, Affine::new(8.0, 3), A, Affine::new(0.01, 7), 3e-1);
        }
        check_against_real_numbers(Binary::Mul, A, B, Affine::new(0.007, 90), 3e-5);
        for operator in [Binary::Maximum, Binary::Minimum, Binary::SquaredDifference, Binary::Div] {
            check_against_real_numbers(operator, A, B, OUT, 0.0);
        }
    }

    #[test]
    fn sums_round_half_upward() {
        let half = Affine::new(0.5, 100);
        let sum = QuantizedBinary::new(Binary::Add, half, half, Affine::new(1.0, 50), [0, 255]);
        assert_eq!((sum.value(101, 100), sum.value(99, 100), sum.value(100, 97)), (51, 50, 49));
    }

    #[test]
    fn extreme_scales_stay_defined() {
        let tiny = Affine::new(f32::MIN_POSITIVE, 0);
        let huge = Affine::new(f32::MAX, 255);
        for operator in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum, Binary::Div] {
            for output in [tiny, huge] {
                let prepared = QuantizedBinary::new(operator, tiny, huge, output, [10, 250]);
                assert!((10..=250).contains(&prepared.value(255, 0)), "{operator:?}");
            }
        }
        let sum = QuantizedBinary::new(Binary::Add, huge, huge, tiny, [0, 255]);
        assert_eq!(sum.value(0, 255), 0);
    }

    #[test]
    fn every_level_agrees_with_the_value_of_each_pair() {
        use crate::reference::elementwise as reference;
        let operators =
            [Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum, Binary::Minimum, Binary::Div];
        let shapes: [[&[usize]; 2]; 5] = [
            [&[2, 5, 7, 33], &[2, 5, 7, 33]],
            [&[2, 5, 7, 33], &[2, 1, 1, 33]],
            [&[2, 5, 7, 33], &[33]],
            [&[1], &[3, 100]],
            [&[64, 1], &[64]],
        ];
        for [a_shape, b_shape] in shapes {
            let bytes = |shape: &[usize], step: usize| -> Vec<u8> {
                (0..shape.iter().product()).map(|i: usize| (i * step + i / 255) as u8).collect()
            };
            let (a, b) = (bytes(a_shape, 37), bytes(b_shape, 101));
            let plan = Broadcast::new([a_shape, b_shape]).unwrap();
            for operator in operators {
                for (a_scale, clamp) in [(A, [0, 255]), (OUT, [90, 200])] {
                    let prepared = QuantizedBinary::new(operator, a_scale, OUT, OUT, clamp);
                    let value = |x, y| prepared.value(x, y);
                    let expected = reference::zip(plan.shape(), [a_shape, b_shape], [&a, &b], value);
                    for isa in Isa::available_levels() {
                        let mut output = vec![0; expected.len()];
                        prepared.apply(isa, &ThreadPool::new(2), &plan, [&a, &b], &mut output);
                        assert_eq!(output, expected, "{operator:?} {isa}");
                    }
                }
            }
        }
    }
}
