use std::fmt;

use litesmith_graph::ModelError;
use thiserror::Error;

/// Why a model cannot be prepared or run.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Operators that there is no kernel for: all of them.
    #[error("the model cannot be run: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// An input that does not fit.
    #[error("input '{name}' takes {expected}, it was given {got}")]
    Input {
        /// Name of the input.
        name: String,
        /// The type and shape that it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// Another number of inputs than the model takes.
    #[error("the model takes {expected} inputs ({names}), it was given {got}")]
    InputCount {
        /// Number of inputs that it takes.
        expected: usize,
        /// Their names.
        names: String,
        /// Number of inputs that were given.
        got: usize,
    },
    /// The model contradicts itself, or the input's shape.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More memory is needed than may be used or than there is.
    #[error("{what} needs {needed} bytes, {} may be used", limit.map_or("fewer".to_owned(), |n| n.to_string()))]
    Resource {
        /// What needs it.
        what: String,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that [`Options::max_memory`](crate::Options::max_memory) leaves; `None` where the
        /// system refused.
        limit: Option<usize>,
    },
    /// An option or environment variable has a value that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// A loop was ended early by [`Options::interrupt`](crate::Options::interrupt).
    #[error("the run was interrupted")]
    Interrupted,
    /// A layer met values that it cannot compute with.
    #[error("layer '{node}' ({operator}): {reason}")]
    Step {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
}

/// A node that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub operator: String,
    /// What is missing.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer '{}' ({}): {}", self.node, self.operator, self.reason)
    }
}

fn list(all: &[Unsupported]) -> String {
    all.iter().map(Unsupported::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a node cannot be bound to a kernel; the caller adds the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub String);

/// Returns a [`Refusal`] made by `format!`.
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::error::Refusal(format!($($message)*)))
    };
}
pub(crate) use refuse;

/// Why a step failed on the values that it met; the caller adds the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub String);
