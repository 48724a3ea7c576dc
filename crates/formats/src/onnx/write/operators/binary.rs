//! Functions of two elements.

use litesmith_graph::DType;
use litesmith_graph::ops::{Binary, BinaryKind, CompareKind, LogicalKind};

use super::pieces::wider;
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

pub(super) fn binary(spelling: &mut Spelling<'_, '_>, op: &Binary) -> Result<(), Refusal> {
    let own = spelling.dtype(0)?;
    let dtype = wider(own);
    let (a, b) = (spelling.input_as(0, dtype)?, spelling.input_as(1, dtype)?);
    let value = match op.kind {
        BinaryKind::Add => spelling.emit("Add", &[a, b], []),
        BinaryKind::Sub => spelling.emit("Sub", &[a, b], []),
        BinaryKind::Mul => spelling.emit("Mul", &[a, b], []),
        // Integers are cut toward zero here as there.
        BinaryKind::Div => spelling.emit("Div", &[a, b], []),
        BinaryKind::Maximum => spelling.emit("Max", &[a, b], []),
        BinaryKind::Minimum => spelling.emit("Min", &[a, b], []),
        BinaryKind::Pow => spelling.emit("Pow", &[a, b], []),
        BinaryKind::SquaredDifference => {
            let difference = spelling.emit("Sub", &[a, b], []);
            spelling.emit("Mul", &[difference, difference], [])
        }
        BinaryKind::FloorDiv if dtype.is_float() => {
            let quotient = spelling.emit("Div", &[a, b], []);
            spelling.emit("Floor", &[quotient], [])
        }
        BinaryKind::FloorDiv => floor_div(spelling, dtype, a, b),
        BinaryKind::FloorMod if dtype.is_float() => float_modulo(spelling, dtype, a, b)?,
        BinaryKind::FloorMod => modulo(spelling, a, b, false),
    };
    let value = spelling.fused(value, dtype, op.activation)?;
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}

/// The remainder, which has the sign of the divisor or, as in C, of the dividend.
fn modulo(spelling: &mut Spelling<'_, '_>, a: Value, b: Value, as_in_c: bool) -> Value {
    spelling.emit("Mod", &[a, b], [("fmod", Attribute::Int(as_in_c.into()))])
}

/// The quotient of integers rounded down: where the two kinds of remainder differ, the quotient
/// that is cut toward zero is one too large.
fn floor_div(spelling: &mut Spelling<'_, '_>, dtype: DType, a: Value, b: Value) -> Value {
    let (floored, cut) = (modulo(spelling, a, b, false), modulo(spelling, a, b, true));
    let same = spelling.emit("Equal", &[floored, cut], []);
    let above = spelling.emit("Not", &[same], []);
    let excess = spelling.retyped(above, DType::Bool, dtype);
    let quotient = spelling.emit("Div", &[a, b], []);
    spelling.emit("Sub", &[quotient, excess], [])
}

/// The remainder of floats with the sign of the divisor. ONNX has that of C only, which lacks one
/// divisor where the signs differ.
fn float_modulo(spelling: &mut Spelling<'_, '_>, dtype: DType, a: Value, b: Value) -> Result<Value, Refusal> {
    let zero = spelling.scalar(dtype, 0.0)?;
    let remainder = modulo(spelling, a, b, true);
    let is_negative = spelling.emit("Less", &[remainder, zero], []);
    let of_negative = spelling.emit("Less", &[b, zero], []);
    let differ = spelling.emit("Xor", &[is_negative, of_negative], []);
    let is_zero = spelling.emit("Equal", &[remainder, zero], []);
    let is_left = spelling.emit("Not", &[is_zero], []);
    let moved = spelling.emit("And", &[differ, is_left], []);
    let other = spelling.emit("Add", &[remainder, b], []);
    Ok(spelling.emit("Where", &[moved, other, remainder], []))
}

pub(super) fn compare(spelling: &mut Spelling<'_, '_>, kind: CompareKind) -> Result<(), Refusal> {
    let equality = matches!(kind, CompareKind::Equal | CompareKind::NotEqual);
    let own = spelling.dtype(0)?;
    if own == DType::Text {
        spelling.needs_opset(19, "a comparison of texts")?;
    }
    // ONNX does not order truth values.
    let dtype = if own == DType::Bool && !equality { DType::I32 } else { own };
    let (a, b) = (spelling.input_as(0, dtype)?, spelling.input_as(1, dtype)?);
    let value = match kind {
        CompareKind::Equal => spelling.emit("Equal", &[a, b], []),
        CompareKind::NotEqual => {
            let equal = spelling.emit("Equal", &[a, b], []);
            spelling.emit("Not", &[equal], [])
        }
        CompareKind::Less => spelling.emit("Less", &[a, b], []),
        CompareKind::LessEqual => spelling.emit("LessOrEqual", &[a, b], []),
        CompareKind::Greater => spelling.emit("Greater", &[a, b], []),
        CompareKind::GreaterEqual => spelling.emit("GreaterOrEqual", &[a, b], []),
    };
    spelling.output(0, value)
}

pub(super) fn logical(spelling: &mut Spelling<'_, '_>, kind: LogicalKind) -> Result<(), Refusal> {
    let (a, b) = (spelling.input(0)?, spelling.input(1)?);
    let operator = match kind {
        LogicalKind::And => "And",
        LogicalKind::Or => "Or",
    };
    let value = spelling.emit(operator, &[a, b], []);
    spelling.output(0, value)
}

pub(super) fn select(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let own = spelling.dtype(1)?;
    let dtype = wider(own);
    let condition = spelling.input(0)?;
    let (yes, no) = (spelling.input_as(1, dtype)?, spelling.input_as(2, dtype)?);
    let value = spelling.emit("Where", &[condition, yes, no], []);
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}

/// `x` where positive, else `alpha * x`.
pub(super) fn prelu(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (x, alpha) = (spelling.input(0)?, spelling.input(1)?);
    let grows = spelling.shape(0)? != &spelling.output_facts(0)?.shape;
    let value = if grows {
        // ONNX broadcasts alpha to the input, never the input to alpha.
        let zero = spelling.scalar_like(0, 0.0)?;
        let (above, below) = (spelling.emit("Max", &[x, zero], []), spelling.emit("Min", &[x, zero], []));
        let scaled = spelling.emit("Mul", &[below, alpha], []);
        spelling.emit("Add", &[above, scaled], [])
    } else {
        spelling.emit("PRelu", &[x, alpha], [])
    };
    spelling.output(0, value)
}
