//! Orders of axes, and what moving to another order does to axes, shapes and quantization.

use litesmith_graph::{Dim, Quantization, Shape};

/// Where the channels of an image (or volume, or sequence) stand among its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    /// `[batch, channels, …]`
    First,
    /// `[batch, …, channels]`
    Last,
}

impl Order {
    pub fn other(self) -> Order {
        match self {
            Order::First => Order::Last,
            Order::Last => Order::First,
        }
    }

    /// What tensors in this order have behind their names.
    pub fn suffix(self) -> &'static str {
        match self {
            Order::First => "channels_first",
            Order::Last => "channels_last",
        }
    }
}

/// Whether tensors of this rank have an order: sequences, images and volumes with their batch.
pub(super) fn has_order(rank: usize) -> bool {
    (3..=5).contains(&rank)
}

/// The permutation (as that of `Transpose`) from one order to another.
pub(super) fn permutation(rank: usize, from: Order, to: Order) -> Vec<usize> {
    let inner = 2..rank;
    match (from, to) {
        _ if from == to => (0..rank).collect(),
        (Order::Last, _) => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
        (Order::First, _) => std::iter::once(0).chain(inner).chain([1]).collect(),
    }
}

/// Where axis `axis` is after a permutation.
pub(super) fn moved(permutation: &[usize], axis: usize) -> usize {
    permutation.iter().position(|from| *from == axis).unwrap_or(axis)
}

/// The elements of a list with one entry for each axis, after a permutation.
pub(super) fn permuted<T: Clone>(permutation: &[usize], list: &[T]) -> Vec<T> {
    permutation.iter().map(|axis| list[*axis].clone()).collect()
}

/// What `first`, then `second` does.
pub(super) fn composed(first: &[usize], second: &[usize]) -> Vec<usize> {
    permuted(second, first)
}

pub(super) fn inverse(permutation: &[usize]) -> Vec<usize> {
    (0..permutation.len()).map(|axis| moved(permutation, axis)).collect()
}

pub(super) fn is_identity(permutation: &[usize]) -> bool {
    permutation.iter().copied().eq(0..permutation.len())
}

pub(super) fn permuted_shape(permutation: &[usize], shape: &Shape) -> Shape {
    permuted(permutation, shape.dims()).into_iter().collect()
}

/// Parameters go with their tensor: the quantized axis gets its new number.
pub(super) fn permuted_quantization(
    permutation: &[usize],
    of: Option<&Quantization>,
) -> Option<Quantization> {
    let mut quantization = of?.clone();
    quantization.axis = quantization.axis.map(|axis| moved(permutation, axis));
    Some(quantization)
}

/// Whether elements lie in memory alike in both orders: there is one channel, or one place.
pub(super) fn is_trivial(order: Order, shape: &Shape) -> bool {
    let one = |axis: usize| shape.dims()[axis] == Dim::Fixed(1);
    let rank = shape.rank();
    let (channels, mut places) = match order {
        Order::First => (1, 2..rank),
        Order::Last => (rank - 1, 1..rank - 1),
    };
    one(channels) || places.all(one)
}

/// A list without those axes, and what is left of a permutation: `None` where nothing is left.
pub(super) fn without(permutation: &[usize], dropped: &[usize]) -> Vec<usize> {
    let kept = |axis: &usize| !dropped.contains(axis);
    let renumbered = |axis: usize| axis - dropped.iter().filter(|other| **other < axis).count();
    permutation.iter().copied().filter(kept).map(renumbered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_inverse_to_each_other() {
        for rank in 3..=5 {
            let first = permutation(rank, Order::Last, Order::First);
            let last = permutation(rank, Order::First, Order::Last);
            assert!(is_identity(&composed(&first, &last)));
            assert_eq!(inverse(&first), last);
        }
        assert_eq!(permutation(4, Order::Last, Order::First), [0, 3, 1, 2]);
        assert_eq!(permutation(5, Order::First, Order::Last), [0, 2, 3, 4, 1]);
    }

    #[test]
    fn what_is_left_of_a_permutation_is_one() {
        assert_eq!(without(&[0, 3, 1, 2], &[3]), [0, 1, 2]);
        assert_eq!(without(&[0, 3, 1, 2], &[1]), [0, 2, 1]);
        assert_eq!(without(&[0, 3, 1, 2], &[0]), [2, 0, 1]);
    }
}
