//! One node being written: what operators ask for and what they give.

use litesmith_graph::operator::Facts;
use litesmith_graph::{DType, Data, Node, Op, Quantization, Shape, TensorId};

use super::Refusal;
use super::drafts::{Attribute, Body};
use super::graph::Frame;
use super::values::Value;
use super::writer::{Fill, Writer};

/// A node of a graph being written.
pub(super) struct Spelling<'w, 'a> {
    pub writer: &'w mut Writer<'a>,
    pub frame: &'w mut Frame<'a>,
    node: Option<&'a Node>,
}

impl<'w, 'a> Spelling<'w, 'a> {
    pub fn of_node(writer: &'w mut Writer<'a>, frame: &'w mut Frame<'a>, node: &'a Node) -> Self {
        Spelling { writer, frame, node: Some(node) }
    }

    pub fn of_graph(writer: &'w mut Writer<'a>, frame: &'w mut Frame<'a>) -> Self {
        Spelling { writer, frame, node: None }
    }

    /// The operator with its attributes.
    pub fn op(&self) -> Option<&'a Op> {
        self.node.map(|node| &node.op)
    }

    /// The name that the node's ONNX nodes start with.
    pub fn layer(&self) -> String {
        let Some(node) = self.node else { return self.frame.graph.name.clone() };
        match node.outputs.first() {
            Some(output) if node.name.is_empty() => self.frame.graph[*output].name.clone(),
            _ => node.name.clone(),
        }
    }

    /// The version of ONNX's operators that is written.
    pub fn opset(&self) -> u32 {
        self.writer.opset
    }

    /// Refuses the node where the version of ONNX's operators is too low.
    pub fn needs_opset(&self, least: u32, what: &str) -> Result<(), Refusal> {
        if self.opset() >= least {
            return Ok(());
        }
        Err(Refusal(format!("{what} needs opset {least}: --opset {least}")))
    }

    // ------------------------------------------------------------------ inputs

    /// Number of inputs, those left out counted in.
    pub fn inputs(&self) -> usize {
        self.node.map_or(0, |node| node.inputs.len())
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.node.map_or(0, |node| node.outputs.len())
    }

    /// The tensor of an input.
    pub fn tensor(&self, index: usize) -> Result<TensorId, Refusal> {
        self.tensor_if_any(index).ok_or_else(|| Refusal(format!("its input {index} is missing")))
    }

    pub fn tensor_if_any(&self, index: usize) -> Option<TensorId> {
        self.node.and_then(|node| node.inputs.get(index).copied().flatten())
    }

    /// The tensor of an output.
    pub fn output_tensor(&self, index: usize) -> Result<TensorId, Refusal> {
        let tensor = self.node.and_then(|node| node.outputs.get(index).copied());
        tensor.ok_or_else(|| Refusal(format!("its output {index} is missing")))
    }

    /// An input as operators on real numbers take it: quantized integers come dequantized to float32,
    /// everything else as it is.
    pub fn input(&mut self, index: usize) -> Result<Value, Refusal> {
        let tensor = self.tensor(index)?;
        let stored = self.stored(tensor)?;
        self.real(tensor, stored)
    }

    /// As [`Spelling::input`], or [`Value::ABSENT`] where it is left out.
    pub fn optional(&mut self, index: usize) -> Result<Value, Refusal> {
        if self.tensor_if_any(index).is_none() { Ok(Value::ABSENT) } else { self.input(index) }
    }

    /// An input as it is stored: quantized integers stay integers.
    pub fn raw(&mut self, index: usize) -> Result<Value, Refusal> {
        let tensor = self.tensor(index)?;
        self.stored(tensor)
    }

    /// What is known of an input: type as stored, shape, small integer values.
    pub fn facts(&self, index: usize) -> Result<&'a Facts, Refusal> {
        let tensor = self.tensor(index)?;
        let facts: &'a [Facts] = self.frame.facts;
        Ok(&facts[tensor.index()])
    }

    /// The shape of an input.
    pub fn shape(&self, index: usize) -> Result<&'a Shape, Refusal> {
        Ok(&self.facts(index)?.shape)
    }

    /// The sizes of an input, all of which must be fixed.
    pub fn fixed_sizes(&self, index: usize) -> Result<Vec<usize>, Refusal> {
        let shape = self.shape(index)?;
        shape
            .to_fixed()
            .ok_or_else(|| Refusal(format!("the shape {shape} of its input {index} is not fixed")))
    }

    /// The type of what [`Spelling::input`] gives: float32 for quantized integers.
    pub fn dtype(&self, index: usize) -> Result<DType, Refusal> {
        let stored = self.facts(index)?.dtype;
        Ok(if self.quantization(index).is_some() { DType::F32 } else { stored })
    }

    /// How an input's integers stand for real numbers, if they do.
    pub fn quantization(&self, index: usize) -> Option<&'a Quantization> {
        self.quantization_of(self.tensor_if_any(index)?)
    }

    /// The elements of an input, where they are fixed.
    pub fn constant(&self, index: usize) -> Option<&'a Data> {
        let graph = self.frame.graph;
        self.writer.model.data(&graph[self.tensor_if_any(index)?])
    }

    /// The elements of an integer input, where all are known before the model runs.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let facts = self.facts(index).ok()?;
        facts.integers().or_else(|| {
            let mut all = self.constant(index)?.integers(facts.dtype)?;
            all.truncate(facts.shape.elements()?);
            Some(all)
        })
    }

    // ----------------------------------------------------------------- outputs

    /// What is known of an output: type as stored and shape.
    pub fn output_facts(&self, index: usize) -> Result<&'a Facts, Refusal> {
        let tensor = self.output_tensor(index)?;
        let facts: &'a [Facts] = self.frame.facts;
        Ok(&facts[tensor.index()])
    }

    /// How an output's integers stand for real numbers, if they do.
    pub fn output_quantization(&self, index: usize) -> Option<&'a Quantization> {
        self.quantization_of(self.output_tensor(index).ok()?)
    }

    /// Gives an output: a quantized one is given as real numbers, and quantized here.
    pub fn output(&mut self, index: usize, value: Value) -> Result<(), Refusal> {
        let tensor = self.output_tensor(index)?;
        let stored = self.quantize(tensor, value)?;
        self.output_stored(tensor, stored);
        Ok(())
    }

    /// Gives an output as it is stored: a quantized one as integers.
    pub fn output_raw(&mut self, index: usize, value: Value) -> Result<(), Refusal> {
        let tensor = self.output_tensor(index)?;
        self.output_stored(tensor, value);
        Ok(())
    }

    fn output_stored(&mut self, tensor: TensorId, value: Value) {
        self.frame.values[tensor.index()] = Some(value);
        self.writer.values.call(value, &self.frame.graph[tensor].name);
        let facts = &self.frame.facts[tensor.index()];
        self.writer.values.describe(value, facts.dtype, facts.shape.clone());
    }

    // ------------------------------------------------------------------- nodes

    /// Writes a node of one output. Inputs that are left out are [`Value::ABSENT`].
    pub fn emit(
        &mut self,
        operator: &'static str,
        inputs: &[Value],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Value {
        self.emit_many(operator, inputs, attributes, 1)[0]
    }

    /// Writes a node of several outputs.
    pub fn emit_many(
        &mut self,
        operator: &'static str,
        inputs: &[Value],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
        outputs: usize,
    ) -> Vec<Value> {
        let layer = self.layer();
        self.writer.emit(&layer, operator, inputs, attributes.into_iter().collect(), outputs)
    }

    /// A value as another type.
    pub fn cast(&mut self, value: Value, to: DType) -> Value {
        self.emit("Cast", &[value], [("to", Attribute::Type(to))])
    }

    /// A value with its axes in another order.
    pub fn transpose(&mut self, value: Value, permutation: &[usize]) -> Value {
        if permutation.iter().copied().eq(0..permutation.len()) {
            return value;
        }
        self.emit("Transpose", &[value], [("perm", Attribute::sizes(permutation))])
    }

    /// A value with another shape; -1 is the size that is left over.
    pub fn reshape(&mut self, value: Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.emit("Reshape", &[value, shape], [])
    }

    /// A graph that a node runs, with inputs of these names, types and shapes; `fill` writes its nodes
    /// and returns its outputs. Values from around it can be read.
    pub fn nested(
        &mut self,
        name: &str,
        inputs: &[(&str, DType, Shape)],
        fill: Fill<'_, 'a>,
    ) -> Result<Body, Refusal> {
        let name = format!("{}/{name}", self.layer());
        self.writer.nested(&name, inputs, fill)
    }

    // --------------------------------------------------------------- constants

    /// A vector of int64.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let text: Vec<String> = values.iter().take(8).map(i64::to_string).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.writer.constant(&format!("ints_{}", text.join("_")), DType::I64, &[values.len()], bytes)
    }

    /// A single int64.
    pub fn int(&mut self, value: i64) -> Value {
        self.writer.constant(&format!("int_{value}"), DType::I64, &[], value.to_le_bytes().into())
    }

    /// A single float32.
    pub fn float(&mut self, value: f32) -> Value {
        self.writer.constant(&format!("float_{value}"), DType::F32, &[], value.to_le_bytes().into())
    }

    /// Several float32, named after the layer.
    pub fn floats(&mut self, hint: &str, dims: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let hint = format!("{}/{hint}", self.layer());
        self.writer.constant(&hint, DType::F32, dims, bytes)
    }

    /// A single number of the type that [`Spelling::input`] gives for this input.
    pub fn scalar_like(&mut self, index: usize, value: f64) -> Result<Value, Refusal> {
        let dtype = self.dtype(index)?;
        self.scalar(dtype, value)
    }

    /// A single number of a type.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<Value, Refusal> {
        let bytes: Vec<u8> = match dtype {
            DType::F16 => half::f16::from_f64(value).to_le_bytes().into(),
            DType::F32 => (value as f32).to_le_bytes().into(),
            DType::F64 => value.to_le_bytes().into(),
            DType::I8 => (value as i8).to_le_bytes().into(),
            DType::U8 => (value as u8).to_le_bytes().into(),
            DType::I16 => (value as i16).to_le_bytes().into(),
            DType::U16 => (value as u16).to_le_bytes().into(),
            DType::I32 => (value as i32).to_le_bytes().into(),
            DType::U32 => (value as u32).to_le_bytes().into(),
            DType::I64 => (value as i64).to_le_bytes().into(),
            DType::U64 => (value as u64).to_le_bytes().into(),
            DType::Bool => vec![u8::from(value != 0.0)],
            DType::I4 | DType::Text | DType::Resource => {
                return Err(Refusal(format!("there is no single number of type {dtype}")));
            }
        };
        Ok(self.writer.constant(&format!("{dtype}_{value}"), dtype, &[], bytes))
    }
}
