//! Sums of columns with AVX-512 VNNI, which multiplies four rows (a *quad*) of a channel at once.

mod buffer;
mod columns;
mod registers;

use std::ops::Range;

use super::super::super::epilogue::Epilogue;
use super::super::super::split::Target;
use super::super::vnni::{BUNDLE, WIDTH, interleave, place};
use super::band::Band;
use super::{Kernel, Sliding};
use buffer::Buffered;
use columns::Block;
use registers::{ByOne, ByTwo, TAPS};

type Operands<'a> = super::Operands<'a, i8>;

/// Sums of 32 channels, four rows at a time.
pub(in super::super::super) struct Vnni;

impl Kernel for Vnni {
    type Weight = i8;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = BUNDLE;

    fn place(lane: usize, packed: bool) -> usize {
        place(lane, packed)
    }

    unsafe fn blocks<E: Epilogue>(
        layer: &Sliding<Vnni>,
        band: &Band,
        blocks: Range<usize>,
        initial: &[i32],
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise; each way is that of the window.
        unsafe {
            match (layer.window.kernel, layer.window.stride) {
                ([TAPS, TAPS], [1, 1]) => by::<ByOne, E>(layer, band, blocks, initial, epilogue, target),
                ([TAPS, TAPS], [2, 2]) => by::<ByTwo, E>(layer, band, blocks, initial, epilogue, target),
                _ => by::<Buffered, E>(layer, band, blocks, initial, epilogue, target),
            }
        }
    }
}

/// Some blocks of channels of a band.
///
/// # Safety
/// As for [`Way::sums`], the band with `initial` for all its lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn by<W: Way, E: Epilogue>(
    layer: &Sliding<Vnni>,
    band: &Band,
    blocks: Range<usize>,
    initial: &[i32],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let tables = &const { [interleave(false), interleave(true)] }[usize::from(E::PACKED)];
    for index in blocks {
        let first = index * WIDTH;
        let block = Block::new(first, (layer.channels - first).min(WIDTH), tables);
        let operands = layer.operands(initial, index);
        // SAFETY: the caller's promise.
        unsafe {
            if block.channels == WIDTH {
                W::sums::<true, E>(layer, band, &block, &operands, epilogue, target);
            } else {
                W::sums::<false, E>(layer, band, &block, &operands, epilogue, target);
            }
        }
    }
}

/// A way to come from columns to sums.
trait Way {
    /// Makes the outputs of a band in one block of channels; `FULL` says that it has all 32.
    ///
    /// # Safety
    /// AVX-512 VNNI and VBMI must be there; band, block and operands must be those of the layer, whose
    /// window this way suits; no one else may write these outputs meanwhile.
    unsafe fn sums<const FULL: bool, E: Epilogue>(
        layer: &Sliding<Vnni>,
        band: &Band,
        block: &Block,
        operands: &Operands,
        epilogue: &E,
        target: &Target<E::Out>,
    );
}
