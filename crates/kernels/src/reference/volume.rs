//! Convolutions of volumes, one output element at a time. A sum starts at the bias and adds products
//! tap by tap, first along the depth.

use super::convolution::Float;
use crate::float::Clamp;
use crate::volume::{TransposeVolumeWindow, VolumeWindow};

/// Batch, depth, height and width of a tensor, and its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Number of samples.
    pub batch: usize,
    /// Depth, height and width.
    pub size: [usize; 3],
    /// Number of channels.
    pub channels: usize,
}

impl Volume {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.batch * self.size.iter().product::<usize>() * self.channels
    }

    /// The sample, place and channel of an element.
    fn unravel(&self, element: usize) -> (usize, [usize; 3], usize) {
        let [depth, height, width] = self.size;
        let (voxel, channel) = (element / self.channels, element % self.channels);
        let place = [voxel / width / height % depth, voxel / width % height, voxel % width];
        (voxel / width / height / depth, place, channel)
    }

    /// The first channel of a place.
    fn at(&self, sample: usize, [z, y, x]: [usize; 3]) -> usize {
        let [depth, height, width] = self.size;
        (((sample * depth + z) * height + y) * width + x) * self.channels
    }
}

/// All places of a kernel with their index.
fn places([depth, height, width]: [usize; 3]) -> impl Iterator<Item = (usize, [usize; 3])> {
    (0..depth * height * width).map(move |i| (i, [i / width / height, i / width % height, i % width]))
}

/// Convolution with weights `[kernel depth, kernel height, kernel width, in, out]`.
#[must_use]
pub fn conv3d<T: Float>(
    window: &VolumeWindow,
    input_shape: Volume,
    out_channels: usize,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    clamp: Clamp<T>,
) -> Vec<T> {
    let size = window.output(input_shape.size);
    let output = Volume { size, channels: out_channels, ..input_shape };
    let value = |element: usize| {
        let (sample, place, channel) = output.unravel(element);
        let mut sum = bias.map_or(T::ZERO, |bias| bias[channel]);
        for (index, tap) in places(window.kernel) {
            let at: [Option<usize>; 3] = std::array::from_fn(|i| {
                let at = place[i] * window.stride[i] + tap[i] * window.dilation[i];
                at.checked_sub(window.pad_before[i]).filter(|at| *at < input_shape.size[i])
            });
            let [Some(z), Some(y), Some(x)] = at else { continue };
            let first = input_shape.at(sample, [z, y, x]);
            for k in 0..input_shape.channels {
                let weight = weights[(index * input_shape.channels + k) * out_channels + channel];
                sum = sum + input[first + k] * weight;
            }
        }
        clamp.apply(sum)
    };
    (0..output.elements()).map(value).collect()
}

/// Transposed convolution with weights `[kernel depth, kernel height, kernel width, out, in]`.
#[must_use]
pub fn transpose_conv3d<T: Float>(
    window: &TransposeVolumeWindow,
    input_shape: Volume,
    out_channels: usize,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    clamp: Clamp<T>,
) -> Vec<T> {
    let size = window.output(input_shape.size);
    let output = Volume { size, channels: out_channels, ..input_shape };
    let value = |element: usize| {
        let (sample, place, channel) = output.unravel(element);
        let mut sum = bias.map_or(T::ZERO, |bias| bias[channel]);
        for (index, tap) in places(window.kernel) {
            let at: [Option<usize>; 3] = std::array::from_fn(|i| {
                let at = (place[i] + window.crop[i]).checked_sub(tap[i])?;
                let whole = at % window.stride[i] == 0;
                Some(at / window.stride[i]).filter(|at| whole && *at < input_shape.size[i])
            });
            let [Some(z), Some(y), Some(x)] = at else { continue };
            let first = input_shape.at(sample, [z, y, x]);
            for k in 0..input_shape.channels {
                let weight = weights[(index * out_channels + channel) * input_shape.channels + k];
                sum = sum + input[first + k] * weight;
            }
        }
        clamp.apply(sum)
    };
    (0..output.elements()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_added_along_the_depth() {
        let window = VolumeWindow {
            kernel: [2, 1, 1],
            stride: [1; 3],
            dilation: [1; 3],
            pad_before: [1, 0, 0],
            pad_after: [0; 3],
        };
        let input = Volume { batch: 1, size: [2, 1, 1], channels: 1 };
        let sums = conv3d(&window, input, 1, &[1.0, 2.0], &[10.0, 100.0], None, Clamp::NONE);
        assert_eq!(sums, [100.0, 210.0]);
        let window =
            TransposeVolumeWindow { kernel: [2, 1, 1], stride: [1; 3], crop: [0; 3], tail: [2, 1, 1] };
        let sums = transpose_conv3d(&window, input, 1, &[1.0, 2.0], &[10.0, 100.0], None, Clamp::NONE);
        assert_eq!(sums, [10.0, 120.0, 200.0]);
    }
}
