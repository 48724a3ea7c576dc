use super::*;

fn variable(name: &str, len: usize) -> Variable {
    Variable { name: name.to_owned(), len, regularizer: None }
}

fn machine() -> (Isa, ThreadPool) {
    (Isa::detect(), ThreadPool::new(1))
}

/// One step of plain descent from `parameters`.
fn stepped(text: &str, regularizer: Option<Regularizer>, parameters: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (isa, pool) = machine();
    let mut own = variable("w", parameters.len());
    own.regularizer = regularizer;
    let mut optimizer = Optimizer::new(text.parse().unwrap(), [own]);
    let mut parameters = parameters.to_vec();
    optimizer.step(isa, &pool, &mut [Update { parameter: &mut parameters, gradient }]).unwrap();
    parameters
}

#[test]
fn gradients_are_penalized_then_clipped() {
    let sgd = |clip: &str| format!(r#"{{"name": "sgd", "learning_rate": 1.0, {clip}}}"#);
    // l2: the gradient becomes [0 + 2 * 1 * 3, 4 + 2 * 1 * 2] = [6, 8], of norm 10.
    let l2 = Some(Regularizer { l1: 0.0, l2: 1.0 });
    assert_eq!(stepped(&sgd(r#""clipnorm": 5.0"#), l2, &[3.0, 2.0], &[0.0, 4.0]), [0.0, -2.0]);
    assert_eq!(stepped(&sgd(r#""clipvalue": 1.0"#), l2, &[3.0, 2.0], &[0.0, 4.0]), [2.0, 1.0]);
    assert_eq!(stepped(&sgd(r#""clipnorm": 50.0"#), l2, &[3.0, 2.0], &[0.0, 4.0]), [-3.0, -6.0]);
    let l1 = Some(Regularizer { l1: 0.5, l2: 0.0 });
    assert_eq!(stepped(&sgd(r#""clipnorm": 0"#), l1, &[3.0, 0.0, -1.0], &[0.0; 3]), [2.5, 0.0, -0.5]);
}

#[test]
fn decay_comes_before_the_update() {
    let config = r#"{"name": "sgd", "learning_rate": 0.5, "weight_decay": 0.5}"#;
    assert_eq!(stepped(config, None, &[4.0], &[2.0]), [4.0 - 1.0 - 1.0]);
}

#[test]
fn the_global_norm_is_that_of_all_parameters() {
    let (isa, pool) = machine();
    let config = r#"{"name": "sgd", "learning_rate": 1.0, "global_clipnorm": 2.5}"#.parse().unwrap();
    let mut optimizer = Optimizer::new(config, [variable("a", 1), variable("b", 1)]);
    let (mut a, mut b) = ([0.0], [0.0]);
    let mut updates =
        [Update { parameter: &mut a, gradient: &[3.0] }, Update { parameter: &mut b, gradient: &[4.0] }];
    optimizer.step(isa, &pool, &mut updates).unwrap();
    assert_eq!((a, b), ([-1.5], [-2.0]));
}

#[test]
fn a_restored_optimizer_goes_on_bit_by_bit() {
    let (isa, pool) = machine();
    let texts = [
        r#"{"name": "sgd", "momentum": 0.9}"#,
        r#"{"name": "rmsprop", "momentum": 0.5, "centered": true}"#,
        r#"{"name": "adam", "amsgrad": true}"#,
        "adamw",
    ];
    for text in texts {
        let config: OptimizerConfig = text.parse().unwrap();
        let mut first = Optimizer::new(config.clone(), [variable("a", 3), variable("b", 2)]);
        let (mut a, mut b) = (vec![1.0, -2.0, 3.0], vec![0.5, 0.25]);
        let step = |optimizer: &mut Optimizer, a: &mut [f32], b: &mut [f32], t: u64| {
            let gradients = [[0.1 * t as f32, -0.2, 0.3], [1.0, 0.1 * t as f32, 0.0]];
            let mut updates = [
                Update { parameter: a, gradient: &gradients[0] },
                Update { parameter: b, gradient: &gradients[1][..2] },
            ];
            optimizer.step(isa, &pool, &mut updates).unwrap();
        };
        (0..3).for_each(|t| step(&mut first, &mut a, &mut b, t));
        first.set_learning_rate(0.25).unwrap();

        let kept: Vec<(String, Vec<f32>)> = first
            .slots()
            .map(|slot| (format!("{}/{}", slot.parameter, slot.name), slot.values.to_vec()))
            .collect();
        let find = |parameter: &str, slot: &str| {
            let name = format!("{parameter}/{slot}");
            kept.iter().find(|(own, _)| *own == name).map(|(_, values)| &values[..])
        };
        let mut second = Optimizer::new(config, [variable("a", 3), variable("b", 2)]);
        let text = serde_json::to_string(&first.progress()).unwrap();
        second.restore(&serde_json::from_str(&text).unwrap(), find).unwrap();
        let (mut c, mut d) = (a.clone(), b.clone());
        (3..6).for_each(|t| step(&mut first, &mut a, &mut b, t));
        (3..6).for_each(|t| step(&mut second, &mut c, &mut d, t));
        assert_eq!((a, b), (c, d));
        assert!(second.restore(&first.progress(), |_, _| None).is_err());
        assert!(second.restore(&first.progress(), |_, _| Some(&[0.0])).is_err());
    }
}

#[test]
fn slots_are_named_as_in_keras() {
    let names = |text: &str| -> Vec<&'static str> {
        let optimizer = Optimizer::new(text.parse().unwrap(), [variable("w", 1)]);
        optimizer.slots().map(|slot| slot.name).collect()
    };
    assert_eq!(names("sgd"), [""; 0]);
    assert_eq!(names(r#"{"name": "rmsprop", "momentum": 0.1}"#), ["velocity", "momentum"]);
    assert_eq!(names("adam"), ["momentum", "velocity"]);
}

#[test]
fn a_scheduled_rate_follows_the_steps_and_cannot_be_set() {
    let (isa, pool) = machine();
    let config = r#"{"name": "sgd", "learning_rate": {"name": "ExponentialDecay",
        "initial_learning_rate": 1.0, "decay_steps": 1, "decay_rate": 0.5}}"#;
    let mut optimizer = Optimizer::new(config.parse().unwrap(), [variable("w", 1)]);
    let mut parameter = [0.0];
    for expected in [-1.0, -1.5, -1.75] {
        let update = Update { parameter: &mut parameter, gradient: &[1.0] };
        optimizer.step(isa, &pool, &mut [update]).unwrap();
        assert_eq!(parameter, [expected]);
    }
    assert_eq!(optimizer.set_learning_rate(0.1), Err(OptimizerError::Scheduled));
}

#[test]
fn misfits_are_refused() {
    let (isa, pool) = machine();
    let mut optimizer = Optimizer::new("adam".parse().unwrap(), [variable("w", 2)]);
    assert!(matches!(
        optimizer.step(isa, &pool, &mut []),
        Err(OptimizerError::Count { expected: 1, got: 0 })
    ));
    let mut parameter = [0.0; 2];
    let update = Update { parameter: &mut parameter, gradient: &[1.0] };
    let error = optimizer.step(isa, &pool, &mut [update]).unwrap_err().to_string();
    assert_eq!(error, "the gradient of parameter 'w' has 1 elements, it should have 2");
}
