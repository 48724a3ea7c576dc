//! New files, and weights out of other files.

use bytes::Bytes;
use litesmith_formats::FormatError;
use litesmith_formats::keras::{Array, Skeleton, WeightFile};
use litesmith_graph::{DType, Data, Model, text};

use super::{by_name, members, read_h5, read_keras, reasons, settings, unpacked};

fn skeleton(file: &[u8]) -> Skeleton {
    skeleton_with(file, |_| {})
}

fn skeleton_with(file: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Skeleton {
    let (_, text) = members(file).into_iter().find(|(name, _)| name == "config.json").unwrap();
    let mut configuration = serde_json::from_slice(&text).unwrap();
    change(&mut configuration);
    Skeleton::new(configuration).unwrap()
}

/// The shapes of a skeleton's variables, which a model of the same layers has; counters have none.
fn shapes(skeleton: &Skeleton, model: &Model) -> Vec<Vec<usize>> {
    let named = by_name(model);
    let shape = |layer: &str, variable: &str| {
        named.get(&(layer.to_owned(), variable.to_owned())).map_or_else(Vec::new, |own| own.shape.clone())
    };
    skeleton.places().iter().map(|place| shape(&place.layer, place.variable)).collect()
}

/// A new file of the layers of `file` with the weights of `weights`.
fn created(file: &[u8], weights: Bytes) -> Result<Bytes, FormatError> {
    let skeleton = skeleton(file);
    let shapes = shapes(&skeleton, &read_keras(file));
    let weights = WeightFile::open(weights)?;
    let stored = weights.of(&skeleton, &shapes)?;
    let mut place = 0..;
    let file = skeleton.keras(&mut |_| stored.array(place.next().unwrap()))?;
    Ok(file.into())
}

fn assert_same(model: &Model, other: &Model) {
    assert_eq!(text::print(model), text::print(other));
    assert_eq!(model.parameters.len(), other.parameters.len());
    for (parameter, twin) in model.parameters.iter().zip(&other.parameters) {
        assert_eq!(parameter.origin, twin.origin);
        assert_eq!((parameter.dtype, &parameter.shape), (twin.dtype, &twin.shape), "{:?}", parameter.origin);
        assert_eq!(parameter.data.bytes(), twin.data.bytes(), "{:?}", parameter.origin);
    }
}

#[test]
fn a_new_file_holds_what_the_old_one_held() {
    for file in [
        super::FASHION,
        fixture!("nested.keras"),
        fixture!("one-dimension.keras"),
        fixture!("sequence.keras"),
        fixture!("masked.keras"),
        fixture!("recurrent.keras"),
        fixture!("images-in-time.keras"),
        fixture!("general.keras"),
        fixture!("operators.keras"),
        fixture!("published.keras"),
    ] {
        let written = created(file, Bytes::from_static(file)).unwrap();
        assert_same(&read_keras(file), &read_keras(&written));
        let names: Vec<String> = members(&written).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["metadata.json", "config.json", "model.weights.h5"]);
        assert_eq!(written, created(file, Bytes::from_static(file)).unwrap(), "the same bytes each time");
    }
}

#[test]
fn weights_of_every_kind_of_file_are_taken() {
    let whole = read_keras(fixture!("published.keras"));
    for weights in [fixture!("published.weights.h5.gz"), fixture!("published-legacy.h5.gz")] {
        let written = created(fixture!("published.keras"), unpacked(weights)).unwrap();
        assert_same(&whole, &read_keras(&written));
    }
    let nested = read_keras(fixture!("nested.keras"));
    for weights in [unpacked(fixture!("nested.h5.gz")), unpacked(fixture!("nested-keras2.h5.gz"))] {
        let file = WeightFile::open(weights.clone()).unwrap();
        assert!(file.configuration().is_some());
        assert_same(&nested, &read_keras(&created(fixture!("nested.keras"), weights).unwrap()));
    }
    let older = Bytes::from_static(fixture!("nested-keras2.keras"));
    assert_same(&nested, &read_keras(&created(fixture!("nested.keras"), older).unwrap()));
    assert_eq!(by_name(&nested).len(), by_name(&read_h5(fixture!("nested.h5.gz"))).len());
}

#[test]
fn a_file_without_classifier_says_so() {
    for weights in [fixture!("published-notop.weights.h5.gz"), fixture!("published-legacy-notop.h5.gz")] {
        let error = created(fixture!("published.keras"), unpacked(weights)).unwrap_err().to_string();
        assert!(error.contains("'predictions'") && error.contains("notop"), "{error}");
    }
}

#[test]
fn weights_of_another_network_name_the_first_layer_that_does_not_fit() {
    let other = |name: &str, key: &str, value: serde_json::Value| {
        let file = fixture!("published.keras");
        let skeleton = skeleton_with(file, |configuration| settings(configuration, name)[key] = value);
        let mut shapes = shapes(&skeleton, &read_keras(file));
        if key == "units" {
            let last = shapes.len();
            (shapes[last - 2], shapes[last - 1]) = (vec![6, 7], vec![7]);
        }
        for weights in [fixture!("published.weights.h5.gz"), fixture!("published-legacy.h5.gz")] {
            let weights = WeightFile::open(unpacked(weights)).unwrap();
            let error = weights.of(&skeleton, &shapes).err().unwrap();
            assert!(error.to_string().contains(&format!("'{name}'")), "{error}");
            let misfit = matches!(&error, FormatError::Misfit { wanted, found, .. } if *wanted == [6, 7] && *found == [6, 5]);
            assert!(misfit || key != "units", "{error}");
        }
    };
    other("predictions", "units", 7.into());
    other("separable", "use_bias", false.into());
    other("norm", "scale", true.into());
    let error =
        created(fixture!("published.keras"), Bytes::from_static(fixture!("nested.keras"))).unwrap_err();
    assert!(error.to_string().contains("layer '"), "{error}");
    for nothing in [unpacked(fixture!("frozen.pb.gz")), Bytes::from_static(b"PK\x03\x04 no archive")] {
        assert!(WeightFile::open(nothing).is_err());
    }
}

#[test]
fn more_layers_than_the_network_has_are_found() {
    let file = fixture!("published.keras");
    let skeleton = skeleton_with(file, |configuration| {
        let layers = configuration["config"]["layers"].as_array_mut().unwrap();
        layers.pop();
        configuration["config"]["output_layers"] = serde_json::json!(["global_average_pooling2d", 0, 0]);
    });
    let shapes = shapes(&skeleton, &read_keras(file));
    for weights in [fixture!("published.weights.h5.gz"), fixture!("published-legacy.h5.gz")] {
        let weights = WeightFile::open(unpacked(weights)).unwrap();
        let error = weights.of(&skeleton, &shapes).err().unwrap().to_string();
        assert!(error.contains("another network"), "{error}");
    }
}

#[test]
fn counters_are_integers_and_weights_are_not() {
    let skeleton = skeleton(fixture!("published.keras"));
    let model = read_keras(fixture!("published.keras"));
    let shapes = shapes(&skeleton, &model);
    let mut place = 0..;
    let values = |dtype: DType, data: Data| {
        let mut place = place.clone();
        let shapes = shapes.clone();
        skeleton.keras(&mut move |own| {
            let shape = shapes[place.next().unwrap()].clone();
            match own.variable {
                "count" => Ok(Array { dtype: DType::F32, shape, data: Data::from_vec(vec![3.0f32]) }),
                "beta" => Ok(Array { dtype, shape, data: data.clone() }),
                _ => Ok(Array::from_f32(&shape, vec![0.5; shape.iter().product()])),
            }
        })
    };
    let written = values(DType::F32, Data::from_vec(vec![0.5f32; 4])).unwrap();
    let count = read_keras(&written).parameters.iter().find(|own| own.origin.variable == "count").cloned();
    let count = count.unwrap();
    assert_eq!((count.dtype, count.data.elements::<i64>().into_owned()), (DType::I64, vec![3]));
    assert!(values(DType::F64, Data::from_vec(vec![0.5f64; 4])).unwrap_err().to_string().contains("f64"));
    assert!(values(DType::F32, Data::from_vec(vec![0.5f32; 3])).is_err());
    place.next();
}

#[test]
fn wrappers_of_the_optimization_toolkit_are_refused() {
    for file in [fixture!("tfmot.keras"), fixture!("pruned.keras")] {
        let (_, text) = members(file).into_iter().find(|(name, _)| name == "config.json").unwrap();
        let error = Skeleton::new(serde_json::from_slice(&text).unwrap()).err().unwrap();
        assert!(reasons(error)[0].1.contains("optimization toolkit"));
    }
}

#[test]
fn damaged_weights_do_not_panic() {
    let skeleton = skeleton(fixture!("published.keras"));
    let shapes = shapes(&skeleton, &read_keras(fixture!("published.keras")));
    let read = |bytes: Bytes| -> Result<(), FormatError> {
        let weights = WeightFile::open(bytes)?;
        let stored = weights.of(&skeleton, &shapes)?;
        (0..=skeleton.places().len()).try_for_each(|place| stored.array(place).map(drop))
    };
    for weights in [fixture!("published.weights.h5.gz"), fixture!("published-legacy.h5.gz")] {
        let whole = unpacked(weights);
        for place in (0..whole.len()).step_by(37) {
            assert!(read(whole.slice(..place)).is_err(), "cut at {place}");
            let mut changed = whole.to_vec();
            changed[place] ^= 0xFF;
            let _ = read(changed.into());
        }
    }
}
