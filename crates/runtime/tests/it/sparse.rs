//! Layers without their zeros give what they give with them.

use litesmith_runtime::{Array, Interpreter, Isa, Options};

use crate::{assert_close, model, noise};

const CHANNELS: usize = 64;

/// Weights of a layer, [`CHANNELS`] by as many, as text: of ten blocks of `outputs` by `inputs` one is left.
fn weights(outputs: usize, inputs: usize, show: impl Fn(f32) -> String) -> String {
    let values = noise(CHANNELS * CHANNELS, 7).into_iter().enumerate().map(|(index, value)| {
        let (channel, step) = (index / CHANNELS, index % CHANNELS);
        let block = channel / outputs * CHANNELS + step / inputs;
        show(if block.wrapping_mul(0x9e37_79b9) >> 13 & 15 == 0 { value } else { 0.0 })
    });
    values.collect::<Vec<_>>().join(",")
}

/// Two layers and a residual connection over numbers of this form.
fn graph(activation: &str, form: &str, weights: &str) -> String {
    let size = format!("[1,9,9,{CHANNELS}]");
    format!(
        r#"graph main(%x: {activation}{size}{form}) -> (%y) {{
  %w: {weights}
  %a: {activation}{size}{form} = Conv2D(%x, %w) {{"activation":"relu"}}
  %b: {activation}{size}{form} = Conv2D(%a, %w)
  %y: {activation}{size}{form} = Binary(%b, %x)
}}"#
    )
}

/// Gives what a graph gives as it runs and where every activation is shown, where layers of floats are dense,
/// on all instruction sets; asserts that its layers are sparse.
fn outputs(text: &str, input: &Array) -> Vec<[Array; 2]> {
    let model = model(text);
    let of = |isa: Isa| {
        let mut interpreter =
            Interpreter::new(&model, &Options::default().with_threads(2).with_isa(isa)).unwrap();
        let observed = interpreter.observe(std::slice::from_ref(input), &mut |_, _| ()).unwrap();
        let run = interpreter.run(std::slice::from_ref(input)).unwrap();
        let steps = interpreter.profile(std::slice::from_ref(input), 1).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.operator.as_str()).collect();
        if isa != Isa::Amx {
            assert_eq!(names, ["CONV_2D (sparse)", "CONV_2D+ADD (sparse)"], "{isa}");
        }
        [run[0].clone(), observed[0].clone()]
    };
    Isa::available_levels().into_iter().map(of).collect()
}

#[test]
fn floats_stay_near_to_those_of_dense_layers() {
    let input = Array::from_f32(&[1, 9, 9, CHANNELS], &noise(81 * CHANNELS, 3));
    for outputs_of_block in [1, 16] {
        let weights = weights(outputs_of_block, 1, |value| value.to_string());
        let weights = format!("f32[{CHANNELS},1,1,{CHANNELS}] = [{weights}]");
        for [run, observed] in outputs(&graph("f32", "", &weights), &input) {
            assert_close(&run.floats(), &observed.floats());
        }
    }
}

#[test]
fn bytes_are_the_same_on_every_instruction_set() {
    let values: Vec<i8> = noise(81 * CHANNELS, 3).iter().map(|value| (value * 127.0) as i8).collect();
    let input = Array::from_i8(&[1, 9, 9, CHANNELS], &values);
    let weights = weights(16, 4, |value| ((value * 127.0) as i8).to_string());
    let weights =
        format!(r#"i8[{CHANNELS},1,1,{CHANNELS}] q{{"scales":[0.02],"zero_points":[0]}} = [{weights}]"#);
    let form = r#" q{"scales":[0.05],"zero_points":[-7]}"#;
    let outputs = outputs(&graph("i8", form, &weights), &input);
    assert!(outputs.iter().flatten().all(|output| *output == outputs[0][0]));
}
