//! Whole layers as frozen graphs spell them, beside the operators that the layers are read as.

use litesmith_graph::text;

/// Both descriptions optimized and printed; the first line says which inputs and weights they share.
fn optimized(head: &str, statements: &str) -> String {
    let text = format!("{head} {{\n{statements}\n}}");
    let mut model = match text::parse(&text) {
        Ok(model) => model,
        Err(error) => panic!("{error}: {text}"),
    };
    crate::optimize(&mut model, &mut |_, _| {}).expect("it can be optimized");
    text::print(&model)
}

fn same(head: &str, spelled: &str, layers: &str) {
    assert_eq!(optimized(head, spelled), optimized(head, layers));
}

#[test]
fn a_convolution_with_bias_normalization_and_swish() {
    same(
        "parameter @conv/kernel: f32[1,1,3,2] trainable = [1,2,3,4,5,6]
         parameter @conv/bias: f32[2] trainable = [0.5,-0.5]
         parameter @bn/gamma: f32[2] trainable = [2,3]
         parameter @bn/beta: f32[2] trainable = [1,0.5]
         parameter @bn/mean: f32[2] = [3,-1]
         parameter @bn/variance: f32[2] = [4,16]
         graph main(%x: f32[batch,4,4,3]) -> (%z)",
        r#"%w: f32[2,1,1,3] = Transpose(@conv/kernel) {"permutation":[3,0,1,2]} # conv
           %c: f32[batch,4,4,2] = Conv2D(%x, %w) # conv
           %r: f32[1,1,1,2] = Reshape(@conv/bias) {"shape":[1,1,1,2]} # conv
           %s: f32[2] = Squeeze(%r) # conv
           %y: f32[batch,4,4,2] = Binary(%c, %s) # conv
           %i: f32[batch,4,4,2] = Identity(%y) # conv
           %e: f32[] = [0.001]
           %v: f32[2] = Binary(@bn/variance, %e) # bn
           %q: f32[2] = Unary(%v) {"kind":"rsqrt"} # bn
           %m: f32[2] = Binary(%q, @bn/gamma) {"kind":"mul"} # bn
           %p: f32[batch,4,4,2] = Binary(%i, %m) {"kind":"mul"} # bn
           %n: f32[2] = Binary(@bn/mean, %m) {"kind":"mul"} # bn
           %o: f32[2] = Binary(@bn/beta, %n) {"kind":"sub"} # bn
           %b: f32[batch,4,4,2] = Binary(%p, %o) # bn
           %one: f32[] = [1]
           %k: f32[batch,4,4,2] = Binary(%one, %b) {"kind":"mul"} # act
           %g: f32[batch,4,4,2] = Unary(%k) {"kind":"logistic"} # act
           %z: f32[batch,4,4,2] = Binary(%b, %g) {"kind":"mul"} # act"#,
        r#"%w: f32[2,1,1,3] = Transpose(@conv/kernel) {"permutation":[3,0,1,2]} # conv
           %y: f32[batch,4,4,2] = Conv2D(%x, %w, @conv/bias) # conv
           %b: f32[batch,4,4,2] = BatchNorm(%y, @bn/gamma, @bn/beta, @bn/mean, @bn/variance) # bn
           %z: f32[batch,4,4,2] = Unary(%b) {"kind":"silu"} # act"#,
    );
}

#[test]
fn a_product_along_the_last_axis() {
    same(
        "parameter @dense/kernel: f32[3,2] trainable = [1,2,3,4,5,6]
         parameter @dense/bias: f32[2] trainable = [0.5,-0.5]
         graph main(%x: f32[batch,4,3]) -> (%z)",
        r#"%t: f32[batch,4,3] = Transpose(%x) {"permutation":[0,1,2]} # dense
           %s: i32[3] = ShapeOf(%x) # dense
           %free: i32[2] = [0,1]
           %l: i32[2] = Gather(%s, %free) # dense
           %n: i32[] = Reduce(%l) {"kind":"prod","axes":[0]} # dense
           %d: i32[] = [3]
           %p: i32[2] = Pack(%n, %d) # dense
           %r: f32[?,3] = Reshape(%t, %p) # dense
           %w: f32[2,3] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
           %y: f32[?,2] = FullyConnected(%r, %w) # dense
           %u: i32[1] = [2]
           %c: i32[3] = Concat(%l, %u) # dense
           %a: f32[batch,4,2] = Reshape(%y, %c) # dense
           %b: f32[batch,4,2] = Binary(%a, @dense/bias) # dense
           %z: f32[batch,4,2] = Unary(%b) # act"#,
        r#"%w: f32[2,3] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
           %b: f32[batch,4,2] = FullyConnected(%x, %w, @dense/bias) {"keep_num_dims":true} # dense
           %z: f32[batch,4,2] = Unary(%b) # act"#,
    );
}

#[test]
fn untrained_normalization_is_whole() {
    // Its gamma of ones and beta of zeros are neutral, and still there to be trained.
    let text = r#"parameter @bn/gamma: f32[2] trainable = [1,1]
         parameter @bn/beta: f32[2] trainable = [0,0]
         parameter @bn/mean: f32[2] = [0,0]
         parameter @bn/variance: f32[2] = [1,1]
         graph main(%x: f32[batch,2]) -> (%z) {
           %e: f32[] = [0.5]
           %v: f32[2] = Binary(@bn/variance, %e) # bn
           %q: f32[2] = Unary(%v) {"kind":"rsqrt"} # bn
           %m: f32[2] = Binary(%q, @bn/gamma) {"kind":"mul"} # bn
           %p: f32[batch,2] = Binary(%x, %m) {"kind":"mul"} # bn
           %n: f32[2] = Binary(@bn/mean, %m) {"kind":"mul"} # bn
           %o: f32[2] = Binary(@bn/beta, %n) {"kind":"sub"} # bn
           %z: f32[batch,2] = Binary(%p, %o) # bn
         }"#;
    let mut model = text::parse(text).expect("the text parses");
    crate::optimize(&mut model, &mut |_, _| {}).expect("it can be optimized");
    let printed = text::print(&model);
    assert!(printed.contains("BatchNorm(%x, @bn/gamma, @bn/beta, @bn/mean, @bn/variance)"), "{printed}");
}

#[test]
fn quantized_graphs_are_left_alone() {
    let text = r#"graph main(%x: f32[2]) -> (%z, %q) {
         %g: f32[2] = Unary(%x) {"kind":"logistic"}
         %z: f32[2] = Binary(%g, %x) {"kind":"mul"}
         %q: i8[2] q{"scales":[0.1],"zero_points":[0]} = Quantize(%x)
       }"#;
    let mut model = text::parse(text).expect("the text parses");
    let rewrites = crate::optimize(&mut model, &mut |_, _| {}).expect("it can be optimized");
    assert!(rewrites.iter().all(|rewrites| rewrites.count == 0), "{rewrites:?}");
}
