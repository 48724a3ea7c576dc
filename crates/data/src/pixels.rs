//! Image files to 8-bit pixels, as TensorFlow and Pillow see them.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageError, ImageFormat, ImageReader, Limits};

use crate::DataError;

/// An image of 1 (gray) or 3 (RGB) interleaved channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) data: Vec<u8>,
}

/// Most bytes that decoding one image may take.
const MAX_DECODED: u64 = 1 << 30;

/// The format of a file that starts with `start`, if it is one that is read.
pub(crate) fn format_of(start: &[u8]) -> Option<ImageFormat> {
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if start.starts_with(b"\xFF\xD8\xFF") {
        Some(ImageFormat::Jpeg)
    } else {
        None
    }
}

/// Decodes the PNG or JPEG file `bytes` to `channels` (1 or 3) channels.
///
/// Transparency is dropped, 16-bit values keep their upper 8 bits, EXIF orientation is ignored: all
/// as `tf.io.decode_image` does. RGB becomes gray by ITU-R 601 as Pillow's mode `L` does.
pub(crate) fn decode(bytes: &[u8], channels: usize, path: &Path) -> Result<Pixels, DataError> {
    let broken = |what: &str| DataError::broken(path, format!("unreadable image: {what}"));
    let format = format_of(bytes).ok_or_else(|| broken("neither PNG nor JPEG by its content"))?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(broken("the JPEG data end too early"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| match error {
        ImageError::Limits(_) => DataError::TooLarge {
            what: format!("decoding {}", path.display()),
            bytes: declared_bytes(bytes, format),
            limit: MAX_DECODED,
        },
        other => broken(&other.to_string()),
    })?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        return Err(broken("no pixels"));
    }
    let data = if channels == 1 { to_gray(image) } else { to_rgb(image) };
    Ok(Pixels { width, height, channels, data })
}

/// What the image's header says that 8-bit RGB pixels take.
fn declared_bytes(bytes: &[u8], format: ImageFormat) -> u64 {
    let size = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions();
    size.map_or(u64::MAX, |(width, height)| u64::from(width) * u64::from(height) * 3)
}

fn upper(value: u16) -> u8 {
    (value >> 8) as u8
}

fn to_rgb(image: DynamicImage) -> Vec<u8> {
    let thrice = |gray: u8| [gray; 3];
    match image {
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        DynamicImage::ImageRgba8(rgba) => rgba.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
        DynamicImage::ImageLuma8(gray) => gray.pixels().flat_map(|p| thrice(p.0[0])).collect(),
        DynamicImage::ImageLumaA8(gray) => gray.pixels().flat_map(|p| thrice(p.0[0])).collect(),
        DynamicImage::ImageLuma16(gray) => gray.pixels().flat_map(|p| thrice(upper(p.0[0]))).collect(),
        DynamicImage::ImageLumaA16(gray) => gray.pixels().flat_map(|p| thrice(upper(p.0[0]))).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.into_raw().into_iter().map(upper).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(upper)).collect()
        }
        other => other.to_rgb8().into_raw(),
    }
}

fn to_gray(image: DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageLuma8(gray) => gray.into_raw(),
        DynamicImage::ImageLumaA8(gray) => gray.pixels().map(|p| p.0[0]).collect(),
        DynamicImage::ImageLuma16(gray) => gray.pixels().map(|p| upper(p.0[0])).collect(),
        DynamicImage::ImageLumaA16(gray) => gray.pixels().map(|p| upper(p.0[0])).collect(),
        colored => to_rgb(colored).as_chunks::<3>().0.iter().copied().map(luma).collect(),
    }
}

/// ITU-R 601 luma in 16-bit fixed point, rounded.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000;
    (sum >> 16) as u8
}

/// Whether the marker that ends a JPEG image is there. The decoder would fill what a truncated file
/// lacks with gray.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // To the next marker: anything else is entropy-coded data, in which FF is followed by 0 or
        // by a restart marker. Markers may be preceded by more FF.
        while bytes.get(at).is_some_and(|&byte| byte != 0xFF) {
            at += 1;
        }
        while bytes.get(at) == Some(&0xFF) {
            at += 1;
        }
        let Some(&marker) = bytes.get(at) else { return false };
        at += 1;
        match marker {
            0xD9 => return true,
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = bytes.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
                let Some(length) = length else { return false };
                at += length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};
    use proptest::prelude::*;

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8], channels: usize) -> Vec<u8> {
        decode(bytes, channels, Path::new("x.png")).unwrap().data
    }

    #[test]
    fn every_png_kind_becomes_rgb_and_gray() {
        let rgb = encoded(RgbImage::from_pixel(1, 1, Rgb([10, 100, 250])), ImageFormat::Png);
        assert_eq!(decoded(&rgb, 3), [10, 100, 250]);
        // Pillow: Image.new("RGB", (1, 1), (10, 100, 250)).convert("L") is 90.
        assert_eq!(decoded(&rgb, 1), [90]);
        let gray = encoded(GrayImage::from_pixel(1, 1, Luma([77])), ImageFormat::Png);
        assert_eq!((decoded(&gray, 3), decoded(&gray, 1)), (vec![77; 3], vec![77]));
        let rgba = ImageBuffer::from_pixel(1, 1, Rgba([10_u8, 100, 250, 0]));
        assert_eq!(decoded(&encoded(rgba, ImageFormat::Png), 3), [10, 100, 250]);
        let gray_alpha = ImageBuffer::from_pixel(1, 1, LumaA([77_u8, 3]));
        assert_eq!(decoded(&encoded(gray_alpha, ImageFormat::Png), 1), [77]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgb([0x0AFF_u16, 0x64FF, 0xFAFF]));
        assert_eq!(decoded(&encoded(deep, ImageFormat::Png), 3), [10, 100, 250]);
        let deep_gray = ImageBuffer::from_pixel(1, 1, Luma([0x4DFF_u16]));
        assert_eq!(decoded(&encoded(deep_gray, ImageFormat::Png), 1), [77]);
    }

    fn some_photo() -> RgbImage {
        RgbImage::from_fn(37, 23, |x, y| Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]))
    }

    #[test]
    fn truncated_images_are_broken() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = encoded(some_photo(), format);
            assert_eq!(decoded(&bytes, 3).len(), 37 * 23 * 3);
            for length in (0..bytes.len() - 12).step_by(7) {
                let error = decode(&bytes[..length], 3, Path::new("photo")).unwrap_err();
                assert!(error.to_string().starts_with("photo: unreadable image: "), "{length}: {error}");
            }
        }
        let jpeg = encoded(some_photo(), ImageFormat::Jpeg);
        assert!(decode(&jpeg[..jpeg.len() - 2], 3, Path::new("x")).is_err());
    }

    #[test]
    fn a_huge_declared_size_meets_the_limit() {
        let mut png = encoded(GrayImage::new(1, 1), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let checksum = flate2::Crc::new();
        let checksum = [checksum].map(|mut crc| {
            crc.update(&png[12..29]);
            crc.sum()
        })[0];
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decode(&png, 1, Path::new("x.png")).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { limit: MAX_DECODED, .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn mutated_images_never_panic(
            jpeg in any::<bool>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = encoded(some_photo(), if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png });
            for (index, value) in changes {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
            if let Ok(pixels) = decode(&bytes, 3, Path::new("x")) {
                prop_assert_eq!(pixels.data.len(), pixels.width * pixels.height * 3);
            }
        }
    }
}
