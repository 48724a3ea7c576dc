//! Models: graphs, their signatures, weights with origin, states and metadata.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::dtype::DType;
use crate::graph::Graph;
use crate::shape::Shape;
use crate::tensor::{Tensor, TensorKind};

/// Index of a graph in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct GraphId(pub u32);

/// Index of a parameter in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub u32);

/// Index of a state in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u32);

/// Everything that a model file says.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Model {
    /// The first is the main graph; others are bodies that operators call.
    pub graphs: Vec<Graph>,
    /// Named entry points.
    pub signatures: Vec<Signature>,
    /// Weights with their origin.
    pub parameters: Vec<Parameter>,
    /// Variables that survive from one run to the next.
    pub states: Vec<State>,
    /// Named bytes that the source carries along.
    pub metadata: Vec<Metadata>,
    /// What layers do only while they are trained, and the graph does not say: noise, augmentation,
    /// penalties on activations.
    pub training_only: Vec<TrainingOnly>,
    /// What the model was read from.
    pub source: Source,
}

/// What a layer does only while it is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingOnly {
    /// The layer's name.
    pub layer: String,
    /// Its class in the source.
    pub class: String,
    /// What it does: `it adds noise`.
    pub what: String,
}

/// A named entry point: which inputs and outputs of a graph have which names. They are told by their
/// place among the graph's inputs and outputs, which rewrites keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its key, such as `serving_default`.
    pub key: String,
    /// The graph that it enters.
    pub graph: GraphId,
    /// Names of inputs, each with its place in [`Graph::inputs`].
    pub inputs: Vec<(String, usize)>,
    /// Names of outputs, each with its place in [`Graph::outputs`].
    pub outputs: Vec<(String, usize)>,
}

/// A weight of the source model in the source's own layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The layer and variable that it is.
    pub origin: Origin,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Data,
    /// Whether training changes it by its gradient.
    pub trainable: bool,
    /// The penalty on its size while training.
    pub regularizer: Option<Regularizer>,
}

/// Where a parameter stands in the source model.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The layer's name, nested models separated by `/`.
    pub layer: String,
    /// The variable's name in its layer: `kernel`, `bias`, `gamma`, …
    pub variable: String,
    /// Where the source file keeps it, in that format's terms.
    pub path: String,
}

/// `l1 * sum |w| + l2 * sum w^2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// Weight of the absolute values.
    pub l1: f32,
    /// Weight of the squares.
    pub l2: f32,
}

/// A variable that survives from one run to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
    /// Its elements before the first run; zero where absent.
    pub initial: Option<Data>,
}

/// Named bytes that the source carries along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Their name.
    pub name: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// A file format that models are read from or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Made in memory.
    #[default]
    Memory,
    /// Keras 3 zip file.
    Keras,
    /// Keras HDF5 file.
    H5,
    /// TensorFlow SavedModel.
    SavedModel,
    /// ONNX.
    Onnx,
    /// TFLite flatbuffer.
    Tflite,
}

/// What the model was read from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Source {
    /// The file format.
    pub format: Format,
    /// The program that wrote it, as the file says (`Keras 3.15.1`).
    pub producer: String,
    /// A description that the file holds.
    pub description: String,
}

impl Model {
    /// A model of one graph.
    #[must_use]
    pub fn new(graph: Graph) -> Model {
        Model { graphs: vec![graph], ..Model::default() }
    }

    /// The main graph.
    ///
    /// # Panics
    /// If the model has no graph, which [`validate`](crate::validate()) refuses.
    #[must_use]
    pub fn main(&self) -> &Graph {
        &self.graphs[0]
    }

    /// The main graph.
    ///
    /// # Panics
    /// If the model has no graph, which [`validate`](crate::validate()) refuses.
    pub fn main_mut(&mut self) -> &mut Graph {
        &mut self.graphs[0]
    }

    /// Adds a parameter.
    pub fn add_parameter(&mut self, parameter: Parameter) -> ParameterId {
        self.parameters.push(parameter);
        ParameterId(self.parameters.len() as u32 - 1)
    }

    /// A parameter by id.
    #[must_use]
    pub fn parameter(&self, id: ParameterId) -> Option<&Parameter> {
        self.parameters.get(id.0 as usize)
    }

    /// The elements of a constant or parameter tensor of this model; `None` for any other.
    #[must_use]
    pub fn data<'a>(&'a self, tensor: &'a Tensor) -> Option<&'a Data> {
        match &tensor.kind {
            TensorKind::Constant(data) => Some(data),
            TensorKind::Parameter(id) => self.parameter(*id).map(|parameter| &parameter.data),
            _ => None,
        }
    }

    /// Number of elements of all parameters, or, where the format keeps none apart, of all constants.
    #[must_use]
    pub fn weight_count(&self) -> u64 {
        if !self.parameters.is_empty() {
            return self.parameters.iter().map(|p| p.shape.iter().map(|d| *d as u64).product::<u64>()).sum();
        }
        let tensors = self.graphs.iter().flat_map(|graph| &graph.tensors);
        tensors.filter(|tensor| tensor.is_fixed()).map(|tensor| tensor.shape.elements_per_sample()).sum()
    }
}
