//! Copies of the pixels of a block, as products read them.

use super::super::geometry::Segment;
use super::super::tile::Copy;
use super::{Panels, Task, WeightsGradient};

/// Pixels of a tensor.
struct Pixels<'a> {
    /// The first channel to look at of the first pixel, and how far it is to the next pixel.
    from: &'a [f32],
    apart: usize,
    count: usize,
}

impl WeightsGradient {
    /// Copies what a task sees of the input of a block.
    pub(super) fn copy_inputs(
        &self,
        block: &[Segment],
        task: &Task,
        input: &[f32],
        (to, panel): (&mut [f32], usize),
    ) {
        let (panels, range) =
            if self.transposed { (&self.narrow, &task.narrow) } else { (&self.wide, &task.wide) };
        let [_, height, width] = self.shape;
        let channels = panels.channels(range);
        let skip = task.group * panels.channels + channels.start;
        let [down, across] = [self.geometry.rows.step(), self.geometry.columns.step()];
        for segment in block {
            let ([top, rows], [left, columns]) = (segment.seen_rows, segment.seen_columns);
            for row in 0..rows {
                let pixel = (segment.sample * height + top + row * down) * width + left;
                let from = &input[pixel * self.channels[0] + skip..];
                let pixels = Pixels { from, apart: across * self.channels[0], count: columns };
                let to = &mut to[(segment.input + row * columns) * panels.pitch..];
                self.copy(&pixels, channels.len(), panels, (to, panel), &mut None);
            }
        }
    }

    /// Copies what a task sees of the output's gradient of a block, and adds it up.
    pub(super) fn copy_outputs(
        &self,
        block: &[Segment],
        task: &Task,
        gradient: &[f32],
        (to, panel): (&mut [f32], usize),
        totals: &mut Option<&mut [f32]>,
    ) {
        let (panels, range) =
            if self.transposed { (&self.wide, &task.wide) } else { (&self.narrow, &task.narrow) };
        let [height, width] = self.geometry.output;
        let channels = panels.channels(range);
        let skip = task.group * panels.channels + channels.start;
        for segment in block {
            // Whole rows follow each other.
            let count = segment.rows.len() * segment.columns.len();
            let pixel = (segment.sample * height + segment.rows.start) * width + segment.columns.start;
            let from = &gradient[pixel * self.channels[1] + skip..];
            let pixels = Pixels { from, apart: self.channels[1], count };
            self.copy(
                &pixels,
                channels.len(),
                panels,
                (&mut to[segment.output * panels.pitch..], panel),
                totals,
            );
        }
    }

    /// Copies pixels into panels, and adds them up if there are totals.
    fn copy(
        &self,
        pixels: &Pixels<'_>,
        channels: usize,
        panels: &Panels,
        (to, panel): (&mut [f32], usize),
        totals: &mut Option<&mut [f32]>,
    ) {
        let &Pixels { from, apart, count, .. } = pixels;
        if count == 0 {
            return;
        }
        let &Panels { width, pitch, .. } = panels;
        let of_channels = channels.div_ceil(width);
        assert!((count - 1) * apart + channels <= from.len(), "pixels outside the tensor");
        assert!((of_channels - 1) * panel + count * pitch <= to.len(), "pixels outside the panels");
        let sums = totals.as_mut().map_or(std::ptr::null_mut(), |totals| {
            assert!(of_channels * pitch <= totals.len(), "totals of all channels");
            totals.as_mut_ptr()
        });
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        let copy = Copy { from, apart, pixels: count, channels, width, to, panel, sums };
        let function = self.functions.copy(pitch / self.functions.lanes, !sums.is_null());
        // SAFETY: `functions` checked the instruction set; bounds were just checked.
        unsafe { function(&copy) };
    }

    /// Copies the input rows that a block sees with their padding.
    pub(super) fn copy_lines(&self, block: &[Segment], input: &[f32], to: &mut [f32]) {
        let [_, height, width] = self.shape;
        let (channels, padding, down) =
            (self.channels[0], self.geometry.columns.padding, self.geometry.rows.step());
        for segment in block {
            let ([top, rows], [left, columns]) = (segment.seen_rows, segment.seen_columns);
            // Columns of the padded line before the image, and of the image.
            let before = padding.saturating_sub(left).min(columns);
            let first = (left + before).saturating_sub(padding).min(width);
            let count = (width - first).min(columns - before);
            for row in 0..rows {
                let line = &input[(segment.sample * height + top + row * down) * width * channels..];
                let to = &mut to[(segment.input + row * columns) * channels..][..columns * channels];
                let (zeros, to) = to.split_at_mut(before * channels);
                let (to, more) = to.split_at_mut(count * channels);
                zeros.fill(0.0);
                to.copy_from_slice(&line[first * channels..][..count * channels]);
                more.fill(0.0);
            }
        }
    }
}
