//! Moving blocks of space into channels or into the batch, and back.

use super::pad::pad;
use super::slice::{AxisSlice, strided_slice};
use super::strided::{StridedAxis, StridedCopy};
use super::strides;
use super::transpose::transpose;
use crate::ThreadPool;

/// `[batch, height, width, channels]` to `[batch, height / block, width / block, block * block *
/// channels]`.
///
/// # Panics
/// When `block` is 0 or does not divide height and width, or a length does not fit.
pub fn space_to_depth<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    [batch, height, width, channels]: [usize; 4],
    block: usize,
    input: &[T],
    output: &mut [T],
) {
    assert!(
        block > 0 && height % block == 0 && width % block == 0,
        "blocks of {block} do not fill {height}x{width}"
    );
    let shape = [batch, height / block, block, width / block, block, channels];
    transpose(pool, &shape, &[0, 1, 3, 2, 4, 5], input, output);
}

/// `[batch, height, width, block * block * channels]` to `[batch, height * block, width * block,
/// channels]`: the inverse of [`space_to_depth`].
///
/// # Panics
/// When `block * block` is 0 or does not divide the channels, or a length does not fit.
pub fn depth_to_space<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    [batch, height, width, channels]: [usize; 4],
    block: usize,
    input: &[T],
    output: &mut [T],
) {
    assert!(
        block > 0 && channels % (block * block) == 0,
        "{channels} channels do not hold blocks of {block}x{block}"
    );
    let shape = [batch, height, width, block, block, channels / (block * block)];
    transpose(pool, &shape, &[0, 1, 3, 2, 4, 5], input, output);
}

/// Pads the spatial axes of `[batch, space.., inner]` with `value` and moves blocks of space into
/// the batch: `[product(block) * batch, padded space / block.., inner]`.
///
/// `shape` is `[batch, space.., inner]` (`inner` the product of the axes behind), `pads` the
/// padding before and behind each spatial axis.
///
/// # Panics
/// When the numbers of axes differ, a block does not divide its padded axis, or a length does not
/// fit.
pub fn space_to_batch_nd<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    block: &[usize],
    pads: &[[usize; 2]],
    value: T,
    input: &[T],
    output: &mut [T],
) {
    let [batch, space @ .., inner] = shape else { panic!("a batch and an inner axis") };
    assert!(space.len() == block.len() && space.len() == pads.len(), "a block and padding for each axis");
    let padded: Vec<usize> = space.iter().zip(pads).map(|(len, [low, high])| low + len + high).collect();
    assert!(padded.iter().zip(block).all(|(len, block)| *block > 0 && len % block == 0), "whole blocks");
    let padded_shape: Vec<usize> = [&[*batch], &padded[..], &[*inner]].concat();
    let all_pads: Vec<[usize; 2]> = [&[[0, 0]], pads, &[[0, 0]]].concat();
    let mut scratch = vec![value; padded_shape.iter().product()];
    pad(pool, shape, &all_pads, value, input, &mut scratch);

    let strides = strides(&padded_shape);
    let axis = |len: usize, stride: usize| StridedAxis { len, stride: stride as isize };
    let within = (0..block.len()).map(|i| axis(block[i], strides[i + 1]));
    let across = (0..block.len()).map(|i| axis(padded[i] / block[i], strides[i + 1] * block[i]));
    let axes = within.chain([axis(*batch, strides[0])]).chain(across).chain([axis(*inner, 1)]);
    StridedCopy::new(0, axes).run(pool, &scratch, output);
}

/// Moves blocks out of the batch into space and crops: the inverse of [`space_to_batch_nd`].
///
/// `shape` is the input's `[batch, space.., inner]`, `crops` what is cut off before and behind each
/// spatial axis of the result.
///
/// # Panics
/// When the numbers of axes differ, the product of the blocks does not divide the batch, more is
/// cropped than there is, or a length does not fit.
pub fn batch_to_space_nd<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    block: &[usize],
    crops: &[[usize; 2]],
    input: &[T],
    output: &mut [T],
) {
    let [blocks_and_batch, space @ .., inner] = shape else { panic!("a batch and an inner axis") };
    assert!(space.len() == block.len() && space.len() == crops.len(), "a block and crops for each axis");
    let blocks: usize = block.iter().product();
    assert!(blocks > 0 && blocks_and_batch % blocks == 0, "whole blocks in the batch");
    let batch = blocks_and_batch / blocks;
    let split_shape: Vec<usize> = [block, &[batch], space, &[*inner]].concat();
    let strides = strides(&split_shape);
    let axis = |i: usize| StridedAxis { len: split_shape[i], stride: strides[i] as isize };
    let rank = block.len();
    let spatial = (0..rank).flat_map(|i| [axis(rank + 1 + i), axis(i)]);
    let axes = [axis(rank)].into_iter().chain(spatial).chain([axis(2 * rank + 1)]);
    let whole: Vec<usize> = space.iter().zip(block).map(|(len, block)| len * block).collect();
    let mut scratch = input.to_vec();
    StridedCopy::new(0, axes).run(pool, input, &mut scratch);

    let whole_shape: Vec<usize> = [&[batch], &whole[..], &[*inner]].concat();
    let kept = whole.iter().zip(crops).map(|(len, [low, high])| {
        let len = len.checked_sub(low + high).expect("a crop leaves something of its axis");
        AxisSlice { begin: *low, step: 1, len }
    });
    let all = |len| AxisSlice { begin: 0, step: 1, len };
    let slices: Vec<AxisSlice> = [all(batch)].into_iter().chain(kept).chain([all(*inner)]).collect();
    strided_slice(pool, &whole_shape, &slices, &scratch, output);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_space() {
        let pool = ThreadPool::new(1);
        let input: Vec<u8> = (0..16).collect();
        let mut deep = [0; 16];
        space_to_depth(&pool, [1, 4, 4, 1], 2, &input, &mut deep);
        assert_eq!(deep, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        let mut back = [0; 16];
        depth_to_space(&pool, [1, 2, 2, 4], 2, &deep, &mut back);
        assert_eq!(back[..], input);
    }

    #[test]
    fn batch_and_space() {
        let pool = ThreadPool::new(1);
        let input: Vec<i32> = (1..=15).collect();
        let mut blocks = [0; 24];
        space_to_batch_nd(&pool, &[1, 3, 5, 1], &[2, 3], &[[1, 0], [0, 1]], -1, &input, &mut blocks);
        // Block (0, 0): padded rows 0 and 2, columns 0 and 3.
        assert_eq!(blocks[..4], [-1, -1, 6, 9]);
        assert_eq!(blocks[20..], [3, -1, 13, -1]);
        let mut back = [0; 15];
        batch_to_space_nd(&pool, &[6, 2, 2, 1], &[2, 3], &[[1, 0], [0, 1]], &blocks, &mut back);
        assert_eq!(back[..], input);
    }
}
