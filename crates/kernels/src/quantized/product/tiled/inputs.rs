//! Inputs as tiles take them: 16 rows of 64 bytes, equally far apart.
//!
//! A convolution over single pixels finds its rows where they are. So does one with stride 1 over whole
//! blocks of channels, in a copy of the image with its padding around it: there the pixels of a line, and
//! with some that nobody wants between them those of the next, stay equally far apart under every tap. Where
//! a tap is a row of the kernel, or several, a block of bytes from each pixel on has it (in a copy that has as
//! many lines of the image side by side, pixel by pixel), and what it has beyond meets weights of zero. All
//! others are gathered, the taps of a pixel one behind the other.

use std::ops::Range;

use super::super::super::gather::{Cursor, Source, Tile};
use super::super::tiles::{ROW_BYTES, ROWS, Tiles};
use super::padded::Padded;
use crate::Window;
use crate::aligned::Aligned;

/// Bytes of inputs and outputs that are worked on before the next: a part of the second-level cache, which
/// all panels go through.
const BLOCK_BYTES: usize = 384 << 10;

/// Pixels next to each other in the output that have neighbouring rows in two tiles.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) row: usize,
    pub(super) pixel: usize,
    pub(super) count: usize,
    pub(super) sample: usize,
}

/// Up to 16 pixels.
#[derive(Clone, Copy)]
pub(super) struct RowTile {
    /// The first input of the first pixel.
    pub(super) rows: *const u8,
    /// Bytes from one pixel to the next.
    pub(super) stride: usize,
}

/// One or two tiles, which are multiplied together.
pub(super) struct Pair {
    pub(super) upper: RowTile,
    pub(super) lower: Option<RowTile>,
    runs: Range<usize>,
}

/// The inputs of some pixels.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) pairs: Vec<Pair>,
    /// Rows of each tile: pixels that it has room for.
    pub(super) rows: usize,
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
        let by_pixels = *stride == [1; 2] && *kernel != [1; 2] && geometry.reads_pixels();
        (by_pixels || geometry.reads_rows()) && self.tap_bytes.is_multiple_of(ROW_BYTES)
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
                self.each_padded::<T>(view, each);
            } else {
                let mut cursor = Cursor::new(view.source);
                cursor.seek(view.pixels.start);
                let bytes = view.source.geometry().slots() * view.tap_bytes;
                let (rows, together) = (even_rows(view.pixels.len()), view.together(bytes));
                let mut rest = view.pixels.clone();
                while !rest.is_empty() {
                    let some = rest.start..rest.end.min(rest.start + together * rows);
                    rest.start = some.end;
                    self.begin(bytes, together, rows);
                    for pixel in some.clone().step_by(rows) {
                        self.add::<T>(&cursor.gather(rows.min(some.end - pixel), view.first), view.tap_bytes);
                    }
                    each(self);
                }
            }
        }
    }

    /// Prepares for up to `tiles` tiles of `rows` pixels that have so many bytes of inputs, over all taps.
    pub(super) fn begin(&mut self, bytes: usize, tiles: usize, rows: usize) {
        self.rows = rows;
        self.pairs.clear();
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
        let pointers = &tile.pointers[0];
        let stride = (pointers[1] as usize).wrapping_sub(pointers[0] as usize);
        let even = |pair: &[*const u8]| (pair[1] as usize).wrapping_sub(pair[0] as usize) == stride;
        let in_place = tile.pointers.len() == 1
            && tap_bytes.is_multiple_of(ROW_BYTES)
            && stride as isize >= 0
            && pointers[..self.rows].windows(2).all(even);
        let (rows, stride) = if in_place {
            (pointers[0], stride)
        } else {
            let pitch = pitch(tile.pointers.len() * tap_bytes);
            let start = self.tiles() * ROWS * pitch;
            let rows = &mut self.copied.as_deref_mut().unwrap_or_default()[start..][..self.rows * pitch];
            // SAFETY: the caller's promise.
            unsafe { gather::<T>(tile, tap_bytes, rows, pitch) };
            (rows.as_ptr(), pitch)
        };
        self.push(RowTile { rows, stride });
        let mut row = 0;
        for same in tile.samples[..tile.rows].chunk_by(|a, b| a == b) {
            self.push_run(Run { row, pixel: tile.pixel + row, count: same.len(), sample: same[0] });
            row += same.len();
        }
    }

    /// Number of tiles.
    fn tiles(&self) -> usize {
        2 * self.pairs.len() - usize::from(self.pairs.last().is_some_and(|pair| pair.lower.is_none()))
    }

    /// Adds a tile, whose pixels follow.
    fn push(&mut self, tile: RowTile) {
        match self.pairs.last_mut() {
            Some(Pair { lower: lower @ None, .. }) => *lower = Some(tile),
            _ => self.pairs.push(Pair { upper: tile, lower: None, runs: self.runs.len()..self.runs.len() }),
        }
    }

    /// Adds pixels of the last tile, whose `row` counts from its first.
    fn push_run(&mut self, mut run: Run) {
        let Some(pair) = self.pairs.last_mut() else { return };
        run.row += if pair.lower.is_some() { ROWS } else { 0 };
        match self.runs[pair.runs.clone()].last_mut() {
            Some(last)
                if [last.row, last.pixel].map(|first| first + last.count) == [run.row, run.pixel]
                    && last.sample == run.sample =>
            {
                last.count += run.count;
            }
            _ => {
                self.runs.push(run);
                pair.runs.end = self.runs.len();
            }
        }
    }

    /// The pixels of a pair.
    pub(super) fn runs(&self, pair: &Pair) -> &[Run] {
        &self.runs[pair.runs.clone()]
    }

    /// Calls `each` with the inputs of all pixels of each sample, in place in a padded copy.
    ///
    /// # Safety
    /// The machine must have the tiles.
    unsafe fn each_padded<T: Tiles>(&mut self, view: &View, mut each: impl FnMut(&Inputs)) {
        let [height, width] = view.source.output();
        let (mut rest, image) = (view.pixels.clone(), height * width);
        while !rest.is_empty() {
            let sample = rest.start / image;
            let first = sample * image;
            let end = rest.end.min(first + image);
            let padded = Padded::new(view, sample, rest.start - first..end - first);
            // SAFETY: the caller's promise.
            unsafe { padded.copy::<T>(view, self.reserve(padded.bytes())) };
            self.offsets.clear();
            self.offsets.extend(padded.offsets());
            self.rows = padded.rows;
            let places = padded.places();
            let count = places.len().div_ceil(padded.rows);
            let together = view.together(padded.step);
            for some in (0..count).step_by(together) {
                self.pairs.clear();
                self.runs.clear();
                for tile in some..count.min(some + together) {
                    let start = places.start + tile * padded.rows;
                    self.add_padded(&padded, start..places.end.min(start + padded.rows), first);
                }
                each(self);
            }
            rest.start = end;
        }
    }

    /// Adds the tile of neighbouring places of a padded image whose first pixel is `first`.
    fn add_padded(&mut self, padded: &Padded, places: Range<usize>, first: usize) {
        let rows = self.copied.as_deref().unwrap_or_default()[padded.address(places.start)..].as_ptr();
        self.push(RowTile { rows, stride: padded.step });
        padded.each_run(places, first, |run| self.push_run(run));
    }
}

/// Rows of tiles of which pairs hold so many pixels with few rows left empty.
pub(super) fn even_rows(pixels: usize) -> usize {
    let tiles = pixels.div_ceil(ROWS);
    pixels.div_ceil(if tiles > 1 { tiles.next_multiple_of(2) } else { 1 })
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
    for (index, row) in rows.chunks_exact_mut(pitch).enumerate() {
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
    assert!(pitch >= taps * tap_bytes + ROW_BYTES && rows.len().is_multiple_of(pitch) && tap_bytes > 0);
    let whole = (tap_bytes - 1) / ROW_BYTES * ROW_BYTES;
    let mask = u64::MAX >> (ROW_BYTES - (tap_bytes - whole));
    for row in 0..rows.len() / pitch {
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
