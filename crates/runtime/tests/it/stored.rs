//! Constants that are stored in another way than they are computed with: sparse, in 4 bits, or as
//! bytes with a zero point.

use litesmith_graph::ops::FullyConnected;
use litesmith_graph::quantization::SparseDimension;
use litesmith_graph::{DType, Data, Graph, Model, Quantization, Shape, Sparsity, Tensor};
use litesmith_runtime::{Array, Interpreter, Options};

use crate::run;

/// Rows of eight times three rows of weights.
fn product(weights: Tensor) -> Model {
    let mut graph = Graph::new("main");
    let x = graph.add_tensor(Tensor::input("x", DType::F32, Shape::from([1, 8])));
    let w = graph.add_tensor(weights);
    let y = graph.add_tensor(Tensor::activation("y", DType::F32, Shape::from([1, 3])));
    graph.add_node("product", FullyConnected::default(), vec![Some(x), Some(w), None], vec![y]);
    graph.outputs.push(y);
    Model::new(graph)
}

#[test]
fn sparse_weights_are_spelled_out() {
    // One block of four in each row.
    let sparsity = Sparsity {
        traversal_order: vec![0, 1, 2],
        block_map: vec![1],
        dimensions: vec![
            SparseDimension::Dense(3),
            SparseDimension::Csr { segments: vec![0, 1, 2, 3], indices: vec![1, 0, 1] },
            SparseDimension::Dense(4),
        ],
    };
    let stored: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    let mut weights = Tensor::constant("w", DType::F32, Shape::from([3, 8]), Data::from_vec(stored));
    weights.sparsity = Some(Box::new(sparsity));
    let x: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let run = |weights: Tensor| {
        let mut interpreter = Interpreter::new(&product(weights), &Options::default().with_threads(1))?;
        interpreter.run(&[Array::from_f32(&[1, 8], &x)])
    };
    // (1 2 3 4) with (4 5 6 7), (5 6 7 8) with (0 1 2 3), (9 10 11 12) with (4 5 6 7).
    assert_eq!(run(weights.clone()).unwrap()[0].floats().as_ref(), [60.0, 44.0, 236.0]);
    let Some(SparseDimension::Csr { indices, .. }) =
        weights.sparsity.as_mut().and_then(|sparsity| sparsity.dimensions.get_mut(1))
    else {
        panic!("it is sparse")
    };
    indices[0] = 9;
    assert!(run(weights).unwrap_err().to_string().contains("sparsely"));
}

#[test]
fn weights_of_four_bits_are_unpacked() {
    let packed: Vec<u8> = (0..12).map(|i| (i * 37) as u8).collect();
    let wide: Vec<i8> = packed.iter().flat_map(|byte| [(*byte as i8) << 4 >> 4, *byte as i8 >> 4]).collect();
    let quantization = Quantization::per_channel(vec![0.5, 0.25, 2.0], 0);
    let run = |dtype, data: Data| {
        let weights = Tensor::constant("w", dtype, Shape::from([3, 8]), data);
        let model = product(weights.with_quantization(quantization.clone()));
        let mut interpreter = Interpreter::new(&model, &Options::default().with_threads(1)).unwrap();
        let x: Vec<f32> = (0..8).map(|i| i as f32 / 8.0 - 0.5).collect();
        interpreter.run(&[Array::from_f32(&[1, 8], &x)]).unwrap()
    };
    assert_eq!(run(DType::I4, Data::from_vec(packed)), run(DType::I8, Data::from_vec(wide)));
}

#[test]
fn weights_with_a_zero_point_are_subtracted_from() {
    let text = r#"
      graph main(%x: u8[1,3,3,2] q{"scales":[0.5],"zero_points":[100]}) -> (%y, %z, %f) {
        %w: u8[1,2,2,2] q{"scales":[0.25],"zero_points":[130]} = [131,132,133,134,129,128,127,126]
        %b: i32[1] q{"scales":[0.125],"zero_points":[0]} = [8]
        %y: u8[1,3,3,1] q{"scales":[1],"zero_points":[50]} = Conv2D(%x, %w, %b) {"padding":"same"}
        %c: i32[2] q{"scales":[0.125],"zero_points":[0]} = [0,-8]
        %z: u8[1,2,2,2] q{"scales":[1],"zero_points":[50]} = DepthwiseConv2D(%x, %w, %c) {"activation":"relu"}
        %row: u8[1,18] q{"scales":[0.5],"zero_points":[100]} = Reshape(%x) {"shape":[1,18]}
        %v: u8[1,18] q{"scales":[0.25],"zero_points":[0]} = splat(4)
        %f: u8[1,1] q{"scales":[1],"zero_points":[50]} = FullyConnected(%row, %v, _)
      }
    "#;
    let x: Vec<u8> = (0..18).map(|i| 96 + i).collect();
    let input = Array { dtype: DType::U8, shape: vec![1, 3, 3, 2], data: x.clone() };
    let outputs = run(text, &[input]);
    let weights = [1, 2, 3, 4, -1, -2, -3, -4];
    let at = |row: usize, column: usize, channel: usize| match (row < 3, column < 3) {
        (true, true) => i32::from(x[(row * 3 + column) * 2 + channel]) - 100,
        _ => 0,
    };
    let stored =
        |sum: i32, low: i32| ((sum as f32 * 0.125).round_ties_even() as i32 + 50).clamp(low, 255) as u8;
    let taps = |row: usize, column: usize, channel: usize| {
        (0..4).map(move |tap| (tap * 2 + channel, at(row + tap / 2, column + tap % 2, channel)))
    };
    let sum = |row: usize, column: usize, channel: usize| -> i32 {
        taps(row, column, channel).map(|(place, value)| weights[place] * value).sum()
    };
    let conv: Vec<u8> = (0..9).map(|i| stored(8 + sum(i / 3, i % 3, 0) + sum(i / 3, i % 3, 1), 0)).collect();
    assert_eq!(outputs[0].data, conv);
    let depthwise: Vec<u8> =
        (0..8).map(|i| stored(sum(i / 4, i / 2 % 2, i % 2) - [0, 8][i % 2], 50)).collect();
    assert_eq!(outputs[1].data, depthwise);
    let total: i32 = x.iter().map(|value| (i32::from(*value) - 100) * 4).sum();
    assert_eq!(outputs[2].data, [stored(total, 0)]);
}
