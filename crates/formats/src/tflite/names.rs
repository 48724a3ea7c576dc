//! Which builtin an operator is.

use litesmith_graph::Op;
use litesmith_graph::ops::{Unary, UnaryKind};

use super::schema::Builtin;

/// The builtin that does what this operator does; `None` for high-level operators. The graph knows
/// operators by the names of their builtins; the exceptions are few.
pub(super) fn builtin(op: &Op) -> Option<Builtin> {
    match op {
        Op::Custom(_) => Some(Builtin::CUSTOM),
        // The builtin of this name carries one range, and simulates nothing in an integer model.
        Op::FakeQuant(_) => None,
        // The builtin of this name has other operands and a fixed batch.
        Op::Recurrent(_) => None,
        Op::Unary(Unary { kind: UnaryKind::Elu(alpha) }) if *alpha != 1.0 => None,
        Op::Unary(Unary { kind: UnaryKind::Clip { min: 0.0, max: 1.0 } }) => Some(Builtin::RELU_0_TO_1),
        op => Builtin::from_name(op.builtin_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::ops::{BatchNorm, Conv2D, FakeQuant, Recurrent};

    #[test]
    fn operators_have_the_builtins_of_their_names() {
        assert_eq!(builtin(&Conv2D::default().into()), Some(Builtin::CONV_2D));
        assert_eq!(builtin(&Unary::from(UnaryKind::Tanh).into()), Some(Builtin::TANH));
        assert_eq!(builtin(&Unary::from(UnaryKind::Elu(1.0)).into()), Some(Builtin::ELU));
        assert_eq!(
            builtin(&Unary::from(UnaryKind::Clip { min: 0.0, max: 1.0 }).into()),
            Some(Builtin::RELU_0_TO_1)
        );
    }

    #[test]
    fn high_level_operators_have_none() {
        let high_level: [Op; 6] = [
            BatchNorm::default().into(),
            FakeQuant::default().into(),
            Recurrent::default().into(),
            Unary::from(UnaryKind::Silu).into(),
            Unary::from(UnaryKind::Elu(0.5)).into(),
            Unary::from(UnaryKind::Clip { min: -1.0, max: 2.0 }).into(),
        ];
        for op in high_level {
            assert_eq!(builtin(&op), None, "{}", op.builtin_name());
        }
    }
}
