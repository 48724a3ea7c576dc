//! EfficientNet (Tan and Le 2019), and the blocks that it shares with its second version.

use super::in_eights;
use crate::initializer::{Distribution, Fan, Initializer};
use crate::layers::{BatchNorm, Conv};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const KERNEL: Initializer =
    Initializer::VarianceScaling { scale: 2.0, mode: Fan::Out, distribution: Distribution::TruncatedNormal };
const CLASSIFIER: Initializer =
    Initializer::VarianceScaling { scale: 1.0 / 3.0, mode: Fan::Out, distribution: Distribution::Uniform };
/// Rate at which the last residual branch would be dropped in training; those before it in proportion.
const DROP: f64 = 0.2;

/// EfficientNet B0 to B7.
pub(crate) fn b(built: Built, variant: usize) -> Network {
    /// Factors of channels and of blocks, and what is dropped before the classifier.
    const SCALES: [(f64, f64, f64); 8] = [
        (1.0, 1.0, 0.2),
        (1.0, 1.1, 0.2),
        (1.1, 1.2, 0.3),
        (1.2, 1.4, 0.3),
        (1.4, 1.8, 0.4),
        (1.6, 2.2, 0.4),
        (1.8, 2.6, 0.5),
        (2.0, 3.1, 0.5),
    ];
    const STAGES: [Stage; 7] = [
        Stage::depthwise(1, 3, 16, 1, 1),
        Stage::depthwise(2, 3, 24, 6, 2),
        Stage::depthwise(2, 5, 40, 6, 2),
        Stage::depthwise(3, 3, 80, 6, 2),
        Stage::depthwise(3, 5, 112, 6, 1),
        Stage::depthwise(4, 5, 192, 6, 2),
        Stage::depthwise(1, 3, 320, 6, 1),
    ];
    let (width, depth, dropout) = SCALES[variant];
    let mut e = Efficient::new(&format!("efficientnetb{variant}"), Version::One, [width, depth]);
    let n = &mut e.network;
    let x = n.image(built.size, 3);
    let x = n.rescaling(x, Name::Counted, 1.0 / 255.0, 0.0);
    let mut x = n.learnt_normalization(x, Name::Counted);
    if built.imagenet {
        // The weights hold deviations in the place of variances: the layer above divides by their roots, this again.
        let scales: Vec<f64> =
            [0.229_f64, 0.224, 0.225].iter().map(|deviation| 1.0 / deviation.sqrt()).collect();
        x = n.rescaling(x, Name::Counted, scales, 0.0);
    }
    let x = n.pad_for_stride(x, "stem_conv_pad", 3);
    let x = e.conv_swish(x, "stem_", Conv::new(e.rounded(32), 3).stride(2));
    let x = e.stages(x, &STAGES);
    e.classify(x, dropout, built.classes, Initializer::Zeros)
}

/// What sets the two versions apart wherever they share a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Blocks of the same kind, the first of which may change height and width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    fused: bool,
    repeats: usize,
    kernel: usize,
    channels: usize,
    expansion: usize,
    stride: usize,
}

impl Stage {
    /// Inverted residuals with a depthwise convolution.
    pub const fn depthwise(
        repeats: usize,
        kernel: usize,
        channels: usize,
        expansion: usize,
        stride: usize,
    ) -> Stage {
        Stage { fused: false, repeats, kernel, channels, expansion, stride }
    }

    /// Residuals with a full convolution of 3x3 in place of the depthwise and the expanding one.
    pub const fn fused(repeats: usize, channels: usize, expansion: usize, stride: usize) -> Stage {
        Stage { fused: true, repeats, kernel: 3, channels, expansion, stride }
    }
}

/// A network of either version that is being built.
pub(super) struct Efficient {
    pub network: Network,
    version: Version,
    norm: BatchNorm,
    width: f64,
    depth: f64,
}

impl Efficient {
    pub fn new(name: &str, version: Version, [width, depth]: [f64; 2]) -> Efficient {
        let momentum = match version {
            Version::One => 0.99,
            Version::Two => 0.9,
        };
        let norm = BatchNorm { momentum, axis: 3, ..BatchNorm::default() };
        Efficient { network: Network::new(name), version, norm, width, depth }
    }

    /// So many channels by the factor of the network, in eights; the second version may take off more than a tenth.
    pub fn rounded(&self, channels: usize) -> usize {
        let exact = channels as f64 * self.width;
        match self.version {
            Version::One => in_eights(exact),
            Version::Two => (exact + 4.0) as usize / 8 * 8,
        }
    }

    fn repeats(&self, stage: &Stage) -> usize {
        (self.depth * stage.repeats as f64).ceil() as usize
    }

    /// All blocks between the first and the last convolution.
    pub fn stages(&mut self, mut x: Tensor, stages: &[Stage]) -> Tensor {
        // The second version counts the blocks as they are before they are multiplied, so its rates exceed `DROP`.
        let all: usize = match self.version {
            Version::One => stages.iter().map(|stage| self.repeats(stage)).sum(),
            Version::Two => stages.iter().map(|stage| stage.repeats).sum(),
        };
        let mut before = 0;
        for (number, stage) in (1..).zip(stages) {
            let channels = self.rounded(stage.channels);
            for (letter, index) in ('a'..='z').zip(0..self.repeats(stage)) {
                let block = Stage { channels, stride: if index == 0 { stage.stride } else { 1 }, ..*stage };
                let drop = DROP * f64::from(before) / all as f64;
                x = self.block(x, &format!("block{number}{letter}_"), &block, drop);
                before += 1;
            }
        }
        x
    }

    fn block(&mut self, input: Tensor, prefix: &str, block: &Stage, drop: f64) -> Tensor {
        let x = if block.fused {
            self.fused(input, prefix, block)
        } else {
            self.inverted_residual(input, prefix, block)
        };
        let n = &mut self.network;
        if block.stride != 1 || n.channels(input) != block.channels {
            return x;
        }
        let x = if drop > 0.0 { n.dropout(x, format!("{prefix}drop"), drop, true) } else { x };
        n.add(&[x, input], format!("{prefix}add"))
    }

    fn fused(&mut self, input: Tensor, prefix: &str, block: &Stage) -> Tensor {
        let project = format!("{prefix}project_");
        let kernel = |channels| Conv::new(channels, block.kernel).stride(block.stride).same();
        if block.expansion == 1 {
            return self.conv_swish(input, &project, kernel(block.channels));
        }
        let expanded = self.network.channels(input) * block.expansion;
        let x = self.conv_swish(input, &format!("{prefix}expand_"), kernel(expanded));
        self.conv(x, &project, Conv::new(block.channels, 1).same())
    }

    fn inverted_residual(&mut self, input: Tensor, prefix: &str, block: &Stage) -> Tensor {
        let inputs = self.network.channels(input);
        let mut x = input;
        if block.expansion != 1 {
            let expand = Conv::new(inputs * block.expansion, 1).same();
            x = self.conv_swish(x, &format!("{prefix}expand_"), expand);
        }
        let n = &mut self.network;
        let depthwise = Conv::depthwise(block.kernel).stride(block.stride).no_bias().initializer(KERNEL);
        x = match (self.version, block.stride) {
            (Version::One, 2) => {
                let x = n.pad_for_stride(x, format!("{prefix}dwconv_pad"), block.kernel);
                n.depthwise(x, format!("{prefix}dwconv"), depthwise)
            }
            (Version::One, _) => n.depthwise(x, format!("{prefix}dwconv"), depthwise.same()),
            (Version::Two, _) => n.depthwise(x, format!("{prefix}dwconv2"), depthwise.same()),
        };
        x = n.batch_norm(x, format!("{prefix}bn"), self.norm);
        x = n.activation(x, format!("{prefix}activation"), "silu");
        x = self.excite(x, prefix, (inputs / 4).max(1));
        self.conv(x, &format!("{prefix}project_"), Conv::new(block.channels, 1).same())
    }

    /// Squeeze and excitation.
    fn excite(&mut self, x: Tensor, prefix: &str, squeezed: usize) -> Tensor {
        let n = &mut self.network;
        let name = |part: &str| format!("{prefix}se_{part}");
        let channels = n.channels(x);
        let pointwise = |channels| Conv::new(channels, 1).same().initializer(KERNEL);
        let y = n.global_average(x, name("squeeze"), false);
        let y = n.reshape(y, name("reshape"), &[1, 1, channels]);
        let y = n.conv(y, name("reduce"), pointwise(squeezed).activation("silu"));
        let y = n.conv(y, name("expand"), pointwise(channels).activation("sigmoid"));
        n.multiply(&[x, y], name("excite"))
    }

    /// A convolution without a bias and its normalization.
    fn conv(&mut self, x: Tensor, prefix: &str, conv: Conv) -> Tensor {
        let x = self.network.conv(x, format!("{prefix}conv"), conv.no_bias().initializer(KERNEL));
        self.network.batch_norm(x, format!("{prefix}bn"), self.norm)
    }

    /// The same, and Swish.
    pub fn conv_swish(&mut self, x: Tensor, prefix: &str, conv: Conv) -> Tensor {
        let x = self.conv(x, prefix, conv);
        self.network.activation(x, format!("{prefix}activation"), "silu")
    }

    /// The last convolution and the classifier.
    pub fn classify(mut self, x: Tensor, dropout: f64, classes: usize, bias: Initializer) -> Network {
        let x = self.conv_swish(x, "top_", Conv::new(self.rounded(1280), 1).same());
        let mut n = self.network;
        let x = n.global_average(x, "avg_pool", false);
        let x = n.dropout(x, "top_dropout", dropout, false);
        let x = n.dense_with_bias(x, "predictions", classes, "softmax", (CLASSIFIER, bias));
        n.finish(x)
    }
}
