//! What is refused by looking at the configuration alone, all of it at once.

use crate::error::Unsupported;
use crate::keras::architecture::{Architecture, Layer, is_known_module};
use crate::keras::config::{check_policy, input_type};
use crate::keras::layers::{self, Layout, tfmot};

/// Everything in a model that is not supported, as far as it shows without building it.
pub(super) fn unsupported(model: &Architecture) -> Vec<Unsupported> {
    let mut found = Vec::new();
    collect(model, &mut found);
    found
}

fn collect(model: &Architecture, found: &mut Vec<Unsupported>) {
    model.layers.iter().for_each(|layer| collect_layer(layer, found));
}

fn collect_layer(layer: &Layer, found: &mut Vec<Unsupported>) {
    if let Some(reason) = refusal(layer) {
        let operator = layer.class.clone();
        found.push(Unsupported { layer: layer.path.clone(), operator, reason });
    }
    if let Some(inner) = &layer.model {
        collect(inner, found);
    }
    layer.parts.iter().for_each(|part| collect_layer(&part.layer, found));
}

fn refusal(layer: &Layer) -> Option<String> {
    if layer.class == "Lambda" {
        return Some(
            "a Lambda layer holds Python code, which is never run; rebuild the model with keras.ops or \
             built-in layers in its place and save it again"
                .to_owned(),
        );
    }
    if is_custom(layer) {
        return Some(
            "a custom layer is Python code, which the file does not hold; rebuild the model with built-in \
             layers or keras.ops in its place and save it again"
                .to_owned(),
        );
    }
    if layer.class == "InputLayer" {
        return input_refusal(layer);
    }
    if layer.model.is_some() {
        return None;
    }
    let Some(kind) = layers::find(layer) else {
        return Some(layers::foreign(&layer.class).map_or_else(
            || {
                "this class is not supported yet, or is a custom layer; rebuild the model without it, or \
                 convert it with another tool"
                    .to_owned()
            },
            str::to_owned,
        ));
    };
    let channels_first =
        layer.config().get("data_format").and_then(|format| format.as_str()) == Some("channels_first");
    if channels_first && kind.layout == Layout::Last {
        return Some(
            "channels_first is not supported; build the model with data_format='channels_last' and give it \
             the weights of this one (kernels have the same layout in both)"
                .to_owned(),
        );
    }
    if layer.config().get("quantization_config").is_some() {
        return Some("it is quantized by Keras; save the model before model.quantize()".to_owned());
    }
    if let Some(reason) = tfmot::refusal(layer) {
        return Some(reason);
    }
    // Operator nodes and tables of integers state a type, not a policy.
    let stated = layer.is_operation() || layers::gives_integers(&layer.class);
    layer.config().get("dtype").filter(|_| !stated).and_then(|policy| check_policy(policy).err())
}

/// Whether a layer's class is none of Keras or TFMOT, whatever its name. A class of the main program has no
/// module, but is registered by its name; legacy files tell neither.
fn is_custom(layer: &Layer) -> bool {
    match layer.module.as_deref() {
        Some(module) => !is_known_module(module),
        None => layer.registered.is_some() || layer.class.contains('>'),
    }
}

fn input_refusal(layer: &Layer) -> Option<String> {
    let config = layer.config();
    for kind in ["sparse", "ragged"] {
        if config.get(kind).and_then(|flag| flag.as_bool()) == Some(true) {
            return Some(format!("{kind} inputs are not supported; give it dense ones"));
        }
    }
    let dtype = config.get("dtype").and_then(|dtype| dtype.as_str())?;
    match input_type(dtype) {
        Some(_) => None,
        None => {
            Some(format!("inputs of type {dtype} are not supported; build the model with float32 inputs"))
        }
    }
}
