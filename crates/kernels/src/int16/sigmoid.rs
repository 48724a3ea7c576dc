//! The logistic function and the hyperbolic tangent as TFLite computes them for 16 bits.

use std::sync::LazyLock;

/// `2^16 / (1 + e^(-i / 24))`, rounded; where LiteRT's table has one more ([`ONE_MORE`]), that.
static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let exact = 65_536.0 / (1.0 + libm::exp(-(i as f64) / 24.0));
        exact.round() as u32 + u32::from(ONE_MORE.contains(&(i as u8)))
    })
});

/// Where the numbers that LiteRT interpolates between are one above the nearest integer, found from
/// its results.
const ONE_MORE: [u8; 44] = [
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43, 44, 45,
    46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
];

/// Steps of the table that count; the last one is only interpolated to.
const LAST: u32 = 255;

/// Brings operands to the table: times `multiplier`, shifted by `shift` with rounding, they count
/// steps of `1 / (3 * 2^12)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sigmoid {
    multiplier: i64,
    shift: u32,
    table: &'static [u32; 256],
}

impl Sigmoid {
    /// For operands of this scale.
    pub(super) fn new(scale: f32) -> Sigmoid {
        let (mut multiplier, mut shift) = (f64::from(scale) * 4096.0 * 3.0, 0);
        while multiplier <= 32_767.0 / 2.0 && shift <= 30 {
            (multiplier, shift) = (multiplier * 2.0, shift + 1);
        }
        // Larger multipliers are as good as this one: every number but 0 is beyond the table.
        Sigmoid { multiplier: multiplier.min(1e9) as i64, shift, table: &TABLE }
    }

    /// The operand in steps of the table.
    #[inline(always)]
    fn steps(self, x: i16) -> i64 {
        (i64::from(x) * self.multiplier + ((1 << self.shift) >> 1)) >> self.shift
    }

    /// The table at `magnitude / 2^bits`, in steps of `2^-(16 + bits)`; `None` beyond its end.
    #[inline(always)]
    fn between(self, magnitude: u64, bits: u32) -> Option<u32> {
        let step = u32::try_from(magnitude >> bits).ok().filter(|step| *step < LAST)? as usize;
        let rest = magnitude as u32 & ((1 << bits) - 1);
        Some((self.table[step] << bits) + rest * (self.table[step + 1] - self.table[step]))
    }

    /// `1 / (1 + e^-x)` in steps of 2^-15.
    #[inline(always)]
    pub(super) fn logistic(self, x: i16) -> i16 {
        let steps = self.steps(x);
        let value = self.between(steps.unsigned_abs(), 9).unwrap_or(0x7fff << 10);
        let value = if steps >= 0 { value + (1 << 9) } else { (1 << 25) - value + (1 << 9) - 1 };
        (value >> 10) as i16
    }

    /// The hyperbolic tangent, `2 / (1 + e^-2x) - 1`, in steps of 2^-15.
    #[inline(always)]
    pub(super) fn tanh(self, x: i16) -> i16 {
        let steps = self.steps(x);
        let value = self.between(steps.unsigned_abs(), 8).unwrap_or(0xffff << 8) as i32;
        let value = if steps >= 0 { value - (1 << 23) + (1 << 7) } else { (1 << 23) - value + (1 << 7) - 1 };
        (value >> 8) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_litert() {
        let coarse = Sigmoid::new(1e-3);
        let fine = Sigmoid::new(1e-4);
        for (x, logistic, tanh) in LITERT {
            assert_eq!((coarse.logistic(x), fine.tanh(x)), (logistic, tanh), "{x}");
        }
    }

    /// A number, its logistic function at scale 0.001 and its tangent at scale 0.0001 in LiteRT 2.3.
    const LITERT: [(i16, i16, i16); 15] = [
        (-32_768, 1, -32_675),
        (-20_011, 1, -31_591),
        (-9000, 4, -23_472),
        (-3333, 1129, -10_534),
        (-777, 10_321, -2542),
        (-128, 15_337, -419),
        (-1, 16_376, -3),
        (1, 16_392, 3),
        (50, 16_793, 163),
        (700, 21_895, 2289),
        (2222, 29_563, 7162),
        (5555, 32_642, 16_535),
        (12_345, 32_767, 27_652),
        (29_876, 32_767, 32_602),
        (32_767, 32_767, 32_675),
    ];

    #[test]
    fn any_scale_saturates() {
        for scale in [1e-30, 1e-9, 1.0, 1e30] {
            let sigmoid = Sigmoid::new(scale);
            assert_eq!([sigmoid.logistic(0), sigmoid.tanh(0)], [16_384, 0]);
            let ends = [i16::MIN, i16::MAX].map(|x| (sigmoid.logistic(x), sigmoid.tanh(x)));
            if scale >= 1.0 {
                assert_eq!(ends, [(1, -32_767), (32_767, 32_767)]);
            }
        }
    }
}
