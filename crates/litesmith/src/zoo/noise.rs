//! Pictures of seeded noise, for networks that come without data.

use litesmith_data::{Array, ElementType};

use crate::error::Error;
use crate::seeded::Random;

/// Gray levels that one grid adds or takes away at most.
const CONTRAST: f32 = 55.0;
/// The same for each colour by itself.
const COLOUR: f32 = 25.0;

/// Pictures of noise: `count` of them, `size` in square, in three colours of 0 to 255.
///
/// Noise of every scale, from half the picture to single pixels, has about the same share in it, as in photographs:
/// white noise would average out behind a few convolutions.
///
/// # Errors
/// If so many pixels cannot be counted.
pub fn noise_images(count: usize, size: usize, seed: u64) -> Result<Array, Error> {
    let too_large = || Error::Limit(format!("{count} images of {size}x{size} pixels are too large"));
    let pixels = size.checked_mul(size).and_then(|pixels| pixels.checked_mul(3)).ok_or_else(too_large)?;
    let numbers =
        pixels.checked_mul(count).filter(|numbers| *numbers < usize::MAX / 4).ok_or_else(too_large)?;
    let mut bytes = Vec::with_capacity(numbers * 4);
    for index in 0..count {
        let image = image(size, &mut Random::of(seed, &format!("noise image {index}")));
        bytes.extend(image.into_iter().flat_map(|pixel| pixel.clamp(0.0, 255.0).to_le_bytes()));
    }
    Ok(Array::from_bytes(ElementType::F32, &[count, size, size, 3], &bytes)?)
}

fn image(size: usize, random: &mut Random) -> Vec<f32> {
    let mut pixels = vec![127.5; size * size * 3];
    let mut cell = size.div_ceil(2);
    while cell > 0 {
        add_grid(&mut pixels, size, cell, random);
        cell /= 2;
    }
    pixels
}

/// Adds numbers that are random at the corners of cells, and in between what lies between them.
fn add_grid(pixels: &mut [f32], size: usize, cell: usize, random: &mut Random) {
    let corners = size.div_ceil(cell) + 1;
    let mut drawn = || (random.uniform() * 2.0 - 1.0) as f32;
    let grid: Vec<[f32; 3]> = (0..corners * corners)
        .map(|_| {
            let gray = CONTRAST * drawn();
            std::array::from_fn(|_| gray + COLOUR * drawn())
        })
        .collect();
    for (place, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let (row, column) = (place / size, place % size);
        let corner = row / cell * corners + column / cell;
        let [down, right] = [row, column].map(|at| (at % cell) as f32 / cell as f32);
        for (colour, value) in pixel.iter_mut().enumerate() {
            let at = |corner: usize| grid[corner][colour];
            let above = at(corner) + right * (at(corner + 1) - at(corner));
            let below = at(corner + corners) + right * (at(corner + corners + 1) - at(corner + corners));
            *value += above + down * (below - above);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_seeded_and_looks_like_a_picture() {
        let images = noise_images(2, 33, 5).unwrap();
        assert_eq!(images.shape(), [2, 33, 33, 3]);
        assert_eq!(images.bytes(), noise_images(2, 33, 5).unwrap().bytes());
        assert_ne!(images.bytes(), noise_images(2, 33, 6).unwrap().bytes());
        let pixels = images.to_f32();
        let (first, second) = pixels.split_at(pixels.len() / 2);
        assert_ne!(first, second);
        let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
        let deviation = (pixels.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / pixels.len() as f32).sqrt();
        assert!((64.0..192.0).contains(&mean), "{mean}");
        assert!((30.0..90.0).contains(&deviation), "{deviation}");
    }
}
