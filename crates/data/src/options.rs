//! What a model wants, and how the user wants the data treated.

use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::{DataError, ElementType, Preprocess};

/// An input of a model, as the data must fill it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// The input's name, by which arrays of an npz file are found.
    pub name: String,
    /// The shape of one sample, that is without the batch axis; `None` is a free dimension.
    pub shape: Vec<Option<usize>>,
    /// The type that batches are handed out in. Data of another type are converted; an integer type
    /// takes only values that it holds exactly (images are rounded to the nearest integer).
    pub dtype: ElementType,
}

impl InputSpec {
    /// An input called `name` that takes samples of `shape` as `dtype`.
    pub fn new(name: impl Into<String>, shape: &[Option<usize>], dtype: ElementType) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), dtype }
    }
}

/// How data are treated on their way to a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Arithmetic on the values of floating-point inputs. Integer inputs take data as they are.
    pub preprocess: Preprocess,
    /// The part of an image that is used; the whole image if `None`.
    pub crop: Option<Crop>,
    /// How many samples to use; all if `None` or if there are fewer. The first ones are taken,
    /// except where the samples come grouped by class (as image folders do): then they are spread
    /// evenly over the whole, so that no class is left out.
    pub samples: Option<usize>,
    /// The names of the model's outputs: arrays of an npz file that are named so are their targets.
    pub outputs: Vec<String>,
    /// Most bytes that may be held in memory for one array or one batch. Arrays in uncompressed files
    /// are read piece by piece and need less than they are large. 4 GiB unless changed.
    pub max_memory: u64,
    /// Threads that decode images; as many as the machine has cores if `None`.
    pub threads: Option<NonZeroUsize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            preprocess: Preprocess::None,
            crop: None,
            samples: None,
            outputs: Vec::new(),
            max_memory: 4 << 30,
            threads: None,
        }
    }
}

/// A central crop of images, before they are resized.
///
/// The largest central box with the aspect ratio of the model's input, shrunk by a factor; for the
/// usual square input this is a square with `fraction * min(height, width)` pixels a side. Sizes are
/// rounded down (but at least 1), and so is the box's offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    fraction: f64,
}

impl Crop {
    /// A central crop of `fraction`, above 0 and at most 1, of the largest possible side.
    ///
    /// # Errors
    /// [`DataError::Usage`] for a fraction out of range.
    pub fn center(fraction: f64) -> Result<Self, DataError> {
        if fraction > 0.0 && fraction <= 1.0 {
            Ok(Self { fraction })
        } else {
            Err(DataError::usage(format!("a crop must be above 0 and at most 1, not {fraction}")))
        }
    }

    /// The share of the largest possible side that is kept.
    pub fn fraction(self) -> f64 {
        self.fraction
    }
}

impl FromStr for Crop {
    type Err = DataError;

    /// Reads `center:0.875`.
    fn from_str(text: &str) -> Result<Self, DataError> {
        let fraction = text.strip_prefix("center:").and_then(|number| number.parse().ok());
        let fraction = fraction.ok_or_else(|| {
            DataError::usage(format!("unknown crop `{text}`: write it as center:FRACTION, like center:0.875"))
        })?;
        Self::center(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_parse() {
        assert_eq!("center:0.875".parse::<Crop>().unwrap().fraction(), 0.875);
        for text in ["0.875", "center:", "center:0", "center:1.5", "center:nan", "left:0.5"] {
            assert!(matches!(text.parse::<Crop>(), Err(DataError::Usage { .. })), "{text}");
        }
    }
}
