//! Products of bytes that leave out the steps at which 16 output channels in a row have zero weights: a panel
//! has the weights of the other steps alone, and a list of these.

#[cfg(target_arch = "x86_64")]
pub(in super::super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(in super::super) mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neondot;
#[cfg(target_arch = "x86_64")]
pub(in super::super) mod vnni;

#[cfg(test)]
mod tests;

use super::super::epilogue::Epilogue;
use super::super::gather::{STEP, Tile};
use super::super::split::Target;
use super::portable::ROWS;
use super::{Kernel, Layout, Operands, Panel, Product, Step, finish_rows};
use crate::sparse::cost::LANES;

/// The product of bytes without the steps of zeros. Tiles gain nothing from single steps; machines that have
/// them multiply as those without do.
#[cfg(target_arch = "x86_64")]
pub(in super::super) type SparseProduct =
    Product<Portable, avx2::Avx2, avxvnni::AvxVnni, vnni::Vnni, vnni::Vnni>;
#[cfg(target_arch = "aarch64")]
pub(in super::super) type SparseProduct = Product<Portable, neon::Neon, neondot::NeonDot>;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(in super::super) type SparseProduct = Product<Portable>;

/// Sums of 4 pixels x 16 channels, weights as words in the order `[input][channel]`.
pub(in super::super) struct Portable;

impl Layout for Portable {
    type Weight = i16;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        LANES
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        input * width + lane
    }
}

impl<E: Epilogue> Kernel<E> for Portable {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        for panel in panels {
            let mut sums = [[0; LANES]; ROWS];
            sums.fill(*operands.initial[panel.lane..].first_chunk().expect("16 lanes of a panel"));
            let (weights, _) = operands.weights[panel.weights..].as_chunks::<LANES>();
            let (weights, _) = weights.as_chunks::<STEP>();
            for (Step { tap, at }, weights) in operands.list[panel.list.clone()].iter().zip(weights) {
                for (pointer, sums) in tile.pointers[*tap as usize].iter().zip(&mut sums) {
                    // SAFETY: readable as the caller promises.
                    let inputs = unsafe { pointer.add(*at as usize).cast::<[u8; STEP]>().read() };
                    for (input, weights) in inputs.into_iter().zip(weights) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = sum.wrapping_add(i32::from(input) * i32::from(*weight));
                        }
                    }
                }
            }
            // SAFETY: the caller's promise.
            unsafe { finish_rows(tile, panel, &sums, epilogue, target) };
        }
    }
}
