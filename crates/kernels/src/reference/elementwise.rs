//! Element-wise operators over broadcast operands, one element at a time.

/// `output[i] = function(a, b)` for every index of the NumPy-broadcast shape, which must be
/// `shape`.
///
/// # Panics
/// When an operand is shorter than its shape says.
pub fn zip<T: Copy, U>(
    shape: &[usize],
    [a_shape, b_shape]: [&[usize]; 2],
    [a, b]: [&[T]; 2],
    function: impl Fn(T, T) -> U,
) -> Vec<U> {
    let elements: usize = shape.iter().product();
    (0..elements)
        .map(|i| function(a[operand_index(shape, a_shape, i)], b[operand_index(shape, b_shape, i)]))
        .collect()
}

/// Where an operand of shape `operand` holds the element for output element `index`.
#[must_use]
pub fn operand_index(shape: &[usize], operand: &[usize], index: usize) -> usize {
    let (mut rest, mut stride, mut offset) = (index, 1, 0);
    for distance in 1..=shape.len() {
        let len = shape[shape.len() - distance];
        let own = operand.len().checked_sub(distance).map_or(1, |axis| operand[axis]);
        if own != 1 {
            offset += rest % len * stride;
        }
        stride *= own;
        rest /= len;
    }
    offset
}
