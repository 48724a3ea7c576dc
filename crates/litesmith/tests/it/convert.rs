//! `convert` in every mode, and what it refuses.

use std::path::Path;

use litesmith::{
    BatchSize, ConvertOptions, ConvertResult, DataOptions, Error, FloatOperator, InterfaceType, Quantization,
    RangeObserver, Ranges, Recipe, Repair, Silent, convert, evaluate, inspect,
};

use crate::{StopAt, asset, calibration};

fn options(mode: Quantization) -> ConvertOptions {
    ConvertOptions::new(mode).with_calibration(calibration())
}

fn converted(folder: &Path, options: &ConvertOptions) -> Result<ConvertResult, Error> {
    convert(&asset("fashion.keras"), &folder.join("out.tflite"), options, &Silent)
}

#[test]
fn every_mode_keeps_the_model_and_makes_it_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let test = DataOptions::new(asset("fashion-test.npz")).with_samples(Some(200));
    let source = evaluate(&asset("fashion.keras"), &test, &Default::default(), &Silent).unwrap();
    let modes = [
        (Quantization::None, 165_000, 110.0),
        (Quantization::Float16, 90_000, 50.0),
        (Quantization::Dynamic, 65_000, 30.0),
        (Quantization::Int8, 60_000, 25.0),
        (Quantization::Int8Only, 60_000, 25.0),
        (Quantization::Int16x8, 60_000, 35.0),
    ];
    for (mode, most_bytes, least_snr) in modes {
        let result = converted(folder.path(), &options(mode)).unwrap();
        assert!(result.output_bytes < most_bytes, "{mode}: {} bytes", result.output_bytes);
        assert!(result.check.snr_db.unwrap() > least_snr, "{mode}: {:?}", result.check);
        let left = |operator: &FloatOperator| match mode {
            Quantization::Dynamic => true,
            Quantization::Float16 => operator.operator == "DEPTHWISE_CONV_2D",
            _ => false,
        };
        assert!(result.float_operators.iter().all(left), "{mode}: {:?}", result.float_operators);
        let accuracy = evaluate(&folder.path().join("out.tflite"), &test, &Default::default(), &Silent)
            .unwrap()
            .accuracy;
        assert!(
            (accuracy - source.accuracy).abs() < 0.02,
            "{mode}: {accuracy} instead of {}",
            source.accuracy
        );
    }
}

#[test]
fn an_integer_interface_leaves_no_float() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.tflite");
    let (eight, sixteen) = (Quantization::Int8Only, Quantization::Int16x8);
    for (mode, interface, dtype) in [
        (eight, InterfaceType::Int8, "int8"),
        (eight, InterfaceType::Uint8, "uint8"),
        (sixteen, InterfaceType::Int16, "int16"),
    ] {
        let options = options(mode).with_interface(interface, interface);
        converted(folder.path(), &options).unwrap();
        let inspected = inspect(&file).unwrap();
        assert!(inspected.float_free);
        assert_eq!((inspected.inputs[0].dtype, inspected.outputs[0].dtype), (dtype, dtype));
        assert_eq!(inspected.inputs[0].shape_signature, [-1, 28, 28, 1]);
    }
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |threads, repair| {
        let mut options = options(Quantization::Int8);
        (options.run.threads, options.repair) = (Some(threads), Some(repair));
        converted(folder.path(), &options).unwrap();
        std::fs::read(folder.path().join("out.tflite")).unwrap()
    };
    for repair in [Repair::Default, Repair::Auto] {
        assert!(bytes(1, repair) == bytes(2, repair), "the file depends on the number of threads");
    }
}

#[test]
fn repair_brings_every_integer_mode_nearer_to_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let snr = |mode, repair| {
        let mut options = options(mode);
        options.repair = Some(repair);
        let result = converted(folder.path(), &options).unwrap();
        assert_eq!(result.repaired_operators > 0, repair != Repair::None, "{mode}");
        result.check.snr_db.unwrap()
    };
    for mode in [Quantization::Dynamic, Quantization::Int8, Quantization::Int8Only, Quantization::Int16x8] {
        let [none, default, auto] =
            [Repair::None, Repair::Default, Repair::Auto].map(|repair| snr(mode, repair));
        assert!(default > none && auto > none, "{mode}: {none}, {default}, {auto} dB");
    }
}

#[test]
fn tflite_sources_and_single_layers_are_repaired_alike() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("float.tflite");
    convert(&asset("fashion.keras"), &source, &ConvertOptions::new(Quantization::None), &Silent).unwrap();
    let from_keras = converted(folder.path(), &options(Quantization::Int8)).unwrap();
    let out = folder.path().join("out.tflite");
    let mut options = options(Quantization::Int8);
    let from_tflite = convert(&source, &out, &options, &Silent).unwrap();
    assert_eq!(from_tflite.repaired_operators, from_keras.repaired_operators);
    options.recipe =
        Recipe::from_toml("[[rule]]\noperators = [\"FULLY_CONNECTED\"]\nrepair = \"none\"").unwrap();
    let some = convert(&source, &out, &options, &Silent).unwrap();
    assert!(some.repaired_operators > 0 && some.repaired_operators < from_tflite.repaired_operators);
    (options.ranges, options.recipe) = (Ranges::Tensorflow, Recipe::default());
    assert_eq!(convert(&source, &out, &options, &Silent).unwrap().repaired_operators, 0);
}

#[test]
fn saved_statistics_stand_for_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("statistics.json");
    let mut saving = options(Quantization::Int8);
    (saving.save_statistics, saving.repair) = (Some(file.clone()), Some(Repair::None));
    converted(folder.path(), &saving).unwrap();
    let direct = std::fs::read(folder.path().join("out.tflite")).unwrap();
    let mut loading = ConvertOptions::new(Quantization::Int8);
    (loading.statistics, loading.repair) = (Some(file.clone()), Some(Repair::None));
    converted(folder.path(), &loading).unwrap();
    assert!(std::fs::read(folder.path().join("out.tflite")).unwrap() == direct);
    // They hold means for the repair, but not covariances.
    loading.repair = None;
    let repaired = converted(folder.path(), &loading).unwrap();
    assert!(repaired.repaired_operators > 0);
    // Older ones hold ranges alone.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json.as_object_mut().unwrap().remove("channels");
    std::fs::write(&file, json.to_string()).unwrap();
    assert_eq!(converted(folder.path(), &loading).unwrap().repaired_operators, 0);
    assert!(std::fs::read(folder.path().join("out.tflite")).unwrap() == direct);
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(converted(folder.path(), &loading).unwrap_err().exit_code(), 5);
}

#[test]
fn one_file_of_statistics_serves_every_observer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("statistics.json");
    let mut saving = options(Quantization::Int8);
    saving.save_statistics = Some(file.clone());
    converted(folder.path(), &saving).unwrap();
    let observers = [
        RangeObserver::MinMax,
        RangeObserver::Ema { decay: RangeObserver::DECAY },
        RangeObserver::Percentile { percentile: 99.9 },
        RangeObserver::Mse,
        RangeObserver::Entropy,
    ];
    let mut files = Vec::new();
    for observer in observers {
        let mut measuring = options(Quantization::Int8);
        measuring.observer = observer;
        let snr = converted(folder.path(), &measuring).unwrap().check.snr_db.unwrap();
        assert!(snr > 15.0, "{observer:?}: {snr} dB");
        let mut loading = ConvertOptions::new(Quantization::Int8);
        (loading.observer, loading.statistics) = (observer, Some(file.clone()));
        converted(folder.path(), &loading).unwrap();
        let bytes = std::fs::read(folder.path().join("out.tflite")).unwrap();
        assert!(!files.contains(&bytes), "{observer:?} changes nothing");
        files.push(bytes);
    }
    let mut lost = ConvertOptions::new(Quantization::Dynamic);
    lost.observer = RangeObserver::Mse;
    assert!(matches!(converted(folder.path(), &lost), Err(Error::Usage(_))));
}

#[test]
fn layers_can_be_kept_float() {
    let folder = tempfile::tempdir().unwrap();
    let result = converted(folder.path(), &options(Quantization::Int8).keep_float("*stem*")).unwrap();
    assert!(!result.float_operators.is_empty());
    assert!(
        result.float_operators.iter().all(|left| left.reason.contains("recipe")),
        "{:?}",
        result.float_operators
    );
    let only = converted(folder.path(), &options(Quantization::Int8Only).keep_float("*stem*"));
    assert_eq!(only.unwrap_err().exit_code(), 3);
}

#[test]
fn options_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut ranges = ConvertOptions::new(Quantization::Dynamic);
    ranges.ranges = Ranges::Tensorflow;
    let mut repair = ConvertOptions::new(Quantization::Float16);
    repair.repair = Some(Repair::Auto);
    let refused = [
        repair,
        ConvertOptions::new(Quantization::Int8),
        ConvertOptions::new(Quantization::None).with_interface(InterfaceType::Int8, InterfaceType::Int8),
        ConvertOptions::new(Quantization::None).keep_float("x"),
        ranges,
    ];
    for options in refused {
        assert_eq!(converted(folder.path(), &options).unwrap_err().exit_code(), 2, "{options:?}");
    }
}

#[test]
fn a_gate_that_is_not_met_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Quantization::Int8);
    options.min_snr = Some(90.0);
    assert_eq!(converted(folder.path(), &options).unwrap_err().exit_code(), 4);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn stopping_at_any_step_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.tflite");
    std::fs::write(&file, "old").unwrap();
    for step in [0, 1, 2, 3, 10, 22, 24, 30] {
        let result =
            convert(&asset("fashion.keras"), &file, &options(Quantization::Int8), &StopAt::step(step));
        assert_eq!(result.unwrap_err().exit_code(), 130, "step {step}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old", "step {step}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "step {step}");
    }
}

#[test]
fn broken_files_and_data_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.keras");
    let bytes = std::fs::read(asset("fashion.keras")).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let output = folder.path().join("out.tflite");
    let code = |input: &Path, options: &ConvertOptions| {
        convert(input, &output, options, &Silent).unwrap_err().exit_code()
    };
    assert_eq!(code(&cut, &options(Quantization::None)), 5);
    assert_eq!(code(&folder.path().join("none.keras"), &options(Quantization::None)), 2);
    let missing =
        ConvertOptions::new(Quantization::Int8).with_calibration(DataOptions::new("no-such-folder"));
    assert_eq!(code(&asset("fashion.keras"), &missing), 2);
    let empty = ConvertOptions::new(Quantization::Int8).with_calibration(DataOptions::new(folder.path()));
    assert_eq!(code(&asset("fashion.keras"), &empty), 5);
    let nowhere = folder.path().join("no/such/folder/out.tflite");
    let error =
        convert(&asset("fashion.keras"), &nowhere, &options(Quantization::None), &Silent).unwrap_err();
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn the_batch_can_be_fixed_and_freed() {
    let folder = tempfile::tempdir().unwrap();
    let mut fixed = options(Quantization::None);
    fixed.batch = Some(BatchSize::Fixed(3));
    converted(folder.path(), &fixed).unwrap();
    let file = folder.path().join("out.tflite");
    assert_eq!(inspect(&file).unwrap().inputs[0].shape_signature, [3, 28, 28, 1]);
    let mut freed = ConvertOptions::new(Quantization::None);
    freed.batch = Some(BatchSize::Free);
    convert(&file, &folder.path().join("free.tflite"), &freed, &Silent).unwrap();
    let free = inspect(&folder.path().join("free.tflite")).unwrap();
    assert_eq!(free.inputs[0].shape_signature, [-1, 28, 28, 1]);
}

#[test]
fn a_batch_that_cannot_be_freed_is_refused_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"graph main(%x: f32[2,3]) -> (%y) {
      %t: f32[2,1] = [1,2]
      %y: f32[2,4] = Concat(%t, %x) {"axis":1} # token
    }"#;
    let model = litesmith_graph::text::parse(text).unwrap();
    let file = folder.path().join("mix.tflite");
    std::fs::write(&file, litesmith_formats::tflite::write(&model).unwrap()).unwrap();
    let mut freed = ConvertOptions::new(Quantization::Keep);
    freed.batch = Some(BatchSize::Free);
    let error = convert(&file, &folder.path().join("free.tflite"), &freed, &Silent).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("CONCATENATION"), "{error}");
}

#[test]
fn samples_that_look_at_each_other_keep_their_batch() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"graph main(%x: f32[1,3]) -> (%y) {
      %s: f32[1,3] = Reduce(%x) {"kind":"sum","axes":[0],"keep_dims":true} # all
      %y: f32[1,3] = Binary(%x, %s) {"kind":"mul"} # product
    }"#;
    let model = litesmith_graph::text::parse(text).unwrap();
    let file = folder.path().join("all.tflite");
    std::fs::write(&file, litesmith_formats::tflite::write(&model).unwrap()).unwrap();
    let mut freed = ConvertOptions::new(Quantization::Keep);
    freed.batch = Some(BatchSize::Free);
    let error = convert(&file, &folder.path().join("free.tflite"), &freed, &Silent).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
}

#[test]
fn quantized_files_become_float_again() {
    let folder = tempfile::tempdir().unwrap();
    converted(folder.path(), &options(Quantization::Int8Only)).unwrap();
    let (quantized, float) = (folder.path().join("out.tflite"), folder.path().join("float.tflite"));
    let result = convert(&quantized, &float, &ConvertOptions::new(Quantization::None), &Silent).unwrap();
    assert!(result.output_bytes > 150_000 && !result.operators.contains_key("QUANTIZE"), "{result:?}");
    let inspected = inspect(&float).unwrap();
    assert_eq!((inspected.inputs[0].dtype, inspected.outputs[0].dtype), ("float32", "float32"));
    let test = DataOptions::new(asset("fashion-test.npz")).with_samples(Some(200));
    let accuracy = |file: &Path| evaluate(file, &test, &Default::default(), &Silent).unwrap().accuracy;
    assert!((accuracy(&float) - accuracy(&quantized)).abs() < 0.02);

    let again = folder.path().join("again.tflite");
    let mode = options(Quantization::Int8);
    let result = convert(&quantized, &again, &mode, &Silent).unwrap();
    assert!(result.check.snr_db.unwrap() > 25.0, "{:?}", result.check);
    convert(&quantized, &again, &ConvertOptions::default(), &Silent).unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&quantized).unwrap(), "it stays as it is");
}

#[test]
fn keras_files_are_written_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("again.keras");
    let source = asset("fashion.keras");
    let result = convert(&source, &file, &ConvertOptions::new(Quantization::None), &Silent).unwrap();
    assert_eq!(result.output_bytes, file.metadata().unwrap().len());
    assert_eq!(inspect(&file).unwrap().parameters, inspect(&source).unwrap().parameters);
}
