//! Where the pixels of a tile find their input: one pointer per tap and pixel.
//!
//! With pointers the inner loops know nothing of strides, dilations and borders: a tap in the
//! padding points to a row of zeros.

use std::ops::Range;

use crate::Window;
use crate::aligned::Aligned;

/// An input tensor, channels last, as a window sees it.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) data: &'a [f32],
    /// Batch, height and width.
    pub(super) shape: [usize; 3],
    pub(super) channels: usize,
    pub(super) window: Window,
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    /// What taps in the padding see: [`Reading::zeros`] of them.
    pub(super) zeros: &'a [f32],
}

/// How taps are laid out for the inner loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A pointer per tap.
    Taps,
    /// A pointer per row of taps, which lie side by side in the input: for few channels, where a
    /// tap alone is too short a loop.
    Rows,
}

impl Reading {
    /// The better way to read for a convolution over all channels.
    pub(super) fn best(window: &Window, channels: usize) -> Reading {
        let adjacent = window.kernel[1] > 1 && window.dilation[1] == 1;
        if adjacent && channels < 8 { Reading::Rows } else { Reading::Taps }
    }

    /// Pointers per pixel.
    pub(super) fn pointers(self, window: &Window) -> usize {
        match self {
            Reading::Taps => window.taps(),
            Reading::Rows => window.kernel[0],
        }
    }

    /// Whether neighbouring pixels have to be copied apart. The first-level cache holds 8 or 12 lines
    /// per 4096 bytes: pixels a multiple of that apart push each other out before their line is used
    /// up.
    pub(super) fn collide(self, window: &Window, channels: usize) -> bool {
        let apart = channels.saturating_mul(window.stride[1]).saturating_mul(size_of::<f32>());
        self.pointers(window) == 1 && apart.is_multiple_of(4096)
    }

    /// Zeros that a tap in the padding needs.
    pub(super) fn zeros(self, window: &Window, channels: usize) -> usize {
        match self {
            Reading::Taps => channels,
            Reading::Rows => channels * window.kernel[1],
        }
    }
}

/// Floats added to each copied pixel, so that neighbours do not fall on the same cache sets.
const SKEW: usize = 16;
/// Bytes of pixels copied at a time: half of a second-level cache, or less.
const COPIED: usize = 512 << 10;

/// The pointers of one tile at a time.
pub(super) struct Taps<'a> {
    image: Image<'a>,
    reading: Reading,
    /// For each column of taps, the output columns where it lies inside the input; for
    /// [`Reading::Rows`], one range of output columns where the whole row does.
    inside: Vec<Range<usize>>,
    /// `[pointer of the pixel][pixel]`.
    pointers: Vec<*const f32>,
    /// Copies of what cannot be read in place: rows of taps at the border, or whole pixels.
    copies: Aligned<f32>,
    /// Pixels copied at a time because their addresses collide in the cache; 0 if they do not.
    block: usize,
    /// The first of them.
    block_start: usize,
}

impl<'a> Taps<'a> {
    /// Space for tiles of up to `most_pixels`.
    pub(super) fn new(image: Image<'a>, reading: Reading, most_pixels: usize) -> Taps<'a> {
        let image = image.flattened();
        let Image { channels, window, .. } = image;
        let per_pixel = reading.pointers(&window);
        let mut inside: Vec<_> = (0..window.kernel[1]).map(|column| image.inside(column)).collect();
        if reading == Reading::Rows {
            let start = inside.iter().map(|range| range.start).max().unwrap_or(0);
            let end = inside.iter().map(|range| range.end).min().unwrap_or(0);
            inside.truncate(1);
            inside[0] = start.min(end)..end;
        }
        let collide = reading.collide(&window, channels);
        let pixel = (channels + SKEW) * size_of::<f32>();
        let block = if collide { (COPIED / pixel).max(most_pixels) } else { 0 };
        let copies = match reading {
            Reading::Rows => most_pixels * per_pixel * window.kernel[1] * channels,
            Reading::Taps => block.min(image.pixels()) * (channels + SKEW),
        };
        Taps {
            image,
            reading,
            inside,
            pointers: vec![std::ptr::null(); most_pixels * per_pixel],
            copies: Aligned::zeroed(copies),
            block,
            block_start: 0,
        }
    }

    /// How many pixels may be [`enter`](Taps::enter)ed at a time.
    pub(super) fn block(&self) -> usize {
        if self.block == 0 { usize::MAX } else { self.block }
    }

    /// Prepares for [`find`](Taps::find)ing tiles among `pixels`, at most [`block`](Taps::block).
    pub(super) fn enter(&mut self, pixels: Range<usize>) {
        if self.block == 0 {
            return;
        }
        self.block_start = pixels.start;
        let channels = self.image.channels;
        let mut copies = std::mem::replace(&mut self.copies, Aligned::zeroed(0));
        for (pixel, copy) in pixels.zip(copies.chunks_exact_mut(channels + SKEW)) {
            self.find_runs(pixel, 1);
            // SAFETY: there is one tap, inside the input or at the zeros, with all channels.
            let from = unsafe { std::slice::from_raw_parts(self.pointers[0], channels) };
            copy[..channels].copy_from_slice(from);
        }
        self.copies = copies;
    }

    /// Finds the input of the output pixels `first..first + count`, counted over the whole batch,
    /// all of which were entered. The pointers `[pointer of the pixel][pixel]` stay valid until
    /// the next call.
    pub(super) fn find(&mut self, first: usize, count: usize) -> *const *const f32 {
        if self.block == 0 && self.image.window == Window::POINT {
            let pointers = &mut self.pointers[..count];
            spread(pointers, self.image.data, [first, 1, 1], self.image.channels);
        } else if self.block == 0 {
            self.find_runs(first, count);
        } else {
            let pitch = self.image.channels + SKEW;
            for (i, pointer) in self.pointers[..count].iter_mut().enumerate() {
                *pointer = self.copies[(first - self.block_start + i) * pitch..].as_ptr();
            }
        }
        self.pointers.as_ptr()
    }

    /// Finds pixels run by run: those of a run lie side by side in the output.
    fn find_runs(&mut self, first: usize, count: usize) {
        let [height, width] = self.image.output;
        let mut run = Run { pixel: 0, end: 0, of: count, x: first % width, y: first / width };
        while run.end < count {
            run.pixel = run.end;
            run.end = count.min(run.pixel + width - run.x);
            for row in 0..self.image.window.kernel[0] {
                let line = self.image.line(run.y / height, run.y % height, row);
                match (self.reading, line) {
                    (Reading::Taps, Some(line)) => self.find_taps(&run, row, line),
                    (Reading::Taps, None) => {
                        let taps = self.image.window.kernel[1];
                        self.pointers_of(&run, row * taps..(row + 1) * taps, self.image.zeros.as_ptr());
                    }
                    (Reading::Rows, Some(line)) => self.find_row(&run, row, line),
                    (Reading::Rows, None) => {
                        self.pointers_of(&run, row..row + 1, self.image.zeros.as_ptr());
                    }
                }
            }
            (run.x, run.y) = (0, run.y + 1);
        }
    }

    /// Points these taps of all pixels of a run to the same place.
    fn pointers_of(&mut self, run: &Run, taps: Range<usize>, place: *const f32) {
        for tap in taps {
            self.pointers[tap * run.of..][run.pixel..run.end].fill(place);
        }
    }

    /// The taps of row `row` for the pixels of a run, on the input line `line`.
    fn find_taps(&mut self, run: &Run, row: usize, line: &[f32]) {
        let Image { channels, window, zeros, .. } = self.image;
        for (column, inside) in self.inside.iter().enumerate() {
            let tap = row * window.kernel[1] + column;
            let pointers = &mut self.pointers[tap * run.of..][run.pixel..run.end];
            let inside = run.part(inside);
            pointers[..inside.start].fill(zeros.as_ptr());
            pointers[inside.end..].fill(zeros.as_ptr());
            let first = self.image.column(run.x + inside.start, column);
            spread(&mut pointers[inside], line, [first, window.stride[1], 1], channels);
        }
    }

    /// The whole row of taps `row` for the pixels of a run, copied where it reaches over the
    /// border of the input line `line`.
    fn find_row(&mut self, run: &Run, row: usize, line: &[f32]) {
        let Image { channels, window, .. } = self.image;
        let floats = window.kernel[1] * channels;
        let inside = run.part(&self.inside[0]);
        let pointers = &mut self.pointers[row * run.of..][run.pixel..run.end];
        let first = self.image.column(run.x + inside.start, 0);
        let reach = [first, window.stride[1], window.kernel[1]];
        spread(&mut pointers[inside.clone()], line, reach, channels);
        for pixel in (0..inside.start).chain(inside.end..pointers.len()) {
            let copy = (run.pixel + pixel) * window.kernel[0] + row;
            let copy = &mut self.copies[copy * floats..][..floats];
            for (column, tap) in copy.chunks_exact_mut(channels).enumerate() {
                let at = self.image.column(run.x + pixel, column).wrapping_mul(channels);
                match line.get(at..at.wrapping_add(channels)) {
                    Some(input) => tap.copy_from_slice(input),
                    None => tap.fill(0.0),
                }
            }
            pointers[pixel] = copy.as_ptr();
        }
    }
}

/// Points `pointers` into `line`: the first to pixel `first`, then every `stride` pixels, each with
/// `reach` pixels from there.
pub(super) fn spread(
    pointers: &mut [*const f32],
    line: &[f32],
    [first, stride, reach]: [usize; 3],
    channels: usize,
) {
    if pointers.is_empty() {
        return;
    }
    let end = first + (pointers.len() - 1) * stride + reach;
    assert!(end * channels <= line.len(), "tap outside the input");
    let mut place = line[first * channels..].as_ptr();
    for pointer in pointers {
        *pointer = place;
        place = place.wrapping_add(stride * channels);
    }
}

/// Pixels of a tile that lie side by side in the output.
struct Run {
    /// The first of them and the one behind the last, among `of` pixels of the tile.
    pixel: usize,
    end: usize,
    of: usize,
    /// The output column of the first, and the output row counted over the whole batch.
    x: usize,
    y: usize,
}

impl Run {
    /// Which pixels of the run, counted from its first, are output columns in `columns`.
    fn part(&self, columns: &Range<usize>) -> Range<usize> {
        let pixels = self.end - self.pixel;
        let start = columns.start.saturating_sub(self.x).min(pixels);
        start..columns.end.saturating_sub(self.x).clamp(start, pixels)
    }
}

impl<'a> Image<'a> {
    /// The same image as a single line, if each output pixel sees just the input pixel at its
    /// place.
    fn flattened(self) -> Image<'a> {
        if self.window != Window::POINT {
            return self;
        }
        let pixels = self.shape.iter().product();
        Image { shape: [1, 1, pixels], output: [1, pixels], ..self }
    }

    /// Output pixels.
    fn pixels(&self) -> usize {
        self.shape[0] * self.output[0] * self.output[1]
    }

    /// The input column that tap column `column` of output column `x` sees. To the left of the
    /// input it wraps around to a huge number.
    fn column(&self, x: usize, column: usize) -> usize {
        (x * self.window.stride[1] + column * self.window.dilation[1]).wrapping_sub(self.window.pad_before[1])
    }

    /// Points to `rows` x `columns` input pixels side by side, row by row; the first is the one
    /// that the first tap of output column `x` sees. `line` gives each of the rows of the input
    /// with all its columns, or `None` for one in the padding.
    pub(super) fn find_patch<'l>(
        &self,
        x: usize,
        [rows, columns]: [usize; 2],
        line: impl Fn(usize) -> Option<&'l [f32]>,
        pointers: &mut [*const f32],
    ) {
        let Image { channels, window, zeros, shape: [_, _, width], .. } = *self;
        let left = x * window.stride[1];
        let start = window.pad_before[1].saturating_sub(left).min(columns);
        let end = (width + window.pad_before[1]).saturating_sub(left).clamp(start, columns);
        for (row, pointers) in pointers.chunks_exact_mut(columns).take(rows).enumerate() {
            match line(row) {
                Some(line) => {
                    pointers[..start].fill(zeros.as_ptr());
                    pointers[end..].fill(zeros.as_ptr());
                    let first = self.column(x, start);
                    spread(&mut pointers[start..end], line, [first, 1, 1], channels);
                }
                None => pointers.fill(zeros.as_ptr()),
            }
        }
    }

    /// Whether the `columns` input columns from the one that the first tap of output column `x` sees
    /// are all there.
    pub(super) fn sees_columns(&self, x: usize, columns: usize) -> bool {
        let (left, before) = (x * self.window.stride[1], self.window.pad_before[1]);
        left >= before && left + columns <= self.shape[2] + before
    }

    /// The output columns for which tap column `column` lies inside the input.
    fn inside(&self, column: usize) -> Range<usize> {
        let stride = self.window.stride[1];
        let shift = column * self.window.dilation[1];
        let [before, width] = [self.window.pad_before[1], self.shape[2]];
        let start = before.saturating_sub(shift).div_ceil(stride);
        let end = (before + width).saturating_sub(shift).div_ceil(stride);
        start..end.min(self.output[1]).max(start)
    }

    /// The input row that row `row` of taps of the output row `y` sees, `None` in the padding.
    pub(super) fn row(&self, y: usize, row: usize) -> Option<usize> {
        (y * self.window.stride[0] + row * self.window.dilation[0])
            .checked_sub(self.window.pad_before[0])
            .filter(|at| *at < self.shape[1])
    }

    /// The input line that row `row` of taps of the output row `y` of a sample sees, `None` in
    /// the padding.
    pub(super) fn line(&self, sample: usize, y: usize, row: usize) -> Option<&'a [f32]> {
        let [_, height, width] = self.shape;
        let at = self.row(y, row)?;
        let floats = width * self.channels;
        Some(&self.data[(sample * height + at) * floats..][..floats])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each pixel sees, read through the pointers: `[pixel][pointer][float]`.
    fn seen(image: Image, reading: Reading, first: usize, count: usize) -> Vec<Vec<f32>> {
        let mut taps = Taps::new(image, reading, count);
        taps.enter(first..first + count);
        let pointers = taps.find(first, count);
        let per_pixel = reading.pointers(&image.window);
        let floats = reading.zeros(&image.window, image.channels);
        (0..count)
            .map(|pixel| {
                (0..per_pixel)
                    .flat_map(|tap| {
                        // SAFETY: that is what `find` promises.
                        unsafe { std::slice::from_raw_parts(*pointers.add(tap * count + pixel), floats) }
                            .to_vec()
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn both_readings_see_the_same() {
        let window = Window {
            kernel: [2, 3],
            stride: [1, 2],
            dilation: [2, 1],
            pad_before: [1, 2],
            pad_after: [2, 1],
        };
        let data: Vec<f32> = (1..=2 * 3 * 4 * 2).map(|i| i as f32).collect();
        let zeros = [0.0; 6];
        let output = window.output([3, 4]);
        let image = Image { data: &data, shape: [2, 3, 4], channels: 2, window, output, zeros: &zeros };
        let pixels = 2 * output[0] * output[1];
        let by_taps = seen(image, Reading::Taps, 1, pixels - 1);
        assert_eq!(by_taps, seen(image, Reading::Rows, 1, pixels - 1));
        // Output (0, 1) of the first sample: rows -1 and 1, columns 0 to 2.
        assert_eq!(by_taps[0], [0., 0., 0., 0., 0., 0., 9., 10., 11., 12., 13., 14.]);
    }

    #[test]
    fn colliding_pixels_are_copied() {
        let data: Vec<f32> = (0..3 * 1024).map(|i| i as f32).collect();
        let zeros = [0.0; 1024];
        let image = Image {
            data: &data,
            shape: [1, 1, 3],
            channels: 1024,
            window: Window::POINT,
            output: [1, 3],
            zeros: &zeros,
        };
        let mut taps = Taps::new(image, Reading::Taps, 2);
        assert!(taps.block() >= 3);
        taps.enter(0..3);
        let pointers = taps.find(1, 2);
        // SAFETY: two pixels were asked for.
        let distance = unsafe { (*pointers.add(1)).offset_from(*pointers) };
        assert_eq!(distance, 1024 + SKEW as isize);
        assert_eq!(seen(image, Reading::Taps, 1, 2).concat(), &data[1024..]);
    }
}
