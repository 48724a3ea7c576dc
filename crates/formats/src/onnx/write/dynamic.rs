//! Integer weights beside real-valued activations, which are quantized while the model runs: integer
//! products of what DynamicQuantizeLinear gives, scaled behind.

use litesmith_graph::DType;

use super::Refusal;
use super::drafts::Attribute;
use super::initializers::Form;
use super::spelling::Spelling;
use super::values::Value;

/// Activations as integers, and how they stand for real numbers.
struct Quantized {
    integers: Value,
    scale: Value,
    zero_point: Value,
}

impl Spelling<'_, '_> {
    /// Whether an input is real-valued beside weights that are fixed integers.
    pub fn is_hybrid(&self, input: usize, weights: usize) -> bool {
        let is_real = self.facts(input).is_ok_and(|facts| facts.dtype == DType::F32);
        is_real && self.quantization(weights).is_some() && self.constant(weights).is_some()
    }

    /// A convolution of a channels-first image with weights of input 1 and the bias of input 2. The
    /// weights are written without sign: ONNX Runtime computes that three times as fast.
    pub fn dynamic_convolution(
        &mut self,
        image: Value,
        order: &[usize],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Result<Value, Refusal> {
        let quantized = self.dynamic(image);
        let (weights, zero_point) = self.integer_weights(1, order, Form::Unsigned)?;
        let inputs = [quantized.integers, weights, quantized.zero_point, zero_point];
        let sums = self.emit("ConvInteger", &inputs, attributes);
        let space = order.len() - 2;
        let scaled = self.scaled(sums, quantized.scale, 1, space)?;
        if self.tensor_if_any(2).is_none() {
            return Ok(scaled);
        }
        let bias = self.bias_before(2, space)?;
        Ok(self.emit("Add", &[scaled, bias], []))
    }

    /// A matrix product with the weights of an input, whose axes come in this order.
    pub fn dynamic_product(
        &mut self,
        value: Value,
        weights: usize,
        bias: Option<usize>,
        order: &[usize],
    ) -> Result<Value, Refusal> {
        let quantized = self.dynamic(value);
        let (integers, zero_point) = self.integer_weights(weights, order, Form::Bytes)?;
        let inputs = [quantized.integers, integers, quantized.zero_point, zero_point];
        let sums = self.emit("MatMulInteger", &inputs, []);
        let scaled = self.scaled(sums, quantized.scale, weights, 0)?;
        match bias {
            Some(bias) if self.tensor_if_any(bias).is_some() => {
                let bias = self.weights(bias, &[0])?;
                Ok(self.emit("Add", &[scaled, bias], []))
            }
            _ => Ok(scaled),
        }
    }

    fn dynamic(&mut self, value: Value) -> Quantized {
        let layer = self.layer();
        let outputs = self.writer.shared(&layer, "DynamicQuantizeLinear", &[value], None);
        Quantized { integers: outputs[0], scale: outputs[1], zero_point: outputs[2] }
    }

    /// Weights as integers, and their zero point where it is not 0.
    fn integer_weights(
        &mut self,
        index: usize,
        order: &[usize],
        form: Form,
    ) -> Result<(Value, Value), Refusal> {
        let tensor = self.tensor(index)?;
        let Some(quantization) = self.quantization(index) else {
            return Err(Refusal("its weights have no scale".to_owned()));
        };
        let integers = self.constant_in(tensor, order, form)?;
        let dtype = form.dtype(self.facts(index)?.dtype);
        let shift = if dtype == self.facts(index)?.dtype || form == Form::Bytes { 0 } else { 128 };
        let mut zero_points: Vec<i32> = quantization.zero_points.iter().map(|zero| zero + shift).collect();
        if zero_points.iter().all(|zero| *zero == 0) {
            return Ok((integers, Value::ABSENT));
        }
        if zero_points.windows(2).all(|pair| pair[0] == pair[1]) {
            zero_points.truncate(1);
        }
        let name = format!("{}/weights", self.layer());
        Ok((integers, self.zero_points(&name, dtype, &zero_points)?))
    }

    /// Sums as real numbers: times the activations' scale and that of each channel's weights. Behind the
    /// channels stand this many axes.
    fn scaled(&mut self, sums: Value, scale: Value, weights: usize, behind: usize) -> Result<Value, Refusal> {
        let Some(quantization) = self.quantization(weights) else {
            return Err(Refusal("its weights have no scale".to_owned()));
        };
        let sums = self.cast(sums, DType::F32);
        let scales = &quantization.scales;
        let mut dims = Vec::new();
        if scales.len() > 1 {
            dims.push(scales.len());
            dims.extend(vec![1; behind]);
        }
        let scales = self.floats("scale", &dims, scales);
        let scale = self.emit("Mul", &[scale, scales], []);
        Ok(self.emit("Mul", &[sums, scale], []))
    }

    /// A bias as real numbers with this many axes behind that of the channels.
    fn bias_before(&mut self, index: usize, behind: usize) -> Result<Value, Refusal> {
        let dtype = self.facts(index)?.dtype;
        if let Some(values) = self.constant(index).and_then(|data| data.floats(dtype)) {
            let mut dims = vec![1; behind + 1];
            dims[0] = values.len();
            return Ok(self.floats("bias", &dims, &values));
        }
        let bias = self.weights(index, &[0])?;
        let mut shape = vec![1; behind + 1];
        shape[0] = -1;
        Ok(self.reshape(bias, &shape))
    }
}
