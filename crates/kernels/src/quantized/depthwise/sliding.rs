//! 3x3 depthwise products with AVX-512 VNNI, for windows that slide by one pixel or by two: each
//! column of the input is brought into the order of the products once for all outputs that see it.
//!
//! A column is four rows of 32 channels, interleaved so that `vpdpbusd` multiplies the four rows of
//! a channel at once. Sliding by one, the weights `(w0, w1, w2, 0)` and `(0, w0, w1, w2)` make two
//! rows of the output from it; sliding by two, `(w0, w1, w2, 0)` makes one.

use std::arch::x86_64::*;
use std::borrow::Borrow;

use crate::{ThreadPool, Window};

use super::super::epilogue::Epilogue;
use super::super::filter::Filter;
use super::super::gather::{Geometry, Source};
use super::super::split::{Grid, Target, Work};
use super::vnni::{BUNDLE, WIDTH, interleave, place};
use crate::aligned::Aligned;

/// Horizontal taps.
const TAPS: usize = 3;

/// Weights of a block of 32 channels for one horizontal tap and one row of the output.
const TAP_WEIGHTS: usize = WIDTH * BUNDLE;

/// The weights of a 3x3 depthwise filter, packed.
pub(in super::super) struct Sliding {
    geometry: Geometry,
    channels: usize,
    /// Step of the window, 1 or 2 in both directions.
    stride: usize,
    /// Padding above and to the left.
    pad: [usize; 2],
    lanes: Vec<Option<usize>>,
    /// `[block][horizontal tap][row of the output][lane][row of the input]`.
    weights: Aligned<i8>,
}

impl Sliding {
    /// Whether this is the kernel for a window.
    pub(super) fn suits(window: &Window) -> bool {
        let slides = window.stride == [1, 1] || window.stride == [2, 2];
        window.kernel == [TAPS, TAPS] && window.dilation == [1, 1] && slides
    }

    pub(super) fn new(filter: &Filter, packed: bool) -> Sliding {
        let (channels, stride) = (filter.out_channels, filter.window.stride[0]);
        let lanes: Vec<_> = (0..channels.next_multiple_of(WIDTH))
            .map(|lane| Some(place(lane, packed)).filter(|&channel| channel < channels))
            .collect();
        let rows = rows(stride);
        let mut weights = Aligned::zeroed(lanes.len() * TAPS * rows * BUNDLE);
        for (lane, channel) in lanes.iter().enumerate() {
            let Some(channel) = *channel else { continue };
            for tap in 0..filter.depth() {
                let [down, right] = [tap / TAPS, tap % TAPS];
                for row in 0..rows {
                    let vector = (lane / WIDTH * TAPS + right) * rows + row;
                    weights[vector * TAP_WEIGHTS + lane % WIDTH * BUNDLE + row + down] =
                        filter.weight(channel, tap);
                }
            }
        }
        let geometry = Geometry::of_channels(filter.window, channels, 1);
        Sliding { geometry, channels, stride, pad: filter.window.pad_before, lanes, weights }
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Option<usize>] {
        &self.lanes
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue that each task begins with.
    pub(super) fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    ) {
        let pixels = source.pixels();
        assert_eq!(Some(output.len()), pixels.checked_mul(self.channels), "length of the output");
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        if pixels == 0 {
            return;
        }
        let [height, width] = source.output();
        let bands = height.div_ceil(rows(self.stride));
        let all = pixels / (height * width) * bands;
        let target = Target::new(output, self.channels);
        let products = pixels.saturating_mul(self.weights.len());
        let work = Work { pixels: all, rows: 1, panels: 1, weights: self.weights.len(), products };
        let grid = Grid::new(&work, pool.threads());
        let borders = border_lines(source, self.channels);
        pool.run(grid.tasks(), &|task| {
            let epilogue = begin();
            let epilogue = epilogue.borrow();
            for band in grid.part(task).0 {
                let band = Band::new(self, source, &borders, band / bands, band % bands);
                // SAFETY: made only where the instruction set is there; `Band::new` points at whole
                // lines of the input or the border; lanes were counted above; tasks have different
                // bands.
                unsafe {
                    if self.stride == 1 {
                        by_one(self, &band, initial, epilogue, &target);
                    } else {
                        by_two(self, &band, initial, epilogue, &target);
                    }
                }
            }
        });
    }
}

/// Rows of the output that are made together.
fn rows(stride: usize) -> usize {
    if stride == 1 { 2 } else { 1 }
}

/// Lines of the input's width that hold nothing but border: one for all samples, or one for each.
fn border_lines(source: &Source, channels: usize) -> Vec<u8> {
    // Pixels outside the image at the left and right are read from a line too.
    let width = source.size()[1].max(1);
    let mut lines = Vec::with_capacity(source.borders().len() * width);
    for pixel in source.borders().chunks_exact(channels) {
        (0..width).for_each(|_| lines.extend_from_slice(pixel));
    }
    lines
}

/// Some neighbouring rows of the output and the rows of the input that they see.
struct Band<'a> {
    sample: usize,
    /// First pixel of the first row of the output, pixels of a row, and whether there is a second.
    pixel: usize,
    outputs: usize,
    both: bool,
    /// The rows of the input, or of border.
    rows: [&'a [u8]; BUNDLE],
    /// A row of border.
    border: &'a [u8],
    /// Pixels of a row of the input, and bytes of a pixel.
    width: usize,
    pitch: usize,
    /// Column of the input that the first output's first tap sees.
    left: isize,
}

impl<'a> Band<'a> {
    fn new(layer: &Sliding, source: &Source<'a>, borders: &'a [u8], sample: usize, index: usize) -> Band<'a> {
        let ([height, width], [out_height, out_width]) = (source.size(), source.output());
        let row = index * rows(layer.stride);
        let top = (row * layer.stride) as isize - layer.pad[0] as isize;
        let line = width.max(1) * layer.channels;
        let border = &borders[if borders.len() == line { 0 } else { sample * line }..][..line];
        let mut rows = [border; BUNDLE];
        for (down, pixels) in rows.iter_mut().enumerate() {
            let y = top + down as isize;
            if y >= 0 && y < height as isize {
                let pixel = (sample * height + y as usize) * width;
                *pixels = &source.input()[pixel * layer.channels..][..width * layer.channels];
            }
        }
        Band {
            sample,
            pixel: (sample * out_height + row) * out_width,
            outputs: out_width,
            both: layer.stride == 1 && row + 1 < out_height,
            rows,
            border,
            width,
            pitch: layer.channels,
            left: -(layer.pad[1] as isize),
        }
    }
}

/// Walks over the columns of a band, outside the image too.
struct Columns<'a, const FULL: bool> {
    block: &'a Block,
    /// The next column.
    at: isize,
    width: usize,
    /// The first pixel of each row, and how far from it the next one inside the image is.
    rows: [*const u8; BUNDLE],
    offset: usize,
    pitch: usize,
    outside: [__m512i; 2],
}

impl<'a, const FULL: bool> Columns<'a, FULL> {
    /// The columns of a block, from the first output's first tap on.
    ///
    /// # Safety
    /// AVX-512 BW, VL and VBMI must be there, and the block one of the band's channels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn new(band: &Band, block: &'a Block) -> Columns<'a, FULL> {
        let border = band.border[block.first..].as_ptr();
        Columns {
            block,
            at: band.left,
            width: band.width,
            rows: band.rows.map(<[u8]>::as_ptr),
            offset: block.first,
            pitch: band.pitch,
            // SAFETY: a row of border has at least one pixel with all channels.
            outside: unsafe { load::<FULL>([border; BUNDLE], block) },
        }
    }

    /// The next column.
    ///
    /// # Safety
    /// As for [`Columns::new`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn next(&mut self) -> [__m512i; 2] {
        let inside = (self.at as usize) < self.width;
        self.at += 1;
        if !inside {
            return self.outside;
        }
        let [a, b, c, d] = self.rows;
        let offset = self.offset;
        self.offset += self.pitch;
        let pixels =
            [a.wrapping_add(offset), b.wrapping_add(offset), c.wrapping_add(offset), d.wrapping_add(offset)];
        // SAFETY: the column is inside the image, so all four rows have it.
        unsafe { load::<FULL>(pixels, self.block) }
    }
}

/// Where a block of 32 channels stands, and how its columns are loaded.
struct Block {
    first: usize,
    channels: usize,
    mask: u32,
    table: [__m512i; 2],
}

/// Loads a column: two vectors of 16 channels x 4 rows.
///
/// # Safety
/// The block's channels must be readable at each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn load<const FULL: bool>(rows: [*const u8; BUNDLE], block: &Block) -> [__m512i; 2] {
    // SAFETY: reads the block's channels, which the caller vouches for.
    unsafe {
        let low = _mm512_castsi256_si512(load_row::<FULL>(rows[0], block));
        let low = _mm512_inserti64x4::<1>(low, load_row::<FULL>(rows[1], block));
        let high = _mm512_castsi256_si512(load_row::<FULL>(rows[2], block));
        let high = _mm512_inserti64x4::<1>(high, load_row::<FULL>(rows[3], block));
        let [first, second] = block.table;
        [_mm512_permutex2var_epi8(low, first, high), _mm512_permutex2var_epi8(low, second, high)]
    }
}

/// # Safety
/// The block's channels must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_row<const FULL: bool>(row: *const u8, block: &Block) -> __m256i {
    // SAFETY: the caller's promise; a full block has 32 channels, another loads those of its mask.
    unsafe {
        if FULL { _mm256_loadu_si256(row.cast()) } else { _mm256_maskz_loadu_epi8(block.mask, row.cast()) }
    }
}

/// Adds the products of a column to the sums of one output pixel.
///
/// # Safety
/// AVX-512 VNNI must be there.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add(sums: &mut [__m512i; 2], column: [__m512i; 2], weights: [__m512i; 2]) {
    sums[0] = _mm512_dpbusd_epi32(sums[0], column[0], weights[0]);
    sums[1] = _mm512_dpbusd_epi32(sums[1], column[1], weights[1]);
}

/// Loads `COUNT` pairs of vectors of weights.
///
/// # Safety
/// AVX-512 must be there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_weights<const COUNT: usize>(weights: &[i8]) -> [[__m512i; 2]; COUNT] {
    let mut vectors = [[_mm512_setzero_si512(); 2]; COUNT];
    for (pair, bytes) in vectors.iter_mut().zip(weights.chunks_exact(TAP_WEIGHTS)) {
        // SAFETY: a chunk is two vectors.
        unsafe {
            pair[0] = _mm512_loadu_si512(bytes.as_ptr().cast());
            pair[1] = _mm512_loadu_si512(bytes[TAP_WEIGHTS / 2..].as_ptr().cast());
        }
    }
    vectors
}

/// Runs `$body::<FULL, E>` for each block of channels of a layer.
macro_rules! each_block {
    ($body:ident, $layer:ident, $band:ident, $initial:ident, $epilogue:ident, $target:ident) => {{
        let table = &const { [interleave(false), interleave(true)] }[usize::from(E::PACKED)];
        let weights = $layer.weights.chunks_exact(TAPS * rows($layer.stride) * TAP_WEIGHTS);
        for (index, (weights, initial)) in weights.zip($initial.chunks_exact(WIDTH)).enumerate() {
            let first = index * WIDTH;
            let channels = ($layer.channels - first).min(WIDTH);
            // SAFETY: the tables are two vectors of bytes, initial sums two vectors of words; the
            // rest is the caller's promise.
            unsafe {
                let table = [
                    _mm512_loadu_si512(table[0].as_ptr().cast()),
                    _mm512_loadu_si512(table[1].as_ptr().cast()),
                ];
                let block = Block { first, channels, mask: u32::MAX >> (WIDTH - channels), table };
                if channels == WIDTH {
                    $body::<true, E>($band, &block, weights, initial, $epilogue, $target);
                } else {
                    $body::<false, E>($band, &block, weights, initial, $epilogue, $target);
                }
            }
        }
    }};
}

/// All channels of two rows of the output, windows sliding by one.
///
/// # Safety
/// AVX-512 VNNI and VBMI must be there; the band must be one of the layer's; no one else may write
/// its outputs meanwhile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn by_one<E: Epilogue>(
    layer: &Sliding,
    band: &Band,
    initial: &[i32],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    each_block!(block_by_one, layer, band, initial, epilogue, target);
}

/// # Safety
/// As for [`by_one`]; `initial` are the sums of the block's 32 lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn block_by_one<const FULL: bool, E: Epilogue>(
    band: &Band,
    block: &Block,
    weights: &[i8],
    initial: &[i32],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = load_weights::<{ 2 * TAPS }>(weights);
        let initial = initial.as_ptr();
        let mut input = Columns::<FULL>::new(band, block);
        let mut columns = [input.next(), input.next()];
        for output in 0..band.outputs {
            let column = input.next();
            let start = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
            let mut sums = [start; 2];
            add(&mut sums[0], columns[0], weights[0]);
            add(&mut sums[1], columns[0], weights[1]);
            add(&mut sums[0], columns[1], weights[2]);
            add(&mut sums[1], columns[1], weights[3]);
            add(&mut sums[0], column, weights[4]);
            add(&mut sums[1], column, weights[5]);
            columns = [columns[1], column];
            let pixel = band.pixel + output;
            let out = [
                target.at(pixel, block.first, block.channels),
                target.at(pixel + if band.both { band.outputs } else { 0 }, block.first, block.channels),
            ];
            epilogue.pair([band.sample; 2], block.first, sums, block.channels, out, band.both);
        }
    }
}

/// All channels of a row of the output, windows sliding by two.
///
/// # Safety
/// As for [`by_one`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn by_two<E: Epilogue>(
    layer: &Sliding,
    band: &Band,
    initial: &[i32],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    each_block!(block_by_two, layer, band, initial, epilogue, target);
}

/// # Safety
/// As for [`block_by_one`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn block_by_two<const FULL: bool, E: Epilogue>(
    band: &Band,
    block: &Block,
    weights: &[i8],
    initial: &[i32],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = load_weights::<TAPS>(weights);
        let initial = initial.as_ptr();
        let mut input = Columns::<FULL>::new(band, block);
        let mut column = input.next();
        for output in (0..band.outputs).step_by(2) {
            let start = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
            let mut sums = [start; 2];
            for sums in &mut sums {
                add(sums, column, weights[0]);
                add(sums, input.next(), weights[1]);
                column = input.next();
                add(sums, column, weights[2]);
            }
            let both = output + 1 < band.outputs;
            let pixel = band.pixel + output;
            let out = [
                target.at(pixel, block.first, block.channels),
                target.at(pixel + usize::from(both), block.first, block.channels),
            ];
            epilogue.pair([band.sample; 2], block.first, sums, block.channels, out, both);
        }
    }
}
