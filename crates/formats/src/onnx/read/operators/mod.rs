//! The operators: one file per family, and the table that finds them.
//!
//! To add an operator, write its translation in the file of its family and add a line to [`OPERATORS`].

mod attention;
mod blocks;
mod constants;
mod control;
mod convolution;
mod elementwise;
mod gathering;
mod logic;
mod losses;
mod normalization;
mod padding;
mod pooling;
mod products;
mod quantization;
mod recurrent;
mod reductions;
mod resizing;
mod sequences;
mod shapes;
mod slicing;
mod transposed;
mod window;

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, CompareKind, LogicalKind, ReduceKind, UnaryKind};

use super::draft::{Bound, Target};
use super::is_own;
use super::scope::Scope;
use crate::refusal::Built;

/// How an operator is translated.
#[derive(Clone, Copy)]
pub(super) enum Translate {
    /// To one tensor.
    One(fn(&mut Scope<'_, '_>) -> Built<TensorId>),
    /// To any number of values.
    Several(fn(&mut Scope<'_, '_>) -> Built<Vec<Bound>>),
    /// To a function of its input.
    Unary(UnaryKind),
    /// To a function of its two inputs.
    Binary(BinaryKind),
    /// To a function of all its inputs, two at a time.
    Variadic(BinaryKind),
    /// To a comparison of its two inputs.
    Compare(CompareKind),
    /// To a function of its two inputs, which are truth values.
    Logical(LogicalKind),
    /// To what its input is along some axes.
    Reduce(ReduceKind),
    /// To what an image is over all places.
    Global(ReduceKind),
}

use Translate::{Binary, Compare, Global, Logical, One, Reduce, Several, Unary, Variadic};

/// ONNX' own operators, sorted by name.
const OPERATORS: &[(&str, Translate)] = &[
    ("Abs", Unary(UnaryKind::Abs)),
    ("Acos", One(elementwise::composed)),
    ("Acosh", One(elementwise::composed)),
    ("Add", Binary(BinaryKind::Add)),
    ("And", Logical(LogicalKind::And)),
    ("ArgMax", One(reductions::arg_max)),
    ("ArgMin", One(reductions::arg_min)),
    ("Asin", One(elementwise::composed)),
    ("Asinh", One(elementwise::composed)),
    ("Atan", One(elementwise::composed)),
    ("Atanh", One(elementwise::composed)),
    ("Attention", Several(attention::attention)),
    ("AveragePool", One(pooling::average)),
    ("BatchNormalization", One(normalization::batch)),
    ("BlackmanWindow", One(constants::window)),
    ("Cast", One(elementwise::cast)),
    ("CastLike", One(elementwise::cast_like)),
    ("Ceil", Unary(UnaryKind::Ceil)),
    ("Celu", One(elementwise::celu)),
    ("CenterCropPad", One(slicing::center_crop_pad)),
    ("Clip", One(elementwise::clip)),
    ("Compress", One(gathering::compress)),
    ("Concat", One(slicing::concat)),
    ("ConcatFromSequence", One(sequences::joined)),
    ("Constant", Several(constants::constant)),
    ("ConstantOfShape", Several(constants::constant_of_shape)),
    ("Conv", One(convolution::convolution)),
    ("ConvInteger", One(products::convolution_of_integers)),
    ("ConvTranspose", One(transposed::convolution)),
    ("Cos", Unary(UnaryKind::Cos)),
    ("Cosh", One(elementwise::composed)),
    ("CumSum", One(reductions::cumulative_sum)),
    ("DepthToSpace", One(blocks::depth_to_space)),
    ("DequantizeLinear", Several(quantization::dequantize)),
    ("Div", Binary(BinaryKind::Div)),
    ("Dropout", Several(constants::dropout)),
    ("DynamicQuantizeLinear", Several(quantization::dynamic)),
    ("Einsum", One(products::einsum)),
    ("Elu", One(elementwise::elu)),
    ("Equal", Compare(CompareKind::Equal)),
    ("Erf", One(elementwise::composed)),
    ("Exp", Unary(UnaryKind::Exp)),
    ("Expand", One(shapes::expand)),
    ("EyeLike", One(constants::eye_like)),
    ("Flatten", One(shapes::flatten)),
    ("Floor", Unary(UnaryKind::Floor)),
    ("GRU", Several(recurrent::gru)),
    ("Gather", One(gathering::gather)),
    ("GatherElements", One(gathering::gather_elements)),
    ("GatherND", One(gathering::gather_nd)),
    ("Gelu", One(elementwise::gelu)),
    ("Gemm", One(products::gemm)),
    ("GlobalAveragePool", Global(ReduceKind::Mean)),
    ("GlobalLpPool", Global(ReduceKind::Sum)),
    ("GlobalMaxPool", Global(ReduceKind::Max)),
    ("Greater", Compare(CompareKind::Greater)),
    ("GreaterOrEqual", Compare(CompareKind::GreaterEqual)),
    ("GroupNormalization", One(normalization::group)),
    ("HammingWindow", One(constants::window)),
    ("HannWindow", One(constants::window)),
    ("HardSigmoid", One(elementwise::hard_sigmoid)),
    ("HardSwish", Unary(UnaryKind::HardSwish)),
    ("Hardmax", One(gathering::hard_max)),
    ("Identity", Several(constants::identity)),
    ("If", Several(control::conditional)),
    ("InstanceNormalization", One(normalization::instance)),
    ("IsInf", One(logic::is_infinite)),
    ("IsNaN", One(logic::is_nan)),
    ("LRN", One(normalization::local_response)),
    ("LSTM", Several(recurrent::lstm)),
    ("LayerNormalization", Several(normalization::layer)),
    ("LeakyRelu", One(elementwise::leaky_relu)),
    ("Less", Compare(CompareKind::Less)),
    ("LessOrEqual", Compare(CompareKind::LessEqual)),
    ("Log", Unary(UnaryKind::Log)),
    ("LogSoftmax", One(normalization::softmax)),
    ("Loop", Several(control::repeated)),
    ("LpNormalization", One(normalization::norm)),
    ("LpPool", One(pooling::norm)),
    ("MatMul", One(products::matmul)),
    ("MatMulInteger", One(products::of_integers)),
    ("Max", Variadic(BinaryKind::Maximum)),
    ("MaxPool", One(pooling::maximum)),
    ("Mean", One(elementwise::mean)),
    ("MeanVarianceNormalization", One(normalization::mean_variance)),
    ("Min", Variadic(BinaryKind::Minimum)),
    ("Mish", One(elementwise::mish)),
    ("Mod", One(elementwise::modulo)),
    ("Mul", Binary(BinaryKind::Mul)),
    ("Neg", Unary(UnaryKind::Neg)),
    ("NegativeLogLikelihoodLoss", Several(losses::likelihood)),
    ("Not", One(logic::not)),
    ("OneHot", One(gathering::one_hot)),
    ("Or", Logical(LogicalKind::Or)),
    ("PRelu", One(elementwise::prelu)),
    ("Pad", One(padding::pad)),
    ("Pow", One(elementwise::power)),
    ("QLinearConv", One(quantization::convolution)),
    ("QLinearMatMul", One(quantization::matmul)),
    ("QuantizeLinear", One(quantization::quantize)),
    ("RMSNormalization", One(normalization::root_mean_square)),
    ("RNN", Several(recurrent::simple)),
    ("Range", One(constants::range)),
    ("Reciprocal", Unary(UnaryKind::Reciprocal)),
    ("ReduceL1", One(reductions::composed)),
    ("ReduceL2", One(reductions::composed)),
    ("ReduceLogSum", One(reductions::composed)),
    ("ReduceLogSumExp", One(reductions::composed)),
    ("ReduceMax", Reduce(ReduceKind::Max)),
    ("ReduceMean", Reduce(ReduceKind::Mean)),
    ("ReduceMin", Reduce(ReduceKind::Min)),
    ("ReduceProd", Reduce(ReduceKind::Prod)),
    ("ReduceSum", Reduce(ReduceKind::Sum)),
    ("ReduceSumSquare", One(reductions::composed)),
    ("Relu", Unary(UnaryKind::Relu)),
    ("Reshape", One(shapes::reshape)),
    ("Resize", One(resizing::resize)),
    ("ReverseSequence", One(gathering::reverse_sequence)),
    ("RotaryEmbedding", One(attention::rotary)),
    ("Round", Unary(UnaryKind::Round)),
    ("Scan", Several(control::scanned)),
    ("Scatter", One(gathering::scatter_elements)),
    ("ScatterElements", One(gathering::scatter_elements)),
    ("ScatterND", One(gathering::scatter_nd)),
    ("Selu", One(elementwise::selu)),
    ("SequenceAt", One(sequences::element)),
    ("SequenceConstruct", Several(sequences::listed)),
    ("Shape", One(shapes::shape)),
    ("Shrink", One(elementwise::shrink)),
    ("Sigmoid", Unary(UnaryKind::Logistic)),
    ("Sign", Unary(UnaryKind::Sign)),
    ("Sin", Unary(UnaryKind::Sin)),
    ("Sinh", One(elementwise::composed)),
    ("Size", One(shapes::size)),
    ("Slice", One(slicing::slice)),
    ("Softmax", One(normalization::softmax)),
    ("SoftmaxCrossEntropyLoss", Several(losses::cross_entropy)),
    ("Softplus", Unary(UnaryKind::Softplus)),
    ("Softsign", Unary(UnaryKind::Softsign)),
    ("SpaceToDepth", One(blocks::space_to_depth)),
    ("Split", Several(slicing::split)),
    ("SplitToSequence", Several(sequences::cut)),
    ("Sqrt", Unary(UnaryKind::Sqrt)),
    ("Squeeze", One(shapes::squeeze)),
    ("Sub", Binary(BinaryKind::Sub)),
    ("Sum", Variadic(BinaryKind::Add)),
    ("Swish", One(elementwise::swish)),
    ("Tan", One(elementwise::composed)),
    ("Tanh", Unary(UnaryKind::Tanh)),
    ("ThresholdedRelu", One(elementwise::thresholded_relu)),
    ("Tile", One(shapes::tile)),
    ("TopK", Several(reductions::top_k)),
    ("Transpose", One(shapes::transpose)),
    ("Trilu", One(gathering::triangle)),
    ("Unsqueeze", One(shapes::unsqueeze)),
    ("Upsample", One(resizing::resize)),
    ("Where", One(elementwise::choose)),
    ("Xor", One(logic::differ)),
];

/// Operators of ONNX Runtime, which its own tools write, sorted by name.
const MICROSOFT: &[(&str, Translate)] = &[
    ("QGemm", One(quantization::gemm)),
    ("QLinearAdd", One(quantization::binary)),
    ("QLinearConcat", One(quantization::concat)),
    ("QLinearGlobalAveragePool", One(quantization::unary)),
    ("QLinearLeakyRelu", One(quantization::unary)),
    ("QLinearMul", One(quantization::binary)),
    ("QLinearSigmoid", One(quantization::unary)),
    ("QLinearSoftmax", One(quantization::softmax)),
];

/// How the operator of this domain and name is translated.
pub(super) fn find(domain: Option<&str>, op: &str) -> Option<Translate> {
    let table = match domain {
        domain if is_own(domain) => OPERATORS,
        Some("com.microsoft") => MICROSOFT,
        _ => return None,
    };
    let place = table.binary_search_by_key(&op, |(name, _)| name).ok()?;
    Some(table[place].1)
}

impl Translate {
    pub(super) fn apply(self, scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
        let one = match self {
            One(translate) => translate(scope)?,
            Several(translate) => return translate(scope),
            Unary(kind) => elementwise::unary(scope, kind)?,
            Binary(kind) => elementwise::binary(scope, kind)?,
            Variadic(kind) => elementwise::variadic(scope, kind)?,
            Compare(kind) => logic::compare(scope, kind)?,
            Logical(kind) => logic::combine(scope, kind)?,
            Reduce(kind) => reductions::reduce(scope, kind)?,
            Global(kind) => pooling::global(scope, kind)?,
        };
        Ok(vec![Bound::Tensor(one)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        for table in [OPERATORS, MICROSOFT] {
            assert!(table.is_sorted_by_key(|(name, _)| *name));
        }
        assert!(find(None, "Conv").is_some() && find(Some("ai.onnx"), "Conv").is_some());
        assert!(find(None, "NoSuchOperator").is_none() && find(Some("my.domain"), "Conv").is_none());
    }
}
