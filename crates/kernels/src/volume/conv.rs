//! Convolution of volumes.

use super::{VolumeWindow, output_slices, side_by_side};
use crate::float::{Clamp, Conv2d};
use crate::{Isa, ThreadPool};

/// A float32 convolution of volumes with its weights packed for one instruction set.
pub struct Conv3d {
    window: VolumeWindow,
    in_channels: usize,
    out_channels: usize,
    /// The convolution that gives a slice of the output.
    slice: Conv2d,
}

impl Conv3d {
    /// Packs weights `[kernel depth, kernel height, kernel width, in_channels, out_channels]`; `bias`
    /// has `out_channels` elements, `None` stands for zeros.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when a number of channels, a kernel size, stride or dilation is
    /// 0, when a number of the window is 2^24 or more, or when `weights` or `bias` has another
    /// length.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: VolumeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Conv3d {
        let [depth, height, width] = window.kernel;
        let plane = height * width;
        assert!(window.stride[0] > 0 && window.dilation[0] > 0, "strides and dilations must be positive");
        assert_eq!(weights.len(), depth * plane * in_channels * out_channels, "number of weights");
        let mut own = Vec::with_capacity(weights.len());
        for channel in 0..out_channels {
            for place in 0..plane {
                for slice in 0..depth {
                    let first = (slice * plane + place) * in_channels;
                    let inputs = first..first + in_channels;
                    own.extend(inputs.map(|input| weights[input * out_channels + channel]));
                }
            }
        }
        let slice = Conv2d::new(isa, window.plane(), 1, depth * in_channels, out_channels, &own, bias, clamp);
        Conv3d { window, in_channels, out_channels, slice }
    }

    /// Number of elements of scratch memory for an input of `shape` = batch, depth, height, width.
    #[must_use]
    pub fn scratch(&self, [_, _, height, width]: [usize; 4]) -> usize {
        if self.window.kernel[0] == 1 { 0 } else { height * width * self.window.kernel[0] * self.in_channels }
    }

    /// Computes `[batch, output depth, output height, output width, out_channels]` from an input of
    /// `shape` = batch, depth, height, width (and `in_channels`); see [`VolumeWindow::output`].
    ///
    /// # Panics
    /// When `input` or `output` has another length, or there is too little scratch memory.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 4],
        scratch: &mut [f32],
        output: &mut [f32],
    ) {
        let [_, depth, height, width] = shape;
        let out_size = self.window.output([depth, height, width]);
        let channels = [self.in_channels, self.out_channels];
        let slice_len = height * width * self.in_channels;
        let zeros = vec![0.0; if self.pads_whole_slices() { slice_len } else { 0 }];
        for (at, sample, output) in output_slices(shape, out_size, channels, input, output) {
            let slices = self.slices(at, depth);
            let image = match slices[..] {
                [Some(slice)] => &sample[slice * slice_len..][..slice_len],
                [None] => &zeros,
                _ => {
                    let image = &mut scratch[..slices.len() * slice_len];
                    side_by_side(pool, sample, self.in_channels, &slices, image);
                    &*image
                }
            };
            self.slice.run(pool, image, [1, height, width], output);
        }
    }

    /// Whether some slice of the output may see nothing but zeros.
    fn pads_whole_slices(&self) -> bool {
        self.window.kernel[0] == 1 && (self.window.pad_before[0] > 0 || self.window.pad_after[0] > 0)
    }

    /// The slices of the input that a slice of the output sees; `None` in the padding.
    fn slices(&self, output: usize, depth: usize) -> Vec<Option<usize>> {
        let VolumeWindow { kernel, stride, dilation, pad_before, .. } = self.window;
        let slice = |tap: usize| {
            let at = (output * stride[0] + tap * dilation[0]).checked_sub(pad_before[0]);
            at.filter(|at| *at < depth)
        };
        (0..kernel[0]).map(slice).collect()
    }
}
