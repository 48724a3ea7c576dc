//! Quantized tensors: integers in the file, dequantized where a node reads them and quantized where one
//! gives them, by the scales and zero points of the graph.

use litesmith_graph::ops::Activation;
use litesmith_graph::{DType, Graph, Model, Node, Op, Quantization, TensorId};

use super::Refusal;
use super::drafts::Attribute;
use super::initializers::{Content, Form};
use super::spelling::Spelling;
use super::values::Value;

/// Whether a node only widens a constant: it is written where somebody reads it.
pub(super) fn is_deferred(model: &Model, graph: &Graph, node: &Node) -> bool {
    let input = node.inputs.first().copied().flatten();
    matches!(node.op, Op::Dequantize(_)) && input.is_some_and(|input| model.data(&graph[input]).is_some())
}

/// Least and greatest integer of a quantized type.
pub(super) fn limits(dtype: DType) -> Option<(i32, i32)> {
    Some(match dtype {
        DType::I4 => (-8, 7),
        DType::I8 => (-128, 127),
        DType::U8 => (0, 255),
        DType::I16 => (-32768, 32767),
        _ => return None,
    })
}

impl<'a> Spelling<'_, 'a> {
    /// How a tensor's integers stand for real numbers, if they do.
    pub fn quantization_of(&self, tensor: TensorId) -> Option<&'a Quantization> {
        let graph: &'a Graph = self.frame.graph;
        limits(graph[tensor].dtype)?;
        graph[tensor].quantization.as_ref().filter(|quantization| !quantization.scales.is_empty())
    }

    /// A tensor as it is stored.
    pub fn stored(&mut self, tensor: TensorId) -> Result<Value, Refusal> {
        if let Some(value) = self.frame.values[tensor.index()] {
            return Ok(value);
        }
        if let Some((source, permutation)) = self.fixed(tensor) {
            return self.fixed_value(tensor, source, &permutation);
        }
        if let Some(first) = self.frame.first[tensor.index()] {
            return Ok(self.channels_last(tensor, first));
        }
        let name = &self.frame.graph[tensor].name;
        Err(Refusal(format!("'{name}' is a variable: ONNX models have no state from one run to the next")))
    }

    /// The constant that a tensor is or widens, with axes in their order.
    fn fixed(&self, tensor: TensorId) -> Option<(TensorId, Vec<usize>)> {
        let source = self.fixed_source(tensor)?;
        Some((source, (0..self.frame.graph[source].shape.rank()).collect()))
    }

    /// The constant that a tensor is or widens.
    pub fn fixed_source(&self, tensor: TensorId) -> Option<TensorId> {
        let (model, graph) = (self.writer.model, self.frame.graph);
        if model.data(&graph[tensor]).is_some() {
            return Some(tensor);
        }
        let node = &graph[self.frame.producers[tensor.index()]?];
        if is_deferred(model, graph, node) { node.inputs.first().copied().flatten() } else { None }
    }

    /// A tensor that is the constant `source`, or widens it, with axes in another order.
    fn fixed_value(
        &mut self,
        tensor: TensorId,
        source: TensorId,
        permutation: &[usize],
    ) -> Result<Value, Refusal> {
        let stored = self.stored_constant(source, permutation)?;
        if tensor == source { Ok(stored) } else { self.widened(source, stored, permutation) }
    }

    /// A constant as it is stored, with axes in another order. Four-bit integers are bytes before the
    /// version that has them.
    pub fn stored_constant(&mut self, source: TensorId, permutation: &[usize]) -> Result<Value, Refusal> {
        let form = if self.opset() < 21 { Form::Bytes } else { Form::Same };
        self.constant_in(source, permutation, form)
    }

    /// A constant with axes in another order and integers in this form, once for all who ask.
    pub fn constant_in(
        &mut self,
        source: TensorId,
        permutation: &[usize],
        form: Form,
    ) -> Result<Value, Refusal> {
        let key = (self.frame.id, source, permutation.to_vec(), form);
        if let Some(value) = self.writer.constants.get(&key) {
            return Ok(*value);
        }
        let tensor = &self.frame.graph[source];
        let does_not_fit = || Refusal(format!("the constant '{}' does not fit its shape", tensor.name));
        let (Some(data), Some(shape)) = (self.writer.model.data(tensor), tensor.shape.to_fixed()) else {
            return Err(does_not_fit());
        };
        if matches!(tensor.dtype, DType::Text | DType::Resource) {
            return Err(Refusal(format!("'{}' is a constant of type {}", tensor.name, tensor.dtype)));
        }
        let mut bytes = data.shared();
        if let Some(sparsity) = &tensor.sparsity {
            let elements = tensor.shape.elements().ok_or_else(does_not_fit)?;
            let length = tensor.dtype.bytes(elements).ok_or_else(does_not_fit)?;
            let size = tensor.dtype.bits().map_or(1, |bits| bits.div_ceil(8));
            let dense = sparsity.to_dense(&shape, size, &bytes, length);
            bytes = dense.ok_or_else(does_not_fit)?.into();
        }
        let content = Content::permuted(bytes, tensor.dtype, &shape, permutation, form);
        let content = content.ok_or_else(does_not_fit)?;
        let dims: Vec<usize> = permutation.iter().map(|axis| shape[*axis]).collect();
        let value = self.writer.weight(&tensor.name, form.dtype(tensor.dtype), &dims, content);
        self.writer.constants.insert(key, value);
        Ok(value)
    }

    /// A stored constant as float32.
    fn widened(&mut self, source: TensorId, stored: Value, permutation: &[usize]) -> Result<Value, Refusal> {
        let tensor = &self.frame.graph[source];
        match (tensor.dtype, &tensor.quantization) {
            (DType::F32, _) => Ok(stored),
            (DType::F16 | DType::F64, _) => {
                let to = Some(("to", Attribute::Type(DType::F32)));
                Ok(self.writer.shared(&tensor.name, "Cast", &[stored], to)[0])
            }
            (_, Some(quantization)) => {
                let axis = quantization.axis.and_then(|axis| permutation.iter().position(|p| *p == axis));
                self.dequantized(&tensor.name, stored, tensor.dtype, quantization, axis)
            }
            (dtype, None) => {
                Err(Refusal(format!("'{}' holds {dtype} without scale or zero point", tensor.name)))
            }
        }
    }

    /// A stored tensor as operators on real numbers take it.
    pub fn real(&mut self, tensor: TensorId, stored: Value) -> Result<Value, Refusal> {
        match self.quantization_of(tensor) {
            Some(quantization) => {
                let tensor = &self.frame.graph[tensor];
                self.dequantized(&tensor.name, stored, tensor.dtype, quantization, quantization.axis)
            }
            None => Ok(stored),
        }
    }

    /// An input that holds weights, as real numbers, with axes in another order: those of constants are
    /// permuted in the file, behind what widens them.
    pub fn weights(&mut self, index: usize, permutation: &[usize]) -> Result<Value, Refusal> {
        let tensor = self.tensor(index)?;
        if let Some(source) = self.fixed_source(tensor) {
            let stored = self.stored_constant(source, permutation)?;
            let is_plain = source == tensor && self.quantization_of(tensor).is_none();
            return if is_plain { Ok(stored) } else { self.widened(source, stored, permutation) };
        }
        let value = self.input(index)?;
        Ok(self.transpose(value, permutation))
    }

    /// An operand of a product with axes in another order: those of constants are permuted in the file,
    /// integers are moved before they are dequantized.
    pub fn operand(&mut self, index: usize, permutation: &[usize]) -> Result<Value, Refusal> {
        let tensor = self.tensor(index)?;
        if self.fixed_source(tensor).is_some() || permutation.iter().copied().eq(0..permutation.len()) {
            return self.weights(index, permutation);
        }
        let stored = self.stored(tensor)?;
        let moved = self.turned(tensor, stored, permutation);
        self.real(tensor, moved)
    }

    /// Integers behind DequantizeLinear, once for all who read them.
    pub fn dequantized(
        &mut self,
        name: &str,
        stored: Value,
        dtype: DType,
        quantization: &Quantization,
        axis: Option<usize>,
    ) -> Result<Value, Refusal> {
        // Four-bit constants may be stored as bytes.
        let dtype = self.writer.values.get(stored).kind.as_ref().map_or(dtype, |(dtype, _)| *dtype);
        let [scale, zero_point] = self.parameters(name, dtype, quantization)?;
        let axis = axis_attribute(quantization, axis);
        let real = self.writer.shared(name, "DequantizeLinear", &[stored, scale, zero_point], axis)[0];
        Ok(real)
    }

    /// Real numbers as a tensor stores them.
    pub fn quantize(&mut self, tensor: TensorId, value: Value) -> Result<Value, Refusal> {
        let Some(quantization) = self.quantization_of(tensor) else { return Ok(value) };
        let (name, dtype) = (&self.frame.graph[tensor].name, self.frame.graph[tensor].dtype);
        let [scale, zero_point] = self.parameters(name, dtype, quantization)?;
        let axis = axis_attribute(quantization, quantization.axis);
        Ok(self.emit("QuantizeLinear", &[value, scale, zero_point], axis))
    }

    /// Scale and zero point as constants.
    pub fn parameters(
        &mut self,
        name: &str,
        dtype: DType,
        quantization: &Quantization,
    ) -> Result<[Value; 2], Refusal> {
        match dtype {
            DType::I16 => self.needs_opset(21, "16-bit quantization")?,
            DType::I4 => self.needs_opset(21, "4-bit quantization")?,
            _ => {}
        }
        let count = quantization.scales.len();
        let dims: &[usize] = if count == 1 { &[] } else { &[count] };
        let scales = quantization.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let scale = self.writer.constant(&format!("{name}/scale"), DType::F32, dims, scales);
        Ok([scale, self.zero_points(name, dtype, &quantization.zero_points)?])
    }

    /// Zero points as a constant.
    pub fn zero_points(&mut self, name: &str, dtype: DType, values: &[i32]) -> Result<Value, Refusal> {
        let bytes = integers(dtype, values).ok_or_else(|| {
            Refusal(format!("'{name}' has a zero point that {dtype} does not hold, or no quantized type"))
        })?;
        let dims: &[usize] = if values.len() == 1 { &[] } else { &[values.len()] };
        Ok(self.writer.constant(&format!("{name}/zero_point"), dtype, dims, bytes))
    }

    /// A bias `[channels]` as real numbers: integers count in steps of the product of the other scales.
    /// Absent where it is left out.
    pub fn bias(&mut self, index: usize, input: usize, weights: usize) -> Result<Value, Refusal> {
        let Some(tensor) = self.tensor_if_any(index) else { return Ok(Value::ABSENT) };
        let (graph, name) = (self.frame.graph, &self.frame.graph[tensor].name);
        if !matches!(graph[tensor].dtype, DType::I32 | DType::I64) {
            return self.weights(index, &[0]);
        }
        let (Some(input), Some(weights)) = (self.quantization(input), self.quantization(weights)) else {
            return Err(Refusal(format!("'{name}' holds integers beside real numbers")));
        };
        let Some((input, _)) = input.single() else {
            return Err(Refusal("its input has several scales".to_owned()));
        };
        let quantization = Quantization {
            scales: weights.scales.iter().map(|scale| input * scale).collect(),
            zero_points: weights.scales.iter().map(|_| 0).collect(),
            axis: (weights.scales.len() > 1).then_some(0),
        };
        if graph[tensor].dtype == DType::I32 {
            let stored = self.stored(tensor)?;
            return self.dequantized(name, stored, DType::I32, &quantization, quantization.axis);
        }
        self.wide_bias(index, &quantization)
    }

    /// A bias of 64 bits, which DequantizeLinear does not take: as one of 32 where that holds it, else as
    /// real numbers.
    fn wide_bias(&mut self, index: usize, quantization: &Quantization) -> Result<Value, Refusal> {
        let name = format!("{}/bias", self.layer());
        let Some(values) = self.integers(index) else {
            return Err(Refusal("a computed bias of 64 bits cannot be dequantized".to_owned()));
        };
        let narrow: Result<Vec<i32>, _> = values.iter().map(|value| i32::try_from(*value)).collect();
        if let Ok(narrow) = narrow {
            let bytes = narrow.iter().flat_map(|value| value.to_le_bytes()).collect();
            let stored = self.writer.constant(&name, DType::I32, &[values.len()], bytes);
            return self.dequantized(&name, stored, DType::I32, quantization, quantization.axis);
        }
        let scales = quantization.scales.iter().cycle();
        let real = values.iter().zip(scales).map(|(value, scale)| (*value as f64 * f64::from(*scale)) as f32);
        let real: Vec<f32> = real.collect();
        Ok(self.floats("bias", &[real.len()], &real))
    }

    /// Real numbers behind an operator's own activation, fit to be an output. Where the output is
    /// quantized and its integers end where the activation does, nothing is needed; else the activation
    /// works on what the integers stand for, so that it is exact and the product before it stays one that
    /// runtimes compute in integers.
    pub fn activated(
        &mut self,
        output: usize,
        value: Value,
        activation: Activation,
    ) -> Result<Value, Refusal> {
        if activation.is_none() {
            return Ok(value);
        }
        let tensor = self.output_tensor(output)?;
        let Some((scale, zero_point)) = self.quantization_of(tensor).and_then(Quantization::single) else {
            return self.clipped(value, activation, self.frame.facts[tensor.index()].dtype);
        };
        let (least, most) = limits(self.frame.graph[tensor].dtype).unwrap_or((i32::MIN, i32::MAX));
        let (low, high) = activation.bounds();
        let step = |bound: f32| (bound / scale).round_ties_even() + zero_point as f32;
        if step(low) <= least as f32 && step(high) >= most as f32 {
            return Ok(value);
        }
        let stored = self.quantize(tensor, value)?;
        let real = self.real(tensor, stored)?;
        self.clipped(real, activation, DType::F32)
    }

    /// An activation of numbers of a type.
    fn clipped(&mut self, value: Value, activation: Activation, dtype: DType) -> Result<Value, Refusal> {
        if activation == Activation::Relu {
            return Ok(self.emit("Relu", &[value], []));
        }
        let (low, high) = activation.bounds();
        let (low, high) = (self.scalar(dtype, f64::from(low))?, self.scalar(dtype, f64::from(high))?);
        Ok(self.emit("Clip", &[value, low, high], []))
    }
}

/// The axis of several scales.
fn axis_attribute(quantization: &Quantization, axis: Option<usize>) -> Option<(&'static str, Attribute)> {
    let axis = axis.filter(|_| quantization.scales.len() > 1)?;
    Some(("axis", Attribute::Int(axis as i64)))
}

/// Integers as bytes of a type; `None` where it does not hold them.
fn integers(dtype: DType, values: &[i32]) -> Option<Vec<u8>> {
    Some(match dtype {
        DType::I8 => {
            values.iter().map(|v| i8::try_from(*v).map(i8::cast_unsigned)).collect::<Result<_, _>>().ok()?
        }
        DType::U8 => values.iter().map(|v| u8::try_from(*v)).collect::<Result<_, _>>().ok()?,
        DType::I16 => {
            let narrow: Vec<i16> = values.iter().map(|v| i16::try_from(*v)).collect::<Result<_, _>>().ok()?;
            narrow.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        DType::I32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I4 => values
            .chunks(2)
            .map(|pair| {
                let half = |v: i32| (v & 0xF) as u8;
                half(pair[0]) | pair.get(1).map_or(0, |v| half(*v) << 4)
            })
            .collect(),
        _ => return None,
    })
}
