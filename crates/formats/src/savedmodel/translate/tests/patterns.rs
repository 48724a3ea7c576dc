//! Names of layers, and the operator that is recognized before there is a graph.

use super::{graph, operators};

#[test]
fn joined_names_are_cleaned() {
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

const NUMBERS: &str = "input x: f32[?,4]
     half = Const f32[] 0.5
     one = Const f32[] 1
     root = Const f32[] 1.4142135
     inverse = Const f32[] 0.70710677
     other = Const f32[] 0.7";

fn operators_of(lines: &str) -> Vec<String> {
    operators(&format!("{NUMBERS}\n{lines}\noutput y"))
}

#[test]
fn the_exact_gelu_is_recognized() {
    for lines in [
        "h = Mul(half, x)\nn = Neg(x)\ns = Mul(n, inverse)\ne = Erfc(s)\ny = Mul(h, e)",
        "h = Mul(half, x)\ns = RealDiv(x, root)\ne = Erf(s)\nf = AddV2(one, e)\ny = Mul(h, f)",
        "s = Mul(x, inverse)\ne = Erf(s)\ni = Identity(e)\nf = AddV2(i, one)\nh = Mul(f, half)\ny = Mul(h, x)",
    ] {
        assert_eq!(operators_of(lines), [r#"Unary {"kind":{"gelu":{"approximate":false}}}"#]);
    }
}

#[test]
fn the_operand_may_be_a_product() {
    let lines = "g = Sigmoid(x)\np = Mul(x, g)\nh = Mul(half, p)\ns = Mul(p, inverse)\ne = Erf(s)\nf = AddV2(one, e)\ny = Mul(h, f)";
    let found = operators_of(lines);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[2], r#"Unary {"kind":{"gelu":{"approximate":false}}}"#);
}

#[test]
fn the_exact_gelu_of_half_precision_is_recognized() {
    let lines = "input h: f16[?,4]
         half = Const f16[] 0.5
         single = Const f32[] 0.70710677
         inverse = Cast(single) SrcT=type:f32 DstT=type:f16
         a = Mul(half, h)
         n = Neg(h)
         s = Mul(n, inverse)
         e = Erfc(s)
         y = Mul(a, e)
         output y";
    assert_eq!(operators(lines), [r#"Unary {"kind":{"gelu":{"approximate":false}}}"#]);
}

#[test]
fn what_only_looks_like_it_stays() {
    for lines in [
        "h = Mul(half, x)\ns = Mul(x, other)\ne = Erf(s)\nf = AddV2(one, e)\ny = Mul(h, f)",
        "h = Mul(half, x)\ns = Mul(x, inverse)\ne = Erf(s)\nf = AddV2(half, e)\ny = Mul(h, f)",
        "h = Mul(half, x)\ns = Mul(x, inverse)\ne = Erfc(s)\ny = Mul(h, e)",
        "r = Relu(x)\nh = Mul(half, r)\ns = Mul(x, inverse)\ne = Erf(s)\nf = AddV2(one, e)\ny = Mul(h, f)",
    ] {
        let operators = operators_of(lines);
        assert!(operators.len() > 3 && !operators.concat().contains("gelu"), "{operators:?}");
    }
}

#[test]
fn no_file_may_name_what_is_recognized() {
    assert!(super::model("input x: f32[?,4]\ny = ~Gelu(x)\noutput y").is_err());
}
