//! The gradient of a bias.

use super::{Scratch, grow};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Numbers that are added up one after the other before the sums join those of other blocks.
const BLOCK: usize = 64 << 10;

/// The sum of `output_gradient`, `[pixels, channels]`, over all pixels. It is formed in blocks that depend
/// on the shape alone.
///
/// # Panics
/// When the gradient is not a whole number of pixels, of as many channels as `gradient` has.
pub fn bias_gradient(
    isa: Isa,
    pool: &ThreadPool,
    output_gradient: &[f32],
    scratch: &mut Scratch,
    gradient: &mut [f32],
) {
    let channels = gradient.len();
    assert!(channels > 0 && output_gradient.len().is_multiple_of(channels), "length of the output gradient");
    let pixels = (BLOCK / channels).max(1);
    let blocks = output_gradient.len().div_ceil(pixels * channels);
    if blocks == 1 {
        return sum(isa, output_gradient, gradient);
    }
    grow(&mut scratch.parts, blocks * channels);
    let parts = &mut scratch.parts[..blocks * channels];
    pool.run_rows(parts, channels, 1, |block, part| {
        let from = &output_gradient[block * pixels * channels..];
        sum(isa, &from[..from.len().min(pixels * channels)], part);
    });
    sum(isa, parts, gradient);
}

multiversion! {
    /// The sum of rows as long as `sums`.
    fn sum(rows: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
