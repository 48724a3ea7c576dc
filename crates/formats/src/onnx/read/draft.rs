//! A graph under construction, and what the graphs of a model share.

use std::cell::Cell;
use std::collections::HashMap;

use litesmith_graph::infer::stated_facts;
use litesmith_graph::model::{Origin, Parameter};
use litesmith_graph::{DType, Facts, Graph, GraphId, Model, Op, ParameterId, Shape, Tensor, TensorId};

use super::external::External;
use super::tensor::Constant;
use crate::error::{FormatError, Unsupported};

/// Least elements of a constant that is a weight and not a number in a formula.
const LEAST_WEIGHT: usize = 2;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A constant of the file.
    Weight(usize),
    /// A list of tensors.
    Sequence(Vec<TensorId>),
    /// Nothing, since something before it is not supported; that has been listed.
    Refused,
}

/// Values by their names.
pub(super) type Environment<'a> = HashMap<&'a str, Bound>;

/// A constant of the file.
pub(super) struct Weight {
    name: String,
    constant: Constant,
    parameter: Option<ParameterId>,
    trainable: bool,
}

/// What is shared by all graphs of a model under construction.
pub(super) struct Target<'a> {
    /// The model; its first graph is put in last.
    pub model: Model,
    /// Constants of the file.
    pub weights: Vec<Weight>,
    /// Files that constants stand in.
    pub external: &'a External,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// What turned out not to be supported.
    pub unsupported: Vec<Unsupported>,
    /// How deep the graph that is translated lies in others.
    pub depth: usize,
    /// Elements of constants that were made of one value each.
    pub filled: usize,
    /// Elements of constants that were asked for.
    pub made: Cell<usize>,
    /// Nodes that have been translated, those in loops and branches as often as they were.
    pub translated: usize,
}

impl<'a> Target<'a> {
    pub fn new(external: &'a External, opset: i64) -> Target<'a> {
        let model = Model { graphs: vec![Graph::new("main")], ..Model::default() };
        Target {
            model,
            weights: Vec::new(),
            external,
            opset,
            unsupported: Vec::new(),
            depth: 0,
            filled: 0,
            made: Cell::new(0),
            translated: 0,
        }
    }

    /// Notes something that is not supported, once.
    pub fn refuse(&mut self, item: Unsupported) {
        if !self.unsupported.contains(&item) {
            self.unsupported.push(item);
        }
    }

    /// Adds a constant of the file.
    pub fn add_weight(&mut self, name: &str, constant: Constant) -> Bound {
        self.weights.push(Weight { name: name.to_owned(), constant, parameter: None, trainable: true });
        Bound::Weight(self.weights.len() - 1)
    }

    /// Marks a constant as one that training leaves as it is, and gives its parameter, if it is one by now.
    pub fn freeze(&mut self, index: usize) -> Option<ParameterId> {
        let weight = self.weights.get_mut(index)?;
        weight.trainable = false;
        weight.parameter
    }

    /// Adds a finished graph to the model.
    pub fn add_graph(&mut self, mut draft: Draft) -> GraphId {
        draft.graph.remove_dead();
        self.model.graphs.push(draft.graph);
        GraphId(self.model.graphs.len() as u32 - 1)
    }

    /// The tensor of a constant in a graph. Real numbers, if there are several, are weights.
    pub fn weight(&mut self, draft: &mut Draft, index: usize) -> Result<TensorId, FormatError> {
        if let Some(tensor) = draft.weights.get(&index) {
            return Ok(*tensor);
        }
        let Some(Weight { name, constant, parameter, trainable }) = self.weights.get_mut(index) else {
            return Err(FormatError::broken("the graph", "a constant is missing"));
        };
        let Constant { dtype, shape, data } = constant;
        let elements = shape.iter().product::<usize>();
        let tensor = if *dtype == DType::F32 && elements >= LEAST_WEIGHT {
            let model = &mut self.model;
            let id = *parameter.get_or_insert_with(|| {
                let (layer, variable) = name.rsplit_once(['.', '/']).unwrap_or(("", name));
                let [layer, variable] = [layer, variable].map(str::to_owned);
                let (origin, trainable) = (Origin { layer, variable, path: name.clone() }, *trainable);
                let (dtype, shape, data) = (*dtype, shape.clone(), data.clone());
                model.add_parameter(Parameter { origin, dtype, shape, data, trainable, regularizer: None })
            });
            Tensor::parameter(name, *dtype, Shape::fixed(shape), id)
        } else {
            Tensor::constant(name, *dtype, Shape::fixed(shape), data.clone())
        };
        let tensor = draft.add(&self.model, tensor);
        draft.weights.insert(index, tensor);
        Ok(tensor)
    }
}

/// A graph that grows, and what is known of its tensors.
pub(super) struct Draft {
    /// The graph.
    pub graph: Graph,
    /// What is known of each tensor.
    pub facts: Vec<Facts>,
    /// Whether a tensor depends on constants alone.
    pub fixed: Vec<bool>,
    /// The tensor of each constant of the file that is used.
    pub weights: HashMap<usize, TensorId>,
    /// What nodes of fixed tensors have been made of: the same node twice is one.
    pub layouts: HashMap<TensorId, Vec<(Op, TensorId)>>,
    /// For a tensor that integers were rounded to and back, what it was before.
    pub quantized: HashMap<TensorId, TensorId>,
    /// How often a name has been asked for.
    names: HashMap<String, usize>,
}

impl Draft {
    /// An empty graph.
    pub fn new(name: &str) -> Draft {
        Draft {
            graph: Graph::new(name),
            facts: Vec::new(),
            fixed: Vec::new(),
            weights: HashMap::new(),
            layouts: HashMap::new(),
            quantized: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Adds a tensor.
    pub fn add(&mut self, model: &Model, tensor: Tensor) -> TensorId {
        self.facts.push(stated_facts(model, &tensor));
        self.fixed.push(tensor.is_fixed());
        self.graph.add_tensor(tensor)
    }

    /// A name that no other tensor got here.
    pub fn unique(&mut self, name: &str) -> String {
        let count = self.names.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name}_{}", *count - 1) }
    }
}
