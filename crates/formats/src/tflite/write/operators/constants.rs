//! Constants that stand for attributes.

use litesmith_graph::DType;

use super::Constant;

pub(super) fn scalar(name: &'static str, value: i32) -> Constant {
    Constant { shape: Vec::new(), ..vector(name, &[value]) }
}

pub(super) fn vector(name: &'static str, values: &[i32]) -> Constant {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Constant { name, dtype: DType::I32, shape: vec![values.len()], bytes, quantization: None }
}

pub(super) fn sizes(name: &'static str, values: &[usize]) -> Result<Constant, String> {
    let values = values.iter().map(|value| narrow(*value, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(vector(name, &values))
}

pub(super) fn pairs(name: &'static str, values: &[[usize; 2]]) -> Result<Constant, String> {
    Ok(Constant { shape: vec![values.len(), 2], ..sizes(name, values.as_flattened())? })
}

/// A number as files have it; `what` names it in the error.
pub(super) fn narrow(value: usize, what: &str) -> Result<i32, String> {
    i32::try_from(value).map_err(|_| format!("its {what} of {value} is beyond 32 bits"))
}
