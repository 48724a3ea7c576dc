//! Work cut into tasks, and where tasks write.

use std::ops::Range;

use crate::pool::DisjointSlice;

/// Multiply-accumulates that keep a thread busy for a few tens of microseconds: tasks are not cut
/// much below that.
const TASK: usize = 1 << 21;

/// Tasks for each thread where the work is large enough, so that a disturbed thread can be helped.
const TASKS_PER_THREAD: usize = 4;

/// A table of `pixels` x `panels` cut into parts.
pub(super) struct Grid {
    pixels: usize,
    panels: usize,
    pixel_parts: usize,
    panel_parts: usize,
}

impl Grid {
    /// A cut for this many threads of a job that takes `work` multiply-accumulates and computes
    /// tiles of `rows` pixels.
    pub(super) fn new(pixels: usize, panels: usize, rows: usize, work: usize, threads: usize) -> Grid {
        let (mut pixel_parts, mut panel_parts) = (1, 1);
        if threads > 1 {
            // Small images with many channels: each thread reads a part of the weights. Otherwise
            // each thread reads a part of the image.
            let wanted = threads * (work / TASK / threads).clamp(1, TASKS_PER_THREAD);
            if pixels <= 14 * rows && panels >= 4 * threads || pixels < rows {
                panel_parts = wanted.min(panels);
            }
            pixel_parts = wanted.div_ceil(panel_parts).min(pixels.div_ceil(rows));
        }
        Grid { pixels, panels, pixel_parts, panel_parts }
    }

    /// Number of parts.
    pub(super) fn tasks(&self) -> usize {
        self.pixel_parts * self.panel_parts
    }

    /// The pixels and panels of one part.
    pub(super) fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (pixel, panel) = (task / self.panel_parts, task % self.panel_parts);
        (share(self.pixels, self.pixel_parts, pixel), share(self.panels, self.panel_parts, panel))
    }
}

/// Share `index` of `count` things dealt out as evenly as can be.
pub(super) fn share(count: usize, shares: usize, index: usize) -> Range<usize> {
    count * index / shares..count * (index + 1) / shares
}

/// An output `[pixels, channels]` that tasks write to at the same time, each its own elements.
pub(super) struct Target<'a, T> {
    output: DisjointSlice<'a, T>,
    channels: usize,
}

impl<'a, T> Target<'a, T> {
    /// All of `output`, `channels` elements to a pixel.
    pub(super) fn new(output: &'a mut [T], channels: usize) -> Target<'a, T> {
        Target { output: DisjointSlice::new(output), channels }
    }

    /// The outputs of `count` channels of a pixel, from `channel` on.
    ///
    /// # Safety
    /// Nobody else holds these elements meanwhile.
    #[expect(clippy::mut_from_ref, reason = "tasks share the target and write disjoint elements")]
    pub(super) unsafe fn slice(&self, pixel: usize, channel: usize, count: usize) -> &mut [T] {
        let first = pixel * self.channels + channel;
        // SAFETY: held by no one else, as the caller promises.
        unsafe { self.output.piece(first..first + count) }
    }
}

/// For kernels that write vectors.
#[cfg(target_arch = "x86_64")]
impl<T> Target<'_, T> {
    /// Elements from one pixel to the next.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Where the output of `count` channels of a pixel goes, from `channel` on.
    pub(super) fn at(&self, pixel: usize, channel: usize, count: usize) -> *mut T {
        let first = pixel * self.channels + channel;
        debug_assert!(channel + count <= self.channels && first + count <= self.output.len());
        self.output.as_ptr().wrapping_add(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_table_once() {
        for (pixels, panels, threads) in [(49, 16, 2), (3136, 2, 2), (1, 32, 4), (1, 1, 4), (196, 3, 3)] {
            let grid = Grid::new(pixels, panels, 14, usize::MAX, threads);
            let mut seen = vec![0; pixels * panels];
            for task in 0..grid.tasks() {
                let (rows, columns) = grid.part(task);
                assert!(!rows.is_empty() && !columns.is_empty());
                rows.for_each(|r| columns.clone().for_each(|c| seen[r * panels + c] += 1));
            }
            assert!(seen.iter().all(|&n| n == 1), "{pixels} x {panels} on {threads}");
        }
    }
}
