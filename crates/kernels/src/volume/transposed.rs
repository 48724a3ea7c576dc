//! Transposed convolution of volumes.

use super::{TransposeVolumeWindow, output_slices, side_by_side};
use crate::float::Clamp;
use crate::transposed::{Residue, TransposeConv2d, background};
use crate::{Isa, ThreadPool};

/// A float32 transposed convolution of volumes with its weights packed for one instruction set. Along
/// the depth it is taken apart as [`TransposeConv2d`] is along height and width.
pub struct TransposeConv3d {
    window: TransposeVolumeWindow,
    in_channels: usize,
    out_channels: usize,
    /// For each residue along the depth that the kernel reaches, what gives its slices.
    parts: Vec<(Residue, TransposeConv2d)>,
    /// A pixel of the output that no place of the kernel reaches.
    background: Vec<f32>,
}

impl TransposeConv3d {
    /// Packs weights `[kernel depth, kernel height, kernel width, out_channels, in_channels]`; `bias`
    /// has `out_channels` elements, `None` stands for zeros.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when a number of channels, a kernel size, stride or tail is 0,
    /// when a number of the window is 2^24 or more, or when `weights` or `bias` has another length.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: TransposeVolumeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> TransposeConv3d {
        let TransposeVolumeWindow { kernel, stride, crop, tail } = window;
        let plane = kernel[1] * kernel[2];
        assert!(stride[0] > 0 && tail[0] > 0, "strides and tails must be positive");
        assert_eq!(weights.len(), kernel[0] * plane * in_channels * out_channels, "number of weights");
        let part = |residue: Residue| {
            let mut own = Vec::with_capacity(out_channels * plane * residue.taps * in_channels);
            for channel in 0..out_channels {
                for place in 0..plane {
                    for tap in 0..residue.taps {
                        let slice = residue.place(tap, stride[0]);
                        let first = ((slice * plane + place) * out_channels + channel) * in_channels;
                        own.extend_from_slice(&weights[first..first + in_channels]);
                    }
                }
            }
            let channels = [residue.taps * in_channels, out_channels];
            (residue, TransposeConv2d::new(isa, window.plane(), channels, &own, bias, clamp))
        };
        let parts = Residue::all(kernel[0], stride[0], crop[0], tail[0]).into_iter().map(part).collect();
        let background = background(clamp, out_channels, bias);
        TransposeConv3d { window, in_channels, out_channels, parts, background }
    }

    /// Number of elements of scratch memory for an input of `shape` = batch, depth, height, width.
    #[must_use]
    pub fn scratch(&self, [_, _, height, width]: [usize; 4]) -> usize {
        let of_part = |(residue, part): &(Residue, TransposeConv2d)| {
            height * width * residue.taps * self.in_channels + part.scratch([1, height, width])
        };
        self.parts.iter().map(of_part).max().unwrap_or(0)
    }

    /// Computes `[batch, output depth, output height, output width, out_channels]` from an input of
    /// `shape` = batch, depth, height, width (and `in_channels`); see
    /// [`TransposeVolumeWindow::output`].
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
        let (stride, crop) = (self.window.stride[0], self.window.crop[0]);
        for (at, sample, output) in output_slices(shape, out_size, channels, input, output) {
            let at = at + crop;
            let Some((residue, part)) = self.parts.get(at % stride) else {
                for pixel in output.chunks_exact_mut(self.out_channels) {
                    pixel.copy_from_slice(&self.background);
                }
                continue;
            };
            let slice =
                |tap: usize| (at / stride + tap + 1).checked_sub(residue.taps).filter(|slice| *slice < depth);
            let slices: Vec<Option<usize>> = (0..residue.taps).map(slice).collect();
            let (image, rest) = scratch.split_at_mut(height * width * residue.taps * self.in_channels);
            side_by_side(pool, sample, self.in_channels, &slices, image);
            part.run(pool, image, [1, height, width], rest, output);
        }
    }
}
