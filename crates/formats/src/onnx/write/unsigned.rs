//! Activations without sign: what QuantizeLinear gives as int8 is uint8, 128 higher, with a zero point
//! 128 higher. It stands for the same real numbers; ONNX Runtime has integer kernels for it on x86 even
//! where several nodes read a tensor.

use std::collections::{HashMap, HashSet};

use litesmith_graph::{DType, Shape};

use super::drafts::{Attribute, Draft};
use super::initializers::Initializers;
use super::values::{Origin, Value, Values};

/// Operators that move elements of any type, from their first input to all outputs.
const MOVES: &[&str] = &["Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// Makes every tensor unsigned that only DequantizeLinear reads, and that is no output of the model.
pub(super) fn make_unsigned(
    nodes: &mut [Draft],
    outputs: &[Value],
    values: &mut Values,
    initializers: &mut Initializers,
) {
    let unsigned = eligible(nodes, outputs, initializers);
    let mut shifted: HashMap<Value, Value> = HashMap::new();
    for node in nodes {
        let tensor = match node.operator {
            "QuantizeLinear" => node.outputs[0],
            "DequantizeLinear" => node.inputs[0],
            _ => continue,
        };
        if unsigned.contains(&tensor)
            && let Some(zero_point) = node.inputs.get_mut(2)
        {
            let old = *zero_point;
            *zero_point = *shifted.entry(old).or_insert_with(|| shift(old, values, initializers));
        }
    }
    unsigned.iter().for_each(|value| values.retype(*value, DType::U8));
}

/// The tensors that can be unsigned.
fn eligible(nodes: &[Draft], outputs: &[Value], initializers: &Initializers) -> HashSet<Value> {
    let mut found: HashSet<Value> = HashSet::new();
    for node in nodes {
        let is_source = match node.operator {
            "QuantizeLinear" => node.inputs.get(2).is_some_and(|zero| initializers.is_signed_byte(*zero)),
            operator => MOVES.contains(&operator) && found.contains(&node.inputs[0]),
        };
        if is_source {
            found.extend(&node.outputs);
        }
    }
    outputs.iter().for_each(|output| {
        found.remove(output);
    });
    // A tensor stays signed where somebody else reads it, or moves it to one that does.
    loop {
        let before = found.len();
        for node in nodes {
            let moves = MOVES.contains(&node.operator);
            for (place, input) in node.inputs.iter().enumerate() {
                let fits = match node.operator {
                    "DequantizeLinear" => place == 0,
                    _ => moves && place == 0 && node.outputs.iter().all(|output| found.contains(output)),
                };
                if !fits {
                    found.remove(input);
                }
            }
            if moves && !found.contains(&node.inputs[0]) {
                node.outputs.iter().for_each(|output| {
                    found.remove(output);
                });
            }
            for (_, attribute) in &node.attributes {
                if let Attribute::Graph(body) = attribute {
                    seen_inside(&body.nodes, &body.outputs, &mut found);
                }
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// What nested graphs read stays as it is.
fn seen_inside(nodes: &[Draft], outputs: &[Value], found: &mut HashSet<Value>) {
    for value in outputs.iter().chain(nodes.iter().flat_map(|node| &node.inputs)) {
        found.remove(value);
    }
    for (_, attribute) in nodes.iter().flat_map(|node| &node.attributes) {
        if let Attribute::Graph(body) = attribute {
            seen_inside(&body.nodes, &body.outputs, found);
        }
    }
}

/// A zero point of int8, 128 higher and without sign.
fn shift(old: Value, values: &mut Values, initializers: &mut Initializers) -> Value {
    let Some((dims, bytes)) = initializers.bytes_of(old) else { return old };
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x80).collect();
    if let Some(known) = initializers.known(DType::U8, &dims, &bytes) {
        return known;
    }
    let name = format!("{}/unsigned", values.name_of(old));
    let value = values.add(&name, Origin::Initializer);
    values.describe(value, DType::U8, Shape::fixed(&dims));
    initializers.add_small(value, DType::U8, &dims, bytes);
    value
}
