//! Which form is possible, and which the fastest.

use super::WIDTH;
use super::transform::shift;
use crate::float::Form;
use crate::quantized::filter::{Filter, WeightOrder};
use crate::{Isa, Window};

/// The time to fetch a weight from memory, in products.
const FETCH: f64 = 8.0;
/// The same where products of bytes are the rule. Weights for the points take eight times as much room
/// there, and time to pack: what products save must be worth that too.
const FETCH_BESIDE_BYTES: f64 = 40.0;
/// The time of a product of bytes there, in products of words.
const BYTES: f64 = 0.45;
/// What a byte of packed weights must save in every run elsewhere, in products: all of them have to be handed out by
/// the system and packed when the model is loaded, which takes some ten times as long.
const BYTE: f64 = 7.0;
/// The time to transform an element of a tile, on the way in or out, in products.
const TRANSFORM: f64 = 7.0;

/// The form for this shape that should take the least time for an image of this height and width, if all sums are
/// [exact] in it.
///
/// Time is counted in products of words: those of all tiles, where every weight costs at least as much as
/// it takes to fetch it, and the transforms.
pub(in super::super) fn best(isa: Isa, filter: &Filter, image: [usize; 2]) -> Form {
    if !Form::Winograd2.fits(&filter.window, filter.groups) {
        return Form::Direct;
    }
    let channels = [filter.in_channels, filter.out_channels];
    let mut forms = by_cost(isa, &filter.window, channels, image).into_iter();
    forms.find(|form| *form == Form::Direct || fits(*form, filter)).unwrap_or(Form::Direct)
}

/// All forms for a window of 3x3, the best first: with little time, and weights that do not take too much room.
fn by_cost(isa: Isa, window: &Window, channels: [usize; 2], image: [usize; 2]) -> [Form; 3] {
    // Where products of bytes are the rule, the time to fetch a weight stands for its room too.
    let byte = if isa == Isa::Vnni { 0.0 } else { BYTE };
    let cost = |form: &Form| time(isa, *form, window, channels, image) + byte * weight_bytes(*form, channels);
    let mut forms = [Form::Direct, Form::Winograd2, Form::Winograd4];
    forms.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    forms
}

/// Bytes of the packed weights.
fn weight_bytes(form: Form, [in_channels, out_channels]: [usize; 2]) -> f64 {
    let [_, seen] = form.tile();
    let bytes = if form == Form::Direct { 1 } else { size_of::<i16>() };
    (seen * seen * bytes) as f64 * in_channels as f64 * out_channels as f64
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
    let time = |form| time(isa, form, window, channels, image);
    let [best, ..] = by_cost(isa, window, channels, image);
    let direct = time(Form::Direct);
    if direct > 0.0 { time(best) / direct } else { 1.0 }
}

/// This form of a filter, or the one with smaller tiles, or the direct one, until no sum that the filter can give is
/// too large: the results are exact. `largest` is the most that weights on one side of zero add up to.
pub(in super::super) fn exact(form: Form, filter: &Filter, largest: i32) -> Form {
    let smaller = [Form::Winograd4, Form::Winograd2].into_iter().skip_while(|own| *own != form);
    let mut exact = smaller.filter(|form| fits(*form, filter) && is_exact(*form, filter, largest));
    exact.next().unwrap_or(Form::Direct)
}

/// Whether a filter has the shape for tiles of a form.
fn fits(form: Form, filter: &Filter) -> bool {
    let whole = filter.in_channels.is_multiple_of(WIDTH) && filter.order == WeightOrder::OutputFirst;
    matches!(form, Form::Winograd2 | Form::Winograd4) && form.fits(&filter.window, filter.groups) && whole
}

/// Weights of an output channel whose sum fits 32 bits, whatever they are.
const MOST_DEPTH: usize = (1 << 24) - 1;

/// Whether all sums that a filter can give, multiplied by the form's power of two, fit 32 bits.
fn is_exact(form: Form, filter: &Filter, largest: i32) -> bool {
    let most = 1_i64 << (31 - shift(form.tile()[1], 0, 0));
    filter.depth() <= MOST_DEPTH && i64::from(largest) * i64::from(u8::MAX) < most
}
