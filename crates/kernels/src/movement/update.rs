//! A part of a tensor written over.

use super::strides;

/// Writes `part`, of shape `size`, into the tensor `whole` of shape `shape`, its first element at
/// index `begin`.
///
/// # Panics
/// When the part does not lie inside, or a length does not fit.
pub fn update_slice<T: Copy>(shape: &[usize], size: &[usize], begin: &[usize], part: &[T], whole: &mut [T]) {
    let inside = begin.iter().zip(size).zip(shape).all(|((begin, size), len)| begin + size <= *len);
    assert!(
        inside && begin.len() == shape.len() && size.len() == shape.len(),
        "a part of {size:?} at {begin:?} of {shape:?}"
    );
    if part.is_empty() {
        return;
    }
    // Inner axes that the part fills lie together in both.
    let full = shape.iter().zip(size).rev().take_while(|(len, size)| len == size).count();
    let outer = (shape.len() - full).saturating_sub(1);
    let run: usize = size[outer..].iter().product();
    let strides = strides(shape);
    let start: usize = begin.iter().zip(&strides).map(|(begin, stride)| begin * stride).sum();
    let mut index = vec![0; outer];
    for row in part.chunks_exact(run) {
        let offset: usize = index.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
        whole[start + offset..][..run].copy_from_slice(row);
        for axis in (0..outer).rev() {
            index[axis] += 1;
            if index[axis] < size[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element by element.
    fn plainly(shape: &[usize], size: &[usize], begin: &[usize], part: &[u16], whole: &mut [u16]) {
        let (whole_strides, part_strides) = (strides(shape), strides(size));
        for (place, value) in part.iter().enumerate() {
            let index = (0..size.len()).map(|axis| place / part_strides[axis] % size[axis] + begin[axis]);
            let offset: usize = index.zip(&whole_strides).map(|(index, stride)| index * stride).sum();
            whole[offset] = *value;
        }
    }

    #[test]
    fn parts_are_written_where_they_belong() {
        let shape = [3, 4, 5];
        for size in [[1, 4, 5], [3, 4, 5], [2, 2, 3], [3, 1, 5], [2, 4, 1], [0, 4, 5]] {
            for shift in 0..2 {
                let begin: Vec<usize> =
                    size.iter().zip(shape).map(|(size, len)| (len - size).min(shift)).collect();
                let part: Vec<u16> = (100..).take(size.iter().product()).collect();
                let (mut got, mut expected) = (vec![7; 60], vec![7; 60]);
                update_slice(&shape, &size, &begin, &part, &mut got);
                plainly(&shape, &size, &begin, &part, &mut expected);
                assert_eq!(got, expected, "{size:?} at {begin:?}");
            }
        }
        let mut scalar = [1u16];
        update_slice(&[], &[], &[], &[9], &mut scalar);
        assert_eq!(scalar, [9]);
    }

    #[test]
    #[should_panic(expected = "a part of [2] at [3] of [4]")]
    fn a_part_that_sticks_out_is_refused() {
        update_slice(&[4], &[2], &[3], &[1, 2], &mut [0; 4]);
    }
}
