//! The table of all networks.

use crate::families::{
    convnext, densenet, efficientnet, efficientnet_v2, inception_resnet, inception_v3, mobilenet,
    mobilenet_v3, nasnet, resnet, vgg, xception,
};
use crate::network::Network;
use Preprocessing::{Caffe, Tf, Torch};

/// How pixels of 0 to 255 are brought to what a network expects, by the names that Keras gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preprocessing {
    /// As they are: the network does it by itself.
    None,
    /// To -1 to 1.
    Tf,
    /// To 0 to 1, then by the mean and the deviation of each colour of ImageNet.
    Torch,
    /// Blue before red, less the mean of each colour of ImageNet.
    Caffe,
}

impl Preprocessing {
    /// The name that `--preprocess` takes.
    pub fn name(self) -> &'static str {
        match self {
            Preprocessing::None => "none",
            Preprocessing::Tf => "tf",
            Preprocessing::Torch => "torch",
            Preprocessing::Caffe => "caffe",
        }
    }
}

/// What can be chosen of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Height and width of its images; without it, what [`Entry::size`] says.
    pub size: Option<usize>,
    /// How many classes it tells apart.
    pub classes: usize,
    /// Whether it ends before its softmax, as where `classifier_activation` is `None`.
    pub logits: bool,
    /// Whether the network is the one that Keras gives its own ImageNet weights: EfficientNet divides colours by
    /// the roots of their deviations then, and else does not.
    pub imagenet: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: None, classes: 1000, logits: false, imagenet: false }
    }
}

/// A network of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in `keras.applications`.
    pub name: &'static str,
    /// Height and width of the images that it was made for.
    pub size: usize,
    /// Smallest height and width that it takes with its classifier.
    pub smallest: usize,
    /// What its images are brought to before.
    pub preprocessing: Preprocessing,
    pub(crate) build: fn(Built) -> Network,
}

/// What a family is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built {
    pub size: usize,
    pub classes: usize,
    pub imagenet: bool,
}

/// Why a network cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZooError {
    /// There is none of this name.
    #[error("the zoo has no network '{0}'; `litesmith zoo` lists its names")]
    Unknown(String),
    /// Its images may not be that small.
    #[error("{name} needs images of at least {smallest} pixels in height and width, not {size}")]
    TooSmall {
        /// Which network.
        name: &'static str,
        /// What it needs.
        smallest: usize,
        /// What was asked for.
        size: usize,
    },
    /// More than the weights and products of a network can be counted for.
    #[error("the {what} may be at most {largest}, not {asked}")]
    TooLarge {
        /// The option.
        what: &'static str,
        /// What it may be at most.
        largest: usize,
        /// What was asked for.
        asked: usize,
    },
    /// A classifier of no classes.
    #[error("a classifier needs at least one class")]
    NoClasses,
}

/// All networks, by family.
pub fn entries() -> &'static [Entry] {
    ENTRIES
}

/// The network of this name; upper and lower case count alike.
///
/// # Errors
/// If there is none.
pub fn entry(name: &str) -> Result<&'static Entry, ZooError> {
    let found = ENTRIES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| ZooError::Unknown(name.to_owned()))
}

/// With these, the weights and products of every network of the table stay far below what 64 bits count.
const LARGEST_SIZE: usize = 1 << 16;
const MOST_CLASSES: usize = 1 << 24;

/// The network of this name, without weights.
///
/// # Errors
/// If there is none, or it cannot be what `options` ask for.
pub fn build(name: &str, options: &Options) -> Result<Network, ZooError> {
    let entry = entry(name)?;
    let size = options.size.unwrap_or(entry.size);
    if size < entry.smallest {
        return Err(ZooError::TooSmall { name: entry.name, smallest: entry.smallest, size });
    }
    if options.classes == 0 {
        return Err(ZooError::NoClasses);
    }
    for (what, asked, largest) in
        [("image size", size, LARGEST_SIZE), ("number of classes", options.classes, MOST_CLASSES)]
    {
        if asked > largest {
            return Err(ZooError::TooLarge { what, largest, asked });
        }
    }
    let network = (entry.build)(Built { size, classes: options.classes, imagenet: options.imagenet });
    Ok(if options.logits { network.without_softmax() } else { network })
}

const fn row(
    name: &'static str,
    [size, smallest]: [usize; 2],
    preprocessing: Preprocessing,
    build: fn(Built) -> Network,
) -> Entry {
    Entry { name, size, smallest, preprocessing, build }
}

static ENTRIES: &[Entry] = &[
    row("ResNet50", [224, 32], Caffe, resnet::v1_50),
    row("ResNet101", [224, 32], Caffe, resnet::v1_101),
    row("ResNet152", [224, 32], Caffe, resnet::v1_152),
    row("ResNet50V2", [224, 32], Tf, resnet::v2_50),
    row("ResNet101V2", [224, 32], Tf, resnet::v2_101),
    row("ResNet152V2", [224, 32], Tf, resnet::v2_152),
    row("DenseNet121", [224, 32], Torch, densenet::densenet121),
    row("DenseNet169", [224, 32], Torch, densenet::densenet169),
    row("DenseNet201", [224, 32], Torch, densenet::densenet201),
    row("EfficientNetB0", [224, 32], Preprocessing::None, |built| efficientnet::b(built, 0)),
    row("EfficientNetB1", [240, 32], Preprocessing::None, |built| efficientnet::b(built, 1)),
    row("EfficientNetB2", [260, 32], Preprocessing::None, |built| efficientnet::b(built, 2)),
    row("EfficientNetB3", [300, 32], Preprocessing::None, |built| efficientnet::b(built, 3)),
    row("EfficientNetB4", [380, 32], Preprocessing::None, |built| efficientnet::b(built, 4)),
    row("EfficientNetB5", [456, 32], Preprocessing::None, |built| efficientnet::b(built, 5)),
    row("EfficientNetB6", [528, 32], Preprocessing::None, |built| efficientnet::b(built, 6)),
    row("EfficientNetB7", [600, 32], Preprocessing::None, |built| efficientnet::b(built, 7)),
    row("EfficientNetV2B0", [224, 32], Preprocessing::None, |built| efficientnet_v2::b(built, 0)),
    row("EfficientNetV2B1", [240, 32], Preprocessing::None, |built| efficientnet_v2::b(built, 1)),
    row("EfficientNetV2B2", [260, 32], Preprocessing::None, |built| efficientnet_v2::b(built, 2)),
    row("EfficientNetV2B3", [300, 32], Preprocessing::None, |built| efficientnet_v2::b(built, 3)),
    row("EfficientNetV2S", [384, 32], Preprocessing::None, efficientnet_v2::s),
    row("EfficientNetV2M", [480, 32], Preprocessing::None, efficientnet_v2::m),
    row("EfficientNetV2L", [480, 32], Preprocessing::None, efficientnet_v2::l),
    row("MobileNet", [224, 32], Tf, mobilenet::v1),
    row("MobileNetV2", [224, 32], Tf, mobilenet::v2),
    row("MobileNetV3Small", [224, 32], Preprocessing::None, mobilenet_v3::small),
    row("MobileNetV3Large", [224, 32], Preprocessing::None, mobilenet_v3::large),
    row("VGG16", [224, 32], Caffe, vgg::vgg16),
    row("VGG19", [224, 32], Caffe, vgg::vgg19),
    row("Xception", [299, 71], Tf, xception::xception),
    row("InceptionV3", [299, 75], Tf, inception_v3::build),
    row("InceptionResNetV2", [299, 75], Tf, inception_resnet::v2),
    row("NASNetMobile", [224, 32], Tf, nasnet::mobile),
    row("NASNetLarge", [331, 32], Tf, nasnet::large),
    row("ConvNeXtTiny", [224, 32], Preprocessing::None, |built| convnext::build(built, "tiny", 96, 9)),
    row("ConvNeXtSmall", [224, 32], Preprocessing::None, |built| convnext::build(built, "small", 96, 27)),
    row("ConvNeXtBase", [224, 32], Preprocessing::None, |built| convnext::build(built, "base", 128, 27)),
    row("ConvNeXtLarge", [224, 32], Preprocessing::None, |built| convnext::build(built, "large", 192, 27)),
    row("ConvNeXtXLarge", [224, 32], Preprocessing::None, |built| convnext::build(built, "xlarge", 256, 27)),
];
