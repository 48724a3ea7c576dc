//! Packing: each 3x3 filter becomes one weight for each point.

use std::ops::Range;

use super::WIDTH;
use super::transform::{MOST_POINTS, weights};
use crate::Isa;
use crate::aligned::Aligned;
use crate::float::Form;
use crate::multiversion::multiversion;
use crate::prefetch::prefetch;
use crate::quantized::filter::Filter;
use crate::quantized::product::avx2::put_words;

/// Taps of a window.
const TAPS: usize = 9;
/// Weights of a panel for two input channels: `[lane][2]`.
const PAIR: usize = 2 * WIDTH;

/// Input channels that are brought in order together, so that they stay in the first-level cache.
const BLOCK: usize = 64;

/// Transforms all weights, `[output channel][taps][input channel]`, to `[panel][point][pair of
/// inputs][lane][2]`.
pub(super) fn pack(form: Form, filter: &Filter) -> Aligned<i16> {
    let [_, seen] = form.tile();
    let (inputs, points) = (filter.in_channels, seen * seen);
    let mut packed = Aligned::lasting(filter.out_channels.div_ceil(WIDTH) * WIDTH * points * inputs);
    let own = filter.weights.chunks(WIDTH * TAPS * inputs);
    let mut taps = vec![0; TAPS * WIDTH * BLOCK];
    for (filters, panel) in own.zip(packed.chunks_exact_mut(WIDTH * points * inputs)) {
        prefetch(filters);
        if filters.len() < WIDTH * TAPS * inputs {
            // Lanes without a channel.
            taps.fill(0);
        }
        for first in (0..inputs).step_by(BLOCK) {
            let block = first..inputs.min(first + BLOCK);
            order(filters, inputs, block.clone(), &mut taps);
            if seen == 4 {
                panel_4(Isa::Avx2, &taps, inputs, block, panel);
            } else {
                panel_6(Isa::Avx2, &taps, inputs, block, panel);
            }
        }
    }
    packed
}

/// Brings some inputs of a panel's filters to `[tap][pair of inputs][lane][2]`, [`BLOCK`] inputs to a tap.
fn order(filters: &[i8], inputs: usize, block: Range<usize>, taps: &mut [i16]) {
    for (tap, out) in taps.chunks_exact_mut(WIDTH * BLOCK).enumerate() {
        let mut rows: [&[i8]; WIDTH] = [&[]; WIDTH];
        for (row, filter) in rows.iter_mut().zip(filters.chunks_exact(TAPS * inputs)) {
            *row = &filter[tap * inputs..][block.clone()];
        }
        put_words(&rows, &mut out[..WIDTH * block.len()]);
    }
}

multiversion! {
    fn panel_4(taps: &[i16], inputs: usize, block: Range<usize>, panel: &mut [i16]) {
        transform::<4>(taps, inputs, block, panel);
    }
}

multiversion! {
    fn panel_6(taps: &[i16], inputs: usize, block: Range<usize>, panel: &mut [i16]) {
        transform::<6>(taps, inputs, block, panel);
    }
}

/// Transforms some inputs of the filters of a panel.
#[expect(clippy::needless_range_loop, reason = "three rows are looked at by one column")]
#[inline(always)]
fn transform<const N: usize>(taps: &[i16], inputs: usize, block: Range<usize>, panel: &mut [i16]) {
    for pair in 0..block.len() / 2 {
        let mut rows = [[[0; PAIR]; MOST_POINTS]; 3];
        for (y, row) in rows.iter_mut().enumerate() {
            let mut window = [[0; PAIR]; 3];
            for (x, values) in window.iter_mut().enumerate() {
                values.copy_from_slice(&taps[(3 * y + x) * WIDTH * BLOCK + pair * PAIR..][..PAIR]);
            }
            *row = weights::<N, PAIR>(&window);
        }
        for x in 0..N {
            let column = weights::<N, PAIR>(&[rows[0][x], rows[1][x], rows[2][x]]);
            for (y, values) in column.iter().enumerate().take(N) {
                let at = (y * N + x) * WIDTH * inputs + (block.start / 2 + pair) * PAIR;
                panel[at..][..PAIR].copy_from_slice(values);
            }
        }
    }
}
