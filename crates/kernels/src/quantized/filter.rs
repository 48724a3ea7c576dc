//! What a quantized convolution multiplies by.

use std::borrow::Cow;
use std::ops::Range;

use crate::multiversion::multiversion;
use crate::prefetch::prefetch;
use crate::{Isa, Window};

/// The order in which weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightOrder {
    /// `[out, kh, kw, in / groups]`: convolutions and matrix products.
    OutputFirst,
    /// `[kh, kw, out]`, one input channel to a group: depthwise convolutions.
    OutputLast,
}

/// The weights of a convolution and the shape they stand for.
///
/// Output channel `o` belongs to group `o / (out_channels / groups)` and sees the `in_channels /
/// groups` input channels of that group.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Where it looks.
    pub window: Window,
    /// Number of groups; divides both channel counts. A depthwise filter has `in_channels`.
    pub groups: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Order of `weights`.
    pub order: WeightOrder,
    /// Symmetric weights.
    pub weights: &'a [i8],
}

impl<'a> Filter<'a> {
    /// The filter of a depthwise convolution: `weights` is `[1, kh, kw, in_channels * multiplier]`.
    ///
    /// # Panics
    /// When there are too many output channels to count.
    pub(crate) fn depthwise(
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &'a [i8],
    ) -> Filter<'a> {
        let out_channels = in_channels.checked_mul(multiplier).expect("number of output channels");
        let order = WeightOrder::OutputLast;
        Filter { window, groups: in_channels, in_channels, out_channels, order, weights }
    }

    /// Input channels that one output channel sees.
    #[must_use]
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of one group.
    #[must_use]
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Number of weights of one output channel: for each tap, row by row, those of the group's
    /// input channels.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.window.taps() * self.group_in()
    }

    /// Weight `index` (below [`Filter::depth`]) of an output channel.
    #[must_use]
    pub fn weight(&self, out: usize, index: usize) -> i8 {
        self.weights[match self.order {
            WeightOrder::OutputFirst => out * self.depth() + index,
            WeightOrder::OutputLast => index * self.out_channels + out,
        }]
    }

    /// All weights, [`Filter::depth`] of one output channel after those of another.
    pub(crate) fn rows(&self) -> Cow<'a, [i8]> {
        match self.order {
            WeightOrder::OutputFirst => Cow::Borrowed(self.weights),
            WeightOrder::OutputLast => {
                let row = |out| (0..self.depth()).map(move |index| self.weight(out, index));
                (0..self.out_channels).flat_map(row).collect()
            }
        }
    }

    /// Asks for the weights of some output channels, which are then read in many short pieces.
    pub(crate) fn fetch(&self, channels: Range<usize>) {
        if self.order == WeightOrder::OutputFirst {
            prefetch(&self.weights[channels.start * self.depth()..channels.end * self.depth()]);
        }
    }

    /// The sum of the weights of each output channel: what one step of the input's zero point is worth. They wrap
    /// around beyond 32 bits.
    pub(crate) fn weight_sums(&self) -> Vec<i32> {
        let mut sums = vec![0; self.out_channels];
        match self.order {
            WeightOrder::OutputFirst => add_rows(Isa::Amx, self.weights, self.depth(), &mut sums),
            WeightOrder::OutputLast => add_columns(Isa::Amx, self.weights, &mut sums),
        }
        sums
    }

    /// The same of weights whose order is [`WeightOrder::OutputFirst`], and the most that those on one side of zero
    /// add up to in any channel, without sign, if no channel has more than 2^24 weights.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn weight_sums_and_largest(&self) -> (Vec<i32>, i32) {
        let mut sums = vec![[0; 2]; self.out_channels];
        add_sides(Isa::Amx, self.weights, self.depth(), &mut sums);
        let largest = sums.iter().flat_map(|[all, above]| [*above, above.wrapping_sub(*all)]).max();
        (sums.into_iter().map(|[all, _]| all).collect(), largest.unwrap_or(0))
    }

    /// Panics unless the counts agree with each other.
    pub(crate) fn check(&self) {
        let Filter { groups, in_channels, out_channels, .. } = *self;
        assert!(groups > 0 && in_channels > 0 && out_channels > 0, "a filter without channels or groups");
        assert!(
            in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups),
            "{groups} groups do not divide {in_channels} input and {out_channels} output channels"
        );
        if self.order == WeightOrder::OutputLast {
            assert_eq!(self.group_in(), 1, "a depthwise filter sees one channel");
        }
        assert!(self.window.kernel.iter().chain(&self.window.stride).all(|&n| n > 0), "an empty window");
        let count = out_channels.checked_mul(self.window.taps()).and_then(|n| n.checked_mul(self.group_in()));
        assert_eq!(Some(self.weights.len()), count, "number of weights");
    }
}

/// Sums that run side by side.
const LANES: usize = 32;

/// Sums that run side by side over what is left.
const FEW: usize = 8;

/// Numbers of a row of which a word holds the sum in each lane.
const BLOCK: usize = 256 * LANES;

multiversion! {
    /// Adds to each sum the numbers of one row.
    fn add_rows(weights: &[i8], depth: usize, sums: &mut [i32]) {
        for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(depth)) {
            for block in row.chunks(BLOCK) {
                let (chunks, rest) = block.as_chunks::<LANES>();
                let (fews, rest) = rest.as_chunks::<FEW>();
                let own = sum_of(&lane_sums(chunks)) + sum_of(&lane_sums(fews));
                *sum = sum.wrapping_add(own + rest.iter().map(|weight| i32::from(*weight)).sum::<i32>());
            }
        }
    }
}

multiversion! {
    /// Adds to each pair of sums the numbers of one row, and those above zero.
    #[cfg(target_arch = "x86_64")]
    fn add_sides(weights: &[i8], depth: usize, sums: &mut [[i32; 2]]) {
        for ([all, above], row) in sums.iter_mut().zip(weights.chunks_exact(depth)) {
            for block in row.chunks(BLOCK) {
                let (mut lanes, mut lanes_above) = ([0_i16; LANES], [0_i16; LANES]);
                let (chunks, rest) = block.as_chunks::<LANES>();
                for chunk in chunks {
                    // Both at once: with a loop for each, the compiler gathers bytes for the second one by one.
                    for ((lane, above), weight) in lanes.iter_mut().zip(&mut lanes_above).zip(chunk) {
                        *lane += i16::from(*weight);
                        *above += i16::from((*weight).max(0));
                    }
                }
                *all = all.wrapping_add(sum_of(&lanes));
                *above = above.wrapping_add(sum_of(&lanes_above));
                for weight in rest {
                    *all = all.wrapping_add((*weight).into());
                    *above = above.wrapping_add((*weight).max(0).into());
                }
            }
        }
    }
}

#[inline(always)]
fn lane_sums<const LANES: usize>(chunks: &[[i8; LANES]]) -> [i16; LANES] {
    let mut lanes = [0; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, weight)| *lane += i16::from(*weight));
    }
    lanes
}

#[inline(always)]
fn sum_of<const LANES: usize>(lanes: &[i16; LANES]) -> i32 {
    lanes.iter().map(|lane| i32::from(*lane)).sum()
}

multiversion! {
    /// Adds to each sum the numbers of one column.
    fn add_columns(weights: &[i8], sums: &mut [i32]) {
        for row in weights.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum = sum.wrapping_add((*weight).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_plain_loops() {
        for (channels, inputs) in [(3, 1), (5, 31), (4, 32), (2, 100), (2, 2 * BLOCK + 33), (1, BLOCK)] {
            let weights: Vec<i8> =
                (0..channels * inputs).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 11) as i8).collect();
            let extreme: Vec<i8> =
                weights.iter().map(|weight| if *weight < -9 { -128 } else { 127 }).collect();
            for weights in [&weights, &extreme] {
                let plain: Vec<i32> = weights
                    .chunks(inputs)
                    .map(|row| row.iter().map(|weight| i32::from(*weight)).sum())
                    .collect();
                let side = |sign: i32| {
                    let row = |row: &[i8]| row.iter().map(|weight| (sign * i32::from(*weight)).max(0)).sum();
                    weights.chunks(inputs).map(row).max().unwrap_or(0)
                };
                let (window, order) = (Window::POINT, WeightOrder::OutputFirst);
                let filter =
                    Filter { window, groups: 1, in_channels: inputs, out_channels: channels, order, weights };
                assert_eq!(filter.weight_sums(), plain);
                #[cfg(target_arch = "x86_64")]
                assert_eq!(filter.weight_sums_and_largest(), (plain, side(1).max(side(-1))));
                #[cfg(not(target_arch = "x86_64"))]
                let _ = side;
            }
        }
    }
}
