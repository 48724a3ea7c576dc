//! Depthwise convolution row by row, for callers that lend the rows of the input one by one.

use std::ops::Range;

use super::patch::{Functions, ROWS};
use super::{Depthwise, Single};
use crate::float::taps::Image;
use crate::pool::DisjointSlice;

/// A depthwise convolution over images of one size.
pub(crate) struct Rows<'a> {
    single: &'a Single,
    functions: &'static Functions,
    image: Image<'a>,
}

impl Depthwise {
    /// It row by row over images of this height and width, if it is computed in patches.
    pub(crate) fn rows(&self, [height, width]: [usize; 2]) -> Option<Rows<'_>> {
        let (single, functions) = self.patches()?;
        let image = Image {
            data: &[],
            shape: [1, height, width],
            channels: single.channels,
            window: single.window,
            output: single.window.output([height, width]),
            zeros: &single.zeros,
        };
        Some(Rows { single, functions, image })
    }
}

impl Rows<'_> {
    /// The rows of the input that some rows of the output see.
    pub(crate) fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        seen(|y, tap| self.image.row(y, tap), self.single.window.kernel[0], rows)
    }

    /// Computes some rows of the output of an image whose rows `line` gives.
    ///
    /// # Panics
    /// When a line or the output has another length, or a row is not of the image.
    pub(crate) fn run<'l>(
        &self,
        rows: Range<usize>,
        line: impl Fn(usize) -> &'l [f32] + Copy,
        output: &mut [f32],
    ) {
        let [height, width] = self.image.output;
        let (channels, across) = (self.single.channels, self.image.shape[2]);
        assert_eq!(output.len(), rows.len() * width * channels, "length of the output rows");
        assert!(rows.end <= height, "rows outside the image");
        let data = DisjointSlice::new(output);
        let output = self.single.output(&data, None);
        for first in rows.clone().step_by(ROWS) {
            let lent = |tap| {
                let line = line(self.image.row(first, tap)?);
                assert_eq!(line.len(), across * channels, "length of an input row");
                Some(line)
            };
            let count = ROWS.min(rows.end - first);
            let pixel = (first - rows.start) * width;
            // SAFETY: the lines have all columns with all channels; the output is borrowed here alone.
            unsafe { self.single.run_rows(self.functions, &self.image, count, lent, pixel, &output) };
        }
    }
}

/// The rows that some rows of the output see, where `row` gives that of each tap.
pub(crate) fn seen(
    row: impl Fn(usize, usize) -> Option<usize>,
    taps: usize,
    rows: &Range<usize>,
) -> Range<usize> {
    let all = || rows.clone().flat_map(|y| (0..taps).map(move |tap| (y, tap)));
    let first = all().filter_map(|(y, tap)| row(y, tap)).min();
    let last = all().filter_map(|(y, tap)| row(y, tap)).max();
    first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
}
