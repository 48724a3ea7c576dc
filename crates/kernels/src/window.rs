//! Where a convolution or pooling looks: kernel size, stride, dilation, padding.

/// The geometry shared by convolutions and poolings over `[batch, height, width, channels]`.
///
/// Every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel, at least 1.
    pub kernel: [usize; 2],
    /// Step between neighbouring outputs, at least 1.
    pub stride: [usize; 2],
    /// Step between neighbouring taps, at least 1.
    pub dilation: [usize; 2],
    /// Rows of padding above the input and columns to the left of it.
    pub pad_before: [usize; 2],
    /// Rows of padding below the input and columns to the right of it.
    pub pad_after: [usize; 2],
}

impl Window {
    /// A window of one tap: what a 1x1 convolution or a matrix product sees.
    pub const POINT: Window =
        Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad_before: [0, 0], pad_after: [0, 0] };

    /// Height and width of the output for an input of this height and width (0 where the padded
    /// input is smaller than the dilated kernel).
    #[must_use]
    pub fn output(&self, input: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|i| {
            let reach = (self.kernel[i] - 1) * self.dilation[i] + 1;
            let padded = input[i] + self.pad_before[i] + self.pad_after[i];
            if padded < reach { 0 } else { (padded - reach) / self.stride[i] + 1 }
        })
    }

    /// Number of taps.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}
