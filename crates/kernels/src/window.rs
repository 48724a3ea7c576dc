//! Where a convolution or pooling looks: kernel size, stride, dilation, padding.

/// The geometry shared by convolutions and poolings, channels last.
///
/// Of images, `[batch, height, width, channels]`, every pair is `[vertical, horizontal]`; of volumes,
/// `[batch, depth, height, width, channels]`, every triple is `[depth, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window<const AXES: usize = 2> {
    /// Size of the kernel, at least 1 along each axis.
    pub kernel: [usize; AXES],
    /// Step between neighbouring outputs, at least 1.
    pub stride: [usize; AXES],
    /// Step between neighbouring taps, at least 1.
    pub dilation: [usize; AXES],
    /// Padding before the input: above it and to the left of it.
    pub pad_before: [usize; AXES],
    /// Padding behind the input: below it and to the right of it.
    pub pad_after: [usize; AXES],
}

impl Window {
    /// A window of one tap: what a 1x1 convolution or a matrix product sees.
    pub const POINT: Window =
        Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad_before: [0, 0], pad_after: [0, 0] };
}

impl<const AXES: usize> Window<AXES> {
    /// Size of the output for an input of this size (0 where the padded input is smaller than the
    /// dilated kernel).
    #[must_use]
    pub fn output(&self, input: [usize; AXES]) -> [usize; AXES] {
        std::array::from_fn(|i| {
            let reach = (self.kernel[i] - 1) * self.dilation[i] + 1;
            let padded = input[i] + self.pad_before[i] + self.pad_after[i];
            if padded < reach { 0 } else { (padded - reach) / self.stride[i] + 1 }
        })
    }

    /// Number of taps.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}

impl Window<3> {
    /// What it is along height and width.
    pub(crate) fn plane(&self) -> Window {
        Window {
            kernel: plane(self.kernel),
            stride: plane(self.stride),
            dilation: plane(self.dilation),
            pad_before: plane(self.pad_before),
            pad_after: plane(self.pad_after),
        }
    }
}

/// Height and width of depth, height and width.
pub(crate) fn plane([_, height, width]: [usize; 3]) -> [usize; 2] {
    [height, width]
}
