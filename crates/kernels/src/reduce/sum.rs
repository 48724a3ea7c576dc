//! Sums, means, extremes and products of floats and integers.

use super::groups::Groups;
use super::lanes::{LANES, in_halves, in_lanes};
use super::plan::Reduction;
use crate::elementwise::number::{Number, Ordered};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// What becomes of the reduced elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// Their sum over their number (rounded toward zero for integers; 0/0 for none).
    Mean,
    /// Their product.
    Product,
    /// The largest (minus infinity, or the smallest integer, for none); not-a-number if there is
    /// one.
    Max,
    /// The smallest (infinity, or the largest integer, for none); not-a-number if there is one.
    Min,
}

/// Reduces floats or integers.
///
/// Float sums are formed in blocks (64 at a time per output, or 16 lanes of 64), so that the error
/// grows slowly; the order depends on the shape alone.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn reduce<T: Number + From<u8>>(
    isa: Isa,
    pool: &ThreadPool,
    operator: Reduce,
    plan: &Reduction,
    input: &[T],
    output: &mut [T],
) {
    match operator {
        Reduce::Sum => fold(isa, pool, plan, input, output, T::ZERO, |a: T, b| a.plus(b)),
        Reduce::Product => fold(isa, pool, plan, input, output, T::ONE, |a: T, b| a.times(b)),
        Reduce::Max | Reduce::Min => reduce_extreme(isa, pool, operator == Reduce::Max, plan, input, output),
        Reduce::Mean => {
            fold(isa, pool, plan, input, output, T::ZERO, |a: T, b| a.plus(b));
            let count = number(plan.reduced);
            output.iter_mut().for_each(|sum| *sum = sum.over(count));
        }
    }
}

/// `count` as a number, from its bytes (every type holds a byte).
fn number<T: Number + From<u8>>(count: usize) -> T {
    let base = T::from(255).plus(T::ONE);
    count.to_be_bytes().iter().fold(T::ZERO, |value, &byte| value.times(base).plus(T::from(byte)))
}

/// The largest (or smallest) of the reduced elements, of any ordered type; quantized bytes keep
/// their scale and zero point.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn reduce_extreme<T: Ordered>(
    isa: Isa,
    pool: &ThreadPool,
    largest: bool,
    plan: &Reduction,
    input: &[T],
    output: &mut [T],
) {
    if largest {
        fold(isa, pool, plan, input, output, T::LOWEST, |a: T, b| a.larger(b));
    } else {
        fold(isa, pool, plan, input, output, T::HIGHEST, |a: T, b| a.smaller(b));
    }
}

/// Folds the reduced axis with an operation that has this identity.
fn fold<T: Ordered, F: Fn(T, T) -> T + Copy + Sync>(
    isa: Isa,
    pool: &ThreadPool,
    plan: &Reduction,
    input: &[T],
    output: &mut [T],
    identity: T,
    operation: F,
) {
    let input = plan.arrange(pool, input, output.len());
    plan.split(pool, output, |outer, first, output| {
        let slab = &input[outer * plan.reduced * plan.inner..][..plan.reduced * plan.inner];
        if plan.inner == 1 {
            output[0] = fold_line(isa, slab, identity, operation);
        } else {
            fold_columns(isa, slab, plan.inner, first, identity, operation, output);
        }
    });
}

/// Rows, or elements of a lane, that are summed before they join the total.
const BLOCK: usize = 64;
multiversion! {
    /// Folds a contiguous line, in lanes.
    fn fold_line[T: Ordered, F: Fn(T, T) -> T](line: &[T], identity: T, operation: F) -> T {
        let mut lanes = [identity; LANES];
        for block in line.chunks(BLOCK * LANES) {
            let partial = in_lanes(block, identity, &operation);
            for (lane, &x) in lanes.iter_mut().zip(&partial) {
                *lane = operation(*lane, x);
            }
        }
        in_halves(lanes, operation)
    }
}

multiversion! {
    /// Folds the rows of a slab, `row_len` apart, for the columns from `first` on.
    fn fold_columns[T: Ordered, F: Fn(T, T) -> T](
        slab: &[T],
        row_len: usize,
        first: usize,
        identity: T,
        operation: F,
        output: &mut [T],
    ) {
        for group in Groups::new(first, output.len()) {
            let output = &mut output[group.outputs];
            match group.width {
                Groups::WIDE => {
                    let folded: [T; Groups::WIDE] =
                        fold_group(slab, row_len, group.start, identity, &operation);
                    output.copy_from_slice(&folded[group.skip..]);
                }
                Groups::NARROW => {
                    let folded: [T; Groups::NARROW] =
                        fold_group(slab, row_len, group.start, identity, &operation);
                    output.copy_from_slice(&folded[group.skip..]);
                }
                _ => output[0] = fold_group::<T, 1>(slab, row_len, group.start, identity, &operation)[0],
            }
        }
    }
}

#[inline(always)]
fn fold_group<T: Ordered, const WIDTH: usize>(
    slab: &[T],
    row_len: usize,
    start: usize,
    identity: T,
    operation: &impl Fn(T, T) -> T,
) -> [T; WIDTH] {
    let mut total = [identity; WIDTH];
    for block in slab.chunks(BLOCK * row_len) {
        let mut partial = [identity; WIDTH];
        for row in block.chunks_exact(row_len) {
            for (partial, &x) in partial.iter_mut().zip(&row[start..start + WIDTH]) {
                *partial = operation(*partial, x);
            }
        }
        for (total, &x) in total.iter_mut().zip(&partial) {
            *total = operation(*total, x);
        }
    }
    total
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
            axes in prop::collection::vec((1usize..30, any::<bool>()), 0..5),
            threads in 1usize..4,
        ) {
            let shape: Vec<usize> = axes.iter().map(|(len, _)| *len).collect();
            prop_assume!(shape.iter().product::<usize>() < 50_000);
            let reduced: Vec<usize> = (0..axes.len()).filter(|i| axes[*i].1).collect();
            let input: Vec<i32> = (0..shape.iter().product()).map(|i: usize| (i * 7919 % 2001) as i32 - 1000).collect();
            let floats: Vec<f32> = input.iter().map(|&x| x as f32 * 0.01).collect();
            let groups = reference::groups(&shape, &reduced);
            let (plan, pool) = (Reduction::new(&shape, &reduced), ThreadPool::new(threads));
            let mut bits: Option<Vec<u32>> = None;
            for isa in Isa::available_levels() {
                let mut output = vec![7; groups.len()];
                for (operator, identity, function) in [
                    (Reduce::Sum, 0, (|a, b| a + b) as fn(i32, i32) -> i32),
                    (Reduce::Product, 1, i32::wrapping_mul),
                    (Reduce::Max, i32::MIN, i32::max),
                    (Reduce::Min, i32::MAX, i32::min),
                ] {
                    reduce(isa, &pool, operator, &plan, &input, &mut output);
                    for (&o, group) in output.iter().zip(&groups) {
                        prop_assert_eq!(o, group.iter().map(|&i| input[i]).fold(identity, function));
                    }
                }
                let mut output = vec![7.0; groups.len()];
                reduce(isa, &pool, Reduce::Mean, &plan, &floats, &mut output);
                for (&o, group) in output.iter().zip(&groups) {
                    let mean = group.iter().map(|&i| f64::from(floats[i])).sum::<f64>() / group.len() as f64;
                    prop_assert!((f64::from(o) - mean).abs() < 1e-5, "{} {}", o, mean);
                }
                let same: Vec<u32> = output.iter().map(|x| x.to_bits()).collect();
                prop_assert_eq!(&same, bits.get_or_insert_with(|| same.clone()));
            }
        }
    }

    #[test]
    fn sums_do_not_depend_on_threads_or_batch() {
        let one: Vec<f32> = (0..40_000).map(|i| (i as f32 * 0.7).sin()).collect();
        let both: Vec<f32> = [&one[..], &one[..]].concat();
        let (mut alone, mut batch) = ([0.0; 100], [0.0; 200]);
        let isa = Isa::detect();
        let single = Reduction::new(&[1, 20, 20, 100], &[1, 2]);
        reduce(isa, &ThreadPool::new(1), Reduce::Sum, &single, &one, &mut alone);
        let double = Reduction::new(&[2, 20, 20, 100], &[1, 2]);
        reduce(isa, &ThreadPool::new(3), Reduce::Sum, &double, &both, &mut batch);
        assert_eq!((&batch[..100], &batch[100..]), (&alone[..], &alone[..]));
    }

    #[test]
    fn nothing_reduces_to_the_identity() {
        let (plan, pool) = (Reduction::new(&[2, 0], &[1]), ThreadPool::new(1));
        let mut output = [9.0f32; 2];
        for (operator, expected) in
            [(Reduce::Sum, 0.0), (Reduce::Product, 1.0), (Reduce::Max, f32::NEG_INFINITY)]
        {
            reduce(Isa::detect(), &pool, operator, &plan, &[], &mut output);
            assert_eq!(output, [expected; 2]);
        }
        reduce(Isa::detect(), &pool, Reduce::Mean, &plan, &[], &mut output);
        assert!(output[0].is_nan());
    }

    #[test]
    fn counts_become_numbers() {
        assert_eq!(
            (number::<i32>(70_000), number::<f32>(12_544), number::<i64>(1 << 40)),
            (70_000, 12_544.0, 1 << 40)
        );
    }
}
