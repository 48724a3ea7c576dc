//! Packing: each 3x3 filter becomes one weight for each point.

use std::ops::Range;

use super::transform::{MOST_POINTS, SIDE_BY_SIDE, Weights, weights};
use crate::float::filters::Filters;
use crate::float::packed::Packed;
use crate::float::workspace::with_workspace;
use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Taps of a window.
const TAPS: usize = 9;
/// Input channels whose weights are brought side by side before they are transformed.
const STEPS: usize = 16;
/// Floats of a cache line.
const LINE: usize = 16;

/// Fills in the matrices of all points from weights of nine taps and `depth` input channels.
pub(super) fn fill<const N: usize>(
    isa: Isa,
    pool: &ThreadPool,
    points: &mut Packed,
    filters: Filters<'_>,
    depth: usize,
) {
    let panels: Vec<Panel> = (0..points.panels())
        .map(|panel| {
            let [start, apart] = points.place(panel);
            Panel { start, apart, lanes: points.lanes(panel), channels: points.channels(panel) }
        })
        .collect();
    let data = DisjointSlice::new(points.data());
    let blocks = depth.div_ceil(STEPS);
    pool.run(panels.len() * blocks, &|task| {
        let Panel { start, apart, lanes, channels } = &panels[task / blocks];
        let first = task % blocks * STEPS;
        let steps = STEPS.min(depth - first);
        if first == 0 {
            for point in 0..N * N {
                let bias = *start + point * apart;
                // SAFETY: as below; the biases stand before the weights.
                unsafe { data.piece(bias - lanes..bias).fill(0.0) };
            }
        }
        let start = start + first * lanes;
        // SAFETY: matrices, panels and blocks of input channels do not overlap.
        let mut rows: [&mut [f32]; MOST_POINTS * MOST_POINTS] = std::array::from_fn(|point| unsafe {
            let rows = if point < N * N {
                start + point * apart..start + point * apart + steps * lanes
            } else {
                0..0
            };
            data.piece(rows)
        });
        with_workspace(steps * TAPS * lanes, |together| {
            if channels.len() < *lanes {
                together.fill(0.0);
            }
            for tap in 0..TAPS {
                let own = [channels.start, channels.len()];
                filters.prefetch(tap, own, [first + steps, STEPS]);
                filters.gather(isa, tap, own, [first, steps], &mut together[tap * lanes..], TAPS * lanes);
            }
            match N {
                4 => transform_4(isa, together, *lanes, &mut rows),
                _ => transform_6(isa, together, *lanes, &mut rows),
            }
        });
    });
}

/// A panel of the points' matrices.
struct Panel {
    /// Where its weights begin in the first point's matrix, and from there to the next point's.
    start: usize,
    apart: usize,
    lanes: usize,
    channels: Range<usize>,
}

multiversion! {
    fn transform_4(filters: &[f32], lanes: usize, points: &mut [&mut [f32]]) {
        transform::<4>(filters, lanes, points);
    }
}

multiversion! {
    fn transform_6(filters: &[f32], lanes: usize, points: &mut [&mut [f32]]) {
        transform::<6>(filters, lanes, points);
    }
}

/// Transforms the filters `[taps][lanes]` of some input channels into the `lanes` weights of each channel
/// in each point's matrix.
#[inline(always)]
fn transform<const N: usize>(filters: &[f32], lanes: usize, points: &mut [&mut [f32]]) {
    // The points' matrices lie far apart: they are written a cache line at a time.
    let mut lines = [[0.0; LINE]; MOST_POINTS * MOST_POINTS];
    for (step, filters) in filters.chunks_exact(TAPS * lanes).enumerate() {
        for first in (0..lanes).step_by(LINE) {
            let own = LINE.min(lanes - first);
            for lane in (0..own).step_by(SIDE_BY_SIDE) {
                let tap = |y: usize, x: usize| -> Weights {
                    let taps = &filters[(y * 3 + x) * lanes + first + lane..][..SIDE_BY_SIDE];
                    std::array::from_fn(|i| taps[i].into())
                };
                let rows = [0, 1, 2].map(|y| weights::<N>([tap(y, 0), tap(y, 1), tap(y, 2)]));
                for x in 0..N {
                    let column = weights::<N>([rows[0][x], rows[1][x], rows[2][x]]);
                    for (y, values) in column.iter().enumerate().take(N) {
                        let to = &mut lines[y * N + x][lane..][..SIDE_BY_SIDE];
                        to.iter_mut().zip(values).for_each(|(to, value)| *to = *value as f32);
                    }
                }
            }
            for (line, point) in lines.iter().zip(points.iter_mut()).take(N * N) {
                let to = &mut point[step * lanes + first..][..own];
                // A call of a copying function would take longer than the copy.
                match to.first_chunk_mut::<LINE>() {
                    Some(to) => *to = *line,
                    None => to.copy_from_slice(&line[..own]),
                }
            }
        }
    }
}
