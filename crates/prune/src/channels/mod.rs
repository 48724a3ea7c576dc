//! Whole channels: a model that is really smaller.
//!
//! Which channels of which tensors are one and the same (through residual additions, depthwise convolutions,
//! gates, flattening, …) follows from the operators: [`couple`]. Those of an operator that is not understood stay.
//! [`rank`] says which go: the smallest of those that come from the same layers. [`cut`] takes them out of all
//! weights.

mod couple;
mod cut;
mod rank;
mod sets;

use std::collections::BTreeMap;

use litesmith_graph::{Model, infer_graphs, infer_model};
use serde::Serialize;

use crate::error::PruneError;
use crate::recipe::PruneRecipe;
use couple::Coupling;

/// How channels are pruned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Which share of the channels goes, in `[0, 1)`.
    pub sparsity: f32,
    /// Whether channels are ranked among those of all layers, each by its size beside the mean of its layer.
    pub global: bool,
    /// Layers that keep all channels, or lose another share.
    pub recipe: PruneRecipe,
}

impl ChannelOptions {
    /// Takes this share of the channels of every layer.
    #[must_use]
    pub fn new(sparsity: f32) -> ChannelOptions {
        ChannelOptions { sparsity, global: false, recipe: PruneRecipe::default() }
    }
}

/// A model with fewer channels.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shrunk {
    /// The smaller model.
    pub model: Model,
    /// The model as it was, but with zeros where it read channels that are gone: it computes the same.
    pub masked: Model,
    /// What has become of each layer with channels.
    pub layers: Vec<ShrunkLayer>,
    /// Names of operators through which channels could not be followed, and how many of each there are.
    pub not_followed: BTreeMap<String, usize>,
}

/// What has become of a layer's output channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShrunkLayer {
    /// Its name.
    pub name: String,
    /// TFLite's name of its operator.
    pub operator: String,
    /// Output channels before.
    pub before: usize,
    /// Output channels now.
    pub after: usize,
    /// Why it kept all of them, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Takes channels out of a float model in TFLite's operators.
///
/// # Errors
/// If a setting makes no sense, no channel could go, or the model contradicts itself.
pub fn shrink(model: &Model, options: &ChannelOptions) -> Result<Shrunk, PruneError> {
    if !(0.0..1.0).contains(&options.sparsity) {
        let share = options.sparsity;
        let text = format!("a sparsity of {share} is none: it must be at least 0 and below 1");
        return Err(PruneError::Setting(text));
    }
    if options.recipe.rules.iter().any(|rule| rule.structure.is_some()) {
        return Err(PruneError::Setting(
            "a rule asks for a structure, but it is channels that are pruned".into(),
        ));
    }
    if let Some(tensor) = model.main().tensors.iter().find(|tensor| tensor.quantization.is_some()) {
        return Err(PruneError::Setting(format!(
            "'{}' is quantized: take channels out of the float model, then quantize it",
            tensor.name
        )));
    }
    let mut model = model.clone();
    infer_model(&mut model)?;
    cut::separate_constants(&mut model);
    let facts = infer_graphs(&model)?;
    let mut coupling = Coupling::new(&model, &facts[0]);
    let ranked = rank::rank(&model, &mut coupling, options);
    if !ranked.layers.iter().any(|layer| layer.after < layer.before) {
        let reasons = ranked.layers.iter().find_map(|layer| layer.reason.clone());
        return Err(PruneError::Nothing(reasons.unwrap_or_else(|| "it has no layers with channels".into())));
    }
    let keep = coupling.kept(&ranked.gone);
    let masked = cut::masked(&model, &coupling, &keep);
    let mut small = model.clone();
    cut::cut(&mut small, &coupling, &keep);
    infer_model(&mut small)?;
    litesmith_graph::validate(&small)?;
    let not_followed = coupling.not_followed();
    Ok(Shrunk { model: small, masked, layers: ranked.layers, not_followed })
}

#[cfg(test)]
mod tests;
