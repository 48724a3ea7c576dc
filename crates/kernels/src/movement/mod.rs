//! Data movement: operators that only rearrange elements, for elements of any type.
//!
//! Most are one strided copy ([`StridedCopy`]): the output in order, each axis walking the input
//! with a stride of its own. Shapes and parameters are the caller's, who has validated the model;
//! a wrong one panics, and nothing is read or written out of bounds. Only indices that are data
//! (gather) are checked and reported.

mod blocks;
mod concat;
mod gather;
mod one_hot;
mod pad;
mod slice;
mod strided;
mod transpose;
mod update;

pub use blocks::{batch_to_space_nd, depth_to_space, space_to_batch_nd, space_to_depth};
pub use concat::{concat, pack, split, unpack};
pub use gather::{Index, IndexError, gather, gather_nd};
pub use one_hot::one_hot;
pub use pad::{Reflection, pad, pad_reflected};
pub use slice::{AxisSlice, broadcast_to, reverse, strided_slice, tile};
pub use strided::{StridedAxis, StridedCopy};
pub use transpose::transpose;
pub use update::update_slice;

/// Row-major strides of a contiguous tensor.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
