//! The inner loop of convolutions and matrix products: a tile of pixels by output channels whose
//! sums stay in registers.

use super::Clamp;
use super::lanes::{Lanes, MOST_PIXELS, for_each_isa, for_each_pixel, table_by_isa};

/// What one call of a tile function computes.
pub(super) struct Tile {
    /// `[taps][pixels]` pointers, each to `skip + depth` floats or more.
    pub(super) pointers: *const *const f32,
    pub(super) taps: usize,
    /// Floats to leave out at each pointer.
    pub(super) skip: usize,
    /// Floats that each tap contributes.
    pub(super) depth: usize,
    /// A packed panel: `[1 + taps * depth][lanes of the panel]`, the bias first.
    pub(super) panel: *const f32,
    /// The first channel of the first pixel.
    pub(super) output: *mut f32,
    /// What to add to the sums before clamping, laid out like the output; null for nothing. It
    /// may be the output itself.
    pub(super) addend: *const f32,
    /// Floats from a pixel to the next in the output.
    pub(super) pitch: usize,
    /// Channels to store: enough to need the last register of the panel.
    pub(super) channels: usize,
    pub(super) clamp: Clamp,
    /// What clamped sums below zero are multiplied by, by channel, whole registers of it, and the bounds of the
    /// products; null for nothing.
    pub(super) slopes: *const f32,
    pub(super) bounds: Clamp,
    /// What will be read next and may still be in memory: for each float of depth a cache line is
    /// asked for, here and every `ahead_step` floats further. It may lie anywhere.
    pub(super) ahead: *const f32,
    pub(super) ahead_step: usize,
}

/// A function for tiles of a fixed number of pixels and registers.
///
/// # Safety
/// The processor has the instruction set and the tile's pointers are good for what it says.
pub(super) type TileFn = unsafe fn(&Tile);

/// How many output channels a tile has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// One register of them.
    One,
    /// Two registers.
    Two,
    /// A register and a half, where that is faster than two.
    OneAndHalf,
}

impl Width {
    /// Channels, on registers of `lanes`.
    pub(super) fn channels(self, lanes: usize) -> usize {
        match self {
            Width::One => lanes,
            Width::Two => 2 * lanes,
            Width::OneAndHalf => lanes + lanes / 2,
        }
    }
}

/// The tile functions of one instruction set.
pub(super) struct Tiles {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// Most pixels in a tile.
    pub(super) pixels: usize,
    /// For each [`Width`]: the functions for 1, 2, ... `pixels` pixels; none for a width that this
    /// instruction set has no use for.
    functions: [&'static [TileFn]; 3],
    /// The functions for 1, 2, ... [`STREAMS`] panels of two registers at a time.
    streams: [StreamsFn; STREAMS],
}

/// A function that computes one pixel of as many panels as it is for.
///
/// # Safety
/// The processor has the instruction set and the tiles' pointers are good for what they say.
type StreamsFn = unsafe fn(&[Tile]);

/// Most panels whose weights are read side by side. One stream alone does not use what memory can
/// deliver.
pub(super) const STREAMS: usize = 6;

impl Tiles {
    /// The function for tiles of this many pixels.
    pub(super) fn function(&self, width: Width, pixels: usize) -> TileFn {
        self.functions[width as usize][pixels - 1]
    }

    /// The function for one pixel of this many panels of two registers.
    pub(super) fn streams(&self, panels: usize) -> StreamsFn {
        self.streams[panels - 1]
    }

    /// The width of the next panel of `channels` that are left: as few registers as can be, and as
    /// few as can be filled in vain.
    pub(super) fn width(&self, channels: usize) -> Width {
        let [one, two, more] =
            [Width::One, Width::Two, Width::OneAndHalf].map(|width| width.channels(self.lanes));
        let halves = !self.functions[Width::OneAndHalf as usize].is_empty();
        // Half a register more than two registers: a panel and a half, and one register.
        if halves && (one < channels && channels <= more || two < channels && channels <= one + more) {
            Width::OneAndHalf
        } else if channels <= one {
            Width::One
        } else {
            Width::Two
        }
    }
}

for_each_isa!(
    /// A tile of `P` pixels and [`Width`] `W`.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn tile<const P: usize, const W: usize>(argument: &super::Tile) = tile;
    /// One pixel of `S` panels of two registers.
    ///
    /// # Safety
    /// The processor has the instruction set, there are as many tiles, for panels of the same taps,
    /// skip and depth, and their pointers are good for what they say.
    unsafe fn streams<const S: usize>(argument: &[super::Tile]) = streams
);

macro_rules! tiles {
    ($lanes:ty, portable) => { tiles!($lanes, portable: 1 2 3 4;) };
    ($lanes:ty, avx2) => { tiles!($lanes, avx2: 1 2 3 4 5 6;) };
    ($lanes:ty, avx512) => {
        tiles!($lanes, avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    ($lanes:ty, neon) => { tiles!($lanes, neon: 1 2 3 4 5 6 7 8 9 10 11 12;) };
    ($lanes:ty, $isa:ident: $($pixels:literal)*; $($of_halves:literal)*) => {
        Tiles {
            lanes: <$lanes>::COUNT,
            pixels: <$lanes>::PIXELS,
            functions: [
                &[$($isa::tile::<$pixels, { Width::One as usize }>),*],
                &[$($isa::tile::<$pixels, { Width::Two as usize }>),*],
                &[$($isa::tile::<$of_halves, { Width::OneAndHalf as usize }>),*],
            ],
            streams: [
                $isa::streams::<1>,
                $isa::streams::<2>,
                $isa::streams::<3>,
                $isa::streams::<4>,
                $isa::streams::<5>,
                $isa::streams::<6>,
            ],
        }
    };
}

table_by_isa!(
    /// The tile functions for an instruction set.
    ///
    /// # Panics
    /// When the machine does not have it.
    pub(super) fn tiles -> Tiles = tiles
);

/// How many floats ahead weights are asked for from the second-level cache: the products of a tile
/// of all pixels with so many take as long as a line from there, and longer.
pub(super) const AHEAD: usize = 512;

const ONE: usize = Width::One as usize;
const TWO: usize = Width::Two as usize;
const HALVES: usize = Width::OneAndHalf as usize;

/// The one inner loop, for every instruction set: `P` pixels times the registers of width `W`.
#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize, const W: usize>(tile: &Tile) {
    let row = row::<L>(W);
    // SAFETY: of every access: in bounds by the caller's promise about the tile. Prefetched
    // addresses may lie anywhere.
    unsafe {
        let (mut weights, mut ahead) = (tile.panel, tile.ahead);
        let mut acc = [load_registers::<L, W>(weights); MOST_PIXELS];
        weights = weights.add(row);
        let mut pointers = tile.pointers;
        for _ in 0..tile.taps {
            for k in tile.skip..tile.skip + tile.depth {
                let w = load_registers::<L, W>(weights);
                L::prefetch(weights.wrapping_add(AHEAD));
                if W != ONE {
                    L::prefetch(weights.wrapping_add(AHEAD + L::COUNT));
                }
                L::prefetch_far(ahead);
                ahead = ahead.wrapping_add(tile.ahead_step);
                weights = weights.add(row);
                for_each_pixel!(i < P, {
                    let x = *pointers.add(i);
                    if W == ONE {
                        acc[i][0] = L::add_scaled(acc[i][0], x, k, w[0]);
                    } else if W == HALVES {
                        acc[i] = L::add_scaled_half(acc[i], x, k, w);
                    } else {
                        acc[i] = L::add_scaled_pair(acc[i], x, k, w);
                    }
                });
            }
            pointers = pointers.add(P);
        }

        finish::<L, P, W>(tile, &acc);
    }
}

/// One pixel of `S` panels of two registers, which have the same taps and depth.
#[inline(always)]
unsafe fn streams<L: Lanes, const S: usize>(tiles: &[Tile]) {
    let (first, row) = (&tiles[0], row::<L>(TWO));
    // SAFETY: of every access: in bounds by the caller's promise about the tiles.
    unsafe {
        let mut weights = [first.panel; MOST_PIXELS];
        let mut acc = [[L::zero(); 2]; MOST_PIXELS];
        for_each_pixel!(i < S, {
            acc[i] = load_registers::<L, TWO>(tiles[i].panel);
            weights[i] = tiles[i].panel.add(row);
        });
        for tap in 0..first.taps {
            let x = *first.pointers.add(tap);
            for k in first.skip..first.skip + first.depth {
                for_each_pixel!(i < S, {
                    acc[i] = L::add_scaled_pair(acc[i], x, k, load_registers::<L, TWO>(weights[i]));
                    weights[i] = weights[i].add(row);
                });
            }
        }
        for_each_pixel!(i < S, {
            finish::<L, 1, TWO>(&tiles[i], &[acc[i]; MOST_PIXELS]);
        });
    }
}

/// Floats of weights for one input channel.
pub(super) const fn row<L: Lanes>(width: usize) -> usize {
    match width {
        ONE => L::COUNT,
        HALVES => L::COUNT + L::COUNT / 2,
        _ => 2 * L::COUNT,
    }
}

/// Finishes the sums of a tile.
#[inline(always)]
pub(super) unsafe fn finish<L: Lanes, const P: usize, const W: usize>(
    tile: &Tile,
    acc: &[[L; 2]; MOST_PIXELS],
) {
    let last = tile.channels - (row::<L>(W) - 1) / L::COUNT * L::COUNT;
    // A straight line of code for each case: with the questions asked for every register the jumps
    // between them would take as long as the products of a dozen channels.
    // SAFETY: handed on.
    unsafe {
        match (!tile.addend.is_null(), W != HALVES && last == L::COUNT, !tile.slopes.is_null()) {
            (false, true, false) => finish_registers::<L, P, W, false, true, false>(tile, acc, last),
            (false, false, false) => finish_registers::<L, P, W, false, false, false>(tile, acc, last),
            (true, true, false) => finish_registers::<L, P, W, true, true, false>(tile, acc, last),
            (true, false, false) => finish_registers::<L, P, W, true, false, false>(tile, acc, last),
            (false, true, true) => finish_registers::<L, P, W, false, true, true>(tile, acc, last),
            (false, false, true) => finish_registers::<L, P, W, false, false, true>(tile, acc, last),
            (true, true, true) => finish_registers::<L, P, W, true, true, true>(tile, acc, last),
            (true, false, true) => finish_registers::<L, P, W, true, false, true>(tile, acc, last),
        }
    }
}

/// The last register of each pixel has `last` channels. `ADD`: there is something to add; `WHOLE`:
/// the last register is full; `SLOPED`: there are slopes.
#[inline(always)]
unsafe fn finish_registers<
    L: Lanes,
    const P: usize,
    const W: usize,
    const ADD: bool,
    const WHOLE: bool,
    const SLOPED: bool,
>(
    tile: &Tile,
    acc: &[[L; 2]; MOST_PIXELS],
    last: usize,
) {
    // SAFETY: handed on; of slopes there are whole registers.
    unsafe {
        let slope = |register: usize| {
            if SLOPED { L::load(tile.slopes.add(register * L::COUNT)) } else { L::zero() }
        };
        let slopes = [slope(0), if W == ONE { L::zero() } else { slope(1) }];
        for_each_pixel!(i < P, {
            let mut at = i * tile.pitch;
            if W != ONE {
                finish_register::<L, ADD, true, SLOPED>(tile, acc[i][0], slopes[0], at, L::COUNT);
                at += L::COUNT;
            }
            let register = if W == ONE { 0 } else { 1 };
            finish_register::<L, ADD, WHOLE, SLOPED>(tile, acc[i][register], slopes[register], at, last);
        });
    }
}

/// Adds what is to be added to a register of sums, clamps and rectifies it and stores `count` channels.
#[inline(always)]
unsafe fn finish_register<L: Lanes, const ADD: bool, const WHOLE: bool, const SLOPED: bool>(
    tile: &Tile,
    sums: L,
    slopes: L,
    at: usize,
    count: usize,
) {
    let Clamp { min, max } = tile.clamp;
    // SAFETY: of every access: in bounds by the caller's promise about the tile.
    unsafe {
        let mut value = sums;
        if ADD {
            let from = tile.addend.add(at);
            value = value.add(if WHOLE { L::load(from) } else { L::load_first(from, count) });
        }
        let mut value = value.clamp(min, max);
        if SLOPED {
            value = value.rectify(slopes).clamp(tile.bounds.min, tile.bounds.max);
        }
        let to = tile.output.add(at);
        if WHOLE { value.store(to) } else { value.store_first(to, count) }
    }
}

/// The registers of a width; where it is one, the second is not used.
#[inline(always)]
pub(super) unsafe fn load_registers<L: Lanes, const W: usize>(from: *const f32) -> [L; 2] {
    // SAFETY: a row of weights is readable by the caller's promise.
    unsafe {
        let second = match W {
            ONE => L::zero(),
            HALVES => L::load_first(from.add(L::COUNT), L::COUNT / 2),
            _ => L::load(from.add(L::COUNT)),
        };
        [L::load(from), second]
    }
}
