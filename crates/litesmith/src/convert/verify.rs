//! The check after every conversion: the result against the unoptimized source, in our runtime.

use litesmith_formats::mapping;
use litesmith_graph::Model;
use litesmith_quantize::is_quantized;
use litesmith_runtime::{Array, Interpreter, TensorInfo};

use super::samples::Samples;
use super::{ConvertOptions, conditioning, conditioning::Sketches};
use crate::Quantization;
use crate::check::{Check, Comparison};
use crate::error::Error;
use crate::feed::{dequantize_output, quantize_input};
use crate::observer::{Observer, go_on};

/// Most calibration samples that the check runs on.
const MOST_SAMPLES: usize = 32;

/// Largest difference that rounding may make, as a share of the largest output.
const FLOAT_TOLERANCE: f64 = 1e-4;
const FLOAT16_TOLERANCE: f64 = 1e-2;

/// Signal-to-noise ratio in dB below which the user is warned.
const POOR_SNR: f64 = 15.0;

/// What a model gives on the samples of the check.
pub(super) struct Outputs {
    runs: Vec<Run>,
    /// Activations of the first run, where they are asked for.
    sketches: Sketches,
}

/// What one run gives: the number of samples and each output as real numbers.
struct Run {
    samples: usize,
    values: Vec<Vec<f32>>,
}

/// Runs the source, before it is converted.
pub(super) fn outputs_of_source(
    source: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Outputs, Error> {
    outputs(source, options, samples, observer, tolerance(source, options).is_some())
}

fn outputs(
    model: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
    sketched: bool,
) -> Result<Outputs, Error> {
    observer.stage("check", samples.count(MOST_SAMPLES));
    let mut interpreter = Interpreter::unplanned(model, &options.run)?;
    // What the weights were read from is not needed any more.
    mapping::release();
    let mut outputs = Outputs { runs: Vec::new(), sketches: Sketches::new() };
    samples.each(MOST_SAMPLES, |arrays, count| {
        go_on(observer)?;
        let inputs = inputs_for(&interpreter, samples.inputs(), arrays)?;
        let arrays = if sketched && outputs.runs.is_empty() {
            let (arrays, sketches) = conditioning::sketch(&mut interpreter, model, &inputs)?;
            outputs.sketches = sketches;
            arrays
        } else {
            interpreter.run(&inputs)?
        };
        let values = interpreter.outputs().iter().zip(&arrays);
        let values = values.map(|(info, array)| dequantize_output(info, array)).collect();
        outputs.runs.push(Run { samples: count, values });
        observer.step();
        Ok(())
    })?;
    Ok(outputs)
}

/// Compares the converted model with what the source gave. The model comes back as it was.
pub(super) fn verify(
    (source, expected): (&Model, &Outputs),
    converted: &mut Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Check, Error> {
    let got = outputs(converted, options, samples, observer, false)?;
    let check = compare(&expected.runs, &got.runs).result(samples.feed().is_some());
    let tolerance = tolerance(source, options);
    if let Some(tolerance) = tolerance.filter(|tolerance| check.max_relative_diff > *tolerance) {
        let difference = check.max_relative_diff;
        // A model that makes much of the least change cannot be held to a tolerance.
        let mut note = None;
        samples.each(1, |arrays, _| {
            let interpreter = Interpreter::unplanned(converted, &options.run)?;
            let inputs = inputs_for(&interpreter, samples.inputs(), arrays)?;
            let found = (difference, tolerance);
            note = conditioning::amplification(&expected.sketches, converted, &inputs, &options.run, found)?;
            Ok(())
        })?;
        let Some(note) = note else {
            return Err(Error::Check(format!(
                "the converted model differs from its source by {difference:.2e} of the largest output, more than \
                 {tolerance:.0e}; nothing was written"
            )));
        };
        observer.note(&note);
    }
    judge(&check, tolerance.is_some(), options.min_snr, observer)?;
    Ok(check)
}

/// Largest difference that a conversion may make; `None` where weights or activations are rounded.
fn tolerance(source: &Model, options: &ConvertOptions) -> Option<f64> {
    match options.quantize {
        Quantization::Keep => Some(FLOAT_TOLERANCE),
        // What was rounded to integers before cannot be had back.
        Quantization::None if !is_quantized(source) => Some(FLOAT_TOLERANCE),
        Quantization::Float16 if !is_quantized(source) => Some(FLOAT16_TOLERANCE),
        _ => None,
    }
}

/// Inputs, as `given` describes them, as a model takes them.
fn inputs_for(
    interpreter: &Interpreter,
    given: &[TensorInfo],
    arrays: &[Array],
) -> Result<Vec<Array>, Error> {
    let inputs = arrays.iter().zip(given).zip(interpreter.inputs());
    inputs.map(|((array, from), to)| carry_over(array, from, to)).collect()
}

fn compare(expected: &[Run], got: &[Run]) -> Comparison {
    let mut comparison = Comparison::default();
    for (expected, got) in expected.iter().zip(got) {
        comparison.add(expected.samples, &expected.values, &got.values);
    }
    comparison
}

/// An input that samples are for as a model takes it.
fn carry_over(array: &Array, from: &TensorInfo, to: &TensorInfo) -> Result<Array, Error> {
    if from.dtype == to.dtype {
        return Ok(array.clone());
    }
    quantize_input(to, &array.shape, &dequantize_output(from, array))
}

fn judge(check: &Check, exact: bool, min_snr: Option<f64>, observer: &dyn Observer) -> Result<(), Error> {
    if check.max_relative_diff.is_nan() {
        return Err(Error::Check(
            "the converted model, or its source, gives values that are not numbers; nothing was written"
                .into(),
        ));
    }
    let Some(snr) = check.snr_db else { return Ok(()) };
    match min_snr {
        Some(least) if snr < least => Err(Error::Check(format!(
            "the signal-to-noise ratio is {snr:.1} dB, below the {least} dB that were asked for; nothing was written"
        ))),
        None if !exact && snr < POOR_SNR => {
            observer.note(&format!(
                "the signal-to-noise ratio is only {snr:.1} dB: the model may have lost accuracy; evaluate it"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}
