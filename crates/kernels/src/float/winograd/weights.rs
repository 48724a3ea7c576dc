//! Packing: each 3x3 filter becomes one weight for each point.

use super::transform::{MOST_POINTS, SIDE_BY_SIDE, Weights, weights};
use crate::Isa;
use crate::float::packed::Packed;
use crate::float::side_by_side::side_by_side;
use crate::multiversion::multiversion;
use crate::prefetch::prefetch;

/// Taps of a window.
const TAPS: usize = 9;
/// Input channels whose weights are brought side by side before they are transformed.
const STEPS: usize = 16;
/// Floats of a cache line.
const LINE: usize = 16;

/// Fills in the matrices of all points from weights `[output channel][taps][depth]`.
pub(super) fn fill<const N: usize>(isa: Isa, points: &mut Packed, weights: &[f32], depth: usize) {
    for panel in 0..points.panels() {
        let lanes = points.lanes(panel);
        let channels = points.channels(panel);
        let own = &weights[channels.start * TAPS * depth..channels.end * TAPS * depth];
        let mut rows: Vec<&mut [f32]> = points.weights(panel).collect();
        let mut together = vec![0.0; STEPS * TAPS * lanes];
        for first in (0..depth).step_by(STEPS) {
            let steps = STEPS.min(depth - first);
            let next = first + steps..(first + 2 * STEPS).min(depth);
            own.chunks_exact(depth).for_each(|row| prefetch(&row[next.clone()]));
            for tap in 0..TAPS {
                let row = |channel: usize| &own[(channel * TAPS + tap) * depth + first..][..steps];
                side_by_side(isa, [channels.len(), steps], row, &mut together[tap * lanes..], TAPS * lanes);
            }
            let filters = &together[..steps * TAPS * lanes];
            match N {
                4 => transform_4(isa, filters, first * lanes, lanes, &mut rows),
                _ => transform_6(isa, filters, first * lanes, lanes, &mut rows),
            }
        }
    }
}

multiversion! {
    fn transform_4(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
        transform::<4>(filters, start, lanes, points);
    }
}

multiversion! {
    fn transform_6(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
        transform::<6>(filters, start, lanes, points);
    }
}

/// Transforms the filters `[taps][lanes]` of some input channels into the `lanes` weights of each channel
/// that begin at `start` in each point's matrix.
#[inline(always)]
fn transform<const N: usize>(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
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
            for (line, point) in lines.iter().zip(points.iter_mut()) {
                let to = &mut point[start + step * lanes + first..][..own];
                // A copy of known length is a move of one register.
                match to.first_chunk_mut() {
                    Some(whole) => *whole = *line,
                    None => to.copy_from_slice(&line[..own]),
                }
            }
        }
    }
}
