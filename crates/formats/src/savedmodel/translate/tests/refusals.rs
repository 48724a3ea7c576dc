//! What is not supported, and what contradicts itself.

use super::model;
use crate::error::FormatError;

#[test]
fn all_unknown_operations_are_listed() {
    let error = model(
        "input x: f32[?,4]
         net/a/fft = FFT(x)
         net/b/svd = Svd(net/a/fft)
         dead = AlsoUnknown(x)
         output net/b/svd",
    );
    let Err(FormatError::Unsupported(items)) = error else { panic!("{error:?}") };
    let listed: Vec<_> = items.iter().map(|item| (item.layer.as_str(), item.operator.as_str())).collect();
    assert_eq!(listed, [("net/a", "FFT"), ("net/b", "Svd")]);
}

#[test]
fn what_is_computed_and_must_not_be_is_listed_with_all_others() {
    let error = model(
        "input x: f32[?,4]
         input axes: i32[1]
         net/a/sum = Sum(x, axes)
         net/b/max = Max(x, axes)
         net/c/add = AddV2(net/a/sum, net/b/max)
         output net/c/add",
    );
    let Err(FormatError::Unsupported(items)) = error else { panic!("{error:?}") };
    assert_eq!(items.len(), 2);
    assert_eq!((items[0].operator.as_str(), items[1].layer.as_str()), ("Sum", "b"));
}

#[test]
fn contradictions_are_broken_files() {
    for lines in [
        "y = Relu(x:3)\nz = Relu(y:1)",
        "z = Conv2D(x, k) strides=[1,0,1,1] padding=SAME",
        "z = Conv2D(x, k) strides=[1,1,1] padding=SAME",
        "z = Conv2D(x, k) strides=[1,1,1,1] padding=NONE",
        "z = Split(s, x) num_split=2",
        "z = Split(s, x) num_split=4294967296000",
        "z = ~Silu(x)",
        "z = Reshape(x, m)",
        "z = Transpose(x, m)",
        "z = Const i32[2] 1",
        "z = Fill(m, s)",
        "z = MatMul(x, k)",
    ] {
        let source = format!(
            "input x: f32[1,2,2,3]\nvariable k: f32[1,1,2,2]\ns = Const i32[] 3\nm = Const i32[2] -7,3\n{lines}\noutput z"
        );
        let result = model(&source);
        assert!(
            matches!(
                result,
                Err(FormatError::Broken { .. } | FormatError::Model(_) | FormatError::Unsupported(_))
            ),
            "{lines}: {result:?}"
        );
    }
}

#[test]
fn an_input_needs_a_rank() {
    assert!(matches!(model("input x: f32[...]\ny = Relu(x)\noutput y"), Err(FormatError::Unsupported(_))));
}
