//! Weights of classes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::target::Targets;

/// A weight for each class; 1 for those that are not named.
///
/// As in Keras (`class_weight_to_sample_weights` in
/// `keras/src/trainers/data_adapters/data_adapter_utils.py`), they become weights of samples: of the
/// class, which is the label or the place of the largest element of a row. Keras takes either these or
/// weights of samples, not both.
///
/// As JSON they are an object from classes to weights, as in `{"0": 1.0, "3": 2.5}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<i64, f32>", into = "BTreeMap<i64, f32>")]
pub struct ClassWeights(BTreeMap<i64, f32>);

impl TryFrom<BTreeMap<i64, f32>> for ClassWeights {
    type Error = ConfigError;

    /// Takes weights that are finite and not below 0.
    fn try_from(weights: BTreeMap<i64, f32>) -> Result<ClassWeights, ConfigError> {
        match weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0)) {
            None => Ok(ClassWeights(weights)),
            Some((class, weight)) => Err(ConfigError::Value {
                what: "weights".to_owned(),
                name: "class weights".to_owned(),
                option: class.to_string(),
                expected: "a number of at least 0".to_owned(),
                got: weight.to_string(),
            }),
        }
    }
}

impl From<ClassWeights> for BTreeMap<i64, f32> {
    fn from(weights: ClassWeights) -> BTreeMap<i64, f32> {
        weights.0
    }
}

impl ClassWeights {
    /// The weights of the samples with these targets.
    ///
    /// `None` where targets are neither one number nor one row for each sample, which Keras refuses.
    #[must_use]
    pub fn of_samples(&self, targets: &Targets<'_>) -> Option<Vec<f32>> {
        let weight = |class: i64| self.0.get(&class).copied().unwrap_or(1.0);
        match targets {
            Targets::Labels(labels) => Some(labels.iter().map(|label| weight(i64::from(*label))).collect()),
            Targets::Values { shape: [_] | [_, 1], values } => {
                Some(values.iter().map(|label| weight(label.round_ties_even() as i64)).collect())
            }
            Targets::Values { shape: [_, classes], values } if *classes > 0 => {
                Some(values.chunks_exact(*classes).map(|row| weight(largest(row))).collect())
            }
            Targets::Values { .. } => None,
        }
    }
}

/// The place of the first of the largest elements.
fn largest(row: &[f32]) -> i64 {
    let best = row
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (index, &x)| if x > best.1 { (index, x) } else { best });
    best.0 as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_weigh_what_their_class_does() {
        let weights: ClassWeights = serde_json::from_str(r#"{"0": 2.0, "2": 0.5}"#).unwrap();
        assert_eq!(weights.of_samples(&Targets::Labels(&[0, 1, 2])), Some(vec![2.0, 1.0, 0.5]));
        let values = |shape, values| Targets::Values { shape, values };
        assert_eq!(weights.of_samples(&values(&[2, 1], &[2.0, 0.0])), Some(vec![0.5, 2.0]));
        let rows = [0.0, 1.0, 0.0, 0.1, 0.2, 0.7];
        assert_eq!(weights.of_samples(&values(&[2, 3], &rows)), Some(vec![1.0, 0.5]));
        assert_eq!(weights.of_samples(&values(&[1, 2, 3], &rows)), None);
        assert_eq!(serde_json::to_string(&weights).unwrap(), r#"{"0":2.0,"2":0.5}"#);
        assert!(serde_json::from_str::<ClassWeights>(r#"{"0": -1}"#).is_err());
    }
}
