//! Pruning while a model is trained.

use litesmith_graph::{Model, ParameterId};
use litesmith_kernels::ThreadPool;
use litesmith_train::Trainer;

use crate::error::PruneError;
use crate::layers::Layer;
use crate::mask::{Weights, masks};
use crate::plan::{Decision, Options, Outcome, plan};
use crate::schedule::Schedule;
use crate::structure::Structure;

/// Masks that follow a schedule. Before a step whose turn it is they are made anew from the weights as they are;
/// behind every step what they leave out is zero. What an optimizer keeps of a weight goes on, as in TensorFlow.
pub struct Pruning {
    schedule: Schedule,
    global: bool,
    layers: Vec<Pruned>,
    outcomes: Vec<Outcome>,
    pool: ThreadPool,
}

struct Pruned {
    /// Its place among all outcomes.
    place: usize,
    layer: Layer,
    parameter: ParameterId,
    structure: Structure,
    target: f32,
    /// What stays, in the order of the trainer's weights; empty before the first turn.
    mask: Vec<bool>,
}

impl Pruning {
    /// Prepares the masks of a model for its training.
    ///
    /// # Errors
    /// If a setting makes no sense, or no layer would be pruned.
    pub fn new(
        model: &Model,
        schedule: Schedule,
        options: &Options,
        pool: ThreadPool,
    ) -> Result<Pruning, PruneError> {
        let planned = plan(model, options)?;
        let outcomes = planned.iter().map(|(layer, decision)| Outcome::new(layer, decision, 0)).collect();
        let chosen = |(place, (layer, decision)): (usize, (Layer, Decision))| {
            let (Some(parameter), Decision::Prune { structure, sparsity }) = (layer.parameter(), decision)
            else {
                return None;
            };
            Some(Pruned { place, layer, parameter, structure, target: sparsity, mask: Vec::new() })
        };
        let layers: Vec<Pruned> = planned.into_iter().enumerate().filter_map(chosen).collect();
        if layers.is_empty() {
            return Err(PruneError::Nothing("none of the layers has weights of its own".into()));
        }
        Ok(Pruning { schedule, global: options.global, layers, outcomes, pool })
    }

    /// Makes masks anew, if it is their turn.
    pub fn before_step(&mut self, trainer: &mut Trainer) {
        let step = trainer.iterations();
        if self.schedule.is_turn(step) {
            self.remake(trainer, step);
            self.apply(trainer);
        }
    }

    fn remake(&mut self, trainer: &Trainer, step: u64) {
        let arranged = |own: &Pruned| {
            let values = trainer.weights(own.parameter, &self.pool)?;
            Some(own.layer.arrange(values, &self.pool))
        };
        let values: Vec<Vec<f32>> = self.layers.iter().map(|own| arranged(own).unwrap_or_default()).collect();
        let all: Vec<Weights<'_>> = self
            .layers
            .iter()
            .zip(&values)
            .map(|(own, values)| Weights {
                matrix: own.layer.matrix,
                values,
                structure: own.structure,
                sparsity: self.schedule.towards(own.target).sparsity(step),
            })
            .collect();
        let masks = masks(&all, self.global);
        for (own, mask) in self.layers.iter_mut().zip(masks) {
            let mask = own.layer.in_source(mask, &self.pool);
            own.mask = trainer.arranged(own.parameter, mask, &self.pool).unwrap_or_default();
        }
    }

    /// Makes what is masked zero.
    pub fn apply(&self, trainer: &mut Trainer) {
        for own in &self.layers {
            if let Some(weights) = trainer.weights_mut(own.parameter) {
                let each = weights.iter_mut().zip(&own.mask);
                each.for_each(|(weight, kept)| *weight = if *kept { *weight } else { 0.0 });
            }
        }
    }

    /// The share of the weights of pruned layers that is masked.
    #[must_use]
    pub fn sparsity(&self) -> f64 {
        let zeros = |own: &Pruned| own.mask.iter().filter(|kept| !**kept).count();
        let total: usize = self.layers.iter().map(|own| own.layer.matrix.len()).sum();
        let zeros: usize = self.layers.iter().map(zeros).sum();
        if total == 0 { 0.0 } else { zeros as f64 / total as f64 }
    }

    /// What has become of each layer so far.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = self.outcomes.clone();
        for own in &self.layers {
            let zeros = own.mask.iter().filter(|kept| !**kept).count();
            outcomes[own.place].sparsity = zeros as f64 / own.layer.matrix.len().max(1) as f64;
        }
        outcomes
    }

    /// The masks as bytes, to go on from.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for own in &self.layers {
            bytes.push(u8::from(!own.mask.is_empty()));
            let packed =
                |kept: &[bool]| kept.iter().rev().fold(0u8, |byte, kept| byte << 1 | u8::from(*kept));
            bytes.extend(own.mask.chunks(8).map(packed));
        }
        bytes
    }

    /// Takes up masks that [`Pruning::to_bytes`] gave for the same model and options.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), PruneError> {
        let mut rest = bytes;
        for own in &mut self.layers {
            let (made, behind) = rest.split_first().ok_or(PruneError::Masks)?;
            rest = behind;
            own.mask = match made {
                0 => Vec::new(),
                _ => {
                    let count = own.layer.matrix.len();
                    let (packed, behind) =
                        rest.split_at_checked(count.div_ceil(8)).ok_or(PruneError::Masks)?;
                    rest = behind;
                    (0..count).map(|place| packed[place / 8] >> (place % 8) & 1 == 1).collect()
                }
            };
        }
        if rest.is_empty() { Ok(()) } else { Err(PruneError::Masks) }
    }
}
