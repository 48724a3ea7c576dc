//! How long each form of a layer takes, by its shape and its zeros.
//!
//! Times are counted in products, as the direct form does them where nothing else bounds it. The numbers below
//! were measured on one core of a Zen 4 (bench `sparse`); what they are compared for, the ratio of two kernels
//! on the same machine, varies less between machines than the times do. Times of floats are the same for every
//! instruction set, because the form decides the last bits of a result; those of bytes are not.

use crate::float::Form;
use crate::float::time_of_form;
use crate::{Isa, Window};

use super::{Numbers, Structure};

/// Output channels whose weights must all be zero for a step to be left out.
pub(crate) const LANES: usize = 16;

/// Input channels of a step of bytes.
const BYTES_OF_STEP: usize = 4;

/// What a layer multiplies by what, apart from the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it looks; [`Window::POINT`] for a dense layer.
    pub window: Window,
    /// Groups of channels; divides both numbers of channels.
    pub groups: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the input; 1 and 1 for a dense layer.
    pub image: [usize; 2],
}

impl Layer {
    /// Output pixels of a sample.
    fn pixels(&self) -> f64 {
        self.window.output(self.image).map(|size| size as f64).iter().product()
    }

    /// Weights of an output channel.
    fn depth(&self) -> f64 {
        (self.window.taps() * self.in_channels) as f64
    }

    fn weights(&self) -> f64 {
        self.depth() * self.out_channels as f64
    }
}

/// Shares of a layer's weights that are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Zeros {
    /// Of the steps of [`LANES`] output channels, those that can be left out.
    pub(crate) steps: f64,
    /// Of the single weights, those that are zero.
    pub(crate) weights: f64,
}

impl Zeros {
    /// No zeros that are worth speaking of.
    pub(crate) const NONE: Zeros = Zeros { steps: 0.0, weights: 0.0 };

    /// What to expect where such a share of the blocks of a structure are zero, wherever they are.
    pub(super) fn expected(numbers: Numbers, structure: Structure, sparsity: f64) -> Zeros {
        let weights = sparsity.clamp(0.0, 1.0);
        let [outputs, inputs] = match structure {
            Structure::Unstructured => [1, 1],
            Structure::Blocks { outputs, inputs } => [outputs, inputs],
        };
        assert!(outputs > 0 && inputs > 0, "blocks without channels");
        let step_inputs = if numbers == Numbers::Bytes { BYTES_OF_STEP } else { 1 };
        // Blocks that meet in one step, all of which must be zero.
        let blocks = LANES.div_ceil(outputs) * step_inputs.div_ceil(inputs);
        Zeros { steps: weights.powi(blocks as i32), weights }
    }
}

/// A sparse form must be expected to take so much less time than a dense one: the times are estimates.
const MARGIN: f64 = 1.08;

/// See [`gain`](super::gain).
pub(super) fn gain(isa: Isa, layer: &Layer, numbers: Numbers, zeros: Zeros) -> f64 {
    assert!(
        layer.groups > 0
            && layer.in_channels.is_multiple_of(layer.groups)
            && layer.out_channels.is_multiple_of(layer.groups),
        "{} groups do not divide the channels",
        layer.groups
    );
    let sparse = match numbers {
        Numbers::Floats => sparse_form(layer, zeros).map(|(_, time)| time),
        Numbers::Bytes => sparse_bytes(isa, layer, zeros),
    };
    let dense = match numbers {
        Numbers::Floats => dense_floats(layer),
        Numbers::Bytes => dense_bytes(layer),
    };
    sparse.map_or(1.0, |sparse| dense / sparse)
}

/// The time of an output's bias, bounds and store.
const OUTPUT: f64 = 2.0;
/// The time of fetching a weight from memory, and from the second-level cache.
const FETCH: f64 = 11.0;
const FETCH_NEAR: f64 = 2.0;
/// Weights that stay in that cache.
const NEAR: f64 = (1 << 18) as f64;
/// The time of a product of a step that was not left out.
const STEP: f64 = 1.05;
/// The time of a product of a single weight: it loads its inputs for it alone.
const SINGLE: f64 = 1.3;
/// Pixels that are side by side then, and the time to bring an input or an output there or back.
const SIDE: usize = 16;
const TURN: f64 = 6.0;

/// The form that takes the least time for floats with these zeros, where that is one that leaves zeros out,
/// and its time.
pub(crate) fn sparse_form(layer: &Layer, zeros: Zeros) -> Option<(Form, f64)> {
    if layer.groups != 1 || zeros == Zeros::NONE {
        return None;
    }
    let fetch = if layer.weights() > NEAR { FETCH } else { FETCH_NEAR };
    let (pixels, outputs) = (layer.pixels(), layer.out_channels as f64);
    let whole = layer.out_channels.next_multiple_of(LANES) as f64;
    let left = (1.0 - zeros.steps) * layer.depth() * whole;
    let blocks = left * (pixels * STEP).max(fetch) + pixels * whole * OUTPUT;
    let side = (pixels as usize).next_multiple_of(SIDE) as f64;
    let left = (1.0 - zeros.weights) * layer.weights();
    let single = left * (side * SINGLE).max(2.0 * fetch) + side * (layer.depth() + outputs) * TURN;
    let best = if blocks <= single { (Form::Blocks, blocks) } else { (Form::Scattered, single) };
    (best.1 * MARGIN <= dense_floats(layer)).then_some(best)
}

/// The time of the best dense form for floats.
fn dense_floats(layer: &Layer) -> f64 {
    let fetch = if layer.weights() > NEAR { FETCH } else { FETCH_NEAR };
    let (pixels, outputs) = (layer.pixels(), layer.out_channels as f64);
    let groups = layer.groups as f64;
    let direct = layer.weights() / groups * pixels.max(fetch) + pixels * outputs * OUTPUT;
    let channels = [layer.in_channels, layer.out_channels];
    let [height, width] = layer.image;
    let winograd = [Form::Winograd2, Form::Winograd4].into_iter();
    let winograd = winograd.filter(|form| form.fits(&layer.window, layer.groups));
    let times = winograd.map(|form| time_of_form(form, &layer.window, channels, [1, height, width], 0.0));
    times.fold(direct, f64::min)
}

/// The time of an output of bytes: its requantization and store.
const BYTE_OUTPUT: f64 = 16.0;

/// The time of bytes with these zeros, where it is less if they are left out.
pub(crate) fn sparse_bytes(isa: Isa, layer: &Layer, zeros: Zeros) -> Option<f64> {
    if layer.groups != 1 || zeros == Zeros::NONE || isa == Isa::Amx {
        return None;
    }
    let whole = layer.out_channels.next_multiple_of(LANES) as f64;
    let left = (1.0 - zeros.steps) * layer.depth() * whole * layer.pixels();
    let time = left * STEP + layer.pixels() * whole * BYTE_OUTPUT;
    (time * MARGIN <= dense_bytes(layer)).then_some(time)
}

/// The time of the best dense form for bytes.
fn dense_bytes(layer: &Layer) -> f64 {
    layer.pixels() * (layer.weights() / layer.groups as f64 + layer.out_channels as f64 * BYTE_OUTPUT)
}
