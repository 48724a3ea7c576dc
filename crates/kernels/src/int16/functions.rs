//! Functions of one 16-bit operand.

use super::interpolated::Interpolated;
use super::sigmoid::Sigmoid;
use crate::convert::{convert, pieces};
use crate::elementwise::Unary;
use crate::elementwise::fixed_point::FixedPoint;
use crate::{Isa, ThreadPool};

/// A function prepared for the scales of its operand and result.
///
/// - RELU, RELU6, ABS, LEAKY_RELU: by 31-bit multipliers ([`FixedPoint::times`]);
/// - LOGISTIC, TANH: by interpolation in one table of the logistic function ([`Sigmoid`]);
/// - EXP, LOG, GELU, RSQRT: by interpolation in a table of the function ([`Interpolated`]).
///
/// Equal to LiteRT in every value, but for LOGISTIC of scale 2^-12 and TANH of scales 2^-12 and
/// 2^-11, which LiteRT computes in another way, up to 11 steps apart.
#[derive(Clone, Debug)]
pub struct Function(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Scaled { number: FixedPoint, low: i32, high: i32 },
    Magnitude(FixedPoint),
    Leaky { above: FixedPoint, below: FixedPoint },
    Logistic(Sigmoid),
    Tanh(Sigmoid),
    Table(Interpolated),
}

impl Function {
    /// The function from numbers of scale `input` to numbers of scale `output`; `None` for those
    /// that TFLite does not have for 16 bits. LOGISTIC and TANH always give steps of 2^-15.
    ///
    /// # Panics
    /// When a scale is not finite or not above 0, or their quotient is not finite.
    #[must_use]
    pub fn new(operator: Unary, input: f32, output: f32) -> Option<Function> {
        let ratio = f64::from(input) / f64::from(output);
        let number = FixedPoint::new(ratio);
        Some(Function(match operator {
            Unary::Relu => Kind::Scaled { number, low: 0, high: i32::from(i16::MAX) },
            Unary::Relu6 => {
                // A cast saturates.
                let six = (6.0 / output).round() as i16;
                Kind::Scaled { number, low: 0, high: six.into() }
            }
            Unary::Abs => Kind::Magnitude(number),
            Unary::LeakyRelu { alpha } if alpha >= 0.0 && alpha.is_finite() => Kind::Leaky {
                above: number,
                below: FixedPoint::new(f64::from(input) * alpha / f64::from(output)),
            },
            Unary::Logistic => Kind::Logistic(Sigmoid::new(input)),
            Unary::Tanh => Kind::Tanh(Sigmoid::new(input)),
            Unary::Exp | Unary::Log | Unary::Gelu | Unary::GeluTanh | Unary::Rsqrt => {
                Kind::Table(Interpolated::new(|x| value(operator, x, output), input, output))
            }
            _ => return None,
        }))
    }

    /// The function of every element.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, input: &[i16], output: &mut [i16]) {
        pieces(pool, input, output, |input, output| match &self.0 {
            &Kind::Scaled { number, low, high } => {
                convert(isa, input, output, move |x: i16| number.times(x.into()).clamp(low, high) as i16);
            }
            &Kind::Magnitude(number) => {
                convert(isa, input, output, move |x: i16| saturated(number.times(i32::from(x).abs())));
            }
            &Kind::Leaky { above, below } => convert(isa, input, output, move |x: i16| {
                let number = if x >= 0 { above } else { below };
                saturated(number.times(x.into()))
            }),
            Kind::Logistic(sigmoid) => convert(isa, input, output, |x: i16| sigmoid.logistic(x)),
            Kind::Tanh(sigmoid) => convert(isa, input, output, |x: i16| sigmoid.tanh(x)),
            Kind::Table(table) => convert(isa, input, output, |x: i16| table.at(x)),
        });
    }
}

#[inline(always)]
fn saturated(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The function as LiteRT fills its tables: in single precision, and where it has no value at the
/// end of the output's range that it tends to.
fn value(operator: Unary, x: f32, output: f32) -> f32 {
    let correct = |function: fn(f64) -> f64, x: f32| function(x.into()) as f32;
    match operator {
        Unary::Log if x <= 0.0 => output * f32::from(i16::MIN),
        Unary::Log => correct(libm::log, x),
        Unary::Rsqrt if x <= 0.0 => output * f32::from(i16::MAX),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Gelu => 0.5 * x * correct(|x| libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2), x),
        Unary::GeluTanh => {
            let argument = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + correct(libm::tanh, argument))
        }
        _ => correct(libm::exp, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function of all words, the same on every level.
    fn all(operator: Unary, input: f32, output: f32) -> Vec<i16> {
        let function = Function::new(operator, input, output).unwrap();
        let words: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let run = |isa| {
            let mut result = vec![0; words.len()];
            function.apply(isa, &ThreadPool::new(2), &words, &mut result);
            result
        };
        let expected = run(Isa::Portable);
        for isa in Isa::available_levels() {
            assert_eq!(run(isa), expected, "{operator:?} {isa}");
        }
        expected
    }

    #[test]
    fn every_function_is_close_to_the_real_one() {
        for (operator, input, output, steps) in [
            (Unary::Relu, 1e-4, 1.3e-4, 1.0),
            (Unary::Relu6, 3e-4, 2e-4, 1.0),
            (Unary::Abs, 1e-4, 1.3e-4, 1.0),
            (Unary::LeakyRelu { alpha: 0.1 }, 1e-4, 1.3e-4, 1.0),
            (Unary::Logistic, 1e-4, 1.0 / 32_768.0, 2.5),
            (Unary::Tanh, 1e-4, 1.0 / 32_768.0, 4.0),
            (Unary::Exp, 1e-4, 1e-3, 4.0),
            (Unary::Gelu, 1e-4, 1e-4, 3.0),
            (Unary::GeluTanh, 3e-4, 3e-4, 3.0),
        ] {
            for (x, y) in (i16::MIN..=i16::MAX).zip(all(operator, input, output)) {
                let real = operator.value(f64::from(x) * f64::from(input)) / f64::from(output);
                let held = real.clamp(-32_768.0, 32_767.0);
                assert!((held - f64::from(y)).abs() <= steps, "{operator:?}({x}) is {y}, not {real}");
            }
        }
    }

    /// A word's place among all of them.
    fn place(word: i16) -> usize {
        usize::from(word.abs_diff(i16::MIN))
    }

    #[test]
    fn functions_without_a_value_end_where_they_tend_to() {
        // Near 0 the table is coarse; these are LiteRT's values.
        let log = all(Unary::Log, 1e-4, 1e-3);
        let expected = [(-1, -26_068), (0, -26_015), (1, -25_846), (127, -4501), (128, -4332), (129, -4327)];
        for (x, y) in expected {
            assert_eq!(log[place(x)], y, "log {x}");
        }
        assert_eq!(log[0], i16::MIN);
        let root = all(Unary::Rsqrt, 1e-4, 1e-2);
        for (x, y) in [(1, 24_793), (2, 24_604), (5, 24_039), (100, 6144), (i16::MAX, 55)] {
            assert_eq!(root[place(x)], y, "1 over the root of {x}");
        }
    }

    #[test]
    fn functions_that_tflite_lacks_are_none() {
        let steep = Unary::LeakyRelu { alpha: f64::INFINITY };
        for operator in [Unary::Sin, Unary::HardSwish, Unary::Sqrt, Unary::Elu { alpha: 1.0 }, steep] {
            assert!(Function::new(operator, 1.0, 1.0).is_none());
        }
    }
}
