//! Optimizers: what makes parameters better by their gradients, step by step as Keras 3 does it.
//!
//! A step takes, in Keras' order (`keras/src/optimizers/base_optimizer.py`): the gradient of the loss,
//! with that of the regularizer; clipping; weight decay; the update of the rule. Numbers are single
//! precision throughout, as they are there. The loops are
//! [`litesmith_kernels::optimizer`]'s: one pass over memory for each parameter, one more before it where
//! gradients are clipped by norm.

mod config;

use litesmith_graph::Regularizer;
use litesmith_kernels::optimizer::{self as kernels, Adjustment};
use litesmith_kernels::{Isa, ThreadPool};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::schedule::Schedule;

pub use config::{AdamConfig, Clip, OptimizerConfig, OptimizerKind, RmsPropConfig, SgdConfig};

/// A parameter that an optimizer is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name, by which its slots are told; no other has it.
    pub name: String,
    /// Number of elements.
    pub len: usize,
    /// The penalty on its size.
    pub regularizer: Option<Regularizer>,
}

/// A parameter's elements and their gradient.
#[derive(Debug)]
pub struct Update<'a> {
    /// The elements.
    pub parameter: &'a mut [f32],
    /// The derivative of the loss by each, without that of the regularizer.
    pub gradient: &'a [f32],
}

/// A vector that an optimizer keeps for a parameter: what a checkpoint holds beside [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot<'a> {
    /// Name of the parameter.
    pub parameter: &'a str,
    /// Keras' name of the slot: `momentum`, `velocity`, `average_gradient` or `velocity_hat`.
    pub name: &'static str,
    /// One for each of the parameter's elements.
    pub values: &'a [f32],
}

/// How far an optimizer is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of steps done.
    pub iterations: u64,
    /// The learning rate where it is a constant, which [`Optimizer::set_learning_rate`] may have changed.
    pub learning_rate: Option<f32>,
}

/// Why an optimizer cannot do what it is told.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// Another number of parameters than it was made for.
    #[error("the optimizer was made for {expected} parameters, it was given {got}")]
    Count {
        /// Number that it was made for.
        expected: usize,
        /// Number that it was given.
        got: usize,
    },
    /// A vector of another length than its parameter's.
    #[error("{what} of parameter '{parameter}' has {got} elements, it should have {expected}")]
    Length {
        /// Name of the parameter.
        parameter: String,
        /// Which vector.
        what: String,
        /// Number that it should have.
        expected: usize,
        /// Number that it has.
        got: usize,
    },
    /// A slot that this optimizer does not have, or that a checkpoint lacks.
    #[error("{0}")]
    Slot(String),
    /// The learning rate follows a schedule.
    #[error("the learning rate follows a schedule, it cannot be set")]
    Scheduled,
}

/// An optimizer with its slots.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    iterations: u64,
    /// The learning rate where it is a constant.
    constant: Option<f32>,
    variables: Vec<Kept>,
}

/// A parameter's slots, in the order of [`Optimizer::SLOTS`]; empty those that the rule does without.
#[derive(Clone, Debug)]
struct Kept {
    variable: Variable,
    slots: [Vec<f32>; 3],
}

impl Optimizer {
    /// An optimizer for these parameters that has done no step; all slots are 0.
    #[must_use]
    pub fn new(config: OptimizerConfig, variables: impl IntoIterator<Item = Variable>) -> Optimizer {
        let names = slot_names(&config.kind);
        let keep = |variable: Variable| {
            let slots = names.map(|name| vec![0.0; if name.is_some() { variable.len } else { 0 }]);
            Kept { variable, slots }
        };
        let constant =
            if let Schedule::Constant(rate) = config.learning_rate { Some(rate as f32) } else { None };
        Optimizer { iterations: 0, constant, variables: variables.into_iter().map(keep).collect(), config }
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Number of steps done.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// The learning rate of the next step.
    #[must_use]
    pub fn learning_rate(&self) -> f32 {
        self.constant.unwrap_or_else(|| self.config.learning_rate.rate(self.iterations))
    }

    /// Changes the learning rate.
    ///
    /// # Errors
    /// [`OptimizerError::Scheduled`] if it follows a schedule.
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<(), OptimizerError> {
        match &mut self.constant {
            Some(constant) => *constant = rate,
            None => return Err(OptimizerError::Scheduled),
        }
        Ok(())
    }

    /// Updates all parameters, in the order in which the optimizer was made for them.
    ///
    /// # Errors
    /// [`OptimizerError`] if number or lengths are others; nothing is changed then.
    pub fn step(
        &mut self,
        isa: Isa,
        pool: &ThreadPool,
        updates: &mut [Update<'_>],
    ) -> Result<(), OptimizerError> {
        self.check(updates)?;
        let rate = self.learning_rate();
        let rule = Rule::new(&self.config.kind, rate, self.iterations + 1);
        let mut adjustments: Vec<Adjustment> = self
            .variables
            .iter()
            .map(|kept| adjustment(&self.config, kept.variable.regularizer, rate))
            .collect();
        self.clip(isa, pool, updates, &mut adjustments);
        for ((kept, update), adjustment) in self.variables.iter_mut().zip(updates).zip(&adjustments) {
            let [first, second, third] = &mut kept.slots;
            let (gradient, parameter) = (update.gradient, &mut *update.parameter);
            match &rule {
                Rule::Sgd(rule) => kernels::sgd(isa, pool, rule, adjustment, gradient, parameter, first),
                Rule::RmsProp(rule) => {
                    let slots = [&mut first[..], second, third];
                    kernels::rms_prop(isa, pool, rule, adjustment, gradient, parameter, slots);
                }
                Rule::Adam(rule) => {
                    let slots = [&mut first[..], second, third];
                    kernels::adam(isa, pool, rule, adjustment, gradient, parameter, slots);
                }
            }
        }
        self.iterations += 1;
        Ok(())
    }

    fn check(&self, updates: &[Update<'_>]) -> Result<(), OptimizerError> {
        if updates.len() != self.variables.len() {
            return Err(OptimizerError::Count { expected: self.variables.len(), got: updates.len() });
        }
        for (Kept { variable, .. }, update) in self.variables.iter().zip(updates) {
            check_length(variable, "the vector", update.parameter.len())?;
            check_length(variable, "the gradient", update.gradient.len())?;
        }
        Ok(())
    }

    /// Sets what gradients are multiplied by so that norms keep within their limit.
    fn clip(&self, isa: Isa, pool: &ThreadPool, updates: &[Update<'_>], adjustments: &mut [Adjustment]) {
        let squares = |update: &Update<'_>, adjustment: &Adjustment| {
            kernels::squared_norm(isa, pool, adjustment, update.gradient, update.parameter)
        };
        match self.config.clip {
            None | Some(Clip::Value(_)) => {}
            Some(Clip::Norm(limit)) => {
                for (adjustment, update) in adjustments.iter_mut().zip(updates) {
                    adjustment.scale = shrink(squares(update, adjustment), limit);
                }
            }
            Some(Clip::GlobalNorm(limit)) => {
                let all: f64 =
                    updates.iter().zip(&*adjustments).map(|(update, own)| squares(update, own)).sum();
                // As in Keras, an infinite norm leaves no gradient that is a number.
                let all = if all.is_finite() { all } else { f64::NAN };
                adjustments.iter_mut().for_each(|adjustment| adjustment.scale = shrink(all, limit));
            }
        }
    }

    /// How far it is; with [`Optimizer::slots`] all that a checkpoint needs.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { iterations: self.iterations, learning_rate: self.constant }
    }

    /// All slots, parameter after parameter.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let names = slot_names(&self.config.kind);
        self.variables.iter().flat_map(move |kept| {
            names.into_iter().zip(&kept.slots).filter_map(move |(name, values)| {
                name.map(|name| Slot { parameter: &kept.variable.name, name, values })
            })
        })
    }

    /// Goes on from a checkpoint. `slot` is asked for the values of every slot of [`Optimizer::slots`] by
    /// the names of the parameter and of the slot.
    ///
    /// # Errors
    /// [`OptimizerError`] if a slot is missing or has another length, or the checkpoint is one of a
    /// schedule and this optimizer has none, or the other way around. Nothing is changed then.
    pub fn restore<'a>(
        &mut self,
        progress: &Progress,
        mut slot: impl FnMut(&str, &str) -> Option<&'a [f32]>,
    ) -> Result<(), OptimizerError> {
        if progress.learning_rate.is_some() != self.constant.is_some() {
            let reason = "the checkpoint is of a run with another kind of learning rate";
            return Err(OptimizerError::Slot(reason.to_owned()));
        }
        let names = slot_names(&self.config.kind);
        let mut found = Vec::with_capacity(self.variables.len());
        for Kept { variable, .. } in &self.variables {
            let mut slots: [&[f32]; 3] = [&[]; 3];
            for (values, name) in slots.iter_mut().zip(names) {
                let Some(name) = name else { continue };
                *values = slot(&variable.name, name).ok_or_else(|| {
                    let owner = &variable.name;
                    OptimizerError::Slot(format!(
                        "the checkpoint has no slot '{name}' of parameter '{owner}'"
                    ))
                })?;
                check_length(variable, &format!("slot '{name}'"), values.len())?;
            }
            found.push(slots);
        }
        for (kept, values) in self.variables.iter_mut().zip(found) {
            kept.slots.iter_mut().zip(values).for_each(|(slot, values)| slot.copy_from_slice(values));
        }
        (self.iterations, self.constant) = (progress.iterations, progress.learning_rate);
        Ok(())
    }
}

/// Keras' names of the slots, in the kernels' order; `None` for those that the rule does without.
fn slot_names(kind: &OptimizerKind) -> [Option<&'static str>; 3] {
    match kind {
        OptimizerKind::Sgd(sgd) => [(sgd.momentum != 0.0).then_some("momentum"), None, None],
        OptimizerKind::RmsProp(rms_prop) => [
            Some("velocity"),
            rms_prop.centered.then_some("average_gradient"),
            (rms_prop.momentum > 0.0).then_some("momentum"),
        ],
        OptimizerKind::Adam(adam) | OptimizerKind::AdamW(adam) => {
            [Some("momentum"), Some("velocity"), adam.amsgrad.then_some("velocity_hat")]
        }
    }
}

fn check_length(variable: &Variable, what: &str, got: usize) -> Result<(), OptimizerError> {
    if got == variable.len {
        return Ok(());
    }
    let (parameter, what) = (variable.name.clone(), what.to_owned());
    Err(OptimizerError::Length { parameter, what, expected: variable.len, got })
}

fn adjustment(config: &OptimizerConfig, regularizer: Option<Regularizer>, rate: f32) -> Adjustment {
    let Regularizer { l1, l2 } = regularizer.unwrap_or(Regularizer { l1: 0.0, l2: 0.0 });
    let limit = if let Some(Clip::Value(limit)) = config.clip { limit as f32 } else { f32::INFINITY };
    let weight_decay = config.weight_decay.unwrap_or(0.0) as f32;
    Adjustment { l1, l2, limit, weight_decay, ..Adjustment::none(rate) }
}

/// What gradients with this sum of squares are multiplied by: 1 within the limit, and nothing that is a
/// number where the sum is none.
fn shrink(squares: f64, limit: f64) -> f32 {
    let norm = squares.sqrt();
    if norm <= limit { 1.0 } else { (limit / norm) as f32 }
}

/// The rule of one step, its numbers rounded as Keras rounds them.
enum Rule {
    Sgd(kernels::Sgd),
    RmsProp(kernels::RmsProp),
    Adam(kernels::Adam),
}

impl Rule {
    /// The rule of step `step`, counted from 1.
    fn new(kind: &OptimizerKind, rate: f32, step: u64) -> Rule {
        match *kind {
            OptimizerKind::Sgd(SgdConfig { momentum, nesterov }) => {
                Rule::Sgd(kernels::Sgd { momentum: momentum as f32, nesterov })
            }
            OptimizerKind::RmsProp(RmsPropConfig { rho, momentum, epsilon, centered }) => {
                Rule::RmsProp(kernels::RmsProp {
                    rho: rho as f32,
                    one_minus_rho: (1.0 - rho) as f32,
                    momentum: momentum as f32,
                    epsilon: epsilon as f32,
                    centered,
                })
            }
            OptimizerKind::Adam(AdamConfig { beta_1, beta_2, epsilon, amsgrad })
            | OptimizerKind::AdamW(AdamConfig { beta_1, beta_2, epsilon, amsgrad }) => {
                let power = |beta: f64| libm::pow(f64::from(beta as f32), f64::from(step as f32)) as f32;
                let alpha = rate * (1.0 - power(beta_2)).sqrt() / (1.0 - power(beta_1));
                Rule::Adam(kernels::Adam {
                    alpha,
                    one_minus_beta_1: (1.0 - beta_1) as f32,
                    one_minus_beta_2: (1.0 - beta_2) as f32,
                    epsilon: epsilon as f32,
                    amsgrad,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
