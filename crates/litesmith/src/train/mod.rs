//! `train`: trains or fine-tunes a model.

mod learner;
mod options;
mod outcome;
mod pruned;
mod simulated;
mod started;
mod watch;

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use litesmith_data::{Dataset, InputSpec};
use litesmith_formats::{keras, mapping};
use litesmith_graph::{Format, Model};
use litesmith_train::{Loss, Objective, Position, Setup, fit, restore};

pub use learner::{Learner, Weight};
pub use options::{PerOutput, TrainOptions};
pub use outcome::{EpochResult, SimulatedParts, StepOperator, StepTime, TrainResult};
pub use pruned::PruneTraining;
pub use simulated::QuantizeAware;

use crate::Quantization;
use crate::convert::write::put;
use crate::convert::{ConvertOptions, convert_model};
use crate::error::Error;
use crate::feed::{DataOptions, element_type};
use crate::learnt::Learnt;
use crate::observer::{Observer, go_on};
use crate::process::peak_rss_mb;
use options::output_names;
use simulated::agreement;
use started::Started;
use watch::Watch;

/// Trains the model of a Keras or ONNX file on labelled data and writes the file with its new weights.
///
/// Beside `output`, a file `output.checkpoint` holds all that is needed to go on where training was when it
/// was interrupted; it goes when training ends.
///
/// # Errors
/// If the model or the data cannot be read, do not fit each other or cannot be trained; if a loss is no
/// number. Where training was interrupted, the checkpoint stays and `output` is not written.
pub fn train(
    input: &Path,
    output: &Path,
    options: &TrainOptions,
    observer: &dyn Observer,
) -> Result<TrainResult, Error> {
    let start = Instant::now();
    let original = mapping::open(input)?;
    let model = crate::source::read(input)?;
    check_formats(&model, input, output)?;
    observer.stage("read", 0);
    let (training, validation) = datasets(&model, options)?;
    let fit_options = options.fit_options(training.len());
    let mut started = Started::new(&model, &original, options, &training, None, observer)?;
    let about = fingerprint(&original, started.trainer.setup(), &training, options);
    go_on(observer)?;
    let checkpoint = output.with_added_extension("checkpoint");
    let position = match options.resume && checkpoint.exists() {
        true => {
            let bytes = std::fs::read(&checkpoint).map_err(|error| Error::io(&checkpoint, &error))?;
            let restored = restore(&mut started.trainer, &bytes, &about);
            let (position, masks) = restored.map_err(|error| Error::from(error).about(&checkpoint))?;
            if let Some(pruning) = &mut started.pruning {
                pruning.restore(&masks).map_err(|error| Error::from(error).about(&checkpoint))?;
            }
            position
        }
        false => Position::default(),
    };
    let mut watch = Watch::new(observer, Some(&checkpoint), &about, started.pruning.take());
    let position =
        fit(&mut started.trainer, &training, validation.as_ref(), &fit_options, position, &mut watch)?;
    let (times, stopped, pruning) = watch.finish();
    if stopped {
        return Err(Error::Paused(checkpoint));
    }
    if let Some(pruning) = &pruning {
        // The weights behind the best epoch may be from before the last masks.
        pruning.apply(&mut started.trainer);
    }
    let (trained, learnt) = started.finish(&training, observer)?;
    let held_out = validation.as_ref().unwrap_or(&training);
    let Started { mut trainer, simulated, .. } = started;
    let agreement = match &learnt {
        Some(learnt) => Some(agreement(&mut trainer, &trained, learnt, held_out, &options.run, observer)?),
        None => None,
    };
    observer.stage("write", 0);
    write((input, &original), trained, learnt.as_ref(), output, observer)?;
    // Training is complete: nothing is left to go on with.
    let _ = std::fs::remove_file(&checkpoint);
    let mut result =
        TrainResult::new(&trainer, position, times, training.len(), start.elapsed(), peak_rss_mb());
    result.integer_agreement = agreement;
    result.simulated = simulated.map(|simulated| simulated.parts);
    result.pruned = pruning.map(|pruning| pruning.outcomes()).unwrap_or_default();
    Ok(if options.profile { result.with_profile(&trainer) } else { result })
}

/// Weights are written into a copy of the file that they came from.
fn check_formats(model: &Model, input: &Path, output: &Path) -> Result<(), Error> {
    let extension = output.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    let (own, expected) = match model.source.format {
        Format::Keras => ("a .keras file", "keras"),
        Format::H5 => ("an .h5 file", "h5"),
        Format::Onnx => ("an .onnx file", "onnx"),
        format => {
            let reason = format!(
                "{}: a model read from {format:?} cannot be trained; start from a Keras or ONNX file",
                input.display()
            );
            return Err(Error::Usage(reason));
        }
    };
    if extension != expected {
        let output = output.display();
        return Err(Error::Usage(format!("{output}: what was {own} is written as one again, .{expected}")));
    }
    Ok(())
}

/// A copy of the file `original` with the weights of `model`, and with what it has learnt.
fn file_bytes(original: &Bytes, model: &Model, learnt: Option<&Learnt>) -> Result<Vec<u8>, Error> {
    Ok(match (model.source.format, learnt) {
        (Format::H5, _) => keras::write_h5(original, model)?,
        (Format::Keras, Some(learnt)) => learnt.write(original, model)?,
        (Format::Keras, None) => keras::write_keras(original, model, &[])?,
        (format, _) => {
            return Err(Error::Usage(format!(
                "a model read from {format:?} cannot be written as a Keras file; convert it to .tflite or .onnx"
            )));
        }
    })
}

/// Writes the model that was read from the bytes `original` of `input`, with its new weights.
///
/// An ONNX file is written from the model, since its nodes have become other ones.
fn write(
    (input, original): (&Path, &Bytes),
    model: Model,
    learnt: Option<&Learnt>,
    output: &Path,
    observer: &dyn Observer,
) -> Result<(), Error> {
    if model.source.format == Format::Onnx {
        let options = ConvertOptions::new(Quantization::None);
        return convert_model((model.clone(), model), input, output, &options, observer).map(drop);
    }
    put(output, &file_bytes(original, &model, learnt)?)
}

/// The data to learn from, and those to validate on: a set of its own, or the last ones of the first, as
/// Keras splits.
fn datasets(model: &Model, options: &TrainOptions) -> Result<(Dataset, Option<Dataset>), Error> {
    let all = open(model, &options.data)?;
    if let Some(validation) = &options.validation {
        return Ok((all, Some(open(model, validation)?)));
    }
    let share = options.validation_split;
    if !(0.0..1.0).contains(&share) {
        return Err(Error::Usage(format!("a validation split of {share} is none: it must be below 1")));
    }
    if share == 0.0 {
        return Ok((all, None));
    }
    let kept = (all.len() as f64 * (1.0 - share)).floor() as usize;
    if kept == 0 || kept == all.len() {
        let (samples, share) = (all.len(), share);
        return Err(Error::Usage(format!(
            "a validation split of {share} leaves nothing of {samples} samples"
        )));
    }
    let (first, rest): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|index| *index < kept);
    Ok((all.subset(&first)?, Some(all.subset(&rest)?)))
}

fn open(model: &Model, data: &DataOptions) -> Result<Dataset, Error> {
    let graph = model.main();
    let spec = |id: &litesmith_graph::TensorId| {
        let tensor = &graph[*id];
        let sizes = tensor.shape.dims().iter().skip(1).map(litesmith_graph::Dim::fixed);
        let mut sizes: Vec<Option<usize>> = sizes.collect();
        if let (Some([height, width]), [h, w, _]) = (data.image_size, &mut sizes[..]) {
            (*h, *w) = (h.or(Some(height)), w.or(Some(width)));
        }
        let dtype = element_type(tensor.dtype).ok_or_else(|| {
            Error::Usage(format!("input '{}' takes {}, which no data give", tensor.name, tensor.dtype))
        })?;
        Ok(InputSpec::new(&tensor.name, &sizes, dtype))
    };
    let specs = graph.inputs.iter().map(spec).collect::<Result<Vec<_>, Error>>()?;
    Ok(data.open(&specs, output_names(model))?)
}

/// What must be the same for a checkpoint to be gone on from.
fn fingerprint(original: &Bytes, setup: &Setup, data: &Dataset, options: &TrainOptions) -> String {
    // FNV-1a (Fowler, Noll, Vo) over words: to tell files apart, not to withstand forgery.
    let (words, rest) = original.as_chunks::<8>();
    let hash =
        words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest.iter().map(|byte| u64::from(*byte)));
    let hash = hash.fold(0xcbf2_9ce4_8422_2325u64, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    let fit = &options.fit;
    let loss = |objective: &Objective| {
        let loss = objective.loss.as_ref().map(Loss::to_json).unwrap_or_default();
        if objective.weight == 1.0 { loss.to_string() } else { format!("{} times {loss}", objective.weight) }
    };
    format!(
        "model {hash:016x}, {} samples in batches of {}{}, seed {}, loss {}, optimizer {}{}{}",
        data.len(),
        fit.batch_size,
        if fit.shuffle { "" } else { " in order" },
        setup.seed,
        setup.objectives.iter().map(loss).collect::<Vec<_>>().join(" and "),
        setup.optimizer.to_json(),
        options.quantize_aware.as_ref().map(|aware| format!(", {aware:?}")).unwrap_or_default(),
        // Its steps follow from the number of epochs.
        options.prune.as_ref().map(|prune| format!(", {} epochs, {prune:?}", fit.epochs)).unwrap_or_default(),
    )
}
