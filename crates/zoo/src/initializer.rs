//! What weights hold before training.

use serde_json::{Value, json};

/// How a weight is filled, by Keras' class of the same name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
    /// The same number everywhere.
    Constant(f64),
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
    GlorotUniform,
    /// Normal with a variance of `2 / fan_in`, drawn again beyond two deviations (He et al. 2015).
    HeNormal,
    /// Random with a variance of `scale / fan`.
    VarianceScaling {
        /// Numerator of the variance.
        scale: f64,
        /// What divides it.
        mode: Fan,
        /// How the numbers are spread.
        distribution: Distribution,
    },
    /// Normal, drawn again beyond two deviations.
    TruncatedNormal {
        /// Standard deviation before it is cut.
        stddev: f64,
    },
}

/// The size that divides the variance of [`Initializer::VarianceScaling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Inputs of an output.
    In,
    /// Outputs of an input.
    Out,
}

/// How random weights are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Normal, drawn again beyond two deviations.
    TruncatedNormal,
    /// Every number of an interval alike.
    Uniform,
}

impl Initializer {
    /// The initializer as Keras writes it in a configuration.
    pub(crate) fn configuration(self) -> Value {
        let (class, settings) = match self {
            Initializer::Zeros => ("Zeros", json!({})),
            Initializer::Ones => ("Ones", json!({})),
            Initializer::Constant(value) => ("Constant", json!({ "value": value })),
            Initializer::GlorotUniform => ("GlorotUniform", json!({ "seed": null })),
            Initializer::HeNormal => ("HeNormal", json!({ "seed": null })),
            Initializer::VarianceScaling { scale, mode, distribution } => {
                let mode = match mode {
                    Fan::In => "fan_in",
                    Fan::Out => "fan_out",
                };
                let distribution = match distribution {
                    Distribution::TruncatedNormal => "truncated_normal",
                    Distribution::Uniform => "uniform",
                };
                let settings =
                    json!({ "scale": scale, "mode": mode, "distribution": distribution, "seed": null });
                ("VarianceScaling", settings)
            }
            Initializer::TruncatedNormal { stddev } => {
                ("TruncatedNormal", json!({ "mean": 0.0, "stddev": stddev, "seed": null }))
            }
        };
        json!({ "module": "keras.initializers", "class_name": class, "config": settings, "registered_name": null })
    }
}
