//! Sums, means and products of 16-bit numbers.

use super::requantize::round_away;
use crate::elementwise::fixed_point::FixedPoint;
use crate::multiversion::multiversion;
use crate::reduce::Reduction;
use crate::{Isa, ThreadPool};

/// A sum or mean of 16-bit numbers, prepared for its scales. Sums are exact. Equal to LiteRT in every
/// value.
#[derive(Clone, Copy, Debug)]
pub struct Sums(Scale);

#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Times the quotient of the scales, in single precision, half away from zero.
    Sum(f32),
    /// Times the quotient of the scales over the number of elements, as a 31-bit multiplier.
    Mean(FixedPoint),
}

impl Sums {
    /// The sum over the reduced axes, of numbers of scale `input` to numbers of scale `output`.
    #[must_use]
    pub fn sum(input: f32, output: f32) -> Sums {
        Sums(Scale::Sum(input / output))
    }

    /// The mean over the axes that `plan` reduces.
    ///
    /// # Panics
    /// When the quotient of the scales is negative or not finite.
    #[must_use]
    pub fn mean(plan: &Reduction, input: f32, output: f32) -> Sums {
        let number = FixedPoint::new(f64::from(input) / f64::from(output));
        Sums(Scale::Mean(number.over(plan.reduced.max(1) as u64)))
    }

    #[inline(always)]
    fn finish(self, sum: i64) -> i16 {
        match self.0 {
            Scale::Sum(scale) => {
                let steps = (sum as f32 * scale).clamp(f32::from(i16::MIN), f32::from(i16::MAX));
                round_away(steps.into()) as i16
            }
            Scale::Mean(number) => {
                let sum = sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                number.times(sum).clamp(i16::MIN.into(), i16::MAX.into()) as i16
            }
        }
    }

    /// Reduces.
    ///
    /// # Panics
    /// When a length does not fit `plan`.
    pub fn apply(self, isa: Isa, pool: &ThreadPool, plan: &Reduction, input: &[i16], output: &mut [i16]) {
        let input = plan.arrange(pool, input, output.len());
        plan.split(pool, output, |outer, first, output| {
            let slab = &input[outer * plan.reduced * plan.inner..][..plan.reduced * plan.inner];
            for (part, output) in output.chunks_mut(COLUMNS).enumerate() {
                let sums = columns(isa, slab, plan.inner, first + part * COLUMNS, output.len());
                output.iter_mut().zip(sums).for_each(|(o, sum)| *o = self.finish(sum));
            }
        });
    }
}

/// Columns that are summed side by side.
const COLUMNS: usize = 64;

multiversion! {
    /// Sums of some columns of rows that are `row_len` apart.
    fn columns(slab: &[i16], row_len: usize, first: usize, count: usize) -> [i64; COLUMNS] {
        let mut sums = [0; COLUMNS];
        if row_len == 1 {
            sums[0] = slab.iter().map(|&x| i64::from(x)).sum();
        } else {
            for row in slab.chunks_exact(row_len) {
                for (sum, &x) in sums.iter_mut().zip(&row[first..first + count]) {
                    *sum += i64::from(x);
                }
            }
        }
        sums
    }
}

/// The product over the reduced axes, correctly rounded from double precision, half away from zero.
///
/// LiteRT rounds after every factor; two or three factors give the same within two steps, but where
/// the product leaves 32 bits on the way its result is another.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn reduce_product(
    pool: &ThreadPool,
    plan: &Reduction,
    [input_scale, output_scale]: [f32; 2],
    input: &[i16],
    output: &mut [i16],
) {
    let (input_scale, output_scale) = (f64::from(input_scale), f64::from(output_scale));
    let input = plan.arrange(pool, input, output.len());
    plan.split(pool, output, |outer, first, output| {
        let slab = &input[outer * plan.reduced * plan.inner..][..plan.reduced * plan.inner];
        for (column, o) in (first..).zip(output) {
            let factors = slab.iter().skip(column).step_by(plan.inner);
            let product: f64 = factors.map(|&x| f64::from(x) * input_scale).product();
            *o = round_away((product / output_scale).clamp(f64::from(i16::MIN), f64::from(i16::MAX))) as i16;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::reduce as reference;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn every_level_is_within_a_step_of_the_exact_result(
            axes in prop::collection::vec((1usize..50, any::<bool>()), 1..5),
            scales in [1e-5f32..1e-3, 1e-5f32..1e-3],
        ) {
            let shape: Vec<usize> = axes.iter().map(|(len, _)| *len).collect();
            prop_assume!(shape.iter().product::<usize>() < 50_000);
            let reduced: Vec<usize> = (0..axes.len()).filter(|i| axes[*i].1).collect();
            let input: Vec<i16> =
                (0..shape.iter().product::<usize>()).map(|i| (i.wrapping_mul(40_503) >> 2) as i16).collect();
            let groups = reference::groups(&shape, &reduced);
            let plan = Reduction::new(&shape, &reduced);
            let ratio = f64::from(scales[0]) / f64::from(scales[1]);
            for mean in [false, true] {
                let [from, to] = scales;
                let sum = if mean { Sums::mean(&plan, from, to) } else { Sums::sum(from, to) };
                let mut first: Option<Vec<i16>> = None;
                for isa in Isa::available_levels() {
                    let mut output = vec![7; groups.len()];
                    sum.apply(isa, &ThreadPool::new(2), &plan, &input, &mut output);
                    for (&o, group) in output.iter().zip(&groups) {
                        let total: f64 = group.iter().map(|&i| f64::from(input[i])).sum();
                        let real = total * ratio / if mean { group.len() as f64 } else { 1.0 };
                        // A mean is rounded twice.
                        let slack = 1.0 + real.abs() * 1e-6 + ratio * 0.01;
                        prop_assert!((real.clamp(-32_768.0, 32_767.0) - f64::from(o)).abs() <= slack, "{} {}", real, o);
                    }
                    prop_assert_eq!(&output, first.get_or_insert_with(|| output.clone()));
                }
            }
        }
    }

    #[test]
    fn products_are_correctly_rounded() {
        let plan = Reduction::new(&[2, 3, 2], &[1]);
        let input = [2, 4, 3, -3, 5, 2, 0, i16::MAX, 1, i16::MAX, 1, i16::MAX];
        let mut output = [7; 4];
        reduce_product(&ThreadPool::new(1), &plan, [0.5, 0.25], &input, &mut output);
        // 1 * 1.5 * 2.5 = 15 steps; 2 * -1.5 * 1 = -12 steps.
        assert_eq!(output, [15, -12, 0, i16::MAX]);
    }
}
