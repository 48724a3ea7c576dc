//! Sums of windows of any size up to 8x8: the columns that they see are interleaved into a buffer
//! first, then taken from there for several outputs at a time.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::super::super::epilogue::Epilogue;
use super::super::super::super::product::vnni::each_row;
use super::super::super::super::split::Target;
use super::super::super::vnni::BUNDLE;
use super::super::Sliding;
use super::super::band::Band;
use super::columns::Block;
use super::{Operands, Vnni, Way};

/// Outputs of a block of channels that are summed at once: with 16 sums in registers, inputs and
/// weights are loaded less often than they are used.
const GROUP: usize = 8;

/// Vectors of a buffer, which fill half of the first-level cache.
const VECTORS: usize = 256;

/// Interleaved columns: `[column][quad][vector of 16 channels]`.
#[repr(align(64))]
struct Buffer([MaybeUninit<__m512i>; VECTORS]);

impl Buffer {
    fn as_ptr(&self) -> *const __m512i {
        self.0.as_ptr().cast()
    }

    /// For how many outputs, in whole groups, it holds the columns.
    fn outputs(layer: &Sliding<Vnni>) -> usize {
        let [stride, taps] = [layer.window.stride[1], layer.window.kernel[1]];
        let columns = VECTORS / (2 * layer.bundles);
        ((columns - taps) / stride + 1) / GROUP * GROUP
    }

    /// Writes the columns that `outputs` outputs from `start` on see, in a block of channels. Columns
    /// outside the image, to the right of it as many as may be, are border.
    ///
    /// # Safety
    /// AVX-512 VBMI must be there, the band must be one of the layer's and the block one of its
    /// channels.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn fill<const FULL: bool>(
        &mut self,
        layer: &Sliding<Vnni>,
        band: &Band,
        block: &Block,
        start: usize,
        outputs: usize,
    ) {
        let [stride, taps] = [layer.window.stride[1], layer.window.kernel[1]];
        let count = (outputs - 1) * stride + taps;
        debug_assert!(count * layer.bundles * 2 <= VECTORS);
        let left = (start * stride) as isize + band.left;
        let inside = band.inside(left, count);
        for quad in 0..layer.bundles {
            let rows = band.bundle(quad);
            let to = self.0[2 * quad..].as_mut_ptr().cast::<__m512i>();
            let step = 2 * layer.bundles;
            // SAFETY: `count` columns fit the buffer; rows can be read inside the image, and the
            // border's pixel anywhere.
            unsafe {
                let outside = block.load::<false>([band.border; BUNDLE], block.first);
                for column in (0..inside.start).chain(inside.end..count) {
                    store(to.add(step * column), outside);
                }
                let offset = block.first + (left + inside.start as isize) as usize * band.pitch;
                let to = to.add(step * inside.start);
                block.columns::<FULL>(rows, offset, band.pitch, to, step, inside.len());
            }
        }
    }
}

/// # Safety
/// Two vectors must be writable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(to: *mut __m512i, column: [__m512i; 2]) {
    // SAFETY: as the caller promises.
    unsafe {
        _mm512_store_si512(to, column[0]);
        _mm512_store_si512(to.add(1), column[1]);
    }
}

impl Block {
    /// Writes a quad of `count` neighbouring columns, the first `offset` bytes from the start of each
    /// row, `step` vectors apart.
    ///
    /// # Safety
    /// The block's channels must be readable in these columns of each row, and the columns writable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn columns<const FULL: bool>(
        &self,
        rows: [*const u8; BUNDLE],
        mut offset: usize,
        pitch: usize,
        mut to: *mut __m512i,
        step: usize,
        count: usize,
    ) {
        for _ in 0..count {
            // SAFETY: the caller's promise.
            unsafe { store(to, self.load::<FULL>(rows, offset)) };
            to = to.wrapping_add(step);
            offset += pitch;
        }
    }
}

/// Windows of any size.
pub(super) struct Buffered;

impl Way for Buffered {
    unsafe fn sums<const FULL: bool, E: Epilogue>(
        layer: &Sliding<Vnni>,
        band: &Band,
        block: &Block,
        operands: &Operands,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let mut buffer = Buffer([MaybeUninit::uninit(); VECTORS]);
        let most = Buffer::outputs(layer);
        for start in (0..band.outputs).step_by(most) {
            let outputs = most.min(band.outputs - start);
            let span = [start, outputs];
            // SAFETY: the caller's promise; the columns of `outputs` outputs, made up to whole groups,
            // fit the buffer.
            unsafe {
                buffer.fill::<FULL>(layer, band, block, start, outputs.next_multiple_of(GROUP));
                match band.rows {
                    1 => finish::<1, 8, E>(layer, band, block, operands, &buffer, span, epilogue, target),
                    2 => finish::<2, 4, E>(layer, band, block, operands, &buffer, span, epilogue, target),
                    _ => finish::<4, 2, E>(layer, band, block, operands, &buffer, span, epilogue, target),
                }
            }
        }
    }
}

/// Makes `outputs` outputs from `start` on of each row, up to `R` rows and `C` columns (an even
/// number) at a time.
///
/// # Safety
/// As for [`Way::sums`]; the buffer holds the columns of whole groups of outputs.
#[expect(clippy::too_many_arguments, reason = "what the sums are made of and where they go")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn finish<const R: usize, const C: usize, E: Epilogue>(
    layer: &Sliding<Vnni>,
    band: &Band,
    block: &Block,
    operands: &Operands,
    buffer: &Buffer,
    [start, outputs]: [usize; 2],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let Operands { weights, initial } = *operands;
    let step = layer.window.stride[1] * layer.bundles;
    let taps = layer.window.kernel[1] * layer.bundles;
    for first in (0..outputs).step_by(C) {
        // SAFETY: the caller's promise; weights and sums are those of the block.
        unsafe {
            let columns = buffer.as_ptr().add(2 * step * first);
            let initial = initial.as_ptr().cast::<__m512i>();
            let initial = [_mm512_loadu_si512(initial), _mm512_loadu_si512(initial.add(1))];
            let mut sums = [initial; GROUP];
            add_taps::<R, C>(&mut sums, columns, step, weights.as_ptr().cast(), layer.rows, taps);
            let pixel = band.pixel + start + first;
            each_row!(GROUP, SUM, 0 2 4 6 => {
                let (row, column) = (SUM / C, SUM % C);
                if row < band.rows && first + column < outputs {
                    let both = first + column + 1 < outputs;
                    let pixel = pixel + row * band.outputs + column;
                    let out = [
                        target.at(pixel, block.first, block.channels),
                        target.at(pixel + usize::from(both), block.first, block.channels),
                    ];
                    let sums = [sums[SUM], sums[SUM + 1]];
                    epilogue.pair([band.sample; 2], block.first, sums, block.channels, out, both);
                }
            });
        }
    }
}

/// Adds the products of all taps (horizontal taps x quads) to the sums of `R` rows x `C` columns x 32
/// channels. Columns are `step` pairs of vectors apart from one output to the next; weights have `rows`
/// pairs of vectors to a tap.
///
/// # Safety
/// AVX-512 VNNI must be there; columns and weights must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_taps<const R: usize, const C: usize>(
    sums: &mut [[__m512i; 2]; GROUP],
    columns: *const __m512i,
    step: usize,
    weights: *const __m512i,
    rows: usize,
    taps: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for tap in 0..taps {
            let (columns, weights) = (columns.add(2 * tap), weights.add(2 * tap * rows));
            for vector in 0..2 {
                let mut inputs = [_mm512_setzero_si512(); C];
                for (column, input) in inputs.iter_mut().enumerate() {
                    *input = _mm512_load_si512(columns.add(2 * step * column + vector));
                }
                for (row, sums) in sums.chunks_exact_mut(C).enumerate() {
                    let weights = _mm512_load_si512(weights.add(2 * row + vector));
                    for (sum, &input) in sums.iter_mut().zip(&inputs) {
                        sum[vector] = _mm512_dpbusd_epi32(sum[vector], input, weights);
                    }
                }
            }
        }
    }
}
