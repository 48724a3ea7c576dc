use litesmith_kernels::float::Clamp;
use litesmith_kernels::reference::transposed::{TransposeShape, transpose_conv2d};
use litesmith_kernels::reference::volume::{Volume, conv3d};
use litesmith_kernels::transposed::TransposeWindow;
use litesmith_kernels::volume::VolumeWindow;
use litesmith_runtime::{Array, Interpreter, Options};

use crate::float::weights;
use crate::{assert_close, model, noise, run};

/// A transposed convolution over images of any size, its output's shape computed as converters do.
const ANY_SIZE: &str = r#"graph main(%x: f32[batch,h,w,3]) -> (%y) {
  %w: f32[4,3,3,3] = random(1)
  %b: f32[4] = random(2)
  %two: i32[] = [2]
  %four: i32[] = [4]
  %s: i32[4] = ShapeOf(%x)
  %n: i32[] = StridedSlice(%s) {"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}
  %h: i32[] = StridedSlice(%s) {"begin":[1],"end":[2],"strides":[1],"shrink_axis_mask":1}
  %v: i32[] = StridedSlice(%s) {"begin":[2],"end":[3],"strides":[1],"shrink_axis_mask":1}
  %h2: i32[] = Binary(%h, %two) {"kind":"mul"}
  %v2: i32[] = Binary(%v, %two) {"kind":"mul"}
  %p: i32[4] = Pack(%n, %h2, %v2, %four)
  %y: f32[batch,?,?,4] = TransposeConv2D(%p, %w, %x, %b) {"stride":[2,2],"padding":"same","activation":"relu"}
}"#;

#[test]
fn the_output_is_as_large_as_its_computed_shape() {
    let mut interpreter = Interpreter::new(&model(ANY_SIZE), &Options::default().with_threads(2)).unwrap();
    for [batch, height, width] in [[1, 4, 5], [2, 3, 3]] {
        let x = noise(batch * height * width * 3, 5);
        let got = interpreter.run(&[Array::from_f32(&[batch, height, width, 3], &x)]).unwrap();
        let window = TransposeWindow { kernel: [3, 3], stride: [2, 2], crop: [0, 0], tail: [2, 2] };
        let shape = TransposeShape { input: [batch, height, width], window, in_channels: 3, out_channels: 4 };
        let bias = weights(ANY_SIZE, "b");
        let expected = transpose_conv2d(&shape, &x, &weights(ANY_SIZE, "w"), Some(&bias), Clamp::RELU);
        assert_eq!(got[0].shape, [batch, 2 * height, 2 * width, 4]);
        assert_close(&got[0].floats(), &expected);
    }
}

#[test]
fn bytes_and_dynamic_ranges_follow_the_float_layer() {
    let float = r#"graph main(%x: f32[1,3,4,2]) -> (%y) {
  %s: i32[4] = [1,7,8,2]
  %w: f32[2,3,2,2] = [0.5,-0.25,0.1,0.2,0.3,-0.4,0.5,0.6,-0.5,0.1,0.2,-0.3,1,-1,0.75,0.5,0.25,-0.125,0.3,0.2,-0.9,0.8,0.7,-0.6]
  %b: f32[2] = [0.5,-0.25]
  %y: f32[1,7,8,2] = TransposeConv2D(%s, %w, %x, %b) {"stride":[2,2]}
}"#;
    let weights = "[50,-25,10,20,30,-40,50,60,-50,10,20,-30,100,-100,75,50,25,-12,30,20,-90,80,70,-60]";
    let (before, rest) = float.split_once("f32[2,3,2,2]").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let hybrid = format!(
        r#"{before}i8[2,3,2,2] q{{"scales":[0.01],"zero_points":[0]}} = {weights}
{after}"#
    );
    let x = noise(24, 8);
    let expected = run(float, &[Array::from_f32(&[1, 3, 4, 2], &x)])[0].floats().into_owned();
    let close = |got: &[f32], error: f32| {
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < error, "{got} instead of {expected}");
        }
    };
    close(&run(&hybrid, &[Array::from_f32(&[1, 3, 4, 2], &x)])[0].floats(), 0.02);
    let quantized = format!(
        r#"graph main(%x: f32[1,3,4,2]) -> (%y) {{
  %s: i32[4] = [1,7,8,2]
  %w: i8[2,3,2,2] q{{"scales":[0.01,0.01],"zero_points":[0,0],"axis":0}} = {weights}
  %b: i32[2] q{{"scales":[0.0001,0.0001],"zero_points":[0,0],"axis":0}} = [5000,-2500]
  %q: i8[1,3,4,2] q{{"scales":[0.01],"zero_points":[-3]}} = Quantize(%x)
  %t: i8[1,7,8,2] q{{"scales":[0.02],"zero_points":[5]}} = TransposeConv2D(%s, %w, %q, %b) {{"stride":[2,2]}}
  %y: f32[1,7,8,2] = Dequantize(%t)
}}"#
    );
    close(&run(&quantized, &[Array::from_f32(&[1, 3, 4, 2], &x)])[0].floats(), 0.03);
}

#[test]
fn volumes_agree_with_plain_loops() {
    let text = r#"graph main(%x: f32[batch,4,5,6,2]) -> (%y) {
  %w: f32[3,2,3,2,5] = random(1)
  %b: f32[5] = random(2)
  %y: f32[batch,2,5,3,5] = Conv3D(%x, %w, %b) {"stride":[2,1,2],"padding":"same"}
}"#;
    let x = noise(2 * 4 * 5 * 6 * 2, 5);
    let got = run(text, &[Array::from_f32(&[2, 4, 5, 6, 2], &x)]);
    let window = VolumeWindow {
        kernel: [3, 2, 3],
        stride: [2, 1, 2],
        dilation: [1; 3],
        pad_before: [0, 0, 0],
        pad_after: [1, 1, 1],
    };
    let volume = Volume { batch: 2, size: [4, 5, 6], channels: 2 };
    let bias = weights(text, "b");
    let expected = conv3d(&window, volume, 5, &x, &weights(text, "w"), Some(&bias), Clamp::NONE);
    assert_close(&got[0].floats(), &expected);
}

/// What a transposed convolution undoes in shape, a convolution does.
#[test]
fn transposed_volumes_lead_back() {
    let text = r#"graph main(%x: f32[1,2,3,2,2]) -> (%y) {
  %s: i32[5] = [1,4,6,4,1]
  %w: f32[2,2,2,1,2] = splat(1)
  %y: f32[1,4,6,4,1] = TransposeConv3D(%s, %w, %x) {"stride":[2,2,2],"padding":"same"}
}"#;
    let x = noise(24, 5);
    let got = run(text, &[Array::from_f32(&[1, 2, 3, 2, 2], &x)]);
    let expected = |z: usize, y: usize, c: usize| {
        let voxel = ((z / 2) * 3 + y / 2) * 2 + c / 2;
        x[2 * voxel] + x[2 * voxel + 1]
    };
    let all = (0..96).map(|i| expected(i / 24, i / 4 % 6, i % 4)).collect::<Vec<_>>();
    assert_close(&got[0].floats(), &all);
}
