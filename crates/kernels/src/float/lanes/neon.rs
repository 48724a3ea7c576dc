//! Arm Advanced SIMD registers.

// Where the target always has Advanced SIMD the intrinsics without pointers are safe, elsewhere
// they are not.
#![allow(unused_unsafe)]

use std::arch::aarch64::*;

use super::Lanes;

/// Four floats.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

// SAFETY of every block below: every aarch64 processor this crate runs on has Advanced SIMD, and
// the pointers are valid for the elements read or written, by the trait's contract.
impl Lanes for Neon {
    const COUNT: usize = 4;
    const PIXELS: usize = 12;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Neon(unsafe { vdupq_n_f32(0.0) })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vld1q_f32(from) })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut values = [0.0; 4];
        for (i, value) in values.iter_mut().take(count).enumerate() {
            // SAFETY: see above.
            *value = unsafe { *from.add(i) };
        }
        // SAFETY: see above.
        unsafe { Self::load(values.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut values = [0.0; 4];
        // SAFETY: see above.
        unsafe { self.store(values.as_mut_ptr()) };
        for (i, value) in values.iter().take(count).enumerate() {
            // SAFETY: see above.
            unsafe { *to.add(i) = *value };
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vmulq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vfmaq_f32(self.0, x.0, w.0) })
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self, x: *const f32, k: usize, w: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vfmaq_f32(acc.0, w.0, vld1q_dup_f32(x.add(k))) })
    }

    #[inline(always)]
    unsafe fn add_scaled_pair(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let x = vld1q_dup_f32(x.add(k));
            [Neon(vfmaq_f32(acc[0].0, w[0].0, x)), Neon(vfmaq_f32(acc[1].0, w[1].0, x))]
        }
    }

    #[inline(always)]
    unsafe fn clamp(self, min: f32, max: f32) -> Self {
        // FMAX and FMIN return NaN when either operand is NaN.
        // SAFETY: see above.
        Neon(unsafe { vminq_f32(vmaxq_f32(self.0, vdupq_n_f32(min)), vdupq_n_f32(max)) })
    }

    #[inline(always)]
    unsafe fn rectify(self, slopes: Self) -> Self {
        // SAFETY: see above.
        Neon(unsafe { vbslq_f32(vcltzq_f32(self.0), vmulq_f32(self.0, slopes.0), self.0) })
    }

    #[inline(always)]
    unsafe fn hold(self, low: Self, high: Self) -> Self {
        // FMAXNM returns the other operand where one is NaN.
        // SAFETY: see above.
        Neon(unsafe { vminq_f32(vmaxnmq_f32(self.0, low.0), high.0) })
    }

    #[inline(always)]
    unsafe fn between(self, value: Self, low: Self, high: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let inside = vandq_u32(vcgtq_f32(value.0, low.0), vcltq_f32(value.0, high.0));
            Neon(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(self.0), inside)))
        }
    }
}
