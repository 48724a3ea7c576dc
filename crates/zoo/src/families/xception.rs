//! Xception (Chollet 2017).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv, Padding, Pool};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

/// Xception.
pub(crate) fn xception(built: Built) -> Network {
    let mut n = Network::new("xception");
    let x = n.image(built.size, 3);
    let x = first_convolution(&mut n, x, "block1_conv1", Conv::new(32, 3).stride(2));
    let mut x = first_convolution(&mut n, x, "block1_conv2", Conv::new(64, 3));
    for (block, widths) in [(2, [128, 128]), (3, [256, 256]), (4, [728, 728])] {
        x = narrowing(&mut n, x, block, widths);
    }
    for block in 5..13 {
        let residual = x;
        for part in 1..=3 {
            x = active(&mut n, x, block, part);
            x = separable(&mut n, x, block, part, 728);
        }
        x = n.add(&[x, residual], Name::Counted);
    }
    x = narrowing(&mut n, x, 13, [728, 1024]);
    for (part, width) in [(1, 1536), (2, 2048)] {
        x = separable(&mut n, x, 14, part, width);
        x = active(&mut n, x, 14, part);
    }
    let x = n.global_average(x, "avg_pool", false);
    let x = n.dense(x, "predictions", built.classes, "softmax", Initializer::GlorotUniform);
    n.finish(x)
}

fn first_convolution(n: &mut Network, x: Tensor, name: &str, conv: Conv) -> Tensor {
    let x = n.conv(x, name, conv.no_bias());
    let x = n.batch_norm(x, format!("{name}_bn"), BatchNorm::default());
    n.activation(x, format!("{name}_act"), "relu")
}

/// Two separable convolutions and a pool that halves height and width, beside a convolution that does so too.
fn narrowing(n: &mut Network, input: Tensor, block: usize, widths: [usize; 2]) -> Tensor {
    let beside = n.conv(input, Name::Counted, Conv::new(widths[1], 1).stride(2).same().no_bias());
    let beside = n.batch_norm(beside, Name::Counted, BatchNorm::default());
    let mut x = input;
    for (part, width) in [1, 2].into_iter().zip(widths) {
        // What block 1 gives has been through `relu`.
        if block > 2 || part > 1 {
            x = active(n, x, block, part);
        }
        x = separable(n, x, block, part, width);
    }
    let x = n.pool(x, format!("block{block}_pool"), Pool::Max, [3, 2], Padding::Same);
    n.add(&[x, beside], Name::Counted)
}

fn separable(n: &mut Network, x: Tensor, block: usize, part: usize, width: usize) -> Tensor {
    let name = format!("block{block}_sepconv{part}");
    let x = n.separable(x, &*name, Conv::new(width, 3).same().no_bias());
    n.batch_norm(x, format!("{name}_bn"), BatchNorm::default())
}

fn active(n: &mut Network, x: Tensor, block: usize, part: usize) -> Tensor {
    n.activation(x, format!("block{block}_sepconv{part}_act"), "relu")
}
