//! Arithmetic on values between the file and a floating-point input.

use std::fmt;
use std::str::FromStr;

use crate::DataError;

/// What is done to the values of floating-point inputs, under the names of
/// `keras.applications.imagenet_utils.preprocess_input`, in `f32` and in Keras' order of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preprocess {
    /// Nothing.
    #[default]
    None,
    /// `x / 255`: 0 to 1.
    Unit,
    /// Channels turned from RGB to BGR, then the ImageNet means 103.939, 116.779, 123.68 subtracted.
    Caffe,
    /// `(x / 255 - mean) / deviation` with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.
    Torch,
    /// `x / 127.5 - 1`: -1 to 1.
    Tf,
}

const CAFFE_MEAN: [f32; 3] = [103.939, 116.779, 123.68];
const TORCH_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const TORCH_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

impl Preprocess {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::None, Self::Unit, Self::Caffe, Self::Torch, Self::Tf];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unit => "unit",
            Self::Caffe => "caffe",
            Self::Torch => "torch",
            Self::Tf => "tf",
        }
    }

    /// Checks that samples of `shape` have the three channels that `caffe` and `torch` speak of.
    pub(crate) fn check(self, input: &str, shape: &[usize]) -> Result<(), DataError> {
        let by_channel = matches!(self, Self::Caffe | Self::Torch);
        if by_channel && Channels::of(shape).is_none() {
            return Err(DataError::usage(format!(
                "preprocessing `{self}` needs three channels, which input `{input}` does not have"
            )));
        }
        Ok(())
    }

    /// Changes the values of whole samples of `shape`, which [`Preprocess::check`] has accepted.
    pub(crate) fn apply(self, values: &mut [f32], shape: &[usize]) {
        match self {
            Self::None => {}
            Self::Unit => values.iter_mut().for_each(|x| *x /= 255.0),
            Self::Tf => values.iter_mut().for_each(|x| *x = *x / 127.5 - 1.0),
            Self::Caffe => for_each_pixel(values, shape, |[red, green, blue]| {
                [blue - CAFFE_MEAN[0], green - CAFFE_MEAN[1], red - CAFFE_MEAN[2]]
            }),
            Self::Torch => for_each_pixel(values, shape, |rgb| {
                std::array::from_fn(|c| (rgb[c] / 255.0 - TORCH_MEAN[c]) / TORCH_DEVIATION[c])
            }),
        }
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preprocess {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            DataError::usage(format!("unknown preprocessing `{text}`: none, unit, caffe, torch or tf"))
        })
    }
}

/// Where the three channels of a sample are.
enum Channels {
    /// The last axis.
    Interleaved,
    /// The first axis; a channel has this many values.
    Planar(usize),
}

impl Channels {
    fn of(shape: &[usize]) -> Option<Self> {
        match *shape {
            [.., 3] => Some(Self::Interleaved),
            [3, height, width] => Some(Self::Planar(height * width)),
            _ => None,
        }
    }
}

fn for_each_pixel(values: &mut [f32], shape: &[usize], change: impl Fn([f32; 3]) -> [f32; 3]) {
    match Channels::of(shape) {
        Some(Channels::Interleaved) => {
            for pixel in values.as_chunks_mut::<3>().0 {
                *pixel = change(*pixel);
            }
        }
        Some(Channels::Planar(plane)) if plane > 0 => {
            for sample in values.chunks_exact_mut(3 * plane) {
                let (red, rest) = sample.split_at_mut(plane);
                let (green, blue) = rest.split_at_mut(plane);
                for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                    [*r, *g, *b] = change([*r, *g, *b]);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values: keras.applications.imagenet_utils.preprocess_input (Keras 3, float32) of one
    // pixel (10, 100, 250).
    const PIXEL: [f32; 3] = [10.0, 100.0, 250.0];
    const CASES: [(Preprocess, [f32; 3]); 5] = [
        (Preprocess::None, PIXEL),
        (Preprocess::Unit, [10.0 / 255.0, 100.0 / 255.0, 250.0 / 255.0]),
        (Preprocess::Caffe, [146.061, -16.779, -113.68]),
        (Preprocess::Torch, [-1.946_656_5, -0.285_013_97, 2.552_854_3]),
        (Preprocess::Tf, [-0.921_568_63, -0.215_686_26, 0.960_784_3]),
    ];

    #[test]
    fn values_are_those_of_keras() {
        for (kind, expected) in CASES {
            let mut values = PIXEL;
            kind.check("x", &[1, 1, 3]).unwrap();
            kind.apply(&mut values, &[1, 1, 3]);
            assert_eq!(values, expected, "{kind}");
        }
    }

    #[test]
    fn planar_channels_give_the_same_values() {
        for (kind, [a, b, c]) in CASES {
            let mut values = [10.0, 10.0, 100.0, 100.0, 250.0, 250.0].repeat(2);
            kind.apply(&mut values, &[3, 1, 2]);
            assert_eq!(values, [a, a, b, b, c, c].repeat(2), "{kind}");
        }
    }

    #[test]
    fn channel_means_need_three_channels() {
        for kind in [Preprocess::Caffe, Preprocess::Torch] {
            let error = kind.check("gray", &[28, 28, 1]).unwrap_err();
            assert!(matches!(&error, DataError::Usage { what } if what.contains("`gray`")), "{error}");
        }
        Preprocess::Tf.check("gray", &[28, 28, 1]).unwrap();
    }

    #[test]
    fn names_parse_back() {
        for kind in Preprocess::ALL {
            assert_eq!(kind.to_string().parse::<Preprocess>().unwrap(), kind);
        }
        assert!("imagenet".parse::<Preprocess>().is_err());
    }
}
