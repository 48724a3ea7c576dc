//! What a quantized convolution multiplies by.

use std::borrow::Cow;
use std::ops::Range;

use crate::Window;
use crate::prefetch::prefetch;

use super::weight_sums;

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
        match self.order {
            WeightOrder::OutputFirst => weight_sums::of_rows(self.weights, self.depth()),
            WeightOrder::OutputLast => weight_sums::of_columns(self.weights, self.out_channels),
        }
    }

    /// The same of weights whose order is [`WeightOrder::OutputFirst`], and the most that those on one side of zero
    /// add up to in any channel, without sign, if no channel has more than 2^24 weights.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn weight_sums_and_largest(&self) -> (Vec<i32>, i32) {
        let sums = weight_sums::of_rows_and_above(self.weights, self.depth());
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
