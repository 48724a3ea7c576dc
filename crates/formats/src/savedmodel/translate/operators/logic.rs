//! Comparisons, truth values, and choices by them.

use litesmith_graph::ops::{
    Compare, CompareKind, Logical, LogicalKind, ReduceKind, Reshape, ReshapeDim, Select, UnaryKind,
};
use litesmith_graph::{DType, Data, Shape, Tensor, TensorId};

use super::reductions::axes_of;
use crate::composed::truth;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

impl Scope<'_> {
    /// The elements of a tensor of truth values, if they are known.
    pub fn known_truths(&self, id: TensorId) -> Option<Vec<bool>> {
        let data = self.data(id).filter(|_| self.dtype(id) == DType::Bool)?;
        Some(data.bytes().iter().map(|byte| *byte != 0).collect())
    }

    fn truths(&mut self, shape: Shape, values: Vec<bool>) -> TensorId {
        let name = self.target.names.tensor(&self.node.name);
        let data = Data::from_vec(values.into_iter().map(u8::from).collect());
        self.draft.add(&self.target.model, Tensor::constant(&name, DType::Bool, shape, data))
    }
}

pub(super) fn compare(scope: &mut Scope<'_>, kind: CompareKind) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    // What sizes that are known say is decided here.
    if let (Some([left]), Some([right])) =
        (scope.known_integers(a).as_deref(), scope.known_integers(b).as_deref())
    {
        let holds = match kind {
            CompareKind::Equal => left == right,
            CompareKind::NotEqual => left != right,
            CompareKind::Less => left < right,
            CompareKind::LessEqual => left <= right,
            CompareKind::Greater => left > right,
            CompareKind::GreaterEqual => left >= right,
        };
        if let Some(shape) = scope.shape(a).broadcast(&scope.shape(b)) {
            return Ok(scope.truths(shape, vec![holds]));
        }
    }
    scope.emit(Compare { kind }, &[a, b])
}

pub(super) fn combine(scope: &mut Scope<'_>, kind: LogicalKind) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    let decisive = kind == LogicalKind::Or;
    for (one, other) in [(a, b), (b, a)] {
        if scope.rank(one) == 0
            && let Some([value]) = scope.known_truths(one).as_deref()
        {
            if *value != decisive {
                return Ok(other);
            }
            if scope.rank(other) == 0 {
                return Ok(one);
            }
        }
    }
    scope.emit(Logical { kind }, &[a, b])
}

pub(super) fn not(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    if let Some(values) = scope.known_truths(x) {
        let shape = scope.shape(x);
        return Ok(scope.truths(shape, values.into_iter().map(|value| !value).collect()));
    }
    scope.unary(UnaryKind::LogicalNot, x)
}

/// IsFinite, IsInf and IsNan.
pub(super) fn class_of_number(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    if scope.node.op == "IsNan" {
        return scope.emit(Compare { kind: CompareKind::NotEqual }, &[x, x]);
    }
    let size = scope.unary(UnaryKind::Abs, x)?;
    let finite = scope.node.op == "IsFinite";
    let kind = if finite { CompareKind::Less } else { CompareKind::Equal };
    truth::compared(scope, kind, size, f32::INFINITY)
}

pub(super) fn all(scope: &mut Scope<'_>) -> Built<TensorId> {
    reduced(scope, ReduceKind::Min)
}

pub(super) fn any(scope: &mut Scope<'_>) -> Built<TensorId> {
    reduced(scope, ReduceKind::Max)
}

fn reduced(scope: &mut Scope<'_>, kind: ReduceKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axes = axes_of(scope, 1)?;
    if axes.is_empty() {
        return Ok(x);
    }
    truth::reduced(scope, kind, x, axes, scope.node.attributes.flag("keep_dims"))
}

pub(super) fn select(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (condition, yes, no) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.emit(Select {}, &[condition, yes, no])
}

/// A choice whose condition, if it is a vector, chooses whole rows.
pub(super) fn select_rows(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (mut condition, yes, no) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let (own, rank) = (scope.rank(condition), scope.rank(yes));
    if own == 1 && rank > 1 {
        let mut shape = vec![ReshapeDim::Fixed(1); rank];
        shape[0] = ReshapeDim::Infer;
        condition = scope.emit(Reshape::to(shape), &[condition])?;
    } else if own != 0 && own != rank {
        unsupported!("a condition of {own} axes for values of {rank} is not supported");
    }
    scope.emit(Select {}, &[condition, yes, no])
}
