//! The product with the 256-bit `vpdpbusd` on sixteen registers: that of AVX-VNNI, or the same
//! instruction as AVX-512 VNNI encodes it, on machines that have only that one.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
use super::super::gather::{STEP, Tile};
use super::super::split::Target;
use super::avx2::{HALF, finish_half};
use super::transpose::{self, SHORT, Strip};
use super::{Kernel, Layout, Operands, Panel};

/// Two such halves share what a tile costs, and a panel's weights while they are near.
const ROWS: usize = 2 * HALF;
const WIDTH: usize = 16;

/// Bytes of weights of a step.
const STEP_BYTES: usize = STEP * WIDTH;

/// Sums of twice 6 pixels x 16 channels, weights in the order `[channel][input]`.
pub(in super::super) struct AvxVnni;

impl Layout for AvxVnni {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * STEP + input
    }

    fn put(rows: &[&[i8]], out: &mut [i8]) {
        transpose::each_strip(rows, |from, half, strip| {
            // SAFETY: weights are packed like this only for machines with AVX2.
            unsafe { put_strip(strip, &mut out[from * WIDTH + half * SHORT * STEP..]) };
        });
    }
}

/// Puts [`SHORT`] steps of half the lanes of a panel in their places, square by square.
///
/// # Safety
/// AVX2 must be there.
#[target_feature(enable = "avx2")]
unsafe fn put_strip(strip: Strip<'_>, out: &mut [i8]) {
    transpose::each_short_square(strip, |square, rows| {
        let out = &mut out[square * SHORT * STEP_BYTES..];
        for (step, out) in transpose::short_square(rows).into_iter().zip(out.chunks_mut(STEP_BYTES)) {
            let place = &mut out[..SHORT * STEP];
            // SAFETY: the place has the 32 bytes of a vector.
            unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), step) };
        }
    });
}

/// Whether the machine has the encoding of AVX-VNNI.
pub(super) fn has_vex() -> bool {
    is_x86_feature_detected!("avxvnni")
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
                    1 => rows_of::<VEX, 1, E>(tile, first, panel, operands, epilogue, target),
                    2 => rows_of::<VEX, 2, E>(tile, first, panel, operands, epilogue, target),
                    3 => rows_of::<VEX, 3, E>(tile, first, panel, operands, epilogue, target),
                    4 => rows_of::<VEX, 4, E>(tile, first, panel, operands, epilogue, target),
                    5 => rows_of::<VEX, 5, E>(tile, first, panel, operands, epilogue, target),
                    _ => rows_of::<VEX, 6, E>(tile, first, panel, operands, epilogue, target),
                }
            }
        }
    }
}

/// A panel for `R` rows of the tile, from `first` on.
///
/// # Safety
/// As for [`tile_of`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn rows_of<const VEX: bool, const R: usize, E: Epilogue>(
    tile: &Tile,
    first: usize,
    panel: &Panel,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let initial = operands.initial[panel.lane..][..WIDTH].as_ptr().cast::<__m256i>();
    // SAFETY: initial sums were just counted; a panel holds two vectors of weights a step; inputs and
    // outputs are as the caller promises.
    unsafe {
        let mut sums = [[_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))]; HALF];
        for pointers in tile.pointers {
            add_steps::<VEX, R>(&mut sums, &pointers[first..], weights, operands.steps);
            weights = weights.add(operands.steps * STEP_BYTES);
        }
        finish_half(tile, [first, R], panel, &sums, epilogue, target);
    }
}

/// The loop of [`add_steps`] over some rows, with the prefix that chooses the encoding.
macro_rules! steps {
    ($encoding:tt, $sums:ident, $pointers:ident, $weights:ident, $count:ident,
     $($row:tt $pointer:ident $first:tt $second:tt)*) => {
        asm!(
            "2:",
            "vmovdqa ymm12, ymmword ptr [{weights}]",
            "vmovdqa ymm13, ymmword ptr [{weights} + 32]",
            $(
                concat!("vpbroadcastd ymm14, dword ptr [{", stringify!($pointer), "} + {offset}]"),
                concat!($encoding, " vpdpbusd ", $first, ", ymm14, ymm12"),
                concat!($encoding, " vpdpbusd ", $second, ", ymm14, ymm13"),
            )*
            "add {offset}, 4",
            "add {weights}, 64",
            "cmp {offset}, {end}",
            "jb 2b",
            weights = inout(reg) $weights => _,
            offset = inout(reg) 0_usize => _,
            end = in(reg) STEP * $count,
            $($pointer = in(reg) $pointers[$row], inout($first) $sums[$row][0], inout($second) $sums[$row][1],)*
            out("ymm12") _, out("ymm13") _, out("ymm14") _,
            options(readonly, nostack),
        )
    };
}

/// Runs [`steps`] for `R` rows.
macro_rules! rows {
    ($encoding:tt, $sums:ident, $pointers:ident, $weights:ident, $count:ident) => {
        match R {
            1 => steps!($encoding, $sums, $pointers, $weights, $count, 0 a "ymm0" "ymm1"),
            2 => steps!($encoding, $sums, $pointers, $weights, $count,
                0 a "ymm0" "ymm1" 1 b "ymm2" "ymm3"),
            3 => steps!($encoding, $sums, $pointers, $weights, $count,
                0 a "ymm0" "ymm1" 1 b "ymm2" "ymm3" 2 c "ymm4" "ymm5"),
            4 => steps!($encoding, $sums, $pointers, $weights, $count,
                0 a "ymm0" "ymm1" 1 b "ymm2" "ymm3" 2 c "ymm4" "ymm5" 3 d "ymm6" "ymm7"),
            5 => steps!($encoding, $sums, $pointers, $weights, $count,
                0 a "ymm0" "ymm1" 1 b "ymm2" "ymm3" 2 c "ymm4" "ymm5" 3 d "ymm6" "ymm7"
                4 e "ymm8" "ymm9"),
            _ => steps!($encoding, $sums, $pointers, $weights, $count,
                0 a "ymm0" "ymm1" 1 b "ymm2" "ymm3" 2 c "ymm4" "ymm5" 3 d "ymm6" "ymm7"
                4 e "ymm8" "ymm9" 5 f "ymm10" "ymm11"),
        }
    };
}

/// Adds the products of `count` steps of the first `R` pointers.
///
/// # Safety
/// The machine must have the encoding, the pointers be readable for `count` steps and `weights`,
/// aligned, for twice as many vectors.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_steps<const VEX: bool, const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    pointers: &[*const u8],
    weights: *const i8,
    count: usize,
) {
    if count == 0 {
        return;
    }
    // SAFETY: reads what the caller vouches for, and changes registers only.
    unsafe {
        if VEX {
            rows!("{{vex}}", sums, pointers, weights, count)
        } else {
            rows!("{{evex}}", sums, pointers, weights, count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    /// Which of the two encodings the tests of all kernels have run on this machine.
    #[test]
    fn the_level_has_an_encoding() {
        let evex = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        assert_eq!(Isa::AvxVnni.available(), Isa::Avx2.available() && (has_vex() || evex));
        let ran = if has_vex() {
            "AVX-VNNI's"
        } else if evex {
            "AVX-512's"
        } else {
            "no"
        };
        println!("level avxvnni: {ran} encoding of vpdpbusd");
    }

    /// The two encodings give the same sums where a machine has both.
    #[test]
    fn encodings_agree() {
        let evex = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        if !(Isa::Avx2.available() && (has_vex() || evex)) {
            return;
        }
        let inputs: Vec<u8> = (0..48_u32).map(|i| (i * 89) as u8).collect();
        let weights: crate::aligned::Aligned<i8> = (0..8 * 64_u32).map(|i| (i * 37) as i8).collect();
        let expected: Vec<i32> = (0..2 * WIDTH)
            .map(|i| {
                let (row, lane) = (i / WIDTH, i % WIDTH);
                let products = (0..8 * STEP).map(|k| {
                    let weight = weights[k / STEP * STEP_BYTES + lane * STEP + k % STEP];
                    i32::from(inputs[16 * row + k]) * i32::from(weight)
                });
                products.sum()
            })
            .collect();
        let pointers = [inputs.as_ptr(), inputs[16..].as_ptr()];
        for vex in [true, false] {
            if vex && !has_vex() || !vex && !evex {
                continue;
            }
            // SAFETY: vectors of zeros; eight steps of inputs and weights; the encoding is there.
            let sums = unsafe {
                let mut sums = std::mem::zeroed::<[[__m256i; 2]; HALF]>();
                if vex {
                    add_steps::<true, 2>(&mut sums, &pointers, weights.as_ptr(), 8);
                } else {
                    add_steps::<false, 2>(&mut sums, &pointers, weights.as_ptr(), 8);
                }
                std::mem::transmute::<[[__m256i; 2]; HALF], [i32; WIDTH * HALF]>(sums)
            };
            assert_eq!(sums[..2 * WIDTH], expected, "VEX: {vex}");
        }
    }
}
