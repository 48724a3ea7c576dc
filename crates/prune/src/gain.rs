//! What zeros are worth to the runtime.

use litesmith_kernels::sparse::{Layer as Cost, Numbers, Structure as Zeros, gain as expected};
use litesmith_kernels::{Isa, Window};

use crate::layers::Layer;
use crate::structure::Structure;

/// How many times as fast this runtime computes a layer with so many zeros, by its model of the times of its
/// kernels; `None` where it has no sparse kernel. `integers`: whether the layer is to be one of int8.
pub(crate) fn gain(
    layer: &Layer,
    structure: Structure,
    sparsity: f32,
    isa: Isa,
    integers: bool,
) -> Option<f64> {
    let product =
        layer.product.filter(|product| product.groups == 1 && product.image.iter().all(|size| *size > 0))?;
    let [pad_before, pad_after] = product.padding;
    let window = Window {
        kernel: product.kernel,
        stride: product.stride,
        dilation: product.dilation,
        pad_before,
        pad_after,
    };
    let cost = Cost {
        window,
        groups: 1,
        in_channels: layer.matrix.columns,
        out_channels: layer.matrix.rows,
        image: product.image,
    };
    let zeros = match structure {
        Structure::Blocks { rows, columns, .. } => Zeros::Blocks { outputs: rows, inputs: columns },
        Structure::Unstructured | Structure::NOfM { .. } => Zeros::Unstructured,
    };
    let numbers = if integers { Numbers::Bytes } else { Numbers::Floats };
    Some(expected(isa, &cost, numbers, zeros, f64::from(sparsity)))
}
