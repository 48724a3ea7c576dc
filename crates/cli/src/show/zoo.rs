//! The networks of the zoo.

use std::fmt::Write;

use litesmith::zoo::{BuildResult, ListResult};
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
