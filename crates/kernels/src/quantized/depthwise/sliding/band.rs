//! Neighbouring rows of the output and what they see.

use std::ops::Range;

use super::super::super::gather::Source;
use super::{Kernel, LARGEST, Sliding};

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
pub(in super::super::super) struct Band {
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
    pub(super) fn new<K: Kernel>(
        layer: &Sliding<K>,
        source: &Source,
        borders: &[u8],
        sample: usize,
        index: usize,
    ) -> Band {
        let ([height, width], [out_height, out_width]) = (source.size(), source.output());
        let row = index * layer.rows;
        let top = (row * layer.window.stride[0]) as isize - layer.window.pad_before[0] as isize;
        let line = width.max(1) * layer.channels;
        let border = &borders[if borders.len() == line { 0 } else { sample * line }..][..line];
        let mut inputs = [border.as_ptr(); LARGEST];
        for (down, input) in inputs.iter_mut().enumerate().take(layer.bundles * K::BUNDLE) {
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

    /// A bundle of rows of the input.
    #[inline(always)]
    pub(super) fn bundle<const ROWS: usize>(&self, index: usize) -> [*const u8; ROWS] {
        std::array::from_fn(|row| self.inputs[index * ROWS + row])
    }

    /// Which of `count` columns from `left` on are inside the image.
    pub(super) fn inside(&self, left: isize, count: usize) -> Range<usize> {
        let before = left.min(0).unsigned_abs().min(count);
        before..(self.width as isize - left).clamp(before as isize, count as isize) as usize
    }
}
