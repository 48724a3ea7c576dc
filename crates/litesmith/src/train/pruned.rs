//! Pruning while a model is trained.

use litesmith_graph::Model;
use litesmith_kernels::ThreadPool;
use litesmith_prune::{Policy, PruneRecipe, Pruning, Schedule, Structure};
use litesmith_runtime::Options as RunOptions;

use crate::error::Error;
use crate::observer::Observer;
use crate::prune::settings;

/// How a model is pruned while it is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PruneTraining {
    /// The share of weights that goes first; left out: the last one from the beginning on.
    pub initial_sparsity: Option<f32>,
    /// The share of weights that goes in the end.
    pub sparsity: f32,
    /// Which layers are pruned.
    pub policy: Policy,
    /// What of their weights is pruned together.
    pub structure: Structure,
    /// Whether weights are ranked among those of all layers.
    pub global: bool,
    /// What single layers get instead.
    pub recipe: PruneRecipe,
    /// The step at which it begins.
    pub begin: u64,
    /// The step at which the last share is reached; left out: behind three quarters of all steps.
    pub end: Option<u64>,
    /// Steps from one choice of weights to the next; left out: 100, but at least 20 choices.
    pub frequency: Option<u64>,
    /// How fast the share grows at first.
    pub power: f32,
    /// The least number of steps that training is taken to have.
    pub(super) planned_steps: Option<u64>,
}

impl PruneTraining {
    /// From one share to the other, as TensorFlow's `PolynomialDecay` goes.
    #[must_use]
    pub fn new(initial_sparsity: Option<f32>, sparsity: f32) -> PruneTraining {
        PruneTraining {
            initial_sparsity,
            sparsity,
            policy: Policy::default(),
            structure: Structure::default(),
            global: false,
            recipe: PruneRecipe::default(),
            begin: 0,
            end: None,
            frequency: None,
            power: Schedule::POWER,
            planned_steps: None,
        }
    }

    /// What these options mean for a model that is trained for so many steps, perhaps to become integers.
    pub(super) fn start(
        &self,
        model: &Model,
        steps: u64,
        integers: bool,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Pruning, Error> {
        let steps = steps.max(self.planned_steps.unwrap_or(0));
        let schedule = self.schedule(steps)?;
        match schedule.reached(steps) {
            None => {
                let begin = self.begin;
                return Err(Error::Usage(format!(
                    "pruning begins at step {begin}, training ends at {steps}"
                )));
            }
            Some(reached) if reached < schedule.target() - 0.005 => observer.note(&format!(
                "pruning ends at {reached:.3}, not at {:.3}: it is not so far when training ends",
                schedule.target()
            )),
            Some(_) => {}
        }
        let mut options = settings(Some(self.sparsity), self.structure, run)?;
        (options.policy, options.global, options.integers) = (self.policy, self.global, integers);
        options.recipe = self.recipe.clone();
        let known = litesmith_prune::layers(model)?;
        for pattern in self.recipe.unused_patterns(&known) {
            observer.note(&format!("no layer is called '{pattern}'; the rule has no effect"));
        }
        Ok(Pruning::new(model, schedule, &options, ThreadPool::new(run.threads()?))?)
    }

    fn schedule(&self, steps: u64) -> Result<Schedule, Error> {
        let Some(initial) = self.initial_sparsity else {
            let frequency = self.frequency.unwrap_or(Schedule::FREQUENCY);
            return Ok(Schedule::constant(self.sparsity, self.begin, self.end, frequency)?);
        };
        let usual_end = self.begin + steps.saturating_sub(self.begin) * 3 / 4;
        let length = self.end.unwrap_or(usual_end).saturating_sub(self.begin);
        let frequency = self.frequency.unwrap_or((length / 20).clamp(1, Schedule::FREQUENCY));
        // Its last turn is its end.
        let end = self.end.unwrap_or(self.begin + length / frequency.max(1) * frequency);
        Ok(Schedule::polynomial(initial, self.sparsity, self.begin, end, self.power, frequency)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_share_is_reached_unless_asked_otherwise() {
        let usual = PruneTraining::new(Some(0.5), 0.8);
        for steps in [1, 7, 252, 10_000] {
            assert_eq!(usual.schedule(steps).unwrap().reached(steps), Some(0.8), "{steps}");
        }
        let late = PruneTraining { begin: 300, ..usual.clone() };
        assert_eq!(late.schedule(252).unwrap().reached(252), None);
        let rare = PruneTraining { frequency: Some(100), end: Some(252), ..usual };
        assert!(rare.schedule(252).unwrap().reached(252).unwrap() < 0.8);
        let constant = PruneTraining::new(None, 0.75).schedule(10).unwrap();
        assert_eq!((constant.sparsity(0), constant.is_turn(0)), (0.75, true));
    }
}
