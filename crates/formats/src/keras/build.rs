//! From layers and weights to a graph.

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::{DType, GraphId, Model, Signature, Tensor, TensorId, validate};
use serde_json::Value;

use crate::error::{FormatError, Unsupported};
use crate::inputs::open_shapes;
use crate::keras::architecture::{Architecture, Layer};
use crate::keras::calls::{Argument, TensorRef};
use crate::keras::config::{Refusal, Version, input_type};
use crate::keras::layers;
use crate::keras::scope::{Operand, Scope, Target};
use crate::keras::weights::Weights;

/// Most axes that an input may have.
const MOST_AXES: usize = 8;

/// The model of these layers; `model` holds their weights, `assets` the tables of layers by their ids.
///
/// # Errors
/// If layers are not supported (all of them are listed) or do not fit together.
pub(super) fn build(
    architecture: &Architecture,
    model: Model,
    weights: Weights,
    assets: HashMap<usize, Bytes>,
    version: Version,
) -> Result<Model, FormatError> {
    let mut target = Target::new(model, weights, version, assets);
    let inputs = add_inputs(architecture, &mut target)?;
    let values = run(&mut target, architecture, &inputs.iter().copied().map(Some).collect::<Vec<_>>())?;
    if !target.unsupported.is_empty() {
        return Err(FormatError::Unsupported(target.unsupported));
    }
    let mut model = target.model;
    let outputs = values
        .into_iter()
        .collect::<Option<Vec<TensorId>>>()
        .ok_or_else(|| FormatError::broken("model configuration", "an output is never computed"))?;
    let named = |(place, (key, _)): (usize, &(Option<String>, _))| {
        (key.clone().unwrap_or_else(|| format!("output_{place}")), place)
    };
    let signature = Signature {
        key: "serving_default".to_owned(),
        graph: GraphId(0),
        inputs: names(architecture).enumerate().map(|(place, name)| (name.to_owned(), place)).collect(),
        outputs: architecture.outputs.iter().enumerate().map(named).collect(),
    };
    model.main_mut().outputs = outputs;
    model.signatures = vec![signature];
    validate(&model)?;
    Ok(model)
}

fn names(architecture: &Architecture) -> impl Iterator<Item = &str> {
    architecture.inputs.iter().map(|input| architecture.layers[input.layer].name.as_str())
}

/// Adds the graph's inputs in the model's order.
fn add_inputs(architecture: &Architecture, target: &mut Target) -> Result<Vec<TensorId>, FormatError> {
    let mut stated = Vec::new();
    for input in &architecture.inputs {
        let layer = &architecture.layers[input.layer];
        if layer.class != "InputLayer" {
            return Err(FormatError::broken(&layer.place, "it is an input of the model, but no input layer"));
        }
        if stated.iter().any(|(known, _): &(&Layer, _)| known.id == layer.id) {
            return Err(FormatError::broken(&layer.place, "it is an input of the model twice"));
        }
        stated.push((layer, stated_shape(layer)?));
    }
    let named: Vec<_> = stated.iter().map(|(layer, shape)| (layer.name.as_str(), shape.as_slice())).collect();
    let mut ids = Vec::new();
    for ((layer, _), shape) in stated.iter().zip(open_shapes(&named)) {
        let dtype = layer.config().text("dtype")?.and_then(input_type).unwrap_or(DType::F32);
        ids.push(target.add(Tensor::input(&layer.name, dtype, shape)));
    }
    Ok(ids)
}

fn stated_shape(layer: &Layer) -> Result<Vec<Option<usize>>, FormatError> {
    let shape = layer.config().get("batch_shape").or_else(|| layer.config().get("batch_input_shape"));
    let Some(Value::Array(sizes)) = shape else {
        return Err(FormatError::Unsupported(vec![Unsupported {
            layer: layer.path.clone(),
            operator: layer.class.clone(),
            reason: "the shape of the input is not stated: the model was saved before it was built; call \
                     model.build or give it an Input, and save it again"
                .to_owned(),
        }]));
    };
    if sizes.is_empty() || sizes.len() > MOST_AXES {
        return Err(layer.config().broken(format!("its shape has {} axes", sizes.len())));
    }
    let size = |size: &Value| match size {
        Value::Null => Ok(None),
        size => match size.as_u64().filter(|size| (1..=u64::from(u32::MAX)).contains(size)) {
            Some(size) => Ok(Some(size as usize)),
            None => Err(layer.config().broken(format!("its shape has an axis of {size}"))),
        },
    };
    sizes.iter().map(size).collect()
}

/// The outputs of a call; `None` where the layer, or one before an output, is not supported.
type Outputs = Option<Vec<Option<TensorId>>>;

/// Builds all calls of a model on these inputs, and gives its outputs.
fn run(
    target: &mut Target,
    model: &Architecture,
    inputs: &[Option<TensorId>],
) -> Result<Vec<Option<TensorId>>, FormatError> {
    let mut values: Vec<Vec<Outputs>> =
        model.layers.iter().map(|layer| vec![Some(Vec::new()); layer.calls.len().max(1)]).collect();
    for (reference, value) in model.inputs.iter().zip(inputs) {
        values[reference.layer][0] = Some(vec![*value]);
    }
    for (layer, call) in &model.order {
        let outputs = run_call(target, &model.layers[*layer], *call, &values)?;
        values[*layer][*call] = outputs;
    }
    let output = |(_, reference): &(_, TensorRef)| {
        let Some(outputs) = &values[reference.layer][reference.call] else { return Ok(None) };
        outputs.get(reference.output).copied().ok_or_else(|| {
            let layer = &model.layers[reference.layer];
            FormatError::broken(&layer.place, format!("it has no output {}", reference.output))
        })
    };
    model.outputs.iter().map(output).collect()
}

fn run_call(
    target: &mut Target,
    layer: &Layer,
    call: usize,
    values: &[Vec<Outputs>],
) -> Result<Outputs, FormatError> {
    let call = &layer.calls[call];
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in &call.arguments {
        match operand(layer, argument, values)? {
            Some(operand) => arguments.push(operand),
            None => return Ok(None),
        }
    }
    let mut keywords = Vec::with_capacity(call.keywords.len());
    for (name, argument) in &call.keywords {
        match operand(layer, argument, values)? {
            Some(operand) => keywords.push((name.clone(), operand)),
            None => return Ok(None),
        }
    }
    apply(target, layer, arguments, keywords)
}

/// Applies a layer or a nested model; `None` if it is not supported.
///
/// # Errors
/// If the arguments do not fit it.
pub(super) fn apply(
    target: &mut Target,
    layer: &Layer,
    arguments: Vec<Operand>,
    keywords: Vec<(String, Operand)>,
) -> Result<Outputs, FormatError> {
    let Some(inner) = &layer.model else { return apply_layer(target, layer, arguments, keywords) };
    let mut inputs = Vec::new();
    arguments.iter().for_each(|argument| argument.tensors(&mut inputs));
    if inputs.len() != inner.inputs.len() {
        let (given, taken) = (inputs.len(), inner.inputs.len());
        return Err(FormatError::broken(
            &layer.place,
            format!("it takes {taken} inputs and is given {given}"),
        ));
    }
    run(target, inner, &inputs.into_iter().map(Some).collect::<Vec<_>>()).map(Some)
}

fn apply_layer(
    target: &mut Target,
    layer: &Layer,
    arguments: Vec<Operand>,
    keywords: Vec<(String, Operand)>,
) -> Result<Outputs, FormatError> {
    let kind =
        layers::find(layer).ok_or_else(|| FormatError::broken(&layer.place, "its class is not known"))?;
    let mut scope = Scope::new(target, layer, arguments, keywords);
    match kind.apply(&mut scope) {
        Ok(outputs) => Ok(Some(outputs.into_iter().map(Some).collect())),
        Err(Refusal::Error(error)) => Err(error),
        Err(Refusal::Listed) => Ok(None),
        Err(Refusal::Unsupported(reason)) => {
            let item = Unsupported { layer: layer.path.clone(), operator: layer.class.clone(), reason };
            if !target.unsupported.contains(&item) {
                target.unsupported.push(item);
            }
            Ok(None)
        }
    }
}

/// An argument with its tensors in place; `None` where one is not there because of a layer that is
/// not supported.
fn operand(
    layer: &Layer,
    argument: &Argument,
    values: &[Vec<Outputs>],
) -> Result<Option<Operand>, FormatError> {
    Ok(Some(match argument {
        Argument::Value(value) => Operand::Value(value.clone()),
        Argument::Tensor(reference) => {
            let Some(outputs) = &values[reference.layer][reference.call] else { return Ok(None) };
            match outputs.get(reference.output) {
                Some(Some(id)) => Operand::Tensor(*id),
                Some(None) => return Ok(None),
                None => {
                    let reason = format!("it reads output {} of a call that has fewer", reference.output);
                    return Err(FormatError::broken(&layer.place, reason));
                }
            }
        }
        Argument::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                match operand(layer, item, values)? {
                    Some(operand) => list.push(operand),
                    None => return Ok(None),
                }
            }
            Operand::List(list)
        }
        Argument::Map(items) => {
            let mut map = Vec::with_capacity(items.len());
            for (name, item) in items {
                match operand(layer, item, values)? {
                    Some(operand) => map.push((name.clone(), operand)),
                    None => return Ok(None),
                }
            }
            Operand::Map(map)
        }
    }))
}
