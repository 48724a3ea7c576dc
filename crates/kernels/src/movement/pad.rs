//! Padding with a constant or with the tensor's own edge.

use super::strides;
use crate::ThreadPool;

/// Bytes that are worth a task of their own.
const TASK_BYTES: usize = 32 * 1024;

/// How a tensor continues beyond its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// Mirrored at the edge element, which is not repeated.
    Reflect,
    /// Mirrored at the edge, the edge element repeated.
    Symmetric,
}

/// Pads each axis with `value`: `pads` holds the elements before and behind each.
///
/// # Panics
/// When there are not as many pads as axes, or a length does not fit.
pub fn pad<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    pads: &[[usize; 2]],
    value: T,
    input: &[T],
    output: &mut [T],
) {
    assert_eq!(shape.len(), pads.len(), "a pad for each axis");
    assert_eq!(input.len(), shape.iter().product::<usize>(), "the input must have the length of its shape");
    let (shape, pads) = merged(shape, pads);
    let Some((last, outer)) = shape.split_last() else {
        output.copy_from_slice(input);
        return;
    };
    let [low, high] = pads[pads.len() - 1];
    let row_len = low + last + high;
    let padded: Vec<usize> = outer.iter().zip(&pads).map(|(len, [low, high])| low + len + high).collect();
    assert_eq!(
        output.len(),
        padded.iter().product::<usize>() * row_len,
        "the output must be the padded size"
    );
    let strides = strides(outer);
    let least = TASK_BYTES.div_ceil((row_len * size_of::<T>()).max(1));
    let rows = padded.iter().product();
    let last_alone = pads[..outer.len()].iter().all(|pad| *pad == [0, 0]);
    pool.run_rows(output, row_len, pool.rows_per_task(rows, least), |first, piece| {
        for (row, output) in (first..).zip(piece.chunks_exact_mut(row_len)) {
            let source =
                if last_alone { Some(row) } else { source_row(row, &padded, outer, &pads, &strides) };
            match source {
                None => output.fill(value),
                Some(source) => {
                    output[..low].fill(value);
                    output[low..low + last].copy_from_slice(&input[source * last..(source + 1) * last]);
                    output[low + last..].fill(value);
                }
            }
        }
    });
}

/// Merges axes into the one before where nothing is padded between: an unpadded axis with the axis
/// that it lies in.
fn merged(shape: &[usize], pads: &[[usize; 2]]) -> (Vec<usize>, Vec<[usize; 2]>) {
    let mut axes: Vec<(usize, [usize; 2])> = Vec::new();
    for (&len, &pad) in shape.iter().zip(pads) {
        match axes.last_mut() {
            Some((outer, outer_pad)) if pad == [0, 0] => {
                *outer *= len;
                *outer_pad = outer_pad.map(|pad| pad * len);
            }
            _ => axes.push((len, pad)),
        }
    }
    axes.into_iter().unzip()
}

/// The input row that an output row holds; none for a row of padding.
fn source_row(
    row: usize,
    padded: &[usize],
    shape: &[usize],
    pads: &[[usize; 2]],
    strides: &[usize],
) -> Option<usize> {
    let (mut rest, mut source) = (row, 0);
    for axis in (0..padded.len()).rev() {
        let index = (rest % padded[axis]).checked_sub(pads[axis][0])?;
        if index >= shape[axis] {
            return None;
        }
        source += index * strides[axis];
        rest /= padded[axis];
    }
    Some(source)
}

/// Pads each axis with the tensor's reflection: `pads` holds the elements before and behind each.
///
/// # Panics
/// When there are not as many pads as axes, an axis is padded by more than it can reflect (its
/// length, one less for [`Reflection::Reflect`]), or a length does not fit.
pub fn pad_reflected<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    pads: &[[usize; 2]],
    reflection: Reflection,
    input: &[T],
    output: &mut [T],
) {
    assert_eq!(shape.len(), pads.len(), "a pad for each axis");
    assert_eq!(input.len(), shape.iter().product::<usize>(), "the input must have the length of its shape");
    let sources: Vec<Vec<usize>> =
        shape.iter().zip(pads).map(|(&len, &pad)| reflected(len, pad, reflection)).collect();
    let Some((columns, outer)) = sources.split_last() else {
        output.copy_from_slice(input);
        return;
    };
    let rows: usize = outer.iter().map(Vec::len).product();
    assert_eq!(output.len(), rows * columns.len(), "the output must be the padded size");
    let (last, strides) = (shape[shape.len() - 1], strides(shape));
    let low = pads[pads.len() - 1][0];
    let least = TASK_BYTES.div_ceil((columns.len() * size_of::<T>()).max(1));
    pool.run_rows(output, columns.len(), pool.rows_per_task(rows, least), |first, piece| {
        for (row, output) in (first..).zip(piece.chunks_exact_mut(columns.len())) {
            let (mut rest, mut start) = (row, 0);
            for (axis, indices) in outer.iter().enumerate().rev() {
                start += indices[rest % indices.len()] * strides[axis];
                rest /= indices.len();
            }
            let line = &input[start..start + last];
            output[low..low + last].copy_from_slice(line);
            for at in (0..low).chain(low + last..columns.len()) {
                output[at] = line[columns[at]];
            }
        }
    });
}

/// The input index of each output index along a padded axis.
fn reflected(len: usize, [low, high]: [usize; 2], reflection: Reflection) -> Vec<usize> {
    let skip = usize::from(reflection == Reflection::Reflect);
    assert!(low.max(high) + skip <= len || low + high == 0, "{len} elements reflect less than {low}, {high}");
    let before = (0..low).rev().map(|i| i + skip);
    let behind = (0..high).map(|i| len - 1 - skip - i);
    before.chain(0..len).chain(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_surround_the_tensor() {
        for threads in [1, 2] {
            let pool = ThreadPool::new(threads);
            let mut output = [0; 24];
            pad(
                &pool,
                &[1, 2, 2, 2],
                &[[0, 0], [1, 0], [1, 1], [0, 0]],
                9,
                &[1, 2, 3, 4, 5, 6, 7, 8],
                &mut output,
            );
            #[rustfmt::skip]
            assert_eq!(output, [
                9, 9, 9, 9, 9, 9, 9, 9,
                9, 9, 1, 2, 3, 4, 9, 9,
                9, 9, 5, 6, 7, 8, 9, 9,
            ]);
        }
    }

    #[test]
    fn a_padded_batch_and_an_empty_tensor() {
        let pool = ThreadPool::new(1);
        let mut output = [0.0; 6];
        pad(&pool, &[1, 2], &[[1, 1], [0, 0]], -1.0, &[1.0, 2.0], &mut output);
        assert_eq!(output, [-1.0, -1.0, 1.0, 2.0, -1.0, -1.0]);
        let mut output = [0u8; 3];
        pad(&pool, &[0], &[[1, 2]], 7, &[], &mut output);
        assert_eq!(output, [7, 7, 7]);
        let mut scalar = [0u8];
        pad(&pool, &[], &[], 7, &[3], &mut scalar);
        assert_eq!(scalar, [3]);
    }

    #[test]
    fn reflections() {
        let pool = ThreadPool::new(1);
        let mut output = [0; 7];
        pad_reflected(&pool, &[3], &[[2, 2]], Reflection::Reflect, &[1, 2, 3], &mut output);
        assert_eq!(output, [3, 2, 1, 2, 3, 2, 1]);
        pad_reflected(&pool, &[3], &[[2, 2]], Reflection::Symmetric, &[1, 2, 3], &mut output);
        assert_eq!(output, [2, 1, 1, 2, 3, 3, 2]);
        let mut output = [0; 12];
        pad_reflected(&pool, &[2, 2], &[[1, 0], [1, 1]], Reflection::Reflect, &[1, 2, 3, 4], &mut output);
        assert_eq!(output, [4, 3, 4, 3, 2, 1, 2, 1, 4, 3, 4, 3]);
    }

    #[test]
    #[should_panic(expected = "reflect less")]
    fn too_far_a_reflection_is_refused() {
        pad_reflected(&ThreadPool::new(1), &[2], &[[2, 0]], Reflection::Reflect, &[1, 2], &mut [0; 4]);
    }
}
