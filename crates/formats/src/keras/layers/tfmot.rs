//! Layers of the TensorFlow Model Optimization Toolkit (TFMOT), which wraps those of a model: simulated
//! quantization, whose ranges are variables of the wrapper, and pruning.

use litesmith_graph::TensorId;
use litesmith_graph::ops::FakeQuant;
use serde_json::Value;

use super::wrappers::{inner, only};
use crate::composed::simulated::fake_quant;
use crate::emit::Emit;
use crate::keras::architecture::Layer;
use crate::keras::config::{Built, Config, Refusal, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// The class of an activation that does nothing.
pub(in crate::keras) const NO_ACTIVATION: &str = "NoOpActivation";

/// Activations before which numbers are rounded.
const BEFORE: [&str; 4] = ["gelu", "sigmoid", "softmax", "tanh"];
/// Activations behind which numbers are rounded.
const BEHIND: [&str; 4] = ["gelu", "linear", "relu", "swish"];
/// Functions behind which a layer `Activation` rounds.
const ROUNDED_ACTIVATIONS: [&str; 4] = ["gelu", "relu", "relu6", "swish"];

/// Variables that hold the least and largest number of something.
type Bounds = [&'static str; 2];

const BEFORE_ACTIVATION: Bounds = ["pre_activation_min", "pre_activation_max"];
const BEHIND_ACTIVATION: Bounds = ["post_activation_min", "post_activation_max"];
const OUTPUT: Bounds = ["output_min", "output_max"];
/// Of the input itself.
const INPUT: Bounds = ["min", "max"];
/// Weights that can be rounded.
const WEIGHTS: [(&str, Bounds); 2] = [
    ("depthwise_kernel", ["depthwise_kernel_min", "depthwise_kernel_max"]),
    ("kernel", ["kernel_min", "kernel_max"]),
];

/// The layer that is pruned; its weights have been masked when they were read.
pub(super) fn pruned(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (layer, inputs) = (inner(scope)?, scope.tensors());
    let outputs = scope.apply(layer, &inputs)?;
    only(scope, &outputs)
}

/// Variables of the layer that rounds what it is given.
pub(super) fn layer_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let ranges = if config.get("quantizer").is_some() { INPUT.as_slice() } else { &[] };
    Ok(ranges.iter().chain(&["optimizer_step"]).map(|name| Variable::fixed(name)).collect())
}

/// The layer that rounds what it is given.
pub(super) fn layer(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let Some(quantizer) = scope.config().get("quantizer") else { return Ok(x) };
    let class = class_of(quantizer);
    let known = ["AllValuesQuantizer", "LastValueQuantizer", "MovingAverageQuantizer"];
    let (Some(Value::Object(settings)), true) = (quantizer.get("config"), known.contains(&class)) else {
        unsupported!("{}", foreign("quantizer", class));
    };
    let settings = Config::new(settings, &scope.layer.place);
    if settings.flag("per_axis", false)? {
        unsupported!("it rounds each channel by a range of its own; use one range for all");
    }
    let (bits, narrow) = (settings.count_or("num_bits", 8)?, settings.flag("narrow_range", false)?);
    let rounding = rounding(scope, INPUT, bits, narrow, false)?;
    scope.emit(rounding, &[x])
}

/// A layer whose weights, activation and output are rounded.
pub(super) fn quantized(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (layer, inputs) = (inner(scope)?, scope.tensors());
    let scheme = Scheme::of(scope.layer)?;
    for (name, bounds) in scheme.weights {
        let rounding = rounding(scope, bounds, scheme.weight_bits, true, scheme.per_axis)?;
        scope.target.rounded.insert((layer.id, name), rounding);
    }
    let of = |bounds: Option<Bounds>| -> Built<Option<FakeQuant>> {
        bounds.map(|bounds| rounding(scope, bounds, scheme.activation_bits, false, false)).transpose()
    };
    let activation = [of(scheme.before)?, of(scheme.behind)?];
    let output = of(scheme.output)?;
    scope.target.rounded_activations.insert(layer.id, activation);
    let outputs = scope.apply(layer, &inputs)?;
    let result = only(scope, &outputs)?;
    match output {
        Some(rounding) => scope.emit(rounding, &[result]),
        None => Ok(result),
    }
}

/// Rounding by a range that variables of the layer hold, which for weights may be one for each index along
/// the last axis.
fn rounding(
    scope: &Scope<'_>,
    bounds: Bounds,
    bits: usize,
    narrow_range: bool,
    per_axis: bool,
) -> Built<FakeQuant> {
    let mut values = Vec::new();
    for name in bounds {
        let id = scope.target.weights.get(&(scope.layer.id, name));
        let parameter = id.and_then(|id| scope.target.model.parameter(*id));
        match parameter.and_then(|parameter| parameter.data.floats(parameter.dtype)) {
            Some(floats) => values.push(floats.into_owned()),
            None => {
                let reason = format!("its variable '{name}' is missing from the file");
                return Err(scope.broken(reason).into());
            }
        }
    }
    // Kernels of Keras have their channels last: of convolutions, behind three axes.
    let axis = per_axis.then_some(3);
    let bits = u32::try_from(bits).unwrap_or(0);
    let rounding = fake_quant(&values[0], &values[1], bits, narrow_range, axis);
    Ok(rounding.map_err(|reason| scope.broken(reason))?)
}

/// What a wrapper rounds.
#[derive(Default)]
struct Scheme {
    weights: Vec<(&'static str, Bounds)>,
    /// Whether weights have a range for each index along their last axis.
    per_axis: bool,
    weight_bits: usize,
    activation_bits: usize,
    before: Option<Bounds>,
    behind: Option<Bounds>,
    output: Option<Bounds>,
}

impl Scheme {
    /// What the wrapper's configuration says. One of a user's own is Python code.
    fn of(wrapper: &Layer) -> Built<Scheme> {
        let mut config = wrapper.config().required("quantize_config")?;
        // Where what a layer reads is not rounded, TFMOT leaves its weights as they are.
        let output_only = class_of(config) == "OutputOnlyConfig";
        if output_only {
            config = config.get("config").and_then(|inner| inner.get("quantize_config")).unwrap_or(config);
        }
        let class = class_of(config);
        let Some(Value::Object(settings)) = config.get("config") else {
            unsupported!("{}", foreign("quantization", class));
        };
        let settings = Config::new(settings, &wrapper.place);
        let Some(layer) = wrapper.wrapped("layer").next() else {
            return Err(wrapper.config().broken("it wraps no layer").into());
        };
        let function = function_of(layer);
        let mut scheme = Scheme {
            weight_bits: settings.count_or("num_bits_weight", 8)?,
            activation_bits: settings.count_or("num_bits_activation", 8)?,
            ..Scheme::default()
        };
        let family = ["Default8Bit", "DefaultNBit"].iter().find_map(|prefix| class.strip_prefix(prefix));
        let rounds_output = match family {
            Some(kind @ ("QuantizeConfig" | "ConvQuantizeConfig" | "ConvTransposeQuantizeConfig")) => {
                scheme.per_axis = kind == "ConvQuantizeConfig";
                for name in names(settings, "weight_attrs") {
                    match WEIGHTS.iter().find(|(known, _)| *known == name) {
                        Some(weight) => scheme.weights.push(*weight),
                        None => unsupported!("it rounds '{name}', which is not supported"),
                    }
                }
                if !names(settings, "activation_attrs").is_empty() {
                    scheme.before = BEFORE.contains(&function).then_some(BEFORE_ACTIVATION);
                    scheme.behind = BEHIND.contains(&function).then_some(BEHIND_ACTIVATION);
                    if scheme.before.or(scheme.behind).is_none() && function != NO_ACTIVATION {
                        unsupported!("the activation '{function}' is not one that TFMOT rounds");
                    }
                }
                settings.flag("quantize_output", false)?
            }
            Some("OutputQuantizeConfig") => settings.flag("quantize_output", true)?,
            Some("ActivationQuantizeConfig") => {
                settings.flag("quantize_output", true)? && ROUNDED_ACTIVATIONS.contains(&function)
            }
            _ if class == "NoOpQuantizeConfig" => false,
            _ => unsupported!("{}", foreign("quantization", class)),
        };
        scheme.output = rounds_output.then_some(OUTPUT);
        if output_only {
            scheme.weights.clear();
        }
        Ok(scheme)
    }
}

fn class_of(object: &Value) -> &str {
    object.get("class_name").and_then(Value::as_str).unwrap_or("?")
}

/// Why a wrapper is not supported, if its configuration shows it.
pub(in crate::keras) fn refusal(layer: &Layer) -> Option<String> {
    wrapped(layer)?;
    match Scheme::of(layer) {
        Err(Refusal::Unsupported(reason)) => Some(reason),
        _ => None,
    }
}

fn foreign(what: &str, class: &str) -> String {
    format!(
        "its {what} '{class}' is Python code, which the file does not hold; save the model as a SavedModel, which \
         holds what it computes"
    )
}

/// The texts in a list.
fn names<'a>(settings: Config<'a>, key: &str) -> Vec<&'a str> {
    let list = settings.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The setting of an activation, out of what TFMOT wraps it in.
pub(in crate::keras) fn wrapped_activation(setting: &Value) -> &Value {
    let class = setting.get("class_name").and_then(Value::as_str);
    let wrapped = setting.get("config").and_then(|config| config.get("activation"));
    wrapped.filter(|_| class == Some("QuantizeAwareActivation")).unwrap_or(setting)
}

/// The name of a layer's activation.
fn function_of(layer: &Layer) -> &str {
    let setting = layer.config().get("activation").map(wrapped_activation);
    match setting {
        None => "linear",
        Some(Value::String(name)) => name,
        Some(object) if class_of(object) == NO_ACTIVATION => NO_ACTIVATION,
        Some(object) => object.get("config").and_then(Value::as_str).unwrap_or("?"),
    }
}

/// Whether a layer prunes the one that it wraps.
pub(in crate::keras) fn is_pruned(layer: &Layer) -> bool {
    layer.class == "PruneLowMagnitude"
}

/// The layer that a wrapper with ranges wraps; `None` for other layers.
pub(in crate::keras) fn wrapped(layer: &Layer) -> Option<&Layer> {
    let quantizes = matches!(layer.class.as_str(), "QuantizeWrapper" | "QuantizeWrapperV2");
    layer.wrapped("layer").next().filter(|_| quantizes)
}

/// The variables of a wrapper that hold ranges, in order.
pub(in crate::keras) fn ranges(wrapper: &Layer) -> Built<Vec<Variable>> {
    let scheme = Scheme::of(wrapper)?;
    let weights = scheme.weights.iter().map(|(_, bounds)| *bounds);
    let others = [scheme.before, scheme.behind, scheme.output].into_iter().flatten();
    Ok(weights.chain(others).flatten().map(Variable::fixed).collect())
}

/// The variables of the wrapped layer that a wrapper rounds.
pub(in crate::keras) fn rounded_weights(wrapper: &Layer) -> Vec<&'static str> {
    Scheme::of(wrapper)
        .map(|scheme| scheme.weights.iter().map(|(name, _)| *name).collect())
        .unwrap_or_default()
}
