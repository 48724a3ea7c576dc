//! Metrics by name and options.

use serde_json::{Value, json};

use super::{Curve, Metric, MetricKind};
use crate::config::{Bound, ConfigError, Object, keras_form, normalized, object_form};
use crate::loss::{Loss, LossKind, kind_of};

/// The names that [`Metric::from_json`] knows besides those of losses.
const NAMES: [&str; 11] = [
    "accuracy",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
    "root_mean_squared_error",
    "cosine_similarity",
    "precision",
    "recall",
    "auc",
];

/// What Keras' metrics of positives and negatives can look at beside all elements alike.
const PARTS: [&str; 2] = ["top_k", "class_id"];

object_form!(Metric, "metric");

impl Metric {
    /// Reads a metric: a name (`accuracy`, `mse`), `{"name": "top_k_categorical_accuracy", "k": 3}`, or
    /// Keras' serialized form. The name given is the name in reports, as in Keras.
    ///
    /// # Errors
    /// [`ConfigError`] if the name or an option is unknown, or an option has a value that it cannot have.
    pub fn from_json(value: &Value) -> Result<Metric, ConfigError> {
        Metric::from_object(Object::read("metric", value)?)
    }

    pub(crate) fn from_object(mut object: Object) -> Result<Metric, ConfigError> {
        let kind = match normalized(object.name()).as_str() {
            // Keras' class of this name, which only its serialized form can mean.
            "accuracy" if object.own_name().is_some() => MetricKind::ExactMatch,
            "accuracy" | "acc" => MetricKind::Accuracy,
            "sparsecategoricalaccuracy" => MetricKind::SparseCategoricalAccuracy,
            "categoricalaccuracy" => MetricKind::CategoricalAccuracy,
            "binaryaccuracy" => {
                MetricKind::BinaryAccuracy { threshold: object.number("threshold", 0.5, Bound::Finite)? }
            }
            "sparsetopkcategoricalaccuracy" => {
                object.must_be_off("from_sorted_ids")?;
                MetricKind::SparseTopKCategoricalAccuracy { k: object.count("k", 5, 1)? }
            }
            "topkcategoricalaccuracy" => MetricKind::TopKCategoricalAccuracy { k: object.count("k", 5, 1)? },
            "rootmeansquarederror" | "rmse" => MetricKind::RootMeanSquaredError,
            "cosinesimilarity" => {
                object.last_axis()?;
                MetricKind::CosineSimilarity
            }
            "precision" => MetricKind::Precision { threshold: threshold(&mut object)? },
            "recall" => MetricKind::Recall { threshold: threshold(&mut object)? },
            "auc" => auc(&mut object)?,
            _ => match kind_of(&mut object)? {
                Some(loss) => MetricKind::Loss(loss),
                None => {
                    let losses = LossKind::NAMES.into_iter().filter(|name| !NAMES.contains(name));
                    return Err(object.unknown(NAMES.into_iter().chain(losses)));
                }
            },
        };
        object.single_precision()?;
        let name = object.own_name().unwrap_or(object.name()).to_owned();
        object.finish()?;
        Ok(Metric::new(&name, kind))
    }

    /// Keras' serialized form; a mere name for what depends on shapes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut config = json!({"name": self.name, "dtype": "float32"});
        let mut set = |option: &str, value: Value| config[option] = value;
        let class = match self.kind {
            MetricKind::Accuracy => return json!(self.name),
            MetricKind::Loss(loss) => return loss_form(&self.name, loss),
            MetricKind::SparseCategoricalAccuracy => "SparseCategoricalAccuracy",
            MetricKind::CategoricalAccuracy => "CategoricalAccuracy",
            MetricKind::BinaryAccuracy { threshold } => {
                set("threshold", json!(threshold));
                "BinaryAccuracy"
            }
            MetricKind::SparseTopKCategoricalAccuracy { k } => {
                set("k", json!(k));
                "SparseTopKCategoricalAccuracy"
            }
            MetricKind::TopKCategoricalAccuracy { k } => {
                set("k", json!(k));
                "TopKCategoricalAccuracy"
            }
            MetricKind::Precision { threshold } => {
                set("thresholds", json!(threshold));
                "Precision"
            }
            MetricKind::Recall { threshold } => {
                set("thresholds", json!(threshold));
                "Recall"
            }
            MetricKind::Auc { thresholds, curve, from_logits } => {
                set("num_thresholds", json!(thresholds));
                set("curve", json!(if curve == Curve::Pr { "PR" } else { "ROC" }));
                set("from_logits", json!(from_logits));
                "AUC"
            }
            MetricKind::ExactMatch => "Accuracy",
            MetricKind::RootMeanSquaredError => "RootMeanSquaredError",
            MetricKind::CosineSimilarity => {
                set("axis", json!(-1));
                "CosineSimilarity"
            }
        };
        keras_form("keras.metrics", class, config)
    }
}

/// The one threshold of a metric of positives and negatives.
fn threshold(object: &mut Object) -> Result<f64, ConfigError> {
    PARTS.into_iter().try_for_each(|option| object.must_be_off(option))?;
    let given = object.value("thresholds").unwrap_or_default();
    // Keras takes one threshold as a list too.
    let number = match &given {
        Value::Null => Some(0.5),
        Value::Array(list) if list.len() == 1 => list[0].as_f64(),
        value => value.as_f64(),
    };
    number.ok_or_else(|| object.wrong("thresholds", "one number", &given))
}

fn auc(object: &mut Object) -> Result<MetricKind, ConfigError> {
    for option in ["multi_label", "label_weights", "num_labels"] {
        object.must_be_off(option)?;
    }
    if let Some(method) = object.text("summation_method")?.filter(|method| method != "interpolation") {
        return Err(object.unsupported(format!("summation by '{method}'; only interpolation is supported")));
    }
    let curve = match object.text("curve")?.as_deref() {
        None | Some("ROC") => Curve::Roc,
        Some("PR") => Curve::Pr,
        Some(other) => return Err(object.unsupported(format!("the curve '{other}'; there are ROC and PR"))),
    };
    // Keras writes the thresholds out that follow from their number.
    object.value("thresholds");
    let thresholds = object.count("num_thresholds", 200, 2)?;
    Ok(MetricKind::Auc { thresholds, curve, from_logits: object.flag("from_logits", false)? })
}

/// The form of a metric that is the mean of a loss. Keras has no class for that of `huber`.
fn loss_form(name: &str, kind: LossKind) -> Value {
    if kind == LossKind::Crossentropy {
        return json!(name);
    }
    let mut form = Loss::from(kind).to_json();
    form["module"] = json!("keras.metrics");
    if kind == LossKind::LogCosh {
        form["class_name"] = json!("LogCoshError");
    }
    if let Some(config) = form["config"].as_object_mut() {
        config.insert("name".to_owned(), json!(name));
        config.remove("reduction");
        // Keras' metrics have no such option.
        config.retain(|option, value| option != "ignore_class" || !value.is_null());
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written_back() {
        for name in NAMES.into_iter().chain(LossKind::NAMES) {
            let metric: Metric = name.parse().unwrap();
            assert_eq!(metric.kind.name(), name);
            assert_eq!(Metric::from_json(&metric.to_json()), Ok(metric));
        }
    }

    #[test]
    fn names_and_options_are_those_of_keras() {
        let metric: Metric = r#"{"class_name": "TopKCategoricalAccuracy", "module": "keras.metrics",
            "config": {"name": "top3", "dtype": "float32", "k": 3}, "registered_name": null}"#
            .parse()
            .unwrap();
        assert_eq!(metric, Metric::new("top3", MetricKind::TopKCategoricalAccuracy { k: 3 }));
        let exact: Metric = r#"{"class_name": "Accuracy", "config": {"name": "accuracy"}}"#.parse().unwrap();
        assert_eq!(exact.kind, MetricKind::ExactMatch);
        assert_eq!("acc".parse::<Metric>().unwrap().name, "acc");
        let error = "f1_score".parse::<Metric>().unwrap_err().to_string();
        assert!(error.contains("unknown metric 'f1_score'") && error.contains("binary_accuracy"), "{error}");
        assert!(error.contains("mean_squared_error"), "{error}");
        assert!(r#"{"name": "top_k_categorical_accuracy", "k": 0}"#.parse::<Metric>().is_err());
    }
}
