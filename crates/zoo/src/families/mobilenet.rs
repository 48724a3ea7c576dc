//! MobileNet (Howard et al. 2017) and MobileNetV2 (Sandler et al. 2018).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.999, epsilon: 1e-3, scale: true, axis: -1 };
const SIX: Option<f64> = Some(6.0);

/// MobileNetV2 of width 1.
pub(crate) fn v2(built: Built) -> Network {
    /// Channels, stride of the first block, factor of expansion, and how many blocks.
    const STAGES: [(usize, usize, usize, usize); 7] = [
        (16, 1, 1, 1),
        (24, 2, 6, 2),
        (32, 2, 6, 3),
        (64, 2, 6, 4),
        (96, 1, 6, 3),
        (160, 2, 6, 3),
        (320, 1, 6, 1),
    ];
    let mut n = Network::new("mobilenetv2_1.00_224");
    let x = n.image(built.size, 3);
    let x = n.conv(x, "Conv1", Conv::new(32, 3).stride(2).same().no_bias());
    let x = n.batch_norm(x, "bn_Conv1", NORM);
    let mut x = n.relu(x, "Conv1_relu", SIX);
    let mut block = 0;
    for (channels, stride, expansion, count) in STAGES {
        for index in 0..count {
            let stride = if index == 0 { stride } else { 1 };
            x = inverted_residual(&mut n, x, block, (channels, stride, expansion));
            block += 1;
        }
    }
    let x = n.conv(x, "Conv_1", Conv::new(1280, 1).no_bias());
    let x = n.batch_norm(x, "Conv_1_bn", NORM);
    let x = n.relu(x, "out_relu", SIX);
    let x = n.global_average(x, Name::Counted, false);
    let x = n.dense(x, "predictions", built.classes, "softmax", Initializer::GlorotUniform);
    n.finish(x)
}

fn inverted_residual(
    n: &mut Network,
    input: Tensor,
    block: usize,
    (channels, stride, expansion): (usize, usize, usize),
) -> Tensor {
    let prefix = if block == 0 { "expanded_conv".to_owned() } else { format!("block_{block}") };
    let name = |part: &str| format!("{prefix}_{part}");
    let inputs = n.channels(input);
    let mut x = input;
    if block > 0 {
        x = n.conv(x, name("expand"), Conv::new(expansion * inputs, 1).same().no_bias());
        x = n.batch_norm(x, name("expand_BN"), NORM);
        x = n.relu(x, name("expand_relu"), SIX);
    }
    let depthwise = Conv::depthwise(3).stride(stride).no_bias();
    x = if stride == 2 {
        let x = pad_for_stride(n, x, name("pad"));
        n.depthwise(x, name("depthwise"), depthwise)
    } else {
        n.depthwise(x, name("depthwise"), depthwise.same())
    };
    x = n.batch_norm(x, name("depthwise_BN"), NORM);
    x = n.relu(x, name("depthwise_relu"), SIX);
    x = n.conv(x, name("project"), Conv::new(channels, 1).same().no_bias());
    x = n.batch_norm(x, name("project_BN"), NORM);
    if inputs == channels && stride == 1 { n.add(&[input, x], name("add")) } else { x }
}

/// Pads so that a 3x3 window at a stride of 2 starts where it does in the training code: one row before and
/// behind an odd height, one behind an even one.
fn pad_for_stride(n: &mut Network, x: Tensor, name: String) -> Tensor {
    let [rows, columns] = [0, 1].map(|axis| if n.shape(x)[axis] % 2 == 0 { [0, 1] } else { [1, 1] });
    n.zero_pad(x, name, rows, columns)
}
