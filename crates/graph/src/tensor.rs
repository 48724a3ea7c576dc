//! Tensors: what flows between nodes.

use crate::data::Data;
use crate::dtype::DType;
use crate::model::{ParameterId, StateId};
use crate::quantization::{Quantization, Sparsity};
use crate::shape::Shape;

/// Where a tensor's elements come from.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorKind {
    /// Given by the caller.
    Input,
    /// Computed by a node.
    Activation,
    /// Fixed.
    Constant(Data),
    /// A weight of the source model, held by the model with its origin.
    Parameter(ParameterId),
    /// A variable that survives from one run to the next.
    State(StateId),
}

/// A named value of one element type and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name; unique names are not required.
    pub name: String,
    /// Type of its elements as stored.
    pub dtype: DType,
    /// Its shape, as the source states it or as inferred; inner shapes are inferred anew at plan time.
    pub shape: Shape,
    /// Where its elements come from.
    pub kind: TensorKind,
    /// How integers stand for real numbers, if they do.
    pub quantization: Option<Quantization>,
    /// How a sparse constant is stored, if it is, which is rare.
    pub sparsity: Option<Box<Sparsity>>,
}

impl Tensor {
    fn of_kind(name: &str, dtype: DType, shape: Shape, kind: TensorKind) -> Tensor {
        Tensor { name: name.to_owned(), dtype, shape, kind, quantization: None, sparsity: None }
    }

    /// An input of the graph.
    #[must_use]
    pub fn input(name: &str, dtype: DType, shape: Shape) -> Tensor {
        Tensor::of_kind(name, dtype, shape, TensorKind::Input)
    }

    /// The output of a node.
    #[must_use]
    pub fn activation(name: &str, dtype: DType, shape: Shape) -> Tensor {
        Tensor::of_kind(name, dtype, shape, TensorKind::Activation)
    }

    /// A fixed value; `data` holds as many elements as `shape`.
    #[must_use]
    pub fn constant(name: &str, dtype: DType, shape: Shape, data: Data) -> Tensor {
        Tensor::of_kind(name, dtype, shape, TensorKind::Constant(data))
    }

    /// A fixed single-precision value.
    #[must_use]
    pub fn floats(name: &str, shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::constant(name, DType::F32, Shape::fixed(shape), Data::from_vec(values))
    }

    /// A fixed vector of 32-bit integers.
    #[must_use]
    pub fn integers(name: &str, values: &[i32]) -> Tensor {
        Tensor::constant(name, DType::I32, Shape::fixed(&[values.len()]), Data::from_vec(values.to_vec()))
    }

    /// A weight held by the model.
    #[must_use]
    pub fn parameter(name: &str, dtype: DType, shape: Shape, id: ParameterId) -> Tensor {
        Tensor::of_kind(name, dtype, shape, TensorKind::Parameter(id))
    }

    /// A handle of a state held by the model, whose type and shape it has.
    #[must_use]
    pub fn state(name: &str, dtype: DType, shape: Shape, id: StateId) -> Tensor {
        Tensor::of_kind(name, dtype, shape, TensorKind::State(id))
    }

    /// The same tensor with this quantization.
    #[must_use]
    pub fn with_quantization(mut self, quantization: Quantization) -> Tensor {
        self.quantization = Some(quantization);
        self
    }

    /// Whether its elements are the same in every run.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(self.kind, TensorKind::Constant(_) | TensorKind::Parameter(_))
    }
}
