//! Which elements a reduction joins, one index at a time.

/// For each output of a reduction over `axes`, in order, the indices of its inputs, in order.
#[must_use]
pub fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let kept = |axis: &usize| !axes.contains(axis);
    let outputs = (0..shape.len()).filter(kept).map(|axis| shape[axis]).product();
    let mut groups = vec![Vec::new(); outputs];
    for input in 0..shape.iter().product() {
        let (mut rest, mut stride, mut output) = (input, 1, 0);
        for axis in (0..shape.len()).rev() {
            if kept(&axis) {
                output += rest % shape[axis] * stride;
                stride *= shape[axis];
            }
            rest /= shape[axis];
        }
        groups[output].push(input);
    }
    groups
}
