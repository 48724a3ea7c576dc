//! TFLite: written and read again, damaged, and as others have written it.

mod cases;
mod damage;
mod files;
mod large;

use std::collections::BTreeSet;

use litesmith_formats::{FormatError, tflite};
use litesmith_graph::{Metadata, Model, Op, Signature};

/// The model with unused tensors (constants that have become attributes) left out.
fn tidied(mut model: Model) -> Model {
    for graph in &mut model.graphs {
        graph.remove_dead();
    }
    model
}

fn reread(model: &Model) -> Model {
    tflite::read(tflite::write(model).unwrap().into()).unwrap()
}

#[test]
fn every_case_comes_back_as_it_was_written() {
    for (name, model) in cases::all() {
        let bytes = tflite::write(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bytes, tflite::write(&model).unwrap(), "{name} is not written alike twice");
        let read = tflite::read(bytes.into()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.states, model.states, "{name}");
        assert_eq!(tidied(read).graphs, tidied(model).graphs, "{name}");
    }
}

#[test]
fn convolutions_without_bias_get_one_of_zeros() {
    let cases = cases::without_bias();
    assert!(cases.len() >= 8);
    for (name, model) in cases {
        let read = reread(&model);
        let graph = read.main();
        let node = &graph.nodes[0];
        let [input, weights, bias] = [0, 1, 2].map(|i| &graph[node.inputs[i].unwrap()]);
        assert!(read.data(bias).unwrap().bytes().iter().all(|byte| *byte == 0), "{name}");
        if let (Some(input), Some(weights)) = (&input.quantization, &weights.quantization) {
            let scales: Vec<_> = weights.scales.iter().map(|scale| scale * input.scales[0]).collect();
            assert_eq!(*bias.quantization.as_ref().unwrap().scales, *scales, "{name}");
        }
    }
}

#[test]
fn every_operator_has_a_case() {
    let cases = cases::all();
    let nodes = cases.iter().flat_map(|(_, model)| &model.graphs).flat_map(|graph| &graph.nodes);
    let covered: BTreeSet<&str> = nodes.map(|node| node.op.name()).collect();
    for op in Op::defaults() {
        let high_level = cases::HIGH_LEVEL.contains(&op.name());
        assert_ne!(covered.contains(op.name()), high_level, "{}", op.name());
    }
}

#[test]
fn everything_that_tflite_lacks_is_listed() {
    let text = r#"graph main(%x: f32[batch,4,4,3]) -> (%c, %d) {
      %a: f32[batch,4,4,3] = Unary(%x) {"kind":"silu"} # swish
      %w: f32[2,3,3,3] = random(1)
      %b: f32[batch,4,4,2] = Conv2D(%a, %w) {"padding":{"explicit":{"before":[1,1],"after":[1,1]}}} # padded
      %c: f32[batch,4,4,2] = Identity(%b) # same
      %d: f32[batch,16,3] = Reshape(%x) {"shape":["infer",{"copy":0},3]} # open
    }"#;
    let mut model = litesmith_graph::text::parse(text).unwrap();
    let graph = model.main_mut();
    graph.tensors[0].shape.0[1] = litesmith_graph::Dim::free("height");
    let Err(FormatError::Unsupported(list)) = tflite::write(&model) else { panic!("it is written") };
    let listed: Vec<_> = list.iter().map(|item| (&*item.layer, &*item.operator)).collect();
    assert_eq!(listed, [("swish", "SILU"), ("padded", "CONV_2D"), ("same", "IDENTITY"), ("open", "RESHAPE")]);
    assert!(list.iter().all(|item| item.reason.contains("legalize")), "{list:?}");
}

#[test]
fn a_copied_axis_is_left_open_in_the_file() {
    let text = r#"graph main(%x: f32[batch,4,3]) -> (%y) {
      %y: f32[batch,12] = Reshape(%x) {"shape":[{"copy":0},12]}
    }"#;
    let read = reread(&litesmith_graph::text::parse(text).unwrap());
    assert_eq!(read.main()[read.main().outputs[0]].shape.to_string(), "[batch,12]");
}

#[test]
fn signatures_are_kept_or_made() {
    let (_, mut model) = cases::all().into_iter().find(|(name, _)| name == "concat").unwrap();
    let made = &reread(&model).signatures[0];
    assert_eq!(made.key, "serving_default");
    assert_eq!(made.inputs, [("x".to_owned(), 0), ("z".to_owned(), 1)]);
    assert_eq!(made.outputs, [("a".to_owned(), 0), ("b".to_owned(), 1)]);
    let own = Signature {
        key: "predict".into(),
        inputs: vec![("second".into(), 1), ("first".into(), 0)],
        outputs: vec![("result".into(), 1)],
        ..made.clone()
    };
    model.signatures = vec![own.clone()];
    assert_eq!(reread(&model).signatures, [own]);
}

#[test]
fn metadata_is_kept_and_the_runtime_brought_up_to_date() {
    let (_, mut model) = cases::all().into_iter().find(|(name, _)| name == "conv_grouped").unwrap();
    let entry = |name: &str, bytes: &'static [u8]| Metadata { name: name.into(), bytes: bytes.into() };
    model.metadata = vec![entry("min_runtime_version", b"1.0.0"), entry("mine", b"hello")];
    let read = reread(&model);
    let expected = [entry("min_runtime_version", b"2.9.0\0\0\0\0\0\0\0\0\0\0\0"), entry("mine", b"hello")];
    assert_eq!(read.metadata, expected);
    assert!(read.source.description.starts_with("Litesmith "), "{}", read.source.description);
}

#[test]
fn equal_constants_are_stored_once() {
    let graph = |second: &str| {
        let text = format!(
            "graph main(%x: f32[batch,256]) -> (%y) {{
               %v: f32[256,256] = random(1)
               %w: f32[256,256] = random({second})
               %a: f32[batch,256] = FullyConnected(%x, %v, _)
               %y: f32[batch,256] = FullyConnected(%a, %w, _)
             }}"
        );
        tflite::write(&litesmith_graph::text::parse(&text).unwrap()).unwrap().len()
    };
    let weights = 256 * 256 * 4;
    assert!(graph("1") < weights + 2000, "{}", graph("1"));
    assert!(graph("2") > 2 * weights);
}

#[test]
fn names_of_free_axes_follow_the_inputs() {
    let text = "graph main(%image: f32[n,h,w,3], %other: f32[n,k]) -> (%y, %z) {
      %y: f32[n,h,w,3] = Unary(%image)
      %z: f32[n,k] = Unary(%other)
    }";
    let read = reread(&litesmith_graph::text::parse(text).unwrap());
    let shapes: Vec<_> = read.main().outputs.iter().map(|id| read.main()[*id].shape.to_string()).collect();
    assert_eq!(shapes, ["[batch,image_1,image_2,3]", "[batch,other_1]"]);
}

/// For checks by the real interpreter: writes every case into the folder that the variable names.
#[test]
fn cases_are_written_where_asked() {
    let Some(folder) = std::env::var_os("LITESMITH_CASES").map(std::path::PathBuf::from) else {
        println!("skipped: LITESMITH_CASES names no folder");
        return;
    };
    for (name, model) in cases::all().into_iter().chain(cases::without_bias()) {
        let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let encoded = tflite::encode(&model).unwrap();
        let path = folder.join(format!("{safe}.tflite"));
        litesmith_formats::output::write_atomically(&path, |output| encoded.write_to(output)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), encoded.len());
    }
}

#[test]
fn an_alpha_that_tflite_lacks_is_refused() {
    let text = r#"graph main(%x: f32[batch,3]) -> (%y) {
      %y: f32[batch,3] = Unary(%x) {"kind":{"elu":0.5}}
    }"#;
    let model = litesmith_graph::text::parse(text).unwrap();
    assert!(
        matches!(tflite::write(&model), Err(FormatError::Unsupported(list)) if list[0].operator == "ELU")
    );
}
