//! Pooling under windows.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Pad, PadMode, Pool2D, PoolKind};

use super::convolution::{Window, spatial};
use crate::composed;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn images(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    if scope.node.op == "MaxPoolV2" {
        return by_inputs(scope);
    }
    let window = Window::<2>::of(scope)?;
    let kernel = spatial(scope, "ksize", window.channels_first)?;
    let mut image = scope.input(0)?;
    image = window.to_last(scope, image)?;
    if window.amounts != [[0; 2]; 2] {
        if kind == PoolKind::Average {
            unsupported!("average pooling with explicit padding is not supported; pad before it");
        }
        let amounts = vec![[0, 0], window.amounts[0], window.amounts[1], [0, 0]];
        image = scope.emit(Pad { amounts, mode: PadMode::Value(f32::MIN) }, &[image])?;
    }
    let op = Pool2D { kind, kernel, stride: window.stride, padding: window.padding, ..Pool2D::default() };
    let pooled = scope.emit(op, &[image])?;
    window.back(scope, pooled)
}

/// The largest under windows whose sizes and strides are inputs.
fn by_inputs(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = Window::<2>::of(scope)?;
    let mut sizes = [[1; 2]; 2];
    for (index, sizes) in sizes.iter_mut().enumerate() {
        let given = scope.integers_of(index + 1, "the size of the window")?;
        let [1, a, b, 1] = given[..] else {
            unsupported!("windows along batch or channels are not supported");
        };
        *sizes = [scope.size_from(a, "a window")?, scope.size_from(b, "a window")?];
    }
    if window.channels_first {
        unsupported!("channels first with windows that are inputs is not supported; use NHWC");
    }
    let image = scope.input(0)?;
    let image = window.to_last(scope, image)?;
    let [kernel, stride] = sizes;
    let op = Pool2D { kind: PoolKind::Max, kernel, stride, padding: window.padding, ..Pool2D::default() };
    scope.emit(op, &[image])
}

pub(super) fn volumes(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let window = Window::<3>::of(scope)?;
    let kernel = spatial(scope, "ksize", window.channels_first)?;
    let volume = scope.input(0)?;
    let volume = window.to_last(scope, volume)?;
    let pooled = composed::volumes::pool(scope, volume, kind, kernel, window.stride, window.padding)?;
    window.back(scope, pooled)
}
