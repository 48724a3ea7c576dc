//! The direct form without zeros: [`Blocks`] leaves out steps at which a whole panel has zero weights,
//! [`Scattered`] every zero.
//!
//! Each output is the chain of products of the dense form, less those by zeros: the bits are those of the dense
//! form, but for the sign of a zero. An infinite input may not show where its weight is zero.

mod blocks;
mod scattered;

pub(super) use blocks::Blocks;
pub(super) use scattered::Scattered;

#[cfg(test)]
mod tests;
