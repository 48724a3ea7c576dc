//! Where each tap of each output pixel finds its bytes: the geometry of a convolution turned into
//! pointers, so that kernels only multiply. Elements of the input may have any number of bytes.

use crate::Window;

use super::filter::Filter;

/// Pixels that one tile has room for.
pub(crate) const SLOTS: usize = 16;

/// Room for the pointers of a tap: those of a whole tile can be written from any slot on.
pub(crate) const ROOM: usize = 2 * SLOTS;

/// Bytes of input that one step of a product takes.
pub(crate) const STEP: usize = 4;

/// Up to this many input channels, a row of taps is looked at as one long tap.
const FEW_CHANNELS: usize = 16;

/// The taps of a layer, apart from any input.
pub(crate) struct Geometry {
    window: Window,
    /// Bytes from one pixel of the input to the next.
    pitch: usize,
    /// Vertical and horizontal taps.
    taps: [usize; 2],
    /// Input pixels, side by side, that one tap covers, and rows of the kernel.
    span: usize,
    fold: usize,
    /// Bytes that matter at a tap.
    run: usize,
    /// Bytes that a kernel reads at a tap.
    read: usize,
    /// Taps that a kernel asks for; those beyond the real ones point at the border.
    slots: usize,
}

impl Geometry {
    /// The taps of a product over channels, read in whole steps; an element of the input has `size`
    /// bytes.
    ///
    /// A tap is one pixel of the input; where pixels have few channels, which would leave steps half
    /// empty, a tap is a whole row of the kernel. It is read in units of `long` bytes where it fills a quarter
    /// of the first, and is several rows, their pixels in turn, where those fit a unit.
    pub(crate) fn of_product(filter: &Filter, size: usize, long: usize) -> Geometry {
        let Filter { window, in_channels, .. } = *filter;
        let [height, width] = window.kernel;
        let pixel = filter.group_in() * size;
        let row = width * pixel;
        let is_long = filter.groups == 1
            && window.dilation[1] == 1
            && filter.group_in() <= FEW_CHANNELS
            && width > 1
            && row.next_multiple_of(STEP) <= width * pixel.next_multiple_of(STEP);
        let (taps, span, run) = if is_long { ([height, 1], width, row) } else { (window.kernel, 1, pixel) };
        let unit = if is_long && 4 * run >= long { long } else { STEP };
        let fold = if unit > STEP { (unit / run).clamp(1, taps[0]) } else { 1 };
        let (taps, run) = ([taps[0].div_ceil(fold), taps[1]], fold * run);
        let (read, slots) = (run.next_multiple_of(unit), taps[0] * taps[1]);
        Geometry { window, pitch: in_channels * size, taps, span, fold, run, read, slots }
    }

    /// The taps of a depthwise convolution over pixels of `pitch` bytes, in whole bundles of `bundle`
    /// taps; nothing beyond the pixel is read.
    pub(crate) fn of_channels(window: Window, pitch: usize, bundle: usize) -> Geometry {
        let slots = window.taps().next_multiple_of(bundle);
        Geometry { window, pitch, taps: window.kernel, span: 1, fold: 1, run: pitch, read: pitch, slots }
    }

    /// Taps that kernels see.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes that matter at a tap.
    pub(crate) fn run(&self) -> usize {
        self.run
    }

    /// Bytes that kernels read at a tap; the length of a border row.
    pub(crate) fn read(&self) -> usize {
        self.read
    }

    /// Where the filter looks.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Whether taps are pixels, of which the kernel reads all bytes.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn reads_pixels(&self) -> bool {
        self.span == 1 && self.read == self.pitch
    }

    /// Whether taps are rows of the kernel.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn reads_rows(&self) -> bool {
        self.span > 1
    }

    /// Rows of the kernel that one tap covers. Where they are several, only kernels that bring their pixels
    /// together can read it.
    pub(crate) fn fold(&self) -> usize {
        self.fold
    }

    /// Vertical and horizontal taps.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn taps(&self) -> [usize; 2] {
        self.taps
    }

    /// Bytes from one pixel of the input to the next.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn pitch(&self) -> usize {
        self.pitch
    }

    /// Columns of the input from the first that an output pixel sees to behind the last.
    fn reach(&self) -> isize {
        ((self.taps[1] - 1) * self.window.dilation[1] + self.span) as isize
    }

    /// Whether each output pixel sees the one input pixel in its place.
    fn is_point(&self) -> bool {
        let Window { kernel, stride, pad_before, pad_after, .. } = self.window;
        kernel == [1; 2] && stride == [1; 2] && pad_before == [0; 2] && pad_after == [0; 2]
    }

    /// Number of output pixels for an input of this batch, height and width.
    pub(crate) fn pixels(&self, [batch, height, width]: [usize; 3]) -> usize {
        let [rows, columns] = self.window.output([height, width]);
        batch * rows * columns
    }
}

/// An input seen through a geometry.
pub(crate) struct Source<'a> {
    geometry: &'a Geometry,
    input: &'a [u8],
    size: [usize; 2],
    output: [usize; 2],
    pixels: usize,
    /// What taps outside the image read: one row for all samples, or one for each.
    borders: &'a [u8],
    border_pitch: usize,
    /// A copy of the input's last bytes with room behind it, for reads that would leave the input.
    tail: Vec<u8>,
}

impl<'a> Source<'a> {
    /// `shape` is batch, height and width of `input`; `borders` holds one row of
    /// [`Geometry::read`] bytes for all samples or one for each.
    pub(crate) fn new(
        geometry: &'a Geometry,
        input: &'a [u8],
        shape: [usize; 3],
        borders: &'a [u8],
    ) -> Source<'a> {
        let [batch, height, width] = shape;
        let count = shape.iter().try_fold(geometry.pitch, |n, &d| n.checked_mul(d));
        assert_eq!(Some(input.len()), count, "input of shape {shape:?} x {} bytes", geometry.pitch);
        let border_pitch = if borders.len() == geometry.read { 0 } else { geometry.read };
        assert!(border_pitch == 0 || borders.len() == batch * geometry.read, "border rows");
        // Where each output sees just its own pixel, a sample is one long row, whose ends nobody meets.
        let size = if geometry.is_point() { [1, height * width] } else { [height, width] };
        let mut source = Source {
            geometry,
            input,
            size,
            output: geometry.window.output(size),
            pixels: geometry.pixels(shape),
            borders,
            border_pitch,
            tail: Vec::new(),
        };
        if geometry.read > geometry.run {
            source.tail.extend_from_slice(&input[source.safe()..]);
            source.tail.resize(source.tail.len() + geometry.read, 0);
        }
        source
    }

    /// Number of output pixels.
    pub(crate) fn pixels(&self) -> usize {
        self.pixels
    }

    /// Number of places in the input from which a whole tap can be read.
    fn safe(&self) -> usize {
        (self.input.len() + 1).saturating_sub(self.geometry.read)
    }
}

/// For kernels that find their own way over the input.
#[cfg(any(target_arch = "x86_64", test))]
impl<'a> Source<'a> {
    /// All bytes of the input.
    pub(crate) fn input(&self) -> &'a [u8] {
        self.input
    }

    /// Height and width of the input.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        self.output
    }

    /// What taps outside the image read: one row for all samples, or one for each.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn borders(&self) -> &'a [u8] {
        self.borders
    }

    /// What taps outside the image read for one sample.
    pub(crate) fn border(&self, sample: usize) -> &'a [u8] {
        &self.borders[sample * self.border_pitch..][..self.geometry.read]
    }

    /// The taps that look at it.
    pub(crate) fn geometry(&self) -> &'a Geometry {
        self.geometry
    }
}

/// Some output pixels, one after the other, and where their taps are.
pub(crate) struct Tile<'a> {
    /// Number of pixels; at least 1. The slots beyond repeat the last pixel.
    pub(crate) rows: usize,
    /// The first output pixel, counted over the whole batch.
    pub(crate) pixel: usize,
    /// The sample of the batch that each pixel belongs to.
    pub(crate) samples: &'a [usize; SLOTS],
    /// For each tap, where each pixel's bytes start: [`Geometry::read`] bytes can be read (the
    /// group's part of them in grouped products).
    pub(crate) pointers: &'a [[*const u8; ROOM]],
}

/// Neighbouring pixels of a tile on one line of the output.
#[derive(Clone, Copy)]
struct Run {
    /// The slots of the pixels.
    start: usize,
    end: usize,
    sample: usize,
    /// Input row and column of the first pixel's first tap, and its place in the input.
    row: isize,
    column: isize,
    place: isize,
}

/// Walks over output pixels and gathers their pointers.
pub(crate) struct Cursor<'a> {
    source: &'a Source<'a>,
    /// Columns of the input from one output pixel to the next.
    stride: isize,
    /// Bytes from an output pixel's place in the input to those of the pixels right of it.
    offsets: [isize; SLOTS],
    pixel: usize,
    sample: usize,
    /// Row and column of the output.
    at: [usize; 2],
    runs: Vec<Run>,
    /// Whether the last tile was one run and all its taps inside the image.
    steady: bool,
    samples: [usize; SLOTS],
    pointers: Vec<[*const u8; ROOM]>,
    /// Long taps that lie partly outside the image, put together here.
    patches: Vec<u8>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a Source<'a>) -> Cursor<'a> {
        let geometry = source.geometry;
        let stride = geometry.window.stride[1];
        let pitch = (stride * geometry.pitch) as isize;
        let patches = if geometry.span > 1 { geometry.slots * SLOTS * geometry.read } else { 0 };
        Cursor {
            source,
            stride: stride as isize,
            offsets: std::array::from_fn(|slot| slot as isize * pitch),
            pixel: 0,
            sample: 0,
            at: [0; 2],
            runs: Vec::with_capacity(SLOTS),
            steady: false,
            samples: [0; SLOTS],
            pointers: vec![[source.borders.as_ptr(); ROOM]; geometry.slots],
            patches: vec![0; patches],
        }
    }

    /// Goes to an output pixel.
    pub(crate) fn seek(&mut self, pixel: usize) {
        let [height, width] = self.source.output;
        self.pixel = pixel;
        self.at = [pixel / width % height, pixel % width];
        self.sample = pixel / (width * height);
        self.steady = false;
    }

    /// The next `rows` (1 to [`SLOTS`]) pixels, their taps starting at byte `first` of a pixel.
    pub(crate) fn gather(&mut self, rows: usize, first: usize) -> Tile<'_> {
        debug_assert!(rows > 0 && rows <= SLOTS && self.pixel + rows <= self.source.pixels);
        if self.continues(rows) {
            self.advance(rows);
        } else {
            self.place(rows, first);
            self.steady = self.point() && !self.near_end();
            if self.source.geometry.span > 1 {
                self.patch();
            }
            if self.near_end() {
                self.keep_inside();
            }
            for pointers in &mut self.pointers {
                let last = pointers[rows - 1];
                pointers[rows..SLOTS].fill(last);
            }
        }
        let tile = Tile { rows, pixel: self.pixel, samples: &self.samples, pointers: &self.pointers };
        self.pixel += rows;
        tile
    }

    /// Whether the next pixels lie right of as many steady ones, all their taps inside the image.
    fn continues(&self, rows: usize) -> bool {
        let Source { geometry, size, output, .. } = *self.source;
        let [run] = self.runs[..] else { return false };
        let last = run.column + self.stride * (2 * rows - 1) as isize;
        self.steady
            && run.end == rows
            && self.at[1] > 0
            && self.at[1] + rows <= output[1]
            && last + geometry.reach() <= size[1] as isize
    }

    /// Moves all pointers right by the pixels of the last tile.
    fn advance(&mut self, rows: usize) {
        let [down, right] = self.source.geometry.taps;
        let bytes = self.offsets[1] * rows as isize;
        for pointers in self.pointers.iter_mut().take(down * right) {
            for pointer in &mut pointers[..SLOTS] {
                *pointer = pointer.wrapping_offset(bytes);
            }
        }
        let run = &mut self.runs[0];
        run.column += self.stride * rows as isize;
        run.place += bytes;
        self.step(rows);
        if self.near_end() {
            self.steady = false;
            self.keep_inside();
        }
    }

    /// Notes where the first taps of the next pixels lie and steps over them.
    fn place(&mut self, rows: usize, first: usize) {
        let Source { geometry, size, output, .. } = *self.source;
        let Window { stride, pad_before, .. } = geometry.window;
        self.runs.clear();
        let mut start = 0;
        while start < rows {
            let row = (self.at[0] * stride[0]) as isize - pad_before[0] as isize;
            let column = (self.at[1] * stride[1]) as isize - pad_before[1] as isize;
            let pixel = ((self.sample * size[0]) as isize + row) * size[1] as isize + column;
            let place = pixel * geometry.pitch as isize + first as isize;
            let sample = self.sample;
            let end = rows.min(start + output[1] - self.at[1]);
            self.runs.push(Run { start, end, sample, row, column, place });
            self.samples[start..].fill(sample);
            self.step(end - start);
            start = end;
        }
    }

    /// Goes some pixels to the right, to the next row from the end of one.
    fn step(&mut self, count: usize) {
        let output = self.source.output;
        self.at[1] += count;
        if self.at[1] == output[1] {
            self.at = [self.at[0] + 1, 0];
            if self.at[0] == output[0] {
                self.at[0] = 0;
                self.sample += 1;
            }
        }
    }

    /// Sets the pointer of every tap of every pixel: into the input, or at the border row. Tells
    /// whether all are neighbours in one row, with all their taps inside the image.
    fn point(&mut self) -> bool {
        let Source { geometry, input, size, borders, border_pitch, .. } = *self.source;
        let dilation = geometry.window.dilation;
        let [tap_rows, tap_columns] = geometry.taps;
        let columns = (size[1] + 1).saturating_sub(geometry.span) as isize;
        let mut steady = self.runs.len() == 1;
        for run in &self.runs {
            let border = borders.as_ptr().wrapping_add(run.sample * border_pitch);
            let first = input.as_ptr().wrapping_offset(run.place);
            let count = run.end - run.start;
            let last = run.column + self.stride * (count - 1) as isize;
            steady &= run.column >= 0 && last + geometry.reach() <= size[1] as isize;
            for (down, taps) in self.pointers.chunks_mut(tap_columns).take(tap_rows).enumerate() {
                let down = down * dilation[0];
                let outside = (run.row + down as isize) as usize >= size[0];
                steady &= !outside;
                for (right, pointers) in taps.iter_mut().enumerate() {
                    // All slots are written, whatever the length of the run: the next run and the
                    // filling of the idle slots put right what lies behind it.
                    let Some(pointers) = pointers[run.start..].first_chunk_mut::<SLOTS>() else { continue };
                    if outside {
                        pointers.fill(border);
                        continue;
                    }
                    let right = right * dilation[1];
                    let place = first.wrapping_add((down * size[1] + right) * geometry.pitch);
                    *pointers = self.offsets.map(|offset| place.wrapping_offset(offset));
                    let mut column = run.column + right as isize;
                    let mut slot = 0;
                    while column < 0 && slot < count {
                        pointers[slot] = border;
                        (slot, column) = (slot + 1, column + self.stride);
                    }
                    let mut column = last + right as isize;
                    let mut slot = count;
                    while column >= columns && slot > 0 {
                        pointers[slot - 1] = border;
                        (slot, column) = (slot - 1, column - self.stride);
                    }
                }
            }
        }
        steady
    }

    /// Puts together the long taps that are partly outside the image.
    fn patch(&mut self) {
        let Source { geometry, input, size, borders, border_pitch, .. } = *self.source;
        let (bytes, span, read) = (geometry.pitch, geometry.span as isize, geometry.read);
        let width = size[1] as isize;
        for run in &self.runs {
            let last = run.column + self.stride * (run.end - run.start - 1) as isize;
            if run.column >= 0 && last + span <= width {
                continue;
            }
            let border = &borders[run.sample * border_pitch..][..read];
            for slot in run.start..run.end {
                let column = run.column + self.stride * (slot - run.start) as isize;
                let (from, to) = (column.max(0), (column + span).min(width));
                if from >= to || to - from == span {
                    continue;
                }
                for tap in 0..geometry.taps[0] {
                    let row = run.row + (tap * geometry.window.dilation[0]) as isize;
                    if row < 0 || row >= size[0] as isize {
                        continue;
                    }
                    let line = run.sample * size[0] + row as usize;
                    let seen = (line * size[1] + from as usize) * bytes;
                    let seen = &input[seen..][..(to - from) as usize * bytes];
                    let patch = &mut self.patches[(tap * SLOTS + slot) * read..][..read];
                    patch.copy_from_slice(border);
                    patch[(from - column) as usize * bytes..][..seen.len()].copy_from_slice(seen);
                    self.pointers[tap][slot] = patch.as_ptr();
                }
            }
        }
    }

    /// Whether some tap of the tile may be read beyond the end of the input.
    fn near_end(&self) -> bool {
        let Source { geometry, size, ref tail, .. } = *self.source;
        let Window { kernel, dilation, .. } = geometry.window;
        let [down, right] = [(kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]];
        let reach = ((down * size[1] + right) * geometry.pitch) as isize;
        let safe = self.source.safe() as isize;
        let end = |run: &Run| run.place + self.offsets[run.end - run.start - 1] + reach;
        !tail.is_empty() && self.runs.iter().any(|run| end(run) >= safe)
    }

    /// Leads the pointers from which a read would leave the input into the copy of its tail.
    fn keep_inside(&mut self) {
        let Source { input, ref tail, .. } = *self.source;
        let unsafe_places = input[self.source.safe()..].as_ptr_range();
        for pointer in self.pointers.iter_mut().flatten() {
            if unsafe_places.contains(pointer) {
                *pointer = tail.as_ptr().wrapping_add(*pointer as usize - unsafe_places.start as usize);
            }
        }
    }
}
