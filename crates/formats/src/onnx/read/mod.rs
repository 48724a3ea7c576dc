//! Reading: the bytes of an ONNX file, and of files beside it that hold weights, to a model.
//!
//! - [`limits`], [`tensor`], [`external`], [`attributes`]: messages, constants, attributes
//! - [`functions`]: operators that the model brings along, put in the place of their calls
//! - [`interface`]: inputs and outputs
//! - [`nodes`], [`gelu`]: the nodes of a graph, one after the other, and the one formula that is recognized
//! - [`draft`], [`scope`], [`fold`]: the graph that grows, and what an operator sees of it
//! - [`operators`]: the operators, one file per family and one table
//!
//! Operators on images are channels first in ONNX; each becomes one that is channels last between two
//! transpositions, which the layout pass takes out again. Half precision becomes single precision.

mod attributes;
mod draft;
mod external;
mod fold;
mod functions;
mod gelu;
mod interface;
mod limits;
mod nodes;
mod operators;
mod scope;
mod tensor;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use litesmith_graph::{Format, Model, Source, validate};
use prost::Message;

use self::draft::{Draft, Environment, Target};
use self::external::External;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use crate::error::{FormatError, Unsupported};
use crate::{mapping, messages};

/// The oldest and the newest version of ONNX's operators that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// How a model is read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Shapes that inputs get, by their names. What the graph computes from shapes then becomes constant.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

impl ReadOptions {
    /// With these shapes of inputs.
    #[must_use]
    pub fn with_input_shapes(mut self, shapes: &[(String, Vec<usize>)]) -> ReadOptions {
        self.input_shapes = shapes.to_vec();
        self
    }
}

/// Reads an ONNX file. Weights may stand in other files of its folder.
///
/// # Errors
/// Those of [`decode`], and [`FormatError::Io`].
pub fn read(path: &Path) -> Result<Model, FormatError> {
    read_with(path, &ReadOptions::default())
}

/// Reads an ONNX file in the way that options say.
///
/// # Errors
/// Those of [`decode`], and [`FormatError::Io`].
pub fn read_with(path: &Path, options: &ReadOptions) -> Result<Model, FormatError> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    decode(mapping::open(path)?, Some(&folder), options)
}

/// Reads the bytes of an ONNX file; `folder` is where other files of its weights are.
///
/// # Errors
/// If the file is damaged or contradicts itself, or holds what is not supported: all of it is listed.
pub fn decode(bytes: Bytes, folder: Option<&Path>, options: &ReadOptions) -> Result<Model, FormatError> {
    const PLACE: &str = "the model";
    messages::check(&bytes, &limits::MODEL, PLACE)?;
    let mut model =
        ModelProto::decode(bytes).map_err(|error| FormatError::broken(PLACE, error.to_string()))?;
    let opset = opset_of(&model.opset_import)?;
    functions::inline(&mut model)?;
    let graph = model.graph.as_ref().ok_or_else(|| FormatError::broken(PLACE, "it has no graph"))?;
    let external = External::new(folder.map(Path::to_owned));
    let mut read = translate(graph, Target::new(&external, opset), options)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let producer = format!("{} {}", text(&model.producer_name), text(&model.producer_version));
    read.source = Source {
        format: Format::Onnx,
        producer: producer.trim().to_owned(),
        description: text(&model.doc_string),
    };
    validate(&read)?;
    litesmith_graph::infer_model(&mut read)?;
    Ok(read)
}

/// The version of ONNX's own operators.
fn opset_of(imports: &[OperatorSetIdProto]) -> Result<i64, FormatError> {
    let own = |import: &&OperatorSetIdProto| is_own(import.domain.as_deref());
    let Some(import) = imports.iter().find(own) else {
        if !imports.is_empty() {
            // It has none of ONNX's own operators, and those of others are told by their domain.
            return Ok(*OPSETS.end());
        }
        return Err(FormatError::broken(
            "the model",
            "it does not say which version of ONNX's operators it uses",
        ));
    };
    let version = import.version.unwrap_or(1);
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    let (least, most) = (OPSETS.start(), OPSETS.end());
    Err(FormatError::Unsupported(vec![Unsupported {
        layer: "the model".into(),
        operator: format!("opset {version}"),
        reason: format!(
            "operators of version {least} to {most} are read; bring the model to one of them with \
             onnx.version_converter"
        ),
    }]))
}

/// Whether a domain is that of ONNX's own operators.
fn is_own(domain: Option<&str>) -> bool {
    matches!(domain.unwrap_or(""), "" | "ai.onnx")
}

/// The model of a graph.
fn translate<'a>(
    graph: &'a GraphProto,
    mut target: Target<'a>,
    options: &ReadOptions,
) -> Result<Model, FormatError> {
    let mut draft = Draft::new("main");
    let mut environment = Environment::new();
    nodes::add_constants(&mut target, graph, &mut environment)?;
    let inputs = interface::inputs(graph, options)?;
    interface::add_inputs(&mut target, &mut draft, &mut environment, &inputs)?;
    nodes::run(&mut target, &mut draft, graph, &mut environment)?;
    if !target.unsupported.is_empty() {
        return Err(FormatError::Unsupported(target.unsupported));
    }
    interface::add_outputs(&mut target, &mut draft, &environment, graph)?;
    draft.graph.remove_dead();
    let mut model = target.model;
    model.signatures = vec![interface::signature(&draft.graph, &inputs, graph)];
    model.graphs[0] = draft.graph;
    Ok(model)
}
