//! Packing: each 3x3 filter becomes one weight for each point.

use super::transform::{SIDE_BY_SIDE, Weights, weights};
use crate::Isa;
use crate::float::packed::Packed;
use crate::multiversion::multiversion;

/// Taps of a window.
const TAPS: usize = 9;
/// Input channels whose weights are brought side by side before they are transformed.
const STEPS: usize = 16;

/// Fills in the matrices of all points from weights `[output channel][taps][depth]`.
pub(super) fn fill<const N: usize>(isa: Isa, points: &mut Packed, weights: &[f32], depth: usize) {
    for panel in 0..points.panels() {
        let lanes = points.lanes(panel);
        let channels = points.channels(panel);
        let own = &weights[channels.start * TAPS * depth..channels.end * TAPS * depth];
        let mut rows: Vec<&mut [f32]> = points.weights(panel).collect();
        let mut side_by_side = vec![0.0; STEPS * TAPS * lanes];
        for first in (0..depth).step_by(STEPS) {
            let steps = STEPS.min(depth - first);
            for (lane, filter) in own.chunks_exact(TAPS * depth).enumerate() {
                for (tap, weights) in filter.chunks_exact(depth).enumerate() {
                    for (step, weight) in weights[first..][..steps].iter().enumerate() {
                        side_by_side[(step * TAPS + tap) * lanes + lane] = *weight;
                    }
                }
            }
            for (step, filters) in side_by_side.chunks_exact(TAPS * lanes).take(steps).enumerate() {
                transform_row::<N>(isa, filters, (first + step) * lanes, lanes, &mut rows);
            }
        }
    }
}

/// Transforms the filters `[taps][lanes]` of one input channel into the `lanes` weights of each point
/// that begin at `start`.
fn transform_row<const N: usize>(
    isa: Isa,
    filters: &[f32],
    start: usize,
    lanes: usize,
    points: &mut [&mut [f32]],
) {
    if N == 4 {
        transform_row_4(isa, filters, start, lanes, points);
    } else {
        transform_row_6(isa, filters, start, lanes, points);
    }
}

multiversion! {
    fn transform_row_4(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
        transform_lanes::<4>(filters, start, lanes, points);
    }
}

multiversion! {
    fn transform_row_6(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
        transform_lanes::<6>(filters, start, lanes, points);
    }
}

#[inline(always)]
fn transform_lanes<const N: usize>(filters: &[f32], start: usize, lanes: usize, points: &mut [&mut [f32]]) {
    for lane in (0..lanes).step_by(SIDE_BY_SIDE) {
        let tap = |y: usize, x: usize| -> Weights {
            let taps = &filters[(y * 3 + x) * lanes + lane..][..SIDE_BY_SIDE];
            std::array::from_fn(|i| taps[i].into())
        };
        let rows = [0, 1, 2].map(|y| weights::<N>([tap(y, 0), tap(y, 1), tap(y, 2)]));
        for x in 0..N {
            let column = weights::<N>([rows[0][x], rows[1][x], rows[2][x]]);
            for (y, values) in column.iter().enumerate().take(N) {
                let to = &mut points[y * N + x][start + lane..][..SIDE_BY_SIDE];
                for (to, value) in to.iter_mut().zip(values) {
                    *to = *value as f32;
                }
            }
        }
    }
}
