//! Attributes of a node, decoded from its message.

use std::collections::BTreeMap;

use super::attributes::{Attribute, Attributes};
use super::proto::{self, AttrValue, ListValue, NodeDef};
use super::tensor::{self, Element};
use crate::error::{FormatError, Unsupported};

/// TensorFlow's number of the type of texts.
const TEXT: i32 = 7;

/// The attributes of a node. Those that start with an underscore are notes of the program that wrote
/// the file; they and functions are left out. `parameters` are the attributes of the call that the
/// node runs in, which its own attributes may name.
///
/// # Errors
/// If one contradicts itself, or is of an element type that is not supported.
pub(super) fn attributes(
    node: &NodeDef,
    name: &str,
    parameters: &BTreeMap<String, AttrValue>,
) -> Result<Attributes, FormatError> {
    let refuse = |reason: String| {
        let (layer, operator) = (name.to_owned(), node.op.clone());
        FormatError::Unsupported(vec![Unsupported { layer, operator, reason }])
    };
    let mut decoded = BTreeMap::new();
    for (key, value) in &node.attributes {
        if key.starts_with('_') {
            continue;
        }
        let place = format!("attribute '{key}' of node '{name}'");
        let mut value = value.value.as_ref();
        if let Some(proto::Attribute::Placeholder(parameter)) = value {
            value = parameters.get(parameter).and_then(|value| value.value.as_ref());
        }
        let dtype = |number: i32| Element::of(number, &place)?.dtype().map_err(refuse);
        let attribute = match value {
            Some(proto::Attribute::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Attribute::Text(text.to_owned()),
                Err(_) => continue,
            },
            Some(proto::Attribute::Int(value)) => Attribute::Integer(*value),
            Some(proto::Attribute::Float(value)) => Attribute::Number(*value),
            Some(proto::Attribute::Bool(value)) => Attribute::Flag(*value),
            Some(proto::Attribute::Type(number)) => Attribute::Type(dtype(*number)?),
            Some(proto::Attribute::Shape(shape)) => Attribute::Shape(tensor::sizes(shape, &place)?),
            Some(proto::Attribute::Tensor(proto)) => {
                dtype(proto.dtype)?;
                if proto.dtype == TEXT {
                    return Err(refuse("it is a text; look texts up before the model".to_owned()));
                }
                Attribute::Tensor(tensor::decode(proto, &place)?)
            }
            Some(proto::Attribute::List(list)) => match list_of(list, dtype)? {
                Some(attribute) => attribute,
                None => continue,
            },
            Some(proto::Attribute::Function(_) | proto::Attribute::Placeholder(_)) | None => continue,
        };
        decoded.insert(key.clone(), attribute);
    }
    Ok(Attributes(decoded))
}

/// A list as an attribute; `None` if it is of a kind that no operation's meaning depends on. An empty
/// list does not say of what, and is one of integers.
fn list_of(
    list: &ListValue,
    dtype: impl Fn(i32) -> Result<litesmith_graph::DType, FormatError>,
) -> Result<Option<Attribute>, FormatError> {
    if !list.types.is_empty() {
        let types = list.types.iter().map(|number| dtype(*number)).collect::<Result<_, _>>()?;
        return Ok(Some(Attribute::Types(types)));
    }
    let other = !(list.bytes.is_empty()
        && list.floats.is_empty()
        && list.bools.is_empty()
        && list.shapes.is_empty()
        && list.functions.is_empty());
    Ok((!other).then(|| Attribute::Integers(list.ints.clone())))
}
