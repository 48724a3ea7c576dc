//! Tables that integers look up.

use litesmith_graph::ops::{Cast, Gather};
use litesmith_graph::{DType, TensorId};

use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

pub(super) fn variables(_: Config<'_>) -> Built<Vec<Variable>> {
    Ok(vec![Variable::trained("embeddings", "embeddings_regularizer")])
}

pub(super) fn embedding(scope: &mut Scope<'_>) -> Built<TensorId> {
    let ids = scope.input()?;
    let config = scope.config();
    if config.flag("mask_zero", false)? {
        unsupported!("masks are not supported; build the layer with mask_zero=False");
    }
    let shape = [config.count("input_dim")?, config.count("output_dim")?];
    let table = scope.weight("embeddings", &shape)?;
    let ids = scope.emit(Cast { to: DType::I32 }, &[ids])?;
    scope.emit(Gather { axis: 0, batch_dims: 0 }, &[table, ids])
}
