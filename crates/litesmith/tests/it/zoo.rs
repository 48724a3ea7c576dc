//! Networks of the zoo: made, filled, measured, run.

use std::path::Path;

use litesmith::zoo::{
    BatchNormData, BuildOptions, BuildResult, CheckOptions, build, check, list, noise_images,
};
use litesmith::{DataOptions, Error, Preprocess, RunOptions, SampleArray, Silent, inspect, run};

use crate::StopAt;

const SIZE: usize = 64;

fn options() -> BuildOptions {
    let mut options = BuildOptions::default();
    (options.size, options.classes) = (Some(SIZE), 7);
    options
}

fn made(folder: &Path, name: &str, options: &BuildOptions) -> Result<BuildResult, Error> {
    build("mobilenetv2", &folder.join(name), options, &Silent)
}

fn noise(count: usize, seed: u64) -> SampleArray {
    noise_images(count, SIZE, seed).unwrap()
}

/// The probabilities that a file gives for pictures of noise.
fn outputs(path: &Path, count: usize) -> Vec<Vec<f32>> {
    let data = DataOptions::from_arrays(vec![noise(count, 9)], Vec::new()).with_preprocess(Preprocess::Tf);
    let result = run(path, &data, None, 7, &RunOptions::default(), &Silent).unwrap();
    let sorted = |mut row: Vec<litesmith::Prediction>| {
        row.sort_by_key(|own| own.class);
        row.into_iter().map(|own| own.value).collect()
    };
    result.predictions.into_iter().map(sorted).collect()
}

#[test]
fn the_list_has_what_networks_need() {
    let networks = list().unwrap().networks;
    let network = networks.iter().find(|network| network.name == "MobileNetV2").unwrap();
    assert_eq!((network.parameters, network.size, network.preprocessing), (3_538_984, 224, "tf"));
    assert_eq!(network.macs, 300_774_272);
}

#[test]
fn a_network_is_written_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let result = made(folder.path(), "a.keras", &options()).unwrap();
    assert_eq!((result.name, result.size, result.classes), ("MobileNetV2", SIZE, 7));
    assert_eq!((result.parameters, result.weights, result.seed), (2_266_951, None, Some(0)));
    let path = folder.path().join("a.keras");
    assert_eq!(result.bytes, std::fs::metadata(&path).unwrap().len());
    let seen = inspect(&path).unwrap();
    assert_eq!(seen.parameters, 2_266_951);
    let first = outputs(&path, 2);
    assert!((first[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);

    made(folder.path(), "b.keras", &options()).unwrap();
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("a.keras") == bytes("b.keras"), "the same seed gives the same file");
    let mut other = options();
    other.seed = 1;
    made(folder.path(), "b.keras", &other).unwrap();
    assert!(bytes("a.keras") != bytes("b.keras"));
}

#[test]
fn weights_of_a_whole_file_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = options();
    first.seed = 3;
    made(folder.path(), "a.keras", &first).unwrap();
    let mut second = options();
    second.weights = Some(folder.path().join("a.keras"));
    let result = made(folder.path(), "b.keras", &second).unwrap();
    assert_eq!((result.weights, result.seed), (second.weights.clone(), None));
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("a.keras") == bytes("b.keras"));
    second.classes = 8;
    let error = made(folder.path(), "c.keras", &second).unwrap_err();
    assert!(
        matches!(&error, Error::Broken(text) if text.contains("'predictions'") && text.contains("--classes 7")),
        "{error}"
    );
    second.weights = Some(super::asset("fashion.keras"));
    assert!(matches!(made(folder.path(), "c.keras", &second), Err(Error::Broken(_))));
    assert!(!folder.path().join("c.keras").exists());
}

/// Mean and deviation of what reaches the classifier, and how far the largest probability stands out.
#[test]
fn measured_statistics_make_random_weights_sane() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.batch_norm = Some(BatchNormData::Noise(Some(16)));
    let result = made(folder.path(), "a.keras", &options).unwrap();
    let measured = result.batch_norm.unwrap();
    assert_eq!((measured.layers, measured.samples, measured.parts), (52, 16, 1));
    let rows = outputs(&folder.path().join("a.keras"), 8);
    let different = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-3);
    for row in &rows {
        assert!(row.iter().all(|p| *p < 0.9), "{row:?}");
    }
    assert!(different(&rows[0], &rows[1]), "{rows:?}");

    // The same data, from memory, and as few at a time as memory takes.
    let data = DataOptions::from_arrays(vec![noise(16, 0)], Vec::new());
    options.batch_norm = Some(BatchNormData::Samples(data));
    made(folder.path(), "b.keras", &options).unwrap();
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("a.keras") == bytes("b.keras"));
    options.run.max_memory = Some(6 << 20);
    let result = made(folder.path(), "c.keras", &options).unwrap();
    assert!(result.batch_norm.unwrap().parts > 1);
    let parted = outputs(&folder.path().join("c.keras"), 8);
    for (row, other) in rows.iter().zip(&parted) {
        assert!(row.iter().zip(other).all(|(a, b)| (a - b).abs() < 0.2), "{row:?} {other:?}");
    }
    // Raw pixels are not what the network is for, and give other statistics.
    options.preprocess = Some(Preprocess::None);
    options.run.max_memory = None;
    made(folder.path(), "c.keras", &options).unwrap();
    assert!(bytes("a.keras") != bytes("c.keras"));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let usage = |name: &str, output: &str, options: &BuildOptions| {
        let error = build(name, &folder.path().join(output), options, &Silent).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
        error.to_string()
    };
    assert!(usage("MobileNetV9", "a.keras", &options()).contains("litesmith zoo"));
    assert!(usage("MobileNetV2", "a.tflite", &options()).contains("litesmith convert"));
    let mut small = options();
    small.size = Some(16);
    assert!(usage("MobileNetV2", "a.keras", &small).contains("32"));
    let mut none = options();
    none.classes = 0;
    usage("MobileNetV2", "a.keras", &none);
    let mut lonely = options();
    lonely.preprocess = Some(Preprocess::Tf);
    usage("MobileNetV2", "a.keras", &lonely);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn check_options(name: &str) -> CheckOptions {
    let mut options = CheckOptions::default();
    (options.names, options.size) = (vec![name.to_owned()], SIZE);
    options
}

#[test]
fn a_row_of_the_support_table_is_filled_by_doing_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = check_options("mobilenetv3small");
    options.keep = Some(folder.path().to_owned());
    let result = check(&options, &Silent).unwrap();
    let [row] = &result.rows[..] else { panic!("{result:?}") };
    assert!(row.passed() && row.reason.is_none() && result.failed().is_empty(), "{row:?}");
    assert_eq!((row.name.as_str(), row.opset, result.size), ("MobileNetV3Small", Some(13), SIZE));
    assert!(row.snr_db.unwrap() > 20.0 && row.qat_snr_db.unwrap() > 20.0, "{row:?}");

    let own = folder.path().join("MobileNetV3Small");
    let size = |name: &str| std::fs::metadata(own.join(name)).unwrap().len();
    assert_eq!((row.float_bytes, row.bytes), (size("model.keras"), Some(size("int8.tflite"))));
    assert!(inspect(&own.join("int8.tflite")).unwrap().float_free);
    assert!(inspect(&own.join("trained.tflite")).unwrap().float_free);
    assert!(inspect(&own.join("trained.keras")).unwrap().quantization_aware);
}

#[test]
fn what_fails_has_a_reason_and_what_says_nothing_of_a_network_ends_the_check() {
    let mut narrow = check_options("MobileNetV2");
    narrow.run.max_memory = Some(1000);
    let result = check(&narrow, &Silent).unwrap();
    let row = &result.rows[0];
    assert!(!(row.ptq || row.qat || row.onnx_float || row.onnx_quantized), "{row:?}");
    assert!(row.reason.as_ref().unwrap().starts_with("float: "), "{row:?}");
    assert_eq!(result.failed(), ["MobileNetV2"]);

    let usage = |options: &CheckOptions| check(options, &Silent).unwrap_err().exit_code();
    assert_eq!(usage(&check_options("MobileNetV9")), 2);
    let mut small = check_options("MobileNetV2");
    small.size = 16;
    assert_eq!(usage(&small), 2);
    let stopped = check(&check_options("MobileNetV2"), &StopAt::step(3)).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
}
