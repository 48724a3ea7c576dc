use std::path::{Path, PathBuf};

use litesmith_graph::Width;
use litesmith_quantize::{InterfaceType, Mode, Observer, Options, Ranges, Recipe, Repair, Statistics};
use litesmith_runtime::Options as RunOptions;

use super::write::Target;
use crate::Quantization;
use crate::error::Error;
use crate::feed::DataOptions;
use crate::learnt::Learnt;
use crate::shapes::BatchSize;

/// The order of an image's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, height, width, channels]`, as in TensorFlow.
    Nhwc,
    /// `[batch, channels, height, width]`, as in ONNX.
    Nchw,
}

/// How a model is converted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// For a SavedModel: the signature that is converted; `serving_default`, else `serve`, else the only one
    /// where left out.
    pub signature: Option<String>,
    /// For a SavedModel: the tags of the graph that is converted; `serve`, else the only graph where empty.
    pub tags: Vec<String>,
    /// What weights and activations become.
    pub quantize: Quantization,
    /// Samples that ranges are measured on and the result is checked with.
    pub calibration: Option<DataOptions>,
    /// Saved ranges to use or to add to.
    pub statistics: Option<PathBuf>,
    /// Ranges that the source has learnt by quantization-aware training.
    pub(super) learnt: Option<Statistics>,
    /// Where to save the ranges.
    pub save_statistics: Option<PathBuf>,
    /// How the range of an activation is found, where the recipe says nothing else.
    pub observer: Observer,
    /// Which range of an activation counts.
    pub ranges: Ranges,
    /// What is done against the error of quantization. Left out, nothing with TensorFlow's ranges, so that
    /// files can be compared, else what is cheap.
    pub repair: Option<Repair>,
    /// Type of real-valued inputs; what is usual for the mode where left out.
    pub input_type: Option<InterfaceType>,
    /// Type of real-valued outputs; what is usual for the mode where left out.
    pub output_type: Option<InterfaceType>,
    /// What single layers become.
    pub recipe: Recipe,
    /// New shapes of inputs by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    /// In which order images are taken and given, where the format has a choice; that of the source where
    /// left out.
    pub input_layout: Option<Layout>,
    /// For ONNX: the version of its operators; the lowest that is enough, and at least 13, where left out.
    pub opset: Option<u32>,
    /// For ONNX: whether weights stand in a file of their own, as those beyond 2 GB always do.
    pub external_data: bool,
    /// For ONNX: whether int8 tensors inside the model become uint8, which ONNX Runtime runs faster.
    pub unsigned_activations: bool,
    /// For TFLite: whether weights with many zeros are stored without them.
    pub sparse: bool,
    /// New size of the batch.
    pub batch: Option<BatchSize>,
    /// Signal-to-noise ratio in dB below which nothing is written.
    pub min_snr: Option<f64>,
    /// How models are run for calibration and for the check.
    pub run: RunOptions,
}

impl ConvertOptions {
    /// The usual options of a mode.
    #[must_use]
    pub fn new(quantize: Quantization) -> ConvertOptions {
        ConvertOptions { quantize, ..ConvertOptions::default() }
    }

    /// With these calibration data.
    #[must_use]
    pub fn with_calibration(mut self, calibration: DataOptions) -> ConvertOptions {
        self.calibration = Some(calibration);
        self
    }

    /// With inputs and outputs of these types.
    #[must_use]
    pub fn with_interface(mut self, input: InterfaceType, output: InterfaceType) -> ConvertOptions {
        (self.input_type, self.output_type) = (Some(input), Some(output));
        self
    }

    /// Keeps the layers of this name (a pattern with `*` and `?`) float.
    #[must_use]
    pub fn keep_float(mut self, layers: &str) -> ConvertOptions {
        self.recipe.keep_float(layers);
        self
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        match self.quantize {
            Quantization::Keep | Quantization::None => None,
            Quantization::Dynamic => Some(Mode::Dynamic),
            Quantization::Float16 => Some(Mode::Float16),
            Quantization::Int8 => Some(Mode::Int8),
            Quantization::Int8Only => Some(Mode::Int8Only),
            Quantization::Int16x8 => Some(Mode::Int16x8),
        }
    }

    pub(super) fn quantize_options(&self, mode: Mode) -> Options {
        let usual = Options::new(mode);
        Options {
            observer: self.observer,
            ranges: self.ranges,
            repair: self.repair(),
            inputs: self.input_type.unwrap_or(usual.inputs),
            outputs: self.output_type.unwrap_or(usual.outputs),
            ..usual
        }
    }

    /// What is done against the error of quantization, where the recipe says nothing else.
    pub(super) fn repair(&self) -> Repair {
        let usual = if self.ranges == Ranges::Tensorflow { Repair::None } else { Repair::Default };
        self.repair.unwrap_or(usual)
    }

    /// Whether any layer may be repaired.
    pub(super) fn repairs(&self) -> bool {
        let repairs = |repair: Repair| repair != Repair::None;
        repairs(self.repair()) || self.recipe.rules.iter().filter_map(|rule| rule.repair).any(repairs)
    }

    /// Whether values must be counted: for an observer, or for whoever uses the saved statistics.
    pub(super) fn needs_histograms(&self) -> bool {
        let needs = |observer: Observer| observer.needs_histograms();
        needs(self.observer) || self.recipe.observers().any(needs) || self.save_statistics.is_some()
    }

    /// These options, for a source that was trained to be quantized: by what it has learnt, unless other
    /// ranges are asked for.
    pub(super) fn with_learnt(&self, source: &Path) -> Result<ConvertOptions, Error> {
        let mut options = self.clone();
        if self.learns()
            && let Some(learnt) = Learnt::read(source)?
        {
            if options.recipe.rules.is_empty() {
                options.recipe = learnt.recipe.clone();
            }
            options.go_by(learnt.statistics);
        }
        Ok(options)
    }

    /// Whether ranges that the source has learnt are of use: nobody asks for others.
    pub(super) fn learns(&self) -> bool {
        let integer = self.mode().and_then(Mode::width) == Some(Width::Eight);
        integer && self.calibration.is_none() && self.statistics.is_none()
    }

    /// Uses what the source has learnt.
    pub(super) fn go_by(&mut self, learnt: Statistics) {
        // Weights are where training has brought them.
        self.repair = self.repair.or(Some(Repair::None));
        self.learnt = Some(learnt);
    }

    /// Refuses integers without ranges. `simulated`: whether the source simulates them, and so has some.
    pub(super) fn check_ranges(&self, simulated: bool) -> Result<(), Error> {
        let integer = self.mode().and_then(Mode::width).is_some();
        let given = self.calibration.is_some() || self.statistics.is_some() || self.learnt.is_some();
        if integer && !given && !simulated {
            return Err(Error::Usage(format!(
                "mode {} needs calibration data (--calibration DATA) or saved statistics (--statistics FILE)",
                self.quantize
            )));
        }
        Ok(())
    }

    /// Refuses options that would have no effect.
    pub(super) fn check(&self, target: Target) -> Result<(), Error> {
        if target != Target::Onnx {
            let given = [
                ("--opset", self.opset.is_some()),
                ("--input-layout", self.input_layout.is_some()),
                ("--external-data", self.external_data),
                ("--unsigned-activations", self.unsigned_activations),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Error::Usage(format!("{option} has no effect: the output is no .onnx file")));
            }
        }
        if self.sparse && target != Target::Tflite {
            return Err(Error::Usage("--sparse has no effect: the output is no .tflite file".into()));
        }
        let width = self.mode().and_then(Mode::width);
        let integer = width.is_some();
        let refuse = |what: &str, needs: &str| {
            Err(Error::Usage(format!("{what} has no effect with {}: {needs}", self.quantize)))
        };
        for interface in [self.input_type, self.output_type].into_iter().flatten() {
            let fits = match interface {
                InterfaceType::Float32 => true,
                InterfaceType::Int8 | InterfaceType::Uint8 => width == Some(Width::Eight),
                InterfaceType::Int16 => width == Some(Width::Sixteen),
            };
            if !fits {
                let needs = "int8 and uint8 need --quantize int8 or int8-only, int16 needs int16x8";
                return refuse("this type of inputs or outputs", needs);
            }
        }
        let dynamic = self.quantize == Quantization::Dynamic;
        if !integer {
            if !dynamic && (self.statistics.is_some() || self.save_statistics.is_some()) {
                return refuse(
                    "a statistics file",
                    "only dynamic, int8, int8-only and int16x8 use what samples gave",
                );
            }
            if dynamic && self.save_statistics.is_some() && self.calibration.is_none() {
                return refuse("--save-statistics", "it needs calibration data (--calibration DATA)");
            }
            if !dynamic && self.repair.is_some_and(|repair| repair != Repair::None) {
                return refuse("--repair", "only dynamic, int8, int8-only and int16x8 have integer weights");
            }
            if self.observer != Observer::MinMax {
                return refuse("--observer", "only int8, int8-only and int16x8 use ranges");
            }
            if self.ranges != Ranges::Exact {
                return refuse("--ranges", "only int8, int8-only and int16x8 use ranges");
            }
        }
        let float = matches!(self.quantize, Quantization::Keep | Quantization::None);
        if float && !self.recipe.rules.is_empty() {
            return refuse("a recipe", "choose a mode with --quantize");
        }
        self.observer.check().map_err(Error::Usage)
    }
}
