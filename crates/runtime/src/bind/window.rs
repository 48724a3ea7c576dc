//! Where convolutions and poolings look.

use litesmith_graph::ops::Padding;
use litesmith_kernels::Window;

use super::Operand;
use crate::error::{Refusal, refuse};

/// Longest reach, stride or padding of a window; far beyond what makes sense, so that no product
/// of them overflows.
pub(super) const LONGEST: usize = 1 << 20;

/// The window of an operator over `image`, `[batch, height, width, channels]`. Pairs are
/// `[vertical, horizontal]`.
pub(super) fn window(
    image: &Operand<'_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
) -> Result<Window, Refusal> {
    let size = [image.shape[1], image.shape[2]];
    if size.contains(&0) {
        refuse!("an image without pixels is not supported");
    }
    if [kernel, stride, dilation, size].iter().flatten().any(|size| *size > LONGEST) {
        refuse!("a kernel of {kernel:?} with stride {stride:?} and dilation {dilation:?} is too large");
    }
    let reach = [0, 1].map(|i| (kernel[i] - 1) * dilation[i] + 1);
    if reach.iter().any(|size| *size > LONGEST) {
        refuse!("a kernel that reaches over {reach:?} is too large");
    }
    let (pad_before, pad_after) = padding.amounts(size, reach, stride);
    if pad_before.iter().chain(&pad_after).any(|size| *size > LONGEST) {
        refuse!("padding of {pad_before:?} and {pad_after:?} is too large");
    }
    Ok(Window { kernel, stride, dilation, pad_before, pad_after })
}
