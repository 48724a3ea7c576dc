//! The product in plain Rust, which compilers turn into whatever vectors the target has.

use std::marker::PhantomData;

use super::super::epilogue::Epilogue;
use super::super::gather::{STEP, Tile};
use super::super::split::Target;
use super::{Kernel, Layout, Operands, Panel, finish_rows};

pub(crate) const ROWS: usize = 4;
pub(crate) const WIDTH: usize = 8;

/// Sums of 4 pixels x 8 channels, weights as words in the order `[input][channel]`, for inputs of
/// type `T`.
pub(crate) struct Portable<T>(PhantomData<T>);

impl<T> Layout for Portable<T> {
    type Weight = i16;
    const INPUTS: usize = STEP / size_of::<T>();
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        input * width + lane
    }
}

impl<E: Epilogue> Kernel<E> for Portable<u8> {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        for panel in panels {
            // SAFETY: the caller's promise.
            unsafe { finish_rows(tile, panel, &sums(tile, panel, operands), epilogue, target) };
        }
    }
}

/// # Safety
/// The tile's pointers must be readable for all steps.
unsafe fn sums(tile: &Tile, panel: &Panel, operands: &Operands<i16, i32>) -> [[i32; WIDTH]; ROWS] {
    let mut sums = [[0; WIDTH]; ROWS];
    for row in &mut sums {
        row.copy_from_slice(&operands.initial[panel.lane..][..WIDTH]);
    }
    let (weights, _) = operands.weights[panel.weights..].as_chunks::<WIDTH>();
    let (steps, _) = weights.as_chunks::<STEP>();
    // Fixed sizes throughout, so that the loops over rows, inputs and lanes become plain vectors.
    for (pointers, steps) in tile.pointers.iter().zip(steps.chunks_exact(operands.steps)) {
        for (step, weights) in steps.iter().enumerate() {
            for row in 0..ROWS {
                // SAFETY: readable as the caller promises.
                let inputs = unsafe { pointers[row].add(step * STEP).cast::<[u8; STEP]>().read() };
                for input in 0..STEP {
                    for lane in 0..WIDTH {
                        let product = i32::from(inputs[input]) * i32::from(weights[input][lane]);
                        sums[row][lane] = sums[row][lane].wrapping_add(product);
                    }
                }
            }
        }
    }
    sums
}
