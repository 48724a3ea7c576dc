//! Where the pixels of a tile find their input: one pointer per tap and pixel.
//!
//! With pointers the inner loops know nothing of strides, dilations and borders: a tap in the
//! padding points to a row of zeros.

use super::aligned::Aligned;
use crate::Window;

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

/// The pointers of one tile at a time.
pub(super) struct Taps<'a> {
    image: Image<'a>,
    reading: Reading,
    /// Distance of each pointer from the first one, for pixels that see no border.
    offsets: Vec<usize>,
    /// `[pointer of the pixel][pixel]`.
    pointers: Vec<*const f32>,
    /// Copies of what cannot be read in place.
    copies: Aligned,
    /// Whether all pixels are copied because their addresses collide in the cache.
    collide: bool,
}

impl<'a> Taps<'a> {
    /// Space for tiles of up to `most_pixels`.
    pub(super) fn new(image: Image<'a>, reading: Reading, most_pixels: usize) -> Taps<'a> {
        let Image { shape, channels, window, .. } = image;
        let per_pixel = reading.pointers(&window);
        let [across, down] = [window.dilation[1] * channels, window.dilation[0] * shape[2] * channels];
        let offsets = match reading {
            Reading::Taps => (0..per_pixel)
                .map(|tap| tap / window.kernel[1] * down + tap % window.kernel[1] * across)
                .collect(),
            Reading::Rows => (0..per_pixel).map(|row| row * down).collect(),
        };
        // The first-level cache holds 8 or 12 lines per 4096 bytes: pixels a multiple of that
        // apart push each other out before their line is used up.
        let collide = per_pixel == 1 && (channels * window.stride[1] * 4).is_multiple_of(4096);
        let copies = match reading {
            Reading::Rows => most_pixels * per_pixel * window.kernel[1] * channels,
            Reading::Taps if collide => most_pixels * (channels + SKEW),
            Reading::Taps => 0,
        };
        let pointers = vec![std::ptr::null(); most_pixels * per_pixel];
        Taps { image, reading, offsets, pointers, copies: Aligned::zeros(copies), collide }
    }

    /// Finds the input of the output pixels `first..first + count`, counted over the whole batch.
    /// The pointers `[pointer of the pixel][pixel]` stay valid until the next call.
    pub(super) fn find(&mut self, first: usize, count: usize) -> *const *const f32 {
        let [height, width] = self.image.output;
        let (mut x, mut y) = (first % width, first / width % height);
        let mut sample = first / width / height;
        for pixel in 0..count {
            self.find_pixel(pixel, count, [sample, y, x]);
            x += 1;
            if x == width {
                (x, y) = (0, y + 1);
                if y == height {
                    (y, sample) = (0, sample + 1);
                }
            }
        }
        if self.collide {
            self.copy_pixels(count);
        }
        self.pointers.as_ptr()
    }

    fn find_pixel(&mut self, pixel: usize, count: usize, [sample, y, x]: [usize; 3]) {
        let Image { data, shape: [_, height, width], channels, window, .. } = self.image;
        // Wrapping below zero makes a position left of or above the input a huge one.
        let top = (y * window.stride[0]).wrapping_sub(window.pad_before[0]);
        let left = (x * window.stride[1]).wrapping_sub(window.pad_before[1]);
        let bottom = top.wrapping_add((window.kernel[0] - 1) * window.dilation[0]);
        let right = left.wrapping_add((window.kernel[1] - 1) * window.dilation[1]);
        if top < height && bottom < height && left < width && right < width {
            let base = &data[((sample * height + top) * width + left) * channels..];
            for (i, offset) in self.offsets.iter().enumerate() {
                self.pointers[i * count + pixel] = base[*offset..].as_ptr();
            }
            return;
        }
        for row in 0..window.kernel[0] {
            let at = top.wrapping_add(row * window.dilation[0]);
            let line = (at < height).then(|| {
                let line = width * channels;
                &data[(sample * height + at) * line..][..line]
            });
            match self.reading {
                Reading::Taps => self.find_row_of_taps(pixel, count, row, line, left),
                Reading::Rows => self.pointers[row * count + pixel] = self.row_at(pixel, row, line, left),
            }
        }
    }

    /// The pointers of one row of taps on the input line `line`, `None` in the padding.
    fn find_row_of_taps(
        &mut self,
        pixel: usize,
        count: usize,
        row: usize,
        line: Option<&[f32]>,
        left: usize,
    ) {
        let Image { channels, window, zeros, shape: [_, _, width], .. } = self.image;
        for column in 0..window.kernel[1] {
            let at = left.wrapping_add(column * window.dilation[1]);
            let tap = match line {
                Some(line) if at < width => &line[at * channels..],
                _ => zeros,
            };
            self.pointers[(row * window.kernel[1] + column) * count + pixel] = tap.as_ptr();
        }
    }

    /// A whole row of taps, copied where it reaches over the border.
    fn row_at(&mut self, pixel: usize, row: usize, line: Option<&[f32]>, left: usize) -> *const f32 {
        let Image { channels, window, zeros, shape: [_, _, width], .. } = self.image;
        let Some(line) = line else { return zeros.as_ptr() };
        let taps = window.kernel[1];
        if left < width && left.wrapping_add(taps - 1) < width {
            return line[left * channels..].as_ptr();
        }
        let copy = &mut self.copies[(pixel * window.kernel[0] + row) * taps * channels..][..taps * channels];
        for (column, tap) in copy.chunks_exact_mut(channels).enumerate() {
            let at = left.wrapping_add(column);
            if at < width {
                tap.copy_from_slice(&line[at * channels..][..channels]);
            } else {
                tap.fill(0.0);
            }
        }
        copy.as_ptr()
    }

    /// Replaces each pixel by a copy; copies are spread over the cache sets.
    fn copy_pixels(&mut self, count: usize) {
        let channels = self.image.channels;
        let copies = self.copies.chunks_exact_mut(channels + SKEW);
        for (pointer, copy) in self.pointers[..count].iter_mut().zip(copies) {
            // SAFETY: `find_pixel` points each pixel into the input or at the zeros, both with at
            // least `channels` elements from there.
            let pixel = unsafe { std::slice::from_raw_parts(*pointer, channels) };
            copy[..channels].copy_from_slice(pixel);
            *pointer = copy.as_ptr();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each pixel sees, read through the pointers: `[pixel][pointer][float]`.
    fn seen(image: Image, reading: Reading, first: usize, count: usize) -> Vec<Vec<f32>> {
        let mut taps = Taps::new(image, reading, count);
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
        assert!(taps.collide);
        let pointers = taps.find(1, 2);
        // SAFETY: two pixels were asked for.
        let distance = unsafe { (*pointers.add(1)).offset_from(*pointers) };
        assert_eq!(distance, 1024 + SKEW as isize);
        assert_eq!(seen(image, Reading::Taps, 1, 2).concat(), &data[1024..]);
    }
}
