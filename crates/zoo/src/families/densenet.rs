//! DenseNet (Huang et al. 2017).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv, Padding, Pool};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.99, epsilon: 1.001e-5, scale: true, axis: 3 };
/// Channels that a block adds.
const GROWTH: usize = 32;

/// DenseNet121.
pub(crate) fn densenet121(built: Built) -> Network {
    network(built, "densenet121", [6, 12, 24, 16])
}

/// DenseNet169.
pub(crate) fn densenet169(built: Built) -> Network {
    network(built, "densenet169", [6, 12, 32, 32])
}

/// DenseNet201.
pub(crate) fn densenet201(built: Built) -> Network {
    network(built, "densenet201", [6, 12, 48, 32])
}

/// The network with so many blocks in each stage, and half of the channels dropped between stages.
fn network(built: Built, name: &str, blocks: [usize; 4]) -> Network {
    let mut n = Network::new(name);
    let x = n.image(built.size, 3);
    let x = n.zero_pad(x, Name::Counted, [3, 3], [3, 3]);
    let x = n.conv(x, "conv1_conv", Conv::new(64, 7).stride(2).no_bias());
    let x = normed(&mut n, x, "conv1_");
    let x = n.zero_pad(x, Name::Counted, [1, 1], [1, 1]);
    let mut x = n.pool(x, "pool1", Pool::Max, [3, 2], Padding::Valid);
    for (index, count) in blocks.into_iter().enumerate() {
        let stage = index + 2;
        if index > 0 {
            x = transition(&mut n, x, &format!("pool{}", stage - 1));
        }
        for block in 1..=count {
            x = dense_block(&mut n, x, &format!("conv{stage}_block{block}"));
        }
    }
    let x = normed(&mut n, x, "");
    let x = n.global_average(x, "avg_pool", false);
    let x = n.dense(x, "predictions", built.classes, "softmax", Initializer::GlorotUniform);
    n.finish(x)
}

/// Channels of `input` and those that are made of them.
fn dense_block(n: &mut Network, input: Tensor, prefix: &str) -> Tensor {
    let name = |part: &str| format!("{prefix}_{part}");
    let x = normed(n, input, &name("0_"));
    let x = n.conv(x, name("1_conv"), Conv::new(4 * GROWTH, 1).no_bias());
    let x = normed(n, x, &name("1_"));
    let x = n.conv(x, name("2_conv"), Conv::new(GROWTH, 3).same().no_bias());
    n.concatenate(&[input, x], name("concat"), 3)
}

/// Half the channels at half the height and width.
fn transition(n: &mut Network, x: Tensor, prefix: &str) -> Tensor {
    let x = normed(n, x, &format!("{prefix}_"));
    let half = n.channels(x) / 2;
    let x = n.conv(x, format!("{prefix}_conv"), Conv::new(half, 1).no_bias());
    n.pool(x, format!("{prefix}_pool"), Pool::Average, [2, 2], Padding::Valid)
}

fn normed(n: &mut Network, x: Tensor, prefix: &str) -> Tensor {
    let x = n.batch_norm(x, format!("{prefix}bn"), NORM);
    n.activation(x, format!("{prefix}relu"), "relu")
}
