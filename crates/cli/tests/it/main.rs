//! The program as a user calls it: exit codes, JSON, help.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../litesmith/assets").join(name)
}

fn litesmith(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litesmith"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("LITESMITH_ISA").env_remove("LITESMITH_THREADS");
    command.output().expect("the program starts")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("standard output is JSON")
}

#[test]
fn every_verb_explains_itself() {
    for verb in ["convert", "run", "evaluate", "bench", "inspect", "train", "prune", "zoo", "demo"] {
        let output = litesmith(&[verb, "--help"]);
        assert_eq!(code(&output), Some(0));
        assert!(text(&output.stdout).contains("Example:"), "{verb}");
    }
    assert_eq!(code(&litesmith(&["--version"])), Some(0));
}

#[test]
fn a_wrong_request_is_exit_code_2() {
    let model = asset("fashion.keras");
    let model = model.to_str().unwrap();
    for arguments in [
        &["convert", model, "-o", "/tmp/x.tflite", "--quantize", "int7"][..],
        &["convert", model, "-o", "/tmp/x.tflite", "--quantize", "int8"],
        &["convert", model, "-o", "/tmp/x.bin"],
        &["bench", model, "--isa", "sse9"],
        &["run", model, "--input", "/no/such/file"],
        &["polish", model],
    ] {
        let output = litesmith(arguments);
        assert_eq!(code(&output), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_is_not_supported_is_exit_code_3_and_what_is_broken_5() {
    let folder = tempfile::tempdir().unwrap();
    let model = asset("fashion.keras");
    let onnx = folder.path().join("x.onnx");
    let arguments = ["convert", model.to_str().unwrap(), "-o", onnx.to_str().unwrap(), "--opset", "12"];
    let output = litesmith(&arguments);
    assert_eq!(code(&output), Some(3), "{}", text(&output.stderr));
    let broken = folder.path().join("broken.tflite");
    std::fs::write(&broken, b"\x10\0\0\0TFL3\xff\xff\xff\xff").unwrap();
    let output = litesmith(&["inspect", broken.to_str().unwrap()]);
    assert_eq!(code(&output), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("broken.tflite"));
}

#[test]
fn a_conversion_reports_in_json_and_as_html() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (model, data) = (asset("fashion.keras"), asset("fashion-calibration.npz"));
    let output = litesmith(&[
        "convert",
        model.to_str().unwrap(),
        "-o",
        &path("out.tflite"),
        "--quantize",
        "int8",
        "--calibration",
        data.to_str().unwrap(),
        "--samples",
        "10",
        "--report",
        &path("report.html"),
        "--dump-passes",
        &path("passes"),
        "--json",
    ]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let result = json(&output);
    assert_eq!(result["schema_version"], 1);
    for key in ["input_bytes", "output_bytes", "seconds", "operators", "fused", "quantized_operators"] {
        assert!(!result[key].is_null(), "{key}");
    }
    assert!(result["float_operators"].as_array().unwrap().is_empty());
    assert!(
        result["check"]["snr_db"].as_f64().unwrap() > 20.0 && result["check"]["max_abs_diff"].is_number()
    );
    assert!(std::fs::read_to_string(path("report.html")).unwrap().contains("</html>"));
    assert!(std::fs::read_dir(path("passes")).unwrap().count() > 5);
    let inspected = json(&litesmith(&["inspect", &path("out.tflite"), "--json"]));
    assert_eq!(inspected["format"], "tflite");
    assert_eq!(inspected["inputs"][0]["shape_signature"], serde_json::json!([-1, 28, 28, 1]));
}

#[test]
fn environment_variables_choose_threads_and_instruction_set() {
    let model = asset("fashion.keras");
    let mut command = Command::new(env!("CARGO_BIN_EXE_litesmith"));
    command.args(["bench", model.to_str().unwrap(), "--runs", "2", "--json"]);
    let output = command.env("LITESMITH_ISA", "portable").env("LITESMITH_THREADS", "1").output().unwrap();
    assert_eq!(
        (json(&output)["isa"].as_str(), json(&output)["threads"].as_u64()),
        (Some("portable"), Some(1))
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_litesmith"));
    let output =
        command.args(["bench", model.to_str().unwrap()]).env("LITESMITH_THREADS", "many").output().unwrap();
    assert_eq!(code(&output), Some(2));
}

#[test]
fn pruning_reports_in_json_and_sizes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = asset("fashion.keras");
    let model = model.to_str().unwrap();
    let (out, small) = (path("out.tflite"), path("small.tflite"));
    let output =
        litesmith(&["prune", model, "-o", &out, "--sparsity", "0.75", "--structure", "block:4x1", "--json"]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let result = json(&output);
    assert_eq!(result["schema_version"], 1);
    assert!(result["layers"].as_array().unwrap().iter().any(|layer| layer["structure"] == "block:4x1"));
    let output = litesmith(&["prune", model, "-o", &small, "--structure", "channels"]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let output = litesmith(&["inspect", &out, "--sizes", "--json"]);
    let result = json(&output);
    let bytes = |key: &str| result[key].as_u64().unwrap();
    assert!(bytes("compressed_bytes") < bytes("bytes") && bytes("sparse_bytes") < bytes("bytes"));
    for arguments in [
        &["prune", model, "-o", &out, "--sparsity", "2"][..],
        &["prune", model, "-o", &out, "--structure", "rings"],
        &["prune", model, "-o", &out, "--policy", "most"],
    ] {
        assert_eq!(code(&litesmith(arguments)), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_zoo_is_listed_and_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let listed = json(&litesmith(&["zoo", "--json"]));
    assert_eq!(listed["schema_version"], 1);
    let networks = listed["networks"].as_array().unwrap();
    let network = networks.iter().find(|network| network["name"] == "MobileNetV2").unwrap();
    assert_eq!((&network["size"], &network["preprocessing"]), (&224.into(), &"tf".into()));
    assert!(text(&litesmith(&["zoo"]).stdout).contains("MobileNetV2"));

    let out = path("net.keras");
    let words = ["zoo", "build", "MobileNetV2", "-o", &out, "--size", "32", "--classes", "3"];
    let output = litesmith(&[&words[..], &["--calibrate-bn", "--samples", "8", "--json"]].concat());
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let result = json(&output);
    let expected = [("size", 32), ("classes", 3), ("seed", 0), ("schema_version", 1)];
    expected.iter().for_each(|(key, value)| assert_eq!(result[key], *value, "{key}"));
    assert_eq!((&result["path"], &result["weights"]), (&out.as_str().into(), &serde_json::Value::Null));
    assert_eq!(result["batch_norm"]["samples"], 8);
    assert_eq!(result["bytes"], std::fs::metadata(&out).unwrap().len());
    let again = litesmith(&[&words[..], &["--weights", &out]].concat());
    assert!(text(&again.stdout).contains("those of"), "{}", text(&again.stderr));

    let more = ["zoo", "build", "MobileNetV2", "-o", &path("net.tflite")];
    for (arguments, expected) in [
        (&more[..], 2),
        (&[&words[..], &["--preprocess", "tf"]].concat(), 2),
        (&[&words[..], &["--calibrate-bn", "--crop", "center:0.5"]].concat(), 2),
        (&[&words[..], &["--calibrate-bn", "/no/such/folder"]].concat(), 2),
        (&[&words[..], &["--weights", "/no/such/file"]].concat(), 2),
        (&[&words[..], &["--weights", asset("fashion.keras").to_str().unwrap()]].concat(), 5),
        (&["zoo", "build", "Nothing", "-o", &out][..], 2),
    ] {
        let output = litesmith(arguments);
        assert_eq!(code(&output), Some(expected), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_support_table_is_shown_and_written_whole_before_the_verb_fails() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.md");
    let words = ["zoo", "check", "MobileNetV3Small", "--size", "64", "--markdown", table.to_str().unwrap()];
    let output = litesmith(&words);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 of 1 networks supported"));
    let written = std::fs::read_to_string(&table).unwrap();
    assert!(
        written.lines().count() == 3 && written.contains("| MobileNetV3Small | yes | yes | yes | yes | 13 |")
    );

    // Without memory to run in nothing is supported.
    let output = litesmith(&[&words[..], &["--max-memory", "0", "--json"]].concat());
    assert_eq!(code(&output), Some(4), "{}", text(&output.stderr));
    let row = &json(&output)["rows"][0];
    assert_eq!((&row["name"], &row["ptq"]), (&"MobileNetV3Small".into(), &false.into()));
    assert!(row["reason"].is_string() && row["bytes"].is_null());
    assert!(
        std::fs::read_to_string(&table).unwrap().contains("| MobileNetV3Small | no | no | no | no | - |")
    );
    assert_eq!(code(&litesmith(&["zoo", "check", "Nothing"])), Some(2));
}
