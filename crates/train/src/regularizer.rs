//! Penalties on the size of parameters, which Keras adds to the loss.
//!
//! The penalty is `l1 sum(|w|) + l2 sum(w^2)` and its gradient `l1 sign(w) + 2 l2 w`
//! (`keras/src/regularizers/regularizers.py`). An [`Optimizer`](crate::Optimizer) adds the gradient
//! itself, before it clips; the value belongs to the loss that is reported.

use litesmith_graph::Regularizer;
use litesmith_kernels::optimizer::magnitudes;
use litesmith_kernels::{Isa, ThreadPool};

/// The penalty on `values`, in double precision; the same whatever the number of threads.
#[must_use]
pub fn penalty(isa: Isa, pool: &ThreadPool, regularizer: &Regularizer, values: &[f32]) -> f64 {
    let [sum, squares] = magnitudes(isa, pool, values);
    let mut penalty = 0.0;
    if regularizer.l1 != 0.0 {
        penalty += f64::from(regularizer.l1) * sum;
    }
    if regularizer.l2 != 0.0 {
        penalty += f64::from(regularizer.l2) * squares;
    }
    penalty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_add_up() {
        let pool = ThreadPool::new(1);
        let regularizer = Regularizer { l1: 0.5, l2: 0.25 };
        assert_eq!(penalty(Isa::detect(), &pool, &regularizer, &[1.0, -2.0]), 0.5 * 3.0 + 0.25 * 5.0);
        let none = Regularizer { l1: 0.0, l2: 0.0 };
        assert_eq!(penalty(Isa::detect(), &pool, &none, &[f32::INFINITY]), 0.0);
    }
}
