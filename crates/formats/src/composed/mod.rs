//! What several readers compose of operators, since the graph has none for it.

pub(crate) mod dense;
pub(crate) mod einsum;
mod elementwise;
pub(crate) mod simulated;
pub(crate) mod truth;
pub(crate) mod volumes;

pub(crate) use elementwise::{
    arc_sine, arc_tangent, error_function, hyperbolic, quotient_or_zero, tangent, truncated,
};
