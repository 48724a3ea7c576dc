//! The product on tiles: 16 pixels by 64 bytes of input times 64 bytes by 16 channels, two tiles of pixels
//! by two of channels at a time.
//!
//! Written over [`Tiles`], so that packing and indexing are tested on every machine with tiles in memory.

mod inputs;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
#[cfg(target_arch = "x86_64")]
use super::super::epilogue::packed_channel;
use super::super::filter::Filter;
use super::super::gather::{SLOTS, STEP, Tile};
use super::super::split::Target;
use super::tiles::{ROW_BYTES, ROWS, SUMS, Tiles};
use super::{Kernel, Layout, Operands, Panel, Part};
use inputs::{Inputs, RowTile, Run, View};

/// Channels of a wide panel: two tiles of sums.
const WIDE: usize = 2 * SUMS;

/// Steps of a block: what one tile of inputs holds.
const BLOCK_STEPS: usize = ROW_BYTES / STEP;

/// Filters of smaller depth leave tiles half empty: vectors take less time.
const DEPTH: usize = 64;

/// Sums of 16 pixels x 32 channels (a narrow last panel has 16), weights in the order
/// `[channel][input]` at each step, so that 16 steps of 16 channels are a tile.
pub(in super::super) struct Tiled<T>(PhantomData<T>);

impl<T: Tiles> Layout for Tiled<T> {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = SLOTS;
    const UNIT: usize = ROWS;

    /// The last block of a panel may begin with its last step.
    const SLACK: usize = BLOCK_STEPS * STEP * WIDE;

    fn suits(filter: &Filter) -> bool {
        filter.depth() >= DEPTH
    }

    fn width(channels: usize) -> usize {
        if channels > SUMS { WIDE } else { SUMS }
    }

    fn channel(lane: usize, width: usize, packed: bool) -> usize {
        #[cfg(target_arch = "x86_64")]
        if T::VECTORS && packed && width == WIDE {
            return packed_channel(lane);
        }
        let _ = (width, packed);
        lane
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * STEP + input
    }

    #[cfg(target_arch = "x86_64")]
    fn put(rows: &[&[i8]], out: &mut [i8]) {
        if T::VECTORS {
            super::vnni::Vnni::<i8>::put(rows, out);
        } else {
            super::vnni::put_rows(rows, 0, STEP, out);
        }
    }
}

/// What a thread keeps from part to part.
#[derive(Default)]
struct Scratch {
    inputs: Inputs,
    sums: [Sums; 4],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<T: Tiles, E: Epilogue> Kernel<E> for Tiled<T> {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i8, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let tap_bytes = operands.steps * STEP;
        SCRATCH.with_borrow_mut(|Scratch { inputs, sums }| {
            inputs.begin(tile.pointers.len() * tap_bytes, 1);
            // SAFETY: the caller's promise.
            unsafe {
                inputs.add::<T>(tile, tap_bytes);
                all_panels::<T, E>(sums, inputs, panels, operands, epilogue, target);
            }
        });
    }

    unsafe fn part(part: &Part, operands: &Operands<i8, i32>, epilogue: &E, target: &Target<E::Out>) {
        let (source, tap_bytes) = (part.source, operands.steps * STEP);
        SCRATCH.with_borrow_mut(|Scratch { inputs, sums }| {
            for (panels, first) in part.groups() {
                let out_bytes = panels.len() * WIDE * size_of::<E::Out>();
                let view = View { source, pixels: part.pixels.clone(), first, tap_bytes, out_bytes };
                // SAFETY: the caller's promise; a source has the pixels of its parts.
                unsafe {
                    inputs.each_block::<T>(&view, |inputs| {
                        all_panels::<T, E>(sums, inputs, panels, operands, epilogue, target);
                    });
                }
            }
        });
    }
}

/// A tile of sums.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Sums([[i32; SUMS]; ROWS]);

impl Sums {
    /// The sums of a pixel.
    fn row(&self, row: usize) -> *const i32 {
        self.0[row].as_ptr()
    }
}

/// Computes all panels, each for all inputs, two tiles of them at a time: its weights then come from the
/// nearest cache, or the inputs do.
///
/// # Safety
/// As for [`Kernel::tile`], with these inputs.
unsafe fn all_panels<T: Tiles, E: Epilogue>(
    sums: &mut [Sums; 4],
    inputs: &Inputs,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut tiles = T::new();
        for panel in panels {
            for pair in inputs.tiles.chunks(2) {
                let offsets = &inputs.offsets;
                match (pair, panel.width) {
                    ([a, b], WIDE) => multiply::<T, 2, 2>(&mut tiles, [a, b], offsets, panel, operands, sums),
                    ([a, b], _) => multiply::<T, 2, 1>(&mut tiles, [a, b], offsets, panel, operands, sums),
                    ([a], WIDE) => multiply::<T, 1, 2>(&mut tiles, [a, a], offsets, panel, operands, sums),
                    ([a, ..], _) => multiply::<T, 1, 1>(&mut tiles, [a, a], offsets, panel, operands, sums),
                    ([], _) => {}
                }
                for (tile, sums) in pair.iter().zip(sums.chunks_exact(2)) {
                    finish::<T, E>(inputs.runs(tile), panel, sums, epilogue, target);
                }
            }
        }
    }
}

/// The sums of `R` tiles of pixels with the `C` tiles of channels of a panel: `sums[2 * r + c]`.
///
/// # Safety
/// The machine must have the tiles, the inputs be readable, and the panel belong to the operands.
#[inline(always)]
unsafe fn multiply<T: Tiles, const R: usize, const C: usize>(
    tiles: &mut T,
    [first, second]: [&RowTile; 2],
    offsets: &[usize],
    panel: &Panel,
    operands: &Operands<i8, i32>,
    sums: &mut [Sums; 4],
) {
    let stride = panel.width * STEP;
    let mut weights = operands.weights[panel.weights..].as_ptr().cast::<u8>();
    let initial = operands.initial[panel.lane..][..C * SUMS].as_ptr();
    // SAFETY: initial sums were just counted, and a stride of 0 gives them to every row; weights have a
    // block's slack behind the last; the rest is the caller's promise.
    unsafe {
        tiles.load::<0>(initial.cast(), 0);
        if R == 2 {
            tiles.load::<2>(initial.cast(), 0);
        }
        if C == 2 {
            tiles.load::<1>(initial.add(SUMS).cast(), 0);
            if R == 2 {
                tiles.load::<3>(initial.add(SUMS).cast(), 0);
            }
        }
        for &offset in offsets {
            tiles.load::<4>(first.rows.add(offset), first.stride);
            tiles.load::<6>(weights, stride);
            tiles.dot::<0, 4, 6>();
            if C == 2 {
                tiles.load::<7>(weights.add(SUMS * STEP), stride);
                tiles.dot::<1, 4, 7>();
            }
            if R == 2 {
                tiles.load::<5>(second.rows.add(offset), second.stride);
                tiles.dot::<2, 5, 6>();
                if C == 2 {
                    tiles.dot::<3, 5, 7>();
                }
            }
            weights = weights.wrapping_add(BLOCK_STEPS * stride);
        }
        tiles.store::<0>(&mut sums[0].0);
        if C == 2 {
            tiles.store::<1>(&mut sums[1].0);
        }
        if R == 2 {
            tiles.store::<2>(&mut sums[2].0);
            if C == 2 {
                tiles.store::<3>(&mut sums[3].0);
            }
        }
    }
}

/// Makes outputs of the sums of a tile of pixels with a panel.
///
/// # Safety
/// The pixels and the panel's channels must exist, only the caller may write them, and the machine
/// must have AVX-512 where the tiles say so.
#[inline(always)]
unsafe fn finish<T: Tiles, E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &[Sums],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if T::VECTORS {
            return if panel.width == WIDE {
                wide(runs, panel, sums, epilogue, target);
            } else {
                narrow(runs, panel, sums, epilogue, target);
            };
        }
        for run in runs {
            for index in 0..run.count {
                let row = run.row + index;
                let lanes: [i32; WIDE] = std::array::from_fn(|lane| sums[lane / SUMS].0[row][lane % SUMS]);
                let out = target.slice(run.pixel + index, panel.channel, panel.channels);
                epilogue.row(run.sample, panel.lane, &lanes[..panel.channels], out);
            }
        }
    }
}

/// # Safety
/// As for [`finish`]; the machine must have AVX-512 VNNI and VBMI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn wide<E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &[Sums],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for run in runs {
        for index in (0..run.count).step_by(2) {
            let (next, both) = ((index + 1).min(run.count - 1), index + 1 < run.count);
            // SAFETY: the caller's promise; a row of sums is a vector.
            unsafe {
                let of =
                    |sums: &Sums, index: usize| _mm512_load_si512(sums.0[run.row + index].as_ptr().cast());
                let vectors =
                    [[of(&sums[0], index), of(&sums[1], index)], [of(&sums[0], next), of(&sums[1], next)]];
                let out = [index, next].map(|i| target.at(run.pixel + i, panel.channel, panel.channels));
                epilogue.pair([run.sample; 2], panel.lane, vectors, panel.channels, out, both);
            }
        }
    }
}

/// # Safety
/// As for [`wide`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn narrow<E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &[Sums],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for run in runs {
        for index in (0..run.count).step_by(4) {
            let count = (run.count - index).min(4);
            // SAFETY: the caller's promise; a row of sums is a vector.
            unsafe {
                let rows = [0, 1, 2, 3].map(|i: usize| sums[0].row(run.row + index + i.min(count - 1)));
                let vectors = [
                    _mm512_load_si512(rows[0].cast()),
                    _mm512_load_si512(rows[1].cast()),
                    _mm512_load_si512(rows[2].cast()),
                    _mm512_load_si512(rows[3].cast()),
                ];
                let out = target.at(run.pixel + index, panel.channel, panel.channels);
                let pitch = target.channels();
                epilogue.quad(&[run.sample; 4], panel.lane, vectors, panel.channels, out, pitch, count);
            }
        }
    }
}
