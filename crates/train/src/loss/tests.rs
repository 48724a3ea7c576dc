use litesmith_kernels::ThreadPool;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::target::Targets;

/// Every loss, with options that matter.
fn kinds() -> Vec<LossKind> {
    let sparse = |from_logits| LossKind::SparseCategoricalCrossentropy { from_logits, ignore_class: None };
    let categorical = |from_logits| LossKind::CategoricalCrossentropy { from_logits, label_smoothing: 0.1 };
    let binary = |from_logits| LossKind::BinaryCrossentropy { from_logits, label_smoothing: 0.2 };
    vec![
        sparse(false),
        sparse(true),
        categorical(false),
        categorical(true),
        binary(false),
        binary(true),
        LossKind::MeanSquaredError,
        LossKind::MeanAbsoluteError,
        LossKind::MeanAbsolutePercentageError,
        LossKind::MeanSquaredLogarithmicError,
        LossKind::Huber { delta: 0.3 },
        LossKind::LogCosh,
        LossKind::KlDivergence,
        LossKind::Poisson,
        LossKind::Hinge,
        LossKind::SquaredHinge,
        LossKind::CategoricalHinge,
        LossKind::CosineSimilarity,
    ]
}

#[test]
fn gradients_are_the_slopes_of_values() {
    let pool = ThreadPool::new(1);
    let numbers = |len| prop::collection::vec(0.1f32..0.9, len);
    let strategy = (numbers(12), prop::collection::vec(0usize..4, 3), prop::collection::vec(0.5f32..2.0, 3));
    let config = Config { cases: 20, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let check = |(p, labels, weights): (Vec<f32>, Vec<usize>, Vec<f32>)| {
        for kind in kinds() {
            let loss = Loss::from(kind);
            let one_hot: Vec<f32> = (0..12).map(|i| f32::from(labels[i / 4] == i % 4)).collect();
            let classes: Vec<u32> = labels.iter().map(|label| *label as u32).collect();
            let sparse = matches!(kind, LossKind::SparseCategoricalCrossentropy { .. });
            let targets = if sparse {
                Targets::Labels(&classes)
            } else {
                Targets::Values { shape: &[3, 4], values: &one_hot }
            };
            let value = |p: &[f32]| {
                let batch = Batch { shape: &[3, 4], predictions: p, targets, weights: Some(&weights) };
                loss.value(&pool, &batch).unwrap()
            };
            let batch = Batch { shape: &[3, 4], predictions: &p, targets, weights: Some(&weights) };
            let mut gradient = vec![0.0; 12];
            let own = loss.value_and_gradient(&pool, &batch, 1.0, &mut gradient).unwrap();
            prop_assert_eq!(own, value(&p));
            for i in 0..12 {
                let (mut low, mut high) = (p.clone(), p.clone());
                low[i] -= 1e-3;
                high[i] += 1e-3;
                let step = f64::from(high[i]) - f64::from(low[i]);
                let slope = (value(&high) - value(&low)) / step;
                let error = (slope - f64::from(gradient[i])).abs();
                let kinked = matches!(kind, LossKind::CategoricalHinge | LossKind::Huber { .. });
                // A kink between the two points makes their slope a mean of two.
                let most = if kinked { 0.7 } else { 2e-3 };
                prop_assert!(error <= most * (1.0 + slope.abs()), "{kind:?} {i}: {slope} {}", gradient[i]);
            }
        }
        Ok(())
    };
    TestRunner::new_with_rng(config, rng).run(&strategy, check).unwrap();
}

#[test]
fn sums_do_not_depend_on_threads() {
    let rows = 3000;
    let p: Vec<f32> = (0..rows * 10).map(|i| ((i * 7919) % 1000) as f32 / 250.0 - 2.0).collect();
    let labels: Vec<u32> = (0..rows).map(|i| i as u32 % 10).collect();
    let batch =
        Batch { shape: &[rows, 10], predictions: &p, targets: Targets::Labels(&labels), weights: None };
    let kind = LossKind::SparseCategoricalCrossentropy { from_logits: true, ignore_class: None };
    let run = |threads| {
        let mut gradient = vec![0.0; p.len()];
        let value =
            Loss::from(kind).value_and_gradient(&ThreadPool::new(threads), &batch, 1.0, &mut gradient);
        (value.unwrap(), gradient)
    };
    assert_eq!(run(1), run(3));
}

fn sparse(ignore_class: Option<i64>) -> Loss {
    LossKind::SparseCategoricalCrossentropy { from_logits: true, ignore_class }.into()
}

#[test]
fn ignored_classes_count_for_nothing() {
    let pool = ThreadPool::new(1);
    let p = [1.0, 2.0, 5.0, -3.0, 0.5, 0.25];
    let targets = Targets::Values { shape: &[3], values: &[0.0, -1.0, 1.0] };
    let batch = Batch { shape: &[3, 2], predictions: &p, targets, weights: None };
    let mut gradient = [9.0; 6];
    let value = sparse(Some(-1)).value_and_gradient(&pool, &batch, 1.0, &mut gradient).unwrap();
    let rest = [1.0, 2.0, 0.5, 0.25];
    let batch =
        Batch { shape: &[2, 2], predictions: &rest, targets: Targets::Labels(&[0, 1]), weights: None };
    let mut expected = [0.0; 4];
    assert_eq!(value, sparse(None).value_and_gradient(&pool, &batch, 1.0, &mut expected).unwrap());
    assert_eq!(gradient[..2], expected[..2]);
    assert_eq!(gradient[2..4], [0.0; 2]);
    assert_eq!(gradient[4..], expected[2..]);
    let all = Targets::Values { shape: &[2], values: &[-1.0; 2] };
    let batch = Batch { targets: all, ..batch };
    assert_eq!(sparse(Some(-1)).value(&pool, &batch), Ok(0.0));
}

#[test]
fn a_loss_that_is_no_number_names_its_sample() {
    let pool = ThreadPool::new(1);
    let p = [1.0, 2.0, f32::NAN, 1.0];
    let batch = Batch { shape: &[2, 2], predictions: &p, targets: Targets::Labels(&[0, 1]), weights: None };
    let error = sparse(None).value(&pool, &batch).unwrap_err().of_samples(&[40, 41]).to_string();
    assert!(error.contains("of sample 41 is NaN: the model's output there is NaN"), "{error}");
    for kind in kinds() {
        let one_hot = Targets::Values { shape: &[2, 2], values: &[0.0, 1.0, 1.0, 0.0] };
        let sparse = matches!(kind, LossKind::SparseCategoricalCrossentropy { .. });
        let batch = Batch { targets: if sparse { batch.targets } else { one_hot }, ..batch };
        let found = Loss::from(kind).value(&pool, &batch);
        assert!(matches!(found, Err(TargetError::NotFinite { sample: 1, .. })), "{kind:?}: {found:?}");
    }
}

#[test]
fn a_label_out_of_range_is_refused() {
    let pool = ThreadPool::new(1);
    let batch =
        Batch { shape: &[2, 2], predictions: &[0.0; 4], targets: Targets::Labels(&[0, 2]), weights: None };
    let error = sparse(None).value(&pool, &batch).unwrap_err();
    assert_eq!(error, TargetError::Label { sample: 1, label: 2.0, classes: 2 });
    let mut short = [0.0; 3];
    let inside = Batch { targets: Targets::Labels(&[0, 1]), ..batch };
    assert!(sparse(None).value_and_gradient(&pool, &inside, 1.0, &mut short).is_err());
}

#[test]
fn scale_and_reduction_are_applied() {
    let pool = ThreadPool::new(1);
    let weights = Some(&[2.0f32, 0.5][..]);
    let targets = Targets::Values { shape: &[2, 1], values: &[0.0, 0.0] };
    let batch = Batch { shape: &[2, 1], predictions: &[1.0, 2.0], targets, weights };
    let mut loss = Loss::from(LossKind::MeanSquaredError);
    let mut gradient = [0.0; 2];
    // Weighted: 2 * 1 + 0.5 * 4 = 4.
    for (reduction, divisor) in
        [(Reduction::Sum, 1.0), (Reduction::SumOverBatchSize, 2.0), (Reduction::MeanWithSampleWeight, 2.5)]
    {
        loss.reduction = reduction;
        let value = loss.value_and_gradient(&pool, &batch, 3.0, &mut gradient).unwrap();
        assert_eq!(value, 4.0 / divisor);
        assert_eq!(gradient, [3.0 * 4.0 / divisor as f32, 3.0 * 2.0 / divisor as f32]);
    }
}

#[test]
fn every_name_is_read_and_written_back() {
    for name in LossKind::NAMES {
        let loss: Loss = name.parse().unwrap();
        assert_eq!((loss.kind.name(), loss.name.as_str()), (name, name));
        assert_eq!(Loss::from_json(&loss.to_json()), Ok(loss));
    }
    assert_eq!("KLD".parse::<Loss>().unwrap().kind, LossKind::KlDivergence);
    let message = |text: &str| text.parse::<Loss>().unwrap_err().to_string();
    assert!(message("ctc").starts_with("unknown loss 'ctc'; known are sparse_categorical_crossentropy, "));
    assert!(message(r#"{"name": "mse", "reduction": "none"}"#).contains("leaves no number to minimize"));
    assert!(message(r#"{"name": "bce", "axis": 1}"#).contains("the last axis"));
    assert!(message(r#"{"name": "bce", "label_smoothing": 2}"#).contains("from 0 to 1"));
}

#[test]
fn crossentropy_is_told_by_shapes() {
    let labels = Targets::Labels(&[0, 1]);
    let resolved = |shape: &[usize], targets| {
        LossKind::Crossentropy.resolved(&Batch { shape, predictions: &[], targets, weights: None }).name()
    };
    assert_eq!(resolved(&[2, 1], labels), "binary_crossentropy");
    assert_eq!(resolved(&[2, 3], labels), "sparse_categorical_crossentropy");
    let one_hot = Targets::Values { shape: &[2, 3], values: &[] };
    assert_eq!(resolved(&[2, 3], one_hot), "categorical_crossentropy");
}

#[test]
fn logits_take_the_place_of_the_last_activation() {
    let probabilities = LossKind::SparseCategoricalCrossentropy { from_logits: false, ignore_class: None };
    assert_eq!(probabilities.undoes(), Some(LastActivation::Softmax));
    assert_eq!(probabilities.with_logits().undoes(), None);
    assert_eq!(LossKind::MeanSquaredError.undoes(), None);
}
