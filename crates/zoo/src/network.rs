//! A network as a list of Keras layers that call each other, with the shapes of what they give.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::initializer::Initializer;

/// A network of Keras layers with one input and one output.
#[derive(Clone, Debug)]
pub struct Network {
    name: String,
    layers: Vec<Layer>,
    /// How many layers of each class have been named by Keras' counter.
    counted: HashMap<String, usize>,
}

/// One layer of a network and its only call.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name, as Keras gives it.
    pub name: String,
    /// Its Keras class.
    pub class: &'static str,
    /// What its output has but for the batch: height, width and channels, or units.
    pub shape: Vec<usize>,
    /// Its weights, in Keras' order.
    pub variables: Vec<Variable>,
    /// Multiply-accumulates for one sample, without those of `inner`.
    pub macs: u64,
    /// The layers of a `Sequential`, each on what the one before gives; none for other classes.
    pub inner: Vec<Layer>,
    module: &'static str,
    settings: Map<String, Value>,
    call: Call,
}

impl Layer {
    fn parameters(&self) -> usize {
        let own: usize = self.variables.iter().map(Variable::count).sum();
        own + self.inner.iter().map(Layer::parameters).sum::<usize>()
    }

    fn all_macs(&self) -> u64 {
        self.macs + self.inner.iter().map(Layer::all_macs).sum::<u64>()
    }

    /// The class and settings, as Keras describes a layer before its calls. `input` is what it was built for,
    /// the batch first.
    fn described(&self, input: Option<Value>) -> Map<String, Value> {
        let mut settings = Map::from_iter([("name".to_owned(), json!(self.name))]);
        settings.extend(self.settings.clone());
        if !self.inner.is_empty() {
            settings.insert("layers".to_owned(), self.sequence(input.as_ref()));
            settings.insert("build_input_shape".to_owned(), input.clone().unwrap_or_default());
        }
        let registered = if self.module.starts_with("keras.src") { json!(self.class) } else { Value::Null };
        let mut described = Map::from_iter([
            ("module".to_owned(), json!(self.module)),
            ("class_name".to_owned(), json!(self.class)),
            ("config".to_owned(), Value::Object(settings)),
            ("registered_name".to_owned(), registered),
        ]);
        if let Some(input) = input.filter(|_| !self.variables.is_empty() || !self.inner.is_empty()) {
            described.insert("build_config".to_owned(), json!({ "input_shape": input }));
        }
        described
    }

    fn sequence(&self, input: Option<&Value>) -> Value {
        let mut shape = input.cloned().unwrap_or_default();
        let settings = json!({ "name": "input_layer", "batch_shape": shape, "dtype": "float32", "sparse": false, "ragged": false });
        let first = json!({
            "module": "keras.layers", "class_name": "InputLayer", "config": settings, "registered_name": null,
        });
        let mut layers = vec![first];
        for layer in &self.inner {
            layers.push(Value::Object(layer.described(Some(shape))));
            shape = batched(&layer.shape);
        }
        Value::Array(layers)
    }
}

/// A weight of a layer.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name in Keras: `kernel`, `gamma`, …
    pub name: &'static str,
    /// Length of each axis, in Keras' layout.
    pub shape: Vec<usize>,
    /// What it holds before training.
    pub initializer: Initializer,
}

impl Variable {
    pub(crate) fn new(name: &'static str, shape: &[usize], initializer: Initializer) -> Variable {
        Variable { name, shape: shape.to_vec(), initializer }
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a layer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tensor(usize);

/// The name of a layer: stated, or `class_2` by Keras' counter of its class.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    Given(String),
    Counted,
}

impl From<&str> for Name {
    fn from(name: &str) -> Name {
        Name::Given(name.to_owned())
    }
}

impl From<String> for Name {
    fn from(name: String) -> Name {
        Name::Given(name)
    }
}

/// How a layer is called.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// An input, which is not called.
    None,
    /// On one tensor.
    One(Tensor),
    /// On a list of tensors.
    List(Vec<Tensor>),
    /// As an operation: on a tensor and a number.
    WithNumber(Tensor, f64),
    /// As an operation: on two tensors.
    Two(Tensor, Tensor),
}

impl Call {
    fn tensors(&self) -> Vec<Tensor> {
        match self {
            Call::None => Vec::new(),
            Call::One(tensor) | Call::WithNumber(tensor, _) => vec![*tensor],
            Call::List(tensors) => tensors.clone(),
            Call::Two(left, right) => vec![*left, *right],
        }
    }

    fn for_each(&mut self, change: &mut impl FnMut(&mut Tensor)) {
        match self {
            Call::None => {}
            Call::One(tensor) | Call::WithNumber(tensor, _) => change(tensor),
            Call::List(tensors) => tensors.iter_mut().for_each(change),
            Call::Two(left, right) => {
                change(left);
                change(right);
            }
        }
    }
}

/// A layer that is about to be added.
#[derive(Debug)]
pub(crate) struct New {
    pub class: &'static str,
    pub module: &'static str,
    pub settings: Value,
    pub shape: Vec<usize>,
    pub variables: Vec<Variable>,
    pub macs: u64,
    pub inner: Vec<Layer>,
}

impl New {
    /// A layer of `keras.layers` without weights or products.
    pub fn plain(class: &'static str, settings: Value, shape: Vec<usize>) -> New {
        New {
            class,
            module: "keras.layers",
            settings,
            shape,
            variables: Vec::new(),
            macs: 0,
            inner: Vec::new(),
        }
    }
}

impl Network {
    /// A network with no layers.
    pub(crate) fn new(name: &str) -> Network {
        Network { name: name.to_owned(), layers: Vec::new(), counted: HashMap::new() }
    }

    /// The layers, each behind those that it reads.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Numbers that the weights hold, moving statistics among them, as `model.count_params()` counts.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// Multiply-accumulates for one sample: products of convolutions and dense layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(Layer::all_macs).sum()
    }

    /// The network that gives `output`, its layers in the order in which Keras lists those of a functional model:
    /// by their distance from the output, the farthest first; at the same distance by who is met first when the
    /// network is walked from the output towards the input.
    pub(crate) fn finish(mut self, output: Tensor) -> Network {
        let (met, first_to_last) = self.walk(output);
        let mut distance = vec![0usize; self.layers.len()];
        for layer in first_to_last.iter().rev() {
            for Tensor(source) in self.layers[*layer].call.tensors() {
                distance[source] = distance[source].max(distance[*layer] + 1);
            }
        }
        let mut order = first_to_last;
        order.sort_by_key(|layer| (std::cmp::Reverse(distance[*layer]), met[*layer]));
        let mut place = vec![0; self.layers.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut layers: Vec<Option<Layer>> = self.layers.into_iter().map(Some).collect();
        self.layers = order.iter().filter_map(|old| layers[*old].take()).collect();
        for layer in &mut self.layers {
            layer.call.for_each(&mut |tensor| tensor.0 = place[tensor.0]);
        }
        self
    }

    /// Which layers the output needs: when each was met first, and an order in which each stands behind those
    /// that it reads.
    fn walk(&self, output: Tensor) -> (Vec<usize>, Vec<usize>) {
        let mut met = vec![usize::MAX; self.layers.len()];
        let mut count = 0;
        let mut finished = Vec::new();
        // A layer, and how many of its sources have been walked.
        let mut open = vec![(output.0, 0)];
        while let Some((layer, walked)) = open.pop() {
            if met[layer] == usize::MAX {
                met[layer] = count;
                count += 1;
            }
            match self.layers[layer].call.tensors().get(walked) {
                Some(Tensor(source)) => {
                    open.push((layer, walked + 1));
                    if met[*source] == usize::MAX {
                        open.push((*source, 0));
                    }
                }
                None => finished.push(layer),
            }
        }
        (met, finished)
    }

    /// The network without the softmax at its end, as Keras builds it where `classifier_activation` is `None`.
    pub(crate) fn without_softmax(mut self) -> Network {
        if let Some(activation) =
            self.layers.last_mut().and_then(|layer| layer.settings.get_mut("activation"))
        {
            *activation = json!("linear");
        }
        self
    }

    /// What a tensor has but for the batch.
    pub(crate) fn shape(&self, tensor: Tensor) -> &[usize] {
        &self.layers[tensor.0].shape
    }

    /// The last axis of a tensor.
    pub(crate) fn channels(&self, tensor: Tensor) -> usize {
        self.shape(tensor).last().copied().unwrap_or(1)
    }

    /// Adds a layer behind those that its call reads.
    pub(crate) fn push(&mut self, name: impl Into<Name>, new: New, call: Call) -> Tensor {
        let name = match name.into() {
            Name::Given(name) => name,
            Name::Counted => self.counted_name(new.class),
        };
        let settings = match new.settings {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        let New { class, module, shape, variables, macs, inner, .. } = new;
        self.layers.push(Layer { name, class, shape, variables, macs, inner, module, settings, call });
        Tensor(self.layers.len() - 1)
    }

    /// Keras' `auto_name`: the class in snake case, numbered from the second on.
    fn counted_name(&mut self, class: &str) -> String {
        let base = snake_case(class);
        let count = self.counted.entry(base.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { base } else { format!("{base}_{}", *count - 1) }
    }

    /// The configuration of a functional model of Keras 3, as `config.json` of a `.keras` file holds it.
    pub fn configuration(&self) -> Value {
        let layers: Vec<Value> = self.layers.iter().map(|layer| self.layer(layer)).collect();
        let reference = |index: usize| json!([self.layers[index].name, 0, 0]);
        json!({
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": {
                "name": self.name,
                "trainable": true,
                "layers": layers,
                "input_layers": reference(0),
                "output_layers": reference(self.layers.len() - 1),
            },
            "registered_name": "Functional",
        })
    }

    fn layer(&self, layer: &Layer) -> Value {
        let input = match layer.call.tensors()[..] {
            [only] => Some(batched(self.shape(only))),
            _ => None,
        };
        let mut described = layer.described(input);
        described.insert("name".to_owned(), json!(layer.name));
        described.insert("inbound_nodes".to_owned(), self.nodes(&layer.call));
        Value::Object(described)
    }

    fn nodes(&self, call: &Call) -> Value {
        let arguments = match call {
            Call::None => return json!([]),
            Call::One(tensor) => json!([self.tensor(*tensor)]),
            Call::List(tensors) => {
                let list: Vec<Value> = tensors.iter().map(|tensor| self.tensor(*tensor)).collect();
                json!([list])
            }
            Call::WithNumber(tensor, number) => json!([self.tensor(*tensor), number]),
            Call::Two(left, right) => json!([self.tensor(*left), self.tensor(*right)]),
        };
        json!([{ "args": arguments, "kwargs": {} }])
    }

    fn tensor(&self, tensor: Tensor) -> Value {
        let history = json!([self.layers[tensor.0].name, 0, 0]);
        json!({
            "class_name": "__keras_tensor__",
            "config": { "shape": batched(self.shape(tensor)), "dtype": "float32", "keras_history": history },
        })
    }
}

/// A shape with a free batch before it.
fn batched(shape: &[usize]) -> Value {
    std::iter::once(Value::Null).chain(shape.iter().map(|size| json!(size))).collect()
}

/// `BatchNormalization` as `batch_normalization`, `Conv2D` as `conv2d`, `ReLU` as `re_lu`.
fn snake_case(class: &str) -> String {
    let mut snake = String::new();
    let letters: Vec<char> = class.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let starts_word = letter.is_ascii_uppercase()
            && index > 0
            && (letters[index - 1].is_ascii_lowercase()
                || letters[index - 1].is_ascii_uppercase()
                    && letters.get(index + 1).is_some_and(char::is_ascii_lowercase));
        if starts_word {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_are_spelled_as_keras_does() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("ReLU", "re_lu"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("Add", "add"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
