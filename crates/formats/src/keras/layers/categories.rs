//! Numbers as categories: bins, tables of integers, and rows of zeros and ones.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BinaryKind, Cast, Compare, CompareKind, ExpandDims, OneHot, Reduce, ReduceKind,
    Select, Squeeze,
};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::keras::config::{Built, Numbers, Version, unsupported};
use crate::keras::layers::operations::slicing::reached;
use crate::keras::scope::Scope;

/// Most entries of a table that is searched one by one.
const MOST_ENTRIES: usize = 1 << 12;
/// From here on not every integer is a number of single precision.
const MOST_EXACT: f64 = (1 << 24) as f64;

/// How many of its bounds each number has reached.
pub(super) fn discretization(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let Some(bounds) = scope.config().numbers("bin_boundaries")? else {
        unsupported!("its bounds are not in the file; adapt it, or give it bin_boundaries");
    };
    let depth = bounds.values.len() + 1;
    let bin = reached(scope, input, bounds.values)?;
    let plain = if scope.version == Version::Keras3 { DType::I32 } else { DType::I64 };
    encoded(scope, bin, depth, "int", plain)
}

/// Integers as rows of zeros and ones, or of counts.
pub(super) fn encoding(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let depth = scope.config().count("num_tokens")?;
    encoded(scope, input, depth, "multi_hot", DType::F32)
}

/// A table of integers: its lines, in order, with a place for the integers that are not in it.
pub(super) fn integer_lookup(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let config = scope.config();
    if config.flag("invert", false)? {
        unsupported!("an inverted table is not supported; look the integers up behind the model");
    }
    if config.count_or("num_oov_indices", 1)? != 1 {
        unsupported!("several places for unknown integers need hashes, which are not supported; use one");
    }
    let mode = config.text("output_mode")?.unwrap_or("int");
    let masked = config.get("mask_token").is_some() && mode == "int";
    let unknown = usize::from(masked);
    let lines = vocabulary(scope, unknown)?;
    if lines.len() > MOST_ENTRIES || lines.iter().any(|entry| entry.abs() > MOST_EXACT) {
        unsupported!("a table of over {MOST_ENTRIES} entries, or of large integers, is not supported");
    }
    // The place of the entry that fits is that of the largest number: 1 there, 1/2 at the unknown.
    let table =
        lines.iter().enumerate().map(|(place, entry)| if place == unknown { 0.0 } else { *entry as f32 });
    let table = Numbers { shape: vec![lines.len()], values: table.collect() };
    let floor = (0..lines.len()).map(|place| if place == unknown { 0.5 } else { 0.0 }).collect();
    let floor = Numbers { shape: vec![lines.len()], values: floor };
    let entries = (0..lines.len()).map(|place| if place == unknown { 0.0 } else { 1.0 }).collect();
    let entries = Numbers { shape: vec![lines.len()], values: entries };
    let ids = scope.emit(Cast { to: DType::I32 }, &[input])?;
    let last = scope.rank(ids) as i32;
    let apart = scope.emit(ExpandDims { axis: last }, &[ids])?;
    let table = scope.constant("table", table)?;
    let table = scope.emit(Cast { to: DType::I32 }, &[table])?;
    let fits = scope.emit(Compare { kind: CompareKind::Equal }, &[apart, table])?;
    let (entries, zero) = (scope.constant("entries", entries)?, scope.scalar("zero", 0.0)?);
    let found = scope.emit(Select {}, &[fits, entries, zero])?;
    let floor = scope.constant("unknown", floor)?;
    let found = scope.binary(BinaryKind::Maximum, found, floor)?;
    let place = ArgReduce { kind: ArgKind::Max, axis: last, dtype: DType::I32 };
    let place = scope.emit(place, &[found])?;
    encoded(scope, place, lines.len(), "int", DType::I64)
}

/// The lines of a table: of the file beside the configuration, or the list in it, which leaves out what
/// stands before the entries.
fn vocabulary(scope: &Scope<'_>, unknown: usize) -> Built<Vec<f64>> {
    if let Some(text) = scope.target.assets.get(&scope.layer.id) {
        let lines = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.lines().map(|line| line.trim().parse().ok()).collect::<Option<Vec<f64>>>());
        return lines.ok_or_else(|| scope.config().broken("its table does not consist of integers").into());
    }
    let Some(entries) = scope.config().numbers("vocabulary")? else {
        unsupported!("its table is not in the file; save the model as .keras, or give it a vocabulary");
    };
    // What stands for the mask is never looked up by another name; the unknown fits nothing.
    let mask = f64::from(scope.config().number("mask_token", 0.0)?);
    let before = if unknown == 1 { vec![mask, f64::NAN] } else { vec![f64::NAN] };
    Ok(before.into_iter().chain(entries.values.into_iter().map(f64::from)).collect())
}

/// Places of categories in the form that `output_mode` names.
fn encoded(
    scope: &mut Scope<'_>,
    places: TensorId,
    depth: usize,
    default: &str,
    plain: DType,
) -> Built<TensorId> {
    let mode = scope.config().text("output_mode")?.unwrap_or(default);
    if scope.config().flag("sparse", false)? {
        unsupported!("sparse outputs are not supported; build the layer with sparse=False");
    }
    if mode == "int" {
        return scope.emit(Cast { to: plain }, &[places]);
    }
    let mut places = scope.emit(Cast { to: DType::I32 }, &[places])?;
    let rank = scope.rank(places);
    let last = rank.saturating_sub(1);
    if mode == "one_hot" && rank > 1 && scope.shape(places).dims()[last].fixed() == Some(1) {
        places = scope.emit(Squeeze { axes: vec![last as i32] }, &[places])?;
    }
    let (on, off) = (scope.scalar("on", 1.0)?, scope.scalar("off", 0.0)?);
    let rows = scope.emit(OneHot { depth, axis: -1 }, &[places, on, off])?;
    let kind = match mode {
        "one_hot" => return Ok(rows),
        "multi_hot" => ReduceKind::Max,
        "count" => ReduceKind::Sum,
        other => {
            unsupported!("output_mode '{other}' is not supported; use one of int, one_hot, multi_hot, count")
        }
    };
    if scope.keywords.iter().any(|(name, operand)| name == "count_weights" && operand.value().is_none()) {
        unsupported!("count_weights are not supported");
    }
    scope.emit(Reduce { kind, axes: vec![last as i32], keep_dims: false }, &[rows])
}
