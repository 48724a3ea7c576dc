//! ONNX files as sources: what we write is read, converted in every mode, run, pruned and written again.

use std::path::{Path, PathBuf};

use litesmith::{
    BenchOptions, ConvertOptions, ConvertResult, DataOptions, Quantization, RunOptions, Silent, bench,
    convert, inspect, run,
};

use crate::{asset, calibration};

/// The demo's model as an ONNX file of this mode.
fn written(folder: &Path, mode: Quantization) -> PathBuf {
    let path = folder.join(format!("{mode}.onnx"));
    convert(&asset("fashion.keras"), &path, &options(mode), &Silent).unwrap();
    path
}

fn options(mode: Quantization) -> ConvertOptions {
    match mode {
        Quantization::None => ConvertOptions::new(mode),
        _ => ConvertOptions::new(mode).with_calibration(calibration()),
    }
}

fn transpositions(result: &ConvertResult) -> usize {
    result.operators.get("TRANSPOSE").copied().unwrap_or(0)
}

#[test]
fn every_mode_comes_from_a_float_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = written(folder.path(), Quantization::None);
    assert_eq!(inspect(&source).unwrap().inputs[0].shape_signature, [-1, 28, 28, 1]);
    for mode in [
        Quantization::None,
        Quantization::Float16,
        Quantization::Dynamic,
        Quantization::Int8,
        Quantization::Int8Only,
        Quantization::Int16x8,
    ] {
        for name in ["out.tflite", "out.onnx"] {
            let result = convert(&source, &folder.path().join(name), &options(mode), &Silent).unwrap();
            let snr = result.check.snr_db.unwrap_or(f64::INFINITY);
            assert!(snr > 25.0, "{mode} {name}: {snr}");
            assert!(result.float_operators.is_empty() || mode != Quantization::Int8, "{mode} {name}");
            if name == "out.tflite" {
                assert_eq!(transpositions(&result), 0, "{mode}: {:?}", result.operators);
            }
        }
    }
}

#[test]
fn integers_of_a_file_are_made_again_without_data() {
    let folder = tempfile::tempdir().unwrap();
    let source = written(folder.path(), Quantization::Int8);
    let output = folder.path().join("again.tflite");
    let result = convert(&source, &output, &ConvertOptions::new(Quantization::Int8), &Silent).unwrap();
    // The layer behind the input, which is reshaped before it, may find no range.
    assert!(result.float_operators.len() <= 1, "{:?}", result.float_operators);
    assert!(result.quantized_operators > 10, "{result:?}");
    assert!(result.check.snr_db.unwrap_or(f64::INFINITY) > 25.0, "{:?}", result.check);
}

#[test]
fn files_are_run_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let source = written(folder.path(), Quantization::None);
    let outputs = |model: &Path| {
        let options = RunOptions::default();
        run(model, &DataOptions::new(calibration().path), None, 3, &options, &Silent).unwrap()
    };
    let (ours, original) = (outputs(&source), outputs(&asset("fashion.keras")));
    assert_eq!(ours.samples, original.samples);
    for (ours, original) in ours.predictions.iter().zip(&original.predictions) {
        assert_eq!(ours[0].class, original[0].class);
        assert!((ours[0].value - original[0].value).abs() < 1e-4);
    }
    let timed = bench(&source, &BenchOptions::default(), &Silent).unwrap();
    assert!(timed.latency_ms.median > 0.0);
}
