//! Files that lie, contradict themselves, or are damaged.

use bytes::Bytes;
use litesmith_formats::keras;
use proptest::prelude::*;
use serde_json::{Value, json};
use zip::CompressionMethod;

use super::{FASHION, archive, members, settings, unpacked, with_configuration};

#[test]
fn contradictions_are_found() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 9] = [
        (|c| settings(c, "stem")["filters"] = json!(5), "kernel"),
        (|c| settings(c, "stem")["kernel_size"] = json!([3, -1]), "kernel_size"),
        (|c| settings(c, "stem")["filters"] = json!("4"), "filters"),
        (|c| settings(c, "stem")["groups"] = json!(2), "groups"),
        (|c| settings(c, "image")["batch_shape"] = json!([null, 8, 8, 1_000_000_000_000u64]), "axis"),
        (|c| settings(c, "shared")["use_bias"] = json!(false), "more variables"),
        (|c| c["config"]["layers"].as_array_mut().unwrap().truncate(3), "does not exist"),
        (|c| c["config"]["output_layers"] = json!(["stem", 7, 0]), "not there"),
        (|c| c["config"] = json!({}), "no list of layers"),
    ];
    for (index, (change, said)) in changes.into_iter().enumerate() {
        let error = keras::read_keras(with_configuration(fixture!("nested.keras"), change)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(said), "change {index}: {message}");
    }
}

#[test]
fn tensors_of_too_many_axes_are_refused() {
    let file = with_configuration(fixture!("operators.keras"), |configuration| {
        let many: Vec<i64> = [-1, 60].into_iter().chain(std::iter::repeat_n(1, 40)).collect();
        settings(configuration, "reshape")["newshape"] = json!(many);
    });
    let message = keras::read_keras(file).unwrap_err().to_string();
    assert!(message.contains("42 axes"), "{message}");
}

#[test]
fn cycles_are_found() {
    let file = with_configuration(fixture!("operators.keras"), |configuration| {
        let text = configuration
            .to_string()
            .replace(r#""keras_history":["image",0,0]"#, r#""keras_history":["relu",0,0]"#);
        *configuration = serde_json::from_str(&text).unwrap();
    });
    let message = keras::read_keras(file).unwrap_err().to_string();
    assert!(message.contains("cycle"), "{message}");
}

#[test]
fn models_in_models_are_bounded() {
    // Each level calls the one below twice.
    let layer = |name: &str, class: &str, config: Value, calls: Value| json!({"class_name": class, "name": name, "config": config, "inbound_nodes": calls});
    let model = |inner: Value| {
        let input = layer("in", "InputLayer", json!({"batch_shape": [null, 2], "name": "in"}), json!([]));
        let calls = json!([[["in", 0, 0, {}]], [["m", 1, 0, {}]]]);
        let inner = match inner {
            Value::Null => layer("m", "Flatten", json!({"name": "m"}), json!([[["in", 0, 0, {}]]])),
            inner => layer("m", "Functional", inner, calls),
        };
        json!({"name": "m", "layers": [input, inner], "input_layers": [["in", 0, 0]], "output_layers": [["m", 0, 0]]})
    };
    let depth = |levels: usize| (0..levels).fold(model(Value::Null), |inner, _| model(inner));
    let read = |levels| {
        let mut members = members(fixture!("operators.keras"));
        let configuration = json!({"class_name": "Functional", "config": depth(levels)});
        members.iter_mut().find(|(name, _)| name == "config.json").unwrap().1 =
            configuration.to_string().into();
        members.iter_mut().find(|(name, _)| name == "metadata.json").unwrap().1 =
            br#"{"keras_version":"2.9"}"#.into();
        keras::read_keras(archive(&members, CompressionMethod::Stored))
    };
    let model = read(3).unwrap();
    assert_eq!(model.main().nodes.len(), 8);
    assert!(read(40).is_err());
}

#[test]
fn damaged_members_are_found_by_their_checksum() {
    let mut bytes = FASHION.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let message = keras::read_keras(bytes.into()).unwrap_err().to_string();
    assert!(message.contains("model.weights.h5"), "{message}");
}

#[test]
fn members_that_unpack_to_too_much_are_refused() {
    let mut members = members(fixture!("operators.keras"));
    members.iter_mut().find(|(name, _)| name == "config.json").unwrap().1 = vec![b' '; 100 << 20];
    let file = archive(&members, CompressionMethod::Deflated);
    assert!(file.len() < 1 << 20);
    let message = keras::read_keras(file).unwrap_err().to_string();
    assert!(message.contains("cannot come out"), "{message}");
}

#[test]
fn missing_members_are_named() {
    for missing in ["config.json", "metadata.json", "model.weights.h5"] {
        let mut members = members(fixture!("operators.keras"));
        members.retain(|(name, _)| name != missing);
        let error = keras::read_keras(archive(&members, CompressionMethod::Stored)).unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
    }
}

fn mutated(bytes: &mut [u8], changes: &[(prop::sample::Index, u8)]) {
    for (place, value) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *value;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Whatever bytes are wrong in the weights or the configuration, reading ends in a model that is
    /// sound or in an error.
    #[test]
    fn damaged_archives_do_not_panic(
        file in prop::sample::select(vec![
            fixture!("nested.keras"), fixture!("nested-keras2.keras"), fixture!("operators.keras"),
            fixture!("one-dimension.keras"), fixture!("functions-keras2.keras"), fixture!("sequence.keras"), FASHION,
        ]),
        member in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut members = members(file);
        let bytes = &mut members[member].1;
        mutated(bytes, &changes);
        if let Some(length) = length {
            let length = length.index(bytes.len());
            bytes.truncate(length);
        }
        if let Ok(model) = keras::read_keras(archive(&members, CompressionMethod::Stored)) {
            prop_assert_eq!(litesmith_graph::validate(&model), Ok(()));
        }
    }

    #[test]
    fn damaged_zip_structure_does_not_panic(
        file in prop::sample::select(vec![fixture!("nested.keras"), fixture!("operators.keras")]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = file.to_vec();
        mutated(&mut bytes, &changes);
        if let Ok(model) = keras::read_keras(bytes.into()) {
            prop_assert_eq!(litesmith_graph::validate(&model), Ok(()));
        }
    }

    #[test]
    fn damaged_legacy_files_do_not_panic(
        file in prop::sample::select(vec![
            fixture!("nested.h5.gz"), fixture!("nested-keras2.h5.gz"), fixture!("bfloat16.h5.gz"),
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = unpacked(file).to_vec();
        mutated(&mut bytes, &changes);
        let bytes = Bytes::from(bytes);
        if let Ok(model) = keras::read_h5(bytes.clone()) {
            prop_assert_eq!(litesmith_graph::validate(&model), Ok(()));
            prop_assert!(keras::write_h5(&bytes, &model).is_ok());
        }
    }

    /// Values of the wrong type or size anywhere in the configuration.
    #[test]
    fn lying_configurations_do_not_panic(
        file in prop::sample::select(vec![
            fixture!("nested.keras"), fixture!("nested-keras2.keras"), fixture!("operators.keras"),
            fixture!("one-dimension.keras"), fixture!("functions-keras2.keras"), fixture!("sequence.keras"), FASHION,
            fixture!("masked.keras"), fixture!("wrapped.keras"), fixture!("recurrent.keras"), fixture!("general.keras"),
        ]),
        place in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            json!(null), json!(0), json!(-1), json!(1e30), json!(u64::MAX), json!(4_294_967_295u64), json!("x"),
            json!([]), json!([[[1]]]), json!({}), json!(true), json!(0.5), json!([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ]),
    ) {
        let file = with_configuration(file, |configuration| {
            let place = place.index(count(configuration));
            replace(configuration, &mut { place }, &value);
        });
        if let Ok(model) = keras::read_keras(file) {
            prop_assert_eq!(litesmith_graph::validate(&model), Ok(()));
        }
    }
}

/// Number of values in a configuration.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(items) => items.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Replaces the value at a place, counted in the order of the text.
fn replace(value: &mut Value, place: &mut usize, new: &Value) -> bool {
    if *place == 0 {
        *value = new.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, place, new)),
        Value::Object(items) => items.values_mut().any(|item| replace(item, place, new)),
        _ => false,
    }
}
