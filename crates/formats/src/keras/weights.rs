//! Which array of the file is which variable of which layer.

use std::collections::HashMap;
use std::rc::Rc;

use litesmith_graph::{DType, Data, Model, Origin, Parameter, ParameterId, Regularizer};
use serde_json::Value;

use crate::error::FormatError;
use crate::keras::architecture::{Architecture, Layer};
use crate::keras::config::{Config, Refusal, numbers};
use crate::keras::hdf5::{Array, Hdf5};
use crate::keras::layers::{self, tfmot};
use crate::keras::parts::GroupNames;

/// A variable that a layer of some class has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its name: `kernel`, `bias`, …
    pub name: &'static str,
    /// Whether it is changed by its gradient (moving statistics are not).
    pub trainable: bool,
    /// The setting that holds its penalty.
    pub regularizer: &'static str,
    /// The part of the layer that holds it, for layers made of layers; else empty.
    pub part: &'static str,
}

impl Variable {
    /// A variable that training changes.
    pub const fn trained(name: &'static str, regularizer: &'static str) -> Variable {
        Variable { name, trainable: true, regularizer, part: "" }
    }

    /// A variable that training does not change by its gradient.
    pub const fn fixed(name: &'static str) -> Variable {
        Variable { name, trainable: false, regularizer: "", part: "" }
    }

    /// The same variable, held by a part of the layer.
    pub const fn of(self, part: &'static str) -> Variable {
        Variable { part, ..self }
    }
}

/// Variables that only training reads: the singular vector of spectral normalization; counters of TFMOT, and
/// what it has pruned by.
const UNUSED: [&str; 6] = ["mask", "optimizer_step", "pruning_step", "sn_u", "threshold", "vector_u"];

/// The parameter that holds each variable, by the layer's id and the variable's name.
pub(super) type Weights = HashMap<(usize, &'static str), ParameterId>;

/// What is asked of a file while the places of variables are found.
pub(super) trait Contents {
    /// Whether there is a group of this path.
    fn has_group(&self, path: &str) -> bool;

    /// Whether there is an array of this path.
    fn has_array(&self, path: &str) -> bool;
}

impl Contents for Hdf5 {
    fn has_group(&self, path: &str) -> bool {
        Hdf5::has_group(self, path)
    }

    fn has_array(&self, path: &str) -> bool {
        Hdf5::has_array(self, path)
    }
}

/// A variable of a layer and where it is stored.
pub(super) struct Slot<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// The variable.
    pub variable: Variable,
    /// The path of its array.
    pub path: String,
    /// Where a mask of zeros and ones may be that it is multiplied by: the first that has its shape.
    masks: Rc<[String]>,
}

impl<'a> Slot<'a> {
    fn new(layer: &'a Layer, variable: Variable, path: String) -> Slot<'a> {
        Slot { layer, variable, path, masks: Rc::default() }
    }
}

/// Adds all weights of a `.keras` file to `model`, in the order of `model.weights`.
///
/// # Errors
/// If an array is missing or malformed.
pub(super) fn from_weights_file(
    architecture: &Architecture,
    file: &Hdf5,
    model: &mut Model,
) -> Result<Weights, FormatError> {
    let mut slots = slots(architecture, file)?;
    slots.retain(|slot| !UNUSED.contains(&slot.variable.name));
    add(slots, file, model)
}

/// Where a file of Keras 3 with these contents has the variables of all layers, in the order of `model.weights`.
///
/// # Errors
/// If it holds more variables of a layer than the layer has.
pub(super) fn slots<'a>(
    architecture: &'a Architecture,
    file: &dyn Contents,
) -> Result<Vec<Slot<'a>>, FormatError> {
    let mut slots = Vec::new();
    walk(architecture, file, "", container(file), &mut slots)?;
    Ok(slots)
}

/// The group of all layers, which Keras 2.13 named differently.
pub(super) fn container(file: &dyn Contents) -> &'static str {
    let old = "_layer_checkpoint_dependencies";
    if file.has_group(old) { old } else { "layers" }
}

/// The masks that a layer's wrapper of TFMOT has pruned it by: behind as many weights, each with a threshold,
/// before a counter.
fn masks(file: &dyn Contents, group: &str) -> Vec<String> {
    let own = |index: usize| format!("{group}/vars/{index}");
    let mut count = 0;
    while file.has_array(&own(count)) {
        count += 1;
    }
    let pruned = count.saturating_sub(1) / 3;
    (0..pruned).map(|index| own(pruned + 2 * index)).collect()
}

fn walk<'a>(
    architecture: &'a Architecture,
    file: &dyn Contents,
    prefix: &str,
    container: &str,
    slots: &mut Vec<Slot<'a>>,
) -> Result<(), FormatError> {
    let mut names = GroupNames::default();
    for layer in architecture.layers.iter().filter(|layer| !layer.is_operation()) {
        let group = format!("{prefix}{container}/{}", names.next(&layer.class));
        walk_layer(layer, file, &group, container, slots)?;
    }
    Ok(())
}

/// The layers of a model and of the models in it, each with its group.
pub(super) fn groups<'a>(architecture: &'a Architecture, prefix: &str) -> Vec<(&'a Layer, String)> {
    let mut names = GroupNames::default();
    let mut found = Vec::new();
    for layer in architecture.layers.iter().filter(|layer| !layer.is_operation()) {
        let group = format!("{prefix}layers/{}", names.next(&layer.class));
        let inner = layer.model.as_ref().map(|inner| groups(inner, &format!("{group}/")));
        found.push((layer, group));
        found.extend(inner.into_iter().flatten());
    }
    found
}

/// Layers that keep a table beside the configuration, each with the group that names the table.
pub(super) fn with_tables(architecture: &Architecture) -> Vec<(usize, String)> {
    let tables = groups(architecture, "").into_iter().filter(|(layer, _)| layer.class == "IntegerLookup");
    tables.map(|(layer, group)| (layer.id, group)).collect()
}

fn walk_layer<'a>(
    layer: &'a Layer,
    file: &dyn Contents,
    group: &str,
    container: &str,
    slots: &mut Vec<Slot<'a>>,
) -> Result<(), FormatError> {
    if let Some(inner) = &layer.model {
        walk(inner, file, &format!("{group}/"), container, slots)?;
    }
    if let Some(wrapped) = tfmot::wrapped(layer) {
        return walk_quantized((layer, wrapped), file, group, container, slots);
    }
    let first = slots.len();
    for part in &layer.parts {
        walk_layer(&part.layer, file, &part_group(file, group, &part.group), container, slots)?;
    }
    if tfmot::is_pruned(layer) {
        let masks: Rc<[String]> = masks(file, group).into();
        slots[first..].iter_mut().for_each(|slot| slot.masks = Rc::clone(&masks));
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for variable in variables(layer)? {
        let index = counts.entry(variable.part).or_insert(0);
        let path = format!("{}/vars/{index}", part_group(file, group, variable.part));
        *index += 1;
        slots.push(Slot::new(layer, variable, path));
    }
    for (part, count) in counts {
        if file.has_array(&format!("{}/vars/{count}", part_group(file, group, part))) {
            let reason = format!("the file holds more variables than the {count} that it has");
            return Err(FormatError::broken(&layer.place, reason));
        }
    }
    Ok(())
}

/// TFMOT's wrapper has the weights that are rounded taken from their layer. It keeps: variables that training
/// changes, some of them twice; the weights that are rounded; its counter; its ranges.
fn walk_quantized<'a>(
    (wrapper, wrapped): (&'a Layer, &'a Layer),
    file: &dyn Contents,
    group: &str,
    container: &str,
    slots: &mut Vec<Slot<'a>>,
) -> Result<(), FormatError> {
    let own = |index: usize| format!("{group}/vars/{index}");
    let mut count = 0;
    while file.has_array(&own(count)) {
        count += 1;
    }
    let ranges = variables(wrapper)?;
    let rounded: Vec<&str> = tfmot::rounded_weights(wrapper);
    let Some(first) = count.checked_sub(rounded.len() + 1 + ranges.len()) else {
        let reason = format!("the file holds {count} variables, too few for its ranges");
        return Err(FormatError::broken(&wrapper.place, reason));
    };
    if rounded.is_empty() {
        walk_layer(wrapped, file, &format!("{group}/layer"), container, slots)?;
    } else {
        let mut kept = 0;
        for variable in variables(wrapped)? {
            let path = match rounded.iter().position(|name| *name == variable.name) {
                Some(place) => own(first + place),
                None => {
                    kept += 1;
                    format!("{group}/layer/vars/{}", kept - 1)
                }
            };
            slots.push(Slot::new(wrapped, variable, path));
        }
    }
    let first = first + rounded.len() + 1;
    let ranges = ranges.into_iter().zip(first..);
    slots.extend(ranges.map(|(variable, index)| Slot::new(wrapper, variable, own(index))));
    Ok(())
}

/// The group of a part of a layer: named by the attribute that holds it, which Keras 2 made private.
fn part_group(file: &dyn Contents, group: &str, part: &str) -> String {
    if part.is_empty() {
        return group.to_owned();
    }
    let private = format!("{group}/_{part}");
    if file.has_group(&private) { private } else { format!("{group}/{part}") }
}

/// Adds all weights of an `.h5` file to `model`.
///
/// # Errors
/// If a layer's group does not hold what the layer needs, or an array is malformed.
pub(super) fn from_legacy_file(
    architecture: &Architecture,
    file: &Hdf5,
    model: &mut Model,
) -> Result<Weights, FormatError> {
    let root = if file.has_group("model_weights") { "model_weights/" } else { "" };
    let mut slots = Vec::new();
    for layer in architecture.layers.iter().filter(|layer| !layer.is_operation()) {
        let mut wanted = Vec::new();
        leaves(layer, &mut wanted)?;
        if wanted.is_empty() {
            continue;
        }
        let group = format!("{root}{}", layer.name);
        let mut stored = file.texts(&group, "weight_names")?;
        let masks = stored.iter().filter(|name| tfmot::is_pruned(layer) && last_part(name) == "mask");
        let masks: Rc<[String]> = masks.map(|name| format!("{group}/{name}")).collect();
        stored.retain(|name| !UNUSED.contains(&last_part(name)));
        if stored.len() != wanted.len() {
            let (stored, wanted) = (stored.len(), wanted.len());
            return Err(FormatError::broken(
                &layer.place,
                format!("the file holds {stored} variables, its configuration has {wanted}"),
            ));
        }
        for ((layer, variable), name) in assigned(wanted, &stored) {
            let path = format!("{group}/{name}");
            slots.push(Slot { layer, variable, path, masks: Rc::clone(&masks) });
        }
    }
    add(slots, file, model)
}

/// The name of a variable out of the path of a legacy file.
fn last_part(path: &str) -> &str {
    let path = path.rsplit('/').next().unwrap_or(path);
    path.split(':').next().unwrap_or(path)
}

/// All variables of a layer and of the layers in it, in their order in an older file.
pub(super) fn leaves<'a>(
    layer: &'a Layer,
    found: &mut Vec<(&'a Layer, Variable)>,
) -> Result<(), FormatError> {
    if let Some(inner) = &layer.model {
        for layer in inner.layers.iter().filter(|layer| !layer.is_operation()) {
            leaves(layer, found)?;
        }
    }
    for part in &layer.parts {
        leaves(&part.layer, found)?;
    }
    let used = variables(layer)?.into_iter().filter(|variable| !UNUSED.contains(&variable.name));
    found.extend(used.map(|variable| (layer, variable)));
    Ok(())
}

/// By name where every variable finds just one stored name; else by place: what training changes
/// comes before what it does not, each in the order of the layers.
pub(super) fn assigned<'a, 's>(
    wanted: Vec<(&'a Layer, Variable)>,
    stored: &'s [String],
) -> Vec<((&'a Layer, Variable), &'s String)> {
    let by_name: Option<Vec<&String>> = wanted
        .iter()
        .map(|(layer, variable)| {
            let own = format!("{}/{}", layer.name, variable.name);
            let mut fitting = stored.iter().filter(|name| {
                let name = name.split(':').next().unwrap_or(name);
                name.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            });
            fitting.next().filter(|_| fitting.next().is_none())
        })
        .collect();
    if let Some(names) = by_name {
        return wanted.into_iter().zip(names).collect();
    }
    let (trained, fixed): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|(layer, variable)| layer.trainable && variable.trainable);
    trained.into_iter().chain(fixed).zip(stored).collect()
}

fn variables(layer: &Layer) -> Result<Vec<Variable>, FormatError> {
    let Some(kind) = layers::find(layer) else { return Ok(Vec::new()) };
    let found = match tfmot::wrapped(layer) {
        Some(_) => tfmot::ranges(layer),
        None => (kind.variables)(layer.config()),
    };
    match found {
        Ok(variables) => Ok(variables),
        // The same reason stops the building of the layer, which reports it.
        Err(Refusal::Unsupported(_) | Refusal::Listed) => Ok(Vec::new()),
        Err(Refusal::Error(error)) => Err(error),
    }
}

fn add(slots: Vec<Slot<'_>>, file: &Hdf5, model: &mut Model) -> Result<Weights, FormatError> {
    let mut weights = Weights::new();
    for Slot { layer, variable, path, masks } in slots {
        if !file.has_array(&path) {
            return Err(FormatError::broken(
                &layer.place,
                format!("its variable '{}' is missing from the file (looked for at '{path}')", variable.name),
            ));
        }
        let mut array = file.array(&path)?;
        if array.shape.len() > 1 {
            mask(&mut array, &masks, file)?;
        }
        let counter = variable.name == "count";
        if array.dtype != DType::F32 && !counter {
            let (name, dtype) = (variable.name, array.dtype);
            return Err(FormatError::broken(
                &layer.place,
                format!("its variable '{name}' is {dtype}, not f32"),
            ));
        }
        let id = model.add_parameter(Parameter {
            origin: Origin { layer: layer.path.clone(), variable: variable.name.to_owned(), path },
            dtype: array.dtype,
            shape: array.shape,
            data: array.data,
            trainable: layer.trainable && variable.trainable,
            regularizer: regularizer(layer.config(), variable.regularizer),
        });
        weights.insert((layer.id, variable.name), id);
    }
    Ok(weights)
}

/// Multiplies weights by the first mask of their shape, as TFMOT's wrapper does before it computes. Weights that
/// were saved behind an epoch are masked already.
fn mask(weights: &mut Array, masks: &[String], file: &Hdf5) -> Result<(), FormatError> {
    for path in masks {
        if !file.has_array(path) {
            continue;
        }
        let mask = file.array(path)?;
        if mask.shape != weights.shape || mask.dtype != DType::F32 || weights.dtype != DType::F32 {
            continue;
        }
        let values = weights.data.elements::<f32>().into_owned();
        let factors = mask.data.elements::<f32>();
        let masked: Vec<f32> =
            values.iter().zip(factors.iter()).map(|(value, factor)| value * factor).collect();
        if masked != values {
            weights.data = Data::from_vec(masked);
        }
        break;
    }
    Ok(())
}

/// Whether a setting describes a penalty that [`regularizer`] reads.
pub(super) fn is_sum_of_powers(value: &Value) -> bool {
    let name = value.get("class_name").unwrap_or(value).as_str();
    matches!(name, Some("L1" | "l1" | "L2" | "l2" | "L1L2" | "l1_l2" | "L1_L2"))
}

/// The penalty that a setting describes, if it is of L1 and L2.
fn regularizer(config: Config<'_>, key: &str) -> Option<Regularizer> {
    const DEFAULT: f32 = 0.01;
    let value = config.get(key)?;
    let (class, settings) = match value {
        Value::String(name) => (name.as_str(), None),
        Value::Object(object) => (object.get("class_name")?.as_str()?, object.get("config")),
        _ => return None,
    };
    let factor = |key: &str, default: f32| {
        let value = settings.and_then(|settings| settings.get(key)).and_then(numbers);
        value.and_then(|numbers| numbers.values.first().copied()).unwrap_or(default)
    };
    match class {
        "L1" | "l1" => Some(Regularizer { l1: factor("l1", DEFAULT), l2: 0.0 }),
        "L2" | "l2" => Some(Regularizer { l1: 0.0, l2: factor("l2", DEFAULT) }),
        "L1L2" | "l1_l2" | "L1_L2" => {
            let default = if settings.is_some() { 0.0 } else { DEFAULT };
            Some(Regularizer { l1: factor("l1", default), l2: factor("l2", default) })
        }
        _ => None,
    }
    .filter(|regularizer| regularizer.l1 != 0.0 || regularizer.l2 != 0.0)
}

/// A class name as Keras spells it in paths: `DepthwiseConv2D` is `depthwise_conv2d`.
///
/// Keras replaces, one after the other, `(.)([A-Z][a-z]+)` and `([a-z])([A-Z])` by `\1_\2`.
pub(super) fn snake_case(class: &str) -> String {
    // The name in Python is not the public one.
    let class = if class == "GroupQueryAttention" { "GroupedQueryAttention" } else { class };
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut words: Vec<char> = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        words.push(letters[at]);
        // A match takes the letter before, a capital and at least one small letter.
        let capital = letters.get(at + 1).is_some_and(char::is_ascii_uppercase);
        if capital && letters.get(at + 2).is_some_and(char::is_ascii_lowercase) {
            words.extend(['_', letters[at + 1]]);
            at += 2;
            while letters.get(at).is_some_and(char::is_ascii_lowercase) {
                words.push(letters[at]);
                at += 1;
            }
        } else {
            at += 1;
        }
    }
    let mut name = String::new();
    for (at, letter) in words.iter().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 && words[at - 1].is_ascii_lowercase() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_are_spelled_as_keras_does() {
        let names = [
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("ReLU", "re_lu"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("InputLayer", "input_layer"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("ELU", "elu"),
            ("LSTM", "lstm"),
            ("TFOpLambda", "tf_op_lambda"),
            ("SlicingOpLambda", "slicing_op_lambda"),
            ("UpSampling2D", "up_sampling2d"),
            ("GRUCell", "gru_cell"),
            ("RMSNormalization", "rms_normalization"),
            ("STFTSpectrogram", "stft_spectrogram"),
            ("GroupQueryAttention", "grouped_query_attention"),
        ];
        for (class, name) in names {
            assert_eq!(snake_case(class), name);
        }
    }

    #[test]
    fn penalties_come_in_every_spelling() {
        let read = |value: Value| {
            let object = json!({"kernel_regularizer": value});
            regularizer(Config::new(object.as_object().unwrap(), "layer"), "kernel_regularizer")
        };
        let l2 = |l2| Some(Regularizer { l1: 0.0, l2 });
        assert_eq!(read(json!({"class_name": "L2", "config": {"l2": 0.5}})), l2(0.5));
        assert_eq!(read(json!("l2")), l2(0.01));
        let both = json!({"class_name": "L1L2", "config": {"l1": 0.25, "l2": 0.5}});
        assert_eq!(read(both), Some(Regularizer { l1: 0.25, l2: 0.5 }));
        assert_eq!(read(json!(null)), None);
        assert_eq!(read(json!({"class_name": "OrthogonalRegularizer", "config": {}})), None);
    }
}
