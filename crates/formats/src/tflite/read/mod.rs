//! Reading: the bytes of a file to a model.

mod call;
mod calls;
mod graph;
mod operators;
mod sparsity;
mod states;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::{Format, GraphId, Metadata, Model, Signature, Source, validate_structure};

use self::graph::{Context, Subgraph};
use super::flatbuffer::reader::{File, Table};
use super::schema::{self, Builtin};
use crate::error::{FormatError, Unsupported};

/// An operator as the file's list of operator codes names it.
struct OperatorCode {
    builtin: Builtin,
    version: i32,
    /// The name of a custom operator.
    custom: String,
}

/// Reads a TFLite model. Constants share the memory of `bytes`.
///
/// # Errors
/// [`FormatError::Broken`] or [`FormatError::Model`] if the file contradicts its format or itself,
/// [`FormatError::Unsupported`] with every operator and tensor that cannot be represented.
pub fn read(bytes: Bytes) -> Result<Model, FormatError> {
    let file = File::new(bytes);
    let root = file.root(schema::IDENTIFIER)?;
    let version: u32 = root.scalar(schema::model::VERSION, 0)?;
    if version != schema::VERSION {
        return Err(FormatError::broken("the schema version", format!("it is {version}, not 3")));
    }
    let codes = read_codes(&root)?;
    let tables = root.tables(schema::model::SUBGRAPHS)?;
    let signatures = read_signatures(&root, &tables)?;
    let read = |(index, table)| Subgraph::read(table, index);
    let subgraphs = tables.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    // They lie all over the file, whose pages may be on their way.
    let buffers = read_buffers(&file, &root)?;
    let mut context = Context::new(&buffers, &codes, &subgraphs);
    context.read_states(&signatures)?;
    context.read_graphs(&signatures)?;
    let initial = context.states.initial.clone();
    let mut model = context.finish()?;
    model.signatures = signatures;
    remove_graphs(&mut model, &initial);
    model.metadata = read_metadata(&root, &buffers)?;
    model.source = Source {
        format: Format::Tflite,
        producer: producer(&model.metadata),
        description: root.text(schema::model::DESCRIPTION)?,
    };
    // Shapes have been inferred, node by node.
    validate_structure(&model)?;
    Ok(model)
}

/// Takes out the graphs that only gave states their first values, which the states know now.
fn remove_graphs(model: &mut Model, removed: &[bool]) {
    let mut numbers = Vec::new();
    let mut next = 0;
    for removed in removed {
        numbers.push(GraphId(next));
        next += u32::from(!removed);
    }
    let new = |GraphId(id): GraphId| numbers.get(id as usize).copied().unwrap_or(GraphId(id));
    let mut removed = removed.iter();
    model.graphs.retain(|_| !removed.next().copied().unwrap_or(false));
    for node in model.graphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
        node.op.renumber_calls(new);
    }
    for signature in &mut model.signatures {
        signature.graph = new(signature.graph);
    }
}

/// The bytes of each buffer; empty for those that only stand for a tensor's place.
fn read_buffers(file: &File, root: &Table<'_>) -> Result<Vec<Bytes>, FormatError> {
    let tables = root.tables(schema::model::BUFFERS)?;
    let mut buffers = Vec::with_capacity(tables.len());
    for table in tables {
        let inline = table.bytes(schema::buffer::DATA)?.unwrap_or_default();
        let offset: u64 = table.scalar(schema::buffer::OFFSET, 0)?;
        // An offset of 1 is what TensorFlow writes before it knows the real one.
        let is_inline = !inline.is_empty() || offset <= 1;
        buffers.push(match is_inline {
            true => inline,
            false => file.slice(offset, table.scalar(schema::buffer::SIZE, 0)?)?,
        });
    }
    Ok(buffers)
}

fn read_codes(root: &Table<'_>) -> Result<Vec<OperatorCode>, FormatError> {
    let read = |table: &Table<'_>| {
        let old: i8 = table.scalar(schema::operator_code::DEPRECATED_BUILTIN_CODE, 0)?;
        let new: i32 = table.scalar(schema::operator_code::BUILTIN_CODE, 0)?;
        Ok(OperatorCode {
            builtin: Builtin(new.max(i32::from(old))),
            version: table.scalar(schema::operator_code::VERSION, 1)?,
            custom: table.text(schema::operator_code::CUSTOM_CODE)?,
        })
    };
    root.tables(schema::model::OPERATOR_CODES)?.iter().map(read).collect()
}

fn read_metadata(root: &Table<'_>, buffers: &[Bytes]) -> Result<Vec<Metadata>, FormatError> {
    let read = |table: &Table<'_>| {
        let name = table.text(schema::metadata::NAME)?;
        let index: u32 = table.scalar(schema::metadata::BUFFER, 0)?;
        match buffers.get(index as usize) {
            Some(bytes) => Ok(Metadata { name, bytes: bytes.clone() }),
            None => Err(FormatError::broken(
                format!("metadata '{name}'"),
                format!("buffer {index} does not exist"),
            )),
        }
    };
    root.tables(schema::model::METADATA)?.iter().map(read).collect()
}

/// Signatures, their tensors named by place.
fn read_signatures(root: &Table<'_>, subgraphs: &[Table<'_>]) -> Result<Vec<Signature>, FormatError> {
    let read = |table: &Table<'_>| {
        let key = table.text(schema::signature_def::SIGNATURE_KEY)?;
        let index: u32 = table.scalar(schema::signature_def::SUBGRAPH_INDEX, 0)?;
        let broken = |reason: String| FormatError::broken(format!("signature '{key}'"), reason);
        let Some(subgraph) = subgraphs.get(index as usize) else {
            return Err(broken(format!("subgraph {index} does not exist")));
        };
        let named = |slot, places_slot, what: &str| {
            let places: Vec<i32> = subgraph.numbers(places_slot)?.unwrap_or_default();
            let mut place_of = HashMap::new();
            for (place, tensor) in places.iter().enumerate() {
                place_of.entry(*tensor).or_insert(place);
            }
            let mut names = Vec::new();
            for map in table.tables(slot)? {
                let name = map.text(schema::tensor_map::NAME)?;
                let tensor: u32 = map.scalar(schema::tensor_map::TENSOR_INDEX, 0)?;
                match i32::try_from(tensor).ok().and_then(|tensor| place_of.get(&tensor)) {
                    Some(place) => names.push((name, *place)),
                    None => return Err(broken(format!("'{name}' is no {what} of its subgraph"))),
                }
            }
            Ok(names)
        };
        Ok(Signature {
            graph: GraphId(index),
            inputs: named(schema::signature_def::INPUTS, schema::subgraph::INPUTS, "input")?,
            outputs: named(schema::signature_def::OUTPUTS, schema::subgraph::OUTPUTS, "output")?,
            key: key.clone(),
        })
    };
    root.tables(schema::model::SIGNATURE_DEFS)?.iter().map(read).collect()
}

/// The version of TensorFlow that wrote the file, if it says so.
fn producer(metadata: &[Metadata]) -> String {
    let version = |entry: &Metadata| {
        let file = File::new(entry.bytes.clone());
        let environment = file.nested_root().ok()?.table(schema::conversion_metadata::ENVIRONMENT).ok()??;
        environment.text(schema::conversion_environment::TENSORFLOW_VERSION).ok()
    };
    let entry = metadata.iter().find(|entry| entry.name == "CONVERSION_METADATA");
    match entry.and_then(version) {
        Some(version) if !version.is_empty() => format!("TensorFlow {version}"),
        _ => String::new(),
    }
}

/// A tensor's name as reports show it: the first of those that fusion has joined, of bounded length.
fn display_name(name: &str) -> String {
    const LONGEST: usize = 200;
    let first = name.split(';').next().unwrap_or_default();
    let end = first.char_indices().nth(LONGEST).map_or(first.len(), |(end, _)| end);
    first[..end].to_owned()
}

/// One entry of an error that lists what is not supported.
fn unsupported(layer: &str, operator: &str, reason: impl Into<String>) -> Unsupported {
    Unsupported { layer: layer.to_owned(), operator: operator.to_owned(), reason: reason.into() }
}
