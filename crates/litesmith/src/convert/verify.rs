//! The check after every conversion: the result against the unoptimized source, in our runtime.

use litesmith_formats::mapping;
use litesmith_graph::Model;
use litesmith_quantize::is_quantized;
use litesmith_runtime::{Array, Interpreter, TensorInfo};

use super::samples::Samples;
use super::{ConvertOptions, conditioning};
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

/// What one run gives: the number of samples and each output as real numbers.
pub(super) struct Outputs {
    samples: usize,
    values: Vec<Vec<f32>>,
}

/// Runs a model on the samples of the check.
pub(super) fn outputs(
    model: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Vec<Outputs>, Error> {
    observer.stage("check", samples.count(MOST_SAMPLES));
    let mut interpreter = Interpreter::new(model, &options.run)?;
    // Weights are packed from now on; what was read of the file is not needed any more.
    mapping::release();
    let mut outputs = Vec::new();
    samples.each(MOST_SAMPLES, |arrays, count| {
        go_on(observer)?;
        outputs.push(Outputs { samples: count, values: run(&mut interpreter, samples.inputs(), arrays)? });
        observer.step();
        Ok(())
    })?;
    Ok(outputs)
}

/// Compares the converted model with what the source gave.
pub(super) fn verify(
    (source, expected): (&Model, &[Outputs]),
    converted: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Check, Error> {
    let got = outputs(converted, options, samples, observer)?;
    let check = compare(expected, &got).result(samples.feed().is_some());
    // What was rounded to integers before cannot be had back.
    let exact = match options.quantize {
        Quantization::Keep => Some(FLOAT_TOLERANCE),
        Quantization::None if !is_quantized(source) => Some(FLOAT_TOLERANCE),
        Quantization::Float16 if !is_quantized(source) => Some(FLOAT16_TOLERANCE),
        _ => None,
    };
    let refused = match judge(&check, exact, options.min_snr, observer) {
        Ok(()) => return Ok(check),
        Err(refused) => refused,
    };
    // A model that makes much of the least change cannot be held to a tolerance.
    let pair = conditioning::Pair { source, converted, samples, run: &options.run };
    match exact.map(|tolerance| pair.amplification(tolerance, &check)).transpose()?.flatten() {
        Some(note) => {
            observer.note(&note);
            Ok(check)
        }
        None => Err(refused),
    }
}

/// The outputs, as real numbers, for inputs as `given` describes them.
fn run(
    interpreter: &mut Interpreter,
    given: &[TensorInfo],
    arrays: &[Array],
) -> Result<Vec<Vec<f32>>, Error> {
    let inputs = arrays.iter().zip(given).zip(interpreter.inputs());
    let inputs: Vec<Array> =
        inputs.map(|((array, from), to)| carry_over(array, from, to)).collect::<Result<_, _>>()?;
    let outputs = interpreter.run(&inputs)?;
    Ok(interpreter
        .outputs()
        .iter()
        .zip(&outputs)
        .map(|(info, array)| dequantize_output(info, array))
        .collect())
}

fn compare(expected: &[Outputs], got: &[Outputs]) -> Comparison {
    let mut comparison = Comparison::default();
    for (expected, got) in expected.iter().zip(got) {
        comparison.add(expected.samples, &expected.values, &got.values);
    }
    comparison
}

/// An input that samples are for as a model takes it.
pub(super) fn carry_over(array: &Array, from: &TensorInfo, to: &TensorInfo) -> Result<Array, Error> {
    if from.dtype == to.dtype {
        return Ok(array.clone());
    }
    quantize_input(to, &array.shape, &dequantize_output(from, array))
}

fn judge(
    check: &Check,
    tolerance: Option<f64>,
    min_snr: Option<f64>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let difference = check.max_relative_diff;
    if difference.is_nan() {
        return Err(Error::Check(
            "the converted model, or its source, gives values that are not numbers; nothing was written"
                .into(),
        ));
    }
    if let Some(tolerance) = tolerance.filter(|tolerance| difference > *tolerance) {
        return Err(Error::Check(format!(
            "the converted model differs from its source by {difference:.2e} of the largest output, more than \
             {tolerance:.0e}; nothing was written"
        )));
    }
    let Some(snr) = check.snr_db else { return Ok(()) };
    match min_snr {
        Some(least) if snr < least => Err(Error::Check(format!(
            "the signal-to-noise ratio is {snr:.1} dB, below the {least} dB that were asked for; nothing was written"
        ))),
        None if tolerance.is_none() && snr < POOR_SNR => {
            observer.note(&format!(
                "the signal-to-noise ratio is only {snr:.1} dB: the model may have lost accuracy; evaluate it"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}
