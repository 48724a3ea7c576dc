//! The gradient of sums and means: of global average pooling among them.

use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// The gradient of a sum over the middle axis of `[outer, reduced, inner]`, times `factor`: each
/// output's goes to all its inputs. For a mean the factor is 1 over the length of the axis.
///
/// # Panics
/// When a length does not fit.
pub fn sum<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    [outer, reduced, inner]: [usize; 3],
    factor: T,
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    assert_eq!(output_gradient.len(), outer * inner, "length of the output's gradient");
    assert_eq!(input_gradient.len(), outer * reduced * inner, "length of the input's gradient");
    // A row of the output is one element where the last axis is reduced: then a line of inputs is a row.
    let row_len = if inner == 1 { reduced } else { inner };
    let rows_per_output = if inner == 1 { 1 } else { reduced };
    let rows = input_gradient.len() / row_len.max(1);
    let per_task = pool.rows_per_task(rows, TASK_ELEMENTS.div_ceil(row_len.max(1)));
    pool.run_rows(input_gradient, row_len, per_task, |first, piece| {
        for (row, line) in (first..).zip(piece.chunks_exact_mut(row_len)) {
            let from = row / rows_per_output * inner;
            if inner == 1 {
                line.fill(output_gradient[from].times(factor));
            } else {
                scaled(isa, &output_gradient[from..][..inner], factor, line);
            }
        }
    });
}

multiversion! {
    fn scaled[T: Float](gradient: &[T], factor: T, output: &mut [T]) {
        for (o, &d) in output.iter_mut().zip(gradient) {
            *o = d.times(factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_gets_its_outputs_share() {
        for shape in [[2, 3, 4], [3, 50_000, 1], [1, 4, 30_000], [0, 3, 2]] {
            let [outer, reduced, inner] = shape;
            let d: Vec<f32> = (0..outer * inner).map(|i| i as f32 - 5.0).collect();
            for isa in Isa::available_levels() {
                let mut output = vec![7.0; outer * reduced * inner];
                sum(isa, &ThreadPool::new(3), shape, 0.25, &d, &mut output);
                let right = |(i, &o): (usize, &f32)| o == d[i / inner / reduced * inner + i % inner] * 0.25;
                assert!(output.iter().enumerate().all(right));
            }
        }
    }
}
