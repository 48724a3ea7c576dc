//! Packing: each 3x3 filter becomes one weight for each point.

use super::WIDTH;
use super::transform::{MOST_POINTS, weights};
use crate::Isa;
use crate::aligned::Aligned;
use crate::float::Form;
use crate::multiversion::multiversion;
use crate::quantized::filter::Filter;

/// Taps of a window.
const TAPS: usize = 9;
/// Weights of a panel for two input channels: `[lane][2]`.
const PAIR: usize = 2 * WIDTH;

/// Transforms all weights, `[output channel][taps][input channel]`, to `[panel][point][pair of
/// inputs][lane][2]`.
pub(super) fn pack(form: Form, filter: &Filter) -> Aligned<i16> {
    let [_, seen] = form.tile();
    let (inputs, points) = (filter.in_channels, seen * seen);
    let mut packed = Aligned::lasting(filter.out_channels.div_ceil(WIDTH) * WIDTH * points * inputs);
    let own = filter.weights.chunks(WIDTH * TAPS * inputs);
    for (filters, panel) in own.zip(packed.chunks_exact_mut(WIDTH * points * inputs)) {
        if seen == 4 {
            panel_4(Isa::Avx2, filters, inputs, panel);
        } else {
            panel_6(Isa::Avx2, filters, inputs, panel);
        }
    }
    packed
}

multiversion! {
    fn panel_4(filters: &[i8], inputs: usize, panel: &mut [i16]) {
        transform::<4>(filters, inputs, panel);
    }
}

multiversion! {
    fn panel_6(filters: &[i8], inputs: usize, panel: &mut [i16]) {
        transform::<6>(filters, inputs, panel);
    }
}

/// Transforms the filters of a panel.
#[expect(clippy::needless_range_loop, reason = "three rows are looked at by one column")]
#[inline(always)]
fn transform<const N: usize>(filters: &[i8], inputs: usize, panel: &mut [i16]) {
    for pair in 0..inputs / 2 {
        let mut taps = [[0_i16; PAIR]; TAPS];
        for (lane, filter) in filters.chunks_exact(TAPS * inputs).enumerate() {
            for (tap, weights) in taps.iter_mut().zip(filter.chunks_exact(inputs)) {
                tap[2 * lane] = weights[2 * pair].into();
                tap[2 * lane + 1] = weights[2 * pair + 1].into();
            }
        }
        let rows = [0, 1, 2].map(|y| weights::<N, PAIR>([taps[3 * y], taps[3 * y + 1], taps[3 * y + 2]]));
        for x in 0..N {
            let column: [[i16; PAIR]; MOST_POINTS] = weights::<N, PAIR>([rows[0][x], rows[1][x], rows[2][x]]);
            for (y, values) in column.iter().enumerate().take(N) {
                let at = (y * N + x) * WIDTH * inputs + pair * PAIR;
                panel[at..][..PAIR].copy_from_slice(values);
            }
        }
    }
}
