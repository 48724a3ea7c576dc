//! Reductions over any set of axes: sums, means, extremes, products, and where the extreme is.

mod arg;
pub(crate) mod groups;
mod plan;
mod quantized;
mod sum;

pub use arg::{Extreme, arg_extreme};
pub use plan::Reduction;
pub use quantized::{QuantizedSum, reduce_quantized_product};
pub use sum::{Reduce, reduce, reduce_extreme};
