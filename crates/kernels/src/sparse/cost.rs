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
const MARGIN: f64 = 1.1;

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
        Numbers::Floats => sparse_form(layer, zeros).map(|(_, time)| dense_floats(layer) / time),
        Numbers::Bytes => sparse_bytes(isa, layer, zeros).map(|time| dense_bytes(isa, layer) / time),
    };
    sparse.unwrap_or(1.0)
}

/// The time of an output's bias, bounds and store, dense and where steps are left out.
const OUTPUT: [f64; 2] = [3.0, 4.5];
/// What an output takes in addition where all of them do not stay in the caches.
const FAR_OUTPUT: f64 = 8.0;
const FAR: f64 = (3 << 18) as f64;
/// The time of fetching a weight for a few pixels, from memory and from the second-level cache.
const FETCH: f64 = 11.0;
const FETCH_NEAR: f64 = 2.0;
const NEAR: f64 = (1 << 18) as f64;
/// The time of a product of a step that was not left out, and what it takes longer to fetch.
const STEP: f64 = 1.15;
const FETCH_STEP: f64 = 1.55;
/// The time until a panel has its inputs in the first-level cache, for each; more where pixels are so many bytes
/// apart that they push each other out.
const READ: f64 = 0.2;
const COLLIDING_READ: f64 = 0.7;
const COLLIDING: usize = 2048;
/// The time of a product of a single weight, which loads its inputs for it alone, and of all of a weight's at
/// least.
const SINGLE: f64 = 1.4;
const LEAST_SINGLE: f64 = 54.0;
/// Pixels that are side by side then, and the time to bring an input there, and an output back.
const SIDE: usize = 16;
const TURN: [f64; 2] = [4.0, 14.0];

/// The form that takes the least time for floats with these zeros, where that is one that leaves zeros out,
/// and its time.
pub(crate) fn sparse_form(layer: &Layer, zeros: Zeros) -> Option<(Form, f64)> {
    if layer.groups != 1 || zeros == Zeros::NONE {
        return None;
    }
    let (pixels, depth, outputs) = (layer.pixels(), layer.depth(), layer.out_channels as f64);
    let whole = layer.out_channels.next_multiple_of(LANES) as f64;
    let colliding = (layer.in_channels * size_of::<f32>()).is_multiple_of(COLLIDING);
    let read = pixels * depth * whole / LANES as f64 * if colliding { COLLIDING_READ } else { READ };
    let far = far_outputs(layer);
    let left = (1.0 - zeros.steps) * depth * whole;
    let blocks =
        left * (pixels * STEP).max(fetch(layer) * FETCH_STEP) + read + pixels * whole * OUTPUT[1] + far;
    let side = (pixels as usize).next_multiple_of(SIDE) as f64;
    let left = (1.0 - zeros.weights) * layer.weights();
    let turns = side * (depth * TURN[0] + outputs * TURN[1]);
    let single = left * (side * SINGLE).max(LEAST_SINGLE) + turns + far;
    let best = if blocks <= single { (Form::Blocks, blocks) } else { (Form::Scattered, single) };
    (best.1 * MARGIN < dense_floats(layer)).then_some(best)
}

/// The time of the best dense form for floats.
fn dense_floats(layer: &Layer) -> f64 {
    let (pixels, outputs) = (layer.pixels(), layer.out_channels as f64);
    let products = layer.weights() / layer.groups as f64 * pixels.max(fetch(layer));
    let direct = products + pixels * outputs * OUTPUT[0];
    let channels = [layer.in_channels, layer.out_channels];
    let [height, width] = layer.image;
    let winograd = [Form::Winograd2, Form::Winograd4].into_iter();
    let winograd = winograd.filter(|form| form.fits(&layer.window, layer.groups));
    let times = winograd.map(|form| time_of_form(form, &layer.window, channels, [1, height, width], 0.0));
    times.fold(direct, f64::min) + far_outputs(layer)
}

/// The time of fetching a weight.
fn fetch(layer: &Layer) -> f64 {
    if layer.weights() > NEAR { FETCH } else { FETCH_NEAR }
}

/// The time that outputs take because they do not stay in the caches.
fn far_outputs(layer: &Layer) -> f64 {
    let outputs = layer.pixels() * layer.out_channels as f64;
    if outputs > FAR { outputs * FAR_OUTPUT } else { 0.0 }
}

/// The times of bytes on an instruction set.
struct Bytes {
    /// Of a product of a step that was not left out.
    step: f64,
    /// Of an output, its requantization and store, dense and where steps are left out.
    output: [f64; 2],
}

impl Bytes {
    fn of(isa: Isa) -> Bytes {
        match isa {
            Isa::Vnni | Isa::Amx => Bytes { step: 1.1, output: [13.0, 18.0] },
            Isa::AvxVnni => Bytes { step: 1.25, output: [27.0, 42.0] },
            Isa::Avx2 | Isa::Avx512 => Bytes { step: 1.12, output: [12.0, 18.0] },
            Isa::Portable => Bytes { step: 1.2, output: [12.0, 20.0] },
            // Not measured: those of the sets that multiply alike.
            Isa::Neon => Bytes::of(Isa::Avx2),
            Isa::NeonDot => Bytes::of(Isa::AvxVnni),
        }
    }
}

/// What a step takes longer where there is one pixel.
const STEP_OF_ONE: f64 = 1.4;
/// What an output takes in addition there.
const OUTPUT_OF_ONE: f64 = 24.0;
/// How much faster tiles of AMX multiply all weights than vectors do those that are left: layers of ResNet50
/// on a Xeon of the fifth generation took 3 to 4 times as long with AVX-512 VNNI.
const TILES: f64 = 4.0;

/// The time of bytes with these zeros, where it is less if they are left out.
pub(crate) fn sparse_bytes(isa: Isa, layer: &Layer, zeros: Zeros) -> Option<f64> {
    if layer.groups != 1 || zeros == Zeros::NONE {
        return None;
    }
    let Bytes { mut step, output: [_, mut output] } = Bytes::of(isa);
    if layer.pixels() <= 1.0 {
        (step, output) = (step * STEP_OF_ONE, output + OUTPUT_OF_ONE);
    }
    let whole = layer.out_channels.next_multiple_of(LANES) as f64;
    let left = (1.0 - zeros.steps) * layer.depth() * step;
    let time = layer.pixels() * whole * (left + output);
    (time * MARGIN < dense_bytes(isa, layer)).then_some(time)
}

/// The time of the best dense form for bytes.
fn dense_bytes(isa: Isa, layer: &Layer) -> f64 {
    let whole = layer.out_channels.next_multiple_of(LANES) as f64;
    let tiles = if isa == Isa::Amx && layer.pixels() > 1.0 { TILES } else { 1.0 };
    let products = layer.depth() / layer.groups as f64 / tiles;
    let direct = layer.pixels() * whole * (products + Bytes::of(isa).output[0]);
    direct * best_share(isa, layer)
}

/// The share of the direct form's time that the best dense form of bytes takes.
fn best_share(isa: Isa, layer: &Layer) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        let channels = [layer.in_channels, layer.out_channels];
        crate::quantized::best_share(isa, &layer.window, layer.groups, channels, layer.image)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (isa, layer);
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{gain, wins_from};
    use super::*;

    const POINT: Layer =
        Layer { window: Window::POINT, groups: 1, in_channels: 256, out_channels: 64, image: [14, 14] };

    fn blocks(outputs: usize, inputs: usize) -> Structure {
        Structure::Blocks { outputs, inputs }
    }

    #[test]
    fn gains_grow_with_zeros_and_are_never_below_one() {
        let three = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
        let layers = [
            POINT,
            Layer { window: three, ..POINT },
            Layer { image: [1, 1], ..POINT },
            Layer { groups: 64, ..POINT },
            Layer { image: [0, 0], ..POINT },
        ];
        for (isa, _) in Isa::ALL {
            for layer in layers {
                for numbers in [Numbers::Floats, Numbers::Bytes] {
                    for structure in [Structure::Unstructured, blocks(16, 1), blocks(16, 4), blocks(8, 4)] {
                        let gains = [0.0, 0.3, 0.5, 0.75, 0.9, 1.0]
                            .map(|sparsity| gain(isa, &layer, numbers, structure, sparsity));
                        assert!(
                            gains.is_sorted() && gains[0] == 1.0,
                            "{isa} {layer:?} {structure:?} {gains:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn each_structure_wins_from_where_it_was_measured_to() {
        let from = |numbers, structure| wins_from(Isa::Vnni, &POINT, numbers, structure);
        let single = from(Numbers::Floats, Structure::Unstructured).expect("it wins somewhere");
        assert!((0.35..0.6).contains(&single), "{single}");
        let columns = from(Numbers::Floats, blocks(16, 1)).expect("it wins somewhere");
        assert!((0.1..0.35).contains(&columns), "{columns}");
        let squares = from(Numbers::Bytes, blocks(16, 4)).expect("it wins somewhere");
        assert!((0.1..0.35).contains(&squares), "{squares}");
        assert_eq!(from(Numbers::Bytes, Structure::Unstructured).filter(|from| *from < 0.97), None);
        // Half a step's channels must both be zero.
        assert!(from(Numbers::Bytes, blocks(8, 4)).is_some_and(|from| from > squares));
        let grouped = Layer { groups: 2, ..POINT };
        assert_eq!(wins_from(Isa::Vnni, &grouped, Numbers::Floats, blocks(16, 1)), None);
    }
}
