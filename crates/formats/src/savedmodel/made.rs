//! SavedModels made for tests.

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;

use super::crc32c;
use super::proto::*;

/// `DT_FLOAT`, `DT_INT32`, `DT_BOOL` and `DT_RESOURCE`.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT: i32 = 3;
pub(super) const BOOL: i32 = 10;
pub(super) const RESOURCE: i32 = 20;

/// Appends a number, seven bits in each byte.
pub(super) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The contents of a block with a restart point every `every` entries.
pub(super) fn block(entries: &[(Vec<u8>, Vec<u8>)], every: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut restarts = vec![0u32];
    let mut last: &[u8] = &[];
    for (number, (key, value)) in entries.iter().enumerate() {
        let restart = number % every == 0;
        if restart && number > 0 {
            restarts.push(bytes.len() as u32);
        }
        let shared = if restart { 0 } else { last.iter().zip(key).take_while(|(a, b)| a == b).count() };
        for number in [shared, key.len() - shared, value.len()] {
            varint(&mut bytes, number as u64);
        }
        bytes.extend_from_slice(&key[shared..]);
        bytes.extend_from_slice(value);
        last = key;
    }
    let count = restarts.len() as u32;
    restarts.iter().chain([&count]).for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

/// A table of blocks, given as their contents with the last key of each.
pub(super) fn table_of(blocks: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |contents: &[u8]| {
        let mut handle = Vec::new();
        varint(&mut handle, bytes.len() as u64);
        varint(&mut handle, contents.len() as u64);
        bytes.extend_from_slice(contents);
        bytes.push(0);
        bytes.extend_from_slice(&crc32c::masked(&[contents, &[0]]).to_le_bytes());
        handle
    };
    let index: Vec<_> = blocks.iter().map(|(last, contents)| (last.clone(), put(contents))).collect();
    let metaindex = put(&block(&[], 16));
    let index = put(&block(&index, 1));
    let mut footer = [metaindex, index].concat();
    footer.resize(40, 0);
    footer.extend_from_slice(&0xDB47_7524_8B80_FB57_u64.to_le_bytes());
    bytes.extend_from_slice(&footer);
    bytes
}

/// A table with `per_block` entries in each block.
pub(super) fn table(entries: &[(Vec<u8>, Vec<u8>)], per_block: usize) -> Vec<u8> {
    let blocks = entries.chunks(per_block).map(|part| (part[part.len() - 1].0.clone(), block(part, 3)));
    table_of(&blocks.collect::<Vec<_>>())
}

/// A variable of single-precision numbers.
pub(super) struct Made {
    pub key: &'static str,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The index and the only shard of a bundle; `objects` is what its keys are said to be: the object's
/// number, the variable's name, and the key.
pub(super) fn bundle(variables: &[Made], objects: &[(usize, &str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let mut shard = Vec::new();
    let header = BundleHeader { shards: 1, endianness: 0 };
    let mut entries = vec![(Vec::new(), header.encode_to_vec())];
    if !objects.is_empty() {
        let last = objects.iter().map(|(number, ..)| *number).max().unwrap_or_default();
        let mut graph = TrackableObjectGraph { nodes: vec![TrackableObject::default(); last + 1] };
        for (number, full_name, key) in objects {
            graph.nodes[*number].attributes.push(SerializedTensor {
                name: "VARIABLE_VALUE".to_owned(),
                full_name: (*full_name).to_owned(),
                checkpoint_key: (*key).to_owned(),
            });
        }
        let text = graph.encode_to_vec();
        let length = (text.len() as u32).to_le_bytes();
        let lengths_checksum = crc32c::masked(&[&length]).to_le_bytes();
        let start = shard.len();
        varint(&mut shard, text.len() as u64);
        shard.extend_from_slice(&lengths_checksum);
        shard.extend_from_slice(&text);
        let entry = BundleEntry {
            dtype: 7,
            shape: Some(ShapeProto::default()),
            offset: start as i64,
            size: (shard.len() - start) as i64,
            checksum: crc32c::masked(&[&length, &lengths_checksum, &text]),
            ..BundleEntry::default()
        };
        entries.push((b"_CHECKPOINTABLE_OBJECT_GRAPH".to_vec(), entry.encode_to_vec()));
    }
    for variable in variables {
        let bytes: Vec<u8> = variable.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let entry = BundleEntry {
            dtype: FLOAT,
            shape: Some(shape(&variable.shape.iter().map(|size| *size as i64).collect::<Vec<_>>())),
            offset: shard.len() as i64,
            size: bytes.len() as i64,
            checksum: crc32c::masked(&[&bytes]),
            ..BundleEntry::default()
        };
        shard.extend_from_slice(&bytes);
        entries.push((variable.key.as_bytes().to_vec(), entry.encode_to_vec()));
    }
    entries.sort();
    (table(&entries, 2), shard)
}

/// A folder with these files.
pub(super) fn folder(model: &[u8], index: &[u8], shard: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let variables = folder.path().join("variables");
    std::fs::create_dir(&variables).unwrap();
    std::fs::write(folder.path().join("saved_model.pb"), model).unwrap();
    std::fs::write(variables.join("variables.index"), index).unwrap();
    std::fs::write(variables.join("variables.data-00000-of-00001"), shard).unwrap();
    folder
}

pub(super) fn shape(sizes: &[i64]) -> ShapeProto {
    ShapeProto { axes: sizes.iter().map(|size| AxisProto { size: *size }).collect(), unknown_rank: false }
}

/// A node of a graph or function.
pub(super) fn node(name: &str, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> NodeDef {
    let attribute =
        |(name, value): &(&str, Attribute)| ((*name).to_owned(), AttrValue { value: Some(value.clone()) });
    NodeDef {
        name: name.to_owned(),
        op: op.to_owned(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        attributes: attributes.iter().map(attribute).collect(),
    }
}

pub(super) fn function_attribute(name: &str) -> Attribute {
    Attribute::Function(FunctionReference { name: name.to_owned() })
}

/// A node that calls a function.
pub(super) fn call(name: &str, called: &str, inputs: &[&str]) -> NodeDef {
    node(name, "StatefulPartitionedCall", inputs, &[("f", function_attribute(called))])
}

/// A constant of one truth value or number.
pub(super) fn constant(name: &str, dtype: i32, value: i32) -> NodeDef {
    let mut tensor = TensorProto { dtype, shape: Some(shape(&[])), ..TensorProto::default() };
    match dtype {
        BOOL => tensor.bools = vec![value != 0],
        FLOAT => tensor.floats = vec![value as f32],
        _ => tensor.ints = vec![value],
    }
    node(
        name,
        "Const",
        &[],
        &[("value", Attribute::Tensor(Box::new(tensor))), ("dtype", Attribute::Type(dtype))],
    )
}

/// The handle of a variable of the graph.
pub(super) fn handle(name: &str) -> NodeDef {
    node(
        name,
        "VarHandleOp",
        &[],
        &[("shared_name", Attribute::Bytes(Bytes::copy_from_slice(name.as_bytes())))],
    )
}

/// A function: arguments with their types, nodes, and results with the tensors that they are.
pub(super) fn function(
    name: &str,
    arguments: &[(&str, i32)],
    nodes: Vec<NodeDef>,
    results: &[(&str, &str)],
) -> FunctionDef {
    let argument =
        |(name, dtype): &(&str, i32)| ArgDef { name: (*name).to_owned(), dtype: *dtype, ..ArgDef::default() };
    let inputs = arguments.iter().map(argument).collect();
    let outputs = results.iter().map(|(name, _)| argument(&(*name, FLOAT))).collect();
    FunctionDef {
        signature: Some(OpDef { name: name.to_owned(), inputs, outputs }),
        nodes,
        results: results.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).to_owned())).collect(),
        ..FunctionDef::default()
    }
}

/// A graph whose signature `serving_default` takes the placeholders of `inputs`, vectors of three
/// numbers, and gives `outputs`: names and tensors.
pub(super) fn model(
    inputs: &[&str],
    outputs: &[(&str, &str)],
    mut nodes: Vec<NodeDef>,
    functions: Vec<FunctionDef>,
) -> SavedModel {
    let info =
        |tensor: &str| TensorInfo { name: tensor.to_owned(), dtype: FLOAT, shape: Some(shape(&[-1, 3])) };
    nodes.extend(
        inputs.iter().map(|name| node(name, "Placeholder", &[], &[("dtype", Attribute::Type(FLOAT))])),
    );
    let signature = SignatureDef {
        inputs: inputs.iter().map(|name| ((*name).to_owned(), info(&format!("{name}:0")))).collect(),
        outputs: outputs.iter().map(|(name, tensor)| ((*name).to_owned(), info(tensor))).collect(),
    };
    SavedModel {
        meta_graphs: vec![MetaGraph {
            info: Some(MetaInfo { tags: vec!["serve".to_owned()], ..MetaInfo::default() }),
            graph: Some(GraphDef { nodes, library: Some(FunctionLibrary { functions }) }),
            signatures: [("serving_default".to_owned(), signature)].into(),
            objects: None,
        }],
    }
}
