//! Losses by name and options.

use serde_json::{Value, json};

use super::{Loss, LossKind, Reduction};
use crate::config::{Bound, ConfigError, Object, keras_form, normalized, object_form};

impl LossKind {
    /// Every name.
    pub const NAMES: [&str; 16] = [
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        "crossentropy",
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "huber",
        "log_cosh",
        "kl_divergence",
        "poisson",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "cosine_similarity",
    ];
}

object_form!(Loss, "loss");

impl Loss {
    /// Reads a loss: a name (`mse`, `sparse_categorical_crossentropy`), `{"name": "huber", "delta": 2}`,
    /// or Keras' serialized form.
    ///
    /// # Errors
    /// [`ConfigError`] if the name or an option is unknown, or an option has a value that it cannot have.
    pub fn from_json(value: &Value) -> Result<Loss, ConfigError> {
        Loss::from_object(Object::read("loss", value)?)
    }

    pub(crate) fn from_object(mut object: Object) -> Result<Loss, ConfigError> {
        let Some(kind) = kind(&mut object)? else { return Err(object.unknown(LossKind::NAMES)) };
        let reduction = match object.text("reduction")?.as_deref() {
            None | Some("sum_over_batch_size" | "mean" | "auto") => Reduction::SumOverBatchSize,
            Some("sum") => Reduction::Sum,
            Some("mean_with_sample_weight") => Reduction::MeanWithSampleWeight,
            Some("none") => {
                return Err(object.unsupported(
                    "reduction 'none' leaves no number to minimize; use sum_over_batch_size, sum or \
                     mean_with_sample_weight",
                ));
            }
            Some(other) => {
                let expected = "sum_over_batch_size, mean, sum or mean_with_sample_weight";
                return Err(object.wrong("reduction", expected, &json!(other)));
            }
        };
        object.single_precision()?;
        // Keras 2 names the function, too.
        object.value("fn");
        let name = object.own_name().unwrap_or(kind.name()).to_owned();
        object.finish()?;
        Ok(Loss { name, kind, reduction })
    }

    /// Keras' serialized form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let reduction = match self.reduction {
            Reduction::SumOverBatchSize => "sum_over_batch_size",
            Reduction::Sum => "sum",
            Reduction::MeanWithSampleWeight => "mean_with_sample_weight",
        };
        let mut config = json!({"name": self.name, "reduction": reduction});
        let mut set = |option: &str, value: Value| config[option] = value;
        let class = match self.kind {
            LossKind::Crossentropy => return json!("crossentropy"),
            LossKind::SparseCategoricalCrossentropy { from_logits, ignore_class } => {
                set("from_logits", json!(from_logits));
                set("ignore_class", json!(ignore_class));
                "SparseCategoricalCrossentropy"
            }
            LossKind::CategoricalCrossentropy { from_logits, label_smoothing } => {
                set("from_logits", json!(from_logits));
                set("label_smoothing", json!(label_smoothing));
                "CategoricalCrossentropy"
            }
            LossKind::BinaryCrossentropy { from_logits, label_smoothing } => {
                set("from_logits", json!(from_logits));
                set("label_smoothing", json!(label_smoothing));
                "BinaryCrossentropy"
            }
            LossKind::Huber { delta } => {
                set("delta", json!(delta));
                "Huber"
            }
            LossKind::MeanSquaredError => "MeanSquaredError",
            LossKind::MeanAbsoluteError => "MeanAbsoluteError",
            LossKind::MeanAbsolutePercentageError => "MeanAbsolutePercentageError",
            LossKind::MeanSquaredLogarithmicError => "MeanSquaredLogarithmicError",
            LossKind::LogCosh => "LogCosh",
            LossKind::KlDivergence => "KLDivergence",
            LossKind::Poisson => "Poisson",
            LossKind::Hinge => "Hinge",
            LossKind::SquaredHinge => "SquaredHinge",
            LossKind::CategoricalHinge => "CategoricalHinge",
            LossKind::CosineSimilarity => "CosineSimilarity",
        };
        keras_form("keras.losses", class, config)
    }
}

/// The kind that the object names, its options taken; `None` for a name that is no loss. Metrics are
/// named by it, too.
pub(crate) fn kind(object: &mut Object) -> Result<Option<LossKind>, ConfigError> {
    Ok(Some(match normalized(object.name()).as_str() {
        "sparsecategoricalcrossentropy" => {
            object.last_axis()?;
            let ignore_class = match object.value("ignore_class") {
                None => None,
                Some(value) => {
                    let class = value.as_i64();
                    Some(class.ok_or_else(|| object.wrong("ignore_class", "a whole number", &value))?)
                }
            };
            LossKind::SparseCategoricalCrossentropy {
                from_logits: object.flag("from_logits", false)?,
                ignore_class,
            }
        }
        "categoricalcrossentropy" => {
            object.last_axis()?;
            LossKind::CategoricalCrossentropy {
                from_logits: object.flag("from_logits", false)?,
                label_smoothing: object.number("label_smoothing", 0.0, Bound::Share)?,
            }
        }
        "binarycrossentropy" | "bce" => {
            object.last_axis()?;
            LossKind::BinaryCrossentropy {
                from_logits: object.flag("from_logits", false)?,
                label_smoothing: object.number("label_smoothing", 0.0, Bound::Share)?,
            }
        }
        "crossentropy" | "ce" => LossKind::Crossentropy,
        "meansquarederror" | "mse" => LossKind::MeanSquaredError,
        "meanabsoluteerror" | "mae" => LossKind::MeanAbsoluteError,
        "meanabsolutepercentageerror" | "mape" => LossKind::MeanAbsolutePercentageError,
        "meansquaredlogarithmicerror" | "msle" => LossKind::MeanSquaredLogarithmicError,
        "huber" | "huberloss" => LossKind::Huber { delta: object.number("delta", 1.0, Bound::Positive)? },
        "logcosh" | "logcosherror" => LossKind::LogCosh,
        "kldivergence" | "kld" | "kullbackleiblerdivergence" => LossKind::KlDivergence,
        "poisson" => LossKind::Poisson,
        "hinge" => LossKind::Hinge,
        "squaredhinge" => LossKind::SquaredHinge,
        "categoricalhinge" => LossKind::CategoricalHinge,
        "cosinesimilarity" => {
            object.last_axis()?;
            LossKind::CosineSimilarity
        }
        _ => return Ok(None),
    }))
}
