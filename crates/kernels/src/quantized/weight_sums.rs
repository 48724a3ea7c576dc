//! Sums of the weights of each output channel: what one step of an input's zero point is worth.
//!
//! They wrap around beyond 32 bits, as the sums of products do that they are taken from.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::Isa;
use crate::multiversion::multiversion;

/// The sum of each row of `depth` weights.
pub(super) fn of_rows(weights: &[i8], depth: usize) -> Vec<i32> {
    rows::<1>(weights, depth).into_flattened()
}

/// The sum of each row of `depth` weights, and of those of them that are above zero.
#[cfg(target_arch = "x86_64")]
pub(super) fn of_rows_and_above(weights: &[i8], depth: usize) -> Vec<[i32; 2]> {
    rows(weights, depth)
}

/// The sum of each column, where a row has `channels` weights.
pub(super) fn of_columns(weights: &[i8], channels: usize) -> Vec<i32> {
    let mut sums = vec![0; channels];
    add_columns(Isa::Amx, weights, &mut sums);
    sums
}

multiversion! {
    fn add_columns(weights: &[i8], sums: &mut [i32]) {
        for row in weights.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum = sum.wrapping_add((*weight).into()));
        }
    }
}

/// The first `SUMS` of: all weights of a row, those above zero.
fn rows<const SUMS: usize>(weights: &[i8], depth: usize) -> Vec<[i32; SUMS]> {
    let mut sums = vec![[0; SUMS]; weights.len() / depth];
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx2.available() {
        // SAFETY: the machine has AVX2.
        unsafe { rows_by_vectors(weights, depth, &mut sums) };
        return sums;
    }
    rows_one_by_one(weights, depth, &mut sums);
    sums
}

fn rows_one_by_one<const SUMS: usize>(weights: &[i8], depth: usize, sums: &mut [[i32; SUMS]]) {
    for (sums, row) in sums.iter_mut().zip(weights.chunks_exact(depth)) {
        for (sum, least) in sums.iter_mut().zip([i8::MIN, 0]) {
            *sum = row.iter().fold(0, |sum: i32, weight| sum.wrapping_add((*weight).max(least).into()));
        }
    }
}

/// Weights in a vector of AVX2.
#[cfg(target_arch = "x86_64")]
const LANES: usize = 32;

/// Rows whose sums are put into one vector.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 4;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_by_vectors<const SUMS: usize>(weights: &[i8], depth: usize, sums: &mut [[i32; SUMS]]) {
    for (group, sums) in sums.chunks_mut(ROWS).enumerate() {
        let weights = &weights[group * ROWS * depth..];
        for (sum, least) in [i8::MIN, 0].into_iter().enumerate().take(SUMS) {
            let mut distances = [_mm256_setzero_si256(); ROWS];
            for (row, distance) in distances.iter_mut().enumerate().take(sums.len()) {
                *distance = row_distance(&weights[row * depth..], depth, least);
            }
            let least = (depth as i32).wrapping_mul(least.into());
            for (row, distance) in sums.iter_mut().zip(halves_added(distances)) {
                row[sum] = distance.wrapping_add(least);
            }
        }
    }
}

/// How far the first `depth` weights are above `least` (-128 or 0), in four sums: the instruction that adds up
/// differences of bytes takes a vector of them at once.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn row_distance(weights: &[i8], depth: usize, least: i8) -> __m256i {
    let (chunks, rest) = weights[..depth].as_chunks::<LANES>();
    let mut total = _mm256_setzero_si256();
    for chunk in chunks {
        total = _mm256_add_epi64(total, distance(load(chunk), least));
    }
    if !rest.is_empty() {
        // What follows them is read too, where it is there, and not counted.
        let vector = match weights[depth - rest.len()..].first_chunk() {
            Some(chunk) => load(chunk),
            None => {
                let mut chunk = [0; LANES];
                chunk[..rest.len()].copy_from_slice(rest);
                load(&chunk)
            }
        };
        let own = load(MASKS[LANES - rest.len()..].first_chunk().expect("a mask"));
        let vector = _mm256_blendv_epi8(_mm256_set1_epi8(least), vector, own);
        total = _mm256_add_epi64(total, distance(vector, least));
    }
    total
}

/// How far weights are above `least`, added up by eighths of the vector.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn distance(weights: __m256i, least: i8) -> __m256i {
    let least = _mm256_set1_epi8(least);
    _mm256_sad_epu8(_mm256_sub_epi8(_mm256_max_epi8(weights, least), least), _mm256_setzero_si256())
}

/// All bits of some lanes and none of the others: from `LANES - n` on of the first `n`.
#[cfg(target_arch = "x86_64")]
static MASKS: [i8; 2 * LANES] = {
    let mut masks = [0; 2 * LANES];
    masks.first_chunk_mut::<LANES>().expect("as many").copy_from_slice(&[-1; LANES]);
    masks
};

/// The sums of all lanes of each vector, modulo 2^32.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn halves_added([a, b, c, d]: [__m256i; ROWS]) -> [i32; ROWS] {
    // The lower halves of lanes are all that counts: those of two vectors fill one.
    let ab = _mm256_blend_epi32::<0xaa>(a, _mm256_slli_epi64::<32>(b));
    let cd = _mm256_blend_epi32::<0xaa>(c, _mm256_slli_epi64::<32>(d));
    let sums = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    bytemuck::cast(_mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)))
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn load(weights: &[i8; LANES]) -> __m256i {
    // SAFETY: they are as many bytes as a vector has.
    unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(count: usize) -> Vec<i8> {
        (0..count).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 11) as i8).collect()
    }

    #[test]
    fn sums_are_those_of_plain_loops() {
        for (channels, depth) in
            [(3, 1), (5, 31), (4, 32), (6, 33), (9, 9), (2, 100), (7, 64), (2, 16_417), (1, 8192)]
        {
            let some = weights(channels * depth);
            let extreme: Vec<i8> = some.iter().map(|weight| if *weight < -9 { -128 } else { 127 }).collect();
            for weights in [some, extreme, vec![-128; channels * depth], vec![127; channels * depth]] {
                let sum = |of: &dyn Fn(i32) -> i32| -> Vec<i32> {
                    let of_row = |row: &[i8]| row.iter().map(|weight| of((*weight).into())).sum();
                    weights.chunks(depth).map(of_row).collect()
                };
                let (all, above) = (sum(&|weight| weight), sum(&|weight| weight.max(0)));
                assert_eq!(of_rows(&weights, depth), all, "{channels} {depth}");
                let mut both = vec![[0; 2]; channels];
                rows_one_by_one(&weights, depth, &mut both);
                #[cfg(target_arch = "x86_64")]
                assert_eq!(of_rows_and_above(&weights, depth), both, "{channels} {depth}");
                assert_eq!(both.iter().map(|[all, _]| *all).collect::<Vec<_>>(), all, "{channels} {depth}");
                assert_eq!(
                    both.iter().map(|[_, above]| *above).collect::<Vec<_>>(),
                    above,
                    "{channels} {depth}"
                );
            }
        }
    }

    #[test]
    fn columns_are_those_of_plain_loops() {
        for (rows, channels) in [(1, 1), (9, 3), (25, 100)] {
            let weights = weights(rows * channels);
            let plain: Vec<i32> = (0..channels)
                .map(|channel| {
                    weights[channel..].iter().step_by(channels).map(|weight| i32::from(*weight)).sum()
                })
                .collect();
            assert_eq!(of_columns(&weights, channels), plain, "{rows} {channels}");
        }
    }
}
