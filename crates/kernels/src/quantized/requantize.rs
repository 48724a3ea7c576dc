//! From 32-bit sums back to `u8`.

use super::filter::Filter;
use crate::Isa;

/// Scaled sums below this, and what conversion and multiplication add to them, are below `2^31`.
const SCALED: f64 = (1 << 30) as f64;

/// How a sum of products becomes an output activation.
///
/// `clamp(round(sum as f32 * scale) + zero_point, min, max)`: the sum (bias included) is converted
/// to `f32` and multiplied by the channel's scale in `f32`, rounded to the nearest integer with
/// ties to even, and the zero point is added as an integer. This is LiteRT's (XNNPACK's)
/// arithmetic, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// `(input scale * weight scale) / output scale`, computed in `f32` in that order; finite. One
    /// value for all output channels, or one for each.
    pub scale: Vec<f32>,
    /// The output's zero point.
    pub zero_point: u8,
    /// Smallest output (a fused ReLU raises it to the zero point).
    pub min: u8,
    /// Largest output, at least `min`.
    pub max: u8,
}

impl Requantize {
    /// The scales of a layer: `(input * weights) / output`, in that order, which is part of the
    /// result. `None` where one is not finite.
    #[must_use]
    pub fn scales(input: f32, weights: &[f32], output: f32) -> Option<Vec<f32>> {
        let scales: Vec<f32> = weights.iter().map(|weights| (input * weights) / output).collect();
        scales.iter().fold(true, |finite, scale| finite & scale.is_finite()).then_some(scales)
    }

    /// The scale of an output channel.
    #[must_use]
    pub fn scale_of(&self, channel: usize) -> f32 {
        if self.scale.len() == 1 { self.scale[0] } else { self.scale[channel] }
    }

    /// The best instruction set, up to `isa`, for sums of this filter's products: kernels with vectors of
    /// their own count on it that a scaled sum stays within 32 bits.
    ///
    /// Every sum does where scales are below 1. Others have to be looked at: layers with tiny weights,
    /// pruned ones for example, come with large scales and small sums.
    pub(super) fn level(&self, isa: Isa, filter: &Filter, bias: Option<&[i32]>) -> Isa {
        let small = self.scale.iter().all(|scale| scale.abs() < 1.0);
        if small || self.largest(filter, bias) < SCALED { isa } else { Isa::Portable }
    }

    /// A bound of the magnitude of scaled sums: inputs are at most 255 from their zero point.
    fn largest(&self, filter: &Filter, bias: Option<&[i32]>) -> f64 {
        let of_channel = |(channel, row): (usize, &[i8])| {
            let weights: f64 = row.iter().map(|weight| f64::from(weight.unsigned_abs())).sum();
            let bias = bias.map_or(0.0, |bias| f64::from(bias[channel].unsigned_abs()));
            (255.0 * weights + bias) * f64::from(self.scale_of(channel).abs())
        };
        filter.rows().chunks_exact(filter.depth()).enumerate().map(of_channel).fold(0.0, f64::max)
    }

    /// Panics unless the fields suit a layer of `out_channels` channels.
    pub(super) fn check(&self, out_channels: usize) {
        let scales = self.scale.len();
        assert!(scales == 1 || scales == out_channels, "{scales} scales for {out_channels} channels");
        assert!(self.min <= self.max, "an empty range of outputs: {} to {}", self.min, self.max);
    }
}
