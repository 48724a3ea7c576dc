//! Convolutions of volumes `[batch, depth, height, width, channels]`, in float32.
//!
//! Every slice of the output is one 2-D convolution: the slices of the input that its taps along the
//! depth meet are laid side by side as channels. So each output is one chain of multiply-adds, and
//! the bits of a result depend on neither threads nor batch.

mod conv;
#[cfg(test)]
mod tests;
mod transposed;

pub use conv::Conv3d;
pub use transposed::TransposeConv3d;

use crate::ThreadPool;

/// The geometry of a convolution of volumes. Every triple is `[depth, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeWindow {
    /// Size of the kernel, at least 1 along each axis.
    pub kernel: [usize; 3],
    /// Step between neighbouring outputs, at least 1.
    pub stride: [usize; 3],
    /// Step between neighbouring taps, at least 1.
    pub dilation: [usize; 3],
    /// Zeros before the input.
    pub pad_before: [usize; 3],
    /// Zeros behind the input.
    pub pad_after: [usize; 3],
}

impl VolumeWindow {
    /// Size of the output for an input of this size (0 where the padded input is smaller than the
    /// dilated kernel).
    #[must_use]
    pub fn output(&self, input: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|i| {
            let reach = (self.kernel[i] - 1) * self.dilation[i] + 1;
            let padded = input[i] + self.pad_before[i] + self.pad_after[i];
            if padded < reach { 0 } else { (padded - reach) / self.stride[i] + 1 }
        })
    }
}

/// The geometry of a transposed convolution of volumes. Every triple is `[depth, height, width]`; the
/// fields mean what they mean for images, see
/// [`TransposeWindow`](crate::transposed::TransposeWindow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposeVolumeWindow {
    /// Size of the kernel, at least 1 along each axis.
    pub kernel: [usize; 3],
    /// Outputs from what one input adds to, to what its neighbour adds to; at least 1.
    pub stride: [usize; 3],
    /// Slices, rows and columns of the whole result that are cut off before the output.
    pub crop: [usize; 3],
    /// Slices, rows and columns of output from where the last input's would begin without cropping; at
    /// least 1.
    pub tail: [usize; 3],
}

impl TransposeVolumeWindow {
    /// Size of the output for an input of this size.
    #[must_use]
    pub fn output(&self, input: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| match input[axis] {
            0 => 0,
            size => (size - 1) * self.stride[axis] + self.tail[axis],
        })
    }
}

/// Lays slices of a sample `[depth, pixels, channels]` side by side: `[pixels, slices, channels]`.
/// `None` stands for a slice of zeros.
fn side_by_side(
    pool: &ThreadPool,
    sample: &[f32],
    channels: usize,
    slices: &[Option<usize>],
    output: &mut [f32],
) {
    let line = slices.len() * channels;
    let pixels = output.len() / line;
    pool.run_rows(
        output,
        line,
        pool.rows_per_task(pixels, (16 * 1024usize).div_ceil(line)),
        |first, piece| {
            for (pixel, line) in (first..).zip(piece.chunks_exact_mut(line)) {
                for (slice, to) in slices.iter().zip(line.chunks_exact_mut(channels)) {
                    match slice {
                        Some(slice) => {
                            let from = (slice * pixels + pixel) * channels;
                            to.copy_from_slice(&sample[from..from + channels]);
                        }
                        None => to.fill(0.0),
                    }
                }
            }
        },
    );
}
