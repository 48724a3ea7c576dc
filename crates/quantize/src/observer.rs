//! From what was measured of a tensor to the range that its integers cover.
//!
//! All but [`Observer::MinMax`] may leave the outermost values out: they saturate, and all others get
//! a finer grid.

use litesmith_graph::{Quantization, Width};

use crate::error::QuantizeError;
use crate::histogram::{Histogram, SIDE};
use crate::parameters::activation;
use crate::statistics::{Range, Statistics};

/// How the range of an activation is found.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Observer {
    /// The smallest and the largest element of all samples.
    #[default]
    MinMax,
    /// Moving averages of the smallest and the largest element of each sample, in the order of samples.
    Ema {
        /// Weight of what came before, from 0 to below 1.
        decay: f64,
    },
    /// All but a share of the elements at either end.
    Percentile {
        /// Percentage of the elements that are below the upper end (and above the lower), above 50 and
        /// up to 100.
        percentile: f64,
    },
    /// The ends with the least mean squared error.
    Mse,
    /// The ends that lose the least information.
    Entropy,
}

impl Observer {
    /// Decay where none is given.
    pub const DECAY: f64 = 0.99;
    /// Percentile where none is given.
    pub const PERCENTILE: f64 = 99.99;

    /// Checks its numbers.
    ///
    /// # Errors
    /// If one is out of its bounds; the message says which.
    pub fn check(self) -> Result<(), String> {
        match self {
            Observer::Percentile { percentile } if !(percentile > 50.0 && percentile <= 100.0) => {
                Err(format!("a percentile is above 50 and up to 100, not {percentile}"))
            }
            Observer::Ema { decay } if !(0.0..1.0).contains(&decay) => {
                Err(format!("a decay is from 0 to below 1, not {decay}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it needs counts of values.
    #[must_use]
    pub fn needs_histograms(self) -> bool {
        match self {
            Observer::MinMax | Observer::Ema { .. } => false,
            Observer::Percentile { .. } | Observer::Mse | Observer::Entropy => true,
        }
    }

    /// The range of a tensor; `None` if the statistics do not know it.
    pub(crate) fn range(
        self,
        statistics: &Statistics,
        tensor: &str,
        width: Width,
    ) -> Result<Option<Range>, QuantizeError> {
        let Some(whole) = statistics.ranges.get(tensor).copied() else { return Ok(None) };
        let histogram = || {
            let counted = statistics.histogram(tensor).filter(|histogram| histogram.total() > 0);
            counted.ok_or_else(|| QuantizeError::NoHistogram(tensor.to_owned()))
        };
        Ok(Some(match self {
            Observer::MinMax => whole,
            Observer::Ema { decay } => {
                let extremes = statistics.extremes(tensor).filter(|extremes| !extremes.is_empty());
                moving_average(extremes.unwrap_or(&[whole]), decay)
            }
            Observer::Percentile { percentile } => without_tails(histogram()?, whole, percentile),
            Observer::Mse => least_error(histogram()?, whole, width),
            Observer::Entropy => least_divergence(histogram()?, whole, width),
        }))
    }
}

/// Moving averages with the weight that the start lacks made up for, as Adam does (Kingma and Ba 2014):
/// the first sample counts no more than others. Each range is extended to zero first, as TensorFlow's
/// quantization-aware training has it.
fn moving_average(ranges: &[Range], decay: f64) -> Range {
    let (mut weight, mut min, mut max) = (0.0, 0.0, 0.0);
    for range in ranges {
        weight = decay * weight + (1.0 - decay);
        min = decay * min + (1.0 - decay) * f64::from(range.min.min(0.0));
        max = decay * max + (1.0 - decay) * f64::from(range.max.max(0.0));
    }
    Range { min: (min / weight) as f32, max: (max / weight) as f32 }
}

/// A bin that is not empty: the numbers that it spans, and how many there are.
#[derive(Clone, Copy)]
struct Bin {
    from: f64,
    to: f64,
    count: f64,
}

/// The bins that are not empty, in ascending order, cut to the range.
fn bins(histogram: &Histogram, whole: Range) -> Vec<Bin> {
    let width = histogram.width();
    let (low, high) = (f64::from(whole.min), f64::from(whole.max));
    let bin = |place: i64, count: u64| {
        let (from, to) = (place as f64 * width, (place + 1) as f64 * width);
        Bin { from: from.clamp(low, high), to: to.clamp(low, high), count: count as f64 }
    };
    let negative =
        histogram.negative().iter().enumerate().rev().map(|(i, count)| bin(-(i as i64) - 1, *count));
    let positive = histogram.positive().iter().enumerate().map(|(i, count)| bin(i as i64, *count));
    negative.chain(positive).filter(|bin| bin.count > 0.0).collect()
}

fn without_tails(histogram: &Histogram, whole: Range, percentile: f64) -> Range {
    let bins = bins(histogram, whole);
    let total: f64 = bins.iter().map(|bin| bin.count).sum();
    let outside = total * (1.0 - percentile / 100.0);
    let end = |bins: &mut dyn Iterator<Item = &Bin>, outer: fn(&Bin) -> [f64; 2], whole: f32| {
        let mut left = outside;
        for bin in bins {
            if bin.count > left {
                let [outermost, innermost] = outer(bin);
                return (outermost + (innermost - outermost) * left / bin.count) as f32;
            }
            left -= bin.count;
        }
        whole
    };
    let max = end(&mut bins.iter().rev(), |bin| [bin.to, bin.from], whole.max);
    let min = end(&mut bins.iter(), |bin| [bin.from, bin.to], whole.min);
    Range { min, max }
}

/// Shares of each end that are tried.
const STEPS: u32 = 50;

/// Minimizes the mean squared error of the quantized counts over the shares of both ends, first moved
/// together, then in turn until nothing gets better.
fn least_error(histogram: &Histogram, whole: Range, width: Width) -> Range {
    let bins = bins(histogram, whole);
    let (low, high) = (whole.min.min(0.0), whole.max.max(0.0));
    let range = |shares: [u32; 2]| {
        let share = |step: u32| step as f32 / STEPS as f32;
        Range { min: low * share(shares[0]), max: high * share(shares[1]) }
    };
    let error = |shares| squared_error(&bins, &activation(width, range(shares)), width);
    let mut best = ([STEPS; 2], error([STEPS; 2]));
    let mut improve = |candidates: &mut dyn Iterator<Item = [u32; 2]>| {
        let before = best.1;
        for shares in candidates {
            let error = error(shares);
            if error < best.1 {
                best = (shares, error);
            }
        }
        (best.0, best.1 < before)
    };
    let (mut shares, _) = improve(&mut (1..STEPS).map(|step| [step; 2]));
    if low < 0.0 && high > 0.0 && width == Width::Eight {
        for _ in 0..3 {
            let (_, lower) = improve(&mut (1..=STEPS).map(|step| [step, shares[1]]));
            let start = shares;
            let (found, upper) = improve(&mut (1..=STEPS).map(|step| [start[0], step]));
            shares = found;
            if !lower && !upper {
                break;
            }
        }
    }
    range(shares)
}

/// The squared error of all elements on a grid, as if each bin's were spread evenly over it. Those next
/// to zero count as zero, which every grid has.
fn squared_error(bins: &[Bin], grid: &Quantization, width: Width) -> f64 {
    let Some((scale, zero_point)) = grid.single() else { return f64::INFINITY };
    let scale = f64::from(scale);
    let (least, most) = match width {
        Width::Eight => (-128 - zero_point, 127 - zero_point),
        Width::Sixteen => (-32768, 32767),
    };
    // The integral of the squared distance to the nearest grid point, from the first one on.
    let integral = |x: f64| {
        let nearest = x.round().clamp(f64::from(least), f64::from(most));
        let rest = x - nearest;
        (nearest - f64::from(least)) / 12.0 + rest * rest * rest / 3.0
    };
    let error = |bin: &Bin| {
        let (from, to) = (bin.from / scale, bin.to / scale);
        if from == 0.0 || to == 0.0 {
            return 0.0;
        }
        if to - from < 1e-6 {
            let nearest = to.round().clamp(f64::from(least), f64::from(most));
            return bin.count * (to - nearest) * (to - nearest);
        }
        bin.count * (integral(to) - integral(from)) / (to - from)
    };
    bins.iter().map(error).sum::<f64>() * scale * scale
}

/// Numbers that 8 bits can tell apart.
const LEVELS: usize = 256;

/// Bins by which the threshold moves.
const STRIDE: usize = 8;

/// Minimizes the information that is lost (the Kullback-Leibler divergence of the quantized
/// distribution from the true one) over thresholds on the magnitude, after S. Migacz, "8-bit Inference
/// with TensorRT" (GTC 2017): what lies beyond joins the outermost bins, and the rest is divided among
/// the levels, which each spread evenly over the bins that they replace. There the levels are 128 for
/// magnitudes; here they are 256 for the signed range, of which a tensor without negative numbers has
/// all. Sixteen bits tell all bins apart and lose nothing.
fn least_divergence(histogram: &Histogram, whole: Range, width: Width) -> Range {
    let (low, high) = (f64::from(whole.min.min(0.0)), f64::from(whole.max.max(0.0)));
    let bin_width = histogram.width();
    let used = |end: f64| ((end.abs() / bin_width).ceil() as usize).min(SIDE);
    let (below, above) = (used(low), used(high));
    if width == Width::Sixteen || below + above <= LEVELS {
        return whole;
    }
    let mut counts: Vec<f64> =
        histogram.negative()[..below].iter().rev().map(|count| *count as f64).collect();
    counts.extend(histogram.positive()[..above].iter().map(|count| *count as f64));
    flatten_zeros(&mut counts, below);
    let mut best = (f64::INFINITY, usize::MAX);
    let fewest = if below > 0 && above > 0 { LEVELS / 2 } else { LEVELS };
    for threshold in (fewest..=below.max(above)).rev().step_by(STRIDE) {
        let window = below - below.min(threshold)..below + above.min(threshold);
        let divergence = divergence(&counts, window);
        if divergence < best.0 {
            best = (divergence, threshold);
        }
    }
    let limit = best.1 as f64 * bin_width;
    Range { min: low.max(-limit) as f32, max: high.min(limit) as f32 }
}

/// Zeros are many behind a ReLU and exact on every grid: the bins next to zero count as their
/// neighbours do.
fn flatten_zeros(counts: &mut [f64], zero: usize) {
    if let Some(neighbour) = counts.get(zero + 1).copied() {
        counts[zero] = neighbour;
    }
    if zero >= 2 {
        counts[zero - 1] = counts[zero - 2];
    }
}

/// Share of a bin that the quantized counts know nothing of, so that the divergence stays finite.
const LEAST_SHARE: f64 = 1e-6;

/// The divergence of the quantized counts of a window from all counts.
fn divergence(counts: &[f64], window: std::ops::Range<usize>) -> f64 {
    let (before, inside, behind) = (&counts[..window.start], &counts[window.clone()], &counts[window.end..]);
    let length = inside.len();
    let sum = |counts: &[f64]| counts.iter().sum::<f64>();
    let (total, kept) = (sum(counts), sum(inside));
    let mut divergence = 0.0;
    for level in 0..LEVELS.min(length) {
        let bins = level * length / LEVELS.min(length)..(level + 1) * length / LEVELS.min(length);
        let filled = inside[bins.clone()].iter().filter(|count| **count > 0.0).count() as f64;
        let even = sum(&inside[bins.clone()]) / filled.max(1.0) / kept;
        for bin in bins {
            let mut truth = inside[bin];
            truth += if bin == 0 { sum(before) } else { 0.0 };
            truth += if bin == length - 1 { sum(behind) } else { 0.0 };
            if truth > 0.0 {
                let quantized = if inside[bin] > 0.0 { even } else { LEAST_SHARE };
                divergence += truth / total * (truth / total / quantized).ln();
            }
        }
    }
    divergence
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics of some runs of one tensor.
    fn of(runs: &[Vec<f32>]) -> Statistics {
        let mut statistics = Statistics::new().with_histograms();
        for elements in runs {
            let range = Range::of(elements).unwrap();
            statistics.count("x", elements, range);
            statistics.record_run(1, vec![("x", range)]);
        }
        statistics
    }

    fn found(observer: Observer, runs: &[Vec<f32>]) -> Range {
        observer.range(&of(runs), "x", Width::Eight).unwrap().unwrap()
    }

    /// Sums of twelve uniform numbers: nearly a normal distribution, of deviation 1, cut off at 6.
    fn bell(count: u32) -> Vec<f32> {
        let mut state = 1u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn averages_weigh_samples_alike_and_hold_zero() {
        let runs = [vec![1.0, 2.0], vec![-1.0, 4.0]];
        let Range { min, max } = found(Observer::Ema { decay: 0.5 }, &runs);
        assert!((min + 2.0 / 3.0).abs() < 1e-6 && (max - 10.0 / 3.0).abs() < 1e-6, "{min} {max}");
        let Range { max, .. } = found(Observer::Ema { decay: 0.999_999 }, &runs);
        assert!((max - 3.0).abs() < 1e-3, "{max}");
    }

    #[test]
    fn percentiles_cut_both_tails() {
        let elements: Vec<f32> = (-5000..5000).map(|i| i as f32 / 1000.0).collect();
        let Range { min, max } = found(Observer::Percentile { percentile: 99.0 }, &[elements]);
        assert!((min + 4.9).abs() < 0.01 && (max - 4.9).abs() < 0.01, "{min} {max}");
        let whole = found(Observer::Percentile { percentile: 100.0 }, &[vec![-1.0, 0.5]]);
        assert_eq!(whole, Range { min: -1.0, max: 0.5 });
    }

    #[test]
    fn an_outlier_is_left_out_where_it_costs_less_than_a_coarse_grid() {
        let mut elements = bell(200_000);
        for observer in [Observer::Mse, Observer::Entropy] {
            let Range { min, max } = found(observer, &[elements.clone()]);
            assert!(min < -2.8 && max > 2.8 && min >= -6.0 && max <= 6.0, "{observer:?}: {min} {max}");
        }
        elements.push(12.0);
        for observer in [Observer::Mse, Observer::Entropy] {
            let Range { min, max } = found(observer, &[elements.clone()]);
            assert!(min < -2.5 && max > 2.5 && max < 11.0, "{observer:?}: {min} {max}");
        }
        let sixteen = Observer::Mse.range(&of(&[elements]), "x", Width::Sixteen).unwrap().unwrap();
        assert_eq!(sixteen.max, 12.0);
    }

    #[test]
    fn the_error_found_is_the_true_one() {
        let elements = bell(20_000);
        let whole = Range::of(&elements).unwrap();
        let statistics = of(std::slice::from_ref(&elements));
        let bins = bins(statistics.histogram("x").unwrap(), whole);
        for range in [whole, Range { min: -1.0, max: 2.5 }] {
            let grid = activation(Width::Eight, range);
            let (scale, zero_point) = grid.single().unwrap();
            let error = |x: &f32| {
                let q = (x / scale).round() + zero_point as f32;
                f64::from(x - (q.clamp(-128.0, 127.0) - zero_point as f32) * scale).powi(2)
            };
            let truth: f64 = elements.iter().map(error).sum();
            let found = squared_error(&bins, &grid, Width::Eight);
            assert!((found / truth - 1.0).abs() < 0.05, "{found} instead of {truth}");
        }
    }

    #[test]
    fn what_was_not_counted_is_asked_for() {
        let mut statistics = Statistics::new();
        statistics.record_run(1, vec![("x", Range { min: 0.0, max: 1.0 })]);
        let error = Observer::Mse.range(&statistics, "x", Width::Eight).unwrap_err();
        assert!(matches!(error, QuantizeError::NoHistogram(name) if name == "x"));
        assert_eq!(Observer::Mse.range(&statistics, "y", Width::Eight).unwrap(), None);
    }

    #[test]
    fn constant_tensors_keep_their_range() {
        for observer in [Observer::Mse, Observer::Entropy, Observer::Percentile { percentile: 99.0 }] {
            for value in [0.0, 1.0, -3.5, 1e-30] {
                let range = found(observer, &[vec![value; 10]]);
                assert!(range.min <= range.max && range.min.is_finite(), "{observer:?} {value} {range:?}");
            }
        }
    }
}
