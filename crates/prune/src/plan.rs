//! What becomes of each layer.

use litesmith_graph::Model;
use litesmith_kernels::Isa;
use serde::Serialize;

use crate::error::PruneError;
use crate::layers::{Layer, layers};
use crate::policy::{Machine, Policy};
use crate::recipe::PruneRecipe;
use crate::structure::Structure;

/// How a model is pruned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which share of the weights goes, in `[0, 1)`; for structures of a fixed share that one.
    pub sparsity: f32,
    /// What of them is pruned together.
    pub structure: Structure,
    /// Which layers are pruned.
    pub policy: Policy,
    /// Whether weights are ranked among those of all layers.
    pub global: bool,
    /// What single layers get instead.
    pub recipe: PruneRecipe,
    /// The instruction set that [`Policy::Latency`] prunes for.
    pub isa: Isa,
    /// Whether it prunes for the int8 model that is to be made of this one.
    pub integers: bool,
}

impl Options {
    /// Prunes this share of every usual layer's weights, one by one.
    #[must_use]
    pub fn new(sparsity: f32) -> Options {
        Options {
            sparsity,
            structure: Structure::default(),
            policy: Policy::default(),
            global: false,
            recipe: PruneRecipe::default(),
            isa: Isa::detect(),
            integers: false,
        }
    }
}

/// What becomes of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is pruned.
    Prune {
        /// What of it together.
        structure: Structure,
        /// Which share.
        sparsity: f32,
    },
    /// It is not, for this reason.
    Keep(String),
}

/// What has become of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// TFLite's name of its operator.
    pub operator: String,
    /// Number of its weights.
    pub weights: usize,
    /// Share of its weights that are zero.
    pub sparsity: f64,
    /// What was pruned together, if it was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<Structure>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Outcome {
    pub(crate) fn new(layer: &Layer, decision: &Decision, zeros: usize) -> Outcome {
        let weights = layer.matrix.len();
        let (structure, reason) = match decision {
            Decision::Prune { structure, .. } => (Some(*structure), None),
            Decision::Keep(reason) => (None, Some(reason.clone())),
        };
        Outcome {
            name: layer.name.clone(),
            operator: layer.operator.clone(),
            weights,
            sparsity: if weights == 0 { 0.0 } else { zeros as f64 / weights as f64 },
            structure,
            reason,
        }
    }
}

/// All layers with what becomes of each.
///
/// # Errors
/// If a setting makes no sense, or no layer would be pruned.
pub(crate) fn plan(model: &Model, options: &Options) -> Result<Vec<(Layer, Decision)>, PruneError> {
    if !(0.0..1.0).contains(&options.sparsity) {
        let share = options.sparsity;
        return Err(PruneError::Setting(format!(
            "a sparsity of {share} is none: it must be at least 0 and below 1"
        )));
    }
    let planned: Vec<(Layer, Decision)> = layers(model)?
        .into_iter()
        .map(|layer| {
            let decision = decide(&layer, options);
            (layer, decision)
        })
        .collect();
    if planned.is_empty() {
        return Err(PruneError::Nothing(
            "the model has no convolution, dense, recurrent or embedding layer".into(),
        ));
    }
    let kept = |(_, decision): &(Layer, Decision)| match decision {
        Decision::Keep(reason) => Some(reason.clone()),
        Decision::Prune { .. } => None,
    };
    match planned.iter().map(kept).collect::<Option<Vec<_>>>() {
        Some(reasons) => {
            let (layer, reason) = (&planned[0].0.name, &reasons[0]);
            Err(PruneError::Nothing(format!("'{layer}' and all others are kept as they are: {reason}")))
        }
        None => Ok(planned),
    }
}

fn decide(layer: &Layer, options: &Options) -> Decision {
    let choice = options.recipe.choice(layer);
    let structure = choice.structure.unwrap_or(options.structure);
    let sparsity = structure.fixed_sparsity().or(choice.sparsity).unwrap_or(options.sparsity);
    let machine = Machine { isa: options.isa, integers: options.integers };
    let verdict = match choice.skip {
        Some(true) => Err("the recipe keeps it".to_owned()),
        Some(false) => Ok(()),
        None => options.policy.check(layer, structure, sparsity, machine),
    };
    match verdict {
        Ok(()) => Decision::Prune { structure, sparsity },
        Err(reason) => Decision::Keep(reason),
    }
}
