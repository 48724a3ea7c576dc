//! What an operation works with: its attributes, its inputs, and the graph that grows.

use litesmith_graph::operator::Number;
use litesmith_graph::ops::Cast;
use litesmith_graph::{DType, Data, Facts, Inputs, Op, Origin, Parameter, Shape, Tensor, TensorId};

use super::Target;
use super::draft::{Bound, Draft};
use super::lists::List;
use crate::emit::Emit;
use crate::error::FormatError;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::flow::{FlowNode, Value};

/// Most nodes of a graph.
const MOST_NODES: usize = 1 << 19;
/// Most axes of a tensor: masks of axes are bits of a number.
const MOST_AXES: usize = 16;
/// Most elements of a constant that is made here, or read as numbers.
const MOST_ELEMENTS: usize = 1 << 26;

/// One operation while it is translated.
pub(super) struct Scope<'a> {
    /// What all graphs share.
    pub target: &'a mut Target,
    /// The graph that grows.
    pub draft: &'a mut Draft,
    /// The operation.
    pub node: &'a FlowNode,
    /// The name of the layer that it belongs to.
    pub layer: String,
    /// Its inputs.
    pub inputs: Vec<Bound>,
}

impl Emit for Scope<'_> {
    fn facts(&self, id: TensorId) -> &Facts {
        &self.draft.facts[id.index()]
    }

    fn broken(&self, reason: impl Into<String>) -> FormatError {
        FormatError::broken(format!("node '{}' ({})", self.node.name, self.node.op), reason)
    }

    fn emit_several(&mut self, op: impl Into<Op>, inputs: Vec<Option<TensorId>>) -> Built<Vec<TensorId>> {
        let op = op.into();
        if self.draft.graph.nodes.len() >= MOST_NODES {
            return Err(self.broken("the model has too many operations").into());
        }
        let facts: Vec<Option<&Facts>> =
            inputs.iter().map(|input| input.map(|id| &self.draft.facts[id.index()])).collect();
        let outputs = op.infer(Inputs(&facts)).map_err(|error| self.broken(error.to_string()))?;
        if let [output] = outputs.as_slice()
            && let Some(values) = output.integers()
            && matches!(output.dtype, DType::I32 | DType::I64)
            && output.shape.elements() == Some(values.len())
        {
            // Arithmetic on sizes that are known is done here.
            let (dtype, shape) = (output.dtype, output.shape.to_fixed().unwrap_or_default());
            return Ok(vec![self.integers("sizes", dtype, &shape, &values)?]);
        }
        let fixed =
            inputs.iter().flatten().all(|input| self.draft.fixed[input.index()]) && !inputs.is_empty();
        let name = self.tensor_name();
        self.add_node(op, inputs, outputs, &name, fixed)
    }

    fn scalar(&mut self, name: &str, value: f32) -> Built<TensorId> {
        Ok(self.floats(name, &[], vec![value]))
    }

    fn laid_out(&mut self, weight: TensorId, op: impl Into<Op>) -> Built<TensorId> {
        let op = op.into();
        let known = self.draft.layouts.get(&weight).into_iter().flatten().find(|(known, _)| *known == op);
        if let Some((_, tensor)) = known {
            return Ok(*tensor);
        }
        let tensor = self.emit(op.clone(), &[weight])?;
        self.draft.graph[tensor].name =
            format!("{}/{}", self.draft.graph[weight].name, op.name().to_ascii_lowercase());
        self.draft.layouts.entry(weight).or_default().push((op, tensor));
        Ok(tensor)
    }
}

impl<'a> Scope<'a> {
    /// The name of the operation's results.
    fn tensor_name(&self) -> String {
        self.target.names.tensor(&self.node.name)
    }

    /// Adds a node whose outputs are known.
    pub fn add_node(
        &mut self,
        op: Op,
        inputs: Vec<Option<TensorId>>,
        outputs: Vec<Facts>,
        name: &str,
        fixed: bool,
    ) -> Built<Vec<TensorId>> {
        let mut ids = Vec::with_capacity(outputs.len());
        for (place, mut output) in outputs.into_iter().enumerate() {
            if output.shape.rank() == 0 && matches!(output.dtype, DType::I32 | DType::I64) {
                // A shape with one size that is not known is known all the same.
                output.value.get_or_insert_with(|| vec![Number::Unknown]);
            }
            if output.shape.rank() > MOST_AXES {
                return Err(self.broken(format!("it gives {} axes", output.shape.rank())).into());
            }
            let name = if place == 0 { name.to_owned() } else { format!("{name}:{place}") };
            let tensor = Tensor::activation(&name, output.dtype, output.shape.clone());
            let id = self.draft.add(&self.target.model, tensor);
            self.draft.facts[id.index()] = output;
            self.draft.fixed[id.index()] = fixed;
            ids.push(id);
        }
        self.draft.graph.add_node(&self.layer, op, inputs, ids.clone());
        Ok(ids)
    }

    // Inputs

    /// What a value of the flow is, given the flow's inputs and what its nodes have given so far.
    pub fn resolve(
        target: &mut Target,
        draft: &mut Draft,
        value: Value,
        inputs: &[Bound],
        nodes: &[Vec<Bound>],
        place: &str,
    ) -> Result<Bound, FormatError> {
        let missing = || FormatError::broken(place, "it reads a value that does not exist");
        match value {
            Value::Input(index) => inputs.get(index).cloned().ok_or_else(missing),
            Value::Node { node, output } => match nodes.get(node).map(Vec::as_slice) {
                // What is refused has no outputs of its own.
                Some([Bound::Refused]) => Ok(Bound::Refused),
                Some(outputs) => outputs.get(output).cloned().ok_or_else(missing),
                None => Err(missing()),
            },
            Value::Variable(index) => variable(target, draft, index).map(Bound::Tensor).ok_or_else(missing),
        }
    }

    /// An input that must be there, whatever it is.
    pub fn bound(&self, index: usize) -> Built<Bound> {
        match self.inputs.get(index) {
            Some(bound) => Ok(bound.clone()),
            None => Err(self.broken(format!("its input {index} is missing")).into()),
        }
    }

    /// An input that must be a tensor.
    pub fn input(&self, index: usize) -> Built<TensorId> {
        match self.bound(index)? {
            Bound::Tensor(id) => Ok(id),
            _ => unsupported!("its input {index} is a list of tensors; stack the list first"),
        }
    }

    /// All inputs, which must be tensors.
    pub fn tensors(&self) -> Built<Vec<TensorId>> {
        (0..self.inputs.len()).map(|index| self.input(index)).collect()
    }

    /// An input that must be a list.
    pub fn list(&self, index: usize) -> Built<List> {
        match self.bound(index)? {
            Bound::List(list) => Ok(list),
            _ => Err(self.broken(format!("its input {index} is no list of tensors")).into()),
        }
    }

    /// The bytes of a tensor that is a constant or a variable.
    pub fn data(&self, id: TensorId) -> Option<&Data> {
        self.target.model.data(&self.draft.graph[id])
    }

    /// The elements of a tensor of integers, if they are known.
    pub fn known_integers(&self, id: TensorId) -> Option<Vec<i64>> {
        let few = self.facts(id).integers();
        few.or_else(|| {
            let affordable = self.shape(id).elements().is_some_and(|count| count <= MOST_ELEMENTS);
            let dtype = self.dtype(id);
            self.data(id).filter(|_| affordable && dtype.is_integer())?.integers(dtype)
        })
    }

    /// The elements of an input that must be integers known before the model runs; `what` says what they
    /// are.
    pub fn integers_of(&self, index: usize, what: &str) -> Built<Vec<i64>> {
        match self.known_integers(self.input(index)?) {
            Some(values) => Ok(values),
            None => unsupported!("{what} must be constant; it is computed while the model runs"),
        }
    }

    /// The only element of an input that must be an integer known before the model runs.
    pub fn integer_of(&self, index: usize, what: &str) -> Built<i64> {
        match self.integers_of(index, what)?.as_slice() {
            [value] => Ok(*value),
            values => Err(self.broken(format!("{what} must be one integer, not {}", values.len())).into()),
        }
    }

    /// The only element of a float tensor, if it is a constant.
    pub fn known_number(&self, id: TensorId) -> Option<f32> {
        let dtype = self.dtype(id);
        let data = self.data(id).filter(|_| self.shape(id).elements() == Some(1))?;
        match data.floats(dtype) {
            Some(values) => values.first().copied(),
            None => data.integers(dtype)?.first().map(|value| *value as f32),
        }
    }

    /// An integer as a size.
    pub fn size_from(&self, value: i64, what: &str) -> Built<usize> {
        match usize::try_from(value) {
            Ok(size) if u32::try_from(size).is_ok() => Ok(size),
            _ => Err(self.broken(format!("{what} is {value}")).into()),
        }
    }

    /// An axis that may count from the end, as the operators take it.
    pub fn axis_i32(&self, axis: i64, rank: usize) -> Built<i32> {
        Ok(self.axis(axis, rank)? as i32)
    }

    // Attributes

    /// A text that must be one of the operation's attributes or has a default.
    pub fn text(&self, key: &str, default: &'static str) -> &str {
        self.node.attributes.text(key).unwrap_or(default)
    }

    /// An integer attribute that must be there.
    pub fn attribute(&self, key: &str) -> Built<i64> {
        match self.node.attributes.integer(key) {
            Some(value) => Ok(value),
            None => Err(self.broken(format!("its attribute '{key}' is missing")).into()),
        }
    }

    // Constants

    /// A constant of single-precision numbers.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> TensorId {
        let name = format!("{}/{name}", self.tensor_name());
        self.draft.add(&self.target.model, Tensor::floats(&name, shape, values))
    }

    /// A constant of integers, `i32` or `i64`.
    pub fn integers(&mut self, name: &str, dtype: DType, shape: &[usize], values: &[i64]) -> Built<TensorId> {
        let data = match dtype {
            DType::I64 => Data::from_vec(values.to_vec()),
            _ => match values.iter().map(|value| i32::try_from(*value)).collect::<Result<Vec<_>, _>>() {
                Ok(values) => Data::from_vec(values),
                Err(_) => return Err(self.broken("a size does not fit into 32 bits").into()),
            },
        };
        let name = format!("{}/{name}", self.tensor_name());
        let dtype = if dtype == DType::I64 { dtype } else { DType::I32 };
        Ok(self.draft.add(&self.target.model, Tensor::constant(&name, dtype, Shape::fixed(shape), data)))
    }

    /// A constant that has any type of a number.
    pub fn number(&mut self, name: &str, dtype: DType, value: f32) -> Built<TensorId> {
        match dtype {
            DType::F32 => self.scalar(name, value),
            DType::I32 | DType::I64 => self.integers(name, dtype, &[], &[value as i64]),
            _ => {
                let plain = self.scalar(name, value)?;
                self.emit(Cast { to: dtype }, &[plain])
            }
        }
    }

    /// The product of sizes, which must be one that a constant of the model can have.
    pub fn affordable(&self, sizes: &[usize]) -> Built<usize> {
        let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        match product.filter(|product| *product <= MOST_ELEMENTS) {
            Some(product) => Ok(product),
            None => Err(self.broken(format!("it needs a constant of sizes {sizes:?}")).into()),
        }
    }

    // Weights

    /// Whether a tensor depends on constants and variables alone.
    pub fn is_fixed(&self, id: TensorId) -> bool {
        self.draft.fixed[id.index()]
    }

    /// A tensor under another shape. Shape upon shape counts as one, and a weight that gets its own shape
    /// back is itself again.
    pub fn reshaped(&mut self, x: TensorId, op: impl Into<Op>) -> Built<TensorId> {
        let result = self.emit(op, &[x])?;
        let first = self.draft.unshaped(x);
        let same = |a: &Shape, b: &Shape| a == b && !a.dims().contains(&litesmith_graph::Dim::Unknown);
        if self.is_fixed(first) && same(&self.shape(first), &self.shape(result)) {
            return Ok(first);
        }
        self.draft.reshaped.insert(result, first);
        Ok(result)
    }
}

/// The tensor of a variable, which becomes a parameter when it is first needed.
fn variable(target: &mut Target, draft: &mut Draft, index: usize) -> Option<TensorId> {
    if let Some(tensor) = draft.variables.get(&index) {
        return Some(*tensor);
    }
    let variable = target.variables.get(index)?;
    let id = match target.parameters[index] {
        Some(id) => id,
        None => {
            let (layer, name) = target.names.variable(&variable.name);
            let origin = Origin { layer, variable: name, path: variable.name.clone() };
            let id = target.model.add_parameter(Parameter {
                origin,
                dtype: variable.dtype,
                shape: variable.shape.clone(),
                data: variable.data.clone(),
                trainable: variable.trainable,
                regularizer: None,
            });
            target.parameters[index] = Some(id);
            id
        }
    };
    let parameter = target.model.parameter(id)?;
    let Origin { layer, variable, .. } = &parameter.origin;
    let name = if layer.is_empty() { variable.clone() } else { format!("{layer}/{variable}") };
    let tensor = Tensor::parameter(&name, parameter.dtype, Shape::fixed(&parameter.shape), id);
    let tensor = draft.add(&target.model, tensor);
    draft.variables.insert(index, tensor);
    Some(tensor)
}
