//! Recurrent layers: SimpleRNN, LSTM, GRU, and RNN over one of their cells or a stack of them.

use litesmith_graph::ops::{GateFunction, Recurrent, RecurrentCell, Reverse, StridedSlice};
use litesmith_graph::{DType, TensorId};
use serde_json::{Map, Value};

use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::architecture::Layer;
use crate::keras::config::{Built, Config, Version, unsupported};
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

/// The slope and the value at zero of Keras 2's `hard_sigmoid`.
const HARD_SIGMOID_OF_KERAS_2: GateFunction = GateFunction::HardSigmoid { slope: 0.2, offset: 0.5 };

/// The variables of a cell.
pub(super) fn cell_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = vec![
        Variable::trained("kernel", "kernel_regularizer"),
        Variable::trained("recurrent_kernel", "recurrent_regularizer"),
    ];
    if config.flag("use_bias", true)? {
        variables.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(variables)
}

/// The variables of a layer that makes its cell itself.
pub(super) fn layer_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    Ok(cell_variables(config)?.into_iter().map(|variable| variable.of("cell")).collect())
}

pub(super) fn cell(_: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    unsupported!("a cell that is called by itself is not supported; wrap it in a layer RNN")
}

/// How a layer runs its cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Whether the outputs of all steps are the output.
    pub sequences: bool,
    /// Whether the states after the last step are outputs too.
    pub states: bool,
    /// Whether time is taken from its end.
    pub backwards: bool,
    /// Whether steps that the mask leaves out give zero instead of the output before.
    pub zero_masked: bool,
    /// Whether the source asks for one copy of the cell for each step.
    pub unroll: bool,
}

impl Run {
    /// As the layer's settings say.
    pub fn of(config: Config<'_>) -> Built<Run> {
        if config.flag("stateful", false)? {
            unsupported!(
                "stateful=True keeps states from one run to the next, which a converted model does not; \
                 build the layer with stateful=False and give it an initial_state"
            );
        }
        if config.flag("time_major", false)? {
            unsupported!("time_major=True is not supported; put the batch first");
        }
        Ok(Run {
            sequences: config.flag("return_sequences", false)?,
            states: config.flag("return_state", false)?,
            backwards: config.flag("go_backwards", false)?,
            zero_masked: config.flag("zero_output_for_mask", false)?,
            unroll: config.flag("unroll", false)?,
        })
    }
}

/// What a layer is called with.
pub(super) struct Call {
    /// `[batch, time, features]`.
    pub x: TensorId,
    /// The states before the first step, cell by cell; empty where they are zero.
    pub states: Vec<TensorId>,
    /// Which steps count, `bool[batch, time]`.
    pub mask: Option<TensorId>,
    /// The mask that goes on to the layers behind.
    pub passed_on: Option<TensorId>,
}

impl Call {
    /// From the arguments: the sequence comes first, states follow in whatever lists.
    pub fn of(scope: &mut Scope<'_>) -> Built<Call> {
        if let Some((name, _)) = scope.keywords.iter().find(|(name, operand)| {
            !matches!(name.as_str(), "sequences" | "inputs" | "initial_state" | "training")
                && *operand != Operand::Value(Value::Null)
        }) {
            unsupported!("a call with '{name}' is not supported");
        }
        if scope.version == Version::Keras3 && matches!(scope.arguments.get(2), Some(Operand::Tensor(_))) {
            unsupported!("a mask that is given by place is not supported; give it by its name");
        }
        let tensors = scope.tensors();
        let Some((x, states)) = tensors.split_first() else {
            return Err(scope.config().broken("it is called without a tensor").into());
        };
        let mask = scope.mask(*x)?;
        if let Some(mask) = mask
            && (scope.dtype(mask) != DType::Bool || scope.rank(mask) != 2)
        {
            unsupported!("its mask must have two axes and be boolean, not of shape {}", scope.shape(mask));
        }
        // Keras 3 looks for the mask of the only tensor that a layer is called with; that of one among
        // several goes on to the layers behind, but is not heeded.
        let heeded = scope.version == Version::Keras2 || states.is_empty() || scope.mask.is_some();
        let x = scope.as_floats(*x)?;
        let states = states.iter().map(|state| scope.as_floats(*state)).collect::<Built<_>>()?;
        Ok(Call { x, states, mask: mask.filter(|_| heeded), passed_on: mask })
    }
}

/// SimpleRNN, LSTM, GRU and RNN.
pub(super) fn layer(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let (call, run) = (Call::of(scope)?, Run::of(scope.config())?);
    let outputs = outputs(scope, &call, run)?;
    if run.sequences {
        scope.set_mask(outputs[0], call.passed_on);
    }
    Ok(outputs)
}

/// The outputs of one of these layers: its output, then its states if they are asked for.
pub(super) fn outputs(scope: &mut Scope<'_>, call: &Call, run: Run) -> Built<Vec<TensorId>> {
    if scope.rank(call.x) != 3 {
        let shape = scope.shape(call.x);
        unsupported!("a sequence of shape {shape} is not supported; it takes batch, time and features");
    }
    let cells = cells(scope.layer)?;
    let mut states = call.states.iter().copied();
    let (mut x, mut mask) = (call.x, call.mask);
    let mut last = call.x;
    let mut after = Vec::new();
    for (place, cell) in cells.iter().enumerate() {
        let first = place == 0;
        if !first && run.backwards {
            // The cell before has turned time round.
            mask = match mask {
                Some(mask) if place == 1 => Some(scope.emit(Reverse { axes: vec![1] }, &[mask])?),
                mask => mask,
            };
        }
        let run = Run { backwards: run.backwards && first, ..run };
        let made = one_cell(scope, cell, run, x, mask, (!call.states.is_empty()).then_some(&mut states))?;
        (x, last) = (made[0], made[1]);
        after.extend_from_slice(&made[1..]);
    }
    if states.next().is_some() {
        return Err(scope.config().broken("it is called with more states than it has").into());
    }
    // The output of a step that does not count is not the state.
    let apart = call.mask.is_some() && (run.zero_masked || !call.states.is_empty());
    let output = match run.sequences {
        true => x,
        false if apart => last_step(scope, x)?,
        false => last,
    };
    let states = if run.states { after } else { Vec::new() };
    Ok([vec![output], states].concat())
}

/// The cells of a layer, in order.
fn cells(layer: &Layer) -> Built<Vec<&Layer>> {
    if layer.class != "RNN" {
        return Ok(vec![layer]);
    }
    let Some(cell) = layer.wrapped("cell").next() else {
        return Err(layer.config().broken("it has no cell").into());
    };
    if cell.class != "StackedRNNCells" {
        return Ok(vec![cell]);
    }
    if cell.config().flag("reverse_state_order", false)? {
        unsupported!("reverse_state_order=True is not supported; build the cells without it");
    }
    Ok(cell.wrapped("cells").collect())
}

/// The outputs of all steps of one cell, `h`, and `c` of an LSTM.
fn one_cell(
    scope: &mut Scope<'_>,
    cell: &Layer,
    run: Run,
    x: TensorId,
    mask: Option<TensorId>,
    states: Option<&mut dyn Iterator<Item = TensorId>>,
) -> Built<Vec<TensorId>> {
    let (config, version) = (cell.config(), scope.version);
    let kind = match cell.class.as_str() {
        "SimpleRNN" | "SimpleRNNCell" => RecurrentCell::Simple,
        "LSTM" | "LSTMCell" => RecurrentCell::Lstm,
        // Before this setting was known the gate acted before the product.
        "GRU" | "GRUCell" => {
            RecurrentCell::Gru { reset_after: config.flag("reset_after", version == Version::Keras3)? }
        }
        other => unsupported!(
            "the cell '{other}' is not known; use SimpleRNNCell, LSTMCell or GRUCell, or a stack of them"
        ),
    };
    let op = Recurrent {
        cell: kind,
        activation: function(config, version, "activation")?,
        recurrent_activation: match kind {
            RecurrentCell::Simple => Recurrent::default().recurrent_activation,
            _ => function(config, version, "recurrent_activation")?,
        },
        backwards: run.backwards,
        unroll: run.unroll,
        zero_masked: run.zero_masked,
    };
    let features = scope.channels(x)?;
    let units = config.count("units")?;
    let Some(width) = units.checked_mul(kind.gates()).filter(|width| width.checked_mul(2).is_some()) else {
        return Err(config.broken("it has too many units").into());
    };
    let bias: &[usize] =
        if kind == (RecurrentCell::Gru { reset_after: true }) { &[2, width] } else { &[width] };
    let mut weights = Scope::new(scope.target, cell, Vec::new(), Vec::new());
    let kernel = weights.weight("kernel", &[features, width])?;
    let recurrent = weights.weight("recurrent_kernel", &[units, width])?;
    let bias = if config.flag("use_bias", true)? { Some(weights.weight("bias", bias)?) } else { None };
    let mut before = [None, None];
    if let Some(states) = states {
        for state in before.iter_mut().take(if kind == RecurrentCell::Lstm { 2 } else { 1 }) {
            *state = states.next();
            if state.is_none() {
                return Err(config.broken("it is called with fewer states than it has").into());
            }
        }
    }
    let inputs = vec![Some(x), Some(kernel), Some(recurrent), bias, before[0], before[1], mask];
    scope.emit_several(op, inputs)
}

/// The function that a setting of a cell names.
fn function(config: Config<'_>, version: Version, key: &str) -> Built<GateFunction> {
    let name = match config.get(key) {
        None => return Ok(GateFunction::Linear),
        Some(Value::String(name)) => name,
        Some(Value::Object(object)) => match (object.get("class_name"), object.get("config")) {
            (Some(Value::String(class)), Some(Value::String(name))) if class == "function" => name,
            (class, _) => {
                let class = class.and_then(Value::as_str).unwrap_or("?");
                unsupported!("its {key} '{class}' is not supported in a cell; name one of keras.activations");
            }
        },
        Some(other) => return Err(config.broken(format!("its {key} is {other}")).into()),
    };
    let none = Map::new();
    match name.as_str() {
        "linear" => Ok(GateFunction::Linear),
        "hard_sigmoid" if version == Version::Keras2 => Ok(HARD_SIGMOID_OF_KERAS_2),
        name => match activations::simple(version, name, Config::new(&none, ""))? {
            Some(kind) => Ok(kind.into()),
            None => unsupported!("its {key} '{name}' is not supported in a cell; use a simpler function"),
        },
    }
}

/// The last step of a sequence.
fn last_step(scope: &mut Scope<'_>, sequence: TensorId) -> Built<TensorId> {
    let slice = StridedSlice {
        begin: vec![0, -1, 0],
        end: vec![0; 3],
        strides: vec![1; 3],
        begin_mask: 0b101,
        end_mask: 0b101,
        shrink_axis_mask: 0b010,
    };
    scope.emit(slice, &[sequence])
}
