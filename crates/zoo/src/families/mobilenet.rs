//! MobileNet (Howard et al. 2017) and MobileNetV2 (Sandler et al. 2018).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.999, epsilon: 1e-3, scale: true, axis: -1 };
const SIX: Option<f64> = Some(6.0);

/// MobileNet of width 1.
pub(crate) fn v1(built: Built) -> Network {
    /// Channels and stride of each block.
    const BLOCKS: [(usize, usize); 13] = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ];
    let mut n = Network::new(&format!("mobilenet_1.00_{}", built.size));
    let x = n.image(built.size, 3);
    let mut x = convolution(&mut n, x, "conv1", Conv::new(32, 3).stride(2).same());
    for (index, (channels, stride)) in BLOCKS.into_iter().enumerate() {
        x = separable(&mut n, x, index + 1, (channels, stride));
    }
    let x = n.global_average(x, Name::Counted, true);
    let x = n.dropout(x, "dropout", 1e-3, false);
    let x = n.conv(x, "conv_preds", Conv::new(built.classes, 1).same());
    let x = n.reshape(x, "reshape_2", &[built.classes]);
    let x = n.activation(x, "predictions", "softmax");
    n.finish(x)
}

/// One filter for each channel, then a convolution of single pixels.
fn separable(n: &mut Network, x: Tensor, block: usize, (channels, stride): (usize, usize)) -> Tensor {
    let depthwise = Conv::depthwise(3).stride(stride).no_bias();
    let name = format!("conv_dw_{block}");
    let x = if stride == 2 {
        let x = n.zero_pad(x, format!("conv_pad_{block}"), [0, 1], [0, 1]);
        n.depthwise(x, &*name, depthwise)
    } else {
        n.depthwise(x, &*name, depthwise.same())
    };
    let x = normed(n, x, &name);
    convolution(n, x, &format!("conv_pw_{block}"), Conv::new(channels, 1).same())
}

/// A convolution without a bias, its norm, and `ReLU` up to 6.
fn convolution(n: &mut Network, x: Tensor, name: &str, conv: Conv) -> Tensor {
    let x = n.conv(x, name, conv.no_bias());
    normed(n, x, name)
}

fn normed(n: &mut Network, x: Tensor, name: &str) -> Tensor {
    let x = n.batch_norm(x, format!("{name}_bn"), BatchNorm::default());
    n.relu(x, format!("{name}_relu"), SIX)
}

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
    let mut n = Network::new(&format!("mobilenetv2_1.00_{}", built.size));
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
        let x = n.pad_for_stride(x, name("pad"), 3);
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
