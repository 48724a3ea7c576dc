//! Recurrent layers.

use crate::float::Clamp;
use crate::recurrent::{Cell, Function, Sequence, Weights};

/// The outputs of all steps, `h` and (LSTM only) `c` after the last one, in double precision.
#[must_use]
pub fn recurrent(
    cell: Cell,
    [features, units]: [usize; 2],
    weights: Weights<'_>,
    [f, g]: [Function; 2],
    sequence: &Sequence<'_>,
) -> [Vec<f64>; 3] {
    let &Sequence { batch, time, .. } = sequence;
    let width = cell.gates() * units;
    let start = |given: Option<&[f32]>| -> Vec<f64> {
        given.map_or_else(|| vec![0.0; batch * units], |given| given.iter().map(|x| (*x).into()).collect())
    };
    let (mut all_h, mut all_c) = (start(sequence.h), start(sequence.c));
    let mut output = vec![0.0; batch * time * units];
    for sample in 0..batch {
        let h = &mut all_h[sample * units..][..units];
        let c = &mut all_c[sample * units..][..units];
        for step in 0..time {
            let at = if sequence.backwards { time - 1 - step } else { step };
            let place = (sample * time + step) * units;
            if sequence.mask.is_some_and(|mask| mask[sample * time + at] == 0) {
                for unit in 0..if sequence.zero_masked || step == 0 { 0 } else { units } {
                    output[place + unit] = output[place - units + unit];
                }
                continue;
            }
            let x = &sequence.x[(sample * time + at) * features..][..features];
            let from_x = |column: usize| {
                let bias = weights.bias.map_or(0.0, |bias| bias[column]);
                let products = x
                    .iter()
                    .enumerate()
                    .map(|(i, x)| double(*x) * double(weights.kernel[i * width + column]));
                double(bias) + products.sum::<f64>()
            };
            let from = |state: &[f64], column: usize| {
                let products =
                    state.iter().enumerate().map(|(i, h)| h * double(weights.recurrent[i * width + column]));
                products.sum::<f64>()
            };
            let old = h.to_vec();
            let gate = |unit: usize, block: usize| {
                let column = block * units + unit;
                (from_x(column), from(&old, column))
            };
            let second_bias = |unit: usize, block: usize| match (cell, weights.bias) {
                (Cell::Gru { reset_after: true }, Some(bias)) => double(bias[width + block * units + unit]),
                _ => 0.0,
            };
            let opened = |unit: usize, block: usize| {
                let (x, h) = gate(unit, block);
                value(g, x + h + second_bias(unit, block))
            };
            for unit in 0..units {
                h[unit] = match cell {
                    Cell::Simple => {
                        let (x, h) = gate(unit, 0);
                        value(f, x + h)
                    }
                    Cell::Lstm => {
                        let (x, h) = gate(unit, 2);
                        c[unit] = opened(unit, 1) * c[unit] + opened(unit, 0) * value(f, x + h);
                        opened(unit, 3) * value(f, c[unit])
                    }
                    Cell::Gru { reset_after } => {
                        let (x, after) = gate(unit, 2);
                        let reset = if reset_after {
                            opened(unit, 1) * (after + second_bias(unit, 2))
                        } else {
                            let reset: Vec<f64> =
                                (0..units).map(|unit| opened(unit, 1) * old[unit]).collect();
                            from(&reset, 2 * units + unit)
                        };
                        let candidate = value(f, x + reset);
                        candidate + opened(unit, 0) * (old[unit] - candidate)
                    }
                };
            }
            output[place..place + units].copy_from_slice(h);
        }
    }
    [output, all_h, if cell == Cell::Lstm { all_c } else { Vec::new() }]
}

fn double(x: f32) -> f64 {
    x.into()
}

fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Linear => x,
        Function::Unary(unary) => unary.value(x),
        Function::HardSigmoid { slope, offset } => {
            Clamp { min: 0.0, max: 1.0 }.apply(x * double(slope) + double(offset))
        }
    }
}
