//! The messages of TensorFlow that a model needs, field by field: `saved_model.proto`,
//! `meta_graph.proto`, `graph.proto`, `function.proto`, `tensor.proto`, `saved_object_graph.proto`,
//! `trackable_object_graph.proto` and `tensor_bundle.proto`. Fields that nothing here asks for are
//! left out; their bytes are skipped.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// `saved_model.pb`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedModel {
    #[prost(message, repeated, tag = "2")]
    pub meta_graphs: Vec<MetaGraph>,
}

/// A graph with its signatures, chosen by tags.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetaGraph {
    #[prost(message, optional, tag = "1")]
    pub info: Option<MetaInfo>,
    #[prost(message, optional, tag = "2")]
    pub graph: Option<GraphDef>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub signatures: BTreeMap<String, SignatureDef>,
    #[prost(message, optional, tag = "7")]
    pub objects: Option<SavedObjectGraph>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetaInfo {
    #[prost(message, optional, tag = "2")]
    pub operations: Option<OpList>,
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
    #[prost(string, tag = "5")]
    pub tensorflow_version: String,
}

/// What the operations of the graph look like.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OpList {
    #[prost(message, repeated, tag = "1")]
    pub operations: Vec<OpDef>,
}

/// An operation's, or a function's, arguments and results.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OpDef {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<ArgDef>,
    #[prost(message, repeated, tag = "3")]
    pub outputs: Vec<ArgDef>,
}

/// One argument or result, which may stand for several tensors.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ArgDef {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "3")]
    pub dtype: i32,
    /// The attribute that says how many tensors it is.
    #[prost(string, tag = "5")]
    pub number_attribute: String,
    /// The attribute that lists the types of the tensors that it is.
    #[prost(string, tag = "6")]
    pub types_attribute: String,
}

/// An entry point.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SignatureDef {
    #[prost(btree_map = "string, message", tag = "1")]
    pub inputs: BTreeMap<String, TensorInfo>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub outputs: BTreeMap<String, TensorInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorInfo {
    /// The tensor's name in the graph; empty if it is sparse or composite.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub dtype: i32,
    #[prost(message, optional, tag = "3")]
    pub shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ShapeProto {
    #[prost(message, repeated, tag = "2")]
    pub axes: Vec<AxisProto>,
    #[prost(bool, tag = "3")]
    pub unknown_rank: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AxisProto {
    /// Its size; -1 where not known.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphDef {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<NodeDef>,
    #[prost(message, optional, tag = "2")]
    pub library: Option<FunctionLibrary>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeDef {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub op: String,
    #[prost(string, repeated, tag = "3")]
    pub inputs: Vec<String>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub attributes: BTreeMap<String, AttrValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionLibrary {
    #[prost(message, repeated, tag = "1")]
    pub functions: Vec<FunctionDef>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionDef {
    #[prost(message, optional, tag = "1")]
    pub signature: Option<OpDef>,
    #[prost(message, repeated, tag = "3")]
    pub nodes: Vec<NodeDef>,
    /// Which tensor each result is.
    #[prost(btree_map = "string, string", tag = "4")]
    pub results: BTreeMap<String, String>,
    /// Which nodes must run for their effects.
    #[prost(btree_map = "string, string", tag = "6")]
    pub effects: BTreeMap<String, String>,
    /// What is said about each argument, by its place.
    #[prost(btree_map = "uint32, message", tag = "7")]
    pub arguments: BTreeMap<u32, ArgumentAttributes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArgumentAttributes {
    #[prost(btree_map = "string, message", tag = "1")]
    pub attributes: BTreeMap<String, AttrValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttrValue {
    #[prost(oneof = "Attribute", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub value: Option<Attribute>,
}

/// What an attribute is. The large ones are boxed: maps reserve room for several.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Attribute {
    #[prost(message, boxed, tag = "1")]
    List(Box<ListValue>),
    #[prost(bytes = "bytes", tag = "2")]
    Bytes(Bytes),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(float, tag = "4")]
    Float(f32),
    #[prost(bool, tag = "5")]
    Bool(bool),
    #[prost(int32, tag = "6")]
    Type(i32),
    #[prost(message, tag = "7")]
    Shape(ShapeProto),
    #[prost(message, boxed, tag = "8")]
    Tensor(Box<TensorProto>),
    /// The name of an attribute of the function that the node stands in.
    #[prost(string, tag = "9")]
    Placeholder(String),
    #[prost(message, tag = "10")]
    Function(FunctionReference),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListValue {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub bytes: Vec<Bytes>,
    #[prost(int64, repeated, tag = "3")]
    pub ints: Vec<i64>,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(bool, repeated, tag = "5")]
    pub bools: Vec<bool>,
    #[prost(int32, repeated, tag = "6")]
    pub types: Vec<i32>,
    #[prost(message, repeated, tag = "7")]
    pub shapes: Vec<ShapeProto>,
    #[prost(message, repeated, tag = "9")]
    pub functions: Vec<FunctionReference>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionReference {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A constant: all of its bytes, or its first elements, the last of which is repeated.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<ShapeProto>,
    #[prost(bytes = "bytes", tag = "4")]
    pub content: Bytes,
    #[prost(float, repeated, tag = "5")]
    pub floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    pub doubles: Vec<f64>,
    /// Integers of up to 32 bits, but for `uint32`.
    #[prost(int32, repeated, tag = "7")]
    pub ints: Vec<i32>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub strings: Vec<Bytes>,
    #[prost(int64, repeated, tag = "10")]
    pub longs: Vec<i64>,
    #[prost(bool, repeated, tag = "11")]
    pub bools: Vec<bool>,
    /// Bits of half and brain floats.
    #[prost(int32, repeated, tag = "13")]
    pub halves: Vec<i32>,
    #[prost(uint32, repeated, tag = "16")]
    pub uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "17")]
    pub ulongs: Vec<u64>,
}

/// The Python objects of a model and what their functions capture.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedObjectGraph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<SavedObject>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub functions: BTreeMap<String, ConcreteFunction>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedObject {
    #[prost(message, optional, tag = "7")]
    pub variable: Option<SavedVariable>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedVariable {
    #[prost(bool, tag = "3")]
    pub trainable: bool,
    #[prost(string, tag = "6")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConcreteFunction {
    /// The objects that its last arguments are.
    #[prost(int32, repeated, tag = "2")]
    pub bound_inputs: Vec<i32>,
}

/// What a checkpoint says about the same objects.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackableObjectGraph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<TrackableObject>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackableObject {
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<SerializedTensor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SerializedTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    /// The variable's name, which others may have too.
    #[prost(string, tag = "2")]
    pub full_name: String,
    #[prost(string, tag = "3")]
    pub checkpoint_key: String,
}

/// The first entry of a variables index.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleHeader {
    #[prost(int32, tag = "1")]
    pub shards: i32,
    /// 0 is little endian, 1 big.
    #[prost(int32, tag = "2")]
    pub endianness: i32,
}

/// Where a tensor of a variables bundle lies.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleEntry {
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<ShapeProto>,
    #[prost(int32, tag = "3")]
    pub shard: i32,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// Masked CRC-32C of its bytes.
    #[prost(fixed32, tag = "6")]
    pub checksum: u32,
    /// The pieces that it is stored in.
    #[prost(message, repeated, tag = "7")]
    pub slices: Vec<SliceProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SliceProto {
    #[prost(message, repeated, tag = "1")]
    pub extents: Vec<ExtentProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExtentProto {
    #[prost(int64, tag = "1")]
    pub start: i64,
    /// All of the axis where absent.
    #[prost(int64, optional, tag = "2")]
    pub length: Option<i64>,
}
