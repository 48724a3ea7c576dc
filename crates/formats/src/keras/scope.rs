//! What a layer's builder works with: the layer's configuration, its arguments, its weights, and the
//! graph that grows.

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::infer::stated_facts;
use litesmith_graph::ops::{Cast, FakeQuant, Identity};
use litesmith_graph::{DType, Facts, Graph, Inputs, Model, Op, ParameterId, Tensor, TensorId, TensorKind};
use serde_json::{Map, Value};

use crate::emit::Emit;
use crate::error::{FormatError, Unsupported};
use crate::keras::architecture::Layer;
use crate::keras::build;
use crate::keras::config::{Built, Config, Numbers, Refusal, Version, unsupported};
use crate::keras::weights::Weights;

/// Most nodes of a graph: models inside models, each called twice, would double it at every level.
const MOST_NODES: usize = 1 << 19;
/// Most axes of a tensor: masks of axes are bits of a number.
const MOST_AXES: usize = 16;

/// An argument of a call with its tensors in place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// Several operands.
    List(Vec<Operand>),
    /// Named operands.
    Map(Vec<(String, Operand)>),
    /// Anything else.
    Value(Value),
}

impl Operand {
    /// All tensors inside, in order.
    pub fn tensors(&self, found: &mut Vec<TensorId>) {
        match self {
            Operand::Tensor(id) => found.push(*id),
            Operand::List(items) => items.iter().for_each(|item| item.tensors(found)),
            Operand::Map(items) => {
                let mut sorted: Vec<_> = items.iter().collect();
                sorted.sort_by_key(|(name, _)| name);
                sorted.into_iter().for_each(|(_, item)| item.tensors(found));
            }
            Operand::Value(_) => {}
        }
    }

    /// The plain value that it is, lists put together again; `None` with a tensor inside.
    pub fn value(&self) -> Option<Value> {
        match self {
            Operand::Tensor(_) => None,
            Operand::List(items) => {
                items.iter().map(Operand::value).collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Operand::Map(items) => {
                let pair = |(name, item): &(String, Operand)| Some((name.clone(), item.value()?));
                items.iter().map(pair).collect::<Option<_>>().map(Value::Object)
            }
            Operand::Value(value) => Some(value.clone()),
        }
    }
}

/// The model under construction.
pub(super) struct Target {
    /// The model; its main graph grows.
    pub model: Model,
    /// Where each variable of each layer is.
    pub weights: Weights,
    /// Which Keras wrote the file.
    pub version: Version,
    /// Tables that stand beside the configuration, by the layer's id.
    pub assets: HashMap<usize, Bytes>,
    /// What turned out not to be supported.
    pub unsupported: Vec<Unsupported>,
    /// The mask that a tensor carries.
    pub masks: HashMap<TensorId, TensorId>,
    /// What is known of each tensor.
    pub facts: Vec<Facts>,
    /// Elements of all constants together.
    pub constant_elements: usize,
    /// The tensor of each parameter that is used.
    pub parameters: HashMap<ParameterId, TensorId>,
    /// The layouts that a weight has been brought to.
    pub layouts: HashMap<TensorId, Vec<(Op, TensorId)>>,
    /// How the weights of a layer, by its id and the variable, are rounded.
    pub rounded: HashMap<(usize, &'static str), FakeQuant>,
    /// How what goes into a layer's activation, and what comes out, is rounded.
    pub rounded_activations: HashMap<usize, [Option<FakeQuant>; 2]>,
}

impl Target {
    /// A model with weights and an empty graph.
    pub fn new(
        mut model: Model,
        weights: Weights,
        version: Version,
        assets: HashMap<usize, Bytes>,
    ) -> Target {
        model.graphs = vec![Graph::new("main")];
        Target {
            model,
            weights,
            version,
            assets,
            unsupported: Vec::new(),
            facts: Vec::new(),
            masks: HashMap::new(),
            constant_elements: 0,
            parameters: HashMap::new(),
            layouts: HashMap::new(),
            rounded: HashMap::new(),
            rounded_activations: HashMap::new(),
        }
    }

    /// Adds a tensor.
    pub fn add(&mut self, tensor: Tensor) -> TensorId {
        self.facts.push(stated_facts(&self.model, &tensor));
        self.model.main_mut().add_tensor(tensor)
    }
}

/// One call of a layer while it is built.
pub(super) struct Scope<'a> {
    /// The model under construction.
    pub target: &'a mut Target,
    /// The layer.
    pub layer: &'a Layer,
    /// Arguments by place.
    pub arguments: Vec<Operand>,
    /// Arguments by name.
    pub keywords: Vec<(String, Operand)>,
    /// Which Keras wrote the file.
    pub version: Version,
    /// The mask that the call names, of its first argument.
    pub mask: Option<Operand>,
}

impl Emit for Scope<'_> {
    fn facts(&self, id: TensorId) -> &Facts {
        &self.target.facts[id.index()]
    }

    fn broken(&self, reason: impl Into<String>) -> FormatError {
        FormatError::broken(&self.layer.place, reason)
    }

    fn emit_several(&mut self, op: impl Into<Op>, inputs: Vec<Option<TensorId>>) -> Built<Vec<TensorId>> {
        let op = op.into();
        let name = format!("{}/{}", self.layer.path, op.name().to_ascii_lowercase());
        self.node(op, inputs, &name)
    }

    fn scalar(&mut self, name: &str, value: f32) -> Built<TensorId> {
        self.constant(name, Numbers { shape: Vec::new(), values: vec![value] })
    }

    fn laid_out(&mut self, weight: TensorId, op: impl Into<Op>) -> Built<TensorId> {
        let op = op.into();
        let known = self.target.layouts.get(&weight).into_iter().flatten().find(|(known, _)| *known == op);
        if let Some((_, tensor)) = known {
            return Ok(*tensor);
        }
        let name = format!("{}/{}", self.target.model.main()[weight].name, op.name().to_ascii_lowercase());
        let [tensor] = *self.node(op.clone(), vec![Some(weight)], &name)?.as_slice() else {
            return Err(self.broken("a layout has one output").into());
        };
        self.target.layouts.entry(weight).or_default().push((op, tensor));
        Ok(tensor)
    }
}

impl<'a> Scope<'a> {
    /// A call with these arguments. A mask among the names is kept apart.
    pub fn new(
        target: &'a mut Target,
        layer: &'a Layer,
        arguments: Vec<Operand>,
        mut keywords: Vec<(String, Operand)>,
    ) -> Scope<'a> {
        let place = keywords.iter().position(|(name, _)| name == "mask" && !layer.is_operation());
        let mask = place.map(|place| keywords.remove(place).1);
        let mask = mask.filter(|mask| *mask != Operand::Value(Value::Null));
        let version = target.version;
        Scope { target, layer, arguments, keywords, version, mask }
    }

    /// The layer's settings.
    pub fn config(&self) -> Config<'a> {
        self.layer.config()
    }

    // Inputs

    /// All tensors among the arguments, in order.
    pub fn tensors(&self) -> Vec<TensorId> {
        let mut found = Vec::new();
        self.arguments.iter().for_each(|argument| argument.tensors(&mut found));
        self.keywords.iter().for_each(|(_, argument)| argument.tensors(&mut found));
        found
    }

    /// The only input.
    pub fn input(&self) -> Built<TensorId> {
        match self.tensors().as_slice() {
            [input] => Ok(*input),
            [] => Err(self.broken("it is called without a tensor").into()),
            _ => unsupported!("it is called with several tensors and takes one"),
        }
    }

    /// The only input, as single-precision numbers.
    pub fn floats(&mut self) -> Built<TensorId> {
        let input = self.input()?;
        self.as_floats(input)
    }

    /// All inputs, as single-precision numbers.
    pub fn all_floats(&mut self) -> Built<Vec<TensorId>> {
        let inputs = self.tensors();
        inputs.into_iter().map(|input| self.as_floats(input)).collect()
    }

    /// A tensor as single-precision numbers: layers convert what they are given to their own type.
    pub fn as_floats(&mut self, input: TensorId) -> Built<TensorId> {
        if self.target.facts[input.index()].dtype == DType::F32 {
            return Ok(input);
        }
        self.emit(Cast { to: DType::F32 }, &[input])
    }

    /// The only input, as single-precision numbers of this many axes.
    pub fn ranked(&mut self, rank: usize) -> Built<TensorId> {
        let input = self.floats()?;
        if self.rank(input) != rank {
            let shape = self.shape(input);
            return Err(self.broken(format!("it takes {rank} axes, its input has shape {shape}")).into());
        }
        Ok(input)
    }

    /// The argument at a place or, failing that, of a name.
    pub fn operand(&self, place: usize, names: &[&str]) -> Option<&Operand> {
        self.arguments.get(place).or_else(|| {
            let named = |(name, _): &&(String, Operand)| names.contains(&name.as_str());
            self.keywords.iter().find(named).map(|(_, operand)| operand)
        })
    }

    /// An attribute: a setting of the layer or a keyword of the call.
    pub fn attribute(&self, name: &str) -> Option<Value> {
        let keyword = || {
            let (_, operand) = self.keywords.iter().find(|(known, _)| known == name)?;
            operand.value().filter(|value| !value.is_null())
        };
        self.config().get(name).cloned().or_else(keyword)
    }

    /// The named arguments that are plain values.
    pub fn plain_keywords(&self) -> Map<String, Value> {
        let plain = |(name, operand): &(String, Operand)| Some((name.clone(), operand.value()?));
        self.keywords.iter().filter_map(plain).collect()
    }

    // Nodes

    /// Adds a node and its outputs, under this name.
    pub fn node(&mut self, op: Op, inputs: Vec<Option<TensorId>>, name: &str) -> Built<Vec<TensorId>> {
        if self.target.model.main().nodes.len() >= MOST_NODES {
            return Err(self.broken("the model has too many layers").into());
        }
        let facts: Vec<Option<&Facts>> =
            inputs.iter().map(|input| input.map(|id| &self.target.facts[id.index()])).collect();
        let outputs = op.infer(Inputs(&facts)).map_err(|error| self.broken(error.to_string()))?;
        let mut ids = Vec::with_capacity(outputs.len());
        for (place, output) in outputs.into_iter().enumerate() {
            if output.shape.rank() > MOST_AXES {
                return Err(self.broken(format!("it gives {} axes", output.shape.rank())).into());
            }
            let name = if place == 0 { name.to_owned() } else { format!("{name}:{place}") };
            ids.push(self.target.add(Tensor::activation(&name, output.dtype, output.shape)));
        }
        self.target.model.main_mut().add_node(&self.layer.path, op, inputs, ids.clone());
        Ok(ids)
    }

    /// Gives the layer's name to the tensors that it computes. A layer that does nothing becomes
    /// the identity, so that its name is kept.
    pub fn finish(&mut self, outputs: &[TensorId], first_new: usize) -> Built<Vec<TensorId>> {
        let mut finished = Vec::with_capacity(outputs.len());
        for (place, output) in outputs.iter().enumerate() {
            let made_here = output.index() >= first_new
                && self.target.model.main()[*output].kind == TensorKind::Activation
                && !finished.contains(output);
            let output = if made_here { *output } else { self.emit(Identity {}, &[*output])? };
            let path = &self.layer.path;
            let name = if place == 0 { path.clone() } else { format!("{path}:{place}") };
            self.target.model.main_mut()[output].name = name;
            finished.push(output);
        }
        Ok(finished)
    }

    // Layers inside

    /// Applies a layer that this one wraps, or a model, to tensors.
    pub fn apply(&mut self, layer: &Layer, inputs: &[TensorId]) -> Built<Vec<TensorId>> {
        let arguments = match inputs {
            [one] => vec![Operand::Tensor(*one)],
            several => vec![Operand::List(several.iter().copied().map(Operand::Tensor).collect())],
        };
        let outputs = build::apply(self.target, layer, arguments, Vec::new())?;
        outputs.and_then(|outputs| outputs.into_iter().collect()).ok_or(Refusal::Listed)
    }
}
