//! The product at the heart of convolutions over 16-bit activations: weights widened to words,
//! multiplied in pairs that are added in 32 bits, and gathered in 64 bits before those overflow.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

#[cfg(not(target_arch = "x86_64"))]
use crate::quantized::product::PortableProduct;
#[cfg(target_arch = "x86_64")]
use crate::quantized::product::Product;
use crate::quantized::product::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::quantized::product::vnni::Vnni;

/// Pairs of products whose sum fits 32 bits: a pair of activations of 15 bits and a sign with
/// weights of 7 and a sign is at most 2^23.
pub(super) const PAIRS: usize = 255;

/// Some taps with some of their steps, whose sums fit 32 bits.
struct Round<'a, T> {
    taps: &'a [T],
    steps: Range<usize>,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    first: bool,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    last: bool,
}

/// Taps and steps, in the order of the weights, cut into rounds: whole taps where they have few
/// steps, else parts of one tap.
#[inline(always)]
fn rounds<T>(taps: &[T], steps: usize) -> impl Iterator<Item = Round<'_, T>> {
    let together = (PAIRS / steps.max(1)).max(1);
    let parts = steps.div_ceil(PAIRS);
    let count = taps.len().div_ceil(together) * parts;
    (0..count).map(move |round| {
        let (tap, step) = (round / parts * together, round % parts * PAIRS);
        Round {
            taps: &taps[tap..taps.len().min(tap + together)],
            steps: step..steps.min(step + PAIRS),
            first: round == 0,
            last: round + 1 == count,
        }
    })
}

/// The product of words.
#[cfg(target_arch = "x86_64")]
pub(super) type WordProduct = Product<Portable<i16>, avx2::Avx2, avx2::Avx2, Vnni<i16>, Vnni<i16>>;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type WordProduct = PortableProduct<Portable<i16>>;
