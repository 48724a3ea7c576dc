//! A copy of an image with its padding around it.

use std::ops::Range;

use super::super::tiles::{ROW_BYTES, ROWS, Tiles};
use super::inputs::{Run, View};
use crate::Window;

/// Some lines of an image with the padding around them, in a copy: every tap of its pixels is inside.
///
/// *Places* are where tiles have their rows: the pixels of a line of the output, and behind them some that
/// nobody wants. Either a tile has pixels of one line, or, with a stride of 1, places go on with the next line and
/// are that many that its first pixel is as far away as any other.
pub(super) struct Padded {
    sample: usize,
    /// The first line of the output, and where pixels begin and end, counted from its start.
    line: usize,
    pixels: Range<usize>,
    /// Pixels of a line of the output, and places.
    width: usize,
    columns: usize,
    /// Places of a tile.
    pub(super) rows: usize,
    /// Bytes from a place to the next, and from a line of the output to the next.
    pub(super) step: usize,
    line_step: usize,
    /// Bytes of a pixel and of a line of the copy, pixels of a line, and lines.
    pixel_bytes: usize,
    pitch: usize,
    reach: usize,
    lines: usize,
    /// Taps that are looked at, bytes of each, and rows of the kernel.
    taps: [usize; 2],
    tap_bytes: usize,
    fold: usize,
    window: Window,
}

impl Padded {
    /// What some pixels of a sample look at.
    pub(super) fn new(view: &View, sample: usize, pixels: Range<usize>) -> Padded {
        let geometry = view.source.geometry();
        let window @ Window { kernel, stride, dilation, .. } = *geometry.window();
        let width = view.source.output()[1];
        let (line, last) = (pixels.start / width, (pixels.end - 1) / width);
        let (fold, taps) = (geometry.fold(), geometry.taps());
        let pixel_bytes = fold * geometry.pitch();
        let reach = (width - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1;
        let pitch = reach * pixel_bytes;
        let lines = last - line + 1;
        let (columns, rows) = columns_and_rows(lines, width, (stride == [1; 2]).then_some(reach));
        Padded {
            sample,
            line,
            pixels: pixels.start - line * width..pixels.end - line * width,
            width,
            columns,
            rows,
            step: stride[1] * pixel_bytes,
            line_step: stride[0] * pitch,
            pixel_bytes,
            pitch,
            reach,
            lines: (lines - 1) * stride[0] + (taps[0] - 1) * fold * dilation[0] + 1,
            taps,
            tap_bytes: view.tap_bytes,
            fold,
            window,
        }
    }

    /// Bytes of the copy, of which the last tile reads a few pixels more than there are.
    pub(super) fn bytes(&self) -> usize {
        let last_line = (self.columns + ROWS) * self.step + self.tap([0, self.taps[1]]) + self.tap_bytes;
        self.lines * self.pitch + last_line
    }

    /// Where the first tap of the first pixel is, to behind that of the last.
    pub(super) fn places(&self) -> Range<usize> {
        let place = |pixel: usize| pixel / self.width * self.columns + pixel % self.width;
        let (start, end) = (place(self.pixels.start), place(self.pixels.end - 1) + 1);
        if self.line_step == self.columns * self.step {
            start..end
        } else {
            start / self.rows * self.rows..end
        }
    }

    /// Calls `each` with the pixels of a tile at neighbouring places; the image's first pixel is `first`.
    pub(super) fn each_run(&self, places: Range<usize>, first: usize, mut each: impl FnMut(Run)) {
        let mut place = places.start;
        while place < places.end {
            let (line, column) = (place / self.columns, place % self.columns);
            let end = places.end.min((line + 1) * self.columns);
            let pixel = |column: usize| line * self.width + column.min(self.width);
            let (from, to) = (pixel(column), pixel(column + end - place));
            let (from, to) = (from.max(self.pixels.start), to.min(self.pixels.end));
            if from < to {
                let row = place - places.start + from - pixel(column);
                let pixel = first + self.line * self.width + from;
                each(Run { row, pixel, count: to - from, sample: self.sample });
            }
            place = end;
        }
    }

    /// The first byte of a place.
    pub(super) fn address(&self, place: usize) -> usize {
        place / self.columns * self.line_step + place % self.columns * self.step
    }

    /// Bytes from the first tap to another.
    fn tap(&self, [row, column]: [usize; 2]) -> usize {
        let [down, right] = self.window.dilation;
        row * self.fold * down * self.pitch + column * right * self.pixel_bytes
    }

    /// Where the blocks of each tap start, from the first tap on.
    pub(super) fn offsets(&self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.taps;
        let taps = (0..rows).flat_map(move |row| (0..columns).map(move |column| self.tap([row, column])));
        taps.flat_map(|tap| (tap..tap + self.tap_bytes).step_by(ROW_BYTES))
    }

    /// Makes the copy.
    ///
    /// # Safety
    /// The machine must have the tiles.
    pub(super) unsafe fn copy<T: Tiles>(&self, view: &View, copy: &mut [u8]) {
        let [height, width] = view.source.size();
        let [above, left] = self.window.pad_before;
        let channels = self.pixel_bytes / self.fold;
        let border = &view.source.border(self.sample)[..channels];
        let outside = border.repeat(width);
        let interleave = (self.fold > 1).then(|| Interleave::new(self.fold, channels));
        let line_of = |index: usize| {
            let row = (self.line * self.window.stride[0] + index).checked_sub(above);
            row.filter(|row| *row < height).map_or(&outside[..], |row| {
                &view.source.input()[(self.sample * height + row) * outside.len()..][..outside.len()]
            })
        };
        for (index, line) in copy.chunks_exact_mut(self.pitch).take(self.lines).enumerate() {
            let (before, rest) = line.split_at_mut(left.min(self.reach) * self.pixel_bytes);
            let (middle, behind) = rest.split_at_mut((width * self.pixel_bytes).min(rest.len()));
            for pixel in [before, behind].into_iter().flat_map(|line| line.chunks_exact_mut(channels)) {
                pixel.copy_from_slice(border);
            }
            let Some(interleave) = &interleave else {
                middle.copy_from_slice(&line_of(index)[..middle.len()]);
                continue;
            };
            let most = self.fold - 1;
            let lines: [&[u8]; FOLD] =
                std::array::from_fn(|row| line_of(index + row.min(most) * self.window.dilation[0]));
            // SAFETY: the caller's promise.
            unsafe { interleave.run::<T>(&lines, middle) };
        }
    }
}

/// Places of a line and of a tile, for some lines of `width` pixels. `reach` is how many places it takes from a line's
/// first pixel to the next line's, where places may go on there.
///
/// Products take as long as tiles have rows, but not less than loading the weights, and what surrounds them about as
/// long as those of one and a half.
pub(super) fn columns_and_rows(lines: usize, width: usize, reach: Option<usize>) -> (usize, usize) {
    let in_line = width.div_ceil(ROWS);
    let rows = width.div_ceil(in_line);
    let time = |tiles: usize, rows: usize| tiles * (2 * rows.max(12) + 3);
    match reach {
        Some(reach) if time((lines * reach).div_ceil(ROWS), ROWS) <= time(lines * in_line, rows) => {
            (reach, ROWS)
        }
        _ => (in_line * rows, rows),
    }
}

/// Most rows of a kernel that one tap covers: a row alone fills a quarter of a block.
const FOLD: usize = 4;

/// Half of a vector: what is read of a line at a time.
const HALF: usize = ROW_BYTES / 2;

/// Brings the pixels of lines side by side.
struct Interleave {
    fold: usize,
    channels: usize,
    /// Pixels that a vector has of each line.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    at_once: usize,
    /// Where each byte of a vector comes from: each line has a quarter of two vectors.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    from: [u8; ROW_BYTES],
}

impl Interleave {
    /// For pixels of so many bytes, of the first `fold` of [`FOLD`] lines.
    fn new(fold: usize, channels: usize) -> Interleave {
        let pixel_bytes = fold * channels;
        let at_once = (ROW_BYTES / pixel_bytes).min(HALF / channels);
        let from = |to: usize| {
            let (pixel, row, channel) = (to / pixel_bytes, to / channels % fold, to % channels);
            (row * HALF + pixel % at_once.max(1) * channels + channel) as u8
        };
        Interleave { fold, channels, at_once, from: std::array::from_fn(from) }
    }

    /// # Safety
    /// The machine must have the tiles.
    unsafe fn run<T: Tiles>(&self, lines: &[&[u8]; FOLD], out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if T::VECTORS {
            // SAFETY: the caller's promise.
            return unsafe { self.run_vectors(lines, out) };
        }
        for (pixel, out) in out.chunks_exact_mut(self.fold * self.channels).enumerate() {
            for (out, line) in out.chunks_exact_mut(self.channels).zip(lines) {
                out.copy_from_slice(&line[pixel * self.channels..][..self.channels]);
            }
        }
    }

    /// The same by vectors, which write more than their pixels where others follow.
    ///
    /// # Safety
    /// The machine must have AVX-512 VBMI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    unsafe fn run_vectors(&self, lines: &[&[u8]; FOLD], out: &mut [u8]) {
        use std::arch::x86_64::*;
        let (at_once, pixel_bytes) = (self.at_once, self.fold * self.channels);
        let pixels = out.len() / pixel_bytes;
        assert!(at_once > 0 && lines.iter().all(|line| line.len() >= pixels * self.channels));
        // SAFETY: as many bytes.
        let from = unsafe { _mm512_loadu_si512(self.from.as_ptr().cast()) };
        for first in (0..pixels).step_by(at_once) {
            let (start, read) = (first * self.channels, HALF.min((pixels - first) * self.channels));
            let (to, write) = (first * pixel_bytes, ROW_BYTES.min((pixels - first) * pixel_bytes));
            // SAFETY: masks let through what the lines have and what the output has room for.
            unsafe {
                let mask = u32::MAX >> (HALF - read);
                let line = |row: usize| _mm256_maskz_loadu_epi8(mask, lines[row].as_ptr().add(start).cast());
                let two =
                    |row: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(line(row)), line(row + 1));
                let bytes = _mm512_permutex2var_epi8(two(0), from, two(2));
                let mask = u64::MAX >> (ROW_BYTES - write);
                _mm512_mask_storeu_epi8(out.as_mut_ptr().add(to).cast(), mask, bytes);
            }
        }
    }
}
