//! Pooling under windows of three axes, which the graph has no operator for.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Padding, Pool2D, PoolKind, Reshape, ReshapeDim};

use crate::emit::Emit;
use crate::refusal::Built;

/// Over height and width, then over depth. Means of means are means here: how many places a window
/// has inside the volume is a product over the axes.
pub(crate) fn pool(
    scope: &mut impl Emit,
    volume: TensorId,
    kind: PoolKind,
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: Padding,
) -> Built<TensorId> {
    let depth = scope.size(volume, 1)?;
    let pool = |kernel, stride| Pool2D { kind, kernel, stride, padding, ..Pool2D::default() };
    let slices = [ReshapeDim::Infer, ReshapeDim::Copy(2), ReshapeDim::Copy(3), ReshapeDim::Copy(4)];
    let slices = scope.emit(Reshape::to(slices.to_vec()), &[volume])?;
    let slices = scope.emit(pool([kernel[1], kernel[2]], [stride[1], stride[2]]), &[slices])?;
    let (height, width, channels) = (scope.size(slices, 1)?, scope.size(slices, 2)?, scope.size(slices, 3)?);
    let Some(area) = height.checked_mul(width) else {
        return Err(scope.broken("its input is too large").into());
    };
    let fixed = |sizes: &[usize]| -> Vec<ReshapeDim> {
        [ReshapeDim::Infer].into_iter().chain(sizes.iter().copied().map(ReshapeDim::Fixed)).collect()
    };
    let columns = scope.emit(Reshape::to(fixed(&[depth, area, channels])), &[slices])?;
    let columns = scope.emit(pool([kernel[0], 1], [stride[0], 1]), &[columns])?;
    let depth = scope.size(columns, 1)?;
    scope.emit(Reshape::to(fixed(&[depth, height, width, channels])), &[columns])
}
