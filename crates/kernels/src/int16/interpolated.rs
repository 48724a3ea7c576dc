//! Functions by linear interpolation between 513 values, one for every 128 steps of the input.

/// Steps of the table.
const STEPS: usize = 512;

/// A table of a function of all 16-bit numbers.
///
/// Values are moved by half of the error that interpolation would make in the middle of their step.
#[derive(Clone, Debug)]
pub(super) struct Interpolated(Box<[i16; STEPS + 1]>);

impl Interpolated {
    /// The table for a function from numbers of scale `input` to numbers of scale `output`, every
    /// number on the way rounded to single precision.
    pub(super) fn new(function: impl Fn(f32) -> f32, input: f32, output: f32) -> Interpolated {
        let single = |x: f64| f64::from(x as f32);
        let bounds = |scale: f32| [scale * f32::from(i16::MIN), scale * f32::from(i16::MAX)].map(f64::from);
        Interpolated::of(|x| f64::from(function(x as f32)), bounds(input), bounds(output), single)
    }

    /// The table for a function whose operand runs over `input` and whose result over `output` as
    /// words run over their range. `rounded` is applied to every number on the way.
    pub(super) fn of(
        function: impl Fn(f64) -> f64,
        input: [f64; 2],
        output: [f64; 2],
        rounded: impl Fn(f64) -> f64,
    ) -> Interpolated {
        let step = rounded(rounded(input[1] - input[0]) / STEPS as f64);
        let inverse = rounded(65_536.0 / rounded(output[1] - output[0]));
        let at = |x: f64| rounded(function(x) * inverse);
        let place = |i: usize| rounded(input[0] + rounded(i as f64 * step));
        let word = |value: f64| value.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        Interpolated(Box::new(std::array::from_fn(|i| {
            if i == STEPS {
                return word(at(input[1]).round());
            }
            let value = at(place(i)).round();
            let middle = at(rounded(place(i) + step / 2.0)).round();
            let between = (rounded(at(place(i + 1)) + value) / 2.0).round();
            word(value - ((between - middle) / 2.0).round())
        })))
    }

    /// The function of a word.
    #[inline(always)]
    pub(super) fn at(&self, x: i16) -> i16 {
        let (step, rest) = ((x >> 7) + 256, i32::from(x & 127));
        // Masked to tell the compiler that it is below 512.
        let step = step as usize & (STEPS - 1);
        let (base, next) = (i32::from(self.0[step]), i32::from(self.0[step + 1]));
        (base + (((next - base) * rest + 64) >> 7)) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_exact() {
        let table = Interpolated::new(|x| x, 1.0, 1.0);
        assert!((i16::MIN..=i16::MAX).all(|x| table.at(x).abs_diff(x) <= 1));
        let half = Interpolated::of(|x| x / 2.0, [-1.0, 1.0], [-1.0, 1.0], |x| x);
        assert_eq!([half.at(-32_768), half.at(0), half.at(256)], [-16_384, 0, 128]);
    }
}
