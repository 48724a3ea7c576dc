//! Full-integer quantization: decide which operators become integer, give every tensor its scale and
//! zero point, rewrite the graph.

pub(crate) mod assign;
pub(crate) mod decide;
mod repairs;
mod rewrite;

use litesmith_graph::{Model, Width};

use crate::error::QuantizeError;
use crate::mode::{Mode, Options};
use crate::ranges::{keys, of_graph};
use crate::recipe::Recipe;
use crate::repair::Moments;
use crate::report::Report;
use crate::statistics::{Range, Statistics, Trained};
use decide::Decision;
use repairs::Repairs;

pub(crate) fn apply(
    model: &mut Model,
    options: &Options,
    recipe: &Recipe,
    statistics: &Statistics,
    moments: Option<&Moments>,
) -> Result<Report, QuantizeError> {
    let graph = model.main();
    let width = options.mode.width().unwrap_or(Width::Eight);
    let ranges = of_graph(graph, statistics, options, recipe)?;
    let mut decisions = decide::decide(graph, recipe, width, &ranges);
    repairs::keep_last_softmax(graph, &mut decisions, options);
    let mut report = decide::report(graph, &decisions, width);
    if options.mode == Mode::Int8Only && report.float().next().is_some() {
        return Err(QuantizeError::FloatLeft(report.float().cloned().collect()));
    }
    let trained = statistics.trained.as_ref();
    let parts = Parts { model, decisions: &decisions, ranges: &ranges, options, recipe, trained };
    let mut repairs = Repairs::new(graph, &decisions, options, statistics, moments);
    let made = parts.make(&mut repairs)?;
    let best = repairs::nearest(&parts, &repairs, made)?;
    let is_repaired = best.is_repaired;
    report.repaired = if is_repaired { repairs.repaired } else { 0 };
    (report.unrepaired, report.left) = (repairs.unrepaired, if is_repaired { 0 } else { repairs.repaired });
    *model = best.quantized;
    Ok(report)
}

/// All that an integer model is made of.
struct Parts<'a> {
    model: &'a Model,
    decisions: &'a [Decision],
    ranges: &'a [Option<Range>],
    options: &'a Options,
    recipe: &'a Recipe,
    trained: Option<&'a Trained>,
}

/// An integer model.
struct Made {
    /// The real model whose layers it imitates one by one.
    float: Model,
    quantized: Model,
    is_repaired: bool,
}

impl Parts<'_> {
    fn make(&self, repairs: &mut Repairs<'_>) -> Result<Made, QuantizeError> {
        let width = self.options.mode.width().unwrap_or(Width::Eight);
        let (mut float, mut ranges) = (self.model.clone(), self.ranges.to_vec());
        repairs.change_ranges(float.main_mut(), &mut ranges, self.options, self.recipe);
        let graph = float.main();
        let apart =
            self.trained.map(|trained| keys(graph).iter().map(|key| trained.apart.contains(key)).collect());
        let apart: Vec<bool> = apart.unwrap_or_default();
        let parameters = assign::assign(graph, self.decisions, &ranges, self.options.ranges, width, &apart);
        let new = rewrite::rewrite(graph, self.decisions, &parameters, self.options, self.trained, repairs)?;
        let mut quantized = self.model.clone();
        *quantized.main_mut() = new;
        Ok(Made { float, quantized, is_repaired: repairs.repaired > 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{InterfaceType, Ranges};
    use litesmith_graph::{DType, Graph, TensorId, infer_model, text, validate};

    fn quantized(source: &str, ranges: &[(&str, f32, f32)], mode: Mode) -> Result<Model, QuantizeError> {
        let mut model = text::parse(source).unwrap();
        infer_model(&mut model).unwrap();
        let mut statistics = Statistics::new();
        for (name, min, max) in ranges {
            statistics.record(name, Range { min: *min, max: *max });
        }
        apply(&mut model, &Options::new(mode), &Recipe::default(), &statistics, None)?;
        infer_model(&mut model).unwrap();
        validate(&model).unwrap();
        Ok(model)
    }

    fn operators(model: &Model) -> Vec<&str> {
        model.main().nodes.iter().map(|node| node.op.builtin_name()).collect()
    }

    fn parameters(graph: &Graph, id: TensorId) -> (f32, i32) {
        graph[id].quantization.as_ref().unwrap().single().unwrap()
    }

    #[test]
    fn a_product_becomes_integer_between_quantize_and_dequantize() {
        let source = "graph main(%x: f32[batch,2]) -> (%y) {
             %w: f32[1,2] = [1.27,-0.635]
             %b: f32[1] = [0.5]
             %y: f32[batch,1] = FullyConnected(%x, %w, %b) # dense
           }";
        let model = quantized(source, &[("x", -1.0, 1.0), ("y", 0.0, 2.55)], Mode::Int8).unwrap();
        assert_eq!(operators(&model), ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]);
        let graph = model.main();
        let dense = &graph.nodes[1];
        assert_eq!(parameters(graph, dense.inputs[0].unwrap()), (2.0 / 255.0, -1));
        assert_eq!(graph[dense.inputs[2].unwrap()].dtype, DType::I32);
        assert_eq!(parameters(graph, dense.outputs[0]).1, -128);
        assert_eq!(graph[graph.outputs[0]].name, "y");

        let model = quantized(source, &[("x", -1.0, 1.0), ("y", 0.0, 2.55)], Mode::Int8Only).unwrap();
        assert_eq!(operators(&model), ["FULLY_CONNECTED"]);
        assert_eq!(model.main()[model.main().inputs[0]].dtype, DType::I8);
    }

    #[test]
    fn unsigned_interfaces_are_converted_at_the_ends() {
        let mut model = text::parse("graph main(%x: f32[4]) -> (%y) {\n%y: f32[4] = Unary(%x)\n}").unwrap();
        let mut statistics = Statistics::new();
        statistics.record("x", Range { min: -1.0, max: 1.0 });
        statistics.record("y", Range { min: 0.0, max: 1.0 });
        let mut options = Options::new(Mode::Int8Only);
        (options.inputs, options.outputs) = (InterfaceType::Uint8, InterfaceType::Uint8);
        apply(&mut model, &options, &Recipe::default(), &statistics, None).unwrap();
        validate(&model).unwrap();
        assert_eq!(operators(&model), ["QUANTIZE", "RELU", "QUANTIZE"]);
        let graph = model.main();
        assert_eq!((graph[graph.inputs[0]].dtype, parameters(graph, graph.inputs[0]).1), (DType::U8, 127));
        assert_eq!((graph[graph.outputs[0]].dtype, parameters(graph, graph.outputs[0]).1), (DType::U8, 0));
    }

    #[test]
    fn a_concatenation_gives_its_scale_to_its_producers_but_not_to_a_gate() {
        let source = r#"graph main(%x: f32[1,2]) -> (%z) {
             %a: f32[1,2] = Unary(%x)
             %b: f32[1,2] = Unary(%x) {"kind":"logistic"}
             %c: f32[1,2] = Reshape(%a) {"shape":[1,2]}
             %z: f32[1,4] = Concat(%c, %b) {"axis":1}
           }"#;
        let ranges = [("x", -4.0, 2.0), ("a", 0.0, 2.0), ("b", 0.0, 0.9), ("c", 0.0, 2.0), ("z", 0.0, 2.55)];
        let model = quantized(source, &ranges, Mode::Int8Only).unwrap();
        assert_eq!(operators(&model), ["RELU", "LOGISTIC", "RESHAPE", "QUANTIZE", "CONCATENATION"]);
        let graph = model.main();
        for node in [0, 2, 3, 4] {
            assert_eq!(parameters(graph, graph.nodes[node].outputs[0]), (0.01, -128), "node {node}");
        }
        assert_eq!(parameters(graph, graph.nodes[1].outputs[0]), (1.0 / 256.0, -128));
    }

    #[test]
    fn a_clip_does_not_narrow_what_others_read_too() {
        let source = r#"graph main(%x: f32[1,2]) -> (%y, %z) {
             %two: f32[] = [2]
             %a: f32[1,2] = Unary(%x)
             %y: f32[1,2] = Binary(%a, %two) {"kind":"minimum"}
             %z: f32[1,2] = Unary(%a) {"kind":"tanh"}
           }"#;
        let ranges = [("x", -4.0, 4.0), ("a", 0.0, 4.0), ("y", 0.0, 2.0), ("z", 0.0, 1.0)];
        let model = quantized(source, &ranges, Mode::Int8Only).unwrap();
        assert_eq!(operators(&model), ["RELU", "QUANTIZE", "MINIMUM", "TANH"]);
    }

    #[test]
    fn float_operators_are_bridged_or_refused() {
        let source = r#"graph main(%x: f32[1,2]) -> (%z) {
             %a: f32[1,2] = Unary(%x)
             %b: f32[1,2] = Unary(%a) {"kind":"sin"} # wave
             %z: f32[1,2] = Unary(%b)
           }"#;
        let ranges = [("x", -1.0, 1.0), ("a", 0.0, 1.0), ("b", -1.0, 1.0), ("z", 0.0, 1.0)];
        let model = quantized(source, &ranges, Mode::Int8).unwrap();
        assert_eq!(
            operators(&model),
            ["QUANTIZE", "RELU", "DEQUANTIZE", "SIN", "QUANTIZE", "RELU", "DEQUANTIZE"]
        );
        let Err(QuantizeError::FloatLeft(left)) = quantized(source, &ranges, Mode::Int8Only) else {
            panic!()
        };
        assert_eq!((left[0].layer.as_str(), left[0].operator.as_str()), ("wave", "SIN"));
    }

    #[test]
    fn sixteen_bits_have_long_biases_and_requantize_before_a_concatenation() {
        let source = r#"graph main(%x: f32[batch,2]) -> (%z) {
             %w: f32[1,2] = [1.27,-0.635]
             %b: f32[1] = [0.5]
             %y: f32[batch,1] = FullyConnected(%x, %w, %b) # dense
             %g: f32[batch,1] = Unary(%y) {"kind":"logistic"}
             %s: f32[batch,1] = Unary(%g) {"kind":"sin"} # wave
             %z: f32[batch,3] = Concat(%y, %g, %s) {"axis":1}
           }"#;
        let ranges =
            [("x", -1.0, 1.0), ("y", -0.5, 3.2767), ("g", 0.3, 0.9), ("s", 0.0, 1.0), ("z", -0.5, 3.2767)];
        let model = quantized(source, &ranges, Mode::Int16x8).unwrap();
        let expected = ["QUANTIZE", "FULLY_CONNECTED", "LOGISTIC", "DEQUANTIZE", "SIN"];
        let rest = ["QUANTIZE", "QUANTIZE", "QUANTIZE", "CONCATENATION", "DEQUANTIZE"];
        assert_eq!(operators(&model), [&expected[..], &rest[..]].concat());
        let graph = model.main();
        let dense = &graph.nodes[1];
        assert_eq!(parameters(graph, dense.inputs[0].unwrap()), (1.0 / 32767.0, 0));
        let types = [0, 1, 2].map(|place| graph[dense.inputs[place].unwrap()].dtype);
        assert_eq!(types, [DType::I16, DType::I8, DType::I64]);
        assert_eq!(parameters(graph, dense.outputs[0]), (1e-4, 0));
        assert_eq!(parameters(graph, graph.nodes[2].outputs[0]), (1.0 / 32768.0, 0));
    }

    #[test]
    fn sixteen_bits_leave_logarithms_of_vanishing_numbers_to_floats() {
        let source = r#"graph main(%x: f32[1,2]) -> (%y) {
             %y: f32[1,2] = Unary(%x) {"kind":"log"}
           }"#;
        let made = |least| quantized(source, &[("x", least, 1.0), ("y", -9.0, 0.0)], Mode::Int16x8).unwrap();
        assert_eq!(operators(&made(0.1)), ["QUANTIZE", "LOG", "DEQUANTIZE"]);
        assert_eq!(operators(&made(0.001)), ["LOG"]);
        let power = r#"graph main(%x: f32[1,2]) -> (%y) {
             %w: f32[2,2] = [1,0,0,1]
             %a: f32[1,2] = FullyConnected(%x, %w, _)
             %p: f32[1,2] = Binary(%a, %a) {"kind":"mul"}
             %y: f32[1,2] = Unary(%p) {"kind":"log"}
           }"#;
        let made = |least| {
            let ranges = [("x", 0.0, 1.0), ("a", 0.0, 1.0), ("p", least, 1.0), ("y", -9.0, 0.0)];
            quantized(power, &ranges, Mode::Int16x8).unwrap()
        };
        let layer = ["QUANTIZE", "FULLY_CONNECTED"];
        assert_eq!(operators(&made(0.002)), [&layer[..], &["MUL", "DEQUANTIZE", "LOG"]].concat());
        assert_eq!(operators(&made(0.0001)), [&layer[..], &["DEQUANTIZE", "MUL", "LOG"]].concat());
    }

    #[test]
    fn tensorflow_ranges_are_an_option() {
        let options = Options { ranges: Ranges::Tensorflow, ..Options::new(Mode::Int8) };
        let mut model = text::parse(
            "graph main(%x: f32[4]) -> (%z) {
               %a: f32[4] = Unary(%x)
               %z: f32[4] = Binary(%a, %x)
             }",
        )
        .unwrap();
        let mut statistics = Statistics::new();
        for (name, max) in [("x", 1.0), ("a", 1.0), ("z", 2.55)] {
            statistics.record(name, Range { min: 0.0, max });
        }
        apply(&mut model, &options, &Recipe::default(), &statistics, None).unwrap();
        let graph = model.main();
        assert_eq!(parameters(graph, graph.nodes[1].outputs[0]), (0.01, -128));
    }
}
