//! The same elements under another shape or in another order, and shapes themselves.

use litesmith_graph::operator::Number;
use litesmith_graph::ops::{
    ExpandDims, Reduce, ReduceKind, Reshape, ReshapeDim, ShapeOf, Squeeze, Transpose,
};
use litesmith_graph::{DType, Dim, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::scope::Scope;

pub(super) fn reshape(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, shape) = (scope.input(0)?, scope.input(1)?);
    let Some(dims) = target(scope, x, shape)? else {
        return scope.emit(Reshape { shape: None }, &[x, shape]);
    };
    scope.reshaped(x, Reshape::to(dims))
}

/// The axes of a new shape that the values of a tensor give; `None` if more than one of them is open.
fn target(scope: &Scope<'_>, x: TensorId, shape: TensorId) -> Built<Option<Vec<ReshapeDim>>> {
    let known = scope.known_integers(shape).map(|values| values.into_iter().map(Number::Int).collect());
    let Some(values): Option<Vec<Number>> = scope.facts(shape).value.clone().or(known) else {
        return Ok(None);
    };
    let input = scope.shape(x);
    let mut dims = Vec::with_capacity(values.len());
    for value in values {
        dims.push(match value {
            Number::Int(-1) => ReshapeDim::Infer,
            Number::Int(size) => ReshapeDim::Fixed(scope.size_from(size, "an axis of its new shape")?),
            Number::Free(symbol) => {
                let free = Dim::Free(symbol);
                match input.dims().iter().position(|dim| *dim == free) {
                    Some(axis) => ReshapeDim::Copy(axis),
                    // What is left over would be of a size that is not known; computed, it is.
                    None => return Ok(None),
                }
            }
            Number::Unknown => ReshapeDim::Infer,
        });
    }
    let open = dims.iter().filter(|dim| **dim == ReshapeDim::Infer).count();
    Ok((open <= 1).then_some(dims))
}

pub(super) fn squeeze(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    let mut axes = scope.node.attributes.integers("squeeze_dims").to_vec();
    if axes.is_empty() {
        axes = scope.node.attributes.integers("axis").to_vec();
    }
    let shape = scope.shape(x);
    if axes.is_empty() && shape.dims().iter().any(|dim| dim.fixed().is_none()) {
        unsupported!("which axes of {shape} go is only known while the model runs; name them");
    }
    let axes = axes.into_iter().map(|axis| scope.axis_i32(axis, rank)).collect::<Built<Vec<_>>>()?;
    scope.squeezed(x, axes)
}

impl Scope<'_> {
    /// A tensor without some axes.
    pub(super) fn squeezed(&mut self, x: TensorId, axes: Vec<i32>) -> Built<TensorId> {
        let one = if let [axis] = axes[..] { Some(axis) } else { None };
        let result = self.reshaped(x, Squeeze { axes })?;
        if let Some(axis) = one {
            self.draft.squeezed.insert(result, (x, axis));
        }
        Ok(result)
    }

    /// A tensor with one more axis. Where that axis has just been taken from it, it is what it was.
    pub(super) fn expanded(&mut self, x: TensorId, axis: i32) -> Built<TensorId> {
        match self.draft.squeezed.get(&x) {
            Some((before, taken)) if *taken == axis => Ok(*before),
            _ => self.reshaped(x, ExpandDims { axis }),
        }
    }
}

pub(super) fn expand_dims(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axis = scope.integer_of(1, "its axis")?;
    let axis = scope.axis_i32(axis, scope.rank(x) + 1)?;
    scope.expanded(x, axis)
}

pub(super) fn transpose(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let order = scope.integers_of(1, "the order of the axes")?;
    let rank = scope.rank(x);
    let order = order.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?;
    if order.iter().copied().eq(0..rank) {
        return Ok(x);
    }
    if scope.is_fixed(x) {
        scope.laid_out(x, Transpose::by(&order))
    } else {
        scope.emit(Transpose::by(&order), &[x])
    }
}

fn size_type(scope: &Scope<'_>) -> Built<DType> {
    match scope.node.attributes.dtype("out_type") {
        None => Ok(DType::I32),
        Some(dtype @ (DType::I32 | DType::I64)) => Ok(dtype),
        Some(other) => unsupported!("sizes of type {other} are not supported; use int32"),
    }
}

pub(super) fn shape(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let dtype = size_type(scope)?;
    scope.emit(ShapeOf { dtype }, &[x])
}

pub(super) fn shapes(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let dtype = size_type(scope)?;
    let inputs = scope.tensors()?;
    inputs.into_iter().map(|x| scope.emit(ShapeOf { dtype }, &[x]).map(Bound::Tensor)).collect()
}

pub(super) fn rank(scope: &mut Scope<'_>) -> Built<TensorId> {
    let rank = scope.rank(scope.input(0)?);
    scope.integers("rank", DType::I32, &[], &[rank as i64])
}

/// Number of elements.
pub(super) fn size(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let dtype = size_type(scope)?;
    if let Some(elements) = scope.shape(x).elements().and_then(|elements| i64::try_from(elements).ok()) {
        return scope.integers("size", dtype, &[], &[elements]);
    }
    let shape = scope.emit(ShapeOf { dtype }, &[x])?;
    scope.emit(Reduce { kind: ReduceKind::Prod, axes: vec![0], keep_dims: false }, &[shape])
}
