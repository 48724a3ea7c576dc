//! Single weights: pixels stand side by side in registers, so that each weight that is not zero is one
//! multiply-add for all of them.
//!
//! The pixels of a tile are brought side by side a block of steps at a time, which stays in the first-level
//! cache: every product loads its inputs from there. What a block adds to each output is kept until the last
//! one; then outputs are turned back. Each output is one chain of products. Channels are computed in pairs of
//! like numbers of weights, the fewer filled up with zeros, so that there are chains enough side by side.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::aligned::Aligned;
use crate::float::Clamp;
use crate::float::filters::Filters;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};
use crate::float::packed::Output;
use crate::float::split::{Split, part};
use crate::float::taps::Taps;
use crate::float::workspace::with_workspace;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Steps of a block.
const BLOCK: usize = 96;

/// Most registers of pixels in a tile.
const MOST: usize = 4;

/// Most floats in a register.
const WIDEST: usize = 16;

/// A weight that is not zero.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Weight {
    /// Where its inputs begin in a block of one register a step.
    at: u32,
    value: f32,
}

/// Two channels in one block.
#[derive(Clone, Copy)]
struct Pair {
    /// Where their weights begin: one of the first channel, one of the second, and so on.
    start: u32,
    /// How many each has.
    count: u32,
    channels: [u32; 2],
}

/// Steps of a tap that are brought side by side.
struct Turn {
    /// A pointer to each pixel of the tile, as many as its registers have lanes.
    pixels: *const *const f32,
    /// The first float at the pointers, and how many.
    first: usize,
    count: usize,
    /// Where the first step goes: `[count][pixels]`.
    to: *mut f32,
}

/// Channels of which one block's products are added up.
struct Sum {
    /// The block's inputs, `[BLOCK][pixels]`.
    inputs: *const f32,
    weights: *const Weight,
    pairs: *const Pair,
    count: usize,
    /// The channel that comes first in `before` and `to`.
    first: usize,
    /// The biases of all channels, for the first block.
    bias: *const f32,
    /// What the blocks before gave, unless this is the first: `[channels][pixels]`.
    before: *const f32,
    /// Where the sums go: `[channels][pixels]`.
    to: *mut f32,
    /// What will be needed next and may still be in memory, unless null: places so many floats apart, two
    /// registers' worth of which is asked for at each pair. They may lie anywhere; to ask for what is not there,
    /// again and again, would take long.
    ahead: [*const f32; 2],
    apart: usize,
}

/// Outputs of up to a register of channels for the pixels of a tile.
struct Finish {
    /// `[channels][pixels]`.
    sums: *const f32,
    channels: usize,
    pixels: usize,
    output: *mut f32,
    /// As in [`Tile`](crate::float::tile::Tile).
    addend: *const f32,
    pitch: usize,
    clamp: Clamp,
}

/// The functions of one instruction set, for tiles of 1, 2, ... [`MOST`] registers of pixels.
struct Functions {
    lanes: usize,
    turn: [unsafe fn(&Turn); MOST],
    sum: [unsafe fn(&Sum); MOST],
    finish: [unsafe fn(&Finish); MOST],
}

for_each_isa!(
    /// See [`Turn`].
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what is said of them.
    unsafe fn turn<const V: usize>(argument: &super::Turn) = turn;
    /// See [`Sum`].
    ///
    /// # Safety
    /// As `turn`.
    unsafe fn sum<const V: usize>(argument: &super::Sum) = sum;
    /// See [`Finish`].
    ///
    /// # Safety
    /// As `turn`.
    unsafe fn finish<const V: usize>(argument: &super::Finish) = finish
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Functions {
            lanes: <$lanes>::COUNT,
            turn: [$isa::turn::<1>, $isa::turn::<2>, $isa::turn::<3>, $isa::turn::<4>],
            sum: [$isa::sum::<1>, $isa::sum::<2>, $isa::sum::<3>, $isa::sum::<4>],
            finish: [$isa::finish::<1>, $isa::finish::<2>, $isa::finish::<3>, $isa::finish::<4>],
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set.
    ///
    /// # Panics
    /// When the machine does not have it.
    fn functions -> Functions = functions
);

#[inline(always)]
unsafe fn turn<L: Lanes, const V: usize>(turn: &Turn) {
    for register in 0..V {
        // SAFETY: there are as many pointers and as much room, by the caller's promise.
        unsafe {
            let pixels = turn.pixels.add(register * L::COUNT);
            L::turn(pixels, turn.first, turn.count, turn.to.add(register * L::COUNT), V * L::COUNT);
        }
    }
}

#[inline(always)]
unsafe fn sum<L: Lanes, const V: usize>(sum: &Sum) {
    let pixels = V * L::COUNT;
    // SAFETY: of every access: in bounds by the caller's promise. Prefetched addresses may lie anywhere.
    unsafe {
        for index in 0..sum.count {
            let Pair { start, count, channels } = *sum.pairs.add(index);
            let rows = channels.map(|channel| (channel as usize - sum.first) * pixels);
            let mut sums = [[L::zero(); V]; 2];
            for (channel, sums) in sums.iter_mut().enumerate() {
                for (v, value) in sums.iter_mut().enumerate() {
                    *value = if sum.before.is_null() {
                        L::splat(*sum.bias.add(channels[channel] as usize))
                    } else {
                        L::load(sum.before.add(rows[channel] + v * L::COUNT))
                    };
                }
            }
            for ahead in sum.ahead.into_iter().filter(|ahead| !ahead.is_null()) {
                for v in 0..2 * V {
                    L::prefetch_far(ahead.wrapping_add((index * 2 * V + v) * sum.apart));
                }
            }
            let mut weight = sum.weights.add(start as usize);
            for _ in 0..count {
                add::<L, V>(&mut sums[0], sum.inputs, *weight);
                add::<L, V>(&mut sums[1], sum.inputs, *weight.add(1));
                weight = weight.add(2);
            }
            for (row, sums) in rows.iter().zip(&sums) {
                for (v, value) in sums.iter().enumerate() {
                    value.store(sum.to.add(row + v * L::COUNT));
                }
            }
        }
    }
}

/// Adds the products of a weight with all pixels.
#[inline(always)]
unsafe fn add<L: Lanes, const V: usize>(sums: &mut [L; V], inputs: *const f32, weight: Weight) {
    // SAFETY: inputs are there for each weight, as the caller promises.
    unsafe {
        let (inputs, value) = (inputs.add(weight.at as usize * V), L::splat(weight.value));
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = sum.add_product(L::load(inputs.add(v * L::COUNT)), value);
        }
    }
}

#[inline(always)]
unsafe fn finish<L: Lanes, const V: usize>(finish: &Finish) {
    let Clamp { min, max } = finish.clamp;
    let whole = finish.channels == L::COUNT;
    let mut turned = [0.0_f32; WIDEST * WIDEST];
    // SAFETY: of every access: in bounds by the caller's promise; rows beyond the channels repeat the last.
    unsafe {
        let row = |channel: usize| finish.sums.add(channel.min(finish.channels - 1) * V * L::COUNT);
        let rows: [*const f32; WIDEST] = std::array::from_fn(row);
        for first in (0..finish.pixels).step_by(L::COUNT) {
            let count = L::COUNT.min(finish.pixels - first);
            L::turn(rows.as_ptr(), first, count, turned.as_mut_ptr(), L::COUNT);
            for pixel in 0..count {
                let mut value = L::load(turned.as_ptr().add(pixel * L::COUNT));
                let at = (first + pixel) * finish.pitch;
                if !finish.addend.is_null() {
                    let from = finish.addend.add(at);
                    value =
                        value.add(if whole { L::load(from) } else { L::load_first(from, finish.channels) });
                }
                let (value, to) = (value.clamp(min, max), finish.output.add(at));
                if whole { value.store(to) } else { value.store_first(to, finish.channels) }
            }
        }
    }
}

/// Packed weights.
pub(in crate::float) struct Scattered {
    functions: &'static Functions,
    out_channels: usize,
    taps: usize,
    depth: usize,
    /// One for each channel, and one more for the pair of the last.
    bias: Vec<f32>,
    /// Block after block, those of each pair.
    weights: Aligned<Weight>,
    /// Those of each block. All channels of a panel are in pairs with each other; where their number is odd,
    /// there is one behind the last, without weights.
    pairs: Vec<Pair>,
    /// Weights that are not zero.
    kept: usize,
}

impl Scattered {
    /// For `taps` taps of `depth` floats each, with all weights zero.
    pub(in crate::float) fn new(isa: Isa, out_channels: usize, taps: usize, depth: usize) -> Scattered {
        let functions = functions(isa);
        let (bias, weights, pairs) = (Vec::new(), Aligned::zeroed(0), Vec::new());
        Scattered { functions, out_channels, taps, depth, bias, weights, pairs, kept: 0 }
    }

    /// Packs weights and the bias.
    ///
    /// # Panics
    /// When there are 2^32 weights or more.
    pub(in crate::float) fn fill(
        &mut self,
        isa: Isa,
        pool: &ThreadPool,
        filters: Filters<'_>,
        bias: Option<&[f32]>,
    ) {
        assert_eq!(filters.order.steps(), self.taps * self.depth, "weights of an output channel");
        self.bias = bias.map_or_else(|| vec![0.0; self.out_channels], <[f32]>::to_vec);
        self.bias.push(0.0);
        let mut kept: Vec<Vec<Kept>> = (0..self.panels()).map(|_| Vec::new()).collect();
        let parts = DisjointSlice::new(&mut kept);
        pool.run(self.panels(), &|panel| {
            // SAFETY: each task has its own panel.
            unsafe { parts.piece(panel..panel + 1)[0] = self.keep(isa, filters, self.channels(panel)) };
        });
        let total = kept.iter().flatten().map(|kept| kept.weights.len()).sum();
        assert!(u32::try_from(total).is_ok(), "number of weights");
        self.weights = Aligned::lasting(total);
        self.pairs = Vec::with_capacity(self.blocks() * self.out_channels.div_ceil(2));
        self.kept = 0;
        let mut start = 0;
        for block in 0..self.blocks() {
            for kept in kept.iter().map(|panel| &panel[block]) {
                let own = kept.pairs.iter().map(|pair| Pair { start: start as u32 + pair.start, ..*pair });
                self.pairs.extend(own);
                self.weights[start..start + kept.weights.len()].copy_from_slice(&kept.weights);
                start += kept.weights.len();
                self.kept += kept.count;
            }
        }
    }

    /// For each block, the weights of some channels that are not zero.
    fn keep(&self, isa: Isa, filters: Filters<'_>, channels: Range<usize>) -> Vec<Kept> {
        let lanes = self.functions.lanes;
        let mut all = Aligned::zeroed(self.taps * self.depth * lanes);
        filters.pack(isa, [channels.start, channels.len()], lanes, &mut all);
        let mut found = Box::new([[Weight { at: 0, value: 0.0 }; BLOCK + 1]; WIDEST]);
        let mut of_block = |block: &[f32]| {
            let mut counts = [0; WIDEST];
            for (step, row) in block.chunks_exact(lanes).enumerate() {
                for ((value, found), count) in row.iter().zip(found.iter_mut()).zip(&mut counts) {
                    // Without a jump: what is zero is written over.
                    found[*count] = Weight { at: (step * lanes) as u32, value: *value };
                    *count += usize::from(*value != 0.0);
                }
            }
            let mut rows: Vec<usize> = (0..channels.len().next_multiple_of(2)).collect();
            rows.sort_by_key(|row| counts[*row]);
            let most = counts.iter().sum::<usize>() + BLOCK;
            let mut kept = Kept { weights: Vec::with_capacity(most), ..Kept::default() };
            for pair in rows.chunks_exact(2) {
                let (start, count) = (kept.weights.len() as u32, counts[pair[0]].max(counts[pair[1]]));
                for row in pair {
                    found[*row][counts[*row]..count].fill(Weight { at: 0, value: 0.0 });
                    kept.count += counts[*row];
                }
                let [a, b] = [&found[pair[0]][..count], &found[pair[1]][..count]];
                kept.weights.extend(a.iter().zip(b).flat_map(|(a, b)| [*a, *b]));
                let channels = [pair[0], pair[1]].map(|row| (channels.start + row) as u32);
                kept.pairs.push(Pair { start, count: count as u32, channels });
            }
            kept
        };
        all.chunks(BLOCK * lanes).map(&mut of_block).collect()
    }

    /// Number of blocks.
    fn blocks(&self) -> usize {
        (self.taps * self.depth).div_ceil(BLOCK)
    }

    /// Most pixels in a tile.
    pub(in crate::float) fn most_pixels(&self) -> usize {
        MOST * self.functions.lanes
    }

    /// Pixels that tiles are cut in.
    pub(in crate::float) fn unit(&self) -> usize {
        self.functions.lanes
    }

    /// Number of panels: a register of channels each.
    pub(in crate::float) fn panels(&self) -> usize {
        self.out_channels.div_ceil(self.functions.lanes)
    }

    /// The output channels of a panel.
    fn channels(&self, panel: usize) -> Range<usize> {
        let lanes = self.functions.lanes;
        panel * lanes..self.out_channels.min((panel + 1) * lanes)
    }

    /// Weights that are not zero.
    pub(in crate::float) fn weights(&self) -> usize {
        self.kept
    }

    /// Computes one task of `split`, whose tiles are of [`unit`](Scattered::unit) pixels, and which has as
    /// many panels.
    ///
    /// # Safety
    /// No other thread writes the pixels and channels of this task; `taps` points, for each of
    /// the pixels of the split, to as many taps with as many floats as it was made for.
    pub(in crate::float) unsafe fn run(
        &self,
        taps: &mut Taps<'_>,
        split: &Split,
        task: usize,
        output: &Output<'_>,
    ) {
        let (units, panels) = split.task(task);
        let units_per_block = (taps.block() / self.unit()).max(1);
        for start in units.clone().step_by(units_per_block) {
            let units = start..units.end.min(start.saturating_add(units_per_block));
            taps.enter(split.pixels(units.clone()));
            let tiles = units.len().div_ceil(MOST);
            for tile in 0..tiles {
                let own = part(units.len(), tile, tiles);
                let pixels = split.pixels(units.start + own.start..units.start + own.end);
                let pointers = taps.find(pixels.start, pixels.len());
                // SAFETY: handed on.
                unsafe { self.run_tile(pointers, pixels, panels.clone(), output) };
            }
        }
    }

    /// Computes all channels of one tile.
    ///
    /// # Safety
    /// As [`Scattered::run`]; the pointers are those of the pixels, at most
    /// [`most_pixels`](Scattered::most_pixels) of them.
    pub(in crate::float) unsafe fn run_pixels(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        output: &Output<'_>,
    ) {
        // SAFETY: handed on.
        unsafe { self.run_tile(pointers, pixels, 0..self.panels(), output) };
    }

    /// Computes one tile for some panels.
    ///
    /// # Safety
    /// As [`Scattered::run_pixels`].
    unsafe fn run_tile(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        panels: Range<usize>,
        output: &Output<'_>,
    ) {
        let (lanes, blocks) = (self.functions.lanes, self.blocks());
        let registers = pixels.len().div_ceil(lanes);
        let side = registers * lanes;
        let (sum, finish) = (self.functions.sum[registers - 1], self.functions.finish[registers - 1]);
        let channels = self.channels(panels.start).start..self.channels(panels.end - 1).end;
        let kept = if blocks > 1 { channels.len().next_multiple_of(2) * side } else { 0 };
        with_workspace((BLOCK + lanes) * side + kept, |space| {
            let (inputs, space) = space.split_at_mut(BLOCK * side);
            let (last, between) = space.split_at_mut(lanes * side);
            // What a block reads there it writes over.
            let between = between.as_mut_ptr();
            for block in 0..blocks {
                // SAFETY: the caller's promise about the pointers; there is room for a block.
                unsafe { self.turn_block(block, pointers, pixels.len(), inputs) };
                let before = |first: usize| match block {
                    0 => std::ptr::null(),
                    _ => between.wrapping_add((first - channels.start) * side).cast_const(),
                };
                let of_block = block * self.out_channels.div_ceil(2);
                let nothing = [std::ptr::null(); 2];
                let add = |own: &Range<usize>, to: *mut f32, ahead: [*const f32; 2]| Sum {
                    inputs: inputs.as_ptr(),
                    weights: self.weights.as_ptr(),
                    pairs: self.pairs[of_block + own.start / 2..].as_ptr(),
                    count: own.len().div_ceil(2),
                    first: own.start,
                    bias: self.bias.as_ptr(),
                    before: before(own.start),
                    to,
                    ahead,
                    apart: output.pitch,
                };
                if block + 1 < blocks {
                    // SAFETY: `functions` checked the instruction set; sums have room for all channels, and
                    // the weights were packed for these blocks.
                    unsafe { sum(&add(&channels, between, nothing)) };
                    continue;
                }
                for panel in panels.clone() {
                    let own = self.channels(panel);
                    let (to, addend) = output.place(&pixels, &own);
                    let finished = Finish {
                        sums: last.as_ptr(),
                        channels: own.len(),
                        pixels: pixels.len(),
                        output: to,
                        addend,
                        pitch: output.pitch,
                        clamp: output.clamp,
                    };
                    // SAFETY: as above; the output is the caller's promise.
                    unsafe {
                        sum(&add(&own, last.as_mut_ptr(), [to.cast_const(), addend]));
                        finish(&finished);
                    }
                }
            }
        });
        // SAFETY: handed on.
        unsafe { output.rectify(pixels, channels) };
    }

    /// Brings the steps of a block side by side.
    ///
    /// # Safety
    /// There are as many pointers for each tap, each to as many floats as a tap has.
    unsafe fn turn_block(
        &self,
        block: usize,
        pointers: *const *const f32,
        pixels: usize,
        inputs: &mut [f32],
    ) {
        let registers = pixels.div_ceil(self.functions.lanes);
        let side = registers * self.functions.lanes;
        let steps = block * BLOCK..(self.taps * self.depth).min((block + 1) * BLOCK);
        assert!(inputs.len() >= steps.len() * side, "room for a block");
        let mut step = steps.start;
        while step < steps.end {
            let (tap, first) = (step / self.depth, step % self.depth);
            let count = (self.depth - first).min(steps.end - step);
            // SAFETY: there are this many pointers. Pixels beyond the last repeat it.
            let pixels: [*const f32; MOST * WIDEST] =
                std::array::from_fn(|pixel| unsafe { *pointers.add(tap * pixels + pixel.min(pixels - 1)) });
            let to = inputs[(step - steps.start) * side..].as_mut_ptr();
            let turn = Turn { pixels: pixels.as_ptr(), first, count, to };
            // SAFETY: `functions` checked the instruction set; there is room as asserted.
            unsafe { self.functions.turn[registers - 1](&turn) };
            step += count;
        }
    }
}

/// The weights of a panel in a block.
#[derive(Default)]
struct Kept {
    weights: Vec<Weight>,
    pairs: Vec<Pair>,
    /// Weights that are not zero.
    count: usize,
}
