use litesmith_graph::ModelError;
use thiserror::Error;

/// Why a model cannot be pruned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PruneError {
    /// A share of zeros, a step or a block that is none.
    #[error("{0}")]
    Setting(String),
    /// It is no recipe.
    #[error("this is no recipe for pruning: {0}")]
    Recipe(#[from] toml::de::Error),
    /// Nothing would change.
    #[error("no layer would be pruned: {0}")]
    Nothing(String),
    /// The model contradicts itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What an interrupted training has kept does not fit.
    #[error("the masks of the checkpoint do not fit the model")]
    Masks,
}
