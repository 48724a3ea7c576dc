//! Which output channel stands where in a kernel's vectors.

use std::num::NonZeroUsize;

/// The output channel at a place of a kernel's vectors, if there is one; as small as a number, because there are
/// as many as channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane(Option<NonZeroUsize>);

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
