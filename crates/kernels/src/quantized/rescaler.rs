//! Sums of products with dynamically quantized samples, turned back into real numbers.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::aligned::Aligned;
use crate::float::Clamp;

use super::dynamic::SampleQuantization;
use super::epilogue::{Epilogue, Finish};
use super::lane::Lane;
use super::range::Tally;

/// The constants of a layer, by lane.
pub(super) struct Rescaling {
    /// Sum of each channel's weights: what one step of the input's zero point is worth.
    weight_sums: Aligned<i32>,
    scale: Aligned<f32>,
    bias: Aligned<f32>,
    pub(super) clamp: Clamp,
}

impl Rescaling {
    /// `lanes` gives the output channel at each lane.
    pub(super) fn new(
        lanes: &[Lane],
        weight_sum: impl Fn(usize) -> i32,
        scale: impl Fn(usize) -> f32,
        bias: impl Fn(usize) -> f32,
        clamp: Clamp,
    ) -> Rescaling {
        let channels = || lanes.iter().map(|lane| lane.channel());
        Rescaling {
            weight_sums: Aligned::lasting_from(channels().map(|channel| channel.map_or(0, &weight_sum))),
            scale: Aligned::lasting_from(channels().map(|channel| channel.map_or(0.0, &scale))),
            bias: Aligned::lasting_from(channels().map(|channel| channel.map_or(0.0, &bias))),
            clamp,
        }
    }

    /// Number of lanes.
    pub(super) fn lanes(&self) -> usize {
        self.scale.len()
    }

    /// The constants for these samples.
    pub(super) fn of_samples(&self, samples: &[SampleQuantization]) -> SampleRescaling<'_> {
        let shift = |sample: &SampleQuantization| {
            let zero_point = i32::from(sample.zero_point);
            self.weight_sums.iter().map(move |sum| zero_point.wrapping_mul(*sum))
        };
        let scale = |sample: &SampleQuantization| {
            let input = sample.scale;
            self.scale.iter().map(move |scale| input * scale)
        };
        SampleRescaling {
            layer: self,
            shift: samples.iter().flat_map(shift).collect(),
            scale: samples.iter().flat_map(scale).collect(),
        }
    }
}

/// The constants of a layer for the samples of one call, by sample and lane.
pub(super) struct SampleRescaling<'a> {
    pub(super) layer: &'a Rescaling,
    /// What the input's zero point adds to a sum.
    shift: Aligned<i32>,
    /// Scale of the sample times that of the weights.
    scale: Aligned<f32>,
}

impl SampleRescaling<'_> {
    /// What sums of the first sample start from, to be free of the zero point's share in the end.
    pub(super) fn initial(&self) -> Aligned<i32> {
        self.shift[..self.layer.lanes()].iter().map(|shift| shift.wrapping_neg()).collect()
    }

    /// The real number of a lane's sum that is free of the zero point's share, before it is held to
    /// its bounds; of the first sample.
    #[inline(always)]
    pub(super) fn value(&self, lane: usize, sum: i32) -> f32 {
        sum as f32 * self.scale[lane] + self.layer.bias[lane]
    }

    /// The numbers of [`SampleRescaling::value`] for 16 lanes.
    ///
    /// # Safety
    /// AVX2 must be there and 16 lanes from `lane` on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn sixteen(&self, lane: usize, sums: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe { scaled_sixteen(sums, self.scale.as_ptr().add(lane), self.layer.bias.as_ptr().add(lane)) }
    }

    /// The numbers of [`SampleRescaling::value`] for 16 lanes.
    ///
    /// # Safety
    /// AVX-512 F must be there and 16 lanes from `lane` on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn values(&self, lane: usize, sums: __m512i) -> __m512 {
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let scale = _mm512_loadu_ps(self.scale.as_ptr().add(lane));
            let bias = _mm512_loadu_ps(self.layer.bias.as_ptr().add(lane));
            _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), bias)
        }
    }
}

/// Sums to `f32`, each sample by its own scale and zero point; what one task works with.
pub(super) struct Rescaler<'a> {
    pub(super) samples: &'a SampleRescaling<'a>,
    /// Whether sums hold the share of the input's zero point; if not, there is one sample and sums
    /// started from [`SampleRescaling::initial`].
    pub(super) shifted: bool,
    /// Where the range of what is computed is noted.
    pub(super) tally: Option<Tally<'a>>,
}

impl Finish for Rescaler<'_> {
    type Sum = i32;
    type Out = f32;

    #[inline(always)]
    fn row(&self, sample: usize, lane: usize, sums: &[i32], out: &mut [f32]) {
        let SampleRescaling { layer, shift, scale } = self.samples;
        let first = sample * layer.lanes() + lane;
        let constants = scale[first..].iter().zip(&layer.bias[lane..]);
        for (index, ((out, &sum), (scale, bias))) in out.iter_mut().zip(sums).zip(constants).enumerate() {
            let sum = if self.shifted { sum.wrapping_sub(shift[first + index]) } else { sum };
            *out = layer.clamp.apply(sum as f32 * scale + bias);
        }
        if let Some(tally) = &self.tally {
            tally.note(sample, out);
        }
    }
}

impl Epilogue for Rescaler<'_> {
    const PACKED: bool = false;

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
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let first = self.sixteen(samples[0], lane, sums[0]);
            store_sixteen(out[0], first, channels);
            let mut second = first;
            if both {
                second = self.sixteen(samples[1], lane, sums[1]);
                store_sixteen(out[1], second, channels);
            }
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
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let [a, b, c, d] = self.held([
                self.value(samples[0], lane, sums[0][0]),
                self.value(samples[0], lane + 16, sums[0][1]),
                self.value(samples[1], lane, sums[1][0]),
                self.value(samples[1], lane + 16, sums[1][1]),
            ]);
            let (first, second) = ([a, b], [c, d]);
            store_pixel(out[0], first, channels);
            if both {
                store_pixel(out[1], second, channels);
            }
            match &self.tally {
                Some(tally) if both => tally.note_pair(samples, first, second),
                Some(tally) => tally.note_vectors(samples[0], first),
                None => {}
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
                let [values] = self.held([self.value(samples[pixel], lane, sums)]);
                store(out.add(pixel * pitch), values, channels);
                if let Some(tally) = &self.tally {
                    tally.note_vectors(samples[pixel], [values]);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Rescaler<'_> {
    /// 16 channels of one pixel. Lanes without a channel give 0, held to the layer's bounds.
    ///
    /// # Safety
    /// As for [`Epilogue::two`].
    #[inline(always)]
    pub(super) unsafe fn sixteen(&self, sample: usize, lane: usize, mut sums: [__m256i; 2]) -> [__m256; 2] {
        let SampleRescaling { layer, shift, scale } = self.samples;
        let at = sample * layer.lanes() + lane;
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            if self.shifted {
                let shift = shift.as_ptr().add(at).cast::<__m256i>();
                sums[0] = _mm256_sub_epi32(sums[0], _mm256_loadu_si256(shift));
                sums[1] = _mm256_sub_epi32(sums[1], _mm256_loadu_si256(shift.add(1)));
            }
            held_sixteen(
                layer.clamp,
                scaled_sixteen(sums, scale.as_ptr().add(at), layer.bias.as_ptr().add(lane)),
            )
        }
    }

    /// 16 channels of one pixel, before they are held to the layer's bounds. Lanes without a channel
    /// give 0.
    ///
    /// # Safety
    /// As for [`Epilogue::pair`], with 16 lanes.
    #[inline(always)]
    pub(super) unsafe fn value(&self, sample: usize, lane: usize, sums: __m512i) -> __m512 {
        let SampleRescaling { layer, shift, scale } = self.samples;
        let at = sample * layer.lanes() + lane;
        // SAFETY: the caller has the instructions and the lanes.
        unsafe {
            let sums = if self.shifted {
                _mm512_sub_epi32(sums, _mm512_loadu_si512(shift.as_ptr().add(at).cast()))
            } else {
                sums
            };
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scale.as_ptr().add(at)));
            _mm512_add_ps(value, _mm512_loadu_ps(layer.bias.as_ptr().add(lane)))
        }
    }

    /// Values held to the layer's bounds.
    ///
    /// # Safety
    /// AVX-512 F must be there.
    #[inline(always)]
    pub(super) unsafe fn held<const COUNT: usize>(&self, values: [__m512; COUNT]) -> [__m512; COUNT] {
        // SAFETY: the caller has the instructions.
        unsafe { held(self.samples.layer.clamp, values) }
    }
}

/// 16 sums as real numbers.
///
/// # Safety
/// AVX2 must be there, and 16 numbers at `scale` and at `bias`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn scaled_sixteen(sums: [__m256i; 2], scale: *const f32, bias: *const f32) -> [__m256; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), _mm256_loadu_ps(scale));
        let high = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), _mm256_loadu_ps(scale.add(8)));
        [_mm256_add_ps(low, _mm256_loadu_ps(bias)), _mm256_add_ps(high, _mm256_loadu_ps(bias.add(8)))]
    }
}

/// [`held`] for AVX2.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn held_sixteen(clamp: Clamp, [mut low, mut high]: [__m256; 2]) -> [__m256; 2] {
    // SAFETY: the caller has the instructions.
    unsafe {
        if clamp.min > f32::NEG_INFINITY {
            let min = _mm256_set1_ps(clamp.min);
            (low, high) = (_mm256_max_ps(min, low), _mm256_max_ps(min, high));
        }
        if clamp.max < f32::INFINITY {
            let max = _mm256_set1_ps(clamp.max);
            (low, high) = (_mm256_min_ps(max, low), _mm256_min_ps(max, high));
        }
        [low, high]
    }
}

/// Stores the first `channels` (1 to 16) values of a pixel.
///
/// # Safety
/// AVX2 must be there and room at `out`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn store_sixteen(out: *mut f32, values: [__m256; 2], channels: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match channels {
            16 => {
                _mm256_storeu_ps(out, values[0]);
                _mm256_storeu_ps(out.add(8), values[1]);
            }
            8 => _mm256_storeu_ps(out, values[0]),
            _ => {
                let mut buffer = [0.0_f32; 16];
                _mm256_storeu_ps(buffer.as_mut_ptr(), values[0]);
                _mm256_storeu_ps(buffer.as_mut_ptr().add(8), values[1]);
                std::ptr::copy_nonoverlapping(buffer.as_ptr(), out, channels);
            }
        }
    }
}

/// Values held to bounds, which are looked at only where there are any.
///
/// # Safety
/// AVX-512 F must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn held<const COUNT: usize>(clamp: Clamp, mut values: [__m512; COUNT]) -> [__m512; COUNT] {
    // With the value second, as the instructions have it, NaN stays NaN.
    if clamp.min > f32::NEG_INFINITY {
        for value in &mut values {
            // SAFETY: the caller has the instructions.
            *value = unsafe { _mm512_max_ps(_mm512_set1_ps(clamp.min), *value) };
        }
    }
    if clamp.max < f32::INFINITY {
        for value in &mut values {
            // SAFETY: as above.
            *value = unsafe { _mm512_min_ps(_mm512_set1_ps(clamp.max), *value) };
        }
    }
    values
}

/// Stores the first `channels` (1 to 32) values of a pixel.
///
/// # Safety
/// AVX-512 F must be there and room at `out`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn store_pixel(out: *mut f32, values: [__m512; 2], channels: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        store(out, values[0], channels.min(16));
        if channels > 16 {
            store(out.add(16), values[1], channels - 16);
        }
    }
}

/// Stores the first `channels` (1 to 16) values.
///
/// # Safety
/// As for [`store_pixel`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn store(out: *mut f32, values: __m512, channels: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if channels == 16 {
            _mm512_storeu_ps(out, values);
        } else {
            _mm512_mask_storeu_ps(out, u16::MAX >> (16 - channels), values);
        }
    }
}
