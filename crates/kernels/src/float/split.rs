//! How the output is cut: into tiles of pixels, and into tasks for the threads.

use std::ops::Range;

/// Multiply-adds below which a task is not worth handing to another thread (some 2 us).
const LEAST_WORK: usize = 100_000;
/// Tasks per thread, so that an early finisher takes work from a late one: fewer where every task
/// has to look at all pixels.
const TASKS_OVER_TILES: usize = 4;
const TASKS_OVER_PANELS: usize = 2;

/// A grid of tasks over tiles of pixels and panels of output channels.
pub(super) struct Split {
    pixels: usize,
    tiles: usize,
    panels: usize,
    tile_parts: usize,
    panel_parts: usize,
}

/// What there is to split.
pub(super) struct Work {
    /// Output pixels over the whole batch.
    pub(super) pixels: usize,
    /// Most pixels in a tile.
    pub(super) most_pixels: usize,
    /// Panels of output channels.
    pub(super) panels: usize,
    /// Multiply-adds of one pixel.
    pub(super) work_per_pixel: usize,
    /// Floats read and written per pixel and floats of weights: the larger of the two is better
    /// not handled by every thread.
    pub(super) floats_per_pixel: usize,
    pub(super) weights: usize,
}

impl Split {
    /// Splits for `threads` threads.
    pub(super) fn new(work: &Work, threads: usize) -> Split {
        let &Work { pixels, most_pixels, panels, .. } = work;
        let tiles = pixels.div_ceil(most_pixels);
        let by_tiles = tiles >= threads
            && (pixels.saturating_mul(work.floats_per_pixel) >= work.weights
                || idle(panels, threads) > idle(tiles, threads) + 0.1);
        let per_thread = if by_tiles { TASKS_OVER_TILES } else { TASKS_OVER_PANELS };
        let worth = pixels.saturating_mul(work.work_per_pixel) / LEAST_WORK;
        let tasks = if threads == 1 { 1 } else { worth.clamp(1, threads * per_thread) };
        let share = |first: usize, second: usize| {
            let parts = first.min(tasks);
            (parts, tasks.div_ceil(parts.max(1)).min(second))
        };
        let (tile_parts, panel_parts) = if by_tiles {
            share(tiles, panels)
        } else {
            let (panel_parts, tile_parts) = share(panels, tiles);
            (tile_parts, panel_parts)
        };
        Split { pixels, tiles, panels, tile_parts, panel_parts }
    }

    /// Number of tasks.
    pub(super) fn tasks(&self) -> usize {
        self.tile_parts * self.panel_parts
    }

    /// Whether several tasks have the same pixels, and each some of the panels.
    pub(super) fn shares_pixels(&self) -> bool {
        self.panel_parts > 1
    }

    /// The tiles and the panels of a task.
    pub(super) fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let tiles = part(self.tiles, index / self.panel_parts, self.tile_parts);
        let panels = part(self.panels, index % self.panel_parts, self.panel_parts);
        (tiles, panels)
    }

    /// The pixels of some tiles: all tiles have the same number or one less.
    pub(super) fn pixels(&self, tiles: Range<usize>) -> Range<usize> {
        self.pixels * tiles.start / self.tiles..self.pixels * tiles.end / self.tiles
    }
}

/// The share of the threads' time that passes in vain when so many equal things are dealt out.
fn idle(things: usize, threads: usize) -> f64 {
    1.0 - things as f64 / (things.div_ceil(threads) * threads) as f64
}

/// Part `index` of `total` things in `parts` even parts.
pub(crate) fn part(total: usize, index: usize, parts: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_everything_once() {
        for threads in [1, 2, 7] {
            for (pixels, panels) in [(1, 1), (1, 40), (49, 5), (3136, 2), (200, 9)] {
                for weights in [0, usize::MAX] {
                    let work = Work {
                        pixels,
                        most_pixels: 14,
                        panels,
                        work_per_pixel: 1 << 20,
                        floats_per_pixel: 64,
                        weights,
                    };
                    let split = Split::new(&work, threads);
                    let mut seen = vec![0; pixels * panels];
                    for task in 0..split.tasks() {
                        let (tiles, task_panels) = split.task(task);
                        for pixel in split.pixels(tiles) {
                            task_panels.clone().for_each(|panel| seen[pixel * panels + panel] += 1);
                        }
                    }
                    assert!(seen.iter().all(|&times| times == 1), "{threads} {pixels} {panels}");
                }
            }
        }
    }

    #[test]
    fn small_work_stays_in_one_task() {
        let work = Work {
            pixels: 49,
            most_pixels: 14,
            panels: 4,
            work_per_pixel: 100,
            floats_per_pixel: 64,
            weights: 64,
        };
        assert_eq!(Split::new(&work, 8).tasks(), 1);
    }
}
