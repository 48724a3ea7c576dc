//! Residual connections of bytes.

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::super::epilogue::{Epilogue, Finish, Requantizer};
#[cfg(target_arch = "x86_64")]
use super::super::epilogue::{Strip, bytes_of_two, store_pair, store_two};
use super::{ByteSum, PIECE, Places};
#[cfg(target_arch = "x86_64")]
use crate::elementwise::SumRule;

/// The constants of a [`ByteAdder`]. They are kept behind a reference of their own: then compilers read
/// them where they are used, instead of holding them in registers that the products need.
pub(in super::super) struct Adding {
    sum: ByteSum,
    #[cfg(target_arch = "x86_64")]
    vectors: Vectors,
}

/// Constants as vectors or, of 32 bits, as elements.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
struct Vectors {
    /// Bounds of the convolution's output less its zero point, as words.
    own_min: [i16; 32],
    own_max: [i16; 32],
    /// The sum's zero point as words, its bounds as bytes.
    zero_point: [i16; 32],
    min: [u8; 64],
    max: [u8; 64],
    /// Brings two pixels that alternate by 8 channels one behind the other, and four that alternate
    /// by 4. (LLVM makes more shuffles of orders that it knows.)
    order_of_two: [u32; 16],
    order_of_four: [u32; 16],
    /// The rule's, with the share of the convolution's zero point, which its outputs lack here.
    bias: i32,
    /// Both multipliers as words: their low 7 bits, and the rest.
    low: i32,
    high: i32,
    shift: [i32; 16],
    /// Whether the sum has a zero point, or bounds narrower than those of bytes.
    bounded: bool,
}

impl Adding {
    /// `own` is the convolution's epilogue.
    pub(in super::super) fn new(sum: ByteSum, own: &Requantizer) -> Adding {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = own;
        Adding {
            sum,
            #[cfg(target_arch = "x86_64")]
            vectors: Vectors::new(sum, own.bounds()),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors {
    /// `own` is the zero point of the convolution's output, and its bounds.
    fn new(sum: ByteSum, [zero_point, min, max]: [u8; 3]) -> Vectors {
        let SumRule { multipliers: [a, b], bias, shift, zero_point: of_sum } = sum.rule;
        let own = |bound: u8| [i16::from(bound) - i16::from(zero_point); 32];
        Vectors {
            own_min: own(min),
            own_max: own(max),
            zero_point: [of_sum as i16; 32],
            min: [sum.clamp[0]; 64],
            max: [sum.clamp[1]; 64],
            order_of_two: [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15],
            order_of_four: [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
            bias: bias.wrapping_add(a.wrapping_mul(i32::from(zero_point))),
            low: a & 0x7f | (b & 0x7f) << 16,
            high: (a >> 7) & 0xffff | (b >> 7) << 16,
            shift: [shift; 16],
            bounded: of_sum != 0 || sum.clamp != [0, u8::MAX],
        }
    }
}

/// Reads a constant.
///
/// # Safety
/// AVX-512 F must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn vector<T, const N: usize>(constant: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: 64 bytes, as just checked.
    unsafe { _mm512_loadu_si512(constant.as_ptr().cast()) }
}

/// Reads half of a constant.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn half<T, const N: usize>(constant: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: there are 64 bytes, as just checked.
    unsafe { _mm256_loadu_si256(constant.as_ptr().cast()) }
}

/// Sums to `u8`, to which others are added.
pub(in super::super) struct ByteAdder<'a> {
    requantizer: &'a Requantizer,
    adding: &'a Adding,
    places: Places<'a, u8>,
}

impl<'a> ByteAdder<'a> {
    /// # Panics
    /// If the tensor has another length than the output.
    pub(in super::super) fn new(
        requantizer: &'a Requantizer,
        adding: &'a Adding,
        tensor: Option<&'a [u8]>,
        output: &[u8],
    ) -> ByteAdder<'a> {
        ByteAdder { requantizer, adding, places: Places::new(tensor, output) }
    }
}

impl Finish for ByteAdder<'_> {
    type Sum = i32;
    type Out = u8;

    #[inline(always)]
    fn row(&self, sample: usize, lane: usize, sums: &[i32], out: &mut [u8]) {
        let ByteSum { rule, clamp } = self.adding.sum;
        self.places.bring(out);
        let pieces = sums.chunks(PIECE).zip(out.chunks_mut(PIECE));
        for (piece, (sums, out)) in pieces.enumerate() {
            let mut own = [0; PIECE];
            let own = &mut own[..sums.len()];
            self.requantizer.row(sample, lane + piece * PIECE, sums, own);
            for (out, own) in out.iter_mut().zip(own) {
                *out = rule.value(*own, *out, clamp);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors {
    /// # Safety
    /// AVX-512 F must be there.
    #[inline(always)]
    unsafe fn held(&self) -> Held {
        // SAFETY: the caller has the instructions.
        unsafe {
            Held {
                own_min: vector(&self.own_min),
                own_max: vector(&self.own_max),
                zero_point: vector(&self.zero_point),
                min: vector(&self.min),
                max: vector(&self.max),
                bias: _mm512_set1_epi32(self.bias),
                low: _mm512_set1_epi32(self.low),
                high: _mm512_set1_epi32(self.high),
                shift: vector(&self.shift),
            }
        }
    }
}

/// What [`Vectors`] has, in registers.
#[cfg(target_arch = "x86_64")]
struct Held {
    own_min: __m512i,
    own_max: __m512i,
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
    bias: __m512i,
    low: __m512i,
    high: __m512i,
    shift: __m512i,
}

#[cfg(target_arch = "x86_64")]
impl Held {
    /// The sums of 32 operands as words, not yet held to their bounds. `own` is the convolution's
    /// output as words, its zero point still to be added. Sums that are not `BOUNDED` have neither zero
    /// point nor bounds other than those of bytes.
    ///
    /// # Safety
    /// AVX-512 F, BW and VNNI must be there.
    #[inline(always)]
    unsafe fn words<const BOUNDED: bool>(&self, own: __m512i, others: __m512i) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let own = _mm512_min_epi16(_mm512_max_epi16(own, self.own_min), self.own_max);
            let steps = _mm512_packs_epi32(
                self.steps(_mm512_unpacklo_epi16(own, others)),
                self.steps(_mm512_unpackhi_epi16(own, others)),
            );
            if BOUNDED { _mm512_adds_epi16(steps, self.zero_point) } else { steps }
        }
    }

    /// The sums of pairs of words, in steps of the output.
    ///
    /// # Safety
    /// As for [`Held::words`].
    #[inline(always)]
    unsafe fn steps(&self, pairs: __m512i) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            // A multiplier has up to 22 bits, a word 16: its low 7 bits multiply the operand, the
            // rest 128 times the operand.
            let sum = add_products(self.bias, pairs, self.low);
            let sum = add_products(sum, _mm512_slli_epi16::<7>(pairs), self.high);
            _mm512_srav_epi32(sum, self.shift)
        }
    }

    /// Words as bytes within their bounds, both vectors in turn by 128 bits.
    ///
    /// # Safety
    /// As for [`Held::words`].
    #[inline(always)]
    unsafe fn bytes<const BOUNDED: bool>(&self, words: [__m512i; 2]) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let bytes = _mm512_packus_epi16(words[0], words[1]);
            if !BOUNDED {
                return bytes;
            }
            _mm512_min_epu8(_mm512_max_epu8(bytes, self.min), self.max)
        }
    }
}

/// Adds the products of pairs of words to sums. (Of the intrinsic, LLVM makes a product and a sum.)
///
/// # Safety
/// AVX-512 VNNI must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn add_products(mut sums: __m512i, pairs: __m512i, factors: __m512i) -> __m512i {
    // SAFETY: the caller has the instruction, which changes a register only.
    unsafe {
        asm!(
            "vpdpwssd {sums}, {pairs}, {factors}",
            sums = inout(zmm_reg) sums,
            pairs = in(zmm_reg) pairs,
            factors = in(zmm_reg) factors,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

#[cfg(target_arch = "x86_64")]
impl ByteAdder<'_> {
    /// The outputs of two pixels with 32 channels, one behind the other. `others` are what is added to each.
    ///
    /// # Safety
    /// As for [`Held::words`].
    #[inline(always)]
    unsafe fn wide_two<const BOUNDED: bool>(
        &self,
        held: &Held,
        scale: [__m512; 2],
        order: __m512i,
        sums: [[__m512i; 2]; 2],
        others: [__m256i; 2],
    ) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe {
            let own = [self.requantizer.rounded(sums[0], scale), self.requantizer.rounded(sums[1], scale)];
            let words = [
                held.words::<BOUNDED>(own[0], _mm512_cvtepu8_epi16(others[0])),
                held.words::<BOUNDED>(own[1], _mm512_cvtepu8_epi16(others[1])),
            ];
            _mm512_permutexvar_epi32(order, held.bytes::<BOUNDED>(words))
        }
    }

    /// What is added to two pixels of 16 channels, as words, which alternate by 4 channels.
    ///
    /// # Safety
    /// As for [`Held::words`]; the bytes of the masks must be readable.
    #[inline(always)]
    unsafe fn others_of_two(&self, at: [*const u8; 2], masks: [u16; 2]) -> __m512i {
        // SAFETY: the caller has the instructions and the room.
        unsafe {
            let first = _mm256_castsi128_si256(_mm_maskz_loadu_epi8(masks[0], at[0].cast()));
            let both = _mm256_inserti128_si256::<1>(first, _mm_maskz_loadu_epi8(masks[1], at[1].cast()));
            let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
            _mm512_permutexvar_epi64(order, _mm512_cvtepu8_epi16(both))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl ByteAdder<'_> {
    /// The outputs of two pixels with 16 channels, one pixel after the other. `others` are what is added
    /// to each.
    ///
    /// # Safety
    /// AVX2 must be there, and 16 lanes must exist from `lane` on.
    #[inline(always)]
    unsafe fn narrow_two(&self, lane: usize, sums: [[__m256i; 2]; 2], others: [__m128i; 2]) -> __m256i {
        let Vectors { min, max, .. } = &self.adding.vectors;
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = self.requantizer.scale_at(lane);
            let scale = [_mm256_loadu_ps(scale), _mm256_loadu_ps(scale.add(8))];
            let bytes = bytes_of_two([
                self.sixteen_words(self.requantizer.sixteen_rounded(sums[0], scale), others[0]),
                self.sixteen_words(self.requantizer.sixteen_rounded(sums[1], scale), others[1]),
            ]);
            _mm256_min_epu8(_mm256_max_epu8(bytes, half(min)), half(max))
        }
    }

    /// The sums of 16 operands as words, not yet held to their bounds. `own` is the convolution's output
    /// as words in the order in which a pack leaves them, its zero point still to be added.
    ///
    /// # Safety
    /// AVX2 must be there.
    #[inline(always)]
    unsafe fn sixteen_words(&self, own: __m256i, others: __m128i) -> __m256i {
        let Vectors { own_min, own_max, zero_point, .. } = &self.adding.vectors;
        // SAFETY: the caller has the instructions.
        unsafe {
            let order = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
            let others = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(others, order));
            let own = _mm256_min_epi16(_mm256_max_epi16(own, half(own_min)), half(own_max));
            let steps = _mm256_packs_epi32(
                self.eight_steps(_mm256_unpacklo_epi16(own, others)),
                self.eight_steps(_mm256_unpackhi_epi16(own, others)),
            );
            _mm256_adds_epi16(steps, half(zero_point))
        }
    }

    /// The sums of eight pairs of words, in steps of the output; multipliers are split as in
    /// [`Held::steps`].
    ///
    /// # Safety
    /// AVX2 must be there.
    #[inline(always)]
    unsafe fn eight_steps(&self, pairs: __m256i) -> __m256i {
        let &Vectors { bias, low, high, ref shift, .. } = &self.adding.vectors;
        // SAFETY: the caller has the instructions.
        unsafe {
            let sum =
                _mm256_add_epi32(_mm256_set1_epi32(bias), _mm256_madd_epi16(pairs, _mm256_set1_epi32(low)));
            let pairs = _mm256_slli_epi16::<7>(pairs);
            let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi32(high)));
            _mm256_sra_epi32(sum, _mm_cvtsi32_si128(shift[0]))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl ByteAdder<'_> {
    /// [`Epilogue::wide`] for an even number of pixels, with a zero point and bounds or without both.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn wide_pairs<const BOUNDED: bool>(&self, strip: &Strip<u8>) {
        let at = self.places.at(strip.out);
        // SAFETY: the caller has the instructions, the lanes, the sums and the room; the addend is as long as the
        // output.
        unsafe {
            // All in registers over all pixels: stores could change what is in memory, for all that compilers
            // know.
            let vectors = &self.adding.vectors;
            let (held, order) = (&vectors.held(), vector(&vectors.order_of_two));
            let scale = self.requantizer.wide_scale(strip.lane);
            for index in (0..strip.even()).step_by(2) {
                let others = [index, index + 1].map(|index| at.wrapping_add(index * strip.pitch));
                let others = [_mm256_loadu_si256(others[0].cast()), _mm256_loadu_si256(others[1].cast())];
                let sums = [strip.sums(index), strip.sums(index + 1)];
                let bytes = self.wide_two::<BOUNDED>(held, scale, order, sums, others);
                store_pair(bytes, 32, [strip.out(index), strip.out(index + 1)], true);
            }
        }
    }
}

impl Epilogue for ByteAdder<'_> {
    const PACKED: bool = Requantizer::PACKED;

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
        // SAFETY: the caller has the instructions and the lanes; at the places of outputs that it
        // vouches for the addend is readable, since it is as long as the output.
        unsafe {
            let others = [self.places.at(out[0]), self.places.at(out[usize::from(both)])];
            let others = if channels == 16 {
                [_mm_loadu_si128(others[0].cast()), _mm_loadu_si128(others[1].cast())]
            } else {
                let mut buffer = [[0_u8; 16]; 2];
                for (others, bytes) in others.into_iter().zip(&mut buffer) {
                    std::ptr::copy_nonoverlapping(others, bytes.as_mut_ptr(), channels);
                }
                buffer.map(|bytes| _mm_loadu_si128(bytes.as_ptr().cast()))
            };
            store_two(self.narrow_two(lane, sums, others), channels, out, both);
        }
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
        let at = [self.places.at(out[0]), self.places.at(out[1])];
        // SAFETY: the caller has the instructions and the lanes; where it vouches for an output, the
        // addend is readable, since it is as long as the output.
        unsafe {
            let vectors = &self.adding.vectors;
            let (held, order) = (&vectors.held(), vector(&vectors.order_of_two));
            let scale = self.requantizer.wide_scale(lane);
            // Stores with masks are slow.
            if channels == 32 && both {
                let others = [_mm256_loadu_si256(at[0].cast()), _mm256_loadu_si256(at[1].cast())];
                store_pair(self.wide_two::<true>(held, scale, order, sums, others), 32, out, true);
                return;
            }
            let mask = u32::MAX >> (32 - channels);
            let masks = [mask, if both { mask } else { 0 }];
            let others = [
                _mm256_maskz_loadu_epi8(masks[0], at[0].cast()),
                _mm256_maskz_loadu_epi8(masks[1], at[1].cast()),
            ];
            let bytes = self.wide_two::<true>(held, scale, order, sums, others);
            _mm256_mask_storeu_epi8(out[0].cast(), masks[0], _mm512_castsi512_si256(bytes));
            _mm256_mask_storeu_epi8(out[1].cast(), masks[1], _mm512_extracti64x4_epi64::<1>(bytes));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn wide(&self, strip: &Strip<u8>) {
        // SAFETY: as in `pair`, with the sums that the caller vouches for.
        unsafe {
            if self.adding.vectors.bounded {
                self.wide_pairs::<true>(strip);
            } else {
                self.wide_pairs::<false>(strip);
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
        let mask = u16::MAX >> (16 - channels);
        let masks = [0, 1, 2, 3].map(|pixel| if pixel < count { mask } else { 0 });
        let out = [0, 1, 2, 3].map(|pixel| out.wrapping_add(pixel * pitch));
        let at = out.map(|out| self.places.at(out));
        // SAFETY: as in `pair`.
        unsafe {
            let held = &self.adding.vectors.held();
            let scale = [_mm512_loadu_ps(self.requantizer.scale_at(lane)); 2];
            let words = [
                held.words::<true>(
                    self.requantizer.rounded([sums[0], sums[1]], scale),
                    self.others_of_two([at[0], at[1]], [masks[0], masks[1]]),
                ),
                held.words::<true>(
                    self.requantizer.rounded([sums[2], sums[3]], scale),
                    self.others_of_two([at[2], at[3]], [masks[2], masks[3]]),
                ),
            ];
            let order = vector(&self.adding.vectors.order_of_four);
            let bytes = _mm512_permutexvar_epi32(order, held.bytes::<true>(words));
            _mm_mask_storeu_epi8(out[0].cast(), masks[0], _mm512_castsi512_si128(bytes));
            _mm_mask_storeu_epi8(out[1].cast(), masks[1], _mm512_extracti32x4_epi32::<1>(bytes));
            _mm_mask_storeu_epi8(out[2].cast(), masks[2], _mm512_extracti32x4_epi32::<2>(bytes));
            _mm_mask_storeu_epi8(out[3].cast(), masks[3], _mm512_extracti32x4_epi32::<3>(bytes));
        }
    }
}
