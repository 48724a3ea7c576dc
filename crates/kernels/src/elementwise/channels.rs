//! Multiplication and addition of constants by channel, quantized: one pass over memory also where one
//! follows the other, as in a batch normalization that could not be made part of a layer.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::TASK_ELEMENTS;
use super::affine::Rounding;
use super::quantized::{Product, QuantizedBinary, Rule, SumRule};
use crate::aligned::Aligned;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// `x * weight[channel]`, then `+ addend[channel]`, or one of the two: each rounded and held within its
/// bounds as by [`QuantizedBinary`], with the same bits as the operators one by one.
#[derive(Clone)]
pub struct ChannelMap {
    channels: usize,
    product: Option<ProductMap>,
    sum: Option<SumMap>,
}

/// Bytes that are worked on together.
const GROUP: usize = 64;

/// Longest period of constants: they should stay in the first-level cache.
const LONGEST: usize = 1 << 13;

/// The bits of 2^15, among which a byte stands for itself: `2^15 + x` is what `x << 8` makes of it.
const RAISED: u32 = 0x4700_0000;

/// `round(((2^15 + x) * weight - offset) * scale)` in steps from the zero point: exact but for the
/// scale.
#[derive(Clone)]
struct ProductMap {
    /// One for each byte of a period: whole pixels and whole groups.
    weight: Constants<f32>,
    offset: Constants<f32>,
    scale: f32,
    rounding: Rounding,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    zero_point: u8,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    clamp: [u8; 2],
}

/// `(x * multiplier + addend) >> shift` in steps from the zero point.
#[derive(Clone)]
struct SumMap {
    addend: Constants<i32>,
    multiplier: i32,
    shift: i32,
    zero_point: i32,
    clamp: [u8; 2],
}

/// Constants by channel, repeated to whole groups.
type Constants<T> = std::sync::Arc<Aligned<T>>;

/// Repeats what each channel has over a period.
fn repeated<T: bytemuck::Pod>(of_channel: impl Iterator<Item = T>, channels: usize) -> Constants<T> {
    let values: Vec<T> = of_channel.collect();
    let mut constants = Aligned::zeroed(period(channels));
    constants.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&values));
    constants.into()
}

/// The least common multiple of the channels and a group; the channels alone if it is too long.
fn period(channels: usize) -> usize {
    let groups = GROUP >> channels.trailing_zeros().min(GROUP.trailing_zeros());
    channels.checked_mul(groups).filter(|period| *period <= LONGEST).unwrap_or(channels)
}

impl ChannelMap {
    /// `operator` with a constant operand, one byte for each channel; it is the first operand where
    /// `swapped`. `None` for operators other than multiplication, addition and subtraction.
    #[must_use]
    pub fn new(operator: &QuantizedBinary, constant: &[u8], swapped: bool) -> Option<ChannelMap> {
        let channels = constant.len();
        if channels == 0 {
            return None;
        }
        let map = ChannelMap { channels, product: None, sum: None };
        match &operator.rule {
            Rule::Product(product) => {
                let product = ProductMap::new(product, operator.clamp, constant, swapped);
                Some(ChannelMap { product: Some(product), ..map })
            }
            Rule::Sum(rule) => {
                Some(ChannelMap { sum: Some(SumMap::new(rule, operator.clamp, constant, swapped)), ..map })
            }
            _ => None,
        }
    }

    /// This map, then another one; `None` unless this one multiplies and the other one adds.
    #[must_use]
    pub fn then(&self, next: &ChannelMap) -> Option<ChannelMap> {
        match (self, next) {
            (
                ChannelMap { channels, product: Some(_), sum: None },
                ChannelMap { channels: same, product: None, sum: Some(sum) },
            ) if channels == same => Some(ChannelMap { sum: Some(sum.clone()), ..self.clone() }),
            _ => None,
        }
    }

    /// Whether it multiplies, and nothing else: an addition may follow.
    #[must_use]
    pub fn multiplies(&self) -> bool {
        self.product.is_some() && self.sum.is_none()
    }

    /// The result for a byte of a channel.
    #[must_use]
    pub fn value(&self, channel: usize, x: u8) -> u8 {
        let x = self.product.as_ref().map_or(x, |product| product.value(channel, x));
        self.sum.as_ref().map_or(x, |sum| sum.value(channel, x))
    }

    /// Maps `input`, whose last axis is the channels, to `output`.
    ///
    /// # Panics
    /// When the lengths differ or are no whole number of pixels.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len(), "input and output must have one length");
        let period = period(self.channels);
        assert!(input.len().is_multiple_of(self.channels), "whole pixels");
        // All tasks but the last take whole periods.
        let rows = pool.rows_per_task(input.len().div_ceil(period), TASK_ELEMENTS.div_ceil(period));
        let pieces = crate::pool::DisjointSlice::new(output);
        pool.run(input.len().div_ceil(rows * period), &|task| {
            let start = task * rows * period;
            let end = input.len().min(start + rows * period);
            // SAFETY: tasks have different pieces.
            let output = unsafe { pieces.piece(start..end) };
            self.piece(isa, &input[start..end], output);
        });
    }

    /// Whether constants are whole groups and products stay within 32 bits.
    #[cfg(target_arch = "x86_64")]
    fn suits_vectors(&self) -> bool {
        let fits = |product: &ProductMap| product.scale * 65_025.0 < (1 << 30) as f32;
        period(self.channels).is_multiple_of(GROUP) && self.product.as_ref().is_none_or(fits)
    }

    /// Maps some bytes, from the start of a period on.
    fn piece(&self, isa: Isa, input: &[u8], output: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Vnni && Isa::Vnni.available() && self.suits_vectors() {
            // SAFETY: the machine has the instructions, as was just asked.
            unsafe {
                match (&self.product, &self.sum) {
                    (Some(product), Some(sum)) => vectors(&(product, sum), input, output),
                    (Some(product), None) => vectors(product, input, output),
                    (None, Some(sum)) => vectors(sum, input, output),
                    (None, None) => output.copy_from_slice(input),
                }
            }
            return;
        }
        match (&self.product, &self.sum) {
            (Some(product), Some(sum)) => product_and_sum(isa, product, sum, input, output),
            (Some(product), None) => product_alone(isa, product, input, output),
            (None, Some(sum)) => sum_alone(isa, sum, input, output),
            (None, None) => output.copy_from_slice(input),
        }
    }
}

impl ProductMap {
    fn new(product: &Product, clamp: [u8; 2], constant: &[u8], swapped: bool) -> ProductMap {
        let [own, other] = if swapped { [1, 0] } else { [0, 1] };
        let weight = |byte: &u8| (i32::from(*byte) - product.zero_points[other]) as f32;
        let zero_point = (product.zero_points[own] + (1 << 15)) as f32;
        let channels = constant.len();
        ProductMap {
            weight: repeated(constant.iter().map(weight), channels),
            offset: repeated(constant.iter().map(|byte| weight(byte) * zero_point), channels),
            scale: product.scale,
            rounding: product.rounding,
            zero_point: product.zero_point,
            clamp,
        }
    }

    #[inline(always)]
    fn value(&self, place: usize, x: u8) -> u8 {
        self.value_with(self.weight[place], self.offset[place], x)
    }

    /// The products and their difference are integers below 2^24: exact.
    #[inline(always)]
    fn value_with(&self, weight: f32, offset: f32, x: u8) -> u8 {
        let raised = f32::from_bits(RAISED | u32::from(x) << 8);
        self.rounding.apply((raised * weight - offset) * self.scale)
    }
}

impl SumMap {
    fn new(rule: &SumRule, clamp: [u8; 2], constant: &[u8], swapped: bool) -> SumMap {
        let [own, other] = if swapped { [1, 0] } else { [0, 1] };
        let addend =
            |byte: &u8| i32::from(*byte).wrapping_mul(rule.multipliers[other]).wrapping_add(rule.bias);
        SumMap {
            addend: repeated(constant.iter().map(addend), constant.len()),
            multiplier: rule.multipliers[own],
            shift: rule.shift,
            zero_point: rule.zero_point,
            clamp,
        }
    }

    #[inline(always)]
    fn value(&self, place: usize, x: u8) -> u8 {
        self.value_with(self.addend[place], x)
    }

    #[inline(always)]
    fn value_with(&self, addend: i32, x: u8) -> u8 {
        let [low, high] = self.clamp.map(i32::from);
        let steps = i32::from(x).wrapping_mul(self.multiplier).wrapping_add(addend) >> self.shift;
        (steps + self.zero_point).max(low).min(high) as u8
    }
}

multiversion! {
    fn product_alone(map: &ProductMap, input: &[u8], output: &mut [u8]) {
        let period = map.weight.len();
        for (output, input) in output.chunks_mut(period).zip(input.chunks(period)) {
            let constants = map.weight.iter().zip(map.offset.iter());
            for ((out, &x), (weight, offset)) in output.iter_mut().zip(input).zip(constants) {
                *out = map.value_with(*weight, *offset, x);
            }
        }
    }
}

multiversion! {
    fn sum_alone(map: &SumMap, input: &[u8], output: &mut [u8]) {
        let period = map.addend.len();
        for (output, input) in output.chunks_mut(period).zip(input.chunks(period)) {
            for ((out, &x), addend) in output.iter_mut().zip(input).zip(map.addend.iter()) {
                *out = map.value_with(*addend, x);
            }
        }
    }
}

multiversion! {
    fn product_and_sum(product: &ProductMap, sum: &SumMap, input: &[u8], output: &mut [u8]) {
        let period = product.weight.len();
        for (output, input) in output.chunks_mut(period).zip(input.chunks(period)) {
            let constants = product.weight.iter().zip(product.offset.iter()).zip(sum.addend.iter());
            for ((out, &x), ((weight, offset), addend)) in output.iter_mut().zip(input).zip(constants) {
                *out = sum.value_with(*addend, product.value_with(*weight, *offset, x));
            }
        }
    }
}

/// A map in vectors of AVX-512 with VNNI and VBMI.
#[cfg(target_arch = "x86_64")]
trait Vectors {
    /// Length of its constants.
    fn period(&self) -> usize;

    /// Bounds of the results.
    fn clamp(&self) -> [u8; 2];

    /// Half `HALF` of the group of bytes at `input`, which `data` holds, the constants from `place` on
    /// being the group's: words, not yet held within bounds. Of each 128 bits, the first half are four
    /// of the first 16 results and the second half four of the others.
    ///
    /// # Safety
    /// The instructions must be there, and a group of bytes and constants.
    unsafe fn words<const HALF: usize>(&self, input: *const u8, data: __m512i, place: usize) -> __m512i;
}

/// Maps bytes from the start of a period on.
///
/// # Safety
/// The period must be whole groups.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
unsafe fn vectors<V: Vectors>(map: &V, input: &[u8], output: &mut [u8]) {
    let period = map.period();
    for (output, input) in output.chunks_mut(period).zip(input.chunks(period)) {
        let (groups, rest) = input.as_chunks::<GROUP>();
        let (group_outputs, rest_output) = output.as_chunks_mut::<GROUP>();
        for (index, (output, input)) in group_outputs.iter_mut().zip(groups).enumerate() {
            // SAFETY: the constants are whole groups, as many as the period's.
            unsafe { group(map, input, index * GROUP, output) };
        }
        if !rest.is_empty() {
            let (mut last, mut mapped) = ([0; GROUP], [0; GROUP]);
            last[..rest.len()].copy_from_slice(rest);
            // SAFETY: as above.
            unsafe { group(map, &last, groups.len() * GROUP, &mut mapped) };
            rest_output.copy_from_slice(&mapped[..rest.len()]);
        }
    }
}

/// # Safety
/// There must be a group of constants from `place` on.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
unsafe fn group<V: Vectors>(map: &V, input: &[u8; GROUP], place: usize, output: &mut [u8; GROUP]) {
    let [low, high] = map.clamp();
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    // SAFETY: groups of bytes, and of constants as the caller promises.
    unsafe {
        let data = _mm512_loadu_si512(input.as_ptr().cast());
        let first = map.words::<0>(input.as_ptr(), data, place);
        let second = map.words::<1>(input.as_ptr(), data, place);
        let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        let bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8(low as i8));
        let bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(high as i8));
        _mm512_storeu_si512(output.as_mut_ptr().cast(), bytes);
    }
}

/// Two vectors of steps from a zero point as words, moved there.
///
/// # Safety
/// AVX-512 F and BW must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn moved(steps: [__m512i; 2], zero_point: i32) -> __m512i {
    // SAFETY: the caller has the instructions.
    unsafe {
        let words = _mm512_packs_epi32(steps[0], steps[1]);
        _mm512_adds_epi16(words, _mm512_set1_epi16(zero_point as i16))
    }
}

/// For each quarter of a group, where the bytes of `2^15 + x` stand in the group and in
/// the bytes of [`RAISED`] behind it.
#[cfg(target_arch = "x86_64")]
const QUARTERS: [[u8; GROUP]; 4] = {
    let mut tables = [[0; GROUP]; 4];
    let mut at = 0;
    while at < 4 * GROUP {
        let byte = at % 4;
        tables[at / GROUP][at % GROUP] = (if byte == 1 { at / 4 } else { GROUP + byte }) as u8;
        at += 1;
    }
    tables
};

#[cfg(target_arch = "x86_64")]
impl Vectors for ProductMap {
    fn period(&self) -> usize {
        self.weight.len()
    }

    fn clamp(&self) -> [u8; 2] {
        self.clamp
    }

    #[inline(always)]
    unsafe fn words<const HALF: usize>(&self, _input: *const u8, data: __m512i, place: usize) -> __m512i {
        // SAFETY: the caller has the instructions and the constants.
        unsafe {
            let first = self.steps(data, &QUARTERS[2 * HALF], place + 32 * HALF);
            let second = self.steps(data, &QUARTERS[2 * HALF + 1], place + 32 * HALF + 16);
            moved([first, second], self.zero_point.into())
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl ProductMap {
    /// Steps of the bytes that a table finds, with the constants from `place` on.
    ///
    /// A method, not a closure: it must be inlined to be compiled for AVX-512.
    ///
    /// # Safety
    /// AVX-512 F and VBMI must be there, and 16 constants.
    #[inline(always)]
    unsafe fn steps(&self, data: __m512i, table: &[u8; GROUP], place: usize) -> __m512i {
        // SAFETY: the caller has the instructions and the constants.
        unsafe {
            let table = _mm512_loadu_si512(table.as_ptr().cast());
            let raised = _mm512_permutex2var_epi8(data, table, _mm512_set1_epi32(RAISED as i32));
            let weight = _mm512_loadu_ps(self.weight.as_ptr().add(place));
            let offset = _mm512_loadu_ps(self.offset.as_ptr().add(place));
            let product = _mm512_fmsub_ps(_mm512_castsi512_ps(raised), weight, offset);
            // Within 32 bits, as has been asked for.
            _mm512_cvtps_epi32(_mm512_mul_ps(product, _mm512_set1_ps(self.scale)))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl SumMap {
    /// The multiplier for pairs of words `(x, x * 2^7)`.
    #[inline(always)]
    fn halves(&self) -> i32 {
        (self.multiplier >> 7) << 16 | self.multiplier & 0x7f
    }

    /// Steps of 16 such pairs, with the constants from `place` on.
    ///
    /// # Safety
    /// AVX-512 F and VNNI must be there, and 16 constants.
    #[inline(always)]
    unsafe fn steps(&self, pairs: __m512i, place: usize) -> __m512i {
        // SAFETY: the caller has the instructions and the constants.
        unsafe {
            let addend = _mm512_loadu_si512(self.addend.as_ptr().add(place).cast());
            let sum = _mm512_dpwssd_epi32(addend, pairs, _mm512_set1_epi32(self.halves()));
            _mm512_srav_epi32(sum, _mm512_set1_epi32(self.shift))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors for SumMap {
    fn period(&self) -> usize {
        self.addend.len()
    }

    fn clamp(&self) -> [u8; 2] {
        self.clamp
    }

    #[inline(always)]
    unsafe fn words<const HALF: usize>(&self, input: *const u8, _data: __m512i, place: usize) -> __m512i {
        let (input, place) = (input.wrapping_add(32 * HALF), place + 32 * HALF);
        // SAFETY: the caller has the instructions, the bytes and the constants.
        unsafe {
            let first = _mm512_cvtepu8_epi32(_mm_loadu_si128(input.cast()));
            let second = _mm512_cvtepu8_epi32(_mm_loadu_si128(input.add(16).cast()));
            let first = _mm512_or_si512(first, _mm512_slli_epi32::<23>(first));
            let second = _mm512_or_si512(second, _mm512_slli_epi32::<23>(second));
            moved([self.steps(first, place), self.steps(second, place + 16)], self.zero_point)
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Vectors for (&ProductMap, &SumMap) {
    fn period(&self) -> usize {
        self.0.weight.len()
    }

    fn clamp(&self) -> [u8; 2] {
        self.1.clamp
    }

    #[inline(always)]
    unsafe fn words<const HALF: usize>(&self, input: *const u8, data: __m512i, place: usize) -> __m512i {
        let (product, sum) = self;
        let [low, high] = product.clamp;
        // SAFETY: the caller has the instructions, the bytes and the constants.
        unsafe {
            let words = product.words::<HALF>(input, data, place);
            let words = _mm512_max_epi16(words, _mm512_set1_epi16(low.into()));
            let words = _mm512_min_epi16(words, _mm512_set1_epi16(high.into()));
            let (shifted, place) = (_mm512_slli_epi16::<7>(words), place + 32 * HALF);
            // Interleaving undoes the order of the words.
            let first = sum.steps(_mm512_unpacklo_epi16(words, shifted), place);
            let second = sum.steps(_mm512_unpackhi_epi16(words, shifted), place + 16);
            moved([first, second], sum.zero_point)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Affine, Binary};
    use super::*;
    use crate::cases::machines;

    #[test]
    fn maps_give_what_the_operators_give_one_by_one() {
        let own = Affine { scale: 0.021, zero_point: 119 };
        let constant = Affine { scale: 0.013, zero_point: 140 };
        let outputs = [Affine { scale: 0.027, zero_point: 101 }, Affine { scale: 0.0004, zero_point: 0 }];
        for channels in [1, 3, 24, 32, 64, 100, 144, 321] {
            let bytes = |len: usize, step: usize| -> Vec<u8> {
                (0..len).map(|i| (i * step + i / 255) as u8).collect()
            };
            let input = bytes(channels * (20_000 / channels + 3), 37);
            let (weights, addends) = (bytes(channels, 101), bytes(channels, 53));
            for (output, clamp) in [(outputs[0], [0, 255]), (outputs[1], [0, 255]), (outputs[0], [101, 180])]
            {
                for swapped in [false, true] {
                    let pair = |operator, a, b, output, clamp| {
                        let [a, b] = if swapped { [b, a] } else { [a, b] };
                        QuantizedBinary::new(operator, a, b, output, clamp)
                    };
                    let mul = pair(Binary::Mul, own, constant, outputs[0], clamp);
                    let add = pair(Binary::Add, outputs[0], constant, output, clamp);
                    let sub = pair(Binary::Sub, own, constant, output, clamp);
                    let apply = |operator: &QuantizedBinary, x: u8, constant: u8| {
                        if swapped { operator.value(constant, x) } else { operator.value(x, constant) }
                    };
                    let by_channel = |of: &dyn Fn(u8, usize) -> u8| -> Vec<u8> {
                        input.iter().enumerate().map(|(i, x)| of(*x, i % channels)).collect()
                    };
                    let mul_map = ChannelMap::new(&mul, &weights, swapped).unwrap();
                    let add_map = ChannelMap::new(&add, &addends, swapped).unwrap();
                    let sub_map = ChannelMap::new(&sub, &addends, swapped).unwrap();
                    let both = mul_map.then(&add_map).unwrap();
                    assert!(add_map.then(&mul_map).is_none());
                    let cases: [(&ChannelMap, Vec<u8>); 4] = [
                        (&mul_map, by_channel(&|x, c| apply(&mul, x, weights[c]))),
                        (&add_map, by_channel(&|x, c| apply(&add, x, addends[c]))),
                        (&sub_map, by_channel(&|x, c| apply(&sub, x, addends[c]))),
                        (&both, by_channel(&|x, c| apply(&add, apply(&mul, x, weights[c]), addends[c]))),
                    ];
                    for (map, expected) in &cases {
                        assert_eq!(map.value(0, input[0]), expected[0]);
                        for (isa, pool) in machines() {
                            let mut result = vec![0; input.len()];
                            map.apply(isa, &pool, &input, &mut result);
                            assert!(result == *expected, "{channels} channels, {clamp:?}, {isa}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn products_beyond_all_numbers_are_held() {
        let huge = Affine::new(f32::MAX, 100);
        let mul = QuantizedBinary::new(Binary::Mul, huge, huge, Affine::new(f32::MIN_POSITIVE, 7), [3, 250]);
        let map = ChannelMap::new(&mul, &[0, 100, 255], false).unwrap();
        let input: Vec<u8> = (0..=255).flat_map(|x| [x; 3]).collect();
        let expected: Vec<u8> =
            (0..=255).flat_map(|x| [mul.value(x, 0), mul.value(x, 100), mul.value(x, 255)]).collect();
        for (isa, pool) in machines() {
            let mut result = vec![0; input.len()];
            map.apply(isa, &pool, &input, &mut result);
            assert_eq!(result, expected, "{isa}");
        }
    }
}
