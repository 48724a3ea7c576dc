//! A SavedModel and a frozen graph of TensorFlow, sound and damaged.

use std::io::Read;
use std::path::Path;

use litesmith_formats::{FormatError, detect, read, savedmodel};
use litesmith_graph::{Format, Model, Op};
use proptest::prelude::*;
use tempfile::TempDir;

macro_rules! fixture {
    ($name:literal) => {
        unpacked(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/", $name)))
    };
}

/// The files of a SavedModel.
const NAMES: [&str; 3] =
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"];

fn unpacked(file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn dense() -> [Vec<u8>; 3] {
    [
        fixture!("dense-saved_model.pb.gz"),
        fixture!("dense-variables.index.gz"),
        fixture!("dense-variables.data-00000-of-00001.gz"),
    ]
}

fn sequence() -> [Vec<u8>; 3] {
    [
        fixture!("sequence-saved_model.pb.gz"),
        fixture!("sequence-variables.index.gz"),
        fixture!("sequence-variables.data-00000-of-00001.gz"),
    ]
}

fn folder(files: &[Vec<u8>; 3]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("variables")).unwrap();
    for (name, bytes) in NAMES.iter().zip(files) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn file(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn floats(model: &Model, variable: &str) -> Vec<f32> {
    let parameter = model.parameters.iter().find(|parameter| parameter.origin.variable == variable).unwrap();
    parameter.data.elements().into_owned()
}

fn has(model: &Model, wanted: impl Fn(&Op) -> bool) -> bool {
    model.main().nodes.iter().any(|node| wanted(&node.op))
}

#[test]
fn a_saved_model_is_read_with_its_names() {
    let folder = folder(&dense());
    assert_eq!(detect(folder.path()).unwrap(), Format::SavedModel);
    let model = read(folder.path()).unwrap();
    assert_eq!(model.source.format, Format::SavedModel);
    assert!(model.source.producer.starts_with("TensorFlow 2."), "{}", model.source.producer);
    assert_eq!(model.signatures[0].key, "serving_default");
    assert_eq!(model.signatures[0].inputs, [("x".to_owned(), 0)]);
    assert_eq!(model.signatures[0].outputs, [("y".to_owned(), 0)]);
    assert_eq!(floats(&model, "kernel"), [0.0, 0.125, 0.25, 0.375, 0.5, 0.625]);
    assert_eq!(floats(&model, "bias"), [0.75, 0.875]);
    let trained: Vec<_> = model.parameters.iter().map(|p| (p.origin.layer.as_str(), p.trainable)).collect();
    assert_eq!(trained, [("dense", true), ("dense", false)]);
    assert!(has(&model, |op| matches!(op, Op::FullyConnected(_))));
}

#[test]
fn what_keras_exports_is_read_layer_by_layer() {
    let model = read(folder(&sequence()).path()).unwrap();
    insta::assert_snapshot!(litesmith_graph::text::print(&model));
}

#[test]
fn a_frozen_graph_is_read_without_its_training() {
    let (_folder, path) = file(&fixture!("frozen.pb.gz"));
    assert_eq!(detect(&path).unwrap(), Format::SavedModel);
    let model = read(&path).unwrap();
    assert_eq!(model.main().nodes.iter().filter(|node| matches!(node.op, Op::FullyConnected(_))).count(), 1);
    assert!(!has(&model, |op| matches!(op, Op::If(_) | Op::Select(_))));
    assert_eq!(model.signatures[0].inputs, [("x".to_owned(), 0)]);
    assert_eq!(model.signatures[0].outputs, [("y".to_owned(), 0)]);
}

#[test]
fn a_missing_shard_is_a_broken_file() {
    let folder = folder(&dense());
    std::fs::remove_file(folder.path().join(NAMES[2])).unwrap();
    assert!(matches!(read(folder.path()), Err(FormatError::Broken { .. })));
}

#[test]
fn only_signatures_that_there_are_can_be_asked_for() {
    let folder = folder(&dense());
    let ask = |path: &Path, signature: &str| {
        let options = savedmodel::ReadOptions { signature: Some(signature.to_owned()), tags: Vec::new() };
        savedmodel::read_with(path, &options)
    };
    assert!(ask(folder.path(), "serving_default").is_ok());
    assert!(matches!(ask(folder.path(), "other"), Err(FormatError::Unsupported(_))));
    let (_folder, path) = file(&fixture!("frozen.pb.gz"));
    assert!(matches!(ask(&path, "serving_default"), Err(FormatError::Unsupported(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_of_loops_and_lists_is_an_error_and_no_more(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut files = sequence();
        for (place, byte) in places {
            let place = place.index(files[0].len());
            files[0][place] = byte;
        }
        let result = read(folder(&files).path());
        let told = match &result {
            Ok(model) => !model.graphs.is_empty(),
            Err(error) => !matches!(error, FormatError::Io { .. }),
        };
        prop_assert!(told, "{:?}", result.err());
    }

    #[test]
    fn damage_is_an_error_and_no_more(
        which in 0usize..4,
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut files = dense();
        let mut graph = fixture!("frozen.pb.gz");
        let damaged = files.get_mut(which).unwrap_or(&mut graph);
        let place = place.index(damaged.len());
        if cut { damaged.truncate(place) } else { damaged[place] = byte }
        let result = if which < 3 { read(folder(&files).path()) } else { savedmodel::read_graph_def(graph.into()) };
        let told = match &result {
            Ok(model) => !model.graphs.is_empty(),
            Err(error) => !matches!(error, FormatError::Io { .. }),
        };
        prop_assert!(told, "{:?}", result.err());
    }
}
