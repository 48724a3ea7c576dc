//! How patterns look at a flow.

use crate::savedmodel::flow::{Flow, FlowNode, Value, Variable};

/// Most levels of products and identities that are looked through.
const DEEPEST: usize = 8;

/// A flow with its variables.
pub(super) struct View<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// Its variables.
    pub variables: &'a [Variable],
}

impl<'a> View<'a> {
    /// What a value is behind operations that change nothing.
    pub fn strip(&self, value: Value) -> Value {
        let mut value = value;
        for _ in 0..DEEPEST {
            let Value::Node { node, output } = value else { break };
            let Some(node) = self.flow.nodes.get(node) else { break };
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
    pub fn node(&self, value: Value) -> Option<&'a FlowNode> {
        match self.strip(value) {
            Value::Node { node, output: 0 } => self.flow.nodes.get(node),
            _ => None,
        }
    }

    /// The inputs of the node that a value comes from, if it is one of these operations and has so many.
    pub fn inputs<const N: usize>(&self, value: Value, ops: &[&str]) -> Option<[Value; N]> {
        let node = self.node(value).filter(|node| ops.contains(&node.op.as_str()))?;
        <[Value; N]>::try_from(node.inputs.as_slice()).ok()
    }

    /// The only input of such an operation.
    pub fn input(&self, value: Value, ops: &[&str]) -> Option<Value> {
        self.inputs(value, ops).map(|[input]: [Value; 1]| input)
    }

    /// Both orders of the inputs of such an operation of two.
    pub fn pairs(&self, value: Value, ops: &[&str]) -> Vec<[Value; 2]> {
        match self.inputs(value, ops) {
            Some([a, b]) => vec![[a, b], [b, a]],
            None => Vec::new(),
        }
    }

    /// Whether two values are the same.
    pub fn same(&self, a: Value, b: Value) -> bool {
        self.strip(a) == self.strip(b)
    }

    /// A constant of one number.
    pub fn number(&self, value: Value) -> Option<f64> {
        let node = self.node(value).filter(|node| node.op == "Const")?;
        let constant = node.attributes.tensor("value")?;
        if constant.shape.iter().any(|size| *size != 1) {
            return None;
        }
        constant.data.floats(constant.dtype)?.first().map(|value| f64::from(*value))
    }

    /// A constant of integers.
    pub fn integers(&self, value: Value) -> Option<Vec<i64>> {
        let node = self.node(value).filter(|node| node.op == "Const")?;
        let constant = node.attributes.tensor("value")?;
        constant.data.integers(constant.dtype).filter(|values| values.len() <= 16)
    }

    /// Whether a value is a variable or a constant of one axis.
    pub fn is_vector(&self, value: Value) -> bool {
        match self.strip(value) {
            Value::Variable(index) => self.variables.get(index).is_some_and(|v| v.shape.len() == 1),
            value => self
                .node(value)
                .filter(|node| node.op == "Const")
                .and_then(|node| node.attributes.tensor("value"))
                .is_some_and(|constant| constant.shape.len() == 1),
        }
    }

    /// A value as a number times the product of others.
    pub fn product(&self, value: Value) -> (f64, Vec<Value>) {
        let (mut factor, mut values) = (1.0, Vec::new());
        self.collect(value, DEEPEST, &mut factor, &mut values);
        (factor, values)
    }

    fn collect(&self, value: Value, depth: usize, factor: &mut f64, values: &mut Vec<Value>) {
        let value = self.strip(value);
        if let Some(number) = self.number(value) {
            *factor *= number;
        } else if let (Some([a, b]), true) = (self.inputs(value, &["Mul"]), depth > 0) {
            self.collect(a, depth - 1, factor, values);
            self.collect(b, depth - 1, factor, values);
        } else if let (Some(negated), true) = (self.input(value, &["Neg"]), depth > 0) {
            *factor = -*factor;
            self.collect(negated, depth - 1, factor, values);
        } else if let (Some([a, b]), true) = (self.inputs(value, &["RealDiv"]), depth > 0)
            && let Some(divisor) = self.number(b)
        {
            *factor /= divisor;
            self.collect(a, depth - 1, factor, values);
        } else {
            values.push(value);
        }
    }

    /// A value as a number times one other.
    pub fn scaled(&self, value: Value) -> Option<(f64, Value)> {
        match self.product(value) {
            (factor, values) if values.len() == 1 => Some((factor, values[0])),
            _ => None,
        }
    }

    /// A value as another one plus a number.
    pub fn shifted(&self, value: Value) -> Option<(Value, f64)> {
        let pairs = self.pairs(value, &["AddV2", "Add"]);
        pairs.into_iter().find_map(|[x, shift]| Some((x, self.number(shift)?)))
    }
}

/// Whether two numbers are the same as far as sources write them.
pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.abs()
}
