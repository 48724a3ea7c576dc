//! The networks of the zoo.

use std::fmt::Write;
use std::path::Path;

use litesmith::Error;
use litesmith::zoo::{BuildResult, CheckResult, CheckRow, ListResult};
use litesmith_report::{Table, human};

use super::rendered;

pub(crate) fn list(result: &ListResult) -> String {
    let mut table = Table::new(["network", "parameters", "million MACs", "image size", "preprocessing"]);
    for network in &result.networks {
        table.row([
            network.name.to_owned(),
            human::count(network.parameters as u64),
            millions(network.macs),
            network.size.to_string(),
            network.preprocessing.to_owned(),
        ]);
    }
    rendered(&table)
}

pub(crate) fn build(result: &BuildResult) -> String {
    let mut text = String::new();
    let (size, classes) = (result.size, result.classes);
    let _ = writeln!(text, "network        {}: images of {size}x{size}, {classes} classes", result.name);
    let parameters = human::count(result.parameters as u64);
    let _ = writeln!(text, "size           {parameters} parameters, {} million MACs", millions(result.macs));
    let _ = writeln!(text, "preprocessing  {}", result.preprocessing);
    let weights = match (&result.weights, result.seed) {
        (Some(file), _) => format!("those of {}", file.display()),
        (None, seed) => format!("random, seed {}", seed.unwrap_or(0)),
    };
    let _ = writeln!(text, "weights        {weights}");
    if let Some(measured) = result.batch_norm.filter(|measured| measured.layers > 0) {
        let parts = if measured.parts > 1 { format!(" in {} parts", measured.parts) } else { String::new() };
        let (layers, samples) = (measured.layers, measured.samples);
        let _ = writeln!(text, "statistics     of {layers} batch normalizations on {samples} samples{parts}");
    }
    let _ = writeln!(text, "written        {}, {}", result.path.display(), human::bytes(result.bytes));
    text
}

fn millions(macs: u64) -> String {
    human::count((macs as f64 / 1e6).round() as u64)
}

pub(crate) fn check(result: &CheckResult) -> String {
    let mut text = rendered(&table(result));
    for row in &result.rows {
        if let Some(reason) = &row.reason {
            let _ = writeln!(text, "{}: {reason}", row.name);
        }
    }
    let memory =
        result.peak_rss_mb.map_or(String::new(), |mb| format!(", {} MB at most", human::decimal(mb, 0)));
    let passed = result.rows.len() - result.failed().len();
    let _ = writeln!(
        text,
        "{passed} of {} networks supported, with images of {} pixels; {} s{memory}",
        result.rows.len(),
        result.size,
        human::decimal(result.seconds, 0)
    );
    text
}

/// Writes the table as Markdown.
pub(crate) fn check_markdown(path: &Path, result: &CheckResult) -> Result<(), Error> {
    litesmith::put(path, table(result).markdown().as_bytes())
}

fn table(result: &CheckResult) -> Table {
    let mut table = Table::new([
        "network",
        "int8 PTQ",
        "QAT",
        "float ONNX",
        "quantized ONNX",
        "opset",
        "float bytes",
        "int8 bytes",
        "SNR",
        "QAT SNR",
        "s",
    ]);
    for row in &result.rows {
        table.row(cells(row));
    }
    table
}

fn cells(row: &CheckRow) -> [String; 11] {
    let answer = |cell: bool| if cell { "yes" } else { "no" }.to_owned();
    let ratio = |done: bool, snr: Option<f64>| if done { human::decibels(snr) } else { "-".to_owned() };
    let known = |number: Option<u64>| number.map_or("-".to_owned(), human::count);
    [
        row.name.clone(),
        answer(row.ptq),
        answer(row.qat),
        answer(row.onnx_float),
        answer(row.onnx_quantized),
        known(row.opset.map(u64::from)),
        human::count(row.float_bytes),
        known(row.bytes),
        ratio(row.ptq, row.snr_db),
        ratio(row.qat, row.qat_snr_db),
        human::decimal(row.seconds, 1),
    ]
}
