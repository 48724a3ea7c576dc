//! Exact rewrites of graphs, and legalization for a target.
//!
//! [`optimize`] runs [`OPTIMIZE`], a list that reads like a table of contents. Each pass is exact up
//! to float rounding, stands in a file of its own and counts its rewrites; every state between two
//! passes can be looked at. [`legalize`](legalize()) is the only place that decomposes high-level
//! operators.
#![forbid(unsafe_code)]

mod batch;
mod constants;
mod drop_identities;
mod fold_affine;
mod fold_batch_norm;
mod fold_constants;
mod fuse_activations;
mod groups;
mod layout;
mod legalize;
mod linear;
mod merge_blocks;
mod merge_padding;
mod recognize;
mod remove_dead;
mod share;

pub use batch::{BatchError, set_batch};
pub use groups::{FusionGroup, fusion_groups};
pub use layout::{Interface, channels_first, channels_last};
pub use legalize::{LegalizeError, Target, legalize, lower};

use litesmith_graph::model::Parameter;
use litesmith_graph::{Graph, Model, ModelError, infer_model};

/// One exact rewrite.
#[derive(Clone, Copy)]
pub struct Pass {
    /// What it is called in dumps and reports.
    pub name: &'static str,
    /// Rewrites one graph, given the model's parameters, and returns the number of rewrites. The
    /// shapes of all tensors have been inferred.
    apply: fn(&mut Graph, &[Parameter]) -> usize,
}

/// How often a pass rewrote something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrites {
    /// Name of the pass.
    pub pass: &'static str,
    /// Number of rewrites in all graphs.
    pub count: usize,
}

/// What [`optimize`] does, in order.
pub const OPTIMIZE: &[Pass] = &[
    // What is recognized by its parameters, before these are computed with.
    Pass { name: "recognize-reshapes", apply: recognize::reshape::apply },
    Pass { name: "drop-copies", apply: drop_identities::copies },
    Pass { name: "recognize-powers", apply: recognize::power::apply },
    Pass { name: "recognize-reductions", apply: recognize::reduction::apply },
    Pass { name: "recognize-dense", apply: recognize::dense::apply },
    Pass { name: "recognize-bias", apply: recognize::bias::apply },
    Pass { name: "recognize-batch-norm", apply: recognize::batch_norm::apply },
    Pass { name: "recognize-layer-norm", apply: recognize::layer_norm::apply },
    Pass { name: "recognize-prelu", apply: recognize::prelu::apply },
    Pass { name: "fold-constants", apply: fold_constants::apply },
    Pass { name: "drop-identities", apply: drop_identities::apply },
    // What is recognized by its constants.
    Pass { name: "recognize-clamps", apply: recognize::clamp::apply },
    Pass { name: "recognize-gates", apply: recognize::gate::apply },
    Pass { name: "recognize-gelu", apply: recognize::gelu::apply },
    Pass { name: "recognize-groups", apply: recognize::grouped::apply },
    Pass { name: "remove-dead", apply: remove_dead::apply },
    Pass { name: "merge-blocks", apply: merge_blocks::apply },
    Pass { name: "fold-batch-norm", apply: fold_batch_norm::apply },
    Pass { name: "fold-affine", apply: fold_affine::apply },
    Pass { name: "fuse-activations", apply: fuse_activations::apply },
    Pass { name: "merge-padding", apply: merge_padding::apply },
    Pass { name: "share", apply: share::apply },
    Pass { name: "remove-dead", apply: remove_dead::apply },
];

/// Runs every pass of [`OPTIMIZE`] once. `look` sees the model before the first pass (under the name
/// `source`) and after each one.
///
/// # Errors
/// If the model does not fit itself; a sound model stays sound.
pub fn optimize(
    model: &mut Model,
    look: &mut dyn FnMut(&Rewrites, &Model),
) -> Result<Vec<Rewrites>, ModelError> {
    infer_model(model)?;
    look(&Rewrites { pass: "source", count: 0 }, model);
    run(model, OPTIMIZE, look)
}

/// What [`prepare_training`] does, in order: exact rewrites that look at no weights.
const TRAINING: &[Pass] = &[
    Pass { name: "fold-constants", apply: fold_constants::apply },
    Pass { name: "drop-identities", apply: drop_identities::apply },
    Pass { name: "recognize-clamps", apply: recognize::clamp::apply },
    Pass { name: "recognize-gates", apply: recognize::gate::apply },
    Pass { name: "recognize-gelu", apply: recognize::gelu::apply },
    Pass { name: "absorb-padding", apply: merge_padding::absorb },
    Pass { name: "remove-dead", apply: remove_dead::apply },
];

/// Simplifies a model before it is differentiated. Weights that change are inputs of its graphs, not
/// parameters, which count as constants.
///
/// # Errors
/// If the model does not fit itself.
pub fn prepare_training(model: &mut Model) -> Result<(), ModelError> {
    infer_model(model)?;
    run(model, TRAINING, &mut |_, _| {}).map(drop)
}

/// Lets convolutions and maximum poolings pad by themselves instead of an operator before them: for targets
/// that know explicit padding, after quantization. What the model computes keeps every bit. Returns the
/// number of paddings.
///
/// # Errors
/// If the model does not fit itself.
pub fn absorb_padding(model: &mut Model) -> Result<usize, ModelError> {
    let passes = [
        Pass { name: "absorb-padding", apply: merge_padding::absorb },
        Pass { name: "remove-dead", apply: remove_dead::apply },
    ];
    Ok(run(model, &passes, &mut |_, _| {})?[0].count)
}

/// Runs these passes once, in order.
fn run(
    model: &mut Model,
    passes: &[Pass],
    look: &mut dyn FnMut(&Rewrites, &Model),
) -> Result<Vec<Rewrites>, ModelError> {
    let mut all = Vec::with_capacity(passes.len());
    for pass in passes {
        let Model { graphs, parameters, .. } = model;
        let count = graphs.iter_mut().map(|graph| (pass.apply)(graph, parameters)).sum();
        infer_model(model)?;
        debug_assert_eq!(litesmith_graph::validate(model), Ok(()), "after pass {}", pass.name);
        let rewrites = Rewrites { pass: pass.name, count };
        look(&rewrites, model);
        all.push(rewrites);
    }
    Ok(all)
}

#[cfg(test)]
mod testing {
    //! Passes are tested as text in, text out.

    use super::{Pass, run};
    use litesmith_graph::{infer_model, text, validate};

    /// Runs passes over the model that `before` describes and compares the result with `after`.
    pub(crate) fn check(
        passes: &[fn(&mut litesmith_graph::Graph, &[litesmith_graph::Parameter]) -> usize],
        before: &str,
        after: &str,
    ) {
        let mut model = text::parse(before).expect("the text before parses");
        validate(&model).expect("the model before is sound");
        infer_model(&mut model).expect("shapes can be inferred");
        let passes: Vec<_> = passes.iter().map(|apply| Pass { name: "tested", apply: *apply }).collect();
        run(&mut model, &passes, &mut |_, _| {}).expect("the passes run");
        validate(&model).expect("the model after is sound");
        let lines =
            |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&text::print(&model)).trim(), lines(after).trim());
    }

    /// Runs a pass over a model that it must leave as it is.
    pub(crate) fn stays(
        pass: fn(&mut litesmith_graph::Graph, &[litesmith_graph::Parameter]) -> usize,
        text: &str,
    ) {
        let mut model = text::parse(text).expect("the text parses");
        infer_model(&mut model).expect("shapes can be inferred");
        check(&[pass], text, &text::print(&model));
    }
}
