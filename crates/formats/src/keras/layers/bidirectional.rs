//! A recurrent layer along time and one against it.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, Concat, Reverse};

use crate::emit::Emit;
use crate::keras::architecture::Layer;
use crate::keras::config::{Built, unsupported};
use crate::keras::layers::conv_recurrent;
use crate::keras::layers::recurrent::{self, Call, Run};
use crate::keras::scope::Scope;

/// Layers whose two directions can be put together.
const RECURRENT: [&str; 7] = ["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN"];

pub(super) fn bidirectional(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let call = Call::of(scope)?;
    let [forward, backward] = ["forward_layer", "backward_layer"].map(|part| direction(scope.layer, part));
    let (forward, backward) = (forward?, backward?);
    let sequences = Run::of(forward.config())?.sequences;
    if call.states.len() % 2 != 0 {
        return Err(scope.config().broken("its two layers are given different numbers of states").into());
    }
    let (first, second) = call.states.split_at(call.states.len() / 2);
    let mut outputs = one_direction(scope, forward, &call, first)?;
    let mut back = one_direction(scope, backward, &call, second)?;
    if outputs.len() != back.len() {
        return Err(scope.config().broken("its two layers have different numbers of outputs").into());
    }
    if sequences {
        back[0] = scope.emit(Reverse { axes: vec![1] }, &[back[0]])?;
    }
    let (there, turned) = (outputs[0], back[0]);
    let together = match scope.config().text("merge_mode")? {
        Some("concat") => vec![scope.emit(Concat { axis: -1, ..Concat::default() }, &[there, turned])?],
        Some("sum") => vec![scope.binary(BinaryKind::Add, there, turned)?],
        Some("mul") => vec![scope.binary(BinaryKind::Mul, there, turned)?],
        Some("ave") => {
            let sum = scope.binary(BinaryKind::Add, there, turned)?;
            vec![scope.with_scalar(BinaryKind::Mul, sum, 0.5)?]
        }
        None => vec![there, turned],
        Some(other) => unsupported!("merge_mode '{other}' is not known; use concat, sum, mul or ave"),
    };
    if sequences {
        together.iter().for_each(|output| scope.set_mask(*output, call.passed_on));
    }
    let states = outputs.drain(1..).chain(back.drain(1..));
    Ok(together.iter().copied().chain(states).collect())
}

fn direction<'a>(layer: &'a Layer, part: &str) -> Built<&'a Layer> {
    let Some(inner) = layer.wrapped(part).next() else {
        return Err(layer.config().broken(format!("it has no {part}")).into());
    };
    if !RECURRENT.contains(&inner.class.as_str()) {
        unsupported!("it wraps a layer of class {}; use a recurrent layer", inner.class);
    }
    Ok(inner)
}

fn one_direction(
    scope: &mut Scope<'_>,
    layer: &Layer,
    call: &Call,
    states: &[TensorId],
) -> Built<Vec<TensorId>> {
    let run = Run::of(layer.config())?;
    // Whatever its settings say, a direction whose steps are all asked for gives zero where the mask
    // leaves a step out, and one that is asked for its last step does not.
    let run = Run { zero_masked: run.sequences, ..run };
    let call = Call { states: states.to_vec(), ..*call };
    let mut inner = Scope::new(scope.target, layer, Vec::new(), Vec::new());
    if layer.class.starts_with("ConvLSTM") {
        return conv_recurrent::outputs(&mut inner, &call, run);
    }
    recurrent::outputs(&mut inner, &call, run)
}
