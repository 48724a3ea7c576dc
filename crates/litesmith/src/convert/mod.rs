//! `convert`: reads any format, optimizes, quantizes, checks, writes.

mod conditioning;
mod options;
mod samples;
mod verify;
pub(crate) mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use litesmith_formats::{onnx, savedmodel};
use litesmith_graph::{Dim, Format, Model, TensorKind, infer_model, text};
use litesmith_passes::{Interface, Rewrites, absorb_padding, channels_first, legalize, optimize};
use litesmith_quantize::{
    Mode, Moments, Report, Statistics, calibrate, dequantize, drop_simulation, is_quantized, is_simulated,
    lower, quantize, take_simulation,
};
use litesmith_runtime::Interpreter;
use serde::Serialize;

pub use options::{ConvertOptions, Layout};

use crate::check::Check;
use crate::error::Error;
use crate::observer::{Observer, go_on};
use crate::process::peak_rss_mb;
use crate::shapes::{change_batch, set_input_shapes};
use crate::{Quantization, feed::Feed};
use samples::Samples;
use write::Target as OutputFormat;

/// What a conversion did. Its JSON form is the result of `litesmith convert --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConvertResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Size of the source.
    pub input_bytes: u64,
    /// Size of the written file.
    pub output_bytes: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Largest resident size of the process in megabytes, where the system tells.
    pub peak_rss_mb: Option<f64>,
    /// How often each operator is in the written file.
    pub operators: BTreeMap<String, usize>,
    /// Number of operators that became part of others.
    pub fused: usize,
    /// Number of operators with quantized weights or activations.
    pub quantized_operators: usize,
    /// Number of operators whose weights and biases were repaired.
    pub repaired_operators: usize,
    /// Number of weights that are stored without their zeros.
    pub sparse_tensors: usize,
    /// The version of the operators of an ONNX file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opset: Option<u32>,
    /// Operators that stayed float although quantization was asked for.
    pub float_operators: Vec<FloatOperator>,
    /// How far the result's outputs are from the source's.
    pub check: Check,
}

/// An operator that stayed float.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FloatOperator {
    /// Name of its layer.
    pub name: String,
    /// TFLite name of the operator.
    pub operator: String,
    /// Why it stayed float.
    pub reason: String,
}

/// Converts a model file.
///
/// # Errors
/// See [`Error`]; where there is one, no output file is written or changed.
pub fn convert(
    input: &Path,
    output: &Path,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<ConvertResult, Error> {
    let start = Instant::now();
    let target = OutputFormat::of(output, options)?;
    let options = options.with_learnt(input)?;
    options.check(target)?;
    observer.stage("read", 0);
    let source = read(input, &options)?;
    convert_source((source.clone(), source), (input, output, target), options, observer, start)
}

/// Converts a model that was read from `input`, and changed since, and checks it by another one, which
/// computes the same.
pub(crate) fn convert_model(
    models: (Model, Model),
    input: &Path,
    output: &Path,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<ConvertResult, Error> {
    let start = Instant::now();
    let target = OutputFormat::of(output, options)?;
    options.check(target)?;
    convert_source(models, (input, output, target), options.clone(), observer, start)
}

/// Converts the second model; the first is what it is checked by.
fn convert_source(
    (mut source, mut model): (Model, Model),
    (input, output, target): (&Path, &Path, OutputFormat),
    mut options: ConvertOptions,
    observer: &dyn Observer,
    start: Instant,
) -> Result<ConvertResult, Error> {
    let options = &mut options;
    // First of all: what comes goes by the names of tensors, which this may change.
    crate::source::arrange(&mut model)?;
    let simulates = goes_by_simulation(&mut source, options, observer);
    options.check_ranges(simulates)?;
    let simulated = if simulates { Some(take_simulation(&mut model)?) } else { None };
    if !simulates && is_simulated(&model) {
        drop_simulation(&mut model);
    }
    if options.quantize != Quantization::Keep || target != OutputFormat::Tflite || options.sparse {
        // Whoever changes weights needs all of them.
        litesmith_prune::densify(&mut model);
    }
    if options.quantize != Quantization::Keep && is_quantized(&model) {
        dequantize(&mut model)?;
    }
    let samples = Samples::open(&model, options)?;
    go_on(observer)?;
    // Before there is a second model: each is as large as the file, and so are its packed weights.
    let expected = verify::outputs_of_source(&source, options, &samples, observer)?;
    go_on(observer)?;

    observer.stage("optimize", 0);
    let rewrites = optimize(&mut model, &mut |pass, model| dump(observer, pass, model))?;
    if let Some(target) = target.legal() {
        legalize(&mut model, target)?;
        dump(observer, &Rewrites { pass: "legalize", count: 0 }, &model);
    }
    if let Some(mode) = options.mode() {
        let count = lower(&mut model, mode, &options.recipe)?;
        dump(observer, &Rewrites { pass: "lower", count }, &model);
    }
    if let Some(simulated) = simulated {
        options.go_by(simulated.statistics(&model));
    }
    go_on(observer)?;

    let report = quantize_model(&mut model, options, &samples, observer)?;
    go_on(observer)?;
    if target == OutputFormat::Onnx {
        arrange(&mut model, options, observer)?;
    }
    let mut moved = with_interface_of(&source, &model)?;
    let checked = moved.as_mut().unwrap_or(&mut model);
    let check = verify::verify((&source, &expected), checked, options, &samples, observer)?;
    go_on(observer)?;

    observer.stage("write", 0);
    let written = write::write(input, output, target, (&source, &model), options, observer)?;
    Ok(ConvertResult {
        schema_version: 1,
        input_bytes: size_of(input),
        output_bytes: written.bytes,
        seconds: start.elapsed().as_secs_f64(),
        peak_rss_mb: peak_rss_mb(),
        operators: written.operators,
        fused: rewrites.iter().filter(|rewrite| is_fusion(rewrite.pass)).map(|rewrite| rewrite.count).sum(),
        quantized_operators: report.outcomes.len() - report.float().count(),
        repaired_operators: report.repaired,
        sparse_tensors: written.sparse_tensors,
        opset: written.opset,
        float_operators: float_operators(&report),
        check,
    })
}

/// Whether a model's integers are those that it simulates. Otherwise the simulation is left out: ranges come
/// from elsewhere, or there are no integers.
fn goes_by_simulation(source: &mut Model, options: &ConvertOptions, observer: &dyn Observer) -> bool {
    if !is_simulated(source) || options.learns() {
        return is_simulated(source);
    }
    drop_simulation(source);
    if options.mode().and_then(Mode::width).is_none() {
        observer.note(
            "the model simulates integers, which is left out; --quantize int8 and int8-only make the integers that it \
             was trained for",
        );
    }
    false
}

/// Makes a model one of ONNX's: images channels first, padding in the convolutions.
fn arrange(model: &mut Model, options: &ConvertOptions, observer: &dyn Observer) -> Result<(), Error> {
    let count = absorb_padding(model)?;
    dump(observer, &Rewrites { pass: "absorb-padding", count }, model);
    let interface = match options.input_layout {
        None => Interface::Source,
        Some(Layout::Nhwc) => Interface::ChannelsLast,
        Some(Layout::Nchw) => Interface::ChannelsFirst,
    };
    channels_first(model, interface)?;
    dump(observer, &Rewrites { pass: "layout", count: 0 }, model);
    Ok(())
}

/// The model with images in the order of axes in which the source takes and gives them; `None` where they
/// are in that order.
fn with_interface_of(source: &Model, model: &Model) -> Result<Option<Model>, Error> {
    let shapes = |model: &Model| -> Vec<_> {
        let graph = model.main();
        let ids = graph.inputs.iter().chain(&graph.outputs);
        ids.map(|id| graph[*id].shape.dims().iter().map(Dim::fixed).collect::<Vec<_>>()).collect()
    };
    let mut source = source.clone();
    infer_model(&mut source)?;
    let wanted = shapes(&source);
    if wanted == shapes(model) {
        return Ok(None);
    }
    for interface in [Interface::ChannelsLast, Interface::ChannelsFirst] {
        let mut moved = model.clone();
        channels_first(&mut moved, interface)?;
        if wanted == shapes(&moved) {
            return Ok(Some(moved));
        }
    }
    Ok(None)
}

pub(crate) fn read(input: &Path, options: &ConvertOptions) -> Result<Model, Error> {
    let mut model = read_file(input, options).map_err(|error| error.about(input))?;
    refuse_nan(&model).map_err(|error| error.about(input))?;
    if !options.input_shapes.is_empty() {
        set_input_shapes(&mut model, &options.input_shapes, &options.run)?;
    }
    if let Some(size) = options.batch {
        change_batch(&mut model, size, &options.run)?;
    }
    Ok(model)
}

fn read_file(input: &Path, options: &ConvertOptions) -> Result<Model, Error> {
    let ConvertOptions { signature, tags, .. } = options;
    if signature.is_none() && tags.is_empty() {
        if !options.input_shapes.is_empty() && litesmith_formats::detect(input)? == Format::Onnx {
            // What the file's graph computes from shapes is constant then.
            let shapes = onnx::ReadOptions::default().with_input_shapes(&options.input_shapes);
            return Ok(onnx::read_with(input, &shapes)?);
        }
        return Ok(litesmith_formats::read(input)?);
    }
    if litesmith_formats::detect(input)? != Format::SavedModel {
        return Err(Error::Usage("--signature and --tag have no effect: the source is no SavedModel".into()));
    }
    let chosen = savedmodel::ReadOptions { signature: signature.clone(), tags: tags.clone() };
    Ok(savedmodel::read_with(input, &chosen)?)
}

/// A weight that is not a number makes every output one. Infinite constants have their uses (masks),
/// infinite trained weights have none.
fn refuse_nan(model: &Model) -> Result<(), Error> {
    for parameter in &model.parameters {
        let values = parameter.data.floats(parameter.dtype);
        if values.is_some_and(|values| values.iter().any(|value| !value.is_finite())) {
            let litesmith_graph::Origin { layer, variable, .. } = &parameter.origin;
            return Err(Error::Broken(format!(
                "'{variable}' of layer '{layer}' holds a value that is no finite number"
            )));
        }
    }
    for graph in &model.graphs {
        for tensor in graph.tensors.iter().filter(|tensor| matches!(tensor.kind, TensorKind::Constant(_))) {
            let values = model.data(tensor).and_then(|data| data.floats(tensor.dtype));
            if values.is_some_and(|values| values.iter().any(|value| value.is_nan())) {
                return Err(Error::Broken(format!(
                    "constant '{}' holds a value that is not a number",
                    tensor.name
                )));
            }
        }
    }
    Ok(())
}

/// Quantizes as the options ask; float models come back as they are, with an empty report.
fn quantize_model(
    model: &mut Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<Report, Error> {
    let Some(mode) = options.mode() else { return Ok(Report::default()) };
    let layers: Vec<&str> = model.main().nodes.iter().map(|node| node.name.as_str()).collect();
    // What a model was trained by names layers that may be part of others by now.
    let named = if options.learnt.is_none() { options.recipe.unused_patterns(&layers) } else { Vec::new() };
    for pattern in named {
        observer.note(&format!("no layer is called '{pattern}'; the rule has no effect"));
    }
    let repairs = mode != Mode::Float16 && options.repairs();
    let has_data = samples.feed().is_some() || options.statistics.is_some();
    let (statistics, moments) = match mode {
        Mode::Int8 | Mode::Int8Only | Mode::Int16x8 => statistics(model, options, samples, observer)?,
        Mode::Dynamic if repairs && has_data => statistics(model, options, samples, observer)?,
        Mode::Dynamic | Mode::Float16 => (None, None),
    };
    observer.stage("quantize", 0);
    let quantize_options = options.quantize_options(mode);
    let report = quantize(model, &quantize_options, &options.recipe, statistics.as_ref(), moments.as_ref())?;
    if report.left > 0 {
        observer.detail(&format!(
            "{} layers were left unrepaired: the model is no nearer to its source with their repair",
            report.left
        ));
    }
    if report.unrepaired > 0 {
        observer.note(&format!(
            "{} layers were not repaired: the statistics hold no means of their inputs; measure them anew",
            report.unrepaired
        ));
    }
    Ok(report)
}

/// What activations held: read from a file, measured, or both merged; with what only a measurement
/// gives.
fn statistics(
    model: &Model,
    options: &ConvertOptions,
    samples: &Samples,
    observer: &dyn Observer,
) -> Result<(Option<Statistics>, Option<Moments>), Error> {
    let mut statistics = match &options.statistics {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, &error))?;
            Statistics::from_json(&text).map_err(|error| Error::from(error).about(path))?
        }
        None => options.learnt.clone().unwrap_or_default(),
    };
    let mut moments = None;
    if let Some(feed) = samples.feed() {
        let (measured, second) = measure(model, options, feed, statistics.next(), observer)?;
        statistics.merge(&measured)?;
        moments = second;
    }
    if statistics.samples == 0 {
        return Err(Error::Usage(format!(
            "mode {} needs calibration data (--calibration DATA) or saved statistics (--statistics FILE)",
            options.quantize
        )));
    }
    if let Some(path) = &options.save_statistics {
        write::put(path, statistics.to_json().as_bytes())?;
    }
    Ok((Some(statistics), moments))
}

fn measure(
    model: &Model,
    options: &ConvertOptions,
    feed: &Feed,
    first: usize,
    observer: &dyn Observer,
) -> Result<(Statistics, Option<Moments>), Error> {
    observer.stage("calibrate", feed.len());
    // Packed when it first observes: for exactness, not for speed.
    let mut interpreter = Interpreter::unplanned(model, &options.run)?;
    let mut statistics = Statistics::new().starting_at(first);
    if options.needs_histograms() {
        statistics = statistics.with_histograms();
    }
    let mut moments =
        options.repairs().then(|| Moments::new(model, &interpreter, options.repair(), feed.len()));
    for fed in feed.batches()? {
        go_on(observer)?;
        let fed = fed?;
        calibrate(&mut interpreter, model, &fed.arrays, &mut statistics, moments.as_mut())?;
        (0..fed.samples).for_each(|_| observer.step());
    }
    Ok((statistics, moments))
}

fn dump(observer: &dyn Observer, rewrites: &Rewrites, model: &Model) {
    if observer.wants_dumps() {
        observer.dump(rewrites.pass, &text::print(model));
    }
}

fn is_fusion(pass: &str) -> bool {
    matches!(pass, "fold-batch-norm" | "fold-affine" | "fuse-activations" | "merge-padding")
}

pub(crate) fn count_operators(model: &Model) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in model.graphs.iter().flat_map(|graph| &graph.nodes) {
        *counts.entry(node.op.builtin_name().to_owned()).or_insert(0) += 1;
    }
    counts
}

fn float_operators(report: &Report) -> Vec<FloatOperator> {
    let entry = |outcome: &litesmith_quantize::Outcome| FloatOperator {
        name: outcome.layer.clone(),
        operator: outcome.operator.clone(),
        reason: outcome.reason.clone().unwrap_or_default(),
    };
    report.float().map(entry).collect()
}

/// Bytes of a file, or of all files in a folder.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = path.metadata() else { return 0 };
    if metadata.is_file() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size_of(&entry.path())).sum()
}

impl std::fmt::Display for Quantization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Quantization::Keep => "no quantization asked for",
            Quantization::None => "none",
            Quantization::Dynamic => "dynamic",
            Quantization::Float16 => "float16",
            Quantization::Int8 => "int8",
            Quantization::Int8Only => "int8-only",
            Quantization::Int16x8 => "int16x8",
        })
    }
}
