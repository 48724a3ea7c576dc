//! NASNet-A (Zoph et al. 2018).

use crate::initializer::Initializer;
use crate::layers::{BatchNorm, Conv, Padding, Pool};
use crate::models::Built;
use crate::network::{Name, Network, Tensor};

const NORM: BatchNorm = BatchNorm { momentum: 0.9997, epsilon: 1e-3, scale: true, axis: -1 };

/// NASNet-A (4 @ 1056).
pub(crate) fn mobile(built: Built) -> Network {
    build(built, "nasnet_mobile", &Variant { filters: 44, blocks: 4, stem: 32, skips_reduction: false })
}

/// NASNet-A (6 @ 4032).
pub(crate) fn large(built: Built) -> Network {
    build(built, "nasnet_large", &Variant { filters: 168, blocks: 6, stem: 96, skips_reduction: true })
}

struct Variant {
    /// Filters in the cells of the first group; each group has twice those of the one before.
    filters: usize,
    /// Normal cells in each group.
    blocks: usize,
    /// Filters of the first convolution.
    stem: usize,
    /// Whether the cell behind a reduction reads what that cell read second, and not what it read first.
    skips_reduction: bool,
}

fn build(built: Built, name: &str, variant: &Variant) -> Network {
    let Variant { filters, blocks, stem, skips_reduction } = *variant;
    let mut network = Network::new(name);
    let n = &mut network;
    let image = n.image(built.size, 3);
    let first = Conv::new(stem, 3).stride(2).no_bias().initializer(Initializer::HeNormal);
    let start = n.conv(image, "stem_conv1", first);
    let start = n.batch_norm(start, "stem_bn1", NORM);
    let mut p = start;
    let mut x = Cell::new(n, filters / 4, "stem_1").reduce(start, start);
    (x, p) = (Cell::new(n, filters / 2, "stem_2").reduce(x, p), x);
    for group in 0..3 {
        let filters = filters << group;
        if group > 0 {
            let reduced = Cell::new(n, filters, &format!("reduce_{}", group * blocks)).reduce(x, p);
            (x, p) = (reduced, if skips_reduction { p } else { x });
        }
        for block in 0..blocks {
            // The reductions count along.
            let id = (group * blocks + block + usize::from(group > 0)).to_string();
            (x, p) = (Cell::new(n, filters, &id).normal(x, p), x);
        }
    }
    let x = n.activation(x, Name::Counted, "relu");
    let x = n.global_average(x, Name::Counted, false);
    let x = n.dense(x, "predictions", built.classes, "softmax", Initializer::GlorotUniform);
    network.finish(x)
}

/// A cell that is being added: it reads what the two before it give.
struct Cell<'n> {
    n: &'n mut Network,
    filters: usize,
    id: &'n str,
}

impl<'n> Cell<'n> {
    fn new(n: &'n mut Network, filters: usize, id: &'n str) -> Cell<'n> {
        Cell { n, filters, id }
    }

    fn name(&self, part: &str) -> String {
        format!("{part}_{}", self.id)
    }

    /// A cell that keeps height and width; `x` is the last cell, `p` the one before.
    fn normal(&mut self, x: Tensor, p: Tensor) -> Tensor {
        let p = self.adjusted(p, x);
        let h = self.squeezed(x, "normal");
        let left = self.separable(h, 5, 1, "normal_left1");
        let right = self.separable(p, 3, 1, "normal_right1");
        let x1 = self.add([left, right], "normal_add_1");
        let left = self.separable(p, 5, 1, "normal_left2");
        let right = self.separable(p, 3, 1, "normal_right2");
        let x2 = self.add([left, right], "normal_add_2");
        let left = self.averaged(h, "normal_left3");
        let x3 = self.add([left, p], "normal_add_3");
        let left = self.averaged(p, "normal_left4");
        let right = self.averaged(p, "normal_right4");
        let x4 = self.add([left, right], "normal_add_4");
        let left = self.separable(h, 3, 1, "normal_left5");
        let x5 = self.add([left, h], "normal_add_5");
        self.n.concatenate(&[p, x1, x2, x3, x4, x5], self.name("normal_concat"), -1)
    }

    /// A cell that halves height and width.
    fn reduce(&mut self, x: Tensor, p: Tensor) -> Tensor {
        let p = self.adjusted(p, x);
        let h = self.squeezed(x, "reduction");
        let padded = self.n.pad_for_stride(h, self.name("reduction_pad_1"), 3);
        let left = self.separable(h, 5, 2, "reduction_left1");
        let right = self.separable(p, 7, 2, "reduction_right1");
        let x1 = self.add([left, right], "reduction_add_1");
        let left = self.halved(padded, Pool::Max, "reduction_left2");
        let right = self.separable(p, 7, 2, "reduction_right2");
        let x2 = self.add([left, right], "reduction_add_2");
        let left = self.halved(padded, Pool::Average, "reduction_left3");
        let right = self.separable(p, 5, 2, "reduction_right3");
        let x3 = self.add([left, right], "reduction_add3");
        let right = self.averaged(x1, "reduction_left4");
        let x4 = self.n.add(&[x2, right], Name::Counted);
        let left = self.separable(x1, 3, 1, "reduction_left4");
        let right = self.halved(padded, Pool::Max, "reduction_right5");
        let x5 = self.add([left, right], "reduction_add4");
        self.n.concatenate(&[x2, x3, x4, x5], self.name("reduction_concat"), -1)
    }

    /// `p` in the size of `x`, with the filters of the cell unless both are the same tensor.
    fn adjusted(&mut self, p: Tensor, x: Tensor) -> Tensor {
        if p == x {
            return p;
        }
        if self.n.shape(p)[1] != self.n.shape(x)[1] {
            return self.adjusted_in_size(p);
        }
        if self.n.channels(p) == self.filters {
            return p;
        }
        let p = self.n.activation(p, Name::Counted, "relu");
        let p = self.pointwise(p, self.filters, "adjust_conv_projection");
        self.n.batch_norm(p, self.name("adjust_bn"), NORM)
    }

    /// Every second pixel from the first on beside every second from the second on.
    fn adjusted_in_size(&mut self, p: Tensor) -> Tensor {
        let p = self.n.activation(p, self.name("adjust_relu_1"), "relu");
        let even = self.every_second(p, 1);
        let shifted = self.n.zero_pad(p, Name::Counted, [0, 1], [0, 1]);
        let shifted = self.n.crop(shifted, Name::Counted, [1, 0], [1, 0]);
        let odd = self.every_second(shifted, 2);
        let both = self.n.concatenate(&[even, odd], Name::Counted, -1);
        self.n.batch_norm(both, self.name("adjust_bn"), NORM)
    }

    fn every_second(&mut self, x: Tensor, path: usize) -> Tensor {
        let name = self.name(&format!("adjust_avg_pool_{path}"));
        let x = self.n.pool(x, name, Pool::Average, [1, 2], Padding::Valid);
        self.pointwise(x, self.filters / 2, &format!("adjust_conv_{path}"))
    }

    /// `x` with the filters of the cell.
    fn squeezed(&mut self, x: Tensor, kind: &str) -> Tensor {
        let x = self.n.activation(x, Name::Counted, "relu");
        let x = self.pointwise(x, self.filters, &format!("{kind}_conv_1"));
        self.n.batch_norm(x, self.name(&format!("{kind}_bn_1")), NORM)
    }

    fn pointwise(&mut self, x: Tensor, filters: usize, part: &str) -> Tensor {
        let conv = Conv::new(filters, 1).same().no_bias().initializer(Initializer::HeNormal);
        self.n.conv(x, self.name(part), conv)
    }

    /// Two separable convolutions, the first at the stride.
    fn separable(&mut self, x: Tensor, kernel: usize, stride: usize, part: &str) -> Tensor {
        let name = |step: &str| format!("separable_conv_{step}_{part}_{}", self.id);
        let conv = Conv::new(self.filters, kernel).no_bias();
        let n = &mut *self.n;
        let x = n.activation(x, Name::Counted, "relu");
        let x = if stride == 2 {
            let x = n.pad_for_stride(x, name("1_pad"), kernel);
            n.separable(x, name("1"), conv.stride(stride))
        } else {
            n.separable(x, name("1"), conv.same())
        };
        let x = n.batch_norm(x, name("1_bn"), NORM);
        let x = n.activation(x, Name::Counted, "relu");
        let x = n.separable(x, name("2"), conv.same());
        n.batch_norm(x, name("2_bn"), NORM)
    }

    fn averaged(&mut self, x: Tensor, part: &str) -> Tensor {
        self.n.pool(x, self.name(part), Pool::Average, [3, 1], Padding::Same)
    }

    fn halved(&mut self, x: Tensor, kind: Pool, part: &str) -> Tensor {
        self.n.pool(x, self.name(part), kind, [3, 2], Padding::Valid)
    }

    fn add(&mut self, tensors: [Tensor; 2], part: &str) -> Tensor {
        self.n.add(&tensors, self.name(part))
    }
}
