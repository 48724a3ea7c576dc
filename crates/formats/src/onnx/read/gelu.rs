//! The Gaussian error linear unit as exporters write it out, `x * (1 + erf(x / sqrt 2)) / 2`: the graph has no error
//! function, but this.

use std::collections::HashMap;

use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};

/// Nearest that a constant must be to the one of the formula.
const NEAR: f32 = 1e-3;

/// For the last node of each such formula, by its index, the name of `x`.
pub(super) fn find(graph: &GraphProto) -> HashMap<usize, &str> {
    if !graph.node.iter().any(|node| op(node) == "Erf") {
        return HashMap::new();
    }
    let view = View::of(graph);
    let last = |(index, node): (usize, &'_ NodeProto)| (op(node) == "Mul").then_some(index);
    let candidates: Vec<usize> = graph.node.iter().enumerate().filter_map(last).collect();
    candidates.into_iter().filter_map(|index| Some((index, view.operand(index)?))).collect()
}

fn op(node: &NodeProto) -> &str {
    node.op_type.as_deref().unwrap_or("")
}

/// A graph by the names of its values.
struct View<'a> {
    graph: &'a GraphProto,
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, usize>,
    numbers: HashMap<&'a str, f32>,
}

/// The number of a constant with one element.
fn number(tensor: &TensorProto) -> Option<f32> {
    if tensor.data_type != Some(1) || tensor.dims.iter().any(|size| *size != 1) {
        return None;
    }
    match (tensor.raw_data.as_deref(), tensor.float_data.as_slice()) {
        (Some(raw), _) if raw.len() == 4 => Some(f32::from_le_bytes(raw.try_into().ok()?)),
        (_, [number]) => Some(*number),
        _ => None,
    }
}

impl<'a> View<'a> {
    fn of(graph: &'a GraphProto) -> View<'a> {
        let (mut producers, mut readers, mut numbers) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (index, node) in graph.node.iter().enumerate() {
            producers.extend(node.output.iter().map(|name| (name.as_str(), index)));
            for name in &node.input {
                *readers.entry(name.as_str()).or_insert(0) += 1;
            }
            let constant = node.attribute.iter().find_map(|attribute| attribute.t.as_deref());
            if let (Some(tensor), Some(name), "Constant") = (constant, node.output.first(), op(node)) {
                numbers.extend(number(tensor).map(|number| (name.as_str(), number)));
            }
        }
        for output in &graph.output {
            *readers.entry(output.name.as_deref().unwrap_or("")).or_insert(0) += 1;
        }
        for tensor in &graph.initializer {
            numbers.extend(number(tensor).map(|number| (tensor.name.as_deref().unwrap_or(""), number)));
        }
        View { graph, producers, readers, numbers }
    }

    /// The node that computes a value which one node alone reads.
    fn inner(&self, name: &str) -> Option<&'a NodeProto> {
        let index = *self.producers.get(name)?;
        (self.readers.get(name) == Some(&1)).then(|| &self.graph.node[index])
    }

    /// Both inputs of a node, the constant one, if any, as a number.
    fn with_number(&self, node: &'a NodeProto) -> Option<(&'a str, f32)> {
        let [a, b] = node.input.as_slice() else { return None };
        match (self.numbers.get(a.as_str()), self.numbers.get(b.as_str())) {
            (None, Some(number)) => Some((a, *number)),
            (Some(number), None) if op(node) != "Div" => Some((b, *number)),
            _ => None,
        }
    }

    /// `x` of `1 + erf(x / sqrt 2)`.
    fn gate(&self, name: &str) -> Option<&'a str> {
        let sum = self.inner(name).filter(|node| op(node) == "Add")?;
        let (erf, one) = self.with_number(sum)?;
        let erf = self.inner(erf).filter(|node| op(node) == "Erf")?;
        let (x, scale) = self.inner(erf.input.first()?).and_then(|scaled| match op(scaled) {
            "Div" => self.with_number(scaled).map(|(x, root)| (x, 1.0 / root)),
            "Mul" => self.with_number(scaled),
            _ => None,
        })?;
        let near = |a: f32, b: f32| (a - b).abs() < NEAR;
        (near(one, 1.0) && near(scale, std::f32::consts::FRAC_1_SQRT_2)).then_some(x)
    }

    /// `x`, if a node computes the whole formula: a product of `x`, a half and the gate, in any order.
    fn operand(&self, index: usize) -> Option<&'a str> {
        let (mut factor, mut others) = (1.0, Vec::new());
        self.factors(&self.graph.node[index], &mut factor, &mut others, 2)?;
        let [a, b] = others[..] else { return None };
        let gated = |x: &'a str, gate: &str| (self.gate(gate) == Some(x)).then_some(x);
        let x = gated(a, b).or_else(|| gated(b, a))?;
        ((factor - 0.5f32).abs() < NEAR).then_some(x)
    }

    /// The factors of a product, constants multiplied.
    fn factors(
        &self,
        node: &'a NodeProto,
        factor: &mut f32,
        others: &mut Vec<&'a str>,
        depth: usize,
    ) -> Option<()> {
        for name in &node.input {
            if let Some(number) = self.numbers.get(name.as_str()) {
                *factor *= *number;
                continue;
            }
            match self.inner(name) {
                Some(inner) if depth > 0 && op(inner) == "Mul" => {
                    self.factors(inner, factor, others, depth - 1)?;
                }
                _ => others.push(name),
            }
        }
        Some(())
    }
}
