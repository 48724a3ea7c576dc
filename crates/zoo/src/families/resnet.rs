//! ResNet (He et al. 2015) and ResNetV2 (He et al. 2016).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv, Padding, Pool};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.99, epsilon: 1.001e-5, scale: true, axis: 3 };
/// Channels inside the blocks of each stage; a block gives four times as many.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];
/// How many blocks each stage has.
const BLOCKS_50: [usize; 4] = [3, 4, 6, 3];
const BLOCKS_101: [usize; 4] = [3, 4, 23, 3];
const BLOCKS_152: [usize; 4] = [3, 8, 36, 3];

/// ResNet50.
pub(crate) fn v1_50(built: Built) -> Network {
    v1(built, "resnet50", BLOCKS_50)
}

/// ResNet101.
pub(crate) fn v1_101(built: Built) -> Network {
    v1(built, "resnet101", BLOCKS_101)
}

/// ResNet152.
pub(crate) fn v1_152(built: Built) -> Network {
    v1(built, "resnet152", BLOCKS_152)
}

/// ResNet50V2.
pub(crate) fn v2_50(built: Built) -> Network {
    v2(built, "resnet50v2", BLOCKS_50)
}

/// ResNet101V2.
pub(crate) fn v2_101(built: Built) -> Network {
    v2(built, "resnet101v2", BLOCKS_101)
}

/// ResNet152V2.
pub(crate) fn v2_152(built: Built) -> Network {
    v2(built, "resnet152v2", BLOCKS_152)
}

/// The first version; each stage but the first halves height and width in its first block.
fn v1(built: Built, name: &str, blocks: [usize; 4]) -> Network {
    let mut n = Network::new(name);
    let x = first_convolution(&mut n, built.size);
    let x = normed(&mut n, x, "conv1");
    let mut x = first_pool(&mut n, x);
    for (stage, (width, count)) in WIDTHS.into_iter().zip(blocks).enumerate() {
        for block in 1..=count {
            let name = format!("conv{}_block{block}", stage + 2);
            let stride = if block == 1 && stage > 0 { 2 } else { 1 };
            x = block_v1(&mut n, x, &name, (width, stride, block == 1));
        }
    }
    classified(n, x, built.classes)
}

/// The second version, with norms before the convolutions; each stage but the last halves height and width in its
/// last block.
fn v2(built: Built, name: &str, blocks: [usize; 4]) -> Network {
    let mut n = Network::new(name);
    let x = first_convolution(&mut n, built.size);
    let mut x = first_pool(&mut n, x);
    for (stage, (width, count)) in WIDTHS.into_iter().zip(blocks).enumerate() {
        for block in 1..=count {
            let name = format!("conv{}_block{block}", stage + 2);
            let stride = if block == count && stage < 3 { 2 } else { 1 };
            x = block_v2(&mut n, x, &name, (width, stride, block == 1));
        }
    }
    let x = normed(&mut n, x, "post");
    classified(n, x, built.classes)
}

fn first_convolution(n: &mut Network, size: usize) -> Tensor {
    let x = n.image(size, 3);
    let x = n.zero_pad(x, "conv1_pad", [3, 3], [3, 3]);
    n.conv(x, "conv1_conv", Conv::new(64, 7).stride(2))
}

fn first_pool(n: &mut Network, x: Tensor) -> Tensor {
    let x = n.zero_pad(x, "pool1_pad", [1, 1], [1, 1]);
    n.pool(x, "pool1_pool", Pool::Max, [3, 2], Padding::Valid)
}

/// A block of the first version: `width` channels inside, and a convolution beside it where `widened` is set.
fn block_v1(
    n: &mut Network,
    input: Tensor,
    prefix: &str,
    (width, stride, widened): (usize, usize, bool),
) -> Tensor {
    let name = |part: &str| format!("{prefix}_{part}");
    let shortcut = if widened {
        let x = n.conv(input, name("0_conv"), Conv::new(4 * width, 1).stride(stride));
        n.batch_norm(x, name("0_bn"), NORM)
    } else {
        input
    };
    let x = n.conv(input, name("1_conv"), Conv::new(width, 1).stride(stride));
    let x = normed(n, x, &name("1"));
    let x = n.conv(x, name("2_conv"), Conv::new(width, 3).same());
    let x = normed(n, x, &name("2"));
    let x = n.conv(x, name("3_conv"), Conv::new(4 * width, 1));
    let x = n.batch_norm(x, name("3_bn"), NORM);
    let x = n.add(&[shortcut, x], name("add"));
    n.activation(x, name("out"), "relu")
}

/// A block of the second version: `width` channels inside, and a convolution beside it where `widened` is set.
fn block_v2(
    n: &mut Network,
    input: Tensor,
    prefix: &str,
    (width, stride, widened): (usize, usize, bool),
) -> Tensor {
    let name = |part: &str| format!("{prefix}_{part}");
    let before = normed(n, input, &name("preact"));
    let shortcut = if widened {
        n.conv(before, name("0_conv"), Conv::new(4 * width, 1).stride(stride))
    } else if stride > 1 {
        n.pool(input, Name::Counted, Pool::Max, [1, stride], Padding::Valid)
    } else {
        input
    };
    let x = n.conv(before, name("1_conv"), Conv::new(width, 1).no_bias());
    let x = normed(n, x, &name("1"));
    let x = n.zero_pad(x, name("2_pad"), [1, 1], [1, 1]);
    let x = n.conv(x, name("2_conv"), Conv::new(width, 3).stride(stride).no_bias());
    let x = normed(n, x, &name("2"));
    let x = n.conv(x, name("3_conv"), Conv::new(4 * width, 1));
    n.add(&[shortcut, x], name("out"))
}

fn normed(n: &mut Network, x: Tensor, prefix: &str) -> Tensor {
    let x = n.batch_norm(x, format!("{prefix}_bn"), NORM);
    n.activation(x, format!("{prefix}_relu"), "relu")
}

fn classified(mut n: Network, x: Tensor, classes: usize) -> Network {
    let x = n.global_average(x, "avg_pool", false);
    let x = n.dense(x, "predictions", classes, "softmax", Initializer::GlorotUniform);
    n.finish(x)
}
