//! Residual connections of real numbers, behind layers of dynamic range.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::epilogue::{Epilogue, Finish};
use super::super::range::Tally;
use super::super::rescaler::Rescaler;
#[cfg(target_arch = "x86_64")]
use super::super::rescaler::{held, held_sixteen, store, store_sixteen};
use super::{PIECE, Places};
use crate::float::Clamp;

/// Sums to `f32`, to which others are added; what one task works with.
pub(in super::super) struct FloatAdder<'a> {
    /// Makes the convolution's outputs.
    pub(in super::super) rescaler: Rescaler<'a>,
    /// Bounds of the sum.
    pub(in super::super) clamp: Clamp,
    /// What is added.
    pub(in super::super) places: Places<'a, f32>,
    /// Where the range of the sums is noted.
    pub(in super::super) tally: Option<Tally<'a>>,
}

impl Finish for FloatAdder<'_> {
    type Sum = i32;
    type Out = f32;

    #[inline(always)]
    fn row(&self, sample: usize, lane: usize, sums: &[i32], out: &mut [f32]) {
        self.places.bring(out);
        let pieces = sums.chunks(PIECE).zip(out.chunks_mut(PIECE));
        for (piece, (sums, out)) in pieces.enumerate() {
            let mut own = [0.0; PIECE];
            let own = &mut own[..sums.len()];
            self.rescaler.row(sample, lane + piece * PIECE, sums, own);
            for (out, own) in out.iter_mut().zip(own) {
                *out = self.clamp.apply(*own + *out);
            }
        }
        if let Some(tally) = &self.tally {
            tally.note(sample, out);
        }
    }
}

impl Epilogue for FloatAdder<'_> {
    const PACKED: bool = Rescaler::PACKED;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn two(
        &self,
        samples: [usize; 2],
        lane: usize,
        sums: [[__m256i; 2]; 2],
        channels: usize,
        out: [*mut f32; 2],
        both: bool,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let first = self.sixteen(samples[0], lane, sums[0], channels, out[0]);
            let second = if both { self.sixteen(samples[1], lane, sums[1], channels, out[1]) } else { first };
            if let Some(tally) = &self.tally {
                tally.note_two([samples[0], samples[usize::from(both)]], [first, second]);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pair(
        &self,
        samples: [usize; 2],
        lane: usize,
        sums: [[__m512i; 2]; 2],
        channels: usize,
        out: [*mut f32; 2],
        both: bool,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let first = self.pixel(samples[0], lane, sums[0], channels, out[0]);
            if both {
                let second = self.pixel(samples[1], lane, sums[1], channels, out[1]);
                if let Some(tally) = &self.tally {
                    tally.note_pair(samples, first, second);
                }
            } else if let Some(tally) = &self.tally {
                tally.note_vectors(samples[0], first);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn quad(
        &self,
        samples: &[usize],
        lane: usize,
        sums: [__m512i; 4],
        channels: usize,
        out: *mut f32,
        pitch: usize,
        count: usize,
    ) {
        for (pixel, sums) in sums.into_iter().enumerate().take(count) {
            // SAFETY: the caller's promise, for one of its pixels.
            unsafe {
                let values = self.vector(samples[pixel], lane, sums, channels, out.add(pixel * pitch));
                if let Some(tally) = &self.tally {
                    tally.note_vectors(samples[pixel], [values]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl FloatAdder<'_> {
    /// `channels` (1 to 16) channels, in their natural order, of one pixel. Gives what it stores, and
    /// zeros.
    ///
    /// # Safety
    /// As for [`Epilogue::two`].
    #[inline(always)]
    unsafe fn sixteen(
        &self,
        sample: usize,
        lane: usize,
        sums: [__m256i; 2],
        channels: usize,
        out: *mut f32,
    ) -> [__m256; 2] {
        // SAFETY: the caller has the instructions, the lanes and the room; the addend is as long as
        // the output.
        unsafe {
            let own = self.rescaler.sixteen(sample, lane, sums);
            let other = load_sixteen(self.places.at(out), channels);
            let sum = [_mm256_add_ps(own[0], other[0]), _mm256_add_ps(own[1], other[1])];
            let values = held_sixteen(self.clamp, sum);
            store_sixteen(out, values, channels);
            if channels == 16 { values } else { load_sixteen(out, channels) }
        }
    }

    /// `channels` (1 to 32) channels, in their natural order, of one pixel. Gives what it stores, and
    /// zeros.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`].
    #[inline(always)]
    unsafe fn pixel(
        &self,
        sample: usize,
        lane: usize,
        sums: [__m512i; 2],
        channels: usize,
        out: *mut f32,
    ) -> [__m512; 2] {
        // SAFETY: the caller's promise, for a part of its channels.
        unsafe {
            let first = self.vector(sample, lane, sums[0], channels.min(16), out);
            if channels <= 16 {
                return [first, _mm512_setzero_ps()];
            }
            [first, self.vector(sample, lane + 16, sums[1], channels - 16, out.add(16))]
        }
    }

    /// `channels` (1 to 16) channels, in their natural order, of one pixel. Gives what it stores, and
    /// zeros.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`], with 16 lanes.
    #[inline(always)]
    unsafe fn vector(
        &self,
        sample: usize,
        lane: usize,
        sums: __m512i,
        channels: usize,
        out: *mut f32,
    ) -> __m512 {
        let mask = u16::MAX >> (16 - channels);
        // SAFETY: the caller has the instructions, the lanes and the room; the addend is as long as
        // the output.
        unsafe {
            let [value] = self.rescaler.held([self.rescaler.value(sample, lane, sums)]);
            let other = _mm512_maskz_loadu_ps(mask, self.places.at(out));
            let [value] = held(self.clamp, [_mm512_add_ps(value, other)]);
            store(out, value, channels);
            _mm512_maskz_mov_ps(mask, value)
        }
    }
}

/// The first `channels` (1 to 16) values of a pixel, and zeros.
///
/// # Safety
/// AVX2 must be there and the values readable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_sixteen(values: *const f32, channels: usize) -> [__m256; 2] {
    // SAFETY: the caller's promise; the buffer has room for 16.
    unsafe {
        match channels {
            16 => [_mm256_loadu_ps(values), _mm256_loadu_ps(values.add(8))],
            8 => [_mm256_loadu_ps(values), _mm256_setzero_ps()],
            _ => {
                let mut buffer = [0.0_f32; 16];
                std::ptr::copy_nonoverlapping(values, buffer.as_mut_ptr(), channels);
                [_mm256_loadu_ps(buffer.as_ptr()), _mm256_loadu_ps(buffer.as_ptr().add(8))]
            }
        }
    }
}
