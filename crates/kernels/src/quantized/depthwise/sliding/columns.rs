//! The columns of the input that outputs see: rows by four, and their channels interleaved.

use std::arch::x86_64::*;

use super::super::super::gather::Source;
use super::super::vnni::{BUNDLE, WIDTH};
use super::{LARGEST, Sliding};

/// Lines of the input's width that hold nothing but border: one for all samples, or one for each.
pub(super) fn border_lines(source: &Source, channels: usize) -> Vec<u8> {
    // Pixels outside the image at the left and right are read from a line too.
    let width = source.size()[1].max(1);
    let mut lines = Vec::with_capacity(source.borders().len() * width);
    for pixel in source.borders().chunks_exact(channels) {
        (0..width).for_each(|_| lines.extend_from_slice(pixel));
    }
    lines
}

/// Some neighbouring rows of the output and the rows of the input that they see.
pub(super) struct Band {
    pub(super) sample: usize,
    /// Rows of the output.
    pub(super) rows: usize,
    /// First pixel of the first row of the output, and pixels of a row.
    pub(super) pixel: usize,
    pub(super) outputs: usize,
    /// Where the rows of the input, or of border, start.
    inputs: [*const u8; LARGEST],
    /// A pixel of border.
    pub(super) border: *const u8,
    /// Pixels of a row of the input, and bytes from one to the next.
    pub(super) width: usize,
    pub(super) pitch: usize,
    /// Column of the input that the first output's first tap sees.
    pub(super) left: isize,
}

impl Band {
    /// Band `index` of a sample; `borders` are [`border_lines`].
    pub(super) fn new(layer: &Sliding, source: &Source, borders: &[u8], sample: usize, index: usize) -> Band {
        let ([height, width], [out_height, out_width]) = (source.size(), source.output());
        let row = index * layer.rows;
        let top = (row * layer.window.stride[0]) as isize - layer.window.pad_before[0] as isize;
        let line = width.max(1) * layer.channels;
        let border = &borders[if borders.len() == line { 0 } else { sample * line }..][..line];
        let mut inputs = [border.as_ptr(); LARGEST];
        for (down, input) in inputs.iter_mut().enumerate().take(layer.quads * BUNDLE) {
            let y = top + down as isize;
            if y >= 0 && y < height as isize {
                let pixel = (sample * height + y as usize) * width;
                *input = source.input()[pixel * layer.channels..][..width * layer.channels].as_ptr();
            }
        }
        Band {
            sample,
            rows: layer.rows.min(out_height - row),
            pixel: (sample * out_height + row) * out_width,
            outputs: out_width,
            inputs,
            border: border.as_ptr(),
            width,
            pitch: layer.channels,
            left: -(layer.window.pad_before[1] as isize),
        }
    }

    /// Four rows of the input.
    pub(super) fn quad(&self, quad: usize) -> [*const u8; BUNDLE] {
        let rows = &self.inputs[quad * BUNDLE..][..BUNDLE];
        [rows[0], rows[1], rows[2], rows[3]]
    }
}

/// Where a block of channels stands, and how its columns are interleaved.
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) channels: usize,
    mask: u32,
    order: [__m512i; 2],
}

impl Block {
    /// A block of `channels` (1 to 32) channels; `tables` tells where the bytes of a column come from.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(first: usize, channels: usize, tables: &[[u8; 64]; 2]) -> Block {
        let mask = u32::MAX >> (WIDTH - channels);
        // SAFETY: a table is a vector.
        let order = tables.each_ref().map(|table| unsafe { _mm512_loadu_si512(table.as_ptr().cast()) });
        Block { first, channels, mask, order }
    }

    /// A quad of the column `offset` bytes from the start of each row: two vectors of 16 channels x 4
    /// rows.
    ///
    /// # Safety
    /// The block's channels must be readable there; `FULL` says that it has all of them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    pub(super) unsafe fn load<const FULL: bool>(
        &self,
        rows: [*const u8; BUNDLE],
        offset: usize,
    ) -> [__m512i; 2] {
        let [a, b, c, d] = rows.map(|row| row.wrapping_add(offset));
        // SAFETY: reads the block's channels, which the caller vouches for.
        unsafe {
            let low = _mm512_castsi256_si512(load_row::<FULL>(a, self.mask));
            let low = _mm512_inserti64x4::<1>(low, load_row::<FULL>(b, self.mask));
            let high = _mm512_castsi256_si512(load_row::<FULL>(c, self.mask));
            let high = _mm512_inserti64x4::<1>(high, load_row::<FULL>(d, self.mask));
            let [first, second] = self.order;
            [_mm512_permutex2var_epi8(low, first, high), _mm512_permutex2var_epi8(low, second, high)]
        }
    }
}

/// # Safety
/// The channels of the mask must be readable, or 32 if `FULL`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_row<const FULL: bool>(row: *const u8, mask: u32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { if FULL { _mm256_loadu_si256(row.cast()) } else { _mm256_maskz_loadu_epi8(mask, row.cast()) } }
}
