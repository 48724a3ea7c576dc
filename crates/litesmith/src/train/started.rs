//! What a training works on: the trainer, what is simulated, what is pruned.

use bytes::Bytes;
use litesmith_data::Dataset;
use litesmith_graph::{Format, Model};
use litesmith_prune::Pruning;
use litesmith_train::Trainer;

use super::options::{self, TrainOptions};
use super::simulated::Simulated;
use crate::error::Error;
use crate::learnt::Learnt;
use crate::observer::Observer;

/// A training that is ready for its first step.
pub(super) struct Started {
    pub(super) trainer: Trainer,
    pub(super) simulated: Option<Simulated>,
    pub(super) pruning: Option<Pruning>,
}

impl Started {
    /// Prepares the training of `model`, which the bytes `original` hold.
    pub(super) fn new(
        model: &Model,
        original: &Bytes,
        options: &TrainOptions,
        data: &Dataset,
        learnt: Option<&Learnt>,
        observer: &dyn Observer,
    ) -> Result<Started, Error> {
        check_source(model, options)?;
        let compiled = options::compile_config(original, model.source.format)?;
        let setup = options.setup(model, data, compiled.as_ref())?;
        for left_out in setup.objectives.iter().filter(|objective| objective.loss.is_none()) {
            observer.note(&format!("output '{}' has no loss: it is left out of training", left_out.output));
        }
        for skipped in model.training_only.iter().filter(|_| setup.skip_training_only) {
            observer.note(&format!(
                "layer '{}' ({}): {}, which is left out",
                skipped.layer, skipped.class, skipped.what
            ));
        }
        let simulated = match &options.quantize_aware {
            Some(aware) => Some(Simulated::new(model, aware, learnt, data, &options.run, observer)?),
            None => None,
        };
        let trained = simulated.as_ref().map_or(model, |simulated| &simulated.model).clone();
        let trainer = Trainer::new(trained, setup, options.fit.batch_size)?;
        let pruning = match &options.prune {
            Some(prune) => {
                let integers = options.quantize_aware.is_some();
                Some(prune.start(model, options.steps(data.len()), integers, &options.run, observer)?)
            }
            None => None,
        };
        Ok(Started { trainer, simulated, pruning })
    }

    /// Makes losses, metrics and the optimizer anew; weights, ranges and masks stay.
    pub(super) fn recompile(
        &mut self,
        model: &Model,
        original: &Bytes,
        options: &TrainOptions,
        data: &Dataset,
    ) -> Result<(), Error> {
        let compiled = options::compile_config(original, model.source.format)?;
        let setup = options.setup(model, data, compiled.as_ref())?;
        self.trainer = Trainer::new(self.trainer.model(), setup, options.fit.batch_size)?;
        Ok(())
    }

    /// The model with its weights as they are now, and what is kept for its conversion.
    pub(super) fn finish(
        &self,
        data: &Dataset,
        observer: &dyn Observer,
    ) -> Result<(Model, Option<Learnt>), Error> {
        match &self.simulated {
            Some(simulated) => {
                let (model, learnt) = simulated.finish(&self.trainer.model(), data, observer)?;
                Ok((model, Some(learnt)))
            }
            None => Ok((self.trainer.model(), None)),
        }
    }
}

/// Refuses what cannot be trained, or not be written again.
fn check_source(model: &Model, options: &TrainOptions) -> Result<(), Error> {
    if !matches!(model.source.format, Format::Keras | Format::H5 | Format::Onnx) {
        let format = model.source.format;
        let reason =
            format!("a model read from {format:?} cannot be trained; start from a Keras or ONNX file");
        return Err(Error::Usage(reason));
    }
    if litesmith_quantize::is_simulated(model) {
        let reason = "the model's layers are wrapped to simulate integers, which is not trained further; train the \
                      model without them (--quantize-aware simulates its integers)";
        return Err(Error::Usage(reason.into()));
    }
    if options.quantize_aware.is_some() && model.source.format != Format::Keras {
        let reason =
            "only a .keras file has room for what quantization-aware training learns; start from one";
        return Err(Error::Usage(reason.into()));
    }
    Ok(())
}
