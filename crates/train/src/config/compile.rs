//! What a `.keras` file says about training: its `compile_config`.

use serde_json::Value;

use super::{ConfigError, Object};
use crate::loss::Loss;
use crate::metric::Metric;
use crate::optimizer::OptimizerConfig;

/// The loss of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct LossTerm {
    /// The loss.
    pub loss: Loss,
    /// Its factor in the sum of all outputs' losses.
    pub weight: f64,
}

/// How a model was compiled, output by output.
#[derive(Clone, Debug, PartialEq)]
pub struct CompileConfig {
    /// The optimizer, if it names one.
    pub optimizer: Option<OptimizerConfig>,
    /// The loss of each output; `None` for an output that has none.
    pub losses: Vec<Option<LossTerm>>,
    /// Metrics of each output, without weights of samples.
    pub metrics: Vec<Vec<Metric>>,
    /// Metrics of each output, with weights of samples.
    pub weighted_metrics: Vec<Vec<Metric>>,
}

impl CompileConfig {
    /// Reads the `compile_config` of a model whose outputs have these names (as Keras names them: by
    /// their layers), in order.
    ///
    /// A loss or metric may be said once for all outputs, in a list by place or in an object by name
    /// (`keras/src/trainers/compile_utils.py`).
    ///
    /// # Errors
    /// [`ConfigError`] if something in it is unknown or does not fit the outputs.
    pub fn from_keras(value: &Value, outputs: &[&str]) -> Result<CompileConfig, ConfigError> {
        let mut object = Object::named("compile_config", "compile_config", value)?;
        // How Keras runs its graph changes no result.
        let known = [
            "optimizer",
            "loss",
            "loss_weights",
            "metrics",
            "weighted_metrics",
            "run_eagerly",
            "steps_per_execution",
            "jit_compile",
            "auto_scale_loss",
        ];
        for option in known {
            object.value(option);
        }
        object.finish()?;
        Ok(CompileConfig {
            optimizer: CompileConfig::optimizer_of(value)?,
            losses: CompileConfig::losses_of(value, outputs)?,
            metrics: CompileConfig::metrics_of(value, "metrics", outputs)?,
            weighted_metrics: CompileConfig::metrics_of(value, "weighted_metrics", outputs)?,
        })
    }

    /// The optimizer alone, for who takes the rest from elsewhere.
    ///
    /// # Errors
    /// [`ConfigError`] if it is unknown.
    pub fn optimizer_of(value: &Value) -> Result<Option<OptimizerConfig>, ConfigError> {
        given(value, "optimizer").map(OptimizerConfig::from_json).transpose()
    }

    /// The losses alone.
    ///
    /// # Errors
    /// [`ConfigError`] if one is unknown, or they do not fit the outputs.
    pub fn losses_of(value: &Value, outputs: &[&str]) -> Result<Vec<Option<LossTerm>>, ConfigError> {
        let entries = match given(value, "loss") {
            None => vec![None; outputs.len()],
            Some(one) if one.is_string() || is_one(one) => vec![Some(one); outputs.len()],
            Some(several) => by_output("loss", several, outputs)?,
        };
        let weights = match given(value, "loss_weights") {
            None => vec![None; outputs.len()],
            Some(one @ Value::Number(_)) if outputs.len() == 1 => vec![Some(one)],
            Some(several) => by_output("loss_weights", several, outputs)?,
        };
        entries.into_iter().zip(weights).map(|(loss, weight)| term(loss, weight)).collect()
    }

    /// The metrics alone: those under `metrics`, or under `weighted_metrics`.
    ///
    /// # Errors
    /// [`ConfigError`] if one is unknown, or they do not fit the outputs.
    pub fn metrics_of(value: &Value, key: &str, outputs: &[&str]) -> Result<Vec<Vec<Metric>>, ConfigError> {
        let entries = match given(value, key) {
            None => vec![None; outputs.len()],
            // With one output, a list that does not nest names its metrics.
            Some(list @ Value::Array(items)) if outputs.len() == 1 && !items.iter().any(Value::is_array) => {
                vec![Some(list)]
            }
            Some(one) if one.is_string() || is_one(one) => vec![Some(one); outputs.len()],
            Some(several) => by_output(key, several, outputs)?,
        };
        let of_output = |entry: Option<&Value>| match entry {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(Metric::from_json).collect(),
            Some(one) => Ok(vec![Metric::from_json(one)?]),
        };
        entries.into_iter().map(of_output).collect()
    }
}

fn term(loss: Option<&Value>, weight: Option<&Value>) -> Result<Option<LossTerm>, ConfigError> {
    let weight = match weight {
        None => 1.0,
        Some(value) => value
            .as_f64()
            .filter(|weight| (*weight as f32).is_finite())
            .ok_or_else(|| form("loss_weights", format!("{value} is no number")))?,
    };
    let loss = loss.map(Loss::from_json).transpose()?;
    Ok(loss.map(|loss| LossTerm { loss, weight }))
}

/// What an object says under `key`, unless that is null.
fn given<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| !value.is_null())
}

fn form(what: &str, reason: String) -> ConfigError {
    ConfigError::Form { what: what.to_owned(), reason }
}

/// Whether an object is one loss or metric and not a set of them by output.
fn is_one(value: &Value) -> bool {
    value.get("class_name").is_some()
}

/// The entries of a list or an object, one for each output; `None` where it has none.
fn by_output<'a>(
    what: &str,
    value: &'a Value,
    outputs: &[&str],
) -> Result<Vec<Option<&'a Value>>, ConfigError> {
    let unless_null = |value: &'a Value| Some(value).filter(|value| !value.is_null());
    match value {
        Value::Array(list) if list.len() == outputs.len() => Ok(list.iter().map(unless_null).collect()),
        Value::Array(list) => {
            let (got, expected) = (list.len(), outputs.len());
            Err(form(what, format!("{got} entries for a model of {expected} outputs")))
        }
        Value::Object(entries) => match entries.keys().find(|name| !outputs.contains(&name.as_str())) {
            Some(name) => {
                let outputs = outputs.join(", ");
                Err(form(what, format!("the model has no output '{name}'; it has {outputs}")))
            }
            None => Ok(outputs.iter().map(|output| given(value, output)).collect()),
        },
        other => Err(form(what, format!("{other} is neither a list nor an object"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::loss::LossKind;
    use crate::metric::MetricKind;
    use crate::schedule::Schedule;

    #[test]
    fn one_output_as_keras_writes_it() {
        let value = json!({
            "optimizer": {"module": "keras.optimizers", "class_name": "SGD", "config": {"name": "sgd",
                "learning_rate": {"module": "keras.optimizers.schedules", "class_name": "CosineDecay",
                    "config": {"initial_learning_rate": 0.1, "decay_steps": 100, "alpha": 0.0,
                        "name": "CosineDecay", "warmup_target": 0.2, "warmup_steps": 10},
                    "registered_name": null},
                "weight_decay": null, "clipnorm": null, "global_clipnorm": null, "clipvalue": null,
                "use_ema": false, "ema_momentum": 0.99, "ema_overwrite_frequency": null,
                "loss_scale_factor": null, "gradient_accumulation_steps": null, "momentum": 0.9,
                "nesterov": false}, "registered_name": null},
            "loss": {"module": "keras.losses", "class_name": "CategoricalCrossentropy",
                "config": {"name": "categorical_crossentropy", "reduction": "sum_over_batch_size",
                    "from_logits": false, "label_smoothing": 0.1, "axis": -1}, "registered_name": null},
            "loss_weights": 2.0,
            "metrics": [{"module": "keras.metrics", "class_name": "TopKCategoricalAccuracy", "config":
                {"name": "top_k_categorical_accuracy", "dtype": "float32", "k": 3},
                "registered_name": null}, "mae"],
            "weighted_metrics": ["acc"], "run_eagerly": false, "steps_per_execution": 1,
            "jit_compile": false
        });
        let config = CompileConfig::from_keras(&value, &["dense"]).unwrap();
        let optimizer = config.optimizer.unwrap();
        assert!(matches!(
            optimizer.learning_rate,
            Schedule::CosineDecay { warmup: Some((target, steps)), .. } if target == 0.2 && steps == 10.0
        ));
        let term = config.losses[0].clone().unwrap();
        let kind = LossKind::CategoricalCrossentropy { from_logits: false, label_smoothing: 0.1 };
        assert_eq!((term.loss, term.weight), (kind.into(), 2.0));
        assert_eq!(config.metrics[0].len(), 2);
        assert_eq!(config.metrics[0][1].name, "mae");
        assert_eq!(config.weighted_metrics, [[Metric::new("acc", MetricKind::Accuracy)]]);
    }

    #[test]
    fn several_outputs_by_place_by_name_or_all_alike() {
        let outputs = ["a", "b"];
        let losses = |loss: Value| {
            let config = CompileConfig::from_keras(&json!({"loss": loss}), &outputs)?;
            let name = |term: &Option<LossTerm>| term.as_ref().map(|term| term.loss.name.clone());
            Ok::<_, ConfigError>(config.losses.iter().map(name).collect::<Vec<_>>())
        };
        let (mse, mae) = (Some("mean_squared_error".to_owned()), Some("mean_absolute_error".to_owned()));
        assert_eq!(losses(json!("mse")), Ok(vec![mse.clone(), mse.clone()]));
        assert_eq!(losses(json!(["mse", "mae"])), Ok(vec![mse.clone(), mae]));
        assert_eq!(losses(json!({"b": "mse"})), Ok(vec![None, mse]));
        assert!(losses(json!(["mse"])).is_err());
        assert!(losses(json!({"c": "mse"})).unwrap_err().to_string().contains("no output 'c'; it has a, b"));
        let metrics = json!({"metrics": {"a": ["accuracy", "mse"]}, "loss_weights": [1, 0.5], "loss": "mse"});
        let config = CompileConfig::from_keras(&metrics, &outputs).unwrap();
        assert_eq!(config.metrics.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(config.losses[1].as_ref().unwrap().weight, 0.5);
        assert!(CompileConfig::from_keras(&json!({"losses": 1}), &outputs).is_err());
    }
}
