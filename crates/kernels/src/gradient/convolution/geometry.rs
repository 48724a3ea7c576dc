//! Which input pixels meet which output pixels, block by block.

use std::ops::Range;

use crate::Window;

/// Output pixels of a block, about: of both tensors, what a task reads of a block stays in the
/// second-level cache.
const PIXELS: usize = 256;

/// A window along one axis of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pub(super) padding: usize,
    inputs: usize,
}

impl Axis {
    pub(super) fn of(window: &Window, axis: usize, inputs: usize) -> Axis {
        Axis {
            kernel: window.kernel[axis],
            stride: window.stride[axis],
            dilation: window.dilation[axis],
            padding: window.pad_before[axis],
            inputs,
        }
    }

    /// Those of some outputs whose tap `tap` is no padding.
    fn inside(&self, outputs: &Range<usize>, tap: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        let [start, end] = [self.padding, self.padding + self.inputs]
            .map(|end| end.saturating_sub(shift).div_ceil(self.stride));
        let start = start.clamp(outputs.start, outputs.end);
        start..end.clamp(start, outputs.end)
    }

    /// The input that an output sees through a tap that is no padding.
    fn input(&self, output: usize, tap: usize) -> usize {
        output * self.stride + tap * self.dilation - self.padding
    }

    /// From an input that is copied to the next.
    pub(super) fn step(&self) -> usize {
        if self.kernel == 1 { self.stride } else { 1 }
    }

    /// Copied inputs from what a tap sees of an output to what it sees of the next.
    fn advance(&self) -> usize {
        if self.kernel == 1 { 1 } else { self.stride }
    }

    /// The first input that some outputs see, and how many in [`step`](Axis::step)s, without padding.
    fn seen(&self, outputs: &Range<usize>) -> [usize; 2] {
        if self.kernel == 1 {
            let inside = self.inside(outputs, 0);
            return if inside.is_empty() { [0, 0] } else { [self.input(inside.start, 0), inside.len()] };
        }
        let behind = (outputs.end - 1) * self.stride + (self.kernel - 1) * self.dilation + 1;
        let [start, end] =
            [outputs.start * self.stride, behind].map(|at| at.saturating_sub(self.padding).min(self.inputs));
        [start, end - start]
    }
}

/// Some output pixels of one sample, and the input pixels that they see.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) sample: usize,
    /// Output rows and columns.
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// The first input row and column, and how many.
    pub(super) seen_rows: [usize; 2],
    pub(super) seen_columns: [usize; 2],
    /// Pixels of the block before those of this segment: of the output and of the input.
    pub(super) output: usize,
    pub(super) input: usize,
}

/// Pixels that lie one after the other in the copies of both tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) count: usize,
}

/// The geometry of a convolution, and its output in blocks.
pub(super) struct Geometry {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    /// Whether copies of input rows have their padding, so that the taps of a row lie side by side.
    pub(super) padded: bool,
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    pub(super) blocks: Vec<Vec<Segment>>,
}

impl Geometry {
    /// For an input of `shape` = batch, height, width.
    pub(super) fn new(window: &Window, [batch, height, width]: [usize; 3], padded: bool) -> Geometry {
        let (rows, columns) = (Axis::of(window, 0, height), Axis::of(window, 1, width));
        let [out_height, out_width] = window.output([height, width]);
        let output = [out_height, out_width];
        let mut geometry = Geometry { rows, columns, padded, output, blocks: Vec::new() };
        let lines = batch * out_height;
        if lines == 0 || out_width == 0 {
            return geometry;
        }
        let per_line = out_width.div_ceil(PIXELS);
        if per_line > 1 {
            for line in 0..lines {
                for part in 0..per_line {
                    let columns = out_width * part / per_line..out_width * (part + 1) / per_line;
                    geometry.add(line..line + 1, out_height, columns);
                }
            }
            return geometry;
        }
        let blocks = lines.div_ceil((PIXELS / out_width).max(1));
        for block in 0..blocks {
            geometry.add(lines * block / blocks..lines * (block + 1) / blocks, out_height, 0..out_width);
        }
        geometry
    }

    /// Adds a block of some lines, counted over the batch.
    fn add(&mut self, lines: Range<usize>, height: usize, columns: Range<usize>) {
        let mut block: Vec<Segment> = Vec::new();
        let (mut output, mut input) = (0, 0);
        let mut line = lines.start;
        while line < lines.end {
            let (sample, first) = (line / height, line % height);
            let count = (height - first).min(lines.end - line);
            let rows = first..first + count;
            let seen_rows = self.rows.seen(&rows);
            let seen_columns = if self.padded {
                [
                    columns.start * self.columns.stride,
                    (columns.len() - 1) * self.columns.stride + self.columns.kernel,
                ]
            } else {
                self.columns.seen(&columns)
            };
            let columns = columns.clone();
            let (outputs, inputs) = (count * columns.len(), seen_rows[1] * seen_columns[1]);
            block.push(Segment { sample, rows, columns, seen_rows, seen_columns, output, input });
            (output, input, line) = (output + outputs, input + inputs, line + count);
        }
        self.blocks.push(block);
    }

    /// The most pixels that a block has: of the input and of the output.
    pub(super) fn most_pixels(&self) -> [usize; 2] {
        let most = |pixels: fn(&Segment) -> usize| {
            self.blocks.iter().map(|block| block.iter().map(pixels).sum()).max().unwrap_or(0)
        };
        [
            most(|segment| segment.seen_rows[1] * segment.seen_columns[1]),
            most(|segment| segment.rows.len() * segment.columns.len()),
        ]
    }

    /// From the copied input that a tap sees of an output to what it sees of the output's neighbour.
    pub(super) fn advance(&self) -> usize {
        if self.padded { self.columns.stride } else { self.columns.advance() }
    }

    /// Finds the pixels of a block that see more than padding through a tap `[row, column]`. Of padded
    /// rows, the column is 0 and everything is seen.
    pub(super) fn find_runs(&self, block: &[Segment], [row, column]: [usize; 2], runs: &mut Vec<Run>) {
        runs.clear();
        for segment in block {
            let columns = if self.padded {
                segment.columns.clone()
            } else {
                self.columns.inside(&segment.columns, column)
            };
            if columns.is_empty() {
                continue;
            }
            let right = if self.padded {
                0
            } else {
                (self.columns.input(columns.start, column) - segment.seen_columns[0]) / self.columns.step()
            };
            for y in self.rows.inside(&segment.rows, row) {
                let down = (self.rows.input(y, row) - segment.seen_rows[0]) / self.rows.step();
                let input = segment.input + down * segment.seen_columns[1] + right;
                let output =
                    segment.output + (y - segment.rows.start) * segment.columns.len() + columns.start
                        - segment.columns.start;
                let run = Run { input, output, count: columns.len() };
                match runs.last_mut() {
                    Some(last)
                        if last.input + last.count * self.advance() == input
                            && last.output + last.count == output =>
                    {
                        last.count += run.count;
                    }
                    _ => runs.push(run),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_one_run() {
        let geometry = Geometry::new(&Window::POINT, [1, 1, 600], false);
        assert_eq!(geometry.blocks.len(), 3);
        assert_eq!(geometry.most_pixels(), [200, 200]);
        let mut runs = Vec::new();
        geometry.find_runs(&geometry.blocks[1], [0, 0], &mut runs);
        assert_eq!(runs, [Run { input: 0, output: 0, count: 200 }]);
    }

    #[test]
    fn padding_is_left_out() {
        let window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
        let geometry = Geometry::new(&window, [2, 2, 3], false);
        assert_eq!((geometry.blocks.len(), geometry.most_pixels()), (1, [12, 12]));
        let mut runs = Vec::new();
        geometry.find_runs(&geometry.blocks[0], [0, 2], &mut runs);
        // The lower row of either sample sees the upper one, from its second pixel on.
        assert_eq!(runs, [Run { input: 1, output: 3, count: 2 }, Run { input: 7, output: 9, count: 2 }]);
    }

    #[test]
    fn strides_of_a_point_copy_only_what_is_seen() {
        let window = Window { stride: [2; 2], ..Window::POINT };
        let geometry = Geometry::new(&window, [1, 5, 7], false);
        assert_eq!(geometry.most_pixels(), [12, 12]);
        let mut runs = Vec::new();
        geometry.find_runs(&geometry.blocks[0], [0, 0], &mut runs);
        assert_eq!(runs, [Run { input: 0, output: 0, count: 12 }]);
    }
}
