//! The direct form without zeros: [`Blocks`] leaves out steps at which a whole panel has zero weights,
//! [`Scattered`] every zero.
//!
//! Each output is a chain of products as in the dense form, less those by zeros (so an infinite input does
//! not show where its weight is zero); [`Scattered`] takes the chain in parts, which depend on the weights
//! alone. Bits depend on neither threads, nor batch, nor place in the image here either.

mod blocks;
mod scattered;

pub(super) use blocks::Blocks;
pub(super) use scattered::Scattered;

#[cfg(test)]
mod tests;
