//! What the model said and what it should have said, brought to rows of equal width.
//!
//! Losses and metrics work along the last axis of the predictions: everything before it counts *rows*.
//! A sample is one entry of the first axis, so it has one row or several (the pixels of an image).

use std::borrow::Cow;

use thiserror::Error;

/// What the samples of a batch should give.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A class number for each row. Losses and metrics of categories take them as one-hot rows, others
    /// as numbers.
    Labels(&'a [u32]),
    /// Numbers of this shape, the samples along its first axis.
    Values {
        /// The shape.
        shape: &'a [usize],
        /// The numbers, the last axis running fastest.
        values: &'a [f32],
    },
}

impl Targets<'_> {
    fn shape(&self) -> Vec<usize> {
        match self {
            Targets::Labels(labels) => vec![labels.len()],
            Targets::Values { shape, .. } => shape.to_vec(),
        }
    }
}

/// What a model gave for some samples, and what it should have given.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Shape of the predictions, the samples along its first axis. Of one axis only, it is taken as
    /// `[samples, 1]` (Keras would take all samples for one row).
    pub shape: &'a [usize],
    /// The predictions, the last axis running fastest.
    pub predictions: &'a [f32],
    /// The targets.
    pub targets: Targets<'a>,
    /// A weight for each sample or for each row; 1 where left out.
    pub weights: Option<&'a [f32]>,
}

/// Why targets and predictions do not fit each other.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A label that is no class of the model.
    #[error("sample {sample} has label {label}, but the model's output has {classes} classes, 0 to {}", classes - 1)]
    Label {
        /// The sample.
        sample: usize,
        /// The label.
        label: f64,
        /// Number of classes.
        classes: usize,
    },
    /// One-hot rows of another width than the output's.
    #[error("the targets have {targets} classes, but the model's output has {predictions}")]
    Classes {
        /// Number of classes that the targets have.
        targets: usize,
        /// Number of classes that the output has.
        predictions: usize,
    },
    /// Shapes that do not go together.
    #[error("{name}: targets of shape {targets:?} do not fit an output of shape {predictions:?}; {hint}")]
    Shape {
        /// The loss or metric.
        name: String,
        /// Shape of the targets.
        targets: Vec<usize>,
        /// Shape of the output.
        predictions: Vec<usize>,
        /// What would fit.
        hint: String,
    },
    /// Weights that are not one for each sample or row.
    #[error("there are {got} weights for {samples} samples{}", if rows == samples { String::new() } else { format!(" of {rows} targets") })]
    Weights {
        /// Number of weights.
        got: usize,
        /// Number of samples.
        samples: usize,
        /// Number of rows.
        rows: usize,
    },
    /// A slice that is not as long as its shape says.
    #[error("the {what} of shape {shape:?} are {got} numbers")]
    Length {
        /// `predictions`, `targets` or `gradient`.
        what: &'static str,
        /// The shape.
        shape: Vec<usize>,
        /// Number of elements.
        got: usize,
    },
    /// A loss that is no number, or infinite.
    #[error(
        "the loss '{name}' of sample {sample} is {value}: the model's output there is {output}; a lower \
         learning rate or clipping gradients may help, and the data should be looked at"
    )]
    NotFinite {
        /// The loss.
        name: String,
        /// The sample.
        sample: usize,
        /// NaN or an infinity.
        value: f64,
        /// One of its predictions, that is not finite where there is such a one.
        output: f32,
    },
}

impl TargetError {
    /// The same error with samples told by their places in the data set, of which `indices` holds the
    /// batch's.
    #[must_use]
    pub fn of_samples(mut self, indices: &[usize]) -> TargetError {
        if let TargetError::Label { sample, .. } | TargetError::NotFinite { sample, .. } = &mut self {
            *sample = indices.get(*sample).copied().unwrap_or(*sample);
        }
        self
    }
}

/// Predictions and targets row by row.
#[derive(Clone, Debug)]
pub(crate) struct Rows<'a> {
    /// Number of rows.
    pub count: usize,
    /// Number of rows of each sample.
    pub per_sample: usize,
    /// Elements of a row of predictions.
    pub width: usize,
    pub predictions: &'a [f32],
    pub targets: RowTargets<'a>,
    pub weights: Option<&'a [f32]>,
}

/// The targets of the rows.
#[derive(Clone, Debug)]
pub(crate) enum RowTargets<'a> {
    /// A class number for each row, that may be any number.
    Classes(Cow<'a, [f32]>),
    /// As many numbers for each row as there are predictions.
    Values(Cow<'a, [f32]>),
    /// One-hot rows, told by the place of their 1.
    OneHot(&'a [u32]),
}

/// How a loss or metric reads targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A class number for each row.
    Classes,
    /// A number for each prediction; labels stand for one-hot rows.
    Categories,
    /// A number for each prediction.
    Numbers,
}

impl<'a> Rows<'a> {
    /// Brings a batch to rows by Keras' rules: a missing or additional last axis of 1 is mended
    /// (`squeeze_or_expand_to_same_rank` in `keras/src/losses/loss.py`). Keras goes on to broadcast what
    /// still differs, which is nearly always a mistake and is refused here.
    pub(crate) fn new(name: &str, batch: &Batch<'a>, reading: Reading) -> Result<Rows<'a>, TargetError> {
        let single;
        let mut shape = match batch.shape {
            [samples] => {
                single = [*samples, 1];
                &single[..]
            }
            shape => shape,
        };
        check_length("predictions", batch.shape, batch.predictions.len())?;
        let targets = batch.targets.shape();
        if let Targets::Values { shape, values } = batch.targets {
            check_length("targets", shape, values.len())?;
        }
        if reading == Reading::Numbers
            && targets.len() + 1 == shape.len()
            && targets.len() > 1
            && shape.last() == Some(&1)
        {
            // An output [samples, n, 1] for targets [samples, n] is rows of n.
            shape = &shape[..shape.len() - 1];
        }
        let misfit = || TargetError::Shape {
            name: name.to_owned(),
            targets: targets.clone(),
            predictions: batch.shape.to_vec(),
            hint: hint(reading, batch.shape),
        };
        let [front @ .., width] = shape else { return Err(misfit()) };
        let (width, count) = (*width, front.iter().product::<usize>());
        let samples = front.first().copied().unwrap_or(0);
        if width == 0 || count == 0 {
            return Err(misfit());
        }
        let same = |targets: &[usize]| targets == shape || (width == 1 && targets == front);
        let row_targets = match (reading, batch.targets) {
            (Reading::Classes, Targets::Labels(labels)) if labels.len() == count => {
                RowTargets::Classes(labels.iter().map(|label| *label as f32).collect())
            }
            (Reading::Classes, Targets::Values { shape: [own @ .., 1], values }) if own == front => {
                RowTargets::Classes(Cow::Borrowed(values))
            }
            (Reading::Classes, Targets::Values { shape: own, values }) if own == front => {
                RowTargets::Classes(Cow::Borrowed(values))
            }
            (Reading::Categories, Targets::Labels(labels)) if labels.len() == count && width > 1 => {
                RowTargets::OneHot(labels)
            }
            (Reading::Numbers, Targets::Labels(labels)) if labels.len() == count && width == 1 => {
                RowTargets::Values(labels.iter().map(|label| *label as f32).collect())
            }
            (Reading::Categories | Reading::Numbers, Targets::Values { shape: own, values }) if same(own) => {
                RowTargets::Values(Cow::Borrowed(values))
            }
            (Reading::Numbers, Targets::Values { shape: [own @ .., 1], values }) if own == shape => {
                RowTargets::Values(Cow::Borrowed(values))
            }
            (Reading::Categories, Targets::Values { shape: [own @ .., classes], .. })
                if own == front && *classes > 1 =>
            {
                return Err(TargetError::Classes { targets: *classes, predictions: width });
            }
            _ => return Err(misfit()),
        };
        if let Some(weights) = batch.weights
            && weights.len() != samples
            && weights.len() != count
        {
            return Err(TargetError::Weights { got: weights.len(), samples, rows: count });
        }
        Ok(Rows {
            count,
            per_sample: count / samples,
            width,
            predictions: batch.predictions,
            targets: row_targets,
            weights: batch.weights,
        })
    }

    pub(crate) fn prediction(&self, row: usize) -> &[f32] {
        &self.predictions[row * self.width..][..self.width]
    }

    pub(crate) fn weight(&self, row: usize) -> f64 {
        match self.weights {
            None => 1.0,
            Some(weights) if weights.len() == self.count => f64::from(weights[row]),
            Some(weights) => f64::from(weights[row / self.per_sample]),
        }
    }

    /// The class of a row, if it is one.
    pub(crate) fn class(&self, row: usize) -> Option<usize> {
        match &self.targets {
            RowTargets::Classes(classes) => {
                let class = classes[row];
                let whole = class >= 0.0 && class.fract() == 0.0 && class < self.width as f32;
                whole.then_some(class as usize)
            }
            RowTargets::OneHot(labels) => Some(labels[row] as usize).filter(|label| *label < self.width),
            RowTargets::Values(_) => None,
        }
    }

    /// The number that stands for the class of a row.
    pub(crate) fn class_number(&self, row: usize) -> f64 {
        match &self.targets {
            RowTargets::Classes(classes) => f64::from(classes[row]),
            RowTargets::OneHot(labels) => f64::from(labels[row]),
            RowTargets::Values(_) => f64::NAN,
        }
    }

    /// Refuses class numbers that are no class, but for `ignored`.
    pub(crate) fn check_classes(&self, ignored: Option<i64>) -> Result<(), TargetError> {
        if matches!(self.targets, RowTargets::Values(_)) {
            return Ok(());
        }
        let ignored = ignored.map(|class| class as f64);
        for row in 0..self.count {
            let label = self.class_number(row);
            if self.class(row).is_none() && ignored != Some(label) {
                let sample = row / self.per_sample;
                return Err(TargetError::Label { sample, label, classes: self.width });
            }
        }
        Ok(())
    }

    /// The numbers that a row should have; `buffer` is where a one-hot row is made.
    pub(crate) fn numbers<'b>(&'b self, row: usize, buffer: &'b mut Vec<f32>) -> &'b [f32] {
        match &self.targets {
            RowTargets::Values(values) => &values[row * self.width..][..self.width],
            RowTargets::OneHot(_) | RowTargets::Classes(_) => {
                buffer.clear();
                buffer.resize(self.width, 0.0);
                if let Some(class) = self.class(row) {
                    buffer[class] = 1.0;
                }
                buffer
            }
        }
    }

    /// All targets that are numbers.
    pub(crate) fn all_numbers(&self) -> &[f32] {
        match &self.targets {
            RowTargets::Values(values) => values,
            RowTargets::Classes(_) | RowTargets::OneHot(_) => &[],
        }
    }
}

fn check_length(what: &'static str, shape: &[usize], got: usize) -> Result<(), TargetError> {
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if elements == Some(got) { Ok(()) } else { Err(TargetError::Length { what, shape: shape.to_vec(), got }) }
}

fn hint(reading: Reading, shape: &[usize]) -> String {
    let front = &shape[..shape.len().saturating_sub(1)];
    match reading {
        Reading::Classes => format!(
            "it takes one class number for each row, of shape {front:?}; one-hot rows are for \
             categorical_crossentropy and categorical_accuracy"
        ),
        Reading::Categories => format!(
            "it takes one-hot rows of shape {shape:?} or class numbers, and an output of two classes or \
             more; binary_crossentropy is for one"
        ),
        Reading::Numbers => format!(
            "it takes numbers of shape {shape:?}; class numbers are for sparse_categorical_crossentropy and \
             sparse_categorical_accuracy"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<'a>(shape: &'a [usize], targets: Targets<'a>, reading: Reading) -> Result<Rows<'a>, TargetError> {
        const SOME: [f32; 64] = [0.0; 64];
        let predictions = &SOME[..shape.iter().product()];
        Rows::new("loss", &Batch { shape, predictions, targets, weights: None }, reading)
    }

    fn values<'a>(shape: &'a [usize], numbers: &'a [f32]) -> Targets<'a> {
        Targets::Values { shape, values: &numbers[..shape.iter().product()] }
    }

    #[test]
    fn a_last_axis_of_one_is_mended() {
        const N: [f32; 64] = [1.0; 64];
        let layout = |shape: &[usize], targets: &[usize], reading: Reading| {
            let rows = rows(shape, values(targets, &N), reading).ok()?;
            Some((rows.count, rows.width))
        };
        assert_eq!(layout(&[4, 1], &[4], Reading::Numbers), Some((4, 1)));
        assert_eq!(layout(&[4], &[4], Reading::Numbers), Some((4, 1)));
        assert_eq!(layout(&[4], &[4, 1], Reading::Numbers), Some((4, 1)));
        assert_eq!(layout(&[4, 3], &[4, 3, 1], Reading::Numbers), Some((4, 3)));
        assert_eq!(layout(&[4, 3, 1], &[4, 3], Reading::Numbers), Some((4, 3)));
        assert_eq!(layout(&[4, 3], &[4, 1], Reading::Classes), Some((4, 3)));
        assert_eq!(layout(&[4, 2, 3], &[4, 2], Reading::Classes), Some((8, 3)));
        assert_eq!(layout(&[4, 3], &[4, 1], Reading::Numbers), None, "no broadcasting");
        assert_eq!(layout(&[4, 3], &[4, 3], Reading::Classes), None);
        assert_eq!(layout(&[0, 3], &[0, 3], Reading::Numbers), None);
        assert_eq!(layout(&[], &[], Reading::Numbers), None);
    }

    #[test]
    fn labels_are_classes_one_hot_rows_or_numbers() {
        let labels = Targets::Labels(&[2, 0]);
        assert_eq!(rows(&[2, 3], labels, Reading::Classes).unwrap().class(0), Some(2));
        let one_hot = rows(&[2, 3], labels, Reading::Categories).unwrap();
        assert_eq!(one_hot.numbers(0, &mut Vec::new()), [0.0, 0.0, 1.0]);
        let numbers = rows(&[2, 1], labels, Reading::Numbers).unwrap();
        assert_eq!(numbers.all_numbers(), [2.0, 0.0]);
        assert!(rows(&[3, 3], labels, Reading::Classes).is_err());
    }

    #[test]
    fn errors_say_what_does_not_fit() {
        let classes = rows(&[3, 4], values(&[3], &[0.0, 4.0, 1.0]), Reading::Classes).unwrap();
        let error = classes.check_classes(None).unwrap_err();
        assert_eq!(error.to_string(), "sample 1 has label 4, but the model's output has 4 classes, 0 to 3");
        assert!(error.of_samples(&[7, 8, 9]).to_string().starts_with("sample 8"));
        assert_eq!(classes.check_classes(Some(4)), Ok(()));
        let halves = rows(&[1, 4], values(&[1], &[0.5]), Reading::Classes).unwrap();
        assert!(halves.check_classes(None).is_err());
        let error = rows(&[2, 4], values(&[2, 3], &[0.0; 6]), Reading::Categories).unwrap_err();
        assert_eq!(error, TargetError::Classes { targets: 3, predictions: 4 });
        let weights = Some(&[1.0f32; 3][..]);
        let batch =
            Batch { shape: &[2, 4], predictions: &[0.0; 8], targets: Targets::Labels(&[0, 0]), weights };
        let error = Rows::new("loss", &batch, Reading::Classes).unwrap_err();
        assert_eq!(error.to_string(), "there are 3 weights for 2 samples");
    }
}
