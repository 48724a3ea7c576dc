//! What a model *is*: graphs of operators over tensors, their shapes, types and quantization.
//!
//! A [`Model`] holds one or several [`Graph`]s; a graph holds [`Tensor`]s and [`Node`]s in
//! topological order; a node applies an [`Op`] to tensors. Dimensions are fixed, free (named:
//! batch, height, …) or unknown. Shapes are inferred by [`infer`], every invariant is checked by
//! [`validate`], and [`text`] prints a model and reads it back.
//!
//! This crate does no input or output and no arithmetic on weights.
#![forbid(unsafe_code)]

mod builtin;
pub mod data;
pub mod dtype;
pub mod graph;
pub mod infer;
pub mod model;
pub mod op;
pub mod operator;
pub mod ops;
pub mod pattern;
pub mod quantization;
pub mod scales;
mod shape;
pub mod shared;
pub mod sparsity;
pub mod tensor;
pub mod text;
pub mod validate;

pub use data::Data;
pub use dtype::DType;
pub use graph::{Graph, Node, NodeId, TensorId};
pub use infer::{call_arguments, infer_called, infer_graphs, infer_model, infer_shapes};
pub use model::{
    Format, GraphId, Metadata, Model, Origin, Parameter, ParameterId, Regularizer, Signature, Source, State,
    StateId, TrainingOnly,
};
pub use op::Op;
pub use operator::{Facts, Inputs, Operator, OutputRule, QuantizationRule, WeightsRule, Width};
pub use quantization::{Quantization, SparseDimension, Sparsity};
pub use scales::Scales;
pub use shape::{Dim, Dims, Shape, Symbol};
pub use shared::Shared;
pub use tensor::{Tensor, TensorKind};
pub use validate::{ModelError, validate, validate_structure};
