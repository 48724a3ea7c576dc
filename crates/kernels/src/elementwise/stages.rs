//! Functions by an exponential one, of many numbers: stage by stage for some hundred of them.
//!
//! The thirty operations that lead to one result wait for each other, and no processor looks far enough ahead to have
//! enough other results to work on meanwhile. In loops of ten operations each it does.

use crate::multiversion::multiversion;

use super::approximation::{logistic_by, mantissa, reduced, scaled, tanh_by};
use super::unary::{InPlace, Unary, gelu, gelu_argument};

/// Numbers that go through a stage before the next begins: all stay in the first-level cache.
const BLOCK: usize = 256;

/// What computes a function in place, if it has stages here: the bits of [`Unary::value`].
pub(super) fn in_stages(operator: Unary) -> Option<InPlace<f32>> {
    Some(match operator {
        Unary::Logistic => |isa, data| map(isa, data, |x| -x.abs(), logistic_by),
        Unary::Silu => |isa, data| map(isa, data, |x| -x.abs(), |x, e| x * logistic_by(x, e)),
        Unary::Tanh => |isa, data| map(isa, data, |x| -2.0 * x.abs(), tanh_by),
        Unary::GeluTanh => |isa, data| {
            let finish = |x, e| gelu(x, tanh_by(gelu_argument(x), e));
            map(isa, data, |x| -2.0 * gelu_argument(x).abs(), finish);
        },
        _ => return None,
    })
}

multiversion! {
    /// Puts `finish(x, e^argument(x))` in the place of each `x`; arguments are not above 0.
    fn map[A: Fn(f32) -> f32, F: Fn(f32, f32) -> f32](data: &mut [f32], argument: A, finish: F) {
        let (mut exponents, mut rest) = ([0.0; BLOCK], [0.0; BLOCK]);
        for block in data.chunks_mut(BLOCK) {
            for ((exponent, rest), x) in exponents.iter_mut().zip(&mut rest).zip(&*block) {
                [*exponent, *rest] = reduced(argument(*x));
            }
            for rest in &mut rest[..block.len()] {
                *rest = mantissa(*rest);
            }
            for ((x, exponent), mantissa) in block.iter_mut().zip(&exponents).zip(&rest) {
                *x = finish(*x, scaled(argument(*x), *exponent, *mantissa));
            }
        }
    }
}
