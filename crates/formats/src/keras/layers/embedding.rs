//! Tables that integers look up, and masks that come of the values.

use litesmith_graph::ops::{
    BinaryKind, Cast, CompareKind, FullyConnected, Gather, ReduceKind, Squeeze, Transpose, UnaryKind,
};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

pub(super) fn variables(_: Config<'_>) -> Built<Vec<Variable>> {
    Ok(vec![Variable::trained("embeddings", "embeddings_regularizer")])
}

pub(super) fn reversible_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = variables(config)?;
    if !config.flag("tie_weights", true)? {
        variables.push(Variable::trained("reverse_embeddings", ""));
    }
    Ok(variables)
}

/// Rows of the table. With `mask_zero`, steps of the integer 0 do not count.
pub(super) fn embedding(scope: &mut Scope<'_>) -> Built<TensorId> {
    let ids = scope.input()?;
    let config = scope.config();
    let shape = [config.count("input_dim")?, config.count("output_dim")?];
    let table = scope.weight("embeddings", &shape)?;
    let rows = scope.emit(Cast { to: DType::I32 }, &[ids])?;
    let rows = scope.emit(Gather { axis: 0, batch_dims: 0 }, &[table, rows])?;
    if config.flag("mask_zero", false)? {
        let numbers = scope.as_floats(ids)?;
        let mask = truth::compared(scope, CompareKind::NotEqual, numbers, 0.0)?;
        scope.set_mask(rows, Some(mask));
    }
    Ok(rows)
}

/// An embedding that also goes back, from vectors to a score for each row.
pub(super) fn reversible(scope: &mut Scope<'_>) -> Built<TensorId> {
    let back =
        |(name, operand): &(String, Operand)| name == "reverse" && operand.value() == Some(Value::Bool(true));
    let place = scope.keywords.iter().position(back);
    let Some(place) = place else { return embedding(scope) };
    scope.keywords.remove(place);
    let input = scope.floats()?;
    let config = scope.config();
    let (rows, size) = (config.count("input_dim")?, config.count("output_dim")?);
    let table = if config.flag("tie_weights", true)? {
        scope.weight("embeddings", &[rows, size])?
    } else {
        let table = scope.weight("reverse_embeddings", &[size, rows])?;
        scope.laid_out(table, Transpose::by(&[1, 0]))?
    };
    let op = FullyConnected { keep_num_dims: scope.rank(input) > 2, ..FullyConnected::default() };
    let scores = scope.emit_some(op, vec![Some(input), Some(table), None])?;
    match config.optional_number("logit_soft_cap")? {
        None => Ok(scores),
        Some(0.0) => unsupported!("a logit_soft_cap of 0 is not supported"),
        Some(cap) => {
            let scaled = scope.with_scalar(BinaryKind::Mul, scores, 1.0 / cap)?;
            let bent = scope.unary(UnaryKind::Tanh, scaled)?;
            scope.with_scalar(BinaryKind::Mul, bent, cap)
        }
    }
}

/// Steps all of whose numbers are `mask_value` become zeros, and do not count.
pub(super) fn masking(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let value = scope.config().number("mask_value", 0.0)?;
    let different = truth::compared(scope, CompareKind::NotEqual, input, value)?;
    let counts = truth::reduced(scope, ReduceKind::Max, different, vec![-1], true)?;
    let output = truth::kept(scope, counts, input)?;
    let axis = scope.rank(counts) as i32 - 1;
    let mask = scope.emit(Squeeze { axes: vec![axis] }, &[counts])?;
    scope.set_mask(output, Some(mask));
    Ok(output)
}
