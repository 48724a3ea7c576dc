//! What is done with sums of products: written once for plain slices and once for AVX-512 registers.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::float::Clamp;

use super::dynamic::SampleQuantization;
use super::requantize::Requantize;
use crate::aligned::Aligned;

/// Turns sums into outputs.
///
/// A *lane* is a place in the arrays that it keeps: the order of channels is that of the kernel's
/// vectors.
pub(crate) trait Finish: Sync {
    /// What products are summed in.
    type Sum: Sync;

    /// What comes out.
    type Out: Send + Sync;

    /// Some channels of one pixel; `sums` and `out` are equally long.
    fn row(&self, sample: usize, lane: usize, sums: &[Self::Sum], out: &mut [Self::Out]);
}

/// Turns sums of products of bytes into outputs.
pub(super) trait Epilogue: Finish<Sum = i32> {
    /// `channels` (1 to 16) channels, in their natural order, of two pixels, or of the first only.
    ///
    /// # Safety
    /// AVX2 must be there; `channels` elements must be writable at each `out` that is used, and 16
    /// lanes must exist from `lane` on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn two(
        &self,
        samples: [usize; 2],
        lane: usize,
        sums: [[__m256i; 2]; 2],
        channels: usize,
        out: [*mut Self::Out; 2],
        both: bool,
    ) {
        for pixel in 0..1 + usize::from(both) {
            let mut lanes = [0; 16];
            // SAFETY: 16 lanes are written, and the caller has the room.
            let out = unsafe {
                _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[pixel][0]);
                _mm256_storeu_si256(lanes.as_mut_ptr().add(8).cast(), sums[pixel][1]);
                std::slice::from_raw_parts_mut(out[pixel], channels)
            };
            self.row(samples[pixel], lane, &lanes[..channels], out);
        }
    }

    /// Whether AVX-512 kernels should hold 32 channels in the order of [`packed_channel`].
    const PACKED: bool;

    /// `channels` (1 to 32) channels of two pixels, or of the first only.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL must be there; `channels` elements must be writable at each `out` that is
    /// used, and 32 lanes must exist from `lane` on.
    #[cfg(target_arch = "x86_64")]
    unsafe fn pair(
        &self,
        samples: [usize; 2],
        lane: usize,
        sums: [[__m512i; 2]; 2],
        channels: usize,
        out: [*mut Self::Out; 2],
        both: bool,
    );

    /// `channels` (1 to 16) channels, in their natural order, of the first `count` of four pixels,
    /// `pitch` elements apart.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`], with 16 lanes.
    #[cfg(target_arch = "x86_64")]
    #[expect(clippy::too_many_arguments, reason = "vectors and scalars of one inner loop")]
    unsafe fn quad(
        &self,
        samples: &[usize],
        lane: usize,
        sums: [__m512i; 4],
        channels: usize,
        out: *mut Self::Out,
        pitch: usize,
        count: usize,
    );
}

/// Stores the first `channels` (1 to 16) bytes of each half, or of the first one.
///
/// # Safety
/// AVX2 must be there and `channels` bytes writable at each `out` that is used.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn store_two(bytes: __m256i, channels: usize, out: [*mut u8; 2], both: bool) {
    // SAFETY: the caller has the instructions and the room.
    unsafe {
        if channels == 16 {
            _mm_storeu_si128(out[0].cast(), _mm256_castsi256_si128(bytes));
            if both {
                _mm_storeu_si128(out[1].cast(), _mm256_extracti128_si256::<1>(bytes));
            }
            return;
        }
        let mut buffer = [0_u8; 32];
        _mm256_storeu_si256(buffer.as_mut_ptr().cast(), bytes);
        for (out, bytes) in out.into_iter().zip(buffer.chunks_exact(16)).take(1 + usize::from(both)) {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, channels);
        }
    }
}

/// The channel (0 to 31) at a place in two vectors of 16 that two saturating packs (which work
/// within 128 bits) bring into natural order.
#[cfg(target_arch = "x86_64")]
pub(crate) const fn packed_channel(place: usize) -> usize {
    let (vector, quarter, element) = (place / 16, place % 16 / 4, place % 4);
    8 * quarter + 4 * vector + element
}

/// `1.5 * 2^23`: added to a float of magnitude below 2^22 it rounds it to an integer, ties to even,
/// that stands in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// `value` rounded to the nearest integer, ties to even; `value` is within ±2^22.
#[inline(always)]
pub(super) fn round_small(value: f32) -> i32 {
    (value + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

/// The smaller; the second where the first is no number, as the vector instruction has it.
#[inline(always)]
pub(super) fn at_most(value: f32, bound: f32) -> f32 {
    if value < bound { value } else { bound }
}

/// The larger; the second where the first is no number.
#[inline(always)]
pub(super) fn at_least(value: f32, bound: f32) -> f32 {
    if value > bound { value } else { bound }
}

/// Sums to `u8`, by [`Requantize`].
pub(super) struct Requantizer {
    scale: Aligned<f32>,
    zero_point: u8,
    min: u8,
    max: u8,
}

impl Requantizer {
    /// `lanes` gives the output channel at each lane.
    pub(super) fn new(requantize: &Requantize, lanes: &[Option<usize>]) -> Requantizer {
        Requantizer {
            scale: lanes.iter().map(|c| c.map_or(0.0, |c| requantize.scale_of(c))).collect(),
            zero_point: requantize.zero_point,
            min: requantize.min,
            max: requantize.max,
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Requantizer {
    /// 16 channels of two pixels, one after the other.
    ///
    /// # Safety
    /// AVX2 must be there, and 16 lanes must exist from `lane` on.
    #[inline(always)]
    pub(super) unsafe fn two_pixels(&self, lane: usize, sums: [[__m256i; 2]; 2]) -> __m256i {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = self.scale.as_ptr().add(lane);
            let scale = [_mm256_loadu_ps(scale), _mm256_loadu_ps(scale.add(8))];
            let words = [self.sixteen_words(sums[0], scale), self.sixteen_words(sums[1], scale)];
            let bytes = _mm256_packus_epi16(words[0], words[1]);
            let bytes = _mm256_max_epu8(bytes, _mm256_set1_epi8(self.min as i8));
            let bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(self.max as i8));
            // The two pixels alternate by 4 channels.
            _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        }
    }

    /// 16 outputs as words, not yet held to their bounds, in the order in which a pack of two vectors
    /// leaves them.
    ///
    /// # Safety
    /// AVX2 must be there.
    #[inline(always)]
    unsafe fn sixteen_words(&self, sums: [__m256i; 2], scale: [__m256; 2]) -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe {
            // Scaled sums stay within 32 bits: see [`Requantize::level`].
            let low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), scale[0]));
            let high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), scale[1]));
            let words = _mm256_packs_epi32(low, high);
            _mm256_adds_epi16(words, _mm256_set1_epi16(i16::from(self.zero_point)))
        }
    }

    /// 32 channels of two pixels, which alternate by 8 channels.
    ///
    /// # Safety
    /// AVX-512 F and BW must be there, and 32 lanes must exist from `lane` on.
    #[inline(always)]
    pub(super) unsafe fn alternating(&self, lane: usize, sums: [[__m512i; 2]; 2]) -> __m512i {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = self.scale.as_ptr().add(lane);
            let scale = [_mm512_load_ps(scale), _mm512_load_ps(scale.add(16))];
            self.bytes([self.words(sums[0], scale), self.words(sums[1], scale)])
        }
    }

    /// 16 channels, which [`Epilogue::PACKED`] leaves in order, of four pixels, which alternate by 4
    /// channels.
    ///
    /// # Safety
    /// AVX-512 F and BW must be there, and 16 lanes must exist from `lane` on.
    #[inline(always)]
    pub(super) unsafe fn alternating_by_four(&self, lane: usize, sums: [__m512i; 4]) -> __m512i {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = [_mm512_loadu_ps(self.scale.as_ptr().add(lane)); 2];
            self.bytes([self.words([sums[0], sums[1]], scale), self.words([sums[2], sums[3]], scale)])
        }
    }

    /// 32 outputs as words, not yet held to their bounds.
    ///
    /// Not a closure in [`Epilogue::pair`]: it must be inlined to be compiled for AVX-512.
    ///
    /// # Safety
    /// AVX-512 F and BW must be there.
    #[inline(always)]
    unsafe fn words(&self, sums: [__m512i; 2], scale: [__m512; 2]) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let words = _mm512_packs_epi32(self.round(sums[0], scale[0]), self.round(sums[1], scale[1]));
            _mm512_adds_epi16(words, _mm512_set1_epi16(i16::from(self.zero_point)))
        }
    }

    /// Words as bytes within their bounds.
    ///
    /// # Safety
    /// AVX-512 BW must be there.
    #[inline(always)]
    unsafe fn bytes(&self, words: [__m512i; 2]) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let bytes = _mm512_packus_epi16(words[0], words[1]);
            let bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8(self.min as i8));
            _mm512_min_epu8(bytes, _mm512_set1_epi8(self.max as i8))
        }
    }

    /// Scaled and rounded sums, which stay within 32 bits: see [`Requantize::level`].
    ///
    /// # Safety
    /// AVX-512 F must be there.
    #[inline(always)]
    unsafe fn round(&self, sums: __m512i, scale: __m512) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale)) }
    }
}

impl Finish for Requantizer {
    type Sum = i32;
    type Out = u8;

    #[inline(always)]
    fn row(&self, _sample: usize, lane: usize, sums: &[i32], out: &mut [u8]) {
        let scales = &self.scale[lane..][..sums.len()];
        let from_zero = |bound: u8| f32::from(bound) - f32::from(self.zero_point);
        let (low, high) = (from_zero(self.min), from_zero(self.max));
        for ((out, &sum), scale) in out.iter_mut().zip(sums).zip(scales) {
            // The clamp may stand before the rounding because its bounds are integers.
            let value = at_least(at_most(sum as f32 * scale, high), low);
            *out = (round_small(value) + i32::from(self.zero_point)) as u8;
        }
    }
}

impl Epilogue for Requantizer {
    const PACKED: bool = true;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn two(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m256i; 2]; 2],
        channels: usize,
        out: [*mut u8; 2],
        both: bool,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe { store_two(self.two_pixels(lane, sums), channels, out, both) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pair(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m512i; 2]; 2],
        channels: usize,
        out: [*mut u8; 2],
        both: bool,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let bytes = self.alternating(lane, sums);
            let bytes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes);
            let bytes = [_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes)];
            if channels == 32 {
                _mm256_storeu_si256(out[0].cast(), bytes[0]);
                if both {
                    _mm256_storeu_si256(out[1].cast(), bytes[1]);
                }
            } else {
                let mask = u32::MAX >> (32 - channels);
                _mm256_mask_storeu_epi8(out[0].cast(), mask, bytes[0]);
                if both {
                    _mm256_mask_storeu_epi8(out[1].cast(), mask, bytes[1]);
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn quad(
        &self,
        _samples: &[usize],
        lane: usize,
        sums: [__m512i; 4],
        channels: usize,
        out: *mut u8,
        pitch: usize,
        count: usize,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, self.alternating_by_four(lane, sums));
            let mask = u16::MAX >> (16 - channels);
            let store = |pixel: usize, bytes: __m128i| {
                if pixel < count && channels == 16 {
                    _mm_storeu_si128(out.add(pixel * pitch).cast(), bytes);
                } else if pixel < count {
                    _mm_mask_storeu_epi8(out.add(pixel * pitch).cast(), mask, bytes);
                }
            };
            store(0, _mm512_castsi512_si128(bytes));
            store(1, _mm512_extracti32x4_epi32::<1>(bytes));
            store(2, _mm512_extracti32x4_epi32::<2>(bytes));
            store(3, _mm512_extracti32x4_epi32::<3>(bytes));
        }
    }
}

/// The constants of [`Rescaler`], by lane.
pub(super) struct Rescaling {
    /// Sum of each channel's weights: what one step of the input's zero point is worth.
    weight_sums: Aligned<i32>,
    scale: Aligned<f32>,
    bias: Aligned<f32>,
    clamp: Clamp,
}

impl Rescaling {
    /// `lanes` gives the output channel at each lane.
    pub(super) fn new(
        lanes: &[Option<usize>],
        weight_sum: impl Fn(usize) -> i32,
        scale: impl Fn(usize) -> f32,
        bias: impl Fn(usize) -> f32,
        clamp: Clamp,
    ) -> Rescaling {
        Rescaling {
            weight_sums: lanes.iter().map(|c| c.map_or(0, &weight_sum)).collect(),
            scale: lanes.iter().map(|c| c.map_or(0.0, &scale)).collect(),
            bias: lanes.iter().map(|c| c.map_or(0.0, &bias)).collect(),
            clamp,
        }
    }
}

/// Sums to `f32`, each sample by its own scale and zero point.
pub(super) struct Rescaler<'a> {
    pub(super) constants: &'a Rescaling,
    pub(super) samples: &'a [SampleQuantization],
}

impl Finish for Rescaler<'_> {
    type Sum = i32;
    type Out = f32;

    #[inline(always)]
    fn row(&self, sample: usize, lane: usize, sums: &[i32], out: &mut [f32]) {
        let Rescaling { weight_sums, scale, bias, clamp } = self.constants;
        let SampleQuantization { scale: input_scale, zero_point, .. } = self.samples[sample];
        let zero_point = i32::from(zero_point);
        let lanes = lane..lane + sums.len();
        let constants = weight_sums[lanes.clone()].iter().zip(&scale[lanes.clone()]).zip(&bias[lanes]);
        for ((out, &sum), ((&weight_sum, &scale), &bias)) in out.iter_mut().zip(sums).zip(constants) {
            let sum = sum.wrapping_sub(zero_point.wrapping_mul(weight_sum));
            let value = sum as f32 * (input_scale * scale) + bias;
            *out = clamp.apply(value);
        }
    }
}

impl Epilogue for Rescaler<'_> {
    const PACKED: bool = false;

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
        for pixel in 0..1 + usize::from(both) {
            for vector in 0..channels.div_ceil(16) {
                let (first, sums) = (16 * vector, sums[pixel][vector]);
                // SAFETY: the caller's promise, for a part of its channels.
                unsafe {
                    let count = (channels - first).min(16);
                    self.vector(samples[pixel], lane + first, sums, count, out[pixel].add(first));
                }
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
            unsafe { self.vector(samples[pixel], lane, sums, channels, out.add(pixel * pitch)) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Rescaler<'_> {
    /// 16 channels, in their natural order, of one pixel.
    ///
    /// # Safety
    /// AVX-512 F must be there, and 16 lanes must exist from `lane` on.
    #[inline(always)]
    pub(super) unsafe fn value(&self, sample: usize, lane: usize, sums: __m512i) -> __m512 {
        let Rescaling { weight_sums, scale, bias, clamp } = self.constants;
        let SampleQuantization { scale: input_scale, zero_point, .. } = self.samples[sample];
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let weight_sums = _mm512_loadu_si512(weight_sums.as_ptr().add(lane).cast());
            let shift = _mm512_mullo_epi32(_mm512_set1_epi32(i32::from(zero_point)), weight_sums);
            let scale = _mm512_mul_ps(_mm512_set1_ps(input_scale), _mm512_loadu_ps(scale.as_ptr().add(lane)));
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums, shift)), scale);
            let value = _mm512_add_ps(value, _mm512_loadu_ps(bias.as_ptr().add(lane)));
            // With the value second, as the instructions have it, NaN stays NaN.
            let value = _mm512_max_ps(_mm512_set1_ps(clamp.min), value);
            _mm512_min_ps(_mm512_set1_ps(clamp.max), value)
        }
    }

    /// `channels` (1 to 16) channels, in their natural order, of one pixel.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`], with 16 lanes.
    #[inline(always)]
    unsafe fn vector(&self, sample: usize, lane: usize, sums: __m512i, channels: usize, out: *mut f32) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let value = self.value(sample, lane, sums);
            if channels == 16 {
                _mm512_storeu_ps(out, value);
            } else {
                _mm512_mask_storeu_ps(out, u16::MAX >> (16 - channels), value);
            }
        }
    }
}
