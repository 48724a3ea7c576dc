//! The inner loops of weight gradients: copies of pixels in panels, and products of such panels whose sums
//! stay in registers.

use super::geometry::Run;
use crate::float::lanes::{Lanes, MOST_PIXELS, for_each_isa, for_each_pixel, table_by_isa};

/// Pixels side by side, to be copied into panels of some channels each.
pub(super) struct Copy {
    /// The first channel of the first pixel, and how far it is to the next pixel.
    pub(super) from: *const f32,
    pub(super) apart: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    /// Channels of a panel.
    pub(super) width: usize,
    /// The first pixel of the first panel, and how far it is to the next panel. Pixels follow each other
    /// in whole registers, as many as a panel's channels take.
    pub(super) to: *mut f32,
    pub(super) panel: usize,
    /// What each copied number is added to, panel after panel in whole registers; null for nothing.
    pub(super) sums: *mut f32,
}

/// The product of two panels: `sums[i][lane] += narrow[pixel][i] * wide[pixel][lane]` over all pixels of
/// some runs.
pub(super) struct Tile<'a> {
    pub(super) runs: &'a [Run],
    /// Whether the narrow panel is of the input, or of the output's gradient.
    pub(super) narrow_is_input: bool,
    /// The panel whose numbers are multiplied one by one, from a pixel to its neighbour, and from what
    /// meets an output pixel to what meets its neighbour.
    pub(super) narrow: *const f32,
    pub(super) narrow_pixel: usize,
    pub(super) narrow_step: usize,
    /// The panel of two registers for each pixel, and the same of it.
    pub(super) wide: *const f32,
    pub(super) wide_pixel: usize,
    pub(super) wide_step: usize,
    /// The sums of the first narrow number, and how far it is to the next.
    pub(super) sums: *mut f32,
    pub(super) pitch: usize,
    /// Lanes that count.
    pub(super) lanes: usize,
    /// Whether to add to what the sums are.
    pub(super) add: bool,
    /// What will be copied next: for each pixel a cache line is asked for, here and every `ahead_step`
    /// floats further. It may lie anywhere.
    pub(super) ahead: *const f32,
    pub(super) ahead_step: usize,
}

/// The functions of one instruction set.
pub(super) struct Functions {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// Most numbers of a narrow panel.
    pub(super) most: usize,
    /// Copies pixels into panels of 1, 2 and 3 registers, without and with adding up.
    copies: [[unsafe fn(&Copy); 2]; 3],
    /// Multiplies panels: for one register of lanes and for two, and 1, 2, ... narrow numbers.
    tiles: [&'static [unsafe fn(&Tile<'_>)]; 2],
}

impl Functions {
    /// The function for panels of so many registers, that adds up or does not.
    pub(super) fn copy(&self, registers: usize, add: bool) -> unsafe fn(&Copy) {
        self.copies[registers - 1][usize::from(add)]
    }

    /// The function for so many narrow numbers and lanes.
    pub(super) fn tile(&self, narrow: usize, lanes: usize) -> unsafe fn(&Tile<'_>) {
        self.tiles[usize::from(lanes > self.lanes)][narrow - 1]
    }
}

for_each_isa!(
    /// Copies pixels into panels of `R` registers, and adds them up if `S` is 1. What lies in panels behind
    /// their channels is anything.
    ///
    /// # Safety
    /// The processor has the instruction set; all channels of the pixels are readable, and there is room
    /// for them.
    unsafe fn copy<const R: usize, const S: usize>(argument: &super::Copy) = copy;
    /// A product of panels of `P` narrow numbers and `W` registers.
    ///
    /// # Safety
    /// The processor has the instruction set; the panels have all pixels of the runs, and the sums are
    /// there.
    unsafe fn tile<const P: usize, const W: usize>(argument: &super::Tile<'_>) = tile
);

macro_rules! functions {
    ($lanes:ty, portable) => { functions!($lanes, portable: 1 2 3 4) };
    ($lanes:ty, avx2) => { functions!($lanes, avx2: 1 2 3 4 5 6) };
    ($lanes:ty, avx512) => { functions!($lanes, avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14) };
    ($lanes:ty, neon) => { functions!($lanes, neon: 1 2 3 4 5 6 7 8 9 10 11 12) };
    ($lanes:ty, $isa:ident: $($narrow:literal)*) => {
        Functions {
            lanes: <$lanes>::COUNT,
            most: <$lanes>::PIXELS,
            copies: [
                [$isa::copy::<1, 0>, $isa::copy::<1, 1>],
                [$isa::copy::<2, 0>, $isa::copy::<2, 1>],
                [$isa::copy::<3, 0>, $isa::copy::<3, 1>],
            ],
            tiles: [&[$($isa::tile::<$narrow, 1>),*], &[$($isa::tile::<$narrow, 2>),*]],
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set.
    ///
    /// # Panics
    /// When the machine does not have it.
    pub(super) fn functions -> Functions = functions
);

/// Pixels that are copied into one panel before the next: their other channels are still near then.
const TOGETHER: usize = 16;

/// Most registers of a panel.
const REGISTERS: usize = 3;

#[inline(always)]
unsafe fn copy<L: Lanes, const R: usize, const S: usize>(copy: &Copy) {
    let ahead = TOGETHER * copy.apart;
    for start in (0..copy.pixels).step_by(TOGETHER) {
        let pixels = TOGETHER.min(copy.pixels - start);
        let (mut first, mut panel, mut sums) = (0, 0, copy.sums);
        while first < copy.channels {
            let left = copy.channels - first;
            // SAFETY: of every access: in bounds by the caller's promise. Prefetched addresses may lie
            // anywhere.
            unsafe {
                let mut from = copy.from.add(start * copy.apart + first);
                let mut to = copy.to.add(panel + start * R * L::COUNT);
                let mut totals = [L::zero(); REGISTERS];
                for _ in 0..pixels {
                    for (register, total) in totals.iter_mut().enumerate().take(R) {
                        let (from, to) =
                            (from.wrapping_add(register * L::COUNT), to.add(register * L::COUNT));
                        L::prefetch(from.wrapping_add(ahead));
                        let left = left.saturating_sub(register * L::COUNT);
                        let numbers =
                            if left >= L::COUNT { L::load(from) } else { L::load_first(from, left) };
                        numbers.store(to);
                        if S == 1 {
                            *total = total.add(numbers);
                        }
                    }
                    from = from.wrapping_add(copy.apart);
                    to = to.wrapping_add(R * L::COUNT);
                }
                if S == 1 {
                    for (register, total) in totals.iter().enumerate().take(R) {
                        let sums = sums.add(register * L::COUNT);
                        total.add(L::load(sums)).store(sums);
                    }
                    sums = sums.add(R * L::COUNT);
                }
            }
            first += copy.width;
            panel += copy.panel;
        }
    }
}

#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize, const W: usize>(tile: &Tile<'_>) {
    // The lanes of the last register: all of them if there are none to leave out.
    let last = tile.lanes - (W - 1) * L::COUNT;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); 2]; MOST_PIXELS];
        if tile.add {
            for_each_pixel!(i < P, {
                let from = tile.sums.add(i * tile.pitch);
                if W == 2 {
                    sums[i][0] = L::load(from);
                }
                let from = from.add((W - 1) * L::COUNT);
                sums[i][W - 1] = if last == L::COUNT { L::load(from) } else { L::load_first(from, last) };
            });
        }
        let mut ahead = tile.ahead;
        for run in tile.runs {
            let [narrow, wide] =
                if tile.narrow_is_input { [run.input, run.output] } else { [run.output, run.input] };
            let mut narrow = tile.narrow.add(narrow * tile.narrow_pixel);
            let mut wide = tile.wide.add(wide * tile.wide_pixel);
            for _ in 0..run.count {
                L::prefetch_far(ahead);
                ahead = ahead.wrapping_add(tile.ahead_step);
                let first = L::load(wide);
                let lanes = [first, if W == 2 { L::load(wide.add(L::COUNT)) } else { first }];
                for_each_pixel!(i < P, {
                    if W == 2 {
                        sums[i] = L::add_scaled_pair(sums[i], narrow, i, lanes);
                    } else {
                        sums[i][0] = L::add_scaled(sums[i][0], narrow, i, lanes[0]);
                    }
                });
                narrow = narrow.wrapping_add(tile.narrow_step);
                wide = wide.wrapping_add(tile.wide_step);
            }
        }
        for_each_pixel!(i < P, {
            let to = tile.sums.add(i * tile.pitch);
            if W == 2 {
                sums[i][0].store(to);
            }
            let to = to.add((W - 1) * L::COUNT);
            if last == L::COUNT { sums[i][W - 1].store(to) } else { sums[i][W - 1].store_first(to, last) }
        });
    }
}
