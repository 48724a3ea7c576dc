//! Reductions over any set of axes: sums, means, extremes, products, and where extremes are; running sums.

mod arg;
mod cumulative;
pub(crate) mod groups;
pub(crate) mod lanes;
mod plan;
mod quantized;
mod sum;
mod top_k;

pub use arg::{Extreme, arg_extreme};
pub use cumulative::CumulativeSum;
pub use plan::Reduction;
pub use quantized::{QuantizedSum, reduce_quantized_product};
pub use sum::{Reduce, reduce, reduce_extreme};
pub use top_k::top_k;
