//! The Gaussian error linear unit by the error function.
//!
//! Every other operator that is spelled out is recognized in the graph, whatever it was read from. This
//! one has to be seen before: the graph has no error function, and behind what that is composed of, the
//! unit is not to be seen any more.

use std::f64::consts::FRAC_1_SQRT_2;

use litesmith_graph::DType;

use crate::savedmodel::flow::{Flow, FlowNode, Value};

/// What the last operation of the unit becomes: a name that no file may hold.
pub(super) const GELU: &str = "~Gelu";

/// Most levels of products and identities that are looked through.
const DEEPEST: usize = 8;
/// Numbers that differ by no more than this, relatively, are the same: they are products of rounded ones.
const TOLERANCE: f64 = 1e-6;
/// The same where numbers are of half precision.
const HALF_TOLERANCE: f64 = 1e-3;

/// Lets the last operation of every such unit of a flow and of the flows inside read what the unit
/// starts from. What it read before stays for other readers, or is read by nobody and left out.
pub(super) fn recognize(flow: &mut Flow) {
    for index in 0..flow.nodes.len() {
        flow.nodes[index].branches.iter_mut().for_each(recognize);
        if !matches!(flow.nodes[index].op.as_str(), "Mul" | "RealDiv") {
            continue;
        }
        if let Some(x) = operand(flow, Value::Node { node: index, output: 0 }) {
            let node = &mut flow.nodes[index];
            node.op = GELU.to_owned();
            node.inputs = vec![x];
            node.attributes = Default::default();
        }
    }
}

/// `x` of `x / 2 * (1 + erf(x / sqrt(2)))`.
fn operand(flow: &Flow, root: Value) -> Option<Value> {
    let (factor, values) = flow.product(root);
    let [a, b] = values[..] else { return None };
    let half = flow.node_of(root).and_then(|node| node.attributes.dtype("T")) == Some(DType::F16);
    let tolerance = if half { HALF_TOLERANCE } else { TOLERANCE };
    let close = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs();
    let is_unit = |x: Value, gate: Value| {
        let argument = flow.argument_of_erf(gate);
        argument.is_some_and(|(scale, inner)| inner == x && close(scale, FRAC_1_SQRT_2))
    };
    let unit = [(a, b), (b, a)].into_iter().find(|(x, gate)| is_unit(*x, *gate));
    unit.map(|(x, _)| x).filter(|_| close(factor, 0.5))
}

/// How the unit looks at a flow.
impl Flow {
    /// `a` and `x` of `1 + erf(a * x)`.
    fn argument_of_erf(&self, gate: Value) -> Option<(f64, Value)> {
        // erfc(-x) = 1 + erf(x)
        if let Some([argument]) = self.inputs_of(gate, &["Erfc"]) {
            return self.scaled(argument).map(|(scale, x)| (-scale, x));
        }
        let [a, b] = self.inputs_of(gate, &["AddV2", "Add"])?;
        let erf = match (self.number(a), self.number(b)) {
            (Some(1.0), _) => b,
            (_, Some(1.0)) => a,
            _ => return None,
        };
        let [argument] = self.inputs_of(erf, &["Erf"])?;
        self.scaled(argument)
    }

    /// What a value is behind operations that change nothing.
    fn strip(&self, value: Value) -> Value {
        let mut value = value;
        for _ in 0..DEEPEST {
            let Value::Node { node, output } = value else { break };
            let Some(node) = self.nodes.get(node) else { break };
            let passed = match node.op.as_str() {
                "Identity" | "StopGradient" | "PreventGradient" | "Snapshot" => node.inputs.first(),
                "IdentityN" => node.inputs.get(output),
                _ => None,
            };
            match passed {
                Some(passed) => value = *passed,
                None => break,
            }
        }
        value
    }

    /// The node whose first output a value is.
    fn node_of(&self, value: Value) -> Option<&FlowNode> {
        match self.strip(value) {
            Value::Node { node, output: 0 } => self.nodes.get(node),
            _ => None,
        }
    }

    /// The inputs of the node that a value comes from, if it is one of these operations and has so many.
    fn inputs_of<const N: usize>(&self, value: Value, ops: &[&str]) -> Option<[Value; N]> {
        let node = self.node_of(value).filter(|node| ops.contains(&node.op.as_str()))?;
        <[Value; N]>::try_from(node.inputs.as_slice()).ok()
    }

    /// A constant of one number.
    fn number(&self, value: Value) -> Option<f64> {
        let node = self.node_of(value).filter(|node| node.op == "Const")?;
        let constant = node.attributes.tensor("value")?;
        if constant.shape.iter().any(|size| *size != 1) {
            return None;
        }
        constant.data.floats(constant.dtype)?.first().map(|value| f64::from(*value))
    }

    /// A value as a number times the product of others.
    fn product(&self, value: Value) -> (f64, Vec<Value>) {
        let (mut factor, mut values) = (1.0, Vec::new());
        self.collect(value, DEEPEST, &mut factor, &mut values);
        (factor, values)
    }

    fn collect(&self, value: Value, depth: usize, factor: &mut f64, values: &mut Vec<Value>) {
        let value = self.strip(value);
        if let Some(number) = self.number(value) {
            *factor *= number;
        } else if let (Some([a, b]), true) = (self.inputs_of(value, &["Mul"]), depth > 0) {
            self.collect(a, depth - 1, factor, values);
            self.collect(b, depth - 1, factor, values);
        } else if let (Some([negated]), true) = (self.inputs_of(value, &["Neg"]), depth > 0) {
            *factor = -*factor;
            self.collect(negated, depth - 1, factor, values);
        } else if let (Some([a, b]), true) = (self.inputs_of(value, &["RealDiv"]), depth > 0)
            && let Some(divisor) = self.number(b)
        {
            *factor /= divisor;
            self.collect(a, depth - 1, factor, values);
        } else {
            values.push(value);
        }
    }

    /// A value as a number times one other.
    fn scaled(&self, value: Value) -> Option<(f64, Value)> {
        match self.product(value) {
            (factor, values) if values.len() == 1 => Some((factor, values[0])),
            _ => None,
        }
    }
}
