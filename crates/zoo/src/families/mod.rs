//! The networks, one file per family. Names, sizes and order are those of `keras.applications` (Keras 3.15).

pub(crate) mod convnext;
pub(crate) mod densenet;
pub(crate) mod efficientnet;
pub(crate) mod efficientnet_v2;
pub(crate) mod inception_resnet;
pub(crate) mod inception_v3;
pub(crate) mod mobilenet;
pub(crate) mod mobilenet_v3;
pub(crate) mod nasnet;
pub(crate) mod resnet;
pub(crate) mod vgg;
pub(crate) mod xception;

/// The multiple of 8 nearest to `channels`, at least 8, the next one where that would take off more than a tenth.
pub(crate) fn in_eights(channels: f64) -> usize {
    let nearest = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}
