//! What a layer does only while it is trained, and the graph does not say.

use litesmith_graph::TrainingOnly;
use serde_json::Value;

use super::config::Config;
use super::scope::Scope;
use super::weights::is_sum_of_powers;

/// Notes what a call's layer does only while it is trained: what its class does, unless it is set to
/// nothing, and what its settings ask for.
pub(super) fn note(scope: &mut Scope<'_>, class_does: Option<&str>) {
    let config = scope.config();
    let own = class_does.filter(|_| !set_to_nothing(config)).map(str::to_owned);
    for what in own.into_iter().chain(settings(config)) {
        let (layer, class) = (scope.layer.path.clone(), scope.layer.class.clone());
        let note = TrainingOnly { layer, class, what };
        if !scope.target.model.training_only.contains(&note) {
            scope.target.model.training_only.push(note);
        }
    }
}

/// Whether all strengths that the settings give are zero.
fn set_to_nothing(config: Config<'_>) -> bool {
    let given = ["rate", "stddev", "l1", "l2", "factor"].into_iter().filter_map(|key| config.get(key));
    let mut strengths = given.peekable();
    strengths.peek().is_some() && strengths.all(|strength| strength.as_f64() == Some(0.0))
}

/// Constraints, and penalties that are not kept with weights.
fn settings(config: Config<'_>) -> impl Iterator<Item = String> {
    config.entries().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
        if key.ends_with("_constraint") {
            return Some(format!("it constrains weights ({key}: {})", class(value)));
        }
        let penalty = key.ends_with("_regularizer");
        let kept = is_sum_of_powers(value) && key != "activity_regularizer";
        (penalty && !kept).then(|| format!("it adds a penalty to the loss ({key}: {})", class(value)))
    })
}

fn class(value: &Value) -> &str {
    let name = value.get("class_name").unwrap_or(value);
    name.as_str().unwrap_or("of its own")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(config: &Value) -> Vec<String> {
        let config = config.as_object().unwrap();
        settings(Config::new(config, "layer")).collect()
    }

    #[test]
    fn constraints_and_foreign_penalties_are_told() {
        let l2 = json!({"class_name": "L2", "config": {"l2": 0.1}});
        let norm =
            json!({"module": "keras.constraints", "class_name": "MaxNorm", "config": {"max_value": 2}});
        let config = json!({
            "kernel_regularizer": l2, "bias_regularizer": "orthogonal_regularizer",
            "activity_regularizer": l2, "kernel_constraint": norm, "bias_constraint": null,
        });
        let mut told = said(&config);
        told.sort();
        let expected = [
            "it adds a penalty to the loss (activity_regularizer: L2)",
            "it adds a penalty to the loss (bias_regularizer: orthogonal_regularizer)",
            "it constrains weights (kernel_constraint: MaxNorm)",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_set_to_nothing_does_nothing() {
        let nothing = |config: Value| set_to_nothing(Config::new(config.as_object().unwrap(), "layer"));
        assert!(nothing(json!({"l1": 0.0, "l2": 0})));
        assert!(!nothing(json!({"l1": 0.0, "l2": 0.1})));
        assert!(!nothing(json!({"factor": [0.0, 0.2]})));
        assert!(!nothing(json!({"mode": "horizontal"})));
    }
}
