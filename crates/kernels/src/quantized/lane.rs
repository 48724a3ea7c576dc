//! Which output channel stands where in a kernel's vectors.

use std::num::NonZeroUsize;

use bytemuck::{Pod, Zeroable};

/// The output channel at a place of a kernel's vectors, if there is one; as small as a number, because there are
/// as many as channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Lane(Option<NonZeroUsize>);

// SAFETY: zero is `None`.
unsafe impl Zeroable for Lane {}
// SAFETY: every number is a value, and nothing else is there.
unsafe impl Pod for Lane {}

impl Lane {
    /// The lane of a channel, or of none where there are not so many.
    pub(crate) fn new(channel: usize, channels: usize) -> Lane {
        Lane(if channel < channels { NonZeroUsize::new(channel + 1) } else { None })
    }

    /// Its channel.
    pub(crate) fn channel(self) -> Option<usize> {
        self.0.map(|next| next.get() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_hold_the_channels_that_are_there() {
        let lanes: Vec<Option<usize>> = (0..4).map(|channel| Lane::new(channel, 3).channel()).collect();
        assert_eq!(lanes, [Some(0), Some(1), Some(2), None]);
        assert_eq!(Lane::new(usize::MAX - 1, usize::MAX).channel(), Some(usize::MAX - 1));
        assert_eq!(size_of::<Lane>(), size_of::<usize>());
    }
}
