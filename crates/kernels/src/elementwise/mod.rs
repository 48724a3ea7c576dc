//! Element-wise operators: one function of one, two or three elements, over whole tensors.
//!
//! Float operators are the truth of a float graph. Quantized operators see `u8` activations (a
//! model's `int8` with the top bit flipped, so that zero points run from 0 to 255); those of one
//! operand are 256-entry tables.

pub mod affine;
pub mod affine_map;
pub mod approximation;
pub mod binary;
pub mod broadcast;
pub mod channels;
pub mod compare;
pub mod fixed_point;
pub mod number;
pub mod quantized;
pub mod select;
mod stages;
pub mod table;
pub mod unary;

pub use affine::Affine;
pub use affine_map::MultiplyAdd;
pub(crate) use binary::prelu;
pub use binary::{Binary, binary};
pub use broadcast::Broadcast;
pub use channels::ChannelMap;
pub use compare::{Compare, Logical, compare, logical, logical_not};
pub use number::{Float, Number};
pub use quantized::{PairTable, QuantizedBinary, SumRule};
pub use select::select;
pub use table::Table;
pub use unary::{Unary, unary, unary_in_place};

/// Elements that are worth a task of their own where an element costs about a nanosecond.
pub(crate) const TASK_ELEMENTS: usize = 16 * 1024;
