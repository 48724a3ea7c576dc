//! Work cut into tasks, and where tasks write.

use std::ops::Range;

use crate::pool::DisjointSlice;

/// Multiply-accumulates that keep a thread busy for some ten microseconds: where there are more
/// tasks than threads, they are not smaller than that.
const TASK: usize = 1 << 21;

/// Multiply-accumulates (about a microsecond's) that are not worth waking a thread for.
const LITTLE: usize = 1 << 17;

/// Tasks for each thread where the work is large enough, so that a disturbed thread can be helped.
const TASKS_PER_THREAD: usize = 4;

/// Bytes of weights that are better not read by every thread: a part of the second-level cache.
pub(crate) const MANY_WEIGHTS: usize = 128 << 10;

/// Panels are dealt out in pairs: two panels of a pixel share a cache line, which two threads
/// should not both write to.
const PAIR: usize = 2;

/// What there is to cut: a table of pixels x panels.
pub(crate) struct Work {
    /// Output pixels, or other things of which each task should have some.
    pub(crate) pixels: usize,
    /// Most pixels of a tile.
    pub(crate) rows: usize,
    /// Pixels that parts have multiples of, the last aside; at most `rows`.
    pub(crate) unit: usize,
    /// Panels of output channels.
    pub(crate) panels: usize,
    /// Bytes of weights, and from how many on not every thread should read them.
    pub(crate) weights: usize,
    pub(crate) many_weights: usize,
    /// Multiply-accumulates of it all, or how many would take as long.
    pub(crate) products: usize,
}

/// A table of pixels x panels cut into parts.
pub(crate) struct Grid {
    pixels: usize,
    panels: usize,
    pixel_parts: usize,
    panel_parts: usize,
    /// Pixels that parts have multiples of, the last aside.
    unit: usize,
}

impl Grid {
    /// A cut for this many threads.
    pub(crate) fn new(work: &Work, threads: usize) -> Grid {
        let &Work { pixels, rows, unit, panels, weights, many_weights, products } = work;
        let (mut pixel_parts, mut panel_parts) = (1, 1);
        if threads > 1 && products >= LITTLE {
            let wanted = threads * (products / TASK / threads).clamp(1, TASKS_PER_THREAD);
            // Small images with many weights: each thread reads a part of the weights. Otherwise
            // each thread reads a part of the image.
            let small = pixels <= 14 * rows && panels >= 4 * threads && weights >= many_weights;
            if small || pixels < rows {
                panel_parts = wanted.min(panels.div_ceil(PAIR));
            }
            pixel_parts = wanted.div_ceil(panel_parts).min(pixels.div_ceil(rows));
        }
        Grid { pixels, panels, pixel_parts, panel_parts, unit }
    }

    /// Number of parts.
    pub(crate) fn tasks(&self) -> usize {
        self.pixel_parts * self.panel_parts
    }

    /// The pixels and panels of one part.
    pub(crate) fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (pixel, panel) = (task / self.panel_parts, task % self.panel_parts);
        let pairs = share(self.panels.div_ceil(PAIR), self.panel_parts, panel);
        let panels = PAIR * pairs.start..self.panels.min(PAIR * pairs.end);
        (share_units(self.pixels, self.unit, self.pixel_parts, pixel), panels)
    }
}

/// Share `index` of `count` things dealt out as evenly as can be.
pub(crate) fn share(count: usize, shares: usize, index: usize) -> Range<usize> {
    count * index / shares..count * (index + 1) / shares
}

/// The same of `count` things that are not to be parted within units, the last of which may be smaller.
fn share_units(count: usize, unit: usize, shares: usize, index: usize) -> Range<usize> {
    let units = share(count.div_ceil(unit), shares, index);
    units.start * unit..count.min(units.end * unit)
}

/// An output `[pixels, channels]` that tasks write to at the same time, each its own elements.
pub(crate) struct Target<'a, T> {
    output: DisjointSlice<'a, T>,
    channels: usize,
}

impl<'a, T> Target<'a, T> {
    /// All of `output`, `channels` elements to a pixel.
    pub(crate) fn new(output: &'a mut [T], channels: usize) -> Target<'a, T> {
        Target { output: DisjointSlice::new(output), channels }
    }

    /// The outputs of `count` channels of a pixel, from `channel` on.
    ///
    /// # Safety
    /// Nobody else holds these elements meanwhile.
    #[expect(clippy::mut_from_ref, reason = "tasks share the target and write disjoint elements")]
    pub(crate) unsafe fn slice(&self, pixel: usize, channel: usize, count: usize) -> &mut [T] {
        let first = pixel * self.channels + channel;
        // SAFETY: held by no one else, as the caller promises.
        unsafe { self.output.piece(first..first + count) }
    }
}

/// For kernels that write vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<T> Target<'_, T> {
    /// Elements from one pixel to the next.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Where the output of `count` channels of a pixel goes, from `channel` on.
    pub(crate) fn at(&self, pixel: usize, channel: usize, count: usize) -> *mut T {
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
        let sizes = [(49, 16, 2), (3136, 2, 2), (1, 32, 4), (1, 1, 4), (1, 7, 4), (196, 35, 3)];
        let sizes = sizes.into_iter().flat_map(|size| [1, 2, 14].map(|unit| (size, unit)));
        for ((pixels, panels, threads), unit) in sizes {
            let work = Work {
                pixels,
                rows: 14,
                unit,
                panels,
                weights: 1 << 20,
                many_weights: MANY_WEIGHTS,
                products: 1 << 24,
            };
            let grid = Grid::new(&work, threads);
            let mut seen = vec![0; pixels * panels];
            for task in 0..grid.tasks() {
                let (rows, columns) = grid.part(task);
                assert!(!rows.is_empty() && !columns.is_empty());
                rows.for_each(|r| columns.clone().for_each(|c| seen[r * panels + c] += 1));
            }
            assert!(seen.iter().all(|&n| n == 1), "{pixels} x {panels} on {threads}");
        }
    }

    #[test]
    fn little_work_stays_in_one_task() {
        let work = Work {
            pixels: 49,
            rows: 14,
            unit: 1,
            panels: 4,
            weights: 1 << 20,
            many_weights: MANY_WEIGHTS,
            products: 1 << 16,
        };
        assert_eq!(Grid::new(&work, 8).tasks(), 1);
    }
}
