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
}

/// A function for tiles of a fixed number of pixels and registers.
///
/// # Safety
/// The processor has the instruction set and the tile's pointers are good for what it says.
pub(super) type TileFn = unsafe fn(&Tile);

/// The tile functions of one instruction set.
pub(super) struct Tiles {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// Most pixels in a tile.
    pub(super) pixels: usize,
    /// For panels of one and of two registers: the functions for 1, 2, ... `pixels` pixels.
    pub(super) functions: [&'static [TileFn]; 2],
}

for_each_isa!(
    /// A tile of `P` pixels and `V` registers.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn tile<const P: usize, const V: usize>(argument: &super::Tile) = tile
);

macro_rules! tiles {
    ($lanes:ty, portable) => { tiles!($lanes, portable: 1 2 3 4) };
    ($lanes:ty, avx2) => { tiles!($lanes, avx2: 1 2 3 4 5 6) };
    ($lanes:ty, avx512) => { tiles!($lanes, avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14) };
    ($lanes:ty, neon) => { tiles!($lanes, neon: 1 2 3 4 5 6 7 8 9 10 11 12) };
    ($lanes:ty, $isa:ident: $($pixels:literal)*) => {
        Tiles {
            lanes: <$lanes>::COUNT,
            pixels: <$lanes>::PIXELS,
            functions: [&[$($isa::tile::<$pixels, 1>),*], &[$($isa::tile::<$pixels, 2>),*]],
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

/// The one inner loop, for every instruction set: `P` pixels times `V` registers of channels.
#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize, const V: usize>(tile: &Tile) {
    // SAFETY: of every access: in bounds by the caller's promise about the tile.
    unsafe {
        let mut weights = tile.panel;
        let mut acc = [load_registers::<L, V>(weights); MOST_PIXELS];
        weights = weights.add(V * L::COUNT);
        let mut pointers = tile.pointers;
        for _ in 0..tile.taps {
            for k in tile.skip..tile.skip + tile.depth {
                let w = load_registers::<L, V>(weights);
                weights = weights.add(V * L::COUNT);
                for_each_pixel!(i < P, {
                    let x = *pointers.add(i);
                    if V == 2 {
                        acc[i] = L::add_scaled_pair(acc[i], x, k, w);
                    } else {
                        acc[i][0] = L::add_scaled(acc[i][0], x, k, w[0]);
                    }
                });
            }
            pointers = pointers.add(P);
        }

        let last = tile.channels - (V - 1) * L::COUNT;
        for_each_pixel!(i < P, {
            let mut at = i * tile.pitch;
            if V == 2 {
                finish(tile, acc[i][0], at, L::COUNT);
                at += L::COUNT;
            }
            finish(tile, acc[i][V - 1], at, last);
        });
    }
}

/// Adds what is to be added to a register of sums, clamps it and stores `count` channels.
#[inline(always)]
unsafe fn finish<L: Lanes>(tile: &Tile, sums: L, at: usize, count: usize) {
    let Clamp { min, max } = tile.clamp;
    // SAFETY: of every access: in bounds by the caller's promise about the tile.
    unsafe {
        let mut value = sums;
        if !tile.addend.is_null() {
            let from = tile.addend.add(at);
            value = value.add(if count == L::COUNT { L::load(from) } else { L::load_first(from, count) });
        }
        let value = value.clamp(min, max);
        let to = tile.output.add(at);
        if count == L::COUNT { value.store(to) } else { value.store_first(to, count) }
    }
}

/// One or two registers; where it is one, the second is not used.
#[inline(always)]
unsafe fn load_registers<L: Lanes, const V: usize>(from: *const f32) -> [L; 2] {
    // SAFETY: `V` registers are readable by the caller's promise.
    unsafe { [L::load(from), if V == 2 { L::load(from.add(L::COUNT)) } else { L::zero() }] }
}
