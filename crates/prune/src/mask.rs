//! Masks: which weights stay, by their magnitude.

use crate::structure::{Pooling, Structure};

/// Weights as `[rows, taps, columns]`: output channels, places in the kernel, input channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Output channels.
    pub rows: usize,
    /// Places in the kernel.
    pub taps: usize,
    /// Input channels, of a group.
    pub columns: usize,
}

impl Matrix {
    /// Number of weights.
    #[must_use]
    pub fn len(self) -> usize {
        self.rows * self.taps * self.columns
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The weights of a layer, and how they are pruned.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// How they are arranged.
    pub matrix: Matrix,
    /// Them.
    pub values: &'a [f32],
    /// What is pruned together.
    pub structure: Structure,
    /// Which share of it, in `[0, 1)`.
    pub sparsity: f32,
}

/// For each layer, which of its weights stay. Blocks and single weights are ranked in their layer, or, if
/// `global`, among all of the same structure and share; a layer keeps at least one of them.
///
/// As in TensorFlow (`pruning_impl.py`) `max(round(n (1 - sparsity)), 1)` of `n` stay; of equal ones just so
/// many, the first ones, where TensorFlow keeps all.
#[must_use]
pub fn masks(layers: &[Weights<'_>], global: bool) -> Vec<Vec<bool>> {
    let scores: Vec<Vec<u32>> = layers.iter().map(scores).collect();
    let mut masks: Vec<Vec<bool>> = vec![Vec::new(); layers.len()];
    for group in groups(layers, global) {
        let lists: Vec<&[u32]> = group.iter().map(|layer| scores[*layer].as_slice()).collect();
        let mut cut = Cut::new(&lists, layers[group[0]].sparsity);
        for (layer, list) in group.iter().zip(lists) {
            let mut kept = cut.kept(list);
            if !kept.contains(&true) && !kept.is_empty() {
                kept[largest(list)] = true;
            }
            masks[*layer] = kept;
        }
    }
    layers.iter().zip(masks).map(|(layer, kept)| spread(layer, kept)).collect()
}

/// Layers that are ranked together; those with a fixed pattern need no ranking.
fn groups(layers: &[Weights<'_>], global: bool) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        if layer.structure.fixed_sparsity().is_some() {
            continue;
        }
        let alike = |other: &Weights<'_>| {
            other.structure == layer.structure && other.sparsity.to_bits() == layer.sparsity.to_bits()
        };
        match groups.iter_mut().find(|group| global && alike(&layers[group[0]])) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// The bits of a magnitude: they are ordered as it is.
fn magnitude(value: f32) -> u32 {
    value.abs().to_bits()
}

/// How large each block, or each weight, is. Empty for a fixed pattern.
fn scores(weights: &Weights<'_>) -> Vec<u32> {
    let Matrix { rows, taps, columns } = weights.matrix;
    match weights.structure {
        Structure::Unstructured => weights.values.iter().map(|value| magnitude(*value)).collect(),
        Structure::NOfM { .. } => Vec::new(),
        Structure::Blocks { rows: height, columns: width, pooling } => {
            let blocks = columns.div_ceil(width);
            let mut scores = Vec::with_capacity(rows.div_ceil(height) * taps * blocks);
            let mut sums = vec![0.0f64; blocks];
            for first in (0..rows).step_by(height) {
                for tap in 0..taps {
                    sums.fill(0.0);
                    let last = (first + height).min(rows);
                    for row in first..last {
                        let start = (row * taps + tap) * columns;
                        let line = &weights.values[start..start + columns];
                        for (sum, block) in sums.iter_mut().zip(line.chunks(width)) {
                            for value in block {
                                let value = f64::from(value.abs());
                                *sum = if pooling == Pooling::Max { sum.max(value) } else { *sum + value };
                            }
                        }
                    }
                    for (block, sum) in sums.iter().enumerate() {
                        let count = (last - first) * width.min(columns - block * width);
                        let score = if pooling == Pooling::Max { *sum } else { *sum / count as f64 };
                        scores.push(magnitude(score as f32));
                    }
                }
            }
            scores
        }
    }
}

/// From blocks that stay to weights that stay.
fn spread(weights: &Weights<'_>, kept: Vec<bool>) -> Vec<bool> {
    let Matrix { rows, taps, columns } = weights.matrix;
    match weights.structure {
        Structure::Unstructured => kept,
        Structure::NOfM { keep, of } => pattern(weights, keep, of),
        Structure::Blocks { rows: height, columns: width, .. } => {
            let blocks = columns.div_ceil(width);
            let mut mask = Vec::with_capacity(weights.matrix.len());
            for (row, tap) in (0..rows).flat_map(|row| (0..taps).map(move |tap| (row, tap))) {
                let line = &kept[(row / height * taps + tap) * blocks..][..blocks];
                mask.extend((0..columns).map(|column| line[column / width]));
            }
            mask
        }
    }
}

/// The `keep` largest of each `of` consecutive input channels.
fn pattern(weights: &Weights<'_>, keep: usize, of: usize) -> Vec<bool> {
    let mut mask = Vec::with_capacity(weights.matrix.len());
    let mut order: Vec<usize> = Vec::with_capacity(of);
    for line in weights.values.chunks(weights.matrix.columns.max(1)) {
        for block in line.chunks(of) {
            order.clear();
            order.extend(0..block.len());
            order.sort_by_key(|place| (std::cmp::Reverse(magnitude(block[*place])), *place));
            let start = mask.len();
            mask.resize(start + block.len(), false);
            order.iter().take(keep).for_each(|place| mask[start + place] = true);
        }
    }
    mask
}

fn largest(scores: &[u32]) -> usize {
    let best = scores.iter().enumerate().max_by_key(|(place, score)| (**score, std::cmp::Reverse(*place)));
    best.map_or(0, |(place, _)| place)
}

/// What is above `score` stays, and so do the next `ties` that are equal to it.
struct Cut {
    score: u32,
    ties: usize,
}

impl Cut {
    /// The cut that leaves this share of all scores away. Found by counting, high half first: no copy of the
    /// scores is sorted.
    fn new(lists: &[&[u32]], sparsity: f32) -> Cut {
        let count: usize = lists.iter().map(|list| list.len()).sum();
        let kept = (count as f32 * (1.0 - sparsity)).round_ties_even().max(1.0) as usize;
        let kept = kept.min(count);
        let counts = |of: &dyn Fn(u32) -> Option<u16>| {
            let mut counts = vec![0usize; 1 << 16];
            let places = lists.iter().flat_map(|list| list.iter()).filter_map(|score| of(*score));
            places.for_each(|place| counts[usize::from(place)] += 1);
            counts
        };
        // The place whose own count holds the last one that stays, and how many of those above it stay.
        let find = |counts: &[usize], wanted: usize| {
            let mut above = 0;
            for (place, count) in counts.iter().enumerate().rev() {
                if above + count >= wanted {
                    return (place as u32, above);
                }
                above += count;
            }
            (0, above)
        };
        let (high, above) = find(&counts(&|score| Some((score >> 16) as u16)), kept);
        let inside = counts(&|score| (score >> 16 == high).then_some(score as u16));
        let (low, more) = find(&inside, kept - above);
        Cut { score: high << 16 | low, ties: kept - above - more }
    }

    fn kept(&mut self, scores: &[u32]) -> Vec<bool> {
        let mut keep = |score: u32| {
            let tie = score == self.score && self.ties > 0;
            self.ties -= usize::from(tie);
            tie || score > self.score
        };
        scores.iter().map(|score| keep(*score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(matrix: [usize; 3], values: &[f32], structure: Structure, sparsity: f32) -> Weights<'_> {
        let [rows, taps, columns] = matrix;
        Weights { matrix: Matrix { rows, taps, columns }, values, structure, sparsity }
    }

    fn one(weights: Weights<'_>) -> Vec<u8> {
        masks(&[weights], false)[0].iter().map(|kept| u8::from(*kept)).collect()
    }

    #[test]
    fn the_smallest_go_and_of_equal_ones_the_last() {
        let unstructured = Structure::Unstructured;
        assert_eq!(one(weights([1, 1, 4], &[0.1, -3.0, 2.0, -0.2], unstructured, 0.5)), [0, 1, 1, 0]);
        assert_eq!(one(weights([1, 1, 4], &[1.0, -1.0, 1.0, 1.0], unstructured, 0.5)), [1, 1, 0, 0]);
        assert_eq!(one(weights([1, 1, 3], &[0.0, 0.0, 0.0], unstructured, 0.99)), [1, 0, 0]);
        assert_eq!(one(weights([1, 1, 3], &[3.0, 1.0, 2.0], unstructured, 0.0)), [1, 1, 1]);
    }

    #[test]
    fn blocks_go_as_a_whole() {
        let average = Structure::Blocks { rows: 2, columns: 2, pooling: Pooling::Average };
        let max = Structure::Blocks { rows: 2, columns: 2, pooling: Pooling::Max };
        let values = [4.0, 0.0, 2.0, 2.0, 9.0, 0.0, 0.0, 2.0, 2.0, 9.0];
        // Means 1, 2 and 9, largest 4, 2 and 9; the last block is one column wide.
        assert_eq!(one(weights([2, 1, 5], &values, average, 0.34)), [0, 0, 1, 1, 1, 0, 0, 1, 1, 1]);
        assert_eq!(one(weights([2, 1, 5], &values, max, 0.34)), [1, 1, 0, 0, 1, 1, 1, 0, 0, 1]);
        // Blocks lie at one place of the kernel.
        let line = Structure::Blocks { rows: 2, columns: 1, pooling: Pooling::Average };
        assert_eq!(one(weights([2, 2, 1], &[1.0, 5.0, 1.0, 0.0], line, 0.5)), [0, 1, 0, 1]);
    }

    #[test]
    fn two_of_four_stay_in_each_group() {
        let values = [1.0, 4.0, -3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0];
        let structure = Structure::NOfM { keep: 2, of: 4 };
        assert_eq!(one(weights([1, 1, 11], &values, structure, 0.5)), [0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn globally_small_layers_lose_more_but_never_all() {
        let (large, small) = ([5.0, 6.0, 7.0, 8.0], [0.1, 0.3, 0.2, 0.1]);
        let layers = [&large, &small].map(|values| weights([1, 1, 4], values, Structure::Unstructured, 0.5));
        let masks = masks(&layers, true);
        assert_eq!(masks[0], [true; 4]);
        assert_eq!(masks[1], [false, true, false, false]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn as_many_stay_as_were_asked_for_and_none_is_smaller(
            values in proptest::collection::vec(-1.0f32..1.0, 1..400),
            coarse in any::<bool>(),
            sparsity in 0.0f32..0.99,
        ) {
            let coarsened = |value: &f32| if coarse { (value * 4.0).round() } else { *value };
            let values: Vec<f32> = values.iter().map(coarsened).collect();
            let mask = &masks(&[weights([1, 1, values.len()], &values, Structure::Unstructured, sparsity)], false)[0];
            let wanted = (values.len() as f32 * (1.0 - sparsity)).round_ties_even().max(1.0) as usize;
            prop_assert_eq!(mask.iter().filter(|kept| **kept).count(), wanted);
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
            prop_assert!(order[..wanted].iter().all(|place| mask[*place]));
        }
    }
}
