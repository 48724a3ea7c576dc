//! Keras files: real ones of Keras 3 and Keras 2, and damaged ones.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use litesmith_formats::{FormatError, keras};
use litesmith_graph::{Dim, Format, Model, Op, Parameter, TensorKind, text};
use serde_json::{Value, json};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/", $name)).as_slice()
    };
}

mod create;
mod damage;
mod tfmot;

const FASHION: &[u8] = include_bytes!("../../../litesmith/assets/fashion.keras");

fn read_keras(file: &[u8]) -> Model {
    keras::read_keras(Bytes::copy_from_slice(file)).unwrap()
}

fn unpacked(file: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes.into()
}

fn read_h5(packed: &[u8]) -> Model {
    keras::read_h5(unpacked(packed)).unwrap()
}

/// Parameters by layer and variable.
fn by_name(model: &Model) -> BTreeMap<(String, String), &Parameter> {
    let key = |p: &Parameter| (p.origin.layer.clone(), p.origin.variable.clone());
    model.parameters.iter().map(|parameter| (key(parameter), parameter)).collect()
}

fn floats(parameter: &Parameter) -> Vec<f32> {
    parameter.data.floats(parameter.dtype).unwrap().into_owned()
}

/// The members of an archive, in order.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut member = zip.by_index(index).unwrap();
            let name = member.name().unwrap().into_owned();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect()
}

fn archive(members: &[(String, Vec<u8>)], method: CompressionMethod) -> Bytes {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

/// An archive with its configuration changed.
fn with_configuration(file: &[u8], change: impl FnOnce(&mut Value)) -> Bytes {
    let mut members = members(file);
    let (_, bytes) = members.iter_mut().find(|(name, _)| name == "config.json").unwrap();
    let mut configuration: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut configuration);
    *bytes = configuration.to_string().into_bytes();
    archive(&members, CompressionMethod::Stored)
}

/// The settings of a layer of the outermost model.
fn settings<'a>(configuration: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = configuration["config"]["layers"].as_array_mut().unwrap();
    &mut layers.iter_mut().find(|layer| layer["config"]["name"] == name).unwrap()["config"]
}

fn reasons(error: FormatError) -> Vec<(String, String)> {
    match error {
        FormatError::Unsupported(items) => items.into_iter().map(|item| (item.layer, item.reason)).collect(),
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn the_demo_model_is_read() {
    let model = read_keras(FASHION);
    assert_eq!(model.weight_count(), 39_482);
    assert_eq!(model.source.format, Format::Keras);
    assert_eq!(model.source.producer, "Keras 3.15.1");
    assert_eq!(model.source.description, "fashion");
    let graph = model.main();
    assert_eq!(graph[graph.inputs[0]].shape.to_string(), "[batch,28,28,1]");
    assert_eq!(graph[graph.outputs[0]].shape.to_string(), "[batch,10]");
    assert_eq!(model.signatures[0].key, "serving_default");
    assert_eq!(model.signatures[0].inputs, [("image".to_owned(), 0)]);
    assert_eq!(model.signatures[0].outputs, [("output_0".to_owned(), 0)]);
    assert!(graph.nodes.iter().any(|node| node.name == "block1_depthwise"));
}

#[test]
fn nested_and_shared_layers_become_nodes_with_their_names() {
    let model = read_keras(fixture!("nested.keras"));
    insta::assert_snapshot!(text::print(&model));
}

#[test]
fn one_dimensional_layers_run_over_images_of_height_one() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("one-dimension.keras"))));
}

#[test]
fn attention_reads_the_weights_of_its_parts() {
    let model = read_keras(fixture!("sequence.keras"));
    insta::assert_snapshot!(text::print(&model));
    let legacy = read_keras(fixture!("sequence-keras2.keras"));
    assert_eq!(text::print(&model), text::print(&legacy));
}

#[test]
fn every_file_of_a_model_says_the_same() {
    let first = read_keras(fixture!("nested.keras"));
    let others = [
        read_h5(fixture!("nested.h5.gz")),
        read_keras(fixture!("nested-keras2.keras")),
        read_h5(fixture!("nested-keras2.h5.gz")),
    ];
    for other in &others {
        let (first, other) = (by_name(&first), by_name(other));
        assert_eq!(first.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        for (name, parameter) in first {
            let twin = other[&name];
            assert_eq!((&parameter.shape, floats(parameter)), (&twin.shape, floats(twin)), "{name:?}");
            assert_eq!(parameter.trainable, twin.trainable, "{name:?}");
            assert_eq!(parameter.regularizer, twin.regularizer, "{name:?}");
        }
    }
    for other in &others {
        let operators = |model: &Model| {
            model.main().nodes.iter().map(|node| (node.name.clone(), node.op.clone())).collect::<Vec<_>>()
        };
        assert_eq!(operators(&first), operators(other));
    }
}

#[test]
fn weights_are_in_the_order_of_keras() {
    for file in [fixture!("nested.keras"), fixture!("sequence.keras"), fixture!("operators.keras")] {
        let model = read_keras(file);
        let all: Vec<f32> = model.parameters.iter().flat_map(floats).collect();
        let counted: Vec<f32> = (0..all.len()).map(|number| number as f32 / 1024.0).collect();
        assert_eq!(all, counted);
    }
}

#[test]
fn parameters_know_their_origin_and_their_training() {
    let model = read_keras(fixture!("nested.keras"));
    let parameters = by_name(&model);
    let parameter = |layer: &str, variable: &str| parameters[&(layer.to_owned(), variable.to_owned())];
    let kernel = parameter("tower/conv", "kernel");
    assert_eq!(kernel.origin.path, "layers/sequential/layers/conv2d/vars/0");
    assert_eq!(kernel.shape, [1, 1, 4, 4]);
    assert!(kernel.trainable && !parameter("tower/norm", "moving_mean").trainable);
    let mix = parameter("head/mix", "kernel");
    assert_eq!(mix.regularizer.map(|regularizer| (regularizer.l1, regularizer.l2)), Some((0.0, 0.01)));
    let legacy = read_h5(fixture!("nested-keras2.h5.gz"));
    let kernel = by_name(&legacy)[&("stem".to_owned(), "kernel".to_owned())];
    assert_eq!(kernel.origin.path, "model_weights/stem/stem/kernel:0");
}

#[test]
fn layers_frozen_by_themselves_or_by_their_model_are_not_trainable() {
    let file = with_configuration(fixture!("nested.keras"), |configuration| {
        settings(configuration, "tower")["trainable"] = json!(false);
        settings(configuration, "shared")["trainable"] = json!(false);
    });
    let model = keras::read_keras(file).unwrap();
    let trained: Vec<_> = model.parameters.iter().filter(|p| p.trainable).map(|p| &p.origin.layer).collect();
    assert_eq!(trained, ["stem", "head/mix", "head/mix"]);
}

#[test]
fn hard_sigmoid_is_that_of_the_version_that_wrote_the_file() {
    let operators = |file: &[u8]| {
        let model = read_keras(file);
        let nodes = model.main().nodes.iter().filter(|node| node.name == "causal");
        nodes.map(|node| node.op.name()).collect::<Vec<_>>().join(" ")
    };
    assert!(operators(fixture!("one-dimension.keras")).ends_with("Squeeze Unary"));
    assert!(operators(fixture!("one-dimension-keras2.keras")).ends_with("Squeeze Binary Binary Unary"));
}

#[test]
fn open_sizes_get_names() {
    let model = read_keras(fixture!("one-dimension.keras"));
    let graph = model.main();
    assert_eq!(graph[graph.inputs[0]].shape.dims(), [Dim::free("batch"), Dim::free("time"), Dim::Fixed(3)]);
}

#[test]
fn operator_nodes_are_read_alike_from_both_containers() {
    let model = read_keras(fixture!("operators.keras"));
    insta::assert_snapshot!(text::print(&model));
    let legacy = read_h5(fixture!("operators.h5.gz"));
    assert_eq!(model.main(), legacy.main());
    // Keras orders dictionaries by key.
    let names: Vec<_> = model.signatures[0].outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["column", "flat"]);
}

#[test]
fn functions_of_tensorflow_are_read_like_operator_nodes() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("functions-keras2.keras"))));
}

#[test]
fn layout_nodes_of_a_shared_layer_exist_once() {
    let model = read_keras(fixture!("nested.keras"));
    let of = |name: &str, operator: &str| {
        model.main().nodes.iter().filter(|node| node.name == name && node.op.name() == operator).count()
    };
    assert_eq!((of("shared", "Transpose"), of("shared", "FullyConnected")), (1, 2));
    assert_eq!((of("head/mix", "Transpose"), of("head/mix", "FullyConnected")), (1, 2));
}

#[test]
fn masks_go_from_layer_to_layer() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("masked.keras"))));
}

#[test]
fn both_generations_of_keras_heed_the_same_masks() {
    let count = |model: &Model, operator: &str| {
        model.main().nodes.iter().filter(|node| node.op.name() == operator).count()
    };
    // Keras 3 writes a node for the mask into the file; Keras 2 leaves it to the reader.
    for model in [read_keras(fixture!("masked.keras")), read_keras(fixture!("masked-keras2.keras"))] {
        assert_eq!(["Softmax", "Logical"].map(|operator| count(&model, operator)), [1, 2]);
        let mean = model.main().nodes.iter().filter(|node| node.name == "mean");
        assert!(mean.clone().any(|node| node.op.name() == "Select"));
        assert!(mean.clone().any(|node| node.op.builtin_name() == "DIV"));
    }
}

#[test]
fn layers_made_of_layers_are_read_alike_from_both_containers() {
    let model = read_keras(fixture!("wrapped.keras"));
    insta::assert_snapshot!(text::print(&model));
    let legacy = read_h5(fixture!("wrapped.h5.gz"));
    assert_eq!(model.main(), legacy.main());
    let (parameters, older) = (by_name(&model), by_name(&legacy));
    assert_eq!(parameters.keys().collect::<Vec<_>>(), older.keys().collect::<Vec<_>>());
    for (key, parameter) in &parameters {
        assert_eq!(floats(parameter), floats(older[key]), "{key:?}");
    }
}

#[test]
fn recurrent_layers_stay_whole() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("recurrent.keras"))));
}

#[test]
fn recurrent_layers_find_their_weights_in_every_file() {
    let models = [
        read_keras(fixture!("recurrent.keras")),
        read_keras(fixture!("recurrent-keras2.keras")),
        read_h5(fixture!("recurrent-keras2.h5.gz")),
    ];
    let cells = |model: &Model| {
        let nodes = model.main().nodes.iter().filter(|node| node.op.name() == "Recurrent");
        nodes.map(|node| (node.name.clone(), node.op.clone())).collect::<Vec<_>>()
    };
    for model in &models {
        assert_eq!(cells(model), cells(&models[0]));
        let (parameters, expected) = (by_name(model), by_name(&models[0]));
        assert_eq!(parameters.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (key, parameter) in &parameters {
            assert_eq!(floats(parameter), floats(expected[key]), "{key:?}");
        }
    }
}

#[test]
fn images_in_time_become_copies_of_the_cell() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("images-in-time.keras"))));
}

#[test]
fn settings_of_recurrent_layers_that_are_not_supported_are_named() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (|c| settings(c, "gru")["stateful"] = Value::Bool(true), "initial_state"),
        (|c| settings(c, "gru")["time_major"] = Value::Bool(true), "batch first"),
        (|c| settings(c, "gru")["activation"] = "softmax".into(), "'softmax'"),
        (|c| settings(c, "both")["merge_mode"] = "max".into(), "'max'"),
    ];
    for (change, said) in changes {
        let error = keras::read_keras(with_configuration(fixture!("recurrent.keras"), change)).unwrap_err();
        let reasons = reasons(error);
        assert!(reasons.iter().any(|(_, reason)| reason.contains(said)), "{said}: {reasons:?}");
    }
}

#[test]
fn einsums_and_nodes_of_several_outputs_become_products_and_parts() {
    insta::assert_snapshot!(text::print(&read_keras(fixture!("general.keras"))));
}

#[test]
fn everything_that_is_not_supported_is_named_at_once() {
    let error = keras::read_keras(Bytes::from_static(fixture!("refused.keras"))).unwrap_err();
    let refused = reasons(error);
    let names: Vec<_> = refused.iter().map(|(layer, _)| layer.as_str()).collect();
    assert_eq!(names, ["secret", "twice"]);
    assert!(refused.iter().all(|(_, reason)| reason.contains("Python")), "{refused:?}");
}

#[test]
fn a_custom_class_with_the_name_of_a_layer_is_still_custom() {
    for (module, registered) in [(json!(null), json!("Dense")), (json!("my.layers"), json!("Dense"))] {
        let file = with_configuration(fixture!("nested.keras"), |configuration| {
            let layers = configuration["config"]["layers"].as_array_mut().unwrap();
            let layer = layers.iter_mut().find(|layer| layer["name"] == "shared").unwrap();
            (layer["module"], layer["registered_name"]) = (module, registered);
        });
        let refused = reasons(keras::read_keras(file).unwrap_err());
        assert!(refused[0].0 == "shared" && refused[0].1.contains("custom layer"), "{refused:?}");
    }
}

#[test]
fn what_only_building_shows_is_collected_too() {
    let file = with_configuration(fixture!("nested.keras"), |configuration| {
        settings(configuration, "shared")["activation"] = json!("mine>swoosh");
        settings(configuration, "stem")["activation"] = json!("mine>whirl");
    });
    let refused = reasons(keras::read_keras(file).unwrap_err());
    // What reads a refused layer's output is not looked at.
    assert_eq!(refused.iter().map(|(layer, _)| layer.as_str()).collect::<Vec<_>>(), ["stem"]);
    assert!(refused[0].1.contains("mine>whirl"));
}

#[test]
fn half_and_brain_floats_are_widened() {
    let half = read_keras(fixture!("float16.keras"));
    let brain = read_h5(fixture!("bfloat16.h5.gz"));
    let counted: Vec<f32> = (0..12).map(|number| number as f32 / 1024.0).collect();
    for model in [half, brain] {
        assert_eq!(floats(&model.parameters[0]), counted);
    }
}

#[test]
fn activations_are_taken_in_every_spelling() {
    let spellings = [
        (json!("relu6"), "Unary"),
        (json!({"module": "keras.layers", "class_name": "ReLU", "config": {"max_value": 6.0}}), "Unary"),
        (json!({"module": "builtins", "class_name": "function", "config": "swish"}), "Unary"),
        (json!("mish"), "Unary Unary Binary"),
        (json!("softmax"), "Softmax"),
        (json!({"class_name": "Softmax", "config": {"axis": 1}}), "Transpose Softmax Transpose"),
        (json!("linear"), ""),
        (json!(null), ""),
    ];
    for (spelling, expected) in spellings {
        let file = with_configuration(fixture!("nested.keras"), |configuration| {
            settings(configuration, "stem")["activation"] = spelling.clone();
        });
        let model = keras::read_keras(file).unwrap();
        let nodes = model.main().nodes.iter().filter(|node| node.name == "stem");
        let operators: Vec<_> = nodes.map(|node| node.op.name()).collect();
        assert_eq!(operators[..2], ["Transpose", "Conv2D"]);
        assert_eq!(operators[2..].join(" "), expected, "{spelling}");
    }
}

#[test]
fn dropped_feature_maps_are_kept_apart_from_dropped_elements() {
    let file = with_configuration(fixture!("one-dimension.keras"), |configuration| {
        settings(configuration, "drop")["noise_shape"] = json!([null, 1]);
    });
    let model = keras::read_keras(file).unwrap();
    let dropout = model.main().nodes.iter().find_map(|node| match &node.op {
        Op::Dropout(dropout) => Some(dropout.clone()),
        _ => None,
    });
    let dropout = dropout.unwrap();
    assert_eq!((dropout.rate, dropout.shared_axes), (0.25, vec![1]));
}

fn changed(model: &Model) -> Model {
    let mut model = model.clone();
    for (index, parameter) in model.parameters.iter_mut().enumerate() {
        let values = floats(parameter).iter().map(|x| x + index as f32 + 0.5).collect::<Vec<f32>>();
        parameter.data = litesmith_graph::Data::from_vec(values);
    }
    model
}

#[test]
fn new_weights_go_into_a_copy_of_the_archive() {
    for original in
        [FASHION, fixture!("nested.keras"), fixture!("nested-keras2.keras"), fixture!("float16.keras")]
    {
        let original = Bytes::from_static(original);
        let model = changed(&keras::read_keras(original.clone()).unwrap());
        let note: (&str, &[u8]) = ("litesmith/quantization.json", b"{}");
        let written = Bytes::from(keras::write_keras(&original, &model, &[note]).unwrap());
        let reread = keras::read_keras(written.clone()).unwrap();
        for (parameter, twin) in model.parameters.iter().zip(&reread.parameters) {
            let close =
                floats(parameter).iter().zip(floats(twin)).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs());
            assert!(close, "{:?}", parameter.origin);
        }
        assert_eq!(keras::member(&written, note.0).unwrap().as_deref(), Some(note.1));
        let (before, after) = (members(&original), members(&written));
        assert_eq!(before.len() + 1, after.len());
        for ((name, bytes), (twin_name, twin)) in before.iter().zip(&after) {
            assert_eq!(name, twin_name);
            assert!(name == "model.weights.h5" || bytes == twin, "{name} was changed");
        }
        // Written again, the same bytes come out, and the note is replaced, not doubled.
        assert_eq!(keras::write_keras(&written, &model, &[note]).unwrap(), written);
    }
}

#[test]
fn new_weights_go_into_a_copy_of_the_legacy_file() {
    for packed in [fixture!("nested.h5.gz"), fixture!("nested-keras2.h5.gz"), fixture!("bfloat16.h5.gz")] {
        let original = unpacked(packed);
        let model = changed(&keras::read_h5(original.clone()).unwrap());
        let written = keras::write_h5(&original, &model).unwrap();
        assert_eq!(written.len(), original.len());
        let reread = keras::read_h5(written.into()).unwrap();
        for (parameter, twin) in model.parameters.iter().zip(&reread.parameters) {
            let close =
                floats(parameter).iter().zip(floats(twin)).all(|(a, b)| (a - b).abs() <= 1e-2 * a.abs());
            assert!(close, "{:?}", parameter.origin);
        }
    }
}

#[test]
fn weights_of_another_shape_are_not_written() {
    let original = Bytes::from_static(FASHION);
    let mut model = keras::read_keras(original.clone()).unwrap();
    let parameter = &mut model.parameters[0];
    parameter.shape[0] -= 1;
    let name = parameter.origin.layer.clone();
    let refused = reasons(keras::write_keras(&original, &model, &[]).unwrap_err());
    assert_eq!(refused[0].0, name);
}

#[test]
fn tensors_bear_the_names_of_their_layers() {
    let model = read_keras(fixture!("nested.keras"));
    let graph = model.main();
    let names: Vec<_> = graph.outputs.iter().map(|id| graph[*id].name.as_str()).collect();
    assert_eq!(names, ["head/mix", "flat"]);
    let kernel = graph.tensors.iter().find(|tensor| matches!(tensor.kind, TensorKind::Parameter(_))).unwrap();
    assert_eq!(kernel.name, "stem/kernel");
}
