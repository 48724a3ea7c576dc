//! Pruning: weights that matter least become zero, and stay so.
//!
//! [`prune`](one_shot::prune) does it at once, [`Pruning`] while a model is trained, step by step as a
//! [`Schedule`] says. Which layers are pruned a [`Policy`] and a [`PruneRecipe`] decide; what of a layer is
//! pruned together its [`Structure`] says. [`encode`](encode::encode) leaves the zeros out of a file.
//!
//! Masks go by magnitude; of equal magnitudes the first in the order `[out, taps, in]` is kept, so the same
//! weights give the same mask everywhere.
#![forbid(unsafe_code)]

mod channels;
mod encode;
mod error;
mod gain;
mod layers;
mod mask;
mod one_shot;
mod plan;
mod policy;
mod recipe;
mod schedule;
mod structure;
mod training;

pub use channels::{ChannelOptions, Shrunk, ShrunkLayer, shrink};
pub use encode::{densify, encode, encoded_bytes};
pub use error::PruneError;
pub use layers::{Layer, Product, layers};
pub use mask::{Matrix, masks};
pub use one_shot::prune;
pub use plan::{Decision, Options, Outcome};
pub use policy::Policy;
pub use recipe::{PruneRecipe, PruneRule};
pub use schedule::Schedule;
pub use structure::{Pooling, Structure};
pub use training::Pruning;
