//! The product at the heart of convolutions over 16-bit activations: weights widened to words,
//! multiplied in pairs that are added in 32 bits, and gathered in 64 bits before those overflow.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use super::requantize::Requantizer;
use crate::quantized::Filter;
use crate::quantized::gather::{Geometry, Source, Tile};
use crate::quantized::product::{Layout, Operands, Packed, Panel};
use crate::quantized::split::Target;
use crate::{Isa, ThreadPool};

/// Pairs of products whose sum fits 32 bits: a pair of activations of 15 bits and a sign with
/// weights of 7 and a sign is at most 2^23.
pub(super) const PAIRS: usize = 255;

/// Some taps with some of their steps, whose sums fit 32 bits.
struct Round<'a, T> {
    taps: &'a [T],
    steps: Range<usize>,
    first: bool,
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

/// How one instruction set multiplies words.
trait Kernel: Layout {
    /// Computes all panels (of one group) for the tile's pixels.
    ///
    /// # Safety
    /// The instruction set must be there. The tile's pointers must be readable for all steps and
    /// stand for the panels' group; panels, operands, requantizer and target must belong together,
    /// and no one else may write these panels of these pixels meanwhile.
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<Self::Weight, i64>,
        requantizer: &Requantizer,
        target: &Target<i16>,
    );
}

/// A product for the best kernel of an instruction set.
pub(super) enum Product {
    Portable(Packed<portable::Portable>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Packed<avx2::Avx2>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Packed<vnni::Vnni>),
}

/// Calls a function with the packed product, whatever its kernel.
macro_rules! with_packed {
    ($product:expr, $packed:ident => $body:expr) => {
        match $product {
            Product::Portable($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Product::Avx2($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Product::Vnni($packed) => $body,
        }
    };
}

impl Product {
    /// Packs a filter.
    pub(super) fn new(isa: Isa, filter: &Filter) -> Product {
        filter.check();
        assert!(isa.available(), "this machine cannot run '{isa}'");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => Product::Vnni(Packed::new(filter, true)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => Product::Avx2(Packed::new(filter, false)),
            _ => Product::Portable(Packed::new(filter, false)),
        }
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        with_packed!(self, packed => packed.geometry())
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Option<usize>] {
        with_packed!(self, packed => packed.lanes())
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, scaled.
    pub(super) fn run(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i64],
        requantizer: &Requantizer,
        output: &mut [i16],
    ) {
        with_packed!(self, packed => run(packed, pool, source, initial, requantizer, output));
    }
}

fn run<K: Kernel>(
    packed: &Packed<K>,
    pool: &ThreadPool,
    source: &Source,
    initial: &[i64],
    requantizer: &Requantizer,
    output: &mut [i16],
) {
    let (target, operands) = (packed.target(source, output), packed.operands(initial));
    packed.walk(pool, source, |tile, panels| {
        // SAFETY: the product was made for an instruction set that is there; the walk's tiles are
        // readable and stand for the panels' group, and no two of them overlap; operands and target
        // fit the panels.
        unsafe { K::tile(tile, panels, &operands, requantizer, &target) };
    });
}

/// Scales sums of a tile's pixels with a panel into the output.
///
/// # Safety
/// The pixels and the panel's channels must exist, and only the caller may write them.
#[inline(always)]
unsafe fn finish<const WIDTH: usize>(
    tile: &Tile,
    panel: &Panel,
    sums: &[[i64; WIDTH]],
    requantizer: &Requantizer,
    target: &Target<i16>,
) {
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: as the caller promises.
        let out = unsafe { target.slice(tile.pixel + row, panel.channel, panel.channels) };
        requantizer.row(panel.lane, sums, out);
    }
}
