//! Places in the arena: tensors that are never alive at the same time share bytes.

use crate::buffer::LINE;

/// A block of memory with the span of time in which it must keep what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Bytes that it takes.
    pub bytes: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

impl Life {
    fn meets(&self, other: &Life) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// An offset for every block, a multiple of the cache line, and the size of the arena; `None` on
/// overflow. Large blocks are placed first, each into the smallest gap that holds it (Pisarchyk and
/// Lee 2020, greedy by size).
pub(crate) fn place(lives: &[Life]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..lives.len()).filter(|i| lives[*i].bytes > 0).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lives[*i].bytes), lives[*i].first));
    let mut offsets = vec![0; lives.len()];
    // Blocks that have a place: start, end and index, by start.
    let mut placed: Vec<(usize, usize, usize)> = Vec::with_capacity(order.len());
    let mut total = 0;
    for index in order {
        let bytes = lives[index].bytes.checked_next_multiple_of(LINE)?;
        let mut best: Option<(usize, usize)> = None;
        let mut reached = 0;
        for (start, end, _) in placed.iter().filter(|(.., other)| lives[*other].meets(&lives[index])) {
            let gap = start.saturating_sub(reached);
            if gap >= bytes && best.is_none_or(|(_, smallest)| gap < smallest) {
                best = Some((reached, gap));
            }
            reached = reached.max(*end);
        }
        let start = best.map_or(reached, |(start, _)| start);
        let end = start.checked_add(bytes)?;
        offsets[index] = start;
        total = total.max(end);
        let position = placed.partition_point(|other| *other < (start, end, index));
        placed.insert(position, (start, end, index));
    }
    Some((offsets, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn life(bytes: usize, first: usize, last: usize) -> Life {
        Life { bytes, first, last }
    }

    #[test]
    fn a_chain_needs_two_blocks() {
        let lives: Vec<Life> = (0..10).map(|i| life(128, i, i + 1)).collect();
        let (_, total) = place(&lives).unwrap();
        assert_eq!(total, 256);
    }

    #[test]
    fn a_gap_is_used() {
        let (offsets, total) = place(&[life(256, 0, 1), life(128, 0, 9), life(64, 2, 3)]).unwrap();
        assert_eq!((offsets[2], total), (0, 384));
    }

    #[test]
    fn too_much_is_refused() {
        assert_eq!(place(&[life(usize::MAX - 100, 0, 1), life(usize::MAX / 2, 0, 1)]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_alive_together_do_not_overlap(
            lives in prop::collection::vec((0usize..1000, 0usize..20, 0usize..6), 0..40)
        ) {
            let lives: Vec<Life> = lives.into_iter().map(|(b, first, more)| life(b, first, first + more)).collect();
            let (offsets, total) = place(&lives).unwrap();
            for (i, a) in lives.iter().enumerate() {
                prop_assert!(offsets[i] % LINE == 0 && offsets[i] + a.bytes <= total);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !a.meets(b) || a.bytes == 0 || b.bytes == 0);
                }
            }
        }
    }
}
