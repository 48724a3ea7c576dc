//! Layers that are made of layers: what they wrap, and where its weights are.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::keras::architecture::Layer;
use crate::keras::weights::snake_case;

/// Layers made of layers: class, the setting that holds one or several, and the attribute that holds
/// them in Python, which is the group of their weights.
const PARTS: [(&str, &str, &str); 10] = [
    ("Bidirectional", "layer", "forward_layer"),
    ("Bidirectional", "backward_layer", "backward_layer"),
    ("Pipeline", "layers", "layers"),
    ("PruneLowMagnitude", "layer", "layer"),
    ("QuantizeWrapper", "layer", "layer"),
    ("QuantizeWrapperV2", "layer", "layer"),
    ("RNN", "cell", "cell"),
    ("SpectralNormalization", "layer", "layer"),
    ("StackedRNNCells", "cells", "cells"),
    ("TimeDistributed", "layer", "layer"),
];

/// A layer that another wraps. It has no calls of its own.
pub(super) struct Part {
    /// Where its weights are: a group in that of the layer around it.
    pub group: String,
    /// The layer.
    pub layer: Layer,
}

/// The layers that a layer of this class wraps, taken out of its settings, each with the group of its
/// weights.
///
/// # Errors
/// If one of them is missing or no object.
pub(super) fn taken(
    class: &str,
    settings: &mut Map<String, Value>,
    place: &str,
) -> Result<Vec<(String, Value)>, FormatError> {
    if class == "Bidirectional" {
        complete_directions(settings);
    }
    let mut parts = Vec::new();
    for (_, setting, attribute) in PARTS.iter().filter(|(known, ..)| *known == class) {
        match settings.remove(*setting) {
            Some(Value::Array(layers)) => {
                let mut names = GroupNames::default();
                for layer in layers {
                    let class = layer.get("class_name").and_then(Value::as_str).unwrap_or("");
                    parts.push((format!("{attribute}/{}", names.next(class)), layer));
                }
            }
            Some(layer @ Value::Object(_)) => parts.push(((*attribute).to_owned(), layer)),
            _ => return Err(FormatError::broken(place, format!("its setting '{setting}' is no layer"))),
        }
    }
    Ok(parts)
}

/// Keras 2 keeps only the forward layer; its twin is the same the other way round.
fn complete_directions(settings: &mut Map<String, Value>) {
    let Some(forward) = settings.get_mut("layer") else { return };
    let mut backward = forward.clone();
    rename(forward, "forward_");
    if settings.get("backward_layer").is_some_and(|layer| !layer.is_null()) {
        return;
    }
    rename(&mut backward, "backward_");
    if let Some(config) = backward.get_mut("config").and_then(Value::as_object_mut) {
        let back = config.get("go_backwards").and_then(Value::as_bool).unwrap_or(false);
        config.insert("go_backwards".to_owned(), Value::Bool(!back));
    }
    settings.insert("backward_layer".to_owned(), backward);
}

/// Puts a prefix before a layer's name that does not start with it.
fn rename(layer: &mut Value, prefix: &str) {
    let name = layer.get_mut("config").and_then(|config| config.get_mut("name"));
    if let Some(Value::String(name)) = name
        && !name.starts_with(prefix)
    {
        name.insert_str(0, prefix);
    }
}

/// The groups of layers in one container of a `.keras` file: named by class, and numbered.
#[derive(Default)]
pub(super) struct GroupNames {
    counts: HashMap<String, usize>,
}

impl GroupNames {
    /// The group of the next layer, which is of this class.
    pub fn next(&mut self, class: &str) -> String {
        let mut name = snake_case(class);
        let count = self.counts.entry(name.clone()).or_insert(0);
        if *count > 0 {
            name = format!("{name}_{count}");
        }
        *count += 1;
        name
    }
}
