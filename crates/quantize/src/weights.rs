//! Integer weights and biases.
//!
//! Weights are symmetric and narrow, integers in [-127, 127] with zero point 0, `scale = max|w| / 127`
//! in single precision, one scale for each output channel or one for all. Of 4 bits, they lie in [-7, 7] and are
//! stored in 8.

use litesmith_graph::{Graph, Width};

use crate::error::QuantizeError;
use crate::parameters::nearest_away;
use crate::recipe::Granularity;

/// Largest weight that an all-zero channel is taken to have, so that its scale does not vanish.
const SMALLEST_EXTENT: f32 = 5e-7;

/// Largest integer a bias may take: beyond it the sum of products could overflow.
pub(crate) const LARGEST_BIAS: f32 = (1u32 << 30) as f32;

/// For each node, whether others read its weights too, as the steps of a recurrent layer do. They stay
/// one constant: a repair, which follows the input of one node, would make them several.
pub(crate) fn shared(graph: &Graph) -> Vec<bool> {
    let consumers = graph.consumers();
    let several = |node: &litesmith_graph::Node| {
        let rule = node.op.quantization().weights;
        let weights = rule.and_then(|rule| node.inputs.get(rule.input).copied().flatten());
        weights.is_some_and(|weights| consumers[weights.index()].len() > 1)
    };
    graph.nodes.iter().map(several).collect()
}

/// Weights as integers.
pub(crate) struct Weights {
    pub(crate) values: Vec<i8>,
    /// One for each output channel, or one.
    pub(crate) scales: Vec<f32>,
}

/// How weights lie in memory: output channels along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) channels: usize,
    /// Number of weights between two output channels.
    pub(crate) stride: usize,
}

impl Layout {
    /// The layout of weights of this shape with output channels along `axis`.
    pub(crate) fn new(shape: &[usize], axis: usize) -> Layout {
        Layout { channels: shape[axis], stride: shape[axis + 1..].iter().product() }
    }

    fn channel(self, index: usize) -> usize {
        index / self.stride.max(1) % self.channels.max(1)
    }

    /// Largest absolute weight of each channel.
    fn extents(self, weights: &[f32]) -> Vec<f32> {
        let mut extents = vec![0f32; self.channels];
        for (index, weight) in weights.iter().enumerate() {
            let extent = &mut extents[self.channel(index)];
            *extent = extent.max(weight.abs());
        }
        extents
    }
}

/// How far from each other the steps may be of scales that were one.
const ONE_SCALE: f32 = 1e-5;

/// The largest integer that the weights of each channel have come to in training. Rounded by a range that
/// they need not fill, they tell with it what their steps are, whatever they have been multiplied by since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Levels {
    largest: Vec<f32>,
    /// Whether there was one range for all.
    one_scale: bool,
}

impl Levels {
    /// Of integers with output channels along `axis`.
    pub(crate) fn of(integers: &[f32], shape: &[usize], axis: usize, one_scale: bool) -> Levels {
        Levels { largest: Layout::new(shape, axis).extents(integers), one_scale }
    }

    /// The scales of such weights, one for each channel or one for all; `None` if they are not of as many
    /// channels.
    fn scales(&self, weights: &[f32], layout: Layout) -> Option<Vec<f32>> {
        if self.largest.len() != layout.channels {
            return None;
        }
        let steps = layout.extents(weights).into_iter().zip(&self.largest);
        let scales: Vec<f32> =
            steps.map(|(extent, largest)| if *largest > 0.0 { extent / largest } else { 0.0 }).collect();
        // The largest integer tells the step best.
        let best = self.largest.iter().zip(&scales).max_by(|a, b| a.0.total_cmp(b.0));
        let best = best.map_or(0.0, |(_, scale)| *scale);
        let same = |scale: &f32| *scale == 0.0 || (scale / best - 1.0).abs() <= ONE_SCALE;
        let one = self.one_scale && scales.iter().all(same);
        let scales = if one { vec![best] } else { scales };
        Some(scales.into_iter().map(|scale| scale.max(SMALLEST_EXTENT / 127.0)).collect())
    }
}

/// Which integers weights become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) granularity: Granularity,
    /// The largest integer.
    pub(crate) largest: f32,
}

impl Grid {
    /// Weights of this many bits.
    pub(crate) fn new(granularity: Granularity, bits: u32) -> Grid {
        Grid { granularity, largest: ((1u32 << (bits - 1)) - 1) as f32 }
    }

    /// The largest magnitude for each scale, none too small to divide by.
    fn extents(self, weights: &[f32], layout: Layout) -> Vec<f32> {
        let extents = layout.extents(weights);
        let extents = match self.granularity {
            Granularity::PerChannel => extents,
            Granularity::PerTensor => vec![extents.into_iter().fold(0.0, f32::max)],
        };
        extents.into_iter().map(|extent| extent.max(SMALLEST_EXTENT)).collect()
    }
}

/// Checks that weights are numbers.
pub(crate) fn check_finite(layer: &str, tensor: &str, values: &[f32]) -> Result<(), QuantizeError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => {
            let (layer, tensor) = (layer.to_owned(), tensor.to_owned());
            Err(QuantizeError::Weight { layer, tensor, value: *value, target: "int8" })
        }
        None => Ok(()),
    }
}

/// Weights for integer activations: `q = round(w * (1 / scale))` beside int8 ones and
/// `q = round(w * (127 / max|w|))` beside int16 ones, both in single precision.
///
/// Where a bias would not fit beside the sum of products (beyond 2^30), the weight scale of its
/// channel is raised until the bias is exactly that large, as TensorFlow does.
pub(crate) fn for_integer(
    weights: &[f32],
    bias: Option<&[f32]>,
    layout: Layout,
    grid: Grid,
    input_scale: f32,
    width: Width,
) -> Weights {
    let (extents, largest) = (grid.extents(weights, layout), grid.largest);
    let scales: Vec<f32> = extents.iter().map(|extent| extent / largest).collect();
    let inverses: Vec<f32> = match width {
        Width::Eight => scales.iter().map(|scale| 1.0 / scale).collect(),
        Width::Sixteen => extents.iter().map(|extent| largest / extent).collect(),
    };
    scaled(weights, bias, layout, (scales, inverses, largest), input_scale)
}

/// Weights for int8 activations that were rounded in training; `None` where what is known of them is not
/// of as many channels.
pub(crate) fn as_trained(
    weights: &[f32],
    bias: Option<&[f32]>,
    layout: Layout,
    levels: &Levels,
    input_scale: f32,
) -> Option<Weights> {
    let scales = levels.scales(weights, layout)?;
    let inverses = scales.iter().map(|scale| 1.0 / scale).collect();
    Some(scaled(weights, bias, layout, (scales, inverses, 127.0), input_scale))
}

fn scaled(
    weights: &[f32],
    bias: Option<&[f32]>,
    layout: Layout,
    (mut scales, mut inverses, largest): (Vec<f32>, Vec<f32>, f32),
    input_scale: f32,
) -> Weights {
    for (channel, bias) in bias.into_iter().flatten().enumerate() {
        let index = if scales.len() == 1 { 0 } else { channel };
        if bias.abs() / (input_scale * scales[index]) > LARGEST_BIAS {
            scales[index] = bias.abs() / (LARGEST_BIAS * input_scale);
            inverses[index] = 1.0 / scales[index];
        }
    }
    let inverse =
        |index: usize| if inverses.len() == 1 { inverses[0] } else { inverses[layout.channel(index)] };
    let quantized = |(index, w): (usize, &f32)| nearest_weight(w * inverse(index), largest);
    Weights { values: weights.iter().enumerate().map(quantized).collect(), scales }
}

/// [`nearest_away`] within the grid, without a call: there are millions of weights.
fn nearest_weight(x: f32, largest: f32) -> i8 {
    let x = x.clamp(-largest, largest);
    let whole = x as i32 as f32;
    // Exact, as both lie within a factor of two or the whole part is zero.
    let rest = x - whole;
    (if rest.abs() >= 0.5 { whole + 1f32.copysign(rest) } else { whole }) as i8
}

/// Weights for dynamic range, `q = round(w * 127 / max|w|)` in double precision.
pub(crate) fn for_dynamic(weights: &[f32], layout: Layout, grid: Grid) -> Weights {
    let (extents, largest) = (grid.extents(weights, layout), f64::from(grid.largest));
    let extent = |index: usize| if extents.len() == 1 { extents[0] } else { extents[layout.channel(index)] };
    let quantized = |(index, w): (usize, &f32)| {
        (f64::from(*w) * largest / f64::from(extent(index))).round().clamp(-largest, largest) as i8
    };
    let values = weights.iter().enumerate().map(quantized).collect();
    Weights { values, scales: extents.iter().map(|extent| extent / grid.largest).collect() }
}

/// A bias on the grid of the products, `scale = input * weight` in single precision,
/// `q = round(b * (1 / scale))`. The scales come back too.
pub(crate) fn bias(bias: &[f32], input_scale: f32, weight_scales: &[f32]) -> (Vec<i32>, Vec<f32>) {
    let scales: Vec<f32> = weight_scales.iter().map(|scale| input_scale * scale).collect();
    let inverse = |channel: usize| 1.0 / scales[if scales.len() == 1 { 0 } else { channel }];
    let quantized =
        bias.iter().enumerate().map(|(channel, b)| nearest_away(b * inverse(channel)) as i32).collect();
    (quantized, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Layout = Layout { channels: 2, stride: 2 };
    const BY_CHANNEL: Grid = Grid { granularity: Granularity::PerChannel, largest: 127.0 };

    #[test]
    fn each_channel_has_its_own_scale() {
        let weights = for_integer(&[1.27, -0.635, 0.0, 0.0], None, TWO, BY_CHANNEL, 1.0, Width::Eight);
        assert_eq!(weights.values, [127, -64, 0, 0]);
        assert_eq!(weights.scales, [0.01, 5e-7 / 127.0]);
        let one = Grid::new(Granularity::PerTensor, 8);
        let weights = for_integer(&[1.27, -0.635, 0.0, 0.0], None, TWO, one, 1.0, Width::Eight);
        assert_eq!(weights.scales, [0.01]);
    }

    #[test]
    fn trained_weights_keep_their_steps() {
        let levels = |one_scale| Levels::of(&[100.0, -50.0, 0.0, 20.0], &[2, 2], 0, one_scale);
        // The second channel has been multiplied since.
        let weights = as_trained(&[1.0, -0.5, 0.0, 0.4], None, TWO, &levels(true), 1.0).unwrap();
        assert_eq!((weights.values, weights.scales), (vec![100, -50, 0, 20], vec![0.01, 0.02]));
        let weights = as_trained(&[1.0, -0.5, 0.0, 0.2], None, TWO, &levels(true), 1.0).unwrap();
        assert_eq!((weights.values, weights.scales), (vec![100, -50, 0, 20], vec![0.01]));
        let weights = as_trained(&[1.0, -0.5, 0.0, 0.2], None, TWO, &levels(false), 1.0).unwrap();
        assert_eq!(weights.scales, [0.01, 0.01]);
        assert!(as_trained(&[1.0], None, Layout { channels: 1, stride: 1 }, &levels(true), 1.0).is_none());
    }

    #[test]
    fn four_bits_have_fifteen_integers() {
        let grid = Grid::new(Granularity::PerTensor, 4);
        let weights = for_integer(&[0.7, -0.35, 0.04, -0.7], None, TWO, grid, 1.0, Width::Eight);
        assert_eq!((weights.values, weights.scales), (vec![7, -4, 0, -7], vec![0.1]));
    }

    #[test]
    fn weights_round_as_everything_does() {
        for x in (-2600..2600).map(|x| x as f32 / 20.0).chain([0.499_999_97, -0.499_999_97, 1.499_999_9]) {
            assert_eq!(nearest_weight(x, 127.0), nearest_away(x).clamp(-127.0, 127.0) as i8, "{x}");
        }
    }

    #[test]
    fn channels_of_a_depthwise_kernel_alternate() {
        let layout = Layout::new(&[1, 2, 1, 2], 3);
        let weights = for_dynamic(&[1.0, 10.0, -0.5, 5.0], layout, BY_CHANNEL);
        assert_eq!(weights.values, [127, 127, -64, 64]);
    }

    #[test]
    fn a_bias_that_would_overflow_raises_the_weight_scale() {
        let (values, biases) = ([1e-6, 0.0, 1.0, 0.0], [100.0, 1.0]);
        let weights = for_integer(&values, Some(&biases), TWO, BY_CHANNEL, 0.1, Width::Eight);
        let (bias, scales) = bias(&biases, 0.1, &weights.scales);
        assert_eq!(bias[0], 1 << 30);
        assert_eq!(scales[1], 0.1 * (1.0 / 127.0));
    }
}
