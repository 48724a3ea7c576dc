//! Whole trainings with masks: zeros stay zeros, and who is interrupted goes on as if nothing had happened.

use litesmith_data::{Array, Dataset, ElementType, InputSpec};
use litesmith_graph::{Model, text};
use litesmith_kernels::ThreadPool;
use litesmith_prune::{Options, Pruning, Schedule};
use litesmith_runtime::Options as RunOptions;
use litesmith_train::{
    Checkpoint, EpochReport, FitOptions, Flow, Hooks, LossKind, Objective, OptimizerConfig, Position, Setup,
    StepReport, TrainError, Trainer, fit, restore,
};

const MODEL: &str = r#"parameter @conv: f32[3,3,1,8] trainable = random(1)
parameter @dense: f32[8,3] trainable = random(2)
graph main(%x: f32[batch,6,6,1]) -> (%y) {
  %k: f32[8,3,3,1] = Transpose(@conv) {"permutation":[3,0,1,2]}
  %c: f32[batch,6,6,8] = Conv2D(%x, %k, _) {"padding":"same"} # conv
  %r: f32[batch,6,6,8] = Unary(%c)
  %m: f32[batch,8] = Reduce(%r) {"axes":[1,2]}
  %w: f32[3,8] = Transpose(@dense) {"permutation":[1,0]}
  %l: f32[batch,3] = FullyConnected(%m, %w, _) # dense
  %y: f32[batch,3] = Softmax(%l)
}"#;

fn data() -> Dataset {
    let pixels: Vec<f32> = (0..48 * 36).map(|i| ((i * 131 + i / 36 * 37) % 23) as f32 / 23.0).collect();
    let x = Array::from_slice(&[48, 6, 6, 1], &pixels).unwrap().named("x");
    let labels: Vec<i64> = (0..48).map(|sample| sample % 3).collect();
    let y = Array::from_slice(&[48], &labels).unwrap().named("y");
    let spec = InputSpec::new("x", &[Some(6), Some(6), Some(1)], ElementType::F32);
    Dataset::from_arrays(vec![x], vec![y], &[spec], &Default::default()).unwrap()
}

fn trainer(threads: usize) -> Trainer {
    let optimizer = OptimizerConfig::from_json(&serde_json::json!("adam")).unwrap();
    let loss = LossKind::SparseCategoricalCrossentropy { from_logits: false, ignore_class: None };
    let setup = Setup::new(vec![Objective::new("y", loss)], optimizer)
        .with_run(RunOptions::default().with_threads(threads));
    Trainer::new(model(), setup, 8).unwrap()
}

fn model() -> Model {
    text::parse(MODEL).unwrap()
}

/// Three epochs of six steps; masks from 0.25 to 0.75 at every second step.
fn pruning() -> Pruning {
    let schedule = Schedule::polynomial(0.25, 0.75, 0, 12, 3.0, 2).unwrap();
    Pruning::new(&model(), schedule, &Options::new(0.75), ThreadPool::new(1)).unwrap()
}

struct Watch {
    pruning: Pruning,
    stop_at: Option<u64>,
    steps: u64,
    checkpoint: Vec<u8>,
    shares: Vec<f64>,
}

impl Watch {
    fn new(pruning: Pruning, stop_at: Option<u64>) -> Watch {
        Watch { pruning, stop_at, steps: 0, checkpoint: Vec::new(), shares: Vec::new() }
    }
}

impl Hooks for Watch {
    fn before_step(&mut self, trainer: &mut Trainer) -> Result<(), TrainError> {
        self.pruning.before_step(trainer);
        Ok(())
    }

    fn after_step(&mut self, trainer: &mut Trainer) -> Result<(), TrainError> {
        self.pruning.apply(trainer);
        self.shares.push(self.pruning.sparsity());
        Ok(())
    }

    fn sparsity(&self) -> Option<f64> {
        Some(self.pruning.sparsity())
    }

    fn on_step(&mut self, _: &StepReport<'_>) -> Flow {
        self.steps += 1;
        if self.stop_at == Some(self.steps) { Flow::Stop } else { Flow::Continue }
    }

    fn on_epoch(&mut self, _: usize, _: &EpochReport) -> Flow {
        Flow::Continue
    }

    fn on_checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), TrainError> {
        self.checkpoint = checkpoint.to_bytes("test", &self.pruning.to_bytes());
        Ok(())
    }
}

fn options() -> FitOptions {
    let mut options = FitOptions::default();
    (options.epochs, options.batch_size) = (3, 8);
    options
}

fn zeros(model: &Model) -> Vec<f64> {
    let share =
        |values: &[f32]| values.iter().filter(|value| **value == 0.0).count() as f64 / values.len() as f64;
    model.parameters.iter().map(|parameter| share(&parameter.data.elements())).collect()
}

#[test]
fn zeros_grow_as_the_schedule_says_and_stay() {
    let (mut trainer, mut watch) = (trainer(1), Watch::new(pruning(), None));
    let position = fit(&mut trainer, &data(), None, &options(), Position::default(), &mut watch).unwrap();
    assert!(watch.shares.is_sorted(), "{:?}", watch.shares);
    assert_eq!((watch.shares[0], watch.shares[17]), (0.25, 0.75));
    assert_eq!(zeros(&trainer.model()), [0.75, 0.75]);
    assert_eq!(position.history.last().unwrap().sparsity, Some(0.75));
    let outcomes = watch.pruning.outcomes();
    assert!(outcomes.iter().all(|outcome| outcome.sparsity == 0.75 && outcome.reason.is_none()));
}

#[test]
fn an_interrupted_training_ends_with_the_same_bits() {
    let (mut whole, mut watch) = (trainer(1), Watch::new(pruning(), None));
    fit(&mut whole, &data(), None, &options(), Position::default(), &mut watch).unwrap();
    for stop in [1, 5, 8] {
        let (mut first, mut watch) = (trainer(2), Watch::new(pruning(), Some(stop)));
        fit(&mut first, &data(), None, &options(), Position::default(), &mut watch).unwrap();
        let mut second = trainer(1);
        let (position, masks) = restore(&mut second, &watch.checkpoint, "test").unwrap();
        let mut pruning = pruning();
        pruning.restore(&masks).unwrap();
        let mut rest = Watch::new(pruning, None);
        let position = fit(&mut second, &data(), None, &options(), position, &mut rest).unwrap();
        assert_eq!(second.model(), whole.model(), "stopped behind step {stop}");
        assert_eq!(position.history.len(), 3);
    }
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let mut pruning = pruning();
    let bytes = pruning.to_bytes();
    assert!(pruning.restore(&bytes).is_ok());
    assert!(pruning.restore(&bytes[1..]).is_err());
    assert!(pruning.restore(&[bytes.as_slice(), &[0]].concat()).is_err());
    assert!(pruning.restore(&[1]).is_err());
}
