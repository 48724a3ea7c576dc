//! Which outputs an input took part in, along one axis: the way back of a window or a resize.

use crate::Window;

/// For each input position along an axis, the output positions that it took part in, each with what
/// it was there (a weight, the number of a tap).
pub(super) struct Contributions<W> {
    /// Where the entries of each input begin, and the number of entries behind.
    starts: Vec<usize>,
    entries: Vec<(usize, W)>,
}

impl<W: Copy> Contributions<W> {
    /// Sorts `(input, output, what)` by input; those of one input keep their order.
    pub(super) fn new(inputs: usize, mut triples: Vec<(usize, usize, W)>) -> Contributions<W> {
        triples.sort_by_key(|&(input, ..)| input);
        let starts = (0..=inputs).map(|i| triples.partition_point(|&(input, ..)| input < i)).collect();
        Contributions {
            starts,
            entries: triples.into_iter().map(|(_, output, what)| (output, what)).collect(),
        }
    }

    /// The outputs that `input` took part in.
    #[inline(always)]
    pub(super) fn of(&self, input: usize) -> &[(usize, W)] {
        &self.entries[self.starts[input]..self.starts[input + 1]]
    }
}

impl Contributions<usize> {
    /// What an axis (0 vertical, 1 horizontal) of a window sees of an input of `len`: the numbers of
    /// the taps along the axis.
    pub(super) fn of_window(
        window: &Window,
        axis: usize,
        [len, outputs]: [usize; 2],
    ) -> Contributions<usize> {
        let taps = (0..outputs).flat_map(|output| (0..window.kernel[axis]).map(move |tap| (output, tap)));
        let triples = taps.filter_map(|(output, tap)| {
            let at = (output * window.stride[axis] + tap * window.dilation[axis])
                .checked_sub(window.pad_before[axis])?;
            (at < len).then_some((at, output, tap))
        });
        Contributions::new(len, triples.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_find_their_outputs_and_taps() {
        let window = Window { kernel: [3, 1], stride: [2, 1], pad_before: [1, 0], ..Window::POINT };
        // Outputs see -1 0 1, 1 2 3 of the inputs 0 1 2 3 4.
        let contributions = Contributions::of_window(&window, 0, [5, 2]);
        let all: Vec<_> = (0..5).map(|input| contributions.of(input)).collect();
        let expected: [&[(usize, usize)]; 5] = [&[(0, 1)], &[(0, 2), (1, 0)], &[(1, 1)], &[(1, 2)], &[]];
        assert_eq!(all, expected);
    }
}
