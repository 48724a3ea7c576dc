//! Images of another size.

use litesmith_graph::ops::{Cast, Resize, ResizeKind};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn resize(scope: &mut Scope<'_>, kind: ResizeKind) -> Built<TensorId> {
    let (mut image, size) = (scope.input(0)?, scope.input(1)?);
    if kind == ResizeKind::Bilinear && scope.dtype(image) != DType::F32 {
        // Its result is of single precision whatever the image is.
        image = scope.emit(Cast { to: DType::F32 }, &[image])?;
    }
    let mut op = Resize {
        kind,
        size: [0; 2],
        align_corners: scope.node.attributes.flag("align_corners"),
        half_pixel_centers: scope.node.attributes.flag("half_pixel_centers"),
    };
    if op.align_corners && op.half_pixel_centers {
        unsupported!("align_corners together with half_pixel_centers is not supported; choose one");
    }
    match scope.known_integers(size).as_deref() {
        Some([height, width]) => {
            op.size = [scope.size_from(*height, "its height")?, scope.size_from(*width, "its width")?];
            scope.emit(op, &[image])
        }
        Some(other) => Err(scope.broken(format!("its new size is {other:?}")).into()),
        None => scope.emit(op, &[image, size]),
    }
}
