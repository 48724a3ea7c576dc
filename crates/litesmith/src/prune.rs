//! `prune`: makes the weights that matter least zero, at once and without data.

use std::path::Path;
use std::time::Instant;

use litesmith_formats::{keras, mapping};
use litesmith_graph::{Format, Model};
use litesmith_kernels::ThreadPool;
use litesmith_passes::{Target, legalize, optimize};
use litesmith_prune::{
    ChannelOptions, Options, Outcome, Policy, PruneRecipe, Shrunk, ShrunkLayer, Structure,
};
use litesmith_runtime::Options as RunOptions;
use serde::Serialize;

use crate::convert::write::put;
use crate::convert::{ConvertOptions, convert_model, read, size_of};
use crate::error::Error;
use crate::observer::{Observer, go_on};

/// How a model is pruned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Which share of the weights goes, in `[0, 1)`. Left out: that of the structure, else 0.5.
    pub sparsity: Option<f32>,
    /// What of them is pruned together.
    pub structure: Structure,
    /// Whether whole channels are taken out instead, so that the model becomes smaller: into `.tflite` or `.onnx`.
    pub channels: bool,
    /// Which layers are pruned.
    pub policy: Policy,
    /// Whether weights are ranked among those of all layers.
    pub global: bool,
    /// What single layers get instead.
    pub recipe: PruneRecipe,
    /// Whether [`Policy::Latency`] prunes for the int8 model that is to be made of this one.
    pub for_int8: bool,
    /// Whether a `.tflite` file leaves the zeros out.
    pub sparse: bool,
    /// Threads, instruction set and memory.
    pub run: RunOptions,
}

impl Default for PruneOptions {
    /// Half of every usual layer's weights, one by one.
    fn default() -> PruneOptions {
        PruneOptions {
            sparsity: None,
            structure: Structure::default(),
            channels: false,
            policy: Policy::default(),
            global: false,
            recipe: PruneRecipe::default(),
            for_int8: false,
            sparse: false,
            run: RunOptions::default(),
        }
    }
}

/// What pruning has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PruneResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Size of the source.
    pub input_bytes: u64,
    /// Size of the written file.
    pub output_bytes: u64,
    /// Share of the weights in all of these layers that are zero, or of all weights that are gone.
    pub sparsity: f64,
    /// Number of layers that were pruned.
    pub pruned_layers: usize,
    /// Every layer with weights.
    pub layers: Vec<Outcome>,
    /// If channels were taken out: every layer with channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ShrunkLayer>,
    /// Number of weights before.
    pub parameters_before: u64,
    /// Number of weights now, zeros included.
    pub parameters: u64,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Prunes the model of a file and writes it: a Keras file with its configuration word for word, or any model as
/// `.tflite` or `.onnx`.
///
/// # Errors
/// If the model cannot be read or written, or no layer would be pruned.
pub fn prune(
    input: &Path,
    output: &Path,
    options: &PruneOptions,
    observer: &dyn Observer,
) -> Result<PruneResult, Error> {
    let start = Instant::now();
    let convert = options.convert_options();
    observer.stage("read", 0);
    let mut model = read(input, &convert)?;
    litesmith_prune::densify(&mut model);
    let parameters_before = model.weight_count();
    go_on(observer)?;
    observer.stage("prune", 0);
    if options.channels {
        return take_channels(model, (input, output), options, observer, start);
    }
    let settings = options.settings()?;
    let pool = ThreadPool::new(options.run.threads()?);
    let known = litesmith_prune::layers(&model)?;
    for pattern in settings.recipe.unused_patterns(&known) {
        observer.note(&format!("no layer is called '{pattern}'; the rule has no effect"));
    }
    let layers = litesmith_prune::prune(&mut model, &settings, &pool)?;
    go_on(observer)?;
    let output_bytes = write(input, output, model, &convert, observer)?;
    let weights: usize = layers.iter().map(|layer| layer.weights).sum();
    let zeros: f64 = layers.iter().map(|layer| layer.sparsity * layer.weights as f64).sum();
    Ok(PruneResult {
        schema_version: 1,
        input_bytes: size_of(input),
        output_bytes,
        sparsity: if weights == 0 { 0.0 } else { zeros / weights as f64 },
        pruned_layers: layers.iter().filter(|layer| layer.structure.is_some()).count(),
        layers,
        channels: Vec::new(),
        parameters_before,
        parameters: parameters_before,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// A copy of the source with new weights where the output is of its kind, else a conversion.
fn write(
    input: &Path,
    output: &Path,
    model: Model,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<u64, Error> {
    let legacy = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("h5"));
    if !legacy {
        return Ok(convert_model((model.clone(), model), input, output, options, observer)?.output_bytes);
    }
    if model.source.format != Format::H5 {
        let reason = "only what was an .h5 file can be written as one; write a .keras, .tflite or .onnx file";
        return Err(Error::Usage(format!("{}: {reason}", output.display())));
    }
    observer.stage("write", 0);
    let bytes = keras::write_h5(&mapping::open(input)?, &model)?;
    put(output, &bytes)?;
    Ok(bytes.len() as u64)
}

/// Takes whole channels out.
fn take_channels(
    mut model: Model,
    (input, output): (&Path, &Path),
    options: &PruneOptions,
    observer: &dyn Observer,
    start: Instant,
) -> Result<PruneResult, Error> {
    let refused = [
        ("another policy than all", options.policy != Policy::All),
        ("--for-int8", options.for_int8),
        ("a structure of weights", options.structure != Structure::default()),
    ];
    if let Some((option, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(Error::Usage(format!("{option} has no effect where whole channels are taken out")));
    }
    let extension = output.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if ["keras", "h5"].contains(&extension.to_ascii_lowercase().as_str()) {
        let reason = "a Keras file says how many channels its layers have; with fewer of them write a .tflite or \
                      .onnx file";
        return Err(Error::Usage(format!("{}: {reason}", output.display())));
    }
    optimize(&mut model, &mut |_, _| {})?;
    legalize(&mut model, Target::Tflite)?;
    // They are constants by now.
    model.parameters.clear();
    let parameters_before = model.weight_count();
    let mut settings = ChannelOptions::new(options.sparsity.unwrap_or(0.5));
    (settings.global, settings.recipe) = (options.global, options.recipe.clone());
    let Shrunk { model: small, masked, layers, not_followed, .. } =
        litesmith_prune::shrink(&model, &settings)?;
    for (operator, count) in &not_followed {
        observer.note(&format!(
            "channels are not followed through {operator} ({count} of them): what they reach stays"
        ));
    }
    go_on(observer)?;
    let parameters = small.weight_count();
    let written = convert_model((masked, small), input, output, &options.convert_options(), observer)?;
    Ok(PruneResult {
        schema_version: 1,
        input_bytes: size_of(input),
        output_bytes: written.output_bytes,
        sparsity: 1.0 - parameters as f64 / parameters_before.max(1) as f64,
        pruned_layers: layers.iter().filter(|layer| layer.after < layer.before).count(),
        layers: Vec::new(),
        channels: layers,
        parameters_before,
        parameters,
        seconds: start.elapsed().as_secs_f64(),
    })
}

impl PruneOptions {
    fn settings(&self) -> Result<Options, Error> {
        if self.for_int8 && self.policy != Policy::Latency {
            return Err(Error::Usage("--for-int8 has no effect: it is about --policy latency".into()));
        }
        let mut options = settings(self.sparsity, self.structure, &self.run)?;
        (options.policy, options.global, options.integers) = (self.policy, self.global, self.for_int8);
        options.recipe = self.recipe.clone();
        Ok(options)
    }

    fn convert_options(&self) -> ConvertOptions {
        let mut convert = ConvertOptions::default();
        (convert.sparse, convert.run) = (self.sparse, self.run.clone());
        convert
    }
}

/// Settings with this share; that of the structure, where it has one.
pub(crate) fn settings(
    sparsity: Option<f32>,
    structure: Structure,
    run: &RunOptions,
) -> Result<Options, Error> {
    let fixed = structure.fixed_sparsity();
    if let (Some(fixed), Some(asked)) = (fixed, sparsity)
        && (fixed - asked).abs() > 1e-6
    {
        return Err(Error::Usage(format!(
            "structure {structure} prunes {fixed} of all weights, not {asked}"
        )));
    }
    let mut options = Options::new(fixed.or(sparsity).unwrap_or(0.5));
    (options.structure, options.isa) = (structure, run.isa()?);
    Ok(options)
}
