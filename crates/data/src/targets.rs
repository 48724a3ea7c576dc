//! What samples are labelled with, and class numbers where that is what they are.

use crate::element::Number;
use crate::{Array, DataError};

/// What one output of a model should give for some samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The values as they are in the source, the samples along the first axis. Its name is that of the
    /// output, where the source says which one it is for.
    pub values: Array,
    /// The samples' classes, if that is what the values are: integers of at least 0, one a sample, or
    /// one-hot rows.
    pub labels: Option<Vec<u32>>,
}

impl Target {
    pub(crate) fn new(values: Array) -> Self {
        let labels = labels(&values);
        Self { values, labels }
    }

    /// The name of the array, and perhaps of its output.
    pub fn name(&self) -> Option<&str> {
        self.values.name()
    }

    /// Those of the samples at `indices`.
    pub(crate) fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        let labels = self.labels.as_ref().map(|labels| indices.iter().map(|&i| labels[i]).collect());
        Ok(Self { values: self.values.select(indices)?, labels })
    }
}

/// The class numbers that `targets` stand for: one integer of at least 0 per sample (whatever the
/// element type), or one-hot rows. `None` if they are something else, such as values to regress to.
pub(crate) fn labels(targets: &Array) -> Option<Vec<u32>> {
    match *targets.shape() {
        [_] | [_, 1] => targets.numbers().into_iter().map(class).collect(),
        [_, classes] => targets.numbers().chunks_exact(classes).map(hot).collect(),
        _ => None,
    }
}

fn class(number: Number) -> Option<u32> {
    number.integer()?.try_into().ok()
}

/// The place of the only 1 in a row of zeros.
fn hot(row: &[Number]) -> Option<u32> {
    let mut place = None;
    for (index, number) in row.iter().enumerate() {
        match (number.integer()?, place) {
            (0, _) => {}
            (1, None) => place = Some(u32::try_from(index).ok()?),
            _ => return None,
        }
    }
    place
}

/// Whether all samples of a class stand together, class after class.
pub(crate) fn grouped_by_class(labels: &[u32]) -> bool {
    labels.is_sorted() && labels.first() != labels.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_type_are_classes() {
        let of = |array: &Array| labels(array);
        assert_eq!(of(&Array::from_slice(&[3], &[2_u8, 0, 1]).unwrap()), Some(vec![2, 0, 1]));
        assert_eq!(of(&Array::from_slice(&[3, 1], &[2_i64, 0, 1]).unwrap()), Some(vec![2, 0, 1]));
        assert_eq!(of(&Array::from_slice(&[2], &[2_f32, 0.0]).unwrap()), Some(vec![2, 0]));
        assert_eq!(of(&Array::from_slice(&[2], &[2.5_f32, 0.0]).unwrap()), None);
        assert_eq!(of(&Array::from_slice(&[2], &[-1_i8, 1]).unwrap()), None);
        assert_eq!(of(&Array::from_slice(&[1], &[f64::NAN]).unwrap()), None);
    }

    #[test]
    fn one_hot_rows_are_classes() {
        let of = |values: &[f32]| labels(&Array::from_slice(&[values.len() / 3, 3], values).unwrap());
        assert_eq!(of(&[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), Some(vec![2, 0]));
        assert_eq!(of(&[0.0, 0.5, 0.5]), None);
        assert_eq!(of(&[0.0, 1.0, 1.0]), None);
        assert_eq!(of(&[0.0, 0.0, 0.0]), None);
    }

    #[test]
    fn grouping_needs_order_and_two_classes() {
        assert!(grouped_by_class(&[0, 0, 1, 4]));
        assert!(!grouped_by_class(&[0, 1, 0]));
        assert!(!grouped_by_class(&[3, 3]));
        assert!(!grouped_by_class(&[]));
    }
}
