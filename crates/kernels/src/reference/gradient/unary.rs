//! Derivatives of the functions of one number, from the input alone.

use crate::elementwise::Unary;
use crate::elementwise::number::Float;

/// The derivative of `operator` at `x`; where there is none, the one that training uses.
#[must_use]
pub fn derivative<T: Float>(operator: Unary, x: T) -> T {
    let value = |operator: Unary| operator.value(x);
    let square = |x: T| x.times(x);
    let step = |yes: bool| if yes { T::ONE } else { T::ZERO };
    let inside = |low: f64, high: f64| step(x > T::of(low) && x < T::of(high));
    match operator {
        Unary::Relu => step(x > T::ZERO),
        Unary::Relu6 => inside(0.0, 6.0),
        Unary::ReluN1To1 => inside(-1.0, 1.0),
        Unary::LeakyRelu { alpha } => {
            if x > T::ZERO {
                T::ONE
            } else {
                T::of(alpha)
            }
        }
        Unary::Elu { alpha } => {
            if x > T::ZERO {
                T::ONE
            } else {
                T::of(alpha).times(x.exp())
            }
        }
        Unary::Selu => {
            // A product of the two constants of the function.
            let [scale, alpha] = [1.050_700_987_355_480_5, 1.673_263_242_354_377_2];
            if x >= T::ZERO { T::of(scale) } else { T::of(scale * alpha).times(x.exp()) }
        }
        Unary::Logistic => value(Unary::Logistic).times(T::ONE.minus(value(Unary::Logistic))),
        Unary::Tanh => T::ONE.minus(square(value(Unary::Tanh))),
        Unary::Silu => {
            let slope = derivative(Unary::Logistic, x);
            value(Unary::Logistic).plus(x.times(slope))
        }
        Unary::HardSigmoid => inside(-3.0, 3.0).over(T::of(6.0)),
        Unary::HardSwish => value(Unary::HardSigmoid).plus(x.times(derivative(Unary::HardSigmoid, x))),
        Unary::Gelu => {
            let bell = T::of(-0.5).times(square(x)).exp().over(T::of(std::f64::consts::TAU).square_root());
            let below = T::ONE.plus(x.over(T::of(2.0).square_root()).erf()).over(T::of(2.0));
            below.plus(x.times(bell))
        }
        Unary::GeluTanh => {
            let factor = T::of(2.0 * std::f64::consts::FRAC_1_PI).square_root();
            let argument = factor.times(x.plus(T::of(0.044_715).times(square(x)).times(x)));
            let slope = factor.times(T::ONE.plus(T::of(0.134_145).times(square(x))));
            let bend = argument.tanh();
            T::ONE.plus(bend).plus(x.times(T::ONE.minus(square(bend))).times(slope)).over(T::of(2.0))
        }
        Unary::Softplus => value(Unary::Logistic),
        Unary::Softsign => T::ONE.over(square(T::ONE.plus(x.magnitude()))),
        Unary::Exp => x.exp(),
        Unary::Log => T::ONE.over(x),
        Unary::Sqrt => T::of(0.5).over(x.square_root()),
        Unary::Rsqrt => T::of(-0.5).over(x.times(x.square_root())),
        Unary::Neg => T::of(-1.0),
        Unary::Abs => step(x > T::ZERO).minus(step(x < T::ZERO)),
        Unary::Square => x.plus(x),
        Unary::Sin => x.cos(),
        Unary::Cos => T::ZERO.minus(x.sin()),
        Unary::Floor | Unary::Ceil | Unary::Round | Unary::Sign => T::ZERO,
        Unary::Erf => T::ZERO.minus(square(x)).exp().times(T::of(std::f64::consts::FRAC_2_SQRT_PI)),
        Unary::Reciprocal => T::of(-1.0).over(square(x)),
    }
}
