//! Tiles of every kind against plain loops.

use super::super::super::conv::initial_sums;
use super::super::super::epilogue::Requantizer;
use super::super::super::filter::{Filter, WeightOrder};
use super::super::super::gather::Source;
use super::super::super::requantize::Requantize;
use super::super::Packed;
use super::super::tiles::Portable;
use super::*;
use crate::reference::quantized as reference;
use crate::{Isa, ThreadPool, Window};

const SAME: Window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };

const SEVEN: Window = Window { kernel: [7, 7], pad_before: [3, 3], pad_after: [3, 3], ..Window::POINT };

/// Image, window, groups, input and output channels: inputs in place, in place once padded, by pixels and by rows of the
/// kernel, and gathered;
/// blocks that end within a tap and at its end, one to seven tiles of channels, few pixels and more than
/// are worked on together, tiles of fewer rows in place and gathered.
const LAYERS: [([usize; 3], Window, usize, usize, usize); 25] = [
    ([1, 5, 7], Window::POINT, 1, 64, 16),
    ([2, 4, 5], Window::POINT, 1, 128, 80),
    ([1, 6, 6], Window { stride: [2, 2], ..Window::POINT }, 1, 64, 48),
    ([1, 7, 6], SAME, 1, 64, 40),
    ([2, 5, 5], SAME, 1, 20, 70),
    ([1, 9, 9], SAME, 1, 3, 17),
    ([1, 3, 3], SAME, 2, 24, 66),
    ([1, 1, 1], Window::POINT, 1, 300, 33),
    ([3, 5, 9], Window { dilation: [2, 2], ..SAME }, 1, 128, 33),
    ([2, 1, 1], SAME, 1, 64, 16),
    ([1, 6, 5], Window { kernel: [2, 3], pad_before: [0, 2], pad_after: [3, 0], ..SAME }, 1, 64, 100),
    ([1, 40, 33], SAME, 1, 64, 96),
    ([2, 8, 8], Window { stride: [2, 2], pad_before: [0, 0], ..SAME }, 1, 72, 64),
    ([2, 21, 83], Window { stride: [2, 2], ..SEVEN }, 1, 3, 40),
    ([1, 9, 6], SEVEN, 1, 3, 64),
    ([2, 11, 23], Window { stride: [1, 3], pad_before: [0, 0], pad_after: [1, 0], ..SEVEN }, 1, 4, 33),
    ([1, 33, 18], Window { stride: [2, 1], dilation: [2, 1], ..SAME }, 1, 16, 32),
    ([1, 8, 70], Window { kernel: [6, 7], dilation: [2, 1], ..SEVEN }, 1, 4, 20),
    ([1, 12, 9], Window { kernel: [5, 8], pad_before: [9, 11], ..SEVEN }, 1, 2, 16),
    ([1, 40, 37], Window { kernel: [5, 4], stride: [3, 2], ..SEVEN }, 1, 4, 65),
    ([1, 14, 14], SAME, 1, 64, 33),
    ([2, 9, 28], SAME, 1, 64, 16),
    ([1, 7, 7], Window::POINT, 1, 128, 48),
    ([1, 1, 17], Window::POINT, 1, 70, 32),
    ([1, 34, 49], Window { kernel: [16, 16], stride: [16, 16], ..Window::POINT }, 1, 3, 48),
];

fn bytes(count: usize, step: usize) -> Vec<u8> {
    (0..count).map(|i| (i * step + i / 241 * 7) as u8).collect()
}

/// Asserts that the kernel over these tiles gives what plain loops give.
fn check<T: Tiles>(name: &str) {
    for (shape, window, groups, in_channels, out_channels) in LAYERS {
        let weights: Vec<i8> = bytes(window.taps() * in_channels / groups * out_channels, 89)
            .into_iter()
            .map(|byte| byte as i8)
            .collect();
        let order = WeightOrder::OutputFirst;
        let filter = Filter { window, groups, in_channels, out_channels, order, weights: &weights };
        let input = bytes(shape.iter().product::<usize>() * in_channels, 37);
        let scale = (0..out_channels).map(|c| 1e-4 * (1 + c % 7) as f32).collect();
        let requantize = Requantize { scale, zero_point: 77, min: 3, max: 250 };
        let bias: Vec<i32> = (0..out_channels as i32).map(|c| 997 * c - 9000).collect();
        let expected = reference::conv2d(&input, shape, &filter, Some(&bias), 119, &requantize);
        let packed = Packed::<Tiled<T>>::new(&filter, Requantizer::PACKED);
        let initial = initial_sums(&packed.lanes, &filter.weight_sums(), Some(&bias), 119);
        let epilogue = Requantizer::new(&requantize, &packed.lanes);
        let border = vec![119; packed.geometry.read()];
        for threads in [1, 2] {
            let source = Source::new(&packed.geometry, &input, shape, &border);
            let mut output = vec![0; expected.len()];
            let pool = ThreadPool::new(threads);
            packed.run_each::<Requantizer, _>(&pool, &source, &initial, || &epilogue, &mut output);
            assert_eq!(output, expected, "{name}, {shape:?}, {in_channels} to {out_channels}");
        }
    }
}

#[test]
fn tiles_have_as_many_rows_as_leave_few_empty() {
    // Images of 56x56, 28x28, 14x14 and 7x7 pixels, and few pixels.
    assert_eq!([3136, 784, 196, 49, 17, 16, 5].map(inputs::even_rows), [16, 16, 14, 13, 9, 16, 5]);
}

#[test]
fn places_of_lines_go_on_where_that_leaves_fewer_rows_empty() {
    let columns_and_rows = padded::columns_and_rows;
    assert_eq!(columns_and_rows(14, 14, Some(16)), (14, 14));
    assert_eq!(columns_and_rows(28, 28, Some(30)), (28, 14));
    assert_eq!(columns_and_rows(7, 7, Some(9)), (9, 16));
    // With a stride places do not go on.
    assert_eq!(columns_and_rows(7, 7, None), (7, 7));
    assert_eq!(columns_and_rows(112, 112, None), (112, 16));
}

#[test]
fn tiles_in_memory_equal_plain_loops() {
    check::<Portable<false>>("plain outputs");
    if Isa::Vnni.available() {
        check::<Portable<true>>("outputs by vectors");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tiles_of_amx_equal_plain_loops() {
    if Isa::Amx.available() {
        check::<super::super::tiles::Amx>("AMX");
    } else {
        assert!(!Isa::available_levels().contains(&Isa::Amx));
        println!("no AMX on this machine: only tiles in memory were tested");
    }
}
