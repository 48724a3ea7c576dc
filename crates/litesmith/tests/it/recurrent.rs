//! Recurrent layers, whole and taken apart, compute the same.

use litesmith_graph::{DType, Model, TensorId, text};
use litesmith_passes::{Target, legalize};
use litesmith_quantize::{Mode, Moments, Recipe, Repair, Statistics, calibrate, quantize};
use litesmith_runtime::{Array, Interpreter, Options};

const CELLS: [(&str, usize, usize, &str); 4] = [
    (r#""simple""#, 1, 1, "[3]"),
    (r#""lstm""#, 4, 2, "[12]"),
    (r#"{"gru":{"reset_after":false}}"#, 3, 1, "[9]"),
    (r#"{"gru":{"reset_after":true}}"#, 3, 1, "[2,9]"),
];
const BATCH: usize = 2;

/// A layer of three units over two features; `bits` choose among its options.
fn layer(cell: (&str, usize, usize, &str), time: &str, bits: u32) -> String {
    let (name, gates, states, bias) = cell;
    let [biased, started, masked, backwards, zero_masked, other] =
        [0, 1, 2, 3, 4, 5].map(|bit| bits >> bit & 1 == 1);
    let width = gates * 3;
    let mut inputs = format!("%x: f32[batch,{time},2]");
    let mut fed = ["_"; 3];
    if started {
        inputs += ", %h0: f32[batch,3]";
        fed[0] = "%h0";
    }
    if started && states == 2 {
        inputs += ", %c0: f32[batch,3]";
        fed[1] = "%c0";
    }
    if masked {
        inputs += &format!(", %m: bool[batch,{time}]");
        fed[2] = "%m";
    }
    let functions = if other {
        r#","activation":"linear","recurrent_activation":{"hard_sigmoid":{"slope":0.2,"offset":0.5}}"#
    } else {
        ""
    };
    let (c, c_made) = if states == 2 { (", %c", ", %c: f32[batch,3]") } else { ("", "") };
    let bias = if biased { format!("%b: f32{bias} = random(3)") } else { String::new() };
    let biased = if biased { "%b" } else { "_" };
    let [h0, c0, m] = fed;
    format!(
        r#"graph main({inputs}) -> (%s, %h{c}) {{
             %w: f32[2,{width}] = random(1)
             %r: f32[3,{width}] = random(2)
             {bias}
             %s: f32[batch,{time},3], %h: f32[batch,3]{c_made} = Recurrent(%x, %w, %r, {biased}, {h0}, {c0}, {m}) {{"cell":{name},"backwards":{backwards},"zero_masked":{zero_masked}{functions}}}
           }}"#
    )
}

fn inputs(model: &Model, steps: usize) -> Vec<Array> {
    let noise = |count: usize, seed: usize| {
        let wave = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
        (0..count).map(wave).collect::<Vec<f32>>()
    };
    let graph = model.main();
    let array = |(seed, id): (usize, &TensorId)| match (graph[*id].dtype, graph[*id].shape.rank()) {
        (DType::Bool, _) => {
            let data = (0..BATCH * steps).map(|i| u8::from(i % 3 != 0)).collect();
            Array { dtype: DType::Bool, shape: vec![BATCH, steps], data }
        }
        (_, 3) => Array::from_f32(&[BATCH, steps, 2], &noise(BATCH * steps * 2, seed)),
        _ => Array::from_f32(&[BATCH, 3], &noise(BATCH * 3, seed)),
    };
    graph.inputs.iter().enumerate().map(array).collect()
}

fn run(model: &Model, inputs: &[Array]) -> Vec<Vec<f32>> {
    let mut interpreter = Interpreter::new(model, &Options::default().with_threads(1)).unwrap();
    let outputs = interpreter.run(inputs).unwrap();
    outputs.iter().map(|output| output.floats().into_owned()).collect()
}

/// Copies of the cell (5 steps), a loop of a fixed number of steps and one of any.
#[test]
fn copies_and_loops_compute_what_the_layer_computes() {
    for cell in CELLS {
        for (time, steps) in [("5", 5), ("37", 37), ("time", 4)] {
            for bits in 0..64 {
                let text = layer(cell, time, bits);
                let whole = text::parse(&text).unwrap();
                let mut apart = whole.clone();
                legalize(&mut apart, Target::Tflite).unwrap();
                let looped = apart.main().nodes.iter().any(|node| node.op.name() == "While");
                assert_eq!(looped, steps != 5, "{text}");
                let given = inputs(&whole, steps);
                let (expected, got) = (run(&whole, &given), run(&apart, &given));
                for (expected, got) in expected.iter().zip(&got) {
                    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
                    assert!(expected.iter().zip(got).all(close), "{text}\n{expected:?}\n{got:?}");
                    assert_eq!(expected.len(), got.len(), "{text}");
                }
            }
        }
    }
}

/// Quantized by its own means and errors, each step would have weights of its own.
#[test]
fn copies_of_the_cell_share_their_integer_weights() {
    let mut model = text::parse(&layer(CELLS[1], "5", 0)).unwrap();
    legalize(&mut model, Target::Tflite).unwrap();
    let mut interpreter = Interpreter::new(&model, &Options::default().with_threads(1)).unwrap();
    let mut statistics = Statistics::new();
    let mut moments = Moments::new(&model, &interpreter, Repair::Default, 1);
    let given = inputs(&model, 5);
    calibrate(&mut interpreter, &model, &given, &mut statistics, Some(&mut moments)).unwrap();
    let options = litesmith_quantize::Options::new(Mode::Int8);
    quantize(&mut model, &options, &Recipe::default(), Some(&statistics), Some(&moments)).unwrap();
    let products = model.main().nodes.iter().filter(|node| node.op.name() == "FullyConnected");
    let weights = products.filter_map(|node| {
        let tensor = &model.main()[node.inputs[1]?];
        (tensor.shape.to_fixed()? == [12, 3]).then_some(model.data(tensor)?.bytes().to_vec())
    });
    let weights: Vec<Vec<u8>> = weights.collect();
    assert_eq!(weights.len(), 4, "all steps but the first have a recurrent product");
    assert!(weights.iter().all(|other| *other == weights[0]));
}
