//! The ranges of samples, found while they are computed.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::aligned::Aligned;

use super::epilogue::{Epilogue, Finish, at_least, at_most};

/// The range of a sample, zero counted in, to which tasks add: the magnitude of the smallest and of
/// the largest value, whose bits are ordered as they are.
#[derive(Default)]
pub(super) struct SharedRange([AtomicU32; 2]);

impl SharedRange {
    /// One for each of `count` samples, nothing in them yet.
    pub(super) fn of_samples(count: usize) -> Vec<SharedRange> {
        (0..count).map(|_| SharedRange::default()).collect()
    }

    /// Counts in a range that holds zero.
    pub(super) fn add(&self, [low, high]: [f32; 2]) {
        // Addition of zero makes a positive zero of a negative one.
        self.0[0].fetch_max((-low + 0.0).to_bits(), Ordering::Relaxed);
        self.0[1].fetch_max((high + 0.0).to_bits(), Ordering::Relaxed);
    }

    /// What has been counted in.
    pub(super) fn get(&self) -> [f32; 2] {
        let [low, high] = [0, 1].map(|end| f32::from_bits(self.0[end].load(Ordering::Relaxed)));
        [-low, high]
    }
}

/// Places in which smallest and largest values are gathered.
const LANES: usize = 16;

/// The range of what one task computes, added to that of the sample when the task has ended or goes
/// on to another sample. Values that are not numbers are left out.
pub(super) struct Tally<'a> {
    shared: &'a [SharedRange],
    sample: Cell<usize>,
    low: Lanes,
    high: Lanes,
    /// Whether no value is below zero.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    positive: bool,
}

#[repr(C, align(64))]
#[derive(Default)]
struct Lanes(Cell<[f32; LANES]>);

impl<'a> Tally<'a> {
    /// Nothing yet; `shared` has a place for each sample, and values will be at least `least`.
    pub(super) fn new(shared: &'a [SharedRange], least: f32) -> Tally<'a> {
        let (low, high) = (Lanes::default(), Lanes::default());
        Tally { shared, sample: Cell::new(0), low, high, positive: least >= 0.0 }
    }

    /// Counts in values of a sample.
    #[inline(always)]
    pub(super) fn note(&self, sample: usize, values: &[f32]) {
        self.go_to(sample);
        let (mut low, mut high) = (self.low.0.get(), self.high.0.get());
        for values in values.chunks(LANES) {
            for ((low, high), &value) in low.iter_mut().zip(&mut high).zip(values) {
                *low = at_most(value, *low);
                *high = at_least(value, *high);
            }
        }
        self.low.0.set(low);
        self.high.0.set(high);
    }

    /// Counts in vectors of values of a sample; zeros do no harm.
    ///
    /// # Safety
    /// AVX-512 F must be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn note_vectors<const COUNT: usize>(&self, sample: usize, values: [__m512; COUNT]) {
        self.go_to(sample);
        let [low, high] = [&self.low, &self.high].map(|lanes| lanes.0.as_ptr().cast::<f32>());
        // SAFETY: the caller has the instructions; both are 16 lanes on a cache line.
        unsafe {
            // What is not a number, being first, gives way.
            let mut most = _mm512_load_ps(high);
            for values in values {
                most = _mm512_max_ps(values, most);
            }
            _mm512_store_ps(high, most);
            if !self.positive {
                let mut least = _mm512_load_ps(low);
                for values in values {
                    least = _mm512_min_ps(values, least);
                }
                _mm512_store_ps(low, least);
            }
        }
    }

    /// Counts in 16 values of each of two samples, which may be the same, as may be the values.
    ///
    /// # Safety
    /// AVX2 must be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn note_two(&self, samples: [usize; 2], [first, second]: [[__m256; 2]; 2]) {
        // SAFETY: the caller has the instructions.
        unsafe {
            if samples[0] == samples[1] {
                self.note_sixteen(samples[0], [first, second]);
            } else {
                self.note_sixteen(samples[0], [first]);
                self.note_sixteen(samples[1], [second]);
            }
        }
    }

    /// [`Tally::note_vectors`] for AVX2.
    ///
    /// # Safety
    /// AVX2 must be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn note_sixteen<const COUNT: usize>(&self, sample: usize, values: [[__m256; 2]; COUNT]) {
        self.go_to(sample);
        let [low, high] = [&self.low, &self.high].map(|lanes| lanes.0.as_ptr().cast::<f32>());
        // SAFETY: the caller has the instructions; both are 16 lanes on a cache line.
        unsafe {
            for half in 0..2 {
                let (low, high) = (low.add(8 * half), high.add(8 * half));
                // What is not a number, being first, gives way.
                let mut most = _mm256_load_ps(high);
                for values in values {
                    most = _mm256_max_ps(values[half], most);
                }
                _mm256_store_ps(high, most);
                if !self.positive {
                    let mut least = _mm256_load_ps(low);
                    for values in values {
                        least = _mm256_min_ps(values[half], least);
                    }
                    _mm256_store_ps(low, least);
                }
            }
        }
    }

    /// Counts in two vectors of values of each of two samples, which may be the same.
    ///
    /// # Safety
    /// AVX-512 F must be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn note_pair(&self, samples: [usize; 2], first: [__m512; 2], second: [__m512; 2]) {
        // SAFETY: the caller has the instructions.
        unsafe {
            if samples[0] == samples[1] {
                self.note_vectors(samples[0], [first[0], first[1], second[0], second[1]]);
            } else {
                self.note_vectors(samples[0], first);
                self.note_vectors(samples[1], second);
            }
        }
    }

    #[inline(always)]
    fn go_to(&self, sample: usize) {
        if sample != self.sample.get() {
            self.hand_over();
            self.sample.set(sample);
        }
    }

    #[cold]
    fn hand_over(&self) {
        let (low, high) = (self.low.0.take(), self.high.0.take());
        let low = low.iter().fold(0.0, |low, value| at_most(*value, low));
        let high = high.iter().fold(0.0, |high, value| at_least(*value, high));
        if let Some(shared) = self.shared.get(self.sample.get()) {
            shared.add([low, high]);
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The smallest and the largest sum of each lane, to which tasks add.
pub(super) struct SharedExtremes(Mutex<Vec<[i32; 2]>>);

impl SharedExtremes {
    /// Nothing yet.
    pub(super) fn new(lanes: usize) -> SharedExtremes {
        SharedExtremes(Mutex::new(vec![[i32::MAX, i32::MIN]; lanes]))
    }

    /// What has been added.
    pub(super) fn into_inner(self) -> Vec<[i32; 2]> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The smallest and the largest sum of each lane among those of one task; nothing else is made of
/// them.
pub(super) struct Extremes<'a> {
    shared: &'a SharedExtremes,
    /// The smallest sum of all lanes, behind them the largest.
    own: UnsafeCell<Aligned<i32>>,
    lanes: usize,
}

impl<'a> Extremes<'a> {
    /// Nothing yet.
    pub(super) fn new(shared: &'a SharedExtremes, lanes: usize) -> Extremes<'a> {
        let ends = std::iter::repeat_n(i32::MAX, lanes).chain(std::iter::repeat_n(i32::MIN, lanes));
        Extremes { shared, own: UnsafeCell::new(ends.collect()), lanes }
    }

    /// Where the smallest and the largest sums of lanes stand.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn at(&self, lane: usize, count: usize) -> [*mut i32; 2] {
        debug_assert!(lane + count <= self.lanes);
        // SAFETY: the cell is this task's own, and no reference into it is kept.
        let start = unsafe { (*self.own.get()).as_mut_ptr() };
        [start.wrapping_add(lane), start.wrapping_add(self.lanes + lane)]
    }
}

impl Drop for Extremes<'_> {
    fn drop(&mut self) {
        let mut shared = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = self.own.get_mut().split_at(self.lanes);
        for ((shared, low), high) in shared.iter_mut().zip(low).zip(high) {
            *shared = [shared[0].min(*low), shared[1].max(*high)];
        }
    }
}

impl Finish for Extremes<'_> {
    type Sum = i32;
    type Out = ();

    #[inline(always)]
    fn row(&self, _sample: usize, lane: usize, sums: &[i32], _out: &mut [()]) {
        // SAFETY: the cell is this task's own, and the reference ends with this call.
        let own = unsafe { &mut *self.own.get() };
        let (low, high) = own.split_at_mut(self.lanes);
        for ((low, high), sum) in low[lane..].iter_mut().zip(&mut high[lane..]).zip(sums) {
            *low = (*low).min(*sum);
            *high = (*high).max(*sum);
        }
    }
}

impl Epilogue for Extremes<'_> {
    const PACKED: bool = false;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn two(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m256i; 2]; 2],
        _channels: usize,
        _out: [*mut (); 2],
        both: bool,
    ) {
        let second = sums[usize::from(both)];
        for vector in 0..2 {
            let [low, high] = self.at(lane + 8 * vector, 8).map(|ends| ends.cast::<__m256i>());
            // SAFETY: the caller has the instructions, and 8 lanes were just counted.
            unsafe {
                let least = _mm256_min_epi32(sums[0][vector], second[vector]);
                let most = _mm256_max_epi32(sums[0][vector], second[vector]);
                _mm256_storeu_si256(low, _mm256_min_epi32(_mm256_loadu_si256(low), least));
                _mm256_storeu_si256(high, _mm256_max_epi32(_mm256_loadu_si256(high), most));
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pair(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m512i; 2]; 2],
        _channels: usize,
        _out: [*mut (); 2],
        both: bool,
    ) {
        let second = if both { sums[1] } else { sums[0] };
        for vector in 0..2 {
            let [low, high] = self.at(lane + 16 * vector, 16);
            // SAFETY: the caller has the instructions, and 16 lanes were just counted.
            unsafe {
                let least = _mm512_min_epi32(sums[0][vector], second[vector]);
                let most = _mm512_max_epi32(sums[0][vector], second[vector]);
                let least = _mm512_min_epi32(_mm512_loadu_si512(low.cast()), least);
                let most = _mm512_max_epi32(_mm512_loadu_si512(high.cast()), most);
                _mm512_storeu_si512(low.cast(), least);
                _mm512_storeu_si512(high.cast(), most);
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
        _channels: usize,
        _out: *mut (),
        _pitch: usize,
        count: usize,
    ) {
        let [low, high] = self.at(lane, 16);
        // SAFETY: the caller has the instructions, and 16 lanes were just counted.
        unsafe {
            let mut least = _mm512_loadu_si512(low.cast());
            let mut most = _mm512_loadu_si512(high.cast());
            for sums in sums.into_iter().take(count) {
                least = _mm512_min_epi32(least, sums);
                most = _mm512_max_epi32(most, sums);
            }
            _mm512_storeu_si512(low.cast(), least);
            _mm512_storeu_si512(high.cast(), most);
        }
    }
}
