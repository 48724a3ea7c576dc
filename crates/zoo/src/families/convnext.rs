//! ConvNeXt (Liu et al. 2022).

use crate::initializer::Initializer;
use crate::layers::{Conv, Inner};
use crate::models::Built;
use crate::network::{Network, Tensor};

const NORM: Inner = Inner::LayerNorm { epsilon: EPSILON };
const EPSILON: f64 = 1e-6;
const KERNEL: Initializer = Initializer::GlorotUniform;

/// ConvNeXt of this variant: so many channels in the first stage, so many blocks in the third.
pub(crate) fn build(built: Built, variant: &str, channels: usize, blocks: usize) -> Network {
    let model = format!("convnext_{variant}");
    let name = |part: &str| format!("{model}_{part}");
    let mut n = Network::new(&model);
    let x = n.image(built.size, 3);
    let means = [0.485, 0.456, 0.406].map(|mean| mean * 255.0);
    let variances = [0.229_f64, 0.224, 0.225].map(|deviation| (deviation * 255.0).powi(2));
    let x = n.normalization(x, name("prestem_normalization"), -1, [means, variances]);
    let stem = Inner::Conv(Conv::new(channels, 4).stride(4));
    let mut x = n.sequential(x, name("stem"), [(name("stem_conv"), stem), (name("stem_layernorm"), NORM)]);
    for (stage, blocks) in [3, 3, blocks, 3].into_iter().enumerate() {
        if stage > 0 {
            let part = |part: &str| name(&format!("downsampling_{part}_{}", stage - 1));
            let halve = Inner::Conv(Conv::new(channels << stage, 2).stride(2));
            x = n.sequential(x, part("block"), [(part("layernorm"), NORM), (part("conv"), halve)]);
        }
        for block in 0..blocks {
            x = residual(&mut n, x, &name(&format!("stage_{stage}_block_{block}")));
        }
    }
    let x = n.global_average(x, name("head_gap"), false);
    let x = n.layer_norm(x, name("head_layernorm"), EPSILON);
    let x = n.dense(x, name("head_dense"), built.classes, "softmax", KERNEL);
    n.finish(x)
}

fn residual(n: &mut Network, input: Tensor, block: &str) -> Tensor {
    let name = |part: &str| format!("{block}_{part}");
    let channels = n.channels(input);
    let x = n.conv(input, name("depthwise_conv"), Conv::new(channels, 7).same().groups(channels));
    let x = n.layer_norm(x, name("layernorm"), EPSILON);
    let x = n.dense(x, name("pointwise_conv_1"), 4 * channels, "linear", KERNEL);
    let x = n.activation(x, name("gelu"), "gelu");
    let x = n.dense(x, name("pointwise_conv_2"), channels, "linear", KERNEL);
    let x = n.layer_scale(x, name("layer_scale"), 1e-6);
    let x = n.activation(x, name("identity"), "linear");
    n.sum(input, x)
}
