//! Pruning, and what becomes of zeros.

use std::path::Path;

use litesmith::{
    ConvertOptions, DataOptions, Error, PruneOptions, PruneTraining, Quantization, Silent, TrainOptions,
    convert, inspect, prune, train,
};

use crate::{asset, calibration};

fn pruned(
    folder: &Path,
    name: &str,
    change: impl Fn(&mut PruneOptions),
) -> Result<litesmith::PruneResult, Error> {
    let mut options = PruneOptions::default();
    options.sparsity = Some(0.8);
    change(&mut options);
    prune(&asset("fashion.keras"), &folder.join(name), &options, &Silent)
}

/// The least share of zeros in a layer of a file whose operator has weights.
fn least(file: &Path) -> f64 {
    let layers = inspect(file).unwrap().layers;
    let weighted =
        |layer: &&litesmith::Layer| ["CONV_2D", "FULLY_CONNECTED"].contains(&layer.operator.as_str());
    layers.iter().filter(weighted).map(|layer| layer.sparsity).fold(1.0, f64::min)
}

#[test]
fn zeros_survive_every_conversion() {
    let folder = tempfile::tempdir().unwrap();
    let result = pruned(folder.path(), "pruned.keras", |_| {}).unwrap();
    assert!(result.pruned_layers > 0 && result.parameters == result.parameters_before);
    let share = result.layers.iter().filter(|layer| layer.structure.is_some()).map(|layer| layer.sparsity);
    let share = share.fold(1.0, f64::min);
    assert!(share > 0.78, "{share}");
    let source = folder.path().join("pruned.keras");
    for quantization in [Quantization::None, Quantization::Dynamic, Quantization::Int8, Quantization::Int16x8]
    {
        let mut options = ConvertOptions::new(quantization);
        if matches!(quantization, Quantization::Int8 | Quantization::Int16x8) {
            options = options.with_calibration(calibration());
        }
        let dense = folder.path().join("dense.tflite");
        let before = convert(&source, &dense, &options, &Silent).unwrap();
        assert!(least(&dense) >= share - 1e-9, "{quantization}: {}", least(&dense));
        options.sparse = true;
        let sparse = folder.path().join("sparse.tflite");
        let after = convert(&source, &sparse, &options, &Silent).unwrap();
        assert!(after.sparse_tensors > 0 && after.output_bytes < before.output_bytes, "{quantization}");
        assert!(least(&sparse) >= share - 1e-9, "{quantization}: {}", least(&sparse));
        // What was written sparsely is read as it was.
        let again = folder.path().join("again.tflite");
        convert(&sparse, &again, &ConvertOptions::new(Quantization::Keep), &Silent).unwrap();
        assert_eq!(inspect(&again).unwrap().sparsity, inspect(&dense).unwrap().sparsity);
    }
}

#[test]
fn fewer_channels_make_a_smaller_model() {
    let folder = tempfile::tempdir().unwrap();
    let channels = |options: &mut PruneOptions| (options.channels, options.sparsity) = (true, Some(0.5));
    let result = pruned(folder.path(), "small.tflite", channels).unwrap();
    assert!(result.parameters * 10 < result.parameters_before * 6, "{result:?}");
    // A file also counts the numbers of attributes, such as new shapes.
    let written = inspect(&folder.path().join("small.tflite")).unwrap().parameters;
    assert!(written.abs_diff(result.parameters) < 10, "{written} {}", result.parameters);
    let refused = pruned(folder.path(), "small.keras", channels).unwrap_err();
    assert!(matches!(&refused, Error::Usage(text) if text.contains(".tflite")), "{refused}");
    assert!(!folder.path().join("small.keras").exists());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let two_of_four = "2:4".parse().unwrap();
    assert!(pruned(folder.path(), "a.keras", |options| options.structure = two_of_four).is_err());
    assert!(pruned(folder.path(), "a.keras", |options| options.sparsity = Some(1.0)).is_err());
    assert!(pruned(folder.path(), "a.keras", |options| options.for_int8 = true).is_err());
    assert!(pruned(folder.path(), "a.keras", |options| options.sparse = true).is_err());
    assert!(pruned(folder.path(), "a.h5", |_| {}).is_err());
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn training_prunes_and_simulates_integers_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let trained = folder.path().join("trained.keras");
    let data = DataOptions::new(asset("fashion-train.npz")).with_samples(Some(40));
    let mut options = TrainOptions::new(data);
    options.fit.epochs = 2;
    options.fit.batch_size = 5;
    options.prune = Some(PruneTraining::new(Some(0.5), 0.75));
    options.quantize_aware = Some(Default::default());
    let result = train(&asset("fashion.keras"), &trained, &options, &Silent).unwrap();
    let share = result.epochs[1].sparsity.unwrap();
    assert!((share - 0.75).abs() < 0.01, "{share}");
    assert!(result.pruned.iter().any(|layer| layer.structure.is_some()));
    let file = folder.path().join("trained.tflite");
    convert(&trained, &file, &ConvertOptions::new(Quantization::Int8Only), &Silent).unwrap();
    assert!(least(&file) >= 0.74, "{}", least(&file));
}
