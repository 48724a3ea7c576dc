use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::UnaryKind;
use crate::shape::{Dim, Shape};

/// A recurrent layer: a cell that runs along the time axis and gives what it remembers to the next
/// step. High-level.
///
/// Inputs, in which `gates` is [`RecurrentCell::gates`] and those from the bias on may be left out:
///
/// | | what | shape |
/// |---|---|---|
/// | 0 | `x` | `[batch, time, features]` |
/// | 1 | kernel `W` | `[features, gates * units]` |
/// | 2 | recurrent kernel `R` | `[units, gates * units]` |
/// | 3 | bias `b` | `[gates * units]`; of a cell with two, `[2, gates * units]` |
/// | 4 | `h` before the first step, else zero | `[batch, units]` |
/// | 5 | `c` before the first step, else zero (LSTM only) | `[batch, units]` |
/// | 6 | mask: the steps that count | `bool[batch, time]` |
///
/// Outputs: `h` after each step in the order of processing `[batch, time, units]`, `h` after the last
/// step `[batch, units]` and, of an LSTM, `c` after the last step.
///
/// A step that the mask leaves out changes neither `h` nor `c`; its output is that of the step before
/// (zero before the first step that counts), or zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recurrent {
    /// What one step computes.
    pub cell: RecurrentCell,
    /// The function of the candidate (and of an LSTM's output), `f` in the cells' formulas.
    pub activation: GateFunction,
    /// The function of the gates, `g` in the cells' formulas.
    pub recurrent_activation: GateFunction,
    /// Whether time is taken from its end.
    pub backwards: bool,
    /// Whether the source asks for one copy of the cell for each step.
    pub unroll: bool,
    /// Whether the output of a step that the mask leaves out is zero.
    pub zero_masked: bool,
}

impl Default for Recurrent {
    fn default() -> Recurrent {
        Recurrent {
            cell: RecurrentCell::default(),
            activation: UnaryKind::Tanh.into(),
            recurrent_activation: UnaryKind::Logistic.into(),
            backwards: false,
            unroll: false,
            zero_masked: false,
        }
    }
}

/// What one step of a recurrent layer computes. Blocks of `units` columns of `W`, `R` and `b` are named
/// in their order; `x W` stands for the input's product with the bias added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecurrentCell {
    /// `h = f(x W + h R)`.
    Simple,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997), blocks i, f, c, o:
    /// `c = g(x Wf + h Rf) * c + g(x Wi + h Ri) * f(x Wc + h Rc)`, `h = g(x Wo + h Ro) * f(c)`.
    #[default]
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014), blocks z, r, h: with `z = g(x Wz + h Rz)`,
    /// `r = g(x Wr + h Rr)` and a candidate `n`, `h = n + z * (h - n)`.
    Gru {
        /// Whether the reset gate acts behind the product, `n = f(x Wh + r * (h Rh))`, in which case a
        /// second bias is added to `h R`; else `n = f(x Wh + (r * h) Rh)`.
        reset_after: bool,
    },
}

impl RecurrentCell {
    /// Number of blocks of `units` columns in the kernels.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            RecurrentCell::Simple => 1,
            RecurrentCell::Lstm => 4,
            RecurrentCell::Gru { .. } => 3,
        }
    }
}

/// A function inside a recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateFunction {
    /// `x`.
    Linear,
    /// A function of one number.
    Function(UnaryKind),
    /// `min(max(slope * x + offset, 0), 1)`: Keras 2 takes 0.2 and 0.5.
    HardSigmoid {
        /// Factor of `x`.
        slope: f32,
        /// Value at 0.
        offset: f32,
    },
}

impl From<UnaryKind> for GateFunction {
    fn from(kind: UnaryKind) -> GateFunction {
        GateFunction::Function(kind)
    }
}

impl Operator for Recurrent {
    fn arity(&self) -> Arity {
        Arity { inputs: (3, 7), outputs: (2, 3) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let [batch, time, features] = inputs.dims(0, 3)? else { refuse!("the input has no three axes") };
        let dtype = inputs.get(0)?.dtype;
        let [_, width] = inputs.dims(1, 2)? else { refuse!("the kernel has no two axes") };
        let [units, _] = inputs.dims(2, 2)? else { refuse!("the recurrent kernel has no two axes") };
        let (Some(size), Some(columns)) = (units.fixed(), width.fixed()) else {
            refuse!("the shapes of the kernels must be fixed");
        };
        if size == 0 || size.checked_mul(self.cell.gates()) != Some(columns) {
            refuse!("{size} units and {} gates do not make {columns} columns", self.cell.gates());
        }
        let bias = match self.cell {
            RecurrentCell::Gru { reset_after: true } => Shape::from([2, columns]),
            _ => Shape::from([columns]),
        };
        let state = Shape::from([batch.clone(), units.clone()]);
        let mut expected = vec![
            ("kernel", 1, Shape::from([features.clone(), width.clone()]), dtype),
            ("recurrent kernel", 2, Shape::from([units.clone(), width.clone()]), dtype),
            ("bias", 3, bias, dtype),
            ("initial h", 4, state.clone(), dtype),
            ("initial c", 5, state.clone(), dtype),
            ("mask", 6, Shape::from([batch.clone(), time.clone()]), DType::Bool),
        ];
        if self.cell != RecurrentCell::Lstm {
            if inputs.optional(5).is_some() {
                refuse!("only an LSTM has a state c");
            }
            expected.remove(4);
        }
        for (what, input, shape, dtype) in expected {
            if let Some(facts) = inputs.optional(input)
                && (facts.dtype != dtype || facts.shape.unify(&shape).is_none())
            {
                refuse!("the {what} is {}{} instead of {dtype}{shape}", facts.dtype, facts.shape);
            }
        }
        let sequence = Shape::from([batch.clone(), time.clone(), units.clone()]);
        let mut outputs = vec![Facts::new(dtype, sequence), Facts::new(dtype, state.clone())];
        if self.cell == RecurrentCell::Lstm {
            outputs.push(Facts::new(dtype, state));
        }
        Ok(outputs)
    }

    fn macs(&self, inputs: Inputs<'_>, _outputs: &[Facts]) -> u64 {
        let elements =
            |index: usize| inputs.optional(index).map_or(0, |facts| facts.shape.elements_per_sample());
        let time = inputs.optional(0).and_then(|x| x.shape.dims().get(1)).and_then(Dim::fixed).unwrap_or(1);
        elements(1).saturating_add(elements(2)).saturating_mul(time as u64)
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;

    fn shapes(cell: RecurrentCell, inputs: &[Option<Facts>]) -> Result<Vec<String>, InferError> {
        let inputs: Vec<_> = inputs.iter().map(Option::as_ref).collect();
        let outputs = Op::from(Recurrent { cell, ..Recurrent::default() }).infer(Inputs(&inputs))?;
        Ok(outputs.iter().map(|facts| facts.shape.to_string()).collect())
    }

    fn floats<D: Into<Dim>, const N: usize>(dims: [D; N]) -> Option<Facts> {
        Some(Facts::new(DType::F32, Shape::from(dims)))
    }

    #[test]
    fn batch_and_time_may_be_free() {
        let x = floats([Dim::free("batch"), Dim::free("time"), 5.into()]);
        let lstm = [x.clone(), floats([5, 12]), floats([3, 12]), floats([12])];
        let outputs = shapes(RecurrentCell::Lstm, &lstm).unwrap();
        assert_eq!(outputs, ["[batch,time,3]", "[batch,3]", "[batch,3]"]);
        let gru = [x.clone(), floats([5, 9]), floats([3, 9]), floats([2, 9])];
        let outputs = shapes(RecurrentCell::Gru { reset_after: true }, &gru).unwrap();
        assert_eq!(outputs, ["[batch,time,3]", "[batch,3]"]);
        assert!(shapes(RecurrentCell::Gru { reset_after: false }, &gru).is_err());
    }

    #[test]
    fn inputs_must_fit() {
        let x = floats([2, 4, 5]);
        let simple = |rest: &[Option<Facts>]| {
            let inputs = [&[x.clone(), floats([5, 3]), floats([3, 3])], rest].concat();
            shapes(RecurrentCell::Simple, &inputs)
        };
        assert!(simple(&[]).is_ok());
        assert!(simple(&[None, floats([2, 3])]).is_ok());
        assert!(simple(&[None, floats([1, 3])]).is_err());
        assert!(simple(&[None, None, floats([2, 3])]).is_err(), "there is no c");
        let mask = Some(Facts::new(DType::Bool, Shape::from([2, 4])));
        assert!(simple(&[None, None, None, mask]).is_ok());
        assert!(simple(&[None, None, None, floats([2, 4])]).is_err());
        assert!(shapes(RecurrentCell::Lstm, &[x, floats([5, 3]), floats([3, 3])]).is_err());
    }

    #[test]
    fn functions_go_to_json_and_back() {
        let op = Op::from(Recurrent {
            cell: RecurrentCell::Gru { reset_after: true },
            activation: GateFunction::Linear,
            recurrent_activation: GateFunction::HardSigmoid { slope: 0.25, offset: 0.5 },
            ..Recurrent::default()
        });
        assert_eq!(Op::from_attributes("Recurrent", op.attributes()), Ok(op));
    }
}
