//! The operations: one file per family, and the table that finds them.
//!
//! To add an operation, write its translation in the file of its family and add a line to
//! [`OPERATIONS`].

mod blocks;
mod constants;
mod control;
mod convolution;
mod elementwise;
mod filling;
mod gathering;
mod joining;
mod logic;
mod loops;
mod normalization;
mod padding;
mod pooling;
mod products;
mod quantization;
mod reductions;
mod reshaping;
mod resizing;
mod slicing;

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, CompareKind, LogicalKind, PoolKind, ReduceKind, ResizeKind, UnaryKind,
};

use super::Target;
use super::draft::{Bound, Draft};
use super::gelu::GELU;
use super::lists;
use super::scope::Scope;
use crate::error::{FormatError, Unsupported};
use crate::refusal::{Built, Refusal};
use crate::savedmodel::flow::Flow;

/// How an operation is translated.
#[derive(Clone, Copy)]
pub(super) enum Translate {
    /// To one tensor.
    One(fn(&mut Scope<'_>) -> Built<TensorId>),
    /// To any number of tensors and lists.
    Several(fn(&mut Scope<'_>) -> Built<Vec<Bound>>),
    /// To a function of its input.
    Unary(UnaryKind),
    /// To a function of its two inputs.
    Binary(BinaryKind),
    /// To a comparison of its two inputs.
    Compare(CompareKind),
    /// To a function of its two inputs, which are truth values.
    Logical(LogicalKind),
    /// To what its input is along some axes.
    Reduce(ReduceKind),
    /// To pooling of images.
    Pool(PoolKind),
    /// To pooling of volumes.
    PoolVolume(PoolKind),
    /// To another size of an image.
    Resize(ResizeKind),
}

use Translate::{Binary, Compare, Logical, One, Pool, PoolVolume, Reduce, Resize, Several, Unary};

/// All operations, sorted by name.
const OPERATIONS: &[(&str, Translate)] = &[
    ("Abs", Unary(UnaryKind::Abs)),
    ("Acosh", One(elementwise::composed)),
    ("Add", Binary(BinaryKind::Add)),
    ("AddN", One(elementwise::sum)),
    ("AddV2", Binary(BinaryKind::Add)),
    ("All", One(logic::all)),
    ("Any", One(logic::any)),
    ("ArgMax", One(reductions::arg_max)),
    ("ArgMin", One(reductions::arg_min)),
    ("Asinh", One(elementwise::composed)),
    ("Atanh", One(elementwise::composed)),
    ("AvgPool", Pool(PoolKind::Average)),
    ("AvgPool3D", PoolVolume(PoolKind::Average)),
    ("BatchMatMul", One(products::batch_matmul)),
    ("BatchMatMulV2", One(products::batch_matmul)),
    ("BatchMatMulV3", One(products::batch_matmul)),
    ("BatchToSpaceND", One(blocks::batch_to_space)),
    ("BiasAdd", One(elementwise::bias)),
    ("BiasAddV1", One(elementwise::bias)),
    ("BroadcastArgs", One(filling::broadcast_args)),
    ("BroadcastTo", One(filling::broadcast_to)),
    ("Cast", One(elementwise::cast)),
    ("Ceil", Unary(UnaryKind::Ceil)),
    ("CheckNumerics", One(constants::same)),
    ("ClipByValue", One(elementwise::clip)),
    ("Concat", One(joining::concat_first)),
    ("ConcatV2", One(joining::concat)),
    ("Const", One(constants::constant)),
    ("Conv2D", One(convolution::conv_2d)),
    ("Conv2DBackpropInput", One(convolution::transposed_2d)),
    ("Conv3D", One(convolution::conv_3d)),
    ("Conv3DBackpropInputV2", One(convolution::transposed_3d)),
    ("Cos", Unary(UnaryKind::Cos)),
    ("Cosh", One(elementwise::composed)),
    ("Cumsum", One(reductions::cumsum)),
    ("DepthToSpace", One(blocks::depth_to_space)),
    ("DepthwiseConv2dNative", One(convolution::depthwise)),
    ("Div", Binary(BinaryKind::Div)),
    ("DivNoNan", One(elementwise::quotient_or_zero)),
    ("Einsum", One(products::einsum)),
    ("Elu", Unary(UnaryKind::Elu(1.0))),
    ("EnsureShape", One(constants::same)),
    ("Equal", Compare(CompareKind::Equal)),
    ("Erf", One(elementwise::composed)),
    ("Erfc", One(elementwise::composed)),
    ("Exp", Unary(UnaryKind::Exp)),
    ("ExpandDims", One(reshaping::expand_dims)),
    ("Expm1", One(elementwise::composed)),
    ("FakeQuantWithMinMaxArgs", One(quantization::by_attributes)),
    ("FakeQuantWithMinMaxVars", One(quantization::by_variables)),
    ("FakeQuantWithMinMaxVarsPerChannel", One(quantization::by_variables)),
    ("Fill", One(filling::fill)),
    ("Floor", Unary(UnaryKind::Floor)),
    ("FloorDiv", Binary(BinaryKind::FloorDiv)),
    ("FloorMod", Binary(BinaryKind::FloorMod)),
    ("FusedBatchNorm", Several(normalization::fused_batch)),
    ("FusedBatchNormV2", Several(normalization::fused_batch)),
    ("FusedBatchNormV3", Several(normalization::fused_batch)),
    ("Gather", One(gathering::gather_first)),
    ("GatherNd", One(gathering::gather_nd)),
    ("GatherV2", One(gathering::gather)),
    ("Greater", Compare(CompareKind::Greater)),
    ("GreaterEqual", Compare(CompareKind::GreaterEqual)),
    ("Identity", Several(constants::all_same)),
    ("IdentityN", Several(constants::all_same)),
    ("If", Several(control::conditional)),
    ("Inv", Unary(UnaryKind::Reciprocal)),
    ("IsFinite", One(logic::class_of_number)),
    ("IsInf", One(logic::class_of_number)),
    ("IsNan", One(logic::class_of_number)),
    ("L2Loss", One(reductions::half_square)),
    ("LeakyRelu", One(elementwise::leaky_relu)),
    ("Less", Compare(CompareKind::Less)),
    ("LessEqual", Compare(CompareKind::LessEqual)),
    ("Log", Unary(UnaryKind::Log)),
    ("Log1p", One(elementwise::composed)),
    ("LogSoftmax", One(normalization::softmax)),
    ("LogicalAnd", Logical(LogicalKind::And)),
    ("LogicalNot", One(logic::not)),
    ("LogicalOr", Logical(LogicalKind::Or)),
    ("MatMul", One(products::matmul)),
    ("Max", Reduce(ReduceKind::Max)),
    ("MaxPool", Pool(PoolKind::Max)),
    ("MaxPool3D", PoolVolume(PoolKind::Max)),
    ("MaxPoolV2", Pool(PoolKind::Max)),
    ("Maximum", Binary(BinaryKind::Maximum)),
    ("Mean", Reduce(ReduceKind::Mean)),
    ("Min", Reduce(ReduceKind::Min)),
    ("Minimum", Binary(BinaryKind::Minimum)),
    ("MirrorPad", One(padding::mirrored)),
    ("Mul", Binary(BinaryKind::Mul)),
    ("Neg", Unary(UnaryKind::Neg)),
    ("NotEqual", Compare(CompareKind::NotEqual)),
    ("OneHot", One(gathering::one_hot)),
    ("OnesLike", One(filling::ones_like)),
    ("Pack", One(joining::pack)),
    ("Pad", One(padding::with_zeros)),
    ("PadV2", One(padding::with_value)),
    ("PlaceholderWithDefault", One(constants::same)),
    ("Pow", Binary(BinaryKind::Pow)),
    ("PreventGradient", One(constants::same)),
    ("Prod", Reduce(ReduceKind::Prod)),
    ("Range", One(filling::range)),
    ("Rank", One(reshaping::rank)),
    ("RealDiv", Binary(BinaryKind::Div)),
    ("Reciprocal", Unary(UnaryKind::Reciprocal)),
    ("Relu", Unary(UnaryKind::Relu)),
    ("Relu6", Unary(UnaryKind::Relu6)),
    ("Reshape", One(reshaping::reshape)),
    ("ResizeBilinear", Resize(ResizeKind::Bilinear)),
    ("ResizeNearestNeighbor", Resize(ResizeKind::Nearest)),
    ("ResourceGather", One(gathering::gather_first)),
    ("Reverse", One(joining::reverse_flags)),
    ("ReverseV2", One(joining::reverse)),
    ("Rint", Unary(UnaryKind::Round)),
    ("Roll", One(joining::roll)),
    ("Round", Unary(UnaryKind::Round)),
    ("Rsqrt", Unary(UnaryKind::Rsqrt)),
    ("ScatterNd", One(gathering::scatter_nd)),
    ("Select", One(logic::select_rows)),
    ("SelectV2", One(logic::select)),
    ("Selu", Unary(UnaryKind::Selu)),
    ("Shape", One(reshaping::shape)),
    ("ShapeN", Several(reshaping::shapes)),
    ("Sigmoid", Unary(UnaryKind::Logistic)),
    ("Sign", Unary(UnaryKind::Sign)),
    ("Sin", Unary(UnaryKind::Sin)),
    ("Sinh", One(elementwise::composed)),
    ("Size", One(reshaping::size)),
    ("Slice", One(slicing::slice)),
    ("Snapshot", One(constants::same)),
    ("Softmax", One(normalization::softmax)),
    ("Softplus", Unary(UnaryKind::Softplus)),
    ("Softsign", Unary(UnaryKind::Softsign)),
    ("SpaceToBatchND", One(blocks::space_to_batch)),
    ("SpaceToDepth", One(blocks::space_to_depth)),
    ("Split", Several(joining::split)),
    ("SplitV", Several(joining::split_sizes)),
    ("Sqrt", Unary(UnaryKind::Sqrt)),
    ("Square", Unary(UnaryKind::Square)),
    ("SquaredDifference", Binary(BinaryKind::SquaredDifference)),
    ("Squeeze", One(reshaping::squeeze)),
    ("StatelessIf", Several(control::conditional)),
    ("StatelessWhile", Several(loops::repeated)),
    ("StopGradient", One(constants::same)),
    ("StridedSlice", One(slicing::strided)),
    ("Sub", Binary(BinaryKind::Sub)),
    ("Sum", Reduce(ReduceKind::Sum)),
    ("Tan", One(elementwise::composed)),
    ("Tanh", Unary(UnaryKind::Tanh)),
    ("TensorListFromTensor", Several(lists::from_tensor)),
    ("TensorListGetItem", One(lists::get_item)),
    ("TensorListLength", One(lists::length)),
    ("TensorListReserve", Several(lists::reserve)),
    ("TensorListSetItem", Several(lists::set_item)),
    ("TensorListStack", One(lists::stack)),
    ("Tile", One(filling::tile)),
    ("TopK", Several(reductions::top_k)),
    ("TopKV2", Several(reductions::top_k)),
    ("Transpose", One(reshaping::transpose)),
    ("Unpack", Several(joining::unpack)),
    ("While", Several(loops::repeated)),
    ("ZerosLike", One(filling::zeros_like)),
    (GELU, Unary(UnaryKind::Gelu { approximate: false })),
];

/// How the operation of this name is translated.
pub(super) fn find(op: &str) -> Option<Translate> {
    let place = OPERATIONS.binary_search_by_key(&op, |(name, _)| name).ok()?;
    Some(OPERATIONS[place].1)
}

impl Translate {
    fn apply(self, scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
        let one = match self {
            Translate::One(translate) => translate(scope)?,
            Translate::Several(translate) => return translate(scope),
            Translate::Unary(kind) => elementwise::unary(scope, kind)?,
            Translate::Binary(kind) => elementwise::binary(scope, kind)?,
            Translate::Compare(kind) => logic::compare(scope, kind)?,
            Translate::Logical(kind) => logic::combine(scope, kind)?,
            Translate::Reduce(kind) => reductions::reduce(scope, kind)?,
            Translate::Pool(kind) => pooling::images(scope, kind)?,
            Translate::PoolVolume(kind) => pooling::volumes(scope, kind)?,
            Translate::Resize(kind) => resizing::resize(scope, kind)?,
        };
        Ok(vec![Bound::Tensor(one)])
    }
}

/// Translates a flow that is called with `inputs`, and gives its outputs. What is not supported is noted.
pub(super) fn run(
    target: &mut Target,
    draft: &mut Draft,
    flow: &Flow,
    inputs: &[Bound],
) -> Result<Vec<Bound>, FormatError> {
    let live = flow.live();
    let mut nodes: Vec<Vec<Bound>> = Vec::with_capacity(flow.nodes.len());
    for (node, live) in flow.nodes.iter().zip(live) {
        if !live {
            nodes.push(Vec::new());
            continue;
        }
        let mut bound = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            bound.push(Scope::resolve(target, draft, *value, inputs, &nodes, &node.name)?);
        }
        if bound.iter().any(|input| matches!(input, Bound::Refused)) {
            nodes.push(vec![Bound::Refused]);
            continue;
        }
        let layer = target.names.layer(&node.name);
        let translate = find(&node.op);
        let mut scope = Scope { target, draft, node, layer, inputs: bound };
        let result = match translate {
            Some(translate) => translate.apply(&mut scope),
            None => Err(Refusal::Unsupported("the operation is not supported".to_owned())),
        };
        let layer = scope.layer;
        nodes.push(match result {
            Ok(outputs) => outputs,
            Err(Refusal::Unsupported(reason)) => {
                target.refuse(Unsupported { layer, operator: node.op.clone(), reason });
                vec![Bound::Refused]
            }
            Err(Refusal::Listed) => vec![Bound::Refused],
            Err(Refusal::Error(error)) => return Err(error),
        });
    }
    let mut outputs = Vec::with_capacity(flow.outputs.len());
    for output in &flow.outputs {
        outputs.push(Scope::resolve(target, draft, output.value, inputs, &nodes, &output.name)?);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(OPERATIONS.is_sorted_by_key(|(name, _)| *name));
        assert!(find("Conv2D").is_some() && find("NoSuchOperation").is_none());
    }
}
