//! Recipes, calibration and post-training quantization.
//!
//! [`calibrate`] runs a legalized float model (lowered too, for modes with integer activations) on samples and keeps [`Statistics`]; [`quantize`] makes
//! the quantized model of a [`Mode`], as a [`Recipe`] and each operator's own rule say. What stays
//! float is listed with its reason.
#![forbid(unsafe_code)]

mod calibrate;
mod dequantize;
mod dynamic;
mod error;
mod float16;
mod histogram;
mod integer;
mod mode;
mod observer;
mod parameters;
mod ranges;
mod recipe;
mod repair;
mod report;
mod simulate;
mod statistics;
mod statistics_file;
mod weights;

pub use calibrate::calibrate;
pub use dequantize::{dequantize, is_quantized};
pub use error::QuantizeError;
pub use histogram::Histogram;
pub use mode::{InterfaceType, Mode, Options, Ranges};
pub use observer::Observer;
pub use parameters::{activation_parameters, nearest_away};
pub use recipe::{Granularity, Recipe, RecipeError, Rule};
pub use repair::{Moments, Repair};
pub use report::{Outcome, Precision, Report};
pub use simulate::{
    Simulated, SimulatedLayer, SimulatedTensor, Simulation, drop_simulation, is_simulated, learnt_ranges,
    place, simulation, take_simulation, unfused_name, without_simulation,
};
pub use statistics::{Range, Statistics, StatisticsError};

use litesmith_graph::{Graph, Model, ModelError, Node};

/// Spells operators of a legalized float model without kernel for the mode's integers with those that
/// have one, but for layers that the recipe keeps float. Comes before calibration. Returns how many.
///
/// # Errors
/// If the model does not fit itself.
pub fn lower(model: &mut Model, mode: Mode, recipe: &Recipe) -> Result<usize, ModelError> {
    if mode != Mode::Float16 {
        float16::widen(model);
    }
    let Some(width) = mode.width() else { return Ok(0) };
    litesmith_passes::lower(model, width, &|graph, node| {
        let names: Vec<&str> = node_names(graph, node).collect();
        recipe.choice(&names, node.op.builtin_name()).skip
    })
}

/// What recipes know a node by: its layer, and the tensors that it computes.
fn node_names<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = &'a str> {
    let outputs = node.outputs.iter().map(|id| graph[*id].name.as_str());
    std::iter::once(node.name.as_str()).chain(outputs)
}

/// Makes the quantized model of a legalized float model. Modes with integer activations need
/// statistics; with them layers are repaired too, better so with moments of the same model.
///
/// # Errors
/// If statistics are missing or do not fit the model, or, under [`Mode::Int8Only`], for every
/// operator that would stay float.
pub fn quantize(
    model: &mut Model,
    options: &Options,
    recipe: &Recipe,
    statistics: Option<&Statistics>,
    moments: Option<&Moments>,
) -> Result<Report, QuantizeError> {
    float16::widen(model);
    litesmith_graph::infer_model(model)?;
    let report = match options.mode {
        Mode::Float16 => Ok(float16::apply(model, recipe)),
        Mode::Dynamic => dynamic::apply(model, options.repair, recipe, statistics, moments),
        Mode::Int8 | Mode::Int8Only | Mode::Int16x8 => {
            let statistics = statistics.ok_or(QuantizeError::NoStatistics(options.mode))?;
            integer::apply(model, options, recipe, statistics, moments)
        }
    }?;
    litesmith_graph::infer_model(model)?;
    Ok(report)
}
