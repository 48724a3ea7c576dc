//! How readers let a graph grow: node by node, shapes inferred on the way.

use litesmith_graph::ops::{Binary, BinaryKind, StridedSlice, Transpose, Unary, UnaryKind};
use litesmith_graph::{DType, Dim, Facts, Op, Shape, TensorId};

use crate::error::FormatError;
use crate::refusal::{Built, unsupported};

/// A graph under construction, at the place of one layer or operation.
pub(crate) trait Emit: Sized {
    /// What is known of a tensor.
    fn facts(&self, id: TensorId) -> &Facts;

    /// A contradiction at this place.
    fn broken(&self, reason: impl Into<String>) -> FormatError;

    /// Adds a node and gives its outputs.
    fn emit_several(&mut self, op: impl Into<Op>, inputs: Vec<Option<TensorId>>) -> Built<Vec<TensorId>>;

    /// A scalar constant.
    fn scalar(&mut self, name: &str, value: f32) -> Built<TensorId>;

    /// A weight in another layout. However often it is needed, the node exists once.
    fn laid_out(&mut self, weight: TensorId, op: impl Into<Op>) -> Built<TensorId>;

    // Shapes

    /// What is known of a tensor's shape.
    fn shape(&self, id: TensorId) -> Shape {
        self.facts(id).shape.clone()
    }

    /// Element type of a tensor.
    fn dtype(&self, id: TensorId) -> DType {
        self.facts(id).dtype
    }

    /// Number of axes of a tensor.
    fn rank(&self, id: TensorId) -> usize {
        self.facts(id).shape.rank()
    }

    /// Size of the last axis, which must be fixed.
    fn channels(&self, id: TensorId) -> Built<usize> {
        self.size(id, self.rank(id).wrapping_sub(1))
    }

    /// Size of an axis, which must be fixed.
    fn size(&self, id: TensorId, axis: usize) -> Built<usize> {
        let shape = self.shape(id);
        match shape.dims().get(axis).map(Dim::fixed) {
            Some(Some(size)) => Ok(size),
            Some(None) => {
                unsupported!(
                    "axis {axis} of its input {shape} must be fixed; give the model a fixed input shape"
                )
            }
            None => Err(self.broken(format!("its input of shape {shape} has no axis {axis}")).into()),
        }
    }

    /// An axis that may count from the end.
    fn axis(&self, axis: i64, rank: usize) -> Built<usize> {
        let resolved = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        match resolved.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank) {
            Some(axis) => Ok(axis),
            None => Err(self.broken(format!("axis {axis} does not exist in {rank} axes")).into()),
        }
    }

    // Nodes

    /// Adds a node that reads these tensors, and gives its output.
    fn emit(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Built<TensorId> {
        self.emit_some(op, inputs.iter().copied().map(Some).collect())
    }

    /// Adds a node some of whose inputs may be left out, and gives its output.
    fn emit_some(&mut self, op: impl Into<Op>, inputs: Vec<Option<TensorId>>) -> Built<TensorId> {
        let op = op.into();
        let name = op.name();
        match self.emit_several(op, inputs)?.as_slice() {
            [output] => Ok(*output),
            _ => Err(self.broken(format!("{name} does not have one output")).into()),
        }
    }

    /// A function of one tensor.
    fn unary(&mut self, kind: UnaryKind, x: TensorId) -> Built<TensorId> {
        self.emit(Unary::from(kind), &[x])
    }

    /// A function of two tensors.
    fn binary(&mut self, kind: BinaryKind, a: TensorId, b: TensorId) -> Built<TensorId> {
        self.emit(Binary::from(kind), &[a, b])
    }

    /// A function of a tensor and a number.
    fn with_scalar(&mut self, kind: BinaryKind, a: TensorId, b: f32) -> Built<TensorId> {
        let b = self.scalar("constant", b)?;
        self.binary(kind, a, b)
    }

    /// Elements `start` to `start + length` along an axis.
    fn part(&mut self, x: TensorId, axis: usize, start: usize, length: usize) -> Built<TensorId> {
        let rank = self.rank(x);
        let mut slice = StridedSlice {
            begin: vec![0; rank],
            end: vec![0; rank],
            strides: vec![1; rank],
            ..StridedSlice::default()
        };
        for other in (0..rank).filter(|other| *other != axis) {
            slice.begin_mask |= 1 << other;
            slice.end_mask |= 1 << other;
        }
        slice.begin[axis] = start as i64;
        slice.end[axis] = start.saturating_add(length) as i64;
        self.emit(slice, &[x])
    }

    /// `op` applied with an axis in last place, put back afterwards.
    fn along_last(
        &mut self,
        input: TensorId,
        axis: usize,
        apply: impl FnOnce(&mut Self, TensorId) -> Built<TensorId>,
    ) -> Built<TensorId> {
        let rank = self.rank(input);
        if axis + 1 == rank {
            return apply(self, input);
        }
        // Exchanging two axes undoes itself.
        let mut exchange: Vec<usize> = (0..rank).collect();
        exchange.swap(axis, rank - 1);
        let exchanged = self.emit(Transpose::by(&exchange), &[input])?;
        let result = apply(self, exchanged)?;
        self.emit(Transpose::by(&exchange), &[result])
    }

    /// The second axis, which holds channels, behind all others.
    fn channels_to_last(&mut self, x: TensorId) -> Built<TensorId> {
        let rank = self.rank(x);
        if rank < 3 {
            return Ok(x);
        }
        let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        self.emit(Transpose::by(&order), &[x])
    }

    /// The last axis, which holds channels, in second place.
    fn channels_to_first(&mut self, x: TensorId) -> Built<TensorId> {
        let rank = self.rank(x);
        if rank < 3 {
            return Ok(x);
        }
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        self.emit(Transpose::by(&order), &[x])
    }
}
