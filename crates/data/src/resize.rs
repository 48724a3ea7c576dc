//! Cropping and bilinear resizing with TensorFlow's numbers.
//!
//! `tf.image.resize(image, size)` with its defaults (bilinear, no antialiasing), which
//! `keras.utils.image_dataset_from_directory` uses: output pixel `i` samples the input at
//! `(i + 0.5) * in / out - 0.5`, pixels beyond the border repeat it, results are `f32` and not
//! rounded. The operations are done in `f32` in the order of TensorFlow's CPU kernel.

use crate::Crop;
use crate::pixels::Pixels;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Window {
    /// The part of `image` that becomes an output of `height` by `width`.
    pub(crate) fn of(image: &Pixels, crop: Option<Crop>, height: usize, width: usize) -> Self {
        let Some(crop) = crop else {
            return Self { top: 0, left: 0, height: image.height, width: image.width };
        };
        // The largest box with the output's aspect ratio touches the image in one direction.
        let (h, w) = (image.height as f64, image.width as f64);
        let aspect = width as f64 / height as f64;
        let (box_height, box_width) = if w / h >= aspect { (h, h * aspect) } else { (w / aspect, w) };
        // The tiny addition keeps products such as 0.29 * 100 from falling below their integer.
        let side = |size: f64, most: usize| ((size * crop.fraction() + 1e-6) as usize).clamp(1, most);
        let (height, width) = (side(box_height, image.height), side(box_width, image.width));
        Self { top: (image.height - height) / 2, left: (image.width - width) / 2, height, width }
    }
}

/// The two input pixels that an output pixel lies between.
#[derive(Clone, Copy)]
struct Between {
    lower: usize,
    upper: usize,
    /// The way from `lower` to `upper`, 0 to 1.
    lerp: f32,
}

fn between(output: usize, input: usize) -> Vec<Between> {
    let scale = input as f32 / output as f32;
    let place = |i: usize| {
        let at = (i as f32 + 0.5) * scale - 0.5;
        let below = at.floor();
        Between {
            lower: (below.max(0.0) as usize).min(input - 1),
            upper: (at.ceil().max(0.0) as usize).min(input - 1),
            lerp: at - below,
        }
    };
    (0..output).map(place).collect()
}

/// Resizes the `window` of `image` into `out`, which is `height` by `width` by the image's channels,
/// interleaved.
pub(crate) fn bilinear(image: &Pixels, window: Window, height: usize, width: usize, out: &mut [f32]) {
    let channels = image.channels;
    let columns = between(width, window.width);
    let row = |y: usize| {
        let start = ((window.top + y) * image.width + window.left) * channels;
        &image.data[start..start + window.width * channels]
    };
    let rows = out.chunks_exact_mut(width * channels).zip(between(height, window.height));
    for (out, y) in rows {
        let (above, below) = (row(y.lower), row(y.upper));
        for (pixel, x) in out.chunks_exact_mut(channels).zip(&columns) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let (left, right) = (x.lower * channels + channel, x.upper * channels + channel);
                let top = lerp(above[left], above[right], x.lerp);
                let bottom = lerp(below[left], below[right], x.lerp);
                *value = top + (bottom - top) * y.lerp;
            }
        }
    }
}

fn lerp(from: u8, to: u8, way: f32) -> f32 {
    let (from, to) = (f32::from(from), f32::from(to));
    from + (to - from) * way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize, channels: usize) -> Pixels {
        let data = (0..height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
        Pixels { width, height, channels, data }
    }

    fn resized(image: &Pixels, crop: Option<Crop>, height: usize, width: usize) -> Vec<f32> {
        let mut out = vec![0.0; height * width * image.channels];
        bilinear(image, Window::of(image, crop, height, width), height, width, &mut out);
        out
    }

    #[test]
    #[rustfmt::skip] // rows of numbers
    fn numbers_are_those_of_tensorflow() {
        // tf.image.resize of TensorFlow 2.21, of images as `image` makes them.
        assert_eq!(resized(&image(3, 4, 1), None, 5, 3), [
            6.1666675, 55.5, 104.83334, 65.36667, 114.700005, 80.36665, 154.16667, 203.5, 43.666626,
            92.36665, 141.69998, 107.36667, 51.166668, 100.5, 149.83334,
        ]);
        assert_eq!(resized(&image(2, 3, 3), None, 3, 5), [
            0.0, 37.0, 74.0, 44.400005, 81.40001, 118.40001, 111.0, 148.0, 185.0, 177.6, 63.999977, 100.99998,
            222.0, 8.0, 45.0, 41.0, 78.0, 115.0, 85.40001, 122.40001, 109.200005, 152.0, 189.0, 100.5,
            143.29999, 104.99997, 91.799995, 137.5, 49.0, 86.0, 82.0, 119.0, 156.0, 126.40001, 163.40001, 100.0,
            193.0, 230.0, 16.0, 108.99998, 145.99997, 82.60001, 53.0, 90.0, 127.0,
        ]);
        assert_eq!(resized(&image(7, 5, 1), None, 3, 2), [151.08333, 76.25, 80.75, 173.25, 177.75002, 81.99996]);
        assert_eq!(resized(&image(1, 1, 1), None, 2, 2), [0.0; 4]);
    }

    #[test]
    fn every_bit_of_larger_images_is_that_of_tensorflow() {
        for (height, width, channels, out_height, out_width, checksum) in [
            (427, 640, 3, 224, 224, 0xa716_1430),
            (100, 90, 3, 224, 224, 0x5707_01f0),
            (61, 47, 1, 96, 31, 0xa0dd_6ad1),
        ] {
            let values = resized(&image(height, width, channels), None, out_height, out_width);
            let mut crc = flate2::Crc::new();
            crc.update(bytemuck::cast_slice(&values));
            assert_eq!(crc.sum(), checksum, "{height} by {width} to {out_height} by {out_width}");
        }
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = image(5, 7, 3);
        let expected: Vec<f32> = image.data.iter().map(|&v| v.into()).collect();
        assert_eq!(resized(&image, None, 5, 7), expected);
    }

    #[test]
    fn crops_are_central() {
        let crop = |h, w, fraction: f64, to: (usize, usize)| {
            let window = Window::of(&image(h, w, 1), Some(Crop::center(fraction).unwrap()), to.0, to.1);
            (window.top, window.left, window.height, window.width)
        };
        assert_eq!(crop(256, 256, 0.875, (224, 224)), (16, 16, 224, 224));
        assert_eq!(crop(427, 640, 0.875, (224, 224)), (27, 133, 373, 373));
        assert_eq!(crop(640, 427, 1.0, (10, 10)), (106, 0, 427, 427));
        assert_eq!(crop(100, 100, 0.29, (10, 10)), (35, 35, 29, 29));
        assert_eq!(crop(100, 300, 1.0, (10, 20)), (0, 50, 100, 200));
        assert_eq!(crop(300, 100, 1.0, (20, 10)), (50, 0, 200, 100));
        assert_eq!(crop(3, 3, 0.01, (8, 8)), (1, 1, 1, 1));
    }

    #[test]
    fn a_crop_is_resized_as_if_it_were_the_image() {
        let whole = image(10, 10, 1);
        let inner: Vec<u8> = (2..8).flat_map(|y| whole.data[y * 10 + 2..y * 10 + 8].to_vec()).collect();
        let inner = Pixels { width: 6, height: 6, channels: 1, data: inner };
        assert_eq!(resized(&whole, Some(Crop::center(0.6).unwrap()), 4, 4), resized(&inner, None, 4, 4));
    }
}
