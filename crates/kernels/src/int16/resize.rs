//! Scaling images of 16-bit numbers.

use crate::resize::{Coordinates, Resize, run};
use crate::{Isa, ThreadPool};

use crate::multiversion::multiversion;

/// Bits behind the point of places and weights.
const BITS: u32 = 10;
const ONE: i64 = 1 << BITS;

/// Weighs the four pixels around by weights in 1/1024; the sum is exact and rounded half away from
/// zero. Input and output share their scale. Equal to LiteRT in every value.
///
/// # Panics
/// When a length does not fit `resize`, or pixels are wanted of an image that has none.
pub fn resize_bilinear(isa: Isa, pool: &ThreadPool, resize: &Resize, input: &[i16], output: &mut [i16]) {
    resize.check(input.len(), output.len());
    let [rows, columns] = [0, 1].map(|axis| neighbours(resize, axis));
    let [_, height, width, channels] = resize.input;
    let row_len = columns.len() * channels;
    run(pool, resize, output, |first, piece| {
        for (row, output) in (first..).zip(piece.chunks_exact_mut(row_len)) {
            let down = rows[row % rows.len()];
            let image = row / rows.len() * height;
            let line = |y: usize| &input[(image + y) * width * channels..][..width * channels];
            blend(isa, [line(down.low), line(down.high)], down.weight, &columns, channels, output);
        }
    });
}

/// The input pixels on both sides of an output pixel, and how far the second one counts.
#[derive(Clone, Copy)]
struct Neighbours {
    low: usize,
    high: usize,
    weight: i64,
}

/// The neighbours of each output pixel along an axis (0 vertical, 1 horizontal).
fn neighbours(resize: &Resize, axis: usize) -> Vec<Neighbours> {
    let (input, output) = (resize.input[1 + axis] as i64, resize.output[axis] as i64);
    let last = (input - 1).max(0);
    let step = match resize.coordinates {
        Coordinates::AlignCorners if output > 1 => (ONE * last + (output - 1) / 2) / (output - 1),
        _ => (ONE * input + output / 2) / output.max(1),
    };
    let start = if resize.coordinates == Coordinates::HalfPixelCenters { step / 2 - ONE / 2 } else { 0 };
    (0..output)
        .map(|i| {
            let at = start + i * step;
            let low = (at >> BITS).clamp(0, last);
            let high = ((at + ONE - 1) >> BITS).clamp(0, last);
            Neighbours { low: low as usize, high: high as usize, weight: at - low * ONE }
        })
        .collect()
}

multiversion! {
    /// An output row from the two input rows around it.
    fn blend(
        rows: [&[i16]; 2],
        down: i64,
        columns: &[Neighbours],
        channels: usize,
        output: &mut [i16],
    ) {
        for (&Neighbours { low, high, weight }, pixel) in columns.iter().zip(output.chunks_exact_mut(channels)) {
            let [a, b] = rows.map(|row| &row[low * channels..][..channels]);
            let [c, d] = rows.map(|row| &row[high * channels..][..channels]);
            for (channel, o) in pixel.iter_mut().enumerate() {
                let [a, b, c, d] = [a, b, c, d].map(|pixel| i64::from(pixel[channel]));
                let left = a * (ONE - down) + b * down;
                let right = c * (ONE - down) + d * down;
                let sum = left * (ONE - weight) + right * weight;
                let half = if sum > 0 { ONE * ONE / 2 } else { -ONE * ONE / 2 };
                *o = ((sum + half) / (ONE * ONE)) as i16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_follows_the_real_result() {
        let input: Vec<i16> =
            (0..2 * 6 * 8 * 5u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as i16).collect();
        let real: Vec<f32> = input.iter().map(|&x| x.into()).collect();
        for coordinates in [Coordinates::Corners, Coordinates::AlignCorners, Coordinates::HalfPixelCenters] {
            for output in [[12, 16], [9, 5], [6, 8], [1, 1]] {
                let resize = Resize { input: [2, 6, 8, 5], output, coordinates };
                let len = 2 * output[0] * output[1] * 5;
                let mut expected = vec![0.0f32; len];
                crate::resize::resize_bilinear(
                    Isa::Portable,
                    &ThreadPool::new(1),
                    &resize,
                    &real,
                    &mut expected,
                );
                let mut first: Option<Vec<i16>> = None;
                for isa in Isa::available_levels() {
                    let mut result = vec![7; len];
                    resize_bilinear(isa, &ThreadPool::new(2), &resize, &input, &mut result);
                    for (&got, &real) in result.iter().zip(&expected) {
                        // Places are off by up to 16 steps of 1/1024, of a slope of up to 2^16, along
                        // both axes.
                        assert!(
                            (f32::from(got) - real).abs() <= 2100.0,
                            "{coordinates:?} {output:?} {got} {real}"
                        );
                    }
                    assert_eq!(&result, first.get_or_insert_with(|| result.clone()), "{isa}");
                }
            }
        }
    }

    #[test]
    fn doubling_puts_quarters_between() {
        let resize =
            Resize { input: [1, 1, 2, 1], output: [1, 4], coordinates: Coordinates::HalfPixelCenters };
        let mut output = [0; 4];
        resize_bilinear(Isa::detect(), &ThreadPool::new(1), &resize, &[100, -103], &mut output);
        // 49.25 and -52.25 lie between.
        assert_eq!(output, [100, 49, -52, -103]);
    }
}
