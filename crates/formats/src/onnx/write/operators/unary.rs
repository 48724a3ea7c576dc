//! Functions of one element.

use litesmith_graph::DType;
use litesmith_graph::ops::{Unary, UnaryKind};

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// Scale and alpha of the scaled exponential linear unit (Klambauer et al. 2017).
const SELU: [f32; 2] = [1.050_701, 1.673_263_2];

/// `sqrt(2 / pi)`, of the tanh approximation of the Gaussian error linear unit.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;

/// The first operator sets that have these operators.
const HARD_SWISH: u32 = 14;
const GELU: u32 = 20;

pub(super) fn unary(spelling: &mut Spelling<'_, '_>, op: &Unary) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let value = function(spelling, op.kind, x)?;
    spelling.output(0, value)
}

fn function(spelling: &mut Spelling<'_, '_>, kind: UnaryKind, x: Value) -> Result<Value, Refusal> {
    let dtype = spelling.dtype(0)?;
    Ok(match kind {
        UnaryKind::Relu => spelling.clamp(x, dtype, (0.0, f32::INFINITY))?,
        UnaryKind::Relu6 => spelling.clamp(x, dtype, (0.0, 6.0))?,
        UnaryKind::ReluN1To1 => spelling.clamp(x, dtype, (-1.0, 1.0))?,
        UnaryKind::Clip { min, max } => spelling.clamp(x, dtype, (min, max))?,
        UnaryKind::LeakyRelu(alpha) => spelling.emit("LeakyRelu", &[x], [("alpha", Attribute::Float(alpha))]),
        UnaryKind::Elu(alpha) => spelling.emit("Elu", &[x], [("alpha", Attribute::Float(alpha))]),
        UnaryKind::Selu => {
            let [gamma, alpha] = SELU.map(Attribute::Float);
            spelling.emit("Selu", &[x], [("alpha", alpha), ("gamma", gamma)])
        }
        UnaryKind::Logistic => spelling.emit("Sigmoid", &[x], []),
        UnaryKind::Tanh => spelling.emit("Tanh", &[x], []),
        UnaryKind::Silu => {
            let gate = spelling.emit("Sigmoid", &[x], []);
            spelling.emit("Mul", &[x, gate], [])
        }
        UnaryKind::HardSigmoid => hard_sigmoid(spelling, x),
        UnaryKind::HardSwish if spelling.opset() >= HARD_SWISH => spelling.emit("HardSwish", &[x], []),
        UnaryKind::HardSwish => {
            let gate = hard_sigmoid(spelling, x);
            spelling.emit("Mul", &[x, gate], [])
        }
        UnaryKind::Gelu { approximate } if spelling.opset() >= GELU => {
            let form = if approximate { "tanh" } else { "none" };
            spelling.emit("Gelu", &[x], [("approximate", Attribute::Text(form))])
        }
        UnaryKind::Gelu { approximate } => gelu(spelling, dtype, x, approximate)?,
        UnaryKind::Softplus => spelling.emit("Softplus", &[x], []),
        UnaryKind::Softsign => spelling.emit("Softsign", &[x], []),
        UnaryKind::Abs => spelling.emit("Abs", &[x], []),
        UnaryKind::Neg => spelling.emit("Neg", &[x], []),
        UnaryKind::Square => spelling.emit("Mul", &[x, x], []),
        UnaryKind::Sqrt => spelling.emit("Sqrt", &[x], []),
        UnaryKind::Rsqrt => {
            let root = spelling.emit("Sqrt", &[x], []);
            spelling.emit("Reciprocal", &[root], [])
        }
        UnaryKind::Exp => spelling.emit("Exp", &[x], []),
        UnaryKind::Log => spelling.emit("Log", &[x], []),
        UnaryKind::Sin => spelling.emit("Sin", &[x], []),
        UnaryKind::Cos => spelling.emit("Cos", &[x], []),
        UnaryKind::Floor => spelling.emit("Floor", &[x], []),
        UnaryKind::Ceil => spelling.emit("Ceil", &[x], []),
        UnaryKind::Round => spelling.emit("Round", &[x], []),
        UnaryKind::Sign => spelling.emit("Sign", &[x], []),
        UnaryKind::Reciprocal => spelling.emit("Reciprocal", &[x], []),
        UnaryKind::LogicalNot => spelling.emit("Not", &[x], []),
    })
}

/// `relu6(x + 3) / 6`.
fn hard_sigmoid(spelling: &mut Spelling<'_, '_>, x: Value) -> Value {
    let attributes = [("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
    spelling.emit("HardSigmoid", &[x], attributes)
}

/// `x * (1 + erf(x / sqrt 2)) / 2`, or with `tanh(sqrt(2 / pi) * (x + 0.044715 x^3))` for the error
/// function (Hendrycks and Gimpel 2016).
fn gelu(
    spelling: &mut Spelling<'_, '_>,
    dtype: DType,
    x: Value,
    approximate: bool,
) -> Result<Value, Refusal> {
    let (half, one) = (spelling.scalar(dtype, 0.5)?, spelling.scalar(dtype, 1.0)?);
    let sign = if approximate {
        let (scale, cubic) = (spelling.scalar(dtype, GELU_SCALE)?, spelling.scalar(dtype, 0.044_715)?);
        let square = spelling.emit("Mul", &[x, x], []);
        let share = spelling.emit("Mul", &[square, cubic], []);
        let factor = spelling.emit("Add", &[share, one], []);
        let sum = spelling.emit("Mul", &[x, factor], []);
        let argument = spelling.emit("Mul", &[sum, scale], []);
        spelling.emit("Tanh", &[argument], [])
    } else {
        let root = spelling.scalar(dtype, std::f64::consts::FRAC_1_SQRT_2)?;
        let argument = spelling.emit("Mul", &[x, root], []);
        spelling.emit("Erf", &[argument], [])
    };
    let gate = spelling.emit("Add", &[sign, one], []);
    let scaled = spelling.emit("Mul", &[x, half], []);
    Ok(spelling.emit("Mul", &[scaled, gate], []))
}
