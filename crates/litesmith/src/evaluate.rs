//! `evaluate`: accuracy and loss on labelled data.

use std::path::Path;

use litesmith_runtime::{Interpreter, Options as RunOptions};
use serde::Serialize;

use crate::error::Error;
use crate::feed::{DataOptions, Feed, dequantize_output};
use crate::observer::{Observer, go_on};
use crate::run::largest;

/// How well a classifier does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EvaluateResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Share of samples whose largest output is their class.
    pub accuracy: f64,
    /// Share of samples whose class is among the five largest outputs.
    pub top5: f64,
    /// Mean cross-entropy, in nats. Outputs that sum to one are taken as probabilities, others as
    /// logits.
    pub loss: f64,
    /// Number of samples.
    pub samples: usize,
    /// The class that the model gives each sample.
    #[serde(skip)]
    pub classes: Vec<usize>,
}

/// Runs a classifier on labelled samples.
///
/// # Errors
/// If the model or the data cannot be read or do not fit each other, the data have no labels, or the
/// first output is not one vector for each sample.
pub fn evaluate(
    model: &Path,
    data: &DataOptions,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<EvaluateResult, Error> {
    let (model_file, ahead) = crate::source::read_to_run(model, options)?;
    let mut interpreter = Interpreter::new(&model_file, options)?;
    drop(ahead);
    let feed = Feed::open(&model_file, interpreter.inputs(), data)?;
    if feed.dataset.labels().is_none() {
        return Err(Error::Usage(format!("{}: the data have no labels", data.path.display())));
    }
    let mut sums = Sums::default();
    observer.stage("evaluate", feed.len());
    for fed in feed.batches()? {
        go_on(observer)?;
        let fed = fed?;
        let outputs = fed.run(&mut interpreter)?;
        let (Some(info), Some(output)) = (interpreter.outputs().first(), outputs.first()) else {
            return Err(Error::Broken("the model has no output".into()));
        };
        let [samples, classes] = output.shape[..] else {
            return Err(Error::Usage(format!(
                "output '{}' of shape {:?} is not one vector per sample",
                info.name, output.shape
            )));
        };
        let values = dequantize_output(info, output);
        for (row, label) in values.chunks(classes.max(1)).zip(fed.labels.iter().flatten()).take(samples) {
            sums.add(row, *label as usize, &info.name)?;
        }
        (0..fed.samples).for_each(|_| observer.step());
    }
    Ok(sums.result())
}

#[derive(Default)]
struct Sums {
    right: usize,
    among_five: usize,
    loss: f64,
    classes: Vec<usize>,
}

impl Sums {
    fn add(&mut self, row: &[f32], label: usize, output: &str) -> Result<(), Error> {
        if label >= row.len() {
            let classes = row.len();
            return Err(Error::Broken(format!(
                "a label is {label}, but output '{output}' has {classes} classes"
            )));
        }
        let best = largest(row, 5);
        self.right += usize::from(best.first() == Some(&label));
        self.among_five += usize::from(best.contains(&label));
        self.loss += cross_entropy(row, label);
        self.classes.extend(best.first());
        Ok(())
    }

    fn result(self) -> EvaluateResult {
        let samples = self.classes.len();
        let share = |count: f64| count / samples.max(1) as f64;
        EvaluateResult {
            schema_version: 1,
            accuracy: share(self.right as f64),
            top5: share(self.among_five as f64),
            loss: share(self.loss),
            samples,
            classes: self.classes,
        }
    }
}

/// `-log p(label)`; Keras clips probabilities at 1e-7.
fn cross_entropy(row: &[f32], label: usize) -> f64 {
    const SMALLEST: f64 = 1e-7;
    // Room for probabilities on an 8-bit grid, each rounded by up to 1/512.
    const TOLERANCE: f64 = 0.05;
    let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
    if row.iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x)) && (sum - 1.0).abs() < TOLERANCE {
        return -(f64::from(row[label]) / sum).clamp(SMALLEST, 1.0 - SMALLEST).ln();
    }
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
    exponentials.ln() - f64::from(row[label] - largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_and_logits_give_the_same_loss() {
        let logits = [1.0f32, 2.0, 4.0];
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        let probabilities = logits.map(|x| x.exp() / sum);
        for label in 0..3 {
            assert!((cross_entropy(&logits, label) - cross_entropy(&probabilities, label)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_label_beyond_the_classes_is_refused() {
        let mut sums = Sums::default();
        sums.add(&[0.0, 1.0], 1, "y").unwrap();
        assert!(sums.add(&[0.0, 1.0], 2, "y").is_err());
        assert_eq!(sums.result().accuracy, 1.0);
    }
}
