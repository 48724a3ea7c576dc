//! Operations that together are one operator.

use super::{graph, operators};

#[test]
fn batch_normalization_is_recognized_and_joined_names_are_cleaned() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,4,4,2]
         variable conv/kernel: f32[1,1,2,3]
         variable bn/gamma: f32[3]
         variable bn/beta: f32[3]
         variable bn/moving_mean: f32[3]
         variable bn/moving_variance: f32[3]
         StatefulPartitionedCall/net_1/conv_1/convolution = Conv2D(x, conv/kernel) strides=[1,1,1,1] padding=SAME
         StatefulPartitionedCall/net_1/bn_1/batchnorm/add/y = Const f32[] 0.001
         StatefulPartitionedCall/net_1/bn_1/batchnorm/add = AddV2(bn/moving_variance, StatefulPartitionedCall/net_1/bn_1/batchnorm/add/y)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/Rsqrt = Rsqrt(StatefulPartitionedCall/net_1/bn_1/batchnorm/add)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/mul = Mul(StatefulPartitionedCall/net_1/bn_1/batchnorm/Rsqrt, bn/gamma)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/mul_1 = Mul(StatefulPartitionedCall/net_1/conv_1/convolution, StatefulPartitionedCall/net_1/bn_1/batchnorm/mul)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/mul_2 = Mul(bn/moving_mean, StatefulPartitionedCall/net_1/bn_1/batchnorm/mul)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/sub = Sub(bn/beta, StatefulPartitionedCall/net_1/bn_1/batchnorm/mul_2)
         StatefulPartitionedCall/net_1/bn_1/batchnorm/add_1 = AddV2(StatefulPartitionedCall/net_1/bn_1/batchnorm/mul_1, StatefulPartitionedCall/net_1/bn_1/batchnorm/sub)
         StatefulPartitionedCall/net_1/relu_1/Relu = Relu(StatefulPartitionedCall/net_1/bn_1/batchnorm/add_1)
         Identity = Identity(StatefulPartitionedCall/net_1/relu_1/Relu)
         output Identity"
    ));
}

#[test]
fn layer_normalization_is_that_of_the_keras_reader() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,5,4]
         variable ln/gamma: f32[4]
         variable ln/beta: f32[4]
         axes = Const i32[1] 2
         shape = Const i32[3] 1,1,4
         mean = Mean(x, axes) keep_dims=true
         stop = StopGradient(mean)
         square = SquaredDifference(x, stop)
         variance = Mean(square, axes) keep_dims=true
         gamma = Reshape(ln/gamma, shape)
         beta = Reshape(ln/beta, shape)
         eps = Const f32[] 0.001
         add = AddV2(variance, eps)
         rsqrt = Rsqrt(add)
         mul = Mul(rsqrt, gamma)
         neg = Neg(mean)
         mul_1 = Mul(neg, mul)
         add_1 = AddV2(mul_1, beta)
         mul_2 = Mul(x, mul)
         y = AddV2(mul_2, add_1)
         output y"
    ));
}

#[test]
fn activations_are_recognized() {
    let of = |lines: &str| operators(&format!("input x: f32[?,4]\n{lines}\noutput y"));
    assert_eq!(of("s = Sigmoid(x)\nm = Mul(x, s)\ny = IdentityN(m, x)"), [r#"Unary {"kind":"silu"}"#]);
    let six =
        "three = Const f32[] 3\nsix = Const f32[] 6\na = AddV2(x, three)\nr = Relu6(a)\nh = RealDiv(r, six)";
    assert_eq!(of(&format!("{six}\ny = Identity(h)")), [r#"Unary {"kind":"hard_sigmoid"}"#]);
    assert_eq!(of(&format!("{six}\ny = Mul(x, h)")), [r#"Unary {"kind":"hard_swish"}"#]);
    let exact = "half = Const f32[] 0.5\nroot = Const f32[] 0.70710677\nh = Mul(half, x)\nn = Neg(x)\ns = Mul(n, root)\ne = Erfc(s)\ny = Mul(h, e)";
    assert_eq!(of(exact), [r#"Unary {"kind":{"gelu":{"approximate":false}}}"#]);
    let erf = "half = Const f32[] 0.5\nroot = Const f32[] 1.4142135\none = Const f32[] 1\nh = Mul(half, x)\ns = RealDiv(x, root)\ne = Erf(s)\nf = AddV2(one, e)\ny = Mul(h, f)";
    assert_eq!(of(erf), [r#"Unary {"kind":{"gelu":{"approximate":false}}}"#]);
    let tanh = "half = Const f32[] 0.5\nc = Const f32[] 0.044715\nd = Const f32[] 0.7978846\nthree = Const f32[] 3\none = Const f32[] 1\np = Pow(x, three)\nq = Mul(c, p)\ns = AddV2(x, q)\nu = Mul(d, s)\nt = Tanh(u)\nf = AddV2(one, t)\nh = Mul(half, x)\ny = Mul(h, f)";
    assert_eq!(of(tanh), [r#"Unary {"kind":{"gelu":{"approximate":true}}}"#]);
    let prelu = "variable alpha: f32[4]\nr = Relu(x)\na = Neg(alpha)\nn = Neg(x)\ns = Relu(n)\nm = Mul(a, s)\ny = AddV2(r, m)";
    assert_eq!(of(prelu), ["Prelu"]);
    let unit = "axis = Const i32[1] -1\nleast = Const f32[] 1e-12\nq = Square(x)\ns = Sum(q, axis) keep_dims=true\nm = Maximum(s, least)\nr = Rsqrt(m)\ny = Mul(x, r)";
    assert_eq!(of(unit), ["L2Norm"]);
}

#[test]
fn what_only_looks_alike_stays() {
    let of = |lines: &str| operators(&format!("input x: f32[?,4]\n{lines}\noutput y"));
    // Another scale, another value, another constant.
    let scaled = "c = Const f32[] 1.702\nu = Mul(c, x)\ns = Sigmoid(u)\ny = Mul(x, s)";
    assert_eq!(of(scaled).len(), 3);
    let other = "c = Const f32[] 1\nz = AddV2(x, c)\ns = Sigmoid(z)\ny = Mul(x, s)";
    assert_eq!(of(other).len(), 3);
    let five = "three = Const f32[] 3\nfive = Const f32[] 5\na = AddV2(x, three)\nr = Relu6(a)\ny = RealDiv(r, five)";
    assert_eq!(of(five).len(), 3);
}
