//! Quantized operators of one operand: a table of 256 results.

use super::TASK_ELEMENTS;
use super::affine::{Affine, MANY_STEPS, whole_steps};
use super::fixed_point::FixedPoint;
use super::unary::Unary;
use crate::{Isa, ThreadPool};

/// A function from `u8` to `u8`, tabulated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Table([u8; 256]);

impl Table {
    /// Any function.
    #[must_use]
    pub fn from_fn(function: impl Fn(u8) -> u8) -> Table {
        let mut entries = [0; 256];
        for (stored, entry) in entries.iter_mut().enumerate() {
            *entry = function(stored as u8);
        }
        Table(entries)
    }

    /// A function of real numbers, correctly rounded: the stored value is taken as a real number,
    /// the function evaluated in double precision, and the result rounded to the nearest step of
    /// the output, ties to an even number of steps from its zero point. Saturates; a result that
    /// is no number becomes 0, the lowest value.
    #[must_use]
    pub fn new(function: impl Fn(f64) -> f64, input: Affine, output: Affine) -> Table {
        Table::from_fn(|stored| output.nearest(function(input.real(stored))))
    }

    /// An operator as TFLite computes it.
    ///
    /// RELU, RELU6 and ABS round as its fixed-point kernels do, LEAKY_RELU with XNNPACK's
    /// multipliers in steps of 1/256; every other operator is correctly rounded, as
    /// [`Table::new`].
    #[must_use]
    pub fn unary(operator: Unary, input: Affine, output: Affine) -> Table {
        let bound = |limit: f64| (limit / f64::from(output.scale)).round() as i32;
        let ratio = f64::from(input.scale) / f64::from(output.scale);
        let rescaled = |low: i32, high: i32, first: fn(i32) -> i32| {
            let ratio = FixedPoint::new(ratio);
            Table::from_steps(input, output, move |steps| {
                ratio.times(first(steps)).clamp(low.max(-256), high.min(256))
            })
        };
        match operator {
            Unary::Relu => rescaled(0, i32::MAX, |steps| steps),
            Unary::Relu6 => rescaled(0, bound(6.0), |steps| steps),
            Unary::Abs => rescaled(i32::MIN, i32::MAX, i32::abs),
            Unary::LeakyRelu { alpha } => {
                let ratio = input.scale / output.scale;
                let [above, below] = [ratio, ratio * alpha as f32].map(multiplier_256);
                Table::from_steps(input, output, move |steps| {
                    times_256ths(steps, if steps < 0 { below } else { above })
                })
            }
            Unary::Logistic => Table::logistic(input, output),
            _ => Table::new(|x| operator.value(x), input, output),
        }
    }

    /// The logistic function, correctly rounded as by [`Table::new`] with an exponential function for
    /// 256 values in place of 256 of them: those of numbers that lie equally far apart are powers of one.
    fn logistic(input: Affine, output: Affine) -> Table {
        // Far more than the error of a power, of at most 2^-43 of it, makes of a number of steps that
        // is not saturated.
        const DOUBT: f64 = 1e-6;
        // Of the distance from the zero point: e^-|x|.
        let mut powers = [1.0; 256];
        powers[1] = libm::exp(-f64::from(input.scale));
        for power in 2..powers.len() {
            powers[power] = powers[power / 2] * powers[power.div_ceil(2)];
        }
        Table::from_fn(|stored| {
            let power = powers[usize::from(stored.abs_diff(input.zero_point))];
            let numerator = if stored < input.zero_point { power } else { 1.0 };
            let steps = numerator / (1.0 + power) / f64::from(output.scale);
            let whole = whole_steps(steps);
            if (steps.min(MANY_STEPS) - whole).abs() > 0.5 - DOUBT {
                return output.nearest(Unary::Logistic.value(input.real(stored)));
            }
            output.stored(whole)
        })
    }

    /// The same real numbers in another scale, as XNNPACK computes it: the ratio of the scales is
    /// rounded to a multiple of 1/256 and products to the nearest step, half upward.
    ///
    /// XNNPACK takes ratios of 1/256 to 128; outside of that range the result is correctly
    /// rounded.
    #[must_use]
    pub fn requantize(input: Affine, output: Affine) -> Table {
        let ratio = input.scale / output.scale;
        if !(1.0 / 256.0..=128.0).contains(&ratio) {
            return Table::new(|x| x, input, output);
        }
        let multiplier = multiplier_256(ratio);
        Table::from_steps(input, output, move |steps| times_256ths(steps, multiplier))
    }

    /// A function from steps above the input's zero point to steps above the output's.
    fn from_steps(input: Affine, output: Affine, function: impl Fn(i32) -> i32) -> Table {
        Table::from_fn(|stored| {
            let steps = function(i32::from(stored) - i32::from(input.zero_point));
            steps.saturating_add(i32::from(output.zero_point)).clamp(0, 255) as u8
        })
    }

    /// The result for one value.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, stored: u8) -> u8 {
        self.0[usize::from(stored)]
    }

    /// The table of this function followed by `next`.
    #[must_use]
    pub fn then(&self, next: &Table) -> Table {
        Table::from_fn(|stored| next.get(self.get(stored)))
    }

    /// A function of the results of this one and of `other` for the same value.
    #[must_use]
    pub(super) fn zip(&self, other: &Table, function: impl Fn(u8, u8) -> u8) -> Table {
        let mut entries = [0; 256];
        for ((entry, a), b) in entries.iter_mut().zip(&self.0).zip(&other.0) {
            *entry = function(*a, *b);
        }
        Table(entries)
    }

    /// Whether every value stays as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        (0..=255).all(|stored| self.get(stored) == stored)
    }

    /// `output[i] = table[input[i]]`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
        let rows = pool.rows_per_task(output.len(), 16 * TASK_ELEMENTS);
        pool.run_rows(output, 1, rows, |first, piece| {
            self.look_up(isa, &input[first..first + piece.len()], piece);
        });
    }

    /// `data[i] = table[data[i]]`.
    pub fn apply_in_place(&self, isa: Isa, pool: &ThreadPool, data: &mut [u8]) {
        let rows = pool.rows_per_task(data.len(), 16 * TASK_ELEMENTS);
        pool.run_rows(data, 1, rows, |_, piece| {
            // SAFETY: the piece is readable and writable for its length.
            unsafe { look_up(isa, self, piece.as_ptr(), piece.as_mut_ptr(), piece.len()) };
        });
    }

    /// `output[i] = table[input[i]]` in the calling thread; the slices have equal lengths.
    pub(crate) fn look_up(&self, isa: Isa, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
        // SAFETY: both slices have this length, and they do not overlap.
        unsafe { look_up(isa, self, input.as_ptr(), output.as_mut_ptr(), output.len()) };
    }
}

/// `ratio` in steps of 1/256.
fn multiplier_256(ratio: f32) -> i32 {
    (ratio * 256.0).round_ties_even() as i32
}

/// `steps * multiplier / 256`, half upward, saturating far outside of 8 bits.
fn times_256ths(steps: i32, multiplier: i32) -> i32 {
    // Beyond these bounds a single step saturates; within them 32 bits hold the product of 256.
    ((steps * multiplier.clamp(-(1 << 22), 1 << 22) + 128) >> 8).clamp(-1024, 1024)
}

/// `output[i] = table[input[i]]` for `len` elements.
///
/// # Safety
/// `input` is readable and `output` writable for `len` bytes, and they are equal or do not overlap.
unsafe fn look_up(isa: Isa, table: &Table, input: *const u8, output: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    let done = if isa >= Isa::Vnni && Isa::Vnni.available() {
        // SAFETY: the caller's promise, and the machine has the instructions.
        unsafe { x86::look_up_avx512(table, input, output, len) }
    } else if isa >= Isa::Avx2 && Isa::Avx2.available() {
        // SAFETY: as above.
        unsafe { x86::look_up_avx2(table, input, output, len) }
    } else {
        0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = {
        let _ = isa;
        0
    };
    for i in done..len {
        // SAFETY: `i` is below `len`.
        unsafe { *output.add(i) = table.get(*input.add(i)) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Table;
    use std::arch::x86_64::*;

    /// Whole vectors of 64 bytes, and the rest under a mask: two permutations of 128 entries each,
    /// chosen by the top bit. Returns the number of elements done: all.
    ///
    /// # Safety
    /// `input` is readable and `output` writable for `len` bytes, and they are equal or do not
    /// overlap; the machine has AVX-512 BW and VBMI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) unsafe fn look_up_avx512(
        table: &Table,
        input: *const u8,
        output: *mut u8,
        len: usize,
    ) -> usize {
        // SAFETY: the table has 256 entries.
        let entries: [__m512i; 4] =
            std::array::from_fn(|i| unsafe { _mm512_load_si512(table.0.as_ptr().add(64 * i).cast()) });
        let permuted = |index: __m512i| {
            let low = _mm512_permutex2var_epi8(entries[0], index, entries[1]);
            let high = _mm512_permutex2var_epi8(entries[2], index, entries[3]);
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high)
        };
        let mut i = 0;
        while i + 256 <= len {
            for part in 0..4 {
                let at = i + 64 * part;
                // SAFETY: `at + 64 <= len`.
                unsafe {
                    let index = _mm512_loadu_si512(input.add(at).cast());
                    _mm512_storeu_si512(output.add(at).cast(), permuted(index));
                }
            }
            i += 256;
        }
        while i < len {
            let mask = u64::MAX >> (64 - (len - i).min(64));
            // SAFETY: the mask admits bytes below `len` only.
            unsafe {
                let index = _mm512_maskz_loadu_epi8(mask, input.add(i).cast());
                _mm512_mask_storeu_epi8(output.add(i).cast(), mask, permuted(index));
            }
            i += 64;
        }
        len
    }

    /// Whole vectors of 32 bytes: sixteen shuffles of 16 entries. Returns the number of elements done.
    ///
    /// A shuffle looks at the low four bits of an index, and gives 0 where its top bit is set. Each row but the first
    /// holds what its entries differ in from those of the row before, and indices sink by 16 from row to row: an entry
    /// is complete once its index is about to fall below zero, and the rows behind give 0. Indices from 128 on begin
    /// below zero and stay there; they have the other eight rows, with their top bit turned.
    ///
    /// # Safety
    /// As above; the machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn look_up_avx2(table: &Table, input: *const u8, output: *mut u8, len: usize) -> usize {
        let mut rows = [[_mm256_setzero_si256(); 2]; 8];
        for (half, entries) in table.0.as_chunks::<128>().0.iter().enumerate() {
            let mut before = _mm256_setzero_si256();
            for (row, entries) in rows.iter_mut().zip(entries.as_chunks::<16>().0) {
                // SAFETY: 16 entries.
                let own = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) });
                row[half] = _mm256_xor_si256(own, before);
                before = own;
            }
        }
        let mut i = 0;
        while i + 32 <= len {
            // SAFETY: `i + 32 <= len`.
            let index = unsafe { _mm256_loadu_si256(input.add(i).cast()) };
            let mut indices = [index, _mm256_xor_si256(index, _mm256_set1_epi8(-128))];
            let mut results = [_mm256_setzero_si256(); 2];
            for row in &rows {
                for half in 0..2 {
                    let share = _mm256_shuffle_epi8(row[half], indices[half]);
                    results[half] = _mm256_xor_si256(results[half], share);
                    indices[half] = _mm256_subs_epi8(indices[half], _mm256_set1_epi8(16));
                }
            }
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(output.add(i).cast(), _mm256_xor_si256(results[0], results[1])) };
            i += 32;
        }
        i
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_looks_up_every_value_at_every_length() {
        let pool = ThreadPool::new(2);
        let table = Table::from_fn(|x| x.wrapping_mul(167).wrapping_add(13) ^ (x >> 3));
        for len in (0..300).chain([1000, 4097, 600_000]) {
            let input: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
            let expected: Vec<u8> = input.iter().map(|&x| table.get(x)).collect();
            for isa in Isa::available_levels() {
                let mut output = vec![0; len];
                table.apply(isa, &pool, &input, &mut output);
                assert_eq!(output, expected, "{isa} {len}");
                let mut data = input.clone();
                table.apply_in_place(isa, &pool, &mut data);
                assert_eq!(data, expected, "{isa} {len} in place");
            }
        }
    }

    #[test]
    fn logistic_is_correctly_rounded() {
        let (input, output) = (Affine::from_int8(0.1, 5), Affine::from_int8(1.0 / 256.0, -128));
        let table = Table::unary(Unary::Logistic, input, output);
        assert_eq!(table.get(133), 128, "logistic(0) is 128/256");
        assert_eq!((table.get(0), table.get(255)), (0, 255), "saturated at 256/256");
        assert!((0..255).all(|x| table.get(x) <= table.get(x + 1)));
    }

    #[test]
    fn logistic_by_powers_is_what_it_is_by_exponentials() {
        let scales = [1e-30, 1e-4, 0.003_921_568_6, 0.05, 0.1, 0.177, 1.0, 7.5, 1e4, 1e30];
        for input_scale in scales {
            for output_scale in [1e-20, 1e-3, 1.0 / 256.0, 1.0 / 255.0, 0.25, 1.0, 100.0] {
                for (zero_point, output_zero_point) in [(0, 0), (128, 0), (201, 128), (255, 255)] {
                    let input = Affine::new(input_scale, zero_point);
                    let output = Affine::new(output_scale, output_zero_point);
                    let expected = Table::new(|x| Unary::Logistic.value(x), input, output);
                    assert_eq!(
                        Table::unary(Unary::Logistic, input, output),
                        expected,
                        "{input:?} {output:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn requantizing_to_the_same_parameters_changes_nothing() {
        let affine = Affine::new(0.037, 17);
        assert!(Table::requantize(affine, affine).is_identity());
        let wide = Table::requantize(Affine::new(1.0, 0), Affine::new(1e-3, 0));
        assert_eq!((wide.get(0), wide.get(1)), (0, 255), "a ratio beyond XNNPACK's saturates");
    }

    #[test]
    fn requantizing_rounds_the_ratio_to_256ths() {
        // 0.5 / 3.0 is 42.67/256, taken as 43/256: 100 * 43 / 256 = 16.8.
        let table = Table::requantize(Affine::new(0.5, 0), Affine::new(3.0, 1));
        assert_eq!(table.get(100), 18);
        // Half a step goes upward on both sides of the zero point.
        let halves = Table::requantize(Affine::new(0.5, 100), Affine::new(1.0, 100));
        assert_eq!((halves.get(101), halves.get(99)), (101, 100));
    }

    #[test]
    fn activations_clamp_at_their_bounds() {
        let (input, output) = (Affine::new(0.1, 128), Affine::new(0.05, 20));
        let relu6 = Table::unary(Unary::Relu6, input, output);
        assert_eq!((relu6.get(0), relu6.get(128), relu6.get(138), relu6.get(255)), (20, 20, 40, 140));
        let leaky = Table::unary(Unary::LeakyRelu { alpha: 0.5 }, input, output);
        assert_eq!((leaky.get(118), leaky.get(138)), (10, 40));
        let abs = Table::unary(Unary::Abs, input, output);
        assert_eq!((abs.get(118), abs.get(138)), (40, 40));
    }

    #[test]
    fn tables_chain() {
        let (double, increment) = (Table::from_fn(|x| x.saturating_mul(2)), Table::from_fn(|x| x ^ 1));
        assert_eq!(double.then(&increment).get(20), 41);
    }
}
