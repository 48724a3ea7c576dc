//! Training: differentiation, losses, metrics, optimizers, `fit`.
#![forbid(unsafe_code)]
