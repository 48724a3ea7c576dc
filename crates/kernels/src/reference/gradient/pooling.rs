//! Gradients of poolings, one window at a time.

use crate::Window;
use crate::elementwise::number::Float;

/// Calls `window(output index, input indices of the taps inside the input, row by row)`.
fn for_windows(
    window: &Window,
    [batch, height, width, channels]: [usize; 4],
    mut visit: impl FnMut(usize, &[usize]),
) {
    let indices: Vec<usize> = (0..batch * height * width * channels).collect();
    let shape = [batch, height, width, channels];
    let taps = crate::reference::pooling::windows(window, shape, &indices, <[usize]>::to_vec);
    taps.iter().enumerate().for_each(|(output, taps)| visit(output, taps));
}

/// Each window's gradient goes to its first largest tap.
#[must_use]
pub fn max_pool<T: Float>(window: &Window, shape: [usize; 4], input: &[T], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; input.len()];
    for_windows(window, shape, |output, taps| {
        if let Some(&first) = taps.first() {
            let largest = taps.iter().fold(first, |best, &i| if input[i] > input[best] { i } else { best });
            gradient[largest] = gradient[largest].plus(output_gradient[output]);
        }
    });
    gradient
}

/// Each window's gradient goes in equal parts to its taps inside the input.
#[must_use]
pub fn average_pool<T: Float>(window: &Window, shape: [usize; 4], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::ZERO; shape.iter().product()];
    for_windows(window, shape, |output, taps| {
        for &i in taps {
            gradient[i] = gradient[i].plus(output_gradient[output].over(T::of(taps.len() as f64)));
        }
    });
    gradient
}
