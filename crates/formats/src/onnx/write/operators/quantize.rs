//! Between real numbers and integers.

use litesmith_graph::ops::FakeQuant;
use litesmith_graph::{DType, Quantization};

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;

/// Quantizing is done where outputs are given.
pub(super) fn quantize(s: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let output = s.output_facts(0)?.dtype;
    if s.output_quantization(0).is_none() {
        return Err(Refusal(format!("its output of type {output} has no scale that ONNX can hold")));
    }
    let value = s.input(0)?;
    s.output(0, value)
}

/// Dequantizing is done where inputs are taken.
pub(super) fn dequantize(s: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let dtype = s.facts(0)?.dtype;
    let value = match dtype {
        DType::F16 | DType::F64 => {
            let value = s.raw(0)?;
            s.cast(value, DType::F32)
        }
        DType::I32 => {
            let tensor = s.tensor(0)?;
            let tensor = &s.frame.graph[tensor];
            let Some(quantization) = &tensor.quantization else {
                return Err(Refusal("its input has no scale".to_owned()));
            };
            let value = s.raw(0)?;
            s.dequantized(&tensor.name, value, dtype, quantization, quantization.axis)?
        }
        _ => s.input(0)?,
    };
    s.output(0, value)
}

/// Rounding to a grid: quantized and dequantized, within a range that the integers' own does not give.
pub(super) fn fake_quant(s: &mut Spelling<'_, '_>, op: &FakeQuant) -> Result<(), Refusal> {
    let dtype = if op.bits > 8 { DType::I16 } else { DType::I8 };
    let quantization = &op.quantization;
    let mut value = s.input(0)?;
    let half = 1i32 << (op.bits.clamp(2, 16) - 1);
    let (least, most) = (-half + i32::from(op.narrow_range), half - 1);
    let is_whole = matches!((least, most), (-128, 127) | (-32768, 32767));
    let layer = s.layer();
    let parameters = s.parameters(&layer, dtype, quantization)?;
    if !is_whole {
        let (scale, zero_point) = quantization.single().ok_or_else(|| {
            Refusal("a narrow range with a scale for each channel has no spelling in ONNX".to_owned())
        })?;
        let bound = |integer: i32| scale * (integer - zero_point) as f32;
        let (low, high) = (s.float(bound(least)), s.float(bound(most)));
        value = s.emit("Clip", &[value, low, high], []);
    }
    let axis = |quantization: &Quantization| {
        let axis = quantization.axis.filter(|_| quantization.scales.len() > 1)?;
        Some(("axis", Attribute::Int(axis as i64)))
    };
    let [scale, zero_point] = parameters;
    let integers = s.emit("QuantizeLinear", &[value, scale, zero_point], axis(quantization));
    let real = s.emit("DequantizeLinear", &[integers, scale, zero_point], axis(quantization));
    s.output(0, real)
}
