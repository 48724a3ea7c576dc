//! Models in memory that are trained, measured and asked.

use litesmith::{
    DataOptions, Error, Learner, PruneTraining, QuantizeAware, RunOptions, SampleArray, Silent, TrainOptions,
    train,
};

use crate::{StopAt, asset};

fn options(samples: usize) -> TrainOptions {
    let mut options =
        TrainOptions::new(DataOptions::new(asset("fashion-train.npz")).with_samples(Some(samples)));
    options.fit.batch_size = 50;
    options.fit.epochs = 2;
    options.learning_rate = Some(1e-3);
    options
}

fn learner() -> Learner {
    Learner::open(&asset("fashion.keras")).unwrap()
}

fn test_images(count: usize) -> Vec<SampleArray> {
    let arrays = litesmith_data::npz::read(&asset("fashion-test.npz"), 1 << 24).unwrap();
    let x = arrays.iter().find(|array| array.name() == Some("x")).unwrap();
    vec![SampleArray::from_slice(&[count, 28, 28, 1], &x.to_f32()[..count * 784]).unwrap()]
}

#[test]
fn epoch_by_epoch_is_what_train_does_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trained.keras");
    let options = options(200);
    let at_once = train(&asset("fashion.keras"), &file, &options, &Silent).unwrap();
    let mut learner = learner();
    for expected in &at_once.epochs {
        let epoch = learner.epoch(&options, &Silent).unwrap();
        assert_eq!((epoch.loss, &epoch.metrics), (expected.loss, &expected.metrics));
    }
    assert_eq!((learner.steps(), learner.sparsity()), (8, None));
    assert!(learner.to_bytes().unwrap() == std::fs::read(file).unwrap());
}

#[test]
fn arrays_in_memory_are_learnt_from_like_files() {
    let mut from_file = options(200);
    from_file.fit.epochs = 1;
    let arrays = litesmith_data::npz::read(&asset("fashion-train.npz"), 1 << 24).unwrap();
    let named = |name: &str| arrays.iter().find(|array| array.name() == Some(name)).unwrap().clone();
    let mut held = from_file.clone();
    held.data = DataOptions::from_arrays(vec![named("x")], vec![named("y")]).with_samples(Some(200));
    let (mut a, mut b) = (learner(), learner());
    let (a, b) = (a.epoch(&from_file, &Silent).unwrap(), b.epoch(&held, &Silent).unwrap());
    assert_eq!((a.loss, a.metrics), (b.loss, b.metrics));
}

#[test]
fn weights_can_be_taken_and_given_back() {
    let mut learner = learner();
    let before: Vec<_> = learner.weights().into_iter().map(|weight| weight.value).collect();
    let predicted = learner.predict(test_images(20), 7, None, &RunOptions::default(), &Silent).unwrap();
    assert_eq!(predicted[0].shape, [20, 10]);
    learner.epoch(&options(100), &Silent).unwrap();
    let trained = learner.predict(test_images(20), 20, None, &RunOptions::default(), &Silent).unwrap();
    assert!(trained != predicted);
    learner.set_weights(&before).unwrap();
    let again = learner.predict(test_images(20), 20, None, &RunOptions::default(), &Silent).unwrap();
    assert!(again == predicted);
    assert!(learner.set_weights(&before[1..]).is_err());
    let mut wrong = before.clone();
    wrong[0].shape = vec![1];
    assert!(learner.set_weights(&wrong).is_err());
}

#[test]
fn integers_that_are_simulated_are_measured_before_and_behind_training() {
    let mut aware = options(200);
    aware.quantize_aware = Some(QuantizeAware::default());
    let mut learner = learner();
    assert!(!learner.has_learnt_ranges());
    let before = learner.evaluate(&aware, &Silent).unwrap();
    learner.epoch(&aware, &Silent).unwrap();
    let behind = learner.evaluate(&aware, &Silent).unwrap();
    assert_eq!((before[0].0.as_str(), before[1].0.as_str()), ("loss", "accuracy"));
    assert!(before[1].1 > 0.8 && behind[1].1 > 0.8, "{before:?} {behind:?}");
    let recipe = aware.quantize_aware.as_ref();
    let simulated = learner.predict(test_images(9), 9, recipe, &RunOptions::default(), &Silent).unwrap();
    // What was learnt goes into the file, and comes back with it.
    let mut read = Learner::from_bytes(learner.to_bytes().unwrap().into()).unwrap();
    assert!(read.has_learnt_ranges());
    let integers = read.predict(test_images(9), 9, recipe, &RunOptions::default(), &Silent).unwrap();
    let (a, b) = (simulated[0].elements::<f32>(), integers[0].elements::<f32>());
    assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 0.1), "{a:?} {b:?}");
}

#[test]
fn a_schedule_of_pruning_goes_on_from_epoch_to_epoch() {
    let mut pruned = options(200);
    let mut prune = PruneTraining::new(Some(0.2), 0.8);
    (prune.end, prune.frequency) = (Some(7), Some(1));
    pruned.prune = Some(prune);
    let mut learner = learner();
    let first = learner.epoch(&pruned, &Silent).unwrap().sparsity.unwrap();
    let second = learner.epoch(&pruned, &Silent).unwrap().sparsity.unwrap();
    assert!(first < second && (second - 0.8).abs() < 0.01, "{first} {second}");
    // Losses made anew leave weights and masks as they are.
    learner.recompile();
    let measured = learner.evaluate(&pruned, &Silent).unwrap();
    assert!(measured[0].1.is_finite());
    assert_eq!(learner.sparsity(), Some(second));
}

#[test]
fn who_interrupts_an_epoch_keeps_the_steps_that_are_done() {
    let mut learner = learner();
    let before = learner.weights();
    let stopped = learner.epoch(&options(200), &StopAt::step(2));
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert!(learner.steps() > 0 && learner.steps() < 4);
    assert!(learner.weights() != before);
}

#[test]
fn learning_rates_can_be_changed_between_epochs() {
    let mut learner = learner();
    assert_eq!(learner.learning_rate(), None);
    learner.set_learning_rate(0.5).unwrap();
    learner.epoch(&options(100), &Silent).unwrap();
    assert_eq!(learner.learning_rate(), Some(1e-3));
    learner.set_learning_rate(0.25).unwrap();
    learner.epoch(&options(100), &Silent).unwrap();
    assert_eq!(learner.learning_rate(), Some(0.25));
}

#[test]
fn the_configuration_is_that_of_the_file() {
    let configuration = learner().configuration().unwrap().unwrap();
    assert!(configuration.contains("\"stem\""));
    assert_eq!(learner().inputs()[0].2, [-1, 28, 28, 1]);
    assert_eq!(learner().outputs()[0].1, [-1, 10]);
}
