//! Sums, means and products of quantized bytes.

use super::groups::Groups;
use super::plan::Reduction;
use crate::elementwise::affine::{Affine, Rounding};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// A sum or mean of quantized bytes, prepared for its scales.
///
/// The integer sum (of the model's `int8` view) becomes `f32`, times the ratio of the scales (over
/// the number of elements for a mean), plus `output zero point - (input zero point * elements) *
/// ratio`, all in `f32`, and is rounded half to even: what XNNPACK computes, in every value.
#[derive(Clone, Debug)]
pub struct QuantizedSum {
    scale: f32,
    bias: f32,
    rounding: Rounding,
    reduced: usize,
}

/// Most elements whose sum fits 32 bits.
const MOST_ELEMENTS: usize = 1 << 24;

impl QuantizedSum {
    /// The mean over the reduced axes.
    ///
    /// # Panics
    /// When more than 2^24 elements become one.
    #[must_use]
    pub fn mean(plan: &Reduction, input: Affine, output: Affine) -> QuantizedSum {
        QuantizedSum::new(plan, input, output, input.scale / output.scale / plan.reduced.max(1) as f32)
    }

    /// The sum over the reduced axes.
    ///
    /// # Panics
    /// As [`QuantizedSum::mean`].
    #[must_use]
    pub fn sum(plan: &Reduction, input: Affine, output: Affine) -> QuantizedSum {
        QuantizedSum::new(plan, input, output, input.scale / output.scale)
    }

    fn new(plan: &Reduction, input: Affine, output: Affine, scale: f32) -> QuantizedSum {
        assert!(plan.reduced <= MOST_ELEMENTS, "a sum of more than 2^24 bytes");
        let elements = plan.reduced as f32;
        let at_zero = input.zero_point_int8() as f32 * elements;
        let bias = output.zero_point_int8() as f32 - at_zero * scale;
        QuantizedSum { scale, bias, rounding: Rounding::new(128, [0, 255]), reduced: plan.reduced }
    }

    /// The output for a sum of stored bytes.
    #[inline(always)]
    fn finish(&self, sum: u32) -> u8 {
        let sum = i64::from(sum) - 128 * self.reduced as i64;
        self.rounding.apply(sum as i32 as f32 * self.scale + self.bias)
    }

    /// Reduces.
    ///
    /// # Panics
    /// When a length does not fit `plan`, or `plan` reduces another number of elements than the one
    /// this was made for.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, plan: &Reduction, input: &[u8], output: &mut [u8]) {
        assert_eq!(plan.reduced, self.reduced, "the sum was prepared for another number of elements");
        let input = plan.arrange(pool, input, output.len());
        plan.split(pool, output, |outer, first, output| {
            let slab = &input[outer * plan.reduced * plan.inner..][..plan.reduced * plan.inner];
            if plan.inner == 1 {
                output[0] = self.finish(sum_line(isa, slab));
            } else {
                sum_columns(isa, slab, plan.inner, first, self, output);
            }
        });
    }
}

multiversion! {
    fn sum_line(line: &[u8]) -> u32 {
        line.iter().map(|&x| u32::from(x)).sum()
    }
}

/// Rows whose bytes are summed in 16 bits.
const BLOCK: usize = 256;

multiversion! {
    /// Sums the rows of a slab, `row_len` apart, for the columns from `first` on.
    fn sum_columns(slab: &[u8], row_len: usize, first: usize, sum: &QuantizedSum, output: &mut [u8]) {
        for group in Groups::new(first, output.len()) {
            let output = &mut output[group.outputs];
            match group.width {
                Groups::WIDE => {
                    let sums = sum_group::<{ Groups::WIDE }>(slab, row_len, group.start, sum);
                    output.copy_from_slice(&sums[group.skip..]);
                }
                Groups::NARROW => {
                    let sums = sum_group::<{ Groups::NARROW }>(slab, row_len, group.start, sum);
                    output.copy_from_slice(&sums[group.skip..]);
                }
                _ => output[0] = sum_group::<1>(slab, row_len, group.start, sum)[0],
            }
        }
    }
}

#[inline(always)]
fn sum_group<const WIDTH: usize>(
    slab: &[u8],
    row_len: usize,
    start: usize,
    sum: &QuantizedSum,
) -> [u8; WIDTH] {
    let mut total = [0u32; WIDTH];
    for block in slab.chunks(BLOCK * row_len) {
        let mut partial = [0u16; WIDTH];
        for row in block.chunks_exact(row_len) {
            for (partial, &x) in partial.iter_mut().zip(&row[start..start + WIDTH]) {
                *partial += u16::from(x);
            }
        }
        for (total, &x) in total.iter_mut().zip(&partial) {
            *total += u32::from(x);
        }
    }
    let mut results = [0; WIDTH];
    for (result, &total) in results.iter_mut().zip(&total) {
        *result = sum.finish(total);
    }
    results
}

/// The product over the reduced axes, correctly rounded from double precision, ties to even; the
/// lowest value where the product is no number.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn reduce_quantized_product(
    pool: &ThreadPool,
    plan: &Reduction,
    input_affine: Affine,
    output_affine: Affine,
    input: &[u8],
    output: &mut [u8],
) {
    let input = plan.arrange(pool, input, output.len());
    plan.split(pool, output, |outer, first, output| {
        let slab = &input[outer * plan.reduced * plan.inner..][..plan.reduced * plan.inner];
        for (column, o) in (first..).zip(output) {
            let factors = slab.iter().skip(column).step_by(plan.inner);
            *o = output_affine.nearest(factors.map(|&x| input_affine.real(x)).product());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::reduce as reference;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn every_level_agrees_with_the_plain_loop(
            axes in prop::collection::vec((1usize..70, any::<bool>()), 1..5),
            scales in (0.01f32..0.2, 0.01f32..0.2),
            zero_points in any::<(u8, u8)>(),
            threads in 1usize..4,
        ) {
            let shape: Vec<usize> = axes.iter().map(|(len, _)| *len).collect();
            prop_assume!(shape.iter().product::<usize>() < 100_000);
            let reduced: Vec<usize> = (0..axes.len()).filter(|i| axes[*i].1).collect();
            let input: Vec<u8> = (0..shape.iter().product()).map(|i: usize| ((i * 7919) >> 3) as u8).collect();
            let groups = reference::groups(&shape, &reduced);
            let (plan, pool) = (Reduction::new(&shape, &reduced), ThreadPool::new(threads));
            let affine = Affine::new(scales.0, zero_points.0);
            let output_affine = Affine::new(scales.1, zero_points.1);
            let mean = QuantizedSum::mean(&plan, affine, output_affine);
            let sum = QuantizedSum::sum(&plan, affine, output_affine);
            for isa in Isa::available_levels() {
                for (prepared, is_mean) in [(&mean, true), (&sum, false)] {
                    let mut output = vec![7; groups.len()];
                    prepared.apply(isa, &pool, &plan, &input, &mut output);
                    for (&o, group) in output.iter().zip(&groups) {
                        let total: u32 = group.iter().map(|&i| u32::from(input[i])).sum();
                        prop_assert_eq!(o, prepared.finish(total));
                        let count = if is_mean { group.len() as f64 } else { 1.0 };
                        let real = group.iter().map(|&i| affine.real(input[i])).sum::<f64>() / count;
                        let difference = i32::from(o) - i32::from(output_affine.nearest(real));
                        let steps = real / f64::from(output_affine.scale);
                        let near_tie = (steps - steps.floor() - 0.5).abs() < 1e-2;
                        prop_assert!(difference == 0 || near_tie && difference.abs() == 1);
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_correctly_rounded() {
        let plan = Reduction::new(&[2, 3, 2], &[1]);
        let (affine, output_affine) = (Affine::new(0.5, 10), Affine::new(0.25, 100));
        let input = [12, 14, 12, 8, 13, 12, 10, 255, 11, 255, 9, 255];
        let mut output = [0; 4];
        reduce_quantized_product(&ThreadPool::new(1), &plan, affine, output_affine, &input, &mut output);
        // 1 * 1 * 1.5 = 6 steps; 2 * -1 * 1 = -8 steps; -0 at the zero point; too much to hold.
        assert_eq!(output, [106, 92, 100, 255]);
    }
}
