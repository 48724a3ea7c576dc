//! The two ways in which a reader can refuse a part of a model.

use crate::error::FormatError;

/// Why a layer or an operation is not built.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not supported: why, and what to do about it. Others are collected too.
    Unsupported(String),
    /// Something inside is not supported, and has been listed.
    Listed,
    /// The file is broken.
    Error(FormatError),
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Refusal {
        Refusal::Error(error)
    }
}

/// The result of building a part of a model.
pub(crate) type Built<T> = Result<T, Refusal>;

/// Returns a [`Refusal::Unsupported`] made by `format!`.
macro_rules! unsupported {
    ($($message:tt)*) => {
        return Err($crate::refusal::Refusal::Unsupported(format!($($message)*)))
    };
}
pub(crate) use unsupported;
