//! From 64-bit sums back to `i16`.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

use crate::Isa;
use crate::elementwise::fixed_point::FixedPoint;
use crate::quantized::epilogue::Finish;
use crate::quantized::lane::Lane;

/// How a sum is scaled and rounded. LiteRT has three ways, by operator and type of bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Convolutions with a 64-bit bias or none, and products of two tensors: the scale to 15 bits,
    /// half upward.
    Reduced,
    /// Dense layers with a 64-bit bias or none: in double precision, half away from zero.
    Real,
    /// 32-bit biases: the scale to 31 bits; the product rounded half upward to the bits below the
    /// shift, then shifted with another rounding half upward. The sum is cut to 32 bits.
    Doubling,
}

/// How a sum of products becomes an output activation: scaled and rounded by `rule`, then held
/// within `min` to `max`.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// `input scale * weight scale / output scale` in double precision, from 0 to below
    /// [`Requantize::SCALES`]. One value for all output channels, or one for each.
    pub scale: Vec<f64>,
    /// How sums are rounded.
    pub rule: Rule,
    /// Smallest output.
    pub min: i16,
    /// Largest output, at least `min`.
    pub max: i16,
}

impl Requantize {
    /// Scales must be below this. LiteRT's arithmetic is undefined beyond, and no sane layer gets
    /// near.
    pub const SCALES: f64 = 8192.0;

    /// The scale of an output channel.
    #[must_use]
    pub fn scale_of(&self, channel: usize) -> f64 {
        if self.scale.len() == 1 { self.scale[0] } else { self.scale[channel] }
    }

    /// The best instruction set, up to `isa`, whose kernels know this rule.
    pub(super) fn level(&self, isa: Isa) -> Isa {
        if self.rule == Rule::Doubling { isa.min(Isa::Avx2) } else { isa }
    }

    /// Panics unless the fields suit a layer of `out_channels` channels.
    pub(super) fn check(&self, out_channels: usize) {
        let scales = self.scale.len();
        assert!(scales == 1 || scales == out_channels, "{scales} scales for {out_channels} channels");
        assert!(self.scale.iter().all(|scale| (0.0..Self::SCALES).contains(scale)), "scales out of range");
        assert!(self.min <= self.max, "an empty range of outputs: {} to {}", self.min, self.max);
    }
}

/// [`Requantize`] by lane.
pub(super) struct Requantizer {
    constants: Constants,
    min: i16,
    max: i16,
}

enum Constants {
    /// Multipliers of 15 bits, halves of steps, and how far products are shifted.
    Reduced {
        multipliers: Vec<i64>,
        halves: Vec<i64>,
        shifts: Vec<i64>,
    },
    Real(Vec<f64>),
    Doubling(Vec<FixedPoint>),
}

impl Requantizer {
    /// `lanes` gives the output channel at each lane.
    pub(super) fn new(requantize: &Requantize, lanes: &[Lane]) -> Requantizer {
        let scales =
            lanes.iter().map(|lane| lane.channel().map_or(0.0, |channel| requantize.scale_of(channel)));
        let constants = match requantize.rule {
            Rule::Real => Constants::Real(scales.collect()),
            Rule::Doubling => Constants::Doubling(scales.map(FixedPoint::new).collect()),
            Rule::Reduced => {
                let numbers: Vec<(i64, u32)> = scales.map(reduced).collect();
                Constants::Reduced {
                    multipliers: numbers.iter().map(|(multiplier, _)| *multiplier).collect(),
                    halves: numbers.iter().map(|(_, shift)| 1 << (shift - 1)).collect(),
                    shifts: numbers.iter().map(|(_, shift)| i64::from(*shift)).collect(),
                }
            }
        };
        Requantizer { constants, min: requantize.min, max: requantize.max }
    }

    /// Some channels of a pixel, from a lane on; `sums` and `out` are equally long.
    #[inline(always)]
    pub(super) fn row(&self, lane: usize, sums: &[i64], out: &mut [i16]) {
        let lanes = lane..lane + sums.len();
        let (low, high) = (i64::from(self.min), i64::from(self.max));
        match &self.constants {
            Constants::Reduced { multipliers, halves, shifts } => {
                let constants =
                    multipliers[lanes.clone()].iter().zip(&halves[lanes.clone()]).zip(&shifts[lanes]);
                for ((out, &sum), ((&multiplier, &half), &shift)) in out.iter_mut().zip(sums).zip(constants) {
                    let scaled = sum.wrapping_mul(multiplier).wrapping_add(half) >> shift;
                    *out = scaled.clamp(low, high) as i16;
                }
            }
            Constants::Real(scales) => {
                let (low, high) = (f64::from(self.min), f64::from(self.max));
                for ((out, &sum), &scale) in out.iter_mut().zip(sums).zip(&scales[lanes]) {
                    // The clamp may stand before the rounding because its bounds are integers.
                    let steps = (sum as f64 * scale).clamp(low, high);
                    *out = round_away(steps) as i16;
                }
            }
            Constants::Doubling(numbers) => {
                for ((out, &sum), number) in out.iter_mut().zip(sums).zip(&numbers[lanes]) {
                    *out = i64::from(number.times_upward(sum as i32)).clamp(low, high) as i16;
                }
            }
        }
    }
}

impl Finish for Requantizer {
    type Sum = i64;
    type Out = i16;

    #[inline(always)]
    fn row(&self, _sample: usize, lane: usize, sums: &[i64], out: &mut [i16]) {
        Requantizer::row(self, lane, sums, out);
    }
}

/// A scale as a multiplier of 15 bits and the number of bits that the product is shifted by.
fn reduced(scale: f64) -> (i64, u32) {
    let (multiplier, shift) = FixedPoint::new(scale).parts();
    let multiplier = if multiplier < 0x7fff_0000 { (multiplier + (1 << 15)) >> 16 } else { 0x7fff };
    // Scales below 2^13 have shifts of at most 14.
    (i64::from(multiplier), (15 - shift).unsigned_abs())
}

/// The largest number below a half. Half would round the number before it up too.
const NEARLY_HALF: f64 = 0.499_999_999_999_999_94;

/// The nearest integer, half away from zero: of a number well within 32 bits.
#[inline(always)]
pub(super) fn round_away(value: f64) -> i32 {
    (value + NEARLY_HALF.copysign(value)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(rule: Rule, scale: f64, sum: i64) -> i16 {
        let requantize = Requantize { scale: vec![scale], rule, min: i16::MIN, max: i16::MAX };
        requantize.check(1);
        let mut out = [0];
        Requantizer::new(&requantize, &[Lane::new(0, 1)]).row(0, &[sum], &mut out);
        out[0]
    }

    #[test]
    fn rules_differ_at_ties_and_in_precision() {
        let all = |scale, sum| [Rule::Reduced, Rule::Real, Rule::Doubling].map(|rule| one(rule, scale, sum));
        assert_eq!(all(0.5, 3), [2, 2, 2]);
        assert_eq!(all(0.5, -3), [-1, -2, -1]);
        assert_eq!(all(0.5, 1 << 20), [i16::MAX; 3]);
        assert_eq!(all(0.5, -1 << 20), [i16::MIN; 3]);
        // A third in 15 bits is 21845 / 65536.
        assert_eq!(all(1.0 / 3.0, 98_000), [32_666, 32_667, 32_667]);
        // 0.249 of 2 is 0.498, which is first rounded to 0.5 where bits are short.
        assert_eq!(all(0.249, 2), [0, 0, 1]);
    }

    #[test]
    fn extremes_are_held() {
        for rule in [Rule::Reduced, Rule::Real, Rule::Doubling] {
            assert_eq!(one(rule, 0.0, i64::MAX), 0);
            assert_eq!(one(rule, 1e-30, 1 << 40), 0);
            assert_eq!(one(rule, 8191.9, 1 << 24), i16::MAX);
            assert_eq!(one(rule, 8191.9, -(1 << 24)), i16::MIN);
        }
    }

    #[test]
    fn halves_go_away_from_zero_and_nothing_else_does() {
        let cases = [(0.5, 1), (-0.5, -1), (0.499_999_999_999_999_94, 0), (2.5, 3), (-2.499, -2), (-0.0, 0)];
        for (value, integer) in cases {
            assert_eq!(round_away(value), integer, "{value}");
        }
    }
}
