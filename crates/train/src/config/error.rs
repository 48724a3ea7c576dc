use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON, or not of a form that names something.
    #[error("{what}: {reason}")]
    Form {
        /// What is configured: `optimizer`, `loss`, ….
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A name that stands for nothing.
    #[error("unknown {what} '{name}'; known are {known}")]
    Unknown {
        /// What it should be: `optimizer`, `loss`, ….
        what: String,
        /// The name.
        name: String,
        /// The names that there are, separated by commas.
        known: String,
    },
    /// An option that there is not.
    #[error("{what} '{name}' has no option '{option}'; it has {known}")]
    UnknownOption {
        /// What is configured: `optimizer`, `loss`, ….
        what: String,
        /// Its name.
        name: String,
        /// The unknown option.
        option: String,
        /// The options that there are, separated by commas.
        known: String,
    },
    /// An option with a value that it cannot have.
    #[error("{what} '{name}': '{option}' must be {expected}, it is {got}")]
    Value {
        /// What is configured: `optimizer`, `loss`, ….
        what: String,
        /// Its name.
        name: String,
        /// The option.
        option: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Something that Keras can do and this crate cannot.
    #[error("{what} '{name}': {reason}")]
    Unsupported {
        /// What is configured: `optimizer`, `loss`, ….
        what: String,
        /// Its name.
        name: String,
        /// What is missing, and what to do.
        reason: String,
    },
}
