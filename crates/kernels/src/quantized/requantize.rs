//! From 32-bit sums back to `u8`.

use crate::Isa;

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
        let scale = |weights: &f32| Some((input * weights) / output).filter(|scale| scale.is_finite());
        weights.iter().map(scale).collect()
    }

    /// The scale of an output channel.
    #[must_use]
    pub fn scale_of(&self, channel: usize) -> f32 {
        if self.scale.len() == 1 { self.scale[0] } else { self.scale[channel] }
    }

    /// The best instruction set, up to `isa`, that has these scales.
    ///
    /// Below 1, a scaled sum stays within 32 bits, which kernels with vectors of their own count on.
    /// No sane layer has scales beyond.
    pub(super) fn level(&self, isa: Isa) -> Isa {
        let small = self.scale.iter().all(|scale| scale.abs() < 1.0);
        if small { isa } else { Isa::Portable }
    }

    /// Panics unless the fields suit a layer of `out_channels` channels.
    pub(super) fn check(&self, out_channels: usize) {
        let scales = self.scale.len();
        assert!(scales == 1 || scales == out_channels, "{scales} scales for {out_channels} channels");
        assert!(self.min <= self.max, "an empty range of outputs: {} to {}", self.min, self.max);
    }
}
