//! What layers of dynamic range read: samples quantized each by its own range, a second form of a tensor
//! of real numbers.

use litesmith_kernels::elementwise::MultiplyAdd;
use litesmith_kernels::quantized::{QuantizedSamples, map_samples, quantize_by_ranges, sample_ranges};

use super::Task;

/// The smallest and the largest value of a sample.
type Range = [f32; 2];

/// A tensor of samples, as numbers or as bytes, with the range of each sample behind it, on a cache line
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Numbers in all samples; at least 1.
    pub elements: usize,
    /// Number of samples; at least 1.
    pub batch: usize,
}

impl Samples {
    /// Bytes that the ranges take; `None` if they are too many.
    pub(crate) fn range_bytes(self) -> Option<usize> {
        self.batch.checked_mul(size_of::<Range>())
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
            let (values, known) = (io.inputs.get(0), io.inputs.get(1));
            let (bytes, ranges) = self.split(io.output, 1);
            if known.is_empty() {
                sample_ranges(machine.isa, machine.pool, values, ranges);
            } else {
                ranges.copy_from_slice(known);
            }
            quantize_by_ranges(machine.isa, machine.pool, values, ranges, bytes);
            Ok(())
        })
        .named("QUANTIZE")
    }
}

impl Samples {
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
