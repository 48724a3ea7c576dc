//! The layers: one file per family, and the table that finds them.
//!
//! To add a layer, write its builder in the file of its family and add a line to [`LAYERS`]; to add
//! an operator node of `keras.ops`, add a line to [`operations::OPERATIONS`].

pub(super) mod activation;
mod applications;
mod attention;
mod bidirectional;
mod categories;
mod conv_recurrent;
mod convolution;
mod dense;
mod einsum;
mod embedding;
mod global_pooling;
mod locally_connected;
mod merging;
mod multi_head;
mod normalization;
mod operations;
mod padding;
mod pooling;
mod preprocessing;
mod recurrent;
mod regularization;
mod reshaping;
mod resizing;
mod spectrogram;
pub(super) mod tfmot;
mod transposed;
mod wrappers;

use litesmith_graph::TensorId;

use crate::emit::Emit;
use crate::keras::architecture::Layer;
use crate::keras::config::{Built, Config, Version, unsupported};
use crate::keras::masks::Masks;
use crate::keras::scope::{Operand, Scope};
use crate::keras::training_only;
use crate::keras::weights::Variable;

/// What is known of a class of layers.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Its variables in Keras' order: those that training changes, then the others.
    pub variables: fn(Config<'_>) -> Built<Vec<Variable>>,
    /// What it does with `data_format`.
    pub layout: Layout,
    masks: Masks,
    /// What it does only while it is trained.
    training: Option<&'static str>,
    build: Builder,
}

/// Builds one call of a layer.
#[derive(Clone, Copy)]
enum Builder {
    /// Of one output.
    One(fn(&mut Scope<'_>) -> Built<TensorId>),
    /// Of any number of outputs.
    Several(fn(&mut Scope<'_>) -> Built<Vec<TensorId>>),
}

/// How a layer takes `data_format="channels_first"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Not at all.
    Last,
    /// Channels are brought behind the other axes before it, and back behind it.
    Spatial,
    /// Its builder sees to it, or it does not matter.
    Any,
}

impl Kind {
    const fn new(build: Builder) -> Kind {
        Kind {
            variables: |_| Ok(Vec::new()),
            layout: Layout::Last,
            masks: Masks::Stop,
            training: None,
            build,
        }
    }

    const fn masks(self, masks: Masks) -> Kind {
        Kind { masks, ..self }
    }

    const fn training(self, what: &'static str) -> Kind {
        Kind { training: Some(what), ..self }
    }

    const fn passes(self) -> Kind {
        self.masks(Masks::Pass)
    }

    const fn own(self) -> Kind {
        self.masks(Masks::Own)
    }

    const fn layout(self, layout: Layout) -> Kind {
        Kind { layout, ..self }
    }

    const fn spatial(self) -> Kind {
        self.layout(Layout::Spatial)
    }

    /// The outputs of one call, which carry the layer's name and their masks.
    pub fn apply(self, scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
        check_training(scope)?;
        training_only::note(scope, self.training);
        let first_new = scope.target.model.main().tensors.len();
        let channels_first = scope.config().text("data_format")? == Some("channels_first");
        let built = match self.layout {
            Layout::Spatial if channels_first => self.between_transposes(scope)?,
            _ => self.outputs(scope)?,
        };
        let outputs = scope.finish(&built, first_new)?;
        scope.hand_on(self.masks, &built, &outputs)?;
        Ok(outputs)
    }

    /// What the builder gives.
    fn outputs(self, scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
        match self.build {
            Builder::One(build) => Ok(vec![build(scope)?]),
            Builder::Several(build) => build(scope),
        }
    }

    fn between_transposes(self, scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
        let input = scope.input()?;
        let mask = scope.carried_mask(input);
        let rank = scope.rank(input);
        let last = scope.channels_to_last(input)?;
        scope.set_mask(last, mask);
        scope.arguments = vec![Operand::Tensor(last)];
        let mut outputs = self.outputs(scope)?;
        for output in &mut outputs {
            if scope.rank(*output) == rank {
                *output = scope.channels_to_first(*output)?;
            }
        }
        scope.arguments = vec![Operand::Tensor(input)];
        Ok(outputs)
    }
}

/// Keras 2 keeps what a layer was told when the model was made; Keras 3 asks again at each run.
fn check_training(scope: &Scope<'_>) -> Built<()> {
    let told = scope.keywords.iter().any(|(name, operand)| {
        name == "training" && matches!(operand, Operand::Value(serde_json::Value::Bool(true)))
    });
    if told && scope.version == Version::Keras2 {
        unsupported!(
            "it is called with training=True, which makes it random or use the batch's statistics; call it \
             without"
        );
    }
    Ok(())
}

const fn plain(build: fn(&mut Scope<'_>) -> Built<TensorId>) -> Kind {
    Kind::new(Builder::One(build))
}

const fn several(build: fn(&mut Scope<'_>) -> Built<Vec<TensorId>>) -> Kind {
    Kind::new(Builder::Several(build))
}

const fn weighted(
    variables: fn(Config<'_>) -> Built<Vec<Variable>>,
    build: fn(&mut Scope<'_>) -> Built<TensorId>,
) -> Kind {
    Kind { variables, ..plain(build) }
}

/// What changes training images alone.
const AUGMENTATION: Kind =
    plain(preprocessing::augmentation).layout(Layout::Any).training("it changes images at random");

/// A recurrent layer that makes its cell itself.
const RECURRENT: Kind =
    Kind { variables: recurrent::layer_variables, ..several(recurrent::layer) }.masks(Masks::Own);
/// A recurrent layer over images, which turns them round itself.
const CONV_RECURRENT: Kind =
    Kind { variables: recurrent::layer_variables, ..several(conv_recurrent::layer) }.layout(Layout::Any);
/// A cell that a layer RNN runs.
const CELL: Kind = Kind { variables: recurrent::cell_variables, ..several(recurrent::cell) };

/// Layers by class.
const LAYERS: &[(&str, Kind)] = &[
    ("Activation", plain(activation::activation).passes()),
    (
        "ActivityRegularization",
        plain(regularization::nothing).passes().training("it adds a penalty on its input to the loss"),
    ),
    ("AdaptiveAveragePooling1D", plain(global_pooling::adaptive_average).spatial()),
    ("AdaptiveAveragePooling2D", plain(global_pooling::adaptive_average).spatial()),
    ("AdaptiveAveragePooling3D", plain(global_pooling::adaptive_average).spatial()),
    ("AdaptiveMaxPooling1D", plain(global_pooling::adaptive_max).spatial()),
    ("AdaptiveMaxPooling2D", plain(global_pooling::adaptive_max).spatial()),
    ("AdaptiveMaxPooling3D", plain(global_pooling::adaptive_max).spatial()),
    ("Add", plain(merging::add).masks(Masks::Merge)),
    (
        "AdditiveAttention",
        Kind { variables: attention::additive_variables, ..several(attention::additive) }.own(),
    ),
    ("AlphaDropout", plain(regularization::nothing).passes().training("it drops elements at random")),
    ("Attention", Kind { variables: attention::dot_variables, ..several(attention::dot) }.own()),
    ("AugMix", AUGMENTATION),
    ("AutoContrast", plain(preprocessing::auto_contrast)),
    ("Average", plain(merging::average).masks(Masks::Merge)),
    ("AveragePooling1D", plain(pooling::average_1d).spatial()),
    ("AveragePooling2D", plain(pooling::average_2d).spatial()),
    ("AveragePooling3D", plain(pooling::average_3d).spatial()),
    ("BatchNormalization", weighted(normalization::variables, normalization::batch).passes()),
    ("Bidirectional", several(bidirectional::bidirectional).masks(Masks::Own)),
    ("CategoryEncoding", plain(categories::encoding)),
    ("CenterCrop", plain(resizing::center_crop).spatial()),
    ("Concatenate", plain(merging::concatenate).own()),
    ("Conv1D", weighted(convolution::variables, convolution::conv_1d).spatial()),
    ("Conv1DTranspose", weighted(convolution::variables, transposed::conv_1d).spatial()),
    ("Conv2D", weighted(convolution::variables, convolution::conv_2d).spatial()),
    ("Conv2DTranspose", weighted(convolution::variables, transposed::conv_2d).spatial()),
    ("Conv3D", weighted(convolution::variables, transposed::conv_3d).spatial()),
    ("Conv3DTranspose", weighted(convolution::variables, transposed::transpose_conv_3d).spatial()),
    ("ConvLSTM1D", CONV_RECURRENT),
    ("ConvLSTM2D", CONV_RECURRENT),
    ("ConvLSTM3D", CONV_RECURRENT),
    ("Convolution1D", weighted(convolution::variables, convolution::conv_1d).spatial()),
    ("Convolution2D", weighted(convolution::variables, convolution::conv_2d).spatial()),
    ("Convolution2DTranspose", weighted(convolution::variables, transposed::conv_2d).spatial()),
    ("Convolution3D", weighted(convolution::variables, transposed::conv_3d).spatial()),
    ("Cropping1D", plain(padding::cropping_1d).spatial()),
    ("Cropping2D", plain(padding::cropping_2d).spatial()),
    ("Cropping3D", plain(padding::cropping_3d).spatial()),
    ("CutMix", AUGMENTATION),
    ("Dense", weighted(dense::variables, dense::dense).passes()),
    ("DepthwiseConv1D", weighted(convolution::depthwise_variables, convolution::depthwise_1d).spatial()),
    ("DepthwiseConv2D", weighted(convolution::depthwise_variables, convolution::depthwise_2d).spatial()),
    ("Discretization", plain(categories::discretization)),
    ("Dot", plain(merging::dot)),
    ("Dropout", plain(regularization::dropout).passes()),
    ("ELU", plain(activation::layer).passes()),
    ("EinsumDense", weighted(einsum::dense_variables, einsum::dense)),
    ("Embedding", weighted(embedding::variables, embedding::embedding).own()),
    ("Flatten", plain(reshaping::flatten).layout(Layout::Any)),
    ("GRU", RECURRENT),
    ("GRUCell", CELL),
    ("GaussianDropout", plain(regularization::nothing).passes().training("it multiplies by noise")),
    ("GaussianNoise", plain(regularization::nothing).passes().training("it adds noise")),
    ("GlobalAveragePooling1D", plain(global_pooling::global_average_1d).spatial()),
    ("GlobalAveragePooling2D", plain(global_pooling::global_average).spatial()),
    ("GlobalAveragePooling3D", plain(global_pooling::global_average).spatial()),
    ("GlobalMaxPooling1D", plain(global_pooling::global_max).spatial()),
    ("GlobalMaxPooling2D", plain(global_pooling::global_max).spatial()),
    ("GlobalMaxPooling3D", plain(global_pooling::global_max).spatial()),
    ("GroupNormalization", weighted(normalization::affine_variables, normalization::group).passes()),
    (
        "GroupQueryAttention",
        Kind { variables: multi_head::variables, ..several(multi_head::grouped_query) }.own(),
    ),
    ("Identity", plain(regularization::nothing).passes()),
    ("IntegerLookup", plain(categories::integer_lookup)),
    ("LSTM", RECURRENT),
    ("LSTMCell", CELL),
    ("LayerNormalization", weighted(normalization::affine_variables, normalization::layer).passes()),
    ("LeakyReLU", plain(activation::layer).passes()),
    (
        "LocallyConnected1D",
        weighted(locally_connected::variables, locally_connected::one_dimensional).spatial(),
    ),
    (
        "LocallyConnected2D",
        weighted(locally_connected::variables, locally_connected::two_dimensional).spatial(),
    ),
    ("Masking", plain(embedding::masking).own()),
    ("MaxNumBoundingBoxes", AUGMENTATION),
    ("MaxPooling1D", plain(pooling::max_1d).spatial()),
    ("MaxPooling2D", plain(pooling::max_2d).spatial()),
    ("MaxPooling3D", plain(pooling::max_3d).spatial()),
    ("Maximum", plain(merging::maximum).masks(Masks::Merge)),
    ("MelSpectrogram", plain(spectrogram::mel)),
    ("Minimum", plain(merging::minimum).masks(Masks::Merge)),
    ("MixUp", AUGMENTATION),
    (
        "MultiHeadAttention",
        Kind { variables: multi_head::variables, ..several(multi_head::multi_head) }.own(),
    ),
    ("Multiply", plain(merging::multiply).masks(Masks::Merge)),
    (
        "Normalization",
        weighted(preprocessing::normalization_variables, preprocessing::normalization).passes(),
    ),
    ("PReLU", weighted(activation::prelu_variables, activation::prelu).passes()),
    ("Permute", plain(reshaping::permute)),
    ("Pipeline", plain(wrappers::pipeline)),
    ("PruneLowMagnitude", plain(tfmot::pruned)),
    ("QuantizeLayer", weighted(tfmot::layer_variables, tfmot::layer).passes()),
    ("QuantizeWrapper", plain(tfmot::quantized)),
    ("QuantizeWrapperV2", plain(tfmot::quantized)),
    ("RMSNormalization", weighted(normalization::rms_variables, normalization::rms)),
    ("RNN", several(recurrent::layer).masks(Masks::Own)),
    ("RandAugment", AUGMENTATION),
    ("RandomBrightness", AUGMENTATION),
    ("RandomColorDegeneration", AUGMENTATION),
    ("RandomColorJitter", AUGMENTATION),
    ("RandomContrast", AUGMENTATION),
    ("RandomCrop", plain(resizing::random_crop).spatial().training("it crops images at random")),
    ("RandomElasticTransform", AUGMENTATION),
    ("RandomErasing", AUGMENTATION),
    ("RandomFlip", AUGMENTATION),
    ("RandomGaussianBlur", AUGMENTATION),
    ("RandomGrayscale", AUGMENTATION),
    ("RandomHeight", AUGMENTATION),
    ("RandomHue", AUGMENTATION),
    ("RandomInvert", AUGMENTATION),
    ("RandomPerspective", AUGMENTATION),
    ("RandomPosterization", AUGMENTATION),
    ("RandomRotation", AUGMENTATION),
    ("RandomSaturation", AUGMENTATION),
    ("RandomSharpness", AUGMENTATION),
    ("RandomShear", AUGMENTATION),
    ("RandomTranslation", AUGMENTATION),
    ("RandomWidth", AUGMENTATION),
    ("RandomZoom", AUGMENTATION),
    ("ReLU", plain(activation::layer).passes()),
    ("RepeatVector", plain(reshaping::repeat_vector)),
    ("Rescaling", plain(preprocessing::rescaling).passes()),
    ("Reshape", plain(reshaping::reshape)),
    ("Resizing", plain(resizing::resizing).spatial()),
    ("ReversibleEmbedding", weighted(embedding::reversible_variables, embedding::reversible).own()),
    ("STFTSpectrogram", weighted(spectrogram::stft_variables, spectrogram::stft).layout(Layout::Any)),
    ("SeparableConv1D", weighted(convolution::separable_variables, convolution::separable_1d).spatial()),
    ("SeparableConv2D", weighted(convolution::separable_variables, convolution::separable_2d).spatial()),
    ("SimpleRNN", RECURRENT),
    ("SimpleRNNCell", CELL),
    ("SlicingOpLambda", several(operations::tensorflow)),
    ("Softmax", plain(activation::softmax_layer).passes()),
    ("Solarization", AUGMENTATION),
    ("SpatialDropout1D", plain(regularization::spatial_dropout).passes()),
    ("SpatialDropout2D", plain(regularization::spatial_dropout).passes()),
    ("SpatialDropout3D", plain(regularization::spatial_dropout).passes()),
    ("SpectralNormalization", plain(wrappers::spectral_normalization)),
    ("StackedRNNCells", several(recurrent::cell)),
    ("Subtract", plain(merging::subtract).masks(Masks::Merge)),
    ("SyncBatchNormalization", weighted(normalization::variables, normalization::batch).passes()),
    ("TFOpLambda", several(operations::tensorflow)),
    ("ThresholdedReLU", plain(activation::thresholded).passes()),
    ("TimeDistributed", plain(wrappers::time_distributed).passes()),
    ("UnitNormalization", plain(normalization::unit).passes()),
    ("UpSampling1D", plain(reshaping::up_sampling_1d).spatial()),
    ("UpSampling2D", plain(resizing::up_sampling_2d).spatial()),
    ("UpSampling3D", plain(reshaping::up_sampling_3d).spatial()),
    ("ZeroPadding1D", plain(padding::zero_padding_1d).spatial()),
    ("ZeroPadding2D", plain(padding::zero_padding_2d).spatial()),
    ("ZeroPadding3D", plain(padding::zero_padding_3d).spatial()),
];

/// Classes whose work is no arithmetic on tensors, or stands in no Keras file.
const FOREIGN: &[(&str, &str)] = &[
    (
        "ClusterWeights",
        "its weights are still being clustered; call tfmot.clustering.keras.strip_clustering and save again",
    ),
    (
        "ContrastLimitedAdaptiveHistogramEqualization",
        "it counts the pixels of each value, which TFLite has no operator for; equalize images before the model",
    ),
    (
        "Equalization",
        "it counts the pixels of each value, which TFLite has no operator for; equalize images before the model",
    ),
    (
        "FlaxLayer",
        "it runs a Python function of Flax, which the file does not hold; convert that model itself",
    ),
    ("HashedCrossing", "it hashes strings or integers; hash them before the model and feed it integers"),
    ("Hashing", "it hashes strings or integers; hash them before the model and feed it integers"),
    ("JaxLayer", "it runs a Python function of JAX, which the file does not hold; convert that model itself"),
    (
        "QuantizeAnnotate",
        "it is only marked for quantization; call tfmot.quantization.keras.quantize_apply, train, and save again",
    ),
    ("StringLookup", "it looks strings up; look them up before the model and feed it integers"),
    ("TFSMLayer", "it runs a SavedModel, which is another file; convert that model itself"),
    ("TextVectorization", "it cuts strings into tokens; do so before the model and feed it integers"),
    ("TorchModuleWrapper", "it runs a PyTorch module, which is Python code; rebuild it with Keras layers"),
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
        return among(operations::OPERATIONS);
    }
    // Legacy files name no modules. What an operator node of theirs shares with a layer is its
    // name; it is told by the lack of settings that every layer has.
    if layer.module.as_deref().is_none_or(|module| module.contains(".applications."))
        && let Some(kind) = among(APPLICATIONS)
    {
        return Some(kind);
    }
    if layer.module.is_none() && layer.config().get("trainable").is_none() {
        return among(operations::OPERATIONS).or_else(|| among(LAYERS));
    }
    among(LAYERS)
}

/// Whether layers of a class give integers, whose type they state.
pub(super) fn gives_integers(class: &str) -> bool {
    matches!(class, "Discretization" | "IntegerLookup")
}

/// Why a class of Keras can never be read, and what to do instead.
pub(super) fn foreign(class: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(known, _)| *known == class).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_name_each_class_once() {
        let names =
            |table: &[(&'static str, Kind)]| table.iter().map(|(class, _)| *class).collect::<Vec<_>>();
        let foreign_names: Vec<_> = FOREIGN.iter().map(|(class, _)| *class).collect();
        for names in
            [LAYERS, operations::OPERATIONS, APPLICATIONS].map(names).into_iter().chain([foreign_names])
        {
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(names, sorted);
        }
    }
}
