//! Where calibration looks at the inputs of a product.

use super::product::Product;

/// Random places, the same in each repetition of a run: all if there are fewer than are wanted.
pub(super) struct Places {
    next: u64,
    left: usize,
    count: usize,
    all: bool,
}

impl Places {
    pub(super) fn new(run: u64, count: usize, wanted: usize) -> Places {
        let all = count <= wanted;
        let next = if all { 0 } else { (run + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) };
        Places { next, left: count.min(wanted), count, all }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        if self.all {
            self.next += 1;
            return Some(self.next as usize - 1);
        }
        // SplitMix64 (Steele, Lea, Flood 2014); the upper half scaled to the count.
        self.next = self.next.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.next;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((u128::from(z ^ (z >> 31)) * self.count as u128) >> 64) as usize)
    }
}

/// What a product reads, and where.
pub(super) struct Image<'a> {
    pub(super) product: &'a Product,
    elements: &'a [f32],
    size: [usize; 2],
    before: [usize; 2],
    outputs: [usize; 2],
    batch: usize,
}

impl Image<'_> {
    /// `None` where the tensor does not fit the product.
    pub(super) fn new<'a>(product: &'a Product, shape: &[usize], elements: &'a [f32]) -> Option<Image<'a>> {
        let channels = product.channels;
        if elements.is_empty() || !elements.len().is_multiple_of(channels) {
            return None;
        }
        let (batch, size) = match *shape {
            [batch, height, width, last] if last == channels => (batch, [height, width]),
            _ if product.taps == channels => (elements.len() / channels, [1, 1]),
            _ => return None,
        };
        let (before, outputs) = product.window.over(size);
        Some(Image { product, elements, size, before, outputs, batch })
    }

    pub(super) fn places(&self) -> usize {
        self.batch * self.outputs[0] * self.outputs[1]
    }

    /// The pixels under the window at a place, tap by tap; `None` stands for padding.
    pub(super) fn pixels(&self, place: usize) -> impl Iterator<Item = Option<&[f32]>> {
        let window = self.product.window;
        let channels = self.product.channels;
        let (row, column) = (place / self.outputs[1], place % self.outputs[1]);
        let (sample, row) = (row / self.outputs[0], row % self.outputs[0]);
        let corner = [row * window.stride[0], column * window.stride[1]];
        (0..window.kernel[0] * window.kernel[1]).map(move |tap| {
            let tap = [tap / window.kernel[1], tap % window.kernel[1]];
            let inside = |i: usize| {
                let place = (corner[i] + tap[i] * window.dilation[i]).checked_sub(self.before[i])?;
                (place < self.size[i]).then_some(place)
            };
            let pixel = (sample * self.size[0] + inside(0)?) * self.size[1] + inside(1)?;
            self.elements.get(pixel * channels..(pixel + 1) * channels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_all_or_as_many_as_wanted() {
        assert_eq!(Places::new(3, 4, 9).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let places: Vec<usize> = Places::new(3, 1000, 9).collect();
        assert_eq!(places, Places::new(3, 1000, 9).collect::<Vec<_>>());
        assert!(places.len() == 9 && places.iter().all(|place| *place < 1000));
    }
}
