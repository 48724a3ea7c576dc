//! Pooling, one window at a time.

use crate::Window;

/// Calls `value(taps)` for each output of a pooling over `[batch, height, width, channels]`, in
/// order, with the taps inside the input row by row.
///
/// # Panics
/// When the input is shorter than its shape says.
pub fn windows<T: Copy, U>(
    window: &Window,
    [batch, height, width, channels]: [usize; 4],
    input: &[T],
    value: impl Fn(&[T]) -> U,
) -> Vec<U> {
    let [output_height, output_width] = window.output([height, width]);
    let mut output = Vec::new();
    for image in 0..batch {
        for y in 0..output_height {
            for x in 0..output_width {
                for channel in 0..channels {
                    let mut taps = Vec::new();
                    for ky in 0..window.kernel[0] {
                        for kx in 0..window.kernel[1] {
                            let iy = y * window.stride[0] + ky * window.dilation[0];
                            let ix = x * window.stride[1] + kx * window.dilation[1];
                            let inside = |i: usize, pad: usize, len| i.checked_sub(pad).filter(|i| *i < len);
                            if let Some(iy) = inside(iy, window.pad_before[0], height)
                                && let Some(ix) = inside(ix, window.pad_before[1], width)
                            {
                                taps.push(input[((image * height + iy) * width + ix) * channels + channel]);
                            }
                        }
                    }
                    output.push(value(&taps));
                }
            }
        }
    }
    output
}
