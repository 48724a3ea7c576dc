//! Dropout, one element at a time.

use crate::elementwise::number::Float;
use crate::gradient::dropout::Dropout;

/// Elements whose random number is below the rate become 0, the others are divided by the share that
/// stays.
pub fn dropout<T: Float>(dropout: Dropout, input: &[T], random: impl Fn(Dropout, usize) -> u32) -> Vec<T> {
    let factor = T::of(1.0 / (1.0 - dropout.rate));
    let value = |(i, x): (usize, &T)| {
        let uniform = f64::from(random(dropout, i)) / 4_294_967_296.0;
        // The limit has 32 bits.
        if uniform < (dropout.rate * 4_294_967_296.0).floor() / 4_294_967_296.0 {
            T::ZERO
        } else {
            x.times(factor)
        }
    };
    input.iter().enumerate().map(value).collect()
}
