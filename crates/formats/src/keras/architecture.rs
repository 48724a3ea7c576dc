//! The layers of a model and how they are connected, out of its configuration.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::keras::calls::{Argument, Call, CallReader, TensorRef};
use crate::keras::config::{Config, Version};
use crate::keras::parts::{self, Part};

/// Deepest nesting of models.
const DEEPEST: usize = 16;
/// Classes whose configuration holds layers.
const MODELS: [&str; 3] = ["Functional", "Model", "Sequential"];
/// A model: the outermost one or one that stands as a layer in another.
pub(super) struct Architecture {
    /// Its name.
    pub name: String,
    /// Its layers in the order of `model.layers` (operator nodes among them).
    pub layers: Vec<Layer>,
    /// Its inputs in order.
    pub inputs: Vec<TensorRef>,
    /// Its outputs in order, each with its key where Keras keeps them in a dictionary.
    pub outputs: Vec<(Option<String>, TensorRef)>,
    /// Calls (layer, which call of it) in an order in which each finds its arguments ready.
    pub order: Vec<(usize, usize)>,
}

/// A layer, an operator node or a nested model.
pub(super) struct Layer {
    /// Index among all layers of the file, nested ones included.
    pub id: usize,
    /// Its name in its model.
    pub name: String,
    /// Its name with those of the models around it, separated by `/`.
    pub path: String,
    /// What errors call it.
    pub place: String,
    /// Name of its class.
    pub class: String,
    /// The Python module of its class; legacy files do not say.
    pub module: Option<String>,
    /// The name under which a custom class is registered.
    pub registered: Option<String>,
    /// Whether it and every model around it may be trained.
    pub trainable: bool,
    settings: Map<String, Value>,
    /// Shape of its input when it was built, if the file says.
    pub built_for: Option<Value>,
    /// Its calls.
    pub calls: Vec<Call>,
    /// Its layers, if it is a model.
    pub model: Option<Box<Architecture>>,
    /// The layers that it wraps, if it is made of layers.
    pub parts: Vec<Part>,
}

impl Layer {
    /// Its settings.
    pub fn config(&self) -> Config<'_> {
        Config::new(&self.settings, &self.place)
    }

    /// Whether it is an operator node (`keras.ops`), which is no member of `model.layers`.
    pub fn is_operation(&self) -> bool {
        let module = self.module.as_deref().unwrap_or("");
        ["keras.src.ops", "keras.ops", "keras.src.activations"]
            .iter()
            .any(|prefix| module.starts_with(prefix))
    }

    /// The layers that it wraps in this attribute, in order.
    pub fn wrapped(&self, attribute: &str) -> impl Iterator<Item = &Layer> {
        let inside = |part: &&Part| part.group.split('/').next() == Some(attribute);
        self.parts.iter().filter(inside).map(|part| &part.layer)
    }
}

/// The architecture that a model's configuration describes.
///
/// # Errors
/// If it is malformed or its layers form a cycle.
pub(super) fn parse(model: Value, version: Version) -> Result<Architecture, FormatError> {
    let place = "model configuration";
    let mut model = object(model, place)?;
    let class = take_text(&mut model, "class_name").unwrap_or_default();
    if !MODELS.contains(&class.as_str()) {
        return Err(FormatError::Unsupported(vec![crate::error::Unsupported {
            layer: "model".to_owned(),
            operator: class,
            reason: "what a subclassed model computes is Python code, which the file does not hold; \
                     build it with the functional API and save it again"
                .to_owned(),
        }]));
    }
    let built_for = input_shape(&model);
    let config = model.remove("config").unwrap_or(Value::Null);
    let mut parser = Parser { version, count: 0 };
    parser.model(&class, config, built_for, "", true, 0)
}

struct Parser {
    version: Version,
    count: usize,
}

impl Parser {
    fn model(
        &mut self,
        class: &str,
        config: Value,
        built_for: Option<Value>,
        path: &str,
        trainable: bool,
        depth: usize,
    ) -> Result<Architecture, FormatError> {
        let place =
            if path.is_empty() { "model configuration".to_owned() } else { format!("model '{path}'") };
        if depth > DEEPEST {
            return Err(FormatError::broken(place, "models are nested too deeply"));
        }
        // Very old Sequential models are a bare list of layers.
        let mut config = match config {
            Value::Array(layers) => Map::from_iter([("layers".to_owned(), Value::Array(layers))]),
            other => object(other, &place)?,
        };
        let name = take_text(&mut config, "name").unwrap_or_else(|| "model".to_owned());
        let trainable = trainable && config.get("trainable").and_then(Value::as_bool).unwrap_or(true);
        let Some(Value::Array(layers)) = config.remove("layers") else {
            return Err(FormatError::broken(place, "it has no list of layers"));
        };
        let mut nodes = Vec::with_capacity(layers.len());
        let mut parsed = Vec::with_capacity(layers.len());
        for layer in layers {
            let (layer, inbound) = self.layer(layer, path, trainable, depth)?;
            parsed.push(layer);
            nodes.push(inbound);
        }
        if class == "Sequential" {
            let built_for = config.remove("build_input_shape").filter(|shape| !shape.is_null()).or(built_for);
            return self.sequential(name, parsed, built_for, path, &place);
        }
        functional(name, parsed, nodes, &config, &place, self.version)
    }

    fn layer(
        &mut self,
        layer: Value,
        outer: &str,
        trainable: bool,
        depth: usize,
    ) -> Result<(Layer, Value), FormatError> {
        let place = if outer.is_empty() { "layers".to_owned() } else { format!("layers of '{outer}'") };
        if depth > DEEPEST {
            return Err(FormatError::broken(place, "layers are nested too deeply"));
        }
        let mut layer = object(layer, &place)?;
        let class = take_text(&mut layer, "class_name")
            .ok_or_else(|| FormatError::broken(&place, "a layer has no class name"))?;
        let mut config = layer.remove("config").unwrap_or_else(|| Value::Object(Map::new()));
        let name = take_text(&mut layer, "name")
            .or_else(|| config.get("name").and_then(Value::as_str).map(str::to_owned))
            .ok_or_else(|| FormatError::broken(&place, format!("a layer of class {class} has no name")))?;
        let path = if outer.is_empty() { name.clone() } else { format!("{outer}/{name}") };
        let place = format!("layer '{path}' ({class})");
        let module = take_text(&mut layer, "module");
        let built_for = input_shape(&layer);
        let id = self.count;
        self.count += 1;
        let own = config.get("trainable").and_then(Value::as_bool).unwrap_or(true);
        let registered = take_text(&mut layer, "registered_name");
        let (class, registered) = without_package(class, registered, &config);
        let ours = module.as_deref().map_or(registered.is_none(), is_known_module);
        let model = if MODELS.contains(&class.as_str()) && ours {
            let config = std::mem::take(&mut config);
            Some(Box::new(self.model(&class, config, built_for.clone(), &path, trainable, depth + 1)?))
        } else {
            None
        };
        let mut settings = match config {
            Value::Object(settings) => settings,
            Value::Null => Map::new(),
            _ => return Err(FormatError::broken(place, "its configuration is no object")),
        };
        let trainable = trainable && own;
        let parts =
            if ours { self.parts(&class, &mut settings, &path, trainable, depth)? } else { Vec::new() };
        let layer_read = Layer {
            id,
            name,
            path,
            place,
            class,
            module,
            registered,
            trainable,
            settings,
            built_for,
            calls: Vec::new(),
            model,
            parts,
        };
        Ok((layer_read, layer.remove("inbound_nodes").unwrap_or(Value::Array(Vec::new()))))
    }

    /// Each layer reads what the one before gives; the input layer is made where it is left out.
    fn sequential(
        &mut self,
        name: String,
        mut layers: Vec<Layer>,
        built_for: Option<Value>,
        path: &str,
        place: &str,
    ) -> Result<Architecture, FormatError> {
        if layers.is_empty() {
            return Err(FormatError::broken(place, "it has no layers"));
        }
        if layers[0].class != "InputLayer" {
            let input = self.missing_input(&layers[0], built_for, path);
            layers.insert(0, input);
        }
        for (index, layer) in layers.iter_mut().enumerate().skip(1) {
            let previous = TensorRef { layer: index - 1, call: 0, output: 0 };
            layer.calls = vec![Call { arguments: vec![Argument::Tensor(previous)], keywords: Vec::new() }];
        }
        let last = TensorRef { layer: layers.len() - 1, call: 0, output: 0 };
        let order = (1..layers.len()).map(|index| (index, 0)).collect();
        let inputs = vec![TensorRef { layer: 0, call: 0, output: 0 }];
        Ok(Architecture { name, layers, inputs, outputs: vec![(None, last)], order })
    }

    fn missing_input(&mut self, first: &Layer, built_for: Option<Value>, path: &str) -> Layer {
        let inner = first.model.as_ref().and_then(|model| {
            let input = model.layers.get(model.inputs.first()?.layer)?;
            batch_shape(&input.settings)
        });
        let shape = batch_shape(&first.settings).or(built_for).or(inner).or_else(|| first.built_for.clone());
        let name = format!("{}_input", first.name);
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let dtype = first.model.is_none().then(|| first.settings.get("dtype").cloned()).flatten();
        // An integer table look-up states an integer type; anything else computes in float32.
        let dtype = dtype.filter(|dtype| dtype.as_str().is_some_and(|name| name.starts_with("int")));
        let settings = Map::from_iter([
            ("batch_shape".to_owned(), shape.unwrap_or(Value::Null)),
            ("dtype".to_owned(), dtype.unwrap_or_else(|| "float32".into())),
        ]);
        let id = self.count;
        self.count += 1;
        Layer {
            id,
            place: format!("layer '{path}' (InputLayer)"),
            name,
            path,
            class: "InputLayer".to_owned(),
            module: None,
            registered: None,
            trainable: true,
            settings,
            built_for: None,
            calls: Vec::new(),
            model: None,
            parts: Vec::new(),
        }
    }
    /// The layers that a layer of this class wraps, taken out of its settings.
    fn parts(
        &mut self,
        class: &str,
        settings: &mut Map<String, Value>,
        path: &str,
        trainable: bool,
        depth: usize,
    ) -> Result<Vec<Part>, FormatError> {
        let mut parts = Vec::new();
        for (group, layer) in parts::taken(class, settings, &format!("layer '{path}' ({class})"))? {
            let (layer, _) = self.layer(layer, path, trainable, depth + 1)?;
            parts.push(Part { group, layer });
        }
        Ok(parts)
    }
}

fn functional(
    name: String,
    mut layers: Vec<Layer>,
    nodes: Vec<Value>,
    config: &Map<String, Value>,
    place: &str,
    version: Version,
) -> Result<Architecture, FormatError> {
    let mut names = HashMap::new();
    for (index, layer) in layers.iter().enumerate() {
        if names.insert(layer.name.clone(), index).is_some() {
            return Err(FormatError::broken(place, format!("two layers are named '{}'", layer.name)));
        }
    }
    for (layer, nodes) in layers.iter_mut().zip(&nodes) {
        layer.calls = CallReader { layers: &names, place: &layer.place }.calls(nodes)?;
    }
    let reader = CallReader { layers: &names, place };
    let missing = || FormatError::broken(place, "its inputs or outputs are not stated");
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    references(&reader, config.get("input_layers").ok_or_else(missing)?, None, 0, &mut inputs)?;
    references(&reader, config.get("output_layers").ok_or_else(missing)?, None, 0, &mut outputs)?;
    number_calls_from_zero(&mut layers, &mut outputs, version);
    let inputs = inputs.into_iter().map(|(_, reference)| reference).collect();
    let order = call_order(&mut layers, &outputs, place)?;
    Ok(Architecture { name, layers, inputs, outputs, order })
}

/// References in lists and dictionaries, flattened in Keras' order: dictionaries by key.
fn references(
    reader: &CallReader<'_>,
    value: &Value,
    key: Option<&str>,
    depth: usize,
    found: &mut Vec<(Option<String>, TensorRef)>,
) -> Result<(), FormatError> {
    match value {
        _ if depth > DEEPEST => Err(FormatError::broken(reader.place, "outputs are nested too deeply")),
        Value::Array(items) if !items.first().is_some_and(Value::is_string) => {
            items.iter().try_for_each(|item| references(reader, item, key, depth + 1, found))
        }
        Value::Object(items) => {
            let mut sorted: Vec<_> = items.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            sorted
                .into_iter()
                .try_for_each(|(name, item)| references(reader, item, Some(name), depth + 1, found))
        }
        leaf => {
            found.push((key.map(str::to_owned), reader.reference(leaf)?));
            Ok(())
        }
    }
}

/// A model is called once when it is made, before it is a layer of another. Keras 2 counts that
/// call; Keras 3 does so only where it names outputs, and not for Sequential.
fn number_calls_from_zero(
    layers: &mut [Layer],
    outputs: &mut [(Option<String>, TensorRef)],
    version: Version,
) {
    let first = |layer: &Layer, among_outputs: bool| -> usize {
        match (&layer.model, version) {
            (None, _) => 0,
            (Some(_), Version::Keras2) => 1,
            (Some(_), Version::Keras3) => usize::from(among_outputs && layer.class != "Sequential"),
        }
    };
    let first_in_calls: Vec<usize> = layers.iter().map(|layer| first(layer, false)).collect();
    let first_in_outputs: Vec<usize> = layers.iter().map(|layer| first(layer, true)).collect();
    for call in layers.iter_mut().flat_map(|layer| &mut layer.calls) {
        call.for_each_tensor(&mut |tensor| {
            tensor.call = tensor.call.saturating_sub(first_in_calls[tensor.layer]);
        });
    }
    for (_, tensor) in outputs {
        tensor.call = tensor.call.saturating_sub(first_in_outputs[tensor.layer]);
    }
}

/// Calls ordered so that each stands behind those whose outputs it reads, otherwise as in the file.
fn call_order(
    layers: &mut [Layer],
    outputs: &[(Option<String>, TensorRef)],
    place: &str,
) -> Result<Vec<(usize, usize)>, FormatError> {
    let counts: Vec<usize> =
        layers.iter().map(|layer| if layer.class == "InputLayer" { 1 } else { layer.calls.len() }).collect();
    let exists = |tensor: &TensorRef| tensor.call < counts[tensor.layer];
    if let Some((_, tensor)) = outputs.iter().find(|(_, tensor)| !exists(tensor)) {
        let name = &layers[tensor.layer].name;
        return Err(FormatError::broken(
            place,
            format!("an output names a call of '{name}' that is not there"),
        ));
    }
    let mut readers: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
    let mut waiting: HashMap<(usize, usize), usize> = HashMap::new();
    let mut ready = BTreeSet::new();
    for (index, layer) in layers.iter_mut().enumerate() {
        let place = &layer.place;
        for (number, call) in layer.calls.iter_mut().enumerate() {
            let mut needed = BTreeSet::new();
            call.for_each_tensor(&mut |tensor| {
                needed.insert((tensor.layer, tensor.call));
            });
            if let Some((_, call)) = needed.iter().find(|(layer, call)| *call >= counts[*layer]) {
                return Err(FormatError::broken(
                    place,
                    format!("it reads call {call} of a layer, which is not there"),
                ));
            }
            for source in &needed {
                readers.entry(*source).or_default().push((index, number));
            }
            waiting.insert((index, number), needed.len());
            if needed.is_empty() {
                ready.insert((index, number));
            }
        }
        if layer.class == "InputLayer" && layer.calls.is_empty() {
            ready.insert((index, 0));
        }
    }
    let mut order = Vec::new();
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for reader in readers.remove(&next).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(reader);
                }
            }
        }
    }
    let computed = order.iter().filter(|key| waiting.contains_key(*key)).count();
    if computed != waiting.len() {
        return Err(FormatError::broken(place, "its layers form a cycle"));
    }
    order.retain(|(layer, _)| layers[*layer].class != "InputLayer");
    Ok(order)
}

/// Legacy files give the layer that Inception-ResNet defines the name under which it is registered,
/// which is that of a user's class too: it is told by its setting.
fn without_package(class: String, registered: Option<String>, config: &Value) -> (String, Option<String>) {
    let scaled = config.get("scale").is_some_and(Value::is_number);
    match class.strip_prefix("Custom>") {
        Some("CustomScaleLayer") if scaled && registered.is_none() => ("CustomScaleLayer".to_owned(), None),
        _ => (class, registered),
    }
}

/// Whether a Python module is part of Keras.
fn is_keras_module(module: &str) -> bool {
    let packages = ["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "keras_core"];
    packages.iter().any(|package| {
        module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether a Python module is part of Keras or of its toolkit for pruning and quantization (TFMOT).
pub(super) fn is_known_module(module: &str) -> bool {
    is_keras_module(module) || module.starts_with("tensorflow_model_optimization.python.core.")
}

/// The shape that an input layer, or an old first layer, states.
pub(super) fn batch_shape(settings: &Map<String, Value>) -> Option<Value> {
    ["batch_shape", "batch_input_shape"]
        .iter()
        .find_map(|key| settings.get(*key).filter(|shape| shape.is_array()).cloned())
}

fn input_shape(layer: &Map<String, Value>) -> Option<Value> {
    layer
        .get("build_config")
        .and_then(|build| build.get("input_shape"))
        .filter(|shape| shape.is_array())
        .cloned()
}

fn object(value: Value, place: &str) -> Result<Map<String, Value>, FormatError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(FormatError::broken(place, "it is no object")),
    }
}

fn take_text(object: &mut Map<String, Value>, key: &str) -> Option<String> {
    match object.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}
