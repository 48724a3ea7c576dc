//! The layers: one file per family, and the table that finds them.
//!
//! To add a layer, write its builder in the file of its family and add a line to [`LAYERS`]; to add
//! an operator node of `keras.ops`, add a line to [`OPERATIONS`].

pub(super) mod activation;
mod applications;
mod attention;
mod convolution;
mod dense;
mod embedding;
mod merging;
mod normalization;
mod operations;
mod padding;
mod pooling;
mod preprocessing;
mod regularization;
mod reshaping;

use litesmith_graph::TensorId;

use crate::keras::architecture::Layer;
use crate::keras::config::{Built, Config};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// What is known of a class of layers.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Its variables in Keras' order: those that training changes, then the others.
    pub variables: fn(Config<'_>) -> Built<Vec<Variable>>,
    /// Builds one call of a layer of this class, and gives its output.
    pub build: fn(&mut Scope<'_>) -> Built<TensorId>,
}

const fn plain(build: fn(&mut Scope<'_>) -> Built<TensorId>) -> Kind {
    Kind { variables: |_| Ok(Vec::new()), build }
}

const fn weighted(
    variables: fn(Config<'_>) -> Built<Vec<Variable>>,
    build: fn(&mut Scope<'_>) -> Built<TensorId>,
) -> Kind {
    Kind { variables, build }
}

/// Layers by class.
const LAYERS: &[(&str, Kind)] = &[
    ("Activation", plain(activation::activation)),
    ("ActivityRegularization", plain(regularization::nothing)),
    ("Add", plain(merging::add)),
    ("AdditiveAttention", weighted(attention::additive_variables, attention::additive)),
    ("AlphaDropout", plain(regularization::nothing)),
    ("Attention", weighted(attention::dot_variables, attention::dot)),
    ("AugMix", plain(preprocessing::augmentation)),
    ("Average", plain(merging::average)),
    ("AveragePooling1D", plain(pooling::average_1d)),
    ("AveragePooling2D", plain(pooling::average_2d)),
    ("BatchNormalization", weighted(normalization::variables, normalization::batch)),
    ("Concatenate", plain(merging::concatenate)),
    ("Conv1D", weighted(convolution::variables, convolution::conv_1d)),
    ("Conv2D", weighted(convolution::variables, convolution::conv_2d)),
    ("Convolution1D", weighted(convolution::variables, convolution::conv_1d)),
    ("Convolution2D", weighted(convolution::variables, convolution::conv_2d)),
    ("Cropping1D", plain(padding::cropping_1d)),
    ("Cropping2D", plain(padding::cropping_2d)),
    ("CutMix", plain(preprocessing::augmentation)),
    ("Dense", weighted(dense::variables, dense::dense)),
    ("DepthwiseConv1D", weighted(convolution::depthwise_variables, convolution::depthwise_1d)),
    ("DepthwiseConv2D", weighted(convolution::depthwise_variables, convolution::depthwise_2d)),
    ("Dot", plain(merging::dot)),
    ("Dropout", plain(regularization::dropout)),
    ("ELU", plain(activation::layer)),
    ("EinsumDense", weighted(dense::einsum_variables, dense::einsum)),
    ("Embedding", weighted(embedding::variables, embedding::embedding)),
    ("Flatten", plain(reshaping::flatten)),
    ("GaussianDropout", plain(regularization::nothing)),
    ("GaussianNoise", plain(regularization::nothing)),
    ("GlobalAveragePooling1D", plain(pooling::global_average)),
    ("GlobalAveragePooling2D", plain(pooling::global_average)),
    ("GlobalMaxPooling1D", plain(pooling::global_max)),
    ("GlobalMaxPooling2D", plain(pooling::global_max)),
    ("GroupNormalization", weighted(normalization::affine_variables, normalization::group)),
    ("Identity", plain(regularization::nothing)),
    ("LayerNormalization", weighted(normalization::affine_variables, normalization::layer)),
    ("LeakyReLU", plain(activation::layer)),
    ("MaxPooling1D", plain(pooling::max_1d)),
    ("MaxPooling2D", plain(pooling::max_2d)),
    ("Maximum", plain(merging::maximum)),
    ("Minimum", plain(merging::minimum)),
    ("MixUp", plain(preprocessing::augmentation)),
    ("MultiHeadAttention", weighted(attention::multi_head_variables, attention::multi_head)),
    ("Multiply", plain(merging::multiply)),
    ("Normalization", weighted(preprocessing::normalization_variables, preprocessing::normalization)),
    ("PReLU", weighted(activation::prelu_variables, activation::prelu)),
    ("Permute", plain(reshaping::permute)),
    ("RMSNormalization", weighted(normalization::rms_variables, normalization::rms)),
    ("RandAugment", plain(preprocessing::augmentation)),
    ("RandomBrightness", plain(preprocessing::augmentation)),
    ("RandomColorDegeneration", plain(preprocessing::augmentation)),
    ("RandomColorJitter", plain(preprocessing::augmentation)),
    ("RandomContrast", plain(preprocessing::augmentation)),
    ("RandomElasticTransform", plain(preprocessing::augmentation)),
    ("RandomErasing", plain(preprocessing::augmentation)),
    ("RandomFlip", plain(preprocessing::augmentation)),
    ("RandomGaussianBlur", plain(preprocessing::augmentation)),
    ("RandomGrayscale", plain(preprocessing::augmentation)),
    ("RandomHeight", plain(preprocessing::augmentation)),
    ("RandomHue", plain(preprocessing::augmentation)),
    ("RandomInvert", plain(preprocessing::augmentation)),
    ("RandomPerspective", plain(preprocessing::augmentation)),
    ("RandomPosterization", plain(preprocessing::augmentation)),
    ("RandomRotation", plain(preprocessing::augmentation)),
    ("RandomSaturation", plain(preprocessing::augmentation)),
    ("RandomSharpness", plain(preprocessing::augmentation)),
    ("RandomShear", plain(preprocessing::augmentation)),
    ("RandomTranslation", plain(preprocessing::augmentation)),
    ("RandomWidth", plain(preprocessing::augmentation)),
    ("RandomZoom", plain(preprocessing::augmentation)),
    ("ReLU", plain(activation::layer)),
    ("RepeatVector", plain(reshaping::repeat_vector)),
    ("Rescaling", plain(preprocessing::rescaling)),
    ("Reshape", plain(reshaping::reshape)),
    ("Resizing", plain(reshaping::resizing)),
    ("SeparableConv1D", weighted(convolution::separable_variables, convolution::separable_1d)),
    ("SeparableConv2D", weighted(convolution::separable_variables, convolution::separable_2d)),
    ("SlicingOpLambda", plain(operations::tensorflow)),
    ("Softmax", plain(activation::layer)),
    ("SpatialDropout1D", plain(regularization::spatial_dropout)),
    ("SpatialDropout2D", plain(regularization::spatial_dropout)),
    ("Subtract", plain(merging::subtract)),
    ("SyncBatchNormalization", weighted(normalization::variables, normalization::batch)),
    ("TFOpLambda", plain(operations::tensorflow)),
    ("ThresholdedReLU", plain(activation::thresholded)),
    ("UnitNormalization", plain(normalization::unit)),
    ("UpSampling1D", plain(reshaping::up_sampling_1d)),
    ("UpSampling2D", plain(reshaping::up_sampling_2d)),
    ("ZeroPadding1D", plain(padding::zero_padding_1d)),
    ("ZeroPadding2D", plain(padding::zero_padding_2d)),
];

/// Operator nodes of `keras.ops` by class. Those that share their name and meaning with a layer
/// stand among the layers alone where a file does not tell them apart.
const OPERATIONS: &[(&str, Kind)] = &[
    ("Abs", plain(operations::function)),
    ("Absolute", plain(operations::function)),
    ("Add", plain(operations::arithmetic)),
    ("Amax", plain(operations::reduction)),
    ("Amin", plain(operations::reduction)),
    ("Cast", plain(operations::cast)),
    ("Ceil", plain(operations::function)),
    ("Celu", plain(operations::activation)),
    ("Clip", plain(operations::clip)),
    ("Concatenate", plain(merging::concatenate)),
    ("Cos", plain(operations::function)),
    ("Divide", plain(operations::arithmetic)),
    ("Elu", plain(operations::activation)),
    ("Exp", plain(operations::function)),
    ("ExpandDims", plain(operations::expand_dims)),
    ("Floor", plain(operations::function)),
    ("Gelu", plain(operations::activation)),
    ("GetItem", plain(operations::get_item)),
    ("Glu", plain(operations::activation)),
    ("HardShrink", plain(operations::activation)),
    ("HardSigmoid", plain(operations::activation)),
    ("HardSilu", plain(operations::activation)),
    ("HardTanh", plain(operations::activation)),
    ("Identity", plain(regularization::nothing)),
    ("LeakyRelu", plain(operations::activation)),
    ("Log", plain(operations::function)),
    ("LogSigmoid", plain(operations::activation)),
    ("LogSoftmax", plain(operations::activation)),
    ("Max", plain(operations::reduction)),
    ("Maximum", plain(operations::arithmetic)),
    ("Mean", plain(operations::reduction)),
    ("Min", plain(operations::reduction)),
    ("Minimum", plain(operations::arithmetic)),
    ("Mish", plain(operations::activation)),
    ("Multiply", plain(operations::arithmetic)),
    ("Negative", plain(operations::function)),
    ("Power", plain(operations::arithmetic)),
    ("Prod", plain(operations::reduction)),
    ("ReLU", plain(activation::layer)),
    ("Reciprocal", plain(operations::function)),
    ("Relu", plain(operations::activation)),
    ("Relu6", plain(operations::activation)),
    ("Reshape", plain(operations::reshape)),
    ("Round", plain(operations::function)),
    ("Rsqrt", plain(operations::function)),
    ("Selu", plain(operations::activation)),
    ("Sigmoid", plain(operations::activation)),
    ("Sign", plain(operations::function)),
    ("Silu", plain(operations::activation)),
    ("Sin", plain(operations::function)),
    ("SoftShrink", plain(operations::activation)),
    ("Softmax", plain(operations::activation)),
    ("Softplus", plain(operations::activation)),
    ("Softsign", plain(operations::activation)),
    ("SparseSigmoid", plain(operations::activation)),
    ("Sqrt", plain(operations::function)),
    ("Square", plain(operations::function)),
    ("Squareplus", plain(operations::activation)),
    ("Squeeze", plain(operations::squeeze)),
    ("Subtract", plain(operations::arithmetic)),
    ("Sum", plain(operations::reduction)),
    ("Tanh", plain(operations::activation)),
    ("TanhShrink", plain(operations::activation)),
    ("Transpose", plain(operations::transpose)),
    ("TrueDivide", plain(operations::arithmetic)),
];

/// Layers that the applications of Keras define for themselves.
const APPLICATIONS: &[(&str, Kind)] = &[
    ("CustomScaleLayer", plain(applications::custom_scale)),
    ("LayerScale", weighted(applications::layer_scale_variables, applications::layer_scale)),
    ("StochasticDepth", plain(applications::stochastic_depth)),
];

/// What is known of a layer's class.
pub(super) fn find(layer: &Layer) -> Option<Kind> {
    let among =
        |table: &[(&str, Kind)]| table.iter().find(|(class, _)| *class == layer.class).map(|(_, kind)| *kind);
    if layer.is_operation() {
        return among(OPERATIONS);
    }
    // Legacy files name no modules. What an operator node of theirs shares with a layer is its
    // name; it is told by the lack of settings that every layer has.
    if layer.module.as_deref().is_none_or(|module| module.contains(".applications."))
        && let Some(kind) = among(APPLICATIONS)
    {
        return Some(kind);
    }
    if layer.module.is_none() && layer.config().get("trainable").is_none() {
        return among(OPERATIONS).or_else(|| among(LAYERS));
    }
    among(LAYERS)
}

/// The operator node of a class, with its name in the table.
fn operation(class: &str) -> Option<(&'static str, Kind)> {
    OPERATIONS.iter().find(|(known, _)| *known == class).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_name_each_class_once() {
        for table in [LAYERS, OPERATIONS, APPLICATIONS] {
            let names: Vec<_> = table.iter().map(|(class, _)| *class).collect();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(names, sorted);
        }
    }
}
