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

use crate::transposed::TransposeWindow;
use crate::{ThreadPool, Window};

/// The geometry of a convolution of volumes.
pub type VolumeWindow = Window<3>;

/// The geometry of a transposed convolution of volumes.
pub type TransposeVolumeWindow = TransposeWindow<3>;

/// A walk over the slices of an output `[batch, depth, height, width, channels]`: of each, where it
/// stands along the depth, the sample of the input that it belongs to, and the slice itself.
///
/// # Panics
/// When `input` or `output` has another length than its shape and channels say.
fn output_slices<'a>(
    [batch, depth, height, width]: [usize; 4],
    [out_depth, out_height, out_width]: [usize; 3],
    [in_channels, out_channels]: [usize; 2],
    input: &'a [f32],
    output: &'a mut [f32],
) -> impl Iterator<Item = (usize, &'a [f32], &'a mut [f32])> {
    let sample_len = depth * height * width * in_channels;
    let slice_len = out_height * out_width * out_channels;
    assert_eq!(input.len(), batch * sample_len, "length of the input");
    assert_eq!(output.len(), batch * out_depth * slice_len, "length of the output");
    // An empty output has no slices, however long they would be.
    output.chunks_exact_mut(slice_len.max(1)).enumerate().map(move |(index, slice)| {
        (index % out_depth, &input[index / out_depth * sample_len..][..sample_len], slice)
    })
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
