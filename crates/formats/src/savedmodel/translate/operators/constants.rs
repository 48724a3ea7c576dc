//! Constants, and operations that change nothing while a model runs.

use litesmith_graph::{DType, Shape, Tensor, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::scope::Scope;

pub(super) fn constant(scope: &mut Scope<'_>) -> Built<TensorId> {
    let Some(constant) = scope.node.attributes.tensor("value") else {
        return Err(scope.broken("its attribute 'value' is missing").into());
    };
    let dtype = constant.dtype;
    if matches!(dtype, DType::Text | DType::Resource) {
        unsupported!("constants of {dtype} are not supported; leave them out of the model");
    }
    let name = scope.target.names.tensor(&scope.node.name);
    let tensor = Tensor::constant(&name, dtype, Shape::fixed(&constant.shape), constant.data.clone());
    Ok(scope.draft.add(&scope.target.model, tensor))
}

/// The first input.
pub(super) fn same(scope: &mut Scope<'_>) -> Built<TensorId> {
    scope.input(0)
}

/// All inputs.
pub(super) fn all_same(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    Ok(scope.inputs.clone())
}
