//! MobileNetV3, small and large (Howard et al. 2019).

use super::in_eights;
use crate::layers::{BatchNorm, Conv};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.999, epsilon: 1e-3, scale: true, axis: -1 };

#[derive(Clone, Copy)]
enum Activation {
    Relu,
    HardSwish,
}
use Activation::{HardSwish, Relu};

/// Window, channels inside, channels of the output, whether channels are weighed, activation, stride: a row of
/// the tables of the paper.
type Block = (usize, usize, usize, bool, Activation, usize);

/// MobileNetV3Small of width 1.
pub(crate) fn small(built: Built) -> Network {
    const BLOCKS: [Block; 11] = [
        (3, 16, 16, true, Relu, 2),
        (3, 72, 24, false, Relu, 2),
        (3, 88, 24, false, Relu, 1),
        (5, 96, 40, true, HardSwish, 2),
        (5, 240, 40, true, HardSwish, 1),
        (5, 240, 40, true, HardSwish, 1),
        (5, 120, 48, true, HardSwish, 1),
        (5, 144, 48, true, HardSwish, 1),
        (5, 288, 96, true, HardSwish, 2),
        (5, 576, 96, true, HardSwish, 1),
        (5, 576, 96, true, HardSwish, 1),
    ];
    network(built, "MobileNetV3Small", &BLOCKS, 1024)
}

/// MobileNetV3Large of width 1.
pub(crate) fn large(built: Built) -> Network {
    const BLOCKS: [Block; 15] = [
        (3, 16, 16, false, Relu, 1),
        (3, 64, 24, false, Relu, 2),
        (3, 72, 24, false, Relu, 1),
        (5, 72, 40, true, Relu, 2),
        (5, 120, 40, true, Relu, 1),
        (5, 120, 40, true, Relu, 1),
        (3, 240, 80, false, HardSwish, 2),
        (3, 200, 80, false, HardSwish, 1),
        (3, 184, 80, false, HardSwish, 1),
        (3, 184, 80, false, HardSwish, 1),
        (3, 480, 112, true, HardSwish, 1),
        (3, 672, 112, true, HardSwish, 1),
        (5, 672, 160, true, HardSwish, 2),
        (5, 960, 160, true, HardSwish, 1),
        (5, 960, 160, true, HardSwish, 1),
    ];
    network(built, "MobileNetV3Large", &BLOCKS, 1280)
}

/// The network of these blocks, with `last` channels before the classifier.
fn network(built: Built, name: &str, blocks: &[Block], last: usize) -> Network {
    let mut n = Network::new(name);
    let x = n.image(built.size, 3);
    let x = n.rescaling(x, Name::Counted, 1.0 / 127.5, -1.0);
    let x = convolution(&mut n, x, "conv", Conv::new(16, 3).stride(2));
    let mut x = activation(&mut n, x, HardSwish);
    for (index, block) in blocks.iter().enumerate() {
        x = inverted_residual(&mut n, x, index, *block);
    }
    let inside = 6 * n.channels(x);
    let x = convolution(&mut n, x, "conv_1", Conv::new(inside, 1));
    let x = activation(&mut n, x, HardSwish);
    let x = n.global_average(x, Name::Counted, true);
    let x = n.conv(x, "conv_2", Conv::new(last, 1).same());
    let x = activation(&mut n, x, HardSwish);
    let x = n.dropout(x, Name::Counted, 0.2, false);
    let x = n.conv(x, "logits", Conv::new(built.classes, 1).same());
    let x = n.flatten(x, Name::Counted);
    let x = n.activation(x, "predictions", "softmax");
    n.finish(x)
}

fn inverted_residual(
    n: &mut Network,
    input: Tensor,
    index: usize,
    (kernel, inside, channels, weighed, function, stride): Block,
) -> Tensor {
    let prefix = if index == 0 { "expanded_conv".to_owned() } else { format!("expanded_conv_{index}") };
    let name = |part: &str| format!("{prefix}_{part}");
    let inputs = n.channels(input);
    let mut x = input;
    if index > 0 {
        x = convolution(n, x, &name("expand"), Conv::new(inside, 1));
        x = activation(n, x, function);
    }
    let depthwise = Conv::depthwise(kernel).stride(stride).no_bias();
    x = if stride == 2 {
        let x = n.pad_for_stride(x, name("depthwise_pad"), kernel);
        n.depthwise(x, name("depthwise"), depthwise)
    } else {
        n.depthwise(x, name("depthwise"), depthwise.same())
    };
    x = n.batch_norm(x, name("depthwise_bn"), NORM);
    x = activation(n, x, function);
    if weighed {
        x = squeeze_excite(n, x, &name("squeeze_excite"));
    }
    x = convolution(n, x, &name("project"), Conv::new(channels, 1));
    if inputs == channels && stride == 1 { n.add(&[input, x], name("add")) } else { x }
}

/// Weighs each channel by what the means of all channels say.
fn squeeze_excite(n: &mut Network, input: Tensor, prefix: &str) -> Tensor {
    let name = |part: &str| format!("{prefix}_{part}");
    let channels = n.channels(input);
    let fewer = in_eights(channels as f64 / 4.0);
    let x = n.global_average(input, name("avg_pool"), true);
    let x = n.conv(x, name("conv"), Conv::new(fewer, 1).same());
    let x = n.relu(x, name("relu"), None);
    let x = n.conv(x, name("conv_1"), Conv::new(channels, 1).same());
    let x = n.plus(x, 3.0);
    let x = n.relu(x, Name::Counted, Some(6.0));
    let x = n.times(x, 1.0 / 6.0);
    n.multiply(&[input, x], name("mul"))
}

/// A convolution without a bias, and its norm.
fn convolution(n: &mut Network, x: Tensor, name: &str, conv: Conv) -> Tensor {
    let x = n.conv(x, name, conv.same().no_bias());
    n.batch_norm(x, format!("{name}_bn"), NORM)
}

fn activation(n: &mut Network, x: Tensor, function: Activation) -> Tensor {
    match function {
        Relu => n.relu(x, Name::Counted, None),
        HardSwish => n.activation(x, Name::Counted, "hard_silu"),
    }
}
