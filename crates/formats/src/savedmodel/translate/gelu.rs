//! The Gaussian error linear unit by the error function.
//!
//! Every other operator that is spelled out is recognized in the graph, whatever it was read from. This
//! one has to be seen before: the graph has no error function, and behind what that is composed of, the
//! unit is not to be seen any more.

use std::f64::consts::FRAC_1_SQRT_2;

use crate::savedmodel::flow::{Flow, FlowNode, Value};

/// What the last operation of the unit becomes: a name that no file may hold.
pub(super) const GELU: &str = "~Gelu";

/// Most levels of products and identities that are looked through.
const DEEPEST: usize = 8;
/// Most values of a product that are looked at.
const MOST_SEEN: usize = 32;
/// Numbers that differ by no more than this, relatively, are the same: they are products of rounded ones.
const TOLERANCE: f64 = 1e-6;

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

/// `x` of `x / 2 * (1 + erf(x / sqrt(2)))`. It may be a product itself: any factor on the way to the error
/// function may be it.
fn operand(flow: &Flow, root: Value) -> Option<Value> {
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * b.abs();
    let factors = flow.product(root, None).factors;
    let (gate, sign, argument) = factors.into_iter().find_map(|gate| {
        let (sign, argument) = flow.argument_of_erf(gate)?;
        Some((gate, sign, argument))
    })?;
    flow.product(argument, None).seen.into_iter().find(|x| {
        let inner = flow.product(argument, Some(*x));
        let outer = flow.product(root, Some(*x));
        let is_argument = inner.factors == [*x] && close(sign * inner.number, FRAC_1_SQRT_2);
        let beside = outer.factors == [*x, gate] || outer.factors == [gate, *x];
        is_argument && beside && close(outer.number, 0.5)
    })
}

/// A number times values.
struct Product {
    number: f64,
    factors: Vec<Value>,
    /// Everything that was looked at.
    seen: Vec<Value>,
}

/// How the unit looks at a flow.
impl Flow {
    /// The argument of `1 + erf(argument)`, and its sign.
    fn argument_of_erf(&self, gate: Value) -> Option<(f64, Value)> {
        // erfc(-x) = 1 + erf(x)
        if let Some([argument]) = self.inputs_of(gate, &["Erfc"]) {
            return Some((-1.0, argument));
        }
        let [a, b] = self.inputs_of(gate, &["AddV2", "Add"])?;
        let erf = match (self.number(a), self.number(b)) {
            (Some(1.0), _) => b,
            (_, Some(1.0)) => a,
            _ => return None,
        };
        self.inputs_of(erf, &["Erf"]).map(|[argument]| (1.0, argument))
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
                "Cast" if node.attributes.dtype("SrcT") == node.attributes.dtype("DstT") => {
                    node.inputs.first()
                }
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

    /// A value as a product, `whole` not taken apart.
    fn product(&self, value: Value, whole: Option<Value>) -> Product {
        let mut product = Product { number: 1.0, factors: Vec::new(), seen: Vec::new() };
        self.collect(value, whole, DEEPEST, &mut product);
        product
    }

    fn collect(&self, value: Value, whole: Option<Value>, depth: usize, product: &mut Product) {
        let value = self.strip(value);
        if let Some(number) = self.number(value) {
            product.number *= number;
            return;
        }
        product.seen.push(value);
        let apart = Some(value) != whole && depth > 0 && product.seen.len() < MOST_SEEN;
        if let (Some([a, b]), true) = (self.inputs_of(value, &["Mul"]), apart) {
            self.collect(a, whole, depth - 1, product);
            self.collect(b, whole, depth - 1, product);
        } else if let (Some([negated]), true) = (self.inputs_of(value, &["Neg"]), apart) {
            product.number = -product.number;
            self.collect(negated, whole, depth - 1, product);
        } else if let (Some([a, b]), true) = (self.inputs_of(value, &["RealDiv"]), apart)
            && let Some(divisor) = self.number(b)
        {
            product.number /= divisor;
            self.collect(a, whole, depth - 1, product);
        } else {
            product.factors.push(value);
        }
    }
}
