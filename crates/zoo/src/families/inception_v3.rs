//! Inception v3 (Szegedy et al. 2016), and what Inception-ResNet has in common with it.

use self::Step::{AveragePool, MaxPool, Reduce, Same};
use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv, Padding, Pool};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

pub(super) const NORM: BatchNorm = BatchNorm { momentum: 0.99, epsilon: 1e-3, scale: false, axis: 3 };

/// Inception v3.
pub(crate) fn build(built: Built) -> Network {
    let mut network = Network::new("inception_v3");
    let n = &mut network;
    let mut x = stem(n, built.size);
    for (index, pooled) in [32, 64, 64].into_iter().enumerate() {
        let double = [Same(64, 1, 1), Same(96, 3, 3), Same(96, 3, 3)];
        let pooled = [AveragePool, Same(pooled, 1, 1)];
        let branches: [&[Step]; 4] = [&[Same(64, 1, 1)], &[Same(48, 1, 1), Same(64, 5, 5)], &double, &pooled];
        x = mixed(n, x, format!("mixed{index}"), &branches);
    }
    let double = [Same(64, 1, 1), Same(96, 3, 3), Reduce(96)];
    x = mixed(n, x, "mixed3", &[&[Reduce(384)], &double, &[MaxPool]]);
    for (index, inner) in (4..).zip([128, 160, 160, 192]) {
        x = rows_and_columns(n, x, format!("mixed{index}"), inner);
    }
    let single = [Same(192, 1, 1), Reduce(320)];
    let double = [Same(192, 1, 1), Same(192, 1, 7), Same(192, 7, 1), Reduce(192)];
    x = mixed(n, x, "mixed8", &[&single, &double, &[MaxPool]]);
    for index in 0..2 {
        x = forked(n, x, index);
    }
    classify(network, x, built.classes)
}

/// Windows of 7x7 as rows after columns.
fn rows_and_columns(n: &mut Network, x: Tensor, name: String, inner: usize) -> Tensor {
    let single = [Same(inner, 1, 1), Same(inner, 1, 7), Same(192, 7, 1)];
    let double =
        [Same(inner, 1, 1), Same(inner, 7, 1), Same(inner, 1, 7), Same(inner, 7, 1), Same(192, 1, 7)];
    let pooled = [AveragePool, Same(192, 1, 1)];
    mixed(n, x, name, &[&[Same(192, 1, 1)], &single, &double, &pooled])
}

/// Branches that fork into rows and columns.
fn forked(n: &mut Network, x: Tensor, index: usize) -> Tensor {
    const FORK: [&[Step]; 2] = [&[Same(384, 1, 3)], &[Same(384, 3, 1)]];
    let straight = branch(n, x, &[Same(320, 1, 1)]);
    let single = branch(n, x, &[Same(384, 1, 1)]);
    let single = mixed(n, single, format!("mixed9_{index}"), &FORK);
    let double = branch(n, x, &[Same(448, 1, 1), Same(384, 3, 3)]);
    let double = mixed(n, double, Name::Counted, &FORK);
    let pooled = branch(n, x, &[AveragePool, Same(192, 1, 1)]);
    n.concatenate(&[straight, single, double, pooled], format!("mixed{}", 9 + index), 3)
}

/// A step of a branch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A convolution that keeps height and width: its filters, the height and the width of its window.
    Same(usize, usize, usize),
    /// A convolution of 3x3 that halves height and width: its filters.
    Reduce(usize),
    /// The mean of 3x3 around each pixel.
    AveragePool,
    /// The maximum of 3x3, which halves height and width.
    MaxPool,
}

/// From the image to the first mixed block.
pub(super) fn stem(n: &mut Network, size: usize) -> Tensor {
    let x = n.image(size, 3);
    let x = convolved(n, x, Conv::new(32, 3).stride(2));
    let x = convolved(n, x, Conv::new(32, 3));
    let x = convolved(n, x, Conv::new(64, 3).same());
    let x = branch(n, x, &[MaxPool]);
    let x = convolved(n, x, Conv::new(80, 1));
    let x = convolved(n, x, Conv::new(192, 3));
    branch(n, x, &[MaxPool])
}

/// The channels of all branches side by side.
pub(super) fn mixed(n: &mut Network, x: Tensor, name: impl Into<Name>, branches: &[&[Step]]) -> Tensor {
    let ends: Vec<Tensor> = branches.iter().map(|steps| branch(n, x, steps)).collect();
    n.concatenate(&ends, name, 3)
}

fn branch(n: &mut Network, x: Tensor, steps: &[Step]) -> Tensor {
    steps.iter().fold(x, |x, step| match *step {
        Same(filters, rows, columns) => {
            convolved(n, x, Conv { kernel: [rows, columns], ..Conv::new(filters, 1).same() })
        }
        Reduce(filters) => convolved(n, x, Conv::new(filters, 3).stride(2)),
        AveragePool => n.pool(x, Name::Counted, Pool::Average, [3, 1], Padding::Same),
        MaxPool => n.pool(x, Name::Counted, Pool::Max, [3, 2], Padding::Valid),
    })
}

fn convolved(n: &mut Network, x: Tensor, conv: Conv) -> Tensor {
    let x = n.conv(x, Name::Counted, conv.no_bias());
    let x = n.batch_norm(x, Name::Counted, NORM);
    n.activation(x, Name::Counted, "relu")
}

/// The mean of each channel and the classifier.
pub(super) fn classify(mut n: Network, x: Tensor, classes: usize) -> Network {
    let x = n.global_average(x, "avg_pool", false);
    let x = n.dense(x, "predictions", classes, "softmax", Initializer::GlorotUniform);
    n.finish(x)
}
