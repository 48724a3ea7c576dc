//! Where the weights of a convolution stand before they are packed.

use super::side_by_side::side_by_side;
use crate::Isa;
use crate::prefetch::prefetch;

/// The order of weights in memory, for each group of channels and each tap.
pub(crate) struct Order {
    /// Where each tap begins; `None` for one whose weights are all zero.
    taps: Vec<Option<usize>>,
    /// Output channels of a group.
    channels: usize,
    /// Weights of a group.
    group: usize,
    /// Input channels that each tap of a group reads.
    depth: usize,
    along: Along,
}

/// What lies side by side.
enum Along {
    /// The input channels of an output channel; output channels are so far apart.
    Inputs(usize),
    /// The output channels of an input channel; input channels are so far apart.
    Outputs(usize),
}

/// Weights in some order.
#[derive(Clone, Copy)]
pub(crate) struct Filters<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) order: &'a Order,
}

impl Order {
    /// Weights `[output channel][tap][depth]`, of groups of so many output channels.
    pub(crate) fn plain(channels: usize, taps: usize, depth: usize) -> Order {
        let steps = taps * depth;
        let taps = (0..taps).map(|tap| Some(tap * depth)).collect();
        Order { taps, channels, group: channels * steps, depth, along: Along::Inputs(steps) }
    }

    /// The same weights `[depth][of all taps][output channel]`, seen from the other side: groups of
    /// `channels` output channels that read `depth` input channels, through some of `all` taps.
    pub(crate) fn turned(channels: usize, taps: Vec<Option<usize>>, all: usize, depth: usize) -> Order {
        let taps = taps.into_iter().map(|tap| tap.map(|tap| tap * channels)).collect();
        let group = channels * all * depth;
        Order { taps, channels, group, depth, along: Along::Outputs(all * channels) }
    }

    /// Weights of all taps of one output channel.
    pub(super) fn steps(&self) -> usize {
        self.taps.len() * self.depth
    }
}

impl Filters<'_> {
    /// Writes the weights of input channels `first..first + steps` and one tap, those of `channels` output
    /// channels from `channel` on side by side: `out[step * pitch + index]`. The channels are of one group.
    pub(super) fn gather(
        self,
        isa: Isa,
        tap: usize,
        [channel, channels]: [usize; 2],
        [first, steps]: [usize; 2],
        out: &mut [f32],
        pitch: usize,
    ) {
        let Order { channels: of_group, group, .. } = *self.order;
        let Some(start) = self.order.taps[tap] else {
            for row in out.chunks_mut(pitch).take(steps) {
                row[..channels].fill(0.0);
            }
            return;
        };
        let data = &self.data[channel / of_group * group + start..];
        let channel = channel % of_group;
        match self.order.along {
            Along::Inputs(apart) => {
                let row = |index: usize| &data[(channel + index) * apart + first..][..steps];
                side_by_side(isa, [channels, steps], row, out, pitch);
            }
            Along::Outputs(apart) => {
                for (step, row) in out.chunks_mut(pitch).take(steps).enumerate() {
                    row[..channels].copy_from_slice(&data[(first + step) * apart + channel..][..channels]);
                }
            }
        }
    }

    /// Asks for the weights of input channels from `first` on that will be gathered next.
    pub(super) fn prefetch(self, tap: usize, [channel, channels]: [usize; 2], [first, steps]: [usize; 2]) {
        let Order { channels: of_group, group, depth, .. } = *self.order;
        let (Along::Inputs(apart), Some(start)) = (&self.order.along, self.order.taps[tap]) else { return };
        let next = first.min(depth)..(first + steps).min(depth);
        let start = channel / of_group * group + start + channel % of_group * apart;
        let rows = self.data[start..].chunks(*apart).take(channels);
        rows.for_each(|row| prefetch(&row[next.clone()]));
    }

    /// Writes the weights of a panel, `[taps][depth][lanes]`: those of `channels` output channels from
    /// `channel` on, and zeros in the lanes behind them.
    pub(super) fn pack(self, isa: Isa, [channel, channels]: [usize; 2], lanes: usize, out: &mut [f32]) {
        if channels < lanes {
            out.fill(0.0);
        }
        let depth = self.order.depth;
        for (tap, out) in out.chunks_exact_mut(depth * lanes).enumerate() {
            self.gather(isa, tap, [channel, channels], [0, depth], out, lanes);
        }
    }
}
