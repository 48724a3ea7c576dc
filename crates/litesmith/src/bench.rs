//! `bench`: latency, throughput, memory, and where the time goes.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use litesmith_graph::{Dim, Model};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, StepTime};
use serde::Serialize;

use crate::error::Error;
use crate::feed::{DataOptions, Feed};
use crate::observer::{Observer, go_on};
use crate::process::peak_rss_mb;
use crate::seeded::{seeded_input, with_sizes};

/// How a model is measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BenchOptions {
    /// Samples in one run, where the model leaves that free.
    pub batch: usize,
    /// Runs that count.
    pub runs: usize,
    /// Runs before them that do not.
    pub warm_up: usize,
    /// Whether to measure every operator too.
    pub profile: bool,
    /// Samples to run, of which the first `batch` are taken; seeded numbers where left out.
    pub data: Option<DataOptions>,
    /// How the model is run.
    pub run: RunOptions,
}

impl Default for BenchOptions {
    fn default() -> BenchOptions {
        BenchOptions {
            batch: 1,
            runs: 50,
            warm_up: 5,
            profile: false,
            data: None,
            run: RunOptions::default(),
        }
    }
}

impl BenchOptions {
    /// With this batch and this number of counted runs.
    #[must_use]
    pub fn new(batch: usize, runs: usize) -> BenchOptions {
        BenchOptions { batch, runs, ..BenchOptions::default() }
    }
}

/// How fast a model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BenchResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Milliseconds from the file to a model that is ready to run: reading, checking, packing weights,
    /// planning.
    pub load_ms: f64,
    /// Milliseconds of one run.
    pub latency_ms: Latency,
    /// Samples in a second, at the median.
    pub throughput: f64,
    /// Threads.
    pub threads: usize,
    /// Samples in one run.
    pub batch: usize,
    /// Instruction set.
    pub isa: String,
    /// Largest resident size of the process in megabytes, where the system tells.
    pub peak_rss_mb: Option<f64>,
    /// Where the time goes; empty unless asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorTime>,
}

/// Milliseconds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the runs are at most this long.
    pub median: f64,
    /// The shortest run.
    pub min: f64,
    /// Nine of ten runs are at most this long.
    pub p90: f64,
    /// 99 of 100 runs are at most this long.
    pub p99: f64,
}

/// The time that one operator takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorTime {
    /// Name of its layer.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Milliseconds in one run.
    pub ms: f64,
    /// Share of the time of all operators.
    pub share: f64,
    /// Billions of multiply-accumulates in a second; `None` where it has none.
    pub gmac_s: Option<f64>,
    /// The same as a share of what the machine's threads can do at most on this instruction set, which
    /// is measured first; `None` where it has none. Layers that do less work than they seem to (Winograd)
    /// can go beyond 1.
    pub peak_share: Option<f64>,
}

/// Measures a model on seeded inputs.
///
/// # Errors
/// If the model cannot be read or run.
pub fn bench(model: &Path, options: &BenchOptions, observer: &dyn Observer) -> Result<BenchResult, Error> {
    if options.batch == 0 || options.runs == 0 {
        return Err(Error::Usage("the batch and the number of runs must be at least 1".into()));
    }
    let start = Instant::now();
    let (file, ahead) = crate::source::read_to_run(model, &options.run)?;
    let mut interpreter = Interpreter::new(&file, &options.run)?;
    drop(ahead);
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let inputs = match &options.data {
        Some(data) => samples(&file, &interpreter, data, options.batch)?,
        None => seeded(&file, &interpreter, options.batch)?,
    };
    let batch = inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1);
    for _ in 0..options.warm_up {
        interpreter.run(&inputs)?;
    }
    observer.stage("bench", options.runs);
    let mut times = Vec::with_capacity(options.runs);
    for _ in 0..options.runs {
        go_on(observer)?;
        let start = Instant::now();
        interpreter.run(&inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        observer.step();
    }
    let latency_ms = latency(times);
    let operators =
        if options.profile { profile(&mut interpreter, &inputs, options.runs)? } else { Vec::new() };
    Ok(BenchResult {
        schema_version: 1,
        load_ms,
        latency_ms,
        throughput: batch as f64 / latency_ms.median * 1e3,
        threads: interpreter.threads(),
        batch,
        isa: interpreter.isa().to_string(),
        peak_rss_mb: peak_rss_mb(),
        operators,
    })
}

/// The first samples of a data set.
fn samples(
    model: &Model,
    interpreter: &Interpreter,
    data: &DataOptions,
    batch: usize,
) -> Result<Vec<Array>, Error> {
    let feed = Feed::open(model, interpreter.inputs(), data)?.with_batch(batch);
    let first = feed.batches()?.next().transpose()?;
    match first {
        Some(fed) if fed.samples >= batch => Ok(fed.arrays),
        _ => Err(Error::Usage(format!("{} has fewer samples than a batch of {batch}", data.path.display()))),
    }
}

/// Seeded inputs with the wanted batch; a model that fixes another batch refuses it.
fn seeded(model: &Model, interpreter: &Interpreter, batch: usize) -> Result<Vec<Array>, Error> {
    for info in interpreter.inputs() {
        let fixed = info.shape.dims().first().and_then(Dim::fixed);
        if let Some(fixed) = fixed.filter(|fixed| *fixed != batch && batch != 1) {
            let name = &info.name;
            return Err(Error::Usage(format!("input '{name}' has a fixed batch of {fixed}, not {batch}")));
        }
    }
    with_sizes(model, interpreter.inputs(), batch).iter().map(|info| seeded_input(info, 1)).collect()
}

fn latency(mut times: Vec<f64>) -> Latency {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Latency { median: at(0.5), min: at(0.0), p90: at(0.9), p99: at(0.99) }
}

fn profile(interpreter: &mut Interpreter, inputs: &[Array], runs: usize) -> Result<Vec<OperatorTime>, Error> {
    let steps = interpreter.profile(inputs, runs)?;
    let total: f64 = steps.iter().map(|step| step.seconds).sum();
    let mut peaks = HashMap::new();
    let mut entry = |step: StepTime| {
        let rate = (step.macs > 0 && step.seconds > 0.0).then(|| step.macs as f64 / step.seconds);
        let mut peak = |products| *peaks.entry(products).or_insert_with(|| interpreter.peak(products));
        OperatorTime {
            ms: step.seconds * 1e3,
            share: if total > 0.0 { step.seconds / total } else { 0.0 },
            gmac_s: rate.map(|rate| rate / 1e9),
            peak_share: rate.zip(step.products).map(|(rate, products)| rate / peak(products)),
            name: step.node,
            operator: step.operator,
        }
    };
    Ok(steps.into_iter().map(&mut entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let latency = latency((1..=100).rev().map(f64::from).collect());
        assert_eq!((latency.min, latency.p90, latency.p99), (1.0, 90.0, 99.0));
        assert_eq!(super::latency(vec![3.0]).p99, 3.0);
    }
}
