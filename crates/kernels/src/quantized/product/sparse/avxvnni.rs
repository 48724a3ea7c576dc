//! Listed steps with the 256-bit `vpdpbusd` on sixteen registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::epilogue::Epilogue;
use super::super::super::gather::{ROOM, STEP, Tile};
use super::super::super::split::Target;
use super::super::avx2::{HALF, finish_half};
use super::super::avxvnni::has_vex;
use super::super::{Kernel, Layout, Operands, Panel, Step};

const WIDTH: usize = 16;

/// Sums of twice 6 pixels x 16 channels, weights in the order `[channel][input]`.
pub(in super::super::super) struct AvxVnni;

impl Layout for AvxVnni {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = 2 * HALF;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * STEP + input
    }
}

impl<E: Epilogue> Kernel<E> for AvxVnni {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i8, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise; without the encoding of AVX-VNNI the level is only there where
        // that of AVX-512 is.
        unsafe {
            if has_vex() {
                tile_of::<true, E>(tile, panels, operands, epilogue, target);
            } else {
                tile_of::<false, E>(tile, panels, operands, epilogue, target);
            }
        }
    }
}

/// # Safety
/// As for [`Kernel::tile`]; the machine must have the encoding.
#[target_feature(enable = "avx2")]
unsafe fn tile_of<const VEX: bool, E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let halves = if tile.rows > HALF { [tile.rows.div_ceil(2), tile.rows / 2] } else { [tile.rows, 0] };
    for panel in panels {
        for (first, rows) in [(0, halves[0]), (halves[0], halves[1])] {
            // SAFETY: the caller's promise.
            unsafe {
                match rows {
                    0 => {}
                    1 | 2 => rows_of::<VEX, 2, E>(tile, [first, rows], panel, operands, epilogue, target),
                    3 | 4 => rows_of::<VEX, 4, E>(tile, [first, rows], panel, operands, epilogue, target),
                    _ => rows_of::<VEX, 6, E>(tile, [first, rows], panel, operands, epilogue, target),
                }
            }
        }
    }
}

/// A panel for `rows` rows of the tile, from `first` on; slots behind the last repeat it.
///
/// # Safety
/// As for [`tile_of`]; `rows` is at most `R`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn rows_of<const VEX: bool, const R: usize, E: Epilogue>(
    tile: &Tile,
    [first, rows]: [usize; 2],
    panel: &Panel,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let weights = operands.weights[panel.weights..].as_ptr();
    let initial = operands.initial[panel.lane..][..WIDTH].as_ptr().cast::<__m256i>();
    // SAFETY: initial sums were just counted; a panel holds two vectors of weights for each listed step, whose
    // tap the tile has; inputs and outputs are as the caller promises.
    unsafe {
        let mut sums = [[_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))]; HALF];
        let pointers = tile.pointers.as_ptr().cast::<*const u8>().add(first);
        add_listed::<VEX, R>(&mut sums, pointers, weights, &operands.list[panel.list.clone()]);
        finish_half(tile, [first, rows], panel, &sums, epilogue, target);
    }
}

/// The loop of [`add_listed`] over some rows, with the prefix that chooses the encoding. The two numbers of a
/// step are its tap, which has 32 pointers, and its place there.
macro_rules! steps {
    ($encoding:tt, $sums:ident, $pointers:ident, $weights:ident, $list:ident,
     $($row:tt $first:tt $second:tt)*) => {
        asm!(
            "2:",
            "mov {tap:e}, dword ptr [{list}]",
            "mov {at:e}, dword ptr [{list} + 4]",
            "shl {tap}, 8",
            "add {tap}, {pointers}",
            "vmovdqa ymm12, ymmword ptr [{weights}]",
            "vmovdqa ymm13, ymmword ptr [{weights} + 32]",
            $(
                concat!("mov {input}, qword ptr [{tap} + 8*", $row, "]"),
                "vpbroadcastd ymm14, dword ptr [{input} + {at}]",
                concat!($encoding, " vpdpbusd ", $first, ", ymm14, ymm12"),
                concat!($encoding, " vpdpbusd ", $second, ", ymm14, ymm13"),
            )*
            "add {weights}, 64",
            "add {list}, 8",
            "cmp {list}, {end}",
            "jb 2b",
            weights = inout(reg) $weights => _,
            list = inout(reg) $list.start => _,
            end = in(reg) $list.end,
            pointers = in(reg) $pointers,
            tap = out(reg) _, at = out(reg) _, input = out(reg) _,
            $(inout($first) $sums[$row][0], inout($second) $sums[$row][1],)*
            out("ymm12") _, out("ymm13") _, out("ymm14") _,
            options(readonly, nostack),
        )
    };
}

/// Runs [`steps`] for `R` rows.
macro_rules! rows {
    ($encoding:tt, $sums:ident, $pointers:ident, $weights:ident, $list:ident) => {
        match R {
            2 => steps!($encoding, $sums, $pointers, $weights, $list, 0 "ymm0" "ymm1" 1 "ymm2" "ymm3"),
            4 => steps!($encoding, $sums, $pointers, $weights, $list,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5" 3 "ymm6" "ymm7"),
            _ => steps!($encoding, $sums, $pointers, $weights, $list,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5" 3 "ymm6" "ymm7"
                4 "ymm8" "ymm9" 5 "ymm10" "ymm11"),
        }
    };
}

/// Adds the products of some steps for `R` (2, 4 or 6) rows.
///
/// # Safety
/// The machine must have the encoding, there be `R` pointers for the tap of each step, which are readable at
/// its place, and `weights`, aligned, have two vectors for each.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_listed<const VEX: bool, const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    pointers: *const *const u8,
    weights: *const i8,
    list: &[Step],
) {
    const { assert!(size_of::<Step>() == 8 && ROOM * size_of::<*const u8>() == 256) };
    if list.is_empty() {
        return;
    }
    let list = list.as_ptr_range();
    // SAFETY: reads what the caller vouches for, and changes registers only.
    unsafe {
        if VEX {
            rows!("{{vex}}", sums, pointers, weights, list)
        } else {
            rows!("{{evex}}", sums, pointers, weights, list)
        }
    }
}
