//! Every rule against finite differences, in double precision: the loss is a fixed weighted sum of the
//! outputs, each weight is moved both ways.

use litesmith_graph::{Data, Model, Op, ParameterId, text};
use litesmith_kernels::ThreadPool;
use litesmith_runtime::{Array, Options, Training};

use crate::program::{Outcome, Phase, Program, StepOptions, Use};

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// One line for each case: its name, the parameters, each with its shape, and the nodes from them to `%y`.
const CASES: &[Case] = &[
    (
        "conv",
        &[("x", "2,5,4,3"), ("w", "4,3,2,3"), ("b", "4")],
        r#"%y: f64[2,3,4,4] = Conv2D(@x, @w, @b) {"padding":"same","stride":[2,1]}"#,
    ),
    (
        "conv valid, dilated",
        &[("x", "1,7,7,2"), ("w", "3,3,3,2"), ("b", "3")],
        r#"%y: f64[1,3,3,3] = Conv2D(@x, @w, @b) {"dilation":[2,2]}"#,
    ),
    (
        "conv in groups, clamped",
        &[("x", "2,4,4,4"), ("w", "6,2,2,2")],
        r#"%y: f64[2,3,3,6] = Conv2D(@x, @w, _) {"groups":2,"activation":"relu"}"#,
    ),
    (
        "point convolution with a stride",
        &[("x", "2,5,5,3"), ("w", "4,1,1,3")],
        r#"%y: f64[2,3,3,4] = Conv2D(@x, @w, _) {"stride":[2,2]}"#,
    ),
    (
        "depthwise",
        &[("x", "2,5,5,3"), ("w", "1,3,3,3"), ("b", "3")],
        r#"%y: f64[2,3,3,3] = DepthwiseConv2D(@x, @w, @b) {"padding":"same","stride":[2,2]}"#,
    ),
    (
        "depthwise with a multiplier",
        &[("x", "1,4,4,2"), ("w", "1,3,3,4")],
        r#"%y: f64[1,4,4,4] = DepthwiseConv2D(@x, @w, _) {"padding":"same","multiplier":2}"#,
    ),
    (
        "dense",
        &[("x", "3,4"), ("w", "5,4"), ("b", "5")],
        r#"%y: f64[3,5] = FullyConnected(@x, @w, @b) {"activation":"relu6"}"#,
    ),
    (
        "batch norm",
        &[("x", "3,4,2"), ("gamma", "2"), ("beta", "2"), ("mean", "2"), ("var", "2")],
        r#"%y: f64[3,4,2] = BatchNorm(@x, @gamma, @beta, @mean, @var)"#,
    ),
    (
        "batch norm, clamped",
        &[("x", "5,2,3"), ("gamma", "3"), ("beta", "3"), ("mean", "3"), ("var", "3")],
        r#"%n: f64[5,2,3] = BatchNorm(@x, @gamma, @beta, @mean, @var)
%y: f64[5,2,3] = Unary(%n)"#,
    ),
    (
        "maximum pool",
        &[("x", "2,5,5,3")],
        r#"%y: f64[2,3,3,3] = Pool2D(@x) {"kernel":[3,3],"stride":[2,2],"padding":"same"}"#,
    ),
    (
        "average pool",
        &[("x", "2,5,5,3")],
        r#"%y: f64[2,3,3,3] = Pool2D(@x) {"kind":"average","kernel":[3,3],"stride":[2,2],"padding":"same"}"#,
    ),
    (
        "bilinear",
        &[("x", "1,3,4,2")],
        r#"%y: f64[1,6,7,2] = Resize(@x) {"size":[6,7],"half_pixel_centers":true}"#,
    ),
    ("nearest", &[("x", "1,3,4,2")], r#"%y: f64[1,6,8,2] = Resize(@x) {"kind":"nearest","size":[6,8]}"#),
    ("softmax", &[("x", "3,5")], r#"%y: f64[3,5] = Softmax(@x)"#),
    ("log softmax", &[("x", "3,5")], r#"%y: f64[3,5] = Softmax(@x) {"log":true}"#),
    ("length", &[("x", "3,5")], r#"%y: f64[3,5] = L2Norm(@x)"#),
    ("add, broadcast", &[("x", "3,4"), ("b", "4")], r#"%y: f64[3,4] = Binary(@x, @b)"#),
    ("sub", &[("x", "3,4"), ("b", "3,1")], r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"sub"}"#),
    ("mul", &[("x", "3,4"), ("b", "1,4")], r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"mul"}"#),
    ("div", &[("x", "3,4"), ("b", "4")], r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"div"}"#),
    ("maximum", &[("x", "3,4"), ("b", "4")], r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"maximum"}"#),
    ("minimum", &[("x", "3,4"), ("b", "4")], r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"minimum"}"#),
    (
        "squared difference",
        &[("x", "3,4"), ("b", "4")],
        r#"%y: f64[3,4] = Binary(@x, @b) {"kind":"squared_difference"}"#,
    ),
    ("one tensor twice", &[("x", "3,4")], r#"%y: f64[3,4] = Binary(@x, @x) {"kind":"mul"}"#),
    ("mean", &[("x", "2,3,4,2")], r#"%y: f64[2,2] = Reduce(@x) {"axes":[1,2]}"#),
    ("sum", &[("x", "2,3,4")], r#"%y: f64[2,1,4] = Reduce(@x) {"kind":"sum","axes":[1],"keep_dims":true}"#),
    ("largest", &[("x", "2,3,4")], r#"%y: f64[2,4] = Reduce(@x) {"kind":"max","axes":[1]}"#),
    ("concat", &[("x", "2,3"), ("b", "2,4")], r#"%y: f64[2,7] = Concat(@x, @b) {"axis":-1}"#),
    ("pad", &[("x", "2,3")], r#"%y: f64[5,4] = Pad(@x) {"amounts":[[1,2],[0,1]]}"#),
    ("slice", &[("x", "4,3")], r#"%y: f64[2,2] = Slice(@x) {"begin":[1,1],"size":[2,-1]}"#),
    (
        "strided slice",
        &[("x", "4,3")],
        r#"%y: f64[3] = StridedSlice(@x) {"begin":[1,0],"end":[2,3],"strides":[1,1],"shrink_axis_mask":1}"#,
    ),
    ("split", &[("x", "2,6")], r#"%a: f64[2,3], %y: f64[2,3] = Split(@x) {"axis":1,"parts":2}"#),
    (
        "transpose",
        &[("x", "2,3,4")],
        r#"%t: f64[4,2,3] = Transpose(@x) {"permutation":[2,0,1]}
%y: f64[4,2,3] = Binary(%t, %t) {"kind":"mul"}"#,
    ),
    ("tile", &[("x", "2,3")], r#"%y: f64[4,9] = Tile(@x) {"multiples":[2,3]}"#),
    ("broadcast", &[("x", "1,3")], r#"%y: f64[2,3] = BroadcastTo(@x) {"shape":[2,3]}"#),
    ("matrices", &[("x", "2,3,4"), ("b", "2,4,2")], r#"%y: f64[2,3,2] = BatchMatMul(@x, @b)"#),
    (
        "matrices, adjoint",
        &[("x", "2,4,3"), ("b", "2,2,4")],
        r#"%y: f64[2,3,2] = BatchMatMul(@x, @b) {"adjoint_a":true,"adjoint_b":true}"#,
    ),
    ("depth to space", &[("x", "1,2,2,8")], r#"%y: f64[1,4,4,2] = DepthToSpace(@x) {"block":2}"#),
    (
        "gather",
        &[("x", "2,5,3")],
        r#"%i: i32[4] = [4,0,2,0]
%y: f64[2,4,3] = Gather(@x, %i) {"axis":1}"#,
    ),
    ("running sum", &[("x", "2,5")], r#"%y: f64[2,5] = CumSum(@x) {"axis":1}"#),
    ("prelu", &[("x", "2,3,4"), ("alpha", "1,4")], r#"%y: f64[2,3,4] = Prelu(@x, @alpha)"#),
    (
        "shared by two",
        &[("x", "2,3"), ("w", "3,3")],
        r#"%a: f64[2,3] = FullyConnected(@x, @w, _)
%b: f64[2,3] = FullyConnected(%a, @w, _)
%y: f64[2,3] = Binary(%b, %a)"#,
    ),
];

/// Unary functions, at arguments where they are smooth.
const FUNCTIONS: &[&str] = &[
    r#""relu""#,
    r#""relu6""#,
    r#""relu_n1_to1""#,
    r#"{"clip":{"min":-0.3,"max":0.4}}"#,
    r#"{"leaky_relu":0.2}"#,
    r#"{"elu":1.0}"#,
    r#""selu""#,
    r#""logistic""#,
    r#""tanh""#,
    r#""silu""#,
    r#""hard_sigmoid""#,
    r#""hard_swish""#,
    r#"{"gelu":{"approximate":false}}"#,
    r#"{"gelu":{"approximate":true}}"#,
    r#""softplus""#,
    r#""softsign""#,
    r#""abs""#,
    r#""neg""#,
    r#""square""#,
    r#""exp""#,
    r#""sin""#,
    r#""cos""#,
    r#""reciprocal""#,
];

fn model(parameters: &[(&str, &str)], nodes: &str) -> Model {
    let mut source = String::new();
    for (index, (name, shape)) in parameters.iter().enumerate() {
        source += &format!("parameter @{name}: f64[{shape}] trainable = random({})\n", index + 1);
    }
    source += &format!("graph main() -> (%y) {{\n{nodes}\n}}\n");
    let mut model = text::parse(&source).unwrap_or_else(|error| panic!("{error} in\n{source}"));
    for parameter in &mut model.parameters {
        if ["mean", "var"].contains(&&*parameter.origin.variable) || parameter.origin.path.ends_with("var") {
            parameter.trainable = false;
        }
        let positive = parameter.data.elements::<f64>().iter().map(|x| x.abs() + 0.5).collect::<Vec<_>>();
        if parameter.origin.variable == "var" {
            parameter.data = Data::from_vec(positive);
        }
    }
    model
}

/// A weight of each output element in the loss.
fn seed(count: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 37 + 11) % 17) as f64 / 8.0 - 1.0).collect()
}

struct Check {
    run: Training,
    program: Program,
    values: Vec<Vec<f64>>,
}

impl Check {
    fn new(model: &Model) -> Check {
        let options = StepOptions {
            batch: 1,
            phase: Phase::Train,
            batch_statistics: true,
            seed: 1,
            outputs: vec![Use::Loss(None); model.main().outputs.len()],
        };
        let program = Program::new(model, &options).unwrap_or_else(|error| panic!("{error}"));
        let run = Training::new(&program.model, program.roles, &Options::default().with_threads(2));
        let run = run.unwrap_or_else(|error| panic!("{error}\n{}", text::print(&program.model)));
        let pool = ThreadPool::new(1);
        let arranged = |(ParameterId(id), arrangement): &(ParameterId, crate::arrangement::Arrangement)| {
            arrangement.apply(&pool, model.parameters[*id as usize].data.elements::<f64>().into_owned())
        };
        let values = program.variables.iter().map(arranged).collect();
        Check { run, program, values }
    }

    fn loss(&mut self) -> (f64, Vec<f64>, Vec<usize>) {
        let variables: Vec<&[u8]> = self.values.iter().map(|values| bytemuck::cast_slice(values)).collect();
        self.run.forward(&[], &variables).unwrap();
        let y = self.run.prediction(0);
        let seed = seed(y.elements::<f64>().len());
        let loss = y.elements::<f64>().iter().zip(&seed).map(|(y, seed)| y * seed).sum();
        (loss, seed, y.shape.to_vec())
    }

    fn gradients(&mut self) -> Vec<(usize, Vec<f64>)> {
        let (_, seed, shape) = self.loss();
        let variables: Vec<&[u8]> = self.values.iter().map(|values| bytemuck::cast_slice(values)).collect();
        self.run.backward(&[Array::from_f64(&shape, &seed)], &variables).unwrap();
        let results = self.program.results.iter().enumerate();
        let gradient = |(index, outcome): (usize, &Outcome)| match outcome {
            Outcome::Gradient(variable) => {
                Some((*variable, self.run.result(index).elements::<f64>().into_owned()))
            }
            _ => None,
        };
        results.filter_map(gradient).collect()
    }

    /// Compares every derivative with its difference quotient.
    fn check(&mut self, name: &str, expected: usize) {
        let gradients = self.gradients();
        assert_eq!(gradients.len(), expected, "{name}: number of gradients");
        for (variable, gradient) in gradients {
            assert_eq!(gradient.len(), self.values[variable].len(), "{name}");
            for (index, derivative) in gradient.iter().enumerate() {
                let value = self.values[variable][index];
                let mut at = |x: f64| {
                    self.values[variable][index] = x;
                    self.loss().0
                };
                let quotient = (at(value + STEP) - at(value - STEP)) / (2.0 * STEP);
                at(value);
                let error = (quotient - derivative).abs();
                let scale = 1.0 + quotient.abs();
                assert!(
                    error <= TOLERANCE * scale,
                    "{name}: variable {variable}, element {index}: {derivative} instead of {quotient}"
                );
            }
        }
    }
}

#[test]
fn rules_agree_with_finite_differences() {
    for (name, parameters, nodes) in CASES {
        let expected = parameters.iter().filter(|(name, _)| !["mean", "var"].contains(name)).count();
        Check::new(&model(parameters, nodes)).check(name, expected);
    }
}

#[test]
fn functions_agree_with_finite_differences() {
    for kind in FUNCTIONS {
        let nodes = format!(r#"%y: f64[3,7] = Unary(@x) {{"kind":{kind}}}"#);
        Check::new(&model(&[("x", "3,7")], &nodes)).check(kind, 1);
    }
    // Where they are defined.
    for kind in ["sqrt", "rsqrt", "log"] {
        let nodes = format!(
            "%a: f64[3,7] = Unary(@x) {{\"kind\":\"exp\"}}\n%y: f64[3,7] = Unary(%a) {{\"kind\":\"{kind}\"}}"
        );
        Check::new(&model(&[("x", "3,7")], &nodes)).check(kind, 1);
    }
}

#[test]
fn transposed_convolutions_agree_with_finite_differences() {
    let nodes = r#"%s: i32[4] = [1,6,6,3]
%y: f64[1,6,6,3] = TransposeConv2D(%s, @w, @x, @b) {"stride":[2,2],"padding":"same"}"#;
    Check::new(&model(&[("x", "1,3,3,2"), ("w", "3,3,3,2"), ("b", "3")], nodes)).check("transposed", 3);
}

#[test]
fn what_cannot_be_trained_is_listed_by_layer() {
    let source = r#"graph main(%x: f32[1,4]) -> (%y) {
%a: f32[1,4] = Binary(%x, @w) # first
%r: f32[4,1] = Reshape(%a) {"shape":[4,1]} # second
%i: i32[2] = [0,1]
%g: f32[2,1] = Gather(%r, %i) # third
%y: f32[2,1] = Binary(%g, %g) {"kind":"floor_mod"} # fourth
}"#;
    let model = text::parse(&format!("parameter @w: f32[4] trainable = random(1)\n{source}")).unwrap();
    let options = StepOptions {
        batch: 1,
        phase: Phase::Train,
        batch_statistics: true,
        seed: 1,
        outputs: vec![Use::Loss(None); model.main().outputs.len()],
    };
    let Err(crate::TrainError::Unsupported(items)) = Program::new(&model, &options) else {
        panic!("it is trained");
    };
    let layers: Vec<&str> = items.iter().map(|item| item.layer.as_str()).collect();
    assert_eq!(layers, ["fourth"]);
}

#[test]
fn every_operator_has_a_rule_or_a_reason() {
    for op in Op::defaults() {
        let node = litesmith_graph::Node {
            name: "layer".into(),
            op,
            inputs: vec![None; 3],
            outputs: vec![litesmith_graph::TensorId(0)],
        };
        let tensor = litesmith_graph::Tensor::floats("y", &[1], vec![0.0]);
        let mut graph = litesmith_graph::Graph::new("main");
        graph.add_tensor(tensor);
        let facts = vec![litesmith_graph::Facts::new(litesmith_graph::DType::F32, [1].into())];
        let mut builder = crate::differentiate::Builder { graph, facts };
        let chain =
            super::Chain { builder: &mut builder, node: &node, received: vec![None], wanted: vec![true; 3] };
        // Nothing is given, so it may be refused; it must not panic.
        let _ = super::differentiate_node(chain);
    }
}

/// Convolutions between normalizations, large enough to be done otherwise than node by node; `T` stands for
/// the type, the lines in brackets are for simulated integers.
const BETWEEN: &str = r#"%c: T[2,40,40,48] = Conv2D(@x, @w1, _)
%n: T[2,40,40,48] = BatchNorm(%c, @g1, @b1, @mean, @var)
%r: T[2,40,40,48] = Unary(%n) {"kind":"relu6"}
[%q: T[2,40,40,48], %k: T[2] = FakeQuantTraining(%r)]
%d: T[2,20,20,48] = DepthwiseConv2D(%q, @w2, _) {"padding":"same","stride":[2,2]}
%e: T[2,20,20,48] = BatchNorm(%d, @g2, @b2, @mean, @var)
%f: T[2,20,20,48] = Unary(%e) {"kind":"relu"}
[%h: T[2,20,20,48], %l: T[2] = FakeQuantTraining(%f)]
%i: T[2,20,20,48] = DepthwiseConv2D(%h, @w3, _) {"padding":"same"}
%j: T[2,20,20,48] = BatchNorm(%i, @g3, @b3, @mean, @var)
%o: T[2,20,20,48] = Conv2D(%j, @w4, @b4)
%y: T[2,20,20,48] = BatchNorm(%o, @g4, _, @mean, @var)"#;

/// The prediction and all gradients of [`BETWEEN`], and the operators of its steps.
fn between(dtype: &str, rounded: bool, threads: usize) -> (Vec<Vec<f64>>, Vec<&'static str>) {
    let shapes = [("x", "2,40,40,16"), ("w1", "48,1,1,16"), ("w2", "1,3,3,48"), ("w3", "1,3,3,48")];
    let vectors = ["g1", "b1", "g2", "b2", "g3", "b3", "b4", "g4"].map(|name| (name, "48"));
    let mut source = String::new();
    for (index, (name, shape)) in shapes.into_iter().chain([("w4", "48,1,1,48")]).chain(vectors).enumerate() {
        source += &format!("parameter @{name}: {dtype}[{shape}] trainable = random({})\n", index + 1);
    }
    for name in ["mean", "var"] {
        source += &format!("parameter @{name}: {dtype}[48] = random(99)\n");
    }
    let mut nodes = BETWEEN.replace("T[", &format!("{dtype}["));
    if rounded {
        nodes = nodes.replace("\n[", "\n").replace(")]\n", ")\n");
    } else {
        nodes = nodes.lines().filter(|line| !line.starts_with('[')).collect::<Vec<_>>().join("\n");
        nodes = nodes.replace("(%q,", "(%r,").replace("(%h,", "(%f,");
    }
    let model = text::parse(&format!("{source}graph main() -> (%y) {{\n{nodes}\n}}\n"));
    let model = model.unwrap_or_else(|error| panic!("{error} in\n{nodes}"));
    let options = StepOptions {
        batch: 2,
        phase: Phase::Train,
        batch_statistics: true,
        seed: 1,
        outputs: vec![Use::Loss(None)],
    };
    let program = Program::new(&model, &options).unwrap_or_else(|error| panic!("{error}"));
    let run = Training::new(&program.model, program.roles, &Options::default().with_threads(threads));
    let mut run = run.unwrap_or_else(|error| panic!("{error}"));
    let pool = ThreadPool::new(1);
    // The same numbers in both types: those of single precision.
    let numbers = |name: &str, len: usize| -> Vec<f64> {
        let own: u32 = name.bytes().map(u32::from).sum();
        let hash =
            |i: u32| (i.wrapping_mul(0x9E37_79B9) ^ own.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0xC2B2_AE35);
        (0..len as u32).map(|i| f64::from((hash(i) >> 8) as f32 / 2f32.powi(23) - 1.0)).collect()
    };
    let mut values: Vec<Vec<u8>> = Vec::new();
    for (ParameterId(id), arrangement) in &program.variables {
        let parameter = &model.parameters[*id as usize];
        let len = parameter.data.len() / if dtype == "f32" { 4 } else { 8 };
        let own = numbers(&parameter.origin.variable, len);
        values.push(if dtype == "f32" {
            let own: Vec<f32> = own.iter().map(|x| *x as f32).collect();
            bytemuck::cast_slice(&arrangement.apply(&pool, own)).to_vec()
        } else {
            bytemuck::cast_slice(&arrangement.apply(&pool, own)).to_vec()
        });
    }
    // Bytes aligned for doubles.
    let values: Vec<Vec<u64>> = (values.iter())
        .map(|bytes| {
            let mut words = vec![0u64; bytes.len().div_ceil(8)];
            bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
            words
        })
        .collect();
    let size = |index: usize| model.parameters[program.variables[index].0.0 as usize].data.len();
    let variables: Vec<&[u8]> = (values.iter().enumerate())
        .map(|(index, words)| &bytemuck::cast_slice::<u64, u8>(words)[..size(index)])
        .collect();
    run.forward(&[], &variables).unwrap();
    let y = run.prediction(0);
    let shape = y.shape.to_vec();
    let mut results = vec![y.floats().iter().map(|x| f64::from(*x)).collect::<Vec<f64>>()];
    let seed = seed(results[0].len());
    let seed = if dtype == "f32" {
        Array::from_f32(&shape, &seed.iter().map(|x| *x as f32).collect::<Vec<_>>())
    } else {
        Array::from_f64(&shape, &seed)
    };
    run.backward(&[seed], &variables).unwrap();
    for index in 0..program.results.len() {
        results.push(run.result(index).floats().iter().map(|x| f64::from(*x)).collect());
    }
    (results, run.times().map(|(_, operator, _)| operator).collect())
}

#[test]
fn layers_between_normalizations_follow_double_precision() {
    for rounded in [false, true] {
        let (expected, plain) = between("f64", rounded, 2);
        let (found, operators) = between("f32", rounded, 2);
        let joined = |all: &[&str]| all.iter().filter(|name| **name == "layer gradient").count();
        assert_eq!((joined(&plain), joined(&operators)), (0, 4), "{operators:?}");
        assert_eq!(found.len(), expected.len());
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let length = expected.iter().map(|x| x.powi(2)).sum::<f64>().sqrt();
            // Where integers are simulated, a number between two of them may go either way. Of a bias before a
            // normalization nothing is left but rounding errors.
            let tolerance = if rounded { 2e-2 } else { 1e-4 };
            let bound = tolerance * length + 1e-3;
            assert!(apart <= bound, "result {index} with rounding {rounded}: {apart} of {length}");
        }
        assert!(between("f32", rounded, 1).0 == found, "bits depend on threads");
    }
}
