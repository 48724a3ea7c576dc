//! Options of arithmetic on elements and along axes.

use litesmith_graph::DType;
use litesmith_graph::ops::{ArgKind, ArgReduce, Binary, BinaryKind, Softmax, Unary, UnaryKind};

use super::Site;
use super::options::Options;
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{activation_code, options, type_code};

pub(super) fn arg_reduce(op: &ArgReduce) -> Options {
    let (kind, slot) = match op.kind {
        ArgKind::Max => (options::arg_max::KIND, options::arg_max::OUTPUT_TYPE),
        ArgKind::Min => (options::arg_min::KIND, options::arg_min::OUTPUT_TYPE),
    };
    (kind, Table::default().scalar(slot, type_code(op.dtype), 0))
}

pub(super) fn binary(site: &Site<'_>, op: &Binary) -> Result<Option<Options>, String> {
    let activation = activation_code(op.activation);
    let sixteen = site.input_type(0) == Some(DType::I16);
    let table = Table::default();
    Ok(Some(match op.kind {
        BinaryKind::Add => {
            use options::add as slot;
            let table = table.scalar(slot::POT_SCALE_INT16, !sixteen, true);
            (slot::KIND, table.scalar(slot::ACTIVATION, activation, 0))
        }
        BinaryKind::Sub => {
            use options::sub as slot;
            let table = table.scalar(slot::POT_SCALE_INT16, !sixteen, true);
            (slot::KIND, table.scalar(slot::ACTIVATION, activation, 0))
        }
        BinaryKind::Mul => (options::mul::KIND, table.scalar(options::mul::ACTIVATION, activation, 0)),
        BinaryKind::Div => (options::div::KIND, table.scalar(options::div::ACTIVATION, activation, 0)),
        _ if op.activation.is_none() => return Ok(None),
        _ => return Err("TFLite fuses no activation with it: legalize the model first".into()),
    }))
}

pub(super) fn softmax(op: &Softmax) -> Result<Option<Options>, String> {
    use options::softmax as slot;
    match op.log {
        true if op.beta != 1.0 => Err("LOG_SOFTMAX has no beta: legalize the model first".into()),
        true => Ok(None),
        false => Ok(Some((slot::KIND, Table::default().scalar(slot::BETA, op.beta, 0.0)))),
    }
}

pub(super) fn unary(op: &Unary) -> Option<Options> {
    let table = Table::default();
    match op.kind {
        UnaryKind::LeakyRelu(alpha) => {
            Some((options::leaky_relu::KIND, table.scalar(options::leaky_relu::ALPHA, alpha, 0.0)))
        }
        UnaryKind::Gelu { approximate } => {
            Some((options::gelu::KIND, table.scalar(options::gelu::APPROXIMATE, approximate, false)))
        }
        _ => None,
    }
}
