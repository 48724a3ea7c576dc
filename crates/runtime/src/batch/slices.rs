//! How many samples go through each part of a graph at a time.
//!
//! Where samples are independent, a layer may take one of them, all, or any number between. Few at a time
//! hand over activations in the caches; many at a time share what weights cost to read. Which is better
//! changes along a network: images shrink, weights grow. What is counted is bytes that come from beyond the
//! caches:
//!
//! - weights, once for each slice;
//! - of what a layer reads and writes for a slice, what does not fit the caches;
//! - [`STEP`] for each layer and slice, since threads have to meet;
//! - where the number of samples changes, what lies between, four times: it is copied out of one
//!   plan's memory and into another's.
//!
//! The cut and the sizes with the least sum are found by dynamic programming over the nodes.

use std::ops::Range;

/// Bytes of activations that a core has at hand: what its second-level cache holds, and as much of the one
/// that it shares with others.
const CACHE: u64 = 2 << 20;

/// What it costs to begin a layer, in bytes that could have been moved meanwhile: some microseconds.
const STEP: u64 = 128 << 10;

/// What a node moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes that it reads and writes for each sample; 0 where it computes nothing.
    pub activations: u64,
    /// Bytes for each sample that lie between the nodes before it and those from it on.
    pub before: u64,
}

/// Nodes that take the same number of samples at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub nodes: Range<usize>,
    pub size: usize,
}

/// The spans of nodes for a batch of `samples`, on so many threads.
pub(super) fn choose(traffic: &[Traffic], samples: usize, threads: usize) -> Vec<Span> {
    let powers = std::iter::successors(Some(1usize), |size| size.checked_mul(2));
    let sizes: Vec<usize> = powers.take_while(|size| *size < samples).chain([samples]).collect();
    // For each size that nodes up to here may end with, the least cost; for each node and size, the
    // size of the node before.
    let mut costs = vec![0u64; sizes.len()];
    let mut origins: Vec<Vec<usize>> = Vec::with_capacity(traffic.len());
    for node in traffic {
        let (cheapest, least) =
            costs.iter().copied().enumerate().min_by_key(|(_, cost)| *cost).unwrap_or_default();
        let changed = least.saturating_add(node.before.saturating_mul(4).saturating_mul(samples as u64));
        // Larger slices where it makes no difference.
        let origin = |(own, cost): (usize, &u64)| if *cost <= changed { own } else { cheapest };
        let from: Vec<usize> = costs.iter().enumerate().map(origin).collect();
        let add = |(size, cost): (&usize, &u64)| {
            (*cost).min(changed).saturating_add(node.cost(*size, samples, threads))
        };
        costs = sizes.iter().zip(&costs).map(add).collect();
        origins.push(from);
    }
    let mut best = (0..sizes.len()).rev().min_by_key(|index| costs[*index]).unwrap_or(0);
    let mut spans: Vec<Span> = Vec::new();
    for (node, from) in origins.iter().enumerate().rev() {
        match spans.last_mut() {
            Some(span) if span.size == sizes[best] => span.nodes.start = node,
            _ => spans.push(Span { nodes: node..node + 1, size: sizes[best] }),
        }
        best = from[best];
    }
    spans.reverse();
    spans
}

impl Traffic {
    /// What all samples cost where this many are taken at a time.
    fn cost(self, size: usize, samples: usize, threads: usize) -> u64 {
        if self.activations == 0 {
            return 0;
        }
        let slices = samples.div_ceil(size) as u64;
        let kept = CACHE.saturating_mul(threads as u64) / size as u64;
        let excess = self.activations.saturating_sub(kept).saturating_mul(samples as u64);
        slices.saturating_mul(self.weights.saturating_add(STEP)).saturating_add(excess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(weights: u64, activations: u64, before: u64) -> Traffic {
        Traffic { weights, activations, before }
    }

    #[test]
    fn what_fits_the_caches_is_not_cut() {
        let small = vec![layer(4000, 20_000, 10_000); 5];
        assert_eq!(choose(&small, 32, 1), [Span { nodes: 0..5, size: 32 }]);
        assert_eq!(choose(&[], 32, 1), []);
    }

    #[test]
    fn large_images_go_one_by_one_and_large_weights_are_shared() {
        let images = vec![layer(100_000, 8 << 20, 3 << 20); 4];
        let weights = vec![layer(8 << 20, 100_000, 50_000); 4];
        let spans = choose(&[images, weights].concat(), 33, 1);
        assert_eq!(spans, [Span { nodes: 0..4, size: 1 }, Span { nodes: 4..8, size: 33 }]);
    }

    #[test]
    fn much_between_two_layers_keeps_them_together() {
        let apart = |before| [layer(0, 3 << 20, 0), layer(1 << 20, 1 << 17, before)];
        assert_eq!(choose(&apart(1000), 16, 1).len(), 2);
        assert_eq!(choose(&apart(1 << 20), 16, 1).len(), 1);
    }

    #[test]
    fn no_numbers_are_too_large() {
        let huge = layer(u64::MAX, u64::MAX, u64::MAX);
        assert!(!choose(&[huge; 3], usize::MAX, usize::MAX).is_empty());
    }
}
