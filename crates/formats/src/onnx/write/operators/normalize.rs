//! Normalizations.

use litesmith_graph::ops::{BatchNorm, Softmax};

use super::reduce::reduction;
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// No vector is taken to be shorter: TFLite's constant.
const SHORTEST: f64 = 1e-6;

/// By arithmetic: ONNX's own operator has its channels behind the batch.
pub(super) fn batch_norm(spelling: &mut Spelling<'_, '_>, op: &BatchNorm) -> Result<(), Refusal> {
    let (x, mean, variance) = (spelling.input(0)?, spelling.input(3)?, spelling.input(4)?);
    let (gamma, beta) = (spelling.optional(1)?, spelling.optional(2)?);
    let epsilon = spelling.scalar_like(0, f64::from(op.epsilon))?;
    let variance = spelling.emit("Add", &[variance, epsilon], []);
    let deviation = spelling.emit("Sqrt", &[variance], []);
    let factor = match gamma {
        Value::ABSENT => spelling.emit("Reciprocal", &[deviation], []),
        gamma => spelling.emit("Div", &[gamma, deviation], []),
    };
    let centred = spelling.emit("Sub", &[x, mean], []);
    let mut value = spelling.emit("Mul", &[centred, factor], []);
    if beta != Value::ABSENT {
        value = spelling.emit("Add", &[value, beta], []);
    }
    spelling.output(0, value)
}

pub(super) fn l2_norm(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (x, axis) = spelling.along_channels(0)?;
    let length = reduction(spelling, "ReduceL2", x, vec![axis], true);
    let shortest = spelling.scalar_like(0, SHORTEST)?;
    let length = spelling.emit("Max", &[length, shortest], []);
    let value = spelling.emit("Div", &[x, length], []);
    spelling.output_along_channels(0, value, axis)
}

pub(super) fn softmax(spelling: &mut Spelling<'_, '_>, op: &Softmax) -> Result<(), Refusal> {
    let (mut x, axis) = spelling.along_channels(0)?;
    if op.beta != 1.0 {
        let beta = spelling.scalar_like(0, f64::from(op.beta))?;
        x = spelling.emit("Mul", &[x, beta], []);
    }
    let operator = if op.log { "LogSoftmax" } else { "Softmax" };
    let value = spelling.emit(operator, &[x], [("axis", Attribute::Int(axis))]);
    spelling.output_along_channels(0, value, axis)
}
