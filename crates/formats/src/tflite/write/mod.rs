//! Writing: a model to the bytes of a file.

mod buffers;
mod graph;
mod operators;
mod sparsity;
mod states;
mod versions;

use std::io::{self, Write};

use litesmith_graph::{Model, Signature, infer_graphs};

use self::buffers::Buffers;
use self::graph::{Codes, write_graph};
use self::versions::{Runtime, min_runtime};
use super::flatbuffer::builder::{Image, Table, assemble};
use super::schema;
use crate::error::FormatError;

/// Constants of a file beyond this many bytes stand behind the flatbuffer, whose own offsets end at
/// 2 GB.
const LARGEST_INLINE: u64 = 2_000_000_000;

/// A file ready to be written. It shares the memory of the model's constants.
pub struct Encoded(Image);

impl Encoded {
    /// Length of the file in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no file is empty")]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Writes the file; nothing that is as long as the file is held in memory.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        self.0.write_to(output)
    }
}

/// Prepares a model to be written as a TFLite file. Equal models give equal bytes.
///
/// # Errors
/// [`FormatError::Unsupported`] with every operator and tensor that TFLite does not have, and
/// [`FormatError::Model`] if shapes cannot be inferred.
pub fn encode(model: &Model) -> Result<Encoded, FormatError> {
    encode_with(model, LARGEST_INLINE)
}

/// A model as the bytes of a TFLite file.
///
/// # Errors
/// As [`encode`].
pub fn write(model: &Model) -> Result<Vec<u8>, FormatError> {
    let encoded = encode(model)?;
    let mut bytes = Vec::with_capacity(usize::try_from(encoded.len()).unwrap_or(0));
    match encoded.write_to(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(source) => Err(FormatError::Io { path: "memory".into(), source }),
    }
}

fn encode_with(model: &Model, largest_inline: u64) -> Result<Encoded, FormatError> {
    let mut buffers = Buffers::new();
    let mut codes = Codes::default();
    let mut refused = Vec::new();
    let mut graphs = Vec::new();
    let facts = infer_graphs(model)?;
    let entries = states::entries(model);
    let first_values = i32::try_from(model.graphs.len()).unwrap_or(i32::MAX);
    for (index, facts) in facts.iter().enumerate() {
        let first_values = entries[index].then_some(first_values);
        graphs.push(write_graph(model, index, facts, first_values, &mut buffers, &mut codes, &mut refused)?);
    }
    if entries.contains(&true) {
        graphs.push(states::write_first_values(model, &mut buffers, &mut codes, &mut refused));
    }
    if !refused.is_empty() {
        return Err(FormatError::Unsupported(refused));
    }
    let signatures = signatures(model);
    let signatures = signatures.iter().map(|s| signature_table(s, &graphs)).collect();
    let metadata = write_metadata(model, &codes, &mut buffers);
    let (buffer_tables, regions) = buffers.finish(largest_inline);
    let root = Table::default()
        .scalar(schema::model::VERSION, schema::VERSION, 0)
        .tables(schema::model::OPERATOR_CODES, codes.tables())
        .tables(schema::model::SUBGRAPHS, graphs.into_iter().map(|graph| graph.table).collect())
        .text(schema::model::DESCRIPTION, &format!("Litesmith {}", env!("CARGO_PKG_VERSION")))
        .tables(schema::model::BUFFERS, buffer_tables)
        .tables(schema::model::METADATA, metadata)
        .tables(schema::model::SIGNATURE_DEFS, signatures);
    assemble(root, schema::IDENTIFIER, &regions).map(Encoded)
}

/// The model's signatures, or one that is made from the names of the main graph's tensors.
fn signatures(model: &Model) -> Vec<Signature> {
    if !model.signatures.is_empty() {
        return model.signatures.clone();
    }
    let Some(graph) = model.graphs.first() else { return Vec::new() };
    let named = |ids: &[litesmith_graph::TensorId], what: &str| {
        let mut names: Vec<(String, usize)> = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let name = &graph[*id].name;
            let unique = !name.is_empty() && names.iter().all(|(other, _)| other != name);
            names.push((if unique { name.clone() } else { format!("{what}_{place}") }, place));
        }
        names
    };
    vec![Signature {
        key: "serving_default".into(),
        graph: litesmith_graph::GraphId(0),
        inputs: named(&graph.inputs, "input"),
        outputs: named(&graph.outputs, "output"),
    }]
}

fn signature_table(signature: &Signature, graphs: &[graph::Written]) -> Table {
    use schema::{signature_def, tensor_map};
    let maps = |names: &[(String, usize)], tensors: &dyn Fn(&graph::Written) -> &[i32]| {
        let tensors = graphs.get(signature.graph.0 as usize).map(tensors).unwrap_or_default();
        let map = |(name, place): &(String, usize)| {
            let tensor = tensors.get(*place).copied().unwrap_or(0).cast_unsigned();
            Table::default().text(tensor_map::NAME, name).scalar(tensor_map::TENSOR_INDEX, tensor, 0)
        };
        names.iter().map(map).collect::<Vec<_>>()
    };
    Table::default()
        .tables(signature_def::INPUTS, maps(&signature.inputs, &|graph| &graph.inputs))
        .tables(signature_def::OUTPUTS, maps(&signature.outputs, &|graph| &graph.outputs))
        .text(signature_def::SIGNATURE_KEY, &signature.key)
        .scalar(signature_def::SUBGRAPH_INDEX, signature.graph.0, 0)
}

/// The source's entries, with that of the oldest runtime brought up to date.
fn write_metadata(model: &Model, codes: &Codes, buffers: &mut Buffers) -> Vec<Table> {
    let oldest = codes.builtins().filter_map(|(builtin, version)| min_runtime(builtin, version)).max();
    let mut text = oldest.unwrap_or(Runtime::OLDEST).to_string().into_bytes();
    text.resize(16, 0);
    let runtime = bytes::Bytes::from(text);
    let mut entries: Vec<_> = model.metadata.iter().map(|entry| (&*entry.name, &entry.bytes)).collect();
    match entries.iter_mut().find(|(name, _)| *name == schema::MIN_RUNTIME_VERSION) {
        Some((_, bytes)) => *bytes = &runtime,
        None => entries.push((schema::MIN_RUNTIME_VERSION, &runtime)),
    }
    let table = |(name, bytes): (&str, &bytes::Bytes)| {
        Table::default().text(schema::metadata::NAME, name).scalar(
            schema::metadata::BUFFER,
            buffers.add_metadata(bytes.clone()),
            0,
        )
    };
    entries.into_iter().map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tflite::read;
    use litesmith_graph::text::parse;

    #[test]
    fn large_constants_stand_behind_the_flatbuffer() {
        let text = "graph main(%x: f32[batch,64]) -> (%y) {
            %w: f32[32,64] = random(1)
            %b: f32[32] = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]
            %y: f32[batch,32] = FullyConnected(%x, %w, %b)
        }";
        let model = parse(text).unwrap();
        let mut bytes = Vec::new();
        let encoded = encode_with(&model, 100).unwrap();
        encoded.write_to(&mut bytes).unwrap();
        assert_eq!(encoded.len(), bytes.len() as u64);
        let read = read(bytes.into()).unwrap();
        let inline = read_back(&model);
        assert_eq!(read, inline);
    }

    fn read_back(model: &Model) -> Model {
        read(write(model).unwrap().into()).unwrap()
    }
}
