//! `convert` to ONNX: every mode, what options do, what is refused. Files are judged by their bytes and by what the
//! conversion says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use litesmith::{
    ConvertOptions, ConvertResult, Error, InterfaceType, Layout, Observer, Quantization, Silent, convert,
};

use crate::{asset, calibration};

/// Keeps the notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Notes {
    fn any_with(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|note| note.contains(text))
    }
}

fn options(mode: Quantization) -> ConvertOptions {
    ConvertOptions::new(mode).with_calibration(calibration())
}

fn converted(folder: &Path, options: &ConvertOptions) -> Result<ConvertResult, Error> {
    convert(&asset("fashion.keras"), &folder.join("out.onnx"), options, &Silent)
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn count(operators: &BTreeMap<String, usize>, name: &str) -> usize {
    operators.get(name).copied().unwrap_or(0)
}

/// Whether a file starts as `ModelProto` does: field 1, the version of the format.
fn starts_as_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 7..=14, ..])
}

/// How often a text stands in a file.
fn occurrences(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}

#[test]
fn every_mode_is_written_in_the_operators_of_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let (ten, int8) = (["Conv", "Gemm", "Softmax"], ["Conv", "QuantizeLinear", "DequantizeLinear"]);
    let modes = [
        (Quantization::None, 165_000, 110.0, ten),
        (Quantization::Float16, 95_000, 50.0, ["Cast", "Conv", "Gemm"]),
        (Quantization::Dynamic, 70_000, 30.0, ["DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"]),
        (Quantization::Int8, 75_000, 25.0, int8),
        (Quantization::Int8Only, 75_000, 25.0, int8),
        (Quantization::Int16x8, 85_000, 35.0, int8),
    ];
    for (mode, most_bytes, least_snr, expected) in modes {
        let result = converted(folder.path(), &options(mode)).unwrap();
        let file = bytes(folder.path(), "out.onnx");
        assert!(starts_as_onnx(&file), "{mode}: {:?}", &file[..2]);
        assert_eq!(result.output_bytes, file.len() as u64, "{mode}");
        assert!(file.len() < most_bytes, "{mode}: {} bytes", file.len());
        assert!(result.check.snr_db.unwrap() > least_snr, "{mode}: {:?}", result.check);
        for name in expected {
            assert!(count(&result.operators, name) > 0, "{mode}: no {name} in {:?}", result.operators);
            assert!(occurrences(&file, name) > 0, "{mode}: {name} is not in the file");
        }
        let of_tflite = |name: &String| name.contains('_') || !name.starts_with(char::is_uppercase);
        assert!(!result.operators.keys().any(of_tflite), "{mode}: {:?}", result.operators);
        assert_eq!(names(folder.path()), ["out.onnx"]);
    }
}

#[test]
fn a_mode_that_needs_a_newer_version_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let noted = |options: &ConvertOptions| {
        let notes = Notes::default();
        let result = convert(&asset("fashion.keras"), &folder.path().join("out.onnx"), options, &notes);
        result.map(|_| notes.any_with("written for opset 21"))
    };
    let mut sixteen = options(Quantization::Int16x8);
    assert!(noted(&sixteen).unwrap());
    assert!(!noted(&options(Quantization::Int8)).unwrap());
    // Nobody needs to hear what they asked for.
    sixteen.opset = Some(21);
    assert!(!noted(&sixteen).unwrap());
    sixteen.opset = Some(18);
    let error = noted(&sixteen).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("opset 21"), "{error}");
}

#[test]
fn the_version_decides_the_operators_and_unknown_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let of = |opset| {
        let mut options = options(Quantization::Int8);
        options.opset = Some(opset);
        converted(folder.path(), &options)
    };
    for opset in [13, 14, 17, 18, 21, 28] {
        of(opset).unwrap();
        let file = bytes(folder.path(), "out.onnx");
        assert!(starts_as_onnx(&file));
        // A set of operators (field 8) of no name (its field 1) and of this version (its field 2).
        let set = [0x42, 4, 0x0A, 0, 0x10, opset as u8];
        assert!(file.windows(set.len()).any(|window| window == set), "{opset}");
    }
    let before = bytes(folder.path(), "out.onnx");
    for opset in [0, 12, 29, u32::MAX] {
        let error = of(opset).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert!(error.to_string().contains("13 to 28"), "{error}");
    }
    assert!(bytes(folder.path(), "out.onnx") == before, "a refusal touched the file");
}

#[test]
fn weights_stand_in_a_file_of_their_own_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut options = options(Quantization::Int8);
    let within = converted(folder.path(), &options).unwrap();
    options.external_data = true;
    let beside = convert(&asset("fashion.keras"), &folder.path().join("big.onnx"), &options, &notes).unwrap();
    assert_eq!(names(folder.path()), ["big.onnx", "big.onnx.data", "out.onnx"]);
    assert!(notes.any_with("big.onnx.data"));
    let (model, data) = (bytes(folder.path(), "big.onnx"), bytes(folder.path(), "big.onnx.data"));
    assert_eq!(beside.output_bytes, (model.len() + data.len()) as u64);
    assert!(model.len() < bytes(folder.path(), "out.onnx").len() && !data.is_empty());
    assert!(occurrences(&model, "big.onnx.data") > 0 && occurrences(&model, "offset") > 0);
    assert_eq!(beside.operators, within.operators);
}

#[test]
fn images_come_in_the_order_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let of = |mode, layout| {
        let mut options = options(mode);
        options.input_layout = layout;
        let result = converted(folder.path(), &options).unwrap();
        let moved = count(&result.operators, "Transpose") + count(&result.operators, "Reshape");
        (moved, result.check)
    };
    for mode in [Quantization::None, Quantization::Dynamic, Quantization::Int8, Quantization::Int16x8] {
        let (source, checked) = of(mode, None);
        // An image of one channel needs no transposition, only another shape.
        assert_eq!(source, 1, "{mode}");
        assert_eq!(of(mode, Some(Layout::Nhwc)).0, source, "{mode}");
        let (first, same) = of(mode, Some(Layout::Nchw));
        assert_eq!(first, 0, "{mode}");
        assert_eq!(checked.samples, same.samples, "{mode}");
        let differ = (checked.snr_db.unwrap() - same.snr_db.unwrap()).abs();
        assert!(differ < 0.5 || mode == Quantization::None, "{mode}: {checked:?}, {same:?}");
    }
}

#[test]
fn activations_lose_their_sign_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Quantization::Int8);
    let signed = converted(folder.path(), &options).unwrap();
    let file = bytes(folder.path(), "out.onnx");
    options.unsigned_activations = true;
    let unsigned = converted(folder.path(), &options).unwrap();
    assert!(bytes(folder.path(), "out.onnx") != file);
    assert_eq!((signed.operators, signed.check), (unsigned.operators, unsigned.check));
}

#[test]
fn a_quantized_tflite_file_keeps_its_integers() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [Quantization::Int8, Quantization::Int8Only, Quantization::Int16x8] {
        let source = folder.path().join("source.tflite");
        convert(&asset("fashion.keras"), &source, &options(mode), &Silent).unwrap();
        let out = folder.path().join("kept.onnx");
        let kept = convert(&source, &out, &ConvertOptions::new(Quantization::Keep), &Silent).unwrap();
        assert!(starts_as_onnx(&bytes(folder.path(), "kept.onnx")));
        // No difference has no ratio.
        assert_eq!(kept.check.snr_db, None, "{mode}: {:?}", kept.check);
        assert_eq!(kept.check.max_abs_diff, 0.0, "{mode}");
        let direct = converted(folder.path(), &options(mode)).unwrap();
        assert_eq!(kept.operators, direct.operators, "{mode}");
    }
    // And becomes float again.
    let source = folder.path().join("source.tflite");
    let float = ConvertOptions::new(Quantization::None);
    let result = convert(&source, &folder.path().join("out.onnx"), &float, &Silent).unwrap();
    assert_eq!(count(&result.operators, "DequantizeLinear"), 0, "{:?}", result.operators);
}

#[test]
fn an_integer_interface_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // A value's name (field 1), and its type (field 2): that of a tensor (1), whose elements (1) are these.
    let has_type = |file: &[u8], name: &str, number: u8| {
        let start = [&[0x0A, name.len() as u8], name.as_bytes(), &[0x12]].concat();
        let fits = |at: usize| matches!(file[at..], [_, 0x0A, _, 0x08, element, ..] if element == number);
        let places = file.windows(start.len()).enumerate().filter(|(_, window)| *window == start);
        places.map(|(place, _)| place + start.len()).any(fits)
    };
    let (eight, sixteen) = (Quantization::Int8Only, Quantization::Int16x8);
    for (mode, interface, number) in [
        (eight, InterfaceType::Float32, 1),
        (eight, InterfaceType::Uint8, 2),
        (eight, InterfaceType::Int8, 3),
        (sixteen, InterfaceType::Int16, 5),
    ] {
        converted(folder.path(), &options(mode).with_interface(interface, interface)).unwrap();
        let file = bytes(folder.path(), "out.onnx");
        assert!(has_type(&file, "image", number), "{mode}, {number}");
        assert!(has_type(&file, "output_0", number), "{mode}, {number}");
    }
}

#[test]
fn options_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    type Change = fn(&mut ConvertOptions);
    let changes: [(&str, Change); 4] = [
        ("--opset", |options| options.opset = Some(13)),
        ("--input-layout", |options| options.input_layout = Some(Layout::Nhwc)),
        ("--external-data", |options| options.external_data = true),
        ("--unsigned-activations", |options| options.unsigned_activations = true),
    ];
    for (name, change) in changes {
        for output in ["out.tflite", "out.keras"] {
            let mut options = ConvertOptions::new(Quantization::None);
            change(&mut options);
            let refused = convert(&asset("fashion.keras"), &folder.path().join(output), &options, &Silent);
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    let error = converted(folder.path(), &ConvertOptions::new(Quantization::Int8)).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn equal_requests_give_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let of = |threads| {
        let mut options = options(Quantization::Int8);
        (options.run.threads, options.external_data) = (Some(threads), true);
        converted(folder.path(), &options).unwrap();
        (bytes(folder.path(), "out.onnx"), bytes(folder.path(), "out.onnx.data"))
    };
    assert!(of(1) == of(2), "the files depend on the number of threads");
}
