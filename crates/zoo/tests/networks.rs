//! What the networks are, checked against the numbers of `keras.applications`.

use std::collections::HashSet;

use litesmith_zoo::{Network, Options, Preprocessing, ZooError, build, entries, entry};

/// Names, parameters as `model.count_params()` says of the network for 1000 classes, and millions of
/// multiply-accumulates by the shapes that Keras builds.
const NUMBERS: [(&str, usize, u64); 40] = [
    ("ResNet50", 25_636_712, 3_858),
    ("ResNet101", 44_707_176, 7_570),
    ("ResNet152", 60_419_944, 11_282),
    ("ResNet50V2", 25_613_800, 3_482),
    ("ResNet101V2", 44_675_560, 7_194),
    ("ResNet152V2", 60_380_648, 10_907),
    ("DenseNet121", 8_062_504, 2_834),
    ("DenseNet169", 14_307_880, 3_360),
    ("DenseNet201", 20_242_984, 4_291),
    ("EfficientNetB0", 5_330_571, 386),
    ("EfficientNetB1", 7_856_239, 687),
    ("EfficientNetB2", 9_177_569, 994),
    ("EfficientNetB3", 12_320_535, 1_827),
    ("EfficientNetB4", 19_466_823, 4_394),
    ("EfficientNetB5", 30_562_527, 10_266),
    ("EfficientNetB6", 43_265_143, 19_068),
    ("EfficientNetB7", 66_658_687, 37_746),
    ("EfficientNetV2B0", 7_200_312, 718),
    ("EfficientNetV2B1", 8_212_124, 1_197),
    ("EfficientNetV2B2", 10_178_374, 1_698),
    ("EfficientNetV2B3", 14_467_622, 3_011),
    ("EfficientNetV2S", 21_612_360, 8_366),
    ("EfficientNetV2M", 54_431_388, 24_582),
    ("EfficientNetV2L", 119_027_848, 56_080),
    ("MobileNet", 4_253_864, 569),
    ("MobileNetV2", 3_538_984, 301),
    ("MobileNetV3Small", 2_554_968, 57),
    ("MobileNetV3Large", 5_507_432, 217),
    ("VGG16", 138_357_544, 15_470),
    ("VGG19", 143_667_240, 19_632),
    ("Xception", 22_910_480, 8_357),
    ("InceptionV3", 23_851_784, 5_713),
    ("InceptionResNetV2", 55_873_736, 13_156),
    ("NASNetMobile", 5_326_716, 564),
    ("NASNetLarge", 88_949_818, 23_783),
    ("ConvNeXtTiny", 28_589_128, 4_456),
    ("ConvNeXtSmall", 50_223_688, 8_684),
    ("ConvNeXtBase", 88_591_464, 15_355),
    ("ConvNeXtLarge", 197_767_336, 34_361),
    ("ConvNeXtXLarge", 350_196_968, 60_921),
];

fn of_size(name: &str, size: usize, classes: usize) -> Result<Network, ZooError> {
    build(name, &Options { size: Some(size), classes, ..Options::default() })
}

#[test]
fn parameters_and_products_are_those_of_keras() {
    for (name, parameters, millions) in NUMBERS {
        let network = build(name, &Options::default()).unwrap();
        assert_eq!(network.parameters(), parameters, "{name}");
        assert_eq!((network.macs() + 500_000) / 1_000_000, millions, "{name}");
    }
}

#[test]
fn networks_take_the_smallest_size_and_none_below() {
    for entry in entries() {
        let network = of_size(entry.name, entry.smallest, 1000).unwrap();
        assert_eq!(network.layers()[0].shape, [entry.smallest, entry.smallest, 3], "{}", entry.name);
        let smallest = entry.smallest;
        let size = smallest - 1;
        let refused = of_size(entry.name, size, 1000).unwrap_err();
        assert_eq!(refused, ZooError::TooSmall { name: entry.name, smallest, size });
    }
}

#[test]
fn networks_tell_as_many_classes_apart_as_asked() {
    for entry in entries() {
        let network = of_size(entry.name, entry.smallest.max(96), 10).unwrap();
        assert_eq!(network.layers().last().unwrap().shape, [10], "{}", entry.name);
        assert_eq!(of_size(entry.name, entry.size, 0).unwrap_err(), ZooError::NoClasses);
    }
}

#[test]
fn the_largest_sizes_can_be_counted_and_larger_ones_are_refused() {
    let (largest, most) = (1 << 16, 1 << 24);
    for entry in entries() {
        let network = of_size(entry.name, largest, most).unwrap();
        assert!(network.macs() < 1 << 60 && network.parameters() < 1 << 60, "{}", entry.name);
    }
    for (size, classes) in [(largest + 1, 10), (usize::MAX, 10), (224, most + 1), (224, usize::MAX)] {
        let refused = of_size("VGG16", size, classes).unwrap_err();
        assert!(matches!(refused, ZooError::TooLarge { .. }), "{size} {classes}: {refused}");
    }
}

#[test]
fn only_flattened_images_make_the_weights_depend_on_the_size() {
    for (name, parameters, _) in NUMBERS {
        let small = of_size(name, 96, 1000).unwrap();
        let dense: usize = if name.starts_with("VGG") { (7 * 7 - 3 * 3) * 512 * 4096 } else { 0 };
        assert_eq!(small.parameters(), parameters - dense, "{name}");
    }
}

#[test]
fn the_weights_of_imagenet_ask_for_a_layer_more_in_efficientnet_alone() {
    for entry in entries() {
        let plain = build(entry.name, &Options::default()).unwrap();
        let imagenet = build(entry.name, &Options { imagenet: true, ..Options::default() }).unwrap();
        let more = imagenet.layers().len() - plain.layers().len();
        assert_eq!(more, usize::from(entry.name.starts_with("EfficientNetB")), "{}", entry.name);
        assert_eq!(imagenet.parameters(), plain.parameters(), "{}", entry.name);
    }
    let network = build("EfficientNetB0", &Options { imagenet: true, ..Options::default() }).unwrap();
    let described = &network.configuration()["config"]["layers"][3];
    assert_eq!(described["name"], "rescaling_1");
    let scales = [2.0896918976428642, 2.1128856368212916, 2.1081851067789197];
    assert_eq!(described["config"]["scale"], serde_json::json!(scales));
}

#[test]
fn layers_have_names_of_their_own() {
    for entry in entries() {
        let network = build(entry.name, &Options::default()).unwrap();
        let names: HashSet<&str> = network.layers().iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names.len(), network.layers().len(), "{}", entry.name);
    }
}

#[test]
fn networks_are_found_by_name_in_any_case() {
    assert_eq!(entry("resnet50v2").unwrap().name, "ResNet50V2");
    assert_eq!(entry("ResNet18").unwrap_err(), ZooError::Unknown("ResNet18".to_owned()));
}

#[test]
fn colours_are_brought_to_what_each_family_was_trained_on() {
    for (name, preprocessing) in [
        ("ResNet50", Preprocessing::Caffe),
        ("ResNet50V2", Preprocessing::Tf),
        ("DenseNet121", Preprocessing::Torch),
        ("EfficientNetB0", Preprocessing::None),
        ("EfficientNetV2S", Preprocessing::None),
        ("MobileNet", Preprocessing::Tf),
        ("MobileNetV3Small", Preprocessing::None),
        ("VGG16", Preprocessing::Caffe),
        ("Xception", Preprocessing::Tf),
        ("InceptionV3", Preprocessing::Tf),
        ("InceptionResNetV2", Preprocessing::Tf),
        ("NASNetMobile", Preprocessing::Tf),
        ("ConvNeXtTiny", Preprocessing::None),
    ] {
        assert_eq!(entry(name).unwrap().preprocessing, preprocessing, "{name}");
    }
}
