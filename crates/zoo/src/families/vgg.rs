//! VGG (Simonyan and Zisserman 2014).

use crate::initializer::Initializer;
use crate::layers::{Conv, Padding, Pool};
use crate::models::Built;
use crate::network::Network;

/// VGG16.
pub(crate) fn vgg16(built: Built) -> Network {
    network(built, "vgg16", [2, 2, 3, 3, 3])
}

/// VGG19.
pub(crate) fn vgg19(built: Built) -> Network {
    network(built, "vgg19", [2, 2, 4, 4, 4])
}

/// The network with so many convolutions in each block.
fn network(built: Built, name: &str, convolutions: [usize; 5]) -> Network {
    const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];
    let mut n = Network::new(name);
    let mut x = n.image(built.size, 3);
    for (index, (width, count)) in WIDTHS.into_iter().zip(convolutions).enumerate() {
        let block = index + 1;
        for convolution in 1..=count {
            let conv = Conv::new(width, 3).same().activation("relu");
            x = n.conv(x, format!("block{block}_conv{convolution}"), conv);
        }
        x = n.pool(x, format!("block{block}_pool"), Pool::Max, [2, 2], Padding::Valid);
    }
    x = n.flatten(x, "flatten");
    for (name, units, activation) in
        [("fc1", 4096, "relu"), ("fc2", 4096, "relu"), ("predictions", built.classes, "softmax")]
    {
        x = n.dense(x, name, units, activation, Initializer::GlorotUniform);
    }
    n.finish(x)
}
