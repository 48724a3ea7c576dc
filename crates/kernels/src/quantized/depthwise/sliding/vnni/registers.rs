//! Sums of 3x3 windows: columns stay in registers from the first output that sees them to the last.

use std::arch::x86_64::*;

use super::super::super::super::epilogue::Epilogue;
use super::super::super::super::split::Target;
use super::super::super::vnni::{BUNDLE, WIDTH};
use super::super::Sliding;
use super::super::band::Band;
use super::columns::Block;
use super::{Operands, Vnni, Way};

/// Taps in both directions.
pub(super) const TAPS: usize = 3;

/// Weights of a block of 32 channels for one horizontal tap and one row of the output.
const TAP_WEIGHTS: usize = WIDTH * BUNDLE;

/// Walks over the columns of a band, outside the image too.
struct Columns<'a, const FULL: bool> {
    block: &'a Block,
    /// The next column, and the image's.
    at: isize,
    width: usize,
    /// The rows, and how far from their start the next column inside the image is.
    rows: [*const u8; BUNDLE],
    offset: usize,
    pitch: usize,
    outside: [__m512i; 2],
}

impl<'a, const FULL: bool> Columns<'a, FULL> {
    /// The columns of a block, from the first output's first tap on.
    ///
    /// # Safety
    /// AVX-512 BW, VL and VBMI must be there, and the block one of the band's channels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn new(band: &Band, block: &'a Block) -> Columns<'a, FULL> {
        Columns {
            block,
            at: band.left,
            width: band.width,
            rows: band.bundle(0),
            offset: block.first,
            pitch: band.pitch,
            // SAFETY: a pixel of border has all channels.
            outside: unsafe { block.load::<FULL>([band.border; BUNDLE], block.first) },
        }
    }

    /// The next column.
    ///
    /// # Safety
    /// As for [`Columns::new`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn next(&mut self) -> [__m512i; 2] {
        let inside = (self.at as usize) < self.width;
        self.at += 1;
        if !inside {
            return self.outside;
        }
        let offset = self.offset;
        self.offset += self.pitch;
        // SAFETY: the column is inside the image, so all four rows have it.
        unsafe { self.block.load::<FULL>(self.rows, offset) }
    }
}

/// Adds the products of a column to the sums of one output pixel.
///
/// # Safety
/// AVX-512 VNNI must be there.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add(sums: &mut [__m512i; 2], column: [__m512i; 2], weights: [__m512i; 2]) {
    sums[0] = _mm512_dpbusd_epi32(sums[0], column[0], weights[0]);
    sums[1] = _mm512_dpbusd_epi32(sums[1], column[1], weights[1]);
}

/// Loads `COUNT` pairs of vectors of weights.
///
/// # Safety
/// AVX-512 must be there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_weights<const COUNT: usize>(weights: &[i8]) -> [[__m512i; 2]; COUNT] {
    let mut vectors = [[_mm512_setzero_si512(); 2]; COUNT];
    for (pair, bytes) in vectors.iter_mut().zip(weights.chunks_exact(TAP_WEIGHTS)) {
        // SAFETY: a chunk is two vectors.
        unsafe {
            pair[0] = _mm512_loadu_si512(bytes.as_ptr().cast());
            pair[1] = _mm512_loadu_si512(bytes[TAP_WEIGHTS / 2..].as_ptr().cast());
        }
    }
    vectors
}

/// Windows that slide by one, which make two rows of the output.
pub(super) struct ByOne;

impl Way for ByOne {
    unsafe fn sums<const FULL: bool, E: Epilogue>(
        _layer: &Sliding<Vnni>,
        band: &Band,
        block: &Block,
        operands: &Operands,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { by_one::<FULL, E>(band, block, operands, epilogue, target) }
    }
}

/// # Safety
/// As for [`Way::sums`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn by_one<const FULL: bool, E: Epilogue>(
    band: &Band,
    block: &Block,
    operands: &Operands,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = load_weights::<{ 2 * TAPS }>(operands.weights);
        let initial = operands.initial.as_ptr();
        let mut input = Columns::<FULL>::new(band, block);
        let mut columns = [input.next(), input.next()];
        for output in 0..band.outputs {
            let column = input.next();
            let start = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
            let mut sums = [start; 2];
            add(&mut sums[0], columns[0], weights[0]);
            add(&mut sums[1], columns[0], weights[1]);
            add(&mut sums[0], columns[1], weights[2]);
            add(&mut sums[1], columns[1], weights[3]);
            add(&mut sums[0], column, weights[4]);
            add(&mut sums[1], column, weights[5]);
            columns = [columns[1], column];
            let (pixel, both) = (band.pixel + output, band.rows > 1);
            let out = [
                target.at(pixel, block.first, block.channels),
                target.at(pixel + if both { band.outputs } else { 0 }, block.first, block.channels),
            ];
            epilogue.pair([band.sample; 2], block.first, sums, block.channels, out, both);
        }
    }
}

/// Windows that slide by two, which make one row of the output.
pub(super) struct ByTwo;

impl Way for ByTwo {
    unsafe fn sums<const FULL: bool, E: Epilogue>(
        _layer: &Sliding<Vnni>,
        band: &Band,
        block: &Block,
        operands: &Operands,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { by_two::<FULL, E>(band, block, operands, epilogue, target) }
    }
}

/// # Safety
/// As for [`Way::sums`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn by_two<const FULL: bool, E: Epilogue>(
    band: &Band,
    block: &Block,
    operands: &Operands,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = load_weights::<TAPS>(operands.weights);
        let initial = operands.initial.as_ptr();
        let mut input = Columns::<FULL>::new(band, block);
        let mut column = input.next();
        for output in (0..band.outputs).step_by(2) {
            let start = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
            let mut sums = [start; 2];
            for sums in &mut sums {
                add(sums, column, weights[0]);
                add(sums, input.next(), weights[1]);
                column = input.next();
                add(sums, column, weights[2]);
            }
            let both = output + 1 < band.outputs;
            let pixel = band.pixel + output;
            let out = [
                target.at(pixel, block.first, block.channels),
                target.at(pixel + usize::from(both), block.first, block.channels),
            ];
            epilogue.pair([band.sample; 2], block.first, sums, block.channels, out, both);
        }
    }
}
