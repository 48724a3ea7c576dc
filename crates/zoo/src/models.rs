//! The table of all networks.

use crate::families::mobilenet;
use crate::network::Network;

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
    /// Whether the network is the one that Keras gives its own ImageNet weights: EfficientNet divides colours by
    /// the roots of their deviations then, and else does not.
    pub imagenet: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: None, classes: 1000, imagenet: false }
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
    /// A classifier of no classes.
    #[error("a classifier needs at least one class")]
    NoClasses,
}

/// All networks, by family.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The network of this name; upper and lower case count alike.
///
/// # Errors
/// If there is none.
pub fn entry(name: &str) -> Result<&'static Entry, ZooError> {
    let found = ENTRIES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| ZooError::Unknown(name.to_owned()))
}

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
    Ok((entry.build)(Built { size, classes: options.classes, imagenet: options.imagenet }))
}

const fn row(
    name: &'static str,
    [size, smallest]: [usize; 2],
    preprocessing: Preprocessing,
    build: fn(Built) -> Network,
) -> Entry {
    Entry { name, size, smallest, preprocessing, build }
}

static ENTRIES: [Entry; 1] = [row("MobileNetV2", [224, 32], Preprocessing::Tf, mobilenet::v2)];
