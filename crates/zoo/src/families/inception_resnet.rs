//! Inception-ResNet v2 (Szegedy et al. 2017).

use super::inception_v3::Step::{AveragePool, MaxPool, Reduce, Same};
use super::inception_v3::{NORM, Step, classify, mixed, stem};
use crate::layers::Conv;
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

/// Inception-ResNet v2.
pub(crate) fn v2(built: Built) -> Network {
    const BLOCK_35: [&[Step]; 3] = [
        &[Same(32, 1, 1)],
        &[Same(32, 1, 1), Same(32, 3, 3)],
        &[Same(32, 1, 1), Same(48, 3, 3), Same(64, 3, 3)],
    ];
    const BLOCK_17: [&[Step]; 2] = [&[Same(192, 1, 1)], &[Same(128, 1, 1), Same(160, 1, 7), Same(192, 7, 1)]];
    const BLOCK_8: [&[Step]; 2] = [&[Same(192, 1, 1)], &[Same(192, 1, 1), Same(224, 1, 3), Same(256, 3, 1)]];
    let mut network = Network::new("inception_resnet_v2");
    let n = &mut network;
    let x = stem(n, built.size);
    let double = [Same(64, 1, 1), Same(96, 3, 3), Same(96, 3, 3)];
    let pooled = [AveragePool, Same(64, 1, 1)];
    let branches: [&[Step]; 4] = [&[Same(96, 1, 1)], &[Same(48, 1, 1), Same(64, 5, 5)], &double, &pooled];
    let mut x = mixed(n, x, "mixed_5b", &branches);
    for index in 1..=10 {
        x = residual(n, x, &format!("block35_{index}"), 0.17, &BLOCK_35);
        x = n.activation(x, format!("block35_{index}_ac"), "relu");
    }
    let double = [Same(256, 1, 1), Same(256, 3, 3), Reduce(384)];
    x = mixed(n, x, "mixed_6a", &[&[Reduce(384)], &double, &[MaxPool]]);
    for index in 1..=20 {
        x = residual(n, x, &format!("block17_{index}"), 0.1, &BLOCK_17);
        x = n.activation(x, format!("block17_{index}_ac"), "relu");
    }
    let double = [Same(256, 1, 1), Same(288, 3, 3), Reduce(320)];
    let branches: [&[Step]; 4] =
        [&[Same(256, 1, 1), Reduce(384)], &[Same(256, 1, 1), Reduce(288)], &double, &[MaxPool]];
    x = mixed(n, x, "mixed_7a", &branches);
    for index in 1..10 {
        x = residual(n, x, &format!("block8_{index}"), 0.2, &BLOCK_8);
        x = n.activation(x, format!("block8_{index}_ac"), "relu");
    }
    // The last block is neither scaled nor activated.
    x = residual(n, x, "block8_10", 1.0, &BLOCK_8);
    let x = n.conv(x, "conv_7b", Conv::new(1536, 1).same().no_bias());
    let x = n.batch_norm(x, "conv_7b_bn", NORM);
    let x = n.activation(x, "conv_7b_ac", "relu");
    classify(network, x, built.classes)
}

/// The input, and so much of the branches as `scale` says.
fn residual(n: &mut Network, input: Tensor, name: &str, scale: f64, branches: &[&[Step]]) -> Tensor {
    let x = mixed(n, input, format!("{name}_mixed"), branches);
    let x = n.conv(x, format!("{name}_conv"), Conv::new(n.channels(input), 1).same());
    n.scaled_sum([input, x], Name::Counted, scale)
}
