//! Inputs as tiles take them: 16 rows of 64 bytes, equally far apart.
//!
//! A convolution over single pixels finds its rows where they are. So does one with stride 1 over whole
//! blocks of channels, in a copy of the image with its padding around it: there the pixels of a line, and
//! with some that nobody wants between them those of the next, stay equally far apart under every tap. All
//! others are gathered, the taps of a pixel one behind the other.

use std::ops::Range;

use super::super::super::gather::{Cursor, Source, Tile};
use super::super::tiles::{ROW_BYTES, ROWS, Tiles};
use crate::Window;
use crate::aligned::Aligned;

/// Bytes of inputs and outputs that are worked on before the next: a part of the second-level cache, which
/// all panels go through.
const BLOCK_BYTES: usize = 384 << 10;

/// Pixels next to each other in the output that have neighbouring rows in a tile.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) row: usize,
    pub(super) pixel: usize,
    pub(super) count: usize,
    pub(super) sample: usize,
}

/// Up to 16 pixels.
pub(super) struct RowTile {
    /// The first input of the first pixel.
    pub(super) rows: *const u8,
    /// Bytes from one pixel to the next.
    pub(super) stride: usize,
    runs: Range<usize>,
}

/// The inputs of some pixels.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) tiles: Vec<RowTile>,
    /// Where each block of inputs starts, from the first input of a pixel on.
    pub(super) offsets: Vec<usize>,
    runs: Vec<Run>,
    /// A padded image, or gathered rows.
    copied: Option<Aligned<u8>>,
}

/// What a part of a layer's work looks at.
#[derive(Clone)]
pub(super) struct View<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) pixels: Range<usize>,
    /// The first byte of a pixel that is read.
    pub(super) first: usize,
    /// Bytes that are read at a tap.
    pub(super) tap_bytes: usize,
    /// Bytes of a pixel's outputs.
    pub(super) out_bytes: usize,
}

impl View<'_> {
    /// Whether a padded copy has all tiles in place.
    fn is_padded(&self) -> bool {
        let geometry = self.source.geometry();
        let Window { kernel, stride, .. } = geometry.window();
        *stride == [1; 2]
            && *kernel != [1; 2]
            && geometry.reads_pixels()
            && self.tap_bytes.is_multiple_of(ROW_BYTES)
    }

    /// Tiles that are worked on together, of pixels that have so many bytes of inputs; an even number.
    fn together(&self, inputs: usize) -> usize {
        (BLOCK_BYTES / (ROWS * (inputs + self.out_bytes)) / 2 * 2).max(2)
    }
}

impl Inputs {
    /// Calls `each` with the inputs of all pixels, some at a time.
    ///
    /// # Safety
    /// The source's pixels must have the bytes that the view reads, and the machine the tiles.
    pub(super) unsafe fn each_block<T: Tiles>(&mut self, view: &View, mut each: impl FnMut(&Inputs)) {
        // SAFETY: the caller's promise.
        unsafe {
            if view.is_padded() {
                self.each_padded(view, each);
            } else {
                let mut cursor = Cursor::new(view.source);
                cursor.seek(view.pixels.start);
                let together = view.together(view.source.geometry().slots() * view.tap_bytes);
                let mut rest = view.pixels.clone();
                while !rest.is_empty() {
                    let some = rest.start..rest.end.min(rest.start + together * ROWS);
                    rest.start = some.end;
                    self.begin(view.source.geometry().slots() * view.tap_bytes, together);
                    for pixel in some.clone().step_by(ROWS) {
                        self.add::<T>(&cursor.gather(ROWS.min(some.end - pixel), view.first), view.tap_bytes);
                    }
                    each(self);
                }
            }
        }
    }

    /// Prepares for up to `tiles` tiles of pixels that have so many bytes of inputs, over all taps.
    pub(super) fn begin(&mut self, bytes: usize, tiles: usize) {
        self.tiles.clear();
        self.runs.clear();
        self.offsets.clear();
        self.offsets.extend((0..bytes).step_by(ROW_BYTES));
        self.reserve(tiles * ROWS * pitch(bytes) + ROW_BYTES);
    }

    /// Makes room for copied bytes. What was there is lost.
    fn reserve(&mut self, bytes: usize) -> &mut [u8] {
        if self.copied.as_ref().is_none_or(|copied| copied.len() < bytes) {
            self.copied = Some(Aligned::zeroed(bytes));
        }
        self.copied.as_deref_mut().unwrap_or_default()
    }

    /// Adds a tile of pixels, in place where it can.
    ///
    /// # Safety
    /// The tile's pointers must be readable for the bytes of a tap, and the machine have the tiles.
    pub(super) unsafe fn add<T: Tiles>(&mut self, tile: &Tile, tap_bytes: usize) {
        let pointers = &tile.pointers[0][..ROWS];
        let stride = (pointers[1] as usize).wrapping_sub(pointers[0] as usize);
        let even = |pair: &[*const u8]| (pair[1] as usize).wrapping_sub(pair[0] as usize) == stride;
        let in_place = tile.pointers.len() == 1
            && tap_bytes.is_multiple_of(ROW_BYTES)
            && stride as isize >= 0
            && pointers.windows(2).all(even);
        let (rows, stride) = if in_place {
            (pointers[0], stride)
        } else {
            let pitch = pitch(tile.pointers.len() * tap_bytes);
            let start = self.tiles.len() * ROWS * pitch;
            let rows =
                &mut self.copied.as_deref_mut().unwrap_or_default()[start..][..ROWS * pitch + ROW_BYTES];
            // SAFETY: the caller's promise.
            unsafe { gather::<T>(tile, tap_bytes, rows, pitch) };
            (rows.as_ptr(), pitch)
        };
        let first = self.runs.len();
        let mut row = 0;
        for same in tile.samples[..tile.rows].chunk_by(|a, b| a == b) {
            self.runs.push(Run { row, pixel: tile.pixel + row, count: same.len(), sample: same[0] });
            row += same.len();
        }
        self.tiles.push(RowTile { rows, stride, runs: first..self.runs.len() });
    }

    /// The pixels of a tile.
    pub(super) fn runs(&self, tile: &RowTile) -> &[Run] {
        &self.runs[tile.runs.clone()]
    }

    /// Calls `each` with the inputs of all pixels of each sample, in place in a padded copy.
    fn each_padded(&mut self, view: &View, mut each: impl FnMut(&Inputs)) {
        let [height, width] = view.source.output();
        let (mut rest, image) = (view.pixels.clone(), height * width);
        while !rest.is_empty() {
            let sample = rest.start / image;
            let first = sample * image;
            let end = rest.end.min(first + image);
            let padded = Padded::new(view, sample, rest.start - first..end - first);
            padded.copy(view, self.reserve(padded.bytes()));
            self.offsets.clear();
            self.offsets.extend(padded.offsets());
            let places = padded.places();
            let count = places.len().div_ceil(ROWS);
            let together = view.together(padded.pixel_bytes);
            for some in (0..count).step_by(together) {
                self.tiles.clear();
                self.runs.clear();
                for tile in some..count.min(some + together) {
                    let start = places.start + tile * ROWS;
                    self.add_padded(&padded, start..places.end.min(start + ROWS), first);
                }
                each(self);
            }
            rest.start = end;
        }
    }

    /// Adds the tile of neighbouring places of a padded image whose first pixel is `first`.
    fn add_padded(&mut self, padded: &Padded, places: Range<usize>, first: usize) {
        let runs = self.runs.len();
        let mut place = places.start;
        while place < places.end {
            let (line, column) = (place / padded.pitch, place % padded.pitch);
            let end = places.end.min((line + 1) * padded.pitch);
            let count = padded.width.min(column + end - place).saturating_sub(column);
            if count > 0 {
                let pixel = first + (padded.line + line) * padded.width + column;
                self.runs.push(Run { row: place - places.start, pixel, count, sample: padded.sample });
            }
            place = end;
        }
        let rows = self.copied.as_deref().unwrap_or_default()[places.start * padded.pixel_bytes..].as_ptr();
        self.tiles.push(RowTile { rows, stride: padded.pixel_bytes, runs: runs..self.runs.len() });
    }
}

/// Bytes from one gathered pixel to the next. Whole blocks, and one more so that pixels do not fall on the same lines of the cache.
fn pitch(bytes: usize) -> usize {
    bytes.next_multiple_of(ROW_BYTES) + ROW_BYTES
}

/// Copies the bytes of all taps of each pixel, one tap behind the other and zeros behind the last.
///
/// # Safety
/// As for [`Inputs::add`].
unsafe fn gather<T: Tiles>(tile: &Tile, tap_bytes: usize, rows: &mut [u8], pitch: usize) {
    #[cfg(target_arch = "x86_64")]
    if T::VECTORS {
        // SAFETY: the caller's promise.
        return unsafe { gather_vectors(tile, tap_bytes, rows, pitch) };
    }
    for (index, row) in rows.chunks_exact_mut(pitch).take(ROWS).enumerate() {
        let (taps, rest) = row.split_at_mut(tile.pointers.len() * tap_bytes);
        for (tap, pointers) in taps.chunks_exact_mut(tap_bytes).zip(tile.pointers) {
            // SAFETY: the caller's promise.
            tap.copy_from_slice(unsafe { std::slice::from_raw_parts(pointers[index], tap_bytes) });
        }
        rest.fill(0);
    }
}

/// The same by vectors, of which the last of a tap writes zeros into the next.
///
/// # Safety
/// The machine must have AVX-512 BW.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn gather_vectors(tile: &Tile, tap_bytes: usize, rows: &mut [u8], pitch: usize) {
    use std::arch::x86_64::*;
    let taps = tile.pointers.len();
    assert!(pitch >= taps * tap_bytes + ROW_BYTES && rows.len() >= ROWS * pitch && tap_bytes > 0);
    let whole = (tap_bytes - 1) / ROW_BYTES * ROW_BYTES;
    let mask = u64::MAX >> (ROW_BYTES - (tap_bytes - whole));
    for row in 0..ROWS {
        // SAFETY: a pixel's place has room for all taps and a vector behind them; no more than the bytes
        // of a tap are read.
        unsafe {
            let place = rows.as_mut_ptr().add(row * pitch);
            for (tap, pointers) in tile.pointers.iter().enumerate() {
                let (from, to) = (pointers[row], place.add(tap * tap_bytes));
                let mut at = 0;
                while at < whole {
                    _mm512_storeu_si512(to.add(at).cast(), _mm512_loadu_si512(from.add(at).cast()));
                    at += ROW_BYTES;
                }
                let last = _mm512_maskz_loadu_epi8(mask, from.add(whole).cast());
                _mm512_storeu_si512(to.add(whole).cast(), last);
            }
            _mm512_storeu_si512(place.add(taps * tap_bytes).cast(), _mm512_setzero_si512());
        }
    }
}

/// Some lines of an image with the padding around them, in a copy: every tap of its pixels is inside.
struct Padded {
    sample: usize,
    /// The first line of the output, and where pixels begin and end, counted from its start.
    line: usize,
    pixels: Range<usize>,
    /// Pixels of a line of the output.
    width: usize,
    /// Pixels of a line of the copy, and its lines.
    pitch: usize,
    lines: usize,
    pixel_bytes: usize,
    window: Window,
}

impl Padded {
    /// What some pixels of a sample look at.
    fn new(view: &View, sample: usize, pixels: Range<usize>) -> Padded {
        let window = *view.source.geometry().window();
        let width = view.source.output()[1];
        let (line, last) = (pixels.start / width, (pixels.end - 1) / width);
        let [down, right] = [0, 1].map(|axis| (window.kernel[axis] - 1) * window.dilation[axis]);
        Padded {
            sample,
            line,
            pixels: pixels.start - line * width..pixels.end - line * width,
            width,
            pitch: width + right,
            lines: last - line + 1 + down,
            pixel_bytes: view.tap_bytes,
            window,
        }
    }

    /// Bytes of the copy, of which the last tile reads a few pixels more than there are.
    fn bytes(&self) -> usize {
        (self.lines * self.pitch + ROWS) * self.pixel_bytes
    }

    /// Where the first tap of the first pixel is, to behind that of the last.
    fn places(&self) -> Range<usize> {
        let place = |pixel: usize| pixel / self.width * self.pitch + pixel % self.width;
        place(self.pixels.start)..place(self.pixels.end - 1) + 1
    }

    /// Where the blocks of each tap start, from the first tap on.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.window.kernel;
        let [down, right] = self.window.dilation;
        let taps =
            (0..rows).flat_map(move |row| (0..columns).map(move |column| [row * down, column * right]));
        taps.flat_map(|[row, column]| {
            let tap = (row * self.pitch + column) * self.pixel_bytes;
            (tap..tap + self.pixel_bytes).step_by(ROW_BYTES)
        })
    }

    /// Makes the copy.
    fn copy(&self, view: &View, copy: &mut [u8]) {
        let [height, width] = view.source.size();
        let [above, left] = self.window.pad_before;
        let border = view.source.border(self.sample);
        let line_bytes = width * self.pixel_bytes;
        let fill = |pixels: &mut [u8]| {
            pixels.chunks_exact_mut(self.pixel_bytes).for_each(|p| p.copy_from_slice(border))
        };
        for (index, line) in copy.chunks_exact_mut(self.pitch * self.pixel_bytes).take(self.lines).enumerate()
        {
            let Some(row) = (self.line + index).checked_sub(above).filter(|row| *row < height) else {
                fill(line);
                continue;
            };
            let (before, rest) = line.split_at_mut(left * self.pixel_bytes);
            let (middle, behind) = rest.split_at_mut(line_bytes);
            fill(before);
            middle.copy_from_slice(
                &view.source.input()[(self.sample * height + row) * line_bytes..][..line_bytes],
            );
            fill(behind);
        }
    }
}
