//! Losses, metrics, schedules and optimizers against the numbers that `conformance/training_numbers.py` had Keras
//! compute.

use litesmith_graph::Regularizer;
use litesmith_kernels::{Isa, ThreadPool};
use litesmith_train::{Batch, Loss, Metric, Optimizer, OptimizerConfig, Schedule, Targets, Update, Variable};
use serde_json::Value;

/// Errors are told in parts of the largest number beside.
const TOLERANCE: f32 = 1e-6;

fn keras() -> Value {
    serde_json::from_str(include_str!("keras.json")).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    list(value).iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    list(value).iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

fn near(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(error <= tolerance * largest, "{what}, element {index}: {got} instead of {expected}");
    }
}

/// Calls `with` with a batch of the file.
fn with_batch<R>(value: &Value, with: impl FnOnce(&Batch<'_>) -> R) -> R {
    let (shape, target_shape) = (sizes(&value["shape"]), sizes(&value["target_shape"]));
    let (predictions, targets) = (numbers(&value["predictions"]), numbers(&value["targets"]));
    let weights = (!value["weights"].is_null()).then(|| numbers(&value["weights"]));
    with(&Batch {
        shape: &shape,
        predictions: &predictions,
        targets: Targets::Values { shape: &target_shape, values: &targets },
        weights: weights.as_deref(),
    })
}

#[test]
fn losses_and_their_gradients() {
    let pool = ThreadPool::new(1);
    let keras = keras();
    for case in list(&keras["losses"]) {
        let mut loss = Loss::from_json(&case["loss"]).unwrap();
        let through = case["through_activation"].as_bool().unwrap();
        if through {
            assert!(loss.kind.undoes().is_some());
            loss.kind = loss.kind.with_logits();
        }
        let what = format!("{} of shape {}", case["loss"], case["shape"]);
        let expected = numbers(&case["gradient"]);
        let mut gradient = vec![0.0; expected.len()];
        let value =
            with_batch(case, |batch| loss.value_and_gradient(&pool, batch, 1.0, &mut gradient)).unwrap();
        near(&[value as f32], &[case["value"].as_f64().unwrap() as f32], TOLERANCE, &what);
        near(&gradient, &expected, TOLERANCE, &what);
    }
}

#[test]
fn metrics() {
    let keras = keras();
    for case in list(&keras["metrics"]) {
        let mut metric = Metric::from_json(&case["metric"]).unwrap();
        for batch in list(&case["batches"]) {
            with_batch(batch, |batch| metric.update(batch)).unwrap();
        }
        let expected = case["result"].as_f64().unwrap() as f32;
        near(&[metric.result() as f32], &[expected], TOLERANCE, &case["metric"].to_string());
    }
}

#[test]
fn schedules() {
    let keras = keras();
    for case in list(&keras["schedules"]) {
        let schedule = Schedule::from_json(&case["schedule"]).unwrap();
        let expected = numbers(&case["rates"]);
        let rates: Vec<f32> = (0..expected.len() as u64).map(|step| schedule.rate(step)).collect();
        near(&rates, &expected, TOLERANCE, &case["schedule"].to_string());
    }
}

#[test]
fn optimizers_step_by_step() {
    let keras = keras();
    let keras = &keras["optimizers"];
    let kept_steps = sizes(&keras["kept_steps"]);
    let gradients: Vec<Vec<Vec<f32>>> =
        list(&keras["gradients"]).iter().map(|step| list(step).iter().map(numbers).collect()).collect();
    let pool = ThreadPool::new(1);
    for case in list(&keras["cases"]) {
        let what = case["optimizer"].to_string();
        let config = OptimizerConfig::from_json(&case["optimizer"]).unwrap();
        let mut parameters: Vec<Vec<f32>> = list(&keras["start"]).iter().map(numbers).collect();
        let variables = parameters.iter().zip(list(&case["regularizers"])).enumerate();
        let variables: Vec<Variable> = variables
            .map(|(index, (values, regularizer))| {
                let part = |name: &str| regularizer[name].as_f64().unwrap() as f32;
                let regularizer =
                    (!regularizer.is_null()).then(|| Regularizer { l1: part("l1"), l2: part("l2") });
                Variable { name: format!("w{index}"), len: values.len(), regularizer }
            })
            .collect();
        let mut optimizer = Optimizer::new(config, variables);
        let mut kept = list(&case["parameters"]).iter();
        for (step, gradients) in gradients.iter().enumerate() {
            let mut updates: Vec<Update<'_>> = parameters
                .iter_mut()
                .zip(gradients)
                .map(|(parameter, gradient)| Update { parameter, gradient })
                .collect();
            optimizer.step(Isa::detect(), &pool, &mut updates).unwrap();
            if kept_steps.contains(&(step + 1)) {
                for (got, expected) in parameters.iter().zip(list(kept.next().unwrap())) {
                    near(got, &numbers(expected), TOLERANCE, &format!("{what}, step {}", step + 1));
                }
            }
        }
        assert!(kept.next().is_none());
        let slots = case["slots"].as_object().unwrap();
        assert_eq!(optimizer.slots().count(), slots.len(), "{what}");
        for slot in optimizer.slots() {
            let name = format!("{}_{}", slot.parameter, slot.name);
            near(slot.values, &numbers(&slots[&name]), TOLERANCE, &format!("{what}, {name}"));
        }
    }
}

#[test]
fn keras_serialized_forms_come_back_the_same() {
    let keras = keras();
    for case in list(&keras["losses"]) {
        let loss = Loss::from_json(&case["loss"]).unwrap();
        assert_eq!(Loss::from_json(&loss.to_json()), Ok(loss));
    }
    for case in list(&keras["metrics"]) {
        let metric = Metric::from_json(&case["metric"]).unwrap();
        assert_eq!(Metric::from_json(&metric.to_json()), Ok(metric));
    }
    for case in list(&keras["optimizers"]["cases"]) {
        let config = OptimizerConfig::from_json(&case["optimizer"]).unwrap();
        assert_eq!(OptimizerConfig::from_json(&config.to_json()), Ok(config));
    }
}
