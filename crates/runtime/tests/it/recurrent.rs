//! Recurrent layers, whole.

use litesmith_graph::DType;
use litesmith_kernels::elementwise::Unary;
use litesmith_kernels::recurrent::{Cell, Function, Sequence, Weights};
use litesmith_kernels::reference::recurrent::recurrent;
use litesmith_runtime::Array;

use crate::{assert_close, noise, run};

const FUNCTIONS: [Function; 2] = [Function::Unary(Unary::Tanh), Function::Unary(Unary::Logistic)];

fn floats(array: &Array) -> Vec<f32> {
    array.floats().into_owned()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

#[test]
fn an_lstm_gives_its_sequence_and_both_states() {
    let text = r#"graph main(%x: f32[batch,time,5], %w: f32[5,12], %r: f32[3,12], %m: bool[batch,time]) -> (%s, %h, %c) {
      %s: f32[batch,time,3], %h: f32[batch,3], %c: f32[batch,3] = Recurrent(%x, %w, %r, _, _, _, %m) {"backwards":true} # lstm
    }"#;
    let [batch, time] = [2, 4];
    let (x, w, r) = (noise(batch * time * 5, 1), noise(5 * 12, 2), noise(3 * 12, 3));
    let mask = [1u8, 1, 0, 1, 0, 1, 1, 0];
    let got = run(
        text,
        &[
            Array::from_f32(&[batch, time, 5], &x),
            Array::from_f32(&[5, 12], &w),
            Array::from_f32(&[3, 12], &r),
            Array { dtype: DType::Bool, shape: vec![batch, time], data: mask.to_vec() },
        ],
    );
    let sequence = Sequence {
        x: &x,
        batch,
        time,
        h: None,
        c: None,
        mask: Some(&mask),
        backwards: true,
        zero_masked: false,
    };
    let weights = Weights { kernel: &w, recurrent: &r, bias: None };
    let expected = recurrent(Cell::Lstm, [5, 3], weights, FUNCTIONS, &sequence);
    for (got, expected) in got.iter().zip(&expected) {
        assert_close(&floats(got), &narrow(expected));
    }
}

#[test]
fn a_gru_starts_from_the_given_state() {
    let text = r#"graph main(%x: f32[batch,6,2], %h0: f32[batch,4]) -> (%s, %h) {
      %w: f32[2,12] = random(1)
      %r: f32[4,12] = random(2)
      %b: f32[2,12] = random(3)
      %s: f32[batch,6,4], %h: f32[batch,4] = Recurrent(%x, %w, %r, %b, %h0) {"cell":{"gru":{"reset_after":true}}} # gru
    }"#;
    let model = crate::model(text);
    let fixed = |name: &str| {
        let tensor = model.main().tensors.iter().find(|tensor| tensor.name == name).unwrap();
        model.data(tensor).unwrap().floats(tensor.dtype).unwrap().into_owned()
    };
    let (x, h) = (noise(3 * 6 * 2, 1), noise(3 * 4, 2));
    let got = run(text, &[Array::from_f32(&[3, 6, 2], &x), Array::from_f32(&[3, 4], &h)]);
    let sequence = Sequence {
        x: &x,
        batch: 3,
        time: 6,
        h: Some(&h),
        c: None,
        mask: None,
        backwards: false,
        zero_masked: false,
    };
    let (w, r, b) = (fixed("w"), fixed("r"), fixed("b"));
    let weights = Weights { kernel: &w, recurrent: &r, bias: Some(&b) };
    let cell = Cell::Gru { reset_after: true };
    let expected = recurrent(cell, [2, 4], weights, FUNCTIONS, &sequence);
    assert_close(&floats(&got[0]), &narrow(&expected[0]));
    assert_close(&floats(&got[1]), &narrow(&expected[1]));
}
