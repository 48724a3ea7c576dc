//! Operators without integer kernel, spelled with those that have one.
//!
//! A step of its own, between legalization and calibration: what calibration measures are the tensors
//! that the integer model will have.

use litesmith_graph::ops::{
    Activation, Binary, BinaryKind, Prelu, Reduce, ReduceKind, Softmax, Unary, UnaryKind,
};
use litesmith_graph::{
    DType, Graph, Model, ModelError, Node, NodeId, Op, Tensor, TensorId, TensorKind, Width,
};

use super::{AFTERWARDS, Builder, activations};
use crate::run;

/// Below any length that a grid can tell from zero: keeps float arithmetic finite.
const TINY: f32 = 1e-12;

/// Rewrites the operators of a legalized model's main graph for which TFLite has no kernel of this
/// width, as far as others can stand for them. Nodes that `keep` names are left as they are. Returns
/// the number of operators rewritten.
///
/// # Errors
/// If the model does not fit itself.
pub fn lower(
    model: &mut Model,
    width: Width,
    keep: &dyn Fn(&Graph, &Node) -> bool,
) -> Result<usize, ModelError> {
    litesmith_graph::infer_model(model)?;
    let graph = model.main_mut();
    let kept: Vec<bool> = graph.nodes.iter().map(|node| keep(graph, node)).collect();
    let mut count = 0;
    for (index, kept) in kept.into_iter().enumerate() {
        let id = NodeId(index as u32);
        let real = graph[id].outputs.iter().all(|output| graph[*output].dtype == DType::F32);
        if !kept && real && !has_kernel(&graph[id].op, width) && rewrite(graph, id) {
            count += 1;
        }
    }
    if !graph.sort() {
        return Err(ModelError::Model(format!("graph '{}' has a cycle", graph.name)));
    }
    if count > 0 {
        run(model, AFTERWARDS, &mut |_, _| {})?;
    }
    Ok(count)
}

/// A sum with a negated operand counts as lacking one: it is a difference.
fn has_kernel(op: &Op, width: Width) -> bool {
    let sum = matches!(op, Op::Binary(Binary { kind: BinaryKind::Add, .. }));
    op.quantization().has_kernel(width) && !sum
}

/// Whether the node was rewritten.
fn rewrite(graph: &mut Graph, id: NodeId) -> bool {
    match graph[id].op.clone() {
        Op::Unary(unary) => self::unary(graph, id, unary.kind),
        Op::Binary(op) => binary(graph, id, &op),
        Op::Prelu(Prelu {}) => prelu(graph, id),
        Op::L2Norm(_) => l2_norm(graph, id),
        Op::Softmax(Softmax { log: true, beta }) => log_softmax(graph, id, beta),
        _ => false,
    }
}

fn unary(graph: &mut Graph, id: NodeId, kind: UnaryKind) -> bool {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return false };
    match kind {
        UnaryKind::Neg => {
            let minus_one = build.number(-1.0);
            build.finish(Binary::from(BinaryKind::Mul), &[x, minus_one]);
        }
        UnaryKind::Square => build.finish(Binary::from(BinaryKind::Mul), &[x, x]),
        UnaryKind::Elu(alpha) => activations::elu(build, x, 1.0, alpha),
        UnaryKind::HardSwish => {
            let (three, sixth) = (build.number(3.0), build.number(1.0 / 6.0));
            let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu6 };
            let clamped = build.push("add", add, &[x, three]);
            let gate = build.push("gate", Binary::from(BinaryKind::Mul), &[clamped, sixth]);
            build.finish(Binary::from(BinaryKind::Mul), &[x, gate]);
        }
        UnaryKind::ReluN1To1 => {
            let (low, high) = (build.number(-1.0), build.number(1.0));
            let bounded = build.push("maximum", Binary::from(BinaryKind::Maximum), &[x, low]);
            build.finish(Binary::from(BinaryKind::Minimum), &[bounded, high]);
        }
        // x / sqrt(x), and 0 where x is 0.
        UnaryKind::Sqrt => {
            let tiny = build.number(TINY);
            let bounded = build.push("maximum", Binary::from(BinaryKind::Maximum), &[x, tiny]);
            let inverse = build.push("rsqrt", Unary::from(UnaryKind::Rsqrt), &[bounded]);
            build.finish(Binary::from(BinaryKind::Mul), &[x, inverse]);
        }
        _ => return false,
    }
    true
}

fn binary(graph: &mut Graph, id: NodeId, op: &Binary) -> bool {
    let exponent = graph[id].inputs.get(1).copied().flatten().and_then(|id| single(graph, id));
    let positive = graph[id].inputs.get(1).copied().flatten().is_some_and(|b| is_never_negative(graph, b));
    let mut build = Builder::new(graph, id);
    let (Some(a), Some(b)) = (build.input(0), build.input(1)) else { return false };
    let finish = |build: Builder<'_>, kind, inputs: &[TensorId]| {
        build.finish(Binary { kind, activation: op.activation }, inputs);
    };
    match op.kind {
        BinaryKind::Add => return subtract_negated(graph, id, op),
        BinaryKind::SquaredDifference => {
            let difference = build.push("sub", Binary::from(BinaryKind::Sub), &[a, b]);
            finish(build, BinaryKind::Mul, &[difference, difference]);
        }
        BinaryKind::Div => {
            if let Some(reciprocal) = reciprocal(&mut build, b) {
                finish(build, BinaryKind::Mul, &[a, reciprocal]);
            } else if positive {
                let root = build.push("rsqrt", Unary::from(UnaryKind::Rsqrt), &[b]);
                let part = build.push("mul", Binary::from(BinaryKind::Mul), &[a, root]);
                finish(build, BinaryKind::Mul, &[part, root]);
            } else {
                return false;
            }
        }
        BinaryKind::Pow if exponent == Some(2.0) => finish(build, BinaryKind::Mul, &[a, a]),
        BinaryKind::Pow if exponent == Some(3.0) => {
            let square = build.push("square", Binary::from(BinaryKind::Mul), &[a, a]);
            finish(build, BinaryKind::Mul, &[square, a]);
        }
        BinaryKind::Pow if exponent == Some(-0.5) => build.finish(Unary::from(UnaryKind::Rsqrt), &[a]),
        _ => return false,
    }
    true
}

/// `a + -b` is `a - b`, and the negation has one reader less.
fn subtract_negated(graph: &mut Graph, id: NodeId, op: &Binary) -> bool {
    let producers = graph.producers();
    let negated = |place: usize| {
        let producer = producers[graph[id].inputs[place]?.index()]?;
        match &graph[producer].op {
            Op::Unary(Unary { kind: UnaryKind::Neg }) => graph[producer].inputs[0],
            // What an earlier step has made of it.
            Op::Binary(Binary { kind: BinaryKind::Mul, activation: Activation::None }) => {
                let minus_one = graph[producer].inputs[1].and_then(|id| single(graph, id)) == Some(-1.0);
                graph[producer].inputs[0].filter(|_| minus_one)
            }
            _ => None,
        }
    };
    let operands = match (graph[id].inputs[0], graph[id].inputs[1], negated(0), negated(1)) {
        (Some(a), _, _, Some(b)) | (_, Some(a), Some(b), None) => [a, b],
        _ => return false,
    };
    let difference = Binary { kind: BinaryKind::Sub, activation: op.activation };
    Builder::new(graph, id).finish(difference, &operands);
    true
}

/// The reciprocals of a constant, if all are finite.
fn reciprocal(build: &mut Builder<'_>, id: TensorId) -> Option<TensorId> {
    let values: Vec<f32> = constant(build.graph, id)?.iter().map(|x| 1.0 / x).collect();
    if !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let (name, shape) = (build.name("reciprocal"), build.graph[id].shape.to_fixed()?);
    Some(build.graph.add_tensor(Tensor::floats(&name, &shape, values)))
}

/// `max(x, alpha * x)` where no slope is above 1, `min` where none is below, else
/// `relu(x) + alpha * (x - relu(x))`.
fn prelu(graph: &mut Graph, id: NodeId) -> bool {
    let slopes = graph[id].inputs.get(1).copied().flatten().and_then(|id| constant(graph, id));
    let all = |holds: &dyn Fn(&f32) -> bool| slopes.as_ref().is_some_and(|slopes| slopes.iter().all(holds));
    let (gentle, steep) = (all(&|slope| *slope <= 1.0), all(&|slope| *slope >= 1.0));
    let mut build = Builder::new(graph, id);
    let (Some(x), Some(alpha)) = (build.input(0), build.input(1)) else { return false };
    if gentle || steep {
        let scaled = build.push("mul", Binary::from(BinaryKind::Mul), &[x, alpha]);
        let kind = if gentle { BinaryKind::Maximum } else { BinaryKind::Minimum };
        build.finish(Binary::from(kind), &[x, scaled]);
        return true;
    }
    let positive = build.push("relu", Unary::from(UnaryKind::Relu), &[x]);
    let negative = build.push("sub", Binary::from(BinaryKind::Sub), &[x, positive]);
    let scaled = build.push("mul", Binary::from(BinaryKind::Mul), &[negative, alpha]);
    build.finish(Binary::from(BinaryKind::Add), &[positive, scaled]);
    true
}

/// `x / sqrt(sum of squares)`
fn l2_norm(graph: &mut Graph, id: NodeId) -> bool {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return false };
    let square = build.push("square", Binary::from(BinaryKind::Mul), &[x, x]);
    let sum = build.push("sum", over_last(ReduceKind::Sum), &[square]);
    let tiny = build.number(TINY);
    let bounded = build.push("maximum", Binary::from(BinaryKind::Maximum), &[sum, tiny]);
    let inverse = build.push("rsqrt", Unary::from(UnaryKind::Rsqrt), &[bounded]);
    build.finish(Binary::from(BinaryKind::Mul), &[x, inverse]);
    true
}

/// `y - log(sum(exp(y)))` with `y = beta * (x - max(x))`
fn log_softmax(graph: &mut Graph, id: NodeId, beta: f32) -> bool {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return false };
    let largest = build.push("max", over_last(ReduceKind::Max), &[x]);
    let mut shifted = build.push("sub", Binary::from(BinaryKind::Sub), &[x, largest]);
    if beta != 1.0 {
        let beta = build.number(beta);
        shifted = build.push("mul", Binary::from(BinaryKind::Mul), &[shifted, beta]);
    }
    let power = build.push("exp", Unary::from(UnaryKind::Exp), &[shifted]);
    let sum = build.push("sum", over_last(ReduceKind::Sum), &[power]);
    let logarithm = build.push("log", Unary::from(UnaryKind::Log), &[sum]);
    build.finish(Binary::from(BinaryKind::Sub), &[shifted, logarithm]);
    true
}

fn over_last(kind: ReduceKind) -> Reduce {
    Reduce { kind, axes: vec![-1], keep_dims: true }
}

fn constant(graph: &Graph, id: TensorId) -> Option<std::borrow::Cow<'_, [f32]>> {
    match &graph[id].kind {
        TensorKind::Constant(data) => data.floats(graph[id].dtype),
        _ => None,
    }
}

/// The number that a constant of one element is.
fn single(graph: &Graph, id: TensorId) -> Option<f32> {
    match constant(graph, id)?.as_ref() {
        [value] => Some(*value),
        _ => None,
    }
}

/// Whether a tensor is known to hold no number below 0, because of how it is computed.
fn is_never_negative(graph: &Graph, id: TensorId) -> bool {
    let producers = graph.producers();
    let fixed = |id: TensorId| constant(graph, id).is_some_and(|values| values.iter().all(|x| *x >= 0.0));
    let mut seen = vec![false; graph.tensors.len()];
    let mut ahead = vec![id];
    while let Some(id) = ahead.pop() {
        if fixed(id) || std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let Some(producer) = producers[id.index()] else { return false };
        let node = &graph[producer];
        match &node.op {
            Op::Unary(unary) if maps_to_no_negative(unary.kind) => {}
            Op::Softmax(softmax) if !softmax.log => {}
            Op::Binary(op) => match op.kind {
                _ if matches!(op.activation, Activation::Relu | Activation::Relu6) => {}
                BinaryKind::SquaredDifference => {}
                BinaryKind::Mul if node.inputs[0] == node.inputs[1] => {}
                BinaryKind::Maximum if node.present_inputs().any(fixed) => {}
                BinaryKind::Add | BinaryKind::Mul | BinaryKind::Div | BinaryKind::Minimum => {
                    ahead.extend(node.present_inputs());
                }
                _ => return false,
            },
            Op::Reduce(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Squeeze(_) | Op::ExpandDims(_) => {
                ahead.extend(node.inputs[0]);
            }
            _ => return false,
        }
    }
    true
}

fn maps_to_no_negative(kind: UnaryKind) -> bool {
    use UnaryKind::{Abs, Exp, Logistic, Relu, Relu6, Rsqrt, Sqrt, Square};
    matches!(kind, Relu | Relu6 | Logistic | Abs | Square | Sqrt | Rsqrt | Exp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{text, validate};

    fn check(width: Width, before: &str, after: &str) {
        let mut model = text::parse(before).unwrap();
        lower(&mut model, width, &|_, node| node.name == "kept").unwrap();
        validate(&model).unwrap();
        let lines =
            |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&text::print(&model)).trim(), lines(after).trim());
    }

    #[test]
    fn a_square_is_a_product_and_a_negated_addend_is_subtracted() {
        check(
            Width::Eight,
            r#"graph main(%x: f32[2], %a: f32[2]) -> (%z, %k) {
                 %n: f32[2] = Unary(%x) {"kind":"neg"} # negative
                 %s: f32[2] = Unary(%a) {"kind":"square"} # square
                 %z: f32[2] = Binary(%n, %s) {"activation":"relu"} # sum
                 %k: f32[2] = Unary(%a) {"kind":"square"} # kept
               }"#,
            r#"graph main(%x: f32[2], %a: f32[2]) -> (%z, %k) {
                 %s: f32[2] = Binary(%a, %a) {"kind":"mul"} # square
                 %z: f32[2] = Binary(%s, %x) {"kind":"sub","activation":"relu"} # sum
                 %k: f32[2] = Unary(%a) {"kind":"square"} # kept
               }"#,
        );
    }

    #[test]
    fn what_eight_bits_have_and_sixteen_lack_is_spelled_for_sixteen() {
        let swish = r#"graph main(%x: f32[2]) -> (%y) {
             %y: f32[2] = Unary(%x) {"kind":"hard_swish"} # swish
           }"#;
        check(Width::Eight, swish, swish);
        check(
            Width::Sixteen,
            swish,
            r#"graph main(%x: f32[2]) -> (%y) {
                 %y/constant: f32[] = [3]
                 %y/add: f32[2] = Binary(%x, %y/constant) {"activation":"relu6"} # swish
                 %y/constant.3: f32[] = [0.16666667]
                 %y/gate: f32[2] = Binary(%y/add, %y/constant.3) {"kind":"mul"} # swish
                 %y: f32[2] = Binary(%x, %y/gate) {"kind":"mul"} # swish
               }"#,
        );
    }

    #[test]
    fn quotients_need_a_constant_or_a_divisor_that_is_never_negative() {
        let operators = |source: &str| {
            let mut model = text::parse(source).unwrap();
            lower(&mut model, Width::Sixteen, &|_, _| false).unwrap();
            let nodes = model.main().nodes.iter().map(|node| node.op.builtin_name().to_owned());
            nodes.collect::<Vec<_>>()
        };
        let by = |divisor: &str| {
            format!(
                r#"graph main(%x: f32[2], %d: f32[2]) -> (%y) {{
                     %c: f32[2] = [4,-8]
                     %p: f32[2] = Unary(%d) {{"kind":"exp"}}
                     %y: f32[2] = Binary(%x, %{divisor}) {{"kind":"div"}}
                   }}"#
            )
        };
        assert_eq!(operators(&by("c")), ["MUL"]);
        assert_eq!(operators(&by("d")), ["EXP", "DIV"]);
        assert_eq!(operators(&by("p")), ["EXP", "RSQRT", "MUL", "MUL"]);
    }

    #[test]
    fn slopes_up_to_one_take_the_larger_of_two() {
        let operators = |slopes: &str| {
            let source = format!(
                "graph main(%x: f32[1,2]) -> (%y) {{\n%a: f32[2] = [{slopes}]\n%y: f32[1,2] = Prelu(%x, %a)\n}}"
            );
            let mut model = text::parse(&source).unwrap();
            lower(&mut model, Width::Sixteen, &|_, _| false).unwrap();
            let nodes = model.main().nodes.iter().map(|node| node.op.builtin_name().to_owned());
            nodes.collect::<Vec<_>>()
        };
        assert_eq!(operators("0.5,-2"), ["MUL", "MAXIMUM"]);
        assert_eq!(operators("1,2"), ["MUL", "MINIMUM"]);
        assert_eq!(operators("0.5,2"), ["RELU", "SUB", "MUL", "ADD"]);
    }
}
