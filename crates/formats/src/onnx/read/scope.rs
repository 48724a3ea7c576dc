//! What an operator works with: its attributes, its inputs, and the graph that grows.

use std::cell::RefCell;

use litesmith_graph::operator::Number;
use litesmith_graph::ops::{Cast, Reshape, ReshapeDim};
use litesmith_graph::{DType, Data, Facts, Inputs, Op, Shape, Tensor, TensorId};

use super::attributes::Attributes;
use super::draft::{Bound, Draft, Environment, Target};
use super::fold;
use crate::emit::Emit;
use crate::error::FormatError;
use crate::onnx::proto::NodeProto;
use crate::refusal::{Built, Refusal, unsupported};

/// Most nodes of a graph.
const MOST_NODES: usize = 1 << 19;
/// Most axes of a tensor: masks of axes are bits of a number.
const MOST_AXES: usize = 16;
/// Most elements of a constant that is made here, or read as numbers.
pub(super) const MOST_ELEMENTS: usize = 1 << 26;
/// Most elements of all constants that are made.
const MOST_ELEMENTS_IN_ALL: usize = 1 << 28;
/// Most places in a list of them, each of which takes more memory than an element.
const MOST_PLACES: usize = 1 << 22;

/// One node while it is translated.
pub(super) struct Scope<'s, 'a> {
    /// What all graphs share.
    pub target: &'s mut Target<'a>,
    /// The graph that grows.
    pub draft: &'s mut Draft,
    /// All values that the node can see.
    pub environment: &'s Environment<'a>,
    /// The node.
    pub node: &'a NodeProto,
    /// Its operator.
    pub op: &'a str,
    /// What it is called in reports and errors.
    pub layer: String,
    /// Its attributes.
    pub attributes: Attributes<'a>,
    /// Its inputs; `None` where one is left out.
    pub inputs: Vec<Option<Bound>>,
    /// Which inputs have been looked at.
    pub looked_at: RefCell<Vec<bool>>,
}

impl Emit for Scope<'_, '_> {
    fn facts(&self, id: TensorId) -> &Facts {
        &self.draft.facts[id.index()]
    }

    fn broken(&self, reason: impl Into<String>) -> FormatError {
        FormatError::broken(format!("node '{}' ({})", self.layer, self.op), reason)
    }

    fn emit_several(&mut self, op: impl Into<Op>, inputs: Vec<Option<TensorId>>) -> Built<Vec<TensorId>> {
        let op = op.into();
        if self.draft.graph.nodes.len() >= MOST_NODES {
            return Err(self.broken("the model has too many nodes").into());
        }
        let facts: Vec<Option<&Facts>> =
            inputs.iter().map(|input| input.map(|id| &self.draft.facts[id.index()])).collect();
        let outputs = op.infer(Inputs(&facts)).map_err(|error| self.broken(error.to_string()))?;
        if let [output] = outputs.as_slice() {
            // Arithmetic on sizes that are known is done here.
            if let Some(values) = output.integers()
                && matches!(output.dtype, DType::I32 | DType::I64)
                && output.shape.elements() == Some(values.len())
            {
                let (dtype, shape) = (output.dtype, output.shape.to_fixed().unwrap_or_default());
                return Ok(vec![self.integers("sizes", dtype, &shape, &values)?]);
            }
            if let Some(data) = fold::evaluate(&self.target.model, &self.draft.graph, &op, &inputs, output) {
                let name = self.name_for("constant");
                let tensor = Tensor::constant(&name, output.dtype, output.shape.clone(), data);
                return Ok(vec![self.draft.add(&self.target.model, tensor)]);
            }
        }
        let fixed =
            inputs.iter().flatten().all(|input| self.draft.fixed[input.index()]) && !inputs.is_empty();
        let real =
            inputs.first().copied().flatten().and_then(|input| self.draft.quantized.get(&input).copied());
        let Some(real) = real.filter(|_| only_moves(&op)) else {
            return self.add_node(op, inputs, outputs, fixed);
        };
        // Integers that are only moved stand for the real numbers that are moved alike.
        let quantization = inputs[0].and_then(|input| self.draft.graph[input].quantization.clone());
        let moved = self.emit_some(op.clone(), [&[Some(real)][..], &inputs[1..]].concat())?;
        let results = self.add_node(op, inputs, outputs, fixed)?;
        if let [result] = results[..] {
            self.draft.graph[result].quantization = quantization;
            self.draft.quantized.insert(result, moved);
        }
        Ok(results)
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
        let name = format!("{}/{}", self.draft.graph[weight].name, op.name().to_ascii_lowercase());
        let tensor = self.emit(op.clone(), &[weight])?;
        self.draft.graph[tensor].name = self.draft.unique(&name);
        self.draft.layouts.entry(weight).or_default().push((op, tensor));
        Ok(tensor)
    }
}

/// Whether an operator gives elements of its first input as they are.
fn only_moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_)
            | Op::Squeeze(_)
            | Op::ExpandDims(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::StridedSlice(_)
            | Op::Gather(_)
            | Op::Tile(_)
            | Op::BroadcastTo(_)
    )
}

impl<'a> Scope<'_, 'a> {
    /// The name of the node's first result.
    pub fn result_name(&self) -> &'a str {
        let named = self.node.output.iter().find(|name| !name.is_empty());
        named.map_or(self.op, String::as_str)
    }

    fn name_for(&mut self, what: &str) -> String {
        let name = format!("{}/{what}", self.result_name());
        self.draft.unique(&name)
    }

    /// Adds a node whose outputs are known.
    pub fn add_node(
        &mut self,
        op: Op,
        inputs: Vec<Option<TensorId>>,
        outputs: Vec<Facts>,
        fixed: bool,
    ) -> Built<Vec<TensorId>> {
        let name = self.name_for(op.name());
        let mut ids = Vec::with_capacity(outputs.len());
        for (place, mut output) in outputs.into_iter().enumerate() {
            if output.shape.rank() == 0 && matches!(output.dtype, DType::I32 | DType::I64) {
                // A shape with one size that is not known is known all the same.
                output.value.get_or_insert_with(|| vec![Number::Unknown]);
            }
            if output.shape.rank() > MOST_AXES {
                return Err(self.broken(format!("it gives {} axes", output.shape.rank())).into());
            }
            let name = if place == 0 { name.clone() } else { format!("{name}:{place}") };
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

    /// Number of inputs, those left out counted in.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An input that may be left out, whatever it is.
    pub fn bound(&self, index: usize) -> Option<Bound> {
        if let Some(looked_at) = self.looked_at.borrow_mut().get_mut(index) {
            *looked_at = true;
        }
        self.inputs.get(index).cloned().flatten()
    }

    /// A tensor of a value.
    pub fn tensor_of(&mut self, bound: Bound) -> Built<TensorId> {
        match bound {
            Bound::Tensor(id) => Ok(id),
            Bound::Weight(index) => Ok(self.target.weight(self.draft, index)?),
            Bound::Sequence(_) => unsupported!("a list of tensors is not supported here; use tensors"),
            Bound::Refused => Err(Refusal::Listed),
        }
    }

    /// An input that may be left out.
    pub fn optional(&mut self, index: usize) -> Built<Option<TensorId>> {
        self.bound(index).map(|bound| self.tensor_of(bound)).transpose()
    }

    /// An input that must be there.
    pub fn input(&mut self, index: usize) -> Built<TensorId> {
        match self.optional(index)? {
            Some(id) => Ok(id),
            None => Err(self.broken(format!("its input {index} is missing")).into()),
        }
    }

    /// The first two inputs.
    pub fn pair(&mut self) -> Built<[TensorId; 2]> {
        Ok([self.input(0)?, self.input(1)?])
    }

    /// All inputs from one on, none of which may be left out.
    pub fn tensors_from(&mut self, first: usize) -> Built<Vec<TensorId>> {
        (first..self.inputs.len()).map(|index| self.input(index)).collect()
    }

    /// Whether somebody may read an output.
    pub fn wants(&self, output: usize) -> bool {
        self.node.output.get(output).is_some_and(|name| !name.is_empty())
    }

    /// The bytes of a tensor that is a constant.
    pub fn data(&self, id: TensorId) -> Option<&Data> {
        self.target.model.data(&self.draft.graph[id])
    }

    /// Whether a tensor depends on constants alone.
    pub fn is_fixed(&self, id: TensorId) -> bool {
        self.draft.fixed[id.index()]
    }

    fn affordable_data(&self, id: TensorId) -> Option<&Data> {
        let affordable = self.shape(id).elements().is_some_and(|count| count <= MOST_ELEMENTS);
        self.data(id).filter(|_| affordable)
    }

    /// The elements of a tensor of integers or truth values, if they are known.
    pub fn known_integers(&self, id: TensorId) -> Option<Vec<i64>> {
        let few = self.facts(id).integers();
        few.or_else(|| self.affordable_data(id)?.integers(self.dtype(id)))
    }

    /// The elements of a tensor of real numbers, if they are known.
    pub fn known_floats(&self, id: TensorId) -> Option<Vec<f32>> {
        Some(self.affordable_data(id)?.floats(self.dtype(id))?.into_owned())
    }

    /// The only element of a tensor as a number, if it is known.
    pub fn known_number(&self, id: TensorId) -> Option<f64> {
        if self.shape(id).elements() != Some(1) {
            return None;
        }
        if self.dtype(id) == DType::F64 {
            return self.data(id)?.elements::<f64>().first().copied();
        }
        let float = self.known_floats(id).and_then(|values| values.first().map(|value| f64::from(*value)));
        float.or_else(|| self.known_integers(id)?.first().map(|value| *value as f64))
    }

    /// The elements of an input, if it is there, that must be integers known before the model runs; `what`
    /// says what they are.
    pub fn integers_if_any(&mut self, index: usize, what: &str) -> Built<Option<Vec<i64>>> {
        let Some(id) = self.optional(index)? else { return Ok(None) };
        match self.known_integers(id) {
            Some(values) => Ok(Some(values)),
            None => unsupported!("{what} must be constant; they are computed while the model runs"),
        }
    }

    /// The same of an input that must be there.
    pub fn integers_of(&mut self, index: usize, what: &str) -> Built<Vec<i64>> {
        match self.integers_if_any(index, what)? {
            Some(values) => Ok(values),
            None => Err(self.broken(format!("its input {index} is missing")).into()),
        }
    }

    /// The only element of an input that must be an integer known before the model runs.
    pub fn integer_of(&mut self, index: usize, what: &str) -> Built<i64> {
        match self.integers_of(index, what)?.as_slice() {
            [value] => Ok(*value),
            values => Err(self.broken(format!("{what} must be one integer, not {}", values.len())).into()),
        }
    }

    /// What was an attribute before an opset, and is an input since.
    pub fn integers_by_opset(
        &mut self,
        key: &'static str,
        since: i64,
        index: usize,
    ) -> Built<Option<Vec<i64>>> {
        if self.target.opset < since {
            return Ok(self.attributes.integers(key)?.map(<[i64]>::to_vec));
        }
        self.integers_if_any(index, &format!("its {key}"))
    }

    /// An integer as a size.
    pub fn size_from(&self, value: i64, what: &str) -> Built<usize> {
        match usize::try_from(value) {
            Ok(size) if u32::try_from(size).is_ok() => Ok(size),
            _ => Err(self.broken(format!("{what} is {value}")).into()),
        }
    }

    /// Integers as sizes.
    pub fn sizes_from(&self, values: &[i64], what: &str) -> Built<Vec<usize>> {
        values.iter().map(|value| self.size_from(*value, what)).collect()
    }

    /// An axis that may count from the end, as the operators take it.
    pub fn axis_i32(&self, axis: i64, rank: usize) -> Built<i32> {
        Ok(self.axis(axis, rank)? as i32)
    }

    /// Axes that may count from the end.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Built<Vec<usize>> {
        axes.iter().map(|axis| self.axis(*axis, rank)).collect()
    }

    /// All sizes of a tensor, which must be fixed.
    pub fn sizes(&self, id: TensorId) -> Built<Vec<usize>> {
        (0..self.rank(id)).map(|axis| self.size(id, axis)).collect()
    }

    /// Refuses a tensor that is no single-precision number.
    pub fn expect_floats(&self, id: TensorId) -> Built<()> {
        match self.dtype(id) {
            DType::F32 => Ok(()),
            dtype => unsupported!("it is supported for float32 only, not for {dtype}; cast its input"),
        }
    }

    // Constants

    /// A constant of single-precision numbers.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> TensorId {
        let name = self.name_for(name);
        self.draft.add(&self.target.model, Tensor::floats(&name, shape, values))
    }

    /// A constant of truth values.
    pub fn truths(&mut self, shape: &[usize], values: &[bool]) -> TensorId {
        let name = self.name_for("truths");
        let data = Data::from_vec(values.iter().map(|value| u8::from(*value)).collect());
        self.draft.add(&self.target.model, Tensor::constant(&name, DType::Bool, Shape::fixed(shape), data))
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
        let name = self.name_for(name);
        let dtype = if dtype == DType::I64 { dtype } else { DType::I32 };
        Ok(self.draft.add(&self.target.model, Tensor::constant(&name, dtype, Shape::fixed(shape), data)))
    }

    /// A constant number of any type.
    pub fn number(&mut self, name: &str, dtype: DType, value: f64) -> Built<TensorId> {
        let name = self.name_for(name);
        let data = match dtype {
            DType::F32 => Data::from_vec(vec![value as f32]),
            DType::F64 => Data::from_vec(vec![value]),
            DType::I8 => Data::from_vec(vec![value as i8]),
            DType::I16 => Data::from_vec(vec![value as i16]),
            DType::I32 => Data::from_vec(vec![value as i32]),
            DType::I64 => Data::from_vec(vec![value as i64]),
            DType::U8 => Data::from_vec(vec![value as u8]),
            DType::U16 => Data::from_vec(vec![value as u16]),
            DType::U32 => Data::from_vec(vec![value as u32]),
            DType::U64 => Data::from_vec(vec![value as u64]),
            DType::Bool => Data::from_vec(vec![u8::from(value != 0.0)]),
            dtype => unsupported!("constants of {dtype} are not supported"),
        };
        Ok(self.draft.add(&self.target.model, Tensor::constant(&name, dtype, Shape::default(), data)))
    }

    /// A number of the type of a tensor.
    pub fn number_like(&mut self, x: TensorId, value: f64) -> Built<TensorId> {
        self.number("constant", self.dtype(x), value)
    }

    /// The product of sizes, which must be one that a constant of the model can have.
    pub fn affordable(&self, sizes: &[usize]) -> Built<usize> {
        self.at_most(MOST_ELEMENTS, sizes)
    }

    /// The product of sizes, which must be one that a list of places can have.
    pub fn listable(&self, sizes: &[usize]) -> Built<usize> {
        self.at_most(MOST_PLACES, sizes)
    }

    fn at_most(&self, most: usize, sizes: &[usize]) -> Built<usize> {
        let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let made = |product: usize| self.target.made.get().saturating_add(product);
        match product.filter(|product| *product <= most && made(*product) <= MOST_ELEMENTS_IN_ALL) {
            Some(product) => {
                self.target.made.set(made(product));
                Ok(product)
            }
            None => {
                unsupported!("it needs a constant of sizes {sizes:?}, which is too large; make it smaller")
            }
        }
    }

    // Shapes

    /// A tensor under a shape of fixed sizes.
    pub fn reshaped(&mut self, x: TensorId, sizes: &[usize]) -> Built<TensorId> {
        self.emit(Reshape::to(sizes.iter().copied().map(ReshapeDim::Fixed).collect()), &[x])
    }

    /// A tensor as another type.
    pub fn cast(&mut self, x: TensorId, to: DType) -> Built<TensorId> {
        if self.dtype(x) == to { Ok(x) } else { self.emit(Cast { to }, &[x]) }
    }

    /// Weights that training leaves as they are.
    pub fn keep_from_training(&mut self, index: usize) {
        if let Some(Some(Bound::Weight(weight))) = self.inputs.get(index)
            && let Some(id) = self.target.freeze(*weight)
            && let Some(parameter) = self.target.model.parameters.get_mut(id.0 as usize)
        {
            parameter.trainable = false;
        }
    }
}
