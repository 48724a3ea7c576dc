//! EfficientNetV2 (Tan and Le 2021).

use super::efficientnet::{Efficient, Stage, Version};
use crate::initializer::Initializer;
use crate::layers::Conv;
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

/// EfficientNetV2 B0 to B3.
pub(crate) fn b(built: Built, variant: usize) -> Network {
    /// Factors of channels and of blocks.
    const SCALES: [[f64; 2]; 4] = [[1.0, 1.0], [1.0, 1.1], [1.1, 1.2], [1.2, 1.4]];
    const STAGES: [Stage; 6] = [
        Stage::fused(1, 16, 1, 1),
        Stage::fused(2, 32, 4, 2),
        Stage::fused(2, 48, 4, 2),
        Stage::depthwise(3, 3, 96, 4, 2),
        Stage::depthwise(5, 3, 112, 6, 1),
        Stage::depthwise(8, 3, 192, 6, 2),
    ];
    let mut e = Efficient::new(&format!("efficientnetv2-b{variant}"), Version::Two, SCALES[variant]);
    let n = &mut e.network;
    let x = n.image(built.size, 3);
    let x = n.rescaling(x, Name::Counted, 1.0 / 255.0, 0.0);
    let variances = [0.229_f64, 0.224, 0.225].map(|deviation| deviation.powi(2));
    let x = n.normalization(x, Name::Counted, 3, [[0.485, 0.456, 0.406], variances]);
    rest(e, x, 32, &STAGES, built.classes)
}

/// EfficientNetV2-S.
pub(crate) fn s(built: Built) -> Network {
    const STAGES: [Stage; 6] = [
        Stage::fused(2, 24, 1, 1),
        Stage::fused(4, 48, 4, 2),
        Stage::fused(4, 64, 4, 2),
        Stage::depthwise(6, 3, 128, 4, 2),
        Stage::depthwise(9, 3, 160, 6, 1),
        Stage::depthwise(15, 3, 256, 6, 2),
    ];
    unscaled(built, 's', 24, &STAGES)
}

/// EfficientNetV2-M.
pub(crate) fn m(built: Built) -> Network {
    const STAGES: [Stage; 7] = [
        Stage::fused(3, 24, 1, 1),
        Stage::fused(5, 48, 4, 2),
        Stage::fused(5, 80, 4, 2),
        Stage::depthwise(7, 3, 160, 4, 2),
        Stage::depthwise(14, 3, 176, 6, 1),
        Stage::depthwise(18, 3, 304, 6, 2),
        Stage::depthwise(5, 3, 512, 6, 1),
    ];
    unscaled(built, 'm', 24, &STAGES)
}

/// EfficientNetV2-L.
pub(crate) fn l(built: Built) -> Network {
    const STAGES: [Stage; 7] = [
        Stage::fused(4, 32, 1, 1),
        Stage::fused(7, 64, 4, 2),
        Stage::fused(7, 96, 4, 2),
        Stage::depthwise(10, 3, 192, 4, 2),
        Stage::depthwise(19, 3, 224, 6, 1),
        Stage::depthwise(25, 3, 384, 6, 2),
        Stage::depthwise(7, 3, 640, 6, 1),
    ];
    unscaled(built, 'l', 32, &STAGES)
}

fn unscaled(built: Built, variant: char, stem: usize, stages: &[Stage]) -> Network {
    let mut e = Efficient::new(&format!("efficientnetv2-{variant}"), Version::Two, [1.0, 1.0]);
    let n = &mut e.network;
    let x = n.image(built.size, 3);
    let x = n.rescaling(x, Name::Counted, 1.0 / 128.0, -1.0);
    rest(e, x, stem, stages, built.classes)
}

/// What follows on prepared pixels.
fn rest(mut e: Efficient, x: Tensor, stem: usize, stages: &[Stage], classes: usize) -> Network {
    let x = e.conv_swish(x, "stem_", Conv::new(e.rounded(stem), 3).stride(2).same());
    let x = e.stages(x, stages);
    e.classify(x, 0.2, classes, Initializer::Constant(0.0))
}
