//! Depthwise products in plain Rust, which compilers turn into whatever vectors the target has.

use super::super::epilogue::Epilogue;
use super::super::gather::Tile;
use super::super::split::Target;
use super::channelwise::{Kernel, Operands};

const WIDTH: usize = 16;

/// Sums of 16 channels, weights as words.
pub(in super::super) struct Portable;

impl Kernel for Portable {
    type Weight = i16;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = 1;

    fn channel(lane: usize, _packed: bool) -> usize {
        lane
    }

    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        operands: &Operands<i16>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let taps = tile.pointers.len();
        for (block, weights) in operands.weights.chunks_exact(WIDTH * taps).enumerate() {
            let first = block * WIDTH;
            let channels = (operands.channels - first).min(WIDTH);
            for row in 0..tile.rows {
                let mut sums = [0; WIDTH];
                sums.copy_from_slice(&operands.initial[first..][..WIDTH]);
                for (pointers, weights) in tile.pointers.iter().zip(weights.chunks_exact(WIDTH)) {
                    // SAFETY: all channels are readable, as the caller promises.
                    let inputs = unsafe { std::slice::from_raw_parts(pointers[row].add(first), channels) };
                    for ((sum, &input), &weight) in sums.iter_mut().zip(inputs).zip(weights) {
                        *sum = sum.wrapping_add(i32::from(input) * i32::from(weight));
                    }
                }
                // SAFETY: the pixel and the channels exist, and only we write them.
                let out = unsafe { target.slice(tile.pixel + row, first, channels) };
                epilogue.row(tile.samples[row], first, &sums[..channels], out);
            }
        }
    }
}
