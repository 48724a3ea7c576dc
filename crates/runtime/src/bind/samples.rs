//! What layers of dynamic range read: samples quantized each by its own range, a second form of a tensor
//! of real numbers.

use litesmith_kernels::Window;
use litesmith_kernels::elementwise::MultiplyAdd;
use litesmith_kernels::quantized::{
    QuantizedSamples, map_samples, quantize_by_ranges, quantize_pixels, sample_ranges,
};

use super::{Machine, Task};
use crate::plan::grouped;

/// The smallest and the largest value of a sample.
type Range = [f32; 2];

/// A tensor of samples, as numbers or as bytes, with the range of each sample behind it, on a cache line
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Samples {
    /// Numbers in all samples; at least 1.
    pub elements: usize,
    /// Number of samples; at least 1.
    pub batch: usize,
    /// The pixels of larger images that they are, if they are not all; ranges are those of all.
    pub pixels: Option<Pixels>,
}

/// Pixels of images that lie a multiple of some rows and columns from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pixels {
    /// Height, width and channels of an image.
    image: [usize; 3],
    step: [usize; 2],
}

impl Pixels {
    /// The only pixels that a convolution looks at, if it steps over others.
    pub(crate) fn seen(window: &Window, image: [usize; 3]) -> Option<Pixels> {
        let point = Window { stride: window.stride, dilation: window.dilation, ..Window::POINT };
        let apart = *window == point && window.stride != [1, 1];
        apart.then_some(Pixels { image, step: window.stride })
    }
}

impl Samples {
    /// The samples with all of their pixels.
    pub(crate) fn whole(self) -> Samples {
        let elements = self.pixels.map_or(self.elements, |Pixels { image, .. }| {
            image.iter().fold(self.batch, |product, size| product.saturating_mul(*size))
        });
        Samples { elements, pixels: None, ..self }
    }

    /// Bytes that the ranges take; `None` if they are too many.
    pub(crate) fn range_bytes(self) -> Option<usize> {
        self.batch.checked_mul(size_of::<Range>())
    }

    /// Bytes of a block of quantized samples.
    pub(super) fn block_bytes(self) -> usize {
        let sizes = [self.elements, self.range_bytes().unwrap_or(usize::MAX)];
        grouped(&sizes).map_or(usize::MAX, |(_, total)| total)
    }

    /// A block that holds bytes and ranges.
    pub(super) fn quantized(self, block: &[u8]) -> QuantizedSamples<'_> {
        let (bytes, ranges) = block.split_at(block.len() - self.batch * size_of::<Range>());
        QuantizedSamples { bytes: &bytes[..self.elements], ranges: bytemuck::cast_slice(ranges) }
    }

    /// The values, `size` bytes each, and the ranges in a block.
    pub(super) fn split(self, block: &mut [u8], size: usize) -> (&mut [u8], &mut [Range]) {
        let (values, ranges) = block.split_at_mut(block.len() - self.batch * size_of::<Range>());
        (&mut values[..self.elements * size], bytemuck::cast_slice_mut(ranges))
    }

    /// The step that quantizes its first input. The ranges may be its second one; otherwise it looks for
    /// them.
    pub(crate) fn quantize(self) -> Task {
        Task::new(move |machine, io| {
            self.fill(machine, io.inputs.get(0), io.inputs.get(1), io.output);
            Ok(())
        })
        .named("QUANTIZE")
    }
}

impl Samples {
    /// Fills a block with the samples of these values, whose ranges may be known.
    pub(super) fn fill(self, machine: Machine<'_>, values: &[f32], known: &[Range], block: &mut [u8]) {
        let (bytes, ranges) = self.split(block, 1);
        if known.is_empty() {
            sample_ranges(machine.isa, machine.pool, values, ranges);
        } else {
            ranges.copy_from_slice(known);
        }
        match self.pixels {
            None => quantize_by_ranges(machine.isa, machine.pool, values, ranges, bytes),
            Some(Pixels { image: [height, width, channels], step }) => {
                let shape = [self.batch, height, width, channels];
                quantize_pixels(machine.isa, machine.pool, values, shape, step, ranges, bytes);
            }
        }
    }

    /// The step that multiplies its first input, adds to it and quantizes that.
    pub(crate) fn quantize_mapped(self, map: MultiplyAdd) -> Task {
        Task::new(move |machine, io| {
            let (bytes, ranges) = self.split(io.output, 1);
            map_samples(machine.isa, machine.pool, &map, io.inputs.get(0), ranges, bytes);
            Ok(())
        })
    }
}

/// In which form a layer of dynamic range gives its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Results {
    /// As numbers.
    Numbers,
    /// As numbers with the range of each sample.
    WithRanges(Samples),
    /// Quantized.
    Quantized(Samples),
}
