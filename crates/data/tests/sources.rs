//! Every kind of source from a file to batches, and what broken files lead to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use litesmith_data::npz::{self, Compression};
use litesmith_data::{Array, Category, Dataset, ElementType, InputSpec, Options, Preprocess};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tempfile::TempDir;

fn image_input() -> [InputSpec; 1] {
    [InputSpec::new("image", &[Some(2), Some(3), Some(1)], ElementType::F32)]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// Four samples of six pixels, pixel `i` of sample `s` being `6 s + i`, labelled 3, 2, 1, 0.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        let pixels: Vec<u8> = (0..24).collect();
        let x = Array::from_slice(&[4, 2, 3], &pixels).unwrap().named("x");
        let y = Array::from_slice(&[4], &[3_i64, 2, 1, 0]).unwrap().named("y");
        for (name, compression) in [("s.npz", Compression::Stored), ("d.npz", Compression::Deflated)] {
            npz::write(&files.path(name), &[x.clone(), y.clone()], compression).unwrap();
        }
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2, 3), }\n";
        let npy = [b"\x93NUMPY\x01\0", &[header.len() as u8, 0][..], header.as_bytes(), &pixels].concat();
        files.write("x.npy", &npy);
        let images = [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 3][..], &pixels].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 4, 3, 2, 1, 0];
        files.write("a-images-idx3-ubyte", &images);
        files.write("a-labels-idx1-ubyte", &labels);
        files.write("b-images-idx3-ubyte.gz", &gzip(&images));
        files.write("b-labels-idx1-ubyte.gz", &gzip(&labels));
        let lines: Vec<String> = pixels
            .chunks(6)
            .enumerate()
            .map(|(sample, row)| {
                let row: Vec<String> = row.iter().map(u8::to_string).collect();
                format!("{},{}\n", row.join(","), 3 - sample)
            })
            .collect();
        files.write("t.csv", lines.concat().as_bytes());
        files.write("t.csv.gz", &gzip(lines.concat().as_bytes()));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
}

const LABELLED: [&str; 6] =
    ["s.npz", "d.npz", "a-images-idx3-ubyte", "b-images-idx3-ubyte.gz", "t.csv", "t.csv.gz"];

fn open(path: &Path) -> Result<Dataset, litesmith_data::DataError> {
    Dataset::open(path, &image_input(), &Options::default())
}

#[test]
fn every_format_gives_the_same_batches() {
    let files = Files::new();
    for name in LABELLED.into_iter().chain(["x.npy"]) {
        // Extensions do not matter.
        let anonymous = files.path("data");
        let path = if name.contains("idx") { files.path(name) } else { anonymous };
        if !name.contains("idx") {
            fs::copy(files.path(name), &path).unwrap();
        }
        let set = open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((set.len(), set.sample_shapes()), (4, &[vec![2, 3, 1]][..]), "{name}");
        let labels = LABELLED.contains(&name).then_some([3, 2, 1, 0].as_slice());
        assert_eq!(set.labels(), labels, "{name}");
        let values: Vec<f32> =
            set.batches(3).unwrap().flat_map(|batch| batch.unwrap().inputs[0].to_f32().to_vec()).collect();
        assert_eq!(values, (0..24).map(|i| i as f32).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn integer_inputs_take_data_as_they_are() {
    let files = Files::new();
    let input = [InputSpec::new("image", &[Some(2), Some(3), Some(1)], ElementType::I8)];
    for name in LABELLED {
        let set = Dataset::open(files.path(name), &input, &Options::default()).unwrap();
        assert_eq!(
            set.batch(1..2).unwrap()[0].as_slice::<i8>(),
            Some([6, 7, 8, 9, 10, 11].as_slice()),
            "{name}"
        );
    }
}

#[test]
fn a_shape_that_does_not_fit_is_told_with_input_expected_and_got() {
    let files = Files::new();
    let input = [InputSpec::new("image", &[Some(28), Some(28), Some(1)], ElementType::F32)];
    for (name, got) in
        [("s.npz", "[2, 3]"), ("x.npy", "[2, 3]"), ("a-images-idx3-ubyte", "[2, 3]"), ("t.csv", "[7]")]
    {
        let error = Dataset::open(files.path(name), &input, &Options::default()).unwrap_err();
        let expected = format!("input `image` needs samples of shape [28, 28, 1], got {got}");
        assert_eq!((error.to_string(), error.category()), (expected, Category::Data), "{name}");
    }
}

#[test]
fn what_is_missing_is_usage_and_what_is_strange_is_data() {
    let files = Files::new();
    files.write("empty", b"");
    files.write("strange", b"\x7FELF\x01\x02\x03\0\0\0");
    files.write("strange.gz", &gzip(b"\0\x01\x02"));
    files.write("cut.gz", &gzip(b"1,2,3,4,5,6\n")[..15]);
    fs::create_dir(files.path("folder")).unwrap();
    for (name, category) in [
        ("none", Category::Usage),
        ("empty", Category::Data),
        ("strange", Category::Data),
        ("strange.gz", Category::Data),
        ("cut.gz", Category::Data),
        ("folder", Category::Data),
    ] {
        let error = open(&files.path(name)).unwrap_err();
        assert_eq!(error.category(), category, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut options = Options::default();
    options.crop = Some("center:0.5".parse().unwrap());
    let error = Dataset::open(files.path("s.npz"), &image_input(), &options).unwrap_err();
    assert_eq!(error.category(), Category::Usage, "{error}");
}

#[test]
fn several_inputs_come_from_one_npz() {
    let files = Files::new();
    let ids = Array::from_slice(&[2, 2], &[1_i64, 2, 3, 4]).unwrap();
    let mask = Array::from_slice(&[2, 2], &[0.0_f64, 1.0, 1.0, 0.0]).unwrap();
    npz::write(&files.path("m.npz"), &[mask.named("mask"), ids.named("ids")], Compression::Stored).unwrap();
    let inputs = [
        InputSpec::new("serving_default_ids:0", &[None], ElementType::I32),
        InputSpec::new("serving_default_mask:0", &[Some(2)], ElementType::F32),
    ];
    let set = Dataset::open(files.path("m.npz"), &inputs, &Options::default()).unwrap();
    let batch = set.batch(1..2).unwrap();
    assert_eq!(batch[0].as_slice::<i32>(), Some([3, 4].as_slice()));
    assert_eq!(batch[1].as_slice::<f32>(), Some([1.0, 0.0].as_slice()));
    let wrong = [inputs[0].clone(), InputSpec::new("segment", &[Some(2)], ElementType::F32)];
    let error = Dataset::open(files.path("m.npz"), &wrong, &Options::default()).unwrap_err();
    assert!(error.to_string().ends_with("no array for input `segment`; the file holds mask, ids"), "{error}");
    for name in ["x.npy", "t.csv", "a-images-idx3-ubyte"] {
        let error = Dataset::open(files.path(name), &inputs, &Options::default()).unwrap_err();
        assert_eq!(error.category(), Category::Usage, "{error}");
    }
}

#[test]
fn image_folders_give_labelled_preprocessed_batches() {
    let folder = tempfile::tempdir().unwrap();
    for (class, color) in [("cat", [255, 0, 0]), ("dog", [0, 0, 255])] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for number in 0..5 {
            let path = folder.path().join(class).join(format!("{number}.png"));
            RgbImage::from_pixel(8, 6, Rgb(color)).save_with_format(path, ImageFormat::Png).unwrap();
        }
    }
    let input = [InputSpec::new("image", &[Some(2), Some(2), Some(3)], ElementType::F32)];
    let mut options = Options::default();
    options.preprocess = Preprocess::Tf;
    options.crop = Some("center:0.875".parse().unwrap());
    options.samples = Some(4);
    let set = Dataset::open(folder.path(), &input, &options).unwrap();
    assert_eq!(set.labels(), Some([0, 0, 1, 1].as_slice()), "spread over the classes");
    assert_eq!(set.class_names().unwrap(), ["cat", "dog"]);
    let batch = set.batch(1..3).unwrap();
    assert_eq!(batch[0].to_f32()[..3], [1.0, -1.0, -1.0]);
    assert_eq!(batch[0].to_f32()[12..15], [-1.0, -1.0, 1.0]);

    let bytes = [InputSpec::new("image", &[Some(2), Some(2), Some(3)], ElementType::U8)];
    let one = Dataset::open(folder.path().join("dog/0.png"), &bytes, &Options::default()).unwrap();
    assert_eq!((one.len(), one.labels()), (1, None));
    assert_eq!(one.batch(0..1).unwrap()[0].as_slice::<u8>().unwrap()[..3], [0, 0, 255]);
}

/// Reads everything that a path gives; errors are fine, panics are not.
fn exhaust(path: &Path) -> usize {
    let Ok(set) = open(path) else { return 0 };
    set.batches(3).map_or(0, |batches| batches.filter(Result::is_ok).count())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn mutated_files_never_panic(
        which in 0..LABELLED.len() + 1,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let files = Files::new();
        let path = files.path(LABELLED.get(which).unwrap_or(&"x.npy"));
        let mut bytes = fs::read(&path).unwrap();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, &bytes).unwrap();
        prop_assert!(exhaust(&path) <= 24);
    }
}
