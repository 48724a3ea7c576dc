//! Models that TFMOT has wrapped.

use litesmith_graph::ops::FakeQuant;
use litesmith_graph::{Model, Op, Quantization};
use serde_json::{Value, json};

use super::{by_name, floats, read_h5, read_keras, reasons, settings, with_configuration};
use litesmith_formats::keras;

const QUANTIZED: &[u8] = fixture!("tfmot.keras");

fn roundings(model: &Model) -> Vec<(&str, &FakeQuant)> {
    let nodes = model.main().nodes.iter();
    nodes
        .filter_map(|node| match &node.op {
            Op::FakeQuant(op) => Some((node.name.as_str(), op)),
            _ => None,
        })
        .collect()
}

#[test]
fn ranges_become_roundings_in_the_places_where_tfmot_has_them() {
    let model = read_keras(QUANTIZED);
    let found = roundings(&model);
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["quantize_layer", "quant_conv/conv", "quant_relu", "quant_dense/dense", "quant_dense/dense"]
    );
    let step = 1.0 / 254.0;
    let of = |index: usize| (&found[index].1.quantization, found[index].1.narrow_range);
    let kernel = Quantization { scales: [step; 2].into(), zero_points: [0; 2].into(), axis: Some(3) };
    assert_eq!(of(1), (&kernel, true));
    assert_eq!(of(3), (&Quantization::per_tensor(step, 0), true));
    for index in [0, 2, 4] {
        let (scale, zero_point) = of(index).0.single().unwrap();
        assert!((scale - 1.0 / 255.0).abs() < 1e-9 && (-1..=0).contains(&zero_point), "{scale} {zero_point}");
        assert!(!of(index).1);
    }
    // The sum is rounded before softmax, not behind.
    assert!(matches!(model.main().nodes.last().map(|node| &node.op), Some(Op::Softmax(_))));
}

#[test]
fn both_files_of_a_wrapped_model_say_the_same() {
    let (archive, legacy) = (read_keras(QUANTIZED), read_h5(fixture!("tfmot.h5.gz")));
    assert_eq!(roundings(&archive), roundings(&legacy));
    let (archive, legacy) = (by_name(&archive), by_name(&legacy));
    assert_eq!(archive.keys().collect::<Vec<_>>(), legacy.keys().collect::<Vec<_>>());
    for (name, parameter) in archive {
        assert_eq!(floats(parameter), floats(legacy[&name]), "{name:?}");
    }
}

#[test]
fn weights_are_pruned_by_their_mask() {
    for model in [read_keras(fixture!("pruned.keras")), read_h5(fixture!("pruned.h5.gz"))] {
        let parameters = by_name(&model);
        assert_eq!(parameters.len(), 2);
        let of = |variable: &str| {
            let layer = "prune_low_magnitude_dense/dense".to_owned();
            floats(parameters[&(layer, variable.to_owned())])
        };
        assert_eq!(of("kernel"), [1.0, 0.0, 3.0, 0.0, 5.0, 6.0]);
        assert_eq!(of("bias"), [7.0, 8.0, 9.0]);
    }
}

fn with_quantization(of: &str, value: &Value) -> bytes::Bytes {
    with_configuration(QUANTIZED, |configuration| {
        settings(configuration, of)["quantize_config"] = value.clone()
    })
}

#[test]
fn quantization_of_ones_own_is_named() {
    let own = json!({"class_name": "MyConfig", "config": {}});
    let found = reasons(keras::read_keras(with_quantization("quant_conv", &own)).unwrap_err());
    assert_eq!(found[0].0, "quant_conv");
    assert!(found[0].1.contains("'MyConfig' is Python code"), "{found:?}");
    let weights = json!({"class_name": "Default8BitQuantizeConfig", "config": {"weight_attrs": ["bias"]}});
    let found = reasons(keras::read_keras(with_quantization("quant_dense", &weights)).unwrap_err());
    assert!(found[0].1.contains("it rounds 'bias'"), "{found:?}");
}

#[test]
fn lying_wrappers_end_in_errors() {
    let lies = [
        json!(null),
        json!("NoOpQuantizeConfig"),
        json!({"class_name": "NoOpQuantizeConfig"}),
        json!({"class_name": "Default8BitConvQuantizeConfig", "config": {
            "weight_attrs": ["kernel", "kernel", "kernel"], "activation_attrs": ["activation"], "quantize_output": true}}),
        json!({"class_name": "Default8BitQuantizeConfig", "config": {
            "weight_attrs": ["depthwise_kernel"], "quantize_output": true}}),
        json!({"class_name": "DefaultNBitConvQuantizeConfig", "config": {
            "weight_attrs": ["kernel"], "num_bits_weight": 4_000_000_000u32}}),
        json!({"class_name": "OutputOnlyConfig", "config": {"quantize_config": {"class_name": "OutputOnlyConfig"}}}),
    ];
    for lie in lies {
        assert!(keras::read_keras(with_quantization("quant_conv", &lie)).is_err(), "{lie}");
    }
    let no_layer = with_configuration(QUANTIZED, |configuration| {
        settings(configuration, "quant_conv")["layer"] = Value::Null;
    });
    assert!(keras::read_keras(no_layer).is_err());
}
