//! Convolutions of single pixels, between normalizations.

use super::{Blocks, Gathered, Gathering, Received, Source, add_in_order, piece_of};
use crate::float::workspace::with_workspace;
use crate::gradient::batch_norm::rows::add_up;
use crate::gradient::convolution::{Forward, InputGradient, Scratch, WeightsGradient};
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Floats of all that a task has at hand at a time: most of a second-level cache.
const AT_HAND: usize = 144 * 1024;

/// What pieces of pixels are multiples of: of the tiles of convolutions and of the rows that statistics
/// take in at a time.
const UNIT: usize = 56;

/// Pixels that are taken at a time where each of them has so many floats.
fn step(floats: usize) -> usize {
    (AT_HAND / floats / UNIT).clamp(1, 8) * UNIT
}

/// The forward pass.
pub struct PointForward {
    isa: Isa,
    channels: [usize; 2],
    pixels: usize,
    layer: Forward,
    alone: ThreadPool,
}

impl PointForward {
    /// For so many channels of input and output, and pixels of the whole batch.
    ///
    /// # Panics
    /// When the machine lacks `isa` or a number of channels is 0.
    #[must_use]
    pub fn new(isa: Isa, channels: [usize; 2], pixels: usize) -> PointForward {
        let layer = Forward::new(isa, Window::POINT, 1, channels, [1, 1, pixels]);
        PointForward { isa, channels, pixels, layer, alone: ThreadPool::new(1) }
    }

    /// Computes the output from weights `[output channels, input channels]` and a bias (`None` for zeros),
    /// and gathers what is asked for of it.
    ///
    /// # Panics
    /// When a slice has another length.
    // A source, two operands, memory, and two results.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        source: &Source<'_>,
        weights: &[f32],
        bias: Option<&[f32]>,
        scratch: &mut Scratch,
        output: &mut [f32],
        gathered: Gathered<'_>,
    ) {
        let PointForward { isa, channels: [inputs, outputs], pixels, ref alone, .. } = *self;
        assert_eq!(source.len(), pixels * inputs, "length of the input");
        assert_eq!(output.len(), pixels * outputs, "length of the output");
        let blocks = Blocks::new(pixels, inputs + outputs, UNIT);
        let mut gathering = Gathering::new(blocks.count, outputs, gathered.extremes.is_some());
        let (len, step) = (gathering.len, step(2 * inputs + outputs));
        self.layer.with_packed(pool, weights, bias, scratch, |conv| {
            let (partials, output) =
                (DisjointSlice::new(&mut gathering.partials), DisjointSlice::new(output));
            pool.run(blocks.count, &|block| {
                let pixels = blocks.rows(block);
                // SAFETY: each block has a piece of its own.
                let partial = unsafe { piece_of(&partials, block, len) };
                with_workspace(step * inputs, |space| {
                    for first in pixels.clone().step_by(step) {
                        let end = pixels.end.min(first + step);
                        let x = source.rows(first * inputs..end * inputs, space);
                        // SAFETY: blocks do not overlap.
                        let y = unsafe { output.piece(first * outputs..end * outputs) };
                        conv.run(alone, x, [1, 1, end - first], y);
                        Gathering::take(isa, outputs, partial, first - pixels.start, y);
                    }
                });
            });
        });
        gathering.finish(isa, |block| blocks.rows(block).len(), gathered);
    }
}

/// The backward pass.
pub struct PointBackward {
    isa: Isa,
    channels: [usize; 2],
    pixels: usize,
    by_input: InputGradient,
    by_weights: WeightsGradient,
    alone: ThreadPool,
}

/// What a backward pass computes; what is `None` is not wanted.
#[derive(Default)]
pub struct LayerGradients<'a> {
    /// With respect to the layer's input.
    pub input: Option<&'a mut [f32]>,
    /// Of that the [sums](super::Normalized::sums), if the input is a normalized tensor.
    pub sums: Option<&'a mut [f32]>,
    /// With respect to the weights.
    pub weights: Option<&'a mut [f32]>,
    /// With respect to the bias.
    pub bias: Option<&'a mut [f32]>,
}

impl LayerGradients<'_> {
    /// Checks that sums are asked for of what there is.
    pub(super) fn check(&self, source: &Source<'_>) {
        let there = matches!(source, Source::Normalized(_)) && self.input.is_some();
        assert!(there || self.sums.is_none(), "only gradients of normalized inputs have sums");
    }
}

impl PointBackward {
    /// As [`PointForward::new`].
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn new(isa: Isa, channels: [usize; 2], pixels: usize) -> PointBackward {
        let shape = [1, 1, pixels];
        PointBackward {
            isa,
            channels,
            pixels,
            by_input: InputGradient::new(isa, Window::POINT, 1, channels, shape),
            by_weights: WeightsGradient::new(isa, Window::POINT, 1, channels, shape),
            alone: ThreadPool::new(1),
        }
    }

    /// Whether it is made for a layer of so many channels and pixels: each block has sums for all weights,
    /// which are to stay in the second-level cache beside the pixels.
    #[must_use]
    pub fn pays(channels: [usize; 2], pixels: usize) -> bool {
        const MOST_WEIGHTS: usize = 32 * 1024;
        let [inputs, outputs] = channels;
        let blocks = Blocks::new(pixels, inputs.saturating_add(outputs), UNIT).count;
        let weights = inputs.saturating_mul(outputs);
        let floats = pixels.saturating_mul(inputs.saturating_add(outputs));
        blocks >= 4 && weights <= MOST_WEIGHTS && blocks * weights <= floats
    }

    /// Computes gradients from what the layer read, the gradient of its output and its weights.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        source: &Source<'_>,
        received: &Received<'_>,
        weights: &[f32],
        scratch: &mut Scratch,
        mut gradients: LayerGradients<'_>,
    ) {
        let [inputs, outputs] = self.channels;
        assert_eq!(source.len(), self.pixels * inputs, "length of the input");
        assert_eq!(received.len(), self.pixels * outputs, "length of the output's gradient");
        gradients.check(source);
        let blocks = Blocks::new(self.pixels, inputs + outputs, UNIT);
        let wanted = |wanted: bool, len: usize| if wanted { blocks.count * len } else { 0 };
        let lens = [
            wanted(gradients.weights.is_some(), inputs * outputs),
            wanted(gradients.bias.is_some(), outputs),
            wanted(gradients.sums.is_some(), 2 * inputs),
        ];
        let mut memory = scratch.take_parts(lens.iter().sum());
        let (of_weights, rest) = memory.split_at_mut(lens[0]);
        let (of_bias, rest) = rest.split_at_mut(lens[1]);
        let of_sums = &mut rest[..lens[2]];
        of_bias.fill(0.0);
        of_sums.fill(0.0);
        {
            let partials = [&mut *of_weights, &mut *of_bias, &mut *of_sums].map(DisjointSlice::new);
            match gradients.input.take() {
                Some(gradient) => {
                    assert_eq!(gradient.len(), self.pixels * inputs, "length of the input's gradient");
                    let (by_weights, alone) = (&self.by_weights, &self.alone);
                    let gradient = DisjointSlice::new(gradient);
                    self.by_input.with_packed(pool, weights, scratch, |conv| {
                        let task = Pass { isa: self.isa, blocks: &blocks, by_weights, source, received };
                        task.run(pool, &partials, &|d, pixels: std::ops::Range<usize>| {
                            // SAFETY: blocks do not overlap.
                            let piece = unsafe { gradient.piece(pixels.start * inputs..pixels.end * inputs) };
                            conv.run(alone, d, [1, 1, pixels.len()], piece);
                            Some(&*piece)
                        });
                    });
                }
                None => {
                    let by_weights = &self.by_weights;
                    let task = Pass { isa: self.isa, blocks: &blocks, by_weights, source, received };
                    task.run(pool, &partials, &|_, _| None);
                }
            }
        }
        if let Some(gradient) = gradients.weights {
            self.by_weights.finish(pool, of_weights, gradient);
        }
        if let Some(bias) = gradients.bias {
            add_in_order(self.isa, of_bias, bias);
        }
        if let Some(sums) = gradients.sums {
            add_in_order(self.isa, of_sums, sums);
        }
        scratch.return_parts(memory);
    }
}

/// One pass over all pixels.
struct Pass<'a> {
    isa: Isa,
    blocks: &'a Blocks,
    by_weights: &'a WeightsGradient,
    source: &'a Source<'a>,
    received: &'a Received<'a>,
}

/// Computes the gradients of the inputs of some pixels, if they are wanted, from those of their outputs.
type ByInput<'a, 'g> = dyn Fn(&[f32], std::ops::Range<usize>) -> Option<&'g [f32]> + Sync + 'a;

impl Pass<'_> {
    /// Partial results are those of the weights, the bias and the sums.
    fn run<'g>(&self, pool: &ThreadPool, partials: &[DisjointSlice<'_, f32>; 3], by_input: &ByInput<'_, 'g>) {
        let Pass { isa, blocks, by_weights, source, received } = *self;
        let [inputs, outputs] = by_weights.channels();
        let step = step(3 * (inputs + outputs));
        let [of_weights, of_bias, of_sums] = partials;
        pool.run(blocks.count, &|block| {
            let pixels = blocks.rows(block);
            with_workspace(step * (inputs + outputs), |space| {
                let (x_space, d_space) = space.split_at_mut(step * inputs);
                for first in pixels.clone().step_by(step) {
                    let end = pixels.end.min(first + step);
                    let seen = first * inputs..end * inputs;
                    let d = received.rows(first * outputs..end * outputs, d_space);
                    let gradient = by_input(d, first..end);
                    if of_weights.len() > 0 {
                        let x = source.rows(seen.clone(), x_space);
                        by_weights.add_pixels(x, d, first > pixels.start, block, of_weights);
                    }
                    if of_bias.len() > 0 {
                        // SAFETY: each block has a piece of its own.
                        add_up(isa, d, unsafe { piece_of(of_bias, block, outputs) });
                    }
                    if let (Some(gradient), Source::Normalized(normalized), true) =
                        (gradient, source, of_sums.len() > 0)
                    {
                        // SAFETY: as above.
                        normalized.add_sums(seen, gradient, unsafe { piece_of(of_sums, block, 2 * inputs) });
                    }
                }
            });
        });
    }
}
