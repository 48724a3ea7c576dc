//! What is done with sums of products: written once for plain slices and once for AVX-512 registers.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::lane::Lane;
use super::requantize::Requantize;
use crate::aligned::Aligned;

/// Turns sums into outputs.
///
/// A *lane* is a place in the arrays that it keeps: the order of channels is that of the kernel's
/// vectors.
pub(crate) trait Finish {
    /// What products are summed in.
    type Sum: Sync;

    /// What comes out.
    type Out: Send + Sync;

    /// Some channels of one pixel; `sums` and `out` are equally long.
    fn row(&self, sample: usize, lane: usize, sums: &[Self::Sum], out: &mut [Self::Out]);
}

/// Turns sums of products of bytes into outputs.
pub(super) trait Epilogue: Finish<Sum = i32> {
    /// `channels` (1 to 8) channels, in their natural order, of one pixel.
    ///
    /// # Safety
    /// `channels` elements must be writable at `out`, and 8 lanes must exist from `lane` on.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    unsafe fn eight(
        &self,
        sample: usize,
        lane: usize,
        sums: [int32x4_t; 2],
        channels: usize,
        out: *mut Self::Out,
    ) {
        let mut lanes = [0; 8];
        // SAFETY: 8 lanes are written, and the caller has the room.
        let out = unsafe {
            vst1q_s32(lanes.as_mut_ptr(), sums[0]);
            vst1q_s32(lanes.as_mut_ptr().add(4), sums[1]);
            std::slice::from_raw_parts_mut(out, channels)
        };
        match out.first_chunk_mut::<8>() {
            // Of a fixed length, the loop becomes vectors.
            Some(out) => self.row(sample, lane, &lanes, out),
            None => self.row(sample, lane, &lanes[..channels], out),
        }
    }

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

    /// All pixels of a strip with 32 channels.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`]; the strip must be what it says.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn wide(&self, strip: &Strip<Self::Out>) {
        // SAFETY: the caller's promise.
        unsafe { strip.pairs(self, 0) }
    }

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

/// The sums of a pixel with 16 channels, which start a cache line.
#[cfg(target_arch = "x86_64")]
pub(super) type Row = [i32; 16];

/// `count` pixels of one sample, `pitch` elements apart, whose sums of up to 32 channels stand in memory, each
/// half of the channels for itself.
#[cfg(target_arch = "x86_64")]
pub(super) struct Strip<O> {
    pub(super) sample: usize,
    pub(super) lane: usize,
    pub(super) channels: usize,
    pub(super) sums: [*const Row; 2],
    pub(super) count: usize,
    pub(super) out: *mut O,
    pub(super) pitch: usize,
}

#[cfg(target_arch = "x86_64")]
impl<O> Strip<O> {
    /// Finishes the pixels from `start` on, two at a time.
    ///
    /// # Safety
    /// As for [`Epilogue::wide`], of a strip with any number of channels.
    #[inline(always)]
    pub(super) unsafe fn pairs<E: Epilogue<Out = O> + ?Sized>(&self, epilogue: &E, start: usize) {
        for index in (start..self.count).step_by(2) {
            let both = index + 1 < self.count;
            let two = [index, index + usize::from(both)];
            // SAFETY: the caller's promise.
            unsafe {
                let sums = [self.sums(two[0]), self.sums(two[1])];
                let out = two.map(|index| self.out(index));
                epilogue.pair([self.sample; 2], self.lane, sums, self.channels, out, both);
            }
        }
    }

    /// Pixels that come in twos; one may be left.
    pub(super) fn even(&self) -> usize {
        self.count - self.count % 2
    }

    /// The sums of a pixel.
    ///
    /// # Safety
    /// AVX-512 F and the pixel must be there.
    #[inline(always)]
    pub(super) unsafe fn sums(&self, index: usize) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let [first, second] = self.sums;
            [_mm512_load_si512(first.add(index).cast()), _mm512_load_si512(second.add(index).cast())]
        }
    }

    /// Where the outputs of a pixel go.
    #[inline(always)]
    pub(super) fn out(&self, index: usize) -> *mut O {
        self.out.wrapping_add(index * self.pitch)
    }
}

/// The words of 16 channels of two pixels, in the order in which packs of two vectors leave them, as bytes, one pixel
/// behind the other.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn bytes_of_two(words: [__m256i; 2]) -> __m256i {
    // SAFETY: the caller has the instructions.
    unsafe {
        // The two pixels alternate by 4 channels.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words[0], words[1]), order)
    }
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

/// Stores the first `channels` (1 to 32) bytes of each half, or of the first one.
///
/// # Safety
/// AVX-512 BW and VL must be there and `channels` bytes writable at each `out` that is used.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn store_pair(bytes: __m512i, channels: usize, out: [*mut u8; 2], both: bool) {
    // SAFETY: the caller has the instructions and the room.
    unsafe {
        let bytes = [_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes)];
        // Stores with masks are slow.
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

/// Stores the first `channels` (1 to 16) bytes of the first `count` quarters, `pitch` bytes apart.
///
/// # Safety
/// AVX-512 BW and VL must be there and `channels` bytes writable at each place that is used.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn store_quad(bytes: __m512i, channels: usize, out: *mut u8, pitch: usize, count: usize) {
    // SAFETY: the caller has the instructions and the room.
    unsafe {
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
    /// Whether the bounds are narrower than those of bytes.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    bounded: bool,
    /// Brings two packed pixels, which alternate by 8 channels, one behind the other. Kept in memory
    /// because LLVM makes more shuffles of an order that it knows.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    order: [u32; 16],
}

impl Requantizer {
    /// `lanes` gives the output channel at each lane.
    pub(super) fn new(requantize: &Requantize, lanes: &[Lane]) -> Requantizer {
        let of_lane = |lane: &Lane| lane.channel().map_or(0.0, |channel| requantize.scale_of(channel));
        Requantizer {
            scale: Aligned::lasting_from(lanes.iter().map(of_lane)),
            zero_point: requantize.zero_point,
            min: requantize.min,
            max: requantize.max,
            bounded: requantize.min > 0 || requantize.max < u8::MAX,
            order: [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15],
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
    unsafe fn two_pixels(&self, lane: usize, sums: [[__m256i; 2]; 2]) -> __m256i {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = self.scale.as_ptr().add(lane);
            let scale = [_mm256_loadu_ps(scale), _mm256_loadu_ps(scale.add(8))];
            let words = [self.sixteen_words(sums[0], scale), self.sixteen_words(sums[1], scale)];
            let bytes = _mm256_max_epu8(bytes_of_two(words), _mm256_set1_epi8(self.min as i8));
            _mm256_min_epu8(bytes, _mm256_set1_epi8(self.max as i8))
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
            let words = self.sixteen_rounded(sums, scale);
            _mm256_adds_epi16(words, _mm256_set1_epi16(i16::from(self.zero_point)))
        }
    }

    /// The same without zero point.
    ///
    /// # Safety
    /// AVX2 must be there.
    #[inline(always)]
    pub(super) unsafe fn sixteen_rounded(&self, sums: [__m256i; 2], scale: [__m256; 2]) -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe {
            // Scaled sums stay within 32 bits: see [`Requantize::level`].
            let low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), scale[0]));
            let high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), scale[1]));
            _mm256_packs_epi32(low, high)
        }
    }

    /// The zero point of outputs, and their bounds.
    pub(super) fn bounds(&self) -> [u8; 3] {
        [self.zero_point, self.min, self.max]
    }

    /// The scales from a lane on; whole panels start on a cache line.
    pub(super) fn scale_at(&self, lane: usize) -> *const f32 {
        self.scale[lane..].as_ptr()
    }

    /// The scales of 32 lanes.
    ///
    /// # Safety
    /// AVX-512 F must be there, and 32 lanes exist from `lane` on.
    #[inline(always)]
    pub(super) unsafe fn wide_scale(&self, lane: usize) -> [__m512; 2] {
        let scale = self.scale_at(lane);
        // SAFETY: the caller has the instructions and the lanes.
        unsafe { [_mm512_load_ps(scale), _mm512_load_ps(scale.add(16))] }
    }

    /// 32 outputs as words, without zero point and bounds.
    ///
    /// # Safety
    /// AVX-512 F and BW must be there.
    #[inline(always)]
    pub(super) unsafe fn rounded(&self, sums: [__m512i; 2], scale: [__m512; 2]) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_packs_epi32(self.round(sums[0], scale[0]), self.round(sums[1], scale[1])) }
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
            let words = self.rounded(sums, scale);
            if self.zero_point == 0 {
                return words;
            }
            _mm512_adds_epi16(words, _mm512_set1_epi16(i16::from(self.zero_point)))
        }
    }

    /// [`Epilogue::wide`] for an even number of pixels, with a zero point and bounds or without both.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn wide_pairs<const BOUNDED: bool>(&self, strip: &Strip<u8>) {
        // SAFETY: the caller has the instructions, the lanes, the sums and the room.
        unsafe {
            // All in registers over all pixels: stores could change what is in memory, for all that compilers
            // know.
            let scale = self.wide_scale(strip.lane);
            let zero_point = _mm512_set1_epi16(i16::from(self.zero_point));
            let [min, max] = [self.min, self.max].map(|bound| _mm512_set1_epi8(bound as i8));
            let order = _mm512_loadu_si512(self.order.as_ptr().cast());
            for index in (0..strip.even()).step_by(2) {
                let mut words =
                    [self.rounded(strip.sums(index), scale), self.rounded(strip.sums(index + 1), scale)];
                if BOUNDED {
                    words[0] = _mm512_adds_epi16(words[0], zero_point);
                    words[1] = _mm512_adds_epi16(words[1], zero_point);
                }
                let mut bytes = _mm512_packus_epi16(words[0], words[1]);
                if BOUNDED {
                    bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, min), max);
                }
                let bytes = _mm512_permutexvar_epi32(order, bytes);
                store_pair(bytes, 32, [strip.out(index), strip.out(index + 1)], true);
            }
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
            if !self.bounded {
                return bytes;
            }
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

#[cfg(target_arch = "aarch64")]
impl Requantizer {
    /// 8 outputs.
    ///
    /// # Safety
    /// 8 lanes must exist from `lane` on.
    #[inline(always)]
    unsafe fn eight_bytes(&self, lane: usize, sums: [int32x4_t; 2]) -> uint8x8_t {
        // SAFETY: the caller has the lanes.
        unsafe {
            let scale = self.scale.as_ptr().add(lane);
            // Conversions and narrowing hold what does not fit to the ends of the range.
            let round = |sums, scale| vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums), scale)));
            let [low, high] = [round(sums[0], vld1q_f32(scale)), round(sums[1], vld1q_f32(scale.add(4)))];
            let words = vqaddq_s16(vcombine_s16(low, high), vdupq_n_s16(i16::from(self.zero_point)));
            vmin_u8(vmax_u8(vqmovun_s16(words), vdup_n_u8(self.min)), vdup_n_u8(self.max))
        }
    }
}

impl Epilogue for Requantizer {
    const PACKED: bool = true;

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    unsafe fn eight(&self, _sample: usize, lane: usize, sums: [int32x4_t; 2], channels: usize, out: *mut u8) {
        // SAFETY: the caller has the lanes and the room.
        unsafe {
            let bytes = self.eight_bytes(lane, sums);
            if channels == 8 {
                vst1_u8(out, bytes);
            } else {
                let bytes = vget_lane_u64::<0>(vreinterpret_u64_u8(bytes)).to_le_bytes();
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, channels);
            }
        }
    }

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
            let scale = self.wide_scale(lane);
            let bytes = self.bytes([self.words(sums[0], scale), self.words(sums[1], scale)]);
            // The two pixels alternate by 8 channels.
            let bytes = _mm512_permutexvar_epi32(_mm512_loadu_si512(self.order.as_ptr().cast()), bytes);
            store_pair(bytes, channels, out, both);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn wide(&self, strip: &Strip<u8>) {
        // SAFETY: the caller has the instructions, the lanes, the sums and the room.
        unsafe {
            if self.zero_point == 0 && !self.bounded {
                self.wide_pairs::<false>(strip);
            } else {
                self.wide_pairs::<true>(strip);
            }
            strip.pairs(self, strip.even());
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
            let scale = [_mm512_loadu_ps(self.scale.as_ptr().add(lane)); 2];
            let words = [self.words([sums[0], sums[1]], scale), self.words([sums[2], sums[3]], scale)];
            // The four pixels alternate by 4 channels.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, self.bytes(words));
            store_quad(bytes, channels, out, pitch, count);
        }
    }
}
