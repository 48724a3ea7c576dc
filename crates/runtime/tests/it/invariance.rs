//! Results depend neither on threads nor on the batch; integers not on the instruction set.

use std::fmt::Write;

use litesmith_graph::DType;
use litesmith_runtime::{Array, Interpreter, Isa, Options};
use proptest::prelude::*;

use crate::{model, noise};

/// One layer that keeps `[batch, 6, 6, channels]` or changes the number of channels.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Conv { kernel: usize, out: usize },
    Depthwise { kernel: usize },
    Logistic,
    Gate,
    Pool,
    Softmax,
}

fn layers() -> impl Strategy<Value = Vec<Layer>> {
    let layer = prop_oneof![
        (prop_oneof![Just(1usize), Just(3)], 1usize..40)
            .prop_map(|(kernel, out)| Layer::Conv { kernel, out }),
        prop_oneof![Just(3usize), Just(5)].prop_map(|kernel| Layer::Depthwise { kernel }),
        Just(Layer::Logistic),
        Just(Layer::Gate),
        Just(Layer::Pool),
        Just(Layer::Softmax),
    ];
    prop::collection::vec(layer, 1..5)
}

/// A graph of these layers over 5 channels; `form` writes a tensor's type and quantization, and
/// `weights` a constant's.
struct Form {
    activation: fn(channels: usize, name: &str) -> String,
    weights: fn(shape: &str, axis: usize) -> String,
    logistic: &'static str,
}

const FLOAT: Form = Form {
    activation: |channels, _| format!("f32[batch,6,6,{channels}]"),
    weights: |shape, _| format!("f32{shape} = random(7)"),
    logistic: "",
};

const HYBRID: Form = Form {
    weights: |shape, _| format!(r#"i8{shape} q{{"scales":[0.3],"zero_points":[0]}} = splat(1)"#),
    ..FLOAT
};

const INT8: Form = Form {
    activation: |channels, parameters| {
        let parameters =
            if parameters.is_empty() { r#"{"scales":[0.02],"zero_points":[-3]}"# } else { parameters };
        format!("i8[batch,6,6,{channels}] q{parameters}")
    },
    weights: |shape, _| format!(r#"i8{shape} q{{"scales":[0.03],"zero_points":[0]}} = splat(2)"#),
    logistic: r#"{"scales":[0.00390625],"zero_points":[-128]}"#,
};

const INT16: Form = Form {
    activation: |channels, parameters| {
        let parameters =
            if parameters.is_empty() { r#"{"scales":[0.0001],"zero_points":[0]}"# } else { parameters };
        format!("i16[batch,6,6,{channels}] q{parameters}")
    },
    weights: INT8.weights,
    logistic: r#"{"scales":[0.000030517578125],"zero_points":[0]}"#,
};

fn text(layers: &[Layer], form: &Form) -> String {
    let (mut body, mut channels) = (String::new(), 5);
    for (i, layer) in layers.iter().enumerate() {
        let input = format!("%t{i}");
        let output = format!("  %t{}: ", i + 1);
        match *layer {
            Layer::Conv { kernel, out } => {
                let weights = (form.weights)(&format!("[{out},{kernel},{kernel},{channels}]"), 0);
                writeln!(body, "  %w{i}: {weights}").unwrap();
                let output = output + &(form.activation)(out, "");
                writeln!(body, "{output} = Conv2D({input}, %w{i}) {{\"padding\":\"same\"}}").unwrap();
                channels = out;
            }
            Layer::Depthwise { kernel } => {
                let weights = (form.weights)(&format!("[1,{kernel},{kernel},{channels}]"), 3);
                writeln!(body, "  %w{i}: {weights}").unwrap();
                let output = output + &(form.activation)(channels, "");
                writeln!(body, "{output} = DepthwiseConv2D({input}, %w{i}) {{\"padding\":\"same\"}}")
                    .unwrap();
            }
            Layer::Logistic | Layer::Softmax => {
                let inner = (form.activation)(channels, form.logistic);
                let operator = if let Layer::Softmax = layer {
                    format!("Softmax({input})")
                } else {
                    format!("Unary({input}) {{\"kind\":\"logistic\"}}")
                };
                writeln!(body, "  %g{i}: {inner} = {operator}").unwrap();
                let output = output + &(form.activation)(channels, "");
                writeln!(body, "{output} = Binary(%g{i}, {input}) {{\"kind\":\"mul\"}}").unwrap();
            }
            Layer::Gate => {
                let mean = (form.activation)(channels, "").replace("6,6", "1,1");
                writeln!(body, "  %m{i}: {mean} = Reduce({input}) {{\"axes\":[1,2],\"keep_dims\":true}}")
                    .unwrap();
                let output = output + &(form.activation)(channels, "");
                writeln!(body, "{output} = Binary({input}, %m{i})").unwrap();
            }
            Layer::Pool => {
                let output = output + &(form.activation)(channels, "");
                let attributes = r#"{"kind":"average","kernel":[3,3],"padding":"same"}"#;
                writeln!(body, "{output} = Pool2D({input}) {attributes}").unwrap();
            }
        }
    }
    format!("graph main(%t0: {}) -> (%t{}) {{\n{body}}}", (form.activation)(5, ""), layers.len())
}

const SAMPLE: usize = 6 * 6 * 5;

fn input(batch: std::ops::Range<usize>, dtype: DType) -> Array {
    let values: Vec<f32> = batch.clone().flat_map(|sample| noise(SAMPLE, sample as u32 + 1)).collect();
    let shape = [batch.len(), 6, 6, 5];
    match dtype {
        DType::F32 => Array::from_f32(&shape, &values),
        DType::I16 => {
            let words: Vec<i16> = values.iter().map(|value| (value * 32_767.0) as i16).collect();
            Array::from_i16(&shape, &words)
        }
        _ => {
            let bytes: Vec<i8> = values.iter().map(|value| (value * 127.0) as i8).collect();
            Array::from_i8(&shape, &bytes)
        }
    }
}

/// The bytes of all samples must be those of the samples alone.
fn check(text: &str, dtype: DType, isas: &[Isa]) {
    let model = model(text);
    let mut expected: Option<Vec<u8>> = None;
    for isa in isas {
        for threads in [1, 2] {
            let options = Options::default().with_threads(threads).with_isa(*isa);
            let mut interpreter = Interpreter::new(&model, &options).unwrap();
            for batches in [&[1; 7][..], &[2, 5], &[7]] {
                let (mut got, mut first) = (Vec::new(), 0);
                for batch in batches {
                    got.extend(
                        interpreter.run(&[input(first..first + batch, dtype)]).unwrap().remove(0).data,
                    );
                    first += batch;
                }
                let expected = expected.get_or_insert_with(|| got.clone());
                let differs = got.iter().zip(expected.iter()).position(|(a, b)| a != b);
                assert_eq!(got.len(), expected.len());
                assert_eq!(differs, None, "{isa}, {threads} threads, batches {batches:?}\n{text}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn float_graphs(layers in layers()) {
        check(&text(&layers, &FLOAT), DType::F32, &[Isa::detect()]);
    }

    #[test]
    fn hybrid_graphs(layers in layers()) {
        check(&text(&layers, &HYBRID), DType::F32, &[Isa::detect()]);
    }

    #[test]
    fn integer_graphs(layers in layers()) {
        check(&text(&layers, &INT8), DType::I8, &Isa::available_levels());
        check(&text(&layers, &INT16), DType::I16, &Isa::available_levels());
    }
}
