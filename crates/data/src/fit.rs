//! Whether samples of one shape fit an input of another.

use crate::{DataError, InputSpec};

/// How far the shape of data may differ from that of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// At most an axis of size 1, first or last, is missing or too many.
    UpToUnitAxis,
    /// The values of a sample are a plain list (a CSV row, an idx image) that fills any shape of as
    /// many elements.
    Flattened,
}

/// The shape under which samples of shape `got` enter `input`. The order of values is never changed.
pub(crate) fn fit(input: &InputSpec, got: &[usize], how: Fit) -> Result<Vec<usize>, DataError> {
    let expected = &input.shape;
    let unit_axes = up_to_unit_axis(got).into_iter().find(|shape| matches(expected, shape));
    let flattened = || match how {
        Fit::UpToUnitAxis => None,
        Fit::Flattened => fill(expected, got.iter().product()),
    };
    unit_axes.or_else(flattened).ok_or_else(|| DataError::WrongShape {
        input: input.name.clone(),
        expected: expected.clone(),
        got: got.to_vec(),
    })
}

fn matches(expected: &[Option<usize>], shape: &[usize]) -> bool {
    let same = |(expected, &size): (&Option<usize>, &usize)| expected.is_none_or(|e| e == size);
    expected.len() == shape.len() && expected.iter().zip(shape).all(same)
}

/// `shape` itself, and with an axis of size 1 added or dropped at the end or the start.
fn up_to_unit_axis(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut shapes = vec![shape.to_vec(), [shape, &[1]].concat(), [&[1], shape].concat()];
    if let [rest @ .., 1] = shape {
        shapes.push(rest.to_vec());
    }
    if let [1, rest @ ..] = shape {
        shapes.push(rest.to_vec());
    }
    shapes
}

/// The shape with `elements` elements, if there is exactly one.
pub(crate) fn fill(expected: &[Option<usize>], elements: usize) -> Option<Vec<usize>> {
    let known = expected.iter().flatten().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let free = expected.iter().filter(|size| size.is_none()).count();
    let size = match free {
        0 => (known == elements).then_some(0)?,
        1 if known > 0 && elements.is_multiple_of(known) => elements / known,
        _ => return None,
    };
    Some(expected.iter().map(|e| e.unwrap_or(size)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType;

    fn fitted(expected: &[Option<usize>], got: &[usize], how: Fit) -> Option<Vec<usize>> {
        fit(&InputSpec::new("x", expected, ElementType::F32), got, how).ok()
    }

    #[test]
    fn a_missing_or_extra_unit_axis_is_mended() {
        let image = [Some(28), Some(28), Some(1)];
        assert_eq!(fitted(&image, &[28, 28], Fit::UpToUnitAxis), Some(vec![28, 28, 1]));
        assert_eq!(fitted(&image, &[28, 28, 1], Fit::UpToUnitAxis), Some(vec![28, 28, 1]));
        assert_eq!(
            fitted(&[Some(1), Some(28), Some(28)], &[28, 28], Fit::UpToUnitAxis),
            Some(vec![1, 28, 28])
        );
        assert_eq!(fitted(&[Some(28), Some(28)], &[28, 28, 1], Fit::UpToUnitAxis), Some(vec![28, 28]));
        assert_eq!(fitted(&[None, Some(36)], &[7, 36], Fit::UpToUnitAxis), Some(vec![7, 36]));
        assert_eq!(fitted(&[Some(1)], &[], Fit::UpToUnitAxis), Some(vec![1]));
    }

    #[test]
    fn other_shapes_are_refused() {
        let image = [Some(28), Some(28), Some(1)];
        for got in [vec![28, 28, 3], vec![32, 32, 1], vec![784], vec![1, 28, 28], vec![]] {
            assert_eq!(fitted(&image, &got, Fit::UpToUnitAxis), None, "{got:?}");
        }
    }

    #[test]
    fn lists_fill_a_shape_that_is_unambiguous() {
        assert_eq!(fitted(&[Some(28), Some(28), Some(1)], &[784], Fit::Flattened), Some(vec![28, 28, 1]));
        assert_eq!(fitted(&[Some(784)], &[28, 28], Fit::Flattened), Some(vec![784]));
        assert_eq!(fitted(&[None, Some(4)], &[12], Fit::Flattened), Some(vec![3, 4]));
        assert_eq!(fitted(&[None, Some(5)], &[12], Fit::Flattened), None);
        assert_eq!(fitted(&[None, None, None], &[12], Fit::Flattened), None);
        assert_eq!(fitted(&[Some(usize::MAX), Some(2)], &[12], Fit::Flattened), None);
    }
}
