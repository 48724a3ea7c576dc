//! The product on tiles: 16 pixels by 64 bytes of input times 64 bytes by 16 channels, two tiles of pixels
//! by two of channels at a time.
//!
//! Written over [`Tiles`], so that packing and indexing are tested on every machine with tiles in memory.

mod inputs;
mod padded;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
#[cfg(target_arch = "x86_64")]
use super::super::epilogue::{Row, Strip, packed_channel};
use super::super::gather::{SLOTS, STEP, Tile};
use super::super::split::{Target, share};
use super::tiles::{ASKED_BYTES, ROW_BYTES, ROWS, SUMS, Tiles};
#[cfg(target_arch = "x86_64")]
use super::vnni::Vnni;
use super::{Kernel, Layout, Operands, Panel, Part};
use inputs::{Inputs, Pair, RowTile, Run, View};

/// Channels of a wide panel: two tiles of sums.
const WIDE: usize = 2 * SUMS;

/// Steps of a block: what one tile of inputs holds.
const BLOCK_STEPS: usize = ROW_BYTES / STEP;

/// Weights that stay in the second-level cache beside inputs and outputs.
const FEW_WEIGHTS: usize = 512 << 10;

/// Bytes of inputs of two tiles that stay in the first-level cache while the weights of all panels pass.
const FEW_INPUTS: usize = 24 << 10;

/// Weights are asked for this many blocks ahead when they are read for the first time.
const AHEAD: usize = 8;

/// Sums of 16 pixels x 32 channels (a narrow last panel has 16), weights in the order
/// `[channel][input]` at each step, so that 16 steps of 16 channels are a tile.
pub(in super::super) struct Tiled<T>(PhantomData<T>);

impl<T: Tiles> Layout for Tiled<T> {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = SLOTS;
    const UNIT: usize = ROWS;

    /// Inputs that another thread made are far away, and products soon done: weights may be read twice.
    const MANY_WEIGHTS: usize = 512 << 10;

    const PACE: usize = 8;

    /// A tap is a block then, which need not be gathered.
    const LONG: usize = ROW_BYTES;

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

    #[cfg(target_arch = "x86_64")]
    fn put(rows: &[&[i8]], out: &mut [i8]) {
        if T::VECTORS {
            Vnni::<i8>::put(rows, out);
        } else {
            super::vnni::put_rows(rows, 0, STEP, out);
        }
    }
}

/// What a thread keeps from part to part.
#[derive(Default)]
struct Scratch {
    inputs: Inputs,
    sums: PairSums,
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
            inputs.begin(tile.pointers.len() * tap_bytes, 1, tile.rows);
            // SAFETY: the caller's promise.
            unsafe {
                inputs.add::<T>(tile, tap_bytes);
                Job { inputs, operands, epilogue, target }.run::<T>(panels, sums);
            }
        });
    }

    unsafe fn part(part: &Part, operands: &Operands<i8, i32>, epilogue: &E, target: &Target<E::Out>) {
        let (source, tap_bytes) = (part.source, operands.steps * STEP);
        #[cfg(target_arch = "x86_64")]
        if T::VECTORS
            && source.geometry().fold() == 1
            && leaves_tiles_empty(source.geometry().slots() * tap_bytes, target.channels(), source.pixels())
        {
            // SAFETY: the caller's promise; where the machine has these tiles it has the vectors, whose
            // kernels have their weights in the same order.
            return unsafe { by_vectors(part, operands, epilogue, target) };
        }
        SCRATCH.with_borrow_mut(|Scratch { inputs, sums }| {
            for (panels, first) in part.groups() {
                let out_bytes = panels.len() * WIDE * size_of::<E::Out>();
                let view = View { source, pixels: part.pixels.clone(), first, tap_bytes, out_bytes };
                // SAFETY: the caller's promise; a source has the pixels of its parts.
                unsafe {
                    inputs.each_block::<T>(&view, |inputs| {
                        Job { inputs, operands, epilogue, target }.run::<T>(panels, sums);
                    });
                }
            }
        });
    }
}

/// Whether vectors take less time: filters that are not deep, or neither deep nor many, and few pixels.
#[cfg(target_arch = "x86_64")]
fn leaves_tiles_empty(depth: usize, channels: usize, pixels: usize) -> bool {
    depth < ROW_BYTES || (depth < 3 * ROW_BYTES && channels <= WIDE) || pixels <= 4
}

/// Computes a part with dot products of vectors.
///
/// # Safety
/// As for [`Kernel::part`], of a machine with AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
unsafe fn by_vectors<E: Epilogue>(
    part: &Part,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let rows = <Vnni<i8> as Kernel<E>>::rows(part.source.geometry().slots() * operands.steps);
    // SAFETY: the caller's promise.
    unsafe { Vnni::part(&part.with_rows(rows), operands, epilogue, target) }
}

/// A tile of sums.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Sums([[i32; SUMS]; ROWS]);

/// The sums of two tiles of pixels, one behind the other, with the first tile of channels and with the second.
type PairSums = [[Sums; 2]; 2];

/// The sums of a pixel and those behind it.
#[cfg(target_arch = "x86_64")]
fn rows(sums: &[Sums; 2], row: usize) -> *const Row {
    sums.as_ptr().cast::<Row>().wrapping_add(row)
}

/// Weights that are asked for while others are multiplied: so many bytes from there on at each block, those
/// that follow at the next.
#[derive(Clone, Copy)]
struct Ahead {
    start: *const u8,
    bytes: usize,
}

impl Ahead {
    const NOTHING: Ahead = Ahead { start: std::ptr::null(), bytes: 0 };
}

/// What panels are computed from and for.
struct Job<'a, E: Epilogue> {
    inputs: &'a Inputs,
    operands: &'a Operands<'a, i8, i32>,
    epilogue: &'a E,
    target: &'a Target<'a, E::Out>,
}

impl<E: Epilogue> Job<'_, E> {
    /// Computes all panels for all inputs.
    ///
    /// # Safety
    /// As for [`Kernel::tile`], with these inputs.
    unsafe fn run<T: Tiles>(&self, panels: &[Panel], sums: &mut PairSums) {
        // SAFETY: the caller's promise; where the machine has tiles it has the vectors.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if T::VECTORS {
                return self.run_by_vectors::<T>(panels, sums);
            }
            self.run_pairs::<T>(panels, sums);
        }
    }

    /// The same where vectors make the outputs: all in one function, so that what surrounds a tile is short.
    ///
    /// # Safety
    /// As for [`Job::run`]; the machine must have AVX-512 VNNI and VBMI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn run_by_vectors<T: Tiles>(&self, panels: &[Panel], sums: &mut PairSums) {
        // SAFETY: the caller's promise.
        unsafe { self.run_pairs::<T>(panels, sums) }
    }

    /// Computes all panels for all inputs, two tiles of them at a time.
    ///
    /// Either the inputs of two tiles or the weights of a panel are read from the nearest cache. With few
    /// of both, all panels of some pixels come before the next pixels: outputs are then written line
    /// after line.
    ///
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn run_pairs<T: Tiles>(&self, panels: &[Panel], sums: &mut PairSums) {
        let depth = self.inputs.offsets.len() * ROW_BYTES;
        let by_pixels = 2 * ROWS * depth <= FEW_INPUTS && panels.len() * WIDE * depth <= FEW_WEIGHTS;
        let pairs = || self.inputs.pairs.iter().zip(0..);
        // SAFETY: the caller's promise.
        unsafe {
            let mut tiles = T::new(self.inputs.rows);
            if by_pixels {
                for (pair, index) in pairs() {
                    for panel in panels {
                        let ahead = if index == 0 { self.behind(panel) } else { Ahead::NOTHING };
                        self.panel(&mut tiles, panel, pair, ahead, sums);
                    }
                }
            } else {
                let count = self.inputs.pairs.len();
                for (panel, next) in panels.iter().zip(panels.iter().skip(1).map(Some).chain([None])) {
                    for (pair, index) in pairs() {
                        let ahead = match next {
                            _ if count == 1 => self.behind(panel),
                            Some(next) => self.share(next, index, count),
                            None => Ahead::NOTHING,
                        };
                        self.panel(&mut tiles, panel, pair, ahead, sums);
                    }
                }
            }
        }
    }

    /// What stands some blocks behind the weights of a panel that is read for the first time.
    fn behind(&self, panel: &Panel) -> Ahead {
        let block = BLOCK_STEPS * panel.width * STEP;
        let start = self.operands.weights[panel.weights..].as_ptr().cast::<u8>();
        Ahead { start: start.wrapping_add(AHEAD * block), bytes: block }
    }

    /// A share of the weights of the next panel: they come while all tiles are multiplied, not the first alone,
    /// which would wait for them.
    fn share(&self, next: &Panel, index: usize, count: usize) -> Ahead {
        let blocks = self.inputs.offsets.len();
        let start = self.operands.weights[next.weights..].as_ptr().cast::<u8>();
        let asked = share(blocks * BLOCK_STEPS * next.width * STEP / ASKED_BYTES, count, index);
        Ahead {
            start: start.wrapping_add(asked.start * ASKED_BYTES),
            bytes: asked.len().div_ceil(blocks) * ASKED_BYTES,
        }
    }

    /// Computes a panel for one or two tiles of pixels, and asks for weights meanwhile.
    ///
    /// # Safety
    /// As for [`Job::run`].
    #[inline(always)]
    unsafe fn panel<T: Tiles>(
        &self,
        tiles: &mut T,
        panel: &Panel,
        pair: &Pair,
        ahead: Ahead,
        sums: &mut PairSums,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let upper = pair.upper;
            match (pair.lower, panel.width) {
                (Some(lower), WIDE) => self.multiply::<T, 2, 2>(tiles, [upper, lower], panel, ahead, sums),
                (Some(lower), _) => self.multiply::<T, 2, 1>(tiles, [upper, lower], panel, ahead, sums),
                (None, WIDE) => self.multiply::<T, 1, 2>(tiles, [upper; 2], panel, ahead, sums),
                (None, _) => self.multiply::<T, 1, 1>(tiles, [upper; 2], panel, ahead, sums),
            }
            finish::<T, E>(self.inputs.runs(pair), panel, sums, self.epilogue, self.target);
        }
    }

    /// The sums of `R` tiles of pixels with the `C` tiles of channels of a panel: `sums[c][r]`.
    ///
    /// # Safety
    /// The machine must have the tiles, the inputs be readable, and the panel belong to the operands.
    #[inline(always)]
    unsafe fn multiply<T: Tiles, const R: usize, const C: usize>(
        &self,
        tiles: &mut T,
        [upper, lower]: [RowTile; 2],
        panel: &Panel,
        mut ahead: Ahead,
        sums: &mut PairSums,
    ) {
        let stride = panel.width * STEP;
        let mut weights = self.operands.weights[panel.weights..].as_ptr().cast::<u8>();
        let initial = self.operands.initial[panel.lane..][..C * SUMS].as_ptr();
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
            for &offset in &self.inputs.offsets {
                tiles.ask(ahead.start, ahead.bytes);
                ahead.start = ahead.start.wrapping_add(ahead.bytes);
                tiles.load::<4>(upper.rows.add(offset), upper.stride);
                tiles.load::<6>(weights, stride);
                tiles.dot::<0, 4, 6>();
                if C == 2 {
                    tiles.load::<7>(weights.add(SUMS * STEP), stride);
                    tiles.dot::<1, 4, 7>();
                }
                if R == 2 {
                    tiles.load::<5>(lower.rows.add(offset), lower.stride);
                    tiles.dot::<2, 5, 6>();
                    if C == 2 {
                        tiles.dot::<3, 5, 7>();
                    }
                }
                weights = weights.wrapping_add(BLOCK_STEPS * stride);
            }
            tiles.store::<0>(&mut sums[0][0].0);
            if C == 2 {
                tiles.store::<1>(&mut sums[1][0].0);
            }
            if R == 2 {
                tiles.store::<2>(&mut sums[0][1].0);
                if C == 2 {
                    tiles.store::<3>(&mut sums[1][1].0);
                }
            }
        }
    }
}

/// Makes outputs of the sums of a pair with a panel.
///
/// # Safety
/// The pixels and the panel's channels must exist, only the caller may write them, and the machine
/// must have AVX-512 where the tiles say so.
#[inline(always)]
unsafe fn finish<T: Tiles, E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &PairSums,
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
                let lanes: [i32; WIDE] =
                    std::array::from_fn(|lane| sums[lane / SUMS][row / ROWS].0[row % ROWS][lane % SUMS]);
                let out = target.slice(run.pixel + index, panel.channel, panel.channels);
                epilogue.row(run.sample, panel.lane, &lanes[..panel.channels], out);
            }
        }
    }
}

/// # Safety
/// As for [`finish`]; the machine must have AVX-512 VNNI and VBMI.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn wide<E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &PairSums,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for run in runs {
        let strip = Strip {
            sample: run.sample,
            lane: panel.lane,
            channels: panel.channels,
            sums: [rows(&sums[0], run.row), rows(&sums[1], run.row)],
            count: run.count,
            out: target.at(run.pixel, panel.channel, panel.channels),
            pitch: target.channels(),
        };
        // SAFETY: the caller's promise.
        unsafe {
            if panel.channels == WIDE {
                epilogue.wide(&strip);
            } else {
                strip.pairs(epilogue, 0);
            }
        }
    }
}

/// # Safety
/// As for [`wide`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn narrow<E: Epilogue>(
    runs: &[Run],
    panel: &Panel,
    sums: &PairSums,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for run in runs {
        for index in (0..run.count).step_by(4) {
            let count = (run.count - index).min(4);
            // SAFETY: the caller's promise; a row of sums is a vector.
            unsafe {
                let rows = [0, 1, 2, 3].map(|i: usize| rows(&sums[0], run.row + index + i.min(count - 1)));
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
