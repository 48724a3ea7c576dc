//! `inspect`: what a model file holds.

use std::collections::BTreeMap;
use std::path::Path;

use litesmith_graph::{
    Dim, Facts, Graph, GraphId, Inputs, Model, Node, Quantization, Tensor, TensorId, infer_shapes,
};
use litesmith_quantize::is_simulated;
use serde::Serialize;
use serde_json::{Value, json};

use crate::convert::{count_operators, size_of};
use crate::error::Error;
use crate::learnt::Learnt;

/// What a model file holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InspectResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Format of the file.
    pub format: litesmith_graph::Format,
    /// The program that wrote it, as the file says.
    pub producer: String,
    /// Inputs in order.
    pub inputs: Vec<TensorDetails>,
    /// Outputs in order.
    pub outputs: Vec<TensorDetails>,
    /// How often each operator is in it.
    pub operators: BTreeMap<String, usize>,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
    /// Whether it runs without a floating-point unit.
    pub float_free: bool,
    /// Share of weights that are zero.
    pub sparsity: f64,
    /// Whether it was trained to be quantized, so that its integers need no data.
    pub quantization_aware: bool,
    /// Every operator.
    pub layers: Vec<Layer>,
}

/// An input or output, as LiteRT's interpreter describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDetails {
    /// Its name.
    pub name: String,
    /// Index of its tensor.
    pub index: usize,
    /// Its shape with 1 for sizes that are free.
    pub shape: Vec<i64>,
    /// Its shape with -1 for sizes that are free.
    pub shape_signature: Vec<i64>,
    /// NumPy name of its type.
    pub dtype: &'static str,
    /// Scale and zero point; zeros where there are none or several.
    pub quantization: (f32, i32),
    /// All scales and zero points.
    pub quantization_parameters: Value,
    /// How zeros are left out.
    pub sparsity_parameters: Value,
}

/// One operator with its weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the layer.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Share of its weights that are zero.
    pub sparsity: f64,
    /// Bytes of its weights.
    pub bytes: u64,
}

/// Reads a model file and says what is in it.
///
/// # Errors
/// If the file cannot be read.
pub fn inspect(path: &Path) -> Result<InspectResult, Error> {
    let model = litesmith_formats::read(path).map_err(|error| Error::from(error).about(path))?;
    let graph = model.main();
    let details = |ids: &[TensorId]| ids.iter().map(|id| describe(*id, &graph[*id])).collect();
    let weights = WeightSums::of(&model);
    let float = |tensor: &Tensor| tensor.dtype.is_float();
    Ok(InspectResult {
        schema_version: 1,
        format: model.source.format,
        producer: model.source.producer.clone(),
        inputs: details(&graph.inputs),
        outputs: details(&graph.outputs),
        operators: count_operators(&model),
        parameters: model.weight_count(),
        bytes: size_of(path),
        macs: macs(&model)?,
        float_free: !model.graphs.iter().flat_map(|graph| &graph.tensors).any(float),
        sparsity: weights.sparsity(),
        quantization_aware: is_simulated(&model) || Learnt::read(path)?.is_some(),
        layers: graph.nodes.iter().map(|node| layer(&model, graph, node)).collect(),
    })
}

fn describe(id: TensorId, tensor: &Tensor) -> TensorDetails {
    let sizes = |open: i64| {
        tensor.shape.dims().iter().map(|dim| dim.fixed().map_or(open, |size| size as i64)).collect()
    };
    let none = Quantization { scales: Vec::new(), zero_points: Vec::new(), axis: None };
    let quantization = tensor.quantization.as_ref().unwrap_or(&none);
    TensorDetails {
        name: tensor.name.clone(),
        index: id.index(),
        shape: sizes(1),
        shape_signature: sizes(-1),
        dtype: tensor.dtype.numpy_name(),
        quantization: quantization.single().unwrap_or((0.0, 0)),
        quantization_parameters: json!({
            "scales": quantization.scales,
            "zero_points": quantization.zero_points,
            "quantized_dimension": quantization.axis.unwrap_or(0),
        }),
        sparsity_parameters: json!({}),
    }
}

/// Sums over weights: tensors of more than one axis that do not change.
#[derive(Clone, Copy, Debug, Default)]
struct WeightSums {
    elements: u64,
    zeros: u64,
    bytes: u64,
}

impl WeightSums {
    fn of(model: &Model) -> WeightSums {
        let mut sums = WeightSums::default();
        let tensors = model.graphs.iter().flat_map(|graph| &graph.tensors);
        tensors.for_each(|tensor| sums.add(model, tensor));
        sums
    }

    fn add(&mut self, model: &Model, tensor: &Tensor) {
        let Some(data) = model.data(tensor) else { return };
        self.bytes += data.len() as u64;
        if tensor.shape.rank() < 2 {
            return;
        }
        let zero = tensor
            .quantization
            .as_ref()
            .and_then(|q| q.zero_points.first())
            .map_or(0, |zero| i64::from(*zero));
        let (elements, zeros) = match (data.floats(tensor.dtype), data.integers(tensor.dtype)) {
            (Some(values), _) => (values.len(), values.iter().filter(|value| **value == 0.0).count()),
            (None, Some(values)) => (values.len(), values.iter().filter(|value| **value == zero).count()),
            (None, None) => (0, 0),
        };
        self.elements += elements as u64;
        self.zeros += zeros as u64;
    }

    fn sparsity(self) -> f64 {
        if self.elements == 0 { 0.0 } else { self.zeros as f64 / self.elements as f64 }
    }
}

fn layer(model: &Model, graph: &Graph, node: &Node) -> Layer {
    let mut sums = WeightSums::default();
    node.present_inputs().for_each(|id| sums.add(model, &graph[id]));
    Layer {
        name: node.name.clone(),
        operator: node.op.builtin_name().to_owned(),
        sparsity: sums.sparsity(),
        bytes: sums.bytes,
    }
}

/// Multiply-accumulates of the main graph for one sample.
fn macs(model: &Model) -> Result<u64, Error> {
    let graph = model.main();
    let facts = infer_shapes(model, GraphId(0), None)?;
    let mut total = 0u64;
    for node in &graph.nodes {
        let inputs: Vec<Option<&Facts>> =
            node.inputs.iter().map(|id| id.map(|id| &facts[id.index()])).collect();
        let outputs: Vec<Facts> = node.outputs.iter().map(|id| facts[id.index()].clone()).collect();
        total = total.saturating_add(node.op.macs(Inputs(&inputs), &outputs));
    }
    // A fixed batch counts as many samples as it holds.
    let batch = graph.inputs.first().and_then(|id| graph[*id].shape.dims().first()).and_then(Dim::fixed);
    Ok(total / batch.unwrap_or(1).max(1) as u64)
}
