//! Every product against the plain loops: random layers on every instruction set, on one and two
//! threads.

use proptest::prelude::*;

use super::*;
use crate::quantized::{Filter, WeightOrder};
use crate::reference::int16 as reference;
use crate::{Isa, ThreadPool, Window};

/// Numbers that only depend on the seed, over all of their type or at its ends.
fn words(count: usize, seed: u64, extreme: bool) -> Vec<i16> {
    let word = |i: u64| {
        let mixed = i.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 48;
        if !extreme {
            word as i16
        } else if seed.is_multiple_of(2) {
            i16::MIN
        } else {
            [i16::MIN, i16::MAX][word as usize % 2]
        }
    };
    (0..count as u64).map(word).collect()
}

fn weights(count: usize, seed: u64, extreme: bool) -> Vec<i8> {
    words(count, seed, extreme).into_iter().map(|word| (word >> 8) as i8).collect()
}

#[derive(Clone, Debug)]
struct Case {
    shape: [usize; 3],
    window: Window,
    groups: usize,
    group: [usize; 2],
    rule: Rule,
    extreme: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    let windows = (pair(1, 5), pair(1, 3), pair(1, 2), pair(0, 3), pair(0, 3)).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    );
    let windows = prop_oneof![1 => Just(Window::POINT), 4 => windows];
    let channels = prop_oneof![
        (Just(1_usize), [1..=40_usize, 1..=70_usize]),
        (2..=4_usize, [1..=9_usize, 1..=40_usize])
    ];
    let rules = prop_oneof![Just(Rule::Reduced), Just(Rule::Real), Just(Rule::Doubling)];
    ([1..=2_usize, 1..=9, 1..=9], windows, channels, rules, any::<(bool, u64)>()).prop_map(
        |(shape, window, (groups, group), rule, (extreme, seed))| Case {
            shape,
            window,
            groups,
            group,
            rule,
            extreme,
            seed,
        },
    )
}

impl Case {
    /// Compares every instruction set with the plain loops.
    fn check(&self, depthwise: bool) -> Result<(), TestCaseError> {
        let &Case { shape, window, groups, group: [group_in, group_out], rule, extreme, seed } = self;
        let multiplier = [1, 1, 1, 2, 5][seed as usize % 5];
        let (in_channels, groups, out_channels, order) = if depthwise {
            let channels = groups * group_in;
            (channels, channels, channels * multiplier, WeightOrder::OutputLast)
        } else {
            (groups * group_in, groups, groups * group_out, WeightOrder::OutputFirst)
        };
        let input = words(shape.iter().product::<usize>() * in_channels, seed, extreme);
        let weights = weights(window.taps() * in_channels / groups * out_channels, seed / 3, extreme);
        let bias: Vec<i64> =
            words(out_channels, !seed, false).into_iter().map(|b| i64::from(b) << 20).collect();
        let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
        let largest = [1e-4, 1e-2, 100.0][seed as usize % 3];
        let scale = |word: i16| f64::from(word.unsigned_abs() | 1) / 65_536.0 * largest;
        let scale: Vec<f64> = words(out_channels, seed ^ 77, false).into_iter().map(scale).collect();
        let scale = if seed % 7 < 3 { vec![scale[0]] } else { scale };
        let [min, max] = if seed % 5 < 3 { [i16::MIN, i16::MAX] } else { [0, 9000] };
        let requantize = Requantize { scale, rule, min, max };
        let filter = Filter { window, groups, in_channels, out_channels, order, weights: &weights };
        let expected = reference::conv2d(&input, shape, &filter, bias, &requantize);
        for isa in Isa::available_levels() {
            for threads in [1, 2] {
                let (pool, mut output) = (ThreadPool::new(threads), vec![7; expected.len()]);
                if depthwise {
                    Depthwise::new(isa, window, in_channels, multiplier, &weights, bias, &requantize).run(
                        &pool,
                        &input,
                        shape,
                        &mut output,
                    );
                } else {
                    Conv2d::new(isa, window, groups, in_channels, out_channels, &weights, bias, &requantize)
                        .run(&pool, &input, shape, &mut output);
                }
                let wrong = output.iter().zip(&expected).position(|(a, b)| a != b);
                prop_assert_eq!(wrong, None, "{}, {} threads", isa, threads);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_equal_plain_loops(case in cases()) {
        case.check(false)?;
    }

    #[test]
    fn depthwise_convolutions_equal_plain_loops(case in cases()) {
        case.check(true)?;
    }
}

/// Sums of more products than 32 bits hold, in one tap, over taps, and over a long row of channels.
#[test]
fn large_convolutions_equal_plain_loops() {
    let same = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };
    let wide = Window { kernel: [25, 24], pad_before: [12, 12], pad_after: [12, 11], ..Window::POINT };
    for (shape, window, group) in [
        ([1, 1, 1], Window::POINT, [2051, 101]),
        ([3, 1, 1], Window::POINT, [64, 130]),
        ([1, 9, 9], same, [130, 40]),
        ([1, 20, 20], wide, [3, 33]),
    ] {
        for seed in [2, 3, 4] {
            for extreme in [false, true] {
                let case = Case { shape, window, groups: 1, group, rule: Rule::Real, extreme, seed };
                case.check(false).unwrap();
                if window.taps() > 1 {
                    case.check(true).unwrap();
                }
            }
        }
    }
}
