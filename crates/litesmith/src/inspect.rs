//! `inspect`: what a model file holds.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use litesmith_formats::tflite;
use litesmith_graph::{
    Dim, Facts, Format, GraphId, Inputs, Model, Node, Quantization, SparseDimension, Sparsity, Tensor,
    TensorId, infer_shapes,
};
use litesmith_quantize::is_simulated;
use serde::Serialize;
use serde_json::{Value, json};

use crate::convert::{count_operators, size_of};
use crate::error::Error;
use crate::learnt::Learnt;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct InspectOptions {
    /// Whether sizes without zeros and compressed are worked out, which takes a while for large files.
    pub sizes: bool,
}

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
    /// If asked for, of a TFLite file: its size with sparse encoding of weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse_bytes: Option<u64>,
    /// If asked for: its size behind gzip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_bytes: Option<u64>,
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
    /// Bytes of its weights, zeros included.
    pub bytes: u64,
    /// If asked for, of a TFLite file: these with sparse encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse_bytes: Option<u64>,
    /// If asked for: these compressed by zlib.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_bytes: Option<u64>,
}

/// Reads a model file and says what is in it.
///
/// # Errors
/// If the file cannot be read.
pub fn inspect(path: &Path) -> Result<InspectResult, Error> {
    inspect_with(path, InspectOptions::default())
}

/// Reads a model file and says what is in it, and what these options ask for.
///
/// # Errors
/// If the file cannot be read.
pub fn inspect_with(path: &Path, options: InspectOptions) -> Result<InspectResult, Error> {
    let mut model = crate::source::read(path)?;
    litesmith_prune::densify(&mut model);
    let encoded = match options.sizes && model.source.format == Format::Tflite {
        true => Some(litesmith_prune::encoded_bytes(model.main())),
        false => None,
    };
    let looker = Looker { model: &model, encoded, sizes: options.sizes };
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
        sparse_bytes: looker.sparse_bytes()?,
        compressed_bytes: if options.sizes { compressed_file(path)? } else { None },
        macs: macs(&model)?,
        float_free: !model.graphs.iter().flat_map(|graph| &graph.tensors).any(float),
        sparsity: weights.sparsity(),
        quantization_aware: is_simulated(&model) || Learnt::read(path)?.is_some(),
        layers: graph.nodes.iter().map(|node| looker.layer(node)).collect(),
    })
}

pub(crate) fn describe(id: TensorId, tensor: &Tensor) -> TensorDetails {
    let sizes = |open: i64| {
        tensor.shape.dims().iter().map(|dim| dim.fixed().map_or(open, |size| size as i64)).collect()
    };
    let none = Quantization::default();
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
        sparsity_parameters: tensor.sparsity.as_deref().map_or_else(|| json!({}), sparsity_parameters),
    }
}

/// How zeros are left out, under the names that LiteRT has for it.
fn sparsity_parameters(sparsity: &Sparsity) -> Value {
    let dimension = |dimension: &SparseDimension| match dimension {
        SparseDimension::Dense(size) => json!({"format": 0, "dense_size": size}),
        SparseDimension::Csr { segments, indices } => {
            json!({"format": 1, "array_segments": segments, "array_indices": indices})
        }
    };
    let mut parameters = json!({"traversal_order": sparsity.traversal_order});
    if !sparsity.block_map.is_empty() {
        parameters["block_map"] = json!(sparsity.block_map);
    }
    parameters["dim_metadata"] = sparsity.dimensions.iter().map(dimension).collect();
    parameters
}

/// Sums over weights: tensors of more than one axis that do not change.
#[derive(Clone, Copy, Debug, Default)]
struct WeightSums {
    elements: u64,
    zeros: u64,
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

/// Looks at the weights of layers.
struct Looker<'a> {
    /// The model with all zeros.
    model: &'a Model,
    /// Of each tensor the bytes without zeros, if it would be stored so.
    encoded: Option<Vec<Option<u64>>>,
    sizes: bool,
}

impl Looker<'_> {
    fn layer(&self, node: &Node) -> Layer {
        let (mut sums, mut bytes, mut sparse, mut compressed) = (WeightSums::default(), 0, 0, 0);
        let graph = self.model.main();
        for id in node.present_inputs() {
            sums.add(self.model, &graph[id]);
            let Some(data) = self.model.data(&graph[id]) else { continue };
            bytes += data.len() as u64;
            let encoded = self.encoded.as_ref().and_then(|all| all.get(id.index()).copied().flatten());
            sparse += encoded.unwrap_or(data.len() as u64);
            if self.sizes {
                compressed += compressed_length(data.bytes());
            }
        }
        Layer {
            name: node.name.clone(),
            operator: node.op.builtin_name().to_owned(),
            sparsity: sums.sparsity(),
            bytes,
            sparse_bytes: self.encoded.as_ref().map(|_| sparse),
            compressed_bytes: self.sizes.then_some(compressed),
        }
    }

    /// The size of a TFLite file with sparse encoding; `None` where none is asked for.
    fn sparse_bytes(&self) -> Result<Option<u64>, Error> {
        if self.encoded.is_none() {
            return Ok(None);
        }
        let mut model = self.model.clone();
        litesmith_prune::encode(&mut model);
        Ok(Some(tflite::encode(&model)?.len()))
    }
}

/// Counts what is written to it.
#[derive(Default)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn compressed_length(bytes: &[u8]) -> u64 {
    let mut encoder = flate2::write::ZlibEncoder::new(Count::default(), flate2::Compression::default());
    // Nothing can fail: what is written is only counted.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_or(bytes.len() as u64, |count| count.0)
}

/// The size of a file behind gzip; `None` for a folder.
fn compressed_file(path: &Path) -> Result<Option<u64>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| Error::io(path, &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut encoder = flate2::write::GzEncoder::new(Count::default(), flate2::Compression::default());
    std::io::copy(&mut file, &mut encoder).map_err(failed)?;
    Ok(Some(encoder.finish().map_err(failed)?.0))
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
