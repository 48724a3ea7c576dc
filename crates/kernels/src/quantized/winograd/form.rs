//! Which form is possible, and which the fastest.

use super::WIDTH;
use super::transform::shift;
use crate::float::Form;
use crate::multiversion::multiversion;
use crate::quantized::filter::{Filter, WeightOrder};
use crate::{Isa, Window};

/// The time to fetch a weight from memory, in products.
const FETCH: f64 = 8.0;
/// The same where products of bytes are the rule. Weights for the points take eight times as much room
/// there, and time to pack: what products save must be worth that too.
const FETCH_BESIDE_BYTES: f64 = 40.0;
/// The time of a product of bytes there, in products of words.
const BYTES: f64 = 0.45;
/// The time to transform an element of a tile, on the way in or out, in products.
const TRANSFORM: f64 = 7.0;

/// The possible form that should take the least time for an image of this height and width.
///
/// Time is counted in products of words: those of all tiles, where every weight costs at least as much as
/// it takes to fetch it, and the transforms.
pub(in super::super) fn best(isa: Isa, filter: &Filter, image: [usize; 2]) -> Form {
    if !Form::Winograd2.fits(&filter.window, filter.groups) {
        return Form::Direct;
    }
    let channels = [filter.in_channels, filter.out_channels];
    let time = |form: &Form| time(isa, *form, &filter.window, channels, image);
    let mut forms = [Form::Direct, Form::Winograd2, Form::Winograd4];
    forms.sort_by(|a, b| time(a).total_cmp(&time(b)));
    forms.into_iter().find(|form| is_possible(*form, filter)).unwrap_or(Form::Direct)
}

/// The time of a form for a window of 3x3, in products of words.
fn time(
    isa: Isa,
    form: Form,
    window: &Window,
    [in_channels, out_channels]: [usize; 2],
    image: [usize; 2],
) -> f64 {
    let (fetch, direct) = if isa == Isa::Vnni { (FETCH_BESIDE_BYTES, BYTES) } else { (FETCH, 1.0) };
    let [side, seen] = form.tile();
    let tiles: f64 = window.output(image).map(|size| size.div_ceil(side) as f64).iter().product();
    let [inputs, outputs] = [in_channels as f64, out_channels as f64];
    if form == Form::Direct {
        return (seen * seen) as f64 * inputs * outputs * tiles * direct;
    }
    let outputs = out_channels.next_multiple_of(WIDTH) as f64;
    let transforms = TRANSFORM * tiles * (inputs + outputs);
    (seen * seen) as f64 * (inputs * outputs * tiles.max(fetch) + transforms)
}

/// The share of the direct form's time that the best of all forms takes, if sums are exact in it.
pub(crate) fn best_share(
    isa: Isa,
    window: &Window,
    groups: usize,
    channels: [usize; 2],
    image: [usize; 2],
) -> f64 {
    if !Form::Winograd2.fits(window, groups) || !channels[0].is_multiple_of(WIDTH) {
        return 1.0;
    }
    let direct = time(isa, Form::Direct, window, channels, image);
    let others = [Form::Winograd2, Form::Winograd4].map(|form| time(isa, form, window, channels, image));
    if direct > 0.0 { others.into_iter().fold(direct, f64::min) / direct } else { 1.0 }
}

/// Whether a filter can be computed in a form, and its sums are [exact](is_exact).
pub(in super::super) fn is_possible(form: Form, filter: &Filter) -> bool {
    let whole = filter.in_channels.is_multiple_of(WIDTH) && filter.order == WeightOrder::OutputFirst;
    match form {
        Form::Direct => true,
        Form::Winograd2 | Form::Winograd4 => {
            form.fits(&filter.window, filter.groups) && whole && is_exact(form, filter)
        }
        Form::Blocks | Form::Scattered => false,
    }
}

/// Weights of an output channel whose sum fits 32 bits, whatever they are.
const MOST_DEPTH: usize = (1 << 24) - 1;

/// Whether all sums that a filter can give, multiplied by the form's power of two, fit 32 bits.
fn is_exact(form: Form, filter: &Filter) -> bool {
    if filter.depth() > MOST_DEPTH {
        return false;
    }
    let most = 1_i64 << (31 - shift(form.tile()[1], 0, 0));
    let one_sided = |channel| one_sided_sums(Isa::Avx2, &filter.row(channel)).into_iter().max();
    let largest = (0..filter.out_channels).filter_map(one_sided).max().unwrap_or(0);
    i64::from(largest) * i64::from(u8::MAX) < most
}

/// Sums that run side by side.
const LANES: usize = 32;

multiversion! {
    /// The sum of the weights above zero, and that of those below, less its sign, of at most [`MOST_DEPTH`].
    fn one_sided_sums(weights: &[i8]) -> [i32; 2] {
        let mut sums = [0_i32; 2];
        // A word holds the sum of 256 bytes.
        for block in weights.chunks(256 * LANES) {
            let mut lanes = [[0_i16; LANES]; 2];
            let [positive, all] = &mut lanes;
            let mut chunks = block.chunks_exact(LANES);
            for chunk in &mut chunks {
                for ((positive, all), &weight) in positive.iter_mut().zip(&mut *all).zip(chunk) {
                    *positive += i16::from(weight.max(0));
                    *all += i16::from(weight);
                }
            }
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum += lanes.into_iter().map(i32::from).sum::<i32>();
            }
            for &weight in chunks.remainder() {
                sums[0] += i32::from(weight.max(0));
                sums[1] += i32::from(weight);
            }
        }
        let [positive, all] = sums;
        [positive, positive - all]
    }
}
