//! The product with AVX2: bytes widened to words, whose products in pairs (`vpmaddwd`) are exact.
//!
//! Two such instructions a cycle, 16 products each, are the most that AVX2 offers for any weights:
//! `vpmaddubsw` takes bytes as they are, but saturates. So the inner loop must do nothing else than
//! multiply and add, and a tile's inputs are widened beforehand, once for all of its panels. Weights stay bytes in
//! memory, where words would take twice the room and time to pack; two loads for twenty-four products and sums widen
//! them at no cost that could be measured.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::super::epilogue::Epilogue;
use super::super::gather::{STEP, Tile};
use super::super::split::Target;
use super::transpose::{self, SHORT, ShortRow, Strip};
use super::{Kernel, Layout, Operands, Panel};

/// Rows whose sums, twelve, with two vectors of weights, one of inputs and one of products fill the
/// sixteen registers.
pub(in super::super) const HALF: usize = 6;

/// Two such halves share what a tile costs, and a panel's weights while they are near.
const ROWS: usize = 2 * HALF;
const WIDTH: usize = 16;

/// Inputs that one vector of words holds.
const CHUNK: usize = 16;

/// Steps of one vector of inputs.
pub(super) const CHUNK_STEPS: usize = CHUNK / STEP;

/// Weights of a step.
const STEP_WEIGHTS: usize = STEP * WIDTH;

/// Sums of twice 6 pixels x 16 channels, weights in the order `[pair of inputs][channel][2]`.
pub(in super::super) struct Avx2;

impl Layout for Avx2 {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        (input / 2 * width + lane) * 2 + input % 2
    }

    fn put(rows: &[&[i8]], out: &mut [i8]) {
        put(rows, out);
    }
}

/// Puts weights in the order of [`Avx2`], widened to words.
pub(in super::super) fn put_words(rows: &[&[i8]], out: &mut [i16]) {
    put(rows, out);
}

fn put<W: Weight>(rows: &[&[i8]], out: &mut [W]) {
    transpose::each_strip(rows, |from, half, strip| {
        // SAFETY: weights are packed like this only for machines with AVX2.
        unsafe { put_strip(strip, &mut out[from * WIDTH + half * WIDTH..]) };
    });
}

/// The form in which weights are kept.
trait Weight: Copy {
    /// # Safety
    /// AVX2 must be there.
    unsafe fn store(bytes: __m128i, place: &mut [Self; 2 * SHORT]);
}

impl Weight for i8 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(bytes: __m128i, place: &mut [i8; 2 * SHORT]) {
        // SAFETY: the place has sixteen bytes.
        unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), bytes) };
    }
}

impl Weight for i16 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(bytes: __m128i, place: &mut [i16; 2 * SHORT]) {
        // SAFETY: the place has sixteen words.
        unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(bytes)) };
    }
}

/// Puts [`SHORT`] steps of half the lanes of a panel in their places, square by square.
///
/// # Safety
/// AVX2 must be there.
#[target_feature(enable = "avx2")]
unsafe fn put_strip<W: Weight>(strip: Strip<'_>, out: &mut [W]) {
    transpose::each_short_square(strip, |square, rows| {
        // SAFETY: the caller's promise.
        unsafe { put_square(rows, &mut out[square * SHORT * STEP_WEIGHTS..]) };
    });
}

/// Puts a square, or those of its steps that there are places for.
///
/// # Safety
/// AVX2 must be there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn put_square<W: Weight>(rows: [&ShortRow; SHORT], out: &mut [W]) {
    // The first pair of inputs of each lane, then the second, in each half of a vector.
    let pairs =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    let mut steps = transpose::short_square(rows);
    for step in &mut steps {
        *step = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(*step, pairs));
    }
    let places = out.as_chunks_mut().0;
    // SAFETY: the caller's promise.
    unsafe {
        // So many that none has to be looked for, but at the end of a panel.
        match places.first_chunk_mut::<{ 4 * SHORT - 1 }>() {
            Some(places) => store_steps(&steps, places),
            None => store_steps(&steps, places),
        }
    }
}

/// Stores steps: of the four places of each, two are for the other half of the lanes.
///
/// # Safety
/// AVX2 must be there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_steps<W: Weight>(steps: &[__m256i; SHORT], places: &mut [[W; 2 * SHORT]]) {
    for (step, places) in steps.iter().zip(places.chunks_mut(4)) {
        let [first, _, second, ..] = places else { break };
        // SAFETY: the caller's promise.
        unsafe {
            W::store(_mm256_castsi256_si128(*step), first);
            W::store(_mm256_extracti128_si256::<1>(*step), second);
        }
    }
}

thread_local! {
    /// The inputs of the tile that this thread works on, as words: see [`widen`].
    pub(super) static INPUTS: RefCell<Vec<__m256i>> = const { RefCell::new(Vec::new()) };
}

impl<E: Epilogue> Kernel<E> for Avx2 {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i8, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        INPUTS.with_borrow_mut(|inputs| {
            // SAFETY: the caller's promise.
            unsafe { tile_of(tile, panels, operands, inputs, epilogue, target) }
        });
    }
}

/// Calls a function for as many rows as there are.
macro_rules! with_rows {
    ($rows:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $rows {
            1 => $function::<1, E>($($argument),*),
            2 => $function::<2, E>($($argument),*),
            3 => $function::<3, E>($($argument),*),
            4 => $function::<4, E>($($argument),*),
            5 => $function::<5, E>($($argument),*),
            _ => $function::<6, E>($($argument),*),
        }
    };
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    inputs: &mut Vec<__m256i>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let halves = if tile.rows > HALF { [tile.rows.div_ceil(2), tile.rows / 2] } else { [tile.rows, 0] };
    let row_vectors = tile.pointers.len() * operands.steps.div_ceil(CHUNK_STEPS);
    if inputs.len() < tile.rows * row_vectors {
        inputs.resize(tile.rows * row_vectors, _mm256_setzero_si256());
    }
    let (first, second) = inputs.split_at_mut(halves[0] * row_vectors);
    // SAFETY: the caller's promise; `widen` leaves what `panels_of` reads.
    unsafe {
        // `[tap][chunk][row]`: what the inner loop reads one after the other.
        let chunks = operands.steps.div_ceil(CHUNK_STEPS);
        let apart = |rows| [1, rows, chunks * rows];
        widen(tile, [0, halves[0]], operands.steps, apart(halves[0]), first);
        widen(tile, halves, operands.steps, apart(halves[1]), second);
        let parts = [(0, &*first), (halves[0], &*second)];
        if halves[0] == halves[1] {
            with_rows!(halves[0], panels_of(tile, &parts, panels, operands, epilogue, target));
        } else {
            with_rows!(halves[0], panels_of(tile, &parts[..1], panels, operands, epilogue, target));
            if halves[1] > 0 {
                with_rows!(halves[1], panels_of(tile, &parts[1..], panels, operands, epilogue, target));
            }
        }
    }
}

/// All panels for parts of the tile with `R` rows each: their first rows and what [`widen`] wrote for them.
///
/// # Safety
/// As for [`Kernel::tile`]; the inputs must be those of these rows.
#[target_feature(enable = "avx2")]
unsafe fn panels_of<const R: usize, E: Epilogue>(
    tile: &Tile,
    parts: &[(usize, &[__m256i])],
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        for &(first, inputs) in parts {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = sums::<R>(inputs.as_ptr().cast(), tile.pointers.len(), panel, operands);
                finish_half(tile, [first, R], panel, &sums, epilogue, target);
            }
        }
    }
}

/// Makes outputs of the sums of `rows` rows of the tile, from `first` on.
///
/// # Safety
/// As for [`Kernel::tile`]; AVX2 must be there.
#[inline(always)]
pub(super) unsafe fn finish_half<E: Epilogue>(
    tile: &Tile,
    [first, rows]: [usize; 2],
    panel: &Panel,
    sums: &[[__m256i; 2]; HALF],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let out = target.at(tile.pixel + first, panel.channel, panel.channels);
    let samples = &tile.samples[first..];
    for row in (0..rows).step_by(2) {
        let next = (row + 1).min(rows - 1);
        let outs = [row, next].map(|row| out.wrapping_add(row * target.channels()));
        let samples = [samples[row], samples[next]];
        // SAFETY: outputs are as the caller promises.
        unsafe {
            epilogue.two(samples, panel.lane, [sums[row], sums[next]], panel.channels, outs, row + 1 < rows);
        }
    }
}

/// Writes the inputs of `rows` rows of a tile as words. Each vector holds a chunk of [`CHUNK`] inputs of a tap, the
/// last of a tap maybe fewer; it is `apart` vectors from a row, a chunk and a tap to the next.
///
/// # Safety
/// The tile's pointers must be readable for all steps, and `inputs` have room.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn widen(
    tile: &Tile,
    [first, rows]: [usize; 2],
    steps: usize,
    apart: [usize; 3],
    inputs: &mut [__m256i],
) {
    let (full, rest) = (steps / CHUNK_STEPS, steps % CHUNK_STEPS);
    let [row_apart, chunk_apart, tap_apart] = apart;
    debug_assert!(inputs.len() >= tile.pointers.len() * steps.div_ceil(CHUNK_STEPS) * rows);
    let mut words = inputs.as_mut_ptr();
    for pointers in tile.pointers {
        for (row, &pointer) in pointers[first..first + rows].iter().enumerate() {
            let (mut from, mut to) = (pointer, words.wrapping_add(row * row_apart));
            // SAFETY: there are `full * 4 + rest` steps of bytes, as the caller promises, and room for
            // as many chunks of each row as they begin.
            unsafe {
                for _ in 0..full {
                    _mm256_store_si256(to, _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast())));
                    (from, to) = (from.wrapping_add(CHUNK), to.wrapping_add(chunk_apart));
                }
                for step in 0..rest {
                    let bytes = _mm_cvtsi32_si128(from.add(step * STEP).cast::<i32>().read_unaligned());
                    _mm_storel_epi64(to.cast::<i64>().add(step).cast(), _mm_cvtepu8_epi16(bytes));
                }
            }
        }
        words = words.wrapping_add(tap_apart);
    }
}

/// The sums of a panel with the `taps` taps of `R` rows.
///
/// # Safety
/// AVX2 must be there, and `inputs` be what [`widen`] wrote.
#[inline(always)]
unsafe fn sums<const R: usize>(
    mut inputs: *const u8,
    taps: usize,
    panel: &Panel,
    operands: &Operands<i8, i32>,
) -> [[__m256i; 2]; HALF] {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let initial = operands.initial[panel.lane..][..WIDTH].as_ptr().cast::<__m256i>();
    let (full, rest) = (operands.steps / CHUNK_STEPS, operands.steps % CHUNK_STEPS);
    let vector = size_of::<__m256i>();
    // SAFETY: initial sums were just counted; a panel holds [`STEP_WEIGHTS`] a step.
    unsafe {
        let mut sums = [[_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))]; HALF];
        for _ in 0..taps {
            if full > 0 {
                add_chunks::<R>(&mut sums, inputs, weights, full);
                inputs = inputs.add(full * R * vector);
                weights = weights.add(full * CHUNK_STEPS * STEP_WEIGHTS);
            }
            if rest > 0 {
                add_steps::<R>(&mut sums, inputs, weights, rest);
                inputs = inputs.add(R * vector);
                weights = weights.add(rest * STEP_WEIGHTS);
            }
        }
        sums
    }
}

/// Half a step of one row: two inputs with both vectors of weights.
macro_rules! row {
    ($row:tt, $step:tt, $half:tt, $first:tt, $second:tt) => {
        concat!(
            "vpbroadcastd ymm14, dword ptr [{inputs} + 32*",
            $row,
            " + 8*",
            $step,
            " + 4*",
            $half,
            "]\n",
            "vpmaddwd ymm15, ymm14, ymm12\n",
            "vpmaddwd ymm14, ymm14, ymm13\n",
            "vpaddd ",
            $first,
            ", ",
            $first,
            ", ymm15\n",
            "vpaddd ",
            $second,
            ", ",
            $second,
            ", ymm14\n",
        )
    };
}

/// Loads sixteen weights, in whichever form they are kept.
macro_rules! load {
    (bytes, $to:tt, $step:tt, $quarter:tt) => {
        concat!("vpmovsxbw ", $to, ", xmmword ptr [{weights} + 64*", $step, " + 16*", $quarter, "]\n")
    };
    (words, $to:tt, $step:tt, $quarter:tt) => {
        concat!("vmovdqa ", $to, ", ymmword ptr [{weights} + 128*", $step, " + 32*", $quarter, "]\n")
    };
}

/// A step of some rows.
macro_rules! step {
    ($form:tt, $step:tt, $($row:tt $first:tt $second:tt)*) => {
        concat!(
            load!($form, "ymm12", $step, 0),
            load!($form, "ymm13", $step, 1),
            $(row!($row, $step, 0, $first, $second),)*
            load!($form, "ymm12", $step, 2),
            load!($form, "ymm13", $step, 3),
            $(row!($row, $step, 1, $first, $second),)*
        )
    };
}

/// Runs the loops of [`add_chunks`], [`add_word_chunks`] and [`add_steps`] on some rows.
///
/// In assembly because LLVM, left to itself, widens the live range of inputs and weights until sums
/// are kept in memory.
macro_rules! by_rows {
    ($unit:tt of $form:tt, $sums:ident, $inputs:ident, $weights:ident, $count:ident,
     $($row:tt $first:tt $second:tt)*) => {
        asm!(
            "2:",
            by_rows!(@body $unit $form $($row $first $second)*),
            "dec {count}",
            "jnz 2b",
            inputs = inout(reg) $inputs => _,
            weights = inout(reg) $weights => _,
            count = inout(reg) $count => _,
            $(inout($first) $sums[$row][0], inout($second) $sums[$row][1],)*
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        )
    };
    (@body chunks $form:tt $($row:tt $first:tt $second:tt)*) => {
        concat!(
            step!($form, 0, $($row $first $second)*),
            step!($form, 1, $($row $first $second)*),
            step!($form, 2, $($row $first $second)*),
            step!($form, 3, $($row $first $second)*),
            "add {inputs}, 32*(0", $(by_rows!(@one $row),)* ")\n",
            "add {weights}, 4*", by_rows!(@bytes $form), "\n",
        )
    };
    (@body steps $form:tt $($row:tt $first:tt $second:tt)*) => {
        concat!(
            step!($form, 0, $($row $first $second)*),
            "add {inputs}, 8\n",
            "add {weights}, ", by_rows!(@bytes $form), "\n",
        )
    };
    (@bytes bytes) => { "64" };
    (@bytes words) => { "128" };
    (@one $row:tt) => { "+1" };
}

/// Runs [`by_rows`] for `R` rows.
macro_rules! rows {
    ($unit:tt of $form:tt, $R:ident, $sums:ident, $inputs:ident, $weights:ident, $count:ident) => {
        match $R {
            1 => by_rows!($unit of $form, $sums, $inputs, $weights, $count, 0 "ymm0" "ymm1"),
            2 => by_rows!($unit of $form, $sums, $inputs, $weights, $count,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3"),
            3 => by_rows!($unit of $form, $sums, $inputs, $weights, $count,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5"),
            4 => by_rows!($unit of $form, $sums, $inputs, $weights, $count,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5" 3 "ymm6" "ymm7"),
            5 => by_rows!($unit of $form, $sums, $inputs, $weights, $count,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5" 3 "ymm6" "ymm7" 4 "ymm8" "ymm9"),
            _ => by_rows!($unit of $form, $sums, $inputs, $weights, $count,
                0 "ymm0" "ymm1" 1 "ymm2" "ymm3" 2 "ymm4" "ymm5" 3 "ymm6" "ymm7" 4 "ymm8" "ymm9"
                5 "ymm10" "ymm11"),
        }
    };
}

/// Adds the products of `count` (at least 1) chunks.
///
/// # Safety
/// AVX2 must be there, `inputs` hold `count * R` aligned vectors and `weights` those of `4 * count` steps.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_chunks<const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    inputs: *const u8,
    weights: *const i8,
    count: usize,
) {
    // SAFETY: reads what the caller vouches for, and changes registers only.
    unsafe { rows!(chunks of bytes, R, sums, inputs, weights, count) }
}

/// As [`add_chunks`], with words.
///
/// # Safety
/// As there; `weights` must be aligned to vectors.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn add_word_chunks<const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    inputs: *const u8,
    weights: *const i16,
    count: usize,
) {
    // SAFETY: as in `add_chunks`.
    unsafe { rows!(chunks of words, R, sums, inputs, weights, count) }
}

/// Adds the products of the first `count` (1 to 3) steps of a chunk.
///
/// # Safety
/// AVX2 must be there, `inputs` hold `R` aligned vectors and `weights` those of `count` steps.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_steps<const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    inputs: *const u8,
    weights: *const i8,
    count: usize,
) {
    // SAFETY: as in `add_chunks`.
    unsafe { rows!(steps of bytes, R, sums, inputs, weights, count) }
}
