//! Writing: a model to the bytes of an ONNX file, and of a file beside it where weights are many.
//!
//! Nodes are written against values without names ([`values`]); [`spelling`] is what operators ask for
//! and what they give, [`quantized`] puts integers behind DequantizeLinear and QuantizeLinear, [`layout`]
//! turns channels-last operators into ONNX's channels-first ones. Weights keep their place in memory
//! until they are written, permuted on the way ([`initializers`]).

mod drafts;
mod dynamic;
mod encode;
mod graph;
mod initializers;
mod layout;
mod operators;
mod opset;
mod quantized;
mod spelling;
#[cfg(test)]
mod tests;
mod unsigned;
mod values;
mod writer;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use litesmith_graph::{GraphId, Model, Signature, infer_graphs};

pub use self::encode::Encoded;
use self::encode::Parts;
use self::values::Origin;
use self::writer::Writer;
use crate::error::{FormatError, Unsupported};
use crate::output::{write_atomically, write_both_atomically};

/// Why a node cannot be written, and what to do about it.
#[derive(Debug)]
struct Refusal(String);

/// How a model is written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The version of ONNX's operators, 13 to 28. Where none is given, 13, or the lowest version that
    /// can say what the model has.
    pub opset: Option<u32>,
    /// Whether weights stand in a file of their own. Those of a file beyond 2 GB, which is the longest
    /// that the format has, always do.
    pub external_data: bool,
    /// Whether int8 tensors inside the model become uint8, 128 higher with a zero point 128 higher: the
    /// same real numbers. ONNX Runtime runs that 1.5 to 7 times as fast on x86. Inputs, outputs and
    /// weights keep their type.
    pub unsigned_activations: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The version of ONNX's operators.
    pub opset: u32,
    /// Why it is not 13 although nobody asked for another one.
    pub opset_reason: Option<&'static str>,
    /// How many nodes there are of each of ONNX's operators, nested graphs counted in.
    pub operators: BTreeMap<String, usize>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The name of the file with the weights, where they stand in one of their own.
    pub data_file: Option<String>,
}

/// Writes a model as an ONNX file. Weights of a file of their own stand in `NAME.data` beside it, where
/// `NAME` is the file's whole name. Files are put into place when all of them are complete.
///
/// # Errors
/// As [`encode`], and [`FormatError::Io`].
pub fn write(model: &Model, options: &WriteOptions, path: &Path) -> Result<Written, FormatError> {
    let name = path.file_name().map_or_else(|| "model.onnx".into(), |name| name.to_string_lossy());
    let encoded = encode(model, options, &name)?;
    let model_file = |output: &mut dyn Write| encoded.write_to(output);
    match encoded.data_file() {
        Some(data_file) => {
            let data = |output: &mut dyn Write| encoded.write_data_to(output);
            write_both_atomically((&path.with_file_name(data_file), data), (path, model_file))?;
        }
        None => write_atomically(path, model_file)?,
    }
    Ok(encoded.written())
}

/// Prepares a model to be written as an ONNX file of this name. Equal models give equal bytes.
///
/// # Errors
/// [`FormatError::Unsupported`] with every layer that ONNX cannot say, [`FormatError::Opset`], and
/// [`FormatError::Model`] if shapes cannot be inferred.
pub fn encode(model: &Model, options: &WriteOptions, file_name: &str) -> Result<Encoded, FormatError> {
    let opset = opset::choose(model, options.opset)?;
    let facts = infer_graphs(model)?;
    let Some(graph) = model.graphs.first() else {
        return Err(FormatError::broken("model", "it has no graph"));
    };
    let mut writer = Writer::new(model, &facts, opset.version);
    let names = Names::of(model);
    let mut inputs = Vec::with_capacity(graph.inputs.len());
    for (tensor, name) in graph.inputs.iter().zip(&names.inputs) {
        let value = writer.values.add(name, Origin::Input);
        writer.values.fix(value, name);
        writer.values.describe(value, facts[0][tensor.index()].dtype, facts[0][tensor.index()].shape.clone());
        inputs.push(value);
    }
    writer.open();
    let outputs = match writer.inline(GraphId(0), &inputs) {
        Ok(outputs) => outputs,
        Err(Refusal(reason)) => {
            let (layer, operator) = (graph.name.clone(), "graph".to_owned());
            writer.refused.push(Unsupported { layer, operator, reason });
            Vec::new()
        }
    };
    let outputs = writer.as_outputs("output", &outputs);
    for ((tensor, name), value) in graph.outputs.iter().zip(&names.outputs).zip(&outputs) {
        writer.values.fix(*value, name);
        let facts = &facts[0][tensor.index()];
        writer.values.describe(*value, facts.dtype, facts.shape.clone());
    }
    let mut nodes = writer.close();
    if !writer.refused.is_empty() {
        return Err(FormatError::Unsupported(writer.refused));
    }
    if options.unsigned_activations {
        unsigned::make_unsigned(&mut nodes, &outputs, &mut writer.values, &mut writer.initializers);
    }
    let read = drafts::read(&nodes);
    writer.initializers.retain(|value| read.contains(&value));
    let parts = Parts {
        model,
        opset,
        name: graph.name.clone(),
        nodes,
        inputs,
        outputs,
        values: writer.values,
        initializers: writer.initializers,
    };
    Ok(parts.assemble(options.external_data, file_name))
}

/// The names of the main graph's inputs and outputs: those of its signature, else those of its tensors,
/// each once.
struct Names {
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Names {
    fn of(model: &Model) -> Names {
        let signature = model.signatures.iter().find(|signature| signature.graph == GraphId(0));
        let graph = model.main();
        let mut unique = values::Unique::default();
        let mut name = |places: Option<&Vec<(String, usize)>>, place: usize, tensor: &str, what: &str| {
            let known = places.and_then(|places| places.iter().find(|(_, own)| *own == place));
            let name = known.map_or(tensor, |(name, _)| name);
            unique.make(if name.is_empty() { what } else { name })
        };
        let own = |read: fn(&Signature) -> &Vec<(String, usize)>| signature.map(read);
        let (given, gotten) = (own(|s| &s.inputs), own(|s| &s.outputs));
        let inputs = graph.inputs.iter().enumerate();
        let inputs = inputs.map(|(place, id)| name(given, place, &graph[*id].name, "input")).collect();
        let outputs = graph.outputs.iter().enumerate();
        let outputs = outputs.map(|(place, id)| name(gotten, place, &graph[*id].name, "output")).collect();
        Names { inputs, outputs }
    }
}
