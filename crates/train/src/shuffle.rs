//! The order of samples in an epoch.

/// A random order of `0..len` for epoch `epoch` of a run with this seed: the same on every machine.
///
/// Fisher and Yates' shuffle (Durstenfeld 1964) from the last place down, with numbers of SplitMix64
/// (Steele, Lea, Flood 2014), brought to a range without bias by multiplication (Lemire 2019). The
/// generator starts at the output of SplitMix64 for the seed, plus the epoch, mixed once more, so that
/// epochs and seeds do not meet.
#[must_use]
pub fn permutation(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut generator = SplitMix64(SplitMix64(seed).next().wrapping_add(epoch));
    let mut generator = SplitMix64(generator.next());
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, generator.below(last as u64 + 1) as usize);
    }
    order
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each as likely as the others.
    fn below(&mut self, bound: u64) -> u64 {
        // The low half of the product tells the few numbers that would be too likely.
        let excess = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= excess {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once() {
        for len in [0, 1, 2, 1000] {
            let mut order = permutation(1, 2, len);
            order.sort_unstable();
            assert_eq!(order, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn orders_differ_by_seed_and_epoch_and_stay_as_they_are() {
        let first = permutation(0, 0, 100);
        assert_eq!(first, permutation(0, 0, 100));
        assert_ne!(first, permutation(0, 1, 100));
        assert_ne!(first, permutation(1, 0, 100));
        assert_eq!(permutation(7, 3, 8), KNOWN, "resuming relies on it");
    }

    const KNOWN: [usize; 8] = [1, 4, 2, 3, 5, 7, 0, 6];

    #[test]
    fn places_are_equally_likely() {
        let mut counts = [[0u32; 4]; 4];
        for epoch in 0..4000 {
            permutation(5, epoch, 4)
                .iter()
                .enumerate()
                .for_each(|(place, sample)| counts[place][*sample] += 1);
        }
        assert!(counts.iter().flatten().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
