//! The product on tiles: 16 pixels by 64 bytes of input times 64 bytes by 16 channels, up to four
//! tiles of sums at a time.
//!
//! Written over [`Tiles`], so that packing and indexing are tested on every machine with tiles in
//! memory. The inputs of pixels that lie equally far apart are read where they are; others are
//! gathered first.

use std::cell::RefCell;
use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
#[cfg(target_arch = "x86_64")]
use super::super::epilogue::packed_channel;
use super::super::gather::{SLOTS, STEP, Tile};
use super::super::split::Target;
use super::tiles::{ROW_BYTES, ROWS, SUMS, Tiles};
use super::{Kernel, Layout, Operands, Panel, finish_rows};

/// Channels of a wide panel: two tiles of sums.
const WIDE: usize = 2 * SUMS;

/// Steps of a block: what one tile of inputs holds.
const BLOCK_STEPS: usize = ROW_BYTES / STEP;

/// Tiles 0 to 3 hold sums.
const INPUTS: usize = 4;
const WEIGHTS: usize = 5;

/// Sums of 16 pixels x 32 channels (a narrow last panel has 16), weights in the order
/// `[channel][input]` at each step, so that 16 steps of 16 channels are a tile.
pub(in super::super) struct Tiled<T>(PhantomData<T>);

impl<T: Tiles> Layout for Tiled<T> {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = SLOTS;

    /// The last block of a panel may begin with its last step.
    const SLACK: usize = BLOCK_STEPS * STEP * WIDE;

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
}

/// Where the rows of a block of inputs are.
#[derive(Clone, Copy)]
struct Block {
    rows: *const u8,
    stride: usize,
}

/// What a thread keeps from tile to tile.
#[derive(Default)]
struct Scratch {
    blocks: Vec<Block>,
    /// Rows of inputs of all taps, one after the other, zeros behind them.
    gathered: Vec<u8>,
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
        SCRATCH.with_borrow_mut(|scratch| {
            // SAFETY: the caller's promise; a block reads what `find` found, and weights have slack.
            unsafe {
                let mut tiles = T::new();
                scratch.find(tile, operands.steps);
                // Wide panels come first: two of them have four tiles of sums.
                for panels in panels.chunks(2) {
                    let [first, second] = [panels.first(), panels.get(1)];
                    let (Some(first), width) = (first, second.map_or(0, |panel| panel.width)) else {
                        continue;
                    };
                    let sums = match first.width + width {
                        16 => sums::<T, 1>(&mut tiles, &scratch.blocks, panels, operands),
                        32 => sums::<T, 2>(&mut tiles, &scratch.blocks, panels, operands),
                        48 => sums::<T, 3>(&mut tiles, &scratch.blocks, panels, operands),
                        _ => sums::<T, 4>(&mut tiles, &scratch.blocks, panels, operands),
                    };
                    let mut sums = sums.as_slice();
                    for panel in panels {
                        let (own, rest) = sums.split_at(panel.width / SUMS);
                        finish::<T, E>(tile, panel, own, epilogue, target);
                        sums = rest;
                    }
                }
            }
        });
    }
}

impl Scratch {
    /// Finds the blocks of a tile's inputs: in place where its pixels lie equally far apart and taps
    /// are whole blocks, else gathered.
    ///
    /// # Safety
    /// The tile's pointers must be readable for all steps.
    unsafe fn find(&mut self, tile: &Tile, steps: usize) {
        let tap_bytes = steps * STEP;
        let pitch = (tile.pointers.len() * tap_bytes).next_multiple_of(ROW_BYTES);
        if self.gathered.len() < ROWS * pitch {
            self.gathered.resize(ROWS * pitch, 0);
        }
        let whole = steps.is_multiple_of(BLOCK_STEPS);
        self.blocks.clear();
        if !whole {
            // What an earlier tile left behind the last tap would be multiplied.
            let used = tile.pointers.len() * tap_bytes;
            for row in self.gathered.chunks_exact_mut(pitch).take(ROWS) {
                row[used..].fill(0);
            }
        }
        for (tap, pointers) in tile.pointers.iter().enumerate() {
            let stride = (pointers[1] as usize).wrapping_sub(pointers[0] as usize);
            let even = |pair: &[*const u8]| (pair[1] as usize).wrapping_sub(pair[0] as usize) == stride;
            let in_place = whole && stride as isize >= 0 && pointers[..ROWS].windows(2).all(even);
            let start = tap * tap_bytes;
            if in_place {
                let blocks = (0..tap_bytes).step_by(ROW_BYTES);
                self.blocks.extend(blocks.map(|at| Block { rows: pointers[0].wrapping_add(at), stride }));
                continue;
            }
            for (row, &pointer) in self.gathered.chunks_exact_mut(pitch).zip(&pointers[..ROWS]) {
                // SAFETY: the caller's promise.
                let bytes = unsafe { std::slice::from_raw_parts(pointer, tap_bytes) };
                row[start..start + tap_bytes].copy_from_slice(bytes);
            }
            if whole {
                let blocks = (start..start + tap_bytes).step_by(ROW_BYTES);
                let gathered = self.gathered.as_ptr();
                self.blocks.extend(blocks.map(|at| Block { rows: gathered.wrapping_add(at), stride: pitch }));
            }
        }
        if !whole {
            let gathered = self.gathered.as_ptr();
            let blocks = (0..pitch).step_by(ROW_BYTES);
            self.blocks.extend(blocks.map(|at| Block { rows: gathered.wrapping_add(at), stride: pitch }));
        }
    }
}

/// A tile of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[i32; SUMS]; ROWS]);

/// The sums of one or two panels that have `N` tiles of 16 channels together.
///
/// # Safety
/// The machine must have the tiles, the blocks be readable, and the panels belong to the operands.
#[inline(always)]
unsafe fn sums<T: Tiles, const N: usize>(
    tiles: &mut T,
    blocks: &[Block],
    panels: &[Panel],
    operands: &Operands<i8, i32>,
) -> [Sums; 4] {
    let mut columns = [(std::ptr::null::<i8>(), std::ptr::null::<i32>(), 0); 4];
    let places = panels.iter().flat_map(|panel| (0..panel.width / SUMS).map(move |tile| (panel, tile)));
    for (column, (panel, tile)) in columns.iter_mut().zip(places) {
        let lane = panel.lane + tile * SUMS;
        let weights = operands.weights[panel.weights + tile * SUMS * STEP..].as_ptr();
        *column = (weights, operands.initial[lane..][..SUMS].as_ptr(), panel.width * STEP);
    }
    let mut sums = [Sums([[0; SUMS]; ROWS]); 4];
    /// Runs a statement for each column there is, its number a constant.
    macro_rules! each_column {
        ($column:ident => $body:expr) => {
            each_column!($column, 0 1 2 3 => $body)
        };
        ($column:ident, $($index:literal)* => $body:expr) => {
            $(if $index < N {
                const $column: usize = $index;
                $body
            })*
        };
    }
    // SAFETY: initial sums were just counted, and a stride of 0 gives them to every row; weights have a
    // block's slack behind the last; the rest is the caller's promise.
    unsafe {
        each_column!(COLUMN => tiles.load::<COLUMN>(columns[COLUMN].1.cast(), 0));
        for (index, block) in blocks.iter().enumerate() {
            tiles.load::<INPUTS>(block.rows, block.stride);
            each_column!(COLUMN => {
                let (weights, _, stride) = columns[COLUMN];
                tiles.load::<WEIGHTS>(weights.add(index * BLOCK_STEPS * stride).cast(), stride);
                tiles.dot::<COLUMN, INPUTS, WEIGHTS>();
            });
        }
        each_column!(COLUMN => tiles.store::<COLUMN>(&mut sums[COLUMN].0));
    }
    sums
}

/// Makes outputs of the sums of a panel.
///
/// # Safety
/// The pixels and the panel's channels must exist, only the caller may write them, and the machine
/// must have AVX-512 where the tiles say so.
#[inline(always)]
unsafe fn finish<T: Tiles, E: Epilogue>(
    tile: &Tile,
    panel: &Panel,
    sums: &[Sums],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if T::VECTORS {
            return match sums {
                [first, second, ..] => wide(tile, panel, [first, second], epilogue, target),
                [only] => narrow(tile, panel, only, epilogue, target),
                [] => {}
            };
        }
        if let [first, second, ..] = sums {
            let rows: [[i32; WIDE]; ROWS] = std::array::from_fn(|row| {
                std::array::from_fn(
                    |lane| if lane < SUMS { first.0[row][lane] } else { second.0[row][lane - SUMS] },
                )
            });
            finish_rows(tile, panel, &rows, epilogue, target);
        } else if let [only] = sums {
            finish_rows(tile, panel, &only.0, epilogue, target);
        }
    }
}

/// # Safety
/// As for [`finish`]; the machine must have AVX-512 VNNI and VBMI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn wide<E: Epilogue>(
    tile: &Tile,
    panel: &Panel,
    sums: [&Sums; 2],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for row in (0..tile.rows).step_by(2) {
        let (next, both) = ((row + 1).min(tile.rows - 1), row + 1 < tile.rows);
        // SAFETY: the caller's promise; a row of sums is a vector.
        unsafe {
            let of = |row: usize| sums.map(|sums| sums.0[row].as_ptr().cast::<__m512i>());
            let [a, b] = [of(row), of(next)];
            let sums = [
                [_mm512_load_si512(a[0]), _mm512_load_si512(a[1])],
                [_mm512_load_si512(b[0]), _mm512_load_si512(b[1])],
            ];
            let out = [row, next].map(|row| target.at(tile.pixel + row, panel.channel, panel.channels));
            let samples = [tile.samples[row], tile.samples[next]];
            epilogue.pair(samples, panel.lane, sums, panel.channels, out, both);
        }
    }
}

/// # Safety
/// As for [`wide`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn narrow<E: Epilogue>(
    tile: &Tile,
    panel: &Panel,
    sums: &Sums,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for row in (0..tile.rows).step_by(4) {
        // SAFETY: the caller's promise; a row of sums is a vector.
        unsafe {
            let rows = sums.0[row..].as_ptr().cast::<__m512i>();
            let sums = [
                _mm512_load_si512(rows),
                _mm512_load_si512(rows.add(1)),
                _mm512_load_si512(rows.add(2)),
                _mm512_load_si512(rows.add(3)),
            ];
            let out = target.at(tile.pixel + row, panel.channel, panel.channels);
            let count = (tile.rows - row).min(4);
            let samples = &tile.samples[row..];
            epilogue.quad(samples, panel.lane, sums, panel.channels, out, target.channels(), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::conv::initial_sums;
    use super::super::super::epilogue::Requantizer;
    use super::super::super::filter::{Filter, WeightOrder};
    use super::super::super::gather::Source;
    use super::super::super::requantize::Requantize;
    use super::super::Packed;
    use super::super::tiles::Portable;
    use super::*;
    use crate::reference::quantized as reference;
    use crate::{Isa, ThreadPool, Window};

    const SAME: Window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };

    /// Image, window, groups, input and output channels: inputs in place and gathered, blocks that end
    /// within a tap and at its end, one to five tiles of channels, tiles of few pixels.
    const LAYERS: [([usize; 3], Window, usize, usize, usize); 8] = [
        ([1, 5, 7], Window::POINT, 1, 64, 16),
        ([2, 4, 5], Window::POINT, 1, 128, 80),
        ([1, 6, 6], Window { stride: [2, 2], ..Window::POINT }, 1, 64, 48),
        ([1, 7, 6], SAME, 1, 64, 40),
        ([2, 5, 5], SAME, 1, 20, 70),
        ([1, 9, 9], SAME, 1, 3, 17),
        ([1, 3, 3], SAME, 2, 24, 66),
        ([1, 1, 1], Window::POINT, 1, 300, 33),
    ];

    fn bytes(count: usize, step: usize) -> Vec<u8> {
        (0..count).map(|i| (i * step + i / 241 * 7) as u8).collect()
    }

    /// Asserts that the kernel over these tiles gives what plain loops give.
    fn check<T: Tiles>(name: &str) {
        for (shape, window, groups, in_channels, out_channels) in LAYERS {
            let weights: Vec<i8> = bytes(window.taps() * in_channels / groups * out_channels, 89)
                .into_iter()
                .map(|byte| byte as i8)
                .collect();
            let order = WeightOrder::OutputFirst;
            let filter = Filter { window, groups, in_channels, out_channels, order, weights: &weights };
            let input = bytes(shape.iter().product::<usize>() * in_channels, 37);
            let scale = (0..out_channels).map(|c| 1e-4 * (1 + c % 7) as f32).collect();
            let requantize = Requantize { scale, zero_point: 77, min: 3, max: 250 };
            let bias: Vec<i32> = (0..out_channels as i32).map(|c| 997 * c - 9000).collect();
            let expected = reference::conv2d(&input, shape, &filter, Some(&bias), 119, &requantize);
            let packed = Packed::<Tiled<T>>::new(&filter, Requantizer::PACKED);
            let initial = initial_sums(&packed.lanes, &filter, Some(&bias), 119);
            let epilogue = Requantizer::new(&requantize, &packed.lanes);
            let border = vec![119; packed.geometry.read()];
            for threads in [1, 2] {
                let source = Source::new(&packed.geometry, &input, shape, &border);
                let mut output = vec![0; expected.len()];
                let pool = ThreadPool::new(threads);
                packed.run_each::<Requantizer, _>(&pool, &source, &initial, || &epilogue, &mut output);
                assert_eq!(output, expected, "{name}, {shape:?}, {in_channels} to {out_channels}");
            }
        }
    }

    #[test]
    fn tiles_in_memory_equal_plain_loops() {
        check::<Portable<false>>("plain outputs");
        if Isa::Vnni.available() {
            check::<Portable<true>>("outputs by vectors");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn tiles_of_amx_equal_plain_loops() {
        if Isa::Amx.available() {
            check::<super::super::tiles::Amx>("AMX");
        } else {
            assert!(!Isa::available_levels().contains(&Isa::Amx));
            println!("no AMX on this machine: only tiles in memory were tested");
        }
    }
}
