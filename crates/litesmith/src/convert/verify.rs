//! The check after every conversion: the result against the unoptimized source, in our runtime.

use litesmith_graph::Model;
use litesmith_quantize::is_quantized;
use litesmith_runtime::{Array, Interpreter, TensorInfo};

use super::ConvertOptions;
use super::samples::Samples;
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

pub(super) fn verify(
    source: &Model,
    converted: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Check, Error> {
    let mut pair = Pair {
        inputs: samples.inputs(),
        source: Interpreter::new(source, &options.run)?,
        converted: Interpreter::new(converted, &options.run)?,
        comparison: Comparison::default(),
    };
    let check = match samples.feed() {
        Some(feed) => {
            observer.stage("check", feed.len().min(MOST_SAMPLES));
            for fed in feed.batches()?.take(MOST_SAMPLES) {
                go_on(observer)?;
                let fed = fed?;
                pair.compare(&fed.arrays, fed.samples)?;
                observer.step();
            }
            pair.comparison.result(true)
        }
        None => {
            let seeded = samples.seeded()?;
            observer.stage("check", seeded.len());
            for arrays in seeded {
                go_on(observer)?;
                pair.compare(&arrays, 1)?;
                observer.step();
            }
            pair.comparison.result(false)
        }
    };
    // What was rounded to integers before cannot be had back.
    let exact = match options.quantize {
        Quantization::Keep => Some(FLOAT_TOLERANCE),
        Quantization::None if !is_quantized(source) => Some(FLOAT_TOLERANCE),
        Quantization::Float16 if !is_quantized(source) => Some(FLOAT16_TOLERANCE),
        _ => None,
    };
    judge(&check, exact, options.min_snr, observer)?;
    Ok(check)
}

struct Pair<'a> {
    /// The inputs that samples are for.
    inputs: &'a [TensorInfo],
    source: Interpreter,
    converted: Interpreter,
    comparison: Comparison,
}

impl Pair<'_> {
    fn compare(&mut self, arrays: &[Array], samples: usize) -> Result<(), Error> {
        let carried = |to: &[TensorInfo]| -> Result<Vec<Array>, Error> {
            let inputs = arrays.iter().zip(self.inputs).zip(to);
            inputs.map(|((array, from), to)| carry_over(array, from, to)).collect()
        };
        let (source, converted) = (carried(self.source.inputs())?, carried(self.converted.inputs())?);
        let (expected, got) = (self.source.run(&source)?, self.converted.run(&converted)?);
        let real = |infos: &[TensorInfo], arrays: &[Array]| -> Vec<Vec<f32>> {
            infos.iter().zip(arrays).map(|(info, array)| dequantize_output(info, array)).collect()
        };
        let (expected, got) = (real(self.source.outputs(), &expected), real(self.converted.outputs(), &got));
        self.comparison.add(samples, &expected, &got);
        Ok(())
    }
}

/// An input that samples are for as a model takes it.
fn carry_over(array: &Array, from: &TensorInfo, to: &TensorInfo) -> Result<Array, Error> {
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
