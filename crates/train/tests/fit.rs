//! Whole trainings: they learn, stop, go on, and say what is wrong.

use litesmith_data::{Array, Dataset, ElementType, InputSpec};
use litesmith_graph::{Model, text};
use litesmith_runtime::Options as RunOptions;
use litesmith_train::{
    Checkpoint, EpochReport, FitOptions, Flow, Hooks, LossKind, Measures, Metric, MetricKind, Objective,
    OptimizerConfig, Position, Setup, StepReport, TrainError, Trainer, evaluate, fit, restore,
};

const MODEL: &str = r#"parameter @conv: f32[6,3,3,1] trainable = random(1)
parameter @gamma: f32[6] trainable = splat(1)
parameter @beta: f32[6] trainable = splat(0)
parameter @mean: f32[6] = splat(0)
parameter @variance: f32[6] = splat(1)
parameter @dense: f32[6,3] trainable = random(2)
graph main(%x: f32[batch,6,6,1]) -> (%y) {
  %c: f32[batch,6,6,6] = Conv2D(%x, @conv, _) {"padding":"same"}
  %n: f32[batch,6,6,6] = BatchNorm(%c, @gamma, @beta, @mean, @variance) {"momentum":0.9}
  %r: f32[batch,6,6,6] = Unary(%n)
  %m: f32[batch,6] = Reduce(%r) {"axes":[1,2]}
  %d: f32[batch,6] = Dropout(%m) {"rate":0.1}
  %w: f32[3,6] = Transpose(@dense) {"permutation":[1,0]}
  %l: f32[batch,3] = FullyConnected(%d, %w, _)
  %y: f32[batch,3] = Softmax(%l)
}"#;

const SAMPLES: usize = 90;

/// Images of three kinds: rows, columns, and nothing but noise.
fn data(label: impl Fn(usize) -> i64) -> Dataset {
    let mut pixels = Vec::new();
    for sample in 0..SAMPLES {
        for (row, column) in (0..36).map(|pixel| (pixel / 6, pixel % 6)) {
            let noise = ((sample * 131 + row * 37 + column * 17) % 23) as f32 / 46.0;
            let striped = [row % 2, column % 2, 0][sample % 3] as f32;
            pixels.push(striped + noise);
        }
    }
    let x = Array::from_slice(&[SAMPLES, 6, 6, 1], &pixels).unwrap().named("x");
    let labels: Vec<i64> = (0..SAMPLES).map(|sample| label(sample % 3)).collect();
    let y = Array::from_slice(&[SAMPLES], &labels).unwrap().named("y");
    let spec = InputSpec::new("x", &[Some(6), Some(6), Some(1)], ElementType::F32);
    Dataset::from_arrays(vec![x], vec![y], &[spec], &Default::default()).unwrap()
}

fn model() -> Model {
    text::parse(MODEL).unwrap()
}

fn trainer(threads: usize, optimizer: &str) -> Trainer {
    let optimizer = OptimizerConfig::from_json(&serde_json::from_str(optimizer).unwrap()).unwrap();
    let loss = LossKind::SparseCategoricalCrossentropy { from_logits: false, ignore_class: None };
    let accuracy = vec![Metric::new("accuracy", MetricKind::Accuracy)];
    let setup = Setup::new(vec![Objective::new("y", loss).with_metrics(accuracy)], optimizer)
        .with_seed(5)
        .with_run(RunOptions::default().with_threads(threads));
    Trainer::new(model(), setup, 16).unwrap()
}

const ADAM: &str = r#"{"name":"adam","learning_rate":0.02}"#;

fn options(epochs: usize) -> FitOptions {
    let mut options = FitOptions::default();
    (options.epochs, options.batch_size) = (epochs, 16);
    options
}

/// Keeps checkpoints, and stops at a step.
#[derive(Default)]
struct Watch {
    checkpoint: Vec<u8>,
    stop_at: Option<u64>,
    steps: u64,
    epochs: usize,
}

impl Hooks for Watch {
    fn on_step(&mut self, report: &StepReport<'_>) -> Flow {
        assert!(report.step <= report.steps && report.samples > 0);
        self.steps += 1;
        if self.stop_at == Some(self.steps) { Flow::Stop } else { Flow::Continue }
    }

    fn on_epoch(&mut self, _: usize, _: &EpochReport) -> Flow {
        self.epochs += 1;
        Flow::Continue
    }

    fn on_checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), TrainError> {
        self.checkpoint = checkpoint.to_bytes("test", &[]);
        Ok(())
    }
}

fn bytes(model: &Model) -> Vec<u8> {
    model.parameters.iter().flat_map(|parameter| parameter.data.bytes().to_vec()).collect()
}

#[test]
fn a_small_network_learns() {
    let data = data(|kind| kind as i64);
    let mut trainer = trainer(2, ADAM);
    let mut watch = Watch::default();
    let position =
        fit(&mut trainer, &data, Some(&data), &options(12), Position::default(), &mut watch).unwrap();
    assert_eq!((position.epoch, position.history.len(), watch.epochs), (12, 12, 12));
    let (first, last) = (&position.history[0], &position.history[11]);
    assert!(last.loss < first.loss / 2.0, "{} to {}", first.loss, last.loss);
    let measures: Measures = evaluate(&mut trainer, &data, 32, &mut |_| Flow::Continue).unwrap();
    let [(name, accuracy)] = &measures.named()[..] else { panic!("{measures:?}") };
    assert!(name == "accuracy" && *accuracy > 0.95, "{name} {accuracy}");
    assert_eq!(
        last.val_loss,
        Some(evaluate(&mut trainer, &data, 16, &mut |_| Flow::Continue).unwrap().loss.result())
    );
    // The running statistics were learnt too.
    let trained = trainer.model();
    let mean = trained.parameters[3].data.elements::<f32>().into_owned();
    assert!(mean.iter().any(|mean| mean.abs() > 1e-3), "{mean:?}");
}

#[test]
fn what_is_interrupted_ends_with_the_same_bits() {
    let data = data(|kind| kind as i64);
    let mut whole = trainer(1, ADAM);
    fit(&mut whole, &data, None, &options(3), Position::default(), &mut Watch::default()).unwrap();
    let expected = bytes(&whole.model());
    for stop_at in [1, 4, 6, 7, 13] {
        let mut watch = Watch { stop_at: Some(stop_at), ..Watch::default() };
        let mut first = trainer(3, ADAM);
        fit(&mut first, &data, None, &options(3), Position::default(), &mut watch).unwrap();
        let mut second = trainer(2, ADAM);
        let (position, _) = restore(&mut second, &watch.checkpoint, "test").unwrap();
        let end = fit(&mut second, &data, None, &options(3), position, &mut Watch::default()).unwrap();
        assert_eq!(end.history.len(), 3);
        assert!(bytes(&second.model()) == expected, "stopped at step {stop_at}");
    }
}

#[test]
fn broken_checkpoints_and_those_of_others_are_refused() {
    let data = data(|kind| kind as i64);
    let mut watch = Watch::default();
    fit(&mut trainer(1, ADAM), &data, None, &options(1), Position::default(), &mut watch).unwrap();
    let good = watch.checkpoint;
    let mut own = trainer(1, ADAM);
    assert!(restore(&mut own, &good, "another").is_err());
    for length in (0..good.len()).step_by(97) {
        assert!(restore(&mut own, &good[..length], "test").is_err(), "{length} bytes");
    }
    let more_slots = r#"{"name":"adam","learning_rate":0.02,"amsgrad":true}"#;
    assert!(restore(&mut trainer(1, more_slots), &good, "test").is_err());
    assert!(restore(&mut own, &good, "test").is_ok());
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let data = data(|kind| if kind == 2 { 7 } else { kind as i64 });
    let mut watch = Watch::default();
    let failed = fit(&mut trainer(1, ADAM), &data, None, &options(1), Position::default(), &mut watch);
    let message = failed.unwrap_err().to_string();
    assert!(message.contains("label 7") && message.contains("3 classes"), "{message}");
}

#[test]
fn a_loss_that_is_no_number_ends_training_and_keeps_the_checkpoint() {
    let data = data(|kind| kind as i64);
    let mut watch = Watch::default();
    let sgd = r#"{"name":"sgd","learning_rate":1e30}"#;
    let failed = fit(&mut trainer(1, sgd), &data, None, &options(4), Position::default(), &mut watch);
    let message = failed.unwrap_err().to_string();
    assert!(message.contains("the loss"), "{message}");
}

#[test]
fn frozen_statistics_stay() {
    let data = data(|kind| kind as i64);
    let mut options = options(1);
    options.freeze_batch_statistics = Some(0);
    let mut trainer = trainer(1, ADAM);
    fit(&mut trainer, &data, None, &options, Position::default(), &mut Watch::default()).unwrap();
    let trained = trainer.model();
    assert!(trained.parameters[3].data.elements::<f32>().iter().all(|mean| *mean == 0.0));
    assert!(trained.parameters[1].data.elements::<f32>().iter().any(|gamma| *gamma != 1.0));
}

/// Two heads on one body: which kind, and how much light.
const TWO_HEADS: &str = r#"parameter @conv: f32[6,3,3,1] trainable = random(1)
parameter @kind: f32[3,6] trainable = random(2)
parameter @light: f32[1,6] trainable = random(3)
graph main(%x: f32[batch,6,6,1]) -> (%y, %z) {
  %c: f32[batch,6,6,6] = Conv2D(%x, @conv, _) {"padding":"same"}
  %r: f32[batch,6,6,6] = Unary(%c)
  %m: f32[batch,6] = Reduce(%r) {"axes":[1,2]}
  %l: f32[batch,3] = FullyConnected(%m, @kind, _)
  %y: f32[batch,3] = Softmax(%l)
  %z: f32[batch,1] = FullyConnected(%m, @light, _)
}"#;

#[test]
fn several_outputs_have_losses_of_their_own() {
    let single = data(|kind| kind as i64);
    let x = single.batch(0..SAMPLES).unwrap().remove(0);
    let pixels = x.as_slice::<f32>().unwrap();
    let light: Vec<f32> = pixels.chunks_exact(36).map(|image| image.iter().sum::<f32>() / 36.0).collect();
    let light = Array::from_slice(&[SAMPLES], &light).unwrap().named("z");
    let kinds = single.targets()[0].values.clone().named("y");
    let spec = single.inputs().to_vec();
    let data = |targets| Dataset::from_arrays(vec![x.clone()], targets, &spec, &Default::default()).unwrap();
    let both = data(vec![light.clone(), kinds]);

    let cross = LossKind::SparseCategoricalCrossentropy { from_logits: false, ignore_class: None };
    let accuracy = vec![Metric::new("accuracy", MetricKind::Accuracy)];
    let kind = Objective::new("y", cross).with_metrics(accuracy);
    let light_objective = Objective::new("z", LossKind::MeanSquaredError).with_weight(3.0);
    let optimizer = OptimizerConfig::from_json(&serde_json::from_str(ADAM).unwrap()).unwrap();
    let trainer = |objectives| {
        Trainer::new(text::parse(TWO_HEADS).unwrap(), Setup::new(objectives, optimizer.clone()), 16)
    };
    let mut two = trainer(vec![kind.clone(), light_objective.clone()]).unwrap();
    let position =
        fit(&mut two, &both, Some(&both), &options(12), Position::default(), &mut Watch::default()).unwrap();
    let last = &position.history[11];
    let value = |name: &str| last.metrics.iter().find(|(own, _)| own == name).unwrap().1;
    let first = &position.history[0].metrics;
    assert!(value("y_accuracy") > 0.5 && value("y_loss") < first[0].1, "{last:?}");
    assert!(value("z_loss") < first[1].1 / 2.0, "{last:?}");
    let sum = value("y_loss") + 3.0 * value("z_loss");
    assert!((last.loss - sum).abs() < 1e-5 * sum, "{last:?}");

    // An output without a loss is left out, and its weights stay.
    let mut one = trainer(vec![Objective::none("y"), light_objective.clone()]).unwrap();
    let before = bytes(&one.model());
    fit(&mut one, &both, None, &options(1), Position::default(), &mut Watch::default()).unwrap();
    let after = one.model();
    assert_ne!(before, bytes(&after));
    assert_eq!(after.parameters[1].data, text::parse(TWO_HEADS).unwrap().parameters[1].data);
    assert_eq!(
        one.predict(&litesmith_train::arrays(&both.batches(4).unwrap().next().unwrap().unwrap()))
            .unwrap()
            .len(),
        1
    );

    let mut lacking = trainer(vec![kind, light_objective]).unwrap();
    let failed =
        fit(&mut lacking, &data(vec![light]), None, &options(1), Position::default(), &mut Watch::default());
    let message = failed.unwrap_err().to_string();
    assert!(message.contains("targets for output 'y'"), "{message}");
    assert!(matches!(trainer(vec![Objective::none("y"), Objective::none("z")]), Err(TrainError::NoLoss)));
    assert!(matches!(trainer(vec![]), Err(TrainError::Outputs { outputs: 2, objectives: 0 })));
}
