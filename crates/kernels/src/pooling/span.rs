//! Which inputs a window sees along one axis.

use crate::Window;

/// The taps of one output along one axis that lie inside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Input index of the first; 0 where there is none.
    pub(super) first: usize,
    /// How many.
    pub(super) taps: usize,
    /// Distance between neighbours.
    pub(super) step: usize,
}

impl Span {
    /// The span of `output` along `axis` (0 vertical, 1 horizontal) of an input of `len`.
    #[inline(always)]
    pub(super) fn new(window: &Window, axis: usize, len: usize, output: usize) -> Span {
        let step = window.dilation[axis];
        let (start, pad) = (output * window.stride[axis], window.pad_before[axis]);
        let skipped = pad.saturating_sub(start).div_ceil(step);
        let first = start + skipped * step - pad;
        let inside = len.saturating_sub(first).div_ceil(step);
        let taps = inside.min(window.kernel[axis].saturating_sub(skipped));
        Span { first: if taps == 0 { 0 } else { first }, taps, step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_the_taps_inside_the_input() {
        for (kernel, stride, dilation, pad, len) in
            [(3, 1, 1, 1, 5), (3, 2, 2, 2, 7), (5, 3, 1, 4, 4), (2, 1, 3, 3, 4), (3, 2, 1, 0, 6)]
        {
            let window = Window {
                kernel: [kernel, 1],
                stride: [stride, 1],
                dilation: [dilation, 1],
                pad_before: [pad, 0],
                pad_after: [pad, 0],
            };
            for output in 0..window.output([len, 1])[0] {
                let all = (0..kernel).map(|tap| (output * stride + tap * dilation) as isize - pad as isize);
                let inside: Vec<usize> =
                    all.filter(|&i| i >= 0 && i < len as isize).map(|i| i as usize).collect();
                let span = Span::new(&window, 0, len, output);
                let indices: Vec<usize> = (0..span.taps).map(|tap| span.first + tap * span.step).collect();
                assert_eq!(indices, inside, "{window:?} {output}");
            }
        }
    }
}
