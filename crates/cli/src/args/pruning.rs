//! The arguments of pruning: the verb, and those of training.

use std::path::{Path, PathBuf};

use clap::Args;
use litesmith::{Error, PruneOptions, PrunePolicy, PruneRecipe, PruneStructure, PruneTraining};

use super::MachineArguments;

/// How a model is pruned while it is trained.
#[derive(Debug, Args)]
pub(super) struct PruneTrainingArguments {
    /// With --prune: which layers, all, latency (what this machine then computes faster) or xnnpack.
    #[arg(long, value_name = "POLICY", default_value_t, requires = "prune")]
    prune_policy: PrunePolicy,
    /// With --prune: what goes together, unstructured, block:16x4 (output x input channels) or 2:4.
    #[arg(long, value_name = "STRUCTURE", default_value_t, requires = "prune")]
    prune_structure: PruneStructure,
    /// With --prune: rank weights among those of all layers.
    #[arg(long, requires = "prune")]
    prune_global: bool,
    /// With --prune: a TOML file that says how single layers are pruned.
    #[arg(long, value_name = "FILE", requires = "prune")]
    prune_recipe: Option<PathBuf>,
    /// With --prune: the step at which it begins.
    #[arg(long, value_name = "STEP", default_value_t = 0, requires = "prune")]
    prune_begin: u64,
    /// With --prune: the step at which the last share is reached; behind three quarters of all where left out.
    #[arg(long, value_name = "STEP", requires = "prune")]
    prune_end: Option<u64>,
    /// With --prune: steps from one choice of weights to the next; 100, or so few that there are 20 choices, where
    /// left out.
    #[arg(long, value_name = "STEPS", requires = "prune")]
    prune_frequency: Option<u64>,
    /// With --prune 0.50:0.80: how fast the share grows at first.
    #[arg(long, value_name = "POWER", default_value_t = 3.0, requires = "prune")]
    prune_power: f32,
}

impl PruneTrainingArguments {
    pub(super) fn options(&self, initial: Option<f32>, share: f32) -> Result<PruneTraining, Error> {
        let mut prune = PruneTraining::new(initial, share);
        (prune.policy, prune.structure) = (self.prune_policy, self.prune_structure);
        prune.global = self.prune_global;
        prune.recipe = self.prune_recipe.as_deref().map(read_prune_recipe).transpose()?.unwrap_or_default();
        (prune.begin, prune.end) = (self.prune_begin, self.prune_end);
        (prune.frequency, prune.power) = (self.prune_frequency, self.prune_power);
        Ok(prune)
    }
}

/// Make the weights zero that matter least, at once
///
/// Reads any format. A .keras or .h5 file is written as it was, with new weights; .tflite and .onnx are written from
/// any model. No data are needed; train --prune keeps more accuracy.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  litesmith prune model.keras -o pruned.keras --sparsity 0.8 --policy latency"
)]
pub(crate) struct PruneArguments {
    /// The model to read.
    pub(crate) model: PathBuf,
    /// The file to write: .keras, .h5, .tflite or .onnx.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Which share of the weights goes; 0.5, or that of the structure, where left out.
    #[arg(long, value_name = "SHARE")]
    sparsity: Option<f32>,
    /// Which layers: all, latency (what this machine then computes faster) or xnnpack (1x1 convolutions).
    #[arg(long, default_value_t)]
    policy: PrunePolicy,
    /// What goes together: unstructured, block:16x4 (output x input channels; block:16x4:max by the largest weight
    /// instead of the mean), 2:4 (2 of 4 input channels stay), or channels (whole ones, taken out).
    #[arg(long, default_value = "unstructured", value_parser = parse_structure)]
    structure: StructureArgument,
    /// Rank weights among those of all layers instead of those of their own.
    #[arg(long)]
    global: bool,
    /// With --policy latency: prune what the int8 model that is made of this one is computed faster by.
    #[arg(long)]
    for_int8: bool,
    /// A TOML file that says how single layers are pruned.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// For .tflite: store weights with many zeros without them.
    #[arg(long)]
    sparse: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

impl PruneArguments {
    pub(crate) fn options(&self) -> Result<PruneOptions, Error> {
        let mut options = PruneOptions::default();
        options.sparsity = self.sparsity;
        (options.policy, options.global) = (self.policy, self.global);
        match self.structure {
            StructureArgument::Weights(structure) => options.structure = structure,
            StructureArgument::Channels => options.channels = true,
        }
        options.recipe = self.recipe.as_deref().map(read_prune_recipe).transpose()?.unwrap_or_default();
        (options.for_int8, options.sparse) = (self.for_int8, self.sparse);
        options.run = self.machine.options()?;
        Ok(options)
    }
}

fn read_prune_recipe(path: &Path) -> Result<PruneRecipe, Error> {
    let failed = |reason: String| Error::Usage(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    PruneRecipe::from_toml(&text).map_err(|error| failed(error.to_string()))
}

/// What is pruned together.
#[derive(Clone, Copy, Debug)]
enum StructureArgument {
    /// Some of a layer's weights.
    Weights(PruneStructure),
    /// Whole channels.
    Channels,
}

pub(super) fn parse_prune(text: &str) -> Result<(Option<f32>, f32), String> {
    let share = |text: &str| text.trim().parse::<f32>().ok().filter(|share| (0.0..1.0).contains(share));
    let shares = match text.split_once(':') {
        Some((first, last)) => share(first).zip(share(last)).map(|(first, last)| (Some(first), last)),
        None => share(text).map(|last| (None, last)),
    };
    shares.ok_or_else(|| "write it as 0.8, or 0.50:0.80, of at least 0 and below 1".to_owned())
}

fn parse_structure(text: &str) -> Result<StructureArgument, String> {
    if text == "channels" {
        return Ok(StructureArgument::Channels);
    }
    let structure = text.parse::<PruneStructure>().map_err(|error| format!("{error}, or channels"))?;
    Ok(StructureArgument::Weights(structure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_parse() {
        assert_eq!(parse_prune("0.50:0.80"), Ok((Some(0.5), 0.8)));
        assert_eq!(parse_prune("0.75"), Ok((None, 0.75)));
        for text in ["1.0", "0.5:", "0.5:1", "-0.1", "nan", "half"] {
            assert!(parse_prune(text).is_err(), "{text}");
        }
    }
}
