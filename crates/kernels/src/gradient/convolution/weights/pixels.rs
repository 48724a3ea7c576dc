//! Gradients of the weights of convolutions of single pixels, for callers that bring the pixels piece by
//! piece.

use super::super::geometry::{Run, Segment};
use super::{Task, WeightsGradient};
use crate::float::workspace::with_workspace;
use crate::pool::DisjointSlice;

impl WeightsGradient {
    /// Channels of input and output.
    pub(in crate::gradient) fn channels(&self) -> [usize; 2] {
        self.channels
    }

    /// Adds what some pixels contribute to the sums of a section, or begins them. `sums` has those of all
    /// sections; [`finish`](WeightsGradient::finish) adds them up.
    ///
    /// # Panics
    /// When the window has several taps or there are groups, or a slice has another length.
    pub(in crate::gradient) fn add_pixels(
        &self,
        input: &[f32],
        gradient: &[f32],
        add: bool,
        section: usize,
        sums: &DisjointSlice<'_, f32>,
    ) {
        let [inputs, outputs] = self.channels;
        let pixels = input.len() / inputs;
        assert!(self.taps == [1; 2] && self.groups == 1, "a convolution of single pixels");
        assert_eq!([input.len(), gradient.len()], [pixels * inputs, pixels * outputs], "whole pixels");
        let segment = Segment {
            sample: 0,
            rows: 0..1,
            columns: 0..pixels,
            seen_rows: [0, 1],
            seen_columns: [0, pixels],
            output: 0,
            input: 0,
        };
        let (narrow, wide) = (0..self.narrow.count, 0..self.wide.count);
        let task = Task { group: 0, narrow, wide, taps: 0..1, blocks: 0..1, section };
        let (narrow_panel, wide_panel) = (pixels * self.narrow.pitch, pixels * self.wide.pitch);
        let narrow_len = narrow_panel * self.narrow.count;
        with_workspace(narrow_len + wide_panel * self.wide.count, |space| {
            let (narrow, wide) = space.split_at_mut(narrow_len);
            let (of_input, of_output) = if self.transposed {
                ((&mut *narrow, narrow_panel), (&mut *wide, wide_panel))
            } else {
                ((&mut *wide, wide_panel), (&mut *narrow, narrow_panel))
            };
            self.copy_inputs(std::slice::from_ref(&segment), &task, input, of_input);
            self.copy_outputs(std::slice::from_ref(&segment), &task, gradient, of_output, &mut None);
            let runs = [Run { input: 0, output: 0, count: pixels }];
            let panels = [(&*narrow, narrow_panel), (&*wide, wide_panel)];
            self.multiply(&task, 0, add, &runs, panels, &mut std::iter::empty(), sums);
        });
    }
}
