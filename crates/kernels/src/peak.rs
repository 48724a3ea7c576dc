//! How fast this machine can multiply and accumulate at all: what kernels are measured against.

use std::hint::black_box;
use std::time::Instant;

use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// `f32` by `f32`.
    Floats,
    /// 8-bit activations by 8-bit weights.
    Bytes,
    /// 16-bit activations by 8-bit weights.
    Words,
}

/// Rounds of independent products in one measurement: about half a millisecond.
const ROUNDS: usize = 50_000;

/// Measurements, of which the best counts: the machine may be disturbed, but is never too fast.
const TRIES: usize = 8;

/// Multiply-accumulates a second of all threads of `pool` together, on registers alone, by the best
/// instructions at or below the level `isa` for exact results. Takes a few milliseconds.
///
/// # Panics
/// If the machine lacks `isa`.
#[must_use]
pub fn peak(isa: Isa, pool: &ThreadPool, products: Products) -> f64 {
    let rounds = rounds(isa, products);
    let mut rates = vec![0.0_f64; pool.threads()];
    let found = DisjointSlice::new(&mut rates);
    pool.run(pool.threads(), &|task| {
        let rate = |_| {
            let start = Instant::now();
            let products = rounds(ROUNDS);
            products as f64 / start.elapsed().as_secs_f64()
        };
        // SAFETY: each task writes its own rate.
        unsafe { found.piece(task..task + 1)[0] = (0..TRIES).map(rate).fold(0.0, f64::max) };
    });
    rates.iter().sum()
}

/// A function that does so many rounds of products and tells how many products that were.
fn rounds(isa: Isa, products: Products) -> fn(usize) -> usize {
    assert!(isa.available(), "this machine cannot run '{isa}'");
    match (isa, products) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Vnni | Isa::Amx, Products::Floats) => x86::floats_512,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2 | Isa::AvxVnni, Products::Floats) => x86::floats_256,
        #[cfg(target_arch = "x86_64")]
        (Isa::Amx, Products::Bytes) => crate::quantized::tile_products,
        #[cfg(target_arch = "x86_64")]
        (Isa::Vnni, Products::Bytes) => x86::bytes_512,
        #[cfg(target_arch = "x86_64")]
        (Isa::AvxVnni, Products::Bytes) if is_x86_feature_detected!("avxvnni") => x86::bytes_256,
        #[cfg(target_arch = "x86_64")]
        (Isa::AvxVnni, Products::Bytes) => x86::bytes_256_of_avx512,
        #[cfg(target_arch = "x86_64")]
        (Isa::Vnni | Isa::Amx, Products::Words) => x86::words_512,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2 | Isa::AvxVnni | Isa::Avx512, Products::Bytes | Products::Words) => x86::words_256,
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon | Isa::NeonDot, Products::Floats) => arm::floats,
        #[cfg(target_arch = "aarch64")]
        (Isa::NeonDot, Products::Bytes) => arm::bytes,
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, Products::Bytes) => arm::words,
        (_, Products::Floats) => plain_floats,
        (_, Products::Bytes | Products::Words) => plain_integers,
    }
}

/// Sums of plain loops, for targets whose registers this file does not know.
const PLAIN: usize = 64;

fn plain_floats(rounds: usize) -> usize {
    let mut sums = [0.0f32; PLAIN];
    let (x, y) = (black_box(0.5), black_box([0.25f32; PLAIN]));
    for _ in 0..rounds {
        for (sum, y) in sums.iter_mut().zip(&y) {
            *sum += x * y;
        }
    }
    black_box(sums);
    rounds * PLAIN
}

fn plain_integers(rounds: usize) -> usize {
    let mut sums = [0_i32; PLAIN];
    let (x, y) = (black_box(3_i16), black_box([5_i16; PLAIN]));
    for _ in 0..rounds {
        for (sum, y) in sums.iter_mut().zip(&y) {
            *sum = sum.wrapping_add(i32::from(x) * i32::from(*y));
        }
        black_box(&mut sums);
    }
    rounds * PLAIN
}

/// Chains of products: enough to hide their latency, few enough for 16 registers.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CHAINS: usize = 12;

/// Defines a measurement: rounds of `CHAINS` products `$sum -> $next`, of `$count` numbers each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! chains {
    ($name:ident, $features:literal, $start:expr, $other:expr, $count:literal, |$sum:ident, $y:ident| $next:expr) => {
        pub(super) fn $name(rounds: usize) -> usize {
            #[target_feature(enable = $features)]
            unsafe fn run(rounds: usize) {
                let $y = black_box($other);
                let mut sums = [black_box($start); CHAINS];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        // Not a closure: it would not be compiled for these instructions.
                        let $sum = *sum;
                        *sum = $next;
                    }
                }
                black_box(sums);
            }
            // SAFETY: `rounds` picks this only where the machine has the instructions.
            unsafe { run(rounds) };
            rounds * CHAINS * $count
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, black_box};

    chains!(floats_512, "avx512f", _mm512_set1_ps(0.5), _mm512_set1_ps(0.25), 16, |sum, y| {
        _mm512_fmadd_ps(sum, y, y)
    });
    chains!(floats_256, "avx2,fma", _mm256_set1_ps(0.5), _mm256_set1_ps(0.25), 8, |sum, y| {
        _mm256_fmadd_ps(sum, y, y)
    });
    chains!(
        bytes_512,
        "avx512f,avx512vnni",
        _mm512_set1_epi32(1),
        _mm512_set1_epi32(0x0201_0403),
        64,
        |sum, y| _mm512_dpbusd_epi32(sum, y, y)
    );
    chains!(bytes_256, "avxvnni", _mm256_set1_epi32(1), _mm256_set1_epi32(0x0201_0403), 32, |sum, y| {
        _mm256_dpbusd_avx_epi32(sum, y, y)
    });
    chains!(
        bytes_256_of_avx512,
        "avx512vl,avx512vnni",
        _mm256_set1_epi32(1),
        _mm256_set1_epi32(0x0201_0403),
        32,
        |sum, y| _mm256_dpbusd_epi32(sum, y, y)
    );
    chains!(
        words_512,
        "avx512f,avx512vnni",
        _mm512_set1_epi32(1),
        _mm512_set1_epi32(0x0002_0003),
        32,
        |sum, y| _mm512_dpwssd_epi32(sum, y, y)
    );
    // The product takes the sum in, so that it cannot be moved out of the loop.
    chains!(words_256, "avx2", _mm256_set1_epi32(1), _mm256_set1_epi32(0x0002_0003), 16, |sum, y| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(sum, y))
    });
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::{CHAINS, black_box};
    use crate::quantized::dot;

    chains!(floats, "neon", vdupq_n_f32(0.5), vdupq_n_f32(0.25), 4, |sum, y| vfmaq_f32(sum, y, y));
    // Products take the sum in, so that they cannot be moved out of the loop.
    chains!(words, "neon", vdupq_n_s32(1), vdup_n_s16(3), 4, |sum, y| {
        vmlal_s16(sum, vget_low_s16(vreinterpretq_s16_s32(sum)), y)
    });
    chains!(bytes, "neon,dotprod", vdupq_n_s32(1), vdupq_n_s8(3), 16, |sum, y| dot::<0>(sum, y, y));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_multiplies_at_some_speed() {
        let pool = ThreadPool::new(2);
        for isa in Isa::available_levels() {
            for products in [Products::Floats, Products::Bytes, Products::Words] {
                let rate = peak(isa, &pool, products);
                assert!(rate.is_finite() && rate > 1e6, "{isa} {products:?}: {rate}");
            }
        }
    }
}
