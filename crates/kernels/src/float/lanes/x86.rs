//! AVX2 and AVX-512 registers.
//!
//! The step of the convolution tile is inline assembly: with all registers taken by accumulators
//! the compiler's scheduler hoists the broadcasts and spills accumulators, at a third to half of
//! the speed. As opaque blocks the steps stay as written.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Lanes;

/// Eight floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

impl Avx2 {
    /// A mask that selects the first `count` lanes.
    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        // SAFETY: the processor has AVX2 by the trait's contract. `count` is below 8.
        unsafe {
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
        }
    }
}

// SAFETY of every block below: the processor has AVX2 and FMA and the pointers are valid for the
// elements read or written, by the trait's contract.
impl Lanes for Avx2 {
    const COUNT: usize = 8;
    const PIXELS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: see above; masked lanes are not read.
        Avx2(unsafe { _mm256_maskload_ps(from, Avx2::first(count)) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: see above; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(to, Avx2::first(count), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: see above.
        Avx2(unsafe { _mm256_fmadd_ps(x.0, w.0, self.0) })
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self, x: *const f32, k: usize, w: Self) -> Self {
        // SAFETY: see above.
        unsafe { add_scaled_avx2(acc, x, k, w) }
    }

    #[inline(always)]
    unsafe fn add_scaled_pair(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: see above.
        unsafe { add_scaled_pair_avx2(acc, x, k, w) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: see above; a prefetch of whatever address does nothing but fill the cache.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(from: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn clamp(self, min: f32, max: f32) -> Self {
        // The value is the second operand, so that a NaN stays.
        // SAFETY: see above.
        Avx2(unsafe { _mm256_min_ps(_mm256_set1_ps(max), _mm256_max_ps(_mm256_set1_ps(min), self.0)) })
    }

    #[inline(always)]
    unsafe fn rectify(self, slopes: Self) -> Self {
        // SAFETY: see above.
        Avx2(unsafe {
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, _mm256_setzero_ps());
            _mm256_blendv_ps(self.0, _mm256_mul_ps(self.0, slopes.0), below)
        })
    }

    #[inline(always)]
    unsafe fn turn(rows: *const *const f32, first: usize, count: usize, to: *mut f32, pitch: usize) {
        // SAFETY: see above.
        unsafe { turn_avx2(rows, first, count, to, pitch) }
    }

    #[inline(always)]
    unsafe fn hold(self, low: Self, high: Self) -> Self {
        // The bound is the second operand, which is the result if either is NaN.
        // SAFETY: see above.
        Avx2(unsafe { _mm256_min_ps(_mm256_max_ps(self.0, low.0), high.0) })
    }

    #[inline(always)]
    unsafe fn between(self, value: Self, low: Self, high: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(value.0, low.0);
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(value.0, high.0);
            Avx2(_mm256_and_ps(self.0, _mm256_and_ps(above, below)))
        }
    }
}

/// [`Lanes::add_scaled`] for [`Avx2`].
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn add_scaled_avx2(mut acc: Avx2, x: *const f32, k: usize, w: Avx2) -> Avx2 {
    let mut _value: __m256;
    // SAFETY: the caller promises that `x[k]` is readable.
    unsafe {
        asm!(
            "vbroadcastss {value:y}, dword ptr [{x} + 4*{k}]",
            "vfmadd231ps {acc:y}, {value:y}, {w:y}",
            x = in(reg) x, k = in(reg) k, value = out(ymm_reg) _value, acc = inout(ymm_reg) acc.0, w = in(ymm_reg) w.0,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    acc
}

/// [`Lanes::add_scaled_pair`] for [`Avx2`].
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn add_scaled_pair_avx2(mut acc: [Avx2; 2], x: *const f32, k: usize, w: [Avx2; 2]) -> [Avx2; 2] {
    let mut _value: __m256;
    // SAFETY: the caller promises that `x[k]` is readable.
    unsafe {
        asm!(
            "vbroadcastss {value:y}, dword ptr [{x} + 4*{k}]",
            "vfmadd231ps {acc0:y}, {value:y}, {w0:y}",
            "vfmadd231ps {acc1:y}, {value:y}, {w1:y}",
            x = in(reg) x, k = in(reg) k, value = out(ymm_reg) _value,
            acc0 = inout(ymm_reg) acc[0].0, acc1 = inout(ymm_reg) acc[1].0,
            w0 = in(ymm_reg) w[0].0, w1 = in(ymm_reg) w[1].0,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    acc
}

/// Sixteen floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

// SAFETY of every block below: the processor has AVX-512 F and the pointers are valid for the
// elements read or written, by the trait's contract.
impl Lanes for Avx512 {
    const COUNT: usize = 16;
    const PIXELS: usize = 14;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: see above; masked lanes are not read.
        Avx512(unsafe { _mm512_maskz_loadu_ps((1 << count) - 1, from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: see above; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, (1 << count) - 1, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_fmadd_ps(x.0, w.0, self.0) })
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self, x: *const f32, k: usize, w: Self) -> Self {
        // SAFETY: see above.
        unsafe { add_scaled_avx512(acc, x, k, w) }
    }

    #[inline(always)]
    unsafe fn add_scaled_pair(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: see above.
        unsafe { add_scaled_pair_avx512(acc, x, k, w) }
    }

    #[inline(always)]
    unsafe fn add_scaled_half(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: see above.
        unsafe { add_scaled_half_avx512(acc, x, k, w) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: see above; a prefetch of whatever address does nothing but fill the cache.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(from: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn clamp(self, min: f32, max: f32) -> Self {
        // The value is the second operand, so that a NaN stays.
        // SAFETY: see above.
        Avx512(unsafe { _mm512_min_ps(_mm512_set1_ps(max), _mm512_max_ps(_mm512_set1_ps(min), self.0)) })
    }

    #[inline(always)]
    unsafe fn rectify(self, slopes: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe {
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps());
            _mm512_mask_mul_ps(self.0, below, self.0, slopes.0)
        })
    }

    #[inline(always)]
    unsafe fn turn(rows: *const *const f32, first: usize, count: usize, to: *mut f32, pitch: usize) {
        // SAFETY: see above.
        unsafe { turn_avx512(rows, first, count, to, pitch) }
    }

    #[inline(always)]
    unsafe fn hold(self, low: Self, high: Self) -> Self {
        // The bound is the second operand, which is the result if either is NaN.
        // SAFETY: see above.
        Avx512(unsafe { _mm512_min_ps(_mm512_max_ps(self.0, low.0), high.0) })
    }

    #[inline(always)]
    unsafe fn between(self, value: Self, low: Self, high: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value.0, low.0);
            let inside = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(above, value.0, high.0);
            Avx512(_mm512_maskz_mov_ps(inside, self.0))
        }
    }
}

/// [`Lanes::add_scaled`] for [`Avx512`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_scaled_avx512(mut acc: Avx512, x: *const f32, k: usize, w: Avx512) -> Avx512 {
    // SAFETY: the caller promises that `x[k]` is readable.
    unsafe {
        asm!(
            "vfmadd231ps {acc:z}, {w:z}, dword ptr [{x} + 4*{k}]{{1to16}}",
            x = in(reg) x, k = in(reg) k, acc = inout(zmm_reg) acc.0, w = in(zmm_reg) w.0,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    acc
}

/// [`Lanes::add_scaled_pair`] for [`Avx512`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_scaled_pair_avx512(
    mut acc: [Avx512; 2],
    x: *const f32,
    k: usize,
    w: [Avx512; 2],
) -> [Avx512; 2] {
    let mut _value: __m512;
    // SAFETY: the caller promises that `x[k]` is readable.
    unsafe {
        asm!(
            "vbroadcastss {value:z}, dword ptr [{x} + 4*{k}]",
            "vfmadd231ps {acc0:z}, {value:z}, {w0:z}",
            "vfmadd231ps {acc1:z}, {value:z}, {w1:z}",
            x = in(reg) x, k = in(reg) k, value = out(zmm_reg) _value,
            acc0 = inout(zmm_reg) acc[0].0, acc1 = inout(zmm_reg) acc[1].0,
            w0 = in(zmm_reg) w[0].0, w1 = in(zmm_reg) w[1].0,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    acc
}

/// [`Lanes::add_scaled_half`] for [`Avx512`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn add_scaled_half_avx512(acc: [Avx512; 2], x: *const f32, k: usize, w: [Avx512; 2]) -> [Avx512; 2] {
    let [acc0, acc1] = acc;
    let [acc1, w1] = [acc1, w[1]].map(|whole| _mm512_castps512_ps256(whole.0));
    // SAFETY: the caller promises that `x[k]` is readable.
    unsafe {
        let acc0 = add_scaled_avx512(acc0, x, k, w[0]);
        // No assembly: the compiler cannot yet name the 256 bits of the upper sixteen registers. It
        // makes one instruction of this, which holds no register that it could spill.
        let acc1 = _mm256_fmadd_ps(_mm256_broadcast_ss(&*x.add(k)), w1, acc1);
        [acc0, Avx512(_mm512_castps256_ps512(acc1))]
    }
}

/// Brings `$count` numbers of rows side by side, four at a time. Parts of four numbers of rows `i`, `i + 4`
/// and so on come together in a register, so that what follows stays within such parts.
macro_rules! turn_by_four {
    ($first:ident, $count:ident, $to:ident, $pitch:ident, $load:ident, $Register:ident,
     $low:ident $high:ident $low_pairs:ident $high_pairs:ident $to_pairs:ident $from_pairs:ident) => {
        for from in (0..$count).step_by(4) {
            let left = $count - from;
            let at = $first + from;
            let (a, b) = ($load!(0, at, left), $load!(1, at, left));
            let (c, d) = ($load!(2, at, left), $load!(3, at, left));
            let (ab_low, ab_high) = ($to_pairs($low(a, b)), $to_pairs($high(a, b)));
            let (cd_low, cd_high) = ($to_pairs($low(c, d)), $to_pairs($high(c, d)));
            let to = $to.add(from * $pitch);
            $Register($from_pairs($low_pairs(ab_low, cd_low))).store(to);
            if left > 1 {
                $Register($from_pairs($high_pairs(ab_low, cd_low))).store(to.add($pitch));
            }
            if left > 2 {
                $Register($from_pairs($low_pairs(ab_high, cd_high))).store(to.add(2 * $pitch));
            }
            if left > 3 {
                $Register($from_pairs($high_pairs(ab_high, cd_high))).store(to.add(3 * $pitch));
            }
        }
    };
}

/// [`Lanes::turn`] for [`Avx2`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn turn_avx2(rows: *const *const f32, first: usize, count: usize, to: *mut f32, pitch: usize) {
    // SAFETY: the caller promises eight rows of these numbers, and room for them; no others are read.
    unsafe {
        macro_rules! part {
            ($row:expr, $at:ident, $left:ident) => {
                if $left < 4 {
                    let lanes = _mm_setr_epi32(0, 1, 2, 3);
                    let mask = _mm_cmpgt_epi32(_mm_set1_epi32($left as i32), lanes);
                    _mm_maskload_ps((*rows.add($row)).add($at), mask)
                } else {
                    _mm_loadu_ps((*rows.add($row)).add($at))
                }
            };
        }
        macro_rules! halves {
            ($row:literal, $at:ident, $left:ident) => {
                _mm256_set_m128(part!($row + 4, $at, $left), part!($row, $at, $left))
            };
        }
        turn_by_four!(first, count, to, pitch, halves, Avx2,
            _mm256_unpacklo_ps _mm256_unpackhi_ps _mm256_unpacklo_pd _mm256_unpackhi_pd
            _mm256_castps_pd _mm256_castpd_ps);
    }
}

/// [`Lanes::turn`] for [`Avx512`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn turn_avx512(rows: *const *const f32, first: usize, count: usize, to: *mut f32, pitch: usize) {
    // SAFETY: the caller promises sixteen rows of these numbers, and room for them; no others are read.
    unsafe {
        macro_rules! part {
            ($row:expr, $at:ident, $left:ident) => {
                if $left < 4 {
                    _mm_maskz_loadu_ps((1 << $left) - 1, (*rows.add($row)).add($at))
                } else {
                    _mm_loadu_ps((*rows.add($row)).add($at))
                }
            };
        }
        macro_rules! quarters {
            ($row:literal, $at:ident, $left:ident) => {{
                let first = _mm512_castps128_ps512(part!($row, $at, $left));
                let two = _mm512_insertf32x4::<1>(first, part!($row + 4, $at, $left));
                let three = _mm512_insertf32x4::<2>(two, part!($row + 8, $at, $left));
                _mm512_insertf32x4::<3>(three, part!($row + 12, $at, $left))
            }};
        }
        turn_by_four!(first, count, to, pitch, quarters, Avx512,
            _mm512_unpacklo_ps _mm512_unpackhi_ps _mm512_unpacklo_pd _mm512_unpackhi_pd
            _mm512_castps_pd _mm512_castpd_ps);
    }
}
