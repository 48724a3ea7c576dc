//! A written model as the messages of its file. Lengths are computed first, so that weights can be
//! written one after the other.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use bytes::Bytes;
use litesmith_graph::{DType, Dim, Model, Shape};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::Written;
use super::drafts::{Attribute, Body, Draft};
use super::initializers::{Content, Initializer, Initializers};
use super::opset::{Opset, ir_version};
use super::values::{Names, Value, Values};
use crate::onnx::proto::{
    AttributeProto, Dimension, EXTERNAL, GRAPH_OF_MODEL, GraphProto, INITIALIZER_OF_GRAPH, ModelProto,
    NodeProto, OperatorSetIdProto, RAW_DATA_OF_TENSOR, Size, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto, attribute_type,
};

/// Weights beyond this many bytes stand in a file of their own: messages end at 2 GB.
const MOST_INLINE: u64 = 2_000_000_000;
/// Smaller constants stay in the model's file, where shapes can be told from them.
const LEAST_EXTERNAL: usize = 1024;
/// Weights in a file of their own start at multiples of this, so that they can be mapped.
const ALIGNMENT: u64 = 4096;

/// Everything that makes a file.
pub(super) struct Parts<'a> {
    pub model: &'a Model,
    pub opset: Opset,
    pub name: String,
    pub nodes: Vec<Draft>,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
    pub values: Values,
    pub initializers: Initializers,
}

/// A file ready to be written. It shares the memory of the model's constants.
pub struct Encoded {
    /// The model without its graph.
    head: Vec<u8>,
    /// The graph without its initializers.
    graph: Vec<u8>,
    tensors: Vec<Tensor>,
    written: Written,
}

/// A constant of the file.
struct Tensor {
    /// Its message without elements.
    head: Vec<u8>,
    content: Content,
    /// Where its elements stand in the file of weights, if they stand there.
    offset: Option<u64>,
}

impl Parts<'_> {
    pub fn assemble(self, external: bool, file_name: &str) -> Encoded {
        let names = self.values.names();
        let mut operators = BTreeMap::new();
        let node = self.nodes.iter().map(|node| node_proto(node, &names, &self.values)).collect();
        count(&self.nodes, &mut operators);
        let graph = GraphProto {
            node,
            name: Some(if self.name.is_empty() { "main".to_owned() } else { self.name.clone() }),
            input: self.inputs.iter().map(|value| value_info(*value, &names, &self.values)).collect(),
            output: self.outputs.iter().map(|value| value_info(*value, &names, &self.values)).collect(),
            value_info: self.inner(&names),
            ..GraphProto::default()
        };
        let version = i64::from(self.opset.version);
        let head = ModelProto {
            ir_version: Some(ir_version(self.opset.version)),
            producer_name: Some("litesmith".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            doc_string: Some(self.model.source.description.clone()).filter(|text| !text.is_empty()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(version) }],
            metadata_props: metadata(self.model),
            graph: None,
            ..ModelProto::default()
        };
        let external = external || self.initializers.bytes() > MOST_INLINE;
        let data_file = external.then(|| format!("{file_name}.data"));
        let mut data_length = 0;
        let tensors: Vec<Tensor> = self
            .initializers
            .entries
            .into_iter()
            .map(|initializer| tensor(initializer, &names, data_file.as_deref(), &mut data_length))
            .collect();
        let mut encoded = Encoded {
            head: head.encode_to_vec(),
            graph: graph.encode_to_vec(),
            tensors,
            written: Written {
                opset: self.opset.version,
                opset_reason: self.opset.reason,
                operators,
                bytes: 0,
                data_file: data_file.filter(|_| data_length > 0),
            },
        };
        encoded.written.bytes = encoded.len() + data_length;
        encoded
    }

    /// Types and shapes of values that are neither inputs nor outputs of the graph.
    fn inner(&self, names: &Names) -> Vec<ValueInfoProto> {
        let ends: HashSet<Value> = self.inputs.iter().chain(&self.outputs).copied().collect();
        let values = self.nodes.iter().flat_map(|node| &node.outputs);
        let values = values.filter(|value| !ends.contains(value) && self.values.get(**value).kind.is_some());
        values.map(|value| value_info(*value, names, &self.values)).collect()
    }
}

impl Encoded {
    /// Length of the model's file in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no file is empty")]
    pub fn len(&self) -> u64 {
        let graph = self.graph_length();
        let (key, length) = (key_len(GRAPH_OF_MODEL), encoded_len_varint(graph));
        self.head.len() as u64 + (key + length) as u64 + graph
    }

    /// The name of the file with the weights, where they stand in one of their own.
    #[must_use]
    pub fn data_file(&self) -> Option<&str> {
        self.written.data_file.as_deref()
    }

    /// What will have been written.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written.clone()
    }

    /// Writes the model's file; nothing that is as long as the file is held in memory.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.head)?;
        output.write_all(&prefix(GRAPH_OF_MODEL, self.graph_length()))?;
        output.write_all(&self.graph)?;
        for tensor in &self.tensors {
            output.write_all(&prefix(INITIALIZER_OF_GRAPH, tensor.length()))?;
            output.write_all(&tensor.head)?;
            if tensor.offset.is_none() {
                output.write_all(&prefix(RAW_DATA_OF_TENSOR, tensor.content.len() as u64))?;
                tensor.content.write_to(output)?;
            }
        }
        Ok(())
    }

    /// Writes the file with the weights.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_data_to(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut at = 0;
        for tensor in &self.tensors {
            let Some(offset) = tensor.offset else { continue };
            io::copy(&mut io::Read::take(io::repeat(0), offset - at), output)?;
            tensor.content.write_to(output)?;
            at = offset + tensor.content.len() as u64;
        }
        Ok(())
    }

    fn graph_length(&self) -> u64 {
        let message = |tensor: &Tensor| {
            let length = tensor.length();
            (key_len(INITIALIZER_OF_GRAPH) + encoded_len_varint(length)) as u64 + length
        };
        self.graph.len() as u64 + self.tensors.iter().map(message).sum::<u64>()
    }
}

impl Tensor {
    /// Length of its message.
    fn length(&self) -> u64 {
        if self.offset.is_some() {
            return self.head.len() as u64;
        }
        let length = self.content.len() as u64;
        (self.head.len() + key_len(RAW_DATA_OF_TENSOR) + encoded_len_varint(length)) as u64 + length
    }
}

/// The bytes before a field of this many bytes.
fn prefix(field: u32, length: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    encode_varint(length, &mut bytes);
    bytes
}

fn tensor(initializer: Initializer, names: &Names, data_file: Option<&str>, data_length: &mut u64) -> Tensor {
    let Initializer { value, dtype, dims, content } = initializer;
    let mut message = TensorProto {
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: Some(data_type(dtype)),
        name: Some(names.of(value).to_owned()),
        ..TensorProto::default()
    };
    let mut offset = None;
    if let Some(file) = data_file.filter(|_| content.len() >= LEAST_EXTERNAL) {
        let start = data_length.next_multiple_of(ALIGNMENT);
        *data_length = start + content.len() as u64;
        offset = Some(start);
        message.data_location = Some(EXTERNAL);
        message.external_data = vec![
            entry("location", file),
            entry("offset", &start.to_string()),
            entry("length", &content.len().to_string()),
        ];
    }
    Tensor { head: message.encode_to_vec(), content, offset }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// What the model was read from. Texts that the source carries along are kept under their names; those
/// that tell TFLite something, and bytes that are no text, mean nothing here.
fn metadata(model: &Model) -> Vec<StringStringEntryProto> {
    let mut entries = Vec::new();
    if !model.source.producer.is_empty() {
        entries.push(entry("source", &model.source.producer));
    }
    for metadata in &model.metadata {
        let of_tflite = metadata.name.starts_with("min_runtime_version")
            || metadata.name.starts_with("TFLITE")
            || metadata.name.starts_with("CONVERSION");
        let text = std::str::from_utf8(&metadata.bytes).ok();
        let text = text.filter(|text| !of_tflite && !text.contains(|c: char| c.is_control() && c != '\n'));
        entries.extend(text.map(|text| entry(&metadata.name, text)));
    }
    entries
}

fn count(nodes: &[Draft], operators: &mut BTreeMap<String, usize>) {
    for node in nodes {
        *operators.entry(node.operator.to_owned()).or_insert(0) += 1;
        for (_, attribute) in &node.attributes {
            if let Attribute::Graph(body) = attribute {
                count(&body.nodes, operators);
            }
        }
    }
}

fn node_proto(node: &Draft, names: &Names, values: &Values) -> NodeProto {
    let list = |ids: &[Value]| ids.iter().map(|value| names.of(*value).to_owned()).collect();
    NodeProto {
        input: list(&node.inputs),
        output: list(&node.outputs),
        name: Some(node.name.clone()),
        op_type: Some(node.operator.to_owned()),
        attribute: node
            .attributes
            .iter()
            .map(|(name, value)| attribute_proto(name, value, names, values))
            .collect(),
        domain: None,
    }
}

fn attribute_proto(name: &str, value: &Attribute, names: &Names, values: &Values) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(value) => {
            attribute.i = Some(*value);
            attribute_type::INT
        }
        Attribute::Type(dtype) => {
            attribute.i = Some(i64::from(data_type(*dtype)));
            attribute_type::INT
        }
        Attribute::Ints(values) => {
            attribute.ints.clone_from(values);
            attribute_type::INTS
        }
        Attribute::Float(value) => {
            attribute.f = Some(*value);
            attribute_type::FLOAT
        }
        Attribute::Text(text) => {
            attribute.s = Some(Bytes::from_static(text.as_bytes()));
            attribute_type::STRING
        }
        Attribute::Graph(body) => {
            attribute.g = Some(Box::new(body_proto(body, names, values)));
            attribute_type::GRAPH
        }
    };
    attribute.r#type = Some(kind);
    attribute
}

fn body_proto(body: &Body, names: &Names, values: &Values) -> GraphProto {
    GraphProto {
        node: body.nodes.iter().map(|node| node_proto(node, names, values)).collect(),
        name: Some(body.name.clone()),
        input: body.inputs.iter().map(|value| value_info(*value, names, values)).collect(),
        output: body.outputs.iter().map(|value| value_info(*value, names, values)).collect(),
        ..GraphProto::default()
    }
}

fn value_info(value: Value, names: &Names, values: &Values) -> ValueInfoProto {
    let kind = values.get(value).kind.as_ref().map(|(dtype, shape)| TypeProto {
        tensor_type: Some(TensorType { elem_type: Some(data_type(*dtype)), shape: Some(shape_proto(shape)) }),
    });
    ValueInfoProto { name: Some(names.of(value).to_owned()), r#type: kind }
}

fn shape_proto(shape: &Shape) -> TensorShapeProto {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(Size::Value(*size as i64)),
        Dim::Free(symbol) => Some(Size::Symbol(symbol.name().to_owned())),
        Dim::Unknown => None,
    };
    TensorShapeProto { dim: shape.dims().iter().map(|dim| Dimension { value: size(dim) }).collect() }
}

/// ONNX's number of an element type.
fn data_type(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Text => 8,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::I4 => 22,
        DType::Resource => 0,
    }
}
