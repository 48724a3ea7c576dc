//! `x * weight + addend` by channel on real numbers, in one pass over memory.

use super::TASK_ELEMENTS;
use super::number::Ordered;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// `output = within(within(input * weight) + addend)` by channel, the last axis: with the bits of a
/// multiplication and an addition one after the other. `bounds` are those of the product and of the sum.
///
/// # Panics
/// When input and output have different lengths or are no whole number of pixels, or the constants
/// have.
pub fn multiply_add(
    isa: Isa,
    pool: &ThreadPool,
    input: &[f32],
    [weight, addend]: [&[f32]; 2],
    bounds: [[f32; 2]; 2],
    output: &mut [f32],
) {
    let channels = weight.len();
    assert_eq!(addend.len(), channels, "as many addends as weights");
    assert_eq!(input.len(), output.len(), "input and output must have one length");
    if input.is_empty() {
        return;
    }
    assert!(channels > 0 && input.len().is_multiple_of(channels), "whole pixels");
    let pixels = pool.rows_per_task(input.len() / channels, TASK_ELEMENTS.div_ceil(channels));
    pool.run_rows(output, channels, pixels, |first, output| {
        let input = &input[first * channels..][..output.len()];
        multiply_add_pixels(isa, input, weight, addend, bounds, output);
    });
}

multiversion! {
    fn multiply_add_pixels(
        input: &[f32],
        weight: &[f32],
        addend: &[f32],
        bounds: [[f32; 2]; 2],
        output: &mut [f32],
    ) {
        let channels = weight.len();
        for (output, input) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
            for ((out, &x), (&weight, &addend)) in output.iter_mut().zip(input).zip(weight.iter().zip(addend)) {
                *out = ((x * weight).within(bounds[0]) + addend).within(bounds[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::machines;

    #[test]
    fn one_pass_gives_the_bits_of_two() {
        for channels in [1, 7, 64, 100] {
            let odd = [f32::NAN, f32::INFINITY, -0.0, 1e38];
            let number = |i: usize| if i % 97 < 4 { odd[i % 97] } else { (i % 1009) as f32 * 0.37 - 180.0 };
            let input: Vec<f32> = (0..channels * (40_000 / channels)).map(number).collect();
            let weight: Vec<f32> = (0..channels).map(|c| number(c + 10) * 0.01).collect();
            let addend: Vec<f32> = (0..channels).map(|c| number(3 * c + 8)).collect();
            for bounds in [[f32::LOWEST, f32::HIGHEST], [0.0, f32::HIGHEST], [0.0, 6.0]] {
                let products =
                    input.iter().enumerate().map(|(i, x)| (x * weight[i % channels]).within(bounds));
                let sums = products.enumerate().map(|(i, x)| (x + addend[i % channels]).within([0.0, 6.0]));
                let expected: Vec<u32> = sums.map(f32::to_bits).collect();
                for (isa, pool) in machines() {
                    let mut output = vec![9.0; input.len()];
                    multiply_add(isa, &pool, &input, [&weight, &addend], [bounds, [0.0, 6.0]], &mut output);
                    let nan = |bits: &u32| f32::from_bits(*bits).is_nan();
                    let same =
                        output.iter().zip(&expected).all(|(a, b)| a.to_bits() == *b || a.is_nan() && nan(b));
                    assert!(same, "{channels} channels, {isa}");
                }
            }
        }
    }
}
