//! Back to real numbers: every tensor of a quantized model becomes single precision.

use litesmith_graph::ops::{self, Identity};
use litesmith_graph::{DType, Data, Graph, Model, Op, Quantization, State, Tensor, TensorKind, infer_model};

use crate::error::QuantizeError;
use crate::float16::widen;

/// Whether a model computes with quantized numbers, or stores weights in another type than single
/// precision.
#[must_use]
pub fn is_quantized(model: &Model) -> bool {
    let tensors = || model.graphs.iter().flat_map(|graph| &graph.tensors);
    tensors().any(|tensor| tensor.quantization.is_some())
        || tensors().any(|tensor| tensor.is_fixed() && tensor.dtype == DType::F16)
}

/// Makes the float model that a quantized one stands for: `real = scale * (q - zero_point)` for every
/// weight and bias, real-valued activations, inputs and outputs; `QUANTIZE` and `DEQUANTIZE` go. What
/// rounding lost does not come back, and activations are not cut off at the ends of their ranges any
/// more. Half-precision weights become single precision.
///
/// # Errors
/// If a quantized constant is stored sparsely, or the model does not fit itself.
pub fn dequantize(model: &mut Model) -> Result<(), QuantizeError> {
    widen(model);
    tell_states(model);
    let quantized = |graph: &Graph, id: litesmith_graph::TensorId| graph[id].quantization.is_some();
    for graph in &mut model.graphs {
        for node in 0..graph.nodes.len() {
            let (input, output) =
                (graph.nodes[node].inputs.first().copied(), graph.nodes[node].outputs.first());
            let (Some(Some(input)), Some(output)) = (input, output) else { continue };
            let bridge = match &graph.nodes[node].op {
                Op::Quantize(_) => quantized(graph, *output),
                Op::Dequantize(_) => quantized(graph, input),
                _ => false,
            };
            if bridge {
                graph.nodes[node].op = Identity::default().into();
            }
            match &mut graph.nodes[node].op {
                Op::FullyConnected(ops::FullyConnected { asymmetric_quantize_inputs, .. })
                | Op::BatchMatMul(ops::BatchMatMul { asymmetric_quantize_inputs, .. }) => {
                    *asymmetric_quantize_inputs = false;
                }
                _ => {}
            }
        }
        for tensor in &mut graph.tensors {
            real(tensor, &mut model.states)?;
        }
    }
    Ok(infer_model(model)?)
}

/// Gives states the quantization of what is read from them, where files tell it of the latter alone.
fn tell_states(model: &mut Model) {
    let mut known: Vec<Option<Quantization>> = vec![None; model.states.len()];
    for graph in &model.graphs {
        for node in graph.nodes.iter().filter(|node| matches!(node.op, Op::ReadState(_))) {
            let (Some(state), Some(value)) = (node.present_inputs().next(), node.outputs.first()) else {
                continue;
            };
            if let TensorKind::State(id) = graph[state].kind {
                known[id.0 as usize] = known[id.0 as usize].take().or(graph[*value].quantization.clone());
            }
        }
    }
    for tensor in model.graphs.iter_mut().flat_map(|graph| &mut graph.tensors) {
        if let (TensorKind::State(id), None) = (&tensor.kind, &tensor.quantization) {
            tensor.quantization.clone_from(&known[id.0 as usize]);
        }
    }
}

/// Makes a quantized tensor real.
fn real(tensor: &mut Tensor, states: &mut [State]) -> Result<(), QuantizeError> {
    let Some(quantization) = tensor.quantization.take() else { return Ok(()) };
    if tensor.sparsity.is_some() {
        return Err(QuantizeError::Sparse(tensor.name.clone()));
    }
    // An axis's slices lie next to each other, `inner` elements each.
    let inner: usize = match quantization.axis {
        Some(axis) => {
            let later = tensor.shape.dims().get(axis + 1..).unwrap_or_default();
            later.iter().filter_map(|dim| dim.fixed()).product::<usize>().max(1)
        }
        None => usize::MAX,
    };
    let count = quantization.scales.len().max(1);
    let dtype = tensor.dtype;
    let reals = |data: &Data| {
        let integers = data.integers(dtype)?.into_iter().enumerate();
        let real = |(place, q): (usize, i64)| {
            let slice = place / inner % count;
            let steps = q - i64::from(quantization.zero_points[slice]);
            (f64::from(quantization.scales[slice]) * steps as f64) as f32
        };
        Some(Data::from_vec(integers.map(real).collect::<Vec<f32>>()))
    };
    match &mut tensor.kind {
        TensorKind::Constant(data) => match reals(data) {
            Some(data_of_reals) => *data = data_of_reals,
            None => return Ok(()),
        },
        TensorKind::State(id) => {
            let state = &mut states[id.0 as usize];
            // Several tensors may stand for one state.
            if state.dtype == dtype {
                state.initial = state.initial.as_ref().and_then(reals);
                state.dtype = DType::F32;
            }
        }
        TensorKind::Input | TensorKind::Activation | TensorKind::Parameter(_) => {}
    }
    tensor.dtype = DType::F32;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{text, validate};

    const INTEGER: &str = r#"graph main(%x: f32[batch,2]) -> (%y) {
          %q: i8[batch,2] q{"scales":[0.5],"zero_points":[3]} = Quantize(%x)
          %w: i8[2,2] q{"scales":[0.25,2],"zero_points":[0,0],"axis":0} = [1,-2,3,4]
          %b: i32[2] q{"scales":[0.125,1],"zero_points":[0,0],"axis":0} = [8,-3]
          %i: i8[batch,2] q{"scales":[0.1],"zero_points":[0]} = FullyConnected(%q, %w, %b) # dense
          %y: f32[batch,2] = Dequantize(%i)
        }"#;

    #[test]
    fn integers_become_the_numbers_that_they_stand_for() {
        let mut model = text::parse(INTEGER).unwrap();
        assert!(is_quantized(&model));
        dequantize(&mut model).unwrap();
        validate(&model).unwrap();
        assert!(!is_quantized(&model));
        let names: Vec<_> = model.main().nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["Identity", "FullyConnected", "Identity"]);
        let values = |place: usize| {
            let id = model.main().nodes[1].inputs[place].unwrap();
            model.data(&model.main()[id]).unwrap().elements::<f32>().to_vec()
        };
        assert_eq!(values(1), [0.25, -0.5, 6.0, 8.0]);
        assert_eq!(values(2), [1.0, -3.0]);
    }

    #[test]
    fn a_state_becomes_real_with_its_first_value() {
        let text = r#"
            state $s: i8[1,2] = [3,5]
            graph main(%x: i8[1,2] q{"scales":[0.5],"zero_points":[1]}) -> (%y) {
              %y: i8[1,2] q{"scales":[0.5],"zero_points":[1]} = ReadState($s)
              AssignState($s, %x)
            }"#;
        let mut model = text::parse(text).unwrap();
        dequantize(&mut model).unwrap();
        validate(&model).unwrap();
        assert_eq!(model.states[0].initial.as_ref().unwrap().elements::<f32>().to_vec(), [1.0, 2.0]);
    }
}
