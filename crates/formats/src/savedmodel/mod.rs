//! Reads TensorFlow's SavedModel folders and frozen graphs.
//!
//! - [`proto`], [`limits`], [`tensor`], [`attributes`], [`decode`]: messages, constants, attributes
//! - [`table`], [`crc32c`], [`bundle`], [`resources`]: the files of variables, and which is which
//! - [`program`], [`effects`], [`functions`], [`scope`], [`control`], [`branches`], [`draft`]: functions
//!   inlined, control flow folded or kept
//! - [`signature`], [`flow`]: a signature as one flow of operations
//! - [`translate`]: from flows to a model

mod attributes;
mod branches;
mod bundle;
mod control;
mod crc32c;
mod decode;
mod draft;
mod effects;
mod flow;
mod functions;
mod limits;
#[cfg(test)]
mod made;
mod program;
mod proto;
mod resources;
mod scope;
mod signature;
mod table;
mod tensor;
#[cfg(test)]
mod tests;
mod translate;

use std::path::Path;

use bytes::Bytes;
use litesmith_graph::Model;
use prost::Message;

use crate::error::FormatError;
use crate::{mapping, messages};
use bundle::Bundle;
use draft::refuse;
use flow::{Flow, Variable};
use program::Program;
use proto::{GraphDef, MetaGraph, SavedModel};
use resources::Resources;

/// The file that makes a folder a SavedModel.
pub(crate) const SAVED_MODEL: &str = "saved_model.pb";

/// The tag of graphs that are made to be run.
const SERVE: &str = "serve";

/// What of a SavedModel is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Name of the signature; where none is given `serving_default`, else `serve`, else the only one.
    pub signature: Option<String>,
    /// Tags of the graph; where none are given `serve`, else the only graph whatever its tags.
    pub tags: Vec<String>,
}

/// Reads a SavedModel folder, or the file of a frozen graph: the usual signature of the graph that is
/// made to be run.
///
/// # Errors
/// Those of [`read_with`].
pub fn read(path: &Path) -> Result<Model, FormatError> {
    read_with(path, &ReadOptions::default())
}

/// Reads a signature of a SavedModel, its functions inlined and its variables frozen; or a frozen graph,
/// which has neither signatures nor tags, as [`read_graph_def`].
///
/// # Errors
/// If a file is missing or damaged or contradicts itself, there is no such signature, or it holds
/// operations that are not supported.
pub fn read_with(path: &Path, options: &ReadOptions) -> Result<Model, FormatError> {
    if path.is_dir() {
        let (flow, variables, producer) = flow_of_folder(path, options)?;
        return translate::translate(flow, variables, producer);
    }
    if let Some(name) = options.signature.as_ref().or(options.tags.first()) {
        return Err(refuse(
            name,
            "signature",
            "the file is a frozen graph, which has no signatures and tags",
        ));
    }
    read_graph_def(mapping::open(path)?)
}

/// A signature as a flow, its variables, and the program that wrote it.
fn flow_of_folder(
    folder: &Path,
    options: &ReadOptions,
) -> Result<(Flow, Vec<Variable>, String), FormatError> {
    let bytes = mapping::open(&folder.join(SAVED_MODEL))?;
    messages::check(&bytes, &limits::SAVED_MODEL, SAVED_MODEL)?;
    let broken = |error: prost::DecodeError| FormatError::broken(SAVED_MODEL, error.to_string());
    let model = SavedModel::decode(bytes).map_err(broken)?;
    let chosen = choose(&model, &options.tags)?;
    let graph = chosen.graph.as_ref().ok_or_else(|| FormatError::broken(SAVED_MODEL, "it has no graph"))?;
    let info = chosen.info.as_ref();
    let operations = info.and_then(|info| info.operations.as_ref()).map_or(&[][..], |list| &list.operations);
    let program = Program::new(graph, operations)?;
    let signature = signature::choose(chosen, options.signature.as_deref())?;
    let bundle = Bundle::open(&folder.join("variables").join("variables"))?;
    let resources = Resources::new(&graph.nodes, chosen.objects.as_ref(), bundle)?;
    let (flow, variables) = signature::flow(&program, resources, signature)?;
    let producer = match info.map_or("", |info| info.tensorflow_version.as_str()) {
        "" => "TensorFlow".to_owned(),
        version => format!("TensorFlow {version}"),
    };
    Ok((flow, variables, producer))
}

/// Reads a frozen graph (`GraphDef`): from its placeholders to what nothing reads.
///
/// # Errors
/// As [`read_with`]; also if it has variables, which are not in such a file.
pub fn read_graph_def(bytes: Bytes) -> Result<Model, FormatError> {
    let (flow, variables) = flow_of_graph_def(bytes)?;
    translate::translate(flow, variables, "TensorFlow".to_owned())
}

fn flow_of_graph_def(bytes: Bytes) -> Result<(Flow, Vec<Variable>), FormatError> {
    messages::check(&bytes, &limits::GRAPH, "the graph")?;
    let broken = |error: prost::DecodeError| FormatError::broken("the graph", error.to_string());
    let graph = GraphDef::decode(bytes).map_err(broken)?;
    let program = Program::new(&graph, &[])?;
    let resources = Resources::new(&graph.nodes, None, None)?;
    signature::flow_of_graph(&program, resources)
}

/// The graph with these tags.
fn choose<'a>(model: &'a SavedModel, tags: &[String]) -> Result<&'a MetaGraph, FormatError> {
    fn of(graph: &MetaGraph) -> &[String] {
        graph.info.as_ref().map_or(&[], |info| &info.tags)
    }
    let known = || {
        let each = model.meta_graphs.iter().map(|graph| format!("[{}]", of(graph).join(", ")));
        each.collect::<Vec<_>>().join(", ")
    };
    let found = |wanted: &[String]| {
        model.meta_graphs.iter().find(|graph| {
            let tags = of(graph);
            tags.len() == wanted.len() && wanted.iter().all(|tag| tags.contains(tag))
        })
    };
    if !tags.is_empty() {
        let reason = || format!("the model has no graph with these tags; it has {}", known());
        return found(tags).ok_or_else(|| refuse(&tags.join(", "), "tags", &reason()));
    }
    match (found(&[SERVE.to_owned()]), model.meta_graphs.as_slice()) {
        (Some(graph), _) | (None, [graph]) => Ok(graph),
        (None, []) => Err(FormatError::broken(SAVED_MODEL, "it has no graph")),
        _ => {
            let reason =
                format!("the model has several graphs, and none is tagged '{SERVE}'; it has {}", known());
            Err(refuse(SAVED_MODEL, "tags", &reason))
        }
    }
}
