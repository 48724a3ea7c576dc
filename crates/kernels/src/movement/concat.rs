//! Joining tensors along an axis, and taking them apart.

use crate::ThreadPool;

/// Bytes that are worth a task of their own.
const TASK_BYTES: usize = 128 * 1024;

/// Joins tensors along an axis: each of `inputs` is a tensor and its length along the axis,
/// `outer` the product of the lengths before the axis, `inner` of those behind.
///
/// # Panics
/// When a length does not fit.
pub fn concat<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    outer: usize,
    inner: usize,
    inputs: &[(&[T], usize)],
    output: &mut [T],
) {
    let row_len: usize = inputs.iter().map(|(_, len)| len * inner).sum();
    for (input, len) in inputs {
        assert_eq!(input.len(), outer * len * inner, "an input must have the length of its shape");
    }
    assert_eq!(output.len(), outer * row_len, "the output must have the length of its shape");
    let least = TASK_BYTES.div_ceil((row_len * size_of::<T>()).max(1));
    pool.run_rows(output, row_len, pool.rows_per_task(outer, least), |first, piece| {
        // Input by input: each is read in order, and a short run costs only a few instructions.
        let mut at = 0;
        for (input, len) in inputs {
            let run = len * inner;
            if run > 0 {
                let sources = &input[first * run..];
                match run {
                    16 => copy_short::<T, 16>(sources, piece, row_len, at),
                    24 => copy_short::<T, 24>(sources, piece, row_len, at),
                    32 => copy_short::<T, 32>(sources, piece, row_len, at),
                    48 => copy_short::<T, 48>(sources, piece, row_len, at),
                    64 => copy_short::<T, 64>(sources, piece, row_len, at),
                    _ => {
                        for (row, source) in piece.chunks_exact_mut(row_len).zip(sources.chunks_exact(run)) {
                            row[at..at + run].copy_from_slice(source);
                        }
                    }
                }
            }
            at += run;
        }
    });
}

/// Copies a run of `RUN` elements, a length that is known and so needs no call, to each row, from
/// element `at` on.
fn copy_short<T: Copy, const RUN: usize>(sources: &[T], rows: &mut [T], row_len: usize, at: usize) {
    for (row, source) in rows.chunks_exact_mut(row_len).zip(sources.as_chunks::<RUN>().0) {
        row[at..at + RUN].copy_from_slice(source);
    }
}

/// Takes a tensor apart along an axis: each of `outputs` is a tensor and its length along the
/// axis, `outer` the product of the lengths before the axis, `inner` of those behind.
///
/// # Panics
/// When a length does not fit.
pub fn split<T: Copy>(outer: usize, inner: usize, input: &[T], outputs: &mut [(&mut [T], usize)]) {
    let row_len: usize = outputs.iter().map(|(_, len)| len * inner).sum();
    assert_eq!(input.len(), outer * row_len, "the input must have the length of its shape");
    let mut at = 0;
    for (output, len) in outputs {
        let run = *len * inner;
        assert_eq!(output.len(), outer * run, "an output must have the length of its shape");
        if run > 0 {
            for (row, target) in input.chunks_exact(row_len).zip(output.chunks_exact_mut(run)) {
                target.copy_from_slice(&row[at..at + run]);
            }
        }
        at += run;
    }
}

/// Stacks tensors of one shape along a new axis: `outer` and `inner` are the products of the
/// lengths before and behind it.
///
/// # Panics
/// When a length does not fit.
pub fn pack<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    outer: usize,
    inner: usize,
    inputs: &[&[T]],
    output: &mut [T],
) {
    let inputs: Vec<(&[T], usize)> = inputs.iter().map(|input| (*input, 1)).collect();
    concat(pool, outer, inner, &inputs, output);
}

/// Takes a tensor apart along an axis that vanishes: the inverse of [`pack`].
///
/// # Panics
/// When a length does not fit.
pub fn unpack<T: Copy>(outer: usize, inner: usize, input: &[T], outputs: &mut [&mut [T]]) {
    let mut outputs: Vec<(&mut [T], usize)> = outputs.iter_mut().map(|output| (&mut **output, 1)).collect();
    split(outer, inner, input, &mut outputs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_comes_apart_again() {
        let (a, b): (Vec<u8>, Vec<u8>) = ((0..12).collect(), (100..118).collect());
        for threads in [1, 3] {
            let mut joined = [0; 30];
            concat(&ThreadPool::new(threads), 3, 2, &[(&a, 2), (&[], 0), (&b, 3)], &mut joined);
            assert_eq!(joined[..10], [0, 1, 2, 3, 100, 101, 102, 103, 104, 105]);
            let (mut c, mut d) = ([0; 12], [0; 18]);
            split(3, 2, &joined, &mut [(&mut c, 2), (&mut d, 3)]);
            assert_eq!((&c[..], &d[..]), (&a[..], &b[..]));
        }
    }

    #[test]
    fn packing_interleaves_along_a_last_axis() {
        let mut packed = [0; 6];
        pack(&ThreadPool::new(1), 3, 1, &[&[1, 2, 3], &[4, 5, 6]], &mut packed);
        assert_eq!(packed, [1, 4, 2, 5, 3, 6]);
        let (mut a, mut b) = ([0; 3], [0; 3]);
        unpack(3, 1, &packed, &mut [&mut a, &mut b]);
        assert_eq!((a, b), ([1, 2, 3], [4, 5, 6]));
    }

    #[test]
    #[should_panic(expected = "an input must have")]
    fn a_wrong_length_is_refused() {
        concat(&ThreadPool::new(1), 2, 1, &[(&[1, 2, 3][..], 2)], &mut [0; 4]);
    }
}
