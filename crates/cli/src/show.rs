//! Results as text for people.

pub(crate) mod zoo;

use std::fmt::Write;
use std::path::Path;

use litesmith::{
    BenchResult, ConvertResult, DemoResult, Error, EvaluateResult, InspectResult, PruneResult, RunResult,
    TensorDetails, TrainResult,
};
use litesmith_report::{Look, Table, html, human};

use crate::args::{ConvertArguments, PruneArguments, TrainArguments};

/// Most samples whose predictions are shown.
const MOST_SAMPLES: usize = 20;

fn rendered(table: &Table) -> String {
    format!("{}\n", table.render(Look::of_stdout()))
}

pub(crate) fn convert(arguments: &ConvertArguments, result: &ConvertResult) -> String {
    let mut text = rendered(&operators(result));
    if !result.float_operators.is_empty() {
        text.push_str("\nStayed float:\n");
        text.push_str(&rendered(&float_operators(result)));
    }
    let ratio = result.input_bytes as f64 / result.output_bytes.max(1) as f64;
    let (before, after) = (human::bytes(result.input_bytes), human::bytes(result.output_bytes));
    let _ = writeln!(text, "\n{before} -> {after} ({})", human::times(ratio));
    if result.sparse_tensors > 0 {
        let _ = writeln!(text, "sparse   {} weights without their zeros", result.sparse_tensors);
    }
    let _ = writeln!(text, "check    {}", check(result));
    let memory =
        result.peak_rss_mb.map_or(String::new(), |mb| format!(", {} MB at most", human::decimal(mb, 0)));
    let _ = writeln!(text, "time     {} s{memory}", human::decimal(result.seconds, 2));
    let _ = writeln!(text, "written  {}", arguments.output.display());
    text
}

fn operators(result: &ConvertResult) -> Table {
    let mut table = Table::new(["operator", "count", "stayed float"]);
    for (operator, count) in &result.operators {
        let float = result.float_operators.iter().filter(|left| left.operator == *operator).count();
        table.row([
            operator.clone(),
            count.to_string(),
            if float > 0 { float.to_string() } else { String::new() },
        ]);
    }
    table
}

fn float_operators(result: &ConvertResult) -> Table {
    let mut table = Table::new(["layer", "operator", "reason"]);
    for left in &result.float_operators {
        table.row([left.name.clone(), left.operator.clone(), left.reason.clone()]);
    }
    table
}

fn check(result: &ConvertResult) -> String {
    let check = &result.check;
    let source = if check.real_data { "calibration samples" } else { "random inputs" };
    format!(
        "signal-to-noise {}, largest difference {:.3e}, over {} {source}",
        human::decibels(check.snr_db),
        check.max_abs_diff,
        check.samples
    )
}

/// Writes the report of a conversion as one HTML file.
pub(crate) fn convert_report(
    path: &Path,
    arguments: &ConvertArguments,
    result: &ConvertResult,
) -> Result<(), Error> {
    let summary = format!(
        "{} bytes became {} bytes in {} s; {} operators were fused into others, {} are quantized, {} repaired.",
        human::count(result.input_bytes),
        human::count(result.output_bytes),
        human::decimal(result.seconds, 2),
        result.fused,
        result.quantized_operators,
        result.repaired_operators
    );
    let mut sections = vec![
        html::Section::new("Summary").text(summary).text(format!("Check: {}.", check(result))),
        html::Section::new("Operators").table(operators(result)),
    ];
    if !result.float_operators.is_empty() {
        sections.push(html::Section::new("Stayed float").table(float_operators(result)));
    }
    let title = format!("{} to {}", arguments.model.display(), arguments.output.display());
    let page = html::page(&title, &sections);
    litesmith::put(path, page.as_bytes())
}

pub(crate) fn run(result: &RunResult) -> String {
    let mut text = String::new();
    for (sample, predictions) in result.predictions.iter().enumerate().take(MOST_SAMPLES) {
        let named = |prediction: &litesmith::Prediction| {
            let name = prediction.name.clone().unwrap_or_else(|| prediction.class.to_string());
            format!("{name} {}", human::decimal(f64::from(prediction.value), 4))
        };
        let line: Vec<_> = predictions.iter().map(named).collect();
        let _ = writeln!(text, "sample {sample}: {}", line.join(", "));
    }
    if result.predictions.len() > MOST_SAMPLES {
        let _ = writeln!(
            text,
            "… and {} more (--output FILE.npz keeps all)",
            result.predictions.len() - MOST_SAMPLES
        );
    }
    let mut table = Table::new(["output", "type", "shape"]);
    for output in &result.outputs {
        table.row([output.name.clone(), output.dtype.to_owned(), format!("{:?}", output.shape)]);
    }
    text + &rendered(&table)
}

pub(crate) fn evaluate(result: &EvaluateResult) -> String {
    let mut table = Table::new(["accuracy", "top 5", "loss", "samples"]);
    table.row([
        human::percent(result.accuracy),
        human::percent(result.top5),
        human::decimal(result.loss, 4),
        result.samples.to_string(),
    ]);
    rendered(&table)
}

pub(crate) fn train(options: &TrainArguments, result: &TrainResult) -> String {
    let names: Vec<&String> =
        result.epochs.first().map(|epoch| epoch.metrics.keys().collect()).unwrap_or_default();
    let validated = result.epochs.iter().any(|epoch| epoch.val_loss.is_some());
    let mut heads = vec!["epoch", "loss"];
    heads.extend(validated.then_some("val_loss"));
    heads.extend(names.iter().map(|name| name.as_str()));
    let pruned = result.epochs.iter().any(|epoch| epoch.sparsity.is_some());
    heads.extend(pruned.then_some("sparsity"));
    heads.push("seconds");
    let mut table = Table::new(heads);
    for (number, epoch) in result.epochs.iter().enumerate() {
        let mut row = vec![(number + 1).to_string(), human::decimal(epoch.loss, 4)];
        row.extend(epoch.val_loss.map(|loss| human::decimal(loss, 4)));
        let metric = |name: &&String| epoch.metrics.get(*name).and_then(serde_json::Value::as_f64);
        row.extend(names.iter().map(|name| human::decimal(metric(name).unwrap_or(f64::NAN), 4)));
        row.extend(epoch.sparsity.map(human::percent));
        row.push(human::decimal(epoch.seconds, 1));
        table.row(row);
    }
    let mut text = rendered(&table);
    if !result.operators.is_empty() {
        let mut operators = Table::new(["layer", "operator", "ms a step", "share"]);
        for own in &result.operators {
            let share = human::percent(own.share);
            operators.row([own.name.clone(), own.operator.clone(), human::decimal(own.ms, 3), share]);
        }
        let _ = write!(text, "\n{}", rendered(&operators));
    }
    if let Some(simulated) = &result.simulated {
        let (layers, tensors) = (simulated.layers, simulated.tensors);
        let _ = writeln!(
            text,
            "\nintegers were simulated in the weights of {layers} layers and in {tensors} tensors"
        );
        if !simulated.missing.is_empty() {
            let _ =
                writeln!(text, "not in {}, which only the optimized model has", simulated.missing.join(", "));
        }
    }
    if let Some(agreement) = result.integer_agreement {
        let _ = writeln!(
            text,
            "\nthe int8 model gives the simulated class to {} of samples",
            human::percent(agreement)
        );
    }
    let _ = writeln!(text, "\n{} ms a step", human::decimal(result.step_ms.median, 2));
    let _ = writeln!(text, "written  {}", options.output.display());
    text
}

pub(crate) fn prune(options: &PruneArguments, result: &PruneResult) -> String {
    let mut table = Table::new(["layer", "operator", "weights", "zero", "pruned"]);
    for layer in &result.layers {
        let how = layer.structure.map(|structure| structure.to_string());
        table.row([
            layer.name.clone(),
            layer.operator.clone(),
            human::count(layer.weights as u64),
            human::percent(layer.sparsity),
            how.or_else(|| layer.reason.clone()).unwrap_or_default(),
        ]);
    }
    if !result.channels.is_empty() {
        return channels(options, result);
    }
    let mut text = rendered(&table);
    let (before, after) = (human::bytes(result.input_bytes), human::bytes(result.output_bytes));
    let _ = writeln!(
        text,
        "\n{} of {} layers pruned, {} of all their weights are zero, {before} -> {after}",
        result.pruned_layers,
        result.layers.len(),
        human::percent(result.sparsity)
    );
    let _ = writeln!(text, "written  {}", options.output.display());
    text
}

fn channels(options: &PruneArguments, result: &PruneResult) -> String {
    let mut table = Table::new(["layer", "operator", "channels", "now", "why all"]);
    for layer in &result.channels {
        table.row([
            layer.name.clone(),
            layer.operator.clone(),
            layer.before.to_string(),
            layer.after.to_string(),
            layer.reason.clone().unwrap_or_default(),
        ]);
    }
    let mut text = rendered(&table);
    let (before, after) = (human::count(result.parameters_before), human::count(result.parameters));
    let _ = writeln!(text, "\n{before} -> {after} weights, {}", human::bytes(result.output_bytes));
    let _ = writeln!(text, "written  {}", options.output.display());
    text
}

pub(crate) fn bench(result: &BenchResult) -> String {
    let ms = |value: f64| human::decimal(value, 3);
    let mut table = Table::new([
        "median ms",
        "min",
        "p90",
        "p99",
        "samples/s",
        "batch",
        "threads",
        "ISA",
        "load ms",
        "peak MB",
    ]);
    let latency = result.latency_ms;
    table.row([
        ms(latency.median),
        ms(latency.min),
        ms(latency.p90),
        ms(latency.p99),
        human::decimal(result.throughput, 1),
        result.batch.to_string(),
        result.threads.to_string(),
        result.isa.clone(),
        ms(result.load_ms),
        result.peak_rss_mb.map_or(String::new(), |mb| human::decimal(mb, 0)),
    ]);
    let mut text = rendered(&table);
    if !result.operators.is_empty() {
        let mut table = Table::new(["layer", "operator", "ms", "share", "GMAC/s", "of peak"]);
        for entry in &result.operators {
            table.row([
                entry.name.clone(),
                entry.operator.clone(),
                ms(entry.ms),
                human::percent(entry.share),
                entry.gmac_s.map_or(String::new(), |gmac| human::decimal(gmac, 1)),
                entry.peak_share.map_or(String::new(), human::percent),
            ]);
        }
        text += &rendered(&table);
    }
    text
}

pub(crate) fn inspect(result: &InspectResult) -> String {
    let mut text = format!("{:?} file, {}", result.format, human::bytes(result.bytes));
    if !result.producer.is_empty() {
        let _ = write!(text, ", written by {}", result.producer);
    }
    let _ = writeln!(
        text,
        "\n{} parameters, {} multiply-accumulates a sample, {} of weights are zero, {}",
        human::count(result.parameters),
        human::count(result.macs),
        human::percent(result.sparsity),
        if result.float_free { "no floating point" } else { "needs floating point" }
    );
    if result.quantization_aware {
        text += "trained to be quantized: --quantize int8 and int8-only need no data\n";
    }
    let mut tensors = Table::new(["", "name", "index", "type", "shape", "scale", "zero point"]);
    for (kind, list) in [("input", &result.inputs), ("output", &result.outputs)] {
        list.iter().for_each(|details| {
            tensors.row(tensor_row(kind, details));
        });
    }
    let mut operators = Table::new(["operator", "count"]);
    for (operator, count) in &result.operators {
        operators.row([operator.clone(), count.to_string()]);
    }
    text + &rendered(&tensors) + &rendered(&operators) + &sizes(result)
}

/// Zeros and sizes of layers with weights, where they were asked for.
fn sizes(result: &InspectResult) -> String {
    let Some(compressed) = result.compressed_bytes else { return String::new() };
    let mut table = Table::new(["layer", "operator", "zero", "dense", "sparse", "compressed"]);
    let size = |bytes: Option<u64>| bytes.map(human::bytes).unwrap_or_default();
    let weighted = result.layers.iter().filter(|layer| layer.bytes > 0);
    for layer in weighted {
        table.row([
            layer.name.clone(),
            layer.operator.clone(),
            human::percent(layer.sparsity),
            human::bytes(layer.bytes),
            size(layer.sparse_bytes),
            size(layer.compressed_bytes),
        ]);
    }
    let sparse = result.sparse_bytes.map(|bytes| format!(", {} with sparse encoding", human::bytes(bytes)));
    let (stored, sparse) = (human::bytes(result.bytes), sparse.unwrap_or_default());
    format!("{}file: {stored}{sparse}, {} compressed by gzip\n", rendered(&table), human::bytes(compressed))
}

fn tensor_row(kind: &str, details: &TensorDetails) -> [String; 7] {
    let (scale, zero_point) = details.quantization;
    let quantized = scale != 0.0;
    [
        kind.to_owned(),
        details.name.clone(),
        details.index.to_string(),
        details.dtype.to_owned(),
        format!("{:?}", details.shape_signature),
        if quantized { format!("{scale:e}") } else { String::new() },
        if quantized { zero_point.to_string() } else { String::new() },
    ]
}

pub(crate) fn demo(result: &DemoResult) -> String {
    let mut table = Table::new(["mode", "size", "accuracy", "agrees", "SNR", "latency ms", "file"]);
    table.row([
        "Keras source".to_owned(),
        human::bytes(result.source_bytes),
        human::percent(result.source_accuracy),
        String::new(),
        String::new(),
        String::new(),
        "fashion.keras".to_owned(),
    ]);
    for row in &result.rows {
        let file = row.file.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        table.row([
            if row.quantize_aware { format!("{}, QAT", row.mode) } else { row.mode.to_string() },
            human::bytes(row.bytes),
            human::percent(row.accuracy),
            human::percent(row.agreement),
            human::decibels(row.snr_db),
            human::decimal(row.latency_ms, 3),
            file,
        ]);
    }
    format!(
        "Fashion-MNIST classifier, {} test images\n{}files in {}; {} s in all\n",
        result.samples,
        rendered(&table),
        result.folder.display(),
        human::decimal(result.seconds, 1)
    )
}
