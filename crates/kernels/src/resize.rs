//! Resizing images, as TFLite defines it.

use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// How output coordinates meet input coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// Corners of the images coincide: `x * in / out`.
    Corners,
    /// Centres of the first and of the last pixels coincide: `x * (in - 1) / (out - 1)`.
    AlignCorners,
    /// Edges of the images coincide, pixels counted at their centres: `(x + 0.5) * in / out - 0.5`.
    HalfPixelCenters,
}

/// The sizes of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// `[batch, height, width, channels]`.
    pub input: [usize; 4],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// How coordinates meet.
    pub coordinates: Coordinates,
}

impl Resize {
    pub(crate) fn check(&self, input_len: usize, output_len: usize) {
        let [batch, height, width, channels] = self.input;
        assert_eq!(input_len, batch * height * width * channels, "the input must have its shape's length");
        let outputs = batch * self.output[0] * self.output[1] * channels;
        assert_eq!(output_len, outputs, "the output must have its shape's length");
        assert!(outputs == 0 || height * width > 0, "an image without pixels cannot be resized");
    }

    /// Input pixels per output pixel along an axis (0 vertical, 1 horizontal).
    fn ratio(&self, axis: usize) -> f32 {
        let (input, output) = (self.input[1 + axis], self.output[axis]);
        if self.coordinates == Coordinates::AlignCorners && output > 1 {
            (input.max(1) - 1) as f32 / (output - 1) as f32
        } else {
            input as f32 / output as f32
        }
    }

    /// For each output pixel along an axis: the input pixels on both sides, and how far the second
    /// one counts.
    pub(crate) fn bilinear(&self, axis: usize) -> Vec<Neighbours> {
        let (ratio, last) = (self.ratio(axis), self.input[1 + axis].saturating_sub(1));
        (0..self.output[axis])
            .map(|i| {
                let at = match self.coordinates {
                    Coordinates::HalfPixelCenters => (i as f32 + 0.5) * ratio - 0.5,
                    Coordinates::Corners | Coordinates::AlignCorners => i as f32 * ratio,
                };
                let at = at.clamp(0.0, last as f32);
                let low = (at as usize).min(last);
                Neighbours { low, high: (low + 1).min(last), weight: at - low as f32 }
            })
            .collect()
    }

    /// For each output pixel along an axis: the nearest input pixel.
    pub(crate) fn nearest(&self, axis: usize) -> Vec<usize> {
        let (ratio, last) = (self.ratio(axis), self.input[1 + axis].saturating_sub(1));
        (0..self.output[axis])
            .map(|i| {
                let at = match self.coordinates {
                    Coordinates::Corners => (i as f32 * ratio).floor(),
                    Coordinates::AlignCorners => (i as f32 * ratio).round(),
                    Coordinates::HalfPixelCenters => ((i as f32 + 0.5) * ratio).floor(),
                };
                (at as usize).min(last)
            })
            .collect()
    }
}

/// Where an output pixel lies along an axis.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours {
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// How far the second one counts.
    pub(crate) weight: f32,
}

/// Takes the nearest pixel, for elements of any type.
///
/// # Panics
/// When a length does not fit `resize`, or pixels are wanted of an image that has none.
pub fn resize_nearest<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    resize: &Resize,
    input: &[T],
    output: &mut [T],
) {
    resize.check(input.len(), output.len());
    let [_, height, width, channels] = resize.input;
    let (rows, columns) = (resize.nearest(0), resize.nearest(1));
    let row_len = columns.len() * channels;
    run(pool, resize, output, |first, piece| {
        for (row, output) in (first..).zip(piece.chunks_exact_mut(row_len)) {
            let start = (row / rows.len() * height + rows[row % rows.len()]) * width * channels;
            for (&x, pixel) in columns.iter().zip(output.chunks_exact_mut(channels)) {
                pixel.copy_from_slice(&input[start + x * channels..][..channels]);
            }
        }
    });
}

/// Weighs the four pixels around, first along rows, then between them, in single or double
/// precision.
///
/// # Panics
/// As [`resize_nearest`].
pub fn resize_bilinear<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    resize: &Resize,
    input: &[T],
    output: &mut [T],
) {
    resize.check(input.len(), output.len());
    run(pool, resize, output, |first, piece| bilinear_rows(isa, resize, first, input, Real, piece));
}

/// As [`resize_bilinear`], for quantized bytes; input and output share scale and zero point.
///
/// Weights are rounded to 1/2048 (ties to even) and results half upward, as XNNPACK does.
///
/// # Panics
/// As [`resize_nearest`].
pub fn resize_bilinear_quantized(
    isa: Isa,
    pool: &ThreadPool,
    resize: &Resize,
    input: &[u8],
    output: &mut [u8],
) {
    resize.check(input.len(), output.len());
    run(pool, resize, output, |first, piece| bilinear_rows(isa, resize, first, input, Fixed, piece));
}

/// Calls `rows(first row, outputs)` for parts of the output, in parallel.
pub(crate) fn run<T: Send>(
    pool: &ThreadPool,
    resize: &Resize,
    output: &mut [T],
    rows: impl Fn(usize, &mut [T]) + Sync,
) {
    let row_len = resize.output[1] * resize.input[3];
    let per_task =
        pool.rows_per_task(resize.input[0] * resize.output[0], (16 * 1024usize).div_ceil(row_len.max(1)));
    pool.run_rows(output, row_len, per_task, rows);
}

/// The arithmetic of a bilinear resize.
trait Blend<T>: Copy {
    /// A weight.
    type Weight: Copy;
    /// Two pixels joined.
    type Mixed: Copy;
    /// How far the second neighbour counts.
    fn weight(self, neighbours: Neighbours) -> Self::Weight;
    /// Joins two pixels of a row.
    fn across(self, pixels: [T; 2], weight: Self::Weight) -> Self::Mixed;
    /// Joins the results of two rows.
    fn down(self, rows: [Self::Mixed; 2], weight: Self::Weight) -> T;
}

/// In floating point.
#[derive(Clone, Copy)]
struct Real;

impl<T: Float> Blend<T> for Real {
    type Weight = T;
    type Mixed = T;

    #[inline(always)]
    fn weight(self, neighbours: Neighbours) -> T {
        T::of(f64::from(neighbours.weight))
    }

    #[inline(always)]
    fn across(self, [a, b]: [T; 2], weight: T) -> T {
        a.plus(b.minus(a).times(weight))
    }

    #[inline(always)]
    fn down(self, [a, b]: [T; 2], weight: T) -> T {
        a.plus(b.minus(a).times(weight))
    }
}

/// In integers: 8 bits of value, 11 of each weight, and the sign of a difference make 31.
#[derive(Clone, Copy)]
struct Fixed;

impl Blend<u8> for Fixed {
    type Weight = i32;
    type Mixed = i32;

    #[inline(always)]
    fn weight(self, neighbours: Neighbours) -> i32 {
        (neighbours.weight * 2048.0).round_ties_even() as i32
    }

    #[inline(always)]
    fn across(self, [a, b]: [u8; 2], weight: i32) -> i32 {
        (i32::from(a) << 11) + (i32::from(b) - i32::from(a)) * weight
    }

    #[inline(always)]
    fn down(self, [a, b]: [i32; 2], weight: i32) -> u8 {
        (((a << 11) + (b - a) * weight + (1 << 21)) >> 22) as u8
    }
}

multiversion! {
    /// The output rows from `first` on.
    fn bilinear_rows[T: Copy, B: Blend<T>](
        resize: &Resize,
        first: usize,
        input: &[T],
        blend: B,
        output: &mut [T],
    ) {
        let [_, height, width, channels] = resize.input;
        let (rows, columns) = (resize.bilinear(0), resize.bilinear(1));
        for (row, output) in (first..).zip(output.chunks_exact_mut(columns.len() * channels)) {
            let (image, vertical) = (row / rows.len(), rows[row % rows.len()]);
            let [above, below] = [vertical.low, vertical.high].map(|y| {
                &input[(image * height + y) * width * channels..][..width * channels]
            });
            let down = blend.weight(vertical);
            for (horizontal, output) in columns.iter().zip(output.chunks_exact_mut(channels)) {
                let across = blend.weight(*horizontal);
                let [left, right] = [horizontal.low * channels, horizontal.high * channels];
                let top = above[left..left + channels].iter().zip(&above[right..right + channels]);
                let bottom = below[left..left + channels].iter().zip(&below[right..right + channels]);
                for (o, ((&a, &b), (&c, &d))) in output.iter_mut().zip(top.zip(bottom)) {
                    *o = blend.down([blend.across([a, b], across), blend.across([c, d], across)], down);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coordinates; 3] =
        [Coordinates::Corners, Coordinates::AlignCorners, Coordinates::HalfPixelCenters];

    #[test]
    fn coordinates_by_hand() {
        let resize = |coordinates| Resize { input: [1, 2, 3, 1], output: [4, 5], coordinates };
        let at = |coordinates, axis| -> Vec<f32> {
            resize(coordinates).bilinear(axis).iter().map(|n| n.low as f32 + n.weight).collect()
        };
        assert_eq!(at(Coordinates::Corners, 0), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(at(Coordinates::AlignCorners, 1), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(at(Coordinates::HalfPixelCenters, 0), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(resize(Coordinates::Corners).nearest(1), [0, 0, 1, 1, 2]);
        assert_eq!(resize(Coordinates::AlignCorners).nearest(1), [0, 1, 1, 2, 2]);
        assert_eq!(resize(Coordinates::HalfPixelCenters).nearest(0), [0, 0, 1, 1]);
    }

    #[test]
    fn bytes_follow_floats_on_every_level() {
        for (coordinates, output) in ALL.into_iter().flat_map(|c| [(c, [18, 5]), (c, [4, 31]), (c, [1, 1])]) {
            let resize = Resize { input: [2, 9, 7, 19], output, coordinates };
            let bytes: Vec<u8> = (0..2 * 9 * 7 * 19).map(|i: usize| (i * 7919 % 251) as u8).collect();
            let floats: Vec<f32> = bytes.iter().map(|&x| f32::from(x)).collect();
            let len = 2 * output[0] * output[1] * 19;
            let (mut first, mut first_bytes): (Option<Vec<f32>>, Option<Vec<u8>>) = (None, None);
            for isa in Isa::available_levels() {
                let pool = ThreadPool::new(3);
                let (mut resized, mut resized_bytes) = (vec![0.0; len], vec![0; len]);
                resize_bilinear(isa, &pool, &resize, &floats, &mut resized);
                resize_bilinear_quantized(isa, &pool, &resize, &bytes, &mut resized_bytes);
                assert_eq!(&resized, first.get_or_insert_with(|| resized.clone()));
                assert_eq!(&resized_bytes, first_bytes.get_or_insert_with(|| resized_bytes.clone()));
                let close = |(&x, &q): (&f32, &u8)| (x - f32::from(q)).abs() <= 0.5 + 0.13;
                assert!(resized.iter().zip(&resized_bytes).all(close), "{coordinates:?} {output:?}");
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        for coordinates in ALL {
            let resize = Resize { input: [1, 4, 3, 2], output: [4, 3], coordinates };
            let input: Vec<u8> = (0..24).map(|i| i * 10).collect();
            let pool = ThreadPool::new(1);
            let (mut bilinear, mut nearest) = ([0; 24], [0; 24]);
            resize_bilinear_quantized(Isa::detect(), &pool, &resize, &input, &mut bilinear);
            resize_nearest(&pool, &resize, &input, &mut nearest);
            assert_eq!((&bilinear[..], &nearest[..]), (&input[..], &input[..]));
        }
    }

    #[test]
    fn doubling_by_hand() {
        let resize =
            Resize { input: [1, 1, 2, 1], output: [1, 4], coordinates: Coordinates::HalfPixelCenters };
        let mut output = [0.0f64; 4];
        resize_bilinear(Isa::detect(), &ThreadPool::new(1), &resize, &[0.0, 8.0], &mut output);
        assert_eq!(output, [0.0, 2.0, 6.0, 8.0]);
    }
}
